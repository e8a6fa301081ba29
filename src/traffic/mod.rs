//! Open-loop traffic on a virtual port: packets arrive when they are due,
//! whether or not anybody polls. A stall therefore shows as packets that are
//! late or missed, never as packets that were not sent (no coordinated
//! omission).
//!
//! `spec` reads what is asked for. `arrivals`, `costs`, `skew` and `generator`
//! draw it, and `ring` holds what is due: they know neither packets nor clocks,
//! and are tested in virtual time. `queue` and `frame` make packets of it when
//! a receive queue is polled.

mod arrivals;
mod costs;
mod draws;
mod frame;
mod generator;
mod queue;
mod ring;
mod skew;
mod spec;
#[cfg(test)]
mod theory;

pub use arrivals::Arrivals;
pub use costs::{CostKeys, Costs, Service, read_trace};
pub use frame::{FRAME_MAX_BYTES, FRAME_MIN_BYTES, Frame};
pub use generator::{Due, Generator, Stream};
pub use queue::{QueueCounts, VirtualQueue};
pub use ring::{CATCH_UP_PKTS, VirtualRing};
pub use skew::Skew;
pub use spec::{Demand, OpenLoop};

/// What a packet costs, and whether that makes it expensive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    pub ticks: u64,
    pub expensive: bool,
}

/// Generators of random numbers that do not depend on each other: one per seed,
/// queue and purpose.
fn random(seed: u64, queue: usize, purpose: u64) -> rand::rngs::SmallRng {
    let mut bytes = [0; 24];
    for (to, word) in bytes.chunks_exact_mut(8).zip([seed, queue as u64, purpose]) {
        to.copy_from_slice(&word.to_le_bytes());
    }
    rand::SeedableRng::seed_from_u64(xxhash_rust::xxh3::xxh3_64(&bytes))
}
