//! A model in which several lcores carry out a policy's decisions in any order.
//! After each step it checks the invariants of every mode. One turn of an lcore
//! is one step, or a part of the long packet that it is in. An lcore that gets
//! no turn for a while is stalled.

mod scenario;
mod world;

use std::num::NonZeroU64;

use proptest::prelude::*;

use self::scenario::{Helped, Scenario, run, run_polling, scenario};
use self::world::{Packet, RESCUE_AFTER_TURNS, STALL_AFTER_TURNS};
use super::*;

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
    // Lcore 0 runs so seldom that it stalls; lcore 1 often enough not to, but
    // not often enough to keep up.
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
