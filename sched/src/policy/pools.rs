//! `pools`: two micropools joined by the sharded queue, no stealing.

use super::{Deferral, Policy, Pool, Step, View};

/// Pool A polls and runs the cheap stage; deferred packets go to pool B through
/// the shards. A deferred packet that finds its shard full, and may not be
/// dropped, is kept and run on its lcore before that polls again: back-pressure
/// on the lcore's receive queues.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pools;

impl Policy for Pools {
    const DEFERRED: Deferral = Deferral::Shard;

    #[inline]
    fn keeps_polling(pool: Pool) -> bool {
        pool == Pool::A
    }

    #[inline]
    fn next(&mut self, view: &View) -> Step {
        match view.pool {
            Pool::B => Step::Dequeue,
            Pool::A if view.kept_pkts > 0 => Step::Run,
            Pool::A if view.run_queue_pkts > 0 => Step::Serve,
            Pool::A if view.draining => Step::Rest,
            Pool::A => Step::Poll,
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::policy::Rtc;

    #[test]
    fn pool_a_finishes_what_it_holds_before_it_polls() {
        let empty = View::empty(Pool::A);
        for (view, step) in [
            (View { kept_pkts: 1, run_queue_pkts: 1, ..empty }, Step::Run),
            (View { run_queue_pkts: 1, ..empty }, Step::Serve),
            (empty, Step::Poll),
            (View { draining: true, ..empty }, Step::Rest),
        ] {
            assert_eq!((Pools.next(&view), Rtc.next(&view)), (step, step), "{view:?}");
        }
    }
}
