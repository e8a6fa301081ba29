//! The parts of a loop: settings, its queues, and what all lcores share.

use super::board::Board;
use super::orders::Orders;
use super::packet::Outgoing;
use super::packet_queue::{PacketQueue, PacketStealer};
use super::ring_ends::RingEnds;
use super::run_state::RunState;
use crate::cli::{Idle, OnFull};
use crate::dpdk::{BurstSize, Mempool, RxQueue, RxStampField, StampField, TicketField, TxQueue};
use crate::engine::Flows;
use crate::order::Order;
use crate::policy::{Permits, Split};
use crate::shed::Heads;
use crate::stats::{Incidents, StampClocks};
use micropools::attention::Attention;

/// Time budget of one dequeue from a shard, in nanoseconds: other lcores cannot
/// help with packets that a worker has dequeued.
pub const DEQUEUE_BUDGET_NS: u64 = 20_000;

/// How often an lcore that has work itself looks for one that is away, in
/// nanoseconds; see [`Adoption`](micropools::attention::Adoption).
pub const ADOPT_EVERY_NS: u64 = 2_000;

/// The same for all lcores' loops.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    pub burst: BurstSize,
    pub on_full: OnFull,
    pub idle: Idle,
    /// Whether each step of the loop is metered.
    pub metered: bool,
    /// Whether the lcore's activities are, from the start.
    pub metered_activity: bool,
    /// Whether latency is counted.
    pub stamping: bool,
    /// Where a packet's arrival is written once it leaves its burst.
    pub stamp: StampField,
    /// Where the time of its poll is written then, unless that is its arrival.
    pub polled: Option<StampField>,
    /// Where its place in its flow is written then.
    pub ticket: TicketField,
    /// How a packet's flow is identified.
    pub flows: Flows,
    /// Packets bring a stamp of their arrival, which counts instead of the time
    /// of the poll.
    pub stamped: bool,
    /// Where drivers write their stamps, if these count.
    pub nic: Option<RxStampField>,
    /// Read before the ports were started: no packet came earlier.
    pub started_ticks: u64,
    pub dequeue_budget_ticks: u64,
    pub adopt_every_ticks: u64,
    /// How long an lcore may not be seen to run before it counts as stalled.
    pub stall_after_ticks: u64,
    /// Ticks of a microsecond.
    pub ticks_per_us: u64,
    /// A longer pause between two polls in vain was made by the host.
    pub gap_ticks: u64,
    /// Capacity of a run queue, in packets.
    pub runq_max: usize,
}

impl Settings {
    /// So many nanoseconds in ticks, roughly.
    pub(super) fn ticks(&self, ns: u64) -> u64 {
        ns * self.ticks_per_us / 1_000
    }
}

/// The queues of one lcore.
pub struct Queues {
    /// The pool that the first of its receive queues receives into.
    pub buffers: Mempool,
    /// One transmit queue per port, in the order of its `LcoreStats::tx`.
    pub tx: Vec<TxQueue>,
    pub rings: RingEnds,
    /// Packets left over in a burst, unclassified. Each carries its stamp and
    /// port.
    pub run_queue: PacketQueue,
    /// Deferred packets that this lcore must run itself.
    pub kept: PacketQueue,
    /// Thieves' ends of all lcores' run queues and kept packets, by lcore.
    pub stealers: Vec<[PacketStealer; 2]>,
}

/// Shared by all lcores.
#[derive(Clone, Copy)]
pub struct Shared<'a> {
    pub run: &'a RunState,
    /// What control wants of the lcores.
    pub orders: &'a Orders,
    /// By lcore, in the order of the map.
    pub boards: &'a [Board],
    /// Which of these are worth a look.
    pub attention: &'a Attention,
    /// All receive queues. A queue's number is its place here.
    pub rxqs: &'a [RxQueue],
    /// By a receive queue's number: its packets that have not left yet.
    pub order: &'a Order<Outgoing>,
    /// Which lcores are in which pool.
    pub split: &'a Split,
    /// The shards' published heads, where there are several.
    pub heads: Option<&'a Heads>,
    /// Rights to do expensive work, where the mode limits it.
    pub permits: &'a Permits,
    /// Where each lcore records that it was stuck, or helped one that was.
    pub incidents: &'a Incidents,
    /// The clocks of drivers' stamps, where these count.
    pub clocks: &'a StampClocks,
}
