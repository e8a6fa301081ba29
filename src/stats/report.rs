//! What a run came to: one structure, printed as a table and written as JSON.
//! Its keys are described in docs/report.md.

use std::collections::BTreeMap;
use std::fmt;

use comfy_table::Table;
use serde::Serialize;

use super::SourceReport;
use super::dpi::DpiReport;
use super::incidents::incident_table;
use super::latency::{Latency, LcoreLatency, lcore_table};
use super::order::OrderRow;
use super::prediction::PredictionRow;
use super::rank::RankRow;
use super::rescue::{RescueRow, rescue_table};
use super::{HostGapRow, Incident};
use mpfwd_common::text::{grouped, table};

/// The whole run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub mode: String,
    /// Lcores per micropool as A:B; none with a single pool.
    pub pools: Option<String>,
    pub forward_mode: String,
    pub burst: u16,
    pub dpdk: String,
    /// Time during which packets were received, in seconds.
    pub elapsed_s: f64,
    pub rx_pkts: u64,
    pub tx_pkts: u64,
    /// Packets by why they were dropped; all causes, also those that did not
    /// occur.
    pub drops: BTreeMap<&'static str, u64>,
    /// Whether rx_pkts == tx_pkts + drops, and every buffer is back in the pool
    /// that no driver keeps.
    pub conserved: bool,
    pub mbufs: u32,
    /// Buffers that were in the pool after all ports were closed.
    pub mbufs_free: u32,
    /// The ports whose drivers keep buffers when they are closed: how many,
    /// nobody knows.
    pub mbufs_kept_by: Vec<String>,
    pub shed_pkts: u64,
    pub taken_pkts: u64,
    /// How far workers were from the order of arrival; none without shards.
    pub rank: Option<RankRow>,
    /// How far what was sent was from the order of arrival within flows.
    pub order: OrderRow,
    /// What `dpi` found; none with other forward modes.
    pub dpi: Option<DpiReport>,
    /// How often files were read again; none where there is none to read.
    pub reloads: Option<Reloads>,
    /// What came of predicting costs, if that was done.
    pub prediction: Option<PredictionRow>,
    /// What the virtual NIC did, if one made the packets.
    pub source: Option<SourceReport>,
    /// By what ticks became nanoseconds.
    pub tsc: TscRow,
    /// Time that the host took from the lcores, as far as they could tell.
    pub host_gaps: HostGapRow,
    pub latency: Option<Latency>,
    pub step_cycles: Option<StepCycles>,
    pub lcores: Vec<LcoreRow>,
    pub queues: Vec<QueueRow>,
    pub ports: Vec<PortRow>,
    /// The last times that an lcore was stuck, oldest first.
    pub incidents: Vec<Incident>,
}

/// The rate of the time stamp counter, by which all of a report's times were
/// measured.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct TscRow {
    /// Ticks per second.
    pub hz: u64,
    /// By how many millionths that may be off, with the clock that it was
    /// measured by taken for right.
    pub error_ppm: f64,
    /// That clock; or EAL, which rounds.
    pub by: &'static str,
}

impl fmt::Display for TscRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { hz, error_ppm, by } = self;
        write!(
            f,
            "times are of {:.3} MHz of the time stamp counter by {by}, right to {error_ppm:.2} ppm",
            *hz as f64 / 1e6
        )
    }
}

/// Cycles per packet and step, the cost of measuring taken off.
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
    /// The micropool: A or B.
    pub pool: crate::policy::Pool,
    pub rx_pkts: u64,
    pub tx_pkts: u64,
    /// Packets that finished in the cheap stage here.
    pub cheap_pkts: u64,
    /// Packets that went through the expensive stage here.
    pub expensive_pkts: u64,
    /// Packets that the cheap stage turned out to be too little for, or gave
    /// up.
    pub yielded_pkts: u64,
    pub shed_pkts: u64,
    pub taken_pkts: u64,
    /// Packets that had to wait in the run queue.
    pub requeued_pkts: u64,
    /// How often its run queues have grown.
    pub grown: u64,
    pub drops: BTreeMap<&'static str, u64>,
    pub rescue: RescueRow,
    pub latency: LcoreLatency,
    pub host_gaps: HostGapRow,
    pub polls: u64,
    pub rx_bursts: u64,
}

#[derive(Clone, Debug, Serialize)]
pub struct QueueRow {
    pub port: u16,
    /// rx or tx.
    pub direction: &'static str,
    pub queue: u16,
    /// The lcores that poll it, or send by it.
    pub lcores: Vec<u32>,
    pub pkts: u64,
}

#[derive(Clone, Debug, Serialize)]
pub struct PortRow {
    pub port: u16,
    pub name: String,
    /// What the device itself counted, and lost before any lcore saw it.
    pub device: DeviceStats,
}

/// Counts of the device; packets that it lost on reception never were in a
/// burst, and are not part of `rx_pkts`.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct DeviceStats {
    pub ipackets: u64,
    pub opackets: u64,
    /// Lost because the receive queue was full.
    pub imissed: u64,
    /// Lost because they were broken.
    pub ierrors: u64,
    /// Accepted for sending, but not sent.
    pub oerrors: u64,
    /// Lost because the pool had no buffer.
    pub rx_nombuf: u64,
}

impl DeviceStats {
    /// Packets that the device lost: imissed, ierrors, rx_nombuf, oerrors.
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
            "waited",
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
            cells.extend(counts.map(grouped));
            cells.push(self.mpps(row.tx_pkts));
            table.add_row(cells);
        }
        table
    }

    fn queue_table(&self) -> Table {
        let mut table = table(&["port", "queue", "lcores", "packets", "Mpps"]);
        for row in &self.queues {
            let lcores: Vec<String> = row.lcores.iter().map(u32::to_string).collect();
            table.add_row(vec![
                row.port.to_string(),
                format!("{} {}", row.direction, row.queue),
                lcores.join(" "),
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

/// What came of SIGHUPs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Reloads {
    /// The file was read, and lcores go by it.
    pub done: u64,
    /// There was a mistake in it, and what was read before stayed.
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
            writeln!(f, "files were read again {done} times, and refused {refused} times")?;
        }
        let yielded: u64 = self.lcores.iter().map(|lcore| lcore.yielded_pkts).sum();
        if yielded > 0 {
            writeln!(
                f,
                "{} packets were given up by the cheap stage, and went on in the expensive one",
                grouped(yielded)
            )?;
        }
        self.prediction.iter().try_for_each(|prediction| writeln!(f, "{prediction}"))?;
        if let Some(source) = &self.source {
            writeln!(f, "{source}")?;
        }
        if self.host_gaps.gaps > 0 {
            writeln!(f, "{}", self.host_gaps)?;
        }
        for table in
            [rescue_table(&self.lcores), incident_table(&self.incidents)].into_iter().flatten()
        {
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
        if let Some(table) = self.device_table() {
            writeln!(f, "lost by devices before or after the forwarder had them:\n{table}")?;
        }
        let dropped: u64 = self.drops.values().sum();
        let causes: Vec<String> = self
            .drops
            .iter()
            .filter(|(_, count)| **count > 0)
            .map(|(cause, count)| format!("{cause} {}", grouped(*count)))
            .collect();
        let causes =
            if causes.is_empty() { String::new() } else { format!(" ({})", causes.join(", ")) };
        writeln!(
            f,
            "received {} ({} Mpps), sent {} ({} Mpps), dropped {}{causes}",
            grouped(self.rx_pkts),
            self.mpps(self.rx_pkts),
            grouped(self.tx_pkts),
            self.mpps(self.tx_pkts),
            grouped(dropped)
        )?;
        if self.conserved && self.mbufs_free < self.mbufs {
            return write!(
                f,
                "conserved: received = sent + dropped; of {} buffers {} are back in the pool, the others are not checked: {} kept them when closed",
                grouped(u64::from(self.mbufs)),
                grouped(u64::from(self.mbufs_free)),
                self.mbufs_kept_by.join(", ")
            );
        }
        if self.conserved {
            return write!(
                f,
                "conserved: received = sent + dropped, and all {} buffers are back in the pool",
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
