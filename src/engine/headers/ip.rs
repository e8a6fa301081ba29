//! Parses from the IP header on: IPv4 with its options, IPv6 with its chain of
//! extension headers, and the transport protocols that have ports.

use super::{Family, FlowKey, Headers, Layer, Network, u16_at};

pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;
const DCCP: u8 = 33;
const SCTP: u8 = 132;
const UDP_LITE: u8 = 136;

const IPV4_HEADER: usize = 20;
const IPV6_HEADER: usize = 40;
const TCP_HEADER: usize = 20;
const UDP_HEADER: usize = 8;
const SCTP_HEADER: usize = 12;
const DCCP_HEADER: usize = 12;

/// More fragments follow, or this is not the first one.
const IPV4_FRAGMENT: u16 = 0x3fff;
const IPV4_FRAGMENT_OFFSET: u16 = 0x1fff;
const IPV6_FRAGMENT: u16 = 0xfff9;
const IPV6_FRAGMENT_OFFSET: u16 = 0xfff8;

/// Continues behind `link` at an IPv4 header (RFC 791).
pub(super) fn ipv4(front: &[u8], len: usize, link: Headers) -> Headers {
    let l3 = link.l3;
    let unsound = Headers { truncated: Some(Layer::Network), ..link };
    let Some(header) = front[l3..].first_chunk::<IPV4_HEADER>() else { return unsound };
    let header_len = usize::from(header[0] & 0xf) * 4;
    let total_len = match u16::from_be_bytes([header[2], header[3]]) {
        // More than 16 bits can say, as segmentation offloads leave it: the
        // frame's length counts.
        0 => len.saturating_sub(l3),
        total_len => usize::from(total_len),
    };
    if header[0] >> 4 != 4
        || header_len < IPV4_HEADER
        || total_len < header_len
        || l3 + header_len > front.len()
    {
        return unsound;
    }
    let fragment = u16::from_be_bytes([header[6], header[7]]);
    let is_fragment = fragment & IPV4_FRAGMENT != 0;
    let found = Headers {
        key: FlowKey::addresses(Family::Ipv4, &header[12..16], &header[16..20])
            .of_protocol(header[9].into()),
        network: Network::Ipv4,
        protocol: header[9],
        fragment: is_fragment,
        is_later: fragment & IPV4_FRAGMENT_OFFSET != 0,
        fragment_id: if is_fragment {
            u32::from(u16::from_be_bytes([header[4], header[5]]))
        } else {
            0
        },
        truncated: (l3 + total_len > len).then_some(Layer::Network),
        l4: l3 + header_len,
        payload: l3 + header_len,
        end: len.min(l3 + total_len),
        ..link
    };
    match found.protocol {
        _ if found.is_later => found,
        AUTHENTICATION => extensions(front, found),
        _ => transport(front, found),
    }
}

/// Continues behind `link` at an IPv6 header (RFC 8200).
pub(super) fn ipv6(front: &[u8], len: usize, link: Headers) -> Headers {
    let l3 = link.l3;
    let unsound = Headers { truncated: Some(Layer::Network), ..link };
    let Some(header) = front[l3..].first_chunk::<IPV6_HEADER>() else { return unsound };
    if header[0] >> 4 != 6 {
        return unsound;
    }
    let total_len = match u16::from_be_bytes([header[4], header[5]]) {
        // A jumbogram's length is in an option (RFC 2675).
        0 if header[6] == HOP_BY_HOP => len.saturating_sub(l3),
        payload_len => IPV6_HEADER + usize::from(payload_len),
    };
    let found = Headers {
        key: FlowKey::addresses(Family::Ipv6, &header[8..24], &header[24..40])
            .of_protocol(header[6].into()),
        network: Network::Ipv6,
        protocol: header[6],
        truncated: (l3 + total_len > len).then_some(Layer::Network),
        l4: l3 + IPV6_HEADER,
        payload: l3 + IPV6_HEADER,
        end: len.min(l3 + total_len),
        ..link
    };
    extensions(front, found)
}

/// Follows the chain of extension headers to its end, or to a later fragment,
/// which does not contain the rest. Each header has 8 bytes at least, so that
/// the packet's end bounds the chain.
fn extensions(front: &[u8], mut found: Headers) -> Headers {
    let limit = front.len().min(found.end);
    while is_extension(found.protocol) {
        let header = front.get(found.l4..limit).and_then(|rest| rest.first_chunk::<8>());
        let Some(header) = header else { return cut_short(found) };
        let units = usize::from(header[1]);
        let header_len = match found.protocol {
            FRAGMENT => {
                let fragment = u16::from_be_bytes([header[2], header[3]]);
                if fragment & IPV6_FRAGMENT != 0 {
                    found.fragment = true;
                    found.fragment_id =
                        u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
                }
                found.is_later = fragment & IPV6_FRAGMENT_OFFSET != 0;
                8
            }
            AUTHENTICATION => (units + 2) * 4,
            _ => (units + 1) * 8,
        };
        if found.l4 + header_len > limit {
            return cut_short(found);
        }
        found.l4 += header_len;
        found.payload = found.l4;
        found.protocol = header[0];
        found.key.protocol = header[0].into();
        if found.is_later {
            return found;
        }
    }
    transport(front, found)
}

fn cut_short(found: Headers) -> Headers {
    Headers { truncated: found.truncated.or(Some(Layer::Transport)), ..found }
}

const HOP_BY_HOP: u8 = 0;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;

/// IANA's list of extension headers, without those for experiments and ESP,
/// whose length only its endpoints know.
fn is_extension(protocol: u8) -> bool {
    // Hop-by-hop options, routing, destination options; mobility, host
    // identity, shim6.
    matches!(protocol, 0 | 43 | 60 | 135 | 139 | 140 | FRAGMENT | AUTHENTICATION)
}

/// Reads the ports, and where the payload begins.
fn transport(front: &[u8], mut found: Headers) -> Headers {
    if !matches!(found.protocol, TCP | UDP | SCTP | UDP_LITE | DCCP) {
        return found;
    }
    let header = front.get(found.l4..front.len().min(found.end)).unwrap_or_default();
    if let (Some(source), Some(destination)) = (u16_at(header, 0), u16_at(header, 2)) {
        found.key = found.key.with_ports(found.protocol, source, destination);
    }
    let room = found.end - found.l4;
    match transport_len(header, room, &found) {
        Some(len) => found.payload += len,
        None => {
            found.truncated = found.truncated.or(Some(Layer::Transport));
            return found;
        }
    }
    // Bytes between the datagram's end and the packet's reach nobody.
    if found.protocol == UDP
        && !found.fragment
        && let Some(len @ 1..) = u16_at(header, 4)
    {
        found.end = found.l4 + usize::from(len);
    }
    found
}

/// Length of a transport header that begins with these bytes and has `room`.
fn transport_len(header: &[u8], room: usize, found: &Headers) -> Option<usize> {
    match found.protocol {
        TCP => {
            let header = header.first_chunk::<TCP_HEADER>()?;
            let len = usize::from(header[12] >> 4) * 4;
            (TCP_HEADER..=room).contains(&len).then_some(len)
        }
        UDP => {
            let header = header.first_chunk::<UDP_HEADER>()?;
            let len = usize::from(u16::from_be_bytes([header[4], header[5]]));
            // A fragmented datagram is longer than its first fragment. IPv6
            // hosts read 0 as all there is (RFC 2675).
            let is_sound = len >= UDP_HEADER && (len <= room || found.fragment)
                || len == 0 && found.network == Network::Ipv6;
            is_sound.then_some(UDP_HEADER)
        }
        SCTP => header.first_chunk::<SCTP_HEADER>().map(|_| SCTP_HEADER),
        DCCP => {
            let header = header.first_chunk::<DCCP_HEADER>()?;
            let len = usize::from(header[4]) * 4;
            (DCCP_HEADER..=room).contains(&len).then_some(len)
        }
        _ => header.first_chunk::<UDP_HEADER>().map(|_| UDP_HEADER),
    }
}

/// Whether the IPv4 header at `l3` has a correct checksum.
pub(super) fn has_sound_checksum(front: &[u8], l3: usize) -> bool {
    let len = front.get(l3).map_or(0, |first| usize::from(first & 0xf) * 4);
    let words = front.get(l3..l3 + len).unwrap_or_default().chunks_exact(2);
    let sum: u32 = words.map(|word| u32::from(u16::from_be_bytes([word[0], word[1]]))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    (folded & 0xffff) + (folded >> 16) == 0xffff
}

/// See [`super::plain_flow_hash`]: an IPv4 header of 20 bytes behind an
/// Ethernet header, and two ports.
#[inline(always)]
pub(super) fn plain_ipv4(front: &[u8; 38]) -> Option<u32> {
    let [total_len, fragment] = [16, 20].map(|at| u16::from_be_bytes([front[at], front[at + 1]]));
    let protocol = front[23];
    if (protocol != TCP && protocol != UDP)
        || fragment & IPV4_FRAGMENT != 0
        || usize::from(total_len) < IPV4_HEADER + 4
    {
        return None;
    }
    let end = |address: usize, port: usize| {
        let [a, b, c, d] = [0, 1, 2, 3].map(|at| front[address + at]);
        u64::from_be_bytes([front[port], front[port + 1], 0, 0, a, b, c, d])
    };
    Some(super::key::hash_short(end(26, 34), end(30, 36), protocol))
}

/// As [`plain_ipv4`], for an IPv6 header.
#[inline(always)]
pub(super) fn plain_ipv6(front: &[u8; 58]) -> Option<u32> {
    let payload_len = u16::from_be_bytes([front[18], front[19]]);
    let protocol = front[20];
    if (protocol != TCP && protocol != UDP) || payload_len < 4 {
        return None;
    }
    let end = |address: usize, port: usize| {
        let bytes = std::array::from_fn(|at| front[address + at]);
        (u128::from_be_bytes(bytes), u16::from_be_bytes([front[port], front[port + 1]]))
    };
    Some(super::key::hash_long(end(22, 54), end(38, 56), protocol))
}
