//! `hybrid`: pools whose lcores help each other. Lcores shed as in `pools`;
//! they steal and take over for an lcore that is stuck, and when a worker would
//! be idle.

use std::cell::Cell;

use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::{Deferral, Help, PeerHint, PeersView, Policy, Pool, Step, View, Why};

/// As `pools`, and besides:
///
/// * A cap limits how many lcores are in expensive work at a time, and at least
///   one lcore of pool A never is (see [`Permits`](super::Permits)).
/// * Workers poll receive queues of their own while the shards are empty.
///   Without expensive packets the mode is run to completion on all lcores. A
///   worker releases its leases before it begins expensive work, and others
///   poll its queues from then on.
/// * A worker without expensive work steals from run queues.
/// * An lcore of pool A does expensive work only when it has nothing of its
///   own, no lcore needs rescue, and it gets a permit.
/// * An lcore that has not run for longer than `stall_ticks`, because its CPU
///   was taken away, is stalled: idle lcores poll its receive queues. An lcore
///   with packets of its own does not: where lcores share CPUs, some are
///   stalled all the time, and to serve them all would be to serve none well.
/// * Idle lcores share the backlog of an lcore that is pressed, as [`Excess`]
///   says.
/// * An lcore that has been in a packet of unknown cost longer than
///   `rescue_after_ticks` is rescued: idle lcores steal its run queue, and all
///   lcores poll its receive queues. Workers wait a quarter of that time longer
///   than pool A.
///
/// Every lcore, workers included, sheds to a shard of its own.
#[derive(Clone, Debug)]
pub struct Hybrid {
    rng: SmallRng,
    help: HelpAfter,
}

/// When lcores come to help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HelpAfter {
    /// An lcore may be in one packet for so long, in ticks.
    pub rescue_ticks: u64,
    /// An lcore may not be seen to run for so long.
    pub stall_ticks: u64,
    /// How idle lcores share the backlog of one that is pressed.
    pub excess: Excess,
}

/// How idle lcores share the backlog of one that is pressed. It serves of each
/// burst what it has time for, and leaves the rest in its run queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Excess {
    /// It polls small bursts. Others steal from its run queue, and poll its
    /// receive queues.
    Pull,
    /// It polls full bursts. Others steal from its run queue.
    Push,
    /// They leave it alone.
    Leave,
}

impl Hybrid {
    /// `seed` should differ between lcores, so that rescuers spread over the
    /// lcores that need them. `help`: when lcores come to help.
    pub fn new(seed: u64, help: HelpAfter) -> Self {
        Self { rng: SmallRng::seed_from_u64(seed), help }
    }

    /// How long an lcore must be away before one of `pool` rescues it.
    #[inline]
    fn patience_ticks(&self, pool: Pool) -> u64 {
        match pool {
            Pool::A => self.help.rescue_ticks,
            Pool::B => self.help.rescue_ticks.saturating_add(self.help.rescue_ticks / 4),
        }
    }

    /// Steals where an lcore is stuck, or pressed. Comes before polling:
    /// packets in a run queue have waited longer than those in a receive queue.
    #[inline]
    fn steal_where_needed(&mut self, peers: &PeersView<'_>) -> Option<Help> {
        let patience = self.patience_ticks(peers.pool);
        let queued = |peer: &PeerHint| peer.queued_pkts > 0;
        let stuck = |peer: &PeerHint| queued(peer) && is_stuck(peer, patience);
        if let Some(victim) = peers.random(&mut self.rng, stuck) {
            return Some(Help::Steal { victim, why: Why::Rescue });
        }
        if peers.draining || self.help.excess == Excess::Leave {
            return None;
        }
        let victim = peers.random(&mut self.rng, |peer| queued(peer) && peer.pressed)?;
        Some(Help::Steal { victim, why: Why::Pressed })
    }

    /// Polls for an lcore that is stuck, does not run, or does not keep up: for
    /// any of these, because boards do not show whether packets wait in receive
    /// queues. One that is stuck for long must not hide the others.
    #[inline]
    fn poll_where_needed(&mut self, peers: &PeersView<'_>) -> Option<Help> {
        if peers.draining {
            return None;
        }
        let (patience, help) = (self.patience_ticks(peers.pool), self.help);
        let shares = help.excess == Excess::Pull && !peers.wary;
        let why = Cell::new(Why::Idle);
        let victim = peers.random(&mut self.rng, |peer| {
            why.set(match peer {
                peer if is_stuck(peer, patience) => Why::Rescue,
                peer if peer.silent_ticks > help.stall_ticks => Why::Stalled,
                peer if peer.pressed && shares => Why::Pressed,
                _ => return false,
            });
            true
        })?;
        Some(Help::TakeOver { victim, why: why.get() })
    }

    /// Cheap work for a worker that has no other.
    #[inline]
    fn cheap_work(&mut self, peers: &PeersView<'_>) -> Option<Help> {
        let victim = peers.random(&mut self.rng, |peer| peer.queued_pkts > 0)?;
        Some(Help::Steal { victim, why: Why::Idle })
    }
}

/// Whether the lcore will not be back soon: its packet is known to be
/// expensive, or it has been away for long.
#[inline]
fn is_stuck(peer: &PeerHint, patience_ticks: u64) -> bool {
    peer.away_ticks.is_some_and(|ticks| peer.expensive || ticks > patience_ticks)
}

impl Policy for Hybrid {
    const DEFERRED: Deferral = Deferral::Shard;
    const STEALS: bool = true;
    const RESCUES: bool = true;
    const SHARES: bool = true;
    const WORKERS_POLL: bool = true;
    const CAPPED: bool = true;
    const EMPTY_ROUNDS: usize = 4;

    #[inline]
    fn keeps_polling(pool: Pool) -> bool {
        pool == Pool::A
    }

    /// The run queue comes first: it is short while nothing is polled, and its
    /// packets have waited longest. Then a worker dequeues from the shards,
    /// which others do only when idle; meanwhile others poll for it.
    #[inline]
    fn next(&mut self, view: &View) -> Step {
        if view.run_queue_pkts > 0 {
            return Step::Serve;
        }
        if view.kept_pkts > 0 {
            return if view.permit_refused { Step::Shed } else { Step::Run };
        }
        if view.shards_nonempty && !view.permit_refused {
            Step::Dequeue
        } else if view.draining || view.found_nothing {
            Step::LookAround
        } else {
            Step::Poll
        }
    }

    #[inline]
    fn adopts(&self, peer: &PeerHint) -> bool {
        is_stuck(peer, self.help.rescue_ticks)
    }

    #[inline]
    fn excess(&self) -> Excess {
        self.help.excess
    }

    #[inline]
    fn help(&mut self, peers: &PeersView<'_>) -> Help {
        let needed = self.steal_where_needed(peers).or_else(|| self.poll_where_needed(peers));
        if let Some(help) = needed {
            return help;
        }
        match peers.pool {
            Pool::A if peers.shards_nonempty && peers.permit_available && !peers.permit_refused => {
                Help::Dequeue
            }
            Pool::A => Help::Rest,
            Pool::B => self.cheap_work(peers).unwrap_or(Help::Rest),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const RESCUE_AFTER: u64 = 100;
    const STALL_AFTER: u64 = 1_000;
    const BUSY: PeerHint = PeerHint::calm(1, Pool::A);
    const HELP: HelpAfter =
        HelpAfter { rescue_ticks: RESCUE_AFTER, stall_ticks: STALL_AFTER, excess: Excess::Pull };

    fn help(pool: Pool, peer: PeerHint) -> Help {
        let peers = [PeerHint::calm(0, Pool::A), peer];
        let view = PeersView { shards_nonempty: true, ..view(2, pool, &peers) };
        Hybrid::new(1, HELP).help(&view)
    }

    /// Lcore 0, in `pool`, looks around. The shards are empty.
    fn view(lcores: usize, pool: Pool, peers: &[PeerHint]) -> PeersView<'_> {
        PeersView {
            me: 0,
            lcores,
            pool,
            draining: false,
            permit_refused: false,
            wary: false,
            shards_nonempty: false,
            permit_available: true,
            peers,
        }
    }

    #[test]
    fn who_does_not_run_or_keep_up_is_helped_before_work_is_taken_on() {
        let stalled = |silent_ticks| PeerHint { silent_ticks, ..BUSY };
        let pressed = PeerHint { pressed: true, ..BUSY };
        for pool in [Pool::A, Pool::B] {
            let victim = 1;
            let why = Why::Stalled;
            assert_eq!(help(pool, stalled(STALL_AFTER + 1)), Help::TakeOver { victim, why });
            let why = Why::Pressed;
            assert_eq!(help(pool, pressed), Help::TakeOver { victim, why });
        }
        assert_eq!(help(Pool::A, stalled(STALL_AFTER)), Help::Dequeue);
        for peer in [stalled(STALL_AFTER + 1), pressed] {
            let adopts = Hybrid::new(1, HELP).adopts(&peer);
            assert!(!adopts, "an lcore with work of its own has no time for more");
        }
    }

    #[test]
    fn an_lcore_that_is_stuck_hides_no_other() {
        let stuck = PeerHint { away_ticks: Some(1), expensive: true, ..BUSY };
        let stalled = PeerHint { lcore: 2, silent_ticks: STALL_AFTER + 1, ..BUSY };
        let peers = [stuck, stalled, PeerHint { lcore: 3, pressed: true, ..BUSY }];
        let view = view(4, Pool::A, &peers);
        let mut hybrid = Hybrid::new(1, HELP);
        let looks: Vec<Help> = (0..100).map(|_| hybrid.help(&view)).collect();
        for (victim, why) in [(1, Why::Rescue), (2, Why::Stalled), (3, Why::Pressed)] {
            assert!(looks.contains(&Help::TakeOver { victim, why }), "{why:?}: {looks:?}");
        }
    }

    #[test]
    fn only_with_pull_others_poll_for_one_that_is_pressed() {
        let (victim, why) = (1, Why::Pressed);
        for (excess, queued_pkts, expected) in [
            (Excess::Pull, 0, Help::TakeOver { victim, why }),
            (Excess::Pull, 8, Help::Steal { victim, why }),
            (Excess::Push, 0, Help::Rest),
            (Excess::Push, 8, Help::Steal { victim, why }),
            (Excess::Leave, 8, Help::Rest),
        ] {
            let peers = [PeerHint { pressed: true, queued_pkts, ..BUSY }];
            let view = view(2, Pool::A, &peers);
            let mut hybrid = Hybrid::new(1, HelpAfter { excess, ..HELP });
            assert_eq!(hybrid.help(&view), expected, "{excess:?}");
        }
    }

    #[test]
    fn an_lcore_that_loses_its_cpu_polls_for_nobody_that_runs() {
        let pressed = PeerHint { pressed: true, ..BUSY };
        let stalled = PeerHint { lcore: 2, silent_ticks: STALL_AFTER + 1, ..BUSY };
        let (victim, why) = (2, Why::Stalled);
        for (peers, expected) in
            [(&[pressed][..], Help::Rest), (&[pressed, stalled], Help::TakeOver { victim, why })]
        {
            let view = PeersView { wary: true, ..view(3, Pool::A, peers) };
            assert_eq!(Hybrid::new(1, HELP).help(&view), expected);
        }
    }

    #[test]
    fn rescue_begins_when_it_is_due_and_in_pool_a_first() {
        let (victim, why) = (1, Why::Rescue);
        let away = |ticks| PeerHint { away_ticks: Some(ticks), ..BUSY };
        assert_eq!(help(Pool::A, away(RESCUE_AFTER)), Help::Dequeue);
        assert_eq!(help(Pool::A, away(RESCUE_AFTER + 1)), Help::TakeOver { victim, why });
        assert_eq!(help(Pool::B, away(RESCUE_AFTER + RESCUE_AFTER / 4)), Help::Rest);
        assert_eq!(
            help(Pool::B, away(RESCUE_AFTER + RESCUE_AFTER / 4 + 1)),
            Help::TakeOver { victim, why }
        );
        let queued = PeerHint { queued_pkts: 1, ..away(RESCUE_AFTER + 1) };
        assert_eq!(help(Pool::A, queued), Help::Steal { victim, why });
        let worker = PeerHint { pool: Pool::B, expensive: true, ..away(1) };
        assert_eq!(
            help(Pool::A, worker),
            Help::TakeOver { victim, why },
            "its packet is known to be expensive"
        );
    }

    #[test]
    fn only_idle_workers_help_before_rescue_is_due() {
        let (victim, why) = (1, Why::Idle);
        let queued = PeerHint { queued_pkts: 40, ..BUSY };
        assert_eq!(
            (help(Pool::A, queued), help(Pool::B, queued)),
            (Help::Dequeue, Help::Steal { victim, why })
        );
    }

    #[test]
    fn the_run_queue_comes_first_in_both_pools() {
        let mut hybrid = Hybrid::new(1, HELP);
        for pool in [Pool::A, Pool::B] {
            for at in 0..16 {
                let is = |bit: usize| at >> bit & 1 == 1;
                let view = View {
                    kept_pkts: at & 1,
                    found_nothing: is(1),
                    permit_refused: is(2),
                    draining: is(3),
                    ..View::empty(pool)
                };
                assert_eq!(
                    hybrid.next(&View { run_queue_pkts: 1, ..view }),
                    Step::Serve,
                    "{view:?}"
                );
                assert!(
                    !(is(3) && hybrid.next(&view) == Step::Poll)
                        && hybrid.next(&view) != Step::Rest,
                    "{view:?}"
                );
            }
        }
    }

    #[test]
    fn without_a_permit_kept_packets_are_shed_and_cheap_ones_served() {
        let mut hybrid = Hybrid::new(1, HELP);
        let kept = View { kept_pkts: 1, ..View::empty(Pool::A) };
        assert_eq!(hybrid.next(&kept), Step::Run);
        assert_eq!(hybrid.next(&View { permit_refused: true, ..kept }), Step::Shed);
        assert_eq!(
            hybrid.next(&View { permit_refused: true, run_queue_pkts: 1, ..kept }),
            Step::Serve
        );
    }
}
