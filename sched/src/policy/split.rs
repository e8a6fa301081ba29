//! Which lcores are in which pool, where that changes while they run.

use super::{Permits, Pool};
use crate::sync::{AtomicU32, Line, Ordering};

/// How many lcores are in pool A: the first ones. The others are in pool B. Each
/// lcore reads it before each step, and is in the pool that it read until the
/// step is over. One lcore or thread writes it, seldom.
///
/// ```
/// use micropools::policy::{Pool, Split};
///
/// let split = Split::new(3);
/// assert_eq!((split.pool_of(2), split.pool_of(3)), (Pool::A, Pool::B));
/// ```
#[derive(Debug)]
pub struct Split {
    pool_a: Line<AtomicU32>,
}

impl Split {
    /// The first `pool_a` lcores are in pool A.
    pub fn new(pool_a: usize) -> Self {
        Self { pool_a: Line(AtomicU32::new(pool_a as u32)) }
    }

    /// How many lcores are in pool A, or will be from their next step on.
    #[inline(always)]
    pub fn pool_a(&self) -> usize {
        // Relaxed: the word guards no other memory.
        self.pool_a.load(Ordering::Relaxed) as usize
    }

    /// The pool of the next step of the lcore at `at`.
    #[inline(always)]
    pub fn pool_of(&self, at: usize) -> Pool {
        if at < self.pool_a() { Pool::A } else { Pool::B }
    }

    /// Goes on with a change to `pool_a` lcores in pool A and a cap of `cap`.
    /// Returns whether all of it is done. The caller repeats the call until then,
    /// and begins no other change before. `shown`: the pool that each lcore shows
    /// on its board.
    ///
    /// At every moment of it at least one lcore of pool A holds no permit:
    ///
    /// * An lcore's permit is of the pool that it is in, because it acquires and
    ///   drops it within one step.
    /// * Before pool A shrinks, its permits are limited to what is to be left of
    ///   it, and those held beyond are given back.
    /// * After pool A has grown, its permits are limited as before until all its
    ///   new lcores have begun a step in it.
    pub fn advance(
        &self,
        pool_a: usize,
        cap: usize,
        permits: &Permits,
        shown: impl IntoIterator<Item = Pool>,
    ) -> bool {
        let before = self.pool_a();
        if pool_a < before {
            permits.limit(cap, pool_a);
            if permits.held().1 as usize >= pool_a {
                return false;
            }
        }
        if pool_a != before {
            self.pool_a.store(pool_a as u32, Ordering::Relaxed);
        }
        let moved = shown.into_iter().enumerate().all(|(at, pool)| pool == self.pool_of(at));
        if moved {
            permits.limit(cap, pool_a);
        }
        moved
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn pool_a_shrinks_when_one_of_those_left_holds_no_permit() {
        let (split, permits) = (Split::new(3), Permits::new(2, 3));
        let shown = std::cell::Cell::new([Pool::A, Pool::A, Pool::A, Pool::B]);
        let advance = || split.advance(2, 3, &permits, shown.get());
        let held = [(); 2].map(|()| permits.try_acquire(Pool::A).unwrap());
        assert!(!advance() && split.pool_a() == 3, "both may be of lcores that are left");
        let [first, second] = held;
        drop(first);
        assert!(!advance() && split.pool_a() == 2, "lcore 2 has not moved");
        assert!(!permits.is_available(Pool::A) && permits.is_available(Pool::B));
        shown.set([Pool::A, Pool::A, Pool::B, Pool::B]);
        assert!(advance() && !permits.is_available(Pool::A));
        drop(second);
        assert!(permits.is_available(Pool::A));
    }

    #[test]
    fn pool_a_has_more_permits_when_it_has_grown() {
        let (split, permits) = (Split::new(1), Permits::new(2, 1));
        let shown = std::cell::Cell::new([Pool::A, Pool::B, Pool::B]);
        let advance = || split.advance(2, 1, &permits, shown.get());
        let permit = permits.try_acquire(Pool::B);
        assert!(!advance() && split.pool_of(1) == Pool::A);
        assert!(!permits.is_available(Pool::A), "lcore 1 may hold the permit of pool B");
        drop(permit);
        shown.set([Pool::A, Pool::A, Pool::B]);
        assert!(advance() && permits.is_available(Pool::A));
        let _held = permits.try_acquire(Pool::A).unwrap();
        assert!(!permits.is_available(Pool::A) && !permits.is_available(Pool::B), "the cap is 1");
    }
}
