//! `steal`: every lcore polls; idle lcores steal packets that are queued behind
//! an expensive one.

use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::{Deferral, Help, PeersView, Policy, Pool, Rtc, Step, View, Why};

/// Run to completion, but the rest of a burst is queued where others can steal
/// it. Packets that a stuck lcore has not polled wait for it; with `RX` idle
/// lcores poll other lcores' receive queues, too, as Caladan's do.
#[derive(Clone, Debug)]
pub struct Steal<const RX: bool> {
    rng: SmallRng,
}

impl<const RX: bool> Steal<RX> {
    /// `seed` should differ between lcores, so that idle ones do not all choose
    /// the same victim.
    pub fn new(seed: u64) -> Self {
        Self { rng: SmallRng::seed_from_u64(seed) }
    }
}

impl<const RX: bool> Policy for Steal<RX> {
    const DEFERRED: Deferral = Deferral::Here;
    const STEALS: bool = true;
    const SHARES: bool = RX;

    #[inline]
    fn keeps_polling(_: Pool) -> bool {
        true
    }

    #[inline]
    fn next(&mut self, view: &View) -> Step {
        match Rtc.next(view) {
            Step::Poll if view.found_nothing => Step::LookAround,
            Step::Rest => Step::LookAround,
            own => own,
        }
    }

    #[inline]
    fn help(&mut self, peers: &PeersView<'_>) -> Help {
        match peers.random(&mut self.rng, |peer| peer.queued_pkts > 0) {
            Some(victim) => Help::Steal { victim, why: Why::Idle },
            None if RX && !peers.draining => peers
                .any(&mut self.rng)
                .map_or(Help::Rest, |victim| Help::TakeOver { victim, why: Why::Idle }),
            None => Help::Rest,
        }
    }
}
