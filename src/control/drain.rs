//! Draining before the end of a run: the API says at once that the run is not
//! ready, so that senders go elsewhere, and forwarding goes on until hardly
//! anything arrives any more.

use std::time::{Duration, Instant};

/// A rate counts as low once it has been low for so long.
pub const QUIET_FOR: Duration = Duration::from_secs(1);
/// Interval at which the rate is measured.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The rate below which nobody sends any more: ARP, neighbour discovery and
/// routing protocols go on.
pub const BELOW_PPS: u64 = 100;

/// How a run is to be drained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrainFor {
    /// The longest that forwarding goes on.
    pub time: Duration,
    /// The rate of received packets at which it ends earlier.
    pub below_pps: u64,
}

/// A run that is being drained.
#[derive(Debug)]
pub struct Drain {
    limits: DrainFor,
    start: Instant,
    looked_at: Instant,
    received_pkts: u64,
    quiet_since: Option<Instant>,
}

/// Why forwarding ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    Quiet,
    TimeOver,
}

impl Drain {
    /// `received_pkts`: packets received until `now`.
    pub fn new(limits: DrainFor, now: Instant, received_pkts: u64) -> Self {
        Self { limits, start: now, looked_at: now, received_pkts, quiet_since: None }
    }

    pub fn limits(&self) -> DrainFor {
        self.limits
    }

    /// Whether forwarding ends `now`, and why.
    pub fn look(&mut self, now: Instant, received_pkts: impl FnOnce() -> u64) -> Option<Drained> {
        if now.duration_since(self.start) >= self.limits.time {
            return Some(Drained::TimeOver);
        }
        let interval = now.duration_since(self.looked_at);
        if interval < LOOK_EVERY {
            return None;
        }
        let received_pkts = received_pkts();
        let pps = (received_pkts - self.received_pkts) as f64 / interval.as_secs_f64();
        let quiet_since = (pps < self.limits.below_pps as f64)
            .then(|| self.quiet_since.unwrap_or(self.looked_at));
        (self.looked_at, self.received_pkts, self.quiet_since) = (now, received_pkts, quiet_since);
        quiet_since.filter(|&since| now.duration_since(since) >= QUIET_FOR).map(|_| Drained::Quiet)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When forwarding ends, in milliseconds, and why. `pps_at`: the rate from
    /// each of these times on.
    fn drained(pps_at: &[(u64, u64)]) -> (u64, Drained) {
        let (start, limits) =
            (Instant::now(), DrainFor { time: Duration::from_secs(5), below_pps: 100 });
        let mut drain = Drain::new(limits, start, 7_000);
        let mut received_pkts = 7_000;
        for ms in (20..).step_by(20) {
            let rate = pps_at.iter().rev().find(|(from, _)| *from < ms).map_or(0, |(_, pps)| *pps);
            received_pkts += rate / 50;
            if let Some(why) = drain.look(start + Duration::from_millis(ms), || received_pkts) {
                return (ms, why);
            }
        }
        unreachable!("the time is over at some time")
    }

    #[test]
    fn it_ends_when_little_has_arrived_for_a_while_or_the_time_is_over() {
        for (pps_at, ended) in [
            (&[(0, 0)][..], (1_000, Drained::Quiet)),
            (&[(0, 50)], (1_000, Drained::Quiet)),
            (&[(0, 1_000_000)], (5_000, Drained::TimeOver)),
            (&[(0, 1_000_000), (2_000, 50)], (3_000, Drained::Quiet)),
            (&[(0, 0), (900, 5_000), (1_000, 0)], (2_000, Drained::Quiet)),
            (&[(0, 500), (4_100, 0)], (5_000, Drained::TimeOver)),
        ] {
            assert_eq!(drained(pps_at), ended, "{pps_at:?}");
        }
    }
}
