//! Open-loop load without a NIC: packets that arrive when they are due, whether or not anybody polls. `spec` is what was asked for,
//! `arrivals` says when packets are due, `nic` is the virtual NIC queue that holds them until they are polled, and loses them when it
//! is full. How it gets between a driver and the loop is `dpdk`'s business.

mod arrivals;
mod frame;
mod nic;
mod spec;

pub use arrivals::Arrivals;
pub use nic::{NicQueue, NicStats};
pub use spec::{Rate, Shape, Spec};
