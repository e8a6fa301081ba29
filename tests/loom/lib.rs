//! `src/runq`, `src/order`, the table of flows, and what `src/stats` has of
//! seqlocks, in a package without DPDK, for checkers that need all code to be
//! theirs:
//!
//! * `./dev test` runs the models below under loom: all interleavings and all
//!   outcomes of relaxed memory up to a bound
//! * `cargo +nightly miri test -p mpfwd-loom` runs the room's own tests under
//!   Miri, smaller: about a minute
//! * `RUSTFLAGS="--cfg tsan -Zsanitizer=thread" cargo +nightly test -p
//!   mpfwd-loom -Zbuild-std --target x86_64-unknown-linux-gnu --target-dir
//!   target/tsan stress` runs the stress tests under ThreadSanitizer; both want
//!   nightly's component rust-src
//!
//! Without one of these the package is empty: the same tests then run as part
//! of mpfwd.

#[cfg(any(loom, miri, tsan))]
#[path = "../../src/runq/mod.rs"]
pub mod runq;

#[cfg(loom)]
#[path = "../../src/order/mod.rs"]
pub mod order;

#[cfg(loom)]
#[path = "../../src/engine/flow_table/mod.rs"]
pub mod flow_table;
#[cfg(loom)]
#[path = "../../src/stats/stamps/mod.rs"]
pub mod stamps;

#[cfg(all(test, loom))]
mod flows;
#[cfg(all(test, loom))]
mod models;
#[cfg(all(test, loom))]
mod order_models;
#[cfg(all(test, loom))]
mod published;
#[cfg(all(test, loom))]
mod shard;
