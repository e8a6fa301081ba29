//! The memory of a ring: a power of two of words, and the copies into and out of
//! it.

use std::mem::MaybeUninit;
use std::ptr::NonNull;

use super::word::Word;
use crate::sync::{AtomicPtr, Ordering};

/// Words of a cache line. Models are explored with fewer.
const LINE_WORDS: usize = if cfg!(loom) { 2 } else { 8 };

/// A cache line of slots: a burst that begins on one touches no more lines than it
/// fills.
#[cfg_attr(not(loom), repr(align(64)))]
struct WordLine([AtomicPtr<()>; LINE_WORDS]);

/// Slots, addressed by an index that never wraps; the ring's wrap is done here. On
/// lines of their own: thieves, which only read this, would otherwise suffer from
/// writes to its neighbours.
#[repr(align(128))]
pub(super) struct Slots {
    lines: Box<[WordLine]>,
    capacity: usize,
    /// The slots that these replaced when the ring grew; null if none. Thieves may
    /// still read them, so they are freed with these. All that were ever replaced
    /// are together smaller than these.
    replaced: *mut Slots,
}

impl Slots {
    /// `capacity` is a power of two.
    pub(super) fn new(capacity: usize) -> Self {
        debug_assert!(capacity.is_power_of_two());
        let line = |_| WordLine(std::array::from_fn(|_| AtomicPtr::new(std::ptr::null_mut())));
        Self {
            lines: (0..capacity.div_ceil(LINE_WORDS)).map(line).collect(),
            capacity,
            replaced: std::ptr::null_mut(),
        }
    }

    /// Twice as many slots as `old`, with the words of `from..to` at the same
    /// indexes.
    ///
    /// # Safety
    /// `old` must come from a box, must never be written from now on, and must not
    /// be freed by anyone else.
    pub(super) unsafe fn twice(old: NonNull<Slots>, from: u64, to: u64) -> Self {
        // SAFETY: by the contract it is alive and not written; thieves only read
        // it too.
        let slots = unsafe { old.as_ref() };
        let mut new = Self::new(2 * slots.capacity());
        new.replaced = old.as_ptr();
        for at in from..to {
            new.word(at).store(slots.word(at).load(Ordering::Relaxed), Ordering::Relaxed);
        }
        new
    }

    #[inline(always)]
    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    #[inline(always)]
    fn words(&self) -> &[AtomicPtr<()>] {
        const { assert!(size_of::<WordLine>() == LINE_WORDS * size_of::<AtomicPtr<()>>()) };
        // SAFETY: lines consist of words, and hold at least `capacity` of them.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.capacity) }
    }

    #[inline(always)]
    fn word(&self, at: u64) -> &AtomicPtr<()> {
        let at = at as usize & (self.capacity - 1);
        &self.lines[at / LINE_WORDS].0[at % LINE_WORDS]
    }

    /// The `count` slots from index `at` on: in one piece, or in two at the wrap.
    #[inline(always)]
    fn pieces(&self, at: u64, count: usize) -> (&[AtomicPtr<()>], &[AtomicPtr<()>]) {
        let words = self.words();
        let start = at as usize & (self.capacity - 1);
        let first = count.min(self.capacity - start);
        // SAFETY: `start` is below the capacity by the mask, and `first` is at
        // most what follows it.
        let one = unsafe { words.get_unchecked(start..start + first) };
        // SAFETY: callers keep `count` within the capacity.
        let two = unsafe { words.get_unchecked(..count - first) };
        (one, two)
    }

    /// Moves the items, at most `capacity`, into the slots from index `at` on. The
    /// caller must forget them.
    #[inline(always)]
    pub(super) fn move_in<T: Word>(&self, at: u64, items: &[T]) {
        debug_assert!(items.len() <= self.capacity());
        let (one, two) = self.pieces(at, items.len());
        let (first, rest) = items.split_at(one.len());
        store(one, first);
        if !two.is_empty() {
            store(two, rest);
        }
    }

    /// Fills `into` with the words of the slots from index `at` on. They mean
    /// nothing until the caller has claimed these indexes.
    #[inline(always)]
    pub(super) fn peek<T: Word>(&self, at: u64, into: &mut [MaybeUninit<T>]) {
        self.copy(at, into, load);
    }

    /// Moves the items out of the slots from index `at` on, which the caller has
    /// claimed.
    #[inline(always)]
    pub(super) fn move_out<T: Word>(&self, at: u64, into: &mut [MaybeUninit<T>]) {
        self.copy(at, into, load_claimed);
    }

    #[inline(always)]
    fn copy<T: Word>(
        &self,
        at: u64,
        into: &mut [MaybeUninit<T>],
        load: impl Fn(&[AtomicPtr<()>], &mut [MaybeUninit<T>]),
    ) {
        debug_assert!(into.len() <= self.capacity());
        let (one, two) = self.pieces(at, into.len());
        let (first, rest) = into.split_at_mut(one.len());
        load(one, first);
        if !two.is_empty() {
            load(two, rest);
        }
    }
}

impl Drop for Slots {
    fn drop(&mut self) {
        if !self.replaced.is_null() {
            // SAFETY: `twice` got it from a box, to free it with these slots.
            drop(unsafe { Box::from_raw(self.replaced) });
        }
    }
}

/// Relaxed: the release is in the index that is published afterwards.
#[inline(always)]
fn store<T: Word>(slots: &[AtomicPtr<()>], items: &[T]) {
    let wide = wide::store(slots, items);
    for (slot, item) in slots.iter().zip(items).skip(wide) {
        // SAFETY: a `Word` has the layout of a pointer.
        let word = unsafe { std::mem::transmute_copy::<T, *mut ()>(item) };
        slot.store(word, Ordering::Relaxed);
    }
}

/// Relaxed: the claim of their indexes decides whether the words mean anything.
#[inline(always)]
fn load<T: Word>(slots: &[AtomicPtr<()>], into: &mut [MaybeUninit<T>]) {
    for (slot, place) in slots.iter().zip(into) {
        let word = slot.load(Ordering::Relaxed);
        // SAFETY: the place of a `Word` has the layout of a pointer; it is not
        // used as an item before it is claimed.
        unsafe { place.as_mut_ptr().cast::<*mut ()>().write(word) };
    }
}

/// Not atomic: the owner has claimed these slots, and only it could write them.
#[inline(always)]
fn load_claimed<T: Word>(slots: &[AtomicPtr<()>], into: &mut [MaybeUninit<T>]) {
    let wide = wide::load_claimed(slots, into);
    load(&slots[wide..], &mut into[wide..]);
}

/// Copies of several words per instruction, in whole groups of four. They return
/// how many words they copied.
///
/// The compiler does not join atomic stores. An instruction that stores two words
/// stores each in one piece where that is aligned, as slots are: it acts as two
/// relaxed stores in any order. As assembly it is no plain store to the compiler,
/// which would race with a thief's load.
#[cfg(all(target_arch = "x86_64", not(any(loom, miri, tsan))))]
mod wide {
    use core::arch::asm;
    use core::arch::x86_64::{__m128i, _mm_loadu_si128};

    use super::{AtomicPtr, MaybeUninit, Word};

    const GROUP: usize = 4;
    const PAIR: usize = 2;

    #[inline(always)]
    pub(super) fn store<T: Word>(slots: &[AtomicPtr<()>], items: &[T]) -> usize {
        let count = slots.len().min(items.len()) / GROUP * GROUP;
        let (from, to) = (items.as_ptr().cast::<__m128i>(), slots.as_ptr().cast::<__m128i>());
        for at in (0..count / PAIR).step_by(GROUP / PAIR) {
            for at in at..at + GROUP / PAIR {
                // SAFETY: the pair lies before `count`; a `Word` has the layout
                // of a pointer.
                let pair = unsafe { _mm_loadu_si128(from.add(at)) };
                // SAFETY: as above, and slots may be written through a shared
                // reference.
                unsafe {
                    asm!("movups [{}], {}", in(reg) to.add(at), in(xmm_reg) pair, options(nostack, preserves_flags))
                };
            }
        }
        count
    }

    #[inline(always)]
    pub(super) fn load_claimed<T: Word>(
        slots: &[AtomicPtr<()>],
        into: &mut [MaybeUninit<T>],
    ) -> usize {
        let count = slots.len().min(into.len()) / GROUP * GROUP;
        let (from, to) =
            (slots.as_ptr().cast::<[T; GROUP]>(), into.as_mut_ptr().cast::<[T; GROUP]>());
        for at in 0..count / GROUP {
            // SAFETY: the group lies before `count`. Thieves may load these slots
            // at the same time, but nobody writes them.
            unsafe { std::ptr::copy_nonoverlapping(from.add(at), to.add(at), 1) };
        }
        count
    }
}

/// For tools that must see every access, and for other CPUs: no words.
#[cfg(not(all(target_arch = "x86_64", not(any(loom, miri, tsan)))))]
mod wide {
    use super::{AtomicPtr, MaybeUninit, Word};

    pub(super) fn store<T: Word>(_: &[AtomicPtr<()>], _: &[T]) -> usize {
        0
    }

    pub(super) fn load_claimed<T: Word>(_: &[AtomicPtr<()>], _: &mut [MaybeUninit<T>]) -> usize {
        0
    }
}
