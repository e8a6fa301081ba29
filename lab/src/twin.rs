//! `mplab compare --twin`: the same experiment simulated, beside what was
//! measured.

use clap::{Args, FromArgMatches};

use super::args::{CompareArgs, ModeArgs};
use super::bench::Bench;
use super::class::Class;
use super::comparison::{Comparison, Row, TwinRow};
use super::profile::Profile;
use super::sim_mode::SimMode;
use super::simulate::{Cell, Services, Traffic, comparison, run_all};
use super::workload::Workload;
use mpfwd_common::args::one_line;
use mpfwd_common::error::{Error, Result};

/// The experiment, ready to be simulated: checked before anything is measured.
pub(super) struct Twin(Vec<Cell>);

impl Twin {
    /// # Errors
    /// The profile can't be used, or mpfwd's arguments have something that the
    /// simulation does not know.
    pub(super) fn new(args: &CompareArgs, bench: &Bench, workload: &Workload) -> Result<Self> {
        let profile = Profile::of(args.profile.as_deref())?;
        let profile = if args.host_gaps { profile } else { profile.without_gaps() };
        let mode_args = mode_args(&args.machine.own)?;
        let traffic = Traffic {
            work: Services::Told(workload.work.clone()),
            source: workload.source.clone(),
            backlog: None,
        };
        let cell = |&mode| {
            Cell::new(
                SimMode::Lab(mode),
                (bench.lcores.count(), bench.pools),
                &mode_args,
                (args.machine.steal_every, usize::from(args.machine.rxd)),
                &profile,
                (traffic.clone(), args.round_time),
            )
        };
        Ok(Self(args.modes.iter().map(cell).collect::<Result<_>>()?))
    }

    /// Simulates as many rounds as were measured, and puts both side by side.
    ///
    /// # Errors
    /// The traffic can't be simulated.
    pub(super) fn beside(&self, measured: &Comparison) -> Result<Vec<TwinRow>> {
        let parameters = measured.parameters.clone();
        let rounds = run_all(&self.0, parameters.rounds)?;
        let simulated = comparison(parameters, &self.0, rounds);
        let pairs = Class::ALL.into_iter().flat_map(|class| {
            let of = |row: &Row| simulated.medians(class).find(|sim| sim.mode == row.mode).cloned();
            let pair = |row: &Row| Some((row.clone(), of(row)?));
            measured.medians(class).filter_map(pair).collect::<Vec<_>>()
        });
        let row = |(measured, simulated): (Row, Row)| {
            Some(TwinRow {
                mode: measured.mode,
                class: measured.class,
                measured_p50_ns: measured.p50_ns?,
                simulated_p50_ns: simulated.p50_ns?,
                measured_p99_ns: measured.p99_ns?,
                simulated_p99_ns: simulated.p99_ns?,
            })
        };
        Ok(pairs.filter_map(row).collect())
    }
}

/// Those of mpfwd's arguments that the simulation follows.
///
/// # Errors
/// There are others.
fn mode_args(own: &[String]) -> Result<ModeArgs> {
    let command = ModeArgs::augment_args(clap::Command::new("--twin").no_binary_name(true));
    let read =
        command.try_get_matches_from(own).and_then(|matches| ModeArgs::from_arg_matches(&matches));
    read.map_err(|error| {
        let why = one_line(&error.to_string());
        Error::Usage(format!("--twin can't simulate these mpfwd arguments: {why}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_that_a_simulation_does_not_know_are_refused() {
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let args = mode_args(&words("--burst 16 --rescue-after 50us --excess push")).unwrap();
        assert_eq!((args.burst, args.rescue_after.unwrap().as_micros()), (Some(16), 50));
        let why = mode_args(&words("--order none")).unwrap_err().to_string();
        assert!(why.contains("--twin") && why.contains("--order") && !why.contains('\n'), "{why}");
    }
}
