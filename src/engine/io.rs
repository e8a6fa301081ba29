//! `io`: forwards without looking at the packet.

use super::{Class, Engine, Peers, Verdict};
use crate::dpdk::{Burst, Mbuf};
use crate::stats::DropCause;

#[derive(Clone, Debug)]
pub struct Io {
    peers: Peers,
}

impl Io {
    pub fn new(peers: Peers) -> Self {
        Self { peers }
    }
}

impl Engine for Io {
    #[inline]
    fn classify(&mut self, _: &Mbuf, _: u16) -> Class {
        Class::Cheap
    }

    #[inline]
    fn cheap(&mut self, _: &mut Mbuf, from: u16) -> Verdict {
        Verdict::Forward(self.peers.out(from))
    }

    #[inline]
    fn expensive(&mut self, packet: &mut Mbuf, from: u16) -> Verdict {
        self.cheap(packet, from)
    }

    #[inline]
    fn cheap_burst(
        &mut self,
        _: &mut Burst,
        from: u16,
        _: impl FnMut(Mbuf, DropCause),
    ) -> Option<u16> {
        Some(self.peers.out(from))
    }
}
