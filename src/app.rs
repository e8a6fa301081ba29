//! The program: reads the command line, starts EAL, and runs once. A run is
//! prepared, run and reported by `run`.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::cli::{Cli, Idle, Merged, NoArgs, in_utf8};
use crate::config;
pub use crate::control::Host;
use crate::dpdk::{self, Eal};
use crate::engine::{Engine, EngineSetup};
use crate::policy::Mode;
use crate::stats::{DropCause, Report};
use mpfwd_common::error::{Error, Result};
use mpfwd_common::output;

mod asked;
mod check;
mod engines;
mod launch;
mod living;
mod near;
mod outcome;
mod prepare;
mod printed;
mod queues;
mod reread;
mod run;
mod source;
mod stamping;

use engines::{BuiltIn, Engines, Own};
use run::Run;

const CONFIG_FILE: &str = "--config-file";

/// Runs the program with the whole command line, its name first:
/// `std::env::args_os()`.
///
/// # Errors
/// Bad input, a machine that lacks something, a report that can't be written,
/// or a broken conservation check.
pub fn main(args: impl IntoIterator<Item = OsString>) -> Result<()> {
    start::<NoArgs, _>("mpfwd", args, |cli, _| BuiltIn::new(cli))
}

/// As [`main`], with the caller's own engine instead of `--forward-mode`'s:
/// `engine` makes one per lcore. The command line decides everything else.
///
/// # Errors
/// As [`main`].
pub fn main_with<E: Engine>(
    args: impl IntoIterator<Item = OsString>,
    engine: impl Fn(&EngineSetup<'_>) -> E,
) -> Result<()> {
    Program::new("own").run(args, |setup, NoArgs {}| engine(setup))
}

/// A program with an engine of its own, under its own name.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    name: &'static str,
    causes: &'static [&'static str],
}

impl Program {
    /// `name`: in help, and as `forward_mode` in the report.
    pub const fn new(name: &'static str) -> Self {
        Self { name, causes: &[] }
    }

    /// The names of the engine's own causes of drops, at most
    /// [`DropCause::OWN_MAX`]: keys in the report, in snake case. The engine
    /// drops with [`DropCause::own`] of a name's place.
    pub const fn causes(self, causes: &'static [&'static str]) -> Self {
        assert!(causes.len() <= DropCause::OWN_MAX);
        Self { causes, ..self }
    }

    /// As [`main_with`]. The program's own arguments stand among mpfwd's behind
    /// `--`.
    ///
    /// # Errors
    /// As [`main`].
    pub fn run<E: Engine, A: clap::Args>(
        self,
        args: impl IntoIterator<Item = OsString>,
        engine: impl Fn(&EngineSetup<'_>, &A) -> E,
    ) -> Result<()> {
        DropCause::name_own(self.causes);
        start::<A, _>(self.name, args, |_, own| {
            Ok(Own { name: self.name, make: move |setup: &EngineSetup<'_>| engine(setup, &own) })
        })
    }
}

fn start<A: clap::Args, W: Engines>(
    name: &'static str,
    args: impl IntoIterator<Item = OsString>,
    engines: impl FnOnce(&Cli, A) -> Result<W>,
) -> Result<()> {
    let mut args = in_utf8(args)?;
    if let [program, command, words @ ..] = args.as_slice()
        && command == "check"
    {
        return check::check::<A>(name, program, words, |cli, own| engines(cli, own).map(drop));
    }
    let file = take_config_file(&mut args)?;
    let (eal_args, own_args) = split(&args)?;
    let merged = Merged::new(file.as_deref(), eal_args, own_args)?;
    if let [first, rest @ ..] = merged.mistakes.as_slice() {
        return Err(Error::Usage(match rest.len() {
            0 => first.clone(),
            more => format!("{first}; and {more} more, see mpfwd check FILE"),
        }));
    }
    let (eal_args, own_args) = &merged.words();
    let Some((cli, own)) = Cli::read_with::<A>(name, own_args)? else { return Ok(()) };
    config::check_alone(&cli)?;
    if cli.check_args {
        return Ok(());
    }
    // From here on no signal kills the process halfway.
    let mut host = Host::before_eal()?;
    outcome::check_files(&cli)?;
    let mut engines = engines(&cli, own)?;
    host.listen(cli.api.as_ref(), &dpdk::file_prefix(eal_args))?;
    let eal = Eal::start(eal_args)?;
    let report = run_with(&eal, &cli, &host, &mut engines, &stamping::replaying(eal_args))?;
    drop(eal);
    output::say(&report);
    outcome::write_files(&cli, &report)?;
    if report.conserved == Some(true) { Ok(()) } else { Err(Error::Conservation) }
}

/// One run on the ports that EAL has now: plans, sets up, forwards until the
/// end, tears down. Must be called by the main lcore.
///
/// # Errors
/// When the arguments don't fit the lcores and ports, or something does not
/// start. All ports are closed again.
pub fn run(eal: &Eal, cli: &Cli, host: &Host) -> Result<Report> {
    run_with(eal, cli, host, &mut BuiltIn::new(cli)?, &[])
}

/// As [`run`], with the caller's own engine: `engine` makes one per lcore.
///
/// # Errors
/// As [`run`].
pub fn run_own<E: Engine>(
    eal: &Eal,
    cli: &Cli,
    host: &Host,
    engine: impl Fn(&EngineSetup<'_>) -> E,
) -> Result<Report> {
    run_with(eal, cli, host, &mut Own { name: "own", make: engine }, &[])
}

/// `replaying`: the virtual devices that replay captures.
fn run_with(
    eal: &Eal,
    cli: &Cli,
    host: &Host,
    engines: &mut dyn Engines,
    replaying: &[String],
) -> Result<Report> {
    let mut plan = config::plan(cli, &eal.lcores(), &dpdk::find_ports(eal)?, eal.socket_mem())?;
    stamping::leave_out(&mut plan, cli, replaying);
    if cli.idle != Idle::Yield {
        plan.warnings
            .extend(eal.crowded().iter().map(|(lcores, cpus)| printed::crowded(lcores, cpus)));
    }
    if plan.scheduling.mode == Mode::Pools && engines.never_defers(cli) {
        plan.warnings.push(
            "nothing is expensive here, and pool B stays idle: write --mode hybrid, or leave out --pools"
                .into(),
        );
    }
    let mut run = Run::prepare(eal, cli, plan, engines)?;
    let ended = run.run(engines, host)?;
    Ok(run.report(ended))
}

/// Removes `--config-file` and its value, wherever it stands. Without it, the
/// file is `MPFWD_CONFIG_FILE`'s.
///
/// # Errors
/// The value is missing.
fn take_config_file(args: &mut Vec<String>) -> Result<Option<PathBuf>> {
    let Some(at) = args.iter().position(|arg| {
        arg == CONFIG_FILE
            || arg.strip_prefix(CONFIG_FILE).is_some_and(|rest| rest.starts_with('='))
    }) else {
        return Ok(std::env::var_os("MPFWD_CONFIG_FILE").map(PathBuf::from));
    };
    let word = args.remove(at);
    let path = match word.strip_prefix(CONFIG_FILE).and_then(|rest| rest.strip_prefix('=')) {
        Some(path) => path.to_owned(),
        None if at < args.len() => args.remove(at),
        None => String::new(),
    };
    match path.as_str() {
        "" => Err(Error::Usage(format!("{CONFIG_FILE} needs a file"))),
        path => Ok(Some(path.into())),
    }
}

/// EAL's arguments stand before `--`, ours behind it. A request for help is
/// ours wherever it stands.
///
/// # Errors
/// When one of our arguments stands before `--`.
fn split(args: &[String]) -> Result<(&[String], &[String])> {
    let asks = |arg: &String| {
        ["-h", "--help", "-V", "--version"].contains(&arg.as_str()) || arg.starts_with("--generate")
    };
    if let Some(at) = args.iter().position(asks) {
        return Ok((&[], &args[at..args.len().min(at + 2)]));
    }
    if let Some(at) = args.iter().position(|arg| arg == "--") {
        return Ok((&args[..at], &args[at + 1..]));
    }
    match args.iter().skip(1).find(|arg| Cli::knows(arg)) {
        Some(arg) => Err(Error::Usage(format!("{arg} is mpfwd's, not EAL's: write -- before it"))),
        None => Ok((args, &[])),
    }
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn eals_arguments_end_at_the_dashes_and_help_is_found_anywhere() {
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        for (line, eal, own) in [
            ("mpfwd -l 0-1 -- --pools 1:1", "mpfwd -l 0-1", "--pools 1:1"),
            ("mpfwd -l 0", "mpfwd -l 0", ""),
            ("mpfwd --help", "", "--help"),
            ("mpfwd -l 0 --help -- --pools 1:1", "", "--help --"),
            ("mpfwd -l 0 -- --pools x -h", "", "-h"),
            ("mpfwd --generate man", "", "--generate man"),
        ] {
            let line = words(line);
            let (before, behind) = split(&line).expect("nothing is misplaced");
            assert_eq!((before.join(" ").as_str(), behind.join(" ").as_str()), (eal, own));
        }
        let error = split(&words("mpfwd --pools 1:1")).expect_err("-- is missing");
        assert_eq!(error.to_string(), "--pools is mpfwd's, not EAL's: write -- before it");
    }
}
