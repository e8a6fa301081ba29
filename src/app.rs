//! The whole of a run: read, plan, set up, launch, drain, tear down, report.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::sched::CpuSet;

use crate::cli::{Cli, ForwardMode, Mode, Timestamps};
use crate::config::{self, Plan};
use crate::control::{self, Control, IncidentReader, Signals};
use crate::datapath::{LcoreLoop, Queues, RunState, Settings, Shared, TAKE_BUDGET_NS};
use crate::dpdk::clock::{TscRate, tsc};
use crate::dpdk::{self, Eal, Mempool, Port, PortConfig, RingConsumer, RingProducer, RxQueue, StampField, TxQueue};
use crate::engine::{Engine, Io, Mac, MacSwap, Marking, Peers, Spin, SpinTicks};
use crate::error::{Error, Result};
use crate::policy::{Hybrid, Policy, Pools, Rtc, ShedRandom, Steal, StealEvery};
use crate::stats::{Incidents, LcoreStats, Report};

mod outcome;
mod printed;

use outcome::Ended;

/// Runs the program with the whole command line, its name first.
///
/// # Errors
/// Whatever keeps packets from flowing, a report that can't be written, or a broken conservation check.
pub fn main(args: &[String]) -> Result<()> {
    let (eal_args, own_args) = split(args)?;
    let Some(cli) = Cli::read(own_args)? else { return Ok(()) };
    config::check_alone(&cli)?;
    if let Some(path) = &cli.report {
        outcome::check_writable(path)?;
    }
    let host = Host::before_eal()?;
    let eal = Eal::start(eal_args)?;
    let report = run(&eal, &cli, &host)?;
    drop(eal);
    control::say(&report);
    if let Some(path) = &cli.report {
        outcome::write_json(path, &report)?;
    }
    if report.conserved { Ok(()) } else { Err(Error::Conservation) }
}

/// What a run needs of the process around it.
pub struct Host {
    signals: Signals,
    /// The CPUs that the process may use.
    cpus: CpuSet,
}

impl Host {
    /// Catches signals, and notes which CPUs there are before EAL pins the calling thread.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn before_eal() -> Result<Self> {
        Ok(Self { signals: Signals::catch()?, cpus: control::allowed_cpus()? })
    }
}

/// One run on the ports that EAL has now: plans, sets up, forwards until the end, tears down. Must be called by the main lcore.
///
/// # Errors
/// When the arguments don't fit the lcores and ports, or something does not start; all is closed again.
pub fn run(eal: &Eal, cli: &Cli, host: &Host) -> Result<Report> {
    let lcores = eal.lcores();
    let plan = config::plan(cli, &lcores, &dpdk::find_ports(eal)?)?;
    forward(eal, cli, plan, &host.signals, control::spare_cpus(&lcores, &host.cpus))
}

/// What is before `--` is EAL's, what is behind it is ours. Without `--` a request for help is ours, and our own arguments have lost
/// their way.
fn split(args: &[String]) -> Result<(&[String], &[String])> {
    let is_help = |arg: &String| ["-h", "--help", "-V", "--version"].contains(&arg.as_str());
    match args.iter().position(|arg| arg == "--") {
        Some(at) => Ok((&args[..at], &args[at + 1..])),
        None if args[1..].iter().any(is_help) => Ok((&args[..1], &args[1..])),
        None => match args[1..].iter().find(|arg| Cli::knows(arg)) {
            Some(arg) => Err(Error::Usage(format!("{arg} is mpfwd's, not EAL's: write -- before it"))),
            None => Ok((args, &[])),
        },
    }
}

/// Everything that is set up and has to be torn down again.
struct Setup {
    pool: Mempool,
    ports: Vec<Port>,
    rxqs: Vec<RxQueue>,
    /// By lcore, by port.
    txqs: Vec<Vec<TxQueue>>,
    /// By lcore: where it sheds to.
    producers: Vec<Option<RingProducer>>,
    /// By lcore: where it takes from.
    consumers: Vec<Vec<RingConsumer>>,
    stamp: StampField,
}

fn forward(eal: &Eal, cli: &Cli, mut plan: Plan, signals: &Signals, cpus: CpuSet) -> Result<Report> {
    let setup = set_up(eal, cli, &mut plan)?;
    printed::map(&plan, cli, &setup.ports);
    let stats: Vec<LcoreStats> = plan.lcores.iter().map(|lcore| LcoreStats::new(&lcore.rx, &lcore.tx_queue)).collect();
    let Setup { pool, ports, rxqs, txqs, producers, consumers, stamp } = setup;
    let up = |id: usize| ports.iter().find(|port| usize::from(port.id()) == id).is_none_or(Port::link_is_up);
    let links = std::array::from_fn(|id| AtomicBool::new(up(id)));
    let pollers = plan.lcores.iter().filter(|lcore| lcore.pool == crate::policy::Pool::A).count();
    let run = RunState::new(pollers, cli.packets);
    let rate = eal.tsc_rate();
    let incidents = Incidents::new(plan.lcores.len());
    let lcore_ids = plan.lcores.iter().map(|lcore| lcore.lcore.id).collect();
    let reader = IncidentReader { incidents: &incidents, lcore_ids, rate, run_start_ticks: tsc() };
    let launch = Launch {
        eal,
        cli,
        plan: &plan,
        rate,
        settings: Settings {
            burst: usize::from(cli.burst),
            on_full: cli.on_full,
            idle: cli.idle,
            stamping: cli.timestamps == Timestamps::Software,
            stamp,
            take_budget_ticks: rate.ticks(TAKE_BUDGET_NS),
        },
        shared: Shared { run: &run, links: &links, incidents: &incidents },
        stats: &stats,
    };
    let queues = assign(&plan, &rxqs, txqs, producers, consumers)?;
    let ended = AtomicBool::new(false);
    let (duration, stats_period) = (cli.duration, cli.stats_period);
    let control = Control {
        run: &run,
        signals,
        ports: &ports,
        links: &links,
        stats: &stats,
        incidents: &reader,
        cpus,
        duration,
        stats_period,
        ended: &ended,
    };
    let elapsed = std::thread::scope(|scope| -> Result<Duration> {
        let watcher = scope.spawn(|| control.watch());
        let outcome = launch.by_engine(queues);
        run.drain();
        ended.store(true, Ordering::Release);
        watcher.thread().unpark();
        let elapsed = watcher.join().map_err(|_| Error::Setup("the control thread failed".into()));
        outcome.and(elapsed)
    })?;
    let devices = ports.iter().map(Port::stats).collect::<Vec<_>>();
    drop((rxqs, ports));
    let ended = Ended { stats: &stats, devices: &devices, incidents: reader.read(), elapsed, rate, pool: &pool };
    Ok(outcome::report(cli, &plan, ended))
}

fn set_up(eal: &Eal, cli: &Cli, plan: &mut Plan) -> Result<Setup> {
    let stamp = StampField::register()?;
    let pool = Mempool::create(eal, "mpfwd_mbufs", plan.mbufs, plan.mbuf_cache, plan.mbuf_room)?;
    let (mut ports, mut rxqs) = (Vec::new(), Vec::new());
    let mut txqs: Vec<Vec<TxQueue>> = plan.lcores.iter().map(|_| Vec::new()).collect();
    for (at, port) in plan.ports.iter().enumerate() {
        let config = PortConfig {
            rxq: port.rxq,
            txq_users: port.txq_users.clone(),
            rxd: cli.rxd,
            txd: cli.txd,
            max_pkt_len: cli.max_pkt_len,
            scatter: plan.scatter,
            promiscuous: cli.promiscuous,
        };
        let (started, rx, mut handles) = Port::start(eal, &port.info, &config, &pool, &mut plan.warnings)?;
        ports.push(started);
        rxqs.extend(rx);
        for (lcore, own) in plan.lcores.iter().zip(&mut txqs) {
            let queue = usize::from(lcore.tx_queue[at].1);
            own.extend(handles[queue].pop());
        }
    }
    let mut producers: Vec<Option<RingProducer>> = plan.lcores.iter().map(|_| None).collect();
    let mut consumers: Vec<Vec<RingConsumer>> = plan.lcores.iter().map(|_| Vec::new()).collect();
    for shard in 0..plan.shards {
        let shedders: Vec<usize> = (0..plan.lcores.len()).filter(|&at| plan.lcores[at].shard == Some(shard)).collect();
        let takers: Vec<usize> = (0..plan.lcores.len()).filter(|&at| plan.lcores[at].takes).collect();
        let (puts, takes) = dpdk::ring(eal, &format!("mpfwd_shard{shard}"), cli.ring_size, shedders.len(), takers.len())?;
        shedders.into_iter().zip(puts).for_each(|(at, put)| producers[at] = Some(put));
        takers.into_iter().zip(takes).for_each(|(at, take)| consumers[at].push(take));
    }
    Ok(Setup { pool, ports, rxqs, txqs, producers, consumers, stamp })
}

/// Gives each lcore its queues.
fn assign<'q>(
    plan: &Plan,
    rxqs: &'q [RxQueue],
    txqs: Vec<Vec<TxQueue>>,
    producers: Vec<Option<RingProducer>>,
    consumers: Vec<Vec<RingConsumer>>,
) -> Result<Vec<Queues<'q>>> {
    let lease = |&(port, queue): &(u16, u16)| {
        let rxq = rxqs.iter().find(|rxq| (rxq.port(), rxq.queue()) == (port, queue));
        rxq.and_then(RxQueue::try_lease).ok_or_else(|| Error::Setup(format!("port {port}'s queue {queue} has a poller already")))
    };
    let rest = txqs.into_iter().zip(producers).zip(consumers);
    plan.lcores
        .iter()
        .zip(rest)
        .map(|(lcore, ((tx, shard), shards))| {
            let rx = lcore.rx.iter().map(lease).collect::<Result<Vec<_>>>()?;
            Ok(Queues { rx, tx, shard, shards })
        })
        .collect()
}

/// Turns what was chosen at run time into one loop compiled for it: engine, then work, then mode, then metering.
struct Launch<'a> {
    eal: &'a Eal,
    cli: &'a Cli,
    plan: &'a Plan,
    rate: TscRate,
    settings: Settings,
    shared: Shared<'a>,
    stats: &'a [LcoreStats],
}

impl<'a> Launch<'a> {
    fn by_engine(&self, queues: Vec<Queues<'a>>) -> Result<()> {
        let peers = self.peers();
        match self.cli.forward_mode {
            ForwardMode::Io => self.by_work(queues, Io::new(peers)),
            ForwardMode::Mac => self.by_work(queues, Mac::new(peers)),
            ForwardMode::MacSwap => self.by_work(queues, MacSwap::new(peers)),
        }
    }

    fn by_work<E: Engine + Clone>(&self, queues: Vec<Queues<'a>>, engine: E) -> Result<()> {
        let Some(work) = self.cli.work else { return self.by_mode(queues, |_| engine.clone()) };
        let ticks = |time: Duration| self.rate.ticks(time.as_nanos() as u64);
        let spin = SpinTicks { cheap: ticks(work.cheap), expensive: ticks(work.expensive) };
        let by_sequence = self.plan.ports.iter().filter(|port| config::marks_by_sequence(work.mark, &port.info));
        let by_sequence = by_sequence.fold(0, |ports, port| ports | 1u64 << (port.info.id % 64));
        let marking = |lcore: u64| Marking::new(work.p, work.seed.wrapping_add(lcore), by_sequence);
        self.by_mode(queues, |lcore| Spin::new(engine.clone(), spin, marking(lcore)))
    }

    fn by_mode<E: Engine>(&self, queues: Vec<Queues<'a>>, engine: impl Fn(u64) -> E) -> Result<()> {
        let scheduling = self.plan.scheduling;
        let rescue_after_ticks = self.rate.ticks(scheduling.rescue_after.as_nanos() as u64);
        match (scheduling.mode, scheduling.steal_every) {
            (Mode::Rtc, _) => self.by_meter(queues, engine, |_| Rtc),
            (Mode::Steal, None) => self.by_meter(queues, engine, Steal::new),
            (Mode::Steal, Some(every)) => self.by_meter(queues, engine, |lcore| StealEvery::new(lcore, every)),
            (Mode::ShedRandom, _) => self.by_meter(queues, engine, ShedRandom::new),
            (Mode::Pools, _) => self.by_meter(queues, engine, |_| Pools),
            (Mode::Hybrid, _) => self.by_meter(queues, engine, |lcore| Hybrid::new(lcore, rescue_after_ticks)),
        }
    }

    fn by_meter<E: Engine, P: Policy>(&self, queues: Vec<Queues<'a>>, engine: impl Fn(u64) -> E, policy: impl Fn(u64) -> P) -> Result<()> {
        match self.cli.record_core_cycles {
            false => self.run::<E, P, false>(queues, engine, policy),
            true => self.run::<E, P, true>(queues, engine, policy),
        }
    }

    fn run<E: Engine, P: Policy, const METER: bool>(
        &self,
        queues: Vec<Queues<'a>>,
        engine: impl Fn(u64) -> E,
        policy: impl Fn(u64) -> P,
    ) -> Result<()> {
        let mut jobs: Vec<(dpdk::Lcore, Box<dyn FnOnce() + Send + '_>)> = Vec::new();
        for (at, (queues, lcore)) in queues.into_iter().zip(&self.plan.lcores).enumerate() {
            let (engine, policy) = (engine(u64::from(lcore.lcore.id)), policy(u64::from(lcore.lcore.id)));
            let (pool, settings, shared, stats) = (lcore.pool, self.settings, self.shared, &self.stats[at]);
            // Made on the lcore itself, so that its memory is near that lcore.
            let job = move || LcoreLoop::<E, P, METER>::new(pool, engine, policy, settings, shared, queues, stats).run();
            jobs.push((lcore.lcore, Box::new(job)));
        }
        self.eal.run(jobs)
    }

    fn peers(&self) -> Peers {
        let mut peers = Peers::new();
        for port in &self.plan.ports {
            if let Some(out) = self.plan.ports.iter().find(|other| other.info.id == port.out) {
                peers.join(port.info.id, out.info.id, out.peer, out.info.mac.into_array());
            }
        }
        peers
    }
}
