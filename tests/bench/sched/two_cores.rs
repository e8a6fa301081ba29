//! One core enqueues, another dequeues. A round counts only if the distance of
//! the two CPUs stayed the same: on a virtual machine they move.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use crossbeam_deque::Worker;
use mpfwd::dpdk::clock::tsc;
use mpfwd::dpdk::{Burst, Eal, Mempool, PoolSize, Reuse, RingConsumer, RingProducer, ring};
use mpfwd::error::Result;
use mpfwd::runq::{Append, Double, Growth, RunQueue};

use crate::one_core::{BURST, Item, SLOTS, burst_of, items};
use crate::pin;
use crate::table::Figures;

/// Half of the items of a long queue.
const BACKLOG: usize = 256;
/// Steals per window.
const STEALS: u64 = 2_000;
/// Bursts per window through a ring.
const BURSTS: usize = 512;
/// Cache-line round trips that measure the distance.
const ROUND_TRIPS: u64 = 2_000;
/// Round trips differ by less than this factor within one placement of the
/// CPUs, by more between placements.
const SAME_PLACE: f64 = 1.8;
/// Placements of the CPUs, by the most cycles of a round trip: hyperthreads of
/// one core, cores of one socket, and beyond.
const PLACES: [(&str, f64); 3] = [("siblings", 130.0), ("near", 600.0), ("far", f64::INFINITY)];

pub fn measure(eal: &Eal, cpus: [usize; 2], rounds: u16, figures: &mut Figures) -> Result<()> {
    let pool = Mempool::create(
        eal,
        "two_cores",
        PoolSize { mbufs: 2 * (BURSTS * BURST) as u32 + 1, cache: 0, room: 128 },
        Reuse::Default,
    )?;
    let (mut puts, mut takes) = ring(eal, 0, "bare", SLOTS, (1, 1))?;
    let mut bare = Through::new(puts.remove(0), takes.remove(0), &pool);
    let (mut puts, mut takes) = ring(eal, 0, "shard", SLOTS, (1, 1))?;
    let mut sharded = Through::new(puts.remove(0), OnlyShard(takes.remove(0)), &pool);
    // By placement: the figures of the rounds in which it did not change.
    let mut kept: [Vec<Vec<_>>; PLACES.len()] = Default::default();
    for _ in 0..rounds {
        let before = round_trip_cycles(cpus);
        let round = vec![
            (("two cores: run queue, steal", BURST), steal_cycles::<Double<_>>(cpus, BURST, BURST)),
            (
                ("two cores: crossbeam-deque, steal_batch", BURST),
                steal_batch_cycles(cpus, BURST, BURST),
            ),
            (
                ("two cores: run queue, steal from appended rings", BURST),
                steal_cycles::<Append<_>>(cpus, BURST, BURST),
            ),
            (
                ("two cores: run queue, steal", BACKLOG),
                steal_cycles::<Double<_>>(cpus, BACKLOG, BACKLOG),
            ),
            (
                ("two cores: run queue, steal 32 of 512", BURST),
                steal_cycles::<Double<_>>(cpus, BACKLOG, BURST),
            ),
            (
                ("two cores: crossbeam-deque, steal_batch_with_limit", BACKLOG),
                steal_batch_cycles(cpus, BACKLOG, BACKLOG),
            ),
            (
                ("two cores: crossbeam-deque, steal_batch of 512", BURST),
                steal_batch_cycles(cpus, BACKLOG, BURST),
            ),
            (("two cores: rte_ring SP/SC", BURST), bare.cycles(cpus)),
            (("two cores: sharded queue, 1 producer, 1 worker", BURST), sharded.cycles(cpus)),
        ];
        let after = round_trip_cycles(cpus);
        if before.max(after) <= SAME_PLACE * before.min(after)
            && let Some(place) = PLACES.iter().position(|(_, most)| before <= *most)
        {
            kept[place].push(round);
        }
    }
    let Some(((word, _), most)) = PLACES.iter().zip(kept).max_by_key(|(_, rounds)| rounds.len())
    else {
        return Ok(());
    };
    let note = format!("{word}, {} of {rounds} rounds", most.len());
    most.into_iter().flatten().for_each(|(name, cycles)| figures.add(name, cycles));
    figures.note_cpus("two cores", &note);
    Ok(())
}

/// A word that two threads increment in turn, on its own pair of cache lines.
#[repr(align(128))]
struct Turn {
    word: AtomicU64,
    /// One of the threads panicked, and passes no turn any more.
    is_broken: AtomicBool,
}

impl Turn {
    fn wait(&self, turn: u64) {
        while self.word.load(Ordering::Acquire) != turn {
            assert!(!self.is_broken.load(Ordering::Relaxed), "the other side panicked");
            std::hint::spin_loop();
        }
    }

    fn pass(&self, turn: u64) {
        self.word.store(turn, Ordering::Release);
    }
}

/// Held by a thread as long as it takes turns.
struct Player<'a>(&'a Turn);

impl Drop for Player<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.is_broken.store(true, Ordering::Relaxed);
        }
    }
}

/// Runs `owner` and `thief` alternately, on a CPU each; returns the thief's
/// cycles. The turn tells the thief when its work starts.
pub fn in_turns(
    cpus: [usize; 2],
    turns: u64,
    mut owner: impl FnMut() + Send,
    mut thief: impl FnMut() -> u64 + Send,
) -> u64 {
    let turn = Turn { word: AtomicU64::new(0), is_broken: AtomicBool::new(false) };
    thread::scope(|scope| {
        scope.spawn(|| {
            let _player = Player(&turn);
            pin(cpus[0]);
            for at in 0..turns {
                turn.wait(2 * at);
                owner();
                turn.pass(2 * at + 1);
            }
        });
        let thief = scope.spawn(|| {
            let _player = Player(&turn);
            pin(cpus[1]);
            let mut cycles = 0;
            for at in 0..turns {
                turn.wait(2 * at + 1);
                cycles += thief();
                turn.pass(2 * at + 2);
            }
            cycles
        });
        thief.join().expect("a thief does not panic")
    })
}

fn round_trip_cycles(cpus: [usize; 2]) -> f64 {
    in_turns(cpus, ROUND_TRIPS, || {}, || 0);
    let mut last = tsc();
    let cycles = in_turns(
        cpus,
        ROUND_TRIPS,
        || {},
        || {
            let now = tsc();
            now.wrapping_sub(std::mem::replace(&mut last, now)).min(100_000)
        },
    );
    cycles as f64 / ROUND_TRIPS as f64
}

/// The owner has pushed twice a batch; the thief steals half of it, at most
/// `limit`.
fn steal_cycles<G: Growth<Item> + Send>(cpus: [usize; 2], batch: usize, limit: usize) -> f64 {
    let mut queue = RunQueue::<Item, G>::new(SLOTS as usize, SLOTS as usize);
    let mut thief = queue.stealer();
    let mut waiting = items(2 * batch);
    let mut stolen = Vec::with_capacity(limit);
    let loot = &Mutex::new(Vec::with_capacity(limit));
    let owner = move || {
        queue.pop_burst(2 * batch, &mut waiting);
        waiting.append(&mut *loot.lock().expect("nobody panics"));
        queue.push_burst(&mut waiting);
    };
    let steal = move || {
        let start = tsc();
        let count = thief.steal(limit, &mut stolen).count();
        let cycles = tsc().wrapping_sub(start);
        assert_eq!(count, limit);
        loot.lock().expect("nobody panics").append(&mut stolen);
        cycles
    };
    in_turns(cpus, STEALS, owner, steal) as f64 / (STEALS * limit as u64) as f64
}

/// As above, with crossbeam's deque, from which a thief steals at most `limit`.
fn steal_batch_cycles(cpus: [usize; 2], batch: usize, limit: usize) -> f64 {
    let queue = Worker::new_fifo();
    let thief = queue.stealer();
    let taken = Worker::new_fifo();
    let mut waiting = items(2 * batch);
    let loot = &Mutex::new(Vec::with_capacity(limit));
    let owner = move || {
        waiting.extend(std::iter::from_fn(|| queue.pop()));
        waiting.append(&mut *loot.lock().expect("nobody panics"));
        waiting.drain(..).for_each(|item| queue.push(item));
    };
    let steal = move || {
        let start = tsc();
        let outcome = thief.steal_batch_with_limit(&taken, limit);
        let cycles = tsc().wrapping_sub(start);
        assert!(outcome.is_success() && taken.len() == limit);
        loot.lock().expect("nobody panics").extend(std::iter::from_fn(|| taken.pop()));
        cycles
    };
    in_turns(cpus, STEALS, owner, steal) as f64 / (STEALS * limit as u64) as f64
}

/// A worker's end of the producer's ring.
trait Taker: Send {
    fn take(&mut self, burst: &mut Burst) -> usize;
}

impl Taker for RingConsumer {
    fn take(&mut self, burst: &mut Burst) -> usize {
        RingConsumer::take(self, burst, BURST)
    }
}

/// The sharded queue with one shard: a worker looks whether the ring has items.
struct OnlyShard(RingConsumer);

impl Taker for OnlyShard {
    fn take(&mut self, burst: &mut Burst) -> usize {
        if self.0.is_empty() { 0 } else { self.0.take(burst, BURST) }
    }
}

/// A ring from one core to the other; arrived bursts go through again in the
/// next window.
struct Through<T> {
    put: RingProducer,
    take: T,
    sent: Vec<Burst>,
    arrived: Vec<Burst>,
}

impl<T: Taker> Through<T> {
    fn new(put: RingProducer, take: T, pool: &Mempool) -> Self {
        let sent = (0..BURSTS).map(|_| burst_of(pool, BURST)).collect();
        Self { put, take, sent, arrived: (0..BURSTS).map(|_| Burst::new()).collect() }
    }

    /// From both being ready until everything has arrived.
    fn cycles(&mut self, cpus: [usize; 2]) -> f64 {
        let Self { put, take, sent, arrived } = self;
        let ready = AtomicBool::new(false);
        let cycles = thread::scope(|scope| {
            scope.spawn(|| {
                pin(cpus[0]);
                while !ready.load(Ordering::Acquire) {
                    std::hint::spin_loop();
                }
                for burst in &mut *sent {
                    while !burst.is_empty() {
                        put.put(burst);
                    }
                }
            });
            let worker = scope.spawn(|| {
                pin(cpus[1]);
                ready.store(true, Ordering::Release);
                let start = tsc();
                for burst in &mut *arrived {
                    while burst.len() < BURST {
                        // A burst that arrives in pieces is filled up by the
                        // next one, not split.
                        take.take(burst);
                    }
                }
                tsc().wrapping_sub(start)
            });
            worker.join().expect("a worker does not panic")
        });
        std::mem::swap(sent, arrived);
        cycles as f64 / (BURSTS * BURST) as f64
    }
}
