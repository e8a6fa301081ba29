//! The sharded queue between the lcores that shed and the workers: which shard
//! to dequeue from, how many items, and how far that is from the order of
//! arrival. Each shard is a queue in the order of its items' stamps; which kind
//! of queue, the caller decides. [`Heads`] is what the shards show.
//!
//! ```
//! use std::collections::VecDeque;
//!
//! use micropools::shed::{DequeueBudget, Heads, Oldest, Pick};
//!
//! // Items are known by their stamps here.
//! let mut shards = [vec![30, 31, 33], vec![20, 32], vec![]].map(VecDeque::from);
//! let heads = Heads::new(shards.len());
//! // The producer of a shard publishes its items once they are there.
//! for (at, shard) in shards.iter().enumerate() {
//!     shard.front().into_iter().for_each(|&first| heads.enqueued(at, first));
//! }
//! // As many items at a time as take 20,000 ticks. Without experience: one.
//! let (mut pick, mut budget) = (Oldest::default(), DequeueBudget::new(20_000, 32));
//! let mut dequeued = Vec::new();
//! while let Some(at) = pick.pick(&heads) {
//!     // Another worker that has claimed it is quicker.
//!     if !heads.claim(at) {
//!         continue;
//!     }
//!     let items = budget.items().min(shards[at].len());
//!     dequeued.extend(shards[at].drain(..items));
//!     heads.dequeued(at, || shards[at].front().copied());
//!     budget.observe(items, 15_000 * items as u64);
//! }
//! assert_eq!(dequeued, [20, 30, 31, 32, 33]);
//! ```

mod budget;
mod heads;
mod pick;
mod rank;
#[cfg(all(test, not(loom)))]
mod stress;

pub use budget::DequeueBudget;
pub use heads::Heads;
pub use pick::{Affine, Oldest, Pick, Picker, Random, RoundRobin, ShardPick, TwoChoice};
pub use rank::{RankMeter, RankSample, rank_error_bound};

/// One shard itself, as [`RankMeter`] looks at it. Where there are several
/// workers, all of it is a hint.
pub trait Shard {
    /// The arrival of the item at the head, in ticks; `None` when the shard is
    /// empty.
    fn head_stamp(&self) -> Option<u64>;

    /// Items in the shard.
    fn items(&self) -> usize;
}

/// Whether `stamp` is before `other`. Stamps wrap after centuries, and two
/// lcores' clocks may differ by a few ticks: the signed distance decides.
#[inline]
fn is_before(stamp: u64, other: u64) -> bool {
    (stamp.wrapping_sub(other) as i64) < 0
}

#[cfg(all(test, not(loom)))]
mod testing {
    use std::collections::VecDeque;

    use super::{Heads, Shard};

    impl Shard for VecDeque<u64> {
        fn head_stamp(&self) -> Option<u64> {
            self.front().copied()
        }

        fn items(&self) -> usize {
            VecDeque::len(self)
        }
    }

    /// Shards for tests: items are known by their stamps.
    pub struct Sharded {
        pub shards: Vec<VecDeque<u64>>,
        pub heads: Heads,
    }

    impl Sharded {
        pub fn new(shards: impl Iterator<Item = VecDeque<u64>>) -> Self {
            let shards: Vec<_> = shards.collect();
            let heads = Heads::new(shards.len());
            for (at, shard) in shards.iter().enumerate() {
                shard.front().into_iter().for_each(|&stamp| heads.enqueued(at, stamp));
            }
            Self { shards, heads }
        }

        pub fn push(&mut self, at: usize, stamp: u64) {
            self.shards[at].push_back(stamp);
            self.heads.enqueued(at, stamp);
        }

        pub fn pop(&mut self, at: usize) -> Option<u64> {
            let item = self.shards[at].pop_front();
            self.heads.dequeued(at, || self.shards[at].front().copied());
            item
        }
    }
}
