//! `cargo bench --bench forward -- [--json FILE] [--rounds N] [--only
//! forward|handoff|modes|stamps|order|dead-port|link|parent|scrape|steps]`: mpfwd beside other
//! DPDK programs on the same CPUs and virtual ports. Most parts alternate in
//! turns of milliseconds (turns.rs). The others alternate in windows of a
//! second, each in a fresh process, which count only if the machine's state
//! stayed the same (gate.rs). Nothing here links DPDK or mpfwd: all are
//! programs with arguments.

#![forbid(unsafe_code)]

mod flows;
mod gate;
mod handoff;
mod others;
mod peers;
mod process;
mod runs;
mod scraper;
mod stats;
mod table;
mod turns;

use std::fs::OpenOptions;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use gate::{Cpus, Gate};
use process::Failure;
use runs::{Bench, Results};

#[derive(Parser)]
#[command(
    name = "forward",
    about = "mpfwd beside dpdk-testpmd, event devices and the bare ring, interleaved"
)]
struct Args {
    /// Write the rows {part, forward_mode, setup, burst, peer, mpfwd_mpps,
    /// peer_mpps, ratio, …} (medians, Mpps) to FILE
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Valid pairs of windows per figure
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: u16,
    /// Only these parts (all by default)
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Part>,
    /// For link: the mpfwd of `cargo build --release --features shared`
    #[arg(long, value_name = "FILE")]
    shared_mpfwd: Option<PathBuf>,
    /// For parent: the mpfwd of another commit
    #[arg(long, value_name = "FILE")]
    parent: Option<PathBuf>,
    /// cargo passes it to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// io, mac and macswap on one lcore, beside testpmd
    Forward,
    /// rx -> shard -> worker -> tx on two lcores, beside event devices and the
    /// bare ring
    Handoff,
    /// The cost of leases, heartbeats and looking around: macswap in hybrid
    /// mode with one polling lcore, beside pools
    Modes,
    /// The cost of stamps and latency: macswap in pools without any, beside
    /// software stamps and stamps on each packet
    Stamps,
    /// The cost of order: macswap, beside itself with --order none
    Order,
    /// What a healthy port sends beside one whose link is down, in every mode,
    /// beside the same with a second healthy port
    DeadPort,
    /// The cost of linking the shared objects: io, mac and macswap on one
    /// lcore, beside --shared-mpfwd
    Link,
    /// The cost of a change: forwarding, the hand-off and order, beside
    /// --parent
    Parent,
    /// The cost of being watched: macswap, asked for its metrics, beside itself
    Scrape,
    /// Cycles per packet of each step of mpfwd
    Steps,
}

fn main() -> ExitCode {
    let args = Args::parse();
    if !nix::unistd::geteuid().is_root() {
        eprintln!(
            "forward: needs root, for hugepages and for pinning the programs that it runs: run it with sudo"
        );
        return ExitCode::from(2);
    }
    if let Some((file, error)) =
        args.json.as_ref().and_then(|file| Some((file, check_writable(file).err()?)))
    {
        eprintln!(
            "forward: --json {}: {error}; write the name of a file in a folder that exists and is yours to write to",
            file.display()
        );
        return ExitCode::from(2);
    }
    let cpus = match Cpus::of_machine() {
        Ok(cpus) => cpus,
        Err(reason) => {
            eprintln!("forward: {reason}");
            return ExitCode::from(2);
        }
    };
    if let Err(error) = process::catch_interrupts() {
        eprintln!("forward: cannot catch Ctrl-C: {error}");
        return ExitCode::FAILURE;
    }
    let mut bench = Bench {
        gate: Gate::new(cpus),
        rounds: usize::from(args.rounds),
        progress: progress_bar(),
        results: Results::default(),
    };
    let ended = run(&mut bench, &args);
    bench.progress.finish_and_clear();
    bench.results.print();
    if let Some(file) = &args.json {
        let text = serde_json::to_string_pretty(&bench.results.rows).expect("rows are plain data");
        if let Err(error) = std::fs::write(file, text + "\n") {
            eprintln!("forward: cannot write {}: {error}", file.display());
            return ExitCode::FAILURE;
        }
    }
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        // Ctrl-C also reaches the programs, which then look as if they had
        // failed.
        Err(_) if process::check_interrupt().is_err() => {
            eprintln!("forward: interrupted; the tables are not complete");
            ExitCode::from(130)
        }
        Err(failure) => {
            eprintln!("forward: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// Checks before hours of measuring that the file can be written. Leaves it as
/// it is, and creates none.
fn check_writable(file: &Path) -> std::io::Result<()> {
    let was_there = file.exists();
    OpenOptions::new().append(true).create(true).open(file)?;
    if was_there { Ok(()) } else { std::fs::remove_file(file) }
}

fn run(bench: &mut Bench, args: &Args) -> Result<(), Failure> {
    let wanted = |part| args.only.is_empty() || args.only.contains(&part);
    if wanted(Part::Forward) {
        bench.forward()?;
    }
    if wanted(Part::Handoff) {
        bench.handoff()?;
    }
    if wanted(Part::Modes) {
        bench.modes()?;
    }
    if wanted(Part::Stamps) {
        bench.stamps()?;
    }
    if wanted(Part::Order) {
        bench.order()?;
    }
    if wanted(Part::DeadPort) {
        bench.dead_port()?;
    }
    if wanted(Part::Link) {
        bench.link(args.shared_mpfwd.as_deref())?;
    }
    if wanted(Part::Parent) {
        bench.parent(args.parent.as_deref())?;
    }
    if wanted(Part::Scrape) {
        bench.scrape()?;
    }
    if wanted(Part::Steps) {
        bench.steps()?;
    }
    Ok(())
}

/// Drawn on a terminal only.
fn progress_bar() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style =
        ProgressStyle::with_template("{elapsed_precise} [{bar:30}] {pos}/{len} pairs  {msg}")
            .expect("the template is well-formed");
    ProgressBar::new(0).with_style(style.progress_chars("=> "))
}
