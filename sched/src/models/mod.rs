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

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Two show nearly all bugs of such code; three are still explored within seconds.
const PREEMPTIONS: usize = 3;

/// Where the main thread waits first, there are far more interleavings.
const PREEMPTIONS_OTHERS_FIRST: usize = 1;

/// Whether the main thread of a model lets the others run first.
static OTHERS_FIRST: AtomicBool = AtomicBool::new(false);

/// Lets the other threads of a model begin, in half of the explorations. Its main
/// thread calls this before it acts.
///
/// loom reverses two accesses only if no other access to the same atomic lies
/// between. A thread that loads what it then stores hides that another has loaded
/// it before: the store never comes first. The other way round it does, so each
/// model is explored with either side first.
fn let_others_begin() {
    if OTHERS_FIRST.load(Ordering::Relaxed) {
        loom::thread::yield_now();
    }
}

/// Explores `model`, and prints how many executions that took.
fn explore(name: &str, model: impl Fn() + Sync + Send + 'static) {
    explore_up_to(PREEMPTIONS, name, model);
}

/// With fewer forced switches, where [`PREEMPTIONS`] take minutes.
fn explore_up_to(preemptions: usize, name: &str, model: impl Fn() + Sync + Send + 'static) {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let model = Arc::new(model);
    for (others_first, bound) in [(false, preemptions), (true, PREEMPTIONS_OTHERS_FIRST)] {
        OTHERS_FIRST.store(others_first, Ordering::Relaxed);
        let executions = Arc::new(AtomicU64::new(0));
        let (counted, model) = (executions.clone(), model.clone());
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(bound);
        builder.check(move || {
            counted.fetch_add(1, Ordering::Relaxed);
            model();
        });
        let first = if others_first { "the others" } else { "main" };
        println!(
            "{name}, {first} first: {} executions with up to {bound} preemptions",
            executions.load(Ordering::Relaxed)
        );
    }
}
