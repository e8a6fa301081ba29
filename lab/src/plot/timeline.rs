//! Incidents over time: when an lcore was stuck, when a rescuer came, and how
//! many packets were rescued. One lane per run and lcore.

use plotters::style::{Color, RGBColor};

use super::axes::Area;
use super::canvas::{Anchor, Canvas, FAINT, GREY, INK, Letters};
use super::figure::{Figure, Timeline};
use mpfwd_common::error::Result;
use mpfwd_common::report::Incident;
use mpfwd_common::text::grouped;

const LANE: f64 = 34.0;
const TOP: f64 = 62.0;
const BOTTOM: f64 = 50.0;
const LEFT: f64 = 230.0;
const RIGHT: f64 = 24.0;

const WAITING: RGBColor = RGBColor(213, 94, 0);
const RESCUED: RGBColor = RGBColor(86, 180, 233);

/// The incidents of one lcore in one run.
struct Lane<'f> {
    name: String,
    incidents: Vec<&'f Incident>,
}

fn lanes(timelines: &[Timeline]) -> Vec<Lane<'_>> {
    let mut lanes = Vec::new();
    for timeline in timelines {
        let mut lcores: Vec<u32> =
            timeline.incidents.iter().map(|incident| incident.lcore).collect();
        lcores.sort_unstable();
        lcores.dedup();
        lanes.extend(lcores.into_iter().map(|lcore| Lane {
            name: format!("{}: lcore {lcore}", timeline.name),
            incidents:
                timeline.incidents.iter().filter(|incident| incident.lcore == lcore).collect(),
        }));
    }
    lanes
}

/// The panel's height in points.
pub(super) fn height(figure: &Figure) -> f64 {
    TOP + BOTTOM + LANE * lanes(&figure.timelines).len() as f64
}

/// A step of 1, 2 or 5 times a power of ten, five to twelve of which make
/// `span`. 1 if `span` is 0.
fn step(span: f64) -> f64 {
    if span <= 0.0 {
        return 1.0;
    }
    let power = 10f64.powf((span / 10.0).log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .map(|factor| factor * power)
        .into_iter()
        .find(|step| span / step <= 12.0)
        .unwrap_or(span)
}

pub(super) fn draw(canvas: &Canvas<'_>, area: Area, figure: &Figure) -> Result<()> {
    let lanes = lanes(&figure.timelines);
    let all = || figure.timelines.iter().flat_map(|timeline| &timeline.incidents);
    let from_ns = all().map(|incident| incident.started_ns).min().unwrap_or(0) as f64;
    let to_ns =
        all().map(|incident| incident.started_ns + incident.stuck_ns).max().unwrap_or(1) as f64;
    let (left, width) = (area.left + LEFT, area.width - LEFT - RIGHT);
    let place = |ns: f64| left + (ns - from_ns) / (to_ns - from_ns).max(1.0) * width;
    let bottom = area.top + TOP + LANE * lanes.len() as f64;
    let small = Letters::new(14.0, GREY);
    canvas.text(
        "When lcores were stuck in one packet",
        (area.left + 74.0, area.top + 18.0),
        Letters::new(18.0, INK).bold(),
    )?;
    key(canvas, left, area.top + 44.0)?;
    let step_ms = step((to_ns - from_ns) / 1e6);
    let first = (from_ns / 1e6 / step_ms).ceil() as u64;
    for tick in (first..).map(|number| number as f64 * step_ms).take_while(|ms| ms * 1e6 <= to_ns) {
        let at = place(tick * 1e6);
        canvas.line(&[(at, area.top + TOP), (at, bottom)], FAINT, 1.0, None)?;
        canvas.text(
            &format!("{} ms", (tick * 1e6).round() / 1e6),
            (at, bottom + 14.0),
            small.at(Anchor::Centre),
        )?;
    }
    canvas.text(
        "time since the start of the run",
        (left + width, bottom + 36.0),
        small.at(Anchor::Right),
    )?;
    for (at, lane) in lanes.iter().enumerate() {
        let middle = area.top + TOP + LANE * (at as f64 + 0.5);
        canvas.text(&lane.name, (left - 10.0, middle), small.at(Anchor::Right))?;
        canvas.line(&[(left, middle), (left + width, middle)], FAINT, 1.0, None)?;
        lane.incidents.iter().try_for_each(|incident| bar(canvas, incident, middle, place))?;
    }
    Ok(())
}

fn key(canvas: &Canvas<'_>, left: f64, middle: f64) -> Result<()> {
    let (mut at, small) = (left, Letters::new(14.0, GREY));
    for (colour, says) in
        [(WAITING, "its packets wait"), (RESCUED, "its packets are rescued (count)")]
    {
        canvas.rect((at, middle - 6.0), (18.0, 12.0), colour.to_rgba())?;
        canvas.text(says, (at + 26.0, middle), small)?;
        at += 26.0 + small.width(says) + 24.0;
    }
    Ok(())
}

/// Draws one bar up to the first rescue, and another one from there to the end.
fn bar(
    canvas: &Canvas<'_>,
    incident: &Incident,
    middle: f64,
    place: impl Fn(f64) -> f64,
) -> Result<()> {
    const THIN: f64 = 1.5;
    let start = incident.started_ns as f64;
    let end = start + incident.stuck_ns as f64;
    let helped = incident.rescued_after_ns.map_or(end, |after| (start + after as f64).min(end));
    let (x0, x1, x2) = (place(start), place(helped), place(end));
    let (top, high) = (middle - 10.0, 20.0);
    canvas.rect((x1, top), ((x2 - x1).max(0.0), high), RESCUED.to_rgba())?;
    canvas.rect((x0, top), ((x1 - x0).max(THIN), high), WAITING.to_rgba())?;
    let pkts = grouped(incident.stolen_pkts + incident.polled_pkts);
    let letters = Letters::new(11.0, INK).at(Anchor::Centre);
    match letters.width(&pkts) + 4.0 < x2 - x1 {
        true => canvas.text(&pkts, (f64::midpoint(x1, x2), middle), letters),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_round_and_not_too_many() {
        assert_eq!([1.0, 9.0, 50.0, 999.0].map(step), [0.1, 1.0, 5.0, 100.0]);
        assert_eq!(step(0.0), 1.0, "of an incident that is over at once");
    }
}
