//! `hybrid`: pools whose lcores help each other out. Shedding is the rule;
//! stealing and takeover are for an lcore that is stuck, and for workers that
//! would be idle.

use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::{Deferral, Help, PeerHint, PeersView, Policy, Pool, Step, View, Why};

/// As `pools`, and besides:
///
/// * Expensive work goes on at no more lcores at a time than the cap says, and
///   never at all lcores of pool A (see `Permits`).
/// * Workers poll receive queues of their own while no expensive work waits, so
///   that without any the mode is run-to-completion on all lcores. A worker
///   that takes expensive work gives its leases back first, and the others poll
///   its queues from then on.
/// * A worker without expensive work steals from run queues.
/// * An lcore of pool A takes expensive work only when it has nothing of its
///   own, nobody to rescue, and a permit.
/// * An lcore that is away longer than `rescue_after_ticks` in a packet of
///   unknown cost is rescued: idle lcores steal its run queue, and all poll its
///   receive queues. Pool A gets a head start over workers of a quarter of that
///   time.
///
/// Every lcore, workers included, sheds to a shard of its own.
#[derive(Clone, Debug)]
pub struct Hybrid {
    rng: SmallRng,
    rescue_after_ticks: u64,
}

impl Hybrid {
    /// `seed`: another one for each lcore, so that rescuers spread over those
    /// who need them. `rescue_after_ticks`: how long an lcore may be in one
    /// packet before others come to its rescue.
    pub fn new(seed: u64, rescue_after_ticks: u64) -> Self {
        Self { rng: SmallRng::seed_from_u64(seed), rescue_after_ticks }
    }

    /// For how long an lcore has to be away before one of `pool` rescues it.
    #[inline]
    fn patience_ticks(&self, pool: Pool) -> u64 {
        match pool {
            Pool::A => self.rescue_after_ticks,
            Pool::B => self.rescue_after_ticks.saturating_add(self.rescue_after_ticks / 4),
        }
    }

    /// Whom to rescue: those whose packets can be stolen before those whose
    /// receive queues can be polled, because the former have waited longer.
    #[inline]
    fn rescue(&mut self, peers: &PeersView<'_>) -> Option<Help> {
        let (patience, why) = (self.patience_ticks(peers.pool), Why::Rescue);
        if let Some(victim) =
            peers.random(&mut self.rng, |peer| is_stuck(peer, patience) && peer.waiting_pkts > 0)
        {
            return Some(Help::Steal { victim, why });
        }
        if peers.draining {
            return None;
        }
        let victim = peers.random(&mut self.rng, |peer| is_stuck(peer, patience))?;
        Some(Help::TakeOver { victim, why })
    }

    /// Cheap work for a worker that has no other.
    #[inline]
    fn cheap_work(&mut self, peers: &PeersView<'_>) -> Option<Help> {
        let victim = peers.random(&mut self.rng, |peer| peer.waiting_pkts > 0)?;
        Some(Help::Steal { victim, why: Why::Idle })
    }
}

/// Whether it will not be back soon: it said so, or has been away for long.
#[inline]
fn is_stuck(peer: &PeerHint, patience_ticks: u64) -> bool {
    peer.away_ticks.is_some_and(|ticks| peer.declared || ticks > patience_ticks)
}

impl Policy for Hybrid {
    const DEFERRED: Deferral = Deferral::Shard;
    const STEALS: bool = true;
    const RESCUES: bool = true;
    const WORKERS_POLL: bool = true;
    const CAPPED: bool = true;
    const VAIN_ROUNDS: usize = 4;

    #[inline]
    fn polls_on(pool: Pool) -> bool {
        pool == Pool::A
    }

    /// What waits in the run queue first: it is little when nothing is polled
    /// meanwhile, and has waited longest. A worker then takes what is
    /// expensive, since nobody else will; while it does, others poll for it.
    #[inline]
    fn next(&mut self, view: &View) -> Step {
        if view.run_queue_pkts > 0 {
            return Step::Serve;
        }
        if view.kept_pkts > 0 {
            return if view.refused { Step::Shed } else { Step::Run };
        }
        if view.shards_wait && !view.refused {
            Step::Take
        } else if view.draining || view.found_nothing {
            Step::LookAround
        } else {
            Step::Poll
        }
    }

    #[inline]
    fn adopts(&self, peer: &PeerHint) -> bool {
        is_stuck(peer, self.rescue_after_ticks)
    }

    #[inline]
    fn help(&mut self, peers: &PeersView<'_>) -> Help {
        if let Some(help) = self.rescue(peers) {
            return help;
        }
        match peers.pool {
            Pool::A if peers.shards_wait && peers.may_take && !peers.refused => Help::Take,
            Pool::A => Help::Rest,
            Pool::B => self.cheap_work(peers).unwrap_or(Help::Rest),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    const RESCUE_AFTER: u64 = 100;
    const BUSY: PeerHint =
        PeerHint { pool: Pool::A, waiting_pkts: 0, away_ticks: None, declared: false };

    fn help(pool: Pool, peer: PeerHint) -> Help {
        let peers = [BUSY, peer];
        let view = PeersView {
            me: 0,
            pool,
            draining: false,
            refused: false,
            shards_wait: true,
            may_take: true,
            peers: &peers,
        };
        Hybrid::new(1, RESCUE_AFTER).help(&view)
    }

    #[test]
    fn rescue_begins_when_it_is_due_and_in_pool_a_first() {
        let (victim, why) = (1, Why::Rescue);
        let away = |ticks| PeerHint { away_ticks: Some(ticks), ..BUSY };
        assert_eq!(help(Pool::A, away(RESCUE_AFTER)), Help::Take);
        assert_eq!(help(Pool::A, away(RESCUE_AFTER + 1)), Help::TakeOver { victim, why });
        assert_eq!(help(Pool::B, away(RESCUE_AFTER + RESCUE_AFTER / 4)), Help::Rest);
        assert_eq!(
            help(Pool::B, away(RESCUE_AFTER + RESCUE_AFTER / 4 + 1)),
            Help::TakeOver { victim, why }
        );
        let waiting = PeerHint { waiting_pkts: 1, ..away(RESCUE_AFTER + 1) };
        assert_eq!(help(Pool::A, waiting), Help::Steal { victim, why });
        let worker = PeerHint { pool: Pool::B, declared: true, ..away(1) };
        assert_eq!(
            help(Pool::A, worker),
            Help::TakeOver { victim, why },
            "it said that it won't be back soon"
        );
    }

    #[test]
    fn only_idle_workers_help_before_rescue_is_due() {
        let (victim, why) = (1, Why::Idle);
        let waiting = PeerHint { waiting_pkts: 40, ..BUSY };
        assert_eq!(
            (help(Pool::A, waiting), help(Pool::B, waiting)),
            (Help::Take, Help::Steal { victim, why })
        );
    }

    #[test]
    fn cheap_packets_at_hand_come_first_in_both_pools() {
        let mut hybrid = Hybrid::new(1, RESCUE_AFTER);
        for pool in [Pool::A, Pool::B] {
            for at in 0..16 {
                let is = |bit: usize| at >> bit & 1 == 1;
                let view = View {
                    kept_pkts: at & 1,
                    found_nothing: is(1),
                    refused: is(2),
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
    fn without_a_permit_kept_packets_go_to_the_shard_and_cheap_ones_go_on() {
        let mut hybrid = Hybrid::new(1, RESCUE_AFTER);
        let kept = View { kept_pkts: 1, ..View::empty(Pool::A) };
        assert_eq!(hybrid.next(&kept), Step::Run);
        assert_eq!(hybrid.next(&View { refused: true, ..kept }), Step::Shed);
        assert_eq!(hybrid.next(&View { refused: true, run_queue_pkts: 1, ..kept }), Step::Serve);
    }
}
