//! mpctl's arguments: their names, syntax and help.

use std::time::Duration;

use clap::{Parser, Subcommand};

use mpfwd_common::api::Endpoint;
use mpfwd_common::args::{QueueMap, parse_seconds, parse_time};
use mpfwd_common::generate::Generated;

const AFTER_HELP: &str = "\
Exit codes:
  0  success
  1  mpfwd is not ready
  2  bad input, a change that cannot be, or no mpfwd answers";

/// Watches and steers a running mpfwd
#[derive(Debug, Parser)]
#[command(name = "mpctl", version, after_help = AFTER_HELP)]
pub(super) struct Args {
    /// The mpfwd with this --file-prefix [default: the only one that runs]
    #[arg(long, global = true, value_name = "PREFIX", conflicts_with = "api")]
    pub file_prefix: Option<String>,
    /// The mpfwd with this --api: unix:PATH or 127.0.0.1:PORT
    #[arg(long, global = true, value_name = "ADDRESS")]
    pub api: Option<Endpoint>,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, clap::Args)]
pub(super) struct Json {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Show whether mpfwd is ready, and what has passed so far
    ///
    /// The exit code is 1 if it is not ready.
    Status {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Watch lcores, queues, latency and incidents
    ///
    /// Keys: up and down scroll the lcores, q quits.
    Top {
        /// Time between two looks
        #[arg(long, value_name = "SECONDS", default_value = "1", allow_negative_numbers = true,
              value_parser = parse_seconds)]
        every: Duration,
    },
    /// Let mpfwd end as soon as little arrives
    Drain {
        /// The longest that it goes on
        #[arg(long, value_name = "TIME", default_value = "30s", allow_negative_numbers = true,
              value_parser = parse_time)]
        time: Duration,
        /// It ends when fewer packets per second have arrived for a second
        #[arg(long, value_name = "PPS", default_value_t = 100)]
        below_pps: u64,
        /// Return when mpfwd has ended
        #[arg(long)]
        wait: bool,
    },
    /// Change the sizes of the pools while packets pass
    Pools {
        /// Lcores per pool as A:B, or auto: they follow the load
        #[arg(value_name = "A:B|auto")]
        pools: String,
        #[command(flatten)]
        answer: Json,
    },
    /// Change the mode while packets pass
    Mode {
        /// rtc, steal, shared, shed-random, pools or hybrid
        mode: String,
        /// Lcores per pool as A:B, where the run has had a single pool so far
        #[arg(long, value_name = "A:B")]
        pools: Option<String>,
        #[command(flatten)]
        answer: Json,
    },
    /// Limit how many lcores do expensive work at a time
    Cap {
        #[arg(value_name = "LCORES")]
        lcores: usize,
        #[command(flatten)]
        answer: Json,
    },
    /// Change how long an lcore may be in one packet before others help
    RescueAfter {
        /// For example 20us
        #[arg(value_name = "TIME", allow_negative_numbers = true, value_parser = parse_time)]
        time: Duration,
        #[command(flatten)]
        answer: Json,
    },
    /// Change which lcore polls which receive queue
    Queues {
        /// "(port,queue,lcore),...". Queues that are not named stay where they
        /// are
        #[arg(value_name = "MAP")]
        map: QueueMap,
        #[command(flatten)]
        answer: Json,
    },
    /// Read the file of --routes or --rules again
    ///
    /// If it has a mistake, the old contents stay in force.
    Reload,
    /// Show when lcores were stuck, and which lcores helped
    Incidents {
        /// Show each incident when it is over, until mpfwd ends
        #[arg(long)]
        follow: bool,
        /// Print JSON, with --follow a line per incident
        #[arg(long)]
        json: bool,
    },
    /// Print all metrics, as Prometheus gets them
    Metrics,
    /// Print what mpfwd does now, as JSON
    Config,
    /// Print the man page or a shell's completions
    #[command(hide = true)]
    Generate {
        #[arg(value_enum)]
        what: Generated,
    },
}
