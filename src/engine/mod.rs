//! Engines. An engine tells the cost class of a packet and processes it; it
//! does not know on which lcore.

mod any;
mod budget;
mod carried;
mod choice;
pub mod dpi;
mod flow;
mod flow_id;
pub mod headers;
mod heavy;
mod io;
pub mod l3;
mod live;
mod mac;
mod macswap;
mod mistake;
mod predict;
mod rewrite;
mod spin;

pub use any::Any;
pub use budget::{Budget, Cutoff};
pub use carried::Carried;
pub use dpi::Dpi;
pub use flow::{FlowBefore, Flows, flow_hash, headers_of, judge_packet};
pub use flow_id::FlowIds;
pub use heavy::Heavy;
pub use io::Io;
pub use l3::L3;
pub use live::{Held, Live};
pub use mac::Mac;
pub use macswap::MacSwap;
pub use mistake::{Mistake, Position};
pub use predict::{Estimate, Predicting, Prediction};
pub use rewrite::{Addresses, Rewrite};
pub use spin::{Marking, Spin, SpinTicks};

use crate::dpdk::clock::TscRate;
use crate::dpdk::{Burst, MAX_PORTS, Mbuf};
use crate::stats::{DropCause, Gaps};

/// The expected cost of a packet before it is processed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The cheap stage is enough.
    Cheap,
    /// It needs the expensive stage.
    Defer,
    /// The cheap stage may turn out to be expensive: it runs with nothing held
    /// privately behind it.
    Unknown,
}

/// The outcome of a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Send it by this port.
    Forward(u16),
    Drop(DropCause),
    /// The packet needs the expensive stage, or has taken too long. The
    /// expensive stage must not return this.
    Defer,
}

impl Verdict {
    /// Whether the packet is to be sent.
    #[inline(always)]
    pub fn forwards(self) -> bool {
        matches!(self, Self::Forward(_))
    }
}

/// A network function of two stages. Each lcore has its own engine, so engines
/// share nothing unless they choose to.
///
/// Your own engine runs in every mode by [`crate::app::main_with`];
/// `examples/arp_guard.rs` is a whole program:
///
/// * `classify` tells the cost class, as far as it is known in advance. It is
///   called for every packet of a burst before any of them is served
/// * `cheap` serves packets where they came in, mostly in bursts
/// * `expensive` serves deferred packets, one by one and in most modes on other
///   lcores: what an engine learns in one stage, the other knows only if they
///   share it
///
/// A stage must not wait, hold a lock for long, allocate per packet, or fail:
/// every outcome is a [`Verdict`].
///
/// # Work that takes long
/// If a packet's cost shows only during the work, `classify` returns
/// [`Class::Unknown`]. The cheap stage then may start a [`Budget`] with
/// [`Cutoff::start`] and ask its [`yield_point`](Budget::yield_point) now and
/// then. Once that is true, it leaves its progress with the packet
/// ([`Cutoff::leave_progress`]) and returns [`Verdict::Defer`]. The packet goes
/// where deferred packets go in this mode, to pool B where there is one, and
/// the expensive stage continues from what [`Cutoff::take_progress`] returns.
pub trait Engine: Send {
    /// Which stage a packet that came in by port `from` needs. Called once per
    /// packet, but again for a packet that waited in a run queue.
    fn classify(&mut self, packet: &Mbuf, from: u16) -> Class;

    /// The cheap stage, for a packet that came in by port `from`. No method may
    /// change a packet's IP addresses and ports: they identify the flow in
    /// which the packet leaves in order.
    fn cheap(&mut self, packet: &mut Mbuf, from: u16) -> Verdict;

    /// The expensive stage, for a packet that came in by port `from`. Continues
    /// where the cheap stage gave up, if it did.
    fn expensive(&mut self, packet: &mut Mbuf, from: u16) -> Verdict;

    /// The expensive stage of packets that came in by port `from`, one after
    /// the other. Writes the outcome of each to `verdicts`, a slice of the same
    /// length. An engine that wraps engines forwards this call, to choose among
    /// them once.
    #[inline]
    fn expensive_all(&mut self, packets: &mut [Mbuf], from: u16, verdicts: &mut [Verdict]) {
        one_by_one(self, packets, from, verdicts);
    }

    /// Called with a whole burst before its packets are classified one by one,
    /// if [`Engine::cheap_burst`] was not called or did not serve it: for work
    /// that is cheaper for many packets at once, such as lookups and
    /// prefetches. Results must be left on the packets, because each may
    /// continue on another lcore. Packets from a run queue are not passed here
    /// again.
    #[inline]
    fn prepare_burst(&mut self, burst: &mut Burst, from: u16) {
        let _ = (burst, from);
    }

    /// Whether all packets of a burst are deferred, where that is known without
    /// looking at each. `false`: classify packet by packet.
    #[inline]
    fn defers_burst(&mut self, burst: &Burst, from: u16) -> bool {
        let _ = (burst, from);
        false
    }

    /// Called repeatedly while the lcore is idle. An engine that uses
    /// replaceable data releases the old value here: the next packet may be far
    /// away.
    #[inline]
    fn rest(&mut self) {}

    /// The time that the host took while this engine worked, as far as it can
    /// tell, since the last call.
    fn host_gaps(&mut self) -> Gaps {
        Gaps::default()
    }

    /// For engines whose verdict about a packet depends on packets before it:
    /// returns an object that looks again at packets that had to wait for
    /// these. Called once per lcore, before the first packet.
    fn turns(&self) -> Option<Box<dyn Turns>> {
        None
    }

    /// Classifies and serves a whole burst of one queue at once, if all of it
    /// is cheap and leaves by one port, which is returned. Packets to drop are
    /// removed from the burst and passed to `dropped`. `None`: nothing was done
    /// but at most the work of [`Engine::prepare_burst`]; continue packet by
    /// packet.
    #[inline]
    fn cheap_burst(
        &mut self,
        burst: &mut Burst,
        from: u16,
        dropped: impl FnMut(Mbuf, DropCause),
    ) -> Option<u16> {
        let _ = (burst, from, dropped);
        None
    }
}

/// Looks at a packet again that waited behind others of its flow.
pub trait Turns: Send {
    /// The packet's turn in its flow has come: all before it have been sent or
    /// dropped, and what their stages found out is known. The packet may still
    /// be changed.
    ///
    /// # Errors
    /// With why it is dropped instead of sent.
    fn still_goes(&mut self, packet: &mut Mbuf) -> Result<(), DropCause>;
}

/// Runs the expensive stage of each packet.
#[inline]
fn one_by_one<E: Engine + ?Sized>(
    engine: &mut E,
    packets: &mut [Mbuf],
    from: u16,
    verdicts: &mut [Verdict],
) {
    packets
        .iter_mut()
        .zip(verdicts)
        .for_each(|(packet, verdict)| *verdict = engine.expensive(packet, from));
}

/// The parameters of an lcore's engine.
#[derive(Clone, Copy, Debug)]
pub struct EngineSetup<'a> {
    /// EAL's number of the lcore.
    pub lcore: u32,
    /// For each port, the one that its packets leave by.
    pub peers: &'a Peers,
    /// Converts between TSC ticks and time.
    pub rate: TscRate,
    /// When work of unknown cost is given up: `--yield-after`.
    pub cutoff: Option<Cutoff>,
}

/// For each port, the one that its packets leave by, and their addresses then.
#[derive(Clone, Debug)]
pub struct Peers {
    /// By incoming port: destination and source address, the first 12 bytes of
    /// the frame.
    headers: [[u8; 12]; MAX_PORTS],
    out: [u16; MAX_PORTS],
}

impl Peers {
    /// No port is joined to another yet.
    pub fn new() -> Self {
        Self { headers: [[0; 12]; MAX_PORTS], out: [u16::MAX; MAX_PORTS] }
    }

    /// Packets that come in by `from` leave by `out`, whose own address is
    /// `own`, towards `peer`.
    pub fn join(&mut self, from: u16, out: u16, peer: [u8; 6], own: [u8; 6]) {
        let header = &mut self.headers[usize::from(from) % MAX_PORTS];
        header[..6].copy_from_slice(&peer);
        header[6..].copy_from_slice(&own);
        self.out[usize::from(from) % MAX_PORTS] = out;
    }

    /// The port by which packets leave that came in by `from`.
    #[inline]
    pub fn out(&self, from: u16) -> u16 {
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
