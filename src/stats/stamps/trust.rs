//! Whether stamps are trusted. The first stamps decide. Later evidence against
//! them ends latency for the rest of the run: which of the figures were right
//! is unknown.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use super::{Fit, Published, Unit};

/// How far a stamp may lie ahead beyond the clock's error, in ticks: about ten
/// microseconds.
pub(super) const AHEAD_TICKS_MAX: u64 = 1 << 15;

/// Why stamps are not trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distrust {
    /// A packet has no stamp.
    Missing,
    /// The first one is older than a packet that was just received can be: from
    /// a capture, or of an unknown clock.
    Past { ticks: u64 },
    /// A stamp lies in the future.
    Future { ticks: u64 },
    /// A stamp is older than its predecessor in the same queue.
    Backwards { ticks: u64 },
    /// The clock stepped ahead, or back if negative.
    Stepped { ahead_ticks: i64 },
    /// The clock can no longer be read.
    Unreadable,
}

impl Distrust {
    /// The reason as a predicate of the port's name. `time` formats ticks.
    pub fn text(self, time: impl Fn(u64) -> String) -> String {
        match self {
            Self::Missing => "received a packet without a stamp".into(),
            Self::Past { ticks } => {
                format!(
                    "received a packet whose stamp lies {} in the past: of a capture, or of another clock",
                    time(ticks)
                )
            }
            Self::Future { ticks } => {
                format!("received a packet whose stamp lies {} in the future", time(ticks))
            }
            Self::Backwards { ticks } => {
                format!(
                    "received a packet whose stamp is {} older than that of the packet before it",
                    time(ticks)
                )
            }
            Self::Stepped { ahead_ticks } if ahead_ticks < 0 => {
                format!("has a clock that went back by {}", time(ahead_ticks.unsigned_abs()))
            }
            Self::Stepped { ahead_ticks } => {
                format!("has a clock that went ahead by {}", time(ahead_ticks.unsigned_abs()))
            }
            Self::Unreadable => "has a clock that can't be read any more".into(),
        }
    }
}

/// The state of trust in stamps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// No packet yet.
    Open,
    /// Latency is counted from them.
    Believed,
    /// The first stamps were bad, and none was counted: latency is counted from
    /// polls instead.
    Software,
    /// Latency is no longer counted.
    Off,
}

impl Verdict {
    const ALL: [Self; 4] = [Self::Open, Self::Believed, Self::Software, Self::Off];
}

/// A port's clock, or its candidates.
#[derive(Debug)]
pub struct PortClock {
    pub port: u16,
    pub candidates: Vec<(Unit, Published)>,
    /// Index of the candidate that the stamps were recognised to be of.
    /// `usize::MAX` before.
    chosen: AtomicUsize,
}

impl PortClock {
    /// Each candidate must have published.
    pub fn new(port: u16, candidates: Vec<(Unit, Published)>) -> Self {
        Self { port, candidates, chosen: AtomicUsize::new(usize::MAX) }
    }

    /// The stamps were recognised to be of this candidate.
    pub(super) fn choose(&self, candidate: usize) {
        self.chosen.store(candidate, Ordering::Relaxed);
    }

    /// Whether the stamps are of this candidate.
    pub fn is_chosen(&self, candidate: usize) -> bool {
        self.chosen.load(Ordering::Relaxed) == candidate
    }
}

/// All ports' clocks, and whether they are trusted. Read by all lcores, written
/// rarely.
#[derive(Debug)]
#[repr(align(128))]
pub struct StampClocks {
    verdict: AtomicU32,
    /// Whether polls may replace stamps.
    falls_back: bool,
    /// The largest age of a packet that was just received, in ticks.
    age_ticks_max: u64,
    ports: Vec<PortClock>,
    why: OnceLock<(u16, Distrust)>,
}

impl StampClocks {
    /// `falls_back`: if the first stamps are bad, latency is counted from
    /// polls. `age_ticks_max`: the longest wait in a NIC's ring, in ticks.
    pub fn new(ports: Vec<PortClock>, falls_back: bool, age_ticks_max: u64) -> Self {
        Self {
            verdict: AtomicU32::new(Verdict::Open as u32),
            falls_back,
            age_ticks_max,
            ports,
            why: OnceLock::new(),
        }
    }

    #[inline(always)]
    pub fn verdict(&self) -> Verdict {
        // Relaxed: no reader needs another of the writer's stores.
        Verdict::ALL[self.verdict.load(Ordering::Relaxed) as usize % Verdict::ALL.len()]
    }

    /// The first stamps are good. Returns the verdict, which another lcore may
    /// have decided otherwise.
    pub(super) fn believe(&self) -> Verdict {
        self.turn(Verdict::Open, Verdict::Believed);
        self.verdict()
    }

    /// Stamps of this port, or its clock, are wrong. The first caller's reason
    /// stays.
    #[cold]
    pub fn distrust(&self, port: u16, why: Distrust) {
        let without = if self.falls_back { Verdict::Software } else { Verdict::Off };
        if self.turn(Verdict::Open, without) || self.turn(Verdict::Believed, Verdict::Off) {
            let _ = self.why.set((port, why));
        }
    }

    fn turn(&self, from: Verdict, to: Verdict) -> bool {
        self.verdict
            .compare_exchange(from as u32, to as u32, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
    }

    /// The port that is not trusted, and why.
    pub fn why(&self) -> Option<(u16, Distrust)> {
        self.why.get().copied()
    }

    /// The largest age of a packet that was just received, in ticks.
    pub(super) fn age_ticks_max(&self) -> u64 {
        self.age_ticks_max
    }

    pub fn ports(&self) -> &[PortClock] {
        &self.ports
    }
}

/// The index of the clock that a stamp is of: the first by which it is neither
/// ahead of `now_ticks` nor older than `age_ticks_max`.
///
/// # Errors
/// It fits none. Says how far it misses the first.
pub(super) fn recognise(
    stamp: u64,
    now_ticks: u64,
    age_ticks_max: u64,
    clocks: impl IntoIterator<Item = (Unit, Fit)>,
) -> Result<usize, Distrust> {
    let mut first = None;
    for (at, (unit, fit)) in clocks.into_iter().enumerate() {
        let ticks = fit.conversion.ticks(unit.even(stamp));
        let age = now_ticks.wrapping_sub(ticks).cast_signed();
        let distrust = match u64::try_from(age) {
            Ok(age) if age <= age_ticks_max => return Ok(at),
            Ok(age) => Distrust::Past { ticks: age },
            Err(_) if age.unsigned_abs() <= fit.error_ticks + AHEAD_TICKS_MAX => return Ok(at),
            Err(_) => Distrust::Future { ticks: age.unsigned_abs() },
        };
        first.get_or_insert(distrust);
    }
    Err(first.unwrap_or(Distrust::Missing))
}
