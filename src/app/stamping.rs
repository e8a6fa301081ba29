//! Where latency starts, in words: for the start map and the report.

use crate::cli::{Cli, Timestamps};
use crate::config::{Plan, Stamping};
use crate::control::FollowedClocks;
use crate::dpdk::clock::TscRate;
use crate::dpdk::{StampClock, virtual_devices};
use crate::stats::{StampClocks, Verdict};
use mpfwd_common::text::time;

const BY_POLL: &str = "software timestamps, from poll to TX accepted";
const UNSEEN: &str = "excludes the wait in the RX ring";
const END: &str = "TX time is read up to a burst late";

/// The source of a run's stamps.
pub(super) struct Source {
    /// nic, emulated, software or open-loop.
    pub name: &'static str,
    pub clock: String,
    pub bound: String,
    pub error_ns: Option<u64>,
    pub off: Option<String>,
}

impl Source {
    /// `None` where latency is not counted. `unseen`: the wait that polls don't
    /// see, in words.
    pub(super) fn of(
        plan: &Plan,
        clocks: &StampClocks,
        followed: &FollowedClocks,
        unseen: &str,
        rate: TscRate,
    ) -> Option<Self> {
        let why = clocks.why().map(|(port, why)| {
            format!("port {port}{} {}", driver(plan, port), why.text(|ticks| time(rate.ns(ticks))))
        });
        let by_poll = |why: Option<&String>| {
            let why = why.map_or(String::new(), |why| format!("; driver timestamps unused: {why}"));
            let bound = format!("{UNSEEN}, {unseen}; {END}{why}");
            Self { name: "software", clock: BY_POLL.into(), bound, error_ns: None, off: None }
        };
        match &plan.stamping {
            Stamping::Off => None,
            Stamping::Poll { why } => Some(by_poll(why.as_ref())),
            Stamping::Nic if clocks.verdict() == Verdict::Software => Some(by_poll(why.as_ref())),
            Stamping::Source => Some(Self {
                name: name(plan),
                clock: "open-loop timestamps, from due time to TX accepted".into(),
                bound: format!("includes the wait for a poll; {END}"),
                error_ns: None,
                off: None,
            }),
            Stamping::Nic => {
                let error_ns = followed.error_ticks(clocks).map(|ticks| rate.ns(ticks));
                let error = error_ns.map_or(String::new(), |ns| {
                    format!("timestamps +-{ns} ns, apart from their own clock's error; ")
                });
                let name = name(plan);
                Some(Self {
                    name,
                    clock: format!(
                        "{name} timestamps, from the driver's stamp to TX accepted ({})",
                        units(plan)
                    ),
                    bound: format!("{error}{END}"),
                    error_ns,
                    off: why,
                })
            }
        }
    }
}

/// The virtual devices among EAL's arguments that replay a capture. Their
/// stamps are as old as the capture.
pub(super) fn replaying(eal_args: &[String]) -> Vec<String> {
    let reads = |device: &&str| device.split(',').skip(1).any(|arg| arg.starts_with("rx_pcap="));
    let devices = virtual_devices(eal_args).filter(reads);
    devices.filter_map(|device| device.split(',').next()).map(str::to_owned).collect()
}

/// Falls back to polls where a port replays a capture, unless the user asked
/// for `--timestamps nic`.
pub(super) fn leave_out(plan: &mut Plan, cli: &Cli, replaying: &[String]) {
    let replays = plan.ports.iter().find(|port| replaying.contains(&port.info.name));
    let Some(port) = replays.filter(|_| plan.stamping == Stamping::Nic && !cli.emulate_stamps)
    else {
        return;
    };
    let replays =
        format!("port {} ({}) replays a capture with old stamps", port.info.id, port.info.driver);
    match cli.timestamps {
        Timestamps::Nic => plan.warnings.push(format!("--timestamps nic: {replays}")),
        _ => plan.stamping = Stamping::Poll { why: Some(replays) },
    }
}

/// The planned source of stamps, in a word.
pub(super) fn name(plan: &Plan) -> &'static str {
    let emulated = || {
        plan.ports
            .iter()
            .flat_map(|port| &port.info.stamp_clocks)
            .any(|(_, clock)| *clock == StampClock::Emulated)
    };
    match &plan.stamping {
        Stamping::Off => "nothing",
        Stamping::Source => "open-loop",
        Stamping::Poll { .. } => "software",
        Stamping::Nic if emulated() => "emulated",
        Stamping::Nic => "nic",
    }
}

/// The start map's line.
pub(super) fn line(plan: &Plan) -> Option<String> {
    let text = match &plan.stamping {
        Stamping::Off => return None,
        Stamping::Source => "open-loop, when a packet is due".to_owned(),
        Stamping::Poll { why: None } => "software, the start of the poll".to_owned(),
        Stamping::Poll { why: Some(why) } => format!("software, the start of the poll: {why}"),
        Stamping::Nic => format!("nic, {}", units(plan)),
    };
    Some(text)
}

/// The unit and clock of each port's stamps.
fn units(plan: &Plan) -> String {
    let unit = |port: &crate::config::PortPlan| {
        let units: Vec<String> = port
            .info
            .stamp_clocks
            .iter()
            .map(|(unit, clock)| format!("{unit} of {}", clock.name()))
            .collect();
        format!("port {} {}: {}", port.info.id, port.info.driver, units.join(" or "))
    };
    plan.ports.iter().map(unit).collect::<Vec<_>>().join(", ")
}

fn driver(plan: &Plan, port: u16) -> String {
    let found = plan.ports.iter().find(|plan| plan.info.id == port);
    found.map_or(String::new(), |plan| format!(" ({})", plan.info.driver))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_that_read_captures_are_recognised() {
        let line = "mpfwd -l 0 --vdev net_pcap0,rx_pcap=a.pcap,tx_pcap=b --vdev=net_pcap1,tx_iface=x,rx_pcap=c --vdev net_pcap2,rx_iface=eth0 \
                    --vdev net_null0";
        let args: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        assert_eq!(replaying(&args), ["net_pcap0", "net_pcap1"]);
        assert!(replaying(&args[..4]).is_empty());
    }
}
