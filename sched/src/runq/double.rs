//! Growing by doubling: one ring, twice as large when it is full. Strictly oldest
//! first, for the owner and all thieves.

use std::mem::MaybeUninit;

use rand::rngs::SmallRng;

use super::growth::{Growth, Stolen};
use super::ring::{OwnerEnd, Ring};
use super::word::Word;
use crate::sync::Arc;

/// One ring that doubles when it is full. A doubling copies all items that are
/// queued: amortised, less than one copy per item ever pushed, but all at once.
/// The old ring's memory is freed with the queue.
pub struct Double<T: Word> {
    end: OwnerEnd<T>,
    /// Items that fit before it must grow: its capacity or `max`, whichever is
    /// less.
    limit: usize,
    max: usize,
    grown: u64,
}

impl<T: Word> Double<T> {
    /// Doubles until `want` more items fit, or as far as it may. Returns how many
    /// fit.
    #[cold]
    fn grow(&mut self, want: usize) -> usize {
        loop {
            let room = self.end.room(want, self.limit);
            if room == want || self.limit == self.max {
                return room;
            }
            self.end.double();
            self.limit = self.end.capacity().min(self.max);
            self.grown += 1;
        }
    }
}

// SAFETY: a ring's owner and thieves claim items before they own them, and each
// item is claimed once.
unsafe impl<T: Word> Growth<T> for Double<T> {
    type Shared = Ring<T>;

    fn new(capacity: usize, max: usize) -> Self {
        let end = OwnerEnd::new(capacity.max(2).next_power_of_two());
        Self { limit: end.capacity().min(max), end, max, grown: 0 }
    }

    fn shared(&self) -> &Arc<Ring<T>> {
        self.end.ring()
    }

    #[inline(always)]
    unsafe fn push(&mut self, items: &[T]) -> usize {
        let mut room = self.end.room(items.len(), self.limit);
        if room < items.len() {
            room = self.grow(items.len());
        }
        self.end.push(&items[..room]);
        room
    }

    #[inline(always)]
    fn pop(&mut self, into: &mut [MaybeUninit<T>]) -> usize {
        self.end.pop(into)
    }

    #[inline(always)]
    fn len(&self) -> usize {
        self.end.len()
    }

    #[inline(always)]
    fn is_empty(&self) -> bool {
        self.end.is_empty()
    }

    #[inline(always)]
    fn len_bound(&self) -> usize {
        self.end.len_bound()
    }

    fn grown(&self) -> u64 {
        self.grown
    }

    #[inline]
    fn steal(ring: &Ring<T>, _: &mut SmallRng, into: &mut [MaybeUninit<T>]) -> Stolen {
        ring.steal(into)
    }

    fn len_hint(ring: &Ring<T>) -> usize {
        ring.len_hint()
    }
}
