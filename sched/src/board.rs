//! What lcores show of themselves so that others can help: a beat that says
//! that an lcore runs, and sets of lcores that want help. Written seldom, and
//! never on lines that the owner's own work touches.
//!
//! An lcore that is inside one long packet says so in its
//! [`Heartbeat`](crate::heartbeat::Heartbeat). An lcore whose CPU was taken away
//! cannot say anything: its beat grows old.

use crate::sync::{AtomicU64, Line, Ordering};

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

    /// The lcore runs at `now`. For that lcore alone.
    #[inline(always)]
    pub fn show(&self, now_ticks: u64) {
        // Relaxed: nobody reads anything that was written before.
        let shown_ticks = self.shown_ticks.load(Ordering::Relaxed);
        if now_ticks.wrapping_sub(shown_ticks) >= self.every_ticks {
            self.shown_ticks.store(now_ticks, Ordering::Relaxed);
        }
    }

    /// For how long the lcore has not been seen. The counters of two CPUs may
    /// differ a little: a beat in the future is of now.
    #[inline]
    pub fn age_ticks(&self, now_ticks: u64) -> u64 {
        now_ticks.saturating_sub(self.shown_ticks.load(Ordering::Relaxed))
    }
}

/// The most lcores of a set.
pub const SET_MAX: usize = 256;

const WORD_BITS: usize = u64::BITS as usize;
const WORDS: usize = SET_MAX / WORD_BITS;

/// A set of lcores by their numbers, below [`SET_MAX`]. All of it is a hint: it
/// tells idle lcores where to look, with one load for each 64 lcores, and
/// guards no memory.
///
/// ```
/// use micropools::board::LcoreSet;
///
/// let pressed = LcoreSet::new(10);
/// assert!(pressed.is_empty());
/// pressed.insert(7);
/// assert_eq!(pressed.next_from(8), Some(7), "it looks round the end");
/// pressed.remove(7);
/// assert_eq!(pressed.next_from(0), None);
/// ```
#[derive(Debug)]
pub struct LcoreSet {
    words: Line<[AtomicU64; WORDS]>,
    /// Words that have lcores.
    used: usize,
}

impl LcoreSet {
    /// For lcores from 0 to before `lcores`. Holds none.
    ///
    /// # Panics
    /// When there are more than [`SET_MAX`].
    pub fn new(lcores: usize) -> Self {
        assert!(lcores <= SET_MAX, "{lcores} lcores in a set of {SET_MAX}");
        Self {
            words: Line(std::array::from_fn(|_| AtomicU64::new(0))),
            used: lcores.div_ceil(WORD_BITS),
        }
    }

    #[inline]
    fn place(&self, lcore: usize) -> (&AtomicU64, u64) {
        (&self.words[lcore / WORD_BITS % WORDS], 1 << (lcore % WORD_BITS))
    }

    #[inline]
    pub fn contains(&self, lcore: usize) -> bool {
        let (word, bit) = self.place(lcore);
        word.load(Ordering::Relaxed) & bit != 0
    }

    /// Adds an lcore. Writes only if it was not there.
    #[inline]
    pub fn insert(&self, lcore: usize) {
        let (word, bit) = self.place(lcore);
        if word.load(Ordering::Relaxed) & bit == 0 {
            word.fetch_or(bit, Ordering::Relaxed);
        }
    }

    /// Removes an lcore. Writes only if it was there.
    #[inline]
    pub fn remove(&self, lcore: usize) {
        let (word, bit) = self.place(lcore);
        if word.load(Ordering::Relaxed) & bit != 0 {
            word.fetch_and(!bit, Ordering::Relaxed);
        }
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.words[..self.used].iter().all(|word| word.load(Ordering::Relaxed) == 0)
    }

    /// The first lcore from `first` on that is in the set, round the end.
    #[inline]
    pub fn next_from(&self, first: usize) -> Option<usize> {
        let (start, below) = (first / WORD_BITS % WORDS, (1 << (first % WORD_BITS)) - 1);
        let lowest = |at: usize, mask: u64| {
            let found = self.words[at].load(Ordering::Relaxed) & mask;
            (found != 0).then(|| at * WORD_BITS + found.trailing_zeros() as usize)
        };
        let later = (start + 1..self.used).chain(0..start.min(self.used));
        lowest(start, !below)
            .or_else(|| later.into_iter().find_map(|at| lowest(at, u64::MAX)))
            .or_else(|| lowest(start, below))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_beat_in_the_future_is_of_now() {
        assert_eq!(Beat::new(50, 1).age_ticks(40), 0);
    }

    #[test]
    fn a_beat_is_written_no_more_often_than_was_asked_for() {
        let beat = Beat::new(0, 10);
        (1..10).for_each(|now| beat.show(now));
        assert_eq!(beat.age_ticks(9), 9);
        beat.show(10);
        assert_eq!(beat.age_ticks(12), 2);
    }

    proptest! {
        #[test]
        fn a_set_is_a_set(
            lcores in 1..=SET_MAX,
            deeds in prop::collection::vec(any::<(bool, prop::sample::Index)>(), 0..100),
            first in any::<prop::sample::Index>(),
        ) {
            let (set, mut model) = (LcoreSet::new(lcores), BTreeSet::new());
            for (inserts, index) in deeds {
                let lcore = index.index(lcores);
                if inserts {
                    set.insert(lcore);
                    model.insert(lcore);
                } else {
                    set.remove(lcore);
                    model.remove(&lcore);
                }
            }
            let first = first.index(lcores);
            let next = model.range(first..).next().or_else(|| model.iter().next()).copied();
            prop_assert_eq!(set.next_from(first), next);
            prop_assert_eq!(set.is_empty(), model.is_empty());
            prop_assert!((0..lcores).all(|lcore| set.contains(lcore) == model.contains(&lcore)));
        }
    }
}
