//! Rows of the comparison, as JSON and as tables.

use std::fmt;

use clap::ValueEnum;
use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets};
use serde::Serialize;

use crate::Part;
use crate::gate::Distance;
use crate::peers::STEPS;
use crate::stats::{Pair, median};

/// Pairs that a verdict needs. The median of fewer depends on chance.
const VERDICT_PAIRS: usize = 7;

/// The subject of a row.
#[derive(Clone, Copy, Serialize)]
pub struct Subject {
    pub part: Part,
    /// io, mac or macswap.
    pub forward_mode: &'static str,
    /// mpfwd's setting that differs from other rows of the part.
    pub setup: Option<&'static str>,
    pub burst: u16,
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = self.part.to_possible_value().expect("every part has a name");
        write!(
            f,
            "{}: {} {}{}",
            part.get_name(),
            self.forward_mode,
            self.burst,
            self.setup.map_or(String::new(), |setup| format!(" {setup}"))
        )
    }
}

/// mpfwd beside one peer: medians, and the number of windows behind them. A
/// skipped peer has a reason instead of figures.
#[derive(Serialize)]
pub struct Row {
    #[serde(flatten)]
    pub subject: Subject,
    pub peer: String,
    pub mpfwd_mpps: Option<f64>,
    pub peer_mpps: Option<f64>,
    /// The best window of each: disturbances only slow a program down.
    pub mpfwd_best_mpps: Option<f64>,
    pub peer_best_mpps: Option<f64>,
    /// Median, least and greatest of the ratios of the pairs: mpfwd / peer.
    pub ratio: Option<f64>,
    pub ratio_min: Option<f64>,
    pub ratio_max: Option<f64>,
    /// The ratio to reach. `None` if the peer is for information only.
    pub target: Option<f64>,
    pub rounds: usize,
    pub discarded: usize,
    /// The receiving CPU's share of its core, relative to the best one seen;
    /// median.
    pub core_share: Option<f64>,
    /// If two CPUs work: their distance, and the median round trip of a cache
    /// line between them.
    pub cpus: Option<Distance>,
    pub round_trip_ns: Option<f64>,
    pub skipped: Option<String>,
}

impl Row {
    pub fn skipped(subject: Subject, peer: &str, reason: impl Into<String>) -> Row {
        Row {
            subject,
            peer: peer.to_owned(),
            mpfwd_mpps: None,
            peer_mpps: None,
            mpfwd_best_mpps: None,
            peer_best_mpps: None,
            ratio: None,
            ratio_min: None,
            ratio_max: None,
            target: None,
            rounds: 0,
            discarded: 0,
            core_share: None,
            cpus: None,
            round_trip_ns: None,
            skipped: Some(reason.into()),
        }
    }

    /// The medians of some pairs. `peer_mpps` gets the peer's figure from its
    /// window.
    pub fn of<T>(
        (subject, peer): (Subject, &str),
        target: Option<f64>,
        pairs: &[&Pair<T>],
        discarded: usize,
        peer_mpps: impl Fn(&T) -> f64,
    ) -> Row {
        if pairs.is_empty() {
            let reason =
                format!("the machine did not hold still: all {discarded} windows were discarded");
            return Row { discarded, ..Row::skipped(subject, peer, reason) };
        }
        let ratios = || pairs.iter().map(|pair| pair.mpfwd_mpps / peer_mpps(&pair.peer));
        Row {
            mpfwd_mpps: median(pairs.iter().map(|pair| pair.mpfwd_mpps)),
            peer_mpps: median(pairs.iter().map(|pair| peer_mpps(&pair.peer))),
            mpfwd_best_mpps: pairs.iter().map(|pair| pair.mpfwd_mpps).max_by(f64::total_cmp),
            peer_best_mpps: pairs.iter().map(|pair| peer_mpps(&pair.peer)).max_by(f64::total_cmp),
            ratio: median(ratios()),
            ratio_min: ratios().min_by(f64::total_cmp),
            ratio_max: ratios().max_by(f64::total_cmp),
            target,
            rounds: pairs.len(),
            discarded,
            core_share: median(pairs.iter().map(|pair| pair.core_share)),
            skipped: None,
            ..Row::skipped(subject, peer, "")
        }
    }

    fn cells(&self, with_setup: bool, with_cpus: bool) -> Vec<Cell> {
        let number = |value: Option<f64>, digits: usize| {
            value.map_or(String::from("-"), |value| format!("{value:.digits$}"))
        };
        // Four digits, because a change of one per cent must be visible.
        let digits = if self.subject.part == Part::Parent { 3 } else { 2 };
        let verdict = match (&self.skipped, self.target, self.ratio) {
            (Some(_), ..) => String::from("skipped"),
            (None, Some(target), _) if self.rounds < VERDICT_PAIRS => {
                format!("{target} ({} of {VERDICT_PAIRS})", self.rounds)
            }
            (None, Some(target), Some(ratio)) if ratio >= target => format!("{target} reached"),
            (None, Some(target), _) => format!("{target} MISSED"),
            (None, None, _) => String::from("-"),
        };
        let best = match (self.mpfwd_best_mpps, self.peer_best_mpps) {
            (Some(mpfwd), Some(peer)) => format!("{mpfwd:.1} / {peer:.1} = {:.2}", mpfwd / peer),
            _ => String::from("-"),
        };
        let spread = match (self.ratio_min, self.ratio_max) {
            (Some(min), Some(max)) => format!("{min:.digits$}..{max:.digits$}"),
            _ => String::from("-"),
        };
        let mut cells = vec![Cell::new(self.subject.forward_mode)];
        cells.extend(with_setup.then(|| Cell::new(self.subject.setup.unwrap_or("-"))));
        cells.extend([
            right(self.subject.burst.to_string()),
            Cell::new(&self.peer),
            right(number(self.mpfwd_mpps, 1)),
            right(number(self.peer_mpps, 1)),
            right(number(self.ratio, digits)),
            right(spread),
            right(best),
            Cell::new(verdict),
            right(self.rounds.to_string()),
            right(self.discarded.to_string()),
            right(
                self.core_share.map_or(String::from("-"), |share| format!("{:.0}%", share * 100.0)),
            ),
        ]);
        if with_cpus {
            let cpus = self
                .cpus
                .zip(self.round_trip_ns)
                .map(|(cpus, ns)| format!("{} ({ns:.0} ns)", cpus.word()));
            cells.push(Cell::new(cpus.unwrap_or(String::from("-"))));
        }
        cells
    }
}

fn right(text: String) -> Cell {
    Cell::new(text).set_alignment(CellAlignment::Right)
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_preset(presets::UTF8_FULL_CONDENSED)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(header);
    table
}

/// Paired comparisons. Columns for the set-up and the CPUs' distance only if a
/// row has them.
pub fn compared(rows: &[&Row]) -> Table {
    let with_setup = rows.iter().any(|row| row.subject.setup.is_some());
    let with_cpus = rows.iter().any(|row| row.cpus.is_some());
    let mut header = vec!["mode"];
    header.extend(with_setup.then_some("set-up"));
    header.extend([
        "burst",
        "peer",
        "mpfwd Mpps",
        "peer Mpps",
        "ratio",
        "min..max",
        "best of each",
        "target",
        "pairs",
        "discarded",
        "core",
    ]);
    header.extend(with_cpus.then_some("CPUs"));
    let mut table = table(&header);
    table.add_rows(rows.iter().map(|row| row.cells(with_setup, with_cpus)));
    table
}

/// Cycles per packet of each step.
pub struct StepRow {
    pub forward_mode: &'static str,
    pub burst: u16,
    pub cycles: [f64; STEPS.len()],
    pub windows: usize,
    pub discarded: usize,
}

pub fn steps(rows: &[StepRow]) -> Table {
    let mut table =
        table(&[&["mode", "burst"], &STEPS[..], &["all steps", "windows", "discarded"]].concat());
    for row in rows {
        let mut cells = vec![Cell::new(row.forward_mode), right(row.burst.to_string())];
        let all: f64 = row.cycles.iter().sum();
        cells.extend(row.cycles.iter().chain([&all]).map(|cycles| right(format!("{cycles:.2}"))));
        cells.extend([row.windows, row.discarded].map(|count| right(count.to_string())));
        table.add_row(cells);
    }
    table
}
