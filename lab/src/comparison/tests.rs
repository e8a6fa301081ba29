//! A comparison made by hand, also for the tests of tables and pictures.

use serde_json::json;

use super::*;

pub(crate) fn parameters(modes: &[&str]) -> Parameters {
    Parameters {
        modes: modes.iter().map(|&mode| mode.to_owned()).collect(),
        lcores: "0-1".into(),
        lcore_count: 2,
        pools: "1:1".into(),
        memory: "hugepages".into(),
        work: "spin:cheap=200ns,expensive=10ms,p=1e-5".into(),
        source: "open-loop:load=0.5".into(),
        load: Some(0.5),
        cheap_ns: Some(200.0),
        expensive_ns: Some(1e7),
        p: Some(1e-5),
        expensive_load: Some(0.33),
        rounds: 3,
        round_s: 1.0,
        eal: "--lcores 0-1".into(),
        mpfwd: "--rxd 32768".into(),
    }
}

/// A report whose cheap packets took so long, one each, and none was expensive.
pub(crate) fn run(mode: &str, cheap_ns: &[u64], missed_pkts: u64) -> Measured {
    serde_json::from_value(report(mode, cheap_ns, missed_pkts)).expect("all that is read is there")
}

pub(crate) fn report(mode: &str, cheap_ns: &[u64], missed_pkts: u64) -> serde_json::Value {
    let mut histogram = mpfwd_common::latency::histogram_ns();
    cheap_ns.iter().for_each(|&ns| histogram.saturating_record(ns));
    let row =
        |histogram| serde_json::to_value(mpfwd_common::latency::LatencyRow::of(histogram)).unwrap();
    let offered = 1_000_000 + missed_pkts;
    json!({
        "mode": mode, "pools": null, "dpdk": "22.11.11 static", "elapsed_s": 2.0, "tx_pkts": 3_000_000,
        "drops": {"tx_full": 10}, "shed_pkts": 5,
        "latency": {"clock": "open-loop", "bound": "a burst", "cheap": row(&histogram), "expensive": row(&mpfwd_common::latency::histogram_ns())},
        "source": {"spec": "open-loop:load=0.5", "asked_mpps": 1.0, "offered_mpps": 0.5, "load": 0.5, "offered_pkts": offered,
            "missed_pkts": missed_pkts, "nombuf_pkts": 0, "pkt_ns": 50.0},
        "host_gaps": {"gaps": 1, "gap_ns": 100_000_000, "gap_max_ns": 50},
        "lcores": [{"rescue": {"steals": 2, "takeovers": 1}}, {"rescue": {"steals": 3, "takeovers": 0}}],
        "incidents": [{"lcore": 0, "flow_hash": 7, "stage": "unknown", "started_ns": 1_000_000, "stuck_ns": 10_000_000, "returned": true,
            "rescued_after_ns": 20_000, "rescuers": [1], "stolen_pkts": 12, "polled_pkts": 300, "longest_wait_ns": 30_000, "saved_ns": 1}],
    })
}

pub(crate) fn comparison() -> Comparison {
    let runs = [
        ("rtc".to_owned(), 1, run("rtc", &[1_000, 1_000, 2_000], 500_000)),
        ("hybrid".to_owned(), 1, run("hybrid", &[1_000, 5_000], 0)),
        ("rtc".to_owned(), 2, run("rtc", &[9_000], 0)),
        ("rtc".to_owned(), 3, run("rtc", &[4_000], 500_000)),
    ];
    let failed = vec![FailedRound { mode: "hybrid".into(), round: 2, why: "mpfwd ended".into() }];
    Comparison::of(parameters(&["rtc", "hybrid"]), &runs, failed, true)
}

#[test]
fn medians_are_in_the_middle() {
    assert_eq!(median([]), None);
    assert_eq!(median([3.0]), Some(3.0));
    assert_eq!(median([9.0, 1.0, 2.0]), Some(2.0));
    assert_eq!(median([4.0, 1.0, 2.0, 9.0]), Some(3.0));
}

#[test]
fn rounds_have_rows_and_modes_have_medians() {
    let all = comparison();
    let rtc: Vec<&Row> =
        all.rows.iter().filter(|row| row.mode == "rtc" && row.class == Class::Cheap).collect();
    assert_eq!(
        rtc.iter().map(|row| row.round).collect::<Vec<_>>()[..3],
        [1, 2, 3].map(Round::Number)
    );
    let median = rtc[3];
    assert!(median.is_median() && median.rounds == 3 && median.pkts == 1, "{median:?}");
    assert!(
        median.p99_ns.unwrap().abs_diff(4_000) <= 4
            && median.p99_max_ns.unwrap().abs_diff(9_000) <= 9,
        "{median:?}"
    );
    assert!(median.p99_min_ns.unwrap().abs_diff(2_000) <= 2, "{median:?}");
    assert_eq!((median.tx_mpps, median.sheds, median.steals, median.takeovers), (1.5, 5, 5, 1));
    assert_eq!((median.lost_pkts, median.host_gap_ns), (500_010, 100_000_000));
    let none = all.medians(Class::Expensive).next().unwrap();
    assert_eq!(
        (none.pkts, none.p99_ns, none.p99_min_ns),
        (0, None, None),
        "no packets have no percentiles"
    );
}

#[test]
fn problems_are_warnings() {
    let notes = comparison().notes.join("\n");
    for says in [
        "interrupted",
        "hybrid: 1 of 3 rounds failed",
        "raise --cheap",
        "may be the host's: rtc 5 %, hybrid 5 %",
        "rtc: offered 0.500 of 1.000 Mpps",
        "percentiles exclude them: rtc 33.33 %",
    ] {
        assert!(notes.contains(says), "{says}: {notes}");
    }
}

#[test]
fn json_is_as_documented_and_can_be_read() {
    let text = serde_json::to_string(&comparison()).unwrap();
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    let rounds: Vec<&serde_json::Value> =
        value["rows"].as_array().unwrap().iter().map(|row| &row["round"]).collect();
    assert!(rounds.contains(&&json!("median")) && rounds.contains(&&json!(1)), "{rounds:?}");
    let again: Comparison = serde_json::from_str(&text).unwrap();
    assert_eq!(serde_json::to_string(&again).unwrap(), text);
    assert_eq!(
        again.curves.iter().map(|curve| (curve.mode.as_str(), curve.class)).collect::<Vec<_>>(),
        [("rtc", Class::Cheap), ("hybrid", Class::Cheap)]
    );
    assert_eq!(
        again.curves[0].buckets.iter().map(|bucket| bucket.1).sum::<u64>(),
        5,
        "all rounds together"
    );
    assert_eq!((again.incidents.len(), again.incidents[0].round), (2, 3), "of the last round");
}
