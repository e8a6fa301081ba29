//! The bound on the sharded queue's rank error, with producers and workers that
//! run at the same time: each item that a dequeue passes by has one of the excuses
//! that `docs/theory.md` proves to be the only ones.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;

use super::{Heads, Pick, Picker, ShardPick};

/// So many older items that wait are looked at per dequeue, the oldest first: two
/// random choices can pass hundreds by.
const CHECKED_PER_DEQUEUE: usize = 20;

/// An enqueue: from its stamp until the shard shows it. Times are of one clock that
/// counts events.
#[derive(Clone, Copy)]
struct Enqueue {
    shard: usize,
    stamp: u64,
    queued: u64,
    shown: u64,
}

/// A dequeue: from the choice until the next head shows. `stamp` is of the item
/// that was removed at `removed`, if the shard had one.
#[derive(Clone, Copy)]
struct Dequeue {
    shard: usize,
    stamp: Option<u64>,
    began: u64,
    removed: u64,
    ended: u64,
}

#[derive(Default)]
struct World {
    clock: AtomicU64,
    stamps: AtomicU64,
    all_are_in: AtomicBool,
    shards: Vec<Mutex<VecDeque<u64>>>,
}

impl World {
    fn now(&self) -> u64 {
        self.clock.fetch_add(1, SeqCst)
    }

    fn head(&self, shard: usize) -> Option<u64> {
        self.shards[shard].lock().unwrap().front().copied()
    }

    fn produce(&self, heads: &Heads, shard: usize, items: usize) -> Vec<Enqueue> {
        let enqueue = |number: usize| {
            if number.is_multiple_of(7) {
                thread::yield_now();
            }
            let stamp = self.stamps.fetch_add(1, SeqCst);
            let queued = {
                let mut items = self.shards[shard].lock().unwrap();
                items.push_back(stamp);
                self.now()
            };
            heads.enqueued(shard, stamp);
            Enqueue { shard, stamp, queued, shown: self.now() }
        };
        (0..items).map(enqueue).collect()
    }

    fn work(&self, heads: &Heads, mut pick: Picker) -> Vec<Dequeue> {
        let mut done = Vec::new();
        loop {
            let last_look = self.all_are_in.load(SeqCst);
            let began = self.now();
            let Some(shard) = pick.pick(heads) else {
                if last_look {
                    return done;
                }
                thread::yield_now();
                continue;
            };
            heads.claim(shard);
            let (stamp, removed) = {
                let mut items = self.shards[shard].lock().unwrap();
                (items.pop_front(), self.now())
            };
            heads.dequeued(shard, || self.head(shard));
            done.push(Dequeue { shard, stamp, began, removed, ended: self.now() });
        }
    }
}

/// Runs `workers` workers and four producers of so many items each, until all items
/// are dequeued.
fn run(choice: ShardPick, items: usize, workers: usize) -> (Vec<Enqueue>, Vec<Dequeue>) {
    let shards = 4;
    let heads = &Heads::new(shards);
    let world =
        &World { shards: (0..shards).map(|_| Mutex::default()).collect(), ..World::default() };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..workers)
            .map(|worker| {
                let pick = Picker::new(choice, worker as u64, worker, workers);
                scope.spawn(move || world.work(heads, pick))
            })
            .collect();
        let producers: Vec<_> = (0..shards)
            .map(|shard| scope.spawn(move || world.produce(heads, shard, items)))
            .collect();
        let enqueues = producers.into_iter().flat_map(|one| one.join().unwrap()).collect();
        world.all_are_in.store(true, SeqCst);
        (enqueues, workers.into_iter().flat_map(|one| one.join().unwrap()).collect())
    })
}

/// Of each pair of a dequeue and an older item that was queued elsewhere: how many
/// there were, and how many without an excuse.
fn passed_by(enqueues: &[Enqueue], dequeues: &[Dequeue]) -> (usize, usize) {
    let removed_of = |stamp: u64| {
        let of_it = dequeues.iter().find(|one| one.stamp == Some(stamp));
        of_it.expect("every item was dequeued").removed
    };
    let mut items: Vec<_> = enqueues.iter().map(|one| (*one, removed_of(one.stamp))).collect();
    items.sort_unstable_by_key(|(item, _)| item.stamp);
    let (mut all, mut unexcused) = (0, 0);
    for by in dequeues {
        let Some(stamp) = by.stamp else { continue };
        let older = items.iter().take_while(|(item, _)| item.stamp < stamp);
        let waiting = older.filter(|(item, gone)| item.queued < by.removed && by.removed < *gone);
        for (item, _) in waiting.take(CHECKED_PER_DEQUEUE) {
            all += 1;
            unexcused += usize::from(!is_excused(item, by, enqueues, dequeues));
        }
    }
    (all, unexcused)
}

/// Whether `by` may pass `item` by: the item was not shown when the choice began,
/// or another operation was under way on its shard or on the one that was chosen,
/// or the last ones on the latter had overlapped.
fn is_excused(item: &Enqueue, by: &Dequeue, enqueues: &[Enqueue], dequeues: &[Dequeue]) -> bool {
    let overlap = |one: (u64, u64), other: (u64, u64)| one.0 < other.1 && other.0 < one.1;
    let of_workers = |shard: usize| {
        let dequeues = dequeues.iter().filter(move |one| one.shard == shard);
        dequeues.map(|one| (one.began, one.ended))
    };
    let on = |shard: usize| {
        let enqueues = enqueues.iter().filter(move |one| one.shard == shard);
        enqueues.map(|one| (one.queued, one.shown)).chain(of_workers(shard))
    };
    let me = (by.began, by.ended);
    let choice = (by.began, by.removed);
    let others = |shard: usize| on(shard).filter(move |&one| one != me);
    let last = on(by.shard).filter(|one| one.1 < by.began).max_by_key(|one| one.1);
    item.shown > by.began
        || of_workers(item.shard).any(|one| overlap(one, choice))
        || others(by.shard).any(|one| overlap(one, choice))
        || last.is_some_and(|last| on(by.shard).any(|one| one != last && overlap(one, last)))
}

#[test]
#[cfg_attr(miri, ignore = "thousands of operations")]
fn whoever_is_passed_by_was_not_shown_or_met_another_operation() {
    for workers in [1, 2, 3] {
        let (enqueues, dequeues) = run(ShardPick::Oldest, 300, workers);
        let (all, unexcused) = passed_by(&enqueues, &dequeues);
        assert_eq!(unexcused, 0, "{workers} workers, of {all}");
    }
}

#[test]
#[cfg_attr(miri, ignore = "thousands of operations")]
fn two_choices_pass_items_by_without_an_excuse() {
    let (enqueues, dequeues) = run(ShardPick::TwoChoice, 100, 1);
    let (all, unexcused) = passed_by(&enqueues, &dequeues);
    assert!(unexcused > 0, "none of {all}");
}
