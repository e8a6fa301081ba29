//! Engines that only change a frame's MAC addresses: `mac` and `macswap` say
//! how.

use std::marker::PhantomData;

use super::{Class, Engine, Peers, Verdict};
use crate::dpdk::{BURST_MAX, Burst, Mbuf};
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
            Ok(frame) => A::change(frame, self.peers.header(from)),
            Err(cause) => return Verdict::Drop(cause),
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

/// Changes the addresses of every frame of a burst, and drops those that have
/// no Ethernet header, or not for themselves. Does not prefetch: the few
/// instructions per packet are independent of the other packets', so the CPU
/// overlaps a burst's misses by itself.
#[inline(always)]
fn rewrite_burst(
    burst: &mut Burst,
    mut rewrite: impl FnMut(&mut [u8]),
    dropped: impl FnMut(Mbuf, DropCause),
) {
    let is_unfit = |packet: &mut Mbuf| frame(packet).map(&mut rewrite).is_err();
    if let Some(first) = burst.packets_mut().iter_mut().position(is_unfit) {
        rewrite_rest(burst, first, rewrite, dropped);
    }
}

/// As `rewrite_burst`, of all packets from `first` on. Looks at each once: a
/// buffer may stop being shared at any moment.
#[cold]
fn rewrite_rest(
    burst: &mut Burst,
    first: usize,
    mut rewrite: impl FnMut(&mut [u8]),
    mut dropped: impl FnMut(Mbuf, DropCause),
) {
    let mut causes = [None; BURST_MAX];
    for (cause, packet) in causes.iter_mut().zip(burst.packets_mut()).skip(first) {
        match frame(packet) {
            Ok(frame) => rewrite(frame),
            Err(why) => *cause = Some(why),
        }
    }
    let mut kept = causes.iter();
    let mut whys = causes.iter().flatten();
    burst.retain(
        |_| kept.next().is_some_and(Option::is_none),
        |packet| dropped(packet, *whys.next().unwrap_or(&DropCause::Runt)),
    );
}

/// The first segment, if it holds the whole Ethernet header.
///
/// # Errors
/// With why its packet is dropped instead.
#[inline(always)]
fn frame(packet: &mut Mbuf) -> Result<&mut [u8], DropCause> {
    let data = packet.data_mut().ok_or(DropCause::SharedBuffer)?;
    if data.len() >= ETHERNET_HEADER { Ok(data) } else { Err(DropCause::Runt) }
}

#[cfg(test)]
mod tests {
    use std::mem::ManuallyDrop;

    use super::*;
    use crate::dpdk::forged::{Sharing, packet, share};
    use crate::engine::macswap::Swap;

    const FRAME: [u8; 16] = *b"dDdDdDsSsSsS..xx";

    #[test]
    fn only_frames_that_nobody_else_has_are_changed() {
        let mut burst = Burst::new();
        let shared = packet(&[&FRAME]);
        share(&shared, 0, Sharing::Mbuf);
        let packets = [packet(&[&FRAME]), shared, packet(&[&FRAME[..13]]), packet(&[&FRAME])];
        packets.into_iter().for_each(|packet| burst.push(ManuallyDrop::into_inner(packet)));
        let mut causes = Vec::new();
        rewrite_burst(
            &mut burst,
            |frame| Swap::change(frame, &[0; 12]),
            |packet, cause| {
                assert_eq!(packet.data(), &FRAME[..packet.data().len()], "{cause:?}: unchanged");
                // It is of no pool, and must not be freed.
                std::mem::forget(packet);
                causes.push(cause);
            },
        );
        assert_eq!(causes, [DropCause::SharedBuffer, DropCause::Runt]);
        assert_eq!(burst.len(), 2);
        for packet in burst.drain().map(ManuallyDrop::new) {
            assert_eq!(packet.data(), b"sSsSsSdDdDdD..xx");
        }
    }
}
