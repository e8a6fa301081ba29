//! The lcore's loop: asks the policy for the next step, and carries it out on real queues. All modes run this one loop.
//!
//! The verbs: poll, classify, shed, serve, transmit; run, take; rest.

mod idle;
mod run_state;
mod transmit;
mod verbs;
mod work;

use std::collections::VecDeque;
use std::sync::atomic::AtomicBool;

pub use run_state::RunState;
use transmit::Transmit;

use crate::cli::{Idle, OnFull};
use crate::dpdk::clock::tsc;
use crate::dpdk::{Burst, Lease, MAX_PORTS, Mbuf, RingConsumer, RingProducer, StampField, TxQueue};
use crate::engine::Engine;
use crate::policy::{Policy, Pool, Step, View};
use crate::runq::RunQueue;
use crate::shed::{Shard, TakeBudget};
use crate::stats::{Counter, DropCause, Lap, LcoreStats};

/// How long the work may take that a worker takes at once, in nanoseconds: what it holds, nobody else can help with.
pub const TAKE_BUDGET_NS: u64 = 20_000;

/// Which of the two stages a packet went through to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Cheap,
    Expensive,
}

/// What all lcores' loops have in common.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    pub burst: usize,
    pub on_full: OnFull,
    pub idle: Idle,
    /// Whether latency is counted.
    pub stamping: bool,
    /// Where a packet's arrival stands once it has left its burst.
    pub stamp: StampField,
    pub take_budget_ticks: u64,
}

/// The queues of one lcore.
pub struct Queues<'a> {
    /// The receive queues that it polls, in the order of its `LcoreStats::rx`.
    pub rx: Vec<Lease<'a>>,
    /// One transmit queue per port, in the order of its `LcoreStats::tx`.
    pub tx: Vec<TxQueue>,
    /// Where it puts deferred packets.
    pub shard: Option<RingProducer>,
    /// Where it takes them from.
    pub shards: Vec<RingConsumer>,
}

/// What all lcores share.
#[derive(Clone, Copy)]
pub struct Shared<'a> {
    pub run: &'a RunState,
    /// By port: whether its link was up when control looked last.
    pub links: &'a [AtomicBool; MAX_PORTS],
}

/// A shard's taking end, as the choice among shards sees it.
struct WaitingShard {
    ring: RingConsumer,
    stamp: StampField,
}

impl Shard for WaitingShard {
    #[inline]
    fn head_stamp(&self) -> Option<u64> {
        self.ring.head_stamp(self.stamp)
    }

    #[inline]
    fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }
}

/// A receive queue that this lcore polls.
struct Polled<'a> {
    lease: Lease<'a>,
    received_pkts: &'a Counter,
}

/// One lcore's loop. With `METER` it notes what each step costs.
pub struct LcoreLoop<'a, E, P, const METER: bool> {
    pool: Pool,
    engine: E,
    policy: P,
    settings: Settings,
    shared: Shared<'a>,
    stats: &'a LcoreStats,
    rx: Vec<Polled<'a>>,
    /// Which of `rx` is polled next.
    next_rx: usize,
    shard: Option<RingProducer>,
    shards: Vec<WaitingShard>,
    budget: TakeBudget,
    tx: Transmit<'a>,
    /// What the last poll, or the run queue, brought.
    burst: Burst,
    /// Those of `burst` that the cheap stage serves.
    cheap: Burst,
    /// Those that go to the shard.
    deferred: Burst,
    /// Packets left over in a burst, unclassified, each with its stamp and port.
    run_queue: RunQueue<Mbuf>,
    /// The oldest of them, once it was found not to belong to the burst that was served last.
    next_waiting: Option<Mbuf>,
    /// Deferred packets that this lcore must run itself.
    kept: VecDeque<Mbuf>,
    last_lap: u64,
}

impl<'a, E: Engine, P: Policy, const METER: bool> LcoreLoop<'a, E, P, METER> {
    pub fn new(
        pool: Pool,
        engine: E,
        policy: P,
        settings: Settings,
        shared: Shared<'a>,
        queues: Queues<'a>,
        stats: &'a LcoreStats,
    ) -> Self {
        let stamp = settings.stamp;
        Self {
            pool,
            engine,
            policy,
            shared,
            stats,
            rx: queues.rx.into_iter().zip(&stats.rx).map(|(lease, received)| Polled { lease, received_pkts: &received.pkts }).collect(),
            next_rx: 0,
            shard: queues.shard,
            shards: queues.shards.into_iter().map(|ring| WaitingShard { ring, stamp }).collect(),
            budget: TakeBudget::new(settings.take_budget_ticks, settings.burst),
            tx: Transmit::new(queues.tx, settings, shared.links, stats),
            settings,
            burst: Burst::new(),
            cheap: Burst::new(),
            deferred: Burst::new(),
            run_queue: RunQueue::new(2 * crate::dpdk::BURST_MAX, usize::MAX),
            next_waiting: None,
            kept: VecDeque::with_capacity(2 * crate::dpdk::BURST_MAX),
            last_lap: 0,
        }
    }

    /// Runs until the run ends and nothing is left to do.
    pub fn run(mut self) {
        loop {
            let view = self.view();
            if view.draining && self.is_done() {
                break;
            }
            match self.policy.next(&view) {
                Step::Poll => self.poll(),
                Step::Serve => self.serve_run_queue(),
                Step::Run => self.run_kept(),
                Step::Take => self.take(),
                Step::Rest => self.rest(),
            }
            self.tx.retry();
        }
        self.wind_up();
    }

    #[inline(always)]
    fn view(&self) -> View {
        View { pool: self.pool, run_queue_pkts: self.waiting_pkts(), kept_pkts: self.kept.len(), draining: self.shared.run.is_draining() }
    }

    /// The packets that wait in the run queue, or at its front.
    #[inline(always)]
    fn waiting_pkts(&self) -> usize {
        self.run_queue.len() + usize::from(self.next_waiting.is_some())
    }

    /// The oldest packet that waits.
    fn pop_waiting(&mut self) -> Option<Mbuf> {
        self.next_waiting.take().or_else(|| self.run_queue.pop())
    }

    /// Asked only while draining: whether all that this lcore could still get has been finished.
    #[cold]
    fn is_done(&mut self) -> bool {
        if self.shared.run.is_abandoned() {
            self.abandon();
        }
        match self.pool {
            Pool::A => self.waiting_pkts() == 0 && self.kept.is_empty(),
            // Looked at in this order: what pool A put before it said that it is done is then visible.
            Pool::B => self.shared.run.pollers_are_done() && self.shards.iter().all(|shard| shard.is_empty()),
        }
    }

    /// Drops what is still to be done, when there is no time left to do it.
    #[cold]
    fn abandon(&mut self) {
        let mut count = 0;
        while self.pop_waiting().or_else(|| self.kept.pop_front()).is_some() {
            count += 1;
        }
        for shard in &mut self.shards {
            while shard.ring.take(&mut self.burst, self.settings.burst) > 0 {
                count += self.burst.free();
            }
        }
        self.stats.drop_pkts(DropCause::Shutdown, count as u64);
    }

    fn wind_up(mut self) {
        self.tx.close(tsc());
        if self.pool == Pool::A {
            self.shared.run.poller_is_done();
        }
        self.tx.wind_up(|| self.shared.run.is_abandoned());
    }

    #[cold]
    fn rest(&mut self) {
        idle::rest(self.settings.idle);
    }

    /// Books the time since the last lap under `lap`.
    #[inline(always)]
    fn lap(&mut self, lap: Lap) {
        if METER {
            let now = tsc();
            self.stats.steps.add(lap, now.wrapping_sub(self.last_lap));
            self.last_lap = tsc();
        }
    }

    #[inline(always)]
    fn start_laps(&mut self) {
        if METER {
            self.last_lap = tsc();
        }
    }
}
