//! `macswap`: swaps source and destination address.

use super::{Class, Engine, Peers, Verdict, addresses, rewrite_burst};
use crate::dpdk::{Burst, Mbuf};
use crate::stats::DropCause;

#[derive(Clone, Debug)]
pub struct MacSwap {
    peers: Peers,
}

impl MacSwap {
    pub fn new(peers: Peers) -> Self {
        Self { peers }
    }
}

impl Engine for MacSwap {
    #[inline]
    fn classify(&mut self, _: &Mbuf, _: u16) -> Class {
        Class::Cheap
    }

    #[inline]
    fn cheap(&mut self, packet: &mut Mbuf, from: u16) -> Verdict {
        match addresses(packet) {
            Some(addresses) => swap(addresses),
            None => return Verdict::Drop(DropCause::Runt),
        }
        Verdict::Forward(self.peers.out(from))
    }

    #[inline]
    fn expensive(&mut self, packet: &mut Mbuf, from: u16) -> Verdict {
        self.cheap(packet, from)
    }

    #[inline]
    fn cheap_burst(&mut self, burst: &mut Burst, from: u16, dropped: impl FnMut(Mbuf, DropCause)) -> Option<u16> {
        rewrite_burst(burst, swap, dropped);
        Some(self.peers.out(from))
    }
}

/// Swaps the two halves by two loads and two stores that overlap, instead of six-byte copies.
#[inline(always)]
fn swap(addresses: &mut [u8; 12]) {
    let [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5] = *addresses;
    let front = u64::from_le_bytes([d0, d1, d2, d3, d4, d5, s0, s1]);
    let back = u64::from_le_bytes([d4, d5, s0, s1, s2, s3, s4, s5]);
    addresses[..8].copy_from_slice(&(back >> 16 | front << 48).to_le_bytes());
    addresses[8..].copy_from_slice(&((front >> 16) as u32).to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::swap;

    #[test]
    fn source_and_destination_change_places() {
        let mut addresses = *b"DdDdDdSsSsSs";
        addresses[0] = 1;
        addresses[11] = 2;
        swap(&mut addresses);
        assert_eq!(&addresses, b"SsSsS\x02\x01dDdDd");
    }
}
