//! `mac`: sets the source address to that of the port it leaves by, and the destination address to that of the port's peer.

use super::{Class, Engine, Peers, Verdict, addresses, rewrite_burst};
use crate::dpdk::{Burst, Mbuf};
use crate::stats::DropCause;

#[derive(Clone, Debug)]
pub struct Mac {
    peers: Peers,
}

impl Mac {
    pub fn new(peers: Peers) -> Self {
        Self { peers }
    }
}

impl Engine for Mac {
    #[inline]
    fn classify(&mut self, _: &Mbuf, _: u16) -> Class {
        Class::Cheap
    }

    #[inline]
    fn cheap(&mut self, packet: &mut Mbuf, from: u16) -> Verdict {
        match addresses(packet) {
            Some(addresses) => *addresses = *self.peers.header(from),
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
        let header = *self.peers.header(from);
        rewrite_burst(burst, |addresses| *addresses = header, dropped);
        Some(self.peers.out(from))
    }
}
