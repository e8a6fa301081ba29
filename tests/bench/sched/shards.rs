//! A worker's choice among many shards that all have packets: by the heads that
//! these publish, and by a look at each ring.

use std::hint::black_box;
use std::sync::Mutex;

use mpfwd::dpdk::clock::tsc;
use mpfwd::dpdk::{
    Burst, Eal, Mbuf, Mempool, PoolSize, Reuse, RingConsumer, RingProducer, StampField, ring,
};
use mpfwd::error::Result;
use mpfwd::shed::{Heads, Oldest, Pick};

use crate::one_core::{burst_of, cycles_per_item};
use crate::table::Figures;
use crate::two_cores::in_turns;

const SHARDS: [usize; 3] = [4, 16, 64];
/// Packets of each shard.
const PKTS: usize = 8;
/// Packets that another worker dequeues, and that arrive, between two dequeues.
const OTHERS: usize = 4;
/// Dequeues per window on two cores.
const TURNS: u64 = 2_000;

/// A worker's ends of all shards.
struct Worker<'a> {
    takes: Vec<RingConsumer>,
    heads: &'a Heads,
    oldest: Oldest,
    stamp: StampField,
}

impl Worker<'_> {
    fn pick(&mut self) -> usize {
        self.oldest.pick(self.heads).expect("all shards have packets")
    }

    /// As the datapath dequeues one packet.
    fn dequeue(&mut self, burst: &mut Burst) -> usize {
        let picked = self.pick();
        let at = if self.heads.claim(picked) { picked } else { self.pick() };
        self.takes[at].dequeue(burst, 1);
        self.heads.dequeued(at, || self.takes[at].head_stamp(self.stamp));
        at
    }

    fn pick_by_rings(&self) -> usize {
        let stamp = |at: &usize| self.takes[*at].head_stamp(self.stamp).unwrap_or(u64::MAX);
        (0..self.takes.len()).min_by_key(stamp).expect("there are shards")
    }

    fn dequeue_by_rings(&mut self, burst: &mut Burst) -> usize {
        let at = self.pick_by_rings();
        self.takes[at].dequeue(burst, 1);
        at
    }
}

/// The producing ends of all shards.
struct Producers<'a> {
    puts: Vec<RingProducer>,
    heads: &'a Heads,
    stamp: StampField,
    /// The next packet's.
    next_stamp: u64,
    next_shard: usize,
}

impl Producers<'_> {
    fn put(&mut self, at: usize, mut packet: Mbuf) {
        self.stamp.write(&mut packet, self.next_stamp);
        let mut burst = Burst::new();
        burst.push(packet);
        assert_eq!(self.puts[at].enqueue(&mut burst), 1);
        self.heads.enqueued(at, self.next_stamp);
        self.next_stamp += 1;
    }

    fn put_somewhere(&mut self, packet: Mbuf) {
        // In no order that a worker would follow from shard to shard.
        self.next_shard = (self.next_shard * 5 + 1) % self.puts.len();
        self.put(self.next_shard, packet);
    }
}

fn world<'a, const WORKERS: usize>(
    eal: &Eal,
    pool: &Mempool,
    name: &str,
    heads: &'a Heads,
) -> Result<(Producers<'a>, [Worker<'a>; WORKERS])> {
    let stamp = StampField::register()?;
    let mut producers = Producers { puts: Vec::new(), heads, stamp, next_stamp: 1, next_shard: 0 };
    let mut workers = [(); WORKERS].map(|()| Worker {
        takes: Vec::new(),
        heads,
        oldest: Oldest::default(),
        stamp,
    });
    for at in 0..heads.shards() {
        let room = 4 * (PKTS + OTHERS).next_power_of_two() as u32;
        let (puts, takes) =
            ring(eal, 0, &format!("{name}_{}_{at}", heads.shards()), room, (1, WORKERS.max(2)))?;
        producers.puts.extend(puts);
        workers.iter_mut().zip(takes).for_each(|(worker, take)| worker.takes.push(take));
    }
    for _ in 0..PKTS {
        for at in 0..heads.shards() {
            let packet = burst_of(pool, 1).pop().expect("the pool is large enough");
            producers.put(at, packet);
        }
    }
    Ok((producers, workers))
}

pub fn measure(eal: &Eal, cpus: [usize; 2], rounds: u16, figures: &mut Figures) -> Result<()> {
    let pool = Mempool::create(
        eal,
        "shards",
        PoolSize { mbufs: 4095, cache: 0, room: 128 },
        Reuse::Default,
    )?;
    for shards in SHARDS {
        let heads = Heads::new(shards);
        let (mut producers, [mut worker]) = world::<1>(eal, &pool, "one", &heads)?;
        for _ in 0..rounds {
            let cycles = cycles_per_item(1, || {
                black_box(black_box(&mut worker).pick());
            });
            figures.add(("shard choice: published heads", shards), cycles);
            let cycles = cycles_per_item(1, || {
                black_box(black_box(&worker).pick_by_rings());
            });
            figures.add(("shard choice: each ring", shards), cycles);
            let mut burst = Burst::new();
            let cycles = cycles_per_item(1, || {
                let at = worker.dequeue(&mut burst);
                producers.put(at, burst.pop().expect("all shards have packets"));
            });
            figures.add(("shard choice, dequeue, enqueue: published heads", shards), cycles);
            let cycles = cycles_per_item(1, || {
                let at = worker.dequeue_by_rings(&mut burst);
                producers.put(at, burst.pop().expect("all shards have packets"));
            });
            figures.add(("shard choice, dequeue, enqueue: each ring", shards), cycles);
        }
        drop((producers, worker));
        let heads = Heads::new(shards);
        let (mut producers, [mut mine, mut other]) = world::<2>(eal, &pool, "two", &heads)?;
        for _ in 0..rounds {
            for (by_rings, name) in [
                (false, "shard choice, dequeue, beside another: published heads"),
                (true, "shard choice, dequeue, beside another: each ring"),
            ] {
                let cycles = beside_another(cpus, &mut producers, &mut mine, &mut other, by_rings);
                figures.add((name, shards), cycles);
            }
        }
    }
    Ok(())
}

/// The cycles of a dequeue by `mine`, while on another core packets arrive and
/// `other` dequeues.
fn beside_another(
    cpus: [usize; 2],
    producers: &mut Producers<'_>,
    mine: &mut Worker<'_>,
    other: &mut Worker<'_>,
    by_rings: bool,
) -> f64 {
    let returned = &Mutex::new(Burst::new());
    let mut burst = Burst::new();
    let elsewhere = || {
        for _ in 0..OTHERS {
            other.dequeue(&mut burst);
            burst.pop().into_iter().for_each(|packet| producers.put_somewhere(packet));
        }
        let mut returned = returned.lock().expect("nobody panics");
        returned.pop().into_iter().for_each(|packet| producers.put_somewhere(packet));
    };
    let mut burst = Burst::new();
    let here = move || {
        let start = tsc();
        let at =
            if by_rings { mine.dequeue_by_rings(&mut burst) } else { mine.dequeue(&mut burst) };
        let cycles = tsc().wrapping_sub(start);
        if by_rings {
            mine.heads.dequeued(at, || mine.takes[at].head_stamp(mine.stamp));
        }
        returned.lock().expect("nobody panics").push(burst.pop().expect("there are packets"));
        cycles
    };
    let cycles = in_turns(cpus, TURNS, elsewhere, here);
    let last = returned.lock().expect("nobody panics").pop();
    last.into_iter().for_each(|packet| producers.put_somewhere(packet));
    cycles as f64 / TURNS as f64
}
