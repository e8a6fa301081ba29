//! Packets of one flow whose stages end on several lcores while more arrive: they
//! reach the wire one at a time and in order.

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

use super::{explore, let_others_begin};
use crate::order::{Full, Keeping, Ticket};

/// Where a flow is sent: loom reports a write that does not come after all
/// earlier ones.
struct Wire(UnsafeCell<Vec<u32>>);

// SAFETY: only the lcore whose packet's turn it is writes; loom checks that this
// suffices.
unsafe impl Sync for Wire {}
// SAFETY: as above.
unsafe impl Send for Wire {}

pub(super) struct Forwarder {
    order: Keeping<u32>,
    wire: Wire,
}

impl Forwarder {
    pub(super) fn new(records: usize) -> Arc<Self> {
        Arc::new(Self {
            order: Keeping::with_buckets(1, records, 1),
            wire: Wire(UnsafeCell::new(Vec::new())),
        })
    }

    fn put_on_wire(&self, packet: u32) {
        // SAFETY: the order lets one packet of the flow go at a time.
        self.wire.0.with_mut(|wire| unsafe { (*wire).push(packet) });
    }

    /// Sends a packet, and all that its release returns.
    fn send(&self, ticket: Ticket, packet: u32) {
        let mut next = Some((ticket, packet));
        while let Some((ticket, packet)) = next {
            self.put_on_wire(packet);
            assert_eq!(self.order.note_sent(ticket), 0, "nobody is late");
            next = self.order.release(ticket);
        }
    }

    pub(super) fn finish(&self, ticket: Ticket, packet: u32) {
        if let Some(packet) = self.order.finish(ticket, packet) {
            self.send(ticket, packet);
        }
    }

    /// A cheap packet arrives, at the holder of the lease.
    pub(super) fn arrive(&self, packet: u32) {
        let bucket = self.order.bucket(0, 0);
        if !self.order.in_flight(bucket) {
            return self.put_on_wire(packet);
        }
        match self.order.enter(bucket) {
            Ok(ticket) => self.finish(ticket, packet),
            Err(Full) => {}
        }
    }

    pub(super) fn enter(&self) -> Ticket {
        self.order.enter(self.order.bucket(0, 0)).expect("a record is left")
    }

    #[track_caller]
    pub(super) fn assert_sent(&self, sent: &[u32]) {
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
        let_others_begin();
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
            if let Some((ticket, packet)) = own.order.release(second) {
                own.send(ticket, packet);
            }
        });
        let_others_begin();
        forwarder.finish(third, 3);
        [finishes, drops].into_iter().for_each(|lcore| lcore.join().unwrap());
        forwarder.assert_sent(&[1, 3]);
    });
}

#[test]
fn a_record_is_reused_while_its_flow_goes_on() {
    explore("record used again", || {
        let forwarder = Forwarder::new(2);
        let first = forwarder.enter();
        let finishes = lcore(&forwarder, move |own| own.finish(first, 1));
        let second = forwarder.enter();
        let drops_or_sends = lcore(&forwarder, move |own| own.finish(second, 2));
        let_others_begin();
        // Three more, in the two records if those are free by then; else they
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
fn a_follower_is_sent_behind_its_predecessor() {
    explore("followers", || {
        let forwarder = Forwarder::new(2);
        let (first, second) = (forwarder.enter(), forwarder.enter());
        let finishes = lcore(&forwarder, move |own| own.finish(second, 2));
        let_others_begin();
        if let Some(packet) = forwarder.order.finish(first, 1) {
            let follower = forwarder.order.follower(first, |_| true);
            forwarder.send(first, packet);
            follower.into_iter().for_each(|(ticket, packet)| forwarder.send(ticket, packet));
        }
        finishes.join().unwrap();
        forwarder.assert_sent(&[1, 2]);
    });
}
