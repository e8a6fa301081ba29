//! Finds the rule that matches a payload: all literals in one automaton (Aho
//! and Corasick, CACM 18(6), 1975), regular expressions in a few, each of as
//! many as are worth a pass. Nothing is allocated per packet.

use std::sync::Arc;

use aho_corasick::{AhoCorasick, AhoCorasickKind};
use regex_automata::meta::{Cache, Config, Regex};
use regex_automata::{Input, MatchKind, PatternSet};
use regex_syntax::hir::Hir;

use super::rules::{Pattern, RULES_MAX, Rules};
use mpfwd_common::error::{Error, Result};

/// Regular expressions per automaton. More of them make fewer passes; fewer
/// make shorter passes, and a scan may be given up between two passes.
const REGEXES_PER_PASS: usize = 16;

/// The most memory of one pass's automaton, in bytes. Its states are built on
/// demand, and cached in as much again per lcore.
const PASS_BYTES_MAX: usize = 8 << 20;

/// A regular expression larger than this once compiled is refused, with its
/// whole pass.
const NFA_BYTES_MAX: usize = 16 << 20;

/// One pass over a payload.
enum Pass {
    /// Literals, each with its rule.
    Literals(AhoCorasick, Vec<u16>),
    /// Regular expressions, each with its rule.
    Regexes(Regex, Vec<u16>),
}

impl Pass {
    /// The rule of each pattern of the pass, ascending.
    fn rules(&self) -> &[u16] {
        match self {
            Self::Literals(_, rules) | Self::Regexes(_, rules) => rules,
        }
    }
}

/// The automata of a rules file; shared by all lcores.
pub struct Automata(Vec<Pass>);

impl Automata {
    /// # Errors
    /// When the regular expressions of a pass are too large together; names
    /// their lines.
    pub fn compile(rules: &Rules) -> Result<Self> {
        let (mut literals, mut literal_rules, mut regexes) = (Vec::new(), Vec::new(), Vec::new());
        for (at, rule) in rules.0.iter().enumerate() {
            match &rule.pattern {
                Pattern::Literal(bytes) => {
                    literals.push(bytes.as_slice());
                    literal_rules.push(at as u16);
                }
                Pattern::Regex(hir) => regexes.push((hir, at as u16)),
            }
        }
        let mut passes = Vec::new();
        if !literals.is_empty() {
            // A DFA has up to 256 entries per state: only for few states.
            let small = literals.iter().map(|literal| literal.len()).sum::<usize>() <= 4096;
            let kind = if small { AhoCorasickKind::DFA } else { AhoCorasickKind::ContiguousNFA };
            let automaton = AhoCorasick::builder().kind(Some(kind)).build(&literals);
            let automaton = automaton.map_err(|error| {
                Error::Usage(format!("--rules: {error}: write fewer or shorter literals"))
            })?;
            passes.push(Pass::Literals(automaton, literal_rules));
        }
        for group in regexes.chunks(REGEXES_PER_PASS) {
            let (hirs, numbers): (Vec<&Hir>, Vec<u16>) = group.iter().copied().unzip();
            let config = Config::new()
                .match_kind(MatchKind::All)
                .utf8_empty(false)
                .nfa_size_limit(Some(NFA_BYTES_MAX))
                .hybrid_cache_capacity(PASS_BYTES_MAX);
            let automaton =
                Regex::builder().configure(config).build_many_from_hir(&hirs).map_err(|error| {
                    let lines: Vec<String> = numbers
                        .iter()
                        .map(|&at| rules.0[usize::from(at)].line.to_string())
                        .collect();
                    Error::Usage(format!(
                        "--rules: the regular expressions in lines {}: {error}: write simpler ones",
                        lines.join(", ")
                    ))
                })?;
            passes.push(Pass::Regexes(automaton, numbers));
        }
        Ok(Self(passes))
    }
}

/// The progress of a scan that was given up, to be continued on another lcore.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The next pass.
    pass: u16,
    /// The first rule that matched so far, plus 1; 0 if none did.
    best: u16,
}

impl Progress {
    /// As one number, under the rules of `generation`: three bits of the
    /// generation, 13 of the pass, 16 of the rule.
    pub fn to_bits(self, generation: u32) -> u32 {
        generation << 29 | u32::from(self.pass) << 16 | u32::from(self.best)
    }

    /// Starts over if the number is of other rules. Rules of eight generations
    /// ago look like these; no packet waits that long, and if one did it would
    /// be judged by the wrong rules, no worse.
    pub fn from_bits(bits: u32, generation: u32) -> Self {
        if bits >> 29 != generation & 7 {
            return Self::default();
        }
        Self { pass: (bits >> 16) as u16 & PASS_MAX, best: bits as u16 }
    }
}

/// The most passes: one for the literals, and those of as many regular
/// expressions as there may be rules.
const PASS_MAX: u16 = (1 << 13) - 1;
const _: () = assert!(RULES_MAX.div_ceil(REGEXES_PER_PASS) < PASS_MAX as usize);

/// One lcore's handle on the automata, with the caches that it writes.
pub struct Scanner {
    automata: Arc<Automata>,
    /// By pass; `None` for literals.
    caches: Vec<Option<(Cache, PatternSet)>>,
}

impl Scanner {
    pub fn new(automata: Arc<Automata>) -> Self {
        let cache = |pass: &Pass| match pass {
            Pass::Literals(..) => None,
            Pass::Regexes(regex, rules) => {
                Some((regex.create_cache(), PatternSet::new(rules.len())))
            }
        };
        let caches = automata.0.iter().map(cache).collect();
        Self { automata, caches }
    }

    /// The first rule of the file that matches the payload, if any. Continues
    /// from `progress`, and makes at least one pass. `Err`: `yield_point`,
    /// which is asked between two passes, was true; carries the progress.
    pub fn scan(
        &mut self,
        payload: &[u8],
        progress: Progress,
        mut yield_point: impl FnMut() -> bool,
    ) -> std::result::Result<Option<u16>, Progress> {
        let mut best = progress.best.checked_sub(1);
        let passes = self
            .automata
            .0
            .iter()
            .zip(&mut self.caches)
            .enumerate()
            .skip(usize::from(progress.pass));
        for (at, (pass, cache)) in passes {
            // Every rule of this pass comes later in the file.
            if best.is_some_and(|best| best < pass.rules()[0]) {
                continue;
            }
            if at > usize::from(progress.pass) && yield_point() {
                return Err(Progress { pass: at as u16, best: best.map_or(0, |best| best + 1) });
            }
            let found = match (pass, cache) {
                (Pass::Literals(automaton, rules), _) => first_literal(automaton, rules, payload),
                (Pass::Regexes(regex, rules), Some((cache, matched))) => {
                    matched.clear();
                    regex.which_overlapping_matches_with(cache, &Input::new(payload), matched);
                    matched.iter().map(|pattern| rules[pattern.as_usize()]).min()
                }
                (Pass::Regexes(..), None) => None,
            };
            best = best.into_iter().chain(found).min();
        }
        Ok(best)
    }
}

/// The first rule with a literal in the payload.
fn first_literal(automaton: &AhoCorasick, rules: &[u16], payload: &[u8]) -> Option<u16> {
    let mut best = None;
    for found in automaton.find_overlapping_iter(payload) {
        let rule = rules[found.pattern().as_usize()];
        best = Some(best.map_or(rule, |best: u16| best.min(rule)));
        if best == rules.first().copied() {
            break;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn scanner(text: &str) -> Scanner {
        Scanner::new(Arc::new(Automata::compile(&Rules::parse(text.as_bytes()).unwrap()).unwrap()))
    }

    fn whole(scanner: &mut Scanner, payload: &[u8]) -> Option<u16> {
        scanner.scan(payload, Progress::default(), || false).unwrap()
    }

    #[test]
    fn the_first_rule_of_the_file_counts() {
        let mut scanner =
            scanner("drop a /b+c/\nforward b \"abc\"\ndrop c \"bc\"\nmark=1 d /^x.y$/\n");
        for (payload, rule) in [
            (&b"..bbc"[..], Some(0)),
            (b"zabcz", Some(0)),
            (b"", None),
            (b"ab", None),
            (b"x\xffy", Some(3)),
            (b"x\ny", None),
            (b"xxzy", None),
        ] {
            assert_eq!(whole(&mut scanner, payload), rule, "{payload:?}");
        }
    }

    #[test]
    fn overlapping_literals_are_all_found() {
        let mut scanner = scanner("drop late \"bcdef\"\ndrop a \"abcd\"\n");
        assert_eq!(whole(&mut scanner, b"abcdef"), Some(0));
        assert_eq!(whole(&mut scanner, b"abcde"), Some(1));
    }

    /// Forty regular expressions make three passes besides that of the
    /// literals.
    fn many() -> String {
        let regexes: String = (0..40).map(|n| format!("drop r{n} /x{n}[0-9]y/\n")).collect();
        format!("{regexes}forward l \"literal\"\n")
    }

    #[test]
    fn a_scan_continues_where_it_was_given_up() {
        let (mut one, mut other) = (scanner(&many()), scanner(&many()));
        for (payload, rule, passes) in [
            (&b"x175y"[..], Some(17), 3),
            (b"literal x394y", Some(39), 4),
            (b"literal", Some(40), 4),
            (b"none", None, 4),
            (b"x35y", Some(3), 2),
        ] {
            let (mut progress, mut made, mut turn) = (Progress::default(), 1, true);
            let found = loop {
                let scanner = if turn { &mut one } else { &mut other };
                match scanner.scan(payload, progress, || true) {
                    Ok(found) => break found,
                    Err(so_far) => progress = Progress::from_bits(so_far.to_bits(9), 9),
                }
                (made, turn) = (made + 1, !turn);
            };
            assert_eq!((found, made), (rule, passes), "{payload:?}");
            assert_eq!(whole(&mut one, payload), rule);
        }
    }

    proptest! {
        #[test]
        fn literals_are_found_as_by_separate_searches(
            literals in prop::collection::vec("[ab]{1,4}", 1..6),
            payload in "[abc]{0,12}",
        ) {
            let text: String = literals.iter().enumerate().map(|(at, literal)| format!("drop r{at} \"{literal}\"\n")).collect();
            let expected = literals.iter().position(|literal| payload.contains(literal.as_str()));
            prop_assert_eq!(whole(&mut scanner(&text), payload.as_bytes()).map(usize::from), expected);
            let text: String = literals.iter().enumerate().map(|(at, literal)| format!("drop r{at} /{literal}/\n")).collect();
            prop_assert_eq!(whole(&mut scanner(&text), payload.as_bytes()).map(usize::from), expected);
        }
    }
}
