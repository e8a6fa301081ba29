//! An idle lcore's looks at the others.

use super::Attention;
use crate::board::Board;
use crate::policy::PeerHint;

/// A look reads the boards of at most so many members of each set, and others'
/// in the next looks.
pub const BOARDS_PER_LOOK: usize = 8;

/// A look reads so many beats of lcores that are not known to be stalled, and
/// others in the next looks. An lcore that stalls is found `lcores /
/// BEATS_PER_LOOK` looks after that is due, at the latest.
pub const BEATS_PER_LOOK: usize = 4;

/// So many stalled lcores are known at a time. Others are found when one of
/// these runs again.
const STALLED_MAX: usize = 8;

/// An idle lcore's looks at the others.
#[derive(Debug)]
pub struct Watch {
    me: usize,
    lcores: usize,
    /// An lcore that is silent for longer is stalled. `None`: the mode helps no
    /// stalled lcore.
    stall_ticks: Option<u64>,
    /// Where the next look begins, in the sets and among the beats.
    next: usize,
    next_beat: usize,
    /// Lcores that were stalled in the last look.
    stalled: Vec<usize>,
    /// Hints from the last look, each lcore once.
    hints: Vec<PeerHint>,
    /// How many boards and beats were read for it.
    reads: usize,
}

impl Watch {
    /// Of the lcore whose place among `lcores` is `me`.
    pub fn new(me: usize, lcores: usize, stall_ticks: Option<u64>) -> Self {
        Self {
            me,
            lcores,
            stall_ticks,
            // Each begins elsewhere.
            next: me,
            next_beat: me,
            stalled: Vec::with_capacity(STALLED_MAX + BEATS_PER_LOOK),
            hints: Vec::with_capacity(3 * BOARDS_PER_LOOK + STALLED_MAX + BEATS_PER_LOOK),
            reads: 0,
        }
    }

    /// The hints of lcores that may want something, at `now`. `board` has each
    /// lcore's board.
    pub fn look<'b>(
        &mut self,
        now_ticks: u64,
        attention: &Attention,
        board: impl Fn(usize) -> &'b Board,
    ) -> &[PeerHint] {
        self.hints.clear();
        for set in [&attention.away, &attention.queued, &attention.pressed] {
            for lcore in set.iter_from(self.next).take(BOARDS_PER_LOOK) {
                let is_new = self.hints.iter().all(|seen| seen.lcore != lcore);
                if is_new && lcore != self.me {
                    self.hints.push(board(lcore).hint(lcore, now_ticks));
                }
            }
        }
        self.next = (self.next + BOARDS_PER_LOOK) % self.lcores;
        self.reads = self.hints.len();
        if let Some(stall_ticks) = self.stall_ticks {
            self.look_at_beats(now_ticks, stall_ticks, board);
        }
        &self.hints
    }

    fn look_at_beats<'b>(
        &mut self,
        now_ticks: u64,
        stall_ticks: u64,
        board: impl Fn(usize) -> &'b Board,
    ) {
        let silent_ticks = |lcore: usize| board(lcore).beat.age_ticks(now_ticks);
        self.reads += self.stalled.len();
        self.stalled.retain(|&lcore| silent_ticks(lcore) > stall_ticks);
        for _ in 0..BEATS_PER_LOOK.min(self.lcores - 1) {
            self.next_beat = if self.next_beat + 1 < self.lcores { self.next_beat + 1 } else { 0 };
            if self.next_beat == self.me {
                self.next_beat = if self.me + 1 < self.lcores { self.me + 1 } else { 0 };
            }
            let lcore = self.next_beat;
            self.reads += 1;
            if self.stalled.len() < STALLED_MAX
                && !self.stalled.contains(&lcore)
                && silent_ticks(lcore) > stall_ticks
            {
                self.stalled.push(lcore);
            }
        }
        for &lcore in &self.stalled {
            let silent_ticks = silent_ticks(lcore);
            match self.hints.iter_mut().find(|seen| seen.lcore == lcore) {
                Some(seen) => seen.silent_ticks = silent_ticks,
                None => {
                    let calm = PeerHint::calm(lcore, board(lcore).pool());
                    self.hints.push(PeerHint { silent_ticks, ..calm });
                }
            }
        }
    }

    /// How many boards and beats the last look read.
    pub fn reads(&self) -> usize {
        self.reads
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::attention::Signs;
    use crate::policy::Pool;

    const STALL: u64 = 1_000;

    fn boards(lcores: usize) -> Vec<Board> {
        (0..lcores).map(|_| Board::new(Pool::A, 0, 1)).collect()
    }

    #[test]
    fn a_look_reads_few_boards_and_several_looks_read_all() {
        for lcores in [2, 5, 10, 64, 128, 200] {
            let (boards, attention) = (boards(lcores), Attention::new(lcores));
            for (lcore, board) in boards.iter().enumerate() {
                Signs::new(&attention, lcore).show_pressed();
                board.show_pressure(Some(1));
            }
            let mut watch = Watch::new(1, lcores, Some(STALL));
            let mut seen = vec![false; lcores];
            for _ in 0..lcores.div_ceil(BOARDS_PER_LOOK) {
                let hints = watch.look(0, &attention, |at| &boards[at]);
                hints.iter().for_each(|hint| seen[hint.lcore] |= hint.pressed);
                assert!(watch.reads() <= BOARDS_PER_LOOK + BEATS_PER_LOOK);
            }
            assert!((0..lcores).all(|lcore| seen[lcore] != (lcore == 1)), "{lcores}");
        }
    }

    #[test]
    fn a_stalled_lcore_is_found_in_time_and_forgotten_when_it_runs() {
        for lcores in [2, 5, 10, 64, 128] {
            let (boards, attention) = (boards(lcores), Attention::new(lcores));
            for stalled in (0..lcores).filter(|&lcore| lcore != 1) {
                let mut watch = Watch::new(1, lcores, Some(STALL));
                let now = boards[stalled].beat.shown_ticks() + STALL + 1;
                boards
                    .iter()
                    .enumerate()
                    .filter(|&(lcore, _)| lcore != stalled)
                    .for_each(|(_, board)| assert!(board.beat.show(now).is_some()));
                let mut found =
                    || watch.look(now, &attention, |at| &boards[at]).first().map(|hint| hint.lcore);
                let looks = (1..=lcores).find(|_| found() == Some(stalled));
                assert!(looks.is_some_and(|looks| looks <= lcores.div_ceil(BEATS_PER_LOOK)));
                assert_eq!(found(), Some(stalled), "known ones are looked at each time");
                boards[stalled].beat.show(now);
                assert_eq!(found(), None);
            }
        }
    }

    #[test]
    fn nobody_counts_as_stalled_where_that_does_not_matter() {
        let (boards, attention) = (boards(3), Attention::new(3));
        let mut watch = Watch::new(0, 3, None);
        assert!(watch.look(1 << 40, &attention, |at| &boards[at]).is_empty());
        assert_eq!(watch.reads(), 0);
    }
}
