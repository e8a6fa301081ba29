//! Cycles of the loop by step. Only the loop for `--record-core-cycles` contains
//! this code.

use super::Counter;

/// The steps of the loop.
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

/// Cycles by step, of bursts with packets. One writer.
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

    /// How often the step was measured. Each time includes one reading of the
    /// clock.
    pub fn laps(&self, lap: Lap) -> u64 {
        self.laps[lap as usize].get()
    }

    pub fn pkts(&self) -> u64 {
        self.pkts.get()
    }
}
