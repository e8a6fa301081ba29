//! `steal` with `--steal-every N`: as `steal`, and a busy lcore attempts to steal
//! every N packets. The schedulers of Go and Tokio look at other queues every 61
//! tasks, so that a queue is served although no lcore is idle.

use std::num::NonZeroU64;

use super::{Deferral, Help, PeersView, Policy, Steal, Step, View};

/// Steals when idle, and when an attempt is due.
#[derive(Clone, Debug)]
pub struct StealEvery {
    steal: Steal<false>,
    every_pkts: NonZeroU64,
    /// The lcore's `done_pkts` at which the next attempt is due.
    due_at: u64,
}

impl StealEvery {
    /// `seed`: as for [`Steal::new`](super::Steal::new). `every_pkts`: packets finished from one
    /// obligatory attempt to the next.
    pub fn new(seed: u64, every_pkts: NonZeroU64) -> Self {
        Self { steal: Steal::new(seed), every_pkts, due_at: every_pkts.get() }
    }
}

impl Policy for StealEvery {
    const DEFERRED: Deferral = Deferral::Here;
    const STEALS: bool = true;
    const COUNTS: bool = true;

    /// A burst may carry the count past several attempts: they are one, because
    /// nothing changed between them.
    #[inline]
    fn next(&mut self, view: &View) -> Step {
        if view.done_pkts >= self.due_at {
            self.due_at = view.done_pkts.saturating_add(self.every_pkts.get());
            return Step::LookAround;
        }
        self.steal.next(view)
    }

    #[inline]
    fn help(&mut self, peers: &PeersView<'_>) -> Help {
        self.steal.help(peers)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::policy::Pool;

    #[test]
    fn an_attempt_is_due_every_n_packets_and_only_then() {
        let mut policy = StealEvery::new(1, NonZeroU64::new(61).unwrap());
        let mut attempts = 0;
        for done_pkts in 0..6100 {
            let view = View { run_queue_pkts: 1, done_pkts, ..View::empty(Pool::A) };
            match policy.next(&view) {
                Step::LookAround => {
                    attempts += 1;
                    assert_eq!(policy.next(&view), Step::Serve, "never twice for the same packet");
                }
                step => assert_eq!(step, Step::Serve),
            }
        }
        assert_eq!(attempts, 99);
    }
}
