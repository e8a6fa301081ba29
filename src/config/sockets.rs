//! NUMA: on which socket memory is allocated, and what is far from its users.
//! All of this is decided here, from what EAL says of lcores and ports.

use super::{LcorePlan, PortPlan};
use crate::dpdk::{Lcore, PortInfo};

/// The sockets on which EAL may allocate.
pub(super) struct Memory(Option<Vec<u32>>);

impl Memory {
    /// `socket_mem`: the MiB of `--socket-mem`, by socket, if it was given. It
    /// leaves out sockets that have none.
    pub(super) fn new(socket_mem: Option<&[u64]>) -> Self {
        let with_some = |mib: &[u64]| -> Vec<u32> {
            (0..).zip(mib).filter(|(_, mib)| **mib > 0).map(|(socket, _)| socket).collect()
        };
        // Without any memory EAL would not have started.
        Self(socket_mem.map(with_some).filter(|sockets| !sockets.is_empty()))
    }

    /// A warning for each socket that lcores or ports are on, and that has no
    /// memory.
    pub(super) fn missing(&self, lcores: &[Lcore], ports: &[&PortInfo]) -> Vec<String> {
        let of_ports = ports.iter().filter_map(|port| port.socket);
        let mut used: Vec<u32> = lcores.iter().map(|lcore| lcore.socket).chain(of_ports).collect();
        used.sort_unstable();
        used.dedup();
        let away = used.into_iter().filter(|&socket| self.near(socket) != socket);
        let warning = |socket| {
            let instead = self.near(socket);
            format!(
                "socket {socket} has no memory by --socket-mem: socket {instead}'s is used there"
            )
        };
        away.map(warning).collect()
    }

    /// The socket itself, or the first one that has memory instead.
    pub(super) fn near(&self, socket: u32) -> u32 {
        match &self.0 {
            Some(sockets) if !sockets.contains(&socket) => sockets[0],
            _ => socket,
        }
    }
}

/// The memory of what several lcores use.
#[derive(Clone, Debug)]
pub struct Placement {
    /// The sockets that receive queues are on. Each has a pool of buffers.
    pub pools: Vec<u32>,
    /// By shard.
    pub shards: Vec<u32>,
    /// Of tables that all lcores read.
    pub tables: u32,
}

impl Placement {
    pub(super) fn new(
        lcores: &[LcorePlan],
        ports: &[PortPlan],
        shards: usize,
        memory: &Memory,
    ) -> Self {
        let mut pools: Vec<u32> = ports.iter().flat_map(|port| &port.rx_sockets).copied().collect();
        pools.sort_unstable();
        pools.dedup();
        let ends = |shard: usize| {
            let puts = lcores.iter().filter(move |lcore| lcore.shard == Some(shard));
            let takes = lcores.iter().filter(|lcore| lcore.takes);
            puts.chain(takes).map(|lcore| lcore.lcore.socket)
        };
        Self {
            pools,
            shards: (0..shards).map(|shard| memory.near(most(ends(shard)))).collect(),
            tables: memory.near(most(lcores.iter().map(|lcore| lcore.lcore.socket))),
        }
    }
}

/// The socket that most users are on; of several the first user's.
fn most(users: impl Iterator<Item = u32>) -> u32 {
    let users: Vec<u32> = users.collect();
    let count = |socket: u32| users.iter().filter(|&&user| user == socket).count();
    let first_of_most = |best: u32, &socket: &u32| {
        if count(socket) > count(best) { socket } else { best }
    };
    users.iter().fold(users.first().copied().unwrap_or_default(), first_of_most)
}

/// The socket for a queue's descriptors and buffers: the port's, which writes
/// them; that of the lcore that uses it where the port has none.
pub(super) fn of_queue(port: &PortInfo, user: Option<&Lcore>, memory: &Memory) -> u32 {
    memory.near(port.socket.or(user.map(|lcore| lcore.socket)).unwrap_or_default())
}

/// The places of the lcores, among `lcores`, that own the port's receive queues
/// by default: those of its socket. All, where it has no socket, or no lcore is
/// on it.
pub(super) fn pollers(port: &PortInfo, lcores: &[Lcore]) -> Vec<usize> {
    let all = || 0..lcores.len();
    let near: Vec<usize> =
        all().filter(|&at| port.socket.is_none_or(|socket| lcores[at].socket == socket)).collect();
    if near.is_empty() { all().collect() } else { near }
}

/// A warning for each port that lcores of other sockets poll. `rx`: by lcore,
/// the queues that it owns.
pub(super) fn far_ports(
    ports: &[&PortInfo],
    lcores: &[Lcore],
    rx: &[Vec<(u16, u16)>],
) -> Vec<String> {
    let warning = |port: &&PortInfo| {
        let socket = port.socket?;
        let polls = |rx: &[(u16, u16)]| rx.iter().any(|&(id, _)| id == port.id);
        let far = lcores.iter().zip(rx).filter(|(lcore, rx)| lcore.socket != socket && polls(rx));
        let far: Vec<u32> = far.map(|(lcore, _)| lcore.id).collect();
        let (id, name, far) = (port.id, &port.name, (!far.is_empty()).then_some(far)?);
        let lcores = mpfwd_common::text::ranges(&far);
        let who = if far.len() == 1 { "lcore" } else { "lcores" };
        Some(format!(
            "port {id} ({name}) is on socket {socket}, but polled by {who} {lcores} on another"
        ))
    };
    ports.iter().filter_map(warning).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::{planned_on, port};
    use super::*;
    use crate::config::Plan;

    fn on(id: u16, socket: Option<u32>) -> PortInfo {
        PortInfo { socket, ..port(id, 64, 64) }
    }

    /// Two sockets with eight lcores each, the first eight on socket 0.
    fn two_sockets() -> Vec<Lcore> {
        let lcore = |id| Lcore { id, cpu: id, socket: id / 8, main: id == 0 };
        (0..16).map(lcore).collect()
    }

    /// A port on each socket, and one on none.
    fn three_ports() -> [PortInfo; 3] {
        [on(0, Some(0)), on(1, Some(1)), on(2, None)]
    }

    fn plan(line: &str, socket_mem: Option<&[u64]>) -> Plan {
        planned_on(line, &two_sockets(), &three_ports(), socket_mem).expect("a plan")
    }

    fn pollers_of(plan: &Plan, port: u16) -> Vec<u32> {
        let polls = |lcore: &&LcorePlan| lcore.rx.iter().any(|&(id, _)| id == port);
        plan.lcores.iter().filter(polls).map(|lcore| lcore.lcore.id).collect()
    }

    #[test]
    fn ports_are_polled_by_lcores_of_their_socket() {
        let plan = plan("", None);
        let [near_0, near_1]: [Vec<u32>; 2] = [(0..8).collect(), (8..16).collect()];
        assert_eq!((pollers_of(&plan, 0), pollers_of(&plan, 1)), (near_0, near_1));
        assert_eq!(pollers_of(&plan, 2), (0..16).collect::<Vec<_>>(), "it is near to none");
        assert_eq!(plan.ports.iter().map(|port| port.rxq).collect::<Vec<_>>(), [8, 8, 16]);
        assert!(
            !plan.warnings.iter().any(|line| line.contains("is on socket")),
            "{:?}",
            plan.warnings
        );
    }

    #[test]
    fn memory_is_on_the_port_s_socket_or_else_on_the_lcore_s() {
        let plan = plan("", None);
        assert_eq!(
            (&plan.ports[0].rx_sockets[..], &plan.ports[1].rx_sockets[..]),
            (&[0; 8][..], &[1; 8][..])
        );
        assert_eq!(plan.ports[2].rx_sockets, [[0; 8], [1; 8]].concat());
        assert_eq!(plan.ports[0].tx_sockets, [0; 16], "of whichever lcore");
        assert_eq!(plan.ports[2].tx_sockets, [[0; 8], [1; 8]].concat());
        assert_eq!((plan.placement.pools, plan.placement.tables), (vec![0, 1], 0));
        let socket = |lcore: &LcorePlan| lcore.memory == lcore.lcore.socket;
        assert!(plan.lcores.iter().all(socket));
    }

    #[test]
    fn shards_are_where_most_of_their_ends_are() {
        let sockets = |line: &str| plan(line, None).placement.shards;
        assert_eq!(sockets("--mode pools --pools 14:2"), [1; 14], "both workers are on 1");
        // With one worker on socket 1, an end is on either side: the shedder's.
        assert_eq!(sockets("--mode pools --pools 15:1"), [vec![0; 8], vec![1; 7]].concat());
    }

    #[test]
    fn a_socket_without_pollers_is_polled_from_the_other_and_said() {
        let plan = plan("--mode pools --pools 8:8", None);
        assert_eq!(pollers_of(&plan, 1), (0..8).collect::<Vec<_>>(), "socket 1 only works");
        let said: Vec<_> =
            plan.warnings.iter().filter(|line| line.contains("is on socket")).collect();
        assert_eq!(
            said,
            ["port 1 (net_test1) is on socket 1, but polled by lcores 0-7 on another"]
        );
        assert_eq!(plan.ports[1].rx_sockets, [1; 8], "its buffers are near to it");
    }

    #[test]
    fn the_user_s_map_wins_and_is_said_to_be_far() {
        let plan = plan("--config (0,0,8),(0,1,0),(1,0,9),(2,0,3)", None);
        assert_eq!(pollers_of(&plan, 0), [0, 8]);
        assert_eq!(pollers_of(&plan, 1), [9]);
        let said: Vec<_> =
            plan.warnings.iter().filter(|line| line.contains("is on socket")).collect();
        assert_eq!(said, ["port 0 (net_test0) is on socket 0, but polled by lcore 8 on another"]);
    }

    #[test]
    fn sockets_to_which_eal_was_given_no_memory_get_none() {
        for socket_mem in [&[1024, 0][..], &[1024]] {
            let plan = plan("--pools 8:8", Some(socket_mem));
            assert_eq!(plan.placement.pools, [0], "{socket_mem:?}");
            assert!(plan.placement.shards.iter().all(|&socket| socket == 0));
            assert!(plan.lcores.iter().all(|lcore| lcore.memory == 0));
            let queues = |port: &PortPlan| [port.rx_sockets.clone(), port.tx_sockets.clone()];
            assert!(plan.ports.iter().flat_map(queues).flatten().all(|socket| socket == 0));
            let said = "socket 1 has no memory by --socket-mem";
            assert_eq!(plan.warnings.iter().filter(|line| line.contains(said)).count(), 1);
        }
        let plan = plan("--pools 8:8", Some(&[512, 512]));
        assert_eq!((plan.placement.pools, plan.placement.shards[8]), (vec![0, 1], 1));
    }

    #[test]
    fn each_pool_has_room_for_the_queues_on_its_socket() {
        let plan = plan("--rxd 32768", None);
        let one = planned_on("--rxd 32768", &two_sockets()[..8], &three_ports()[..1], None);
        let one = one.expect("a plan");
        assert!(plan.mbufs >= one.mbufs, "{} and {}", plan.mbufs, one.mbufs);
        assert!(u64::from(plan.mbufs) > 16 * 32768, "its own descriptors");
        assert!(u64::from(plan.mbufs) < 2 * 32 * 32768, "not those of all sockets");
    }

    proptest! {
        /// Whatever the topology, each queue has one owner, no port is polled
        /// from afar while an lcore that polls is near, and each queue's pool
        /// exists.
        #[test]
        fn nothing_is_far_without_need(
            sockets in prop::collection::vec(0..3u32, 1..17),
            of_ports in prop::collection::vec((prop::option::of(0..4u32), 1..20u16), 1..5),
            rxq in prop::option::of(1..20u16),
        ) {
            let lcore = |(id, &socket): (u32, &u32)| Lcore { id, cpu: id, socket, main: id == 0 };
            let lcores: Vec<_> = (0..).zip(&sockets).map(lcore).collect();
            let info = |(id, &(socket, max_rxq)): (u16, &(Option<u32>, u16))| {
                PortInfo { socket, max_rxq, ..port(id, 64, 64) }
            };
            let ports: Vec<_> = (0..).zip(&of_ports).map(info).collect();
            let line = rxq.map_or(String::new(), |rxq| format!("--rxq {rxq}"));
            let Ok(plan) = planned_on(&line, &lcores, &ports, None) else { return Ok(()) };
            for port in &plan.ports {
                let owners: Vec<&Lcore> = (0..port.rxq)
                    .map(|queue| {
                        let owns = |lcore: &&LcorePlan| lcore.rx.contains(&(port.info.id, queue));
                        let owners: Vec<_> = plan.lcores.iter().filter(owns).collect();
                        assert_eq!(owners.len(), 1);
                        &owners[0].lcore
                    })
                    .collect();
                let is_far = |lcore: &Lcore| port.info.socket.is_some_and(|at| at != lcore.socket);
                let far = owners.iter().any(|owner| is_far(owner));
                prop_assert_eq!(far, lcores.iter().all(is_far));
                let start = format!("port {} (", port.info.id);
                let is_said = |line: &&String| line.starts_with(&start) && line.contains("is on socket");
                prop_assert_eq!(plan.warnings.iter().filter(is_said).count(), usize::from(far));
                prop_assert_eq!(port.rx_sockets.len(), usize::from(port.rxq));
                prop_assert!(port.rx_sockets.iter().all(|at| plan.placement.pools.contains(at)));
            }
        }
    }
}
