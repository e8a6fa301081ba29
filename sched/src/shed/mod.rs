//! The sharded queue between the lcores that shed and those that work: which
//! shard to take from, how much, and how far that is from the order of arrival.
//! Generic over the ring; knows no packets.

mod budget;
mod pick;
mod rank;

pub use budget::TakeBudget;
pub use pick::{Affine, Oldest, Pick, Picker, Random, RoundRobin, ShardPick, TwoChoice};
pub use rank::{RankMeter, RankSample, rank_error_bound};

/// One shard, as a worker sees it before it takes anything. With several
/// workers all of it is a hint.
pub trait Shard {
    /// When the item at the head arrived, in ticks; `None` when the shard is
    /// empty.
    fn head_stamp(&self) -> Option<u64>;

    /// As `head_stamp`, without looking at the item.
    fn is_empty(&self) -> bool;

    /// Items in the shard.
    fn len(&self) -> usize;
}

/// Whether `stamp` is before `other`. Stamps wrap in centuries, but two lcores'
/// clocks may differ by a few ticks: what counts is the distance.
#[inline]
fn is_before(stamp: u64, other: u64) -> bool {
    (stamp.wrapping_sub(other) as i64) < 0
}

/// A shard for tests: items stand in it by their stamps.
#[cfg(test)]
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
