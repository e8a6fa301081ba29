use std::mem::{ManuallyDrop, MaybeUninit};

use super::*;

/// A packet of these segments, whose buffers nobody else has.
pub(crate) fn packet(segments: &[&[u8]]) -> ManuallyDrop<Mbuf> {
    let mut next = std::ptr::null_mut();
    for bytes in segments.iter().rev() {
        let data = Box::leak(bytes.to_vec().into_boxed_slice());
        let header = Box::leak(Box::new(MaybeUninit::<sys::rte_mbuf>::zeroed()));
        let mbuf = ManuallyDrop::new(Mbuf(NonNull::from(header).cast()));
        let len = data.len() as u16;
        // SAFETY: the header is a whole mbuf of our own, and the offsets are
        // those of the types written.
        unsafe {
            mbuf.field::<*mut u8>(sys::MPFWD_MBUF_BUF_ADDR).write(data.as_mut_ptr());
            mbuf.field::<u16>(sys::MPFWD_MBUF_BUF_LEN).write(len);
            mbuf.field::<u16>(sys::MPFWD_MBUF_DATA_LEN).write(len);
            mbuf.field::<u16>(sys::MPFWD_MBUF_REFCNT).write(1);
            mbuf.field::<*mut sys::rte_mbuf>(sys::MPFWD_MBUF_NEXT).write(next);
        }
        next = mbuf.0.as_ptr();
    }
    let head = NonNull::new(next).expect("at least one segment");
    let mbuf = ManuallyDrop::new(Mbuf(head));
    let bytes: usize = segments.iter().map(|segment| segment.len()).sum();
    // SAFETY: as above.
    unsafe {
        mbuf.field::<u32>(sys::MPFWD_MBUF_PKT_LEN).write(bytes as u32);
        mbuf.field::<u16>(sys::MPFWD_MBUF_NB_SEGS).write(segments.len() as u16);
    }
    mbuf
}

/// The other owner of a segment's buffer.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Sharing {
    /// Another reference to the mbuf itself.
    Mbuf,
    /// Another mbuf, to which this one is attached.
    Attached,
    /// Nobody, or others: an external buffer with so many references.
    External(u16),
}

/// Makes the packet's segment `at` one whose buffer is shared.
pub(crate) fn share(packet: &Mbuf, at: usize, how: Sharing) {
    let mut segment = packet.0;
    for _ in 0..at {
        let view = ManuallyDrop::new(Mbuf(segment));
        segment = NonNull::new(view.get(sys::MPFWD_MBUF_NEXT)).expect("so many segments");
    }
    let mut view = ManuallyDrop::new(Mbuf(segment));
    match how {
        // SAFETY: the packet is forged, and the offset that of a u16.
        Sharing::Mbuf => unsafe { view.field::<u16>(sys::MPFWD_MBUF_REFCNT).write(2) },
        Sharing::Attached => view.set_flags(sys::MPFWD_MBUF_INDIRECT),
        Sharing::External(refcnt) => {
            view.set_flags(sys::MPFWD_MBUF_EXTERNAL);
            let shared = Box::leak(Box::new([0u64; 4])).as_mut_ptr().cast::<u8>();
            // SAFETY: the count lies inside, and the offset of `shinfo` is that
            // of a pointer.
            unsafe {
                shared.add(sys::MPFWD_SHINFO_REFCNT as usize).cast::<u16>().write(refcnt);
                view.field::<*mut u8>(sys::MPFWD_MBUF_SHINFO).write(shared);
            }
        }
    }
}
