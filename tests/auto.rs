//! `--pools auto`: the pools follow the load, and nothing is lost or reordered
//! meanwhile.

mod common;

use common::{Outcome, assert_books_balance, count, lcores, rows, run};
use serde_json::Value;

/// Four lcores in two pools, under open-loop traffic.
fn auto(own: &str) -> Outcome {
    run(
        &format!("{} --vdev net_null0,no-rx=1", lcores(4)),
        &format!("--idle yield --pools auto {own}"),
    )
}

/// The changes, checked to follow each other, to be printed a line each, and to
/// have cost no packet and no order.
#[track_caller]
fn changes(outcome: &Outcome) -> &[Value] {
    let report = outcome.good_report();
    assert_books_balance(report);
    assert_eq!(count(&report["order"], "reordered_pkts"), 0, "{report:#}");
    let changes = rows(report, "pool_changes");
    let (mut pools, mut at_s) = ("2:2", 0.0);
    for change in changes {
        let [from, to] = ["from", "to"].map(|key| change[key].as_str().expect("A:B"));
        let time = change["at_s"].as_f64().expect("seconds");
        assert!(from == pools && to != pools && time > at_s, "{changes:#?}");
        let is_said = |line: &&String| line.contains(&format!(" s  pools {from} -> {to}: "));
        assert!(outcome.stdout.iter().any(|line| is_said(&line)), "{:#?}", outcome.stdout);
        (pools, at_s) = (to, time);
    }
    assert_eq!(report["pools"], pools, "the last ones: {report:#}");
    let workers = rows(report, "lcores").iter().filter(|row| row["pool"] == "B").count();
    assert_eq!(pools, format!("{}:{workers}", 4 - workers));
    changes
}

#[test]
fn expensive_work_makes_pool_b_larger() {
    let outcome = auto(
        "--duration 3 --source open-loop:rate=4000,flows=512 --work spin:cheap=1us,expensive=1ms,p=0.5",
    );
    let changes = changes(&outcome);
    assert!(outcome.good_report()["pools"] == "1:3", "{changes:#?}");
    assert!(changes[0]["expensive_erlangs"].as_f64() > Some(1.6), "{changes:#?}");
}

#[test]
fn without_expensive_work_pool_b_has_one_lcore() {
    let outcome = auto("--duration 3 --source open-loop:rate=20000 --work spin:cheap=1us,p=0");
    let changes = changes(&outcome);
    assert!(changes.len() == 1 && changes[0]["to"] == "3:1", "{changes:#?}");
    assert_eq!(changes[0]["expensive_erlangs"].as_f64(), Some(0.0), "{changes:#?}");
    assert!(changes[0]["cheap_erlangs"].as_f64() > Some(0.01), "{changes:#?}");
}

#[test]
fn the_pools_follow_a_load_that_comes_and_goes() {
    let outcome = auto(
        "--duration 9 --source open-loop:rate=530,flows=512,arrivals=on-off,on=500ms,off=4s \
         --work spin:cheap=1us,expensive=1ms,p=0.5",
    );
    let changes = changes(&outcome);
    let goes_to = |pools: &str| changes.iter().any(|change| change["to"] == pools);
    assert!(goes_to("1:3") && goes_to("3:1"), "{changes:#?}");
}
