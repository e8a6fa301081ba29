//! The peer: all literals in one automaton of Aho and Corasick, and sixteen
//! regular expressions at a time in lazy DFAs.

use std::collections::HashSet;

use aho_corasick::{AhoCorasick, AhoCorasickKind};
use regex_automata::meta::{Cache, Config, Regex};
use regex_automata::util::syntax;
use regex_automata::{Input, MatchKind, PatternSet};

const REGEXES_PER_PASS: usize = 16;
const CACHE_BYTES: usize = 8 << 20;

/// All literals, and sixteen expressions each, with their rules.
pub struct LazyScanner {
    literals: Option<(AhoCorasick, Vec<u32>)>,
    passes: Vec<(Regex, Vec<u32>, Cache, PatternSet)>,
}

impl LazyScanner {
    /// For rules without escapes. Literals that are there twice count once, as
    /// in `dpi`.
    pub fn new(text: &str) -> Self {
        let patterns = text.lines().map(|line| line.splitn(3, ' ').nth(2).expect("a pattern"));
        let (mut literals, mut regexes) = (Vec::new(), Vec::new());
        let mut seen = HashSet::new();
        for (pattern, rule) in patterns.zip(0..) {
            let inner = &pattern[1..pattern.len() - 1];
            match pattern.starts_with('/') {
                true => regexes.push((inner, rule)),
                false if seen.insert(inner) => literals.push((inner, rule)),
                false => {}
            }
        }
        let small = literals.iter().map(|(literal, _)| literal.len()).sum::<usize>() <= 4096;
        let kind = if small { AhoCorasickKind::DFA } else { AhoCorasickKind::ContiguousNFA };
        let (bytes, rules): (Vec<&str>, Vec<u32>) = literals.into_iter().unzip();
        let literals = (!bytes.is_empty()).then(|| {
            let automaton = AhoCorasick::builder().kind(Some(kind)).build(bytes);
            (automaton.expect("literals"), rules)
        });
        let passes = regexes.chunks(REGEXES_PER_PASS).map(|group| {
            let (texts, rules): (Vec<&str>, Vec<u32>) = group.iter().copied().unzip();
            let config = Config::new()
                .match_kind(MatchKind::All)
                .utf8_empty(false)
                .hybrid_cache_capacity(CACHE_BYTES);
            let regex = Regex::builder()
                .configure(config)
                .syntax(syntax::Config::new().unicode(false).utf8(false))
                .build_many(&texts)
                .expect("expressions");
            let (cache, matched) = (regex.create_cache(), PatternSet::new(rules.len()));
            (regex, rules, cache, matched)
        });
        Self { literals, passes: passes.collect() }
    }

    /// The first rule that matches.
    pub fn scan(&mut self, payload: &[u8]) -> Option<u32> {
        let mut best = None;
        if let Some((automaton, rules)) = &self.literals {
            for found in automaton.find_overlapping_iter(payload) {
                let rule = rules[found.pattern().as_usize()];
                best = Some(best.map_or(rule, |best: u32| best.min(rule)));
            }
        }
        for (regex, rules, cache, matched) in &mut self.passes {
            matched.clear();
            regex.which_overlapping_matches_with(cache, &Input::new(payload), matched);
            let found = matched.iter().map(|pattern| rules[pattern.as_usize()]).min();
            best = best.into_iter().chain(found).min();
        }
        best
    }
}
