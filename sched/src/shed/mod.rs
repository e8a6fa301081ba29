//! The sharded queue between the lcores that shed and the workers: which shard to
//! dequeue from, how many items, and how far that is from the order of arrival.
//! Each shard is a queue in the order of its items' stamps; generic over the
//! queue.
//!
//! ```
//! use std::collections::VecDeque;
//!
//! use micropools::shed::{DequeueBudget, Oldest, Pick, Shard};
//!
//! /// Items are known by their stamps here.
//! struct Queue(VecDeque<u64>);
//!
//! impl Shard for Queue {
//!     fn head_stamp(&self) -> Option<u64> {
//!         self.0.front().copied()
//!     }
//!     fn is_empty(&self) -> bool {
//!         self.0.is_empty()
//!     }
//!     fn len(&self) -> usize {
//!         self.0.len()
//!     }
//! }
//!
//! let mut shards = [vec![30, 31, 33], vec![20, 32], vec![]].map(|stamps| Queue(stamps.into()));
//! // As many items at a time as take 20,000 ticks. Without experience: one.
//! let mut budget = DequeueBudget::new(20_000, 32);
//! let mut dequeued = Vec::new();
//! while let Some(at) = Oldest.pick(&shards) {
//!     let items = budget.items().min(shards[at].len());
//!     dequeued.extend(shards[at].0.drain(..items));
//!     budget.observe(items, 15_000 * items as u64);
//! }
//! assert_eq!(dequeued, [20, 30, 31, 32, 33]);
//! ```

mod budget;
mod pick;
mod rank;

pub use budget::DequeueBudget;
pub use pick::{Affine, Oldest, Pick, Picker, Random, RoundRobin, ShardPick, TwoChoice};
pub use rank::{RankMeter, RankSample, rank_error_bound};

/// One shard, as a worker sees it before it dequeues. Where there are several
/// workers, all of it is a hint.
pub trait Shard {
    /// The arrival of the item at the head, in ticks; `None` when the shard is
    /// empty.
    fn head_stamp(&self) -> Option<u64>;

    /// As `head_stamp`, without reading the item.
    fn is_empty(&self) -> bool;

    /// Items in the shard.
    fn len(&self) -> usize;
}

/// Whether `stamp` is before `other`. Stamps wrap after centuries, and two
/// lcores' clocks may differ by a few ticks: the signed distance decides.
#[inline]
fn is_before(stamp: u64, other: u64) -> bool {
    (stamp.wrapping_sub(other) as i64) < 0
}

/// A shard for tests: items are known by their stamps.
#[cfg(all(test, not(loom)))]
impl Shard for std::collections::VecDeque<u64> {
    fn head_stamp(&self) -> Option<u64> {
        self.front().copied()
    }

    fn is_empty(&self) -> bool {
        std::collections::VecDeque::is_empty(self)
    }

    fn len(&self) -> usize {
        std::collections::VecDeque::len(self)
    }
}
