//! Items of a run queue, and the containers they are pushed from and popped
//! into.

use std::mem::MaybeUninit;

/// An item that is one non-null pointer.
///
/// A thief reads a slot that the owner may be overwriting, and learns only then
/// whether the item is its own. That is sound for a word, which is read in one
/// piece and forgotten if the claim fails, and for nothing larger.
///
/// # Safety
/// The type must have the size, the alignment and the validity of `NonNull<()>`:
/// its bytes are moved about as a `*mut ()`.
pub unsafe trait Word: Send + Sized {}

// SAFETY: a box of a sized type is a non-null pointer, by the documented layout
// of `Box`.
unsafe impl<T: Send> Word for Box<T> {}

/// Items in order: what bursts are pushed from and popped into.
///
/// # Safety
/// `drain_front` must pass `move_out` only items that the batch owns, and forget
/// as many from the front as that returns. `append` must give `fill` no more room
/// than was wanted.
pub unsafe trait Batch<T> {
    /// Has `fill` write up to `want` items behind the last one, and return how
    /// many. Returns the same. A bounded batch may have less room than wanted.
    ///
    /// # Safety
    /// `fill` must initialise as many items as it returns, from the front of its
    /// room.
    unsafe fn append(
        &mut self,
        want: usize,
        fill: impl FnOnce(&mut [MaybeUninit<T>]) -> usize,
    ) -> usize;

    /// Has `move_out` move items out from the front, and return how many. The
    /// others move up. Returns the same.
    ///
    /// # Safety
    /// `move_out` must make somebody else the owner of as many items as it
    /// returns.
    unsafe fn drain_front(&mut self, move_out: impl FnOnce(&[T]) -> usize) -> usize;
}

// SAFETY: it passes its own items, and forgets those moved out by moving the
// others and shrinking.
unsafe impl<T> Batch<T> for Vec<T> {
    #[inline]
    unsafe fn append(
        &mut self,
        want: usize,
        fill: impl FnOnce(&mut [MaybeUninit<T>]) -> usize,
    ) -> usize {
        self.reserve(want);
        let filled = fill(&mut self.spare_capacity_mut()[..want]);
        let end = self.len() + filled;
        // SAFETY: by the contract of `append` these items are initialised.
        unsafe { self.set_len(end) };
        filled
    }

    #[inline]
    unsafe fn drain_front(&mut self, move_out: impl FnOnce(&[T]) -> usize) -> usize {
        let moved = move_out(self);
        let left = self.len() - moved;
        // SAFETY: the front was moved out, so the rest is moved and not copied;
        // both ranges lie in the vector.
        unsafe { std::ptr::copy(self.as_ptr().add(moved), self.as_mut_ptr(), left) };
        // SAFETY: the first `left` items were moved there just now.
        unsafe { self.set_len(left) };
        moved
    }
}
