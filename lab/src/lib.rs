//! Experiments: the same open-loop traffic in every mode, measured in short
//! interleaved rounds, as tables, JSON and pictures.
//!
//! Each round is an mpfwd process of its own, controlled by its arguments, that
//! leaves a JSON report. This program links no DPDK, and no round affects the
//! next one. mpfwd itself checks its arguments before the first round.
//!
//! * `args`, `mode`, `lcores`, `workload`: the command line
//! * `bench`, `memory`, `child`, `measured`: an mpfwd process and its report
//! * `compare`, `comparison`, `tables`; `bimodal`, `log2`: the experiments
//! * `simulate`, `twin`, `map`, `sim_mode`, `profile`: the same in virtual time;
//!   `calibrate` measures a profile
//! * `advise`: which mode to run, from the report of a run
//! * `plot`: pictures of their results and of reports
//! * `routes`: a routes file for `l3`

mod advise;
mod args;
mod bench;
mod bimodal;
mod calibrate;
mod child;
mod class;
mod compare;
mod comparison;
mod lcores;
mod log2;
mod map;
mod measured;
mod memory;
mod mode;
mod neighbour;
mod plot;
mod profile;
mod results;
mod routes;
mod sim_mode;
mod simulate;
mod tables;
mod target;
mod twin;
mod workload;

use std::ffi::OsString;

use clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand as DisplayHelpOnMissing;
use clap::{CommandFactory, Parser};

use mpfwd_common::args::{in_utf8, one_line};
use mpfwd_common::error::{Error, Result};
use mpfwd_common::output;

/// Runs the program with the whole command line, its name first.
///
/// # Errors
/// Bad input, an mpfwd that does not run, or a file that can't be written.
pub fn main(args: impl IntoIterator<Item = OsString>) -> Result<()> {
    let args = match args::Args::try_parse_from(in_utf8(args)?) {
        Ok(args) => args,
        Err(error) if !error.use_stderr() || error.kind() == DisplayHelpOnMissing => {
            output::print(error.render());
            return Ok(());
        }
        Err(error) => return Err(Error::Usage(one_line(&error.to_string()))),
    };
    match args.command {
        args::Command::Compare(args) => compare::compare(&args),
        args::Command::Simulate(args) => simulate::simulate(&args),
        args::Command::Map(args) => map::map(&args),
        args::Command::Calibrate(args) => calibrate::calibrate(&args),
        args::Command::Advise(args) => advise::advise(&args),
        args::Command::Bimodal(args) => bimodal::bimodal(&args),
        args::Command::Plot(args) => plot::plot(&args),
        args::Command::Routes(args) => routes::routes(&args),
        args::Command::Generate { what } => {
            output::print(what.of(args::Args::command(), 1));
            Ok(())
        }
    }
}
