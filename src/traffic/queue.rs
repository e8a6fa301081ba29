//! A virtual NIC's receive queue: makes the due packets whenever the queue is
//! polled.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Frame, VirtualRing};
use crate::dpdk::clock::tsc;
use crate::dpdk::{CostField, Mempool, Room, RxSource, StampField};
use crate::stats::{Counter, Histogram};

/// One in so many polls that bring packets is measured, because reading the
/// clock is not free.
const MEASURE_EVERY: u32 = 64;

/// Counters of a virtual queue. The lease's holder writes; any thread may read.
#[derive(Debug, Default)]
pub struct QueueCounts {
    /// Packets that were received.
    pub received_pkts: Counter,
    /// Packets for which the pool had no buffer.
    pub nombuf_pkts: Counter,
    /// The queue's own work per packet, in ticks, over the packets of measured
    /// polls.
    pub own_ticks: Histogram,
    offered_pkts: AtomicU64,
    missed_pkts: AtomicU64,
    started_ticks: AtomicU64,
    polled_ticks: AtomicU64,
    behind_ticks: AtomicU64,
}

impl QueueCounts {
    /// Packets that were due by the last poll, received or not.
    pub fn offered_pkts(&self) -> u64 {
        self.offered_pkts.load(Ordering::Relaxed)
    }

    /// Packets that found the ring full.
    pub fn missed_pkts(&self) -> u64 {
        self.missed_pkts.load(Ordering::Relaxed)
    }

    /// From the first poll to the last.
    pub fn polled_for_ticks(&self) -> u64 {
        self.polled_ticks
            .load(Ordering::Relaxed)
            .saturating_sub(self.started_ticks.load(Ordering::Relaxed))
    }

    /// By how much drawing packets lagged behind their due times at the last
    /// poll. See [`VirtualRing::behind_ticks`].
    pub fn behind_ticks(&self) -> u64 {
        self.behind_ticks.load(Ordering::Relaxed)
    }
}

/// One receive queue.
pub struct VirtualQueue {
    ring: VirtualRing,
    frame: Frame,
    port: u16,
    pool: Mempool,
    stamp: StampField,
    cost: Option<CostField>,
    counts: Arc<QueueCounts>,
    /// Polls with packets until the next measured one.
    to_measure: u32,
    started: bool,
}

impl VirtualQueue {
    /// A queue of `port` that allocates from `pool`. Each packet's due time is
    /// written to `stamp`, its cost to `cost`.
    pub fn new(
        ring: VirtualRing,
        frame: Frame,
        port: u16,
        pool: Mempool,
        stamp: StampField,
        cost: Option<CostField>,
    ) -> Self {
        let counts = Arc::new(QueueCounts::default());
        Self { ring, frame, port, pool, stamp, cost, counts, to_measure: 1, started: false }
    }

    /// Its counters.
    pub fn counts(&self) -> Arc<QueueCounts> {
        self.counts.clone()
    }

    /// Dequeues due packets, as far as there is room, and fills buffers with
    /// them. A packet for which the pool has no buffer is lost.
    fn make_packets(&mut self, waiting: usize, room: &mut Room<'_>) -> usize {
        let wanted = waiting.min(room.left());
        let packets = room.alloc(&self.pool, wanted);
        let (made, len) = (packets.len(), self.frame.bytes_in_memory());
        for packet in packets {
            let Some(due) = self.ring.take() else { break };
            packet.begin_with(self.frame.bytes_of(&due), len);
            packet.set_port(self.port);
            self.stamp.write(packet, due.at_ticks);
            if let Some(field) = self.cost {
                field.write(packet, due.cost.ticks, due.cost.expensive);
            }
        }
        for _ in made..wanted {
            self.ring.take();
        }
        self.counts.received_pkts.add(made as u64);
        self.counts.nombuf_pkts.add((wanted - made) as u64);
        made
    }
}

impl RxSource for VirtualQueue {
    #[inline]
    fn receive(&mut self, room: &mut Room<'_>) {
        let now = room.read_clock();
        if !self.started {
            self.started = true;
            self.counts.started_ticks.store(now, Ordering::Relaxed);
        }
        let waiting = self.ring.advance(now);
        self.counts.polled_ticks.store(now, Ordering::Relaxed);
        self.counts.offered_pkts.store(self.ring.offered_pkts(), Ordering::Relaxed);
        self.counts.missed_pkts.store(self.ring.missed_pkts(), Ordering::Relaxed);
        let behind = self.ring.behind_ticks(now);
        self.counts.behind_ticks.store(behind, Ordering::Relaxed);
        if behind > 0 {
            room.has_worked();
        }
        let more = waiting > room.left();
        room.quiet_until(if more || behind > 0 { 0 } else { self.ring.next_due_ticks() });
        if waiting == 0 {
            return;
        }
        let made = self.make_packets(waiting, room);
        self.to_measure -= 1;
        if self.to_measure == 0 {
            self.to_measure = MEASURE_EVERY;
            self.counts.own_ticks.record(tsc().wrapping_sub(now) / made.max(1) as u64, made as u64);
        }
    }
}
