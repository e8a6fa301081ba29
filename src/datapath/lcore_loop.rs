//! One lcore's loop. It owns the owners and the packets on their way between
//! them, passes values down, and gets values back. No owner knows another,
//! except that some read `timing`.

use super::admission::Admission;
use super::classify::{Pile, Piles};
use super::handoff::Handoff;
use super::intake::Intake;
use super::pace::Pace;
use super::packet::{Alone, Arrival, Origin, Outgoing, Stage};
use super::places::Places;
use super::poller::{Polled, Poller};
use super::rescue::Rescue;
use super::run_state::Call;
use super::serve::Serve;
use super::setup::{Queues, Settings, Shared};
use super::shard::ShardProducer;
use super::steps::{Held, Steps};
use super::timing::{Laps, Timing};
use super::transmit::Transmit;
use super::work_time::WorkTime;
use crate::dpdk::{Burst, BurstSize, Mempool};
use crate::engine::{Engine, Verdict, flow_hash};
use crate::order::{Counting, Keeping, Order};
use crate::policy::{Deferral, Help, Policy, Pool, Step, Why};
use crate::stats::{DropCause, Lap, LcoreStats};
use micropools::attention::Adoption;

/// How many times an lcore rests that has no queues to poll and nobody to help.
/// With `--idle pause` half a microsecond at most.
const RESTS_WITHOUT_QUEUES: usize = 8;

/// It starts a page, and so the stack of what it calls ends at one, wherever
/// the kernel has put the thread's. A load waits for a store whose address has
/// the same last 12 bits as if it needed it. Where drivers save their registers
/// a multiple of 4 KiB from what they read for each packet, which is one place
/// in thirty, forwarding has an eighth less speed: that was left to chance, for
/// all the life of a process.
#[repr(align(4096))]
pub struct LcoreLoop<'a, E, P> {
    steps: Steps<'a, P>,
    poller: Poller<'a>,
    /// Packets of the last poll or dequeue; empty between two steps.
    burst: Burst,
    admission: Admission<'a>,
    piles: Piles,
    serve: Serve<'a, E>,
    handoff: Handoff<'a>,
    intake: Intake<'a>,
    rescue: Rescue<'a>,
    adoption: Adoption,
    pace: Pace,
    transmit: Transmit<'a>,
    timing: Timing<'a>,
    work_time: WorkTime<'a>,
    laps: Laps<'a>,
    /// The pool that drivers receive into, for this lcore.
    buffers: Mempool,
    shared: Shared<'a>,
    burst_size: BurstSize,
    /// Control's call that it has answered last.
    answered: Call,
}

impl<'a, E: Engine, P: Policy> LcoreLoop<'a, E, P> {
    /// Whether others look whether it is busy: to help, or to send it nothing
    /// more.
    const IS_SEEN: bool = P::STEALS || P::RESCUES || matches!(P::DEFERRED, Deferral::Inbox);

    /// The loop of the lcore whose board is the one at `me`.
    pub fn new(
        me: usize,
        engine: E,
        policy: P,
        settings: Settings,
        shared: Shared<'a>,
        queues: Queues<'a>,
        stats: &'a LcoreStats,
    ) -> Self {
        let Queues {
            rx,
            buffers,
            tx,
            shard,
            shards,
            inbox,
            inboxes,
            run_queue,
            kept,
            stealers,
            picker,
        } = queues;
        let settings = &settings;
        let places = Places { order: shared.order, flows: settings.flows };
        let excess = policy.excess();
        shared.incidents.run_delays()[me].begin();
        let (boards, heads) = (shared.boards, shared.heads);
        let shard = shard.map(|shard| ShardProducer::new(shard, settings.stamp, heads));
        let poller = Poller::new(me, P::SHARES, rx, settings, shared, stats);
        let adopts = P::RESCUES && poller.others() > 0;
        let adopt_every_ticks = if adopts { settings.adopt_every_ticks } else { u64::MAX };
        Self {
            steps: Steps::new(me, policy, settings, shared),
            adoption: Adoption::new(me, boards.len(), poller.own(), adopt_every_ticks),
            poller,
            burst: Burst::new(),
            admission: Admission::new(places, settings.ticket),
            piles: Piles::new(),
            serve: Serve::new(engine, stats),
            handoff: Handoff::new((run_queue, kept), shard, inboxes, boards, settings, stats),
            intake: Intake::new(shards, heads, picker, inbox, settings, stats),
            rescue: Rescue::new(me, P::RESCUES, stealers, settings, shared, stats),
            pace: Pace::new(settings.burst, excess, |ns| settings.ticks(ns)),
            transmit: Transmit::new(tx, settings, shared, stats),
            timing: Timing::new(settings, shared, stats),
            work_time: WorkTime::new(settings, &stats.work_ticks),
            laps: Laps::new(&stats.steps, settings.metered),
            buffers,
            shared,
            burst_size: settings.burst,
            answered: Call::default(),
        }
    }

    /// Runs until the run ends and nothing is left to do.
    pub fn run(mut self) {
        loop {
            if self.shared.run.calls(self.answered) {
                self.answer();
            }
            let draining = self.shared.run.is_draining();
            if draining && self.is_done() {
                break;
            }
            match self.next_step(draining) {
                Step::Poll => {
                    while self.poll()
                        && P::keeps_polling(self.steps.pool())
                        && !self.shared.run.calls(self.answered)
                    {}
                }
                Step::Serve => self.serve_run_queue(),
                Step::Run => self.run_kept(),
                Step::Shed => self.shed_kept(),
                Step::Unbox => self.unbox(),
                Step::Dequeue => self.work(),
                Step::LookAround => self.look_around(),
                Step::Rest => self.rest(),
            }
            if self.transmit.has_backlog() {
                self.offer_backlog();
            }
        }
        self.wind_up();
    }

    /// Control has called: ports may be lost.
    #[cold]
    fn answer(&mut self) {
        self.answered = self.shared.run.answer();
        self.poller.leave_lost_ports();
        self.transmit.leave_lost_ports(&self.timing);
        if self.transmit.has_backlog() {
            self.offer_backlog();
        }
    }

    #[inline(always)]
    fn next_step(&mut self, draining: bool) -> Step {
        let held = Held {
            run_queue_pkts: self.handoff.run_queue_pkts(),
            kept_pkts: self.handoff.kept_pkts(),
            inbox_pkts: if P::DEFERRED == Deferral::Inbox { self.intake.inbox_pkts() } else { 0 },
            done_pkts: if P::COUNTS { self.serve.done_pkts() } else { 0 },
        };
        let is_worker = P::WORKERS_POLL && self.steps.pool() == Pool::B;
        let shards_wait = is_worker && self.intake.shards_wait();
        self.steps.next(held, self.poller.own(), shards_wait, draining)
    }

    // ---- A burst of a receive queue ----

    /// Polls the own queue whose turn it is, and serves the burst. One reading
    /// of the clock closes the last burst's latency and opens this one's.
    /// Returns whether there was a burst that left as a whole, so that nothing
    /// waits here.
    #[inline]
    fn poll(&mut self) -> bool {
        let now = self.timing.now();
        self.laps.start();
        self.close(now);
        self.laps.lap(Lap::Statistics);
        self.timing.resume(now);
        self.show_running(now);
        self.steps.forget_refusal();
        if P::RESCUES && self.adoption.is_due(now) && self.adopt(now) {
            return false;
        }
        let Some(at) = self.poller.next_own() else { return self.found_nothing() };
        let Some(want) = self.wanted(at) else { return self.found_nothing() };
        let Some(polled) = self.poller.poll(at, now, want, &mut self.burst) else {
            if P::SHARES {
                self.timing.polled_in_vain(now, None);
            }
            return self.found_nothing();
        };
        let pressed = P::SHARES && self.pace.is_pressed(polled.pkts, want);
        if P::SHARES {
            self.rescue.show_pressure(now, pressed);
        }
        if let Some(asked) = polled.source_asked {
            self.timing.source_asked(asked, now, 2 * self.adoption.looks_since(now) as u64);
        }
        if polled.pkts == 0 {
            self.timing.polled_in_vain(now, polled.source_asked);
            return self.found_nothing();
        }
        let left_whole = self.receive(polled);
        if P::SHARES {
            // Others could not serve a queue faster that this lcore finds full
            // and is not pressed by.
            if left_whole && polled.pkts == want.pkts() && !pressed {
                self.poller.keep_borrowed();
            } else {
                self.release_burst();
            }
        }
        left_whole
    }

    /// Ends the burst before, if queues are shared, and shows the others that
    /// this lcore runs.
    #[inline(always)]
    fn show_running(&mut self, now: u64) {
        if !P::SHARES {
            return;
        }
        self.work_time.stop(now);
        self.pace.end(now);
        if let Some(silent_ticks) = self.rescue.show_running(now) {
            self.pace.note_silence(now, silent_ticks);
        }
    }

    /// Work in `stage` begins, where the pools may follow the load.
    #[inline(always)]
    fn start_work(&mut self, now: u64, stage: Stage) {
        if P::WORKERS_POLL {
            self.work_time.start(now, stage);
        }
    }

    /// The queue whose burst was served under its lease is free from now on: of
    /// that burst, nothing is left here without a place.
    #[inline(always)]
    fn release_burst(&mut self) {
        self.transmit.keep_all_places();
        self.poller.release_borrowed();
    }

    /// Polls another lcore's queue, unless somebody else does, and serves the
    /// burst. `None` if there was none; else whether there may be more.
    fn poll_for(&mut self, at: usize, owner: usize, why: Why) -> Option<bool> {
        let now = self.timing.now();
        self.close(now);
        let want = self.wanted(at)?;
        let polled = self.poller.poll(at, now, want, &mut self.burst);
        let polled = polled.filter(|polled| polled.pkts > 0)?;
        let is_full = polled.pkts == want.pkts();
        if is_full {
            self.rescue.welcome_help(owner, why);
        }
        self.rescue.record_takeover(owner, now, polled.pkts);
        self.receive(polled);
        // Whoever polls next would overtake what has not been sent.
        self.release_burst();
        Some(is_full)
    }

    /// How many packets to poll from that queue. `None` while too many before
    /// them are in flight: they would find no place in their flows, and wait in
    /// the queue instead of being dropped.
    #[inline(always)]
    fn wanted(&self, at: usize) -> Option<BurstSize> {
        let want = if P::SHARES { self.pace.burst() } else { self.burst_size };
        let Order::Keeping(keeping) = self.shared.order else { return Some(want) };
        let queue = self.poller.number(at);
        (keeping.is_idle(queue) || self.has_room(keeping, queue, want)).then_some(want)
    }

    /// Whether there are places for so many packets of that queue, and for all
    /// that must get theirs before them. A queue without packets in flight is
    /// polled in any case: nothing would make more room.
    #[inline(never)]
    fn has_room(&self, keeping: &Keeping<Outgoing>, queue: usize, want: BurstSize) -> bool {
        keeping.room(queue) >= want.pkts() + self.transmit.unplaced_pkts_max()
    }

    /// Counts a burst, and serves it. Returns as `poll`.
    #[inline(always)]
    fn receive(&mut self, polled: Polled) -> bool {
        if let Some(field) = self.timing.driver_stamps() {
            let before = self.poller.stamped_ticks(polled.at);
            let last = self.timing.check_stamps(field, &mut self.burst, polled.arrival, before);
            self.poller.note_stamped(polled.at, last);
        }
        self.laps.lap(Lap::Rx);
        self.steps.found_something();
        self.start_work(polled.arrival.polled_ticks, Stage::Cheap);
        self.timing.received(polled.emptied_ticks, polled.arrival.polled_ticks);
        self.shared.run.count_received(polled.pkts as u64);
        self.laps.count(polled.pkts);
        self.laps.lap(Lap::Statistics);
        self.serve_burst(polled)
    }

    /// Serves and sends the burst: all at once, if nobody is ahead of any
    /// packet and all are cheap. Returns whether all have left so, and nothing
    /// waits.
    #[inline(always)]
    fn serve_burst(&mut self, polled: Polled) -> bool {
        let Arrival { port: from, polled_ticks, .. } = polled.arrival;
        let measured = self.timing.begin_burst();
        if measured.is_some() {
            self.timing.book_unseen(polled_ticks);
        }
        if P::SHARES {
            let whole = self.pace.begin_polled(polled_ticks, polled.pkts);
            if !whole {
                self.admission.ask_nobody();
                return self.serve_piles(polled, measured.is_some());
            }
        }
        if !self.admission.nobody_is_ahead(polled.queue, &self.burst) {
            return self.serve_piles(polled, measured.is_some());
        }
        let Some(port) = self.serve.whole_burst(&mut self.burst, from) else {
            return self.serve_piles(polled, measured.is_some());
        };
        self.laps.lap(Lap::Engine);
        if let Some(start) = measured {
            self.timing.served_burst(start, polled_ticks, self.burst.len());
        }
        self.laps.lap(Lap::Statistics);
        self.send_burst(port, polled);
        self.laps.lap(Lap::Tx);
        !self.transmit.has_backlog()
    }

    #[inline(always)]
    fn send_burst(&mut self, port: u16, polled: Polled) {
        let sent;
        if self.timing.marks().stamped {
            self.timing.prepare_stamped(&self.burst, polled.arrival.polled_ticks);
            sent = self.transmit.send_burst(port, &mut self.burst);
            self.timing.accept_stamped(sent);
        } else {
            sent = self.transmit.send_burst(port, &mut self.burst);
            self.timing.accept_burst(sent, polled.arrival.polled_ticks);
        }
        if !self.burst.is_empty() {
            self.refuse_burst(port, sent, polled);
        }
    }

    #[cold]
    fn refuse_burst(&mut self, port: u16, sent: usize, polled: Polled) {
        self.timing.detach_refused(&mut self.burst, sent, polled.arrival);
        self.transmit.refuse(port, sent, &mut self.burst, polled.queue, &self.timing);
    }

    /// Sorts the burst into piles, sheds what is deferred, serves what is
    /// cheap, and sends it. `measured`: the parts of these packets' latency
    /// are. Returns as `serve_burst`.
    #[inline(never)]
    fn serve_piles(&mut self, polled: Polled, measured: bool) -> bool {
        self.timing.detach_stamps(&mut self.burst);
        self.serve.prepare_burst(&mut self.burst, polled.arrival.port);
        let received = self.burst.len();
        self.admission.begin(polled.queue);
        // As many as went to other lcores come back from there.
        self.buffers.claim_next(self.handoff.shed_pkts());
        let alone = match self.goes_whole(polled.arrival.port) {
            Some(counting) => self.defer_burst(counting, polled.arrival),
            None => self.classify(polled.arrival),
        };
        if P::SHARES {
            // Each packet has its place: anybody may poll the queue from now
            // on.
            self.poller.release_borrowed();
        }
        self.laps.lap(Lap::Classify);
        self.finish(Origin::Poll(polled.arrival), alone, measured);
        self.admission.end(received);
        false
    }

    /// For each packet: the engine's class, a place in its flow, a pile. One
    /// that must run here alone goes ahead of all that came after it: those
    /// wait in the run queue, unclassified, where others can steal them. So do
    /// those for which a pressed lcore has no time.
    #[inline]
    fn classify(&mut self, arrival: Arrival) -> Option<Alone> {
        let (marks, places) = (self.timing.marks(), self.admission.places());
        let own_pkts = if P::SHARES { self.pace.own_pkts() } else { usize::MAX };
        let mut alone = None;
        for (at, mut packet) in self.burst.drain().enumerate() {
            let pile = if alone.is_none() && at < own_pkts {
                Pile::of::<P>(self.serve.classify(&packet, arrival.port))
            } else {
                Pile::LeftOver
            };
            let place = if P::SHARES && pile == Pile::Cheap {
                self.admission.enter(at, &packet)
            } else if pile == Pile::Cheap {
                self.admission.stay(at, &packet)
            } else {
                // In the order of arrival: the transmit side has earlier
                // bursts'.
                let bucket = self.admission.bucket(at, &packet);
                self.transmit
                    .keep_places_in(bucket)
                    .and_then(|()| self.piles.cheap.keep_places_in(bucket, places))
                    .and_then(|()| self.admission.go_away(bucket, &mut packet))
            };
            let Ok(pass) = place else {
                self.transmit.drop_unplaced(packet);
                continue;
            };
            if pile == Pile::Cheap {
                self.piles.cheap.push(packet, pass);
                continue;
            }
            marks.detach(arrival, &mut packet);
            match pile {
                Pile::Cheap => unreachable!("it is on its pile"),
                Pile::Deferred => self.piles.deferred.push(packet),
                Pile::Alone { unknown } => alone = Some(Alone { packet, unknown }),
                Pile::LeftOver => {
                    if let Err(packet) = self.handoff.requeue(packet) {
                        let cause = DropCause::RunQueueFull;
                        self.transmit.drop_placed(packet, cause, &self.timing);
                    }
                }
            }
        }
        if own_pkts < usize::MAX {
            self.show_waiting();
        }
        alone
    }

    /// Whether all of the burst goes to other lcores, and at once: no order is
    /// kept, and nothing that came before it is here.
    #[inline]
    fn goes_whole(&mut self, port: u16) -> Option<&'a Counting> {
        let counting = self.admission.counting().filter(|_| P::DEFERRED != Deferral::Here)?;
        let goes = !self.transmit.holds_packets()
            && self.piles.cheap.is_empty()
            && self.serve.defers_burst(&self.burst, port);
        goes.then_some(counting)
    }

    /// All of the burst is deferred: nothing of it must run alone.
    #[inline]
    fn defer_burst(&mut self, counting: &Counting, arrival: Arrival) -> Option<Alone> {
        let marks = self.timing.marks();
        self.admission.all_go_away(counting, self.burst.packets_mut(), arrival, marks);
        let pkts = self.burst.len();
        self.burst.drain().move_to(&mut self.piles.deferred, pkts);
        None
    }

    /// Sheds, serves and sends what is on the piles. Then runs what must run
    /// alone, with nothing left in private.
    #[inline]
    fn finish(&mut self, by: Origin, alone: Option<Alone>, measured: bool) {
        self.shed();
        let start = if measured { self.timing.now() } else { 0 };
        if measured {
            self.timing.begin_stage(start, Stage::Cheap, self.piles.cheap.packets(), by);
        }
        let served = self.serve_cheap(by);
        if measured {
            self.timing.end_stage(start, Stage::Cheap, served);
        }
        self.laps.lap(Lap::Engine);
        self.flush(Stage::Cheap);
        self.shed();
        self.laps.lap(Lap::Tx);
        if let Some(alone) = alone {
            self.run_alone(alone);
        }
    }

    /// The cheap stage of its pile. Returns how many packets are forwarded.
    #[inline]
    fn serve_cheap(&mut self, by: Origin) -> u64 {
        let marks = self.timing.marks();
        let mut served = 0;
        for (pass, mut packet) in self.piles.cheap.drain() {
            let Ok(pass) = self.admission.still_stays(pass, &packet) else {
                self.transmit.drop_unplaced(packet);
                continue;
            };
            let arrival = marks.arrival_by(by, &packet);
            let verdict = self.serve.cheap(&mut packet, arrival.port);
            if verdict != Verdict::Defer {
                if verdict.forwards() {
                    served += 1;
                    self.timing.book_nic_wait(Stage::Cheap, arrival);
                }
                let (stage, stamp) = (Stage::Cheap, arrival.ticks);
                self.transmit.follow(stage, verdict, packet, pass, stamp, &self.timing);
                continue;
            }
            self.timing.unbook_wait(arrival);
            marks.write_arrival(arrival, &mut packet);
            let place = match self.admission.defer_late(pass, &mut packet) {
                None => Ok(()),
                // Those of its flow that came before it have been served.
                Some(bucket) => self
                    .transmit
                    .keep_places_in(bucket)
                    .and_then(|()| self.admission.go_away(bucket, &mut packet).map(drop)),
            };
            match place {
                Ok(()) => self.piles.deferred.push(packet),
                Err(_) => self.transmit.drop_unplaced(packet),
            }
        }
        self.serve.count_cheap(served);
        served
    }

    // ---- What this lcore holds ----

    /// Serves packets that were left over, up to the first that must run alone.
    fn serve_run_queue(&mut self) {
        self.timing.begin_work();
        self.laps.start();
        let now = self.timing.now();
        self.show_running(now);
        self.start_work(now, Stage::Cheap);
        self.close(now);
        let alone = self.classify_left_over();
        if P::SHARES {
            self.pace.begin(now, self.piles.cheap.packets().len());
        }
        if P::STEALS {
            self.show_waiting();
        }
        self.laps.lap(Lap::Classify);
        let measured = self.timing.begin_burst().is_some();
        self.finish(Origin::Packet, alone, measured);
    }

    /// Packets that were left over carry their arrival and their place.
    fn classify_left_over(&mut self) -> Option<Alone> {
        let marks = self.timing.marks();
        let pkts_max = if P::SHARES { self.pace.own_pkts() } else { usize::MAX };
        for _ in 0..self.burst_size.pkts().min(pkts_max) {
            let packet = self.handoff.pop_left_over()?;
            match Pile::of::<P>(self.serve.classify(&packet, packet.port())) {
                Pile::Alone { unknown } => return Some(Alone { packet, unknown }),
                Pile::Deferred => self.piles.deferred.push(packet),
                Pile::Cheap | Pile::LeftOver => {
                    let pass = marks.pass(&packet);
                    self.piles.cheap.push(packet, pass);
                }
            }
        }
        None
    }

    /// Runs one kept packet to its end.
    fn run_kept(&mut self) {
        let Some(permit) = self.steps.permit() else { return };
        if let Some(packet) = self.handoff.pop_kept() {
            self.run_alone(Alone { packet, unknown: false });
        }
        drop(permit);
    }

    /// Puts kept packets into the own shard again.
    fn shed_kept(&mut self) {
        while self.piles.deferred.len() < self.burst_size.pkts()
            && let Some(packet) = self.handoff.pop_kept()
        {
            self.piles.deferred.push(packet);
        }
        self.steps.forget_refusal();
        self.shed();
    }

    /// Runs one packet of unknown or expensive cost to its end, and shows that
    /// meanwhile.
    fn run_alone(&mut self, Alone { packet, unknown }: Alone) {
        self.pace.forget();
        let start = self.timing.now();
        self.timing.begin_work();
        self.laps.start();
        self.close(start);
        let stage = if unknown { Stage::Cheap } else { Stage::Expensive };
        self.start_work(start, stage);
        if Self::IS_SEEN {
            self.begin_busy(start, flow_hash(&packet), stage);
        }
        let (marks, counts) = (self.timing.marks(), self.timing.is_counting());
        if counts {
            self.timing.begin_alone(start, stage, marks.arrival(&packet));
        }
        let mut served = 1;
        if unknown {
            let pass = marks.pass(&packet);
            self.piles.cheap.push(packet, pass);
            served = self.serve_cheap(Origin::Packet);
        } else {
            self.burst.push(packet);
            self.serve_expensive();
        }
        let end = if Self::IS_SEEN || counts { self.timing.now() } else { 0 };
        if Self::IS_SEEN {
            self.end_busy(end);
            self.work_time.stop(end);
        }
        if counts {
            self.timing.end_stage_at(end, start, stage, served);
        }
        self.laps.lap(Lap::Engine);
        self.flush(stage);
        self.shed();
        self.laps.lap(Lap::Tx);
    }

    // ---- What others deferred ----

    /// Dequeues from the shard that the choice falls on, as many packets as the
    /// time budget allows, and finishes them.
    #[inline]
    fn work(&mut self) {
        self.pace.forget();
        let Some(picked) = self.intake.pick() else { return self.found_shards_empty() };
        let Some(permit) = self.steps.permit() else { return };
        let shard = self.intake.claim(picked);
        self.intake.sample_rank(shard);
        let start = self.timing.now();
        self.timing.resume(start);
        self.start_work(start, Stage::Expensive);
        self.close(start);
        self.laps.start();
        let pkts_max = self.intake.pkts_max();
        let dequeued = self.intake.dequeue(shard, &mut self.burst, pkts_max);
        self.laps.lap(Lap::Rx);
        // However few these are expected to be: what is expected may be wrong.
        let may_be_long = Self::IS_SEEN && dequeued > 0;
        if may_be_long && let Some(packet) = self.burst.packets().first() {
            let flow = flow_hash(packet);
            self.begin_busy(start, flow, Stage::Expensive);
        }
        let measured = if pkts_max == 1 {
            self.timing.is_counting()
        } else {
            self.timing.begin_burst().is_some()
        };
        if measured {
            self.timing.begin_stage(start, Stage::Expensive, &self.burst, Origin::Packet);
        }
        // Where packets are dequeued one by one, which may take long, nothing
        // is prefetched.
        let next = if pkts_max > 1 { pkts_max } else { 0 };
        let at_once = self.admission.counting().is_some();
        if at_once {
            // A core has about 24 lines on their way at once, and whoever asks
            // for more waits: the next packets' headers are prefetched a third
            // at a time, here and while these are sent.
            self.intake.prefetch(shard, next / 3);
            self.serve.expensive_burst(&mut self.burst, &self.timing);
        } else {
            self.serve_expensive();
        }
        if measured {
            self.timing.end_stage(start, Stage::Expensive, dequeued as u64);
        }
        self.laps.lap(Lap::Engine);
        self.intake.prefetch(shard, 2 * next / 3);
        if at_once {
            self.send_expensive();
        }
        self.intake.prefetch(shard, next);
        self.flush(Stage::Expensive);
        self.laps.lap(Lap::Tx);
        drop(permit);
        let end = self.timing.now();
        if may_be_long {
            self.end_busy(end);
        }
        self.work_time.stop(end);
        self.steps.found_something();
        if dequeued > 0 {
            self.intake.finish(dequeued, end.wrapping_sub(start));
        }
        self.close(end);
        self.laps.lap(Lap::Statistics);
        self.laps.count(dequeued);
    }

    /// The expensive stage of the burst's packets. Each departs when it is its
    /// turn.
    #[inline]
    fn serve_expensive(&mut self) {
        let marks = self.timing.marks();
        for mut packet in self.burst.drain() {
            let (arrival, pass) = (marks.arrival(&packet), marks.pass(&packet));
            let verdict = self.serve.expensive(&mut packet, arrival.port);
            if verdict.forwards() {
                self.timing.book_nic_wait(Stage::Expensive, arrival);
            }
            let (stage, stamp) = (Stage::Expensive, arrival.ticks);
            self.transmit.follow(stage, verdict, packet, pass, stamp, &self.timing);
        }
    }

    /// Follows the verdicts of `Serve::expensive_burst`: of packets that follow
    /// each other and leave by the same port at once.
    #[inline]
    fn send_expensive(&mut self) {
        let dequeued = self.burst.len();
        let mut packets = self.burst.drain();
        for run in self.serve.runs(dequeued) {
            self.transmit.follow_run(run, &mut packets, &self.timing);
        }
    }

    /// Runs one packet of the inbox to its end.
    fn unbox(&mut self) {
        if let Some(packet) = self.intake.unbox(&mut self.burst) {
            self.run_alone(Alone { packet, unknown: false });
        }
    }

    // ---- Other lcores ----

    /// Shows that this lcore is about to be busy with a packet of unknown or
    /// expensive cost: from now on others may poll its queues and steal what
    /// waits in its run queue.
    #[inline]
    fn begin_busy(&mut self, now: u64, flow_hash: u32, stage: Stage) {
        self.show_waiting();
        self.rescue.begin_busy(now, flow_hash, stage);
        if P::RESCUES {
            self.transmit.keep_all_places();
            self.poller.release_all();
        }
    }

    /// Shows that it is no longer busy. Its queues are polled by whoever gets
    /// their leases first.
    #[inline]
    fn end_busy(&mut self, now: u64) {
        self.rescue.end_busy(now);
        self.show_waiting();
    }

    #[inline]
    fn show_waiting(&mut self) {
        self.rescue.show_waiting(self.handoff.waiting_pkts());
    }

    /// Sees what the others have, and does what the policy makes of it.
    #[cold]
    fn look_around(&mut self) {
        let now = self.timing.now();
        self.timing.resume(now);
        self.show_running(now);
        self.rescue.settle(now);
        self.close(now);
        let (shards_wait, draining) = (self.intake.shards_wait(), self.shared.run.is_draining());
        match self.steps.help(self.rescue.look(now), shards_wait, draining) {
            Help::Steal { victim, .. } => self.steal(victim, now),
            Help::TakeOver { victim, why } => {
                if !self.take_over(victim, why, now) {
                    self.rest();
                }
            }
            Help::Dequeue => self.work(),
            Help::Rest => {
                self.timing.looked_in_vain(now, self.rescue.looks());
                self.rest_unneeded();
            }
        }
    }

    /// Nobody needs help. To look around takes far more of a core than a poll
    /// does, and the core's other hyperthread may be one that polls: an lcore
    /// that has no queues to poll in between rests longer.
    fn rest_unneeded(&mut self) {
        let rests = if self.poller.own() == 0 { RESTS_WITHOUT_QUEUES } else { 1 };
        (0..rests).for_each(|_| self.rest());
    }

    /// Polls a burst for an lcore that the policy adopts, if there is one that
    /// nobody else helps. Returns whether there was a burst.
    #[cold]
    fn adopt(&mut self, now: u64) -> bool {
        let away = &self.shared.attention.away;
        for _ in 0..self.adoption.begin(away, now) {
            let Some(owner) = self.adoption.next(away) else { break };
            if !self.steps.adopts(&self.rescue.away_hint(owner, now)) {
                continue;
            }
            let helps = self.rescue.claim(owner, Why::Rescue, now);
            self.adoption.note_stuck(helps);
            if helps && let Some(is_full) = self.poll_first(owner) {
                // The burst may have taken long.
                self.adoption.note_burst(self.timing.now(), is_full);
                return true;
            }
        }
        false
    }

    /// Serves the first burst that a queue of `owner` has, of those whose leases
    /// are free. Returns as `poll_for`.
    fn poll_first(&mut self, owner: usize) -> Option<bool> {
        (0..self.poller.queues_of(owner)).find_map(|_| {
            self.adoption.note_poll();
            let at = self.poller.next_of(owner);
            self.poll_for(at, owner, Why::Rescue)
        })
    }

    /// Polls a burst of each receive queue of `victim`, as far as leases are free,
    /// and serves it. Stops as soon as something is left over: that has to be
    /// served before more is received. Returns whether it found anything.
    fn take_over(&mut self, victim: usize, why: Why, now: u64) -> bool {
        if !self.rescue.claim(victim, why, now) {
            return false;
        }
        let mut found = false;
        for _ in 0..self.poller.queues_of(victim) {
            let at = self.poller.next_of(victim);
            found |= self.poll_for(at, victim, why).is_some();
            if self.handoff.waiting_pkts() > 0 || self.shared.run.is_draining() {
                break;
            }
        }
        found
    }

    /// Moves up to half of another lcore's run queue into the own one, and
    /// serves a burst of that. Thieves that only stole from each other would
    /// pass packets round for ever.
    fn steal(&mut self, victim: usize, since: u64) {
        let limit = self.handoff.room().min(self.burst_size.pkts());
        let stolen = self.rescue.steal(victim, limit, &mut self.burst);
        if stolen == 0 {
            return self.steal_kept(victim, since);
        }
        let oldest = self.timing.marks().oldest(&self.burst);
        self.handoff.receive_stolen(&mut self.burst);
        self.rescue.record_steal(victim, (since, self.timing.now()), stolen, oldest);
        self.serve_run_queue();
    }

    /// Steals one packet that another lcore keeps, which is known to be
    /// expensive. It goes where this lcore's own would.
    fn steal_kept(&mut self, victim: usize, since: u64) {
        let stolen = self.rescue.steal_kept(victim, &mut self.piles.deferred);
        if stolen == 0 {
            return self.rest();
        }
        let oldest = self.timing.marks().oldest(&self.piles.deferred);
        self.shed();
        self.rescue.record_steal(victim, (since, self.timing.now()), stolen, oldest);
    }

    // ---- Sending and shedding ----

    /// Books the latency of all that drivers accepted until `now`.
    #[inline(always)]
    fn close(&mut self, now: u64) {
        self.timing.close(now, self.transmit.accepted());
    }

    /// Sends what is staged, and what it was the turn of by that.
    #[inline]
    fn flush(&mut self, stage: Stage) {
        if self.transmit.flush(stage, &self.timing) {
            self.offer_backlog();
        }
    }

    /// Offers drivers what they refused, and at once what it was the turn of by
    /// that.
    #[cold]
    fn offer_backlog(&mut self) {
        let mut go_on = true;
        while go_on {
            let now = self.timing.now();
            self.close(now);
            go_on = self.transmit.offer_backlog(&self.timing);
        }
        let now = self.timing.now();
        self.close(now);
    }

    /// Hands over what is deferred, if anything is.
    #[inline]
    fn shed(&mut self) {
        if self.piles.deferred.is_empty() {
            return;
        }
        let deferred = &mut self.piles.deferred;
        if let Some(cause) = self.handoff.shed(self.steps.policy(), deferred) {
            self.transmit.drop_all_placed(deferred, cause, &self.timing);
        }
    }

    // ---- Nothing to do ----

    /// The shards have nothing for a worker, whose look at them is its poll.
    #[cold]
    fn found_shards_empty(&mut self) {
        let now = self.timing.now();
        self.timing.resume(now);
        self.work_time.stop(now);
        self.timing.polled_in_vain(now, None);
        self.found_nothing();
    }

    /// Nothing came of this poll, which says so.
    #[cold]
    fn found_nothing(&mut self) -> bool {
        self.steps.found_nothing();
        self.rest();
        false
    }

    #[cold]
    fn rest(&mut self) {
        self.serve.rest();
        self.steps.rest();
    }

    // ---- The end of the run ----

    /// Asked only while draining: whether all that this lcore could still get
    /// has been finished. First it says that it will shed nothing more, once it
    /// holds nothing; from then on what it still gets from others it runs to
    /// the end itself.
    #[cold]
    fn is_done(&mut self) -> bool {
        if self.shared.run.is_abandoned() {
            self.abandon();
        }
        if self.handoff.waiting_pkts() > 0 {
            return false;
        }
        if self.handoff.close() {
            self.shared.run.lcore_sheds_no_more();
        }
        // Looked at in this order: what others put before they said so is then
        // visible.
        let is_served = self.steps.pool() == Pool::B || self.intake.has_inbox();
        !is_served
            || self.shared.run.no_lcore_sheds()
                && !self.intake.shards_hold_packets()
                && self.intake.inbox_pkts() == 0
    }

    /// Drops what is still to be done, when there is no time left to do it.
    #[cold]
    fn abandon(&mut self) {
        while let Some(packet) = self.handoff.pop_left_over().or_else(|| self.handoff.pop_kept()) {
            self.transmit.drop_placed(packet, DropCause::Shutdown, &self.timing);
        }
        while self.intake.dequeue_any(&mut self.burst, self.burst_size.pkts()) {
            self.transmit.drop_all_placed(&mut self.burst, DropCause::Shutdown, &self.timing);
        }
    }

    /// Goes on offering the backlog until drivers have accepted all, or nothing
    /// for a while, or the run is abandoned; drops the rest.
    fn wind_up(mut self) {
        const TRIES_WITHOUT_SUCCESS: u32 = 1000;
        self.timing.wind_up(self.serve.host_gaps());
        self.handoff.wind_up();
        let now = self.timing.now();
        self.close(now);
        let mut tries = 0;
        while self.transmit.has_backlog()
            && tries < TRIES_WITHOUT_SUCCESS
            && !self.shared.run.is_abandoned()
        {
            let before = self.transmit.sent_pkts();
            self.offer_backlog();
            tries = if self.transmit.sent_pkts() > before { 0 } else { tries + 1 };
            std::thread::sleep(std::time::Duration::from_micros(100));
        }
        self.transmit.drop_backlog(&self.timing);
    }
}
