//! How a stage that takes long is given up half-way, to go on in pool B.

use crate::dpdk::clock::tsc;
use crate::dpdk::{Mbuf, NoteField};
use mpfwd_common::error::Result;

/// How long a stage of unknown cost may hold an lcore: past that it leaves its
/// progress with the packet, and says [`Verdict::Defer`]. The expensive stage
/// then takes the progress, and goes on from there.
///
/// To give work up after a while because most of it is short is called *task
/// assignment by guessing size* (Harchol-Balter, JACM 49(2), 2002), and the
/// time the *cutoff*; there the work starts anew.
///
/// [`Verdict::Defer`]: super::Verdict::Defer
#[derive(Clone, Copy, Debug)]
pub struct Cutoff {
    ticks: u64,
    note: NoteField,
}

impl Cutoff {
    /// After `ticks` of the time stamp counter.
    ///
    /// # Errors
    /// When mbufs have no room for progress.
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

    /// Leaves with the packet how far its stage has come.
    #[inline]
    pub fn leave(self, packet: &mut Mbuf, progress: u32) {
        self.note.write(packet, progress);
    }

    /// What was left with the packet, if its stage was given up; once.
    #[inline]
    pub fn resume(self, packet: &mut Mbuf) -> Option<u32> {
        self.note.take(packet)
    }

    /// Whether the packet's stage was given up.
    #[inline]
    pub fn is_resumed(self, packet: &Mbuf) -> bool {
        self.note.is_on(packet)
    }
}

/// What a stage has left of its time.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    until_ticks: u64,
}

impl Budget {
    /// To be called now and then: whether the time is over, and the stage
    /// should leave its progress and say `Defer`. Costs one reading of the time
    /// stamp counter.
    #[inline]
    pub fn yield_point(&self) -> bool {
        tsc().wrapping_sub(self.until_ticks) as i64 >= 0
    }
}
