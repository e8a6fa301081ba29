//! When a mode breaks: docs/theory.md. Formulas prune; what is left is
//! simulated.

use micropools::policy::{Argument, Mode};
use mpfwd_common::args::Pools;

use crate::mode::LabMode;
use crate::sim_mode::SimMode;

/// Lcores that each class keeps busy on average, of `lcores`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Load {
    pub lcores: usize,
    pub cheap: f64,
    pub expensive: f64,
}

impl Load {
    pub(super) fn times(self, factor: f64) -> Self {
        Self { cheap: self.cheap * factor, expensive: self.expensive * factor, ..self }
    }

    fn all(self) -> f64 {
        self.cheap + self.expensive
    }
}

/// Why a mode breaks at the quantile `q` of cheap packets. None if no rule says
/// so.
pub(super) fn broken(
    mode: SimMode,
    (pools, cap): (Pools, usize),
    load: Load,
    q: f64,
) -> Option<String> {
    let Load { lcores, cheap, expensive } = load;
    let n = lcores as f64;
    let rest = 1.0 - q;
    if load.all() >= n {
        return Some(format!("{:.2} lcores' work on {lcores}", load.all()));
    }
    let in_expensive = expensive / n;
    let crowded = above(expensive, n - cheap);
    let alone = |share: f64, what: &str| {
        (share > rest).then(|| format!("{:.2} % of cheap packets {what}", share * 100.0))
    };
    let full = |a: usize, work: f64, name: &str| {
        (work >= a as f64).then(|| format!("{name} has {a} lcores for {work:.2} lcores' work"))
    };
    match mode {
        SimMode::Lab(lab) if lab.has_pools() && lab.mode() == Mode::Pools => {
            full(pools.a, cheap, "pool A").or_else(|| full(pools.b, expensive, "pool B"))
        }
        SimMode::Lab(lab) if lab.has_pools() => (expensive >= cap as f64)
            .then(|| format!("a cap of {cap} for {expensive:.2} lcores' expensive work")),
        SimMode::Lab(lab) if lab.mode() == Mode::Shared || polls_all(lab) => {
            alone(crowded, "find too few lcores outside expensive ones")
        }
        SimMode::Lab(_) => alone(in_expensive, "find their lcore in an expensive one"),
        SimMode::Auto | SimMode::Central | SimMode::Elastic => None,
    }
}

/// Idle lcores poll others' receive queues.
fn polls_all(mode: LabMode) -> bool {
    mode.argument() == Some(Argument::StealRx)
}

/// By how much the load can grow until the mode breaks; less than 1 if it is
/// broken.
pub(super) fn headroom(mode: SimMode, split: (Pools, usize), load: Load, q: f64) -> f64 {
    let is_broken = |factor: f64| broken(mode, split, load.times(factor), q).is_some();
    let (mut low, mut high) = (0.0, 1e3);
    if !is_broken(high) {
        return high;
    }
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        *(if is_broken(middle) { &mut high } else { &mut low }) = middle;
    }
    low
}

/// P(Poisson(mean) > bound).
fn above(mean: f64, bound: f64) -> f64 {
    if bound < 0.0 {
        return 1.0;
    }
    let mut term = (-mean).exp();
    let mut below = term;
    for k in 1..=bound.floor() as u64 {
        term *= mean / k as f64;
        below += term;
    }
    (1.0 - below).max(0.0)
}

/// The rules that headroom is shown for, by name.
pub(super) fn rules(pools: Pools, cap: usize) -> [(String, SimMode, (Pools, usize)); 4] {
    let mode = |mode: Mode| SimMode::Lab(LabMode::from(mode));
    [
        ("rtc, steal".into(), mode(Mode::Rtc), (pools, cap)),
        ("shared".into(), mode(Mode::Shared), (pools, cap)),
        (format!("pools {pools}"), mode(Mode::Pools), (pools, cap)),
        (format!("hybrid {pools}, cap {cap}"), mode(Mode::Hybrid), (pools, cap)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOAD: Load = Load { lcores: 10, cheap: 5.6, expensive: 1.4 };
    const SPLIT: (Pools, usize) = (Pools { a: 8, b: 2 }, 2);

    fn lab(mode: Mode) -> SimMode {
        SimMode::Lab(mode.into())
    }

    #[test]
    fn rules_are_those_of_the_theory() {
        let why = |mode, load| broken(lab(mode), SPLIT, load, 0.99);
        assert!(why(Mode::Rtc, LOAD).unwrap().starts_with("14.00 %"));
        assert!(why(Mode::Steal, LOAD).is_some() && why(Mode::Pools, LOAD).is_none());
        assert!(why(Mode::Hybrid, LOAD).is_none());
        assert!(why(Mode::Hybrid, Load { expensive: 2.1, ..LOAD }).unwrap().contains("cap of 2"));
        assert!(why(Mode::Pools, Load { cheap: 8.1, ..LOAD }).unwrap().contains("pool A"));
        assert!(why(Mode::Shared, LOAD.times(2.0)).unwrap().contains("14.00 lcores' work"));
    }

    #[test]
    fn headroom_ends_where_the_rule_does() {
        let room = |mode| headroom(lab(mode), SPLIT, LOAD, 0.99);
        assert!((room(Mode::Rtc) - 0.1 / 1.4).abs() < 1e-6);
        assert!((room(Mode::Hybrid) - 10.0 / 7.0).abs() < 1e-6);
        assert!((room(Mode::Pools) - 8.0 / 5.6).abs() < 1e-6);
        assert!(room(Mode::Shared) < 10.0 / 7.0 && room(Mode::Shared) > 0.5);
    }

    #[test]
    fn tails_of_poisson_are_right() {
        assert!((above(1.0, 0.0) - (1.0 - (-1f64).exp())).abs() < 1e-12);
        assert!((above(0.3, 1.3) - 0.0369).abs() < 1e-4, "docs/theory.md");
        assert_eq!((above(1.0, -0.5), above(0.0, 3.0)), (1.0, 0.0));
    }
}
