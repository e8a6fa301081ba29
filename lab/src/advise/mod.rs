//! `mplab advise`: from the report of a run, which mode and pools to run, and
//! what to expect of them.
//!
//! * `evidence`: the report, and what makes it unusable
//! * `arrivals`: its arrival process
//! * `rules`: when a mode breaks
//! * `candidate`: modes and splits, simulated
//! * `target`, `text`: what is wanted, and what is printed

mod arrivals;
mod candidate;
mod choice;
mod evidence;
mod rules;
mod text;

use micropools::sim::LCORES_MAX;

use super::args::AdviseArgs;
use super::class::Class;
use super::lcores::fitting_pools;
use super::mode::LabMode;
use super::profile::Profile;
use super::sim_mode::SimMode;
use candidate::{Candidate, Predicted, Twin, candidates};
use choice::Choice;
use clap::ValueEnum;
use evidence::Evidence;
use mpfwd_common::error::{Error, Result};
use mpfwd_common::output;

/// # Errors
/// The report can't be used, or the arguments contradict it.
pub(super) fn advise(args: &AdviseArgs) -> Result<()> {
    let evidence = Evidence::read(&args.report)?;
    let twin = Twin::new(&evidence, Profile::of(args.profile.as_deref())?, args.packets);
    if let Some(path) = &args.check {
        return check(&evidence, &twin, &Evidence::read(path)?);
    }
    let lcores = args.lcores.unwrap_or(evidence.lcores);
    if !(1..=LCORES_MAX).contains(&lcores) {
        let message = format!("--lcores {lcores}: write a number from 1 to {LCORES_MAX}");
        return Err(Error::Usage(message));
    }
    let (target, load) = (args.target, twin.load(lcores));
    // The rules of single pools are about cheap packets.
    let q = if target.class == Class::Cheap { target.quantile } else { 0.0 };
    let (kept, pruned): (Vec<_>, Vec<_>) =
        candidates(load).into_iter().partition(|candidate| candidate.is_broken(load, q).is_none());
    // If nothing is left, the best that can be had is among those.
    let (kept, pruned) = if kept.is_empty() { (pruned, kept) } else { (kept, pruned) };
    let outcomes = twin.simulate(&kept, evidence.pps, &[1.0, args.load_factor])?;
    let mut choices: Vec<Choice> = kept
        .into_iter()
        .zip(outcomes)
        .filter_map(|(candidate, outcomes)| {
            let [now, later] = <[Predicted; 2]>::try_from(outcomes).ok()?;
            Some(Choice { candidate, now, later })
        })
        .collect();
    // Stable: among equals the simpler one stays first.
    choices.sort_by_key(|choice| choice.rank(&target));
    let asked = text::Asked { target, load, load_factor: args.load_factor };
    output::print(text::advice(&twin, &asked, &choices, &pruned));
    Ok(())
}

/// Prints what the twin predicts of another run, by its mode and rate, beside
/// what that run has measured.
fn check(seen: &Evidence, twin: &Twin<'_>, realised: &Evidence) -> Result<()> {
    let unknown = || Error::Usage(format!("no simulation of mode {}", realised.mode));
    let named = |name: &str| LabMode::from_str(name, false).map_err(|_| unknown());
    let mode = match (realised.mode.as_str(), realised.follows_load, realised.took_over) {
        (_, true, _) => SimMode::Auto,
        ("steal", _, true) => SimMode::Lab(named("steal-rx")?),
        (name, ..) => SimMode::Lab(named(name)?),
    };
    let pools = realised.pools.as_deref().and_then(|pools| pools.parse().ok());
    let pools = pools.unwrap_or_else(|| fitting_pools(realised.lcores));
    let candidate = Candidate { mode, lcores: realised.lcores, pools, cap: pools.b };
    let predicted = twin.simulate(&[candidate], realised.pps, &[1.0])?;
    let predicted = predicted.into_iter().flatten().next().ok_or_else(unknown)?;
    output::print(text::check(&candidate, seen, realised, &predicted));
    Ok(())
}
