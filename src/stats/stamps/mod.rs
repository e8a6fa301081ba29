//! Stamps of drivers and NICs: which clock they are of, their conversion to
//! ticks of the time stamp counter, and whether they can be trusted.

mod clock_model;
mod published;
mod trust;

pub use clock_model::{Ages, ClockModel, Conversion, Fit, Reading, Sample, Step, Unit};
pub use published::Published;
pub use trust::{BurstClock, Distrust, PortClock, StampClocks, StampSpan, Stamps, Verdict};
