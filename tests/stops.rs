//! An lcore's thread is stopped at random moments under load, as when its CPU is
//! taken away. No flow is reordered, and no packet is lost that the receive
//! queue has a descriptor for.

mod common;

use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

use common::{Outcome, Running, allowed_cpus, count, lcores, modes, rows, skipped, start};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;

const STOPS: usize = 40;
const STOP_US_MIN: u64 = 1_000;
const STOP_US_MAX: u64 = 20_000;

const VDEV: &str = "--vdev net_null0,no-rx=1";

/// Little, and a receive queue has descriptors for three seconds: this must hold
/// also in a build without optimisation, beside busy processes.
const LOAD: &str = "--rxd 32768 --mbufs 65535 --stats-period 0.1 \
                    --source open-loop:rate=20k --work spin:cheap=10us,p=0";

/// The threads of lcores 0 and 1. EAL's main lcore is the process's first thread;
/// the names of the others differ by version: rte-worker-1, dpdk-worker1.
fn lcore_threads(process: Pid) -> [Pid; 2] {
    let tasks = Path::new("/proc").join(process.to_string()).join("task");
    let threads = std::fs::read_dir(tasks).expect("the process is there").flatten();
    let is_worker = |thread: &std::fs::DirEntry| {
        let name = std::fs::read_to_string(thread.path().join("comm")).unwrap_or_default();
        name.contains("worker") && name.trim_end().ends_with('1')
    };
    let worker = threads.into_iter().find(is_worker).expect("lcore 1 has a thread");
    let number = worker.file_name().to_string_lossy().parse().expect("a thread's number");
    [process, Pid::from_raw(number)]
}

/// Stops one thread, while the others run.
fn stop(thread: Pid, time: Duration) {
    ptrace::seize(thread, ptrace::Options::empty()).expect("the process is ours");
    ptrace::interrupt(thread).expect("it is traced");
    waitpid(thread, Some(WaitPidFlag::__WALL)).expect("it stops");
    std::thread::sleep(time);
    ptrace::detach(thread, None).expect("it goes on");
}

fn stop_at_random(mpfwd: &Running, seed: u64) {
    let (threads, mut random) = (lcore_threads(mpfwd.pid()), SmallRng::seed_from_u64(seed));
    for _ in 0..STOPS {
        let mut draw = || Duration::from_micros(random.random_range(STOP_US_MIN..=STOP_US_MAX));
        let (pause, time) = (draw(), draw());
        std::thread::sleep(pause);
        stop(threads[random.random_range(0..2)], time);
    }
}

/// One run with stops.
#[track_caller]
fn run_with_stops(mode: &str, seed: u64) -> Outcome {
    let mut mpfwd = start(&format!("{} {VDEV}", lcores(2)), &format!("{LOAD} {mode}"));
    mpfwd.wait_until_it_forwards();
    stop_at_random(&mpfwd, seed);
    mpfwd.signal(Signal::SIGTERM);
    let outcome = mpfwd.finish();
    let report = outcome.good_report();
    let source = &report["source"];
    assert_eq!(count(&report["order"], "reordered_pkts"), 0, "{mode}: {report:#}");
    assert_eq!(count(report, "tx_pkts"), count(source, "received_pkts"), "{mode}: {report:#}");
    let lost = (count(source, "missed_pkts"), count(source, "nombuf_pkts"));
    assert_eq!(lost, (0, 0), "{mode}: {source:#}");
    outcome
}

#[test]
fn no_mode_loses_or_reorders_packets() {
    for (mode, seed) in modes("1:1").iter().zip(1..) {
        let outcome = run_with_stops(mode, seed);
        let report = outcome.good_report();
        let shares = ["--pools", "--mode shared", "--mode steal --steal-rx"];
        if shares.iter().any(|sharing| mode.starts_with(sharing)) {
            assert!(count(&report["order"], "checked_pkts") > 0, "{mode}: {report:#}");
        }
    }
}

/// The incidents of lcores that did not run for about as long as a stop takes, or
/// longer, while another lcore polled for them.
fn rescued_stalls(report: &Value) -> impl Iterator<Item = &Value> {
    rows(report, "incidents").iter().filter(|row| {
        row["stage"] == "stalled"
            && count(row, "stuck_ns") >= STOP_US_MIN * 1_000
            && count(row, "polled_pkts") > 0
    })
}

/// Whether the kernel ran others on the lcore's CPU for most of that time.
fn is_by_kernel(incident: &Value) -> bool {
    incident["kernel_ns"].as_u64() >= Some(count(incident, "stuck_ns") / 2)
}

/// The other lcore forwards packets of a stopped lcore's receive queue meanwhile.
/// The kernel did not take its CPU.
#[test]
fn hybrid_rescues_stopped_lcores() {
    let outcome = run_with_stops("--pools 1:1", 22);
    let report = outcome.good_report();
    assert!(rescued_stalls(report).any(|incident| !is_by_kernel(incident)), "{report:#}");
}

/// A process that always has work, on one CPU.
struct Neighbour(Child);

impl Neighbour {
    fn start(cpu: usize) -> Self {
        let busy = Command::new("sh").args(["-c", "while :; do :; done"]).spawn();
        let neighbour = Self(busy.expect("a shell"));
        let mut cpus = CpuSet::new();
        cpus.set(cpu).expect("there is such a CPU");
        let pid = Pid::from_raw(neighbour.0.id() as i32);
        sched_setaffinity(pid, &cpus).expect("the process is ours");
        neighbour
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether the kernel says how long a thread waited for its CPU: zeros say that it
/// does not count.
fn kernel_counts_run_delay() -> bool {
    let own = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    own.split_whitespace().nth(2).is_some_and(|times| times != "0")
}

#[test]
fn a_stall_by_the_kernel_is_on_record_as_one() {
    let cpus = allowed_cpus();
    if cpus.len() < 2 {
        return skipped("each lcore needs a CPU");
    }
    let neighbour = Neighbour::start(cpus[1]);
    let own = format!("{LOAD} --pools 1:1 --duration 2");
    let outcome = start(&format!("{} {VDEV}", lcores(2)), &own).finish();
    drop(neighbour);
    let report = outcome.good_report();
    let lcore = &rows(report, "lcores")[1];
    if !kernel_counts_run_delay() {
        assert!(report["run_delay_ns"].is_null() && lcore["run_delay_ns"].is_null(), "{report:#}");
        return;
    }
    assert!(count(lcore, "run_delay_ns") > 100_000_000, "{report:#}");
    assert!(count(report, "run_delay_ns") >= count(lcore, "run_delay_ns"), "{report:#}");
    let preempted =
        rescued_stalls(report).filter(|row| row["lcore"] == 1 && is_by_kernel(row)).count();
    assert!(preempted > 0, "{report:#}");
    assert!(
        outcome.stdout.iter().any(|line| line.contains(" preempted ")),
        "{:#?}",
        outcome.stdout
    );
}
