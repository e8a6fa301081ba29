//! The heartbeat that idle lcores read: since when its owner has been in one
//! long stage, which stage that is, and about how many items are queued behind
//! it. One writer. Readers touch none of the lines that the owner's own work
//! uses.

use crate::sync::{AtomicU32, AtomicU64, Line, Ordering};

/// A packet's cost, as far as it is known before its stage has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cost {
    /// The cheap stage may turn out to be long.
    Unknown,
    /// It is in the expensive stage.
    Expensive,
}

/// The work that keeps an lcore busy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Busy {
    /// When the stage began, in ticks of the time stamp counter; never 0.
    pub since_ticks: u64,
    /// The RSS hash of the packet's flow.
    pub flow_hash: u32,
    /// How long that may take.
    pub cost: Cost,
}

/// One lcore's heartbeat, on lines of its own. Only that lcore may call
/// `begin`, `end` and `publish_queued`.
///
/// A long stage costs three plain stores and no fence; an lcore that has none
/// writes nothing.
///
/// ```
/// use micropools::heartbeat::{Busy, Cost, Heartbeat};
///
/// let heartbeat = Heartbeat::new();
/// heartbeat.publish_queued(20);
/// let busy = Busy { since_ticks: 1_000, flow_hash: 0x5eed, cost: Cost::Unknown };
/// heartbeat.begin(busy);
/// // Another lcore looks:
/// assert_eq!(heartbeat.busy_ticks(1_500), Some(500));
/// assert_eq!(heartbeat.busy(), Some(busy));
/// assert_eq!(heartbeat.queued().items_min(), 8);
/// // The stage has ended:
/// heartbeat.end();
/// assert_eq!(heartbeat.busy(), None);
/// ```
pub struct Heartbeat {
    beat: Line<Beat>,
    /// On a line that changes seldom, because idle lcores look at it often.
    queued: Line<AtomicU32>,
}

struct Beat {
    /// 0 between long stages.
    since_ticks: AtomicU64,
    /// Flow hash and cost. Written only while `since_ticks` is 0, which makes
    /// `since_ticks` the version of a seqlock.
    what: AtomicU64,
}

fn pack(flow_hash: u32, cost: Cost) -> u64 {
    u64::from(flow_hash) << 32 | u64::from(cost == Cost::Expensive)
}

impl Heartbeat {
    /// Busy with nothing, nothing queued.
    pub fn new() -> Self {
        Self {
            beat: Line(Beat { since_ticks: AtomicU64::new(0), what: AtomicU64::new(0) }),
            queued: Line(AtomicU32::new(0)),
        }
    }

    /// A stage of unknown or expensive cost begins. Caller must end each stage
    /// before it begins the next one, and no two stages of an lcore may begin
    /// at the same tick.
    #[inline]
    pub fn begin(&self, busy: Busy) {
        debug_assert!(busy.since_ticks != 0 && self.beat.since_ticks.load(Ordering::Relaxed) == 0);
        // Release: a reader that sees this sees the end of the stage before,
        // and does not attribute it to that stage.
        self.beat.what.store(pack(busy.flow_hash, busy.cost), Ordering::Release);
        // Release: a reader that sees the beginning sees what began, and what
        // this lcore queued for others before.
        self.beat.since_ticks.store(busy.since_ticks, Ordering::Release);
    }

    /// The stage has ended.
    #[inline]
    pub fn end(&self) {
        // Relaxed: the end of a stage makes readers do nothing.
        self.beat.since_ticks.store(0, Ordering::Relaxed);
    }

    /// The lcore's present long stage, read consistently: never the flow of one
    /// stage with the time of another. `None` between long stages, and where a
    /// stage ended during the look.
    pub fn busy(&self) -> Option<Busy> {
        // Acquire: pairs with the second store of `begin`; what is read next is
        // no older.
        let since_ticks = self.beat.since_ticks.load(Ordering::Acquire);
        if since_ticks == 0 {
            return None;
        }
        // Acquire: pairs with the first store of a later `begin`: the end
        // before it is seen below.
        let what = self.beat.what.load(Ordering::Acquire);
        let unchanged = self.beat.since_ticks.load(Ordering::Relaxed) == since_ticks;
        unchanged.then_some(Busy {
            since_ticks,
            flow_hash: (what >> 32) as u32,
            cost: if what as u32 == 0 { Cost::Unknown } else { Cost::Expensive },
        })
    }

    /// For how many ticks the lcore has been in one long stage; `None` when it
    /// is in none. One load of one line.
    ///
    /// The counters of two CPUs may differ a little: a stage that seems to
    /// begin in the future has lasted no time.
    #[inline]
    pub fn busy_ticks(&self, now_ticks: u64) -> Option<u64> {
        // Acquire: what the lcore left for others before it began is seen, so
        // that a rescuer does not find it missing.
        let since_ticks = self.beat.since_ticks.load(Ordering::Acquire);
        (since_ticks != 0).then(|| now_ticks.saturating_sub(since_ticks))
    }

    /// Tells idle lcores about how many items are queued here. Cheap enough for
    /// every burst: it writes only when the number's class changes.
    #[inline]
    pub fn publish_queued(&self, items: usize) {
        let published = self.queued.load(Ordering::Relaxed);
        let class = LengthClass::of(items);
        // Rises at once and falls late, so that a number between two classes
        // does not write all the time. Zero is published at once.
        if class.0 > published
            || items == 0 && published != 0
            || LengthClass::of(2 * items).0 < published
        {
            // Relaxed: a hint.
            self.queued.store(class.0, Ordering::Relaxed);
        }
    }

    /// About how many items are queued.
    #[inline]
    pub fn queued(&self) -> LengthClass {
        LengthClass(self.queued.load(Ordering::Relaxed))
    }
}

impl Default for Heartbeat {
    fn default() -> Self {
        Self::new()
    }
}

/// A class of queue lengths: 0; 1 to 7; 8 to 63; 64 to 511; and so on by the
/// power of eight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LengthClass(u32);

impl LengthClass {
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
        assert_eq!((heartbeat.busy(), heartbeat.busy_ticks(5)), (None, None));
        for cost in [Cost::Unknown, Cost::Expensive] {
            let busy = Busy { since_ticks: 7, flow_hash: u32::MAX, cost };
            heartbeat.begin(busy);
            assert_eq!(
                (heartbeat.busy(), heartbeat.busy_ticks(10), heartbeat.busy_ticks(6)),
                (Some(busy), Some(3), Some(0))
            );
            heartbeat.end();
            assert_eq!((heartbeat.busy(), heartbeat.busy_ticks(10)), (None, None));
        }
    }

    #[test]
    fn length_classes_are_powers_of_eight() {
        for (items, items_min) in
            [(0, 0), (1, 1), (7, 1), (8, 8), (63, 8), (64, 64), (100_000, 32_768)]
        {
            assert_eq!(LengthClass::of(items).items_min(), items_min, "{items}");
        }
    }

    #[test]
    fn the_hint_rises_at_once_and_falls_late() {
        let heartbeat = Heartbeat::new();
        for (items, items_min) in
            [(8, 8), (7, 8), (4, 8), (3, 1), (1, 1), (0, 0), (500, 64), (0, 0)]
        {
            heartbeat.publish_queued(items);
            assert_eq!(heartbeat.queued().items_min(), items_min, "{items}");
        }
    }
}
