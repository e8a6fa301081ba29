//! The counts of `dpi` and its part of the report: rules, flows, scans.

use std::fmt;

use comfy_table::Table;
use serde::Serialize;

use super::Counter;
use mpfwd_common::text::{grouped, table};

/// One lcore's counts for one rule. One writer.
#[derive(Debug, Default)]
pub struct RuleCounts {
    /// Packets in which it was the first rule of the file that matched.
    pub hit_pkts: Counter,
    /// Flows whose verdict it set.
    pub flows: Counter,
    /// Packets that its action was applied to, including the hits.
    pub pkts: Counter,
}

/// One lcore's counts. One writer, on cache lines of its own.
#[derive(Debug)]
#[repr(align(128))]
pub struct DpiCounts {
    /// By rule number.
    pub rules: Box<[RuleCounts]>,
    /// Packets whose payload was scanned to its end, and the bytes.
    pub scanned_pkts: Counter,
    pub scanned_bytes: Counter,
    /// Flows inserted into the table, and those that evicted another flow.
    pub new_flows: Counter,
    pub evicted_flows: Counter,
    /// Flows that passed after the full number of scanned packets without a hit.
    pub passed_flows: Counter,
    /// TCP segments that came early and were held, and gaps that were given up.
    pub held_segments: Counter,
    pub stream_gaps: Counter,
    /// TCP streams that another one has replaced.
    pub evicted_streams: Counter,
}

impl DpiCounts {
    pub fn new(rules: usize) -> Self {
        Self {
            rules: (0..rules).map(|_| RuleCounts::default()).collect(),
            scanned_pkts: Counter::default(),
            scanned_bytes: Counter::default(),
            new_flows: Counter::default(),
            evicted_flows: Counter::default(),
            passed_flows: Counter::default(),
            held_segments: Counter::default(),
            stream_gaps: Counter::default(),
            evicted_streams: Counter::default(),
        }
    }

    /// Adds another one's counts, of at most as many rules as this one has.
    pub fn add(&self, other: &Self) {
        for (rule, other) in self.rules.iter().zip(&other.rules) {
            rule.hit_pkts.add(other.hit_pkts.get());
            rule.flows.add(other.flows.get());
            rule.pkts.add(other.pkts.get());
        }
        self.scanned_pkts.add(other.scanned_pkts.get());
        self.scanned_bytes.add(other.scanned_bytes.get());
        self.new_flows.add(other.new_flows.get());
        self.evicted_flows.add(other.evicted_flows.get());
        self.passed_flows.add(other.passed_flows.get());
        self.held_segments.add(other.held_segments.get());
        self.stream_gaps.add(other.stream_gaps.get());
        self.evicted_streams.add(other.evicted_streams.get());
    }
}

/// The text shows rules without hits only in smaller files; JSON shows all.
const ROWS_MAX: usize = 100;

/// One rule in the report.
#[derive(Clone, Debug, Serialize)]
pub struct RuleRow {
    pub name: String,
    /// As it is written in the rules file.
    pub action: String,
    pub hit_pkts: u64,
    pub flows: u64,
    pub pkts: u64,
}

/// The report of `dpi`, over all lcores.
#[derive(Clone, Debug, Serialize)]
pub struct DpiReport {
    pub rules: Vec<RuleRow>,
    pub scanned_pkts: u64,
    pub scanned_bytes: u64,
    /// Flows that the table has room for.
    pub flows_max: usize,
    /// Flows in it at the end of the run.
    pub live_flows: usize,
    pub new_flows: u64,
    pub evicted_flows: u64,
    pub passed_flows: u64,
    /// TCP streams that there is memory for, under the last rules.
    pub streams_max: usize,
    pub held_segments: u64,
    pub stream_gaps: u64,
    pub evicted_streams: u64,
}

impl DpiReport {
    /// `rules`: name and action of each, by number.
    pub fn of(
        rules: impl Iterator<Item = (String, String)>,
        counts: &DpiCounts,
        (flows_max, live_flows): (usize, usize),
        streams_max: usize,
    ) -> Self {
        let row = |((name, action), rule): ((String, String), &RuleCounts)| RuleRow {
            name,
            action,
            hit_pkts: rule.hit_pkts.get(),
            flows: rule.flows.get(),
            pkts: rule.pkts.get(),
        };
        Self {
            rules: rules.zip(&counts.rules).map(row).collect(),
            scanned_pkts: counts.scanned_pkts.get(),
            scanned_bytes: counts.scanned_bytes.get(),
            flows_max,
            live_flows,
            new_flows: counts.new_flows.get(),
            evicted_flows: counts.evicted_flows.get(),
            passed_flows: counts.passed_flows.get(),
            streams_max,
            held_segments: counts.held_segments.get(),
            stream_gaps: counts.stream_gaps.get(),
            evicted_streams: counts.evicted_streams.get(),
        }
    }

    /// The rules without hits, if they are left out.
    fn hidden_rules(&self) -> usize {
        let hidden = self.rules.iter().filter(|row| row.pkts == 0).count();
        if self.rules.len() > ROWS_MAX { hidden } else { 0 }
    }

    fn rule_table(&self) -> Table {
        let mut table = table(&["rule", "action", "hits", "flows", "packets"]);
        let is_shown = |row: &&RuleRow| self.rules.len() <= ROWS_MAX || row.pkts > 0;
        for row in self.rules.iter().filter(is_shown) {
            let mut cells = vec![row.name.clone(), row.action.clone()];
            cells.extend([row.hit_pkts, row.flows, row.pkts].map(grouped));
            table.add_row(cells);
        }
        table
    }
}

impl fmt::Display for DpiReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.rule_table())?;
        if self.hidden_rules() > 0 {
            writeln!(f, "{} rules without a hit", grouped(self.hidden_rules() as u64))?;
        }
        write!(
            f,
            "dpi: scanned {} packets, {} bytes; flow table {} of {} at the end\n  \
             flows: {} new, {} passed without a hit, {} evicted\n  \
             TCP streams: room for {}, {} evicted; segments held {}, gaps given up {}",
            grouped(self.scanned_pkts),
            grouped(self.scanned_bytes),
            grouped(self.live_flows as u64),
            grouped(self.flows_max as u64),
            grouped(self.new_flows),
            grouped(self.passed_flows),
            grouped(self.evicted_flows),
            grouped(self.streams_max as u64),
            grouped(self.evicted_streams),
            grouped(self.held_segments),
            grouped(self.stream_gaps),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lcores_add_up_by_rule() {
        let lcores = [DpiCounts::new(2), DpiCounts::new(2)];
        lcores.iter().for_each(|lcore| lcore.rules[1].hit_pkts.add(3));
        lcores[0].scanned_pkts.add(1_234);
        let names = ["a", "b"].map(|name| (name.to_owned(), "drop".to_owned()));
        let all = DpiCounts::new(2);
        lcores.iter().for_each(|lcore| all.add(lcore));
        let report = DpiReport::of(names.into_iter(), &all, (7, 2), 4);
        assert_eq!(
            (report.rules[0].hit_pkts, report.rules[1].hit_pkts, report.scanned_pkts),
            (0, 6, 1_234)
        );
        assert!(report.to_string().contains("scanned 1,234 packets"), "{report}");
    }
}
