//! A lease: the right to use what must not be used by two at once, such as a
//! receive queue. Try-lock only: an lcore that does not get it does something
//! else.
//!
//! The owner acquires the lease once, and then uses the queue at no cost per
//! poll. Before it runs a stage of unknown or expensive cost it releases the
//! lease, and tries to acquire it again afterwards. A rescuer acquires it for
//! one burst. Each holder sees all that the last one did to the queue.
//!
//! ```
//! use micropools::lease::Lease;
//!
//! let lease = Lease::new();
//! let held = lease.try_acquire().expect("nobody holds it");
//! assert!(lease.try_acquire().is_none(), "one holder at a time");
//! drop(held);
//! assert!(lease.try_acquire().is_some());
//! ```

use crate::sync::{AtomicBool, Ordering};

/// A lease that has one holder, or none.
pub struct Lease {
    held: AtomicBool,
}

impl Lease {
    /// Without a holder.
    pub fn new() -> Self {
        Self { held: AtomicBool::new(false) }
    }

    /// Acquires the lease, unless it has a holder.
    #[inline]
    pub fn try_acquire(&self) -> Option<Held<'_>> {
        // A load first: an idle lcore that asks in vain does not take the line
        // away from the holder.
        if self.is_held() {
            return None;
        }
        // Acquire: pairs with the last holder's release, so that what it wrote
        // is seen.
        let acquired =
            self.held.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed);
        // Made only on success: its drop releases the lease.
        acquired.is_ok().then(|| Held { lease: self })
    }

    /// Whether it has a holder. A hint, out of date at once.
    #[inline]
    pub fn is_held(&self) -> bool {
        self.held.load(Ordering::Relaxed)
    }
}

impl Default for Lease {
    fn default() -> Self {
        Self::new()
    }
}

/// Proof that the lease is held; its drop releases the lease.
pub struct Held<'l> {
    lease: &'l Lease,
}

impl Drop for Held<'_> {
    #[inline]
    fn drop(&mut self) {
        // Release: the next holder sees what we wrote.
        self.lease.held.store(false, Ordering::Release);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn one_holder_at_a_time() {
        let lease = Lease::new();
        let held = lease.try_acquire();
        assert!(held.is_some() && lease.is_held() && lease.try_acquire().is_none());
        drop(held);
        assert!(!lease.is_held() && lease.try_acquire().is_some());
    }
}
