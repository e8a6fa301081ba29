//! Packets that drivers refused: they wait in order, by port, and are offered
//! again.

use std::collections::VecDeque;
use std::collections::vec_deque::Drain;

use super::packet::Outgoing;
use super::places::Places;
use crate::config::BACKLOG_MAX;
use crate::order::{Bucket, Full};

/// By outlet, packets that wait for its driver: at most `BACKLOG_MAX` that it
/// refused, and as many whose turn has come as there are tickets.
pub(super) struct Backlog {
    queues: Vec<VecDeque<Outgoing>>,
    /// By outlet, how many packets came because it was their turn since its
    /// driver refused something; at most as many as wait.
    unasked: Vec<usize>,
    /// Since when the outlet's driver has accepted nothing of them, in ticks; 0
    /// if it has, or was not asked.
    refused_since: Vec<u64>,
    /// A bit per outlet where packets wait.
    held: u64,
    /// A bit per outlet where packets wait that have no place.
    unplaced: u64,
    /// A bit per outlet whose driver accepted nothing for so long that what it
    /// refuses does not wait any more.
    stuck: u64,
    /// Packets that the outlet had sent when it was found stuck.
    stuck_at_pkts: Vec<u64>,
    /// Since when packets have waited here while queues were short of order
    /// records, in ticks; 0 if they have not.
    crowded_since: Vec<u64>,
    /// Until when what the outlet's driver refuses does not wait, because it
    /// held up packets for other ports, in ticks.
    slow_until: Vec<u64>,
}

impl Backlog {
    pub(super) fn new(outlets: usize) -> Self {
        Self {
            queues: (0..outlets).map(|_| VecDeque::with_capacity(BACKLOG_MAX)).collect(),
            unasked: vec![0; outlets],
            refused_since: vec![0; outlets],
            held: 0,
            unplaced: 0,
            stuck: 0,
            stuck_at_pkts: vec![0; outlets],
            crowded_since: vec![0; outlets],
            slow_until: vec![0; outlets],
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

    /// Adds a packet that the driver refused behind the others.
    ///
    /// # Errors
    /// With the packet, when too many wait.
    pub(super) fn push(&mut self, at: usize, packet: Outgoing) -> Result<(), Outgoing> {
        if self.queues[at].len() >= BACKLOG_MAX + self.unasked[at] {
            return Err(packet);
        }
        self.unplaced |= u64::from(!packet.pass.is_final()) << at;
        self.push_last(at, packet);
        Ok(())
    }

    /// Adds a packet whose turn has come, which its driver has not been asked
    /// about.
    pub(super) fn push_turn(&mut self, at: usize, packet: Outgoing) {
        self.unasked[at] += 1;
        self.push_last(at, packet);
    }

    fn push_last(&mut self, at: usize, packet: Outgoing) {
        self.held |= 1 << at;
        self.queues[at].push_back(packet);
    }

    /// At `now` the driver was offered packets. It accepted so many, and
    /// `sent_pkts` since the run began; `refused`: not all. Returns whether it
    /// has accepted none for `patience_ticks`.
    pub(super) fn note_offer(
        &mut self,
        at: usize,
        accepted: usize,
        refused: bool,
        sent_pkts: u64,
        now: u64,
        patience_ticks: u64,
    ) -> bool {
        self.unasked[at] = if refused { 0 } else { self.unasked[at].min(self.queues[at].len()) };
        let since = &mut self.refused_since[at];
        if accepted > 0 {
            (*since, self.stuck) = (0, self.stuck & !(1 << at));
            return false;
        }
        *since = if *since == 0 { now } else { *since };
        let is_stuck = now.wrapping_sub(*since) >= patience_ticks;
        if is_stuck {
            self.stuck |= 1 << at;
            self.stuck_at_pkts[at] = sent_pkts;
        }
        is_stuck
    }

    /// Whether the outlet's driver was found stuck, and has accepted nothing
    /// since. `sent_pkts`: since the run began.
    #[inline]
    pub(super) fn is_stuck(&self, at: usize, sent_pkts: u64) -> bool {
        self.stuck >> at & 1 == 1 && self.stuck_at_pkts[at] == sent_pkts
    }

    /// At `now` the driver refused packets, `is_crowded` while queues are short
    /// of order records; or nothing is left. Returns whether it has
    /// been so for `patience_ticks`: then the port is slow for `slow_ticks`.
    pub(super) fn note_crowding(
        &mut self,
        at: usize,
        is_crowded: bool,
        now: u64,
        (patience_ticks, slow_ticks): (u64, u64),
    ) -> bool {
        let since = &mut self.crowded_since[at];
        if !is_crowded {
            *since = 0;
            return false;
        }
        *since = if *since == 0 { now } else { *since };
        let is_slow = now.wrapping_sub(*since) >= patience_ticks;
        if is_slow {
            (*since, self.slow_until[at]) = (0, now.wrapping_add(slow_ticks));
        }
        is_slow
    }

    /// Whether packets that the outlet's driver refuses must not wait, because
    /// they held up others a short time ago.
    #[inline]
    pub(super) fn is_slow(&self, at: usize, now: u64) -> bool {
        now < self.slow_until[at]
    }

    /// How many packets without a place wait, at most.
    pub(super) fn unplaced_pkts_max(&self) -> usize {
        let queues = self.queues.iter().enumerate();
        queues.filter(|(at, _)| self.unplaced >> at & 1 == 1).map(|(_, queue)| queue.len()).sum()
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
            (self.held, self.unasked[at]) = (self.held & !(1 << at), 0);
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
        if std::mem::take(&mut self.unplaced) == 0 {
            return 0;
        }
        let keep = |queue: &mut VecDeque<Outgoing>| {
            let before = queue.len();
            queue.retain_mut(|waiting| places.keep(&mut waiting.pass, &waiting.packet).is_ok());
            before - queue.len()
        };
        self.queues.iter_mut().map(keep).sum()
    }
}
