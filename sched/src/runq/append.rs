//! Growing by appending: when the newest ring is full, another one is appended.
//! Thieves choose a ring at random, so that several of them steal at once, each
//! on lines of its own.
//!
//! The owner pushes to the newest ring and pops from the oldest. A drained ring
//! is retired, and reused when another one is needed. Its indexes go on
//! counting, which makes retiring safe: a late thief finds the ring empty, or
//! finds items of this queue that it may steal. Which rings are active is
//! therefore only a hint.
//!
//! Order: oldest first in each ring. A thief may steal from any ring, so an
//! item may be overtaken by all that are queued behind it.

use std::collections::VecDeque;
use std::mem::MaybeUninit;

use rand::Rng;
use rand::rngs::SmallRng;

use super::growth::{Growth, Stolen};
use super::ring::{OwnerEnd, Ring};
use super::word::Word;
use crate::sync::{Arc, AtomicPtr, AtomicU64, Line, Ordering};

/// As many rings as the mask of active ones has bits. Models are explored with
/// fewer.
const RINGS_MAX: usize = if cfg!(loom) { 4 } else { 64 };
/// So many rings hold `max` items: all rings do so half empty.
const RINGS_WHEN_FULL: usize = RINGS_MAX / 2;

/// Shared with thieves: the rings that were ever made, and which of them to
/// try.
pub struct Rings<T: Word> {
    /// A bit for each ring from the oldest to the newest.
    active: Line<AtomicU64>,
    /// Each a clone of the owner's `Arc`, as a raw pointer; null until the ring
    /// is first needed, then never changed.
    rings: [AtomicPtr<Ring<T>>; RINGS_MAX],
}

impl<T: Word> Rings<T> {
    /// The ring, if it was ever made.
    fn ring(&self, at: usize) -> Option<&Ring<T>> {
        // Acquire: pairs with `make_ring`.
        let ring = self.rings[at].load(Ordering::Acquire);
        // SAFETY: null, or a ring that this reference count keeps alive.
        unsafe { ring.as_ref() }
    }

    /// The rings that were made.
    fn made(&self) -> impl Iterator<Item = &Ring<T>> {
        (0..RINGS_MAX).map_while(|at| self.ring(at))
    }
}

impl<T: Word> Drop for Rings<T> {
    fn drop(&mut self) {
        for ring in &self.rings {
            let ring = ring.load(Ordering::Relaxed);
            if !ring.is_null() {
                // SAFETY: `make_ring` put it here by `into_raw`.
                drop(unsafe { Arc::from_raw(ring) });
            }
        }
    }
}

/// Rings of one size, `capacity` or a 32nd of `max`, whichever is more; no item
/// is ever copied.
pub struct Append<T: Word> {
    rings: Arc<Rings<T>>,
    /// In the order of `rings`.
    ends: Vec<OwnerEnd<T>>,
    /// The active rings from the oldest to the newest: at least one.
    order: VecDeque<usize>,
    /// The first and the last of `order`.
    oldest: usize,
    newest: usize,
    /// The rings to use again.
    retired: Vec<usize>,
    ring_items: usize,
    /// At least as many as are queued: thieves may have stolen some.
    len_bound: usize,
    max: usize,
    grown: u64,
}

impl<T: Word> Append<T> {
    /// After a change of the order.
    fn publish_order(&mut self) {
        (self.oldest, self.newest) = (self.order[0], self.order[self.order.len() - 1]);
        let active = self.order.iter().fold(0, |mask, &at| mask | 1_u64 << at);
        // Relaxed: a hint.
        self.rings.active.store(active, Ordering::Relaxed);
    }

    /// Retires the drained rings, but never the newest.
    fn retire_drained(&mut self) {
        let Some(newest) = self.order.pop_back() else { return };
        let (ends, retired) = (&self.ends, &mut self.retired);
        self.order.retain(|&at| {
            let is_drained = ends[at].is_empty();
            if is_drained {
                retired.push(at);
            }
            !is_drained
        });
        self.order.push_back(newest);
    }

    /// Appends a ring, unless all are in use. Returns whether it did.
    #[cold]
    fn append(&mut self) -> bool {
        self.retire_drained();
        let at = match self.retired.pop() {
            Some(at) => at,
            None if self.ends.len() == RINGS_MAX => return false,
            None => self.make_ring(),
        };
        self.order.push_back(at);
        self.grown += 1;
        self.publish_order();
        true
    }

    fn make_ring(&mut self) -> usize {
        let end = OwnerEnd::new(self.ring_items);
        let at = self.ends.len();
        let shared = Arc::into_raw(end.ring().clone()).cast_mut();
        // Release: a thief that sees the pointer sees the ring.
        self.rings.rings[at].store(shared, Ordering::Release);
        self.ends.push(end);
        at
    }

    /// The oldest ring is drained: retires it, if there is another one. Returns
    /// whether there was.
    #[cold]
    fn retire_oldest(&mut self) -> bool {
        if self.order.len() == 1 {
            return false;
        }
        self.retire_drained();
        self.publish_order();
        true
    }

    /// How many of `want` more items `max` allows.
    #[inline(always)]
    fn allowed(&mut self, want: usize) -> usize {
        if self.max.saturating_sub(self.len_bound) < want {
            self.len_bound = self.len();
        }
        want.min(self.max.saturating_sub(self.len_bound))
    }
}

// SAFETY: a ring's owner and thieves claim items before they own them, and each
// item is claimed once.
unsafe impl<T: Word> Growth<T> for Append<T> {
    type Shared = Rings<T>;

    fn new(capacity: usize, max: usize) -> Self {
        let rings = std::array::from_fn(|_| AtomicPtr::new(std::ptr::null_mut()));
        let mut queue = Self {
            rings: Arc::new(Rings { active: Line(AtomicU64::new(1)), rings }),
            ends: Vec::with_capacity(RINGS_MAX),
            order: VecDeque::with_capacity(RINGS_MAX),
            oldest: 0,
            newest: 0,
            retired: Vec::with_capacity(RINGS_MAX),
            ring_items: capacity.max(max.div_ceil(RINGS_WHEN_FULL)).max(2).next_power_of_two(),
            len_bound: 0,
            max,
            grown: 0,
        };
        let first = queue.make_ring();
        queue.order.push_back(first);
        queue
    }

    fn shared(&self) -> &Arc<Rings<T>> {
        &self.rings
    }

    #[inline(always)]
    unsafe fn push(&mut self, items: &[T]) -> usize {
        let mut left = &items[..self.allowed(items.len())];
        let ring_items = self.ring_items;
        let mut pushed = 0;
        loop {
            let newest = &mut self.ends[self.newest];
            let room = newest.room(left.len(), ring_items);
            newest.push(&left[..room]);
            pushed += room;
            left = &left[room..];
            if left.is_empty() || !self.append() {
                self.len_bound += pushed;
                return pushed;
            }
        }
    }

    #[inline(always)]
    fn pop(&mut self, into: &mut [MaybeUninit<T>]) -> usize {
        let mut popped = 0;
        loop {
            popped += self.ends[self.oldest].pop(&mut into[popped..]);
            if popped == into.len() || !self.retire_oldest() {
                self.len_bound -= popped;
                return popped;
            }
        }
    }

    #[inline]
    fn len(&self) -> usize {
        self.order.iter().map(|&at| self.ends[at].len()).sum()
    }

    #[inline]
    fn is_empty(&self) -> bool {
        self.len_bound == 0 || self.order.iter().all(|&at| self.ends[at].is_empty())
    }

    #[inline(always)]
    fn len_bound(&self) -> usize {
        self.len_bound
    }

    fn grown(&self) -> u64 {
        self.grown
    }

    /// Steals half of a ring chosen at random; of another one if that is empty.
    fn steal(rings: &Rings<T>, random: &mut SmallRng, into: &mut [MaybeUninit<T>]) -> Stolen {
        let mut active = rings.active.load(Ordering::Relaxed);
        let mut outcome = Stolen::Nothing;
        while active != 0 {
            let at = random_bit(active, random);
            active &= !(1 << at);
            match rings.ring(at).map_or(Stolen::Nothing, |ring| ring.steal(into)) {
                Stolen::Nothing => {}
                Stolen::Contended => outcome = Stolen::Contended,
                items => return items,
            }
        }
        outcome
    }

    fn len_hint(rings: &Rings<T>) -> usize {
        rings.made().map(Ring::len_hint).sum()
    }
}

/// One of the mask's bits, each as likely as the others. The mask is not zero.
fn random_bit(mask: u64, random: &mut SmallRng) -> usize {
    let mut left = mask;
    for _ in 0..random.random_range(0..mask.count_ones()) {
        left &= left - 1;
    }
    left.trailing_zeros() as usize
}
