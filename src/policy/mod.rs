//! What an lcore does next, as pure decisions over a view of the queues: one file per mode. Carries nothing out, and knows no
//! packets, so that the same code can decide in the datapath and in a simulation.

mod pools;
mod rtc;

pub use pools::Pools;
pub use rtc::Rtc;

/// Which micropool an lcore belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub enum Pool {
    /// Polls queues and runs the cheap stage.
    A,
    /// Runs the expensive stage.
    B,
}

/// What an lcore sees when it decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    pub pool: Pool,
    /// The packets that wait in its run queue.
    pub run_queue_pkts: usize,
    /// The deferred packets that it must run itself.
    pub kept_pkts: usize,
    /// The run is to end: receive nothing more, finish what is there.
    pub draining: bool,
}

/// The next thing to do. Each is done for one burst, or one packet where it may be expensive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Poll the next receive queue and serve what it has.
    Poll,
    /// Serve a burst of the own run queue.
    Serve,
    /// Run one deferred packet here.
    Run,
    /// Take from the shards and run the expensive stage.
    Take,
    /// Nothing of one's own is left.
    Rest,
}

/// Where the expensive stage of a deferred packet is to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// On this lcore, before anything that came after it.
    Here,
    /// In the other pool, by way of this lcore's shard.
    Shed,
}

/// A mode. Chosen once, by monomorphisation.
pub trait Policy: Send {
    /// Where a deferred packet goes.
    const DEFERRED: Place;

    /// The next step of the lcore that sees `view`.
    fn next(&mut self, view: &View) -> Step;
}
