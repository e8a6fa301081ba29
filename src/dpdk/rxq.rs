//! A receive queue and its lease. `rte_eth_rx_burst` must not run twice at once for one queue, so nobody polls without the
//! lease; who holds it polls at no further cost.

use super::fast_path::FastPath;
use super::port::Started;
use super::{Burst, BurstSize};
use crate::runq::lease;

/// A receive queue of a started port; keeps the port open.
pub struct RxQueue {
    path: FastPath,
    lease: lease::Lease,
    opened: Started,
}

impl RxQueue {
    pub(super) fn new(port: u16, queue: u16, started: Started) -> Self {
        Self { path: FastPath::new(port, queue), lease: lease::Lease::new(), opened: started }
    }

    pub fn port(&self) -> u16 {
        self.path.port()
    }

    pub fn queue(&self) -> u16 {
        self.path.queue()
    }

    pub(super) fn started(&self) -> Started {
        self.opened.clone()
    }

    /// The right to poll, if nobody has it.
    pub fn try_lease(&self) -> Option<Lease<'_>> {
        self.lease.try_take().map(|held| Lease { rxq: self, _held: held })
    }
}

/// The right to poll one queue; given back on drop.
pub struct Lease<'q> {
    rxq: &'q RxQueue,
    _held: lease::Held<'q>,
}

impl Lease<'_> {
    pub fn port(&self) -> u16 {
        self.rxq.path.port()
    }

    pub fn queue(&self) -> u16 {
        self.rxq.path.queue()
    }

    /// Fills the burst, which is empty, with up to `want` received packets. Returns how many.
    #[inline(always)]
    pub fn poll(&mut self, burst: &mut Burst, want: BurstSize) -> usize {
        burst.refill(want, |slots, room| {
            // SAFETY: the port is started and the queue exists as long as the RxQueue does; the lease makes us its only user.
            unsafe { self.rxq.path.receive(slots, room) }
        })
    }
}
