//! The sharded queue between the lcores that shed and those that work: which shard to take from, and how much. Generic over the
//! ring; knows no packets.

mod budget;

pub use budget::TakeBudget;

/// One shard, as a worker sees it before it takes anything.
pub trait Shard {
    /// When the item at the head arrived, in ticks; `None` when the shard is empty. With several workers a hint.
    fn head_stamp(&self) -> Option<u64>;

    /// As `head_stamp`, without looking at the item.
    fn is_empty(&self) -> bool;
}

/// The shard whose head has waited longest; of equals the first.
///
/// With one worker and stamps taken before items are put, this serves items in the order of their stamps among what the shards
/// show during one scan.
#[inline]
pub fn oldest<S: Shard>(shards: &[S]) -> Option<usize> {
    if let [only] = shards {
        return (!only.is_empty()).then_some(0);
    }
    let mut best: Option<(usize, u64)> = None;
    for (at, shard) in shards.iter().enumerate() {
        if let Some(stamp) = shard.head_stamp() {
            // Stamps wrap in centuries, but two lcores' clocks may differ by a few ticks: compare by distance.
            if best.is_none_or(|(_, oldest)| (stamp.wrapping_sub(oldest) as i64) < 0) {
                best = Some((at, stamp));
            }
        }
    }
    best.map(|(at, _)| at)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    impl Shard for Option<u64> {
        fn head_stamp(&self) -> Option<u64> {
            *self
        }

        fn is_empty(&self) -> bool {
            self.is_none()
        }
    }

    #[test]
    fn nothing_to_take_from_empty_shards() {
        assert_eq!(oldest::<Option<u64>>(&[None]), None);
        assert_eq!(oldest::<Option<u64>>(&[]), None);
        assert_eq!(oldest(&[None, None]), None);
    }

    #[test]
    fn stamps_may_wrap() {
        assert_eq!(oldest(&[Some(3), Some(u64::MAX - 5)]), Some(1));
    }

    proptest! {
        #[test]
        fn takes_the_first_of_the_smallest(shards in prop::collection::vec(prop::option::of(0..1000u64), 0..40)) {
            let expected = shards.iter().enumerate().filter_map(|(at, stamp)| stamp.map(|stamp| (stamp, at))).min().map(|(_, at)| at);
            prop_assert_eq!(oldest(&shards), expected);
        }
    }
}
