//! Lines on standard output and standard error, and files that are written at
//! the end. Whether a file can be written is checked before anything starts.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::Path;

use crate::error::{Error, Result};

/// Checks that the file named by `argument` can be written at the end. Leaves an
/// existing file as it is, and creates none.
///
/// # Errors
/// The file can't be written.
pub fn check_writable(argument: &str, path: &Path) -> Result<()> {
    let tried = match OpenOptions::new().write(true).create_new(true).open(path) {
        Ok(_) => std::fs::remove_file(path),
        // Opening and closing a pipe would look like its end to the reader.
        Err(_) if path.exists() && !path.is_file() && !path.is_dir() => Ok(()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            OpenOptions::new().write(true).open(path).map(drop)
        }
        Err(error) => Err(error),
    };
    tried.map_err(|error| {
        Error::Usage(format!(
            "{argument} {}: {error}; name a file in an existing, writable folder",
            path.display()
        ))
    })
}

/// Writes the file.
///
/// # Errors
/// The file can't be written. The message names it `what`.
pub fn write(path: &Path, what: &str, content: impl AsRef<[u8]>) -> Result<()> {
    std::fs::write(path, content).map_err(|error| {
        Error::Output(format!("{what} can't be written to {}: {error}", path.display()))
    })
}

/// Prints a line. A closed pipe must not end a run, so errors are ignored.
pub fn say(line: impl std::fmt::Display) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Prints text that has its own line end. Ignores errors, as `say` does.
pub fn print(text: impl std::fmt::Display) {
    let _ = write!(std::io::stdout(), "{text}");
}

/// Prints a warning on standard error. Ignores errors, as `say` does.
pub fn warn(line: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "mpfwd: warning: {line}");
}
