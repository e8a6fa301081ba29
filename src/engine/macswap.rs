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
    fn classify(&mut self, _: &Mbuf) -> Class {
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

/// Swaps the two halves: loads of 8 and 4 bytes, shifts, and stores, instead of six-byte copies.
#[inline(always)]
fn swap(addresses: &mut [u8; 12]) {
    let [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5] = *addresses;
    *addresses = [s0, s1, s2, s3, s4, s5, d0, d1, d2, d3, d4, d5];
}
