//! The clocks of drivers' stamps: calibrated before a run, and followed during
//! it, because clocks drift, are slewed, and step.

use std::time::Duration;

use crate::config::{Plan, Stamping};
use crate::dpdk::{Port, StampClock};
use crate::stats::{ClockModel, Distrust, PortClock, Published, Sample, StampClocks, Step, Unit};
use mpfwd_common::error::{Error, Result};

/// Interval at which clocks are read. In between a clock drifts far less than a
/// microsecond.
pub const FOLLOW_EVERY: Duration = Duration::from_millis(100);

/// Samples before a run, and the time between two.
const FIRST_SAMPLES: usize = 4;
const FIRST_EVERY: Duration = Duration::from_millis(10);
/// Interrupted samples that may be discarded.
const FIRST_WIDE_MAX: usize = 20;

/// A clock counts as lost after so many failed samples in a row.
const FAILURES_MAX: u32 = 20;

/// The longest that a packet may have waited in a NIC's ring, in nanoseconds. A
/// virtual machine's start is within it.
const AGE_NS_MAX: u64 = 10_000_000_000;

/// A clock that may be the one of a port's stamps.
struct Followed {
    /// Index of the port, and of the clock among the port's candidates.
    at: (usize, usize),
    clock: StampClock,
    unit: Unit,
    model: ClockModel,
    failures: u32,
    /// The widest published error bound.
    error_ticks: u64,
}

/// All clocks in use. Empty if drivers' stamps are not used.
#[derive(Default)]
pub struct FollowedClocks(Vec<Followed>);

impl FollowedClocks {
    /// Calibrates the clocks of the plan. If a port's clock can't be read and
    /// `falls_back` is set, the plan is changed to stamps by polls.
    ///
    /// # Errors
    /// When a clock can't be read and `falls_back` is not set.
    pub fn calibrate(
        plan: &mut Plan,
        ports: &[Port],
        falls_back: bool,
        ticks: impl Fn(u64) -> u64,
    ) -> Result<(Self, StampClocks)> {
        let without = |falls_back| (Self::default(), StampClocks::new(Vec::new(), falls_back, 0));
        if plan.stamping != Stamping::Nic {
            return Ok(without(falls_back));
        }
        let (mut followed, mut clocks) = (Vec::new(), Vec::new());
        for (at, (port, plan)) in ports.iter().zip(&plan.ports).enumerate() {
            let mut candidates = Vec::new();
            for &(unit, clock) in &plan.info.stamp_clocks {
                let mut candidate = Followed::new((at, candidates.len()), clock, unit);
                let published = Published::default();
                port.start_clock(clock);
                if candidate.calibrate(&published, || port.sample_clock(clock), std::thread::sleep)
                {
                    candidates.push((unit, published));
                    followed.push(candidate);
                }
            }
            clocks.push(PortClock::new(port.id(), candidates));
        }
        if let Some(port) =
            clocks.iter().find(|port| port.candidates.is_empty()).map(|port| port.port)
        {
            let driver = plan
                .ports
                .iter()
                .find(|plan| plan.info.id == port)
                .map_or("", |plan| plan.info.driver.as_str());
            if !falls_back {
                return Err(Error::Setup(format!(
                    "--timestamps nic: port {port} ({driver}) stamps by a clock that can't be read: \
                     write --timestamps software"
                )));
            }
            plan.stamping = Stamping::Poll {
                why: Some(format!("the clock of port {port} ({driver}) can't be read")),
            };
            return Ok(without(falls_back));
        }
        Ok((Self(followed), StampClocks::new(clocks, falls_back, ticks(AGE_NS_MAX))))
    }

    /// Samples all clocks, publishes their models, and distrusts those that
    /// stepped or can't be read.
    pub fn follow(&mut self, ports: &[Port], clocks: &StampClocks) {
        // Nothing comes by a lost port any more: its clock has stopped, too.
        let read =
            |port: usize, clock| (!ports[port].is_lost()).then(|| ports[port].sample_clock(clock));
        self.follow_by(clocks, read);
    }

    /// As `follow`. `read` samples the clock of the port at an index, unless
    /// the port is lost.
    fn follow_by(
        &mut self,
        clocks: &StampClocks,
        mut read: impl FnMut(usize, StampClock) -> Option<Option<Sample>>,
    ) {
        for followed in &mut self.0 {
            let (port, candidate) = followed.at;
            let of = &clocks.ports()[port];
            let Some(sample) = read(port, followed.clock) else { continue };
            let Err(why) = followed.take(sample, &of.candidates[candidate].1) else { continue };
            if of.is_chosen(candidate) {
                clocks.distrust(of.port, why);
            } else {
                followed.model = ClockModel::default();
            }
        }
    }

    /// The widest error bound of the clocks that stamps turned out to be by, in
    /// ticks. `None` before the first stamp.
    pub fn error_ticks(&self, clocks: &StampClocks) -> Option<u64> {
        let chosen = |followed: &&Followed| clocks.ports()[followed.at.0].is_chosen(followed.at.1);
        self.0.iter().filter(chosen).map(|followed| followed.error_ticks).max()
    }
}

impl Followed {
    fn new(at: (usize, usize), clock: StampClock, unit: Unit) -> Self {
        Self { at, clock, unit, model: ClockModel::default(), failures: 0, error_ticks: 0 }
    }

    /// Whether the clock can be read, and goes on evenly.
    fn calibrate(
        &mut self,
        published: &Published,
        mut read: impl FnMut() -> Option<Sample>,
        pause: impl Fn(Duration),
    ) -> bool {
        let (mut good, mut wide) = (0, 0);
        while good < FIRST_SAMPLES {
            if good + wide > 0 {
                pause(FIRST_EVERY);
            }
            match read() {
                // A busy machine interrupts readings.
                Some(sample) if !sample.is_narrow() && wide < FIRST_WIDE_MAX => wide += 1,
                sample => {
                    if self.take(sample, published).is_err() || self.failures > 0 {
                        return false;
                    }
                    good += 1;
                }
            }
        }
        published.version() > 0
    }

    /// A sample of the clock, or none if it could not be read. Wide samples
    /// count as none, because they do not improve the model.
    fn take(
        &mut self,
        sample: Option<Sample>,
        published: &Published,
    ) -> std::result::Result<(), Distrust> {
        let Some(sample) = sample.filter(Sample::is_narrow) else {
            self.failures += 1;
            return if self.failures < FAILURES_MAX { Ok(()) } else { Err(Distrust::Unreadable) };
        };
        self.failures = 0;
        let known = self
            .model
            .observe(sample)
            .map_err(|Step { ahead_ticks }| Distrust::Stepped { ahead_ticks })?;
        if let Some(fit) = known {
            let fit = fit.for_stamps_in(self.unit);
            self.error_ticks = self.error_ticks.max(fit.error_ticks);
            published.publish(&fit);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::stats::{Stamps, Verdict};

    const HZ: u64 = 2_600_000_000;

    /// A clock in nanoseconds that a test sets, beside a time stamp counter
    /// that only goes on.
    struct Synthetic {
        ticks: Cell<u64>,
        ns: Cell<u64>,
        width_ticks: Cell<u64>,
    }

    impl Synthetic {
        fn pass(&self, ms: u64) {
            self.ticks.set(self.ticks.get() + HZ / 1_000 * ms);
            self.ns.set(self.ns.get() + 1_000_000 * ms);
        }

        fn sample(&self) -> Option<Sample> {
            Some(Sample {
                clock: self.ns.get(),
                ticks: self.ticks.get(),
                error_ticks: self.width_ticks.get(),
            })
        }
    }

    /// A clock that was followed for a while, whose first stamp was believed.
    fn followed(test: impl FnOnce(&Synthetic, &mut FollowedClocks, &StampClocks)) {
        let clock = Synthetic {
            ticks: Cell::new(1 << 50),
            ns: Cell::new(1 << 60),
            width_ticks: Cell::new(100),
        };
        let (mut candidate, published) =
            (Followed::new((0, 0), StampClock::Wall, Unit::Nanoseconds), Published::default());
        assert!(candidate.calibrate(
            &published,
            || clock.sample(),
            |pause| clock.pass(pause.as_millis() as u64)
        ));
        let clocks = StampClocks::new(
            vec![PortClock::new(7, vec![(Unit::Nanoseconds, published)])],
            true,
            10 * HZ,
        );
        let mut all = FollowedClocks(vec![candidate]);
        assert!(Stamps::new(&clocks, 0).look(clock.ns.get(), || clock.ticks.get()).is_ok());
        for _ in 0..20 {
            clock.pass(100);
            all.follow_by(&clocks, |_, _| Some(clock.sample()));
        }
        assert_eq!(
            (clocks.verdict(), clocks.why()),
            (Verdict::Believed, None),
            "it went on evenly"
        );
        test(&clock, &mut all, &clocks);
    }

    #[test]
    fn a_step_ends_latency_whatever_came_before() {
        for step_ns in [-3_000_000_000i64, 5_000_000] {
            followed(|clock, all, clocks| {
                clock.ns.set(clock.ns.get().wrapping_add_signed(step_ns));
                clock.pass(100);
                all.follow_by(clocks, |_, _| Some(clock.sample()));
                assert_eq!(
                    clocks.verdict(),
                    Verdict::Off,
                    "polls do not stand in for what was counted already"
                );
                let Some((7, Distrust::Stepped { ahead_ticks })) = clocks.why() else {
                    panic!("{:?}", clocks.why())
                };
                assert!(
                    (ahead_ticks / 26 - step_ns / 10).abs() < 1_000,
                    "{ahead_ticks} ticks for {step_ns} ns"
                );
                let mut stamps = Stamps::new(clocks, 0);
                assert_eq!(
                    stamps.look(clock.ns.get(), || clock.ticks.get()),
                    Err(Verdict::Off),
                    "for every lcore"
                );
            });
        }
    }

    #[test]
    fn a_clock_that_can_not_be_read_or_only_widely_is_lost() {
        for wide in [false, true] {
            followed(|clock, all, clocks| {
                let width_ticks = if wide { 1 << 19 } else { 100 };
                let read = |clock: &Synthetic| if wide { clock.sample() } else { None };
                for failure in 1..=FAILURES_MAX {
                    assert_eq!(clocks.verdict(), Verdict::Believed, "after {failure} failures");
                    clock.width_ticks.set(width_ticks);
                    clock.pass(100);
                    all.follow_by(clocks, |_, _| Some(read(clock)));
                }
                assert_eq!(
                    (clocks.verdict(), clocks.why()),
                    (Verdict::Off, Some((7, Distrust::Unreadable)))
                );
            });
        }
        followed(|clock, all, clocks| {
            for turn in 1..100 {
                clock.width_ticks.set(if turn % 10 == 0 { 100 } else { 1 << 19 });
                clock.pass(100);
                all.follow_by(clocks, |_, _| Some(clock.sample()));
            }
            assert_eq!(clocks.verdict(), Verdict::Believed, "now and then a good one will do");
        });
    }

    #[test]
    fn another_candidates_step_is_no_matter() {
        followed(|clock, all, clocks| {
            let other = StampClocks::new(
                vec![PortClock::new(7, vec![(Unit::Nanoseconds, Published::default())])],
                true,
                10 * HZ,
            );
            clock.ns.set(clock.ns.get() + 1_000_000_000);
            all.follow_by(&other, |_, _| Some(clock.sample()));
            assert_eq!(
                (other.verdict(), other.why(), clocks.why()),
                (Verdict::Open, None, None),
                "no stamp was of it"
            );
        });
    }
}
