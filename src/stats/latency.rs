//! The latencies of a run, and what qualifies them.

use std::fmt;

use comfy_table::Table;
use serde::Serialize;

use super::parts::{BurstTimeRow, LatencyParts, TimeRow, parts_table};
use mpfwd_common::latency::LatencyRow;
use mpfwd_common::report::qualified_by;
use mpfwd_common::text::{grouped, table, time, wrapped};

/// From the stamp until the driver accepted the packet.
#[derive(Clone, Debug, Serialize)]
pub struct Latency {
    /// nic, emulated, software or open-loop.
    pub source: &'static str,
    /// The clock of arrivals, and the two ends of latency.
    pub clock: String,
    /// The part of latency that the figures exclude, and their precision.
    pub bound: String,
    /// The largest error of NIC stamps after conversion. None with other
    /// clocks.
    pub error_ns: Option<u64>,
    /// Why counting ended before the run did. None if it did not.
    pub off: Option<String>,
    /// Packets that were lost before they had a stamp.
    pub censored_pkts: u64,
    /// Software stamps only: how long the packets of sampled bursts may have
    /// waited before the poll that received them.
    pub unseen_wait: Option<BurstTimeRow>,
    /// Software stamps only: bounds of the latency of cheap packets in sampled
    /// bursts. The lower bound starts at the poll, the upper bound at the
    /// earliest time at which the packet can have arrived.
    pub at_least: Option<TimeRow>,
    pub at_most: Option<TimeRow>,
    pub cheap: LatencyRow,
    pub expensive: LatencyRow,
    pub parts: LatencyParts,
}

/// The latencies of the packets that one lcore sent.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct LcoreLatency {
    pub cheap: TimeRow,
    pub expensive: TimeRow,
}

impl Latency {
    /// See [`qualified_by`].
    pub fn qualified_by(&self) -> Vec<String> {
        qualified_by(self.censored_pkts, self.off.as_deref())
    }
}

/// Whether the wait before the poll has a bound. It has none if a poll never
/// emptied its queue: then the wait counts from the start of the run.
pub fn is_bounded(unseen: &BurstTimeRow, elapsed_s: f64) -> bool {
    unseen.bursts > 0 && (unseen.time.max_ns as f64) < elapsed_s * 1e9
}

/// How long packets may have waited before the poll that received them, in
/// words. `elapsed_s` is the length of the run.
pub fn unseen_text(unseen: &BurstTimeRow, elapsed_s: f64) -> String {
    match unseen.bursts {
        0 => "of unknown length: none was measured".into(),
        _ if !is_bounded(unseen, elapsed_s) => {
            "of unknown length: no poll emptied its queue".into()
        }
        _ => {
            let [p50, p99, max] =
                [unseen.time.p50_ns, unseen.time.p99_ns, unseen.time.max_ns].map(time);
            format!("at most {p50} (p50), {p99} (p99), {max} (max)")
        }
    }
}

/// Latency by sending lcore. `None` where one lcore sent all packets: the table
/// of classes has the same figures.
pub(super) fn lcore_table<'l>(
    lcores: impl IntoIterator<Item = (u32, &'l LcoreLatency)>,
) -> Option<Table> {
    let sent = |latency: &LcoreLatency| latency.cheap.pkts + latency.expensive.pkts > 0;
    let lcores: Vec<(u32, &LcoreLatency)> =
        lcores.into_iter().filter(|(_, latency)| sent(latency)).collect();
    let mut table = table(&["sent by lcore", "class", "packets", "p50", "p99", "max"]);
    for (lcore, latency) in &lcores {
        for (class, row) in [("cheap", latency.cheap), ("expensive", latency.expensive)]
            .iter()
            .filter(|(_, row)| row.pkts > 0)
        {
            let mut cells = vec![lcore.to_string(), (*class).to_owned(), grouped(row.pkts)];
            cells.extend([row.time.p50_ns, row.time.p99_ns, row.time.max_ns].map(time));
            table.add_row(cells);
        }
    }
    (lcores.len() > 1).then_some(table)
}

fn bounds_table(least: TimeRow, most: TimeRow) -> Table {
    let mut table = table(&["cheap latency", "sampled", "p50", "p99", "p99.9", "max"]);
    for (name, row) in
        [("lower bound, from the poll", least), ("upper bound, from the poll before", most)]
    {
        let mut cells = vec![name.to_owned(), grouped(row.pkts)];
        cells.extend(row.time.cells());
        table.add_row(cells);
    }
    table
}

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table =
            table(&["latency", "packets", "mean", "p50", "p90", "p99", "p99.9", "p99.99", "max"]);
        for (class, row) in [("cheap", &self.cheap), ("expensive", &self.expensive)] {
            if row.pkts > 0 {
                let mut cells = vec![class.to_owned(), grouped(row.pkts)];
                cells.extend(
                    [
                        row.mean_ns,
                        row.p50_ns,
                        row.p90_ns,
                        row.p99_ns,
                        row.p999_ns,
                        row.p9999_ns,
                        row.max_ns,
                    ]
                    .map(time),
                );
                table.add_row(cells);
            }
        }
        let see = "see docs/report.md#latency";
        writeln!(f, "{table}\n{}", wrapped(&format!("latency: {}; {see}", self.clock)))?;
        let bounds: Vec<String> =
            self.bound.split("; ").map(|part| wrapped(&format!("  {part}"))).collect();
        write!(f, "{}", bounds.join("\n"))?;
        if let Some(table) = parts_table(&self.parts) {
            let every = self.parts.every_bursts;
            write!(f, "\n{table}\nparts: sampled 1 in {every} cheap bursts")?;
        }
        if let (Some(least), Some(most)) = (self.at_least.filter(|row| row.pkts > 0), self.at_most)
        {
            let every = self.parts.every_bursts;
            write!(
                f,
                "\n{}\nbounds: sampled 1 in {every} bursts, cheap packets that left with their burst",
                bounds_table(least, most)
            )?;
        }
        self.qualified_by().iter().try_for_each(|line| write!(f, "\n{}", wrapped(line)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::parts::Percentiles;
    use super::*;

    #[test]
    fn what_polls_do_not_see_has_numbers_or_a_reason() {
        let time = Percentiles { p50_ns: 1_500, p99_ns: 20_000, p999_ns: 0, max_ns: 40_000 };
        let unseen = BurstTimeRow { bursts: 3, time };
        assert_eq!(
            unseen_text(&unseen, 1.0),
            "at most 1.50 us (p50), 20.0 us (p99), 40.0 us (max)"
        );
        assert!(unseen_text(&unseen, 1e-5).contains("no poll emptied its queue"));
        assert!(unseen_text(&BurstTimeRow::default(), 1.0).contains("none was measured"));
    }

    #[test]
    fn lcores_are_told_apart_where_there_are_several() {
        let time = Percentiles { p50_ns: 1_000, p99_ns: 2_000, p999_ns: 0, max_ns: 3_000 };
        let sent = |pkts| TimeRow { pkts, time };
        let both = LcoreLatency { cheap: sent(7), expensive: sent(1) };
        let (one, none) =
            (LcoreLatency { cheap: sent(9), ..LcoreLatency::default() }, LcoreLatency::default());
        let printed = lcore_table([(0, &both), (1, &none), (5, &one)]).unwrap().to_string();
        assert_eq!(
            printed.matches("1.00 us").count(),
            3,
            "a row per class that was sent: {printed}"
        );
        assert!(printed.lines().last().unwrap().trim_start().starts_with("5"), "{printed}");
        assert!(lcore_table([(0, &both), (1, &none)]).is_none());
    }

    #[test]
    fn what_is_missing_is_said() {
        assert!(qualified_by(0, None).is_empty());
        let lines = qualified_by(1_234, Some("port 0 has a clock that went back"));
        assert!(
            lines.len() == 2
                && lines[0].starts_with("1,234 packets were lost")
                && lines[1].ends_with("went back"),
            "{lines:?}"
        );
    }
}
