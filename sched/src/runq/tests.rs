//! The run queue against a model, and under two thieves: no item is lost or
//! duplicated, and the owner gets its items in order.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};

use proptest::prelude::*;

use super::{Append, Double, Growth, RunQueue, Stealer, Stolen};

type Item = Box<u32>;

/// An operation of the owner, or of a thief while the owner does nothing.
#[derive(Clone, Debug)]
enum Act {
    Push,
    PushBurst(usize),
    Pop,
    PopBurst(usize),
    Steal(usize),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        Just(Act::Push),
        (0..20_usize).prop_map(Act::PushBurst),
        Just(Act::Pop),
        (0..20_usize).prop_map(Act::PopBurst),
        (0..20_usize).prop_map(Act::Steal),
    ];
    prop::collection::vec(act, 0..if cfg!(miri) { 30 } else { 300 })
}

/// With `oldest_first`, thieves too steal only from the front.
fn check_against_model<G: Growth<Item>>(
    capacity: usize,
    max: usize,
    acts: Vec<Act>,
    oldest_first: bool,
) -> Result<(), TestCaseError> {
    let mut queue = RunQueue::<Item, G>::new(capacity, max);
    let mut thief = queue.stealer();
    let mut model = VecDeque::new();
    let mut next = 0;
    let mut fresh = |count: usize| -> Vec<Item> {
        next += count as u32;
        (next - count as u32..next).map(Box::new).collect()
    };
    for act in acts {
        let mut got = Vec::new();
        match act {
            Act::Push => {
                let item = fresh(1).remove(0);
                model.push_back(*item);
                if let Err(item) = queue.push(item) {
                    prop_assert_eq!(model.pop_back(), Some(*item));
                    prop_assert!(model.len() >= max);
                }
            }
            Act::PushBurst(count) => {
                let mut items = fresh(count);
                let numbers: Vec<u32> = items.iter().map(|item| **item).collect();
                let pushed = queue.push_burst(&mut items);
                prop_assert_eq!(pushed, count.min(max - model.len()));
                prop_assert_eq!(
                    items.iter().map(|item| **item).collect::<Vec<_>>(),
                    &numbers[pushed..]
                );
                model.extend(&numbers[..pushed]);
            }
            Act::Pop => prop_assert_eq!(queue.pop().map(|item| *item), model.pop_front()),
            Act::PopBurst(want) => {
                let count = queue.pop_burst(want, &mut got);
                prop_assert_eq!(count, want.min(model.len()));
                prop_assert!(got.iter().map(|item| **item).eq(model.drain(..count)));
            }
            Act::Steal(limit) => {
                let stolen = thief.steal(limit, &mut got);
                prop_assert_eq!(stolen.count(), got.len());
                prop_assert!(got.len() <= limit.min(model.len().div_ceil(2)));
                prop_assert_eq!(stolen == Stolen::Nothing, model.is_empty() || limit == 0);
                for item in got {
                    let at = model
                        .iter()
                        .position(|&number| number == *item)
                        .expect("a stolen item was queued");
                    prop_assert!(at == 0 || !oldest_first);
                    model.remove(at);
                }
            }
        }
        prop_assert_eq!(
            (queue.len(), queue.is_empty(), thief.len_hint()),
            (model.len(), model.is_empty(), model.len())
        );
    }
    Ok(())
}

proptest! {
    #![proptest_config(crate::cases())]

    #[test]
    fn doubling_is_a_queue(capacity in 0..9_usize, max in 1..100_usize, acts in acts()) {
        check_against_model::<Double<_>>(capacity, max, acts, true)?;
    }

    #[test]
    fn appending_is_a_queue_whose_thieves_may_choose(capacity in 0..9_usize, max in 1..100_usize, acts in acts()) {
        check_against_model::<Append<_>>(capacity, max, acts, false)?;
    }
}

#[test]
fn items_left_are_dropped_with_the_last_end() {
    let witness = std::sync::Arc::new(());
    let mut queue = RunQueue::<Box<std::sync::Arc<()>>>::new(2, 100);
    for _ in 0..10 {
        assert!(queue.push(Box::new(witness.clone())).is_ok());
    }
    let mut thief = queue.stealer();
    drop(queue);
    let mut got = Vec::new();
    assert_eq!(
        (thief.steal(100, &mut got), thief.another().steal(1, &mut got)),
        (Stolen::Items(5), Stolen::Items(1))
    );
    drop((thief, got));
    assert_eq!(std::sync::Arc::strong_count(&witness), 1);
}

#[test]
fn growth_is_counted_and_bounded() {
    fn grown<G: Growth<Item>>() -> (usize, u64) {
        let mut queue = RunQueue::<Item, G>::new(4, 100);
        let mut items: Vec<Item> = (0..200).map(Box::new).collect();
        (queue.push_burst(&mut items), queue.grown())
    }
    // 4 to 8, 16, 32, 64, 128; 25 rings of 4.
    assert_eq!(grown::<Double<_>>(), (100, 5));
    assert_eq!(grown::<Append<_>>(), (100, 24));
}

/// Steals until the owner has ended and nothing is left.
fn rob<G: Growth<Item>>(mut thief: Stealer<Item, G>, over: &AtomicBool, tallies: &mut Tally) {
    let mut loot = Vec::new();
    loop {
        let last = over.load(Ordering::Acquire);
        let stolen = thief.steal(32, &mut loot);
        tallies.add(&mut loot);
        if last && stolen == Stolen::Nothing {
            break;
        }
    }
}

/// Checksums of the items that an lcore got: a lost or duplicated item changes one
/// of them.
#[derive(Default, Debug, PartialEq, Eq)]
struct Tally {
    count: u64,
    sum: u64,
    squares: u64,
}

impl Tally {
    fn add(&mut self, items: &mut Vec<Item>) {
        for item in items.drain(..) {
            let number = u64::from(*item);
            self.count += 1;
            self.sum += number;
            self.squares = self.squares.wrapping_add(number * number);
        }
    }
}

/// The owner pushes and pops bursts of changing size while two thieves steal.
/// Every item arrives once; where the queue is strictly oldest first, the owner
/// gets its items in order.
fn stress<G: Growth<Item>>(in_order: bool) {
    let items = if cfg!(miri) { 300 } else { 400_000 };
    let mut queue = RunQueue::<Item, G>::new(4, 300);
    let (first, second) = (queue.stealer(), queue.stealer());
    let over = AtomicBool::new(false);
    let mut expected = Tally::default();
    let mut tallies = [Tally::default(), Tally::default(), Tally::default()];
    let [owned, one, two] = &mut tallies;
    std::thread::scope(|scope| {
        scope.spawn(|| rob(first, &over, one));
        scope.spawn(|| rob(second, &over, two));
        let (mut next, mut newest_seen) = (0, None);
        let (mut batch, mut got) = (Vec::new(), Vec::new());
        while next < items {
            let burst = 1 + next % 37;
            batch.extend((next..next + burst).map(Box::new));
            next += burst;
            while !batch.is_empty() {
                queue.push_burst(&mut batch);
                queue.pop_burst(1 + (next as usize % 29), &mut got);
                for item in &got {
                    assert!(!in_order || newest_seen < Some(**item));
                    newest_seen = Some(**item);
                }
                owned.add(&mut got);
            }
        }
        while let Some(item) = queue.pop() {
            got.push(item);
        }
        owned.add(&mut got);
        over.store(true, Ordering::Release);
        expected.add(&mut (0..next).map(Box::new).collect());
    });
    let mut all = Tally::default();
    for tally in tallies {
        all = Tally {
            count: all.count + tally.count,
            sum: all.sum + tally.sum,
            squares: all.squares.wrapping_add(tally.squares),
        };
    }
    assert_eq!(all, expected);
}

#[test]
fn stress_doubling() {
    stress::<Double<_>>(true);
}

#[test]
fn stress_appending() {
    stress::<Append<_>>(false);
}
