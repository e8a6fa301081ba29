//! Resolves `--timestamps` for these ports.

use super::{PortPlan, usage};
use crate::cli::{Cli, Timestamps};
use crate::dpdk::StampClock;
use crate::stats::Unit;
use mpfwd_common::error::Result;

/// Where latency starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stamping {
    /// Latency is not counted.
    Off,
    /// At the time at which the packet is due, by its source.
    Source,
    /// At the poll that receives the packet. `why`: what keeps `auto` from the
    /// drivers' stamps.
    Poll { why: Option<String> },
    /// At the stamp of the driver, or of its NIC.
    Nic,
}

/// Checks what can be checked before EAL starts.
///
/// # Errors
/// When `--source` is combined with stamps by a NIC or by polls.
pub(super) fn check_alone(cli: &Cli) -> Result<()> {
    let asked = match (cli.emulate_stamps, cli.timestamps) {
        (true, _) => "--emulate-stamps",
        (false, Timestamps::Nic) => "--timestamps nic",
        (false, Timestamps::Software) => "--timestamps software",
        _ => return Ok(()),
    };
    if cli.source.is_some() {
        let option = asked.split(' ').next().unwrap_or(asked);
        return usage(format!(
            "{asked}: the packets of a --source carry the time at which they are due: leave out {option}"
        ));
    }
    Ok(())
}

/// Where latency starts for these ports. Emulated stamps replace the drivers'.
///
/// # Errors
/// When the user chose drivers' stamps, and a driver has none.
pub(super) fn stamping(cli: &Cli, ports: &mut [PortPlan]) -> Result<Stamping> {
    if cli.emulate_stamps {
        ports
            .iter_mut()
            .for_each(|port| port.info.stamp_clocks = vec![(Unit::Ticks, StampClock::Emulated)]);
    }
    let without = ports.iter().map(|port| &port.info).find(|info| info.stamp_clocks.is_empty());
    Ok(match (cli.timestamps, without) {
        (Timestamps::Off, _) => Stamping::Off,
        _ if cli.source.is_some() => Stamping::Source,
        (Timestamps::Software, _) => Stamping::Poll { why: None },
        (Timestamps::Auto | Timestamps::Nic, None) => Stamping::Nic,
        (Timestamps::Auto, Some(info)) => Stamping::Poll {
            why: Some(format!("port {} ({}) does not stamp packets", info.id, info.driver)),
        },
        (Timestamps::Nic, Some(info)) => {
            return usage(format!(
                "--timestamps nic: port {} ({}, driver {}) does not stamp packets: write --timestamps software, or leave the port out by --portmask",
                info.id, info.name, info.driver
            ));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{planned, port};
    use super::*;
    use crate::dpdk::PortInfo;

    fn stamps(id: u16) -> PortInfo {
        PortInfo { stamp_clocks: vec![(Unit::Nanoseconds, StampClock::Wall)], ..port(id, 16, 16) }
    }

    #[test]
    fn drivers_stamp_where_all_of_them_can() {
        let chosen =
            |line: &str, ports: &[PortInfo]| planned(line, 1, ports).map(|plan| plan.stamping);
        let (both, one) = ([stamps(0), stamps(1)], [stamps(0), port(1, 16, 16)]);
        assert_eq!(chosen("", &both).unwrap(), Stamping::Nic);
        assert_eq!(chosen("--timestamps nic", &both).unwrap(), Stamping::Nic);
        assert_eq!(chosen("--timestamps software", &both).unwrap(), Stamping::Poll { why: None });
        assert_eq!(chosen("--timestamps off", &both).unwrap(), Stamping::Off);
        assert_eq!(chosen("--emulate-stamps", &one).unwrap(), Stamping::Nic);
        assert_eq!(chosen("--emulate-stamps --timestamps off", &one).unwrap(), Stamping::Off);
        assert!(
            matches!(chosen("", &one).unwrap(), Stamping::Poll { why: Some(why) } if why.contains("port 1 (net_test)"))
        );
        assert_eq!(chosen("--portmask 1 --timestamps nic", &one).unwrap(), Stamping::Nic);
        let refused = chosen("--timestamps nic", &one).unwrap_err().to_string();
        assert!(
            ["port 1", "net_test", "--timestamps software", "--portmask"]
                .iter()
                .all(|word| refused.contains(word)),
            "{refused}"
        );
    }

    #[test]
    fn a_source_stamps_its_own_packets() {
        let null = |id| PortInfo { driver: "net_null".into(), ..port(id, 16, 16) };
        let chosen = |own: &str| {
            planned(&format!("--source open-loop:rate=1M {own}"), 1, &[null(0)])
                .map(|plan| plan.stamping)
        };
        assert_eq!(chosen("").unwrap(), Stamping::Source);
        assert_eq!(chosen("--timestamps off").unwrap(), Stamping::Off);
        for asked in ["--timestamps nic", "--timestamps software", "--emulate-stamps"] {
            assert!(
                chosen(asked)
                    .unwrap_err()
                    .to_string()
                    .contains(&format!("{asked}: the packets of a --source"))
            );
        }
    }
}
