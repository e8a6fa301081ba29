//! The whole of a run: read, plan, set up, launch, drain, tear down, report.

use std::ffi::OsString;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::sched::CpuSet;

use crate::cli::{Cli, Idle, KeepOrder, Timestamps, in_utf8};
use crate::config::{self, LcorePlan, Plan, Stamping};
use crate::control::{self, Control, FollowedClocks, Hangups, IncidentReader, Signals};
use crate::datapath::{
    ADOPT_EVERY_NS, Board, PacketQueue, PacketStealer, Queues, RunState, Settings, Shared,
    TAKE_BUDGET_NS,
};
use crate::dpdk::clock::{RateMeter, tsc};
use crate::dpdk::{
    self, BurstSize, Eal, EmulatedStamps, Mempool, Port, PortConfig, Reuse, RingConsumer,
    RingProducer, RxQueue, RxStampField, StampField, TicketField, TxQueue,
};
use crate::engine::{Engine, EngineSetup, Flows};
use crate::order::Order;
use crate::policy::{Permits, Pool};
use crate::shed::Picker;
use crate::stats::{GAP_NS_MIN, Incidents, LcoreStats, Reloads, Report, unseen_text};
use mpfwd_common::error::{Error, Result};
use mpfwd_common::output;

mod engines;
mod launch;
mod outcome;
mod printed;
mod reread;
mod source;
mod stamping;

use engines::{BuiltIn, EngineReports, Engines, Own};
use launch::Launch;
use outcome::Ended;
use source::Sources;

/// Runs the program with the whole command line, its name first:
/// `std::env::args_os()`.
///
/// # Errors
/// Whatever keeps packets from flowing, a report that can't be written, or a
/// broken conservation check.
pub fn main(args: impl IntoIterator<Item = OsString>) -> Result<()> {
    start(args, BuiltIn::new)
}

/// As `main`, with engines of the caller's instead of `--forward-mode`'s:
/// `engine` makes one for each lcore. Everything else is as the command line
/// says, the mode too.
///
/// # Errors
/// As `main`.
pub fn main_with<E: Engine>(
    args: impl IntoIterator<Item = OsString>,
    engine: impl Fn(&EngineSetup<'_>) -> E,
) -> Result<()> {
    start(args, |_| Ok(Own(engine)))
}

fn start<W: Engines>(
    args: impl IntoIterator<Item = OsString>,
    engines: impl FnOnce(&Cli) -> Result<W>,
) -> Result<()> {
    let args = in_utf8(args)?;
    let (eal_args, own_args) = split(&args)?;
    let Some(cli) = Cli::read(own_args)? else { return Ok(()) };
    config::check_alone(&cli)?;
    if cli.check_args {
        return Ok(());
    }
    outcome::check_files(&cli)?;
    let mut engines = engines(&cli)?;
    let host = Host::before_eal()?;
    let eal = Eal::start(eal_args)?;
    let report = run_with(&eal, &cli, &host, &mut engines, &stamping::replaying(eal_args))?;
    drop(eal);
    output::say(&report);
    outcome::write_files(&cli, &report)?;
    if report.conserved { Ok(()) } else { Err(Error::Conservation) }
}

/// What a run needs of the process around it.
pub struct Host {
    signals: Signals,
    /// The CPUs that the process may use.
    cpus: CpuSet,
}

impl Host {
    /// Catches signals, and notes which CPUs there are before EAL pins the
    /// calling thread.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn before_eal() -> Result<Self> {
        Ok(Self { signals: Signals::catch()?, cpus: control::allowed_cpus()? })
    }
}

/// One run on the ports that EAL has now: plans, sets up, forwards until the
/// end, tears down. Must be called by the main lcore.
///
/// # Errors
/// When the arguments don't fit the lcores and ports, or something does not
/// start; all is closed again.
pub fn run(eal: &Eal, cli: &Cli, host: &Host) -> Result<Report> {
    run_with(eal, cli, host, &mut BuiltIn::new(cli)?, &[])
}

/// As [`run`], with an engine of the caller's own that is made for each lcore.
///
/// # Errors
/// As [`run`].
pub fn run_own<E: Engine>(
    eal: &Eal,
    cli: &Cli,
    host: &Host,
    engine: impl Fn(&EngineSetup<'_>) -> E,
) -> Result<Report> {
    run_with(eal, cli, host, &mut Own(engine), &[])
}

/// `replaying`: the virtual devices that are known to read captures.
fn run_with(
    eal: &Eal,
    cli: &Cli,
    host: &Host,
    engines: &mut dyn Engines,
    replaying: &[String],
) -> Result<Report> {
    let lcores = eal.lcores();
    let mut plan = config::plan(cli, &lcores, &dpdk::find_ports(eal)?)?;
    stamping::leave_out(&mut plan, cli, replaying);
    forward(eal, cli, plan, engines, &host.signals, control::spare_cpus(&lcores, &host.cpus))
}

/// What is before `--` is EAL's, what is behind it is ours. Without `--` a
/// request for help is ours, and our own arguments have lost their way.
fn split(args: &[String]) -> Result<(&[String], &[String])> {
    let is_help = |arg: &String| ["-h", "--help", "-V", "--version"].contains(&arg.as_str());
    match args.iter().position(|arg| arg == "--") {
        Some(at) => Ok((&args[..at], &args[at + 1..])),
        None if args[1..].iter().any(is_help) => Ok((&args[..1], &args[1..])),
        None => match args[1..].iter().find(|arg| Cli::knows(arg)) {
            Some(arg) => {
                Err(Error::Usage(format!("{arg} is mpfwd's, not EAL's: write -- before it")))
            }
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
    /// By lcore: its inbox, and its ways into all lcores' inboxes. Empty where
    /// the mode has none.
    inboxes: Vec<(RingConsumer, Vec<RingProducer>)>,
    stamp: StampField,
    /// Where the time of a poll stands, and where a driver's stamp does, if
    /// packets have these.
    polled: Option<StampField>,
    nic: Option<RxStampField>,
    /// Where a packet's place in its flow stands.
    ticket: TicketField,
}

fn forward(
    eal: &Eal,
    cli: &Cli,
    mut plan: Plan,
    engines: &mut dyn Engines,
    signals: &Signals,
    cpus: CpuSet,
) -> Result<Report> {
    let (started_ticks, meter) = (tsc(), RateMeter::start(eal.tsc_rate()));
    engines.set_up(eal, cli, &plan)?;
    let mut setup = set_up(eal, cli, &mut plan)?;
    let (rate, _) = meter.rate();
    let falls_back = cli.timestamps == Timestamps::Auto;
    let (mut followed, clocks) =
        FollowedClocks::calibrate(&mut plan, &setup.ports, falls_back, |ns| rate.ticks(ns))?;
    if cli.emulate_stamps {
        let field = RxStampField::register()?;
        setup.rxqs.iter_mut().try_for_each(|rxq| rxq.attach(EmulatedStamps::new(field)))?;
    }
    let ends = (&setup.pool, setup.stamp);
    let sources = cli
        .source
        .as_ref()
        .map(|spec| Sources::attach(spec, cli, &plan, &mut setup.rxqs, ends, rate))
        .transpose()?;
    let does = engines.name(cli);
    printed::map(&plan, cli, &does, &setup.ports);
    sources.iter().for_each(output::say);
    let stats: Vec<LcoreStats> = plan
        .lcores
        .iter()
        .map(|lcore| LcoreStats::new(&plan.may_poll(lcore), &lcore.tx_queue))
        .collect();
    let Setup {
        pool,
        ports,
        rxqs,
        txqs,
        producers,
        consumers,
        inboxes,
        stamp,
        polled,
        nic,
        ticket,
    } = setup;
    let up = |id: usize| {
        ports.iter().find(|port| usize::from(port.id()) == id).is_none_or(Port::link_is_up)
    };
    let links = std::array::from_fn(|id| AtomicBool::new(up(id)));
    let run = RunState::new(plan.lcores.len(), cli.packets);
    let boards = boards(&plan, &rxqs)?;
    let order = Order::new(rxqs.len(), plan.order_records, cli.order == KeepOrder::Flow);
    let pool_a = plan.lcores.iter().filter(|lcore| lcore.pool == Pool::A).count();
    let permits = Permits::new(plan.scheduling.expensive_cap, pool_a);
    let incidents = Incidents::new(plan.lcores.len());
    let lcore_ids = plan.lcores.iter().map(|lcore| lcore.lcore.id).collect();
    let rescue_after_ticks = rate.ticks(plan.scheduling.rescue_after.as_nanos() as u64);
    let reader = IncidentReader {
        incidents: &incidents,
        boards: &boards,
        rescue_after_ticks,
        lcore_ids,
        rate,
        run_start_ticks: tsc(),
    };
    let launch = Launch {
        eal,
        cli,
        plan: &plan,
        rate,
        settings: Settings {
            burst: BurstSize::of(cli.burst),
            on_full: cli.on_full,
            idle: cli.idle,
            stamping: plan.stamping != Stamping::Off,
            stamp,
            polled,
            ticket,
            flows: Flows { macs_stay: engines.macs_stay(cli) },
            // A source's packets are stamped also where latency is not counted.
            stamped: cli.source.is_some() || plan.stamping == Stamping::Nic,
            nic: nic.filter(|_| plan.stamping == Stamping::Nic),
            started_ticks,
            // Where lcores share CPUs, gaps are what was asked for.
            gap_ticks: if cli.idle == Idle::Yield { u64::MAX } else { rate.ticks(GAP_NS_MIN) },
            take_budget_ticks: rate.ticks(TAKE_BUDGET_NS),
            adopt_every_ticks: rate.ticks(ADOPT_EVERY_NS),
            rescue_after_ticks,
            runq_max: plan.scheduling.runq_max_pkts,
        },
        shared: Shared {
            run: &run,
            links: &links,
            boards: &boards,
            rxqs: &rxqs,
            order: &order,
            permits: &permits,
            incidents: &incidents,
            clocks: &clocks,
            buffers: &pool,
        },
        stats: &stats,
        cost: sources.as_ref().and_then(|sources| sources.cost),
    };
    let queues = assign(&plan, cli, &rxqs, Ends { txqs, producers, consumers, inboxes })?;
    let ended = AtomicBool::new(false);
    let (rereads, hangups) = (engines.rereads(), Hangups::catch()?);
    let no_more_hangups = hangups.handle();
    let (duration, stats_period) = (cli.duration, cli.stats_period);
    let control = Control {
        run: &run,
        signals,
        ports: &ports,
        links: &links,
        stats: &stats,
        incidents: &reader,
        clocks: &clocks,
        stamped_by: stamping::name(&plan),
        cpus,
        duration,
        stats_period,
        ended: &ended,
    };
    let (found, elapsed, reloads) =
        std::thread::scope(|scope| -> Result<(EngineReports, Duration, Option<Reloads>)> {
            let reader = scope.spawn(|| hangups.serve(rereads.as_deref(), &cpus));
            let watcher = scope.spawn(|| control.watch(&mut followed));
            let outcome = engines.launch(&launch, queues);
            run.drain();
            ended.store(true, Ordering::Release);
            watcher.thread().unpark();
            no_more_hangups.close();
            let elapsed =
                watcher.join().map_err(|_| Error::Setup("the control thread failed".into()));
            let reloads = reader
                .join()
                .map_err(|_| Error::Setup("the thread that reads files again failed".into()));
            Ok((outcome?, elapsed?, reloads?))
        })?;
    let mut devices = ports.iter().map(Port::stats).collect::<Vec<_>>();
    for (port, device) in ports.iter().zip(&mut devices) {
        sources.iter().for_each(|sources| sources.add_to(port.id(), device));
    }
    // Better known by now.
    let (rate, tsc) = meter.rate();
    let source = sources.map(|sources| sources.report(rate));
    let incidents = IncidentReader { rate, ..reader }.read();
    drop(boards);
    drop((order, rxqs, ports));
    let unseen = outcome::unseen_wait(&stats, rate);
    let stamped_by = stamping::Source::of(
        &plan,
        &clocks,
        &followed,
        &unseen_text(&unseen, elapsed.as_secs_f64()),
        rate,
    );
    let ended = Ended {
        does,
        found,
        reloads,
        stats: &stats,
        devices: &devices,
        source,
        stamped_by,
        incidents,
        elapsed,
        rate,
        tsc,
        pool: &pool,
    };
    Ok(outcome::report(cli, &plan, ended))
}

fn set_up(eal: &Eal, cli: &Cli, plan: &mut Plan) -> Result<Setup> {
    let (stamp, ticket) =
        (StampField::register()?, TicketField::register(cli.order == KeepOrder::None)?);
    let nic = (plan.stamping == Stamping::Nic).then(RxStampField::register).transpose()?;
    let polled =
        (nic.is_some() || cli.source.is_some()).then(StampField::register_polled).transpose()?;
    // A stack gives out the last buffers first.
    let reuse = if plan.ports.iter().any(|port| port.info.wants_first_buffers) {
        Reuse::Default
    } else {
        Reuse::LastFirst
    };
    let pool =
        Mempool::create(eal, "mpfwd_mbufs", plan.mbufs, plan.mbuf_cache, plan.mbuf_room, reuse)?;
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
            stamp: nic.is_some() && !cli.emulate_stamps,
        };
        let (started, rx, mut handles) =
            Port::start(eal, &port.info, &config, &pool, &mut plan.warnings)?;
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
        let shedders: Vec<usize> =
            (0..plan.lcores.len()).filter(|&at| plan.lcores[at].shard == Some(shard)).collect();
        let takers: Vec<usize> =
            (0..plan.lcores.len()).filter(|&at| plan.lcores[at].takes).collect();
        let (puts, takes) = dpdk::ring(
            eal,
            &format!("mpfwd_shard{shard}"),
            cli.ring_size,
            shedders.len(),
            takers.len(),
        )?;
        shedders.into_iter().zip(puts).for_each(|(at, put)| producers[at] = Some(put));
        takers.into_iter().zip(takes).for_each(|(at, take)| consumers[at].push(take));
    }
    let inboxes = if plan.scheduling.mode.facts().has_inboxes {
        inboxes(eal, plan.lcores.len(), cli.ring_size)?
    } else {
        Vec::new()
    };
    Ok(Setup { pool, ports, rxqs, txqs, producers, consumers, inboxes, stamp, polled, nic, ticket })
}

/// A ring per lcore that every lcore puts into: by lcore its taking end, and
/// one putting end of each.
fn inboxes(eal: &Eal, lcores: usize, size: u32) -> Result<Vec<(RingConsumer, Vec<RingProducer>)>> {
    let mut puts: Vec<Vec<RingProducer>> = (0..lcores).map(|_| Vec::new()).collect();
    let mut takes = Vec::new();
    for at in 0..lcores {
        let (producers, consumers) = dpdk::ring(eal, &format!("mpfwd_inbox{at}"), size, lcores, 1)?;
        takes.extend(consumers);
        puts.iter_mut().zip(producers).for_each(|(own, producer)| own.push(producer));
    }
    Ok(takes.into_iter().zip(puts).collect())
}

/// The queue of a port.
fn rxq(rxqs: &[RxQueue], (port, queue): (u16, u16)) -> Result<&RxQueue> {
    let found = rxqs.iter().find(|rxq| (rxq.port(), rxq.queue()) == (port, queue));
    found.ok_or_else(|| Error::Setup(format!("port {port} was started without its queue {queue}")))
}

/// What each lcore shows of itself.
fn boards<'q>(plan: &Plan, rxqs: &'q [RxQueue]) -> Result<Vec<Board<'q>>> {
    let board = |lcore: &LcorePlan| {
        let own = lcore.rx.iter().map(|&queue| rxq(rxqs, queue)).collect::<Result<_>>()?;
        Ok(Board::new(lcore.pool, own))
    };
    plan.lcores.iter().map(board).collect()
}

/// Ends of queues, by lcore.
struct Ends {
    txqs: Vec<Vec<TxQueue>>,
    producers: Vec<Option<RingProducer>>,
    consumers: Vec<Vec<RingConsumer>>,
    inboxes: Vec<(RingConsumer, Vec<RingProducer>)>,
}

/// Gives each lcore its queues.
fn assign<'q>(plan: &Plan, cli: &Cli, rxqs: &'q [RxQueue], ends: Ends) -> Result<Vec<Queues<'q>>> {
    let waiting = || {
        PacketQueue::new(
            plan.scheduling.grow,
            2 * usize::from(cli.burst),
            plan.scheduling.runq_max_pkts,
        )
    };
    let mut queues: Vec<[PacketQueue; 2]> =
        plan.lcores.iter().map(|_| [waiting(), waiting()]).collect();
    let stealers: Vec<Vec<[PacketStealer; 2]>> = plan
        .lcores
        .iter()
        .map(|_| queues.iter_mut().map(|pair| pair.each_mut().map(PacketQueue::stealer)).collect())
        .collect();
    let workers = plan.lcores.iter().filter(|lcore| lcore.pool == Pool::B).count();
    let mut inboxes = ends.inboxes.into_iter();
    let rest =
        ends.txqs.into_iter().zip(ends.producers).zip(ends.consumers).zip(queues).zip(stealers);
    let mut worker = 0;
    plan.lcores
        .iter()
        .zip(rest)
        .map(|(lcore, ((((tx, shard), shards), [run_queue, kept]), stealers))| {
            let rx = lcore.rx.iter().map(|&queue| rxq(rxqs, queue)).collect::<Result<Vec<_>>>()?;
            let (inbox, inboxes) = inboxes.next().unzip();
            let picker =
                Picker::new(plan.scheduling.shard_pick, u64::from(lcore.lcore.id), worker, workers);
            worker += usize::from(lcore.pool == Pool::B);
            Ok(Queues {
                rx,
                tx,
                shard,
                shards,
                inbox,
                inboxes: inboxes.unwrap_or_default(),
                run_queue,
                kept,
                stealers,
                picker,
            })
        })
        .collect()
}
