//! net_tap between the test's own network namespaces: a UDP echo across mpfwd,
//! and a link that goes down.

mod common;
mod namespaces;

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::{Outcome, count, dropped, lcores, rate, rows, start};
use namespaces::Taps;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

/// Sends each message until its echo arrives: a datagram may get lost during
/// address resolution.
fn echoes(client: &UdpSocket, message: &[u8]) -> bool {
    let mut buffer = [0; 2048];
    (0..50).any(|_| {
        client.send(message).is_ok()
            && matches!(client.recv(&mut buffer), Ok(len) if &buffer[..len] == message)
    })
}

fn udp_echo_across(taps: &Taps, eal: &str, own: &str) {
    let mpfwd = taps.start(eal, own);
    let server_at = (Taps::RIGHT, 7777);
    let server = taps.right.inside(|| UdpSocket::bind(server_at)).expect("the address is there");
    let client =
        taps.left.inside(|| UdpSocket::bind((Taps::LEFT, 0))).expect("the address is there");
    client.connect(server_at).expect("a route");
    for socket in [&server, &client] {
        socket.set_read_timeout(Some(Duration::from_millis(200))).expect("a timeout");
    }
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut buffer = [0; 2048];
            while !over.load(Ordering::Relaxed) {
                if let Ok((len, from)) = server.recv_from(&mut buffer) {
                    let _ = server.send_to(&buffer[..len], from);
                }
            }
        });
        let all = (0..200u32)
            .all(|number| echoes(&client, &number.to_be_bytes().repeat(1 + number as usize % 360)));
        over.store(true, Ordering::Relaxed);
        assert!(all, "{own}: no echo");
    });
    mpfwd.signal(Signal::SIGTERM);
    let outcome = mpfwd.finish();
    let report = outcome.good_report();
    assert!(count(report, "rx_pkts") >= 400, "{own}: there and back: {report:#}");
    assert_eq!(count(report, "shed_pkts") > 0, own.contains("--work"), "{own}: {report:#}");
}

#[test]
fn a_udp_echo_crosses_two_taps() {
    let Some(taps) = Taps::some() else { return };
    udp_echo_across(&taps, &lcores(1), "--mode rtc");
    udp_echo_across(&taps, &lcores(2), "--pools 1:1 --work spin:expensive=20us,p=0.5");
}

fn port<'r>(report: &'r Value, name: &str) -> &'r Value {
    rows(report, "ports").iter().find(|row| row["name"] == name).expect("all ports are reported")
}

/// The warnings about a port, each of which names a time.
fn about<'o>(outcome: &'o Outcome, name: &str) -> Vec<&'o str> {
    let is_about = |line: &&str| line.starts_with("mpfwd: warning: port ") && line.contains(name);
    outcome.stderr.lines().filter(is_about).filter(|line| line.contains(" at ")).collect()
}

#[test]
fn packets_for_a_link_that_is_down_are_counted_as_link_down() {
    let Some(Taps { between: here, .. }) = Taps::some() else { return };
    let eal = format!("{} --vdev net_tap0,iface=mpfwd_d --vdev net_null0", lcores(1));
    let mut mpfwd = here.inside(|| start(&eal, "--stats-period 0.1"));
    mpfwd.wait_until_it_forwards();
    here.ip("link set mpfwd_d down");
    mpfwd.wait_for_line(|line| rate(line, "dropped").is_some_and(|pps| pps > 0.0));
    for _ in 0..5 {
        mpfwd.wait_for_line(|line| rate(line, "dropped").is_some());
    }
    here.ip("link set mpfwd_d up");
    mpfwd.wait_for_line(|line| rate(line, "tx").is_some_and(|pps| pps > 0.0));
    mpfwd.signal(Signal::SIGTERM);
    let outcome = mpfwd.finish();
    let report = outcome.good_report();
    assert!(dropped(report, "link_down") > 0, "{report:#}");
    let tap = port(report, "net_tap0");
    let changes = rows(tap, "links");
    assert_eq!((count(tap, "link_changes"), changes.len()), (2, 2), "{tap:#}");
    assert_eq!([&changes[0]["up"], &changes[1]["up"]], [false, true], "{tap:#}");
    let down_ns = count(&changes[1], "at_ns") - count(&changes[0], "at_ns");
    assert!((200_000_000..60_000_000_000).contains(&down_ns), "two lines at least: {tap:#}");
    let [down, up] = about(&outcome, "net_tap0")[..] else { panic!("{}", outcome.stderr) };
    assert!(down.contains("link down at ") && up.contains("link up at "), "{down}, {up}");
    let printed = "port 0 (net_tap0): link changes 2, last up at ";
    assert!(outcome.stdout.iter().any(|line| line.starts_with(printed)), "{:#?}", outcome.stdout);
    assert_eq!(count(port(report, "net_null0"), "link_changes"), 0, "{report:#}");
}

/// The driver says that the link is down, and does not notice more.
#[test]
fn a_tap_that_is_deleted_costs_its_own_packets_only() {
    let Some(Taps { between: here, .. }) = Taps::some() else { return };
    let eal = format!(
        "{} --vdev net_tap0,iface=mpfwd_x --vdev net_null0 --vdev net_null1 --vdev net_null2",
        lcores(2)
    );
    let mut mpfwd = here.inside(|| start(&eal, "--stats-period 0.1 --pools 1:1 --idle yield"));
    mpfwd.wait_until_it_forwards();
    here.ip("link del mpfwd_x");
    mpfwd.wait_for_line(|line| rate(line, "dropped").is_some_and(|pps| pps > 0.0));
    let sends = |line: &str| rate(line, "tx").is_some_and(|pps| pps > 0.0);
    (0..5).for_each(|_| mpfwd.wait_for_line(sends));
    mpfwd.signal(Signal::SIGTERM);
    let outcome = mpfwd.finish();
    let report = outcome.good_report();
    assert!(dropped(report, "link_down") > 0, "{report:#}");
    let tap = port(report, "net_tap0");
    assert_eq!((count(tap, "link_changes"), &rows(tap, "links")[0]["up"]), (1, &json!(false)));
    assert_eq!(about(&outcome, "net_tap0").len(), 1, "{}", outcome.stderr);
}

/// The kernel shows it on its end of the tap.
#[test]
fn promiscuous_is_off_unless_requested() {
    let Some(Taps { between: here, .. }) = Taps::some() else { return };
    for (own, wanted) in [("", false), ("-P", true)] {
        let eal = format!("{} --vdev net_tap0,iface=mpfwd_p", lcores(1));
        let mut mpfwd = here.inside(|| start(&eal, own));
        mpfwd.wait_for_line(|line| line.trim_start().starts_with("lcore 0 "));
        let shown = here.ip_says("link show mpfwd_p");
        let flags = shown.split(['<', '>']).nth(1).unwrap_or_else(|| panic!("no flags in {shown}"));
        assert_eq!(flags.split(',').any(|flag| flag == "PROMISC"), wanted, "{own}: {shown}");
        mpfwd.signal(Signal::SIGTERM);
        let outcome = mpfwd.finish();
        outcome.good_report();
        assert!(!outcome.stderr.contains("promiscuous"), "{own}: {}", outcome.stderr);
    }
}
