//! The few words that lcores and control say to each other while packets flow.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

/// Read in every step, written a few times per run; the count is written often,
/// so it has a cache line of its own.
#[derive(Debug)]
#[repr(align(128))]
pub struct RunState {
    draining: AtomicBool,
    drained_at: OnceLock<Instant>,
    abandoned: AtomicBool,
    /// Lcores that may still put something where others take it.
    shedding: AtomicUsize,
    limit_pkts: Option<u64>,
    received: Received,
}

#[derive(Debug, Default)]
#[repr(align(128))]
struct Received(AtomicU64);

impl RunState {
    /// `lcores`: all of the map. `limit_pkts`: stop once so many packets were
    /// received.
    pub fn new(lcores: usize, limit_pkts: Option<u64>) -> Self {
        Self {
            draining: AtomicBool::new(false),
            drained_at: OnceLock::new(),
            abandoned: AtomicBool::new(false),
            shedding: AtomicUsize::new(lcores),
            limit_pkts,
            received: Received::default(),
        }
    }

    /// Receive nothing more, finish what is there.
    #[cold]
    pub fn drain(&self) {
        self.drained_at.get_or_init(Instant::now);
        self.draining.store(true, Ordering::Relaxed);
    }

    #[inline(always)]
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// When the end was called.
    pub fn drained_at(&self) -> Option<Instant> {
        self.drained_at.get().copied()
    }

    /// Finish nothing more: drop it, and count it.
    pub fn abandon(&self) {
        self.abandoned.store(true, Ordering::Relaxed);
    }

    pub fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::Relaxed)
    }

    /// Counts towards the limit, if there is one, and ends the run when it is
    /// reached.
    #[inline(always)]
    pub(super) fn count_received(&self, pkts: u64) {
        if let Some(limit) = self.limit_pkts
            && self.received.0.fetch_add(pkts, Ordering::Relaxed) + pkts >= limit
        {
            self.drain();
        }
    }

    /// Release: what this lcore has put into shards and inboxes is visible to
    /// whoever sees that it is done.
    pub(super) fn lcore_sheds_no_more(&self) {
        self.shedding.fetch_sub(1, Ordering::Release);
    }

    pub(super) fn no_lcore_sheds(&self) -> bool {
        self.shedding.load(Ordering::Acquire) == 0
    }
}
