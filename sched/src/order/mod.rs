//! Per-flow order for packets that are deferred, stolen or rescued: each leaves
//! after all packets of its flow that arrived before it. Stages run in any
//! order; only sending is ordered, and only within a flow.
//!
//! The holder of a receive queue's lease defines the order of arrival by its
//! polls. Packets that it serves and sends itself before it gives the lease up
//! need nothing. A packet that leaves its hands gets a [`Ticket`], and so does
//! each later packet of that flow until the ticket is released.
//!
//! A ticket names a record in its flow's list, linked as waiters are in an MCS
//! lock (Mellor-Crummey and Scott, ACM TOCS 9(1), 1991), but no lcore waits. A
//! packet whose predecessor is in flight is parked in its record; the lcore
//! that releases the predecessor gets the parked packet and sends it too.
//!
//! Flows are told apart by a hash, in [`BUCKETS`] buckets per receive queue.
//! Flows of one bucket are ordered among each other.
//!
//! All memory is allocated at the start. Each queue has a fixed number of
//! records; [`Keeping::enter`] fails when all are in use. There is no timer,
//! and no lock is ever contended.
//!
//! Where order is not kept, [`Counting`] numbers the packets instead and counts
//! those that are sent late.
//!
//! ```
//! use micropools::order::Keeping;
//!
//! let order = Keeping::new(1, 64);
//! // Two packets of one flow arrive, and both leave the hands of the lease's
//! // holder: the first one for a worker.
//! let bucket = order.bucket(0, 0x5eed);
//! let first = order.enter(bucket)?;
//! let second = order.enter(bucket)?;
//!
//! // The second one is ready first: it is parked.
//! assert_eq!(order.finish(second, "second"), None);
//! // The first one may be sent. Its release hands over the parked one.
//! assert_eq!(order.finish(first, "first"), Some("first"));
//! assert_eq!(order.release(first), Some((second, "second")));
//! assert_eq!(order.release(second), None);
//! assert!(order.is_idle(0));
//! # Ok::<(), micropools::order::Full>(())
//! ```

#![forbid(unsafe_code)]

mod bucket;
mod counting;
mod keeping;
mod record;
mod table;
#[cfg(all(test, not(loom)))]
mod tests;

pub use bucket::{BUCKETS, Bucket};
pub use counting::{Counting, Number};
pub use keeping::{Full, Keeping, Ticket};

/// The order of the packets `T` of some receive queues: kept, or only watched.
/// Chosen once per run.
pub enum Order<T> {
    /// Packets are sent in order.
    Keeping(Keeping<T>),
    /// Packets are sent when they are ready.
    Counting(Counting),
}

impl<T> Order<T> {
    /// The bucket of a packet that came in by `queue`, counted from 0.
    #[inline(always)]
    pub fn bucket(&self, queue: usize, flow_hash: u32) -> Bucket {
        match self {
            Self::Keeping(keeping) => keeping.bucket(queue, flow_hash),
            Self::Counting(counting) => counting.bucket(queue, flow_hash),
        }
    }

    /// Whether no packet of the queue is in flight, that is, has a ticket or a
    /// number. Caller must hold the queue's lease.
    #[inline(always)]
    pub fn is_idle(&self, queue: usize) -> bool {
        match self {
            Self::Keeping(keeping) => keeping.is_idle(queue),
            Self::Counting(counting) => counting.is_idle(queue),
        }
    }

    /// Whether a packet of the bucket is in flight: then the next one needs a
    /// ticket or a number too. True may become false at any moment. Caller must
    /// hold the queue's lease.
    #[inline]
    pub fn in_flight(&self, bucket: Bucket) -> bool {
        match self {
            Self::Keeping(keeping) => keeping.in_flight(bucket),
            Self::Counting(counting) => counting.in_flight(bucket),
        }
    }

    /// The variant that gives tickets.
    ///
    /// # Panics
    /// When packets are only counted: there are no tickets then.
    #[inline(always)]
    pub fn keeping(&self) -> &Keeping<T> {
        match self {
            Self::Keeping(keeping) => keeping,
            Self::Counting(_) => unreachable!("a ticket exists only where order is kept"),
        }
    }

    /// The variant that gives numbers.
    ///
    /// # Panics
    /// When order is kept: there are no numbers then.
    #[inline(always)]
    pub fn counting(&self) -> &Counting {
        match self {
            Self::Keeping(_) => unreachable!("a number exists only where no order is kept"),
            Self::Counting(counting) => counting,
        }
    }
}
