//! Safe, owned wrappers of DPDK: the only room that sees `dpdk_sys`, and the
//! only one (besides the lock-free parts of other rooms) with `unsafe`. Nothing
//! here decides anything about packets.

mod burst;
pub mod clock;
mod eal;
mod events;
mod fast_path;
mod fib;
mod hugepages;
mod leftovers;
mod mbuf;
mod mempool;
mod named;
mod note;
mod offloads;
mod port;
mod preflight;
mod ring;
mod rx_stamp;
mod rxq;
mod source;
mod txq;

pub use burst::{BURST_MAX, Burst, BurstSize, Drain};
pub use eal::{Eal, Lcore};
#[cfg(test)]
pub(crate) use events::tests::raise_removal;
pub use events::{Loss, PortView};
pub use fib::{Fib4, Fib6, FibSize};
pub use mbuf::{CostField, Mbuf, StampField, TicketField};
pub use mempool::{Mempool, Reuse};
pub use note::NoteField;
pub use port::{MAX_PORTS, Port, PortConfig, PortInfo, find_ports};
pub use ring::{RingConsumer, RingProducer, RxTxRing, hts_ring, ring};
pub use rx_stamp::{EmulatedStamps, RxStampField, StampClock};
pub use rxq::{Lease, RxQueue};
pub use source::{Room, RxSource};
pub use txq::TxQueue;

use mpfwd_common::error::Error;

/// Bytes of the longest frame without jumbo frames, with its checksum
/// (`RTE_ETHER_MAX_LEN`).
pub const ETHER_MAX_LEN: u32 = 1518;

/// The text DPDK has for an error number; DPDK returns them negated.
fn reason(code: i32) -> String {
    // SAFETY: rte_strerror takes any number and returns a string that stays
    // valid until this thread's next call.
    let text = unsafe { std::ffi::CStr::from_ptr(dpdk_sys::rte_strerror(code.abs())) };
    text.to_string_lossy().into_owned()
}

/// `Ok` for zero and above, else what failed and DPDK's reason.
fn check(what: impl FnOnce() -> String, code: i32) -> Result<u32, Error> {
    u32::try_from(code).map_err(|_| Error::Setup(format!("{}: {}", what(), reason(code))))
}

/// The reason of the last call that returned a null pointer.
fn last_reason() -> String {
    // SAFETY: reads this thread's rte_errno.
    reason(unsafe { dpdk_sys::mpfwd_errno() })
}

fn c_string(text: &str) -> Result<std::ffi::CString, Error> {
    std::ffi::CString::new(text).map_err(|_| Error::Usage(format!("{text:?} holds a NUL byte")))
}
