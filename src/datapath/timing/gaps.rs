//! Time that the host took from an lcore, as far as the lcore can tell: while
//! it finds nothing to do, one look follows the other at once.

use crate::stats::{Gaps, HostGaps};

pub(super) struct GapWatch<'a> {
    counts: &'a HostGaps,
    /// A pause that is longer was made by the host.
    ticks_min: u64,
    /// When it looked in vain last; 0 if it has done something since.
    in_vain_at: u64,
}

impl<'a> GapWatch<'a> {
    pub(super) fn new(counts: &'a HostGaps, ticks_min: u64) -> Self {
        Self { counts, ticks_min, in_vain_at: 0 }
    }

    /// The lcore looks again, or starts on something, at `now`. Only the host
    /// can have taken so long in between.
    #[inline(always)]
    pub(super) fn resume(&mut self, now: u64) {
        if self.in_vain_at != 0 {
            self.resume_after(now);
        }
    }

    /// Nothing that was in vain is open.
    pub(super) fn has_resumed(&self) -> bool {
        self.in_vain_at == 0
    }

    #[cold]
    fn resume_after(&mut self, now: u64) {
        let ticks = now.wrapping_sub(std::mem::take(&mut self.in_vain_at));
        self.took(ticks, 1);
    }

    /// It looked in vain at `at`. 0: when is not known.
    #[inline(always)]
    pub(super) fn in_vain(&mut self, at: u64) {
        self.in_vain_at = at;
    }

    /// It starts on something whose time is not to be explained.
    #[inline(always)]
    pub(super) fn forget(&mut self) {
        self.in_vain_at = 0;
    }

    /// So many looks took so long together.
    #[inline]
    pub(super) fn took(&mut self, ticks: u64, looks: u64) {
        if ticks > self.ticks_min.saturating_mul(looks) {
            self.note(ticks);
        }
    }

    #[cold]
    fn note(&self, ticks: u64) {
        let mut gaps = Gaps::default();
        gaps.note(ticks);
        self.counts.add(gaps);
    }
}
