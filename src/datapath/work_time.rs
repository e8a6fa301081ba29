//! How long the lcore works in each stage, for `--pools auto`.

use super::packet::Stage;
use super::setup::Settings;
use crate::stats::WorkTicks;

pub(super) struct WorkTime<'a> {
    is_metered: bool,
    /// The stage that the lcore is in, and since when.
    stage: Option<(Stage, u64)>,
    ticks: &'a WorkTicks,
}

impl<'a> WorkTime<'a> {
    pub(super) fn new(settings: &Settings, ticks: &'a WorkTicks) -> Self {
        Self { is_metered: settings.metered_work, stage: None, ticks }
    }

    /// Work in `stage` begins at `now`, and other work ends.
    #[inline(always)]
    pub(super) fn start(&mut self, now: u64, stage: Stage) {
        if self.is_metered {
            self.switch(now, Some(stage));
        }
    }

    /// At `now` the lcore looks for something to do.
    #[inline(always)]
    pub(super) fn stop(&mut self, now: u64) {
        if self.is_metered {
            self.switch(now, None);
        }
    }

    #[inline]
    fn switch(&mut self, now: u64, next: Option<Stage>) {
        if let Some((stage, since)) = self.stage {
            let ticks = match stage {
                Stage::Cheap => &self.ticks.cheap,
                Stage::Expensive => &self.ticks.expensive,
            };
            ticks.add(now.saturating_sub(since));
        }
        self.stage = next.map(|stage| (stage, now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stage_counts_from_its_start_to_the_next_or_the_stop() {
        let ticks = WorkTicks::default();
        let mut time = WorkTime { is_metered: true, stage: None, ticks: &ticks };
        time.stop(10);
        time.start(20, Stage::Cheap);
        time.start(25, Stage::Expensive);
        time.stop(125);
        time.stop(200);
        assert_eq!((ticks.cheap.get(), ticks.expensive.get()), (5, 100));
        time = WorkTime { is_metered: false, ..time };
        time.start(300, Stage::Cheap);
        time.stop(400);
        assert_eq!(ticks.cheap.get(), 5);
    }
}
