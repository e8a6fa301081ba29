//! Latency by percentile, and the share of packets by latency.

use clap::ValueEnum;
use plotters::style::RGBColor;

use super::super::class::Class;
use super::super::mode::LabMode;
use super::axes::{Area, Axes, Span, Tick, decades, latency_ticks};
use super::canvas::{Canvas, Dash, GREY};
use super::figure::{Figure, Series};
use mpfwd_common::error::Result;
use mpfwd_common::latency::Bucket;

/// A curve's style.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Look {
    pub colour: RGBColor,
    pub dash: Dash,
}

/// Okabe's and Ito's colours, which the colour-blind tell apart too
/// (jfly.uni-koeln.de/color), without their yellow: it is too light for lines.
const COLOURS: [RGBColor; 7] = [
    RGBColor(213, 94, 0),
    RGBColor(230, 159, 0),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(0, 158, 115),
    RGBColor(0, 114, 178),
    RGBColor(0, 0, 0),
];

const DASHES: [Dash; 3] = [None, Some((9.0, 4.0)), Some((3.0, 3.0))];

/// A mode looks the same in all pictures. Its row in the table of modes decides
/// the colour. Its variants have the same colour, and a dash each.
fn of_mode(name: &str) -> Option<Look> {
    match name {
        "auto" => return Some(Look { dash: DASHES[1], ..of_mode("hybrid")? }),
        "pools-best" => return of_mode("pools"),
        // Ideals, which are no modes.
        "elastic" => return Some(Look { colour: GREY, dash: DASHES[1] }),
        "central" => return Some(Look { colour: GREY, dash: DASHES[2] }),
        _ => {}
    }
    let (row, variant) = LabMode::from_str(name, false).ok()?.place();
    Some(Look { colour: *COLOURS.get(row)?, dash: *DASHES.get(variant)? })
}

/// The colour of a mode.
pub(super) fn colour_of(mode: &str) -> Option<RGBColor> {
    of_mode(mode).map(|look| look.colour)
}

/// A look for each series: that of its mode. If a mode occurs twice or the
/// table of modes is longer than the palette, looks follow the order of the
/// series.
pub(super) fn looks(series: &[Series]) -> Vec<Look> {
    let known: Option<Vec<Look>> = series.iter().map(|series| of_mode(&series.mode)).collect();
    let by_place = |at: usize| Look {
        colour: COLOURS[at % COLOURS.len()],
        dash: DASHES[at / COLOURS.len() % DASHES.len()],
    };
    let twice =
        |looks: &Vec<Look>| looks.iter().enumerate().any(|(at, look)| looks[..at].contains(look));
    known.filter(|looks| !twice(looks)).unwrap_or_else(|| (0..series.len()).map(by_place).collect())
}

fn total(buckets: &[Bucket]) -> u64 {
    buckets.iter().map(|&(_, count)| count).sum()
}

/// A share's position on an axis that spreads the tail, -log10(1 - share): each
/// further nine takes the same room.
fn nines(share: f64) -> f64 {
    -(1.0 - share).log10()
}

/// The curve as steps of (position on the axis of nines, log10 of nanoseconds).
/// It ends in the middle of the last packet.
fn percentile_steps(buckets: &[Bucket]) -> Vec<(f64, f64)> {
    let total = total(buckets) as f64;
    let (mut steps, mut below) = (Vec::with_capacity(2 * buckets.len()), 0);
    for &(value_ns, count) in buckets {
        let y = (value_ns.max(1) as f64).log10();
        steps.push((nines(below as f64 / total), y));
        below += count;
        steps.push((nines((below as f64).min(total - 0.5) / total), y));
    }
    steps
}

/// Steps of (log10 of nanoseconds, share of packets that took no longer).
fn cdf_steps(buckets: &[Bucket]) -> Vec<(f64, f64)> {
    let total = total(buckets) as f64;
    let (mut steps, mut below) = (Vec::with_capacity(2 * buckets.len()), 0);
    for &(value_ns, count) in buckets {
        let x = (value_ns.max(1) as f64).log10();
        steps.push((x, below as f64 / total));
        below += count;
        steps.push((x, below as f64 / total));
    }
    steps
}

/// The range of the latencies of all series.
fn latencies(figure: &Figure, class: Class) -> Span {
    let ends = figure
        .series
        .iter()
        .filter_map(|series| Some((series.of(class).first()?.0, series.of(class).last()?.0)));
    let (least, most) =
        ends.fold((u64::MAX, 0), |(least, most), (first, last)| (least.min(first), most.max(last)));
    decades(least, most)
}

/// Labelled percentiles up to position `to` on the axis of nines.
fn percentile_ticks(to: f64) -> Vec<Tick> {
    let named = [
        (0.0, "0 %"),
        (0.5, "50 %"),
        (0.9, "90 %"),
        (0.99, "99 %"),
        (0.999, "99.9 %"),
        (0.9999, "99.99 %"),
        (0.99999, "99.999 %"),
        (0.999999, "99.9999 %"),
    ];
    let ticks =
        named.iter().map(|&(share, label)| Tick { at: nines(share), label: label.to_owned() });
    ticks.filter(|tick| tick.at <= to + 1e-9).collect()
}

pub(super) fn percentiles(
    canvas: &Canvas<'_>,
    area: Area,
    figure: &Figure,
    class: Class,
) -> Result<()> {
    let most = figure.series.iter().map(|series| total(series.of(class))).max().unwrap_or(1);
    let x = Span { from: 0.0, to: (2.0 * most as f64).log10().max(1.0) };
    let y = latencies(figure, class);
    let axes = Axes::new(area, x, y);
    let title = format!("Latency of {} packets by percentile", class.name());
    axes.draw(
        canvas,
        &title,
        ("share of packets that took no longer", "latency"),
        &percentile_ticks(x.to),
        &latency_ticks(y),
    )?;
    for (series, look) in figure.series.iter().zip(looks(&figure.series)) {
        axes.curve(canvas, &percentile_steps(series.of(class)), look.colour, look.dash)?;
    }
    Ok(())
}

pub(super) fn cdf(canvas: &Canvas<'_>, area: Area, figure: &Figure, class: Class) -> Result<()> {
    let x = latencies(figure, class);
    let axes = Axes::new(area, x, Span { from: 0.0, to: 1.0 });
    let shares: Vec<Tick> = (0..=4)
        .map(|quarter| Tick { at: f64::from(quarter) / 4.0, label: format!("{} %", quarter * 25) })
        .collect();
    let title = format!("Share of {} packets by latency", class.name());
    axes.draw(
        canvas,
        &title,
        ("latency", "packets that took no longer"),
        &latency_ticks(x),
        &shares,
    )?;
    for (series, look) in figure.series.iter().zip(looks(&figure.series)) {
        axes.curve(canvas, &cdf_steps(series.of(class)), look.colour, look.dash)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(modes: &[&str]) -> Vec<Series> {
        let one = |&mode: &&str| Series {
            name: mode.into(),
            mode: mode.into(),
            buckets: [Vec::new(), Vec::new()],
        };
        modes.iter().map(one).collect()
    }

    #[test]
    fn each_series_looks_like_no_other() {
        let modes: Vec<&str> = LabMode::value_variants().iter().map(|mode| mode.name()).collect();
        for group in [&modes[..], &["rtc", "rtc", "hybrid"], &["rtc"; 21]] {
            let looks = looks(&series(group));
            assert!((0..looks.len()).all(|at| !looks[..at].contains(&looks[at])), "{group:?}");
        }
    }

    #[test]
    fn every_mode_keeps_its_look_in_every_picture() {
        let modes: Vec<&str> = LabMode::value_variants().iter().map(|mode| mode.name()).collect();
        for (mode, look) in modes.iter().zip(looks(&series(&modes))) {
            assert_eq!((of_mode(mode), looks(&series(&[mode]))[0]), (Some(look), look), "{mode}");
        }
        assert_eq!(of_mode("steal").unwrap().colour, of_mode("steal-every").unwrap().colour);
    }

    #[test]
    fn percentiles_are_steps_that_end_with_the_last_packet() {
        let steps = percentile_steps(&[(100, 90), (1_000, 9), (10_000, 1)]);
        let close =
            |a: (f64, f64), b: (f64, f64)| (a.0 - b.0).abs() < 1e-9 && (a.1 - b.1).abs() < 1e-9;
        let expected =
            [(0.0, 2.0), (1.0, 2.0), (1.0, 3.0), (2.0, 3.0), (2.0, 4.0), (200f64.log10(), 4.0)];
        assert!(
            steps.len() == 6 && steps.iter().zip(expected).all(|(&a, b)| close(a, b)),
            "{steps:?}"
        );
        assert!(percentile_steps(&[]).is_empty() && cdf_steps(&[]).is_empty());
        assert_eq!(
            cdf_steps(&[(10, 1), (100, 3)]),
            [(1.0, 0.0), (1.0, 0.25), (2.0, 0.25), (2.0, 1.0)]
        );
    }

    #[test]
    fn nines_are_named_as_far_as_there_are_packets() {
        let labels: Vec<String> =
            percentile_ticks(3.2).into_iter().map(|tick| tick.label).collect();
        assert_eq!(labels, ["0 %", "50 %", "90 %", "99 %", "99.9 %"]);
    }
}
