//! An lcore's packets that wait where others can take them: a run queue of
//! packets that grows in the way that was asked for.

use crate::cli::Grow;
use crate::dpdk::{Burst, Mbuf};
use crate::runq::{Append, Double, RunQueue, Stealer, Stolen};

/// Packets that an lcore keeps for later. Every step asks whether anything
/// waits, so that most often the answer is near at hand.
pub struct PacketQueue {
    queue: Queue,
    /// No fewer than wait: thieves may have taken some.
    at_most: usize,
}

/// Told apart per packet that waits, not per packet that is forwarded.
enum Queue {
    Double(RunQueue<Mbuf, Double<Mbuf>>),
    Append(RunQueue<Mbuf, Append<Mbuf>>),
}

pub enum PacketStealer {
    Double(Stealer<Mbuf, Double<Mbuf>>),
    Append(Stealer<Mbuf, Append<Mbuf>>),
}

/// The same call on whichever it is.
macro_rules! either {
    ($this:expr, $queue:ident => $call:expr) => {
        match $this {
            Queue::Double($queue) => $call,
            Queue::Append($queue) => $call,
        }
    };
}

impl PacketQueue {
    /// Room for `capacity` packets without allocation, and for at most `max`.
    pub fn new(grow: Grow, capacity: usize, max: usize) -> Self {
        let queue = match grow {
            Grow::Double => Queue::Double(RunQueue::new(capacity, max)),
            Grow::Append => Queue::Append(RunQueue::new(capacity, max)),
        };
        Self { queue, at_most: 0 }
    }

    /// A thief's end.
    pub fn stealer(&mut self) -> PacketStealer {
        match &mut self.queue {
            Queue::Double(queue) => PacketStealer::Double(queue.stealer()),
            Queue::Append(queue) => PacketStealer::Append(queue.stealer()),
        }
    }

    /// How many packets wait. Thieves may take some at any moment.
    #[inline(always)]
    pub fn len(&mut self) -> usize {
        if self.at_most == 0 { 0 } else { self.count() }
    }

    #[inline(never)]
    fn count(&mut self) -> usize {
        self.at_most = either!(&self.queue, queue => queue.len());
        self.at_most
    }

    #[inline(always)]
    pub fn is_empty(&mut self) -> bool {
        self.len() == 0
    }

    /// How often the queue has grown.
    pub fn grown(&self) -> u64 {
        either!(&self.queue, queue => queue.grown())
    }

    /// Adds the newest packet; a full queue gives it back.
    pub fn push(&mut self, packet: Mbuf) -> Result<(), Mbuf> {
        let pushed = either!(&mut self.queue, queue => queue.push(packet));
        self.at_most += usize::from(pushed.is_ok());
        pushed
    }

    /// Moves packets from the front of the burst here, as many as there is room
    /// for.
    pub fn push_burst(&mut self, burst: &mut Burst) {
        self.at_most += either!(&mut self.queue, queue => queue.push_burst(burst));
    }

    /// The oldest packet.
    pub fn pop(&mut self) -> Option<Mbuf> {
        let packet = either!(&mut self.queue, queue => queue.pop());
        self.at_most = if packet.is_some() { self.at_most - 1 } else { 0 };
        packet
    }
}

impl PacketStealer {
    /// Moves up to half of what waits, and at most `limit` packets, to the end
    /// of the burst.
    pub fn steal(&mut self, limit: usize, into: &mut Burst) -> Stolen {
        match self {
            Self::Double(queue) => queue.steal(limit, into),
            Self::Append(queue) => queue.steal(limit, into),
        }
    }
}
