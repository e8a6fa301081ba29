//! One lcore's loop: asks the policy for the next step, and has it carried out.
//! Own and others' receive queues are polled here; `runner` does the rest.

use super::orders::Order;
use super::run_state::Call;
use super::runner::Runner;
use super::setup::{Queues, Settings, Shared};
use crate::engine::Engine;
use crate::policy::{Help, Policy, Step, Why};
use crate::stats::LcoreStats;
use micropools::attention::Adoption;

/// How many times an lcore rests that has no queues to poll and nobody to help.
/// With `--idle pause` half a microsecond at most.
const RESTS_WITHOUT_QUEUES: usize = 8;

/// The loop of one lcore. It is aligned to a page, so that the stack below it
/// starts at a page border, wherever the kernel has put the thread's stack. A
/// load waits for an earlier store whose address has the same last 12 bits. In
/// one of thirty positions drivers save registers a multiple of 4 KiB from what
/// they read for each packet, and forwarding is slower by an eighth. Without
/// the alignment chance decides that for the life of the process.
#[repr(align(4096))]
pub struct LcoreLoop<'a, E, P> {
    runner: Runner<'a, E, P>,
    adoption: Adoption,
    shared: Shared<'a>,
    /// Control's call that it has answered last.
    answered: Call,
    /// The last call that it has seen, and acted on once.
    seen: Call,
    /// The order that it follows.
    order: Order,
    me: usize,
    adopt_every_ticks: u64,
}

/// An lcore between two modes.
pub struct Parked<'a, E> {
    me: usize,
    runner: Runner<'a, E, ()>,
    shared: Shared<'a>,
    adopt_every_ticks: u64,
}

impl<'a, E: Engine> Parked<'a, E> {
    /// The lcore whose board is the one at `me`.
    pub fn new(
        me: usize,
        engine: E,
        settings: Settings,
        shared: Shared<'a>,
        queues: Queues,
        stats: &'a LcoreStats,
    ) -> Self {
        shared.incidents.run_delays()[me].begin();
        let adopt_every_ticks = settings.adopt_every_ticks;
        let runner = Runner::new(me, engine, settings, shared, queues, stats);
        Self { me, runner, shared, adopt_every_ticks }
    }

    /// The loop of the order's mode, whose policy that is.
    pub fn enter<P: Policy>(self, policy: P, order: Order) -> LcoreLoop<'a, E, P> {
        let Self { me, runner, shared, adopt_every_ticks } = self;
        let mut runner = runner.enter(policy, order);
        let (own, others) = (runner.poller().own(), runner.poller().others());
        let every_ticks = if P::RESCUES && others > 0 { adopt_every_ticks } else { u64::MAX };
        LcoreLoop {
            runner,
            adoption: Adoption::new(me, shared.boards.len(), own, every_ticks),
            shared,
            answered: Call::default(),
            seen: Call::default(),
            order,
            me,
            adopt_every_ticks,
        }
    }
}

impl<'a, E: Engine, P: Policy> LcoreLoop<'a, E, P> {
    /// Runs until the run ends and nothing is left to do, or control has ordered
    /// something else: then the lcore enters the next loop.
    pub fn run(mut self) -> Option<Parked<'a, E>> {
        if self.run_to_end() {
            self.runner.wind_up();
            return None;
        }
        Some(self.leave())
    }

    /// Returns whether the run has ended. Never inlined: its frame begins at the
    /// page border below the loop.
    #[inline(never)]
    fn run_to_end(&mut self) -> bool {
        loop {
            if self.shared.run.calls(self.answered) && self.answer() {
                return false;
            }
            let draining = self.shared.run.is_draining();
            if draining && self.is_done() {
                return true;
            }
            match self.runner.next_step(draining) {
                Step::Poll => {
                    while self.poll()
                        && P::keeps_polling(self.runner.pool())
                        && !self.shared.run.calls(self.answered)
                    {}
                }
                Step::Serve => self.runner.serve_run_queue(),
                Step::Run => self.runner.run_kept(),
                Step::Shed => self.runner.shed_kept(),
                Step::Unbox => self.runner.unbox(),
                Step::Dequeue => self.runner.work(),
                Step::LookAround => self.look_around(),
                Step::Rest => self.runner.rest(),
            }
            if self.runner.has_backlog() {
                self.runner.offer_backlog();
            }
        }
    }

    /// Control has called: ports may be lost, somebody watches, or it has
    /// ordered something. Returns whether this loop is over. While the last mode
    /// has left something, the call counts as not answered, and this is asked
    /// again after each step.
    #[cold]
    fn answer(&mut self) -> bool {
        let call = self.shared.run.answer();
        if call != self.seen {
            self.seen = call;
            self.runner.answer();
            if !self.shared.orders.is_last(self.order.version) {
                return true;
            }
        }
        if self.runner.settle(self.order) {
            self.answered = call;
        }
        false
    }

    #[cold]
    fn leave(self) -> Parked<'a, E> {
        let Self { runner, shared, me, adopt_every_ticks, .. } = self;
        Parked { me, runner: runner.leave(), shared, adopt_every_ticks }
    }

    /// Asked only while draining.
    #[cold]
    fn is_done(&mut self) -> bool {
        let is_settled = !self.shared.run.calls(self.answered) || self.shared.run.is_abandoned();
        is_settled && self.runner.is_done()
    }

    // ---- A burst of a receive queue ----

    /// Polls the own queue whose turn it is, or first a stuck lcore's, and
    /// serves the burst. Returns whether there was a burst that left as a
    /// whole, so that nothing waits here.
    #[inline]
    fn poll(&mut self) -> bool {
        let now = self.runner.begin_poll();
        if P::RESCUES && self.adoption.is_due(now) && self.adopt(now) {
            return false;
        }
        let Some(at) = self.runner.poller().next_own() else { return self.runner.found_nothing() };
        if self.runner.leaves(at, now) {
            return self.runner.found_nothing();
        }
        let Some(want) = self.runner.wanted(at) else { return self.runner.found_nothing() };
        let Some(polled) = self.runner.poll(at, now, want) else {
            if P::SHARES {
                self.runner.timing().polled_in_vain(now, None);
            }
            return self.runner.found_nothing();
        };
        let pressed = P::SHARES && self.runner.show_pressure(now, polled.pkts, want);
        if let Some(asked) = polled.source_asked {
            let looks = 2 * self.adoption.looks_since(now) as u64;
            self.runner.timing().source_asked(asked, now, looks);
        }
        if polled.pkts == 0 {
            self.runner.timing().polled_in_vain(now, polled.source_asked);
            return self.runner.found_nothing();
        }
        let left_whole = self.runner.receive(polled);
        if P::SHARES {
            // Others could not serve a queue faster that this lcore finds full
            // and is not pressed by. Where all lcores poll all queues, each
            // would have to wait for it.
            if P::RESCUES && left_whole && polled.pkts == want.pkts() && !pressed {
                self.runner.poller().keep_borrowed();
            } else {
                self.runner.release_burst();
            }
        }
        left_whole
    }

    /// Polls another lcore's queue, unless its lease is held, and serves the
    /// burst. `None` if there was none; else whether there may be more.
    fn poll_for(&mut self, at: usize, owner: usize, why: Why) -> Option<bool> {
        let now = self.runner.timing().now();
        self.runner.close(now);
        let want = self.runner.wanted(at)?;
        let polled = self.runner.poll(at, now, want);
        let polled = polled.filter(|polled| polled.pkts > 0)?;
        let is_full = polled.pkts == want.pkts();
        if is_full {
            self.runner.rescue().welcome_help(owner, why);
        }
        let oldest = self.runner.first_arrival(polled.arrival);
        self.runner.rescue().record_takeover(owner, now, polled.pkts, oldest);
        self.runner.receive_for(polled);
        // The backlog gets places: the next holder would overtake it otherwise.
        self.runner.release_burst();
        Some(is_full)
    }

    // ---- Other lcores ----

    /// Sees what the others have, and does what the policy makes of it.
    #[cold]
    fn look_around(&mut self) {
        let (help, now) = self.runner.choose_help();
        match help {
            Help::Steal { victim, .. } => self.runner.steal(victim, now),
            Help::TakeOver { victim, why } => {
                if !self.take_over(victim, why, now) {
                    self.runner.rest();
                }
            }
            Help::Dequeue => self.runner.work(),
            Help::Rest => {
                self.runner.looked_in_vain(now);
                self.rest_unneeded();
            }
        }
    }

    /// No lcore needs help. A look around uses far more of a core than a poll
    /// does, and the core's other hyperthread may be polling. Therefore an
    /// lcore without queues of its own rests longer.
    fn rest_unneeded(&mut self) {
        let rests = if self.runner.poller().own() == 0 { RESTS_WITHOUT_QUEUES } else { 1 };
        (0..rests).for_each(|_| self.runner.rest());
    }

    /// Polls a burst for an lcore that the policy adopts, if there is one that
    /// no other lcore helps. Returns whether there was a burst.
    #[cold]
    fn adopt(&mut self, now: u64) -> bool {
        let away = &self.shared.attention.away;
        for _ in 0..self.adoption.begin(away, now) {
            let Some(owner) = self.adoption.next(away) else { break };
            if !self.runner.adopts(owner, now) {
                continue;
            }
            let helps = self.runner.rescue().claim(owner, Why::Rescue, now);
            self.adoption.note_stuck(helps);
            if helps && let Some(is_full) = self.poll_first(owner) {
                // The burst may have taken long.
                self.adoption.note_burst(self.runner.timing().now(), is_full);
                return true;
            }
        }
        false
    }

    /// Serves the first burst that a queue of `owner` has, of those whose
    /// leases are free. Returns as `poll_for`.
    fn poll_first(&mut self, owner: usize) -> Option<bool> {
        (0..self.runner.poller().queues_of(owner)).find_map(|_| {
            self.adoption.note_poll();
            let at = self.runner.poller().next_of(owner);
            self.poll_for(at, owner, Why::Rescue)
        })
    }

    /// Polls a burst of each receive queue of `victim`, as far as leases are
    /// free, and serves it. Stops as soon as something is left over: that has
    /// to be served before more is received. Returns whether it found anything.
    fn take_over(&mut self, victim: usize, why: Why, now: u64) -> bool {
        if !self.runner.rescue().claim(victim, why, now) {
            return false;
        }
        let mut found = false;
        for _ in 0..self.runner.poller().queues_of(victim) {
            let at = self.runner.poller().next_of(victim);
            found |= self.poll_for(at, victim, why).is_some();
            if self.runner.stealable_pkts() > 0 || self.shared.run.is_draining() {
                break;
            }
        }
        found
    }
}
