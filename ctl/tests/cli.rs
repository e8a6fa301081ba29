//! mpctl's command line, without an mpfwd and beside one that a thread plays.

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn mpctl(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mpctl"));
    command.args(args).stdin(Stdio::null()).output().expect("mpctl starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn help_lists_the_commands() {
    let output = mpctl(&["--help"]);
    let help = text(&output.stdout);
    assert!(output.status.success());
    for name in [
        "status",
        "top",
        "drain",
        "pools",
        "mode",
        "cap",
        "rescue-after",
        "queues",
        "reload",
        "incidents",
        "metrics",
        "config",
    ] {
        assert!(help.contains(name), "{help}");
    }
    assert!(text(&mpctl(&["generate", "man"]).stdout).contains("mpctl"));
}

#[test]
fn mistakes_and_an_mpfwd_that_is_not_there_are_one_line() {
    let nobody = ["--api", "unix:/nowhere/a.sock", "status"];
    for args in [
        &nobody[..],
        &["--file-prefix", "no-such-prefix", "status"],
        &["--api", "10.0.0.1:9000", "status"],
        &["--api", "unix:/a", "--file-prefix", "a", "status"],
        &["drain", "--time", "3"],
        &["rescue-after", "20"],
        &["queues", "0,0,1"],
        &["cap", "many"],
        &["nope"],
    ] {
        let output = mpctl(args);
        let err = text(&output.stderr);
        assert_eq!((output.status.code(), err.lines().count()), (Some(2), 1), "{args:?}: {err}");
        assert!(err.starts_with("mpctl: "), "{err}");
    }
}

/// Answers the next request at the socket, and returns its first line.
fn answer(listener: &UnixListener, status: &str, body: &str) -> String {
    let (mut stream, _) = listener.accept().expect("a client");
    let mut request = [0; 4096];
    let length = stream.read(&mut request).expect("a request");
    let reply = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    stream.write_all(reply.as_bytes()).expect("the client reads");
    text(&request[..length]).lines().next().unwrap_or_default().to_owned()
}

/// Runs mpctl beside an mpfwd that answers so. Returns what that was asked, too.
fn beside(args: &[&str], status: &str, body: &str) -> (Output, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.sock");
    let listener = UnixListener::bind(&path).expect("a socket");
    let api = api_of(&path);
    let args: Vec<&str> = ["--api", &api].into_iter().chain(args.iter().copied()).collect();
    std::thread::scope(|scope| {
        let mpfwd = scope.spawn(|| answer(&listener, status, body));
        let output = mpctl(&args);
        (output, mpfwd.join().expect("no panic"))
    })
}

fn api_of(path: &Path) -> String {
    format!("unix:{}", path.display())
}

#[test]
fn answers_and_refusals_come_through() {
    let (output, asked) = beside(&["metrics"], "200 OK", "a_total 1\n");
    assert_eq!(
        (asked.as_str(), output.stdout.as_slice()),
        ("GET /metrics HTTP/1.1", &b"a_total 1\n"[..])
    );
    assert!(output.status.success());

    let (output, asked) = beside(&["drain", "--time", "2s"], "202 Accepted", "{}");
    assert_eq!(asked, "POST /drain HTTP/1.1");
    assert!(output.status.success());

    let refusal = r#"{"error":"the run is over"}"#;
    let (output, _) = beside(&["drain"], "503 Service Unavailable", refusal);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).ends_with("a.sock: the run is over\n"));

    let (output, _) = beside(&["incidents"], "200 OK", r#"{"incidents":[]}"#);
    assert_eq!(text(&output.stdout), "no stuck lcores on record\n");

    let (output, _) = beside(&["incidents"], "200 OK", "<html>");
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn changes_say_what_was_and_what_is() {
    let (output, asked) =
        beside(&["pools", "6:4"], "200 OK", r#"{"was":"8:2","is":"6:4","lcores_behind":0}"#);
    assert_eq!(asked, "POST /pools HTTP/1.1");
    assert_eq!(text(&output.stdout), "pools: 8:2 -> 6:4\n");

    let behind = r#"{"was":20000,"is":1000000,"lcores_behind":1}"#;
    let (output, _) = beside(&["rescue-after", "1ms"], "200 OK", behind);
    let said = text(&output.stdout);
    assert!(said.starts_with("rescue-after: 20.0 us -> 1.00 ms\n1 lcores"), "{said}");

    let moved = r#"{"was":[{"port":0,"queue":0,"lcore":0}],"is":[{"port":0,"queue":0,"lcore":1}],"lcores_behind":0}"#;
    let (output, asked) = beside(&["queues", "(0,0,1)"], "200 OK", moved);
    assert_eq!(
        (asked.as_str(), text(&output.stdout).as_str()),
        ("POST /queues HTTP/1.1", "queues: (0,0,0) -> (0,0,1)\n")
    );
    let (output, _) = beside(&["queues", "(0,0,1)", "--json"], "200 OK", moved);
    assert_eq!(text(&output.stdout).trim_end(), moved);

    let refusal = r#"{"error":"mode rtc has no expensive-cap"}"#;
    let (output, asked) = beside(&["cap", "2"], "409 Conflict", refusal);
    assert_eq!((asked.as_str(), output.status.code()), ("POST /expensive-cap HTTP/1.1", Some(2)));
    assert!(text(&output.stderr).ends_with("a.sock: mode rtc has no expensive-cap\n"));

    let (output, asked) = beside(&["reload"], "200 OK", r#"{"rereads":null}"#);
    assert_eq!((asked.as_str(), output.status.code()), ("GET /config HTTP/1.1", Some(2)));
}
