//! The arguments behind `--`: their names (testpmd's and l3fwd's where those
//! have one), their syntax, their help. What they mean together is `config`'s
//! business.

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{CommandFactory, Parser, ValueEnum};
use macaddr::MacAddr6;
use serde::Serialize;

use crate::engine::l3::RouteFile;
use crate::policy::Mode;
use crate::shed::ShardPick;
use crate::traffic::OpenLoop;
use mpfwd_common::error::{Error, Result};

pub use mpfwd_common::args::Pools;
pub(crate) use mpfwd_common::args::{in_utf8, one_line, parse_seconds, parse_time};
pub use mpfwd_common::work::{Mark, Work};

#[derive(Clone, Debug, Parser)]
#[command(
    name = "mpfwd",
    version,
    override_usage = "mpfwd [EAL arguments] -- [arguments]",
    about = "Forwards packets, and keeps the expensive ones out of the way of the others.",
    after_help = "EAL arguments (before --): -l 0-9 (lcores), -a 0000:01:00.0 (a NIC), --vdev net_null0 (a virtual port), --no-huge -m 1024, …\n\
                  Example: mpfwd -l 0-9 -- --pools 8:2 --forward-mode mac"
)]
pub struct Cli {
    /// Split the lcores: the first A (main lcore included) poll and run the
    /// cheap stage, the other B run the expensive stage
    #[arg(long, value_name = "A:B")]
    pub pools: Option<Pools>,
    /// How lcores share work [default: hybrid with --pools, else rtc]
    #[arg(long, value_enum)]
    pub mode: Option<Mode>,
    /// With --mode steal: try to steal every N packets too, idle or not (Go and
    /// Tokio: 61)
    #[arg(long, value_name = "N", value_parser = parse_every)]
    pub steal_every: Option<NonZeroU64>,
    /// With --mode hybrid: how long an lcore may be in one packet before others
    /// take what waits for it [default: 20us]
    #[arg(long, value_name = "TIME", allow_negative_numbers = true, value_parser = parse_time)]
    pub rescue_after: Option<Duration>,
    /// With --mode hybrid: how many lcores may be in expensive work at a time
    /// [default: all of pool B]
    #[arg(long, value_name = "N")]
    pub expensive_cap: Option<usize>,
    /// How a run queue grows that is full
    #[arg(long, value_enum, default_value_t = Grow::Double)]
    pub grow: Grow,
    /// Packets that a run queue may hold, at least two bursts
    #[arg(long, value_name = "N", default_value_t = 8192, value_parser = clap::value_parser!(u32).range(1..=1 << 24))]
    pub runq_max: u32,
    /// Whether packets of one flow leave in the order in which they came,
    /// although some of them are deferred, stolen or rescued
    #[arg(long, value_enum, default_value_t = KeepOrder::Flow)]
    pub order: KeepOrder,
    /// What is done to a packet: nothing, set both MAC addresses, swap them,
    /// route it, or look for --rules in its payload
    #[arg(long, value_enum, default_value_t = ForwardMode::Io)]
    pub forward_mode: ForwardMode,
    /// With --forward-mode l3: the routes, a line each: "10.0.0.0/8 PORT [MAC
    /// of the next hop]"
    #[arg(long, value_name = "FILE")]
    pub routes: Option<RouteFile>,
    /// Which lcore polls which queue: "(port,queue,lcore),…" [default: queue i
    /// of every port on the i-th lcore that polls]
    #[arg(long, value_name = "(PORT,QUEUE,LCORE),…")]
    pub config: Option<QueueMap>,
    /// The ports to use, as a bit mask in hexadecimal [default: all]
    #[arg(long, value_name = "MASK", value_parser = parse_mask)]
    pub portmask: Option<u64>,
    /// Receive queues per port [default: one per lcore that polls]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub rxq: Option<u16>,
    /// Transmit queues per port; lcores share them if there are fewer [default:
    /// one per lcore]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub txq: Option<u16>,
    /// Descriptors per receive queue
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = clap::value_parser!(u16).range(32..))]
    pub rxd: u16,
    /// Descriptors per transmit queue
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = clap::value_parser!(u16).range(32..))]
    pub txd: u16,
    /// Packets per burst
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=crate::dpdk::BURST_MAX as i64))]
    pub burst: u16,
    /// Packet buffers in the pool [default: what all queues, shards and lcores
    /// can hold]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(64..=1 << 26))]
    pub mbufs: Option<u32>,
    /// The longest frame, in bytes with its checksum
    #[arg(long, value_name = "BYTES", default_value_t = crate::config::DEFAULT_MAX_PKT_LEN, value_parser = clap::value_parser!(u32).range(86..=16_000))]
    pub max_pkt_len: u32,
    /// Destination address of what leaves by a port in mac and l3 mode
    /// (repeatable) [default: 02:00:00:00:00:PORT]
    #[arg(long, value_name = "PORT,MAC")]
    pub eth_peer: Vec<EthPeer>,
    /// Receive packets for all addresses
    #[arg(short = 'P', long)]
    pub promiscuous: bool,
    /// Shards between the pools [default: one per lcore that sheds]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub shards: Option<u16>,
    /// Which shard a worker takes from next [default: oldest]
    #[arg(long, value_enum)]
    pub shard_pick: Option<ShardPick>,
    /// Entries per shard, a power of two
    #[arg(long, value_name = "N", default_value_t = 2048)]
    pub ring_size: u32,
    /// What happens to a packet whose shard is full: drop it, or run it where
    /// it is
    #[arg(long, value_enum, default_value_t = OnFull::Drop)]
    pub on_full: OnFull,
    /// What an lcore does that finds nothing to do
    #[arg(long, value_enum, default_value_t = Idle::Pause)]
    pub idle: Idle,
    /// Stop after so long: seconds, or with a unit (500ms, 2min)
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, value_parser = parse_seconds)]
    pub duration: Option<Duration>,
    /// Stop once so many packets were received; the bursts that cross the
    /// number are finished
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub packets: Option<u64>,
    /// Print a line of statistics so often: seconds, or with a unit
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, value_parser = parse_seconds)]
    pub stats_period: Option<Duration>,
    /// Write the report as JSON too
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Write latencies as PREFIX-cheap.hgrm and PREFIX-expensive.hgrm, for
    /// HdrHistogram's plotter and other tools
    #[arg(long, value_name = "PREFIX")]
    pub hgrm: Option<String>,
    /// Make packets cost CPU time:
    /// "spin:cheap=200ns,expensive=100us,p=0.0001[,seed=1][,mark=auto|hash|sequence][,known=yes|no]";
    /// with --source also other distributions, as
    /// "spin:dist=exponential,mean=1us"
    #[arg(long, value_name = "SPEC")]
    pub work: Option<Work>,
    /// With --forward-mode dpi: the file of what to look for, one rule a line:
    /// ACTION NAME "bytes" or /regular expression/
    #[arg(long, value_name = "FILE")]
    pub rules: Option<PathBuf>,
    /// With --forward-mode dpi: how many packets with a payload are scanned of
    /// a flow in which nothing is found [default: 8]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub dpi_pkts: Option<u16>,
    /// Flows that are remembered, by dpi or for --predict [default: 65536]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1 << 28))]
    pub flows: Option<u32>,
    /// How long a flow is remembered that no packet comes of [default: 60s]
    #[arg(long, value_name = "TIME", allow_negative_numbers = true, value_parser = parse_time)]
    pub flow_timeout: Option<Duration>,
    /// Begin work of unknown cost where the packet came in, and hand it over
    /// after so long (dpi, or --work with known=no)
    #[arg(long, value_name = "TIME", allow_negative_numbers = true, value_parser = parse_time)]
    pub yield_after: Option<Duration>,
    /// With --yield-after: hand over at once what will take as long, going by
    /// the last packet of its flow or their moving average
    #[arg(long, value_enum, default_value_t = Predict::None)]
    pub predict: Predict,
    /// Make the packets of net_null ports:
    /// "open-loop:rate=1M|load=0.5[,arrivals=poisson|fixed|on-off][,on=1ms,off=1ms][,skew=0]
    /// [,flows=1024][,size=60][,seed=1]"; such a port is --vdev
    /// net_null0,no-rx=1
    #[arg(long, value_name = "SPEC")]
    pub source: Option<OpenLoop>,
    /// Where latency is counted from
    #[arg(long, value_enum, default_value_t = Timestamps::Auto)]
    pub timestamps: Timestamps,

    /// Have an RX callback stamp what drivers receive, as a NIC would: shows
    /// what --timestamps nic costs where no NIC stamps
    #[arg(long)]
    pub emulate_stamps: bool,
    /// Measure what each step of the loop costs (slows it down)
    #[arg(long)]
    pub record_core_cycles: bool,
    /// Check these arguments, and end before EAL starts
    #[arg(long, hide = true)]
    pub check_args: bool,
}

impl Cli {
    /// Whether `arg` is one of the long arguments here, with or without a
    /// value.
    pub fn knows(arg: &str) -> bool {
        let name = arg.strip_prefix("--").map(|rest| rest.split('=').next().unwrap_or(rest));
        name.is_some_and(|name| {
            Self::command().get_arguments().any(|argument| argument.get_long() == Some(name))
        })
    }

    /// Reads the arguments behind `--`; `Ok(None)` when help or the version was
    /// asked for, and printed.
    ///
    /// # Errors
    /// The first thing wrong, as one line.
    pub fn read(args: &[String]) -> Result<Option<Self>> {
        let words = std::iter::once("mpfwd").chain(args.iter().map(String::as_str));
        match Self::try_parse_from(words) {
            Ok(cli) => Ok(Some(cli)),
            Err(error) if !error.use_stderr() => {
                print!("{error}");
                Ok(None)
            }
            Err(error) => Err(Error::Usage(one_line(&error.to_string()))),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Grow {
    /// The ring doubles
    Double,
    /// Another ring is appended
    Append,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ForwardMode {
    Io,
    Mac,
    #[value(name = "macswap")]
    MacSwap,
    L3,
    Dpi,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum KeepOrder {
    /// A packet waits for those of its flow that came before it
    Flow,
    /// Each packet leaves when it is ready; what is out of order is counted
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OnFull {
    Drop,
    Run,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Idle {
    /// Look again at once
    Spin,
    /// Let the CPU rest for some tens of nanoseconds
    Pause,
    /// Give the CPU to another thread: for more lcores than CPUs
    Yield,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Timestamps {
    /// The driver's stamp where all ports have one, else the poll
    Auto,
    /// The stamp that the driver or its NIC puts on the packet
    Nic,
    /// The poll that brought the packet
    Software,
    /// Latency is not counted
    Off,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Predict {
    /// Nothing is known of a packet in advance
    None,
    /// It costs what the last one of its flow did
    Last,
    /// It costs what its flow's packets did, the newer the more (weights of
    /// 1/8)
    Ewma,
}

/// One queue and the lcore that polls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueOf {
    pub port: u16,
    pub queue: u16,
    pub lcore: u32,
}

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

/// The address behind a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EthPeer {
    pub port: u16,
    pub mac: MacAddr6,
}

impl FromStr for EthPeer {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let parts = text.split_once(',').and_then(|(port, mac)| {
            Some(Self { port: port.trim().parse().ok()?, mac: mac.trim().parse().ok()? })
        });
        parts.ok_or_else(|| "write PORT,MAC, for example 0,02:00:00:00:00:01".into())
    }
}

fn parse_mask(text: &str) -> std::result::Result<u64, String> {
    let digits = text.strip_prefix("0x").or(text.strip_prefix("0X")).unwrap_or(text);
    match u64::from_str_radix(digits, 16) {
        Ok(0) => Err("it names no port: write 0x1 for port 0, 0x3 for ports 0 and 1".into()),
        Ok(mask) => Ok(mask),
        Err(_) => Err("write a hexadecimal mask, for example 0x3".into()),
    }
}

fn parse_every(text: &str) -> std::result::Result<NonZeroU64, String> {
    text.parse().map_err(|_| {
        "write how many packets from one attempt to the next, 1 or more, for example 61; or leave it out to steal only when idle".into()
    })
}

#[cfg(test)]
mod tests;
