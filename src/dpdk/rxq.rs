//! A receive queue and its lease. `rte_eth_rx_burst` must not run concurrently
//! for one queue, so only the lease's holder polls, at no further cost.

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
    /// See [`RxQueue::longest_pkt`]; `u32::MAX` for most.
    longest_pkt: u32,
    /// On a cache line of its own: failed attempts to acquire it disturb
    /// neither the holder's polls nor the neighbouring queues.
    lease: Line<lease::Lease>,
    /// Start of the last poll that emptied the queue, as the lease's last
    /// holder knew it, in ticks; 0 before.
    emptied_ticks: AtomicU64,
    /// Detached before the port closes.
    source: Option<Attached>,
    /// The queue is not polled any more.
    retired: AtomicBool,
    state: Arc<PortState>,
    opened: Started,
}

impl RxQueue {
    pub(super) fn new(
        (port, queue): (u16, u16),
        longest_pkt: u32,
        state: &Arc<PortState>,
        opened: &Started,
    ) -> Self {
        Self {
            path: FastPath::new(port, queue),
            longest_pkt,
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

    /// The longest packet that its port can pass on whole, if its driver does
    /// not know.
    #[inline(always)]
    pub fn longest_pkt(&self) -> Option<u32> {
        (self.longest_pkt != u32::MAX).then_some(self.longest_pkt)
    }

    /// Has `source` add its packets to each poll from now on. Replaces an
    /// earlier source.
    ///
    /// # Errors
    /// DPDK has no RX callbacks.
    pub fn attach<S: RxSource + 'static>(&mut self, source: S) -> Result<()> {
        self.source = None;
        // SAFETY: the port is open as long as its queue, and who polls has a
        // lease, which borrows the queue: it can't be dropped meanwhile.
        self.source = Some(unsafe { Attached::new(self.port(), self.queue(), source) }?);
        Ok(())
    }

    /// Whether a poll at `now` is known to return nothing. A hint; any lcore
    /// may ask.
    #[inline(always)]
    pub fn is_quiet(&self, now: u64) -> bool {
        self.source.as_ref().is_some_and(|source| source.is_quiet(now))
    }

    /// Start of the last poll that emptied the queue, as the lease's last
    /// holder knew it, in ticks; 0 before. A hint; any lcore may ask.
    pub fn emptied_ticks(&self) -> u64 {
        self.emptied_ticks.load(Ordering::Relaxed)
    }

    /// Whether the driver reported the loss of the device.
    pub fn is_lost(&self) -> bool {
        self.state.is_lost()
    }

    pub(super) fn is_of(&self, port: &Started) -> bool {
        Arc::ptr_eq(&self.opened, port)
    }

    /// Acquires the lease for good, if it is free. Returns whether it was.
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

    /// Acquires the lease, if it is free.
    pub fn try_lease(&self) -> Option<Lease<'_>> {
        self.lease.try_acquire().map(|held| Lease { rxq: self, _held: held })
    }
}

/// The right to poll one queue. Released on drop.
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

    /// Start of the last poll that emptied the queue, as noted by the lease's
    /// holders.
    pub fn emptied_ticks(&self) -> u64 {
        // Relaxed: the lease orders its holders' writes.
        self.rxq.emptied_ticks()
    }

    /// Notes that time for the next holder.
    pub fn note_emptied(&self, ticks: u64) {
        self.rxq.emptied_ticks.store(ticks, Ordering::Relaxed);
    }

    /// The time at which the queue's source was called in the last poll, in
    /// ticks. `Some(None)` if the source has worked for long since. `None`
    /// without a source.
    #[inline(always)]
    pub fn source_asked(&self) -> Option<Option<u64>> {
        self.rxq.source.as_ref().map(Attached::polled_ticks)
    }

    /// Receives up to `want` packets into the burst, which must be empty.
    /// Returns their number.
    #[inline(always)]
    pub fn poll(&mut self, burst: &mut Burst, want: BurstSize) -> usize {
        burst.refill(want, |slots, room| {
            // SAFETY: the port is started and the queue exists as long as the
            // RxQueue does; the lease makes us its only user.
            unsafe { self.rxq.path.receive(slots, room) }
        })
    }
}
