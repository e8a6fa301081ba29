//! A change of the split: pool A never runs out of lcores without a permit.

use loom::sync::{Arc, Mutex};
use loom::thread;

use super::explore_up_to;
use crate::board::Board;
use crate::policy::{Permits, Pool, Split};

const LCORES: usize = 3;

/// The lcores that are certain to be in pool A, and those with a permit of it.
#[derive(Default)]
struct Seen {
    is_a: [bool; LCORES],
    holds: [bool; LCORES],
}

impl Seen {
    fn check(&self) {
        let count = |of: &[bool]| of.iter().filter(|is| **is).count();
        assert!(count(&self.holds) < count(&self.is_a), "all of pool A is in expensive work");
    }
}

struct World {
    split: Split,
    permits: Permits,
    boards: [Board; LCORES],
    seen: Mutex<Seen>,
}

impl World {
    fn advance(&self, pool_a: usize) -> bool {
        self.split.advance(pool_a, 2, &self.permits, self.boards.iter().map(Board::pool))
    }

    fn step(&self, me: usize) {
        let pool = self.split.pool_of(me);
        self.seen.lock().unwrap().is_a[me] = pool == Pool::A;
        self.boards[me].show_pool(pool);
        let Some(permit) = self.permits.try_acquire(pool) else { return };
        let holds = |holds: bool| {
            let mut seen = self.seen.lock().unwrap();
            seen.holds[me] = holds && pool == Pool::A;
            seen.check();
        };
        holds(true);
        holds(false);
        drop(permit);
    }
}

/// Lcore 0 is in pool A, lcore 2 in pool B, lcore 1 moves.
fn moves(name: &str, from: usize, to: usize) {
    explore_up_to(2, name, move || {
        let pool = |at: usize| if at < from { Pool::A } else { Pool::B };
        let world = Arc::new(World {
            split: Split::new(from),
            permits: Permits::new(2, from),
            boards: [0, 1, 2].map(|at| Board::new(pool(at), 0, 1)),
            seen: Mutex::new(Seen {
                is_a: [0, 1, 2].map(|at| pool(at) == Pool::A),
                ..Seen::default()
            }),
        });
        let lcores = [0, 1].map(|me| {
            let world = world.clone();
            thread::spawn(move || (0..=me).for_each(|_| world.step(me)))
        });
        for _ in 0..2 {
            world.advance(to);
        }
        lcores.into_iter().for_each(|lcore| lcore.join().unwrap());
        assert!(!world.advance(to) || world.boards[1].pool() == pool_of(to));
        [0, 1].into_iter().for_each(|me| world.step(me));
        assert!(world.advance(to) && world.split.pool_a() == to);
    });
}

/// Lcore 1's pool, where pool A has so many lcores.
fn pool_of(pool_a: usize) -> Pool {
    if pool_a > 1 { Pool::A } else { Pool::B }
}

#[test]
fn pool_a_shrinks_with_one_lcore_clear_of_expensive_work() {
    moves("split shrinks", 2, 1);
}

#[test]
fn pool_a_grows_with_one_lcore_clear_of_expensive_work() {
    moves("split grows", 1, 2);
}
