//! Whether a transport checksum is right: a receiver takes no other packet.

use crate::dpdk::Mbuf;
use crate::engine::headers::{Headers, Network};

const TCP: u8 = 6;
const UDP: u8 = 17;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Checksum {
    Right,
    Wrong,
    /// The packet has none, or not all of what it covers, or the checksum is
    /// left to hardware that the packet never meets.
    Unknown,
}

impl Checksum {
    /// Of the packet with these headers, inside so many tunnels. The NIC's word
    /// is taken for the outermost one. `virtual_ports`: packets may come from a
    /// kernel that leaves checksums to hardware.
    pub(super) fn of(
        packet: &Mbuf,
        headers: &Headers,
        tunnels: usize,
        virtual_ports: bool,
    ) -> Self {
        if tunnels == 0
            && let Some(is_right) = packet.l4_checksum()
        {
            return if is_right { Self::Right } else { Self::Wrong };
        }
        if packet.segments() == 1 {
            return of(packet.data(), headers, virtual_ports);
        }
        of(&packet.to_vec(), headers, virtual_ports)
    }
}

/// Where in the transport header it is.
fn place(headers: &Headers) -> Option<usize> {
    let at = match headers.protocol {
        TCP => 16,
        UDP => 6,
        _ => return None,
    };
    const IPV6_HEADER: usize = 40;
    // A routing header may have another destination than the checksum has.
    let has_extensions = headers.network == Network::Ipv6 && headers.l4 != headers.l3 + IPV6_HEADER;
    let is_whole = !headers.fragment && headers.truncated.is_none() && !has_extensions;
    is_whole.then_some(headers.l4 + at)
}

fn of(frame: &[u8], headers: &Headers, virtual_ports: bool) -> Checksum {
    let (Some(at), Some(covered)) = (place(headers), frame.get(headers.l4..headers.end)) else {
        return Checksum::Unknown;
    };
    // UDP over IPv4 may go without.
    if headers.protocol == UDP && frame.get(at..at + 2) == Some(&[0, 0]) {
        return Checksum::Unknown;
    }
    let addresses = match headers.network {
        Network::Ipv4 => frame.get(headers.l3 + 12..headers.l3 + 20),
        Network::Ipv6 => frame.get(headers.l3 + 8..headers.l3 + 40),
        Network::Other => None,
    };
    let Some(addresses) = addresses else { return Checksum::Unknown };
    let pseudo = covered.len() as u64 + u64::from(headers.protocol) + sum(addresses);
    let unfinished = fold(pseudo).to_be_bytes();
    match fold(pseudo + sum(covered)) {
        0xffff => Checksum::Right,
        _ if virtual_ports && frame.get(at..at + 2) == Some(&unfinished) => Checksum::Unknown,
        _ => Checksum::Wrong,
    }
}

/// Adds up words of two bytes, the last one padded with a zero (RFC 1071). In
/// steps of four bytes: their carries are folded later.
fn sum(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<4>();
    let mut last = [0; 4];
    last[..rest.len()].copy_from_slice(rest);
    words.iter().chain([&last]).map(|word| u64::from(u32::from_be_bytes(*word))).sum()
}

fn fold(sum: u64) -> u16 {
    let sum = (sum >> 32) + (sum & 0xffff_ffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    ((sum >> 16) + (sum & 0xffff)) as u16
}

#[cfg(test)]
mod tests {
    use etherparse::PacketBuilder;
    use proptest::prelude::*;

    use super::*;
    use crate::engine::headers::parse;

    proptest! {
        #[test]
        fn etherparse_computes_the_same(ipv6 in any::<bool>(), tcp in any::<bool>(),
            payload in prop::collection::vec(any::<u8>(), 0..80), at in any::<prop::sample::Index>()) {
            let link = PacketBuilder::ethernet2([2; 6], [4; 6]);
            let ip = match ipv6 {
                true => link.ipv6([1; 16], [2; 16], 64),
                false => link.ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64),
            };
            let mut frame = Vec::new();
            match tcp {
                true => ip.tcp(1, 2, 3, 4).write(&mut frame, &payload),
                false => ip.udp(1, 2).write(&mut frame, &payload),
            }.expect("a vector takes all");
            let headers = parse(&frame);
            prop_assert_eq!(of(&frame, &headers, true), Checksum::Right);
            if !payload.is_empty() {
                let at = headers.payload + at.index(payload.len());
                frame[at] ^= 1;
                prop_assert_eq!(of(&frame, &headers, true), Checksum::Wrong);
            }
        }
    }
    #[test]
    fn what_a_kernel_leaves_to_hardware_is_not_wrong() {
        let mut frame = Vec::new();
        let packet =
            PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64);
        packet.tcp(1, 2, 3, 4).write(&mut frame, b"payload").expect("a vector takes all");
        // The sum of addresses, protocol and length: 10.0.0.1, 10.0.0.2, 6, 27.
        frame[50..52].copy_from_slice(&(0x0a00u16 + 1 + 0x0a00 + 2 + 6 + 27).to_be_bytes());
        let headers = parse(&frame);
        assert_eq!(of(&frame, &headers, true), Checksum::Unknown);
        assert_eq!(of(&frame, &headers, false), Checksum::Wrong);
    }
}
