//! A map: a tile per cell, in the colour of the mode that wins there.

use plotters::style::{Color, RGBColor};

use super::canvas::{self, Anchor, Canvas, GREY, INK, Letters};
use super::curves;
use mpfwd_common::error::Result;

/// A cell of a map. Cells come row by row.
#[derive(Clone, Debug)]
pub(crate) struct Tile {
    pub column: String,
    pub row: String,
    /// The mode that wins.
    pub mode: String,
    /// Lines below its name.
    pub texts: Vec<String>,
}

const LEFT: f64 = 110.0;
const TOP: f64 = 84.0;
const TILE: (f64, f64) = (150.0, 84.0);
const GAP: f64 = 6.0;
const MARGIN: f64 = 24.0;

/// Names in the order of their first use.
fn order<'t>(names: impl Iterator<Item = &'t str>) -> Vec<&'t str> {
    let mut seen = Vec::new();
    names.for_each(|name| {
        if !seen.contains(&name) {
            seen.push(name);
        }
    });
    seen
}

/// # Errors
/// The picture can't be drawn.
pub(super) fn svg(tiles: &[Tile], about: &str) -> Result<String> {
    let columns = order(tiles.iter().map(|tile| tile.column.as_str()));
    // The most expensive ratio is on top.
    let mut rows = order(tiles.iter().map(|tile| tile.row.as_str()));
    rows.reverse();
    let width = LEFT + columns.len() as f64 * (TILE.0 + GAP) + MARGIN;
    let height = TOP + rows.len() as f64 * (TILE.1 + GAP) + 70.0;
    canvas::svg(width, height, |canvas| {
        canvas.text(
            "Which mode has the least p99 for cheap packets",
            (MARGIN, 26.0),
            Letters::new(16.0, INK).bold(),
        )?;
        for (at, line) in about.split("; ").enumerate() {
            canvas.text(line, (MARGIN, 46.0 + 14.0 * at as f64), Letters::new(10.0, GREY))?;
        }
        for (at, row) in rows.iter().enumerate() {
            let y = TOP + at as f64 * (TILE.1 + GAP) + TILE.1 / 2.0;
            let letters = Letters::new(12.0, INK).bold().at(Anchor::Right);
            canvas.text(row, (LEFT - 12.0, y), letters)?;
        }
        for (at, column) in columns.iter().enumerate() {
            let x = LEFT + at as f64 * (TILE.0 + GAP) + TILE.0 / 2.0;
            let y = TOP + rows.len() as f64 * (TILE.1 + GAP) + 12.0;
            canvas.text(column, (x, y), Letters::new(12.0, INK).bold().at(Anchor::Centre))?;
        }
        let below = height - 26.0;
        canvas.text(
            "rows: cost of an expensive packet, in cheap ones; tiles: p99 of the best mode, and of rtc beside it",
            (MARGIN, below),
            Letters::new(10.0, GREY),
        )?;
        tiles.iter().try_for_each(|tile| {
            let place = |names: &[&str], name: &str| {
                names.iter().position(|of| *of == name).unwrap_or(0) as f64
            };
            let x = LEFT + place(&columns, &tile.column) * (TILE.0 + GAP);
            let y = TOP + place(&rows, &tile.row) * (TILE.1 + GAP);
            draw(canvas, tile, (x, y))
        })
    })
}

fn draw(canvas: &Canvas<'_>, tile: &Tile, (x, y): (f64, f64)) -> Result<()> {
    let colour = curves::colour_of(&tile.mode).unwrap_or(RGBColor(150, 150, 150));
    canvas.rect((x, y), TILE, colour.mix(0.35))?;
    let centre = x + TILE.0 / 2.0;
    let lines = tile.texts.len() as f64;
    let first = y + TILE.1 / 2.0 - lines * 8.5;
    let bold = Letters::new(14.0, INK).bold().at(Anchor::Centre);
    canvas.text(&tile.mode, (centre, first), bold)?;
    for (at, text) in tile.texts.iter().enumerate() {
        let below = first + 20.0 + 15.0 * at as f64;
        canvas.text(text, (centre, below), Letters::new(11.0, INK).at(Anchor::Centre))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cell_has_a_tile_with_its_winner() {
        let tile = |column: &str, row: &str, mode: &str| Tile {
            column: column.into(),
            row: row.into(),
            mode: mode.into(),
            texts: vec!["5 us".into()],
        };
        let tiles = [tile("load 0.5", "100 x", "shared"), tile("load 0.7", "1000 x", "auto")];
        let text = svg(&tiles, "ten lcores; a line").unwrap();
        for says in ["load 0.5", "load 0.7", "100 x", "1000 x", "shared", "auto", "a line"] {
            assert!(text.contains(says), "{says}");
        }
    }
}
