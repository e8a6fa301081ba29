//! Arguments of engines that inspect payloads or defer work: their values, and
//! their contradictions.

use std::time::Duration;

use super::usage;
use crate::cli::{Cli, FlowKeyArg, FlowVlan, ForwardMode, Predict};
use crate::engine::Estimate;
use crate::engine::headers::FlowBy;
use mpfwd_common::error::Result;

const FLOWS: u32 = 65_536;
const FLOW_TIMEOUT: Duration = Duration::from_secs(60);
const DPI_PKTS: u16 = 8;
const STREAM_MIB: u32 = 64;

/// A shorter budget is over before the work has begun.
const YIELD_AFTER_MIN: Duration = Duration::from_micros(1);

/// The engines' settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inspecting {
    pub flows: usize,
    pub flow_timeout: Duration,
    pub dpi_pkts: u16,
    pub yield_after: Option<Duration>,
    pub estimate: Option<Estimate>,
    pub flow_by: FlowBy,
}

impl Inspecting {
    /// # Errors
    /// When a value can't work, whatever the engine.
    pub fn new(cli: &Cli) -> Result<Self> {
        let too_short = |time: &Duration| *time < YIELD_AFTER_MIN;
        if let Some(time) = cli.yield_after.filter(too_short) {
            let time = humantime::format_duration(time);
            return usage(format!(
                "--yield-after {time} is as short as a hand-over itself: write 1us or more"
            ));
        }
        if cli.flow_timeout.is_some_and(|time| time.is_zero()) {
            return usage(
                "--flow-timeout 0 would forget every flow at once: write a time above 0, for example 60s"
                    .into(),
            );
        }
        let estimate = match cli.predict {
            Predict::None => None,
            Predict::Last => Some(Estimate::Last),
            Predict::Ewma => Some(Estimate::Ewma),
        };
        if estimate.is_some() && cli.yield_after.is_none() {
            return usage("--predict needs --yield-after to tell what is expensive: add --yield-after 10us, or leave it out".into());
        }
        Ok(Self {
            flows: cli.flows.unwrap_or(FLOWS) as usize,
            flow_timeout: cli.flow_timeout.unwrap_or(FLOW_TIMEOUT),
            dpi_pkts: cli.dpi_pkts.unwrap_or(DPI_PKTS),
            yield_after: cli.yield_after,
            estimate,
            flow_by: FlowBy {
                inner: cli.flow_key == FlowKeyArg::Inner,
                vlans: cli.flow_vlan == FlowVlan::Use,
            },
        })
    }
}

/// The most bytes for TCP streams.
pub fn stream_bytes(cli: &Cli) -> usize {
    (cli.stream_memory.unwrap_or(STREAM_MIB) as usize) << 20
}

/// Checks the arguments of a built-in engine.
///
/// # Errors
/// When they contradict each other.
pub fn check_forward_mode(cli: &Cli) -> Result<()> {
    let is_dpi = cli.forward_mode == ForwardMode::Dpi;
    if is_dpi && cli.rules.is_none() {
        return usage("--forward-mode dpi needs rules: add --rules FILE".into());
    }
    if is_dpi && cli.work.is_some() {
        return usage("--forward-mode dpi can't be combined with --work: leave out --work, or change the forward mode".into());
    }
    for (argument, given) in [
        ("--rules", cli.rules.is_some()),
        ("--dpi-pkts", cli.dpi_pkts.is_some()),
        ("--stream-memory", cli.stream_memory.is_some()),
    ] {
        if given && !is_dpi {
            return usage(format!(
                "{argument} is for --forward-mode dpi: leave it out, or change the forward mode"
            ));
        }
    }
    for (argument, given) in [
        ("--flow-key", cli.flow_key != FlowKeyArg::Inner),
        ("--flow-vlan", cli.flow_vlan != FlowVlan::Use),
    ] {
        if given && !is_dpi {
            return usage(format!(
                "{argument} is for --forward-mode dpi: leave it out, or change the forward mode"
            ));
        }
    }
    let unknown_work = cli.work.as_ref().is_some_and(|work| !work.known);
    if cli.yield_after.is_some() && !is_dpi && !unknown_work {
        return usage(
            "--yield-after is for work of unknown cost: add --forward-mode dpi, or --work spin:…,known=no; or leave it out".into(),
        );
    }
    for (argument, given) in
        [("--flows", cli.flows.is_some()), ("--flow-timeout", cli.flow_timeout.is_some())]
    {
        if given && !is_dpi && cli.predict == Predict::None {
            return usage(format!(
                "{argument} needs a flow table: leave it out, or add --forward-mode dpi or --predict"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Cli {
        let args: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        Cli::read(&args).expect("valid syntax").expect("no help")
    }

    #[test]
    fn defaults_and_what_is_said() {
        let plain = Inspecting::new(&read("")).unwrap();
        assert_eq!(
            (plain.flows, plain.flow_timeout, plain.dpi_pkts),
            (65_536, Duration::from_secs(60), 8)
        );
        assert_eq!((plain.yield_after, plain.estimate), (None, None));
        let said = Inspecting::new(&read(
            "--flows 7 --flow-timeout 2s --dpi-pkts 1 --yield-after 10us --predict ewma",
        ))
        .unwrap();
        assert_eq!((said.flows, said.flow_timeout, said.dpi_pkts), (7, Duration::from_secs(2), 1));
        assert_eq!(
            (said.yield_after, said.estimate),
            (Some(Duration::from_micros(10)), Some(Estimate::Ewma))
        );
    }

    #[test]
    fn contradictions_are_refused() {
        for (line, says) in [
            ("--predict last", "--yield-after"),
            ("--yield-after 10ns --forward-mode dpi --rules x", "1us"),
            ("--flow-timeout 0s", "above 0"),
            ("--forward-mode dpi", "--rules"),
            ("--forward-mode dpi --rules x --work spin:p=0", "--work"),
            ("--rules x", "--forward-mode dpi"),
            ("--dpi-pkts 1", "--forward-mode dpi"),
            ("--stream-memory 1", "--forward-mode dpi"),
            ("--flow-key outer", "--forward-mode dpi"),
            ("--flow-vlan ignore", "--forward-mode dpi"),
            ("--yield-after 10us", "known=no"),
            ("--yield-after 10us --work spin:p=0", "known=no"),
            ("--flows 9", "--predict"),
            ("--flow-timeout 9s", "--predict"),
        ] {
            let cli = read(line);
            let error = Inspecting::new(&cli)
                .map(drop)
                .and_then(|()| check_forward_mode(&cli))
                .expect_err(line);
            assert!(error.to_string().contains(says), "{line}: {error}");
        }
        let fine = read(
            "--work spin:p=0.1,expensive=9us,known=no --yield-after 10us --predict last --flows 9",
        );
        assert!(Inspecting::new(&fine).is_ok() && check_forward_mode(&fine).is_ok());
    }
}
