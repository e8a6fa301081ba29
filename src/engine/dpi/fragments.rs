//! Which flow the fragments of a packet belong to: only the first one says.

use micropools::flow_table::FlowTable;

/// Packets of which fragments are remembered.
const PACKETS: usize = 4096;

/// For each packet in fragments the identifier of its flow. Entries age, and
/// the oldest make room.
///
/// A value of the table has 40 bits. Each identifier therefore takes two
/// entries, each with a half, and eight bits that both halves must share: where
/// two lcores write different flows under one key at a time, the halves differ,
/// and the flow is unknown.
pub struct Fragments {
    halves: FlowTable,
}

const HALF: u32 = 32;

impl Fragments {
    /// An entry that is not looked up during `timeout_ticks` is forgotten.
    pub fn new(timeout_ticks: u64) -> Self {
        Self { halves: FlowTable::new(2 * PACKETS, timeout_ticks) }
    }

    /// The flow of the fragments that have this identifier in common.
    pub fn get(&self, fragments: u64, now_ticks: u64) -> Option<u64> {
        let upper = self.halves.get(fragments, now_ticks)?;
        let lower = self.halves.get(!fragments, now_ticks)?;
        (upper >> HALF == lower >> HALF).then(|| upper << HALF | lower & u64::from(u32::MAX))
    }

    pub fn set(&self, fragments: u64, flow_id: u64, now_ticks: u64) {
        let check = (flow_id.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) << HALF;
        self.halves.update(fragments, now_ticks, |_| check | flow_id >> HALF);
        self.halves.update(!fragments, now_ticks, |_| check | flow_id & u64::from(u32::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flow_of_the_first_fragment_is_found_until_it_ages() {
        let fragments = Fragments::new(1 << 20);
        let id = |n: u64| n.wrapping_mul(0xd134_2543_de82_ef95) | 1;
        (0..1_000).for_each(|n| fragments.set(id(n), !id(n), 5));
        assert!((0..1_000).filter(|&n| fragments.get(id(n), 6) == Some(!id(n))).count() > 990);
        assert_eq!(fragments.get(id(1_001), 6), None);
        assert_eq!(fragments.get(id(1), 5 + (3 << 20)), None);
    }

    #[test]
    fn halves_of_two_flows_are_no_flow() {
        let fragments = Fragments::new(1 << 20);
        fragments.set(7, 1 << 40 | 1, 0);
        fragments.set(8, 2 << 40 | 2, 0);
        let upper = fragments.halves.get(8, 0).expect("there");
        fragments.halves.update(7, 0, |_| upper);
        assert_eq!(fragments.get(7, 0), None);
    }
}
