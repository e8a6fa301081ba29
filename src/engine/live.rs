//! Data that all lcores read and another thread may replace meanwhile: routes,
//! rules. Nobody waits. The replacing thread keeps the old value until the last
//! lcore has released it and then frees it, so that no lcore ever frees one.

use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// A value, and the replaced ones that some lcore may still use.
#[derive(Debug)]
pub struct Live<T> {
    current: Mutex<Arc<T>>,
    /// Incremented after `current` changes.
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

    /// One reader's handle.
    pub fn hold(self: &Arc<Self>) -> Held<T> {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        // Relaxed: the version changes under the lock.
        Held {
            version: self.version.load(Ordering::Relaxed),
            value: current.clone(),
            live: self.clone(),
        }
    }

    /// Replaces the value. Each reader uses `next` after its next `follow`.
    pub fn replace(&self, next: T) {
        let next = Arc::new(next);
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *current, next);
        self.version.fetch_add(1, Ordering::Relaxed);
        drop(current);
        self.replaced.lock().unwrap_or_else(PoisonError::into_inner).push(before);
    }

    /// Hands over the replaced values that no reader holds any more. Returns
    /// whether others are left.
    pub fn sweep(&self, mut last: impl FnMut(T)) -> bool {
        let mut replaced = self.replaced.lock().unwrap_or_else(PoisonError::into_inner);
        // No reader can acquire them again: they are held by old readers or by
        // us alone.
        let (over, held): (Vec<_>, _) =
            replaced.drain(..).partition(|value| Arc::strong_count(value) == 1);
        *replaced = held;
        over.into_iter().filter_map(Arc::into_inner).for_each(&mut last);
        !replaced.is_empty()
    }
}

/// A reader's handle: the same value until it asks for the current one.
#[derive(Debug)]
pub struct Held<T> {
    live: Arc<Live<T>>,
    version: u64,
    value: Arc<T>,
}

impl<T> Held<T> {
    /// Switches to the current value; returns whether it is another one. Costs
    /// one load if it is not.
    #[inline(always)]
    pub fn follow(&mut self) -> bool {
        // Relaxed: the value is read under the lock.
        self.live.version.load(Ordering::Relaxed) != self.version && self.change()
    }

    /// While the value is being replaced, the next call is early enough.
    #[cold]
    fn change(&mut self) -> bool {
        let Ok(current) = self.live.current.try_lock() else { return false };
        (self.version, self.value) = (self.live.version.load(Ordering::Relaxed), current.clone());
        true
    }
}

// A derived impl would require `T: Clone`.
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
    fn the_old_value_lives_until_all_readers_follow() {
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
        assert!(live.sweep(|value| over.push(value)), "a reader still holds 2");
        drop(one);
        assert!(!live.sweep(|value| over.push(value)));
        assert_eq!(over, [1, 2]);
    }

    /// Each value is freed by the replacing thread, once, and never while a
    /// reader uses it.
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
                        assert!(**held >= last, "versions are monotonic");
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
