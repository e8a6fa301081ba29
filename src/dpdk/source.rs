//! An RX callback that adds packets of its own to what a driver received:
//! `rte_eth_rx_burst` calls it in every poll, also when the driver has nothing.
//! It belongs to the queue and runs under its lease.

use std::ffi::c_void;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use dpdk_sys as sys;

use super::clock::tsc;
use super::{Mbuf, Mempool};
use mpfwd_common::error::{Error, Result};

/// A source of packets beside the driver.
pub trait RxSource: Send {
    /// Called once per poll of the queue, by the lease's holder.
    fn receive(&mut self, room: &mut Room<'_>);
}

/// The room that a poll has left for packets.
pub struct Room<'a> {
    slots: &'a mut [MaybeUninit<Mbuf>],
    filled: usize,
    polled_ticks: &'a AtomicU64,
    due_ticks: &'a AtomicU64,
}

impl Room<'_> {
    /// Reads the time stamp counter. The polling lcore gets this reading too,
    /// and need not read the clock again.
    #[inline]
    pub fn read_clock(&mut self) -> u64 {
        let now = tsc();
        self.polled_ticks.store(now, Ordering::Relaxed);
        now
    }

    /// Notes that the source worked for long in this poll, so that the time
    /// does not pass for a host gap.
    pub fn has_worked(&mut self) {
        self.polled_ticks.store(WORKED, Ordering::Relaxed);
    }

    /// Notes that the source has no packet before that time. Polls may be
    /// skipped until then. 0: it has packets now, or does not know.
    pub fn quiet_until(&mut self, ticks: u64) {
        self.due_ticks.store(ticks, Ordering::Relaxed);
    }

    /// The number of packets for which the poll has room.
    #[inline]
    pub fn left(&self) -> usize {
        self.slots.len() - self.filled
    }

    /// The packets that the driver received.
    #[inline]
    pub fn received(&mut self) -> &mut [Mbuf] {
        // SAFETY: the driver filled the first `filled` slots, `Mbuf` has the
        // layout of what a slot holds, and the poll's caller gets them later.
        unsafe { std::slice::from_raw_parts_mut(self.slots.as_mut_ptr().cast(), self.filled) }
    }

    /// Adds up to `want` packets, limited by the room and the pool, and returns
    /// them for the caller to fill. Their content is undefined.
    #[inline]
    pub fn alloc(&mut self, pool: &Mempool, want: usize) -> &mut [Mbuf] {
        let free = &mut self.slots[self.filled..];
        let want = want.min(free.len());
        // SAFETY: there is room for so many pointers, and DPDK fills all of
        // them or none.
        let code =
            unsafe { sys::mpfwd_alloc_bulk(pool.as_ptr(), free.as_mut_ptr().cast(), want as u32) };
        let made = if code == 0 { want } else { alloc_singly(pool, &mut free[..want]) };
        self.filled += made;
        // SAFETY: the first `made` slots hold packets now, `Mbuf` has the
        // layout of what a slot holds, and the poll's caller gets them later.
        unsafe {
            std::slice::from_raw_parts_mut(
                self.slots[self.filled - made..].as_mut_ptr().cast(),
                made,
            )
        }
    }
}

/// Allocates a pool's last buffers one by one. Returns their number.
#[cold]
fn alloc_singly(pool: &Mempool, slots: &mut [MaybeUninit<Mbuf>]) -> usize {
    let fill = |slot: &mut MaybeUninit<Mbuf>| {
        // SAFETY: room for one pointer, which DPDK fills or not.
        unsafe { sys::mpfwd_alloc_bulk(pool.as_ptr(), slot.as_mut_ptr().cast(), 1) == 0 }
    };
    slots.iter_mut().map(fill).take_while(|&filled| filled).count()
}

/// Stands for a reading of the clock if the source has worked for long.
const WORKED: u64 = u64::MAX;

/// The part of a source that any lcore may read.
#[derive(Default)]
#[repr(C)]
struct Shown {
    polled_ticks: AtomicU64,
    due_ticks: AtomicU64,
}

/// The callback's argument. Its first field is read without knowing the
/// source's type.
#[repr(C)]
struct Called<S> {
    shown: Shown,
    source: S,
}

/// A source that is attached to a queue until this is dropped.
pub(super) struct Attached {
    port: u16,
    queue: u16,
    callback: *const sys::rte_eth_rxtx_callback,
    /// The callback is not in DPDK's list any more.
    detached: AtomicBool,
    /// A `Called`.
    source: *mut c_void,
    free: unsafe fn(*mut c_void),
}

// SAFETY: a source may move between threads, and is only touched under the
// queue's lease, or when the queue is gone.
unsafe impl Send for Attached {}
// SAFETY: there is nothing that a shared reference could do with it.
unsafe impl Sync for Attached {}

impl Attached {
    /// # Safety
    /// The port is configured and has the queue; nobody polls the queue but
    /// under its lease, and nobody does when this is dropped.
    ///
    /// # Errors
    /// DPDK was built without callbacks, or has no memory.
    pub(super) unsafe fn new<S: RxSource + 'static>(
        port: u16,
        queue: u16,
        source: S,
    ) -> Result<Self> {
        let source =
            Box::into_raw(Box::new(Called { shown: Shown::default(), source })).cast::<c_void>();
        // SAFETY: the function gets the pointer that it wants, which lives
        // until the callback is removed.
        let callback =
            unsafe { sys::rte_eth_add_rx_callback(port, queue, Some(receive::<S>), source) };
        let attached = Self {
            port,
            queue,
            callback: callback.cast(),
            detached: AtomicBool::new(false),
            source,
            free: free::<S>,
        };
        if attached.callback.is_null() {
            return Err(Error::Setup(format!(
                "port {port}'s queue {queue} takes no RX callback: {}",
                super::last_reason()
            )));
        }
        Ok(attached)
    }

    /// The source's reading of the clock in the last poll. `None` if it made
    /// none, or has worked for long since.
    #[inline]
    pub(super) fn polled_ticks(&self) -> Option<u64> {
        let ticks = self.shown().polled_ticks.load(Ordering::Relaxed);
        (ticks != WORKED).then_some(ticks)
    }

    /// Whether a poll at `now` would return nothing. A hint; needs no lease.
    #[inline]
    pub(super) fn is_quiet(&self, now: u64) -> bool {
        now < self.shown().due_ticks.load(Ordering::Relaxed)
    }

    #[inline]
    fn shown(&self) -> &Shown {
        // SAFETY: at the start of what lives as long as `self`, and made of
        // atomics.
        unsafe { &*self.source.cast::<Shown>() }
    }
}

impl Attached {
    /// Detaches the source from the queue. Caller must hold the lease, or no
    /// lcore polls the queue any more.
    pub(super) fn detach(&self) {
        if !self.callback.is_null() && !self.detached.swap(true, Ordering::Relaxed) {
            // SAFETY: nobody polls the queue meanwhile.
            unsafe { sys::rte_eth_remove_rx_callback(self.port, self.queue, self.callback) };
        }
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        // Nobody polls the queue any more, as `new`'s caller has promised.
        self.detach();
        if !self.callback.is_null() {
            // SAFETY: out of DPDK's list, which leaves the memory to us.
            unsafe { sys::rte_free(self.callback.cast_mut().cast()) };
        }
        // SAFETY: `new` made the box, as what `free` was made for; nobody calls
        // the source any more.
        unsafe { (self.free)(self.source) };
    }
}

unsafe fn free<S>(source: *mut c_void) {
    // SAFETY: the caller hands over the box of a `Called<S>`.
    drop(unsafe { Box::from_raw(source.cast::<Called<S>>()) });
}

unsafe extern "C" fn receive<S: RxSource>(
    _port: u16,
    _queue: u16,
    packets: *mut *mut sys::rte_mbuf,
    received: u16,
    max: u16,
    source: *mut c_void,
) -> u16 {
    // SAFETY: the queue is polled under its lease by one at a time, and only
    // its polls come here.
    let (shown, source) = unsafe {
        let called = source.cast::<Called<S>>();
        (&(*called).shown, &mut (*called).source)
    };
    // SAFETY: the poll brought room for `max` packets; `Mbuf` has the layout of
    // a pointer to one.
    let slots = unsafe { std::slice::from_raw_parts_mut(packets.cast(), usize::from(max)) };
    let Shown { polled_ticks, due_ticks } = shown;
    let mut room = Room { slots, filled: usize::from(received), polled_ticks, due_ticks };
    source.receive(&mut room);
    room.filled as u16
}
