//! A shard as workers see it: one lcore puts packets in, several look at the
//! head's stamp and then claim. The ring is DPDK's, which loom cannot run; this
//! is its protocol (rte_ring's C11 memory model, multi-consumer end), with the
//! look at the head that mpfwd adds, in the orderings that it uses. The ring is
//! as long as what is put in, so that nobody waits for room.

use loom::sync::Arc;
use loom::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use loom::thread;

use super::explore;

const PKTS: usize = 2;
/// What a packet's stamp field holds before it was ever stamped.
const NEVER: u64 = 0;
/// What a worker writes there when it has the packet and stamps it anew.
const AGAIN: u64 = 1000;

struct Shard {
    prod_tail: AtomicU32,
    cons_head: AtomicU32,
    slots: [AtomicUsize; PKTS],
    /// The packets' stamp fields.
    stamps: [AtomicU64; PKTS],
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

    /// The only producer: stamps the packet, and puts it in.
    fn put(&self, packet: usize, stamp: u64) {
        self.stamps[packet].store(stamp, Ordering::Relaxed);
        let tail = self.prod_tail.load(Ordering::Relaxed);
        self.slots[tail as usize % PKTS].store(packet, Ordering::Relaxed);
        self.prod_tail.store(tail + 1, Ordering::Release);
    }

    fn head_stamp(&self) -> Option<u64> {
        let head = self.cons_head.load(Ordering::Relaxed);
        if head == self.prod_tail.load(Ordering::Acquire) {
            return None;
        }
        let packet = self.slots[head as usize % PKTS].load(Ordering::Relaxed);
        Some(self.stamps[packet].load(Ordering::Relaxed))
    }

    /// One of several consumers.
    fn take(&self) -> Option<usize> {
        let mut head = self.cons_head.load(Ordering::Relaxed);
        loop {
            // rte_ring has a fence here: the head is read before the tail.
            loom::sync::atomic::fence(Ordering::Acquire);
            if self.prod_tail.load(Ordering::Acquire).wrapping_sub(head) as i32 <= 0 {
                return None;
            }
            match self.cons_head.compare_exchange(
                head,
                head + 1,
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => return Some(self.slots[head as usize % PKTS].load(Ordering::Relaxed)),
                Err(moved) => head = moved,
            }
        }
    }
}

/// Looks, and takes if there was something; stamps what it got anew, as a
/// worker that sheds it again would.
fn work(shard: &Shard, tries: usize) -> Vec<usize> {
    let mut got = Vec::new();
    for _ in 0..tries {
        let Some(stamp) = shard.head_stamp() else { continue };
        assert_ne!(stamp, NEVER, "a stamp that was not written yet was seen");
        if let Some(packet) = shard.take() {
            assert_ne!(shard.stamps[packet].load(Ordering::Relaxed), NEVER);
            shard.stamps[packet].store(AGAIN, Ordering::Relaxed);
            got.push(packet);
        }
    }
    got
}

#[test]
fn look_and_claim() {
    explore("shard, look and claim, two workers", || {
        let shard = Arc::new(Shard::new());
        let other = {
            let shard = shard.clone();
            thread::spawn(move || work(&shard, 2))
        };
        let producer = {
            let shard = shard.clone();
            thread::spawn(move || {
                (0..PKTS).for_each(|packet| shard.put(packet, 10 + packet as u64))
            })
        };
        let mut got = work(&shard, 2);
        assert!(got.is_sorted(), "one worker's packets are in the order of their stamps");
        let theirs = other.join().unwrap();
        assert!(theirs.is_sorted());
        got.extend(theirs);
        producer.join().unwrap();
        while let Some(packet) = shard.take() {
            got.push(packet);
        }
        got.sort_unstable();
        assert_eq!(got, [0, 1], "each packet once");
    });
}
