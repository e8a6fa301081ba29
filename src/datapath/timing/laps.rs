//! Cycles per step of the loop, where they are metered. A loop for each answer
//! would double the program for what is a branch per step.

use crate::dpdk::clock::tsc;
use crate::stats::{Lap, StepMeter};

pub(in crate::datapath) struct Laps<'a> {
    is_metered: bool,
    meter: &'a StepMeter,
    last: u64,
}

impl<'a> Laps<'a> {
    pub(in crate::datapath) fn new(meter: &'a StepMeter, is_metered: bool) -> Self {
        Self { is_metered, meter, last: 0 }
    }

    #[inline(always)]
    pub(in crate::datapath) fn start(&mut self) {
        if self.is_metered {
            self.last = tsc();
        }
    }

    /// Books the time since the last lap under `lap`.
    #[inline(always)]
    pub(in crate::datapath) fn lap(&mut self, lap: Lap) {
        if self.is_metered {
            self.book(lap);
        }
    }

    #[cold]
    fn book(&mut self, lap: Lap) {
        let now = tsc();
        self.meter.add(lap, now.wrapping_sub(self.last));
        self.last = tsc();
    }

    /// The laps are of so many packets more.
    #[inline(always)]
    pub(in crate::datapath) fn count(&self, pkts: usize) {
        if self.is_metered {
            self.meter.add_pkts(pkts as u64);
        }
    }
}
