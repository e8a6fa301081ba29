//! A transmit queue: one lcore's own, or shared under a spin lock if the port
//! has fewer queues than lcores.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use micropools::Line;

use dpdk_sys as sys;

use super::events::PortState;
use super::fast_path::FastPath;
use super::port::Started;
use super::{Burst, Drain};

/// The right to send on one queue of a started port. Keeps the port open until
/// `leave`.
pub struct TxQueue {
    path: FastPath,
    access: Access,
    state: Arc<PortState>,
    opened: Option<Started>,
}

/// The handle's access to the driver.
#[derive(Clone)]
enum Access {
    /// No other lcore has a `TxQueue` for the same queue.
    Alone,
    /// Several lcores share the queue under a lock.
    Locked(Arc<Line<AtomicBool>>),
    /// The handle has left the port, and the driver is not called any more.
    GivenUp,
}

impl TxQueue {
    /// One handle per lcore that sends on the queue. Several handles share a
    /// lock.
    pub(super) fn handles(
        (port, queue): (u16, u16),
        users: usize,
        state: &Arc<PortState>,
        started: &Started,
    ) -> Vec<Self> {
        let access = match users {
            0 | 1 => Access::Alone,
            _ => Access::Locked(Arc::new(Line(AtomicBool::new(false)))),
        };
        (0..users)
            .map(|_| Self {
                path: FastPath::new(port, queue),
                access: access.clone(),
                state: state.clone(),
                opened: Some(started.clone()),
            })
            .collect()
    }

    pub fn port(&self) -> u16 {
        self.path.port()
    }

    pub fn queue(&self) -> u16 {
        self.path.queue()
    }

    /// Whether the port's link is up, as last reported by the driver or read by
    /// control. One load of a line that is seldom written.
    #[inline(always)]
    pub fn link_is_up(&self) -> bool {
        self.state.link_is_up()
    }

    /// Whether the driver reported the loss of the device.
    pub fn is_lost(&self) -> bool {
        self.state.is_lost()
    }

    /// From now on this handle accepts no packet, and does not keep the port
    /// open.
    pub fn give_up(&mut self) {
        (self.access, self.opened) = (Access::GivenUp, None);
    }

    /// Sends packets from the front of the burst. Those that the driver refuses
    /// stay in it. Returns the number of accepted packets.
    #[inline(always)]
    pub fn send(&mut self, burst: &mut Burst) -> usize {
        // SAFETY: the burst owns so many packets, and forgets those that went.
        burst.give(|packets, count| unsafe { self.offer(packets, count) })
    }

    /// As `send`, for the next `count` packets of a drained burst, which must
    /// exist. Refused packets stay the next ones.
    #[inline]
    pub fn send_next(&mut self, packets: &mut Drain<'_>, count: usize) -> usize {
        // SAFETY: as in `send`.
        packets.give(count, |packets, count| unsafe { self.offer(packets, count) })
    }

    /// Offers packets to the driver. Returns the number of accepted ones, from
    /// the first on.
    ///
    /// # Safety
    /// There are `count` packets, which are the caller's, and those that went
    /// no longer are.
    #[inline(always)]
    unsafe fn offer(&self, packets: *mut *mut sys::rte_mbuf, count: u16) -> usize {
        match &self.access {
            // SAFETY: the port is started and the queue exists as long as
            // `self.opened`; this is the queue's only handle. The rest is up to
            // the caller.
            Access::Alone => usize::from(unsafe { self.path.send(packets, count) }),
            // SAFETY: up to the caller.
            Access::Locked(lock) => unsafe { self.offer_locked(lock, packets, count) },
            Access::GivenUp => 0,
        }
    }

    #[inline(never)]
    unsafe fn offer_locked(
        &self,
        lock: &AtomicBool,
        packets: *mut *mut sys::rte_mbuf,
        count: u16,
    ) -> usize {
        acquire(lock);
        // SAFETY: as in `offer`; the lock makes us the queue's only user.
        let sent = unsafe { self.path.send(packets, count) };
        lock.store(false, Ordering::Release);
        usize::from(sent)
    }
}

/// Waits for another lcore's burst. That lcore may have lost its CPU, so yields
/// after a while.
#[cold]
fn acquire(lock: &AtomicBool) {
    let mut tries = 0u32;
    // Loads first: waiting lcores then share the line and do not disturb the
    // holder.
    while lock.load(Ordering::Relaxed)
        || lock.compare_exchange_weak(false, true, Ordering::Acquire, Ordering::Relaxed).is_err()
    {
        tries += 1;
        if tries.is_multiple_of(1024) {
            std::thread::yield_now();
        }
        std::hint::spin_loop();
    }
}
