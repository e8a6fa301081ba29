//! The value of `--source`: `open-loop:` and KEY=VALUE pairs.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::{Arrivals, Skew};

/// Bytes of the shortest frame without its checksum, which packets in memory
/// lack.
pub const FRAME_MIN_BYTES: u16 = 60;

/// Bytes of the longest plain frame, likewise. It fits into one buffer of any
/// pool.
pub const FRAME_MAX_BYTES: u16 = 1514;

/// The requested rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Demand {
    /// Packets per second over all queues.
    Rate(f64),
    /// The share of all lcores' time that the packets' costs take: rate x mean
    /// cost / lcores. More than 1 is overload.
    Load(f64),
}

impl Demand {
    /// Packets per second over all queues, for a mean cost of `mean_cost_ns`
    /// and `lcores` that share the work.
    ///
    /// # Errors
    /// A load needs packets that cost something.
    pub fn pps(self, mean_cost_ns: f64, lcores: usize) -> Result<f64, String> {
        match self {
            Self::Rate(pps) => Ok(pps),
            Self::Load(load) if mean_cost_ns > 0.0 => Ok(load * lcores as f64 * 1e9 / mean_cost_ns),
            Self::Load(load) => Err(format!(
                "load={load} needs to know what a packet costs: add --work spin:cheap=1us, or ask for packets per second by rate="
            )),
        }
    }
}

/// Traffic whose arrivals do not depend on the receiver.
#[derive(Clone, Debug, PartialEq)]
pub struct OpenLoop {
    pub demand: Demand,
    pub arrivals: Arrivals,
    pub skew: Skew,
    /// Number of flows over all queues. Each belongs to one queue, and each
    /// queue has at least one.
    pub flows: u32,
    /// Bytes of a frame, without its checksum.
    pub frame_bytes: u16,
    /// The same seed makes the same packets at the same times, queue by queue.
    pub seed: u64,
}

/// The most flows: the number of port pairs that frames use.
const FLOWS_MAX: u32 = 1 << 24;

const KEYS: &str = "rate, load, arrivals, on, off, skew, flows, size and seed";

impl FromStr for OpenLoop {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let keys = text
            .strip_prefix("open-loop:")
            .ok_or("the only kind is open-loop: write open-loop:rate=1M,arrivals=poisson")?;
        let (mut demand, mut kind, mut on, mut off) = (None, "poisson", None, None);
        let (mut skew, mut flows, mut frame_bytes, mut seed) =
            (Skew::Zipf(0.0), 1024, FRAME_MIN_BYTES, 1);
        for pair in keys.split(',') {
            let (key, value) = pair
                .split_once('=')
                .ok_or_else(|| format!("{pair:?} is not KEY=VALUE: the keys are {KEYS}"))?;
            match key {
                "rate" | "load" if demand.is_some() => {
                    return Err(
                        "rate and load both say how many packets come: write one of them".into()
                    );
                }
                "rate" => demand = Some(Demand::Rate(rate(value)?)),
                "load" => demand = Some(Demand::Load(load(value)?)),
                "arrivals" => kind = value,
                "on" => on = Some(period(key, value)?),
                "off" => off = Some(period(key, value)?),
                "skew" => skew = value.parse()?,
                "flows" => {
                    let count = value.parse().ok().filter(|count| (1..=FLOWS_MAX).contains(count));
                    flows = count.ok_or_else(|| {
                        format!("flows={value}: write a number from 1 to {FLOWS_MAX}")
                    })?;
                }
                "size" => {
                    let bytes = value
                        .parse()
                        .ok()
                        .filter(|bytes| (FRAME_MIN_BYTES..=FRAME_MAX_BYTES).contains(bytes));
                    frame_bytes = bytes.ok_or_else(|| {
                        format!("size={value}: write a frame's bytes without its checksum, from {FRAME_MIN_BYTES} to {FRAME_MAX_BYTES}")
                    })?;
                }
                "seed" => {
                    seed =
                        value.parse().map_err(|_| format!("seed={value}: write a whole number"))?
                }
                _ => return Err(format!("unknown key {key:?}: there are {KEYS}")),
            }
        }
        let demand = demand.ok_or(
            "how many packets come? write rate=1M for packets per second, or load=0.7 with --work",
        )?;
        Ok(Self { demand, arrivals: arrivals(kind, on, off)?, skew, flows, frame_bytes, seed })
    }
}

fn arrivals(kind: &str, on: Option<u64>, off: Option<u64>) -> Result<Arrivals, String> {
    match (kind, on, off) {
        ("on-off", Some(on_ns), Some(off_ns)) => Ok(Arrivals::OnOff { on_ns, off_ns }),
        ("on-off", ..) => {
            Err("arrivals=on-off needs both times: add for example on=1ms,off=9ms".into())
        }
        ("poisson", None, None) => Ok(Arrivals::Poisson),
        ("fixed", None, None) => Ok(Arrivals::Fixed),
        ("poisson" | "fixed", ..) => Err(format!(
            "arrivals={kind} has no on and off: leave them out, or write arrivals=on-off"
        )),
        _ => Err(format!("arrivals={kind}: write poisson, fixed or on-off")),
    }
}

/// Packets per second with an optional k, M or G.
fn rate(text: &str) -> Result<f64, String> {
    let (digits, unit) = match text.char_indices().last() {
        Some((at, 'k')) => (&text[..at], 1e3),
        Some((at, 'M')) => (&text[..at], 1e6),
        Some((at, 'G')) => (&text[..at], 1e9),
        _ => (text, 1.0),
    };
    let pps = digits
        .parse::<f64>()
        .ok()
        .map(|number| number * unit)
        .filter(|pps| (1e-3..=1e10).contains(pps));
    pps.ok_or_else(|| {
        format!("rate={text}: write packets per second above 0, for example 800k or 2.5M")
    })
}

fn load(text: &str) -> Result<f64, String> {
    let load = text.parse::<f64>().ok().filter(|load| (1e-6..=100.0).contains(load));
    load.ok_or_else(|| format!("load={text}: write a share of the lcores' time above 0, for example 0.7; 1 is all of it"))
}

fn period(key: &str, text: &str) -> Result<u64, String> {
    let time =
        humantime::parse_duration(text).ok().and_then(|time| u64::try_from(time.as_nanos()).ok());
    let time = time.filter(|ns| (1_000..=3_600_000_000_000).contains(ns));
    time.ok_or_else(|| {
        format!("{key}={text}: write a time from 1us to 1h with its unit, for example 1ms")
    })
}

impl fmt::Display for OpenLoop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.demand {
            Demand::Rate(pps) => write!(f, "open-loop:rate={pps}")?,
            Demand::Load(load) => write!(f, "open-loop:load={load}")?,
        }
        match self.arrivals {
            Arrivals::Poisson => f.write_str(",arrivals=poisson")?,
            Arrivals::Fixed => f.write_str(",arrivals=fixed")?,
            Arrivals::OnOff { on_ns, off_ns } => {
                let [on, off] = [on_ns, off_ns].map(|ns| {
                    humantime::format_duration(Duration::from_nanos(ns))
                        .to_string()
                        .replace(' ', "")
                });
                write!(f, ",arrivals=on-off,on={on},off={off}")?;
            }
        }
        write!(
            f,
            ",skew={},flows={},size={},seed={}",
            self.skew, self.flows, self.frame_bytes, self.seed
        )
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn rates_have_units_and_the_rest_has_defaults() {
        let source: OpenLoop =
            "open-loop:rate=2.5M,arrivals=on-off,on=1ms,off=9ms,skew=1.2,seed=7".parse().unwrap();
        assert_eq!(source.demand, Demand::Rate(2.5e6));
        assert_eq!(source.arrivals, Arrivals::OnOff { on_ns: 1_000_000, off_ns: 9_000_000 });
        assert_eq!((source.flows, source.frame_bytes, source.seed), (1024, 60, 7));
        assert_eq!(
            "open-loop:load=0.7".parse::<OpenLoop>().unwrap().demand.pps(2_000.0, 2),
            Ok(700_000.0)
        );
        assert!(Demand::Load(0.7).pps(0.0, 2).unwrap_err().contains("--work"));
    }

    #[test]
    fn bad_input_says_what_to_write() {
        for (text, says) in [
            ("closed-loop:rate=1M", "open-loop:"),
            ("open-loop:", "KEY=VALUE"),
            ("open-loop:seed=1", "rate=1M"),
            ("open-loop:rate=0", "above 0"),
            ("open-loop:rate=-1M", "above 0"),
            ("open-loop:rate=NaN", "above 0"),
            ("open-loop:rate=M", "2.5M"),
            ("open-loop:rate=1M,load=0.5", "one of them"),
            ("open-loop:load=0", "above 0"),
            ("open-loop:rate=1M,arrivals=random", "poisson, fixed or on-off"),
            ("open-loop:rate=1M,arrivals=on-off,on=1ms", "off=9ms"),
            ("open-loop:rate=1M,on=1ms", "arrivals=on-off"),
            ("open-loop:rate=1M,arrivals=on-off,on=0s,off=1s", "1us"),
            ("open-loop:rate=1M,skew=-1", "0 for even"),
            ("open-loop:rate=1M,skew=0:0", "weight"),
            ("open-loop:rate=1M,flows=0", "1 to"),
            ("open-loop:rate=1M,size=20", "from 60 to 1514"),
            ("open-loop:rate=1M,seed=x", "whole number"),
            ("open-loop:rate=1M,burst=3", "rate, load"),
        ] {
            let message = text.parse::<OpenLoop>().unwrap_err();
            assert!(message.contains(says) && !message.contains('\n'), "{text}: {message}");
        }
    }

    fn skews() -> impl Strategy<Value = Skew> {
        let weights = prop::collection::vec(0.0..1e6f64, 2..6)
            .prop_filter("all are 0", |weights| weights.iter().any(|&weight| weight > 0.0));
        prop_oneof![(0.0..10.0f64).prop_map(Skew::Zipf), weights.prop_map(Skew::Weights)]
    }

    fn sources() -> impl Strategy<Value = OpenLoop> {
        let demands = prop_oneof![
            (1e-3..1e10f64).prop_map(Demand::Rate),
            (1e-6..100.0f64).prop_map(Demand::Load)
        ];
        let on_off = (1_000..3_600_000_000_000u64, 1_000..3_600_000_000_000u64)
            .prop_map(|(on_ns, off_ns)| Arrivals::OnOff { on_ns, off_ns });
        let arrivals = prop_oneof![Just(Arrivals::Poisson), Just(Arrivals::Fixed), on_off];
        (demands, arrivals, skews(), 1..=FLOWS_MAX, FRAME_MIN_BYTES..=FRAME_MAX_BYTES, any::<u64>())
            .prop_map(|(demand, arrivals, skew, flows, frame_bytes, seed)| OpenLoop {
                demand,
                arrivals,
                skew,
                flows,
                frame_bytes,
                seed,
            })
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_again(source in sources()) {
            prop_assert_eq!(source.to_string().parse::<OpenLoop>(), Ok(source));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "\\PC{0,40}", key in "(rate|load|arrivals|on|off|skew|flows|size|seed)") {
            let _ = text.parse::<OpenLoop>();
            let _ = format!("open-loop:{text}").parse::<OpenLoop>();
            let _ = format!("open-loop:rate=1M,{key}={text}").parse::<OpenLoop>();
        }
    }
}
