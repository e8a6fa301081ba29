//! How packets arrive at a receive queue, as polls can tell: a poll that empties
//! the queue has seen every arrival before it. Between two of these the number of
//! arrivals is exact, however late they were polled.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

use super::Counter;

/// Windows are at least so long, in ticks: about one and thirteen milliseconds.
const WINDOWS_TICKS: [u64; 2] = [1 << 21, 1 << 25];

/// A queue's windows that are not over. The holder of its lease reads and
/// writes; the lease orders that.
#[derive(Debug, Default)]
pub struct ArrivalWindows([Window; 2]);

#[derive(Debug, Default)]
struct Window {
    /// When the poll began that emptied the queue; 0 before the first one.
    began_ticks: AtomicU64,
    /// Packets since then.
    pkts: AtomicU64,
}

impl ArrivalWindows {
    /// At this time the shorter window can end.
    #[inline]
    pub fn due_ticks(&self) -> u64 {
        self.0[0].began_ticks.load(Ordering::Relaxed).wrapping_add(WINDOWS_TICKS[0])
    }

    /// So many packets were polled.
    #[inline]
    pub fn add(&self, pkts: u64) {
        for window in &self.0 {
            let before = window.pkts.load(Ordering::Relaxed);
            window.pkts.store(before.wrapping_add(pkts), Ordering::Relaxed);
        }
    }

    /// A poll that began at `now` has emptied the queue. Counts into `counts`,
    /// which the caller owns, the windows that are long enough, and begins them
    /// anew.
    pub fn emptied(&self, now: u64, counts: &ArrivalCounts) {
        for ((window, ticks_min), counts) in self.0.iter().zip(WINDOWS_TICKS).zip(&counts.0) {
            let began = window.began_ticks.load(Ordering::Relaxed);
            let ticks = now.saturating_sub(began);
            if ticks < ticks_min {
                continue;
            }
            if began != 0 {
                counts.count(window.pkts.load(Ordering::Relaxed), ticks);
            }
            window.began_ticks.store(now, Ordering::Relaxed);
            window.pkts.store(0, Ordering::Relaxed);
        }
    }
}

/// The windows of one queue that one lcore has ended, by their least length.
#[derive(Debug, Default)]
pub struct ArrivalCounts([WindowCounts; 2]);

#[derive(Debug, Default)]
struct WindowCounts {
    windows: Counter,
    pkts: Counter,
    ticks: Counter,
    /// The sum of pkts^2 / ticks, a double.
    squares: AtomicU64,
}

impl WindowCounts {
    fn count(&self, pkts: u64, ticks: u64) {
        self.windows.add(1);
        self.pkts.add(pkts);
        self.ticks.add(ticks);
        let sum = self.squares() + (pkts as f64).powi(2) / ticks as f64;
        self.squares.store(sum.to_bits(), Ordering::Relaxed);
    }

    fn squares(&self) -> f64 {
        f64::from_bits(self.squares.load(Ordering::Relaxed))
    }
}

/// Arrivals at one queue, in windows of some length.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ArrivalRow {
    /// Windows that were counted.
    pub windows: u64,
    /// Their mean length.
    pub window_ns: u64,
    /// Packets per second in them.
    pub pps: f64,
    /// Index of dispersion: the variance of a window's count over its mean. 1 for
    /// Poisson arrivals. None with less than two windows, or no packets.
    pub dispersion: Option<f64>,
}

impl ArrivalRow {
    /// Sums what the lcores have counted. A row for each length. `to_ns` converts
    /// ticks.
    ///
    /// Windows differ in length. With the rate r the sum of (pkts - r ticks)^2 /
    /// (r ticks) is that of pkts^2 / ticks, divided by r, less all packets.
    pub fn of<'c>(
        lcores: impl Iterator<Item = &'c ArrivalCounts> + Clone,
        to_ns: impl Fn(u64) -> u64,
    ) -> Vec<Self> {
        let row = |at: usize| {
            let sum = |count: fn(&WindowCounts) -> u64| -> u64 {
                lcores.clone().map(|counts| count(&counts.0[at])).sum()
            };
            let windows = sum(|counts| counts.windows.get());
            let (pkts, ticks) = (sum(|counts| counts.pkts.get()), sum(|of| of.ticks.get()));
            let squares: f64 = lcores.clone().map(|counts| counts.0[at].squares()).sum();
            let ns = to_ns(ticks);
            let known = windows > 1 && pkts > 0;
            let excess = squares * ticks as f64 / pkts as f64 - pkts as f64;
            Self {
                windows,
                window_ns: ns.checked_div(windows).unwrap_or(0),
                pps: if ns > 0 { pkts as f64 * 1e9 / ns as f64 } else { 0.0 },
                dispersion: known.then(|| excess.max(0.0) / (windows - 1) as f64),
            }
        };
        (0..WINDOWS_TICKS.len()).map(row).collect()
    }
}

#[cfg(test)]
mod tests {
    use mpfwd_common::traffic::{Arrivals, Generator, Stream};

    use super::*;

    /// Polls that empty the queue every `poll_ticks`, in turn by two lcores.
    fn rows(arrivals: Arrivals, poll_ticks: u64) -> Vec<ArrivalRow> {
        let mut generator = Generator::new(&Stream {
            arrivals,
            pps: 1e6,
            flows: 1,
            costs: None,
            seed: 7,
            cost_seed: 7,
            queue: 0,
            queues: 1,
            ticks_per_second: 2_600_000_000,
        });
        let (windows, lcores) =
            (ArrivalWindows::default(), [(); 2].map(|()| ArrivalCounts::default()));
        for poll in 1..=2_600_000_000 / poll_ticks {
            let now = poll * poll_ticks;
            let mut pkts = 0;
            while generator.next_ticks() <= now {
                generator.draw();
                pkts += 1;
            }
            windows.add(pkts);
            if now >= windows.due_ticks() {
                windows.emptied(now, &lcores[poll as usize % 2]);
            }
        }
        ArrivalRow::of(lcores.iter(), |ticks| ticks * 10 / 26)
    }

    #[test]
    fn poisson_arrivals_have_a_dispersion_of_one_however_polls_lie() {
        for poll_ticks in [2_000, 700_000, 5_000_000] {
            let row = rows(Arrivals::Poisson, poll_ticks)[0];
            assert!(row.windows > 400 && row.pps > 0.99e6 && row.pps < 1.01e6, "{row:?}");
            assert!((row.dispersion.unwrap() - 1.0).abs() < 0.15, "{row:?}");
        }
        let fixed = rows(Arrivals::Fixed, 2_000)[0];
        assert!(fixed.dispersion.unwrap() < 0.1, "{fixed:?}");
    }

    #[test]
    fn bursts_show_at_the_length_of_their_period() {
        let rows = rows(Arrivals::OnOff { on_ns: 5_000_000, off_ns: 5_000_000 }, 2_000);
        let [short, long] = [rows[0], rows[1]].map(|row| row.dispersion.unwrap());
        assert!(short > 300.0 && long > 300.0, "{rows:?}");
    }

    #[test]
    fn without_windows_nothing_is_said() {
        let row = ArrivalRow::of([ArrivalCounts::default()].iter(), |ticks| ticks)[0];
        assert_eq!((row.windows, row.pps, row.dispersion), (0, 0.0, None));
    }
}
