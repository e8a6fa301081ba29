//! The lcore's loop: asks the policy for the next step, and carries it out on
//! real queues. All modes run this one loop.
//!
//! The verbs: poll, classify, shed, serve, transmit; run, take; rest.

mod admission;
mod arrivals;
mod board;
mod departure;
mod idle;
mod polled;
mod rescue;
mod run_state;
mod sort;
mod transmit;
mod unsent;
mod verbs;
mod waiting;
mod work;

use std::sync::atomic::AtomicBool;

use admission::Admission;
pub use board::Board;
use polled::Polled;
pub use run_state::RunState;
use sort::Sorter;
pub use transmit::Outgoing;
use transmit::Transmit;
pub use waiting::{Waiting, WaitingStealer};
use work::Served;

use crate::cli::{Idle, OnFull};
use crate::dpdk::clock::tsc;
use crate::dpdk::{
    Burst, BurstSize, Lease, MAX_PORTS, Mempool, RingConsumer, RingProducer, RxQueue, RxStampField,
    StampField, TicketField, TxQueue,
};
use crate::engine::{Engine, Flows};
use crate::order::Order;
use crate::policy::{Deferral, PeerHint, Permits, Policy, Pool, Step, View};
use crate::shed::{DequeueBudget, Picker, RankMeter, Shard};
use crate::stats::{DropCause, Incidents, Lap, LcoreStats, StampClocks, Stamps};

/// How long the work may take that a worker takes at once, in nanoseconds: what
/// it holds, nobody else can help with.
pub const TAKE_BUDGET_NS: u64 = 20_000;

/// How often an lcore with work of its own looks whether another one's queues
/// want polling, in nanoseconds.
pub const ADOPT_EVERY_NS: u64 = 2_000;

/// Which of the two stages a packet went through to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Cheap,
    Expensive,
}

/// What all lcores' loops have in common.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    pub burst: BurstSize,
    pub on_full: OnFull,
    pub idle: Idle,
    /// Whether latency is counted.
    pub stamping: bool,
    /// Where a packet's arrival stands once it has left its burst.
    pub stamp: StampField,
    /// Where the time of its poll stands then, if that is not its arrival.
    pub polled: Option<StampField>,
    /// Where its place in its flow stands then.
    pub ticket: TicketField,
    /// By what its flow is known.
    pub flows: Flows,
    /// Packets come stamped with their arrival: what the poll knows of it does
    /// not count.
    pub stamped: bool,
    /// Where drivers stamp, if it is their stamps that count.
    pub nic: Option<RxStampField>,
    /// Before ports were started: nothing has come earlier.
    pub started_ticks: u64,
    pub take_budget_ticks: u64,
    pub adopt_every_ticks: u64,
    /// How long an lcore may be in one packet before it counts as stuck.
    pub rescue_after_ticks: u64,
    /// A pause between two polls in vain that is longer was made by the host.
    pub gap_ticks: u64,
    /// The most packets that may wait in a run queue.
    pub runq_max: usize,
}

/// The queues of one lcore.
pub struct Queues<'a> {
    /// The receive queues that it polls, in the order of its `LcoreStats::rx`.
    pub rx: Vec<&'a RxQueue>,
    /// One transmit queue per port, in the order of its `LcoreStats::tx`.
    pub tx: Vec<TxQueue>,
    /// Where it puts deferred packets.
    pub shard: Option<RingProducer>,
    /// Where it takes them from.
    pub shards: Vec<RingConsumer>,
    /// Where others put them for it, and where it puts them for each lcore.
    pub inbox: Option<RingConsumer>,
    pub inboxes: Vec<RingProducer>,
    /// Packets left over in a burst, unclassified, each with its stamp and
    /// port.
    pub run_queue: Waiting,
    /// Deferred packets that this lcore must run itself.
    pub kept: Waiting,
    /// Thieves' ends of all lcores' run queues and kept packets, by lcore.
    pub stealers: Vec<[WaitingStealer; 2]>,
    /// Which shard it takes from next.
    pub picker: Picker,
}

/// What all lcores share.
#[derive(Clone, Copy)]
pub struct Shared<'a> {
    pub run: &'a RunState,
    /// By port: whether its link was up when control looked last.
    pub links: &'a [AtomicBool; MAX_PORTS],
    /// By lcore, in the order of the map.
    pub boards: &'a [Board<'a>],
    /// All receive queues. A queue's number is its place here.
    pub rxqs: &'a [RxQueue],
    /// By a receive queue's number: which of its packets have not left yet.
    pub order: &'a Order<Outgoing>,
    /// Rights to do expensive work, where the mode limits it.
    pub permits: &'a Permits,
    /// Where each lcore writes down when it was stuck, or helped one that was.
    pub incidents: &'a Incidents,
    /// The clocks of drivers' stamps, where these count.
    pub clocks: &'a StampClocks,
    /// What drivers receive into.
    pub buffers: &'a Mempool,
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

    #[inline]
    fn len(&self) -> usize {
        self.ring.len()
    }
}

/// One lcore's loop. With `METER` it notes what each step costs.
///
/// It starts a page, and so the stack of what it calls ends at one, wherever
/// the kernel has put the thread's. A load waits for a store whose address has
/// the same last 12 bits as if it needed it. Where drivers save their registers
/// a multiple of 4 KiB from what they read for each packet, which is one place
/// in thirty, forwarding has an eighth less speed: that was left to chance, for
/// all the life of a process.
#[repr(align(4096))]
pub struct LcoreLoop<'a, E, P, const METER: bool> {
    /// Its place among `Shared::boards`.
    me: usize,
    pool: Pool,
    engine: E,
    policy: P,
    settings: Settings,
    shared: Shared<'a>,
    stats: &'a LcoreStats,
    rx: Vec<Polled<'a>>,
    /// Which of `rx` is polled next.
    next_rx: usize,
    /// Polls, or looks at the shards, since the last one that found something
    /// or the last look around.
    empty_polls: usize,
    /// When it polled in vain last; 0 if it has done something since.
    polled_in_vain_at: u64,
    /// It wanted a permit and got none.
    refused: bool,
    /// When it looked last whether other lcores' queues want polling, and how
    /// often it does.
    adopted_at: u64,
    adopt_every_ticks: u64,
    /// The other lcores' receive queues, by number, each with its owner's
    /// place; and which of them comes next.
    others: Vec<(usize, u16)>,
    next_other: usize,
    /// The lease of another lcore's queue, while a burst of it is served.
    borrowed: Option<Lease<'a>>,
    shard: Option<RingProducer>,
    shards: Vec<WaitingShard>,
    picker: Picker,
    rank: RankMeter,
    budget: DequeueBudget,
    inbox: Option<RingConsumer>,
    inboxes: Vec<RingProducer>,
    tx: Transmit<'a>,
    /// What the last poll brought.
    burst: Burst,
    admission: Admission<'a>,
    sorter: Sorter,
    served: Served,
    run_queue: Waiting,
    kept: Waiting,
    stealers: Vec<[WaitingStealer; 2]>,
    /// What the others were seen to show of themselves last.
    hints: Vec<PeerHint>,
    /// Packets that it shed last.
    shed_before: usize,
    /// It has said that it will shed nothing more.
    announced: bool,
    last_lap: u64,
    /// One use of each port's clock, where drivers' stamps count.
    stamps: Vec<Stamps<'a>>,
    /// Bursts until the parts of latency are measured again.
    parts_in: u32,
    /// The packets of the last poll may have waited since then, in ticks, if
    /// polls are stamps. And the longest that any may have waited longer than
    /// their stamps say, so far.
    unseen_since: u64,
    unseen_ticks_max: u64,
}

impl<'a, E: Engine, P: Policy, const METER: bool> LcoreLoop<'a, E, P, METER> {
    /// The loop of the lcore whose board is the one at `me`.
    pub fn new(
        me: usize,
        engine: E,
        policy: P,
        settings: Settings,
        shared: Shared<'a>,
        queues: Queues<'a>,
        stats: &'a LcoreStats,
    ) -> Self {
        let stamp = settings.stamp;
        let number = |rxq: &RxQueue| {
            shared
                .rxqs
                .iter()
                .position(|any| std::ptr::eq(any, rxq))
                .map_or(0, |number| number as u16)
        };
        let polled = |(rxq, received): (&'a RxQueue, &'a crate::stats::PortQueue)| Polled {
            rxq,
            number: number(rxq),
            lease: None,
            received_pkts: &received.pkts,
            emptied_ticks: settings.started_ticks,
            stamped_ticks: 0,
        };
        let others: Vec<(usize, u16)> = (0..shared.boards.len())
            .filter(|&at| at != me)
            .flat_map(|at| shared.boards[at].rxqs.iter().map(move |&rxq| (at, number(rxq))))
            .collect();
        Self {
            me,
            pool: shared.boards[me].pool,
            engine,
            policy,
            shared,
            stats,
            rx: queues.rx.into_iter().zip(&stats.rx).map(polled).collect(),
            next_rx: 0,
            empty_polls: 0,
            polled_in_vain_at: 0,
            refused: false,
            adopted_at: 0,
            adopt_every_ticks: if others.is_empty() {
                u64::MAX
            } else {
                settings.adopt_every_ticks
            },
            others,
            next_other: 0,
            borrowed: None,
            shard: queues.shard,
            shards: queues.shards.into_iter().map(|ring| WaitingShard { ring, stamp }).collect(),
            picker: queues.picker,
            rank: RankMeter::new(),
            budget: DequeueBudget::new(settings.take_budget_ticks, settings.burst.pkts()),
            inbox: queues.inbox,
            inboxes: queues.inboxes,
            tx: Transmit::new(queues.tx, settings, shared, stats),
            settings,
            burst: Burst::new(),
            admission: Admission::new(shared.order, settings.ticket, settings.flows),
            sorter: Sorter::new(),
            served: Served::new(),
            run_queue: queues.run_queue,
            kept: queues.kept,
            stealers: queues.stealers,
            hints: Vec::with_capacity(shared.boards.len()),
            shed_before: 0,
            announced: false,
            last_lap: 0,
            stamps: (0..shared.clocks.ports().len())
                .map(|at| Stamps::new(shared.clocks, at))
                .collect(),
            parts_in: 1,
            unseen_since: 0,
            unseen_ticks_max: 0,
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
                Step::Poll => {
                    while self.poll()
                        && P::keeps_polling(self.pool)
                        && !self.shared.run.is_draining()
                    {}
                }
                Step::Serve => self.serve_run_queue(),
                Step::Run => self.run_kept(),
                Step::Shed => self.shed_kept(),
                Step::Unbox => self.unbox(),
                Step::Dequeue => self.take(),
                Step::LookAround => self.look_around(),
                Step::Rest => self.rest(),
            }
            self.tx.retry();
        }
        self.wind_up();
    }

    #[inline(always)]
    fn view(&mut self) -> View {
        View {
            pool: self.pool,
            run_queue_pkts: self.run_queue.len(),
            kept_pkts: self.kept.len(),
            shards_nonempty: P::WORKERS_POLL && self.pool == Pool::B && self.shards_wait(),
            inbox_pkts: if P::DEFERRED == Deferral::Inbox {
                self.inbox.as_ref().map_or(0, RingConsumer::len)
            } else {
                0
            },
            done_pkts: if P::COUNTS {
                self.stats.cheap_pkts.get() + self.stats.expensive_pkts.get()
            } else {
                0
            },
            found_nothing: self.empty_polls >= P::EMPTY_ROUNDS * self.rx.len(),
            permit_refused: self.refused,
            draining: self.shared.run.is_draining(),
        }
    }

    #[inline]
    fn shards_wait(&self) -> bool {
        self.shards.iter().any(|shard| !shard.is_empty())
    }

    /// Asked only while draining: whether all that this lcore could still get
    /// has been finished. First it says that it will shed nothing more, once it
    /// holds nothing; from then on what it still gets from others it runs to
    /// the end itself.
    #[cold]
    fn is_done(&mut self) -> bool {
        if self.shared.run.is_abandoned() {
            self.abandon();
        }
        if !self.run_queue.is_empty() || !self.kept.is_empty() {
            return false;
        }
        if !self.announced {
            self.announced = true;
            self.shared.run.lcore_sheds_no_more();
        }
        // Looked at in this order: what others put before they said so is then
        // visible.
        let takes = self.pool == Pool::B || self.inbox.is_some();
        !takes
            || self.shared.run.no_lcore_sheds()
                && !self.shards_wait()
                && self.inbox.as_ref().is_none_or(RingConsumer::is_empty)
    }

    /// Drops what is still to be done, when there is no time left to do it.
    #[cold]
    fn abandon(&mut self) {
        while let Some(packet) = self.run_queue.pop().or_else(|| self.kept.pop()) {
            self.tx.drop_placed(packet, DropCause::Shutdown);
        }
        for ring in self.shards.iter_mut().map(|shard| &mut shard.ring).chain(&mut self.inbox) {
            while ring.take(&mut self.burst, self.settings.burst.pkts()) > 0 {
                self.burst
                    .drain()
                    .for_each(|packet| self.tx.drop_placed(packet, DropCause::Shutdown));
            }
        }
    }

    fn wind_up(mut self) {
        self.stats.host_gaps.add(self.engine.host_gaps());
        self.book_longest_unseen();
        self.stats.grown.add(self.run_queue.grown() + self.kept.grown());
        self.tx.close(tsc());
        self.tx.wind_up(|| self.shared.run.is_abandoned());
    }

    #[cold]
    fn rest(&mut self) {
        self.engine.rest();
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
