//! Helping lcores that are busy with a long packet, and telling the others that
//! this one is. What was helped with goes on record.

use std::cell::Cell;

use super::board::Board;
use super::orders::Order;
use super::packet::Stage;
use super::packet_queue::PacketStealer;
use super::setup::{Settings, Shared};
use crate::dpdk::Burst;
use crate::policy::{PeerHint, Why};
use crate::stats::{IncidentStage, Incidents, LcoreStats, RescueStats, Rescued, Stuck};
use micropools::attention::{Attention, Signs, Watch};
use micropools::heartbeat::{Busy, Cost};

/// A stuck lcore that was not helped is on record if it was busy this many
/// times longer than `--rescue-after`.
const NOTEWORTHY: u64 = 50;

pub(super) struct Rescue<'a> {
    me: usize,
    boards: &'a [Board],
    incidents: &'a Incidents,
    stats: &'a RescueStats,
    /// Thieves' ends of all lcores' run queues and kept packets, by lcore.
    stealers: Vec<[PacketStealer; 2]>,
    attention: &'a Attention,
    signs: Signs<'a>,
    /// When its signs settled last, and how often they do.
    settled_ticks: u64,
    settle_ticks: u64,
    watch: Watch,
    /// How long an lcore that helps another is the only one.
    claim_ticks: u64,
    /// How long an lcore may be busy before it counts as stuck.
    patience_ticks: u64,
    /// How long it may be silent before it counts as stalled.
    stall_ticks: u64,
    /// By lcore: since when it had been pressed when this one helped it last.
    /// An lcore may be pressed for as long as hundreds of stalls take, and its
    /// incident leaves the record meanwhile.
    helped_since: Vec<Cell<u64>>,
    /// Whether the mode has stuck lcores rescued.
    rescues: bool,
}

impl<'a> Rescue<'a> {
    /// Helps nobody before `follow`.
    pub(super) fn new(
        me: usize,
        stealers: Vec<[PacketStealer; 2]>,
        settings: &Settings,
        shared: Shared<'a>,
        stats: &'a LcoreStats,
    ) -> Self {
        Self {
            me,
            boards: shared.boards,
            incidents: shared.incidents,
            stats: &stats.rescue,
            stealers,
            attention: shared.attention,
            signs: Signs::new(shared.attention, me),
            settled_ticks: 0,
            // As long as an lcore's absence may go unnoticed, it may stay in a
            // set without a reason.
            settle_ticks: settings.stall_after_ticks,
            watch: Watch::new(me, shared.boards.len(), None),
            claim_ticks: settings.adopt_every_ticks,
            patience_ticks: u64::MAX,
            stall_ticks: settings.stall_after_ticks,
            helped_since: vec![Cell::new(0); shared.boards.len()],
            rescues: false,
        }
    }

    /// Helps, or does not, by this order from now on.
    #[cold]
    pub(super) fn follow(&mut self, order: Order, rescues: bool, now: u64) {
        self.patience_ticks = order.rescue_after_ticks;
        self.rescues = rescues;
        self.watch = Watch::new(self.me, self.boards.len(), rescues.then_some(self.stall_ticks));
        let board = &self.boards[self.me];
        board.show_pressure(None);
        // In some modes it showed nothing, which was no silence.
        board.beat.show(now);
        self.settle(now);
    }

    // ---- What this lcore shows ----

    /// This lcore is about to be busy with a packet of unknown or expensive
    /// cost. What it holds must be where others can get it by now.
    #[inline]
    pub(super) fn begin_busy(&mut self, now: u64, flow_hash: u32, stage: Stage) {
        if self.rescues {
            self.signs.show_away();
        }
        let cost = match stage {
            Stage::Cheap => Cost::Unknown,
            Stage::Expensive => Cost::Expensive,
        };
        let busy = Busy { since_ticks: now, flow_hash, cost };
        self.boards[self.me].heartbeat.begin(busy);
    }

    /// This lcore is no longer busy.
    #[inline]
    pub(super) fn end_busy(&mut self, now: u64) {
        let board = &self.boards[self.me];
        let stuck = if self.rescues { self.stuck(self.me, now) } else { None };
        let began_ticks = board.heartbeat.busy().map_or(now, |busy| busy.since_ticks);
        board.heartbeat.end();
        // Since it began, it was silent for a reason that others could see.
        if let Some(shown_ticks) = board.beat.show(now) {
            self.settle(now);
            if began_ticks.saturating_sub(shown_ticks) > self.stall_ticks {
                self.record_silence(shown_ticks, began_ticks);
            }
        }
        if let Some(stuck) = stuck {
            self.record_return(stuck, now);
        }
    }

    #[cold]
    fn record_return(&self, stuck: Stuck, now: u64) {
        let saved = self.incidents.returned(stuck, now, NOTEWORTHY * self.patience_ticks);
        self.stats.saved_ticks.add(saved);
    }

    /// Tells thieves about how much there is to steal, and that there is
    /// nothing, so that they do not look in vain.
    #[inline]
    pub(super) fn show_waiting(&mut self, pkts: usize) {
        if pkts > 0 {
            self.signs.show_queued();
        }
        self.boards[self.me].heartbeat.publish_queued(pkts);
    }

    /// This lcore runs at `now`. If it was silent for so long that others may
    /// have helped, that goes on record, and the silence is returned.
    #[inline(always)]
    pub(super) fn show_running(&mut self, now: u64) -> Option<u64> {
        let shown_ticks = self.boards[self.me].beat.show(now)?;
        self.settle(now);
        let silent_ticks = now.saturating_sub(shown_ticks);
        if silent_ticks <= self.stall_ticks {
            return None;
        }
        self.record_silence(shown_ticks, now);
        Some(silent_ticks)
    }

    /// Leaves sets that it is in for no reason.
    pub(super) fn settle(&mut self, now: u64) {
        if now.wrapping_sub(self.settled_ticks) > self.settle_ticks {
            self.settled_ticks = now;
            self.signs.settle(&self.boards[self.me]);
        }
    }

    #[cold]
    fn record_silence(&self, since_ticks: u64, now: u64) {
        if self.rescues {
            let stalled = self.case(self.me, since_ticks, IncidentStage::Stalled);
            // Only if others helped: on shared CPUs lcores stall all the time.
            self.incidents.returned(stalled, now, u64::MAX);
        }
    }

    /// Whether idle lcores should poll this one's queues.
    #[inline(always)]
    pub(super) fn show_pressure(&mut self, now: u64, pressed: bool) {
        if pressed && self.rescues {
            self.signs.show_pressed();
        }
        self.boards[self.me].show_pressure(pressed.then_some(now));
    }

    // ---- What others show ----

    /// Hints of lcores that may want something, now.
    pub(super) fn look(&mut self, now: u64) -> &[PeerHint] {
        let boards = self.boards;
        self.watch.look(now, self.attention, |lcore| &boards[lcore])
    }

    /// Whether that lcore is away, and for how long.
    pub(super) fn away_hint(&self, lcore: usize, now: u64) -> PeerHint {
        self.boards[lcore].away_hint(lcore, now)
    }

    /// How many boards of other lcores the last look read, and the sets.
    pub(super) fn looks(&self) -> u64 {
        self.watch.reads() as u64 + 1
    }

    fn stuck(&self, lcore: usize, now: u64) -> Option<Stuck> {
        self.boards[lcore].stuck(lcore, now, self.patience_ticks)
    }

    /// Why that lcore needs help, if it does.
    fn in_need(&self, lcore: usize, now: u64) -> Option<Stuck> {
        let board = &self.boards[lcore];
        if board.is_away() {
            return self.stuck(lcore, now);
        }
        let stalled = || {
            let silent = board.beat.age_ticks(now) > self.stall_ticks;
            silent.then(|| self.case(lcore, board.beat.shown_ticks(), IncidentStage::Stalled))
        };
        let pressed = || {
            let since_ticks = board.pressed_since_ticks()?;
            Some(self.case(lcore, since_ticks, IncidentStage::Pressed))
        };
        stalled().or_else(pressed)
    }

    /// A case that no packet is to blame for.
    fn case(&self, lcore: usize, started_ticks: u64, stage: IncidentStage) -> Stuck {
        Stuck { lcore, started_ticks, flow_hash: 0, stage }
    }

    // ---- Help ----

    /// Whether this lcore may help that one now: if not, another does. The
    /// queues of an lcore that is not in need need no claim.
    pub(super) fn claim(&self, owner: usize, why: Why, now: u64) -> bool {
        why == Why::Idle || self.boards[owner].claim_help(self.me, now, self.claim_ticks)
    }

    /// There is more to help with than this lcore has taken.
    pub(super) fn welcome_help(&self, owner: usize, why: Why) {
        if why != Why::Idle {
            self.boards[owner].welcome_help();
        }
    }

    /// Steals up to half of another lcore's run queue, at most `limit` packets.
    /// Returns how many.
    pub(super) fn steal(&mut self, victim: usize, limit: usize, into: &mut Burst) -> usize {
        self.stealers[victim][0].steal(limit, into).count()
    }

    /// Steals one of the packets that another lcore keeps, which are expensive.
    /// Returns how many.
    pub(super) fn steal_kept(&mut self, victim: usize, into: &mut Burst) -> usize {
        self.stealers[victim][1].steal(1, into).count()
    }

    /// So many packets were stolen, between `since` and `now`. The oldest of
    /// them arrived at `oldest`.
    pub(super) fn record_steal(
        &self,
        victim: usize,
        (since, now): (u64, u64),
        stolen_pkts: usize,
        oldest: u64,
    ) {
        self.stats.steals.add(1);
        self.stats.stolen_pkts.add(stolen_pkts as u64);
        self.stats.steal_ticks.add(now.wrapping_sub(since));
        let rescued = Rescued {
            at_ticks: now,
            stolen_pkts: stolen_pkts as u64,
            polled_pkts: 0,
            longest_wait_ticks: now.saturating_sub(oldest),
        };
        self.record(victim, rescued);
    }

    /// A poll of another lcore's queue, which began at `now`, brought so many
    /// packets. The first of them arrived at `oldest`.
    pub(super) fn record_takeover(&self, owner: usize, now: u64, pkts: usize, oldest: u64) {
        self.stats.takeovers.add(1);
        self.stats.takeover_pkts.add(pkts as u64);
        let rescued = Rescued {
            at_ticks: now,
            stolen_pkts: 0,
            polled_pkts: pkts as u64,
            longest_wait_ticks: now.saturating_sub(oldest),
        };
        self.record(owner, rescued);
    }

    /// Only if the other lcore is stuck, not just busy.
    fn record(&self, victim: usize, rescued: Rescued) {
        let Some(stuck) = self.in_need(victim, rescued.at_ticks) else { return };
        let is_first = self.rescues && self.incidents.rescued(self.me, stuck, rescued);
        if is_first && !self.helped_before(stuck) {
            let since = stuck.started_ticks + self.patience_ticks;
            self.stats.latency.record(rescued.at_ticks.saturating_sub(since), 1);
        }
    }

    /// Whether this lcore has helped that one since it has been pressed.
    fn helped_before(&self, Stuck { lcore, stage, started_ticks, .. }: Stuck) -> bool {
        stage == IncidentStage::Pressed
            && self.helped_since[lcore].replace(started_ticks) == started_ticks
    }
}
