//! What a program leaves: lines on standard output, and files that are written
//! when all is done. Whether they can be is said before anything starts.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::Path;

use crate::error::{Error, Result};

/// Before anything is set up: whether the file that `argument` names can be
/// written at the end. One that is there stays as it is, and where there is
/// none, none is left.
///
/// # Errors
/// When it can't.
pub fn check_writable(argument: &str, path: &Path) -> Result<()> {
    let tried = match OpenOptions::new().write(true).create_new(true).open(path) {
        Ok(_) => std::fs::remove_file(path),
        // Whoever reads a pipe would take this for its end.
        Err(_) if path.exists() && !path.is_file() && !path.is_dir() => Ok(()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            OpenOptions::new().write(true).open(path).map(drop)
        }
        Err(error) => Err(error),
    };
    tried.map_err(|error| {
        Error::Usage(format!(
            "{argument} {}: {error}; write the name of a file in a folder that exists and is yours to write to",
            path.display()
        ))
    })
}

/// Writes `what` into the file.
///
/// # Errors
/// When it can't be written.
pub fn write(path: &Path, what: &str, content: impl AsRef<[u8]>) -> Result<()> {
    std::fs::write(path, content).map_err(|error| {
        Error::Output(format!("{what} can't be written to {}: {error}", path.display()))
    })
}

/// Prints a line. Whoever reads it may be gone: that must not end a run in the
/// middle.
pub fn say(line: impl std::fmt::Display) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Prints text that ends with its own line end. As `say`: a closed pipe is no
/// failure.
pub fn print(text: impl std::fmt::Display) {
    let _ = write!(std::io::stdout(), "{text}");
}

/// A line on standard error, which as little as standard output may end a run.
pub fn warn(line: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "mpfwd: warning: {line}");
}
