//! mplab's command line, without an mpfwd.

use std::process::{Command, Stdio};

fn mplab(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mplab"));
    command.args(args).stdin(Stdio::null());
    command
}

#[test]
fn help_lists_the_experiments() {
    let output = mplab(&["--help"]).output().expect("mplab starts");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success());
    for name in ["compare", "advise", "bimodal", "plot", "routes"] {
        assert!(text.contains(name), "{text}");
    }
}

#[test]
fn a_seed_makes_the_same_routes_again() {
    let routes = |seed| {
        let made = mplab(&["routes", "--count", "50", "--ipv6-count", "50", "--seed", seed]);
        { made }.output().expect("mplab starts").stdout
    };
    assert!(!routes("1").is_empty());
    assert_eq!(routes("1"), routes("1"));
    assert_ne!(routes("1"), routes("2"));
}

#[test]
fn an_mpfwd_that_is_not_there_is_one_line() {
    let output = mplab(&["compare", "-l", "0-1", "--mpfwd", "/nowhere/mpfwd"]).output();
    let output = output.expect("mplab starts");
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), err.lines().count()), (Some(2), 1), "{err}");
    assert!(err.starts_with("mplab: ") && err.contains("cargo build --release"), "{err}");
}

#[test]
fn advice_on_what_is_no_report_is_one_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("report.json").display().to_string();
    let refused = |args: &[&str], says: &str| {
        let output = mplab(args).output().expect("mplab starts");
        let err = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), err.lines().count()), (Some(2), 1), "{err}");
        assert!(err.starts_with("mplab: ") && err.contains(says), "{says}: {err}");
    };
    refused(&["advise", &path], "No such file");
    for (text, says) in [
        ("", "empty"),
        ("{\"report_version\": 1,", "cut off in line 1"),
        ("{}", "no report_version"),
        ("{\"report_version\": 2}", "report_version is 2"),
        ("{\"report_version\": 1}", "missing field"),
    ] {
        std::fs::write(&path, text).expect("it can be written");
        refused(&["advise", &path], says);
    }
    refused(&["advise", &path, "--target", "cheap p98 < 1us"], "'cheap p99 < 50us'");
    refused(&["advise", &path, "--load-factor", "0"], "above 0");
}
