//! Counters with a single writer: the lcore adds without a locked instruction,
//! any thread reads at any time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use super::{
    ActivityTicks, ArrivalCounts, Histogram, HostGaps, OrderCounts, Parts, RankCounts, RescueStats,
    StepMeter,
};

/// A count that one lcore writes.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Adds by a load and a store, not atomically. Only the owner may call
    /// this.
    #[inline(always)]
    pub fn add(&self, count: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(count), Ordering::Relaxed);
    }

    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Why a packet was dropped. Every received packet is sent, or is dropped under
/// exactly one of these causes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropCause {
    /// Its shard was full, and `--on-full drop` forbids to run it here.
    ShardFull,
    /// The transmit queue and the backlog behind it were full. The link was up.
    TxFull,
    /// As `TxFull`, but the link was down.
    LinkDown,
    /// It is longer than its port can pass on whole.
    TooLong,
    /// Its first segment is shorter than the Ethernet header, which the forward
    /// mode changes.
    Runt,
    /// The engine changes its packets, and other packets may have this one's
    /// buffer.
    SharedBuffer,
    /// Not an IP packet, in a forward mode that routes.
    NotIp,
    /// Its IP header is truncated, contradicts itself or the frame, or has a
    /// wrong checksum.
    BadHeader,
    /// Its time to live, or hop limit, expired here.
    TtlExpired,
    /// No route leads to its destination.
    NoRoute,
    /// Its frame is for another station, in a forward mode that routes.
    OtherStation,
    /// Its frame or packet is for all, or for a group, in a forward mode that
    /// routes.
    Group,
    /// It comes from or goes to an address that no host on a network can have.
    Martian,
    /// It comes from or goes to an address that is only valid on its link.
    LinkLocal,
    /// Its route drops it.
    Blackhole,
    /// Its route says that its destination is unreachable.
    Unreachable,
    /// The engine's verdict: a rule of `dpi`, or the user's own engine.
    Denied,
    /// It had to wait in a run queue that was full.
    RunQueueFull,
    /// It needed a place in its flow, and all records of its receive queue were
    /// in use.
    OrderFull,
    /// The run ended before it was finished.
    Shutdown,
    /// For causes of the user's own engine: see [`DropCause::own`].
    Own0,
    Own1,
    Own2,
    Own3,
    Own4,
    Own5,
    Own6,
    Own7,
}

/// The names of the own engine's causes.
static OWN_NAMES: OnceLock<&'static [&'static str]> = OnceLock::new();

impl DropCause {
    pub const ALL: [Self; 28] = [
        Self::ShardFull,
        Self::TxFull,
        Self::LinkDown,
        Self::TooLong,
        Self::Runt,
        Self::SharedBuffer,
        Self::NotIp,
        Self::BadHeader,
        Self::TtlExpired,
        Self::NoRoute,
        Self::OtherStation,
        Self::Group,
        Self::Martian,
        Self::LinkLocal,
        Self::Blackhole,
        Self::Unreachable,
        Self::Denied,
        Self::RunQueueFull,
        Self::OrderFull,
        Self::Shutdown,
        Self::Own0,
        Self::Own1,
        Self::Own2,
        Self::Own3,
        Self::Own4,
        Self::Own5,
        Self::Own6,
        Self::Own7,
    ];

    /// The most causes that an own engine can have.
    pub const OWN_MAX: usize = 8;

    /// The cause of the own engine's at this place in the list that it gave
    /// [`Program::causes`](crate::app::Program::causes).
    ///
    /// # Panics
    /// At compile time in a constant, if there are not so many.
    pub const fn own(at: usize) -> Self {
        assert!(at < Self::OWN_MAX);
        Self::ALL[Self::ALL.len() - Self::OWN_MAX + at]
    }

    /// Names the own engine's causes, once per process.
    pub(crate) fn name_own(names: &'static [&'static str]) {
        assert!(names.len() <= Self::OWN_MAX, "an engine can have {} causes", Self::OWN_MAX);
        let _ = OWN_NAMES.set(names);
    }

    /// The causes that have a name in this process.
    pub fn named() -> impl Iterator<Item = Self> {
        let own = OWN_NAMES.get().map_or(0, |names| names.len());
        Self::ALL.into_iter().take(Self::ALL.len() - Self::OWN_MAX + own)
    }

    /// The key in the report.
    pub fn name(self) -> &'static str {
        match self {
            Self::ShardFull => "shard_full",
            Self::TxFull => "tx_full",
            Self::LinkDown => "link_down",
            Self::TooLong => "too_long",
            Self::Runt => "runt",
            Self::SharedBuffer => "shared_buffer",
            Self::NotIp => "not_ip",
            Self::BadHeader => "bad_header",
            Self::TtlExpired => "ttl_expired",
            Self::NoRoute => "no_route",
            Self::OtherStation => "other_station",
            Self::Group => "group",
            Self::Martian => "martian",
            Self::LinkLocal => "link_local",
            Self::Blackhole => "blackhole",
            Self::Unreachable => "unreachable",
            Self::Denied => "denied",
            Self::RunQueueFull => "run_queue_full",
            Self::OrderFull => "order_full",
            Self::Shutdown => "shutdown",
            Self::Own0
            | Self::Own1
            | Self::Own2
            | Self::Own3
            | Self::Own4
            | Self::Own5
            | Self::Own6
            | Self::Own7 => {
                let at = self as usize - Self::own(0) as usize;
                OWN_NAMES.get().and_then(|names| names.get(at)).copied().unwrap_or("own")
            }
        }
    }
}

/// One lcore's count for one queue.
#[derive(Debug)]
pub struct PortQueue {
    pub port: u16,
    pub queue: u16,
    pub pkts: Counter,
    pub arrivals: ArrivalCounts,
}

impl PortQueue {
    pub fn new(port: u16, queue: u16) -> Self {
        Self { port, queue, pkts: Counter::default(), arrivals: ArrivalCounts::default() }
    }
}

/// All counts of one lcore, on cache lines of its own. Aligned to two lines
/// because neighbours are prefetched in pairs.
#[derive(Debug)]
#[repr(align(128))]
pub struct LcoreStats {
    /// Received packets, by receive queue.
    pub rx: Vec<PortQueue>,
    /// Packets that drivers accepted, by port.
    pub tx: Vec<PortQueue>,
    /// Polls that returned packets, and polls that returned none.
    pub rx_bursts: Counter,
    pub empty_polls: Counter,
    /// Packets that the cheap stage forwarded. The engine may still drop one
    /// when its turn comes (`dropped_in_turn_pkts`).
    pub cheap_pkts: Counter,
    /// Packets that went through the expensive stage here.
    pub expensive_pkts: Counter,
    /// Packets that ran alone, because their cost was unknown.
    pub unknown_pkts: Counter,
    /// Packets that the cheap stage handed over to the expensive stage.
    pub yielded_pkts: Counter,
    /// Packets put into this lcore's shard.
    pub shed_pkts: Counter,
    /// Packets taken from shards.
    pub taken_pkts: Counter,
    /// Packets left over in a burst that waited in the run queue.
    pub requeued_pkts: Counter,
    /// Packets that a stage forwarded, here or on another lcore, and that the
    /// engine dropped here when their turn came. They are in `drops` too.
    pub dropped_in_turn_pkts: Counter,
    /// How often its run queues grew. Set at the end of the run.
    pub grown: Counter,
    drops: [Counter; DropCause::ALL.len()],
    /// Time from the stamp until the driver accepted the packet, in ticks, for
    /// packets of the cheap stage.
    pub cheap_latency: Histogram,
    /// The same for packets of the expensive stage.
    pub expensive_latency: Histogram,
    /// The parts of these times, for sampled packets.
    pub cheap_parts: Parts,
    pub expensive_parts: Parts,
    /// How long the packets of sampled bursts may have waited before the poll
    /// that received them: the time since the last poll that emptied the same
    /// queue. In ticks; counts bursts.
    pub unseen_wait: Histogram,
    /// Bounds of the latency of packets in sampled bursts where that wait is
    /// known: from their poll, and from the start of that wait.
    pub at_least: Histogram,
    pub at_most: Histogram,
    /// How far its dequeues from shards were from the order of arrival.
    pub rank: RankCounts,
    /// Reordering within flows of the packets that it sent.
    pub order: OrderCounts,
    /// Its help for other lcores.
    pub rescue: RescueStats,
    /// Time that the host took.
    pub host_gaps: HostGaps,
    /// Its time by activity, if that is metered.
    pub activity_ticks: ActivityTicks,
    /// Cycles by step, if `--record-core-cycles`.
    pub steps: StepMeter,
}

/// One lcore's counts in memory of their own, which can be near to the lcore.
/// DPDK's telemetry may read them until the run ends.
pub type OwnStats = Arc<LcoreStats>;

impl LcoreStats {
    /// `rx`: the receive queues that it polls. `tx`: its transmit queue of each
    /// port.
    pub fn new(rx: &[(u16, u16)], tx: &[(u16, u16)]) -> Self {
        let queues = |list: &[(u16, u16)]| {
            list.iter().map(|&(port, queue)| PortQueue::new(port, queue)).collect()
        };
        Self {
            rx: queues(rx),
            tx: queues(tx),
            rx_bursts: Counter::default(),
            empty_polls: Counter::default(),
            cheap_pkts: Counter::default(),
            expensive_pkts: Counter::default(),
            unknown_pkts: Counter::default(),
            yielded_pkts: Counter::default(),
            shed_pkts: Counter::default(),
            taken_pkts: Counter::default(),
            requeued_pkts: Counter::default(),
            dropped_in_turn_pkts: Counter::default(),
            grown: Counter::default(),
            drops: Default::default(),
            cheap_latency: Histogram::new(),
            expensive_latency: Histogram::new(),
            cheap_parts: Parts::default(),
            expensive_parts: Parts::default(),
            unseen_wait: Histogram::new(),
            at_least: Histogram::new(),
            at_most: Histogram::new(),
            rank: RankCounts::default(),
            order: OrderCounts::default(),
            rescue: RescueStats::default(),
            host_gaps: HostGaps::default(),
            activity_ticks: ActivityTicks::default(),
            steps: StepMeter::default(),
        }
    }

    #[inline]
    pub fn drop_pkts(&self, cause: DropCause, count: u64) {
        self.drops[cause as usize].add(count);
    }

    pub fn dropped(&self, cause: DropCause) -> u64 {
        self.drops[cause as usize].get()
    }

    pub fn rx_pkts(&self) -> u64 {
        self.rx.iter().map(|queue| queue.pkts.get()).sum()
    }

    pub fn tx_pkts(&self) -> u64 {
        self.tx.iter().map(|queue| queue.pkts.get()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_stand_at_their_own_index() {
        for (place, cause) in DropCause::ALL.into_iter().enumerate() {
            assert_eq!(cause as usize, place);
        }
    }
}
