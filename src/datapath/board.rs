//! The part of an lcore that others read: its board.

use crate::policy::Pool;
use crate::stats::{IncidentStage, Stuck};
use micropools::board;
use micropools::heartbeat::Cost;

/// One lcore's, read by all.
pub struct Board(board::Board);

impl Board {
    /// Of an lcore that starts at `now`; see [`board::Board::new`].
    pub fn new(pool: Pool, now: u64, beat_every_ticks: u64) -> Self {
        Self(board::Board::new(pool, now, beat_every_ticks))
    }

    /// As the board's own, for the record of incidents. `me` is this lcore's
    /// place among the boards.
    pub fn stuck(&self, me: usize, now: u64, patience_ticks: u64) -> Option<Stuck> {
        let busy = self.0.stuck(now, patience_ticks)?;
        let stage = match busy.cost {
            Cost::Unknown => IncidentStage::Unknown,
            Cost::Expensive => IncidentStage::Expensive,
        };
        let (started_ticks, flow_hash) = (busy.since_ticks, busy.flow_hash);
        Some(Stuck { lcore: me, started_ticks, flow_hash, stage })
    }
}

impl std::ops::Deref for Board {
    type Target = board::Board;

    #[inline(always)]
    fn deref(&self) -> &board::Board {
        &self.0
    }
}
