//! Packets of many flows, with correct headers, and checks of what a mark
//! changes in them.
#![allow(dead_code)] // each test file is a program of its own, and uses only some of this

/// A flow, and its direction.
#[derive(Clone, Copy)]
pub struct Flow {
    pub number: usize,
    /// From the server to the client.
    pub back: bool,
}

impl Flow {
    /// Source and destination.
    fn ends<T>(self, client: T, server: T) -> [T; 2] {
        if self.back { [server, client] } else { [client, server] }
    }

    fn ports(self) -> Vec<u8> {
        self.ends(40_000 + (self.number % 1000) as u16, 80).map(u16::to_be_bytes).concat()
    }
}

/// The one's complement sum of 16-bit words (RFC 1071).
fn sum(bytes: &[u8]) -> u16 {
    let sum: u32 = bytes
        .chunks(2)
        .map(|word| u32::from(word[0]) << 8 | word.get(1).copied().map_or(0, u32::from))
        .sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    ((folded & 0xffff) + (folded >> 16)) as u16
}

fn ethernet(ether_type: u16) -> Vec<u8> {
    [[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1].as_slice(), &ether_type.to_be_bytes()].concat()
}

/// Without Ethernet's padding.
pub fn ipv4_tcp(flow: Flow, payload: &[u8]) -> Vec<u8> {
    ipv4_tcp_at(flow, 1, payload)
}

/// As [`ipv4_tcp`], with this sequence number.
pub fn ipv4_tcp_at(flow: Flow, seq: u32, payload: &[u8]) -> Vec<u8> {
    let client = [10, 1, (flow.number / 1000) as u8, 7];
    let mut ip = vec![0x45, 0];
    ip.extend((40 + payload.len() as u16).to_be_bytes());
    ip.extend([0, 0, 0x40, 0, 64, 6, 0, 0]);
    ip.extend(flow.ends(client, [192, 0, 2, 1]).concat());
    let checksum = !sum(&ip);
    ip[10..12].copy_from_slice(&checksum.to_be_bytes());
    let mut tcp = [
        flow.ports().as_slice(),
        &seq.to_be_bytes(),
        &[0, 0, 0, 1, 0x50, 0x18, 0xff, 0xff, 0, 0, 0, 0],
    ]
    .concat();
    tcp.extend(payload);
    let pseudo = [&ip[12..], &[0, 6], &(tcp.len() as u16).to_be_bytes(), &tcp].concat();
    tcp[16..18].copy_from_slice(&(!sum(&pseudo)).to_be_bytes());
    [ethernet(0x0800), ip, tcp].concat()
}

pub fn ipv6_udp(flow: Flow, payload: &[u8]) -> Vec<u8> {
    let address = |host: u8| [&[0x20, 0x01, 0x0d, 0xb8][..], &[0; 11], &[host]].concat();
    let len = (8 + payload.len() as u16).to_be_bytes();
    let ip = [&[0x60, 0, 0, 0][..], &len, &[17, 64], &flow.ends(address(1), address(2)).concat()]
        .concat();
    let udp = [flow.ports().as_slice(), &len, &[0, 0]].concat();
    [ethernet(0x86dd), ip, udp, payload.to_vec()].concat()
}

pub fn dscp(frame: &[u8]) -> u8 {
    match frame[14] >> 4 {
        4 => frame[15] >> 2,
        _ => (frame[14] & 0x0f) << 2 | frame[15] >> 6,
    }
}

/// All ones if an IPv4 header's checksum is correct, and for packets without
/// one.
pub fn header_sum(frame: &[u8]) -> u16 {
    if frame[14] >> 4 == 4 { sum(&frame[14..34]) } else { 0xffff }
}

/// The frame before it was marked, if its DSCP was 0.
pub fn unmarked(frame: &[u8]) -> Vec<u8> {
    let mut frame = frame.to_vec();
    if frame[14] >> 4 == 4 {
        frame[15] &= 3;
        frame[24..26].fill(0);
        let checksum = !sum(&frame[14..34]);
        frame[24..26].copy_from_slice(&checksum.to_be_bytes());
    } else {
        (frame[14], frame[15]) = (frame[14] & 0xf0, frame[15] & 0x3f);
    }
    frame
}
