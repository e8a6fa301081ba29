//! Where packets come from that other lcores deferred: their shards, and this
//! lcore's inbox.

use super::setup::Settings;
use crate::dpdk::{Burst, Mbuf, RingConsumer, StampField};
use crate::shed::{DequeueBudget, Pick, Picker, RankMeter, Shard};
use crate::stats::LcoreStats;

/// A shard's consuming end, as the choice among shards sees it.
struct ShardEnd {
    ring: RingConsumer,
    stamp: StampField,
}

impl Shard for ShardEnd {
    #[inline]
    fn head_stamp(&self) -> Option<u64> {
        self.ring.head_stamp(self.stamp)
    }

    #[inline]
    fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }

    #[inline]
    fn len(&self) -> usize {
        self.ring.len()
    }
}

pub(super) struct Intake<'a> {
    shards: Vec<ShardEnd>,
    picker: Picker,
    rank: RankMeter,
    budget: DequeueBudget,
    inbox: Option<RingConsumer>,
    stats: &'a LcoreStats,
}

impl<'a> Intake<'a> {
    pub(super) fn new(
        shards: Vec<RingConsumer>,
        picker: Picker,
        inbox: Option<RingConsumer>,
        settings: &Settings,
        stats: &'a LcoreStats,
    ) -> Self {
        let stamp = settings.stamp;
        Self {
            shards: shards.into_iter().map(|ring| ShardEnd { ring, stamp }).collect(),
            picker,
            rank: RankMeter::new(),
            budget: DequeueBudget::new(settings.take_budget_ticks, settings.burst.pkts()),
            inbox,
            stats,
        }
    }

    // ---- Shards ----

    /// Whether a shard has packets.
    #[inline]
    pub(super) fn shards_wait(&self) -> bool {
        self.shards.iter().any(|shard| !shard.is_empty())
    }

    /// The shard to dequeue from next, if any has packets.
    #[inline]
    pub(super) fn pick(&mut self) -> Option<usize> {
        self.picker.pick(&self.shards)
    }

    /// How many packets the time budget allows to dequeue at once.
    #[inline]
    pub(super) fn pkts_max(&self) -> usize {
        self.budget.items()
    }

    /// Samples how far a dequeue from this shard is from the order of arrival.
    #[inline]
    pub(super) fn sample_rank(&mut self, shard: usize) {
        if self.shards.len() > 1 {
            let sample = self.rank.before_dequeue(&self.shards, shard);
            sample.into_iter().for_each(|sample| self.stats.rank.add(sample));
        }
    }

    /// Dequeues packets that are about to be read. Returns how many.
    #[inline]
    pub(super) fn dequeue(&mut self, shard: usize, burst: &mut Burst, pkts_max: usize) -> usize {
        self.shards[shard].ring.take_to_read(burst, pkts_max)
    }

    /// Prefetches the headers of the next so many packets of a shard.
    #[inline]
    pub(super) fn prefetch(&mut self, shard: usize, pkts: usize) {
        self.shards[shard].ring.ask_ahead(pkts);
    }

    /// So many packets were dequeued and took so long.
    #[inline]
    pub(super) fn finish(&mut self, pkts: usize, ticks: u64) {
        self.budget.observe(pkts, ticks);
        self.stats.taken_pkts.add(pkts as u64);
    }

    // ---- Inbox ----

    pub(super) fn has_inbox(&self) -> bool {
        self.inbox.is_some()
    }

    #[inline]
    pub(super) fn inbox_pkts(&self) -> usize {
        self.inbox.as_ref().map_or(0, RingConsumer::len)
    }

    /// One packet of the inbox, by way of a burst that is empty.
    pub(super) fn unbox(&mut self, burst: &mut Burst) -> Option<Mbuf> {
        self.inbox.as_mut()?.take(burst, 1);
        let packet = burst.pop()?;
        self.stats.taken_pkts.add(1);
        Some(packet)
    }

    /// At the end of the run: a burst of whatever is left. Returns whether
    /// there was anything.
    pub(super) fn dequeue_any(&mut self, burst: &mut Burst, pkts_max: usize) -> bool {
        let shards = self.shards.iter_mut().map(|shard| &mut shard.ring);
        shards.chain(&mut self.inbox).any(|ring| ring.take(burst, pkts_max) > 0)
    }
}
