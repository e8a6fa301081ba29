//! A model in which several lcores carry out a policy's decisions in any order.
//! After each step it checks the invariants of every mode. One turn of an lcore
//! is one step, or a part of the long packet that it is in. An lcore that gets no
//! turn for a while is stalled.

use std::collections::VecDeque;
use std::num::NonZeroU64;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Packet {
    Cheap,
    /// Known to be expensive.
    Deferred,
    /// As expensive, but that shows only when it is run, where it is.
    Unknown,
}

const BURST: usize = 4;
const SHARD_ROOM: usize = 3;
const RESCUE_AFTER_TURNS: u64 = 8;
const STALL_AFTER_TURNS: u64 = 16;
/// How many packets of a burst a pressed lcore serves at once.
const PRESSED_PKTS: usize = 2;
/// How many rounds of turns a stall at the end lasts.
const STALL_ROUNDS: usize = 200;
/// So many rounds may pass until idle lcores poll for a stalled one: it must count
/// as stalled, and where lcores choose any queue its turn must come.
const IDLE_ROUNDS_MAX: usize = 50;

#[derive(Default)]
struct Lcore<'a> {
    rx: VecDeque<Packet>,
    run_queue: VecDeque<Packet>,
    kept: usize,
    inbox: usize,
    shard: usize,
    done: u64,
    found_nothing: bool,
    permit_refused: bool,
    /// When it began the long packet that it is in, and how many turns that still
    /// takes.
    away: Option<(u64, u32)>,
    permit: Option<Permit<'a>>,
    /// It has moved to pool B, or began there.
    is_worker: bool,
    /// The long packet was known to be expensive.
    expensive: bool,
    /// The turn in which it was seen to run last.
    seen: u64,
    /// Its last poll left packets in the queue.
    pressed: bool,
}

struct World<'a, P> {
    policies: Vec<P>,
    lcores: Vec<Lcore<'a>>,
    permits: &'a Permits,
    split: &'a Split,
    cost_turns: u32,
    /// Each lcore polls all queues in turn, instead of its own.
    polls_all: bool,
    turn: u64,
    draining: bool,
    received: u64,
    /// How often lcores stole, took over, and dequeued from shards to help.
    helped: [u64; 3],
    /// How often they helped one that was stalled, and one that was pressed.
    relieved: [u64; 2],
}

impl<'a, P: Policy> World<'a, P> {
    /// The pool of an lcore's present step.
    fn pool(&self, at: usize) -> Pool {
        if self.lcores[at].is_worker { Pool::B } else { Pool::A }
    }

    /// Goes on with a change of the split. Returns whether it is done.
    fn advance(&self, pool_a: usize, cap: usize) -> bool {
        let shown = (0..self.lcores.len()).map(|at| self.pool(at));
        self.split.advance(pool_a, cap, self.permits, shown)
    }

    /// Whether lcores may end: nothing is left that could still reach any.
    fn is_over(&self) -> bool {
        let holds = |lcore: &Lcore<'_>| {
            lcore.run_queue.len() + lcore.kept + lcore.inbox + lcore.shard > 0
                || lcore.away.is_some()
        };
        self.draining && !self.lcores.iter().any(holds)
    }

    /// Whether packets wait in a stalled lcore's receive queue while all other lcores
    /// are idle.
    fn is_abandoned(&self, stalled: usize) -> bool {
        let has_work = |lcore: &Lcore<'_>| {
            lcore.away.is_some()
                || lcore.run_queue.len() + lcore.kept + lcore.inbox + lcore.shard > 0
                || !lcore.rx.is_empty()
        };
        let mut others = self.lcores.iter().enumerate().filter(|(at, _)| *at != stalled);
        !self.lcores[stalled].rx.is_empty() && !others.any(|(_, lcore)| has_work(lcore))
    }

    fn turn_of(&mut self, me: usize) {
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
    fn check(&self, expensive_max: usize) {
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

    fn expensive(&self) -> usize {
        self.lcores.iter().filter(|lcore| lcore.permit.is_some()).count()
    }
}

/// The packets that arrive, and the lcores in the order of their turns.
#[derive(Clone, Debug)]
struct Scenario {
    pool_a: usize,
    pool_b: usize,
    cap: usize,
    cost_turns: u32,
    arrivals: Vec<(usize, Packet)>,
    turns: Vec<usize>,
    /// Sizes of pool A that follow each other, as far as an lcore is left to each
    /// pool; each with a cap. For policies whose lcores may move.
    changes: Vec<(usize, usize)>,
    /// Which lcore gets no turns for long at the end.
    stalls: usize,
}

fn scenario() -> impl Strategy<Value = Scenario> {
    let arrivals = prop::collection::vec(
        (
            0..64usize,
            prop_oneof![6 => Just(Packet::Cheap), 3 => Just(Packet::Deferred), 1 => Just(Packet::Unknown)],
        ),
        0..80,
    );
    let turns = prop::collection::vec(0..64usize, 1..400);
    let changes = prop::collection::vec((1..7usize, 1..4usize), 0..12);
    (1..5usize, 1..4usize, 1..4usize, 1..40u32, arrivals, turns, changes, 0..64usize).prop_map(
        |(pool_a, pool_b, cap, cost_turns, arrivals, turns, changes, stalls)| Scenario {
            pool_a,
            pool_b,
            cap: cap.min(pool_b),
            cost_turns,
            arrivals,
            turns,
            changes,
            stalls,
        },
    )
}

/// How often lcores helped, as in [`World`].
#[derive(Debug)]
struct Helped {
    helped: [u64; 3],
    relieved: [u64; 2],
}

/// One lcore stalls, and the others have turns. They do not stay idle while
/// packets wait in its receive queue.
fn stall<P: Policy>(world: &mut World<'_, P>, stalled: usize, expensive_max: usize) {
    let lcores = world.lcores.len();
    let stalled = stalled % lcores;
    let mut idle_rounds = 0;
    for _ in 0..STALL_ROUNDS {
        for at in (0..lcores).filter(|&at| at != stalled) {
            world.turn_of(at);
            world.check(expensive_max);
        }
        idle_rounds = if world.is_abandoned(stalled) { idle_rounds + 1 } else { 0 };
        assert!(idle_rounds <= IDLE_ROUNDS_MAX, "nobody polls for lcore {stalled}");
        if world.lcores[stalled].rx.is_empty() {
            break;
        }
    }
}

/// Runs the scenario. Then one lcore stalls while the others take turns. Then
/// they drain, all lcores taking turns.
fn run<P: Policy>(scenario: &Scenario, workers: usize, policy: impl Fn(usize) -> P) -> Helped {
    run_polling(scenario, workers, false, policy)
}

fn run_polling<P: Policy>(
    scenario: &Scenario,
    workers: usize,
    polls_all: bool,
    policy: impl Fn(usize) -> P,
) -> Helped {
    let lcores = scenario.pool_a + workers;
    let (permits, split) =
        (Permits::new(scenario.cap, scenario.pool_a), Split::new(scenario.pool_a));
    let lcore = |at| Lcore { is_worker: at >= scenario.pool_a, ..Lcore::default() };
    let mut world = World {
        policies: (0..lcores).map(policy).collect(),
        lcores: (0..lcores).map(lcore).collect(),
        permits: &permits,
        split: &split,
        cost_turns: scenario.cost_turns,
        polls_all,
        turn: 0,
        draining: false,
        received: 0,
        helped: [0; 3],
        relieved: [0; 2],
    };
    let (mut arrivals, mut changes) =
        (scenario.arrivals.iter(), scenario.changes.iter().peekable());
    let (mut cap, mut expensive_max) = (scenario.cap, scenario.cap);
    for turn in &scenario.turns {
        if let Some((at, packet)) = arrivals.next() {
            let pollers = if P::WORKERS_POLL { lcores } else { scenario.pool_a };
            world.lcores[at % pollers].rx.push_back(*packet);
        }
        world.turn_of(turn % lcores);
        world.check(expensive_max);
        // Permits beyond a new cap are given back, one after the other.
        expensive_max = cap.max(world.expensive());
        let Some(&&(pool_a, new_cap)) = changes.peek() else { continue };
        if P::WORKERS_POLL && pool_a < lcores {
            let done = world.advance(pool_a, new_cap);
            // Until it is done either cap may be in force.
            expensive_max = expensive_max.max(new_cap);
            if !done {
                continue;
            }
            cap = new_cap;
        }
        changes.next();
    }
    // Even if all packets are expensive and run one after the other, with a few
    // steps around each, all is done by then.
    let enough =
        (scenario.arrivals.len() as u64 + 1) * u64::from(scenario.cost_turns + 20) * lcores as u64;
    if P::SHARES && lcores > 1 {
        stall(&mut world, scenario.stalls, expensive_max.max(cap));
    }
    world.draining = true;
    let end = world.turn + enough;
    while !world.is_over() {
        assert!(world.turn < end, "no progress");
        for at in 0..lcores {
            world.turn_of(at);
            world.check(expensive_max);
        }
    }
    let done: u64 = world.lcores.iter().map(|lcore| lcore.done).sum();
    assert_eq!(done, world.received, "lost, or done twice");
    assert_eq!(permits.held(), (0, 0));
    Helped { helped: world.helped, relieved: world.relieved }
}

fn hybrid(excess: Excess) -> impl Fn(usize) -> Hybrid {
    let (rescue_ticks, stall_ticks) = (RESCUE_AFTER_TURNS, STALL_AFTER_TURNS);
    move |at| Hybrid::new(at as u64, HelpAfter { rescue_ticks, stall_ticks, excess })
}

const EXCESSES: [Excess; 3] = [Excess::Pull, Excess::Push, Excess::Leave];

proptest! {
    #![proptest_config(crate::cases())]

    #[test]
    fn no_mode_loses_work_stands_still_or_polls_while_draining(scenario in scenario(), every in 1..5u64) {
        run(&scenario, 0, |_| Rtc);
        run(&scenario, 0, |at| Steal::<false>::new(at as u64));
        run(&scenario, 0, |at| Steal::<true>::new(at as u64));
        run_polling(&scenario, 0, true, |at| Shared::new(at as u64));
        run(&scenario, 0, |at| StealEvery::new(at as u64, NonZeroU64::new(every).unwrap()));
        run(&scenario, 0, |at| ShedRandom::new(at as u64));
        run(&scenario, scenario.pool_b, |_| Pools);
        for excess in EXCESSES {
            run(&scenario, scenario.pool_b, hybrid(excess));
        }
    }
}

/// Policies that never help would pass the checks above.
#[test]
#[cfg_attr(miri, ignore = "many turns of safe code")]
fn each_kind_of_help_occurs() {
    let mixed = |at: usize| {
        let packet = if at.is_multiple_of(3) {
            Packet::Deferred
        } else if at.is_multiple_of(10) {
            Packet::Unknown
        } else {
            Packet::Cheap
        };
        // Lcores 0 and 1 get more than others.
        let lcore = [0, 1, 1, at % 7][at % 4];
        (lcore, packet)
    };
    // Lcore 0 runs so seldom that it stalls; lcore 1 often enough not to, but not
    // often enough to keep up.
    let turns = |lcores: usize| {
        let turn = move |turn: usize| match turn {
            turn if turn % 40 == 0 => 0,
            turn if turn % 10 == 5 => 1,
            turn => 2 + turn * 5 % (lcores - 2),
        };
        (0..3000).map(turn).collect()
    };
    let scenario = |pool_b: usize| Scenario {
        pool_a: 4,
        pool_b,
        cap: pool_b,
        cost_turns: 30,
        arrivals: (0..300).map(mixed).collect(),
        turns: turns(4 + pool_b),
        changes: Vec::new(),
        stalls: 0,
    };
    let Helped { helped: [stolen, taken_over, _], .. } =
        run(&scenario(1), 0, |at| Steal::<false>::new(at as u64));
    assert!(stolen > 0 && taken_over == 0);
    for excess in EXCESSES {
        let mut sum = [0; 5];
        for pool_b in 1..4 {
            let Helped { helped, relieved } = run(&scenario(pool_b), pool_b, hybrid(excess));
            sum.iter_mut()
                .zip(helped.into_iter().chain(relieved))
                .for_each(|(sum, one)| *sum += one);
        }
        let [stole, took_over, dequeued, stalled, pressed] = sum.map(|times| times > 0);
        assert!(stole && took_over && dequeued && stalled, "{excess:?}: {sum:?}");
        assert_eq!(pressed, excess != Excess::Leave, "{excess:?}: {sum:?}");
    }
}
