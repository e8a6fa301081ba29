//! The plan of a run, from the arguments and the lcores and ports that exist:
//! which lcore does what. Pure: nothing is touched before the plan is complete.

use crate::cli::{Cli, EthPeer, ForwardMode, Mark, Pools, QueueOf};
use crate::dpdk::{Lcore, PortInfo};
use crate::policy::Pool;
use mpfwd_common::error::{Error, Result};

mod buffers;
mod inspection;
mod scheduling;
mod source;
mod stamping;

use buffers::{buffer_room, buffers, order_records};
pub use inspection::{Inspecting, check_forward_mode};
pub use scheduling::Scheduling;
use scheduling::scheduling;
pub use source::SOURCE_PORT_HINT;
pub use stamping::Stamping;

/// Packets that an lcore keeps per port when the driver refuses them.
pub const WAITING_MAX: usize = 1024;

/// One lcore's part.
#[derive(Clone, Debug)]
pub struct LcorePlan {
    pub lcore: Lcore,
    pub pool: Pool,
    /// The receive queues that it owns: port and queue.
    pub rx: Vec<(u16, u16)>,
    /// The transmit queue that it sends on, for every port.
    pub tx_queue: Vec<(u16, u16)>,
    /// The shard that it sheds to.
    pub shard: Option<usize>,
    /// Whether it may dequeue from the shards.
    pub takes: bool,
}

/// One port's part.
#[derive(Clone, Debug)]
pub struct PortPlan {
    pub info: PortInfo,
    pub rxq: u16,
    /// Lcores per transmit queue.
    pub txq_users: Vec<usize>,
    /// The port that its packets leave by.
    pub out: u16,
    /// Destination address of packets that leave by this port.
    pub peer: [u8; 6],
}

/// Everything that a run sets up.
#[derive(Clone, Debug)]
pub struct Plan {
    pub scheduling: Scheduling,
    pub inspecting: Inspecting,
    /// Lcores per micropool; `None` with a single pool.
    pub pools: Option<Pools>,
    pub lcores: Vec<LcorePlan>,
    pub ports: Vec<PortPlan>,
    pub shards: usize,
    pub mbufs: u32,
    /// Buffers in each lcore's cache.
    pub mbuf_cache: u32,
    /// Packets with a place in their flow at a time, per receive queue.
    pub order_records: usize,
    /// Bytes of a buffer, headroom included.
    pub mbuf_room: u16,
    /// Where latency starts.
    pub stamping: Stamping,
    /// Frames may need several buffers.
    pub scatter: bool,
    pub warnings: Vec<String>,
}

impl Plan {
    /// The receive queues that an lcore may poll: its own, then, in modes whose
    /// lcores poll for each other, all others.
    pub fn may_poll(&self, lcore: &LcorePlan) -> Vec<(u16, u16)> {
        let Scheduling { mode, steal_rx, .. } = self.scheduling;
        let polls_for_others = mode.facts().polls_for_others || steal_rx;
        let others =
            self.lcores.iter().filter(|other| polls_for_others && other.lcore.id != lcore.lcore.id);
        lcore.rx.iter().chain(others.flat_map(|other| &other.rx)).copied().collect()
    }
}

fn usage<T>(message: String) -> Result<T> {
    Err(Error::Usage(message))
}

/// Checks what can be checked before EAL starts.
///
/// # Errors
/// When arguments contradict each other.
pub fn check_alone(cli: &Cli) -> Result<Scheduling> {
    if !cli.ring_size.is_power_of_two() || cli.ring_size < 2 {
        let near = cli.ring_size.clamp(2, 1 << 30).next_power_of_two();
        return usage(format!(
            "--ring-size {}: a ring's size is a power of two, for example {near}",
            cli.ring_size
        ));
    }
    for (name, value) in [("--rxd", cli.rxd), ("--txd", cli.txd)] {
        if !value.is_power_of_two() {
            return usage(format!(
                "{name} {value}: a queue's size is a power of two, for example {}",
                value.checked_next_power_of_two().unwrap_or(1 << 15)
            ));
        }
    }
    let scheduling = scheduling(cli)?;
    if let (Some(shards), Some(pools)) = (cli.shards, cli.pools) {
        let who = scheduling.mode.facts().sheds;
        let shedding = who.count(pools.a, pools.b);
        if usize::from(shards) > shedding {
            return usage(format!(
                "--shards {shards}: only {shedding} lcores shed ({} of --pools {pools}), so at most {shedding}",
                who.name()
            ));
        }
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
    Inspecting::new(cli)?;
    match (cli.forward_mode, &cli.routes) {
        (ForwardMode::L3, None) => {
            return usage(
                "--forward-mode l3 needs --routes FILE, with lines such as \"10.0.0.0/8 1\"".into(),
            );
        }
        (ForwardMode::Io | ForwardMode::Mac | ForwardMode::MacSwap | ForwardMode::Dpi, Some(_)) => {
            return usage(
                "--routes is for --forward-mode l3: add it, or leave out --routes".into(),
            );
        }
        _ => {}
    }
    source::check_alone(cli)?;
    stamping::check_alone(cli)?;
    Ok(scheduling)
}

fn first_double(map: &[QueueOf]) -> Option<QueueOf> {
    let same = |a: &QueueOf, b: &QueueOf| (a.port, a.queue) == (b.port, b.queue);
    map.iter()
        .enumerate()
        .find(|(at, entry)| map[..*at].iter().any(|before| same(before, entry)))
        .map(|(_, entry)| *entry)
}

/// The plan for these lcores and ports. The main lcore comes first.
///
/// # Errors
/// When the arguments don't fit them.
pub fn plan(cli: &Cli, lcores: &[Lcore], ports: &[PortInfo]) -> Result<Plan> {
    let scheduling = check_alone(cli)?;
    let mut warnings = Vec::new();
    let ports = chosen_ports(cli, ports)?;
    let pool_a = split(cli.pools, lcores)?;
    let (facts, pool_b) = (scheduling.mode.facts(), lcores.len() - pool_a);
    let polling = facts.polls.count(pool_a, pool_b);
    let mut rx = vec![Vec::new(); lcores.len()];
    let rxqs = match &cli.config {
        Some(map) => map_queues(&map.0, lcores, polling, &ports, &mut rx)?,
        None => spread_queues(cli, lcores, polling, &ports, &mut rx, &mut warnings)?,
    };
    if facts.owns_all_queues {
        let mut all: Vec<_> = rx.concat();
        all.sort_unstable();
        rx.fill(all);
    }
    let txqs = transmit_queues(cli, lcores.len(), &ports, &rxqs, &mut warnings)?;
    for (at, lcore) in lcores[..pool_a].iter().enumerate() {
        if rx[at].is_empty() {
            warnings.push(format!(
                "lcore {} polls no queue: the ports have too few, or --config leaves it out",
                lcore.id
            ));
        }
    }
    let shedding = facts.sheds.count(pool_a, pool_b);
    let shards = if shedding > 0 { cli.shards.map_or(shedding, usize::from) } else { 0 };
    let lcores: Vec<LcorePlan> = lcores
        .iter()
        .zip(rx)
        .enumerate()
        .map(|(at, (&lcore, rx))| {
            let pool = if at < pool_a { Pool::A } else { Pool::B };
            LcorePlan {
                lcore,
                pool,
                rx,
                tx_queue: ports
                    .iter()
                    .zip(&txqs)
                    .map(|(port, &txq)| (port.id, (at % usize::from(txq)) as u16))
                    .collect(),
                shard: facts.sheds.includes(pool).then(|| at % shards),
                takes: facts.may_dequeue(pool, pool_a),
            }
        })
        .collect();
    let peers = peers(&cli.eth_peer, &ports)?;
    let mut plans: Vec<PortPlan> = ports
        .iter()
        .enumerate()
        .map(|(at, &info)| PortPlan {
            info: info.clone(),
            rxq: rxqs[at],
            txq_users: users(lcores.len(), txqs[at]),
            out: paired(at, &ports, &mut warnings),
            peer: peers[at],
        })
        .collect();
    source::check_ports(cli, &plans)?;
    let stamping = stamping::stamping(cli, &mut plans)?;
    let (mbuf_room, scatter) = buffer_room(cli.max_pkt_len, &ports)?;
    let (mbufs, mbuf_cache) = buffers(cli, &lcores, &plans, shards, &mut warnings)?;
    let (inspecting, pools) = (Inspecting::new(cli)?, cli.pools);
    let order_records = order_records(mbufs, &plans);
    Ok(Plan {
        scheduling,
        inspecting,
        pools,
        lcores,
        ports: plans,
        shards,
        mbufs,
        mbuf_cache,
        order_records,
        mbuf_room,
        stamping,
        scatter,
        warnings,
    })
}

fn chosen_ports<'p>(cli: &Cli, ports: &'p [PortInfo]) -> Result<Vec<&'p PortInfo>> {
    if ports.is_empty() {
        return usage(
            "no ports: give EAL a NIC bound to vfio-pci (-a 0000:01:00.0) or a virtual port (--vdev net_null0), before --".into(),
        );
    }
    let ids = || ports.iter().map(|port| port.id.to_string()).collect::<Vec<_>>().join(", ");
    let exists = |id: u64| ports.iter().any(|port| u64::from(port.id) == id);
    if let Some(id) =
        cli.portmask.and_then(|mask| (0..64).find(|&id| mask >> id & 1 == 1 && !exists(id)))
    {
        return usage(format!(
            "--portmask names port {id}, which does not exist: there are {}",
            ids()
        ));
    }
    let named =
        cli.config.iter().flat_map(|map| map.0.iter().map(|entry| ("--config", entry.port)));
    for (argument, id) in named.chain(cli.eth_peer.iter().map(|peer| ("--eth-peer", peer.port))) {
        if !exists(u64::from(id)) {
            return usage(format!(
                "{argument} names port {id}, which does not exist: there are {}",
                ids()
            ));
        }
    }
    Ok(ports
        .iter()
        .filter(|port| cli.portmask.is_none_or(|mask| port.id < 64 && mask >> port.id & 1 == 1))
        .collect())
}

/// The size of pool A: all lcores with a single pool.
fn split(pools: Option<Pools>, lcores: &[Lcore]) -> Result<usize> {
    let Some(pools) = pools else { return Ok(lcores.len()) };
    if pools.a.checked_add(pools.b) != Some(lcores.len()) {
        let instead = match lcores.len() {
            0 | 1 => {
                "give EAL two lcores at least: -l 0-1, or --lcores '(0-1)@0' on one CPU".into()
            }
            count => {
                format!("write --pools {}:{}", count - (count / 5).max(1), (count / 5).max(1))
            }
        };
        return usage(format!(
            "--pools {pools} needs {} lcores, EAL has {}: {instead}",
            pools.a.saturating_add(pools.b),
            lcores.len()
        ));
    }
    Ok(pools.a)
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
    Ok(rxqs)
}

/// Queue i of every port on the i-th lcore that polls.
fn spread_queues(
    cli: &Cli,
    lcores: &[Lcore],
    polling: usize,
    ports: &[&PortInfo],
    rx: &mut [Vec<(u16, u16)>],
    warnings: &mut Vec<String>,
) -> Result<Vec<u16>> {
    let mut rxqs = Vec::with_capacity(ports.len());
    for port in ports {
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
        let offset =
            if count < wanted { rxqs.iter().map(|&count| usize::from(count)).sum() } else { 0 };
        for queue in 0..count {
            rx[(usize::from(queue) + offset) % polling].push((port.id, queue));
        }
        rxqs.push(count);
    }
    debug_assert_eq!(rx.len(), lcores.len());
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

/// How many of `lcores` send on each of `txqs` queues.
fn users(lcores: usize, txqs: u16) -> Vec<usize> {
    (0..usize::from(txqs))
        .map(|queue| (lcores + usize::from(txqs) - 1 - queue) / usize::from(txqs))
        .collect()
}

/// The port that packets of port `at` leave by. Ports are paired in order, as
/// in testpmd. An odd port out is paired with itself.
fn paired(at: usize, ports: &[&PortInfo], warnings: &mut Vec<String>) -> u16 {
    match ports.get(at ^ 1) {
        Some(port) => port.id,
        None => {
            if ports.len() > 1 {
                warnings.push(format!(
                    "port {} has no partner: its packets leave by the same port",
                    ports[at].id
                ));
            }
            ports[at].id
        }
    }
}

/// For each port the address behind it: `--eth-peer`'s, else testpmd's.
fn peers(told: &[EthPeer], ports: &[&PortInfo]) -> Result<Vec<[u8; 6]>> {
    let is_repeated =
        |&(at, peer): &(usize, &EthPeer)| told[..at].iter().any(|before| before.port == peer.port);
    if let Some((_, peer)) = told.iter().enumerate().find(is_repeated) {
        return usage(format!("--eth-peer names port {} twice: keep one of them", peer.port));
    }
    let address = |port: &&PortInfo| {
        let told = told.iter().find(|peer| peer.port == port.id);
        told.map_or([0x02, 0, 0, 0, 0, port.id as u8], |peer| peer.mac.into_array())
    };
    Ok(ports.iter().map(address).collect())
}

/// Whether packets from this port are marked by their sequence.
pub fn marks_by_sequence(mark: Mark, port: &PortInfo) -> bool {
    match mark {
        Mark::Auto => port.uniform_traffic,
        Mark::Hash => false,
        Mark::Sequence => true,
    }
}

#[cfg(test)]
mod tests;
