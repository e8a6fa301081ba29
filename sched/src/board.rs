//! An lcore's board: its owner publishes how it is, and the others conclude
//! whether to help. It is written seldom, and lies on no line that the owner's
//! own work touches.
//!
//! An lcore that is inside one long packet says so by its [`Heartbeat`]. An
//! lcore whose CPU was taken away cannot say anything: its [`Beat`] grows old.

use crate::attention::SET_MAX;
use crate::heartbeat::{Busy, Cost, Heartbeat};
use crate::policy::{PeerHint, Pool};
use crate::sync::{AtomicBool, AtomicU64, Line, Ordering};

/// When an lcore was last seen to run. One writer, on a line of its own.
///
/// ```
/// use micropools::board::Beat;
///
/// let beat = Beat::new(1_000, 500);
/// beat.show(1_600);
/// assert_eq!(beat.age_ticks(1_700), 100);
/// beat.show(1_700);
/// assert_eq!(beat.age_ticks(1_700), 100, "it is not written again so soon");
/// ```
#[derive(Debug)]
pub struct Beat {
    shown_ticks: Line<AtomicU64>,
    every_ticks: u64,
}

impl Beat {
    /// Seen at `now`. [`Beat::show`] writes at most once per `every_ticks`:
    /// readers take the line away from the writer, so that it should not write
    /// more often than they need to know.
    pub fn new(now_ticks: u64, every_ticks: u64) -> Self {
        Self { shown_ticks: Line(AtomicU64::new(now_ticks)), every_ticks }
    }

    /// The lcore runs at `now`. For that lcore alone. When it is written,
    /// returns when it was shown last: that is when others count its silence
    /// from.
    #[inline(always)]
    pub fn show(&self, now_ticks: u64) -> Option<u64> {
        // Relaxed: the word guards no other memory.
        let shown_ticks = self.shown_ticks.load(Ordering::Relaxed);
        if now_ticks.wrapping_sub(shown_ticks) < self.every_ticks {
            return None;
        }
        self.shown_ticks.store(now_ticks, Ordering::Relaxed);
        Some(shown_ticks)
    }

    /// When the lcore was shown last.
    #[inline]
    pub fn shown_ticks(&self) -> u64 {
        self.shown_ticks.load(Ordering::Relaxed)
    }

    /// For how long the lcore has not been seen. The counters of two CPUs may
    /// differ a little: a beat in the future is of now.
    #[inline]
    pub fn age_ticks(&self, now_ticks: u64) -> u64 {
        now_ticks.saturating_sub(self.shown_ticks.load(Ordering::Relaxed))
    }
}

/// One lcore's board. The lcore writes it seldom; all others read it.
pub struct Board {
    /// The lcore is in pool B. Written when it moves, which is seldom.
    is_worker: AtomicBool,
    /// Its long stages, and how many packets are queued behind them.
    pub heartbeat: Heartbeat,
    /// When it ran last.
    pub beat: Beat,
    /// Since when its receive queues fill faster than it serves them; 0 if they
    /// do not.
    pressed_since: Line<AtomicU64>,
    /// Which lcore helps it, and when that one said so; 0: none.
    helper: Line<AtomicU64>,
}

/// Bits of the helper's place; its times have so many fewer.
const HELPER_BITS: u64 = SET_MAX as u64 - 1;

impl Board {
    /// Of an lcore of `pool` that is busy with nothing, and starts at `now`.
    /// Its beat is written at most once per `beat_every_ticks`.
    pub fn new(pool: Pool, now_ticks: u64, beat_every_ticks: u64) -> Self {
        Self {
            is_worker: AtomicBool::new(pool == Pool::B),
            heartbeat: Heartbeat::new(),
            beat: Beat::new(now_ticks, beat_every_ticks),
            pressed_since: Line(AtomicU64::new(0)),
            helper: Line(AtomicU64::new(0)),
        }
    }

    /// The pool that the lcore is in: since before its present step, and at
    /// least to the end of it.
    #[inline]
    pub fn pool(&self) -> Pool {
        // Relaxed: the word guards no other memory.
        if self.is_worker.load(Ordering::Relaxed) { Pool::B } else { Pool::A }
    }

    /// The lcore is in `pool` from its next step on. For that lcore alone,
    /// between two steps.
    pub fn show_pool(&self, pool: Pool) {
        self.is_worker.store(pool == Pool::B, Ordering::Relaxed);
    }

    /// The hint of this board's lcore, whose place is `lcore`, as far as it
    /// says whether that is away. Reads one line.
    #[inline]
    pub fn away_hint(&self, lcore: usize, now_ticks: u64) -> PeerHint {
        let busy = self.heartbeat.busy();
        PeerHint {
            away_ticks: busy.map(|busy| now_ticks.saturating_sub(busy.since_ticks)),
            expensive: busy.is_some_and(|busy| busy.cost == Cost::Expensive),
            ..PeerHint::calm(lcore, self.pool())
        }
    }

    /// The same, with all that the lcore itself shows: not whether it is
    /// stalled. Reads a line for each.
    #[inline]
    pub fn hint(&self, lcore: usize, now_ticks: u64) -> PeerHint {
        PeerHint {
            queued_pkts: self.heartbeat.queued().items_min() as u32,
            pressed: self.pressed_since_ticks().is_some(),
            ..self.away_hint(lcore, now_ticks)
        }
    }

    /// `helper` is about to poll this lcore's queues. False if another has said
    /// so less than `every_ticks` ago: one at a time is enough. A hint: the
    /// leases decide who may poll. `helper` is below [`SET_MAX`], and
    /// `now_ticks` not 0.
    #[inline]
    pub fn claim_help(&self, helper: usize, now_ticks: u64, every_ticks: u64) -> bool {
        let claimed = self.helper.load(Ordering::Relaxed);
        let (by, at_ticks) = (claimed & HELPER_BITS, claimed & !HELPER_BITS);
        let is_other = claimed != 0 && by != helper as u64;
        if is_other && now_ticks.saturating_sub(at_ticks) < every_ticks {
            return false;
        }
        let claim = now_ticks & !HELPER_BITS | helper as u64;
        // Relaxed: it guards nothing.
        let swap =
            self.helper.compare_exchange(claimed, claim, Ordering::Relaxed, Ordering::Relaxed);
        swap.is_ok()
    }

    /// There is work for another helper.
    #[inline]
    pub fn welcome_help(&self) {
        self.helper.store(0, Ordering::Relaxed);
    }

    /// Shows from when on idle lcores may share this one's receive queues; with
    /// `None` no longer. Writes on a change only. For the board's lcore alone.
    #[inline]
    pub fn show_pressure(&self, since_ticks: Option<u64>) {
        let shown = self.pressed_since.load(Ordering::Relaxed);
        match since_ticks {
            Some(ticks) if shown == 0 => self.pressed_since.store(ticks.max(1), Ordering::Relaxed),
            None if shown != 0 => self.pressed_since.store(0, Ordering::Relaxed),
            _ => {}
        }
    }

    /// Since when the lcore has been pressed, if it is.
    #[inline]
    pub fn pressed_since_ticks(&self) -> Option<u64> {
        let since_ticks = self.pressed_since.load(Ordering::Relaxed);
        (since_ticks != 0).then_some(since_ticks)
    }

    /// Whether the lcore is in a long stage.
    #[inline]
    pub fn is_away(&self) -> bool {
        self.heartbeat.busy_ticks(0).is_some()
    }

    /// The stage that the lcore is stuck in: it has lasted longer than
    /// `patience_ticks`, and is not the kind that the lcore is for. A worker in
    /// expensive work is never stuck.
    pub fn stuck(&self, now_ticks: u64, patience_ticks: u64) -> Option<Busy> {
        let busy = self.heartbeat.busy()?;
        let is_work = self.pool() == Pool::B && busy.cost == Cost::Expensive;
        let is_stuck = !is_work && now_ticks.saturating_sub(busy.since_ticks) > patience_ticks;
        is_stuck.then_some(busy)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_beat_in_the_future_is_of_now() {
        assert_eq!(Beat::new(50, 1).age_ticks(40), 0);
    }

    #[test]
    fn a_beat_is_written_no_more_often_than_was_asked_for() {
        let beat = Beat::new(0, 10);
        (1..10).for_each(|now| assert_eq!(beat.show(now), None));
        assert_eq!(beat.age_ticks(9), 9);
        assert_eq!((beat.show(10), beat.shown_ticks()), (Some(0), 10));
        assert_eq!(beat.age_ticks(12), 2);
    }

    #[test]
    fn pressure_counts_from_when_it_was_first_shown() {
        let board = Board::new(Pool::A, 0, 1);
        assert_eq!(board.pressed_since_ticks(), None);
        board.show_pressure(Some(7));
        board.show_pressure(Some(9));
        assert_eq!(board.pressed_since_ticks(), Some(7));
        assert!(board.hint(0, 9).pressed);
        board.show_pressure(None);
        assert_eq!((board.pressed_since_ticks(), board.hint(0, 9).pressed), (None, false));
    }

    #[test]
    fn one_lcore_helps_at_a_time_unless_more_are_welcome() {
        let board = Board::new(Pool::A, 0, 1);
        let claim = |helper, now| board.claim_help(helper, now, 10_000);
        assert!(claim(0, 50_000) && claim(0, 50_001), "the same one may go on");
        assert!(!claim(255, 59_000), "another would be in the way");
        assert!(claim(255, 70_000), "the first one has not come back");
        board.welcome_help();
        assert!(claim(1, 70_001) && !claim(255, 70_002));
    }

    #[test]
    fn an_lcore_shows_the_pool_that_it_moved_to() {
        let board = Board::new(Pool::A, 0, 1);
        assert_eq!((board.pool(), board.hint(0, 1).pool), (Pool::A, Pool::A));
        board.show_pool(Pool::B);
        assert_eq!((board.pool(), board.hint(0, 1).pool), (Pool::B, Pool::B));
    }

    #[test]
    fn an_lcore_is_stuck_when_patience_is_over_but_never_in_its_own_work() {
        for (pool, cost, is_stuck) in [
            (Pool::A, Cost::Unknown, true),
            (Pool::A, Cost::Expensive, true),
            (Pool::B, Cost::Unknown, true),
            (Pool::B, Cost::Expensive, false),
        ] {
            let board = Board::new(pool, 0, 1);
            assert_eq!((board.stuck(1_000, 10), board.is_away()), (None, false));
            let busy = Busy { since_ticks: 100, flow_hash: 1, cost };
            board.heartbeat.begin(busy);
            assert!(board.is_away());
            assert_eq!(board.stuck(110, 10), None);
            assert_eq!(board.stuck(111, 10), is_stuck.then_some(busy), "{pool:?} {cost:?}");
            let hint = board.hint(4, 111);
            assert_eq!(
                (hint.lcore, hint.pool, hint.away_ticks, hint.expensive),
                (4, pool, Some(11), cost == Cost::Expensive)
            );
        }
    }
}
