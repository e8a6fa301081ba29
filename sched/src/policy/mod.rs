//! Policies choose an lcore's next step. They are pure functions of a view of
//! the queues: one file per mode. Policies carry nothing out, so the same code
//! decides in a datapath and in a simulation. [`Mode`] has a row of facts about
//! each.
//!
//! A decision has two parts. [`Policy::next`] reads only what is the lcore's
//! own, and costs a few instructions per burst. Only when it answers
//! [`Step::LookAround`] does the caller read the other lcores' hints and ask
//! [`Policy::help`]: an lcore that has work never reads another's cache lines.
//!
//! ```
//! use micropools::policy::{Policy, Pool, Rtc, Step, View};
//!
//! let mut policy = Rtc;
//! let mut view = View::empty(Pool::A);
//! assert_eq!(policy.next(&view), Step::Poll);
//! view.run_queue_pkts = 3;
//! assert_eq!(policy.next(&view), Step::Serve, "the rest of the last burst comes first");
//! ```

mod hybrid;
mod mode;
#[cfg(all(test, not(loom)))]
mod model;
mod permits;
mod pools;
mod rtc;
mod shared;
mod shed_random;
mod sizer;
mod split;
mod steal;
mod steal_every;
mod view;

pub use hybrid::{Excess, HelpAfter, Hybrid};
pub use mode::{Argument, Mode, ModeFacts, Variant, Who};
pub use permits::{Permit, Permits};
pub use pools::Pools;
pub use rtc::Rtc;
pub use shared::Shared;
pub use shed_random::ShedRandom;
pub use sizer::{Erlangs, Sizer};
pub use split::Split;
pub use steal::Steal;
pub use steal_every::StealEvery;
pub use view::{PeerHint, PeersView, View};

/// The micropool that an lcore belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub enum Pool {
    /// Polls queues and runs the cheap stage.
    A,
    /// Runs the expensive stage.
    B,
}

/// The next thing to do, for one burst, or for one packet where that may be
/// expensive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Poll the next receive queue and serve what it has.
    Poll,
    /// Serve a burst of the lcore's run queue.
    Serve,
    /// Run one kept packet here; where the mode is capped, only with a permit.
    Run,
    /// Put the kept packets into the lcore's shard again, as many as have room.
    Shed,
    /// Run one packet of the lcore's inbox.
    Unbox,
    /// Dequeue from the shards and run the expensive stage; where the mode is
    /// capped, only with a permit.
    Dequeue,
    /// Read the other lcores' hints, and ask `help`.
    LookAround,
    /// The lcore has no work of its own.
    Rest,
}

/// Help for others, or work on what they left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Help {
    /// Steal half of that lcore's run queue, and serve a burst of it in the
    /// same step; only the rest goes into the thief's run queue. Thieves that
    /// only moved packets could be robbed of them before they serve any, and
    /// pass them round for ever.
    Steal {
        /// Its place among all lcores.
        victim: usize,
        /// For statistics.
        why: Why,
    },
    /// If a lease of that lcore's receive queues is free: poll a burst, serve
    /// or shed it, release the lease.
    TakeOver {
        /// Its place among all lcores.
        victim: usize,
        /// For statistics.
        why: Why,
    },
    /// Dequeue from the shards, with a permit.
    Dequeue,
    /// No lcore needs anything that this one may do.
    Rest,
}

/// Why an lcore helps another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The helper had nothing to do.
    Idle,
    /// The owner has been in one packet longer than the policy's patience.
    Rescue,
    /// The owner has not run for longer than the policy's patience.
    Stalled,
    /// The owner's receive queues fill faster than it serves them.
    Pressed,
}

/// Where the expensive stage of a deferred packet runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deferral {
    /// On this lcore, before anything that came after the packet.
    Here,
    /// On an lcore that dequeues it from this lcore's shard.
    Shard,
    /// On the lcore that [`Policy::inbox`] names, which dequeues it from its
    /// inbox.
    Inbox,
}

/// A mode's decisions. Chosen once per run, by monomorphisation; one value per
/// lcore.
pub trait Policy: Send {
    /// Where a deferred packet goes.
    const DEFERRED: Deferral;
    /// Run queues are stolen from: an lcore queues the rest of a burst there
    /// before it runs a long stage, and publishes about how much.
    const STEALS: bool = false;
    /// Lcores are rescued: each publishes when it begins a stage of unknown or
    /// expensive cost, and releases its leases until that ends.
    const RESCUES: bool = false;
    /// Whether receive queues are shared burst by burst: an lcore claims a
    /// queue's lease for one poll, and releases it before it serves the burst,
    /// unless that takes next to no time.
    const SHARES: bool = false;
    /// Pool B polls receive queues too while it has no expensive work. So an
    /// lcore can change its pool between two steps.
    const WORKERS_POLL: bool = false;
    /// `next` reads [`View::done_pkts`].
    const COUNTS: bool = false;
    /// [`Step::Run`], [`Step::Dequeue`] and [`Help::Dequeue`] need a permit.
    const CAPPED: bool = false;
    /// Rounds of empty polls after which [`View::found_nothing`] is set: more
    /// where looking around costs much more than a poll.
    const EMPTY_ROUNDS: usize = 1;

    /// The next step of the lcore that sees `view`.
    fn next(&mut self, view: &View) -> Step;

    /// Whether an lcore of `pool` whose last poll brought a burst that left as
    /// a whole, and which holds nothing else, polls again without asking
    /// `next`: whatever else the view shows would not change the answer.
    #[inline]
    fn keeps_polling(pool: Pool) -> bool {
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

    /// How idle lcores share the backlog of one that is pressed, where the mode
    /// `SHARES`.
    #[inline]
    fn excess(&self) -> Excess {
        Excess::Pull
    }

    /// The action of an lcore that looks around. Never names the asking lcore
    /// as victim.
    #[inline]
    fn help(&mut self, peers: &PeersView<'_>) -> Help {
        let _ = peers;
        Help::Rest
    }

    /// The lcore, below `lcores`, whose inbox gets a deferred packet; asked
    /// only where `DEFERRED` is [`Deferral::Inbox`]. `pkts` is the number of
    /// packets that an lcore's inbox holds, the one that it runs included.
    #[inline]
    fn inbox(&mut self, lcores: usize, pkts: impl Fn(usize) -> usize) -> usize {
        let _ = (lcores, pkts);
        0
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn is_consistent<P: Policy>(mut policy: P) {
        for pool in [Pool::A, Pool::B].into_iter().filter(|&pool| P::keeps_polling(pool)) {
            assert_eq!(policy.next(&View::empty(pool)), Step::Poll, "{pool:?}");
        }
    }

    #[test]
    fn who_keeps_polling_would_poll_if_asked() {
        is_consistent(Rtc);
        is_consistent(Steal::<false>::new(1));
        is_consistent(Steal::<true>::new(1));
        is_consistent(Shared::new(1));
        is_consistent(Pools);
        is_consistent(Hybrid::new(
            1,
            HelpAfter { rescue_ticks: 100, stall_ticks: 100, excess: Excess::Pull },
        ));
    }
}
