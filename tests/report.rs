//! docs/report.md describes every key of the report, and none that isn't there.

mod common;

use std::collections::BTreeSet;

use clap::ValueEnum;
use common::{lcores, rows, run};
use mpfwd::cli::ForwardMode;
use serde_json::Value;

/// The keys and causes that the tables below a heading describe: whatever is in
/// backquotes in a row's first cell.
fn described<'d>(document: &'d str, heading: &str) -> BTreeSet<&'d str> {
    let section = document.split("\n## ").find(|section| section.lines().next() == Some(heading));
    let section = section.unwrap_or_else(|| panic!("docs/report.md has a section {heading}"));
    let cells = section
        .lines()
        .filter(|line| line.starts_with("| `"))
        .filter_map(|line| line.split('|').nth(1));
    cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect()
}

/// The keys of these objects together.
fn keys<'v>(objects: &[&'v Value]) -> BTreeSet<&'v str> {
    objects
        .iter()
        .flat_map(|object| object.as_object().expect("an object").keys())
        .map(String::as_str)
        .collect()
}

fn document() -> String {
    std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/report.md"))
        .expect("the document")
}

#[test]
fn every_key_is_described_and_nothing_else() {
    let own = "--pools 2:1 --idle yield --packets 100000 --record-core-cycles --work spin:expensive=2ms,p=0.001,known=no";
    let outcome = run(&format!("{} --vdev net_null0", lcores(3)), own);
    let report = outcome.good_report();
    let document = document();
    let first = |key| rows(report, key).first().unwrap_or_else(|| panic!("no {key} in {report:#}"));
    let (latency, lcore, port) = (&report["latency"], first("lcores"), first("ports"));
    let error_ppm = report["tsc"]["error_ppm"].as_f64().expect("a number");
    assert!(
        report["tsc"]["by"] == "CLOCK_MONOTONIC_RAW" && error_ppm > 0.0 && error_ppm < 500.0,
        "{:#}",
        report["tsc"]
    );
    for (heading, objects) in [
        ("Top level", &[report] as &[&Value]),
        ("Causes of drops", &[&report["drops"]]),
        ("`rank`", &[&report["rank"]]),
        ("`order`", &[&report["order"]]),
        ("`tsc`", &[&report["tsc"]]),
        ("`host_gaps`", &[&report["host_gaps"]]),
        ("`latency`", &[latency, &latency["cheap"], &latency["parts"], &latency["parts"]["cheap"]]),
        ("`step_cycles`", &[&report["step_cycles"]]),
        ("`lcores`", &[lcore, &lcore["rescue"]]),
        ("`queues`", &[first("queues"), &first("queues")["arrivals"][0]]),
        ("`ports`", &[port, &port["device"]]),
        ("`incidents`", &[first("incidents")]),
    ] {
        assert_eq!(
            described(&document, heading),
            keys(objects),
            "{heading}: what is described, and what there is"
        );
    }
}

#[test]
fn every_forward_mode_is_described() {
    let document = document();
    let row =
        document.lines().find(|line| line.starts_with("| `forward_mode` |")).expect("its row");
    let described: BTreeSet<&str> = row.split('`').skip(3).step_by(2).collect();
    let modes = ForwardMode::value_variants().iter().filter_map(ForwardMode::to_possible_value);
    let names: Vec<String> = modes.map(|mode| mode.get_name().to_owned()).collect();
    assert_eq!(described, names.iter().map(String::as_str).chain(["own"]).collect());
}

#[test]
fn so_is_what_only_some_engines_report() {
    let folder = tempfile::tempdir().expect("a folder");
    let rules = folder.path().join("rules");
    std::fs::write(&rules, "drop a \"x\"\n").expect("a file of rules");
    let own = format!(
        "--forward-mode dpi --rules {} --yield-after 10us --predict ewma --packets 100",
        rules.display()
    );
    let outcome = run(&format!("{} --vdev net_null0", lcores(1)), &own);
    let (report, document) = (outcome.good_report(), document());
    let dpi = &report["dpi"];
    let rule = rows(dpi, "rules").first().expect("the rule");
    assert_eq!(described(&document, "`dpi`"), keys(&[dpi, rule]));
    assert_eq!(described(&document, "`prediction`"), keys(&[&report["prediction"]]));
}
