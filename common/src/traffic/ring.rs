//! The receive queue of a NIC in virtual time: a ring of descriptors that fills
//! as packets become due, and overflows.

use super::{Due, Generator};

/// The most packets that a poll draws, which bounds its length after a stall.
/// For rings of up to half as many descriptors; larger rings draw up to twice
/// their size.
pub const CATCH_UP_PKTS: usize = 4096;

/// Packets that are due and not yet dequeued, bounded by the number of
/// descriptors. A packet is missed if and only if the ring was full when it
/// became due. The exception: while drawing catches up after a stall, room that
/// a poll makes may go to a packet of the previous poll.
#[derive(Clone, Debug)]
pub struct VirtualRing {
    generator: Generator,
    /// A power of two of slots. Those from `taken` to `put` hold packets; both
    /// counts only grow.
    slots: Box<[Due]>,
    put: usize,
    taken: usize,
    descriptors: usize,
    /// The start of the generator's clock, on the caller's clock.
    started_ticks: Option<u64>,
    /// While drawing is behind: packets that were due up to here found the ring
    /// full.
    full_until_ticks: u64,
    offered_pkts: u64,
    missed_pkts: u64,
}

impl VirtualRing {
    /// A ring of at least one descriptor. Touches its memory now, and not while
    /// packets arrive.
    pub fn new(generator: Generator, descriptors: usize) -> Self {
        Self {
            generator,
            slots: vec![Due::default(); descriptors.next_power_of_two()].into(),
            put: 0,
            taken: 0,
            descriptors,
            started_ticks: None,
            full_until_ticks: 0,
            offered_pkts: 0,
            missed_pkts: 0,
        }
    }

    /// Enqueues all packets that are due at `now_ticks`. Time starts with the
    /// first call. Returns the ring's length.
    #[inline]
    pub fn advance(&mut self, now_ticks: u64) -> usize {
        let started = *self.started_ticks.get_or_insert(now_ticks);
        if self.generator.next_ticks() <= now_ticks.saturating_sub(started) {
            self.let_arrive(started, now_ticks);
        }
        self.put - self.taken
    }

    fn let_arrive(&mut self, started: u64, now_ticks: u64) {
        let elapsed = now_ticks.saturating_sub(started);
        for _ in 0..CATCH_UP_PKTS.max(2 * self.descriptors) {
            let mut due = self.generator.draw();
            due.at_ticks += started;
            self.offered_pkts += 1;
            if self.put - self.taken < self.descriptors && due.at_ticks > self.full_until_ticks {
                let mask = self.slots.len() - 1;
                self.slots[self.put & mask] = due;
                self.put += 1;
            } else {
                self.missed_pkts += 1;
            }
            if self.generator.next_ticks() > elapsed {
                return;
            }
        }
        // More packets are due than one poll draws. A full ring stays full
        // until the next dequeue, which is after this poll.
        if self.put - self.taken == self.descriptors {
            self.full_until_ticks = now_ticks;
        }
    }

    /// Dequeues the oldest packet. Its due time is on the caller's clock.
    #[inline]
    pub fn take(&mut self) -> Option<Due> {
        if self.taken == self.put {
            return None;
        }
        let due = self.slots[self.taken & (self.slots.len() - 1)];
        self.taken += 1;
        Some(due)
    }

    /// The due time of the next packet that is not enqueued yet, on the
    /// caller's clock.
    pub fn next_due_ticks(&self) -> u64 {
        self.generator.next_ticks().saturating_add(self.started_ticks.unwrap_or(0))
    }

    /// The time by which drawing is behind. Packets due in that time are not
    /// counted yet. 0 while the machine keeps up.
    pub fn behind_ticks(&self, now_ticks: u64) -> u64 {
        now_ticks.saturating_sub(self.next_due_ticks())
    }

    /// Packets that became due.
    pub fn offered_pkts(&self) -> u64 {
        self.offered_pkts
    }

    /// Of these, those that found the ring full.
    pub fn missed_pkts(&self) -> u64 {
        self.missed_pkts
    }
}
