//! Sending: a stage per port that is filled while a burst is served and flushed
//! at its end, the backlog of what drivers refused, and the packets' turns.

use super::backlog::Backlog;
use super::packet::{Accepted, Outgoing, Pass, Run, Stage, Times};
use super::places::Places;
use super::release::{Release, Turn};
use super::setup::{Settings, Shared};
use super::timing::Timing;
use crate::dpdk::{BURST_MAX, Burst, Drain, MAX_PORTS, Mbuf, TxQueue};
use crate::engine::Verdict;
use crate::order::{Bucket, Full, Number, Ticket};
use crate::stats::{Counter, DropCause, LcoreStats, PortQueue};

/// Fewer packets are not worth a call of the driver: they are staged, to be
/// sent with others.
const SENT_AT_ONCE: usize = 8;

/// A port whose link is up, and whose driver accepts nothing for so long, is
/// stuck: what it refuses is dropped at once until it accepts something. So is,
/// without delay, what a driver refuses whose link is down.
const STUCK_NS: u64 = 200_000_000;

/// A bit of a word stands for each port.
const _: () = assert!(MAX_PORTS <= u64::BITS as usize);

/// One port's way out.
struct Outlet<'a> {
    txq: TxQueue,
    /// Counts what the driver accepts.
    sent_pkts: &'a Counter,
    staged: Burst,
    /// By place in `staged`: the packet's arrival, and its place in its flow.
    stamps: Box<[u64; BURST_MAX]>,
    passes: Box<[Pass; BURST_MAX]>,
}

impl Outlet<'_> {
    #[inline(always)]
    fn send(&mut self, burst: &mut Burst) -> usize {
        let sent = self.txq.send(burst);
        self.sent_pkts.add(sent as u64);
        sent
    }

    #[inline(always)]
    fn send_staged(&mut self) -> usize {
        let sent = self.txq.send(&mut self.staged);
        self.sent_pkts.add(sent as u64);
        sent
    }
}

pub(super) struct Transmit<'a> {
    outlets: Vec<Outlet<'a>>,
    /// By port: its place in `outlets`.
    by_port: [u8; MAX_PORTS],
    /// A bit per outlet that has something staged.
    staged: u64,
    /// A bit per outlet where something staged has a place in its flow to
    /// release.
    ticketed: u64,
    backlog: Backlog,
    release: Release<'a>,
    /// The backlog got packets whose turn has just come: no driver was asked.
    turn_came: bool,
    /// Packets that drivers accepted since latency was booked last.
    accepted: Vec<Accepted>,
    places: Places<'a>,
    stats: &'a LcoreStats,
    burst_pkts: usize,
    /// How long a driver may accept nothing before its port is stuck, if its
    /// link is up.
    patience_ticks: u64,
}

impl<'a> Transmit<'a> {
    pub(super) fn new(
        queues: Vec<TxQueue>,
        settings: &Settings,
        shared: Shared<'a>,
        stats: &'a LcoreStats,
    ) -> Self {
        let mut by_port = [u8::MAX; MAX_PORTS];
        for (at, txq) in queues.iter().enumerate() {
            by_port[usize::from(txq.port())] = at as u8;
        }
        let outlet = |(txq, sent): (TxQueue, &'a PortQueue)| Outlet {
            txq,
            sent_pkts: &sent.pkts,
            staged: Burst::new(),
            stamps: Box::new([0; BURST_MAX]),
            passes: Box::new([Pass::Unasked(0); BURST_MAX]),
        };
        let outlets: Vec<_> = queues.into_iter().zip(&stats.tx).map(outlet).collect();
        Self {
            backlog: Backlog::new(outlets.len()),
            outlets,
            by_port,
            staged: 0,
            ticketed: 0,
            release: Release::new(shared.order, &stats.order),
            turn_came: false,
            accepted: Vec::with_capacity(2 * BURST_MAX),
            places: Places { order: shared.order, flows: settings.flows },
            stats,
            burst_pkts: settings.burst.pkts(),
            patience_ticks: settings.ticks(STUCK_NS),
        }
    }

    #[inline(always)]
    fn at(&self, port: u16) -> usize {
        usize::from(self.by_port[usize::from(port) % MAX_PORTS])
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
        self.staged | self.backlog.held() != 0
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
        let at = self.at(port);
        if self.backlog.holds(at) { 0 } else { self.outlets[at].send(burst) }
    }

    /// The driver accepted the first `sent` packets of a burst that came by this
    /// receive queue. The rest, which is still in the burst, waits in the
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
        let at = self.at(port);
        let times = timing.times(Stage::Cheap);
        let marks = timing.marks();
        let mut dropped = 0;
        if sent == 0 && self.is_hopeless(at) {
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
            _ => self.stage(port, packet, pass, stamp),
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
        if let Some(Outgoing { packet, .. }) = ready {
            self.stage(port, packet, pass, stamp);
        }
    }

    #[inline(always)]
    fn stage(&mut self, port: u16, packet: Mbuf, pass: Pass, stamp: u64) {
        let at = self.at(port);
        let outlet = &mut self.outlets[at];
        let place = outlet.staged.len();
        outlet.staged.push(packet);
        outlet.stamps[place] = stamp;
        outlet.passes[place] = pass;
        self.staged |= 1 << at;
        self.ticketed |= u64::from(pass.is_final()) << at;
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
        let at = self.at(port);
        let holds_some = (self.staged | self.backlog.held()) >> at & 1 == 1;
        if numbers.len() < SENT_AT_ONCE || holds_some {
            self.stage_run(at, packets, numbers, stamps);
        } else {
            self.send_run(at, packets, numbers, stamps, timing);
        }
    }

    #[inline]
    fn stage_run(
        &mut self,
        at: usize,
        packets: &mut Drain<'_>,
        numbers: &[Number],
        stamps: &[u64],
    ) {
        let outlet = &mut self.outlets[at];
        let places = outlet.staged.len()..outlet.staged.len() + stamps.len();
        packets.move_to(&mut outlet.staged, stamps.len());
        outlet.stamps[places.clone()].copy_from_slice(stamps);
        let passes = outlet.passes[places].iter_mut().zip(numbers);
        passes.for_each(|(pass, &number)| *pass = Pass::Counted(number));
        self.staged |= 1 << at;
        self.ticketed |= 1 << at;
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
        let outlet = &mut self.outlets[at];
        let sent = outlet.txq.send_next(packets, stamps.len());
        outlet.sent_pkts.add(sent as u64);
        if timing.is_counting() {
            let times = timing.times(Stage::Expensive);
            self.accepted.extend(Accepted::runs(&stamps[..sent], times));
        }
        self.release.sent_numbers(&numbers[..sent]);
        if sent < stamps.len() {
            self.stage_run(at, packets, &numbers[sent..], &stamps[sent..]);
        }
    }

    /// Sends all that is staged; all of it ended in `stage`. Returns whether
    /// `offer_backlog` must follow, because packets' turns came.
    #[inline]
    pub(super) fn flush(&mut self, stage: Stage, timing: &Timing<'_>) -> bool {
        while self.staged != 0 {
            let at = self.staged.trailing_zeros() as usize;
            self.staged &= self.staged - 1;
            let mut sent = 0;
            if !self.backlog.holds(at) {
                sent = self.outlets[at].send_staged();
                if timing.is_counting() {
                    let stamps = &self.outlets[at].stamps[..sent];
                    self.accepted.extend(Accepted::runs(stamps, timing.times(stage)));
                }
            }
            if !self.outlets[at].staged.is_empty() {
                self.refuse_staged(at, sent, timing.times(stage), timing);
            }
            if self.ticketed >> at & 1 == 1 {
                self.staged_were_sent(at, sent, timing);
            }
        }
        self.turn_came
    }

    /// Staged packets behind the first `sent` wait in the backlog.
    #[cold]
    fn refuse_staged(&mut self, at: usize, sent: usize, times: Times, timing: &Timing<'_>) {
        let hopeless = sent == 0 && self.is_hopeless(at);
        let Outlet { txq, staged, stamps, passes, .. } = &mut self.outlets[at];
        let (offered, port) = (sent + staged.len(), txq.port());
        let mut dropped = if hopeless { staged.free() } else { 0 };
        for (packet, place) in staged.drain().zip(sent..) {
            let times = Times { stamp: stamps[place], ..times };
            let waiting = Outgoing { packet, port, pass: passes[place], times };
            dropped += usize::from(self.backlog.push(at, waiting).is_err());
        }
        self.stats.drop_pkts(self.cause(at), dropped as u64);
        // The backlog was full by then: it was the last ones that were dropped.
        for place in offered - dropped..offered {
            self.release(self.outlets[at].passes[place], timing);
        }
    }

    /// The first `sent` staged packets went, and release their places.
    #[inline(never)]
    fn staged_were_sent(&mut self, at: usize, sent: usize, timing: &Timing<'_>) {
        self.ticketed &= !(1 << at);
        if self.release.keeps() {
            for place in 0..sent {
                let next = self.release.sent(self.outlets[at].passes[place]);
                self.offer(next, timing);
            }
        } else {
            self.release.sent_counted(&self.outlets[at].passes[..sent]);
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
    /// that are ready and follow it. If too many wait there already it is
    /// dropped, which is the turn of the next one.
    fn offer(&mut self, mut next: Option<Turn>, timing: &Timing<'_>) {
        while let Some((mut ticket, mut waiting)) = next {
            let (port, at) = (waiting.port, self.at(waiting.port));
            self.turn_came = true;
            next = loop {
                timing.turn_came(&mut waiting.times);
                self.backlog.push_turn(at, waiting);
                match self.release.follower(ticket, port) {
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
        let outlet = &mut self.outlets[at];
        for (place, waiting) in self.backlog.dequeue(at, self.burst_pkts).enumerate() {
            outlet.passes[place] = waiting.pass;
            times[place] = waiting.times;
            outlet.staged.push(waiting.packet);
        }
        let (port, sent) = (outlet.txq.port(), outlet.send_staged());
        while let Some(packet) = outlet.staged.pop() {
            let place = sent + outlet.staged.len();
            let (pass, times) = (outlet.passes[place], times[place]);
            self.backlog.put_back(at, Outgoing { packet, port, pass, times });
        }
        if timing.is_counting() {
            self.accepted.extend(times[..sent].iter().map(|&times| Accepted { times, pkts: 1 }));
        }
        self.staged_were_sent(at, sent, timing);
        let patience = if self.link_is_up(at) { self.patience_ticks } else { 0 };
        let sent_pkts = self.outlets[at].sent_pkts.get();
        if self.backlog.note_offer(at, sent, sent_pkts, timing.now(), patience) {
            self.drop_backlog_of(at, timing);
        }
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
    /// counted at once: whoever sends counts in the same place.
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
        for (at, outlet) in self.outlets.iter_mut().enumerate() {
            self.backlog.keep_places_in(at, bucket, self.places)?;
            for (pass, packet) in outlet.passes.iter_mut().zip(outlet.staged.packets()) {
                self.places.keep_in(bucket, pass, packet)?;
                self.ticketed |= u64::from(pass.is_final()) << at;
            }
        }
        Ok(())
    }

    /// Leases are about to be released: the backlog gets places, so that others
    /// do not overtake it.
    #[inline]
    pub(super) fn keep_all_places(&mut self) {
        debug_assert_eq!(self.staged, 0);
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

    /// Whether the link was up when it was seen last. That of a lost port is not.
    #[inline]
    fn link_is_up(&self, at: usize) -> bool {
        self.outlets[at].txq.link_is_up()
    }

    /// Whether it is in vain to keep what the driver refuses. Packets that wait
    /// for a dead port would hold up others of their buckets.
    #[inline]
    fn is_hopeless(&self, at: usize) -> bool {
        !self.link_is_up(at) || self.backlog.is_stuck(at, self.outlets[at].sent_pkts.get())
    }

    /// Why a port accepts nothing.
    fn cause(&self, at: usize) -> DropCause {
        if self.link_is_up(at) { DropCause::TxFull } else { DropCause::LinkDown }
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
    pub(super) fn leave_lost_ports(&mut self, timing: &Timing<'_>) {
        for at in 0..self.outlets.len() {
            if self.outlets[at].txq.is_lost() {
                self.outlets[at].txq.leave();
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
