//! What is known of flows: a table of fixed size that all lcores share, of a
//! number per flow. It is bounded (nothing is allocated after the start), aged
//! (a flow that nobody asked for during the timeout is forgotten), and read
//! without a lock. It knows neither packets nor what the numbers mean.
//!
//! The table is set-associative. A key belongs into one set, two cache lines
//! with room for [`WAYS`] flows; a flow that finds its set full of live ones
//! takes the place of the one that was asked for least recently.
//!
//! # Who may do what
//! * A set's version is a seqlock's: odd while a writer is in the set. It is
//!   the writers' lock too, so that two of them never give one flow two places,
//!   and what a writer computes from the old number is not lost.
//! * A reader takes the version, finds the key, reads the number, and takes the
//!   version again: if it is the same and even, key and number belong together.
//!   After [`READ_TRIES`] attempts in vain it gives up, and the flow counts as
//!   unknown. It never waits.
//! * A reader that finds a flow's time old writes the new time, by a
//!   compare-and-exchange of the whole word: number and time change together or
//!   not at all. It does so at most once per unit of time (1/256 to 1/128 of
//!   the timeout) and flow, so that lines seldom move. If in between the place
//!   went to another flow whose word is the very same, that one is taken for a
//!   little younger than it is.

use crate::sync::{AtomicU64, Ordering, fence};

#[cfg(all(test, not(loom)))]
mod tests;

/// Flows per set.
pub const WAYS: usize = 7;

/// How often a reader looks that meets writers.
pub const READ_TRIES: u32 = 4;

/// The largest number that the table keeps.
pub const VALUE_MAX: u64 = (1 << VALUE_BITS) - 1;

const TIME_BITS: u32 = 24;
const VALUE_BITS: u32 = 64 - TIME_BITS;
const TIME_MASK: u64 = (1 << TIME_BITS) - 1;

/// How many units of time a timeout has, at least.
const UNITS_MIN: u64 = 128;

/// A key that no flow has.
const EMPTY: u64 = 0;

/// Two cache lines, which the adjacent-line prefetcher brings together: a
/// lookup compares keys in the first and reads a word of the second.
#[repr(align(128))]
struct Set {
    version: AtomicU64,
    keys: [AtomicU64; WAYS],
    /// The number, and below it when the flow was asked for last, in units.
    words: [AtomicU64; WAYS],
}

/// What a flow's update found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The flow was known.
    Known,
    /// It was not, and there was room.
    New,
    /// It was not, and took the place of another one.
    Evicted,
}

/// The table.
pub struct FlowTable {
    sets: Box<[Set]>,
    /// From ticks to units of time.
    shift: u32,
    timeout_units: u64,
}

impl FlowTable {
    /// Room for `flows` flows, rounded up to whole sets (128 bytes each). One
    /// that was not asked for during `timeout_ticks` is forgotten, a hundredth
    /// of that earlier or later. Until 32,768 timeouts are over, its place
    /// counts as free; after that it would be taken for a live one.
    pub fn new(flows: usize, timeout_ticks: u64) -> Self {
        let set = || Set {
            version: AtomicU64::new(0),
            keys: std::array::from_fn(|_| AtomicU64::new(EMPTY)),
            words: std::array::from_fn(|_| AtomicU64::new(0)),
        };
        let shift = (timeout_ticks / UNITS_MIN).max(1).ilog2();
        let sets = (0..flows.div_ceil(WAYS).max(1)).map(|_| set()).collect();
        Self { sets, shift, timeout_units: (timeout_ticks >> shift).max(1) }
    }

    /// How many flows there is room for.
    pub fn capacity(&self) -> usize {
        self.sets.len() * WAYS
    }

    /// The number of the flow whose key is `key`, if the table has it.
    /// `now_ticks`: any clock's, the same for all calls. A key stands for its
    /// flow: it has to be a hash of all that tells flows apart, with all 64
    /// bits well spread.
    #[inline]
    pub fn get(&self, key: u64, now_ticks: u64) -> Option<u64> {
        let (key, set) = self.place(key);
        for tries in 0..READ_TRIES {
            // Acquire: what a writer wrote before it made the version even is
            // seen.
            let version = set.version.load(Ordering::Acquire);
            if !version.is_multiple_of(2) {
                crate::sync::back_off(tries);
                continue;
            }
            let way = set.way(key);
            let word = way.map_or(0, |way| set.words[way].load(Ordering::Relaxed));
            // Acquire: pairs with the writers' fence: if any of this was of a
            // later writing, the version shows it.
            fence(Ordering::Acquire);
            if set.version.load(Ordering::Relaxed) == version {
                return way.and_then(|way| self.live(&set.words[way], word, self.units(now_ticks)));
            }
        }
        None
    }

    /// The word's number, unless it is too old; its time is renewed.
    #[inline]
    fn live(&self, at: &AtomicU64, word: u64, now: u64) -> Option<u64> {
        let age = age(word, now);
        if age > self.timeout_units {
            return None;
        }
        if age > 0 {
            // Whoever is faster has written something newer. Relaxed: the word
            // is all that is published.
            let _ = at.compare_exchange(
                word,
                pack(word >> TIME_BITS, now),
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
        }
        Some(word >> TIME_BITS)
    }

    /// Gives the flow the number that `next` makes of its present one (none: it
    /// is not known), at most [`VALUE_MAX`]. Returns that, and what place the
    /// flow has. `next` should be short: other writers wait for it.
    pub fn update(
        &self,
        key: u64,
        now_ticks: u64,
        next: impl FnOnce(Option<u64>) -> u64,
    ) -> (u64, Place) {
        let (key, set) = self.place(key);
        let now = self.units(now_ticks);
        set.lock();
        let known = set.way(key).map(|way| (way, set.words[way].load(Ordering::Relaxed)));
        let known = known.filter(|&(_, word)| age(word, now) <= self.timeout_units);
        let (way, place) = match known {
            Some((way, _)) => (way, Place::Known),
            None => set.way(key).map_or_else(|| self.room(set, now), |way| (way, Place::New)),
        };
        let value = next(known.map(|(_, word)| word >> TIME_BITS)).min(VALUE_MAX);
        set.keys[way].store(key, Ordering::Relaxed);
        // Exchanged, as readers do it: whatever a reader renews comes before
        // this, or fails.
        set.words[way].swap(pack(value, now), Ordering::Relaxed);
        // Release: whoever sees the even version sees the key and the word.
        set.version.fetch_add(1, Ordering::Release);
        (value, place)
    }

    /// How many flows are known now. For reports: it looks at the whole table.
    pub fn live_flows(&self, now_ticks: u64) -> usize {
        let now = self.units(now_ticks);
        let live = |set: &Set| (0..WAYS).filter(|&way| !self.is_free(set, way, now)).count();
        self.sets.iter().map(live).sum()
    }

    /// Where a new flow goes in a set that the caller has locked.
    fn room(&self, set: &Set, now: u64) -> (usize, Place) {
        let free = (0..WAYS).find(|&way| self.is_free(set, way, now));
        let oldest = || {
            (0..WAYS)
                .max_by_key(|&way| age(set.words[way].load(Ordering::Relaxed), now))
                .unwrap_or(0)
        };
        free.map_or_else(|| (oldest(), Place::Evicted), |way| (way, Place::New))
    }

    fn is_free(&self, set: &Set, way: usize, now: u64) -> bool {
        set.keys[way].load(Ordering::Relaxed) == EMPTY
            || age(set.words[way].load(Ordering::Relaxed), now) > self.timeout_units
    }

    /// The key as the table has it, and its set: by the high bits, whatever the
    /// number of sets.
    #[inline]
    fn place(&self, key: u64) -> (u64, &Set) {
        let at = (u128::from(key) * self.sets.len() as u128) >> 64;
        (key.max(EMPTY + 1), &self.sets[at as usize])
    }

    #[inline]
    fn units(&self, ticks: u64) -> u64 {
        (ticks >> self.shift) & TIME_MASK
    }
}

impl Set {
    #[inline]
    fn way(&self, key: u64) -> Option<usize> {
        self.keys.iter().position(|at| at.load(Ordering::Relaxed) == key)
    }

    /// Waits until no other writer is in the set, and makes the version odd;
    /// the next addition of one lets the next writer in.
    fn lock(&self) {
        let mut tries = 0;
        // Acquire: pairs with the last writer's release.
        while !self.version.fetch_or(1, Ordering::Acquire).is_multiple_of(2) {
            crate::sync::back_off(tries);
            tries += 1;
        }
        // Release: who reads what is written from here on, and then acquires,
        // sees the odd version.
        fence(Ordering::Release);
    }
}

#[inline]
fn pack(value: u64, units: u64) -> u64 {
    value << TIME_BITS | units
}

/// For how many units a word was not asked for. Lcores' clocks may differ a
/// little: what lies ahead is new.
#[inline]
fn age(word: u64, now: u64) -> u64 {
    let age = now.wrapping_sub(word) & TIME_MASK;
    if age > TIME_MASK / 2 { 0 } else { age }
}
