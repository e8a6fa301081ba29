//! Host gaps: times in which a CPU was taken away from its lcore.

use super::agenda::NEVER;

/// A gap: when it began, and how long it was, in ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// When it began, from the start of the recording.
    pub start_ticks: u64,
    /// Its length.
    pub ticks: u64,
}

/// The gaps of a recorded run, replayed again and again. An lcore gets those of
/// the recording's CPU of its number, round the end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recording {
    /// By CPU, in order, without overlaps, within `period_ticks`.
    pub cpus: Vec<Vec<Gap>>,
    /// The recording's length.
    pub period_ticks: u64,
}

impl Recording {
    /// # Errors
    /// Gaps out of order, overlapping or beyond the recording, in words.
    pub fn check(&self) -> Result<(), String> {
        if self.period_ticks == 0 && !self.cpus.is_empty() {
            return Err("the recording of host gaps has no length".into());
        }
        for (cpu, gaps) in self.cpus.iter().enumerate() {
            let mut end_ticks = 0;
            for gap in gaps {
                let end = gap.start_ticks.saturating_add(gap.ticks);
                if gap.start_ticks < end_ticks || end > self.period_ticks {
                    return Err(format!(
                        "the host gaps of CPU {cpu} overlap, or lie outside the recording"
                    ));
                }
                end_ticks = end;
            }
        }
        Ok(())
    }

    pub(super) fn of_lcore(&self, lcore: usize) -> Replay<'_> {
        let gaps: &[Gap] =
            if self.cpus.is_empty() { &[] } else { &self.cpus[lcore % self.cpus.len()] };
        // Lcores of one CPU's recording do not stop together.
        let round = lcore.checked_div(self.cpus.len()).unwrap_or(0) as u64;
        let shift = round.wrapping_mul(0x9e37_79b9_7f4a_7c15) % self.period_ticks.max(1);
        let mut replay = Replay {
            gaps,
            period_ticks: self.period_ticks,
            next: 0,
            offset: 0,
            start_ticks: NEVER,
            end_ticks: NEVER,
        };
        if shift > 0 && !gaps.is_empty() {
            let at = gaps.partition_point(|gap| gap.start_ticks < shift);
            (replay.next, replay.offset) = (at, 0u64.wrapping_sub(shift));
        }
        replay.advance();
        replay
    }
}

/// One lcore's gaps, in order.
#[derive(Clone, Debug)]
pub(super) struct Replay<'a> {
    gaps: &'a [Gap],
    period_ticks: u64,
    next: usize,
    /// Start of the present round of the recording; wraps.
    offset: u64,
    /// The present gap, or the next one.
    start_ticks: u64,
    end_ticks: u64,
}

impl Replay<'_> {
    fn advance(&mut self) {
        if self.gaps.is_empty() {
            return;
        }
        if self.next == self.gaps.len() {
            (self.next, self.offset) = (0, self.offset.wrapping_add(self.period_ticks));
        }
        let gap = self.gaps[self.next];
        self.start_ticks = self.offset.wrapping_add(gap.start_ticks);
        self.end_ticks = self.start_ticks + gap.ticks;
        self.next += 1;
    }

    /// When work of `ticks` ends that begins at `now`.
    #[inline]
    pub(super) fn end_of(&mut self, now: u64, ticks: u64) -> u64 {
        let mut end = now + ticks;
        while self.start_ticks < end || self.start_ticks == now {
            end += self.end_ticks.saturating_sub(self.start_ticks.max(now));
            self.advance();
        }
        end
    }

    /// The first moment from `at` on at which the lcore runs. It has no work
    /// before.
    #[inline]
    pub(super) fn runs_at(&mut self, at: u64) -> u64 {
        while self.end_ticks <= at && self.start_ticks != NEVER {
            self.advance();
        }
        if self.start_ticks <= at { self.end_ticks } else { at }
    }

    /// When an lcore without work ran last, at `now`.
    #[inline]
    pub(super) fn ran_at(&mut self, now: u64) -> u64 {
        while self.end_ticks <= now && self.start_ticks != NEVER {
            self.advance();
        }
        self.start_ticks.min(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recording() -> Recording {
        let gap = |start_ticks, ticks| Gap { start_ticks, ticks };
        Recording { cpus: vec![vec![gap(100, 10), gap(200, 50)], vec![]], period_ticks: 1_000 }
    }

    #[test]
    fn work_takes_longer_by_the_gaps_in_it() {
        let all = recording();
        let mut gaps = all.of_lcore(0);
        assert_eq!(gaps.end_of(0, 50), 50);
        assert_eq!(gaps.end_of(50, 120), 180);
        assert_eq!(gaps.end_of(220, 10), 260, "it begins within a gap");
        assert_eq!(gaps.end_of(1_090, 20), 1_120, "the recording begins anew");
        assert_eq!(all.of_lcore(1).end_of(0, 1 << 40), 1 << 40);
    }

    #[test]
    fn an_lcore_without_work_runs_after_the_gap() {
        let all = recording();
        let mut gaps = all.of_lcore(0);
        assert_eq!((gaps.ran_at(90), gaps.ran_at(105)), (90, 100));
        assert_eq!((gaps.runs_at(105), gaps.runs_at(110), gaps.runs_at(249)), (110, 110, 250));
    }

    #[test]
    fn bad_recordings_are_refused() {
        assert_eq!(recording().check(), Ok(()));
        for gaps in [[(100, 10), (105, 10)], [(100, 10), (995, 10)], [(200, 1), (100, 1)]] {
            let gaps = gaps.map(|(start_ticks, ticks)| Gap { start_ticks, ticks });
            assert!(Recording { cpus: vec![gaps.to_vec()], ..recording() }.check().is_err());
        }
    }
}
