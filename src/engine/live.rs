//! What all lcores go by and another thread may replace while they do: routes,
//! rules. Nobody waits: who replaces it leaves the old one alive until the last
//! lcore has let go of it, and frees it then, so that no lcore ever does.

use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// A value, and those before it that some lcore may still go by.
#[derive(Debug)]
pub struct Live<T> {
    current: Mutex<Arc<T>>,
    /// Changes after `current` does.
    version: AtomicU64,
    replaced: Mutex<Vec<Arc<T>>>,
}

impl<T> Live<T> {
    pub fn new(first: T) -> Self {
        Self {
            current: Mutex::new(Arc::new(first)),
            version: AtomicU64::new(0),
            replaced: Mutex::default(),
        }
    }

    /// One user's view of it.
    pub fn hold(self: &Arc<Self>) -> Held<T> {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        // Relaxed: whoever changes the version holds the lock.
        Held {
            version: self.version.load(Ordering::Relaxed),
            value: current.clone(),
            live: self.clone(),
        }
    }

    /// Has everybody go by `next` from when they look again.
    pub fn replace(&self, next: T) {
        let next = Arc::new(next);
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *current, next);
        self.version.fetch_add(1, Ordering::Relaxed);
        drop(current);
        self.replaced.lock().unwrap_or_else(PoisonError::into_inner).push(before);
    }

    /// Hands over those that nobody goes by any more. Returns whether there are
    /// others left.
    pub fn sweep(&self, mut last: impl FnMut(T)) -> bool {
        let mut replaced = self.replaced.lock().unwrap_or_else(PoisonError::into_inner);
        // Nobody can take hold of them again: it is theirs or only ours.
        let (over, held): (Vec<_>, _) =
            replaced.drain(..).partition(|value| Arc::strong_count(value) == 1);
        *replaced = held;
        over.into_iter().filter_map(Arc::into_inner).for_each(&mut last);
        !replaced.is_empty()
    }
}

/// The value as its user knows it: the same until it asks for the present one.
#[derive(Debug)]
pub struct Held<T> {
    live: Arc<Live<T>>,
    version: u64,
    value: Arc<T>,
}

impl<T> Held<T> {
    /// Goes on with the present value; returns whether it is another one. Costs
    /// one load where it is not.
    #[inline(always)]
    pub fn follow(&mut self) -> bool {
        // Relaxed: what is there is read under the lock.
        self.live.version.load(Ordering::Relaxed) != self.version && self.change()
    }

    /// If somebody is just replacing it, the next look is early enough.
    #[cold]
    fn change(&mut self) -> bool {
        let Ok(current) = self.live.current.try_lock() else { return false };
        (self.version, self.value) = (self.live.version.load(Ordering::Relaxed), current.clone());
        true
    }
}

// Derived it would ask for a T that can be cloned.
impl<T> Clone for Held<T> {
    fn clone(&self) -> Self {
        Self { live: self.live.clone(), version: self.version, value: self.value.clone() }
    }
}

impl<T> Deref for Held<T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        &self.value
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[test]
    fn the_old_one_lives_until_all_have_looked_again() {
        let live = Arc::new(Live::new(1));
        let (mut one, mut other) = (live.hold(), live.hold());
        assert!(!one.follow() && !live.sweep(|_| unreachable!()));
        live.replace(2);
        assert!(one.follow() && !one.follow());
        assert_eq!((*one, *other), (2, 1));
        assert!(live.sweep(|_| unreachable!()));
        live.replace(3);
        assert!(other.follow());
        assert_eq!(*other, 3);
        let mut over = Vec::new();
        assert!(live.sweep(|value| over.push(value)), "one still goes by 2");
        drop(one);
        assert!(!live.sweep(|value| over.push(value)));
        assert_eq!(over, [1, 2]);
    }

    /// Each value is freed by who replaces it, once, and never while somebody
    /// reads it.
    #[test]
    fn readers_never_see_what_was_freed() {
        const VALUES: usize = if cfg!(miri) { 50 } else { 5_000 };
        let live = Arc::new(Live::new(Box::new(0)));
        let (over, freed) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    let (mut held, mut last) = (live.hold(), 0);
                    while over.load(Ordering::Relaxed) == 0 {
                        held.follow();
                        assert!(**held >= last, "never back");
                        last = **held;
                    }
                });
            }
            let free = |_| {
                freed.fetch_add(1, Ordering::Relaxed);
            };
            for value in 1..=VALUES {
                live.replace(Box::new(value));
                live.sweep(free);
            }
            over.store(1, Ordering::Relaxed);
        });
        live.sweep(|_| {
            freed.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(freed.into_inner(), VALUES);
    }
}
