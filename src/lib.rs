//! mpfwd: a DPDK packet forwarder that keeps tail latency flat when a few
//! packets cost a thousand times more than the rest.
//!
//! The lcores are split into two micropools. Pool A polls the NIC and runs the
//! cheap stage to completion; what is expensive is shed through sharded rings
//! to pool B. Rooms, and which way imports may point:
//!
//! * `cli`, `config`, `error`: arguments, what they mean for this machine, what
//!   can be wrong with them
//! * `dpdk`: safe, owned wrappers; the only room that sees `dpdk_sys`
//! * `runq`, `shed`, `policy`, `stats`: pure; they know no packets
//! * `engine`: what is done to a packet
//! * `order`: keeping the packets of a flow in order; pure too
//! * `datapath`: the lcores' loop, which carries out the policy's decisions on
//!   real queues
//! * `traffic`: open-loop load on a virtual NIC
//! * `output`: files that are written at the end
//! * `app`, `control`: build everything, run it, tear it down; nothing imports
//!   them
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
