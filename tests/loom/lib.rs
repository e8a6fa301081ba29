//! `src/runq` in a package without DPDK, for checkers that need all code to be theirs:
//!
//! * `./dev test` runs the models below under loom: all interleavings and all outcomes of relaxed memory up to a bound
//! * `cargo +nightly miri test -p mpfwd-loom` runs the room's own tests under Miri
//! * `RUSTFLAGS="--cfg tsan -Zsanitizer=thread …"` runs them under ThreadSanitizer (docs/checks.md has the whole line)
//!
//! Without one of these the package is empty: the same tests then run as part of mpfwd.

#[cfg(any(loom, miri, tsan))]
#[path = "../../src/runq/mod.rs"]
pub mod runq;

#[cfg(all(test, loom))]
mod models;
