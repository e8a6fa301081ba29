//! Giving up a long stage half-way, so that it continues in pool B.

use crate::dpdk::clock::tsc;
use crate::dpdk::{Mbuf, NoteField};
use mpfwd_common::error::Result;

/// How long a stage of unknown cost may hold an lcore. Past that, the stage
/// leaves its progress with the packet and returns [`Verdict::Defer`]; the
/// expensive stage takes the progress and continues from there.
///
/// Giving work up after a time because most of it is short is *task assignment
/// by guessing size* (Harchol-Balter, JACM 49(2), 2002), and the time is the
/// *cutoff*. There the work starts anew.
///
/// [`Verdict::Defer`]: super::Verdict::Defer
#[derive(Clone, Copy, Debug)]
pub struct Cutoff {
    ticks: u64,
    note: NoteField,
}

impl Cutoff {
    /// A cutoff of `ticks` of the TSC.
    ///
    /// # Errors
    /// When mbufs have no room for the progress.
    pub fn register(ticks: u64) -> Result<Self> {
        Ok(Self { ticks, note: NoteField::register_progress()? })
    }

    pub fn ticks(self) -> u64 {
        self.ticks
    }

    /// The budget of a stage that starts now.
    #[inline]
    pub fn start(self) -> Budget {
        Budget { until_ticks: tsc().wrapping_add(self.ticks) }
    }

    /// Leaves the progress of its stage with the packet.
    #[inline]
    pub fn leave_progress(self, packet: &mut Mbuf, progress: u32) {
        self.note.write(packet, progress);
    }

    /// Takes the progress off the packet, if its stage was given up.
    #[inline]
    pub fn take_progress(self, packet: &mut Mbuf) -> Option<u32> {
        self.note.take(packet)
    }

    /// Whether the packet's stage was given up.
    #[inline]
    pub fn has_progress(self, packet: &Mbuf) -> bool {
        self.note.is_on(packet)
    }
}

/// The time that a stage has left.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    until_ticks: u64,
}

impl Budget {
    /// Whether the time is over: the stage should leave its progress and return
    /// `Defer`. To be called now and then; costs one TSC read.
    #[inline]
    pub fn yield_point(&self) -> bool {
        tsc().wrapping_sub(self.until_ticks) as i64 >= 0
    }
}
