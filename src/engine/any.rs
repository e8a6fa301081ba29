//! Any of the forwarding engines, told apart per packet: for work that costs so much that this is nothing beside it. It spares the
//! loop from being compiled for each of them once more.

use super::{Class, Engine, Io, L3, Mac, MacSwap, Verdict};
use crate::dpdk::{Burst, Mbuf};
use crate::stats::DropCause;

#[derive(Clone, Debug)]
pub enum Any {
    Io(Io),
    Mac(Mac),
    MacSwap(MacSwap),
    L3(L3),
}

/// The same call on whichever it is.
macro_rules! any {
    ($this:expr, $engine:ident => $call:expr) => {
        match $this {
            Self::Io($engine) => $call,
            Self::Mac($engine) => $call,
            Self::MacSwap($engine) => $call,
            Self::L3($engine) => $call,
        }
    };
}

impl Engine for Any {
    #[inline]
    fn classify(&mut self, packet: &Mbuf, from: u16) -> Class {
        any!(self, engine => engine.classify(packet, from))
    }

    #[inline]
    fn cheap(&mut self, packet: &mut Mbuf, from: u16) -> Verdict {
        any!(self, engine => engine.cheap(packet, from))
    }

    #[inline]
    fn expensive(&mut self, packet: &mut Mbuf, from: u16) -> Verdict {
        any!(self, engine => engine.expensive(packet, from))
    }

    #[inline]
    fn look_ahead(&mut self, burst: &mut Burst, from: u16) {
        any!(self, engine => engine.look_ahead(burst, from))
    }

    #[inline]
    fn cheap_burst(&mut self, burst: &mut Burst, from: u16, dropped: impl FnMut(Mbuf, DropCause)) -> Option<u16> {
        any!(self, engine => engine.cheap_burst(burst, from, dropped))
    }
}
