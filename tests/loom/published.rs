//! A conversion that is published while it is read.

use loom::sync::Arc;
use loom::thread;

use super::models::explore;
use crate::stamps::{Conversion, Fit, Published};

fn fit(number: u64) -> Fit {
    Fit {
        conversion: Conversion { clock: number, ticks: number, ticks_per_unit: number },
        error_ticks: number,
    }
}

#[test]
fn a_reader_sees_one_publication_as_one() {
    explore("published", || {
        let published = Arc::new(Published::default());
        published.publish(&fit(1));
        let writer = {
            let published = published.clone();
            thread::spawn(move || published.publish(&fit(2)))
        };
        let (version, seen) = published.read();
        assert_eq!(seen, fit(version / 2));
        let (later, seen) = published.read();
        assert!(later >= version, "never back");
        assert_eq!(seen, fit(later / 2));
        writer.join().unwrap();
        assert_eq!(published.read(), (4, fit(2)));
    });
}
