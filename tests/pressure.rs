//! Too few buffers, full shards, ports that accept nothing: every packet still
//! ends in one counter, under its true cause.

mod common;

use common::{count, dropped, lcores, rate, rows, run, start};
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
        // A flow's packets wait for their predecessors, and fill records and
        // shards meanwhile.
        let others = dropped(report, "shard_full") + dropped(report, "order_full");
        assert_eq!(
            dropped(report, "link_down") + others,
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
