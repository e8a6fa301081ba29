//! Shared by mpfwd, mplab and mpctl: command-line values, rows of the JSON
//! report, open-loop traffic in virtual time, and the format of figures. Links no
//! DPDK.
#![forbid(unsafe_code)]

pub mod api;
pub mod args;
pub mod error;
pub mod generate;
pub mod incidents;
pub mod latency;
pub mod output;
pub mod report;
pub mod text;
pub mod traffic;
pub mod work;
