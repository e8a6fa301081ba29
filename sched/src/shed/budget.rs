//! How many items a worker takes at once: as many as fit a small time by their
//! expected cost.

/// Takes a full burst where work is known to be cheap, and one item where it
/// may be expensive: what a worker has taken, no other worker can help with.
#[derive(Clone, Debug)]
pub struct TakeBudget {
    budget_ticks: u64,
    burst: usize,
    /// Expected cost of one item, in ticks.
    expected_ticks: u64,
}

/// The expectation falls by one part in `2^FALL_SHIFT` of its distance per
/// observation.
const FALL_SHIFT: u32 = 3;

impl TakeBudget {
    /// Knows nothing yet, so it starts with one item at a time. `burst` is the
    /// most it ever takes, at least 1.
    pub fn new(budget_ticks: u64, burst: usize) -> Self {
        let budget_ticks = budget_ticks.max(1);
        Self { budget_ticks, burst, expected_ticks: budget_ticks }
    }

    /// How many items to take now, from 1 to the burst.
    #[inline]
    pub fn items(&self) -> usize {
        let fitting = self.budget_ticks / self.expected_ticks.max(1);
        (fitting as usize).clamp(1, self.burst)
    }

    /// What `items` items cost together. The expectation rises at once and
    /// falls slowly: to expect too much costs a little throughput, to expect
    /// too little leaves items stuck behind one another.
    #[inline]
    pub fn observe(&mut self, items: usize, ticks: u64) {
        let each = ticks / items.max(1) as u64;
        if each >= self.expected_ticks {
            self.expected_ticks = each;
        } else {
            let distance = self.expected_ticks - each;
            self.expected_ticks -= distance.div_ceil(1 << FALL_SHIFT);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn starts_with_one_and_learns_that_work_is_cheap() {
        let mut budget = TakeBudget::new(50_000, 32);
        assert_eq!(budget.items(), 1);
        for _ in 0..100 {
            let items = budget.items();
            budget.observe(items, 20 * items as u64);
        }
        assert_eq!(budget.items(), 32);
    }

    #[test]
    fn one_expensive_item_makes_it_careful_at_once() {
        let mut budget = TakeBudget::new(50_000, 32);
        for _ in 0..100 {
            budget.observe(32, 640);
        }
        budget.observe(1, 260_000);
        assert_eq!(budget.items(), 1);
    }

    proptest! {
        #[test]
        fn always_takes_something_and_never_more_than_a_burst(
            budget_ticks in 0..u64::MAX, burst in 1..512usize, seen in prop::collection::vec((1..512usize, 0..u64::MAX), 0..50),
        ) {
            let mut budget = TakeBudget::new(budget_ticks, burst);
            for (items, ticks) in seen {
                budget.observe(items, ticks);
                prop_assert!((1..=burst).contains(&budget.items()));
            }
        }

        #[test]
        fn settles_at_what_fits(cost in 1..100_000u64) {
            let mut budget = TakeBudget::new(50_000, 32);
            for _ in 0..200 {
                let items = budget.items();
                budget.observe(items, cost * items as u64);
            }
            let fitting = (50_000 / cost).clamp(1, 32) as usize;
            prop_assert_eq!(budget.items(), fitting);
        }
    }
}
