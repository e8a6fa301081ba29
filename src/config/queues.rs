//! Which lcore polls which receive queue, and sends on which transmit queue.

use super::sockets::{self, Memory};
use super::usage;
use crate::cli::{Cli, PoolsArg, QueueOf};
use crate::dpdk::{Lcore, PortInfo};
use crate::policy::Mode;
use mpfwd_common::error::Result;

/// The queues of all ports.
pub(super) struct Queues {
    /// By lcore: the receive queues that it owns, as port and queue.
    pub rx: Vec<Vec<(u16, u16)>>,
    /// By port: the number of receive queues.
    pub rxqs: Vec<u16>,
    /// By port: the number of transmit queues.
    txqs: Vec<u16>,
}

impl Queues {
    /// `polling`: how many lcores own receive queues. `owns_all`: each of them
    /// owns all.
    ///
    /// # Errors
    /// When `--config`, `--rxq` or `--txq` don't fit the lcores and ports.
    pub(super) fn new(
        cli: &Cli,
        lcores: &[Lcore],
        (polling, owns_all): (usize, bool),
        ports: &[&PortInfo],
        warnings: &mut Vec<String>,
    ) -> Result<Self> {
        let mut rx = vec![Vec::new(); lcores.len()];
        let rxqs = match &cli.config {
            Some(map) => map_queues(&map.0, lcores, polling, ports, &mut rx)?,
            None => spread_queues(cli, &lcores[..polling], ports, &mut rx, warnings)?,
        };
        if owns_all {
            let mut all: Vec<_> = rx.concat();
            all.sort_unstable();
            rx.fill(all);
        }
        let txqs = transmit_queues(cli, lcores.len(), ports, &rxqs, warnings)?;
        Ok(Self { rx, rxqs, txqs })
    }

    /// The transmit queue of an lcore on every port.
    pub(super) fn tx(&self, lcore: usize, ports: &[&PortInfo]) -> Vec<(u16, u16)> {
        let queue = |(port, &txq): (&&PortInfo, &u16)| (port.id, (lcore % usize::from(txq)) as u16);
        ports.iter().zip(&self.txqs).map(queue).collect()
    }

    /// The sockets of a port's receive queues, and of its transmit queues, each
    /// of which the lcore of its number uses.
    pub(super) fn sockets(
        &self,
        at: usize,
        port: &PortInfo,
        lcores: &[Lcore],
        memory: &Memory,
    ) -> (Vec<u32>, Vec<u32>) {
        let near = |lcore| sockets::of_queue(port, lcore, memory);
        let owner = |queue| self.rx.iter().position(|rx| rx.contains(&(port.id, queue)));
        let rx = (0..self.rxqs[at]).map(|queue| near(owner(queue).map(|owner| &lcores[owner])));
        let tx = (0..self.txqs[at]).map(|queue| near(lcores.get(usize::from(queue))));
        (rx.collect(), tx.collect())
    }

    /// How many of `lcores` send on each transmit queue of a port.
    pub(super) fn users(&self, port: usize, lcores: usize) -> Vec<usize> {
        let txqs = usize::from(self.txqs[port]);
        (0..txqs).map(|queue| (lcores + txqs - 1 - queue) / txqs).collect()
    }
}

/// Checks what can be checked before EAL starts.
///
/// # Errors
/// When a size is no power of two, or arguments contradict each other.
pub(super) fn check_alone(cli: &Cli, mode: Mode) -> Result<()> {
    if !cli.ring_size.is_power_of_two() || cli.ring_size < 2 {
        let near = cli.ring_size.clamp(2, 1 << 30).next_power_of_two();
        return usage(format!(
            "--ring-size {} is not a power of two: write for example {near}",
            cli.ring_size
        ));
    }
    for (name, value) in [("--rxd", cli.rxd), ("--txd", cli.txd)] {
        if !value.is_power_of_two() {
            return usage(format!(
                "{name} {value} is not a power of two: write for example {}",
                value.checked_next_power_of_two().unwrap_or(1 << 15)
            ));
        }
    }
    if let Some(PoolsArg::Fixed(pools)) = cli.pools {
        check_shards(cli, mode, mode.facts().sheds.count(pools.a, pools.b))?;
    }
    if let Some(QueueOf { port, queue, .. }) =
        cli.config.as_ref().and_then(|map| first_double(&map.0))
    {
        return usage(format!(
            "--config maps port {port}'s queue {queue} twice: a queue has one lcore, so keep one entry"
        ));
    }
    if cli.config.is_some() && cli.rxq.is_some() {
        return usage("--config already sets the number of receive queues: leave out --rxq".into());
    }
    Ok(())
}

/// `shedding`: the number of lcores that shed.
///
/// # Errors
/// When there are more shards than that.
pub(super) fn check_shards(cli: &Cli, mode: Mode, shedding: usize) -> Result<()> {
    match (cli.shards, cli.pools) {
        (Some(shards), Some(pools)) if usize::from(shards) > shedding => usage(format!(
            "--shards {shards}: only {shedding} lcores shed ({} of --pools {pools}): write at most {shedding}",
            mode.facts().sheds.name()
        )),
        _ => Ok(()),
    }
}

fn first_double(map: &[QueueOf]) -> Option<QueueOf> {
    let same = |a: &QueueOf, b: &QueueOf| (a.port, a.queue) == (b.port, b.queue);
    map.iter()
        .enumerate()
        .find(|(at, entry)| map[..*at].iter().any(|before| same(before, entry)))
        .map(|(_, entry)| *entry)
}

/// `--config`: the user's map. Returns the number of receive queues per port.
fn map_queues(
    map: &[QueueOf],
    lcores: &[Lcore],
    polling: usize,
    ports: &[&PortInfo],
    rx: &mut [Vec<(u16, u16)>],
) -> Result<Vec<u16>> {
    let mut rxqs = vec![0u16; ports.len()];
    for entry in map {
        let Some(at) = lcores.iter().position(|lcore| lcore.id == entry.lcore) else {
            let ids: Vec<String> = lcores.iter().map(|lcore| lcore.id.to_string()).collect();
            return usage(format!(
                "--config names lcore {}, which EAL does not have: there are {}",
                entry.lcore,
                ids.join(", ")
            ));
        };
        if at >= polling {
            return usage(format!(
                "--config gives lcore {} a queue, but it is in pool B, which does not poll: choose one of the first {polling} lcores, or change --pools",
                entry.lcore
            ));
        }
        let Some(port) = ports.iter().position(|port| port.id == entry.port) else {
            return usage(format!(
                "--config names port {}, which --portmask leaves out: change one of them",
                entry.port
            ));
        };
        if entry.queue >= ports[port].max_rxq {
            return usage(format!(
                "--config names queue {} of port {}, which has {} receive queues",
                entry.queue, entry.port, ports[port].max_rxq
            ));
        }
        rx[at].push((entry.port, entry.queue));
        rxqs[port] = rxqs[port].max(entry.queue + 1);
    }
    check_complete(map, ports, &rxqs)?;
    Ok(rxqs)
}

/// Checks that the map leaves out no port, and no queue below the highest one.
fn check_complete(map: &[QueueOf], ports: &[&PortInfo], rxqs: &[u16]) -> Result<()> {
    for (at, port) in ports.iter().enumerate() {
        if rxqs[at] == 0 {
            return usage(format!(
                "--config leaves out port {}: add \"({},0,LCORE)\", or leave the port out by --portmask",
                port.id, port.id
            ));
        }
        if let Some(queue) = (0..rxqs[at])
            .find(|&queue| !map.iter().any(|entry| (entry.port, entry.queue) == (port.id, queue)))
        {
            return usage(format!(
                "--config leaves out queue {queue} of port {}, whose packets would be lost: add \"({},{queue},LCORE)\"",
                port.id, port.id
            ));
        }
    }
    Ok(())
}

/// Queue i of every port on the i-th of the lcores that poll and are near to
/// the port.
fn spread_queues(
    cli: &Cli,
    lcores: &[Lcore],
    ports: &[&PortInfo],
    rx: &mut [Vec<(u16, u16)>],
    warnings: &mut Vec<String>,
) -> Result<Vec<u16>> {
    let mut rxqs = Vec::with_capacity(ports.len());
    for port in ports {
        let pollers = sockets::pollers(port, lcores);
        let polling = pollers.len();
        let wanted = cli.rxq.unwrap_or(polling.min(usize::from(u16::MAX)) as u16);
        if wanted > port.max_rxq && cli.rxq.is_some() {
            return usage(format!(
                "--rxq {wanted}: port {} ({}) has {} receive queues",
                port.id, port.name, port.max_rxq
            ));
        }
        let count = wanted.min(port.max_rxq);
        if count < wanted {
            warnings.push(format!(
                "port {} ({}) has {} receive queues for {polling} lcores that poll",
                port.id, port.name, port.max_rxq
            ));
        }
        // Ports with too few queues start at different lcores, so that more
        // lcores get one.
        let offset: usize =
            if count < wanted { pollers.iter().map(|&at| rx[at].len()).sum() } else { 0 };
        for queue in 0..count {
            rx[pollers[(usize::from(queue) + offset) % polling]].push((port.id, queue));
        }
        rxqs.push(count);
    }
    Ok(rxqs)
}

/// The number of transmit queues per port: one per lcore, or as many as the
/// port has.
fn transmit_queues(
    cli: &Cli,
    lcores: usize,
    ports: &[&PortInfo],
    rxqs: &[u16],
    warnings: &mut Vec<String>,
) -> Result<Vec<u16>> {
    let mut txqs = Vec::with_capacity(ports.len());
    for (port, &rxq) in ports.iter().zip(rxqs) {
        let wanted = cli.txq.unwrap_or(lcores.min(usize::from(u16::MAX)) as u16);
        if wanted > port.max_txq && cli.txq.is_some() {
            return usage(format!(
                "--txq {wanted}: port {} ({}) has {} transmit queues",
                port.id, port.name, port.max_txq
            ));
        }
        if port.paired_queues && cli.txq.is_some_and(|txq| txq != rxq) {
            return usage(format!(
                "--txq {wanted}: port {} ({}) needs as many transmit as receive queues, {rxq}",
                port.id, port.driver
            ));
        }
        let count =
            if port.paired_queues { rxq } else { wanted.min(port.max_txq) }.min(wanted.max(1));
        if usize::from(count) < lcores {
            warnings.push(format!(
                "port {} ({}): {lcores} lcores share {count} transmit queues under a lock",
                port.id, port.name
            ));
        }
        txqs.push(count);
    }
    Ok(txqs)
}
