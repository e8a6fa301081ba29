//! What an lcore does next, as pure decisions over a view of the queues: one
//! file per mode. Carries nothing out, and knows no packets, so that the same
//! code can decide in the datapath and in a simulation.
//!
//! A decision has two parts. `next` sees only what is the lcore's own, and so
//! costs a few instructions per burst. Only when it answers `LookAround` is a
//! `PeersView` made of the other lcores' hints, and `help` asked: an lcore that
//! has work never reads another's cache lines.

mod hybrid;
mod mode;
#[cfg(test)]
mod model;
mod permits;
mod pools;
mod rtc;
mod shed_random;
mod steal;
mod steal_every;
mod view;

pub use hybrid::Hybrid;
pub use mode::{Argument, Mode, ModeFacts, Variant, Who};
pub use permits::{Permit, Permits};
pub use pools::Pools;
pub use rtc::Rtc;
pub use shed_random::ShedRandom;
pub use steal::Steal;
pub use steal_every::StealEvery;
pub use view::{PeerHint, PeersView, View};

/// Which micropool an lcore belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub enum Pool {
    /// Polls queues and runs the cheap stage.
    A,
    /// Runs the expensive stage.
    B,
}

/// The next thing to do. Each is done for one burst, or one packet where it may
/// be expensive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Poll the next receive queue and serve what it has.
    Poll,
    /// Serve a burst of the own run queue.
    Serve,
    /// Run one deferred packet here; under a cap only with a permit.
    Run,
    /// Put the kept packets into the own shard again, as far as it has room
    /// now.
    Shed,
    /// Run one packet of the own inbox.
    Unbox,
    /// Take from the shards and run the expensive stage; under a cap only with
    /// a permit.
    Take,
    /// See what the other lcores have, and ask `help`.
    LookAround,
    /// Nothing of one's own is left.
    Rest,
}

/// What to do for others, or with what others left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Help {
    /// Steal half of that lcore's run queue, and serve a burst of it in the
    /// same step; only the rest goes into the own run queue. A thief that only
    /// moved packets could be robbed of them before it serves, and idle lcores
    /// pass a packet round for ever.
    Steal { victim: usize, why: Why },
    /// If a lease of that lcore's receive queues is free: poll a burst, serve
    /// or shed it, give the lease back.
    TakeOver { victim: usize, why: Why },
    /// Take from the shards, with a permit.
    Take,
    /// Nobody needs anything that this lcore may do.
    Rest,
}

/// Why another lcore's packets are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The thief had nothing to do.
    Idle,
    /// The owner has been in one packet longer than `--rescue-after`.
    Rescue,
}

/// Where the expensive stage of a deferred packet is to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deferral {
    /// On this lcore, before anything that came after it.
    Here,
    /// In the other pool, by way of this lcore's shard.
    Shard,
    /// On the lcore that `Policy::inbox` names, by way of that lcore's inbox.
    Inbox,
}

/// A mode. Chosen once, by monomorphisation; one value per lcore.
pub trait Policy: Send {
    /// Where a deferred packet goes.
    const DEFERRED: Deferral;
    /// Whether run queues are stolen from: what waits has to be where others
    /// can take it, and hinted at.
    const STEALS: bool = false;
    /// Whether lcores are rescued: each publishes when it starts on a packet of
    /// unknown or expensive cost, and gives its leases back until it returns.
    const RESCUES: bool = false;
    /// Whether pool B polls receive queues too, when it has no expensive work.
    const WORKERS_POLL: bool = false;
    /// Whether it looks at `View::done_pkts`.
    const COUNTS: bool = false;
    /// Whether `Step::Run`, `Step::Take` and `Help::Take` need a permit.
    const CAPPED: bool = false;
    /// How many times it polls all its queues in vain before it has found
    /// nothing: more where looking around is dear beside a poll.
    const VAIN_ROUNDS: usize = 1;

    /// The next step of the lcore that sees `view`.
    fn next(&mut self, view: &View) -> Step;

    /// Whether an lcore of `pool` whose last poll brought a burst that left as
    /// a whole, and which holds nothing else, polls again in any case: what
    /// else there is to see then changes nothing.
    #[inline]
    fn polls_on(pool: Pool) -> bool {
        let _ = pool;
        false
    }

    /// Whether an lcore that polls, and has work itself, polls for `peer` too,
    /// whose leases are free. Asked now and then.
    #[inline]
    fn adopts(&self, peer: &PeerHint) -> bool {
        let _ = peer;
        false
    }

    /// What the lcore does that asked to look around. Never names the asking
    /// lcore as victim.
    #[inline]
    fn help(&mut self, peers: &PeersView<'_>) -> Help {
        let _ = peers;
        Help::Rest
    }

    /// The lcore, below `lcores`, whose inbox gets a deferred packet; asked
    /// only where `DEFERRED` is `Deferral::Inbox`. `pkts` tells how many packets
    /// an lcore's inbox holds, the one that is being run included.
    #[inline]
    fn inbox(&mut self, lcores: usize, pkts: impl Fn(usize) -> usize) -> usize {
        let _ = (lcores, pkts);
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_consistent<P: Policy>(mut policy: P) {
        for pool in [Pool::A, Pool::B].into_iter().filter(|&pool| P::polls_on(pool)) {
            assert_eq!(policy.next(&View::empty(pool)), Step::Poll, "{pool:?}");
        }
    }

    #[test]
    fn who_polls_on_would_poll_if_asked() {
        is_consistent(Rtc);
        is_consistent(Steal::new(1));
        is_consistent(Pools);
        is_consistent(Hybrid::new(1, 100));
    }
}
