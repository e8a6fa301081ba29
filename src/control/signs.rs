//! Whether lcores run, by their counts of what they have done.

use std::time::{Duration, Instant};

/// When each lcore was last seen to have done something.
#[derive(Default)]
pub(super) struct SignsOfLife(Vec<(u64, Instant)>);

impl SignsOfLife {
    /// `done`: a count per lcore that grows while the lcore runs.
    pub(super) fn look(&mut self, done: impl Iterator<Item = u64>, now: Instant) {
        for (at, done) in done.enumerate() {
            match self.0.get_mut(at) {
                Some(seen) if seen.0 == done => {}
                Some(seen) => *seen = (done, now),
                None => self.0.push((done, now)),
            }
        }
    }

    /// The lcores whose count has stood still for so long, and for how long.
    pub(super) fn silent(
        &self,
        now: Instant,
        after: Duration,
    ) -> impl Iterator<Item = (usize, Duration)> {
        let silence = move |(at, seen): (usize, &(u64, Instant))| (at, now - seen.1);
        self.0.iter().enumerate().map(silence).filter(move |(_, time)| *time >= after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_lcore_is_silent_when_its_count_has_stood_still() {
        let start = Instant::now();
        let mut signs = SignsOfLife::default();
        let mut silent_at = |seconds: u64, done: [u64; 2]| {
            let now = start + Duration::from_secs(seconds);
            signs.look(done.into_iter(), now);
            signs
                .silent(now, Duration::from_secs(10))
                .map(|(at, time)| (at, time.as_secs()))
                .collect::<Vec<_>>()
        };
        assert_eq!(silent_at(0, [5, 5]), []);
        assert_eq!(silent_at(9, [5, 6]), []);
        assert_eq!(silent_at(10, [5, 7]), [(0, 10)]);
        assert_eq!(silent_at(12, [6, 7]), []);
    }
}
