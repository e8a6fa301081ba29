//! An lcore's own membership in the sets.

use super::{AtomicSet, Attention};
use crate::board::Board;

/// Whether the lcore is in one set. Its own copy: nobody else changes that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sign {
    Out,
    /// It is, and has shown the reason since it settled last.
    Shown,
    /// It is, and has not.
    Late,
}

impl Sign {
    #[inline(always)]
    fn show(&mut self, set: &AtomicSet, me: usize) {
        if *self == Self::Out {
            set.insert(me);
        }
        *self = Self::Shown;
    }

    fn settle(&mut self, set: &AtomicSet, me: usize, still_shown: bool) {
        *self = match *self {
            Self::Shown => Self::Late,
            Self::Late if !still_shown => {
                set.remove(me);
                Self::Out
            }
            kept => kept,
        };
    }
}

/// One lcore's membership in the sets of an [`Attention`]. To enter costs a
/// locked instruction; to show again what has been shown lately costs none.
///
/// ```
/// use micropools::attention::{Attention, Signs};
/// use micropools::board::Board;
/// use micropools::policy::Pool;
///
/// let (attention, board) = (Attention::new(4), Board::new(Pool::A, 0, 1));
/// let mut signs = Signs::new(&attention, 3);
/// signs.show_away();
/// assert!(attention.away.contains(3));
/// signs.settle(&board);
/// assert!(attention.away.contains(3), "it was away since it settled last");
/// signs.settle(&board);
/// assert!(!attention.away.contains(3));
/// ```
#[derive(Debug)]
pub struct Signs<'a> {
    attention: &'a Attention,
    me: usize,
    away: Sign,
    queued: Sign,
    pressed: Sign,
}

impl<'a> Signs<'a> {
    /// Of the lcore whose place is `me`; it is in no set.
    pub fn new(attention: &'a Attention, me: usize) -> Self {
        let [away, queued, pressed] = [Sign::Out; 3];
        Self { attention, me, away, queued, pressed }
    }

    /// The lcore is about to begin a long stage.
    #[inline]
    pub fn show_away(&mut self) {
        self.away.show(&self.attention.away, self.me);
    }

    /// It is about to show that packets are queued.
    #[inline]
    pub fn show_queued(&mut self) {
        self.queued.show(&self.attention.queued, self.me);
    }

    /// It is about to show that it is pressed.
    #[inline]
    pub fn show_pressed(&mut self) {
        self.pressed.show(&self.attention.pressed, self.me);
    }

    /// Leaves the sets whose reason has not been shown since this was called last,
    /// and is not on the lcore's board. To be called now and then, between two
    /// stages.
    pub fn settle(&mut self, board: &Board) {
        let (sets, me) = (self.attention, self.me);
        self.away.settle(&sets.away, me, board.is_away());
        self.queued.settle(&sets.queued, me, board.heartbeat.queued().items_min() > 0);
        self.pressed.settle(&sets.pressed, me, board.pressed_since_ticks().is_some());
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::policy::Pool;

    #[test]
    fn nobody_leaves_while_the_board_shows_the_reason() {
        let (attention, board) = (Attention::new(2), Board::new(Pool::A, 0, 1));
        let mut signs = Signs::new(&attention, 1);
        signs.show_queued();
        signs.show_pressed();
        board.heartbeat.publish_queued(5);
        board.show_pressure(Some(7));
        (0..3).for_each(|_| signs.settle(&board));
        assert!(attention.queued.contains(1) && attention.pressed.contains(1));
        board.heartbeat.publish_queued(0);
        board.show_pressure(None);
        signs.settle(&board);
        assert!(attention.queued.is_empty() && attention.pressed.is_empty());
    }
}
