//! Which shard a worker dequeues from next. Use [`Oldest`]; the others are there to
//! be compared with it.

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::{Shard, is_before};

/// A way of choosing. All look at every shard before they report that all are
/// empty.
pub trait Pick {
    /// The shard to dequeue from; `None` if all are empty.
    fn pick<S: Shard>(&mut self, shards: &[S]) -> Option<usize>;
}

/// Names of the choices, as they are written on command lines and in reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "kebab-case"))]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
pub enum ShardPick {
    /// The shard whose head has waited longest
    Oldest,
    /// The older head of two random shards
    TwoChoice,
    /// A random shard
    Random,
    /// Shard after shard
    RoundRobin,
    /// The worker's own shards, others only when these are empty
    Affine,
}

impl ShardPick {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Oldest, Self::TwoChoice, Self::Random, Self::RoundRobin, Self::Affine];
}

/// Of the shards that `places` names, the one with the oldest head; of equals the
/// first.
#[inline]
fn oldest_of<S: Shard>(shards: &[S], places: impl Iterator<Item = usize>) -> Option<usize> {
    let mut best: Option<(usize, u64)> = None;
    for at in places {
        if let Some(stamp) = shards[at].head_stamp()
            && best.is_none_or(|(_, oldest)| is_before(stamp, oldest))
        {
            best = Some((at, stamp));
        }
    }
    best.map(|(at, _)| at)
}

/// The first non-empty shard from `first` on, round the end.
#[inline]
fn next_of<S: Shard>(shards: &[S], first: usize) -> Option<usize> {
    (first..shards.len()).chain(0..first).find(|&at| !shards[at].is_empty())
}

/// The shard whose head has waited longest; of equals the first.
///
/// With one worker, and stamps read before items are enqueued, items are dequeued
/// in the order of their stamps, of those that the shards show during one scan.
#[derive(Clone, Copy, Debug, Default)]
pub struct Oldest;

impl Pick for Oldest {
    #[inline]
    fn pick<S: Shard>(&mut self, shards: &[S]) -> Option<usize> {
        match shards {
            [only] => (!only.is_empty()).then_some(0),
            _ => oldest_of(shards, 0..shards.len()),
        }
    }
}

/// The older head of two shards drawn at random, which may be the same one twice:
/// the MultiQueue of Rihani, Sanders and Dementiev (SPAA'15). Reads two heads
/// however many shards there are. Over shards that fill unevenly it starves the
/// fullest: one of S shards is drawn in at most 1 - (1 - 1/S)^2 of the dequeues.
#[derive(Clone, Debug)]
pub struct TwoChoice(SmallRng);

impl Pick for TwoChoice {
    #[inline]
    fn pick<S: Shard>(&mut self, shards: &[S]) -> Option<usize> {
        if shards.is_empty() {
            return None;
        }
        let drawn = [0; 2].map(|_| self.0.random_range(0..shards.len()));
        oldest_of(shards, drawn.into_iter()).or_else(|| Oldest.pick(shards))
    }
}

/// A shard drawn at random, or the next that is not empty.
#[derive(Clone, Debug)]
pub struct Random(SmallRng);

impl Pick for Random {
    #[inline]
    fn pick<S: Shard>(&mut self, shards: &[S]) -> Option<usize> {
        if shards.is_empty() {
            return None;
        }
        let first = self.0.random_range(0..shards.len());
        next_of(shards, first)
    }
}

/// The shard after the last one, or the next that is not empty.
#[derive(Clone, Copy, Debug, Default)]
pub struct RoundRobin {
    next: usize,
}

impl Pick for RoundRobin {
    #[inline]
    fn pick<S: Shard>(&mut self, shards: &[S]) -> Option<usize> {
        let first = if self.next < shards.len() { self.next } else { 0 };
        let at = next_of(shards, first)?;
        self.next = at + 1;
        Some(at)
    }
}

/// The oldest head of the worker's own shards; of all shards when these are empty.
/// With W workers, shard s belongs to worker s mod W; with fewer shards than
/// workers some workers have none.
#[derive(Clone, Copy, Debug)]
pub struct Affine {
    worker: usize,
    workers: usize,
}

impl Affine {
    /// For the `worker`-th of `workers`, counted from 0.
    pub fn new(worker: usize, workers: usize) -> Self {
        Self { worker, workers: workers.max(1) }
    }
}

impl Pick for Affine {
    #[inline]
    fn pick<S: Shard>(&mut self, shards: &[S]) -> Option<usize> {
        oldest_of(shards, (self.worker..shards.len()).step_by(self.workers))
            .or_else(|| Oldest.pick(shards))
    }
}

/// Any of them, chosen once per run. One branch per dequeue, not per item.
#[derive(Clone, Debug)]
pub enum Picker {
    /// See [`Oldest`].
    Oldest(Oldest),
    /// See [`TwoChoice`].
    TwoChoice(TwoChoice),
    /// See [`Random`].
    Random(Random),
    /// See [`RoundRobin`].
    RoundRobin(RoundRobin),
    /// See [`Affine`].
    Affine(Affine),
}

impl Picker {
    /// For the `worker`-th of `workers`, counted from 0. `seed` should differ
    /// between workers, so that they do not draw the same shards.
    pub fn new(choice: ShardPick, seed: u64, worker: usize, workers: usize) -> Self {
        match choice {
            ShardPick::Oldest => Self::Oldest(Oldest),
            ShardPick::TwoChoice => Self::TwoChoice(TwoChoice(SmallRng::seed_from_u64(seed))),
            ShardPick::Random => Self::Random(Random(SmallRng::seed_from_u64(seed))),
            ShardPick::RoundRobin => Self::RoundRobin(RoundRobin::default()),
            ShardPick::Affine => Self::Affine(Affine::new(worker, workers)),
        }
    }
}

impl Pick for Picker {
    #[inline]
    fn pick<S: Shard>(&mut self, shards: &[S]) -> Option<usize> {
        match self {
            Self::Oldest(pick) => pick.pick(shards),
            Self::TwoChoice(pick) => pick.pick(shards),
            Self::Random(pick) => pick.pick(shards),
            Self::RoundRobin(pick) => pick.pick(shards),
            Self::Affine(pick) => pick.pick(shards),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    type TestShard = VecDeque<u64>;

    fn all_picks(seed: u64, worker: usize, workers: usize) -> impl Iterator<Item = Picker> {
        ShardPick::ALL.iter().map(move |&choice| Picker::new(choice, seed, worker, workers))
    }

    #[test]
    fn stamps_may_wrap() {
        assert_eq!(Oldest.pick(&[TestShard::from([3]), TestShard::from([u64::MAX - 5])]), Some(1));
    }

    #[test]
    fn round_robin_skips_empty_shards() {
        let shards: Vec<TestShard> =
            [vec![1], vec![], vec![2], vec![3]].map(TestShard::from).into();
        let mut pick = RoundRobin::default();
        assert_eq!([0; 4].map(|_| pick.pick(&shards)), [Some(0), Some(2), Some(3), Some(0)]);
    }

    #[test]
    fn affine_dequeues_from_others_only_when_its_own_are_empty() {
        let mut shards: Vec<TestShard> =
            [vec![9], vec![2], vec![8], vec![1]].map(TestShard::from).into();
        let mut pick = Affine::new(0, 2);
        let mut order = Vec::new();
        while let Some(at) = pick.pick(&shards) {
            order.push(at);
            shards[at].pop_front();
        }
        assert_eq!(order, [2, 0, 3, 1]);
    }

    #[test]
    #[cfg_attr(miri, ignore = "many draws of safe code")]
    fn two_choices_starve_the_fullest_and_oldest_does_not() {
        let served = |choice| {
            let mut shards: Vec<TestShard> = (0..8)
                .map(|at| if at == 0 { (0..8_000).collect() } else { (100_000..108_000).collect() })
                .collect();
            let mut pick = Picker::new(choice, 3, 0, 1);
            let mut of_first = 0;
            for _ in 0..8_000 {
                let at = pick.pick(&shards).expect("there are more items than dequeues");
                shards[at].pop_front();
                of_first += usize::from(at == 0);
            }
            of_first as f64 / 8_000.0
        };
        let drawn = 1.0 - (1.0 - 1.0 / 8.0f64).powi(2);
        assert_eq!(served(ShardPick::Oldest), 1.0);
        assert!(
            (served(ShardPick::TwoChoice) - drawn).abs() < 0.02,
            "{} instead of {drawn}",
            served(ShardPick::TwoChoice)
        );
    }

    proptest! {
        #![proptest_config(crate::cases())]

        #[test]
        fn oldest_picks_the_first_of_the_smallest(heads in prop::collection::vec(prop::option::of(0..1000u64), 0..40)) {
            let shards: Vec<TestShard> = heads.iter().map(|head| head.iter().copied().collect()).collect();
            let expected = heads.iter().enumerate().filter_map(|(at, stamp)| stamp.map(|stamp| (stamp, at))).min().map(|(_, at)| at);
            prop_assert_eq!(Oldest.pick(&shards), expected);
        }

        #[test]
        fn no_pick_overlooks_an_item_or_picks_an_empty_shard(
            filled in prop::collection::vec(prop::collection::vec(0..1000u64, 0..3), 0..12), seed: u64, worker in 0..4usize, workers in 0..5usize,
        ) {
            for mut pick in all_picks(seed, worker, workers) {
                let mut shards: Vec<TestShard> = filled.iter().cloned().map(TestShard::from).collect();
                let items: usize = shards.iter().map(VecDeque::len).sum();
                for _ in 0..items {
                    let at = pick.pick(&shards);
                    prop_assert!(at.and_then(|at| shards[at].pop_front()).is_some(), "{:?}", pick);
                }
                prop_assert_eq!(pick.pick(&shards), None);
            }
        }
    }
}
