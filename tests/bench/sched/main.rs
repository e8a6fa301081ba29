//! `cargo bench --bench sched -- [--json FILE] [--rounds N]`: the run queue and
//! the sharded queue beside other queues, in TSC cycles per item, and looks at
//! other lcores, in cycles per look, and leases, in cycles per burst. Every
//! candidate has a short window in each round, one after the other, so that the
//! machine's disturbances hit all of them. Figures are medians over the rounds,
//! ratios are medians of the rounds' ratios.

#![forbid(unsafe_code)]

mod growth;
mod leases;
mod looks;
mod one_core;
mod shards;
mod table;
mod two_cores;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use mpfwd::dpdk::Eal;
use mpfwd::error::Error;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use table::Figures;

#[derive(Parser)]
#[command(
    name = "sched",
    about = "The run queue and the sharded queue beside other queues: cycles per item"
)]
struct Args {
    /// Write the rows {name, burst, cycles_per_item, …} to FILE
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Windows of each candidate
    #[arg(long, value_name = "N", default_value_t = 31, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    rounds: u16,
    /// cargo passes it to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sched: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<(), Error> {
    let cpus = two_cpus()?;
    let prefix = format!("--file-prefix=mpfwd-sched-{}", std::process::id());
    let eal = [
        "sched",
        "--no-pci",
        "--no-huge",
        "-m",
        "256",
        "--no-shconf",
        "--log-level=error",
        &prefix,
        "-l",
        &cpus[0].to_string(),
    ];
    let eal = Eal::start(&eal.map(str::to_owned))?;
    let mut figures = Figures::default();
    one_core::measure(&eal, args.rounds, &mut figures)?;
    two_cores::measure(&eal, cpus, args.rounds, &mut figures)?;
    growth::measure(cpus, args.rounds, &mut figures);
    shards::measure(&eal, cpus, args.rounds, &mut figures)?;
    looks::measure(args.rounds, &mut figures);
    leases::measure(cpus, args.rounds, &mut figures);
    figures.print();
    if let Some(file) = &args.json {
        let text = serde_json::to_string_pretty(&figures.rows()).expect("rows are plain data");
        std::fs::write(file, text + "\n")
            .map_err(|error| Error::Setup(format!("cannot write {}: {error}", file.display())))?;
    }
    Ok(())
}

/// The last two CPUs of this process: the first one runs the machine's odd
/// jobs.
fn two_cpus() -> Result<[usize; 2], Error> {
    let allowed = sched_getaffinity(Pid::from_raw(0))
        .map_err(|error| Error::Setup(format!("cannot read which CPUs may be used: {error}")))?;
    let mut cpus = (0..CpuSet::count()).rev().filter(|&cpu| allowed.is_set(cpu).unwrap_or(false));
    match (cpus.next(), cpus.next()) {
        (Some(one), Some(other)) => Ok([one, other]),
        _ => Err(Error::Usage("two CPUs are needed: this process may use one".into())),
    }
}

/// Pins the calling thread.
fn pin(cpu: usize) {
    let mut set = CpuSet::new();
    let pinned = set.set(cpu).and_then(|()| sched_setaffinity(Pid::from_raw(0), &set));
    pinned.expect("the CPU is one of those that this process may use");
}
