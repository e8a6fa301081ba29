//! What `--source` and the other arguments mean for each other.

use super::{PortPlan, usage};
use crate::cli::{Cli, Mark};
use mpfwd_common::error::{Error, Result};

/// What ports of a source have to be.
pub const SOURCE_PORT_HINT: &str =
    "a source needs ports that are quiet: write --vdev net_null0,no-rx=1 before --";

/// What can be said before EAL starts.
///
/// # Errors
/// When the source does not fit what packets cost, or how long they may be.
pub(super) fn check_alone(cli: &Cli) -> Result<()> {
    let costs = cli.work.as_ref().map(crate::cli::Work::costs);
    let Some(source) = &cli.source else {
        return match &cli.work {
            Some(work) if work.dist.is_some() => usage(
                "--work dist=: it is the source that draws what packets cost: add --source open-loop:load=0.7, or leave out dist".into(),
            ),
            _ => Ok(()),
        };
    };
    if cli.work.as_ref().is_some_and(|work| work.mark != Mark::Auto) {
        return usage("--work mark=: with --source it is the source that draws which packets are expensive: leave out mark".into());
    }
    if u32::from(source.frame_bytes) + 4 > cli.max_pkt_len {
        return usage(format!(
            "--source size={}: with its checksum that is longer than --max-pkt-len {}",
            source.frame_bytes, cli.max_pkt_len
        ));
    }
    let mean_ns = costs.map_or(0.0, |costs| costs.service.mean_ns());
    source.demand.pps(mean_ns, 1).map(drop).map_err(|why| Error::Usage(format!("--source: {why}")))
}

/// Whether the source fits the ports and their queues.
///
/// # Errors
/// When a port is not a virtual one, or the source says how packets are spread
/// over another number of queues.
pub(super) fn check_ports(cli: &Cli, ports: &[PortPlan]) -> Result<()> {
    let Some(source) = &cli.source else { return Ok(()) };
    if let Some(port) = ports.iter().find(|port| port.info.driver != "net_null") {
        return usage(format!(
            "--source: port {} is a {}: {SOURCE_PORT_HINT}, or leave the port out by --portmask",
            port.info.id, port.info.driver
        ));
    }
    let queues = ports.iter().map(|port| usize::from(port.rxq)).sum();
    source.skew.shares(queues).map(drop).map_err(|why| Error::Usage(format!("--source: {why}")))
}
