//! Which flow decides what becomes of a packet: the innermost one of a tunnel,
//! its address space, and what is not known of it.

use super::ip::{self, TCP, UDP};
use super::key::Domain;
use super::tunnel::{self, Content, Inner, Trust};
use super::{
    ETHERNET_HEADER, FlowKey, Headers, Layer, Network, Scope, VLAN_TAG, ethernet, is_vlan,
    parse_front, u16_at,
};

/// The most tunnels, one inside the other, that are followed.
pub const TUNNELS_MAX: usize = 4;

/// Which headers make the flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowBy {
    /// The innermost IP packet, not the outermost.
    pub inner: bool,
    /// Flows in different VLANs are different flows.
    pub vlans: bool,
}

impl Default for FlowBy {
    fn default() -> Self {
        Self { inner: true, vlans: true }
    }
}

/// How much is known of a packet's flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The key is its flow's.
    Known,
    /// A fragment other than the first: its flow is that of the first fragment
    /// with the same [`Fragment`].
    Later,
    /// Its headers don't tell.
    Unclear(Doubt),
    /// ARP, neighbour discovery, or a link's negotiation: without these no flow
    /// passes, and no rule is meant for them.
    Exempt,
}

/// To which flows a packet may belong whose flow is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// To any between the addresses of its key.
    Addresses,
    /// To no flow that has a key.
    Nothing,
}

/// The identity that all fragments of one packet share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// Of this direction, without ports; without protocol for IPv6, whose later
    /// fragments need not say it.
    pub key: FlowKey,
    pub id: u32,
}

/// A packet as rules for flows see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judged {
    /// The headers of the packet whose flow counts. The key has its scope.
    pub headers: Headers,
    pub standing: Standing,
    /// The outermost IP header, of which routers read the DSCP.
    pub outer_l3: Option<usize>,
    /// The packet is a fragment, or lies in one.
    pub fragment: Option<Fragment>,
    /// Tunnels around the headers.
    pub tunnels: usize,
}

impl Judged {
    /// Whether more bytes of the frame could tell more of it.
    pub fn wants_more(&self) -> bool {
        let headers = &self.headers;
        let port = headers.key.destination.port;
        self.standing != Standing::Known
            || headers.protocol == UDP && tunnel::is_tunnel_port(port)
            || headers.truncated.is_some()
    }
}

/// Finds the flow of a frame of `len` bytes, of which `front` are the first.
#[inline]
pub fn judge(front: &[u8], len: usize, by: FlowBy) -> Judged {
    let outer = parse_front(front, len);
    let is_plain = outer.vlans == 0
        && !outer.fragment
        && outer.truncated.is_none()
        && outer.network != Network::Other
        && (outer.protocol == TCP
            || outer.protocol == UDP && !tunnel::is_tunnel_port(outer.key.destination.port));
    if is_plain {
        return Judged {
            headers: outer,
            standing: Standing::Known,
            outer_l3: Some(outer.l3),
            fragment: None,
            tunnels: 0,
        };
    }
    Walk::begin(&front[..front.len().min(len)], outer, by).run()
}

/// Goes from the outermost headers inwards.
struct Walk<'f> {
    front: &'f [u8],
    by: FlowBy,
    headers: Headers,
    scope: Scope,
    outer_l3: Option<usize>,
    fragment: Option<Fragment>,
    tunnels: usize,
    /// The scope has no room for what the packet has, or the packet more
    /// tunnels than are followed.
    is_too_deep: bool,
    is_control: bool,
    is_opaque: bool,
}

impl<'f> Walk<'f> {
    #[cold]
    fn begin(front: &'f [u8], outer: Headers, by: FlowBy) -> Self {
        let mut walk = Self {
            front,
            by,
            headers: outer,
            scope: Scope::default(),
            outer_l3: None,
            fragment: None,
            tunnels: 0,
            is_too_deep: false,
            is_control: false,
            is_opaque: false,
        };
        walk.enter(outer, 0);
        walk
    }

    /// These headers, of a frame at `ethernet_at`, are the innermost so far.
    fn enter(&mut self, headers: Headers, ethernet_at: usize) {
        for place in 0..headers.vlans {
            let at = ethernet_at + ETHERNET_HEADER + place * VLAN_TAG;
            // VLAN 0 only has a priority.
            let id = u16_at(self.front, at).unwrap_or(0) & 0xfff;
            if self.by.vlans && id != 0 {
                self.is_too_deep |= !self.scope.push(Domain::Vlan(id));
            }
        }
        self.headers = headers;
        if headers.network == Network::Other {
            return;
        }
        self.outer_l3 = self.outer_l3.or(Some(headers.l3));
        if headers.fragment {
            let mut key = FlowKey { scope: self.scope, ..headers.key.without_ports() };
            if headers.network == Network::Ipv6 {
                key.protocol = 0;
            }
            self.fragment = Some(Fragment { key, id: headers.fragment_id });
        }
    }

    fn run(mut self) -> Judged {
        while let Some(inner) = self.next_inner() {
            // Labels and sessions are the link's: a tunnel has IP around it.
            let is_tunnel = self.headers.network != Network::Other;
            if is_tunnel && (!self.by.inner || self.tunnels == TUNNELS_MAX) {
                self.is_too_deep |= self.by.inner;
                break;
            }
            if !self.descend(inner) {
                break;
            }
            self.tunnels += usize::from(is_tunnel);
        }
        self.headers.key.scope = self.scope;
        Judged {
            standing: self.standing(),
            headers: self.headers,
            outer_l3: self.outer_l3,
            fragment: self.fragment,
            tunnels: self.tunnels,
        }
    }

    /// The packet that the innermost headers enclose, labels already skipped.
    fn next_inner(&mut self) -> Option<Inner> {
        let inner = tunnel::inside(self.front, &self.headers)?;
        if inner.content != Content::Mpls {
            return Some(inner);
        }
        let front = &self.front[..self.front.len().min(inner.end)];
        let below = tunnel::below_labels(front, inner);
        self.is_opaque |= below.is_none() && inner.trust == Trust::Announced;
        below
    }

    /// Goes on with the packet inside. Returns `false`, and stays, if it is not
    /// what was announced.
    fn descend(&mut self, inner: Inner) -> bool {
        let Inner { content, at, end, domain, trust } = inner;
        let front = &self.front[..self.front.len().min(end)];
        let link = Headers {
            vlans: 0,
            network: Network::Other,
            protocol: 0,
            is_later: false,
            fragment: false,
            fragment_id: 0,
            ether_type: 0,
            truncated: None,
            l3: at.min(front.len()),
            l4: at.min(front.len()),
            payload: at.min(front.len()),
            end,
            ..self.headers
        };
        let found = match content {
            Content::Ethernet => ethernet(front, end, at),
            Content::Ipv4 => ip::ipv4(front, end, link),
            Content::Ipv6 => ip::ipv6(front, end, link),
            Content::Ip if front.get(at).is_some_and(|first| first >> 4 == 6) => {
                ip::ipv6(front, end, link)
            }
            Content::Ip => ip::ipv4(front, end, link),
            Content::Control | Content::Opaque | Content::Mpls => {
                self.is_control = content == Content::Control;
                self.is_opaque = !self.is_control;
                link
            }
        };
        if trust != Trust::Announced && !self.is_proven(&found, at) {
            self.is_opaque |= trust == Trust::Likely;
            return false;
        }
        if let Some(domain) = domain {
            self.is_too_deep |= !self.scope.push(domain);
        }
        if self.is_control || self.is_opaque {
            return false;
        }
        let ethernet_at = if content == Content::Ethernet { at } else { 0 };
        self.enter(found, ethernet_at);
        true
    }

    /// Whether the packet inside is one, and nothing is hidden behind it.
    fn is_proven(&self, found: &Headers, at: usize) -> bool {
        /// The shortest Ethernet frame without its checksum: shorter ones are
        /// padded.
        const SHORTEST: usize = 60;
        let outer = &self.headers;
        let is_sound = match found.network {
            Network::Ipv4 => ip::has_sound_checksum(self.front, found.l3),
            Network::Ipv6 => true,
            // The headers inside these must prove to be headers.
            Network::Other => {
                matches!(found.ether_type, ARP | RARP) || tunnel::is_link(found.ether_type)
            }
        };
        let is_whole = match found.truncated {
            None => true,
            // The rest of it is in the later fragments.
            Some(Layer::Network) => outer.fragment && found.network != Network::Other,
            Some(_) => false,
        };
        is_sound && is_whole && (found.end == outer.end || outer.end - at <= SHORTEST)
    }

    fn standing(&self) -> Standing {
        let headers = &self.headers;
        let is_ip = headers.network != Network::Other;
        if self.is_control || !is_ip && matches!(headers.ether_type, ARP | RARP) {
            return Standing::Exempt;
        }
        if self.is_opaque {
            return Standing::Unclear(Doubt::Nothing);
        }
        if is_ip && self.is_neighbour_discovery() {
            return Standing::Exempt;
        }
        if headers.is_later {
            return Standing::Later;
        }
        let is_cut = match headers.truncated {
            None => false,
            // Fragments end before their packet does.
            Some(Layer::Network) => self.fragment.is_none() || !is_ip,
            Some(Layer::Transport) => self.fragment.is_none() || !headers.key.has_ports,
            Some(Layer::Link) => true,
        } || is_vlan(headers.ether_type);
        match (is_cut || self.is_too_deep, is_ip) {
            (false, _) => Standing::Known,
            (true, true) => Standing::Unclear(Doubt::Addresses),
            (true, false) => Standing::Unclear(Doubt::Nothing),
        }
    }

    /// RFC 4861, 6.1 and 7.1: hosts take it only with a hop limit that no
    /// router has lowered.
    fn is_neighbour_discovery(&self) -> bool {
        const ICMPV6: u8 = 58;
        let headers = &self.headers;
        headers.protocol == ICMPV6
            && self.fragment.is_none()
            && self.front.get(headers.l3 + 7) == Some(&255)
            && self.front.get(headers.l4).is_some_and(|kind| (133..=137).contains(kind))
    }
}

const ARP: u16 = 0x0806;
const RARP: u16 = 0x8035;

#[cfg(test)]
mod tests;
