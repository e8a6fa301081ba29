//! The atomics that this package is made of: the standard library's, or loom's
//! under `--cfg loom`.

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

/// A waiter spins this often for a writer that runs. A writer that does not run
/// needs the CPU: the waiter yields from then on.
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

/// A value on a pair of cache lines of its own: the adjacent-line prefetcher
/// makes neighbours of two lines.
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
