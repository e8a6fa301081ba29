//! A way of growing, as the queue uses it.

use std::mem::MaybeUninit;

use rand::rngs::SmallRng;

use super::word::Word;
use crate::sync::Arc;

/// The result of an attempt to steal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stolen {
    /// The thief owns so many more items: at least one.
    Items(usize),
    /// The queue was empty, or the batch had no room.
    Nothing,
    /// The owner or another thief claimed items at the same moment: there may
    /// be more.
    Contended,
}

impl Stolen {
    /// How many items the thief got.
    pub fn count(self) -> usize {
        if let Stolen::Items(count) = self { count } else { 0 }
    }
}

/// A way of growing: [`Double`](super::Double) or [`Append`](super::Append).
/// Chosen once, by monomorphisation.
///
/// # Safety
/// `pop` and `steal` must initialise as many items as they return, from the
/// front of `into` on, and no other caller may get these items.
pub unsafe trait Growth<T: Word>: Send + Sized {
    /// State that thieves share.
    type Shared: Send + Sync;

    /// Room for `capacity` items without allocation, and for `max` after
    /// growing.
    fn new(capacity: usize, max: usize) -> Self;

    /// State of this queue that thieves share.
    fn shared(&self) -> &Arc<Self::Shared>;

    /// Moves items from the front of `items` into the queue, as many as have
    /// room. Returns how many.
    ///
    /// # Safety
    /// The caller must forget as many items, from the front.
    unsafe fn push(&mut self, items: &[T]) -> usize;

    /// Moves the oldest items out. Returns how many: they are initialised from
    /// the front.
    fn pop(&mut self, into: &mut [MaybeUninit<T>]) -> usize;

    /// Items in the queue.
    fn len(&self) -> usize;

    /// As `len` of 0.
    fn is_empty(&self) -> bool;

    /// At least as many as are in the queue, without a read of a line that
    /// thieves write.
    fn len_bound(&self) -> usize;

    /// How often it has grown.
    fn grown(&self) -> u64;

    /// Moves some of the oldest items out, for a thief.
    fn steal(shared: &Self::Shared, random: &mut SmallRng, into: &mut [MaybeUninit<T>]) -> Stolen;

    /// About how many items are in the queue.
    fn len_hint(shared: &Self::Shared) -> usize;
}
