//! The published heads of all shards: which have items, and the stamps of their
//! oldest. A worker chooses by these, and reads no ring but the one that it
//! dequeues from.

use crate::attention::AtomicSet;
use crate::sync::{AtomicU64, Ordering, fence};

/// Shards whose stamps lie on one cache line.
pub(super) const GROUP: usize = 8;

/// A published stamp: so many of its bits are the shard's own, its number below
/// [`CLAIMED`]. The highest bits of the stamp make room for these: published
/// stamps are compared by their distance, which may be 80 days.
const OWN_BITS: u32 = 9;

/// A worker is about to dequeue there.
const CLAIMED: u64 = 1 << (OWN_BITS - 1);

/// A claimed head counts as younger by so many ticks, so that others choose
/// another: a millisecond or two. A worker that loses its CPU with a claim
/// holds the shard back no longer than that.
const CLAIM_TICKS: u64 = 1 << 22;
const CLAIM: u64 = CLAIM_TICKS << OWN_BITS | CLAIMED;

/// The shard whose published stamp that is.
#[inline(always)]
pub(super) fn shard_of(published: u64) -> usize {
    (published & (CLAIMED - 1)) as usize
}

/// The stamp of that shard's head, as it is published.
#[inline(always)]
fn published(shard: usize, stamp: u64) -> u64 {
    stamp << OWN_BITS | shard as u64
}

/// A published stamp, of no shard.
#[inline(always)]
pub(super) fn without_own_bits(published: u64) -> u64 {
    published >> OWN_BITS << OWN_BITS
}

#[repr(align(64))]
#[derive(Debug)]
struct Group([AtomicU64; GROUP]);

/// The published heads of the shards of one sharded queue.
///
/// A shard that holds items is a member, and stays one until a worker has found
/// it empty. Its stamp is that of its head, or of an earlier one: of the
/// dequeues of other workers, the last ones may be missing. So it never looks
/// younger than its head, but while a worker has claimed it, or where several
/// producers share it. The stamp is a hint. That a shard with items becomes a
/// member is none:
///
/// * A producer enqueues and then calls [`Heads::enqueued`].
/// * A worker dequeues and then calls [`Heads::dequeued`], also if it found
///   nothing.
///
/// Each changes its side first, has a fence, and then looks at the other's. Of
/// a producer that has enqueued and a worker that has removed the member, at
/// least one sees what the other did, and adds the member again.
///
/// ```
/// use std::collections::VecDeque;
///
/// use micropools::shed::Heads;
///
/// let (heads, mut shard) = (Heads::new(4), VecDeque::from([70, 80]));
/// heads.enqueued(2, 70);
/// assert_eq!((heads.stamp(2), heads.stamp(3)), (Some(70), None));
/// assert!(heads.claim(2) && !heads.claim(2), "one worker at a time");
/// shard.pop_front();
/// heads.dequeued(2, || shard.front().copied());
/// assert_eq!(heads.stamp(2), Some(80));
/// shard.pop_front();
/// heads.dequeued(2, || shard.front().copied());
/// assert!(heads.all_empty());
/// ```
#[derive(Debug)]
pub struct Heads {
    groups: Box<[Group]>,
    nonempty: AtomicSet,
    shards: usize,
}

impl Heads {
    /// Of so many shards, all empty.
    ///
    /// # Panics
    /// When there are more than [`SET_MAX`](crate::attention::SET_MAX).
    pub fn new(shards: usize) -> Self {
        let group = |_| Group(std::array::from_fn(|_| AtomicU64::new(0)));
        Self {
            groups: (0..shards.div_ceil(GROUP)).map(group).collect(),
            nonempty: AtomicSet::new(shards),
            shards,
        }
    }

    /// How many shards there are.
    #[inline]
    pub fn shards(&self) -> usize {
        self.shards
    }

    #[inline]
    fn slot(&self, shard: usize) -> &AtomicU64 {
        &self.groups[shard / GROUP].0[shard % GROUP]
    }

    /// Whether no shard is a member.
    #[inline]
    pub fn all_empty(&self) -> bool {
        self.nonempty.is_empty()
    }

    /// The members from `first` on, round the end.
    #[inline]
    pub fn nonempty_from(&self, first: usize) -> impl Iterator<Item = usize> {
        self.nonempty.iter_from(first)
    }

    /// The stamp of a shard's head; `None` if the shard is empty.
    #[inline]
    pub fn stamp(&self, shard: usize) -> Option<u64> {
        let published = self.published_of(shard)?;
        let claim = if published & CLAIMED == 0 { 0 } else { CLAIM };
        Some(published.wrapping_sub(claim) >> OWN_BITS)
    }

    /// A member's stamp as it is published.
    #[inline]
    pub(super) fn published_of(&self, shard: usize) -> Option<u64> {
        self.nonempty.contains(shard).then(|| self.slot(shard).load(Ordering::Relaxed))
    }

    /// The members of the eight shards from `GROUP * group` on, as bits.
    #[inline(always)]
    pub(super) fn members(&self, group: usize) -> u64 {
        self.nonempty.byte(group)
    }

    /// The published stamps of these shards.
    #[inline(always)]
    pub(super) fn published(&self, group: usize) -> [u64; GROUP] {
        self.groups[group].0.each_ref().map(|slot| slot.load(Ordering::Relaxed))
    }

    /// A worker shows the head of a shard. The member comes first: a producer
    /// that sees the stamp sees the member, too.
    #[inline]
    fn show(&self, shard: usize, stamp: u64) {
        // Another worker may have removed it, and not yet looked again.
        self.nonempty.insert(shard);
        self.slot(shard).store(published(shard, stamp), Ordering::Release);
    }

    /// As `show`, where the producer may be about to show a younger item: of
    /// its exchange and this one, the later sees the other.
    #[cold]
    fn show_again(&self, shard: usize, stamp: u64) {
        self.nonempty.insert(shard);
        self.slot(shard).swap(published(shard, stamp), Ordering::AcqRel);
    }

    /// A producer has enqueued items to that shard, the first of which has this
    /// stamp.
    #[inline]
    pub fn enqueued(&self, shard: usize, stamp: u64) {
        // Pairs with the fence in `dequeued`: either we see that the member is
        // gone, or the worker that removed it sees the items.
        fence(Ordering::SeqCst);
        if !self.nonempty.contains(shard) {
            self.show_first(shard, stamp);
        }
    }

    /// As `show`, by the producer. The worker that removed the member may be
    /// about to show an older item of ours: its stamp stays.
    #[cold]
    fn show_first(&self, shard: usize, stamp: u64) {
        let slot = self.slot(shard);
        // Acquire: with the worker's stamp comes its member.
        let seen = slot.load(Ordering::Acquire);
        if !self.nonempty.contains(shard) {
            let first = published(shard, stamp);
            let _ = slot.compare_exchange(seen, first, Ordering::Relaxed, Ordering::Relaxed);
            self.nonempty.insert(shard);
        }
    }

    /// A worker is about to dequeue from that shard. False if another one is,
    /// or has been meanwhile: there may be an older head elsewhere. It may
    /// dequeue all the same.
    #[inline]
    pub fn claim(&self, shard: usize) -> bool {
        let slot = self.slot(shard);
        let seen = slot.load(Ordering::Relaxed);
        let claimed = seen.wrapping_add(CLAIM);
        // Relaxed: the ring orders what is dequeued.
        let claim = || slot.compare_exchange(seen, claimed, Ordering::Relaxed, Ordering::Relaxed);
        seen & CLAIMED == 0 && claim().is_ok()
    }

    /// A worker has dequeued from that shard, or tried to. `head_stamp` reads
    /// the stamp of the ring's head now; acquire, as for a dequeue.
    #[inline]
    pub fn dequeued(&self, shard: usize, head_stamp: impl Fn() -> Option<u64>) {
        if let Some(stamp) = head_stamp() {
            self.show(shard, stamp);
            return;
        }
        self.nonempty.remove(shard);
        // Pairs with the fence in `enqueued`.
        fence(Ordering::SeqCst);
        if let Some(stamp) = head_stamp() {
            self.show_again(shard, stamp);
        }
    }
}
