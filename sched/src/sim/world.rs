//! A run: the events of the lcores, the end of the traffic, and pools that
//! follow the load.

use super::agenda::{NEVER, START_TICKS};
use super::fitter::Fitter;
use super::runner::Runner;
use super::seen::Seen;
use super::timeline::Actor;
use super::{Arrival, Outcome, Sent, Setup, TICKS_PER_US};
use crate::heartbeat::Cost;
use crate::policy::Policy;

/// After the end of the traffic a run may take so long to finish what it holds.
const DRAIN_TICKS: u64 = 60_000_000 * TICKS_PER_US;

pub(super) struct World<'a, P, T, S> {
    setup: &'a Setup,
    seen: &'a Seen,
    runner: Runner<'a, P, T, S>,
    fitter: Fitter,
    events: u64,
}

impl<'a, P, T, S> World<'a, P, T, S>
where
    P: Policy,
    T: FnMut(usize) -> Option<Arrival>,
    S: FnMut(Sent),
{
    pub(super) fn new(
        setup: &'a Setup,
        seen: &'a Seen,
        ends: (T, S),
        policy: impl Fn(usize) -> P,
    ) -> Self {
        let mut runner = Runner::new(setup, seen, ends, policy);
        let timeline = &mut runner.stages.timeline;
        timeline.set_end(setup.end_ticks.saturating_add(START_TICKS));
        timeline.set_pools(Fitter::first_ticks(setup));
        Self { setup, seen, runner, fitter: Fitter::new(setup), events: 0 }
    }

    /// Runs to the end, and until nothing is in flight.
    pub(super) fn run(mut self) -> Outcome {
        loop {
            let (actor, now) = self.runner.stages.timeline.first();
            if now == NEVER || self.is_done(now) {
                break;
            }
            self.events += 1;
            match actor {
                Actor::Lcore(at) => self.runner.go_on(at, now),
                Actor::End => self.drain(now),
                Actor::Pools => self.fit_pools(now),
            }
        }
        self.outcome()
    }

    fn outcome(mut self) -> Outcome {
        self.runner.rings.close();
        let Runner { rings, stages, steals, takeovers, .. } = &self.runner;
        let (transmit, timeline) = (&stages.transmit, &stages.timeline);
        Outcome {
            offered_pkts: rings.offered_pkts,
            missed_pkts: rings.missed_pkts,
            received_pkts: stages.received_pkts,
            sent_pkts: transmit.sent_pkts,
            dropped_pkts: transmit.dropped_pkts,
            reordered_pkts: transmit.reordered_pkts,
            sheds: stages.sheds,
            steals: *steals,
            takeovers: *takeovers,
            ended_ticks: transmit.ended_ticks,
            busy_ticks: timeline.busy_ticks,
            gap_ticks: timeline.gap_ticks,
            pool_changes: self.fitter.changes,
            workers: self.setup.lcores - self.seen.split.pool_a(),
            queue_pkts_max: rings.pkts_max,
            shard_pkts_max: stages.handoff.pkts_max,
            events: self.events,
        }
    }

    fn is_done(&self, now: u64) -> bool {
        let Runner { rings, stages, draining, .. } = &self.runner;
        let ended_pkts = stages.transmit.sent_pkts + stages.transmit.dropped_pkts;
        let over = *draining || rings.first_due_ticks() == NEVER;
        let given_up =
            *draining && now > self.setup.end_ticks.saturating_add(START_TICKS + DRAIN_TICKS);
        over && stages.received_pkts == ended_pkts || given_up
    }

    fn drain(&mut self, now: u64) {
        self.runner.draining = true;
        let timeline = &mut self.runner.stages.timeline;
        timeline.set_end(NEVER);
        (0..self.setup.lcores).for_each(|at| timeline.rouse(at, now));
    }

    fn fit_pools(&mut self, now: u64) {
        if !self.fitter.is_changing() {
            let work = self.work_ticks(now);
            self.fitter.observe(now, work, self.seen);
        }
        if self.fitter.change(self.seen) {
            // Sleepers move, too, and show it.
            for at in 0..self.setup.lcores {
                if self.seen.split.pool_of(at) != self.runner.known_pool(at) {
                    self.runner.stages.timeline.rouse(at, now);
                }
            }
        }
        let next = if self.runner.draining { NEVER } else { now + self.fitter.next_ticks() };
        self.runner.stages.timeline.set_pools(next);
    }

    /// Ticks of cheap and of expensive work until `now`. A long stage counts as
    /// far as it has come.
    fn work_ticks(&self, now: u64) -> [u64; 2] {
        let mut work = self.runner.stages.work_ticks();
        for busy in self.seen.boards.iter().filter_map(|board| board.heartbeat.busy()) {
            work[usize::from(busy.cost == Cost::Expensive)] += now - busy.since_ticks;
        }
        work
    }
}
