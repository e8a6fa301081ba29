//! Where a command's result goes, beside the terminal: JSON, and a picture.

use std::path::Path;

use serde::Serialize;

use super::args::OutputArgs;
use super::comparison::Comparison;
use super::{plot, tables};
use mpfwd_common::error::{Error, Result};
use mpfwd_common::output;

/// Files that can be written, checked before anything is measured.
pub(super) struct Results<'a> {
    json: Option<&'a Path>,
    pub plot: Option<(&'a Path, plot::Format)>,
}

impl<'a> Results<'a> {
    /// # Errors
    /// A file can't be written, or is no picture.
    pub(super) fn new(args: &'a OutputArgs) -> Result<Self> {
        for (argument, path) in [("--json", &args.json), ("--plot", &args.plot)] {
            path.iter().try_for_each(|path| output::check_writable(argument, path))?;
        }
        let plot = args.plot.as_deref();
        let plot = plot.map(|path| Ok((path, plot::Format::of(path)?))).transpose()?;
        Ok(Self { json: args.json.as_deref(), plot })
    }

    /// Prints the comparison, and writes its files.
    ///
    /// # Errors
    /// A file can't be written.
    pub(super) fn emit(&self, comparison: &Comparison) -> Result<()> {
        output::say(tables::text(comparison));
        self.write_json("the comparison", comparison)?;
        if let Some((path, format)) = self.plot {
            let figure = plot::Figure::of_comparisons(&[(String::new(), comparison.clone())]);
            plot::draw(&figure, &plot::Choice::default(), format, path)?;
        }
        Ok(())
    }

    /// Writes `what` as JSON, if that is wanted.
    ///
    /// # Errors
    /// The file can't be written.
    pub(super) fn write_json(&self, what: &str, value: &impl Serialize) -> Result<()> {
        let Some(path) = self.json else { return Ok(()) };
        let text = serde_json::to_string(value)
            .map_err(|error| Error::Output(format!("{what} can't be written as JSON: {error}")))?;
        output::write(path, what, text + "\n")?;
        output::say(format_args!("JSON: {}", path.display()));
        Ok(())
    }
}
