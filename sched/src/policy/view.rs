//! What an lcore sees when it decides: its own plain fields, and, only when it
//! looks around, the hints that others publish.

use rand::Rng;
use rand::rngs::SmallRng;

use super::Pool;

/// What is the lcore's own. Made before every step, of fields that no other
/// lcore writes but where it is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    pub pool: Pool,
    /// The packets that wait in its run queue.
    pub run_queue_pkts: usize,
    /// The deferred packets that it must run itself.
    pub kept_pkts: usize,
    /// Something is in a shard. False for an lcore that takes from none, or
    /// that must not be told (pool A, which asks when idle).
    pub shards_wait: bool,
    /// The packets in its inbox, which others write: 0 unless the mode's
    /// `DEFERRED` is `Deferral::Inbox`.
    pub inbox_pkts: usize,
    /// Packets that it has finished since the run began, in either stage; 0
    /// unless the mode `COUNTS` them.
    pub done_pkts: u64,
    /// Each of its own sources (the queues it polls; for a worker the shards)
    /// was empty when it was asked last, `VAIN_ROUNDS` times, and it has not
    /// looked around since. True if it has no source.
    pub found_nothing: bool,
    /// It wanted a permit and got none; false again after it polled, looked
    /// around or shed.
    pub refused: bool,
    /// The run is to end: receive nothing more, finish what is there.
    pub draining: bool,
}

#[cfg(test)]
impl View {
    /// An lcore of `pool` that holds nothing, in the middle of a run.
    pub(super) fn empty(pool: Pool) -> Self {
        Self {
            pool,
            run_queue_pkts: 0,
            kept_pkts: 0,
            shards_wait: false,
            inbox_pkts: 0,
            done_pkts: 0,
            found_nothing: false,
            refused: false,
            draining: false,
        }
    }
}

/// What another lcore lets be seen of itself: coarse, seldom written, and late
/// by the time it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerHint {
    pub pool: Pool,
    /// About how many packets wait in its run queue; 0 only when none do, or
    /// none did a moment ago.
    pub waiting_pkts: u32,
    /// For how long it has been in one packet of unknown or expensive cost, in
    /// ticks; `None` when it isn't. While it is, the leases of its receive
    /// queues are free.
    pub away_ticks: Option<u64>,
    /// It knew that the packet is expensive: it will not be back soon.
    pub declared: bool,
}

/// What an lcore sees that looks around.
#[derive(Clone, Copy, Debug)]
pub struct PeersView<'a> {
    /// Its own place in `peers`.
    pub me: usize,
    pub pool: Pool,
    pub draining: bool,
    /// It looks around because it was refused a permit.
    pub refused: bool,
    /// Something is in a shard.
    pub shards_wait: bool,
    /// A permit could be had by an lcore of this pool a moment ago.
    pub may_take: bool,
    /// All lcores, in the order of the map.
    pub peers: &'a [PeerHint],
}

impl PeersView<'_> {
    /// The first lcore from a random place on, other than this one, that is
    /// `wanted`. Cheap rather than uniform: one that follows many that are not
    /// wanted is found more often than others.
    #[inline]
    pub(super) fn random(
        &self,
        rng: &mut SmallRng,
        wanted: impl Fn(&PeerHint) -> bool,
    ) -> Option<usize> {
        let count = self.peers.len();
        if count < 2 {
            return None;
        }
        let first = rng.random_range(0..count);
        (first..count).chain(0..first).find(|&at| at != self.me && wanted(&self.peers[at]))
    }
}
