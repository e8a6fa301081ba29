//! The lease: one holder at a time, and nothing that was polled before it
//! changed hands is overtaken by what the next holder polls.

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

use super::order::Forwarder;
use super::{explore, let_others_begin};
use crate::heartbeat::{Busy, Cost, Heartbeat};
use crate::lease::{Held, Lease};
use crate::order::Ticket;
use crate::runq::{RunQueue, Stealer};

/// A receive queue with packets of one flow, numbered from 1 in the order of
/// their arrival. Loom reports a poll that does not come after all earlier
/// ones.
struct RxQueue {
    lease: Lease,
    polled: UnsafeCell<u32>,
    forwarder: Arc<Forwarder>,
}

// SAFETY: the user of `polled` holds the lease; loom checks that this suffices.
unsafe impl Sync for RxQueue {}
// SAFETY: as above.
unsafe impl Send for RxQueue {}

impl RxQueue {
    fn new() -> Arc<Self> {
        let (lease, polled) = (Lease::new(), UnsafeCell::new(0));
        Arc::new(Self { lease, polled, forwarder: Forwarder::new(4) })
    }

    fn poll(&self, _held: &Held<'_>) -> u32 {
        // SAFETY: the caller holds the lease.
        self.polled.with_mut(|polled| unsafe {
            *polled += 1;
            *polled
        })
    }

    /// As an lcore that shares the queue: the packet gets its place, then the
    /// lease is released, then the packet is served.
    fn poll_and_share(&self) {
        let Some(held) = self.lease.try_acquire() else { return };
        let packet = self.poll(&held);
        let ticket = self.forwarder.enter();
        drop(held);
        self.forwarder.finish(ticket, packet);
    }

    /// As with a short burst: the packet is served and sent under the lease,
    /// without a place where nobody is ahead.
    fn poll_and_keep(&self) {
        let Some(held) = self.lease.try_acquire() else { return };
        let packet = self.poll(&held);
        self.forwarder.arrive(packet);
        drop(held);
    }

    /// As a saturated lcore: it holds the lease over several bursts, which it
    /// serves and sends at once, and gives the last one its place before it
    /// releases the lease.
    fn poll_and_hold(&self) {
        let Some(held) = self.lease.try_acquire() else { return };
        let packet = self.poll(&held);
        self.forwarder.arrive(packet);
        let packet = self.poll(&held);
        let ticket = self.forwarder.enter();
        drop(held);
        self.forwarder.finish(ticket, packet);
    }

    /// Checks that all that was polled was sent, in order.
    fn settle(&self) {
        assert!(!self.lease.is_held(), "nobody keeps the lease");
        // SAFETY: all others have ended.
        let polled = self.polled.with(|polled| unsafe { *polled });
        self.forwarder.assert_sent(&(1..=polled).collect::<Vec<_>>());
    }
}

fn lcore(
    rxq: &Arc<RxQueue>,
    job: impl FnOnce(&RxQueue) + Send + 'static,
) -> thread::JoinHandle<()> {
    let rxq = rxq.clone();
    thread::spawn(move || job(&rxq))
}

#[test]
fn a_lease_goes_from_hand_to_hand() {
    explore("lease", || {
        let rxq = RxQueue::new();
        let poll = |rxq: &RxQueue| {
            let held = rxq.lease.try_acquire();
            held.map_or(0, |held| rxq.poll(&held))
        };
        let others = [(); 2].map(|()| {
            lcore(&rxq, move |rxq| {
                poll(rxq);
                poll(rxq);
            })
        });
        let_others_begin();
        poll(&rxq);
        others.into_iter().for_each(|other| other.join().unwrap());
        let polled = poll(&rxq);
        assert!((2..=6).contains(&polled), "nobody keeps the lease, and all were tried for");
    });
}

#[test]
fn lcores_that_share_a_queue_send_in_order_of_their_polls() {
    explore("lease, shared", || {
        let rxq = RxQueue::new();
        let other = lcore(&rxq, |rxq| {
            rxq.poll_and_share();
            rxq.poll_and_share();
        });
        let_others_begin();
        rxq.poll_and_share();
        rxq.poll_and_share();
        other.join().unwrap();
        rxq.settle();
    });
}

#[test]
fn a_short_burst_needs_no_place_where_nobody_is_ahead() {
    explore("lease, short bursts", || {
        let rxq = RxQueue::new();
        let other = lcore(&rxq, |rxq| {
            rxq.poll_and_keep();
            rxq.poll_and_share();
        });
        let_others_begin();
        rxq.poll_and_share();
        rxq.poll_and_keep();
        other.join().unwrap();
        rxq.settle();
    });
}

#[test]
fn a_lease_held_over_bursts_is_released_behind_them() {
    explore("lease, held over bursts", || {
        let rxq = RxQueue::new();
        let other = lcore(&rxq, |rxq| {
            rxq.poll_and_share();
            rxq.poll_and_keep();
        });
        rxq.poll_and_hold();
        other.join().unwrap();
        rxq.settle();
    });
}

// ---- An lcore becomes busy ----

/// A packet that waits in the run queue, with its place.
type Waiting = Box<(Ticket, u32)>;

/// As an idle lcore that steals what waits, and sends it.
fn steal(stealer: &mut Stealer<Waiting>, forwarder: &Forwarder) -> usize {
    let mut loot: Vec<Waiting> = Vec::new();
    stealer.steal(2, &mut loot);
    let stolen = loot.len();
    loot.into_iter().for_each(|packet| forwarder.finish(packet.0, packet.1));
    stolen
}

#[test]
fn whoever_polls_for_a_busy_lcore_sees_what_it_left() {
    explore("lease of a busy lcore", || {
        let (rxq, heartbeat) = (RxQueue::new(), Arc::new(Heartbeat::new()));
        let mut run_queue = RunQueue::<Waiting>::new(2, 2);
        let held = rxq.lease.try_acquire().expect("nobody else is there yet");
        let rescuer = {
            let (heartbeat, mut stealer) = (heartbeat.clone(), run_queue.stealer());
            lcore(&rxq, move |rxq| {
                let Some(held) = rxq.lease.try_acquire() else { return };
                assert!(heartbeat.busy().is_some(), "it was busy before its lease was free");
                let stolen = steal(&mut stealer, &rxq.forwarder);
                assert_eq!(stolen, 1, "it left the rest of its burst before");
                let packet = rxq.poll(&held);
                rxq.forwarder.arrive(packet);
                drop(held);
            })
        };
        let_others_begin();
        // The first packet runs alone, the second one waits behind it.
        let alone = (rxq.forwarder.enter(), rxq.poll(&held));
        let mut left = vec![Box::new((rxq.forwarder.enter(), rxq.poll(&held)))];
        run_queue.push_burst(&mut left);
        heartbeat.begin(Busy { since_ticks: 5, flow_hash: 0, cost: Cost::Unknown });
        drop(held);
        rxq.forwarder.finish(alone.0, alone.1);
        rescuer.join().unwrap();
        heartbeat.end();
        let mut stealer = run_queue.stealer();
        steal(&mut stealer, &rxq.forwarder);
        rxq.settle();
    });
}
