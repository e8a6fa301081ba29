//! Pictures of comparisons and of mpfwd's reports: percentile curves in
//! HdrHistogram's form, distribution functions, and a timeline of incidents.
//! Drawn as SVG. A PNG is the SVG, rendered with a built-in font.
//!
//! * `figure`: the data, from files or a comparison
//! * `curves`, `timeline`: the panels; `axes`, `canvas`: their parts; `page`:
//!   the layout
//! * `tiles`: a map of winners
//! * `png`: from SVG to PNG

mod axes;
mod canvas;
mod curves;
mod figure;
mod page;
mod png;
mod tiles;
mod timeline;

use std::path::Path;

pub(super) use figure::Figure;
pub(super) use page::Choice;
pub(super) use tiles::Tile;

use super::args::PlotArgs;
use mpfwd_common::error::{Error, Result};
use mpfwd_common::output;

/// A picture's file format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Svg,
    Png,
}

impl Format {
    /// The format by the file's name.
    ///
    /// # Errors
    /// The name ends in neither .svg nor .png.
    pub(super) fn of(path: &Path) -> Result<Self> {
        match path.extension().and_then(|end| end.to_str()).map(str::to_ascii_lowercase).as_deref()
        {
            Some("svg") => Ok(Self::Svg),
            Some("png") => Ok(Self::Png),
            _ => Err(Error::Usage(format!(
                "{}: a picture's name ends in .svg or .png",
                path.display()
            ))),
        }
    }
}

/// `mplab plot`.
///
/// # Errors
/// Files that are missing, cut off or of something else; a picture that can't
/// be written.
pub(super) fn plot(args: &PlotArgs) -> Result<()> {
    let format = Format::of(&args.out)?;
    output::check_writable("--out", &args.out)?;
    let figure = Figure::of_files(&args.files)?;
    draw(
        &figure,
        &Choice { panels: args.panels.clone(), classes: args.class.clone() },
        format,
        &args.out,
    )
}

/// Draws `choice` and prints the file's name.
///
/// # Errors
/// There is nothing to draw, or the file can't be written.
pub(super) fn draw(figure: &Figure, choice: &Choice, format: Format, path: &Path) -> Result<()> {
    save(page::svg(figure, choice)?, format, path)
}

/// Draws a map and prints the file's name. The parts of `about` are divided by
/// "; ".
///
/// # Errors
/// As [`draw`].
pub(super) fn draw_map(tiles: &[Tile], about: &str, format: Format, path: &Path) -> Result<()> {
    save(tiles::svg(tiles, about)?, format, path)
}

fn save(svg: String, format: Format, path: &Path) -> Result<()> {
    match format {
        Format::Svg => output::write(path, "the picture", svg)?,
        Format::Png => output::write(path, "the picture", png::of_svg(&svg)?)?,
    }
    output::say(format_args!("picture: {}", path.display()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Panel;
    use crate::class::Class;
    use crate::comparison::tests::comparison;

    #[test]
    fn the_name_decides_the_format() {
        assert_eq!(Format::of(Path::new("a.SVG")).unwrap(), Format::Svg);
        assert_eq!(Format::of(Path::new("b.x.png")).unwrap(), Format::Png);
        assert!(Format::of(Path::new("svg")).unwrap_err().to_string().contains(".svg or .png"));
    }

    fn svg(choice: &Choice) -> Result<String> {
        page::svg(&Figure::of_comparisons(&[(String::new(), comparison())]), choice)
    }

    #[test]
    fn a_picture_has_all_texts() {
        let text = svg(&Choice::default()).unwrap();
        for says in ["rtc", "hybrid", "90 %", "10 us", "load 0.5", "open-loop", "lcore 0", "cheap"]
        {
            assert!(text.contains(says), "{says}");
        }
        assert!(!text.contains("expensive packets"), "there are none");
        let png = png::of_svg(&text).unwrap();
        assert_eq!(&png[..8], b"\x89PNG\r\n\x1a\n");
        let pixmap = resvg::tiny_skia::Pixmap::decode_png(&png).unwrap();
        let dark = pixmap
            .pixels()
            .iter()
            .filter(|pixel| pixel.red() < 100 && pixel.green() < 100 && pixel.blue() < 100)
            .count();
        assert!(dark > 5_000, "letters are there: {dark} dark pixels");
    }

    #[test]
    fn panels_can_be_chosen() {
        let text = svg(&Choice { panels: vec![Panel::Cdf], classes: vec![Class::Cheap] }).unwrap();
        assert!(text.contains("75 %") && !text.contains("90 %") && !text.contains("lcore 0"));
        let none =
            svg(&Choice { panels: vec![Panel::Cdf], classes: vec![Class::Expensive] }).unwrap_err();
        assert!(none.to_string().contains("nothing to draw"), "{none}");
    }
}
