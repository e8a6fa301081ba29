//! SIGHUP and requests read files again, on a thread of its own: a large file
//! takes seconds.

use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use hyper::StatusCode;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use signal_hook::consts::SIGHUP;
use signal_hook::iterator::{Handle, Signals as SignalQueue};

use super::Signals;
use super::api::{Answer, Call};
use crate::stats::Reloads;
use mpfwd_common::error::{Error, Result};
use mpfwd_common::output::{say, warn};

/// Interval at which the thread tries to free replaced contents.
const SWEEP_EVERY: Duration = Duration::from_millis(20);

/// Contents of a file that a run can read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reloaded {
    Routes,
    Rules,
}

impl Reloaded {
    /// As in requests and arguments.
    pub fn name(self) -> &'static str {
        match self {
            Self::Routes => "routes",
            Self::Rules => "rules",
        }
    }
}

/// A file that a run can read again.
pub trait Reload: Send + Sync {
    /// What the file has.
    fn what(&self) -> Reloaded;

    /// Reads the file. Lcores use its contents from their next burst on.
    /// Returns a line about them.
    ///
    /// # Errors
    /// The file has a mistake. The old contents stay in force.
    fn reload(&self) -> Result<String>;

    /// Frees contents that no lcore uses any more. Returns whether some are
    /// left.
    fn sweep(&self) -> bool;
}

/// Waits for SIGHUP, and for requests, which come with one.
pub struct Hangups {
    queue: SignalQueue,
    /// Counted the signals that came before the queue was made.
    signals: Signals,
    requests: Receiver<Call>,
    to_requests: Sender<Call>,
}

/// Passes requests to the thread that reads files.
#[derive(Clone)]
pub struct Reader {
    requests: Sender<Call>,
    /// What there is to read.
    pub(super) what: Option<Reloaded>,
}

impl Reader {
    /// Has the file read. The call is answered then.
    pub(super) fn read(&self, call: Call) {
        if self.requests.send(call).is_ok() {
            // Wakes the thread up. This process has a handler for it.
            let _ = kill(Pid::this(), Signal::SIGHUP);
        }
    }
}

impl Hangups {
    /// # Errors
    /// When the kernel refuses a handler.
    pub fn catch(signals: &Signals) -> Result<Self> {
        let queue = SignalQueue::new([SIGHUP])
            .map_err(|error| Error::Setup(format!("no handler for SIGHUP: {error}")))?;
        let (to_requests, requests) = mpsc::channel();
        Ok(Self { queue, signals: signals.clone(), requests, to_requests })
    }

    /// Closing the handle ends `serve`.
    pub fn handle(&self) -> Handle {
        self.queue.handle()
    }

    /// For requests to read `what` again.
    pub fn reader(&self, what: Option<Reloaded>) -> Reader {
        Reader { requests: self.to_requests.clone(), what }
    }

    /// Reads again at each SIGHUP, on these CPUs, until the handle is closed. A
    /// SIGHUP from before counts, too: the file may have been read already.
    /// Returns the number of attempts, or `None` if there is no file to read.
    pub fn serve(mut self, what: Option<&dyn Reload>, cpus: &CpuSet) -> Option<Reloads> {
        // This thread inherits the main lcore's pinning.
        let _ = sched_setaffinity(Pid::from_raw(0), cpus);
        let mut reloads = Reloads::default();
        let handle = self.handle();
        let early = self.signals.hangup_requested().then_some(SIGHUP);
        for _ in early.into_iter().chain(&mut self.queue) {
            self.signals.hangup_requested();
            let Some(what) = what else {
                say("SIGHUP: no file to read again: there is neither --routes nor --rules");
                continue;
            };
            // All that were asked for before it is read.
            let calls: Vec<Call> = self.requests.try_iter().collect();
            let answer = match what.reload() {
                Ok(now) => {
                    reloads.done += 1;
                    say(format_args!("reload: {now}"));
                    Answer::json(StatusCode::OK, &json!({ "is": now }))
                }
                Err(error) => {
                    reloads.refused += 1;
                    let text = error.to_string();
                    text.lines().for_each(|line| warn(format_args!("reload: {line}")));
                    warn("reload: the old contents stay in force");
                    let first = text.lines().next().unwrap_or_default();
                    Answer::error(StatusCode::UNPROCESSABLE_ENTITY, first)
                }
            };
            calls.into_iter().for_each(|call| call.reply(answer.clone()));
            while what.sweep() && !handle.is_closed() {
                std::thread::sleep(SWEEP_EVERY);
            }
        }
        what.map(|_| reloads)
    }
}
