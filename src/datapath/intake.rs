//! Where packets come from that other lcores deferred: their shards, and this
//! lcore's inbox.

use super::setup::Settings;
use super::shard::ShardConsumer;
use crate::dpdk::{Burst, Mbuf, RingConsumer};
use crate::shed::{DequeueBudget, Heads, Pick, Picker, RankMeter};
use crate::stats::LcoreStats;

pub(super) struct Intake<'a> {
    shards: Vec<ShardConsumer>,
    /// The shards' published heads; `None` where there is at most one.
    heads: Option<&'a Heads>,
    /// Other lcores dequeue from the shards, too.
    claims: bool,
    picker: Picker,
    rank: RankMeter,
    budget: DequeueBudget,
    inbox: Option<RingConsumer>,
    stats: &'a LcoreStats,
}

impl<'a> Intake<'a> {
    pub(super) fn new(
        (shards, picker): (Vec<RingConsumer>, Picker),
        heads: Option<&'a Heads>,
        inbox: Option<RingConsumer>,
        settings: &Settings,
        stats: &'a LcoreStats,
    ) -> Self {
        let stamp = settings.stamp;
        Self {
            claims: shards.iter().any(|ring| !ring.is_alone()),
            shards: shards.into_iter().map(|ring| ShardConsumer::new(ring, stamp)).collect(),
            heads,
            picker,
            rank: RankMeter::new(),
            budget: DequeueBudget::new(settings.dequeue_budget_ticks, settings.burst.pkts()),
            inbox,
            stats,
        }
    }

    // ---- Shards ----

    /// Whether a shard has packets that this lcore may dequeue.
    #[inline]
    pub(super) fn shards_wait(&self) -> bool {
        match self.heads {
            Some(heads) => !self.shards.is_empty() && !heads.all_empty(),
            None => self.shards_hold_packets(),
        }
    }

    /// The same, by a look at each ring. At the end of the run that is certain: an
    /// lcore that has just enqueued may not have said so yet.
    pub(super) fn shards_hold_packets(&self) -> bool {
        self.shards.iter().any(|shard| !shard.ring.is_empty())
    }

    /// The shard to dequeue from next, if any has packets.
    #[inline]
    pub(super) fn pick(&mut self) -> Option<usize> {
        match self.heads {
            Some(heads) => self.picker.pick(heads),
            None => self.shards_hold_packets().then_some(0),
        }
    }

    /// Claims the shard that was picked, or picks another where a worker was
    /// quicker. If that is so again, as where there are more workers than shards,
    /// they dequeue from the same one: the ring allows that.
    #[inline]
    pub(super) fn claim(&mut self, picked: usize) -> usize {
        let Some(heads) = self.heads.filter(|_| self.claims) else { return picked };
        if heads.claim(picked) {
            return picked;
        }
        let next = self.picker.pick(heads).unwrap_or(picked);
        heads.claim(next);
        next
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
        self.shards[shard].dequeue(shard, self.heads, burst, pkts_max)
    }

    /// Prefetches the headers of the next so many packets of a shard.
    #[inline]
    pub(super) fn prefetch(&mut self, shard: usize, pkts: usize) {
        self.shards[shard].ring.prefetch(pkts);
    }

    /// So many packets were dequeued and took so long.
    #[inline]
    pub(super) fn finish(&mut self, pkts: usize, ticks: u64) {
        self.budget.observe(pkts, ticks);
        self.stats.taken_pkts.add(pkts as u64);
    }

    /// Whether neither the shards nor the inbox have packets.
    #[cold]
    pub(super) fn is_empty(&self) -> bool {
        !self.shards_hold_packets() && self.inbox_pkts() == 0
    }

    // ---- Inbox ----

    pub(super) fn has_inbox(&self) -> bool {
        self.inbox.is_some()
    }

    #[inline]
    pub(super) fn inbox_pkts(&self) -> usize {
        self.inbox.as_ref().map_or(0, RingConsumer::len)
    }

    /// Dequeues packets of the inbox that another lcore is to run, or this one
    /// later. Returns how many.
    #[cold]
    pub(super) fn empty_inbox(&mut self, burst: &mut Burst, pkts_max: usize) -> usize {
        let dequeued = self.inbox.as_mut().map_or(0, |inbox| inbox.dequeue(burst, pkts_max));
        self.stats.taken_pkts.add(dequeued as u64);
        dequeued
    }

    /// One packet of the inbox, by way of a burst that is empty.
    pub(super) fn unbox(&mut self, burst: &mut Burst) -> Option<Mbuf> {
        self.inbox.as_mut()?.dequeue(burst, 1);
        let packet = burst.pop()?;
        self.stats.taken_pkts.add(1);
        Some(packet)
    }

    /// At the end of the run: a burst of whatever is left. Returns whether
    /// there was anything.
    pub(super) fn dequeue_any(&mut self, burst: &mut Burst, pkts_max: usize) -> bool {
        let shards = self.shards.iter_mut().map(|shard| &mut shard.ring);
        shards.chain(&mut self.inbox).any(|ring| ring.dequeue(burst, pkts_max) > 0)
    }
}
