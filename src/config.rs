//! The plan of a run, from the arguments and the lcores and ports that exist:
//! which lcore does what. Pure: nothing is touched before the plan is complete.

use crate::cli::{Cli, EthPeer, ForwardMode, Mark, Pools, PoolsArg};
use crate::dpdk::{Lcore, PortInfo};
use crate::policy::Pool;
use mpfwd_common::error::{Error, Result};

mod buffers;
mod inspection;
mod queues;
mod scheduling;
mod sockets;
mod source;
mod stamping;

use buffers::{buffer_room, buffers, order_records};
pub use inspection::{Inspecting, check_forward_mode, stream_bytes};
use queues::Queues;
use scheduling::scheduling;
pub use scheduling::{Scheduling, rescue_after_min};
use sockets::Memory;
pub use sockets::Placement;
pub use source::SOURCE_PORT_HINT;
pub use stamping::Stamping;

/// Packets that an lcore keeps per port when the driver refuses them.
pub const BACKLOG_MAX: usize = 1024;

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
    /// The socket of its own memory.
    pub memory: u32,
}

/// One port's part.
#[derive(Clone, Debug)]
pub struct PortPlan {
    pub info: PortInfo,
    pub rxq: u16,
    /// By receive queue and by transmit queue, the socket of its descriptors,
    /// and of the buffers that it receives into.
    pub rx_sockets: Vec<u32>,
    pub tx_sockets: Vec<u32>,
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
    /// Lcores per micropool, at the start if they follow the load; `None` with
    /// a single pool.
    pub pools: Option<Pools>,
    pub lcores: Vec<LcorePlan>,
    pub ports: Vec<PortPlan>,
    pub shards: usize,
    pub placement: Placement,
    /// Buffers in each pool.
    pub mbufs: u32,
    /// Buffers in each lcore's cache of each pool.
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
    /// EAL's lcores, in the order of the map.
    pub fn eal_lcores(&self) -> Vec<Lcore> {
        self.lcores.iter().map(|lcore| lcore.lcore).collect()
    }

    /// The socket whose buffers an lcore receives by its first queue; its own,
    /// if it has no queue.
    pub fn receives_on(&self, lcore: &LcorePlan) -> u32 {
        lcore.rx.first().map_or(lcore.memory, |&(port, queue)| self.rx_socket(port, queue))
    }

    /// The socket of a receive queue.
    pub fn rx_socket(&self, port: u16, queue: u16) -> u32 {
        let port = self.ports.iter().find(|of| of.info.id == port);
        let socket = port.and_then(|port| port.rx_sockets.get(usize::from(queue)));
        socket.copied().unwrap_or_default()
    }

    /// Whether it matters where something is.
    pub fn spans_sockets(&self) -> bool {
        let sockets = self.lcores.iter().map(|lcore| lcore.lcore.socket);
        let mut all = sockets.chain(self.ports.iter().filter_map(|port| port.info.socket));
        all.next().is_some_and(|first| all.any(|socket| socket != first))
    }

    /// The receive queues that an lcore may poll: its own, then, in modes whose
    /// lcores poll for each other, and where the mode can be changed, all
    /// others.
    pub fn may_poll(&self, lcore: &LcorePlan, can_change: bool) -> Vec<(u16, u16)> {
        let Scheduling { mode, steal_rx, .. } = self.scheduling;
        let polls_for_others = can_change || mode.facts().polls_for_others || steal_rx;
        let others =
            self.lcores.iter().filter(|other| polls_for_others && other.lcore.id != lcore.lcore.id);
        let mut all: Vec<(u16, u16)> = lcore.rx.clone();
        for queue in others.flat_map(|other| &other.rx) {
            if !all.contains(queue) {
                all.push(*queue);
            }
        }
        all
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
    let scheduling = scheduling(cli)?;
    queues::check_alone(cli, scheduling.mode)?;
    Inspecting::new(cli)?;
    match (cli.forward_mode, &cli.routes) {
        (ForwardMode::L3, None) => usage(
            "--forward-mode l3 needs --routes FILE, with lines such as \"10.0.0.0/8 1\"".into(),
        ),
        (ForwardMode::Io | ForwardMode::Mac | ForwardMode::MacSwap | ForwardMode::Dpi, Some(_)) => {
            usage("--routes is for --forward-mode l3: add it, or leave out --routes".into())
        }
        (ForwardMode::L3, Some(_)) | (_, None) => Ok(()),
    }?;
    source::check_alone(cli)?;
    stamping::check_alone(cli)?;
    Ok(scheduling)
}

/// The plan for these lcores and ports. The main lcore comes first.
/// `socket_mem`: the MiB of EAL's `--socket-mem`, by socket.
///
/// # Errors
/// When the arguments don't fit them.
pub fn plan(
    cli: &Cli,
    lcores: &[Lcore],
    ports: &[PortInfo],
    socket_mem: Option<&[u64]>,
) -> Result<Plan> {
    let scheduling = check_alone(cli)?;
    let mut warnings = Vec::new();
    let ports = chosen_ports(cli, ports)?;
    let memory = Memory::new(socket_mem);
    let pools = split(cli.pools, lcores)?;
    let pool_a = pools.map_or(lcores.len(), |pools| pools.a);
    let (facts, pool_b) = (scheduling.mode.facts(), lcores.len() - pool_a);
    let polling = facts.polls.count(pool_a, pool_b);
    let queues = Queues::new(cli, lcores, (polling, facts.owns_all_queues), &ports, &mut warnings)?;
    warnings.extend(sockets::far_ports(&ports, lcores, &queues.rx));
    warnings.extend(memory.missing(lcores, &ports));
    warnings.extend(unused(&lcores[..pool_a], &queues));
    let shedding = facts.sheds.count(pool_a, pool_b);
    queues::check_shards(cli, scheduling.mode, shedding)?;
    let workers_max = lcores.len() - 1;
    if let Some(cap) = cli.expensive_cap
        && scheduling.follows_load
        && cap > workers_max
    {
        return usage(format!(
            "--expensive-cap {cap}: pool B of --pools auto has at most {workers_max} of these lcores: write {workers_max} or less"
        ));
    }
    let pool_a_max = if scheduling.follows_load { workers_max } else { pool_a };
    let shards = if shedding > 0 { cli.shards.map_or(shedding, usize::from) } else { 0 };
    let lcore_plan = |(at, &lcore): (usize, &Lcore)| {
        let pool = if at < pool_a { Pool::A } else { Pool::B };
        LcorePlan {
            lcore,
            pool,
            rx: queues.rx[at].clone(),
            tx_queue: queues.tx(at, &ports),
            shard: facts.sheds.includes(pool).then(|| at % shards),
            takes: facts.may_dequeue(pool, pool_a_max),
            memory: memory.near(lcore.socket),
        }
    };
    let all = lcores;
    let lcores: Vec<LcorePlan> = lcores.iter().enumerate().map(lcore_plan).collect();
    let peers = peers(&cli.eth_peer, &ports)?;
    let port_plan = |(at, &info): (usize, &&PortInfo)| {
        let (rx_sockets, tx_sockets) = queues.sockets(at, info, all, &memory);
        PortPlan {
            info: info.clone(),
            rxq: queues.rxqs[at],
            rx_sockets,
            tx_sockets,
            txq_users: queues.users(at, lcores.len()),
            out: paired(at, &ports, &mut warnings),
            peer: peers[at],
        }
    };
    let mut plans: Vec<PortPlan> = ports.iter().enumerate().map(port_plan).collect();
    source::check_ports(cli, &plans)?;
    let stamping = stamping::stamping(cli, &mut plans)?;
    let (mbuf_room, scatter) = buffer_room(cli.max_pkt_len, &ports)?;
    let placement = Placement::new(&lcores, &plans, shards, &memory);
    let (mbufs, mbuf_cache) = buffers(cli, &lcores, &plans, &placement, &mut warnings)?;
    let inspecting = Inspecting::new(cli)?;
    let order_records = order_records(mbufs, &plans, &placement);
    Ok(Plan {
        scheduling,
        inspecting,
        pools,
        lcores,
        ports: plans,
        shards,
        placement,
        mbufs,
        mbuf_cache,
        order_records,
        mbuf_room,
        stamping,
        scatter,
        warnings,
    })
}

/// A warning for each lcore without a receive queue.
fn unused(lcores: &[Lcore], queues: &Queues) -> impl Iterator<Item = String> {
    let without = lcores.iter().zip(&queues.rx).filter(|(_, rx)| rx.is_empty());
    without.map(|(lcore, _)| {
        let id = lcore.id;
        format!("lcore {id} polls no queue: the ports have too few, are on other sockets, or --config leaves it out")
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

/// The pools at the start; `None` with a single pool. Those that follow the
/// load begin with halves.
fn split(pools: Option<PoolsArg>, lcores: &[Lcore]) -> Result<Option<Pools>> {
    const TWO_LCORES: &str =
        "give EAL two lcores at least: -l 0-1, or --lcores '(0-1)@0' on one CPU";
    let count = lcores.len();
    let pools = match pools {
        None => return Ok(None),
        Some(PoolsArg::Fixed(pools)) => pools,
        Some(PoolsArg::Auto) if count < 2 => {
            return usage(format!("--pools auto needs two lcores, EAL has {count}: {TWO_LCORES}"));
        }
        Some(PoolsArg::Auto) => Pools { a: count - count / 2, b: count / 2 },
    };
    if pools.a.checked_add(pools.b) != Some(count) {
        let instead = match count {
            0 | 1 => TWO_LCORES.into(),
            _ => format!("write --pools {}:{}", count - (count / 5).max(1), (count / 5).max(1)),
        };
        return usage(format!(
            "--pools {pools} needs {} lcores, EAL has {count}: {instead}",
            pools.a.saturating_add(pools.b),
        ));
    }
    Ok(Some(pools))
}

/// The port that packets of port `at` leave by. Ports are paired in order, as
/// in testpmd. An odd port out is paired with itself.
fn paired(at: usize, ports: &[&PortInfo], warnings: &mut Vec<String>) -> u16 {
    match ports.get(at ^ 1) {
        Some(port) => port.id,
        None => {
            warnings.push(format!(
                "port {} has no partner: its packets leave by the same port",
                ports[at].id
            ));
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
