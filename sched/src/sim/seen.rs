//! State that all lcores share: the package's own boards, sets, heads, permits
//! and places.

use super::agenda::START_TICKS;
use super::queues::Packet;
use super::{Setup, ticks_of_ns};
use crate::attention::Attention;
use crate::board::Board;
use crate::order::Keeping;
use crate::policy::{Permits, Pool, Split, Who};
use crate::shed::Heads;

pub(super) struct Seen {
    pub boards: Vec<Board>,
    pub attention: Attention,
    /// Where there are several shards.
    pub heads: Option<Heads>,
    pub permits: Permits,
    pub split: Split,
    pub order: Keeping<Packet>,
}

impl Seen {
    pub(super) fn new(setup: &Setup) -> Self {
        let (lcores, pool_a) = (setup.lcores, setup.pool_a());
        let workers = lcores - pool_a;
        let shards = shards(setup);
        let beat_every_ticks = ticks_of_ns(setup.stall_after_ns as f64) / 8;
        let pool = |at: usize| if at < pool_a { Pool::A } else { Pool::B };
        let cap = setup.expensive_cap.unwrap_or(usize::MAX).min(workers.max(1));
        Self {
            boards: (0..lcores)
                .map(|at| Board::new(pool(at), START_TICKS, beat_every_ticks))
                .collect(),
            attention: Attention::new(lcores),
            heads: (shards > 1).then(|| Heads::new(shards)),
            permits: Permits::new(cap, pool_a),
            split: Split::new(pool_a),
            order: Keeping::new(setup.queues(), setup.order_records),
        }
    }
}

/// How many shards there are: one for each lcore that sheds.
pub(super) fn shards(setup: &Setup) -> usize {
    let (facts, pool_a) = (setup.mode.facts(), setup.pool_a());
    if facts.sheds == Who::Nobody { 0 } else { facts.sheds.count(pool_a, setup.lcores - pool_a) }
}
