//! SIGHUP: has files read again, on a thread that does nothing else, because a
//! large one takes seconds.

use std::time::Duration;

use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use signal_hook::consts::SIGHUP;
use signal_hook::iterator::{Handle, Signals};

use crate::stats::Reloads;
use mpfwd_common::error::{Error, Result};
use mpfwd_common::output::{say, warn};

/// How often it is looked whether what was replaced can be freed.
const SWEEP_EVERY: Duration = Duration::from_millis(20);

/// What a run can read again.
pub trait Reload: Send + Sync {
    /// Reads it, and has all lcores go by it from their next burst on. Returns
    /// what it is now, for people.
    ///
    /// # Errors
    /// What is wrong with it; what was there before stays.
    fn reload(&self) -> Result<String>;

    /// Frees what no lcore goes by any more. Returns whether some of it is
    /// left.
    fn sweep(&self) -> bool;
}

/// Waits for SIGHUP. From when it is made the signal no longer ends the
/// process.
pub struct Hangups(Signals);

impl Hangups {
    /// # Errors
    /// When the kernel refuses a handler.
    pub fn catch() -> Result<Self> {
        Signals::new([SIGHUP])
            .map(Self)
            .map_err(|error| Error::Setup(format!("no handler for SIGHUP: {error}")))
    }

    /// What ends `serve`.
    pub fn handle(&self) -> Handle {
        self.0.handle()
    }

    /// Reads again at each SIGHUP, on these CPUs, until its handle is closed.
    /// Returns what came of it; nothing where nothing is to be read.
    pub fn serve(mut self, what: Option<&dyn Reload>, cpus: &CpuSet) -> Option<Reloads> {
        // EAL has pinned the thread that made this one.
        let _ = sched_setaffinity(Pid::from_raw(0), cpus);
        let mut reloads = Reloads::default();
        let handle = self.handle();
        for _ in &mut self.0 {
            let Some(what) = what else {
                say(
                    "SIGHUP: there is no file that could be read again: only --routes and --rules are",
                );
                continue;
            };
            match what.reload() {
                Ok(now) => {
                    reloads.done += 1;
                    say(format_args!("SIGHUP: {now}"));
                }
                Err(error) => {
                    reloads.refused += 1;
                    warn(format_args!("SIGHUP: {error}; what was read before stays"));
                }
            }
            while what.sweep() && !handle.is_closed() {
                std::thread::sleep(SWEEP_EVERY);
            }
        }
        what.map(|_| reloads)
    }
}
