//! A stage per port, which is filled while a burst is served and flushed at its
//! end.

use super::packet::Pass;
use super::places::Places;
use crate::dpdk::{BURST_MAX, Burst, Drain, MAX_PORTS, Mbuf, TxQueue};
use crate::order::{Bucket, Full, Number};
use crate::stats::{Counter, LcoreStats, PortQueue};

/// A bit of a word stands for each port.
const _: () = assert!(MAX_PORTS <= u64::BITS as usize);

/// One port's way out.
struct Outlet<'a> {
    txq: TxQueue,
    /// Counts what the driver accepts.
    sent_pkts: &'a Counter,
    staged: Burst,
    /// By place in `staged`: the packet's arrival, and its place in its flow.
    stamps: Box<[u64; BURST_MAX]>,
    passes: Box<[Pass; BURST_MAX]>,
}

pub(super) struct Outlets<'a> {
    outlets: Vec<Outlet<'a>>,
    /// By port: its place in `outlets`.
    by_port: [u8; MAX_PORTS],
    /// A bit per outlet that has something staged.
    staged: u64,
    /// A bit per outlet where something staged has a place in its flow to
    /// release.
    ticketed: u64,
}

impl<'a> Outlets<'a> {
    pub(super) fn new(queues: Vec<TxQueue>, stats: &'a LcoreStats) -> Self {
        let mut by_port = [u8::MAX; MAX_PORTS];
        for (at, txq) in queues.iter().enumerate() {
            by_port[usize::from(txq.port())] = at as u8;
        }
        let outlet = |(txq, sent): (TxQueue, &'a PortQueue)| Outlet {
            txq,
            sent_pkts: &sent.pkts,
            staged: Burst::new(),
            stamps: Box::new([0; BURST_MAX]),
            passes: Box::new([Pass::Unasked(0); BURST_MAX]),
        };
        Self {
            outlets: queues.into_iter().zip(&stats.tx).map(outlet).collect(),
            by_port,
            staged: 0,
            ticketed: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.outlets.len()
    }

    /// The place of a port's outlet.
    #[inline(always)]
    pub(super) fn at(&self, port: u16) -> usize {
        usize::from(self.by_port[usize::from(port) % MAX_PORTS])
    }

    pub(super) fn port(&self, at: usize) -> u16 {
        self.outlets[at].txq.port()
    }

    /// Whether the link was up when it was seen last. That of a lost port is
    /// not.
    #[inline]
    pub(super) fn link_is_up(&self, at: usize) -> bool {
        self.outlets[at].txq.link_is_up()
    }

    /// Packets that the driver has accepted since the run began.
    #[inline]
    pub(super) fn sent_pkts(&self, at: usize) -> u64 {
        self.outlets[at].sent_pkts.get()
    }

    /// Gives up the transmit queue if its port is lost. Returns whether it is.
    #[cold]
    pub(super) fn give_up_if_lost(&mut self, at: usize) -> bool {
        let txq = &mut self.outlets[at].txq;
        let is_lost = txq.is_lost();
        if is_lost {
            txq.give_up();
        }
        is_lost
    }

    // ---- Without staging ----

    /// Offers the driver a burst. Returns how many packets it has accepted; the
    /// rest stays in the burst.
    #[inline(always)]
    pub(super) fn send(&mut self, at: usize, burst: &mut Burst) -> usize {
        let outlet = &mut self.outlets[at];
        let sent = outlet.txq.send(burst);
        outlet.sent_pkts.add(sent as u64);
        sent
    }

    /// As `send`, the next so many packets.
    #[inline]
    pub(super) fn send_next(&mut self, at: usize, packets: &mut Drain<'_>, pkts: usize) -> usize {
        let outlet = &mut self.outlets[at];
        let sent = outlet.txq.send_next(packets, pkts);
        outlet.sent_pkts.add(sent as u64);
        sent
    }

    // ---- Staging ----

    /// A bit per outlet that has something staged.
    #[inline(always)]
    pub(super) fn staged(&self) -> u64 {
        self.staged
    }

    #[inline(always)]
    pub(super) fn stage(&mut self, port: u16, packet: Mbuf, pass: Pass, stamp: u64) {
        let at = self.at(port);
        let outlet = &mut self.outlets[at];
        let place = outlet.staged.len();
        outlet.staged.push(packet);
        outlet.stamps[place] = stamp;
        outlet.passes[place] = pass;
        self.staged |= 1 << at;
        self.ticketed |= u64::from(pass.is_final()) << at;
    }

    /// Stages the next of `packets`, one for each number.
    #[inline]
    pub(super) fn stage_run(
        &mut self,
        at: usize,
        packets: &mut Drain<'_>,
        numbers: &[Number],
        stamps: &[u64],
    ) {
        let outlet = &mut self.outlets[at];
        let places = outlet.staged.len()..outlet.staged.len() + stamps.len();
        packets.move_to(&mut outlet.staged, stamps.len());
        outlet.stamps[places.clone()].copy_from_slice(stamps);
        let passes = outlet.passes[places].iter_mut().zip(numbers);
        passes.for_each(|(pass, &number)| *pass = Pass::Counted(number));
        self.staged |= 1 << at;
        self.ticketed |= 1 << at;
    }

    /// Stages a packet of the backlog, only to be sent at once: `flush` does
    /// not see it.
    pub(super) fn hand_over(&mut self, at: usize, packet: Mbuf, pass: Pass) {
        let outlet = &mut self.outlets[at];
        outlet.passes[outlet.staged.len()] = pass;
        outlet.staged.push(packet);
    }

    // ---- Flushing ----

    /// The next outlet that has something staged, which is to be sent.
    #[inline(always)]
    pub(super) fn next_staged(&mut self) -> Option<usize> {
        if self.staged == 0 {
            return None;
        }
        let at = self.staged.trailing_zeros() as usize;
        self.staged &= self.staged - 1;
        Some(at)
    }

    /// Offers the driver what is staged. Returns how many packets it has
    /// accepted; the rest stays on the stage, at its front.
    #[inline(always)]
    pub(super) fn send_staged(&mut self, at: usize) -> usize {
        let outlet = &mut self.outlets[at];
        let sent = outlet.txq.send(&mut outlet.staged);
        outlet.sent_pkts.add(sent as u64);
        sent
    }

    #[inline(always)]
    pub(super) fn staged_pkts(&self, at: usize) -> usize {
        self.outlets[at].staged.len()
    }

    /// The arrivals of what was staged, in this order.
    #[inline(always)]
    pub(super) fn stamps(&self, at: usize) -> &[u64] {
        &*self.outlets[at].stamps
    }

    /// The places in their flows of what was staged, in this order.
    #[inline(always)]
    pub(super) fn passes(&self, at: usize) -> &[Pass] {
        &*self.outlets[at].passes
    }

    /// Drains the packets that the driver refused, behind the first `sent`:
    /// each with its place in its flow and its arrival.
    pub(super) fn drain_staged(
        &mut self,
        at: usize,
        sent: usize,
    ) -> impl Iterator<Item = (Mbuf, Pass, u64)> {
        let Outlet { staged, stamps, passes, .. } = &mut self.outlets[at];
        let places = passes[sent..].iter().zip(&stamps[sent..]);
        staged.drain().zip(places).map(|(packet, (&pass, &stamp))| (packet, pass, stamp))
    }

    /// The last packet that the driver refused, its place on the stage, and in
    /// its flow. The first `sent` packets were accepted.
    pub(super) fn take_back(&mut self, at: usize, sent: usize) -> Option<(usize, Mbuf, Pass)> {
        let outlet = &mut self.outlets[at];
        let packet = outlet.staged.pop()?;
        let place = sent + outlet.staged.len();
        Some((place, packet, outlet.passes[place]))
    }

    /// Frees what is staged. Returns how many packets.
    pub(super) fn free_staged(&mut self, at: usize) -> usize {
        self.outlets[at].staged.free()
    }

    // ---- Places ----

    /// Whether something that was staged has a place to release.
    #[inline(always)]
    pub(super) fn is_ticketed(&self, at: usize) -> bool {
        self.ticketed >> at & 1 == 1
    }

    /// All places of what was staged are released.
    pub(super) fn forget_tickets(&mut self, at: usize) {
        self.ticketed &= !(1 << at);
    }

    /// Staged packets of that bucket get places.
    ///
    /// # Errors
    /// When there is no place left.
    pub(super) fn keep_places_in(
        &mut self,
        at: usize,
        bucket: Bucket,
        places: Places<'a>,
    ) -> Result<(), Full> {
        let outlet = &mut self.outlets[at];
        for (pass, packet) in outlet.passes.iter_mut().zip(outlet.staged.packets()) {
            places.keep_in(bucket, pass, packet)?;
            self.ticketed |= u64::from(pass.is_final()) << at;
        }
        Ok(())
    }
}
