//! Horizontal and vertical growth: the owner's cost, and how fast one or two
//! thieves drain an idle victim.

use std::hint::black_box;
use std::sync::Barrier;
use std::thread;

use mpfwd::dpdk::clock::tsc;
use mpfwd::runq::{Append, Double, Growth, RunQueue, Stolen};

use crate::one_core::{BURST, Item, items};
use crate::pin;
use crate::table::{Figures, Name};

/// Grows from this many slots to this many items.
const FROM: usize = 64;
const TO: usize = 65_536;
/// Items in a victim's queue.
const VICTIM: usize = 100_000;
/// The most items of a steal.
const LIMIT: usize = BURST;

pub fn measure(cpus: [usize; 2], rounds: u16, figures: &mut Figures) {
    for _ in 0..rounds {
        grow::<Double<Item>>(
            [("growing by doubling, push", BURST), ("growing by doubling, dearest push", 1)],
            figures,
        );
        grow::<Append<Item>>(
            [("growing by appending, push", BURST), ("growing by appending, dearest push", 1)],
            figures,
        );
        for (thieves, double, append) in [
            (
                1,
                "100,000 items drained by 1 thief, doubled",
                "100,000 items drained by 1 thief, appended",
            ),
            (
                2,
                "100,000 items drained by 2 thieves, doubled",
                "100,000 items drained by 2 thieves, appended",
            ),
        ] {
            figures.add((double, LIMIT), drain_cycles::<Double<Item>>(&cpus[..thieves]));
            figures.add((append, LIMIT), drain_cycles::<Append<Item>>(&cpus[..thieves]));
        }
    }
}

/// Cycles per item over all pushes, and the cycles of the dearest burst.
fn grow<G: Growth<Item>>([all, dearest]: [Name; 2], figures: &mut Figures) {
    let mut queue = RunQueue::<Item, G>::new(FROM, TO);
    let mut waiting = items(TO);
    waiting.reverse();
    let mut burst = Vec::with_capacity(BURST);
    let (mut sum, mut most) = (0, 0);
    while !waiting.is_empty() {
        burst.extend(waiting.drain(waiting.len() - BURST..));
        let start = tsc();
        queue.push_burst(&mut burst);
        let cycles = tsc().wrapping_sub(start);
        sum += cycles;
        most = most.max(cycles);
    }
    assert_eq!(queue.len(), TO);
    figures.add(all, sum as f64 / TO as f64);
    figures.add(dearest, most as f64);
}

/// Cycles per item, from the start of all thieves until the last one finds
/// nothing.
fn drain_cycles<G: Growth<Item>>(cpus: &[usize]) -> f64 {
    let mut queue = RunQueue::<Item, G>::new(FROM, 2 * VICTIM);
    let mut waiting = items(VICTIM);
    queue.push_burst(&mut waiting);
    let start = Barrier::new(cpus.len());
    let cycles = thread::scope(|scope| {
        let thieves: Vec<_> = cpus
            .iter()
            .map(|&cpu| {
                let (mut thief, start) = (queue.stealer(), &start);
                scope.spawn(move || {
                    pin(cpu);
                    let mut loot = Vec::with_capacity(VICTIM + LIMIT);
                    start.wait();
                    let begin = tsc();
                    while thief.steal(LIMIT, &mut loot) != Stolen::Nothing {}
                    let end = tsc();
                    black_box(&loot);
                    (begin, end)
                })
            })
            .collect();
        let times: Vec<_> = thieves
            .into_iter()
            .map(|thief| thief.join().expect("a thief does not panic"))
            .collect();
        let begin = times.iter().map(|time| time.0).min().unwrap_or(0);
        times.iter().map(|time| time.1).max().unwrap_or(0) - begin
    });
    cycles as f64 / VICTIM as f64
}
