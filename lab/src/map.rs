//! `mplab map`: which mode keeps cheap packets fastest, by load and by how much
//! more an expensive packet costs. Simulated.

use std::fmt::Write;
use std::num::NonZeroU64;
use std::time::Duration;

use serde::Serialize;

use super::args::MapArgs;
use super::class::Class;
use super::measured::Measured;
use super::mode::LabMode;
use super::plot::{self, Tile};
use super::profile::Profile;
use super::results::Results;
use super::sim_mode::SimMode;
use super::simulate::{Cell, Services, Traffic, p99_ns, run_all, split};
use super::workload::{Share, Workload};
use micropools::policy::Mode;
use mpfwd_common::args::Pools;
use mpfwd_common::error::Result;
use mpfwd_common::output;
use mpfwd_common::text::time;

/// A mode that loses more than this is no winner.
const LOST_SHARE_MAX: f64 = 0.01;

/// Modes within this factor of the best win as well.
const TIE: f64 = 1.05;

/// A round has at least so many expensive packets, as far as `--packets`
/// allows.
const EXPENSIVE_PKTS: f64 = 40.0;
const PACKETS_MIN: f64 = 400_000.0;

/// One mode in one cell of the map.
#[derive(Clone, Debug, Serialize)]
struct Row {
    load: f64,
    ratio: f64,
    /// `pools-best` has the best fixed split, `pools-off-by-one` the worse of
    /// the two beside it.
    mode: String,
    pools: String,
    cheap_p99_ns: Option<f64>,
    expensive_p99_ns: Option<f64>,
    lost_share: f64,
}

impl Row {
    fn wins_at(&self) -> Option<f64> {
        self.cheap_p99_ns.filter(|_| self.lost_share <= LOST_SHARE_MAX)
    }
}

/// The parameters of one cell.
struct Spot {
    load: f64,
    ratio: f64,
    /// The mean numbers of lcores that each class keeps busy.
    cheap_erlangs: f64,
    expensive_erlangs: f64,
    traffic: Traffic,
    round_time: Duration,
}

/// # Errors
/// Bad input, or a file that can't be written.
pub(super) fn map(args: &MapArgs) -> Result<()> {
    let (lcores, pools) = split(&args.simulated)?;
    let profile = Profile::of(args.simulated.profile.as_deref())?.without_gaps();
    let results = Results::new(&args.output)?;
    let mut rows = Vec::new();
    let mut tiles = Vec::new();
    for &ratio in &args.ratios {
        for &load in &args.loads {
            let spot = spot(args, lcores, load, ratio)?;
            let found = simulate(args, (lcores, pools), &spot, &profile)?;
            output::say(line(&spot, &found));
            tiles.push(tile(&spot, &found));
            rows.extend(found);
        }
    }
    output::print(tables(&rows));
    results.write_json("the map", &rows)?;
    if let Some((path, format)) = results.plot {
        let about = format!(
            "{lcores} simulated lcores, hybrid with pools {pools}; cheap packets take {}, expensive ones do a share of {} of the work",
            humantime::format_duration(args.cheap),
            args.expensive_share
        );
        plot::draw_map(&tiles, &about, format, path)?;
    }
    Ok(())
}

fn spot(args: &MapArgs, lcores: usize, load: f64, ratio: f64) -> Result<Spot> {
    let all = load * lcores as f64;
    let busy = all * args.expensive_share;
    let expensive = args.cheap.mul_f64(ratio);
    let workload = Workload::two_costs(
        (args.cheap, expensive),
        Share::KeepsBusy(busy),
        true,
        (load, None),
        lcores,
    )?;
    let p = workload.p.unwrap_or(1.0);
    let packets = (EXPENSIVE_PKTS / p).max(PACKETS_MIN).min(args.packets as f64);
    let mean_s = (args.cheap.as_secs_f64() * (1.0 - p)) + expensive.as_secs_f64() * p;
    Ok(Spot {
        load,
        ratio,
        cheap_erlangs: all - busy,
        expensive_erlangs: busy,
        traffic: Traffic {
            work: Services::Told(workload.work),
            source: workload.source,
            backlog: None,
        },
        round_time: Duration::from_secs_f64(packets * mean_s / all),
    })
}

fn simulate(
    args: &MapArgs,
    (lcores, pools): (usize, Pools),
    spot: &Spot,
    profile: &Profile,
) -> Result<Vec<Row>> {
    let of = |workers: usize| Pools { a: lcores - workers, b: workers };
    let capped = of(pools.b.max(spot.expensive_erlangs as usize + 1).min(lcores - 1));
    let fixed = SimMode::Lab(LabMode::from(Mode::Pools));
    let mut asked: Vec<(SimMode, Pools)> = Vec::new();
    for &mode in &args.simulated.modes {
        match mode {
            SimMode::Elastic => asked.push((mode, capped)),
            _ if mode == fixed => {
                // Splits that may do, and those beside them.
                let fits = |&workers: &usize| {
                    workers as f64 + 1.0 > spot.expensive_erlangs
                        && (lcores - workers) as f64 + 1.0 > spot.cheap_erlangs
                };
                asked.extend((1..lcores).filter(fits).map(|workers| (mode, of(workers))));
            }
            _ => asked.push((mode, pools)),
        }
    }
    let cells = asked
        .iter()
        .map(|&(mode, pools)| {
            let steal_every = NonZeroU64::new(61).expect("it is not zero");
            let traffic = (spot.traffic.clone(), spot.round_time);
            Cell::new(
                mode,
                (lcores, pools),
                &args.simulated.mode,
                (steal_every, 32_768),
                profile,
                traffic,
            )
        })
        .collect::<Result<Vec<_>>>()?;
    let found = asked.iter().zip(run_all(&cells, args.rounds)?);
    let rows: Vec<Row> =
        found.map(|(&(mode, pools), rounds)| row(spot, mode.name(), pools, &rounds)).collect();
    let (splits, mut rows): (Vec<Row>, Vec<Row>) =
        rows.into_iter().partition(|row| row.mode == fixed.name());
    rows.extend(fixed_splits(splits, |pools| {
        pools.b as f64 > spot.expensive_erlangs && pools.a as f64 > spot.cheap_erlangs
    }));
    Ok(rows)
}

/// Of the rows of all splits: the best one, and the worse of those beside it. A
/// split that does not keep up is the best only if none does: in a short round
/// its packets may wait instead of being lost.
fn fixed_splits(splits: Vec<Row>, keeps_up: impl Fn(Pools) -> bool) -> Vec<Row> {
    // Where all lose packets, the one that loses least.
    let rank = |row: &Row| {
        let loses = row.wins_at().is_none() || !row.pools.parse().is_ok_and(&keeps_up);
        (loses, row.wins_at().unwrap_or(row.lost_share))
    };
    let order = |a: &Row, b: &Row| {
        let (a, b) = (rank(a), rank(b));
        a.0.cmp(&b.0).then(a.1.total_cmp(&b.1))
    };
    let Some((best, _)) = splits.iter().enumerate().min_by(|a, b| order(a.1, b.1)) else {
        return Vec::new();
    };
    let beside = [best.checked_sub(1), Some(best + 1)];
    let worst = beside.into_iter().filter_map(|at| splits.get(at?)).max_by(|a, b| order(a, b));
    let named = |row: &Row, mode: &str| Row { mode: mode.to_owned(), ..row.clone() };
    let best = named(&splits[best], "pools-best");
    std::iter::once(best).chain(worst.map(|row| named(row, "pools-off-by-one"))).collect()
}

fn row(spot: &Spot, mode: &str, pools: Pools, rounds: &[Measured]) -> Row {
    let lost = |run: &Measured| {
        let source = run.source.as_ref()?;
        let lost = (source.missed_pkts + run.dropped_pkts()) as f64;
        Some(lost / source.offered_pkts.max(1) as f64)
    };
    Row {
        load: spot.load,
        ratio: spot.ratio,
        mode: mode.to_owned(),
        pools: pools.to_string(),
        cheap_p99_ns: p99_ns(rounds, Class::Cheap),
        expensive_p99_ns: p99_ns(rounds, Class::Expensive),
        lost_share: super::comparison::median(rounds.iter().filter_map(lost)).unwrap_or(0.0),
    }
}

/// The modes that win, the best first. Ideals don't take part.
fn winners(rows: &[Row]) -> Vec<&Row> {
    let is_real =
        |row: &&Row| !["central", "elastic", "pools-off-by-one"].contains(&row.mode.as_str());
    let mut real: Vec<&Row> =
        rows.iter().filter(is_real).filter(|row| row.wins_at().is_some()).collect();
    let p99 = |row: &Row| row.wins_at().unwrap_or(f64::INFINITY);
    real.sort_by(|a, b| p99(a).total_cmp(&p99(b)));
    let best = real.first().map_or(0.0, |row| p99(row));
    real.retain(|row| p99(row) <= TIE * best);
    real
}

fn names(rows: &[&Row]) -> String {
    rows.iter().map(|row| row.mode.as_str()).collect::<Vec<_>>().join(", ")
}

fn ns(ns: Option<f64>) -> String {
    ns.map_or("-".into(), |ns| time(ns as u64))
}

fn line(spot: &Spot, rows: &[Row]) -> String {
    let winners = winners(rows);
    let best = winners.first().and_then(|row| row.cheap_p99_ns);
    format!(
        "load {}, ratio {}: {} ({})",
        spot.load,
        spot.ratio,
        if winners.is_empty() { "no mode keeps up".into() } else { names(&winners) },
        ns(best)
    )
}

fn tile(spot: &Spot, rows: &[Row]) -> Tile {
    let winners = winners(rows);
    let of = |mode: &str| rows.iter().find(|row| row.mode == mode)?.cheap_p99_ns;
    let best = winners.first().and_then(|row| row.cheap_p99_ns);
    let rtc = of("rtc").zip(best).map(|(rtc, best)| format!("rtc {:.0}x", rtc / best));
    Tile {
        column: format!("load {}", spot.load),
        row: format!("{} x", spot.ratio),
        mode: winners.first().map_or("none", |row| row.mode.as_str()).to_owned(),
        texts: [Some(ns(best)), rtc].into_iter().flatten().collect(),
    }
}

/// Tables for documents: p99 of each class, a row per cell.
fn tables(rows: &[Row]) -> String {
    let mut modes: Vec<&str> = Vec::new();
    rows.iter().for_each(|row| {
        if !modes.contains(&row.mode.as_str()) {
            modes.push(&row.mode);
        }
    });
    let same = |a: &Row, b: &Row| (a.load, a.ratio) == (b.load, b.ratio);
    let mut text = String::new();
    for class in Class::ALL {
        // Writing to a string does not fail.
        let _ = writeln!(text, "\np99 of {} packets:\n", class.name());
        let _ = writeln!(text, "| load | ratio | {} |", modes.join(" | "));
        let _ = writeln!(text, "|{}", "---|".repeat(modes.len() + 2));
        for cell in rows.chunk_by(same) {
            let winners = winners(cell);
            let _ = write!(text, "| {} | {} |", cell[0].load, cell[0].ratio);
            for mode in &modes {
                let row = cell.iter().find(|row| row.mode == *mode);
                let shown = row.map_or("-".into(), |row| shown(row, class, &winners));
                let _ = write!(text, " {shown} |");
            }
            text.push('\n');
        }
    }
    text
}

fn shown(row: &Row, class: Class, winners: &[&Row]) -> String {
    let p99 = match class {
        Class::Cheap => row.cheap_p99_ns,
        Class::Expensive => row.expensive_p99_ns,
    };
    let mut text = ns(p99);
    if class == Class::Cheap && winners.iter().any(|winner| winner.mode == row.mode) {
        text = format!("**{text}**");
    }
    if row.mode.starts_with("pools") {
        let _ = write!(text, " ({})", row.pools);
    }
    if row.lost_share > LOST_SHARE_MAX {
        let _ = write!(text, " (lost {:.0} %)", row.lost_share * 100.0);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(mode: &str, cheap_p99_ns: f64, lost_share: f64) -> Row {
        Row {
            load: 0.5,
            ratio: 1e3,
            mode: mode.into(),
            pools: "8:2".into(),
            cheap_p99_ns: Some(cheap_p99_ns),
            expensive_p99_ns: None,
            lost_share,
        }
    }

    #[test]
    fn ideals_and_modes_that_lose_packets_don_t_win() {
        let rows = [
            row("elastic", 1.0, 0.0),
            row("rtc", 2.0, 0.5),
            row("hybrid", 10.0, 0.0),
            row("auto", 10.4, 0.0),
            row("steal", 100.0, 0.0),
        ];
        assert_eq!(names(&winners(&rows)), "hybrid, auto");
        assert!(winners(&rows[..2]).is_empty());
        let text = tables(&rows);
        assert!(text.contains("| **10 ns** |") && text.contains("(lost 50 %)"), "{text}");
    }

    #[test]
    fn the_best_split_has_the_worse_one_beside_it() {
        let splits = [(50.0, 0.0), (10.0, 0.0), (20.0, 0.0), (5.0, 0.3)];
        let splits = splits.map(|(ns, lost)| row("pools", ns, lost)).to_vec();
        let found: Vec<_> = fixed_splits(splits, |_| true)
            .into_iter()
            .map(|row| (row.mode, row.cheap_p99_ns.unwrap()))
            .collect();
        assert_eq!(found, [("pools-best".into(), 10.0), ("pools-off-by-one".into(), 50.0)]);
        let pools = |text: &str, ns: f64| Row { pools: text.into(), ..row("pools", ns, 0.0) };
        let found = fixed_splits(vec![pools("9:1", 5.0), pools("8:2", 9.0)], |of| of.b > 1);
        assert_eq!(found[0].cheap_p99_ns, Some(9.0), "one worker does not keep up");
        assert!(fixed_splits(Vec::new(), |_| true).is_empty());
    }
}
