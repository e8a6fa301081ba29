//! The report of a run: one structure, printed as tables and written as JSON.
//! docs/report.md describes its keys.

use std::collections::BTreeMap;
use std::fmt;

use comfy_table::Table;
use serde::Serialize;

use super::SourceReport;
use super::dpi::DpiReport;
use super::latency::{Latency, LcoreLatency, lcore_table};
use super::links::{LinkChange, PortLog};
use super::order::OrderRow;
use super::pools::PoolChange;
use super::prediction::PredictionRow;
use super::rank::RankRow;
use super::rescue::{RescueRow, rescue_table};
use super::{ArrivalRow, HostGapRow, Incident, incident_table};
use mpfwd_common::text::{grouped, ranges, short, table, time, wrapped};

/// Changes when a key is renamed or removed, or its meaning changes; not when
/// one is added.
pub const REPORT_VERSION: u32 = 1;

/// The whole run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// [`REPORT_VERSION`].
    pub report_version: u32,
    pub mode: String,
    /// Lcores per micropool as A:B, at the end of the run; none with a single
    /// pool.
    pub pools: Option<String>,
    /// The last changes of the pools, oldest first. None where they are fixed.
    pub pool_changes: Option<Vec<PoolChange>>,
    pub forward_mode: String,
    pub burst: u16,
    pub dpdk: String,
    /// Time during which packets were received, in seconds.
    pub elapsed_s: f64,
    pub rx_pkts: u64,
    pub tx_pkts: u64,
    /// Packets by cause of their drop. All causes are there, also with 0.
    pub drops: BTreeMap<&'static str, u64>,
    /// Whether rx_pkts == tx_pkts + drops, and every buffer is back in the pool
    /// except those that a driver keeps. None while packets pass.
    pub conserved: Option<bool>,
    pub mbufs: u32,
    /// Buffers in the pool after all ports were closed.
    pub mbufs_free: u32,
    /// Ports whose drivers keep an unknown number of buffers when closed.
    pub mbufs_kept_by: Vec<String>,
    pub shed_pkts: u64,
    pub taken_pkts: u64,
    /// How far workers were from the order of arrival. None without shards.
    pub rank: Option<RankRow>,
    /// Reordering within flows.
    pub order: OrderRow,
    /// None in other forward modes than `dpi`.
    pub dpi: Option<DpiReport>,
    /// Reloads of files by SIGHUP. None where the run reads no file.
    pub reloads: Option<Reloads>,
    /// None without `--predict`.
    pub prediction: Option<PredictionRow>,
    /// None without `--source`.
    pub source: Option<SourceReport>,
    /// The rate that converts ticks to nanoseconds.
    pub tsc: TscRow,
    /// Time that the host took from the lcores, as far as they noticed.
    pub host_gaps: HostGapRow,
    /// Time in which the kernel ran others on the lcores' CPUs. None where it
    /// does not say.
    pub run_delay_ns: Option<u64>,
    pub latency: Option<Latency>,
    pub step_cycles: Option<StepCycles>,
    pub lcores: Vec<LcoreRow>,
    pub queues: Vec<QueueRow>,
    pub ports: Vec<PortRow>,
    /// The last incidents, oldest first.
    pub incidents: Vec<Incident>,
    /// The present state. `None` in the report of a run that has ended.
    pub live: Option<LiveRow>,
}

/// The part of a report that is of its moment.
#[derive(Clone, Debug, Serialize)]
pub struct LiveRow {
    /// The run is about to end.
    pub draining: bool,
    /// Packets in each shard.
    pub shard_pkts: Vec<usize>,
    /// Whether each port's link is up, in the order of `ports`.
    pub links_up: Vec<bool>,
}

/// The rate of the time stamp counter, the clock of all times in a report.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct TscRow {
    /// Ticks per second.
    pub hz: u64,
    /// The largest error of `hz`, apart from that of the reference clock.
    pub error_ppm: f64,
    /// The reference clock; or EAL, which rounds.
    pub by: &'static str,
}

impl fmt::Display for TscRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { hz, error_ppm, by } = self;
        write!(f, "TSC {:.3} MHz (calibrated against {by}, +-{error_ppm:.2} ppm)", *hz as f64 / 1e6)
    }
}

/// Cycles per packet and step, without the cost of measuring.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct StepCycles {
    pub rx: f64,
    pub classify: f64,
    pub engine: f64,
    pub tx: f64,
    pub statistics: f64,
}

#[derive(Clone, Debug, Serialize)]
pub struct LcoreRow {
    pub lcore: u32,
    pub cpu: u32,
    pub main: bool,
    /// The micropool at the end of the run: A or B.
    pub pool: crate::policy::Pool,
    pub rx_pkts: u64,
    pub tx_pkts: u64,
    /// Packets that finished in the cheap stage here.
    pub cheap_pkts: u64,
    /// Packets that went through the expensive stage here.
    pub expensive_pkts: u64,
    /// Packets that ran alone, because their cost was unknown.
    pub unknown_pkts: u64,
    /// Packets that the cheap stage handed over to the expensive stage.
    pub yielded_pkts: u64,
    pub shed_pkts: u64,
    pub taken_pkts: u64,
    /// Packets that waited in the run queue.
    pub requeued_pkts: u64,
    /// Packets that a stage forwarded, and that the engine dropped here when
    /// their turn came. They are in `drops` too.
    pub dropped_in_turn_pkts: u64,
    /// How often its run queues grew.
    pub grown: u64,
    pub drops: BTreeMap<&'static str, u64>,
    pub rescue: RescueRow,
    pub latency: LcoreLatency,
    pub host_gaps: HostGapRow,
    pub run_delay_ns: Option<u64>,
    pub polls: u64,
    pub rx_bursts: u64,
    /// Its time by activity, as far as that was metered: with `--pools auto`,
    /// and from the API's first request on.
    pub activity_ns: BTreeMap<&'static str, u64>,
}

#[derive(Clone, Debug, Serialize)]
pub struct QueueRow {
    pub port: u16,
    /// rx or tx.
    pub direction: &'static str,
    pub queue: u16,
    /// The lcores that poll it, or send through it.
    pub lcores: Vec<u32>,
    pub pkts: u64,
    /// How packets arrive, in windows of two lengths; empty of transmit queues.
    pub arrivals: Vec<ArrivalRow>,
}

#[derive(Clone, Debug, Serialize)]
pub struct PortRow {
    pub port: u16,
    pub name: String,
    /// How often its link changed.
    pub link_changes: u64,
    /// The last changes that were seen, oldest first.
    pub links: Vec<LinkChange>,
    /// Why it was closed before the end of the run: `reset` or `removed`.
    pub lost: Option<&'static str>,
    /// When, from the start of the run.
    pub lost_ns: Option<u64>,
    /// The device's own counts.
    pub device: DeviceStats,
    /// As in the printed report.
    #[serde(skip)]
    events: Option<String>,
}

impl PortRow {
    pub fn new(port: u16, name: &str, device: DeviceStats, log: &PortLog) -> Self {
        Self {
            port,
            name: name.to_owned(),
            link_changes: log.link_changes,
            links: log.links.iter().copied().collect(),
            lost: log.lost.map(|lost| lost.why),
            lost_ns: log.lost.map(|lost| lost.at_ns),
            device,
            events: log.summary(),
        }
    }
}

/// The device's own counts. Packets that it lost on reception were never in a
/// burst and are not in `rx_pkts`.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct DeviceStats {
    pub ipackets: u64,
    pub opackets: u64,
    /// Lost to a full receive queue.
    pub imissed: u64,
    /// Lost as damaged.
    pub ierrors: u64,
    /// Accepted for transmission, but not sent.
    pub oerrors: u64,
    /// Lost for want of a buffer.
    pub rx_nombuf: u64,
}

impl DeviceStats {
    /// imissed, ierrors, rx_nombuf, oerrors.
    fn losses(&self) -> [u64; 4] {
        [self.imissed, self.ierrors, self.rx_nombuf, self.oerrors]
    }
}

impl Report {
    fn mpps(&self, pkts: u64) -> String {
        let rate = if self.elapsed_s > 0.0 { pkts as f64 / self.elapsed_s / 1e6 } else { 0.0 };
        format!("{rate:.3}")
    }

    fn lcore_table(&self) -> Table {
        let mut table = table(&[
            "lcore",
            "cpu",
            "pool",
            "rx",
            "tx",
            "cheap",
            "expensive",
            "shed",
            "taken",
            "queued",
            "dropped",
            "tx Mpps",
        ]);
        for row in &self.lcores {
            let name = if row.main { format!("{} main", row.lcore) } else { row.lcore.to_string() };
            let mut cells = vec![name, row.cpu.to_string(), format!("{:?}", row.pool)];
            let dropped = row.drops.values().sum::<u64>();
            let counts = [
                row.rx_pkts,
                row.tx_pkts,
                row.cheap_pkts,
                row.expensive_pkts,
                row.shed_pkts,
                row.taken_pkts,
                row.requeued_pkts,
                dropped,
            ];
            cells.extend(counts.map(short));
            cells.push(self.mpps(row.tx_pkts));
            table.add_row(cells);
        }
        table
    }

    fn queue_table(&self) -> Table {
        let mut table = table(&["port", "queue", "lcores", "packets", "Mpps"]);
        for row in &self.queues {
            table.add_row(vec![
                row.port.to_string(),
                format!("{} {}", row.direction, row.queue),
                ranges(&row.lcores),
                grouped(row.pkts),
                self.mpps(row.pkts),
            ]);
        }
        table
    }

    fn device_table(&self) -> Option<Table> {
        let mut table = table(&["port", "name", "imissed", "ierrors", "rx_nombuf", "oerrors"]);
        let lossy =
            self.ports.iter().filter(|row| row.device.losses().iter().any(|&count| count > 0));
        for row in lossy {
            let mut cells = vec![row.port.to_string(), row.name.clone()];
            cells.extend(row.device.losses().map(grouped));
            table.add_row(cells);
        }
        (table.row_count() > 0).then_some(table)
    }
}

/// Reloads of files by SIGHUP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Reloads {
    /// The file was read, and lcores use it.
    pub done: u64,
    /// The file had a mistake, and its last good version stayed.
    pub refused: u64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pools = self.pools.as_ref().map_or(String::new(), |pools| format!(" {pools}"));
        writeln!(
            f,
            "mode {}{pools}, forward-mode {}, burst {}, {:.3} s",
            self.mode, self.forward_mode, self.burst, self.elapsed_s
        )?;
        self.pool_changes.iter().flatten().try_for_each(|change| writeln!(f, "{change}"))?;
        writeln!(f, "{}", self.lcore_table())?;
        writeln!(f, "{}", self.queue_table())?;
        if let Some(latency) = &self.latency {
            writeln!(f, "{latency}")?;
            let by_lcore = lcore_table(self.lcores.iter().map(|row| (row.lcore, &row.latency)));
            by_lcore.iter().try_for_each(|table| writeln!(f, "{table}"))?;
            writeln!(f, "{}", self.tsc)?;
        }
        self.dpi.iter().try_for_each(|dpi| writeln!(f, "{dpi}"))?;
        if let Some(Reloads { done, refused }) =
            self.reloads.filter(|reloads| reloads.done + reloads.refused > 0)
        {
            writeln!(f, "reloads: {done} done, {refused} refused")?;
        }
        let yielded: u64 = self.lcores.iter().map(|lcore| lcore.yielded_pkts).sum();
        if yielded > 0 {
            let yielded = grouped(yielded);
            writeln!(f, "yielded: {yielded} packets from the cheap to the expensive stage")?;
        }
        self.prediction.iter().try_for_each(|prediction| writeln!(f, "{prediction}"))?;
        if let Some(source) = &self.source {
            writeln!(f, "{source}")?;
        }
        if self.host_gaps.gaps > 0 {
            writeln!(f, "{}", self.host_gaps)?;
        }
        if let Some(ns) = self.run_delay_ns.filter(|&ns| ns > 0) {
            writeln!(f, "run delay: {}", time(ns))?;
        }
        let rescues = rescue_table(self.lcores.iter().map(|row| (row.lcore, &row.rescue)));
        for table in [rescues, incident_table(&self.incidents)].into_iter().flatten() {
            writeln!(f, "{table}")?;
        }
        if let Some(rank) = self.rank.as_ref().filter(|rank| rank.samples > 0) {
            writeln!(f, "{rank}")?;
        }
        if self.order.checked_pkts > 0 {
            writeln!(f, "{}", self.order)?;
        }
        if let Some(steps) = &self.step_cycles {
            writeln!(
                f,
                "cycles per packet: rx {:.1}, classify {:.1}, engine {:.1}, tx {:.1}, statistics {:.1}",
                steps.rx, steps.classify, steps.engine, steps.tx, steps.statistics
            )?;
        }
        for row in &self.ports {
            if let Some(events) = &row.events {
                writeln!(f, "{}", wrapped(&format!("port {} ({}): {events}", row.port, row.name)))?;
            }
        }
        if let Some(table) = self.device_table() {
            writeln!(f, "packets lost in devices:\n{table}")?;
        }
        let dropped: u64 = self.drops.values().sum();
        let causes: Vec<String> = self
            .drops
            .iter()
            .filter(|(_, count)| **count > 0)
            .map(|(cause, count)| format!("{cause} {}", grouped(*count)))
            .collect();
        writeln!(
            f,
            "received {} ({} Mpps), sent {} ({} Mpps), dropped {}",
            grouped(self.rx_pkts),
            self.mpps(self.rx_pkts),
            grouped(self.tx_pkts),
            self.mpps(self.tx_pkts),
            grouped(dropped)
        )?;
        if !causes.is_empty() {
            writeln!(f, "{}", wrapped(&format!("  dropped as {}", causes.join(", "))))?;
        }
        let Some(conserved) = self.conserved else { return write!(f, "packets pass") };
        if conserved && self.mbufs_free < self.mbufs {
            let [free, all] = [self.mbufs_free, self.mbufs].map(|mbufs| grouped(mbufs.into()));
            let kept_by = self.mbufs_kept_by.join(", ");
            return write!(
                f,
                "conserved: received = sent + dropped\n{}",
                wrapped(&format!(
                    "  {free} of {all} mbufs back in the pool, others kept by {kept_by}"
                ))
            );
        }
        if conserved {
            return write!(
                f,
                "conserved: received = sent + dropped, all {} mbufs back in the pool",
                grouped(u64::from(self.mbufs))
            );
        }
        let sum = self.tx_pkts + dropped;
        write!(
            f,
            "CONSERVATION BROKEN: RECEIVED {}, SENT + DROPPED {}; {} OF {} BUFFERS IN THE POOL",
            self.rx_pkts, sum, self.mbufs_free, self.mbufs
        )
    }
}
