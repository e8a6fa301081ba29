//! The ways a run ends: by count, by time, by signal, under load, with more
//! work left than the drain waits for; and two runs side by side.

mod common;

use std::process::Command;
use std::time::{Duration, Instant};

use common::{
    BINARY, NO_HUGE, Running, count, dropped, file_prefix, hugepage_files, lcores, rate, rows, run,
    skipped, start, start_with, words,
};
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::Signal;
use serde_json::Value;

const NULLS: &str = "--vdev net_null0 --vdev net_null1";

#[test]
fn packets_end_the_run_within_a_burst_per_lcore() {
    for (lcore_count, packets, burst, own) in [
        (1, 1, 32, ""),
        (1, 32, 32, "--mode rtc"),
        (1, 1001, 1, ""),
        (2, 10_000, 64, "--mode rtc"),
        (2, 100_000, 512, "--pools 1:1"),
        (2, 1000, 32, "--pools 1:1 --work spin:expensive=20us,p=0.5 --on-full run"),
    ] {
        let own = format!("--packets {packets} --burst {burst} {own}");
        let outcome = run(&format!("{} {NULLS}", lcores(lcore_count)), &own);
        let received = count(outcome.good_report(), "rx_pkts");
        let most = packets + burst * lcore_count as u64;
        assert!((packets..most).contains(&received), "{own}: {received}");
    }
}

#[test]
fn duration_ends_the_run_on_time() {
    for (own, seconds) in [("--duration 0.3", 0.3), ("--duration 250ms --pools 1:1", 0.25)] {
        let outcome = run(&format!("{} {NULLS}", lcores(2)), own);
        let elapsed = outcome.good_report()["elapsed_s"].as_f64().expect("a time");
        assert!((seconds..seconds + 5.0).contains(&elapsed), "{own}: {elapsed}");
    }
}

#[test]
fn each_full_period_has_its_line() {
    let outcome = run(&format!("{} {NULLS}", lcores(1)), "--duration 1 --stats-period 0.25");
    outcome.good_report();
    let seconds: Vec<f64> = outcome
        .stdout
        .iter()
        .filter(|line| rate(line, "rx").is_some())
        .map(|line| {
            line.split_whitespace()
                .next()
                .and_then(|word| word.parse().ok())
                .expect("a line starts with its time")
        })
        .collect();
    // On a busy machine two may share a line.
    assert!((2..=4).contains(&seconds.len()) && seconds.last() >= Some(&1.0), "{seconds:?}");
}

/// An mpfwd under full load.
fn loaded(own: &str) -> Running {
    let mut mpfwd = start(&format!("{} {NULLS}", lcores(2)), &format!("--stats-period 0.05 {own}"));
    mpfwd.wait_until_it_forwards();
    mpfwd
}

#[test]
fn the_record_of_stuck_lcores_can_be_read_while_it_runs() {
    let mut mpfwd = loaded("--pools 1:1");
    mpfwd.signal(Signal::SIGUSR1);
    mpfwd.wait_for_line(|line| line.contains("stuck"));
    mpfwd.wait_until_it_forwards();
    mpfwd.signal(Signal::SIGTERM);
    let outcome = mpfwd.finish();
    let incidents = rows(outcome.good_report(), "incidents");
    // The machine may have taken an lcore's CPU away, or be slow.
    let is_stuck = |row: &Value| row["stage"] != "stalled" && row["stage"] != "pressed";
    assert!(!incidents.iter().any(is_stuck), "nothing was stuck: {incidents:?}");
}

#[test]
fn a_signal_under_load_drains_and_reports() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        for own in [
            "--mode rtc",
            "--mode rtc --work spin:expensive=50us,p=0.1",
            "--pools 1:1",
            "--pools 1:1 --work spin:expensive=50us,p=0.1",
            "--pools 1:1 --work spin:expensive=50us,p=0.1 --on-full run --forward-mode mac",
        ] {
            let mpfwd = loaded(own);
            mpfwd.signal(signal);
            let outcome = mpfwd.finish();
            let report = outcome.good_report();
            assert_eq!(
                dropped(report, "shutdown"),
                0,
                "{own}: all that was received is finished: {report:#}"
            );
            assert!(
                outcome.stdout.iter().any(|line| line.starts_with("conserved: ")),
                "{own}: the report is printed too"
            );
        }
    }
}

/// 2,047 packets of 50 ms each remain when the run is ended: more than a minute
/// and a half.
const LONG_WORK: &str = "--pools 1:1 --work spin:cheap=0ns,expensive=50ms,p=1";

/// As long as a drain may take.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);

#[test]
fn a_second_signal_ends_a_drain_at_once() {
    let mut mpfwd = loaded(LONG_WORK);
    let called = Instant::now();
    while mpfwd.is_running() {
        // Two signals in quick succession count as one.
        mpfwd.signal(Signal::SIGTERM);
        std::thread::sleep(Duration::from_millis(100));
    }
    let outcome = mpfwd.finish();
    assert!(called.elapsed() < DRAIN_LIMIT, "not by itself: {:?}", called.elapsed());
    let report = outcome.good_report();
    assert!(dropped(report, "shutdown") > 0, "{report:#}");
}

#[test]
fn a_drain_that_takes_too_long_is_cut_off() {
    let mpfwd = loaded(LONG_WORK);
    let called = Instant::now();
    mpfwd.signal(Signal::SIGINT);
    let outcome = mpfwd.finish();
    assert!(called.elapsed() >= DRAIN_LIMIT, "it had its time: {:?}", called.elapsed());
    let report = outcome.good_report();
    assert!(dropped(report, "shutdown") > 0 && count(report, "taken_pkts") > 10, "{report:#}");
}

fn has_hugepages() -> bool {
    let free = std::fs::read_to_string("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages")
        .unwrap_or_default();
    let mounted = std::fs::read_to_string("/proc/mounts")
        .is_ok_and(|mounts| mounts.contains(" /dev/hugepages hugetlbfs "));
    nix::unistd::geteuid().is_root() && mounted && free.trim().parse().unwrap_or(0) >= 128
}

/// During a run secondary processes need EAL's files; afterwards none is left,
/// unless the user asks for it.
#[test]
fn hugepages_are_given_back() {
    if !has_hugepages() {
        return skipped("needs hugepages and root");
    }
    for (eal, files) in [
        ("", true),
        ("--single-file-segments", true),
        ("--legacy-mem -m 128", true),
        ("--in-memory", false),
        ("--huge-unlink", false),
    ] {
        let mut mpfwd = start_with(
            Command::new(BINARY),
            &format!("{eal} {} {NULLS}", lcores(1)),
            "--stats-period 0.05",
        );
        mpfwd.wait_until_it_forwards();
        assert_eq!(!hugepage_files(mpfwd.prefix()).is_empty(), files, "{eal}");
        mpfwd.signal(Signal::SIGTERM);
        mpfwd.finish().good_report();
    }
    let outcome = start_with(
        Command::new(BINARY),
        &format!("--huge-unlink=never {} {NULLS}", lcores(1)),
        "--packets 100",
    )
    .finish();
    assert_eq!(outcome.status.code(), Some(0), "{}", outcome.stderr);
    assert!(!outcome.hugepage_files.is_empty(), "asked to keep them");
}

/// As a secondary process does, through its own open file.
#[test]
fn hugepages_that_another_process_uses_stay() {
    if !has_hugepages() {
        return skipped("needs hugepages and root");
    }
    let mut mpfwd =
        start_with(Command::new(BINARY), &format!("{} {NULLS}", lcores(1)), "--stats-period 0.05");
    mpfwd.wait_until_it_forwards();
    let used = hugepage_files(mpfwd.prefix()).pop().expect("there are some");
    let file = std::fs::File::open(&used).expect("it can be read");
    let lock = Flock::lock(file, FlockArg::LockShared).expect("it can be shared");
    mpfwd.signal(Signal::SIGTERM);
    let outcome = mpfwd.finish();
    assert_eq!(outcome.status.code(), Some(0), "{}", outcome.stderr);
    assert_eq!(outcome.hugepage_files, [used]);
    assert!(outcome.runtime_files.iter().any(|name| name == "config"), "by which it finds its way");
    drop(lock);
}

/// `mpfwd … 2>&1 | head -1` must not end a run half-way, nor must warnings.
#[test]
fn closed_output_does_not_end_the_run() {
    let prefix = common::Leftovers(file_prefix());
    let folder = tempfile::tempdir().expect("a folder");
    let report = folder.path().join("report.json");
    let line = format!(
        "{NO_HUGE} --no-pci --file-prefix {} {} {NULLS} -- --mbufs 512 --duration 0.5 --stats-period 0.05 --report {}",
        prefix.0,
        lcores(1),
        report.display()
    );
    let mut child = Command::new(BINARY)
        .args(words(&line))
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("it starts");
    drop((child.stdout.take(), child.stderr.take()));
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
    let report =
        serde_json::from_str(&std::fs::read_to_string(report).expect("the report")).expect("JSON");
    common::assert_books_balance(&report);
}

#[test]
fn two_instances_run_side_by_side() {
    let memory = if has_hugepages() { "" } else { NO_HUGE };
    let own = "--pools 1:1 --idle yield --stats-period 0.05 --work spin:expensive=20us,p=0.01";
    let both = [0, 1].map(|_| {
        let eal = format!("{memory} {} {NULLS}", lcores(2));
        let mut mpfwd = start_with(Command::new(BINARY), &eal, own);
        mpfwd.wait_until_it_forwards();
        mpfwd
    });
    let [mut first, mut second] = both;
    first.wait_until_it_forwards();
    second.wait_until_it_forwards();
    assert_ne!(first.prefix(), second.prefix());
    first.signal(Signal::SIGTERM);
    first.finish().good_report();
    assert!(second.is_running());
    second.wait_until_it_forwards();
    second.signal(Signal::SIGTERM);
    let outcome = second.finish();
    assert!(
        rows(outcome.good_report(), "lcores").iter().all(|row| count(row, "tx_pkts") > 0),
        "both of its lcores worked"
    );
}
