//! Tests drawn traffic against queueing theory, in virtual time. Fixed seeds
//! make the tests deterministic. Tolerances are five standard deviations or
//! more, so another seed would pass too.

use super::*;

/// A clock of one tick per nanosecond.
const HZ: u64 = 1_000_000_000;

fn stream(arrivals: Arrivals, pps: f64, costs: Option<&Costs>) -> Stream<'_> {
    Stream {
        arrivals,
        pps,
        flows: 1,
        costs,
        seed: 5,
        cost_seed: 5,
        queue: 0,
        queues: 1,
        ticks_per_second: HZ,
    }
}

fn ring(arrivals: Arrivals, pps: f64, costs: Option<&Costs>, descriptors: usize) -> VirtualRing {
    VirtualRing::new(Generator::new(&stream(arrivals, pps, costs)), descriptors)
}

fn fixed(ns: f64) -> Costs {
    Costs { service: Service::Fixed { ns }, expensive_from_ns: f64::INFINITY }
}

/// Serves `pkts` packets one by one. Returns their mean wait until service
/// begins, in ticks.
fn mean_wait(ring: &mut VirtualRing, pkts: u64) -> f64 {
    let (mut now, mut waited) = (1, 0);
    ring.advance(now);
    for _ in 0..pkts {
        if ring.advance(now) == 0 {
            now = ring.next_due_ticks();
            ring.advance(now);
        }
        let due = ring.take().expect("one is due");
        waited += now - due.at_ticks;
        now += due.cost.ticks;
    }
    waited as f64 / pkts as f64
}

/// Pollaczek and Khinchine: the mean wait in M/G/1 is lambda E[S^2] / (2 (1 -
/// rho)); in M/D/1 that is rho S / (2 (1 - rho)).
#[test]
fn waits_are_those_of_m_d_1() {
    for rho in [0.3, 0.5, 0.7, 0.9] {
        let costs = fixed(1_000.0);
        let mut ring = ring(Arrivals::Poisson, rho * 1e6, Some(&costs), 1 << 16);
        let (wait, theory) = (mean_wait(&mut ring, 2_000_000), rho * 1_000.0 / (2.0 * (1.0 - rho)));
        assert!((wait / theory - 1.0).abs() < 0.03, "rho {rho}: {wait} ns instead of {theory}");
        assert_eq!(ring.missed_pkts(), 0);
    }
}

#[test]
fn waits_are_those_of_m_m_1() {
    let costs =
        Costs { service: Service::Exponential { mean_ns: 1_000.0 }, expensive_from_ns: 1e4 };
    let mut ring = ring(Arrivals::Poisson, 5e5, Some(&costs), 1 << 16);
    let wait = mean_wait(&mut ring, 2_000_000);
    assert!((wait / 1_000.0 - 1.0).abs() < 0.03, "{wait} ns instead of rho S / (1 - rho) = 1000");
}

/// Packets per millisecond, over `ms` of them.
fn per_ms(arrivals: Arrivals, pps: f64, ms: usize) -> Vec<u64> {
    let mut generator = Generator::new(&stream(arrivals, pps, None));
    let mut counts = vec![0; ms];
    while let Some(count) = counts.get_mut((generator.draw().at_ticks / 1_000_000) as usize) {
        *count += 1;
    }
    counts
}

fn mean_and_variance(values: &[u64]) -> (f64, f64) {
    let mean = values.iter().sum::<u64>() as f64 / values.len() as f64;
    (
        mean,
        values.iter().map(|&value| (value as f64 - mean).powi(2)).sum::<f64>()
            / values.len() as f64,
    )
}

#[test]
fn poisson_counts_have_one_mean_and_variance() {
    let (mean, variance) = mean_and_variance(&per_ms(Arrivals::Poisson, 1e5, 20_000));
    assert!((mean - 100.0).abs() < 5.0 * (100.0f64 / 20_000.0).sqrt(), "{mean}");
    assert!((variance / mean - 1.0).abs() < 5.0 * (2.0f64 / 20_000.0).sqrt(), "{variance}");
}

#[test]
fn fixed_gaps_are_equal() {
    let mut generator = Generator::new(&stream(Arrivals::Fixed, 1e6 / 3.0, None));
    let first = generator.draw().at_ticks;
    assert!(first <= 3_000);
    for number in 1..10_000 {
        assert!(generator.draw().at_ticks.abs_diff(first + 3_000 * number) <= 1);
    }
    assert!(per_ms(Arrivals::Fixed, 1e5, 1_000).iter().all(|&count| count == 100));
}

#[test]
fn on_off_keeps_its_duty_and_its_rate() {
    let arrivals = Arrivals::OnOff { on_ns: 2_000_000, off_ns: 8_000_000 };
    let counts = per_ms(arrivals, 1e5, 20_000);
    let total: u64 = counts.iter().sum();
    assert!((total as f64 / 2e6 - 1.0).abs() < 5.0 / 2e6f64.sqrt(), "{total}");
    for (ms, &count) in counts.iter().enumerate() {
        assert_eq!(count > 0, ms % 10 < 2, "{count} in millisecond {ms}");
    }
}

#[test]
fn costs_have_the_means_of_their_distributions() {
    let services = [
        Service::Fixed { ns: 1_000.0 },
        Service::Bimodal { cheap_ns: 200.0, expensive_ns: 100_000.0, p: 0.01 },
        Service::Bimodal { cheap_ns: 200.0, expensive_ns: 100_000.0, p: 1.0 },
        Service::Bimodal { cheap_ns: 200.0, expensive_ns: 100_000.0, p: 0.0 },
        Service::Exponential { mean_ns: 1_000.0 },
        Service::Pareto { min_ns: 200.0, max_ns: 20_000.0, shape: 1.5 },
        Service::Pareto { min_ns: 200.0, max_ns: 20_000.0, shape: 1.0 },
        Service::Pareto { min_ns: 200.0, max_ns: 200.0, shape: 2.0 },
        Service::Trace { file: "trace".into(), values_ns: vec![100, 5_000, 300].into() },
    ];
    for service in services {
        let theory = service.mean_ns();
        let costs = Costs { service, expensive_from_ns: f64::INFINITY };
        let mut generator = Generator::new(&stream(Arrivals::Poisson, 1e6, Some(&costs)));
        let drawn = (0..3_000_000).map(|_| generator.draw().cost.ticks as f64).sum::<f64>() / 3e6;
        // Rounding down takes half a tick on average.
        assert!(
            (drawn - theory).abs() < 0.5 + 0.02 * theory,
            "{:?}: {drawn} instead of {theory}",
            costs.service
        );
    }
}

#[test]
fn what_is_expensive_is_what_was_said() {
    let share = |costs: &Costs| {
        let mut generator = Generator::new(&stream(Arrivals::Poisson, 1e6, Some(costs)));
        (0..1_000_000).filter(|_| generator.draw().cost.expensive).count() as f64 / 1e6
    };
    let exponential =
        Costs { service: Service::Exponential { mean_ns: 1_000.0 }, expensive_from_ns: 3_000.0 };
    assert!((share(&exponential) - (-3.0f64).exp()).abs() < 0.002);
    let bimodal = Costs {
        service: Service::Bimodal { cheap_ns: 5.0, expensive_ns: 5.0, p: 0.25 },
        expensive_from_ns: 0.0,
    };
    assert!((share(&bimodal) - 0.25).abs() < 0.003);
}

#[test]
fn a_trace_is_replayed_from_another_place_in_each_queue() {
    let costs = Costs {
        service: Service::Trace { file: "trace".into(), values_ns: vec![10, 20, 30, 40].into() },
        expensive_from_ns: 35.0,
    };
    let drawn = |queue| {
        let mut generator = Generator::new(&Stream {
            queue,
            queues: 2,
            ..stream(Arrivals::Poisson, 1e6, Some(&costs))
        });
        std::array::from_fn(|_| generator.draw().cost.ticks)
    };
    assert_eq!(drawn(0), [10, 20, 30, 40, 10]);
    assert_eq!(drawn(1), [30, 40, 10, 20, 30]);
}

/// Nobody polls for 100 ms: all packets that were due then are late or missed,
/// and each is late by its whole wait.
#[test]
fn a_stall_shows_as_late_and_missed_packets() {
    const STALL: u64 = 100_000_000;
    for descriptors in [1 << 17, 1024] {
        let mut ring = ring(Arrivals::Fixed, 1e6, None, descriptors);
        let (mut taken, mut late) = (0, Vec::new());
        let mut now = 1;
        while now < 300_000_000 {
            ring.advance(now);
            while let Some(due) = ring.take() {
                taken += 1;
                if now - due.at_ticks > 1_000 {
                    late.push(now - due.at_ticks);
                }
            }
            let before_stall = (100_000_000..100_001_000).contains(&now);
            now += if before_stall { STALL } else { 1_000 };
        }
        assert_eq!(taken + ring.missed_pkts(), ring.offered_pkts());
        assert!(ring.offered_pkts().abs_diff(300_000) <= 1, "{}", ring.offered_pkts());
        // A packet arrives with each poll. Those that arrive while drawing
        // catches up are late too.
        let catching_up = 100_000 / CATCH_UP_PKTS as u64 + 1;
        let hit = late.len() as u64 + ring.missed_pkts();
        assert!(
            (99_998..=100_002 + catching_up).contains(&hit),
            "{descriptors} descriptors: {hit} packets were late or missed"
        );
        if descriptors > 100_000 {
            // Waits are uniform: their mean is half the stall, the maximum all
            // of it.
            let mean = late.iter().sum::<u64>() as f64 / late.len() as f64;
            assert!(
                (mean / STALL as f64 - 0.5).abs() < 0.001 && late[0].abs_diff(STALL) < 2_001,
                "{mean}, {}",
                late[0]
            );
            assert_eq!(ring.missed_pkts(), 0);
        } else {
            let oldest = late.iter().filter(|&&wait| wait > STALL - 1_026_000).count();
            assert_eq!(oldest, descriptors, "a ring keeps the oldest packets");
        }
    }
}

/// Catching up in several polls equals catching up at once: packets that
/// arrived while nobody polled found the ring full.
#[test]
fn drawing_is_bounded_and_loses_no_count() {
    const STALL: u64 = 10_000_000;
    let mut ring = ring(Arrivals::Fixed, 1e7, None, 256);
    ring.advance(1);
    let (mut polls, mut taken) = (0, 0);
    loop {
        let waiting = ring.advance(STALL + 1);
        polls += 1;
        assert!(ring.offered_pkts() <= polls * CATCH_UP_PKTS as u64);
        assert_eq!(
            waiting,
            256 - taken,
            "nothing that came in the stall fills the room made after it"
        );
        if ring.behind_ticks(STALL + 1) == 0 {
            break;
        }
        taken += (0..8).filter(|_| ring.take().is_some()).count();
    }
    assert!(polls > 20 && ring.offered_pkts().abs_diff(100_000) <= 1, "{}", ring.offered_pkts());
    assert_eq!(ring.missed_pkts() + 256, ring.offered_pkts(), "only the first 256 found room");
}

#[test]
fn queues_get_their_shares() {
    let shares = Skew::Zipf(1.0).shares(4).unwrap();
    for (queue, share) in shares.iter().enumerate() {
        let mut generator = Generator::new(&Stream {
            queue,
            queues: 4,
            pps: share * 1e6,
            ..stream(Arrivals::Poisson, 0.0, None)
        });
        let count = std::iter::from_fn(|| Some(generator.draw().at_ticks))
            .take_while(|&at| at < HZ)
            .count() as f64;
        assert!(
            (count - share * 1e6).abs() < 5.0 * (share * 1e6).sqrt(),
            "queue {queue}: {count} for a share of {share}"
        );
    }
}
