//! What `mplab advise` prints.

use std::fmt::Write;

use super::candidate::{Candidate, Predicted, Twin};
use super::choice::{ALIKE, Choice, LOST_SHARE_MAX};
use super::evidence::Evidence;
use super::rules::{Load, headroom, rules};
use crate::class::Class;
use crate::target::Target;
use mpfwd_common::text::{table, time, wrapped};

/// Candidates that are shown beside the advice.
const OTHERS: usize = 6;

/// Descriptors and ring slots are advised within these bounds, and with room for
/// twice as many packets as a simulation has seen.
const RXD: (usize, usize) = (512, 32_768);
const RING: (usize, usize) = (256, 16_384);

/// Without another quantile wanted, headroom is that of p99.
const Q: f64 = 0.99;

/// What the user has asked for, and the load that it is about.
pub(super) struct Asked {
    pub target: Target,
    pub load: Load,
    pub load_factor: f64,
}

/// The text of the advice. `choices` are sorted, the best first; the rules have
/// pruned the others.
pub(super) fn advice(
    twin: &Twin<'_>,
    asked: &Asked,
    choices: &[Choice],
    pruned: &[Candidate],
) -> String {
    let Some((best, others)) = choices.split_first() else { return String::new() };
    let mut text = measured(twin, asked.load);
    let mut say = |line: String| {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{line}");
    };
    let Asked { target, load, load_factor } = asked;
    if target.limit_ns.is_some() && !best.reaches(target) {
        let (now, later) = (target.of(&best.now.latency), target.of(&best.later.latency));
        say(wrapped(&format!(
            "NO SPLIT REACHES {target} on {} lcores; the best has {} now and {} at load x{load_factor}",
            load.lcores,
            time(now),
            time(later)
        )));
    }
    say(format!("advice: {} {}", best.candidate.args(), rings(best)));
    if best.candidate.has_cap() {
        say(format!(
            "        --rescue-after 20us (default), --expensive-cap {}",
            best.candidate.cap
        ));
    }
    say(latencies(best, *load_factor));
    say(headrooms(&best.candidate, *load, target));
    say(rivals(best, others, (target, *load_factor)));
    let q = if target.class == Class::Cheap { target.quantile } else { 0.0 };
    let why = |candidate: &Candidate| Some((candidate.name(), candidate.is_broken(*load, q)?));
    let pruned: Vec<_> = pruned.iter().filter_map(why).collect();
    for same in pruned.chunk_by(|a, b| a.1 == b.1) {
        let names: Vec<&str> = same.iter().map(|(name, _)| name.as_str()).collect();
        say(wrapped(&format!("not simulated: {}: {}", names.join(", "), same[0].1)));
    }
    text
}

fn measured(twin: &Twin<'_>, load: Load) -> String {
    let Evidence { mode, pps, p, classes, known, host_share, .. } = twin.evidence;
    let class = |class: Class| {
        let (of, share) =
            (&classes[class as usize], if class == Class::Cheap { 1.0 - p } else { *p });
        format!("{} {:.4} % of {} each", class.name(), share * 100.0, time(of.mean_ns as u64))
    };
    let mut text = format!(
        "measured in mode {mode}: {:.3} Mpps ({}), {}, {}",
        pps / 1e6,
        twin.process,
        class(Class::Cheap),
        class(Class::Expensive)
    );
    if !known {
        text += ", costs unknown before they are paid";
    }
    let erlangs = format!(
        "Erlangs on {} lcores: {:.3} cheap, {:.3} expensive; the host took {:.1} % of the lcores' time",
        load.lcores,
        load.cheap,
        load.expensive,
        host_share * 100.0
    );
    format!("{}\n{}\n", wrapped(&text), wrapped(&erlangs))
}

/// Room for twice the packets of the worst moment simulated.
fn rings(best: &Choice) -> String {
    let most = |of: fn(&Predicted) -> usize| of(&best.now).max(of(&best.later));
    let room = |pkts: usize, (least, most): (usize, usize)| {
        (2 * pkts).next_power_of_two().clamp(least, most)
    };
    let rxd = room(most(|of| of.deepest.queue_pkts), RXD);
    let ring = room(most(|of| of.deepest.shard_pkts), RING);
    format!("--rxd {rxd} --ring-size {ring}")
}

fn latencies(best: &Choice, load_factor: f64) -> String {
    let later = format!("at load x{load_factor}");
    let mut table = table(&["predicted", "class", "p50", "p99", "p99.9"]);
    for (when, predicted) in [("now", &best.now), (later.as_str(), &best.later)] {
        for class in Class::ALL {
            let row = &predicted.latency[class as usize];
            if row.pkts > 0 {
                let [p50, p99, p999] = [row.p50_ns, row.p99_ns, row.p999_ns].map(time);
                table.add_row([when.to_owned(), class.name().to_owned(), p50, p99, p999]);
            }
        }
    }
    table.to_string()
}

fn headrooms(best: &Candidate, load: Load, target: &Target) -> String {
    let q = if target.class == Class::Cheap { target.quantile } else { Q };
    let mut table = table(&["rule", "breaks at load"]);
    for (name, mode, split) in rules(best.pools, best.cap.min(best.pools.b.max(1))) {
        table.add_row([name, format!("x{:.2}", headroom(mode, split, load, q))]);
    }
    table.to_string()
}

/// The next best candidates, and why each loses.
fn rivals(best: &Choice, others: &[Choice], (target, load_factor): (&Target, f64)) -> String {
    let (what, later) = (target.what(), format!("load x{load_factor}"));
    let mut table = table(&["instead", what.as_str(), later.as_str(), "why not"]);
    for other in others.iter().take(OTHERS) {
        let [now, later] = [&other.now, &other.later].map(|at| time(target.of(&at.latency)));
        table.add_row([other.candidate.name(), now, later, why_not(best, other, target)]);
    }
    table.to_string()
}

fn why_not(best: &Choice, other: &Choice, target: &Target) -> String {
    let lost = other.later.lost_share;
    if lost > LOST_SHARE_MAX && best.keeps_up() {
        return format!("loses {:.1} % of the packets", lost * 100.0);
    }
    let reached = target.limit_ns.is_some() && best.reaches(target);
    if reached && !other.reaches(target) {
        return "misses the target".into();
    }
    let (of, what) = match Class::ALL.into_iter().find(|&class| class != target.class) {
        Some(class) if reached => {
            let p99 = move |at: &Predicted| at.latency[class as usize].p99_ns;
            (
                p99(&other.later) as f64 / p99(&best.later).max(1) as f64,
                format!("{} p99", class.name()),
            )
        }
        _ => {
            let at = |choice: &Choice| target.of(&choice.later.latency) as f64;
            (at(other) / at(best).max(1.0), target.what())
        }
    };
    match of > ALIKE {
        true => format!("{what} x{of:.1}"),
        false => "as good, but not simpler".into(),
    }
}

/// Prediction and realisation, side by side.
pub(super) fn check(
    candidate: &Candidate,
    seen: &Evidence,
    realised: &Evidence,
    predicted: &Predicted,
) -> String {
    let mut table = table(&["class", "quantile", "predicted", "measured", "ratio"]);
    for class in Class::ALL {
        let rows = [&predicted.latency[class as usize], &realised.classes[class as usize].latency];
        if rows.iter().any(|row| row.pkts == 0) {
            continue;
        }
        let quantiles = rows.map(|row| [row.p50_ns, row.p99_ns, row.p999_ns]);
        for (at, name) in ["p50", "p99", "p99.9"].into_iter().enumerate() {
            let [predicted, measured] = quantiles.map(|of| of[at]);
            let ratio = predicted as f64 / measured.max(1) as f64;
            table.add_row([
                class.name().to_owned(),
                name.to_owned(),
                time(predicted),
                time(measured),
                format!("{ratio:.2}"),
            ]);
        }
    }
    let about = format!(
        "{} at {:.3} Mpps, x{:.2} of the run that it is predicted from; the host took {:.1} % of the lcores' time",
        candidate.name(),
        realised.pps / 1e6,
        realised.pps / seen.pps,
        realised.host_share * 100.0
    );
    format!("{}\n{table}\n{}\n", wrapped(&about), wrapped(&format!("measured: {}", realised.bound)))
}
