//! What an lcore lets the others see and take: whether it is away in a long stage, how much waits, its run queue, and the receive
//! queues that it polls. Written seldom, and never on the lines that the owner's own work touches.

use std::sync::atomic::{AtomicU32, Ordering};

use super::Stage;
use crate::dpdk::RxQueue;
use crate::policy::{PeerHint, Pool};
use crate::runq::Heartbeat;

/// One lcore's, read by all.
pub struct Board<'a> {
    pub pool: Pool,
    pub heartbeat: Heartbeat,
    /// The receive queues that are its own, each by port and queue.
    pub rxqs: Vec<&'a RxQueue>,
    waiting_pkts: Hint,
}

/// A count on a cache line of its own: idle lcores look at it, its owner writes it only when it leaves something or comes back.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Hint(AtomicU32);

impl<'a> Board<'a> {
    pub fn new(pool: Pool, rxqs: Vec<&'a RxQueue>) -> Self {
        Self { pool, heartbeat: Heartbeat::new(), rxqs, waiting_pkts: Hint::default() }
    }

    /// Tells how many packets others may take. Written only when it changes between none, few and many.
    #[inline]
    pub(super) fn tell_waiting(&self, pkts: usize) {
        let coarse = (pkts as u32).next_power_of_two() & !u32::from(pkts == 0);
        if self.waiting_pkts.0.load(Ordering::Relaxed) != coarse {
            self.waiting_pkts.0.store(coarse, Ordering::Relaxed);
        }
    }

    #[inline]
    pub(super) fn hint(&self, now: u64) -> PeerHint {
        let away = self.heartbeat.away(now);
        PeerHint {
            pool: self.pool,
            waiting_pkts: self.waiting_pkts.0.load(Ordering::Relaxed),
            away_ticks: away.map(|(ticks, ..)| ticks),
            declared: away.is_some_and(|(_, _, stage)| stage == Stage::Expensive as u8),
        }
    }

    #[inline]
    pub(super) fn is_away(&self) -> bool {
        self.heartbeat.away(u64::MAX).is_some()
    }
}
