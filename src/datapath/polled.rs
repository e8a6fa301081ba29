//! A receive queue of this lcore's, as it knows it between two polls.

use crate::dpdk::{Lease, RxQueue};
use crate::stats::Counter;

/// A receive queue that this lcore polls, by a lease that it keeps as long as
/// it is not away.
pub(super) struct Polled<'a> {
    pub(super) rxq: &'a RxQueue,
    pub(super) number: u16,
    pub(super) lease: Option<Lease<'a>>,
    pub(super) received_pkts: &'a Counter,
    /// The last poll that took all there was began then.
    pub(super) emptied_ticks: u64,
    /// The last stamp that a driver put on its packets, in ticks; 0 before the
    /// first.
    pub(super) stamped_ticks: u64,
}

impl<'a> Polled<'a> {
    /// The lease, at `now`; `None` while another lcore polls the queue.
    #[inline(always)]
    pub(super) fn hold(&mut self, now: u64) -> Option<&mut Lease<'a>> {
        if self.lease.is_none() {
            self.take_lease(now);
        }
        self.lease.as_mut()
    }

    /// Others may have emptied the queue meanwhile, by their counter even after
    /// `now`.
    #[inline]
    fn take_lease(&mut self, now: u64) {
        self.lease = self.rxq.try_lease();
        if let Some(lease) = &self.lease {
            self.emptied_ticks =
                self.emptied_ticks.max(lease.emptied_ticks().min(now.wrapping_sub(1)));
        }
    }

    /// From now on others may poll the queue.
    #[inline]
    pub(super) fn give_back(&mut self) {
        if let Some(lease) = self.lease.take() {
            lease.note_emptied(self.emptied_ticks);
        }
    }
}
