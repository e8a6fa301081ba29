//! Pools that follow the load, as mpfwd's control thread moves them.

use super::agenda::{NEVER, START_TICKS};
use super::seen::Seen;
use super::{Setup, TICKS_PER_US};
use crate::policy::{Erlangs, Sizer};

/// mpfwd's window of `--pools auto`, and how often it goes on with a change.
const WINDOW_TICKS: u64 = 100_000 * TICKS_PER_US;
const CHANGE_TICKS: u64 = 1_000 * TICKS_PER_US;

pub(super) struct Fitter {
    sizer: Sizer,
    began_ticks: u64,
    before_ticks: [u64; 2],
    pending: Option<usize>,
    pub changes: u64,
}

impl Fitter {
    pub(super) fn new(setup: &Setup) -> Self {
        Self {
            sizer: Sizer::new(setup.lcores, setup.expensive_cap.unwrap_or(usize::MAX)),
            began_ticks: START_TICKS,
            before_ticks: [0; 2],
            pending: None,
            changes: 0,
        }
    }

    /// When it fits the pools for the first time.
    pub(super) fn first_ticks(setup: &Setup) -> u64 {
        if setup.follows_load { START_TICKS + WINDOW_TICKS } else { NEVER }
    }

    /// Whether a change is under way.
    pub(super) fn is_changing(&self) -> bool {
        self.pending.is_some()
    }

    /// Looks at a window: `work` is the time in cheap and in expensive work
    /// until now.
    pub(super) fn observe(&mut self, now: u64, work: [u64; 2], seen: &Seen) {
        let ticks = (now - self.began_ticks) as f64;
        let [cheap, expensive] =
            [0, 1].map(|at| work[at].saturating_sub(self.before_ticks[at]) as f64 / ticks);
        (self.began_ticks, self.before_ticks) = (now, work);
        let workers = seen.boards.len() - seen.split.pool_a();
        self.pending = self.sizer.observe(Erlangs { cheap, expensive }, workers);
        self.changes += u64::from(self.pending.is_some());
    }

    /// Goes on with a change, if there is one. Returns whether there was.
    pub(super) fn change(&mut self, seen: &Seen) -> bool {
        let Some(workers) = self.pending else { return false };
        let shown = seen.boards.iter().map(|board| board.pool());
        let pool_a = seen.boards.len() - workers;
        if seen.split.advance(pool_a, workers, &seen.permits, shown) {
            self.pending = None;
        }
        true
    }

    /// How long until it looks again.
    pub(super) fn next_ticks(&self) -> u64 {
        if self.is_changing() { CHANGE_TICKS } else { WINDOW_TICKS }
    }
}
