//! The configuration of the run, for the API.

use serde_json::{Value, json};

use super::outcome::name;
use crate::cli::Cli;
use crate::config::{LcorePlan, Plan, PortPlan};

/// `does`: the engines' name.
pub(super) fn config(cli: &Cli, plan: &Plan, does: &str) -> Value {
    let scheduling = &plan.scheduling;
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "dpdk": format!("{} {}", env!("MPFWD_DPDK_VERSION"), env!("MPFWD_DPDK_LINK")),
        "mode": scheduling.mode.name(),
        "pools": plan.pools.map(|pools| pools.to_string()),
        "pools_follow_load": scheduling.follows_load,
        "forward_mode": does,
        "burst": cli.burst,
        "order": name(&cli.order),
        "rescue_after_ns": scheduling.rescue_after.as_nanos() as u64,
        "stall_after_ns": scheduling.stall_after.as_nanos() as u64,
        "expensive_cap": scheduling.expensive_cap,
        "shards": plan.shards,
        "mbufs": plan.mbufs,
        "lcores": plan.lcores.iter().map(lcore).collect::<Vec<_>>(),
        "ports": plan.ports.iter().map(port).collect::<Vec<_>>(),
    })
}

fn lcore(plan: &LcorePlan) -> Value {
    let queue = |&(port, queue): &(u16, u16)| json!({ "port": port, "queue": queue });
    json!({
        "lcore": plan.lcore.id,
        "cpu": plan.lcore.cpu,
        "socket": plan.lcore.socket,
        "main": plan.lcore.main,
        "pool": plan.pool,
        "rx": plan.rx.iter().map(queue).collect::<Vec<_>>(),
        "tx": plan.tx_queue.iter().map(queue).collect::<Vec<_>>(),
        "shard": plan.shard,
    })
}

fn port(plan: &PortPlan) -> Value {
    json!({
        "port": plan.info.id,
        "name": plan.info.name,
        "driver": plan.info.driver,
        "mac": plan.info.mac.to_string(),
        "to_port": plan.out,
        "rx_queues": plan.rxq,
        "tx_queues": plan.txq_users.len(),
    })
}
