//! Open-loop traffic in virtual time: due time, queue, flow and cost of each
//! packet. The same seeds make the same packets.
//!
//! `spec` parses the parameters. `arrivals`, `costs`, `skew` and `generator`
//! draw packets, and `ring` holds those that are due.

mod arrivals;
mod costs;
mod draws;
mod generator;
mod ring;
mod skew;
mod spec;
#[cfg(test)]
mod theory;

pub use arrivals::Arrivals;
pub use costs::{CostKeys, Costs, Service, mean_ns, read_trace};
pub use generator::{Due, Generator, Stream};
pub use ring::{CATCH_UP_PKTS, VirtualRing};
pub use skew::Skew;
pub use spec::{Demand, FRAME_MAX_BYTES, FRAME_MIN_BYTES, OpenLoop};

/// A packet's cost, and whether the packet is expensive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    pub ticks: u64,
    pub expensive: bool,
}

/// An independent random number generator per seed, queue and purpose.
fn random(seed: u64, queue: usize, purpose: u64) -> rand::rngs::SmallRng {
    let mut bytes = [0; 24];
    for (to, word) in bytes.chunks_exact_mut(8).zip([seed, queue as u64, purpose]) {
        to.copy_from_slice(&word.to_le_bytes());
    }
    rand::SeedableRng::seed_from_u64(xxhash_rust::xxh3::xxh3_64(&bytes))
}
