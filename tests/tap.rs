//! net_tap between the test's own network namespaces: a UDP echo across mpfwd,
//! and a link that goes down.

mod common;
mod namespaces;

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::{count, dropped, lcores, rate, start};
use namespaces::Taps;
use nix::sys::signal::Signal;

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

#[test]
fn packets_for_a_link_that_is_down_are_counted_as_link_down() {
    let Some(Taps { between: here, .. }) = Taps::some() else { return };
    let eal = format!("{} --vdev net_tap0,iface=mpfwd_d --vdev net_null0", lcores(1));
    let mut mpfwd = here.inside(|| start(&eal, "--stats-period 0.1"));
    mpfwd.wait_until_it_forwards();
    here.ip("link set mpfwd_d down");
    mpfwd.wait_for_line(|line| rate(line, "dropped").is_some_and(|pps| pps > 0.0));
    // Control polls the links' state: drops until then count as tx_full.
    for _ in 0..20 {
        mpfwd.wait_for_line(|line| rate(line, "dropped").is_some());
    }
    here.ip("link set mpfwd_d up");
    mpfwd.wait_for_line(|line| rate(line, "tx").is_some_and(|pps| pps > 0.0));
    mpfwd.signal(Signal::SIGTERM);
    let outcome = mpfwd.finish();
    let report = outcome.good_report();
    assert!(dropped(report, "link_down") > 0, "{report:#}");
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
