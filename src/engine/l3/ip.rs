//! A router's work on an IP header: it checks whether the packet may be
//! forwarded (RFC 1812, 5.2 and 5.3; RFC 8200, 3), reads its destination, and
//! counts the hop. Pure, and accepts any bytes.

use crate::engine::headers::{self, Network};

/// A packet's destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    Ipv4(u32),
    Ipv6([u8; 16]),
}

/// Why a packet cannot be forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    NotIp,
    /// The frame ends before the IP header, or before the end that the header
    /// states; its version or a length is impossible, or IPv4's checksum wrong.
    BadHeader,
    /// The time to live, or hop limit, is used up.
    Expired,
    /// The frame is for another station.
    OtherStation,
    /// The frame or the packet is for all, or for a group.
    Group,
    /// An address that no host on a network can have.
    Martian,
    /// An address that is only valid on its link.
    LinkLocal,
}

/// A port's own address, in the order in which a frame's first bytes are
/// loaded. A port without an address takes frames to any station.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Station(u64);

impl Station {
    pub fn new(mac: [u8; 6]) -> Self {
        let [a, b, c, d, e, f] = mac;
        Self(u64::from_le_bytes([a, b, c, d, e, f, 0, 0]))
    }

    /// Checks that the frame is for this station (RFC 1812, 5.3.4).
    #[inline(always)]
    fn check(self, front: &[u8]) -> Result<(), Unfit> {
        let first: &[u8; 8] = front.first_chunk().ok_or(Unfit::BadHeader)?;
        let to = u64::from_le_bytes(*first) & 0xffff_ffff_ffff;
        if to == self.0 { Ok(()) } else { self.check_other(to) }
    }

    #[cold]
    fn check_other(self, to: u64) -> Result<(), Unfit> {
        match to & 1 {
            1 => Err(Unfit::Group),
            _ if self.0 == 0 => Ok(()),
            _ => Err(Unfit::OtherStation),
        }
    }
}

const IPV4_HEADER: usize = 20;
const IPV6_HEADER: usize = 40;

/// The destination of the packet in a frame of `len` bytes, of which `front`
/// are the first: [`headers::FRONT_MAX`], or all. It came in by a port with this
/// address.
///
/// # Errors
/// Why it may not be forwarded.
#[inline]
pub fn destination(front: &[u8], len: usize, own: Station) -> Result<Destination, Unfit> {
    let (network, l3) = locate(front)?;
    if network == Network::Other {
        return Err(Unfit::NotIp);
    }
    own.check(front)?;
    let (packet, len) = (&front[l3..], len.saturating_sub(l3));
    if network == Network::Ipv4 { ipv4(packet, len) } else { ipv6(packet, len) }
}

/// The network protocol, and the offset of its header.
#[inline(always)]
fn locate(front: &[u8]) -> Result<(Network, usize), Unfit> {
    match front.get(12..14) {
        Some([0x08, 0x00]) => Ok((Network::Ipv4, headers::ETHERNET_HEADER)),
        Some([0x86, 0xdd]) => Ok((Network::Ipv6, headers::ETHERNET_HEADER)),
        _ => headers::carried(front).ok_or(Unfit::BadHeader),
    }
}

#[inline(always)]
fn ipv4(packet: &[u8], len: usize) -> Result<Destination, Unfit> {
    let header: &[u8; IPV4_HEADER] = packet.first_chunk().ok_or(Unfit::BadHeader)?;
    let header_len = usize::from(header[0] & 0xf) * 4;
    let total_len = usize::from(u16::from_be_bytes([header[2], header[3]]));
    let is_sound = match header[0] {
        0x45 => sum(header) == 0xffff,
        version => {
            version >> 4 == 4
                && header_len >= IPV4_HEADER
                && packet.get(..header_len).is_some_and(|all| sum(all) == 0xffff)
        }
    };
    if !is_sound || total_len < header_len || total_len > len {
        return Err(Unfit::BadHeader);
    }
    let [.., a, b, c, d] = *header;
    if SUSPECT[usize::from(header[12])] | SUSPECT[usize::from(a)] {
        check_ipv4([header[12], header[13]], [a, b])?;
    }
    if header[8] <= 1 {
        Err(Unfit::Expired)
    } else {
        Ok(Destination::Ipv4(u32::from_be_bytes([a, b, c, d])))
    }
}

/// By first byte of an IPv4 address, whether it may be one that is not routed.
const SUSPECT: [bool; 256] = {
    let mut suspect = [false; 256];
    let mut first = 0;
    while first < 256 {
        suspect[first] = matches!(first, 0 | 127 | 169 | 224..);
        first += 1;
    }
    suspect
};

/// Checks the first bytes of the addresses (RFC 1812, 5.3.7; RFC 6890).
#[cold]
fn check_ipv4(source: [u8; 2], destination: [u8; 2]) -> Result<(), Unfit> {
    match (source, destination) {
        ([0 | 127 | 224.., _], _) | (_, [0 | 127 | 240.., _]) => Err(Unfit::Martian),
        (_, [224..=239, _]) => Err(Unfit::Group),
        ([169, 254], _) | (_, [169, 254]) => Err(Unfit::LinkLocal),
        _ => Ok(()),
    }
}

#[inline(always)]
fn ipv6(packet: &[u8], len: usize) -> Result<Destination, Unfit> {
    let header: &[u8; IPV6_HEADER] = packet.first_chunk().ok_or(Unfit::BadHeader)?;
    let total_len = IPV6_HEADER + usize::from(u16::from_be_bytes([header[4], header[5]]));
    if header[0] >> 4 != 6 || total_len > len {
        return Err(Unfit::BadHeader);
    }
    let address: [u8; 16] = header.last_chunk().copied().unwrap_or_default();
    // 0xfd is the last that is routed.
    if header[8].wrapping_sub(1) >= 0xfd || address[0].wrapping_sub(1) >= 0xfd {
        check_ipv6(header[8..].first_chunk().unwrap_or(&[0; 16]), &address)?;
    }
    if header[7] <= 1 { Err(Unfit::Expired) } else { Ok(Destination::Ipv6(address)) }
}

/// Checks the addresses (RFC 4291, 2.5 and 2.7).
#[cold]
fn check_ipv6(source: &[u8; 16], destination: &[u8; 16]) -> Result<(), Unfit> {
    let is_nobody = |address: &[u8; 16]| u128::from_be_bytes(*address) <= 1;
    let is_of_link = |address: &[u8; 16]| address[0] == 0xfe && address[1] >> 6 == 2;
    if is_nobody(source) || is_nobody(destination) || source[0] == 0xff {
        Err(Unfit::Martian)
    } else if destination[0] == 0xff {
        Err(Unfit::Group)
    } else if is_of_link(source) || is_of_link(destination) {
        Err(Unfit::LinkLocal)
    } else {
        Ok(())
    }
}

/// The ones' complement sum of an IPv4 header (RFC 1071): 0xffff if its
/// checksum is correct. `header`: a multiple of 4 bytes, at most 60.
#[inline(always)]
fn sum(header: &[u8]) -> u16 {
    let mut sum: u64 =
        header.as_chunks::<4>().0.iter().map(|word| u64::from(u32::from_be_bytes(*word))).sum();
    sum = (sum >> 32) + (sum & 0xffff_ffff);
    sum = (sum >> 16) + (sum & 0xffff);
    sum = (sum >> 16) + (sum & 0xffff);
    sum = (sum >> 16) + (sum & 0xffff);
    sum as u16
}

/// Counts the hop, and writes the frame's first 12 bytes, the addresses of the
/// outgoing link. For a frame that [`destination`] accepted.
#[inline]
pub fn hop(front: &mut [u8], addresses: &[u8; 12]) {
    let Ok((network, l3)) = locate(front) else { return };
    if let Some(ethernet) = front.first_chunk_mut() {
        *ethernet = *addresses;
    }
    match (network, front[l3..].first_chunk_mut::<IPV4_HEADER>()) {
        (Network::Ipv4, Some(header)) => {
            let checksum =
                without_a_hop(u16::from_be_bytes([header[10], header[11]]), [header[8], header[9]]);
            header[8] = header[8].wrapping_sub(1);
            [header[10], header[11]] = checksum.to_be_bytes();
        }
        (Network::Ipv6, Some(header)) => header[7] = header[7].wrapping_sub(1),
        _ => {}
    }
}

/// The header's checksum after the time to live, in front of the protocol, was
/// decremented: HC' = ~(~HC + ~m + m') (RFC 1624, equation 3), in ones'
/// complement.
#[inline(always)]
fn without_a_hop(checksum: u16, [ttl, protocol]: [u8; 2]) -> u16 {
    let [before, after] = [ttl, ttl.wrapping_sub(1)].map(|ttl| u16::from_be_bytes([ttl, protocol]));
    let mut sum = u32::from(!checksum) + u32::from(!before) + u32::from(after);
    sum = (sum >> 16) + (sum & 0xffff);
    sum = (sum >> 16) + (sum & 0xffff);
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// A frame with an IPv4 header of so many words, and its checksum.
    fn ipv4_frame(words: usize, ttl: u8, payload: usize) -> Vec<u8> {
        let mut header = vec![7; words * 4];
        header[0] = 0x40 | words as u8;
        header[2..4].copy_from_slice(&((words * 4 + payload) as u16).to_be_bytes());
        header[8] = ttl;
        header[10..12].fill(0);
        let checksum = !sum(&header);
        header[10..12].copy_from_slice(&checksum.to_be_bytes());
        [&[8; 12][..], &[8, 0], &header, &vec![3; payload]].concat()
    }

    fn ipv6_frame(hop_limit: u8, payload: u16) -> Vec<u8> {
        let mut header = [0x60, 0, 0, 0, 0, 0, 59, hop_limit].to_vec();
        header[4..6].copy_from_slice(&payload.to_be_bytes());
        [&[8; 12][..], &[0x86, 0xdd], &header, &[1; 16], &[2; 16], &vec![3; payload.into()]]
            .concat()
    }

    fn asked(frame: &[u8]) -> Result<Destination, Unfit> {
        destination(frame, frame.len(), Station::default())
    }

    #[test]
    fn frames_for_others_are_not_routed() {
        let own = Station::new([2, 0, 0, 0, 0, 9]);
        let mut frame = ipv4_frame(5, 64, 30);
        for (mac, wanted) in [
            ([2, 0, 0, 0, 0, 9], Ok(Destination::Ipv4(0x0707_0707))),
            ([2, 0, 0, 0, 0, 8], Err(Unfit::OtherStation)),
            ([0xff; 6], Err(Unfit::Group)),
            ([1, 0, 0x5e, 0, 0, 1], Err(Unfit::Group)),
        ] {
            frame[..6].copy_from_slice(&mac);
            assert_eq!(destination(&frame, frame.len(), own), wanted, "{mac:02x?}");
            let without = if mac[0] == 2 { Ok(Destination::Ipv4(0x0707_0707)) } else { wanted };
            assert_eq!(asked(&frame), without, "a port without an address, {mac:02x?}");
        }
    }

    #[test]
    fn addresses_that_are_not_routed_have_a_cause() {
        let ipv4 = |source: [u8; 4], destination: [u8; 4]| {
            let mut frame = ipv4_frame(5, 64, 30);
            frame[26..30].copy_from_slice(&source);
            frame[30..34].copy_from_slice(&destination);
            frame[24..26].fill(0);
            let checksum = !sum(&frame[14..34]);
            frame[24..26].copy_from_slice(&checksum.to_be_bytes());
            asked(&frame).map(drop)
        };
        let host = [192, 0, 2, 1];
        for (address, as_source, as_destination) in [
            ([0, 1, 2, 3], Some(Unfit::Martian), Some(Unfit::Martian)),
            ([127, 0, 0, 1], Some(Unfit::Martian), Some(Unfit::Martian)),
            ([169, 254, 9, 9], Some(Unfit::LinkLocal), Some(Unfit::LinkLocal)),
            ([169, 253, 9, 9], None, None),
            ([223, 255, 255, 255], None, None),
            ([224, 0, 0, 9], Some(Unfit::Martian), Some(Unfit::Group)),
            ([240, 0, 0, 1], Some(Unfit::Martian), Some(Unfit::Martian)),
            ([255; 4], Some(Unfit::Martian), Some(Unfit::Martian)),
        ] {
            assert_eq!(ipv4(address, host).err(), as_source, "{address:?}");
            assert_eq!(ipv4(host, address).err(), as_destination, "{address:?}");
        }
        let ipv6 = |source: &str, destination: &str| {
            let [source, destination] = [source, destination]
                .map(|text| text.parse::<std::net::Ipv6Addr>().expect("an address").octets());
            let mut frame = ipv6_frame(64, 30);
            frame[22..38].copy_from_slice(&source);
            frame[38..54].copy_from_slice(&destination);
            asked(&frame).map(drop)
        };
        let host = "2001:db8::9";
        for (address, as_source, as_destination) in [
            ("::", Some(Unfit::Martian), Some(Unfit::Martian)),
            ("::1", Some(Unfit::Martian), Some(Unfit::Martian)),
            ("64:ff9b::1", None, None),
            ("fd00::1", None, None),
            ("fe80::1", Some(Unfit::LinkLocal), Some(Unfit::LinkLocal)),
            ("ff02::1", Some(Unfit::Martian), Some(Unfit::Group)),
        ] {
            assert_eq!(ipv6(address, host).err(), as_source, "{address}");
            assert_eq!(ipv6(host, address).err(), as_destination, "{address}");
        }
    }

    #[test]
    fn the_checksum_stays_correct_for_every_header() {
        for word in 0..=u16::MAX {
            let mut header = [0; IPV4_HEADER];
            header[8] = 255;
            header[9] = 17;
            header[4..6].copy_from_slice(&word.to_be_bytes());
            let mut before = !sum(&header);
            for ttl in (2..=255u8).rev() {
                header[8] = ttl - 1;
                let [all_anew, updated] = [!sum(&header), without_a_hop(before, [ttl, 17])];
                // Ones' complement has two zeros. A header that is not all
                // zeros never sums up to the other one.
                assert_eq!(all_anew, updated, "ttl {ttl}, word {word:04x}");
                before = all_anew;
            }
        }
    }

    #[test]
    fn a_sound_packet_is_forwarded() {
        for words in 5..=15 {
            let mut frame = ipv4_frame(words, 64, 30);
            assert_eq!(asked(&frame), Ok(Destination::Ipv4(0x0707_0707)));
            let before = frame.clone();
            hop(&mut frame, &[5; 12]);
            assert_eq!((&frame[..12], frame[22]), (&[5; 12][..], 63));
            assert_eq!(sum(&frame[14..14 + words * 4]), 0xffff);
            frame[22] = 64;
            frame[24..26].copy_from_slice(&before[24..26]);
            assert_eq!(frame[12..], before[12..], "nothing else was changed");
        }
        let mut frame = ipv6_frame(2, 30);
        assert_eq!(asked(&frame), Ok(Destination::Ipv6([2; 16])));
        hop(&mut frame, &[5; 12]);
        assert_eq!(asked(&frame), Err(Unfit::Expired));
        assert_eq!(frame[15..], [&ipv6_frame(1, 30)[15..]].concat());
    }

    #[test]
    fn the_last_hop_expires() {
        for ttl in [0, 1] {
            assert_eq!(asked(&ipv4_frame(5, ttl, 0)), Err(Unfit::Expired));
            assert_eq!(asked(&ipv6_frame(ttl, 0)), Err(Unfit::Expired));
        }
    }

    #[test]
    fn truncated_packets_are_not_forwarded() {
        for frame in [ipv4_frame(5, 64, 4), ipv4_frame(8, 64, 4), ipv6_frame(64, 4)] {
            for len in 0..frame.len() {
                assert_eq!(
                    asked(&frame[..len]),
                    Err(Unfit::BadHeader),
                    "{len} bytes of {frame:02x?}"
                );
            }
            assert!(asked(&[&frame[..], &[0; 20]].concat()).is_ok(), "padding does no harm");
        }
    }

    #[test]
    fn every_flipped_bit_is_detected() {
        for (words, bit) in (5..=7).flat_map(|words| (0..words * 32).map(move |bit| (words, bit))) {
            let mut frame = ipv4_frame(words, 64, 64);
            frame[14 + bit / 8] ^= 1 << (bit % 8);
            assert_eq!(asked(&frame), Err(Unfit::BadHeader), "bit {bit} of {words} words");
        }
    }

    #[test]
    fn vlan_tags_are_skipped() {
        let plain = ipv4_frame(5, 64, 4);
        let mut tagged = [&plain[..12], &[0x88, 0xa8, 0, 1, 0x81, 0, 0, 2], &plain[12..]].concat();
        assert_eq!(asked(&tagged), asked(&plain));
        hop(&mut tagged, &[5; 12]);
        assert_eq!(tagged[12..20], [0x88, 0xa8, 0, 1, 0x81, 0, 0, 2]);
        assert_eq!((tagged[30], sum(&tagged[22..42])), (63, 0xffff));
        assert_eq!(asked(&[&[8; 12][..], &[8, 6], &[0; 46]].concat()), Err(Unfit::NotIp));
    }

    proptest! {
        #[test]
        fn any_bytes_are_accepted(mut frame in vec(any::<u8>(), 0..200), kind in 0..3usize) {
            if let Some(place) = frame.get_mut(12..15) {
                place.copy_from_slice(&[[8, 0, 0x45], [0x86, 0xdd, 0x60], [0x81, 0, 0]][kind]);
            }
            let is_fit = asked(&frame).is_ok();
            hop(&mut frame, &[5; 12]);
            prop_assert!(!is_fit || frame.starts_with(&[5; 12]));
        }
    }
}
