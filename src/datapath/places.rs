//! How packets get their places in their flows. Only the holder of the receive
//! queue's lease may do this, until it gives the lease away. Knows no piles:
//! their owners call this for each packet.

use super::packet::{Outgoing, Pass};
use crate::dpdk::Mbuf;
use crate::engine::Flows;
use crate::order::{Bucket, Full, Order};

/// The order of all flows, and what identifies a flow.
#[derive(Clone, Copy)]
pub(super) struct Places<'a> {
    pub(super) order: &'a Order<Outgoing>,
    pub(super) flows: Flows,
}

impl Places<'_> {
    /// The bucket of a packet that came in by this receive queue.
    #[inline(always)]
    pub(super) fn bucket_of(&self, queue: u16, packet: &Mbuf) -> Bucket {
        self.order.bucket(usize::from(queue), self.flows.hash(packet))
    }

    /// The bucket of a packet without a ticket, which its pass remembers. An
    /// engine may have changed the packet meanwhile, but nothing that
    /// identifies its flow.
    #[inline]
    pub(super) fn bucket(&self, pass: &mut Pass, packet: &Mbuf) -> Option<Bucket> {
        match *pass {
            Pass::Unasked(queue) => {
                let bucket = self.bucket_of(queue, packet);
                *pass = Pass::Asked(bucket);
                Some(bucket)
            }
            Pass::Asked(bucket) => Some(bucket),
            Pass::Ticket(_) | Pass::Counted(_) => None,
        }
    }

    /// The place of the packet that arrived last in its bucket: a ticket; where
    /// no order is kept, a number.
    ///
    /// # Errors
    /// When all records of the queue are in use.
    #[inline(always)]
    pub(super) fn enter(&self, bucket: Bucket) -> Result<Pass, Full> {
        match self.order {
            Order::Keeping(keeping) => keeping.enter(bucket).map(Pass::Ticket),
            Order::Counting(counting) => Ok(Pass::Counted(counting.number(bucket, 1))),
        }
    }

    /// Gives the packet a place if it has none.
    ///
    /// # Errors
    /// As `enter`.
    #[inline]
    pub(super) fn keep(&self, pass: &mut Pass, packet: &Mbuf) -> Result<(), Full> {
        if let Some(bucket) = self.bucket(pass, packet) {
            *pass = self.enter(bucket)?;
        }
        Ok(())
    }

    /// As `keep`, if the packet is of that bucket.
    ///
    /// # Errors
    /// As `enter`.
    #[inline]
    pub(super) fn keep_in(
        &self,
        bucket: Bucket,
        pass: &mut Pass,
        packet: &Mbuf,
    ) -> Result<(), Full> {
        if self.bucket(pass, packet) == Some(bucket) {
            *pass = self.enter(bucket)?;
        }
        Ok(())
    }
}
