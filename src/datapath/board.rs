//! What an lcore lets the others see and take: whether it is away in a long
//! stage, how much waits, and the receive queues that it polls. Written seldom,
//! and never on the lines that the owner's own work touches.

use super::packet::Stage;
use crate::dpdk::RxQueue;
use crate::policy::{PeerHint, Pool};
use crate::stats::{IncidentStage, Stuck};
use micropools::heartbeat::{Busy, Heartbeat};

/// One lcore's, read by all.
pub struct Board<'a> {
    pub(super) pool: Pool,
    pub(super) heartbeat: Heartbeat,
    /// The receive queues that it polls first of all.
    pub(super) rxqs: Vec<&'a RxQueue>,
}

impl<'a> Board<'a> {
    pub fn new(pool: Pool, rxqs: Vec<&'a RxQueue>) -> Self {
        Self { pool, heartbeat: Heartbeat::new(), rxqs }
    }

    #[inline]
    pub(super) fn hint(&self, now: u64) -> PeerHint {
        let busy = self.heartbeat.busy();
        PeerHint {
            pool: self.pool,
            waiting_pkts: self.heartbeat.waiting().items_min() as u32,
            away_ticks: busy.map(|busy| now.saturating_sub(busy.since_ticks)),
            declared: busy.is_some_and(|busy| busy.stage == Stage::Expensive as u32),
        }
    }

    #[inline]
    pub(super) fn is_busy(&self) -> bool {
        self.heartbeat.stuck_ticks(0).is_some()
    }

    /// What it is in now, if it has been for longer than `patience_ticks`, and
    /// if that is not what it is there for: a worker in expensive work isn't
    /// stuck. `me` is its place among the boards.
    pub fn stuck(&self, me: usize, now: u64, patience_ticks: u64) -> Option<Stuck> {
        let Busy { since_ticks, flow_hash, stage } = self.heartbeat.busy()?;
        let works = self.pool == Pool::B && stage == Stage::Expensive as u32;
        let is_stuck = !works && now.saturating_sub(since_ticks) > patience_ticks;
        let stage = if stage == Stage::Expensive as u32 {
            IncidentStage::Expensive
        } else {
            IncidentStage::Unknown
        };
        is_stuck.then_some(Stuck { lcore: me, started_ticks: since_ticks, flow_hash, stage })
    }
}
