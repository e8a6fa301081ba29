//! `mplab bimodal`: the benchmark that first showed micropools, on mpfwd.
//! Packets come open loop, and latency counts from a packet's due time.

use std::time::Duration;

use comfy_table::Table;

use super::args::BimodalArgs;
use super::bench::{Bench, End};
use super::child::{Failure, Interrupts, part};
use super::class::Class;
use super::compare::progress;
use super::comparison::merged;
use super::lcores::Lcores;
use super::log2::Log2;
use super::measured::{Latency, Measured};
use super::mode::LabMode;
use super::workload::{Share, Workload};
use mpfwd_common::args::Pools;
use mpfwd_common::error::{Error, Result};
use mpfwd_common::latency::{Bucket, of_buckets};
use mpfwd_common::output::say;
use mpfwd_common::text::{grouped, table, time, wrapped};

/// Lcores of the original benchmark, one of them for expensive packets.
const LCORES: usize = 3;

/// The same in all modes, hence the same packets at the same times.
const SEED: u64 = 1;

/// Steps of the progress bar per mode.
const STEPS: u64 = 100;

/// # Errors
/// Bad input, or an mpfwd that does not run to its end.
pub(super) fn bimodal(args: &BimodalArgs) -> Result<()> {
    let lcores = args.machine.lcores.clone().unwrap_or_else(|| Lcores::of_machine(LCORES));
    let one_works = Pools { a: lcores.count().saturating_sub(1).max(1), b: 1 };
    let workload = Workload::two_costs(
        (args.cheap, args.expensive),
        Share::Of(args.p),
        true,
        (args.load, None),
        lcores.count(),
    )?;
    let bench = Bench::new(&args.machine, lcores, args.machine.pools.unwrap_or(one_works))?;
    let end = End::Packets(args.packets);
    args.mode.iter().try_for_each(|&mode| bench.check(mode, &workload, end))?;
    if args.machine.lcores.is_none() && bench.lcores.count() < LCORES {
        let count = bench.lcores.count();
        say(format_args!(
            "{count} CPUs: pools {}:1 instead of 2:1, single pool of {count} lcores instead of {LCORES}",
            count - 1
        ));
    }
    say(format_args!(
        "{} packets, {} and {} ({:.4} % of them), load {} on lcores {}",
        grouped(args.packets),
        humantime::format_duration(args.cheap),
        humantime::format_duration(args.expensive),
        args.p * 100.0,
        args.load,
        bench.lcores.text()
    ));
    let interrupts = Interrupts::catch()?;
    let folder = tempfile::tempdir()
        .map_err(|error| Error::Setup(format!("no folder for reports: {error}")))?;
    let report = folder.path().join("report.json");
    let time = expected(args, bench.lcores.count());
    let bar = progress(STEPS * args.mode.len() as u64);
    for (&mode, before) in args.mode.iter().zip((0..).step_by(STEPS as usize)) {
        bar.set_message(mode.name());
        bar.set_position(before);
        // An earlier mode's report must not pass for this one's.
        let _ = std::fs::remove_file(&report);
        let words = bench.args(mode, &workload, SEED, end, &report);
        let mut looks_on = |elapsed: Duration| bar.set_position(before + steps(elapsed, time));
        // Allow twice the time, for a busy machine.
        let run = part(&bench.mpfwd, &words, &report, 2 * time, &interrupts, &mut looks_on);
        bar.suspend(|| {
            let run = run.map_err(|failure| broken(mode, failure))?;
            if interrupts.asked() {
                let (sent, all) = (grouped(run.tx_pkts), grouped(args.packets));
                say(format_args!("\nwarning: interrupted after {sent} of {all} packets, modes after this one are missing"));
            }
            print(mode, &bench, &run)
        })?;
        if interrupts.asked() {
            break;
        }
    }
    bar.finish_and_clear();
    Ok(())
}

/// The expected time until the last packet is due.
fn expected(args: &BimodalArgs, lcores: usize) -> Duration {
    let mean_s = (1.0 - args.p) * args.cheap.as_secs_f64() + args.p * args.expensive.as_secs_f64();
    Duration::from_secs_f64(
        (args.packets as f64 * mean_s / (args.load * lcores as f64)).clamp(0.0, 43_200.0),
    )
}

/// The progress of a mode after `elapsed`.
fn steps(elapsed: Duration, time: Duration) -> u64 {
    let share = elapsed.as_secs_f64() / time.as_secs_f64().max(f64::MIN_POSITIVE);
    (share * STEPS as f64).min(STEPS as f64) as u64
}

fn broken(mode: LabMode, failure: Failure) -> Error {
    let why = match failure {
        Failure::Interrupted => "interrupted".to_owned(),
        Failure::Refused(why) | Failure::Broken(why) => why,
    };
    Error::Setup(format!("mode {}: {why}", mode.name()))
}

fn print(mode: LabMode, bench: &Bench, run: &Measured) -> Result<()> {
    let Some(latency) = &run.latency else {
        return Err(Error::Setup(format!("mode {}: mpfwd measured no latencies", mode.name())));
    };
    let both = merged(Class::ALL.map(|class| latency.of(class).buckets.as_slice()));
    say("");
    match mode.has_pools() {
        true => {
            say(format_args!("starting micropool a (sz:{})", bench.pools.a));
            say(format_args!("starting micropool b (sz:{})", bench.pools.b));
        }
        false => say(format_args!("starting micropool a (sz:{})", bench.lcores.count())),
    }
    say(Log2::of(&both));
    say(format_args!("  mode {}; bucket i: 2^i to 2^(i+1) ns", mode.name()));
    say(percentiles(&both, latency));
    say(beside(run, latency));
    latency.qualified_by().iter().for_each(|line| say(wrapped(&format!("  {line}"))));
    Ok(())
}

/// A row for both classes together, and one for each.
fn percentiles(both: &[Bucket], latency: &Latency) -> Table {
    let mut table =
        table(&["  latency", "packets", "p50", "p90", "p99", "p99.9", "p99.95", "p99.99", "max"]);
    let classes = Class::ALL.map(|class| (class.name(), latency.of(class).buckets.as_slice()));
    for (name, buckets) in std::iter::once(("all", both)).chain(classes) {
        let histogram = of_buckets(buckets);
        let mut cells = vec![name.to_owned(), grouped(histogram.len())];
        let quantiles = [0.5, 0.9, 0.99, 0.999, 0.9995, 0.9999];
        cells.extend(quantiles.map(|quantile| time(histogram.value_at_quantile(quantile))));
        cells.push(time(histogram.max()));
        table.add_row(cells);
    }
    table
}

/// The conditions of the figures.
fn beside(run: &Measured, latency: &Latency) -> String {
    let mut text =
        format!("  {:.3} Mpps", run.tx_pkts as f64 / run.elapsed_s.max(f64::MIN_POSITIVE) / 1e6);
    if let Some(source) = &run.source {
        let lost = source.missed_pkts + source.nombuf_pkts + run.dropped_pkts();
        text += &format!(" (asked for {:.3}), lost {} packets", source.asked_mpps, grouped(lost));
    }
    let gaps = &run.host_gaps;
    text + &format!(
        ", host gaps {}, longest {}\n{}\n{}",
        time(gaps.gap_ns),
        time(gaps.gap_max_ns),
        wrapped(&format!("  latency: {}", latency.clock)),
        wrapped(&format!("    {}", latency.bound))
    )
}
