//! mplab end to end: short experiments, their files and pictures; what can't be
//! done is one line.

mod common;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use common::{NO_HUGE, lcores, rows, run};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

fn mplab(args: &[&str]) -> Command {
    let mut command = Command::new(common::mplab());
    command.args(args).stdin(Stdio::null());
    command
}

/// On memory that every machine has, with packets that a build without
/// optimisation can keep up with.
fn experiment(name: &str, args: &[&str]) -> Command {
    let lcores = lcores(2);
    let mut command = mplab(&[
        name,
        "--eal",
        NO_HUGE,
        "--pools",
        "1:1",
        "--cheap",
        "20us",
        "--expensive",
        "2ms",
        "--load",
        "0.2",
    ]);
    command
        .args(["--lcores", lcores.strip_prefix("--lcores ").expect("an argument and its value")])
        .args(args);
    command
}

#[track_caller]
fn succeed(mut command: Command) -> String {
    let Output { status, stdout, stderr } = command.output().expect("mplab starts");
    let text = String::from_utf8_lossy(&stdout).into_owned();
    assert!(status.success(), "{command:?}: {text}\n{}", String::from_utf8_lossy(&stderr));
    text
}

fn json(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).expect("the file is there")).expect("JSON")
}

fn path(folder: &tempfile::TempDir, name: &str) -> String {
    folder.path().join(name).display().to_string()
}

/// The keys that the tables below a heading of docs/mplab.md describe.
fn described<'d>(document: &'d str, heading: &str) -> BTreeSet<&'d str> {
    let section = document.split("\n### ").find(|section| section.lines().next() == Some(heading));
    let cells = section
        .unwrap_or_else(|| panic!("no {heading}"))
        .lines()
        .filter(|line| line.starts_with("| `"))
        .filter_map(|line| line.split('|').nth(1));
    cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect()
}

fn keys(object: &Value) -> BTreeSet<&str> {
    object.as_object().expect("an object").keys().map(String::as_str).collect()
}

#[test]
fn modes_are_compared_and_drawn() {
    let folder = tempfile::tempdir().expect("a folder");
    let [json_path, svg, png] = ["c.json", "c.svg", "c.png"].map(|name| path(&folder, name));
    let args = [
        "--modes",
        "rtc,hybrid",
        "--rounds",
        "2",
        "--round-time",
        "0.3",
        "--p",
        "0.01",
        "--json",
        &json_path,
        "--plot",
        &svg,
    ];
    let text = succeed(experiment("compare", &args));
    assert_eq!(
        text.lines().filter(|line| line.split_whitespace().next() == Some("hybrid")).count(),
        3,
        "a table per class, and one of both: {text}"
    );
    let all = json(Path::new(&json_path));
    for class in ["cheap", "expensive"] {
        for mode in ["rtc", "hybrid"] {
            let own: Vec<&Value> = rows(&all, "rows")
                .iter()
                .filter(|row| row["mode"] == mode && row["class"] == class)
                .collect();
            let rounds: Vec<&Value> = own.iter().map(|row| &row["round"]).collect();
            assert_eq!(
                rounds,
                [&Value::from(1), &Value::from(2), &Value::from("median")],
                "{mode} {class}"
            );
            assert!(
                own.iter()
                    .all(|row| row["pkts"].as_u64() > Some(0)
                        && row["p99_ns"].as_u64() > Some(1_000)),
                "{own:#?}"
            );
        }
    }
    assert_eq!(
        (all["interrupted"].as_bool(), rows(&all, "failed").len()),
        (Some(false), 0),
        "{all:#}"
    );
    let document = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/mplab.md"))
        .expect("the document");
    for (heading, object) in
        [("Top level", &all), ("Parameters", &all["parameters"]), ("Rows", &all["rows"][0])]
    {
        assert_eq!(
            described(&document, heading),
            keys(object),
            "{heading}: what is described, and what there is"
        );
    }
    assert!(std::fs::read_to_string(&svg).expect("a picture").contains("hybrid"));
    succeed(mplab(&["plot", &json_path, "-o", &png, "--panels", "percentiles"]));
    assert!(std::fs::read(&png).expect("a picture").starts_with(b"\x89PNG"));
}

#[test]
fn a_report_and_its_percentiles_are_files_for_other_tools() {
    let folder = tempfile::tempdir().expect("a folder");
    let [report, svg, prefix] = ["r.json", "r.svg", "r"].map(|name| path(&folder, name));
    let eal = format!("{} --vdev net_null0,no-rx=1", lcores(1));
    let outcome = run(
        &eal,
        &format!("--duration 0.3 --source open-loop:rate=50k --report {report} --hgrm {prefix}"),
    );
    assert!(outcome.status.success(), "{}", outcome.stderr);
    let latency = &json(Path::new(&report))["latency"];
    let counted: u64 =
        rows(&latency["cheap"], "buckets").iter().filter_map(|bucket| bucket[1].as_u64()).sum();
    assert_eq!(Some(counted), latency["cheap"]["pkts"].as_u64());
    let hgrm = std::fs::read_to_string(format!("{prefix}-cheap.hgrm")).expect("percentiles");
    assert!(
        hgrm.contains(&format!("Total count    = {counted:12}"))
            && hgrm.contains("\n# open-loop")
            && hgrm.contains("\n# host gaps: "),
        "{hgrm}"
    );
    assert!(Path::new(&format!("{prefix}-expensive.hgrm")).exists());
    succeed(mplab(&["plot", &report, "-o", &svg]));
    let picture = std::fs::read_to_string(&svg).expect("a picture");
    assert!(picture.contains("rate=50000") && picture.contains("host gaps: "));
}

#[test]
fn the_first_benchmark_is_printed_as_it_was() {
    let args = ["--mode", "pools,single", "--packets", "3000", "--p", "0.01"];
    let text = succeed(experiment("bimodal", &args));
    assert_eq!(
        text.matches("starting micropool a (sz:1)\nstarting micropool b (sz:1)\nlatency:[     0,")
            .count(),
        1,
        "{text}"
    );
    assert_eq!(text.matches("starting micropool a (sz:2)\nlatency:[     0,").count(), 1, "{text}");
    assert_eq!(
        text.lines().filter(|line| line.starts_with("Quartiles: .5: ")).count(),
        2,
        "{text}"
    );
}

/// An mpfwd that fails in its second mode: the first one's rounds are there,
/// and the exit code says that others are not.
#[test]
fn rounds_that_fail_are_said_and_the_others_kept() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("a folder");
    let [json_path, script] = ["c.json", "mpfwd"].map(|name| path(&folder, name));
    let text = format!(
        "#!/bin/sh\ncase \"$*\" in *--check-args*) ;; *'--mode steal'*) echo 'mpfwd: it broke' >&2; exit 3;; esac\nexec {} \"$@\"\n",
        common::BINARY
    );
    std::fs::write(&script, text).expect("a file");
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).expect("it is ours");
    let args = [
        "--modes",
        "rtc,steal",
        "--rounds",
        "2",
        "--round-time",
        "0.2",
        "--json",
        &json_path,
        "--mpfwd",
        &script,
    ];
    let output = experiment("compare", &args).output().expect("mplab starts");
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(4), "{out}\n{err}");
    assert!(
        err.contains("mplab: 2 of 4 rounds failed")
            && out.contains("steal: 2 of 2 rounds failed")
            && out.contains("it broke"),
        "{out}\n{err}"
    );
    let all = json(Path::new(&json_path));
    assert_eq!(
        rows(&all, "failed").iter().map(|row| row["round"].as_u64()).collect::<Vec<_>>(),
        [Some(1), Some(2)],
        "{all:#}"
    );
    assert_eq!(
        rows(&all, "rows")
            .iter()
            .filter(|row| row["mode"] == "rtc" && row["class"] == "cheap")
            .count(),
        3,
        "{all:#}"
    );
}

/// Runs an experiment and interrupts it after this time. Returns whether it
/// succeeded, its standard output and its standard error.
fn interrupted(command: &str, args: &[&str], after_s: u64) -> (bool, String, String) {
    let child = experiment(command, args)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("mplab starts");
    std::thread::sleep(Duration::from_secs(after_s));
    kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).expect("it runs");
    let output = child.wait_with_output().expect("it ends");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.success(), text(&output.stdout), text(&output.stderr))
}

/// Ten seconds of measuring are not thrown away.
#[test]
fn an_interrupted_benchmark_shows_what_it_has_measured() {
    let args = ["--mode", "pools,single", "--packets", "100000000", "--p", "0.01"];
    for patience_s in [4, 20] {
        let (success, out, err) = interrupted("bimodal", &args, patience_s);
        if !success && err.contains("interrupted") {
            continue;
        }
        assert!(success && err.is_empty(), "{out}\n{err}");
        assert_eq!(out.matches("warning: interrupted after ").count(), 1, "{out}");
        assert_eq!(
            out.matches("starting micropool a").count(),
            1,
            "the second mode was not begun: {out}"
        );
        assert!(
            out.contains("Quartiles: .5: ")
                && out.contains("of 100,000,000 packets")
                && out.contains("up to a burst late"),
            "{out}"
        );
        return;
    }
    panic!("not one packet in 20 seconds");
}

/// The results until then are printed and written.
#[test]
fn an_interrupt_keeps_what_was_measured() {
    let folder = tempfile::tempdir().expect("a folder");
    let json_path = path(&folder, "c.json");
    let args = ["--modes", "rtc", "--rounds", "1000", "--round-time", "0.1", "--json", &json_path];
    for patience_s in [5, 20] {
        let (success, out, err) = interrupted("compare", &args, patience_s);
        if err.contains("interrupted before the first round had ended") {
            continue;
        }
        assert!(success && out.contains("warning: interrupted"), "{out}\n{err}");
        let all = json(Path::new(&json_path));
        assert!(
            all["interrupted"] == true
                && rows(&all, "rows").len() >= 4
                && rows(&all, "failed").is_empty(),
            "{all:#}"
        );
        return;
    }
    panic!("not one round in 20 seconds");
}

#[test]
fn what_can_not_be_done_is_one_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let cut = path(&folder, "cut.json");
    std::fs::write(&cut, "{\"parameters\": {\"modes\": [\"rtc\"").expect("a file");
    let out = path(&folder, "x.svg");
    for (args, says) in [
        (&["compare", "--modes", "rtc,hybird"] as &[&str], "'hybrid'"),
        (&["compare", "-l", "0-1", "--pools", "2:2"], "write --pools 1:1"),
        (&["compare", "-l", "0-1", "--work", "spin:dist=pareto,min=1us"], "shape=1.1"),
        (&["compare", "-l", "0-1", "--source", "arrivals=never"], "poisson, fixed or on-off"),
        (&["compare", "-l", "0-1", "--expensive-load", "5"], "raise --load"),
        (&["compare", "-l", "0-1", "--mpfwd", "/nowhere/mpfwd"], "cargo build --release"),
        (&["compare", "-l", "0-1", "--json", "/nowhere/x.json"], "/nowhere/x.json"),
        (&["compare", "-l", "0-1", "--plot", "x.jpg"], ".svg or .png"),
        (&["compare", "-l", "0-1", "--modes", "rtc,rtc"], "twice"),
        (
            &["compare", "-l", "0-1", "--modes", "rtc", "--", "--rescue-after", "1ms"],
            "--mode hybrid",
        ),
        (&["compare", "-l", "4000-4001", "--eal", NO_HUGE], "mode rtc: "),
        (&["plot", &cut, "-o", &out], "cut off"),
        (&["plot", "/nowhere.json", "-o", &out], "/nowhere.json"),
        (&["bimodal", "--p", "7"], "from 0 to 1"),
    ] {
        let output = mplab(args).output().expect("mplab starts");
        let err = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {err}");
        assert!(
            err.lines().count() == 1 && err.starts_with("mplab: ") && err.contains(says),
            "{args:?}: one line that says {says:?}, not:\n{err}"
        );
    }
    assert!(!Path::new(&out).exists(), "nothing was drawn");
}

/// A short run's report, without what a machine that runs other tests adds.
fn quiet_report(own: &str) -> Value {
    let outcome = run(&format!("{} --vdev net_null0,no-rx=1", lcores(2)), own);
    let mut report = outcome.good_report().clone();
    (report["host_gaps"]["gap_ns"], report["run_delay_ns"]) = (0.into(), 0.into());
    for name in ["imissed", "rx_nombuf"] {
        report["ports"][0]["device"][name] = 0.into();
    }
    for queue in report["queues"].as_array_mut().expect("queues") {
        if queue["direction"] == "rx" {
            queue["arrivals"][0]["windows"] = 1000.into();
        }
    }
    report
}

#[test]
fn advice_is_given_and_checked() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, report: &Value| {
        let path = path(&folder, name);
        std::fs::write(&path, report.to_string()).expect("it can be written");
        path
    };
    let own =
        "--duration 2 --work spin:cheap=20us,expensive=2ms,p=0.005 --source open-loop:load=0.2";
    let report = quiet_report(&format!("--mode rtc {own}"));
    let first = write("first.json", &report);
    let advise = |args: &[&str]| {
        let all = [["advise", &first, "--packets", "1000"].as_slice(), args].concat();
        succeed(mplab(&all))
    };
    let text = advise(&["--target", "cheap p99 < 10s"]);
    let lines =
        |start: &str| text.lines().filter(|line| line.trim_start().starts_with(start)).count();
    assert_eq!((lines("advice: --mode "), lines("NO SPLIT"), lines("now ")), (1, 0, 2), "{text}");
    assert!(text.contains("--rxd") && text.contains("--ring-size"), "{text}");
    let text = advise(&["--target", "cheap p99 < 1us", "--lcores", "4"]);
    assert!(text.contains("NO SPLIT REACHES cheap p99 < 1.00 us on 4 lcores"), "{text}");

    let second = quiet_report(&format!("--mode hybrid --pools 1:1 {own}"));
    let text = advise(&["--check", &write("second.json", &second)]);
    assert!(text.starts_with("hybrid 1:1 at ") && text.matches("p99.9").count() == 2, "{text}");

    let mut clipped = report;
    clipped["ports"][0]["device"]["imissed"] = 7.into();
    let output = mplab(&["advise", &write("clipped.json", &clipped)]).output();
    let output = output.expect("mplab starts");
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && err.contains("missed 7 packets"), "{err}");
}
