//! A packet's headers and its flow, however the packet is split into segments.

use super::headers::{
    ETHERNET_HEADER, FRONT_MAX, Family, Headers, parse_front, plain_flow_hash, plain_mac_hash,
};
use crate::dpdk::Mbuf;

/// What identifies a packet's flow, also after an engine has changed the
/// packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flows {
    /// The engine keeps a packet's pair of MAC addresses, perhaps swapped.
    /// Where it does not, all packets without IP are one flow.
    pub macs_stay: bool,
}

impl Flows {
    /// A number for the packet's flow, the same for all packets of a flow: the
    /// NIC's RSS hash where the packet has one, else the hash of
    /// [`FlowKey`](super::headers::FlowKey), which both directions share. (The
    /// RSS hash is shared by both directions only if the NIC has a symmetric
    /// key.)
    #[inline(always)]
    pub fn hash(self, packet: &Mbuf) -> u32 {
        let front = packet.data();
        match packet.rss_hash().or_else(|| plain_flow_hash(front)) {
            Some(hash) => hash,
            None => match plain_mac_hash(front) {
                Some(hash) => self.without_ip(hash),
                None => self.hash_of_key(packet),
            },
        }
    }

    /// As `hash`, for one packet after another. Packets without IP mostly have
    /// the Ethernet header of the one before, and comparing it is cheaper than
    /// hashing it.
    #[inline(always)]
    pub fn hash_next(self, packet: &Mbuf, before: &mut FlowBefore) -> u32 {
        let header = packet.data().first_chunk();
        if header.is_some_and(|header| before.header == Some(*header))
            && packet.rss_hash().is_none()
        {
            return before.hash;
        }
        let hash = self.hash(packet);
        let plain = header
            .filter(|header| packet.rss_hash().is_none() && plain_mac_hash(&header[..]).is_some());
        *before = FlowBefore { header: plain.copied(), hash };
        hash
    }

    /// A hash of MAC addresses identifies a flow only where these stay the
    /// same.
    #[inline(always)]
    fn without_ip(self, hash: u32) -> u32 {
        if self.macs_stay { hash } else { 0 }
    }

    #[inline(never)]
    fn hash_of_key(self, packet: &Mbuf) -> u32 {
        let key = headers_of(packet).key;
        let hash = key.symmetric_hash();
        if key.family == Family::Mac { self.without_ip(hash) } else { hash }
    }
}

/// The Ethernet header of the last packet, if that had no IP, and its flow's
/// hash.
#[derive(Clone, Copy, Debug, Default)]
pub struct FlowBefore {
    header: Option<[u8; ETHERNET_HEADER]>,
    hash: u32,
}

/// [`Flows::hash`] of a packet that no engine has changed.
#[inline]
pub fn flow_hash(packet: &Mbuf) -> u32 {
    Flows { macs_stay: true }.hash(packet)
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
