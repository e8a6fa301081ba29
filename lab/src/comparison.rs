//! The result of a comparison, whose JSON docs/mplab.md describes: a row per
//! mode, class and round, medians over the rounds, and the data of pictures.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::class::Class;
use super::measured::Measured;
use super::workload::Workload;
use mpfwd_common::latency::Bucket;
use mpfwd_common::report::Incident;
use mpfwd_common::text::time;

/// The experiment.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Parameters {
    pub modes: Vec<String>,
    /// In EAL's notation.
    pub lcores: String,
    pub lcore_count: usize,
    pub pools: String,
    pub memory: String,
    /// mpfwd's `--work` and `--source` without the seed, which is the round's
    /// number.
    pub work: String,
    pub source: String,
    pub load: Option<f64>,
    pub cheap_ns: Option<f64>,
    pub expensive_ns: Option<f64>,
    pub p: Option<f64>,
    /// The mean number of lcores that expensive work keeps busy.
    pub expensive_load: Option<f64>,
    pub rounds: u32,
    pub round_s: f64,
    /// The arguments of EAL and of mpfwd that all rounds share.
    pub eal: String,
    pub mpfwd: String,
}

/// Parameters that depend on whether the experiment is run or simulated.
pub(super) struct Machine {
    pub lcores: String,
    pub lcore_count: usize,
    pub pools: String,
    pub memory: String,
    pub eal: String,
    pub mpfwd: String,
}

impl Parameters {
    /// `rounds`: how many per mode, and how long one is.
    pub(super) fn of(
        modes: Vec<String>,
        workload: &Workload,
        (rounds, round_time): (u32, Duration),
        machine: Machine,
    ) -> Self {
        let Machine { lcores, lcore_count, pools, memory, eal, mpfwd } = machine;
        Self {
            modes,
            lcores,
            lcore_count,
            pools,
            memory,
            work: workload.work.clone(),
            source: workload.source.clone(),
            load: workload.load,
            cheap_ns: workload.costs.map(|costs| costs.cheap_ns),
            expensive_ns: workload.costs.map(|costs| costs.expensive_ns),
            p: workload.p,
            expensive_load: workload.expensive_load,
            rounds,
            round_s: round_time.as_secs_f64(),
            eal,
            mpfwd,
        }
    }
}

/// `round` of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Round {
    Number(u32),
    Word(Median),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Median {
    Median,
}

/// One class of packets in one round, or the median of each figure over all
/// rounds. Percentiles are none without packets.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Row {
    pub mode: String,
    pub class: Class,
    pub round: Round,
    pub pkts: u64,
    pub mean_ns: Option<u64>,
    pub p50_ns: Option<u64>,
    pub p90_ns: Option<u64>,
    pub p99_ns: Option<u64>,
    pub p999_ns: Option<u64>,
    pub p9999_ns: Option<u64>,
    pub max_ns: Option<u64>,
    /// Median rows only: the least and the greatest p50 and p99 of all rounds.
    #[serde(default)]
    pub p50_min_ns: Option<u64>,
    #[serde(default)]
    pub p50_max_ns: Option<u64>,
    pub p99_min_ns: Option<u64>,
    pub p99_max_ns: Option<u64>,
    /// From here on both classes together.
    pub tx_mpps: f64,
    pub asked_mpps: f64,
    pub offered_mpps: f64,
    /// Packets that were due and not sent: no descriptor, no buffer, or
    /// dropped.
    pub lost_pkts: u64,
    pub lost_share: f64,
    pub sheds: u64,
    pub steals: u64,
    pub takeovers: u64,
    pub host_gap_ns: u64,
    pub host_gap_max_ns: u64,
    /// The source's own work per packet.
    pub source_pkt_ns: f64,
    /// Rounds in this row.
    pub rounds: usize,
}

/// A round without a result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct FailedRound {
    pub mode: String,
    pub round: u32,
    pub why: String,
}

/// The merged histograms of all rounds of a mode.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Curve {
    pub mode: String,
    pub class: Class,
    pub buckets: Vec<Bucket>,
}

/// The incidents of the last round of a mode.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct ModeIncidents {
    pub mode: String,
    pub round: u32,
    pub incidents: Vec<Incident>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Comparison {
    pub parameters: Parameters,
    pub dpdk: String,
    /// The clock of the latencies, and what they exclude.
    pub clock: String,
    pub bound: String,
    /// The share of all lcores' time that the packets' costs take at the
    /// requested rate, as mpfwd reports it.
    #[serde(default)]
    pub source_load: f64,
    /// A signal ended it before the last round.
    pub interrupted: bool,
    pub failed: Vec<FailedRound>,
    /// Warnings to read before the figures.
    pub notes: Vec<String>,
    pub rows: Vec<Row>,
    pub curves: Vec<Curve>,
    pub incidents: Vec<ModeIncidents>,
    /// The same experiment simulated, if that was asked for.
    #[serde(default)]
    pub twin: Vec<TwinRow>,
}

/// The median. Of an even number of values, the mean of the two in the middle.
pub(super) fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        count if count.is_multiple_of(2) => Some(f64::midpoint(values[middle - 1], values[middle])),
        _ => Some(values[middle]),
    }
}

impl Row {
    /// The row of one round. `None` without latencies.
    fn of(mode: &str, class: Class, round: u32, run: &Measured) -> Option<Self> {
        let (latency, source) = (run.latency.as_ref()?.of(class), run.source.as_ref()?);
        let some = |ns: u64| (latency.pkts > 0).then_some(ns);
        let lost_pkts = source.missed_pkts + source.nombuf_pkts + run.dropped_pkts();
        Some(Self {
            mode: mode.to_owned(),
            class,
            round: Round::Number(round),
            pkts: latency.pkts,
            mean_ns: some(latency.mean_ns),
            p50_ns: some(latency.p50_ns),
            p90_ns: some(latency.p90_ns),
            p99_ns: some(latency.p99_ns),
            p999_ns: some(latency.p999_ns),
            p9999_ns: some(latency.p9999_ns),
            max_ns: some(latency.max_ns),
            p50_min_ns: None,
            p50_max_ns: None,
            p99_min_ns: None,
            p99_max_ns: None,
            tx_mpps: if run.elapsed_s > 0.0 {
                run.tx_pkts as f64 / run.elapsed_s / 1e6
            } else {
                0.0
            },
            asked_mpps: source.asked_mpps,
            offered_mpps: source.offered_mpps,
            lost_pkts,
            lost_share: lost_pkts as f64 / source.offered_pkts.max(1) as f64,
            sheds: run.shed_pkts,
            steals: run.steals(),
            takeovers: run.takeovers(),
            host_gap_ns: run.host_gaps.gap_ns,
            host_gap_max_ns: run.host_gaps.gap_max_ns,
            source_pkt_ns: source.pkt_ns,
            rounds: 1,
        })
    }

    /// The medians of rows of one mode and class.
    fn median(rows: &[&Self]) -> Option<Self> {
        let first = rows.first()?;
        let figure =
            |pick: fn(&Self) -> f64| median(rows.iter().map(|row| pick(row))).unwrap_or(0.0);
        let count = |pick: fn(&Self) -> u64| {
            median(rows.iter().map(|row| pick(row) as f64)).unwrap_or(0.0).round() as u64
        };
        let time = |pick: fn(&Self) -> Option<u64>| {
            median(rows.iter().filter_map(|row| pick(row)).map(|ns| ns as f64))
                .map(|ns| ns.round() as u64)
        };
        let [p50s, p99s] = [|row: &Self| row.p50_ns, |row: &Self| row.p99_ns]
            .map(|pick| move || rows.iter().filter_map(move |row| pick(row)));
        Some(Self {
            mode: first.mode.clone(),
            class: first.class,
            round: Round::Word(Median::Median),
            pkts: count(|row| row.pkts),
            mean_ns: time(|row| row.mean_ns),
            p50_ns: time(|row| row.p50_ns),
            p90_ns: time(|row| row.p90_ns),
            p99_ns: time(|row| row.p99_ns),
            p999_ns: time(|row| row.p999_ns),
            p9999_ns: time(|row| row.p9999_ns),
            max_ns: time(|row| row.max_ns),
            p50_min_ns: p50s().min(),
            p50_max_ns: p50s().max(),
            p99_min_ns: p99s().min(),
            p99_max_ns: p99s().max(),
            tx_mpps: figure(|row| row.tx_mpps),
            asked_mpps: figure(|row| row.asked_mpps),
            offered_mpps: figure(|row| row.offered_mpps),
            lost_pkts: count(|row| row.lost_pkts),
            lost_share: figure(|row| row.lost_share),
            sheds: count(|row| row.sheds),
            steals: count(|row| row.steals),
            takeovers: count(|row| row.takeovers),
            host_gap_ns: count(|row| row.host_gap_ns),
            host_gap_max_ns: count(|row| row.host_gap_max_ns),
            source_pkt_ns: figure(|row| row.source_pkt_ns),
            rounds: rows.len(),
        })
    }

    pub(super) fn is_median(&self) -> bool {
        self.round == Round::Word(Median::Median)
    }
}

/// Warn from this shortfall of the offered rate on, beyond what chance
/// explains.
const SHORT_SHARE: f64 = 0.02;
/// Warn from this ratio of the source's work to a cheap packet's cost on.
const SOURCE_SHARE: f64 = 0.2;
/// Warn from this share of host gaps in the lcores' time on.
const GAP_SHARE: f64 = 0.03;
/// Warn from this share of lost packets on.
const LOST_SHARE: f64 = 1e-4;

impl Comparison {
    /// `runs`: mode, round and report, in the order of measurement.
    pub(super) fn of(
        parameters: Parameters,
        runs: &[(String, u32, Measured)],
        failed: Vec<FailedRound>,
        interrupted: bool,
    ) -> Self {
        let latency = runs.iter().find_map(|(_, _, run)| run.latency.as_ref());
        let mut comparison = Self {
            dpdk: runs.first().map_or(String::new(), |(_, _, run)| run.dpdk.clone()),
            clock: latency.map_or(String::new(), |latency| latency.clock.clone()),
            bound: latency.map_or(String::new(), |latency| latency.bound.clone()),
            source_load: runs
                .iter()
                .find_map(|(_, _, run)| run.source.as_ref())
                .map_or(0.0, |source| source.load),
            interrupted,
            failed,
            notes: Vec::new(),
            rows: Vec::new(),
            curves: Vec::new(),
            incidents: Vec::new(),
            twin: Vec::new(),
            parameters,
        };
        for mode in comparison.parameters.modes.clone() {
            let own: Vec<(u32, &Measured)> =
                runs.iter().filter(|run| run.0 == mode).map(|run| (run.1, &run.2)).collect();
            for class in Class::ALL {
                let rows: Vec<Row> = own
                    .iter()
                    .filter_map(|(round, run)| Row::of(&mode, class, *round, run))
                    .collect();
                let median = Row::median(&rows.iter().collect::<Vec<_>>());
                comparison.rows.extend(rows.into_iter().chain(median));
                let buckets = merged(
                    own.iter()
                        .filter_map(|(_, run)| run.latency.as_ref())
                        .map(|latency| latency.of(class).buckets.as_slice()),
                );
                if !buckets.is_empty() {
                    comparison.curves.push(Curve { mode: mode.clone(), class, buckets });
                }
            }
            if let Some((round, run)) = own.last().filter(|(_, run)| !run.incidents.is_empty()) {
                comparison.incidents.push(ModeIncidents {
                    mode: mode.clone(),
                    round: *round,
                    incidents: run.incidents.clone(),
                });
            }
        }
        comparison.notes = comparison.notes();
        let off = |(mode, round, run): &(String, u32, Measured)| {
            let why = run.latency.as_ref()?.off.as_ref()?;
            Some(format!("{mode}, round {round}: latency is incomplete: {why}"))
        };
        comparison.notes.extend(runs.iter().filter_map(off));
        comparison
    }

    /// The median rows of a class, in the order of the modes.
    pub(super) fn medians(&self, class: Class) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(move |row| row.class == class && row.is_median())
    }

    /// The share of all lcores' time that the packets' costs take: as
    /// requested, or computed from the requested rate.
    pub(super) fn load(&self) -> f64 {
        self.parameters.load.unwrap_or(self.source_load)
    }

    /// Host gaps by mode as a share of the lcores' time, and the longest gap of
    /// any round.
    pub(super) fn host_gaps(&self) -> String {
        let lcores_ns = self.parameters.lcore_count as f64 * self.parameters.round_s * 1e9;
        let shares = self
            .medians(Class::Cheap)
            .map(|row| format!("{} {:.2} %", row.mode, row.host_gap_ns as f64 / lcores_ns * 100.0));
        let longest = self.rows.iter().map(|row| row.host_gap_max_ns).max().unwrap_or(0);
        format!(
            "host gaps, share of lcore time (medians): {}; longest {}",
            shares.collect::<Vec<_>>().join(", "),
            time(longest)
        )
    }

    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.interrupted {
            notes.push("interrupted: the current round and those after it are missing".to_owned());
        }
        for mode in &self.parameters.modes {
            let failed: Vec<&FailedRound> =
                self.failed.iter().filter(|failed| failed.mode == *mode).collect();
            if let Some(last) = failed.last() {
                notes.push(format!(
                    "{mode}: {} of {} rounds failed, last round {}: {}",
                    failed.len(),
                    self.parameters.rounds,
                    last.round,
                    last.why
                ));
            }
        }
        for row in self.medians(Class::Cheap) {
            let asked_pkts = row.asked_mpps * 1e6 * self.parameters.round_s;
            // Four standard deviations of a Poisson count.
            let chance = 4.0 / asked_pkts.max(1.0).sqrt();
            if row.offered_mpps < row.asked_mpps * (1.0 - SHORT_SHARE - chance) {
                notes.push(format!(
                    "{}: offered {:.3} of {:.3} Mpps: the machine could not make more, delays are its own",
                    row.mode, row.offered_mpps, row.asked_mpps
                ));
            }
        }
        let lcores_ns = self.parameters.lcore_count as f64 * self.parameters.round_s * 1e9;
        let shares =
            self.medians(Class::Cheap).map(|row| (&row.mode, row.host_gap_ns as f64 / lcores_ns));
        let shares: Vec<String> = shares
            .filter(|(_, share)| *share >= GAP_SHARE)
            .map(|(mode, share)| format!("{mode} {:.0} %", share * 100.0))
            .collect();
        if !shares.is_empty() {
            let shares = shares.join(", ");
            notes.push(format!("host gaps are large, tails may be the host's: {shares}"));
        }
        let source_ns = median(self.medians(Class::Cheap).map(|row| row.source_pkt_ns));
        if let (Some(source_ns), Some(cheap_ns)) = (source_ns, self.parameters.cheap_ns)
            && source_ns >= SOURCE_SHARE * cheap_ns
        {
            notes.push(format!(
                "the source takes {source_ns:.0} ns per packet, a cheap packet {cheap_ns:.0} ns: \
                 polling lcores are loaded beyond --load; raise --cheap"
            ));
        }
        let lost = self.medians(Class::Cheap).filter(|row| row.lost_share >= LOST_SHARE);
        let lost: Vec<String> =
            lost.map(|row| format!("{} {:.2} %", row.mode, row.lost_share * 100.0)).collect();
        if !lost.is_empty() {
            let lost = lost.join(", ");
            notes.push(format!("packets were lost, percentiles exclude them: {lost}"));
        }
        notes
    }
}

/// Merges histograms.
pub(super) fn merged<'b>(histograms: impl IntoIterator<Item = &'b [Bucket]>) -> Vec<Bucket> {
    let mut all: BTreeMap<u64, u64> = BTreeMap::new();
    for &(value_ns, count) in histograms.into_iter().flatten() {
        *all.entry(value_ns).or_default() += count;
    }
    all.into_iter().collect()
}

/// A mode and class, measured and simulated: medians over the rounds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct TwinRow {
    pub mode: String,
    pub class: Class,
    pub measured_p50_ns: u64,
    pub simulated_p50_ns: u64,
    pub measured_p99_ns: u64,
    pub simulated_p99_ns: u64,
}

#[cfg(test)]
pub(super) mod tests;
