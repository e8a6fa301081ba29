//! Engines that only change a frame's MAC addresses: `mac` and `macswap` say
//! how.

use std::marker::PhantomData;

use super::{Class, Engine, Peers, Verdict};
use crate::dpdk::{Burst, Mbuf};
use crate::stats::DropCause;

/// A way of changing a frame's destination and source address, its first 12
/// bytes.
pub trait Addresses: Clone + Send {
    /// `frame`: a whole Ethernet header and the rest of the first segment.
    /// `outgoing`: the addresses of the outgoing port, its peer's and its own.
    fn change(frame: &mut [u8], outgoing: &[u8; 12]);
}

/// Forwards by port, with the addresses changed as `A` does.
#[derive(Clone, Debug)]
pub struct Rewrite<A> {
    peers: Peers,
    addresses: PhantomData<A>,
}

impl<A: Addresses> Rewrite<A> {
    pub fn new(peers: Peers) -> Self {
        Self { peers, addresses: PhantomData }
    }
}

impl<A: Addresses> Engine for Rewrite<A> {
    #[inline]
    fn classify(&mut self, _: &Mbuf, _: u16) -> Class {
        Class::Cheap
    }

    #[inline]
    fn cheap(&mut self, packet: &mut Mbuf, from: u16) -> Verdict {
        match frame(packet) {
            Some(frame) => A::change(frame, self.peers.header(from)),
            None => return Verdict::Drop(DropCause::Runt),
        }
        Verdict::Forward(self.peers.out(from))
    }

    #[inline]
    fn expensive(&mut self, packet: &mut Mbuf, from: u16) -> Verdict {
        self.cheap(packet, from)
    }

    #[inline]
    fn cheap_burst(
        &mut self,
        burst: &mut Burst,
        from: u16,
        dropped: impl FnMut(Mbuf, DropCause),
    ) -> Option<u16> {
        let outgoing = *self.peers.header(from);
        rewrite_burst(burst, |frame| A::change(frame, &outgoing), dropped);
        Some(self.peers.out(from))
    }
}

/// Bytes of an Ethernet header.
const ETHERNET_HEADER: usize = 14;

/// Changes the addresses of every frame of a burst, and drops those without an
/// Ethernet header. Does not prefetch: the few instructions per packet are
/// independent of the other packets', so the CPU overlaps a burst's misses by
/// itself.
#[inline(always)]
fn rewrite_burst(
    burst: &mut Burst,
    mut rewrite: impl FnMut(&mut [u8]),
    mut dropped: impl FnMut(Mbuf, DropCause),
) {
    let mut runts = 0;
    for packet in burst.packets_mut() {
        match frame(packet) {
            Some(frame) => rewrite(frame),
            None => runts += 1,
        }
    }
    if runts > 0 {
        burst.retain(
            |packet| usize::from(packet.data_len()) >= ETHERNET_HEADER,
            |packet| dropped(packet, DropCause::Runt),
        );
    }
}

/// The first segment, if it holds the whole Ethernet header.
#[inline(always)]
fn frame(packet: &mut Mbuf) -> Option<&mut [u8]> {
    Some(packet.data_mut()).filter(|data| data.len() >= ETHERNET_HEADER)
}
