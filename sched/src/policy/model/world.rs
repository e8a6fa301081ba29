//! Lcores that take turns in any order. Each turn carries out what the policy
//! decides, and checks what it may decide.

use std::collections::VecDeque;

use super::super::*;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packet {
    Cheap,
    /// Known to be expensive.
    Deferred,
    /// As expensive, but that shows only when it is run, where it is.
    Unknown,
}

const BURST: usize = 4;
const SHARD_ROOM: usize = 3;
pub(super) const RESCUE_AFTER_TURNS: u64 = 8;
pub(super) const STALL_AFTER_TURNS: u64 = 16;
/// How many packets of a burst a pressed lcore serves at once.
const PRESSED_PKTS: usize = 2;

#[derive(Default)]
pub(super) struct Lcore<'a> {
    pub(super) rx: VecDeque<Packet>,
    run_queue: VecDeque<Packet>,
    kept: usize,
    inbox: usize,
    shard: usize,
    pub(super) done: u64,
    found_nothing: bool,
    permit_refused: bool,
    /// When it began the long packet that it is in, and how many turns that
    /// still takes.
    away: Option<(u64, u32)>,
    pub(super) permit: Option<Permit<'a>>,
    /// It has moved to pool B, or began there.
    pub(super) is_worker: bool,
    /// The long packet was known to be expensive.
    expensive: bool,
    /// The turn in which it was seen to run last.
    seen: u64,
    /// Its last poll left packets in the queue.
    pressed: bool,
}

impl Lcore<'_> {
    /// One that has nothing yet.
    pub(super) fn of(is_worker: bool) -> Self {
        Self { is_worker, ..Self::default() }
    }
}

pub(super) struct World<'a, P> {
    pub(super) policies: Vec<P>,
    pub(super) lcores: Vec<Lcore<'a>>,
    pub(super) permits: &'a Permits,
    pub(super) split: &'a Split,
    pub(super) cost_turns: u32,
    /// Each lcore polls all queues in turn, instead of its own.
    pub(super) polls_all: bool,
    pub(super) turn: u64,
    pub(super) draining: bool,
    pub(super) received: u64,
    /// How often lcores stole, took over, and dequeued from shards to help.
    pub(super) helped: [u64; 3],
    /// How often they helped one that was stalled, and one that was pressed.
    pub(super) relieved: [u64; 2],
}

impl<'a, P: Policy> World<'a, P> {
    /// The pool of an lcore's present step.
    fn pool(&self, at: usize) -> Pool {
        if self.lcores[at].is_worker { Pool::B } else { Pool::A }
    }

    /// Goes on with a change of the split. Returns whether it is done.
    pub(super) fn advance(&self, pool_a: usize, cap: usize) -> bool {
        let shown = (0..self.lcores.len()).map(|at| self.pool(at));
        self.split.advance(pool_a, cap, self.permits, shown)
    }

    /// Whether lcores may end: nothing is left that could still reach any.
    pub(super) fn is_over(&self) -> bool {
        let holds = |lcore: &Lcore<'_>| {
            lcore.run_queue.len() + lcore.kept + lcore.inbox + lcore.shard > 0
                || lcore.away.is_some()
        };
        self.draining && !self.lcores.iter().any(holds)
    }

    /// Whether packets wait in a stalled lcore's receive queue while all other
    /// lcores are idle.
    pub(super) fn is_abandoned(&self, stalled: usize) -> bool {
        let has_work = |lcore: &Lcore<'_>| {
            lcore.away.is_some()
                || lcore.run_queue.len() + lcore.kept + lcore.inbox + lcore.shard > 0
                || !lcore.rx.is_empty()
        };
        let mut others = self.lcores.iter().enumerate().filter(|(at, _)| *at != stalled);
        !self.lcores[stalled].rx.is_empty() && !others.any(|(_, lcore)| has_work(lcore))
    }

    pub(super) fn turn_of(&mut self, me: usize) {
        self.turn += 1;
        let shards_nonempty = self.lcores.iter().any(|lcore| lcore.shard > 0);
        let pool = self.split.pool_of(me);
        let lcore = &mut self.lcores[me];
        if let Some((since, left)) = lcore.away {
            lcore.away = (left > 1).then(|| (since, left - 1));
            if left <= 1 {
                lcore.done += 1;
                lcore.permit = None;
                lcore.seen = self.turn;
            }
            return;
        }
        lcore.is_worker = pool == Pool::B;
        lcore.seen = self.turn;
        let view = View {
            pool,
            run_queue_pkts: lcore.run_queue.len(),
            kept_pkts: lcore.kept,
            shards_nonempty: P::WORKERS_POLL && pool == Pool::B && shards_nonempty,
            inbox_pkts: lcore.inbox,
            done_pkts: lcore.done,
            found_nothing: lcore.found_nothing,
            permit_refused: lcore.permit_refused,
            draining: self.draining,
        };
        match self.policies[me].next(&view) {
            Step::Poll if self.polls_all => self.poll_any(me),
            Step::Poll => self.poll(me, me),
            Step::Serve => self.serve(me),
            Step::Run => {
                assert!(self.lcores[me].kept > 0);
                if self.start(me) {
                    self.lcores[me].kept -= 1;
                }
            }
            Step::Shed => {
                let lcore = &mut self.lcores[me];
                let room = SHARD_ROOM.saturating_sub(lcore.shard).min(lcore.kept);
                (lcore.shard, lcore.kept, lcore.permit_refused) =
                    (lcore.shard + room, lcore.kept - room, false);
            }
            Step::Unbox => {
                assert!(P::DEFERRED == Deferral::Inbox && self.lcores[me].inbox > 0);
                self.lcores[me].inbox -= 1;
                assert!(self.start(me), "an inbox is not capped");
            }
            Step::Dequeue => self.dequeue(me),
            Step::LookAround => self.look_around(me, pool),
            Step::Rest => assert!(
                view.run_queue_pkts + view.kept_pkts + view.inbox_pkts == 0,
                "rests on work: {view:?}"
            ),
        }
    }

    fn poll(&mut self, me: usize, owner: usize) {
        assert!(!self.draining, "polls while draining");
        assert!(
            self.pool(owner) == Pool::A || P::WORKERS_POLL,
            "lcore {owner} has no receive queue"
        );
        let pulled = self.lcores[me].pressed && self.policies[me].excess() == Excess::Pull;
        let burst: Vec<Packet> = {
            let rx = &mut self.lcores[owner].rx;
            let pkts = rx.len().min(if pulled { PRESSED_PKTS } else { BURST });
            rx.drain(..pkts).collect()
        };
        self.received += burst.len() as u64;
        if me == owner {
            let lcore = &mut self.lcores[me];
            (lcore.found_nothing, lcore.permit_refused) = (burst.is_empty(), false);
            lcore.pressed = P::SHARES && !lcore.rx.is_empty();
        }
        self.lcores[me].run_queue.extend(burst);
        if !self.lcores[me].run_queue.is_empty() {
            self.serve(me);
        }
    }

    /// Polls the queues in turn up to the first that is not empty.
    fn poll_any(&mut self, me: usize) {
        let lcores = self.lcores.len();
        let mut from = (me..lcores).chain(0..me);
        let filled = from.find(|&at| !self.lcores[at].rx.is_empty());
        self.poll(me, filled.unwrap_or(me));
        self.lcores[me].found_nothing = filled.is_none();
    }

    fn serve(&mut self, me: usize) {
        assert!(!self.lcores[me].run_queue.is_empty());
        let pkts_max = if self.lcores[me].pressed { PRESSED_PKTS } else { BURST };
        for _ in 0..pkts_max {
            let lcore = &mut self.lcores[me];
            match lcore.run_queue.pop_front() {
                None => break,
                Some(Packet::Cheap) => lcore.done += 1,
                Some(Packet::Unknown) => {
                    (lcore.away, lcore.expensive) = (Some((self.turn, self.cost_turns)), false);
                    break;
                }
                Some(Packet::Deferred) => match P::DEFERRED {
                    Deferral::Here => {
                        lcore.kept += 1;
                        break;
                    }
                    Deferral::Shard if lcore.shard < SHARD_ROOM => lcore.shard += 1,
                    Deferral::Shard => lcore.kept += 1,
                    Deferral::Inbox => {
                        let inboxes: Vec<usize> = self
                            .lcores
                            .iter()
                            .map(|lcore| lcore.inbox + usize::from(lcore.away.is_some()))
                            .collect();
                        let at = self.policies[me].inbox(inboxes.len(), |at| inboxes[at]);
                        self.lcores[at].inbox += 1;
                    }
                },
            }
        }
    }

    /// Begins a packet known to be expensive, if it gets a permit where one is
    /// needed.
    fn start(&mut self, me: usize) -> bool {
        if P::CAPPED {
            self.lcores[me].permit = self.permits.try_acquire(self.pool(me));
            if self.lcores[me].permit.is_none() {
                self.lcores[me].permit_refused = true;
                return false;
            }
        }
        (self.lcores[me].away, self.lcores[me].expensive) =
            (Some((self.turn, self.cost_turns)), true);
        true
    }

    fn dequeue(&mut self, me: usize) {
        let Some(shard) = (0..self.lcores.len()).find(|&at| self.lcores[at].shard > 0) else {
            self.lcores[me].found_nothing = true;
            return;
        };
        if self.start(me) {
            self.lcores[shard].shard -= 1;
        }
    }

    fn look_around(&mut self, me: usize, pool: Pool) {
        let away = |lcore: &Lcore<'_>| lcore.away.map(|(since, _)| self.turn - since);
        let hint = |(at, lcore): (usize, &Lcore<'_>)| PeerHint {
            queued_pkts: lcore.run_queue.len() as u32,
            away_ticks: away(lcore),
            expensive: lcore.expensive,
            silent_ticks: self.turn - lcore.seen,
            pressed: lcore.pressed,
            ..PeerHint::calm(at, self.pool(at))
        };
        let peers: Vec<PeerHint> = self.lcores.iter().enumerate().map(hint).collect();
        let shards_nonempty = self.lcores.iter().any(|lcore| lcore.shard > 0);
        let (permit_available, permit_refused) =
            (self.permits.is_available(pool), self.lcores[me].permit_refused);
        let view = PeersView {
            me,
            lcores: self.lcores.len(),
            pool,
            draining: self.draining,
            permit_refused,
            wary: false,
            shards_nonempty,
            permit_available,
            peers: &peers,
        };
        let help = self.policies[me].help(&view);
        (self.lcores[me].found_nothing, self.lcores[me].permit_refused) = (false, false);
        match help {
            Help::Steal { victim, why } => {
                assert!(P::STEALS && victim != me && !self.lcores[victim].run_queue.is_empty());
                self.check_reason(&peers[victim], why);
                assert!(
                    !P::RESCUES || pool == Pool::B || why != Why::Idle,
                    "pool A steals only where it is needed"
                );
                let half = self.lcores[victim].run_queue.len().div_ceil(2);
                let stolen: Vec<Packet> = self.lcores[victim].run_queue.drain(..half).collect();
                self.lcores[me].run_queue.extend(stolen);
                self.serve(me);
                self.helped[0] += 1;
            }
            Help::TakeOver { victim, why } => {
                assert!(P::SHARES && victim != me, "nobody else has its leases");
                self.check_reason(&peers[victim], why);
                assert!(why != Why::Pressed || self.policies[me].excess() == Excess::Pull);
                self.relieved[0] += u64::from(why == Why::Stalled);
                self.helped[1] += u64::from(!self.lcores[victim].rx.is_empty());
                self.poll(me, victim);
            }
            Help::Dequeue => {
                assert!(P::CAPPED && pool == Pool::A);
                self.dequeue(me);
                self.helped[2] += u64::from(self.lcores[me].permit.is_some());
            }
            Help::Rest => assert!(
                self.draining || !P::SHARES || !self.wants_help(me, &peers),
                "idle beside {peers:?}"
            ),
        }
    }

    /// Whether a peer is in need of what an idle lcore may always do.
    fn wants_help(&self, me: usize, peers: &[PeerHint]) -> bool {
        if !P::RESCUES {
            // Anybody may poll any queue; in `shared` that is no help.
            return !self.polls_all && peers.len() > 1;
        }
        let excess = self.policies[me].excess();
        let wants = |peer: &PeerHint| {
            let pressed = match excess {
                Excess::Pull => peer.pressed,
                Excess::Push => peer.pressed && peer.queued_pkts > 0,
                Excess::Leave => false,
            };
            pressed || peer.silent_ticks > STALL_AFTER_TURNS
        };
        peers.iter().enumerate().any(|(at, peer)| at != me && wants(peer))
    }

    /// Checks that the peer is in the state for which it is helped.
    fn check_reason(&mut self, peer: &PeerHint, why: Why) {
        assert!(P::RESCUES || why == Why::Idle);
        match why {
            Why::Idle => {}
            Why::Rescue => {
                assert!(peer.expensive || peer.away_ticks.unwrap() > RESCUE_AFTER_TURNS);
            }
            Why::Stalled => assert!(peer.silent_ticks > STALL_AFTER_TURNS),
            Why::Pressed => {
                assert!(peer.pressed);
                self.relieved[1] += 1;
            }
        }
    }

    /// `expensive_max`: lcores that may be in expensive work.
    pub(super) fn check(&self, expensive_max: usize) {
        let count = |wanted: &dyn Fn(usize) -> bool| {
            (0..self.lcores.len()).filter(|&at| wanted(at)).count()
        };
        let is_expensive = |at: usize| self.lcores[at].permit.is_some();
        let is_a = |at: usize| self.pool(at) == Pool::A;
        if P::CAPPED {
            let all = count(&is_expensive);
            assert!(all <= expensive_max, "{all} lcores in expensive work, {expensive_max} may be");
            let of_pool_a = count(&|at| is_a(at) && is_expensive(at));
            assert!(of_pool_a < count(&is_a), "all of pool A is in expensive work");
        }
    }

    pub(super) fn expensive(&self) -> usize {
        self.lcores.iter().filter(|lcore| lcore.permit.is_some()).count()
    }
}
