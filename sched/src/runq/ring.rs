//! One ring: what its owner and its thieves share, and the owner's private end.
//!
//! `head` and `tail` count items and never wrap within a machine's life. Items
//! `head..tail` are queued. Only the owner writes slots and `tail`. The owner
//! and the thieves claim items by moving `head` over them with a
//! compare-and-swap, which is the only contended step.
//!
//! * The owner claims first and then reads the slots: only it could overwrite
//!   them.
//! * A thief reads first and then claims: once it has claimed, the owner may
//!   overwrite the slots. A thief whose claim fails forgets what it read;
//!   another claim succeeded. No lcore ever waits for a thief, wherever that is
//!   stopped.
//!
//! Why a successful claim proves that the thief read the items at these
//! indexes: to overwrite an item's slot the owner must have seen `head` beyond
//! it, and `head` never moves back.

use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ptr::NonNull;

use super::growth::Stolen;
use super::slots::Slots;
use super::word::Word;
use crate::sync::{Arc, AtomicPtr, AtomicU64, Line, Ordering};

/// Shared by owner and thieves, each word on lines of its own: a push writes
/// none that a thief writes.
pub struct Ring<T: Word> {
    /// The oldest item's index.
    head: Line<AtomicU64>,
    /// The index behind the newest item's. Never less than a `head` that was
    /// read before it.
    tail: Line<AtomicU64>,
    /// Written when the ring grows.
    slots: Line<AtomicPtr<Slots>>,
    items: PhantomData<AtomicPtr<T>>,
}

impl<T: Word> Ring<T> {
    /// Steals the oldest half, rounded up, but no more than `into` has room
    /// for.
    pub(super) fn steal(&self, into: &mut [MaybeUninit<T>]) -> Stolen {
        prefetch_for_write(&self.head);
        // Acquire: pairs with the release of the claim that moved `head` here,
        // whose lcore had seen a tail at or beyond it. So the tail that is read
        // next is no less than `head`.
        let head = self.head.load(Ordering::Acquire);
        // Acquire: pairs with the push: all slots before this tail, and the
        // pointer to the slots, are seen as that push left them.
        let tail = self.tail.load(Ordering::Acquire);
        let queued = tail - head;
        if queued == 0 || into.is_empty() {
            return Stolen::Nothing;
        }
        // Acquire: the ring may have grown after the push; then its copies must
        // be seen.
        let slots = self.slots.load(Ordering::Acquire);
        // SAFETY: slots that were ever published live as long as the ring.
        let slots = unsafe { &*slots };
        // Where `head` is long out of date, more items seem to be queued than
        // there are slots.
        let count = into.len().min(queued.div_ceil(2) as usize).min(slots.capacity());
        slots.peek(head, &mut into[..count]);
        // Release: the owner, which acquires `head`, overwrites these slots
        // only after we have read them; and the next thief, which acquires it
        // too, sees the tail that we saw. No acquire: what the items point to
        // was seen with the tail.
        match self.head.compare_exchange(
            head,
            head + count as u64,
            Ordering::Release,
            Ordering::Relaxed,
        ) {
            Ok(_) => Stolen::Items(count),
            Err(_) => Stolen::Contended,
        }
    }

    /// Items in the ring, read by any lcore: a hint.
    pub(super) fn len_hint(&self) -> usize {
        let head = self.head.load(Ordering::Acquire);
        (self.tail.load(Ordering::Relaxed).saturating_sub(head)) as usize
    }
}

/// Prefetches a line for writing. It is read first and written then, and would
/// otherwise move twice.
#[inline(always)]
fn prefetch_for_write(line: &AtomicU64) {
    // As assembly: without a newer target CPU the compiler falls back to a
    // prefetch for reading.
    #[cfg(all(target_arch = "x86_64", not(any(loom, miri))))]
    // SAFETY: a prefetch never faults; a CPU that does not know this one
    // ignores it.
    unsafe {
        core::arch::asm!("prefetchw [{}]", in(reg) std::ptr::from_ref(line), options(nostack, preserves_flags, readonly));
    }
    #[cfg(not(all(target_arch = "x86_64", not(any(loom, miri)))))]
    let _ = line;
}

impl<T: Word> Drop for Ring<T> {
    fn drop(&mut self) {
        let (head, tail) = (self.head.load(Ordering::Relaxed), self.tail.load(Ordering::Relaxed));
        // SAFETY: `OwnerEnd` made it from a box, and no user of the ring is
        // left.
        let slots = unsafe { Box::from_raw(self.slots.load(Ordering::Relaxed)) };
        for at in head..tail {
            let mut item = [MaybeUninit::<T>::uninit()];
            slots.move_out(at, &mut item);
            // SAFETY: items between head and tail were pushed and never
            // claimed.
            unsafe { item[0].assume_init_drop() };
        }
    }
}

/// The owner's end of a ring. It has private copies of what only the owner
/// writes, so that it reads no shared line for that.
pub(super) struct OwnerEnd<T: Word> {
    ring: Arc<Ring<T>>,
    /// The word that the owner published last.
    tail: u64,
    /// `head` as the owner last read it. It may have moved on. Never more than
    /// `tail`.
    head_seen: u64,
    slots: NonNull<Slots>,
}

// SAFETY: the slots live as long as the ring, which this keeps alive; the owner
// may be any one thread.
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

    /// At least as many as are queued, without a read of a shared line.
    #[inline(always)]
    pub(super) fn len_bound(&self) -> usize {
        (self.tail - self.head_seen) as usize
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.len_bound() == 0 || self.len() == 0
    }

    /// How many of `want` items may be pushed so that at most `limit` are
    /// queued; `limit` is at most the capacity.
    #[inline(always)]
    pub(super) fn room(&mut self, want: usize, limit: usize) -> usize {
        let free = limit.saturating_sub(self.len_bound());
        if free >= want { want } else { self.room_now(want, limit) }
    }

    /// As `room`, after a read of the shared line.
    #[cold]
    fn room_now(&mut self, want: usize, limit: usize) -> usize {
        // Acquire: pairs with the thieves' release: they have read the slots
        // that we are about to overwrite.
        self.head_seen = self.ring.head.load(Ordering::Acquire);
        want.min(limit.saturating_sub(self.len_bound()))
    }

    /// Pushes the items, all of which must have room. The caller must forget
    /// them.
    #[inline(always)]
    pub(super) fn push(&mut self, items: &[T]) {
        debug_assert!(self.len_bound() + items.len() <= self.capacity());
        self.slots().move_in(self.tail, items);
        self.tail += items.len() as u64;
        // Release: a thief that sees this tail sees the items.
        self.ring.tail.store(self.tail, Ordering::Release);
    }

    /// Pops the oldest items, as many as `into` has room for. Returns how many.
    #[inline(always)]
    pub(super) fn pop(&mut self, into: &mut [MaybeUninit<T>]) -> usize {
        loop {
            let head = self.head_seen;
            let count = into.len().min(self.len_bound());
            if count == 0 {
                return 0;
            }
            // Acquire: as in `room_now`. Release: a thief that sees this head
            // sees our tail, which is no less. A claim fails only because a
            // thief's has succeeded.
            match self.ring.head.compare_exchange(
                head,
                head + count as u64,
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => {
                    self.head_seen = head + count as u64;
                    self.slots().move_out(head, &mut into[..count]);
                    return count;
                }
                Err(head) => self.head_seen = head,
            }
        }
    }

    /// Replaces the slots by twice as many. Thieves that still read the old
    /// ones find all items there that were queued until now: the old slots are
    /// never written again, and are freed with the ring.
    #[cold]
    pub(super) fn double(&mut self) {
        self.head_seen = self.ring.head.load(Ordering::Acquire);
        // SAFETY: the slots come from a box; only the owner writes slots, and
        // it writes these no more.
        let new = Box::new(unsafe { Slots::twice(self.slots, self.head_seen, self.tail) });
        self.slots = NonNull::from(Box::leak(new));
        // Release: a thief that sees these slots sees the copies.
        self.ring.slots.store(self.slots.as_ptr(), Ordering::Release);
    }
}
