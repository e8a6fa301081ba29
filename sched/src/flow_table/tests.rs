use std::sync::atomic::AtomicBool;

use proptest::prelude::*;

use super::*;

/// Ticks of a timeout that has `UNITS_MIN` units of one tick.
const TIMEOUT: u64 = UNITS_MIN;

#[derive(Clone, Debug)]
enum Operation {
    Get(u64),
    Update(u64, u64),
    /// So many ticks pass.
    Sleep(u64),
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        4 => (1..20u64).prop_map(Operation::Get),
        4 => (1..20u64, 0..=VALUE_MAX).prop_map(|(key, value)| Operation::Update(key, value)),
        2 => (0..TIMEOUT + 40).prop_map(Operation::Sleep),
    ]
}

/// A set as it should be: key, value, and time of the last lookup of each flow.
#[derive(Default)]
struct Model(Vec<(u64, u64, u64)>);

impl Model {
    fn expire(&mut self, now: u64) {
        self.0.retain(|&(_, _, asked)| now - asked <= TIMEOUT);
    }

    fn get(&mut self, key: u64, now: u64) -> Option<u64> {
        self.expire(now);
        let found = self.0.iter_mut().find(|flow| flow.0 == key)?;
        found.2 = now;
        Some(found.1)
    }

    fn update(&mut self, key: u64, value: u64, now: u64) -> Upsert {
        self.expire(now);
        if let Some(found) = self.0.iter_mut().find(|flow| flow.0 == key) {
            *found = (key, value, now);
            return Upsert::Updated;
        }
        self.0.push((key, value, now));
        Upsert::Inserted
    }
}

proptest! {
    #![proptest_config(crate::cases())]

    /// A table of one set behaves as a list: what is known, which flow is evicted,
    /// which expire.
    #[test]
    fn a_set_is_a_list_of_the_last_lookups(operations in prop::collection::vec(operation(), 1..200), start in any::<u32>()) {
        let (table, mut model, mut now) = (FlowTable::new(WAYS, TIMEOUT), Model::default(), u64::from(start));
        for operation in operations {
            match operation {
                Operation::Get(key) => prop_assert_eq!(table.get(key, now), model.get(key, now)),
                Operation::Sleep(ticks) => now += ticks,
                Operation::Update(key, value) => {
                    let before = model.get(key, now);
                    let (new, place) = table.update(key, now, |old| { assert_eq!(old, before); value });
                    prop_assert_eq!(new, value);
                    let mut should_be = model.update(key, value, now);
                    if model.0.len() > WAYS {
                        should_be = Upsert::Evicted;
                        let oldest = model.0.iter().map(|flow| flow.2).min().unwrap();
                        // Of equally old ones any may be evicted.
                        let gone = model.0.iter().position(|flow| flow.2 == oldest && table.get_untouched(flow.0).is_none());
                        model.0.remove(gone.expect("one of the oldest is gone"));
                    }
                    prop_assert_eq!(place, should_be);
                }
            }
            model.expire(now);
            prop_assert_eq!(table.live_flows(now), model.0.len());
        }
    }

    #[test]
    fn flows_expire_after_the_timeout(timeout_ticks in 1u64..1 << 50, start in 0u64..1 << 50) {
        let table = FlowTable::new(1, timeout_ticks);
        table.update(7, start, |_| 1);
        prop_assert_eq!(table.live_flows(start + timeout_ticks * 98 / 100), 1);
        prop_assert_eq!(table.live_flows(start + timeout_ticks * 102 / 100 + 2), 0);
        prop_assert_eq!(table.get(7, start + timeout_ticks * 98 / 100), Some(1));
    }
}

impl FlowTable {
    /// Whether the table of one set has the key, without a lookup.
    fn get_untouched(&self, key: u64) -> Option<usize> {
        self.sets[0].way(key)
    }
}

fn spread(n: u64) -> u64 {
    xxhash_rust::xxh3::xxh3_64(&n.to_le_bytes())
}

#[test]
#[cfg_attr(miri, ignore = "many draws of safe code")]
fn it_never_grows_and_reports_evictions() {
    let table = FlowTable::new(1000, 1 << 40);
    assert_eq!(table.capacity(), 1001);
    let evicted =
        (0..10_000).filter(|&n| table.update(spread(n), 5, |_| n).1 == Upsert::Evicted).count();
    assert_eq!(table.live_flows(5), 1001, "every entry is used");
    assert_eq!(evicted, 10_000 - 1001);
    assert!(
        (0..10_000)
            .filter_map(|n| table.get(spread(n), 5).map(|value| (n, value)))
            .all(|(n, value)| n == value)
    );
}

/// With twice as many entries as flows few are evicted, although sets are small.
#[test]
#[cfg_attr(miri, ignore = "many draws of safe code")]
fn half_full_it_evicts_few() {
    let table = FlowTable::new(20_000, 1 << 40);
    for n in 0..10_000 {
        table.update(spread(n), 5, |_| n);
    }
    let known = (0..10_000).filter(|&n| table.get(spread(n), 5).is_some()).count();
    assert!(known > 9_850, "{known} of 10,000");
}

#[test]
fn a_clock_that_lags_expires_nothing() {
    let table = FlowTable::new(WAYS, 1 << 20);
    table.update(7, 1 << 30, |_| 3);
    assert_eq!(table.get(7, (1 << 30) - (1 << 15)), Some(3));
}

/// Writers count; readers must never see another flow's value.
#[test]
fn concurrent_updates_are_not_lost() {
    const KEYS: u64 = 14;
    const ROUNDS: u64 = if cfg!(miri) { 20 } else { 5_000 };
    let (table, over) = (FlowTable::new(2 * KEYS as usize * WAYS, 1 << 40), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let count = || {
            for n in 0..ROUNDS * KEYS {
                let key = n % KEYS;
                table.update(spread(key), n, |old| old.unwrap_or(key << 32) + 1);
            }
        };
        let writers = [scope.spawn(count), scope.spawn(count)];
        scope.spawn(|| {
            while !over.load(std::sync::atomic::Ordering::Acquire) {
                (0..KEYS).for_each(|key| {
                    assert!(table.get(spread(key), 9).is_none_or(|value| value >> 32 == key))
                });
            }
        });
        writers.into_iter().for_each(|writer| writer.join().expect("no writer fails"));
        over.store(true, std::sync::atomic::Ordering::Release);
    });
    assert!((0..KEYS).all(|key| table.get(spread(key), 9) == Some((key << 32) + 2 * ROUNDS)));
}
