//! Starts the built binary as a user does, and reads its exit code, output and
//! JSON report. Checks the invariants of every report.
#![allow(dead_code)] // each test file is a program of its own, and uses only some of this

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mpfwd::stats::Report;
use nix::sched::{CpuSet, sched_getaffinity};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

pub const BINARY: &str = env!("CARGO_BIN_EXE_mpfwd");

/// mplab's binary.
pub fn mplab() -> &'static str {
    static PATH: LazyLock<String> = LazyLock::new(|| beside("mplab"));
    &PATH
}

/// mpctl's binary.
pub fn mpctl() -> &'static str {
    static PATH: LazyLock<String> = LazyLock::new(|| beside("mpctl"));
    &PATH
}

/// The path of another package's binary, which lies beside mpfwd's.
fn beside(name: &str) -> String {
    let path = Path::new(BINARY).with_file_name(name);
    assert!(path.is_file(), "no {}: run cargo build -p {name}", path.display());
    path.display().to_string()
}

/// Memory that every machine has, with or without hugepages.
pub const NO_HUGE: &str = "--no-huge -m 512 --no-shconf";

/// Limit of a run, far more than any takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A unique value for EAL's --file-prefix.
pub fn file_prefix() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("mpfwdtest{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// The CPUs that this process may use. `lcores` pins lcore i to the i-th.
pub fn allowed_cpus() -> Vec<usize> {
    let set = sched_getaffinity(Pid::from_raw(0)).expect("the kernel says which CPUs there are");
    (0..CpuSet::count()).filter(|&cpu| set.is_set(cpu).unwrap_or(false)).collect()
}

/// EAL's argument for `count` lcores: one per CPU if there are enough, else all
/// on two CPUs.
pub fn lcores(count: usize) -> String {
    let cpus = allowed_cpus();
    if cpus.len() >= count {
        let pairs: Vec<String> = cpus
            .iter()
            .take(count)
            .enumerate()
            .map(|(lcore, cpu)| format!("{lcore}@{cpu}"))
            .collect();
        return format!("--lcores {}", pairs.join(","));
    }
    let two: Vec<String> = cpus.iter().take(2).map(usize::to_string).collect();
    format!("--lcores (0-{})@({})", count - 1, two.join(","))
}

pub fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

/// The hugepage files left by a process of this prefix.
pub fn hugepage_files(prefix: &str) -> Vec<PathBuf> {
    let start = format!("{prefix}map_");
    let files =
        std::fs::read_dir("/dev/hugepages").into_iter().flatten().flatten().map(|file| file.path());
    files
        .filter(|path| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&start))
        })
        .collect()
}

/// The folders in which EAL may keep a process's files: root's and other
/// users'.
pub fn runtime_dirs(prefix: &str) -> [PathBuf; 2] {
    ["/var/run/dpdk", "/tmp/dpdk"].map(|folder| Path::new(folder).join(prefix))
}

/// The names in the runtime folders, `.` for a folder itself.
fn runtime_files(prefix: &str) -> Vec<String> {
    let folders =
        runtime_dirs(prefix).into_iter().filter_map(|folder| std::fs::read_dir(folder).ok());
    let name = |file: std::io::Result<std::fs::DirEntry>| {
        file.ok().map(|file| file.file_name().to_string_lossy().into_owned())
    };
    let mut names: Vec<String> = folders
        .flat_map(|files| std::iter::once(".".to_owned()).chain(files.filter_map(name)))
        .collect();
    names.sort();
    names
}

/// Removes what EAL leaves of a process of this prefix.
pub struct Leftovers(pub String);

impl Drop for Leftovers {
    fn drop(&mut self) {
        hugepage_files(&self.0).iter().for_each(|path| drop(std::fs::remove_file(path)));
        runtime_dirs(&self.0).iter().for_each(|path| drop(std::fs::remove_dir_all(path)));
    }
}

/// Runs mpfwd to its end on regular memory. Arguments are separated by blanks,
/// as on a command line.
pub fn run(eal: &str, own: &str) -> Outcome {
    start(eal, own).finish()
}

/// As `run`, but returns at once.
pub fn start(eal: &str, own: &str) -> Running {
    start_with(Command::new(BINARY), &format!("{NO_HUGE} {eal}"), own)
}

/// As `start`, with a command that ends up as mpfwd, and only the given EAL
/// arguments.
pub fn start_with(mut command: Command, eal: &str, own: &str) -> Running {
    command.arg("--no-pci");
    start_with_pci(command, eal, own)
}

/// As `start_with`, but `eal` must keep EAL from the machine's own devices: -a
/// NOT-THERE does.
pub fn start_with_pci(mut command: Command, eal: &str, own: &str) -> Running {
    let prefix = file_prefix();
    let folder = tempfile::tempdir().expect("a folder for the report");
    let report = folder.path().join("report.json");
    command.args(["--file-prefix", &prefix]).args(words(eal)).arg("--");
    if !own.contains("--report") {
        command.arg("--report").arg(&report);
    }
    command.args(words(own)).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child =
        command.spawn().unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
    let (sender, lines) = mpsc::channel();
    let stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
    std::thread::spawn(move || {
        stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
    });
    let mut pipe = child.stderr.take().expect("stderr is piped");
    let stderr = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    });
    Running {
        child,
        lines,
        seen: Vec::new(),
        stderr: Some(stderr),
        report,
        _folder: folder,
        prefix: Leftovers(prefix),
        no_shconf: ["--no-shconf", "--in-memory"].iter().any(|arg| eal.contains(arg)),
    }
}

/// A running mpfwd; killed if the test fails meanwhile.
pub struct Running {
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
    stderr: Option<JoinHandle<String>>,
    report: PathBuf,
    _folder: tempfile::TempDir,
    prefix: Leftovers,
    no_shconf: bool,
}

impl Running {
    /// Reads its standard output up to a line that fits `is_it`.
    pub fn wait_for_line(&mut self, is_it: impl Fn(&str) -> bool) {
        let end = Instant::now() + PATIENCE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => self.seen.push(line),
                Err(_) => {
                    let stderr = self.stop();
                    panic!(
                        "never printed what was waited for; its last lines: {:#?}\n{stderr}",
                        self.last_lines()
                    );
                }
            }
            if self.seen.last().is_some_and(|line| is_it(line)) {
                return;
            }
        }
    }

    /// Ends it, and returns its standard error.
    fn stop(&mut self) -> String {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.stderr.take().and_then(|reader| reader.join().ok()).unwrap_or_default()
    }

    /// The lines that it prints within this time.
    pub fn lines_for(&mut self, time: Duration) -> Vec<String> {
        let end = Instant::now() + time;
        let next = || self.lines.recv_timeout(end.saturating_duration_since(Instant::now())).ok();
        let lines: Vec<String> = std::iter::from_fn(next).collect();
        self.seen.extend(lines.iter().cloned());
        lines
    }

    fn last_lines(&self) -> &[String] {
        &self.seen[self.seen.len().saturating_sub(20)..]
    }

    /// Waits until packets flow; needs --stats-period.
    pub fn wait_until_it_forwards(&mut self) {
        self.wait_for_line(|line| rate(line, "rx").is_some_and(|pps| pps > 0.0));
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32)
    }

    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).expect("the process is there");
    }

    pub fn prefix(&self) -> &str {
        &self.prefix.0
    }

    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for its end.
    pub fn finish(mut self) -> Outcome {
        let end = Instant::now() + PATIENCE;
        let status = loop {
            match self.child.try_wait().expect("the process is ours") {
                Some(status) => break status,
                None if Instant::now() > end => panic!(
                    "still running after {PATIENCE:?}; its last lines: {:#?}",
                    self.last_lines()
                ),
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        };
        self.seen.extend(self.lines.iter());
        let stderr = self.stderr.take().and_then(|reader| reader.join().ok()).unwrap_or_default();
        let report = std::fs::read_to_string(&self.report).ok();
        let report = report.map(|text| serde_json::from_str(&text).expect("the report is JSON"));
        Outcome {
            status,
            stdout: std::mem::take(&mut self.seen),
            stderr,
            report,
            runtime_files: runtime_files(&self.prefix.0),
            hugepage_files: hugepage_files(&self.prefix.0),
            no_shconf: self.no_shconf,
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The rate of that name in a line of live statistics, in packets per second.
pub fn rate(line: &str, name: &str) -> Option<f64> {
    let mut words = line.split_whitespace().skip_while(|word| *word != name);
    let value: f64 = words.nth(1)?.parse().ok()?;
    let unit = match words.next()? {
        "Mpps" => 1e6,
        "kpps" => 1e3,
        "pps" => 1.0,
        _ => return None,
    };
    Some(value * unit)
}

/// The results of an mpfwd that has ended.
pub struct Outcome {
    pub status: ExitStatus,
    pub stdout: Vec<String>,
    pub stderr: String,
    pub report: Option<Value>,
    /// The names of EAL's remaining files: none, or a folder and its contents.
    pub runtime_files: Vec<String>,
    pub hugepage_files: Vec<PathBuf>,
    no_shconf: bool,
}

impl Outcome {
    /// The lines on standard error that are mpfwd's own and no warnings.
    pub fn errors(&self) -> Vec<&str> {
        self.stderr
            .lines()
            .filter(|line| line.starts_with("mpfwd: ") && !line.starts_with("mpfwd: warning: "))
            .collect()
    }

    /// Checks that no hugepages and no files in EAL's runtime directory are
    /// left.
    #[track_caller]
    pub fn assert_nothing_left(&self) {
        assert!(self.hugepage_files.is_empty(), "left {:?}", self.hugepage_files);
        assert!(self.runtime_files.iter().all(|name| name == "."), "left {:?}", self.runtime_files);
    }

    /// The report of a run without any failure.
    #[track_caller]
    pub fn good_report(&self) -> &Value {
        assert_eq!(self.status.code(), Some(0), "{}\n{}", self.stdout.join("\n"), self.stderr);
        assert!(self.errors().is_empty(), "{}", self.stderr);
        self.assert_nothing_left();
        assert!(
            self.no_shconf || self.runtime_files.is_empty(),
            "left EAL's runtime directory, which was this run's alone"
        );
        let report = self.report.as_ref().expect("a run that went well writes its report");
        assert_books_balance(report);
        report
    }
}

/// Matches, flows and packets of a rule of `dpi`.
pub fn rule(report: &Value, name: &str) -> [u64; 3] {
    let row = rows(&report["dpi"], "rules")
        .iter()
        .find(|row| row["name"] == name)
        .expect("every rule is in the report");
    ["hit_pkts", "flows", "pkts"].map(|key| count(row, key))
}

/// A count of the report, or of one of its rows.
#[track_caller]
pub fn count(row: &Value, key: &str) -> u64 {
    row[key].as_u64().unwrap_or_else(|| panic!("no count {key} in {row}"))
}

#[track_caller]
pub fn dropped(report: &Value, cause: &str) -> u64 {
    count(&report["drops"], cause)
}

/// Arguments for every mode; where it has pools, they are `pools`.
pub fn modes(pools: &str) -> [String; 8] {
    [
        "--mode rtc".into(),
        "--mode steal".into(),
        "--mode steal --steal-every 61".into(),
        "--mode steal --steal-rx".into(),
        "--mode shared".into(),
        "--mode shed-random".into(),
        format!("--mode pools --pools {pools}"),
        format!("--pools {pools}"),
    ]
}

#[track_caller]
pub fn rows<'r>(report: &'r Value, key: &str) -> &'r [Value] {
    report[key].as_array().unwrap_or_else(|| panic!("no rows {key} in {report}"))
}

pub fn as_json(report: &Report) -> Value {
    serde_json::to_value(report).expect("a report is JSON")
}

/// Every packet ended in exactly one counter, every buffer is back, and rows
/// add up to totals, however the run ended.
#[track_caller]
pub fn assert_books_balance(report: &Value) {
    let total = |key: &str| count(report, key);
    let sum = |key: &str| rows(report, "lcores").iter().map(|row| count(row, key)).sum::<u64>();
    let drops = report["drops"].as_object().expect("drops by cause");
    let all_drops: u64 = drops.values().filter_map(Value::as_u64).sum();
    assert_eq!(report["conserved"], true, "{report:#}");
    assert_eq!(
        total("rx_pkts"),
        total("tx_pkts") + all_drops,
        "received = sent + dropped: {report:#}"
    );
    assert_eq!(total("mbufs"), total("mbufs_free"), "the pool is full again");
    for key in ["rx_pkts", "tx_pkts", "shed_pkts", "taken_pkts"] {
        assert_eq!(sum(key), total(key), "{key} of lcores: {report:#}");
    }
    for (direction, key) in [("rx", "rx_pkts"), ("tx", "tx_pkts")] {
        let queues = rows(report, "queues").iter().filter(|row| row["direction"] == direction);
        assert_eq!(
            queues.map(|row| count(row, "pkts")).sum::<u64>(),
            total(key),
            "{key} of queues: {report:#}"
        );
    }
    for (cause, number) in drops {
        let by_lcore: u64 = rows(report, "lcores").iter().map(|row| dropped(row, cause)).sum();
        assert_eq!(Some(by_lcore), number.as_u64(), "{cause} of lcores: {report:#}");
    }
    let served = sum("cheap_pkts") + sum("expensive_pkts");
    assert_eq!(
        served,
        total("tx_pkts")
            + dropped(report, "tx_full")
            + dropped(report, "link_down")
            + sum("dropped_in_turn_pkts"),
        "all that was served: {report:#}"
    );
    let in_shards = total("shed_pkts") - total("taken_pkts");
    assert!(
        in_shards <= dropped(report, "shutdown"),
        "what was shed and not taken was dropped at the end: {report:#}"
    );
    if let Some(latency) = report["latency"].as_object() {
        let stamped = count(&latency["cheap"], "pkts") + count(&latency["expensive"], "pkts");
        match latency["off"].is_null() {
            true => {
                assert_eq!(stamped, total("tx_pkts"), "every packet sent has a latency: {report:#}")
            }
            false => assert!(stamped <= total("tx_pkts"), "latency of what was sent: {report:#}"),
        }
    }
}

/// A run that received and sent `pkts` packets, and no others.
pub fn assert_all_sent(report: &Value, pkts: u32, own: &str) {
    assert_books_balance(report);
    let counts = ["rx_pkts", "tx_pkts"].map(|key| count(report, key));
    assert_eq!(counts, [u64::from(pkts); 2], "{own}: {report:#}");
}

/// Prints why a test is skipped. Not by `eprintln`, which cargo shows only for
/// failed tests.
pub fn skipped(reason: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "skipped: {reason}");
}
