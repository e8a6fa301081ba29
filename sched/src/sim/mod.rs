//! The datapath in virtual time: what a mode does to latency on lcores that
//! this machine does not have. Discrete events, no threads, no clock.
//!
//! The decisions are those of the datapath: the same [`Policy`] types, permits,
//! [`Pace`](crate::pace::Pace), boards, sets of
//! [`attention`](crate::attention), published heads of [`shed`](crate::shed)
//! and places of packets in their flows ([`order`](crate::order)) work here as
//! they do there. Only packets, queues and time are simulated. [`Costs`] says
//! how long the lcores' own work takes.
//!
//! The lcore's loop is that of mpfwd's `lcore_loop.rs`, `runner.rs` and
//! `stages.rs`, cut at the moments at which other lcores can see a change: a
//! lease is released, packets are shed, a long packet begins or ends. Between
//! two such moments an lcore's work is one event. An lcore that finds nothing
//! to do sleeps until its queues have a packet, or another lcore changes what
//! it looks at; how far it was in its round of polls and looks then is kept.
//!
//! The same [`Setup`], traffic and seed give the same result.
//!
//! ```
//! use micropools::policy::Mode;
//! use micropools::sim::{Arrival, Setup, TICKS_PER_US, run};
//!
//! // A packet per microsecond and queue, of which each costs 500 ns.
//! let mut sent_ticks = [0; 2];
//! let traffic = |queue: usize| {
//!     sent_ticks[queue] += TICKS_PER_US;
//!     let arrival = Arrival {
//!         due_ticks: sent_ticks[queue],
//!         cost_ticks: TICKS_PER_US / 2,
//!         expensive: false,
//!         flow: queue as u32,
//!     };
//!     (arrival.due_ticks < 10_000 * TICKS_PER_US).then_some(arrival)
//! };
//! let setup = Setup { mode: Mode::Rtc, ..Setup::new(2, 0) };
//! let mut longest_ticks = 0;
//! let outcome = run(&setup, traffic, |sent| longest_ticks = longest_ticks.max(sent.latency_ticks()))?;
//! assert_eq!((outcome.sent_pkts, outcome.missed_pkts), (2 * 9_999, 0));
//! assert!((TICKS_PER_US / 2..TICKS_PER_US).contains(&longest_ticks));
//! # Ok::<(), String>(())
//! ```

mod admission;
mod agenda;
mod costs;
mod fitter;
mod gaps;
mod handoff;
mod ideal;
mod lcore;
mod own_board;
mod queues;
mod runner;
mod seen;
mod stages;
#[cfg(all(test, not(loom)))]
mod tests;
mod timeline;
mod transmit;
mod world;

use std::num::NonZeroU64;

use crate::policy::{
    Excess, HelpAfter, Hybrid, Mode, Policy, Pools, Rtc, Shared, ShedRandom, Steal, StealEvery,
};
use crate::shed::ShardPick;

pub use costs::{Costs, Topology};
pub use gaps::{Gap, Recording};
pub use ideal::{Ideal, ideal};

/// The virtual clock: that of the machine whose costs are the defaults.
pub const TICKS_PER_US: u64 = 2_600;

/// The same per second.
pub const TICKS_PER_SECOND: u64 = TICKS_PER_US * 1_000_000;

/// Nanoseconds as ticks.
pub fn ticks_of_ns(ns: f64) -> u64 {
    (ns * TICKS_PER_US as f64 / 1e3).round() as u64
}

/// Ticks as nanoseconds.
pub fn ns_of_ticks(ticks: u64) -> f64 {
    ticks as f64 * 1e3 / TICKS_PER_US as f64
}

/// The most lcores: boards, sets and shards hold so many.
pub const LCORES_MAX: usize = crate::attention::SET_MAX;

/// A packet that becomes due on a receive queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// When it becomes due, from the start of the run. A queue's arrivals come
    /// in this order.
    pub due_ticks: u64,
    /// What it costs, wherever it runs.
    pub cost_ticks: u64,
    /// It is of the expensive class.
    pub expensive: bool,
    /// Its flow, whose packets leave in order.
    pub flow: u32,
}

/// A packet that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// When it became due, from the start of the run.
    pub due_ticks: u64,
    /// When it was sent, from the start of the run.
    pub sent_ticks: u64,
    /// What it cost, as given by its arrival.
    pub cost_ticks: u64,
    /// It is of the expensive class.
    pub expensive: bool,
    /// The receive queue that it came by.
    pub queue: usize,
    /// The lcore that sent it.
    pub lcore: usize,
}

impl Sent {
    /// From when it was due until it was sent.
    pub fn latency_ticks(&self) -> u64 {
        self.sent_ticks.saturating_sub(self.due_ticks)
    }
}

/// What is simulated. Defaults are mpfwd's.
#[derive(Clone, Debug)]
pub struct Setup {
    /// How lcores share work.
    pub mode: Mode,
    /// Mode `steal`: packets between two attempts of a busy lcore.
    pub steal_every: Option<NonZeroU64>,
    /// Mode `steal`: idle lcores poll others' receive queues, too.
    pub steal_rx: bool,
    /// Lcores of both pools.
    pub lcores: usize,
    /// The last lcores, in pool B. Modes with a single pool ignore it.
    pub workers: usize,
    /// The pools follow the load, as with `--pools auto`.
    pub follows_load: bool,
    /// How many lcores may do expensive work at a time; pool B's size if none
    /// is given.
    pub expensive_cap: Option<usize>,
    /// How workers choose a shard.
    pub shard_pick: ShardPick,
    /// How idle lcores share the backlog of one that is pressed.
    pub excess: Excess,
    /// How long an lcore may be in one packet before others rescue it.
    pub rescue_after_ns: u64,
    /// How long an lcore may not be seen to run before others poll for it.
    pub stall_after_ns: u64,
    /// The most packets of a poll.
    pub burst: usize,
    /// Packets that a receive queue holds.
    pub descriptors: usize,
    /// Packets that a shard or an inbox holds.
    pub ring_pkts: usize,
    /// Packets that a run queue holds.
    pub run_queue_pkts: usize,
    /// Packets of a receive queue that can have places in their flows.
    pub order_records: usize,
    /// A packet's class is known before it runs.
    pub known: bool,
    /// The engine serves a burst without expensive packets as a whole.
    pub whole_bursts: bool,
    /// Seed of the lcores' random choices.
    pub seed: u64,
    /// What the lcores' own work takes.
    pub costs: Costs,
    /// How far lcores are from each other.
    pub topology: Topology,
    /// When CPUs are taken away.
    pub gaps: Recording,
    /// Lcores receive nothing from then on, and finish what they have received.
    pub end_ticks: u64,
}

/// mpfwd's rings have 2,048 slots, and hold one packet less.
const RING_PKTS: usize = 2_047;

/// With more lcores than this, each queue has fewer places, so that memory is
/// bounded.
const LCORES_WITH_ALL_RECORDS: usize = 64;

impl Setup {
    /// Mode `hybrid` on `lcores` lcores, of which the last `workers` are in
    /// pool B, without an end.
    pub fn new(lcores: usize, workers: usize) -> Self {
        Self {
            mode: Mode::Hybrid,
            steal_every: None,
            steal_rx: false,
            lcores,
            workers,
            follows_load: false,
            expensive_cap: None,
            shard_pick: ShardPick::Oldest,
            excess: Excess::Pull,
            rescue_after_ns: 20_000,
            stall_after_ns: 50_000,
            burst: 32,
            descriptors: 32_768,
            ring_pkts: RING_PKTS,
            run_queue_pkts: 8_192,
            order_records: if lcores > LCORES_WITH_ALL_RECORDS { 2_048 } else { 8_192 },
            known: true,
            whole_bursts: false,
            seed: 1,
            costs: Costs::default(),
            topology: Topology::default(),
            gaps: Recording::default(),
            end_ticks: u64::MAX,
        }
    }

    /// How many receive queues there are: one for each lcore that owns any.
    pub fn queues(&self) -> usize {
        self.mode.facts().polls.count(self.pool_a(), self.lcores - self.pool_a())
    }

    /// Lcores in pool A at the start.
    fn pool_a(&self) -> usize {
        match (self.mode.facts().has_pools, self.follows_load) {
            (false, _) => self.lcores,
            (_, true) => self.lcores - self.lcores / 2,
            _ => self.lcores - self.workers,
        }
    }

    /// # Errors
    /// What can't be simulated, in one line.
    pub fn check(&self) -> Result<(), String> {
        let facts = self.mode.facts();
        if !(1..=LCORES_MAX).contains(&self.lcores) {
            return Err(format!("{} lcores: write a number from 1 to {LCORES_MAX}", self.lcores));
        }
        if facts.has_pools && self.lcores < 2 {
            return Err(format!("mode {} needs two lcores: write 2 or more", facts.name));
        }
        if facts.has_pools && !self.follows_load && !(1..self.lcores).contains(&self.workers) {
            return Err(format!(
                "{} of {} lcores in pool B: each pool needs an lcore",
                self.workers, self.lcores
            ));
        }
        if self.follows_load && !facts.moves_lcores() {
            return Err(format!("mode {} can't move lcores between pools", facts.name));
        }
        if self.expensive_cap == Some(0) {
            return Err("an expensive cap of 0 would run no expensive packet".into());
        }
        if self.burst == 0 || self.descriptors < self.burst || self.order_records < self.burst {
            return Err(format!(
                "a burst of {} needs as many descriptors and places, and at least one",
                self.burst
            ));
        }
        if self.run_queue_pkts < 2 * self.burst || self.ring_pkts == 0 {
            return Err("a run queue must hold two bursts, and a ring a packet".into());
        }
        self.gaps.check()
    }
}

/// What came of a simulation, beside each packet's latency.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Packets that became due before the end.
    pub offered_pkts: u64,
    /// Of these, those that found no descriptor.
    pub missed_pkts: u64,
    /// Those that were polled.
    pub received_pkts: u64,
    /// Those that were sent.
    pub sent_pkts: u64,
    /// Those that were dropped: their shard, inbox or run queue was full, or
    /// they found no place in their flow.
    pub dropped_pkts: u64,
    /// Packets that were sent before an earlier one of their flow: always 0.
    pub reordered_pkts: u64,
    /// Packets put into shards and inboxes.
    pub sheds: u64,
    /// Successful steals.
    pub steals: u64,
    /// Polls of others' queues that brought packets.
    pub takeovers: u64,
    /// When the last packet was sent, from the start.
    pub ended_ticks: u64,
    /// The lcores' time in packets, their own work included.
    pub busy_ticks: u64,
    /// Host gaps that held up an lcore's work.
    pub gap_ticks: u64,
    /// How often the pools changed, and pool B's size at the end.
    pub pool_changes: u64,
    /// See `pool_changes`.
    pub workers: usize,
    /// Events that were simulated.
    pub events: u64,
}

/// Simulates. `traffic`: the next packet of a queue, endless or not. `sent`
/// gets each packet that is sent, in the order of sending.
///
/// # Errors
/// As [`Setup::check`].
pub fn run(
    setup: &Setup,
    traffic: impl FnMut(usize) -> Option<Arrival>,
    sent: impl FnMut(Sent),
) -> Result<Outcome, String> {
    setup.check()?;
    let help = HelpAfter {
        rescue_ticks: ticks_of_ns(setup.rescue_after_ns as f64),
        stall_ticks: ticks_of_ns(setup.stall_after_ns as f64),
        excess: setup.excess,
    };
    let seed = |lcore: usize| setup.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ lcore as u64;
    let ends = (traffic, sent);
    Ok(match (setup.mode, setup.steal_every) {
        (Mode::Rtc, _) => with(setup, ends, |_| Rtc),
        (Mode::Steal, Some(every)) => with(setup, ends, |at| StealEvery::new(seed(at), every)),
        (Mode::Steal, None) if setup.steal_rx => {
            with(setup, ends, |at| Steal::<true>::new(seed(at)))
        }
        (Mode::Steal, None) => with(setup, ends, |at| Steal::<false>::new(seed(at))),
        (Mode::Shared, _) => with(setup, ends, |at| Shared::new(seed(at))),
        (Mode::ShedRandom, _) => with(setup, ends, |at| ShedRandom::new(seed(at))),
        (Mode::Pools, _) => with(setup, ends, |_| Pools),
        (Mode::Hybrid, _) => with(setup, ends, |at| Hybrid::new(seed(at), help)),
    })
}

fn with<P: Policy>(
    setup: &Setup,
    ends: (impl FnMut(usize) -> Option<Arrival>, impl FnMut(Sent)),
    policy: impl Fn(usize) -> P,
) -> Outcome {
    let seen = seen::Seen::new(setup);
    world::World::new(setup, &seen, ends, policy).run()
}
