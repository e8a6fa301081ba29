//! Where the loop's cycles go, added up per step. The loop is compiled without
//! this unless it is asked for.

use super::Counter;

/// The parts of the loop that are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lap {
    Rx,
    Classify,
    Engine,
    Tx,
    Statistics,
}

impl Lap {
    pub const ALL: [Self; 5] = [Self::Rx, Self::Classify, Self::Engine, Self::Tx, Self::Statistics];
}

/// Cycles by step, of bursts that held packets. One writer.
#[derive(Debug, Default)]
pub struct StepMeter {
    ticks: [Counter; 5],
    laps: [Counter; 5],
    pkts: Counter,
}

impl StepMeter {
    #[inline]
    pub fn add(&self, lap: Lap, ticks: u64) {
        self.ticks[lap as usize].add(ticks);
        self.laps[lap as usize].add(1);
    }

    #[inline]
    pub fn add_pkts(&self, pkts: u64) {
        self.pkts.add(pkts);
    }

    pub fn ticks(&self, lap: Lap) -> u64 {
        self.ticks[lap as usize].get()
    }

    /// How often the step was measured: each time costs two readings of the
    /// clock.
    pub fn laps(&self, lap: Lap) -> u64 {
        self.laps[lap as usize].get()
    }

    pub fn pkts(&self) -> u64 {
        self.pkts.get()
    }
}
