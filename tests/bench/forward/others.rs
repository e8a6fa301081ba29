//! CPU time of processes other than this one and its children. It slows a
//! forwarder on two CPUs more than one on a single CPU, so windows beside a
//! build are void.

use std::fs;
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;

use crate::process::{self, Failure};

/// Share of one CPU that others may use during a window: about the kernel's own
/// work.
const QUIET: f64 = 0.08;
const GLANCE: Duration = Duration::from_millis(250);
/// Length of a look at the others: short, but long enough for a clock that
/// counts in hundredths of a second.
const QUIET_AT_A_GLANCE: f64 = 0.2;
/// Longer than a build takes.
const PATIENCE: Duration = Duration::from_secs(300);
/// Linux reports CPU times to user space in this unit, whatever its own tick.
const TICK: Duration = Duration::from_millis(10);

/// CPU times at one moment.
pub struct Others {
    at: Instant,
    everybody: Duration,
    ours: Duration,
}

impl Others {
    pub fn now() -> Others {
        Others { at: Instant::now(), everybody: everybody(), ours: ours() }
    }

    /// Whether others used almost no CPU time since. Children count as this
    /// process's only once they have ended.
    pub fn were_quiet(&self) -> bool {
        self.share() < QUIET
    }

    /// Share of one CPU.
    fn share(&self) -> f64 {
        let others = everybody()
            .saturating_sub(self.everybody)
            .saturating_sub(ours().saturating_sub(self.ours));
        others.as_secs_f64() / self.at.elapsed().as_secs_f64()
    }
}

/// Returns when others are quiet.
pub fn wait_for_quiet() -> Result<(), Failure> {
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        let before = Others::now();
        process::sleep(GLANCE)?;
        if before.share() < QUIET_AT_A_GLANCE {
            return Ok(());
        }
    }
    Err(Failure::Busy(PATIENCE.as_secs()))
}

/// User and system time of all CPUs. `None` if /proc does not have them.
fn everybody() -> Duration {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let ticks = stat.lines().next().unwrap_or_default().split_whitespace().skip(1).take(3);
    TICK * ticks.filter_map(|ticks| ticks.parse::<u32>().ok()).sum()
}

fn ours() -> Duration {
    let duration = |time: TimeVal| {
        Duration::from_micros(
            u64::try_from(time.tv_sec() * 1_000_000 + time.tv_usec()).unwrap_or(0),
        )
    };
    let used = |who| {
        getrusage(who).map_or(Duration::ZERO, |usage| {
            duration(usage.user_time()) + duration(usage.system_time())
        })
    };
    used(UsageWho::RUSAGE_SELF) + used(UsageWho::RUSAGE_CHILDREN)
}
