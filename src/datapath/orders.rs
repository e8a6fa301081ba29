//! Control's orders to the running lcores: the mode, the owner of each receive
//! queue, and when to rescue.
//!
//! Control writes the words, then the version, and then calls the lcores. Each
//! lcore answers between two steps: it gives every packet that it holds its
//! place, releases its leases, leaves the loop of its mode, and enters the loop
//! of the new one. Lcores do not wait for each other. Until all have followed,
//! some of them run the old mode and some the new one: leases and places do not
//! depend on it.

use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use super::ring_ends::RingEnds;
use crate::dpdk::RingView;
use crate::policy::Mode;
use crate::shed::Heads;

/// Written by control alone.
pub struct Orders {
    /// How often control has ordered something.
    version: AtomicU32,
    /// The mode's place in [`Mode::ALL`].
    mode: AtomicUsize,
    /// How long an lcore may be in one packet before it counts as stuck.
    rescue_after_ticks: AtomicU64,
    /// By a receive queue's number: the lcore that owns it, except in modes
    /// whose lcores own all.
    owners: Box<[AtomicU16]>,
    /// By lcore: the version that it has followed last.
    followed: Box<[AtomicU32]>,
    spare: OnceLock<Spare>,
}

/// An lcore follows it from one answer to the next.
#[derive(Clone, Copy, Debug)]
pub struct Order {
    pub version: u32,
    pub mode: Mode,
    pub rescue_after_ticks: u64,
}

/// Rings for every mode and every size of the pools. Those of the start are as
/// cheap as its mode allows; these replace them at the first change that needs
/// more.
pub struct Spare {
    /// Where there are several shards.
    heads: Option<Heads>,
    /// By lcore, until it takes them.
    ends: Vec<Mutex<Option<RingEnds>>>,
    shards: Vec<RingView>,
}

impl Spare {
    /// `shards`: a look at each shard, in their order. `ends`: by lcore.
    pub fn new(shards: Vec<RingView>, ends: Vec<RingEnds>) -> Self {
        let heads = (shards.len() > 1).then(|| Heads::new(shards.len()));
        let ends = ends.into_iter().map(|ends| Mutex::new(Some(ends))).collect();
        Self { heads, ends, shards }
    }

    pub(super) fn heads(&self) -> Option<&Heads> {
        self.heads.as_ref()
    }

    /// The ends of the lcore at `at`, the first time. Nobody else uses that
    /// lock once the lcores were called.
    pub(super) fn take(&self, at: usize) -> Option<RingEnds> {
        self.ends[at].lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Orders {
    /// `owners`: by a receive queue's number, its lcore.
    pub fn new(mode: Mode, rescue_after_ticks: u64, owners: &[usize], lcores: usize) -> Self {
        Self {
            version: AtomicU32::new(0),
            mode: AtomicUsize::new(mode as usize),
            rescue_after_ticks: AtomicU64::new(rescue_after_ticks),
            owners: owners.iter().map(|&owner| AtomicU16::new(owner as u16)).collect(),
            followed: (0..lcores).map(|_| AtomicU32::new(0)).collect(),
            spare: OnceLock::new(),
        }
    }

    // ---- For control ----

    pub fn set_mode(&self, mode: Mode) {
        self.mode.store(mode as usize, Ordering::Relaxed);
    }

    pub fn set_rescue_after(&self, ticks: u64) {
        self.rescue_after_ticks.store(ticks, Ordering::Relaxed);
    }

    pub fn set_owner(&self, queue: usize, lcore: usize) {
        self.owners[queue].store(lcore as u16, Ordering::Relaxed);
    }

    /// The rings for every mode; made by `make`, the first time.
    ///
    /// # Errors
    /// Those of `make`.
    pub fn provide_spare<E>(&self, make: impl FnOnce() -> Result<Spare, E>) -> Result<(), E> {
        if self.spare.get().is_none() {
            let _ = self.spare.set(make()?);
        }
        Ok(())
    }

    /// A look at each shard of the rings for every mode, if they are in use.
    pub fn spare_shards(&self) -> Option<&[RingView]> {
        self.spare.get().map(|spare| &spare.shards[..])
    }

    /// Makes an order of the values set before. The caller calls the lcores next.
    pub fn publish(&self) {
        // Release: pairs with `read`.
        self.version.fetch_add(1, Ordering::Release);
    }

    /// How many lcores have not followed the last order yet.
    pub fn behind(&self) -> usize {
        let version = self.version.load(Ordering::Relaxed);
        let is_behind = |followed: &&AtomicU32| followed.load(Ordering::Relaxed) < version;
        self.followed.iter().filter(is_behind).count()
    }

    pub fn rescue_after_ticks(&self) -> u64 {
        self.rescue_after_ticks.load(Ordering::Relaxed)
    }

    // ---- For lcores ----

    /// The last order. Parts of it may be of a later one, about which the lcore
    /// is called again.
    pub fn read(&self) -> Order {
        let version = self.version.load(Ordering::Acquire);
        let mode = Mode::ALL[self.mode.load(Ordering::Relaxed)];
        Order { version, mode, rescue_after_ticks: self.rescue_after_ticks() }
    }

    pub(super) fn is_last(&self, version: u32) -> bool {
        self.version.load(Ordering::Acquire) == version
    }

    pub(super) fn owner(&self, queue: u16) -> usize {
        usize::from(self.owners[usize::from(queue)].load(Ordering::Relaxed))
    }

    pub(super) fn spare(&self) -> Option<&Spare> {
        self.spare.get()
    }

    /// The lcore at `at` follows that order from now on, and no earlier one.
    pub(super) fn follow(&self, at: usize, version: u32) {
        // Release: pairs with `all_follow`.
        self.followed[at].store(version, Ordering::Release);
    }

    /// The lcore at `at` has left. It follows whatever comes.
    pub(super) fn leave(&self, at: usize) {
        self.follow(at, u32::MAX);
    }

    /// Whether no lcore follows an earlier order. Then all that they have put
    /// into rings by an earlier one is visible.
    pub(super) fn all_follow(&self, version: u32) -> bool {
        self.followed.iter().all(|followed| followed.load(Ordering::Acquire) >= version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_followed_by_each_lcore_and_by_one_that_has_left() {
        let orders = Orders::new(Mode::Rtc, 5, &[0, 1, 0], 2);
        assert_eq!((orders.read().mode, orders.read().version, orders.behind()), (Mode::Rtc, 0, 0));
        orders.set_mode(Mode::Hybrid);
        orders.set_owner(2, 1);
        orders.publish();
        let order = orders.read();
        assert_eq!((order.mode, orders.owner(2), orders.behind()), (Mode::Hybrid, 1, 2));
        orders.follow(0, order.version);
        assert!(orders.behind() == 1 && !orders.all_follow(order.version));
        orders.leave(1);
        assert!(orders.behind() == 0 && orders.all_follow(order.version));
        orders.publish();
        assert!(orders.behind() == 1 && !orders.is_last(order.version));
    }
}
