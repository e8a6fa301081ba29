//! `rte_eth_rx_burst` and `rte_eth_tx_burst`, inlined. Both are inline
//! functions in C. A call through a shim would cost more than the rest of the
//! loop does per burst. The table and the callbacks are DPDK's own, and are
//! read anew each time.

use dpdk_sys as sys;

/// The driver's entry points for one port. Valid, and backed by functions that
/// do nothing, also while the port is stopped.
#[derive(Clone, Copy)]
pub(super) struct FastPath {
    ops: *const sys::rte_eth_fp_ops,
    port: u16,
    queue: u16,
}

// SAFETY: the table is static, and DPDK lets any lcore use it; whose turn it is
// on a queue, leases and transmit locks see to.
unsafe impl Send for FastPath {}
// SAFETY: as above.
unsafe impl Sync for FastPath {}

impl FastPath {
    /// For one queue of a port that exists.
    pub(super) fn new(port: u16, queue: u16) -> Self {
        // SAFETY: only the address is taken; the table has an entry for each
        // number that DPDK gives to ports.
        let table = &raw const sys::rte_eth_fp_ops;
        // SAFETY: as above.
        let ops = unsafe { table.cast::<sys::rte_eth_fp_ops>().add(usize::from(port)) };
        Self { ops, port, queue }
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn queue(&self) -> u16 {
        self.queue
    }

    /// Receives up to `room` packets into `slots`. Returns how many.
    ///
    /// # Safety
    /// The port is started and has the queue, nobody else receives from it
    /// meanwhile, and `slots` has the room.
    #[inline(always)]
    pub(super) unsafe fn receive(&self, slots: *mut *mut sys::rte_mbuf, room: u16) -> u16 {
        let queue = usize::from(self.queue);
        // SAFETY: the entry is initialised, and its arrays have a place for
        // each queue of a started port.
        let (ops, data, callback) = unsafe {
            (&*self.ops, *(*self.ops).rxq.data.add(queue), *(*self.ops).rxq.clbk.add(queue))
        };
        // SAFETY: DPDK keeps an entry's functions set, to ones that do nothing
        // if need be.
        let driver = unsafe { ops.rx_pkt_burst.unwrap_unchecked() };
        // SAFETY: the caller's promise is the driver's condition.
        let received = unsafe { driver(data, slots, room) };
        if callback.is_null() {
            return received;
        }
        // SAFETY: as the driver; the callback came from DPDK's own list.
        unsafe {
            sys::rte_eth_call_rx_callbacks(self.port, self.queue, slots, received, room, callback)
        }
    }

    /// Sends `count` packets. Returns how many of them, from the front, the
    /// driver took over.
    ///
    /// # Safety
    /// The port is started and has the queue, nobody else sends by it
    /// meanwhile, and the packets are the caller's.
    #[inline(always)]
    pub(super) unsafe fn send(&self, packets: *mut *mut sys::rte_mbuf, mut count: u16) -> u16 {
        let queue = usize::from(self.queue);
        // SAFETY: as in `receive`.
        let (ops, data, callback) = unsafe {
            (&*self.ops, *(*self.ops).txq.data.add(queue), *(*self.ops).txq.clbk.add(queue))
        };
        if !callback.is_null() {
            // SAFETY: as the driver; the callback came from DPDK's own list.
            count = unsafe {
                sys::rte_eth_call_tx_callbacks(self.port, self.queue, packets, count, callback)
            };
        }
        // SAFETY: DPDK keeps an entry's functions set, to ones that do nothing
        // if need be.
        let driver = unsafe { ops.tx_pkt_burst.unwrap_unchecked() };
        // SAFETY: the caller's promise is the driver's condition.
        unsafe { driver(data, packets, count) }
    }
}
