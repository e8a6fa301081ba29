//! mpfwd: a DPDK packet forwarder that keeps tail latency flat when a few
//! packets cost a thousand times more than the rest.
//!
//! The lcores are split into two micropools. Pool A polls the NIC and runs the
//! cheap stage to completion; it sheds expensive packets through sharded rings
//! to pool B. Rooms, in the direction of imports:
//!
//! * `app`, `control`: set a run up, run it, watch it, report it
//! * `cli`, `config`: the arguments, and the plan that they make
//! * `datapath`: the lcores' loop, which carries out the policy's decisions
//! * `engine`: what is done to a packet
//! * `traffic`: open-loop load on a virtual NIC
//! * `stats`: counters, and the report made of them
//! * `dpdk`: safe, owned wrappers; the only room that imports `dpdk_sys`
//! * `order`, `policy`, `runq`, `shed`: the package `micropools`, which knows no
//!   packets
//!
//! docs/architecture.md describes them.
#![deny(unsafe_code)]

pub mod app;
pub mod cli;
pub mod config;
mod control;
pub mod datapath;
#[allow(unsafe_code)]
pub mod dpdk;
pub mod engine;
pub mod stats;
pub mod traffic;

pub use micropools::{order, policy, runq, shed};
pub use mpfwd_common::error;
