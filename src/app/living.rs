//! Reports of a run that goes on.

use std::time::Duration;

use super::outcome::{self, Ended, EngineReports};
use super::source::Sources;
use super::stamping;
use crate::cli::Cli;
use crate::config::Plan;
use crate::control::{FollowedClocks, IncidentReader, Moment, Shards};
use crate::dpdk::clock::{RateMeter, TscRate};
use crate::dpdk::{Mempools, Port, RingView};
use crate::policy::Split;
use crate::stats::{DeviceStats, LiveRow, OwnStats, RunDelay, StampClocks, unseen_text};

/// A run that goes on, as far as reports are made of it.
pub(super) struct Living<'a> {
    pub cli: &'a Cli,
    pub plan: &'a Plan,
    pub does: &'a str,
    pub stats: &'a [OwnStats],
    pub ports: &'a [Port],
    pub sources: Option<&'a Sources>,
    pub shards: &'a Shards<'a>,
    pub clocks: &'a StampClocks,
    pub meter: &'a RateMeter,
    pub pools: &'a Mempools,
    pub split: &'a Split,
    pub reader: &'a IncidentReader<'a>,
}

impl Living<'_> {
    /// The report so far. Engines report at the end only.
    pub(super) fn report(&self, moment: &Moment<'_>) -> crate::stats::Report {
        // Always the same rate, so that two reports have the same buckets.
        let (rate, (_, tsc)) = (self.reader.rate, self.meter.rate());
        let devices = devices(self.ports, self.sources);
        let elapsed = moment.elapsed;
        let stamped_by =
            stamped_by(self.plan, (self.clocks, moment.followed), self.stats, elapsed, rate);
        let run_delays = self.reader.incidents.run_delays();
        let run_delays_ns: Vec<_> = run_delays.iter().map(RunDelay::ns).collect();
        let now = Ended {
            does: self.does.to_owned(),
            live: Some(LiveRow {
                draining: moment.is_draining,
                shard_pkts: self.shards.views().iter().map(RingView::len).collect(),
                links_up: self.ports.iter().map(|port| port.view().link_up).collect(),
            }),
            found: EngineReports::default(),
            reloads: None,
            stats: self.stats,
            devices: &devices,
            watched: moment.watched,
            source: self.sources.map(|sources| sources.report(rate)),
            stamped_by,
            incidents: self.reader.read(),
            mode: moment.mode,
            shards: self.shards.views().len(),
            pool_a: self.split.pool_a(),
            pool_changes: moment.pool_changes.clone(),
            run_delays_ns: &run_delays_ns,
            elapsed,
            rate,
            tsc,
            pools: self.pools,
        };
        outcome::report(self.cli, self.plan, now)
    }
}

/// The devices' own counts.
pub(super) fn devices(ports: &[Port], sources: Option<&Sources>) -> Vec<DeviceStats> {
    let mut devices = ports.iter().map(Port::stats).collect::<Vec<_>>();
    for (port, device) in ports.iter().zip(&mut devices) {
        sources.iter().for_each(|sources| sources.add_to(port.id(), device));
    }
    devices
}

pub(super) fn stamped_by(
    plan: &Plan,
    (clocks, followed): (&StampClocks, &FollowedClocks),
    stats: &[OwnStats],
    elapsed: Duration,
    rate: TscRate,
) -> Option<stamping::Source> {
    let unseen = outcome::unseen_wait(stats, rate);
    let unseen = unseen_text(&unseen, elapsed.as_secs_f64());
    stamping::Source::of(plan, clocks, followed, &unseen, rate)
}
