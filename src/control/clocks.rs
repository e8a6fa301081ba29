//! The clocks of drivers' stamps: calibrated before a run, and followed while it lasts, because clocks drift, are slewed, and step.

use std::time::Duration;

use crate::config::{Plan, Stamping};
use crate::dpdk::{Port, StampClock};
use crate::error::{Error, Result};
use crate::stats::{ClockModel, Distrust, PortClock, Published, StampClocks, Step, Unit};

/// How often clocks are read: what a clock drifts meanwhile is far below a microsecond.
pub const FOLLOW_EVERY: Duration = Duration::from_millis(100);

/// Samples before a run, and the time between two.
const FIRST_SAMPLES: usize = 4;
const FIRST_EVERY: Duration = Duration::from_millis(10);

/// After so many samples that failed in a row the clock counts as lost.
const FAILURES_MAX: u32 = 20;

/// A packet may have waited in a NIC's ring for so long, in nanoseconds: also while a virtual machine is set up.
const AGE_NS_MAX: u64 = 10_000_000_000;

/// One of the clocks that a port's stamps may be of.
struct Followed {
    /// Its port's place, and its own among the port's.
    at: (usize, usize),
    clock: StampClock,
    unit: Unit,
    model: ClockModel,
    failures: u32,
    /// The widest bound that was published.
    error_ticks: u64,
}

/// All of them. Empty where drivers' stamps do not count.
#[derive(Default)]
pub struct FollowedClocks(Vec<Followed>);

impl FollowedClocks {
    /// Calibrates what the plan needs. Where a port's clock can't be read, `falls_back` has polls stand in for stamps, and the plan changed.
    ///
    /// # Errors
    /// When a clock can't be read, and `falls_back` is false.
    pub fn calibrate(plan: &mut Plan, ports: &[Port], falls_back: bool, ticks: impl Fn(u64) -> u64) -> Result<(Self, StampClocks)> {
        let without = |falls_back| (Self::default(), StampClocks::new(Vec::new(), falls_back, 0));
        if plan.stamping != Stamping::Nic {
            return Ok(without(falls_back));
        }
        let (mut followed, mut clocks) = (Vec::new(), Vec::new());
        for (at, (port, plan)) in ports.iter().zip(&plan.ports).enumerate() {
            let mut candidates = Vec::new();
            for &(unit, clock) in &plan.info.stamp_clocks {
                let mut candidate =
                    Followed { at: (at, candidates.len()), clock, unit, model: ClockModel::default(), failures: 0, error_ticks: 0 };
                let published = Published::default();
                if candidate.calibrate(port, &published) {
                    candidates.push((unit, published));
                    followed.push(candidate);
                }
            }
            clocks.push(PortClock::new(port.id(), candidates));
        }
        if let Some(port) = clocks.iter().find(|port| port.candidates.is_empty()).map(|port| port.port) {
            let driver = plan.ports.iter().find(|plan| plan.info.id == port).map_or("", |plan| plan.info.driver.as_str());
            if !falls_back {
                return Err(Error::Setup(format!(
                    "--timestamps nic: the clock of port {port} ({driver}) can't be read, without which its stamps mean nothing: \
                     write --timestamps software"
                )));
            }
            plan.stamping = Stamping::Poll { why: Some(format!("the clock of port {port} ({driver}) can't be read")) };
            return Ok(without(falls_back));
        }
        Ok((Self(followed), StampClocks::new(clocks, falls_back, ticks(AGE_NS_MAX))))
    }

    /// Reads all clocks once more, publishes what is known now, and says which can't be believed any more.
    pub fn follow(&mut self, ports: &[Port], clocks: &StampClocks) {
        for followed in &mut self.0 {
            let (port, candidate) = followed.at;
            let of = &clocks.ports()[port];
            let Err(why) = followed.sample(&ports[port], &of.candidates[candidate].1) else { continue };
            if of.is_chosen(candidate) {
                clocks.distrust(of.port, why);
            } else {
                followed.model = ClockModel::default();
            }
        }
    }

    /// The widest error bound of the clocks that stamps turned out to be of, in ticks; `None` before any were seen.
    pub fn error_ticks(&self, clocks: &StampClocks) -> Option<u64> {
        let chosen = |followed: &&Followed| clocks.ports()[followed.at.0].is_chosen(followed.at.1);
        self.0.iter().filter(chosen).map(|followed| followed.error_ticks).max()
    }
}

impl Followed {
    /// Whether the clock can be read, and goes on evenly.
    fn calibrate(&mut self, port: &Port, published: &Published) -> bool {
        port.start_clock(self.clock);
        for sample in 0..FIRST_SAMPLES {
            if sample > 0 {
                std::thread::sleep(FIRST_EVERY);
            }
            if self.sample(port, published).is_err() || self.failures > 0 {
                return false;
            }
        }
        published.version() > 0
    }

    fn sample(&mut self, port: &Port, published: &Published) -> std::result::Result<(), Distrust> {
        let Some(sample) = port.sample_clock(self.clock) else {
            self.failures += 1;
            return if self.failures < FAILURES_MAX { Ok(()) } else { Err(Distrust::Unreadable) };
        };
        self.failures = 0;
        let known = self.model.observe(sample).map_err(|Step { ahead_ticks }| Distrust::Stepped { ahead_ticks })?;
        if let Some(fit) = known {
            let fit = fit.for_stamps_in(self.unit);
            self.error_ticks = self.error_ticks.max(fit.error_ticks);
            published.publish(&fit);
        }
        Ok(())
    }
}
