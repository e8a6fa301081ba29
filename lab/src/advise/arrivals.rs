//! The arrival process of a run, from the dispersion of its arrivals, in the
//! syntax of `--source`.

use std::fmt;

use super::evidence::{Evidence, Window};

/// Below this, arrivals are more even than Poisson's; above, they come in
/// bursts.
const EVEN_BELOW: f64 = 0.5;
const BURSTS_ABOVE: f64 = 2.0;

/// Phases of a window within a period, for its variance.
const PHASES: usize = 128;

/// What comes, apart from its rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Process {
    Poisson,
    Fixed,
    /// Poisson for `on_ns`, then nothing for `off_ns`, on all queues at once.
    OnOff {
        on_ns: f64,
        off_ns: f64,
    },
}

impl Process {
    /// That which has the dispersion of the evidence in both windows.
    pub(super) fn of(evidence: &Evidence) -> Self {
        let [short, long] = [0, 1].map(|at| {
            let windows = evidence.windows.iter().map(|of| of[at]);
            variation(&windows.collect::<Vec<_>>())
        });
        let Some(short) = short else { return Self::Poisson };
        let bursts = short.dispersion > BURSTS_ABOVE
            || long.is_some_and(|long| long.dispersion > BURSTS_ABOVE);
        match bursts {
            true => on_off(short, long),
            false if short.dispersion < EVEN_BELOW => Self::Fixed,
            false => Self::Poisson,
        }
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Poisson => f.write_str("arrivals=poisson"),
            Self::Fixed => f.write_str("arrivals=fixed"),
            Self::OnOff { on_ns, off_ns } => {
                write!(f, "arrivals=on-off,on={on_ns:.0}ns,off={off_ns:.0}ns")
            }
        }
    }
}

/// How a rate varies, from one window to the next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Variation {
    window_ns: f64,
    /// Mean of the queues.
    pub dispersion: f64,
    /// Squared coefficient of variation of the rate, without what Poisson
    /// arrivals add.
    rate: f64,
}

/// Over queues, by their rates. None if no queue has a dispersion.
pub(super) fn variation(windows: &[Window]) -> Option<Variation> {
    let known = windows.iter().filter_map(|of| Some((of, of.dispersion?)));
    let (mut pps, mut sums) = (0.0, [0.0; 3]);
    for (of, dispersion) in known {
        let window_ns = of.window_ns as f64;
        let rate = (dispersion - 1.0).max(0.0) / (of.pps * window_ns / 1e9);
        pps += of.pps;
        for (sum, value) in sums.iter_mut().zip([window_ns, dispersion, rate]) {
            *sum += of.pps * value;
        }
    }
    let [window_ns, dispersion, rate] = sums.map(|sum| sum / pps);
    (pps > 0.0).then_some(Variation { window_ns, dispersion, rate })
}

/// The period and its part with arrivals that explain both variations best.
/// Without the longer one, a period of some windows.
fn on_off(short: Variation, long: Option<Variation>) -> Process {
    let error = |period_ns: f64, on_share: f64| {
        let of = |seen: Variation| {
            let expected = rate_variation(period_ns, on_share, seen.window_ns);
            ((expected + 1e-4) / (seen.rate + 1e-4)).ln().powi(2)
        };
        of(short)
            + long.map_or_else(|| (period_ns / short.window_ns / 8.0).ln().powi(2) / 100.0, of)
    };
    let shares = (1..20).map(|at| f64::from(at) / 20.0);
    // From 20 us to a second.
    let periods = (0..=94).map(|at| 2e4 * 10f64.powf(f64::from(at) / 20.0));
    let all = periods.flat_map(|period| shares.clone().map(move |share| (period, share)));
    let best = all.min_by(|&a, &b| error(a.0, a.1).total_cmp(&error(b.0, b.1)));
    let (period_ns, share) = best.unwrap_or((1e7, 0.5));
    Process::OnOff { on_ns: period_ns * share, off_ns: period_ns * (1.0 - share) }
}

/// The squared coefficient of variation of the arrivals in a window, where the
/// share `on` of each period has arrivals and the window begins anywhere.
fn rate_variation(period_ns: f64, on: f64, window_ns: f64) -> f64 {
    let on_ns = period_ns * on;
    let until = |at: f64| (at / period_ns).floor() * on_ns + (at % period_ns).min(on_ns);
    let mean = on * window_ns;
    let squares = (0..PHASES).map(|phase| {
        let begin = period_ns * phase as f64 / PHASES as f64;
        (until(begin + window_ns) - until(begin) - mean).powi(2)
    });
    squares.sum::<f64>() / PHASES as f64 / mean.powi(2)
}

/// The shares of so many queues that have the same skew: the queues share the
/// range from 0 to 1, and others are cut out of it.
pub(super) fn shares(measured: &[f64], queues: usize) -> Vec<f64> {
    let upto = |at: f64| {
        let place = at * measured.len() as f64;
        let whole = (place.floor() as usize).min(measured.len());
        let rest = measured.get(whole).map_or(0.0, |share| share * (place - whole as f64));
        measured[..whole].iter().sum::<f64>() + rest
    };
    let edge = |at: usize| upto(at as f64 / queues as f64);
    (0..queues).map(|at| (edge(at + 1) - edge(at)).max(0.0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(period_ns: f64, on: f64, window_ns: f64) -> Variation {
        let rate = rate_variation(period_ns, on, window_ns);
        Variation { window_ns, dispersion: 100.0, rate }
    }

    #[test]
    fn bursts_are_found_again() {
        for (period_ns, on) in [(1e6, 0.5), (1e7, 0.25), (5e7, 0.5), (2e6, 0.1)] {
            let found = on_off(seen(period_ns, on, 8e5), Some(seen(period_ns, on, 13e6)));
            let Process::OnOff { on_ns, off_ns } = found else { panic!("{found:?}") };
            for window_ns in [8e5, 13e6] {
                let again = rate_variation(on_ns + off_ns, on_ns / (on_ns + off_ns), window_ns);
                let wanted = rate_variation(period_ns, on, window_ns);
                assert!(
                    (again - wanted).abs() < 0.2 * wanted + 0.02,
                    "{found:?}: {again} {wanted}"
                );
            }
        }
    }

    #[test]
    fn skew_is_kept_when_queues_change() {
        assert_eq!(shares(&[0.75, 0.25], 2), [0.75, 0.25]);
        assert_eq!(shares(&[0.75, 0.25], 4), [0.375, 0.375, 0.125, 0.125]);
        assert_eq!(shares(&[0.5, 0.25, 0.125, 0.125], 1), [1.0]);
    }
}
