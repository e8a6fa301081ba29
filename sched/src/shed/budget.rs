//! How many items a worker dequeues at once: as many as fit a time budget by
//! their expected cost.

/// A full burst where items have been cheap, one item where the next may be
/// expensive. No other worker can help with an item that was dequeued.
///
/// The expected cost is that of the most expensive item lately: it rises to
/// each higher observation, and falls by an eighth of the distance per lower
/// one.
#[derive(Clone, Debug)]
pub struct DequeueBudget {
    budget_ticks: u64,
    burst: usize,
    /// Expected cost of one item, in ticks.
    expected_ticks: u64,
}

/// The expectation falls by one part in `2^FALL_SHIFT` of its distance per
/// observation.
const FALL_SHIFT: u32 = 3;

impl DequeueBudget {
    /// Starts with one item at a time, as long as nothing was observed.
    /// `budget_ticks`: how long the items of one dequeue may take together.
    /// `burst`: the most items of a dequeue, at least 1.
    pub fn new(budget_ticks: u64, burst: usize) -> Self {
        let budget_ticks = budget_ticks.max(1);
        Self { budget_ticks, burst, expected_ticks: budget_ticks }
    }

    /// How many items to dequeue now, from 1 to the burst.
    #[inline]
    pub fn items(&self) -> usize {
        let fitting = self.budget_ticks / self.expected_ticks.max(1);
        (fitting as usize).clamp(1, self.burst)
    }

    /// The last dequeue was of `items` items, which took `ticks` together. One
    /// that found nothing says nothing about cost. The expectation rises at
    /// once and falls slowly: too high, it costs a little throughput; too low,
    /// items wait behind an expensive one that no other worker can reach.
    #[inline]
    pub fn observe(&mut self, items: usize, ticks: u64) {
        let Some(each) = ticks.checked_div(items as u64) else { return };
        if each >= self.expected_ticks {
            self.expected_ticks = each;
        } else {
            let distance = self.expected_ticks - each;
            self.expected_ticks -= distance.div_ceil(1 << FALL_SHIFT);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn starts_with_one_and_learns_that_work_is_cheap() {
        let mut budget = DequeueBudget::new(50_000, 32);
        assert_eq!(budget.items(), 1);
        for _ in 0..100 {
            let items = budget.items();
            budget.observe(items, 20 * items as u64);
        }
        assert_eq!(budget.items(), 32);
    }

    #[test]
    fn one_expensive_item_brings_it_back_to_one() {
        let mut budget = DequeueBudget::new(50_000, 32);
        for _ in 0..100 {
            budget.observe(32, 640);
        }
        budget.observe(1, 260_000);
        assert_eq!(budget.items(), 1);
    }

    #[test]
    fn an_empty_dequeue_teaches_nothing() {
        let mut budget = DequeueBudget::new(50_000, 32);
        for _ in 0..100 {
            budget.observe(0, 20);
        }
        assert_eq!(budget.items(), 1, "no item was seen to be cheap");
    }

    proptest! {
        #![proptest_config(crate::cases())]

        #[test]
        fn always_from_one_to_a_burst(
            budget_ticks in 0..u64::MAX, burst in 1..512usize, seen in prop::collection::vec((1..512usize, 0..u64::MAX), 0..50),
        ) {
            let mut budget = DequeueBudget::new(budget_ticks, burst);
            for (items, ticks) in seen {
                budget.observe(items, ticks);
                prop_assert!((1..=burst).contains(&budget.items()));
            }
        }

        #[test]
        fn settles_at_what_fits(cost in 1..100_000u64) {
            let mut budget = DequeueBudget::new(50_000, 32);
            for _ in 0..200 {
                let items = budget.items();
                budget.observe(items, cost * items as u64);
            }
            let fitting = (50_000 / cost).clamp(1, 32) as usize;
            prop_assert_eq!(budget.items(), fitting);
        }
    }
}
