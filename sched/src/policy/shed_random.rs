//! `shed-random`: a deferred packet goes to the shorter of two random lcores'
//! inboxes. The power of two choices, one of the load balancers that McClure et
//! al. compare (Efficient Scheduling Policies for Microsecond-Scale Tasks,
//! NSDI'22).

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::{Deferral, Policy, Step, View};

/// Every lcore polls, and has an inbox for deferred packets. Two of all lcores
/// are drawn, which may be the same one twice; the packet goes to the inbox that
/// holds fewer packets, counting the one that its lcore runs.
///
/// An lcore runs one packet of its inbox, then polls, and so on. Packets in the
/// inbox were received earlier, so they go first; but an inbox that never empties
/// must not keep the lcore from polling.
#[derive(Clone, Debug)]
pub struct ShedRandom {
    rng: SmallRng,
    /// The last step was for the inbox: a poll is next.
    unboxed: bool,
}

impl ShedRandom {
    /// `seed` should differ between lcores, so that they do not all draw the same
    /// pair.
    pub fn new(seed: u64) -> Self {
        Self { rng: SmallRng::seed_from_u64(seed), unboxed: false }
    }
}

impl Policy for ShedRandom {
    const DEFERRED: Deferral = Deferral::Inbox;

    #[inline]
    fn next(&mut self, view: &View) -> Step {
        let polls_next = std::mem::replace(&mut self.unboxed, false) && !view.draining;
        if view.kept_pkts > 0 {
            Step::Run
        } else if view.run_queue_pkts > 0 {
            Step::Serve
        } else if view.inbox_pkts > 0 && !polls_next {
            self.unboxed = true;
            Step::Unbox
        } else if view.draining {
            Step::Rest
        } else {
            Step::Poll
        }
    }

    #[inline]
    fn inbox(&mut self, lcores: usize, pkts: impl Fn(usize) -> usize) -> usize {
        let [one, other] = [self.rng.random_range(0..lcores), self.rng.random_range(0..lcores)];
        if pkts(other) < pkts(one) { other } else { one }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    #[cfg_attr(miri, ignore = "many draws of safe code")]
    fn two_choices_keep_inboxes_level() {
        let (mut policy, mut inboxes) = (ShedRandom::new(7), [0usize; 8]);
        for _ in 0..80_000 {
            let at = policy.inbox(inboxes.len(), |at| inboxes[at]);
            inboxes[at] += 1;
        }
        // Azar et al. (1994): with two choices the longest exceeds the mean by
        // about log2(log2 n), not by a root of the mean.
        assert!(inboxes.iter().all(|pkts| (9_990..=10_010).contains(pkts)), "{inboxes:?}");
    }
}
