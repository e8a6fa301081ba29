//! mplab's arguments: their names, syntax and help.

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};

use micropools::policy::Excess;

use super::class::Class;
use super::lcores::Lcores;
use super::mode::LabMode;
use super::sim_mode::SimMode;
use super::target::Target;
use super::workload::{Backlog, Share, Workload};
use mpfwd_common::args::{Pools, parse_seconds, parse_time};

use mpfwd_common::generate::Generated;

/// Default of `--expensive-load`: lcores that expensive work keeps busy.
const EXPENSIVE_LOAD: f64 = 0.3;

/// Experiments with mpfwd that need no NIC: the same traffic in every mode,
/// side by side
#[derive(Debug, Parser)]
#[command(name = "mplab", version)]
pub(super) struct Args {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Measure modes in short interleaved rounds, and show their latencies side
    /// by side
    Compare(CompareArgs),
    /// The same as compare in virtual time, on lcores that this machine need
    /// not have
    Simulate(SimulateArgs),
    /// Simulate all modes at several loads and costs, and show which is best
    /// where
    ///
    /// Mode `pools` stands for its best split, and the worse of those beside
    /// it.
    Map(MapArgs),
    /// Measure the costs of the lcores' own work on this machine, for
    /// simulations
    Calibrate(CalibrateArgs),
    /// Advise on mode, pools and ring sizes by the report of a run, and predict
    /// what they bring
    Advise(AdviseArgs),
    /// 5,000,000 packets, of which one in ten thousand is expensive, in two
    /// pools and in a single one
    Bimodal(BimodalArgs),
    /// Draw percentile curves, distribution functions and incidents of
    /// comparisons and of mpfwd's reports
    Plot(PlotArgs),
    /// Make a file of random routes for mpfwd --forward-mode l3, with the
    /// prefix lengths of the Internet's table
    Routes(RoutesArgs),
    /// Print the man page or a shell's completions
    #[command(hide = true)]
    Generate {
        #[arg(value_enum)]
        what: Generated,
    },
}

/// The machine's part of the arguments.
#[derive(Debug, clap::Args)]
pub(super) struct MachineArgs {
    /// Lcores in EAL's notation: 0-1, 0@2,1@3, (0-9)@(0-1) [default: one per
    /// CPU, up to ten]
    #[arg(short = 'l', long, value_name = "LIST")]
    pub lcores: Option<Lcores>,
    /// Split of the lcores in modes with pools [default: about four to one]
    #[arg(long, value_name = "A:B")]
    pub pools: Option<Pools>,
    /// Mode steal-every: packets between two attempts to steal
    #[arg(long, value_name = "N", default_value = "61")]
    pub steal_every: NonZeroU64,
    /// Descriptors of each virtual receive queue, a power of two. Packets
    /// beyond that are lost while an lcore is stuck
    #[arg(long, value_name = "N", default_value_t = 32_768, value_parser = clap::value_parser!(u16).range(32..))]
    pub rxd: u16,
    /// Further arguments for EAL, as one word: "--in-memory --log-level=8"
    #[arg(long, value_name = "ARGUMENTS", allow_hyphen_values = true)]
    pub eal: Option<String>,
    /// The mpfwd to measure [default: beside this program, or in sbin beside
    /// its bin]
    #[arg(long, value_name = "PATH")]
    pub mpfwd: Option<PathBuf>,
    /// Further arguments for mpfwd, behind --
    #[arg(last = true, value_name = "MPFWD ARGUMENTS")]
    pub own: Vec<String>,
}

/// The traffic: service times and load.
#[derive(Debug, clap::Args)]
pub(super) struct TrafficArgs {
    /// Load: the share of all lcores' time that the packets' costs take.
    /// Ignored if --source has rate= or load=
    #[arg(long, value_name = "SHARE", default_value_t = 0.5)]
    pub load: f64,
    /// Cost of a cheap packet
    #[arg(long, value_name = "TIME", default_value = "200ns", value_parser = parse_time)]
    pub cheap: Duration,
    /// Cost of an expensive packet
    #[arg(long, value_name = "TIME", default_value = "10ms", value_parser = parse_time)]
    pub expensive: Duration,
    /// Share of packets that are expensive
    #[arg(long, value_name = "SHARE", conflicts_with = "expensive_load", value_parser = parse_share)]
    pub p: Option<f64>,
    /// Instead of --p: the number of lcores that expensive work keeps busy on
    /// average [default: 0.3]
    #[arg(long, value_name = "LCORES", value_parser = parse_positive)]
    pub expensive_load: Option<f64>,
    /// The cost of a packet is unknown until it has been run
    #[arg(long)]
    pub unknown: bool,
    /// Other costs, in the syntax of mpfwd's --work:
    /// "spin:dist=pareto,min=200ns,max=1ms,shape=1.1"
    #[arg(long, value_name = "SPEC", conflicts_with_all = ["p", "expensive_load", "unknown"])]
    pub work: Option<String>,
    /// Keys of mpfwd's --source:
    /// "rate=1M,arrivals=on-off,on=1ms,off=1ms,skew=1"
    #[arg(long, value_name = "KEYS")]
    pub source: Option<String>,
}

impl TrafficArgs {
    /// The packets' costs and their arrivals.
    ///
    /// # Errors
    /// Figures that contradict each other.
    pub(super) fn workload(&self, lcores: usize) -> mpfwd_common::error::Result<Workload> {
        let demand = (self.load, self.source.as_deref());
        if let Some(work) = &self.work {
            return Workload::as_told(work, demand);
        }
        let busy = || Share::KeepsBusy(self.expensive_load.unwrap_or(EXPENSIVE_LOAD));
        Workload::two_costs(
            (self.cheap, self.expensive),
            self.p.map_or_else(busy, Share::Of),
            !self.unknown,
            demand,
            lcores,
        )
    }
}

#[derive(Debug, clap::Args)]
pub(super) struct CompareArgs {
    /// Modes to compare
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_values_t = LabMode::value_variants().to_vec()
    )]
    pub modes: Vec<LabMode>,
    #[command(flatten)]
    pub machine: MachineArgs,
    #[command(flatten)]
    pub traffic: TrafficArgs,
    /// Keep this CPU busy meanwhile, as another process would: the kernel takes
    /// it from the lcore there
    #[arg(long, value_name = "CPU")]
    pub neighbour: Option<usize>,
    /// Simulate the same, and show measured, simulated and their ratio
    #[arg(long)]
    pub twin: bool,
    /// With --twin: the costs of the lcores' own work, a file that mplab
    /// calibrate wrote
    #[arg(long, value_name = "FILE", requires = "twin")]
    pub profile: Option<PathBuf>,
    /// With --twin: replay the host gaps of the profile
    #[arg(long, requires = "profile")]
    pub host_gaps: bool,
    /// Rounds per mode. The modes take turns
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub rounds: u32,
    /// Length of a round: seconds, or with a unit
    #[arg(long, value_name = "SECONDS", default_value = "1s", value_parser = parse_seconds)]
    pub round_time: Duration,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Where a result is written to, beside the terminal.
#[derive(Debug, clap::Args)]
pub(super) struct OutputArgs {
    /// Write the result as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Draw the result: a file that ends in .svg or .png
    #[arg(long, value_name = "FILE")]
    pub plot: Option<PathBuf>,
}

/// Those arguments of mpfwd that a simulation follows.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct ModeArgs {
    /// How long an lcore may be in one packet before others rescue it [default:
    /// 20us]
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub rescue_after: Option<Duration>,
    /// How long an lcore may not be seen to run before others poll for it
    /// [default: 50us]
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub stall_after: Option<Duration>,
    /// How many lcores may be in expensive work at a time [default: pool B's
    /// size]
    #[arg(long, value_name = "N")]
    pub expensive_cap: Option<usize>,
    /// How idle lcores share the backlog of one that is pressed [default: pull]
    #[arg(long, value_enum)]
    pub excess: Option<ExcessArg>,
    /// Most packets of a poll [default: 32]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=512))]
    pub burst: Option<u16>,
}

/// mpfwd's `--excess`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum ExcessArg {
    /// They poll its receive queues, burst by burst
    Pull,
    /// It polls, and they steal the rest of its bursts from its run queue
    Push,
    /// They leave it alone
    None,
}

impl From<ExcessArg> for Excess {
    fn from(excess: ExcessArg) -> Self {
        match excess {
            ExcessArg::Pull => Self::Pull,
            ExcessArg::Push => Self::Push,
            ExcessArg::None => Self::Leave,
        }
    }
}

/// The simulated machine and modes.
#[derive(Debug, clap::Args)]
pub(super) struct SimulatedArgs {
    /// Modes to compare, and ideals
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_values_t = SimMode::value_variants().to_vec()
    )]
    pub modes: Vec<SimMode>,
    /// Number of simulated lcores, from 2 to 256
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub lcores_sim: usize,
    /// Split of the lcores in modes with pools [default: about four to one]
    #[arg(long, value_name = "A:B")]
    pub pools: Option<Pools>,
    /// The costs of the lcores' own work: a file that mplab calibrate wrote
    #[arg(long, value_name = "FILE")]
    pub profile: Option<PathBuf>,
    #[command(flatten)]
    pub mode: ModeArgs,
}

#[derive(Debug, clap::Args)]
pub(super) struct SimulateArgs {
    #[command(flatten)]
    pub simulated: SimulatedArgs,
    /// Mode steal-every: packets between two attempts to steal
    #[arg(long, value_name = "N", default_value = "61")]
    pub steal_every: NonZeroU64,
    /// Descriptors of each receive queue
    #[arg(long, value_name = "N", default_value_t = 32_768, value_parser = clap::value_parser!(u32).range(32..=1 << 24))]
    pub rxd: u32,
    #[command(flatten)]
    pub traffic: TrafficArgs,
    /// Replay the host gaps of the profile: take CPUs away when the host did
    #[arg(long, requires = "profile")]
    pub host_gaps: bool,
    /// Packets that wait in a receive queue at the start, by their work:
    /// 9:200ms
    #[arg(long, value_name = "QUEUE:TIME")]
    pub backlog: Option<Backlog>,
    /// Rounds per mode, each with seeds of its own
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub rounds: u32,
    /// Virtual length of a round: seconds, or with a unit
    #[arg(long, value_name = "SECONDS", default_value = "1s", value_parser = parse_seconds)]
    pub round_time: Duration,
    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(Debug, clap::Args)]
pub(super) struct MapArgs {
    #[command(flatten)]
    pub simulated: SimulatedArgs,
    /// Loads: shares of all lcores' time that the packets' costs take
    #[arg(long, value_name = "SHARES", value_delimiter = ',', default_value = "0.3,0.5,0.7,0.9", value_parser = parse_positive)]
    pub loads: Vec<f64>,
    /// Costs of an expensive packet, in cheap ones
    #[arg(long, value_name = "RATIOS", value_delimiter = ',', default_value = "100,1000,10000,100000", value_parser = parse_positive)]
    pub ratios: Vec<f64>,
    /// Cost of a cheap packet
    #[arg(long, value_name = "TIME", default_value = "1us", value_parser = parse_time)]
    pub cheap: Duration,
    /// Share of the work that expensive packets are
    #[arg(long, value_name = "SHARE", default_value_t = 0.2, value_parser = parse_share)]
    pub expensive_share: f64,
    /// Most packets of a round
    #[arg(long, value_name = "N", default_value_t = 4_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub packets: u64,
    /// Rounds, each with seeds of its own
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub rounds: u32,
    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(Debug, clap::Args)]
pub(super) struct CalibrateArgs {
    #[command(flatten)]
    pub machine: MachineArgs,
    /// Measure only what needs no mpfwd
    #[arg(long)]
    pub without_mpfwd: bool,
    /// How long host gaps are recorded
    #[arg(long, value_name = "SECONDS", default_value = "2s", value_parser = parse_seconds)]
    pub gap_time: Duration,
    /// The profile
    #[arg(short, long, value_name = "FILE")]
    pub out: PathBuf,
}

#[derive(Debug, clap::Args)]
pub(super) struct AdviseArgs {
    /// What mpfwd --report has written
    #[arg(value_name = "REPORT.json")]
    pub report: PathBuf,
    /// Number of lcores to advise for [default: those of the run]
    #[arg(long, value_name = "N")]
    pub lcores: Option<usize>,
    /// What to reach: a class, a quantile, and perhaps a limit
    #[arg(long, value_name = "TARGET", default_value = "cheap p99")]
    pub target: Target,
    /// The advice must also hold at the run's rate times this
    #[arg(long, value_name = "FACTOR", default_value_t = 1.5, value_parser = parse_positive)]
    pub load_factor: f64,
    /// What the lcores' own work takes: a file that mplab calibrate wrote
    #[arg(long, value_name = "FILE")]
    pub profile: Option<PathBuf>,
    /// Packets of each simulation; up to four times as many where few are
    /// expensive
    #[arg(long, value_name = "N", default_value_t = 400_000, value_parser = clap::value_parser!(u32).range(1_000..))]
    pub packets: u32,
    /// Instead of advice: what REPORT predicts of the run that has written this
    /// report, beside what that has measured
    #[arg(long, value_name = "REPORT2.json", conflicts_with_all = ["lcores", "target"])]
    pub check: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(super) struct BimodalArgs {
    /// pools: one pool that polls and one that works; single: one pool that
    /// steals; or any mode of compare
    #[arg(long, value_enum, value_delimiter = ',', default_value = "pools,single")]
    pub mode: Vec<LabMode>,
    #[command(flatten)]
    pub machine: MachineArgs,
    /// Number of packets
    #[arg(long, value_name = "N", default_value_t = 5_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub packets: u64,
    /// The share of all lcores' time that the packets' costs take
    #[arg(long, value_name = "SHARE", default_value_t = 0.3)]
    pub load: f64,
    /// Cost of a cheap packet
    #[arg(long, value_name = "TIME", default_value = "1us", value_parser = parse_time)]
    pub cheap: Duration,
    /// Cost of an expensive packet
    #[arg(long, value_name = "TIME", default_value = "1ms", value_parser = parse_time)]
    pub expensive: Duration,
    /// Share of packets that are expensive
    #[arg(long, value_name = "SHARE", default_value_t = 0.0001, value_parser = parse_share)]
    pub p: f64,
}

#[derive(Debug, clap::Args)]
pub(super) struct PlotArgs {
    /// Files written by `mplab compare --json` or `mpfwd --report`
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// The picture: a file that ends in .svg or .png
    #[arg(short, long, value_name = "FILE")]
    pub out: PathBuf,
    /// The panels to draw [default: all for which there is data]
    #[arg(long, value_enum, value_delimiter = ',')]
    pub panels: Vec<Panel>,
    /// The classes of packets to draw [default: all for which there is data]
    #[arg(long, value_enum, value_delimiter = ',')]
    pub class: Vec<Class>,
}

#[derive(Debug, clap::Args)]
pub(super) struct RoutesArgs {
    /// Number of IPv4 prefixes
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(0..=4_000_000))]
    pub count: u32,
    /// Number of IPv6 prefixes
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    pub ipv6_count: u32,
    /// Number of ports that routes lead to, from port 0
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub ports: u16,
    /// The same seed makes the same routes
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// File to write [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Panel {
    /// Latency by percentile
    Percentiles,
    /// Share of packets by latency
    Cdf,
    /// When lcores were stuck
    Timeline,
}

fn parse_share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "write a share from 0 to 1, for example 1e-5".into())
}

fn parse_positive(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number: &f64| *number > 0.0 && number.is_finite());
    number.ok_or_else(|| "write a number above 0, for example 0.3".into())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use micropools::policy::Mode;

    use super::*;
    use mpfwd_common::args::one_line;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
        let line = "mplab compare --modes rtc,hybrid -l 0-1 --load 0.7 --p 1e-5 --eal --in-memory -- --burst 16";
        let Command::Compare(args) = Args::try_parse_from(line.split(' ')).unwrap().command else {
            panic!("compare")
        };
        assert_eq!(
            (args.modes, args.rounds, args.machine.own),
            (vec![Mode::Rtc.into(), Mode::Hybrid.into()], 7, vec!["--burst".into(), "16".into()])
        );
        let Command::Bimodal(args) = Args::try_parse_from(["mplab", "bimodal"]).unwrap().command
        else {
            panic!("bimodal")
        };
        assert_eq!(args.mode, [Mode::Pools.into(), Mode::Steal.into()]);
        let Command::Compare(args) = Args::try_parse_from(["mplab", "compare"]).unwrap().command
        else {
            panic!("compare")
        };
        assert_eq!(args.modes, LabMode::value_variants());
    }

    #[test]
    fn mistakes_are_one_line_with_the_nearest_word() {
        for (line, says) in [
            ("compare --modes rtc,hybird", "; a similar value exists: 'hybrid'"),
            ("comprae", "; a similar subcommand exists: 'compare'"),
            ("compare --p 2", "from 0 to 1"),
            ("compare --p 0.1 --expensive-load 1", "cannot be used with"),
            ("compare --rounds 0", "0 is not in 1.."),
            ("compare --lcores 1-0", "(0-9)@(0-1)"),
            ("compare --cheap 200", "unit"),
            ("plot -o x.svg", "<FILE>"),
        ] {
            let words = std::iter::once("mplab").chain(line.split(' '));
            let message = one_line(&Args::try_parse_from(words).unwrap_err().to_string());
            assert!(message.contains(says) && !message.contains('\n'), "{line}: {message}");
        }
    }
}
