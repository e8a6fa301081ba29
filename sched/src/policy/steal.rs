//! `steal`: every lcore polls; what waits while one runs something expensive
//! may be stolen by those that have nothing to do.

use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::{Deferral, Help, PeersView, Policy, Pool, Rtc, Step, View, Why};

/// Run-to-completion, but the rest of a burst waits where others can take it.
/// Receive queues are not taken over: what a stuck lcore has not polled waits
/// for it.
#[derive(Clone, Debug)]
pub struct Steal {
    rng: SmallRng,
}

impl Steal {
    /// `seed`: another one for each lcore, so that idle lcores do not all ask
    /// the same peer.
    pub fn new(seed: u64) -> Self {
        Self { rng: SmallRng::seed_from_u64(seed) }
    }
}

impl Policy for Steal {
    const DEFERRED: Deferral = Deferral::Here;
    const STEALS: bool = true;

    #[inline]
    fn polls_on(_: Pool) -> bool {
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
        match peers.random(&mut self.rng, |peer| peer.waiting_pkts > 0) {
            Some(victim) => Help::Steal { victim, why: Why::Idle },
            None => Help::Rest,
        }
    }
}
