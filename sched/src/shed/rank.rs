//! How far a worker's dequeues are from the order of arrival, sampled while it
//! works.
//!
//! Two counts, of the item at the head of the shard that was picked:
//!
//! * *Rank error*: older items still queued. A shard is in the order of its
//!   stamps, so the heads bound it: each other shard whose head is older holds
//!   one older item at least, and at most as many as it has. A shard whose head
//!   is younger holds none.
//! * *Overtakes*: younger items dequeued before it, among the last `WINDOW`
//!   dequeues of this worker. A lower bound: dequeues by other workers, and
//!   earlier ones, are not seen. If A is dequeued before an older B, that is
//!   one of A's rank error and one of B's overtakes: over a run that ends with
//!   empty shards both have the same mean.
//!
//! Of a dequeue of several items only the first is looked at. While others
//! enqueue and dequeue, the heads change during the look: a sample may be off
//! by what they did in that time.

use super::{Shard, ShardPick, is_before};

/// One in so many dequeues is sampled, and overtakes are looked for that far
/// back. A sample reads all heads, so it should be seldom.
const WINDOW: usize = 64;

/// The result of one sampled dequeue, in items.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RankSample {
    /// Lower bound of the rank error: older items that were still queued.
    pub at_least: u64,
    /// Upper bound of the rank error.
    pub at_most: u64,
    /// Younger items that were dequeued before; a lower bound.
    pub overtakes: u64,
}

/// Samples one worker's dequeues.
#[derive(Clone, Debug)]
pub struct RankMeter {
    /// Stamps of the last dequeues; a ring.
    stamps: [u64; WINDOW],
    dequeues: usize,
}

impl RankMeter {
    /// Without a dequeue so far.
    pub fn new() -> Self {
        Self { stamps: [0; WINDOW], dequeues: 0 }
    }

    /// To be called before each dequeue, with the shard that was picked.
    /// Returns a sample every `WINDOW` dequeues.
    #[inline]
    pub fn before_dequeue<S: Shard>(&mut self, shards: &[S], picked: usize) -> Option<RankSample> {
        let stamp = shards[picked].head_stamp()?;
        let at = self.dequeues % WINDOW;
        let sample = (at == WINDOW - 1).then(|| self.sample(shards, picked, stamp));
        self.stamps[at] = stamp;
        self.dequeues = self.dequeues.wrapping_add(1);
        sample
    }

    #[cold]
    fn sample<S: Shard>(&self, shards: &[S], picked: usize, stamp: u64) -> RankSample {
        let is_older = |(at, shard): &(usize, &S)| {
            *at != picked && shard.head_stamp().is_some_and(|head| is_before(head, stamp))
        };
        let (mut older_shards, mut older_items) = (0, 0);
        for (_, shard) in shards.iter().enumerate().filter(is_older) {
            older_shards += 1;
            // It may have been emptied since; its head was older all the same.
            older_items += shard.items().max(1) as u64;
        }
        let overtakes =
            self.stamps[..WINDOW - 1].iter().filter(|&&before| is_before(stamp, before)).count();
        RankSample { at_least: older_shards, at_most: older_items, overtakes: overtakes as u64 }
    }
}

impl Default for RankMeter {
    fn default() -> Self {
        Self::new()
    }
}

/// The rank error to expect of `choice` over `shards` shards, where that is
/// known.
///
/// * `Oldest`: 0 while no other lcore enqueues or dequeues. Else it errs by
///   what is enqueued during one choice, by the older items of shards that
///   other workers have claimed, and by what is dequeued between another
///   worker's dequeue and its publication of the new head.
/// * `TwoChoice`: 5S/6 - 1 + 1/(6S) in the mean (Walzer and Williams, A Simple
///   yet Exact Analysis of the MultiQueue, ESA'25). Their model: each item goes
///   to a random shard, one item is dequeued at a time, and no shard runs
///   empty. Shards that are each filled by one lcore can be far worse.
/// * `Random`: unbounded, it grows with the run (Alistarh et al., The Power of
///   Choice in Priority Scheduling, PODC'17). So do `RoundRobin` and `Affine`
///   as soon as shards fill unevenly.
pub fn rank_error_bound(choice: ShardPick, shards: usize) -> Option<f64> {
    let count = shards.max(1) as f64;
    match choice {
        ShardPick::Oldest => Some(0.0),
        ShardPick::TwoChoice => Some((5.0 * count - 1.0) * (count - 1.0) / (6.0 * count)),
        ShardPick::Random | ShardPick::RoundRobin | ShardPick::Affine if shards == 1 => Some(0.0),
        ShardPick::Random | ShardPick::RoundRobin | ShardPick::Affine => None,
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::collections::VecDeque;

    use rand::rngs::SmallRng;
    use rand::{Rng, SeedableRng};

    use super::*;
    use crate::shed::testing::Sharded;
    use crate::shed::{Pick, Picker};

    /// Sums over samples.
    #[derive(Default)]
    struct Counts {
        samples: u64,
        at_least: u64,
        at_most: u64,
        overtakes: u64,
    }

    impl Counts {
        fn add(&mut self, sample: Option<RankSample>) {
            let Some(sample) = sample else { return };
            self.samples += 1;
            self.at_least += sample.at_least;
            self.at_most += sample.at_most;
            self.overtakes += sample.overtakes;
        }

        fn samples(&self) -> u64 {
            self.samples
        }

        fn mean_at_least(&self) -> f64 {
            self.at_least as f64 / self.samples as f64
        }

        fn mean_at_most(&self) -> f64 {
            self.at_most as f64 / self.samples as f64
        }

        fn mean_overtakes(&self) -> f64 {
            self.overtakes as f64 / self.samples as f64
        }
    }

    /// Enqueues and dequeues one item in turn, over `count` shards that never
    /// run empty. Returns the exact mean rank error and overtakes, and what the
    /// meter counted.
    fn simulate(choice: ShardPick, count: usize) -> (f64, f64, Counts) {
        const ITEMS: u64 = 40_000;
        let mut rng = SmallRng::seed_from_u64(1);
        let mut sharded = Sharded::new((0..count).map(|_| VecDeque::new()));
        (0..1_000 * count as u64).for_each(|stamp| sharded.push(rng.random_range(0..count), stamp));
        let mut pick = Picker::new(choice, 2, 0, 1);
        let (mut meter, mut counts) = (RankMeter::new(), Counts::default());
        let mut dequeued = vec![];
        let mut rank_errors = 0;
        for stamp in (1_000 * count as u64..).take(ITEMS as usize) {
            sharded.push(rng.random_range(0..count), stamp);
            let at = pick.pick(&sharded.heads).expect("they never run empty");
            counts.add(meter.before_dequeue(&sharded.shards, at));
            let item = sharded.pop(at).expect("it is not empty");
            rank_errors += sharded
                .shards
                .iter()
                .map(|shard| shard.partition_point(|&other| other < item))
                .sum::<usize>();
            dequeued.push(item);
        }
        let overtakes: usize = dequeued
            .iter()
            .enumerate()
            .map(|(at, item)| {
                dequeued[at.saturating_sub(500)..at].iter().filter(|other| *other > item).count()
            })
            .sum();
        (rank_errors as f64 / ITEMS as f64, overtakes as f64 / ITEMS as f64, counts)
    }

    #[test]
    #[cfg_attr(miri, ignore = "many draws of safe code")]
    fn oldest_keeps_the_order() {
        for shards in [1, 2, 8] {
            let (rank_error, overtakes, counts) = simulate(ShardPick::Oldest, shards);
            assert_eq!((rank_error, overtakes), (0.0, 0.0));
            assert_eq!(
                (counts.mean_at_least(), counts.mean_at_most(), counts.mean_overtakes()),
                (0.0, 0.0, 0.0)
            );
            assert_eq!(counts.samples(), 40_000 / WINDOW as u64);
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "many draws of safe code")]
    fn two_choices_err_as_theory_says() {
        for shards in [1, 2, 4, 8] {
            let (rank_error, overtakes, counts) = simulate(ShardPick::TwoChoice, shards);
            let theory = rank_error_bound(ShardPick::TwoChoice, shards).unwrap();
            assert!(
                (rank_error - theory).abs() <= 0.05 * theory,
                "{shards} shards: {rank_error} instead of {theory}"
            );
            assert!(
                (overtakes - rank_error).abs() <= 0.05 * theory,
                "{shards} shards: {overtakes} overtakes, {rank_error} rank error"
            );
            let sampling_error = 0.25 * theory;
            assert!(
                counts.mean_at_least() <= rank_error + sampling_error
                    && rank_error <= counts.mean_at_most() + sampling_error
            );
            assert!(counts.mean_overtakes() <= overtakes + sampling_error);
            assert!(shards == 1 || counts.mean_at_least() > 0.0 && counts.mean_overtakes() > 0.0);
        }
    }

    #[test]
    fn bounds_enclose_the_older_items() {
        let shards =
            [vec![50, 60], vec![10, 20, 70], vec![], vec![55], vec![40]].map(VecDeque::from);
        let (mut meter, mut counts) = (RankMeter::new(), Counts::default());
        (0..WINDOW).for_each(|_| counts.add(meter.before_dequeue(&shards, 0)));
        assert_eq!(
            (counts.samples(), counts.mean_at_least(), counts.mean_at_most()),
            (1, 2.0, 4.0)
        );
    }
}
