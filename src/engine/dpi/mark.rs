//! Writes a DSCP into an IP header (RFC 2474) and adjusts its checksum; the ECN
//! bits stay.

use crate::dpdk::Mbuf;
use crate::engine::headers::FRONT_MAX;

/// Bytes of the shortest IPv4 header, and of IPv6's fixed one.
const IPV4_HEADER: usize = 20;
const IPV6_HEADER: usize = 40;

/// All that changes lies in the first bytes of either header.
const CHANGED: usize = 12;

/// As [`set_dscp`], for the packet whose IP header begins at `l3`, in as many
/// segments as it lies in. Returns `false`, and changes nothing, where other
/// packets may have one of their buffers. A packet that ends inside the header
/// has no DSCP, and is left as it is.
pub(super) fn mark(packet: &mut Mbuf, l3: usize, dscp: u8) -> bool {
    if packet.segments() > 1 && usize::from(packet.data_len()) < l3 + IPV6_HEADER {
        return mark_across_segments(packet, l3, dscp);
    }
    let Some(data) = packet.data_mut() else { return false };
    if let Some(header) = data.get_mut(l3..) {
        set_dscp(header, dscp);
    }
    true
}

/// The DSCP of the packet whose IP header begins at `l3`, if it has one.
pub(super) fn dscp_of(packet: &Mbuf, l3: usize) -> Option<u8> {
    let mut front = [0; FRONT_MAX];
    let front = packet.copy_front(&mut front);
    let &[first, second] = front.get(l3..)?.first_chunk()?;
    match first >> 4 {
        4 => Some(second >> 2),
        6 => Some((first << 4 | second >> 4) >> 2),
        _ => None,
    }
}

#[cold]
fn mark_across_segments(packet: &mut Mbuf, l3: usize, dscp: u8) -> bool {
    let mut front = [0; FRONT_MAX];
    let len = packet.copy_front(&mut front).len();
    let is_marked = front[..len].get_mut(l3..).is_some_and(|header| set_dscp(header, dscp));
    !is_marked || packet.write_front(&front[..l3 + CHANGED])
}

/// Sets the DSCP, 0 to 63, of the packet whose IP header begins at `header`.
/// Returns whether the whole header is there.
pub fn set_dscp(header: &mut [u8], dscp: u8) -> bool {
    match header.first().map(|byte| byte >> 4) {
        Some(4) if header.len() >= IPV4_HEADER => {
            let before = u16::from_be_bytes([header[0], header[1]]);
            header[1] = dscp << 2 | header[1] & 3;
            let after = u16::from_be_bytes([header[0], header[1]]);
            let checksum = u16::from_be_bytes([header[10], header[11]]);
            header[10..12].copy_from_slice(&adjusted(checksum, before, after).to_be_bytes());
            true
        }
        Some(6) if header.len() >= IPV6_HEADER => {
            let class = dscp << 2 | header[1] >> 4 & 3;
            header[0] = header[0] & 0xf0 | class >> 4;
            header[1] = class << 4 | header[1] & 0x0f;
            true
        }
        _ => false,
    }
}

/// The checksum after a 16-bit word under it has changed: RFC 1624, equation 3.
fn adjusted(checksum: u16, before: u16, after: u16) -> u16 {
    let sum = u32::from(!checksum) + u32::from(!before) + u32::from(after);
    let folded = (sum & 0xffff) + (sum >> 16);
    !((folded & 0xffff) + (folded >> 16)) as u16
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::dpdk::forged::{Sharing, packet, share};

    /// RFC 791: all ones for a header with a correct checksum.
    fn sum(header: &[u8]) -> u16 {
        let words = header.chunks(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])));
        let sum: u32 = words.sum();
        let folded = (sum & 0xffff) + (sum >> 16);
        ((folded & 0xffff) + (folded >> 16)) as u16
    }

    const ETHERNET: usize = 14;

    /// A frame with an IP header of that version, and a correct checksum.
    fn frame(version: u8) -> Vec<u8> {
        let mut frame: Vec<u8> = (0..80).collect();
        frame[ETHERNET] = if version == 4 { 0x45 } else { 0x60 };
        if version == 4 {
            frame[ETHERNET + 10..ETHERNET + 12].fill(0);
            let checksum = !sum(&frame[ETHERNET..ETHERNET + 20]);
            frame[ETHERNET + 10..ETHERNET + 12].copy_from_slice(&checksum.to_be_bytes());
        }
        frame
    }

    #[test]
    fn a_header_across_segments_is_marked_wherever_it_is_cut() {
        for version in [4, 6] {
            let before = frame(version);
            let mut wanted = before.clone();
            assert!(set_dscp(&mut wanted[ETHERNET..], 46));
            for cut in 1..before.len() {
                let (first, second) = before.split_at(cut);
                let mut packet = packet(&[first, second]);
                assert!(mark(&mut packet, ETHERNET, 46));
                assert_eq!(packet.to_vec(), wanted, "IPv{version}, cut at {cut}");
            }
        }
        assert_eq!(sum(&frame(4)[ETHERNET..ETHERNET + 20]), 0xffff);
    }

    #[test]
    fn a_header_in_a_shared_buffer_is_refused() {
        let before = frame(4);
        let (first, second) = before.split_at(ETHERNET + 5);
        for at in 0..2 {
            let mut packet = packet(&[first, second]);
            share(&packet, at, Sharing::Mbuf);
            assert!(!mark(&mut packet, ETHERNET, 46), "segment {at}");
            assert_eq!(packet.to_vec(), before, "segment {at}");
        }
        let mut whole = packet(&[&before]);
        share(&whole, 0, Sharing::Attached);
        assert!(!mark(&mut whole, ETHERNET, 46));
    }

    #[test]
    fn a_packet_that_ends_inside_the_header_is_left_as_it_is() {
        let short = &frame(6)[..ETHERNET + 30];
        let (first, second) = short.split_at(20);
        for segments in [vec![short], vec![first, second]] {
            let mut packet = packet(&segments);
            assert!(mark(&mut packet, ETHERNET, 46));
            assert_eq!(packet.to_vec(), short);
        }
    }

    proptest! {
        #[test]
        fn the_ipv4_checksum_stays_correct(mut header in prop::array::uniform20(any::<u8>()), dscp in 0u8..64) {
            header[0] = 0x45;
            header[10..12].fill(0);
            let checksum = !sum(&header);
            header[10..12].copy_from_slice(&checksum.to_be_bytes());
            let before = header;
            prop_assert!(set_dscp(&mut header, dscp));
            prop_assert_eq!(sum(&header), 0xffff);
            prop_assert_eq!((header[1] >> 2, header[1] & 3), (dscp, before[1] & 3));
            prop_assert_eq!((&header[..1], &header[2..10], &header[12..]), (&before[..1], &before[2..10], &before[12..]));
        }

        #[test]
        fn only_the_ipv6_traffic_class_changes(bytes in prop::collection::vec(any::<u8>(), 40), dscp in 0u8..64) {
            let mut header = bytes;
            header[0] = 0x60 | header[0] & 0x0f;
            let before = header.clone();
            prop_assert!(set_dscp(&mut header, dscp));
            let word = |header: &[u8]| u32::from_be_bytes([header[0], header[1], header[2], header[3]]);
            prop_assert_eq!(word(&header) >> 22 & 0x3f, u32::from(dscp));
            prop_assert_eq!(word(&header) & !(0x3f << 22), word(&before) & !(0x3f << 22));
            prop_assert_eq!(&header[4..], &before[4..]);
        }

        #[test]
        fn other_bytes_are_left_alone(bytes in prop::collection::vec(any::<u8>(), 0..60), dscp in 0u8..64) {
            let mut header = bytes.clone();
            if !set_dscp(&mut header, dscp) {
                prop_assert_eq!(header, bytes);
            }
        }
    }
}
