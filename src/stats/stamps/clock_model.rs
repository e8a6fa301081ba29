//! From a clock that stamps packets to the time stamp counter: rate and offset
//! from pairs of readings, their error bound, and steps of the clock. Pure: the
//! caller reads the clocks.

use std::collections::VecDeque;
use std::fmt;

/// The unit of a stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Ticks of unknown length, which is measured.
    Ticks,
    Nanoseconds,
    Microseconds,
    /// Seconds in the upper half, nanoseconds in the lower one (hns3).
    SecondsNanoseconds,
}

impl Unit {
    /// The stamp as a linear count. Only one unit needs converting.
    #[inline(always)]
    pub fn even(self, stamp: u64) -> u64 {
        match self {
            Self::SecondsNanoseconds => {
                (stamp >> 32) * 1_000_000_000 + (stamp & u64::from(u32::MAX))
            }
            Self::Ticks | Self::Nanoseconds | Self::Microseconds => stamp,
        }
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ticks => "ticks of the device",
            Self::Nanoseconds | Self::SecondsNanoseconds => "nanoseconds",
            Self::Microseconds => "microseconds",
        })
    }
}

/// A reading of a clock between two readings of the time stamp counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    pub before_ticks: u64,
    /// In ticks if the clock counts those, else in nanoseconds.
    pub clock: u64,
    pub after_ticks: u64,
}

/// Both clocks at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    pub clock: u64,
    pub ticks: u64,
    /// The largest distance of that moment from `ticks`.
    pub error_ticks: u64,
}

impl Sample {
    /// The narrowest of some readings: wider ones were interrupted, or waited
    /// for the bus. `None` without readings.
    pub fn narrowest(readings: impl IntoIterator<Item = Reading>) -> Option<Self> {
        let width = |reading: &Reading| reading.after_ticks.wrapping_sub(reading.before_ticks);
        let best = readings.into_iter().min_by_key(width)?;
        let half = width(&best) / 2;
        Some(Self {
            clock: best.clock,
            ticks: best.before_ticks.wrapping_add(half),
            error_ticks: half + 1,
        })
    }

    /// Whether it is usable. A wide one tells as little as a clock that could
    /// not be read.
    pub fn is_narrow(&self) -> bool {
        self.error_ticks <= ERROR_TICKS_MAX
    }
}

/// Converts a clock's readings to ticks. Valid for some time after the sample
/// that it starts from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Conversion {
    /// Both clocks, at one moment.
    pub clock: u64,
    pub ticks: u64,
    /// Ticks per unit of the clock, fixed-point with 32 fractional bits.
    pub ticks_per_unit: u64,
}

impl Conversion {
    /// The time stamp counter when the clock shows `clock`, which may lie
    /// before or after the start.
    #[inline(always)]
    pub fn ticks(self, clock: u64) -> u64 {
        let since = clock.wrapping_sub(self.clock).cast_signed();
        let ticks = (i128::from(since) * i128::from(self.ticks_per_unit.cast_signed())) >> 32;
        self.ticks.wrapping_add_signed(ticks as i64)
    }

    /// Computes the age of readings at `now_ticks`.
    #[inline(always)]
    pub fn ages(self, now_ticks: u64) -> Ages {
        let since_start = now_ticks.wrapping_sub(self.ticks) << 32;
        Ages {
            of_zero: since_start.wrapping_add(self.clock.wrapping_mul(self.ticks_per_unit)),
            ticks_per_unit: self.ticks_per_unit,
        }
    }
}

/// The ages of many readings of a clock at one moment: a multiplication and a
/// subtraction each. Exact modulo 2^64, hence correct for ages below 2^31
/// ticks.
#[derive(Clone, Copy, Debug)]
pub struct Ages {
    of_zero: u64,
    ticks_per_unit: u64,
}

impl Ages {
    /// In ticks, with 32 fractional bits. Negative where the clock is ahead.
    #[inline(always)]
    pub fn of(self, clock: u64) -> i64 {
        self.of_zero.wrapping_sub(clock.wrapping_mul(self.ticks_per_unit)).cast_signed()
    }
}

/// A conversion, and its largest error until the next sample.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fit {
    pub conversion: Conversion,
    pub error_ticks: u64,
}

impl Fit {
    /// Converts a fit over nanoseconds to one over microseconds, where stamps
    /// count those. They are rounded down, so they may be one too early.
    #[must_use]
    pub fn for_stamps_in(self, unit: Unit) -> Self {
        if unit != Unit::Microseconds {
            return self;
        }
        let Conversion { clock, ticks_per_unit, .. } = self.conversion;
        let microsecond = ticks_per_unit * 1_000;
        let conversion = Conversion {
            clock: clock / 1_000,
            ticks: self.conversion.ticks(clock - clock % 1_000),
            ticks_per_unit: microsecond,
        };
        Self { conversion, error_ticks: self.error_ticks + (microsecond >> 32) }
    }
}

/// A step of the clock: by so many ticks it is ahead of the fit, or behind if
/// negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    pub ahead_ticks: i64,
}

/// Samples in the fit. Few enough to lie on a line while the clock is slewed.
const WINDOW: usize = 32;

/// The largest rate of a slew: twice the limit of adjtime(3) and NTP (500 ppm).
const SLEW_MAX: f64 = 1e-3;

/// Wider samples are ignored. In ticks: some hundred microseconds.
const ERROR_TICKS_MAX: u64 = 1 << 18;

/// Follows a clock: a straight line through its last samples, by least squares.
#[derive(Clone, Debug, Default)]
pub struct ClockModel {
    samples: VecDeque<Sample>,
    fit: Option<Fit>,
}

impl ClockModel {
    /// Adds a sample and returns the fit: none before the second sample, and
    /// the old one after a wide sample.
    ///
    /// # Errors
    /// The clock stepped, stands still or goes backwards. The old fit is void.
    pub fn observe(&mut self, sample: Sample) -> Result<Option<Fit>, Step> {
        if !sample.is_narrow() {
            return Ok(self.fit);
        }
        if let (Some(fit), Some(last)) = (self.fit, self.samples.back()) {
            let ahead_ticks =
                fit.conversion.ticks(sample.clock).wrapping_sub(sample.ticks).cast_signed();
            let slewed = SLEW_MAX * sample.ticks.wrapping_sub(last.ticks) as f64;
            if ahead_ticks.unsigned_abs() > fit.error_ticks + sample.error_ticks + slewed as u64 {
                return Err(Step { ahead_ticks });
            }
        }
        if self.samples.len() == WINDOW {
            self.samples.pop_front();
        }
        self.samples.push_back(sample);
        if let Some(line) = Line::through(&self.samples) {
            self.fit = Some(line.fit(&self.samples));
        }
        Ok(self.fit)
    }
}

/// Ticks over the clock, both counted from the newest sample.
struct Line {
    ticks_at_newest: f64,
    ticks_per_unit: f64,
}

impl Line {
    /// Least squares, each sample weighted by the inverse square of its error.
    /// `None` while samples are too few or too close.
    fn through(samples: &VecDeque<Sample>) -> Option<Self> {
        let newest = samples.back()?;
        let (mut sum, mut sum_x, mut sum_y) = (0.0, 0.0, 0.0);
        for (x, y, weight) in samples.iter().map(|sample| from(newest, sample)) {
            (sum, sum_x, sum_y) = (sum + weight, sum_x + weight * x, sum_y + weight * y);
        }
        let (mean_x, mean_y) = (sum_x / sum, sum_y / sum);
        let (mut xx, mut xy) = (0.0, 0.0);
        for (x, y, weight) in samples.iter().map(|sample| from(newest, sample)) {
            xx += weight * (x - mean_x) * (x - mean_x);
            xy += weight * (x - mean_x) * (y - mean_y);
        }
        let ticks_per_unit = xy / xx;
        let usable =
            ticks_per_unit.is_finite() && ticks_per_unit > 0.0 && ticks_per_unit < 2f64.powi(31);
        usable.then_some(Self { ticks_at_newest: mean_y - ticks_per_unit * mean_x, ticks_per_unit })
    }

    /// The error bound: the largest distance of a sample, plus the drift until
    /// the next sample, taken to be as far away as the last. The rate may be
    /// off by what the samples' errors allow over their span.
    fn fit(&self, samples: &VecDeque<Sample>) -> Fit {
        let (newest, oldest) = (samples[samples.len() - 1], samples[0]);
        let off = |sample: &Sample| {
            let (x, y, _) = from(&newest, sample);
            (y - self.ticks_at_newest - self.ticks_per_unit * x).abs() + sample.error_ticks as f64
        };
        let worst = samples.iter().map(off).fold(0.0, f64::max);
        let span = newest.ticks.wrapping_sub(oldest.ticks) as f64;
        let gap = newest.ticks.wrapping_sub(samples[samples.len() - 2].ticks) as f64;
        let conversion = Conversion {
            clock: newest.clock,
            ticks: newest.ticks.wrapping_add_signed(self.ticks_at_newest.round() as i64),
            ticks_per_unit: (self.ticks_per_unit * 2f64.powi(32)) as u64,
        };
        Fit { conversion, error_ticks: (worst + 2.0 * worst / span * gap).ceil() as u64 }
    }
}

/// The distance of a sample from the newest on both clocks, and its weight.
fn from(newest: &Sample, sample: &Sample) -> (f64, f64, f64) {
    let x = sample.clock.wrapping_sub(newest.clock).cast_signed() as f64;
    let y = sample.ticks.wrapping_sub(newest.ticks).cast_signed() as f64;
    (x, y, (sample.error_ticks as f64).powi(-2))
}

#[cfg(all(test, not(loom)))]
mod tests;
