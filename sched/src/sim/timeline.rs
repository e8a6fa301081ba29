//! When each lcore goes on: at the end of its work, or, if it sleeps, when it
//! may find something.

use super::agenda::{Agenda, NEVER, START_TICKS};
use super::gaps::{Recording, Replay};
use super::queues::Packet;
use crate::policy::Permit;

/// A packet that runs alone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Alone {
    pub packet: Packet,
    pub unknown: bool,
}

/// Work that ends at an lcore's next event.
pub(super) enum Doing<'a> {
    /// Nothing: the next step begins.
    Nothing,
    /// The poll of a burst, and its classification. The lease of the queue is
    /// held.
    Receiving { queue: usize },
    /// All of a burst is served and sent under the lease.
    Whole { queue: usize },
    /// The cheap pile is served and sent; then comes this packet.
    Serving { then: Option<Alone> },
    /// One packet.
    Running { alone: Alone },
    /// Packets that were dequeued from a shard, since `began_ticks`.
    Working { permit: Option<Permit<'a>>, began_ticks: u64 },
}

/// A round of polls and looks of an lcore without work.
#[derive(Clone, Copy, Debug)]
pub(super) struct Round {
    /// When one ended.
    pub end_ticks: u64,
    /// How long each takes.
    pub ticks: u64,
}

impl Round {
    /// When the first round ends at or after `at`.
    fn end_from(&self, at: u64) -> u64 {
        next_multiple(self.end_ticks, self.ticks, at)
    }
}

/// The first moment from `at` on that is a multiple of `period` after `from`.
fn next_multiple(from: u64, period: u64, at: u64) -> u64 {
    if at == NEVER {
        return NEVER;
    }
    from + at.saturating_sub(from).div_ceil(period.max(1)) * period.max(1)
}

/// An actor whose turn it is.
pub(super) enum Actor {
    Lcore(usize),
    /// The traffic has ended.
    End,
    /// The pools are fitted to the load.
    Pools,
}

/// One lcore's time.
struct Track<'a> {
    doing: Doing<'a>,
    began_ticks: u64,
    /// Work for others, by which the next event takes longer.
    debt_ticks: u64,
    gaps: Replay<'a>,
    /// It sleeps; its round.
    sleep: Option<Round>,
    empty_polls: usize,
    /// When its last look in vain ended, if it has found nothing since.
    looked_ticks: Option<u64>,
}

impl Track<'_> {
    /// When `ticks` of work end that begin now. Time always passes: an lcore
    /// that does nothing at no cost would do so for ever.
    fn end_of(&mut self, now: u64, ticks: u64) -> (u64, u64) {
        let ticks = (ticks + std::mem::take(&mut self.debt_ticks)).max(1);
        (self.gaps.end_of(now, ticks), ticks)
    }

    /// The next step looks at the other lcores.
    fn look_next(&mut self) {
        self.empty_polls = usize::MAX / 2;
    }
}

/// The time of all lcores.
pub(super) struct Timeline<'a> {
    /// The timers stand behind the lcores.
    agenda: Agenda,
    tracks: Vec<Track<'a>>,
    sleepers: usize,
    /// Until then some lcore may be stalled.
    stalled_until: u64,
    pub busy_ticks: u64,
    pub gap_ticks: u64,
}

impl<'a> Timeline<'a> {
    pub(super) fn new(lcores: usize, gaps: &'a Recording) -> Self {
        let track = |at: usize| Track {
            doing: Doing::Nothing,
            began_ticks: START_TICKS,
            debt_ticks: 0,
            gaps: gaps.of_lcore(at),
            sleep: None,
            empty_polls: 0,
            looked_ticks: None,
        };
        let mut agenda = Agenda::new(lcores + 2);
        (0..lcores).for_each(|at| agenda.set(at, START_TICKS + 37 * at as u64 % 101));
        Self {
            agenda,
            tracks: (0..lcores).map(track).collect(),
            sleepers: 0,
            stalled_until: 0,
            busy_ticks: 0,
            gap_ticks: 0,
        }
    }

    // ---- Events ----

    /// The actor that comes next, and when.
    pub(super) fn first(&self) -> (Actor, u64) {
        let (actor, at) = self.agenda.first();
        let actor = match actor.checked_sub(self.tracks.len()) {
            None => Actor::Lcore(actor),
            Some(0) => Actor::End,
            Some(_) => Actor::Pools,
        };
        (actor, at)
    }

    pub(super) fn set_end(&mut self, at: u64) {
        self.agenda.set(self.tracks.len(), at);
    }

    pub(super) fn set_pools(&mut self, at: u64) {
        self.agenda.set(self.tracks.len() + 1, at);
    }

    /// The lcore goes on. Returns what has ended, and how long it took.
    pub(super) fn begin(&mut self, me: usize, now: u64) -> (Doing<'a>, u64) {
        let track = &mut self.tracks[me];
        if track.sleep.take().is_some() {
            self.sleepers -= 1;
            // Of all its rounds none is known to have just ended.
            track.looked_ticks = None;
        }
        let spent = now - track.began_ticks;
        (std::mem::replace(&mut track.doing, Doing::Nothing), spent)
    }

    /// The lcore is busy with `doing` for so long. Returns until when.
    pub(super) fn spend(&mut self, me: usize, now: u64, ticks: u64, doing: Doing<'a>) -> u64 {
        let track = &mut self.tracks[me];
        let (end, ticks) = track.end_of(now, ticks);
        (track.doing, track.began_ticks) = (doing, now);
        self.agenda.set(me, end);
        self.busy_ticks += ticks;
        self.gap_ticks += end - now - ticks;
        end
    }

    /// The lcore has worked so long for others: it goes on later.
    pub(super) fn owe(&mut self, me: usize, ticks: u64) {
        self.tracks[me].debt_ticks += ticks;
    }

    // ---- An lcore that finds nothing ----

    pub(super) fn empty_polls(&self, me: usize) -> usize {
        self.tracks[me].empty_polls
    }

    pub(super) fn note_empty_poll(&mut self, me: usize) {
        self.tracks[me].empty_polls += 1;
    }

    /// The lcore looks at the others, and polls its queues again after that.
    pub(super) fn note_look(&mut self, me: usize) {
        self.tracks[me].empty_polls = 0;
    }

    pub(super) fn found_something(&mut self, me: usize) {
        let track = &mut self.tracks[me];
        (track.empty_polls, track.looked_ticks) = (0, None);
    }

    /// The lcore has found nothing for so long, and goes on after that.
    /// `looks`: it looks at the other lcores in each round, and `looked`: it
    /// has done so now. Returns its round, if that has ended: then it may
    /// sleep.
    pub(super) fn end_round(
        &mut self,
        me: usize,
        now: u64,
        ticks: u64,
        (looks, looked): (bool, bool),
    ) -> Option<Round> {
        let track = &mut self.tracks[me];
        let (end_ticks, ticks) = track.end_of(now, ticks);
        track.doing = Doing::Nothing;
        self.agenda.set(me, end_ticks);
        let before = if looked { track.looked_ticks.replace(end_ticks) } else { None };
        match looks {
            false => Some(Round { end_ticks, ticks }),
            true => before.map(|before| Round { end_ticks, ticks: end_ticks - before }),
        }
    }

    /// The lcore sleeps after its round, unless it finds something within
    /// another one: at `polls_ticks` by polling, which it does every
    /// `poll_ticks`, or at `looks_ticks` by a look.
    pub(super) fn sleep(
        &mut self,
        me: usize,
        round: Round,
        (polls_ticks, poll_ticks): (u64, u64),
        looks_ticks: u64,
    ) {
        if polls_ticks.min(looks_ticks) <= round.end_ticks.saturating_add(round.ticks) {
            return;
        }
        let polls_at = next_multiple(round.end_ticks, poll_ticks, polls_ticks);
        let looks_at = round.end_from(looks_ticks);
        let track = &mut self.tracks[me];
        track.sleep = Some(round);
        self.sleepers += 1;
        if looks_at < polls_at {
            track.look_next();
        }
        let at = polls_at.min(looks_at);
        self.agenda.set(me, if at == NEVER { NEVER } else { track.gaps.runs_at(at) });
    }

    // ---- Sleepers ----

    pub(super) fn has_sleepers(&self) -> bool {
        self.sleepers > 0
    }

    #[inline]
    pub(super) fn is_asleep(&self, at: usize) -> bool {
        self.tracks[at].sleep.is_some()
    }

    /// When the lcore last ran: now, unless its CPU was taken away.
    pub(super) fn ran_at(&mut self, at: usize, now: u64) -> u64 {
        self.tracks[at].gaps.ran_at(now)
    }

    /// Shared state has changed: each sleeper looks again, at the end of its
    /// round.
    pub(super) fn wake_all(&mut self, now: u64) {
        if self.sleepers > 0 {
            (0..self.tracks.len()).for_each(|at| self.wake(at, now));
        }
    }

    pub(super) fn wake(&mut self, at: usize, now: u64) {
        let track = &mut self.tracks[at];
        let Some(round) = track.sleep else { return };
        let wakes = round.end_from(now);
        if wakes < self.agenda.time(at) {
            track.look_next();
            self.agenda.set(at, track.gaps.runs_at(wakes));
        }
    }

    /// A sleeper goes on at once.
    pub(super) fn rouse(&mut self, at: usize, now: u64) {
        if self.is_asleep(at) {
            self.agenda.set(at, now);
        }
    }

    /// An lcore is stalled until then.
    pub(super) fn note_stall(&mut self, until: u64) {
        self.stalled_until = self.stalled_until.max(until);
    }

    pub(super) fn may_be_stalled(&self, now: u64) -> bool {
        now < self.stalled_until
    }
}
