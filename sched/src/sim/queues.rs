//! Packets and receive queues.

use std::collections::VecDeque;

use super::Arrival;
use super::agenda::{Agenda, NEVER, START_TICKS};
use super::ticks_of_ns;
use crate::order::Ticket;
use crate::pace::KEPT_UP_NS;

/// A packet on its way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packet {
    pub due_ticks: u64,
    pub cost_ticks: u64,
    pub flow: u32,
    pub queue: u16,
    pub expensive: bool,
    /// Its place in its flow, once it has one.
    pub ticket: Option<Ticket>,
}

impl Packet {
    /// The hash that says which packets leave in order.
    pub(super) fn flow_hash(&self) -> u32 {
        self.flow.wrapping_add(1).wrapping_mul(0x9e37_79b9).rotate_left(15)
    }
}

/// A receive queue: packets that are due and not polled yet.
struct Ring {
    pkts: VecDeque<Packet>,
    /// The next packet that is not due yet.
    next: Option<Packet>,
    /// The lcore that holds the lease.
    holder: Option<usize>,
    /// The lcore that held it last.
    last_holder: usize,
    /// When a poll last left nothing in the queue; 0 before.
    emptied_ticks: u64,
    /// By lcore: how many of its polls in a row have not emptied the queue.
    full_polls: Vec<u32>,
}

/// All receive queues. A packet that has become due enters when an lcore next
/// looks at its queue. Overflows are exact all the same, because only polls
/// make room.
pub(super) struct Rings<T> {
    rings: Vec<Ring>,
    traffic: T,
    descriptors: usize,
    end_ticks: u64,
    /// When each queue has its next packet: in the past while it holds some.
    due: Agenda,
    pub offered_pkts: u64,
    pub missed_pkts: u64,
    /// The most packets that a queue has held.
    pub pkts_max: usize,
}

impl<T: FnMut(usize) -> Option<Arrival>> Rings<T> {
    /// `owners`: the lcore that owns each queue. `lcores`: how many may poll.
    pub(super) fn new(
        (owners, lcores): (&[usize], usize),
        traffic: T,
        descriptors: usize,
        end_ticks: u64,
    ) -> Self {
        let ring = |&owner: &usize| Ring {
            pkts: VecDeque::new(),
            next: None,
            holder: None,
            last_holder: owner,
            emptied_ticks: 0,
            full_polls: vec![0; lcores],
        };
        let mut rings = Self {
            rings: owners.iter().map(ring).collect(),
            traffic,
            descriptors,
            end_ticks,
            due: Agenda::new(owners.len()),
            offered_pkts: 0,
            missed_pkts: 0,
            pkts_max: 0,
        };
        (0..owners.len()).for_each(|at| rings.draw(at));
        rings
    }

    fn draw(&mut self, at: usize) {
        let packet = |arrival: Arrival| Packet {
            due_ticks: START_TICKS + arrival.due_ticks,
            cost_ticks: arrival.cost_ticks,
            flow: arrival.flow,
            queue: at as u16,
            expensive: arrival.expensive,
            ticket: None,
        };
        let next = (self.traffic)(at).map(packet);
        self.rings[at].next = next.filter(|packet| packet.due_ticks < self.end_ticks);
        self.show_due(at);
    }

    fn show_due(&mut self, at: usize) {
        let Ring { pkts, next, .. } = &self.rings[at];
        let first = pkts.front().or(next.as_ref());
        self.due.set(at, first.map_or(NEVER, |packet| packet.due_ticks));
    }

    /// Lets all packets enter that are due.
    #[inline]
    fn advance(&mut self, at: usize, now: u64) {
        while let Some(packet) = self.rings[at].next.filter(|packet| packet.due_ticks <= now) {
            self.offered_pkts += 1;
            if self.rings[at].pkts.len() < self.descriptors {
                self.rings[at].pkts.push_back(packet);
            } else {
                self.missed_pkts += 1;
            }
            self.draw(at);
        }
        self.pkts_max = self.pkts_max.max(self.rings[at].pkts.len());
    }

    /// When the queue has a packet: in the past, if it has one now.
    #[inline]
    pub(super) fn due_ticks(&self, at: usize) -> u64 {
        self.due.time(at)
    }

    /// When any queue has one.
    #[inline]
    pub(super) fn first_due_ticks(&self) -> u64 {
        self.due.first().1
    }

    /// Whether the queue is known to be empty.
    #[inline]
    pub(super) fn is_quiet(&self, at: usize, now: u64) -> bool {
        self.due.time(at) > now
    }

    /// Acquires the lease for that lcore. Returns who held it last.
    #[inline]
    pub(super) fn acquire(&mut self, at: usize, lcore: usize) -> Option<usize> {
        let ring = &mut self.rings[at];
        if ring.holder.is_some_and(|holder| holder != lcore) {
            return None;
        }
        ring.holder = Some(lcore);
        Some(std::mem::replace(&mut ring.last_holder, lcore))
    }

    /// How many polls in a row by that lcore have not emptied the queue.
    pub(super) fn full_polls(&self, at: usize, lcore: usize) -> u32 {
        self.rings[at].full_polls[lcore]
    }

    /// Whether an lcore other than `me` held the lease last, and found the queue
    /// empty a short time ago.
    pub(super) fn others_keep_up(&self, at: usize, me: usize, now: u64) -> bool {
        let ring = &self.rings[at];
        ring.last_holder != me && now < ring.emptied_ticks + ticks_of_ns(KEPT_UP_NS as f64)
    }

    #[inline]
    pub(super) fn release(&mut self, at: usize) {
        self.rings[at].holder = None;
    }

    /// Moves at most `want` due packets into `burst`.
    #[inline]
    pub(super) fn poll(
        &mut self,
        (at, lcore): (usize, usize),
        now: u64,
        want: usize,
        burst: &mut Vec<Packet>,
    ) {
        self.advance(at, now);
        let ring = &mut self.rings[at];
        let got = want.min(ring.pkts.len());
        burst.extend(ring.pkts.drain(..got));
        if got < want {
            ring.emptied_ticks = now;
            ring.full_polls[lcore] = 0;
        } else {
            ring.full_polls[lcore] += 1;
        }
        self.show_due(at);
    }

    /// At the end: lets all packets enter that were due before it.
    pub(super) fn close(&mut self) {
        (0..self.rings.len()).for_each(|at| self.advance(at, self.end_ticks));
    }
}
