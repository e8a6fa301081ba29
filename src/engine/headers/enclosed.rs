//! Builds packets inside packets, byte by byte, for tests and the fuzzer.

/// A header that encloses a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrap {
    /// A VLAN tag, of a frame.
    Vlan(u16),
    /// A stack of so many labels, in a frame.
    Mpls(u8),
    /// A session, in a frame.
    Pppoe(u16),
    /// IP in IP, by version 6 if so.
    Ip(bool),
    /// With a key, and with an Ethernet frame inside if so.
    Gre(Option<u32>, bool),
    Vxlan(u32),
    /// A network, and words of options.
    Geneve(u32, u8),
    /// With an extension header if so.
    Gtp(bool),
}

/// The packet of a flow between two hosts: UDP over IPv4 or IPv6.
#[derive(Clone, Debug)]
pub struct Flow {
    pub ipv6: bool,
    pub hosts: [[u8; 16]; 2],
    pub ports: [u16; 2],
}

impl Flow {
    /// An IP packet. Ports of tunnels are avoided.
    pub fn packet(&self, payload: &[u8], back: bool) -> Vec<u8> {
        let [a, b] = self.ports.map(|port| port & 0x3ff);
        let (ports, hosts) = match back {
            false => ([a, b], self.hosts),
            true => ([b, a], [self.hosts[1], self.hosts[0]]),
        };
        ip(self.ipv6, 17, hosts, &udp(ports, payload))
    }
}

fn udp([source, destination]: [u16; 2], payload: &[u8]) -> Vec<u8> {
    let len = (8 + payload.len()) as u16;
    let words = [source, destination, len, 0].map(u16::to_be_bytes);
    [&words.concat()[..], payload].concat()
}

/// An IP packet with a correct checksum.
pub fn ip(ipv6: bool, protocol: u8, [from, to]: [[u8; 16]; 2], payload: &[u8]) -> Vec<u8> {
    let len = payload.len() as u16;
    if ipv6 {
        let [high, low] = len.to_be_bytes();
        return [&[0x60, 0, 0, 0, high, low, protocol, 64][..], &from, &to, payload].concat();
    }
    let [high, low] = (20 + len).to_be_bytes();
    let mut header = [0x45, 0, high, low, 0, 1, 0x40, 0, 64, protocol, 0, 0].to_vec();
    header.extend([&from[12..], &to[12..]].concat());
    let sum: u32 = header.chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1])).sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    let checksum = !((sum & 0xffff) + (sum >> 16)) as u16;
    header[10..12].copy_from_slice(&checksum.to_be_bytes());
    [&header, payload].concat()
}

/// The packet that is built so far.
enum Content {
    /// With its EtherType.
    Packet(u16, Vec<u8>),
    Frame(Vec<u8>),
}

const ETHER_IPV4: u16 = 0x0800;
const ETHER_IPV6: u16 = 0x86dd;
const PPPOE: u16 = 0x8864;

fn packet(ip: Vec<u8>) -> Content {
    Content::Packet(if ip[0] >> 4 == 6 { ETHER_IPV6 } else { ETHER_IPV4 }, ip)
}

impl Content {
    fn frame(self, back: bool) -> Vec<u8> {
        match self {
            Self::Frame(frame) => frame,
            Self::Packet(ether_type, packet) => {
                let macs = if back { [[4; 6], [2; 6]] } else { [[2; 6], [4; 6]] };
                [&macs.concat()[..], &ether_type.to_be_bytes(), &packet].concat()
            }
        }
    }

    /// As a packet of IP or another that has an EtherType; a frame inside GRE.
    fn packet(self, back: bool) -> (u16, Vec<u8>) {
        const BRIDGED: u16 = 0x6558;
        match self {
            Self::Packet(ether_type, packet) => (ether_type, packet),
            Self::Frame(_) => (BRIDGED, self.frame(back)),
        }
    }

    fn is_ip(&self) -> bool {
        matches!(self, Self::Packet(ETHER_IPV4 | ETHER_IPV6, _))
    }
}

/// The frame with this IP packet inside these wraps, the outermost last. A wrap
/// that only IP can be in has GRE around what is inside. The tunnels' ends are
/// swapped if the packet goes back.
pub fn enclose(inner: Vec<u8>, wraps: &[Wrap], back: bool) -> Vec<u8> {
    let ends = if back { [[8; 16], [7; 16]] } else { [[7; 16], [8; 16]] };
    let mut content = packet(inner);
    for &wrap in wraps {
        let needs_ip = matches!(wrap, Wrap::Mpls(_) | Wrap::Pppoe(_) | Wrap::Ip(_) | Wrap::Gtp(_));
        if needs_ip && !content.is_ip() {
            content = gre(None, content, ends, back);
        }
        content = match wrap {
            Wrap::Vlan(id) => {
                let frame = content.frame(back);
                let tag = [&[0x81, 0][..], &(id & 0xfff).to_be_bytes()].concat();
                Content::Frame([&frame[..12], &tag, &frame[12..]].concat())
            }
            Wrap::Mpls(labels) => {
                let labels = labels.max(1);
                let label = |at: u8| [0, at, u8::from(at + 1 == labels), 64];
                let stack: Vec<u8> = (0..labels).flat_map(label).collect();
                Content::Packet(0x8847, [stack, content.packet(back).1].concat())
            }
            Wrap::Pppoe(session) => {
                let (ether_type, ip) = content.packet(back);
                let ppp: u16 = if ether_type == ETHER_IPV6 { 0x57 } else { 0x21 };
                let len = (ip.len() + 2) as u16;
                let words = [0x1100, session, len, ppp].map(u16::to_be_bytes);
                Content::Packet(PPPOE, [&words.concat()[..], &ip].concat())
            }
            Wrap::Ip(ipv6) => {
                let inner = content.packet(back).1;
                packet(ip(ipv6, if inner[0] >> 4 == 6 { 41 } else { 4 }, ends, &inner))
            }
            Wrap::Gre(key, bridged) => {
                let content = if bridged { Content::Frame(content.frame(back)) } else { content };
                gre(key, content, ends, back)
            }
            Wrap::Vxlan(network) => {
                let header = [&[8, 0, 0, 0][..], &(network << 8).to_be_bytes()].concat();
                tunnel(ends, 4789, &[header, content.frame(back)].concat())
            }
            Wrap::Geneve(network, words) => {
                let words = words & 0x3f;
                let mut header = [words, 0, 0x65, 0x58].to_vec();
                header.extend((network << 8).to_be_bytes());
                header.extend(vec![0; 4 * usize::from(words)]);
                tunnel(ends, 6081, &[header, content.frame(back)].concat())
            }
            Wrap::Gtp(extension) => {
                let flags = if extension { 0x34 } else { 0x30 };
                // The tunnel has another number in each direction.
                let mut header = [flags, 255, 0, 0, 0, 0, 0, 1 + u8::from(back)].to_vec();
                if extension {
                    header.extend([0, 0, 0, 0x85, 1, 9, 9, 0]);
                }
                tunnel(ends, 2152, &[header, content.packet(back).1].concat())
            }
        };
    }
    content.frame(back)
}

fn tunnel(ends: [[u8; 16]; 2], port: u16, payload: &[u8]) -> Content {
    packet(ip(false, 17, ends, &udp([50_000, port], payload)))
}

fn gre(key: Option<u32>, content: Content, ends: [[u8; 16]; 2], back: bool) -> Content {
    // Sessions are Ethernet's.
    let content = match content {
        Content::Packet(PPPOE, _) => Content::Frame(content.frame(back)),
        content => content,
    };
    let (ether_type, inner) = content.packet(back);
    let flags: u16 = if key.is_some() { 0x2000 } else { 0 };
    let mut header = [flags.to_be_bytes(), ether_type.to_be_bytes()].concat();
    header.extend(key.into_iter().flat_map(u32::to_be_bytes));
    packet(ip(false, 47, ends, &[header, inner].concat()))
}
