//! The table of flows: one set, which lcores read while others write.

use loom::sync::Arc;
use loom::thread;

use super::explore;
use crate::flow_table::{FlowTable, Place, WAYS};

const TIMEOUT: u64 = 1 << 7;

/// A table of one set in which the flow 1 is the oldest, and the next newcomer
/// takes its place.
fn full() -> FlowTable {
    let table = FlowTable::new(WAYS, TIMEOUT);
    for key in 1..=WAYS as u64 {
        table.update(key, key, |_| 10 * key);
    }
    table
}

#[test]
fn nobody_reads_the_number_of_another_flow() {
    explore("flows: eviction", || {
        let table = Arc::new(full());
        let newcomer = {
            let table = table.clone();
            thread::spawn(move || assert_eq!(table.update(100, 9, |_| 1000).1, Place::Evicted))
        };
        // At the time of the flow's last use: to read it changes nothing.
        assert!(table.get(1, 1).is_none_or(|value| value == 10));
        assert!(table.get(100, 9).is_none_or(|value| value == 1000));
        newcomer.join().unwrap();
        assert_eq!((table.get(1, 9), table.get(100, 9)), (None, Some(1000)));
    });
}

#[test]
fn two_that_write_one_flow_count_right_and_take_one_place() {
    explore("flows: two writers", || {
        let table = Arc::new(FlowTable::new(WAYS, TIMEOUT));
        let other = {
            let table = table.clone();
            thread::spawn(move || table.update(5, 1, |old| old.unwrap_or(0) + 1).1)
        };
        let places = [table.update(5, 1, |old| old.unwrap_or(0) + 1).1, other.join().unwrap()];
        assert!(places.contains(&Place::New) && places.contains(&Place::Known), "{places:?}");
        assert_eq!((table.get(5, 1), table.live_flows(1)), (Some(2), 1));
    });
}

#[test]
fn renewing_a_time_undoes_no_update() {
    explore("flows: renewal", || {
        let table = Arc::new(FlowTable::new(WAYS, TIMEOUT));
        table.update(5, 1, |_| 1);
        let reader = {
            let table = table.clone();
            thread::spawn(move || table.get(5, 3))
        };
        table.update(5, 2, |old| old.unwrap() + 1);
        assert!(reader.join().unwrap().is_none_or(|value| value == 1 || value == 2));
        assert_eq!(table.get(5, 3), Some(2));
    });
}
