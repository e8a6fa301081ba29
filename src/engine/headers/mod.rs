//! Where a frame's headers lie, and which flow it belongs to. Takes any bytes,
//! and believes no length before it has checked it. Pure: knows no mbufs;
//! `flow` is what brings the two together.
//!
//! etherparse, whose lax slicing also takes any bytes without allocating, is
//! not used here, because it answers more than is asked, in slices that name
//! each header's fields; what an engine needs to rewrite a packet are a few
//! offsets, and a key that is there for every frame; it takes about 1.7 times
//! as long, the key not counted. It is the second opinion that the tests ask
//! for.

mod ip;
mod key;

pub use key::{End, Family, FlowKey};

/// Bytes at the front of a frame that are looked at. What headers there are
/// beyond them counts as cut off, so that a flow's packets are told apart
/// alike, however they are parted into segments.
pub const FRONT_MAX: usize = 256;

/// Tags that a VLAN stack may have. Of a deeper one, what follows the last is
/// no IP packet to us.
pub const VLANS_MAX: usize = 8;

/// Bytes of an Ethernet header without tags.
pub const ETHERNET_HEADER: usize = 14;

const VLAN_TAG: usize = 4;

/// What the link layer carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    Ipv4,
    Ipv6,
    /// Something else, or an IP header that is cut off or impossible.
    Other,
}

/// Which headers are cut off, or can't be as they are: a length that goes
/// beyond what holds it, a version that is not what was announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// The Ethernet header and its tags.
    Link,
    /// The fixed header of IP with IPv4's options; also a packet that says it
    /// is longer than its frame.
    Network,
    /// What follows the addresses: IPv6's extension headers, TCP, UDP.
    Transport,
}

/// Where a frame's headers lie. `l3 <= l4 <= payload <= end`, and none is
/// beyond the frame: a header that is not there is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headers {
    pub key: FlowKey,
    /// How many VLAN tags there are.
    pub vlans: usize,
    pub network: Network,
    /// What lies at `l4`, by IANA's numbers; 0 for [`Network::Other`].
    pub protocol: u8,
    /// It is a part of a larger packet, the first or a later one.
    pub fragment: bool,
    /// The first header that is not as it should be; what follows it is not
    /// looked at.
    pub truncated: Option<Layer>,
    /// Bytes in front of the network's header: Ethernet's and the tags.
    pub l3: usize,
    /// Bytes in front of what IP carries, options and extension headers being
    /// IP's.
    pub l4: usize,
    /// Bytes in front of what TCP or UDP carry; `l4` where it is neither, or
    /// not its first part.
    pub payload: usize,
    /// Bytes up to the end of the IP packet; behind it Ethernet's padding. The
    /// frame's length where there is no IP.
    pub end: usize,
}

impl Headers {
    /// The tag control information (priority, VLAN) of the tag at `place`, 0
    /// being the outermost, of the frame that this was made of.
    pub fn vlan_tag(&self, front: &[u8], place: usize) -> Option<u16> {
        let tag = (place < self.vlans).then(|| u16_at(front, ETHERNET_HEADER + place * VLAN_TAG));
        tag.flatten()
    }
}

/// Takes a whole frame apart.
pub fn parse(frame: &[u8]) -> Headers {
    parse_front(frame, frame.len())
}

/// As [`parse`], a frame of `len` bytes of which only the front is at hand:
/// [`FRONT_MAX`] bytes, or all if there are fewer.
pub fn parse_front(front: &[u8], len: usize) -> Headers {
    let front = &front[..front.len().min(FRONT_MAX).min(len)];
    let (vlans, l3, ether_type) = link(front);
    let nothing = Headers {
        key: FlowKey::macs(front),
        vlans,
        network: Network::Other,
        protocol: 0,
        fragment: false,
        truncated: None,
        l3,
        l4: l3,
        payload: l3,
        end: len,
    };
    match ether_type {
        Some(ETHER_IPV4) => ip::ipv4(front, len, nothing),
        Some(ETHER_IPV6) => ip::ipv6(front, len, nothing),
        Some(_) => nothing,
        None => Headers { truncated: Some(Layer::Link), ..nothing },
    }
}

/// What the frame carries, and where that begins; `None` where the frame ends
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

const ETHER_IPV4: u16 = 0x0800;
const ETHER_IPV6: u16 = 0x86dd;

/// IEEE 802.1Q's two kinds of tags, and those of switches that were there
/// before the second one.
fn is_vlan(ether_type: u16) -> bool {
    matches!(ether_type, 0x8100 | 0x88a8 | 0x9100 | 0x9200 | 0x9300)
}

/// How many tags there are, where what they carry begins, and what it is;
/// `None` where the frame ends before.
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

/// The flow's hash of a frame that is what most are: IP without tags, options
/// or extension headers, not in fragments, TCP or UDP. The same as that of the
/// key that [`parse`] finds, at a fraction of the cost; `None` where it takes
/// more to find out.
#[inline]
pub fn plain_flow_hash(front: &[u8]) -> Option<u32> {
    let ipv4: &[u8; 38] = front.first_chunk()?;
    match ipv4[12..15] {
        [0x08, 0x00, 0x45] => ip::plain_ipv4(ipv4),
        [0x86, 0xdd, version] if version >> 4 == 6 => ip::plain_ipv6(front.first_chunk()?),
        _ => None,
    }
}

/// As [`plain_flow_hash`], of a frame that carries something else than IP: of
/// its MAC addresses.
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
