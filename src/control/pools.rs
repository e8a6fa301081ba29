//! `--pools auto`: control measures the load in windows, asks how many lcores pool
//! B should have, and moves lcores.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::datapath::Board;
use crate::dpdk::clock::{TscRate, tsc};
use crate::policy::{Erlangs, Permits, Sizer, Split};
use crate::stats::{Activity, OwnStats, PoolChange};
use micropools::heartbeat::Cost;
use mpfwd_common::args::Pools;
use mpfwd_common::output::say;

/// How long a window is, or a little longer.
const WINDOW: Duration = Duration::from_millis(100);

/// How many changes are kept for the report.
const CHANGES_MAX: usize = 64;

/// Fits the pools to the load.
pub struct PoolFitter<'a> {
    split: &'a Split,
    permits: &'a Permits,
    /// Both in the order of the map.
    boards: &'a [Board<'a>],
    stats: &'a [OwnStats],
    sizer: Sizer,
    window_ticks: u64,
    /// When the present window began, and the work until then.
    began_ticks: u64,
    before: [u64; 2],
    /// The size of pool B that the pools are about to have.
    pending: Option<usize>,
    changes: VecDeque<PoolChange>,
}

impl<'a> PoolFitter<'a> {
    /// `workers_max`: pool B is never larger, nor are there more permits.
    pub fn new(
        (split, permits): (&'a Split, &'a Permits),
        boards: &'a [Board<'a>],
        stats: &'a [OwnStats],
        workers_max: usize,
        rate: TscRate,
    ) -> Self {
        Self {
            split,
            permits,
            boards,
            stats,
            sizer: Sizer::new(boards.len(), workers_max),
            window_ticks: rate.ticks(WINDOW.as_nanos() as u64),
            began_ticks: tsc(),
            before: [0; 2],
            pending: None,
            changes: VecDeque::new(),
        }
    }

    pub(super) fn changes(&self) -> Vec<PoolChange> {
        self.changes.iter().cloned().collect()
    }

    /// The last changes, oldest first.
    pub fn into_changes(self) -> Vec<PoolChange> {
        self.changes.into()
    }

    /// Goes on with a change, or ends the window if its time is over. `start`:
    /// that of the run.
    pub(super) fn look(&mut self, start: Instant) {
        if self.pending.is_some() {
            self.go_on();
            return;
        }
        let now = tsc();
        let ticks = now.saturating_sub(self.began_ticks);
        if ticks < self.window_ticks {
            return;
        }
        let load = self.load(now, ticks);
        let workers = self.boards.len() - self.split.pool_a();
        if let Some(new) = self.sizer.observe(load, workers) {
            self.change(workers, new, load, start.elapsed());
        }
    }

    /// The load of the window that ends at `now`.
    fn load(&mut self, now: u64, ticks: u64) -> Erlangs {
        let work = self.work(now);
        let [cheap, expensive] =
            [0, 1].map(|at| work[at].saturating_sub(self.before[at]) as f64 / ticks as f64);
        (self.began_ticks, self.before) = (now, work);
        Erlangs { cheap, expensive }
    }

    /// Ticks of cheap and of expensive work until `now`, by all lcores. The long
    /// stage that an lcore is in counts as far as it has come. Where that ends
    /// meanwhile, its ticks are in the next window.
    fn work(&self, now: u64) -> [u64; 2] {
        let mut work = [0; 2];
        for (board, stats) in self.boards.iter().zip(self.stats) {
            // First the counters: an lcore adds a stage when it is over.
            let ticks = &stats.activity_ticks;
            work[0] += ticks.get(Activity::Cheap) + ticks.get(Activity::Help);
            work[1] += ticks.get(Activity::Expensive);
            if let Some(busy) = board.heartbeat.busy() {
                let at = usize::from(busy.cost == Cost::Expensive);
                work[at] += now.saturating_sub(busy.since_ticks);
            }
        }
        work
    }

    fn change(&mut self, from: usize, to: usize, load: Erlangs, at: Duration) {
        let pools =
            |workers: usize| Pools { a: self.boards.len() - workers, b: workers }.to_string();
        let change = PoolChange {
            at_s: at.as_secs_f64(),
            from: pools(from),
            to: pools(to),
            cheap_erlangs: load.cheap,
            expensive_erlangs: load.expensive,
        };
        say(&change);
        if self.changes.len() == CHANGES_MAX {
            self.changes.pop_front();
        }
        self.changes.push_back(change);
        self.pending = Some(to);
        self.go_on();
    }

    /// Lcores move at their next step, and the last permits of the old pools may
    /// be held for as long as a packet takes: nobody waits for that.
    fn go_on(&mut self) {
        let Some(workers) = self.pending else { return };
        let shown = self.boards.iter().map(|board| board.pool());
        let pool_a = self.boards.len() - workers;
        if self.split.advance(pool_a, workers, self.permits, shown) {
            self.pending = None;
        }
    }
}
