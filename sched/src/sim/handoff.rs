//! Shards and inboxes: what lcores defer to each other.

use std::collections::VecDeque;

use super::Setup;
use super::queues::Packet;
use super::seen::{Seen, shards};
use crate::policy::Policy;
use crate::shed::{Pick, Picker};

pub(super) struct Handoff<'a> {
    seen: &'a Seen,
    shards: Vec<VecDeque<Packet>>,
    inboxes: Vec<VecDeque<Packet>>,
    ring_pkts: usize,
    /// Several lcores dequeue from shards, and so claim what they pick.
    claims: bool,
}

impl<'a> Handoff<'a> {
    /// `dequeuers`: how many lcores dequeue from shards.
    pub(super) fn new(setup: &Setup, seen: &'a Seen, dequeuers: usize) -> Self {
        Self {
            seen,
            shards: vec![VecDeque::new(); shards(setup)],
            inboxes: vec![VecDeque::new(); setup.lcores],
            ring_pkts: setup.ring_pkts,
            claims: dequeuers != 1,
        }
    }

    /// Enqueues to the shard as many as there is room for; the others stay.
    /// Returns whether there was room for any.
    pub(super) fn shed(&mut self, shard: usize, deferred: &mut Vec<Packet>) -> bool {
        let ring = &mut self.shards[shard];
        let room = deferred.len().min(self.ring_pkts.saturating_sub(ring.len()));
        let Some(first) = deferred.first().filter(|_| room > 0) else { return false };
        let stamp = first.due_ticks;
        ring.extend(deferred.drain(..room));
        if let Some(heads) = &self.seen.heads {
            heads.enqueued(shard, stamp);
        }
        true
    }

    /// Enqueues to the inboxes that the policy chooses; packets for a full one
    /// stay. Returns whose inboxes have got any.
    pub(super) fn send_to_inboxes<P: Policy>(
        &mut self,
        policy: &mut P,
        deferred: &mut Vec<Packet>,
    ) -> Vec<usize> {
        let (boards, inboxes) = (&self.seen.boards, &mut self.inboxes);
        let mut put = Vec::with_capacity(deferred.len());
        deferred.retain(|&packet| {
            let pkts = |at: usize| inboxes[at].len() + usize::from(boards[at].is_away());
            let at = policy.inbox(boards.len(), pkts);
            let fits = inboxes[at].len() < self.ring_pkts;
            if fits {
                inboxes[at].push_back(packet);
                put.push(at);
            }
            !fits
        });
        put
    }

    /// Whether any shard has packets.
    pub(super) fn has_shed(&self) -> bool {
        match &self.seen.heads {
            Some(heads) => !heads.all_empty(),
            None => self.shards.iter().any(|shard| !shard.is_empty()),
        }
    }

    /// The shard to dequeue from, if there are any packets.
    pub(super) fn pick(&self, picker: &mut Picker) -> Option<usize> {
        match &self.seen.heads {
            _ if !self.has_shed() => None,
            Some(heads) => picker.pick(heads),
            None => Some(0),
        }
    }

    /// Claims the picked shard, or another one if somebody else works there.
    pub(super) fn claim(&self, picker: &mut Picker, picked: usize) -> usize {
        let Some(heads) = &self.seen.heads else { return picked };
        if !self.claims || heads.claim(picked) {
            return picked;
        }
        let next = picker.pick(heads).unwrap_or(picked);
        heads.claim(next);
        next
    }

    /// Dequeues at most `max` packets from a claimed shard. Returns how many.
    pub(super) fn dequeue(&mut self, shard: usize, max: usize, burst: &mut Vec<Packet>) -> usize {
        let ring = &mut self.shards[shard];
        let pkts = max.min(ring.len());
        burst.extend(ring.drain(..pkts));
        if let Some(heads) = &self.seen.heads {
            heads.dequeued(shard, || ring.front().map(|packet| packet.due_ticks));
        }
        pkts
    }

    pub(super) fn inbox_pkts(&self, me: usize) -> usize {
        self.inboxes[me].len()
    }

    pub(super) fn unbox(&mut self, me: usize) -> Option<Packet> {
        self.inboxes[me].pop_front()
    }
}
