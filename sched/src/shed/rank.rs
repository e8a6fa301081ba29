//! How far a worker's takes are from the order of arrival, sampled while it
//! works.
//!
//! Two counts, of the item at the head of the shard that was picked:
//!
//! * *Rank error*: older items still queued. One shard is in the order of its
//!   stamps, so the heads alone bound it: in each other shard whose head is
//!   older, at least one item and at most all of them are. Shards whose head is
//!   younger hold none.
//! * *Overtakes*: younger items taken before it, among the last `WINDOW` takes
//!   of this worker. What other workers took, or this one longer ago, is not
//!   seen: a lower bound. Every overtake is one item's rank error and another's
//!   overtake, so that over a run that ends with empty shards both have the
//!   same mean.
//!
//! Where several items are taken at once, only the first is looked at. While
//! others put and take, the heads change during the look: each sample may be
//! off by what they published or took in that time.

use super::{Shard, ShardPick, is_before};

/// Every so many takes one is looked at; also how many takes back overtakes are
/// looked for. The look reads all heads, so it should be seldom.
const WINDOW: usize = 64;

/// What one sampled dequeue showed, in items.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RankSample {
    /// Bounds of the rank error: older items that were still queued.
    pub at_least: u64,
    pub at_most: u64,
    /// Younger items that were dequeued before; a lower bound.
    pub overtakes: u64,
}

/// Samples one worker's dequeues.
#[derive(Clone, Debug)]
pub struct RankMeter {
    /// Stamps of the last takes; a ring.
    taken: [u64; WINDOW],
    takes: usize,
}

impl RankMeter {
    pub fn new() -> Self {
        Self { taken: [0; WINDOW], takes: 0 }
    }

    /// To be called before each dequeue, with the shard that was picked.
    /// Returns a sample every `WINDOW` dequeues.
    #[inline]
    pub fn before_dequeue<S: Shard>(&mut self, shards: &[S], picked: usize) -> Option<RankSample> {
        let stamp = shards[picked].head_stamp()?;
        let at = self.takes % WINDOW;
        let sample = (at == WINDOW - 1).then(|| self.sample(shards, picked, stamp));
        self.taken[at] = stamp;
        self.takes = self.takes.wrapping_add(1);
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
            older_items += shard.len().max(1) as u64;
        }
        let overtakes =
            self.taken[..WINDOW - 1].iter().filter(|&&taken| is_before(stamp, taken)).count();
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
/// * `Oldest`: 0 while nobody else puts or takes; else at most what is
///   published during one scan of the heads.
/// * `TwoChoice`: 5S/6 - 1 + 1/(6S) in the mean (Walzer and Williams, A Simple
///   yet Exact Analysis of the MultiQueue, ESA'25). Their model: each item goes
///   to a random shard, one item is taken at a time, and no shard runs empty.
///   Shards that are filled each by its own lcore can be far worse.
/// * `Random`: it has no bound, it grows with the run (Alistarh et al., The
///   Power of Choice in Priority Scheduling, PODC'17). So it does for
///   `RoundRobin` and `Affine`, as soon as shards don't fill evenly.
pub fn rank_error_bound(choice: ShardPick, shards: usize) -> Option<f64> {
    let count = shards.max(1) as f64;
    match choice {
        ShardPick::Oldest => Some(0.0),
        ShardPick::TwoChoice => Some((5.0 * count - 1.0) * (count - 1.0) / (6.0 * count)),
        ShardPick::Random | ShardPick::RoundRobin | ShardPick::Affine if shards == 1 => Some(0.0),
        ShardPick::Random | ShardPick::RoundRobin | ShardPick::Affine => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use rand::rngs::SmallRng;
    use rand::{Rng, SeedableRng};

    use super::*;
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

    /// One item put and one taken in turn, over `count` shards that never run
    /// empty. Returns the exact mean rank error and overtakes, and what the
    /// meter counted.
    fn simulate(choice: ShardPick, count: usize) -> (f64, f64, Counts) {
        const ITEMS: u64 = 40_000;
        let mut rng = SmallRng::seed_from_u64(1);
        let mut shards = vec![VecDeque::new(); count];
        (0..1_000 * count as u64)
            .for_each(|stamp| shards[rng.random_range(0..count)].push_back(stamp));
        let mut pick = Picker::new(choice, 2, 0, 1);
        let (mut meter, mut counts) = (RankMeter::new(), Counts::default());
        let mut taken = vec![];
        let mut rank_errors = 0;
        for stamp in (1_000 * count as u64..).take(ITEMS as usize) {
            shards[rng.random_range(0..count)].push_back(stamp);
            let at = pick.pick(&shards).expect("they never run empty");
            counts.add(meter.before_dequeue(&shards, at));
            let item = shards[at].pop_front().expect("it is not empty");
            rank_errors += shards
                .iter()
                .map(|shard| shard.partition_point(|&other| other < item))
                .sum::<usize>();
            taken.push(item);
        }
        let overtakes: usize = taken
            .iter()
            .enumerate()
            .map(|(at, item)| {
                taken[at.saturating_sub(500)..at].iter().filter(|other| *other > item).count()
            })
            .sum();
        (rank_errors as f64 / ITEMS as f64, overtakes as f64 / ITEMS as f64, counts)
    }

    #[test]
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
    fn the_bounds_enclose_what_is_older() {
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
