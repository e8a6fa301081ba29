//! `shared`: any lcore polls any receive queue. The simplest way to share load,
//! and what pools have to beat.

use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::{Deferral, Help, PeersView, Policy, Pool, Rtc, Step, View, Why};

/// Every lcore polls all queues in turn, each under a lease for one burst. Where
/// a burst is held up by an expensive packet, idle lcores steal the rest of it.
#[derive(Clone, Debug)]
pub struct Shared {
    rng: SmallRng,
}

impl Shared {
    /// `seed` should differ between lcores, so that idle ones do not all choose
    /// the same victim.
    pub fn new(seed: u64) -> Self {
        Self { rng: SmallRng::seed_from_u64(seed) }
    }
}

impl Policy for Shared {
    const DEFERRED: Deferral = Deferral::Here;
    const STEALS: bool = true;
    const SHARES: bool = true;

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
            None => Help::Rest,
        }
    }
}
