//! The atomics of this package: the standard library's, or loom's under `--cfg
//! loom`. And cache lines.

#[cfg(loom)]
pub(crate) use loom::sync::{
    Arc, Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering, fence},
};
#[cfg(not(loom))]
pub(crate) use std::sync::{
    Arc, Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering, fence},
};

/// A waiter spins so often for a writer that runs on another CPU. Then it
/// yields: a writer that does not run may need this CPU.
#[cfg(not(loom))]
const SPINS: u32 = 100;

/// Lets time pass before another look at what a writer is changing. `tries`:
/// how many looks there were.
#[cold]
pub(crate) fn back_off(tries: u32) {
    #[cfg(loom)]
    {
        let _ = tries;
        loom::thread::yield_now();
    }
    #[cfg(not(loom))]
    if tries < SPINS { std::hint::spin_loop() } else { std::thread::yield_now() }
}

/// Replaces the word by what `next` makes of it, unless that is `None`. Returns
/// whether it did. Lock-free: retries only when another thread has changed the
/// word meanwhile. Relaxed: the word guards no other memory.
#[inline]
pub fn change(word: &AtomicU64, next: impl Fn(u64) -> Option<u64>) -> bool {
    let mut seen = word.load(Ordering::Relaxed);
    while let Some(new) = next(seen) {
        match word.compare_exchange_weak(seen, new, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => return true,
            Err(now) => seen = now,
        }
    }
    false
}

/// A value on a pair of cache lines of its own. A pair, because the
/// adjacent-line prefetcher fetches two lines at a time.
#[repr(align(128))]
#[derive(Debug, Default)]
pub struct Line<T>(pub T);

impl<T> std::ops::Deref for Line<T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        &self.0
    }
}
