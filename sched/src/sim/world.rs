//! The loop of all lcores: that of mpfwd's `lcore_loop.rs`, `runner.rs` and
//! `stages.rs`, event by event.

use std::collections::VecDeque;

use super::agenda::{Agenda, NEVER};
use super::costs::CostTicks;
use super::lcore::{ADOPT_EVERY_NS, Alone, Doing, Lcore, Sleep, next_multiple};
use super::queues::{Packet, Rings};
use super::seen::{START_TICKS, Seen, shards};
use super::{Arrival, Outcome, Sent, Setup, TICKS_PER_US, ticks_of_ns};
use crate::heartbeat::{Busy, Cost};
use crate::order::Ticket;
use crate::policy::{
    Deferral, Erlangs, Help, PeersView, Permit, Policy, Pool, Sizer, Step, View, Why,
};
use crate::shed::Pick;

/// mpfwd's window of `--pools auto`, and how often it goes on with a change.
const WINDOW_TICKS: u64 = 100_000 * TICKS_PER_US;
const CHANGE_TICKS: u64 = 1_000 * TICKS_PER_US;

/// Where something may become due that no event announces, an lcore sleeps no
/// longer than this.
const NAP_TICKS: u64 = 5 * TICKS_PER_US;

/// After the end of the traffic a run may take so long to finish what it holds.
const DRAIN_TICKS: u64 = 60_000_000 * TICKS_PER_US;

pub(super) struct World<'a, P, T, S> {
    setup: &'a Setup,
    seen: &'a Seen,
    costs: CostTicks,
    rings: Rings<T>,
    /// By lcore: its receive queue, if it owns one alone.
    queue_of: Vec<Option<usize>>,
    shards: Vec<VecDeque<Packet>>,
    inboxes: Vec<VecDeque<Packet>>,
    lcores: Vec<Lcore<'a, P>>,
    /// When each lcore goes on. The timers stand behind the lcores.
    agenda: Agenda,
    sleepers: usize,
    asleep: Vec<bool>,
    /// Until then some lcore may be stalled.
    stalled_until: u64,
    stall_ticks: u64,
    draining: bool,
    fitter: Fitter,
    sent: S,
    outcome: Outcome,
}

/// Fits the pools to the load, as mpfwd's control thread does.
struct Fitter {
    sizer: Sizer,
    began_ticks: u64,
    before_ticks: [u64; 2],
    pending: Option<usize>,
}

/// Where a packet of a burst goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pile {
    Cheap,
    Deferred,
    Alone { unknown: bool },
    LeftOver,
}

impl<'a, P, T, S> World<'a, P, T, S>
where
    P: Policy,
    T: FnMut(usize) -> Option<Arrival>,
    S: FnMut(Sent),
{
    const IS_SEEN: bool = P::STEALS || P::RESCUES || matches!(P::DEFERRED, Deferral::Inbox);
    /// An lcore without work looks at the others.
    const LOOKS: bool = P::STEALS || P::RESCUES || P::SHARES;

    pub(super) fn new(
        setup: &'a Setup,
        seen: &'a Seen,
        traffic: T,
        sent: S,
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
        let lcore = |at: usize| Lcore::new(at, policy(at), setup, seen, own(at), others);
        let mut agenda = Agenda::new(setup.lcores + 2);
        (0..setup.lcores).for_each(|at| agenda.set(at, START_TICKS + 37 * at as u64 % 101));
        agenda.set(setup.lcores, end_ticks);
        if setup.follows_load {
            agenda.set(setup.lcores + 1, START_TICKS + WINDOW_TICKS);
        }
        let workers_max = setup.expensive_cap.unwrap_or(usize::MAX);
        Self {
            setup,
            seen,
            costs: setup.costs.ticks(),
            rings: Rings::new(&owners, traffic, setup.descriptors, end_ticks),
            queue_of: (0..setup.lcores)
                .map(|at| (at < queues && !owns_all).then_some(at))
                .collect(),
            shards: vec![VecDeque::new(); shards(setup)],
            inboxes: vec![VecDeque::new(); setup.lcores],
            lcores: (0..setup.lcores).map(lcore).collect(),
            agenda,
            sleepers: 0,
            asleep: vec![false; setup.lcores],
            stalled_until: 0,
            stall_ticks: ticks_of_ns(setup.stall_after_ns as f64),
            draining: false,
            fitter: Fitter {
                sizer: Sizer::new(setup.lcores, workers_max),
                began_ticks: START_TICKS,
                before_ticks: [0; 2],
                pending: None,
            },
            sent,
            outcome: Outcome::default(),
        }
    }

    /// Runs to the end, and until nothing is in flight.
    pub(super) fn run(mut self) -> Outcome {
        let lcores = self.setup.lcores;
        loop {
            let (actor, now) = self.agenda.first();
            if now == NEVER || self.is_done(now) {
                break;
            }
            self.outcome.events += 1;
            if actor < lcores {
                self.go_on(actor, now);
            } else if actor == lcores {
                self.drain(now);
            } else {
                self.fit_pools(now);
            }
        }
        self.rings.close();
        let outcome = &mut self.outcome;
        outcome.offered_pkts = self.rings.offered_pkts;
        outcome.missed_pkts = self.rings.missed_pkts;
        outcome.workers = lcores - self.seen.split.pool_a();
        self.outcome
    }

    fn is_done(&self, now: u64) -> bool {
        let outcome = &self.outcome;
        let in_flight = outcome.received_pkts - outcome.sent_pkts - outcome.dropped_pkts;
        let over = self.draining || self.rings.first_due_ticks() == NEVER;
        let given_up =
            self.draining && now > self.setup.end_ticks.saturating_add(START_TICKS + DRAIN_TICKS);
        over && in_flight == 0 || given_up
    }

    fn drain(&mut self, now: u64) {
        self.draining = true;
        self.agenda.set(self.setup.lcores, NEVER);
        for at in 0..self.setup.lcores {
            if self.agenda.time(at) == NEVER || self.lcores[at].sleep.is_some() {
                self.agenda.set(at, now);
            }
        }
    }

    fn line(&self, one: usize, other: usize) -> u64 {
        self.setup.topology.line(&self.costs, one, other)
    }

    // ---- Time ----

    /// The lcore is busy with `doing` for so long. Time always passes: an lcore
    /// that does nothing at no cost would do so for ever.
    fn spend(&mut self, me: usize, now: u64, ticks: u64, doing: Doing<'a>) {
        let lcore = &mut self.lcores[me];
        let ticks = (ticks + std::mem::take(&mut lcore.debt_ticks)).max(1);
        let end = lcore.gaps.end_of(now, ticks);
        (lcore.doing, lcore.began_ticks) = (doing, now);
        self.agenda.set(me, end);
        self.outcome.busy_ticks += ticks;
        self.outcome.gap_ticks += end - now - ticks;
        if P::RESCUES {
            let shown = self.seen.boards[me].beat.shown_ticks();
            if end.saturating_sub(shown) > self.stall_ticks {
                self.stalled_until = self.stalled_until.max(end);
                self.wake_all(now);
            }
        }
    }

    /// The lcore has found nothing. It sleeps while nothing can change what it
    /// would find, at the end of a round of polls and looks.
    fn pause(&mut self, me: usize, now: u64, ticks: u64, looked: bool) {
        let lcore = &mut self.lcores[me];
        let ticks = (ticks + std::mem::take(&mut lcore.debt_ticks)).max(1);
        let from_ticks = lcore.gaps.end_of(now, ticks);
        lcore.doing = Doing::Nothing;
        let before = if looked { lcore.looked_ticks.replace(from_ticks) } else { None };
        let round_ticks = match (Self::LOOKS, before) {
            (false, _) => ticks,
            (true, Some(before)) => from_ticks - before,
            (true, None) => {
                self.agenda.set(me, from_ticks);
                return;
            }
        };
        let own = self.own_due_ticks(me);
        let others = if Self::LOOKS { self.others_due_ticks(me, from_ticks) } else { NEVER };
        if own.min(others) <= from_ticks.saturating_add(round_ticks) {
            self.agenda.set(me, from_ticks);
            return;
        }
        let sleep = Sleep { from_ticks, round_ticks };
        let poll_ticks = if Self::LOOKS { self.poll_ticks() } else { round_ticks };
        let polls_at = next_multiple(from_ticks, poll_ticks, own);
        let looks_at = sleep.round_from(others);
        let lcore = &mut self.lcores[me];
        lcore.sleep = Some(sleep);
        self.sleepers += 1;
        self.asleep[me] = true;
        if looks_at < polls_at {
            lcore.empty_polls = usize::MAX / 2;
        }
        let at = polls_at.min(looks_at);
        let at = if at == NEVER { NEVER } else { lcore.gaps.runs_at(at) };
        self.agenda.set(me, at);
    }

    fn poll_ticks(&self) -> u64 {
        self.costs.clock_ns + self.costs.poll_empty_ns
    }

    /// When one of the own queues has a packet.
    fn own_due_ticks(&self, me: usize) -> u64 {
        let own = &self.lcores[me].own;
        match own[..] {
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
        let mut due = NEVER;
        if from < self.stalled_until {
            due = from + NAP_TICKS;
        }
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

    /// What others see has changed: each sleeper looks again, at the end of its
    /// round.
    fn wake_all(&mut self, now: u64) {
        if self.sleepers > 0 {
            (0..self.lcores.len()).for_each(|at| self.wake(at, now));
        }
    }

    fn wake(&mut self, at: usize, now: u64) {
        let lcore = &mut self.lcores[at];
        let Some(sleep) = lcore.sleep else { return };
        let wakes = sleep.round_from(now);
        if wakes < self.agenda.time(at) {
            lcore.empty_polls = usize::MAX / 2;
            self.agenda.set(at, lcore.gaps.runs_at(wakes));
        }
    }

    // ---- An event ----

    fn go_on(&mut self, me: usize, now: u64) {
        let lcore = &mut self.lcores[me];
        if lcore.sleep.take().is_some() {
            self.sleepers -= 1;
            self.asleep[me] = false;
            // Of all its rounds none is known to have just ended.
            lcore.looked_ticks = None;
        }
        let spent = now - lcore.began_ticks;
        match std::mem::replace(&mut lcore.doing, Doing::Nothing) {
            Doing::Nothing => self.step(me, now),
            Doing::Receiving { queue } => {
                lcore.work_ticks[0] += spent;
                self.received(me, now, queue);
            }
            Doing::Whole { queue } => {
                lcore.work_ticks[0] += spent;
                self.sent_whole(me, now, queue);
            }
            Doing::Serving { then } => {
                lcore.work_ticks[0] += spent;
                self.served(me, now, then);
            }
            Doing::Running { alone, permit } => {
                lcore.work_ticks[usize::from(!alone.unknown)] += spent;
                self.ran(me, now, alone, permit);
            }
            Doing::Working { permit, began_ticks } => {
                lcore.work_ticks[1] += spent;
                self.worked(me, now, began_ticks, permit);
            }
        }
    }

    fn step(&mut self, me: usize, now: u64) {
        let shards_nonempty = P::WORKERS_POLL && self.pool(me) == Pool::B && self.shards_wait(me);
        let inbox_pkts = self.inboxes[me].len();
        let draining = self.draining;
        let lcore = &mut self.lcores[me];
        if let Some(is_full) = lcore.adopted.take() {
            lcore.adoption.note_burst(now, is_full);
        }
        if std::mem::take(&mut lcore.keeps_polling) && !draining {
            return self.poll(me, now);
        }
        let view = View {
            pool: lcore.pool,
            run_queue_pkts: lcore.run_queue.len(),
            kept_pkts: 0,
            shards_nonempty,
            inbox_pkts: if P::DEFERRED == Deferral::Inbox { inbox_pkts } else { 0 },
            done_pkts: if P::COUNTS { lcore.done_pkts } else { 0 },
            found_nothing: lcore.empty_polls >= P::EMPTY_ROUNDS * lcore.own.len(),
            permit_refused: lcore.permit_refused,
            draining,
        };
        match lcore.policy.next(&view) {
            Step::Poll => self.poll(me, now),
            Step::Serve => self.serve_run_queue(me, now, 0),
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

    // ---- A burst of a receive queue ----

    fn poll(&mut self, me: usize, now: u64) {
        let mut ticks = self.costs.clock_ns;
        self.show_running(me, now);
        self.lcores[me].permit_refused = false;
        if P::RESCUES && self.lcores[me].adoption.is_due(now) && self.adopt(me, now, &mut ticks) {
            return;
        }
        let polled = self.lcores[me].next_own().map(|queue| (queue, self.wanted(me, queue)));
        let Some((queue, Some(want))) = polled else { return self.found_nothing(me, now, ticks) };
        if P::SHARES {
            if self.rings.is_quiet(queue, now) {
                let pressed = self.lcores[me].pace.is_pressed(0, want);
                self.show_pressure(me, now, pressed);
                return self.found_nothing(me, now, ticks);
            }
            match self.rings.acquire(queue, me) {
                Some(last) => ticks += self.costs.lease_ns + self.line(me, last),
                None => return self.found_nothing(me, now, ticks),
            }
        }
        let lcore = &mut self.lcores[me];
        self.rings.poll(queue, now, want, &mut lcore.burst);
        let pkts = lcore.burst.len();
        if P::SHARES {
            let pressed = lcore.pace.is_pressed(pkts, want);
            self.show_pressure(me, now, pressed);
        }
        if pkts > 0 {
            return self.receive(me, now, queue, ticks);
        }
        if P::SHARES {
            self.rings.release(queue);
        }
        self.found_nothing(me, now, ticks);
    }

    /// How many packets to poll; `None` while too many before them are in
    /// flight.
    fn wanted(&self, me: usize, queue: usize) -> Option<usize> {
        let want = if P::SHARES { self.lcores[me].pace.burst() } else { self.setup.burst };
        let order = &self.seen.order;
        (order.is_idle(queue) || order.room(queue) >= want).then_some(want)
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
        self.rings.poll(queue, now, want, &mut self.lcores[me].burst);
        let pkts = self.lcores[me].burst.len();
        if pkts == 0 {
            self.rings.release(queue);
            return None;
        }
        let is_full = pkts == want;
        if is_full && why != Why::Idle {
            self.seen.boards[owner].welcome_help();
        }
        self.outcome.takeovers += 1;
        self.receive(me, now, queue, *ticks);
        Some(is_full)
    }

    /// The burst is being received, and classified or served as a whole.
    fn receive(&mut self, me: usize, now: u64, queue: usize, ticks: u64) {
        let costs = self.costs;
        let lcore = &mut self.lcores[me];
        lcore.found_something();
        let pkts = lcore.burst.len() as u64;
        self.outcome.received_pkts += pkts;
        let ticks = ticks + costs.poll_burst_ns + pkts * (costs.poll_pkt_ns + costs.source_pkt_ns);
        let short = !P::SHARES || lcore.pace.begin_polled(now, pkts as usize);
        let order = &self.seen.order;
        let whole = short
            && self.setup.whole_bursts
            && lcore.burst.iter().all(|packet| {
                self.setup.known
                    && !packet.expensive
                    && (order.is_idle(queue)
                        || !order.in_flight(order.bucket(queue, packet.flow_hash())))
            });
        if whole {
            let work: u64 = lcore.burst.iter().map(|packet| packet.cost_ticks).sum();
            let ticks = ticks + work + costs.send_burst_ns + pkts * costs.send_pkt_ns;
            return self.spend(me, now, ticks, Doing::Whole { queue });
        }
        let places = if P::SHARES { pkts * costs.enter_pkt_ns } else { 0 };
        let ticks = ticks + pkts * costs.classify_pkt_ns + places;
        self.spend(me, now, ticks, Doing::Receiving { queue });
    }

    fn sent_whole(&mut self, me: usize, now: u64, queue: usize) {
        let mut burst = std::mem::take(&mut self.lcores[me].burst);
        burst.drain(..).for_each(|packet| self.depart(me, now, packet));
        if P::SHARES {
            self.rings.release(queue);
        }
        let lcore = &mut self.lcores[me];
        lcore.burst = burst;
        lcore.keeps_polling = P::keeps_polling(lcore.pool);
        self.step(me, now);
    }

    /// Where a packet goes that is served now.
    fn pile(&self, packet: &Packet) -> Pile {
        match (self.setup.known, packet.expensive) {
            (false, _) if P::STEALS || P::RESCUES => Pile::Alone { unknown: true },
            (false, _) | (true, false) => Pile::Cheap,
            (true, true) if P::DEFERRED == Deferral::Here => Pile::Alone { unknown: false },
            (true, true) => Pile::Deferred,
        }
    }

    /// The burst is classified: each packet on its pile, with a place in its
    /// flow if it needs one.
    fn received(&mut self, me: usize, now: u64, queue: usize) {
        let own_pkts = if P::SHARES { self.lcores[me].pace.own_pkts() } else { usize::MAX };
        let (mut burst, mut alone, mut ticks) =
            (std::mem::take(&mut self.lcores[me].burst), None, 0);
        for (at, mut packet) in burst.drain(..).enumerate() {
            let pile =
                if alone.is_none() && at < own_pkts { self.pile(&packet) } else { Pile::LeftOver };
            let has_place = match pile {
                Pile::Cheap if !P::SHARES => self.stay(&mut packet, &mut ticks),
                Pile::Cheap => self.enter(&mut packet),
                _ => self.go_away(me, &mut packet, &mut ticks),
            };
            if !has_place {
                self.drop_packet(me, now, packet);
                continue;
            }
            let lcore = &mut self.lcores[me];
            match pile {
                Pile::Cheap => lcore.cheap.push(packet),
                Pile::Deferred => lcore.deferred.push(packet),
                Pile::Alone { unknown } => alone = Some(Alone { packet, unknown }),
                Pile::LeftOver if lcore.run_queue.len() < self.setup.run_queue_pkts => {
                    lcore.run_queue.push_back(packet);
                    ticks += self.costs.push_pkt_ns;
                }
                Pile::LeftOver => self.drop_packet(me, now, packet),
            }
        }
        self.lcores[me].burst = burst;
        if own_pkts < usize::MAX {
            self.show_waiting(me, now);
        }
        if P::SHARES {
            self.rings.release(queue);
        }
        self.finish(me, now, alone, ticks);
    }

    /// Sheds, serves and sends what is on the piles, then runs what runs alone.
    fn finish(&mut self, me: usize, now: u64, alone: Option<Alone>, ticks: u64) {
        let costs = self.costs;
        let mut ticks = ticks + self.shed(me, now);
        let cheap = &self.lcores[me].cheap;
        if !cheap.is_empty() {
            let places = cheap.iter().filter(|packet| packet.ticket.is_some()).count() as u64;
            ticks += cheap.iter().map(|packet| packet.cost_ticks).sum::<u64>()
                + costs.send_burst_ns
                + cheap.len() as u64 * costs.send_pkt_ns
                + places * costs.release_pkt_ns;
            return self.spend(me, now, ticks, Doing::Serving { then: alone });
        }
        match alone {
            Some(alone) => self.run_alone(me, now, (alone, None), ticks),
            None => self.spend(me, now, ticks, Doing::Nothing),
        }
    }

    fn served(&mut self, me: usize, now: u64, then: Option<Alone>) {
        let mut cheap = std::mem::take(&mut self.lcores[me].cheap);
        cheap.drain(..).for_each(|packet| self.depart(me, now, packet));
        self.lcores[me].cheap = cheap;
        match then {
            Some(alone) => self.run_alone(me, now, (alone, None), 0),
            None => self.step(me, now),
        }
    }

    // ---- What the lcore holds ----

    fn serve_run_queue(&mut self, me: usize, now: u64, ticks: u64) {
        let mut ticks = ticks + self.costs.clock_ns;
        self.show_running(me, now);
        let own_pkts = if P::SHARES { self.lcores[me].pace.own_pkts() } else { usize::MAX };
        let mut alone = None;
        for _ in 0..self.setup.burst.min(own_pkts) {
            let Some(packet) = self.lcores[me].run_queue.pop_front() else { break };
            ticks += self.costs.pop_pkt_ns + self.costs.classify_pkt_ns;
            let lcore = &mut self.lcores[me];
            lcore.found_something();
            match self.pile(&packet) {
                Pile::Alone { unknown } => {
                    alone = Some(Alone { packet, unknown });
                    break;
                }
                Pile::Deferred => self.lcores[me].deferred.push(packet),
                Pile::Cheap | Pile::LeftOver => self.lcores[me].cheap.push(packet),
            }
        }
        if P::SHARES {
            let lcore = &mut self.lcores[me];
            lcore.pace.begin(now, lcore.cheap.len());
        }
        if P::STEALS {
            self.show_waiting(me, now);
        }
        self.finish(me, now, alone, ticks);
    }

    /// Runs one packet of unknown or expensive cost, and shows that meanwhile.
    fn run_alone(
        &mut self,
        me: usize,
        now: u64,
        (alone, permit): (Alone, Option<Permit<'a>>),
        ticks: u64,
    ) {
        let costs = self.costs;
        self.lcores[me].pace.forget();
        let cost = if alone.unknown { Cost::Unknown } else { Cost::Expensive };
        if Self::IS_SEEN {
            self.begin_busy(me, now, alone.packet.flow_hash(), cost);
        }
        let ticks = ticks
            + 2 * costs.clock_ns
            + costs.busy_ns
            + alone.packet.cost_ticks
            + costs.send_burst_ns
            + costs.send_pkt_ns
            + costs.release_pkt_ns;
        self.spend(me, now, ticks, Doing::Running { alone, permit });
    }

    fn ran(&mut self, me: usize, now: u64, alone: Alone, permit: Option<Permit<'a>>) {
        if Self::IS_SEEN {
            self.end_busy(me, now);
        }
        self.depart(me, now, alone.packet);
        self.give_back(permit, now);
        self.step(me, now);
    }

    // ---- What others deferred ----

    /// Whether a shard has packets that the lcore may dequeue.
    fn shards_wait(&self, me: usize) -> bool {
        self.lcores[me].dequeues
            && match &self.seen.heads {
                Some(heads) => !heads.all_empty(),
                None => self.shards.iter().any(|shard| !shard.is_empty()),
            }
    }

    fn pick(&mut self, me: usize) -> Option<usize> {
        if !self.shards_wait(me) {
            return None;
        }
        match &self.seen.heads {
            Some(heads) => self.lcores[me].picker.pick(heads),
            None => Some(0),
        }
    }

    fn claim(&mut self, me: usize, picked: usize) -> usize {
        let Some(heads) = &self.seen.heads else { return picked };
        let alone = self.lcores.iter().filter(|lcore| lcore.dequeues).count() == 1;
        if alone || heads.claim(picked) {
            return picked;
        }
        let next = self.lcores[me].picker.pick(heads).unwrap_or(picked);
        heads.claim(next);
        next
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

    fn give_back(&mut self, permit: Option<Permit<'a>>, now: u64) {
        if permit.is_some() {
            drop(permit);
            self.wake_all(now);
        }
    }

    fn work(&mut self, me: usize, now: u64, ticks: u64) {
        let costs = self.costs;
        self.lcores[me].pace.forget();
        let Some(picked) = self.pick(me) else { return self.found_nothing(me, now, ticks) };
        let Some(permit) = self.permit(me) else {
            return self.spend(me, now, ticks + costs.clock_ns, Doing::Nothing);
        };
        let shard = self.claim(me, picked);
        let lcore = &mut self.lcores[me];
        let pkts = lcore.budget.items().min(self.shards[shard].len());
        lcore.burst.extend(self.shards[shard].drain(..pkts));
        if let Some(heads) = &self.seen.heads {
            heads.dequeued(shard, || self.shards[shard].front().map(|packet| packet.due_ticks));
        }
        let work: u64 = lcore.burst.iter().map(|packet| packet.cost_ticks).sum();
        let line = self.line(me, shard);
        if let Some(flow_hash) = self.lcores[me].burst.first().map(Packet::flow_hash)
            && Self::IS_SEEN
        {
            self.begin_busy(me, now, flow_hash, Cost::Expensive);
        }
        let each = costs.dequeue_pkt_ns + line + costs.send_pkt_ns + costs.release_pkt_ns;
        let ticks = ticks
            + 2 * costs.clock_ns
            + costs.dequeue_ns
            + line
            + work
            + pkts as u64 * each
            + costs.send_burst_ns;
        self.spend(me, now, ticks, Doing::Working { permit, began_ticks: now });
    }

    fn worked(&mut self, me: usize, now: u64, began_ticks: u64, permit: Option<Permit<'a>>) {
        let mut burst = std::mem::take(&mut self.lcores[me].burst);
        let pkts = burst.len();
        burst.drain(..).for_each(|packet| self.depart(me, now, packet));
        self.give_back(permit, now);
        let lcore = &mut self.lcores[me];
        lcore.burst = burst;
        lcore.found_something();
        if pkts > 0 {
            lcore.budget.observe(pkts, now - began_ticks);
            if Self::IS_SEEN {
                self.end_busy(me, now);
            }
        }
        self.step(me, now);
    }

    fn unbox(&mut self, me: usize, now: u64) {
        let ticks = self.costs.dequeue_ns + self.costs.near_line_ns;
        match self.inboxes[me].pop_front() {
            Some(packet) => {
                self.lcores[me].found_something();
                self.run_alone(me, now, (Alone { packet, unknown: false }, None), ticks);
            }
            None => self.found_nothing(me, now, ticks),
        }
    }

    // ---- What the lcore shows ----

    fn show_running(&mut self, me: usize, now: u64) {
        if !P::SHARES {
            return;
        }
        self.lcores[me].pace.end(now);
        let Some(shown) = self.seen.boards[me].beat.show(now) else { return };
        self.settle(me, now);
        if now - shown > self.stall_ticks {
            self.lcores[me].pace.note_silence(now, now - shown);
        }
    }

    fn settle(&mut self, me: usize, now: u64) {
        let lcore = &mut self.lcores[me];
        if now.wrapping_sub(lcore.settled_ticks) > self.stall_ticks {
            lcore.settled_ticks = now;
            lcore.signs.settle(&self.seen.boards[me]);
        }
    }

    fn show_pressure(&mut self, me: usize, now: u64, pressed: bool) {
        let board = &self.seen.boards[me];
        if pressed && P::RESCUES {
            self.lcores[me].signs.show_pressed();
            if board.pressed_since_ticks().is_none() {
                self.wake_all(now);
            }
        }
        self.seen.boards[me].show_pressure(pressed.then_some(now));
    }

    fn show_waiting(&mut self, me: usize, now: u64) {
        let pkts = self.lcores[me].run_queue.len();
        if pkts > 0 {
            self.lcores[me].signs.show_queued();
        }
        self.seen.boards[me].heartbeat.publish_queued(pkts);
        if pkts > 0 {
            self.wake_all(now);
        }
    }

    fn begin_busy(&mut self, me: usize, now: u64, flow_hash: u32, cost: Cost) {
        self.show_waiting(me, now);
        if P::RESCUES {
            self.lcores[me].signs.show_away();
        }
        self.seen.boards[me].heartbeat.begin(Busy { since_ticks: now, flow_hash, cost });
        if P::RESCUES {
            self.wake_all(now);
        }
    }

    fn end_busy(&mut self, me: usize, now: u64) {
        let board = &self.seen.boards[me];
        board.heartbeat.end();
        if board.beat.show(now).is_some() {
            self.settle(me, now);
        }
        self.show_waiting(me, now);
    }

    // ---- Other lcores ----

    fn look_around(&mut self, me: usize, now: u64) {
        self.show_running(me, now);
        self.settle(me, now);
        let shards_nonempty = self.shards_wait(me);
        // Sleepers run, unless the host has stopped them.
        let stops = !self.setup.gaps.cpus.is_empty();
        if P::RESCUES && self.sleepers > 0 && stops {
            for (board, lcore) in self.seen.boards.iter().zip(&mut self.lcores) {
                if lcore.sleep.is_some() {
                    board.beat.show(lcore.gaps.ran_at(now));
                }
            }
        }
        let asleep = &self.asleep;
        let (seen, draining) = (self.seen, self.draining);
        let Lcore { watch, policy, pool, permit_refused, empty_polls, .. } = &mut self.lcores[me];
        let peers = watch.look(now, &seen.attention, |at| {
            if asleep[at] && !stops {
                seen.boards[at].beat.show(now);
            }
            &seen.boards[at]
        });
        let changed = peers.len() as u64;
        let help = policy.help(&PeersView {
            me,
            lcores: seen.boards.len(),
            pool: *pool,
            draining,
            permit_refused: *permit_refused,
            shards_nonempty,
            permit_available: seen.permits.is_available(*pool),
            peers,
        });
        (*empty_polls, *permit_refused) = (0, false);
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

    fn adopt(&mut self, me: usize, now: u64, ticks: &mut u64) -> bool {
        let away = &self.seen.attention.away;
        for _ in 0..self.lcores[me].adoption.begin(away, now) {
            let Some(owner) = self.lcores[me].adoption.next(away) else { break };
            *ticks += self.line(me, owner);
            let hint = self.seen.boards[owner].away_hint(owner, now);
            if !self.lcores[me].policy.adopts(&hint) {
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

    fn steal(&mut self, me: usize, now: u64, victim: usize, ticks: u64) {
        let costs = self.costs;
        let room = self.setup.run_queue_pkts.saturating_sub(self.lcores[me].run_queue.len());
        let from = &mut self.lcores[victim].run_queue;
        let pkts = from.len().div_ceil(2).min(room).min(self.setup.burst);
        let ticks = ticks + costs.steal_ns + self.line(me, victim);
        if pkts == 0 {
            return self.pause(me, now, ticks + costs.rest_ns, true);
        }
        let mut loot: VecDeque<Packet> = self.lcores[victim].run_queue.drain(..pkts).collect();
        self.lcores[me].run_queue.append(&mut loot);
        self.outcome.steals += 1;
        self.serve_run_queue(me, now, ticks + pkts as u64 * costs.steal_pkt_ns);
    }

    // ---- Places, sending and shedding ----

    /// Gives the packet a place in its flow. False if there is none.
    fn enter(&mut self, packet: &mut Packet) -> bool {
        let order = &self.seen.order;
        let bucket = order.bucket(usize::from(packet.queue), packet.flow_hash());
        packet.ticket = order.enter(bucket).ok();
        packet.ticket.is_some()
    }

    /// The packet stays on its lcore: it needs a place only behind another one.
    fn stay(&mut self, packet: &mut Packet, ticks: &mut u64) -> bool {
        let (order, queue) = (&self.seen.order, usize::from(packet.queue));
        if order.is_idle(queue) || !order.in_flight(order.bucket(queue, packet.flow_hash())) {
            return true;
        }
        *ticks += self.costs.enter_pkt_ns;
        self.enter(packet)
    }

    /// Others may get the packet. Those of its bucket that came before it and
    /// are still here get their places before it.
    fn go_away(&mut self, me: usize, packet: &mut Packet, ticks: &mut u64) -> bool {
        let order = &self.seen.order;
        let bucket = |packet: &Packet| order.bucket(usize::from(packet.queue), packet.flow_hash());
        let own = bucket(packet);
        for before in &mut self.lcores[me].cheap {
            if before.ticket.is_none() && bucket(before) == own {
                *ticks += self.costs.enter_pkt_ns;
                before.ticket = order.enter(own).ok();
                if before.ticket.is_none() {
                    return false;
                }
            }
        }
        if !P::SHARES {
            *ticks += self.costs.enter_pkt_ns;
        }
        self.enter(packet)
    }

    /// The packet's stage is over: it is sent when it is its turn, and with it
    /// those that waited for it.
    fn depart(&mut self, me: usize, now: u64, packet: Packet) {
        self.lcores[me].done_pkts += 1;
        let Some(ticket) = packet.ticket else { return self.emit(me, now, packet) };
        if let Some(packet) = self.seen.order.finish(ticket, packet) {
            self.send_placed(me, now, ticket, packet);
        }
    }

    fn send_placed(&mut self, me: usize, now: u64, mut ticket: Ticket, mut packet: Packet) {
        let order = &self.seen.order;
        loop {
            self.outcome.reordered_pkts += u64::from(order.note_sent(ticket) > 0);
            self.emit(me, now, packet);
            let Some(next) = order.release(ticket) else { return };
            (ticket, packet) = next;
            self.lcores[me].debt_ticks += self.costs.send_pkt_ns + self.costs.release_pkt_ns;
        }
    }

    /// The driver has accepted the packet. The next reading of the clock tells
    /// when.
    fn emit(&mut self, me: usize, now: u64, packet: Packet) {
        let sent_ticks = now + self.costs.clock_ns - START_TICKS;
        self.outcome.sent_pkts += 1;
        self.outcome.ended_ticks = self.outcome.ended_ticks.max(sent_ticks);
        (self.sent)(Sent {
            due_ticks: packet.due_ticks - START_TICKS,
            sent_ticks,
            cost_ticks: packet.cost_ticks,
            expensive: packet.expensive,
            queue: usize::from(packet.queue),
            lcore: me,
        });
    }

    fn drop_packet(&mut self, me: usize, now: u64, packet: Packet) {
        self.outcome.dropped_pkts += 1;
        if let Some(ticket) = packet.ticket
            && let Some((ticket, packet)) = self.seen.order.release(ticket)
        {
            self.send_placed(me, now, ticket, packet);
        }
    }

    /// Hands over what is deferred. Returns how long that takes.
    fn shed(&mut self, me: usize, now: u64) -> u64 {
        if self.lcores[me].deferred.is_empty() {
            return 0;
        }
        let mut deferred = std::mem::take(&mut self.lcores[me].deferred);
        let pkts = deferred.len() as u64;
        match self.lcores[me].shard {
            Some(shard) => self.put_into_shard(shard, now, &mut deferred),
            None => self.put_into_inboxes(me, now, &mut deferred),
        }
        self.outcome.sheds += pkts - deferred.len() as u64;
        deferred.drain(..).for_each(|packet| self.drop_packet(me, now, packet));
        self.lcores[me].deferred = deferred;
        self.costs.shed_ns + pkts * self.costs.shed_pkt_ns
    }

    /// As many as there is room for; the others stay.
    fn put_into_shard(&mut self, shard: usize, now: u64, deferred: &mut Vec<Packet>) {
        let ring = &mut self.shards[shard];
        let room = deferred.len().min(self.setup.ring_pkts.saturating_sub(ring.len()));
        let Some(first) = deferred.first().filter(|_| room > 0) else { return };
        let stamp = first.due_ticks;
        ring.extend(deferred.drain(..room));
        if let Some(heads) = &self.seen.heads {
            heads.enqueued(shard, stamp);
        }
        self.wake_all(now);
    }

    fn put_into_inboxes(&mut self, me: usize, now: u64, deferred: &mut Vec<Packet>) {
        let (ring_pkts, lcores) = (self.setup.ring_pkts, self.lcores.len());
        let mut put = Vec::with_capacity(deferred.len());
        deferred.retain(|&packet| {
            let (boards, inboxes) = (&self.seen.boards, &self.inboxes);
            let pkts = |at: usize| inboxes[at].len() + usize::from(boards[at].is_away());
            let at = self.lcores[me].policy.inbox(lcores, pkts);
            let fits = self.inboxes[at].len() < ring_pkts;
            if fits {
                self.inboxes[at].push_back(packet);
                put.push(at);
            }
            !fits
        });
        put.into_iter().for_each(|at| self.wake(at, now));
    }

    fn found_nothing(&mut self, me: usize, now: u64, ticks: u64) {
        self.lcores[me].empty_polls += 1;
        self.pause(me, now, ticks + self.costs.poll_empty_ns, false);
    }

    // ---- Pools that follow the load ----

    fn fit_pools(&mut self, now: u64) {
        let (lcores, window) = (self.setup.lcores, WINDOW_TICKS);
        if self.fitter.pending.is_none() {
            let work = self.work_ticks(now);
            let ticks = (now - self.fitter.began_ticks) as f64;
            let [cheap, expensive] = [0, 1]
                .map(|at| work[at].saturating_sub(self.fitter.before_ticks[at]) as f64 / ticks);
            (self.fitter.began_ticks, self.fitter.before_ticks) = (now, work);
            let workers = lcores - self.seen.split.pool_a();
            let load = Erlangs { cheap, expensive };
            self.fitter.pending = self.fitter.sizer.observe(load, workers);
            self.outcome.pool_changes += u64::from(self.fitter.pending.is_some());
        }
        if let Some(workers) = self.fitter.pending {
            let shown = self.seen.boards.iter().map(|board| board.pool());
            let pool_a = lcores - workers;
            if self.seen.split.advance(pool_a, workers, &self.seen.permits, shown) {
                self.fitter.pending = None;
            }
            // Sleepers move, too, and show it.
            let moves = |at: usize| self.seen.split.pool_of(at) != self.lcores[at].pool;
            let moving: Vec<usize> = (0..lcores).filter(|&at| moves(at)).collect();
            for at in moving {
                if self.lcores[at].sleep.is_some() {
                    self.agenda.set(at, now);
                }
            }
        }
        let next = if self.fitter.pending.is_some() { CHANGE_TICKS } else { window };
        let next = if self.draining { NEVER } else { now + next };
        self.agenda.set(lcores + 1, next);
    }

    /// Ticks of cheap and of expensive work until `now`. A long stage counts as
    /// far as it has come.
    fn work_ticks(&self, now: u64) -> [u64; 2] {
        let mut work = [0; 2];
        for (board, lcore) in self.seen.boards.iter().zip(&self.lcores) {
            work[0] += lcore.work_ticks[0];
            work[1] += lcore.work_ticks[1];
            if let Some(busy) = board.heartbeat.busy() {
                work[usize::from(busy.cost == Cost::Expensive)] += now - busy.since_ticks;
            }
        }
        work
    }
}
