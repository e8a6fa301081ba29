//! Meters the lcore's time by activity, for `--pools auto` and for clients that
//! watch the run. It starts when one of them asks for it.

use super::run_state::RunState;
use super::setup::Settings;
use crate::stats::{Activity, ActivityTicks};

pub(super) struct Activities<'a> {
    is_metered: bool,
    /// Its cheap work is for another lcore.
    helps: bool,
    /// The present activity, and when it began.
    present: Option<(Activity, u64)>,
    ticks: &'a ActivityTicks,
}

impl<'a> Activities<'a> {
    pub(super) fn new(settings: &Settings, ticks: &'a ActivityTicks) -> Self {
        Self { is_metered: settings.metered_activity, helps: false, present: None, ticks }
    }

    /// Meters from now on, if anybody asks for it.
    pub(super) fn answer(&mut self, run: &RunState) {
        self.is_metered = self.is_metered || run.is_metered();
    }

    /// Ends the present activity at `now`, and begins the next.
    #[inline(always)]
    pub(super) fn enter(&mut self, now: u64, next: Activity) {
        if self.is_metered {
            self.switch(now, next);
        }
    }

    /// Cheap work that begins from now on is for another lcore, or no longer.
    #[inline(always)]
    pub(super) fn set_helping(&mut self, helps: bool) {
        self.helps = helps;
    }

    #[inline]
    fn switch(&mut self, now: u64, next: Activity) {
        if let Some((activity, since)) = self.present {
            self.ticks.add(activity, now.saturating_sub(since));
        }
        let next = if self.helps && next == Activity::Cheap { Activity::Help } else { next };
        self.present = Some((next, now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_activity_counts_until_the_next_one() {
        let ticks = ActivityTicks::default();
        let mut activities =
            Activities { is_metered: true, helps: false, present: None, ticks: &ticks };
        activities.enter(10, Activity::Poll);
        activities.enter(20, Activity::Cheap);
        activities.enter(25, Activity::Expensive);
        activities.enter(125, Activity::Idle);
        activities.set_helping(true);
        activities.enter(200, Activity::Poll);
        activities.enter(201, Activity::Cheap);
        activities.set_helping(false);
        activities.enter(231, Activity::Cheap);
        activities.enter(240, Activity::Idle);
        let expected = [(Activity::Poll, 11), (Activity::Cheap, 14), (Activity::Expensive, 100)];
        for (activity, spent) in expected.into_iter().chain([(Activity::Help, 30)]) {
            assert_eq!(ticks.get(activity), spent, "{activity:?}");
        }
        assert_eq!(ticks.all(), 230);
        activities = Activities { is_metered: false, ..activities };
        activities.enter(300, Activity::Cheap);
        assert_eq!(ticks.all(), 230);
    }

    #[test]
    fn metering_begins_when_it_is_asked_for() {
        let (ticks, run) = (ActivityTicks::default(), RunState::new(1, None));
        let mut activities =
            Activities { is_metered: false, helps: false, present: None, ticks: &ticks };
        activities.answer(&run);
        activities.enter(10, Activity::Poll);
        run.meter();
        activities.answer(&run);
        activities.enter(20, Activity::Poll);
        activities.enter(25, Activity::Poll);
        assert_eq!(ticks.all(), 5);
    }
}
