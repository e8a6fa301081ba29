//! A receive queue and its lease. `rte_eth_rx_burst` must not run twice at once
//! for one queue, so nobody polls without the lease; who holds it polls at no
//! further cost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::events::PortState;
use super::fast_path::FastPath;
use super::port::Started;
use super::source::{Attached, RxSource};
use super::{Burst, BurstSize};
use micropools::{Line, lease};
use mpfwd_common::error::Result;

/// A receive queue of a started port; keeps the port open.
pub struct RxQueue {
    path: FastPath,
    /// On a line of its own: lcores that try to get it in vain disturb neither
    /// the holder's polls nor the queues beside this one.
    lease: Line<lease::Lease>,
    /// When the last poll began that took all there was, as who gave the lease
    /// back last knew it; 0 before that. In ticks.
    emptied_ticks: AtomicU64,
    /// Goes before the port does.
    source: Option<Attached>,
    /// Nobody polls it again.
    retired: AtomicBool,
    state: Arc<PortState>,
    opened: Started,
}

impl RxQueue {
    pub(super) fn new(port: u16, queue: u16, state: &Arc<PortState>, opened: &Started) -> Self {
        Self {
            path: FastPath::new(port, queue),
            lease: Line(lease::Lease::new()),
            emptied_ticks: AtomicU64::new(0),
            source: None,
            retired: AtomicBool::new(false),
            state: state.clone(),
            opened: opened.clone(),
        }
    }

    pub fn port(&self) -> u16 {
        self.path.port()
    }

    pub fn queue(&self) -> u16 {
        self.path.queue()
    }

    /// Has `source` add its packets to each poll from now on, instead of the
    /// last one.
    ///
    /// # Errors
    /// When DPDK has no RX callbacks.
    pub fn attach<S: RxSource + 'static>(&mut self, source: S) -> Result<()> {
        self.source = None;
        // SAFETY: the port is open as long as its queue, and who polls has a
        // lease, which borrows the queue: it can't be dropped meanwhile.
        self.source = Some(unsafe { Attached::new(self.port(), self.queue(), source) }?);
        Ok(())
    }

    /// Whether a poll at `now` is known to bring nothing. For anybody; a hint.
    #[inline(always)]
    pub fn is_quiet(&self, now: u64) -> bool {
        self.source.as_ref().is_some_and(|source| source.is_quiet(now))
    }

    /// Whether the port's driver reported that the device is of no more use.
    pub fn is_lost(&self) -> bool {
        self.state.is_lost()
    }

    pub(super) fn is_of(&self, port: &Started) -> bool {
        Arc::ptr_eq(&self.opened, port)
    }

    /// Takes the lease for good, if nobody has it. Returns whether it has it.
    pub(super) fn retire(&self) -> bool {
        if self.retired.load(Ordering::Relaxed) {
            return true;
        }
        let Some(held) = self.lease.try_acquire() else { return false };
        std::mem::forget(held);
        self.retired.store(true, Ordering::Relaxed);
        // The port is about to be closed, and its callbacks with it.
        self.source.iter().for_each(Attached::detach);
        true
    }

    /// The right to poll, if nobody has it.
    pub fn try_lease(&self) -> Option<Lease<'_>> {
        self.lease.try_acquire().map(|held| Lease { rxq: self, _held: held })
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

    /// When the last poll began that took all there was, as far as the lease's
    /// holders have said so.
    pub fn emptied_ticks(&self) -> u64 {
        // Relaxed: the lease orders its holders' writes.
        self.rxq.emptied_ticks.load(Ordering::Relaxed)
    }

    /// Says so to the next holder.
    pub fn note_emptied(&self, ticks: u64) {
        self.rxq.emptied_ticks.store(ticks, Ordering::Relaxed);
    }

    /// When the queue's source of packets was asked in the last poll, in ticks;
    /// within, `None` where it has worked for so long that the time says
    /// nothing. `None` where packets come from the driver alone.
    #[inline(always)]
    pub fn source_asked(&self) -> Option<Option<u64>> {
        self.rxq.source.as_ref().map(Attached::polled_ticks)
    }

    /// Fills the burst, which is empty, with up to `want` received packets.
    /// Returns how many.
    #[inline(always)]
    pub fn poll(&mut self, burst: &mut Burst, want: BurstSize) -> usize {
        burst.refill(want, |slots, room| {
            // SAFETY: the port is started and the queue exists as long as the
            // RxQueue does; the lease makes us its only user.
            unsafe { self.rxq.path.receive(slots, room) }
        })
    }
}
