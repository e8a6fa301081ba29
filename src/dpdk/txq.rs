//! A transmit queue: one lcore's own, or shared under a spin lock where the port has fewer queues than lcores send.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use dpdk_sys as sys;

use super::Burst;
use super::port::Started;

/// The right to send by one queue of a started port; keeps the port open.
pub struct TxQueue {
    port: u16,
    queue: u16,
    /// Set when other lcores hold a `TxQueue` for the same queue.
    lock: Option<Arc<AtomicBool>>,
    _port: Started,
}

impl TxQueue {
    /// As many handles of one queue as lcores send by it; they lock each other out if there is more than one.
    pub(super) fn handles(port: u16, queue: u16, users: usize, started: &Started) -> Vec<Self> {
        let lock = (users > 1).then(|| Arc::new(AtomicBool::new(false)));
        (0..users).map(|_| Self { port, queue, lock: lock.clone(), _port: started.clone() }).collect()
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn queue(&self) -> u16 {
        self.queue
    }

    /// Sends packets from the front of the burst; those that the driver does not take stay in it. Returns how many went.
    #[inline(always)]
    pub fn send(&mut self, burst: &mut Burst) -> usize {
        let (port, queue) = (self.port, self.queue);
        let lock = self.lock.as_deref();
        if let Some(lock) = lock {
            acquire(lock);
        }
        let sent = burst.give(|packets, count| {
            // SAFETY: the port is started and the queue exists as long as `self`; the lock, or the lack of other handles, makes us
            // its only user. The driver owns what it accepts, and `give` forgets that much.
            unsafe { sys::mpfwd_tx_burst(port, queue, packets, count) as usize }
        });
        if let Some(lock) = lock {
            lock.store(false, Ordering::Release);
        }
        sent
    }
}

/// Waits for another lcore's burst to go out; that lcore may have lost its CPU, so give ours away after a while.
#[cold]
fn acquire(lock: &AtomicBool) {
    let mut tries = 0u32;
    while lock.compare_exchange_weak(false, true, Ordering::Acquire, Ordering::Relaxed).is_err() {
        tries += 1;
        if tries.is_multiple_of(1024) {
            std::thread::yield_now();
        }
        std::hint::spin_loop();
    }
}
