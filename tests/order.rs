//! Packets of many flows, some of them expensive, in every mode: each flow
//! leaves in order of arrival, or late packets are counted. Ports are net_ring:
//! everything that leaves by a port ends in one ring, where the test sees the
//! order.

mod captures;
mod common;
mod lab;
mod steer;

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use captures::{read_capture, write_capture};
use common::{
    as_json, assert_all_sent, assert_books_balance, count, lcores, modes, rows, run as run_binary,
};
use lab::{Lab, pass_slowly, pass_through};
use mpfwd::dpdk::{BURST_MAX, Burst, RxTxRing};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;

/// Changes of a run, of each kind of work.
const CHANGES: usize = 250;

/// Per port; the lab's buffers suffice for so many.
const PKTS: u32 = 1900;
const FLOWS: u32 = 40;

/// A UDP packet over IPv4; `number` is its position in its flow.
fn frame(flow: u32, number: u32) -> Vec<u8> {
    const PAYLOAD: usize = 26;
    let mut frame = vec![0; 14 + 20 + 8 + PAYLOAD];
    frame[..6].fill(0xaa);
    frame[6..12].fill(0xbb);
    frame[12..14].copy_from_slice(&0x0800u16.to_be_bytes());
    frame[14] = 0x45;
    frame[16..18].copy_from_slice(&((20 + 8 + PAYLOAD) as u16).to_be_bytes());
    (frame[22], frame[23]) = (64, 17);
    frame[26..30].copy_from_slice(&(0x0a00_0000 + flow).to_be_bytes());
    frame[30..34].copy_from_slice(&0x0b00_0001u32.to_be_bytes());
    frame[34..36].copy_from_slice(&(1000 + flow as u16).to_be_bytes());
    frame[36..38].copy_from_slice(&53u16.to_be_bytes());
    frame[38..40].copy_from_slice(&((8 + PAYLOAD) as u16).to_be_bytes());
    frame[42..46].copy_from_slice(&flow.to_be_bytes());
    frame[46..50].copy_from_slice(&number.to_be_bytes());
    let sum: u32 =
        frame[14..34].chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
    frame
}

/// A frame without IP; its flow is its pair of MAC addresses.
fn frame_without_ip(flow: u32, number: u32) -> Vec<u8> {
    let mut frame = frame(flow, number);
    frame[..2].fill(0x02);
    frame[8..12].copy_from_slice(&flow.to_be_bytes());
    frame[12..14].copy_from_slice(&0x88b5u16.to_be_bytes());
    frame
}

/// The packets of a run, and the mode.
#[derive(Clone, Copy)]
struct Sent {
    /// Packets have IP; otherwise their flow is their pair of MAC addresses,
    /// which `mac` replaces.
    ip: bool,
    /// Entries of the rings: drivers refuse packets beyond these.
    ring_size: u32,
    /// Between two reads of the output ring: the longer, the more drivers
    /// refuse.
    pause: Duration,
}

const SENT: Sent = Sent { ip: true, ring_size: 1024, pause: Duration::ZERO };

fn flow_and_number(bytes: &[u8]) -> (u32, u32) {
    let word = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
    (word(42), word(46))
}

/// How many packets left behind a later one of their flow (RFC 4737), and by
/// how many numbers at most.
fn late(came: &[Vec<u8>]) -> (u64, u32) {
    let mut newest: HashMap<u32, u32> = HashMap::new();
    let (mut late, mut extent_max) = (0, 0);
    for bytes in came {
        let (flow, number) = flow_and_number(bytes);
        let newest = newest.entry(flow).or_insert(number);
        if number < *newest {
            late += 1;
            extent_max = extent_max.max(*newest - number);
        }
        *newest = number.max(*newest);
    }
    (late, extent_max)
}

/// One run of all packets, none of which may be lost. Returns the report, and
/// the packets that left by each port.
fn run(lab: &mut Lab, sent: Sent, own: &str) -> (Value, [Vec<Vec<u8>>; 2]) {
    let mut wires = lab.wires(sent.ring_size);
    // Flows alternate, with a different number of packets each.
    let mut numbers: HashMap<u32, u32> = HashMap::new();
    let lists = [0, FLOWS].map(|first| {
        let next = |at: u32| {
            let flow = first + (at * at / 7 + at) % FLOWS;
            let number = numbers.entry(flow).or_insert(0);
            *number += 1;
            let frame = if sent.ip { frame } else { frame_without_ip };
            lab.packet(&[&frame(flow, *number - 1)])
        };
        (0..PKTS).map(next).collect()
    });
    let own = format!("--config (0,0,0),(1,0,1) --idle yield --packets {} {own}", 2 * PKTS);
    let (report, came) =
        lab.run(&own, &mut wires, |rings, over| pass_slowly(lists, rings, over, sent.pause));
    let report = as_json(&report);
    assert_all_sent(&report, 2 * PKTS, &own);
    let mut all: Vec<(u32, u32)> =
        came.iter().flatten().map(|bytes| flow_and_number(bytes)).collect();
    all.sort_unstable();
    let wanted: usize = numbers.values().map(|&count| count as usize).sum();
    all.dedup();
    assert_eq!(all.len(), wanted, "{own}: every packet, once");
    drop(wires);
    lab.assert_has_all_its_buffers();
    (report, came)
}

fn takeovers(report: &Value) -> u64 {
    rows(report, "lcores").iter().map(|row| count(&row["rescue"], "takeovers")).sum()
}

const KNOWN: &str = "--work spin:cheap=0ns,expensive=200us,p=0.05,mark=hash";
const UNKNOWN: &str = "--work spin:cheap=1us,expensive=2ms,p=0.02,mark=hash,known=no";

/// EAL starts once per process.
#[test]
fn order() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("api.sock");
    let mut lab = Lab::start_with(10, Some(&socket));
    changes_reorder_nothing(&mut lab, &socket);
    flows_leave_in_order_of_arrival(&mut lab);
    without_order_late_packets_are_counted(&mut lab);
    memory_is_bounded(&mut lab);
}

fn flows_leave_in_order_of_arrival(lab: &mut Lab) {
    let small = Sent { ring_size: 32, ..SENT };
    let slow = Sent { pause: Duration::from_millis(1), ..small };
    for mode in modes("8:2") {
        for (sent, work) in [
            (SENT, KNOWN),
            (SENT, UNKNOWN),
            (small, KNOWN),
            (small, UNKNOWN),
            (small, "--work spin:cheap=0ns,expensive=200us,p=0.02,mark=hash,known=no"),
            (slow, UNKNOWN),
            (
                SENT,
                "--work spin:cheap=1us,expensive=300us,p=0.1,mark=hash,known=no --grow append --runq-max 2048 --burst 64",
            ),
            (
                SENT,
                "--work spin:cheap=1us,expensive=100us,p=0.3,mark=hash --ring-size 8 --on-full run --burst 16",
            ),
            (Sent { ip: false, ..SENT }, KNOWN),
            (Sent { ip: false, ..slow }, KNOWN),
        ] {
            let forward_mode = if sent.ip { "macswap" } else { "mac" };
            let own = format!("--forward-mode {forward_mode} {mode} {work}");
            let (report, came) = run(lab, sent, &own);
            for came in &came {
                assert_eq!(late(came), (0, 0), "{own}: {report:#}");
            }
            let order = &report["order"];
            assert_eq!(
                (order["kept"].as_str(), count(order, "reordered_pkts")),
                (Some("flow"), 0),
                "{own}: {order:#}"
            );
            assert!(
                order["reordered_ratio"] == 0.0 && count(order, "extent_max_pkts") == 0,
                "{own}: {order:#}"
            );
            // Where no lcore could come to the rescue, a packet of unknown cost
            // stays where it is.
            let helped = ["steal", "shared"].iter().any(|name| mode.contains(name));
            let leaves = !work.contains("known=no") || helped || mode == "--pools 8:2";
            assert_eq!(leaves, count(order, "checked_pkts") > 0, "{own}: {order:#}");
            let rescues = mode == "--pools 8:2" && work.contains("known=no");
            assert!(
                !rescues || takeovers(&report) > 0,
                "{own}: nobody came to the rescue: {report:#}"
            );
        }
    }
}

/// A single lcore sends its cheap packets before those of its inbox that came
/// earlier, and counts each packet before it sends the next: counted is what
/// the output shows. With several lcores that holds only if none loses its CPU
/// between a packet and its count. All packets are of one flow: others could
/// share its bucket.
#[test]
fn one_lcore_counts_late_packets_exactly() {
    let folder = tempfile::tempdir().expect("a folder");
    let [sent, came] = ["in.pcap", "out.pcap"].map(|name| folder.path().join(name));
    let frames: Vec<_> = (0..PKTS).map(|number| frame(0, number)).collect();
    write_capture(&sent, &frames);
    let eal = format!(
        "{} --vdev net_pcap0,rx_pcap={},tx_pcap={}",
        lcores(1),
        sent.display(),
        came.display()
    );
    let own = format!(
        "--packets {PKTS} --mode shed-random --order none --work spin:cheap=0ns,expensive=5us,p=0.05,mark=sequence"
    );
    let outcome = run_binary(&eal, &own);
    let report = outcome.good_report();
    let order = &report["order"];
    let (late, extent_max) = late(&read_capture(&came));
    println!("{late} late, by {extent_max} at most");
    assert!(late > 0, "{report:#}");
    assert_eq!(count(order, "reordered_pkts"), late, "{order:#}");
    // The upper end of a histogram's bucket.
    let extent_max = u64::from(extent_max);
    let bucket = extent_max..=extent_max + extent_max / 64;
    assert!(bucket.contains(&count(order, "extent_max_pkts")), "{order:#}");
}

/// Packets of [`FLOWS`] flows, numbered in each flow, that pass a run for as
/// long as the test wants.
struct Stream<'a> {
    lab: &'a Lab,
    random: SmallRng,
    numbers: [u32; FLOWS as usize],
    going: Burst,
    sent: u64,
    /// The next number of each flow, if none is lost.
    expected: [u32; FLOWS as usize],
    came: u64,
}

impl Stream<'_> {
    /// So few that the lab's buffers suffice, and that packets wait.
    const IN_FLIGHT_MAX: u64 = 1_000;

    fn send(&mut self, ring: &mut RxTxRing) {
        while self.going.len() < 32 && self.sent - self.came < Self::IN_FLIGHT_MAX {
            let flow = self.random.random_range(0..FLOWS);
            let number = &mut self.numbers[flow as usize];
            self.going.push(self.lab.packet(&[&frame(flow, *number)]));
            *number += 1;
            self.sent += 1;
        }
        ring.inject(&mut self.going);
    }

    /// Returns whether anything has come.
    fn receive(&mut self, ring: &mut RxTxRing) -> bool {
        let mut taken = Burst::new();
        ring.collect(&mut taken, BURST_MAX);
        let is_any = !taken.is_empty();
        for packet in taken.drain() {
            let (flow, number) = flow_and_number(&packet.to_vec());
            let expected = &mut self.expected[flow as usize];
            assert_eq!(number, *expected, "flow {flow}: lost, or out of order");
            *expected += 1;
            self.came += 1;
        }
        is_any
    }
}

/// Modes, pools, limits and owners of queues change at random, while lcores are
/// away in packets of unknown cost.
fn changes_reorder_nothing(lab: &mut Lab, socket: &Path) {
    for (changes, seed, work) in [
        (CHANGES, 1, "--work spin:cheap=1us,expensive=1ms,p=0.02,mark=hash,known=no"),
        (CHANGES, 2, "--work spin:cheap=1us,expensive=200us,p=0.05,mark=hash"),
    ] {
        let mut wires = lab.wires(1024);
        let own = format!(
            "--config (0,0,0),(1,0,1) --idle yield --forward-mode macswap --pools 8:2 {work}"
        );
        let (report, made) = lab.run(&own, &mut wires, |rings: &mut [RxTxRing; 2], over| {
            let mut stream = Stream {
                lab,
                random: SmallRng::seed_from_u64(seed),
                numbers: [0; FLOWS as usize],
                going: Burst::new(),
                sent: 0,
                expected: [0; FLOWS as usize],
                came: 0,
            };
            std::thread::scope(|scope| {
                let changer =
                    scope.spawn(|| steer::change_at_random(socket, (10, 1), changes, seed));
                while !changer.is_finished() {
                    stream.send(&mut rings[0]);
                    if !stream.receive(&mut rings[1]) {
                        std::thread::sleep(Duration::from_micros(100));
                    }
                }
                while stream.came < stream.sent && !over.load(Ordering::Acquire) {
                    rings[0].inject(&mut stream.going);
                    stream.receive(&mut rings[1]);
                }
                assert_eq!(stream.came, stream.sent, "{own}: packets are lost");
                let (status, _) = steer::ask(socket, "POST", "/drain", r#"{"time":"1ms"}"#);
                assert_eq!(status, 202);
                changer.join().expect("all changes are answered")
            })
        });
        let report = as_json(&report);
        assert_books_balance(&report);
        assert!(count(&report, "tx_pkts") > 1_000 && made.0.len() == 5, "{made:?} {report:#}");
        drop(wires);
        lab.assert_has_all_its_buffers();
    }
}

/// With several lcores.
fn without_order_late_packets_are_counted(lab: &mut Lab) {
    for (mode, work) in [
        ("--mode steal", UNKNOWN),
        ("--mode shed-random", KNOWN),
        ("--mode pools --pools 8:2", KNOWN),
        ("--pools 8:2", KNOWN),
        ("--pools 8:2", UNKNOWN),
    ] {
        let own = format!("--forward-mode macswap {mode} {work} --order none");
        let (report, came) = run(lab, SENT, &own);
        let order = &report["order"];
        let seen: u64 = came.iter().map(|came| late(came).0).sum();
        let counted = count(order, "reordered_pkts");
        assert!(seen > 0 && order["kept"] == "none", "{own}: {order:#}");
        assert!(counted > 0 && count(order, "extent_max_pkts") > 0, "{own}: {order:#}");
        assert_eq!(count(order, "parked_pkts"), 0, "{own}: {order:#}");
    }
}

/// A queue with fewer records than packets that need one: those that find none
/// stay in the receive queue, and all leave in order.
fn memory_is_bounded(lab: &mut Lab) {
    let mut wires = lab.wires(1024);
    const BUFFERS: u64 = 256;
    let list = (0..PKTS).map(|number| lab.packet(&[&frame(0, number)])).collect();
    let own = format!(
        "--mode pools --pools 9:1 --config (0,0,0),(1,0,1) --idle yield --packets {PKTS} --mbufs {BUFFERS} --burst 16"
    );
    let own = format!("{own} --work spin:cheap=0ns,expensive=20ms,p=0.01,mark=hash");
    let (report, came) =
        lab.run(&own, &mut wires, |rings, over| pass_through([list, Vec::new()], rings, over));
    let report = as_json(&report);
    assert_books_balance(&report);
    assert_eq!(
        count(&report["order"], "records_per_queue"),
        BUFFERS / 4,
        "half of the buffers, two queues: {report:#}"
    );
    assert_eq!(count(&report, "tx_pkts"), u64::from(PKTS), "{report:#}");
    assert!(came.iter().all(|came| late(came) == (0, 0)), "{report:#}");
    drop(wires);
    lab.assert_has_all_its_buffers();
}
