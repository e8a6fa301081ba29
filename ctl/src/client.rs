//! Asks an mpfwd, one request per connection.

use std::io::{ErrorKind, Write};
use std::path::Path;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use nix::unistd::geteuid;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::runtime::Runtime;

use mpfwd_common::api::{Endpoint, socket_dir, socket_path};
use mpfwd_common::error::{Error, Result};

/// Longer than mpfwd itself waits for an answer, and for one that a file is read
/// for.
const PATIENCE: Duration = Duration::from_secs(10);
const FILE_PATIENCE: Duration = Duration::from_secs(70);

/// Where an mpfwd answers.
pub(super) struct Client {
    endpoint: Endpoint,
    runtime: Runtime,
}

/// An answer of any status.
pub(super) struct Answer {
    pub status: StatusCode,
    pub body: Bytes,
}

impl Client {
    /// # Errors
    /// It is not clear which mpfwd is meant.
    pub(super) fn new(api: Option<&Endpoint>, file_prefix: Option<&str>) -> Result<Self> {
        let endpoint = match api {
            Some(endpoint) => endpoint.clone(),
            None => {
                let dir = socket_dir(geteuid().is_root());
                let dir = dir.map_err(|why| Error::Setup(format!("{why}: write --api")))?;
                Endpoint::Unix(match file_prefix {
                    Some(prefix) => socket_path(&dir, prefix),
                    None => socket_path(&dir, &only_prefix(&dir)?),
                })
            }
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Error::Setup(error.to_string()))?;
        Ok(Self { endpoint, runtime })
    }

    /// The address, in the form of `--api`.
    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// # Errors
    /// There is no answer.
    pub(super) fn ask(&self, method: Method, path: &str, body: String) -> Result<Answer> {
        let asked = async {
            match &self.endpoint {
                Endpoint::Unix(path_of) => {
                    exchange(UnixStream::connect(path_of).await?, method, path, body).await
                }
                Endpoint::Tcp(address) => {
                    exchange(TcpStream::connect(address).await?, method, path, body).await
                }
            }
        };
        let reads = ["/routes", "/rules"].contains(&path);
        let patience = if reads { FILE_PATIENCE } else { PATIENCE };
        let limited = async { tokio::time::timeout(patience, asked).await };
        let failed = |why: String| Error::Setup(format!("{}: {why}", self.endpoint));
        match self.runtime.block_on(limited) {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(failed(error.to_string())),
            Err(_) => Err(failed("no answer".into())),
        }
    }

    /// # Errors
    /// There is no answer, or it is not that of a running mpfwd.
    pub(super) fn get(&self, path: &str) -> Result<Bytes> {
        let Answer { status, body } = self.ask(Method::GET, path, String::new())?;
        match status.is_success() {
            true => Ok(body),
            false => Err(Error::Setup(format!("{}: {}", self.endpoint, text_of(&body)))),
        }
    }

    /// As `get`, of an answer in JSON.
    pub(super) fn get_json<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        read(&self.get(path)?)
    }
}

/// # Errors
/// The answer is not what it should be.
pub(super) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T> {
    serde_json::from_slice(body)
        .map_err(|error| Error::Setup(format!("the answer is not that of this version: {error}")))
}

pub(super) fn text_of(body: &[u8]) -> String {
    let error = serde_json::from_slice::<serde_json::Value>(body).ok();
    let error = error.and_then(|value| value["error"].as_str().map(str::to_owned));
    error.unwrap_or_else(|| String::from_utf8_lossy(body).trim().to_owned())
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    method: Method,
    path: &str,
    body: String,
) -> std::result::Result<Answer, Failure> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "localhost")
        .body(Full::new(Bytes::from(body)))?;
    let answered = async {
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        Ok::<_, Failure>(Answer { status, body: answer.into_body().collect().await?.to_bytes() })
    };
    let mut answered = std::pin::pin!(answered);
    let mut connection = std::pin::pin!(connection);
    let mut is_over = false;
    std::future::poll_fn(move |context| {
        // The connection moves the bytes. It may be over before the answer is
        // read.
        is_over = is_over || connection.as_mut().poll(context).is_ready();
        answered.as_mut().poll(context)
    })
    .await
}

/// The file prefix of the only mpfwd that listens there. A process that was
/// killed has left its socket behind, which is passed over.
fn only_prefix(dir: &Path) -> Result<String> {
    let files = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let prefix = |file: std::fs::DirEntry| {
        file.file_name().to_str().and_then(|name| name.strip_suffix(".sock")).map(str::to_owned)
    };
    let mut prefixes: Vec<String> = files.filter_map(prefix).collect();
    prefixes.sort();
    let is_stale = |prefix: &String| {
        let connected = std::os::unix::net::UnixStream::connect(socket_path(dir, prefix));
        connected.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
    };
    let (stale, prefixes): (Vec<String>, Vec<String>) = prefixes.into_iter().partition(is_stale);
    for prefix in stale {
        let path = socket_path(dir, &prefix);
        // The reader may be gone.
        let _ = writeln!(
            std::io::stderr(),
            "mpctl: {} is of a process that was killed: passed over",
            path.display()
        );
    }
    match prefixes.as_slice() {
        [only] => Ok(only.clone()),
        [] => Err(Error::Setup(format!("no mpfwd has a socket in {}: write --api", dir.display()))),
        all => Err(Error::Setup(format!(
            "several run: write --file-prefix and one of {}",
            all.join(", ")
        ))),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn the_only_socket_is_found() {
        let folder = tempfile::tempdir().expect("a folder");
        let listen = |name: &str| UnixListener::bind(folder.path().join(name)).expect("bound");
        let why = |dir: &Path| only_prefix(dir).expect_err("it is refused").to_string();
        assert!(why(folder.path()).starts_with("no mpfwd has a socket in "));
        assert!(why(&folder.path().join("none")).starts_with("no mpfwd has a socket in "));
        let _a = listen("a.sock");
        drop(listen("killed.sock"));
        std::fs::write(folder.path().join("notes"), "").expect("written");
        assert_eq!(only_prefix(folder.path()).expect("one"), "a");
        let _b = listen("b.sock");
        assert_eq!(why(folder.path()), "several run: write --file-prefix and one of a, b");
    }

    #[test]
    fn errors_are_read_from_json() {
        assert_eq!(text_of(br#"{"error":"too late"}"#), "too late");
        assert_eq!(text_of(b"plain\n"), "plain");
    }
}
