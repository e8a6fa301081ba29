use proptest::prelude::*;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::*;

/// Ticks per second of the time stamp counter, and from sample to sample.
const HZ: f64 = 2.6e9;
const EVERY: u64 = 260_000_000;

/// A clock whose rate wanders, read with what a bus and an operating system do
/// to readings.
struct Synthetic {
    random: SmallRng,
    ticks: u64,
    clock_start: u64,
    /// Units that have passed since.
    passed: f64,
    units_per_tick: f64,
    /// Of the rate, and by how much it may change from sample to sample, both
    /// as a share.
    drift: f64,
    wander: f64,
    width: u64,
}

proptest! {
    #[test]
    fn ages_are_what_conversions_say(
        clock in any::<u64>(), ticks in any::<u64>(), ticks_per_unit in 1u64 << 20..1 << 45, ago in -1_000_000..1i64 << 20, later in 0..1u64 << 30,
    ) {
        let conversion = Conversion { clock, ticks, ticks_per_unit };
        let stamp = clock.wrapping_sub_signed(ago * (1 << 32) / ticks_per_unit.cast_signed());
        let now = ticks.wrapping_add(later);
        let age = now.wrapping_sub(conversion.ticks(stamp)).cast_signed();
        prop_assert!((conversion.ages(now).of(stamp) >> 32).abs_diff(age) <= 1, "{}", age);
    }
}

impl Synthetic {
    fn new(seed: u64, units_per_second: f64, drift: f64, wander: f64, width: u64) -> Self {
        let mut random = SmallRng::seed_from_u64(seed);
        let (ticks, clock_start) =
            (random.random_range(1 << 40..1 << 55), random.random_range(1 << 40..1 << 61));
        Self {
            random,
            ticks,
            clock_start,
            passed: 0.0,
            units_per_tick: units_per_second / HZ,
            drift,
            wander,
            width,
        }
    }

    fn pass(&mut self, ticks: u64) {
        self.ticks += ticks;
        self.passed += ticks as f64 * self.units_per_tick * (1.0 + self.drift);
    }

    fn wander(&mut self) {
        self.drift += self.random.random_range(-1.0..=1.0) * self.wander;
    }

    fn now(&self) -> u64 {
        self.clock_start.wrapping_add_signed(self.passed.floor() as i64)
    }

    fn read(&mut self) -> Reading {
        let (before, after) =
            (self.random.random_range(1..=self.width), self.random.random_range(1..=self.width));
        let before_ticks = self.ticks;
        self.pass(before);
        let clock = self.now();
        self.pass(after);
        Reading { before_ticks, clock, after_ticks: self.ticks }
    }

    fn sample(&mut self) -> Sample {
        let readings: Vec<Reading> = (0..8).map(|_| self.read()).collect();
        Sample::narrowest(readings).unwrap()
    }
}

proptest! {
    #[test]
    fn stamps_between_samples_are_within_the_bound(
        seed in any::<u64>(), units_per_second in prop::sample::select(vec![1e9, 156.25e6, 1e8, 3.2e9]), ppm in -80.0..80.0f64, width in 30..3000u64,
        samples in 3..60usize,
    ) {
        let mut clock = Synthetic::new(seed, units_per_second, ppm * 1e-6, 1e-8, width);
        let mut model = ClockModel::default();
        let mut fit = None;
        for _ in 0..samples {
            let sample = clock.sample();
            fit = model.observe(sample).expect("it never steps");
            clock.pass(EVERY / 2);
            if let Some(Fit { conversion, error_ticks }) = fit {
                let off = conversion.ticks(clock.now()).abs_diff(clock.ticks);
                // One unit of the clock, which its own reading rounds down, may
                // be many ticks.
                let unit = (HZ / units_per_second).ceil() as u64;
                prop_assert!(off <= error_ticks + 2 * unit, "{} ticks off, {} promised", off, error_ticks);
            }
            clock.pass(EVERY / 2);
            clock.wander();
        }
        prop_assert!(fit.is_some());
    }

    #[test]
    fn steps_are_seen_and_slewing_is_none(seed in any::<u64>(), step_us in 1_000..10_000_000u64, back in any::<bool>(), slew_ppm in -500.0..500.0f64) {
        let mut clock = Synthetic::new(seed, 1e9, 1e-5, 0.0, 500);
        let mut model = ClockModel::default();
        for _ in 0..40 {
            model.observe(clock.sample()).expect("even");
            clock.pass(EVERY);
        }
        clock.drift += slew_ppm * 1e-6;
        for _ in 0..40 {
            model.observe(clock.sample()).expect("slewed, not stepped");
            clock.pass(EVERY);
        }
        let step = step_us as f64 * 1e3;
        clock.passed += if back { -step } else { step };
        let seen = model.observe(clock.sample()).expect_err("stepped").ahead_ticks;
        prop_assert_eq!(seen < 0, back);
        let wanted = step_us as f64 * HZ / 1e6;
        prop_assert!((seen.unsigned_abs() as f64 - wanted).abs() < 0.5 * wanted, "{} instead of {}", seen, wanted);
    }

    #[test]
    fn conversions_go_both_ways_from_their_start(clock in any::<u64>(), ticks in 1u64 << 50..1 << 60, past in -1_000_000_000_000i64..1_000_000_000_000) {
        let conversion = Conversion { clock, ticks, ticks_per_unit: (2.6 * 2f64.powi(32)) as u64 };
        let converted = conversion.ticks(clock.wrapping_add_signed(past)).wrapping_sub(ticks).cast_signed();
        prop_assert!((converted as f64 - 2.6 * past as f64).abs() < 1000.0);
    }
}

#[test]
fn a_clock_that_stands_still_is_a_step() {
    let mut clock = Synthetic::new(1, 1e9, 0.0, 0.0, 100);
    let mut model = ClockModel::default();
    for _ in 0..5 {
        model.observe(clock.sample()).unwrap();
        clock.pass(EVERY);
    }
    let mut frozen = clock.sample();
    model.observe(frozen).unwrap();
    frozen.ticks += EVERY;
    assert!(model.observe(frozen).unwrap_err().ahead_ticks < 0);
}

#[test]
fn interrupted_readings_do_not_count() {
    let reading = |width| Reading { before_ticks: 1000, clock: width, after_ticks: 1000 + width };
    assert_eq!(
        Sample::narrowest([90_000, 80, 4_000].map(reading)),
        Some(Sample { clock: 80, ticks: 1040, error_ticks: 41 })
    );
    assert_eq!(Sample::narrowest([]), None);
    let mut model = ClockModel::default();
    let wide = Sample { clock: 1, ticks: 1, error_ticks: ERROR_TICKS_MAX + 1 };
    assert_eq!(model.observe(wide), Ok(None));
    assert!(model.samples.is_empty());
}

#[test]
fn stamps_of_all_units_become_the_same_ticks() {
    let now = 1_700_000_000_123_456_789;
    let fit = Fit {
        conversion: Conversion {
            clock: now,
            ticks: 1 << 50,
            ticks_per_unit: (2.6 * 2f64.powi(32)) as u64,
        },
        error_ticks: 10,
    };
    // 5.5 ms later.
    let ticks = (1u64 << 50) + 14_300_000;
    let stamps = [
        (Unit::Nanoseconds, now + 5_500_000, 1),
        (Unit::Microseconds, (now + 5_500_000) / 1_000, 2_600),
        (Unit::SecondsNanoseconds, 1_700_000_000 << 32 | 128_956_789, 1),
    ];
    for (unit, stamp, coarse) in stamps {
        let fit = fit.for_stamps_in(unit);
        let off = ticks.wrapping_sub(fit.conversion.ticks(unit.even(stamp))).cast_signed();
        assert!((0..=coarse).contains(&off), "{unit:?}: {off} ticks off");
        assert!(fit.error_ticks >= 10 + coarse.unsigned_abs() - 1, "{unit:?}");
    }
    assert_eq!(Unit::Ticks.even(7), 7);
}
