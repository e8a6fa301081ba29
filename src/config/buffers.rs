//! Size and number of packet buffers.

use super::{BACKLOG_MAX, LcorePlan, Placement, PortPlan, usage};
use crate::cli::Cli;
use crate::dpdk::ETHER_MAX_LEN;
use crate::dpdk::{BURST_MAX, Mempool, PortInfo};
use mpfwd_common::error::Result;

/// Bytes of a packet buffer without its headroom, for every driver.
const PLAIN_ROOM: u32 = 2048;

/// Bytes of a buffer, and whether a frame may need several. Buffers are large
/// only if a port can't receive or send frames in segments.
pub(super) fn buffer_room(max_pkt_len: u32, ports: &[&PortInfo]) -> Result<(u16, bool)> {
    let headroom = u32::from(Mempool::HEADROOM);
    if let Some(port) =
        ports.iter().find(|port| max_pkt_len > port.max_pkt_len && max_pkt_len > ETHER_MAX_LEN)
    {
        return usage(format!(
            "--max-pkt-len {max_pkt_len}: port {} ({}) takes frames of up to {} bytes: write that or less",
            port.id, port.name, port.max_pkt_len
        ));
    }
    if max_pkt_len <= PLAIN_ROOM {
        return Ok(((PLAIN_ROOM + headroom) as u16, false));
    }
    if ports.iter().all(|port| port.segments) {
        return Ok(((PLAIN_ROOM + headroom) as u16, true));
    }
    Ok(((max_pkt_len.next_multiple_of(64) + headroom) as u16, false))
}

/// The size of each pool, and of each lcore's cache of it. By default a pool has
/// as many buffers as can be in use at once: packets of one pool may fill all
/// transmit queues, loops and shards.
///
/// # Errors
/// When fewer were asked for than let every receive queue fill a burst.
pub(super) fn buffers(
    cli: &Cli,
    lcores: &[LcorePlan],
    ports: &[PortPlan],
    placement: &Placement,
    warnings: &mut Vec<String>,
) -> Result<(u32, u32)> {
    let rxqs = rxqs_of_a_pool(ports, placement);
    let txqs: usize = ports.iter().map(|port| port.txq_users.len()).sum();
    let descriptors = rxqs * usize::from(cli.rxd) + txqs * usize::from(cli.txd);
    let in_loops = lcores.len()
        * (Mempool::CACHE_MAX as usize * 3 / 2 + 2 * BURST_MAX + ports.len() * BACKLOG_MAX);
    // Half of the pool may be in the lcores' caches, and a driver may allocate
    // a whole burst or nothing.
    let least = 2 * rxqs * usize::from(cli.burst);
    let needed =
        (descriptors + in_loops + placement.shards.len() * cli.ring_size as usize).max(least);
    // A pool uses the least memory at one less than a power of two.
    let mbufs = cli.mbufs.unwrap_or(((needed + 1).next_power_of_two() - 1).max(8191) as u32);
    if (mbufs as usize) < least {
        let burst = cli.burst;
        return usage(format!(
            "--mbufs {mbufs}: {rxqs} receive queues with bursts of {burst} need {least} at least, or a smaller --burst"
        ));
    }
    if (mbufs as usize) < descriptors {
        warnings.push(format!("--mbufs {mbufs} is less than the {descriptors} descriptors of all queues: expect rx_nombuf"));
    }
    // DPDK limits a cache to two thirds of the pool. All caches together leave
    // half of the pool to the queues.
    let cache = (mbufs / 2 / lcores.len().max(1) as u32 * 2 / 3).clamp(0, Mempool::CACHE_MAX);
    Ok((mbufs, cache))
}

/// Packets with a place in their flow at a time, per receive queue: those in
/// flight, and those that wait for them.
const ORDER_RECORDS: usize = 8192;

/// [`ORDER_RECORDS`], or fewer, so that all queues of a pool together keep at
/// most half of its buffers.
pub(super) fn order_records(mbufs: u32, ports: &[PortPlan], placement: &Placement) -> usize {
    let rxqs = rxqs_of_a_pool(ports, placement);
    ORDER_RECORDS.min(mbufs as usize / 2 / rxqs.max(1)).max(1)
}

/// How many receive queues share a pool: the most of any.
fn rxqs_of_a_pool(ports: &[PortPlan], placement: &Placement) -> usize {
    let of = |pool: &u32| {
        ports.iter().flat_map(|port| &port.rx_sockets).filter(|socket| *socket == pool).count()
    };
    placement.pools.iter().map(of).max().unwrap_or_default()
}
