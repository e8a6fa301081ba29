//! An lcore with a backlog of cheap packets is helped by idle lcores, and
//! packets stay in order.

mod common;

use common::{assert_books_balance, count, lcores, rows, run};
use serde_json::Value;

/// Nine packets in ten arrive at one lcore's queue and overload it. Both lcores
/// together have a load of one half.
const SKEWED: &str =
    "--source open-loop:load=0.55,skew=9:1 --work spin:cheap=50us,p=0 --rxd 4096 --duration 1.5";

fn report(mode: &str) -> Value {
    let eal = format!("{} --no-pci --vdev net_null0,no-rx=1", lcores(2));
    let outcome = run(&eal, &format!("{mode} {SKEWED}"));
    let report = outcome.good_report().clone();
    assert_books_balance(&report);
    assert_eq!(count(&report["order"], "reordered_pkts"), 0, "{mode}: {report:#}");
    report
}

fn pressed(report: &Value) -> usize {
    rows(report, "incidents").iter().filter(|incident| incident["stage"] == "pressed").count()
}

/// The packets received, or served, by the lcore with fewer of them.
fn share_of_the_other(report: &Value, pkts: &str) -> f64 {
    let counts = rows(report, "lcores").iter().map(|lcore| count(lcore, pkts));
    counts.min().expect("two lcores") as f64 / count(report, "rx_pkts") as f64
}

#[test]
fn idle_lcores_pull_from_one_that_is_pressed() {
    // Bursts of 50 us packets would look like stalls.
    let helped = report("--pools 1:1 --stall-after 100ms");
    assert!(pressed(&helped) > 0, "{helped:#}");
    assert!(share_of_the_other(&helped, "rx_pkts") > 0.2, "{helped:#}");
    let alone = report("--pools 1:1 --excess none --stall-after 100ms");
    assert_eq!(pressed(&alone), 0, "{alone:#}");
    assert!(share_of_the_other(&alone, "cheap_pkts") < 0.2, "{alone:#}");
}

#[test]
fn a_pressed_lcore_pushes_to_idle_ones() {
    let helped = report("--pools 1:1 --excess push --stall-after 100ms");
    assert!(pressed(&helped) > 0, "{helped:#}");
    assert!(share_of_the_other(&helped, "rx_pkts") < 0.2, "nobody else polls: {helped:#}");
    assert!(share_of_the_other(&helped, "cheap_pkts") > 0.2, "{helped:#}");
}

#[test]
fn shared_queues_and_thieves_of_receive_queues_level_the_load() {
    for mode in ["--mode shared", "--mode steal --steal-rx"] {
        let report = report(mode);
        assert!(share_of_the_other(&report, "rx_pkts") > 0.2, "{mode}: {report:#}");
    }
}
