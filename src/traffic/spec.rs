//! `--source open-loop:…`: what is asked of the virtual NIC.

use std::str::FromStr;
use std::time::Duration;

/// How much arrives.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rate {
    /// Packets a second, over all queues.
    Pps(f64),
    /// As a share of what the lcores could serve if they did nothing but the work itself: 1 is all of it.
    Load(f64),
}

/// How arrivals lie in time, around the mean that the rate gives.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Shape {
    /// Independent of each other: exponential gaps.
    Poisson,
    /// Equal gaps.
    Fixed,
    /// Poisson during `on`, at a rate so much higher that the mean stays; nothing during `off`; in turn.
    OnOff { on: Duration, off: Duration },
}

/// All of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spec {
    pub rate: Rate,
    pub shape: Shape,
    /// How uneven the queues' shares are: queue i, from 0, gets a share of (i + 1)^-skew (Zipf's law); 0 is even.
    pub skew: f64,
    /// Flows per queue, told apart by their UDP source port.
    pub flows: u16,
    /// Bytes of a frame, without its checksum.
    pub size: u16,
    pub seed: u64,
}

/// Ethernet, IPv4 and UDP headers, to a full minimum frame without checksum.
pub const SIZE_MIN: u16 = 60;
/// What fits into one buffer of the default size.
pub const SIZE_MAX: u16 = 1514;

impl Spec {
    /// The share of queue `at` of `queues`: they add up to 1.
    pub fn share(&self, at: usize, queues: usize) -> f64 {
        let weight = |at: usize| ((at + 1) as f64).powf(-self.skew);
        weight(at) / (0..queues).map(weight).sum::<f64>()
    }

    /// Packets a second over all queues, where `lcores` serve packets that take `mean_service` each. `None` where a load is asked for of
    /// packets that take no time.
    pub fn pps(&self, lcores: usize, mean_service: Duration) -> Option<f64> {
        match self.rate {
            Rate::Pps(pps) => Some(pps),
            Rate::Load(load) => (!mean_service.is_zero()).then(|| load * lcores as f64 / mean_service.as_secs_f64()),
        }
    }
}

/// A number, with k, M or G behind it for its thousands.
fn count(text: &str) -> Option<f64> {
    let (digits, factor) = match text.as_bytes().last()? {
        b'k' | b'K' => (&text[..text.len() - 1], 1e3),
        b'M' => (&text[..text.len() - 1], 1e6),
        b'G' => (&text[..text.len() - 1], 1e9),
        _ => (text, 1.0),
    };
    digits.parse::<f64>().ok().map(|number| number * factor).filter(|number| number.is_finite())
}

impl FromStr for Spec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let keys = text.strip_prefix("open-loop:").ok_or("the only kind is open-loop: write open-loop:rate=1M or open-loop:load=0.5")?;
        let (mut rate, mut arrivals, mut on, mut off) = (None, "poisson", None, None);
        let mut spec = Self { rate: Rate::Pps(0.0), shape: Shape::Poisson, skew: 0.0, flows: 1024, size: SIZE_MIN, seed: 1 };
        for pair in keys.split(',') {
            let (key, value) = pair.split_once('=').ok_or_else(|| format!("{pair:?} is not KEY=VALUE"))?;
            let time = || {
                let time = humantime::parse_duration(value).ok().filter(|time| !time.is_zero());
                time.ok_or_else(|| format!("{key}={value}: write a time above 0 with its unit, for example 1ms"))
            };
            let whole = |least: u16, most: u16| {
                let number = value.parse::<u16>().ok().filter(|number| (least..=most).contains(number));
                number.ok_or_else(|| format!("{key}={value}: write a whole number from {least} to {most}"))
            };
            match key {
                "rate" => {
                    let pps = count(value).filter(|&pps| pps > 0.0);
                    rate = Some(Rate::Pps(pps.ok_or_else(|| format!("rate={value}: write packets a second, for example 1M"))?));
                }
                "load" => {
                    let load = value.parse::<f64>().ok().filter(|load| *load > 0.0 && *load <= 100.0);
                    let load = load.ok_or_else(|| format!("load={value}: write a share of what the lcores can do, for example 0.5"))?;
                    rate = Some(Rate::Load(load));
                }
                "arrivals" => arrivals = value,
                "on" => on = Some(time()?),
                "off" => off = Some(time()?),
                "skew" => {
                    let skew = value.parse::<f64>().ok().filter(|skew| (0.0..=10.0).contains(skew));
                    spec.skew = skew.ok_or_else(|| format!("skew={value}: write 0 for even queues, or up to 10"))?;
                }
                "flows" => spec.flows = whole(1, u16::MAX)?,
                "size" => spec.size = whole(SIZE_MIN, SIZE_MAX)?,
                "seed" => spec.seed = value.parse().map_err(|_| format!("seed={value}: write a whole number"))?,
                _ => {
                    return Err(format!("unknown key {key:?}: there are rate, load, arrivals, on, off, skew, flows, size and seed"));
                }
            }
        }
        spec.rate = rate.ok_or("how much arrives? add rate=1M (packets a second) or load=0.5 (a share of what the lcores can do)")?;
        spec.shape = match (arrivals, on, off) {
            ("poisson", None, None) => Shape::Poisson,
            ("fixed", None, None) => Shape::Fixed,
            ("on-off", Some(on), Some(off)) => Shape::OnOff { on, off },
            ("on-off", ..) => return Err("arrivals=on-off needs both times: add on=1ms,off=1ms".into()),
            ("poisson" | "fixed", ..) => return Err(format!("on and off are for arrivals=on-off, not {arrivals}: leave them out")),
            _ => return Err(format!("arrivals={arrivals}: write poisson, fixed or on-off")),
        };
        Ok(spec)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_said_is_what_is_done() {
        let spec: Spec = "open-loop:rate=1.5M,arrivals=on-off,on=1ms,off=3ms,skew=1,flows=8,size=128,seed=9".parse().unwrap();
        let shape = Shape::OnOff { on: Duration::from_millis(1), off: Duration::from_millis(3) };
        assert_eq!(spec, Spec { rate: Rate::Pps(1.5e6), shape, skew: 1.0, flows: 8, size: 128, seed: 9 });
        let spec: Spec = "open-loop:load=0.5".parse().unwrap();
        assert_eq!(spec.pps(2, Duration::from_micros(1)), Some(1e6));
        assert_eq!(spec.pps(2, Duration::ZERO), None);
    }

    #[test]
    fn shares_follow_zipf_and_add_up() {
        let spec: Spec = "open-loop:rate=1,skew=1".parse().unwrap();
        let shares: Vec<f64> = (0..4).map(|at| spec.share(at, 4)).collect();
        assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-12 && (shares[0] / shares[3] - 4.0).abs() < 1e-12, "{shares:?}");
    }

    #[test]
    fn bad_input_says_what_to_write() {
        for (text, says) in [
            ("closed-loop:rate=1", "open-loop:rate=1M"),
            ("open-loop:seed=1", "add rate=1M"),
            ("open-loop:rate=0", "1M"),
            ("open-loop:rate=xM", "1M"),
            ("open-loop:load=-1", "0.5"),
            ("open-loop:rate=1M,arrivals=burst", "poisson, fixed or on-off"),
            ("open-loop:rate=1M,arrivals=on-off,on=1ms", "add on=1ms,off=1ms"),
            ("open-loop:rate=1M,on=1ms", "leave them out"),
            ("open-loop:rate=1M,size=20", "from 60 to 1514"),
            ("open-loop:rate=1M,flows=0", "from 1 to 65535"),
            ("open-loop:rate=1M,skew=-1", "0 for even"),
            ("open-loop:rate", "KEY=VALUE"),
            ("open-loop:speed=1", "unknown key"),
        ] {
            let message = text.parse::<Spec>().unwrap_err();
            assert!(message.contains(says) && !message.contains('\n'), "{text}: {message}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,60}") {
            let _ = (text.parse::<Spec>(), format!("open-loop:{text}").parse::<Spec>(), count(&text));
        }
    }
}
