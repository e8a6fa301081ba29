//! The datapath's records about a packet, beside its bytes. Plain values: every
//! other file may use them, they use none.

use crate::dpdk::{Burst, Mbuf, StampField, TicketField};
use crate::engine::Verdict;
use crate::order::{Bucket, Number, Ticket};

/// The stage in which a packet ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Cheap,
    Expensive,
}

/// The port by which a packet came in, and when, in ticks: by its stamp, and by
/// the poll that brought it. Without stamps of its own both are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Arrival {
    pub port: u16,
    pub ticks: u64,
    pub polled_ticks: u64,
}

impl Arrival {
    /// In a poll that began at `now`, unless the packet says otherwise.
    #[inline(always)]
    pub(super) fn polled(port: u16, now: u64) -> Self {
        Self { port, ticks: now, polled_ticks: now }
    }
}

/// Where the arrival of a pile's packets is found.
#[derive(Clone, Copy)]
pub(super) enum Origin {
    /// One poll brought them all.
    Poll(Arrival),
    /// Each packet carries its own.
    Packet,
}

/// Where packets carry their arrival and their place in their flow once they
/// have left their burst.
#[derive(Clone, Copy, Debug)]
pub(super) struct Marks {
    pub stamp: StampField,
    pub polled: Option<StampField>,
    pub ticket: TicketField,
    /// Packets bring a stamp of their arrival.
    pub stamped: bool,
}

impl Marks {
    /// As it was written on the packet.
    #[inline]
    pub(super) fn arrival(self, packet: &Mbuf) -> Arrival {
        let ticks = self.stamp.read(packet);
        let polled = self.polled.filter(|_| self.stamped);
        Arrival {
            port: packet.port(),
            ticks,
            polled_ticks: polled.map_or(ticks, |polled| polled.read(packet)),
        }
    }

    #[inline(always)]
    pub(super) fn arrival_by(self, origin: Origin, packet: &Mbuf) -> Arrival {
        match origin {
            Origin::Poll(arrival) => self.refine(arrival, packet),
            Origin::Packet => self.arrival(packet),
        }
    }

    /// A burst's arrival, with the packet's own stamp where it brings one.
    #[inline(always)]
    pub(super) fn refine(self, arrival: Arrival, packet: &Mbuf) -> Arrival {
        if self.stamped { Arrival { ticks: self.stamp.read(packet), ..arrival } } else { arrival }
    }

    #[inline(always)]
    pub(super) fn write_arrival(self, arrival: Arrival, packet: &mut Mbuf) {
        packet.set_port(arrival.port);
        self.stamp.write(packet, arrival.ticks);
        if let Some(polled) = self.polled {
            polled.write(packet, arrival.polled_ticks);
        }
    }

    /// The packet leaves its burst: it carries what its burst knew of it.
    #[inline(always)]
    pub(super) fn detach(self, arrival: Arrival, packet: &mut Mbuf) {
        self.write_arrival(self.refine(arrival, packet), packet);
    }

    /// When the first packet of a burst arrived, 0 of none; each carries its
    /// arrival.
    pub(super) fn oldest(self, burst: &Burst) -> u64 {
        burst.packets().first().map_or(0, |packet| self.stamp.read(packet))
    }

    /// The place of a packet that others may hold.
    #[inline]
    pub(super) fn pass(self, packet: &Mbuf) -> Pass {
        Pass::of(packet, self.ticket)
    }
}

/// A packet's place in its flow, as far as that has been asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pass {
    /// It needs none so far. It came by this receive queue.
    Unasked(u16),
    /// As above, and its flow is in this bucket.
    Asked(Bucket),
    /// It keeps its place wherever it is.
    Ticket(Ticket),
    /// It is counted by this number, where no order is kept.
    Counted(Number),
}

impl Pass {
    /// As it is written on a packet that others may hold.
    #[inline]
    pub(super) fn of(packet: &Mbuf, field: TicketField) -> Self {
        let bits = field.read(packet);
        if field.is_number() {
            Self::Counted(Number::from_bits(bits))
        } else {
            Self::Ticket(Ticket::from_bits(bits))
        }
    }

    #[inline]
    pub(super) fn write_on(self, packet: &mut Mbuf, field: TicketField) {
        match self {
            Self::Ticket(ticket) => field.write(packet, ticket.to_bits()),
            Self::Counted(number) => field.write(packet, number.to_bits()),
            Self::Unasked(_) | Self::Asked(_) => {
                debug_assert!(false, "a packet that others may hold has a place")
            }
        }
    }

    /// Whether it goes along with the packet from now on.
    #[inline(always)]
    pub(super) fn is_final(self) -> bool {
        matches!(self, Self::Ticket(_) | Self::Counted(_))
    }

    /// Whether both are counted, and no other number is between theirs.
    #[inline(always)]
    pub(super) fn precedes(self, next: Self) -> bool {
        matches!((self, next), (Self::Counted(a), Self::Counted(b)) if a.precedes(b))
    }
}

/// A packet that runs to its end before anything behind it is served.
pub(super) struct Alone {
    pub packet: Mbuf,
    /// Its cost is not known: the cheap stage runs. Otherwise the expensive
    /// one.
    pub unknown: bool,
}

impl Alone {
    #[inline(always)]
    pub(super) fn stage(&self) -> Stage {
        if self.unknown { Stage::Cheap } else { Stage::Expensive }
    }
}

/// Dequeued packets that follow each other and have one verdict, by their
/// numbers and stamps.
pub(super) struct Run<'s> {
    pub verdict: Verdict,
    pub numbers: &'s [Number],
    pub stamps: &'s [u64],
}

/// A packet between its stage and its driver: it waits for its turn in its
/// flow, or for the driver to accept it.
pub struct Outgoing {
    pub(super) packet: Mbuf,
    pub(super) port: u16,
    pub(super) pass: Pass,
    pub(super) times: Times,
}

/// The terms of a packet's latency, once the driver has accepted it.
#[derive(Clone, Copy)]
pub(super) struct Times {
    /// Its arrival.
    pub stamp: u64,
    /// When its stage ended, or later its turn came; 0 if that was not
    /// measured.
    pub served_ticks: u64,
    pub stage: Stage,
    pub unseen: Unseen,
}

/// How much longer than its stamp says a packet may have waited, if that was
/// measured. In units of 256 ticks, rounded up: so it fits beside the stage
/// where packets wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unseen(u32);

impl Unseen {
    pub(super) const UNKNOWN: Self = Self(0);
    const TICKS: u64 = 256;

    pub(super) fn of(ticks: u64) -> Self {
        Self(u32::try_from(ticks.div_ceil(Self::TICKS)).unwrap_or(u32::MAX))
    }

    /// `None` if it was not measured.
    #[inline]
    pub(super) fn ticks(self) -> Option<u64> {
        (self != Self::UNKNOWN).then(|| u64::from(self.0) * Self::TICKS)
    }
}

/// Packets that a driver accepted together, until the next reading of the clock
/// tells how long they took.
#[derive(Clone, Copy)]
pub(super) struct Accepted {
    pub times: Times,
    pub pkts: u64,
}

impl Accepted {
    /// Of packets with these stamps, each run of one stamp together.
    #[inline]
    pub(super) fn runs(stamps: &[u64], times: Times) -> impl Iterator<Item = Self> {
        stamps.chunk_by(|a, b| a == b).map(move |run| Self {
            times: Times { stamp: run[0], ..times },
            pkts: run.len() as u64,
        })
    }
}
