//! The run queue: each item comes out once, and the owner's in order.

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

use super::{explore, let_others_begin};
use crate::heartbeat::{Busy, Cost, Heartbeat};
use crate::runq::{Append, Double, Growth, RunQueue, Stealer};

/// An item that its receiver writes: loom reports a write that does not come after
/// all earlier accesses.
struct Parcel(UnsafeCell<u32>);

type Item = Box<Parcel>;

fn parcel(number: u32) -> Item {
    Box::new(Parcel(UnsafeCell::new(number)))
}

fn open(items: Vec<Item>) -> Vec<u32> {
    // SAFETY: the item is owned; loom checks that this is true.
    items
        .into_iter()
        .map(|item| item.0.with_mut(|number| unsafe { std::mem::take(&mut *number) }))
        .collect()
}

/// A thief that tries `tries` times.
fn thief<G: Growth<Item> + 'static>(
    mut stealer: Stealer<Item, G>,
    tries: usize,
    limit: usize,
) -> thread::JoinHandle<Vec<u32>>
where
    Stealer<Item, G>: Send,
{
    thread::spawn(move || {
        let mut loot = Vec::new();
        for _ in 0..tries {
            stealer.steal(limit, &mut loot);
        }
        open(loot)
    })
}

fn push<G: Growth<Item>>(queue: &mut RunQueue<Item, G>, numbers: std::ops::Range<u32>) {
    let mut items: Vec<Item> = numbers.map(parcel).collect();
    queue.push_burst(&mut items);
    assert!(items.is_empty(), "there is room");
}

fn pop<G: Growth<Item>>(queue: &mut RunQueue<Item, G>, want: usize, got: &mut Vec<u32>) {
    let mut items = Vec::new();
    queue.pop_burst(want, &mut items);
    got.extend(open(items));
}

/// Checks that every item came once, and the owner's in order.
fn settle<G: Growth<Item>>(
    mut queue: RunQueue<Item, G>,
    mut got: Vec<u32>,
    thieves: Vec<thread::JoinHandle<Vec<u32>>>,
    count: u32,
) {
    pop(&mut queue, 100, &mut got);
    assert!(got.is_sorted(), "the owner gets its items in order: {got:?}");
    for thief in thieves {
        got.extend(thief.join().unwrap());
    }
    got.sort_unstable();
    assert!(got.iter().copied().eq(1..=count), "{got:?}");
}

#[test]
fn push_pop_and_steal_in_a_ring_that_wraps() {
    explore("push, pop, steal", || {
        let mut queue = RunQueue::<Item>::new(2, 2);
        let mut got = Vec::new();
        push(&mut queue, 1..3);
        let thieves = vec![thief(queue.stealer(), 2, 2)];
        let_others_begin();
        pop(&mut queue, 1, &mut got);
        push(&mut queue, 3..4);
        pop(&mut queue, 2, &mut got);
        push(&mut queue, 4..5);
        settle(queue, got, thieves, 4);
    });
}

#[test]
fn two_thieves_and_an_owner() {
    explore("two thieves", || {
        let mut queue = RunQueue::<Item>::new(4, 4);
        let mut got = Vec::new();
        push(&mut queue, 1..4);
        let thieves = vec![thief(queue.stealer(), 1, 2), thief(queue.stealer(), 1, 1)];
        let_others_begin();
        pop(&mut queue, 2, &mut got);
        push(&mut queue, 4..6);
        settle(queue, got, thieves, 5);
    });
}

#[test]
fn a_thief_during_single_pushes() {
    explore("single pushes", || {
        let mut queue = RunQueue::<Item>::new(2, 2);
        let thieves = vec![thief(queue.stealer(), 2, 1)];
        let_others_begin();
        push(&mut queue, 1..2);
        push(&mut queue, 2..3);
        settle(queue, Vec::new(), thieves, 2);
    });
}

#[test]
fn doubling_while_a_thief_steals() {
    explore("double", || {
        let mut queue = RunQueue::<Item>::new(2, 8);
        let mut got = Vec::new();
        push(&mut queue, 1..3);
        let thieves = vec![thief(queue.stealer(), 2, 2)];
        let_others_begin();
        pop(&mut queue, 1, &mut got);
        push(&mut queue, 3..5);
        pop(&mut queue, 1, &mut got);
        push(&mut queue, 5..8);
        settle(queue, got, thieves, 7);
    });
}

#[test]
fn appending_and_retiring_while_a_thief_steals() {
    explore("append, retire", || {
        let mut queue = RunQueue::<Item, Append<_>>::new(2, 6);
        let mut got = Vec::new();
        push(&mut queue, 1..3);
        let thieves = vec![thief(queue.stealer(), 2, 2)];
        let_others_begin();
        push(&mut queue, 3..5);
        pop(&mut queue, 3, &mut got);
        push(&mut queue, 5..7);
        settle(queue, got, thieves, 6);
    });
}

#[test]
fn two_thieves_in_appended_rings() {
    explore("append, two thieves", || {
        let mut queue = RunQueue::<Item, Append<_>>::new(2, 4);
        let mut got = Vec::new();
        push(&mut queue, 1..5);
        let thieves = vec![thief(queue.stealer(), 1, 2), thief(queue.stealer(), 1, 2)];
        let_others_begin();
        pop(&mut queue, 2, &mut got);
        settle(queue, got, thieves, 4);
    });
}

#[test]
fn items_left_are_dropped_with_the_last_end() {
    explore("last end", || {
        let mut queue = RunQueue::<Item, Double<_>>::new(2, 4);
        push(&mut queue, 1..4);
        let thief = thief(queue.stealer(), 1, 1);
        let_others_begin();
        drop(queue);
        thief.join().unwrap();
    });
}

#[test]
fn what_a_stuck_lcore_left_can_be_stolen() {
    explore("stuck", || {
        let heartbeat = Arc::new(Heartbeat::new());
        let mut queue = RunQueue::<Item>::new(2, 2);
        let mut stealer = queue.stealer();
        let rescuer = thread::spawn({
            let heartbeat = heartbeat.clone();
            move || {
                let mut loot = Vec::new();
                if heartbeat.busy_ticks(9).is_some() {
                    stealer.steal(2, &mut loot);
                    assert_eq!(loot.len(), 1, "it was queued before the lcore got stuck");
                }
                open(loot)
            }
        });
        let_others_begin();
        push(&mut queue, 1..2);
        heartbeat.begin(Busy { since_ticks: 5, flow_hash: 0, cost: Cost::Unknown });
        settle_alone(queue, rescuer.join().unwrap());
    });
}

/// Checks that the one item came, to either.
fn settle_alone(mut queue: RunQueue<Item>, mut got: Vec<u32>) {
    pop(&mut queue, 1, &mut got);
    assert_eq!(got, [1]);
}
