//! The set-up of all rounds of an experiment (the mpfwd, lcores, memory,
//! virtual ports), and the command line of one round.

use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::args::MachineArgs;
use super::lcores::Lcores;
use super::memory;
use super::mode::LabMode;
use super::workload::{Workload, seeded};
use mpfwd_common::args::Pools;
use mpfwd_common::error::{Error, Result};

/// Packet buffers per lcore: two full run queues, a shard, and the buffers
/// between loop and driver.
const MBUFS_PER_LCORE: usize = 22_528;

/// When a round ends.
#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    After(Duration),
    Packets(u64),
}

pub(super) struct Bench {
    pub mpfwd: PathBuf,
    pub lcores: Lcores,
    pub pools: Pools,
    /// Before `--`.
    pub eal: Vec<String>,
    /// Behind `--`, in every round.
    pub own: Vec<String>,
    steal_every: NonZeroU64,
}

impl Bench {
    /// # Errors
    /// There is no mpfwd, or lcores and pools don't fit.
    pub(super) fn new(args: &MachineArgs, lcores: Lcores, pools: Pools) -> Result<Self> {
        if pools.a.checked_add(pools.b) != Some(lcores.count()) {
            let fit = lcores.pools();
            return Err(Error::Usage(format!(
                "--pools {pools} are not the {} lcores of {}: write --pools {fit}",
                lcores.count(),
                lcores.text()
            )));
        }
        let mpfwd = find(args.mpfwd.as_deref())?;
        let mbufs =
            ((MBUFS_PER_LCORE * lcores.count()).next_power_of_two() - 1).min(1 << 26) as u32;
        let has = |name: &str| args.own.iter().any(|word| word.split('=').next() == Some(name));
        let mut own = args.own.clone();
        let given = [("--rxd", args.rxd.to_string()), ("--mbufs", mbufs.to_string())];
        own.extend(
            given
                .into_iter()
                .filter(|(name, _)| !has(name))
                .flat_map(|(name, value)| [name.to_owned(), value]),
        );
        if lcores.share_cpus() && !has("--idle") {
            own.extend(["--idle".into(), "yield".into()]);
        }
        let eal = eal_args(&lcores, args.eal.as_deref().unwrap_or_default(), mbufs);
        Ok(Self { mpfwd, lcores, pools, eal, own, steal_every: args.steal_every })
    }

    /// All arguments of a round. `seed` seeds arrivals and costs, and is the
    /// same for all modes of a round.
    pub(super) fn args(
        &self,
        mode: LabMode,
        workload: &Workload,
        seed: u64,
        end: End,
        report: &Path,
    ) -> Vec<String> {
        let mut args = self.eal.clone();
        args.push("--".into());
        args.extend(self.own_args(mode, workload, seed, end));
        args.extend(["--report".into(), report.display().to_string()]);
        args
    }

    fn own_args(&self, mode: LabMode, workload: &Workload, seed: u64, end: End) -> Vec<String> {
        let mut args = mode.args(self.pools, self.steal_every);
        args.extend([
            "--source".into(),
            seeded(&workload.source, seed),
            "--work".into(),
            seeded(&workload.work, seed),
        ]);
        args.extend(match end {
            End::After(time) => ["--duration".into(), time.as_secs_f64().to_string()],
            End::Packets(packets) => ["--packets".into(), packets.to_string()],
        });
        args.extend(self.own.iter().cloned());
        args
    }

    /// Has mpfwd check the arguments of a round, before anything starts.
    ///
    /// # Errors
    /// mpfwd refuses them. The message is the mode and mpfwd's own line.
    pub(super) fn check(&self, mode: LabMode, workload: &Workload, end: End) -> Result<()> {
        let checked = Command::new(&self.mpfwd)
            .args(["--", "--check-args"])
            .args(self.own_args(mode, workload, 1, end))
            .stdin(Stdio::null())
            .output()
            .map_err(|error| {
                Error::Setup(format!("{} does not start: {error}", self.mpfwd.display()))
            })?;
        if checked.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&checked.stderr);
        let line = said.lines().last().unwrap_or("it says nothing").trim();
        let line = line.strip_prefix("mpfwd: ").unwrap_or(line);
        Err(Error::Usage(format!("mode {}: {line}", mode.name())))
    }

    /// The kind of memory, in a word.
    pub(super) fn memory(&self) -> &'static str {
        if self.eal.iter().any(|arg| arg == "--no-huge") { "regular memory" } else { "hugepages" }
    }
}

/// The mpfwd that was named, else the one in this program's folder, else the
/// one in `sbin` if this program is installed in `bin`.
fn find(named: Option<&Path>) -> Result<PathBuf> {
    let own = std::env::current_exe().map_err(|error| {
        Error::Setup(format!("where this program lies is unknown ({error}): add --mpfwd PATH"))
    });
    let path = match named {
        Some(path) => path.to_owned(),
        None => {
            let beside = own?.with_file_name("mpfwd");
            let installed = beside.with_file_name("../sbin/mpfwd");
            if !beside.is_file() && installed.is_file() { installed } else { beside }
        }
    };
    match path.is_file() {
        true => Ok(path),
        false => Err(Error::Setup(format!(
            "there is no {}: build it by `cargo build --release`, or name one by --mpfwd PATH",
            path.display()
        ))),
    }
}

/// EAL's arguments: no devices but one virtual port, and files of its own.
fn eal_args(lcores: &Lcores, further: &str, mbufs: u32) -> Vec<String> {
    let further: Vec<String> = further.split_whitespace().map(str::to_owned).collect();
    let has = |names: &[&str]| {
        further.iter().any(|word| names.contains(&word.split('=').next().unwrap_or(word)))
    };
    let mut args = vec![
        "--lcores".to_owned(),
        lcores.text().to_owned(),
        "--no-pci".into(),
        "--vdev".into(),
        "net_null0,no-rx=1".into(),
    ];
    if !has(&["--file-prefix"]) {
        args.extend(["--file-prefix".into(), format!("mplab{}", std::process::id())]);
    }
    if !has(&["--no-huge", "-m", "--socket-mem", "--in-memory"]) {
        args.extend(memory::eal_args(memory::needed_bytes(mbufs)));
    }
    args.extend(further);
    args
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use micropools::policy::Mode;

    use super::*;
    use crate::args::{Args, Command};
    use crate::workload::Share;

    fn bench(line: &str) -> Result<Bench> {
        let words =
            ["mplab", "compare", "--mpfwd", "/bin/sh"].into_iter().chain(line.split_whitespace());
        let Command::Compare(args) = Args::try_parse_from(words).unwrap().command else {
            panic!("compare")
        };
        let lcores = args.machine.lcores.clone().unwrap();
        let pools = args.machine.pools.unwrap_or(lcores.pools());
        Bench::new(&args.machine, lcores, pools)
    }

    fn workload() -> Workload {
        Workload::two_costs(
            (Duration::from_micros(1), Duration::from_millis(1)),
            Share::Of(0.001),
            true,
            (0.5, None),
            2,
        )
        .unwrap()
    }

    #[test]
    fn a_round_is_a_command_line() {
        let bench = bench("-l 0-1 --eal --no-huge").unwrap();
        let args = bench
            .args(
                Mode::Pools.into(),
                &workload(),
                5,
                End::After(Duration::from_millis(500)),
                Path::new("/tmp/r.json"),
            )
            .join(" ");
        let (eal, own) = args.split_once(" -- ").unwrap();
        assert!(
            eal.starts_with("--lcores 0-1 --no-pci --vdev net_null0,no-rx=1 --file-prefix mplab")
                && eal.ends_with(" --no-huge"),
            "{eal}"
        );
        assert_eq!(
            own,
            "--mode pools --pools 1:1 --source open-loop:load=0.5,seed=5 --work spin:cheap=1us,expensive=1ms,p=1e-3,seed=5 \
             --duration 0.5 --rxd 32768 --mbufs 65535 --report /tmp/r.json"
        );
    }

    #[test]
    fn what_is_given_is_not_given_twice() {
        let bench = bench("-l (0-3)@0 --eal --file-prefix=mine -- --rxd=64 --burst 16").unwrap();
        let args =
            bench.args(Mode::Rtc.into(), &workload(), 1, End::Packets(9), Path::new("r")).join(" ");
        assert!(
            args.contains("--idle yield")
                && args.matches("--rxd").count() == 1
                && args.matches("--file-prefix").count() == 1,
            "{args}"
        );
    }

    #[test]
    fn contradictions_are_found_before_anything_starts() {
        assert!(
            bench("-l 0-1 --pools 2:1").err().unwrap().to_string().contains("write --pools 1:1")
        );
        let missing = find(Some(Path::new("/nowhere/mpfwd"))).unwrap_err();
        assert!(
            missing.exit_code() == 2 && missing.to_string().contains("cargo build --release"),
            "{missing}"
        );
    }
}
