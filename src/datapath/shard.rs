//! An lcore's ends of the shards. Both say what the shards show: without that a
//! worker would have to look at each ring.

use crate::dpdk::{Burst, RingConsumer, RingProducer, StampField};
use crate::shed::{Heads, Shard};

/// The end that an lcore enqueues to. Only it, unless there are fewer shards than
/// lcores that shed.
pub(super) struct ShardProducer<'a> {
    ring: RingProducer,
    stamp: StampField,
    /// The heads, and the shard's place among them; `None` where there is one
    /// shard, at which workers look themselves.
    heads: Option<(&'a Heads, usize)>,
}

impl<'a> ShardProducer<'a> {
    pub(super) fn new(
        (shard, ring): (usize, RingProducer),
        stamp: StampField,
        heads: Option<&'a Heads>,
    ) -> Self {
        Self { ring, stamp, heads: heads.map(|heads| (heads, shard)) }
    }

    /// Moves packets from the front of the burst into the shard; those that find
    /// no room stay. Returns how many went.
    #[inline]
    pub(super) fn enqueue(&mut self, burst: &mut Burst) -> usize {
        let Some((heads, shard)) = self.heads else { return self.ring.enqueue(burst) };
        // Read before another lcore has the packet.
        let first = burst.packets().first().map(|packet| self.stamp.read(packet));
        let pkts = self.ring.enqueue(burst);
        if pkts > 0 {
            first.into_iter().for_each(|stamp| heads.enqueued(shard, stamp));
        }
        pkts
    }
}

/// An end that a worker dequeues from.
pub(super) struct ShardConsumer {
    pub(super) ring: RingConsumer,
    stamp: StampField,
}

impl ShardConsumer {
    pub(super) fn new(ring: RingConsumer, stamp: StampField) -> Self {
        Self { ring, stamp }
    }

    /// Dequeues packets that are about to be read from the shard at that place.
    /// Returns how many.
    #[inline]
    pub(super) fn dequeue(
        &mut self,
        shard: usize,
        heads: Option<&Heads>,
        burst: &mut Burst,
        pkts_max: usize,
    ) -> usize {
        let pkts = self.ring.dequeue_to_read(burst, pkts_max);
        if let Some(heads) = heads {
            heads.dequeued(shard, || self.head_stamp());
        }
        pkts
    }
}

impl Shard for ShardConsumer {
    #[inline]
    fn head_stamp(&self) -> Option<u64> {
        self.ring.head_stamp(self.stamp)
    }

    #[inline]
    fn items(&self) -> usize {
        self.ring.len()
    }
}
