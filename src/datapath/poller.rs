//! Polling receive queues by their leases: the lcore's own queues, whose leases
//! it keeps while it is not busy, and others' queues, whose leases it borrows
//! for a burst.

use std::ops::Range;

use super::orders::{Order, Orders};
use super::packet::Arrival;
use super::setup::{Settings, Shared};
use crate::dpdk::{Burst, BurstSize, Lease, RxQueue};
use crate::stats::{DropCause, LcoreStats, PortQueue};
use micropools::pace::KEPT_UP_NS;

/// A receive queue that this lcore may poll.
struct Queue<'a> {
    rxq: &'a RxQueue,
    number: u16,
    /// The lcore that owns it, by its place among the boards.
    owner: usize,
    lease: Option<Lease<'a>>,
    received: &'a PortQueue,
    /// As many of the received packets are counted in the queue's windows of
    /// arrivals, which this lcore shares with others.
    windowed_pkts: u64,
    /// When the next of these windows can end, as far as this lcore knows.
    window_due_ticks: u64,
    /// When the last poll began that emptied the queue.
    emptied_ticks: u64,
    /// How many polls in a row by this lcore have not emptied it.
    full_polls: u32,
    /// The last stamp that a driver wrote on its packets, in ticks; 0 before
    /// the first.
    stamped_ticks: u64,
}

impl<'a> Queue<'a> {
    /// The lease, at `now`; `None` while another lcore holds it.
    #[inline(always)]
    fn hold(&mut self, now: u64) -> Option<&mut Lease<'a>> {
        if self.lease.is_none() {
            self.acquire(now);
        }
        self.lease.as_mut()
    }

    /// Others may have emptied the queue meanwhile, by their counter even after
    /// `now`.
    #[inline]
    fn acquire(&mut self, now: u64) {
        self.lease = self.rxq.try_lease();
        if let Some(lease) = &self.lease {
            let emptied_ticks = lease.emptied_ticks().min(now.wrapping_sub(1));
            self.emptied_ticks = self.emptied_ticks.max(emptied_ticks);
            self.window_due_ticks = lease.arrivals().due_ticks();
        }
    }

    /// From now on others may poll the queue.
    #[inline]
    fn release(&mut self) {
        if let Some(lease) = self.lease.take() {
            lease.note_emptied(self.emptied_ticks);
            let pkts = self.received.pkts.get();
            lease.arrivals().add(pkts - std::mem::replace(&mut self.windowed_pkts, pkts));
        }
    }

    /// The poll that began at `now` has emptied the queue.
    #[inline(always)]
    fn note_emptied(&mut self, now: u64) {
        self.emptied_ticks = now;
        if now >= self.window_due_ticks {
            self.end_windows(now);
        }
    }

    #[cold]
    fn end_windows(&mut self, now: u64) {
        let Some(lease) = &self.lease else { return };
        let (pkts, windows) = (self.received.pkts.get(), lease.arrivals());
        windows.add(pkts - std::mem::replace(&mut self.windowed_pkts, pkts));
        windows.emptied(now, &self.received.arrivals);
        self.window_due_ticks = windows.due_ticks();
    }
}

/// The result of one poll.
#[derive(Clone, Copy)]
pub(super) struct Polled {
    /// The queue's place with the poller, and its number.
    pub at: usize,
    pub queue: u16,
    pub pkts: usize,
    /// When the poll began, and the port.
    pub arrival: Arrival,
    /// When the last poll before it began that emptied the queue.
    pub emptied_ticks: u64,
    /// When the queue's source was asked; see [`Lease::source_asked`].
    pub source_asked: Option<Option<u64>>,
}

/// Drops the packets of the burst that are longer, and returns their number.
#[inline(never)]
fn drop_longer(burst: &mut Burst, longest_pkt: u32, stats: &LcoreStats) -> usize {
    let mut dropped = 0;
    burst.retain(
        |packet| packet.pkt_len() <= longest_pkt,
        |packet| {
            drop(packet);
            dropped += 1;
        },
    );
    stats.drop_pkts(DropCause::TooLong, dropped as u64);
    dropped
}

pub(super) struct Poller<'a> {
    me: usize,
    /// The own queues, then all others, by owner.
    queues: Vec<Queue<'a>>,
    own: usize,
    /// By owner: where its queues are.
    of_owner: Vec<Range<usize>>,
    /// Which own queue is polled next, and which queue of the next owner that
    /// is helped, counted on beyond their number.
    next_own: usize,
    next_other: usize,
    /// The queue whose burst is served now, and whose lease is held for that.
    borrowed: Option<usize>,
    /// Leases are held for a burst at a time, also those of own queues.
    shares: bool,
    /// All the same, leases of own queues are held for their next poll.
    keeps: bool,
    /// `KEPT_UP_NS`.
    kept_up_ticks: u64,
    stats: &'a LcoreStats,
}

impl<'a> Poller<'a> {
    /// Of the lcore whose board is the one at `me`. It owns nothing before
    /// `follow`.
    pub(super) fn new(
        me: usize,
        settings: &Settings,
        shared: Shared<'a>,
        stats: &'a LcoreStats,
    ) -> Self {
        let counter = |rxq: &RxQueue| {
            let is_of = |of: &&PortQueue| (of.port, of.queue) == (rxq.port(), rxq.queue());
            stats.rx.iter().find(is_of)
        };
        // Only where it may ever poll others' queues it counts for them.
        let queues = shared.rxqs.iter().enumerate().filter_map(|(number, rxq)| {
            Some(Queue {
                rxq,
                number: number as u16,
                owner: me,
                lease: None,
                received: counter(rxq)?,
                windowed_pkts: 0,
                window_due_ticks: 0,
                emptied_ticks: settings.started_ticks,
                full_polls: 0,
                stamped_ticks: 0,
            })
        });
        Self {
            me,
            queues: queues.collect(),
            own: 0,
            of_owner: vec![0..0; shared.boards.len()],
            next_own: 0,
            next_other: 0,
            borrowed: None,
            shares: false,
            keeps: false,
            kept_up_ticks: settings.ticks(KEPT_UP_NS),
            stats,
        }
    }

    /// Polls by this order from now on. With `shares` it holds no lease longer
    /// than a burst. It holds none now.
    #[cold]
    pub(super) fn follow(&mut self, orders: &Orders, order: Order, shares: bool) {
        self.shares = shares;
        let owns_all = order.mode.facts().owns_all_queues;
        for queue in &mut self.queues {
            queue.owner = if owns_all { self.me } else { orders.owner(queue.number) };
        }
        self.sort();
    }

    fn sort(&mut self) {
        let me = self.me;
        self.queues.sort_by_key(|queue| (queue.owner != me, queue.owner, queue.number));
        self.own = self.queues.partition_point(|queue| queue.owner == me);
        self.of_owner = of_owner(&self.queues, self.own, self.of_owner.len());
        self.next_own = 0;
    }

    /// How many queues it owns, and how many others it may poll.
    #[inline(always)]
    pub(super) fn own(&self) -> usize {
        self.own
    }

    #[inline(always)]
    pub(super) fn others(&self) -> usize {
        self.queues.len() - self.own
    }

    /// The number of the queue at `at`.
    #[inline(always)]
    pub(super) fn number(&self, at: usize) -> usize {
        usize::from(self.queues[at].number)
    }

    /// How many polls in a row by this lcore have not emptied the queue at `at`.
    #[inline(always)]
    pub(super) fn full_polls(&self, at: usize) -> u32 {
        self.queues[at].full_polls
    }

    /// The own queue whose turn it is.
    #[inline(always)]
    pub(super) fn next_own(&mut self) -> Option<usize> {
        let at = if self.next_own < self.own { self.next_own } else { 0 };
        self.next_own = at + 1;
        (at < self.own).then_some(at)
    }

    /// Whether others have emptied the own queue at `at` a short time ago, after
    /// this lcore did.
    pub(super) fn others_keep_up(&self, at: usize, now: u64) -> bool {
        let queue = &self.queues[at];
        let emptied_ticks = queue.rxq.emptied_ticks();
        emptied_ticks > queue.emptied_ticks && now < emptied_ticks + self.kept_up_ticks
    }

    /// How many queues of that owner it may poll, if it is another lcore.
    pub(super) fn queues_of(&self, owner: usize) -> usize {
        self.of_owner[owner].len()
    }

    /// The queue of that owner whose turn it is. There is one.
    pub(super) fn next_of(&mut self, owner: usize) -> usize {
        let queues = &self.of_owner[owner];
        self.next_other = self.next_other.wrapping_add(1);
        queues.start + self.next_other % queues.len()
    }

    /// Fills the burst, which is empty, from the queue at `at`. The poll begins
    /// at `now`, read before: no packet is said to have come later than it did.
    /// `None` while another lcore holds the lease. A queue that is known to be
    /// empty is not polled.
    ///
    /// How long the lease is held: where the mode shares queues, and for
    /// another lcore's queue, until `release_borrowed`, and not at all if there
    /// was nothing. Else until `release_all`.
    #[inline(always)]
    pub(super) fn poll(
        &mut self,
        at: usize,
        now: u64,
        want: BurstSize,
        burst: &mut Burst,
    ) -> Option<Polled> {
        let queue = self.queues.get_mut(at)?;
        let mut polled = Polled {
            at,
            queue: queue.number,
            pkts: 0,
            arrival: Arrival::polled(queue.rxq.port(), now),
            emptied_ticks: queue.emptied_ticks,
            source_asked: None,
        };
        if self.shares && queue.rxq.is_quiet(now) {
            queue.full_polls = 0;
            return Some(polled);
        }
        let lease = queue.hold(now)?;
        let pkts = lease.poll(burst, want);
        polled.pkts = pkts;
        polled.source_asked = lease.source_asked();
        queue.received.pkts.add(pkts as u64);
        polled.emptied_ticks = queue.emptied_ticks;
        if pkts < want.pkts() {
            queue.note_emptied(now);
            queue.full_polls = 0;
        } else {
            queue.full_polls = queue.full_polls.saturating_add(1);
        }
        if pkts > 0 {
            self.stats.rx_bursts.add(1);
            if let Some(longest) = queue.rxq.longest_pkt() {
                polled.pkts -= drop_longer(burst, longest, self.stats);
            }
        }
        if self.shares || at >= self.own {
            self.borrow(at, polled.pkts);
        }
        if pkts == 0 && at < self.own {
            self.stats.empty_polls.add(1);
        }
        Some(polled)
    }

    #[inline]
    fn borrow(&mut self, at: usize, pkts: usize) {
        if pkts > 0 {
            self.borrowed = Some(at);
        } else {
            self.queues[at].release();
        }
    }

    /// The burst has been sent, or each of its packets keeps a place: others
    /// may poll the queue from now on.
    #[inline(always)]
    pub(super) fn release_borrowed(&mut self) {
        if let Some(at) = self.borrowed.take() {
            self.queues[at].release();
        }
        if self.keeps {
            self.release_kept();
        }
    }

    /// The burst of an own queue has been sent, and there is more of it: the
    /// lease is held for the next poll, which costs no atomic operation then.
    #[inline(always)]
    pub(super) fn keep_borrowed(&mut self) {
        self.keeps |= self.borrowed.take().is_some();
    }

    #[inline(never)]
    fn release_kept(&mut self) {
        self.keeps = false;
        self.queues[..self.own].iter_mut().for_each(Queue::release);
    }

    /// From now on others may poll all queues whose leases this lcore holds.
    pub(super) fn release_all(&mut self) {
        self.release_kept();
        self.release_borrowed();
    }

    /// Polls lost ports no longer, and keeps none of their leases.
    #[cold]
    pub(super) fn give_up_lost_ports(&mut self) {
        self.release_borrowed();
        for queue in self.queues.iter_mut().filter(|queue| queue.rxq.is_lost()) {
            queue.release();
        }
        self.queues.retain(|queue| !queue.rxq.is_lost());
        self.sort();
    }

    /// The last stamp that a driver wrote on the queue's packets, in ticks.
    pub(super) fn stamped_ticks(&self, at: usize) -> u64 {
        self.queues[at].stamped_ticks
    }

    pub(super) fn note_stamped(&mut self, at: usize, ticks: u64) {
        self.queues[at].stamped_ticks = ticks;
    }
}

/// By owner: where its queues are, of those behind the `own` first ones, which
/// are in the order of their owners.
fn of_owner(queues: &[Queue<'_>], own: usize, owners: usize) -> Vec<Range<usize>> {
    let before = |owner: usize| own + queues[own..].partition_point(|queue| queue.owner < owner);
    (0..owners).map(|owner| before(owner)..before(owner + 1)).collect()
}
