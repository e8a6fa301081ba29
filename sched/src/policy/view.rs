//! What an lcore sees when it decides: its own plain fields, and, only when it
//! looks around, the hints that others publish.

use rand::Rng;
use rand::rngs::SmallRng;

use super::Pool;

/// The lcore's own fields. Made before every step, of fields that no other
/// lcore writes unless said so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// The lcore's.
    pub pool: Pool,
    /// Packets in its run queue.
    pub run_queue_pkts: usize,
    /// Deferred packets that it must run itself.
    pub kept_pkts: usize,
    /// A shard holds packets. False for an lcore that dequeues from none, or only
    /// when idle (pool A).
    pub shards_nonempty: bool,
    /// Packets in its inbox, which others write; 0 unless the mode's `DEFERRED`
    /// is [`Deferral::Inbox`](super::Deferral::Inbox).
    pub inbox_pkts: usize,
    /// Packets that it has finished since the run began, in either stage; 0
    /// unless the mode `COUNTS` them.
    pub done_pkts: u64,
    /// Each of its sources (the queues it polls; for a worker the shards) was
    /// empty when asked last, `EMPTY_ROUNDS` times, and it has not looked around
    /// since. True if it has no source.
    pub found_nothing: bool,
    /// It asked for a permit and got none, and has not polled, looked around or
    /// shed since.
    pub permit_refused: bool,
    /// The run is to end: poll no more, finish what is there.
    pub draining: bool,
}

impl View {
    /// Of an lcore of `pool` that holds nothing, in the middle of a run.
    pub fn empty(pool: Pool) -> Self {
        Self {
            pool,
            run_queue_pkts: 0,
            kept_pkts: 0,
            shards_nonempty: false,
            inbox_pkts: 0,
            done_pkts: 0,
            found_nothing: false,
            permit_refused: false,
            draining: false,
        }
    }
}

/// What another lcore shows of itself: coarse, seldom written, and late by the
/// time it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerHint {
    /// That lcore's place among all lcores.
    pub lcore: usize,
    /// Its pool.
    pub pool: Pool,
    /// About how many packets are in its run queue, rounded down; 0 only if there
    /// are none, or were none a moment ago.
    pub queued_pkts: u32,
    /// For how long it has been in one packet of unknown or expensive cost, in
    /// ticks; `None` when it is not. Meanwhile the leases of its receive queues
    /// are free.
    pub away_ticks: Option<u64>,
    /// That packet is known to be expensive: the lcore will not be back soon.
    pub expensive: bool,
    /// For how long it has not been seen to run, in ticks. Between two bursts an
    /// lcore is seen every few microseconds.
    pub silent_ticks: u64,
    /// Its receive queues fill faster than it serves them. It releases their
    /// leases before it serves a burst.
    pub pressed: bool,
}

impl PeerHint {
    /// Of an lcore of `pool` that runs, and needs nothing.
    pub const fn calm(lcore: usize, pool: Pool) -> Self {
        Self {
            lcore,
            pool,
            queued_pkts: 0,
            away_ticks: None,
            expensive: false,
            silent_ticks: 0,
            pressed: false,
        }
    }
}

/// What an lcore sees that looks around.
#[derive(Clone, Copy, Debug)]
pub struct PeersView<'a> {
    /// Its own place among all lcores.
    pub me: usize,
    /// How many lcores there are.
    pub lcores: usize,
    /// Its pool.
    pub pool: Pool,
    /// The run is to end: poll no more.
    pub draining: bool,
    /// It looks around because it was refused a permit.
    pub permit_refused: bool,
    /// It is likely to lose its CPU soon, and what it holds would wait.
    pub wary: bool,
    /// A shard holds packets.
    pub shards_nonempty: bool,
    /// An lcore of this pool could have had a permit a moment ago.
    pub permit_available: bool,
    /// Lcores that may need something, each once; perhaps not all of these.
    pub peers: &'a [PeerHint],
}

impl PeersView<'_> {
    /// Of the hints, the first one from a random place on that is `wanted`. Cheap
    /// rather than uniform: one that follows many unwanted ones is found more often
    /// than others.
    #[inline]
    pub(super) fn random(
        &self,
        rng: &mut SmallRng,
        wanted: impl Fn(&PeerHint) -> bool,
    ) -> Option<usize> {
        let count = self.peers.len();
        if count == 0 {
            return None;
        }
        let first = rng.random_range(0..count);
        let mut peers = self.peers[first..].iter().chain(&self.peers[..first]);
        peers.find(|peer| peer.lcore != self.me && wanted(peer)).map(|peer| peer.lcore)
    }

    /// Any other lcore.
    #[inline]
    pub(super) fn any(&self, rng: &mut SmallRng) -> Option<usize> {
        let others = self.lcores - 1;
        let step = (others > 0).then(|| rng.random_range(1..=others))?;
        Some((self.me + step) % self.lcores)
    }
}
