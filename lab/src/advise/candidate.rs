//! Modes and splits, simulated on what a run has shown.

use std::num::NonZeroU64;
use std::time::Duration;

use micropools::policy::Mode;

use super::arrivals::{Process, shares};
use super::evidence::Evidence;
use super::rules::{Load, broken};
use crate::args::ModeArgs;
use crate::class::Class;
use crate::lcores::fitting_pools;
use crate::measured::{Deepest, Measured};
use crate::mode::LabMode;
use crate::profile::Profile;
use crate::sim_mode::SimMode;
use crate::simulate::{Cell, Services, Traffic, floor_ns, run_all};
use clap::ValueEnum;
use mpfwd_common::args::Pools;
use mpfwd_common::error::Result;
use mpfwd_common::latency::{LatencyRow, of_buckets};

/// So many packets of a simulation should be expensive; it has up to
/// `LONGER_MAX` times as many packets for that.
const EXPENSIVE_PKTS: f64 = 300.0;
const LONGER_MAX: f64 = 4.0;

/// Seeds of each candidate.
const ROUNDS: u32 = 2;

/// mpfwd's default of `--steal-every` in experiments.
const STEAL_EVERY: u64 = 61;

/// A virtual queue holds so many packets; NICs' drivers have at most about as
/// many.
const DESCRIPTORS: usize = 32_768;

/// Splits of a mode with pools beyond the least pool B that are tried.
const SPLITS: usize = 4;

/// A way to run mpfwd.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Candidate {
    pub mode: SimMode,
    pub lcores: usize,
    pub pools: Pools,
    /// Lcores in expensive work at a time, where the mode limits them.
    pub cap: usize,
}

impl Candidate {
    /// Whether the mode has pools of fixed sizes.
    pub(super) fn has_pools(&self) -> bool {
        matches!(self.mode, SimMode::Lab(lab) if lab.has_pools())
    }

    pub(super) fn has_cap(&self) -> bool {
        matches!(self.mode, SimMode::Lab(lab) if lab.mode() == Mode::Hybrid)
    }

    pub(super) fn name(&self) -> String {
        let mode = self.mode.name();
        match (self.has_pools(), self.has_cap() && self.cap != self.pools.b) {
            (true, true) => format!("{mode} {}, cap {}", self.pools, self.cap),
            (true, false) => format!("{mode} {}", self.pools),
            _ => mode.to_owned(),
        }
    }

    /// mpfwd's arguments.
    pub(super) fn args(&self) -> String {
        let steal_every = NonZeroU64::new(STEAL_EVERY).expect("it is not zero");
        let SimMode::Lab(lab) = self.mode else { return "--mode hybrid --pools auto".into() };
        let mut args = lab.args(self.pools, steal_every).join(" ");
        if self.has_cap() && self.cap != self.pools.b {
            args += &format!(" --expensive-cap {}", self.cap);
        }
        args
    }

    pub(super) fn is_broken(&self, load: Load, q: f64) -> Option<String> {
        broken(self.mode, (self.pools, self.cap), load, q)
    }
}

/// All candidates on so many lcores, the simpler ones first.
pub(super) fn candidates(load: Load) -> Vec<Candidate> {
    let n = load.lcores;
    let of = |mode, b: usize, cap| Candidate { mode, lcores: n, pools: Pools { a: n - b, b }, cap };
    let mut all = Vec::new();
    for &lab in LabMode::value_variants() {
        let mode = SimMode::Lab(lab);
        if !lab.has_pools() {
            all.push(Candidate { mode, lcores: n, pools: fitting_pools(n), cap: n });
            continue;
        }
        let least = (load.expensive as usize + 1).min(n.saturating_sub(1));
        let mut workers: Vec<usize> = (least..n).take(SPLITS).collect();
        workers.extend([fitting_pools(n).b, 2 * least].into_iter().filter(|&b| b < n));
        workers.sort_unstable();
        workers.dedup();
        for b in workers {
            all.push(of(mode, b, b));
            if lab.mode() == Mode::Hybrid && b + 1 < n {
                all.push(of(mode, b, b + 1));
            }
        }
    }
    if n > 1 {
        all.push(of(SimMode::Auto, n / 2, n));
    }
    all
}

/// The part of a report that is simulated.
pub(super) struct Twin<'a> {
    pub evidence: &'a Evidence,
    pub process: Process,
    pub profile: Profile,
    /// The least number of packets of a simulation.
    packets: f64,
}

impl<'a> Twin<'a> {
    /// A virtual source's work counts where the run had one.
    pub(super) fn new(evidence: &'a Evidence, profile: Profile, packets: u32) -> Self {
        let mut profile = profile.without_gaps();
        profile.costs.source_pkt_ns = evidence.source_pkt_ns;
        Self { evidence, process: Process::of(evidence), profile, packets: packets.into() }
    }

    /// The Erlangs of the run's rate on so many lcores, the least of the lcores'
    /// own work included.
    pub(super) fn load(&self, lcores: usize) -> Load {
        let Evidence { pps, p, classes: [cheap, expensive], .. } = self.evidence;
        let (own_ns, _) = floor_ns(&self.profile.costs);
        Load {
            lcores,
            cheap: pps * (1.0 - p) * (cheap.mean_ns + own_ns) / 1e9,
            expensive: pps * p * (expensive.mean_ns + own_ns) / 1e9,
        }
    }

    /// A simulation at that rate.
    ///
    /// # Errors
    /// The candidate can't run.
    fn cell(&self, candidate: &Candidate, pps: f64) -> Result<Cell> {
        let Evidence { p, burst, flows, shares: measured, .. } = self.evidence;
        let least = self.packets;
        let wanted = (EXPENSIVE_PKTS / p.max(1e-12)).clamp(least, LONGER_MAX * least);
        let seconds = (wanted / pps).clamp(0.001, 60.0);
        let work = Services::Measured { costs: self.evidence.costs(), known: self.evidence.known };
        let traffic = Traffic { work, source: String::new(), backlog: None };
        let args = ModeArgs {
            expensive_cap: candidate.has_cap().then_some(candidate.cap),
            burst: u16::try_from(*burst).ok(),
            ..ModeArgs::default()
        };
        let mut cell = Cell::new(
            candidate.mode,
            (candidate.lcores, candidate.pools),
            &args,
            (NonZeroU64::new(STEAL_EVERY).expect("it is not zero"), DESCRIPTORS),
            &self.profile,
            (traffic, Duration::from_secs_f64(seconds)),
        )?;
        let shares = shares(measured, cell.setup.queues());
        let skew = shares.iter().map(|share| format!("{share:.5}")).collect::<Vec<_>>().join(":");
        let skew = if shares.len() > 1 { skew } else { "0".into() };
        let process = self.process;
        cell.traffic.source = format!("open-loop:rate={pps},{process},skew={skew},flows={flows}");
        Ok(cell)
    }

    /// Simulates the candidates at each of the factors of a rate. Returns the
    /// outcomes by candidate and factor.
    ///
    /// # Errors
    /// A candidate can't run.
    pub(super) fn simulate(
        &self,
        candidates: &[Candidate],
        pps: f64,
        factors: &[f64],
    ) -> Result<Vec<Vec<Predicted>>> {
        let pairs = candidates.iter().flat_map(|of| factors.iter().map(move |factor| (of, factor)));
        let cells = pairs
            .map(|(candidate, factor)| self.cell(candidate, pps * factor))
            .collect::<Result<Vec<_>>>()?;
        let rounds = run_all(&cells, ROUNDS)?;
        let predicted: Vec<Predicted> = rounds.iter().map(|rounds| Predicted::of(rounds)).collect();
        Ok(predicted.chunks(factors.len()).map(<[_]>::to_vec).collect())
    }
}

/// The outcome of a candidate at a rate.
#[derive(Clone, Debug)]
pub(super) struct Predicted {
    /// Cheap and expensive.
    pub latency: [LatencyRow; 2],
    pub lost_share: f64,
    pub deepest: Deepest,
}

impl Predicted {
    fn of(rounds: &[Measured]) -> Self {
        let latency = Class::ALL.map(|class| {
            let rows = rounds.iter().filter_map(|run| Some(run.latency.as_ref()?.of(class)));
            LatencyRow::of(&of_buckets(rows.flat_map(|row| &row.buckets)))
        });
        let sources = || rounds.iter().filter_map(|run| Some((run, run.source.as_ref()?)));
        let lost: u64 =
            sources().map(|(run, source)| source.missed_pkts + run.dropped_pkts()).sum();
        let offered: u64 = sources().map(|(_, source)| source.offered_pkts).sum();
        let deepest = |of: fn(&Deepest) -> usize| {
            rounds.iter().map(|run| of(&run.deepest)).max().unwrap_or(0)
        };
        Self {
            latency,
            lost_share: lost as f64 / offered.max(1) as f64,
            deepest: Deepest {
                queue_pkts: deepest(|of| of.queue_pkts),
                shard_pkts: deepest(|of| of.shard_pkts),
            },
        }
    }
}
