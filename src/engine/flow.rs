//! A packet's headers and its flow, however the packet is parted into segments.

use super::headers::{FRONT_MAX, Headers, parse_front, plain_flow_hash};
use crate::dpdk::Mbuf;

/// A number for the packet's flow, the same for all packets of a flow: the NIC's RSS hash where the packet has one, else that of
/// [`FlowKey`](super::headers::FlowKey), which both directions share. (RSS does so where the NIC was given a key that is symmetric, and is
/// one number per direction where not.)
#[inline]
pub fn flow_hash(packet: &Mbuf) -> u32 {
    match packet.rss_hash().or_else(|| plain_flow_hash(packet.data())) {
        Some(hash) => hash,
        None => flow_hash_of_key(packet),
    }
}

#[inline(never)]
fn flow_hash_of_key(packet: &Mbuf) -> u32 {
    headers_of(packet).key.symmetric_hash()
}

/// The packet's headers. Offsets count through all segments.
#[inline]
pub fn headers_of(packet: &Mbuf) -> Headers {
    let data = packet.data();
    if data.len() >= FRONT_MAX || packet.segments() == 1 {
        return parse_front(data, packet.pkt_len() as usize);
    }
    headers_across_segments(packet)
}

#[cold]
fn headers_across_segments(packet: &Mbuf) -> Headers {
    let mut front = [0; FRONT_MAX];
    parse_front(packet.copy_front(&mut front), packet.pkt_len() as usize)
}
