//! `--work`: service times, as written on the command line.

use std::str::FromStr;
use std::time::Duration;

use clap::ValueEnum;

use crate::traffic::{CostKeys, Costs, Service};

/// Service times, and the choice of expensive packets.
#[derive(Clone, Debug, PartialEq)]
pub struct Work {
    pub cheap: Duration,
    /// Defaults to `cheap`.
    pub expensive: Duration,
    /// The share of packets that are expensive, from 0 to 1.
    pub p: f64,
    pub seed: u64,
    pub mark: Mark,
    /// Whether the engine knows a packet's cost before the work is done.
    pub known: bool,
    /// Another distribution instead of these two values.
    pub dist: Option<Costs>,
}

/// The way in which expensive packets are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mark {
    /// By sequence if all packets of a port are alike, else by hash
    Auto,
    Hash,
    Sequence,
}

impl Work {
    /// The distribution of costs, for a source to draw from.
    pub fn costs(&self) -> Costs {
        let ns = |time: Duration| time.as_nanos() as f64;
        let service = Service::Bimodal {
            cheap_ns: ns(self.cheap),
            expensive_ns: ns(self.expensive),
            p: self.p,
        };
        self.dist.clone().unwrap_or(Costs { service, expensive_from_ns: f64::INFINITY })
    }
}

impl FromStr for Work {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let keys = text
            .strip_prefix("spin:")
            .ok_or("the only kind is spin: write spin:cheap=200ns,expensive=100us,p=0.0001")?;
        let mut work = Self {
            cheap: Duration::ZERO,
            expensive: Duration::ZERO,
            p: 0.0,
            seed: 1,
            mark: Mark::Auto,
            known: true,
            dist: None,
        };
        let (mut dist, mut two_values, mut expensive) = (CostKeys::default(), false, None);
        for pair in keys.split(',') {
            let (key, value) =
                pair.split_once('=').ok_or_else(|| format!("{pair:?} is not KEY=VALUE"))?;
            let time =
                || crate::args::parse_time(value).map_err(|what| format!("{key}={value}: {what}"));
            two_values |= ["cheap", "expensive", "p"].contains(&key);
            match key {
                "cheap" => work.cheap = time()?,
                "expensive" => expensive = Some(time()?),
                "p" => {
                    let p = value.parse::<f64>().ok().filter(|p| (0.0..=1.0).contains(p));
                    work.p = p.ok_or_else(|| {
                        format!("p={value}: write a share from 0 to 1, for example 0.0001")
                    })?;
                }
                "seed" => {
                    work.seed =
                        value.parse().map_err(|_| format!("seed={value}: write a whole number"))?
                }
                "mark" => {
                    work.mark = Mark::from_str(value, false)
                        .map_err(|_| format!("mark={value}: write auto, hash or sequence"))?
                }
                "known" => {
                    work.known = match value {
                        "yes" => true,
                        "no" => false,
                        _ => {
                            return Err(format!(
                                "known={value}: write yes, or no for work whose cost shows only while it is done"
                            ));
                        }
                    }
                }
                _ if dist.note(key, value)? => {}
                _ => {
                    return Err(format!(
                        "unknown key {key:?}: there are cheap, expensive, p, seed, mark, known; {}",
                        CostKeys::NAMES
                    ));
                }
            }
        }
        work.expensive = expensive.unwrap_or(work.cheap);
        if work.expensive < work.cheap {
            return Err(format!(
                "expensive={:?} is less than cheap={:?}: swap them",
                work.expensive, work.cheap
            ));
        }
        work.dist = dist.finish()?;
        if work.dist.is_some() && two_values {
            return Err(
                "cheap, expensive and p are a distribution of their own: leave them out, or dist"
                    .into(),
            );
        }
        Ok(work)
    }
}
