//! Byte-exact forwarding: what each forward mode does to every byte of frames
//! of all sizes and shapes, in every mode.

mod common;
mod lab;

use common::{as_json, assert_books_balance};
use lab::{Lab, pass_through};
use mpfwd::dpdk::{Mbuf, PortInfo};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

const ETHERNET_HEADER: usize = 14;

/// A frame as its segments.
type Frame = Vec<Vec<u8>>;

fn random_bytes(random: &mut SmallRng, len: usize) -> Vec<u8> {
    (0..len).map(|_| random.random()).collect()
}

/// Frames with critical segment lengths, and many random ones.
fn frames(random: &mut SmallRng) -> Vec<Frame> {
    let mut shapes: Vec<Vec<usize>> =
        [60, 61, 64, 1514, 1518, 2048, 2049, 9000].map(|len| vec![len]).to_vec();
    shapes.extend((0..=ETHERNET_HEADER).map(|len| vec![len]));
    shapes.extend([
        vec![14, 46],
        vec![13, 47],
        vec![1, 9000],
        vec![60; 20],
        vec![0, 60],
        vec![60, 0],
        vec![1800; 5],
        vec![9000, 9000],
    ]);
    for _ in 0..600 {
        let longest = if random.random_bool(0.2) { 9000 } else { 200 };
        let segments = if random.random_bool(0.2) { 4 } else { 1 };
        shapes
            .push((0..segments).map(|_| random.random_range(ETHERNET_HEADER..=longest)).collect());
    }
    shapes
        .into_iter()
        .map(|shape| shape.into_iter().map(|len| random_bytes(random, len)).collect())
        .collect()
}

/// The expected output for a frame that leaves by `out`, whose peer is `peer`;
/// nothing for a runt.
fn expected(forward_mode: &str, frame: &Frame, out: &PortInfo, peer: [u8; 6]) -> Option<Vec<u8>> {
    let mut bytes = frame.concat();
    if forward_mode == "io" {
        return Some(bytes);
    }
    if frame[0].len() < ETHERNET_HEADER {
        return None;
    }
    match forward_mode {
        "mac" => {
            bytes[..6].copy_from_slice(&peer);
            bytes[6..12].copy_from_slice(out.mac.as_bytes());
        }
        "macswap" => bytes[..12].rotate_left(6),
        _ => unreachable!("there are three modes"),
    }
    Some(bytes)
}

#[derive(Clone, Copy, PartialEq)]
enum Order {
    Kept,
    /// Expensive packets are overtaken.
    Free,
}

const PEERS: [[u8; 6]; 2] = [[2, 0, 0, 0, 0, 0x77], [2, 0, 0, 0, 0, 0x88]];
const PEER_ARGUMENTS: &str = "--eth-peer 0,02:00:00:00:00:77 --eth-peer 1,02:00:00:00:00:88";

fn check(lab: &mut Lab, random: &mut SmallRng, forward_mode: &str, own: &str, order: Order) {
    let mut wires = lab.wires(1024);
    let lists = [frames(random), frames(random)];
    let total = lists[0].len() + lists[1].len();
    let mut wanted: [Vec<Vec<u8>>; 2] = std::array::from_fn(|out| {
        lists[1 - out]
            .iter()
            .filter_map(|frame| expected(forward_mode, frame, &wires.ports[out], PEERS[out]))
            .collect()
    });
    let packet = |frame: &Frame| lab.packet(&frame.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let packets: [Vec<Mbuf>; 2] =
        std::array::from_fn(|port| lists[port].iter().map(packet).collect());

    let own = format!("--forward-mode {forward_mode} {PEER_ARGUMENTS} --packets {total} {own}");
    let (report, mut came) =
        lab.run(&own, &mut wires, |rings, over| pass_through(packets, rings, over));

    let report = as_json(&report);
    assert_books_balance(&report);
    let runts = total - wanted[0].len() - wanted[1].len();
    assert_eq!(report["rx_pkts"], total, "{own}");
    assert_eq!(report["drops"]["runt"], runts, "{own}");
    assert_eq!(report["tx_pkts"], total - runts, "{own}");
    let sheds = (own.contains("--pools") || own.contains("shed-random"))
        && own.contains("--work")
        && !own.contains("known=no");
    assert_eq!(report["shed_pkts"] != 0, sheds, "{own}: some pass by the shards");
    if order == Order::Free {
        came.iter_mut().chain(&mut wanted).for_each(|list| list.sort());
    }
    for port in 0..2 {
        assert_eq!(came[port].len(), wanted[port].len(), "{own}: packets out of port {port}");
        for (at, (came, wanted)) in came[port].iter().zip(&wanted[port]).enumerate() {
            assert!(
                came == wanted,
                "{own}: packet {at} out of port {port}:\n{came:02x?}, wanted\n{wanted:02x?}"
            );
        }
    }
    drop(wires);
    lab.assert_has_all_its_buffers();
}

#[test]
fn every_byte_is_as_the_forward_mode_says() {
    let mut lab = Lab::start(2);
    let mut random = SmallRng::seed_from_u64(20);
    for forward_mode in ["io", "mac", "macswap"] {
        for (own, order) in [
            ("--mode rtc", Order::Kept),
            ("--mode rtc --burst 1 --timestamps off", Order::Kept),
            ("--mode rtc --burst 512", Order::Kept),
            ("--mode rtc --work spin:cheap=100ns,expensive=20us,p=0.2,mark=hash", Order::Free),
            (
                "--mode rtc --work spin:cheap=100ns,expensive=20us,p=0.2,mark=hash --order none",
                Order::Kept,
            ),
            ("--mode pools --pools 1:1", Order::Kept),
            ("--mode pools --pools 1:1 --record-core-cycles", Order::Kept),
            ("--pools 1:1 --work spin:expensive=20us,p=0.2,mark=hash", Order::Free),
            ("--pools 1:1 --work spin:p=0.2,mark=sequence", Order::Free),
            (
                "--pools 1:1 --work spin:expensive=20us,p=0.5,mark=hash --ring-size 16 --on-full run",
                Order::Free,
            ),
            ("--mode pools --pools 1:1 --work spin:p=1 --order none", Order::Kept),
            ("--pools 1:1", Order::Free),
            ("--pools 1:1 --work spin:p=1", Order::Free),
            ("--pools 1:1 --work spin:expensive=20us,p=0.2,mark=hash,known=no", Order::Free),
            ("--mode steal", Order::Kept),
            (
                "--mode steal --steal-every 5 --grow append --work spin:expensive=20us,p=0.2,mark=hash,known=no",
                Order::Free,
            ),
            ("--mode steal --work spin:expensive=20us,p=0.2,mark=hash", Order::Free),
            ("--mode shed-random --work spin:expensive=20us,p=0.2,mark=hash", Order::Free),
        ] {
            check(&mut lab, &mut random, forward_mode, own, order);
        }
    }
}
