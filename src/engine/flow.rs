//! A packet's headers and its flow, however the packet is split into segments.

use super::headers::{
    ETHERNET_HEADER, Family, FlowBy, Headers, Judged, judge, parse_front, plain_flow_hash,
    plain_mac_hash,
};
use crate::dpdk::Mbuf;

/// Identifies a packet's flow, also after an engine has changed the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flows {
    /// The engine keeps a packet's pair of MAC addresses, perhaps swapped.
    /// Where it does not, all packets without IP are one flow.
    pub macs_stay: bool,
}

impl Flows {
    /// A number for the packet's flow, the same for all packets of a flow and
    /// in both directions: the hash of its
    /// [`FlowKey`](super::headers::FlowKey). The NIC's RSS hash would not do.
    /// It chose the queue, so that a queue's flows share bits of it; with a
    /// symmetric key it has 16 bits only; and a sender can compute it.
    #[inline(always)]
    pub fn hash(self, packet: &Mbuf) -> u32 {
        let front = packet.data();
        match plain_flow_hash(front) {
            Some(hash) => hash,
            None => match plain_mac_hash(front) {
                Some(hash) => self.without_ip(hash),
                None => self.hash_of_key(packet),
            },
        }
    }

    /// As `hash`, for one packet after another. Packets without IP mostly have
    /// the Ethernet header of the one before, and comparing it is cheaper than
    /// hashing it.
    #[inline(always)]
    pub fn hash_next(self, packet: &Mbuf, before: &mut FlowBefore) -> u32 {
        let header = packet.data().first_chunk();
        if header.is_some_and(|header| before.header == Some(*header)) {
            return before.hash;
        }
        let hash = self.hash(packet);
        let plain = header.filter(|header| plain_mac_hash(&header[..]).is_some());
        *before = FlowBefore { header: plain.copied(), hash };
        hash
    }

    /// A hash of MAC addresses identifies a flow only where these stay the
    /// same.
    #[inline(always)]
    fn without_ip(self, hash: u32) -> u32 {
        if self.macs_stay { hash } else { 0 }
    }

    #[inline(never)]
    fn hash_of_key(self, packet: &Mbuf) -> u32 {
        let Headers { key, fragment, .. } = headers_of(packet);
        // Only the first fragment has ports, and all go one after the other.
        let key = if fragment { key.without_ports() } else { key };
        let hash = key.symmetric_hash();
        if key.family == Family::Mac { self.without_ip(hash) } else { hash }
    }
}

/// The Ethernet header of the last packet, if that had no IP, and its flow's
/// hash.
#[derive(Clone, Copy, Debug, Default)]
pub struct FlowBefore {
    header: Option<[u8; ETHERNET_HEADER]>,
    hash: u32,
}

/// [`Flows::hash`] of a packet that no engine has changed.
#[inline]
pub fn flow_hash(packet: &Mbuf) -> u32 {
    Flows { macs_stay: true }.hash(packet)
}

/// The packet's headers. Offsets count through all segments.
#[inline]
pub fn headers_of(packet: &Mbuf) -> Headers {
    let headers = parse_front(packet.data(), packet.pkt_len() as usize);
    if headers.truncated.is_none() || packet.segments() == 1 {
        return headers;
    }
    across_segments(packet, parse_front)
}

/// The packet's flow, and what is known of it. Offsets count through all
/// segments.
#[inline]
pub fn judge_packet(packet: &Mbuf, by: FlowBy) -> Judged {
    let (data, len) = (packet.data(), packet.pkt_len() as usize);
    let judged = judge(data, len, by);
    if packet.segments() == 1 || !judged.wants_more() {
        return judged;
    }
    across_segments(packet, |front, len| judge(front, len, by))
}

/// All bytes that headers may lie in: those of the longest frame.
const HEADERS_MAX: usize = 16_384;

#[cold]
fn across_segments<T>(packet: &Mbuf, parse: impl FnOnce(&[u8], usize) -> T) -> T {
    let mut front = [0; HEADERS_MAX];
    parse(packet.copy_front(&mut front), packet.pkt_len() as usize)
}

#[cfg(test)]
mod tests {
    use rand::rngs::SmallRng;
    use rand::{Rng, SeedableRng};

    use super::*;
    use micropools::order::BUCKETS;

    /// An IPv4 packet of UDP.
    fn frame(random: &mut SmallRng) -> [u8; 60] {
        let mut frame = [0; 60];
        frame[12..15].copy_from_slice(&[0x08, 0x00, 0x45]);
        frame[17] = 46;
        frame[23] = 17;
        random.fill(&mut frame[26..38]);
        frame[39] = 26;
        frame
    }

    /// Toeplitz with the key 6d5a repeated: equal in both directions, and its
    /// upper half is its lower.
    fn rss(frame: &[u8; 60]) -> u32 {
        // The key repeats after 16 bits, so all words meet the same one.
        let words =
            frame[26..38].chunks_exact(2).map(|word| u16::from_be_bytes([word[0], word[1]]));
        let word = words.fold(0, |sum, word| sum ^ word);
        let bits = (0..16).filter(|bit| word << bit & 0x8000 != 0);
        let hash = bits.fold(0, |hash, bit| hash ^ 0x6d5au16.rotate_left(bit));
        u32::from(hash) << 16 | u32::from(hash)
    }

    /// The share of a queue's buckets that its flows use, of the queue with the
    /// fewest.
    fn least_used(queues: usize, reta: usize) -> f64 {
        let mut random = SmallRng::seed_from_u64(1);
        let mut used = vec![vec![false; BUCKETS]; queues];
        for _ in 0..5 * BUCKETS * queues {
            let frame = frame(&mut random);
            let queue = (rss(&frame) as usize % reta) % queues;
            let hash = plain_flow_hash(&frame).expect("a plain frame") as usize;
            used[queue][hash % BUCKETS] = true;
        }
        let share = |queue: &Vec<bool>| queue.iter().filter(|&&used| used).count() as f64;
        used.iter().map(share).fold(f64::MAX, f64::min) / BUCKETS as f64
    }

    #[test]
    fn the_bits_that_chose_the_queue_do_not_choose_the_bucket() {
        for (queues, reta) in [(8, 128), (8, 512), (64, 128), (64, 512), (128, 512)] {
            let share = least_used(queues, reta);
            assert!(share >= 0.95, "{queues} queues, {reta} entries: {share}");
        }
    }
}
