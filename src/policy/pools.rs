//! `pools`: two micropools joined by the sharded queue, no stealing.

use super::{Place, Policy, Pool, Step, View};

/// Pool A polls and runs the cheap stage; what is deferred goes to pool B by way of the shards. A deferred packet that found its
/// shard full and may not be dropped is run where it is, before anything else is polled: that holds the lcore's arrivals back.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pools;

impl Policy for Pools {
    const DEFERRED: Place = Place::Shed;

    #[inline]
    fn next(&mut self, view: &View) -> Step {
        match view.pool {
            Pool::B => Step::Take,
            Pool::A if view.kept_pkts > 0 => Step::Run,
            Pool::A if view.run_queue_pkts > 0 => Step::Serve,
            Pool::A if view.draining => Step::Rest,
            Pool::A => Step::Poll,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Rtc;

    fn view(pool: Pool, kept_pkts: usize, run_queue_pkts: usize, draining: bool) -> View {
        View { pool, run_queue_pkts, kept_pkts, draining }
    }

    #[test]
    fn pool_a_finishes_what_it_holds_before_it_polls() {
        assert_eq!(Pools.next(&view(Pool::A, 1, 1, false)), Step::Run);
        assert_eq!(Pools.next(&view(Pool::A, 0, 1, false)), Step::Serve);
        assert_eq!(Pools.next(&view(Pool::A, 0, 0, false)), Step::Poll);
        assert_eq!(Rtc.next(&view(Pool::A, 1, 1, false)), Step::Run);
        assert_eq!(Rtc.next(&view(Pool::A, 0, 0, false)), Step::Poll);
    }

    #[test]
    fn pool_b_never_polls() {
        for draining in [false, true] {
            assert_eq!(Pools.next(&view(Pool::B, 0, 0, draining)), Step::Take);
        }
    }

    #[test]
    fn nothing_is_polled_while_draining() {
        for kept in 0..2 {
            for waiting in 0..2 {
                assert_ne!(Pools.next(&view(Pool::A, kept, waiting, true)), Step::Poll);
                assert_ne!(Rtc.next(&view(Pool::A, kept, waiting, true)), Step::Poll);
            }
        }
    }
}
