//! Models that loom explores: each runs once for every interleaving of its two or
//! three threads with at most [`PREEMPTIONS`] forced switches, and for every value
//! that a relaxed load may return.
//!
//! A limit: loom does not reorder a load behind a later store. No model fails if
//! the owner of a ring overwrites slots without having acquired the claim of the
//! thief that read them.

mod board;
mod flow_table;
mod lease;
mod order;
mod permits;
mod runq;
mod seqlock;
mod shard;
mod split;

use std::sync::atomic::{AtomicU64, Ordering};

/// Two show nearly all bugs of such code; three are still explored within seconds.
const PREEMPTIONS: usize = 3;

/// Explores `model`, and prints how many executions that took.
fn explore(name: &str, model: impl Fn() + Sync + Send + 'static) {
    explore_up_to(PREEMPTIONS, name, model);
}

/// With fewer forced switches, where [`PREEMPTIONS`] take minutes.
fn explore_up_to(preemptions: usize, name: &str, model: impl Fn() + Sync + Send + 'static) {
    let executions = std::sync::Arc::new(AtomicU64::new(0));
    let counted = executions.clone();
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        model();
    });
    println!(
        "{name}: {} executions with up to {preemptions} preemptions",
        executions.load(Ordering::Relaxed)
    );
}
