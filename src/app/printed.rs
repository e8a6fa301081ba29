//! The resolved map, as it is printed at the start.

use crate::cli::Cli;
use crate::config::{LcorePlan, Plan, PortPlan};
use crate::dpdk::Port;
use crate::policy::Pool;
use mpfwd_common::output::{say, warn};

/// `does`: what the engines do.
pub(super) fn map(plan: &Plan, cli: &Cli, does: &str, ports: &[Port]) {
    for warning in &plan.warnings {
        warn(warning);
    }
    let pools = plan.pools.map_or(String::new(), |pools| format!(" {pools}"));
    say(format_args!(
        "mpfwd {}, DPDK {} ({}): mode {}{pools}, forward-mode {does}, burst {}, {} mbufs",
        env!("CARGO_PKG_VERSION"),
        env!("MPFWD_DPDK_VERSION"),
        env!("MPFWD_DPDK_LINK"),
        plan.scheduling.mode.name(),
        cli.burst,
        plan.mbufs,
    ));
    for (plan, port) in plan.ports.iter().zip(ports) {
        say(port_line(plan, port));
    }
    super::stamping::line(plan).iter().for_each(say);
    for lcore in &plan.lcores {
        say(lcore_line(lcore, plan));
    }
}

fn port_line(plan: &PortPlan, port: &Port) -> String {
    let (rxd, txd) = port.descriptors();
    let info = &plan.info;
    format!(
        "  port {}   {} {}, {} rx queues of {rxd}, {} tx queues of {txd} -> port {}{}",
        info.id,
        info.name,
        info.mac,
        plan.rxq,
        plan.txq_users.len(),
        plan.out,
        if port.link_is_up() { "" } else { ", LINK DOWN" },
    )
}

fn lcore_line(lcore: &LcorePlan, plan: &Plan) -> String {
    let who = format!(
        "  lcore {:<3} cpu {:<3} pool {:?}{}",
        lcore.lcore.id,
        lcore.lcore.cpu,
        lcore.pool,
        if lcore.lcore.main { " (main)" } else { "" }
    );
    let polled: Vec<String> =
        lcore.rx.iter().map(|(port, queue)| format!("{port}:{queue}")).collect();
    let polls = match polled.is_empty() {
        true if lcore.pool == Pool::A => Some("polls nothing".to_owned()),
        true => None,
        false => Some(format!("polls {}", polled.join(" "))),
    };
    let works = lcore.takes.then(|| match plan.shards {
        1 => "works on shard 0".to_owned(),
        shards => format!("works on shards 0-{}", shards - 1),
    });
    // What it is there for comes first.
    let first = if lcore.pool == Pool::A { [polls, works] } else { [works, polls] };
    let mut does: Vec<String> = first.into_iter().flatten().collect();
    does.extend(lcore.shard.map(|shard| format!("sheds to shard {shard}")));
    let does = does.join(", ");
    let sends = lcore.tx_queue.iter().map(|(port, queue)| {
        let shared =
            plan.ports.iter().any(|p| p.info.id == *port && p.txq_users[usize::from(*queue)] > 1);
        format!("{port}:{queue}{}", if shared { " (shared)" } else { "" })
    });
    format!("{who:<32} {does}, sends by {}", sends.collect::<Vec<_>>().join(" "))
}
