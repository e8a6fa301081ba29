//! The run queue's ends, the owner's and the thieves', over either way of growing.

use std::marker::PhantomData;
use std::mem::MaybeUninit;

use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::double::Double;
use super::growth::{Growth, Stolen};
use super::word::{Batch, Word};
use crate::sync::Arc;

/// The owner's end of a run queue. Its operations take `&mut self`: there is one
/// owner, at no cost at run time.
///
/// Items that are left when the queue and its last stealer are gone are dropped.
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

    /// Items in the queue. Thieves may steal some at any moment; only the owner
    /// adds any.
    #[inline]
    pub fn len(&self) -> usize {
        self.growth.len()
    }

    /// Whether there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.growth.is_empty()
    }

    /// How often the queue has grown since it was made.
    pub fn grown(&self) -> u64 {
        self.growth.grown()
    }

    /// Pushes the newest item.
    ///
    /// # Errors
    /// A full queue gives the item back.
    #[inline]
    pub fn push(&mut self, item: T) -> Result<(), T> {
        // SAFETY: the item is forgotten below if the queue owns it now.
        let pushed = unsafe { self.growth.push(std::slice::from_ref(&item)) };
        if pushed == 0 {
            return Err(item);
        }
        std::mem::forget(item);
        Ok(())
    }

    /// Moves items from the front of the batch into the queue, oldest first.
    /// Returns how many: fewer than all when the queue is full.
    #[inline]
    pub fn push_burst(&mut self, from: &mut impl Batch<T>) -> usize {
        // SAFETY: the queue owns as many items as `push` returns.
        unsafe { from.drain_front(|items| self.growth.push(items)) }
    }

    /// Pops the oldest item.
    #[inline]
    pub fn pop(&mut self) -> Option<T> {
        let mut item = [MaybeUninit::uninit()];
        if self.growth.pop(&mut item) == 0 {
            return None;
        }
        let [item] = item;
        // SAFETY: `pop` returned 1, so it is initialised.
        Some(unsafe { item.assume_init() })
    }

    /// Pops up to `want` of the oldest items to the end of the batch. Returns how
    /// many.
    #[inline]
    pub fn pop_burst(&mut self, want: usize, into: &mut impl Batch<T>) -> usize {
        let want = want.min(self.growth.len_bound());
        if want == 0 {
            return 0;
        }
        // SAFETY: `pop` initialises as many items as it returns, from the front.
        unsafe { into.append(want, |room| self.growth.pop(room)) }
    }

    /// A new end for a thief.
    pub fn stealer(&mut self) -> Stealer<T, G> {
        self.stealers += 1;
        Stealer {
            shared: self.growth.shared().clone(),
            random: SmallRng::seed_from_u64(self.stealers),
        }
    }
}

/// A thief's end of a run queue. There may be any number, on any threads.
pub struct Stealer<T: Word, G: Growth<T> = Double<T>> {
    shared: Arc<G::Shared>,
    /// Where there are several rings, thieves should not all choose the same one.
    random: SmallRng,
}

impl<T: Word, G: Growth<T>> Stealer<T, G> {
    /// Moves up to half of the queue, rounded up, and at most `limit` items to the
    /// end of the batch, oldest first. Never blocks, and never makes the owner or
    /// another thief wait.
    #[inline]
    pub fn steal(&mut self, limit: usize, into: &mut impl Batch<T>) -> Stolen {
        let mut stolen = Stolen::Nothing;
        let fill = |room: &mut [MaybeUninit<T>]| {
            stolen = G::steal(&self.shared, &mut self.random, room);
            stolen.count()
        };
        // SAFETY: `steal` initialises as many items as it returns, from the front.
        unsafe { into.append(limit, fill) };
        stolen
    }

    /// About how many items are in the queue. Reads lines that the owner writes: an
    /// idle lcore that polls this slows the owner down several times over. Use the
    /// hint in a [`Heartbeat`](crate::heartbeat::Heartbeat) for that.
    pub fn len_hint(&self) -> usize {
        G::len_hint(&self.shared)
    }

    /// Another end of the same queue, which chooses rings differently.
    pub fn another(&mut self) -> Self {
        Self { shared: self.shared.clone(), random: SmallRng::from_rng(&mut self.random) }
    }
}
