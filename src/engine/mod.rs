//! What is done to a packet. An engine says what a packet costs and does it; where that happens is not its business.

mod any;
mod carried;
mod flow;
pub mod headers;
mod io;
pub mod l3;
mod mac;
mod macswap;
mod rewrite;
mod spin;

pub use any::Any;
pub use carried::Carried;
pub use flow::{flow_hash, headers_of};
pub use io::Io;
pub use l3::L3;
pub use mac::Mac;
pub use macswap::MacSwap;
pub use rewrite::{Addresses, Rewrite};
pub use spin::{Marking, Spin, SpinTicks};

use crate::dpdk::{Burst, MAX_PORTS, Mbuf};
use crate::stats::{DropCause, Gaps};

/// What the engine expects of a packet before it has done anything to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The cheap stage is enough.
    Cheap,
    /// It needs the expensive stage.
    Defer,
    /// The cheap stage may turn out to be expensive: it is run with nothing held in private behind it.
    Unknown,
}

/// What has become of a packet after a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Send it by this port.
    Forward(u16),
    Drop(DropCause),
    /// Only now it shows that it needs the expensive stage. The expensive stage itself must not say this.
    Defer,
}

/// A network function of two stages. Each lcore has an engine of its own.
pub trait Engine: Send {
    /// Which stage a packet that came in by port `from` needs. Asked once per packet.
    fn classify(&mut self, packet: &Mbuf, from: u16) -> Class;

    /// The cheap stage, for a packet that came in by port `from`.
    fn cheap(&mut self, packet: &mut Mbuf, from: u16) -> Verdict;

    /// The expensive stage, for a packet that came in by port `from`.
    fn expensive(&mut self, packet: &mut Mbuf, from: u16) -> Verdict;

    /// Sees a whole burst before its packets are classified one by one, where [`Engine::cheap_burst`] was not asked or did not serve it: for
    /// what is cheaper to find out of many packets at once. What is found has to be left on the packets, because each of them may go on
    /// by another lcore; those that were left over when it was their turn are not seen again.
    #[inline]
    fn look_ahead(&mut self, burst: &mut Burst, from: u16) {
        let _ = (burst, from);
    }

    /// The time that the host took while this engine worked, since it was asked last; as far as the engine can tell.
    fn host_gaps(&mut self) -> Gaps {
        Gaps::default()
    }

    /// Classifies and serves a whole burst of one queue at once, if all of it is cheap and leaves by one port, which is
    /// returned; packets to drop are taken out of the burst and handed to `dropped`. `None`: nothing was done but at most what
    /// [`Engine::look_ahead`] does; go packet by packet.
    #[inline]
    fn cheap_burst(&mut self, burst: &mut Burst, from: u16, dropped: impl FnMut(Mbuf, DropCause)) -> Option<u16> {
        let _ = (burst, from, dropped);
        None
    }
}

/// For each port the one that its packets leave by, and the addresses that they leave with.
#[derive(Clone, Debug)]
pub struct Peers {
    /// By incoming port: destination and source address as the first 12 bytes of the frame.
    headers: [[u8; 12]; MAX_PORTS],
    out: [u16; MAX_PORTS],
}

impl Peers {
    /// No port is joined to another yet.
    pub fn new() -> Self {
        Self { headers: [[0; 12]; MAX_PORTS], out: [u16::MAX; MAX_PORTS] }
    }

    /// What comes in by `from` leaves by `out`, whose own address is `own`, towards `peer`.
    pub fn join(&mut self, from: u16, out: u16, peer: [u8; 6], own: [u8; 6]) {
        let header = &mut self.headers[usize::from(from) % MAX_PORTS];
        header[..6].copy_from_slice(&peer);
        header[6..].copy_from_slice(&own);
        self.out[usize::from(from) % MAX_PORTS] = out;
    }

    #[inline]
    fn out(&self, from: u16) -> u16 {
        self.out[usize::from(from) % MAX_PORTS]
    }

    #[inline]
    fn header(&self, from: u16) -> &[u8; 12] {
        &self.headers[usize::from(from) % MAX_PORTS]
    }
}

impl Default for Peers {
    fn default() -> Self {
        Self::new()
    }
}
