//! Random schedules: in whatever order stages end and drivers accept, the
//! packets of each bucket are sent in the order of arrival.

use proptest::prelude::*;

use super::*;

const QUEUES: usize = 2;
const BUCKETS: usize = 4;
const RECORDS: usize = 12;

/// A packet, known by its queue, its flow, and how many of its bucket arrived
/// before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Packet {
    queue: usize,
    flow_hash: u32,
    number: u32,
}

/// The next event. An index into a list of packets is taken modulo its length.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// A packet arrives; with `away` it leaves the lease's holder, and so needs
    /// a ticket in any case.
    Arrive { queue: usize, flow_hash: u32, away: bool },
    /// The stage of a packet ends.
    Finish(usize),
    /// A packet is dropped in its stage.
    Drop(usize),
    /// The driver accepts up to `pkts` of the packets offered to it; with
    /// `follow` their followers are offered along with them.
    Send { pkts: usize, follow: bool },
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        3 => (0..QUEUES, 0..2 * BUCKETS as u32, any::<bool>()).prop_map(|(queue, flow_hash, away)| Event::Arrive { queue, flow_hash, away }),
        2 => any::<usize>().prop_map(Event::Finish),
        1 => any::<usize>().prop_map(Event::Drop),
        2 => (1..4usize, any::<bool>()).prop_map(|(pkts, follow)| Event::Send { pkts, follow }),
    ];
    prop::collection::vec(event, 1..200)
}

/// The order, and the packets in their stages, offered to the driver, and sent.
struct World {
    order: Keeping<Packet>,
    arrived: [[u32; BUCKETS]; QUEUES],
    in_stage: Vec<(Ticket, Packet)>,
    offered: Vec<(Ticket, Packet)>,
    sent: Vec<Packet>,
    dropped: usize,
    late_pkts: usize,
}

impl World {
    fn new() -> Self {
        let order = Keeping::with_buckets(QUEUES, RECORDS, BUCKETS);
        let arrived = [[0; BUCKETS]; QUEUES];
        Self {
            order,
            arrived,
            in_stage: Vec::new(),
            offered: Vec::new(),
            sent: Vec::new(),
            dropped: 0,
            late_pkts: 0,
        }
    }

    fn arrive(&mut self, queue: usize, flow_hash: u32, away: bool) {
        let number = &mut self.arrived[queue][flow_hash as usize % BUCKETS];
        let packet = Packet { queue, flow_hash, number: *number };
        *number += 1;
        let bucket = self.order.bucket(queue, flow_hash);
        if !away && !self.order.in_flight(bucket) {
            return self.sent.push(packet);
        }
        match self.order.enter(bucket) {
            Ok(ticket) => self.in_stage.push((ticket, packet)),
            Err(Full) => self.dropped += 1,
        }
    }

    fn release(&mut self, ticket: Ticket) {
        self.offered.extend(self.order.release(ticket));
    }

    fn send(&mut self, pkts: usize, follow: bool) {
        for at in (0..self.offered.len()).rev() {
            if follow && let Some(next) = self.order.follower(self.offered[at].0, |_| true) {
                self.offered.insert(at + 1, next);
            }
        }
        for (ticket, packet) in
            self.offered.drain(..pkts.min(self.offered.len())).collect::<Vec<_>>()
        {
            self.late_pkts += usize::from(self.order.note_sent(ticket) > 0);
            self.sent.push(packet);
            self.release(ticket);
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Arrive { queue, flow_hash, away } => self.arrive(queue, flow_hash, away),
            Event::Finish(at) if !self.in_stage.is_empty() => {
                let (ticket, packet) = self.in_stage.swap_remove(at % self.in_stage.len());
                self.offered
                    .extend(self.order.finish(ticket, packet).map(|packet| (ticket, packet)));
            }
            Event::Drop(at) if !self.in_stage.is_empty() => {
                let (ticket, _) = self.in_stage.swap_remove(at % self.in_stage.len());
                self.dropped += 1;
                self.release(ticket);
            }
            Event::Send { pkts, follow } => self.send(pkts, follow),
            Event::Finish(_) | Event::Drop(_) => {}
        }
    }

    /// Ends all stages and sends everything.
    fn settle(&mut self) {
        while !self.in_stage.is_empty() || !self.offered.is_empty() {
            self.happen(Event::Finish(0));
            self.happen(Event::Send { pkts: 3, follow: false });
        }
    }
}

/// How many packets were sent after one of their bucket that had arrived later.
fn sent_late(sent: &[Packet]) -> usize {
    let mut newest = [[None; BUCKETS]; QUEUES];
    let is_late = |packet: &&Packet| {
        let newest = &mut newest[packet.queue][packet.flow_hash as usize % BUCKETS];
        let late = *newest > Some(packet.number);
        *newest = (*newest).max(Some(packet.number));
        late
    };
    sent.iter().filter(is_late).count()
}

proptest! {
    #![proptest_config(crate::cases())]

    #[test]
    fn each_flow_is_sent_in_the_order_of_arrival(events in events()) {
        let mut world = World::new();
        let arrivals = events.iter().filter(|event| matches!(event, Event::Arrive { .. })).count();
        events.into_iter().for_each(|event| world.happen(event));
        world.settle();
        prop_assert_eq!(sent_late(&world.sent), 0, "{:?}", world.sent);
        prop_assert_eq!(world.late_pkts, 0);
        prop_assert_eq!(world.sent.len() + world.dropped, arrivals, "nothing is lost");
        prop_assert!((0..QUEUES).all(|queue| world.order.is_idle(queue)));
    }

    #[test]
    fn late_packets_are_counted_where_no_order_is_kept(events in events()) {
        let order = Counting::with_buckets(QUEUES, BUCKETS);
        let mut arrived = [[0; BUCKETS]; QUEUES];
        let (mut numbered, mut sent, mut late_pkts) = (Vec::new(), Vec::new(), 0);
        let mut send = |pkts: Vec<(Number, Packet)>, sent: &mut Vec<Packet>| {
            for run in pkts.chunk_by(|(a, _), (b, _)| a.precedes(*b)) {
                let (mut late_here, pkts) = (0, run.len() as u64);
                let in_order = order.note_sent(run[0].0, pkts as u32, |late_by| late_here += u64::from(late_by > 0));
                assert_eq!(in_order + late_here, pkts);
                late_pkts += late_here as usize;
            }
            sent.extend(pkts.into_iter().map(|(_, packet)| packet));
        };
        for event in events {
            match event {
                Event::Arrive { queue, flow_hash, away } => {
                    let number = &mut arrived[queue][flow_hash as usize % BUCKETS];
                    let packet = Packet { queue, flow_hash, number: *number };
                    *number += 1;
                    let bucket = order.bucket(queue, flow_hash);
                    if away || order.in_flight(bucket) {
                        numbered.push((order.number(bucket, 1), packet));
                    } else {
                        sent.push(packet);
                    }
                }
                Event::Finish(at) if !numbered.is_empty() => {
                    let one = numbered.swap_remove(at % numbered.len());
                    send(vec![one], &mut sent);
                }
                Event::Drop(at) if !numbered.is_empty() => order.note_dropped(numbered.swap_remove(at % numbered.len()).0, 1),
                Event::Send { pkts, .. } => send(numbered.drain(..pkts.min(numbered.len())).collect(), &mut sent),
                Event::Finish(_) | Event::Drop(_) => {}
            }
        }
        send(numbered, &mut sent);
        prop_assert_eq!(late_pkts, sent_late(&sent));
        prop_assert!((0..QUEUES).all(|queue| order.is_idle(queue)));
    }
}

/// Numbers wrap after 2^32; near ones are still told apart.
#[test]
fn numbers_wrap() {
    let order = Counting::with_buckets(1, 1);
    let number = |sequence: u32| Number::from_bits(sequence.into());
    let late = |first: u32, pkts: u32| {
        let mut late = Vec::new();
        let in_order = order.note_sent(number(first), pkts, |late_by| late.push(late_by));
        (in_order, late)
    };
    [1 << 30, 1 << 31, 3 << 30, u32::MAX - 5]
        .iter()
        .for_each(|&first| assert_eq!(late(first, 1), (1, vec![])));
    assert_eq!(late(0, 1), (1, vec![]));
    assert_eq!(late(u32::MAX - 1, 2), (0, vec![2, 1]));
    assert_eq!(late(u32::MAX - 4, 2), (0, vec![5, 4]));
    assert_eq!(late(1, 3), (3, vec![]));
    assert_eq!(late(u32::MAX - 2, 1), (0, vec![6]));
    assert!(number(u32::MAX).precedes(number(0)) && !number(1).precedes(number(1)));
}

#[test]
fn no_more_tickets_than_records() {
    let order = Keeping::<u32>::with_buckets(1, 3, 4);
    let bucket = order.bucket(0, 7);
    let tickets = [(); 3].map(|()| order.enter(bucket).expect("one for each record"));
    assert_eq!(order.enter(bucket), Err(Full));
    assert_eq!(order.finish(tickets[1], 1), None, "parked behind the first");
    assert_eq!(order.release(tickets[2]), None, "dropped: the second one's release skips it");
    assert_eq!(order.finish(tickets[0], 0), Some(0));
    assert!(!order.is_idle(0));
    assert_eq!(order.release(tickets[0]), Some((tickets[1], 1)));
    assert_eq!(order.release(tickets[1]), None);
    assert!(order.is_idle(0) && !order.in_flight(bucket) && order.enter(bucket).is_ok());
}
