//! The report of a run, made of the lcores' counters, and its files.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use super::stamping;
use crate::cli::{Cli, Pools, Timestamps};
use crate::config::{LcorePlan, Plan, PortPlan};
use crate::control::WatchedPorts;
use crate::dpdk::Mempools;
use crate::dpdk::clock::{TscRate, tsc};
use crate::policy::{Mode, Pool};
use crate::shed::rank_error_bound;
use crate::stats::{
    self, Activity, ArrivalRow, BurstTimeRow, DeviceStats, DpiReport, DropCause, Histogram,
    HostGapRow, Incident, Lap, Latency, LatencyParts, LatencyRow, LcoreLatency, LcoreRow,
    LcoreStats, LiveRow, OrderRow, OwnStats, PARTS_EVERY_BURSTS, PartRows, Parts, PoolChange,
    PortLog, PortQueue, PortRow, PredictionRow, QueueRow, REPORT_VERSION, RankCounts, RankRow,
    Reloads, Report, SourceReport, StepCycles, TimeRow, TscRow,
};
use mpfwd_common::error::{Error, Result};
use mpfwd_common::output;

/// An enum's name as it is written on the command line and in JSON.
pub(super) fn name(value: &impl Serialize) -> String {
    serde_json::to_value(value)
        .ok()
        .and_then(|name| name.as_str().map(str::to_owned))
        .unwrap_or_default()
}

/// The engines' part of the report.
#[derive(Default)]
pub(super) struct EngineReports {
    pub dpi: Option<DpiReport>,
    pub prediction: Option<PredictionRow>,
}

/// Results that are known when the ports are closed.
pub(super) struct Ended<'a> {
    /// The engines' name and results.
    pub does: String,
    pub found: EngineReports,
    pub reloads: Option<Reloads>,
    pub stats: &'a [OwnStats],
    pub devices: &'a [DeviceStats],
    pub watched: &'a WatchedPorts,
    pub source: Option<SourceReport>,
    pub stamped_by: Option<stamping::Source>,
    pub incidents: Vec<Incident>,
    /// The mode, how many shards there are, and lcores in pool A: now or at the
    /// end.
    pub mode: Mode,
    pub shards: usize,
    pub pool_a: usize,
    pub pool_changes: Option<Vec<PoolChange>>,
    /// By lcore.
    pub run_delays_ns: &'a [Option<u64>],
    pub elapsed: Duration,
    pub rate: TscRate,
    /// How the rate was measured.
    pub tsc: TscRow,
    pub pools: &'a Mempools,
    /// The run goes on: packets may be in flight, and nothing can be said of
    /// conservation.
    pub live: Option<LiveRow>,
}

pub(super) fn report(cli: &Cli, plan: &Plan, ended: Ended<'_>) -> Report {
    let (stats, rate, elapsed_s) = (ended.stats, ended.rate, ended.elapsed.as_secs_f64());
    let sum = |count: fn(&LcoreStats) -> u64| stats.iter().map(|lcore| count(lcore)).sum::<u64>();
    let drops: BTreeMap<&'static str, u64> = DropCause::named()
        .map(|cause| (cause.name(), stats.iter().map(|lcore| lcore.dropped(cause)).sum::<u64>()))
        .collect();
    let (rx_pkts, tx_pkts) = (sum(LcoreStats::rx_pkts), sum(LcoreStats::tx_pkts));
    let (mbufs, mbufs_free) = (ended.pools.capacity(), ended.pools.available());
    let keepers = plan.ports.iter().filter(|port| port.info.keeps_buffers);
    let mbufs_kept_by: Vec<String> = keepers.map(|port| port.info.name.clone()).collect();
    let buffers_are_back = mbufs_free == mbufs || !mbufs_kept_by.is_empty();
    let dropped: u64 = drops.values().sum();
    let has_pools = ended.mode.facts().has_pools;
    let pool = |at: usize| if has_pools && at >= ended.pool_a { Pool::B } else { Pool::A };
    let lcores = plan.lcores.iter().zip(stats).zip(ended.run_delays_ns).enumerate();
    let latency = |source| latency(stats, rate, source, ended.devices, elapsed_s);
    let order = stats.iter().map(|lcore| &lcore.order);
    Report {
        report_version: REPORT_VERSION,
        mode: ended.mode.name().to_owned(),
        pools: has_pools
            .then(|| Pools { a: ended.pool_a, b: stats.len() - ended.pool_a }.to_string()),
        pool_changes: ended.pool_changes,
        forward_mode: ended.does,
        burst: cli.burst,
        dpdk: format!("{} {}", env!("MPFWD_DPDK_VERSION"), env!("MPFWD_DPDK_LINK")),
        elapsed_s,
        rx_pkts,
        tx_pkts,
        conserved: ended.live.is_none().then_some(rx_pkts == tx_pkts + dropped && buffers_are_back),
        drops,
        mbufs,
        mbufs_free,
        mbufs_kept_by,
        shed_pkts: sum(|lcore| lcore.shed_pkts.get()),
        taken_pkts: sum(|lcore| lcore.taken_pkts.get()),
        order: OrderRow::new(name(&cli.order), plan.order_records, tx_pkts, order),
        rank: (ended.shards > 0).then(|| rank(plan, ended.shards, stats)),
        dpi: ended.found.dpi,
        reloads: ended.reloads,
        prediction: ended.found.prediction,
        source: ended.source,
        tsc: ended.tsc,
        host_gaps: host_gaps(stats, rate),
        run_delay_ns: ended.run_delays_ns.iter().copied().sum(),
        latency: ended.stamped_by.map(latency),
        step_cycles: cli.record_core_cycles.then(|| step_cycles(stats)),
        lcores: lcores
            .map(|(at, ((plan, stats), &run_delay_ns))| {
                lcore_row(plan, pool(at), stats, run_delay_ns, rate)
            })
            .collect(),
        queues: queue_rows(plan, stats, rate),
        ports: port_rows(plan, ended.devices, ended.watched),
        incidents: ended.incidents,
        live: ended.live,
    }
}

fn port_rows(plan: &Plan, devices: &[DeviceStats], watched: &WatchedPorts) -> Vec<PortRow> {
    let row = |((port, &device), log): ((&PortPlan, &DeviceStats), &PortLog)| {
        PortRow::new(port.info.id, &port.info.name, device, log)
    };
    plan.ports.iter().zip(devices).zip(watched.logs()).map(row).collect()
}

fn lcore_row(
    plan: &LcorePlan,
    pool: Pool,
    stats: &LcoreStats,
    run_delay_ns: Option<u64>,
    rate: TscRate,
) -> LcoreRow {
    LcoreRow {
        lcore: plan.lcore.id,
        cpu: plan.lcore.cpu,
        main: plan.lcore.main,
        pool,
        rx_pkts: stats.rx_pkts(),
        tx_pkts: stats.tx_pkts(),
        cheap_pkts: stats.cheap_pkts.get(),
        expensive_pkts: stats.expensive_pkts.get(),
        unknown_pkts: stats.unknown_pkts.get(),
        yielded_pkts: stats.yielded_pkts.get(),
        shed_pkts: stats.shed_pkts.get(),
        taken_pkts: stats.taken_pkts.get(),
        requeued_pkts: stats.requeued_pkts.get(),
        dropped_in_turn_pkts: stats.dropped_in_turn_pkts.get(),
        grown: stats.grown.get(),
        drops: DropCause::named().map(|cause| (cause.name(), stats.dropped(cause))).collect(),
        host_gaps: stats.host_gaps.row(|ticks| rate.ns(ticks)),
        run_delay_ns,
        rescue: stats.rescue.row(|ticks| rate.ns(ticks)),
        latency: LcoreLatency {
            cheap: TimeRow::of([&stats.cheap_latency], |ticks| rate.ns(ticks)),
            expensive: TimeRow::of([&stats.expensive_latency], |ticks| rate.ns(ticks)),
        },
        polls: stats.rx_bursts.get() + stats.empty_polls.get(),
        rx_bursts: stats.rx_bursts.get(),
        activity_ns: Activity::ALL
            .map(|activity| (activity.name(), rate.ns(stats.activity_ticks.get(activity))))
            .into(),
    }
}

/// One row per queue of every port, summed over the lcores that use it.
fn queue_rows(plan: &Plan, stats: &[OwnStats], rate: TscRate) -> Vec<QueueRow> {
    let mut rows: BTreeMap<(u16, &'static str, u16), QueueRow> = BTreeMap::new();
    for (lcore, stats) in plan.lcores.iter().zip(stats) {
        let counted = stats
            .rx
            .iter()
            .map(|queue| ("rx", queue))
            .chain(stats.tx.iter().map(|queue| ("tx", queue)));
        for (direction, counted) in counted {
            let (port, queue) = (counted.port, counted.queue);
            let row = rows.entry((port, direction, queue)).or_insert_with(|| QueueRow {
                port,
                direction,
                queue,
                lcores: Vec::new(),
                pkts: 0,
                arrivals: Vec::new(),
            });
            // In some modes any lcore may poll any queue. Lcores that never did
            // are left out.
            if direction == "tx" || lcore.rx.contains(&(port, queue)) || counted.pkts.get() > 0 {
                row.lcores.push(lcore.lcore.id);
            }
            row.pkts += counted.pkts.get();
        }
    }
    for row in rows.values_mut().filter(|row| row.direction == "rx") {
        let is_of = |of: &&PortQueue| (of.port, of.queue) == (row.port, row.queue);
        let counts = stats.iter().flat_map(|lcore| &lcore.rx).filter(is_of);
        row.arrivals = ArrivalRow::of(counts.map(|of| &of.arrivals), |ticks| rate.ns(ticks));
    }
    rows.into_values().collect()
}

fn rank(plan: &Plan, shards: usize, stats: &[OwnStats]) -> RankRow {
    let (pick, counts) =
        (plan.scheduling.shard_pick, RankCounts::sum(stats.iter().map(|lcore| &lcore.rank)));
    RankRow::new(name(&pick), shards, &counts, rank_error_bound(pick, shards))
}

/// Time that the host took from all lcores together. The longest gap is one
/// lcore's.
fn host_gaps(stats: &[OwnStats], rate: TscRate) -> HostGapRow {
    let rows = stats.iter().map(|lcore| lcore.host_gaps.row(|ticks| rate.ns(ticks)));
    rows.fold(HostGapRow::default(), |sum, row| HostGapRow {
        gaps: sum.gaps + row.gaps,
        gap_ns: sum.gap_ns + row.gap_ns,
        gap_max_ns: sum.gap_max_ns.max(row.gap_max_ns),
    })
}

fn latency(
    lcores: &[OwnStats],
    rate: TscRate,
    source: stamping::Source,
    devices: &[DeviceStats],
    elapsed_s: f64,
) -> Latency {
    let row = |pick: fn(&LcoreStats) -> &Histogram| {
        let mut hdr = stats::histogram_ns();
        lcores.iter().for_each(|lcore| pick(lcore).add_to(&mut hdr, |ticks| rate.ns(ticks)));
        LatencyRow::of(&hdr)
    };
    let by_poll = source.name == "software";
    let unseen = unseen_wait(lcores, rate);
    let bounded = by_poll && stats::is_bounded(&unseen, elapsed_s);
    let parts = |pick: fn(&LcoreStats) -> &Parts| {
        let parts: Vec<&Parts> = lcores.iter().map(|lcore| pick(lcore)).collect();
        PartRows::of(&parts, !by_poll, |ticks| rate.ns(ticks))
    };
    Latency {
        source: source.name,
        clock: source.clock,
        bound: source.bound,
        error_ns: source.error_ns,
        off: source.off,
        censored_pkts: devices.iter().map(|device| device.imissed + device.rx_nombuf).sum(),
        unseen_wait: by_poll.then_some(unseen),
        at_least: bounded.then(|| {
            TimeRow::of(lcores.iter().map(|lcore| &lcore.at_least), |ticks| rate.ns(ticks))
        }),
        at_most: bounded.then(|| {
            TimeRow::of(lcores.iter().map(|lcore| &lcore.at_most), |ticks| rate.ns(ticks))
        }),
        cheap: row(|lcore| &lcore.cheap_latency),
        expensive: row(|lcore| &lcore.expensive_latency),
        parts: LatencyParts {
            every_bursts: PARTS_EVERY_BURSTS,
            cheap: parts(|lcore| &lcore.cheap_parts),
            expensive: parts(|lcore| &lcore.expensive_parts),
        },
    }
}

/// How long the packets of sampled bursts may have waited before the poll that
/// received them.
pub(super) fn unseen_wait(lcores: &[OwnStats], rate: TscRate) -> BurstTimeRow {
    BurstTimeRow::of(lcores.iter().map(|lcore| &lcore.unseen_wait), |ticks| rate.ns(ticks))
}

/// Per packet, over all lcores. Each lap contains one reading of the clock,
/// whose cost is measured here and subtracted.
fn step_cycles(stats: &[OwnStats]) -> StepCycles {
    let reading = (0..1000).map(|_| tsc().abs_diff(tsc())).min().unwrap_or(0);
    let pkts = stats.iter().map(|lcore| lcore.steps.pkts()).sum::<u64>().max(1);
    let each = |lap: Lap| {
        let ticks: u64 = stats.iter().map(|lcore| lcore.steps.ticks(lap)).sum();
        let laps: u64 = stats.iter().map(|lcore| lcore.steps.laps(lap)).sum();
        ticks.saturating_sub(laps * reading) as f64 / pkts as f64
    };
    StepCycles {
        rx: each(Lap::Rx),
        classify: each(Lap::Classify),
        engine: each(Lap::Engine),
        tx: each(Lap::Tx),
        statistics: each(Lap::Statistics),
    }
}

/// The files of `--hgrm` with this prefix: cheap packets, expensive packets.
fn hgrm_paths(prefix: &str) -> [PathBuf; 2] {
    ["cheap", "expensive"].map(|class| PathBuf::from(format!("{prefix}-{class}.hgrm")))
}

/// Checks before anything is set up that all files can be written at the end.
pub(super) fn check_files(cli: &Cli) -> Result<()> {
    if cli.hgrm.is_some() && cli.timestamps == Timestamps::Off {
        return Err(Error::Usage(
            "--hgrm writes latencies, which --timestamps off does not measure: leave out one of them"
                .into(),
        ));
    }
    cli.report.iter().try_for_each(|path| output::check_writable("--report", path))?;
    cli.hgrm
        .iter()
        .flat_map(|prefix| hgrm_paths(prefix))
        .try_for_each(|path| output::check_writable("--hgrm", &path))
}

/// Writes the files of `--report` and `--hgrm`.
pub(super) fn write_files(cli: &Cli, report: &Report) -> Result<()> {
    if let Some(path) = &cli.report {
        let text = serde_json::to_string_pretty(report).map_err(|error| {
            Error::Output(format!("the report can't be written as JSON: {error}"))
        })?;
        output::write(path, "the report", text + "\n")?;
    }
    let Some((prefix, latency)) = cli.hgrm.as_ref().zip(report.latency.as_ref()) else {
        return Ok(());
    };
    let mut about = vec![
        latency.clock.clone(),
        latency.bound.clone(),
        report.tsc.to_string(),
        report.host_gaps.to_string(),
    ];
    about.extend(latency.qualified_by());
    for (path, row) in hgrm_paths(prefix).iter().zip([&latency.cheap, &latency.expensive]) {
        output::write(path, "percentiles", stats::hgrm(&row.buckets, &about))?;
    }
    Ok(())
}
