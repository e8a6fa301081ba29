//! How many lcores pool B needs for the load. Pure: it sees measured windows, and
//! answers with a size.

/// Work of a window in both stages: the mean number of lcores in it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Erlangs {
    /// In the cheap stage.
    pub cheap: f64,
    /// In the expensive stage.
    pub expensive: f64,
}

/// Lcores per Erlang: with fewer, the queue of a class would grow long.
const HEADROOM: f64 = 1.25;

/// Pool B grows when it has been too small for so many windows in a row.
const GROW_AFTER: u32 = 3;

/// It shrinks when it has been too large for so many. To wait costs little:
/// workers without expensive work poll.
const SHRINK_AFTER: u32 = 10;

/// Decides the size of pool B, with hysteresis: a size that the load has not
/// needed for a while is never chosen.
///
/// ```
/// use micropools::policy::{Erlangs, Sizer};
///
/// let mut sizer = Sizer::new(10, 9);
/// let busy = Erlangs { cheap: 3.2, expensive: 2.9 };
/// let answers = [(); 3].map(|()| sizer.observe(busy, 2));
/// assert_eq!(answers, [None, None, Some(4)]);
/// ```
#[derive(Clone, Debug)]
pub struct Sizer {
    lcores: usize,
    workers_max: usize,
    run: Run,
}

/// Windows in a row that needed another size than the present one, all of them
/// more, or all of them less.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Run {
    windows: u32,
    /// Of the needed sizes the one nearest to the present.
    nearest: usize,
}

impl Sizer {
    /// Of `lcores` in both pools, from 2. `workers_max`: pool B is never larger.
    pub fn new(lcores: usize, workers_max: usize) -> Self {
        let lcores = lcores.max(2);
        Self { lcores, workers_max: workers_max.clamp(1, lcores - 1), run: Run::default() }
    }

    /// The lcores that pool B needs for this load. Where both classes together
    /// need more lcores than there are, the cheap one has its own first.
    pub fn needed(&self, load: Erlangs) -> usize {
        let lcores = |erlangs: f64| (erlangs * HEADROOM).ceil() as usize;
        let left = self.lcores.saturating_sub(lcores(load.cheap));
        lcores(load.expensive).min(left).clamp(1, self.workers_max)
    }

    /// A window is over, during which pool B had `workers` lcores. Returns its
    /// new size, when it is to change.
    pub fn observe(&mut self, load: Erlangs, workers: usize) -> Option<usize> {
        let (needed, nearest) = (self.needed(load), self.run.nearest);
        if needed == workers {
            self.run = Run::default();
            return None;
        }
        let more = needed > workers;
        let goes_on = self.run.windows > 0 && more == (nearest > workers);
        self.run = match (goes_on, more) {
            (false, _) => Run { windows: 1, nearest: needed },
            (true, true) => Run { windows: self.run.windows + 1, nearest: nearest.min(needed) },
            (true, false) => Run { windows: self.run.windows + 1, nearest: nearest.max(needed) },
        };
        if self.run.windows < if more { GROW_AFTER } else { SHRINK_AFTER } {
            return None;
        }
        Some(std::mem::take(&mut self.run).nearest)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(cheap: f64, expensive: f64) -> Erlangs {
        Erlangs { cheap, expensive }
    }

    #[test]
    fn pool_b_fits_the_expensive_work_and_leaves_what_the_cheap_work_needs() {
        let needed = |cheap, expensive| Sizer::new(10, 9).needed(of(cheap, expensive));
        assert_eq!((needed(0.0, 0.0), needed(5.0, 0.8), needed(5.0, 0.81)), (1, 1, 2));
        assert_eq!((needed(0.1, 4.0), needed(0.1, 100.0), needed(4.0, 100.0)), (5, 9, 5));
        assert_eq!(needed(100.0, 100.0), 1, "at least one lcore works");
        assert_eq!(Sizer::new(10, 3).needed(of(0.0, 100.0)), 3);
        assert_eq!(needed(f64::NAN, f64::NAN), 1);
    }

    #[test]
    fn a_change_goes_no_further_than_every_window_wanted() {
        let mut sizer = Sizer::new(8, 7);
        let answers = [4.0, 1.7, 3.0].map(|expensive| sizer.observe(of(0.0, expensive), 1));
        assert_eq!(answers, [None, None, Some(3)]);
        let shrinking = (0..SHRINK_AFTER).map(|at| f64::from(at % 2));
        let answers: Vec<_> = shrinking.map(|load| sizer.observe(of(0.0, load), 6)).collect();
        assert_eq!(answers.last(), Some(&Some(2)));
        assert!(answers[..answers.len() - 1].iter().all(Option::is_none));
    }

    #[test]
    fn a_window_that_fits_begins_anew() {
        let mut sizer = Sizer::new(4, 3);
        for expensive in [2.0, 2.0, 1.5, 2.0, 2.0, 0.1, 2.0, 2.0] {
            assert_eq!(sizer.observe(of(0.0, expensive), 2), None, "{expensive}");
        }
        assert_eq!(sizer.observe(of(0.0, 2.0), 2), Some(3));
    }

    proptest! {
        #![proptest_config(crate::cases())]

        #[test]
        fn both_pools_keep_an_lcore_and_only_lasting_need_changes_them(
            lcores in 2..20usize, workers_max in 0..25usize,
            loads in prop::collection::vec((0.0..12.0f64, 0.0..12.0f64), 0..200),
        ) {
            let mut sizer = Sizer::new(lcores, workers_max);
            let mut workers = (lcores / 2).clamp(1, workers_max.max(1));
            // Sizes that the windows needed since the last change.
            let mut needs: Vec<usize> = Vec::new();
            for (cheap, expensive) in loads {
                let load = of(cheap, expensive);
                let needed = sizer.needed(load);
                prop_assert!((1..lcores).contains(&needed) && needed <= workers_max.max(1));
                prop_assert!(
                    needed as f64 >= expensive * HEADROOM
                        || needed == workers_max.clamp(1, lcores - 1)
                        || (lcores - needed) as f64 <= (cheap * HEADROOM).ceil()
                        || needed == 1
                );
                needs.push(needed);
                let Some(new) = sizer.observe(load, workers) else { continue };
                let after = if new > workers { GROW_AFTER } else { SHRINK_AFTER } as usize;
                prop_assert!(new != workers && needs.len() >= after);
                let lasting = &needs[needs.len() - after..];
                if new > workers {
                    prop_assert_eq!(lasting.iter().min(), Some(&new));
                } else {
                    prop_assert_eq!(lasting.iter().max(), Some(&new));
                }
                (workers, needs) = (new, Vec::new());
            }
        }

        #[test]
        fn under_a_steady_load_it_changes_at_most_once(lcores in 2..20usize, workers in 1..19usize, cheap in 0.0..9.0f64, expensive in 0.0..9.0f64) {
            let (mut sizer, load) = (Sizer::new(lcores, lcores - 1), of(cheap, expensive));
            let (mut size, mut changes) = (workers.min(lcores - 1), 0);
            for _ in 0..50 {
                if let Some(new) = sizer.observe(load, size) {
                    (size, changes) = (new, changes + 1);
                }
            }
            prop_assert!(changes <= 1 && size == sizer.needed(load));
        }
    }
}
