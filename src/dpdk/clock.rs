//! The time stamp counter: reading it, measuring its rate, and turning its
//! ticks into nanoseconds and back.

use nix::time::{ClockId, clock_gettime};

use crate::stats::{Reading, Sample, TscRow};

/// The time stamp counter now, in ticks. Not serialising: the CPU may reorder
/// it with a few instructions around it.
#[inline(always)]
pub fn tsc() -> u64 {
    // SAFETY: RDTSC exists on every x86-64 CPU and touches no memory.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// Ticks of the time stamp counter per second, as determined by EAL or by
/// `RateMeter`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TscRate(u64);

impl TscRate {
    /// EAL must have started: callers get the rate from `Eal`.
    pub(super) fn from_eal() -> Self {
        // SAFETY: reads a variable that EAL's start has set.
        Self(unsafe { dpdk_sys::rte_get_tsc_hz() })
    }

    /// Ticks per second.
    pub fn hz(self) -> u64 {
        self.0
    }

    /// Nanoseconds to ticks, rounded down and saturating.
    pub fn ticks(self, ns: u64) -> u64 {
        u64::try_from(u128::from(ns) * u128::from(self.0) / 1_000_000_000).unwrap_or(u64::MAX)
    }

    /// Ticks to nanoseconds, rounded down.
    pub fn ns(self, ticks: u64) -> u64 {
        (u128::from(ticks) * 1_000_000_000 / u128::from(self.0)) as u64
    }
}

/// EAL rounds its rate to a multiple of this, in Hz: up to 0.2 % off.
const EAL_ROUNDS_TO_HZ: f64 = 1e7;

/// Readings per sample. The narrowest counts.
const READINGS: usize = 16;

/// Measures the rate against CLOCK_MONOTONIC_RAW, which the kernel does not
/// slew, since `start`.
pub struct RateMeter {
    eal: TscRate,
    start: Option<Sample>,
}

impl RateMeter {
    /// `eal`: EAL's rate, the fallback until a better one is measured.
    pub fn start(eal: TscRate) -> Self {
        Self { eal, start: sample() }
    }

    /// The rate, and how it was measured. More exact the longer the meter has
    /// run.
    pub fn rate(&self) -> (TscRate, TscRow) {
        let measured = self.start.zip(sample()).and_then(|(start, end)| between(start, end));
        let eal_error_ppm = EAL_ROUNDS_TO_HZ / 2.0 / self.eal.0 as f64 * 1e6;
        match measured.filter(|(_, error_ppm)| *error_ppm < eal_error_ppm) {
            Some((hz, error_ppm)) => (
                TscRate(hz.round() as u64),
                TscRow { hz: hz.round() as u64, error_ppm, by: "CLOCK_MONOTONIC_RAW" },
            ),
            None => (self.eal, TscRow { hz: self.eal.0, error_ppm: eal_error_ppm, by: "EAL" }),
        }
    }
}

/// Both clocks now. `None` if the kernel's can't be read.
fn sample() -> Option<Sample> {
    let reading = || {
        let before_ticks = tsc();
        let time = clock_gettime(ClockId::CLOCK_MONOTONIC_RAW).ok()?;
        Some(Reading {
            before_ticks,
            clock: time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64,
            after_ticks: tsc(),
        })
    };
    let readings: Option<Vec<Reading>> = (0..READINGS).map(|_| reading()).collect();
    Sample::narrowest(readings?)
}

/// The rate between two samples in Hz, and its error bound in ppm, which
/// follows from the samples' errors. `None` if no time lies between them.
fn between(start: Sample, end: Sample) -> Option<(f64, f64)> {
    let (ns, ticks) =
        (end.clock.checked_sub(start.clock)? as f64, end.ticks.checked_sub(start.ticks)? as f64);
    // Each reading is rounded down to a nanosecond.
    let error = (start.error_ticks + end.error_ticks) as f64 / ticks + 1.0 / ns;
    (ns > 0.0 && ticks > 0.0).then_some((ticks / ns * 1e9, error * 1e6))
}

/// Spins until `ticks` have passed. Two readings of the clock that are further
/// apart than `gap_ticks` are a gap: the CPU was taken away in between.
#[inline]
pub fn busy_wait(ticks: u64, gap_ticks: u64, mut gap: impl FnMut(u64)) {
    let start = tsc();
    let mut last = start;
    loop {
        let now = tsc();
        if now.wrapping_sub(last) > gap_ticks {
            gap(now.wrapping_sub(last));
        }
        if now.wrapping_sub(start) >= ticks {
            return;
        }
        last = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_lies_within_the_error_that_is_stated() {
        let sample = |clock, ticks| Sample { clock, ticks, error_ticks: 130 };
        let (hz, error_ppm) =
            between(sample(1_000, 1 << 40), sample(1_000_001_000, (1 << 40) + 2_594_996_000))
                .unwrap();
        assert!(
            (hz - 2_594_996_000.0).abs() < 1.0 && (0.1..0.11).contains(&error_ppm),
            "{hz} {error_ppm}"
        );
        assert_eq!(between(sample(5, 5), sample(5, 5)), None, "no time has passed");
        assert_eq!(between(sample(5, 5), sample(4, 9)), None);
    }

    #[test]
    fn the_longer_it_is_measured_the_better_it_is_known() {
        let meter = RateMeter::start(TscRate(2_600_000_000));
        let errors = [1, 50].map(|ms| {
            std::thread::sleep(std::time::Duration::from_millis(ms));
            meter.rate().1
        });
        assert!(
            errors[1].by == "CLOCK_MONOTONIC_RAW" && errors[1].error_ppm < 1_000.0,
            "{errors:?}"
        );
        assert!(errors[1].error_ppm < errors[0].error_ppm, "{errors:?}");
    }
}
