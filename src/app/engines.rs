//! A run's engine: a built-in one by `--forward-mode`, or the caller's own.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::Duration;

use super::launch::{Launch, peers};
use super::near;
use super::outcome::{self, EngineReports};
use super::reread::{Routing, Ruling};
use crate::cli::{Cli, ForwardMode, Work};
use crate::config::{self, Plan, PortPlan};
use crate::control::Reload;
use crate::datapath::Queues;
use crate::dpdk::clock::tsc;
use crate::dpdk::{Eal, NoteField};
use crate::engine::dpi::{Automata, Fragments, Inspection, Rules};
use crate::engine::l3::Outgoing;
use crate::engine::{
    Any, Carried, Cutoff, Dpi, Engine, EngineSetup, FlowIds, Heavy, Io, L3, Mac, MacSwap, Marking,
    Peers, Predicting, Prediction, Spin, SpinTicks,
};
use crate::stats::{DpiReport, PredictionCounts, PredictionRow};
use micropools::flow_table::FlowTable;
use mpfwd_common::error::Result;
use mpfwd_common::output;

/// Makes the engines of a run.
pub(super) trait Engines {
    /// Their name in the report.
    fn name(&self, cli: &Cli) -> String;

    /// Sets up what all engines share. The ports are known, but not started.
    fn set_up(&mut self, eal: &Eal, cli: &Cli, plan: &Plan) -> Result<()> {
        let _ = (eal, cli, plan);
        Ok(())
    }

    /// Whether packets keep their pair of MAC addresses.
    fn macs_stay(&self, _: &Cli) -> bool {
        false
    }

    /// Whether no packet is ever expensive.
    fn never_defers(&self, _: &Cli) -> bool {
        false
    }

    /// The file that can be read again during the run.
    fn rereads(&self) -> Option<Arc<dyn Reload>> {
        None
    }

    /// Runs a loop with an engine on every lcore, until the end of the run.
    fn launch<'a>(&self, launch: &Launch<'a>, queues: Vec<Queues>) -> Result<EngineReports>;
}

/// The built-in engines.
pub(super) struct BuiltIn {
    /// The rules as read, until they are set up.
    read: Option<(Rules, Automata)>,
    ruling: Option<Arc<Ruling>>,
    routing: Option<(Arc<Routing>, NoteField)>,
}

impl BuiltIn {
    /// Reads the files of the engine.
    ///
    /// # Errors
    /// When arguments contradict each other, or a file has mistakes.
    pub(super) fn new(cli: &Cli) -> Result<Self> {
        config::check_forward_mode(cli)?;
        let read = cli.rules.as_ref().map(|path| {
            let rules = Rules::read(path)?;
            let automata = Automata::compile(&rules, path, config::stream_bytes(cli))?;
            Ok((rules, automata))
        });
        Ok(Self { read: read.transpose()?, ruling: None, routing: None })
    }
}

impl Engines for BuiltIn {
    fn name(&self, cli: &Cli) -> String {
        outcome::name(&cli.forward_mode)
    }

    fn set_up(&mut self, eal: &Eal, cli: &Cli, plan: &Plan) -> Result<()> {
        if let Some(file) = &cli.routes {
            let outgoing = |port: &PortPlan| Outgoing {
                port: port.info.id,
                own: port.info.mac.into_array(),
                peer: port.peer,
            };
            let (routing, text) = Routing::new(
                eal,
                plan.placement.tables,
                file,
                plan.ports.iter().map(outgoing).collect(),
            )?;
            output::say(text);
            self.routing = Some((Arc::new(routing), NoteField::register()?));
        }
        if let (Some(path), Some((rules, automata))) = (&cli.rules, self.read.take()) {
            self.ruling = Some(Arc::new(Ruling::new(
                (path.clone(), config::stream_bytes(cli)),
                rules,
                automata,
                plan.lcores.len(),
            )?));
        }
        Ok(())
    }

    /// `l3` replaces the addresses of IP packets only.
    fn macs_stay(&self, cli: &Cli) -> bool {
        cli.forward_mode != ForwardMode::Mac
    }

    fn never_defers(&self, cli: &Cli) -> bool {
        cli.work.is_none() && cli.forward_mode != ForwardMode::Dpi
    }

    fn rereads(&self) -> Option<Arc<dyn Reload>> {
        let routing = self.routing.as_ref().map(|(routing, _)| routing.clone() as Arc<dyn Reload>);
        routing.or_else(|| self.ruling.as_ref().map(|ruling| ruling.clone() as Arc<dyn Reload>))
    }

    fn launch<'a>(&self, launch: &Launch<'a>, queues: Vec<Queues>) -> Result<EngineReports> {
        let peers = peers(launch.plan);
        if let Some(ruling) = &self.ruling {
            return inspect(launch, queues, peers, ruling);
        }
        let forward = match (launch.cli.forward_mode, &self.routing) {
            (ForwardMode::Mac, _) => Any::Mac(Mac::new(peers)),
            (ForwardMode::MacSwap, _) => Any::MacSwap(MacSwap::new(peers)),
            (ForwardMode::L3, Some((routing, note))) => {
                Any::L3(L3::new(routing.tables.hold(), &routing.ports, *note))
            }
            // `config` has refused l3 without routes, and dpi without rules.
            (ForwardMode::Io | ForwardMode::L3 | ForwardMode::Dpi, _) => Any::Io(Io::new(peers)),
        };
        match (&launch.cli.work, forward) {
            (Some(work), forward) => return spin(launch, queues, work, forward),
            (None, Any::Io(engine)) => launch.run(queues, move |_| engine.clone())?,
            (None, Any::Mac(engine)) => launch.run(queues, move |_| engine.clone())?,
            (None, Any::MacSwap(engine)) => launch.run(queues, move |_| engine.clone())?,
            (None, Any::L3(engine)) => launch.run(queues, move |_| engine.clone())?,
        }
        Ok(EngineReports::default())
    }
}

/// The caller's own engines: the closure makes one per lcore.
pub(super) struct Own<F> {
    pub name: &'static str,
    pub make: F,
}

impl<E: Engine, F: Fn(&EngineSetup<'_>) -> E> Engines for Own<F> {
    fn name(&self, _: &Cli) -> String {
        self.name.into()
    }

    fn launch<'a>(&self, launch: &Launch<'a>, queues: Vec<Queues>) -> Result<EngineReports> {
        let (peers, cutoff) = (peers(launch.plan), cutoff(launch)?);
        let predictor = Predictor::new(launch, cutoff);
        launch.run(queues, |lcore| {
            let setup =
                EngineSetup { lcore: lcore as u32, peers: &peers, rate: launch.rate, cutoff };
            predictor.wrap((self.make)(&setup))
        })?;
        Ok(EngineReports { dpi: None, prediction: predictor.report() })
    }
}

/// `--work`: an engine on every lcore that spends CPU time per packet.
fn spin<'a>(
    launch: &Launch<'a>,
    queues: Vec<Queues>,
    work: &Work,
    forward: Any,
) -> Result<EngineReports> {
    let cutoff = cutoff(launch)?;
    let predictor = Predictor::new(launch, cutoff);
    let (gap, known) = (launch.settings.gap_ticks, work.known);
    if let Some(field) = launch.cost {
        let engine = Carried::new(forward, field, known, cutoff, gap);
        launch.run(queues, {
            let predictor = &predictor;
            move |_| predictor.wrap(Heavy::Carried(engine.clone()))
        })?;
        return Ok(EngineReports { dpi: None, prediction: predictor.report() });
    }
    let ticks = |time: Duration| launch.rate.ticks(time.as_nanos() as u64);
    let spin = SpinTicks { cheap: ticks(work.cheap), expensive: ticks(work.expensive), gap };
    let by_sequence =
        launch.plan.ports.iter().filter(|port| config::marks_by_sequence(work.mark, &port.info));
    let by_sequence = by_sequence.fold(0, |ports, port| ports | 1u64 << (port.info.id % 64));
    let marking = |lcore: u64| Marking::new(work.p, work.seed.wrapping_add(lcore), by_sequence);
    let engine =
        move |lcore| Heavy::Spin(Spin::new(forward.clone(), spin, marking(lcore), known, cutoff));
    launch.run(queues, {
        let predictor = &predictor;
        move |lcore| predictor.wrap(engine(lcore))
    })?;
    Ok(EngineReports { dpi: None, prediction: predictor.report() })
}

/// `dpi` on every lcore.
fn inspect<'a>(
    launch: &Launch<'a>,
    queues: Vec<Queues>,
    peers: Peers,
    ruling: &Ruling,
) -> Result<EngineReports> {
    let (cutoff, pkts_max) = (cutoff(launch)?, launch.plan.inspecting.dpi_pkts);
    let predictor = Predictor::new(launch, cutoff);
    let shared = Arc::new(Inspection {
        rules: ruling.rules.clone(),
        flows: flow_table(launch),
        ids: FlowIds::random(),
        by: launch.plan.inspecting.flow_by,
        fragments: Fragments::new(launch.rate.ticks(FRAGMENTS_NS)),
        begun: flow_table(launch),
        virtual_ports: launch.plan.ports.iter().any(|port| port.info.socket.is_none()),
        denied: FlowTable::new(DENIED_PAIRS, timeout_ticks(launch)),
        pkts_max,
    });
    let lcores = Cell::new(0);
    launch.run(queues, |_| {
        let lcore = lcores.replace(lcores.get() + 1);
        let bytes_max = launch.cli.max_pkt_len as usize;
        predictor.wrap(Heavy::Dpi(Dpi::new(
            shared.clone(),
            peers.clone(),
            cutoff,
            bytes_max,
            lcore,
        )))
    })?;
    let (rules, counted) = ruling.close();
    let dpi = DpiReport::of(
        rules.into_iter(),
        &counted,
        (shared.flows.capacity(), shared.flows.live_flows(tsc())),
        shared.rules.hold().streams_max(),
    );
    Ok(EngineReports { dpi: Some(dpi), prediction: predictor.report() })
}

/// The time after which work of unknown cost is deferred, if it is.
fn cutoff(launch: &Launch<'_>) -> Result<Option<Cutoff>> {
    launch
        .plan
        .inspecting
        .yield_after
        .map(|time| Cutoff::register(launch.rate.ticks(time.as_nanos() as u64)))
        .transpose()
}

/// How long fragments wait for each other: RFC 8200, 4.5.
const FRAGMENTS_NS: u64 = 60_000_000_000;

/// Pairs of addresses with a dropped flow that are remembered.
const DENIED_PAIRS: usize = 4096;

fn timeout_ticks(launch: &Launch<'_>) -> u64 {
    let timeout = launch.plan.inspecting.flow_timeout.as_nanos().min(u128::from(u64::MAX)) as u64;
    launch.rate.ticks(timeout)
}

fn flow_table(launch: &Launch<'_>) -> FlowTable {
    let (inspecting, timeout) = (launch.plan.inspecting, timeout_ticks(launch));
    near::parts(|go_to| {
        let socket = launch.plan.placement.tables;
        let lcores = launch.plan.lcores.iter();
        lcores
            .map(|lcore| &lcore.lcore)
            .find(|lcore| lcore.socket == socket)
            .into_iter()
            .for_each(go_to);
        FlowTable::new(inspecting.flows, timeout)
    })
}

/// Lets engines predict what packets cost, with `--predict`.
struct Predictor {
    /// The lcores' common part. Each lcore has counts of its own.
    shared: Option<Prediction>,
    counts: RefCell<Vec<Arc<PredictionCounts>>>,
}

impl Predictor {
    fn new(launch: &Launch<'_>, cutoff: Option<Cutoff>) -> Self {
        let shared =
            launch.plan.inspecting.estimate.zip(cutoff).map(|(estimate, cutoff)| Prediction {
                estimate,
                cutoff,
                flows: Arc::new(flow_table(launch)),
                ids: FlowIds::random(),
                counts: Arc::default(),
            });
        Self { shared, counts: RefCell::default() }
    }

    /// One lcore's engine.
    fn wrap<E: Engine>(&self, engine: E) -> Predicting<E> {
        let own = self.shared.as_ref().map(|shared| {
            let counts = Arc::<PredictionCounts>::default();
            self.counts.borrow_mut().push(counts.clone());
            Prediction { counts, ..shared.clone() }
        });
        Predicting::new(engine, own)
    }

    fn report(&self) -> Option<PredictionRow> {
        let counts = self.counts.borrow();
        let lcores: Vec<&PredictionCounts> = counts.iter().map(Arc::as_ref).collect();
        self.shared
            .as_ref()
            .map(|shared| PredictionRow::of(&lcores, shared.flows.live_flows(tsc())))
    }
}
