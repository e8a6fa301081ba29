//! How many lcores may be in expensive work at a time: a count that all lcores
//! share, touched only around such work.

use std::sync::atomic::{AtomicU32, Ordering};

use super::Pool;

/// Permits for expensive work. Two rules hold at every moment, whoever asks at
/// the same time: no more permits are out than the cap, and one lcore of pool A
/// at least has none.
#[derive(Debug)]
#[repr(align(128))]
pub struct Permits {
    /// Permits that are out: in the upper half all of them, in the lower half
    /// those of pool A. In one word, so that both rules are checked and the
    /// permit taken in one step.
    out: AtomicU32,
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
    taken: u32,
}

impl Permits {
    /// `cap`: permits at a time, from 1. `pool_a`: lcores of pool A. Both are
    /// taken to be at most 65,535.
    pub fn new(cap: usize, pool_a: usize) -> Self {
        let half = |count: usize| count.min(usize::from(u16::MAX)) as u32;
        Self { out: AtomicU32::new(0), cap: half(cap), pool_a_max: half(pool_a).saturating_sub(1) }
    }

    #[inline]
    fn allows(&self, out: u32, pool: Pool) -> bool {
        let (all, of_pool_a) = (out / ALL, out % ALL);
        all < self.cap && (pool == Pool::B || of_pool_a < self.pool_a_max)
    }

    /// Whether an lcore of `pool` could have a permit now. A hint: another may
    /// be faster.
    #[inline]
    pub fn may_take(&self, pool: Pool) -> bool {
        self.allows(self.out.load(Ordering::Relaxed), pool)
    }

    /// A permit for one lcore of `pool`, if the rules allow one more. An lcore
    /// has one at most. Does not wait; retries only when another lcore has
    /// succeeded meanwhile.
    #[inline]
    pub fn try_take(&self, pool: Pool) -> Option<Permit<'_>> {
        let taken = match pool {
            Pool::A => ALL + OF_POOL_A,
            Pool::B => ALL,
        };
        // Relaxed suffices: the count guards no other memory, and one word has
        // one order of changes.
        let grant = |out: u32| self.allows(out, pool).then(|| out + taken);
        self.out.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grant).ok()?;
        Some(Permit { permits: self, taken })
    }

    /// Permits that are out: all, and those of pool A.
    pub fn out(&self) -> (u32, u32) {
        let out = self.out.load(Ordering::Relaxed);
        (out / ALL, out % ALL)
    }
}

impl Drop for Permit<'_> {
    #[inline]
    fn drop(&mut self) {
        self.permits.out.fetch_sub(self.taken, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::thread;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_last_of_pool_a_gets_none() {
        let permits = Permits::new(8, 2);
        let first = permits.try_take(Pool::A).unwrap();
        assert!(
            permits.try_take(Pool::A).is_none()
                && !permits.may_take(Pool::A)
                && permits.may_take(Pool::B)
        );
        drop(first);
        assert!(permits.try_take(Pool::A).is_some());
        assert!(Permits::new(8, 1).try_take(Pool::A).is_none());
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
                    for _ in 0..20_000 {
                        let Some(permit) = permits.try_take(pool) else { continue };
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
        assert_eq!(permits.out(), (0, 0));
    }

    proptest! {
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
                let permit = permits.try_take([Pool::A, Pool::B][at]);
                prop_assert_eq!(permit.is_some(), allowed);
                held[at].extend(permit);
                prop_assert_eq!(permits.out(), ((held[0].len() + held[1].len()) as u32, held[0].len() as u32));
            }
        }
    }
}
