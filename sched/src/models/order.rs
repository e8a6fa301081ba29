//! Packets of a flow whose stages end on several lcores, while more arrive:
//! they reach the wire one at a time and in order.

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

use super::explore;
use crate::order::{Full, Order, Ticket};

/// What a flow is sent by: who writes without having seen all that was written
/// before is caught by loom.
struct Wire(UnsafeCell<Vec<u32>>);

// SAFETY: only who may send writes; that this suffices is what loom checks.
unsafe impl Sync for Wire {}
// SAFETY: as above.
unsafe impl Send for Wire {}

struct Forwarder {
    order: Order<u32>,
    wire: Wire,
}

impl Forwarder {
    fn new(records: usize) -> Arc<Self> {
        Arc::new(Self {
            order: Order::with_buckets(1, records, 1, true),
            wire: Wire(UnsafeCell::new(Vec::new())),
        })
    }

    fn put_on_wire(&self, packet: u32) {
        // SAFETY: the order lets one packet of the flow go at a time.
        self.wire.0.with_mut(|wire| unsafe { (*wire).push(packet) });
    }

    /// Sends a packet and all that this makes ready.
    fn send(&self, ticket: Ticket, packet: u32) {
        let mut next = Some((ticket, packet));
        while let Some((ticket, packet)) = next {
            self.put_on_wire(packet);
            assert_eq!(self.order.count_sent(ticket), 0, "nobody is late");
            next = self.order.leave(ticket);
        }
    }

    fn finish(&self, ticket: Ticket, packet: u32) {
        if let Some(packet) = self.order.finish(ticket, packet) {
            self.send(ticket, packet);
        }
    }

    /// As the holder of the lease: a packet arrives, and is cheap.
    fn arrive(&self, packet: u32) {
        let bucket = self.order.bucket(0, 0);
        if !self.order.is_ahead(bucket) {
            return self.put_on_wire(packet);
        }
        match self.order.enter(bucket) {
            Ok(ticket) => self.finish(ticket, packet),
            Err(Full) => {}
        }
    }

    fn enter(&self) -> Ticket {
        self.order.enter(self.order.bucket(0, 0)).expect("a record is left")
    }

    #[track_caller]
    fn assert_sent(&self, sent: &[u32]) {
        // SAFETY: all others have ended.
        self.wire.0.with(|wire| unsafe { assert_eq!(*wire, sent) });
        assert!(self.order.is_idle(0));
    }
}

fn lcore(
    forwarder: &Arc<Forwarder>,
    job: impl FnOnce(&Forwarder) + Send + 'static,
) -> thread::JoinHandle<()> {
    let forwarder = forwarder.clone();
    thread::spawn(move || job(&forwarder))
}

#[test]
fn two_lcores_finish_while_another_packet_arrives() {
    explore("two finish, one arrives", || {
        let forwarder = Forwarder::new(3);
        let (first, second) = (forwarder.enter(), forwarder.enter());
        let lcores = [
            lcore(&forwarder, move |own| own.finish(first, 1)),
            lcore(&forwarder, move |own| own.finish(second, 2)),
        ];
        forwarder.arrive(3);
        lcores.into_iter().for_each(|lcore| lcore.join().unwrap());
        forwarder.assert_sent(&[1, 2, 3]);
    });
}

#[test]
fn one_is_dropped_while_its_neighbours_finish() {
    explore("one dropped", || {
        let forwarder = Forwarder::new(3);
        let [first, second, third] = [(); 3].map(|()| forwarder.enter());
        let finishes = lcore(&forwarder, move |own| own.finish(first, 1));
        let drops = lcore(&forwarder, move |own| {
            if let Some((ticket, packet)) = own.order.leave(second) {
                own.send(ticket, packet);
            }
        });
        forwarder.finish(third, 3);
        [finishes, drops].into_iter().for_each(|lcore| lcore.join().unwrap());
        forwarder.assert_sent(&[1, 3]);
    });
}

#[test]
fn a_record_is_used_again_while_its_flow_goes_on() {
    explore("record used again", || {
        let forwarder = Forwarder::new(2);
        let first = forwarder.enter();
        let finishes = lcore(&forwarder, move |own| own.finish(first, 1));
        let second = forwarder.enter();
        let drops_or_sends = lcore(&forwarder, move |own| own.finish(second, 2));
        // Three more, on the two records if those are free by then; else they
        // are dropped.
        (3..6).for_each(|packet| forwarder.arrive(packet));
        [finishes, drops_or_sends].into_iter().for_each(|lcore| lcore.join().unwrap());
        // SAFETY: all others have ended.
        forwarder.wire.0.with(|wire| unsafe {
            assert!((*wire).is_sorted() && (&*wire)[..2] == [1, 2], "{:?}", *wire)
        });
        assert!(forwarder.order.is_idle(0));
    });
}

#[test]
fn followers_go_behind_the_packet_that_they_follow() {
    explore("followers", || {
        let forwarder = Forwarder::new(2);
        let (first, second) = (forwarder.enter(), forwarder.enter());
        let finishes = lcore(&forwarder, move |own| own.finish(second, 2));
        if let Some(packet) = forwarder.order.finish(first, 1) {
            let follower = forwarder.order.follower(first, |_| true);
            forwarder.send(first, packet);
            follower.into_iter().for_each(|(ticket, packet)| forwarder.send(ticket, packet));
        }
        finishes.join().unwrap();
        forwarder.assert_sent(&[1, 2]);
    });
}
