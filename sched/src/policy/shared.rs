//! `shared`: any lcore polls any receive queue. The simplest way to share load,
//! and what pools have to beat.

use super::{Deferral, Help, PeersView, Policy, Pool, Steal, Step, View};

/// Every lcore polls all queues in turn, each under a lease for one burst. Where
/// a burst is held up by an expensive packet, idle lcores steal the rest of it,
/// as in [`Steal`].
#[derive(Clone, Debug)]
pub struct Shared(Steal<false>);

impl Shared {
    /// `seed` should differ between lcores, so that idle ones do not all choose
    /// the same victim.
    pub fn new(seed: u64) -> Self {
        Self(Steal::new(seed))
    }
}

impl Policy for Shared {
    const DEFERRED: Deferral = Steal::<false>::DEFERRED;
    const STEALS: bool = Steal::<false>::STEALS;
    const SHARES: bool = true;

    #[inline]
    fn keeps_polling(pool: Pool) -> bool {
        Steal::<false>::keeps_polling(pool)
    }

    #[inline]
    fn next(&mut self, view: &View) -> Step {
        self.0.next(view)
    }

    #[inline]
    fn help(&mut self, peers: &PeersView<'_>) -> Help {
        self.0.help(peers)
    }
}
