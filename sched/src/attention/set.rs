//! A set of small numbers that many lcores read and change.

use crate::sync::{AtomicU64, Line, Ordering};

/// Numbers of a set are below this.
pub const SET_MAX: usize = 256;

const WORD_BITS: usize = u64::BITS as usize;
const WORDS: usize = SET_MAX / WORD_BITS;

/// A set of numbers below [`SET_MAX`], of lcores or of shards: one load for each
/// 64 of them. By itself it guards no memory, and no order of changes is
/// promised between two numbers.
///
/// ```
/// use micropools::attention::AtomicSet;
///
/// let pressed = AtomicSet::new(10);
/// assert!(pressed.is_empty());
/// pressed.insert(7);
/// assert_eq!(pressed.iter_from(8).next(), Some(7), "it looks round the end");
/// pressed.remove(7);
/// assert_eq!(pressed.iter_from(0).next(), None);
/// ```
#[derive(Debug)]
pub struct AtomicSet {
    words: Line<[AtomicU64; WORDS]>,
    /// Words that may have members; at least one.
    used: usize,
}

impl AtomicSet {
    /// For the numbers from 0 to before `numbers`. Holds none.
    ///
    /// # Panics
    /// When there are more than [`SET_MAX`].
    pub fn new(numbers: usize) -> Self {
        assert!(numbers <= SET_MAX, "{numbers} numbers in a set of {SET_MAX}");
        Self {
            words: Line(std::array::from_fn(|_| AtomicU64::new(0))),
            used: numbers.div_ceil(WORD_BITS).max(1),
        }
    }

    #[inline]
    fn place(&self, number: usize) -> (&AtomicU64, u64) {
        (&self.words[number / WORD_BITS % WORDS], 1 << (number % WORD_BITS))
    }

    /// Whether a number is in the set.
    #[inline]
    pub fn contains(&self, number: usize) -> bool {
        let (word, bit) = self.place(number);
        word.load(Ordering::Relaxed) & bit != 0
    }

    /// Adds a number. Writes only if it was not there.
    #[inline]
    pub fn insert(&self, number: usize) {
        let (word, bit) = self.place(number);
        if word.load(Ordering::Relaxed) & bit == 0 {
            word.fetch_or(bit, Ordering::Relaxed);
        }
    }

    /// Removes a number. Writes only if it was there.
    #[inline]
    pub fn remove(&self, number: usize) {
        let (word, bit) = self.place(number);
        if word.load(Ordering::Relaxed) & bit != 0 {
            word.fetch_and(!bit, Ordering::Relaxed);
        }
    }

    /// Whether each of the eight numbers from `8 * at` on is in the set, as bits.
    #[inline(always)]
    pub(crate) fn byte(&self, at: usize) -> u64 {
        let bytes = WORD_BITS / 8;
        self.words[at / bytes % WORDS].load(Ordering::Relaxed) >> (at % bytes * 8) & 0xff
    }

    /// Whether the set has no members.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.words[..self.used].iter().all(|word| word.load(Ordering::Relaxed) == 0)
    }

    /// How many members it has.
    #[inline]
    pub fn len(&self) -> usize {
        let ones = |word: &AtomicU64| word.load(Ordering::Relaxed).count_ones() as usize;
        self.words[..self.used].iter().map(ones).sum()
    }

    /// The members from `first` on, round the end, each once.
    #[inline]
    pub fn iter_from(&self, first: usize) -> impl Iterator<Item = usize> {
        let (start, below) = (first / WORD_BITS, (1u64 << (first % WORD_BITS)) - 1);
        (0..=self.used).flat_map(move |step| {
            let at = (start + step) % self.used;
            let mask = match step {
                0 => !below,
                _ if step == self.used => below,
                _ => u64::MAX,
            };
            ones(self.words[at].load(Ordering::Relaxed) & mask).map(move |bit| at * WORD_BITS + bit)
        })
    }
}

/// The places of the ones in a word, from the lowest on.
#[inline]
pub(crate) fn ones(mut word: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let bit = word.trailing_zeros() as usize;
        word &= word.wrapping_sub(1);
        (bit < WORD_BITS).then_some(bit)
    })
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(crate::cases())]

        #[test]
        fn a_set_is_a_set(
            numbers in 1..=SET_MAX,
            operations in prop::collection::vec(any::<(bool, prop::sample::Index)>(), 0..100),
            first in any::<prop::sample::Index>(),
        ) {
            let (set, mut model) = (AtomicSet::new(numbers), BTreeSet::new());
            for (inserts, index) in operations {
                let number = index.index(numbers);
                if inserts {
                    set.insert(number);
                    model.insert(number);
                } else {
                    set.remove(number);
                    model.remove(&number);
                }
            }
            let first = first.index(numbers);
            let round: Vec<_> = model.range(first..).chain(model.range(..first)).copied().collect();
            prop_assert_eq!(set.iter_from(first).collect::<Vec<_>>(), round);
            prop_assert_eq!((set.is_empty(), set.len()), (model.is_empty(), model.len()));
            prop_assert!((0..numbers).all(|at| set.contains(at) == model.contains(&at)));
        }
    }
}
