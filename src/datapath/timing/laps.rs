//! Cycles per step of the loop. Compiled to nothing unless they are metered.

use crate::dpdk::clock::tsc;
use crate::stats::{Lap, StepMeter};

pub(in crate::datapath) struct Laps<'a, const METER: bool> {
    meter: &'a StepMeter,
    last: u64,
}

impl<'a, const METER: bool> Laps<'a, METER> {
    pub(in crate::datapath) fn new(meter: &'a StepMeter) -> Self {
        Self { meter, last: 0 }
    }

    #[inline(always)]
    pub(in crate::datapath) fn start(&mut self) {
        if METER {
            self.last = tsc();
        }
    }

    /// Books the time since the last lap under `lap`.
    #[inline(always)]
    pub(in crate::datapath) fn lap(&mut self, lap: Lap) {
        if METER {
            let now = tsc();
            self.meter.add(lap, now.wrapping_sub(self.last));
            self.last = tsc();
        }
    }

    /// The laps are of so many packets more.
    #[inline(always)]
    pub(in crate::datapath) fn count(&self, pkts: usize) {
        if METER {
            self.meter.add_pkts(pkts as u64);
        }
    }
}
