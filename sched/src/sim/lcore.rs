//! One lcore: what it holds, and what it is doing.

use std::collections::VecDeque;

use super::agenda::NEVER;
use super::gaps::Replay;
use super::queues::Packet;
use super::seen::{START_TICKS, Seen};
use super::{Setup, ticks_of_ns};
use crate::attention::{Adoption, Signs, Watch};
use crate::pace::Pace;
use crate::policy::{Permit, Policy, Pool};
use crate::shed::{DequeueBudget, Picker};

/// mpfwd's time budget of one dequeue, and how often a busy lcore looks for one
/// that is away.
const DEQUEUE_BUDGET_NS: f64 = 20_000.0;
pub(super) const ADOPT_EVERY_NS: f64 = 2_000.0;

/// A packet that runs alone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Alone {
    pub packet: Packet,
    pub unknown: bool,
}

/// What ends at the lcore's next event.
pub(super) enum Doing<'a> {
    /// Nothing: the next step begins.
    Nothing,
    /// The poll of `burst`, and its classification. The lease of the queue is
    /// held.
    Receiving { queue: usize },
    /// All of `burst` is served and sent under the lease.
    Whole { queue: usize },
    /// The cheap pile is served and sent; then comes this one.
    Serving { then: Option<Alone> },
    /// One packet.
    Running { alone: Alone, permit: Option<Permit<'a>> },
    /// What was dequeued from a shard into `burst`, since then.
    Working { permit: Option<Permit<'a>>, began_ticks: u64 },
}

/// An lcore without work, in its round of polls and looks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sleep {
    /// When a round ended.
    pub from_ticks: u64,
    /// How long a round takes.
    pub round_ticks: u64,
}

impl Sleep {
    /// When the first round ends at or after `at`.
    pub(super) fn round_from(&self, at: u64) -> u64 {
        next_multiple(self.from_ticks, self.round_ticks, at)
    }
}

/// The first moment from `at` on that is a multiple of `period` after `from`.
pub(super) fn next_multiple(from: u64, period: u64, at: u64) -> u64 {
    if at == NEVER {
        return NEVER;
    }
    from + at.saturating_sub(from).div_ceil(period.max(1)) * period.max(1)
}

pub(super) struct Lcore<'a, P> {
    pub policy: P,
    pub pool: Pool,
    /// The queues that it polls in turn.
    pub own: Vec<usize>,
    next_own: usize,
    /// The shard that it sheds to.
    pub shard: Option<usize>,
    /// It dequeues from shards.
    pub dequeues: bool,
    pub empty_polls: usize,
    pub permit_refused: bool,
    /// Its last burst left as a whole, and so it polls again at once.
    pub keeps_polling: bool,
    /// A burst that it adopted is over; whether that was a full one.
    pub adopted: Option<bool>,
    pub run_queue: VecDeque<Packet>,
    /// Empty between two steps.
    pub burst: Vec<Packet>,
    pub cheap: Vec<Packet>,
    pub deferred: Vec<Packet>,
    pub adoption: Adoption,
    pub watch: Watch,
    pub signs: Signs<'a>,
    pub settled_ticks: u64,
    pub pace: Pace,
    pub picker: Picker,
    pub budget: DequeueBudget,
    pub gaps: Replay<'a>,
    pub doing: Doing<'a>,
    pub began_ticks: u64,
    /// Work for others, by which the next event takes longer.
    pub debt_ticks: u64,
    /// It sleeps.
    pub sleep: Option<Sleep>,
    /// When its last look in vain ended, if it has found nothing since.
    pub looked_ticks: Option<u64>,
    pub done_pkts: u64,
    /// Time in cheap and in expensive work.
    pub work_ticks: [u64; 2],
}

impl<'a, P: Policy> Lcore<'a, P> {
    /// The lcore at `me`, which owns the queues `own`.
    pub(super) fn new(
        me: usize,
        policy: P,
        setup: &'a Setup,
        seen: &'a Seen,
        own: Vec<usize>,
        others: usize,
    ) -> Self {
        let facts = setup.mode.facts();
        let (pool, pool_a) = (seen.boards[me].pool(), setup.pool_a());
        let pool_a_max = if setup.follows_load { setup.lcores - 1 } else { pool_a };
        let works = |at: usize| setup.follows_load || at >= pool_a;
        let worker = (0..me).filter(|&at| works(at)).count();
        let workers = (0..setup.lcores).filter(|&at| works(at)).count();
        let adopt_every_ticks =
            if P::RESCUES && others > 0 { ticks_of_ns(ADOPT_EVERY_NS) } else { u64::MAX };
        let stall_ticks = ticks_of_ns(setup.stall_after_ns as f64);
        let excess = policy.excess();
        Self {
            policy,
            pool,
            next_own: 0,
            shard: facts.sheds.includes(pool).then_some(me),
            dequeues: facts.may_dequeue(pool, pool_a_max),
            empty_polls: 0,
            permit_refused: false,
            keeps_polling: false,
            adopted: None,
            run_queue: VecDeque::new(),
            burst: Vec::with_capacity(setup.burst),
            cheap: Vec::with_capacity(setup.burst),
            deferred: Vec::with_capacity(setup.burst),
            adoption: Adoption::new(me, setup.lcores, own.len(), adopt_every_ticks),
            own,
            watch: Watch::new(me, setup.lcores, P::RESCUES.then_some(stall_ticks)),
            signs: Signs::new(&seen.attention, me),
            settled_ticks: START_TICKS,
            pace: Pace::new(setup.burst, excess, |ns| ticks_of_ns(ns as f64)),
            picker: Picker::new(setup.shard_pick, setup.seed ^ me as u64, worker, workers),
            budget: DequeueBudget::new(ticks_of_ns(DEQUEUE_BUDGET_NS), setup.burst),
            gaps: setup.gaps.of_lcore(me),
            doing: Doing::Nothing,
            began_ticks: START_TICKS,
            debt_ticks: 0,
            sleep: None,
            looked_ticks: None,
            done_pkts: 0,
            work_ticks: [0; 2],
        }
    }

    /// The own queue whose turn it is.
    pub(super) fn next_own(&mut self) -> Option<usize> {
        let at = if self.next_own < self.own.len() { self.next_own } else { 0 };
        self.next_own = at + 1;
        self.own.get(at).copied()
    }

    pub(super) fn found_something(&mut self) {
        (self.empty_polls, self.looked_ticks) = (0, None);
    }
}
