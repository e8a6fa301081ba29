//! The few words that lcores and control say to each other while packets flow.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};
use std::time::Instant;

/// Read in every step, written a few times per run; the count is written often,
/// so it has a cache line of its own.
#[derive(Debug)]
#[repr(align(128))]
pub struct RunState {
    /// How often control called the lcores: something changed that they act on.
    calls: AtomicU32,
    draining: AtomicBool,
    drained_at: OnceLock<Instant>,
    abandoned: AtomicBool,
    metered: AtomicBool,
    /// Lcores that may still put something where others take it.
    shedding: AtomicUsize,
    limit_pkts: Option<u64>,
    received: Received,
}

/// A call of control's that an lcore has answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Call(u32);

#[derive(Debug, Default)]
#[repr(align(128))]
struct Received(AtomicU64);

impl RunState {
    /// `lcores`: all of the map. `limit_pkts`: stop once so many packets were
    /// received.
    pub fn new(lcores: usize, limit_pkts: Option<u64>) -> Self {
        Self {
            calls: AtomicU32::new(0),
            draining: AtomicBool::new(false),
            drained_at: OnceLock::new(),
            abandoned: AtomicBool::new(false),
            metered: AtomicBool::new(false),
            shedding: AtomicUsize::new(lcores),
            limit_pkts,
            received: Received::default(),
        }
    }

    /// Receive nothing more, finish what is there.
    #[cold]
    pub fn drain(&self) {
        self.drained_at.get_or_init(Instant::now);
        if !self.draining.swap(true, Ordering::Relaxed) {
            self.call();
        }
    }

    /// Has each lcore look at what changed before. The lcores look at this one
    /// word after every burst, and at everything else when it has changed.
    pub fn call(&self) {
        // Release: pairs with the fence in `answer`.
        self.calls.fetch_add(1, Ordering::Release);
    }

    /// Whether control has called since the call that was answered last.
    #[inline(always)]
    pub(super) fn calls(&self, answered: Call) -> bool {
        self.calls.load(Ordering::Relaxed) != answered.0
    }

    /// The last call: the lcore sees what changed before it.
    #[cold]
    pub(super) fn answer(&self) -> Call {
        let call = Call(self.calls.load(Ordering::Relaxed));
        fence(Ordering::Acquire);
        call
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

    /// Somebody watches: the lcores meter their activities from now on.
    pub fn meter(&self) {
        if !self.metered.swap(true, Ordering::Relaxed) {
            self.call();
        }
    }

    pub(super) fn is_metered(&self) -> bool {
        self.metered.load(Ordering::Relaxed)
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
    /// an lcore that sees that it is done.
    pub(super) fn lcore_sheds_no_more(&self) {
        self.shedding.fetch_sub(1, Ordering::Release);
    }

    pub(super) fn no_lcore_sheds(&self) -> bool {
        self.shedding.load(Ordering::Acquire) == 0
    }
}
