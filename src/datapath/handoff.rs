//! Where packets go that this lcore does not run at once: its run queue, the
//! packets that it keeps, its shard, and others' inboxes.

use super::board::Board;
use super::packet_queue::PacketQueue;
use super::setup::Settings;
use super::shard::ShardProducer;
use crate::cli::OnFull;
use crate::dpdk::{Burst, Mbuf, RingProducer};
use crate::policy::{Deferral, Policy};
use crate::stats::{DropCause, LcoreStats};

pub(super) struct Handoff<'a> {
    /// Left over in a burst, unclassified.
    run_queue: PacketQueue,
    /// Deferred, to be run here.
    kept: PacketQueue,
    shard: Option<ShardProducer<'a>>,
    inboxes: Vec<RingProducer>,
    /// Where an inbox's lcore shows whether it is busy.
    boards: &'a [Board],
    /// On its way into an inbox.
    letter: Burst,
    /// How many packets were shed last.
    shed_pkts: usize,
    /// The lcore has said that it sheds nothing more.
    is_closed: bool,
    runq_max: usize,
    on_full: OnFull,
    stats: &'a LcoreStats,
}

impl<'a> Handoff<'a> {
    pub(super) fn new(
        (run_queue, kept): (PacketQueue, PacketQueue),
        shard: Option<ShardProducer<'a>>,
        inboxes: Vec<RingProducer>,
        boards: &'a [Board],
        settings: &Settings,
        stats: &'a LcoreStats,
    ) -> Self {
        Self {
            run_queue,
            kept,
            shard,
            inboxes,
            boards,
            letter: Burst::new(),
            shed_pkts: 0,
            is_closed: false,
            runq_max: settings.runq_max,
            on_full: settings.on_full,
            stats,
        }
    }

    /// Sheds by these rings from now on.
    #[cold]
    pub(super) fn use_rings(
        &mut self,
        shard: Option<ShardProducer<'a>>,
        inboxes: Vec<RingProducer>,
    ) {
        (self.shard, self.inboxes) = (shard, inboxes);
    }

    // ---- Here ----

    #[inline(always)]
    pub(super) fn run_queue_pkts(&mut self) -> usize {
        self.run_queue.len()
    }

    #[inline(always)]
    pub(super) fn kept_pkts(&mut self) -> usize {
        self.kept.len()
    }

    /// How many packets others can steal.
    #[inline]
    pub(super) fn stealable_pkts(&mut self) -> usize {
        self.run_queue.len() + self.kept.len()
    }

    /// Room in the run queue. Others only remove from it, so the room stays.
    pub(super) fn room(&mut self) -> usize {
        self.runq_max.saturating_sub(self.run_queue.len())
    }

    /// Adds a packet that was left over to the run queue.
    ///
    /// # Errors
    /// With the packet, when there is no room.
    #[inline]
    pub(super) fn requeue(&mut self, packet: Mbuf) -> Result<(), Mbuf> {
        self.run_queue.push(packet)?;
        self.stats.requeued_pkts.add(1);
        Ok(())
    }

    /// Adds what was stolen from another run queue.
    pub(super) fn receive_stolen(&mut self, burst: &mut Burst) {
        self.run_queue.push_burst(burst);
    }

    #[inline]
    pub(super) fn pop_left_over(&mut self) -> Option<Mbuf> {
        self.run_queue.pop()
    }

    #[inline]
    pub(super) fn pop_kept(&mut self) -> Option<Mbuf> {
        self.kept.pop()
    }

    /// At the end of the run: counts how often the queues have grown.
    pub(super) fn wind_up(&self) {
        self.stats.grown.add(self.run_queue.grown() + self.kept.grown());
    }

    // ---- To other lcores ----

    /// Hands the deferred packets over as the mode wants it: to the shard or to
    /// inboxes; those that must be run here are kept. Returns the cause under
    /// which to drop those that are left.
    #[inline]
    pub(super) fn shed<P: Policy>(
        &mut self,
        policy: &mut P,
        deferred: &mut Burst,
    ) -> Option<DropCause> {
        let shed_pkts = match P::DEFERRED {
            Deferral::Shard if !self.is_closed => {
                self.shard.as_mut().map_or(0, |shard| shard.enqueue(deferred))
            }
            Deferral::Inbox if !self.is_closed => self.enqueue_to_inboxes(policy, deferred),
            _ => return self.keep(deferred),
        };
        self.stats.shed_pkts.add(shed_pkts as u64);
        self.shed_pkts = shed_pkts;
        match self.on_full {
            _ if deferred.is_empty() => None,
            OnFull::Drop => Some(DropCause::ShardFull),
            OnFull::Run => self.keep(deferred),
        }
    }

    /// Oldest first. A packet that finds no room goes along with the next one,
    /// to where that goes.
    fn enqueue_to_inboxes<P: Policy>(&mut self, policy: &mut P, deferred: &mut Burst) -> usize {
        let (boards, inboxes, letter) = (self.boards, &mut self.inboxes, &mut self.letter);
        let mut enqueued = 0;
        for packet in deferred.drain() {
            let pkts = |at: usize| inboxes[at].len() + usize::from(boards[at].is_away());
            let at = policy.inbox(inboxes.len(), pkts);
            letter.push(packet);
            enqueued += inboxes[at].enqueue(letter);
        }
        letter.drain().for_each(|packet| deferred.push(packet));
        enqueued
    }

    /// How many packets there is room for to keep. Others only remove from
    /// these, so the room stays.
    pub(super) fn room_to_keep(&mut self) -> usize {
        self.runq_max.saturating_sub(self.kept.len())
    }

    /// Keeps as many as there is room for; the others stay in the burst.
    #[cold]
    pub(super) fn keep(&mut self, deferred: &mut Burst) -> Option<DropCause> {
        self.kept.push_burst(deferred);
        (!deferred.is_empty()).then_some(DropCause::RunQueueFull)
    }

    /// How many packets were shed since this was asked last: as many buffers
    /// come back from the lcores that run them.
    #[inline]
    pub(super) fn shed_pkts(&mut self) -> usize {
        std::mem::take(&mut self.shed_pkts)
    }

    /// Nothing is shed any more; what is deferred from now on is kept. Returns
    /// whether that is news.
    pub(super) fn close(&mut self) -> bool {
        !std::mem::replace(&mut self.is_closed, true)
    }
}
