//! One window of each forwarder: the same two virtual ports, rings, mbufs, CPU
//! and forward mode on both sides.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::gate::Cpus;
use crate::process::{self, Failure, Running, failure};
use crate::scraper::Scraper;
use crate::turns::Forwarder;

/// Packets are counted for this long.
const WINDOW: Duration = Duration::from_secs(1);
/// Time to warm up a forwarder's caches and predictors.
const WARM_UP: Duration = Duration::from_millis(300);
/// Limit for starting EAL, hugepages and ports on a slow machine.
const START: Duration = Duration::from_secs(30);
const END: Duration = Duration::from_secs(20);
const RING_DESCRIPTORS: u32 = 1024;
const MBUFS: u32 = 16384;
const MPFWD: &str = env!("CARGO_BIN_EXE_mpfwd");
pub const DEVICES: &str = "--vdev=net_null0 --vdev=net_null1";

pub fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

/// The common arguments of EAL: pinned lcores, nothing shared, no PCI devices.
pub fn eal(lcores: &str, devices: &str) -> Vec<String> {
    eal_as(&process::file_prefix(), lcores, devices)
}

fn eal_as(prefix: &str, lcores: &str, devices: &str) -> Vec<String> {
    words(&format!("--lcores {lcores} --in-memory --file-prefix {prefix} --no-pci {devices}"))
}

/// The forwarding task.
#[derive(Clone, Copy)]
pub struct Forward {
    pub mode: &'static str,
    pub burst: u16,
}

impl Forward {
    /// Runs a window of mpfwd with software stamps and all counters, pool A on
    /// the receiving CPU and pool B on the other one. Returns its report.
    pub fn mpfwd(self, cpus: Cpus, more: &str) -> Result<Value, Failure> {
        let folder = tempfile::tempdir()
            .map_err(|error| Failure::Mpfwd(format!("no folder for a report: {error}")))?;
        let report = folder.path().join("report.json");
        let more = format!(
            "{more} --duration {} --report {}",
            (WARM_UP + WINDOW).as_secs_f64(),
            report.display()
        );
        let (args, _) = self.mpfwd_args(DEVICES, "--mode pools", cpus, &more);
        let run = || {
            Running::start(MPFWD, &args)?.finish(START + END)?;
            let text = std::fs::read_to_string(&report)
                .or_else(|error| failure(format!("mpfwd left no report: {error}")))?;
            serde_json::from_str(&text)
                .or_else(|error| failure(format!("mpfwd's report is no JSON: {error}")))
        };
        run().map_err(ours)
    }

    /// As above, in any mode, until it is stopped.
    pub fn start_mpfwd(self, mode: &str, cpus: Cpus) -> Result<Forwarder, Failure> {
        self.start_mpfwd_on(DEVICES, mode, cpus)
    }

    /// As above, on other devices.
    pub fn start_mpfwd_on(
        self,
        devices: &str,
        mode: &str,
        cpus: Cpus,
    ) -> Result<Forwarder, Failure> {
        self.start_mpfwd_of(Path::new(MPFWD), devices, mode, cpus)
    }

    /// Another mpfwd than the one that was built with this benchmark.
    pub fn start_mpfwd_of(
        self,
        binary: &Path,
        devices: &str,
        mode: &str,
        cpus: Cpus,
    ) -> Result<Forwarder, Failure> {
        self.start_mpfwd_with(binary, devices, mode, cpus, "")
    }

    /// An mpfwd that has been asked for its metrics, and is asked again each time.
    pub fn start_mpfwd_watched(
        self,
        mode: &str,
        cpus: Cpus,
        every: Option<Duration>,
    ) -> Result<Forwarder, Failure> {
        let folder = tempfile::tempdir()
            .map_err(|error| Failure::Mpfwd(format!("no folder for a socket: {error}")))?;
        let path = folder.path().join("api.sock");
        let api = format!("--api unix:{}", path.display());
        let scraper = Scraper::new(folder, path, every);
        let forwarder = self.start_mpfwd_with(Path::new(MPFWD), DEVICES, mode, cpus, &api)?;
        Ok(forwarder.watched_by(scraper))
    }

    fn start_mpfwd_with(
        self,
        binary: &Path,
        devices: &str,
        mode: &str,
        cpus: Cpus,
        more: &str,
    ) -> Result<Forwarder, Failure> {
        let (args, prefix) = self.mpfwd_args(devices, mode, cpus, more);
        let terminate = |running: &mut Running| {
            let pid = Pid::from_raw(running.pid().cast_signed());
            kill(pid, Signal::SIGTERM)
                .or_else(|error| failure(format!("mpfwd takes no SIGTERM: {error}")))
        };
        Running::start(binary, &args)
            .and_then(|mpfwd| Forwarder::new(mpfwd, &prefix, terminate))
            .map_err(ours)
    }

    /// The arguments, and the file prefix among them.
    fn mpfwd_args(
        self,
        devices: &str,
        mode: &str,
        cpus: Cpus,
        more: &str,
    ) -> (Vec<String>, String) {
        let prefix = process::file_prefix();
        let stamps = if mode.contains("--timestamps") { "" } else { "--timestamps software" };
        let has_pools = ["pools", "hybrid"].iter().any(|name| mode.contains(name));
        let pools = if has_pools { "--pools 1:1" } else { "" };
        let mut args = eal_as(&prefix, &format!("0@{},1@{}", cpus.rx, cpus.other), devices);
        args.extend(words(&format!(
            "-- {mode} {pools} --forward-mode {} --burst {} {stamps} --rxd {RING_DESCRIPTORS} \
             --txd {RING_DESCRIPTORS} --mbufs {MBUFS} {more}",
            self.mode, self.burst
        )));
        (args, prefix)
    }

    /// testpmd with `more` arguments, until it is stopped.
    pub fn start_testpmd(
        self,
        binary: &Path,
        cpus: Cpus,
        more: &str,
    ) -> Result<Forwarder, Failure> {
        let prefix = process::file_prefix();
        let mut args = eal_as(&prefix, &format!("0@{},1@{}", cpus.other, cpus.rx), DEVICES);
        args.extend(words(&format!(
            "-- -i --nb-cores=1 --forward-mode={} --burst={} --rxd={RING_DESCRIPTORS} --txd={RING_DESCRIPTORS} --total-num-mbufs={MBUFS} \
             {more}",
            self.mode, self.burst
        )));
        let mut testpmd = Running::start(binary, &args)?;
        testpmd.wait_for("prompt", START, |said| said.contains("testpmd>").then_some(()))?;
        testpmd.say("start")?;
        Forwarder::new(testpmd, &prefix, |running| running.say("quit"))
    }
}

/// A failure of mpfwd is an error, and no reason to skip a peer.
fn ours(reason: Failure) -> Failure {
    match reason {
        Failure::Peer(reason) => Failure::Mpfwd(reason),
        other => other,
    }
}

/// A number in mpfwd's report.
fn number(report: &Value, pointer: &str) -> Result<f64, Failure> {
    report
        .pointer(pointer)
        .and_then(Value::as_f64)
        .ok_or_else(|| Failure::Mpfwd(format!("mpfwd's report has no number at {pointer}")))
}

pub const STEPS: [&str; 5] = ["rx", "classify", "engine", "tx", "statistics"];

/// Cycles per packet of each of `STEPS`.
pub fn step_cycles(report: &Value) -> Result<[f64; STEPS.len()], Failure> {
    let mut cycles = [0.0; STEPS.len()];
    for (cycles, step) in cycles.iter_mut().zip(STEPS) {
        *cycles = number(report, &format!("/step_cycles/{step}"))?;
    }
    Ok(cycles)
}

/// Millions of packets a second that pool B's lcores sent, without those that
/// pool A ran or dropped itself.
pub fn worked_mpps(report: &Value) -> Result<f64, Failure> {
    let lcores =
        report.pointer("/lcores").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let workers =
        lcores.iter().filter(|lcore| lcore.pointer("/pool").and_then(Value::as_str) == Some("B"));
    let pkts: Result<Vec<f64>, Failure> = workers.map(|lcore| number(lcore, "/tx_pkts")).collect();
    Ok(pkts?.iter().sum::<f64>() / number(report, "/elapsed_s")? / 1e6)
}

/// A program of the distribution, by its name.
pub fn installed(name: &str, package: &str) -> Result<PathBuf, String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
        .ok_or_else(|| {
            format!("{name} is not installed (Debian, Ubuntu: apt-get install {package})")
        })
}

/// The testpmd of the DPDK that mpfwd is linked against, linked the same way.
pub fn static_testpmd() -> Result<PathBuf, String> {
    if cfg!(feature = "shared") {
        return Err(
            "mpfwd is linked against the shared objects here: testpmd is the peer".to_owned()
        );
    }
    let prefix = Command::new("pkg-config").args(["--variable=prefix", "libdpdk"]).output();
    let prefix = prefix.map_err(|error| format!("pkg-config does not run: {error}"))?;
    let prefix = PathBuf::from(String::from_utf8_lossy(&prefix.stdout).trim());
    let testpmd = prefix.join("bin/dpdk-testpmd");
    if prefix != Path::new("/usr") && testpmd.is_file() {
        return Ok(testpmd);
    }
    Err("mpfwd is linked against the distribution's DPDK, which has no static testpmd: ./dev dpdk builds one".to_owned())
}
