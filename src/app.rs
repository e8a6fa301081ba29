//! The program: reads the command line, starts EAL, and runs once. A run is
//! prepared, run and reported by `run`.

use std::ffi::OsString;

use nix::sched::CpuSet;

use crate::cli::{Cli, in_utf8};
use crate::config;
use crate::control::{self, Signals};
use crate::dpdk::{self, Eal};
use crate::engine::{Engine, EngineSetup};
use crate::stats::Report;
use mpfwd_common::error::{Error, Result};
use mpfwd_common::output;

mod engines;
mod launch;
mod outcome;
mod printed;
mod queues;
mod reread;
mod run;
mod source;
mod stamping;

use engines::{BuiltIn, Engines, Own};
use run::Run;

/// Runs the program with the whole command line, its name first:
/// `std::env::args_os()`.
///
/// # Errors
/// Whatever keeps packets from flowing, a report that can't be written, or a
/// broken conservation check.
pub fn main(args: impl IntoIterator<Item = OsString>) -> Result<()> {
    start(args, BuiltIn::new)
}

/// As `main`, with engines of the caller's instead of `--forward-mode`'s:
/// `engine` makes one for each lcore. Everything else is as the command line
/// says, the mode too.
///
/// # Errors
/// As `main`.
pub fn main_with<E: Engine>(
    args: impl IntoIterator<Item = OsString>,
    engine: impl Fn(&EngineSetup<'_>) -> E,
) -> Result<()> {
    start(args, |_| Ok(Own(engine)))
}

fn start<W: Engines>(
    args: impl IntoIterator<Item = OsString>,
    engines: impl FnOnce(&Cli) -> Result<W>,
) -> Result<()> {
    let args = in_utf8(args)?;
    let (eal_args, own_args) = split(&args)?;
    let Some(cli) = Cli::read(own_args)? else { return Ok(()) };
    config::check_alone(&cli)?;
    if cli.check_args {
        return Ok(());
    }
    outcome::check_files(&cli)?;
    let mut engines = engines(&cli)?;
    let host = Host::before_eal()?;
    let eal = Eal::start(eal_args)?;
    let report = run_with(&eal, &cli, &host, &mut engines, &stamping::replaying(eal_args))?;
    drop(eal);
    output::say(&report);
    outcome::write_files(&cli, &report)?;
    if report.conserved { Ok(()) } else { Err(Error::Conservation) }
}

/// What a run needs of the process around it.
pub struct Host {
    signals: Signals,
    /// The CPUs that the process may use.
    cpus: CpuSet,
}

impl Host {
    /// Catches signals, and notes which CPUs there are before EAL pins the
    /// calling thread.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn before_eal() -> Result<Self> {
        Ok(Self { signals: Signals::catch()?, cpus: control::allowed_cpus()? })
    }
}

/// One run on the ports that EAL has now: plans, sets up, forwards until the
/// end, tears down. Must be called by the main lcore.
///
/// # Errors
/// When the arguments don't fit the lcores and ports, or something does not
/// start; all is closed again.
pub fn run(eal: &Eal, cli: &Cli, host: &Host) -> Result<Report> {
    run_with(eal, cli, host, &mut BuiltIn::new(cli)?, &[])
}

/// As [`run`], with an engine of the caller's own that is made for each lcore.
///
/// # Errors
/// As [`run`].
pub fn run_own<E: Engine>(
    eal: &Eal,
    cli: &Cli,
    host: &Host,
    engine: impl Fn(&EngineSetup<'_>) -> E,
) -> Result<Report> {
    run_with(eal, cli, host, &mut Own(engine), &[])
}

/// `replaying`: the virtual devices that are known to read captures.
fn run_with(
    eal: &Eal,
    cli: &Cli,
    host: &Host,
    engines: &mut dyn Engines,
    replaying: &[String],
) -> Result<Report> {
    let mut plan = config::plan(cli, &eal.lcores(), &dpdk::find_ports(eal)?)?;
    stamping::leave_out(&mut plan, cli, replaying);
    let mut run = Run::prepare(eal, cli, plan, engines)?;
    let ended = run.run(engines, host)?;
    Ok(run.report(ended))
}

/// What is before `--` is EAL's, what is behind it is ours. A request for help
/// is ours wherever it stands. Without `--` our own arguments have lost their
/// way.
fn split(args: &[String]) -> Result<(&[String], &[String])> {
    let asks = |arg: &String| {
        ["-h", "--help", "-V", "--version"].contains(&arg.as_str()) || arg.starts_with("--generate")
    };
    let own = args.iter().position(|arg| arg == "--");
    let before = &args[1..own.unwrap_or(args.len()).max(1)];
    if let Some(at) = before.iter().position(asks) {
        return Ok((&args[..1], &before[at..before.len().min(at + 2)]));
    }
    match own {
        Some(at) => Ok((&args[..at], &args[at + 1..])),
        None => match args[1..].iter().find(|arg| Cli::knows(arg)) {
            Some(arg) => {
                Err(Error::Usage(format!("{arg} is mpfwd's, not EAL's: write -- before it")))
            }
            None => Ok((args, &[])),
        },
    }
}
