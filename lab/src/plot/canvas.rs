//! The surface that panels are drawn on: lines, boxes and text in points, by
//! plotters' SVG backend.

use plotters::prelude::{
    DrawingArea, IntoDrawingArea, PathElement, RGBAColor, RGBColor, Rectangle, SVGBackend, Text,
};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, FontStyle, IntoFont, ShapeStyle};

use mpfwd_common::error::{Error, Result};

/// Coordinates per point. plotters has whole coordinates only, so points are
/// divided to keep curves smooth.
const PARTS: f64 = 8.0;

/// plotters' SVG backend writes a font's size divided by this.
const FONT_FACTOR: f64 = 1.24;

pub(super) const INK: RGBColor = RGBColor(32, 32, 36);
pub(super) const GREY: RGBColor = RGBColor(100, 100, 108);
pub(super) const GRID: RGBColor = RGBColor(208, 208, 214);
pub(super) const FAINT: RGBColor = RGBColor(236, 236, 240);

/// The horizontal alignment of a text.
#[derive(Clone, Copy)]
pub(super) enum Anchor {
    Left,
    Centre,
    Right,
}

/// The style of a text.
#[derive(Clone, Copy)]
pub(super) struct Letters {
    pub points: f64,
    pub colour: RGBColor,
    pub bold: bool,
    pub anchor: Anchor,
}

impl Letters {
    pub(super) fn new(points: f64, colour: RGBColor) -> Self {
        Self { points, colour, bold: false, anchor: Anchor::Left }
    }

    pub(super) fn bold(self) -> Self {
        Self { bold: true, ..self }
    }

    pub(super) fn at(self, anchor: Anchor) -> Self {
        Self { anchor, ..self }
    }

    /// The approximate width of a text, in points.
    pub(super) fn width(self, text: &str) -> f64 {
        text.chars().count() as f64 * self.points * if self.bold { 0.6 } else { 0.53 }
    }
}

/// Alternating lengths of dash and gap, in points.
pub(super) type Dash = Option<(f64, f64)>;

pub(super) struct Canvas<'s>(DrawingArea<SVGBackend<'s>, plotters::coord::Shift>);

fn parts(points: f64) -> i32 {
    (points * PARTS).round() as i32
}

fn failed(error: impl std::fmt::Display) -> Error {
    Error::Output(format!("the picture can't be drawn: {error}"))
}

/// Makes a picture of this size in points. `draw` draws on a white background.
pub(super) fn svg(
    width: f64,
    height: f64,
    draw: impl FnOnce(&Canvas<'_>) -> Result<()>,
) -> Result<String> {
    let mut text = String::new();
    let size = (parts(width) as u32, parts(height) as u32);
    {
        let area = SVGBackend::with_string(&mut text, size).into_drawing_area();
        area.fill(&plotters::style::WHITE).map_err(failed)?;
        let canvas = Canvas(area);
        draw(&canvas)?;
        canvas.0.present().map_err(failed)?;
    }
    // The size is in points. The view box stays in parts of a point.
    Ok(text.replacen(
        &format!("width=\"{}\" height=\"{}\"", size.0, size.1),
        &format!("width=\"{width}\" height=\"{height}\""),
        1,
    ))
}

impl Canvas<'_> {
    /// Draws a line of `width` points.
    pub(super) fn line(
        &self,
        points: &[(f64, f64)],
        colour: RGBColor,
        width: f64,
        dash: Dash,
    ) -> Result<()> {
        let style = ShapeStyle {
            color: colour.to_rgba(),
            filled: false,
            stroke_width: parts(width) as u32,
        };
        let pieces =
            dash.map_or_else(|| vec![points.to_vec()], |(dash, gap)| dashes(points, dash, gap));
        for piece in pieces {
            let path: Vec<(i32, i32)> = piece.iter().map(|&(x, y)| (parts(x), parts(y))).collect();
            self.0.draw(&PathElement::new(path, style)).map_err(failed)?;
        }
        Ok(())
    }

    pub(super) fn rect(
        &self,
        (left, top): (f64, f64),
        (width, height): (f64, f64),
        colour: RGBAColor,
    ) -> Result<()> {
        let corners = [(parts(left), parts(top)), (parts(left + width), parts(top + height))];
        self.0.draw(&Rectangle::new(corners, colour.filled())).map_err(failed)
    }

    /// Draws a text that is vertically centred at `y`.
    pub(super) fn text(&self, text: &str, (x, y): (f64, f64), letters: Letters) -> Result<()> {
        let anchor = match letters.anchor {
            Anchor::Left => HPos::Left,
            Anchor::Centre => HPos::Center,
            Anchor::Right => HPos::Right,
        };
        let weight = if letters.bold { FontStyle::Bold } else { FontStyle::Normal };
        let font = ("sans-serif", letters.points * PARTS * FONT_FACTOR, weight).into_font();
        let style = font.color(&letters.colour).pos(Pos::new(anchor, VPos::Center));
        self.0.draw(&Text::new(text.to_owned(), (parts(x), parts(y)), style)).map_err(failed)
    }
}

/// The pieces of a dashed line. The pattern continues round corners.
fn dashes(points: &[(f64, f64)], dash: f64, gap: f64) -> Vec<Vec<(f64, f64)>> {
    let mut pieces = Vec::new();
    let mut piece: Vec<(f64, f64)> = points.first().copied().into_iter().collect();
    let (mut drawing, mut left) = (true, dash);
    for pair in points.windows(2) {
        let ((x0, y0), (x1, y1)) = (pair[0], pair[1]);
        let length = (x1 - x0).hypot(y1 - y0);
        let mut done = 0.0;
        while length - done >= left {
            done += left;
            let here = (x0 + (x1 - x0) * done / length, y0 + (y1 - y0) * done / length);
            if drawing {
                piece.push(here);
                pieces.push(std::mem::take(&mut piece));
            } else {
                piece = vec![here];
            }
            drawing = !drawing;
            left = if drawing { dash } else { gap };
        }
        left -= length - done;
        if drawing {
            piece.push((x1, y1));
        }
    }
    if piece.len() > 1 {
        pieces.push(piece);
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dashes_go_round_corners() {
        let pieces = dashes(&[(0.0, 0.0), (10.0, 0.0), (10.0, 10.0)], 4.0, 2.0);
        assert_eq!(pieces[0], [(0.0, 0.0), (4.0, 0.0)]);
        assert_eq!(pieces[1], [(6.0, 0.0), (10.0, 0.0)]);
        assert_eq!(pieces[2], [(10.0, 2.0), (10.0, 6.0)]);
        let drawn: f64 = pieces
            .iter()
            .flat_map(|piece| piece.windows(2))
            .map(|pair| (pair[1].0 - pair[0].0).hypot(pair[1].1 - pair[0].1))
            .sum();
        assert!((drawn - 14.0).abs() < 1e-9, "two thirds, and the rest: {drawn}");
        assert!(dashes(&[], 1.0, 1.0).is_empty());
    }

    #[test]
    fn a_picture_has_the_size_that_was_asked_for() {
        let text =
            svg(200.0, 100.0, |canvas| canvas.text("a <b>", (10.0, 10.0), Letters::new(12.0, INK)))
                .unwrap();
        assert!(
            text.contains("width=\"200\" height=\"100\"")
                && text.contains("viewBox=\"0 0 1600 800\""),
            "{text}"
        );
        assert!(text.contains("a &lt;b&gt;"), "{text}");
    }
}
