#![doc = include_str!("../README.md")]
#![deny(unsafe_code)]

pub mod board;
pub mod flow_table;
pub mod heartbeat;
pub mod lease;
pub mod order;
pub mod policy;
#[allow(unsafe_code)]
pub mod runq;
pub mod seqlock;
pub mod shed;
mod sync;

#[cfg(all(test, loom))]
#[allow(unsafe_code)]
mod models;

pub use sync::Line;
