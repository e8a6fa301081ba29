use proptest::prelude::*;

use super::*;
use crate::policy::Mode;

fn lcores(count: u32) -> Vec<Lcore> {
    (0..count).map(|id| Lcore { id, cpu: id % 2, socket: 0, main: id == 0 }).collect()
}

pub(super) fn port(id: u16, max_rxq: u16, max_txq: u16) -> PortInfo {
    PortInfo {
        id,
        name: format!("net_test{id}"),
        driver: "net_test".into(),
        mac: [2, 0, 0, 0, 1, id as u8].into(),
        socket: None,
        max_rxq,
        max_txq,
        paired_queues: false,
        uniform_traffic: false,
        keeps_buffers: false,
        wants_first_buffers: false,
        segments: true,
        max_pkt_len: 9600,
        stamp_clocks: Vec::new(),
    }
}

fn cli(line: &str) -> Cli {
    let args: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    Cli::read(&args).expect("valid syntax").expect("no help")
}

pub(super) fn planned(line: &str, lcore_count: u32, ports: &[PortInfo]) -> Result<Plan> {
    planned_on(line, &lcores(lcore_count), ports, None)
}

pub(super) fn planned_on(
    line: &str,
    lcores: &[Lcore],
    ports: &[PortInfo],
    socket_mem: Option<&[u64]>,
) -> Result<Plan> {
    plan(&cli(line), lcores, ports, socket_mem)
}

fn two_ports() -> [PortInfo; 2] {
    [port(0, 16, 16), port(1, 16, 16)]
}

#[test]
fn ten_lcores_eight_to_two() {
    let plan = planned("--mode pools --pools 8:2", 10, &two_ports()).unwrap();
    assert!(plan.warnings.is_empty(), "{:?}", plan.warnings);
    for (at, lcore) in plan.lcores.iter().enumerate() {
        let expected = if at < 8 { vec![(0, at as u16), (1, at as u16)] } else { vec![] };
        assert_eq!(lcore.rx, expected);
        assert_eq!(lcore.pool, if at < 8 { Pool::A } else { Pool::B });
        assert_eq!(lcore.shard, (at < 8).then_some(at));
        assert_eq!(lcore.tx_queue, vec![(0, at as u16), (1, at as u16)]);
    }
    assert_eq!(plan.ports.iter().map(|port| port.out).collect::<Vec<_>>(), [1, 0]);
    assert_eq!((plan.scheduling.mode, plan.shards), (Mode::Pools, 8));
}

#[test]
fn in_hybrid_everybody_sheds_and_all_but_a_lone_poller_take() {
    let plan = planned("--pools 8:2", 10, &two_ports()).unwrap();
    assert_eq!((plan.scheduling.mode, plan.shards), (Mode::Hybrid, 10));
    assert!(
        plan.lcores.iter().enumerate().all(|(at, lcore)| lcore.shard == Some(at) && lcore.takes)
    );
    assert!(
        plan.lcores
            .iter()
            .enumerate()
            .all(|(at, lcore)| lcore.rx == [(0, at as u16), (1, at as u16)]),
        "workers poll too"
    );
    assert_eq!(plan.may_poll(&plan.lcores[3], false)[..3], [(0, 3), (1, 3), (0, 0)]);
    let plan = planned("--pools 1:1", 2, &two_ports()).unwrap();
    assert_eq!(plan.lcores.iter().map(|lcore| lcore.takes).collect::<Vec<_>>(), [false, true]);
}

#[test]
fn pools_that_follow_the_load_begin_with_halves_and_all_lcores_alike() {
    for (lcores, a, b) in [(2, 1, 1), (3, 2, 1), (10, 5, 5)] {
        let plan = planned("--pools auto", lcores, &two_ports()).unwrap();
        assert_eq!((plan.scheduling.mode, plan.pools), (Mode::Hybrid, Some(Pools { a, b })));
        assert!(plan.scheduling.follows_load);
        for (at, lcore) in plan.lcores.iter().enumerate() {
            assert_eq!(lcore.pool, if at < a { Pool::A } else { Pool::B });
            let may_work = lcores > 2 || lcore.pool == Pool::B;
            assert_eq!((lcore.shard, lcore.takes), (Some(at), may_work), "lcore {at} of {lcores}");
        }
    }
}

#[test]
fn a_single_pool_runs_to_completion_everywhere() {
    let plan = planned("", 2, &two_ports()).unwrap();
    assert_eq!((plan.scheduling.mode, plan.shards), (Mode::Rtc, 0));
    assert!(
        plan.lcores
            .iter()
            .all(|lcore| lcore.pool == Pool::A && lcore.shard.is_none() && lcore.rx.len() == 2)
    );
}

#[test]
fn ports_with_few_queues_still_reach_different_lcores() {
    let plan = planned("--mode pools --pools 2:1", 3, &[port(0, 1, 1), port(1, 1, 1)]).unwrap();
    assert_eq!(
        (plan.lcores[0].rx.clone(), plan.lcores[1].rx.clone()),
        (vec![(0, 0)], vec![(1, 0)])
    );
    assert_eq!(plan.ports[0].txq_users, [3]);
    assert_eq!(plan.warnings.len(), 4, "{:?}", plan.warnings);
}

#[test]
fn taps_get_as_many_queues_each_way() {
    let mut taps = two_ports();
    taps.iter_mut().for_each(|port| port.paired_queues = true);
    let plan = planned("--mode pools --pools 1:1", 2, &taps).unwrap();
    assert_eq!((plan.ports[0].rxq, plan.ports[0].txq_users.clone()), (1, vec![2]));
}

#[test]
fn an_odd_port_sends_back() {
    let plan = planned("", 1, &[port(0, 1, 1), port(1, 1, 1), port(2, 1, 1)]).unwrap();
    assert_eq!(plan.ports.iter().map(|port| port.out).collect::<Vec<_>>(), [1, 0, 2]);
}

#[test]
fn jumbo_frames_get_larger_buffers_only_where_ports_cannot_split() {
    assert_eq!(
        planned("--max-pkt-len 9018", 1, &two_ports())
            .map(|plan| (plan.mbuf_room, plan.scatter))
            .unwrap(),
        (2176, true)
    );
    let mut ports = two_ports();
    ports[1].segments = false;
    let plan = planned("--max-pkt-len 9018", 1, &ports).unwrap();
    assert!(!plan.scatter && u32::from(plan.mbuf_room) >= 9018 + 128);
}

#[test]
fn bad_input_says_what_why_and_what_instead() {
    for (line, says) in [
        ("--pools 8:2", "--pools 1:1"),
        ("--pools 2:1", "needs 3 lcores, EAL has 2"),
        ("--mode pools", "add --pools A:B"),
        ("--mode rtc --pools 1:1", "leave out --pools"),
        ("--portmask 0x5", "port 2, which does not exist: there are 0, 1"),
        ("--config (7,0,0)", "port 7, which does not exist"),
        ("--config (0,0,0),(0,0,1),(1,0,0)", "port 0's queue 0 twice"),
        ("--config (0,0,5),(1,0,0)", "lcore 5, which EAL does not have"),
        ("--config (0,16,0),(1,0,0)", "queue 16 of port 0, which has 16"),
        ("--config (0,1,0),(1,0,0)", "leaves out queue 0 of port 0"),
        ("--config (0,0,0)", "leaves out port 1"),
        ("--mode pools --pools 1:1 --config (0,0,1),(1,0,0)", "pool B"),
        ("--config (0,0,0),(1,0,1) --rxq 1", "leave out --rxq"),
        ("--rxq 17", "has 16 receive queues"),
        ("--txq 17", "has 16 transmit queues"),
        ("--ring-size 1000", "not a power of two: write for example 1024"),
        ("--ring-size 0", "power of two"),
        ("--rxd 1000", "for example 1024"),
        ("--txd 40000", "for example 32768"),
        ("--mode pools --pools 1:1 --shards 2", "at most 1"),
        ("--pools 1:1 --shards 3", "at most 2"),
        ("--mode hybrid", "add --pools A:B"),
        (
            "--mode steal --pools 1:1",
            "leave out --pools 1:1, or write --mode pools or --mode hybrid",
        ),
        ("--mode shed-random --shards 1", "--mode shed-random has none"),
        ("--shard-pick affine", "--mode rtc has none"),
        ("--steal-every 61", "--steal-every is for --mode steal, and this is --mode rtc"),
        ("--mode pools --pools 1:1 --rescue-after 20us", "--rescue-after is for --mode hybrid"),
        ("--mode steal --expensive-cap 1", "--expensive-cap is for --mode hybrid"),
        (
            "--pools 1:1 --rescue-after 1us",
            "--rescue-after 1us is below the poll time: a burst of 32 cheap packets may take 1600ns",
        ),
        ("--mode pools --pools auto", "this is --mode pools: write --mode hybrid"),
        ("--mode steal --pools auto", "this is --mode steal: write --mode hybrid"),
        ("--pools auto --shards 3", "of --pools auto): write at most 2"),
        ("--pools auto --expensive-cap 0", "write 1 or more"),
        ("--pools auto --expensive-cap 9", "pool B of --pools auto has at most"),
        ("--pools 1:1 --expensive-cap 2", "more than the size of pool B, 1: write 1 or less"),
        ("--pools 1:1 --expensive-cap 0", "write 1 or more"),
        ("--runq-max 63", "write 64 or more, or lower --burst"),
        ("--shards 1", "--mode rtc has none"),
        ("--eth-peer 4,02:00:00:00:00:01", "--eth-peer names port 4"),
        ("--eth-peer 1,02:00:00:00:00:01 --eth-peer 1,02:00:00:00:00:02", "twice"),
        ("--max-pkt-len 15000", "frames of up to 9600"),
        ("--mbufs 255", "4 receive queues with bursts of 32 need 256"),
        ("--mbufs 1023 --rxq 1 --burst 512", "need 2048 at least, or a smaller --burst"),
    ] {
        let message = planned(line, 2, &two_ports()).unwrap_err().to_string();
        assert!(message.contains(says) && !message.contains('\n'), "{line}: {message}");
    }
    let message = planned("--pools auto", 1, &two_ports()).unwrap_err().to_string();
    assert!(message.contains("needs two lcores, EAL has 1"), "{message}");
    assert!(planned("", 2, &[]).unwrap_err().to_string().contains("no ports"));
}

proptest! {
    /// Every queue of every port has exactly one lcore, every lcore that sheds
    /// has a shard that exists, and every lcore's transmit queue exists and
    /// counts it as a user.
    #[test]
    fn plans_are_complete(
        a in 1..12usize, b in 0..5usize, max_rxq in prop::collection::vec(1..20u16, 1..5), max_txq in 1..20u16, rxq in prop::option::of(1..20u16),
        mode in prop::sample::select(vec![Mode::Pools, Mode::Hybrid]), shards in prop::option::of(1..12u16),
    ) {
        let ports: Vec<_> = max_rxq.iter().enumerate().map(|(id, &rxq)| port(id as u16, rxq, max_txq)).collect();
        let mut line = String::new();
        if b > 0 { line += &format!("--mode {} --pools {a}:{b} ", mode.name()); }
        if let Some(rxq) = rxq { line += &format!("--rxq {rxq} "); }
        if let Some(shards) = shards { line += &format!("--shards {shards} "); }
        let Ok(plan) = planned(&line, (a + b) as u32, &ports) else { return Ok(()) };
        let mut polled: Vec<_> = plan.lcores.iter().flat_map(|lcore| lcore.rx.clone()).collect();
        polled.sort_unstable();
        let all: Vec<_> = plan.ports.iter().flat_map(|port| (0..port.rxq).map(|queue| (port.info.id, queue))).collect();
        prop_assert_eq!(polled, all);
        for (at, port) in plan.ports.iter().enumerate() {
            let mut users = vec![0; port.txq_users.len()];
            plan.lcores.iter().for_each(|lcore| users[usize::from(lcore.tx_queue[at].1)] += 1);
            prop_assert_eq!(&users, &port.txq_users);
        }
        for lcore in &plan.lcores {
            prop_assert_eq!(lcore.shard.is_some(), b > 0 && (lcore.pool == Pool::A || mode == Mode::Hybrid));
            prop_assert_eq!(lcore.takes, b > 0 && (lcore.pool == Pool::B || mode == Mode::Hybrid && a > 1));
            prop_assert!(lcore.shard.is_none_or(|shard| shard < plan.shards));
            prop_assert!(lcore.pool == Pool::A || mode == Mode::Hybrid || lcore.rx.is_empty());
        }
        prop_assert!(plan.mbuf_cache as f64 * 1.5 <= f64::from(plan.mbufs));
    }
}
