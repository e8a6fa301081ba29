//! Runs what this lcore has polled, keeps or dequeues, and shows the other
//! lcores meanwhile whether they can help.

use super::activity::Activities;
use super::handoff::Handoff;
use super::intake::Intake;
use super::orders::{Order, Orders};
use super::packet::{Alone, Arrival, Origin, Outgoing, Stage};
use super::poller::{Polled, Poller};
use super::rescue::Rescue;
use super::ring_ends::RingEnds;
use super::run_state::RunState;
use super::setup::{Queues, Settings, Shared};
use super::shard::ShardProducer;
use super::stages::Stages;
use super::steps::{Held, Steps};
use super::timing::Timing;
use crate::dpdk::BurstSize;
use crate::engine::{Engine, flow_hash};
use crate::order::{Keeping, Order as Flows};
use crate::policy::{Deferral, Excess, Help, Policy, Pool, Step};
use crate::shed::Heads;
use crate::stats::{Activity, Lap, LcoreStats};
use micropools::pace::Pace;

pub(super) struct Runner<'a, E, P> {
    me: usize,
    steps: Steps<'a, P>,
    stages: Stages<'a, E, P>,
    poller: Poller<'a>,
    intake: Intake<'a>,
    /// The rings of the start, once others are used.
    retired: Option<Box<Intake<'a>>>,
    rescue: Rescue<'a>,
    pace: Pace,
    activities: Activities<'a>,
    run: &'a RunState,
    orders: &'a Orders,
    order: &'a Flows<Outgoing>,
    settings: Settings,
    stats: &'a LcoreStats,
}

impl<'a, E: Engine> Runner<'a, E, ()> {
    /// Of the lcore whose board is the one at `me`. It runs in no mode yet.
    pub(super) fn new(
        me: usize,
        engine: E,
        settings: Settings,
        shared: Shared<'a>,
        queues: Queues,
        stats: &'a LcoreStats,
    ) -> Self {
        let Queues { buffers, tx, rings, run_queue, kept, stealers } = queues;
        let RingEnds { shard, shards, inbox, inboxes, picker } = rings;
        let (boards, heads) = (shared.boards, shared.heads);
        let shard = shard.map(|shard| ShardProducer::new(shard, settings.stamp, heads));
        let handoff = Handoff::new((run_queue, kept), shard, inboxes, boards, &settings, stats);
        Self {
            me,
            steps: Steps::new(me, &settings, shared),
            stages: Stages::new(engine, handoff, (tx, buffers), &settings, shared, stats),
            poller: Poller::new(me, &settings, shared, stats),
            intake: Intake::new((shards, picker), heads, inbox, &settings, stats),
            retired: None,
            rescue: Rescue::new(me, stealers, &settings, shared, stats),
            pace: Pace::new(settings.burst.pkts(), Excess::Leave, |ns| settings.ticks(ns)),
            activities: Activities::new(&settings, &stats.activity_ticks),
            run: shared.run,
            orders: shared.orders,
            order: shared.order,
            settings,
            stats,
        }
    }
}

impl<'a, E, P> Runner<'a, E, P> {
    /// The same, by another policy.
    fn by<Q>(self, policy: Q) -> Runner<'a, E, Q> {
        Runner {
            me: self.me,
            steps: self.steps.by(policy),
            stages: self.stages.by(),
            poller: self.poller,
            intake: self.intake,
            retired: self.retired,
            rescue: self.rescue,
            pace: self.pace,
            activities: self.activities,
            run: self.run,
            orders: self.orders,
            order: self.order,
            settings: self.settings,
            stats: self.stats,
        }
    }

    /// Follows an order, by that policy.
    #[cold]
    pub(super) fn enter<Q: Policy>(self, policy: Q, order: Order) -> Runner<'a, E, Q>
    where
        E: Engine,
    {
        let mut entered = self.by(policy);
        entered.follow(order);
        entered
    }
}

impl<'a, E: Engine, P: Policy> Runner<'a, E, P> {
    /// Whether others look whether it is busy: to help, or to send it nothing
    /// more.
    const IS_SEEN: bool = P::STEALS || P::RESCUES || matches!(P::DEFERRED, Deferral::Inbox);

    // ---- Orders ----

    fn follow(&mut self, order: Order) {
        let now = self.stages.now();
        if let Some(spare) = self.orders.spare()
            && let Some(rings) = spare.take(self.me)
        {
            self.use_rings(rings, spare.heads());
        }
        self.poller.follow(self.orders, order, P::SHARES);
        self.steps.follow();
        self.rescue.follow(order, P::RESCUES, now);
        self.show_waiting();
        let (burst, settings) = (self.settings.burst.pkts(), self.settings);
        self.pace = Pace::new(burst, self.steps.policy().excess(), |ns| settings.ticks(ns));
        self.orders.follow(self.me, order.version);
    }

    /// From now on it uses these rings. What is in the ones before is still
    /// dequeued, see `settle`.
    fn use_rings(&mut self, rings: RingEnds, heads: Option<&'a Heads>) {
        let RingEnds { shard, shards, inbox, inboxes, picker } = rings;
        let shard = shard.map(|shard| ShardProducer::new(shard, self.settings.stamp, heads));
        self.stages.handoff().use_rings(shard, inboxes);
        let intake = Intake::new((shards, picker), heads, inbox, &self.settings, self.stats);
        self.retired = Some(Box::new(std::mem::replace(&mut self.intake, intake)));
    }

    /// Ends its part in the mode. Whoever polls its queues next finds everything
    /// before it in order.
    #[cold]
    pub(super) fn leave(mut self) -> Runner<'a, E, ()> {
        self.stages.sender().keep_all_places();
        self.poller.release_all();
        self.by(())
    }

    /// Does a step of what the last mode has left and this one does not do.
    /// Returns whether nothing of it is left, or can come.
    #[cold]
    pub(super) fn settle(&mut self, order: Order) -> bool {
        // First of all: what others have put into rings before they followed is
        // seen below.
        let all_follow = self.orders.all_follow(order.version);
        let facts = order.mode.facts();
        let mut is_left = false;
        if !facts.has_inboxes {
            is_left |= self.empty_inbox();
        }
        if let Some(mut retired) = self.retired.take() {
            std::mem::swap(&mut self.intake, &mut retired);
            is_left |= self.empty_inbox();
            if !facts.has_pools || facts.dequeues.includes(self.pool()) {
                is_left |= self.empty_shards();
            }
            std::mem::swap(&mut self.intake, &mut retired);
            self.retired = Some(retired);
        }
        if !facts.has_pools {
            is_left |= self.empty_shards();
        }
        // In these modes the others only dequeue.
        if facts.has_pools && !facts.polls.includes(self.pool()) {
            is_left |= self.serve_held();
        }
        all_follow && !is_left
    }

    /// Keeps packets of the inbox. Returns whether there were any.
    fn empty_inbox(&mut self) -> bool {
        let room = self.stages.handoff().room_to_keep().min(self.settings.burst.pkts());
        if self.intake.inbox_pkts() == 0 || room == 0 {
            return self.intake.inbox_pkts() > 0;
        }
        self.intake.empty_inbox(self.stages.burst(), room);
        self.stages.keep_burst();
        true
    }

    /// Serves packets of the shards. Returns whether there were any.
    fn empty_shards(&mut self) -> bool {
        let is_left = self.intake.shards_hold_packets();
        if is_left {
            self.work();
        }
        is_left
    }

    /// Serves packets that it holds. Returns whether there were any.
    fn serve_held(&mut self) -> bool {
        if self.stages.handoff().run_queue_pkts() > 0 {
            self.serve_run_queue();
        } else if self.stages.handoff().kept_pkts() > 0 {
            self.run_kept();
        } else {
            return false;
        }
        true
    }

    // ---- What to do next ----

    #[inline(always)]
    pub(super) fn next_step(&mut self, draining: bool) -> Step {
        let held = Held {
            run_queue_pkts: self.stages.handoff().run_queue_pkts(),
            kept_pkts: self.stages.handoff().kept_pkts(),
            inbox_pkts: if P::DEFERRED == Deferral::Inbox { self.intake.inbox_pkts() } else { 0 },
            done_pkts: if P::COUNTS { self.stages.done_pkts() } else { 0 },
        };
        let is_worker = P::WORKERS_POLL && self.steps.pool() == Pool::B;
        let shards_wait = is_worker && self.intake.shards_wait();
        self.steps.next(held, self.poller.own(), shards_wait, draining)
    }

    /// The pool of the next step.
    #[inline(always)]
    pub(super) fn pool(&mut self) -> Pool {
        self.steps.pool()
    }

    /// The own receive queues, and others' that this lcore may poll.
    pub(super) fn poller(&mut self) -> &mut Poller<'a> {
        &mut self.poller
    }

    pub(super) fn rescue(&mut self) -> &mut Rescue<'a> {
        &mut self.rescue
    }

    pub(super) fn stealable_pkts(&mut self) -> usize {
        self.stages.stealable_pkts()
    }

    #[inline(always)]
    pub(super) fn timing(&mut self) -> &mut Timing<'a> {
        self.stages.timing()
    }

    /// Books the latency of all that drivers accepted until `now`.
    #[inline(always)]
    pub(super) fn close(&mut self, now: u64) {
        self.stages.sender().close(now);
    }

    // ---- A burst of a receive queue ----

    /// Begins a poll. One reading of the clock closes the last burst's latency
    /// and opens the next one's. Returns that reading.
    #[inline(always)]
    pub(super) fn begin_poll(&mut self) -> u64 {
        let now = self.stages.now();
        self.stages.laps().start();
        self.stages.sender().close(now);
        self.stages.laps().lap(Lap::Statistics);
        self.stages.timing().resume(now);
        self.activities.enter(now, Activity::Poll);
        self.show_running(now);
        self.steps.forget_refusal();
        now
    }

    /// As [`Poller::poll`].
    #[inline(always)]
    pub(super) fn poll(&mut self, at: usize, now: u64, want: BurstSize) -> Option<Polled> {
        self.poller.poll(at, now, want, self.stages.burst())
    }

    /// Shows whether this lcore is pressed, by a poll of an own queue that
    /// wanted so many packets. Returns that.
    #[inline(always)]
    pub(super) fn show_pressure(&mut self, now: u64, pkts: usize, want: BurstSize) -> bool {
        if self.goes_on(now, pkts) {
            return false;
        }
        let pressed = self.pace.is_pressed(pkts, want.pkts());
        self.rescue.show_pressure(now, pressed || P::RESCUES && self.pace.is_wary(now));
        pressed
    }

    /// Whether a burst of so many packets, polled at `now`, is one more of many
    /// full ones, to be served as they were.
    #[inline(always)]
    fn goes_on(&self, now: u64, pkts: usize) -> bool {
        self.pace.is_steady(now) && pkts == self.settings.burst.pkts()
    }

    /// Ends the burst before, if queues are shared, and shows the others that
    /// this lcore runs.
    #[inline(always)]
    fn show_running(&mut self, now: u64) {
        if !P::SHARES {
            return;
        }
        self.pace.end(now);
        if self.pace.is_steady(now) {
            return;
        }
        if let Some(silent_ticks) = self.rescue.show_running(now) {
            self.pace.note_silence(now, silent_ticks);
        }
    }

    /// The queue whose burst was served under its lease is free from now on: of
    /// that burst, nothing is left here without a place.
    #[inline(always)]
    pub(super) fn release_burst(&mut self) {
        self.stages.sender().keep_all_places();
        self.poller.release_borrowed();
    }

    /// Whether this lcore, which is likely to lose its CPU again, leaves the own
    /// queue at `at` to others, which have polled it a short time ago.
    #[inline(always)]
    pub(super) fn leaves(&self, at: usize, now: u64) -> bool {
        P::RESCUES && self.pace.is_wary(now) && self.poller.others_keep_up(at, now)
    }

    /// How many packets to poll from that queue. `None` while too many before
    /// them are in flight: they would find no place in their flows, and wait in
    /// the queue instead of being dropped.
    #[inline(always)]
    pub(super) fn wanted(&mut self, at: usize) -> Option<BurstSize> {
        let want = if P::SHARES {
            self.pace.note_backlog(self.poller.full_polls(at));
            BurstSize::of(self.pace.burst() as u16)
        } else {
            self.settings.burst
        };
        let Flows::Keeping(keeping) = self.order else { return Some(want) };
        let queue = self.poller.number(at);
        (keeping.is_idle(queue) || self.has_room(keeping, queue, want)).then_some(want)
    }

    /// Whether there are places for so many packets of that queue, and for all
    /// that must get theirs before them. A queue without packets in flight is
    /// polled in any case: nothing would make more room.
    #[inline(never)]
    fn has_room(&mut self, keeping: &Keeping<Outgoing>, queue: usize, want: BurstSize) -> bool {
        keeping.room(queue) >= want.pkts() + self.stages.sender().unplaced_pkts_max()
    }

    /// Counts a burst, and serves it. Returns whether it left as a whole, so
    /// that nothing waits here.
    #[inline(always)]
    pub(super) fn receive(&mut self, polled: Polled) -> bool {
        if let Some(field) = self.stages.timing().driver_stamps() {
            let before = self.poller.stamped_ticks(polled.at);
            let last = self.stages.check_stamps(field, polled.arrival, before);
            self.poller.note_stamped(polled.at, last);
        }
        self.stages.laps().lap(Lap::Rx);
        self.steps.found_something();
        self.activities.enter(polled.arrival.polled_ticks, Activity::Cheap);
        self.stages.timing().received(polled.emptied_ticks, polled.arrival.polled_ticks);
        self.run.count_received(polled.pkts as u64);
        self.stages.laps().count(polled.pkts);
        self.stages.laps().lap(Lap::Statistics);
        self.serve_burst(polled)
    }

    /// Serves and sends the burst. Returns whether all of it has left at once,
    /// and nothing waits.
    #[inline(always)]
    fn serve_burst(&mut self, polled: Polled) -> bool {
        let polled_ticks = polled.arrival.polled_ticks;
        let measured = self.stages.timing().begin_burst();
        if measured.is_some() {
            self.stages.timing().book_unseen(polled_ticks);
        }
        if P::SHARES && !self.goes_on(polled_ticks, polled.pkts) {
            let whole = self.pace.begin_polled(polled_ticks, polled.pkts);
            if !whole {
                self.stages.place_all();
                return self.serve_piles(polled, measured.is_some());
            }
        }
        if !self.stages.send_whole(polled, measured) {
            return self.serve_piles(polled, measured.is_some());
        }
        !self.stages.has_backlog()
    }

    /// Sorts the burst into piles, sheds what is deferred, serves what is
    /// cheap, and sends it. `measured`: the parts of these packets' latency
    /// are. Returns as `serve_burst`.
    #[inline(never)]
    fn serve_piles(&mut self, polled: Polled, measured: bool) -> bool {
        let received = self.stages.take_apart(polled);
        let alone = match self.stages.goes_whole(polled.arrival.port) {
            Some(counting) => self.stages.defer_burst(counting, polled.arrival),
            None => self.classify(polled.arrival),
        };
        if P::SHARES {
            // Each packet has its place: any lcore may poll the queue now.
            self.poller.release_borrowed();
        }
        self.stages.laps().lap(Lap::Classify);
        self.finish(Origin::Poll(polled.arrival), alone, measured);
        self.stages.end_burst(received);
        false
    }

    /// Puts the burst on piles. What a pressed lcore has no time for is left
    /// over, and shown to others.
    #[inline]
    fn classify(&mut self, arrival: Arrival) -> Option<Alone> {
        let own_pkts = if P::SHARES { self.pace.own_pkts() } else { usize::MAX };
        let alone = self.stages.classify(arrival, own_pkts);
        if own_pkts < usize::MAX {
            self.show_waiting();
        }
        alone
    }

    /// Sheds, serves and sends what is on the piles. Then runs what must run
    /// alone, with nothing left in private.
    #[inline]
    fn finish(&mut self, by: Origin, alone: Option<Alone>, measured: bool) {
        self.stages.finish(self.steps.policy(), by, measured);
        if let Some(alone) = alone {
            self.run_alone(alone);
        }
    }

    // ---- What this lcore holds ----

    /// Serves packets that were left over, up to the first that must run alone.
    pub(super) fn serve_run_queue(&mut self) {
        self.stages.timing().begin_work();
        self.stages.laps().start();
        let now = self.stages.now();
        self.show_running(now);
        self.activities.enter(now, Activity::Cheap);
        self.stages.sender().close(now);
        let pkts_max = if P::SHARES { self.pace.own_pkts() } else { usize::MAX };
        let alone = self.stages.classify_left_over(pkts_max);
        if P::SHARES {
            self.pace.begin(now, self.stages.cheap_pkts());
        }
        if P::STEALS {
            self.show_waiting();
        }
        self.stages.laps().lap(Lap::Classify);
        let measured = self.stages.timing().begin_burst().is_some();
        self.finish(Origin::Packet, alone, measured);
    }

    /// Runs one kept packet to its end.
    pub(super) fn run_kept(&mut self) {
        let Some(permit) = self.steps.permit() else { return };
        if let Some(packet) = self.stages.handoff().pop_kept() {
            self.run_alone(Alone { packet, unknown: false });
        }
        drop(permit);
    }

    /// Puts kept packets into the own shard again.
    pub(super) fn shed_kept(&mut self) {
        self.steps.forget_refusal();
        self.stages.shed_kept(self.steps.policy());
    }

    /// Runs one packet of the inbox to its end.
    pub(super) fn unbox(&mut self) {
        if let Some(packet) = self.intake.unbox(self.stages.burst()) {
            self.run_alone(Alone { packet, unknown: false });
        }
    }

    /// Runs one packet of unknown or expensive cost to its end, and shows that
    /// meanwhile.
    fn run_alone(&mut self, alone: Alone) {
        self.pace.forget();
        let (start, stage) = (self.stages.begin_alone(), alone.stage());
        let activity = match stage {
            Stage::Cheap => Activity::Cheap,
            Stage::Expensive => Activity::Expensive,
        };
        self.activities.enter(start, activity);
        if Self::IS_SEEN {
            self.begin_busy(start, flow_hash(&alone.packet), stage);
        }
        let counts = self.stages.timing().is_counting();
        let served = self.stages.serve_alone(alone, start, counts);
        let end = if Self::IS_SEEN || counts { self.stages.now() } else { 0 };
        if Self::IS_SEEN {
            self.end_busy(end);
        }
        if end != 0 {
            self.activities.enter(end, Activity::Poll);
        }
        if counts {
            self.stages.timing().end_stage_at(end, start, stage, served);
        }
        self.stages.finish_alone(self.steps.policy(), stage);
    }

    // ---- What others deferred ----

    /// Dequeues from the shard that the choice falls on, as many packets as the
    /// time budget allows, and finishes them.
    #[inline]
    pub(super) fn work(&mut self) {
        self.pace.forget();
        let Some(picked) = self.intake.pick() else { return self.found_shards_empty() };
        let Some(permit) = self.steps.permit() else { return };
        let shard = self.intake.claim(picked);
        self.intake.sample_rank(shard);
        let start = self.stages.now();
        self.stages.timing().resume(start);
        self.activities.enter(start, Activity::Expensive);
        self.stages.sender().close(start);
        self.stages.laps().start();
        let pkts_max = self.intake.pkts_max();
        let dequeued = self.intake.dequeue(shard, self.stages.burst(), pkts_max);
        self.stages.laps().lap(Lap::Rx);
        // However few these are expected to be: what is expected may be wrong.
        let may_be_long = Self::IS_SEEN && dequeued > 0;
        if may_be_long && let Some(packet) = self.stages.burst().packets().first() {
            let flow = flow_hash(packet);
            self.begin_busy(start, flow, Stage::Expensive);
        }
        let measured = self.stages.begin_expensive(start, pkts_max == 1);
        // Where packets are dequeued one by one, which may take long, nothing
        // is prefetched.
        let next = if pkts_max > 1 { pkts_max } else { 0 };
        let at_once = self.stages.counts_places();
        if at_once {
            // A core has about 24 outstanding misses, and stalls beyond that:
            // the next packets' headers are prefetched a third at a time, here
            // and while these are sent.
            self.intake.prefetch(shard, next / 3);
            self.stages.serve_expensive_burst();
        } else {
            self.stages.serve_expensive();
        }
        if measured {
            self.stages.timing().end_stage(start, Stage::Expensive, dequeued as u64);
        }
        self.stages.laps().lap(Lap::Engine);
        self.intake.prefetch(shard, 2 * next / 3);
        if at_once {
            self.stages.send_expensive();
        }
        self.intake.prefetch(shard, next);
        self.stages.sender().flush(Stage::Expensive);
        self.stages.laps().lap(Lap::Tx);
        drop(permit);
        let end = self.stages.now();
        if may_be_long {
            self.end_busy(end);
        }
        self.activities.enter(end, Activity::Poll);
        self.steps.found_something();
        self.intake.finish(dequeued, end.wrapping_sub(start));
        self.stages.sender().close(end);
        self.stages.laps().lap(Lap::Statistics);
        self.stages.laps().count(dequeued);
    }

    // ---- What others see ----

    /// Shows that this lcore is about to be busy with a packet of unknown or
    /// expensive cost: from now on others may poll its queues and steal what
    /// waits in its run queue.
    #[inline]
    fn begin_busy(&mut self, now: u64, flow_hash: u32, stage: Stage) {
        self.show_waiting();
        self.rescue.begin_busy(now, flow_hash, stage);
        if P::RESCUES {
            self.stages.sender().keep_all_places();
            self.poller.release_all();
        }
    }

    /// Shows that this lcore is no longer busy. It acquires its leases again
    /// with its next polls.
    #[inline]
    fn end_busy(&mut self, now: u64) {
        self.rescue.end_busy(now);
        self.show_waiting();
    }

    #[inline]
    fn show_waiting(&mut self) {
        self.rescue.show_waiting(self.stages.stealable_pkts());
    }

    // ---- Help for others ----

    /// Looks around, and chooses what to help with. Returns that, and when.
    pub(super) fn choose_help(&mut self) -> (Help, u64) {
        let now = self.stages.now();
        self.stages.timing().resume(now);
        self.activities.enter(now, Activity::Idle);
        self.show_running(now);
        self.rescue.settle(now);
        self.stages.sender().close(now);
        let (shards_wait, draining) = (self.intake.shards_wait(), self.run.is_draining());
        let wary = self.pace.is_wary(now);
        (self.steps.help(self.rescue.look(now), wary, shards_wait, draining), now)
    }

    /// As [`Timing::first_arrival`], of what was polled last.
    pub(super) fn first_arrival(&mut self, polled: Arrival) -> u64 {
        self.stages.first_arrival(polled)
    }

    /// As [`receive`](Self::receive), of another lcore's queue.
    pub(super) fn receive_for(&mut self, polled: Polled) {
        self.activities.set_helping(true);
        self.receive(polled);
        self.activities.set_helping(false);
    }

    /// A look around that began at `now` found no lcore that needs help.
    pub(super) fn looked_in_vain(&mut self, now: u64) {
        self.stages.timing().looked_in_vain(now, self.rescue.looks());
    }

    /// Whether to poll for that lcore, although there is own work.
    pub(super) fn adopts(&self, owner: usize, now: u64) -> bool {
        self.steps.adopts(&self.rescue.away_hint(owner, now))
    }

    /// Moves up to half of another lcore's run queue into the own one, and
    /// serves a burst of that. Thieves that only stole from each other would
    /// pass packets round for ever.
    pub(super) fn steal(&mut self, victim: usize, since: u64) {
        let limit = self.stages.room();
        let stolen = self.rescue.steal(victim, limit, self.stages.burst());
        if stolen == 0 {
            return self.steal_kept(victim, since);
        }
        let oldest = self.stages.receive_stolen();
        self.rescue.record_steal(victim, (since, self.stages.now()), stolen, oldest);
        self.activities.set_helping(true);
        self.serve_run_queue();
        self.activities.set_helping(false);
    }

    /// Steals one packet that another lcore keeps, which is known to be
    /// expensive. It goes where this lcore's own would.
    fn steal_kept(&mut self, victim: usize, since: u64) {
        let stolen = self.rescue.steal_kept(victim, self.stages.burst());
        if stolen == 0 {
            return self.rest();
        }
        let oldest = self.stages.shed_stolen(self.steps.policy());
        self.rescue.record_steal(victim, (since, self.stages.now()), stolen, oldest);
    }

    // ---- Nothing to do ----

    /// The shards have nothing for a worker, whose look at them is its poll.
    #[cold]
    fn found_shards_empty(&mut self) {
        let now = self.stages.now();
        self.stages.timing().resume(now);
        self.activities.enter(now, Activity::Poll);
        self.stages.timing().polled_in_vain(now, None);
        self.found_nothing();
    }

    /// Nothing came of this poll, which says so.
    #[cold]
    pub(super) fn found_nothing(&mut self) -> bool {
        self.steps.found_nothing();
        self.rest();
        false
    }

    #[cold]
    pub(super) fn rest(&mut self) {
        self.stages.rest();
        self.steps.rest();
    }

    // ---- The backlog, and the end of the run ----

    #[inline(always)]
    pub(super) fn has_backlog(&self) -> bool {
        self.stages.has_backlog()
    }

    #[cold]
    pub(super) fn offer_backlog(&mut self) {
        self.stages.sender().offer_backlog();
    }

    /// Polls lost ports no longer, and sends nothing by them.
    #[cold]
    pub(super) fn answer(&mut self) {
        self.activities.answer(self.run);
        self.poller.give_up_lost_ports();
        self.stages.sender().give_up_lost_ports();
    }

    /// Asked only while draining: whether all that this lcore could still get
    /// has been finished. First it says that it will shed nothing more, once it
    /// holds nothing; from then on what it still gets from others it runs to
    /// the end itself.
    #[cold]
    pub(super) fn is_done(&mut self) -> bool {
        if self.run.is_abandoned() {
            self.abandon();
        }
        if self.stages.stealable_pkts() > 0 {
            return false;
        }
        if self.stages.handoff().close() {
            self.run.lcore_sheds_no_more();
        }
        // Looked at in this order: what others put before they said so is then
        // visible.
        let is_served = self.steps.pool() == Pool::B || self.intake.has_inbox();
        !is_served
            || self.run.no_lcore_sheds()
                && self.intake.is_empty()
                && self.retired.as_ref().is_none_or(|retired| retired.is_empty())
    }

    /// Drops what is still to be done, when there is no time left to do it.
    #[cold]
    fn abandon(&mut self) {
        self.stages.drop_held();
        let pkts = self.settings.burst.pkts();
        for intake in std::iter::once(&mut self.intake).chain(self.retired.as_deref_mut()) {
            while intake.dequeue_any(self.stages.burst(), pkts) {
                self.stages.drop_burst();
            }
        }
    }

    /// Sends what drivers still accept.
    pub(super) fn wind_up(self) {
        self.orders.leave(self.me);
        self.stages.wind_up(self.run);
    }
}
