//! One ring: what its owner and its thieves share, and the owner's private end.
//!
//! `head` and `tail` count items and never wrap within a machine's life. Items
//! `head..tail` wait. The owner alone writes slots and `tail`; whoever takes
//! items, the owner too, moves `head` over them by compare-and-swap: that is
//! the only contended step.
//!
//! * The owner claims first and reads its slots then: nobody else could
//!   overwrite them.
//! * A thief reads first and claims then: once it has claimed, the owner may
//!   overwrite. A thief whose claim fails forgets what it read; somebody else
//!   made progress. Nobody ever waits for a thief, wherever it is stopped.
//!
//! Why a claim that succeeds proves that what was read is what waited at these
//! indexes: to overwrite the slot of an item, the owner must have seen `head`
//! beyond it, and `head` never comes back.

use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ptr::NonNull;

use super::growth::Stolen;
use super::slots::Slots;
use super::word::Word;
use crate::sync::{Arc, AtomicPtr, AtomicU64, Line, Ordering};

/// What owner and thieves share, on lines of their own: a push writes none that
/// a thief writes.
pub struct Ring<T: Word> {
    /// The oldest item's index.
    head: Line<AtomicU64>,
    /// The index behind the newest item's. Never less than what `head` was when
    /// it was read before.
    tail: Line<AtomicU64>,
    /// Written when the ring grows.
    slots: Line<AtomicPtr<Slots>>,
    items: PhantomData<AtomicPtr<T>>,
}

impl<T: Word> Ring<T> {
    /// Half of what waits, rounded up, but no more than there is room for: the
    /// oldest.
    pub(super) fn steal(&self, into: &mut [MaybeUninit<T>]) -> Stolen {
        expect_to_write(&self.head);
        // Acquire: pairs with the release by whoever moved `head` here, who had
        // seen a tail at or beyond it. So the tail that is read next is no less
        // than `head`.
        let head = self.head.load(Ordering::Acquire);
        // Acquire: pairs with the push: all slots before this tail, and the
        // slots' own place, are seen as that push left them.
        let tail = self.tail.load(Ordering::Acquire);
        let waiting = tail - head;
        if waiting == 0 || into.is_empty() {
            return Stolen::Nothing;
        }
        // Acquire: growing may have come after the push, and then its copies
        // have to be seen.
        let slots = self.slots.load(Ordering::Acquire);
        // SAFETY: slots that were ever published live as long as the ring.
        let slots = unsafe { &*slots };
        // Where `head` is long out of date, more seems to wait than there are
        // slots.
        let count = into.len().min(waiting.div_ceil(2) as usize).min(slots.capacity());
        slots.peek(head, &mut into[..count]);
        // Release: the owner, which acquires `head`, overwrites these slots
        // only after we have read them; and the next thief, who does too, sees
        // the tail that we saw. It need not acquire: what the items hold came
        // with the tail.
        match self.head.compare_exchange(
            head,
            head + count as u64,
            Ordering::Release,
            Ordering::Relaxed,
        ) {
            Ok(_) => Stolen::Items(count),
            Err(_) => Stolen::Lost,
        }
    }

    /// How many items wait, seen from anywhere: a hint.
    pub(super) fn len_hint(&self) -> usize {
        let head = self.head.load(Ordering::Acquire);
        (self.tail.load(Ordering::Relaxed).saturating_sub(head)) as usize
    }
}

/// Asks for a line that is read first and written then, so that it comes once
/// and not twice.
#[inline(always)]
fn expect_to_write(line: &AtomicU64) {
    // As assembly, because the compiler falls back to a prefetch for reading
    // unless it is told of newer CPUs.
    #[cfg(all(target_arch = "x86_64", not(any(loom, miri))))]
    // SAFETY: a prefetch never faults; a CPU that does not know this one does
    // nothing.
    unsafe {
        core::arch::asm!("prefetchw [{}]", in(reg) std::ptr::from_ref(line), options(nostack, preserves_flags, readonly));
    }
    #[cfg(not(all(target_arch = "x86_64", not(any(loom, miri)))))]
    let _ = line;
}

impl<T: Word> Drop for Ring<T> {
    fn drop(&mut self) {
        let (head, tail) = (self.head.load(Ordering::Relaxed), self.tail.load(Ordering::Relaxed));
        // SAFETY: `owner_of` made it from a box, and nobody is left that uses
        // it.
        let slots = unsafe { Box::from_raw(self.slots.load(Ordering::Relaxed)) };
        for at in head..tail {
            let mut item = [MaybeUninit::<T>::uninit()];
            slots.take(at, &mut item);
            // SAFETY: items between head and tail were pushed and not taken.
            unsafe { item[0].assume_init_drop() };
        }
    }
}

/// The owner's end of a ring: what only the owner writes, it also keeps here,
/// and reads no shared line for it.
pub(super) struct OwnerEnd<T: Word> {
    ring: Arc<Ring<T>>,
    /// What the owner last published.
    tail: u64,
    /// Where `head` was when the owner saw it last: it may have moved on. Never
    /// more than `tail`.
    head_seen: u64,
    slots: NonNull<Slots>,
}

// SAFETY: the slots belong to the ring, which is kept alive here; the owner may
// be any one thread.
unsafe impl<T: Word> Send for OwnerEnd<T> {}

impl<T: Word> OwnerEnd<T> {
    /// A new ring of `capacity` slots, a power of two.
    pub(super) fn new(capacity: usize) -> Self {
        let slots = NonNull::from(Box::leak(Box::new(Slots::new(capacity))));
        let ring = Ring {
            head: Line(AtomicU64::new(0)),
            tail: Line(AtomicU64::new(0)),
            slots: Line(AtomicPtr::new(slots.as_ptr())),
            items: PhantomData,
        };
        Self { ring: Arc::new(ring), tail: 0, head_seen: 0, slots }
    }

    pub(super) fn ring(&self) -> &Arc<Ring<T>> {
        &self.ring
    }

    #[inline(always)]
    fn slots(&self) -> &Slots {
        // SAFETY: the ring's current slots, which live as long as the ring.
        unsafe { self.slots.as_ref() }
    }

    #[inline(always)]
    pub(super) fn capacity(&self) -> usize {
        self.slots().capacity()
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        // Relaxed: this only counts.
        (self.tail - self.ring.head.load(Ordering::Relaxed)) as usize
    }

    /// No fewer items than wait, by what the owner knows without a look.
    #[inline(always)]
    pub(super) fn len_bound(&self) -> usize {
        (self.tail - self.head_seen) as usize
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.len_bound() == 0 || self.len() == 0
    }

    /// How many of `want` items may be pushed such that no more than `limit`
    /// wait, itself no more than the capacity.
    #[inline(always)]
    pub(super) fn room(&mut self, want: usize, limit: usize) -> usize {
        let free = limit.saturating_sub(self.len_bound());
        if free >= want { want } else { self.room_now(want, limit) }
    }

    /// As `room`, after a look at the shared line.
    #[cold]
    fn room_now(&mut self, want: usize, limit: usize) -> usize {
        // Acquire: pairs with the thieves' release; they have read what we are
        // about to overwrite.
        self.head_seen = self.ring.head.load(Ordering::Acquire);
        want.min(limit.saturating_sub(self.len_bound()))
    }

    /// Moves the items to the ring's end; there is room for all of them. The
    /// caller forgets them.
    #[inline(always)]
    pub(super) fn push(&mut self, items: &[T]) {
        debug_assert!(self.len_bound() + items.len() <= self.capacity());
        self.slots().write(self.tail, items);
        self.tail += items.len() as u64;
        // Release: who sees this tail sees the items.
        self.ring.tail.store(self.tail, Ordering::Release);
    }

    /// Takes the oldest items, as many as there is room for. Returns how many.
    #[inline(always)]
    pub(super) fn pop(&mut self, into: &mut [MaybeUninit<T>]) -> usize {
        loop {
            let head = self.head_seen;
            let count = into.len().min(self.len_bound());
            if count == 0 {
                return 0;
            }
            // Acquire: as in `room`. Release: a thief that sees this head sees
            // our tail, which is no less. A claim can only fail because a thief
            // has succeeded.
            match self.ring.head.compare_exchange(
                head,
                head + count as u64,
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => {
                    self.head_seen = head + count as u64;
                    self.slots().take(head, &mut into[..count]);
                    return count;
                }
                Err(head) => self.head_seen = head,
            }
        }
    }

    /// Goes over to twice as many slots. Thieves that still read the old ones
    /// find there all that waited until now: nobody writes them again, and they
    /// are freed with the ring.
    #[cold]
    pub(super) fn double(&mut self) {
        self.head_seen = self.ring.head.load(Ordering::Acquire);
        // SAFETY: the slots come from a box, only the owner writes slots, and
        // it goes over to the new ones here.
        let new = Box::new(unsafe { Slots::twice(self.slots, self.head_seen, self.tail) });
        self.slots = NonNull::from(Box::leak(new));
        // Release: the copies are seen by whoever sees these slots.
        self.ring.slots.store(self.slots.as_ptr(), Ordering::Release);
    }
}
