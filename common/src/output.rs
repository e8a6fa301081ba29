//! Lines on standard output and standard error, and files that are written at
//! the end. Whether a file can be written is checked before anything starts.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

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

/// Writes the file: beside it, then renamed. So a reader sees the old content or
/// the new one, and a full disk leaves the old one. A pipe or a device is
/// written to directly.
///
/// # Errors
/// The file can't be written. The message names it `what`.
pub fn write(path: &Path, what: &str, content: impl AsRef<[u8]>) -> Result<()> {
    let content = content.as_ref();
    // A link stays a link: what it points to is replaced.
    let target = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let is_special = target.exists() && !target.is_file();
    let written =
        if is_special { std::fs::write(&target, content) } else { replace(&target, content) };
    written.map_err(|error| {
        Error::Output(format!("{what} can't be written to {}: {error}", path.display()))
    })
}

/// Writes a new file beside `target` and renames it. Where the folder does not
/// allow that, but the file itself may be written, it is written in place: a
/// file that is mounted into a container, or in another user's folder.
fn replace(target: &Path, content: &[u8]) -> io::Result<()> {
    let beside = beside(target);
    let renamed = write_new(&beside, target, content);
    if renamed.is_err() {
        let _ = std::fs::remove_file(&beside);
    }
    match renamed {
        Err(error) if target.is_file() && is_of_the_folder(error.kind()) => {
            std::fs::write(target, content)
        }
        renamed => renamed,
    }
}

fn write_new(beside: &Path, target: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = File::create(beside)?;
    if let Ok(old) = target.metadata() {
        file.set_permissions(old.permissions())?;
    }
    file.write_all(content)?;
    // Some file systems report a full disk only here.
    file.sync_all()?;
    std::fs::rename(beside, target)
}

/// A hidden name in the same folder, which no other process uses.
fn beside(target: &Path) -> PathBuf {
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    target.with_file_name(format!(".{name}.{}", std::process::id()))
}

/// Errors of creating or renaming a file that do not concern the old file.
fn is_of_the_folder(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem | ErrorKind::ResourceBusy
    )
}

/// Prints a line. A closed pipe must not end a run, so errors are ignored.
pub fn say(line: impl std::fmt::Display) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Prints text that has its own line end. Ignores errors, as `say` does.
pub fn print(text: impl std::fmt::Display) {
    let _ = write!(std::io::stdout(), "{text}");
}

/// Prints a mistake on standard error. Ignores errors, as `say` does.
pub fn complain(line: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "mpfwd: {line}");
}

/// Prints a warning on standard error. Ignores errors, as `say` does.
pub fn warn(line: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "mpfwd: warning: {line}");
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::{beside, write};

    #[test]
    fn a_file_is_replaced_and_keeps_its_permissions_and_links() {
        let folder = tempfile::tempdir().expect("a folder");
        let (file, link) = (folder.path().join("report.json"), folder.path().join("latest"));
        write(&file, "it", "first").expect("a new file");
        let private = PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&file, private).expect("they are set");
        std::os::unix::fs::symlink(&file, &link).expect("a link");
        write(&link, "it", "second").expect("by the link");
        assert!(link.is_symlink());
        assert_eq!(std::fs::read_to_string(&file).expect("it is there"), "second");
        let mode = file.metadata().expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let names = std::fs::read_dir(folder.path()).expect("it is there").count();
        assert_eq!(names, 2, "nothing is left beside them");
    }

    #[test]
    fn a_write_that_fails_leaves_the_old_content_and_nothing_beside_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("report.json");
        write(&file, "it", "old").expect("a new file");
        std::fs::create_dir(beside(&file)).expect("the name beside it is taken");
        let error = write(&file, "the report", "new").expect_err("a folder is in the way");
        assert!(error.to_string().starts_with("the report can't be written to "), "{error}");
        assert_eq!(std::fs::read_to_string(&file).expect("it is there"), "old");
    }

    #[test]
    fn a_device_is_written_to_and_a_full_one_is_reported() {
        write("/dev/null".as_ref(), "it", "text").expect("the device takes it");
        let error = write("/dev/full".as_ref(), "it", "text").expect_err("it is full");
        assert!(error.to_string().contains("No space left"), "{error}");
    }
}
