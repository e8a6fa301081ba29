//! Sending: by stages that are flushed at the end of a burst, the backlog of
//! what drivers refused, and the packets' turns.

use super::backlog::Backlog;
use super::outlets::Outlets;
use super::packet::{Accepted, Outgoing, Pass, Run, Stage, Times};
use super::places::Places;
use super::release::{Release, Turn};
use super::setup::{Settings, Shared};
use super::timing::Timing;
use crate::dpdk::{BURST_MAX, Burst, Drain, Mbuf, TxQueue};
use crate::engine::{Turns, Verdict};
use crate::order::{Bucket, Full, Number, Order, Ticket};
use crate::stats::{DropCause, LcoreStats};

/// Fewer packets are not worth a call of the driver: they are staged, to be
/// sent with others.
const SENT_AT_ONCE: usize = 8;

/// A port whose link is up, and whose driver accepts nothing for so long, is
/// stuck: what it refuses is dropped at once until it accepts something. So is,
/// without delay, what a driver refuses whose link is down.
const STUCK_NS: u64 = 200_000_000;

/// A port that sends slower than packets come for it would in time hold all
/// order records of a queue, and keep the queue's packets for other ports from
/// being polled. Once its packets have waited for so long while records are
/// short, they are dropped.
const CROWDED_NS: u64 = 1_000_000;

/// For so long what such a port's driver refuses is dropped at once.
const SLOW_NS: u64 = 100_000_000;

pub(super) struct Transmit<'a> {
    outlets: Outlets<'a>,
    backlog: Backlog,
    release: Release<'a>,
    /// The backlog got packets whose turn has just come: no driver was asked.
    turn_came: bool,
    /// The engine's second look at packets whose turn comes.
    turns: Option<Box<dyn Turns>>,
    /// Packets that drivers accepted since latency was booked last.
    accepted: Vec<Accepted>,
    places: Places<'a>,
    stats: &'a LcoreStats,
    burst_pkts: usize,
    /// How long a driver may accept nothing before its port is stuck, if its
    /// link is up.
    patience_ticks: u64,
    /// `CROWDED_NS` and `SLOW_NS`.
    crowding_ticks: (u64, u64),
}

impl<'a> Transmit<'a> {
    pub(super) fn new(
        queues: Vec<TxQueue>,
        turns: Option<Box<dyn Turns>>,
        settings: &Settings,
        shared: Shared<'a>,
        stats: &'a LcoreStats,
    ) -> Self {
        let outlets = Outlets::new(queues, stats);
        Self {
            backlog: Backlog::new(outlets.len()),
            outlets,
            release: Release::new(shared.order, &stats.order),
            turn_came: false,
            turns,
            accepted: Vec::with_capacity(2 * BURST_MAX),
            places: Places { order: shared.order, flows: settings.flows },
            stats,
            burst_pkts: settings.burst.pkts(),
            patience_ticks: settings.ticks(STUCK_NS),
            crowding_ticks: (settings.ticks(CROWDED_NS), settings.ticks(SLOW_NS)),
        }
    }

    /// What drivers accepted since this was emptied last, but for what
    /// `send_burst` sent.
    #[inline(always)]
    pub(super) fn accepted(&mut self) -> &mut Vec<Accepted> {
        &mut self.accepted
    }

    /// Whether packets are here, of this burst or of earlier ones.
    #[inline(always)]
    pub(super) fn holds_packets(&self) -> bool {
        self.outlets.staged() | self.backlog.held() != 0
    }

    /// Whether packets wait for their drivers.
    #[inline(always)]
    pub(super) fn has_backlog(&self) -> bool {
        self.backlog.held() != 0
    }

    /// Sends a burst that leaves by one port, without staging it. What the
    /// driver refuses stays in the burst, for `refuse`. Returns how many went.
    #[inline(always)]
    pub(super) fn send_burst(&mut self, port: u16, burst: &mut Burst) -> usize {
        let at = self.outlets.at(port);
        if self.backlog.holds(at) { 0 } else { self.outlets.send(at, burst) }
    }

    /// The driver accepted the first `sent` packets of a burst that came by
    /// this receive queue. The rest, which is still in the burst, waits in the
    /// backlog. Its packets carry their arrival.
    #[cold]
    pub(super) fn refuse(
        &mut self,
        port: u16,
        sent: usize,
        burst: &mut Burst,
        queue: u16,
        timing: &Timing<'_>,
    ) {
        let at = self.outlets.at(port);
        let times = timing.times(Stage::Cheap);
        let marks = timing.marks();
        let mut dropped = 0;
        if self.is_hopeless(at, sent, timing) {
            dropped = burst.free() as u64;
        }
        for packet in burst.drain() {
            let times = Times { stamp: marks.stamp.read(&packet), ..times };
            let waiting = Outgoing { packet, port, pass: Pass::Unasked(queue), times };
            dropped += u64::from(self.backlog.push(at, waiting).is_err());
        }
        self.stats.drop_pkts(self.cause(at), dropped);
    }

    /// A packet's stage is over: does as it said.
    #[inline(always)]
    pub(super) fn follow(
        &mut self,
        stage: Stage,
        verdict: Verdict,
        packet: Mbuf,
        pass: Pass,
        stamp: u64,
        timing: &Timing<'_>,
    ) {
        match verdict {
            Verdict::Forward(port) => self.depart(stage, port, packet, pass, stamp, timing),
            Verdict::Drop(cause) => {
                drop(packet);
                self.stats.drop_pkts(cause, 1);
                self.release(pass, timing);
            }
            Verdict::Defer => unreachable!("the expensive stage is the last one"),
        }
    }

    /// The packet leaves by `port`: now, or when all have gone that came before
    /// it in its flow.
    #[inline(always)]
    fn depart(
        &mut self,
        stage: Stage,
        port: u16,
        packet: Mbuf,
        pass: Pass,
        stamp: u64,
        timing: &Timing<'_>,
    ) {
        match pass {
            Pass::Ticket(ticket) => self.depart_in_turn(stage, port, packet, ticket, stamp, timing),
            _ => self.outlets.stage(port, packet, pass, stamp),
        }
    }

    #[inline(never)]
    fn depart_in_turn(
        &mut self,
        stage: Stage,
        port: u16,
        packet: Mbuf,
        ticket: Ticket,
        stamp: u64,
        timing: &Timing<'_>,
    ) {
        let pass = Pass::Ticket(ticket);
        // If it has to wait for its turn, that is from now on.
        let times = Times { stamp, ..timing.times_now(stage) };
        let ready = self.release.finish(ticket, Outgoing { packet, port, pass, times });
        let Some(Outgoing { mut packet, .. }) = ready else { return };
        match self.still_goes(&mut packet) {
            Ok(()) => self.outlets.stage(port, packet, pass, stamp),
            Err(cause) => {
                self.drop_in_turn(packet, cause);
                self.release(pass, timing);
            }
        }
    }

    /// Drops a packet that its stage forwarded, and counts it.
    #[cold]
    fn drop_in_turn(&self, packet: Mbuf, cause: DropCause) {
        drop(packet);
        self.stats.drop_pkts(cause, 1);
        self.stats.dropped_in_turn_pkts.add(1);
    }

    /// What the engine says now of a packet whose turn has come.
    #[inline]
    fn still_goes(&mut self, packet: &mut Mbuf) -> Result<(), DropCause> {
        self.turns.as_mut().map_or(Ok(()), |turns| turns.still_goes(packet))
    }

    /// As `follow`, for the next of `packets`, as many as the run has. They are
    /// counted by numbers, so that none has to wait for its turn.
    #[inline]
    pub(super) fn follow_run(
        &mut self,
        Run { verdict, numbers, stamps }: Run<'_>,
        packets: &mut Drain<'_>,
        timing: &Timing<'_>,
    ) {
        if let Verdict::Forward(port) = verdict {
            return self.depart_run(port, packets, numbers, stamps, timing);
        }
        for ((&number, &stamp), packet) in numbers.iter().zip(stamps).zip(packets) {
            let pass = Pass::Counted(number);
            self.follow(Stage::Expensive, verdict, packet, pass, stamp, timing);
        }
    }

    /// Sends them at once if that is worth it and nothing is before them;
    /// stages what did not go.
    #[inline]
    fn depart_run(
        &mut self,
        port: u16,
        packets: &mut Drain<'_>,
        numbers: &[Number],
        stamps: &[u64],
        timing: &Timing<'_>,
    ) {
        let at = self.outlets.at(port);
        let holds_some = (self.outlets.staged() | self.backlog.held()) >> at & 1 == 1;
        if numbers.len() < SENT_AT_ONCE || holds_some {
            self.outlets.stage_run(at, packets, numbers, stamps);
        } else {
            self.send_run(at, packets, numbers, stamps, timing);
        }
    }

    #[inline]
    fn send_run(
        &mut self,
        at: usize,
        packets: &mut Drain<'_>,
        numbers: &[Number],
        stamps: &[u64],
        timing: &Timing<'_>,
    ) {
        let sent = self.outlets.send_next(at, packets, stamps.len());
        if timing.is_counting() {
            let times = timing.times(Stage::Expensive);
            self.accepted.extend(Accepted::runs(&stamps[..sent], times));
        }
        self.release.sent_numbers(&numbers[..sent]);
        if sent < stamps.len() {
            self.outlets.stage_run(at, packets, &numbers[sent..], &stamps[sent..]);
        }
    }

    /// Sends all that is staged; all of it ended in `stage`. Returns whether
    /// `offer_backlog` must follow, because packets' turns came.
    #[inline]
    pub(super) fn flush(&mut self, stage: Stage, timing: &Timing<'_>) -> bool {
        while let Some(at) = self.outlets.next_staged() {
            let mut sent = 0;
            if !self.backlog.holds(at) {
                sent = self.outlets.send_staged(at);
                if timing.is_counting() {
                    let stamps = &self.outlets.stamps(at)[..sent];
                    self.accepted.extend(Accepted::runs(stamps, timing.times(stage)));
                }
            }
            if self.outlets.staged_pkts(at) > 0 {
                self.refuse_staged(at, sent, timing.times(stage), timing);
            }
            if self.outlets.is_ticketed(at) {
                self.staged_were_sent(at, sent, timing);
            }
        }
        self.turn_came
    }

    /// Staged packets behind the first `sent` wait in the backlog.
    #[cold]
    fn refuse_staged(&mut self, at: usize, sent: usize, times: Times, timing: &Timing<'_>) {
        let hopeless = self.is_hopeless(at, sent, timing);
        let (refused, port) = (self.outlets.staged_pkts(at), self.outlets.port(at));
        let mut dropped = if hopeless { self.outlets.free_staged(at) } else { 0 };
        for (packet, pass, stamp) in self.outlets.drain_staged(at, sent) {
            let waiting = Outgoing { packet, port, pass, times: Times { stamp, ..times } };
            dropped += usize::from(self.backlog.push(at, waiting).is_err());
        }
        self.stats.drop_pkts(self.cause(at), dropped as u64);
        // The backlog was full by then: it was the last ones that were dropped.
        for place in sent + refused - dropped..sent + refused {
            self.release(self.outlets.passes(at)[place], timing);
        }
    }

    /// The first `sent` staged packets went, and release their places.
    #[inline(never)]
    fn staged_were_sent(&mut self, at: usize, sent: usize, timing: &Timing<'_>) {
        self.outlets.forget_tickets(at);
        if self.release.keeps() {
            for place in 0..sent {
                let next = self.release.sent(self.outlets.passes(at)[place]);
                self.offer(next, timing);
            }
        } else {
            self.release.sent_counted(&self.outlets.passes(at)[..sent]);
        }
    }

    /// A packet was dropped: those whose turn comes by that are offered next.
    #[inline]
    pub(super) fn release(&mut self, pass: Pass, timing: &Timing<'_>) {
        let next = self.release.dropped(pass);
        if next.is_some() {
            self.offer(next, timing);
        }
    }

    /// Puts a packet whose turn has come into the backlog of its port, and all
    /// that are ready and follow it. If the engine drops it, the next one's turn
    /// comes.
    fn offer(&mut self, mut next: Option<Turn>, timing: &Timing<'_>) {
        while let Some((mut ticket, mut waiting)) = next {
            if let Err(cause) = self.still_goes(&mut waiting.packet) {
                let Outgoing { packet, pass, .. } = waiting;
                self.drop_in_turn(packet, cause);
                next = self.release.dropped(pass);
                continue;
            }
            let (port, at) = (waiting.port, self.outlets.at(waiting.port));
            self.turn_came = true;
            next = loop {
                timing.turn_came(&mut waiting.times);
                self.backlog.push_turn(at, waiting);
                let turns = &mut self.turns;
                let goes = |packet: &mut Mbuf| {
                    turns.as_mut().is_none_or(|turns| turns.still_goes(packet).is_ok())
                };
                match self.release.follower(ticket, port, goes) {
                    Some(follower) => (ticket, waiting) = follower,
                    None => break None,
                }
            };
        }
    }

    /// Offers each driver the oldest packets of its backlog, a burst at most.
    /// Returns whether packets' turns came by that, which are to be offered at
    /// once.
    #[cold]
    pub(super) fn offer_backlog(&mut self, timing: &Timing<'_>) -> bool {
        self.turn_came = false;
        for at in 0..self.outlets.len() {
            if self.backlog.holds(at) {
                self.offer_oldest(at, timing);
            }
        }
        self.turn_came
    }

    /// The stage is empty here, and serves to hand packets over.
    fn offer_oldest(&mut self, at: usize, timing: &Timing<'_>) {
        let unknown = timing.times(Stage::Cheap);
        let mut times = [unknown; BURST_MAX];
        for (place, waiting) in self.backlog.dequeue(at, self.burst_pkts).enumerate() {
            times[place] = waiting.times;
            self.outlets.hand_over(at, waiting.packet, waiting.pass);
        }
        let (port, sent) = (self.outlets.port(at), self.outlets.send_staged(at));
        let refused = self.outlets.staged_pkts(at) > 0;
        while let Some((place, packet, pass)) = self.outlets.take_back(at, sent) {
            self.backlog.put_back(at, Outgoing { packet, port, pass, times: times[place] });
        }
        if timing.is_counting() {
            self.accepted.extend(times[..sent].iter().map(|&times| Accepted { times, pkts: 1 }));
        }
        self.staged_were_sent(at, sent, timing);
        let patience = if self.outlets.link_is_up(at) { self.patience_ticks } else { 0 };
        let sent_pkts = self.outlets.sent_pkts(at);
        let now = timing.now();
        let is_stuck = self.backlog.note_offer(at, sent, refused, sent_pkts, now, patience);
        // Packets behind those that it accepted were not refused.
        let all_asked = refused || !self.backlog.holds(at);
        if is_stuck || all_asked && self.holds_up_others(at, now) {
            self.drop_backlog_of(at, timing);
        }
    }

    /// Whether packets that wait for this port must not wait any longer, because
    /// packets for other ports find no order records.
    fn holds_up_others(&mut self, at: usize, now: u64) -> bool {
        let Order::Keeping(keeping) = self.places.order else { return false };
        let waits = self.backlog.holds(at);
        if waits && self.backlog.is_slow(at, now) {
            return true;
        }
        // Of two ports the other one may never be sent by.
        let has_others =
            || self.outlets.len() > 2 || self.stats.tx_pkts() > self.outlets.sent_pkts(at);
        let want = self.burst_pkts + self.backlog.unplaced_pkts_max();
        let is_crowded = waits && has_others() && keeping.is_short(want);
        self.backlog.note_crowding(at, is_crowded, now, self.crowding_ticks)
    }

    /// Drops a packet that carries its place.
    #[cold]
    pub(super) fn drop_placed(&mut self, packet: Mbuf, cause: DropCause, timing: &Timing<'_>) {
        let pass = timing.marks().pass(&packet);
        drop(packet);
        self.stats.drop_pkts(cause, 1);
        self.release(pass, timing);
    }

    /// Drops a packet that needs a place in its flow, and got none.
    #[cold]
    pub(super) fn drop_unplaced(&self, packet: Mbuf) {
        drop(packet);
        self.stats.drop_pkts(DropCause::OrderFull, 1);
    }

    /// As `drop_placed`, all packets of a burst. Consecutive numbers are
    /// counted at once: the lcores that send write the same line.
    #[cold]
    pub(super) fn drop_all_placed(
        &mut self,
        burst: &mut Burst,
        cause: DropCause,
        timing: &Timing<'_>,
    ) {
        if self.release.keeps() {
            burst.drain().for_each(|packet| self.drop_placed(packet, cause, timing));
            return;
        }
        let marks = timing.marks();
        for run in burst.packets().chunk_by(|a, b| marks.pass(a).precedes(marks.pass(b))) {
            if let Pass::Counted(first) = marks.pass(&run[0]) {
                self.release.dropped_run(first, run.len());
            }
        }
        self.stats.drop_pkts(cause, burst.free() as u64);
    }

    /// A packet of that bucket is about to leave this lcore: those of the
    /// bucket that are here came before it, and get places before it.
    ///
    /// # Errors
    /// When there is no place left.
    #[inline]
    pub(super) fn keep_places_in(&mut self, bucket: Bucket) -> Result<(), Full> {
        if self.holds_packets() { self.keep_places_here(bucket) } else { Ok(()) }
    }

    #[cold]
    fn keep_places_here(&mut self, bucket: Bucket) -> Result<(), Full> {
        for at in 0..self.outlets.len() {
            self.backlog.keep_places_in(at, bucket, self.places)?;
            self.outlets.keep_places_in(at, bucket, self.places)?;
        }
        Ok(())
    }

    /// Leases are about to be released: the backlog gets places, so that others
    /// do not overtake it.
    #[inline]
    pub(super) fn keep_all_places(&mut self) {
        debug_assert_eq!(self.outlets.staged(), 0);
        if self.has_backlog() {
            self.keep_backlog_places();
        }
    }

    #[cold]
    fn keep_backlog_places(&mut self) {
        let dropped = self.backlog.keep_places(self.places);
        self.stats.drop_pkts(DropCause::OrderFull, dropped as u64);
    }

    /// Packets that drivers accepted since the run began.
    pub(super) fn sent_pkts(&self) -> u64 {
        self.stats.tx_pkts()
    }

    /// How many packets are here that may need a place before others can have
    /// theirs, at most.
    pub(super) fn unplaced_pkts_max(&self) -> usize {
        self.backlog.unplaced_pkts_max()
    }

    /// Whether what the driver refused after it had accepted `sent` packets is
    /// not kept. Packets that wait for a dead port would hold up others of
    /// their buckets, and those that wait for a slow one use up order records.
    /// Where packets wait already, the driver has not been asked: it may accept
    /// these after all.
    fn is_hopeless(&self, at: usize, sent: usize, timing: &Timing<'_>) -> bool {
        if self.backlog.holds(at) {
            return false;
        }
        let is_dead = || {
            !self.outlets.link_is_up(at) || self.backlog.is_stuck(at, self.outlets.sent_pkts(at))
        };
        sent == 0 && is_dead() || self.backlog.is_slow(at, timing.now())
    }

    /// Why a port accepts nothing.
    fn cause(&self, at: usize) -> DropCause {
        if self.outlets.link_is_up(at) { DropCause::TxFull } else { DropCause::LinkDown }
    }

    /// Drops the backlog, and all whose turn comes by that.
    pub(super) fn drop_backlog(&mut self, timing: &Timing<'_>) {
        while self.backlog.held() != 0 {
            self.drop_backlog_of(self.backlog.held().trailing_zeros() as usize, timing);
        }
    }

    /// Sends by lost ports no longer. What waits for them is dropped, and so
    /// will be what still comes for them.
    #[cold]
    pub(super) fn give_up_lost_ports(&mut self, timing: &Timing<'_>) {
        for at in 0..self.outlets.len() {
            if self.outlets.give_up_if_lost(at) {
                self.drop_backlog_of(at, timing);
            }
        }
    }

    /// As `drop_backlog`, of one port.
    #[cold]
    fn drop_backlog_of(&mut self, at: usize, timing: &Timing<'_>) {
        while let Some(Outgoing { packet, pass, .. }) = self.backlog.pop(at) {
            drop(packet);
            self.stats.drop_pkts(self.cause(at), 1);
            self.release(pass, timing);
        }
    }
}
