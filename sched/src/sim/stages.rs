//! What an lcore does with packets that it has received: mpfwd's `stages.rs`,
//! cut where other lcores can see a change.

use std::collections::VecDeque;

use super::admission::Admission;
use super::costs::CostTicks;
use super::handoff::Handoff;
use super::own_board::OwnBoard;
use super::queues::Packet;
use super::seen::Seen;
use super::timeline::{Alone, Doing, Timeline};
use super::transmit::Transmit;
use super::{Sent, Setup, ticks_of_ns};
use crate::heartbeat::{Busy, Cost};
use crate::pace::Pace;
use crate::policy::{Deferral, Permit, Policy};

/// Where a packet of a burst goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pile {
    Cheap,
    Deferred,
    Alone { unknown: bool },
    LeftOver,
}

/// What an lcore holds.
pub(super) struct Held<'a, P> {
    pub policy: P,
    pub pace: Pace,
    pub board: OwnBoard<'a>,
    /// Empty between two steps.
    pub burst: Vec<Packet>,
    pub run_queue: VecDeque<Packet>,
    cheap: Vec<Packet>,
    deferred: Vec<Packet>,
    /// The shard that it sheds to.
    shard: Option<usize>,
    pub done_pkts: u64,
    /// Time in cheap and in expensive work.
    pub work_ticks: [u64; 2],
}

impl<'a, P: Policy> Held<'a, P> {
    fn new(me: usize, policy: P, setup: &Setup, seen: &'a Seen) -> Self {
        let sheds = setup.mode.facts().sheds.includes(seen.boards[me].pool());
        Self {
            pace: Pace::new(setup.burst, policy.excess(), |ns| ticks_of_ns(ns as f64)),
            policy,
            board: OwnBoard::new(seen, me, ticks_of_ns(setup.stall_after_ns as f64)),
            burst: Vec::with_capacity(setup.burst),
            run_queue: VecDeque::new(),
            cheap: Vec::with_capacity(setup.burst),
            deferred: Vec::with_capacity(setup.burst),
            shard: sheds.then_some(me),
            done_pkts: 0,
            work_ticks: [0; 2],
        }
    }
}

/// The stages of all lcores, and what these hold.
pub(super) struct Stages<'a, P, S> {
    setup: &'a Setup,
    costs: CostTicks,
    lcores: Vec<Held<'a, P>>,
    pub admission: Admission<'a>,
    pub transmit: Transmit<'a, S>,
    pub handoff: Handoff<'a>,
    pub timeline: Timeline<'a>,
    pub received_pkts: u64,
    /// Packets put into shards and inboxes.
    pub sheds: u64,
}

impl<'a, P: Policy, S: FnMut(Sent)> Stages<'a, P, S> {
    const IS_SEEN: bool = P::STEALS || P::RESCUES || matches!(P::DEFERRED, Deferral::Inbox);

    pub(super) fn new(
        setup: &'a Setup,
        seen: &'a Seen,
        sent: S,
        policy: impl Fn(usize) -> P,
        dequeuers: usize,
    ) -> Self {
        let costs = setup.costs.ticks();
        Self {
            setup,
            costs,
            lcores: (0..setup.lcores).map(|at| Held::new(at, policy(at), setup, seen)).collect(),
            admission: Admission::new(&seen.order, &costs),
            transmit: Transmit::new(&seen.order, &costs, sent),
            handoff: Handoff::new(setup, seen, dequeuers),
            timeline: Timeline::new(setup.lcores, &setup.gaps),
            received_pkts: 0,
            sheds: 0,
        }
    }

    pub(super) fn of(&self, me: usize) -> &Held<'a, P> {
        &self.lcores[me]
    }

    pub(super) fn of_mut(&mut self, me: usize) -> &mut Held<'a, P> {
        &mut self.lcores[me]
    }

    /// Time in cheap and in expensive work, of all lcores.
    pub(super) fn work_ticks(&self) -> [u64; 2] {
        let sum = |at: usize| self.lcores.iter().map(|lcore| lcore.work_ticks[at]).sum();
        [sum(0), sum(1)]
    }

    /// The lcore is busy with `doing` for so long.
    pub(super) fn spend(&mut self, me: usize, now: u64, ticks: u64, doing: Doing<'a>) {
        let end = self.timeline.spend(me, now, ticks, doing);
        if P::RESCUES && self.lcores[me].board.is_stalled(end) {
            self.timeline.note_stall(end);
            self.timeline.wake_all(now);
        }
    }

    // ---- A burst of a receive queue ----

    /// The burst is being received, and classified or served as a whole.
    pub(super) fn receive(&mut self, me: usize, now: u64, queue: usize, ticks: u64) {
        let costs = self.costs;
        self.timeline.found_something(me);
        let lcore = &mut self.lcores[me];
        let pkts = lcore.burst.len() as u64;
        self.received_pkts += pkts;
        let ticks = ticks + costs.poll_burst_ns + pkts * (costs.poll_pkt_ns + costs.source_pkt_ns);
        let short = !P::SHARES || lcore.pace.begin_polled(now, pkts as usize);
        let stays = |packet: &Packet| !packet.expensive && !self.admission.is_behind(packet);
        let may_be_whole = short && self.setup.whole_bursts && self.setup.known;
        if may_be_whole && lcore.burst.iter().all(stays) {
            let work: u64 = lcore.burst.iter().map(|packet| packet.cost_ticks).sum();
            let ticks = ticks + work + costs.send_burst_ns + pkts * costs.send_pkt_ns;
            return self.spend(me, now, ticks, Doing::Whole { queue });
        }
        let places = if P::SHARES { pkts * costs.enter_pkt_ns } else { 0 };
        let ticks = ticks + pkts * costs.classify_pkt_ns + places;
        self.spend(me, now, ticks, Doing::Receiving { queue });
    }

    /// Sends the burst, whose stage is over. Returns how many packets it has.
    pub(super) fn send_burst(&mut self, me: usize, now: u64) -> usize {
        let mut burst = std::mem::take(&mut self.lcores[me].burst);
        let pkts = burst.len();
        burst.drain(..).for_each(|packet| self.send(me, now, packet));
        self.lcores[me].burst = burst;
        pkts
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

    /// Classifies the burst: each packet goes on its pile, with a place in its
    /// flow if it needs one. Then these are served.
    pub(super) fn classify(&mut self, me: usize, now: u64) {
        let own_pkts = self.own_pkts(me);
        let (mut burst, mut alone, mut ticks) =
            (std::mem::take(&mut self.lcores[me].burst), None, 0);
        for (at, mut packet) in burst.drain(..).enumerate() {
            let pile =
                if alone.is_none() && at < own_pkts { self.pile(&packet) } else { Pile::LeftOver };
            let (admission, lcore) = (&self.admission, &mut self.lcores[me]);
            let has_place = match pile {
                Pile::Cheap if !P::SHARES => admission.stay(&mut packet, &mut ticks),
                Pile::Cheap => admission.enter(&mut packet),
                _ => admission.go_away(&mut packet, &mut lcore.cheap, &mut ticks, P::SHARES),
            };
            match pile {
                _ if !has_place => self.drop(me, now, packet),
                Pile::Cheap => lcore.cheap.push(packet),
                Pile::Deferred => lcore.deferred.push(packet),
                Pile::Alone { unknown } => alone = Some(Alone { packet, unknown }),
                Pile::LeftOver if lcore.run_queue.len() < self.setup.run_queue_pkts => {
                    lcore.run_queue.push_back(packet);
                    ticks += self.costs.push_pkt_ns;
                }
                Pile::LeftOver => self.drop(me, now, packet),
            }
        }
        self.lcores[me].burst = burst;
        if own_pkts < usize::MAX {
            self.show_queued(me, now);
        }
        self.finish(me, now, alone, ticks);
    }

    /// How many packets of a burst the lcore serves itself.
    fn own_pkts(&self, me: usize) -> usize {
        if P::SHARES { self.lcores[me].pace.own_pkts() } else { usize::MAX }
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
            Some(alone) => self.run_alone(me, now, alone, ticks),
            None => self.spend(me, now, ticks, Doing::Nothing),
        }
    }

    /// Sends the cheap pile, which has been served.
    pub(super) fn send_cheap(&mut self, me: usize, now: u64) {
        let mut cheap = std::mem::take(&mut self.lcores[me].cheap);
        cheap.drain(..).for_each(|packet| self.send(me, now, packet));
        self.lcores[me].cheap = cheap;
    }

    // ---- What the lcore holds ----

    pub(super) fn serve_run_queue(&mut self, me: usize, now: u64, ticks: u64) {
        let mut ticks = ticks + self.costs.clock_ns;
        self.show_running(me, now);
        let own_pkts = self.own_pkts(me);
        let mut alone = None;
        for _ in 0..self.setup.burst.min(own_pkts) {
            let Some(packet) = self.lcores[me].run_queue.pop_front() else { break };
            ticks += self.costs.pop_pkt_ns + self.costs.classify_pkt_ns;
            self.timeline.found_something(me);
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
            self.show_queued(me, now);
        }
        self.finish(me, now, alone, ticks);
    }

    /// Moves up to half of the victim's run queue into the lcore's own. Returns
    /// how many packets.
    pub(super) fn steal(&mut self, me: usize, victim: usize) -> usize {
        let room = self.setup.run_queue_pkts.saturating_sub(self.lcores[me].run_queue.len());
        let from = &mut self.lcores[victim].run_queue;
        let pkts = from.len().div_ceil(2).min(room).min(self.setup.burst);
        let mut loot: VecDeque<Packet> = from.drain(..pkts).collect();
        self.lcores[me].run_queue.append(&mut loot);
        pkts
    }

    /// Runs one packet of unknown or expensive cost, and shows that meanwhile.
    pub(super) fn run_alone(&mut self, me: usize, now: u64, alone: Alone, ticks: u64) {
        let costs = self.costs;
        self.lcores[me].pace.forget();
        let cost = if alone.unknown { Cost::Unknown } else { Cost::Expensive };
        self.begin_busy(me, now, alone.packet.flow_hash(), cost);
        let ticks = ticks
            + 2 * costs.clock_ns
            + costs.busy_ns
            + alone.packet.cost_ticks
            + costs.send_burst_ns
            + costs.send_pkt_ns
            + costs.release_pkt_ns;
        self.spend(me, now, ticks, Doing::Running { alone });
    }

    /// The packet that ran alone is over.
    pub(super) fn ran(&mut self, me: usize, now: u64, alone: Alone) {
        self.end_busy(me, now);
        self.send(me, now, alone.packet);
    }

    // ---- Expensive stages ----

    /// Dequeues at most `max` packets of the shard, and runs them.
    pub(super) fn work(
        &mut self,
        me: usize,
        now: u64,
        (shard, max): (usize, usize),
        permit: Option<Permit<'a>>,
        ticks: u64,
    ) {
        let costs = self.costs;
        let pkts = self.handoff.dequeue(shard, max, &mut self.lcores[me].burst);
        let burst = &self.lcores[me].burst;
        let work: u64 = burst.iter().map(|packet| packet.cost_ticks).sum();
        let line = self.setup.topology.line(&costs, me, shard);
        if let Some(flow_hash) = burst.first().map(Packet::flow_hash) {
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

    // ---- What the lcore shows ----

    pub(super) fn show_running(&mut self, me: usize, now: u64) {
        if !P::SHARES {
            return;
        }
        let Held { pace, board, .. } = &mut self.lcores[me];
        pace.end(now);
        if let Some(silence_ticks) = board.show_running(now) {
            pace.note_silence(now, silence_ticks);
        }
    }

    /// Shows whether the lcore is pressed, of whose poll for `want` packets so
    /// many came.
    pub(super) fn show_pressure(&mut self, me: usize, now: u64, pkts: usize, want: usize) {
        let Held { pace, board, .. } = &mut self.lcores[me];
        let pressed = pace.is_pressed(pkts, want);
        let pressed = pressed || P::RESCUES && pace.is_wary(now);
        if board.show_pressure(now, pressed, P::RESCUES) {
            self.timeline.wake_all(now);
        }
    }

    fn show_queued(&mut self, me: usize, now: u64) {
        let Held { run_queue, board, .. } = &mut self.lcores[me];
        if board.show_queued(run_queue.len()) {
            self.timeline.wake_all(now);
        }
    }

    fn begin_busy(&mut self, me: usize, now: u64, flow_hash: u32, cost: Cost) {
        let Held { run_queue, board, .. } = &mut self.lcores[me];
        let busy = Busy { since_ticks: now, flow_hash, cost };
        if Self::IS_SEEN && board.begin_busy(busy, run_queue.len(), P::RESCUES) {
            self.timeline.wake_all(now);
        }
    }

    pub(super) fn end_busy(&mut self, me: usize, now: u64) {
        let Held { run_queue, board, .. } = &mut self.lcores[me];
        if Self::IS_SEEN && board.end_busy(now, run_queue.len()) {
            self.timeline.wake_all(now);
        }
    }

    // ---- Sending and shedding ----

    fn send(&mut self, me: usize, now: u64, packet: Packet) {
        self.lcores[me].done_pkts += 1;
        let ticks = self.transmit.send(me, now, packet);
        self.timeline.owe(me, ticks);
    }

    fn drop(&mut self, me: usize, now: u64, packet: Packet) {
        let ticks = self.transmit.drop(me, now, packet);
        self.timeline.owe(me, ticks);
    }

    /// Hands over what is deferred. Returns how long that takes.
    fn shed(&mut self, me: usize, now: u64) -> u64 {
        let Held { deferred, shard, policy, .. } = &mut self.lcores[me];
        if deferred.is_empty() {
            return 0;
        }
        let pkts = deferred.len() as u64;
        match *shard {
            Some(shard) => {
                if self.handoff.shed(shard, deferred) {
                    self.timeline.wake_all(now);
                }
            }
            None => {
                let woken = self.handoff.send_to_inboxes(policy, deferred);
                woken.into_iter().for_each(|at| self.timeline.wake(at, now));
            }
        }
        let mut refused = std::mem::take(deferred);
        self.sheds += pkts - refused.len() as u64;
        refused.drain(..).for_each(|packet| self.drop(me, now, packet));
        self.lcores[me].deferred = refused;
        self.costs.shed_ns + pkts * self.costs.shed_pkt_ns
    }
}
