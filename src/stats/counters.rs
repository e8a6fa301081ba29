//! Counters with a single writer: an lcore adds without a locked instruction,
//! anybody may read at any time.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{Histogram, HostGaps, OrderCounts, Parts, RankCounts, RescueStats, StepMeter};

/// A count that one lcore writes.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Only the lcore that owns the counter may call this: a load and a store,
    /// not an atomic addition.
    #[inline(always)]
    pub fn add(&self, count: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(count), Ordering::Relaxed);
    }

    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Why a packet was dropped. Every packet that is received is sent or has
/// exactly one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropCause {
    /// Its shard was full, and `--on-full drop` says not to run it here.
    ShardFull,
    /// The transmit queue and the list of packets that wait for it were full,
    /// the link being up.
    TxFull,
    /// As `TxFull`, but the link was down.
    LinkDown,
    /// Its first segment is shorter than the Ethernet header that was to be
    /// changed.
    Runt,
    /// It is no IP packet, and has to be routed.
    NotIp,
    /// Its IP header is cut off, contradicts itself or the frame, or has a
    /// wrong checksum.
    BadHeader,
    /// Its time to live, or hop limit, ends here.
    TtlExpired,
    /// No route leads to its destination.
    NoRoute,
    /// The engine does not let it pass: a rule of `dpi`'s, or an engine of
    /// one's own.
    Denied,
    /// It had to wait in a run queue that was as long as it may be.
    RunQueueFull,
    /// It had to keep its place in its flow, and all records of its receive
    /// queue were in use.
    OrderFull,
    /// The run ended and it could not be finished in time.
    Shutdown,
}

impl DropCause {
    pub const ALL: [Self; 12] = [
        Self::ShardFull,
        Self::TxFull,
        Self::LinkDown,
        Self::Runt,
        Self::NotIp,
        Self::BadHeader,
        Self::TtlExpired,
        Self::NoRoute,
        Self::Denied,
        Self::RunQueueFull,
        Self::OrderFull,
        Self::Shutdown,
    ];

    /// The key in the report.
    pub fn name(self) -> &'static str {
        match self {
            Self::ShardFull => "shard_full",
            Self::TxFull => "tx_full",
            Self::LinkDown => "link_down",
            Self::Runt => "runt",
            Self::NotIp => "not_ip",
            Self::BadHeader => "bad_header",
            Self::TtlExpired => "ttl_expired",
            Self::NoRoute => "no_route",
            Self::Denied => "denied",
            Self::RunQueueFull => "run_queue_full",
            Self::OrderFull => "order_full",
            Self::Shutdown => "shutdown",
        }
    }
}

/// What one lcore counted for one queue.
#[derive(Debug)]
pub struct PortQueue {
    pub port: u16,
    pub queue: u16,
    pub pkts: Counter,
}

impl PortQueue {
    pub fn new(port: u16, queue: u16) -> Self {
        Self { port, queue, pkts: Counter::default() }
    }
}

/// All that one lcore counts. On cache lines of its own (two: neighbours are
/// prefetched in pairs).
#[derive(Debug)]
#[repr(align(128))]
pub struct LcoreStats {
    /// Received packets, by receive queue that this lcore polls.
    pub rx: Vec<PortQueue>,
    /// Packets that drivers accepted, by port.
    pub tx: Vec<PortQueue>,
    /// Polls that brought packets, and polls that brought none.
    pub rx_bursts: Counter,
    pub empty_polls: Counter,
    /// Packets that finished in the cheap stage.
    pub cheap_pkts: Counter,
    /// Packets that went through the expensive stage here.
    pub expensive_pkts: Counter,
    /// Packets that the cheap stage turned out to be too little for, or gave
    /// up.
    pub yielded_pkts: Counter,
    /// Packets put into this lcore's shard.
    pub shed_pkts: Counter,
    /// Packets taken from shards.
    pub taken_pkts: Counter,
    /// Packets left over in a burst that waited in the run queue.
    pub requeued_pkts: Counter,
    /// How often its run queues have grown. Counted at the end of the run.
    pub grown: Counter,
    drops: [Counter; DropCause::ALL.len()],
    /// Time from the stamp until the driver accepted the packet, in ticks, for
    /// packets of the cheap stage.
    pub cheap_latency: Histogram,
    /// As above, for packets of the expensive stage.
    pub expensive_latency: Histogram,
    /// What these times consist of, of those packets where that was measured.
    pub cheap_parts: Parts,
    pub expensive_parts: Parts,
    /// By how much packets may have come earlier than the poll that brought
    /// them: the time since a poll of the same queue found it empty behind what
    /// it took. In ticks.
    pub unseen_wait: Histogram,
    /// Of packets of measured bursts where that is known: latency as their poll
    /// has it, and as it was had they come when that time began.
    pub at_least: Histogram,
    pub at_most: Histogram,
    /// How far its takes from shards were from the order of arrival.
    pub rank: RankCounts,
    /// How far what it sent was from the order of arrival within flows.
    pub order: OrderCounts,
    /// What it did for other lcores.
    pub rescue: RescueStats,
    /// Time that the host took.
    pub host_gaps: HostGaps,
    /// Cycles of each step, if they are measured.
    pub steps: StepMeter,
}

impl LcoreStats {
    /// `rx`: the receive queues it polls. `tx`: for each port the transmit
    /// queue it sends by.
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
            yielded_pkts: Counter::default(),
            shed_pkts: Counter::default(),
            taken_pkts: Counter::default(),
            requeued_pkts: Counter::default(),
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
    fn causes_stand_at_their_own_place() {
        for (place, cause) in DropCause::ALL.into_iter().enumerate() {
            assert_eq!(cause as usize, place);
        }
    }
}
