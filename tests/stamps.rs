//! Drivers' stamps end to end: net_pcap stamps with the kernel's arrival time
//! on an interface, and with the capture's from a file.

mod common;
mod namespaces;

use std::fs::File;
use std::net::UdpSocket;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use common::{BINARY, NO_HUGE, Outcome, Running, count, lcores, run, start_with};
use namespaces::Namespace;
use nix::sys::signal::Signal;
use pcap_file::pcap::{PcapHeader, PcapPacket, PcapWriter};
use serde_json::Value;

const PKTS: usize = 200;
const STALL: Duration = Duration::from_millis(300);

/// mpfwd on one end of a veth, and a socket on the other.
fn on_a_veth(here: &Namespace, command: Command, own: &str) -> (Running, UdpSocket) {
    here.ip("link add mpfwd_a type veth peer name mpfwd_b");
    for line in [
        "link set mpfwd_a up",
        "link set mpfwd_b up",
        "addr add 10.78.0.1/24 dev mpfwd_b",
        "neigh add 10.78.0.2 lladdr 02:00:00:00:00:02 dev mpfwd_b",
    ] {
        here.ip(line);
    }
    // Only received frames: libpcap also shows sent ones.
    let eal =
        format!("{NO_HUGE} {} --vdev net_pcap0,rx_iface_in=mpfwd_a,tx_iface=mpfwd_a", lcores(1));
    let mut mpfwd = here
        .inside(|| start_with(command, &eal, &format!("--stats-period 0.1 --idle yield {own}")));
    let socket = here.inside(|| UdpSocket::bind("10.78.0.1:0")).expect("the address is there");
    // The interface was opened before, so the kernel's own frames have arrived
    // by then.
    mpfwd.wait_for_line(|line| line.contains(" s  rx "));
    mpfwd.lines_for(Duration::from_millis(300));
    (mpfwd, socket)
}

fn send(socket: &UdpSocket) {
    for _ in 0..PKTS {
        socket.send_to(&[0x55; 64], "10.78.0.2:9").expect("a route");
    }
}

/// Sends packets to an mpfwd on a veth's other end while it is stopped, and
/// continues it after `STALL`.
fn stopped_while_packets_come(here: &Namespace, own: &str) -> Outcome {
    let (mut mpfwd, socket) = on_a_veth(here, Command::new(BINARY), own);
    mpfwd.signal(Signal::SIGSTOP);
    send(&socket);
    std::thread::sleep(STALL);
    mpfwd.signal(Signal::SIGCONT);
    mpfwd.lines_for(Duration::from_millis(500));
    mpfwd.signal(Signal::SIGTERM);
    let outcome = mpfwd.finish();
    here.ip("link del mpfwd_a");
    assert!(count(outcome.good_report(), "rx_pkts") >= PKTS as u64, "{:#}", outcome.good_report());
    outcome
}

/// The wait before the poll tells the kernel's stamps from polls.
#[test]
fn arrival_times_of_the_kernel_show_the_wait_before_the_poll() {
    let Some([here]) = Namespace::some() else { return };
    for own in
        ["--timestamps nic", "", "--mode steal --work spin:cheap=1us,expensive=2us,p=0.1,known=no"]
    {
        let outcome = stopped_while_packets_come(&here, own);
        let latency = &outcome.good_report()["latency"];
        assert_eq!(
            (latency["source"].as_str(), latency["off"].as_str()),
            (Some("nic"), None),
            "{own}: {latency:#}"
        );
        let p50_ns = count(&latency["cheap"], "p50_ns");
        assert!(
            (STALL.as_nanos() as u64..5_000_000_000).contains(&p50_ns),
            "{own}: nearly all packets waited: {latency:#}"
        );
        assert!(count(latency, "error_ns") < 1_000_000, "{own}: {latency:#}");
        let waited = &latency["parts"]["cheap"]["nic_wait"];
        assert!(count(waited, "max_ns") >= STALL.as_nanos() as u64 / 10 * 9, "{own}: {latency:#}");
        assert!(
            outcome.stdout.iter().any(|line| line.contains("stamps   nic, port 0 net_pcap")),
            "{:#?}",
            outcome.stdout
        );
    }
}

/// The kernel's clock as a process sees it, stepped by `STEP` seconds as soon
/// as a file exists.
const STEPPING_CLOCK: &str = r#"
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *at)
{
    long code = syscall(SYS_clock_gettime, clock, at);
    if (code == 0 && clock == CLOCK_REALTIME && access(getenv("STEPS_WITH"), F_OK) == 0)
        at->tv_sec += atoi(getenv("STEP"));
    return (int)code;
}
"#;

/// mpfwd with that clock.
fn with_stepping_clock(folder: &Path, steps_with: &Path, step_s: i32) -> Command {
    let [source, library] = ["clock.c", "clock.so"].map(|name| folder.join(name));
    std::fs::write(&source, STEPPING_CLOCK).expect("a file");
    let built =
        Command::new("cc").args(["-shared", "-fPIC", "-o"]).args([&library, &source]).status();
    assert!(built.is_ok_and(|status| status.success()), "DPDK's bindings need a C compiler too");
    let mut command = Command::new(BINARY);
    command
        .env("LD_PRELOAD", library)
        .env("STEPS_WITH", steps_with)
        .env("STEP", step_s.to_string());
    command
}

/// A process whose clock is not that of the stamps, from the start.
#[test]
fn stamps_of_another_clock_are_refused() {
    let Some([here]) = Namespace::some() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    for (step_s, says) in [(60, "in the past"), (-60, "in the future")] {
        for (own, source) in [("", "software"), ("--timestamps nic", "nic")] {
            let (mut mpfwd, socket) =
                on_a_veth(&here, with_stepping_clock(folder.path(), folder.path(), step_s), own);
            send(&socket);
            mpfwd.lines_for(Duration::from_millis(500));
            mpfwd.signal(Signal::SIGTERM);
            let outcome = mpfwd.finish();
            here.ip("link del mpfwd_a");
            let report = outcome.good_report();
            let latency = &report["latency"];
            let why = if source == "nic" { &latency["off"] } else { &latency["bound"] };
            assert!(
                latency["source"] == source && why.as_str().is_some_and(|why| why.contains(says)),
                "{own}: {latency:#}"
            );
            let counted = if source == "nic" { 0 } else { count(report, "tx_pkts") };
            assert_eq!(count(&latency["cheap"], "pkts"), counted, "{own}: {latency:#}");
            assert!(
                warns(
                    &outcome,
                    if source == "nic" { "no longer counted" } else { "counted from polls" }
                ),
                "{own}: {}",
                outcome.stderr
            );
        }
    }
}

#[test]
fn a_clock_that_steps_ends_latency_but_not_forwarding() {
    let Some([here]) = Namespace::some() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let steps_with = folder.path().join("now");
    for own in ["--timestamps nic", ""] {
        let (mut mpfwd, socket) =
            on_a_veth(&here, with_stepping_clock(folder.path(), &steps_with, -3), own);
        send(&socket);
        mpfwd.lines_for(Duration::from_millis(500));
        File::create(&steps_with).expect("a file");
        mpfwd.lines_for(Duration::from_millis(500));
        send(&socket);
        mpfwd.lines_for(Duration::from_millis(500));
        mpfwd.signal(Signal::SIGTERM);
        let outcome = mpfwd.finish();
        here.ip("link del mpfwd_a");
        std::fs::remove_file(&steps_with).expect("it is there");
        let report = outcome.good_report();
        let latency = &report["latency"];
        assert!(
            latency["off"]
                .as_str()
                .is_some_and(|why| why.contains("a clock that went back by 3.00 s")),
            "{own}: {latency:#}"
        );
        let counted = count(&latency["cheap"], "pkts");
        assert!(
            (PKTS as u64..2 * PKTS as u64).contains(&counted) && latency["source"] == "nic",
            "{own}: {latency:#}"
        );
        assert!(count(report, "tx_pkts") >= 2 * PKTS as u64, "{own}: packets go on: {report:#}");
        assert!(warns(&outcome, "no longer counted"), "{own}: {}", outcome.stderr);
    }
}

#[test]
fn emulated_stamps_are_used_as_a_nics() {
    for own in [
        "--mode rtc --forward-mode macswap",
        "--pools 1:1 --work spin:cheap=1us,expensive=20us,p=0.01",
    ] {
        let outcome = run(
            &format!("{} --vdev net_null0", lcores(2)),
            &format!("--emulate-stamps --packets 200000 --idle yield {own}"),
        );
        let latency = &outcome.good_report()["latency"];
        assert_eq!(
            (latency["source"].as_str(), latency["off"].as_str()),
            (Some("emulated"), None),
            "{own}: {latency:#}"
        );
        assert!(
            latency["error_ns"].is_u64()
                && count(&latency["parts"]["cheap"]["nic_wait"], "pkts") > 0,
            "{own}: {latency:#}"
        );
        let pkts: u64 =
            ["cheap", "expensive"].iter().map(|class| count(&latency[class], "pkts")).sum();
        assert_eq!(pkts, count(outcome.good_report(), "tx_pkts"), "{own}: {latency:#}");
        // Arrived after the poll before: older than a poll can be.
        assert!(
            count(&latency["cheap"], "p50_ns")
                >= count(&latency["parts"]["cheap"]["nic_wait"], "p50_ns") / 2,
            "{own}: {latency:#}"
        );
    }
}

#[test]
fn polls_hide_the_wait_but_bound_it() {
    let Some([here]) = Namespace::some() else { return };
    // Many bursts, for some to be measured.
    let outcome = stopped_while_packets_come(&here, "--timestamps software --burst 1");
    let latency = &outcome.good_report()["latency"];
    assert_eq!(latency["source"], "software");
    assert!(
        latency["parts"]["cheap"]["nic_wait"].is_null() && latency["error_ns"].is_null(),
        "{latency:#}"
    );
    assert!(count(&latency["cheap"], "p50_ns") < STALL.as_nanos() as u64 / 2, "{latency:#}");
    assert!(count(&latency["unseen_wait"], "max_ns") >= STALL.as_nanos() as u64, "{latency:#}");
    let (least, most) = (&latency["at_least"], &latency["at_most"]);
    assert!(count(least, "pkts") > 0 && count(least, "pkts") == count(most, "pkts"), "{latency:#}");
    assert!(
        count(most, "max_ns") >= STALL.as_nanos() as u64
            && count(least, "p50_ns") < STALL.as_nanos() as u64 / 2,
        "{latency:#}"
    );
    assert!(
        outcome.stdout.iter().any(|line| line.contains("upper bound, from the poll before")),
        "{:#?}",
        outcome.stdout
    );
    let bound = latency["bound"].as_str().expect("a string");
    assert!(
        bound.contains("excludes the wait in the RX ring, at most")
            && bound.contains("up to a burst late"),
        "{bound}"
    );
}

/// A capture whose packets were taken at these times, in seconds from now, each
/// so often.
fn capture(path: &Path, from_now_s: &[i64]) {
    let header = PcapHeader { snaplen: 65535, ..PcapHeader::default() };
    let mut writer = PcapWriter::with_header(File::create(path).expect("a new file"), header)
        .expect("a capture's header");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    for at in 0..PKTS {
        let from_now_s = from_now_s[at * from_now_s.len() / PKTS];
        let taken = if from_now_s < 0 {
            now - Duration::from_secs(-from_now_s as u64)
        } else {
            now + Duration::from_secs(from_now_s as u64)
        };
        // Different bytes, for a hash to tell them apart.
        let bytes = [[0x55; 56].as_slice(), &(at as u32).to_be_bytes()].concat();
        let packet = PcapPacket::new(taken + Duration::from_micros(at as u64), 60, &bytes);
        writer.write_packet(&packet).expect("a packet");
    }
}

fn from_capture(from_now_s: &[i64], own: &str) -> Outcome {
    from_capture_as(from_now_s, "", &format!("--packets {PKTS} {own}"))
}

/// `how`: more arguments of the device.
fn from_capture_as(from_now_s: &[i64], how: &str, own: &str) -> Outcome {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("in.pcap");
    capture(&file, from_now_s);
    let eal = format!(
        "{} --vdev net_pcap0,rx_pcap={},tx_pcap={}{how}",
        lcores(2),
        file.display(),
        folder.path().join("out.pcap").display()
    );
    run(&eal, &format!("--duration 30 --idle yield {own}"))
}

fn warns(outcome: &Outcome, of: &str) -> bool {
    outcome
        .stderr
        .lines()
        .any(|line| line.starts_with("mpfwd: warning: latency") && line.contains(of))
}

#[test]
fn stamps_of_a_capture_are_refused() {
    for (age_s, mode) in [
        (2, "--mode rtc"),
        (60, "--mode rtc"),
        (500_000_000, "--pools 1:1 --work spin:expensive=10us,p=0.5"),
    ] {
        let outcome = from_capture(&[-age_s], mode);
        let latency = &outcome.good_report()["latency"];
        assert_eq!(
            (latency["source"].as_str(), latency["off"].as_str()),
            (Some("software"), None),
            "{mode}: {latency:#}"
        );
        let bound = latency["bound"].as_str().expect("a string");
        assert!(bound.contains("port 0 (net_pcap) replays a capture"), "{mode}: {bound}");
        assert!(
            outcome.stdout.iter().any(
                |line| line.contains("stamps   software") && line.contains("replays a capture")
            ),
            "{mode}"
        );
        if age_s == 2 {
            continue;
        }

        let outcome = from_capture(&[-age_s], &format!("{mode} --timestamps nic"));
        let latency: &Value = &outcome.good_report()["latency"];
        let counted = count(&latency["cheap"], "pkts") + count(&latency["expensive"], "pkts");
        assert_eq!((latency["source"].as_str(), counted), (Some("nic"), 0), "{mode}: {latency:#}");
        assert!(
            latency["off"].as_str().is_some_and(|why| why.contains("in the past")),
            "{mode}: {latency:#}"
        );
        assert!(warns(&outcome, "no longer counted"), "{mode}: {}", outcome.stderr);
        assert!(
            outcome.stderr.contains("--timestamps nic: port 0 (net_pcap) replays a capture"),
            "{mode}: {}",
            outcome.stderr
        );
    }
}

/// By its stamps a capture of just now cannot be told from arriving packets,
/// which shows that stamps count in every mode and for every class.
#[test]
fn stamps_of_just_now_count_whoever_serves_the_packet() {
    for mode in [
        "--mode rtc",
        "--mode steal",
        "--mode shed-random",
        "--mode pools --pools 1:1",
        "--pools 1:1",
    ] {
        for known in ["yes", "no"] {
            let own = format!(
                "{mode} --timestamps nic --work spin:cheap=1us,expensive=20us,p=0.5,mark=hash,known={known}"
            );
            let outcome = from_capture(&[-2], &own);
            let latency = &outcome.good_report()["latency"];
            assert_eq!(
                (latency["source"].as_str(), latency["off"].as_str()),
                (Some("nic"), None),
                "{own}: {latency:#}"
            );
            let second = 1_000_000_000;
            for class in ["cheap", "expensive"]
                .into_iter()
                .filter(|class| count(&latency[class], "pkts") > 0)
            {
                let (row, parts) = (&latency[class], &latency["parts"][class]);
                assert!(count(row, "p50_ns") > 2 * second, "{own}: {latency:#}");
                assert_eq!(
                    count(&parts["nic_wait"], "pkts"),
                    count(row, "pkts"),
                    "{own}: {latency:#}"
                );
                assert!(count(&parts["nic_wait"], "p50_ns") > 2 * second, "{own}: {latency:#}");
                assert!(
                    count(&parts["queue_wait"], "max_ns") < 2 * second,
                    "{own}: they waited before, not here: {latency:#}"
                );
            }
        }
    }
}

/// Nobody can tell which stamps were right: latency is off, and forwarding
/// continues.
#[test]
fn stamps_that_go_back_end_latency_but_not_forwarding() {
    for own in
        ["--mode rtc", "--mode rtc --burst 1", "--pools 1:1 --work spin:expensive=10us,p=0.5"]
    {
        let outcome = from_capture(&[-2, -4], &format!("{own} --timestamps nic"));
        let report = outcome.good_report();
        let latency = &report["latency"];
        assert_eq!(count(report, "tx_pkts"), PKTS as u64, "{own}");
        assert!(
            latency["off"]
                .as_str()
                .is_some_and(|why| why.contains("older than that of the packet before")),
            "{own}: {latency:#}"
        );
        let counted = count(&latency["cheap"], "pkts") + count(&latency["expensive"], "pkts");
        assert!(counted <= PKTS as u64 / 2 && latency["source"] == "nic", "{own}: {latency:#}");
        assert!(warns(&outcome, "no longer counted"), "{own}: {}", outcome.stderr);
    }
}

#[test]
fn stamps_of_the_future_are_refused() {
    let outcome = from_capture(&[60], "--mode rtc --timestamps nic");
    let latency = &outcome.good_report()["latency"];
    assert!(
        latency["off"].as_str().is_some_and(|why| why.contains("in the future")),
        "{latency:#}"
    );
}

/// net_pcap does not stamp when it replays a capture repeatedly, although the
/// driver stamps.
#[test]
fn packets_without_a_stamp_are_noticed() {
    let outcome =
        from_capture_as(&[-2], ",infinite_rx=1", "--packets 10000 --mode rtc --timestamps nic");
    let latency = &outcome.good_report()["latency"];
    assert_eq!(latency["source"], "nic");
    assert!(
        latency["off"].as_str().is_some_and(|why| why.contains("a packet without a stamp")),
        "{latency:#}"
    );
}

#[test]
fn the_start_reports_that_no_driver_stamps() {
    let outcome = run(&format!("{} --vdev net_null0", lcores(1)), "--packets 10000");
    assert_eq!(outcome.good_report()["latency"]["source"], "software");
    let is_it = |line: &String| {
        line.contains("stamps   software")
            && line.contains("port 0 (net_null) does not stamp packets")
    };
    assert!(outcome.stdout.iter().any(is_it), "{:#?}", outcome.stdout);
}
