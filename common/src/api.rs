//! Where the control socket is: the address that mpfwd serves, and mpctl asks.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The folder of root's sockets.
const SYSTEM_DIR: &str = "/run/mpfwd";

/// EAL's file prefix where none is given.
pub const DEFAULT_PREFIX: &str = "rte";

/// An address of the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    Unix(PathBuf),
    /// Loopback only: there is no authentication.
    Tcp(SocketAddr),
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return match path {
                "" => Err("write the socket's path, for example unix:/run/mpfwd/a.sock".into()),
                path => Ok(Self::Unix(path.into())),
            };
        }
        match text.parse::<SocketAddr>() {
            Ok(address) if address.ip().is_loopback() => Ok(Self::Tcp(address)),
            Ok(_) => Err("the API has no authentication and listens on loopback only: write \
                          127.0.0.1:PORT or unix:PATH"
                .into()),
            Err(_) => Err("write unix:PATH or 127.0.0.1:PORT".into()),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(address) => address.fmt(f),
        }
    }
}

/// `--api`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApiArg {
    Off,
    At(Endpoint),
}

impl FromStr for ApiArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self::Off),
            _ => text.parse().map(Self::At).map_err(|why: String| why + ", or off"),
        }
    }
}

/// The folder of a user's sockets: root's is `/run/mpfwd`, others' lie in their
/// runtime directory.
///
/// # Errors
/// The user has no runtime directory.
pub fn socket_dir(is_root: bool) -> Result<PathBuf, &'static str> {
    if is_root {
        return Ok(SYSTEM_DIR.into());
    }
    match std::env::var_os("XDG_RUNTIME_DIR") {
        Some(dir) if !dir.is_empty() => Ok(Path::new(&dir).join("mpfwd")),
        _ => Err("XDG_RUNTIME_DIR is not set"),
    }
}

/// The socket of the process with that EAL file prefix.
pub fn socket_path(dir: &Path, prefix: &str) -> PathBuf {
    dir.join(format!("{prefix}.sock"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_beyond_loopback_are_refused() {
        let read = |text: &str| text.parse::<ApiArg>().map_err(|why| why.lines().count());
        let tcp = |text: &str| Ok(ApiArg::At(Endpoint::Tcp(text.parse().unwrap())));
        assert_eq!(read("off"), Ok(ApiArg::Off));
        assert_eq!(read("unix:/a/b"), Ok(ApiArg::At(Endpoint::Unix("/a/b".into()))));
        for text in ["127.0.0.1:9000", "127.9.9.9:1", "[::1]:9000"] {
            assert_eq!(read(text), tcp(text));
        }
        for text in [
            "0.0.0.0:9000",
            "[::]:9000",
            "192.168.0.1:80",
            "[::ffff:10.0.0.1]:80",
            "localhost:9000",
            "127.0.0.1",
            "unix:",
            "/run/mpfwd/a.sock",
            "",
        ] {
            assert_eq!(read(text), Err(1), "{text}");
        }
    }

    #[test]
    fn a_socket_is_named_by_the_prefix() {
        let dir = socket_dir(true).expect("root has one");
        assert_eq!(socket_path(&dir, "a").to_str(), Some("/run/mpfwd/a.sock"));
    }
}
