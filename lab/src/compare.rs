//! `mplab compare`: every mode in turn, round after round, each a fresh mpfwd.

use indicatif::{ProgressBar, ProgressStyle};

use super::args::CompareArgs;
use super::bench::{Bench, End};
use super::child::{Failure, Interrupts, round};
use super::comparison::{Comparison, FailedRound, Machine, Parameters};
use super::measured::Measured;
use super::mode::{LabMode, check_distinct};
use super::neighbour::Neighbour;
use super::results::Results;
use super::twin::Twin;
use super::workload::Workload;
use mpfwd_common::error::{Error, Result};

/// # Errors
/// Bad input; mpfwd refuses to run; no round has a result; a file can't be
/// written; some rounds failed (after the others were shown and written).
pub(super) fn compare(args: &CompareArgs) -> Result<()> {
    check_distinct(&args.modes, LabMode::name)?;
    let lcores = args.machine.lcores.clone().unwrap_or_default();
    let workload = args.traffic.workload(lcores.count())?;
    let pools = args.machine.pools.unwrap_or(lcores.pools());
    let bench = Bench::new(&args.machine, lcores, pools)?;
    let end = End::After(args.round_time);
    args.modes.iter().try_for_each(|&mode| bench.check(mode, &workload, end))?;
    let results = Results::new(&args.output)?;
    let twin = args.twin.then(|| Twin::new(args, &bench, &workload)).transpose()?;
    let neighbour = args.neighbour.map(Neighbour::start).transpose()?;
    let measured = measure(args, &bench, &workload)?;
    drop(neighbour);
    if measured.runs.is_empty() {
        let why = measured
            .failed
            .last()
            .map_or("interrupted before the first round had ended".into(), |last| last.why.clone());
        return Err(Error::Setup(format!("nothing was measured: {why}")));
    }
    let failed = measured.failed.len();
    let mut comparison = Comparison::of(
        parameters(args, &bench, &workload),
        &measured.runs,
        measured.failed,
        measured.interrupted,
    );
    if let Some(twin) = twin {
        comparison.twin = twin.beside(&comparison)?;
    }
    results.emit(&comparison)?;
    match failed {
        0 => Ok(()),
        _ => Err(Error::Incomplete(format!(
            "{failed} of {} rounds failed: the warnings say why",
            args.rounds as usize * args.modes.len()
        ))),
    }
}

fn parameters(args: &CompareArgs, bench: &Bench, workload: &Workload) -> Parameters {
    Parameters::of(
        args.modes.iter().map(|mode| mode.name().to_owned()).collect(),
        workload,
        (args.rounds, args.round_time),
        Machine {
            lcores: bench.lcores.text().to_owned(),
            lcore_count: bench.lcores.count(),
            pools: bench.pools.to_string(),
            memory: bench.memory().to_owned(),
            eal: bench.eal.join(" "),
            mpfwd: bench.own.join(" "),
        },
    )
}

/// Results and failures of the rounds, in their order.
#[derive(Default)]
struct Rounds {
    runs: Vec<(String, u32, Measured)>,
    failed: Vec<FailedRound>,
    interrupted: bool,
}

/// # Errors
/// mpfwd refuses a mode that has not run yet: every further round would fail
/// too.
fn measure(args: &CompareArgs, bench: &Bench, workload: &Workload) -> Result<Rounds> {
    let interrupts = Interrupts::catch()?;
    let folder = tempfile::tempdir()
        .map_err(|error| Error::Setup(format!("no folder for reports: {error}")))?;
    let report = folder.path().join("report.json");
    let bar = progress(u64::from(args.rounds) * args.modes.len() as u64);
    let mut rounds = Rounds::default();
    let turns = (1..=args.rounds)
        .flat_map(|round| turns(&args.modes, round).map(move |mode| (round, mode)));
    for (number, mode) in turns {
        bar.set_message(mode.name());
        // An earlier round's report must not pass for this one's.
        let _ = std::fs::remove_file(&report);
        let words =
            bench.args(mode, workload, u64::from(number), End::After(args.round_time), &report);
        match round(&bench.mpfwd, &words, &report, args.round_time, &interrupts) {
            Ok(run) => rounds.note(mode, number, run),
            Err(Failure::Interrupted) => rounds.interrupted = true,
            Err(Failure::Refused(why)) if !rounds.has(mode) => {
                bar.finish_and_clear();
                return Err(Error::Setup(format!("mode {}: {why}", mode.name())));
            }
            Err(Failure::Refused(why) | Failure::Broken(why)) => {
                rounds.failed.push(FailedRound {
                    mode: mode.name().to_owned(),
                    round: number,
                    why,
                });
            }
        }
        if rounds.interrupted {
            break;
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(rounds)
}

/// The modes in the order of a round, counted from 1. Each round rotates the
/// order by one, so that no mode is always the first or always follows the same
/// one.
fn turns(modes: &[LabMode], round: u32) -> impl Iterator<Item = LabMode> {
    let first = (round as usize - 1) % modes.len();
    modes[first..].iter().chain(&modes[..first]).copied()
}

impl Rounds {
    fn note(&mut self, mode: LabMode, round: u32, run: Measured) {
        let name = mode.name().to_owned();
        match run.latency.is_some() && run.source.is_some() {
            true => self.runs.push((name, round, run)),
            false => self.failed.push(FailedRound {
                mode: name,
                round,
                why: "mpfwd measured no latencies".into(),
            }),
        }
    }

    fn has(&self, mode: LabMode) -> bool {
        self.runs.iter().any(|run| run.0 == mode.name())
    }
}

/// A progress bar that moves with each round and has no clock of its own: the
/// lcores need the CPUs.
pub(super) fn progress(steps: u64) -> ProgressBar {
    let bar = ProgressBar::new(steps);
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} {msg}, {eta} left")
        .expect("a constant template is valid");
    bar.set_style(style);
    bar
}

#[cfg(test)]
mod tests {
    use micropools::policy::Mode;

    use super::*;

    #[test]
    fn each_round_begins_with_the_next_mode() {
        let modes = [Mode::Rtc, Mode::Pools, Mode::Hybrid].map(LabMode::from);
        let order = |round| turns(&modes, round).map(LabMode::name).collect::<Vec<_>>().join(" ");
        assert_eq!(
            ["rtc pools hybrid", "pools hybrid rtc", "hybrid rtc pools", "rtc pools hybrid"],
            [1, 2, 3, 4].map(order).each_ref().map(String::as_str)
        );
    }
}
