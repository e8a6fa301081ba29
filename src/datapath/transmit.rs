//! Sending: per port a list that is filled while a burst is served, sent at its end, and kept for later where the driver does not
//! take it. Also where a packet's latency ends.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Settings, Stage};
use crate::config::WAITING_MAX;
use crate::dpdk::{BURST_MAX, Burst, MAX_PORTS, Mbuf, TxQueue};
use crate::stats::{Counter, DropCause, LcoreStats, PortQueue};

/// A packet that the driver has not taken yet.
struct Waiting {
    packet: Mbuf,
    stamp: u64,
    stage: Stage,
}

/// One port's way out.
struct Outlet<'a> {
    txq: TxQueue,
    /// Counts what the driver accepts.
    sent_pkts: &'a Counter,
    staged: Burst,
    /// The arrival of each packet in `staged`.
    stamps: Box<[u64; BURST_MAX]>,
    waiting: VecDeque<Waiting>,
}

/// Packets that were accepted and arrived together, until the next reading of the clock tells how long they took.
struct Accepted {
    stamp: u64,
    pkts: u64,
    stage: Stage,
}

impl Accepted {
    #[inline(always)]
    fn book(&self, stats: &LcoreStats, now: u64) {
        let latency = match self.stage {
            Stage::Cheap => &stats.cheap_latency,
            Stage::Expensive => &stats.expensive_latency,
        };
        latency.record(now.wrapping_sub(self.stamp), self.pkts);
    }
}

pub(super) struct Transmit<'a> {
    outlets: Vec<Outlet<'a>>,
    /// By port: its place in `outlets`.
    places: [u8; MAX_PORTS],
    /// A bit per outlet that has something staged, and one per outlet where packets wait.
    staged: u64,
    waiting: u64,
    /// The last burst of the cheap stage that was sent unstaged: how many went, and when they arrived. Needs no list.
    burst_pkts: u64,
    burst_stamp: u64,
    accepted: Vec<Accepted>,
    settings: Settings,
    links: &'a [AtomicBool; MAX_PORTS],
    stats: &'a LcoreStats,
}

impl<'a> Transmit<'a> {
    pub(super) fn new(queues: Vec<TxQueue>, settings: Settings, links: &'a [AtomicBool; MAX_PORTS], stats: &'a LcoreStats) -> Self {
        let mut places = [u8::MAX; MAX_PORTS];
        for (at, txq) in queues.iter().enumerate() {
            places[usize::from(txq.port())] = at as u8;
        }
        let outlet = |(txq, sent): (TxQueue, &'a PortQueue)| Outlet {
            txq,
            sent_pkts: &sent.pkts,
            staged: Burst::new(),
            stamps: Box::new([0; BURST_MAX]),
            waiting: VecDeque::with_capacity(WAITING_MAX),
        };
        Self {
            outlets: queues.into_iter().zip(&stats.tx).map(outlet).collect(),
            places,
            staged: 0,
            waiting: 0,
            burst_pkts: 0,
            burst_stamp: 0,
            accepted: Vec::with_capacity(2 * BURST_MAX),
            settings,
            links,
            stats,
        }
    }

    #[inline(always)]
    fn place(&self, port: u16) -> usize {
        usize::from(self.places[usize::from(port) % MAX_PORTS])
    }

    /// Sends a burst of the cheap stage that arrived together and leaves by one port, without staging it.
    #[inline(always)]
    pub(super) fn send_burst(&mut self, port: u16, burst: &mut Burst, stamp: u64) {
        let at = self.place(port);
        if self.waiting & 1 << at == 0 {
            let (outlet, offered) = (&mut self.outlets[at], burst.len());
            let sent = outlet.txq.send(burst);
            outlet.sent_pkts.add(sent as u64);
            if self.settings.stamping {
                (self.burst_pkts, self.burst_stamp) = (sent as u64, stamp);
            }
            if sent == offered {
                return;
            }
        }
        self.wait(at, burst, stamp);
    }

    #[cold]
    fn wait(&mut self, at: usize, burst: &mut Burst, stamp: u64) {
        self.waiting |= 1 << at;
        let waiting = &mut self.outlets[at].waiting;
        let dropped = burst.drain().map(|packet| keep(waiting, Waiting { packet, stamp, stage: Stage::Cheap })).sum();
        self.stats.drop_pkts(self.cause(at), dropped);
    }

    /// Notes that a packet leaves by `port`.
    #[inline(always)]
    pub(super) fn stage(&mut self, port: u16, packet: Mbuf, stamp: u64) {
        let at = self.place(port);
        let outlet = &mut self.outlets[at];
        outlet.stamps[outlet.staged.len()] = stamp;
        outlet.staged.push(packet);
        self.staged |= 1 << at;
    }

    /// Sends all that is staged; all of it ended in `stage`.
    #[inline]
    pub(super) fn flush(&mut self, stage: Stage) {
        while self.staged != 0 {
            let at = self.staged.trailing_zeros() as usize;
            self.staged &= self.staged - 1;
            let mut sent = 0;
            if self.waiting & 1 << at == 0 {
                let outlet = &mut self.outlets[at];
                sent = outlet.txq.send(&mut outlet.staged);
                outlet.sent_pkts.add(sent as u64);
                self.accept_staged(at, sent, stage);
            }
            if !self.outlets[at].staged.is_empty() {
                self.wait_staged(at, sent, stage);
            }
        }
    }

    /// The first `sent` staged packets went; those with one stamp are counted together.
    #[inline]
    fn accept_staged(&mut self, at: usize, sent: usize, stage: Stage) {
        if !self.settings.stamping {
            return;
        }
        let stamps = &self.outlets[at].stamps[..sent];
        for run in stamps.chunk_by(|a, b| a == b) {
            self.accepted.push(Accepted { stamp: run[0], pkts: run.len() as u64, stage });
        }
    }

    #[cold]
    fn wait_staged(&mut self, at: usize, sent: usize, stage: Stage) {
        self.waiting |= 1 << at;
        let Outlet { staged, stamps, waiting, .. } = &mut self.outlets[at];
        let left = staged.drain().zip(&stamps[sent..]);
        let dropped = left.map(|(packet, &stamp)| keep(waiting, Waiting { packet, stamp, stage })).sum();
        self.stats.drop_pkts(self.cause(at), dropped);
    }

    /// Books the latency of all that was accepted since the last reading of the clock, up to `now`.
    #[inline(always)]
    pub(super) fn close(&mut self, now: u64) {
        if self.burst_pkts > 0 {
            self.stats.cheap_latency.record(now.wrapping_sub(self.burst_stamp), self.burst_pkts);
            self.burst_pkts = 0;
        }
        if !self.accepted.is_empty() {
            self.close_accepted(now);
        }
    }

    fn close_accepted(&mut self, now: u64) {
        if self.settings.stamping {
            self.accepted.iter().for_each(|accepted| accepted.book(self.stats, now));
        }
        self.accepted.clear();
    }

    /// Why a port takes nothing.
    fn cause(&self, at: usize) -> DropCause {
        let port = usize::from(self.outlets[at].txq.port());
        if self.links[port].load(Ordering::Relaxed) { DropCause::TxFull } else { DropCause::LinkDown }
    }

    /// Offers waiting packets to their drivers again.
    #[inline(always)]
    pub(super) fn retry(&mut self) {
        if self.waiting != 0 {
            self.retry_waiting();
        }
    }

    #[cold]
    fn retry_waiting(&mut self) {
        for at in 0..self.outlets.len() {
            if self.waiting & 1 << at == 0 {
                continue;
            }
            let outlet = &mut self.outlets[at];
            // What is staged stays behind what waits: the staging list is empty here, and serves to hand packets over.
            let offered = outlet.waiting.len().min(self.settings.burst.pkts());
            let mut stages = [Stage::Cheap; BURST_MAX];
            for (place, waiting) in outlet.waiting.drain(..offered).enumerate() {
                outlet.stamps[place] = waiting.stamp;
                stages[place] = waiting.stage;
                outlet.staged.push(waiting.packet);
            }
            let sent = outlet.txq.send(&mut outlet.staged);
            for place in (sent..offered).rev() {
                let Some(packet) = outlet.staged.pop() else { break };
                outlet.waiting.push_front(Waiting { packet, stamp: outlet.stamps[place], stage: stages[place] });
            }
            if outlet.waiting.is_empty() {
                self.waiting &= !(1 << at);
            }
            outlet.sent_pkts.add(sent as u64);
            for (place, &stage) in stages[..sent].iter().enumerate() {
                self.accepted.push(Accepted { stamp: outlet.stamps[place], pkts: 1, stage });
            }
        }
        self.close(crate::dpdk::clock::tsc());
    }

    /// At the end of the run: goes on offering until the driver has taken all, or nothing for a while, or `give_up` says so.
    pub(super) fn wind_up(mut self, give_up: impl Fn() -> bool) {
        const TRIES_WITHOUT_SUCCESS: u32 = 1000;
        let mut tries = 0;
        while self.waiting != 0 && tries < TRIES_WITHOUT_SUCCESS && !give_up() {
            let before = self.waiting_pkts();
            self.retry_waiting();
            tries = if self.waiting_pkts() < before { 0 } else { tries + 1 };
            std::thread::sleep(std::time::Duration::from_micros(100));
        }
        for at in 0..self.outlets.len() {
            let left = self.outlets[at].waiting.drain(..).count() as u64;
            self.stats.drop_pkts(self.cause(at), left);
        }
    }

    fn waiting_pkts(&self) -> usize {
        self.outlets.iter().map(|outlet| outlet.waiting.len()).sum()
    }
}

/// Queues a packet behind those that the driver has not taken, or drops it when too many wait. Returns how many were dropped.
fn keep(list: &mut VecDeque<Waiting>, waiting: Waiting) -> u64 {
    if list.len() < WAITING_MAX {
        list.push_back(waiting);
        0
    } else {
        1
    }
}
