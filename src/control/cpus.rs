//! The CPUs that lcores may use, while they run: another program, or a
//! container's cpuset, may take them away.

use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_getaffinity};

use crate::stats::RunDelay;
use mpfwd_common::output::warn;

/// Interval between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Watches the CPUs of each lcore's thread.
pub struct CpuWatch {
    /// By lcore, as last seen; `None` before the lcore has started.
    seen: Vec<Option<CpuSet>>,
    due: Instant,
}

impl CpuWatch {
    pub(super) fn new(lcores: usize, now: Instant) -> Self {
        Self { seen: vec![None; lcores], due: now }
    }

    /// Warns about each lcore whose CPUs are others than before.
    pub(super) fn look(&mut self, now: Instant, lcore_ids: &[u32], lcores: &[RunDelay]) {
        if now < self.due {
            return;
        }
        self.due = now + LOOK_EVERY;
        for ((seen, lcore), id) in self.seen.iter_mut().zip(lcores).zip(lcore_ids) {
            let Some(cpus) = lcore.thread().and_then(|thread| sched_getaffinity(thread).ok())
            else {
                continue;
            };
            if let Some(before) = seen.replace(cpus).filter(|before| *before != cpus) {
                warn(format_args!(
                    "lcore {id} may use CPUs {} now, before {}: its cpuset or affinity was changed",
                    text(&cpus),
                    text(&before)
                ));
            }
        }
    }
}

fn text(cpus: &CpuSet) -> String {
    let is_set = |&cpu: &usize| cpus.is_set(cpu).unwrap_or(false);
    let cpus: Vec<u32> = (0..CpuSet::count()).filter(is_set).map(|cpu| cpu as u32).collect();
    mpfwd_common::text::ranges(&cpus)
}
