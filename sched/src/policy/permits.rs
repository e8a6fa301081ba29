//! Limits how many lcores are in expensive work at a time: one word that all
//! lcores share, touched only around such work.

use super::Pool;
use crate::sync::{AtomicU32, Line, Ordering};

/// Permits for expensive work. Two rules hold at every moment: no more permits
/// are held than the cap allows, and at least one lcore of pool A holds none.
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
    /// Permits that are held: all of them in the upper half, those of pool A in
    /// the lower. One word, so that both rules are checked and the permit
    /// acquired in one step.
    held: Line<AtomicU32>,
    cap: u32,
    pool_a_max: u32,
}

const ALL: u32 = 1 << 16;
const OF_POOL_A: u32 = 1;

/// The right to do expensive work, until it is dropped.
#[derive(Debug)]
#[must_use = "dropped at once, the permit is given back before the work is done"]
pub struct Permit<'a> {
    permits: &'a Permits,
    acquired: u32,
}

impl Permits {
    /// `cap`: permits at a time, from 1. `pool_a`: lcores in pool A. More than
    /// 65,535 of either count as 65,535.
    pub fn new(cap: usize, pool_a: usize) -> Self {
        let half = |count: usize| count.min(usize::from(u16::MAX)) as u32;
        Self {
            held: Line(AtomicU32::new(0)),
            cap: half(cap),
            pool_a_max: half(pool_a).saturating_sub(1),
        }
    }

    #[inline]
    fn allows(&self, held: u32, pool: Pool) -> bool {
        let (all, of_pool_a) = (held / ALL, held % ALL);
        all < self.cap && (pool == Pool::B || of_pool_a < self.pool_a_max)
    }

    /// Whether an lcore of `pool` could have a permit now. A hint: another lcore
    /// may be faster.
    #[inline]
    pub fn is_available(&self, pool: Pool) -> bool {
        self.allows(self.held.load(Ordering::Relaxed), pool)
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
        // Relaxed: the count guards no other memory, and the changes of one word
        // have one order.
        let grant = |held: u32| self.allows(held, pool).then(|| held + acquired);
        self.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grant).ok()?;
        Some(Permit { permits: self, acquired })
    }

    /// How many permits are held: all, and those of pool A.
    pub fn held(&self) -> (u32, u32) {
        let held = self.held.load(Ordering::Relaxed);
        (held / ALL, held % ALL)
    }
}

impl Drop for Permit<'_> {
    #[inline]
    fn drop(&mut self) {
        self.permits.held.fetch_sub(self.acquired, Ordering::Relaxed);
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
