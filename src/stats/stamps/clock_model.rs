//! From a clock that stamps packets to the time stamp counter: what pairs of
//! readings tell of its rate and offset, how far off that may be, and when the
//! clock has stepped. Pure: who reads clocks is elsewhere.

use std::collections::VecDeque;

/// What the number in a stamp counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Ticks of whatever length: what they last is measured.
    Ticks,
    Nanoseconds,
    Microseconds,
    /// Seconds in the upper half, nanoseconds in the lower one (hns3).
    SecondsNanoseconds,
}

impl Unit {
    /// The stamp as a count that grows evenly: all but one kind does by itself.
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

/// A clock that was read between two readings of the time stamp counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    pub before_ticks: u64,
    /// Ticks if it counts those, else nanoseconds.
    pub clock: u64,
    pub after_ticks: u64,
}

/// What both clocks showed at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    pub clock: u64,
    pub ticks: u64,
    /// The moment lay no further from `ticks` than this.
    pub error_ticks: u64,
}

impl Sample {
    /// The narrowest of some readings: wider ones were interrupted, or waited
    /// for the bus. `None` of none.
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

    /// Whether it tells anything: whatever interrupted a wide one, it says as
    /// little as a clock that could not be read.
    pub fn is_narrow(&self) -> bool {
        self.error_ticks <= ERROR_TICKS_MAX
    }
}

/// Turns a clock's readings into ticks. Good for some time after the sample
/// that it starts from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Conversion {
    /// Both clocks, at one moment.
    pub clock: u64,
    pub ticks: u64,
    /// Ticks per unit of the clock, as a fixed-point number of 32 bits behind
    /// the point.
    pub ticks_per_unit: u64,
}

impl Conversion {
    /// What the time stamp counter shows when the clock shows `clock`, before
    /// or after the start.
    #[inline(always)]
    pub fn ticks(self, clock: u64) -> u64 {
        let since = clock.wrapping_sub(self.clock).cast_signed();
        let ticks = (i128::from(since) * i128::from(self.ticks_per_unit.cast_signed())) >> 32;
        self.ticks.wrapping_add_signed(ticks as i64)
    }

    /// What tells how old readings of the clock are at `now_ticks`.
    #[inline(always)]
    pub fn ages(self, now_ticks: u64) -> Ages {
        let since_start = now_ticks.wrapping_sub(self.ticks) << 32;
        Ages {
            of_zero: since_start.wrapping_add(self.clock.wrapping_mul(self.ticks_per_unit)),
            ticks_per_unit: self.ticks_per_unit,
        }
    }
}

/// How long ago a clock showed something, for many readings of it at one
/// moment: a multiplication and a subtraction each. Exact modulo 2^64, hence
/// right for ages of less than 2^31 ticks.
#[derive(Clone, Copy, Debug)]
pub struct Ages {
    of_zero: u64,
    ticks_per_unit: u64,
}

impl Ages {
    /// In ticks with 32 bits behind the point; negative where the clock is
    /// ahead.
    #[inline(always)]
    pub fn of(self, clock: u64) -> i64 {
        self.of_zero.wrapping_sub(clock.wrapping_mul(self.ticks_per_unit)).cast_signed()
    }
}

/// A conversion, and how far off it may be until the next sample.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fit {
    pub conversion: Conversion,
    pub error_ticks: u64,
}

impl Fit {
    /// A fit over nanoseconds as one over microseconds, where stamps count
    /// those: as these are rounded down, they may be one too early.
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

/// The clock does not go on where it was: by so many ticks it is ahead of where
/// it should be, or behind if negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    pub ahead_ticks: i64,
}

/// Samples that the fit rests on. Few enough for them to lie on a line while
/// the clock is being slewed.
const WINDOW: usize = 32;

/// How fast a clock that is being slewed may gain or lose: twice what
/// adjtime(3) and NTP do at most (500 ppm).
const SLEW_MAX: f64 = 1e-3;

/// A wider sample tells too little: it is left out. In ticks: some hundred
/// microseconds.
const ERROR_TICKS_MAX: u64 = 1 << 18;

/// Follows a clock by samples: a straight line through the last ones, by least
/// squares.
#[derive(Clone, Debug, Default)]
pub struct ClockModel {
    samples: VecDeque<Sample>,
    fit: Option<Fit>,
}

impl ClockModel {
    /// Takes the next sample, and returns what is known then: nothing before
    /// the second one, and nothing new by a wide one.
    ///
    /// # Errors
    /// When the clock has stepped, stands still or goes backwards. What was
    /// known before holds no longer.
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
    /// `None` while samples are too few or too near.
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

    /// The bound: no sample lies further off, and until the next sample, as far
    /// away as the last gap, the rate may be off by what the samples' errors
    /// allow over the time that they span.
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

/// How far a sample lies from the newest on both clocks, and its weight.
fn from(newest: &Sample, sample: &Sample) -> (f64, f64, f64) {
    let x = sample.clock.wrapping_sub(newest.clock).cast_signed() as f64;
    let y = sample.ticks.wrapping_sub(newest.ticks).cast_signed() as f64;
    (x, y, (sample.error_ticks as f64).powi(-2))
}

#[cfg(all(test, not(loom)))]
mod tests;
