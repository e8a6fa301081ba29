//! A rules file as all lcores use it, and what becomes of flows when another
//! one replaces it.
//!
//! Flows store the number of the rule that decided them. A name keeps its
//! number for the whole run. So a rule that is in the next file too keeps its
//! flows and its counts, whatever its position and action are there. Flows of a
//! rule that is gone are scanned again, and so are those without a match so
//! far.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::automata::Automata;
use super::rules::{Action, RULES_MAX, Rules};
use super::scan::Scanner;
use super::state::FlowState;
use crate::stats::DpiCounts;
use mpfwd_common::error::{Error, Result};

/// All names of rules in this run, with the last action of each.
#[derive(Debug, Default)]
pub struct RuleNames {
    numbers: HashMap<String, u32>,
    named: Vec<(String, Action)>,
}

impl RuleNames {
    /// Each rule's number, in the order of the file.
    ///
    /// # Errors
    /// When the run has had too many names; nothing has changed then.
    fn number(&mut self, rules: &Rules) -> Result<Vec<u32>> {
        let new = rules.0.iter().filter(|rule| !self.numbers.contains_key(&rule.name)).count();
        if self.named.len() + new > RULES_MAX {
            let (had, most) = (self.named.len(), RULES_MAX);
            return Err(Error::Usage(format!(
                "--rules: {new} new names of rules on top of {had} in this run, at most {most}: restart mpfwd"
            )));
        }
        let number = |rule: &super::Rule| {
            let next = self.named.len() as u32;
            let number = *self.numbers.entry(rule.name.clone()).or_insert(next);
            if number == next {
                self.named.push((rule.name.clone(), rule.action));
            }
            self.named[number as usize].1 = rule.action;
            number
        };
        Ok(rules.0.iter().map(number).collect())
    }

    /// Name and action of each rule, by number.
    pub fn named(&self) -> &[(String, Action)] {
        &self.named
    }
}

/// The rules of one file, with what each lcore needs to apply them.
pub struct RuleSet {
    generation: u32,
    rules: Rules,
    /// By position in the file.
    numbers: Vec<u32>,
    /// By number: the position in the file, if the rule is there.
    places: Vec<Option<u32>>,
    /// By lcore. Built beforehand, and left here when they are replaced, so
    /// that lcores neither allocate nor free.
    scanners: Vec<Mutex<Option<Scanner>>>,
    streams_max: usize,
    /// By lcore; each has a single writer.
    counts: Vec<DpiCounts>,
}

impl RuleSet {
    /// `generation`: counts the rule sets of a run. `automata`: those of
    /// `rules`.
    ///
    /// # Errors
    /// When the run has had too many rules, or memory runs out.
    pub fn new(
        rules: Rules,
        automata: Automata,
        generation: u32,
        lcores: usize,
        names: &mut RuleNames,
    ) -> Result<Self> {
        let automata = Arc::new(automata);
        let streams_max = automata.streams_max();
        let numbers = names.number(&rules)?;
        let mut places = vec![None; names.named.len()];
        (0..).zip(&numbers).for_each(|(place, &number)| places[number as usize] = Some(place));
        let scanner = |_| Scanner::new(automata.clone()).map(|scanner| Mutex::new(Some(scanner)));
        let scanners = (0..lcores).map(scanner).collect::<Result<_>>()?;
        let counts = (0..lcores).map(|_| DpiCounts::new(places.len())).collect();
        Ok(Self { generation, rules, numbers, places, scanners, streams_max, counts })
    }

    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// TCP streams that there is memory for.
    pub fn streams_max(&self) -> usize {
        self.streams_max
    }

    /// The number of rules in the file.
    pub fn len(&self) -> usize {
        self.rules.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rules.0.is_empty()
    }

    /// The number of the rule at this position.
    #[inline]
    pub(super) fn number(&self, place: u32) -> u32 {
        self.numbers[place as usize]
    }

    /// The action of the rule of this number; `None` if it is not in this file.
    #[inline]
    pub(super) fn action(&self, number: u32) -> Option<Action> {
        let place = self.places.get(number as usize).copied().flatten()?;
        Some(self.rules.0[place as usize].action)
    }

    /// The state of a flow under these rules.
    #[inline]
    pub(super) fn state(&self, bits: u64) -> FlowState {
        match FlowState::from_bits(bits, self.generation) {
            FlowState::Decided(number) if self.action(number).is_none() => FlowState::Open(0),
            state => state,
        }
    }

    #[inline]
    pub(super) fn counts(&self, lcore: usize) -> &DpiCounts {
        &self.counts[lcore]
    }

    /// Returns the lcore's scanner for these rules, and stores the one it had
    /// before.
    pub(super) fn exchange(&self, lcore: usize, before: Option<Scanner>) -> Option<Scanner> {
        let mut own = self.scanners[lcore].lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *own, before)
    }

    /// Everything counted under these rules, by lcore.
    pub fn all_counts(&self) -> &[DpiCounts] {
        &self.counts
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn set(text: &str, generation: u32, names: &mut RuleNames) -> RuleSet {
        let rules = Rules::parse(text.as_bytes(), Path::new(".")).expect("rules");
        let automata = Automata::compile(&rules, Path::new("rules"), 0).expect("automata");
        RuleSet::new(rules, automata, generation, 1, names).expect("a set")
    }

    #[test]
    fn rules_keep_their_numbers_by_their_names() {
        let mut names = RuleNames::default();
        let before = set("drop a \"a\"\nforward b \"b\"\n", 0, &mut names);
        let after = set("drop c \"c\"\nmark=3 a \"a\"\n", 1, &mut names);
        assert_eq!(
            ([0, 1].map(|place| before.number(place)), [0, 1].map(|place| after.number(place))),
            ([0, 1], [2, 0])
        );
        assert_eq!(
            [0, 1, 2, 3].map(|number| after.action(number)),
            [Some(Action::Mark(3)), None, Some(Action::Drop), None]
        );
        // b is gone; a keeps its flows; a passed flow is open again.
        let [a, b, passed] = [FlowState::Decided(0), FlowState::Decided(1), FlowState::Passed]
            .map(|state| state.to_bits(0));
        assert_eq!(
            [a, b, passed].map(|bits| after.state(bits)),
            [FlowState::Decided(0), FlowState::Open(0), FlowState::Open(0)]
        );
        assert_eq!(
            [a, b, passed].map(|bits| before.state(bits)),
            [FlowState::Decided(0), FlowState::Decided(1), FlowState::Passed]
        );
        let named: Vec<_> =
            names.named().iter().map(|(name, action)| format!("{action} {name}")).collect();
        assert_eq!(named, ["mark=3 a", "forward b", "drop c"]);
    }
}
