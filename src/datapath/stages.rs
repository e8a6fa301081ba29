//! A burst's way through this lcore's stages: packets are put on piles, and
//! shed, served and sent from there. The only file where packets pass from one
//! owner to another.

use std::marker::PhantomData;

use super::admission::Admission;
use super::classify::{Pile, Piles};
use super::handoff::Handoff;
use super::packet::{Alone, Arrival, Origin, Stage};
use super::places::Places;
use super::poller::Polled;
use super::run_state::RunState;
use super::sender::Sender;
use super::serve::Serve;
use super::setup::{Settings, Shared};
use super::timing::{Laps, Timing};
use crate::dpdk::{Burst, BurstSize, Mempool, RxStampField, TxQueue};
use crate::engine::{Engine, Verdict};
use crate::order::Counting;
use crate::policy::{Deferral, Policy};
use crate::stats::{DropCause, Lap, LcoreStats};

pub(super) struct Stages<'a, E, P> {
    /// Packets of the last poll or dequeue; empty between two steps.
    burst: Burst,
    admission: Admission<'a>,
    piles: Piles,
    serve: Serve<'a, E>,
    handoff: Handoff<'a>,
    sender: Sender<'a>,
    laps: Laps<'a>,
    /// The pool that drivers receive into, for this lcore.
    buffers: Mempool,
    burst_size: BurstSize,
    /// Compiled for this mode.
    mode: PhantomData<P>,
}

impl<'a, E: Engine> Stages<'a, E, ()> {
    pub(super) fn new(
        engine: E,
        handoff: Handoff<'a>,
        (tx, buffers): (Vec<TxQueue>, Mempool),
        settings: &Settings,
        shared: Shared<'a>,
        stats: &'a LcoreStats,
    ) -> Self {
        let places = Places { order: shared.order, flows: settings.flows };
        let turns = engine.turns();
        Self {
            burst: Burst::new(),
            admission: Admission::new(places, settings.ticket),
            piles: Piles::new(),
            serve: Serve::new(engine, stats),
            handoff,
            sender: Sender::new(tx, turns, settings, shared, stats),
            laps: Laps::new(&stats.steps, settings.metered),
            buffers,
            burst_size: settings.burst,
            mode: PhantomData,
        }
    }
}

impl<'a, E, P> Stages<'a, E, P> {
    /// The same, compiled for another mode.
    pub(super) fn by<Q>(self) -> Stages<'a, E, Q> {
        let Self {
            burst, admission, piles, serve, handoff, sender, laps, buffers, burst_size, ..
        } = self;
        let mode = PhantomData;
        Stages { burst, admission, piles, serve, handoff, sender, laps, buffers, burst_size, mode }
    }
}

impl<'a, E: Engine, P: Policy> Stages<'a, E, P> {
    /// Where packets come in. Empty between two steps.
    #[inline(always)]
    pub(super) fn burst(&mut self) -> &mut Burst {
        &mut self.burst
    }

    #[inline(always)]
    pub(super) fn timing(&mut self) -> &mut Timing<'a> {
        self.sender.timing()
    }

    #[inline(always)]
    pub(super) fn laps(&mut self) -> &mut Laps<'a> {
        &mut self.laps
    }

    #[inline(always)]
    pub(super) fn handoff(&mut self) -> &mut Handoff<'a> {
        &mut self.handoff
    }

    /// How many packets others can steal.
    #[inline]
    pub(super) fn stealable_pkts(&mut self) -> usize {
        self.handoff.stealable_pkts()
    }

    #[inline(always)]
    pub(super) fn sender(&mut self) -> &mut Sender<'a> {
        &mut self.sender
    }

    #[inline(always)]
    pub(super) fn now(&self) -> u64 {
        self.sender.now()
    }

    #[inline(always)]
    pub(super) fn has_backlog(&self) -> bool {
        self.sender.has_backlog()
    }

    /// Packets that were forwarded since the run began.
    #[inline]
    pub(super) fn done_pkts(&self) -> u64 {
        self.serve.done_pkts()
    }

    // ---- A burst that leaves as a whole ----

    /// A poll brought a burst: looks at the stamps that drivers wrote on it.
    /// The last one of its queue was `before`. Returns the one that is the last
    /// now.
    #[inline(always)]
    pub(super) fn check_stamps(
        &mut self,
        field: RxStampField,
        arrival: Arrival,
        before: u64,
    ) -> u64 {
        self.sender.timing().check_stamps(field, &mut self.burst, arrival, before)
    }

    /// Serves and sends the burst at once, if no packet is ahead of any of
    /// these and all are cheap. `measured`: when it began, if the parts of its
    /// packets' latency are measured. Returns whether it has left so.
    #[inline(always)]
    pub(super) fn send_whole(&mut self, polled: Polled, measured: Option<u64>) -> bool {
        let Arrival { port: from, polled_ticks, .. } = polled.arrival;
        if !self.admission.nobody_is_ahead(polled.queue, &self.burst) {
            return false;
        }
        let Some(port) = self.serve.whole_burst(&mut self.burst, from) else { return false };
        self.laps.lap(Lap::Engine);
        if let Some(start) = measured {
            self.sender.timing().served_burst(start, polled_ticks, self.burst.len());
        }
        self.laps.lap(Lap::Statistics);
        self.sender.send_burst(port, &mut self.burst, polled);
        self.laps.lap(Lap::Tx);
        true
    }

    /// As [`Timing::first_arrival`], of the burst.
    pub(super) fn first_arrival(&mut self, polled: Arrival) -> u64 {
        self.sender.timing().first_arrival(&self.burst, polled)
    }

    // ---- Any other burst ----

    /// Each packet of the burst gets a place in any case, also where no packet
    /// is ahead of it.
    #[inline(always)]
    pub(super) fn place_all(&mut self) {
        self.admission.place_all();
    }

    /// The burst is taken apart. Returns how many packets it has.
    #[inline(always)]
    pub(super) fn take_apart(&mut self, polled: Polled) -> usize {
        self.sender.timing().detach_stamps(&mut self.burst);
        self.serve.prepare_burst(&mut self.burst, polled.arrival.port);
        self.admission.begin(polled.queue);
        // As many as went to other lcores come back from there.
        self.buffers.claim_next(self.handoff.shed_pkts());
        self.burst.len()
    }

    /// A burst of so many packets has been served.
    #[inline(always)]
    pub(super) fn end_burst(&mut self, received: usize) {
        self.admission.end(received);
    }

    /// For each packet: the engine's class, a place in its flow, a pile. One
    /// that must run here alone goes ahead of all that came after it: those
    /// wait in the run queue, unclassified, where others can steal them. So do
    /// those behind the first `own_pkts`, for which a pressed lcore has no
    /// time.
    #[inline]
    pub(super) fn classify(&mut self, arrival: Arrival, own_pkts: usize) -> Option<Alone> {
        let (marks, places) = (self.sender.marks(), self.admission.places());
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
                self.sender
                    .keep_places_in(bucket)
                    .and_then(|()| self.piles.cheap.keep_places_in(bucket, places))
                    .and_then(|()| self.admission.go_away(bucket, &mut packet))
            };
            let Ok(pass) = place else {
                self.sender.drop_unplaced(packet);
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
                        self.sender.drop_placed(packet, cause);
                    }
                }
            }
        }
        alone
    }

    /// Whether all of the burst goes to other lcores, and at once: no order is
    /// kept, and nothing that came before it is here.
    #[inline]
    pub(super) fn goes_whole(&mut self, port: u16) -> Option<&'a Counting> {
        let counting = self.admission.counting().filter(|_| P::DEFERRED != Deferral::Here)?;
        let goes = !self.sender.holds_packets()
            && self.piles.cheap.is_empty()
            && self.serve.defers_burst(&self.burst, port);
        goes.then_some(counting)
    }

    /// All of the burst is deferred: nothing of it must run alone.
    #[inline]
    pub(super) fn defer_burst(&mut self, counting: &Counting, arrival: Arrival) -> Option<Alone> {
        let marks = self.sender.marks();
        self.admission.all_go_away(counting, self.burst.packets_mut(), arrival, marks);
        let pkts = self.burst.len();
        self.burst.drain().move_to(&mut self.piles.deferred, pkts);
        None
    }

    /// Sheds, serves and sends what is on the piles. `measured`: the parts of
    /// these packets' latency are.
    #[inline]
    pub(super) fn finish(&mut self, policy: &mut P, by: Origin, measured: bool) {
        self.shed(policy);
        let start = if measured { self.sender.now() } else { 0 };
        if measured {
            self.sender.timing().begin_stage(start, Stage::Cheap, self.piles.cheap.packets(), by);
        }
        let served = self.serve_cheap(by);
        if measured {
            self.sender.timing().end_stage(start, Stage::Cheap, served);
        }
        self.laps.lap(Lap::Engine);
        self.sender.flush(Stage::Cheap);
        self.shed(policy);
        self.laps.lap(Lap::Tx);
    }

    /// The cheap stage of its pile. Returns how many packets are forwarded.
    #[inline]
    fn serve_cheap(&mut self, by: Origin) -> u64 {
        let marks = self.sender.marks();
        let mut served = 0;
        for (pass, mut packet) in self.piles.cheap.drain() {
            let Ok(pass) = self.admission.still_stays(pass, &packet) else {
                self.sender.drop_unplaced(packet);
                continue;
            };
            let arrival = marks.arrival_by(by, &packet);
            let verdict = self.serve.cheap(&mut packet, arrival.port);
            if verdict != Verdict::Defer {
                if verdict.forwards() {
                    served += 1;
                    self.sender.timing().book_nic_wait(Stage::Cheap, arrival);
                }
                let (stage, stamp) = (Stage::Cheap, arrival.ticks);
                self.sender.follow(stage, verdict, packet, pass, stamp);
                continue;
            }
            self.sender.timing().unbook_wait(arrival);
            marks.write_arrival(arrival, &mut packet);
            let place = match self.admission.defer_late(pass, &mut packet) {
                None => Ok(()),
                // Those of its flow that came before it have been served.
                Some(bucket) => self
                    .sender
                    .keep_places_in(bucket)
                    .and_then(|()| self.admission.go_away(bucket, &mut packet).map(drop)),
            };
            match place {
                Ok(()) => self.piles.deferred.push(packet),
                Err(_) => self.sender.drop_unplaced(packet),
            }
        }
        self.serve.count_cheap(served);
        served
    }

    /// Up to `pkts_max` packets that were left over, and up to the first that
    /// must run alone. They carry their arrival and their place.
    pub(super) fn classify_left_over(&mut self, pkts_max: usize) -> Option<Alone> {
        let marks = self.sender.marks();
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

    /// How many packets are on the cheap pile.
    #[inline]
    pub(super) fn cheap_pkts(&self) -> usize {
        self.piles.cheap.packets().len()
    }

    // ---- One packet alone ----

    /// Begins work on something that was here already. Returns when.
    #[inline(always)]
    pub(super) fn begin_alone(&mut self) -> u64 {
        let start = self.sender.now();
        self.sender.timing().begin_work();
        self.laps.start();
        self.sender.close(start);
        start
    }

    /// The stage of a packet that runs alone, which began at `start`. `counts`:
    /// latency is counted. Returns how many packets are forwarded.
    #[inline(always)]
    pub(super) fn serve_alone(&mut self, alone: Alone, start: u64, counts: bool) -> u64 {
        let (marks, stage) = (self.sender.marks(), alone.stage());
        let Alone { packet, unknown } = alone;
        if counts {
            self.sender.timing().begin_alone(start, stage, marks.arrival(&packet));
        }
        if unknown {
            self.serve.count_unknown();
            let pass = marks.pass(&packet);
            self.piles.cheap.push(packet, pass);
            return self.serve_cheap(Origin::Packet);
        }
        self.burst.push(packet);
        self.serve_expensive();
        1
    }

    /// Sends what became of a packet that ran alone.
    #[inline(always)]
    pub(super) fn finish_alone(&mut self, policy: &mut P, stage: Stage) {
        self.laps.lap(Lap::Engine);
        self.sender.flush(stage);
        self.shed(policy);
        self.laps.lap(Lap::Tx);
    }

    // ---- Packets that were deferred ----

    /// Dequeued packets' stage begins at `start`. `one`: they are dequeued one
    /// by one. Returns whether the parts of their latency are measured.
    #[inline(always)]
    pub(super) fn begin_expensive(&mut self, start: u64, one: bool) -> bool {
        let measured = if one {
            self.sender.timing().is_counting()
        } else {
            self.sender.timing().begin_burst().is_some()
        };
        if measured {
            self.sender.timing().begin_stage(start, Stage::Expensive, &self.burst, Origin::Packet);
        }
        measured
    }

    /// Whether places are numbers: then packets that follow each other are
    /// served and sent at once.
    #[inline(always)]
    pub(super) fn counts_places(&self) -> bool {
        self.admission.counting().is_some()
    }

    /// The expensive stage of the burst, where places are numbers.
    /// `send_expensive` follows.
    #[inline(always)]
    pub(super) fn serve_expensive_burst(&mut self) {
        self.serve.expensive_burst(&mut self.burst, self.sender.timing());
    }

    /// The expensive stage of the burst's packets. Each departs when it is its
    /// turn.
    #[inline]
    pub(super) fn serve_expensive(&mut self) {
        let marks = self.sender.marks();
        for mut packet in self.burst.drain() {
            let (arrival, pass) = (marks.arrival(&packet), marks.pass(&packet));
            let verdict = self.serve.expensive(&mut packet, arrival.port);
            if verdict.forwards() {
                self.sender.timing().book_nic_wait(Stage::Expensive, arrival);
            }
            let (stage, stamp) = (Stage::Expensive, arrival.ticks);
            self.sender.follow(stage, verdict, packet, pass, stamp);
        }
    }

    /// Follows the verdicts of `Serve::expensive_burst`: of packets that follow
    /// each other and leave by the same port at once.
    #[inline]
    pub(super) fn send_expensive(&mut self) {
        let dequeued = self.burst.len();
        let mut packets = self.burst.drain();
        for run in self.serve.runs(dequeued) {
            self.sender.follow_run(run, &mut packets);
        }
    }

    /// Puts kept packets into the own shard again.
    pub(super) fn shed_kept(&mut self, policy: &mut P) {
        while self.piles.deferred.len() < self.burst_size.pkts()
            && let Some(packet) = self.handoff.pop_kept()
        {
            self.piles.deferred.push(packet);
        }
        self.shed(policy);
    }

    // ---- Stolen packets ----

    /// How many packets this lcore may steal for its run queue, at most.
    pub(super) fn room(&mut self) -> usize {
        self.handoff.room().min(self.burst_size.pkts())
    }

    /// Moves the burst, which was stolen, into the run queue. Returns when its
    /// first packet arrived.
    pub(super) fn receive_stolen(&mut self) -> u64 {
        let oldest = self.sender.marks().oldest(&self.burst);
        self.handoff.receive_stolen(&mut self.burst);
        oldest
    }

    /// As `receive_stolen`, of packets that another lcore kept: they go where
    /// this lcore's own would.
    pub(super) fn shed_stolen(&mut self, policy: &mut P) -> u64 {
        let pkts = self.burst.len();
        self.burst.drain().move_to(&mut self.piles.deferred, pkts);
        let oldest = self.sender.marks().oldest(&self.piles.deferred);
        self.shed(policy);
        oldest
    }

    /// Keeps the burst, which came from other lcores.
    #[cold]
    pub(super) fn keep_burst(&mut self) {
        if let Some(cause) = self.handoff.keep(&mut self.burst) {
            self.sender.drop_all_placed(&mut self.burst, cause);
        }
    }

    // ---- Sending and shedding ----

    /// Hands over what is deferred, if anything is.
    #[inline]
    fn shed(&mut self, policy: &mut P) {
        if self.piles.deferred.is_empty() {
            return;
        }
        let deferred = &mut self.piles.deferred;
        if let Some(cause) = self.handoff.shed(policy, deferred) {
            self.sender.drop_all_placed(deferred, cause);
        }
    }

    // ---- The end of the run ----

    /// Drops what this lcore holds.
    #[cold]
    pub(super) fn drop_held(&mut self) {
        while let Some(packet) = self.handoff.pop_left_over().or_else(|| self.handoff.pop_kept()) {
            self.sender.drop_placed(packet, DropCause::Shutdown);
        }
    }

    /// Drops the burst, whose packets carry their places.
    #[cold]
    pub(super) fn drop_burst(&mut self) {
        self.sender.drop_all_placed(&mut self.burst, DropCause::Shutdown);
    }

    /// There is nothing to do.
    #[inline]
    pub(super) fn rest(&mut self) {
        self.serve.rest();
    }

    /// Sends what drivers still accept.
    pub(super) fn wind_up(mut self, run: &RunState) {
        self.handoff.wind_up();
        self.sender.wind_up(self.serve.host_gaps(), run);
    }
}
