//! What an lcore shows all others, and what they conclude from it.

use crate::heartbeat::{Busy, Cost, Heartbeat};
use crate::policy::{PeerHint, Pool};

/// One lcore's board. The lcore writes it seldom; all others read it.
pub struct Board {
    /// What the lcore is for.
    pub pool: Pool,
    /// Its long stages, and how many packets are queued behind them.
    pub heartbeat: Heartbeat,
}

impl Board {
    /// Of an lcore of `pool` that is busy with nothing.
    pub fn new(pool: Pool) -> Self {
        Self { pool, heartbeat: Heartbeat::new() }
    }

    /// What a policy is told about this lcore.
    #[inline]
    pub fn hint(&self, now_ticks: u64) -> PeerHint {
        let busy = self.heartbeat.busy();
        PeerHint {
            pool: self.pool,
            queued_pkts: self.heartbeat.queued().items_min() as u32,
            away_ticks: busy.map(|busy| now_ticks.saturating_sub(busy.since_ticks)),
            expensive: busy.is_some_and(|busy| busy.cost == Cost::Expensive),
        }
    }

    /// Whether the lcore is in a long stage.
    #[inline]
    pub fn is_away(&self) -> bool {
        self.heartbeat.busy_ticks(0).is_some()
    }

    /// What the lcore is stuck in: a stage that has lasted longer than
    /// `patience_ticks`, and is not what the lcore is for. A worker in expensive
    /// work is never stuck.
    pub fn stuck(&self, now_ticks: u64, patience_ticks: u64) -> Option<Busy> {
        let busy = self.heartbeat.busy()?;
        let is_work = self.pool == Pool::B && busy.cost == Cost::Expensive;
        let is_stuck = !is_work && now_ticks.saturating_sub(busy.since_ticks) > patience_ticks;
        is_stuck.then_some(busy)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn an_lcore_is_stuck_when_patience_is_over_but_never_in_its_own_work() {
        for (pool, cost, is_stuck) in [
            (Pool::A, Cost::Unknown, true),
            (Pool::A, Cost::Expensive, true),
            (Pool::B, Cost::Unknown, true),
            (Pool::B, Cost::Expensive, false),
        ] {
            let board = Board::new(pool);
            assert_eq!((board.stuck(1_000, 10), board.is_away()), (None, false));
            let busy = Busy { since_ticks: 100, flow_hash: 1, cost };
            board.heartbeat.begin(busy);
            assert!(board.is_away());
            assert_eq!(board.stuck(110, 10), None);
            assert_eq!(board.stuck(111, 10), is_stuck.then_some(busy), "{pool:?} {cost:?}");
            let hint = board.hint(111);
            assert_eq!(
                (hint.pool, hint.away_ticks, hint.expensive),
                (pool, Some(11), cost == Cost::Expensive)
            );
        }
    }
}
