//! What the traffic's source came to: what was to come, what came, and what the
//! source itself took.

use std::fmt;

use comfy_table::Table;
use serde::Serialize;

use mpfwd_common::text::{grouped, table, time};

/// The source over all queues. Each packet that was due was received, missed,
/// lost for want of a buffer, or was left in the queue: `offered_pkts` is the
/// sum.
#[derive(Clone, Debug, Serialize)]
pub struct SourceReport {
    /// What `--source` asked for, with defaults.
    pub spec: String,
    /// Millions of packets per second that were asked for.
    pub asked_mpps: f64,
    /// Millions of packets that were due per second of polling.
    pub offered_mpps: f64,
    pub received_mpps: f64,
    /// The share of the lcores' time that the packets' costs should take at the
    /// rate that was asked for.
    pub load: f64,
    pub mean_cost_ns: f64,
    pub offered_pkts: u64,
    pub received_pkts: u64,
    /// Found all descriptors taken.
    pub missed_pkts: u64,
    pub nombuf_pkts: u64,
    /// Were due and not received yet when the run ended.
    pub left_pkts: u64,
    /// The source's own work for a received packet, its median by samples;
    /// lcores do it on top of their own.
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
    /// By how much drawing packets was late at the last poll: what should have
    /// come in that time is counted nowhere.
    pub behind_ns: u64,
}

/// From here on the source has not kept up, in nanoseconds: several of its
/// longest polls.
const BEHIND_NS: u64 = 10_000_000;

impl SourceReport {
    /// What a reader must know before the figures: what the machine could not
    /// do.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let behind = self.queues.iter().map(|row| row.behind_ns).max().unwrap_or(0);
        if behind >= BEHIND_NS {
            warnings.push(format!(
                "the source could not make {} packets per second on this machine: it made {}, and was {} behind at the end; what is late or missed here is its own doing",
                rate(self.asked_mpps),
                rate(self.offered_mpps),
                time(behind)
            ));
        }
        let lost = self.missed_pkts + self.nombuf_pkts;
        if lost > 0 {
            warnings.push(format!(
                "{} of {} packets were lost before they were received ({} found the queue full, {} no buffer): latencies are of the others only",
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
            table(&["source", "asked", "offered", "received", "missed", "no buffer", "left"]);
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
        write!(
            f,
            "source {}: asked for {} pps, offered {}, received {}; load {:.3} of all lcores, mean cost {}; its own work {:.1} ns per packet",
            self.spec,
            rate(self.asked_mpps),
            rate(self.offered_mpps),
            rate(self.received_mpps),
            self.load,
            time(self.mean_cost_ns.round() as u64),
            self.pkt_ns
        )?;
        self.warnings().iter().try_for_each(|warning| write!(f, "\nwarning: {warning}"))
    }
}

/// Millions per second, in the unit that shows them.
fn rate(mpps: f64) -> String {
    match mpps {
        1.0.. => format!("{mpps:.3} M"),
        1e-3.. => format!("{:.3} k", mpps * 1e3),
        _ => format!("{:.1}", mpps * 1e6),
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
    fn what_the_machine_could_not_do_is_said() {
        assert!(report(0, 0).warnings().is_empty());
        assert!(
            report(0, 2 * BEHIND_NS).warnings()[0]
                .contains("could not make 1.000 M packets per second")
        );
        let text = report(10, 0).to_string();
        assert!(text.contains("warning: 10 of 1,000 packets were lost"), "{text}");
    }
}
