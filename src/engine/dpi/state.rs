//! What the flow table keeps of a flow.

use crate::engine::flow_table::VALUE_MAX;

/// How far a flow has been looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowState {
    /// Not decided: so many packets with a payload were scanned, and no rule matched.
    Open(u16),
    /// Nothing was found in as many packets as are looked at.
    Passed,
    /// This rule decided it.
    Decided(u16),
}

const PASSED: u64 = 1 << 16;
const DECIDED: u64 = 2 << 16;
const _: () = assert!(DECIDED + 0xffff <= VALUE_MAX);

impl FlowState {
    /// As the table's number.
    pub fn to_bits(self) -> u64 {
        match self {
            Self::Open(pkts) => u64::from(pkts),
            Self::Passed => PASSED,
            Self::Decided(rule) => DECIDED | u64::from(rule),
        }
    }

    pub fn from_bits(bits: u64) -> Self {
        match bits {
            PASSED => Self::Passed,
            DECIDED.. => Self::Decided(bits as u16),
            _ => Self::Open(bits as u16),
        }
    }

    /// The state after another packet was scanned to the end, in which `found` matched. What a rule decided stays, whoever comes late; of flows
    /// without a hit `pkts_max` packets are looked at, and what is scanned beyond those because it was on its way already still counts.
    pub fn after(self, found: Option<u16>, pkts_max: u16) -> Self {
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
    fn numbers_come_back_as_they_went() {
        for state in [Open(0), Open(u16::MAX), Passed, Decided(0), Decided(u16::MAX)] {
            assert_eq!(FlowState::from_bits(state.to_bits()), state);
        }
    }

    #[test]
    fn a_flow_is_looked_at_until_something_decides() {
        assert_eq!((Open(0).after(None, 1), Open(0).after(None, 2), Open(1).after(None, 2)), (Passed, Open(1), Passed));
        assert_eq!((Open(3).after(Some(7), 8), Passed.after(Some(7), 8), Passed.after(None, 8)), (Decided(7), Decided(7), Passed));
        assert_eq!((Decided(1).after(Some(0), 8), Decided(1).after(None, 8)), (Decided(1), Decided(1)));
    }
}
