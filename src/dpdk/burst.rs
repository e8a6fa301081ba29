//! A bounded batch of packets, in arrival order. Drivers and rings fill and
//! empty it without allocation.

use std::mem::MaybeUninit;

use dpdk_sys as sys;

use super::Mbuf;
use crate::runq::Batch;

/// The most packets that one burst holds (testpmd's limit).
pub const BURST_MAX: usize = 512;

/// A burst's maximum length: 1 to [`BURST_MAX`], checked once instead of in
/// every poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BurstSize(u16);

impl BurstSize {
    /// `pkts`, clamped to the allowed range.
    pub fn of(pkts: u16) -> Self {
        Self(pkts.clamp(1, BURST_MAX as u16))
    }

    #[inline(always)]
    pub fn pkts(self) -> usize {
        usize::from(self.0)
    }
}

/// Up to [`BURST_MAX`] owned packets. The slots begin at a cache line, because
/// drivers fill them with vector stores.
#[repr(C, align(64))]
pub struct Burst {
    slots: [MaybeUninit<Mbuf>; BURST_MAX],
    len: usize,
}

impl Burst {
    pub fn new() -> Self {
        Self { slots: [const { MaybeUninit::uninit() }; BURST_MAX], len: 0 }
    }

    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    #[inline]
    pub fn packets(&self) -> &[Mbuf] {
        // SAFETY: the first `len` slots are initialised, and Mbuf has the
        // layout of what the slot holds.
        unsafe { std::slice::from_raw_parts(self.slots.as_ptr().cast(), self.len) }
    }

    #[inline]
    pub fn packets_mut(&mut self) -> &mut [Mbuf] {
        // SAFETY: as `packets`.
        unsafe { std::slice::from_raw_parts_mut(self.slots.as_mut_ptr().cast(), self.len) }
    }

    /// Appends a packet. Panics if the burst is full, which cannot happen when
    /// one burst is filled from another.
    #[inline]
    pub fn push(&mut self, packet: Mbuf) {
        self.slots[self.len].write(packet);
        self.len += 1;
    }

    /// Removes and returns the last packet.
    pub fn pop(&mut self) -> Option<Mbuf> {
        self.len = self.len.checked_sub(1)?;
        // SAFETY: the slot was initialised, and `len` no longer covers it.
        Some(unsafe { self.slots[self.len].assume_init_read() })
    }

    /// Removes all packets, in order. Dropping the iterator frees the packets
    /// that it has not returned.
    #[inline]
    pub fn drain(&mut self) -> Drain<'_> {
        let end = std::mem::take(&mut self.len);
        Drain { slots: &mut self.slots, next: 0, end }
    }

    /// Frees all packets at once. Returns how many there were.
    pub fn free(&mut self) -> usize {
        self.give(|packets, count| {
            // SAFETY: the first `count` slots hold packets that we own, and
            // `give` forgets them.
            unsafe { sys::rte_pktmbuf_free_bulk(packets, u32::from(count)) };
            usize::from(count)
        })
    }

    /// Prefetches the headers of all packets but the first `asked`. Another
    /// lcore wrote them last, and the misses overlap.
    #[inline]
    pub fn prefetch_headers(&self, asked: usize) {
        self.packets().get(asked..).into_iter().flatten().for_each(Mbuf::prefetch_header);
    }

    /// Prefetches the first bytes of all packets, which are about to be read.
    #[inline]
    pub fn prefetch_data(&self) {
        self.packets().iter().for_each(Mbuf::prefetch_data);
    }

    /// Removes the packets for which `keep` is false, in order, and passes each
    /// to `removed`.
    pub fn retain(&mut self, mut keep: impl FnMut(&Mbuf) -> bool, mut removed: impl FnMut(Mbuf)) {
        let mut kept = 0;
        let end = std::mem::take(&mut self.len);
        for at in 0..end {
            // SAFETY: slots `..end` were initialised, each is moved out once,
            // and `len` does not cover them meanwhile.
            let packet = unsafe { self.slots[at].assume_init_read() };
            if keep(&packet) {
                self.slots[kept].write(packet);
                kept += 1;
            } else {
                removed(packet);
            }
        }
        self.len = kept;
    }

    /// Has `fill` write up to `want` packets into the burst, which must be
    /// empty. `fill` returns the number of packets written.
    #[inline(always)]
    pub(super) fn refill(
        &mut self,
        want: BurstSize,
        fill: impl FnOnce(*mut *mut sys::rte_mbuf, u16) -> u16,
    ) -> usize {
        debug_assert!(self.is_empty());
        let filled = usize::from(fill(self.slots.as_mut_ptr().cast(), want.0));
        debug_assert!(filled <= want.pkts());
        self.len = filled;
        filled
    }

    /// Has `fill` write up to `want` packets behind the last one. `fill`
    /// returns the number of packets written.
    #[inline(always)]
    pub(super) fn append(
        &mut self,
        want: usize,
        fill: impl FnOnce(*mut *mut sys::rte_mbuf, u16) -> usize,
    ) -> usize {
        let room = want.min(BURST_MAX - self.len);
        let filled = fill(self.slots[self.len..].as_mut_ptr().cast(), room as u16);
        debug_assert!(filled <= room);
        self.len += filled;
        filled
    }

    /// Has `take` take packets from the front. `take` returns the number of
    /// packets that it now owns. The others move up.
    #[inline(always)]
    pub(super) fn give(
        &mut self,
        take: impl FnOnce(*mut *mut sys::rte_mbuf, u16) -> usize,
    ) -> usize {
        let taken = take(self.slots.as_mut_ptr().cast(), self.len as u16);
        self.forget_front(taken);
        taken
    }

    /// Forgets the first `taken` packets, which have another owner now.
    #[inline(always)]
    fn forget_front(&mut self, taken: usize) {
        debug_assert!(taken <= self.len);
        if taken == self.len {
            self.len = 0;
        } else {
            self.move_up(taken);
        }
    }

    #[cold]
    fn move_up(&mut self, taken: usize) {
        let left = self.len - taken;
        // SAFETY: both ranges lie in `slots`; the front was given away, so that
        // the rest is moved, not copied.
        unsafe { std::ptr::copy(self.slots.as_ptr().add(taken), self.slots.as_mut_ptr(), left) };
        self.len = left;
    }
}

// SAFETY: both show, and forget, exactly the packets or the room that the burst
// has.
unsafe impl Batch<Mbuf> for Burst {
    #[inline(always)]
    unsafe fn append(
        &mut self,
        want: usize,
        fill: impl FnOnce(&mut [MaybeUninit<Mbuf>]) -> usize,
    ) -> usize {
        let room = want.min(BURST_MAX - self.len);
        let filled = fill(&mut self.slots[self.len..self.len + room]);
        self.len += filled;
        filled
    }

    #[inline(always)]
    unsafe fn drain_front(&mut self, move_out: impl FnOnce(&[Mbuf]) -> usize) -> usize {
        let taken = move_out(self.packets());
        self.forget_front(taken);
        taken
    }
}

impl Default for Burst {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Burst {
    fn drop(&mut self) {
        self.free();
    }
}

/// Packets on their way out of a [`Burst`].
pub struct Drain<'b> {
    slots: &'b mut [MaybeUninit<Mbuf>; BURST_MAX],
    next: usize,
    end: usize,
}

impl Drain<'_> {
    /// Has `take` take the next `count` packets, which must exist. `take`
    /// returns the number of packets that it now owns, from the first on.
    #[inline(always)]
    pub(super) fn give(
        &mut self,
        count: usize,
        take: impl FnOnce(*mut *mut sys::rte_mbuf, u16) -> usize,
    ) -> usize {
        assert!(count <= self.end - self.next);
        let taken = take(self.slots[self.next..].as_mut_ptr().cast(), count as u16);
        debug_assert!(taken <= count);
        self.next += taken;
        taken
    }

    /// Moves the next `count` packets, which must exist, behind the last one of
    /// `burst`, which must have room.
    #[inline]
    pub fn move_to(&mut self, burst: &mut Burst, count: usize) {
        assert!(count <= self.end - self.next);
        let (from, to) = (
            &self.slots[self.next..self.next + count],
            &mut burst.slots[burst.len..burst.len + count],
        );
        // SAFETY: both are as long, and of two bursts; slots `..end` were
        // initialised when the drain began, and each is read once.
        unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), to.as_mut_ptr(), count) };
        self.next += count;
        burst.len += count;
    }
}

impl Iterator for Drain<'_> {
    type Item = Mbuf;

    #[inline]
    fn next(&mut self) -> Option<Mbuf> {
        if self.next == self.end {
            return None;
        }
        let at = self.next;
        self.next += 1;
        // SAFETY: slots `..end` were initialised when the drain began, and each
        // is read once.
        Some(unsafe { self.slots[at].assume_init_read() })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.end - self.next, Some(self.end - self.next))
    }
}

impl Drop for Drain<'_> {
    fn drop(&mut self) {
        self.for_each(drop);
    }
}
