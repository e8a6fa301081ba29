//! A packet's place in its flow, while the packet is out of the hands that
//! received it. Two things have to happen before it may be sent, in either
//! order and on any lcores: its stage is over, and what came before it in its
//! flow has gone. Who brings the second one sends it.

use std::sync::PoisonError;

use crate::sync::{AtomicU32, AtomicU64, Mutex, MutexGuard, Ordering};

/// No record: the end of a list.
pub(super) const NONE: u32 = u32::MAX;
/// In `next`: the packet has gone, and nobody can come behind it any more.
const CLOSED: u32 = u32::MAX - 1;

/// The stage is over: the packet is parked here, or there is none any more.
const DONE: u32 = 1;
/// What came before has gone.
const FREE_TO_GO: u32 = 2;

/// On a cache line of its own.
#[repr(align(64))]
pub(super) struct Record<T> {
    state: AtomicU32,
    /// The next record of the flow.
    next: AtomicU32,
    /// The next one in a list of unused records.
    pub(super) next_unused: AtomicU32,
    /// What it is in use for. Written before anybody else knows of the record.
    bucket: AtomicU32,
    sequence: AtomicU64,
    /// How often it has been in use. Only for who holds the lease.
    generation: AtomicU64,
    /// Never contended: written before `DONE` is set, taken by who finds both
    /// events, or brings the second. The lock says so to the compiler.
    parked: Mutex<Option<T>>,
}

/// What a packet that has gone leaves to do.
pub(super) enum Next<T> {
    /// Nothing: nobody comes behind it, or who does is not ready yet and will
    /// be sent by who makes it so.
    Nothing,
    /// The next packet of the flow has been ready before, and is the caller's
    /// to send.
    Send(T),
    /// The next one was given up before: it has gone too.
    Gone,
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

    /// How often it has been in use.
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

    /// Takes it into use. Nobody else knows of it yet, so nothing here is
    /// ordered.
    #[inline]
    pub(super) fn begin(&self, bucket: u32, sequence: u64) {
        self.generation.store(self.generation().wrapping_add(1), Ordering::Relaxed);
        self.state.store(0, Ordering::Relaxed);
        self.next.store(NONE, Ordering::Relaxed);
        self.bucket.store(bucket, Ordering::Relaxed);
        self.sequence.store(sequence, Ordering::Relaxed);
    }

    /// Puts record `at`, which was begun, behind this one. Returns false if
    /// this one's packet has gone.
    #[inline]
    pub(super) fn link(&self, at: u32) -> bool {
        // Release: who lets the successor go finds it begun. Acquire on
        // failure: what has gone was sent before anything that we send.
        self.next.compare_exchange(NONE, at, Ordering::Release, Ordering::Acquire).is_ok()
    }

    /// Whether its packet is known to have gone.
    #[inline]
    pub(super) fn is_closed(&self) -> bool {
        // Acquire: as in `link`.
        self.next.load(Ordering::Acquire) == CLOSED
    }

    /// Nothing is before it. Said before anybody else knows of the record.
    #[inline]
    pub(super) fn has_no_predecessor(&self) {
        self.state.store(FREE_TO_GO, Ordering::Relaxed);
    }

    /// Its packet's stage is over. The packet comes back if it may be sent, and
    /// otherwise is parked here.
    #[inline]
    pub(super) fn finish(&self, packet: T) -> Option<T> {
        // Acquire: pairs with the predecessor's `let_go`.
        if self.state.load(Ordering::Acquire) & FREE_TO_GO != 0 {
            return Some(packet);
        }
        *self.parked() = Some(packet);
        // Release: who lets it go finds it parked. Acquire: as above.
        let before = self.state.fetch_or(DONE, Ordering::AcqRel);
        if before & FREE_TO_GO != 0 { self.parked().take() } else { None }
    }

    /// Its packet is sent, or will never be. Returns false if what came before
    /// has not gone yet: the packet then goes when that does.
    #[inline]
    pub(super) fn give_up(&self) -> bool {
        self.state.load(Ordering::Acquire) & FREE_TO_GO != 0
            || self.state.fetch_or(DONE, Ordering::AcqRel) & FREE_TO_GO != 0
    }

    /// Its packet has gone, and so has all that came before. Returns the
    /// successor; from now on there will be no other.
    #[inline]
    pub(super) fn close(&self) -> Option<u32> {
        // Release: who finds this closed sends after us. Acquire: the successor
        // was begun before it was linked.
        let next = self.next.swap(CLOSED, Ordering::AcqRel);
        (next != NONE).then_some(next)
    }

    /// What came before this one has gone.
    #[inline]
    pub(super) fn let_go(&self) -> Next<T> {
        // Release: what is sent by this record is sent after what came before.
        // Acquire: the packet was parked before its stage was over.
        let before = self.state.fetch_or(FREE_TO_GO, Ordering::AcqRel);
        if before != DONE {
            // Not ready; or sent right behind its predecessor.
            return Next::Nothing;
        }
        self.parked().take().map_or(Next::Gone, Next::Send)
    }

    /// The successor that is ready and that `fits`, to be sent right behind
    /// this one's packet, by the same queue.
    #[inline]
    pub(super) fn follower(
        &self,
        records: &[Self],
        fits: impl FnOnce(&T) -> bool,
    ) -> Option<(u32, T)> {
        let next = self.next.load(Ordering::Acquire);
        let follower = records.get(next as usize)?;
        // Acquire: pairs with `finish`. Nobody but us can let it go, so it
        // stays as it is.
        if follower.state.load(Ordering::Acquire) != DONE {
            return None;
        }
        let packet = follower.parked().take_if(|packet| fits(packet))?;
        follower.state.fetch_or(FREE_TO_GO, Ordering::AcqRel);
        Some((next, packet))
    }
}
