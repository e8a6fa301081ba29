//! One lcore: what decides its next step.

use super::seen::Seen;
use super::{Setup, ticks_of_ns};
use crate::attention::{Adoption, Watch};
use crate::policy::{Policy, Pool};
use crate::shed::{DequeueBudget, Picker};

/// mpfwd's time budget of one dequeue, and how often a busy lcore looks for one
/// that is away.
const DEQUEUE_BUDGET_NS: f64 = 20_000.0;
pub(super) const ADOPT_EVERY_NS: f64 = 2_000.0;

pub(super) struct Lcore {
    pub pool: Pool,
    /// The queues that it polls in turn.
    pub own: Vec<usize>,
    next_own: usize,
    /// It dequeues from shards.
    pub dequeues: bool,
    pub permit_refused: bool,
    /// Its last burst left as a whole, and so it polls again at once.
    pub keeps_polling: bool,
    /// A burst that it adopted is over; whether that was a full one.
    pub adopted: Option<bool>,
    pub adoption: Adoption,
    pub watch: Watch,
    pub picker: Picker,
    pub budget: DequeueBudget,
}

impl Lcore {
    /// The lcore at `me`, which owns the queues `own`. `others`: queues of other
    /// lcores.
    pub(super) fn new<P: Policy>(
        me: usize,
        setup: &Setup,
        seen: &Seen,
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
        Self {
            pool,
            next_own: 0,
            dequeues: facts.may_dequeue(pool, pool_a_max),
            permit_refused: false,
            keeps_polling: false,
            adopted: None,
            adoption: Adoption::new(me, setup.lcores, own.len(), adopt_every_ticks),
            own,
            watch: Watch::new(me, setup.lcores, P::RESCUES.then_some(stall_ticks)),
            picker: Picker::new(setup.shard_pick, setup.seed ^ me as u64, worker, workers),
            budget: DequeueBudget::new(ticks_of_ns(DEQUEUE_BUDGET_NS), setup.burst),
        }
    }

    /// The own queue whose turn it is.
    pub(super) fn next_own(&mut self) -> Option<usize> {
        let at = if self.next_own < self.own.len() { self.next_own } else { 0 };
        self.next_own = at + 1;
        self.own.get(at).copied()
    }
}
