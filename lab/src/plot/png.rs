//! Renders SVG as PNG. The font is built in, so that pictures are the same on
//! every machine.

use std::sync::Arc;

use resvg::tiny_skia::{Color, Pixmap, Transform};
use resvg::usvg::{Options, Tree, fontdb};

use mpfwd_common::error::{Error, Result};

/// Pixels per point: sharp on a projector, and in print.
const SCALE: f32 = 2.0;

fn failed(error: impl std::fmt::Display) -> Error {
    Error::Output(format!("the picture can't be rendered: {error}"))
}

/// # Errors
/// The text is no SVG, or the picture is too large for memory.
pub(super) fn of_svg(svg: &str) -> Result<Vec<u8>> {
    let mut fonts = fontdb::Database::new();
    for font in [dejavu::sans::regular(), dejavu::sans::bold()] {
        fonts.load_font_data(font.to_vec());
    }
    fonts.set_sans_serif_family("DejaVu Sans");
    let options = Options {
        font_family: "DejaVu Sans".into(),
        fontdb: Arc::new(fonts),
        ..Options::default()
    };
    let tree = Tree::from_str(svg, &options).map_err(failed)?;
    let size = tree.size().to_int_size().scale_by(SCALE).ok_or_else(|| failed("it has no size"))?;
    let mut pixmap =
        Pixmap::new(size.width(), size.height()).ok_or_else(|| failed("it is too large"))?;
    pixmap.fill(Color::WHITE);
    resvg::render(&tree, Transform::from_scale(SCALE, SCALE), &mut pixmap.as_mut());
    pixmap.encode_png().map_err(failed)
}
