//! Sets of lcores that want attention. They tell idle lcores where to look.

use crate::sync::{AtomicU64, Line, Ordering};

/// The most lcores of a set.
pub const SET_MAX: usize = 256;

const WORD_BITS: usize = u64::BITS as usize;
const WORDS: usize = SET_MAX / WORD_BITS;

/// A set of lcores by their numbers, below [`SET_MAX`]. All of it is a hint: it
/// tells idle lcores where to look, with one load for each 64 lcores, and
/// guards no memory.
///
/// ```
/// use micropools::attention::LcoreSet;
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

    /// Whether an lcore is in the set.
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

    /// Whether no lcore is.
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

    proptest! {
        #![proptest_config(crate::cases())]

        #[test]
        fn a_set_is_a_set(
            lcores in 1..=SET_MAX,
            operations in prop::collection::vec(any::<(bool, prop::sample::Index)>(), 0..100),
            first in any::<prop::sample::Index>(),
        ) {
            let (set, mut model) = (LcoreSet::new(lcores), BTreeSet::new());
            for (inserts, index) in operations {
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
