//! Parses from the IP header on: IPv4 with its options, IPv6 with its chain of
//! extension headers, and the lengths of TCP's and UDP's headers.

use super::{Family, FlowKey, Headers, Layer, Network, u16_at};

const TCP: u8 = 6;
const UDP: u8 = 17;

const IPV4_HEADER: usize = 20;
const IPV6_HEADER: usize = 40;
const TCP_HEADER: usize = 20;
const UDP_HEADER: usize = 8;

/// The most extension headers of an IPv6 packet: Linux's flow dissector allows
/// as many, more than anybody sends.
const EXTENSIONS_MAX: usize = 8;

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
    let total_len = usize::from(u16::from_be_bytes([header[2], header[3]]));
    if header[0] >> 4 != 4
        || header_len < IPV4_HEADER
        || total_len < header_len
        || l3 + header_len > front.len()
    {
        return unsound;
    }
    let fragment = u16::from_be_bytes([header[6], header[7]]);
    let found = Headers {
        key: FlowKey::addresses(Family::Ipv4, &header[12..16], &header[16..20]),
        network: Network::Ipv4,
        protocol: header[9],
        fragment: fragment & IPV4_FRAGMENT != 0,
        truncated: (l3 + total_len > len).then_some(Layer::Network),
        l4: l3 + header_len,
        payload: l3 + header_len,
        end: len.min(l3 + total_len),
        ..link
    };
    if fragment & IPV4_FRAGMENT_OFFSET != 0 { found } else { transport(front, found) }
}

/// Continues behind `link` at an IPv6 header (RFC 8200).
pub(super) fn ipv6(front: &[u8], len: usize, link: Headers) -> Headers {
    let l3 = link.l3;
    let unsound = Headers { truncated: Some(Layer::Network), ..link };
    let Some(header) = front[l3..].first_chunk::<IPV6_HEADER>() else { return unsound };
    if header[0] >> 4 != 6 {
        return unsound;
    }
    let total_len = IPV6_HEADER + usize::from(u16::from_be_bytes([header[4], header[5]]));
    let found = Headers {
        key: FlowKey::addresses(Family::Ipv6, &header[8..24], &header[24..40]),
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
/// which does not contain the rest.
fn extensions(front: &[u8], mut found: Headers) -> Headers {
    let limit = front.len().min(found.end);
    for _ in 0..=EXTENSIONS_MAX {
        if !is_extension(found.protocol) {
            return transport(front, found);
        }
        let Some(header) = front[found.l4..limit].first_chunk::<8>() else { break };
        let units = usize::from(header[1]);
        let mut later = false;
        let header_len = match found.protocol {
            FRAGMENT => {
                let fragment = u16::from_be_bytes([header[2], header[3]]);
                found.fragment |= fragment & IPV6_FRAGMENT != 0;
                later = fragment & IPV6_FRAGMENT_OFFSET != 0;
                8
            }
            AUTHENTICATION => (units + 2) * 4,
            _ => (units + 1) * 8,
        };
        if found.l4 + header_len > limit {
            break;
        }
        found.l4 += header_len;
        found.payload = found.l4;
        found.protocol = header[0];
        if later {
            return found;
        }
    }
    Headers { truncated: found.truncated.or(Some(Layer::Transport)), ..found }
}

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
    if found.protocol != TCP && found.protocol != UDP {
        return found;
    }
    let header = &front[found.l4..front.len().min(found.end)];
    if let (Some(source), Some(destination), false) =
        (u16_at(header, 0), u16_at(header, 2), found.fragment)
    {
        found.key = found.key.with_ports(found.protocol, source, destination);
    }
    let room = found.end - found.l4;
    match transport_len(header, room, &found) {
        Some(len) => found.payload += len,
        None => found.truncated = found.truncated.or(Some(Layer::Transport)),
    }
    found
}

/// Length of a TCP or UDP header that begins with these bytes and has `room`.
fn transport_len(header: &[u8], room: usize, found: &Headers) -> Option<usize> {
    if found.protocol == TCP {
        let header = header.first_chunk::<TCP_HEADER>()?;
        let len = usize::from(header[12] >> 4) * 4;
        return (TCP_HEADER..=room).contains(&len).then_some(len);
    }
    let header = header.first_chunk::<UDP_HEADER>()?;
    let len = usize::from(u16::from_be_bytes([header[4], header[5]]));
    // A fragmented datagram is longer than its first fragment.
    (len >= UDP_HEADER && (len <= room || found.fragment)).then_some(UDP_HEADER)
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
