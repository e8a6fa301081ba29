//! `mplab calibrate`: measures what the lcores' own work takes on this machine,
//! and when the host takes its CPUs away, for simulations.
//!
//! Queues and boards are measured in this process, on one CPU and between two.
//! Polling, sending and places are measured on short runs of mpfwd: each
//! lcore's time is that of its polls in vain, its bursts and its packets, and
//! several rates tell these apart.

use std::fs::read_to_string;
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use micropools::attention::{Attention, Watch};
use micropools::board::Board;
use micropools::heartbeat::{Busy, Cost};
use micropools::lease::Lease;
use micropools::order::Keeping;
use micropools::policy::{Mode, Pool};
use micropools::runq::RunQueue;
use micropools::shed::{Heads, Oldest, Pick};
use micropools::sim::{Costs, Topology};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use super::args::CalibrateArgs;
use super::bench::{Bench, End};
use super::child::{Failure, Interrupts, round};
use super::comparison::median;
use super::measured::Measured;
use super::mode::LabMode;
use super::profile::Profile;
use super::workload::Workload;
use mpfwd_common::error::{Error, Result};
use mpfwd_common::output::{self, say};
use mpfwd_common::text::{table, time};

/// Each figure is a median of so many windows.
const WINDOWS: usize = 15;
const CALLS: u32 = 20_000;
const BURST: usize = 32;

/// Rates of the runs that tell polls, bursts and packets apart, per lcore.
const RATES: [f64; 4] = [1e3, 1e6, 3e6, 6e6];
const RUN: Duration = Duration::from_millis(500);

/// Longer pauses between two readings of the clock are the host's.
const GAP_NS: u64 = 1_000;

/// # Errors
/// Bad input; mpfwd does not run; the file can't be written.
pub(super) fn calibrate(args: &CalibrateArgs) -> Result<()> {
    output::check_writable("--out", &args.out)?;
    let cpus = cpus();
    let mut costs = Costs::default();
    pin(cpus[0])?;
    say("measuring queues and boards");
    measure_alone(&mut costs);
    let topology = measure_lines(&cpus, &mut costs)?;
    let free = unpin(&cpus);
    if args.without_mpfwd {
        say("without mpfwd: polling and sending as in the built-in profile");
    } else {
        free?;
        measure_polls(args, &mut costs)?;
    }
    let recorded_ns = args.gap_time.as_nanos() as u64;
    say(format_args!("recording host gaps for {}", time(recorded_ns)));
    let gaps_ns = record_gaps(&cpus, args.gap_time)?;
    let profile = Profile { machine: machine(cpus.len()), costs, topology, gaps_ns, recorded_ns };
    show(&profile);
    output::write(&args.out, "the profile", profile.text()?)?;
    say(format_args!("profile: {}", args.out.display()));
    Ok(())
}

fn show(profile: &Profile) {
    let mut table = table(&["cost", "ns", "built-in ns"]);
    for ((name, ns), (_, built_in)) in
        profile.costs.named().into_iter().zip(Costs::default().named())
    {
        let name = name.strip_suffix("_ns").unwrap_or(name).replace('_', " ");
        table.add_row([name, format!("{ns:.1}"), format!("{built_in:.1}")]);
    }
    say(table);
    for (cpu, gaps) in profile.gaps_ns.iter().enumerate() {
        let all: u64 = gaps.iter().map(|gap| gap.1).sum();
        let longest = gaps.iter().map(|gap| gap.1).max().unwrap_or(0);
        say(format_args!(
            "host gaps of CPU {cpu}: {} in {} gaps, longest {}",
            time(all),
            gaps.len(),
            time(longest)
        ));
    }
}

/// The CPUs of this process.
fn cpus() -> Vec<usize> {
    let allowed = sched_getaffinity(Pid::from_raw(0)).unwrap_or_default();
    let cpus: Vec<usize> =
        (0..CpuSet::count()).filter(|&cpu| allowed.is_set(cpu).unwrap_or(false)).collect();
    if cpus.is_empty() { vec![0] } else { cpus }
}

fn pin(cpu: usize) -> Result<()> {
    unpin(&[cpu])
}

/// The calling thread runs on these CPUs from now on.
fn unpin(cpus: &[usize]) -> Result<()> {
    let mut set = CpuSet::new();
    let set_all = cpus.iter().try_for_each(|&cpu| set.set(cpu));
    set_all
        .and_then(|()| sched_setaffinity(Pid::from_raw(0), &set))
        .map_err(|error| Error::Setup(format!("CPUs {cpus:?} can't be used: {error}")))
}

fn machine(cpus: usize) -> String {
    let info = read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let model = model.map_or("unknown CPU", |(_, model)| model.trim());
    format!("{model}, {cpus} CPUs")
}

/// Nanoseconds per call.
fn per_call(mut call: impl FnMut()) -> f64 {
    let window = |_| {
        let start = Instant::now();
        (0..CALLS).for_each(|_| call());
        start.elapsed().as_nanos() as f64 / f64::from(CALLS)
    };
    median((0..WINDOWS).map(window)).unwrap_or(0.0)
}

/// Costs of one CPU that works on lines of its own cache.
fn measure_alone(costs: &mut Costs) {
    costs.clock_ns = per_call(|| {
        black_box(safe_arch::read_timestamp_counter());
    });
    let mut queue = RunQueue::<Box<u64>>::new(2 * BURST, 1 << 14);
    let mut thief = queue.stealer();
    let mut items: Vec<Box<u64>> = (0..BURST as u64).map(Box::new).collect();
    let both_ns = per_call(|| {
        queue.push_burst(&mut items);
        while let Some(item) = queue.pop() {
            items.push(item);
        }
    }) / BURST as f64;
    (costs.push_pkt_ns, costs.pop_pkt_ns) = (both_ns / 2.0, both_ns / 2.0);
    let mut loot: Vec<Box<u64>> = Vec::with_capacity(BURST);
    let mut steal_ns = |pkts: usize| {
        per_call(|| {
            queue.push_burst(&mut items);
            thief.steal(pkts, &mut loot);
            while let Some(item) = queue.pop() {
                items.push(item);
            }
            items.append(&mut loot);
        }) - both_ns * BURST as f64
    };
    let (one_ns, half_ns) = (steal_ns(1), steal_ns(BURST / 2));
    let moved = (BURST / 2 - 1) as f64;
    // A thief saves the owner as many pops.
    costs.steal_pkt_ns = ((half_ns - one_ns) / moved + both_ns / 2.0).max(1.0);
    costs.steal_ns = (one_ns + both_ns / 2.0 - costs.steal_pkt_ns).max(1.0);

    let lease = Lease::new();
    costs.lease_ns = per_call(|| drop(black_box(lease.try_acquire())));
    let heads = Heads::new(8);
    let (mut pick, mut stamp) = (Oldest::default(), 0);
    let shed_ns = per_call(|| {
        stamp += 1;
        heads.enqueued(3, stamp);
        heads.dequeued(3, || None);
    });
    let all_ns = per_call(|| {
        stamp += 1;
        heads.enqueued(3, stamp);
        let at = pick.pick(&heads).unwrap_or(0);
        heads.claim(at);
        heads.dequeued(at, || None);
    });
    costs.dequeue_ns = (all_ns - shed_ns / 2.0).max(1.0);

    let order = Keeping::<u64>::new(1, 4_096);
    let mut flow = 0u32;
    costs.enter_pkt_ns = per_call(|| {
        flow = flow.wrapping_add(0x9e37_79b9);
        if let Ok(ticket) = order.enter(order.bucket(0, flow)) {
            black_box(order.finish(ticket, 0));
            order.note_sent(ticket);
            black_box(order.release(ticket));
        }
    }) / 2.0;
    costs.release_pkt_ns = costs.enter_pkt_ns;

    let (boards, attention) = ([0; 4].map(|_| Board::new(Pool::A, 1, 1_000)), Attention::new(4));
    let mut now = 1;
    costs.busy_ns = per_call(|| {
        now += 1;
        let busy = Busy { since_ticks: now, flow_hash: 0, cost: Cost::Expensive };
        boards[0].heartbeat.begin(busy);
        boards[0].heartbeat.end();
        boards[0].beat.show(now);
    });
    let looks = |stall_ticks: Option<u64>| {
        let mut watch = Watch::new(0, boards.len(), stall_ticks);
        per_call(|| {
            black_box(watch.look(now, &attention, |at| &boards[at]));
        })
    };
    costs.look_ns = looks(None);
    costs.look_board_ns = ((looks(Some(1 << 40)) - costs.look_ns) / 3.0).max(1.0);
    costs.rest_ns = per_call(std::hint::spin_loop);
}

/// CPUs that share what a file of the kernel's lists, counted among `cpus`.
fn sharing(cpus: &[usize], file: &str) -> usize {
    let path = format!("/sys/devices/system/cpu/cpu{}/{file}", cpus[0]);
    let Ok(text) = read_to_string(path) else { return cpus.len() };
    let listed: Vec<(usize, usize)> = text
        .trim()
        .split(',')
        .filter_map(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            Some((first.parse().ok()?, last.parse().ok()?))
        })
        .collect();
    let is_listed = |cpu: &&usize| listed.iter().any(|of| (of.0..=of.1).contains(*cpu));
    cpus.iter().filter(is_listed).count().max(1)
}

/// Measures lines between the first CPU and others at each distance. Distances
/// that this machine lacks keep their ratio to the nearest.
fn measure_lines(cpus: &[usize], costs: &mut Costs) -> Result<Topology> {
    let built_in = Topology::default();
    if cpus.len() < 2 {
        return Ok(built_in);
    }
    let cache = sharing(cpus, "cache/index3/shared_cpu_list");
    let socket = sharing(cpus, "topology/package_cpus_list").max(cache);
    let line_ns = |other: usize| transfer_ns(cpus[0], cpus[other]);
    let near_ns = if cache > 1 { Some(line_ns(1)?) } else { None };
    let far_ns = if socket > cache { Some(line_ns(cache)?) } else { None };
    let socket_ns = if cpus.len() > socket { Some(line_ns(socket)?) } else { None };
    let defaults = Costs::default();
    let scale = match (near_ns, far_ns, socket_ns) {
        (Some(ns), ..) => ns / defaults.near_line_ns,
        (_, Some(ns), _) => ns / defaults.far_line_ns,
        (.., Some(ns)) => ns / defaults.socket_line_ns,
        _ => 1.0,
    };
    costs.near_line_ns = near_ns.unwrap_or(defaults.near_line_ns * scale);
    costs.far_line_ns = far_ns.unwrap_or(defaults.far_line_ns * scale);
    costs.socket_line_ns = socket_ns.unwrap_or(defaults.socket_line_ns * scale);
    let of_machine = cpus.len() > 2;
    Ok(if of_machine {
        Topology { lcores_per_cache: cache, lcores_per_socket: socket }
    } else {
        built_in
    })
}

/// A line's way from one CPU to another: half of its round trip.
fn transfer_ns(one: usize, other: usize) -> Result<f64> {
    const TRIPS: u64 = 20_000;
    let line = AtomicU64::new(0);
    let turn = |mine: u64| {
        for trip in 0..TRIPS {
            while line.load(Ordering::Acquire) != 2 * trip + mine {
                std::hint::spin_loop();
            }
            line.store(2 * trip + mine + 1, Ordering::Release);
        }
    };
    std::thread::scope(|scope| {
        let there = scope.spawn(|| pin(other).map(|()| turn(1)));
        let here = scope.spawn(|| {
            pin(one)?;
            let start = Instant::now();
            turn(0);
            Ok(start.elapsed())
        });
        let failed = |_| Error::Setup("a thread that measures lines failed".into());
        there.join().map_err(failed)??;
        let elapsed: Duration = here.join().map_err(failed)??;
        Ok(elapsed.as_nanos() as f64 / (2 * TRIPS) as f64)
    })
}

/// An lcore's time per empty poll, per burst and per packet.
struct Fit {
    empty_ns: f64,
    burst_ns: f64,
    pkt_ns: f64,
    source_pkt_ns: f64,
}

fn measure_polls(args: &CalibrateArgs, costs: &mut Costs) -> Result<()> {
    let lcores = args.machine.lcores.clone().unwrap_or_default();
    let pools = args.machine.pools.unwrap_or(lcores.pools());
    let bench = Bench::new(&args.machine, lcores, pools)?;
    let interrupts = Interrupts::catch()?;
    let [rtc, hybrid] =
        [Mode::Rtc, Mode::Hybrid].map(|mode| fit(&bench, LabMode::from(mode), &interrupts));
    let (rtc, hybrid) = (rtc?, hybrid?);
    // A look around is among hybrid's polls in vain.
    costs.poll_empty_ns = (rtc.empty_ns - costs.clock_ns).max(1.0);
    costs.source_pkt_ns = rtc.source_pkt_ns;
    let burst_ns = (rtc.burst_ns - costs.clock_ns).max(2.0);
    (costs.poll_burst_ns, costs.send_burst_ns) = (burst_ns * 0.6, burst_ns * 0.4);
    let pkt_ns = (rtc.pkt_ns - rtc.source_pkt_ns).max(3.0);
    costs.poll_pkt_ns = pkt_ns / 3.0;
    costs.classify_pkt_ns = pkt_ns / 3.0;
    costs.send_pkt_ns = pkt_ns / 3.0;
    let place_ns = hybrid.pkt_ns - rtc.pkt_ns;
    if place_ns > costs.enter_pkt_ns + costs.release_pkt_ns {
        costs.enter_pkt_ns = place_ns * 0.4;
        costs.release_pkt_ns = place_ns * 0.6;
    }
    Ok(())
}

/// Runs a mode at several rates, and fits the times to what was counted.
fn fit(bench: &Bench, mode: LabMode, interrupts: &Interrupts) -> Result<Fit> {
    let folder = tempfile::tempdir()
        .map_err(|error| Error::Setup(format!("no folder for reports: {error}")))?;
    let report = folder.path().join("report.json");
    let mut runs = Vec::with_capacity(RATES.len());
    for (seed, rate) in (1..).zip(RATES) {
        say(format_args!("measuring {} at {rate:.0} packets/s and lcore", mode.name()));
        let pps = rate * bench.lcores.count() as f64;
        let keys = format!("rate={pps:.0}");
        let workload = Workload::as_told("spin:cheap=1ns", (0.5, Some(&keys)))?;
        let words = bench.args(mode, &workload, seed, End::After(RUN), &report);
        let run = round(&bench.mpfwd, &words, &report, RUN, interrupts).map_err(|failure| {
            Error::Setup(match failure {
                Failure::Interrupted => "interrupted: no profile was written".into(),
                Failure::Refused(why) | Failure::Broken(why) => {
                    format!("mode {}: {why}", mode.name())
                }
            })
        })?;
        runs.push(run);
    }
    let Some((idle, busy)) = runs.split_first() else {
        return Err(Error::Setup("there were no runs".into()));
    };
    let empty_ns = spent_ns(idle) / idle.empty_polls().max(1) as f64;
    // Least squares over bursts and packets.
    let rows = busy.iter().map(|run| {
        let (bursts, pkts) = (run.rx_bursts() as f64, run.tx_pkts as f64);
        (bursts, pkts, spent_ns(run) - run.empty_polls() as f64 * empty_ns)
    });
    let [bb, bp, pp, bt, pt] = rows.fold([0.0; 5], |[bb, bp, pp, bt, pt], (b, p, t)| {
        [bb + b * b, bp + b * p, pp + p * p, bt + b * t, pt + p * t]
    });
    let determinant = bb * pp - bp * bp;
    let source = busy.iter().filter_map(|run| run.source.as_ref()).map(|source| source.pkt_ns);
    let (burst_ns, pkt_ns) = ((bt * pp - pt * bp) / determinant, (pt * bb - bt * bp) / determinant);
    if !(burst_ns.is_finite() && pkt_ns.is_finite() && pkt_ns > 0.0) {
        return Err(Error::Setup(
            "the runs contradict each other: the machine is too busy to measure; try again".into(),
        ));
    }
    Ok(Fit {
        empty_ns,
        burst_ns: burst_ns.max(0.0),
        pkt_ns,
        source_pkt_ns: median(source).unwrap_or(0.0).min(pkt_ns),
    })
}

/// The lcores' time without host gaps.
fn spent_ns(run: &Measured) -> f64 {
    run.elapsed_s * 1e9 * run.lcores() as f64 - run.host_gaps.gap_ns as f64
}

/// The gaps of each CPU, all at the same time.
fn record_gaps(cpus: &[usize], recorded: Duration) -> Result<Vec<Vec<(u64, u64)>>> {
    let start = Instant::now();
    let record = |cpu: usize| {
        pin(cpu)?;
        let mut gaps = Vec::new();
        let ns = || start.elapsed().as_nanos() as u64;
        let mut before = ns();
        while before < recorded.as_nanos() as u64 {
            let now = ns();
            if now - before > GAP_NS {
                gaps.push((before, now - before));
            }
            before = now;
        }
        // The last one may reach beyond the recording.
        if gaps.last().is_some_and(|gap| u128::from(gap.0 + gap.1) > recorded.as_nanos()) {
            gaps.pop();
        }
        Ok(gaps)
    };
    let record = &record;
    std::thread::scope(|scope| {
        let threads: Vec<_> = cpus.iter().map(|&cpu| scope.spawn(move || record(cpu))).collect();
        let failed = |_| Error::Setup("a thread that records host gaps failed".into());
        threads.into_iter().map(|thread| thread.join().map_err(failed)?).collect()
    })
}
