//! `rtc`: RSS and run to completion; lcores share nothing. What l3fwd does.

use super::{Deferral, Policy, Pool, Step, View};

/// Every lcore serves its own queues in the order of arrival, whatever a packet
/// costs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rtc;

impl Policy for Rtc {
    const DEFERRED: Deferral = Deferral::Here;

    #[inline]
    fn keeps_polling(_: Pool) -> bool {
        true
    }

    #[inline]
    fn next(&mut self, view: &View) -> Step {
        if view.kept_pkts > 0 {
            Step::Run
        } else if view.run_queue_pkts > 0 {
            Step::Serve
        } else if view.draining {
            Step::Rest
        } else {
            Step::Poll
        }
    }
}
