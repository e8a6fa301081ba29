//! The report of the traffic source: packets asked for, offered and received,
//! and the source's own cost.

use std::fmt;

use comfy_table::Table;
use serde::Serialize;

use mpfwd_common::text::{grouped, table, time, wrapped};

/// The source over all queues. Each packet that was due was received, missed,
/// lost for want of a buffer, or left in the queue: `offered_pkts` is the sum.
#[derive(Clone, Debug, Serialize)]
pub struct SourceReport {
    /// `--source`, with its defaults.
    pub spec: String,
    /// Requested rate, in millions of packets per second.
    pub asked_mpps: f64,
    /// Packets that came due, in millions per second of polling.
    pub offered_mpps: f64,
    pub received_mpps: f64,
    /// The share of the lcores' time that the packets' costs take at the
    /// requested rate.
    pub load: f64,
    pub mean_cost_ns: f64,
    pub offered_pkts: u64,
    pub received_pkts: u64,
    /// Lost to a full queue.
    pub missed_pkts: u64,
    pub nombuf_pkts: u64,
    /// Due, but not received when the run ended.
    pub left_pkts: u64,
    /// The source's own work per received packet, the median of samples. Lcores
    /// do it in addition to their own.
    pub pkt_ns: f64,
    pub queues: Vec<SourceQueueRow>,
}

#[derive(Clone, Debug, Serialize)]
pub struct SourceQueueRow {
    pub port: u16,
    pub queue: u16,
    pub asked_mpps: f64,
    /// Time from the first poll to the last, in seconds.
    pub polled_s: f64,
    pub offered_pkts: u64,
    pub received_pkts: u64,
    pub missed_pkts: u64,
    pub nombuf_pkts: u64,
    pub left_pkts: u64,
    /// How far the generator was behind at the last poll. Packets due in that
    /// time are counted nowhere.
    pub behind_ns: u64,
}

/// A source that is this far behind did not keep up, in nanoseconds: several of
/// its longest polls.
const BEHIND_NS: u64 = 10_000_000;

impl SourceReport {
    /// Why the figures may mislead: what the machine could not do.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let behind = self.queues.iter().map(|row| row.behind_ns).max().unwrap_or(0);
        if behind >= BEHIND_NS {
            warnings.push(format!(
                "the source could not keep up: asked for {}pps, made {}pps, {} behind at the end; delays and losses are its own",
                rate(self.asked_mpps),
                rate(self.offered_mpps),
                time(behind)
            ));
        }
        let lost = self.missed_pkts + self.nombuf_pkts;
        if lost > 0 {
            warnings.push(format!(
                "{} of {} packets were lost before reception ({} queue full, {} no buffer); latencies exclude them",
                grouped(lost),
                grouped(self.offered_pkts),
                grouped(self.missed_pkts),
                grouped(self.nombuf_pkts)
            ));
        }
        warnings
    }

    fn queue_table(&self) -> Table {
        let mut table =
            table(&["source", "asked pps", "offered", "received", "missed", "no buffer", "left"]);
        for row in &self.queues {
            let mut cells = vec![format!("{} rx {}", row.port, row.queue), rate(row.asked_mpps)];
            let counts = [
                row.offered_pkts,
                row.received_pkts,
                row.missed_pkts,
                row.nombuf_pkts,
                row.left_pkts,
            ];
            cells.extend(counts.map(grouped));
            table.add_row(cells);
        }
        table
    }
}

impl fmt::Display for SourceReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.queue_table())?;
        writeln!(f, "{}", wrapped(&format!("source: {}", self.spec)))?;
        write!(
            f,
            "  asked {}pps, offered {}pps, received {}pps\n  \
             load {:.3} of all lcores, mean cost {}, source's own work {:.1} ns per packet",
            rate(self.asked_mpps),
            rate(self.offered_mpps),
            rate(self.received_mpps),
            self.load,
            time(self.mean_cost_ns.round() as u64),
            self.pkt_ns
        )?;
        let warnings = self.warnings();
        warnings.iter().try_for_each(|text| write!(f, "\n{}", wrapped(&format!("warning: {text}"))))
    }
}

/// Millions per second, as a number and the prefix of its unit.
fn rate(mpps: f64) -> String {
    match mpps {
        1.0.. => format!("{mpps:.3} M"),
        1e-3.. => format!("{:.3} k", mpps * 1e3),
        _ => format!("{:.1} ", mpps * 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(missed_pkts: u64, behind_ns: u64) -> SourceReport {
        let row = SourceQueueRow {
            port: 0,
            queue: 0,
            asked_mpps: 1.0,
            polled_s: 1.0,
            offered_pkts: 1_000,
            received_pkts: 1_000 - missed_pkts,
            missed_pkts,
            nombuf_pkts: 0,
            left_pkts: 0,
            behind_ns,
        };
        SourceReport {
            spec: "open-loop:rate=1000000".into(),
            asked_mpps: 1.0,
            offered_mpps: 1e-3,
            received_mpps: 1e-3,
            load: 0.5,
            mean_cost_ns: 500.0,
            offered_pkts: 1_000,
            received_pkts: 1_000 - missed_pkts,
            missed_pkts,
            nombuf_pkts: 0,
            left_pkts: 0,
            pkt_ns: 20.0,
            queues: vec![row],
        }
    }

    #[test]
    fn limits_of_the_machine_are_warnings() {
        assert!(report(0, 0).warnings().is_empty());
        assert!(
            report(0, 2 * BEHIND_NS).warnings()[0].contains(
                "could not keep up: asked for 1.000 Mpps, made 1.000 kpps, 20.0 ms behind"
            )
        );
        let text = report(10, 0).to_string();
        assert!(text.contains("warning: 10 of 1,000 packets were lost"), "{text}");
    }
}
