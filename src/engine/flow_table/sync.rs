//! The atomics of the table: the standard library's, or loom's under `--cfg
//! loom`.

#[cfg(loom)]
pub(super) use loom::sync::atomic::{AtomicU64, Ordering, fence};
#[cfg(not(loom))]
pub(super) use std::sync::atomic::{AtomicU64, Ordering, fence};

/// A writer waits no longer than this for one that runs; one that does not run
/// any more needs the CPU.
#[cfg(not(loom))]
const SPINS: u32 = 100;

/// Another lcore is at it: look again a little later. `tries`: how often it was
/// so already.
#[cold]
pub(super) fn hint(tries: u32) {
    #[cfg(loom)]
    {
        let _ = tries;
        loom::thread::yield_now();
    }
    #[cfg(not(loom))]
    if tries < SPINS { std::hint::spin_loop() } else { std::thread::yield_now() }
}
