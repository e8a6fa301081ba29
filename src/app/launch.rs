//! From what was chosen at run time to one loop that is compiled for it.

use std::sync::Arc;
use std::time::Duration;

use crate::cli::{Cli, ForwardMode, Mode, Work};
use crate::config::{self, Plan, PortPlan};
use crate::datapath::{LcoreLoop, Queues, Settings, Shared};
use crate::dpdk::clock::TscRate;
use crate::dpdk::{self, CostField, Eal, NoteField};
use crate::engine::l3::{Outgoing, RouteFile, Table};
use crate::engine::{Any, Carried, Engine, Io, L3, Mac, MacSwap, Marking, Peers, Spin, SpinTicks};
use crate::error::{Error, Result};
use crate::output;
use crate::policy::{Hybrid, Policy, Pools, Rtc, ShedRandom, Steal, StealEvery};
use crate::stats::LcoreStats;

/// Turns what was chosen at run time into one loop compiled for it: engine, then work, then mode, then metering.
pub(super) struct Launch<'a> {
    pub(super) eal: &'a Eal,
    pub(super) engine: Any,
    pub(super) cli: &'a Cli,
    pub(super) plan: &'a Plan,
    pub(super) rate: TscRate,
    pub(super) settings: Settings,
    pub(super) shared: Shared<'a>,
    pub(super) stats: &'a [LcoreStats],
    /// Where packets say what they cost, if their source has decided that.
    pub(super) cost: Option<CostField>,
}

impl<'a> Launch<'a> {
    pub(super) fn by_engine(&self, queues: Vec<Queues<'a>>) -> Result<()> {
        if let (Some(work), Some(field)) = (&self.cli.work, self.cost) {
            let engine = Carried::new(self.engine.clone(), field, work.known, self.settings.gap_ticks);
            return self.by_mode(queues, |_| engine.clone());
        }
        if let Some(work) = &self.cli.work {
            return self.by_mode(queues, self.spin(work, self.engine.clone()));
        }
        match &self.engine {
            Any::Io(engine) => self.by_mode(queues, |_| engine.clone()),
            Any::Mac(engine) => self.by_mode(queues, |_| engine.clone()),
            Any::MacSwap(engine) => self.by_mode(queues, |_| engine.clone()),
            Any::L3(engine) => self.by_mode(queues, |_| engine.clone()),
        }
    }

    /// For each lcore an engine that costs what was asked for.
    fn spin(&self, work: &Work, engine: Any) -> impl Fn(u64) -> Spin<Any> + use<> {
        let ticks = |time: Duration| self.rate.ticks(time.as_nanos() as u64);
        let spin = SpinTicks { cheap: ticks(work.cheap), expensive: ticks(work.expensive), gap: self.settings.gap_ticks };
        let by_sequence = self.plan.ports.iter().filter(|port| config::marks_by_sequence(work.mark, &port.info));
        let by_sequence = by_sequence.fold(0, |ports, port| ports | 1u64 << (port.info.id % 64));
        let (p, seed, known) = (work.p, work.seed, work.known);
        let marking = move |lcore: u64| Marking::new(p, seed.wrapping_add(lcore), by_sequence);
        move |lcore| Spin::new(engine.clone(), spin, marking(lcore), known)
    }

    fn by_mode<E: Engine>(&self, queues: Vec<Queues<'a>>, engine: impl Fn(u64) -> E) -> Result<()> {
        let scheduling = self.plan.scheduling;
        let rescue_after_ticks = self.settings.rescue_after_ticks;
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
            let (settings, shared, stats) = (self.settings, self.shared, &self.stats[at]);
            // Made on the lcore itself, so that its memory is near that lcore.
            let job = move || LcoreLoop::<E, P, METER>::new(at, engine, policy, settings, shared, queues, stats).run();
            jobs.push((lcore.lcore, Box::new(job)));
        }
        self.eal.run(jobs)
    }
}

/// What is to be done to packets, with all that it needs.
///
/// # Errors
/// When routes name a port that is not there, or take more memory than there is.
pub(super) fn engine(eal: &Eal, cli: &Cli, plan: &Plan) -> Result<Any> {
    Ok(match (cli.forward_mode, &cli.routes) {
        (ForwardMode::Io, _) => Any::Io(Io::new(peers(plan))),
        (ForwardMode::Mac, _) => Any::Mac(Mac::new(peers(plan))),
        (ForwardMode::MacSwap, _) => Any::MacSwap(MacSwap::new(peers(plan))),
        (ForwardMode::L3, file) => Any::L3(router(eal, file.as_ref(), plan)?),
    })
}

fn peers(plan: &Plan) -> Peers {
    let mut peers = Peers::new();
    for port in &plan.ports {
        if let Some(out) = plan.ports.iter().find(|other| other.info.id == port.out) {
            peers.join(port.info.id, out.info.id, out.peer, out.info.mac.into_array());
        }
    }
    peers
}

fn router(eal: &Eal, file: Option<&RouteFile>, plan: &Plan) -> Result<L3> {
    let file = file.ok_or_else(|| Error::Usage("--forward-mode l3 needs --routes".into()))?;
    let outgoing = |port: &PortPlan| Outgoing { port: port.info.id, own: port.info.mac.into_array(), peer: port.peer };
    let table = Table::build(eal, file, &plan.ports.iter().map(outgoing).collect::<Vec<_>>())?;
    output::say(&table);
    Ok(L3::new(Arc::new(table), NoteField::register()?))
}
