//! Where a frame's headers lie, and which flow it belongs to. Accepts any
//! bytes, and trusts no length that it has not checked. Pure: knows no mbufs;
//! `flow` joins the two.
//!
//! etherparse's lax slicing also accepts any bytes without allocating. It is
//! not used here: it answers more than is asked, in slices that name each
//! header's fields, while an engine that rewrites a packet needs a few offsets
//! and a key that exists for every frame. It takes about 1.7 times as long,
//! without the key. The tests use it as the second opinion.

#[cfg(any(test, fuzzing))]
pub mod enclosed;
mod ip;
mod judged;
mod key;
mod tunnel;

pub use judged::{Doubt, FlowBy, Fragment, Judged, Standing, TUNNELS_MAX, judge};
pub use key::{End, Family, FlowKey, KEY_BYTES_MAX, SCOPE_MAX, Scope};

/// Bytes at the front of a frame that nearly always hold all headers. Where the
/// parser stops at the end of these, the caller parses again with more.
pub const FRONT_MAX: usize = 256;

/// The most tags of a VLAN stack. Behind a deeper stack nothing is parsed as
/// IP.
pub const VLANS_MAX: usize = 8;

/// Bytes of an Ethernet header without tags.
pub const ETHERNET_HEADER: usize = 14;

const VLAN_TAG: usize = 4;

/// The network protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    Ipv4,
    Ipv6,
    /// Something else, or an IP header that is truncated or impossible.
    Other,
}

/// Which header is truncated or impossible: a length beyond what holds it, a
/// version other than announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// The Ethernet header and its tags.
    Link,
    /// IP's fixed header with IPv4's options; also a packet that claims to be
    /// longer than its frame.
    Network,
    /// The headers behind the addresses: IPv6's extension headers, TCP, UDP.
    Transport,
}

/// Where a frame's headers lie. `l3 <= l4 <= payload <= end`, and none is
/// beyond the frame: a missing header is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headers {
    pub key: FlowKey,
    /// Number of VLAN tags.
    pub vlans: usize,
    pub network: Network,
    /// The protocol at `l4`, by IANA's numbers; 0 for [`Network::Other`].
    pub protocol: u8,
    /// It is a fragment, the first or a later one.
    pub fragment: bool,
    /// It is a fragment other than the first: it has no transport header.
    pub is_later: bool,
    /// The fragment's identification, 0 where it is none.
    pub fragment_id: u32,
    /// The EtherType behind Ethernet's header and its tags; 0 if that is a
    /// length, or missing.
    pub ether_type: u16,
    /// The first header that is not sound; nothing behind it is parsed.
    pub truncated: Option<Layer>,
    /// Bytes in front of the network header: Ethernet's and the tags.
    pub l3: usize,
    /// Bytes in front of IP's payload; options and extension headers belong to
    /// IP.
    pub l4: usize,
    /// Bytes in front of the payload of TCP, UDP, UDP-Lite, SCTP or DCCP; `l4`
    /// if it is none of these, or a later fragment.
    pub payload: usize,
    /// Bytes up to the end of the IP packet, or of its UDP datagram, behind
    /// which is Ethernet's padding. The frame's length if there is no IP.
    pub end: usize,
}

impl Headers {
    /// The tag control information (priority, VLAN) of the tag at `place`, 0
    /// being the outermost, in the frame that this was parsed from.
    pub fn vlan_tag(&self, front: &[u8], place: usize) -> Option<u16> {
        let tag = (place < self.vlans).then(|| u16_at(front, ETHERNET_HEADER + place * VLAN_TAG));
        tag.flatten()
    }
}

/// Parses a whole frame.
pub fn parse(frame: &[u8]) -> Headers {
    parse_front(frame, frame.len())
}

/// As [`parse`], for a frame of `len` bytes of which only the front is at hand.
/// Where it ends inside the headers these count as truncated.
#[inline]
pub fn parse_front(front: &[u8], len: usize) -> Headers {
    let front = &front[..front.len().min(len)];
    ethernet(front, len, 0)
}

/// The frame that begins at `at`, in a frame of which this is the front; it
/// ends before `end`.
fn ethernet(front: &[u8], end: usize, at: usize) -> Headers {
    let frame = front.get(at..).unwrap_or_default();
    let (vlans, l3, ether_type) = link(frame);
    let l3 = (at + l3).min(end);
    let nothing = Headers {
        key: FlowKey::macs(frame),
        vlans,
        network: Network::Other,
        protocol: 0,
        fragment: false,
        is_later: false,
        fragment_id: 0,
        ether_type: ether_type.filter(|&ether_type| ether_type >= ETHER_TYPE_MIN).unwrap_or(0),
        truncated: None,
        l3,
        l4: l3,
        payload: l3,
        end,
    };
    match ether_type {
        Some(ETHER_IPV4) => ip::ipv4(front, end, nothing),
        Some(ETHER_IPV6) => ip::ipv6(front, end, nothing),
        Some(_) => {
            let key = nothing.key.of_protocol(nothing.ether_type);
            Headers { key, ..nothing }
        }
        None => Headers { truncated: Some(Layer::Link), ..nothing },
    }
}

/// The network protocol, and the offset of its header. `None` if the frame ends
/// before.
pub fn carried(front: &[u8]) -> Option<(Network, usize)> {
    let (_, l3, ether_type) = link(&front[..front.len().min(FRONT_MAX)]);
    let network = match ether_type? {
        ETHER_IPV4 => Network::Ipv4,
        ETHER_IPV6 => Network::Ipv6,
        _ => Network::Other,
    };
    Some((network, l3))
}

/// A smaller number is the length of an IEEE 802.3 frame.
const ETHER_TYPE_MIN: u16 = 0x600;
const ETHER_IPV4: u16 = 0x0800;
const ETHER_IPV6: u16 = 0x86dd;

/// IEEE 802.1Q's two kinds of tags, and those of switches older than the
/// second.
fn is_vlan(ether_type: u16) -> bool {
    matches!(ether_type, 0x8100 | 0x88a8 | 0x9100 | 0x9200 | 0x9300)
}

/// The number of tags, and their payload's offset and EtherType. `None` if the
/// frame ends before.
fn link(front: &[u8]) -> (usize, usize, Option<u16>) {
    let Some(mut ether_type) = u16_at(front, ETHERNET_HEADER - 2) else {
        return (0, front.len(), None);
    };
    let (mut vlans, mut l3) = (0, ETHERNET_HEADER);
    while is_vlan(ether_type) && vlans < VLANS_MAX {
        let Some(inner) = u16_at(front, l3 + 2) else { return (vlans, l3, None) };
        ether_type = inner;
        (vlans, l3) = (vlans + 1, l3 + VLAN_TAG);
    }
    (vlans, l3, Some(ether_type))
}

/// The flow hash of the most frequent kind of frame: IP without tags, options
/// or extension headers, not fragmented, TCP or UDP. Equal to the hash of the
/// key that [`parse`] finds, at a fraction of the cost. `None` for any other
/// frame.
#[inline]
pub fn plain_flow_hash(front: &[u8]) -> Option<u32> {
    let ipv4: &[u8; 38] = front.first_chunk()?;
    match ipv4[12..15] {
        [0x08, 0x00, 0x45] => ip::plain_ipv4(ipv4),
        [0x86, 0xdd, version] if version >> 4 == 6 => ip::plain_ipv6(front.first_chunk()?),
        _ => None,
    }
}

/// As [`plain_flow_hash`], for a frame that carries something other than IP:
/// hashes its MAC addresses.
#[inline]
pub fn plain_mac_hash(front: &[u8]) -> Option<u32> {
    let ethernet: &[u8; ETHERNET_HEADER] = front.first_chunk()?;
    let ether_type = u16::from_be_bytes([ethernet[12], ethernet[13]]);
    let may_be_ip = matches!(ether_type, ETHER_IPV4 | ETHER_IPV6) || is_vlan(ether_type);
    (!may_be_ip).then(|| key::plain_macs(ethernet))
}

#[inline(always)]
fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().copied().map(u16::from_be_bytes)
}

#[cfg(test)]
mod tests;
