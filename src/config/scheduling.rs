//! The mode and the arguments that only some modes have: their values, and
//! their contradictions.

use std::num::NonZeroU64;
use std::time::Duration;

use super::usage;
use crate::cli::{self, Cli, Grow, PoolsArg};
use crate::policy::{Argument, Excess, Mode};
use crate::shed::ShardPick;
use mpfwd_common::error::Result;

/// Default of `--rescue-after`.
const RESCUE_AFTER: Duration = Duration::from_micros(20);

/// How long an lcore may not be seen to run before others poll for it, unless
/// told otherwise.
const STALL_AFTER: Duration = Duration::from_micros(50);

/// Bound on the time to receive, serve and send a cheap packet: several times
/// the measured time at 2.6 GHz. A burst of cheap packets must not look stuck.
const PKT_NS_MAX: u64 = 50;

/// The scheduler's settings. Those that the mode does not use have defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scheduling {
    pub mode: Mode,
    /// Packets between two attempts to steal of a busy lcore.
    pub steal_every: Option<NonZeroU64>,
    pub grow: Grow,
    /// Packets that a run queue may hold.
    pub runq_max_pkts: usize,
    pub shard_pick: ShardPick,
    pub rescue_after: Duration,
    /// Idle lcores poll others' receive queues.
    pub steal_rx: bool,
    /// How long an lcore may not be seen to run before others poll for it.
    pub stall_after: Duration,
    /// How idle lcores share the backlog of one that is pressed.
    pub excess: Excess,
    /// Lcores that may do expensive work at a time. 0 with a single pool. With
    /// pools that follow the load, the most at any time.
    pub expensive_cap: usize,
    /// The pools follow the load.
    pub follows_load: bool,
}

/// The chosen mode, or the default one for `--pools`.
///
/// # Errors
/// When an argument does not fit the mode.
fn mode(cli: &Cli) -> Result<Mode> {
    let mode = cli.mode.unwrap_or(Mode::default_for(cli.pools.is_some()));
    let (name, has_pools) = (mode.name(), mode.facts().has_pools);
    match cli.pools {
        None if has_pools => {
            return usage(format!(
                "--mode {name} needs two pools: add --pools A:B, for example --pools 1:1"
            ));
        }
        Some(PoolsArg::Auto) if !mode.facts().moves_lcores() => {
            return usage(format!(
                "--pools auto needs a mode whose lcores can change their pool, and this is --mode {name}: write {}",
                Mode::choices(|mode| mode.facts().moves_lcores())
            ));
        }
        Some(pools) if !has_pools => {
            return usage(format!(
                "--mode {name} has a single pool: leave out --pools {pools}, or write {}",
                Mode::choices(|mode| mode.facts().has_pools)
            ));
        }
        _ => {}
    }
    for (argument, given) in [
        (Argument::Shards, cli.shards.is_some()),
        (Argument::ShardPick, cli.shard_pick.is_some()),
        (Argument::RescueAfter, cli.rescue_after.is_some()),
        (Argument::ExpensiveCap, cli.expensive_cap.is_some()),
        (Argument::StealEvery, cli.steal_every.is_some()),
        (Argument::StealRx, cli.steal_rx),
        (Argument::StallAfter, cli.stall_after.is_some()),
        (Argument::Excess, cli.excess.is_some()),
    ] {
        if !given || mode.has(argument) {
            continue;
        }
        let flag = argument.flag();
        return usage(match argument {
            Argument::Shards | Argument::ShardPick => format!(
                "{flag} is for shards, and --mode {name} has none: leave it out, or add --pools A:B"
            ),
            _ => format!(
                "{flag} is for {}, and this is --mode {name}: leave it out, or change the mode",
                Mode::choices(|mode| mode.has(argument))
            ),
        });
    }
    Ok(mode)
}

/// The shortest `--rescue-after`: the longest time that a burst of so many cheap
/// packets takes.
pub fn rescue_after_min(burst: u16) -> Duration {
    Duration::from_nanos(u64::from(burst) * PKT_NS_MAX)
}

/// The settings.
///
/// # Errors
/// When arguments contradict each other, or a value can't work.
pub(super) fn scheduling(cli: &Cli) -> Result<Scheduling> {
    let mode = mode(cli)?;
    let two_bursts = 2 * usize::from(cli.burst);
    if (cli.runq_max as usize) < two_bursts {
        return usage(format!(
            "--runq-max {}: a run queue must hold two bursts of {}: write {two_bursts} or more, or lower --burst",
            cli.runq_max, cli.burst
        ));
    }
    let workers = match cli.pools {
        None => 0,
        Some(PoolsArg::Fixed(pools)) => pools.b,
        Some(PoolsArg::Auto) => usize::MAX,
    };
    let expensive_cap = cli.expensive_cap.unwrap_or(workers);
    if cli.expensive_cap == Some(0) {
        return usage(
            "--expensive-cap 0 would run no expensive packet: write 1 or more, or leave it out"
                .into(),
        );
    }
    if expensive_cap > workers {
        return usage(format!(
            "--expensive-cap {expensive_cap} is more than the size of pool B, {workers}: write {workers} or less, or change --pools"
        ));
    }
    let burst_time = rescue_after_min(cli.burst);
    let rescue_after = cli.rescue_after.unwrap_or(RESCUE_AFTER.max(burst_time));
    if rescue_after < burst_time {
        return usage(format!(
            "--rescue-after {} is below the poll time: a burst of {} cheap packets may take {}ns, so write that or more, or lower --burst",
            humantime::format_duration(rescue_after),
            cli.burst,
            burst_time.as_nanos()
        ));
    }
    if cli.steal_rx && cli.steal_every.is_some() {
        return usage(
            "--steal-rx is for idle lcores, and --steal-every for busy ones: leave one out".into(),
        );
    }
    let stall_after = cli.stall_after.unwrap_or(STALL_AFTER.max(10 * burst_time));
    if stall_after < 2 * burst_time {
        return usage(format!(
            "--stall-after {} is less than two bursts of {} packets may take: write {}ns or more, or lower --burst",
            humantime::format_duration(stall_after),
            cli.burst,
            (2 * burst_time).as_nanos()
        ));
    }
    Ok(Scheduling {
        mode,
        steal_rx: cli.steal_rx,
        stall_after,
        excess: cli.excess.map_or(Excess::Pull, |excess| match excess {
            cli::Excess::Pull => Excess::Pull,
            cli::Excess::Push => Excess::Push,
            cli::Excess::None => Excess::Leave,
        }),
        steal_every: cli.steal_every,
        grow: cli.grow,
        runq_max_pkts: cli.runq_max as usize,
        shard_pick: cli.shard_pick.unwrap_or(ShardPick::Oldest),
        rescue_after,
        expensive_cap,
        follows_load: cli.pools == Some(PoolsArg::Auto),
    })
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    fn read(line: &str) -> Scheduling {
        let args: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        scheduling(&Cli::read(&args).expect("valid syntax").expect("no help"))
            .expect("no contradiction")
    }

    #[test]
    fn names_are_those_of_the_command_line() {
        for mode in Mode::ALL {
            assert_eq!(mode.to_possible_value().expect("none is hidden").get_name(), mode.name());
            assert_eq!(serde_json::to_value(mode).expect("a string"), mode.name());
        }
    }

    #[test]
    fn defaults_fit_the_pools_and_the_burst() {
        let hybrid = read("--pools 8:2");
        assert_eq!(
            (hybrid.mode, hybrid.expensive_cap, hybrid.rescue_after),
            (Mode::Hybrid, 2, RESCUE_AFTER)
        );
        assert_eq!(
            (hybrid.shard_pick, hybrid.grow, hybrid.steal_every),
            (ShardPick::Oldest, Grow::Double, None)
        );
        assert_eq!(read("").mode, Mode::Rtc);
        assert_eq!(
            read("--pools 1:1 --burst 512").rescue_after,
            Duration::from_nanos(512 * PKT_NS_MAX)
        );
    }

    #[test]
    fn what_is_said_is_what_is_done() {
        let hybrid = read(
            "--pools 8:4 --expensive-cap 3 --rescue-after 1.6us --shard-pick two-choice --grow append --runq-max 64",
        );
        assert_eq!(
            (hybrid.expensive_cap, hybrid.rescue_after, hybrid.runq_max_pkts),
            (3, Duration::from_nanos(1600), 64)
        );
        assert_eq!((hybrid.shard_pick, hybrid.grow), (ShardPick::TwoChoice, Grow::Append));
        assert_eq!(read("--mode steal --steal-every 61").steal_every, NonZeroU64::new(61));
    }
}
