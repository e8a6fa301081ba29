//! What mpfwd and mplab share: the values of their command lines, the rows of
//! the JSON report, open-loop traffic in virtual time, and how figures look.
//! Knows no DPDK.
#![forbid(unsafe_code)]

pub mod args;
pub mod error;
pub mod generate;
pub mod latency;
pub mod output;
pub mod report;
pub mod text;
pub mod traffic;
pub mod work;
