//! The lease and the heartbeat: one holder at a time, and no stage's time with
//! another one's flow.

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

use super::explore;
use crate::heartbeat::{Busy, Heartbeat};
use crate::lease::Lease;

/// A lease and what it guards.
struct Guarded {
    lease: Lease,
    polls: UnsafeCell<u32>,
}

// SAFETY: whoever uses `polls` holds the lease; that this suffices is what loom
// checks.
unsafe impl Sync for Guarded {}

impl Guarded {
    /// Polls once if the lease is to be had. Returns how often it was.
    fn try_poll(&self) -> u32 {
        let Some(_held) = self.lease.try_take() else { return 0 };
        // SAFETY: we hold the lease.
        self.polls.with_mut(|polls| unsafe { *polls += 1 });
        1
    }
}

#[test]
fn a_lease_goes_from_hand_to_hand() {
    explore("lease", || {
        let guarded = Arc::new(Guarded { lease: Lease::new(), polls: UnsafeCell::new(0) });
        let rescuers: Vec<_> = (0..2)
            .map(|_| {
                let guarded = guarded.clone();
                thread::spawn(move || guarded.try_poll() + guarded.try_poll())
            })
            .collect();
        let mut polled = guarded.try_poll();
        polled += guarded.try_poll();
        for rescuer in rescuers {
            polled += rescuer.join().unwrap();
        }
        assert_eq!(guarded.try_poll(), 1, "nobody keeps the lease");
        // SAFETY: we are the only one left.
        assert_eq!(guarded.polls.with(|polls| unsafe { *polls }), polled + 1);
    });
}

#[test]
fn a_heartbeat_is_seen_whole() {
    explore("heartbeat", || {
        let busy = |number: u32| Busy {
            since_ticks: u64::from(number),
            flow_hash: 10 * number,
            stage: 100 * number,
        };
        let heartbeat = Arc::new(Heartbeat::new());
        let lcore = thread::spawn({
            let heartbeat = heartbeat.clone();
            move || {
                for number in 1..4 {
                    heartbeat.begin(busy(number));
                    heartbeat.end();
                }
            }
        });
        for _ in 0..2 {
            if let Some(seen) = heartbeat.busy() {
                assert_eq!(seen, busy(seen.since_ticks as u32));
            }
        }
        lcore.join().unwrap();
        assert_eq!((heartbeat.busy(), heartbeat.stuck_ticks(9)), (None, None));
    });
}
