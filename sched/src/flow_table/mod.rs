//! A table that all lcores share: one value per flow. It has a fixed size and
//! allocates nothing after the start; a flow that is not looked up during the
//! timeout expires; reads take no lock. What a value means is the caller's
//! business.
//!
//! The table is set-associative. A key belongs to one set, two cache lines with
//! room for [`WAYS`] flows. A new flow whose set is full of live ones evicts
//! the one that was looked up least recently.
//!
//! # Protocol
//! * A set's version is that of a seqlock: odd while a writer is in the set. It
//!   is also the writers' lock, so that a flow never has two entries, and no
//!   update computed from the old value is lost.
//! * A reader loads the version, finds the key, loads the value, and loads the
//!   version again: if that is unchanged and even, key and value belong
//!   together. After [`READ_TRIES`] failures it gives up, and reports the flow
//!   as unknown. It never waits.
//! * A reader that finds an entry's time old replaces it by a compare-and-swap
//!   of the whole word: value and time change together or not at all. It does
//!   so at most once per flow and unit of time (1/256 to 1/128 of the timeout),
//!   so that lines seldom move. If meanwhile another flow took over the entry
//!   with the very same word, that flow seems a little younger than it is.
//!
//! ```
//! use micropools::flow_table::{FlowTable, Upsert};
//!
//! // 1,000 flows, each remembered for 60 s of a clock of 1 GHz.
//! let table = FlowTable::new(1_000, 60_000_000_000);
//! let (key, now_ticks) = (0x9e37_79b9_7f4a_7c15, 5);
//! assert_eq!(table.get(key, now_ticks), None);
//! let count = |old: Option<u64>| old.unwrap_or(0) + 1;
//! assert_eq!(table.update(key, now_ticks, count), (1, Upsert::Inserted));
//! assert_eq!(table.update(key, now_ticks, count), (2, Upsert::Updated));
//! assert_eq!(table.get(key, now_ticks), Some(2));
//! ```

use crate::sync::{AtomicU64, Ordering, fence};

#[cfg(all(test, not(loom)))]
mod tests;

/// Flows per set.
pub const WAYS: usize = 7;

/// How often a reader tries that meets writers.
pub const READ_TRIES: u32 = 4;

/// The largest value that the table holds.
pub const VALUE_MAX: u64 = (1 << VALUE_BITS) - 1;

const TIME_BITS: u32 = 24;
const VALUE_BITS: u32 = 64 - TIME_BITS;
const TIME_MASK: u64 = (1 << TIME_BITS) - 1;

/// How many units of time a timeout has, at least.
const UNITS_MIN: u64 = 128;

/// The key of a free entry.
const EMPTY: u64 = 0;

/// Two cache lines, which the adjacent-line prefetcher fetches together: a
/// lookup compares keys in the first and reads a word of the second.
#[repr(align(128))]
struct Set {
    version: AtomicU64,
    keys: [AtomicU64; WAYS],
    /// The value, and below it the time of the last lookup, in units.
    words: [AtomicU64; WAYS],
}

/// The result of an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upsert {
    /// The flow was known, and has a new value.
    Updated,
    /// The flow was unknown, and got a free entry.
    Inserted,
    /// The flow was unknown, and got the entry of a live one.
    Evicted,
}

/// The table. Times are in ticks of any clock, the same one for all calls.
pub struct FlowTable {
    sets: Box<[Set]>,
    /// From ticks to units of time.
    shift: u32,
    timeout_units: u64,
}

impl FlowTable {
    /// Room for `flows` flows, rounded up to whole sets of 128 bytes. A flow
    /// that is not looked up during `timeout_ticks` expires, a hundredth of
    /// that earlier or later. Times wrap: an entry that was not touched for
    /// 32,768 timeouts counts as live again.
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

    /// Room for so many flows.
    pub fn capacity(&self) -> usize {
        self.sets.len() * WAYS
    }

    /// The value of the flow with that key, if the table has it. Renews its
    /// time.
    ///
    /// The key stands for the flow: it must be a hash of all that identifies
    /// the flow, with all 64 bits well spread.
    #[inline]
    pub fn get(&self, key: u64, now_ticks: u64) -> Option<u64> {
        let (key, set) = self.locate(key);
        for tries in 0..READ_TRIES {
            // Acquire: sees what a writer wrote before it made the version
            // even.
            let version = set.version.load(Ordering::Acquire);
            if !version.is_multiple_of(2) {
                crate::sync::back_off(tries);
                continue;
            }
            let way = set.way(key);
            let word = way.map_or(0, |way| set.words[way].load(Ordering::Relaxed));
            // Acquire: pairs with the fence of `lock`: if a later writer wrote
            // any of this, the version shows it.
            fence(Ordering::Acquire);
            if set.version.load(Ordering::Relaxed) == version {
                return way.and_then(|way| self.live(&set.words[way], word, self.units(now_ticks)));
            }
        }
        None
    }

    /// The word's value, unless it has expired; renews its time.
    #[inline]
    fn live(&self, at: &AtomicU64, word: u64, now: u64) -> Option<u64> {
        let age = age(word, now);
        if age > self.timeout_units {
            return None;
        }
        if age > 0 {
            // A failure means that something newer was written. Relaxed: only
            // the word itself is published.
            let _ = at.compare_exchange(
                word,
                pack(word >> TIME_BITS, now),
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
        }
        Some(word >> TIME_BITS)
    }

    /// Gives the flow the value that `next` makes of its present one (`None`:
    /// it is unknown), at most [`VALUE_MAX`]. Returns the new value, and how it
    /// was stored. `next` should be short: other writers of the set wait for
    /// it.
    pub fn update(
        &self,
        key: u64,
        now_ticks: u64,
        next: impl FnOnce(Option<u64>) -> u64,
    ) -> (u64, Upsert) {
        let (key, set) = self.locate(key);
        let now = self.units(now_ticks);
        set.lock();
        let known = set.way(key).map(|way| (way, set.words[way].load(Ordering::Relaxed)));
        let known = known.filter(|&(_, word)| age(word, now) <= self.timeout_units);
        let (way, done) = match known {
            Some((way, _)) => (way, Upsert::Updated),
            None => set.way(key).map_or_else(|| self.room(set, now), |way| (way, Upsert::Inserted)),
        };
        let value = next(known.map(|(_, word)| word >> TIME_BITS)).min(VALUE_MAX);
        set.keys[way].store(key, Ordering::Relaxed);
        // A read-modify-write, as a reader's renewal is: that comes before
        // this, or fails.
        set.words[way].swap(pack(value, now), Ordering::Relaxed);
        // Release: a reader that sees the even version sees the key and the
        // word.
        set.version.fetch_add(1, Ordering::Release);
        (value, done)
    }

    /// How many flows are live. For reports: it reads the whole table.
    pub fn live_flows(&self, now_ticks: u64) -> usize {
        let now = self.units(now_ticks);
        let live = |set: &Set| (0..WAYS).filter(|&way| !self.is_free(set, way, now)).count();
        self.sets.iter().map(live).sum()
    }

    /// An entry for a new flow, in a set that the caller has locked.
    fn room(&self, set: &Set, now: u64) -> (usize, Upsert) {
        let free = (0..WAYS).find(|&way| self.is_free(set, way, now));
        let oldest = || {
            (0..WAYS)
                .max_by_key(|&way| age(set.words[way].load(Ordering::Relaxed), now))
                .unwrap_or(0)
        };
        free.map_or_else(|| (oldest(), Upsert::Evicted), |way| (way, Upsert::Inserted))
    }

    fn is_free(&self, set: &Set, way: usize, now: u64) -> bool {
        set.keys[way].load(Ordering::Relaxed) == EMPTY
            || age(set.words[way].load(Ordering::Relaxed), now) > self.timeout_units
    }

    /// The key as the table stores it, and its set: by multiplication with the
    /// number of sets, of which the high word counts.
    #[inline]
    fn locate(&self, key: u64) -> (u64, &Set) {
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

    /// Waits until no other writer is in the set, and makes the version odd.
    /// The addition of one unlocks.
    fn lock(&self) {
        let mut tries = 0;
        // Acquire: pairs with the last writer's release.
        while !self.version.fetch_or(1, Ordering::Acquire).is_multiple_of(2) {
            crate::sync::back_off(tries);
            tries += 1;
        }
        // Release: a reader that reads what is written from here on, and then
        // acquires, sees the odd version.
        fence(Ordering::Release);
    }
}

#[inline]
fn pack(value: u64, units: u64) -> u64 {
    value << TIME_BITS | units
}

/// The age of a word's last lookup, in units. Lcores' clocks may differ a
/// little, so a time in the future has age 0.
#[inline]
fn age(word: u64, now: u64) -> u64 {
    let age = now.wrapping_sub(word) & TIME_MASK;
    if age > TIME_MASK / 2 { 0 } else { age }
}
