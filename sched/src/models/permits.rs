//! Permits: the rules hold at every moment.

use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

use super::{explore, let_others_begin};
use crate::policy::{Permits, Pool};

#[test]
fn one_lcore_of_pool_a_holds_no_permit() {
    explore("permits", || {
        // Two lcores in pool A, one in pool B, a cap of two.
        let permits = Arc::new((Permits::new(2, 2), [(); 2].map(|()| AtomicUsize::new(0))));
        let try_once = |pool: Pool| {
            let permits = permits.clone();
            move || {
                let (permits, [all, of_pool_a]) = &*permits;
                let Some(permit) = permits.try_acquire(pool) else { return };
                let is_a = usize::from(pool == Pool::A);
                assert!(all.fetch_add(1, Ordering::SeqCst) < 2);
                assert!(of_pool_a.fetch_add(is_a, Ordering::SeqCst) + is_a < 2);
                of_pool_a.fetch_sub(is_a, Ordering::SeqCst);
                all.fetch_sub(1, Ordering::SeqCst);
                drop(permit);
            }
        };
        let lcores = [thread::spawn(try_once(Pool::A)), thread::spawn(try_once(Pool::B))];
        let_others_begin();
        try_once(Pool::A)();
        lcores.into_iter().for_each(|lcore| lcore.join().unwrap());
        assert_eq!(permits.0.held(), (0, 0));
    });
}
