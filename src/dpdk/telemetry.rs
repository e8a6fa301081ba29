//! Telemetry for `dpdk-telemetry.py` and other clients of DPDK: the lcores'
//! counters, and how busy lcores are. DPDK asks on a thread of its own, at any
//! time, and its commands stay until EAL is cleaned up: while no run is
//! published, they have no lcores.

use std::ffi::{CStr, CString, c_char, c_int, c_uint};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};

use dpdk_sys as sys;

use super::Eal;
use crate::stats::{Activity, DropCause, LcoreStats};

type Lcores = Vec<(u32, Arc<LcoreStats>)>;

/// EAL's lcore ids, with the counters of the present run.
static PUBLISHED: Mutex<Lcores> = Mutex::new(Vec::new());
/// Somebody has asked how busy lcores are.
static WAS_ASKED: AtomicBool = AtomicBool::new(false);

fn published() -> MutexGuard<'static, Lcores> {
    PUBLISHED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A run that telemetry shows, as long as this exists.
pub struct TelemetryView(());

impl TelemetryView {
    /// Shows the counters of these lcores.
    pub fn new(_: &Eal, lcores: Vec<(u32, Arc<LcoreStats>)>) -> Self {
        static REGISTERED: Once = Once::new();
        REGISTERED.call_once(register);
        *published() = lcores;
        Self(())
    }

    /// Whether somebody has asked how busy lcores are: that must be metered.
    pub fn was_asked(&self) -> bool {
        WAS_ASKED.load(Ordering::Relaxed)
    }
}

impl Drop for TelemetryView {
    fn drop(&mut self) {
        published().clear();
    }
}

/// Telemetry may be off, and older versions of DPDK know no usage: a run needs
/// neither.
fn register() {
    type Command =
        unsafe extern "C" fn(*const c_char, *const c_char, *mut sys::rte_tel_data) -> c_int;
    let commands: [(&CStr, Command, &CStr); 2] = [
        (c"/mpfwd/lcore/list", list, c"Returns the lcores. Takes no parameters"),
        (c"/mpfwd/lcore/stats", stats, c"Returns an lcore's counters. Parameters: int lcore_id"),
    ];
    for (name, command, help) in commands {
        // SAFETY: the strings are static, and the functions keep to the
        // callback's contract.
        unsafe { sys::rte_telemetry_register_cmd(name.as_ptr(), Some(command), help.as_ptr()) };
    }
    // SAFETY: the function stays, and writes through both pointers only.
    unsafe { sys::mpfwd_register_usage(Some(usage)) };
}

unsafe extern "C" fn list(
    _: *const c_char,
    _: *const c_char,
    data: *mut sys::rte_tel_data,
) -> c_int {
    // SAFETY: telemetry's own structure, for the time of the call.
    unsafe { sys::mpfwd_telemetry_ids(data) };
    for (lcore, _) in published().iter() {
        // SAFETY: as above; an array has been begun.
        unsafe { sys::mpfwd_telemetry_id(data, *lcore) };
    }
    0
}

unsafe extern "C" fn stats(
    _: *const c_char,
    lcore: *const c_char,
    data: *mut sys::rte_tel_data,
) -> c_int {
    if lcore.is_null() {
        return -(nix::errno::Errno::EINVAL as c_int);
    }
    // SAFETY: telemetry passes a string that ends.
    let lcore = unsafe { CStr::from_ptr(lcore) };
    let lcore = lcore.to_str().ok().and_then(|text| text.parse::<u32>().ok());
    let lcores = published();
    let Some((_, stats)) = lcores.iter().find(|(id, _)| Some(*id) == lcore) else {
        return -(nix::errno::Errno::EINVAL as c_int);
    };
    WAS_ASKED.store(true, Ordering::Relaxed);
    // SAFETY: telemetry's own structure, for the time of the call.
    unsafe { sys::mpfwd_telemetry_counts(data) };
    for (name, count) in counts(stats) {
        let Ok(name) = CString::new(name) else { continue };
        // SAFETY: as above; a dictionary has been begun. The name is copied.
        unsafe { sys::mpfwd_telemetry_count(data, name.as_ptr(), count) };
    }
    0
}

/// Names as those of xstats.
fn counts(stats: &LcoreStats) -> Vec<(String, u64)> {
    let counters = [
        ("rx_packets", stats.rx_pkts()),
        ("tx_packets", stats.tx_pkts()),
        ("cheap_packets", stats.cheap_pkts.get()),
        ("expensive_packets", stats.expensive_pkts.get()),
        ("shed_packets", stats.shed_pkts.get()),
        ("dequeued_packets", stats.taken_pkts.get()),
        ("stolen_packets", stats.rescue.stolen_pkts.get()),
        ("takeover_packets", stats.rescue.takeover_pkts.get()),
    ];
    let counters = counters.map(|(name, count)| (name.to_owned(), count));
    let drops = DropCause::ALL
        .map(|cause| (format!("dropped_{}_packets", cause.name()), stats.dropped(cause)));
    let ticks = Activity::ALL.map(|activity| {
        (format!("{}_cycles", activity.name()), stats.activity_ticks.get(activity))
    });
    counters.into_iter().chain(drops).chain(ticks).collect()
}

/// Cycles of an lcore since the first question, and those of them in which it
/// was busy.
unsafe extern "C" fn usage(lcore: c_uint, all: *mut u64, busy: *mut u64) -> c_int {
    WAS_ASKED.store(true, Ordering::Relaxed);
    let lcores = published();
    let Some((_, stats)) = lcores.iter().find(|(id, _)| *id == lcore) else { return -1 };
    let ticks = |activity| stats.activity_ticks.get(activity);
    // SAFETY: the shim passes two places of its own.
    unsafe {
        *all = stats.activity_ticks.all();
        *busy = Activity::ALL.into_iter().filter(|it| it.is_busy()).map(ticks).sum();
    }
    0
}
