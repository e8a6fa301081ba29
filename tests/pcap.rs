//! From a capture to a capture through net_pcap: byte for byte, and in order
//! where nothing overtakes.

mod captures;
mod common;

use captures::{read_capture, write_capture};
use common::{Outcome, count, lcores, rows, run};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

fn frames(random: &mut SmallRng, count: usize, longest: usize) -> Vec<Vec<u8>> {
    let frame = |random: &mut SmallRng| {
        let len = random.random_range(60..=longest);
        (0..len).map(|_| random.random()).collect()
    };
    (0..count).map(|_| frame(random)).collect()
}

/// The address that mpfwd prints for a port at its start.
fn address(outcome: &Outcome, port: &str) -> Vec<u8> {
    let line = outcome
        .stdout
        .iter()
        .find(|line| line.contains(&format!(" {port} ")))
        .expect("the map names the port");
    let word =
        line.split_whitespace().find(|word| word.matches(':').count() == 5).expect("an address");
    word.trim_end_matches(',')
        .split(':')
        .map(|byte| u8::from_str_radix(byte, 16).expect("a byte"))
        .collect()
}

/// Replays two captures by two ports. Returns what the ports wrote.
fn through(
    lcore_count: usize,
    own: &str,
    sent: &[Vec<Vec<u8>>; 2],
) -> (Outcome, [Vec<Vec<u8>>; 2]) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str| folder.path().join(name);
    let mut eal = lcores(lcore_count);
    for (port, frames) in sent.iter().enumerate() {
        let (rx, tx) = (file(&format!("in{port}.pcap")), file(&format!("out{port}.pcap")));
        write_capture(&rx, frames);
        eal += &format!(" --vdev net_pcap{port},rx_pcap={},tx_pcap={}", rx.display(), tx.display());
    }
    let total = sent[0].len() + sent[1].len();
    let outcome = run(&eal, &format!("--packets {total} --duration 30 {own}"));
    assert_eq!(count(outcome.good_report(), "tx_pkts"), total as u64, "{own}");
    (outcome, [0, 1].map(|port| read_capture(&file(&format!("out{port}.pcap")))))
}

#[test]
fn a_capture_comes_out_unchanged() {
    let mut random = SmallRng::seed_from_u64(4);
    let sent = [frames(&mut random, 700, 1514), frames(&mut random, 300, 1514)];
    for (lcore_count, own) in [
        (1, "--mode rtc"),
        (1, "--mode rtc --burst 7"),
        (2, "--pools 1:1"),
        (2, "--pools 1:1 --timestamps off"),
        // In hybrid both lcores serve a queue when one of them is stalled. Each
        // flow keeps its order, and others pass.
        (2, "--mode pools --pools 1:1 --work spin:p=1 --order none"),
    ] {
        let (_, mut came) = through(lcore_count, own, &sent);
        let mut sent = sent.clone();
        if own.starts_with("--pools") {
            sent.iter_mut().chain(&mut came).for_each(|frames| frames.sort());
        }
        assert!(came[1] == sent[0] && came[0] == sent[1], "{own}: the captures differ");
    }
}

/// A hash marks a packet by its bytes: equal packets are all expensive or all
/// cheap, and of different ones the requested share is expensive.
#[test]
fn packets_are_marked_by_their_bytes() {
    let mut random = SmallRng::seed_from_u64(9);
    let distinct = frames(&mut random, 1000, 200);
    let alike = |frame: &Vec<u8>| vec![frame.clone(); 1000];
    for mark in ["hash", "auto"] {
        let own = format!("--mode pools --pools 1:1 --work spin:p=0.3,mark={mark}");
        let expensive = |sent: &[Vec<Vec<u8>>; 2]| {
            let (outcome, _) = through(2, &own, sent);
            rows(outcome.good_report(), "lcores")
                .iter()
                .map(|row| count(row, "expensive_pkts"))
                .sum::<u64>()
        };
        let of_alike = expensive(&[alike(&distinct[0]), alike(&distinct[1])]);
        assert!(of_alike.is_multiple_of(1000), "{mark}: {of_alike} of twice 1,000");
        // Five standard deviations.
        let of_distinct = expensive(&[distinct[..500].to_vec(), distinct[500..].to_vec()]);
        assert!((228..=372).contains(&of_distinct), "{mark}: {of_distinct} of 1,000");
        let again = expensive(&[distinct[500..].to_vec(), distinct[..500].to_vec()]);
        assert_eq!(again, of_distinct, "{mark}: the same packets");
    }
}

/// Both lcores write to both captures at once, through a capture's only
/// transmit queue.
#[test]
fn shed_packets_come_out_too() {
    let mut random = SmallRng::seed_from_u64(5);
    let mut sent = [frames(&mut random, 20_000, 100), frames(&mut random, 10_000, 100)];
    let (outcome, mut came) = through(2, "--pools 1:1 --work spin:p=0.5 --ring-size 16384", &sent);
    let report = outcome.good_report();
    assert!((1..30_000).contains(&count(report, "shed_pkts")), "some are shed: {report:#}");
    came.iter_mut().chain(&mut sent).for_each(|list| list.sort());
    assert!(came[1] == sent[0] && came[0] == sent[1], "the captures hold other packets");
}

#[test]
fn jumbo_frames_pass_when_allowed() {
    let sent = [frames(&mut SmallRng::seed_from_u64(6), 100, 9000), Vec::new()];
    for (lcore_count, own) in [(1, "--mode rtc"), (2, "--pools 1:1 --work spin:p=0.5")] {
        let (_, [_, mut came]) = through(lcore_count, &format!("{own} --max-pkt-len 9018"), &sent);
        let mut sent = sent[0].clone();
        if own.contains("--work") {
            came.sort();
            sent.sort();
        }
        assert!(came == sent, "{own}: the captures differ");
    }
}

#[test]
fn mac_takes_the_address_of_the_port_it_leaves_by() {
    let mut random = SmallRng::seed_from_u64(7);
    let sent = [frames(&mut random, 50, 200), frames(&mut random, 50, 200)];
    let (outcome, came) = through(1, "--forward-mode mac --eth-peer 1,02:00:00:00:00:99", &sent);
    let own = ["net_pcap0", "net_pcap1"].map(|port| address(&outcome, port));
    assert_ne!(own[0], own[1]);
    let peers = [[2, 0, 0, 0, 0, 0], [2, 0, 0, 0, 0, 0x99]];
    for out in 0..2 {
        let wanted = sent[1 - out]
            .iter()
            .map(|frame| [peers[out].as_slice(), &own[out], &frame[12..]].concat());
        assert!(came[out].iter().cloned().eq(wanted), "port {out}");
    }
}
