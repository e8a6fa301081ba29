//! A panel's frame: maps values to positions, draws grid lines and their
//! labels.

use plotters::style::RGBColor;

use super::canvas::{Anchor, Canvas, Dash, FAINT, GREY, GRID, INK, Letters};
use mpfwd_common::error::Result;

/// A box on the canvas, in points.
#[derive(Clone, Copy, Debug)]
pub(super) struct Area {
    pub left: f64,
    pub top: f64,
    pub width: f64,
    pub height: f64,
}

/// The range of an axis, in the axis' own values: logarithms if it is
/// logarithmic.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Span {
    pub from: f64,
    pub to: f64,
}

impl Span {
    /// A value's position along the axis, 0 to 1.
    fn share(self, value: f64) -> f64 {
        ((value - self.from) / (self.to - self.from)).clamp(0.0, 1.0)
    }
}

/// A grid line, with a label unless that is empty.
pub(super) struct Tick {
    pub at: f64,
    pub label: String,
}

pub(super) struct Axes {
    /// The inner area, without the labels.
    area: Area,
    x: Span,
    y: Span,
}

const LEFT: f64 = 74.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 56.0;
const BOTTOM: f64 = 54.0;

impl Axes {
    pub(super) fn new(panel: Area, x: Span, y: Span) -> Self {
        let area = Area {
            left: panel.left + LEFT,
            top: panel.top + TOP,
            width: panel.width - LEFT - RIGHT,
            height: panel.height - TOP - BOTTOM,
        };
        Self { area, x, y }
    }

    pub(super) fn place(&self, (x, y): (f64, f64)) -> (f64, f64) {
        let area = &self.area;
        (area.left + self.x.share(x) * area.width, area.top + (1.0 - self.y.share(y)) * area.height)
    }

    /// Draws title, grid, labels, and the names of the axes.
    pub(super) fn draw(
        &self,
        canvas: &Canvas<'_>,
        title: &str,
        (x_name, y_name): (&str, &str),
        x: &[Tick],
        y: &[Tick],
    ) -> Result<()> {
        let Area { left, top, width, height } = self.area;
        let small = Letters::new(14.0, GREY);
        let mut free_from = f64::NEG_INFINITY;
        for tick in x {
            let (at, _) = self.place((tick.at, self.y.from));
            canvas.line(&[(at, top), (at, top + height)], colour(tick), 1.0, None)?;
            // A label that would overlap the one before it is left out.
            let half = small.width(&tick.label) / 2.0;
            if at - half > free_from + 6.0 {
                canvas.text(&tick.label, (at, top + height + 14.0), small.at(Anchor::Centre))?;
                free_from = if tick.label.is_empty() { free_from } else { at + half };
            }
        }
        for tick in y {
            let (_, at) = self.place((self.x.from, tick.at));
            canvas.line(&[(left, at), (left + width, at)], colour(tick), 1.0, None)?;
            canvas.text(&tick.label, (left - 8.0, at), small.at(Anchor::Right))?;
        }
        canvas.line(
            &[(left, top), (left, top + height), (left + width, top + height)],
            GREY,
            1.5,
            None,
        )?;
        canvas.text(title, (left, top - 36.0), Letters::new(18.0, INK).bold())?;
        canvas.text(y_name, (left, top - 13.0), small)?;
        canvas.text(x_name, (left + width, top + height + 38.0), small.at(Anchor::Right))
    }

    /// Draws a curve, without points that are too close together to be seen.
    pub(super) fn curve(
        &self,
        canvas: &Canvas<'_>,
        values: &[(f64, f64)],
        colour: RGBColor,
        dash: Dash,
    ) -> Result<()> {
        const NEAR: f64 = 0.2;
        let mut points: Vec<(f64, f64)> = Vec::new();
        for (at, &value) in values.iter().enumerate() {
            let place = self.place(value);
            let near = points.last().is_some_and(|last| {
                (last.0 - place.0).abs() < NEAR && (last.1 - place.1).abs() < NEAR
            });
            if !near || at + 1 == values.len() {
                points.push(place);
            }
        }
        canvas.line(&points, colour, 2.6, dash)
    }
}

fn colour(tick: &Tick) -> RGBColor {
    if tick.label.is_empty() { FAINT } else { GRID }
}

/// The whole decades that contain these latencies, at least one.
pub(super) fn decades(least_ns: u64, most_ns: u64) -> Span {
    let from = (least_ns.max(1) as f64).log10().floor();
    Span { from, to: (most_ns.max(1) as f64).log10().ceil().max(from + 1.0) }
}

/// Labelled lines at powers of ten, and unlabelled ones between them.
pub(super) fn latency_ticks(span: Span) -> Vec<Tick> {
    let mut ticks = Vec::new();
    for power in span.from as i32..=span.to as i32 {
        let within = (2..10).map(|digit| Tick {
            at: f64::from(power) + f64::from(digit).log10(),
            label: String::new(),
        });
        ticks.extend(within.filter(|tick| tick.at < span.to));
        ticks.push(Tick { at: f64::from(power), label: name(power) });
    }
    ticks.sort_by_key(|tick| !tick.label.is_empty());
    ticks
}

/// The label of 10^power nanoseconds.
fn name(power: i32) -> String {
    let (unit, below) = match power {
        ..3 => ("ns", 0),
        3..6 => ("us", 3),
        6..9 => ("ms", 6),
        _ => ("s", 9),
    };
    format!("{} {unit}", 10u64.pow((power - below).max(0) as u32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_places() {
        let axes = Axes::new(
            Area { left: 0.0, top: 0.0, width: LEFT + RIGHT + 100.0, height: TOP + BOTTOM + 200.0 },
            Span { from: 0.0, to: 10.0 },
            Span { from: 2.0, to: 4.0 },
        );
        assert_eq!(axes.place((5.0, 3.0)), (LEFT + 50.0, TOP + 100.0));
        assert_eq!(axes.place((20.0, 9.0)), (LEFT + 100.0, TOP), "nothing is outside of the frame");
    }

    #[test]
    fn decades_are_whole_and_named() {
        assert_eq!(decades(150, 9_000), Span { from: 2.0, to: 4.0 });
        assert_eq!(decades(1_000, 1_000), Span { from: 3.0, to: 4.0 });
        let ticks = latency_ticks(Span { from: 2.0, to: 4.0 });
        let named: Vec<&str> = ticks
            .iter()
            .map(|tick| tick.label.as_str())
            .filter(|label| !label.is_empty())
            .collect();
        assert_eq!(named, ["100 ns", "1 us", "10 us"]);
        assert_eq!(ticks.len(), 3 + 16);
        assert_eq!(
            [0, 5, 6, 8, 9, 10].map(name),
            ["1 ns", "100 us", "1 ms", "100 ms", "1 s", "10 s"]
        );
    }
}
