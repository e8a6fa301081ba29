//! A transmit queue: one lcore's own, or shared under a spin lock where the port has fewer queues than lcores send.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::Burst;
use super::fast_path::FastPath;
use super::port::Started;

/// The right to send by one queue of a started port; keeps the port open.
pub struct TxQueue {
    path: FastPath,
    /// Set when other lcores hold a `TxQueue` for the same queue.
    lock: Option<Arc<AtomicBool>>,
    _port: Started,
}

impl TxQueue {
    /// As many handles of one queue as lcores send by it; they lock each other out if there is more than one.
    pub(super) fn handles(port: u16, queue: u16, users: usize, started: &Started) -> Vec<Self> {
        let lock = (users > 1).then(|| Arc::new(AtomicBool::new(false)));
        (0..users).map(|_| Self { path: FastPath::new(port, queue), lock: lock.clone(), _port: started.clone() }).collect()
    }

    pub fn port(&self) -> u16 {
        self.path.port()
    }

    pub fn queue(&self) -> u16 {
        self.path.queue()
    }

    /// Sends packets from the front of the burst; those that the driver does not take stay in it. Returns how many went.
    #[inline(always)]
    pub fn send(&mut self, burst: &mut Burst) -> usize {
        if self.lock.is_some() { self.send_locked(burst) } else { self.send_alone(burst) }
    }

    #[inline(always)]
    fn send_alone(&self, burst: &mut Burst) -> usize {
        burst.give(|packets, count| {
            // SAFETY: the port is started and the queue exists as long as `self`; the lock, or the lack of other handles, makes us
            // its only user. The driver owns what it accepts, and `give` forgets that much.
            usize::from(unsafe { self.path.send(packets, count) })
        })
    }

    #[inline(never)]
    fn send_locked(&self, burst: &mut Burst) -> usize {
        let Some(lock) = &self.lock else { return 0 };
        acquire(lock);
        let sent = self.send_alone(burst);
        lock.store(false, Ordering::Release);
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
