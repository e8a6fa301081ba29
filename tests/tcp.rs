//! TCP across mpfwd between two network namespaces, while packets of the
//! connections are deferred and run where they arrived: what the receiving
//! kernel says of the order of segments.

mod common;
mod namespaces;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::AsFd;

use common::{count, lcores};
use namespaces::{Namespace, Taps};
use nix::sys::signal::Signal;
use nix::sys::socket::{setsockopt, sockopt};
use rand::rngs::SmallRng;
use rand::{RngCore, SeedableRng};

const CONNECTIONS: u64 = 4;
const BYTES: usize = 4 << 20;
/// Small enough for the tap's queue to hold everything in flight: nothing is
/// lost.
const WINDOW_BYTES: usize = 64 << 10;

/// Bytes per connection.
fn content(connection: u64) -> Vec<u8> {
    let mut bytes = vec![0; BYTES];
    SmallRng::seed_from_u64(connection).fill_bytes(&mut bytes);
    bytes
}

/// One of the kernel's counters of this namespace (`/proc/net/netstat`: a line
/// of names, and one of numbers).
fn kernel_counter(of: &Namespace, name: &str) -> u64 {
    let text = of
        .inside(|| std::fs::read_to_string("/proc/thread-self/net/netstat"))
        .expect("the kernel's counters");
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split(' ').collect()).collect();
    let found = lines
        .chunks(2)
        .find_map(|pair| pair[0].iter().position(|word| *word == name).map(|at| pair[1][at]));
    found.unwrap_or_else(|| panic!("no {name} in {text}")).parse().expect("a number")
}

/// Copies all connections' content from left to right, and compares.
fn copy(Taps { left, right, .. }: &Taps) {
    let server_at = (Taps::RIGHT, 7000);
    let listener = right.inside(|| TcpListener::bind(server_at)).expect("the address is there");
    // Connections inherit it.
    setsockopt(&listener.as_fd(), sockopt::RcvBuf, &WINDOW_BYTES).expect("a smaller buffer");
    std::thread::scope(|scope| {
        for connection in 0..CONNECTIONS {
            let mut client = left.inside(|| TcpStream::connect(server_at)).expect("a connection");
            let (mut server, _) = listener.accept().expect("the other end");
            scope.spawn(move || {
                client.write_all(&content(connection)).expect("all is taken");
                client.shutdown(Shutdown::Write).expect("an end");
            });
            scope.spawn(move || {
                let mut got = Vec::with_capacity(BYTES);
                server.read_to_end(&mut got).expect("all that was sent");
                assert!(
                    got == content(connection),
                    "connection {connection}: {} bytes, or others",
                    got.len()
                );
            });
        }
    });
}

/// Segments that the receiver queued because one before them was missing, and
/// those that were sent again for that.
fn segments_out_of_order(taps: &Taps, eal: &str, own: &str) -> u64 {
    let mpfwd = taps.start(eal, &format!("--config (0,0,0),(1,0,0) --idle yield {own}"));
    let counters = |name| kernel_counter(&taps.left, name) + kernel_counter(&taps.right, name);
    let counted = || [counters("TCPOFOQueue"), counters("TCPFastRetrans")];
    let before = counted();
    copy(taps);
    let after = counted();
    mpfwd.signal(Signal::SIGTERM);
    let outcome = mpfwd.finish();
    let report = outcome.good_report();
    let drops = report["drops"].as_object().expect("causes");
    // The kernel sends its first packets before the other tap is up. mpfwd
    // does not see it come up, in another namespace: all the same it must drop
    // nothing else than what the driver refuses.
    let lost = drops.iter().filter(|(cause, pkts)| *cause != "link_down" && **pkts != 0);
    assert_eq!(lost.count(), 0, "{own}: {report:#}");
    assert!(
        report["lcores"]
            .as_array()
            .is_some_and(|lcores| lcores.iter().any(|lcore| count(lcore, "expensive_pkts") > 0)),
        "{report:#}"
    );
    let [aside, again] = std::array::from_fn(|at| after[at] - before[at]);
    println!("{own}: {aside} segments put aside, {again} sent again by a sender that was told so");
    if !own.contains("--order none") {
        assert_eq!(count(&report["order"], "reordered_pkts"), 0, "{own}: {report:#}");
    }
    aside + again
}

#[test]
fn segments_arrive_in_order_although_some_are_deferred() {
    let work = "--work spin:cheap=0ns,expensive=300us,p=0.01,mark=sequence";
    for own in [
        "--mode pools --pools 1:1",
        "--mode hybrid --pools 1:1",
        "--mode steal",
        "--mode shed-random",
    ] {
        let Some(taps) = Taps::some() else { return };
        assert_eq!(segments_out_of_order(&taps, &lcores(2), &format!("{own} {work}")), 0, "{own}");
    }
    // Without keeping order the test would notice.
    let Some(taps) = Taps::some() else { return };
    assert!(
        segments_out_of_order(
            &taps,
            &lcores(2),
            &format!("--mode pools --pools 1:1 {work} --order none")
        ) > 0
    );
}
