//! One mpfwd, from its start to its report. It has a process group of its own,
//! so that Ctrl-C reaches this program alone, which passes it on once: mpfwd
//! would take a second signal for an order to drop what it has.
//!
//! While a round runs this program sleeps, or wakes up once a second to show
//! progress. On a small machine every wake-up takes time from the lcores.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::measured::Measured;
use mpfwd_common::error::{Error, Result};

/// Allowance beyond the length of the round: set-up, draining, tear-down, on a
/// busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Interval of progress reports.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Why a round has no result.
#[derive(Debug)]
pub(super) enum Failure {
    /// A signal to this program ended the round.
    Interrupted,
    /// mpfwd refused its arguments, or the machine lacks something: mpfwd's
    /// line.
    Refused(String),
    /// mpfwd started, and failed later.
    Broken(String),
}

/// Records Ctrl-C and SIGTERM, and passes them on to the running mpfwd.
#[derive(Clone)]
pub(super) struct Interrupts {
    asked: Arc<AtomicBool>,
    child: Arc<Mutex<Option<Pid>>>,
}

impl Interrupts {
    /// From now on the signals no longer end this process.
    ///
    /// # Errors
    /// The kernel refuses a handler.
    pub(super) fn catch() -> Result<Self> {
        let own = Self { asked: Arc::default(), child: Arc::default() };
        let mut signals = Signals::new([SIGINT, SIGTERM])
            .map_err(|error| Error::Setup(format!("no handlers for signals: {error}")))?;
        let watcher = own.clone();
        std::thread::spawn(move || {
            for _ in signals.forever() {
                watcher.asked.store(true, Ordering::Relaxed);
                watcher.signal(Signal::SIGTERM);
            }
        });
        Ok(own)
    }

    pub(super) fn asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    fn child(&self) -> std::sync::MutexGuard<'_, Option<Pid>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = *self.child() {
            // The process may have ended: then it needs no signal.
            let _ = kill(pid, signal);
        }
    }
}

/// Called once a second with the time since the start of the round.
pub(super) type OnLooker<'a> = &'a mut dyn FnMut(Duration);

/// Runs mpfwd and reads its report. The arguments must make it write the report
/// to `report`. `time` is the expected length of the run.
pub(super) fn round(
    mpfwd: &Path,
    args: &[String],
    report: &Path,
    time: Duration,
    interrupts: &Interrupts,
) -> std::result::Result<Measured, Failure> {
    let output = run(mpfwd, args, time + PATIENCE, interrupts, None)?;
    if interrupts.asked() { Err(Failure::Interrupted) } else { read(&output, report) }
}

/// As `round`, but an interrupted run returns its partial result. `interrupts`
/// tells whether that happened.
pub(super) fn part(
    mpfwd: &Path,
    args: &[String],
    report: &Path,
    time: Duration,
    interrupts: &Interrupts,
    looks_on: OnLooker<'_>,
) -> std::result::Result<Measured, Failure> {
    let output = run(mpfwd, args, time + PATIENCE, interrupts, Some(looks_on))?;
    let run = read(&output, report);
    if interrupts.asked() { run.map_err(|_| Failure::Interrupted) } else { run }
}

/// The result of an mpfwd that has ended.
fn read(output: &Output, report: &Path) -> std::result::Result<Measured, Failure> {
    let text = String::from_utf8_lossy(&output.stderr);
    let own = |line: &&str| line.starts_with("mpfwd: ") && !line.starts_with("mpfwd: warning: ");
    let said = text
        .lines()
        .rev()
        .find(own)
        .or(text.lines().last())
        .unwrap_or("it says nothing")
        .to_owned();
    match output.status.code() {
        Some(0) => Measured::read(report).map_err(|error| Failure::Broken(error.to_string())),
        Some(2) => Err(Failure::Refused(said)),
        _ => Err(Failure::Broken(format!("mpfwd ended with {}: {said}", output.status))),
    }
}

fn run(
    mpfwd: &Path,
    args: &[String],
    limit: Duration,
    interrupts: &Interrupts,
    looks_on: Option<OnLooker<'_>>,
) -> std::result::Result<Output, Failure> {
    let mut command = Command::new(mpfwd);
    command
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0);
    // Held until the process is recorded, so that no signal is lost in between.
    let mut place = interrupts.child();
    if interrupts.asked() {
        return Err(Failure::Interrupted);
    }
    let child = command.spawn().map_err(|error| {
        Failure::Refused(format!("{} does not start: {error}", mpfwd.display()))
    })?;
    *place = Some(Pid::from_raw(child.id() as i32));
    drop(place);
    let (sender, ended) = channel();
    let waiting = interrupts.clone();
    std::thread::spawn(move || {
        let output = child.wait_with_output();
        *waiting.child() = None;
        // The receiver may have timed out.
        let _ = sender.send(output);
    });
    match wait(&ended, limit, looks_on) {
        Ok(Ok(output)) => Ok(output),
        Ok(Err(error)) => Err(Failure::Broken(format!("mpfwd's end was missed: {error}"))),
        Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
            interrupts.signal(Signal::SIGKILL);
            Err(Failure::Broken(format!(
                "mpfwd had not ended after {} s, and was killed",
                limit.as_secs()
            )))
        }
    }
}

/// Waits for the end of the process, `limit` at most.
fn wait<T>(
    ended: &Receiver<T>,
    limit: Duration,
    looks_on: Option<OnLooker<'_>>,
) -> std::result::Result<T, RecvTimeoutError> {
    let Some(looks_on) = looks_on else { return ended.recv_timeout(limit) };
    let start = Instant::now();
    loop {
        let left = limit.saturating_sub(start.elapsed());
        match ended.recv_timeout(left.min(LOOK_EVERY)) {
            Err(RecvTimeoutError::Timeout) if left > LOOK_EVERY => looks_on(start.elapsed()),
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A shell in mpfwd's place.
    fn shell(script: &str, limit_ms: u64) -> std::result::Result<Output, Failure> {
        let interrupts = Interrupts { asked: Arc::default(), child: Arc::default() };
        run(
            Path::new("/bin/sh"),
            &["-c".into(), script.into()],
            Duration::from_millis(limit_ms),
            &interrupts,
            None,
        )
    }

    #[test]
    fn processes_end_or_are_ended() {
        assert!(shell("exit 3", 10_000).unwrap().status.code() == Some(3));
        let Err(Failure::Broken(why)) = shell("exec sleep 60", 50) else {
            panic!("it should have been killed")
        };
        assert!(why.contains("was killed"), "{why}");
    }

    #[test]
    fn a_round_says_what_mpfwd_said() {
        let interrupts = Interrupts { asked: Arc::default(), child: Arc::default() };
        let round = |script: &str| {
            round(
                Path::new("/bin/sh"),
                &["-c".into(), script.into()],
                Path::new("/nowhere.json"),
                Duration::ZERO,
                &interrupts,
            )
            .unwrap_err()
        };
        let refused =
            round("echo 'mpfwd: no ports: give EAL one' >&2; echo 'mpfwd: warning: x' >&2; exit 2");
        assert!(
            matches!(&refused, Failure::Refused(line) if line == "mpfwd: no ports: give EAL one"),
            "{refused:?}"
        );
        let broken = round("echo 'mpfwd: CONSERVATION BROKEN: see the report' >&2; exit 3");
        assert!(
            matches!(&broken, Failure::Broken(line) if line.contains("CONSERVATION")),
            "{broken:?}"
        );
        assert!(matches!(round("true"), Failure::Broken(line) if line.contains("/nowhere.json")));
        interrupts.asked.store(true, Ordering::Relaxed);
        assert!(matches!(round("true"), Failure::Interrupted));
    }

    #[test]
    fn who_looks_on_is_told_until_the_end() {
        let interrupts = Interrupts { asked: Arc::default(), child: Arc::default() };
        let mut told = Vec::new();
        let mut note = |elapsed: Duration| told.push(elapsed.as_secs());
        let sleep = ["-c".to_owned(), "exec sleep 2.5".to_owned()];
        run(Path::new("/bin/sh"), &sleep, Duration::from_secs(60), &interrupts, Some(&mut note))
            .unwrap();
        assert_eq!(told[..2], [1, 2]);
    }
}
