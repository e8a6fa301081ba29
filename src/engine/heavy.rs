//! Any of the engines whose packets may cost much, told apart per packet: beside that work it is nothing, and it spares the loop from being
//! compiled for each of them once more.

use super::{Any, Carried, Class, Dpi, Engine, Spin, Verdict};
use crate::dpdk::{Burst, Mbuf};
use crate::stats::{DropCause, Gaps};

pub enum Heavy {
    Spin(Spin<Any>),
    Carried(Carried<Any>),
    Dpi(Dpi),
}

/// The same call on whichever it is.
macro_rules! heavy {
    ($this:expr, $engine:ident => $call:expr) => {
        match $this {
            Self::Spin($engine) => $call,
            Self::Carried($engine) => $call,
            Self::Dpi($engine) => $call,
        }
    };
}

impl Engine for Heavy {
    #[inline]
    fn classify(&mut self, packet: &Mbuf, from: u16) -> Class {
        heavy!(self, engine => engine.classify(packet, from))
    }

    #[inline]
    fn cheap(&mut self, packet: &mut Mbuf, from: u16) -> Verdict {
        heavy!(self, engine => engine.cheap(packet, from))
    }

    #[inline]
    fn expensive(&mut self, packet: &mut Mbuf, from: u16) -> Verdict {
        heavy!(self, engine => engine.expensive(packet, from))
    }

    #[inline]
    fn look_ahead(&mut self, burst: &mut Burst, from: u16) {
        heavy!(self, engine => engine.look_ahead(burst, from))
    }

    fn host_gaps(&mut self) -> Gaps {
        heavy!(self, engine => engine.host_gaps())
    }

    #[inline]
    fn cheap_burst(&mut self, burst: &mut Burst, from: u16, dropped: impl FnMut(Mbuf, DropCause)) -> Option<u16> {
        heavy!(self, engine => engine.cheap_burst(burst, from, dropped))
    }
}
