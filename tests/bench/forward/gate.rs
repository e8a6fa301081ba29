//! Decides whether a window counts, by the machine's state just before and just
//! after it, measured with constant work. Two states move figures although the
//! measured programs are the same. One is the distance of the two CPUs: a
//! virtual machine's CPUs move between real cores. The other is a CPU's share
//! of its core: another process may use the core's other hyperthread, or the
//! host may take the CPU away. This file knows nothing of the measured
//! programs.

use std::hint::black_box;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use crate::others::{self, Others};
use crate::process::{self, Failure};
use crate::stats::median;

/// The controls, and the factor by which each may differ between two readings
/// of one state.
const CONTROLS: [f64; 3] = [
    1.08, // one chain of integer operations: the clock rate, and whether the CPU is taken away; steady within 2%
    1.25, // six independent chains: how much of the core is ours; 1.6 times as slow beside a busy hyperthread, noisy there
    1.30, // a walk through the second-level cache
];
/// Round trips differ by up to 1.6 within one placement of the two CPUs, and by
/// 3 and more between placements.
const ROUND_TRIP_LIMIT: f64 = 1.8;
/// Upper bounds of the round trip, in ns: hyperthreads of one core take 30;
/// cores of one socket 50 to 150; beyond that 400 to 500.
const SIBLINGS_NS: f64 = 45.0;
const NEAR_NS: f64 = 220.0;
/// Samples per reading, whose median counts: a change of milliseconds is no
/// state.
const SAMPLES: usize = 3;
const BETWEEN_SAMPLES: Duration = Duration::from_millis(15);
/// A reading older than this is repeated: the state may flip within seconds.
const FRESH: Duration = Duration::from_millis(100);

/// The two CPUs that every window uses.
#[derive(Clone, Copy)]
pub struct Cpus {
    /// The CPU that receives packets.
    pub rx: usize,
    /// The CPU of the second lcore, if there is one.
    pub other: usize,
}

impl Cpus {
    /// The first two CPUs of this process. The second one receives, because the
    /// first one also runs the machine's odd jobs.
    pub fn of_machine() -> Result<Cpus, String> {
        let allowed = sched_getaffinity(Pid::from_raw(0))
            .map_err(|error| format!("cannot read which CPUs may be used: {error}"))?;
        let mut cpus = (0..CpuSet::count()).filter(|&cpu| allowed.is_set(cpu).unwrap_or(false));
        match (cpus.next(), cpus.next()) {
            (Some(other), Some(rx)) => Ok(Cpus { rx, other }),
            _ => Err("two CPUs are needed: this process may use one".to_owned()),
        }
    }
}

/// The CPUs that a window keeps busy, and so the states that must not change
/// during it.
#[derive(Clone, Copy, PartialEq)]
pub enum Uses {
    RxCpu,
    BothCpus,
}

/// The distance of the two CPUs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Distance {
    Siblings,
    Near,
    Far,
}

impl Distance {
    pub const ALL: [Distance; 3] = [Distance::Siblings, Distance::Near, Distance::Far];

    pub fn word(self) -> &'static str {
        match self {
            Distance::Siblings => "siblings",
            Distance::Near => "near",
            Distance::Far => "far",
        }
    }
}

/// The machine's state at one moment.
#[derive(Clone, Copy)]
pub struct Reading {
    /// Round trip of a cache line between the two CPUs.
    pub round_trip_ns: f64,
    /// Time of a piece of each control, on the receiving CPU and on the other
    /// one.
    controls_ns: [[f64; CONTROLS.len()]; 2],
}

impl Reading {
    pub fn distance(&self) -> Distance {
        match self.round_trip_ns {
            ..SIBLINGS_NS => Distance::Siblings,
            ..NEAR_NS => Distance::Near,
            _ => Distance::Far,
        }
    }

    /// Whether the state stayed the same between the two readings.
    pub fn same(&self, later: &Reading, uses: Uses) -> bool {
        let within = |a: f64, b: f64, factor: f64| a.max(b) <= a.min(b) * factor;
        let cpus = if uses == Uses::RxCpu { 1 } else { 2 };
        let mut pairs = self.controls_ns.iter().zip(&later.controls_ns).take(cpus);
        let controls = pairs.all(|(a, b)| {
            CONTROLS.iter().enumerate().all(|(i, &factor)| within(a[i], b[i], factor))
        });
        controls
            && (uses == Uses::RxCpu
                || within(self.round_trip_ns, later.round_trip_ns, ROUND_TRIP_LIMIT))
    }
}

/// A window in which the state did not change.
pub struct Accepted<T> {
    pub figure: T,
    pub before: Reading,
    pub after: Reading,
}

pub struct Gate {
    pub cpus: Cpus,
    chase: Vec<u32>,
    last: Option<(Instant, Reading)>,
    /// The fastest independent chains so far.
    best_ns: f64,
    /// Whether other processes were quiet during the latest window.
    quiet: bool,
}

impl Gate {
    pub fn new(cpus: Cpus) -> Gate {
        Gate {
            cpus,
            chase: cycle_of(CHASE_LINES),
            last: None,
            best_ns: f64::INFINITY,
            quiet: false,
        }
    }

    /// Runs one window between two readings. `None` if the state changed, or
    /// other processes used the CPUs.
    pub fn window<T>(
        &mut self,
        uses: Uses,
        run: impl FnOnce() -> Result<T, Failure>,
    ) -> Result<Option<Accepted<T>>, Failure> {
        if !self.quiet {
            others::wait_for_quiet()?;
        }
        let before = self.now()?;
        let others = Others::now();
        let figure = run()?;
        self.quiet = others.were_quiet();
        let after = self.read()?;
        Ok((self.quiet && before.same(&after, uses)).then_some(Accepted { figure, before, after }))
    }

    /// Runs `window` regardless of the state, once other processes are quiet.
    /// `None` if they used the CPUs meanwhile.
    pub fn quietly<T>(
        &mut self,
        run: impl FnOnce() -> Result<T, Failure>,
    ) -> Result<Option<(T, Reading)>, Failure> {
        if !self.quiet {
            others::wait_for_quiet()?;
        }
        let before = self.read()?;
        let others = Others::now();
        let figure = run()?;
        self.quiet = others.were_quiet();
        Ok(self.quiet.then_some((figure, before)))
    }

    /// The latest reading if it is fresh, else a new one.
    pub fn now(&mut self) -> Result<Reading, Failure> {
        match self.last {
            Some((at, reading)) if at.elapsed() < FRESH => Ok(reading),
            _ => self.read(),
        }
    }

    /// The receiving CPU's share of its core at a reading, relative to the best
    /// one seen.
    pub fn share(&self, reading: &Reading) -> f64 {
        self.best_ns / reading.controls_ns[0][1]
    }

    fn read(&mut self) -> Result<Reading, Failure> {
        process::check_interrupt()?;
        let samples: [Reading; SAMPLES] = std::array::from_fn(|i| {
            if i > 0 {
                thread::sleep(BETWEEN_SAMPLES);
            }
            self.sample()
        });
        let middle = |value: &dyn Fn(&Reading) -> f64| {
            median(samples.iter().map(value)).expect("there are samples")
        };
        let reading = Reading {
            round_trip_ns: middle(&|sample| sample.round_trip_ns),
            controls_ns: [0, 1]
                .map(|cpu| std::array::from_fn(|i| middle(&|sample| sample.controls_ns[cpu][i]))),
        };
        self.best_ns = self.best_ns.min(reading.controls_ns[0][1]);
        self.last = Some((Instant::now(), reading));
        Ok(reading)
    }

    fn sample(&self) -> Reading {
        let Cpus { rx, other } = self.cpus;
        Reading {
            round_trip_ns: round_trip_ns(rx, other),
            controls_ns: [rx, other].map(|cpu| on_cpu(cpu, || controls_ns(&self.chase))),
        }
    }
}

fn pin(cpu: usize) {
    let mut set = CpuSet::new();
    let pinned = set.set(cpu).and_then(|()| sched_setaffinity(Pid::from_raw(0), &set));
    pinned.expect("the CPU is one of those that this process may use");
}

fn on_cpu<T: Send>(cpu: usize, measure: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let thread = scope.spawn(move || {
            pin(cpu);
            measure()
        });
        thread.join().expect("a measurement does not panic")
    })
}

/// Time per piece of a repeated measurement: the mean without the slowest
/// quarter. A single interrupt does not count, a CPU that is taken away
/// repeatedly does.
fn per_piece_ns(pieces: usize, mut piece: impl FnMut()) -> f64 {
    let mut times_ns: Vec<f64> = (0..pieces)
        .map(|_| {
            let start = Instant::now();
            piece();
            start.elapsed().as_nanos() as f64
        })
        .collect();
    times_ns.sort_by(f64::total_cmp);
    times_ns.truncate(pieces.div_ceil(4) * 3);
    times_ns.iter().sum::<f64>() / times_ns.len() as f64
}

const PIECES: usize = 24;
const CHAIN_STEPS: usize = 80_000;
const INDEPENDENT_STEPS: usize = 20_000;
const CHASE_STEPS: usize = 8_000;
/// 512 KiB of cache lines: beyond the first level, within the second.
const CHASE_LINES: usize = 8_192;
const LINE_WORDS: usize = 16;

fn controls_ns(chase: &[u32]) -> [f64; CONTROLS.len()] {
    let mut chain = black_box(1_u64);
    let chain_ns = per_piece_ns(PIECES, || {
        for _ in 0..CHAIN_STEPS {
            chain = (chain ^ (chain >> 7)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
        chain = black_box(chain);
    });
    let mut chains = black_box([1_u64, 2, 3, 4, 5, 6]);
    let independent_ns = per_piece_ns(PIECES, || {
        for _ in 0..INDEPENDENT_STEPS {
            for state in &mut chains {
                *state ^= *state >> 7;
                *state = state.wrapping_add(*state << 3);
            }
        }
        chains = black_box(chains);
    });
    let mut at = black_box(0_u32);
    let memory_ns = per_piece_ns(PIECES, || {
        for _ in 0..CHASE_STEPS {
            at = chase[at as usize];
        }
        at = black_box(at);
    });
    [chain_ns, independent_ns, memory_ns]
}

/// One cycle through all lines, in an order that prefetchers do not predict.
fn cycle_of(lines: usize) -> Vec<u32> {
    let mut order: Vec<usize> = (0..lines).collect();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for i in (1..lines).rev() {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        order.swap(i, (state >> 33) as usize % (i + 1));
    }
    let mut next = vec![0; lines * LINE_WORDS];
    for (i, &line) in order.iter().enumerate() {
        next[line * LINE_WORDS] = (order[(i + 1) % lines] * LINE_WORDS) as u32;
    }
    next
}

const ROUND_TRIPS: u32 = 1_000;

/// The word alone on its pair of cache lines.
#[repr(align(128))]
struct Line(AtomicU32);

fn round_trip_ns(here: usize, there: usize) -> f64 {
    let line = Line(AtomicU32::new(0));
    let rounds = ROUND_TRIPS * PIECES as u32;
    thread::scope(|scope| {
        scope.spawn(|| {
            pin(there);
            for round in 0..rounds {
                pass(&line.0, 2 * round + 1);
            }
        });
        let here = scope.spawn(|| {
            pin(here);
            let mut round = 0;
            per_piece_ns(PIECES, || {
                for _ in 0..ROUND_TRIPS {
                    pass(&line.0, 2 * round);
                    round += 1;
                }
            })
        });
        here.join().expect("a measurement does not panic") / f64::from(ROUND_TRIPS)
    })
}

/// Waits for a turn and passes it on.
fn pass(line: &AtomicU32, turn: u32) {
    while line.load(Ordering::Acquire) != turn {
        std::hint::spin_loop();
    }
    line.store(turn + 1, Ordering::Release);
}
