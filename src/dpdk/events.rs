//! Events of a port. DPDK reports them on EAL's interrupt thread, where a
//! callback only writes atomics; others read them when it suits them.

use std::ffi::{c_int, c_void};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use dpdk_sys as sys;

use mpfwd_common::error::Result;

/// What is known of a port without asking its driver.
#[derive(Debug)]
#[repr(align(128))]
pub(super) struct PortState {
    link_up: AtomicBool,
}

impl PortState {
    /// Whether the link is up, as far as events and looks have shown.
    #[inline(always)]
    pub(super) fn link_is_up(&self) -> bool {
        self.link_up.load(Ordering::Relaxed)
    }

    pub(super) fn note_link(&self, is_up: bool) {
        // A store only where it changes: lcores read the line.
        if self.link_is_up() != is_up {
            self.link_up.store(is_up, Ordering::Relaxed);
        }
    }
}

/// Follows a port's events until it is dropped, which must be before the port is
/// closed.
pub(super) struct Watch {
    port: u16,
    state: Arc<PortState>,
}

impl Watch {
    /// Of a port that exists.
    ///
    /// # Errors
    /// When DPDK has no memory.
    pub(super) fn new(port: u16) -> Result<Self> {
        let state = Arc::new(PortState { link_up: AtomicBool::new(true) });
        let watch = Self { port, state };
        // SAFETY: the callback gets the state, which `watch` keeps until it has
        // taken the callback back.
        let code = unsafe {
            sys::rte_eth_dev_callback_register(
                port,
                sys::RTE_ETH_EVENT_INTR_LSC,
                Some(link_changed),
                watch.state_ptr(),
            )
        };
        super::check(|| format!("port {port} takes no callback for its events"), code)?;
        Ok(watch)
    }

    pub(super) fn state(&self) -> &Arc<PortState> {
        &self.state
    }

    fn state_ptr(&self) -> *mut c_void {
        Arc::as_ptr(&self.state).cast_mut().cast()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let take_back = || {
            // SAFETY: the arguments are those that registered it.
            unsafe {
                sys::rte_eth_dev_callback_unregister(
                    self.port,
                    sys::RTE_ETH_EVENT_INTR_LSC,
                    Some(link_changed),
                    self.state_ptr(),
                )
            }
        };
        // DPDK refuses while the callback runs.
        while take_back() == -(nix::errno::Errno::EAGAIN as c_int) {
            std::thread::yield_now();
        }
    }
}

/// Whether the driver says that the link of a port is up. A driver that does not
/// know counts as up.
pub(super) fn read_link(port: u16) -> bool {
    // SAFETY: DPDK checks the number.
    unsafe { sys::mpfwd_link_is_up(port) != 0 }
}

unsafe extern "C" fn link_changed(
    port: u16,
    _event: sys::rte_eth_event_type,
    state: *mut c_void,
    _details: *mut c_void,
) -> c_int {
    // SAFETY: the `Watch` that registered this keeps the state.
    let state = unsafe { &*state.cast::<PortState>() };
    state.note_link(read_link(port));
    0
}
