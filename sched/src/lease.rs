//! A lease: the right to use what must not be used twice at once, such as a
//! receive queue. Try-lock only: who does not get it does something else.
//!
//! The protocol. The owner takes the lease once and then uses the queue at no
//! cost per poll. Before it runs something of unknown or expensive cost it
//! gives the lease back, and tries to take it again afterwards. A rescuer takes
//! it for a burst and gives it back. Who takes a lease sees all that its last
//! holder did to the queue.

use crate::sync::{AtomicBool, Ordering};

/// A lease that somebody holds, or nobody.
pub struct Lease {
    held: AtomicBool,
}

impl Lease {
    /// Nobody holds it.
    pub fn new() -> Self {
        Self { held: AtomicBool::new(false) }
    }

    /// The lease, unless somebody has it.
    #[inline]
    pub fn try_take(&self) -> Option<Held<'_>> {
        // A look first: an idle lcore that asks in vain does not take the line
        // away from the holder.
        if self.is_held() {
            return None;
        }
        // Acquire: pairs with the release by the last holder, so that what it
        // wrote is seen.
        let taken = self.held.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed);
        // Made only now: to drop one gives the lease back.
        taken.is_ok().then(|| Held { lease: self })
    }

    /// Whether somebody has it. A hint: it says nothing about the next moment.
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

/// A lease in one's hand; given back on drop.
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
        let held = lease.try_take();
        assert!(held.is_some() && lease.is_held() && lease.try_take().is_none());
        drop(held);
        assert!(!lease.is_held() && lease.try_take().is_some());
    }
}
