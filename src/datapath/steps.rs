//! Chooses the lcore's next step: the policy, and the lcore's own state that it
//! reads.

use super::board::Board;
use super::setup::{Settings, Shared};
use crate::cli::Idle;
use crate::policy::{
    Deferral, Help, PeerHint, PeersView, Permit, Permits, Policy, Pool, Split, Step, View,
};

pub(super) struct Steps<'a, P> {
    me: usize,
    lcores: usize,
    /// The pool of the present step.
    pool: Pool,
    /// Which pool is the lcore's from its next step on.
    split: &'a Split,
    /// Where the lcore shows its pool.
    board: &'a Board,
    policy: P,
    permits: &'a Permits,
    idle: Idle,
    /// Polls in vain, or looks at the shards, since the last one that found
    /// something or the last look around.
    empty_polls: usize,
    /// It wanted a permit and got none.
    refused: bool,
}

/// The packets that the lcore holds or may get, as far as the policy looks at
/// them.
pub(super) struct Held {
    pub run_queue_pkts: usize,
    pub kept_pkts: usize,
    pub inbox_pkts: usize,
    pub done_pkts: u64,
}

impl<'a> Steps<'a, ()> {
    pub(super) fn new(me: usize, settings: &Settings, shared: Shared<'a>) -> Self {
        Self {
            me,
            lcores: shared.boards.len(),
            pool: shared.boards[me].pool(),
            split: shared.split,
            board: &shared.boards[me],
            policy: (),
            permits: shared.permits,
            idle: settings.idle,
            empty_polls: 0,
            refused: false,
        }
    }
}

impl<'a, P> Steps<'a, P> {
    /// The same, by another policy.
    pub(super) fn by<Q>(self, policy: Q) -> Steps<'a, Q> {
        let Self { me, lcores, pool, split, board, permits, idle, .. } = self;
        let (empty_polls, refused) = (0, false);
        Steps { me, lcores, pool, split, board, policy, permits, idle, empty_polls, refused }
    }
}

impl<'a, P: Policy> Steps<'a, P> {
    /// Is in the pool that is its own now, where the mode has pools.
    #[cold]
    pub(super) fn follow(&mut self) {
        let has_pools = P::DEFERRED == Deferral::Shard;
        self.pool = if has_pools { self.split.pool_of(self.me) } else { Pool::A };
        self.board.show_pool(self.pool);
    }

    /// The pool of the next step. Between two steps only: the lcore holds no
    /// permit of the pool that it may leave.
    #[inline(always)]
    pub(super) fn pool(&mut self) -> Pool {
        if P::WORKERS_POLL && self.split.pool_of(self.me) != self.pool {
            self.move_over();
        }
        self.pool
    }

    #[cold]
    fn move_over(&mut self) {
        self.pool = self.split.pool_of(self.me);
        self.board.show_pool(self.pool);
    }

    #[inline(always)]
    pub(super) fn policy(&mut self) -> &mut P {
        &mut self.policy
    }

    /// The next step of an lcore that polls so many queues.
    #[inline(always)]
    pub(super) fn next(
        &mut self,
        held: Held,
        queues: usize,
        shards_nonempty: bool,
        draining: bool,
    ) -> Step {
        let Held { run_queue_pkts, kept_pkts, inbox_pkts, done_pkts } = held;
        self.policy.next(&View {
            pool: self.pool,
            run_queue_pkts,
            kept_pkts,
            shards_nonempty,
            inbox_pkts,
            done_pkts,
            found_nothing: self.empty_polls >= P::EMPTY_ROUNDS * queues,
            permit_refused: self.refused,
            draining,
        })
    }

    /// Chooses the help for other lcores, some of which show these hints.
    pub(super) fn help(
        &mut self,
        peers: &[PeerHint],
        wary: bool,
        shards_nonempty: bool,
        draining: bool,
    ) -> Help {
        let help = self.policy.help(&PeersView {
            me: self.me,
            lcores: self.lcores,
            pool: self.pool,
            draining,
            permit_refused: self.refused,
            wary,
            shards_nonempty,
            permit_available: self.permits.is_available(self.pool),
            peers,
        });
        (self.empty_polls, self.refused) = (0, false);
        help
    }

    /// Whether to poll for this lcore although there is own work.
    pub(super) fn adopts(&self, peer: &PeerHint) -> bool {
        self.policy.adopts(peer)
    }

    /// The right to do expensive work, which is none where the mode sets no
    /// cap. `None`, which is noted, where too many lcores have it.
    #[inline]
    pub(super) fn permit(&mut self) -> Option<Option<Permit<'a>>> {
        if !P::CAPPED {
            return Some(None);
        }
        let permit = self.permits.try_acquire(self.pool);
        self.refused = permit.is_none();
        permit.map(Some)
    }

    #[inline(always)]
    pub(super) fn forget_refusal(&mut self) {
        if P::CAPPED {
            self.refused = false;
        }
    }

    #[inline(always)]
    pub(super) fn found_something(&mut self) {
        self.empty_polls = 0;
    }

    #[inline]
    pub(super) fn found_nothing(&mut self) {
        self.empty_polls += 1;
    }

    /// Leaves the CPU alone for a moment.
    #[inline]
    pub(super) fn rest(&self) {
        match self.idle {
            Idle::Spin => {}
            Idle::Pause => std::hint::spin_loop(),
            Idle::Yield => std::thread::yield_now(),
        }
    }
}
