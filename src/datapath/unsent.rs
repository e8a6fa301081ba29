//! What drivers did not take: it waits in order, is offered again, and is
//! dropped when too much waits.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;

use super::Stage;
use super::admission::Pass;
use super::arrivals::Unseen;
use super::transmit::{Accepted, Outgoing, Outlet, Transmit};
use crate::config::WAITING_MAX;
use crate::dpdk::clock::tsc;
use crate::dpdk::{BURST_MAX, Burst, Mbuf, StampField};
use crate::stats::DropCause;

impl Transmit<'_> {
    #[cold]
    pub(super) fn wait(
        &mut self,
        at: usize,
        burst: &mut Burst,
        number: u16,
        stamp: impl Fn(&Mbuf, StampField) -> u64,
    ) {
        self.waiting |= 1 << at;
        let pass = Pass::Unasked(number);
        let (served_ticks, field, port) =
            (self.served_ticks, self.settings.stamp, self.outlets[at].txq.port());
        let (stage, unseen, waiting) =
            (Stage::Cheap, self.unseen.get(), &mut self.outlets[at].waiting);
        let packets = burst.drain().map(|packet| Outgoing {
            stamp: stamp(&packet, field),
            packet,
            port,
            pass,
            stage,
            served_ticks,
            unseen,
        });
        let dropped = packets.map(|packet| keep(waiting, packet)).sum();
        self.stats.drop_pkts(self.cause(at), dropped);
    }

    #[cold]
    pub(super) fn wait_staged(&mut self, at: usize, sent: usize, stage: Stage) {
        self.waiting |= 1 << at;
        let (Outlet { txq, staged, stamps, passes, waiting, .. }, served_ticks) =
            (&mut self.outlets[at], self.served_ticks);
        let (offered, port, unseen) = (sent + staged.len(), txq.port(), self.unseen.get());
        let left = staged.drain().zip(stamps[sent..].iter().zip(&passes[sent..]));
        let left = left.map(|(packet, (&stamp, &pass))| Outgoing {
            packet,
            port,
            pass,
            stamp,
            stage,
            served_ticks,
            unseen,
        });
        let dropped = left.map(|packet| keep(waiting, packet)).sum();
        self.stats.drop_pkts(self.cause(at), dropped);
        // The list was full then: it was the last ones that were dropped.
        (offered - dropped as usize..offered)
            .for_each(|place| self.leave(self.outlets[at].passes[place]));
    }

    /// Why a port takes nothing.
    pub(super) fn cause(&self, at: usize) -> DropCause {
        let port = usize::from(self.outlets[at].txq.port());
        if self.links[port].load(Ordering::Relaxed) {
            DropCause::TxFull
        } else {
            DropCause::LinkDown
        }
    }

    /// Offers waiting packets to their drivers again.
    #[inline(always)]
    pub(super) fn retry(&mut self) {
        if self.waiting != 0 {
            self.retry_all();
        }
    }

    /// As `retry`, and those whose turn comes by that at once.
    #[cold]
    pub(super) fn retry_all(&mut self) {
        loop {
            self.turn_came = false;
            self.retry_waiting();
            if !self.turn_came {
                break;
            }
        }
    }

    fn retry_waiting(&mut self) {
        self.close(tsc());
        for at in 0..self.outlets.len() {
            if self.waiting & 1 << at == 0 {
                continue;
            }
            let outlet = &mut self.outlets[at];
            // What is staged stays behind what waits: the staging list is empty
            // here, and serves to hand packets over.
            let offered = outlet.waiting.len().min(self.settings.burst.pkts());
            let mut served = [(Stage::Cheap, 0, Unseen::UNKNOWN); BURST_MAX];
            for (place, waiting) in outlet.waiting.drain(..offered).enumerate() {
                outlet.stamps[place] = waiting.stamp;
                outlet.passes[place] = waiting.pass;
                served[place] = (waiting.stage, waiting.served_ticks, waiting.unseen);
                outlet.staged.push(waiting.packet);
            }
            let sent = outlet.txq.send(&mut outlet.staged);
            for place in (sent..offered).rev() {
                let Some(packet) = outlet.staged.pop() else { break };
                let ((stage, served_ticks, unseen), stamp, pass) =
                    (served[place], outlet.stamps[place], outlet.passes[place]);
                outlet.waiting.push_front(Outgoing {
                    packet,
                    port: outlet.txq.port(),
                    pass,
                    stamp,
                    stage,
                    served_ticks,
                    unseen,
                });
            }
            if outlet.waiting.is_empty() {
                self.waiting &= !(1 << at);
            }
            outlet.sent_pkts.add(sent as u64);
            if self.is_counting() {
                let (now, stamps) = (tsc(), &self.outlets[at].stamps);
                for (&(stage, served_ticks, unseen), &stamp) in
                    served[..sent].iter().zip(&stamps[..])
                {
                    Accepted { stamp, pkts: 1, stage }.book(self.stats, served_ticks, unseen, now);
                }
            }
            self.taken_staged(at, sent);
        }
    }

    /// At the end of the run: goes on offering until the driver has taken all,
    /// or nothing for a while, or `give_up` says so.
    pub(super) fn wind_up(mut self, give_up: impl Fn() -> bool) {
        const TRIES_WITHOUT_SUCCESS: u32 = 1000;
        let mut tries = 0;
        while self.waiting != 0 && tries < TRIES_WITHOUT_SUCCESS && !give_up() {
            let before = self.stats.tx_pkts();
            self.retry_all();
            tries = if self.stats.tx_pkts() > before { 0 } else { tries + 1 };
            std::thread::sleep(std::time::Duration::from_micros(100));
        }
        while self.outlets.iter().any(|outlet| !outlet.waiting.is_empty()) {
            self.drop_waiting();
        }
    }
}

/// Queues a packet behind those that the driver has not taken, or drops it when
/// too many wait. Returns how many were dropped.
fn keep(list: &mut VecDeque<Outgoing>, waiting: Outgoing) -> u64 {
    if list.len() < WAITING_MAX {
        list.push_back(waiting);
        0
    } else {
        1
    }
}
