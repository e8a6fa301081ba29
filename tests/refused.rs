//! Packets that a driver refused wait and keep their place in their flow: when
//! a later one of the flow is deferred, and when another lcore takes over their
//! receive queue.

mod common;
mod lab;

use std::io::Cursor;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use common::{as_json, assert_books_balance, count, dropped, modes};
use etherparse::PacketBuilder;
use lab::Lab;
use mpfwd::dpdk::{BURST_MAX, Burst, Mbuf, RxTxRing};
use mpfwd::engine::{Class, Engine, Peers, Verdict};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const RING_SIZE: u32 = 64;
/// Packets beyond the ring's capacity, which wait for their driver.
const REFUSED: u32 = 37;
/// Time for other lcores to do all that they can.
const LONG: Duration = Duration::from_millis(100);

/// A packet's kind, in the byte at `KIND`; its number follows.
const KIND: usize = 42;
const CHEAP: u8 = 0;
const EXPENSIVE: u8 = 1;
/// Its lcore is stuck in it until the test releases it.
const STUCK: u8 = 2;

static HELD: AtomicBool = AtomicBool::new(false);
static STUCK_NOW: AtomicU32 = AtomicU32::new(0);

/// Replaces the addresses of forwarded packets, as a router does.
struct Router(Peers);

impl Engine for Router {
    fn classify(&mut self, packet: &Mbuf, _: u16) -> Class {
        match packet.data()[KIND] {
            EXPENSIVE => Class::Defer,
            STUCK => Class::Unknown,
            _ => Class::Cheap,
        }
    }

    fn cheap(&mut self, packet: &mut Mbuf, from: u16) -> Verdict {
        if packet.data()[KIND] == STUCK {
            STUCK_NOW.fetch_add(1, Ordering::Release);
            while HELD.load(Ordering::Acquire) {
                std::thread::yield_now();
            }
        }
        packet.data_mut().expect("nobody else has it")[..12].fill(0x77);
        Verdict::Forward(self.0.out(from))
    }

    fn expensive(&mut self, packet: &mut Mbuf, from: u16) -> Verdict {
        self.cheap(packet, from)
    }
}

/// Which headers identify a flow.
#[derive(Clone, Copy, PartialEq)]
enum Headers {
    Macs,
    Ipv4,
}

fn packet(lab: &Lab, headers: Headers, flow: u8, kind: u8, number: u32) -> Mbuf {
    let mut frame = [&[2; 11][..], &[flow, 0x88, 0xb5], &[0; 46]].concat();
    if headers == Headers::Ipv4 {
        PacketBuilder::ethernet2([2; 6], [2; 6])
            .ipv4([10, 0, 0, flow], [10, 0, 0, 9], 9)
            .udp(1, 2)
            .write(&mut Cursor::new(&mut frame), &[0; 18])
            .expect("room");
    }
    frame[KIND] = kind;
    frame[KIND + 1..KIND + 5].copy_from_slice(&number.to_be_bytes());
    lab.packet(&[&frame])
}

fn put(source: &mut RxTxRing, packets: impl IntoIterator<Item = Mbuf>) {
    let mut one = Burst::new();
    for packet in packets {
        one.push(packet);
        while source.inject(&mut one) == 0 {
            std::thread::yield_now();
        }
    }
}

fn collect(sink: &mut RxTxRing, numbers: &mut Vec<u32>) {
    let mut burst = Burst::new();
    sink.collect(&mut burst, BURST_MAX);
    numbers.extend(burst.drain().map(|packet| {
        u32::from_be_bytes(packet.data()[KIND + 1..KIND + 5].try_into().expect("four bytes"))
    }));
}

/// More packets of a flow than the ring accepts. Then their lcore is stuck in a
/// packet of another flow, behind `then`; `behind` more packets arrive, which
/// it never sees. All must leave in order.
fn overtaken_by_nobody(lab: &mut Lab, headers: Headers, then: u8, behind: u32) {
    let mut wires = lab.wires(RING_SIZE);
    let here = &*lab;
    let first = RING_SIZE - 1 + REFUSED;
    let all = first + 1 + behind;
    HELD.store(true, Ordering::Release);
    STUCK_NOW.store(0, Ordering::Release);
    let own = "--config (0,0,0),(1,0,1) --pools 1:1 --idle yield --rescue-after 100us";
    let (report, numbers) = here.run_own(
        |setup| Router(setup.peers.clone()),
        own,
        &mut wires,
        |[source, sink], _| {
            let of_flow = |kind: u8, number: u32| packet(here, headers, 1, kind, number);
            put(source, (0..first).map(|number| of_flow(CHEAP, number)));
            std::thread::sleep(LONG);
            put(source, [of_flow(then, first), packet(here, headers, 2, STUCK, u32::MAX)]);
            while STUCK_NOW.load(Ordering::Acquire) == 0 {
                std::thread::yield_now();
            }
            put(source, (first + 1..all).map(|number| of_flow(CHEAP, number)));
            let mut numbers = Vec::new();
            for _ in 0..5 {
                std::thread::sleep(LONG / 5);
                collect(sink, &mut numbers);
            }
            let while_stuck = numbers.len();
            HELD.store(false, Ordering::Release);
            while numbers.len() < all as usize + 1 {
                collect(sink, &mut numbers);
            }
            kill(Pid::this(), Signal::SIGTERM).expect("this process is there");
            // What the stuck lcore holds waits; what the other one polled
            // before that may go.
            assert!(
                while_stuck >= RING_SIZE as usize - 1 && while_stuck < all as usize + 1,
                "what waits is the stuck lcore's, and nobody passes: {numbers:?}"
            );
            numbers
        },
    );
    let report = as_json(&report);
    assert_books_balance(&report);
    assert_eq!(
        numbers.into_iter().filter(|&number| number != u32::MAX).collect::<Vec<_>>(),
        (0..all).collect::<Vec<_>>()
    );
    assert_eq!(count(&report["order"], "reordered_pkts"), 0, "{report:#}");
    drop(wires);
    lab.assert_has_all_its_buffers();
}

/// Sends half of the flows by port 1, half by port 2, and tells nobody what
/// packets cost.
struct Fork;

impl Engine for Fork {
    fn classify(&mut self, _: &Mbuf, _: u16) -> Class {
        Class::Unknown
    }

    fn cheap(&mut self, packet: &mut Mbuf, _: u16) -> Verdict {
        Verdict::Forward(1 + u16::from(packet.data()[FLOW] % 2))
    }

    fn expensive(&mut self, packet: &mut Mbuf, from: u16) -> Verdict {
        self.cheap(packet, from)
    }
}

/// Flows of `Fork`, by the last byte of the address that they come from.
const FLOW: usize = 29;
const FLOWS: u8 = 200;

/// Packets for the two ports alternate at this rate, far below what the lcores
/// can forward. A port that sends nothing holds all records after 30 ms.
const OFFERED_PER_MS: u64 = 40;
/// A source that was off its CPU skips what was due more than 5 ms ago.
const LATE_PKTS_MAX: u64 = 5 * OFFERED_PER_MS;
/// The source's ring holds what is due in 12 ms.
const LARGE_RING: u32 = 512;

/// Packets alternate between two ports for a second. What finds the source's
/// ring full is lost, as with a NIC. One port accepts a burst each 100 ms.
/// Returns which share of its packets left by the other port, and how many the
/// slow one lost.
fn share_beside_a_slow_port(lab: &mut Lab, mode: &str) -> (f64, u64) {
    const PAUSE: Duration = Duration::from_millis(100);
    let mut wires = lab.wires(LARGE_RING);
    let here = &*lab;
    // In pools only lcore 0 polls.
    let other = if mode.contains("--mode pools") { 0 } else { 1 };
    let queues = format!("--config (0,0,0),(1,0,{other}),(2,0,{other})");
    // With so few buffers a queue has 341 records.
    let own = format!("{mode} {queues} --idle yield --mbufs 2048");
    let (report, share) = here.run_own(
        |_| Fork,
        &own,
        &mut wires,
        |[source, slow, healthy]: &mut [RxTxRing; 3], over| {
            let (mut going, mut taken) = (Burst::new(), Burst::new());
            let (mut due, mut offered, mut sent) = (0, 0, 0);
            let mut looked = Instant::now();
            let started = Instant::now();
            while started.elapsed() < Duration::from_secs(1) {
                let now = started.elapsed().as_micros() as u64 * OFFERED_PER_MS / 1000;
                due = due.max(now.saturating_sub(LATE_PKTS_MAX));
                while due < now {
                    let flow = (due % u64::from(FLOWS)) as u8;
                    going.push(packet(here, Headers::Ipv4, flow, CHEAP, due as u32));
                    offered += u64::from(flow % 2);
                    due += 1;
                    source.inject(&mut going);
                    going.free();
                }
                sent += healthy.collect(&mut taken, BURST_MAX) as u64;
                taken.free();
                if looked.elapsed() >= PAUSE {
                    slow.collect(&mut taken, BURST_MAX);
                    taken.free();
                    looked = Instant::now();
                }
                std::thread::sleep(Duration::from_micros(100));
            }
            kill(Pid::this(), Signal::SIGTERM).expect("this process is there");
            // What is left at the end.
            loop {
                let was_over = over.load(Ordering::Acquire);
                let [from_slow, from_healthy] = [&mut *slow, &mut *healthy].map(|ring| {
                    let pkts = ring.collect(&mut taken, BURST_MAX) as u64;
                    taken.free();
                    pkts
                });
                sent += from_healthy;
                if from_slow + from_healthy == 0 && was_over {
                    break;
                }
            }
            sent as f64 / offered as f64
        },
    );
    let report = as_json(&report);
    assert_books_balance(&report);
    assert_eq!(count(&report["order"], "reordered_pkts"), 0, "{own}: {report:#}");
    let lost = dropped(&report, "tx_full");
    assert_eq!(count(&report, "tx_pkts") + lost, count(&report, "rx_pkts"), "{own}: {report:#}");
    println!("{mode}: {share:.3} of what was offered left beside a slow port, which lost {lost}");
    drop(wires);
    lab.assert_has_all_its_buffers();
    (share, lost)
}

/// A port that sends slowly does not hold all order records, which would leave
/// other ports as little as it takes itself.
fn a_slow_port_holds_up_no_other(lab: &mut Lab) {
    for mode in modes("1:1") {
        let (share, lost) = share_beside_a_slow_port(lab, &mode);
        // Where packets of the slow port wait for ever, modes that steal or
        // share have a share of 0.28.
        assert!(share >= 0.8, "{mode}: {share}");
        assert!(lost > 0, "{mode}: the port was not slow");
    }
}

#[test]
fn refused_packets_cost_no_others() {
    let mut lab = Lab::start(2);
    a_slow_port_holds_up_no_other(&mut lab);
    for _ in 0..3 {
        for headers in [Headers::Macs, Headers::Ipv4] {
            overtaken_by_nobody(&mut lab, headers, EXPENSIVE, 0);
            overtaken_by_nobody(&mut lab, headers, CHEAP, 30);
        }
    }
}
