//! What an lcore does for the others: look around, steal, take over; and what
//! it tells them of itself: that it leaves, that it is back.

use super::{LcoreLoop, Polled, Stage};
use crate::dpdk::clock::tsc;
use crate::engine::Engine;
use crate::policy::{Help, PeersView, Policy};
use crate::stats::Rescued;
use micropools::heartbeat::{Busy, Cost};

/// A stuck lcore that nobody came for is on record if it was away this many
/// times longer than `--rescue-after`.
const NOTEWORTHY: u64 = 50;

/// How many times an lcore rests that has no queues to poll and nobody to help.
/// With `--idle pause` half a microsecond at most.
const RESTS_WITHOUT_QUEUES: usize = 8;

impl<E: Engine, P: Policy, const METER: bool> LcoreLoop<'_, E, P, METER> {
    /// Says that it is about to be away, with a packet of unknown or expensive
    /// cost: from now on others may poll its queues and take what waits in its
    /// run queue.
    #[inline]
    pub(super) fn leave(&mut self, now: u64, flow_hash: u32, stage: Stage) {
        self.show_waiting();
        let board = &self.shared.boards[self.me];
        let cost = match stage {
            Stage::Cheap => Cost::Unknown,
            Stage::Expensive => Cost::Expensive,
        };
        board.heartbeat.begin(Busy { since_ticks: now, flow_hash, cost });
        if P::RESCUES {
            self.tx.keep_all_places();
            self.rx.iter_mut().for_each(Polled::give_back);
            self.borrowed = None;
        }
    }

    /// Lets thieves know about how much there is to steal, and that there is
    /// nothing, so that they don't look in vain.
    #[inline]
    pub(super) fn show_waiting(&mut self) {
        self.shared.boards[self.me]
            .heartbeat
            .publish_queued(self.run_queue.len() + self.kept.len());
    }

    /// Says that it is back. Its queues are polled by whoever gets their leases
    /// first.
    #[inline]
    pub(super) fn come_back(&mut self, now: u64) {
        let boards = self.shared.boards;
        let board = &boards[self.me];
        let stuck = if P::RESCUES {
            board.stuck(self.me, now, self.settings.rescue_after_ticks)
        } else {
            None
        };
        board.heartbeat.end();
        self.show_waiting();
        if let Some(stuck) = stuck {
            self.stats.rescue.saved_ticks.add(self.shared.incidents.returned(
                stuck,
                now,
                NOTEWORTHY * self.settings.rescue_after_ticks,
            ));
        }
    }

    /// Sees what the others have, and does what the policy makes of it.
    #[cold]
    pub(super) fn look_around(&mut self) {
        let now = tsc();
        if self.polled_in_vain_at != 0 {
            self.notice_gap(now);
        }
        self.tx.close(now);
        self.hints.clear();
        self.hints.extend(self.shared.boards.iter().map(|board| board.hint(now)));
        let view = PeersView {
            me: self.me,
            pool: self.pool,
            draining: self.shared.run.is_draining(),
            permit_refused: self.refused,
            shards_nonempty: self.shards_wait(),
            permit_available: self.shared.permits.is_available(self.pool),
            peers: &self.hints,
        };
        let help = self.policy.help(&view);
        (self.empty_polls, self.refused) = (0, false);
        match help {
            Help::Steal { victim, .. } => self.steal(victim, now),
            Help::TakeOver { victim, .. } => {
                if !self.take_over(|_, owner| owner == victim) {
                    self.rest();
                }
            }
            Help::Dequeue => self.take(),
            Help::Rest => {
                self.looked_around(now);
                self.rest_unneeded();
            }
        }
    }

    /// Nobody needs help. A look at another lcore may take as long as other
    /// gaps do before they count: what it took beyond that was the host's.
    fn looked_around(&mut self, since: u64) {
        let now = tsc();
        let looks = self.hints.len() as u64 + 1;
        if now.wrapping_sub(since) > self.settings.gap_ticks.saturating_mul(looks) {
            self.note_gap(now.wrapping_sub(since));
        }
        self.polled_in_vain_at = now;
    }

    /// Nobody needs help. To look around takes far more of a core than a poll
    /// does, and the core's other hyperthread may be one that polls: an lcore
    /// that has no queues to poll in between rests longer.
    fn rest_unneeded(&mut self) {
        let rests = if self.rx.is_empty() { RESTS_WITHOUT_QUEUES } else { 1 };
        (0..rests).for_each(|_| self.rest());
    }

    /// Polls for the lcores that are away. Returns whether that brought
    /// anything.
    #[cold]
    pub(super) fn adopt(&mut self, now: u64) -> bool {
        let boards = self.shared.boards;
        let found = self.take_over(|policy, at| policy.adopts(&boards[at].hint(now)));
        // What it brought may have taken long: the own queues have their turn
        // before it is time again.
        self.adopted_at = if found { tsc() } else { now };
        found
    }

    /// Moves up to half of another lcore's run queue into the own one, and
    /// serves a burst of that.
    fn steal(&mut self, victim: usize, now: u64) {
        let [run_queue, kept] = &mut self.stealers[victim];
        // Others only take from the own queue: the room that there is now
        // stays.
        let room = self.settings.runq_max.saturating_sub(self.run_queue.len());
        let mut stolen =
            run_queue.steal(room.min(self.settings.burst.pkts()), &mut self.burst).count();
        let mut oldest =
            self.burst.packets().first().map(|packet| self.settings.stamp.read(packet));
        let from_run_queue = stolen > 0;
        if from_run_queue {
            self.run_queue.push_burst(&mut self.burst);
        } else {
            // What is kept there is known to be expensive: one, to go where
            // this lcore's own would.
            stolen = kept.steal(1, &mut self.sorter.deferred).count();
            oldest = self
                .sorter
                .deferred
                .packets()
                .first()
                .map(|packet| self.settings.stamp.read(packet));
            self.shed();
        }
        let Some(oldest) = oldest else { return self.rest() };
        let at = tsc();
        self.stats.rescue.steals.add(1);
        self.stats.rescue.stolen_pkts.add(stolen as u64);
        self.stats.rescue.steal_ticks.add(at.wrapping_sub(now));
        let longest_wait_ticks = at.saturating_sub(oldest);
        self.rescued(
            victim,
            Rescued {
                at_ticks: at,
                stolen_pkts: stolen as u64,
                polled_pkts: 0,
                longest_wait_ticks,
            },
        );
        // Some of the loot at once: thieves that only took from each other
        // would pass it round for ever.
        if from_run_queue {
            self.serve_run_queue();
        }
    }

    /// Polls a burst of each receive queue whose owner is `wanted` and whose
    /// lease is free, and serves it; the lease is given back then. Goes on
    /// where it stopped last, and stops as soon as something is left over: that
    /// has to be served before more is received. Returns whether it found
    /// anything.
    fn take_over(&mut self, wanted: impl Fn(&P, usize) -> bool) -> bool {
        let mut found = false;
        for _ in 0..self.others.len() {
            let (owner, number) = self.others[self.next_other];
            self.next_other = (self.next_other + 1) % self.others.len();
            if !wanted(&self.policy, owner) {
                continue;
            }
            found |= self.poll_for(owner, number);
            if !self.run_queue.is_empty() || !self.kept.is_empty() || self.shared.run.is_draining()
            {
                break;
            }
        }
        found
    }

    /// Polls a burst of another lcore's queue, unless somebody else does, and
    /// serves it. Returns whether there was anything.
    fn poll_for(&mut self, owner: usize, number: u16) -> bool {
        let rxqs = self.shared.rxqs;
        let rxq = &rxqs[usize::from(number)];
        let Some(mut lease) = rxq.try_lease() else { return false };
        let at = tsc();
        self.tx.close(at);
        let emptied_ticks = lease.emptied_ticks().max(self.settings.started_ticks);
        let received = lease.poll(&mut self.burst, self.settings.burst);
        if received < self.settings.burst.pkts() {
            lease.note_emptied(at);
        }
        if received == 0 {
            return false;
        }
        // Kept until all of the burst has been sent, or keeps its place: who
        // polls next would overtake it.
        self.borrowed = Some(lease);
        self.unseen_since = emptied_ticks;
        self.stats.add_received(rxq.port(), rxq.queue(), received as u64);
        self.stats.rescue.takeovers.add(1);
        self.stats.rescue.takeover_pkts.add(received as u64);
        self.rescued(
            owner,
            Rescued {
                at_ticks: at,
                stolen_pkts: 0,
                polled_pkts: received as u64,
                longest_wait_ticks: 0,
            },
        );
        if let Some(field) = self.settings.nic {
            self.check_stamps(field, rxq.port(), at, 0);
        }
        self.received(received, rxq.port(), at, number);
        self.tx.keep_all_places();
        self.borrowed = None;
        true
    }

    /// Writes down what was taken, if the other lcore is stuck and not just
    /// away.
    fn rescued(&mut self, victim: usize, rescued: Rescued) {
        let patience = self.settings.rescue_after_ticks;
        let Some(stuck) = self.shared.boards[victim].stuck(victim, rescued.at_ticks, patience)
        else {
            return;
        };
        if P::RESCUES && self.shared.incidents.rescued(self.me, stuck, rescued) {
            self.stats
                .rescue
                .latency
                .record(rescued.at_ticks.saturating_sub(stuck.started_ticks + patience), 1);
        }
    }
}
