//! The traffic of an experiment: service times, share of expensive packets, and
//! rate, in the syntax of mpfwd's `--work` and `--source`.

use std::time::Duration;

use mpfwd_common::args::parse_time;
use mpfwd_common::error::{Error, Result};
use mpfwd_common::traffic::{Demand, OpenLoop};
use mpfwd_common::work::Work;

/// Packets of two costs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Bimodal {
    pub cheap_ns: f64,
    pub expensive_ns: f64,
}

impl Bimodal {
    /// The mean cost of a packet when the share `p` of them is expensive.
    fn mean_ns(self, p: f64) -> f64 {
        (1.0 - p) * self.cheap_ns + p * self.expensive_ns
    }

    /// The share p of expensive packets at which expensive work keeps `busy`
    /// lcores busy on average (its load in Erlangs): busy = rate x p x
    /// expensive. For a given load, the rate is load x lcores / ((1 - p) x
    /// cheap + p x expensive) and depends on p itself. Hence p = busy x cheap /
    /// (busy x cheap + (load x lcores - busy) x expensive).
    ///
    /// # Errors
    /// No share does: the whole load is less than `busy`, or the rate is too
    /// low.
    pub(super) fn p_for(
        self,
        busy: f64,
        demand: Demand,
        lcores: usize,
    ) -> std::result::Result<f64, String> {
        let p = match demand {
            Demand::Rate(pps) => busy * 1e9 / (pps * self.expensive_ns),
            Demand::Load(load) => {
                let all = load * lcores as f64;
                if all <= busy {
                    return Err(format!(
                        "--expensive-load {busy}: a load of {load} on {lcores} lcores is {all} lcores' work: write less, or raise --load"
                    ));
                }
                busy * self.cheap_ns / (busy * self.cheap_ns + (all - busy) * self.expensive_ns)
            }
        };
        match (0.0..=1.0).contains(&p) {
            true => Ok(p),
            false => Err(format!(
                "--expensive-load {busy}: even if all packets were expensive it would be less: raise the rate"
            )),
        }
    }
}

/// The traffic of one experiment.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Workload {
    /// `--work`, without a seed unless the user gave one.
    pub work: String,
    /// `--source`, likewise.
    pub source: String,
    /// The two costs. `None` for any other distribution.
    pub costs: Option<Bimodal>,
    /// The share of expensive packets. `None` for any other distribution.
    pub p: Option<f64>,
    /// The mean number of lcores that expensive work keeps busy. `None`
    /// likewise.
    pub expensive_load: Option<f64>,
    pub load: Option<f64>,
}

/// The share of expensive packets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Share {
    Of(f64),
    /// As many expensive packets as keep this number of lcores busy.
    KeepsBusy(f64),
}

fn usage(message: String) -> Error {
    Error::Usage(message)
}

/// mplab's `--source` holds the keys behind `open-loop:`. Rate or load may be
/// among them.
fn source(load: f64, keys: Option<&str>) -> Result<(String, OpenLoop)> {
    let keys = keys.map(|keys| keys.strip_prefix("open-loop:").unwrap_or(keys)).unwrap_or_default();
    let has = |name: &str| keys.split(',').any(|pair| pair.split('=').next() == Some(name));
    let text = match (has("rate") || has("load"), keys) {
        (true, _) => format!("open-loop:{keys}"),
        (false, "") => format!("open-loop:load={load}"),
        (false, _) => format!("open-loop:load={load},{keys}"),
    };
    let read = text.parse().map_err(|why| usage(format!("--source {keys:?}: {why}")))?;
    Ok((text, read))
}

impl Workload {
    /// Packets of two costs.
    ///
    /// # Errors
    /// The figures contradict each other.
    pub(super) fn two_costs(
        costs: (Duration, Duration),
        share: Share,
        known: bool,
        demand: (f64, Option<&str>),
        lcores: usize,
    ) -> Result<Self> {
        let (cheap, expensive) = costs;
        if expensive < cheap {
            return Err(usage(format!(
                "--expensive {expensive:?} is less than --cheap {cheap:?}: swap them"
            )));
        }
        let (source, read) = source(demand.0, demand.1)?;
        let costs = Bimodal {
            cheap_ns: cheap.as_nanos() as f64,
            expensive_ns: expensive.as_nanos() as f64,
        };
        // Rounded, so that the printed value is the one that runs.
        let three_digits = |p: f64| format!("{p:.2e}").parse().unwrap_or(p);
        let p: f64 = match share {
            Share::Of(p) => p,
            Share::KeepsBusy(busy) => {
                costs.p_for(busy, read.demand, lcores).map(three_digits).map_err(usage)?
            }
        };
        let pps = read.demand.pps(costs.mean_ns(p), lcores).map_err(|_| {
            usage(
                "--cheap 0ns and no expensive packets: a load needs packets that cost something"
                    .into(),
            )
        })?;
        let [cheap, expensive] = [cheap, expensive]
            .map(|cost| humantime::format_duration(cost).to_string().replace(' ', ""));
        let known = if known { "" } else { ",known=no" };
        let work = format!("spin:cheap={cheap},expensive={expensive},p={p:e}{known}");
        Ok(Self {
            work,
            source,
            costs: Some(costs),
            p: Some(p),
            expensive_load: Some(pps * p * costs.expensive_ns / 1e9),
            load: load(read.demand),
        })
    }

    /// Any costs, in the syntax of mpfwd's `--work`.
    ///
    /// # Errors
    /// `work` or the keys of the source can't be parsed.
    pub(super) fn as_told(work: &str, demand: (f64, Option<&str>)) -> Result<Self> {
        let _: Work = work.parse().map_err(|why| usage(format!("--work {work:?}: {why}")))?;
        let (source, read) = source(demand.0, demand.1)?;
        Ok(Self {
            work: work.to_owned(),
            source,
            costs: None,
            p: None,
            expensive_load: None,
            load: load(read.demand),
        })
    }
}

fn load(demand: Demand) -> Option<f64> {
    match demand {
        Demand::Load(load) => Some(load),
        Demand::Rate(_) => None,
    }
}

/// Adds a seed to `spec`, unless it has one.
pub(super) fn seeded(spec: &str, seed: u64) -> String {
    let has_one = spec.split([':', ',']).any(|pair| pair.starts_with("seed="));
    if has_one { spec.to_owned() } else { format!("{spec},seed={seed}") }
}

/// Packets that wait in one receive queue when the run begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Backlog {
    pub queue: usize,
    /// Their costs together.
    pub work: Duration,
}

impl std::str::FromStr for Backlog {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let read = || {
            let (queue, work) = text.split_once(':')?;
            let work = parse_time(work).ok()?;
            Some(Self { queue: queue.parse().ok()?, work })
        };
        read().ok_or_else(|| "write a queue from 0 and its work: 9:200ms".into())
    }
}

/// The source's offered load.
#[derive(Clone, Debug)]
pub(super) struct Offer {
    pub spec: String,
    pub pps: f64,
    pub load: f64,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const COSTS: (Duration, Duration) = (Duration::from_nanos(200), Duration::from_millis(10));

    #[test]
    fn a_share_becomes_a_load_and_back() {
        let costs = Bimodal { cheap_ns: 200.0, expensive_ns: 1e7 };
        let p = costs.p_for(0.3, Demand::Load(0.5), 2).unwrap();
        assert!((p - 60.0 / 7_000_060.0).abs() < 1e-12, "{p}");
        assert_eq!(costs.p_for(0.3, Demand::Rate(3e6), 2).unwrap(), 1e-5);
        assert!(costs.p_for(1.0, Demand::Load(0.5), 2).unwrap_err().contains("raise --load"));
        assert!(costs.p_for(1.0, Demand::Rate(10.0), 2).unwrap_err().contains("raise the rate"));
    }

    proptest! {
        #[test]
        fn the_share_keeps_that_many_lcores_busy(busy in 0.001..4.0f64, more in 0.001..4.0f64, lcores in 1..64usize, ratio in 1.0..1e6f64) {
            let (costs, load) = (Bimodal { cheap_ns: 150.0, expensive_ns: 150.0 * ratio }, (busy + more) / lcores as f64);
            let p = costs.p_for(busy, Demand::Load(load), lcores).unwrap();
            let pps = Demand::Load(load).pps(costs.mean_ns(p), lcores).unwrap();
            prop_assert!((pps * p * costs.expensive_ns / 1e9 / busy - 1.0).abs() < 1e-6);
        }
    }

    #[test]
    fn it_is_written_as_mpfwd_reads_it() {
        let plain = Workload::two_costs(COSTS, Share::Of(1e-5), true, (0.5, None), 2).unwrap();
        assert_eq!(
            (plain.work.as_str(), plain.source.as_str()),
            ("spin:cheap=200ns,expensive=10ms,p=1e-5", "open-loop:load=0.5")
        );
        assert!((plain.expensive_load.unwrap() - 1e-5 * 1e7 / (200.0 + 100.0)).abs() < 1e-4);
        let keys = Workload::two_costs(
            COSTS,
            Share::KeepsBusy(0.1),
            false,
            (0.5, Some("rate=1M,arrivals=fixed")),
            2,
        )
        .unwrap();
        assert_eq!(
            (keys.source.as_str(), keys.load, keys.p),
            ("open-loop:rate=1M,arrivals=fixed", None, Some(1e-5))
        );
        assert!(keys.work.ends_with(",known=no"));
        for (text, seed) in [(plain.work, 7), (keys.work, 8)] {
            assert_eq!(seeded(&text, seed).parse::<Work>().unwrap().seed, seed);
        }
        assert_eq!(seeded("open-loop:seed=3,rate=1M", 9), "open-loop:seed=3,rate=1M");
        let told =
            Workload::as_told("spin:dist=exponential,mean=1us", (0.7, Some("skew=1"))).unwrap();
        assert_eq!(
            (told.source.as_str(), told.load, told.p),
            ("open-loop:load=0.7,skew=1", Some(0.7), None)
        );
    }

    #[test]
    fn what_makes_no_sense_is_one_line() {
        let two = |share, source| {
            Workload::two_costs(COSTS, share, true, (0.5, source), 2).unwrap_err().to_string()
        };
        for (message, says) in [
            (two(Share::KeepsBusy(3.0), None), "raise --load"),
            (two(Share::Of(0.1), Some("skew=-1")), "0 for even"),
            (two(Share::Of(0.1), Some("arrivals=sometimes")), "poisson, fixed or on-off"),
            (
                Workload::two_costs((COSTS.1, COSTS.0), Share::Of(0.1), true, (0.5, None), 2)
                    .unwrap_err()
                    .to_string(),
                "swap",
            ),
            (
                Workload::two_costs(
                    (Duration::ZERO, COSTS.1),
                    Share::Of(0.0),
                    true,
                    (0.5, None),
                    2,
                )
                .unwrap_err()
                .to_string(),
                "cost something",
            ),
            (
                Workload::as_told("spin:dist=pareto,min=1us", (0.5, None)).unwrap_err().to_string(),
                "shape=1.1",
            ),
        ] {
            assert!(message.contains(says) && !message.contains('\n'), "{message}");
        }
    }
}
