#![doc = include_str!("../README.md")]
#![deny(unsafe_code)]
#![warn(missing_docs)]

pub mod attention;
pub mod board;
pub mod flow_table;
pub mod heartbeat;
pub mod lease;
pub mod order;
pub mod pace;
pub mod policy;
#[allow(unsafe_code)]
pub mod runq;
pub mod seqlock;
pub mod shed;
#[cfg(all(not(loom), any(test, feature = "sim")))]
pub mod sim;
mod sync;

#[cfg(all(test, loom))]
#[allow(unsafe_code)]
mod models;

pub use sync::{Line, change};

/// How property tests run: under Miri, which is slow and has no file system, with
/// few cases and without the memory of failed ones.
#[cfg(all(test, not(loom)))]
fn cases() -> proptest::test_runner::Config {
    let config = proptest::test_runner::Config::default();
    if cfg!(miri) {
        proptest::test_runner::Config { cases: 2, failure_persistence: None, ..config }
    } else {
        config
    }
}
