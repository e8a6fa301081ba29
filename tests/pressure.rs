//! Too few buffers, full shards, ports that accept nothing: every packet still
//! ends in one counter, under its true cause.

mod captures;
mod common;

use std::path::Path;

use captures::write_capture;
use common::{count, dropped, lcores, rate, rows, run, start};
use etherparse::PacketBuilder;
use nix::sys::signal::Signal;
use serde_json::Value;

/// Each packet is expensive and takes far longer than the next one takes to
/// arrive. All are of one flow; in order, they would wait.
const ALL_EXPENSIVE: &str = "--order none --work spin:cheap=0ns,expensive=20us,p=1";

fn by_pool(report: &Value, pool: &str, key: &str) -> u64 {
    rows(report, "lcores").iter().filter(|row| row["pool"] == pool).map(|row| count(row, key)).sum()
}

#[test]
fn a_pool_without_buffers_only_slows_down() {
    for (lcore_count, own) in [
        (1, "--mbufs 64"),
        (2, "--mbufs 64 --mode pools --pools 1:1"),
        (2, &format!("--mbufs 200 --mode pools --pools 1:1 --ring-size 2048 {ALL_EXPENSIVE}")),
        (
            2,
            &format!(
                "--mbufs 200 --mode pools --pools 1:1 --ring-size 2048 --forward-mode macswap {ALL_EXPENSIVE}"
            ),
        ),
    ] {
        let outcome = run(
            &format!("{} --vdev net_null0", lcores(lcore_count)),
            &format!("--packets 3000 --duration 30 {own}"),
        );
        let report = outcome.good_report();
        assert!(outcome.stderr.contains("warning: --mbufs"), "{own}: {}", outcome.stderr);
        assert!(count(report, "rx_pkts") >= 3000, "{own}: {report:#}");
        if own.contains("--work") {
            assert!(
                by_pool(report, "A", "polls") > by_pool(report, "A", "rx_bursts"),
                "{own}: some polls found no buffer: {report:#}"
            );
            assert_eq!(
                dropped(report, "shard_full"),
                0,
                "{own}: the shard holds more than there are buffers"
            );
        }
    }
}

/// net_null allocates buffers for a whole burst or none, and half of the pool
/// may be in caches.
#[test]
fn the_least_pool_that_is_accepted_forwards() {
    for (lcore_count, own) in [
        (1, "--mbufs 1024 --burst 512"),
        (2, "--mbufs 2048 --burst 512 --mode rtc"),
        (1, "--mbufs 64 --burst 32"),
    ] {
        let outcome = run(
            &format!("{} --vdev net_null0", lcores(lcore_count)),
            &format!("--packets 20000 --duration 30 {own}"),
        );
        assert!(count(outcome.good_report(), "rx_pkts") >= 20_000, "{own}");
    }
}

#[test]
fn a_full_shard_drops_or_runs() {
    let eal = format!("{} --vdev net_null0", lcores(2));
    for ring_size in [2, 256] {
        let own = |on_full: &str| {
            format!(
                "--mode pools --pools 1:1 --ring-size {ring_size} --on-full {on_full} --packets 20000 --duration 30 {ALL_EXPENSIVE}"
            )
        };
        let dropping = run(&eal, &own("drop"));
        let report = dropping.good_report();
        assert!(dropped(report, "shard_full") > 0, "{report:#}");
        assert_eq!(
            dropped(report, "shard_full"),
            count(report, "rx_pkts") - count(report, "tx_pkts"),
            "{report:#}"
        );
        assert_eq!(by_pool(report, "A", "expensive_pkts"), 0, "{report:#}");

        let running = run(&eal, &own("run"));
        let report = running.good_report();
        assert_eq!(count(report, "rx_pkts"), count(report, "tx_pkts"), "{report:#}");
        assert!(by_pool(report, "A", "expensive_pkts") > 0, "{report:#}");
    }
}

/// A memif without a peer: its link stays down, and it accepts nothing.
#[test]
fn packets_for_a_port_without_a_link_are_counted_as_link_down() {
    let folder = tempfile::tempdir().expect("a folder");
    let memif = format!(
        "net_memif0,role=server,socket={}/memif.sock,socket-abstract=no",
        folder.path().display()
    );
    for (lcore_count, own) in
        [(1, "--mode rtc"), (2, "--pools 1:1"), (2, "--pools 1:1 --work spin:p=0.3")]
    {
        let eal = format!("{} --vdev net_null0 --vdev {memif}", lcores(lcore_count));
        let outcome = run(&eal, &format!("--packets 50000 --duration 30 {own}"));
        let report = outcome.good_report();
        assert_eq!(count(report, "tx_pkts"), 0, "{own}: {report:#}");
        // net_null's packets are one flow: behind a deferred one the others wait,
        // and fill the shard meanwhile.
        assert_eq!(
            dropped(report, "link_down") + dropped(report, "shard_full"),
            count(report, "rx_pkts"),
            "{own}: {report:#}"
        );
        assert!(dropped(report, "link_down") > 0, "{own}: {report:#}");
        assert!(
            outcome
                .stdout
                .iter()
                .any(|line| line.contains("net_memif0") && line.contains("LINK DOWN")),
            "{own}: said at the start"
        );
    }
}

/// A port that accepts nothing keeps nobody from sending by the others.
#[test]
fn a_port_without_a_link_leaves_the_others_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let memif = format!(
        "net_memif0,role=server,socket={}/memif.sock,socket-abstract=no",
        folder.path().display()
    );
    let eal =
        format!("{} --vdev net_null0 --vdev {memif} --vdev net_null1 --vdev net_null2", lcores(1));
    let mut mpfwd = start(&eal, "--stats-period 0.1");
    mpfwd.wait_for_line(|line| {
        let some = |name| rate(line, name).is_some_and(|pps| pps > 0.0);
        some("tx") && some("dropped")
    });
    mpfwd.signal(Signal::SIGINT);
    let outcome = mpfwd.finish();
    let report = outcome.good_report();
    for (name, sends) in
        [("net_null0", false), ("net_memif0", false), ("net_null1", true), ("net_null2", true)]
    {
        let port = rows(report, "ports")
            .iter()
            .find(|row| row["name"] == name)
            .expect("all ports are reported");
        assert_eq!(count(&port["device"], "opackets") > 0, sends, "{name}: {report:#}");
    }
}

/// All modes. Each of them gives packets places in their flows under this work,
/// whether or not it tells beforehand what a packet costs.
const MODES: [&str; 8] = [
    "--mode rtc",
    "--mode steal",
    "--mode steal --steal-every 61",
    "--mode steal --steal-rx",
    "--mode shed-random",
    "--mode shared",
    "--mode pools --pools 1:1",
    "--mode hybrid --pools 1:1",
];

/// The address that net_pcap gives its first port: `l3` routes no frames for others.
const NET_PCAP0: [u8; 6] = [2, b'p', b'c', b'a', b'p', 0];

/// Writes a capture of 1,024 flows, half of them to 10.0.0.0/16 and half to
/// 10.1.0.0/16.
fn write_flows(path: &Path) {
    let frame = |flow: u16| {
        let [high, low] = flow.to_be_bytes();
        let mut frame = Vec::new();
        PacketBuilder::ethernet2([2; 6], NET_PCAP0)
            .ipv4([192, 0, 2, 1], [10, low % 2, high, low], 64)
            .udp(1000 + flow, 2000)
            .write(&mut frame, &[0; 18])
            .expect("a vector takes all");
        frame
    };
    write_capture(path, &(0..1024).map(frame).collect::<Vec<_>>());
}

/// A capture replayed as fast as it is polled: packets that would find no place
/// in their flows stay in the receive queue.
#[test]
fn a_replay_at_full_speed_loses_nothing_as_order_full() {
    let folder = tempfile::tempdir().expect("a folder");
    let capture = folder.path().join("flows.pcap");
    write_flows(&capture);
    let eal = format!(
        "{} --vdev net_pcap0,rx_pcap={},infinite_rx=1 --vdev net_null0,no-rx=1",
        lcores(2),
        capture.display()
    );
    for mode in MODES {
        for known in ["yes", "no"] {
            let own = format!(
                "{mode} --mbufs 4095 --duration 1 --work spin:cheap=0ns,expensive=200us,p=0.03,mark=hash,known={known}"
            );
            let outcome = run(&eal, &own);
            let report = outcome.good_report();
            assert_eq!(dropped(report, "order_full"), 0, "{own}: {report:#}");
            assert!(count(report, "tx_pkts") > 0, "{own}: {report:#}");
            assert_eq!(count(&report["order"], "reordered_pkts"), 0, "{own}: {report:#}");
        }
    }
}

/// Half of the packets are for a port that is dead or takes all. Returns what
/// the healthy port beside it sent, and checks that only the dead one's were
/// lost.
fn sent_beside(folder: &Path, port: &str, is_dead: bool, mode: &str) -> u64 {
    let path = |name: &str| folder.join(name).display().to_string();
    let eal = format!(
        "{} --vdev net_pcap0,rx_pcap={},infinite_rx=1 --vdev {port} --vdev net_null1,no-rx=1",
        lcores(2),
        path("flows.pcap")
    );
    let own = format!(
        "{mode} --duration 1 --forward-mode l3 --routes {} --work spin:cheap=0ns,expensive=50us,p=0.01,mark=hash,known=no",
        path("routes")
    );
    let outcome = run(&eal, &own);
    let report = outcome.good_report();
    let sent = |name: &str| -> u64 {
        let ports = rows(report, "ports");
        let port =
            ports.iter().find(|row| row["name"] == name).expect("it is reported")["port"].clone();
        let queues = rows(report, "queues").iter();
        let is_of = |row: &&Value| row["direction"] == "tx" && row["port"] == port;
        queues.filter(is_of).map(|row| count(row, "pkts")).sum()
    };
    assert_eq!(dropped(report, "order_full"), 0, "{own}: {report:#}");
    assert_eq!(dropped(report, "link_down") > 0, is_dead, "{own}: {report:#}");
    let others =
        ["link_down", "shard_full"].map(|cause| dropped(report, cause)).iter().sum::<u64>();
    assert_eq!(count(report, "tx_pkts") + others, count(report, "rx_pkts"), "{own}: {report:#}");
    assert_eq!(count(&report["order"], "reordered_pkts"), 0, "{own}: {report:#}");
    sent("net_null1")
}

/// Packets in order for a port that accepts nothing hold up no others.
#[test]
fn a_dead_port_costs_its_own_packets_only() {
    let folder = tempfile::tempdir().expect("a folder");
    write_flows(&folder.path().join("flows.pcap"));
    std::fs::write(folder.path().join("routes"), "10.0.0.0/16 1\n10.1.0.0/16 2\n").expect("a file");
    let dead = format!(
        "net_memif0,role=server,socket={},socket-abstract=no",
        folder.path().join("s").display()
    );
    for mode in MODES {
        let share = || {
            let healthy = sent_beside(folder.path(), "net_null0,no-rx=1", false, mode);
            sent_beside(folder.path(), &dead, true, mode) as f64 / healthy as f64
        };
        // The host may take the CPU away in any of them.
        let is_enough = |share: f64| {
            println!("{mode}: {share:.2}");
            share >= 0.8
        };
        assert!((0..3).any(|_| is_enough(share())), "{mode}: less than 0.8, three times");
    }
}
