//! A packet's place in its flow while the packet is in flight. Two events must
//! happen before it is sent, in either order and on any lcores: its stage ends,
//! and its predecessor is released, which makes it its turn. The lcore that
//! brings the second event sends the packet.

use std::sync::PoisonError;

use crate::sync::{AtomicU32, AtomicU64, Mutex, MutexGuard, Ordering};

/// No record: the end of a list.
pub(super) const NONE: u32 = u32::MAX;
/// In `next`: the packet was sent or dropped, and no successor can be linked
/// any more.
const CLOSED: u32 = u32::MAX - 1;

/// In `state`: the stage is over; the packet is parked here, or was dropped.
const DONE: u32 = 1;
/// In `state`: the predecessor was released.
const TURN: u32 = 2;

/// On a cache line of its own.
#[repr(align(64))]
pub(super) struct Record<T> {
    state: AtomicU32,
    /// The next record of the flow.
    next: AtomicU32,
    /// The next one in a list of unused records.
    pub(super) next_unused: AtomicU32,
    /// Written before any other lcore knows of the record, as is `sequence`.
    bucket: AtomicU32,
    sequence: AtomicU64,
    /// How often it was opened. Only the lease's holder uses it.
    generation: AtomicU64,
    /// Never contended: written before `DONE` is set, emptied by the lcore that
    /// sees both events. The lock proves that to the compiler.
    parked: Mutex<Option<T>>,
}

/// The state of the packet whose turn has come.
pub(super) enum Next<T> {
    /// Its stage is not over: the lcore that ends it sends it. Or it is a
    /// follower, already sent right behind its predecessor.
    InFlight,
    /// It was parked, and is the caller's to send.
    Parked(T),
    /// It was dropped: its own successor is next.
    Dropped,
}

impl<T> Record<T> {
    pub(super) fn new() -> Self {
        Self {
            state: AtomicU32::new(0),
            next: AtomicU32::new(CLOSED),
            next_unused: AtomicU32::new(NONE),
            bucket: AtomicU32::new(0),
            sequence: AtomicU64::new(0),
            generation: AtomicU64::new(0),
            parked: Mutex::new(None),
        }
    }

    fn parked(&self) -> MutexGuard<'_, Option<T>> {
        self.parked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[inline]
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Relaxed)
    }

    #[inline]
    pub(super) fn bucket(&self) -> u32 {
        self.bucket.load(Ordering::Relaxed)
    }

    #[inline]
    pub(super) fn sequence(&self) -> u64 {
        self.sequence.load(Ordering::Relaxed)
    }

    /// Begins a use of the record. Relaxed: no other lcore knows of it yet.
    #[inline]
    pub(super) fn open(&self, bucket: u32, sequence: u64) {
        self.generation.store(self.generation().wrapping_add(1), Ordering::Relaxed);
        self.state.store(0, Ordering::Relaxed);
        self.next.store(NONE, Ordering::Relaxed);
        self.bucket.store(bucket, Ordering::Relaxed);
        self.sequence.store(sequence, Ordering::Relaxed);
    }

    /// Links record `at`, which is open, behind this one. Returns false if this
    /// one is closed.
    #[inline]
    pub(super) fn link(&self, at: u32) -> bool {
        // Release: the lcore that passes the turn to `at` finds it open.
        // Acquire on failure: this packet was sent before anything that we
        // send.
        self.next.compare_exchange(NONE, at, Ordering::Release, Ordering::Acquire).is_ok()
    }

    /// Whether its packet is known to be sent or dropped.
    #[inline]
    pub(super) fn is_closed(&self) -> bool {
        // Acquire: as in `link`.
        self.next.load(Ordering::Acquire) == CLOSED
    }

    /// It has no predecessor. Relaxed: no other lcore knows of the record yet.
    #[inline]
    pub(super) fn start_with_turn(&self) {
        self.state.store(TURN, Ordering::Relaxed);
    }

    /// The packet's stage is over. The packet comes back if it is its turn, and
    /// is parked otherwise.
    #[inline]
    pub(super) fn finish(&self, packet: T) -> Option<T> {
        // Acquire: pairs with the predecessor's `pass_turn`.
        if self.state.load(Ordering::Acquire) & TURN != 0 {
            return Some(packet);
        }
        *self.parked() = Some(packet);
        // Release: the lcore that passes the turn finds the packet. Acquire: as
        // above.
        let before = self.state.fetch_or(DONE, Ordering::AcqRel);
        if before & TURN != 0 { self.parked().take() } else { None }
    }

    /// Its packet was sent or dropped: nothing is parked here. Returns false if
    /// its turn has not come yet: the predecessor's release then skips it.
    #[inline]
    pub(super) fn finish_empty(&self) -> bool {
        self.state.load(Ordering::Acquire) & TURN != 0
            || self.state.fetch_or(DONE, Ordering::AcqRel) & TURN != 0
    }

    /// Its packet and all before it were sent or dropped. Returns the
    /// successor; none can be linked from now on.
    #[inline]
    pub(super) fn close(&self) -> Option<u32> {
        // Release: an lcore that finds this closed sends after us. Acquire: the
        // successor was open before it was linked.
        let next = self.next.swap(CLOSED, Ordering::AcqRel);
        (next != NONE).then_some(next)
    }

    /// Its predecessor was released.
    #[inline]
    pub(super) fn pass_turn(&self) -> Next<T> {
        // Release: what this record's packet is sent after was sent. Acquire:
        // the packet was parked before `DONE`.
        let before = self.state.fetch_or(TURN, Ordering::AcqRel);
        if before != DONE {
            // Without `DONE` the stage goes on. With `TURN` it is a follower.
            return Next::InFlight;
        }
        self.parked().take().map_or(Next::Dropped, Next::Parked)
    }

    /// The successor, if it is parked and `fits`: to be sent right behind this
    /// one's packet, by the same transmit queue.
    #[inline]
    pub(super) fn follower(
        &self,
        records: &[Self],
        fits: impl FnOnce(&mut T) -> bool,
    ) -> Option<(u32, T)> {
        let next = self.next.load(Ordering::Acquire);
        let follower = records.get(next as usize)?;
        // Acquire: pairs with `finish`. Only we can pass the turn to it, so
        // `DONE` alone stays as it is.
        if follower.state.load(Ordering::Acquire) != DONE {
            return None;
        }
        let packet = follower.parked().take_if(|packet| fits(packet))?;
        follower.state.fetch_or(TURN, Ordering::AcqRel);
        Some((next, packet))
    }
}
