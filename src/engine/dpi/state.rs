//! The flow table's value for a flow.

use super::rules::RULES_MAX;
use micropools::flow_table::VALUE_MAX;

/// How far a flow has been scanned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowState {
    /// Undecided: this many packets with a payload were scanned, and no rule
    /// matched.
    Open(u16),
    /// No match in as many packets as are scanned.
    Passed,
    /// The rule of this number decided it.
    Decided(u32),
}

/// Layout, from the top: 18 bits for the generation of the rules, two for the
/// kind, 20 for the count or rule.
const RULE_BITS: u32 = 20;
const GENERATION_SHIFT: u32 = RULE_BITS + 2;
const GENERATION_BITS: u32 = 18;
const GENERATION_MASK: u64 = (1 << GENERATION_BITS) - 1;
const RULE_MASK: u64 = (1 << RULE_BITS) - 1;
const PASSED: u64 = 1 << RULE_BITS;
const DECIDED: u64 = 2 << RULE_BITS;
/// Beside `DECIDED`: the flow has ended, and another may begin.
const ENDED: u64 = PASSED;
const _: () =
    assert!((GENERATION_MASK << GENERATION_SHIFT) + DECIDED + ENDED + RULE_MASK <= VALUE_MAX);
const _: () = assert!(RULES_MAX as u64 <= RULE_MASK);

/// Whether a rule has decided the flow, of these rules or of others.
pub fn is_decided(bits: u64) -> bool {
    bits & DECIDED != 0
}

/// A decided flow's number after its connection has ended.
pub fn ended(bits: u64) -> u64 {
    bits | ENDED
}

/// Whether a decided flow's connection has ended.
pub fn has_ended(bits: u64) -> bool {
    is_decided(bits) && bits & ENDED != 0
}

/// Whether the state is of later rules than those of `generation`. Correct for
/// half of all generations ahead.
pub fn is_later(bits: u64, generation: u32) -> bool {
    let ahead = (bits >> GENERATION_SHIFT).wrapping_sub(u64::from(generation)) & GENERATION_MASK;
    ahead != 0 && ahead <= GENERATION_MASK / 2
}

impl FlowState {
    /// As the table's number, under the rules of `generation`.
    pub fn to_bits(self, generation: u32) -> u64 {
        let state = match self {
            Self::Open(pkts) => u64::from(pkts),
            Self::Passed => PASSED,
            Self::Decided(rule) => DECIDED | u64::from(rule),
        };
        (u64::from(generation) & GENERATION_MASK) << GENERATION_SHIFT | state
    }

    /// The state under the rules of `generation`. A decision stays; that other
    /// rules found nothing says nothing about these.
    pub fn from_bits(bits: u64, generation: u32) -> Self {
        let is_of_these = bits >> GENERATION_SHIFT == u64::from(generation) & GENERATION_MASK;
        match bits & ((1 << GENERATION_SHIFT) - 1) {
            DECIDED.. => Self::Decided((bits & RULE_MASK) as u32),
            _ if !is_of_these => Self::Open(0),
            PASSED => Self::Passed,
            _ => Self::Open(bits as u16),
        }
    }

    /// The state after another packet was scanned to the end and `found`
    /// matched. A decision stays, also if a later scan ends in another. Of a
    /// flow without a match `pkts_max` packets are scanned; a packet beyond
    /// those that was already deferred still counts.
    pub fn after(self, found: Option<u32>, pkts_max: u16) -> Self {
        match (self, found) {
            (Self::Decided(rule), _) | (_, Some(rule)) => Self::Decided(rule),
            (Self::Open(pkts), None) if pkts.saturating_add(1) < pkts_max => Self::Open(pkts + 1),
            _ => Self::Passed,
        }
    }
}

#[cfg(test)]
mod tests {
    use FlowState::{Decided, Open, Passed};

    use super::*;

    #[test]
    fn states_survive_the_round_trip() {
        for generation in [0, 1, GENERATION_MASK as u32, u32::MAX] {
            for state in [Open(0), Open(u16::MAX), Passed, Decided(0), Decided(RULE_MASK as u32)] {
                let bits = state.to_bits(generation);
                assert_eq!(FlowState::from_bits(bits, generation), state);
                let later = if let Decided(rule) = state { Decided(rule) } else { Open(0) };
                assert_eq!(FlowState::from_bits(bits, generation.wrapping_add(1)), later);
                assert!(!is_later(bits, generation) && !is_later(bits, generation.wrapping_add(1)));
                assert!(is_later(bits, generation.wrapping_sub(1)));
            }
        }
    }

    #[test]
    fn the_end_of_a_decided_flow_leaves_its_rule() {
        for rule in [0, 7, RULE_MASK as u32] {
            let bits = Decided(rule).to_bits(3);
            assert!(is_decided(bits) && !has_ended(bits) && has_ended(ended(bits)));
            assert_eq!(FlowState::from_bits(ended(bits), 3), Decided(rule));
        }
        assert!(![Open(9), Passed].iter().any(|state| has_ended(state.to_bits(3))));
    }

    #[test]
    fn a_flow_is_scanned_until_it_is_decided() {
        assert_eq!(
            (Open(0).after(None, 1), Open(0).after(None, 2), Open(1).after(None, 2)),
            (Passed, Open(1), Passed)
        );
        assert_eq!(
            (Open(3).after(Some(7), 8), Passed.after(Some(7), 8), Passed.after(None, 8)),
            (Decided(7), Decided(7), Passed)
        );
        assert_eq!(
            (Decided(1).after(Some(0), 8), Decided(1).after(None, 8)),
            (Decided(1), Decided(1))
        );
    }
}
