//! The owner's end of a board, and its membership in the sets of attention.

use super::agenda::START_TICKS;
use super::seen::Seen;
use crate::attention::Signs;
use crate::board::Board;
use crate::heartbeat::Busy;

/// An lcore's end of its board. The methods say whether others may find more
/// now than before: then sleepers must look again.
pub(super) struct OwnBoard<'a> {
    board: &'a Board,
    signs: Signs<'a>,
    settled_ticks: u64,
    stall_ticks: u64,
}

impl<'a> OwnBoard<'a> {
    pub(super) fn new(seen: &'a Seen, me: usize, stall_ticks: u64) -> Self {
        Self {
            board: &seen.boards[me],
            signs: Signs::new(&seen.attention, me),
            settled_ticks: START_TICKS,
            stall_ticks,
        }
    }

    /// Whether the lcore is taken for stalled at `now` if it shows nothing
    /// until then.
    pub(super) fn is_stalled(&self, now: u64) -> bool {
        now.saturating_sub(self.board.beat.shown_ticks()) > self.stall_ticks
    }

    /// The lcore runs. Returns how long it was not seen to, if that was a
    /// stall.
    pub(super) fn show_running(&mut self, now: u64) -> Option<u64> {
        let shown = self.board.beat.show(now)?;
        self.settle(now);
        (now - shown > self.stall_ticks).then_some(now - shown)
    }

    pub(super) fn settle(&mut self, now: u64) {
        if now.wrapping_sub(self.settled_ticks) > self.stall_ticks {
            self.settled_ticks = now;
            self.signs.settle(self.board);
        }
    }

    /// `rescues`: the mode's lcores help one that is pressed.
    pub(super) fn show_pressure(&mut self, now: u64, pressed: bool, rescues: bool) -> bool {
        let is_seen = pressed && rescues;
        let is_new = is_seen && self.board.pressed_since_ticks().is_none();
        if is_seen {
            self.signs.show_pressed();
        }
        self.board.show_pressure(pressed.then_some(now));
        is_new
    }

    pub(super) fn show_queued(&mut self, pkts: usize) -> bool {
        if pkts > 0 {
            self.signs.show_queued();
        }
        self.board.heartbeat.publish_queued(pkts);
        pkts > 0
    }

    /// `rescues`: the mode's lcores poll for one that is away.
    pub(super) fn begin_busy(&mut self, busy: Busy, queued_pkts: usize, rescues: bool) -> bool {
        let has_queued = self.show_queued(queued_pkts);
        if rescues {
            self.signs.show_away();
        }
        self.board.heartbeat.begin(busy);
        has_queued || rescues
    }

    pub(super) fn end_busy(&mut self, now: u64, queued_pkts: usize) -> bool {
        self.board.heartbeat.end();
        if self.board.beat.show(now).is_some() {
            self.settle(now);
        }
        self.show_queued(queued_pkts)
    }
}
