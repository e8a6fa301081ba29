//! The frames that arrive: UDP over IPv4, of one size, one source port per flow.

const ETHERNET: usize = 14;
const IPV4: usize = 20;
const SOURCE_PORT: usize = ETHERNET + IPV4;
/// The first flow's source port.
const FIRST_PORT: u16 = 1024;

/// A frame with all but its source port.
#[derive(Clone, Debug)]
pub(super) struct Frame(Box<[u8]>);

impl Frame {
    /// `size` bytes, `SIZE_MIN` or more, for receive queue `queue` of port `port`.
    pub(super) fn new(size: u16, port: u16, queue: u16) -> Self {
        let mut frame = vec![0u8; usize::from(size)].into_boxed_slice();
        frame[..6].copy_from_slice(&[2, 0, 0, 0, 0, port as u8]);
        frame[6..12].copy_from_slice(&[2, 0, 0, 1, queue as u8, port as u8]);
        frame[12..14].copy_from_slice(&[0x08, 0x00]);
        let ip_len = size - ETHERNET as u16;
        let ip = &mut frame[ETHERNET..ETHERNET + IPV4];
        ip[0] = 0x45;
        ip[2..4].copy_from_slice(&ip_len.to_be_bytes());
        ip[8] = 64;
        ip[9] = 17;
        ip[12..16].copy_from_slice(&[10, port as u8, queue as u8, 1]);
        ip[16..20].copy_from_slice(&[10, port as u8, queue as u8, 2]);
        let sum = checksum(ip);
        ip[10..12].copy_from_slice(&sum.to_be_bytes());
        let udp = &mut frame[SOURCE_PORT..];
        udp[2..4].copy_from_slice(&4789u16.to_be_bytes());
        udp[4..6].copy_from_slice(&(ip_len - IPV4 as u16).to_be_bytes());
        Self(frame)
    }

    /// The frame of that flow.
    #[inline]
    pub(super) fn of_flow(&mut self, flow: u16) -> &[u8] {
        self.0[SOURCE_PORT..SOURCE_PORT + 2].copy_from_slice(&FIRST_PORT.wrapping_add(flow).to_be_bytes());
        &self.0
    }
}

/// The Internet checksum (RFC 1071).
fn checksum(header: &[u8]) -> u16 {
    let sum: u32 = header.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !((folded & 0xffff) + (folded >> 16)) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_right() {
        let mut frame = Frame::new(60, 1, 2);
        let bytes = frame.of_flow(7).to_vec();
        assert_eq!((bytes.len(), checksum(&bytes[14..34])), (60, 0));
        assert_eq!(u16::from_be_bytes([bytes[16], bytes[17]]), 46);
        assert_eq!(u16::from_be_bytes([bytes[38], bytes[39]]), 26);
        assert_eq!(u16::from_be_bytes([bytes[34], bytes[35]]), 1031);
    }
}
