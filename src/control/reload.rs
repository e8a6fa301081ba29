//! SIGHUP reads files again, on a thread of its own: a large file takes
//! seconds.

use std::time::Duration;

use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use signal_hook::consts::SIGHUP;
use signal_hook::iterator::{Handle, Signals as SignalQueue};

use super::Signals;
use crate::stats::Reloads;
use mpfwd_common::error::{Error, Result};
use mpfwd_common::output::{say, warn};

/// Interval at which the thread tries to free replaced contents.
const SWEEP_EVERY: Duration = Duration::from_millis(20);

/// A file that a run can read again.
pub trait Reload: Send + Sync {
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

/// Waits for SIGHUP.
pub struct Hangups {
    queue: SignalQueue,
    /// Counted the signals that came before the queue was made.
    signals: Signals,
}

impl Hangups {
    /// # Errors
    /// When the kernel refuses a handler.
    pub fn catch(signals: &Signals) -> Result<Self> {
        let queue = SignalQueue::new([SIGHUP])
            .map_err(|error| Error::Setup(format!("no handler for SIGHUP: {error}")))?;
        Ok(Self { queue, signals: signals.clone() })
    }

    /// Closing the handle ends `serve`.
    pub fn handle(&self) -> Handle {
        self.queue.handle()
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
            match what.reload() {
                Ok(now) => {
                    reloads.done += 1;
                    say(format_args!("SIGHUP: {now}"));
                }
                Err(error) => {
                    reloads.refused += 1;
                    error.to_string().lines().for_each(|line| warn(format_args!("SIGHUP: {line}")));
                    warn("SIGHUP: the old contents stay in force");
                }
            }
            while what.sweep() && !handle.is_closed() {
                std::thread::sleep(SWEEP_EVERY);
            }
        }
        what.map(|_| reloads)
    }
}
