//! The part of an lcore that others read and poll: its board, and the receive
//! queues that it owns.

use crate::dpdk::RxQueue;
use crate::policy::Pool;
use crate::stats::{IncidentStage, Stuck};
use micropools::board;
use micropools::heartbeat::Cost;

/// One lcore's, read by all.
pub struct Board<'a> {
    board: board::Board,
    /// The receive queues that it polls first of all.
    pub(super) rxqs: Vec<&'a RxQueue>,
}

impl<'a> Board<'a> {
    /// Of an lcore that starts at `now`; see [`board::Board::new`].
    pub fn new(pool: Pool, rxqs: Vec<&'a RxQueue>, now: u64, beat_every_ticks: u64) -> Self {
        Self { board: board::Board::new(pool, now, beat_every_ticks), rxqs }
    }

    /// As the board's own, for the record of incidents. `me` is this lcore's
    /// place among the boards.
    pub fn stuck(&self, me: usize, now: u64, patience_ticks: u64) -> Option<Stuck> {
        let busy = self.board.stuck(now, patience_ticks)?;
        let stage = match busy.cost {
            Cost::Unknown => IncidentStage::Unknown,
            Cost::Expensive => IncidentStage::Expensive,
        };
        let (started_ticks, flow_hash) = (busy.since_ticks, busy.flow_hash);
        Some(Stuck { lcore: me, started_ticks, flow_hash, stage })
    }
}

impl std::ops::Deref for Board<'_> {
    type Target = board::Board;

    #[inline(always)]
    fn deref(&self) -> &board::Board {
        &self.board
    }
}
