//! The packets' bytes: Ethernet, IPv4 and UDP headers by which RSS and flow
//! tables tell flows apart, then the packet's number.

use super::{Due, FRAME_MAX_BYTES, FRAME_MIN_BYTES};

/// Bytes that are written to each buffer: the headers and the number, up to the
/// end of the shortest frame.
const WRITTEN_BYTES: usize = FRAME_MIN_BYTES as usize;

/// Offset of the source port; the destination port follows.
const PORTS_AT: usize = 34;
const NUMBER_AT: usize = 42;

/// The lowest port, and the number of source ports from it on; none is a
/// well-known port.
const FIRST_PORT: u16 = 1024;
const SOURCE_PORTS: u32 = 1 << 15;

/// The bytes common to all packets of a queue. Flows differ only in their UDP
/// ports, so IPv4's checksum is constant; UDP's is 0, which means none.
#[derive(Clone, Debug)]
pub struct Frame {
    bytes: [u8; WRITTEN_BYTES],
    len: u16,
}

impl Frame {
    /// Frames of `frame_bytes`, from [`FRAME_MIN_BYTES`] to
    /// [`FRAME_MAX_BYTES`], to the port whose address is `destination`.
    pub fn new(frame_bytes: u16, destination: [u8; 6]) -> Self {
        let len = frame_bytes.clamp(FRAME_MIN_BYTES, FRAME_MAX_BYTES);
        let mut bytes = [0; WRITTEN_BYTES];
        bytes[..6].copy_from_slice(&destination);
        bytes[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 0xfe]);
        bytes[12..14].copy_from_slice(&[0x08, 0x00]);
        // Version and header length; total length; don't fragment; TTL 64, UDP.
        // Addresses from 198.18.0.0/15, which is for benchmarks (RFC 2544).
        bytes[14] = 0x45;
        bytes[16..18].copy_from_slice(&(len - 14).to_be_bytes());
        bytes[20] = 0x40;
        bytes[22..24].copy_from_slice(&[64, 17]);
        bytes[26..34].copy_from_slice(&[198, 18, 0, 1, 198, 19, 0, 1]);
        let checksum = internet_checksum(&bytes[14..34]);
        bytes[24..26].copy_from_slice(&checksum.to_be_bytes());
        bytes[38..40].copy_from_slice(&(len - 34).to_be_bytes());
        Self { bytes, len }
    }

    /// Bytes of a packet in memory.
    pub fn bytes_in_memory(&self) -> u16 {
        self.len
    }

    /// The first bytes of this packet; the others are left as the buffer holds
    /// them.
    #[inline]
    pub fn bytes_of(&mut self, due: &Due) -> &[u8] {
        let source = FIRST_PORT + (due.flow % SOURCE_PORTS) as u16;
        let destination = FIRST_PORT + (due.flow / SOURCE_PORTS) as u16;
        self.bytes[PORTS_AT..PORTS_AT + 2].copy_from_slice(&source.to_be_bytes());
        self.bytes[PORTS_AT + 2..PORTS_AT + 4].copy_from_slice(&destination.to_be_bytes());
        self.bytes[NUMBER_AT..NUMBER_AT + 8].copy_from_slice(&due.number.to_be_bytes());
        &self.bytes
    }
}

/// RFC 1071, for an even number of bytes whose checksum field is 0.
fn internet_checksum(bytes: &[u8]) -> u16 {
    let sum: u32 =
        bytes.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !((folded & 0xffff) + (folded >> 16)) as u16
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::traffic::Cost;

    fn due(flow: u32, number: u64) -> Due {
        Due { at_ticks: 0, number, cost: Cost::default(), flow }
    }

    #[test]
    fn headers_are_consistent() {
        let mut frame = Frame::new(124, [2, 0, 0, 0, 0, 1]);
        let bytes = frame.bytes_of(&due(7, 0x0102)).to_vec();
        assert_eq!(frame.bytes_in_memory(), 124);
        assert_eq!(u16::from_be_bytes([bytes[16], bytes[17]]), 110, "IPv4's total length");
        assert_eq!(u16::from_be_bytes([bytes[38], bytes[39]]), 90, "UDP's length");
        assert_eq!(
            internet_checksum(&bytes[14..34]),
            0,
            "a header with a correct checksum sums up to 0"
        );
        assert_eq!(bytes[42..50], 0x0102u64.to_be_bytes());
        assert_eq!(Frame::new(60, [0; 6]).bytes_in_memory(), 60);
    }

    #[test]
    fn every_flow_has_its_own_ports() {
        let mut frame = Frame::new(60, [0; 6]);
        let flows = (0..200_000).chain((1 << 24) - 1000..1 << 24);
        let ports: HashSet<[u8; 4]> =
            flows.map(|flow| frame.bytes_of(&due(flow, 0))[34..38].try_into().unwrap()).collect();
        assert_eq!(ports.len(), 201_000);
    }
}
