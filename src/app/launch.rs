//! Turns choices made at run time into a loop that is compiled for them.

use crate::cli::Cli;
use crate::config::Plan;
use crate::datapath::{Order, Parked, Queues, Settings, Shared};
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
    pub(super) fn run<E: Engine>(
        &self,
        queues: Vec<Queues>,
        engine: impl Fn(u64) -> E,
    ) -> Result<()> {
        let mut jobs: Vec<(dpdk::Lcore, Box<dyn FnOnce() + Send + '_>)> = Vec::new();
        for (at, (queues, lcore)) in queues.into_iter().zip(&self.plan.lcores).enumerate() {
            let engine = engine(u64::from(lcore.lcore.id));
            let (settings, shared, stats) = (self.settings, self.shared, &self.stats[at]);
            // The lcore itself makes its loop, so that the memory is near it.
            let job = move || {
                let new = Parked::new(at, engine, settings, shared, queues, stats);
                let mut parked = Some(new);
                while let Some(lcore) = parked {
                    parked = self.by_mode(lcore, at);
                }
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

    /// Runs the loop of the mode that control has ordered last, until it orders
    /// something else. Returns `None` at the end of the run.
    fn by_mode<E: Engine>(&self, lcore: Parked<'a, E>, at: usize) -> Option<Parked<'a, E>> {
        let (order, scheduling) = (self.shared.orders.read(), self.plan.scheduling);
        let seed = u64::from(self.plan.lcores[at].lcore.id);
        let help = HelpAfter {
            rescue_ticks: order.rescue_after_ticks,
            stall_ticks: self.settings.stall_after_ticks,
            excess: scheduling.excess,
        };
        match (order.mode, scheduling.steal_every) {
            (Mode::Rtc, _) => loop_of(lcore, Rtc, order),
            (Mode::Steal, None) if scheduling.steal_rx => {
                loop_of(lcore, Steal::<true>::new(seed), order)
            }
            (Mode::Steal, None) => loop_of(lcore, Steal::<false>::new(seed), order),
            (Mode::Steal, Some(every)) => loop_of(lcore, StealEvery::new(seed, every), order),
            (Mode::Shared, _) => loop_of(lcore, policy::Shared::new(seed), order),
            (Mode::ShedRandom, _) => loop_of(lcore, ShedRandom::new(seed), order),
            (Mode::Pools, _) => loop_of(lcore, Pools, order),
            (Mode::Hybrid, _) => loop_of(lcore, Hybrid::new(seed, help), order),
        }
    }
}

/// Runs one loop. Never inlined: each loop has its own frame, at the same
/// place of the stack.
#[inline(never)]
fn loop_of<'a, E: Engine, P: Policy>(
    lcore: Parked<'a, E>,
    policy: P,
    order: Order,
) -> Option<Parked<'a, E>> {
    lcore.enter(policy, order).run()
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
