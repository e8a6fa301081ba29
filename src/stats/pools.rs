//! The report of `--pools auto`.

use std::fmt;

use serde::Serialize;

/// One change of the pools.
#[derive(Clone, Debug, Serialize)]
pub struct PoolChange {
    /// Seconds since the start of the run.
    pub at_s: f64,
    /// Lcores per micropool as A:B.
    pub from: String,
    pub to: String,
    /// Lcores that were in each stage, on average over the last window.
    pub cheap_erlangs: f64,
    pub expensive_erlangs: f64,
}

impl fmt::Display for PoolChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at_s, from, to, cheap_erlangs, expensive_erlangs } = self;
        write!(
            f,
            "{at_s:5.1} s  pools {from} -> {to}: {cheap_erlangs:.2} Erlangs cheap, {expensive_erlangs:.2} expensive"
        )
    }
}
