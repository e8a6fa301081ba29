//! The sizes of the pools while the run goes on. With `--pools auto` control
//! measures the load in windows, and asks how many lcores pool B should have.

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

/// The sizes of the pools: fitted to the load, or as somebody asked for.
pub struct PoolFitter<'a> {
    split: &'a Split,
    permits: &'a Permits,
    /// Both in the order of the map.
    boards: &'a [Board],
    stats: &'a [OwnStats],
    /// Follows the load.
    sizer: Option<Sizer>,
    window_ticks: u64,
    /// When the present window began, and the work until then.
    began_ticks: u64,
    before: [u64; 2],
    /// The last sizes that were asked for. They are had as soon as the change
    /// before is over.
    target: Sizes,
    /// The sizes that the pools are about to have.
    pending: Option<Sizes>,
    changes: VecDeque<PoolChange>,
}

/// The lcores in pool A, and how many lcores may do expensive work at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sizes {
    pub pool_a: usize,
    pub cap: usize,
}

impl<'a> PoolFitter<'a> {
    /// The pools keep the sizes that they have.
    pub fn new(
        (split, permits): (&'a Split, &'a Permits),
        boards: &'a [Board],
        stats: &'a [OwnStats],
        rate: TscRate,
    ) -> Self {
        Self {
            split,
            permits,
            boards,
            stats,
            sizer: None,
            window_ticks: rate.ticks(WINDOW.as_nanos() as u64),
            began_ticks: tsc(),
            before: [0; 2],
            target: Sizes { pool_a: split.pool_a(), cap: permits.cap() },
            pending: None,
            changes: VecDeque::new(),
        }
    }

    /// Follows the load from now on. Pool B is never larger than `workers_max`,
    /// nor are there more permits.
    pub(super) fn follow_load(&mut self, workers_max: usize) {
        self.sizer = Some(Sizer::new(self.boards.len(), workers_max));
        let now = tsc();
        (self.began_ticks, self.before) = (now, self.work(now));
    }

    pub(super) fn follows_load(&self) -> bool {
        self.sizer.is_some()
    }

    /// The pools have these sizes from now on, as soon as lcores can change
    /// them.
    pub(super) fn set(&mut self, sizes: Sizes) {
        (self.sizer, self.target) = (None, sizes);
    }

    /// Lcores in pool A now.
    pub(super) fn pool_a(&self) -> usize {
        self.split.pool_a()
    }

    /// The sizes that the pools have, or will have.
    pub(super) fn sizes(&self) -> Sizes {
        self.target
    }

    pub(super) fn changes(&self) -> Vec<PoolChange> {
        self.changes.iter().cloned().collect()
    }

    /// Goes on with a change, or ends the window if its time is over. `start`:
    /// that of the run. `has_pools`: the mode has. If not, the boards show
    /// nothing of pools.
    pub(super) fn look(&mut self, start: Instant, has_pools: bool) {
        self.go_on(has_pools);
        if self.pending.is_some() || self.sizer.is_none() {
            return;
        }
        let now = tsc();
        let ticks = now.saturating_sub(self.began_ticks);
        if ticks < self.window_ticks {
            return;
        }
        let load = self.load(now, ticks);
        let workers = self.boards.len() - self.split.pool_a();
        let new = self.sizer.as_mut().and_then(|sizer| sizer.observe(load, workers));
        if let Some(new) = new {
            self.change(workers, new, load, start.elapsed());
            self.go_on(has_pools);
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
        self.target = Sizes { pool_a: self.boards.len() - to, cap: to };
    }

    /// Lcores move at their next step, and the last permits of the old pools may
    /// be held for as long as a packet takes: nobody waits for that.
    fn go_on(&mut self, has_pools: bool) {
        let present = Sizes { pool_a: self.split.pool_a(), cap: self.permits.cap() };
        if self.pending.is_none() && self.target != present {
            self.pending = Some(self.target);
        }
        let Some(Sizes { pool_a, cap }) = self.pending else { return };
        let split = self.split;
        let shown = self.boards.iter().enumerate();
        let shown =
            shown.map(|(at, board)| if has_pools { board.pool() } else { split.pool_of(at) });
        if split.advance(pool_a, cap, self.permits, shown) {
            self.pending = None;
        }
    }
}
