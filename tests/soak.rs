//! Full load on net_null in every mode: every packet and every buffer is
//! accounted for, whatever is chosen.

mod common;

use common::{count, lcores, rows};
use serde_json::Value;

const TWO_NULLS: &str = "--vdev net_null0 --vdev net_null1";

/// Some packets are expensive, more than a worker can run, and of one flow; in
/// order, they would wait.
const OVERLOAD: &str = "--order none --ring-size 64 --work spin:cheap=0ns,expensive=5us,p=0.5";

#[track_caller]
fn soak(count_of_lcores: usize, own: &str) -> Value {
    let outcome = common::run(
        &format!("{} {TWO_NULLS}", lcores(count_of_lcores)),
        &format!("--duration 0.15 {own}"),
    );
    let report = outcome.good_report().clone();
    assert!(count(&report, "rx_pkts") > 0, "{own}: {report:#}");
    for (direction, key) in [("ipackets", "rx_pkts"), ("opackets", "tx_pkts")] {
        let by_device: u64 =
            rows(&report, "ports").iter().map(|row| count(&row["device"], direction)).sum();
        assert_eq!(
            by_device,
            count(&report, key),
            "{own}: the devices counted the same: {report:#}"
        );
    }
    report
}

fn expensive(report: &Value, pool: &str) -> u64 {
    rows(report, "lcores")
        .iter()
        .filter(|row| row["pool"] == pool)
        .map(|row| count(row, "expensive_pkts"))
        .sum()
}

fn causes(report: &Value) -> Vec<&str> {
    report["drops"]
        .as_object()
        .expect("drops")
        .iter()
        .filter(|(_, pkts)| pkts.as_u64() > Some(0))
        .map(|(cause, _)| cause.as_str())
        .collect()
}

#[test]
fn nothing_is_lost_without_work() {
    for forward_mode in ["io", "mac", "macswap"] {
        for mode in ["--mode rtc", "--pools 1:1"] {
            for timestamps in ["software", "off"] {
                let report = soak(
                    2,
                    &format!("--forward-mode {forward_mode} {mode} --timestamps {timestamps}"),
                );
                assert_eq!(report["forward_mode"], forward_mode);
                assert_eq!(report["mode"], if mode.contains("rtc") { "rtc" } else { "hybrid" });
                assert_eq!(report["pools"].as_str(), mode.contains("1:1").then_some("1:1"));
                assert_eq!(report["latency"].is_null(), timestamps == "off");
                assert!(causes(&report).is_empty(), "{report:#}");
            }
        }
    }
}

#[test]
fn rtc_runs_expensive_packets_where_they_arrived() {
    for forward_mode in ["io", "mac", "macswap"] {
        for timestamps in ["software", "off"] {
            let report = soak(
                2,
                &format!("{OVERLOAD} --forward-mode {forward_mode} --timestamps {timestamps}"),
            );
            assert!(expensive(&report, "A") > 0 && count(&report, "shed_pkts") == 0, "{report:#}");
            assert!(causes(&report).is_empty(), "{report:#}");
        }
    }
}

#[test]
fn pools_shed_and_drop_only_where_a_shard_is_full() {
    for forward_mode in ["io", "mac", "macswap"] {
        for timestamps in ["software", "off"] {
            let report = soak(
                2,
                &format!(
                    "{OVERLOAD} --mode pools --pools 1:1 --forward-mode {forward_mode} --timestamps {timestamps} --on-full drop"
                ),
            );
            assert!(expensive(&report, "B") > 0 && expensive(&report, "A") == 0, "{report:#}");
            assert_eq!(count(&report, "shed_pkts"), expensive(&report, "B"));
            assert_eq!(causes(&report), ["shard_full"], "{report:#}");
        }
    }
}

#[test]
fn pools_lose_nothing_with_on_full_run() {
    for forward_mode in ["io", "mac", "macswap"] {
        for timestamps in ["software", "off"] {
            let report = soak(
                2,
                &format!(
                    "{OVERLOAD} --mode pools --pools 1:1 --forward-mode {forward_mode} --timestamps {timestamps} --on-full run"
                ),
            );
            assert!(expensive(&report, "B") > 0 && expensive(&report, "A") > 0, "{report:#}");
            assert_eq!(count(&report, "shed_pkts"), expensive(&report, "B"));
            assert!(causes(&report).is_empty(), "{report:#}");
        }
    }
}

#[test]
fn uncommon_shapes_conserve_too() {
    for (count_of_lcores, own) in [
        (1, "--record-core-cycles --forward-mode macswap"),
        (2, "--record-core-cycles --pools 1:1"),
        (2, "--txq 1"),
        (2, "--portmask 2 --pools 1:1"),
        (3, "--pools 1:2 --shards 1 --idle yield"),
        (3, "--pools 2:1 --shards 1 --idle spin"),
        (3, "--pools 2:1 --burst 1 --idle yield"),
        (3, "--pools 2:1 --burst 512 --rxq 3 --txq 2"),
    ] {
        for work in ["", OVERLOAD] {
            let report = soak(count_of_lcores, &format!("{own} {work}"));
            assert_eq!(report["step_cycles"].is_object(), own.contains("cycles"), "{own}");
        }
    }
}

#[test]
fn ten_lcores_over_two_cpus_all_work() {
    let own = "--mode pools --pools 8:2 --idle yield --mbufs 16383 --work spin:cheap=0ns,expensive=2us,p=0.01 --duration 1";
    let outcome = common::run(&format!("{} {TWO_NULLS}", lcores(10)), own);
    let report = outcome.good_report();
    assert_eq!(rows(report, "lcores").len(), 10);
    for lcore in rows(report, "lcores") {
        let worked =
            if lcore["pool"] == "A" { count(lcore, "rx_pkts") } else { count(lcore, "taken_pkts") };
        assert!(worked > 0, "an lcore did nothing: {lcore}");
    }
    assert_eq!(rows(report, "lcores").iter().filter(|row| row["pool"] == "B").count(), 2);
}

const MODES: [&str; 7] = [
    "--mode rtc",
    "--mode steal",
    "--mode steal --steal-every 61 --grow append",
    "--mode shed-random",
    "--mode shed-random --on-full run --ring-size 32",
    "--mode hybrid --pools 1:1",
    "--mode hybrid --pools 1:1 --on-full run --ring-size 32 --grow append --rescue-after 2us",
];

#[test]
fn every_mode_conserves_known_and_unknown_work() {
    for mode in MODES {
        for known in ["yes", "no"] {
            soak(2, &format!("{mode} --work spin:cheap=50ns,expensive=30us,p=0.01,known={known}"));
        }
    }
}

#[test]
fn ten_lcores_over_two_cpus_work_in_every_mode() {
    for mode in [
        "--mode steal",
        "--mode shed-random",
        "--mode hybrid --pools 8:2",
        "--mode hybrid --pools 8:2 --shard-pick two-choice",
    ] {
        let work =
            "--idle yield --mbufs 16383 --work spin:cheap=0ns,expensive=2us,p=0.01 --duration 1";
        let outcome =
            common::run(&format!("{} {TWO_NULLS}", lcores(10)), &format!("{mode} {work}"));
        for lcore in rows(outcome.good_report(), "lcores") {
            assert!(count(lcore, "tx_pkts") > 0, "{mode}: an lcore did nothing: {lcore}");
        }
    }
}
