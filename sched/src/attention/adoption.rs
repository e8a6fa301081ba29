//! When a busy lcore looks for stuck ones, and at how many.

use super::AtomicSet;

/// The most lcores of one look.
const LOOKS_MAX: usize = 8;

/// Where there are far more lcores to help than to be helped, each looks so
/// many times less often than one alone would, at most.
const SPREAD_MAX: usize = 32;

/// A busy lcore's looks at lcores that are away, to adopt receive queues of
/// those that are stuck.
///
/// While no lcore is away a look is a load per 64 lcores. While some are, all
/// busy lcores together look about once per away lcore in `every_ticks`,
/// however many they are. One that helps looks again after `every_ticks`; and
/// where a full burst was waiting, as soon as each of its own queues has had a
/// turn.
///
/// ```
/// use micropools::attention::{Adoption, AtomicSet};
///
/// let (away, mut adoption) = (AtomicSet::new(4), Adoption::new(0, 4, 1, 100));
/// assert!(adoption.is_due(101) && adoption.begin(&away, 101) == 0);
/// assert!(!adoption.is_due(201), "not again so soon");
/// away.insert(2);
/// assert_eq!(adoption.begin(&away, 202), 1);
/// assert_eq!(adoption.next(&away), Some(2));
/// ```
#[derive(Debug)]
pub struct Adoption {
    me: usize,
    lcores: usize,
    own_queues: usize,
    every_ticks: u64,
    looked_ticks: u64,
    wait_ticks: u64,
    /// Polls of own queues until the next look.
    turns: usize,
    /// Where the next look begins.
    next: usize,
    /// Boards and queues of the last look.
    looks: usize,
    /// Whether one of them was stuck.
    was_stuck: bool,
}

impl Adoption {
    /// Of the lcore whose place among `lcores` is `me`, and which polls so many
    /// queues of its own. With `every_ticks` of `u64::MAX` no look is ever due.
    pub fn new(me: usize, lcores: usize, own_queues: usize, every_ticks: u64) -> Self {
        Self {
            me,
            lcores,
            own_queues,
            every_ticks,
            looked_ticks: 0,
            wait_ticks: every_ticks,
            turns: 0,
            next: me,
            looks: 0,
            was_stuck: false,
        }
    }

    /// Whether it is time to look.
    #[inline(always)]
    pub fn is_due(&self, now_ticks: u64) -> bool {
        now_ticks.wrapping_sub(self.looked_ticks) > self.wait_ticks
    }

    /// How many lcores to look at now: none while no lcore is away, or while an
    /// own queue's turn comes first.
    pub fn begin(&mut self, away: &AtomicSet, now_ticks: u64) -> usize {
        if self.turns > 0 {
            self.turns -= 1;
            return 0;
        }
        (self.looked_ticks, self.wait_ticks, self.looks) = (now_ticks, self.every_ticks, 0);
        if away.is_empty() {
            return 0;
        }
        let members = away.len() - usize::from(away.contains(self.me));
        if members == 0 {
            return 0;
        }
        let helpers = self.lcores.saturating_sub(members).max(1);
        self.wait_ticks *= (helpers / members).clamp(1, SPREAD_MAX) as u64;
        // Members may have come back already: several are looked at only if the
        // last look shows that they have not.
        let was_stuck = std::mem::take(&mut self.was_stuck);
        if was_stuck { members.div_ceil(helpers).min(LOOKS_MAX) } else { 1 }
    }

    /// The next lcore to look at.
    pub fn next(&mut self, away: &AtomicSet) -> Option<usize> {
        let lcore = away.iter_from(self.next).find(|&lcore| lcore != self.me)?;
        self.next = if lcore + 1 < self.lcores { lcore + 1 } else { 0 };
        self.looks += 1;
        Some(lcore)
    }

    /// That lcore is stuck. `helps`: no other lcore helps it, so that this one
    /// does from now on.
    pub fn note_stuck(&mut self, helps: bool) {
        self.was_stuck = true;
        if helps {
            self.wait_ticks = self.every_ticks;
        }
    }

    /// One of its queues is polled.
    pub fn note_poll(&mut self) {
        self.looks += 1;
    }

    /// A burst was adopted, and is over at `now`. `is_full`: there may be more.
    pub fn note_burst(&mut self, now_ticks: u64, is_full: bool) {
        self.looked_ticks = now_ticks;
        if is_full {
            (self.wait_ticks, self.turns) = (0, self.own_queues);
        }
    }

    /// How many boards and queues it has looked at since `now`.
    #[inline]
    pub fn looks_since(&self, now_ticks: u64) -> usize {
        if self.looked_ticks == now_ticks { self.looks } else { 0 }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const EVERY: u64 = 100;

    /// `stuck` of `lcores` are away, the others look for `rounds * EVERY`
    /// ticks, and the first to find a stuck one helps it. Returns the looks,
    /// and the longest time in which nobody looked at a stuck lcore.
    fn look_for(lcores: usize, stuck: usize, rounds: u64) -> (u64, u64) {
        let away = AtomicSet::new(lcores);
        (0..stuck).for_each(|lcore| away.insert(lcore));
        let mut helpers: Vec<_> =
            (stuck..lcores).map(|me| Adoption::new(me, lcores, 2, EVERY)).collect();
        let (mut looks, mut longest) = (0, 0);
        let mut seen = vec![0; stuck];
        let mut helped_by: Vec<Option<usize>> = vec![None; stuck];
        for now in 1..rounds * EVERY {
            for helper in helpers.iter_mut().filter(|helper| helper.is_due(now)) {
                for _ in 0..helper.begin(&away, now) {
                    let lcore = helper.next(&away).expect("some are away");
                    let is_first = *helped_by[lcore].get_or_insert(helper.me) == helper.me;
                    helper.note_stuck(is_first);
                    looks += 1;
                    longest = longest.max(now - std::mem::replace(&mut seen[lcore], now));
                }
            }
        }
        (looks, longest)
    }

    #[test]
    fn nobody_is_looked_at_while_nobody_is_away() {
        let away = AtomicSet::new(64);
        let mut adoption = Adoption::new(7, 64, 4, EVERY);
        assert_eq!(adoption.begin(&away, 1), 0);
        away.insert(7);
        assert_eq!(adoption.begin(&away, 2), 0, "its own membership is of the past");
    }

    #[test]
    fn all_together_look_as_often_as_there_are_stuck_lcores() {
        for lcores in [10, 64, 128] {
            for stuck in [1, 2, 4, 8] {
                let (looks, longest) = look_for(lcores, stuck, 1_000);
                let per_stuck = looks as f64 / (1_000 * stuck) as f64;
                assert!((0.5..6.0).contains(&per_stuck), "{lcores}, {stuck}: {per_stuck}");
                assert!(longest <= SPREAD_MAX as u64 * EVERY, "{lcores}, {stuck}: {longest}");
            }
        }
    }

    #[test]
    fn a_lone_helper_looks_at_several() {
        let (_, longest) = look_for(9, 8, 1_000);
        assert!(longest <= 2 * (EVERY + 1), "{longest}");
    }

    #[test]
    fn own_queues_have_their_turn_between_two_full_bursts() {
        let away = AtomicSet::new(2);
        away.insert(1);
        let mut adoption = Adoption::new(0, 2, 2, EVERY);
        assert_eq!(adoption.begin(&away, 1), 1);
        adoption.note_burst(5, true);
        let looks: Vec<_> = (6..12)
            .map(|now| {
                assert!(adoption.is_due(now));
                let looks = adoption.begin(&away, now);
                (0..looks).for_each(|_| adoption.note_burst(now, true));
                looks
            })
            .collect();
        assert_eq!(looks, [0, 0, 1, 0, 0, 1]);
        adoption.note_burst(20, false);
        adoption.turns = 0;
        adoption.begin(&away, 21);
        adoption.note_burst(22, false);
        assert!(!adoption.is_due(22 + EVERY) && adoption.is_due(23 + EVERY));
    }
}
