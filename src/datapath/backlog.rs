//! What drivers refused: it waits in order, by port, and is offered again.

use std::collections::VecDeque;
use std::collections::vec_deque::Drain;

use super::packet::Outgoing;
use super::places::Places;
use crate::config::WAITING_MAX;
use crate::order::{Bucket, Full};

/// By outlet, packets that wait for its driver; at most `WAITING_MAX` each.
pub(super) struct Backlog {
    queues: Vec<VecDeque<Outgoing>>,
    /// A bit per outlet where packets wait.
    held: u64,
}

impl Backlog {
    pub(super) fn new(outlets: usize) -> Self {
        Self {
            queues: (0..outlets).map(|_| VecDeque::with_capacity(WAITING_MAX)).collect(),
            held: 0,
        }
    }

    /// A bit per outlet where packets wait.
    #[inline(always)]
    pub(super) fn held(&self) -> u64 {
        self.held
    }

    #[inline(always)]
    pub(super) fn holds(&self, at: usize) -> bool {
        self.held >> at & 1 == 1
    }

    pub(super) fn is_full(&self, at: usize) -> bool {
        self.queues[at].len() >= WAITING_MAX
    }

    /// Adds a packet behind the others.
    ///
    /// # Errors
    /// With the packet, when too many wait.
    pub(super) fn push(&mut self, at: usize, packet: Outgoing) -> Result<(), Outgoing> {
        self.held |= 1 << at;
        if self.is_full(at) {
            return Err(packet);
        }
        self.queues[at].push_back(packet);
        Ok(())
    }

    /// The oldest packets, at most so many.
    pub(super) fn dequeue(&mut self, at: usize, pkts_max: usize) -> Drain<'_, Outgoing> {
        let queue = &mut self.queues[at];
        let pkts = queue.len().min(pkts_max);
        if pkts == queue.len() {
            self.held &= !(1 << at);
        }
        queue.drain(..pkts)
    }

    /// Puts a packet that was refused again before all others.
    pub(super) fn put_back(&mut self, at: usize, packet: Outgoing) {
        self.held |= 1 << at;
        self.queues[at].push_front(packet);
    }

    /// The oldest packet.
    pub(super) fn pop(&mut self, at: usize) -> Option<Outgoing> {
        let packet = self.queues[at].pop_front();
        if self.queues[at].is_empty() {
            self.held &= !(1 << at);
        }
        packet
    }

    /// A packet of that bucket is about to leave this lcore: those of the
    /// bucket that wait here came before it, and get places before it.
    ///
    /// # Errors
    /// When there is no place left.
    pub(super) fn keep_places_in(
        &mut self,
        at: usize,
        bucket: Bucket,
        places: Places<'_>,
    ) -> Result<(), Full> {
        self.queues[at]
            .iter_mut()
            .try_for_each(|waiting| places.keep_in(bucket, &mut waiting.pass, &waiting.packet))
    }

    /// Gives all that wait a place, and drops those for which there is none.
    /// Returns how many.
    pub(super) fn keep_places(&mut self, places: Places<'_>) -> usize {
        let keep = |queue: &mut VecDeque<Outgoing>| {
            let before = queue.len();
            queue.retain_mut(|waiting| places.keep(&mut waiting.pass, &waiting.packet).is_ok());
            before - queue.len()
        };
        self.queues.iter_mut().map(keep).sum()
    }
}
