//! The receive queue of a NIC in virtual time: a ring of so many descriptors
//! that fills as packets become due, and overflows.

use super::{Due, Generator};

/// The most packets that are drawn at one time, for a ring of up to half as
/// many descriptors: bounds how long a poll takes after a stall. A ring of more
/// descriptors has twice its size.
pub const CATCH_UP_PKTS: usize = 4096;

/// Packets that are due and not yet taken, as many as there are descriptors. A
/// packet is missed if and only if the ring was full when it was due; only
/// while drawing catches up after a stall, room that a poll makes may go to a
/// packet of the poll before.
#[derive(Clone, Debug)]
pub struct VirtualRing {
    generator: Generator,
    /// A power of two of slots; those from `taken` to `put` hold packets, both
    /// counted without end.
    slots: Box<[Due]>,
    put: usize,
    taken: usize,
    descriptors: usize,
    /// When the generator's clock started, on the caller's.
    started_ticks: Option<u64>,
    /// Where drawing did not keep up: what was due up to here came upon a full
    /// ring.
    full_until_ticks: u64,
    offered_pkts: u64,
    missed_pkts: u64,
}

impl VirtualRing {
    /// A ring of `descriptors`, 1 at least, whose memory is touched here and
    /// not while packets come.
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

    /// Lets all packets arrive that are due at `now_ticks`. Time starts with
    /// the first call. Returns how many are waiting then.
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
        // More has come than is drawn at one time. If the ring is full, it
        // stays so until somebody takes, after this poll.
        if self.put - self.taken == self.descriptors {
            self.full_until_ticks = now_ticks;
        }
    }

    /// Takes the packet that has waited longest; its due time is on the
    /// caller's clock.
    #[inline]
    pub fn take(&mut self) -> Option<Due> {
        if self.taken == self.put {
            return None;
        }
        let due = self.slots[self.taken & (self.slots.len() - 1)];
        self.taken += 1;
        Some(due)
    }

    /// When the next packet comes that has not been let in yet, on the caller's
    /// clock.
    pub fn next_due_ticks(&self) -> u64 {
        self.generator.next_ticks().saturating_add(self.started_ticks.unwrap_or(0))
    }

    /// How far drawing is behind: up to there, packets that should have come
    /// have not been counted yet. 0 while the machine keeps up.
    pub fn behind_ticks(&self, now_ticks: u64) -> u64 {
        now_ticks.saturating_sub(self.next_due_ticks())
    }

    /// Packets that have been due.
    pub fn offered_pkts(&self) -> u64 {
        self.offered_pkts
    }

    /// Of these, those that came upon a full ring.
    pub fn missed_pkts(&self) -> u64 {
        self.missed_pkts
    }
}
