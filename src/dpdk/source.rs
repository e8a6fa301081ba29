//! A source of packets behind a receive queue: what a receive callback returns when the driver has nothing. `rte_eth_rx_burst` calls
//! callbacks in every poll, also when the driver returned no packet.

use std::ffi::c_void;

use dpdk_sys as sys;

use super::port::Started;
use super::{Burst, RxQueue};
use crate::error::{Error, Result};

/// Makes the packets of a queue. Called in every poll of it, by whoever holds its lease.
pub trait RxSource: Send {
    /// Puts at most `want` packets into the burst, which is empty.
    fn receive(&mut self, want: usize, into: &mut Burst);
}

/// What the callback works on.
struct State<S> {
    source: S,
    burst: Burst,
}

/// A source that is attached to a queue until this is dropped. Keeps the port open.
pub struct Attached<S: RxSource> {
    port: u16,
    queue: u16,
    callback: *const sys::rte_eth_rxtx_callback,
    state: *mut State<S>,
    _port: Started,
}

impl RxQueue {
    /// Has `source` make this queue's packets. The queue must not be leased yet.
    ///
    /// # Errors
    /// When the driver makes packets itself, or DPDK takes no callbacks.
    pub fn attach<S: RxSource>(&self, source: S) -> Result<Attached<S>> {
        let mut burst = Burst::new();
        let mut lease = self.try_lease().ok_or_else(|| Error::Setup("a source for a queue that is being polled".into()))?;
        if lease.poll(&mut burst, super::BurstSize::of(1)) > 0 {
            return Err(Error::Usage(format!(
                "--source makes the packets of port {}, which has packets of its own: write --vdev net_null{},no-rx=1",
                self.port(),
                self.port()
            )));
        }
        let state = Box::into_raw(Box::new(State { source, burst }));
        // SAFETY: the port is started and has the queue; the state outlives the callback, which `Attached` removes.
        let callback = unsafe { sys::rte_eth_add_rx_callback(self.port(), self.queue(), Some(receive::<S>), state.cast()) };
        if callback.is_null() {
            // SAFETY: made above, and DPDK did not take it.
            drop(unsafe { Box::from_raw(state) });
            return Err(Error::Setup(format!("port {}: no receive callback ({})", self.port(), super::last_reason())));
        }
        Ok(Attached { port: self.port(), queue: self.queue(), callback, state, _port: self.started() })
    }
}

impl<S: RxSource> Drop for Attached<S> {
    fn drop(&mut self) {
        // SAFETY: the callback came from this queue. What DPDK keeps of it afterwards, some bytes, goes with EAL's memory.
        unsafe { sys::rte_eth_remove_rx_callback(self.port, self.queue, self.callback) };
        // SAFETY: from the box made in `attach`; nobody polls any more, so that no callback is under way.
        drop(unsafe { Box::from_raw(self.state) });
    }
}

/// Called by DPDK after the driver, with what that received.
unsafe extern "C" fn receive<S: RxSource>(
    _port: u16,
    _queue: u16,
    packets: *mut *mut sys::rte_mbuf,
    received: u16,
    room: u16,
    state: *mut c_void,
) -> u16 {
    // SAFETY: the pointer that `attach` gave; only the lease's holder gets here, so that the reference is the only one.
    let state = unsafe { &mut *state.cast::<State<S>>() };
    state.source.receive(usize::from(room - received), &mut state.burst);
    let made = state.burst.give(|made, count| {
        // SAFETY: `room` pointers fit there, of which the driver has used `received`.
        unsafe { std::ptr::copy_nonoverlapping(made, packets.add(usize::from(received)), usize::from(count)) };
        usize::from(count)
    });
    received + made as u16
}
