//! One core enqueues and dequeues items, in bursts and one by one.

use crossbeam_deque::{Steal, Worker};
use crossbeam_queue::ArrayQueue;
use mpfwd::dpdk::clock::tsc;
use mpfwd::dpdk::{Burst, Eal, ManyEnds, Mbuf, Mempool, PoolSize, Reuse, ring_of};
use mpfwd::error::Result;
use mpfwd::runq::{Append, Double, Growth, RunQueue};

use crate::table::{Figures, Name};

/// The datapath's default burst.
pub const BURST: usize = 32;
/// Slots of every queue; bursts wrap around now and then.
pub const SLOTS: u32 = 1024;
/// Bursts per window: about a fifth of a millisecond.
const BURSTS: u64 = 10_000;

/// Cycles per item of one window.
type Window = Box<dyn FnMut() -> f64>;

/// The cost of `step`, which moves `items` items.
pub fn cycles_per_item(items: usize, mut step: impl FnMut()) -> f64 {
    (0..BURSTS / 10).for_each(|_| step());
    let start = tsc();
    (0..BURSTS).for_each(|_| step());
    tsc().wrapping_sub(start) as f64 / (BURSTS * items as u64) as f64
}

pub fn measure(eal: &Eal, rounds: u16, figures: &mut Figures) -> Result<()> {
    let pool = Mempool::create(
        eal,
        "one_core",
        PoolSize { mbufs: 4096, cache: 0, room: 256 },
        Reuse::Default,
    )?;
    let mut candidates: Vec<(Name, Window)> = Vec::new();
    for count in [BURST, 1] {
        candidates.push((("run queue, double", count), run_queue::<Double<Mbuf>>(&pool, count)));
        candidates.push((("run queue, append", count), run_queue::<Append<Mbuf>>(&pool, count)));
        for (name, ends, many) in [
            ("rte_ring SP/SC", 1, ManyEnds::Default),
            ("rte_ring MP/MC", 2, ManyEnds::Default),
            ("rte_ring HTS", 2, ManyEnds::HeadTail),
        ] {
            let ring_name = format!("{many:?}{ends}_{count}");
            let (mut puts, mut takes) = ring_of(eal, 0, &ring_name, SLOTS, (ends, ends), many)?;
            let (mut put, mut take) = (puts.remove(0), takes.remove(0));
            let mut burst = burst_of(&pool, count);
            let window = move || {
                cycles_per_item(count, || {
                    put.enqueue(&mut burst);
                    take.dequeue(&mut burst, count);
                })
            };
            candidates.push(((name, count), Box::new(window)));
        }
        candidates.push((("crossbeam-deque FIFO", count), deque(count)));
        candidates.push((("crossbeam ArrayQueue", count), array_queue(count)));
    }
    candidates.push((("run queue, single push and pop", 1), run_queue_singly(&pool)));
    candidates.push((("crossbeam-deque FIFO, own steal", 1), deque_stolen_by_its_owner()));
    for _ in 0..rounds {
        for (name, window) in &mut candidates {
            figures.add(*name, window());
        }
    }
    Ok(())
}

pub fn burst_of(pool: &Mempool, count: usize) -> Burst {
    let mut burst = Burst::new();
    assert_eq!(pool.alloc(&mut burst, count), count, "the pool is large enough for all candidates");
    burst
}

/// Stands in for packets where no pool is needed: queues only move the pointer.
pub type Item = Box<u64>;

pub fn items(count: usize) -> Vec<Item> {
    (0..count as u64).map(Box::new).collect()
}

fn run_queue<G: Growth<Mbuf> + 'static>(pool: &Mempool, count: usize) -> Window {
    let mut queue = RunQueue::<Mbuf, G>::new(SLOTS as usize, SLOTS as usize);
    let mut burst = burst_of(pool, count);
    Box::new(move || {
        cycles_per_item(count, || {
            queue.push_burst(&mut burst);
            queue.pop_burst(count, &mut burst);
        })
    })
}

fn run_queue_singly(pool: &Mempool) -> Window {
    let mut queue = RunQueue::<Mbuf>::new(SLOTS as usize, SLOTS as usize);
    let mut item = burst_of(pool, 1).pop();
    Box::new(move || {
        cycles_per_item(1, || {
            if let Some(packet) = item.take() {
                item = queue.push(packet).err();
            }
            item = item.take().or_else(|| queue.pop());
        })
    })
}

fn deque(count: usize) -> Window {
    let queue = Worker::new_fifo();
    let mut moved = items(count);
    Box::new(move || {
        cycles_per_item(count, || {
            moved.drain(..).for_each(|item| queue.push(item));
            moved.extend(std::iter::from_fn(|| queue.pop()).take(count));
        })
    })
}

fn deque_stolen_by_its_owner() -> Window {
    let queue = Worker::new_fifo();
    let stealer = queue.stealer();
    let mut item = Some(Box::new(0_u64));
    Box::new(move || {
        cycles_per_item(1, || {
            item.take().into_iter().for_each(|item| queue.push(item));
            while item.is_none() {
                if let Steal::Success(stolen) = stealer.steal() {
                    item = Some(stolen);
                }
            }
        })
    })
}

fn array_queue(count: usize) -> Window {
    let queue = ArrayQueue::new(SLOTS as usize);
    let mut moved = items(count);
    Box::new(move || {
        cycles_per_item(count, || {
            moved
                .drain(..)
                .for_each(|item| assert!(queue.push(item).is_ok(), "the queue is large enough"));
            moved.extend(std::iter::from_fn(|| queue.pop()).take(count));
        })
    })
}
