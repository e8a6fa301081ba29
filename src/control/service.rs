//! Notifications for systemd, where it started the process with Type=notify:
//! packets pass, lcores run, the run ends.

use std::time::{Duration, Instant};

use sd_notify::NotifyState;

use super::Control;
use super::signs::SignsOfLife;

/// Parts of the watchdog's time: it is fed once per part, and an lcore may be
/// silent for half of them.
const PARTS: u32 = 4;

/// The connection to the service manager. Without one nothing is sent.
pub(super) struct Service {
    watchdog: Option<Watchdog>,
    is_ready: bool,
    is_stopping: bool,
}

/// Fed while every lcore gives a sign of life. An lcore that has much to do, or
/// nothing, gives one; one whose thread has died, or that never comes back from
/// a packet, does not.
struct Watchdog {
    time: Duration,
    due: Instant,
    signs: SignsOfLife,
}

impl Service {
    pub(super) fn new(now: Instant) -> Self {
        let watchdog = |time| Watchdog { time, due: now, signs: SignsOfLife::default() };
        let watchdog = sd_notify::watchdog_enabled().map(watchdog);
        Self { watchdog, is_ready: false, is_stopping: false }
    }

    /// Tells what has changed, and feeds the watchdog.
    pub(super) fn tell(&mut self, control: &Control<'_>, now: Instant) {
        if !self.is_ready {
            self.is_ready = true;
            if self.watchdog.is_some() {
                control.run.meter();
            }
            notify(&[NotifyState::Ready, NotifyState::Status("forwarding")]);
        }
        if control.run.is_draining() && !self.is_stopping {
            self.is_stopping = true;
            notify(&[NotifyState::Stopping, NotifyState::Status("finishing received packets")]);
        }
        if let Some(watchdog) = &mut self.watchdog {
            let done = control.stats.iter().map(|lcore| lcore.activity_ticks.all());
            // Lcores that are done with their part do nothing any more.
            if watchdog.is_fed(done, now) || self.is_stopping && watchdog.is_due(now) {
                notify(&[NotifyState::Watchdog]);
            }
        }
    }
}

impl Watchdog {
    fn is_due(&self, now: Instant) -> bool {
        now >= self.due
    }

    /// Whether it is time to feed it, and no lcore has been silent for long.
    fn is_fed(&mut self, done: impl Iterator<Item = u64>, now: Instant) -> bool {
        if !self.is_due(now) {
            return false;
        }
        self.signs.look(done, now);
        if self.signs.silent(now, self.time / 2).next().is_some() {
            return false;
        }
        self.due = now + self.time / PARTS;
        true
    }
}

/// Errors are ignored: systemd ends a service that it does not hear of.
fn notify(states: &[NotifyState<'_>]) {
    let _ = sd_notify::notify(states);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watchdog_is_fed_while_no_lcore_is_silent_for_half_of_its_time() {
        let start = Instant::now();
        let time = Duration::from_secs(8);
        let mut watchdog = Watchdog { time, due: start, signs: SignsOfLife::default() };
        let mut fed = |seconds, done: [u64; 2]| {
            watchdog.is_fed(done.into_iter(), start + Duration::from_secs(seconds))
        };
        assert!(fed(0, [1, 1]));
        assert!(!fed(1, [2, 1]), "not so often");
        assert!(fed(2, [3, 1]), "not long");
        assert!(!fed(4, [4, 1]), "the second one has stood still for 4 s");
        assert!(fed(5, [5, 2]), "it is back");
        assert!(!fed(9, [9, 2]));
    }
}
