//! The per-lcore run queue: packets that wait for their lcore, oldest first. Generic over the item; knows no packets.

use std::collections::VecDeque;

/// A ring-based deque with one owner, which is also the only one that looks.
pub struct RunQueue<T> {
    ring: VecDeque<T>,
}

impl<T> RunQueue<T> {
    /// Room for `capacity` items without allocation.
    pub fn with_capacity(capacity: usize) -> Self {
        Self { ring: VecDeque::with_capacity(capacity) }
    }

    #[inline]
    pub fn len(&self) -> usize {
        self.ring.len()
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }

    #[inline]
    pub fn push(&mut self, item: T) {
        self.ring.push_back(item);
    }

    /// The oldest item.
    #[inline]
    pub fn pop(&mut self) -> Option<T> {
        self.ring.pop_front()
    }

    /// The oldest item, if it is one that the caller wants now.
    #[inline]
    pub fn pop_if(&mut self, wanted: impl FnOnce(&T) -> bool) -> Option<T> {
        if wanted(self.ring.front()?) { self.ring.pop_front() } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn oldest_first_and_only_what_is_wanted() {
        let mut queue = RunQueue::with_capacity(4);
        (0..4).for_each(|item| queue.push(item));
        assert_eq!(queue.pop(), Some(0));
        assert_eq!(queue.pop_if(|&item| item == 2), None);
        assert_eq!(queue.pop_if(|&item| item == 1), Some(1));
        assert_eq!((queue.len(), queue.is_empty()), (2, false));
    }
}
