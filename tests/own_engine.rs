//! The example of writing your own engine: it builds, forwards in every mode,
//! and works.

mod captures;
mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use captures::{read_capture, write_capture};
use common::{BINARY, NO_HUGE, Outcome, count, dropped, lcores, rows, start_with};

/// The built example; plain `cargo test` has built it.
fn example(name: &str) -> PathBuf {
    let path = Path::new(BINARY).with_file_name("examples").join(name);
    if !path.exists() {
        let built =
            Command::new(env!("CARGO")).args(["build", "--quiet", "--example", name]).status();
        assert!(built.is_ok_and(|status| status.success()), "the example {name} does not build");
    }
    path
}

fn run(name: &str, eal: &str, own: &str) -> Outcome {
    start_with(Command::new(example(name)), &format!("{NO_HUGE} {eal}"), own).finish()
}

/// Replays frames by one port of the example, and returns what it wrote.
fn through(name: &str, own: &str, sent: &[Vec<u8>]) -> (Outcome, Vec<Vec<u8>>) {
    let folder = tempfile::tempdir().expect("a folder");
    let [rx, tx] = ["in.pcap", "out.pcap"].map(|name| folder.path().join(name));
    write_capture(&rx, sent);
    let vdev = format!("--vdev net_pcap0,rx_pcap={},tx_pcap={}", rx.display(), tx.display());
    let own = format!("{own} --packets {} --duration 30", sent.len());
    let outcome = run(name, &format!("{} {vdev}", lcores(2)), &own);
    (outcome, read_capture(&tx))
}

#[test]
fn it_forwards_in_every_mode() {
    let two = format!("{} --vdev net_null0 --vdev net_null1", lcores(2));
    for own in [
        "--mode rtc",
        "--mode steal",
        "--mode shed-random",
        "--mode pools --pools 1:1",
        "--mode hybrid --pools 1:1",
    ] {
        let outcome = run("arp_guard", &two, &format!("{own} --idle yield --packets 100000"));
        let report = outcome.good_report();
        assert!(count(report, "tx_pkts") >= 100_000, "{own}");
        assert_eq!(report["forward_mode"], "arp_guard");
    }
}

/// An ARP packet in which this address claims the gateway's IP address.
fn claim(mac: [u8; 6]) -> Vec<u8> {
    let mut frame = [
        [0xff; 6].as_slice(),
        &mac,
        &[0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 2],
        &mac,
        &[10, 0, 0, 1],
    ]
    .concat();
    frame.resize(60, 0);
    frame
}

#[test]
fn it_drops_what_it_should() {
    let [good, bad] = [claim([2, 0, 0, 0, 0, 1]), claim([2, 0, 0, 0, 0, 66])];
    let plain = vec![0x45; 60];
    let sent = [good.clone(), bad.clone(), plain.clone(), bad];
    let (outcome, mut came) = through("arp_guard", "--mode pools --pools 1:1", &sent);
    let report = outcome.good_report();
    assert_eq!(dropped(report, "spoofed_gateway"), 2);
    assert_eq!(
        rows(report, "lcores").iter().map(|row| count(row, "expensive_pkts")).sum::<u64>(),
        1,
        "ARP only"
    );
    came.sort();
    let mut wanted = vec![good, plain];
    wanted.sort();
    assert!(came == wanted, "what it forwards is unchanged");
}

#[test]
fn its_own_arguments_are_read() {
    let frame = claim([2, 0, 0, 0, 0, 66]);
    let own = "--mode pools --pools 1:1 --gateway-mac 02:00:00:00:00:42";
    let (outcome, came) = through("arp_guard", own, std::slice::from_ref(&frame));
    assert_eq!(dropped(outcome.good_report(), "spoofed_gateway"), 0);
    assert_eq!(came, [frame]);
}

/// An IPv4 packet of UDP between two ports.
fn datagram(port: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    etherparse::PacketBuilder::ethernet2([2; 6], [4; 6])
        .ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
        .udp(port, 9)
        .write(&mut frame, payload)
        .expect("a vector takes all");
    frame
}

#[test]
fn a_limit_per_flow_holds_on_all_lcores() {
    let sent: Vec<_> = (0..300).map(|n| datagram(1000 + n % 3, &n.to_be_bytes())).collect();
    let (outcome, came) = through("flow_limit", "--mode steal --pkts 40", &sent);
    assert_eq!(dropped(outcome.good_report(), "over_limit"), 300 - 3 * 40);
    assert_eq!(came.len(), 120);
}

#[test]
fn work_that_is_given_up_continues_where_it_was() {
    let long: Vec<u8> = (0..1400u16).map(|n| n as u8).collect();
    // 0x906e is the checksum of the digits.
    let sent = [datagram(1, b"123456789"), datagram(2, b"12345678"), datagram(3, &long)];
    let own = "--mode pools --pools 1:1 --yield-after 1us --block 906e";
    let (outcome, came) = through("payload_sum", own, &sent);
    let report = outcome.good_report();
    assert_eq!(dropped(report, "blocked_sum"), 1);
    assert_eq!(came.len(), 2);
    let yielded: u64 = rows(report, "lcores").iter().map(|row| count(row, "yielded_pkts")).sum();
    assert!(yielded >= 1, "the long payload takes more than the budget");
}
