//! Stamps of drivers and NICs: which clock they are of, their conversion to
//! ticks of the time stamp counter, and whether they can be trusted.

mod burst_clock;
mod clock_model;
mod published;
mod reader;
mod trust;

pub use burst_clock::{BurstClock, StampSpan};
pub use clock_model::{Ages, ClockModel, Conversion, Fit, Reading, Sample, Step, Unit};
pub use published::Published;
pub use reader::Stamps;
pub use trust::{Distrust, PortClock, StampClocks, Verdict};
