//! What is done to a packet. An engine says what a packet costs and does it;
//! where that happens is not its business.

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
pub use flow::{FlowBefore, Flows, flow_hash, headers_of};
pub use flow_id::FlowIds;
pub use heavy::Heavy;
pub use io::Io;
pub use l3::L3;
pub use live::{Held, Live};
pub use mac::Mac;
pub use macswap::MacSwap;
pub use mistake::{Mistake, Place};
pub use predict::{Estimate, Predicting, Prediction};
pub use rewrite::{Addresses, Rewrite};
pub use spin::{Marking, Spin, SpinTicks};

use crate::dpdk::clock::TscRate;
use crate::dpdk::{Burst, MAX_PORTS, Mbuf};
use crate::stats::{DropCause, Gaps};

/// What the engine expects of a packet before it has done anything to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The cheap stage is enough.
    Cheap,
    /// It needs the expensive stage.
    Defer,
    /// The cheap stage may turn out to be expensive: it is run with nothing
    /// held in private behind it.
    Unknown,
}

/// What has become of a packet after a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Send it by this port.
    Forward(u16),
    Drop(DropCause),
    /// Only now it shows that it needs the expensive stage, or it has taken too
    /// long. The expensive stage itself must not say this.
    Defer,
}

impl Verdict {
    /// Whether the packet is to be sent.
    #[inline(always)]
    pub fn forwards(self) -> bool {
        matches!(self, Self::Forward(_))
    }
}

/// A network function of two stages. Each lcore has an engine of its own, so
/// that nothing in it is shared unless it chooses to.
///
/// An engine of one's own runs in every mode by [`crate::app::main_with`];
/// `examples/arp_guard.rs` is a whole program of one:
///
/// * `classify` says what is known in advance. It is asked for every packet of
///   a burst before any of them is served
/// * `cheap` serves the packets where they came in, most often in bursts
/// * `expensive` serves those that were deferred, one by one and in most modes
///   on other lcores: what an engine has learnt in one stage, the other knows
///   only if both share it
///
/// A stage must not wait, lock for long, allocate per packet, or fail: whatever
/// comes of a packet is a [`Verdict`].
///
/// # Work that takes long
/// If it shows only on the way that a packet is expensive, `classify` says
/// [`Class::Unknown`]. Then the cheap stage may start a [`Budget`] by
/// [`Cutoff::start`], ask its [`yield_point`](Budget::yield_point) now and
/// then, and once that is true leave its progress with the packet
/// ([`Cutoff::leave`]) and say [`Verdict::Defer`]. The packet goes to where
/// deferred ones go in this mode, to pool B where there is one, and the
/// expensive stage goes on from what [`Cutoff::resume`] gives it.
pub trait Engine: Send {
    /// Which stage a packet that came in by port `from` needs. Asked once per
    /// packet, but for those that wait in a run queue between.
    fn classify(&mut self, packet: &Mbuf, from: u16) -> Class;

    /// The cheap stage, for a packet that came in by port `from`. It and the
    /// others may change the packet, but not IP addresses and ports: by them
    /// the flow is known in which the packet has to leave in order.
    fn cheap(&mut self, packet: &mut Mbuf, from: u16) -> Verdict;

    /// The expensive stage, for a packet that came in by port `from`. It goes
    /// on where the cheap stage gave up, if that did.
    fn expensive(&mut self, packet: &mut Mbuf, from: u16) -> Verdict;

    /// The expensive stage of packets that came in by port `from`, one after
    /// the other. `verdicts`, which are as many, say what has become of each.
    /// An engine of engines passes this on, to tell them apart once.
    #[inline]
    fn expensive_all(&mut self, packets: &mut [Mbuf], from: u16, verdicts: &mut [Verdict]) {
        one_by_one(self, packets, from, verdicts);
    }

    /// Sees a whole burst before its packets are classified one by one, where
    /// [`Engine::cheap_burst`] was not asked or did not serve it: for what is
    /// cheaper to find out of many packets at once. What is found has to be
    /// left on the packets, because each of them may go on by another lcore;
    /// those that were left over when it was their turn are not seen again.
    #[inline]
    fn look_ahead(&mut self, burst: &mut Burst, from: u16) {
        let _ = (burst, from);
    }

    /// Whether all packets of a burst are to be deferred, where that can be
    /// said without a look at each. `false`: go packet by packet.
    #[inline]
    fn defers_burst(&mut self, burst: &Burst, from: u16) -> bool {
        let _ = (burst, from);
        false
    }

    /// Called again and again while there is nothing to do. An engine that goes
    /// by what others may replace lets go of the old one here: packets may not
    /// come for long.
    #[inline]
    fn rest(&mut self) {}

    /// The time that the host took while this engine worked, since it was asked
    /// last; as far as the engine can tell.
    fn host_gaps(&mut self) -> Gaps {
        Gaps::default()
    }

    /// Classifies and serves a whole burst of one queue at once, if all of it
    /// is cheap and leaves by one port, which is returned; packets to drop are
    /// taken out of the burst and handed to `dropped`. `None`: nothing was done
    /// but at most what [`Engine::look_ahead`] does; go packet by packet.
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

/// What there is to know when an lcore's engine is made.
#[derive(Clone, Copy, Debug)]
pub struct EngineSetup<'a> {
    /// EAL's number of the lcore.
    pub lcore: u32,
    /// For each port the one that its packets leave by.
    pub peers: &'a Peers,
    /// From ticks of the time stamp counter to time and back.
    pub rate: TscRate,
    /// After how long work of unknown cost is to be given up: `--yield-after`.
    pub cutoff: Option<Cutoff>,
}

/// For each port the one that its packets leave by, and the addresses that they
/// leave with.
#[derive(Clone, Debug)]
pub struct Peers {
    /// By incoming port: destination and source address as the first 12 bytes
    /// of the frame.
    headers: [[u8; 12]; MAX_PORTS],
    out: [u16; MAX_PORTS],
}

impl Peers {
    /// No port is joined to another yet.
    pub fn new() -> Self {
        Self { headers: [[0; 12]; MAX_PORTS], out: [u16::MAX; MAX_PORTS] }
    }

    /// What comes in by `from` leaves by `out`, whose own address is `own`,
    /// towards `peer`.
    pub fn join(&mut self, from: u16, out: u16, peer: [u8; 6], own: [u8; 6]) {
        let header = &mut self.headers[usize::from(from) % MAX_PORTS];
        header[..6].copy_from_slice(&peer);
        header[6..].copy_from_slice(&own);
        self.out[usize::from(from) % MAX_PORTS] = out;
    }

    /// The port that packets leave by which came in by `from`.
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
