//! Searches for all literals at once.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use aho_corasick::automaton::Automaton;
use aho_corasick::nfa::contiguous::NFA;
use aho_corasick::{Anchored, MatchKind};
use vectorscan::{CompileError, Database, Mode, OutOfMemory, Scratch, Stream};

/// Vectorscan compiles so many literals in about two seconds, and 90,000 in
/// twelve.
const MANY: usize = 20_000;

/// The time that Vectorscan takes to compile literals with the same end grows
/// with the square of their number: so many take a tenth of a second, and
/// 90,000 take six minutes.
const ALIKE: usize = 2_000;

/// Bytes of a literal's end that Vectorscan hashes.
const END: usize = 8;

/// The literals of a rules file.
#[derive(Debug)]
pub(super) enum Literals {
    None,
    Vectorscan(Arc<Database>),
    /// An automaton of Aho and Corasick (CACM 18(6), 1975), with the rule of
    /// each literal, for literals that Vectorscan compiles too slowly.
    Automaton(Box<NFA>, Vec<u32>),
}

/// How far a stream has been searched.
#[derive(Debug)]
pub(super) enum LiteralState {
    None,
    Vectorscan(Stream),
    Automaton(aho_corasick::automaton::StateID),
}

impl Literals {
    /// Each literal with its rule; no literal twice.
    ///
    /// # Errors
    /// When the library refuses a literal, or the automaton is too large.
    pub fn compile(literals: &[(&[u8], u32)]) -> Result<Self, CompileError> {
        if literals.is_empty() {
            return Ok(Self::None);
        }
        let mut alike: HashMap<&[u8], usize> = HashMap::new();
        for (literal, _) in literals {
            *alike.entry(&literal[literal.len().saturating_sub(END)..]).or_default() += 1;
        }
        if literals.len() <= MANY && alike.into_values().all(|count| count <= ALIKE) {
            let database = Database::compile_literals(literals, Mode::Stream)?;
            return Ok(Self::Vectorscan(Arc::new(database)));
        }
        let automaton = NFA::builder()
            .match_kind(MatchKind::Standard)
            .build(literals.iter().map(|(literal, _)| literal))
            .map_err(|error| CompileError { expression: None, what: error.to_string() })?;
        let rules = literals.iter().map(|&(_, rule)| rule).collect();
        Ok(Self::Automaton(Box::new(automaton), rules))
    }

    /// The database that a scratch space must fit, if any.
    pub fn database(&self) -> Option<&Arc<Database>> {
        match self {
            Self::Vectorscan(database) => Some(database),
            Self::None | Self::Automaton(..) => None,
        }
    }

    /// The state of a new stream.
    ///
    /// # Errors
    /// When memory runs out.
    pub fn open(&self) -> Result<LiteralState, OutOfMemory> {
        Ok(match self {
            Self::None => LiteralState::None,
            Self::Vectorscan(database) => LiteralState::Vectorscan(Stream::open(database.clone())?),
            Self::Automaton(automaton, _) => LiteralState::Automaton(start(automaton)),
        })
    }

    /// Makes the state that of a new stream.
    pub fn reset(&self, state: &mut LiteralState) {
        match (self, state) {
            (_, LiteralState::Vectorscan(stream)) => stream.reset(),
            (Self::Automaton(automaton, _), LiteralState::Automaton(at)) => *at = start(automaton),
            _ => {}
        }
    }

    /// Searches the next bytes of the stream; `found` gets the rule of each
    /// literal, and may end the search.
    pub fn scan(
        &self,
        state: &mut LiteralState,
        scratch: &mut Scratch,
        bytes: &[u8],
        mut found: impl FnMut(u32) -> ControlFlow<()>,
    ) {
        match (self, state) {
            (_, LiteralState::Vectorscan(stream)) => stream.scan(scratch, bytes, found),
            (Self::Automaton(automaton, rules), LiteralState::Automaton(state)) => {
                for &byte in bytes {
                    *state = automaton.next_state(Anchored::No, *state, byte);
                    if automaton.is_special(*state) && automaton.is_match(*state) {
                        let matches = 0..automaton.match_len(*state);
                        let rule = |at| rules[automaton.match_pattern(*state, at).as_usize()];
                        if matches.map(rule).try_for_each(&mut found).is_break() {
                            return;
                        }
                    }
                }
            }
            _ => {}
        }
    }
}

fn start(automaton: &NFA) -> aho_corasick::automaton::StateID {
    // An unanchored automaton has an unanchored start.
    automaton.start_state(Anchored::No).unwrap_or_default()
}
