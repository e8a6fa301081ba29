//! A port that accepts nothing, for good or for a while: which packets are
//! kept, and which are dropped, and that both are counted.

mod common;
mod lab;

use std::sync::atomic::{AtomicBool, Ordering};

use common::{as_json, assert_books_balance, count, dropped};
use lab::Lab;
use mpfwd::dpdk::{BURST_MAX, Burst, Mbuf, RxTxRing};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Entries of the rings; DPDK keeps one of them free.
const RING_SIZE: u32 = 64;

const MODES: [&str; 4] = [
    "--mode rtc",
    "--pools 1:1",
    "--pools 1:1 --work spin:p=1",
    "--pools 1:1 --work spin:p=1 --order none",
];

fn numbered(lab: &Lab, pkts: u32) -> Vec<Mbuf> {
    (0..pkts)
        .map(|number| lab.packet(&[&[[0; 60].as_slice(), &number.to_be_bytes()].concat()]))
        .collect()
}

fn number(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes[60..].try_into().expect("four bytes"))
}

/// Injects the packets one by one, unless the run ends meanwhile.
fn put(source: &mut RxTxRing, packets: Vec<Mbuf>, over: &AtomicBool) {
    let mut one = Burst::new();
    for packet in packets {
        one.push(packet);
        while source.inject(&mut one) == 0 {
            if over.load(Ordering::Acquire) {
                return;
            }
            std::thread::yield_now();
        }
    }
}

/// Nobody empties the ring: what it holds is sent, the rest is dropped as
/// tx_full.
fn full_for_good(lab: &mut Lab, own: &str) {
    const PKTS: u32 = 3000;
    let mut wires = lab.wires(RING_SIZE);
    let packets = numbered(lab, PKTS);
    let (report, ()) =
        lab.run(&format!("--packets {PKTS} {own}"), &mut wires, |[source, _], over| {
            put(source, packets, over)
        });
    let report = as_json(&report);
    assert_books_balance(&report);
    assert_eq!(count(&report, "rx_pkts"), u64::from(PKTS), "{own}");
    assert_eq!(count(&report, "tx_pkts"), u64::from(RING_SIZE) - 1, "{own}: what the ring holds");
    assert!(dropped(&report, "tx_full") > 0, "{own}: {report:#}");
    assert_eq!(
        dropped(&report, "tx_full") + dropped(&report, "shard_full"),
        u64::from(PKTS - RING_SIZE + 1),
        "{own}: {report:#}"
    );
    let mut sent = Burst::new();
    wires.rings[1].collect(&mut sent, BURST_MAX);
    let numbers: Vec<u32> = sent.drain().map(|packet| number(&packet.to_vec())).collect();
    assert_eq!(numbers, (0..RING_SIZE - 1).collect::<Vec<_>>(), "{own}: the first ones, in order");
    drop(wires);
    lab.assert_has_all_its_buffers();
}

/// The ring is emptied late: up to about a thousand packets wait, and leave in
/// order.
fn full_for_a_while(lab: &mut Lab, own: &str) {
    const PKTS: u32 = 1000;
    let mut wires = lab.wires(RING_SIZE);
    let packets = numbered(lab, PKTS);
    // All are put within the 200 ms after which the driver would be stuck: an
    // lcore that finds nothing gives its CPU to this thread.
    let own = &format!("{own} --idle yield");
    let (report, numbers) = lab.run(own, &mut wires, |[source, sink], over| {
        let (mut burst, mut numbers) = (Burst::new(), Vec::new());
        put(source, packets, over);
        // Nearly all have been received by now, and most of them wait.
        while numbers.len() < PKTS as usize && !over.load(Ordering::Acquire) {
            sink.collect(&mut burst, BURST_MAX);
            numbers.extend(burst.drain().map(|packet| number(&packet.to_vec())));
        }
        kill(Pid::this(), Signal::SIGTERM).expect("this process is there");
        numbers
    });
    let report = as_json(&report);
    assert_books_balance(&report);
    let mut numbers = numbers;
    if own.contains("--order none") {
        // Both lcores work on them, and each packet leaves when it is ready.
        numbers.sort_unstable();
    }
    assert_eq!(numbers, (0..PKTS).collect::<Vec<_>>(), "{own}: {report:#}");
    assert_eq!(count(&report, "tx_pkts"), u64::from(PKTS), "{own}");
    drop(wires);
    lab.assert_has_all_its_buffers();
}

#[test]
fn a_full_transmit_queue_delays_or_drops_but_never_loses_count() {
    let mut lab = Lab::start(2);
    for own in MODES {
        full_for_good(&mut lab, own);
        full_for_a_while(&mut lab, own);
    }
}
