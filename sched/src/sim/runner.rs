//! The steps of the lcores: mpfwd's `lcore_loop.rs` and `runner.rs`, event by
//! event.

use super::agenda::{NEVER, START_TICKS};
use super::costs::CostTicks;
use super::lcore::{ADOPT_EVERY_NS, Lcore};
use super::queues::Rings;
use super::seen::Seen;
use super::stages::Stages;
use super::timeline::{Alone, Doing};
use super::{Arrival, Sent, Setup, TICKS_PER_US, ticks_of_ns};
use crate::heartbeat::Cost;
use crate::policy::{Deferral, Help, PeersView, Permit, Policy, Pool, Step, View, Why};

/// Where something may become due that no event announces, an lcore sleeps no
/// longer than this.
const NAP_TICKS: u64 = 5 * TICKS_PER_US;

pub(super) struct Runner<'a, P, T, S> {
    setup: &'a Setup,
    seen: &'a Seen,
    costs: CostTicks,
    pub rings: Rings<T>,
    /// By lcore: its receive queue, if it owns one alone.
    queue_of: Vec<Option<usize>>,
    lcores: Vec<Lcore>,
    pub stages: Stages<'a, P, S>,
    /// The lcores receive nothing more.
    pub draining: bool,
    pub steals: u64,
    pub takeovers: u64,
}

impl<'a, P, T, S> Runner<'a, P, T, S>
where
    P: Policy,
    T: FnMut(usize) -> Option<Arrival>,
    S: FnMut(Sent),
{
    /// An lcore without work looks at the others.
    const LOOKS: bool = P::STEALS || P::RESCUES || P::SHARES;

    pub(super) fn new(
        setup: &'a Setup,
        seen: &'a Seen,
        (traffic, sent): (T, S),
        policy: impl Fn(usize) -> P,
    ) -> Self {
        let (queues, owns_all) = (setup.queues(), setup.mode.facts().owns_all_queues);
        let owners: Vec<usize> = (0..queues).collect();
        let own = |at: usize| match owns_all {
            true => (0..queues).map(|queue| (at + queue) % queues).collect(),
            false => (at < queues).then_some(at).into_iter().collect::<Vec<_>>(),
        };
        let others = if owns_all { 0 } else { queues.saturating_sub(1) };
        let end_ticks = setup.end_ticks.saturating_add(START_TICKS);
        let lcore = |at: usize| Lcore::new::<P>(at, setup, seen, own(at), others);
        let lcores: Vec<Lcore> = (0..setup.lcores).map(lcore).collect();
        let dequeuers = lcores.iter().filter(|lcore| lcore.dequeues).count();
        Self {
            setup,
            seen,
            costs: setup.costs.ticks(),
            rings: Rings::new((&owners, setup.lcores), traffic, setup.descriptors, end_ticks),
            queue_of: (0..setup.lcores)
                .map(|at| (at < queues && !owns_all).then_some(at))
                .collect(),
            lcores,
            stages: Stages::new(setup, seen, sent, policy, dequeuers),
            draining: false,
            steals: 0,
            takeovers: 0,
        }
    }

    /// The pool of which the lcore knows to be.
    pub(super) fn known_pool(&self, me: usize) -> Pool {
        self.lcores[me].pool
    }

    /// The lcore's present work has ended: it continues with the next step.
    pub(super) fn go_on(&mut self, me: usize, now: u64) {
        let stages = &mut self.stages;
        let (did, spent) = stages.timeline.begin(me, now);
        let work_ticks = &mut stages.of_mut(me).work_ticks;
        match did {
            Doing::Nothing => {}
            Doing::Receiving { queue } => {
                work_ticks[0] += spent;
                stages.classify(me, now);
                self.release(queue);
                return;
            }
            Doing::Whole { queue } => {
                work_ticks[0] += spent;
                stages.send_burst(me, now);
                self.release(queue);
                let lcore = &mut self.lcores[me];
                lcore.keeps_polling = P::keeps_polling(lcore.pool);
            }
            Doing::Serving { then } => {
                work_ticks[0] += spent;
                stages.send_cheap(me, now);
                if let Some(alone) = then {
                    return stages.run_alone(me, now, alone, 0);
                }
            }
            Doing::Running { alone } => {
                work_ticks[usize::from(!alone.unknown)] += spent;
                stages.ran(me, now, alone);
            }
            Doing::Working { permit, began_ticks } => {
                work_ticks[1] += spent;
                self.worked(me, now, began_ticks, permit);
            }
        }
        self.step(me, now);
    }

    fn release(&mut self, queue: usize) {
        if P::SHARES {
            self.rings.release(queue);
        }
    }

    fn step(&mut self, me: usize, now: u64) {
        let shards_nonempty = P::WORKERS_POLL && self.pool(me) == Pool::B && self.shards_wait(me);
        let draining = self.draining;
        let (lcore, stages) = (&mut self.lcores[me], &mut self.stages);
        if let Some(is_full) = lcore.adopted.take() {
            lcore.adoption.note_burst(now, is_full);
        }
        if std::mem::take(&mut lcore.keeps_polling) && !draining {
            return self.poll(me, now);
        }
        let has_inbox = P::DEFERRED == Deferral::Inbox;
        let inbox_pkts = if has_inbox { stages.handoff.inbox_pkts(me) } else { 0 };
        let empty_polls = stages.timeline.empty_polls(me);
        let held = stages.of_mut(me);
        let view = View {
            pool: lcore.pool,
            run_queue_pkts: held.run_queue.len(),
            kept_pkts: 0,
            shards_nonempty,
            inbox_pkts,
            done_pkts: if P::COUNTS { held.done_pkts } else { 0 },
            found_nothing: empty_polls >= P::EMPTY_ROUNDS * lcore.own.len(),
            permit_refused: lcore.permit_refused,
            draining,
        };
        match held.policy.next(&view) {
            Step::Poll => self.poll(me, now),
            Step::Serve => self.stages.serve_run_queue(me, now, 0),
            Step::Run | Step::Shed => unreachable!("a full shard drops packets"),
            Step::Unbox => self.unbox(me, now),
            Step::Dequeue => self.work(me, now, 0),
            Step::LookAround => self.look_around(me, now),
            Step::Rest => self.pause(me, now, self.costs.rest_ns, true),
        }
    }

    /// The pool of the lcore's next step.
    fn pool(&mut self, me: usize) -> Pool {
        let pool = self.seen.split.pool_of(me);
        let lcore = &mut self.lcores[me];
        if P::WORKERS_POLL && pool != lcore.pool {
            lcore.pool = pool;
            self.seen.boards[me].show_pool(pool);
        }
        lcore.pool
    }

    fn line(&self, one: usize, other: usize) -> u64 {
        self.setup.topology.line(&self.costs, one, other)
    }

    // ---- Receive queues ----

    fn poll(&mut self, me: usize, now: u64) {
        let mut ticks = self.costs.clock_ns;
        self.stages.show_running(me, now);
        self.lcores[me].permit_refused = false;
        if P::RESCUES && self.lcores[me].adoption.is_due(now) && self.adopt(me, now, &mut ticks) {
            return;
        }
        let polled = self.lcores[me].next_own().filter(|&queue| !self.leaves(me, now, queue));
        let polled = polled.map(|queue| (queue, self.wanted(me, queue)));
        let Some((queue, Some(want))) = polled else { return self.found_nothing(me, now, ticks) };
        if P::SHARES {
            if self.rings.is_quiet(queue, now) {
                self.stages.show_pressure(me, now, 0, want);
                return self.found_nothing(me, now, ticks);
            }
            match self.rings.acquire(queue, me) {
                Some(last) => ticks += self.costs.lease_ns + self.line(me, last),
                None => return self.found_nothing(me, now, ticks),
            }
        }
        let burst = &mut self.stages.of_mut(me).burst;
        self.rings.poll((queue, me), now, want, burst);
        let pkts = burst.len();
        if P::SHARES {
            self.stages.show_pressure(me, now, pkts, want);
        }
        if pkts > 0 {
            return self.stages.receive(me, now, queue, ticks);
        }
        self.release(queue);
        self.found_nothing(me, now, ticks);
    }

    /// Whether the lcore, which is likely to lose its CPU again, leaves its
    /// queue to others, which have polled it a short time ago.
    fn leaves(&self, me: usize, now: u64, queue: usize) -> bool {
        P::RESCUES
            && self.stages.of(me).pace.is_wary(now)
            && self.rings.others_keep_up(queue, me, now)
    }

    /// How many packets to poll; `None` while too many before them are in
    /// flight.
    fn wanted(&mut self, me: usize, queue: usize) -> Option<usize> {
        let want = if P::SHARES {
            let pace = &mut self.stages.of_mut(me).pace;
            pace.note_backlog(self.rings.full_polls(queue, me));
            pace.burst()
        } else {
            self.setup.burst
        };
        self.stages.admission.has_room(queue, want).then_some(want)
    }

    /// A poll of another lcore's queue, which is not the lcore's own. Returns
    /// whether it brought a full burst; `None` if it brought none.
    fn poll_for(
        &mut self,
        me: usize,
        now: u64,
        (owner, why): (usize, Why),
        ticks: &mut u64,
    ) -> Option<bool> {
        let queue = self.queue_of[owner]?;
        let want = self.wanted(me, queue)?;
        *ticks += self.costs.poll_empty_ns;
        if self.rings.is_quiet(queue, now) {
            return None;
        }
        let last = self.rings.acquire(queue, me)?;
        *ticks += self.costs.lease_ns + self.line(me, last);
        let burst = &mut self.stages.of_mut(me).burst;
        self.rings.poll((queue, me), now, want, burst);
        let pkts = burst.len();
        if pkts == 0 {
            self.rings.release(queue);
            return None;
        }
        let is_full = pkts == want;
        if is_full && why != Why::Idle {
            self.seen.boards[owner].welcome_help();
        }
        self.takeovers += 1;
        self.stages.receive(me, now, queue, *ticks);
        Some(is_full)
    }

    fn adopt(&mut self, me: usize, now: u64, ticks: &mut u64) -> bool {
        let away = &self.seen.attention.away;
        for _ in 0..self.lcores[me].adoption.begin(away, now) {
            let Some(owner) = self.lcores[me].adoption.next(away) else { break };
            *ticks += self.line(me, owner);
            let hint = self.seen.boards[owner].away_hint(owner, now);
            if !self.stages.of_mut(me).policy.adopts(&hint) {
                continue;
            }
            let helps = self.seen.boards[owner].claim_help(me, now, ticks_of_ns(ADOPT_EVERY_NS));
            self.lcores[me].adoption.note_stuck(helps);
            if !helps {
                continue;
            }
            self.lcores[me].adoption.note_poll();
            if let Some(is_full) = self.poll_for(me, now, (owner, Why::Rescue), ticks) {
                self.lcores[me].adopted = Some(is_full);
                return true;
            }
        }
        false
    }

    fn found_nothing(&mut self, me: usize, now: u64, ticks: u64) {
        self.stages.timeline.note_empty_poll(me);
        self.pause(me, now, ticks + self.costs.poll_empty_ns, false);
    }

    // ---- What others deferred ----

    /// Whether a shard has packets that the lcore may dequeue.
    fn shards_wait(&self, me: usize) -> bool {
        self.lcores[me].dequeues && self.stages.handoff.has_shed()
    }

    /// The right to do expensive work. Refusals are noted.
    fn permit(&mut self, me: usize) -> Option<Option<Permit<'a>>> {
        if !P::CAPPED {
            return Some(None);
        }
        let seen: &'a Seen = self.seen;
        let permit = seen.permits.try_acquire(self.lcores[me].pool);
        self.lcores[me].permit_refused = permit.is_none();
        permit.map(Some)
    }

    fn work(&mut self, me: usize, now: u64, ticks: u64) {
        self.stages.of_mut(me).pace.forget();
        let lcore = &mut self.lcores[me];
        let picked =
            if lcore.dequeues { self.stages.handoff.pick(&mut lcore.picker) } else { None };
        let Some(picked) = picked else { return self.found_nothing(me, now, ticks) };
        let Some(permit) = self.permit(me) else {
            return self.stages.spend(me, now, ticks + self.costs.clock_ns, Doing::Nothing);
        };
        let lcore = &mut self.lcores[me];
        let shard = self.stages.handoff.claim(&mut lcore.picker, picked);
        self.stages.work(me, now, (shard, lcore.budget.items()), permit, ticks);
    }

    fn worked(&mut self, me: usize, now: u64, began_ticks: u64, permit: Option<Permit<'a>>) {
        let pkts = self.stages.send_burst(me, now);
        if permit.is_some() {
            drop(permit);
            self.stages.timeline.wake_all(now);
        }
        self.stages.timeline.found_something(me);
        if pkts > 0 {
            self.lcores[me].budget.observe(pkts, now - began_ticks);
            self.stages.end_busy(me, now);
        }
    }

    fn unbox(&mut self, me: usize, now: u64) {
        let ticks = self.costs.dequeue_ns + self.costs.near_line_ns;
        match self.stages.handoff.unbox(me) {
            Some(packet) => {
                self.stages.timeline.found_something(me);
                self.stages.run_alone(me, now, Alone { packet, unknown: false }, ticks);
            }
            None => self.found_nothing(me, now, ticks),
        }
    }

    // ---- Other lcores ----

    fn look_around(&mut self, me: usize, now: u64) {
        self.stages.show_running(me, now);
        self.stages.of_mut(me).board.settle(now);
        let shards_nonempty = self.shards_wait(me);
        let (seen, draining) = (self.seen, self.draining);
        let timeline = &mut self.stages.timeline;
        // Sleepers run, unless the host has stopped them.
        let stops = !self.setup.gaps.cpus.is_empty();
        if P::RESCUES && timeline.has_sleepers() && stops {
            for (at, board) in seen.boards.iter().enumerate() {
                if timeline.is_asleep(at) {
                    board.beat.show(timeline.ran_at(at, now));
                }
            }
        }
        let Lcore { watch, pool, permit_refused, .. } = &mut self.lcores[me];
        let peers = watch.look(now, &seen.attention, |at| {
            if timeline.is_asleep(at) && !stops {
                seen.boards[at].beat.show(now);
            }
            &seen.boards[at]
        });
        timeline.note_look(me);
        let changed = peers.len() as u64;
        let held = self.stages.of_mut(me);
        let help = held.policy.help(&PeersView {
            me,
            lcores: seen.boards.len(),
            pool: *pool,
            draining,
            permit_refused: std::mem::take(permit_refused),
            wary: held.pace.is_wary(now),
            shards_nonempty,
            permit_available: seen.permits.is_available(*pool),
            peers,
        });
        let reads = watch.reads() as u64;
        let costs = self.costs;
        let mut ticks = costs.clock_ns
            + costs.look_ns
            + reads * costs.look_board_ns
            + changed * costs.near_line_ns / 4;
        match help {
            Help::Steal { victim, .. } => self.steal(me, now, victim, ticks),
            Help::TakeOver { victim, why } => {
                let claims = why == Why::Idle
                    || self.seen.boards[victim].claim_help(me, now, ticks_of_ns(ADOPT_EVERY_NS));
                let polled = claims && self.poll_for(me, now, (victim, why), &mut ticks).is_some();
                if !polled {
                    self.pause(me, now, ticks + costs.rest_ns, true);
                }
            }
            Help::Dequeue => self.work(me, now, ticks),
            Help::Rest => self.pause(me, now, ticks + costs.rest_ns, true),
        }
    }

    fn steal(&mut self, me: usize, now: u64, victim: usize, ticks: u64) {
        let costs = self.costs;
        let pkts = self.stages.steal(me, victim);
        let ticks = ticks + costs.steal_ns + self.line(me, victim);
        if pkts == 0 {
            return self.pause(me, now, ticks + costs.rest_ns, true);
        }
        self.steals += 1;
        self.stages.serve_run_queue(me, now, ticks + pkts as u64 * costs.steal_pkt_ns);
    }

    // ---- An lcore that finds nothing ----

    /// The lcore has found nothing. It sleeps while nothing can change what it
    /// would find, at the end of a round of polls and looks.
    fn pause(&mut self, me: usize, now: u64, ticks: u64, looked: bool) {
        let round = self.stages.timeline.end_round(me, now, ticks, (Self::LOOKS, looked));
        let Some(round) = round else { return };
        let polls_ticks = self.own_due_ticks(me);
        let looks_ticks =
            if Self::LOOKS { self.others_due_ticks(me, round.end_ticks) } else { NEVER };
        let poll_ticks =
            if Self::LOOKS { self.costs.clock_ns + self.costs.poll_empty_ns } else { round.ticks };
        self.stages.timeline.sleep(me, round, (polls_ticks, poll_ticks), looks_ticks);
    }

    /// When one of the own queues has a packet.
    fn own_due_ticks(&self, me: usize) -> u64 {
        match self.lcores[me].own[..] {
            _ if self.draining => NEVER,
            [] => NEVER,
            [queue] => self.rings.due_ticks(queue),
            _ => self.rings.first_due_ticks(),
        }
    }

    /// When an lcore that looks around may find something, of which no event
    /// tells it.
    fn others_due_ticks(&self, me: usize, from: u64) -> u64 {
        let attention = &self.seen.attention;
        if P::SHARES && !P::RESCUES && !self.draining && self.setup.steal_rx {
            return self.rings.first_due_ticks();
        }
        if P::RESCUES && !self.setup.gaps.cpus.is_empty() {
            return from;
        }
        let may_be_stalled = self.stages.timeline.may_be_stalled(from);
        let mut due = if may_be_stalled { from + NAP_TICKS } else { NEVER };
        if !P::RESCUES {
            return due;
        }
        let patience = ticks_of_ns(self.setup.rescue_after_ns as f64);
        let patience = if self.lcores[me].pool == Pool::B { patience * 5 / 4 } else { patience };
        for set in [&attention.away, &attention.pressed] {
            for lcore in set.iter_from(0).filter(|&lcore| lcore != me) {
                if let Some(queue) = self.queue_of[lcore].filter(|_| !self.draining) {
                    due = due.min(self.rings.due_ticks(queue));
                }
                let busy = self.seen.boards[lcore].heartbeat.busy();
                let since = busy.filter(|busy| busy.cost == Cost::Unknown);
                let becomes_stuck =
                    since.map(|busy| busy.since_ticks + patience + 1).filter(|&at| at > from);
                due = due.min(becomes_stuck.unwrap_or(NEVER));
                // It leaves the set by looking.
                due = due.min(from + 4 * NAP_TICKS);
            }
        }
        due
    }
}
