//! The flow table: one set, which lcores read while others write.

use loom::sync::Arc;
use loom::thread;

use super::{explore, let_others_begin};
use crate::flow_table::{FlowTable, Upsert, WAYS};

const TIMEOUT: u64 = 1 << 7;

/// A full table of one set, in which flow 1 is the oldest: a new flow evicts it.
fn full() -> FlowTable {
    let table = FlowTable::new(WAYS, TIMEOUT);
    for key in 1..=WAYS as u64 {
        table.update(key, key, |_| 10 * key);
    }
    table
}

#[test]
fn no_reader_gets_the_value_of_another_flow() {
    explore("flows: eviction", || {
        let table = Arc::new(full());
        let newcomer = {
            let table = table.clone();
            thread::spawn(move || assert_eq!(table.update(100, 9, |_| 1000).1, Upsert::Evicted))
        };
        let_others_begin();
        // At the time of the flow's last lookup: a read changes nothing.
        assert!(table.get(1, 1).is_none_or(|value| value == 10));
        assert!(table.get(100, 9).is_none_or(|value| value == 1000));
        newcomer.join().unwrap();
        assert_eq!((table.get(1, 9), table.get(100, 9)), (None, Some(1000)));
    });
}

#[test]
fn two_writers_of_one_flow_share_one_entry() {
    explore("flows: two writers", || {
        let table = Arc::new(FlowTable::new(WAYS, TIMEOUT));
        let other = {
            let table = table.clone();
            thread::spawn(move || table.update(5, 1, |old| old.unwrap_or(0) + 1).1)
        };
        let_others_begin();
        let done = [table.update(5, 1, |old| old.unwrap_or(0) + 1).1, other.join().unwrap()];
        assert!(done.contains(&Upsert::Inserted) && done.contains(&Upsert::Updated), "{done:?}");
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
        let_others_begin();
        table.update(5, 2, |old| old.unwrap() + 1);
        assert!(reader.join().unwrap().is_none_or(|value| value == 1 || value == 2));
        assert_eq!(table.get(5, 3), Some(2));
    });
}
