//! Contradictions of `--source` with other arguments and with ports.

use super::{PortPlan, usage};
use crate::cli::{Cli, Mark};
use mpfwd_common::error::{Error, Result};

/// How to make ports for a source.
pub const SOURCE_PORT_HINT: &str =
    "a source needs quiet virtual ports: write --vdev net_null0,no-rx=1 before --";

/// Checks what can be checked before EAL starts.
///
/// # Errors
/// When the source contradicts `--work` or `--max-pkt-len`.
pub(super) fn check_alone(cli: &Cli) -> Result<()> {
    let costs = cli.work.as_ref().map(crate::cli::Work::costs);
    let Some(source) = &cli.source else {
        return match &cli.work {
            Some(work) if work.dist.is_some() => usage(
                "--work dist= needs a source, which draws the costs: add --source open-loop:load=0.7, or leave out dist".into(),
            ),
            _ => Ok(()),
        };
    };
    if cli.work.as_ref().is_some_and(|work| work.mark != Mark::Auto) {
        return usage(
            "--work mark= contradicts --source, which draws the expensive packets: leave out mark"
                .into(),
        );
    }
    if u32::from(source.frame_bytes) + 4 > cli.max_pkt_len {
        return usage(format!(
            "--source size={} with its checksum is longer than --max-pkt-len {}: write size={} or less",
            source.frame_bytes,
            cli.max_pkt_len,
            cli.max_pkt_len - 4
        ));
    }
    let mean_ns = costs.map_or(0.0, |costs| costs.service.mean_ns());
    source.demand.pps(mean_ns, 1).map(drop).map_err(|why| Error::Usage(format!("--source: {why}")))
}

/// Checks the source against the ports and their queues.
///
/// # Errors
/// When a port is not a net_null, or the source's shares are for another number
/// of queues.
pub(super) fn check_ports(cli: &Cli, ports: &[PortPlan]) -> Result<()> {
    let Some(source) = &cli.source else { return Ok(()) };
    if let Some(port) = ports.iter().find(|port| port.info.driver != "net_null") {
        return usage(format!(
            "--source: port {} is {}: {SOURCE_PORT_HINT}, or leave the port out by --portmask",
            port.info.id, port.info.driver
        ));
    }
    let queues = ports.iter().map(|port| usize::from(port.rxq)).sum();
    source.skew.shares(queues).map(drop).map_err(|why| Error::Usage(format!("--source: {why}")))
}
