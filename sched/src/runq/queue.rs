//! The run queue's two kinds of end, the owner's and the thieves', over either
//! way of growing.

use std::marker::PhantomData;
use std::mem::MaybeUninit;

use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::double::Double;
use super::growth::{Growth, Stolen};
use super::word::{Batch, Word};
use crate::sync::Arc;

/// The owner's end of a run queue. Its operations take `&mut self`: one thread
/// at a time, and nothing of that is paid for.
///
/// What is left when the queue and its last stealer are gone is dropped.
pub struct RunQueue<T: Word, G: Growth<T> = Double<T>> {
    growth: G,
    stealers: u64,
    items: PhantomData<T>,
}

impl<T: Word, G: Growth<T>> RunQueue<T, G> {
    /// Room for `capacity` items without allocation, and for at most `max`
    /// after growing. The capacity is rounded up to a power of two and is at
    /// least 2.
    ///
    /// # Panics
    /// When `max` is zero.
    pub fn new(capacity: usize, max: usize) -> Self {
        assert!(max > 0, "a run queue of no items");
        Self { growth: G::new(capacity, max), stealers: 0, items: PhantomData }
    }

    /// How many items wait. Thieves may take some at any moment; nobody else
    /// adds any.
    #[inline]
    pub fn len(&self) -> usize {
        self.growth.len()
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.growth.is_empty()
    }

    /// How often the queue has grown since it was made.
    pub fn grown(&self) -> u64 {
        self.growth.grown()
    }

    /// Adds the newest item; a full queue gives it back.
    #[inline]
    pub fn push(&mut self, item: T) -> Result<(), T> {
        // SAFETY: the item is forgotten below if it was taken.
        let taken = unsafe { self.growth.push(std::slice::from_ref(&item)) };
        if taken == 0 {
            return Err(item);
        }
        std::mem::forget(item);
        Ok(())
    }

    /// Moves items from the front of the batch to the queue, oldest first.
    /// Returns how many: less than all when the queue is full.
    #[inline]
    pub fn push_burst(&mut self, from: &mut impl Batch<T>) -> usize {
        // SAFETY: the queue owns what it took, and the batch forgets as many.
        unsafe { from.give(|items| self.growth.push(items)) }
    }

    /// The oldest item.
    #[inline]
    pub fn pop(&mut self) -> Option<T> {
        let mut item = [MaybeUninit::uninit()];
        if self.growth.pop(&mut item) == 0 {
            return None;
        }
        let [item] = item;
        // SAFETY: `pop` said that it wrote it.
        Some(unsafe { item.assume_init() })
    }

    /// Moves up to `want` of the oldest items to the end of the batch. Returns
    /// how many.
    #[inline]
    pub fn pop_burst(&mut self, want: usize, into: &mut impl Batch<T>) -> usize {
        let want = want.min(self.growth.len_bound());
        if want == 0 {
            return 0;
        }
        // SAFETY: `pop` says how many items it wrote from the front on.
        unsafe { into.append(want, |room| self.growth.pop(room)) }
    }

    /// Another end for thieves.
    pub fn stealer(&mut self) -> Stealer<T, G> {
        self.stealers += 1;
        Stealer {
            shared: self.growth.shared().clone(),
            random: SmallRng::seed_from_u64(self.stealers),
        }
    }
}

/// A thief's end of a run queue: any number of them, on any threads.
pub struct Stealer<T: Word, G: Growth<T> = Double<T>> {
    shared: Arc<G::Shared>,
    /// Where there is a choice of rings, thieves should not all make the same
    /// one.
    random: SmallRng,
}

impl<T: Word, G: Growth<T>> Stealer<T, G> {
    /// Moves up to half of what waits, rounded up, and no more than `limit`, to
    /// the end of the batch: the oldest first. Never waits, and never makes the
    /// owner or another thief wait.
    #[inline]
    pub fn steal(&mut self, limit: usize, into: &mut impl Batch<T>) -> Stolen {
        let mut stolen = Stolen::Nothing;
        let fill = |room: &mut [MaybeUninit<T>]| {
            stolen = G::steal(&self.shared, &mut self.random, room);
            stolen.count()
        };
        // SAFETY: `steal` says how many items it wrote from the front on.
        unsafe { into.append(limit, fill) };
        stolen
    }

    /// About how many items wait. Looks at lines that the owner keeps writing:
    /// an idle lcore that does so all the time slows the owner down several
    /// times over. The hint in a heartbeat is for that.
    pub fn len_hint(&self) -> usize {
        G::len_hint(&self.shared)
    }

    /// A stealer of the same queue, which makes other choices.
    pub fn another(&mut self) -> Self {
        Self { shared: self.shared.clone(), random: SmallRng::from_rng(&mut self.random) }
    }
}
