//! A receive queue and its lease. `rte_eth_rx_burst` must not run twice at once for one queue, so nobody polls without the
//! lease; who holds it polls at no further cost.

use dpdk_sys as sys;

use super::Burst;
use super::port::Started;
use crate::runq::lease;

/// A receive queue of a started port; keeps the port open.
pub struct RxQueue {
    port: u16,
    queue: u16,
    lease: lease::Lease,
    _port: Started,
}

impl RxQueue {
    pub(super) fn new(port: u16, queue: u16, started: Started) -> Self {
        Self { port, queue, lease: lease::Lease::new(), _port: started }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn queue(&self) -> u16 {
        self.queue
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
        self.rxq.port
    }

    pub fn queue(&self) -> u16 {
        self.rxq.queue
    }

    /// Appends up to `want` received packets to the burst. Returns how many.
    #[inline(always)]
    pub fn poll(&mut self, burst: &mut Burst, want: usize) -> usize {
        let (port, queue) = (self.rxq.port, self.rxq.queue);
        burst.append(want, |slots, room| {
            // SAFETY: the port is started and the queue exists as long as the RxQueue does; the lease makes us its only user.
            unsafe { sys::mpfwd_rx_burst(port, queue, slots, room) as usize }
        })
    }
}
