//! Clients, on one thread that is not an lcore. It reads requests, refuses what
//! is wrong with them, passes the others to control, and writes its answers.
//! Control never waits for a client, and a client waits for control for
//! [`ANSWER_WITHIN`] at most.
//!
//! No client can keep others out. When there are [`CLIENTS_MAX`], a new one
//! displaces the one whose last request is oldest.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread::Thread;
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{ACCEPT, ALLOW, CONTENT_TYPE, HOST, HeaderValue, ORIGIN};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{HeaderMap, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use rustix::process::setpriority_process;
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use tokio_io_timeout::TimeoutStream;

use super::listener::{Bound, Listener};
use super::routes::{self, NoRoute, Request};
use mpfwd_common::output::warn;

/// Clients at a time.
const CLIENTS_MAX: usize = 32;
/// A client that neither sends nor receives for so long is gone.
const STALLED_AFTER: Duration = Duration::from_secs(10);
/// Time for all headers of a request, and for its whole body.
const RECEIVED_WITHIN: Duration = Duration::from_secs(10);
/// Time for control's answer, and for one that a file is read for.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
const FILE_READ_WITHIN: Duration = Duration::from_secs(60);
const HEADER_BYTES_MAX: usize = 16 << 10;
const HEADERS_MAX: usize = 64;
const BODY_BYTES_MAX: usize = 64 << 10;
/// Wait after a client could not be accepted: the process has no descriptor
/// left, for example.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(100);
/// Time for the last answers when the run is over.
const LAST_ANSWERS_WITHIN: Duration = Duration::from_millis(20);
/// Lcores may share this thread's CPU: whatever clients do, it gets a tenth.
const NICENESS: i32 = 10;

const JSON: &str = "application/json";

/// The media type of OpenMetrics, without its parameters.
const OPEN_METRICS: &str = "application/openmetrics-text";

/// An answer to a request.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub content_type: &'static str,
    pub body: Vec<u8>,
}

impl Answer {
    /// `value` must be something that JSON can express.
    pub fn json(status: StatusCode, value: &impl Serialize) -> Self {
        let body = serde_json::to_vec(value).unwrap_or_default();
        Self { status, content_type: JSON, body }
    }

    pub fn error(status: StatusCode, why: impl Into<String>) -> Self {
        Self::json(status, &serde_json::json!({ "error": why.into() }))
    }
}

/// A request on its way to control.
pub struct Call {
    pub request: Request,
    reply: oneshot::Sender<Answer>,
}

impl Call {
    /// The client has gone.
    pub fn is_given_up(&self) -> bool {
        self.reply.is_closed()
    }

    /// The client may have gone meanwhile.
    pub fn reply(self, answer: Answer) {
        let _ = self.reply.send(answer);
    }
}

/// The server's end of the way to control.
#[derive(Clone)]
pub struct Calls {
    sender: mpsc::Sender<Call>,
    control: Thread,
}

impl Calls {
    /// `control`: the thread that receives the calls.
    pub fn new(sender: mpsc::Sender<Call>, control: Thread) -> Self {
        Self { sender, control }
    }

    async fn ask(&self, request: Request) -> Answer {
        let (reply, answer) = oneshot::channel();
        let unavailable = |why: &str| Answer::error(StatusCode::SERVICE_UNAVAILABLE, why);
        let within = if request.ask.is_of_files() { FILE_READ_WITHIN } else { ANSWER_WITHIN };
        if self.sender.send(Call { request, reply }).is_err() {
            return unavailable("the run is over");
        }
        self.control.unpark();
        match tokio::time::timeout(within, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => unavailable("the run is over"),
            Err(_) => unavailable("control does not answer"),
        }
    }
}

/// Serves clients on these CPUs until `end` is sent or dropped.
pub fn serve(listener: &Listener, calls: Calls, cpus: &CpuSet, end: oneshot::Receiver<()>) {
    let _ = sched_setaffinity(Pid::from_raw(0), cpus);
    let _ = setpriority_process(None, NICENESS);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let served = runtime.and_then(|runtime| runtime.block_on(serve_until(listener, calls, end)));
    if let Err(error) = served {
        warn(format_args!("no control socket: {}: {error}", listener.endpoint()));
    }
}

async fn serve_until(
    listener: &Listener,
    calls: Calls,
    mut end: oneshot::Receiver<()>,
) -> std::io::Result<()> {
    let socket = Socket::of(listener)?;
    let mut clients = Clients::default();
    loop {
        let accepted = tokio::select! {
            _ = &mut end => break,
            accepted = socket.accept() => accepted,
        };
        match accepted {
            Ok(stream) => clients.admit(stream, calls.clone(), socket.is_tcp()),
            Err(_) => tokio::time::sleep(ACCEPT_AGAIN_AFTER).await,
        }
    }
    // The last answers are on their way.
    tokio::time::sleep(LAST_ANSWERS_WITHIN).await;
    Ok(())
}

enum Socket {
    Unix(tokio::net::UnixListener),
    Tcp(tokio::net::TcpListener),
}

impl Socket {
    fn of(listener: &Listener) -> std::io::Result<Self> {
        match &listener.bound {
            Bound::Unix(socket) => {
                let socket = socket.try_clone()?;
                socket.set_nonblocking(true)?;
                tokio::net::UnixListener::from_std(socket).map(Self::Unix)
            }
            Bound::Tcp(socket) => {
                let socket = socket.try_clone()?;
                socket.set_nonblocking(true)?;
                tokio::net::TcpListener::from_std(socket).map(Self::Tcp)
            }
        }
    }

    fn is_tcp(&self) -> bool {
        matches!(self, Self::Tcp(_))
    }

    async fn accept(&self) -> std::io::Result<Box<dyn Stream>> {
        match self {
            Self::Unix(socket) => socket.accept().await.map(|(stream, _)| Box::new(stream) as _),
            Self::Tcp(socket) => socket.accept().await.map(|(stream, _)| Box::new(stream) as _),
        }
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// One client, as the accepting loop sees it.
struct Client {
    task: AbortHandle,
    asked: Arc<LastAsked>,
}

/// When the client's last request was complete, at first when it was accepted:
/// milliseconds since `start`.
struct LastAsked {
    start: Instant,
    ms: AtomicU64,
}

impl LastAsked {
    fn note(&self) {
        self.ms.store(self.start.elapsed().as_millis() as u64, Ordering::Relaxed);
    }
}

struct Clients {
    start: Instant,
    connected: Vec<Client>,
}

impl Default for Clients {
    fn default() -> Self {
        Self { start: Instant::now(), connected: Vec::new() }
    }
}

impl Clients {
    fn admit(&mut self, stream: Box<dyn Stream>, calls: Calls, is_tcp: bool) {
        self.connected.retain(|client| !client.task.is_finished());
        if self.connected.len() == CLIENTS_MAX {
            self.displace_one();
        }
        let asked = Arc::new(LastAsked { start: self.start, ms: AtomicU64::new(0) });
        asked.note();
        let task = tokio::spawn(talk(stream, calls, is_tcp, asked.clone())).abort_handle();
        self.connected.push(Client { task, asked });
    }

    fn displace_one(&mut self) {
        let last = |at: &usize| self.connected[*at].asked.ms.load(Ordering::Relaxed);
        if let Some(at) = (0..self.connected.len()).min_by_key(last) {
            self.connected.remove(at).task.abort();
        }
    }
}

/// Talks with one client until it goes, stalls, or breaks the protocol.
async fn talk(stream: Box<dyn Stream>, calls: Calls, is_tcp: bool, asked: Arc<LastAsked>) {
    let mut stream = TimeoutStream::new(stream);
    stream.set_read_timeout(Some(STALLED_AFTER));
    stream.set_write_timeout(Some(STALLED_AFTER));
    let service = service_fn(|request| {
        let (calls, asked) = (calls.clone(), asked.clone());
        async move {
            let answer = match read(request, is_tcp).await {
                Ok(request) => {
                    asked.note();
                    calls.ask(request).await
                }
                Err(refusal) => return Ok(*refusal),
            };
            Ok::<_, Infallible>(Reply::from(answer))
        }
    });
    // An error here is the client's.
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(RECEIVED_WITHIN)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEADER_BYTES_MAX)
        .serve_connection(TokioIo::new(Box::pin(stream)), service)
        .await;
}

type Reply = Response<Full<Bytes>>;

impl From<Answer> for Reply {
    fn from(answer: Answer) -> Self {
        let mut reply = Response::new(Full::new(Bytes::from(answer.body)));
        *reply.status_mut() = answer.status;
        let content_type = HeaderValue::from_static(answer.content_type);
        reply.headers_mut().insert(CONTENT_TYPE, content_type);
        reply
    }
}

fn refused(status: StatusCode, why: &str) -> Box<Reply> {
    Box::new(Answer::error(status, why).into())
}

/// The request that control answers.
///
/// # Errors
/// The refusal of a request that nobody needs to answer.
async fn read(request: hyper::Request<Incoming>, is_tcp: bool) -> Result<Request, Box<Reply>> {
    let (head, body) = request.into_parts();
    if let Some(why) = misled(&head.headers, is_tcp) {
        return Err(refused(StatusCode::FORBIDDEN, why));
    }
    let ask = routes::find(&head.method, head.uri.path()).map_err(|no_route| match no_route {
        NoRoute::Path => refused(StatusCode::NOT_FOUND, "no such path: see docs/api.md"),
        NoRoute::Method { allowed } => {
            let mut reply = refused(StatusCode::METHOD_NOT_ALLOWED, "the path has another method");
            let allowed = HeaderValue::from_str(allowed.as_str()).ok();
            allowed
                .into_iter()
                .for_each(|allowed| drop(reply.headers_mut().insert(ALLOW, allowed)));
            reply
        }
    })?;
    let body = Limited::new(body, BODY_BYTES_MAX).collect();
    let body = match tokio::time::timeout(RECEIVED_WITHIN, body).await {
        Ok(Ok(body)) => body.to_bytes().to_vec(),
        Ok(Err(_)) => {
            return Err(refused(StatusCode::PAYLOAD_TOO_LARGE, "the body is too long or cut off"));
        }
        Err(_) => return Err(refused(StatusCode::REQUEST_TIMEOUT, "the body takes too long")),
    };
    let accept = head.headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
    let wants_open_metrics = accept.is_some_and(|accept| accept.contains(OPEN_METRICS));
    Ok(Request { ask, body, wants_open_metrics })
}

/// Why the request may come from a web page that a user of this machine has
/// open. Browsers name the page's origin. A page whose name leads to loopback
/// has another host in its requests.
fn misled(headers: &HeaderMap, is_tcp: bool) -> Option<&'static str> {
    if headers.contains_key(ORIGIN) {
        return Some("requests of web pages are refused");
    }
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    (is_tcp && !is_loopback(host)).then_some("the header Host must name a loopback address")
}

fn is_loopback(host: &str) -> bool {
    let is_port = |port: &str| port.parse::<u16>().is_ok();
    let name = match host.rsplit_once(':') {
        Some((name, port)) if is_port(port) => name,
        _ => host,
    };
    let ip = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    name == "localhost" || ip.is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::Shutdown;
    use std::os::unix::net::UnixStream;
    use std::path::Path;

    use nix::sched::sched_getaffinity;
    use proptest::prelude::*;

    use super::*;
    use mpfwd_common::api::{ApiArg, Endpoint};

    const GOOD: &[u8] = b"POST /drain HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n\
        Content-Length: 2\r\nConnection: close\r\n\r\n{}";

    /// Runs `client` beside a server whose control says yes to everything.
    /// `client` gets the socket's path.
    fn with_server(client: impl FnOnce(&Path)) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.sock");
        let api = ApiArg::At(Endpoint::Unix(path.clone()));
        let listener = Listener::bind(Some(&api), "a").expect("the path is free").expect("on");
        let cpus = sched_getaffinity(Pid::from_raw(0)).expect("the kernel says which");
        let (sender, calls) = mpsc::channel::<Call>();
        let (end, ended) = oneshot::channel();
        std::thread::scope(|scope| {
            let control = scope.spawn(move || {
                for call in calls {
                    assert!(call.request.body.len() <= BODY_BYTES_MAX);
                    call.reply(Answer::json(StatusCode::OK, &true));
                }
            });
            let calls = Calls::new(sender, control.thread().clone());
            scope.spawn(|| serve(&listener, calls, &cpus, ended));
            client(&path);
            drop(end);
        });
    }

    /// What the server says to these bytes. `is_all`: nothing comes after them.
    fn said(path: &Path, bytes: &[u8], is_all: bool) -> Vec<u8> {
        let mut stream = UnixStream::connect(path).expect("it listens");
        // It may close before it has read all.
        let _ = stream.write_all(bytes);
        if is_all {
            let _ = stream.shutdown(Shutdown::Write);
        }
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        answer
    }

    /// A client that closes its end before the answer has come counts as gone.
    fn is_answered(path: &Path) -> bool {
        said(path, GOOD, false).starts_with(b"HTTP/1.1 200 OK")
    }

    /// A good request of which some bytes are others, or missing.
    fn spoilt() -> impl Strategy<Value = Vec<u8>> {
        let edits = prop::collection::vec((0..GOOD.len(), any::<u8>(), any::<bool>()), 0..6);
        edits.prop_map(|edits| {
            let mut bytes = GOOD.to_vec();
            for (at, byte, removes) in edits {
                let at = at.min(bytes.len() - 1);
                if removes {
                    bytes.drain(at..(at + usize::from(byte) % 16 + 1).min(bytes.len() - 1).max(at));
                } else {
                    bytes[at] = byte;
                }
            }
            bytes
        })
    }

    #[test]
    fn whatever_clients_send_the_next_one_is_answered() {
        with_server(|path| {
            let anything = prop::collection::vec(any::<u8>(), 0..300);
            let bytes = prop_oneof![spoilt(), anything];
            let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
            let mut runner = proptest::test_runner::TestRunner::new(config);
            let outcome = runner.run(&bytes, |bytes| {
                let answer = said(path, &bytes, true);
                let is_http = answer.is_empty() || answer.starts_with(b"HTTP/1.");
                prop_assert!(is_http, "{}", String::from_utf8_lossy(&answer));
                prop_assert!(is_answered(path));
                Ok(())
            });
            outcome.expect("no bytes stop the server");
        });
    }

    #[test]
    fn clients_that_say_nothing_are_displaced_by_others() {
        with_server(|path| {
            let connect = |_| UnixStream::connect(path).expect("it listens");
            let silent: Vec<UnixStream> = (0..10 * CLIENTS_MAX).map(connect).collect();
            assert!(is_answered(path));
            drop(silent);
        });
    }

    #[test]
    fn hosts_beyond_loopback_are_no_hosts_of_the_api() {
        for host in ["127.0.0.1", "127.0.0.1:9000", "localhost", "localhost:1", "[::1]:9", "[::1]"]
        {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["", "example.org", "localhost.example.org:80", "10.0.0.1", "127.0.0.1.nip.io"]
        {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
