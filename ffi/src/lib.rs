//! Raw bindings to the part of DPDK that mpfwd calls.
//!
//! Contains bindgen's output for exact allow-lists and shims of DPDK's inline
//! functions; decides nothing. API differences between DPDK versions end in
//! this package. Safe, owned wrappers are in mpfwd's `dpdk` module.
#![allow(non_camel_case_types, non_upper_case_globals, non_snake_case)]

#[allow(clippy::all, unsafe_op_in_unsafe_fn)]
mod bindings {
    include!(concat!(env!("OUT_DIR"), "/bindings.rs"));
}

pub use bindings::*;
