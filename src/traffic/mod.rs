//! Open-loop traffic on a virtual port: packets arrive when they are due,
//! whether or not an lcore polls. A stall therefore shows as packets that are
//! late or missed, never as packets that were not sent (no coordinated
//! omission).
//!
//! `mpfwd_common::traffic` draws due times, flows and costs; `queue` and
//! `frame` make packets when a receive queue is polled.

mod frame;
mod queue;

pub use frame::Frame;
pub use mpfwd_common::traffic::*;
pub use queue::{QueueCounts, VirtualQueue};
