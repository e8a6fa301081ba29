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

fn run(eal: &str, own: &str) -> Outcome {
    start_with(Command::new(example("arp_guard")), &format!("{NO_HUGE} {eal}"), own).finish()
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
        let outcome = run(&two, &format!("{own} --idle yield --packets 100000"));
        let report = outcome.good_report();
        assert!(count(report, "tx_pkts") >= 100_000, "{own}");
        assert_eq!(report["forward_mode"], "own");
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
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str| folder.path().join(name);
    let [good, bad] = [claim([2, 0, 0, 0, 0, 1]), claim([2, 0, 0, 0, 0, 66])];
    let plain = vec![0x45; 60];
    write_capture(&file("in.pcap"), &[good.clone(), bad.clone(), plain.clone(), bad]);
    let vdev = format!(
        "--vdev net_pcap0,rx_pcap={},tx_pcap={}",
        file("in.pcap").display(),
        file("out.pcap").display()
    );
    let outcome =
        run(&format!("{} {vdev}", lcores(2)), "--mode pools --pools 1:1 --packets 4 --duration 30");
    let report = outcome.good_report();
    assert_eq!(dropped(report, "denied"), 2);
    assert_eq!(
        rows(report, "lcores").iter().map(|row| count(row, "expensive_pkts")).sum::<u64>(),
        1,
        "ARP only"
    );
    let mut came = read_capture(&file("out.pcap"));
    came.sort();
    let mut wanted = vec![good, plain];
    wanted.sort();
    assert!(came == wanted, "what it forwards is unchanged");
}
