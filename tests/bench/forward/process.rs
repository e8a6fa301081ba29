//! Child processes that never outlive the benchmark: start, read, write, end.
//! The files that start them know what to write.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGINT, SIGTERM};

/// Why a window has no figure.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("interrupted")]
    Interrupted,
    /// A peer is missing or fails. It is skipped, with this reason.
    #[error("{0}")]
    Peer(String),
    /// mpfwd fails: there is nothing to compare.
    #[error("{0}")]
    Mpfwd(String),
    #[error("other processes have kept the CPUs busy for {0} s: run it again when they have ended")]
    Busy(u64),
}

pub fn failure<T>(reason: impl Into<String>) -> Result<T, Failure> {
    Err(Failure::Peer(reason.into()))
}

static INTERRUPTED: OnceLock<Arc<AtomicBool>> = OnceLock::new();
/// Interval at which waits check for an interrupt.
const GLANCE: Duration = Duration::from_millis(100);

/// Installs handlers: Ctrl-C and SIGTERM then end the run in an orderly way.
pub fn catch_interrupts() -> std::io::Result<()> {
    let flag = INTERRUPTED.get_or_init(Arc::default);
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(flag))?;
    }
    Ok(())
}

pub fn check_interrupt() -> Result<(), Failure> {
    let interrupted = INTERRUPTED.get().is_some_and(|flag| flag.load(Ordering::Relaxed));
    if interrupted { Err(Failure::Interrupted) } else { Ok(()) }
}

pub fn sleep(length: Duration) -> Result<(), Failure> {
    let end = Instant::now() + length;
    loop {
        check_interrupt()?;
        match end.saturating_duration_since(Instant::now()) {
            Duration::ZERO => return Ok(()),
            left => thread::sleep(left.min(GLANCE)),
        }
    }
}

/// A `--file-prefix` of its own for every EAL process.
pub fn file_prefix() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("bench{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

pub struct Running {
    name: String,
    child: Child,
    input: Option<ChildStdin>,
    chunks: Receiver<(Instant, Vec<u8>)>,
    /// The output so far.
    said: String,
}

impl Running {
    pub fn start(program: impl AsRef<OsStr>, args: &[String]) -> Result<Running, Failure> {
        Running::start_in(&[], program.as_ref(), args)
    }

    /// As above, with line-buffered output.
    pub fn start_talkative(program: &str, args: &[String]) -> Result<Running, Failure> {
        Running::start_in(&["stdbuf", "-oL"], program.as_ref(), args)
    }

    /// Starts the program. If the benchmark is killed, the kernel kills the
    /// program, too (wrappers stay the same process).
    fn start_in(wrapper: &[&str], program: &OsStr, args: &[String]) -> Result<Running, Failure> {
        let name = program.to_string_lossy().into_owned();
        let mut child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .args(wrapper)
            .arg(program)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| {
                Failure::Peer(format!("setpriv (package util-linux) does not start: {error}"))
            })?;
        let (sender, chunks) = channel();
        listen(child.stdout.take().expect("stdout is piped"), sender.clone());
        listen(child.stderr.take().expect("stderr is piped"), sender);
        let input = child.stdin.take();
        Ok(Running { name, child, input, chunks, said: String::new() })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn say(&mut self, line: &str) -> Result<(), Failure> {
        let input = self.input.as_mut().expect("nothing is said after the end of input");
        match writeln!(input, "{line}").and_then(|()| input.flush()) {
            Ok(()) => Ok(()),
            Err(error) => {
                failure(format!("{} takes no input ({error}){}", self.name, self.last_words()))
            }
        }
    }

    /// Reads until `wanted` finds something in the output so far. Returns that,
    /// and when.
    pub fn wait_for<T>(
        &mut self,
        what: &str,
        limit: Duration,
        wanted: impl Fn(&str) -> Option<T>,
    ) -> Result<(Instant, T), Failure> {
        let end = Instant::now() + limit;
        loop {
            check_interrupt()?;
            match self
                .chunks
                .recv_timeout(GLANCE.min(end.saturating_duration_since(Instant::now())))
            {
                Ok((at, chunk)) => {
                    self.said.push_str(&String::from_utf8_lossy(&chunk));
                    if let Some(found) = wanted(&self.said) {
                        return Ok((at, found));
                    }
                }
                Err(RecvTimeoutError::Timeout) if Instant::now() < end => {}
                Err(RecvTimeoutError::Timeout) => {
                    return failure(format!(
                        "{}: no {what} within {} s{}",
                        self.name,
                        limit.as_secs(),
                        self.last_words()
                    ));
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return failure(format!(
                        "{} ended without {what}{}",
                        self.name,
                        self.last_words()
                    ));
                }
            }
        }
    }

    /// Waits for the process to exit by itself with success. Returns its
    /// output.
    pub fn finish(mut self, limit: Duration) -> Result<String, Failure> {
        self.input = None;
        let end = Instant::now() + limit;
        let status = loop {
            check_interrupt()?;
            match self.child.try_wait() {
                Ok(Some(status)) => break status,
                Ok(None) if Instant::now() < end => thread::sleep(Duration::from_millis(5)),
                Ok(None) => {
                    return failure(format!(
                        "{} did not end within {} s{}",
                        self.name,
                        limit.as_secs(),
                        self.last_words()
                    ));
                }
                Err(error) => {
                    return failure(format!("{} cannot be waited for: {error}", self.name));
                }
            }
        };
        while let Ok((_, chunk)) = self.chunks.recv_timeout(GLANCE) {
            self.said.push_str(&String::from_utf8_lossy(&chunk));
        }
        if status.success() {
            Ok(std::mem::take(&mut self.said))
        } else {
            failure(format!("{}: {status}{}", self.name, self.last_words()))
        }
    }

    /// The last line with an error, else the last line.
    fn last_words(&self) -> String {
        let lines = || self.said.lines().rev().filter(|line| !line.trim().is_empty());
        let telling = |line: &&str| {
            ["error", "fail", "broken", "cannot", "invalid", "mpfwd:"]
                .iter()
                .any(|word| line.to_lowercase().contains(word))
        };
        lines()
            .find(telling)
            .or(lines().next())
            .map_or(String::new(), |line| format!("; it said: {}", line.trim()))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // Failures are ignored: the process is gone, or the kernel ends it
            // with this one.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Forwards a stream. The thread ends with the stream, or when the receiver is
/// gone.
fn listen(mut stream: impl Read + Send + 'static, sender: Sender<(Instant, Vec<u8>)>) {
    thread::spawn(move || {
        let mut chunk = [0; 4096];
        while let Ok(length @ 1..) = stream.read(&mut chunk) {
            if sender.send((Instant::now(), chunk[..length].to_vec())).is_err() {
                return;
            }
        }
    });
}
