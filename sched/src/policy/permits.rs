//! Limits how many lcores are in expensive work at a time: one word that all
//! lcores share, touched only around such work.

use super::Pool;
use crate::sync::{AtomicU64, Line, Ordering, change};

/// Permits for expensive work. Two rules hold at every moment: no permit is
/// granted beyond the cap, and at least one lcore of pool A holds none.
///
/// Where [`Split`](super::Split) moves lcores between the pools, it also changes
/// the limits. Permits that are held then stay valid.
///
/// ```
/// use micropools::policy::{Permits, Pool};
///
/// let permits = Permits::new(8, 2);
/// let held = permits.try_acquire(Pool::A).expect("there are two lcores in pool A");
/// assert!(permits.try_acquire(Pool::A).is_none(), "the last one stays clear");
/// assert!(permits.try_acquire(Pool::B).is_some());
/// ```
#[derive(Debug)]
pub struct Permits {
    /// Four counts of 16 bits, from the highest: the cap, the most permits for
    /// pool A, all permits held, those of pool A. One word, so that both rules
    /// are checked against the limits in force, and the permit acquired, in one
    /// step.
    word: Line<AtomicU64>,
}

const COUNT_BITS: u32 = 16;
const OF_POOL_A: u64 = 1;
const ALL: u64 = 1 << COUNT_BITS;
/// The two counts of permits held.
const HELD: u64 = ALL * ALL - 1;

/// The upper half of the word.
fn limits(cap: usize, pool_a: usize) -> u64 {
    let count = |count: usize| count.min(usize::from(u16::MAX)) as u64;
    (count(cap) << COUNT_BITS | count(pool_a).saturating_sub(1)) << (2 * COUNT_BITS)
}

/// The count at a place, from the lowest.
#[inline(always)]
fn count(word: u64, place: u32) -> u64 {
    word >> (place * COUNT_BITS) & (ALL - 1)
}

/// The right to do expensive work, until it is dropped.
#[derive(Debug)]
#[must_use = "dropped at once, the permit is given back before the work is done"]
pub struct Permit<'a> {
    permits: &'a Permits,
    acquired: u64,
}

impl Permits {
    /// `cap`: permits at a time, from 1. `pool_a`: lcores in pool A. More than
    /// 65,535 of either count as 65,535.
    pub fn new(cap: usize, pool_a: usize) -> Self {
        Self { word: Line(AtomicU64::new(limits(cap, pool_a))) }
    }

    /// Changes both limits, as of [`Permits::new`]. Where more permits are held
    /// than they allow, none is granted until enough have been given back.
    pub(super) fn limit(&self, cap: usize, pool_a: usize) {
        let limits = limits(cap, pool_a);
        change(&self.word, |word| Some(word & HELD | limits));
    }

    #[inline]
    fn allows(word: u64, pool: Pool) -> bool {
        let [of_pool_a, all, pool_a_max, cap] = [0, 1, 2, 3].map(|place| count(word, place));
        all < cap && (pool == Pool::B || of_pool_a < pool_a_max)
    }

    /// Whether an lcore of `pool` could have a permit now. A hint: another lcore
    /// may be faster.
    #[inline]
    pub fn is_available(&self, pool: Pool) -> bool {
        Self::allows(self.word.load(Ordering::Relaxed), pool)
    }

    /// A permit for one lcore of `pool`, if the rules allow one more. An lcore may
    /// hold one at most. Lock-free: retries only when another lcore has succeeded
    /// meanwhile.
    #[inline]
    pub fn try_acquire(&self, pool: Pool) -> Option<Permit<'_>> {
        let acquired = match pool {
            Pool::A => ALL + OF_POOL_A,
            Pool::B => ALL,
        };
        // The changes of one word have one order.
        let grant = |word| Self::allows(word, pool).then(|| word + acquired);
        change(&self.word, grant).then(|| Permit { permits: self, acquired })
    }

    /// How many permits there are at a time.
    pub fn cap(&self) -> usize {
        count(self.word.load(Ordering::Relaxed), 3) as usize
    }

    /// How many permits are held: all, and those of pool A.
    pub fn held(&self) -> (u32, u32) {
        let word = self.word.load(Ordering::Relaxed);
        (count(word, 1) as u32, count(word, 0) as u32)
    }
}

impl Drop for Permit<'_> {
    #[inline]
    fn drop(&mut self) {
        self.permits.word.fetch_sub(self.acquired, Ordering::Relaxed);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::thread;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_last_of_pool_a_gets_none() {
        let permits = Permits::new(8, 2);
        let first = permits.try_acquire(Pool::A).unwrap();
        assert!(
            permits.try_acquire(Pool::A).is_none()
                && !permits.is_available(Pool::A)
                && permits.is_available(Pool::B)
        );
        drop(first);
        assert!(permits.try_acquire(Pool::A).is_some());
        assert!(Permits::new(8, 1).try_acquire(Pool::A).is_none());
    }

    #[test]
    fn after_a_change_of_limits_held_permits_are_valid_and_none_is_granted_beyond() {
        let permits = Permits::new(2, 3);
        let held = [Pool::A, Pool::A].map(|pool| permits.try_acquire(pool).unwrap());
        permits.limit(1, 2);
        assert_eq!((permits.held(), permits.cap()), ((2, 2), 1));
        let [first, second] = held;
        drop(first);
        assert!(!permits.is_available(Pool::A) && !permits.is_available(Pool::B));
        drop(second);
        assert!(permits.is_available(Pool::A));
        permits.limit(3, 1);
        assert!(!permits.is_available(Pool::A) && permits.is_available(Pool::B));
        permits.limit(usize::MAX, usize::MAX);
        assert!(permits.is_available(Pool::A) && permits.held() == (0, 0));
    }

    #[test]
    fn both_rules_hold_between_threads() {
        let (permits, all, of_pool_a) =
            (Permits::new(3, 3), AtomicUsize::new(0), AtomicUsize::new(0));
        thread::scope(|scope| {
            for pool in [Pool::A, Pool::A, Pool::A, Pool::B, Pool::B] {
                let (permits, all, of_pool_a) = (&permits, &all, &of_pool_a);
                scope.spawn(move || {
                    let is_a = usize::from(pool == Pool::A);
                    for _ in 0..if cfg!(miri) { 50 } else { 20_000 } {
                        let Some(permit) = permits.try_acquire(pool) else { continue };
                        assert!(all.fetch_add(1, Ordering::SeqCst) < 3);
                        assert!(of_pool_a.fetch_add(is_a, Ordering::SeqCst) + is_a < 3);
                        if is_a == 1 {
                            thread::yield_now();
                        }
                        of_pool_a.fetch_sub(is_a, Ordering::SeqCst);
                        all.fetch_sub(1, Ordering::SeqCst);
                        drop(permit);
                    }
                });
            }
        });
        assert_eq!(permits.held(), (0, 0));
    }

    proptest! {
        #![proptest_config(crate::cases())]

        #[test]
        fn grants_exactly_what_the_rules_allow(cap in 0..6usize, pool_a in 0..6usize, asks in prop::collection::vec(any::<(bool, bool)>(), 0..60)) {
            let permits = Permits::new(cap, pool_a);
            let mut held: [Vec<Permit<'_>>; 2] = Default::default();
            for (is_b, gives_back) in asks {
                let at = usize::from(is_b);
                if gives_back {
                    held[at].pop();
                    continue;
                }
                let allowed = held[0].len() + held[1].len() < cap && (is_b || held[0].len() + 1 < pool_a);
                let permit = permits.try_acquire([Pool::A, Pool::B][at]);
                prop_assert_eq!(permit.is_some(), allowed);
                held[at].extend(permit);
                prop_assert_eq!(permits.held(), ((held[0].len() + held[1].len()) as u32, held[0].len() as u32));
            }
        }
    }
}
