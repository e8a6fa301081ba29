//! `mplab simulate`: the experiments of compare in virtual time, on lcores that
//! this machine need not have.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use micropools::policy::{Argument, Mode};
use micropools::sim::{
    self, Arrival, Costs, Ideal, LCORES_MAX, Outcome, Sent, Setup, TICKS_PER_SECOND, ideal,
    ns_of_ticks, ticks_of_ns,
};

use super::args::{ModeArgs, SimulateArgs, SimulatedArgs};
use super::class::Class;
use super::comparison::{Comparison, Machine, Parameters};
use super::lcores::fitting_pools;
use super::measured::{Counts, Deepest, Measured};
use super::mode::check_distinct;
use super::profile::Profile;
use super::results::Results;
use super::sim_mode::SimMode;
use super::workload::{Backlog, Offer, Workload, seeded};
use mpfwd_common::args::Pools;
use mpfwd_common::error::{Error, Result};
use mpfwd_common::latency::{LatencyRow, histogram_ns};
use mpfwd_common::traffic::{Costs as CostDistribution, Generator, OpenLoop, Stream};
use mpfwd_common::work::Work;

/// A simulation of one mode: everything but the seed.
#[derive(Clone, Debug)]
pub(super) struct Cell {
    pub mode: SimMode,
    pub setup: Setup,
    pub traffic: Traffic,
    pub round_time: Duration,
}

/// The offered traffic, without seeds.
#[derive(Clone, Debug)]
pub(super) struct Traffic {
    pub work: Services,
    /// In terms of `--source`.
    pub source: String,
    pub backlog: Option<Backlog>,
}

/// What packets cost.
#[derive(Clone, Debug)]
pub(super) enum Services {
    /// In terms of `--work`.
    Told(String),
    Measured {
        costs: CostDistribution,
        /// A packet's class is known before it runs.
        known: bool,
    },
}

impl Services {
    /// The distribution, the seed of its draws in the round `seed`, and whether a
    /// packet's class is known before it runs.
    fn read(&self, seed: u64) -> Result<(CostDistribution, u64, bool)> {
        match self {
            Self::Told(spec) => {
                let work: Work = seeded(spec, seed)
                    .parse()
                    .map_err(|why| usage(format!("--work {spec}: {why}")))?;
                Ok((work.costs(), work.seed, work.known))
            }
            Self::Measured { costs, known } => Ok((costs.clone(), seed, *known)),
        }
    }
}

fn usage(message: impl Into<String>) -> Error {
    Error::Usage(message.into())
}

impl Cell {
    /// `pools`: the split, where the mode has one.
    ///
    /// # Errors
    /// The mode can't run on these lcores.
    pub(super) fn new(
        mode: SimMode,
        (lcores, pools): (usize, Pools),
        args: &ModeArgs,
        (steal_every, descriptors): (NonZeroU64, usize),
        profile: &Profile,
        (traffic, round_time): (Traffic, Duration),
    ) -> Result<Self> {
        let (policy, variant) = match mode {
            SimMode::Lab(lab) => (lab.mode(), lab.argument()),
            _ => (Mode::Hybrid, None),
        };
        let base = Setup::new(lcores, pools.b);
        let (_, _, known) = traffic.work.read(1)?;
        let ns = |time: Option<Duration>, default| time.map_or(default, |at| at.as_nanos() as u64);
        let setup = Setup {
            mode: policy,
            steal_every: (variant == Some(Argument::StealEvery)).then_some(steal_every),
            steal_rx: variant == Some(Argument::StealRx),
            follows_load: mode == SimMode::Auto,
            expensive_cap: args.expensive_cap,
            excess: args.excess.map_or(base.excess, Into::into),
            rescue_after_ns: ns(args.rescue_after, base.rescue_after_ns),
            stall_after_ns: ns(args.stall_after, base.stall_after_ns),
            burst: args.burst.map_or(base.burst, usize::from),
            descriptors,
            known,
            costs: profile.costs,
            topology: profile.topology,
            gaps: profile.recording(),
            end_ticks: ticks_of_ns(round_time.as_secs_f64() * 1e9),
            ..base
        };
        setup.check().map_err(|why| usage(format!("mode {}: {why}", mode.name())))?;
        if let Some(Backlog { queue, .. }) = traffic.backlog.filter(|of| of.queue >= setup.queues())
        {
            let (name, queues) = (mode.name(), setup.queues());
            return Err(usage(format!(
                "--backlog {queue}: mode {name} has {queues} receive queues"
            )));
        }
        Ok(Self { mode, setup, traffic, round_time })
    }

    /// Simulates one round. The same seed makes the same packets as mpfwd does.
    ///
    /// # Errors
    /// The traffic does not fit the queues.
    pub(super) fn run(&self, seed: u64) -> Result<Measured> {
        let queues = self.setup.queues();
        let (arrivals, about) = self.traffic.start(seed, self.setup.lcores, queues)?;
        let mut histograms = [histogram_ns(), histogram_ns()];
        let record = |sent: Sent| {
            let ns = ns_of_ticks(sent.latency_ticks()).round() as u64;
            histograms[usize::from(sent.expensive)].saturating_record(ns);
        };
        let setup = Setup { seed, ..self.setup.clone() };
        let outcome = if self.mode.is_ideal() {
            self.run_ideal(arrivals, record)
        } else {
            sim::run(&setup, arrivals, record).map_err(usage)?
        };
        let [cheap, expensive] = histograms.each_ref().map(LatencyRow::of);
        let seconds = self.round_time.as_secs_f64();
        let has_pools = self.setup.mode.facts().has_pools;
        let drops = BTreeMap::from([("simulated".to_owned(), outcome.dropped_pkts)]);
        let pools = Pools { a: self.setup.lcores - outcome.workers, b: outcome.workers };
        Ok(Measured::simulated(Counts {
            mode: self.mode.name().to_owned(),
            pools: has_pools.then(|| pools.to_string()),
            elapsed_s: seconds,
            tx_pkts: outcome.sent_pkts,
            drops,
            shed_pkts: outcome.sheds,
            latencies: [cheap, expensive],
            source: about,
            offered: (outcome.offered_pkts, outcome.missed_pkts),
            source_pkt_ns: self.setup.costs.source_pkt_ns,
            host_gap_ns: ns_of_ticks(outcome.gap_ticks) as u64,
            helps: (outcome.steals, outcome.takeovers),
            lcores: self.setup.lcores,
            deepest: Deepest {
                queue_pkts: outcome.queue_pkts_max,
                shard_pkts: outcome.shard_pkts_max,
            },
        }))
    }

    fn run_ideal(
        &self,
        mut arrivals: impl FnMut(usize) -> Option<Arrival>,
        mut record: impl FnMut(Sent),
    ) -> Outcome {
        let which = match self.mode {
            SimMode::Elastic => Ideal::Elastic { cap: self.setup.workers.max(1) },
            _ => Ideal::Central,
        };
        let (pkt_ns, burst_ns) = floor_ns(&self.setup.costs);
        let (lcores, queues) = (self.setup.lcores, self.setup.queues());
        let times = (ticks_of_ns(pkt_ns), self.setup.end_ticks);
        let mut outcome = Outcome::default();
        let mut offered = 0;
        let arrivals = |queue: usize| {
            let arrival = arrivals(queue)?;
            offered += u64::from(arrival.due_ticks < self.setup.end_ticks);
            Some(arrival)
        };
        ideal(which, (lcores, queues), times, arrivals, |sent| {
            outcome.sent_pkts += 1;
            record(Sent { sent_ticks: sent.sent_ticks + ticks_of_ns(burst_ns), ..sent });
        });
        (outcome.offered_pkts, outcome.workers) = (offered, self.setup.workers);
        outcome
    }
}

/// Own work that no lcore avoids: for each packet, and for a packet that is
/// alone in its burst.
pub(super) fn floor_ns(costs: &Costs) -> (f64, f64) {
    let pkt_ns = costs.poll_pkt_ns + costs.source_pkt_ns + costs.classify_pkt_ns;
    let burst_ns = costs.poll_burst_ns + costs.send_burst_ns + 2.0 * costs.clock_ns;
    (pkt_ns + costs.send_pkt_ns, burst_ns)
}

impl Traffic {
    /// The packets of each queue.
    ///
    /// # Errors
    /// Weights that are not of as many queues, or a load of packets that cost
    /// nothing.
    fn start(
        &self,
        seed: u64,
        lcores: usize,
        queues: usize,
    ) -> Result<(impl FnMut(usize) -> Option<Arrival>, Offer)> {
        let spec = seeded(&self.source, seed);
        let (services, cost_seed, _) = self.work.read(seed)?;
        let source: OpenLoop =
            spec.parse().map_err(|why| usage(format!("--source {spec}: {why}")))?;
        let mean_ns = services.service.mean_ns();
        let refused = |why| usage(format!("--source: {why}"));
        let pps = source.demand.pps(mean_ns, lcores).map_err(refused)?;
        let shares = source.skew.shares(queues).map_err(refused)?;
        let stream = |queue: usize, services: &CostDistribution, cost_seed: u64| {
            Generator::new(&Stream {
                arrivals: source.arrivals,
                pps: pps * shares[queue],
                flows: source.flows,
                costs: Some(services),
                seed: source.seed,
                cost_seed,
                queue,
                queues,
                ticks_per_second: TICKS_PER_SECOND,
            })
        };
        let mut generators: Vec<Generator> =
            (0..queues).map(|queue| stream(queue, &services, cost_seed)).collect();
        let mut backlog = self
            .backlog
            .map(|backlog| (backlog, stream(backlog.queue, &services, !cost_seed), Duration::ZERO));
        let arrivals = move |queue: usize| {
            let waiting = backlog.as_mut().filter(|of| of.0.queue == queue && of.2 < of.0.work);
            let generator = match waiting {
                Some((_, generator, work)) => {
                    let due = generator.draw();
                    // Packets that cost nothing have an end, too.
                    *work += Duration::from_nanos(1 + ns_of_ticks(due.cost.ticks) as u64);
                    return Some(arrival_at(0, &due));
                }
                None => &mut generators[queue],
            };
            (generator.next_ticks() < u64::MAX).then(|| {
                let due = generator.draw();
                arrival_at(due.at_ticks, &due)
            })
        };
        let load = pps * mean_ns / 1e9 / lcores as f64;
        Ok((arrivals, Offer { spec, pps, load }))
    }
}

fn arrival_at(due_ticks: u64, due: &mpfwd_common::traffic::Due) -> Arrival {
    Arrival { due_ticks, cost_ticks: due.cost.ticks, expensive: due.cost.expensive, flow: due.flow }
}

/// Simulates cells, each with seeds from 1 to `rounds`, on all CPUs. Returns
/// the rounds in the order of the cells.
///
/// # Errors
/// As [`Cell::run`].
pub(super) fn run_all(cells: &[Cell], rounds: u32) -> Result<Vec<Vec<Measured>>> {
    let rounds = rounds as usize;
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::with_capacity(cells.len() * rounds));
    let lock = || done.lock().unwrap_or_else(PoisonError::into_inner);
    std::thread::scope(|scope| {
        for _ in 0..threads.min(cells.len() * rounds) {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(cell) = cells.get(at / rounds) else { break };
                    let run = cell.run((at % rounds) as u64 + 1);
                    lock().push((at, run));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|&(at, _)| at);
    let all = done.into_iter().map(|(_, run)| run).collect::<Result<Vec<_>>>()?;
    let mut all = all.into_iter();
    Ok(cells.iter().map(|_| all.by_ref().take(rounds).collect()).collect())
}

/// # Errors
/// Bad input, or a file that can't be written.
pub(super) fn simulate(args: &SimulateArgs) -> Result<()> {
    let simulated = &args.simulated;
    check_distinct(&simulated.modes, SimMode::name)?;
    let (lcores, pools) = split(simulated)?;
    let profile = Profile::of(simulated.profile.as_deref())?;
    let profile = if args.host_gaps { profile } else { profile.without_gaps() };
    let workload = args.traffic.workload(lcores)?;
    let results = Results::new(&args.output)?;
    let traffic = Traffic {
        work: Services::Told(workload.work.clone()),
        source: workload.source.clone(),
        backlog: args.backlog,
    };
    let cell = |&mode: &SimMode| {
        Cell::new(
            mode,
            (lcores, pools),
            &simulated.mode,
            (args.steal_every, args.rxd as usize),
            &profile,
            (traffic.clone(), args.round_time),
        )
    };
    let cells = simulated.modes.iter().map(cell).collect::<Result<Vec<_>>>()?;
    let parameters = parameters(args, &workload, (lcores, pools), &profile);
    let rounds = run_all(&cells, args.rounds)?;
    let comparison = comparison(parameters, &cells, rounds);
    results.emit(&comparison)
}

/// The lcores and their split: as given, or about four to one.
///
/// # Errors
/// They contradict each other.
pub(super) fn split(args: &SimulatedArgs) -> Result<(usize, Pools)> {
    let (lcores, pools) = (args.lcores_sim, args.pools);
    if !(2..=LCORES_MAX).contains(&lcores) {
        return Err(usage(format!("--lcores-sim {lcores}: write a number from 2 to {LCORES_MAX}")));
    }
    let fit = fitting_pools(lcores);
    match pools {
        Some(pools) if pools.a.checked_add(pools.b) != Some(lcores) => {
            Err(usage(format!("--pools {pools} are not {lcores} lcores: write --pools {fit}")))
        }
        pools => Ok((lcores, pools.unwrap_or(fit))),
    }
}

fn parameters(
    args: &SimulateArgs,
    workload: &Workload,
    (lcores, pools): (usize, Pools),
    profile: &Profile,
) -> Parameters {
    Parameters::of(
        args.simulated.modes.iter().map(|mode| mode.name().to_owned()).collect(),
        workload,
        (args.rounds, args.round_time),
        Machine {
            lcores: format!("{lcores} (simulated)"),
            lcore_count: lcores,
            pools: pools.to_string(),
            memory: profile.machine.clone(),
            eal: String::new(),
            mpfwd: String::new(),
        },
    )
}

/// The rounds of each cell, as compare shows them.
pub(super) fn comparison(
    parameters: Parameters,
    cells: &[Cell],
    rounds: Vec<Vec<Measured>>,
) -> Comparison {
    let named = cells.iter().zip(rounds).flat_map(|(cell, rounds)| {
        let name = cell.mode.name().to_owned();
        (1..).zip(rounds).map(move |(round, run)| (name.clone(), round, run))
    });
    let runs: Vec<_> = named.collect();
    let mut comparison = Comparison::of(parameters, &runs, Vec::new(), false);
    if comparison.load() >= 1.0 {
        comparison.notes.push(format!(
            "load {}: the queues grow without end; latencies are of rounds of this length",
            comparison.load()
        ));
    }
    comparison
}

/// The p99 of a class over rounds, in nanoseconds: the median.
pub(super) fn p99_ns(rounds: &[Measured], class: Class) -> Option<f64> {
    let p99 = |run: &Measured| {
        let row = run.latency.as_ref()?.of(class);
        (row.pkts > 0).then_some(row.p99_ns as f64)
    };
    super::comparison::median(rounds.iter().filter_map(p99))
}
