//! Events of a port. DPDK reports them on EAL's interrupt thread. The callbacks
//! only write atomics, which lcores and control read.

use std::ffi::{c_int, c_void};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use dpdk_sys as sys;

use super::clock::tsc;
use mpfwd_common::error::Result;

/// Why a port is of no more use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// The device was reset from outside and lost its configuration.
    Reset,
    /// The device is gone.
    Removed,
}

impl Loss {
    /// The name in the report.
    pub fn name(self) -> &'static str {
        match self {
            Self::Reset => "reset",
            Self::Removed => "removed",
        }
    }
}

/// A port's link, and whether the port is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortView {
    pub link_up: bool,
    pub loss: Option<Loss>,
    /// When the last of the two changed, in ticks; 0 before the first change.
    pub changed_ticks: u64,
}

/// Both in one word, so that readers see values of one moment: bit 0 is set
/// while the link is up, bits 1 and 2 hold the loss, the rest is the time.
#[derive(Clone, Copy)]
struct Word(u64);

impl Word {
    const LINK_UP: u64 = 1;
    const RESET: u64 = 1 << 1;
    const REMOVED: u64 = 2 << 1;
    const LOSS: u64 = Self::RESET | Self::REMOVED;
    const TIME_SHIFT: u32 = 3;

    fn new(link_up: bool) -> Self {
        Self(u64::from(link_up))
    }

    fn view(self) -> PortView {
        PortView {
            link_up: self.0 & Self::LINK_UP != 0,
            loss: match self.0 & Self::LOSS {
                0 => None,
                Self::RESET => Some(Loss::Reset),
                _ => Some(Loss::Removed),
            },
            changed_ticks: self.0 >> Self::TIME_SHIFT,
        }
    }

    fn at(now: u64, bits: u64) -> Self {
        Self(now << Self::TIME_SHIFT | bits)
    }

    /// After the link was seen at `now`; `None` if nothing changes. The link of
    /// a lost port stays down.
    fn with_link(self, link_up: bool, now: u64) -> Option<Self> {
        let view = self.view();
        let changes = view.loss.is_none() && view.link_up != link_up;
        changes.then(|| Self::at(now, u64::from(link_up)))
    }

    /// After the port was lost at `now`; `None` if it was before.
    fn with_loss(self, loss: Loss, now: u64) -> Option<Self> {
        let bits = match loss {
            Loss::Reset => Self::RESET,
            Loss::Removed => Self::REMOVED,
        };
        self.view().loss.is_none().then(|| Self::at(now, bits))
    }
}

/// The last reported state of a port. All lcores read it; it is written on a
/// change only.
#[derive(Debug)]
#[repr(align(128))]
pub(super) struct PortState {
    word: AtomicU64,
    /// Number of changes of the link.
    link_changes: AtomicU64,
}

impl PortState {
    fn new() -> Self {
        Self { word: AtomicU64::new(Word::new(true).0), link_changes: AtomicU64::new(0) }
    }

    #[inline(always)]
    fn word(&self) -> Word {
        Word(self.word.load(Ordering::Relaxed))
    }

    pub(super) fn view(&self) -> PortView {
        self.word().view()
    }

    #[inline(always)]
    pub(super) fn link_is_up(&self) -> bool {
        self.word().0 & Word::LINK_UP != 0
    }

    #[inline]
    pub(super) fn is_lost(&self) -> bool {
        self.word().0 & Word::LOSS != 0
    }

    pub(super) fn link_changes(&self) -> u64 {
        self.link_changes.load(Ordering::Relaxed)
    }

    /// Replaces the word by what `next` makes of it. Returns whether it did.
    fn change(&self, next: impl Fn(Word) -> Option<Word>) -> bool {
        micropools::change(&self.word, |word| next(Word(word)).map(|Word(word)| word))
    }

    /// Sets the link of a port that has started, which is no change.
    pub(super) fn begin(&self, link_up: bool) {
        self.change(|word| word.with_link(link_up, 0));
    }

    pub(super) fn note_link(&self, link_up: bool) {
        let now = tsc();
        if self.change(|word| word.with_link(link_up, now)) {
            self.link_changes.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn note_loss(&self, loss: Loss) {
        let now = tsc();
        self.change(|word| word.with_loss(loss, now));
    }
}

type Callback =
    unsafe extern "C" fn(u16, sys::rte_eth_event_type, *mut c_void, *mut c_void) -> c_int;

const EVENTS: [(sys::rte_eth_event_type, Callback); 3] = [
    (sys::RTE_ETH_EVENT_INTR_LSC, link_changed),
    (sys::RTE_ETH_EVENT_INTR_RESET, was_reset),
    (sys::RTE_ETH_EVENT_INTR_RMV, was_removed),
];

/// Follows a port's events. It must be ended before the port is closed.
pub(super) struct Watch {
    port: u16,
    state: Arc<PortState>,
    ended: AtomicBool,
}

impl Watch {
    /// Watches a port, which must exist.
    ///
    /// # Errors
    /// When DPDK has no memory.
    pub(super) fn new(port: u16) -> Result<Self> {
        let ended = AtomicBool::new(false);
        let watch = Self { port, state: Arc::new(PortState::new()), ended };
        for (event, callback) in EVENTS {
            // SAFETY: the callback gets the state, which `watch` keeps until it
            // has taken the callback back.
            let code = unsafe {
                sys::rte_eth_dev_callback_register(port, event, Some(callback), watch.argument())
            };
            super::check(|| format!("port {port} takes no callback for its events"), code)?;
        }
        Ok(watch)
    }

    pub(super) fn state(&self) -> &Arc<PortState> {
        &self.state
    }

    /// The callbacks' argument.
    fn argument(&self) -> *mut c_void {
        Arc::as_ptr(&self.state).cast_mut().cast()
    }

    /// Takes the callbacks back: none runs any more.
    pub(super) fn end(&self) {
        if self.ended.swap(true, Ordering::Relaxed) {
            return;
        }
        for (event, callback) in EVENTS {
            let take_back = || {
                // SAFETY: the arguments are those that registered it, if it is
                // registered.
                unsafe {
                    sys::rte_eth_dev_callback_unregister(
                        self.port,
                        event,
                        Some(callback),
                        self.argument(),
                    )
                }
            };
            // DPDK refuses while the callback runs.
            while take_back() == -(nix::errno::Errno::EAGAIN as c_int) {
                std::thread::yield_now();
            }
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.end();
    }
}

/// Whether the driver says that the link of a port is up. A driver that does
/// not know counts as up.
pub(super) fn read_link(port: u16) -> bool {
    // SAFETY: DPDK checks the number.
    unsafe { sys::mpfwd_link_is_up(port) != 0 }
}

/// # Safety
/// A callback of DPDK: `state` is the argument of a [`Watch`] that has not
/// ended.
unsafe fn state_of<'a>(state: *mut c_void) -> &'a PortState {
    // SAFETY: the watch keeps it.
    unsafe { &*state.cast::<PortState>() }
}

unsafe extern "C" fn link_changed(
    port: u16,
    _event: sys::rte_eth_event_type,
    state: *mut c_void,
    _details: *mut c_void,
) -> c_int {
    // SAFETY: DPDK calls this for a watch.
    unsafe { state_of(state) }.note_link(read_link(port));
    0
}

unsafe extern "C" fn was_reset(
    _port: u16,
    _event: sys::rte_eth_event_type,
    state: *mut c_void,
    _details: *mut c_void,
) -> c_int {
    // SAFETY: DPDK calls this for a watch.
    unsafe { state_of(state) }.note_loss(Loss::Reset);
    0
}

unsafe extern "C" fn was_removed(
    _port: u16,
    _event: sys::rte_eth_event_type,
    state: *mut c_void,
    _details: *mut c_void,
) -> c_int {
    // SAFETY: DPDK calls this for a watch.
    unsafe { state_of(state) }.note_loss(Loss::Removed);
    0
}

#[cfg(test)]
pub(crate) mod tests {
    use std::ffi::{c_char, c_uint};

    use super::*;

    unsafe extern "C" {
        fn rte_eth_dev_allocated(name: *const c_char) -> *mut c_void;
        fn rte_eth_dev_callback_process(
            dev: *mut c_void,
            event: c_uint,
            details: *mut c_void,
        ) -> c_int;
    }

    /// Whether the port of that name has received anything since it started.
    pub(crate) fn has_received(name: &str) -> bool {
        let name = super::super::c_string(name).expect("a name");
        let mut id = 0;
        let mut stats = std::mem::MaybeUninit::<sys::mpfwd_port_stats>::zeroed();
        // SAFETY: the name outlives the call, which writes the number.
        let code = unsafe { sys::rte_eth_dev_get_port_by_name(name.as_ptr(), &mut id) };
        // SAFETY: DPDK checks the number; the shim fills the structure or leaves
        // the zeros, which are plain data.
        code == 0
            && unsafe {
                sys::mpfwd_port_stats(id, stats.as_mut_ptr());
                stats.assume_init()
            }
            .ipackets
                > 0
    }

    /// Has DPDK report that the port of that name was removed, as its driver
    /// would.
    pub(crate) fn raise_removal(name: &str) {
        let name = super::super::c_string(name).expect("a name");
        // SAFETY: the name outlives the call.
        let dev = unsafe { rte_eth_dev_allocated(name.as_ptr()) };
        assert!(!dev.is_null(), "no port {name:?}");
        // SAFETY: the port exists; DPDK calls what is registered.
        unsafe {
            rte_eth_dev_callback_process(dev, sys::RTE_ETH_EVENT_INTR_RMV, std::ptr::null_mut())
        };
    }

    #[test]
    fn a_link_changes_only_when_it_does() {
        let state = PortState::new();
        state.begin(false);
        assert_eq!(state.view(), PortView { link_up: false, loss: None, changed_ticks: 0 });
        state.note_link(false);
        assert_eq!((state.link_changes(), state.view().changed_ticks), (0, 0));
        state.note_link(true);
        let view = state.view();
        assert!(view.link_up && state.link_is_up() && view.changed_ticks > 0);
        state.note_link(true);
        assert_eq!((state.view(), state.link_changes()), (view, 1));
        state.note_link(false);
        assert_eq!((state.link_is_up(), state.link_changes()), (false, 2));
    }

    #[test]
    fn a_lost_port_stays_lost_and_down() {
        for (first, second) in [(Loss::Reset, Loss::Removed), (Loss::Removed, Loss::Reset)] {
            let state = PortState::new();
            assert!(!state.is_lost());
            state.note_loss(first);
            let view = state.view();
            assert_eq!((view.loss, view.link_up, state.is_lost()), (Some(first), false, true));
            state.note_loss(second);
            state.note_link(true);
            assert_eq!((state.view(), state.link_changes()), (view, 0));
        }
    }

    #[test]
    fn times_keep_all_but_three_bits() {
        let now = (1 << 61) - 1;
        let word = Word::new(true).with_link(false, now).expect("a change");
        assert_eq!(word.view().changed_ticks, now);
        assert_eq!(
            word.with_loss(Loss::Removed, now).map(Word::view).expect("a loss"),
            PortView { link_up: false, loss: Some(Loss::Removed), changed_ticks: now }
        );
    }
}
