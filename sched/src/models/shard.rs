//! A shard as workers see it: one lcore enqueues packets, and several workers look
//! at the head's stamp and then dequeue. The ring is DPDK's, which loom cannot
//! run. This models its protocol (rte_ring's C11 memory model, multi-consumer
//! end), with mpfwd's look at the head and the orderings that this uses. The ring
//! has room for all packets.

use loom::sync::Arc;
use loom::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};
use loom::thread;

use super::{explore, let_others_begin};
use crate::shed::Heads;

const PKTS: usize = 2;
/// Slots of the ring.
const SLOTS: usize = 4;
/// A packet's stamp field before it was ever stamped.
const NEVER: u64 = 0;
/// The new stamp that a worker gives to a packet of its own.
const AGAIN: u64 = 1000;

struct Shard {
    prod_tail: AtomicU32,
    cons_head: AtomicU32,
    slots: [AtomicUsize; SLOTS],
    /// The packets' stamp fields.
    stamps: [AtomicU64; SLOTS],
}

impl Shard {
    fn new() -> Self {
        Self {
            prod_tail: AtomicU32::new(0),
            cons_head: AtomicU32::new(0),
            slots: std::array::from_fn(|_| AtomicUsize::new(0)),
            stamps: std::array::from_fn(|_| AtomicU64::new(NEVER)),
        }
    }

    /// Stamps and enqueues a packet. There is one producer.
    fn enqueue(&self, packet: usize, stamp: u64) {
        self.stamps[packet].store(stamp, Ordering::Relaxed);
        let tail = self.prod_tail.load(Ordering::Relaxed);
        self.slots[tail as usize % SLOTS].store(packet, Ordering::Relaxed);
        self.prod_tail.store(tail + 1, Ordering::Release);
    }

    fn head_stamp(&self) -> Option<u64> {
        let head = self.cons_head.load(Ordering::Relaxed);
        if self.prod_tail.load(Ordering::Acquire).wrapping_sub(head) as i32 <= 0 {
            return None;
        }
        let packet = self.slots[head as usize % SLOTS].load(Ordering::Relaxed);
        Some(self.stamps[packet].load(Ordering::Relaxed))
    }

    /// Dequeues a packet. There are several consumers.
    fn dequeue(&self) -> Option<usize> {
        let mut head = self.cons_head.load(Ordering::Relaxed);
        loop {
            // As in rte_ring: the head is read before the tail.
            fence(Ordering::Acquire);
            if self.prod_tail.load(Ordering::Acquire).wrapping_sub(head) as i32 <= 0 {
                return None;
            }
            match self.cons_head.compare_exchange(
                head,
                head + 1,
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => return Some(self.slots[head as usize % SLOTS].load(Ordering::Relaxed)),
                Err(moved) => head = moved,
            }
        }
    }
}

/// Looks `tries` times, and dequeues where there was a packet. Stamps what it got
/// anew, as a worker does that sheds a packet again.
fn work(shard: &Shard, tries: usize) -> Vec<usize> {
    let mut got = Vec::new();
    for _ in 0..tries {
        let Some(stamp) = shard.head_stamp() else { continue };
        assert_ne!(stamp, NEVER, "a stamp was seen before it was written");
        if let Some(packet) = shard.dequeue() {
            assert_ne!(shard.stamps[packet].load(Ordering::Relaxed), NEVER);
            shard.stamps[packet].store(AGAIN, Ordering::Relaxed);
            got.push(packet);
        }
    }
    got
}

#[test]
fn look_and_dequeue() {
    explore("shard, look and dequeue, two workers", || {
        let shard = Arc::new(Shard::new());
        let other = {
            let shard = shard.clone();
            thread::spawn(move || work(&shard, 2))
        };
        let producer = {
            let shard = shard.clone();
            thread::spawn(move || {
                (0..PKTS).for_each(|packet| shard.enqueue(packet, 10 + packet as u64))
            })
        };
        let_others_begin();
        let mut got = work(&shard, 2);
        assert!(got.is_sorted(), "a worker gets packets in the order of their stamps");
        let theirs = other.join().unwrap();
        assert!(theirs.is_sorted());
        got.extend(theirs);
        producer.join().unwrap();
        while let Some(packet) = shard.dequeue() {
            got.push(packet);
        }
        got.sort_unstable();
        assert_eq!(got, [0, 1], "each packet once");
    });
}

/// As a worker of the datapath: looks at what the shards show, and dequeues where
/// that is not empty.
fn work_by_heads(shard: &Shard, heads: &Heads, tries: usize) -> Vec<usize> {
    let mut got = Vec::new();
    for _ in 0..tries {
        if heads.nonempty_from(0).next().is_some() {
            heads.claim(0);
            got.extend(shard.dequeue());
            heads.dequeued(0, || shard.head_stamp());
        }
    }
    got
}

/// Packets are enqueued, and workers dequeue as often as they can: what is left
/// must show, or no worker would ever look there again.
fn what_is_left_shows(name: &str, pkts: usize, tries: [usize; 2]) {
    explore(name, move || {
        let shared = Arc::new((Shard::new(), Heads::new(1)));
        let producer = {
            let shared = shared.clone();
            thread::spawn(move || {
                for packet in 0..pkts {
                    let stamp = 10 + packet as u64;
                    shared.0.enqueue(packet, stamp);
                    shared.1.enqueued(0, stamp);
                }
            })
        };
        let [mine, theirs] = tries;
        let other = (theirs > 0).then(|| {
            let shared = shared.clone();
            thread::spawn(move || work_by_heads(&shared.0, &shared.1, theirs))
        });
        let_others_begin();
        let (shard, heads) = &*shared;
        let mut got = work_by_heads(shard, heads, mine);
        got.extend(other.into_iter().flat_map(|other| other.join().unwrap()));
        producer.join().unwrap();
        if let Some(head) = shard.head_stamp() {
            let shown = heads.stamp(0).expect("the shard has items, and shows none");
            assert!(shown <= head, "the head shows as younger than it is: {shown}, not {head}");
        }
        while heads.nonempty_from(0).next().is_some() {
            got.extend(work_by_heads(shard, heads, 1));
        }
        got.sort_unstable();
        assert_eq!(got, (0..pkts).collect::<Vec<_>>(), "each packet once");
    });
}

#[test]
fn no_item_is_forgotten_by_one_worker() {
    what_is_left_shows("shard heads, one worker", PKTS, [0, 3]);
}

/// A worker finds the shard empty, and looks again while two more are enqueued.
#[test]
fn a_shard_never_looks_younger_than_its_head() {
    what_is_left_shows("shard heads, one worker, a refilled shard", 3, [0, 1]);
    what_is_left_shows("shard heads, two workers, a refilled shard", 3, [1, 1]);
}

#[test]
fn no_item_is_forgotten_by_two_workers() {
    what_is_left_shows("shard heads, two workers", PKTS, [1, 2]);
}
