//! An lcore that is stuck for 200 ms in one packet, while packets go on arriving at its queue: who waits for it in which mode, and what
//! is on record of it.

mod common;
mod lab;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::{as_json, assert_books_balance, count};
use lab::{Lab, Wires};
use mpfwd::dpdk::{BURST_MAX, Burst, Mbuf, RxTxRing};
use serde_json::Value;
use xxhash_rust::xxh3::xxh3_64;

const STUCK: Duration = Duration::from_millis(200);
/// What is rescued is out by then, on a machine that is busy with other things too.
const IN_TIME: Duration = Duration::from_millis(120);
/// The share of packets that are expensive; the test makes exactly one of those.
const P: f64 = 0.001;
const PKTS: u32 = 400;

fn bytes(number: u32) -> Vec<u8> {
    [[0x5a; 60].as_slice(), &number.to_be_bytes()].concat()
}

/// Whether the work marks the packet of that number as expensive, by its bytes.
fn is_marked(number: u32) -> bool {
    (xxh3_64(&bytes(number)) as f64) < P * 2f64.powi(64)
}

/// When packets came out, by number, counted from when the first went in.
struct Seen {
    /// Those that went in together with the expensive one, behind it.
    together: Vec<Duration>,
    /// Those that went in when the lcore was stuck.
    later: Vec<Duration>,
    expensive: Duration,
}

/// One packet that gets the lcore stuck, with others right behind it, and more while it is stuck.
fn traffic(lab_packets: [Vec<Mbuf>; 2], expensive: u32, rings: &mut [RxTxRing; 2], over: &AtomicBool) -> Seen {
    let [together, later] = lab_packets;
    let with_it = together.len();
    let [source, sink] = rings;
    let start = Instant::now();
    let (mut burst, mut out, mut seen) = (Burst::new(), Burst::new(), Vec::new());
    together.into_iter().for_each(|packet| burst.push(packet));
    assert_eq!(source.inject(&mut burst), with_it);
    let (mut later, mut went_in) = (Some(later), Duration::ZERO);
    while seen.len() < PKTS as usize {
        let was_over = over.load(Ordering::Acquire);
        if start.elapsed() > Duration::from_millis(20)
            && let Some(later) = later.take()
        {
            later.into_iter().for_each(|packet| burst.push(packet));
            source.inject(&mut burst);
            went_in = start.elapsed();
        }
        sink.collect(&mut out, BURST_MAX);
        let now = start.elapsed();
        seen.extend(out.drain().map(|packet| (u32::from_be_bytes(packet.to_vec()[60..].try_into().expect("four bytes")), now)));
        if was_over && out.is_empty() && sink.collect(&mut out, BURST_MAX) == 0 {
            break;
        }
        std::thread::yield_now();
    }
    let is_early = |number: u32| number < expensive + with_it as u32;
    let at = |wanted: &dyn Fn(u32) -> bool, from: Duration| {
        seen.iter().filter(|(number, _)| wanted(*number)).map(|(_, at)| at.saturating_sub(from)).collect::<Vec<_>>()
    };
    Seen {
        together: at(&|number| number != expensive && is_early(number), Duration::ZERO),
        later: at(&|number| !is_early(number), went_in),
        expensive: at(&|number| number == expensive, Duration::ZERO)[0],
    }
}

/// Runs the scene in a mode. Port 0's packets are the first lcore's.
fn scene(lab: &mut Lab, mode: &str, known: &str) -> (Value, Seen) {
    let mut wires: Wires = lab.wires(1024);
    let expensive = (0..).find(|&number| is_marked(number)).expect("one in a thousand is");
    let numbers: Vec<u32> =
        std::iter::once(expensive).chain((expensive + 1..).filter(|&number| !is_marked(number))).take(PKTS as usize).collect();
    let packet = |&number: &u32| lab.packet(&[&bytes(number)]);
    let with_it = numbers.partition_point(|&number| number < expensive + 30);
    let packets = [numbers[..with_it].iter().map(packet).collect(), numbers[with_it..].iter().map(packet).collect()];
    let own = format!(
        "{mode} --config (0,0,0),(1,0,{}) --packets {PKTS} --work spin:cheap=1us,expensive={}ms,p={P},mark=hash,known={known}",
        // In pools only pool A polls.
        if mode.contains("--mode pools") { 0 } else { 1 },
        STUCK.as_millis()
    );
    let (report, seen) = lab.run(&own, &mut wires, |rings, over| traffic(packets, expensive, rings, over));
    drop(wires);
    lab.assert_has_all_its_buffers();
    let report = as_json(&report);
    assert_books_balance(&report);
    assert_eq!(count(&report, "tx_pkts"), u64::from(PKTS), "{mode}: {report:#}");
    assert!(seen.expensive >= STUCK, "{mode}: the work takes its time: {:?}", seen.expensive);
    assert_eq!(seen.together.len() + seen.later.len() + 1, PKTS as usize, "{mode}");
    (report, seen)
}

fn slowest(times: &[Duration]) -> Duration {
    times.iter().copied().max().expect("some packets")
}

#[test]
fn who_waits_for_a_stuck_lcore() {
    let mut lab = Lab::start(2);

    // Nobody helps: all wait.
    let (report, seen) = scene(&mut lab, "--mode rtc", "no");
    assert!(seen.together.iter().chain(&seen.later).all(|&at| at > IN_TIME), "rtc: {:?}", slowest(&seen.later));
    assert!(report["incidents"].as_array().expect("a list").is_empty(), "rtc keeps no record");

    // What was polled already is stolen; what was not waits.
    for mode in ["--mode steal", "--mode steal --steal-every 3"] {
        let (report, seen) = scene(&mut lab, mode, "no");
        assert!(slowest(&seen.together) < IN_TIME, "{mode}: {:?}", slowest(&seen.together));
        assert!(slowest(&seen.later) > IN_TIME, "{mode}: nobody may poll its queue");
        assert!(report["lcores"][1]["rescue"]["steals"].as_u64() > Some(0), "{mode}: {report:#}");
    }

    // Its run queue is stolen and its receive queue polled, and the record names all of it.
    for mode in ["--mode hybrid --pools 1:1", "--mode hybrid --pools 1:1 --grow append"] {
        let (report, seen) = scene(&mut lab, mode, "no");
        assert!(slowest(&seen.together) < IN_TIME, "{mode}: {:?}", slowest(&seen.together));
        assert!(slowest(&seen.later) < IN_TIME, "{mode}: {:?}", slowest(&seen.later));
        let incidents = report["incidents"].as_array().expect("a list");
        let long = |incident: &&Value| count(incident, "stuck_ns") >= STUCK.as_nanos() as u64;
        let incident = incidents.iter().find(long).unwrap_or_else(|| panic!("{mode}: nothing on record: {report:#}"));
        assert_eq!((&incident["lcore"], &incident["stage"]), (&report["lcores"][0]["lcore"], &"unknown".into()), "{mode}");
        assert_eq!(incident["rescuers"][0], report["lcores"][1]["lcore"], "{mode}: {incident:#}");
        assert!(count(incident, "stolen_pkts") > 0 && count(incident, "polled_pkts") > 0, "{mode}: {incident:#}");
        assert!(count(&report["lcores"][0]["rescue"], "saved_ns") > 0, "{mode}: {report:#}");
    }

    // Known to be expensive, it never gets in the way of the others.
    for mode in ["--mode pools --pools 1:1", "--mode hybrid --pools 1:1"] {
        let (_, seen) = scene(&mut lab, mode, "yes");
        assert!(slowest(&seen.together) < IN_TIME && slowest(&seen.later) < IN_TIME, "{mode}: {:?}", slowest(&seen.later));
    }
}
