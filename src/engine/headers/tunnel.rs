//! Tunnel headers: how long they are, and which packet they enclose. Reads no
//! byte behind the end that it is given.

use super::ip::UDP;
use super::key::Domain;
use super::{Headers, Network, u16_at};

/// The content of a tunnel header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    Ethernet,
    Ipv4,
    Ipv6,
    /// IP of the version that its first bits say.
    Ip,
    /// A stack of MPLS labels.
    Mpls,
    /// Negotiates the link, and belongs to no user.
    Control,
    /// Nothing that is known.
    Opaque,
}

/// A packet inside another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Inner {
    pub content: Content,
    /// Bytes in front of it, and up to its end.
    pub at: usize,
    pub end: usize,
    pub domain: Option<Domain>,
    pub trust: Trust,
}

/// How sure it is that a packet lies inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trust {
    /// A protocol number says so.
    Announced,
    /// Something lies there, and its first bits suggest what: if that is wrong
    /// the packet is of no flow that is known.
    Likely,
    /// A port number suggests it: if that is wrong it is a flow like others.
    Guessed,
}

const ETHER_IPV4: u16 = 0x0800;
const ETHER_IPV6: u16 = 0x86dd;
const ETHER_MPLS: u16 = 0x8847;
const ETHER_MPLS_UPSTREAM: u16 = 0x8848;
const ETHER_PPPOE_SESSION: u16 = 0x8864;
const ETHER_BRIDGED: u16 = 0x6558;
const ETHER_PPP: u16 = 0x880b;

const IPV4_IN_IP: u8 = 4;
const IPV6_IN_IP: u8 = 41;
const GRE: u8 = 47;
const ETHER_IP: u8 = 97;
const MPLS_IN_IP: u8 = 137;

const PORT_GTP_USER: u16 = 2152;
const PORT_VXLAN: u16 = 4789;
const PORT_VXLAN_GPE: u16 = 4790;
const PORT_GENEVE: u16 = 6081;
const PORT_MPLS: u16 = 6635;
/// Linux's default before VXLAN had a port of its own.
const PORT_VXLAN_LINUX: u16 = 8472;

/// Whether labels or a session follow this EtherType.
pub(super) fn is_link(ether_type: u16) -> bool {
    matches!(ether_type, ETHER_MPLS | ETHER_MPLS_UPSTREAM | ETHER_PPPOE_SESSION)
}

/// Whether UDP to this port usually encloses packets.
#[inline]
pub(super) fn is_tunnel_port(port: u16) -> bool {
    matches!(
        port,
        PORT_GTP_USER | PORT_VXLAN | PORT_VXLAN_GPE | PORT_GENEVE | PORT_MPLS | PORT_VXLAN_LINUX
    )
}

/// The packet that a packet with these headers encloses. `None` if it encloses
/// none, as far as is known here.
pub(super) fn inside(front: &[u8], headers: &Headers) -> Option<Inner> {
    let front = &front[..front.len().min(headers.end)];
    if headers.network == Network::Other {
        let (at, end) = (headers.l3, headers.end);
        return match headers.ether_type {
            ETHER_MPLS | ETHER_MPLS_UPSTREAM => Some(Inner {
                content: Content::Mpls,
                at,
                end,
                domain: None,
                trust: Trust::Announced,
            }),
            ETHER_PPPOE_SESSION => Some(pppoe(front, at, end)),
            _ => None,
        };
    }
    if headers.is_later {
        return None;
    }
    let whole = |content, skip: usize| {
        let (at, end) = ((headers.l4 + skip).min(headers.end), headers.end);
        Some(Inner { content, at, end, domain: None, trust: Trust::Announced })
    };
    match headers.protocol {
        IPV4_IN_IP => whole(Content::Ipv4, 0),
        IPV6_IN_IP => whole(Content::Ipv6, 0),
        ETHER_IP => whole(Content::Ethernet, 2),
        MPLS_IN_IP => whole(Content::Mpls, 0),
        GRE => gre(front, headers.l4, headers.end),
        UDP if headers.key.has_ports => udp(front, headers),
        _ => None,
    }
}

/// The content behind an EtherType.
fn of_ether_type(ether_type: u16) -> Content {
    match ether_type {
        ETHER_IPV4 => Content::Ipv4,
        ETHER_IPV6 => Content::Ipv6,
        ETHER_BRIDGED => Content::Ethernet,
        ETHER_MPLS | ETHER_MPLS_UPSTREAM => Content::Mpls,
        _ => Content::Opaque,
    }
}

/// PPPoE's session stage (RFC 2516): a header of 6 bytes, then PPP.
fn pppoe(front: &[u8], at: usize, end: usize) -> Inner {
    let opaque = Inner { content: Content::Opaque, at, end, domain: None, trust: Trust::Announced };
    let (Some(session), Some(len)) = (u16_at(front, at + 2), u16_at(front, at + 4)) else {
        return opaque;
    };
    let end = end.min(at + 6 + usize::from(len));
    let domain = Some(Domain::Session(session));
    let (content, at) = ppp(front, at + 6);
    if at > end { opaque } else { Inner { content, at, end, domain, trust: Trust::Announced } }
}

/// PPP's protocol number (RFC 1661), of two bytes or compressed to one, perhaps
/// behind HDLC's address and control.
fn ppp(front: &[u8], at: usize) -> (Content, usize) {
    let at = if u16_at(front, at) == Some(0xff03) { at + 2 } else { at };
    let (protocol, at) = match (front.get(at), u16_at(front, at)) {
        (Some(&short), _) if short & 1 == 1 => (u16::from(short), at + 1),
        (_, Some(protocol)) => (protocol, at + 2),
        _ => return (Content::Opaque, at),
    };
    let content = match protocol {
        0x0021 => Content::Ipv4,
        0x0057 => Content::Ipv6,
        0x0281 | 0x0283 => Content::Mpls,
        // LCP, IPCP, IPV6CP.
        0xc021 | 0x8021 | 0x8057 => Content::Control,
        _ => Content::Opaque,
    };
    (content, at)
}

/// GRE (RFC 2784 and 2890), and PPTP's version of it (RFC 2637).
fn gre(front: &[u8], at: usize, end: usize) -> Option<Inner> {
    let (flags, ether_type) = (u16_at(front, at)?, u16_at(front, at + 2)?);
    let has = |bit: u16| if flags & bit != 0 { 4 } else { 0 };
    let inner = |content, at: usize, domain| {
        (at <= end).then_some(Inner { content, at, end, domain, trust: Trust::Announced })
    };
    match flags & 7 {
        // A list of addresses to pass by: nobody sends it.
        0 if flags & 0x4000 != 0 => None,
        0 => {
            let key_at = at + 4 + has(0x8000);
            let key = if flags & 0x2000 != 0 { Some(u32_at(front, key_at)?) } else { None };
            let at = key_at + has(0x2000) + has(0x1000);
            match of_ether_type(ether_type) {
                Content::Opaque => None,
                content => inner(content, at, key.map(Domain::GreKey)),
            }
        }
        1 if ether_type == ETHER_PPP => {
            let (content, at) = ppp(front, at + 8 + has(0x1000) + has(0x80));
            matches!(content, Content::Ipv4 | Content::Ipv6)
                .then(|| inner(content, at, None))
                .flatten()
        }
        _ => None,
    }
}

/// The tunnels that are known by their port.
fn udp(front: &[u8], headers: &Headers) -> Option<Inner> {
    let at = headers.payload;
    let (content, at, domain) = match headers.key.destination.port {
        PORT_VXLAN | PORT_VXLAN_LINUX => vxlan(front, at, Content::Ethernet)?,
        PORT_VXLAN_GPE => {
            let content = match front.get(at + 3)? {
                1 => Content::Ipv4,
                2 => Content::Ipv6,
                3 => Content::Ethernet,
                _ => return None,
            };
            vxlan(front, at, content)?
        }
        PORT_GENEVE => geneve(front, at)?,
        PORT_GTP_USER => (Content::Ip, gtp(front, at)?, None),
        PORT_MPLS => (Content::Mpls, at, None),
        _ => return None,
    };
    let end = headers.end;
    (at <= end).then_some(Inner { content, at, end, domain, trust: Trust::Guessed })
}

/// VXLAN (RFC 7348): 8 bytes, the network only if a flag says so.
fn vxlan(front: &[u8], at: usize, content: Content) -> Option<(Content, usize, Option<Domain>)> {
    let (flags, network) = (*front.get(at)?, u32_at(front, at + 4)? >> 8);
    Some((content, at + 8, (flags & 8 != 0).then_some(Domain::Vxlan(network))))
}

/// Geneve (RFC 8926): 8 bytes and options.
fn geneve(front: &[u8], at: usize) -> Option<(Content, usize, Option<Domain>)> {
    let version = *front.get(at)?;
    let (ether_type, network) = (u16_at(front, at + 2)?, u32_at(front, at + 4)? >> 8);
    let content = of_ether_type(ether_type);
    let at = at + 8 + usize::from(version & 0x3f) * 4;
    (version >> 6 == 0 && content != Content::Opaque).then_some((
        content,
        at,
        Some(Domain::Geneve(network)),
    ))
}

/// GTP's user plane (3GPP TS 29.281): 8 bytes, four more if any of three flags
/// is set, and a chain of extension headers. Returns where the packet begins.
fn gtp(front: &[u8], at: usize) -> Option<usize> {
    const USER_DATA: u8 = 255;
    let (flags, kind) = (*front.get(at)?, *front.get(at + 1)?);
    if flags >> 4 != 3 || kind != USER_DATA {
        return None;
    }
    let mut next_at = at + 8;
    if flags & 7 == 0 {
        return Some(next_at);
    }
    let mut next = front.get(next_at + 3).filter(|_| flags & 4 != 0).copied().unwrap_or(0);
    next_at += 4;
    while next != 0 {
        let len = usize::from(*front.get(next_at)?) * 4;
        if len == 0 {
            return None;
        }
        next_at += len;
        next = *front.get(next_at - 1)?;
    }
    Some(next_at)
}

/// The bottom of a stack of labels (RFC 3032), and what lies there, as far as
/// its first bits tell: nothing in the stack says so.
pub(super) fn below_labels(front: &[u8], labels: Inner) -> Option<Inner> {
    let Inner { mut at, end, .. } = labels;
    loop {
        let label = u32_at(front, at)?;
        at += 4;
        if label >> 8 & 1 == 1 {
            break;
        }
    }
    let (content, at) = match *front.get(at)? >> 4 {
        4 => (Content::Ipv4, at),
        6 => (Content::Ipv6, at),
        // A pseudowire's control word (RFC 4385).
        0 => (Content::Ethernet, at + 4),
        _ => (Content::Ethernet, at),
    };
    let trust = if labels.trust == Trust::Announced { Trust::Likely } else { labels.trust };
    (at <= end).then_some(Inner { content, at, trust, ..labels })
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_be_bytes)
}
