//! The rings that packets take from lcore to lcore, as one lcore has them.

use crate::dpdk::{RingConsumer, RingProducer};
use crate::shed::Picker;

/// An lcore's ends of the rings between lcores.
pub struct RingEnds {
    /// The shard into which it enqueues deferred packets, and its place.
    pub shard: Option<(usize, RingProducer)>,
    /// The shards from which it dequeues them.
    pub shards: Vec<RingConsumer>,
    /// Its inbox, and the producing end of each lcore's.
    pub inbox: Option<RingConsumer>,
    pub inboxes: Vec<RingProducer>,
    /// Chooses the shard of the next dequeue.
    pub picker: Picker,
}
