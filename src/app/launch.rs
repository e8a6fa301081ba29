//! Turns choices made at run time into a loop that is compiled for them.

use crate::cli::Cli;
use crate::config::Plan;
use crate::datapath::{LcoreLoop, Queues, Settings, Shared};
use crate::dpdk::clock::TscRate;
use crate::dpdk::{self, CostField, Eal};
use crate::engine::{Engine, Peers};
use crate::policy::{
    self, HelpAfter, Hybrid, Mode, Policy, Pools, Rtc, ShedRandom, Steal, StealEvery,
};
use crate::stats::OwnStats;
use mpfwd_common::error::Result;

/// Picks the loop that is compiled for the engine and the mode.
pub(super) struct Launch<'a> {
    pub(super) eal: &'a Eal,
    pub(super) cli: &'a Cli,
    pub(super) plan: &'a Plan,
    pub(super) rate: TscRate,
    pub(super) settings: Settings,
    pub(super) shared: Shared<'a>,
    pub(super) stats: &'a [OwnStats],
    /// The mbuf field with a packet's cost, if the source draws costs.
    pub(super) cost: Option<CostField>,
}

impl<'a> Launch<'a> {
    /// Runs an engine on every lcore, until the end of the run. `engine` makes
    /// one per lcore, by EAL's lcore id.
    pub(super) fn by_mode<E: Engine>(
        &self,
        queues: Vec<Queues<'a>>,
        engine: impl Fn(u64) -> E,
    ) -> Result<()> {
        let scheduling = self.plan.scheduling;
        let help = HelpAfter {
            rescue_ticks: self.settings.rescue_after_ticks,
            stall_ticks: self.settings.stall_after_ticks,
            excess: scheduling.excess,
        };
        match (scheduling.mode, scheduling.steal_every) {
            (Mode::Rtc, _) => self.run(queues, engine, |_| Rtc),
            (Mode::Steal, None) if scheduling.steal_rx => {
                self.run(queues, engine, Steal::<true>::new)
            }
            (Mode::Steal, None) => self.run(queues, engine, Steal::<false>::new),
            (Mode::Steal, Some(every)) => {
                self.run(queues, engine, |lcore| StealEvery::new(lcore, every))
            }
            (Mode::Shared, _) => self.run(queues, engine, policy::Shared::new),
            (Mode::ShedRandom, _) => self.run(queues, engine, ShedRandom::new),
            (Mode::Pools, _) => self.run(queues, engine, |_| Pools),
            (Mode::Hybrid, _) => self.run(queues, engine, |lcore| Hybrid::new(lcore, help)),
        }
    }

    fn run<E: Engine, P: Policy>(
        &self,
        queues: Vec<Queues<'a>>,
        engine: impl Fn(u64) -> E,
        policy: impl Fn(u64) -> P,
    ) -> Result<()> {
        let mut jobs: Vec<(dpdk::Lcore, Box<dyn FnOnce() + Send + '_>)> = Vec::new();
        for (at, (queues, lcore)) in queues.into_iter().zip(&self.plan.lcores).enumerate() {
            let (engine, policy) =
                (engine(u64::from(lcore.lcore.id)), policy(u64::from(lcore.lcore.id)));
            let (settings, shared, stats) = (self.settings, self.shared, &self.stats[at]);
            // The lcore itself makes its loop, so that the memory is near it.
            let job = move || {
                LcoreLoop::<E, P>::new(at, engine, policy, settings, shared, queues, stats).run()
            };
            jobs.push((lcore.lcore, Box::new(job)));
        }
        // The closure may hold what its engines are about to release.
        drop(engine);
        // If an lcore does not start, the others must not wait for it.
        let call_off = || {
            self.shared.run.drain();
            self.shared.run.abandon();
        };
        self.eal.run(jobs, call_off)
    }
}

/// For each port the port that its packets leave by.
pub(super) fn peers(plan: &Plan) -> Peers {
    let mut peers = Peers::new();
    for port in &plan.ports {
        if let Some(out) = plan.ports.iter().find(|other| other.info.id == port.out) {
            peers.join(port.info.id, out.info.id, out.peer, out.info.mac.into_array());
        }
    }
    peers
}
