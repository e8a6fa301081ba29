//! Open-loop traffic end to end: due packets are received, late or missed, and
//! never wait for the application.

mod common;

use std::path::PathBuf;

use common::{Outcome, assert_books_balance, count, lcores, rows, run, start};
use nix::sys::signal::Signal;
use serde_json::Value;

const QUIET: &str = "--vdev net_null0,no-rx=1";

fn eal(lcore_count: usize) -> String {
    format!("{} {QUIET}", lcores(lcore_count))
}

fn number(row: &Value, key: &str) -> f64 {
    row[key].as_f64().unwrap_or_else(|| panic!("no number {key} in {row}"))
}

/// The source's part of a report, checked to add up.
#[track_caller]
fn source(report: &Value) -> &Value {
    assert_books_balance(report);
    let source = &report["source"];
    for row in rows(source, "queues").iter().chain([source]) {
        let ends =
            ["received_pkts", "missed_pkts", "nombuf_pkts", "left_pkts"].map(|key| count(row, key));
        assert_eq!(ends.iter().sum::<u64>(), count(row, "offered_pkts"), "{row:#}");
    }
    assert_eq!(
        count(source, "received_pkts"),
        count(report, "rx_pkts"),
        "only the source brings packets"
    );
    let device = |key: &str| {
        rows(report, "ports").iter().map(|port| count(&port["device"], key)).sum::<u64>()
    };
    assert_eq!(count(source, "missed_pkts"), device("imissed"));
    assert_eq!(count(source, "nombuf_pkts"), device("rx_nombuf"));
    source
}

/// The offered rate is the requested one, within five standard deviations of
/// Poisson's.
#[track_caller]
fn assert_offered(source: &Value) {
    for row in rows(source, "queues") {
        let expected = number(row, "asked_mpps") * 1e6 * number(row, "polled_s");
        let offered = count(row, "offered_pkts") as f64;
        assert!(
            (offered - expected).abs() <= 5.0 * expected.sqrt() + 5.0,
            "{offered} instead of {expected}: {source:#}"
        );
    }
}

#[test]
fn the_requested_rate_is_offered_on_every_queue() {
    let outcome = run(
        &eal(2),
        "--duration 1 --stats-period 0.5 --source open-loop:rate=50k,skew=3:1,flows=64,size=128",
    );
    let report = outcome.good_report();
    let source = source(report);
    assert_offered(source);
    let asked: Vec<f64> =
        rows(source, "queues").iter().map(|row| number(row, "asked_mpps")).collect();
    assert_eq!(asked, [0.0375, 0.0125]);
    assert!(report["latency"]["clock"].as_str().unwrap().starts_with("open-loop"));
    assert!(number(source, "pkt_ns") > 0.0);
    assert!(
        outcome.stdout.iter().any(|line| line.contains("50000 packets/s")),
        "{:#?}",
        outcome.stdout
    );
    assert!(
        outcome.stdout.iter().any(|line| line.starts_with("  stamps   open-loop")),
        "{:#?}",
        outcome.stdout
    );
    assert!(
        outcome.stdout.iter().any(|line| line.contains("sent by lcore")),
        "two have: {:#?}",
        outcome.stdout
    );
    assert!(
        outcome.stdout.iter().any(|line| line.contains("  p99 ") && line.contains("s  rx ")),
        "{:#?}",
        outcome.stdout
    );
}

/// Packets burn the cost that the source drew for them, in both pools, and
/// count under the class it gave them.
#[test]
fn costs_are_drawn_by_the_source() {
    let work = "--work spin:dist=exponential,mean=20us,threshold=40us";
    let outcome = run(
        &eal(2),
        &format!(
            "--mode pools --pools 1:1 --idle yield --packets 10000 --source open-loop:load=0.1 {work}"
        ),
    );
    let source = source(outcome.good_report());
    assert_eq!(number(source, "asked_mpps"), 0.01);
    let expensive = rows(outcome.good_report(), "lcores")
        .iter()
        .map(|row| count(row, "expensive_pkts"))
        .sum::<u64>() as f64;
    let received = count(source, "received_pkts") as f64;
    let share = expensive / received;
    // e^-2 of all; a packet that never leaves does not show its class.
    assert!((share - 0.135).abs() < 5.0 * (0.135 * 0.865 / received).sqrt(), "{share}");
}

/// In one flow cheap packets wait for the expensive one before them: a part of
/// their latency, of the measured ones.
#[test]
fn the_order_wait_is_a_part_of_latency() {
    let work = "--work spin:cheap=1us,expensive=4ms,p=0.001";
    for mode in ["--mode pools", ""] {
        let own =
            format!("{mode} --pools 1:1 --duration 1.5 --source open-loop:rate=50k,flows=1 {work}");
        let outcome = run(&eal(2), &own);
        let report = outcome.good_report();
        let parts = &report["latency"]["parts"]["cheap"];
        assert!(count(&report["order"], "parked_pkts") > 100, "{own}: {report:#}");
        let waited = &parts["order_wait"];
        assert!(
            count(waited, "pkts") > 0 && count(waited, "max_ns") >= 1_000_000,
            "{own}: {parts:#}"
        );
        assert!(
            count(&report["latency"]["cheap"], "max_ns") * 11 / 10 >= count(waited, "max_ns"),
            "{own}: {:#}",
            report["latency"]
        );
        assert!(
            outcome.stdout.iter().any(|line| line.contains("cheap order wait")),
            "{own}: {:#?}",
            outcome.stdout
        );
    }
}

/// A packet that the cheap stage hands over half-way is in the parts of the
/// class that it ends in, and in no other.
#[test]
fn parts_count_each_packet_once() {
    let work = "--work spin:cheap=1us,expensive=300us,p=0.05,known=no --yield-after 20us";
    for mode in ["--mode pools", ""] {
        let own = format!("{mode} --pools 1:1 --duration 1 --source open-loop:rate=10k {work}");
        let outcome = run(&eal(2), &own);
        let report = outcome.good_report();
        let yielded: u64 =
            rows(report, "lcores").iter().map(|row| count(row, "yielded_pkts")).sum();
        assert!(yielded > 50, "{own}: {report:#}");
        let latency = &report["latency"];
        for class in ["cheap", "expensive"] {
            let (row, parts) = (&latency[class], &latency["parts"][class]);
            assert_eq!(
                count(&parts["nic_wait"], "pkts"),
                count(row, "pkts"),
                "{own}: {class}: {latency:#}"
            );
            assert_eq!(
                count(&parts["queue_wait"], "pkts"),
                count(&parts["service"], "pkts"),
                "{own}: {class}: {latency:#}"
            );
        }
        assert!(
            count(&latency["parts"]["expensive"]["queue_wait"], "p50_ns") >= 10_000,
            "{own}: begun elsewhere: {latency:#}"
        );
    }
}

/// Stops the whole process for `stall_ms`, as a host does.
fn stalled(own: &str, stall_ms: u64) -> Outcome {
    let mut running = start(&eal(1), &format!("{own} --duration 3 --stats-period 0.1"));
    running.wait_until_it_forwards();
    std::thread::sleep(std::time::Duration::from_millis(500));
    running.signal(Signal::SIGSTOP);
    std::thread::sleep(std::time::Duration::from_millis(stall_ms));
    running.signal(Signal::SIGCONT);
    running.finish()
}

/// Packets stay due while no lcore polls: they come late, and their latency
/// says by how much. A generator that waits for the application would show one
/// late packet.
#[test]
fn a_stall_makes_all_packets_late_that_were_due() {
    let outcome = stalled("--source open-loop:rate=20k,arrivals=fixed --rxd 8192", 200);
    let report = outcome.good_report();
    assert_eq!(count(source(report), "missed_pkts"), 0);
    let cheap = &report["latency"]["cheap"];
    assert!((200_000_000..2_000_000_000).contains(&count(cheap, "max_ns")), "{cheap}");
    // 200 of 3000 ms are 6.7 % of the packets; half of these waited for more
    // than 100 ms.
    assert!(count(cheap, "p99_ns") > 150_000_000, "{cheap}");
    assert!(
        count(&report["host_gaps"], "gap_max_ns") >= 190_000_000,
        "the lcore noticed it: {}",
        report["host_gaps"]
    );
}

/// An lcore that polls, one that waits for work, one that looks around: each
/// notices that it was stopped.
#[test]
fn each_lcore_notices_host_gaps() {
    for mode in ["--mode pools --pools 1:1", "--mode steal", "--pools 1:1", "--mode shed-random"] {
        let mut running = start(
            &eal(2),
            &format!("{mode} --source open-loop:rate=100 --duration 2 --stats-period 0.1"),
        );
        running.wait_until_it_forwards();
        // Some may fall into an lcore's work.
        for _ in 0..4 {
            running.signal(Signal::SIGSTOP);
            std::thread::sleep(std::time::Duration::from_millis(100));
            running.signal(Signal::SIGCONT);
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        let outcome = running.finish();
        for lcore in rows(outcome.good_report(), "lcores") {
            let gaps = &lcore["host_gaps"];
            assert!(
                (95_000_000..3_000_000_000).contains(&count(gaps, "gap_max_ns")),
                "{mode}: {lcore:#}"
            );
            assert!(count(gaps, "gap_ns") < 2_000_000_000, "{mode}: {lcore:#}");
        }
    }
}

/// One packet of ten thousand takes 100 ms, in which 2,000 are due: one in ten
/// of all waits for more than half of that, and one in a hundred for more than
/// 95 ms. If packets waited for the application, one would be late.
#[test]
fn a_packet_of_100_ms_makes_2000_late() {
    const PKTS: usize = 10_000;
    let folder = tempfile::tempdir().expect("a folder");
    let trace: PathBuf = folder.path().join("trace");
    let cost_ns = |at: usize| if at == PKTS / 2 { "100000000\n" } else { "1\n" };
    std::fs::write(&trace, (0..PKTS).map(cost_ns).collect::<String>()).expect("a file");
    let own = format!(
        "--mode rtc --rxd 4096 --source open-loop:rate=20k,arrivals=fixed --work spin:dist=trace,file={}",
        trace.display()
    );
    let outcome = run(&eal(1), &format!("{own} --packets {PKTS}"));
    let report = outcome.good_report();
    assert_eq!(count(source(report), "missed_pkts"), 0);
    let latency = &report["latency"];
    let (cheap, expensive) = (&latency["cheap"], &latency["expensive"]);
    assert_eq!(count(expensive, "pkts"), 1, "{latency:#}");
    let ms = |row: &Value, key: &str| number(row, key) / 1e6;
    assert!(ms(cheap, "p50_ns") < 10.0, "most were not behind it: {latency:#}");
    assert!(
        (45.0..70.0).contains(&ms(cheap, "p90_ns")),
        "a thousand waited for more than 50 ms: {latency:#}"
    );
    assert!(
        (94.0..120.0).contains(&ms(cheap, "p99_ns")),
        "a hundred waited for more than 95 ms: {latency:#}"
    );
    let service = &latency["parts"]["expensive"]["service"];
    assert!(count(service, "pkts") == 1 && ms(service, "max_ns") >= 99.0, "{latency:#}");
}

#[test]
fn packets_beyond_the_ring_are_missed() {
    let outcome = stalled("--source open-loop:rate=20k,arrivals=fixed --rxd 64", 200);
    let report = outcome.good_report();
    let missed = count(source(report), "missed_pkts");
    // 4000 were due; 64 found room. The machine may have stalled it at other
    // times too.
    assert!((3_900..20_000).contains(&missed), "{missed}");
    assert!(
        outcome
            .stdout
            .iter()
            .any(|line| line.starts_with("warning:") && line.contains("queue full"))
    );
}

/// A pool that is too small for the packets in flight loses packets as a NIC
/// does, and counts them.
#[test]
fn a_pool_without_buffers_loses_packets_and_counts_them() {
    let work = "--order none --work spin:cheap=0ns,expensive=50ms,p=0.2";
    let outcome = run(
        &eal(2),
        &format!(
            "--mode pools --pools 1:1 --mbufs 64 --burst 8 --ring-size 256 --duration 1 --source open-loop:rate=20k {work}"
        ),
    );
    let report = outcome.report.as_ref().expect("a report");
    assert!(count(source(report), "nombuf_pkts") > 0, "{report:#}");
}

#[test]
fn unreachable_rates_are_reported() {
    let outcome = run(&eal(1), "--duration 1 --source open-loop:rate=9G");
    let source = source(outcome.good_report());
    assert!(
        number(source, "offered_mpps") < 4500.0 && count(&source["queues"][0], "behind_ns") > 0,
        "{source:#}"
    );
    assert!(
        outcome.stdout.iter().any(|line| line
            .starts_with("warning: the source could not keep up: asked for 9000.000 Mpps")),
        "{:#?}",
        outcome.stdout
    );
}

#[track_caller]
fn assert_refused(eal: &str, own: &str, says: &str) {
    let outcome = run(eal, &format!("--duration 1 {own}"));
    assert_eq!(outcome.status.code(), Some(2), "{own}: {}", outcome.stderr);
    let errors = outcome.errors();
    assert!(
        errors.len() == 1 && errors[0].contains(says),
        "{own}: one line that says {says:?}, not:\n{}",
        outcome.stderr
    );
}

#[test]
fn nonsense_is_refused_in_one_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let trace: PathBuf = folder.path().join("trace");
    std::fs::write(&trace, "100\n\n200\n").expect("a file");
    let quiet = eal(1);
    for (own, says) in [
        ("--source open-loop:load=0.5", "--work"),
        (
            "--source open-loop:rate=1M,size=1514 --max-pkt-len 1000",
            "longer than --max-pkt-len 1000",
        ),
        ("--source open-loop:rate=1M,skew=1:2", "one per queue"),
        ("--work spin:dist=fixed,mean=1us", "--source"),
        (
            "--source open-loop:rate=1M --timestamps software",
            "--timestamps software: the packets of a --source",
        ),
        (
            "--source open-loop:rate=1M --work spin:cheap=1us,expensive=2us,mark=hash",
            "leave out mark",
        ),
    ] {
        assert_refused(&quiet, own, says);
    }
    assert_refused(
        &quiet,
        &format!("--source open-loop:load=0.5 --work spin:dist=trace,file={}", trace.display()),
        "trace:2: an empty line",
    );
    assert_refused(
        &format!("{} --vdev net_null0", lcores(1)),
        "--source open-loop:rate=1M",
        "no-rx=1",
    );
    let ring = format!("{} --vdev net_ring0", lcores(1));
    assert_refused(&ring, "--source open-loop:rate=1M", "net_ring");
}
