//! The control socket, from outside: what it answers, who is refused, and that
//! no client harms others or the datapath.

mod common;
mod steer;

use std::collections::BTreeSet;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use common::{Running, count, lcores, rows, start};
use nix::sys::signal::Signal;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, connect, recv, send, socket,
};
use serde_json::{Value, json};

const PORTS: &str = "--vdev net_null0 --vdev net_null1";
const WORK: &str = "--idle yield --pools 1:1 --work spin:cheap=1us,expensive=200us,p=0.001";

/// An mpfwd that forwards, and the path of its socket in a folder of its own.
struct Api {
    running: Running,
    path: PathBuf,
    _folder: tempfile::TempDir,
}

struct Reply {
    status: u16,
    head: String,
    body: String,
}

impl Reply {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

impl Api {
    fn start(own: &str) -> Self {
        Self::start_with(2, own)
    }

    fn start_with(lcore_count: usize, own: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("api.sock");
        let own = format!("{own} --stats-period 0.2 --api unix:{}", path.display());
        let mut running = start(&format!("{} {PORTS}", lcores(lcore_count)), &own);
        running.wait_until_it_forwards();
        Self { running, path, _folder: folder }
    }

    fn get(&self, path: &str) -> Reply {
        self.ask(&format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"))
    }

    fn post(&self, path: &str, body: &str) -> Reply {
        let length = body.len();
        self.ask(&format!(
            "POST {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        ))
    }

    /// Sends the bytes, and reads up to the end.
    fn ask(&self, request: &str) -> Reply {
        ask(UnixStream::connect(&self.path).expect("it listens"), request)
    }
}

fn ask(mut stream: impl Read + Write, request: &str) -> Reply {
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("it answers");
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text}"));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Reply { status: status.expect("a status"), head: head.to_lowercase(), body: body.to_owned() }
}

fn openapi() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/openapi.json");
    serde_json::from_str(&std::fs::read_to_string(path).expect("it is there")).expect("JSON")
}

/// Holds an answer to the description.
#[track_caller]
fn assert_described(api: &Value, method: &str, path: &str, reply: &Reply) {
    let responses = &api["paths"][path][method]["responses"];
    let mut response = &responses[reply.status.to_string()];
    if let Some(name) = response["$ref"].as_str() {
        response = &api["components"]["responses"][name.rsplit('/').next().expect("a name")];
    }
    let schema = &response["content"]["application/json"]["schema"];
    assert!(schema.is_object(), "{method} {path}: {} is not described", reply.status);
    if let Err(why) = fits(api, schema, &reply.json()) {
        panic!("{method} {path}: {why}");
    }
}

/// Whether the value has the schema, by the keywords that the description uses.
fn fits(api: &Value, schema: &Value, value: &Value) -> Result<(), String> {
    for (keyword, rule) in schema.as_object().expect("a schema") {
        let is_right = match keyword.as_str() {
            "$ref" => {
                let name = rule.as_str().and_then(|path| path.rsplit('/').next());
                let schema = &api["components"]["schemas"][name.expect("a name")];
                fits(api, schema, value).map(|()| true)?
            }
            "anyOf" => each(rule).any(|schema| fits(api, schema, value).is_ok()),
            "enum" => each(rule).any(|allowed| allowed == value),
            "type" if rule.is_array() => each(rule).any(|name| is_of_type(name, value)),
            "type" => is_of_type(rule, value),
            "minimum" => value.as_f64() >= rule.as_f64(),
            "required" => each(rule).all(|name| value.get(name.as_str().unwrap()).is_some()),
            "items" => {
                each(value).try_for_each(|item| fits(api, rule, item))?;
                true
            }
            "properties" | "additionalProperties" => {
                let known = &schema["properties"];
                for (name, value) in value.as_object().into_iter().flatten() {
                    match (known.get(name), &schema["additionalProperties"]) {
                        (Some(schema), _) => fits(api, schema, value)?,
                        (None, Value::Bool(false)) => return Err(format!("unknown: {name}")),
                        (None, schema) if schema.is_object() => fits(api, schema, value)?,
                        (None, _) => {}
                    }
                }
                true
            }
            "description" => true,
            _ => panic!("the keyword {keyword} is not checked"),
        };
        if !is_right {
            let value = value.to_string();
            return Err(format!("{keyword} {rule}: {}", &value[..value.len().min(200)]));
        }
    }
    Ok(())
}

fn each(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

fn is_of_type(name: &Value, value: &Value) -> bool {
    match name.as_str().expect("a name") {
        "string" => value.is_string(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "null" => value.is_null(),
        name => panic!("the type {name} is not checked"),
    }
}

#[test]
fn answers_are_as_described_and_of_the_run() {
    let described = openapi();
    let mut api = Api::start(WORK);
    for path in ["/livez", "/readyz", "/report", "/incidents", "/config"] {
        let reply = api.get(path);
        assert_eq!(reply.status, 200, "{path}: {}", reply.body);
        assert_described(&described, "get", path, &reply);
    }
    let config = api.get("/config").json();
    assert_eq!((&config["mode"], &config["pools"]), (&"hybrid".into(), &"1:1".into()));
    let report = api.get("/report").json();
    assert!(count(&report, "rx_pkts") > 0 && report["conserved"].is_null());
    // The first requests have turned the meters on.
    let busy = |report: &Value| -> u64 {
        let lcores = rows(report, "lcores").iter();
        lcores.map(|lcore| count(&lcore["activity_ns"], "cheap")).sum()
    };
    std::thread::sleep(Duration::from_millis(100));
    assert!(busy(&api.get("/report").json()) > busy(&report));

    for (request, status) in [
        ("GET /nope HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n", 404),
        ("GET /livez/../drain HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n", 404),
        ("GET /drain HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n", 405),
        ("DELETE /report HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n", 405),
        ("GET /livez HTTP/1.1\r\nhost: a\r\norigin: http://b\r\nconnection: close\r\n\r\n", 403),
        ("not a request\r\n\r\n", 400),
    ] {
        assert_eq!(api.ask(request).status, status, "{request}");
    }
    for body in ["{", "[1]", r#"{"time":"x"}"#, r#"{"tiem":"1s"}"#] {
        let reply = api.post("/drain", body);
        assert_eq!(reply.status, 400, "{body}");
        assert_described(&described, "post", "/drain", &reply);
    }
    assert_eq!(api.get("/readyz").status, 200, "nothing of that has drained it");

    let reply = api.post("/drain", r#"{"time":"60s","below_pps":0}"#);
    assert_eq!(reply.status, 202);
    assert_described(&described, "post", "/drain", &reply);
    let ready = api.get("/readyz");
    assert_eq!((ready.status, &ready.json()["reasons"][0]), (503, &"draining".into()));
    assert_described(&described, "get", "/readyz", &ready);
    let before = count(&api.get("/report").json(), "rx_pkts");
    std::thread::sleep(Duration::from_millis(200));
    assert!(count(&api.get("/report").json(), "rx_pkts") > before, "it goes on meanwhile");
    let path = api.path.clone();
    assert!(api.running.is_running());
    api.running.signal(Signal::SIGTERM);
    api.running.finish().good_report();
    assert!(!path.exists(), "the socket goes with the process");
}

/// Asks for a change, and holds the answer to the description.
#[track_caller]
fn change(api: &Api, described: &Value, path: &str, body: &str) -> (u16, Value) {
    let reply = api.post(path, body);
    assert_described(described, "post", path, &reply);
    (reply.status, reply.json())
}

#[test]
fn each_change_says_what_was_and_what_is_and_config_shows_it() {
    let described = openapi();
    let api = Api::start_with(4, &WORK.replace("1:1", "2:2"));
    let change = |path: &str, body: &str| change(&api, &described, path, body);
    let config = || api.get("/config").json();
    for (path, body, was, is) in [
        ("/pools", r#"{"pools":"3:1"}"#, json!("2:2"), json!("3:1")),
        ("/pools", r#"{"pools":"auto"}"#, json!("3:1"), json!("auto")),
        ("/pools", r#"{"pools":"1:3"}"#, json!("auto"), json!("1:3")),
        ("/expensive-cap", r#"{"expensive_cap":2}"#, json!(3), json!(2)),
        ("/rescue-after", r#"{"rescue_after":"1ms"}"#, json!(20_000), json!(1_000_000)),
        ("/mode", r#"{"mode":"pools","pools":"2:2"}"#, json!("hybrid"), json!("pools")),
        ("/mode", r#"{"mode":"shared"}"#, json!("pools"), json!("shared")),
        ("/mode", r#"{"mode":"hybrid"}"#, json!("shared"), json!("hybrid")),
    ] {
        let (status, reply) = change(path, body);
        assert_eq!((status, &reply["was"], &reply["is"]), (200, &was, &is), "{path} {body}");
    }
    let (status, reply) = change("/queues", r#"{"queues":[{"port":0,"queue":0,"lcore":3}]}"#);
    assert_eq!((status, &reply["is"][0]["lcore"]), (200, &json!(3)));
    let now = config();
    assert_eq!(
        (&now["mode"], &now["pools"], &now["expensive_cap"], &now["rescue_after_ns"]),
        (&json!("hybrid"), &json!("2:2"), &json!(2), &json!(1_000_000)),
        "{now:#}"
    );
    let end = Instant::now() + Duration::from_secs(20);
    while count(&config(), "lcores_behind") > 0 {
        assert!(Instant::now() < end, "not all lcores follow");
    }
    let first = json!({ "port": 0, "queue": 0 });
    assert!(now["lcores"][3]["rx"].as_array().unwrap().contains(&first), "{now:#}");
    let report = api.get("/report").json();
    assert_eq!((&report["mode"], &report["pools"]), (&json!("hybrid"), &json!("2:2")));
    let metrics = api.get("/metrics").body;
    assert_eq!(total(&metrics, "mpfwd_changes_total", "what=\"mode\""), 3);
    assert_eq!(total(&metrics, "mpfwd_mode_info", "mode=\"hybrid\""), 1);

    api.running.signal(Signal::SIGTERM);
    let outcome = api.running.finish();
    assert_eq!(outcome.good_report()["mode"], "hybrid");
}

#[test]
fn changes_that_cannot_be_are_refused_and_change_nothing() {
    let described = openapi();
    let api = Api::start(&WORK.replace("--pools 1:1", "--mode rtc"));
    let before = api.get("/config").json();
    let refused = |status: u16, path: &str, body: &str| {
        let (got, reply) = change(&api, &described, path, body);
        let why = reply["error"].as_str().unwrap_or_default();
        assert_eq!(got, status, "{path} {body}: {reply}");
        assert!(!why.is_empty() && !why.contains('\n'), "{path} {body}: {why}");
    };
    for path in ["/pools", "/mode", "/expensive-cap", "/rescue-after", "/queues"] {
        for body in ["", "{", "[]", "{}", r#"{"a":1}"#, "null"] {
            refused(400, path, body);
        }
    }
    for (status, path, body) in [
        (409, "/pools", r#"{"pools":"1:1"}"#),
        (400, "/mode", r#"{"mode":"fast"}"#),
        (400, "/mode", r#"{"mode":"steal","pools":"1:1"}"#),
        (400, "/mode", r#"{"mode":"hybrid","pools":"2:2"}"#),
        (400, "/mode", r#"{"mode":"hybrid","pools":"auto"}"#),
        (409, "/mode", r#"{"mode":"hybrid"}"#),
        (409, "/expensive-cap", r#"{"expensive_cap":1}"#),
        (400, "/expensive-cap", r#"{"expensive_cap":-1}"#),
        (409, "/rescue-after", r#"{"rescue_after":"20us"}"#),
        (400, "/rescue-after", r#"{"rescue_after":"20"}"#),
        (400, "/queues", r#"{"queues":[{"port":9,"queue":0,"lcore":0}]}"#),
        (400, "/queues", r#"{"queues":[{"port":0,"queue":9,"lcore":0}]}"#),
        (400, "/queues", r#"{"queues":[{"port":0,"queue":0,"lcore":9}]}"#),
        (409, "/routes", ""),
        (409, "/rules", ""),
    ] {
        refused(status, path, body);
    }
    assert_eq!(api.get("/config").json(), before);

    let mode = |body: &str| assert_eq!(change(&api, &described, "/mode", body).0, 200, "{body}");
    mode(r#"{"mode":"pools","pools":"1:1"}"#);
    for (status, path, body) in [
        (400, "/pools", r#"{"pools":"2:1"}"#),
        (400, "/pools", r#"{"pools":"2:0"}"#),
        (409, "/pools", r#"{"pools":"auto"}"#),
        (409, "/queues", r#"{"queues":[{"port":0,"queue":0,"lcore":1}]}"#),
    ] {
        refused(status, path, body);
    }
    mode(r#"{"mode":"hybrid"}"#);
    refused(400, "/expensive-cap", r#"{"expensive_cap":2}"#);
    refused(400, "/rescue-after", r#"{"rescue_after":"1us"}"#);
    mode(r#"{"mode":"shared"}"#);
    refused(409, "/queues", r#"{"queues":[{"port":0,"queue":0,"lcore":1}]}"#);
    assert_eq!(change(&api, &described, "/drain", r#"{"time":"1s"}"#).0, 202);
    api.running.finish().good_report();
}

/// Lcores are away for up to 5 ms at a time, in packets of unknown cost.
#[test]
fn random_changes_under_load_lose_nothing() {
    const LCORES: usize = 4;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("api.sock");
    let own = format!(
        "--idle yield --pools 2:2 --rxd 16384 --mbufs 131071 --stats-period 0.2 --api unix:{} \
         --source open-loop:rate=10k,flows=512 \
         --work spin:cheap=10us,expensive=5ms,p=0.005,known=no",
        path.display()
    );
    let eal = format!("{} -m 1024 --vdev net_null0,no-rx=1", lcores(LCORES));
    let mut running = start(&eal, &own);
    running.wait_until_it_forwards();
    let (made, behind) = steer::change_at_random(&path, (LCORES, LCORES), 300, 1);
    for kind in ["/mode", "/pools", "/expensive-cap", "/rescue-after", "/queues"] {
        assert!(made.get(kind) > Some(&0), "{made:?}");
    }
    assert!(behind > 0, "no lcore was ever away: {made:?}");
    running.signal(Signal::SIGTERM);
    let outcome = running.finish();
    let report = outcome.good_report();
    let source = &report["source"];
    assert_eq!(count(report, "tx_pkts"), count(source, "received_pkts"), "{report:#}");
    assert_eq!(count(&report["order"], "reordered_pkts"), 0, "{report:#}");
    let lost = (count(source, "missed_pkts"), count(source, "nombuf_pkts"));
    assert_eq!(lost, (0, 0), "{source:#}");
}

#[test]
fn rules_are_read_again_by_a_request() {
    let described = openapi();
    let folder = tempfile::tempdir().expect("a folder");
    let rules = folder.path().join("rules");
    let write = |text: &str| std::fs::write(&rules, text).expect("written");
    write("drop one \"one\"\n");
    let api = Api::start(&format!("--idle yield --forward-mode dpi --rules {}", rules.display()));
    assert_eq!(api.get("/config").json()["rereads"], "rules");
    write("drop one \"one\"\ndrop two \"two\"\n");
    let (status, reply) = change(&api, &described, "/rules", "");
    assert!(status == 200 && reply["is"].as_str().unwrap().starts_with("rules: 2 of "), "{reply}");
    write("nonsense\n");
    let (status, reply) = change(&api, &described, "/rules", "");
    let why = reply["error"].as_str().expect("a line");
    assert!(status == 422 && !why.contains('\n'), "{reply}");
    assert_eq!(change(&api, &described, "/routes", "").0, 409);
    api.running.signal(Signal::SIGTERM);
    let outcome = api.running.finish();
    assert_eq!(outcome.good_report()["reloads"], json!({ "done": 1, "refused": 1 }));
}

/// The samples of a name, by their labels.
fn samples(text: &str, name: &str) -> Vec<(String, f64)> {
    let sample = |line: &str| {
        let (key, value) = line.rsplit_once(' ')?;
        let labels = key.strip_prefix(name)?;
        let is_it = labels.is_empty() || labels.starts_with('{');
        is_it.then(|| (labels.to_owned(), value.parse().expect("a number")))
    };
    text.lines().filter_map(sample).collect()
}

fn total(text: &str, name: &str, labels: &str) -> u64 {
    let all = samples(text, name);
    assert!(!all.is_empty(), "no {name} in\n{text}");
    all.iter().filter(|(of, _)| of.contains(labels)).map(|(_, value)| *value as u64).sum()
}

#[test]
fn metrics_add_up_to_the_report() {
    // Nothing arrives any more after a while: both are then of the same packets.
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("api.sock");
    let own = format!(
        "{WORK} --source open-loop:rate=20k,arrivals=on-off,on=1s,off=1000s --drain 1s \
         --stats-period 0.2 --api unix:{}",
        path.display()
    );
    let ports = "--vdev net_null0,no-rx=1 --vdev net_null1,no-rx=1";
    let mut running = start(&format!("{} {ports}", lcores(2)), &own);
    running.wait_until_it_forwards();
    let api = Api { running, path, _folder: folder };
    let end = Instant::now() + Duration::from_secs(20);
    let (text, report) = loop {
        let (before, report, after) =
            (api.get("/metrics").body, api.get("/report").json(), api.get("/metrics").body);
        let rx = [&before, &after].map(|text| total(text, "mpfwd_rx_packets_total", ""));
        if rx[0] == rx[1] && rx[0] > 1_000 && count(&report, "rx_pkts") == rx[0] {
            break (after, report);
        }
        assert!(Instant::now() < end, "packets never pause");
        std::thread::sleep(Duration::from_millis(200));
    };
    assert_eq!(total(&text, "mpfwd_tx_packets_total", ""), count(&report, "tx_pkts"));
    assert_eq!(total(&text, "mpfwd_shed_packets_total", ""), count(&report, "shed_pkts"));
    assert_eq!(total(&text, "mpfwd_mempool_buffers", ""), count(&report, "mbufs"));
    for class in ["cheap", "expensive"] {
        let row = &report["latency"][class];
        let labels = format!("class=\"{class}\"");
        let all = total(&text, "mpfwd_latency_seconds_count", &labels);
        assert!(all > 0, "{class}");
        assert_eq!(all, count(row, "pkts"), "{class}");
        let sum: f64 = samples(&text, "mpfwd_latency_seconds_sum")
            .iter()
            .filter(|(of, _)| of.contains(&labels))
            .map(|(_, seconds)| seconds)
            .sum();
        let mean_ns = count(row, "mean_ns") as f64;
        assert!((sum * 1e9 / all as f64 / mean_ns - 1.0).abs() < 0.01, "{class}: {sum} {mean_ns}");
        // Each bucket has what the report has up to the same bound. The report's
        // buckets are rounded up to 0.1 %.
        for bound_ns in [1_000_u64, 10_000, 100_000, 1_000_000, 10_000_000] {
            let bound = samples(&text, "mpfwd_latency_seconds_bucket").into_iter();
            let le = |of: &str| {
                let le = of.split("le=\"").nth(1).and_then(|le| le.split('"').next());
                le.and_then(|le| le.parse::<f64>().ok()).map(|le| (le * 1e9).round() as u64)
            };
            let in_bucket: u64 = bound
                .filter(|(of, _)| of.contains(&labels) && le(of) == Some(bound_ns))
                .map(|(_, pkts)| pkts as u64)
                .sum();
            let up_to = |ns: u64| -> u64 {
                let buckets = row["buckets"].as_array().expect("buckets").iter();
                let buckets = buckets.map(|bucket| [0, 1].map(|at| bucket[at].as_u64().unwrap()));
                buckets.filter(|[value, _]| *value <= ns).map(|[_, pkts]| pkts).sum()
            };
            let (least, most) = (up_to(bound_ns), up_to(bound_ns + bound_ns / 500));
            assert!((least..=most).contains(&in_bucket), "{class} {bound_ns}: {in_bucket}");
        }
    }
    let reply = api.ask(
        "GET /metrics HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\
         accept: application/openmetrics-text\r\n\r\n",
    );
    assert!(reply.head.contains("content-type: application/openmetrics-text"), "{}", reply.head);
    assert!(reply.body.ends_with("# EOF\n"));
    let plain = api.get("/metrics");
    assert!(plain.head.contains("content-type: text/plain; version=0.0.4"), "{}", plain.head);
    if let Some(output) = promtool(&["check", "metrics"], &plain.body) {
        assert!(output.status.success() && said(&output).is_empty(), "{}", said(&output));
    }
    let described = metric_names(&text_of("docs/metrics.md"));
    let missing: Vec<_> = metric_names(&plain.body).difference(&described).cloned().collect();
    assert!(missing.is_empty(), "docs/metrics.md lacks {missing:?}");
    // Nothing arrives: the drain need not last for its second's limit.
    api.running.signal(Signal::SIGTERM);
    let outcome = api.running.finish();
    outcome.good_report();
    assert!(outcome.stdout.iter().any(|line| line.starts_with("drained: ")));
}

/// Runs Prometheus's own checker; `None` where it is not installed.
fn promtool(args: &[&str], input: &str) -> Option<Output> {
    let mut command = Command::new("promtool");
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            common::skipped("no promtool: install Debian's package prometheus");
            return None;
        }
        Err(error) => panic!("promtool: {error}"),
    };
    // It may not read it.
    let _ = child.stdin.take().expect("piped").write_all(input.as_bytes());
    Some(child.wait_with_output().expect("it ends"))
}

fn said(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes)).concat()
}

#[test]
fn slow_and_lying_clients_harm_nobody() {
    let mut api = Api::start(WORK);
    let connect = || UnixStream::connect(&api.path).ok();
    // Some send nothing, some half a request, some a body that never comes, some
    // requests whose answers they do not read.
    let mut slow = Vec::new();
    for at in 0..1_000 {
        let Some(mut stream) = connect() else { continue };
        let text: &[u8] = match at % 4 {
            0 => b"",
            1 => b"GET /report HTTP/1.1\r\nhost: a\r\nx-slow: ",
            2 => b"POST /drain HTTP/1.1\r\nhost: a\r\ncontent-length: 65536\r\n\r\n{",
            _ => b"GET /report HTTP/1.1\r\nhost: a\r\n\r\nGET /report HTTP/1.1\r\nhost: a\r\n\r\n",
        };
        // It may have been displaced already.
        let _ = stream.write_all(text);
        slow.push(stream);
        if at % 50 == 0 {
            let asked = Instant::now();
            assert_eq!(api.get("/livez").status, 200);
            assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
        }
    }
    assert!(slow.len() >= 900, "most were accepted");
    let descriptors = Path::new("/proc").join(api.running.pid().to_string()).join("fd");
    let open = std::fs::read_dir(descriptors).expect("it runs").count();
    assert!(open < 200, "{open} descriptors for 1000 clients");
    // Lies: lengths that are none, lines without end, bytes that are no text.
    let long = "x".repeat(100 << 10);
    for request in [
        format!("GET /livez HTTP/1.1\r\nhost: a\r\nx: {long}\r\n\r\n"),
        format!("GET /{long} HTTP/1.1\r\n\r\n"),
        format!("POST /drain HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n{long}", long.len()),
        "POST /drain HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n".into(),
        "POST /drain HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffff\r\n"
            .into(),
        "\u{0}\u{1}\u{2}".into(),
    ] {
        let mut stream = connect().expect("it listens");
        // It may close before all is sent.
        let _ = stream.write_all(request.as_bytes());
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer);
        let refused = answer.is_empty() || answer.starts_with("HTTP/1.1 4");
        assert!(refused, "{}: {answer}", &request[..request.len().min(60)]);
    }
    let ready = api.get("/readyz");
    assert_eq!(ready.status, 200, "none of them has drained it: {}", ready.body);
    drop(slow);
    assert!(api.running.is_running());
    api.running.signal(Signal::SIGTERM);
    api.running.finish().good_report();
}

#[test]
fn a_second_sigterm_ends_a_drain_at_once() {
    let api = Api::start(&format!("{WORK} --drain 60s"));
    api.running.signal(Signal::SIGTERM);
    let end = Instant::now() + Duration::from_secs(5);
    while api.get("/readyz").status != 503 {
        assert!(Instant::now() < end, "the first one drains");
    }
    let signalled = Instant::now();
    api.running.signal(Signal::SIGTERM);
    let outcome = api.running.finish();
    assert!(signalled.elapsed() < Duration::from_secs(5), "{:?}", signalled.elapsed());
    outcome.good_report();
}

#[test]
fn addresses_are_refused_or_warned_of_in_a_line() {
    for (api, why) in [
        ("0.0.0.0:9000", "loopback only"),
        ("[::]:9000", "loopback only"),
        ("localhost:9000", "write unix:PATH or 127.0.0.1:PORT, or off"),
        ("unix:/nowhere/a.sock", "No such file"),
        ("unix:/proc/version", "no socket"),
    ] {
        let outcome = start(&format!("{} {PORTS}", lcores(2)), &format!("--api {api}")).finish();
        assert_eq!(outcome.status.code(), Some(2), "{api}: {}", outcome.stderr);
        let errors = outcome.errors();
        assert!(errors.len() == 1 && errors[0].contains(why), "{api}: {}", outcome.stderr);
    }
}

#[test]
fn the_default_socket_is_named_by_the_file_prefix() {
    let own = format!("{WORK} --stats-period 0.2");
    let mut running = start(&format!("{} {PORTS}", lcores(2)), &own);
    running.wait_until_it_forwards();
    let path = Path::new("/run/mpfwd").join(format!("{}.sock", running.prefix()));
    let request = "GET /livez HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let reply = ask(UnixStream::connect(&path).expect("it listens"), request);
    assert_eq!(reply.status, 200);
    running.signal(Signal::SIGINT);
    running.finish().good_report();
    assert!(!path.exists());
}

#[test]
fn tcp_on_loopback_answers_requests_that_name_it() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = port.local_addr().expect("an address");
    drop(port);
    let own = format!("{WORK} --stats-period 0.2 --api {address}");
    let mut running = start(&format!("{} {PORTS}", lcores(2)), &own);
    running.wait_until_it_forwards();
    for (host, status) in [(address.to_string(), 200), ("evil.example".into(), 403)] {
        let request = format!("GET /livez HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        let stream = std::net::TcpStream::connect(address).expect("it listens");
        assert_eq!(ask(stream, &request).status, status, "{host}");
    }
    running.signal(Signal::SIGTERM);
    running.finish().good_report();
}

fn text_of(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(path).expect("it is there")
}

/// The names of metrics in a text, without the suffixes of histograms.
fn metric_names(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = text.split(|c| !is_part(c)).filter(|word| word.starts_with("mpfwd_"));
    let name = |word: &str| {
        let suffixes = ["_bucket", "_count", "_sum"];
        let base = suffixes.iter().find_map(|suffix| word.strip_suffix(suffix));
        base.unwrap_or(word).to_owned()
    };
    words.map(name).collect()
}

#[test]
fn alerts_are_right_and_name_metrics_that_there_are() {
    let described = metric_names(&text_of("docs/metrics.md"));
    for path in ["examples/prometheus/alerts.yml", "examples/prometheus/grafana-dashboard.json"] {
        let unknown: Vec<_> =
            metric_names(&text_of(path)).difference(&described).cloned().collect();
        assert!(unknown.is_empty(), "{path}: {unknown:?}");
    }
    // The dashboard's queries as rules, which promtool parses.
    let dashboard: Value =
        serde_json::from_str(&text_of("examples/prometheus/grafana-dashboard.json")).expect("JSON");
    let panels = rows(&dashboard, "panels").iter();
    let queries = panels.flat_map(|panel| rows(panel, "targets")).map(|target| &target["expr"]);
    let rule = |query: &Value| {
        let query = query.as_str().expect("a query").replace("$__rate_interval", "1m");
        serde_json::json!({"record": "a:b", "expr": query})
    };
    let rules: Vec<Value> = queries.map(rule).collect();
    assert!(rules.len() > 20);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("dashboard.yml");
    let groups = serde_json::json!({"groups": [{"name": "a", "rules": rules}]});
    std::fs::write(&path, groups.to_string()).expect("it is written");
    let Some(output) =
        promtool(&["check", "rules", "--lint=none", &path.display().to_string()], "")
    else {
        return;
    };
    assert!(output.status.success(), "{}", said(&output));
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/prometheus/alerts-test.yml");
    let output = promtool(&["test", "rules", &tests.display().to_string()], "").expect("promtool");
    assert!(output.status.success(), "{}", said(&output));
}

/// Asks DPDK's telemetry.
fn telemetry(prefix: &str, question: &str) -> Value {
    let path = Path::new("/var/run/dpdk").join(prefix).join("dpdk_telemetry.v2");
    let flags = SockFlag::SOCK_CLOEXEC;
    let client = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None).expect("a socket");
    let address = UnixAddr::new(&path).expect("a short path");
    connect(client.as_raw_fd(), &address).expect("telemetry listens");
    let receive = || {
        let mut bytes = vec![0; 16 << 10];
        let length = recv(client.as_raw_fd(), &mut bytes, MsgFlags::empty()).expect("an answer");
        serde_json::from_slice::<Value>(&bytes[..length]).expect("JSON")
    };
    receive();
    send(client.as_raw_fd(), question.as_bytes(), MsgFlags::MSG_NOSIGNAL).expect("it reads");
    receive()
}

#[test]
fn dpdks_telemetry_has_the_lcores_counters() {
    let mut running =
        start(&format!("{} {PORTS}", lcores(2)), &format!("{WORK} --stats-period 0.2"));
    running.wait_until_it_forwards();
    let prefix = running.prefix().to_owned();
    let list = telemetry(&prefix, "/mpfwd/lcore/list");
    assert_eq!(list["/mpfwd/lcore/list"], serde_json::json!([0, 1]));
    let stats = |lcore: &str| {
        telemetry(&prefix, &format!("/mpfwd/lcore/stats,{lcore}"))["/mpfwd/lcore/stats"].clone()
    };
    let first = stats("0");
    assert!(count(&first, "rx_packets") > 0 && first["dropped_tx_full_packets"].is_u64());
    std::thread::sleep(Duration::from_millis(200));
    let second = stats("0");
    for name in ["rx_packets", "cheap_cycles"] {
        assert!(count(&second, name) > count(&first, name), "{name}: {second}");
    }
    for nobody in ["7", "x", "-1", ""] {
        assert!(stats(nobody).is_null(), "{nobody}");
    }
    running.signal(Signal::SIGTERM);
    running.finish().good_report();
}
