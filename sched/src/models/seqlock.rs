//! A seqlock that is published while it is read.

use loom::sync::Arc;
use loom::thread;

use super::{explore, let_others_begin};
use crate::seqlock::Published;

fn words(number: u64) -> [u64; 3] {
    [number; 3]
}

#[test]
fn a_reader_sees_one_publication_as_one() {
    explore("published", || {
        let published = Arc::new(Published::<3>::default());
        published.publish(words(1));
        let writer = {
            let published = published.clone();
            thread::spawn(move || published.publish(words(2)))
        };
        let_others_begin();
        let (version, seen) = published.read();
        assert_eq!(seen, words(version / 2));
        let (later, seen) = published.read();
        assert!(later >= version, "a reader never goes back");
        assert_eq!(seen, words(later / 2));
        writer.join().unwrap();
        assert_eq!(published.read(), (4, words(2)));
    });
}
