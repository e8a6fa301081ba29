//! What a way of growing has to do for the queue above it.

use std::mem::MaybeUninit;

use rand::rngs::SmallRng;

use super::word::Word;
use crate::sync::Arc;

/// What came of an attempt to steal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stolen {
    /// So many items are the thief's now: at least one.
    Items(usize),
    /// Nothing waited, or there was no room.
    Nothing,
    /// Somebody else took at the same moment: there may be more.
    Lost,
}

impl Stolen {
    /// How many items the thief has got.
    pub fn count(self) -> usize {
        if let Stolen::Items(count) = self { count } else { 0 }
    }
}

/// A way of growing: [`Double`](super::Double) or [`Append`](super::Append).
/// Chosen once, by monomorphisation.
///
/// # Safety
/// `pop` and `steal` have initialised as many items as they say, from the front
/// of the room on, and nobody else has these.
pub unsafe trait Growth<T: Word>: Send + Sized {
    /// What thieves share.
    type Shared: Send + Sync;

    /// Room for `capacity` items without allocation, and for `max` after
    /// growing.
    fn new(capacity: usize, max: usize) -> Self;

    fn shared(&self) -> &Arc<Self::Shared>;

    /// Moves items from the front to the queue's end, as many as it takes.
    /// Returns how many.
    ///
    /// # Safety
    /// The caller forgets as many from the front.
    unsafe fn push(&mut self, items: &[T]) -> usize;

    /// Moves the oldest items out. Returns how many: they are initialised from
    /// the front.
    fn pop(&mut self, into: &mut [MaybeUninit<T>]) -> usize;

    fn len(&self) -> usize;

    fn is_empty(&self) -> bool;

    /// No fewer items than wait, without a look at what thieves write.
    fn len_bound(&self) -> usize;

    /// How often it has grown.
    fn grown(&self) -> u64;

    /// Moves some of the oldest items out, on a thief's behalf.
    fn steal(shared: &Self::Shared, random: &mut SmallRng, into: &mut [MaybeUninit<T>]) -> Stolen;

    fn len_hint(shared: &Self::Shared) -> usize;
}
