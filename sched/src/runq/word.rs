//! What can wait in a run queue, and what it is pushed from and popped into.

use std::mem::MaybeUninit;

/// An item that is one non-null pointer.
///
/// A thief reads a slot that the owner may be overwriting, and only then learns
/// whether what it read is its own. That is sound for a word that is read at
/// once and forgotten again, and for nothing larger.
///
/// # Safety
/// The type has the size, the alignment and the validity of `NonNull<()>`, so
/// that its bytes may be moved about as a `*mut ()`.
pub unsafe trait Word: Send + Sized {}

// SAFETY: a box of a sized type is a non-null pointer, by the documented layout
// of `Box`.
unsafe impl<T: Send> Word for Box<T> {}

/// Items in order: what bursts of them are pushed from, and popped into.
///
/// # Safety
/// `give` shows `take` only items that the batch owns, and forgets as many from
/// the front as it says; `append` gives `fill` no more room than was asked for.
pub unsafe trait Batch<T> {
    /// Lets `fill` write up to `want` items behind the last one; it returns how
    /// many. Returns the same. There may be less room than wanted where a batch
    /// is bounded.
    ///
    /// # Safety
    /// As many items as `fill` returns, from the front of its room, must be
    /// initialised.
    unsafe fn append(
        &mut self,
        want: usize,
        fill: impl FnOnce(&mut [MaybeUninit<T>]) -> usize,
    ) -> usize;

    /// Lets `take` move items out from the front; it returns how many. The
    /// others move up. Returns the same.
    ///
    /// # Safety
    /// `take` must own as many items as it returns from then on.
    unsafe fn give(&mut self, take: impl FnOnce(&[T]) -> usize) -> usize;
}

// SAFETY: shows its own items, and forgets those taken by the move of the
// others and by its length.
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
        // SAFETY: the caller of `append` vouches for the items behind the old
        // length.
        unsafe { self.set_len(end) };
        filled
    }

    #[inline]
    unsafe fn give(&mut self, take: impl FnOnce(&[T]) -> usize) -> usize {
        let taken = take(self);
        let left = self.len() - taken;
        // SAFETY: the front was moved away, so the rest is moved and not
        // copied; both ranges lie in the vector.
        unsafe { std::ptr::copy(self.as_ptr().add(taken), self.as_mut_ptr(), left) };
        // SAFETY: the first `left` items were moved there just now.
        unsafe { self.set_len(left) };
        taken
    }
}
