//! Stamps that packets bring: what clock they are of, how they become ticks of
//! the time stamp counter, and whether to believe them.

mod clock_model;
mod published;
mod trust;

pub use clock_model::{Ages, ClockModel, Conversion, Fit, Reading, Sample, Step, Unit};
pub use published::Published;
pub use trust::{BurstClock, Distrust, PortClock, StampClocks, StampSpan, Stamps, Verdict};
