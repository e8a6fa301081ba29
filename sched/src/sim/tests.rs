//! The simulator against queueing theory, and what must hold in every mode.

use std::num::NonZeroU64;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::*;

/// Exponential, of that mean.
fn exponential(random: &mut SmallRng, mean: f64) -> f64 {
    -mean * (1.0 - random.random::<f64>()).ln()
}

/// Poisson arrivals at each of `queues`, with so many packets in all. `cost_ns`
/// draws a packet's cost, and whether it is expensive.
fn poisson(
    queues: usize,
    mean_gap_ns: f64,
    pkts: u64,
    cost_ns: impl Fn(&mut SmallRng) -> (f64, bool),
) -> impl FnMut(usize) -> Option<Arrival> {
    let mut randoms: Vec<_> =
        (0..queues).map(|at| SmallRng::seed_from_u64(0x5eed + at as u64)).collect();
    let mut due_ns = vec![0.0; queues];
    let mut left = vec![pkts / queues as u64; queues];
    move |at| {
        left[at] = left[at].checked_sub(1)?;
        let random = &mut randoms[at];
        due_ns[at] += exponential(random, mean_gap_ns * queues as f64);
        let (cost_ns, expensive) = cost_ns(random);
        Some(Arrival {
            due_ticks: ticks_of_ns(due_ns[at]),
            cost_ticks: ticks_of_ns(cost_ns),
            expensive,
            flow: random.random(),
        })
    }
}

/// Without work of the lcores' own, and one packet at a time.
fn free(mode: Mode, lcores: usize) -> Setup {
    Setup { mode, burst: 1, costs: Costs::free(), ..Setup::new(lcores, lcores / 2) }
}

struct Latencies {
    mean_ns: f64,
    p99_ns: f64,
}

fn latencies(run: impl FnOnce(&mut dyn FnMut(Sent))) -> Latencies {
    let mut all: Vec<u64> = Vec::new();
    run(&mut |sent: Sent| all.push(sent.latency_ticks()));
    all.sort_unstable();
    let mean_ticks = all.iter().sum::<u64>() as f64 / all.len() as f64;
    Latencies {
        mean_ns: mean_ticks * 1e3 / TICKS_PER_US as f64,
        p99_ns: ns_of_ticks(all[all.len() * 99 / 100]),
    }
}

fn simulated(setup: &Setup, traffic: impl FnMut(usize) -> Option<Arrival>) -> Latencies {
    latencies(|sent| {
        run(setup, traffic, sent).unwrap();
    })
}

fn is_near(value: f64, expected: f64) {
    let off = (value / expected - 1.0).abs();
    assert!(off < 0.02, "{value} instead of {expected}");
}

const PKTS: u64 = if cfg!(debug_assertions) { 300_000 } else { 4_000_000 };

#[test]
fn one_lcore_is_an_m_m_1_queue() {
    let (mean_ns, load) = (1e4, 0.5);
    let traffic = poisson(1, mean_ns / load, PKTS, |random| (exponential(random, 1e4), false));
    let got = simulated(&free(Mode::Rtc, 1), traffic);
    let sojourn_ns = mean_ns / (1.0 - load);
    is_near(got.mean_ns, sojourn_ns);
    is_near(got.p99_ns, sojourn_ns * 100f64.ln());
}

#[test]
fn one_lcore_with_equal_costs_is_an_m_d_1_queue() {
    let (cost_ns, load) = (1e4, 0.7);
    let got = simulated(&free(Mode::Rtc, 1), poisson(1, cost_ns / load, PKTS, |_| (1e4, false)));
    // Pollaczek and Khinchine.
    is_near(got.mean_ns, cost_ns * (1.0 + load / (2.0 * (1.0 - load))));
}

/// The share of packets that wait, with `erlangs` on `lcores`.
fn erlang_c(lcores: usize, erlangs: f64) -> f64 {
    let blocked = (1..=lcores).fold(1.0, |blocked, n| {
        let offered = erlangs * blocked;
        offered / (n as f64 + offered)
    });
    let load = erlangs / lcores as f64;
    blocked / (1.0 - load * (1.0 - blocked))
}

#[test]
fn lcores_that_share_all_queues_are_an_m_m_k_queue() {
    let (lcores, mean_ns, load) = (4, 1e5, 0.7);
    let erlangs = lcores as f64 * load;
    let waits_ns = erlang_c(lcores, erlangs) * mean_ns / (lcores as f64 - erlangs);
    let traffic =
        || poisson(lcores, mean_ns / erlangs, PKTS, |random| (exponential(random, 1e5), false));
    let central = latencies(|sent| {
        ideal(Ideal::Central, (lcores, lcores), (0, u64::MAX), traffic(), sent);
    });
    is_near(central.mean_ns, mean_ns + waits_ns);
    // With a burst of one, whoever is idle polls any queue. In which order does
    // not matter for the mean.
    let shared = simulated(&free(Mode::Shared, lcores), traffic());
    is_near(shared.mean_ns, mean_ns + waits_ns);
}

#[test]
fn an_m_g_k_queue_keeps_its_bounds() {
    let (lcores, load, p) = (4, 0.6, 0.01);
    let cost_ns = move |random: &mut SmallRng| {
        let expensive = random.random_bool(p);
        (if expensive { 1e6 } else { 1e4 }, expensive)
    };
    let (mean_ns, square) = (1e4 * (1.0 - p) + 1e6 * p, 1e8 * (1.0 - p) + 1e12 * p);
    let gap_ns = mean_ns / (load * lcores as f64);
    let central = latencies(|sent| {
        let traffic = poisson(lcores, gap_ns, PKTS, cost_ns);
        ideal(Ideal::Central, (lcores, lcores), (0, u64::MAX), traffic, sent);
    });
    let wait_ns = central.mean_ns - mean_ns;
    // Kingman's upper bound. Below: a single server of that speed waits for the
    // same work, of which the other servers have at most (k-1)/k of a packet's
    // squared cost per packet (Brumelle, Operations Research 19, 1971).
    let k = lcores as f64;
    let variance = square - mean_ns * mean_ns;
    let upper_ns = (gap_ns * gap_ns + variance / k + (k - 1.0) / (k * k) * mean_ns * mean_ns)
        / (2.0 * gap_ns * (1.0 - load));
    let single_ns = square / (k * k) / gap_ns / (2.0 * (1.0 - load));
    let lower_ns = (single_ns - (k - 1.0) / k * square / (2.0 * mean_ns)).max(0.0);
    assert!(wait_ns > lower_ns && wait_ns < upper_ns, "{lower_ns} < {wait_ns} < {upper_ns}");
}

#[test]
fn the_elastic_ideal_is_never_worse_for_cheap_packets() {
    let cost_ns = |random: &mut SmallRng| {
        let expensive = random.random_bool(0.001);
        (if expensive { 1e6 } else { 1e3 }, expensive)
    };
    let mean_ns = |which: Ideal| {
        let mut waits = (0u64, 0u64);
        let traffic = poisson(10, 400.0, PKTS / 4, cost_ns);
        ideal(which, (10, 10), (0, u64::MAX), traffic, |sent: Sent| {
            if !sent.expensive {
                waits = (waits.0 + sent.latency_ticks(), waits.1 + 1);
            }
        });
        waits.0 as f64 / waits.1 as f64
    };
    let caps = [4, 6, 8].map(|cap| mean_ns(Ideal::Elastic { cap }));
    assert!(caps.is_sorted() && caps[2] <= mean_ns(Ideal::Central), "{caps:?}");
}

/// Each mode, with its variants.
fn modes(lcores: usize) -> Vec<Setup> {
    let base = Setup::new(lcores, (lcores / 4).max(1));
    let mut all: Vec<_> = Mode::ALL.iter().map(|&mode| Setup { mode, ..base.clone() }).collect();
    let steal = Setup { mode: Mode::Steal, ..base.clone() };
    all.push(Setup { steal_every: NonZeroU64::new(61), ..steal.clone() });
    all.push(Setup { steal_rx: true, ..steal });
    all.push(Setup { follows_load: true, ..base });
    all
}

fn bimodal(queues: usize, gap_ns: f64, pkts: u64) -> impl FnMut(usize) -> Option<Arrival> {
    poisson(queues, gap_ns, pkts, |random| {
        let expensive = random.random_bool(0.002);
        (if expensive { 200_000.0 } else { 1_000.0 }, expensive)
    })
}

#[test]
fn every_packet_is_sent_once_in_its_order_and_a_seed_decides_all() {
    for lcores in [2, 10] {
        for setup in modes(lcores) {
            for known in [true, false] {
                let setup = Setup { known, ..setup.clone() };
                let name = (setup.mode, lcores, known, setup.follows_load);
                let simulate = || {
                    let (mut sent_pkts, mut sum) = (0u64, 0u64);
                    // Few flows, so that packets wait for each other.
                    let mut traffic = bimodal(setup.queues(), 2_800.0 / lcores as f64, 6_000);
                    let traffic = |queue: usize| {
                        let arrival = traffic(queue)?;
                        Some(Arrival { flow: arrival.flow % 16, ..arrival })
                    };
                    let outcome = run(&setup, traffic, |sent| {
                        sent_pkts += 1;
                        sum = sum.wrapping_mul(31).wrapping_add(sent.sent_ticks);
                        assert!(sent.latency_ticks() >= sent.cost_ticks, "{name:?}");
                    });
                    (outcome.unwrap(), sent_pkts, sum)
                };
                let (outcome, sent_pkts, sum) = simulate();
                assert_eq!(sent_pkts, outcome.sent_pkts, "{name:?}");
                assert_eq!(
                    outcome.sent_pkts + outcome.dropped_pkts + outcome.missed_pkts,
                    outcome.offered_pkts,
                    "{name:?}"
                );
                assert_eq!(outcome.reordered_pkts, 0, "{name:?}");
                assert!(outcome.sent_pkts > outcome.offered_pkts * 9 / 10, "{name:?} {outcome:?}");
                assert_eq!(simulate(), (outcome, sent_pkts, sum), "{name:?}");
            }
        }
    }
}

#[test]
fn host_gaps_hold_up_whoever_has_no_help() {
    let gap =
        |start_us: u64| Gap { start_ticks: start_us * TICKS_PER_US, ticks: 2_000 * TICKS_PER_US };
    let gaps =
        Recording { cpus: vec![vec![gap(5_000)], vec![]], period_ticks: 20_000 * TICKS_PER_US };
    let p99_ns = |mode: Mode| {
        let setup = Setup { mode, gaps: gaps.clone(), ..Setup::new(2, 1) };
        simulated(&setup, poisson(2, 5_000.0, 20_000, |_| (1_000.0, false))).p99_ns
    };
    let (rtc, hybrid) = (p99_ns(Mode::Rtc), p99_ns(Mode::Hybrid));
    assert!(rtc > 1e6 && hybrid < rtc / 10.0, "{rtc} {hybrid}");
}

#[test]
fn the_run_ends_when_told_and_counts_what_is_left() {
    let setup = Setup {
        mode: Mode::Rtc,
        descriptors: 64,
        end_ticks: 10_000 * TICKS_PER_US,
        ..Setup::new(2, 0)
    };
    // Twice as much as can be served, without an end.
    let outcome = run(&setup, poisson(2, 250.0, u64::MAX, |_| (1_000.0, false)), |_| ()).unwrap();
    assert!((39_000..41_000).contains(&outcome.offered_pkts), "{outcome:?}");
    assert!(outcome.missed_pkts > 15_000 && outcome.sent_pkts == outcome.received_pkts);
    assert!(outcome.ended_ticks < 10_100 * TICKS_PER_US);
}

#[test]
fn impossible_setups_are_one_line() {
    let base = Setup::new(10, 2);
    for (setup, says) in [
        (Setup::new(0, 0), "0 lcores"),
        (Setup::new(257, 2), "257 lcores"),
        (Setup::new(10, 10), "each pool needs an lcore"),
        (Setup::new(10, 0), "each pool needs an lcore"),
        (Setup::new(1, 1), "two lcores"),
        (Setup { mode: Mode::Pools, follows_load: true, ..base.clone() }, "can't move"),
        (Setup { expensive_cap: Some(0), ..base.clone() }, "cap of 0"),
        (Setup { burst: 0, ..base.clone() }, "burst of 0"),
        (Setup { run_queue_pkts: 63, ..base.clone() }, "two bursts"),
    ] {
        let why = run(&setup, |_| None, |_| ()).unwrap_err();
        assert!(why.contains(says) && !why.contains('\n'), "{why}");
    }
}
