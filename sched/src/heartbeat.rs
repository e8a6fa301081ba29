//! What an lcore shows of itself to idle ones: since when it has been running
//! something long, what that is, and about how much waits behind it. One
//! writer; readers never disturb its hot lines.

use crate::sync::{AtomicU32, AtomicU64, Line, Ordering};

/// What an lcore is busy with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Busy {
    /// When the stage was begun, in ticks of the time stamp counter.
    pub since_ticks: u64,
    /// The RSS hash of the packet's flow.
    pub flow_hash: u32,
    /// The engine's stage, by the engine's numbering.
    pub stage: u32,
}

/// One lcore's heartbeat, on lines of its own. `begin`, `end` and
/// `publish_waiting` are for that lcore alone.
///
/// `begin` and `end` cost three plain stores together and no fence; who never
/// runs anything long writes nothing.
pub struct Heartbeat {
    beat: Line<Beat>,
    /// On a line that changes seldom, because idle lcores look at it often.
    waiting: Line<AtomicU32>,
}

struct Beat {
    /// 0 between long stages.
    since_ticks: AtomicU64,
    /// Flow hash and stage. Written only while `since_ticks` is 0, which makes
    /// that the version number of a seqlock.
    what: AtomicU64,
}

impl Heartbeat {
    pub fn new() -> Self {
        Self {
            beat: Line(Beat { since_ticks: AtomicU64::new(0), what: AtomicU64::new(0) }),
            waiting: Line(AtomicU32::new(0)),
        }
    }

    /// A stage of unknown or expensive cost begins. No two stages of one lcore
    /// begin at the same tick, none at tick 0, and each is ended before the
    /// next one begins.
    #[inline]
    pub fn begin(&self, busy: Busy) {
        debug_assert!(busy.since_ticks != 0 && self.beat.since_ticks.load(Ordering::Relaxed) == 0);
        // Release: who sees this sees that the stage before it has ended, and
        // so does not take it for a part of that one.
        self.beat
            .what
            .store(u64::from(busy.flow_hash) << 32 | u64::from(busy.stage), Ordering::Release);
        // Release: who sees the beginning sees what it is that began, and what
        // its lcore had left for others before.
        self.beat.since_ticks.store(busy.since_ticks, Ordering::Release);
    }

    /// The stage has ended.
    #[inline]
    pub fn end(&self) {
        // Relaxed: nobody acts on the end of a stage but by doing nothing.
        self.beat.since_ticks.store(0, Ordering::Relaxed);
    }

    /// What the lcore is busy with, as one: never the flow of one stage with
    /// the time of another. `None` between long stages, and where a stage ended
    /// during the look.
    pub fn busy(&self) -> Option<Busy> {
        // Acquire: pairs with the second store of `begin`, so that what is read
        // next is no older.
        let since_ticks = self.beat.since_ticks.load(Ordering::Acquire);
        if since_ticks == 0 {
            return None;
        }
        // Acquire: pairs with the first store of a later `begin`; the end
        // before it is then seen below.
        let what = self.beat.what.load(Ordering::Acquire);
        let unchanged = self.beat.since_ticks.load(Ordering::Relaxed) == since_ticks;
        unchanged.then_some(Busy {
            since_ticks,
            flow_hash: (what >> 32) as u32,
            stage: what as u32,
        })
    }

    /// For how many ticks the lcore has been in one long stage; `None` when it
    /// is in none. One load of one line.
    ///
    /// The counters of two CPUs may differ a little: a stage that seems to
    /// begin in the future has lasted no time.
    #[inline]
    pub fn stuck_ticks(&self, now_ticks: u64) -> Option<u64> {
        // Acquire: what the lcore left for others before it began is seen, so
        // that a rescuer does not come too early.
        let since_ticks = self.beat.since_ticks.load(Ordering::Acquire);
        (since_ticks != 0).then(|| now_ticks.saturating_sub(since_ticks))
    }

    /// Tells idle lcores about how many items wait in this one's run queue.
    /// Cheap enough for every burst: it writes only when the number has changed
    /// to another class.
    #[inline]
    pub fn publish_waiting(&self, items: usize) {
        let published = self.waiting.load(Ordering::Relaxed);
        let class = Waiting::of(items);
        // Rises at once and falls late, so that a number between two classes
        // does not write all the time; but nothing is nothing.
        if class.0 > published
            || items == 0 && published != 0
            || Waiting::of(2 * items).0 < published
        {
            // Relaxed: a hint.
            self.waiting.store(class.0, Ordering::Relaxed);
        }
    }

    /// About how many items wait.
    #[inline]
    pub fn waiting(&self) -> Waiting {
        Waiting(self.waiting.load(Ordering::Relaxed))
    }
}

impl Default for Heartbeat {
    fn default() -> Self {
        Self::new()
    }
}

/// A class of lengths: 0; 1 to 7; 8 to 63; 64 to 511; and so on by the power of
/// eight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Waiting(u32);

impl Waiting {
    /// The class of this many items.
    #[inline]
    pub fn of(items: usize) -> Self {
        Self((usize::BITS - items.leading_zeros()).div_ceil(3))
    }

    /// The fewest items of this class.
    #[inline]
    pub fn items_min(self) -> usize {
        if self.0 == 0 { 0 } else { 1 << (3 * (self.0 - 1)) }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_stage_shows_from_its_begin_to_its_end() {
        let heartbeat = Heartbeat::new();
        assert_eq!((heartbeat.busy(), heartbeat.stuck_ticks(5)), (None, None));
        let busy = Busy { since_ticks: 7, flow_hash: u32::MAX, stage: 3 };
        heartbeat.begin(busy);
        assert_eq!(
            (heartbeat.busy(), heartbeat.stuck_ticks(10), heartbeat.stuck_ticks(6)),
            (Some(busy), Some(3), Some(0))
        );
        heartbeat.end();
        assert_eq!((heartbeat.busy(), heartbeat.stuck_ticks(10)), (None, None));
    }

    #[test]
    fn classes_of_lengths() {
        for (items, items_min) in
            [(0, 0), (1, 1), (7, 1), (8, 8), (63, 8), (64, 64), (100_000, 32_768)]
        {
            assert_eq!(Waiting::of(items).items_min(), items_min, "{items}");
        }
    }

    #[test]
    fn the_hint_rises_at_once_and_falls_late() {
        let heartbeat = Heartbeat::new();
        for (items, items_min) in
            [(8, 8), (7, 8), (4, 8), (3, 1), (1, 1), (0, 0), (500, 64), (0, 0)]
        {
            heartbeat.publish_waiting(items);
            assert_eq!(heartbeat.waiting().items_min(), items_min, "{items}");
        }
    }
}
