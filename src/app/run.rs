//! One run on EAL's ports, in three steps: prepare, run, report.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use super::engines::Engines;
use super::launch::Launch;
use super::living::{Living, devices, stamped_by};
use super::outcome::{self, Ended, EngineReports};
use super::prepare::{Fields, attach, order, pools, start_ports};
use super::queues::{Ends, boards, owners, spare};
use super::source::Sources;
use super::{asked, near, printed};
use crate::cli::{ApiArg, Cli, Idle, Timestamps};
use crate::config::{Plan, Stamping};
use crate::control::api::{self, Call, Calls, Listener};
use crate::control::{
    self, BELOW_PPS, Control, Desk, DrainFor, FollowedClocks, Hangups, Host, IncidentReader,
    Moment, PoolFitter, Reload, Seen, Shards, Start, Steering, Watch, WatchedPorts,
};
use crate::datapath::{
    ADOPT_EVERY_NS, DEQUEUE_BUDGET_NS, Orders, Outgoing, RunState, Settings, Shared,
};
use crate::dpdk::clock::{RateMeter, TscRate, tsc};
use crate::dpdk::{BurstSize, Eal, Mempools, Port, RxQueue, TelemetryView};
use crate::engine::Flows;
use crate::order::Order;
use crate::policy::{Mode, Permits, Pool, Split};
use crate::shed::Heads;
use crate::stats::{
    GAP_NS_MIN, Incident, Incidents, LcoreStats, OwnStats, PoolChange, Reloads, RunDelay,
    StampClocks,
};
use micropools::attention::Attention;
use mpfwd_common::error::{Error, Result};
use tokio::sync::oneshot;

/// A run. Rust drops fields in the order of their declaration, and this order
/// is needed:
///
/// 1. `ends` and `order` may hold packets, which return to `pools`.
/// 2. `rxqs` own callbacks on their ports, and sources that hold buffers.
/// 3. `ports` return the buffers of their descriptors when they are closed.
/// 4. `pools` are freed when every buffer is back.
///
/// The fields below `pools` hold no buffers.
pub(super) struct Run<'e> {
    /// The lcores' ends of the queues, until the lcores start.
    ends: Option<Ends>,
    /// Holds packets whose predecessor is in flight.
    order: Order<Outgoing>,
    rxqs: Vec<RxQueue>,
    ports: Vec<Port>,
    pools: Mempools,
    sources: Option<Sources>,
    followed: FollowedClocks,
    watched: WatchedPorts,
    clocks: StampClocks,
    fields: Fields,
    stats: Vec<OwnStats>,
    started_ticks: u64,
    meter: RateMeter,
    /// The engines' name in the report.
    does: String,
    plan: Plan,
    cli: &'e Cli,
    eal: &'e Eal,
}

/// Results that exist once the lcores have returned.
pub(super) struct Outcome {
    found: EngineReports,
    reloads: Option<Reloads>,
    incidents: Vec<Incident>,
    /// The mode at the end, how many shards there were then, and lcores in pool
    /// A.
    mode: Mode,
    shards: usize,
    pool_a: usize,
    pool_changes: Option<Vec<PoolChange>>,
    run_delays_ns: Vec<Option<u64>>,
    elapsed: Duration,
}

impl<'e> Run<'e> {
    /// Starts the ports, makes all queues, and prints the start map.
    ///
    /// # Errors
    /// When something does not start. What did start is closed again.
    pub(super) fn prepare(
        eal: &'e Eal,
        cli: &'e Cli,
        mut plan: Plan,
        engines: &mut dyn Engines,
    ) -> Result<Self> {
        let (started_ticks, meter) = (tsc(), RateMeter::start(eal.tsc_rate()));
        engines.set_up(eal, cli, &plan)?;
        let fields = Fields::register(cli, &plan)?;
        let pools = pools(eal, &plan)?;
        let (ports, mut rxqs, txqs) = start_ports(eal, cli, &mut plan, &fields, &pools)?;
        let ends = Ends::new(eal, cli, &plan, txqs)?;
        let (rate, _) = meter.rate();
        let falls_back = cli.timestamps == Timestamps::Auto;
        let (followed, clocks) =
            FollowedClocks::calibrate(&mut plan, &ports, falls_back, |ns| rate.ticks(ns))?;
        let sources = attach(cli, &plan, &mut rxqs, (&pools, fields.stamp), rate)?;
        let does = engines.name(cli);
        printed::map(&plan, cli, &does, &ports, sources.as_ref());
        let order = order(cli, &plan, &rxqs);
        let stats = near::each(&plan.eal_lcores(), |at| {
            let lcore = &plan.lcores[at];
            let can_change = cli.api != Some(ApiArg::Off);
            Arc::new(LcoreStats::new(&plan.may_poll(lcore, can_change), &lcore.tx_queue))
        });
        let watched = WatchedPorts::new(ports.len());
        Ok(Self {
            ends: Some(ends),
            order,
            rxqs,
            ports,
            pools,
            sources,
            followed,
            watched,
            clocks,
            fields,
            stats,
            started_ticks,
            meter,
            does,
            plan,
            cli,
            eal,
        })
    }

    /// Forwards until the end of the run.
    ///
    /// # Errors
    /// When an lcore or a thread does not start, or fails.
    pub(super) fn run(&mut self, engines: &dyn Engines, host: &Host) -> Result<Outcome> {
        let ends = self.ends.take().ok_or_else(|| Error::Setup("a run runs once".into()))?;
        let plan = &self.plan;
        let (rate, _) = self.meter.rate();
        let ended = AtomicBool::new(false);
        let run = RunState::new(plan.lcores.len(), self.cli.packets);
        let boards = boards(plan, rate);
        let scheduling = &plan.scheduling;
        let rescue_after_ticks = rate.ticks(scheduling.rescue_after.as_nanos() as u64);
        let owners = owners(plan, &self.rxqs);
        let orders = Orders::new(scheduling.mode, rescue_after_ticks, &owners, boards.len());
        let (split, permits) = self::split(plan);
        let attention = Attention::new(boards.len());
        let heads = (plan.shards > 1).then(|| Heads::new(plan.shards));
        let incidents = Incidents::new(plan.lcores.len());
        let settings = self.settings(engines, rate);
        let lcore_ids: Vec<u32> = plan.lcores.iter().map(|lcore| lcore.lcore.id).collect();
        let reader = IncidentReader {
            incidents: &incidents,
            boards: &boards,
            orders: &orders,
            lcore_ids: lcore_ids.clone(),
            rate,
            run_start_ticks: tsc(),
        };
        let shared = Shared {
            run: &run,
            orders: &orders,
            boards: &boards,
            attention: &attention,
            rxqs: &self.rxqs,
            order: &self.order,
            split: &split,
            heads: heads.as_ref(),
            permits: &permits,
            incidents: &incidents,
            clocks: &self.clocks,
        };
        let cost = self.sources.as_ref().and_then(|sources| sources.cost);
        let (eal, cli, stats) = (self.eal, self.cli, &self.stats[..]);
        let launch = Launch { eal, cli, plan, rate, settings, shared, stats, cost };
        let shards = Shards { first: ends.shards(), orders: &orders };
        let queues = ends.assign(plan, cli, &self.pools);
        let control = Control {
            run: &run,
            signals: &host.signals,
            ports: &self.ports,
            rxqs: &self.rxqs,
            stats,
            incidents: &reader,
            clocks: &self.clocks,
            cpus: control::spare_cpus(&eal.lcores(), &host.cpus),
            duration: cli.duration,
            stats_period: cli.stats_period,
            drain: cli.drain.map(|time| DrainFor { time, below_pps: BELOW_PPS }),
            ended: &ended,
        };
        let spare = || spare(eal, cli, plan);
        let fitter = PoolFitter::new((&split, &permits), &boards, stats, rate);
        let mut steering = Steering::new(Start {
            run: &run,
            orders: &orders,
            fitter,
            rxqs: &self.rxqs,
            owners,
            lcore_ids,
            spare: &spare,
            rate,
            mode: scheduling.mode,
            follows_load: scheduling.follows_load,
            cap: cli.expensive_cap,
            rescue_after: scheduling.rescue_after,
            burst: cli.burst,
        });
        let live = Living {
            cli,
            plan,
            does: &self.does,
            stats,
            ports: &self.ports,
            sources: self.sources.as_ref(),
            shards: &shards,
            clocks: &self.clocks,
            meter: &self.meter,
            pools: &self.pools,
            split: &split,
            reader: &reader,
        };
        let report = |moment: &Moment<'_>| live.report(moment);
        let (sender, calls) = mpsc::channel();
        let lcores = plan.lcores.iter().map(|lcore| lcore.lcore.id).zip(stats.iter().cloned());
        let telemetry = TelemetryView::new(eal, lcores.collect());
        let seen = Seen {
            split: &split,
            shards: &shards,
            pools: &self.pools,
            meter: &self.meter,
            telemetry,
        };
        let config = asked::config(cli, plan, &self.does);
        let hangups = Hangups::catch(control.signals)?;
        let rereads = engines.rereads();
        let files = hangups.reader(rereads.as_ref().map(|file| file.what()));
        let watch = Watch {
            followed: &mut self.followed,
            watched: &mut self.watched,
            steering: &mut steering,
            desk: Desk::new(calls, config, &report, seen, files),
        };
        let watch = || control.watch(watch);
        let api = host.api.as_ref().map(|listener| (listener, sender));
        let (found, elapsed, reloads) =
            beside(&control, watch, api, (hangups, rereads), || engines.launch(&launch, queues))?;
        // The longer the meter ran, the better it knows the rate.
        let (rate, _) = self.meter.rate();
        let run_delays_ns = incidents.run_delays().iter().map(RunDelay::ns).collect();
        let incidents = IncidentReader { rate, ..reader }.read();
        let (mode, pool_a) = (steering.mode(), split.pool_a());
        let pool_changes = steering.pool_changes();
        Ok(Outcome {
            mode,
            shards: shards.views().len(),
            found,
            reloads,
            incidents,
            pool_a,
            pool_changes,
            run_delays_ns,
            elapsed,
        })
    }

    /// The settings of every lcore's loop.
    fn settings(&self, engines: &dyn Engines, rate: TscRate) -> Settings {
        let (cli, plan, fields) = (self.cli, &self.plan, &self.fields);
        Settings {
            burst: BurstSize::of(cli.burst),
            on_full: cli.on_full,
            idle: cli.idle,
            metered: cli.record_core_cycles,
            metered_activity: plan.scheduling.follows_load,
            stamping: plan.stamping != Stamping::Off,
            stamp: fields.stamp,
            polled: fields.polled,
            ticket: fields.ticket,
            flows: Flows { macs_stay: engines.macs_stay(cli) },
            // A source stamps its packets even if latency is not counted.
            stamped: cli.source.is_some() || plan.stamping == Stamping::Nic,
            nic: fields.nic.filter(|_| plan.stamping == Stamping::Nic),
            started_ticks: self.started_ticks,
            // Lcores that share CPUs yield to each other: gaps are intended.
            gap_ticks: if cli.idle == Idle::Yield { u64::MAX } else { rate.ticks(GAP_NS_MIN) },
            dequeue_budget_ticks: rate.ticks(DEQUEUE_BUDGET_NS),
            adopt_every_ticks: rate.ticks(ADOPT_EVERY_NS),
            stall_after_ticks: rate.ticks(plan.scheduling.stall_after.as_nanos() as u64),
            ticks_per_us: rate.ticks(1_000),
            runq_max: plan.scheduling.runq_max_pkts,
        }
    }

    /// Closes the ports, and reports. Buffers are counted after that, when all
    /// are back in the pool.
    pub(super) fn report(self, outcome: Outcome) -> crate::stats::Report {
        let Outcome {
            found,
            reloads,
            incidents,
            mode,
            shards,
            pool_a,
            pool_changes,
            run_delays_ns,
            elapsed,
        } = outcome;
        let devices = devices(&self.ports, self.sources.as_ref());
        let (rate, tsc) = self.meter.rate();
        let source = self.sources.map(|sources| sources.report(rate));
        drop((self.ends, self.order, self.rxqs, self.ports));
        let clocks = (&self.clocks, &self.followed);
        let stamped_by = stamped_by(&self.plan, clocks, &self.stats, elapsed, rate);
        let ended = Ended {
            does: self.does,
            live: None,
            found,
            reloads,
            stats: &self.stats,
            devices: &devices,
            watched: &self.watched,
            source,
            stamped_by,
            incidents,
            mode,
            shards,
            pool_a,
            pool_changes,
            run_delays_ns: &run_delays_ns,
            elapsed,
            rate,
            tsc,
            pools: &self.pools,
        };
        outcome::report(self.cli, &self.plan, ended)
    }
}

/// The split of lcores into pools, and the permits for expensive work.
fn split(plan: &Plan) -> (Split, Permits) {
    let workers = plan.lcores.iter().filter(|lcore| lcore.pool == Pool::B).count();
    let pool_a = plan.lcores.len() - workers;
    let cap = plan.scheduling.expensive_cap.min(workers);
    (Split::new(pool_a), Permits::new(cap, pool_a))
}

/// Runs the lcores by `launch`. Control, by `watch`, the reader of changed files,
/// and the server of the API run beside them, each on its own thread. Returns the engines' results,
/// how long packets were received, and how often files were read again.
fn beside(
    control: &Control<'_>,
    watch: impl FnOnce() -> Duration + Send,
    api: Option<(&Listener, mpsc::Sender<Call>)>,
    (hangups, rereads): (Hangups, Option<Arc<dyn Reload>>),
    launch: impl FnOnce() -> Result<EngineReports>,
) -> Result<(EngineReports, Duration, Option<Reloads>)> {
    let no_more_hangups = hangups.handle();
    let failed = |what: &str| Error::Setup(format!("the thread that {what} failed"));
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| hangups.serve(rereads.as_deref(), &control.cpus));
        let watcher = scope.spawn(watch);
        let (end_of_api, end) = oneshot::channel();
        if let Some((listener, calls)) = api {
            let calls = Calls::new(calls, watcher.thread().clone());
            scope.spawn(|| api::serve(listener, calls, &control.cpus, end));
        }
        let outcome = launch();
        control.run.drain();
        control.ended.store(true, Ordering::Release);
        watcher.thread().unpark();
        no_more_hangups.close();
        drop(end_of_api);
        let elapsed = watcher.join().map_err(|_| failed("watches the run"));
        let reloads = reader.join().map_err(|_| failed("reads files again"));
        Ok((outcome?, elapsed?, reloads?))
    })
}

#[cfg(test)]
mod tests;
