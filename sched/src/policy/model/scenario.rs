//! Random schedules, and how the model runs through one.

use proptest::prelude::*;

use super::super::*;
use super::world::{Lcore, Packet, World};

/// How many rounds of turns a stall at the end lasts.
const STALL_ROUNDS: usize = 200;
/// So many rounds may pass until idle lcores poll for a stalled one: it must
/// count as stalled, and where lcores choose any queue its turn must come.
const IDLE_ROUNDS_MAX: usize = 50;

/// The packets that arrive, and the lcores in the order of their turns.
#[derive(Clone, Debug)]
pub(super) struct Scenario {
    pub(super) pool_a: usize,
    pub(super) pool_b: usize,
    pub(super) cap: usize,
    pub(super) cost_turns: u32,
    pub(super) arrivals: Vec<(usize, Packet)>,
    pub(super) turns: Vec<usize>,
    /// Sizes of pool A that follow each other, as far as an lcore is left to
    /// each pool; each with a cap. For policies whose lcores may move.
    pub(super) changes: Vec<(usize, usize)>,
    /// Which lcore gets no turns for long at the end.
    pub(super) stalls: usize,
}

pub(super) fn scenario() -> impl Strategy<Value = Scenario> {
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
pub(super) struct Helped {
    pub(super) helped: [u64; 3],
    pub(super) relieved: [u64; 2],
}

/// One lcore stalls, and the others have turns. They do not stay idle while
/// packets wait in its receive queue.
pub(super) fn stall<P: Policy>(world: &mut World<'_, P>, stalled: usize, expensive_max: usize) {
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
pub(super) fn run<P: Policy>(
    scenario: &Scenario,
    workers: usize,
    policy: impl Fn(usize) -> P,
) -> Helped {
    run_polling(scenario, workers, false, policy)
}

pub(super) fn run_polling<P: Policy>(
    scenario: &Scenario,
    workers: usize,
    polls_all: bool,
    policy: impl Fn(usize) -> P,
) -> Helped {
    let lcores = scenario.pool_a + workers;
    let (permits, split) =
        (Permits::new(scenario.cap, scenario.pool_a), Split::new(scenario.pool_a));
    let lcore = |at| Lcore::of(at >= scenario.pool_a);
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
