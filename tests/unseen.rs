//! The bound on the wait of packets before the poll that received them: the
//! wait of every burst counts, that of an empty poll does not.

mod common;
mod lab;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{sleep, yield_now};
use std::time::Duration;

use common::{as_json, assert_books_balance, count, rows};
use lab::Lab;
use mpfwd::dpdk::{Burst, Mbuf, RxTxRing};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const BURST: u32 = 4;

/// Service time of a packet. Starting it takes longer than a poll, but less
/// than this.
const BUSY: Duration = Duration::from_millis(150);

fn put(source: &mut RxTxRing, packets: Vec<Mbuf>) {
    let mut burst = Burst::new();
    packets.into_iter().for_each(|packet| burst.push(packet));
    source.inject(&mut burst);
}

fn wait_for_one(sink: &mut RxTxRing, over: &AtomicBool) {
    while sink.collect(&mut Burst::new(), 1) == 0 && !over.load(Ordering::Acquire) {
        yield_now();
    }
}

/// Injects one packet, and as soon as that is through a burst for each entry of
/// `bursts`, while the lcore is in the one before. Returns the longest wait
/// that the polls may have hidden, if they tell.
fn longest_wait(lab: &mut Lab, bursts: &[u32]) -> Duration {
    let mut wires = lab.wires(64);
    let packets = |count: u32| (0..count).map(|_| lab.packet(&[&[0; 60]])).collect::<Vec<_>>();
    let (first, bursts): (_, Vec<_>) =
        (packets(1), bursts.iter().map(|&count| packets(count)).collect());
    let pkts: usize = bursts.iter().map(Vec::len).sum();
    let own = format!("--mode rtc --burst {BURST} --work spin:cheap={}ms,p=0", BUSY.as_millis());
    let (report, ()) = lab.run(&own, &mut wires, |[source, sink], over| {
        put(source, first);
        wait_for_one(sink, over);
        for burst in bursts {
            put(source, burst);
            sleep(BUSY / 10);
        }
        (0..pkts).for_each(|_| wait_for_one(sink, over));
        sleep(BUSY / 10);
        kill(Pid::this(), Signal::SIGTERM).expect("this process is there");
    });
    let report = as_json(&report);
    assert_books_balance(&report);
    // A sample of the bursts, and the longest wait.
    let bursts: u64 = rows(&report, "lcores").iter().map(|row| count(row, "rx_bursts")).sum();
    let sampled = count(&report["latency"]["unseen_wait"], "bursts");
    assert!((1..=bursts + 1).contains(&sampled), "{report:#}");
    drop(wires);
    lab.assert_has_all_its_buffers();
    Duration::from_nanos(count(&report["latency"]["unseen_wait"], "max_ns"))
}

#[test]
fn the_wait_of_each_burst_counts_and_that_of_an_empty_poll_does_not() {
    let mut lab = Lab::start(1);
    let nothing_waits = longest_wait(&mut lab, &[]);
    assert!(nothing_waits < BUSY, "{nothing_waits:?}");
    // A full burst: the next poll, which finds the queue empty, comes when all
    // of it is through.
    let one_waits = longest_wait(&mut lab, &[1, BURST]);
    assert!((BUSY * 3 / 4..BUSY * BURST).contains(&one_waits), "{one_waits:?}");
}
