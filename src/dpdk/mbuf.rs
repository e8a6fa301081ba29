//! A packet. An `Mbuf` is owned: it is not `Clone`, is freed on drop, and moves
//! to its next owner.

use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use dpdk_sys as sys;

use mpfwd_common::error::{Error, Result};

/// Packets outside of any pool, for tests without EAL. Never freed.
#[cfg(test)]
pub(crate) mod forged;

/// A packet of one or more segments.
#[repr(transparent)]
pub struct Mbuf(NonNull<sys::rte_mbuf>);

// SAFETY: an mbuf has no tie to a thread, and the one `Mbuf` that exists for it
// is its only owner.
unsafe impl Send for Mbuf {}

// SAFETY: `repr(transparent)` over a non-null pointer.
unsafe impl crate::runq::Word for Mbuf {}

impl Mbuf {
    /// A field of the mbuf's header, at an offset that the C compiler gave.
    #[inline(always)]
    pub(super) fn field<T>(&self, offset: u32) -> *mut T {
        // SAFETY: the offsets come from offsetof in wrapper.h, so the result
        // stays inside the header.
        unsafe { self.0.as_ptr().byte_add(offset as usize).cast() }
    }

    #[inline(always)]
    fn get<T: Copy>(&self, offset: u32) -> T {
        // SAFETY: the field is initialised since the mbuf was allocated, and
        // only its owner, us, writes it.
        unsafe { self.field::<T>(offset).read() }
    }

    /// Bytes of the whole packet, all segments together.
    #[inline]
    pub fn pkt_len(&self) -> u32 {
        self.get(sys::MPFWD_MBUF_PKT_LEN)
    }

    /// Bytes in the first segment.
    #[inline]
    pub fn data_len(&self) -> u16 {
        self.get(sys::MPFWD_MBUF_DATA_LEN)
    }

    /// The driver's flags (`ol_flags`).
    #[inline(always)]
    pub(super) fn flags(&self) -> u64 {
        self.get(sys::MPFWD_MBUF_OL_FLAGS)
    }

    #[inline(always)]
    pub(super) fn set_flags(&mut self, flags: u64) {
        // SAFETY: we own the mbuf, and the offset is that of a u64.
        unsafe { self.field::<u64>(sys::MPFWD_MBUF_OL_FLAGS).write(flags) }
    }

    /// A dynamic field of four bytes, at an offset that DPDK gave.
    #[inline(always)]
    pub(super) fn four_bytes(&self, offset: u32) -> u32 {
        self.get(offset)
    }

    #[inline(always)]
    pub(super) fn set_four_bytes(&mut self, offset: u32, value: u32) {
        // SAFETY: DPDK reserved four aligned bytes at this offset, and we own
        // the mbuf.
        unsafe { self.field::<u32>(offset).write(value) }
    }

    /// Whether the outermost TCP or UDP checksum is right. `None` if the driver
    /// does not say.
    #[inline]
    pub fn l4_checksum(&self) -> Option<bool> {
        match self.flags() & sys::MPFWD_MBUF_L4_CHECKSUM_MASK {
            sys::MPFWD_MBUF_L4_CHECKSUM_GOOD => Some(true),
            sys::MPFWD_MBUF_L4_CHECKSUM_BAD => Some(false),
            _ => None,
        }
    }

    /// A dynamic field of eight bytes, at an offset that DPDK gave.
    #[inline(always)]
    pub(super) fn eight_bytes(&self, offset: u32) -> u64 {
        self.get(offset)
    }

    #[inline(always)]
    pub(super) fn set_eight_bytes(&mut self, offset: u32, value: u64) {
        // SAFETY: DPDK reserved eight aligned bytes at this offset, and we own
        // the mbuf.
        unsafe { self.field::<u64>(offset).write(value) }
    }

    /// Number of segments.
    pub fn segments(&self) -> u16 {
        self.get(sys::MPFWD_MBUF_NB_SEGS)
    }

    /// The port that received the packet, as written by `set_port` or else by
    /// the driver (net_ring writes none).
    #[inline]
    pub fn port(&self) -> u16 {
        self.get(sys::MPFWD_MBUF_PORT)
    }

    #[inline]
    pub fn set_port(&mut self, port: u16) {
        // SAFETY: we own the mbuf, and the offset is that of a u16.
        unsafe { self.field::<u16>(sys::MPFWD_MBUF_PORT).write(port) }
    }

    #[inline(always)]
    fn data_ptr(&self) -> *mut u8 {
        let address: NonNull<u8> = self.get(sys::MPFWD_MBUF_BUF_ADDR);
        let offset: u16 = self.get(sys::MPFWD_MBUF_DATA_OFF);
        // SAFETY: data_off is at most buf_len, so the result stays inside the
        // buffer or one past it.
        unsafe { address.as_ptr().add(offset as usize) }
    }

    /// The bytes of the first segment.
    #[inline]
    pub fn data(&self) -> &[u8] {
        // SAFETY: data_len bytes from data_off on lie in the buffer, which
        // lives as long as the mbuf.
        unsafe { std::slice::from_raw_parts(self.data_ptr(), self.data_len() as usize) }
    }

    /// The bytes of the first segment, to change. `None` where other packets
    /// may have the same buffer: then it must not be changed.
    #[inline(always)]
    pub fn data_mut(&mut self) -> Option<&mut [u8]> {
        if !self.has_own_buffer() {
            return None;
        }
        // SAFETY: as `data`; we own the mbuf, and no other refers to its
        // buffer.
        let data =
            unsafe { std::slice::from_raw_parts_mut(self.data_ptr(), self.data_len() as usize) };
        Some(data)
    }

    /// Whether no other packet has the first segment's buffer. If so, no other
    /// can get it while we own this one.
    #[inline(always)]
    fn has_own_buffer(&self) -> bool {
        let elsewhere = sys::MPFWD_MBUF_INDIRECT | sys::MPFWD_MBUF_EXTERNAL;
        // SAFETY: inside the mbuf, aligned, and only ever accessed atomically.
        let refcnt = unsafe { AtomicU16::from_ptr(self.field(sys::MPFWD_MBUF_REFCNT)) };
        // Acquire: what others read from the buffer they have read.
        let others = refcnt.load(Ordering::Acquire) ^ 1;
        // One branch: engines that write look at each packet.
        u64::from(others) | self.flags() & elsewhere == 0
            || others == 0 && self.has_own_external_buffer()
    }

    /// As `has_own_buffer`, of an mbuf whose buffer is not its own memory. An
    /// external buffer counts its references. An indirect one is another
    /// mbuf's.
    #[cold]
    fn has_own_external_buffer(&self) -> bool {
        if self.flags() & sys::MPFWD_MBUF_INDIRECT != 0 {
            return false;
        }
        let Some(shared) = NonNull::new(self.get::<*mut u8>(sys::MPFWD_MBUF_SHINFO)) else {
            return false;
        };
        // SAFETY: DPDK keeps the count as long as an mbuf refers to the buffer;
        // it is aligned, and only ever accessed atomically.
        let refcnt = unsafe {
            AtomicU16::from_ptr(shared.as_ptr().add(sys::MPFWD_SHINFO_REFCNT as usize).cast())
        };
        refcnt.load(Ordering::Acquire) == 1
    }

    /// Prefetches both cache lines of the packet's header.
    #[inline(always)]
    pub(super) fn prefetch_header(&self) {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let header: *const i8 = self.0.as_ptr().cast();
        // SAFETY: a prefetch never faults, whatever the address.
        unsafe {
            _mm_prefetch::<_MM_HINT_T0>(header);
            _mm_prefetch::<_MM_HINT_T0>(header.wrapping_add(64));
        }
    }

    /// Prefetches the first cache line of the packet's data.
    #[inline(always)]
    pub(super) fn prefetch_data(&self) {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch never faults, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(self.data_ptr().cast()) }
    }

    /// Passes the bytes of each segment to `see` in turn, until it returns
    /// false.
    fn each_segment(&self, mut see: impl FnMut(&[u8]) -> bool) {
        let mut segment = Some(self.0);
        while let Some(at) = segment {
            let view = std::mem::ManuallyDrop::new(Mbuf(at));
            if !see(view.data()) {
                return;
            }
            segment = NonNull::new(view.get::<*mut sys::rte_mbuf>(sys::MPFWD_MBUF_NEXT));
        }
    }

    /// The bytes of all segments, copied together. Allocates: not for the loop.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.pkt_len() as usize);
        self.append_to(&mut bytes);
        bytes
    }

    /// Copies the bytes of all segments to the end of `bytes`, which should
    /// have room for them.
    pub fn append_to(&self, bytes: &mut Vec<u8>) {
        self.each_segment(|data| {
            bytes.extend_from_slice(data);
            true
        });
    }

    /// Copies the packet's first bytes, across segments. Returns the filled
    /// part of `front`.
    pub fn copy_front<'f>(&self, front: &'f mut [u8]) -> &'f [u8] {
        let mut filled = 0;
        self.each_segment(|data| {
            let more = data.len().min(front.len() - filled);
            front[filled..filled + more].copy_from_slice(&data[..more]);
            filled += more;
            filled < front.len()
        });
        &front[..filled]
    }

    /// Overwrites the packet's first bytes, across segments. Ignores bytes
    /// beyond the packet's end. Returns `false`, and writes nothing, if other
    /// packets may have one of these buffers.
    #[must_use]
    pub fn write_front(&mut self, mut front: &[u8]) -> bool {
        let mut bytes = front.len();
        let mut segment = Some(self.0);
        while let Some(at) = segment.filter(|_| bytes > 0) {
            let view = std::mem::ManuallyDrop::new(Mbuf(at));
            if !view.has_own_buffer() {
                return false;
            }
            bytes = bytes.saturating_sub(view.data().len());
            segment = NonNull::new(view.get::<*mut sys::rte_mbuf>(sys::MPFWD_MBUF_NEXT));
        }
        segment = Some(self.0);
        while let Some(at) = segment.filter(|_| !front.is_empty()) {
            let mut view = std::mem::ManuallyDrop::new(Mbuf(at));
            let Some(data) = view.data_mut() else { return false };
            let (here, behind) = front.split_at(front.len().min(data.len()));
            data[..here.len()].copy_from_slice(here);
            front = behind;
            segment = NonNull::new(view.get::<*mut sys::rte_mbuf>(sys::MPFWD_MBUF_NEXT));
        }
        true
    }

    /// Writes `bytes` as the whole content of this single-segment packet.
    ///
    /// # Errors
    /// They don't fit behind the headroom.
    pub fn fill(&mut self, bytes: &[u8]) -> Result<()> {
        let room =
            self.get::<u16>(sys::MPFWD_MBUF_BUF_LEN) - self.get::<u16>(sys::MPFWD_MBUF_DATA_OFF);
        if bytes.len() > room as usize || self.segments() != 1 {
            return Err(Error::Setup(format!(
                "{} bytes don't fit into one segment of {room}",
                bytes.len()
            )));
        }
        // SAFETY: checked above that the bytes fit into the buffer that we own;
        // both offsets are those of the types written.
        unsafe {
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.data_ptr(), bytes.len());
            self.field::<u16>(sys::MPFWD_MBUF_DATA_LEN).write(bytes.len() as u16);
            self.field::<u32>(sys::MPFWD_MBUF_PKT_LEN).write(bytes.len() as u32);
        }
        Ok(())
    }

    /// Makes this a packet of `len` bytes that begins with `bytes`. The other
    /// bytes stay as the buffer holds them. `len` must fit into a buffer of the
    /// pool.
    #[inline]
    pub fn begin_with(&mut self, bytes: &[u8], len: u16) {
        debug_assert!(bytes.len() <= usize::from(len) && self.segments() == 1);
        let room =
            self.get::<u16>(sys::MPFWD_MBUF_BUF_LEN) - self.get::<u16>(sys::MPFWD_MBUF_DATA_OFF);
        let len = len.min(room);
        let data = self.data_ptr();
        // SAFETY: no more bytes are written than the buffer, which we own, has
        // behind the headroom.
        unsafe {
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), data, bytes.len().min(usize::from(len)))
        };
        // SAFETY: we own the mbuf, and the offset is that of a u16.
        unsafe { self.field::<u16>(sys::MPFWD_MBUF_DATA_LEN).write(len) };
        // SAFETY: as above, of a u32.
        unsafe { self.field::<u32>(sys::MPFWD_MBUF_PKT_LEN).write(u32::from(len)) };
    }

    /// Appends another packet as further segments of this one.
    ///
    /// # Errors
    /// The chain would have more segments than DPDK allows. `tail` is freed.
    pub fn chain(&mut self, tail: Mbuf) -> Result<()> {
        // SAFETY: both are valid mbufs that we own; on success the head owns
        // the tail, which must not be freed again.
        let code = unsafe { sys::mpfwd_chain(self.0.as_ptr(), tail.0.as_ptr()) };
        super::check(|| "chaining segments".to_owned(), code)?;
        std::mem::forget(tail);
        Ok(())
    }
}

impl Drop for Mbuf {
    fn drop(&mut self) {
        let mut pointer = self.0.as_ptr();
        // SAFETY: we own the mbuf, and nobody can use it after its drop;
        // free_bulk frees all its segments.
        unsafe { sys::rte_pktmbuf_free_bulk(&mut pointer, 1) }
    }
}

#[cfg(test)]
mod tests {
    use super::forged::{Sharing, packet, share};

    const SHARED: [Sharing; 3] = [Sharing::Mbuf, Sharing::Attached, Sharing::External(2)];

    #[test]
    fn a_shared_buffer_is_not_to_be_changed() {
        assert_eq!(packet(&[b"abc"]).data_mut().map(|data| data.to_vec()), Some(b"abc".to_vec()));
        for how in SHARED {
            let mut packet = packet(&[b"abc"]);
            share(&packet, 0, how);
            assert!(packet.data_mut().is_none(), "{how:?}");
        }
        let mut own = packet(&[b"abc"]);
        share(&own, 0, Sharing::External(1));
        assert!(own.data_mut().is_some(), "an external buffer of its own");
    }

    #[test]
    fn nothing_is_written_if_one_segment_is_shared() {
        for how in SHARED {
            let mut packet = packet(&[b"abc", b"def", b"ghi"]);
            share(&packet, 1, how);
            assert!(packet.write_front(b"12"), "{how:?}: the first segment is its own");
            assert!(!packet.write_front(b"3456"), "{how:?}");
            assert_eq!(packet.to_vec(), b"12cdefghi", "{how:?}");
        }
        let mut own = packet(&[b"abc", b"def", b"ghi"]);
        assert!(own.write_front(b"1234567"));
        assert_eq!(own.to_vec(), b"1234567hi");
    }
}
