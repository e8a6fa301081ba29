//! The layout of a picture: title, parameters, key, panels, clock.

use super::super::args::Panel;
use super::super::class::Class;
use super::axes::Area;
use super::canvas::{self, Canvas, GREY, INK, Letters};
use super::curves::{cdf, looks, percentiles};
use super::figure::Figure;
use super::timeline;
use mpfwd_common::error::{Error, Result};

/// The parts of a figure to draw. An empty list means all.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    pub panels: Vec<Panel>,
    pub classes: Vec<Class>,
}

impl Choice {
    fn has(&self, panel: Panel) -> bool {
        self.panels.is_empty() || self.panels.contains(&panel)
    }

    fn has_class(&self, class: Class) -> bool {
        self.classes.is_empty() || self.classes.contains(&class)
    }
}

/// All lengths are in points.
const WIDTH: f64 = 1600.0;
const MARGIN: f64 = 36.0;
const LINE: f64 = 22.0;
const KEY_LINE: f64 = 30.0;
const TITLE: f64 = 52.0;
const PERCENTILES: f64 = 520.0;
const CDF: f64 = 360.0;

/// The picture as SVG.
///
/// # Errors
/// The choice leaves nothing to draw.
pub(super) fn svg(figure: &Figure, choice: &Choice) -> Result<String> {
    let with_packets = |class: &Class| {
        choice.has_class(*class) && figure.series.iter().any(|series| !series.of(*class).is_empty())
    };
    let classes: Vec<Class> = Class::ALL.into_iter().filter(with_packets).collect();
    let mut rows: Vec<(Panel, f64)> = Vec::new();
    for (panel, height) in [(Panel::Percentiles, PERCENTILES), (Panel::Cdf, CDF)] {
        if choice.has(panel) && !classes.is_empty() {
            rows.push((panel, height));
        }
    }
    if choice.has(Panel::Timeline) && !figure.timelines.is_empty() {
        rows.push((Panel::Timeline, timeline::height(figure)));
    }
    if rows.is_empty() {
        return Err(Error::Usage(
            "nothing to draw: the files have no such packets, or no incidents; choose other --panels or --class".into(),
        ));
    }
    let small = Letters::new(15.0, GREY);
    let about = lines(&figure.about, small);
    let clocks = lines(&figure.clock_lines(), Letters::new(13.0, GREY));
    let key = key_places(figure);
    let key_height = key.last().map_or(0.0, |last| last.1 + KEY_LINE);
    let head = MARGIN + TITLE + LINE * about.len() as f64 + key_height + 10.0;
    let height =
        head + rows.iter().map(|row| row.1).sum::<f64>() + LINE * clocks.len() as f64 + MARGIN;
    canvas::svg(WIDTH, height, |canvas| {
        canvas.text(&figure.title(), (MARGIN, MARGIN + 14.0), Letters::new(28.0, INK).bold())?;
        let mut top = MARGIN + TITLE;
        for line in &about {
            canvas.text(line, (MARGIN, top), small)?;
            top += LINE;
        }
        draw_key(canvas, figure, &key, top + 6.0)?;
        top = head;
        for (panel, height) in rows {
            draw_row(
                canvas,
                figure,
                &classes,
                panel,
                Area { left: MARGIN, top, width: WIDTH - 2.0 * MARGIN, height },
            )?;
            top += height;
        }
        for line in &clocks {
            canvas.text(line, (MARGIN, top + LINE / 2.0), Letters::new(13.0, GREY))?;
            top += LINE;
        }
        Ok(())
    })
}

/// Draws a row of panels: one per class, or the timeline alone.
fn draw_row(
    canvas: &Canvas<'_>,
    figure: &Figure,
    classes: &[Class],
    panel: Panel,
    row: Area,
) -> Result<()> {
    if panel == Panel::Timeline {
        return timeline::draw(canvas, row, figure);
    }
    let width = row.width / classes.len() as f64;
    for (at, &class) in classes.iter().enumerate() {
        let area = Area { left: row.left + width * at as f64, width, ..row };
        match panel {
            Panel::Percentiles => percentiles(canvas, area, figure, class)?,
            Panel::Cdf | Panel::Timeline => cdf(canvas, area, figure, class)?,
        }
    }
    Ok(())
}

/// Wraps texts at the page's width.
fn lines(texts: &[String], letters: Letters) -> Vec<String> {
    let fits = |line: &str| letters.width(line) <= WIDTH - 2.0 * MARGIN;
    let mut lines = Vec::new();
    for text in texts {
        let mut line = String::new();
        for word in text.split_whitespace() {
            if !line.is_empty() && !fits(&format!("{line} {word}")) {
                lines.push(std::mem::take(&mut line));
            }
            line = if line.is_empty() { word.to_owned() } else { format!("{line} {word}") };
        }
        lines.push(line);
    }
    lines
}

const SWATCH: f64 = 46.0;
const KEY_LETTERS: f64 = 17.0;

/// The positions of the key's entries, from its top left corner.
fn key_places(figure: &Figure) -> Vec<(f64, f64)> {
    let letters = Letters::new(KEY_LETTERS, INK);
    let (mut x, mut y) = (0.0, 0.0);
    let mut places = Vec::new();
    for series in &figure.series {
        let width = SWATCH + 10.0 + letters.width(&series.name) + 28.0;
        if x > 0.0 && x + width > WIDTH - 2.0 * MARGIN {
            (x, y) = (0.0, y + KEY_LINE);
        }
        places.push((x, y));
        x += width;
    }
    places
}

fn draw_key(canvas: &Canvas<'_>, figure: &Figure, places: &[(f64, f64)], top: f64) -> Result<()> {
    for ((series, look), (x, y)) in figure.series.iter().zip(looks(&figure.series)).zip(places) {
        let (x, y) = (MARGIN + x, top + y);
        canvas.line(&[(x, y), (x + SWATCH, y)], look.colour, 4.0, look.dash)?;
        canvas.text(&series.name, (x + SWATCH + 10.0, y), Letters::new(KEY_LETTERS, INK))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_are_wrapped_at_words() {
        let letters = Letters::new(20.0, INK);
        let text = "word ".repeat(60);
        let broken = lines(&[text.clone(), "short".into()], letters);
        assert!(
            broken.len() > 2
                && broken.iter().all(|line| letters.width(line) <= WIDTH - 2.0 * MARGIN)
        );
        assert_eq!(broken.join(" "), format!("{}short", text));
    }
}
