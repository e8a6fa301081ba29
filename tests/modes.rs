//! Every mode, with both kinds of growing run queues, under work of every kind:
//! each packet leaves once and intact or is counted where it was dropped, and
//! every lcore does what its mode says.

mod common;
mod lab;

use std::time::Duration;

use common::{Running, as_json, assert_all_sent, count, dropped, lcores, modes, rows, start};
use lab::{Lab, pass_through};
use nix::sys::signal::Signal;
use serde_json::Value;

const TWO_NULLS: &str = "--vdev net_null0 --vdev net_null1";

/// The modes that pass expensive packets on through rings.
const SHEDDING: [&str; 3] = ["--mode shed-random", "--mode pools --pools 2:1", "--pools 2:1"];

fn started(lcore_count: usize, own: &str) -> Running {
    start(
        &format!("{} {TWO_NULLS}", lcores(lcore_count)),
        &format!("--idle yield --order none --mbufs 65535 {own}"),
    )
}

/// A run at full load: devices and lcores counted the same, and nothing is
/// dropped but under the one allowed cause.
#[track_caller]
fn soak(lcore_count: usize, own: &str, may_drop: &str) -> Value {
    checked(started(lcore_count, own), own, may_drop)
}

#[track_caller]
fn checked(mpfwd: Running, own: &str, may_drop: &str) -> Value {
    let outcome = mpfwd.finish();
    let report = outcome.good_report();
    for (direction, key) in [("ipackets", "rx_pkts"), ("opackets", "tx_pkts")] {
        let by_device: u64 =
            rows(report, "ports").iter().map(|row| count(&row["device"], direction)).sum();
        assert_eq!(
            by_device,
            count(report, key),
            "{own}: the devices counted the same: {report:#}"
        );
    }
    for (cause, pkts) in report["drops"].as_object().expect("drops by cause") {
        assert!(
            pkts.as_u64() == Some(0) || cause == may_drop,
            "{own}: dropped as {cause}: {report:#}"
        );
    }
    assert_eq!(count(report, "shed_pkts"), count(report, "taken_pkts"), "{own}: {report:#}");
    report.clone()
}

fn by_pool(report: &Value, pool: &str, key: &str) -> u64 {
    rows(report, "lcores").iter().filter(|row| row["pool"] == pool).map(|row| count(row, key)).sum()
}

/// Checks that expensive packets ran where the mode says.
#[track_caller]
fn assert_ran_where_it_should(report: &Value, own: &str) {
    let [on_a, on_b] = ["A", "B"].map(|pool| by_pool(report, pool, "expensive_pkts"));
    match report["mode"].as_str().expect("a name") {
        "rtc" | "steal" | "shared" => {
            assert!(on_a > 0 && count(report, "shed_pkts") == 0, "{own}: {report:#}")
        }
        "shed-random" => assert!(
            count(report, "shed_pkts") > 0 && on_a >= count(report, "taken_pkts"),
            "{own}: {report:#}"
        ),
        "pools" => assert!(on_a == 0 && on_b == count(report, "taken_pkts"), "{own}: {report:#}"),
        "hybrid" => assert!(on_b > 0 && by_pool(report, "B", "rx_pkts") > 0, "{own}: {report:#}"),
        other => panic!("there is no mode {other}"),
    }
}

#[test]
fn work_of_known_cost() {
    for mode in modes("2:1") {
        for work in [
            "cheap=0ns,expensive=20us,p=0.0005",
            "cheap=100ns,expensive=1ms,p=0.00003",
            "cheap=0ns,expensive=1us,p=0.005",
        ] {
            let own = format!("{mode} --packets 1000000 --ring-size 8192 --work spin:{work}");
            assert_ran_where_it_should(&soak(3, &own, ""), &own);
        }
    }
}

#[test]
fn work_of_unknown_cost() {
    for mode in modes("2:1") {
        for rest in [
            "cheap=0ns,expensive=20us,p=0.01,known=no",
            "cheap=100ns,expensive=2ms,p=0.0005,known=no --runq-max 64 --grow append",
        ] {
            let own = format!("{mode} --packets 200000 --work spin:{rest}");
            let report = soak(3, &own, "");
            assert_eq!(
                by_pool(&report, "A", "expensive_pkts") + count(&report, "shed_pkts"),
                0,
                "{own}: nobody knew: {report:#}"
            );
            if mode.contains("pools 2:1") && !mode.contains("--mode") && own.contains("2ms") {
                assert!(!rows(&report, "incidents").is_empty(), "{own}: {report:#}");
                assert!(
                    rows(&report, "lcores")
                        .iter()
                        .any(|row| count(&row["rescue"], "takeovers") > 0),
                    "{own}: {report:#}"
                );
            }
            if own.contains("steal") {
                assert!(
                    rows(&report, "lcores")
                        .iter()
                        .map(|row| count(&row["rescue"], "takeovers"))
                        .sum::<u64>()
                        == 0,
                    "{own}: {report:#}"
                );
            }
        }
    }
}

#[test]
fn full_rings_drop_or_hold_back() {
    for mode in SHEDDING {
        for ring_size in [2, 16] {
            let own = |on_full| {
                let work = "--work spin:cheap=0ns,expensive=5us,p=0.2 --packets 100000";
                format!("{mode} --ring-size {ring_size} --on-full {on_full} {work}")
            };
            let report = soak(3, &own("drop"), "shard_full");
            assert!(dropped(&report, "shard_full") > 0, "{}: {report:#}", own("drop"));
            let report = soak(3, &own("run"), "");
            assert!(count(&report, "shed_pkts") > 0, "{}: {report:#}", own("run"));
            let ran_here = count(&report, "shed_pkts")
                < by_pool(&report, "A", "expensive_pkts") + by_pool(&report, "B", "expensive_pkts");
            assert!(
                ran_here || report["mode"] == "hybrid",
                "{}: some were run where they came: {report:#}",
                own("run")
            );
        }
    }
}

/// An lcore that was refused a permit asks again, however much there is to
/// poll: no worker stays away from expensive work for ever.
#[test]
fn a_cap_below_the_workers_starves_none_of_them() {
    let own = "--pools 1:2 --expensive-cap 1 --ring-size 64 --duration 1 --work spin:cheap=0ns,expensive=5us,p=0.2";
    let report = soak(3, own, "shard_full");
    for worker in rows(&report, "lcores").iter().filter(|row| row["pool"] == "B") {
        assert!(
            10 * count(worker, "taken_pkts") > count(&report, "taken_pkts"),
            "{own}: {report:#}"
        );
    }
}

#[test]
fn a_signal_under_load_finishes_what_was_received() {
    for mode in modes("2:1") {
        for work in ["cheap=0ns,expensive=50us,p=0.01", "cheap=0ns,expensive=50us,p=0.01,known=no"]
        {
            let own = format!("{mode} --grow append --stats-period 0.05 --work spin:{work}");
            let mut mpfwd = started(3, &own);
            mpfwd.wait_until_it_forwards();
            std::thread::sleep(Duration::from_millis(50));
            mpfwd.signal(Signal::SIGTERM);
            checked(mpfwd, &own, "shard_full");
        }
    }
}

#[test]
fn ten_lcores_over_two_cpus_all_work() {
    for mode in [
        "--mode rtc",
        "--mode steal",
        "--mode steal --steal-rx",
        "--mode shared",
        "--mode shed-random",
        "--mode pools --pools 8:2",
        "--pools 8:2",
    ] {
        for work in
            ["p=0", "expensive=50us,p=0.002", "expensive=50us,p=0.002,known=no --runq-max 64"]
        {
            let own = format!("{mode} --duration 0.5 --work spin:cheap=0ns,{work}");
            let report = soak(10, &own, "shard_full");
            assert_eq!(rows(&report, "lcores").len(), 10);
            for lcore in rows(&report, "lcores") {
                // A worker polls as long as no expensive packet waits.
                let polls = lcore["pool"] == "A" || report["mode"] == "hybrid" && work == "p=0";
                assert!(
                    !polls || count(lcore, "rx_pkts") > 0,
                    "{own}: it polled nothing: {lcore:#}"
                );
                let takes = lcore["pool"] == "B" && work == "expensive=50us,p=0.002";
                assert!(
                    !takes || count(lcore, "taken_pkts") > 0,
                    "{own}: it took nothing: {lcore:#}"
                );
            }
        }
    }
}

/// Two ports' packets, numbered from 0: addresses, the number, and bytes unique
/// to the packet.
fn frame(number: u32) -> Vec<u8> {
    let payload = (0..50 + number % 900).map(|at| (at.wrapping_mul(number | 1) >> 3) as u8);
    [[0xaa; 6], [0xbb; 6]].concat().into_iter().chain(number.to_be_bytes()).chain(payload).collect()
}

/// The packet's expected output in `macswap` mode.
fn swapped(number: u32) -> Vec<u8> {
    let mut bytes = frame(number);
    bytes[..12].rotate_left(6);
    bytes
}

#[test]
fn every_packet_comes_out_once_and_intact() {
    const PKTS: u32 = 1500;
    let mut lab = Lab::start(3);
    for mode in modes("2:1") {
        for own in [
            "--work spin:cheap=0ns,expensive=50us,p=0.1",
            "--work spin:cheap=1us,expensive=100us,p=0.1,known=no",
            "--work spin:cheap=1us,expensive=100us,p=0.1,known=no --grow append --runq-max 64",
            "--work spin:cheap=0ns,expensive=50us,p=0.3 --ring-size 8 --on-full run --grow append",
            "--work spin:cheap=0ns,expensive=2ms,p=0.01 --burst 512",
        ] {
            let mut wires = lab.wires(1024);
            let packets = [0, PKTS].map(|first| {
                (first..first + PKTS).map(|number| lab.packet(&[&frame(number)])).collect()
            });
            let own =
                format!("{mode} --idle yield --forward-mode macswap --packets {} {own}", 2 * PKTS);
            let (report, came) =
                lab.run(&own, &mut wires, |rings, over| pass_through(packets, rings, over));
            let report = as_json(&report);
            assert_all_sent(&report, 2 * PKTS, &own);
            for (mut came, first) in came.into_iter().zip([PKTS, 0]) {
                let mut wanted: Vec<Vec<u8>> = (first..first + PKTS).map(swapped).collect();
                came.sort();
                wanted.sort();
                assert!(
                    came == wanted,
                    "{own}: {} came, {} wanted, and not all as they should",
                    came.len(),
                    wanted.len()
                );
            }
            drop(wires);
            lab.assert_has_all_its_buffers();
        }
    }
}
