//! Safe, owned wrappers of DPDK: the only room that sees `dpdk_sys`, and the
//! only one (besides the lock-free parts of other rooms) with `unsafe`. Nothing
//! here decides anything about packets.

mod burst;
mod capture;
pub mod clock;
mod eal;
mod eal_args;
mod events;
mod fast_path;
mod fib;
mod fields;
mod hugepages;
mod kernel_interface;
mod leftovers;
mod mbuf;
mod mempool;
mod named;
mod note;
mod offloads;
mod port;
mod port_config;
mod port_info;
mod port_setup;
mod preflight;
mod ring;
mod rx_stamp;
mod rxq;
mod source;
mod telemetry;
mod txq;

pub use burst::{BURST_MAX, Burst, BurstSize, Drain};
pub(crate) use capture::virtual_devices;
pub use eal::{Eal, Lcore};
#[cfg(test)]
pub(crate) use events::tests::{has_received, raise_removal};
pub use events::{Loss, PortView};
pub use fib::{Fib4, Fib6, FibSize};
pub use fields::{CostField, StampField, TicketField};
pub use mbuf::Mbuf;
#[cfg(test)]
pub(crate) use mbuf::forged;
pub use mempool::{Mempool, Mempools, PoolSize, Reuse};
pub use note::NoteField;
pub use port::Port;
pub use port_config::PortConfig;
pub use port_info::{MAX_PORTS, PortInfo, find_ports};
pub use preflight::file_prefix;
pub use ring::{ManyEnds, RingConsumer, RingProducer, RingView, RxTxRing, ring, ring_of};
pub use rx_stamp::{EmulatedStamps, RxStampField, StampClock};
pub use rxq::{Lease, RxQueue};
pub use source::{Room, RxSource};
pub use telemetry::TelemetryView;
pub use txq::TxQueue;

use mpfwd_common::error::Error;

/// Bytes of the longest frame without jumbo frames, with its checksum
/// (`RTE_ETHER_MAX_LEN`).
pub const ETHER_MAX_LEN: u32 = 1518;

/// DPDK's text for an error number, which DPDK returns negated.
fn reason(code: i32) -> String {
    // SAFETY: rte_strerror takes any number and returns a string that stays
    // valid until this thread's next call.
    let text = unsafe { std::ffi::CStr::from_ptr(dpdk_sys::rte_strerror(code.abs())) };
    text.to_string_lossy().into_owned()
}

/// `Ok` for zero and above, else an error of `what` and DPDK's reason.
fn check(what: impl FnOnce() -> String, code: i32) -> Result<u32, Error> {
    u32::try_from(code).map_err(|_| Error::Setup(format!("{}: {}", what(), reason(code))))
}

/// The reason of the last call that returned a null pointer.
fn last_reason() -> String {
    // SAFETY: reads this thread's rte_errno.
    reason(unsafe { dpdk_sys::mpfwd_errno() })
}

/// Any socket, where it does not matter.
pub const ANY_SOCKET: i32 = dpdk_sys::MPFWD_SOCKET_ANY;

/// What `create` allocates, on the socket if there is memory, else on another
/// one. `create` returns a null pointer where there is none.
fn near<T>(
    socket: i32,
    what: impl std::fmt::Display,
    create: impl Fn(i32) -> *mut T,
) -> Option<std::ptr::NonNull<T>> {
    let on_socket = std::ptr::NonNull::new(create(socket));
    // SAFETY: reads EAL's configuration.
    if on_socket.is_some() || socket == ANY_SOCKET || unsafe { dpdk_sys::rte_socket_count() } == 1 {
        return on_socket;
    }
    let elsewhere = std::ptr::NonNull::new(create(ANY_SOCKET))?;
    mpfwd_common::output::warn(format_args!(
        "socket {socket} has no memory for {what}: another socket's is used"
    ));
    Some(elsewhere)
}

fn c_string(text: &str) -> Result<std::ffi::CString, Error> {
    std::ffi::CString::new(text).map_err(|_| Error::Usage(format!("{text:?} holds a NUL byte")))
}
