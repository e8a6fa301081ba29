//! Which shard a worker dequeues from next. Use [`Oldest`]; the others are
//! there to be compared with it.

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::heads::{self, GROUP, shard_of};
use super::{Heads, is_before};
use crate::attention::ones;

/// A way of choosing. `None` only if all shards are empty.
pub trait Pick {
    /// The shard to dequeue from; `None` if all are empty.
    fn pick(&mut self, heads: &Heads) -> Option<usize>;
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

/// Of the shards that `places` names, the one with the oldest head; of equals
/// the first.
#[inline]
fn oldest_of(heads: &Heads, places: impl Iterator<Item = usize>) -> Option<usize> {
    let mut best = None;
    for at in places {
        if let Some(stamp) = heads.published_of(at)
            && best.is_none_or(|oldest| is_before(stamp, oldest))
        {
            best = Some(stamp);
        }
    }
    best.map(shard_of)
}

/// The shard whose head has waited longest; of equals the first. A shard that
/// another worker is about to dequeue from counts as a little younger.
///
/// With one worker, and stamps read before items are enqueued, items are
/// dequeued in the order of their stamps, of those that the shards show during
/// one choice.
///
/// Reads a line for each eight shards that are not all empty. The loads do not
/// depend on each other, so that lines which other cores have written since
/// arrive together.
#[derive(Clone, Debug, Default)]
pub struct Oldest {
    /// Published stamps are compared by their distance from here: half of all
    /// distances before the last choice.
    origin: u64,
}

/// So many minima are kept at a time: each has to wait for its last comparison.
const LANES: usize = 4;

impl Pick for Oldest {
    #[inline]
    fn pick(&mut self, heads: &Heads) -> Option<usize> {
        let mut oldest = [u64::MAX; LANES];
        for group in 0..heads.shards().div_ceil(GROUP) {
            let members = heads.members(group);
            if members == 0 {
                continue;
            }
            let ages = heads.published(group).map(|stamp| stamp.wrapping_sub(self.origin));
            if members == (1 << GROUP) - 1 {
                ages.iter().enumerate().for_each(|(place, &age)| {
                    oldest[place % LANES] = oldest[place % LANES].min(age);
                });
            } else {
                ones(members).for_each(|place| oldest[0] = oldest[0].min(ages[place % GROUP]));
            }
        }
        let oldest = oldest.into_iter().min().filter(|&age| age != u64::MAX)?;
        let published = oldest.wrapping_add(self.origin);
        self.origin = heads::without_own_bits(published).wrapping_sub(1 << (u64::BITS - 1));
        Some(shard_of(published))
    }
}

/// The older head of two shards drawn at random, which may be the same one
/// twice: the MultiQueue of Rihani, Sanders and Dementiev (SPAA'15). Reads two
/// heads however many shards there are. Over shards that fill unevenly it
/// starves the fullest: one of S shards is drawn in at most 1 - (1 - 1/S)^2 of
/// the dequeues.
#[derive(Clone, Debug)]
pub struct TwoChoice {
    rng: SmallRng,
    otherwise: Oldest,
}

impl Pick for TwoChoice {
    #[inline]
    fn pick(&mut self, heads: &Heads) -> Option<usize> {
        if heads.shards() == 0 {
            return None;
        }
        let drawn = [0; 2].map(|_| self.rng.random_range(0..heads.shards()));
        oldest_of(heads, drawn.into_iter()).or_else(|| self.otherwise.pick(heads))
    }
}

/// A shard drawn at random, or the next that is not empty.
#[derive(Clone, Debug)]
pub struct Random(SmallRng);

impl Pick for Random {
    #[inline]
    fn pick(&mut self, heads: &Heads) -> Option<usize> {
        if heads.shards() == 0 {
            return None;
        }
        let first = self.0.random_range(0..heads.shards());
        heads.nonempty_from(first).next()
    }
}

/// The shard after the last one, or the next that is not empty.
#[derive(Clone, Copy, Debug, Default)]
pub struct RoundRobin {
    next: usize,
}

impl Pick for RoundRobin {
    #[inline]
    fn pick(&mut self, heads: &Heads) -> Option<usize> {
        let first = if self.next < heads.shards() { self.next } else { 0 };
        let at = heads.nonempty_from(first).next()?;
        self.next = at + 1;
        Some(at)
    }
}

/// The oldest head of the worker's own shards; of all shards when these are
/// empty. With W workers, shard s belongs to worker s mod W; with fewer shards
/// than workers some workers have none.
#[derive(Clone, Debug)]
pub struct Affine {
    worker: usize,
    workers: usize,
    otherwise: Oldest,
}

impl Affine {
    /// For the `worker`-th of `workers`, counted from 0.
    pub fn new(worker: usize, workers: usize) -> Self {
        Self { worker, workers: workers.max(1), otherwise: Oldest::default() }
    }
}

impl Pick for Affine {
    #[inline]
    fn pick(&mut self, heads: &Heads) -> Option<usize> {
        oldest_of(heads, (self.worker..heads.shards()).step_by(self.workers))
            .or_else(|| self.otherwise.pick(heads))
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
            ShardPick::Oldest => Self::Oldest(Oldest::default()),
            ShardPick::TwoChoice => Self::TwoChoice(TwoChoice {
                rng: SmallRng::seed_from_u64(seed),
                otherwise: Oldest::default(),
            }),
            ShardPick::Random => Self::Random(Random(SmallRng::seed_from_u64(seed))),
            ShardPick::RoundRobin => Self::RoundRobin(RoundRobin::default()),
            ShardPick::Affine => Self::Affine(Affine::new(worker, workers)),
        }
    }
}

impl Pick for Picker {
    #[inline]
    fn pick(&mut self, heads: &Heads) -> Option<usize> {
        match self {
            Self::Oldest(pick) => pick.pick(heads),
            Self::TwoChoice(pick) => pick.pick(heads),
            Self::Random(pick) => pick.pick(heads),
            Self::RoundRobin(pick) => pick.pick(heads),
            Self::Affine(pick) => pick.pick(heads),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::super::testing::Sharded;
    use super::*;

    fn sharded<const N: usize>(shards: [Vec<u64>; N]) -> Sharded {
        Sharded::new(shards.into_iter().map(VecDeque::from))
    }

    fn all_picks(seed: u64, worker: usize, workers: usize) -> impl Iterator<Item = Picker> {
        ShardPick::ALL.iter().map(move |&choice| Picker::new(choice, seed, worker, workers))
    }

    #[test]
    fn stamps_may_wrap() {
        for wrap in [0u64, 1 << 54, 1 << 55, 1 << 63] {
            let stamps = [wrap.wrapping_add(3), wrap.wrapping_sub(5), wrap.wrapping_sub(4)];
            let sharded = sharded(stamps.map(|stamp| vec![stamp]));
            let mut pick = Oldest { origin: (wrap << 9).wrapping_sub(1 << 63) };
            assert_eq!(pick.pick(&sharded.heads), Some(1), "{wrap}");
        }
    }

    #[test]
    fn round_robin_skips_empty_shards() {
        let sharded = sharded([vec![1], vec![], vec![2], vec![3]]);
        let mut pick = RoundRobin::default();
        let picked = [0; 4].map(|_| pick.pick(&sharded.heads));
        assert_eq!(picked, [Some(0), Some(2), Some(3), Some(0)]);
    }

    #[test]
    fn affine_dequeues_from_others_only_when_its_own_are_empty() {
        let mut sharded = sharded([vec![9], vec![2], vec![8], vec![1]]);
        let mut pick = Affine::new(0, 2);
        let mut order = Vec::new();
        while let Some(at) = pick.pick(&sharded.heads) {
            order.push(at);
            sharded.pop(at);
        }
        assert_eq!(order, [2, 0, 3, 1]);
    }

    #[test]
    fn a_claimed_shard_is_picked_if_there_is_no_older_one() {
        let mut sharded = sharded([vec![1, 2, 9], vec![5], vec![7]]);
        let (mut pick, mut other) = (Oldest::default(), Oldest::default());
        assert!(sharded.heads.claim(0));
        assert_eq!(pick.pick(&sharded.heads), Some(1));
        sharded.pop(1);
        sharded.pop(2);
        assert_eq!(pick.pick(&sharded.heads), Some(0), "its worker may have lost its CPU");
        sharded.pop(0);
        sharded.push(1, 6);
        assert_eq!(pick.pick(&sharded.heads), Some(0), "it is no longer claimed");
        assert_eq!(other.pick(&sharded.heads), Some(0));
    }

    #[test]
    #[cfg_attr(miri, ignore = "many draws of safe code")]
    fn two_choices_starve_the_fullest_and_oldest_does_not() {
        let served = |choice| {
            let mut sharded = Sharded::new((0..8).map(|at| {
                if at == 0 { (0..8_000).collect() } else { (100_000..108_000).collect() }
            }));
            let mut pick = Picker::new(choice, 3, 0, 1);
            let mut of_first = 0;
            for _ in 0..8_000 {
                let at = pick.pick(&sharded.heads).expect("there are more items than dequeues");
                sharded.pop(at);
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
        fn oldest_picks_the_first_of_the_smallest(heads in prop::collection::vec(prop::option::of(0..1000u64), 0..100)) {
            let sharded = Sharded::new(heads.iter().map(|head| head.iter().copied().collect()));
            let expected = heads.iter().enumerate().filter_map(|(at, stamp)| stamp.map(|stamp| (stamp, at))).min().map(|(_, at)| at);
            prop_assert_eq!(Oldest::default().pick(&sharded.heads), expected);
        }

        /// A remembered head never hides an older one, though other workers
        /// dequeue, and shards run empty and fill again.
        #[test]
        fn oldest_picks_the_oldest_after_whatever_happened(
            count in 1..100usize,
            events in prop::collection::vec((any::<prop::sample::Index>(), 0..3u8, 0..20u64), 1..300),
        ) {
            let mut sharded = Sharded::new((0..count).map(|_| VecDeque::new()));
            let (mut pick, mut now) = (Oldest::default(), 1_000);
            for (index, event, late) in events {
                let at = index.index(count);
                match event {
                    0 => {
                        now += 10;
                        // A shard's stamps grow; two producers' may differ.
                        let stamp = sharded.shards[at].back().map_or(0, |&last| last + 1);
                        sharded.push(at, stamp.max(now - late));
                    }
                    1 => { sharded.pop(at); }
                    _ => {
                        let fronts = sharded.shards.iter().enumerate();
                        let oldest = fronts.filter_map(|(at, shard)| Some((*shard.front()?, at))).min();
                        let picked = pick.pick(&sharded.heads);
                        prop_assert_eq!(picked, oldest.map(|(_, at)| at));
                        if let Some(at) = picked { sharded.pop(at); }
                    }
                }
            }
        }

        #[test]
        fn no_pick_overlooks_an_item_or_picks_an_empty_shard(
            filled in prop::collection::vec(prop::collection::vec(0..1000u64, 0..3), 0..20), seed: u64, worker in 0..4usize, workers in 0..5usize,
        ) {
            for mut pick in all_picks(seed, worker, workers) {
                let mut sharded = Sharded::new(filled.iter().cloned().map(VecDeque::from));
                let items: usize = sharded.shards.iter().map(VecDeque::len).sum();
                for _ in 0..items {
                    let at = pick.pick(&sharded.heads);
                    prop_assert!(at.and_then(|at| sharded.pop(at)).is_some(), "{:?}", pick);
                }
                prop_assert_eq!(pick.pick(&sharded.heads), None);
            }
        }
    }
}
