//! Values on a command line.

use std::ffi::OsString;
use std::str::FromStr;
use std::time::Duration;

use crate::error::{Error, Result};

/// Lcores per micropool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pools {
    pub a: usize,
    pub b: usize,
}

impl FromStr for Pools {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let parts =
            text.split_once(':').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
        match parts {
            Some((0, _) | (_, 0)) => {
                Err("each pool needs an lcore: write 1:1 or more, or --mode rtc for a single pool"
                    .into())
            }
            Some((a, b)) => Ok(Self { a, b }),
            None => Err("write two numbers as A:B, for example 8:2".into()),
        }
    }
}

impl std::fmt::Display for Pools {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.a, self.b)
    }
}

/// One queue and the lcore that polls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueOf {
    pub port: u16,
    pub queue: u16,
    pub lcore: u32,
}

/// Queues with their lcores: `--config`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueMap(pub Vec<QueueOf>);

impl FromStr for QueueMap {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let bare: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        let entry = |entry: &str| -> Option<QueueOf> {
            let mut numbers = entry.split(',');
            let queue_of = QueueOf {
                port: numbers.next()?.parse().ok()?,
                queue: numbers.next()?.parse().ok()?,
                lcore: numbers.next()?.parse().ok()?,
            };
            numbers.next().is_none().then_some(queue_of)
        };
        let inner = bare.strip_prefix('(').and_then(|rest| rest.strip_suffix(')'));
        let entries =
            inner.and_then(|inner| inner.split("),(").map(entry).collect::<Option<Vec<_>>>());
        entries.map(Self).ok_or_else(|| "write \"(port,queue,lcore)\", several joined by commas, for example \"(0,0,1),(1,0,2)\"".into())
    }
}

/// The words of a command line as text.
///
/// # Errors
/// A word is not UTF-8. EAL's arguments and ours are all names, numbers, and
/// paths that reports repeat.
pub fn in_utf8(args: impl IntoIterator<Item = OsString>) -> Result<Vec<String>> {
    let text = |arg: OsString| {
        arg.into_string().map_err(|arg| {
            Error::Usage(format!("the argument {arg:?} is not UTF-8: write it in UTF-8"))
        })
    };
    args.into_iter().map(text).collect()
}

/// clap's message on one line: without the usage, and with its tips behind
/// semicolons.
pub fn one_line(text: &str) -> String {
    let text = text
        .split("Usage:")
        .next()
        .unwrap_or(text)
        .replace("For more information, try '--help'.", "")
        .replace("\n\n  tip: ", "; ");
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.strip_prefix("error: ").unwrap_or(&line).trim_end().to_owned()
}

/// The longest time that is accepted. It fits when added to any clock, and in
/// ticks of any CPU.
const LONGEST: Duration = Duration::from_secs(100 * 31_557_600);

fn at_most_longest(time: Duration) -> std::result::Result<Duration, String> {
    if time <= LONGEST { Ok(time) } else { Err("at most 100 years: write a shorter time".into()) }
}

pub fn parse_time(text: &str) -> std::result::Result<Duration, String> {
    let time = humantime::parse_duration(text)
        .map_err(|_| "write a time with its unit, for example 20us".to_owned())?;
    at_most_longest(time)
}

pub fn parse_seconds(text: &str) -> std::result::Result<Duration, String> {
    let seconds = |seconds: f64| match Duration::try_from_secs_f64(seconds) {
        Err(_) if seconds > 0.0 => Some(Duration::MAX),
        time => time.ok(),
    };
    let time =
        text.parse::<f64>().ok().and_then(seconds).or_else(|| humantime::parse_duration(text).ok());
    let time = time.filter(|time| !time.is_zero());
    at_most_longest(
        time.ok_or("write a time above 0: seconds, or with a unit, for example 10, 0.5 or 500ms")?,
    )
}
