//! Where a TCP segment stands in its connection.

use crate::dpdk::Mbuf;
use crate::engine::headers::Headers;

pub(super) const TCP: u8 = 6;
const TCP_HEADER: usize = 20;

/// What a segment means for the life of its flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    Goes,
    Begins,
    /// The other direction begins.
    Answers,
    Ends,
}

/// What the flags of a TCP segment say.
#[inline]
pub(super) fn life(packet: &Mbuf, headers: &Headers) -> Life {
    const FLAGS: usize = 13;
    const FIN: u8 = 1;
    const SYN: u8 = 2;
    const RST: u8 = 4;
    const ACK: u8 = 16;
    if headers.protocol != TCP || headers.is_later {
        return Life::Goes;
    }
    // Where the header lies in a later segment of the buffer, the flow goes on.
    match packet.data().get(headers.l4 + FLAGS).map(|flags| flags & (FIN | SYN | RST | ACK)) {
        Some(SYN) => Life::Begins,
        Some(flags) if flags == SYN | ACK => Life::Answers,
        Some(flags) if flags & (FIN | RST) != 0 => Life::Ends,
        _ => Life::Goes,
    }
}

/// The sequence number of the segment's first byte of payload. `None` if it is
/// not TCP, or a fragment.
#[inline]
pub(super) fn sequence(front: &[u8], headers: &Headers) -> Option<u32> {
    if headers.protocol != TCP || headers.fragment || headers.truncated.is_some() {
        return None;
    }
    let header: &[u8; TCP_HEADER] = front.get(headers.l4..)?.first_chunk()?;
    let seq = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
    // A SYN takes a sequence number.
    Some(seq.wrapping_add(u32::from(header[13] >> 1 & 1)))
}

/// The direction of a packet: its source is the larger end.
pub(super) fn is_back(headers: &Headers) -> bool {
    headers.key.source > headers.key.destination
}

/// The identifier of one direction of a flow.
pub(super) fn stream(flow_id: u64, back: bool) -> u64 {
    // Any number that changes the upper bits, too.
    flow_id ^ if back { 0x9e37_79b9_7f4a_7c15 } else { 0 }
}
