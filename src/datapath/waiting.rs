//! An lcore's packets that wait where others can take them: a run queue of packets that grows in the way that was asked for.

use crate::cli::Grow;
use crate::dpdk::{Burst, Mbuf};
use crate::runq::{Append, Double, RunQueue, Stealer, Stolen};

/// Told apart per packet that waits, not per packet that is forwarded.
pub enum Waiting {
    Double(RunQueue<Mbuf, Double<Mbuf>>),
    Append(RunQueue<Mbuf, Append<Mbuf>>),
}

pub enum WaitingStealer {
    Double(Stealer<Mbuf, Double<Mbuf>>),
    Append(Stealer<Mbuf, Append<Mbuf>>),
}

/// The same call on whichever it is.
macro_rules! either {
    ($this:expr, $queue:ident => $call:expr) => {
        match $this {
            Self::Double($queue) => $call,
            Self::Append($queue) => $call,
        }
    };
}

impl Waiting {
    /// Room for `capacity` packets without allocation, and for at most `max`.
    pub fn new(grow: Grow, capacity: usize, max: usize) -> Self {
        match grow {
            Grow::Double => Self::Double(RunQueue::new(capacity, max)),
            Grow::Append => Self::Append(RunQueue::new(capacity, max)),
        }
    }

    /// A thief's end.
    pub fn stealer(&mut self) -> WaitingStealer {
        match self {
            Self::Double(queue) => WaitingStealer::Double(queue.stealer()),
            Self::Append(queue) => WaitingStealer::Append(queue.stealer()),
        }
    }

    #[inline]
    pub fn len(&self) -> usize {
        either!(self, queue => queue.len())
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        either!(self, queue => queue.is_empty())
    }

    /// How often the queue has grown.
    pub fn grown(&self) -> u64 {
        either!(self, queue => queue.grown())
    }

    /// Adds the newest packet; a full queue gives it back.
    pub fn push(&mut self, packet: Mbuf) -> Result<(), Mbuf> {
        either!(self, queue => queue.push(packet))
    }

    /// Moves packets from the front of the burst here, as many as there is room for.
    pub fn push_burst(&mut self, burst: &mut Burst) -> usize {
        either!(self, queue => queue.push_burst(burst))
    }

    /// The oldest packet.
    pub fn pop(&mut self) -> Option<Mbuf> {
        either!(self, queue => queue.pop())
    }
}

impl WaitingStealer {
    /// Moves up to half of what waits, and at most `limit` packets, to the end of the burst.
    pub fn steal(&mut self, limit: usize, into: &mut Burst) -> Stolen {
        either!(self, queue => queue.steal(limit, into))
    }
}
