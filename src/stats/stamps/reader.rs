//! One lcore's use of a port's clock: it recognises the clock by the first
//! stamp, and checks the stamps of each burst.

use super::trust::{AHEAD_TICKS_MAX, recognise};
use super::{
    BurstClock, Distrust, Fit, PortClock, Published, StampClocks, StampSpan, Unit, Verdict,
};

/// How far a queue's stamps may go back, in ticks: drivers with several rings
/// behind one queue swap neighbours.
const BACK_TICKS_MAX: u64 = 1 << 21;

/// One lcore's use of a port's clock.
#[derive(Debug)]
pub struct Stamps<'a> {
    clocks: &'a StampClocks,
    of: &'a PortClock,
    /// The clock that the stamps are of, once recognised.
    chosen: Option<&'a (Unit, Published)>,
    version: u64,
    fit: Fit,
}

impl<'a> Stamps<'a> {
    /// For the port at index `at`.
    pub fn new(clocks: &'a StampClocks, at: usize) -> Self {
        Self { clocks, of: &clocks.ports()[at], chosen: None, version: 0, fit: Fit::default() }
    }

    pub fn port(&self) -> u16 {
        self.of.port
    }

    /// Prepares `clock` for a burst whose first packet has this stamp.
    /// `now_ticks` is called only where the time is needed.
    ///
    /// # Errors
    /// Stamps are not trusted: the verdict that holds instead.
    #[inline(always)]
    pub fn look(
        &mut self,
        first_stamp: u64,
        now_ticks: impl FnOnce() -> u64,
    ) -> Result<(), Verdict> {
        let verdict = self.clocks.verdict();
        let Some((_, published)) = self.chosen.filter(|_| verdict == Verdict::Believed) else {
            return self.choose(first_stamp, now_ticks());
        };
        if published.version() != self.version {
            (self.version, self.fit) = published.read();
        }
        Ok(())
    }

    /// The clock of the stamps, as `look` prepared it.
    #[inline(always)]
    pub fn clock(&self) -> BurstClock {
        BurstClock {
            unit: self.chosen.map_or(Unit::Ticks, |chosen| chosen.0),
            conversion: self.fit.conversion,
        }
    }

    #[cold]
    fn choose(&mut self, first_stamp: u64, now_ticks: u64) -> Result<(), Verdict> {
        if !matches!(self.clocks.verdict(), Verdict::Open | Verdict::Believed) {
            return Err(self.clocks.verdict());
        }
        let candidates =
            self.of.candidates.iter().map(|(unit, published)| (*unit, published.read().1));
        match recognise(first_stamp, now_ticks, self.clocks.age_ticks_max(), candidates) {
            Ok(at) => {
                let chosen = &self.of.candidates[at];
                self.of.choose(at);
                self.chosen = Some(chosen);
                (self.version, self.fit) = chosen.1.read();
                match self.clocks.believe() {
                    Verdict::Believed => Ok(()),
                    other => Err(other),
                }
            }
            Err(why) => Err(self.distrust(why)),
        }
    }

    /// Stamps of this port are wrong. Returns the verdict.
    #[cold]
    pub fn distrust(&self, why: Distrust) -> Verdict {
        self.clocks.distrust(self.of.port, why);
        self.clocks.verdict()
    }

    /// Checks the order of a queue's burst, in ticks. No stamp may be older
    /// than `before`, the last of the burst before (0: unknown), or than the
    /// first; none later than the last, or ahead of `now_ticks`, which was read
    /// before or during the poll. `recheck` reads the clock again.
    ///
    /// # Errors
    /// A stamp is out of order by more than drivers and the clock explain.
    #[inline(always)]
    pub fn check(
        &self,
        before: u64,
        span: StampSpan,
        now_ticks: u64,
        recheck: impl FnOnce() -> u64,
    ) -> Result<(), Distrust> {
        let StampSpan { first, last, earliest, latest } = span;
        let before = if before == 0 || first.wrapping_sub(before).cast_signed() > 0 {
            first
        } else {
            before
        };
        let back = before
            .wrapping_sub(earliest)
            .cast_signed()
            .max(latest.wrapping_sub(last).cast_signed());
        let ahead = latest.wrapping_sub(now_ticks).cast_signed();
        if back > BACK_TICKS_MAX.cast_signed() {
            return Err(Distrust::Backwards { ticks: back.unsigned_abs() });
        }
        if ahead > AHEAD_TICKS_MAX.cast_signed() {
            self.check_ahead(latest.wrapping_sub(recheck()).cast_signed())
        } else {
            Ok(())
        }
    }

    #[cold]
    fn check_ahead(&self, ahead: i64) -> Result<(), Distrust> {
        let ticks = ahead.max(0).unsigned_abs();
        if ticks > self.fit.error_ticks + AHEAD_TICKS_MAX {
            Err(Distrust::Future { ticks })
        } else {
            Ok(())
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use proptest::prelude::*;

    use super::super::Conversion;
    use super::*;

    const NOW: u64 = 1 << 52;
    const SECOND: u64 = 2_600_000_000;

    /// Two and a half ticks per unit; at `NOW` the clock shows `clock`.
    fn fit(clock: u64) -> Fit {
        Fit {
            conversion: Conversion { clock, ticks: NOW, ticks_per_unit: 5 << 31 },
            error_ticks: 100,
        }
    }

    fn clocks(falls_back: bool) -> StampClocks {
        let candidates = vec![(Unit::Nanoseconds, Published::default())];
        candidates[0].1.publish(&fit(1_000_000_000));
        StampClocks::new(vec![PortClock::new(3, candidates)], falls_back, 10 * SECOND)
    }

    proptest! {
        #[test]
        fn stamps_of_just_now_are_recognised(clock in 1u64 << 40..1 << 60, age_ns in 0..3_900_000_000u64) {
            prop_assert_eq!(recognise(clock - age_ns, NOW, 10 * SECOND, [(Unit::Nanoseconds, fit(clock))]), Ok(0));
            // By another clock they are years away.
            let other = fit(clock ^ 1 << 61);
            prop_assert_eq!(recognise(clock - age_ns, NOW, 10 * SECOND, [(Unit::Ticks, other), (Unit::Nanoseconds, fit(clock))]), Ok(1));
            prop_assert!(recognise(clock - age_ns, NOW, 10 * SECOND, [(Unit::Ticks, other)]).is_err());
        }

        #[test]
        fn captures_and_the_future_are_not(clock in 1u64 << 60..1 << 61, off_ns in 11_000_000_000..1_000_000_000_000_000u64) {
            let recognise = |stamp| recognise(stamp, NOW, 10 * SECOND, [(Unit::Nanoseconds, fit(clock))]);
            let seen = recognise(clock - off_ns);
            let is_right = matches!(seen, Err(Distrust::Past { ticks }) if ticks.abs_diff(off_ns / 2 * 5) < 10);
            prop_assert!(is_right, "{:?}", seen);
            let seen = recognise(clock + off_ns);
            let is_right = matches!(seen, Err(Distrust::Future { ticks }) if ticks.abs_diff(off_ns / 2 * 5) < 10);
            prop_assert!(is_right, "{:?}", seen);
        }
    }

    #[test]
    fn the_first_stamps_decide_and_later_ones_end_it() {
        for falls_back in [false, true] {
            let without = if falls_back { Verdict::Software } else { Verdict::Off };
            let late = clocks(falls_back);
            let mut stamps = Stamps::new(&late, 0);
            assert_eq!(
                stamps
                    .look(1_000_000_000, || NOW)
                    .map(|()| stamps.clock())
                    .unwrap()
                    .ticks(1_000_000_000),
                NOW
            );
            assert_eq!(late.verdict(), Verdict::Believed);
            assert_eq!(stamps.distrust(Distrust::Backwards { ticks: 9 }), Verdict::Off);
            assert_eq!(stamps.look(1_000_000_000, || NOW).unwrap_err(), Verdict::Off);
            late.distrust(0, Distrust::Missing);
            assert_eq!(
                late.why(),
                Some((3, Distrust::Backwards { ticks: 9 })),
                "the first reason stays"
            );

            let early = clocks(falls_back);
            let mut stamps = Stamps::new(&early, 0);
            assert_eq!(stamps.look(1_000_000_000, || NOW + 60 * SECOND).unwrap_err(), without);
            assert_eq!(early.why(), Some((3, Distrust::Past { ticks: 60 * SECOND })));
            assert_eq!(stamps.look(1_000_000_000, || NOW).unwrap_err(), without, "for good");
        }
    }

    #[test]
    fn a_new_conversion_is_used_from_the_next_burst_on() {
        let clocks = clocks(false);
        let mut stamps = Stamps::new(&clocks, 0);
        stamps.look(1_000_000_000, || NOW).unwrap();
        clocks.ports()[0].candidates[0].1.publish(&fit(1_000_000_400));
        assert_eq!(
            stamps
                .look(1_000_000_000, || NOW)
                .map(|()| stamps.clock())
                .unwrap()
                .ticks(1_000_000_400),
            NOW
        );
    }

    #[test]
    fn bursts_have_to_be_in_order() {
        let clocks = clocks(false);
        let mut stamps = Stamps::new(&clocks, 0);
        stamps.look(1_000_000_000, || NOW).unwrap();
        let of = |before, ticks: &[u64]| {
            stamps.check(before, BurstClock::TICKS.span(ticks), NOW, || NOW + 1000)
        };
        let check = |before, first, last| of(before, &[first, last]);
        assert_eq!(check(0, NOW - 50, NOW - 10), Ok(()), "the first burst");
        assert_eq!(check(NOW - 60, NOW - 50, NOW - 10), Ok(()));
        assert_eq!(
            check(NOW - 40, NOW - 50, NOW + 900),
            Ok(()),
            "a little back, and arrived during the poll"
        );
        let back = NOW - BACK_TICKS_MAX - 100;
        assert_eq!(
            check(NOW - 40, back, NOW),
            Err(Distrust::Backwards { ticks: BACK_TICKS_MAX + 60 })
        );
        assert_eq!(
            check(0, NOW - 40, back),
            Err(Distrust::Backwards { ticks: BACK_TICKS_MAX + 60 }),
            "within the burst"
        );
        assert_eq!(
            check(NOW, NOW, NOW + AHEAD_TICKS_MAX + 1101),
            Err(Distrust::Future { ticks: AHEAD_TICKS_MAX + 101 })
        );
        for at in 1..39 {
            let mut burst: Vec<u64> = (0..40).map(|packet| NOW - 400 + packet).collect();
            assert_eq!(of(NOW - 500, &burst), Ok(()));
            burst[at] = back - 1000;
            assert!(
                matches!(of(NOW - 500, &burst), Err(Distrust::Backwards { .. })),
                "in the middle, at {at}"
            );
            burst[at] = NOW + BACK_TICKS_MAX + 100;
            assert!(
                matches!(of(0, &burst), Err(Distrust::Backwards { .. })),
                "what follows is older, at {at}"
            );
            burst[at] = NOW + AHEAD_TICKS_MAX + 1101;
            assert_eq!(
                of(0, &burst),
                Err(Distrust::Future { ticks: AHEAD_TICKS_MAX + 101 }),
                "at {at}"
            );
        }
    }

    #[test]
    fn reasons_name_times() {
        let text = |why: Distrust| why.text(|ticks| format!("{ticks} ticks"));
        assert!(text(Distrust::Past { ticks: 1_500 }).contains("1500 ticks in the past"));
        assert!(text(Distrust::Stepped { ahead_ticks: -7 }).contains("went back by 7 ticks"));
    }
}
