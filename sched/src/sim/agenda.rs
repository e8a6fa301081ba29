//! When each of a few actors goes on: a tournament over their times.

/// The time of an actor that waits for nothing but a wake-up.
pub const NEVER: u64 = u64::MAX;

/// The clock at the start. Boards take 0 for never.
pub const START_TICKS: u64 = 1 << 30;

/// The next time of each actor. The earliest is known at once; to change one
/// takes as many comparisons as the number of actors has bits. Of equal times
/// the lower number comes first, so that runs can be repeated.
#[derive(Clone, Debug)]
pub struct Agenda {
    /// The winner of each match, from the final at 1; the leaves are implied.
    winners: Box<[u32]>,
    times: Box<[u64]>,
}

impl Agenda {
    /// An agenda of so many actors. None of them has a time yet.
    pub fn new(actors: usize) -> Self {
        let leaves = actors.max(1).next_power_of_two();
        let mut agenda =
            Self { winners: vec![0; leaves].into(), times: vec![NEVER; leaves].into() };
        (0..leaves).for_each(|at| agenda.set(at, NEVER));
        agenda
    }

    /// The actor that comes next, and its time.
    #[inline]
    pub fn first(&self) -> (usize, u64) {
        let first = if self.times.len() == 1 { 0 } else { self.winners[1] as usize };
        (first, self.times[first])
    }

    /// The time of an actor.
    #[inline]
    pub fn time(&self, actor: usize) -> u64 {
        self.times[actor]
    }

    /// Changes the time of an actor.
    #[inline]
    pub fn set(&mut self, actor: usize, time: u64) {
        let leaves = self.times.len();
        self.times[actor] = time;
        let mut node = (actor + leaves) / 2;
        while node > 0 {
            let player = |at: usize| {
                if at >= leaves { (at - leaves) as u32 } else { self.winners[at] }
            };
            let (left, right) = (player(2 * node), player(2 * node + 1));
            let is_right = self.times[right as usize] < self.times[left as usize];
            self.winners[node] = if is_right { right } else { left };
            node /= 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(crate::cases())]

        #[test]
        fn the_first_is_the_earliest(actors in 1..40usize, changes in prop::collection::vec((any::<prop::sample::Index>(), 0..50u64), 1..100)) {
            let (mut agenda, mut model) = (Agenda::new(actors), vec![NEVER; actors]);
            for (actor, time) in changes {
                let actor = actor.index(actors);
                agenda.set(actor, time);
                model[actor] = time;
                let earliest = (0..actors).min_by_key(|&at| model[at]).unwrap();
                prop_assert_eq!(agenda.first(), (earliest, model[earliest]));
                prop_assert_eq!(agenda.time(actor), time);
            }
        }
    }
}
