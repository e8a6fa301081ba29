//! The socket that clients connect to. It is bound before EAL starts, so that a
//! wrong address is refused early.

use std::fs::{DirBuilder, Metadata, Permissions};
use std::io::{self, ErrorKind};
use std::net::TcpListener;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use nix::sys::stat::{Mode, umask};
use nix::unistd::geteuid;

use mpfwd_common::api::{ApiArg, Endpoint, socket_dir, socket_path};
use mpfwd_common::error::{Error, Result};
use mpfwd_common::output::warn;

/// Its owner and group may connect.
const SOCKET_MODE: u32 = 0o660;
const DIR_MODE: u32 = 0o755;

pub(super) enum Bound {
    Unix(UnixListener),
    Tcp(TcpListener),
}

/// A socket that clients can connect to. Its file is removed with it.
pub struct Listener {
    pub(super) bound: Bound,
    endpoint: Endpoint,
    _file: Option<OwnFile>,
}

/// The file of a socket that this process has made.
struct OwnFile {
    path: PathBuf,
    id: (u64, u64),
}

impl Drop for OwnFile {
    /// Leaves a file alone that another process has put there since.
    fn drop(&mut self) {
        if std::fs::symlink_metadata(&self.path).is_ok_and(|file| id(&file) == self.id) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn id(file: &Metadata) -> (u64, u64) {
    (file.dev(), file.ino())
}

impl Listener {
    /// Binds the address of `--api`. Without the argument it binds the socket of
    /// the file prefix; where that fails, a warning says so, and there is no API.
    ///
    /// # Errors
    /// The address of the argument can't be bound.
    pub fn bind(api: Option<&ApiArg>, file_prefix: &str) -> Result<Option<Self>> {
        match api {
            Some(ApiArg::Off) => Ok(None),
            Some(ApiArg::At(endpoint)) => Self::at(endpoint.clone())
                .map(Some)
                .map_err(|why| Error::Usage(format!("--api {endpoint}: {why}"))),
            None => {
                let bound = default_path(file_prefix).and_then(|path| {
                    let at = path.display().to_string();
                    Self::at(Endpoint::Unix(path)).map_err(|why| format!("{at}: {why}"))
                });
                if let Err(why) = &bound {
                    warn(format_args!("no control socket: {why} (--api names another, or off)"));
                }
                Ok(bound.ok())
            }
        }
    }

    fn at(endpoint: Endpoint) -> std::result::Result<Self, String> {
        let (bound, file) = match &endpoint {
            Endpoint::Tcp(address) => {
                let socket = TcpListener::bind(address).map_err(|error| error.to_string())?;
                (Bound::Tcp(socket), None)
            }
            Endpoint::Unix(path) => {
                let socket = bind_unix(path)?;
                let file = std::fs::symlink_metadata(path).map_err(|error| error.to_string())?;
                (Bound::Unix(socket), Some(OwnFile { path: path.clone(), id: id(&file) }))
            }
        };
        Ok(Self { bound, endpoint, _file: file })
    }

    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }
}

/// The socket of the file prefix, in a folder that is there.
fn default_path(file_prefix: &str) -> std::result::Result<PathBuf, String> {
    if file_prefix.contains('/') {
        return Err(format!("the file prefix {file_prefix:?} names no file"));
    }
    let dir = socket_dir(geteuid().is_root())?;
    let made = DirBuilder::new().mode(DIR_MODE).create(&dir);
    made.or_else(|error| if dir.is_dir() { Ok(()) } else { Err(error) })
        .map_err(|error| format!("{}: {error}", dir.display()))?;
    Ok(socket_path(&dir, file_prefix))
}

fn bind_unix(path: &Path) -> std::result::Result<UnixListener, String> {
    match bind_private(path) {
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            refuse_others(path)?;
            std::fs::remove_file(path).and_then(|()| bind_private(path))
        }
        bound => bound,
    }
    .map_err(|error| error.to_string())
}

/// The file has its mode from the beginning. The process has no other thread
/// yet whose files would get that mode, too.
fn bind_private(path: &Path) -> io::Result<UnixListener> {
    let before = umask(Mode::from_bits_truncate(0o777 & !SOCKET_MODE));
    let bound = UnixListener::bind(path);
    umask(before);
    bound.and_then(|socket| {
        std::fs::set_permissions(path, Permissions::from_mode(SOCKET_MODE)).map(|()| socket)
    })
}

/// A file may be replaced only if it is a socket of a process that is gone.
fn refuse_others(path: &Path) -> std::result::Result<(), String> {
    let file = std::fs::symlink_metadata(path).map_err(|error| error.to_string())?;
    if !file.file_type().is_socket() {
        return Err("a file that is no socket is there".into());
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(()),
        Ok(_) => Err("another process listens there".into()),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bind(path: &Path) -> std::result::Result<Listener, String> {
        Listener::at(Endpoint::Unix(path.into()))
    }

    fn refused(path: &Path) -> String {
        bind(path).err().expect("it is refused")
    }

    #[test]
    fn a_socket_replaces_a_dead_one_only_and_goes_with_its_process() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.sock");
        let first = bind(&path).expect("the path is free");
        let mode = std::fs::metadata(&path).expect("it is there").mode();
        assert_eq!(mode & 0o7777, SOCKET_MODE);
        assert_eq!(refused(&path), "another process listens there");
        drop(first);
        assert!(!path.exists());

        drop(UnixListener::bind(&path).expect("a socket"));
        let second = bind(&path).expect("nobody listens at the other one any more");
        std::fs::remove_file(&path).expect("it is there");
        let other = UnixListener::bind(&path).expect("a socket");
        drop(second);
        assert!(path.exists(), "it is another process's");
        drop(other);

        std::fs::remove_file(&path).expect("it is there");
        std::fs::write(&path, "kept").expect("it is written");
        assert_eq!(refused(&path), "a file that is no socket is there");
        assert_eq!(std::fs::read(&path).expect("it is there"), b"kept");
        assert!(!refused(&folder.path().join("none/a.sock")).is_empty());
    }
}
