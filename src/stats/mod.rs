//! Counters that one lcore writes and others read, latency histograms, and the report made of them.

mod counters;
mod cycles;
mod histogram;
mod rank;
mod report;

pub use counters::{Counter, DropCause, LcoreStats, PortQueue};
pub use cycles::{Lap, StepMeter};
pub use histogram::Histogram;
pub use rank::RankCounts;
pub use report::{DeviceStats, Latency, LatencyRow, LcoreRow, PortRow, QueueRow, Report, StepCycles};
