//! Sends packets whose stage is over, and measures that.

use super::packet::{Marks, Pass, Run, Stage};
use super::poller::Polled;
use super::run_state::RunState;
use super::setup::{Settings, Shared};
use super::timing::Timing;
use super::transmit::Transmit;
use crate::dpdk::{Burst, Drain, Mbuf, TxQueue};
use crate::engine::{Turns, Verdict};
use crate::order::{Bucket, Full};
use crate::stats::{DropCause, Gaps, LcoreStats};

pub(super) struct Sender<'a> {
    transmit: Transmit<'a>,
    timing: Timing<'a>,
}

impl<'a> Sender<'a> {
    pub(super) fn new(
        tx: Vec<TxQueue>,
        turns: Option<Box<dyn Turns>>,
        settings: &Settings,
        shared: Shared<'a>,
        stats: &'a LcoreStats,
    ) -> Self {
        Self {
            transmit: Transmit::new(tx, turns, settings, shared, stats),
            timing: Timing::new(settings, shared, stats),
        }
    }

    #[inline(always)]
    pub(super) fn timing(&mut self) -> &mut Timing<'a> {
        &mut self.timing
    }

    #[inline(always)]
    pub(super) fn now(&self) -> u64 {
        self.timing.now()
    }

    #[inline(always)]
    pub(super) fn marks(&self) -> Marks {
        self.timing.marks()
    }

    /// Whether packets are here, of this burst or of earlier ones.
    #[inline(always)]
    pub(super) fn holds_packets(&self) -> bool {
        self.transmit.holds_packets()
    }

    /// Whether packets wait for their drivers.
    #[inline(always)]
    pub(super) fn has_backlog(&self) -> bool {
        self.transmit.has_backlog()
    }

    // ---- Sending ----

    /// Sends a burst that leaves by one port, and keeps what the driver
    /// refuses.
    #[inline(always)]
    pub(super) fn send_burst(&mut self, port: u16, burst: &mut Burst, polled: Polled) {
        let sent;
        if self.timing.marks().stamped {
            self.timing.prepare_stamped(burst, polled.arrival.polled_ticks);
            sent = self.transmit.send_burst(port, burst);
            self.timing.accept_stamped(sent);
        } else {
            sent = self.transmit.send_burst(port, burst);
            self.timing.accept_burst(sent, polled.arrival.polled_ticks);
        }
        if !burst.is_empty() {
            self.refuse_burst(port, sent, burst, polled);
        }
    }

    #[cold]
    fn refuse_burst(&mut self, port: u16, sent: usize, burst: &mut Burst, polled: Polled) {
        self.timing.detach_refused(burst, sent, polled.arrival);
        self.transmit.refuse(port, sent, burst, polled.queue, &self.timing);
    }

    /// A packet's stage is over: does as it said.
    #[inline(always)]
    pub(super) fn follow(
        &mut self,
        stage: Stage,
        verdict: Verdict,
        packet: Mbuf,
        pass: Pass,
        stamp: u64,
    ) {
        self.transmit.follow(stage, verdict, packet, pass, stamp, &self.timing);
    }

    /// As `follow`, for the next of `packets`, as many as the run has.
    #[inline(always)]
    pub(super) fn follow_run(&mut self, run: Run<'_>, packets: &mut Drain<'_>) {
        self.transmit.follow_run(run, packets, &self.timing);
    }

    /// Books the latency of all that drivers accepted until `now`.
    #[inline(always)]
    pub(super) fn close(&mut self, now: u64) {
        self.timing.close(now, self.transmit.accepted());
    }

    /// Sends what is staged, and the packets whose turn came by that.
    #[inline]
    pub(super) fn flush(&mut self, stage: Stage) {
        if self.transmit.flush(stage, &self.timing) {
            self.offer_backlog();
        }
    }

    /// Offers drivers what they refused, and at once the packets whose turn
    /// came by that.
    #[cold]
    pub(super) fn offer_backlog(&mut self) {
        let mut go_on = true;
        while go_on {
            let now = self.timing.now();
            self.close(now);
            go_on = self.transmit.offer_backlog(&self.timing);
        }
        let now = self.timing.now();
        self.close(now);
    }

    // ---- Places ----

    /// As [`Transmit::keep_places_in`].
    #[inline(always)]
    pub(super) fn keep_places_in(&mut self, bucket: Bucket) -> Result<(), Full> {
        self.transmit.keep_places_in(bucket)
    }

    /// As [`Transmit::keep_all_places`].
    #[inline(always)]
    pub(super) fn keep_all_places(&mut self) {
        self.transmit.keep_all_places();
    }

    /// How many packets are here that may need a place before others can have
    /// theirs, at most.
    pub(super) fn unplaced_pkts_max(&self) -> usize {
        self.transmit.unplaced_pkts_max()
    }

    // ---- Drops ----

    /// Drops a packet that carries its place.
    #[cold]
    pub(super) fn drop_placed(&mut self, packet: Mbuf, cause: DropCause) {
        self.transmit.drop_placed(packet, cause, &self.timing);
    }

    /// Drops a packet that needs a place in its flow, and got none.
    #[cold]
    pub(super) fn drop_unplaced(&self, packet: Mbuf) {
        self.transmit.drop_unplaced(packet);
    }

    /// As `drop_placed`, all packets of a burst.
    #[cold]
    pub(super) fn drop_all_placed(&mut self, burst: &mut Burst, cause: DropCause) {
        self.transmit.drop_all_placed(burst, cause, &self.timing);
    }

    /// Gives up lost ports, and offers the packets whose turn came by that.
    #[cold]
    pub(super) fn give_up_lost_ports(&mut self) {
        self.transmit.give_up_lost_ports(&self.timing);
        if self.transmit.has_backlog() {
            self.offer_backlog();
        }
    }

    /// Goes on offering the backlog until drivers have accepted all, or nothing
    /// for a while, or the run is abandoned; drops the rest. `engine_gaps`: the
    /// host's gaps that the engine noticed.
    pub(super) fn wind_up(&mut self, engine_gaps: Gaps, run: &RunState) {
        const TRIES_WITHOUT_SUCCESS: u32 = 1000;
        self.timing.wind_up(engine_gaps);
        let now = self.timing.now();
        self.close(now);
        let mut tries = 0;
        while self.transmit.has_backlog() && tries < TRIES_WITHOUT_SUCCESS && !run.is_abandoned() {
            let before = self.transmit.sent_pkts();
            self.offer_backlog();
            tries = if self.transmit.sent_pkts() > before { 0 } else { tries + 1 };
            std::thread::sleep(std::time::Duration::from_micros(100));
        }
        self.transmit.drop_backlog(&self.timing);
    }
}
