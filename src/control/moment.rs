//! The state of a run at the moment of an answer.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{FollowedClocks, WatchedPorts};
use crate::datapath::Orders;
use crate::dpdk::clock::RateMeter;
use crate::dpdk::{Mempools, RingView, TelemetryView};
use crate::policy::{Mode, Split};
use crate::stats::PoolChange;

/// Control's own state at the moment of an answer.
pub struct Moment<'m> {
    pub followed: &'m FollowedClocks,
    pub watched: &'m WatchedPorts,
    pub mode: Mode,
    pub pool_changes: Option<Vec<PoolChange>>,
    /// How often each setting was changed, and how many lcores do not follow the
    /// last change yet.
    pub changes: &'m BTreeMap<&'static str, u64>,
    pub lcores_behind: usize,
    /// Since the start of the run.
    pub elapsed: Duration,
    pub is_draining: bool,
}

/// Sources of answers, beside those that control watches.
pub struct Seen<'a> {
    pub split: &'a Split,
    pub shards: &'a Shards<'a>,
    pub pools: &'a Mempools,
    pub meter: &'a RateMeter,
    /// DPDK's telemetry answers, too.
    pub telemetry: TelemetryView,
}

/// A look at each shard.
pub struct Shards<'a> {
    /// The rings of the start, as long as the lcores have no others.
    pub first: Vec<RingView>,
    pub orders: &'a Orders,
}

impl Shards<'_> {
    /// Those that are in use now, in their order.
    pub fn views(&self) -> &[RingView] {
        self.orders.spare_shards().unwrap_or(&self.first)
    }
}
