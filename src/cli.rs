//! The arguments behind `--`: names (testpmd's and l3fwd's where those have
//! one), syntax, and help. `config` decides what they mean together.

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, CommandFactory, FromArgMatches, Parser, ValueEnum};
use macaddr::MacAddr6;
use serde::Serialize;

use crate::dpdk::{BURST_MAX, ETHER_MAX_LEN};
use crate::engine::l3::RouteFile;
use crate::policy::Mode;
use crate::shed::ShardPick;
use crate::traffic::OpenLoop;
use mpfwd_common::error::{Error, Result};
use mpfwd_common::generate::Generated;
use mpfwd_common::output::print;

pub use mpfwd_common::api::ApiArg;
pub use mpfwd_common::args::{Pools, QueueMap, QueueOf};
pub(crate) use mpfwd_common::args::{in_utf8, one_line, parse_seconds, parse_time};
pub use mpfwd_common::work::{Mark, Work};

mod eal_table;
mod example;
mod setting;
mod sources;

pub use example::example;
pub use sources::Merged;

/// Behind the list of arguments in `--help`.
const AFTER_HELP: &str = "\
EAL arguments stand before --: -l 0-9 (lcores), -a 0000:01:00.0 (a NIC),
--vdev net_null0 (a virtual port), --no-huge -m 1024 (no hugepages), ...

Examples:
  mpfwd -l 0-9 -a 01:00.0 -a 01:00.1 -- --pools 8:2 --forward-mode mac
  mpfwd -l 0-3 -a 01:00.0 -- --pools 3:1 --forward-mode dpi --rules my.rules
  mpfwd -l 0-1 --no-pci --vdev net_null0,no-rx=1 -- --pools 1:1 \\
        --source open-loop:load=0.5 --work spin:cheap=1us,expensive=1ms,p=1e-4
  mpfwd --config-file /etc/mpfwd/mpfwd.toml; mpfwd check FILE checks it

Exit codes:
  0  packets were forwarded and conserved
  1  the report could not be written
  2  bad input, or the machine lacks something; nothing was forwarded
  3  the conservation check failed; the report says how many packets are missing";

const SCHEDULING: &str = "Scheduling";
const PORTS: &str = "Ports and queues";
const ENGINE: &str = "Engine";
const TRAFFIC: &str = "Traffic";
const LATENCY: &str = "Latency";
const RUN: &str = "Run";

/// Forwards packets between ports, and keeps expensive packets from delaying
/// the others
// The first paragraph of an argument's comment is its line in `-h`. `--help`,
// the man page and docs/flags.md have all paragraphs.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "mpfwd",
    version,
    override_usage = "mpfwd [EAL arguments] -- [arguments]",
    after_help = AFTER_HELP
)]
pub struct Cli {
    /// Lcores that poll, and lcores that work [default: one pool]
    ///
    /// The first A lcores, the main lcore among them, poll and run the cheap
    /// stage. The other B run the expensive stage; in mode hybrid they also
    /// poll while no expensive packet waits. A + B is the number of lcores.
    /// With auto, in mode hybrid, A and B follow the load.
    #[arg(long, help_heading = SCHEDULING, value_name = "A:B|auto")]
    pub pools: Option<PoolsArg>,
    /// How lcores share work [default: hybrid with --pools, else rtc]
    ///
    /// See docs/modes.md.
    #[arg(long, help_heading = SCHEDULING, value_name = "MODE", value_enum)]
    pub mode: Option<Mode>,
    /// Mode steal: also steal every N packets [default: when idle]
    ///
    /// Go's and Tokio's schedulers do so every 61 tasks.
    #[arg(long, help_heading = SCHEDULING, value_name = "N", value_parser = parse_every)]
    pub steal_every: Option<NonZeroU64>,
    /// Mode hybrid: rescue an lcore after so long in one packet [default: 20us]
    ///
    /// At least 50 ns per packet of a burst. Where a burst takes longer than
    /// 20us, that is the default.
    #[arg(long, help_heading = SCHEDULING, value_name = "TIME",
          allow_negative_numbers = true, value_parser = parse_time)]
    pub rescue_after: Option<Duration>,
    /// Mode hybrid: poll for an lcore that does not run for longer [default:
    /// 50us]
    #[arg(long, help_heading = SCHEDULING, value_name = "TIME",
          allow_negative_numbers = true, value_parser = parse_time)]
    pub stall_after: Option<Duration>,
    /// Mode hybrid: how idle lcores share a pressed lcore's backlog [default:
    /// pull]
    #[arg(long, help_heading = SCHEDULING, value_enum)]
    pub excess: Option<Excess>,
    /// Mode steal: idle lcores poll other lcores' receive queues, too
    #[arg(long, help_heading = SCHEDULING)]
    pub steal_rx: bool,
    /// Mode hybrid: lcores in expensive work at a time [default: B]
    ///
    /// With --pools auto, B is never larger.
    #[arg(long, help_heading = SCHEDULING, value_name = "N")]
    pub expensive_cap: Option<usize>,
    /// Whether packets of a flow leave in the order in which they arrived
    ///
    /// Packets that are deferred, stolen or rescued keep their place, too. See
    /// docs/modes.md.
    #[arg(long, help_heading = SCHEDULING, value_name = "ORDER", value_enum,
          default_value_t = KeepOrder::Flow)]
    pub order: KeepOrder,
    /// Shards between the pools [default: one per lcore that sheds]
    #[arg(long, help_heading = SCHEDULING, value_name = "N",
          value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub shards: Option<u16>,
    /// Which shard a worker dequeues from next [default: oldest]
    #[arg(long, help_heading = SCHEDULING, value_name = "PICK", value_enum)]
    pub shard_pick: Option<ShardPick>,
    /// Entries per shard or inbox, a power of two
    #[arg(long, help_heading = SCHEDULING, value_name = "N", default_value_t = 2048)]
    pub ring_size: u32,
    /// What happens to a packet whose shard or inbox is full
    ///
    /// With run in mode hybrid, an lcore without a permit receives nothing more
    /// until its shard has room.
    #[arg(long, help_heading = SCHEDULING, value_name = "ACTION", value_enum,
          default_value_t = OnFull::Drop)]
    pub on_full: OnFull,
    /// How a full run queue grows
    #[arg(long, help_heading = SCHEDULING, value_name = "HOW", value_enum,
          default_value_t = Grow::Double)]
    pub grow: Grow,
    /// Packets that a run queue may hold, at least two bursts
    #[arg(long, help_heading = SCHEDULING, value_name = "N", default_value_t = 8192,
          value_parser = clap::value_parser!(u32).range(1..=1 << 24))]
    pub runq_max: u32,
    /// What an idle lcore does
    #[arg(long, help_heading = SCHEDULING, value_name = "HOW", value_enum,
          default_value_t = Idle::Pause)]
    pub idle: Idle,

    /// Ports to use, as a hexadecimal mask [default: all]
    #[arg(long, help_heading = PORTS, value_name = "MASK", value_parser = parse_mask)]
    pub portmask: Option<u64>,
    /// Which lcore polls which queue: "(PORT,QUEUE,LCORE),..."
    ///
    /// Without it queue i of every port belongs to the i-th lcore that polls
    /// and is on the port's NUMA socket; to the i-th of all that poll where
    /// none is, and for virtual ports, which are on no socket.
    #[arg(long, help_heading = PORTS, value_name = "MAP")]
    pub config: Option<QueueMap>,
    /// Receive queues per port [default: one per lcore that polls on its
    /// socket]
    #[arg(long, help_heading = PORTS, value_name = "N",
          value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub rxq: Option<u16>,
    /// Transmit queues per port [default: one per lcore]
    ///
    /// Lcores share queues, under a lock, if there are fewer.
    #[arg(long, help_heading = PORTS, value_name = "N",
          value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub txq: Option<u16>,
    /// Descriptors per receive queue, a power of two
    #[arg(long, help_heading = PORTS, value_name = "N", default_value_t = 1024,
          value_parser = clap::value_parser!(u16).range(32..))]
    pub rxd: u16,
    /// Descriptors per transmit queue, a power of two
    #[arg(long, help_heading = PORTS, value_name = "N", default_value_t = 1024,
          value_parser = clap::value_parser!(u16).range(32..))]
    pub txd: u16,
    /// Packets per burst
    #[arg(long, help_heading = PORTS, value_name = "N", default_value_t = 32,
          value_parser = clap::value_parser!(u16).range(1..=BURST_MAX as i64))]
    pub burst: u16,
    /// Packet buffers per socket in use [default: as many as can be in use at
    /// once]
    ///
    /// At least two bursts per receive queue.
    #[arg(long, help_heading = PORTS, value_name = "N",
          value_parser = clap::value_parser!(u32).range(64..=1 << 26))]
    pub mbufs: Option<u32>,
    /// Longest frame with its checksum, up to 16000
    #[arg(long, help_heading = PORTS, value_name = "BYTES",
          default_value_t = ETHER_MAX_LEN,
          value_parser = clap::value_parser!(u32).range(86..=16_000))]
    pub max_pkt_len: u32,
    /// Receive packets for all addresses
    #[arg(short = 'P', long, help_heading = PORTS)]
    pub promiscuous: bool,

    /// What is done to a packet
    ///
    /// See docs/l3.md and docs/dpi.md.
    #[arg(long, help_heading = ENGINE, value_name = "ENGINE", value_enum,
          default_value_t = ForwardMode::Io)]
    pub forward_mode: ForwardMode,
    /// Address behind a port, repeatable [default: 02:00:00:00:00:PORT]
    ///
    /// The destination address of frames that leave by this port in mac mode,
    /// and in l3 mode where the route names none.
    #[arg(long, help_heading = ENGINE, value_name = "PORT,MAC")]
    pub eth_peer: Vec<EthPeer>,
    /// Engine l3: the routes
    ///
    /// One per line: 10.0.0.0/8 PORT, then the MAC address of the next hop if
    /// it has one. See docs/l3.md.
    #[arg(long, help_heading = ENGINE, value_name = "FILE")]
    pub routes: Option<RouteFile>,
    /// Engine dpi: the rules
    ///
    /// One per line: an action, a name, and "bytes", /an expression/ or names
    /// of hosts. See docs/dpi.md.
    #[arg(long, help_heading = ENGINE, value_name = "FILE")]
    pub rules: Option<PathBuf>,
    /// Engine dpi: packets with a payload to scan per flow [default: 8]
    #[arg(long, help_heading = ENGINE, value_name = "N",
          value_parser = clap::value_parser!(u16).range(1..))]
    pub dpi_pkts: Option<u16>,
    /// Engine dpi: memory for TCP streams [default: 64]
    ///
    /// Patterns across segments are found in as many streams at once. 0: each
    /// payload is scanned by itself.
    #[arg(long, help_heading = ENGINE, value_name = "MIB",
          value_parser = clap::value_parser!(u32).range(0..=1 << 20))]
    pub stream_memory: Option<u32>,
    /// Engine dpi: which packet's addresses and ports make a flow
    ///
    /// See docs/dpi.md.
    #[arg(long, help_heading = ENGINE, value_name = "WHICH", value_enum,
          default_value_t = FlowKeyArg::Inner)]
    pub flow_key: FlowKeyArg,
    /// Engine dpi: whether flows in different VLANs are different flows
    #[arg(long, help_heading = ENGINE, value_name = "HOW", value_enum,
          default_value_t = FlowVlan::Use)]
    pub flow_vlan: FlowVlan,
    /// Flows that dpi and --predict remember [default: 65536]
    #[arg(long, help_heading = ENGINE, value_name = "N",
          value_parser = clap::value_parser!(u32).range(1..=1 << 28))]
    pub flows: Option<u32>,
    /// Idle timeout of a flow [default: 60s]
    #[arg(long, help_heading = ENGINE, value_name = "TIME",
          allow_negative_numbers = true, value_parser = parse_time)]
    pub flow_timeout: Option<Duration>,
    /// Defer work of unknown cost after this time [default: never]
    ///
    /// The polling lcore starts the work, and hands it over when the time is
    /// up. For dpi, and for --work with known=no.
    #[arg(long, help_heading = ENGINE, value_name = "TIME",
          allow_negative_numbers = true, value_parser = parse_time)]
    pub yield_after: Option<Duration>,
    /// With --yield-after: defer at once what should take as long
    #[arg(long, help_heading = ENGINE, value_name = "BY", value_enum,
          default_value_t = Predict::None)]
    pub predict: Predict,

    /// Open-loop traffic for --vdev net_null0,no-rx=1
    ///
    /// open-loop:rate=1M or open-loop:load=0.5, a share of what the lcores can
    /// do; then arrivals=poisson|fixed|on-off, on=1ms, off=1ms, skew=0,
    /// flows=1024, size=60, seed=1. See docs/traffic.md.
    #[arg(long, help_heading = TRAFFIC, value_name = "SPEC")]
    pub source: Option<OpenLoop>,
    /// CPU time per packet [default: none]
    ///
    /// spin:cheap=200ns,expensive=100us,p=0.0001; then seed=1,
    /// mark=auto|hash|sequence (which packets are expensive) and known=yes|no
    /// (whether the cost is known beforehand); or another distribution. See
    /// docs/traffic.md.
    #[arg(long, help_heading = TRAFFIC, value_name = "SPEC")]
    pub work: Option<Work>,

    /// Where latency starts
    ///
    /// With --source it starts when the packet is due; only off may be chosen
    /// instead. See docs/report.md.
    #[arg(long, help_heading = LATENCY, value_name = "BY", value_enum,
          default_value_t = Timestamps::Auto)]
    pub timestamps: Timestamps,
    /// Let an RX callback stamp packets, as a NIC would
    ///
    /// Shows what --timestamps nic costs where no NIC stamps. The times are not
    /// those of packets.
    #[arg(long, help_heading = LATENCY)]
    pub emulate_stamps: bool,
    /// Write PREFIX-cheap.hgrm and PREFIX-expensive.hgrm
    ///
    /// Percentile files for HdrHistogram's plotter.
    #[arg(long, help_heading = LATENCY, value_name = "PREFIX")]
    pub hgrm: Option<String>,
    /// Measure the cycles of each step; slows the loop down
    #[arg(long, help_heading = LATENCY)]
    pub record_core_cycles: bool,

    /// Stop after this time: 10, 0.5, 500ms, 2min [default: never]
    #[arg(long, help_heading = RUN, value_name = "SECONDS",
          allow_negative_numbers = true, value_parser = parse_seconds)]
    pub duration: Option<Duration>,
    /// Stop after N received packets [default: never]
    ///
    /// Bursts in flight are finished.
    #[arg(long, help_heading = RUN, value_name = "N",
          value_parser = clap::value_parser!(u64).range(1..))]
    pub packets: Option<u64>,
    /// Print a line of live statistics this often [default: never]
    #[arg(long, help_heading = RUN, value_name = "SECONDS",
          allow_negative_numbers = true, value_parser = parse_seconds)]
    pub stats_period: Option<Duration>,
    /// Write the report as JSON
    ///
    /// See docs/report.md.
    #[arg(long, help_heading = RUN, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Control socket: unix:PATH, 127.0.0.1:PORT, or off [default: by EAL's
    /// --file-prefix]
    ///
    /// By default /run/mpfwd/PREFIX.sock for root, and
    /// $XDG_RUNTIME_DIR/mpfwd/PREFIX.sock for others. mpctl and Prometheus use
    /// it. See docs/api.md.
    #[arg(long, help_heading = RUN, value_name = "ADDRESS")]
    pub api: Option<ApiArg>,
    /// On SIGTERM go on for up to this time, until little arrives [default: end
    /// at once]
    ///
    /// The API says at once that the run is not ready. See docs/operating.md.
    #[arg(long, help_heading = RUN, value_name = "TIME",
          allow_negative_numbers = true, value_parser = parse_time)]
    pub drain: Option<Duration>,
    /// Read arguments from this TOML file
    ///
    /// EAL's stand below [eal]. The environment replaces arguments of the file,
    /// for example by MPFWD_BURST=32 or MPFWD_EAL_L=0-9, and the command line
    /// replaces both. mpfwd check FILE finds all mistakes. See
    /// docs/operating.md.
    #[arg(long, help_heading = RUN, value_name = "FILE")]
    pub config_file: Option<PathBuf>,
    /// Check these arguments, and end before EAL starts
    #[arg(long, hide = true)]
    pub check_args: bool,
    /// Print the man page or a shell's completions
    #[arg(long, hide = true, value_enum, value_name = "WHAT")]
    pub generate: Option<Generated>,
}

impl Cli {
    /// Whether `arg` is one of these long arguments, with or without a value.
    pub fn knows(arg: &str) -> bool {
        let name = arg.strip_prefix("--").map(|rest| rest.split('=').next().unwrap_or(rest));
        name.is_some_and(|name| {
            Self::command().get_arguments().any(|argument| argument.get_long() == Some(name))
        })
    }

    /// Reads the arguments behind `--`. `Ok(None)`: help, the version, or
    /// something generated was asked for, and has been printed.
    ///
    /// # Errors
    /// The first thing wrong, as one line.
    pub fn read(args: &[String]) -> Result<Option<Self>> {
        Ok(Self::read_with::<NoArgs>("mpfwd", args)?.map(|(cli, _)| cli))
    }

    /// As `read`, for the program of that name, which has arguments of its own.
    ///
    /// # Errors
    /// As `read`.
    pub fn read_with<A: Args>(name: &'static str, args: &[String]) -> Result<Option<(Self, A)>> {
        let command = || {
            let own = Self::command().name(name).bin_name(name);
            let about = own.get_about().cloned().unwrap_or_default();
            // `A`'s own description is not the program's.
            A::augment_args(own).about(about).long_about(None)
        };
        let words = std::iter::once(name).chain(args.iter().map(String::as_str));
        let both = command().try_get_matches_from(words).and_then(|matches| {
            Ok((Self::from_arg_matches(&matches)?, A::from_arg_matches(&matches)?))
        });
        match both {
            Ok((Self { generate: Some(what), .. }, _)) => {
                print(what.of(command(), 8));
                Ok(None)
            }
            Ok(both) => Ok(Some(both)),
            Err(error) if !error.use_stderr() => {
                print(error.render().to_string());
                Ok(None)
            }
            Err(error) => Err(Error::Usage(one_line(&error.to_string()))),
        }
    }
}

/// For programs without arguments of their own.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct NoArgs {}

/// `--flow-key`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FlowKeyArg {
    /// The innermost IP packet of a tunnel
    Inner,
    /// The outermost IP packet
    Outer,
}

/// `--flow-vlan`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FlowVlan {
    /// They are different flows
    Use,
    /// They are one flow, for links whose directions have different tags
    Ignore,
}

/// `--pools`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolsArg {
    /// A:B.
    Fixed(Pools),
    /// They follow the load.
    Auto,
}

impl FromStr for PoolsArg {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            _ if !text.contains(':') => {
                Err("write two numbers as A:B, for example 8:2, or auto".into())
            }
            _ => text.parse().map(Self::Fixed),
        }
    }
}

impl std::fmt::Display for PoolsArg {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Fixed(pools) => pools.fmt(f),
            Self::Auto => f.write_str("auto"),
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
    /// Leave it as it is
    Io,
    /// Write both MAC addresses
    Mac,
    /// Swap the MAC addresses
    #[value(name = "macswap")]
    MacSwap,
    /// Route by --routes
    L3,
    /// Match payloads against --rules
    Dpi,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum KeepOrder {
    /// A packet waits for its predecessors in its flow
    Flow,
    /// A packet leaves when it is ready; late ones are counted
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OnFull {
    /// Count and drop it
    Drop,
    /// Run it where it is
    Run,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Excess {
    /// They poll its receive queues, burst by burst
    Pull,
    /// It polls, and they steal the rest of its bursts from its run queue
    Push,
    /// They leave it alone
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Idle {
    /// Poll again at once
    Spin,
    /// Pause the CPU for some tens of nanoseconds
    Pause,
    /// Yield the CPU, for more lcores than CPUs
    Yield,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Timestamps {
    /// nic where every port stamps, else software
    Auto,
    /// At the stamp of the driver or its NIC
    Nic,
    /// At the start of the poll that received the packet
    Software,
    /// Nowhere: latency is not counted
    Off,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Predict {
    /// No prediction
    None,
    /// By the cost of the last packet of the flow
    Last,
    /// By the moving average of the flow's costs, with a weight of 1/8
    Ewma,
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
        let peer: Self =
            parts.ok_or("write PORT,MAC, for example 0,02:00:00:00:00:01".to_owned())?;
        if peer.mac.is_nil() || peer.mac.is_multicast() {
            return Err(format!("{} is not the address of one station", peer.mac));
        }
        Ok(peer)
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
