//! The parts of the benchmark: their windows, peers, and the ratios to reach.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use crate::Part;
use crate::flows::Flows;
use crate::gate::{Distance, Gate, Uses};
use crate::handoff::{self, DEFER_ALL, RING_LINES};
use crate::peers::{self, Forward, installed};
use crate::process::{self, Failure};
use crate::stats::{self, Compared, median};
use crate::table::{self, Row, StepRow, Subject};
use crate::turns::{self, Forwarder};
use indicatif::ProgressBar;

const MODES: [&str; 3] = ["io", "mac", "macswap"];
const BURSTS: [u16; 2] = [32, 64];
/// The hand-off's burst, as in event devices and the ring test.
const HANDOFF: Forward = Forward { mode: "io", burst: 32 };
const HANDOFF_SUBJECT: Subject =
    Subject { part: Part::Handoff, forward_mode: HANDOFF.mode, setup: None, burst: HANDOFF.burst };
/// The burst of modes, stamps and order.
const MACSWAP: Forward = Forward { mode: "macswap", burst: 32 };

/// Prints a table per part that has rows, and the devices of its ports.
const TABLES: [(Part, &str); 9] = [
    (
        Part::Forward,
        "Forwarding on one lcore, two net_null ports, in turns of 50 ms; medians of rounds",
    ),
    (
        Part::Handoff,
        "From one lcore to another, two net_null ports, every packet deferred, no work to do",
    ),
    (
        Part::Modes,
        "Hybrid beside pools, one lcore polling two net_null ports, nothing expensive, in turns of 50 ms; medians of rounds",
    ),
    (
        Part::Stamps,
        "With stamps beside without latency, one lcore polling two net_null ports, in turns of 50 ms; medians of rounds",
    ),
    (
        Part::Order,
        "With --order flow beside none, one lcore polling, in turns of 50 ms; medians of rounds. On two net_null ports; 1024 flows and \
         deferring on a net_pcap port that plays 1,024 flows, which a net_null port sends",
    ),
    (
        Part::DeadPort,
        "What one of two ports sends while the other's link is down, beside the same while it is up, two lcores, in turns of 50 ms; \
         medians of rounds. A net_pcap port plays 1,024 flows, half of them for each port, and one packet in a thousand is expensive",
    ),
    (
        Part::Link,
        "Linked statically beside the shared objects, one lcore polling two net_null ports, in turns of 50 ms; medians of rounds",
    ),
    (
        Part::Parent,
        "This build beside --parent, on two net_null ports or 1,024 flows on a net_pcap port, in turns of 50 ms; medians of rounds",
    ),
    (
        Part::Scrape,
        "Asked for all metrics beside never asked, one lcore polling two net_null ports, in turns of 50 ms; medians of rounds",
    ),
];

/// A scrape or two in each turn.
const SCRAPE_EVERY: Duration = Duration::from_millis(50);

/// Defers one packet in a thousand, which costs 2 us.
const DEFER_SOME: &str = "--work spin:cheap=0ns,expensive=2us,p=0.001,mark=sequence";
/// Hybrid, where one lcore polls all queues.
const HYBRID: &str = "--mode hybrid --config (0,0,0),(1,0,0)";

const fn macswap(part: Part, setup: &'static str) -> Subject {
    Subject { part, forward_mode: MACSWAP.mode, setup: Some(setup), burst: MACSWAP.burst }
}

#[derive(Default)]
pub struct Results {
    pub rows: Vec<Row>,
    steps: Vec<StepRow>,
    /// Why a peer was skipped, and which figures lack valid windows.
    notes: BTreeSet<String>,
}

impl Results {
    pub fn print(&self) {
        for (part, heading) in TABLES {
            let rows: Vec<&Row> = self.rows.iter().filter(|row| row.subject.part == part).collect();
            if !rows.is_empty() {
                println!("{heading}:\n{}", table::compared(&rows));
            }
        }
        if !self.rows.is_empty() {
            println!(
                "ratio: mpfwd / peer. core: how much of its core the receiving CPU had, of the best seen."
            );
            println!(
                "discarded: windows during which, or between which, the machine's state moved, or others used the CPUs."
            );
        }
        if !self.steps.is_empty() {
            println!(
                "Cycles per packet of each step of mpfwd, the cost of measuring taken off:\n{}",
                table::steps(&self.steps)
            );
        }
        for note in &self.notes {
            println!("{note}");
        }
    }
}

pub struct Bench {
    pub gate: Gate,
    /// Valid pairs per figure.
    pub rounds: usize,
    pub progress: ProgressBar,
    pub results: Results,
}

impl Bench {
    pub fn forward(&mut self) -> Result<(), Failure> {
        let alike = peers::static_testpmd();
        let peers = [
            ("testpmd", "", Some(1.25), installed("dpdk-testpmd", "dpdk-dev")),
            ("testpmd-static", "", Some(1.0), alike.clone()),
            // Reads the clock twice per burst. mpfwd's stamps need one reading,
            // plain testpmd none.
            ("testpmd-static, clock", "--record-core-cycles", None, alike),
        ];
        let mut there = Vec::new();
        for (name, more, target, binary) in &peers {
            match binary {
                Ok(binary) => there.push((*name, *more, *target, binary)),
                Err(reason) => drop(self.results.notes.insert(format!("skipped {name}: {reason}"))),
            }
        }
        let targets: Vec<_> = there.iter().map(|&(name, _, target, _)| (name, target)).collect();
        self.progress.inc_length((MODES.len() * BURSTS.len() * self.rounds) as u64);
        let cpus = self.gate.cpus;
        for mode in MODES {
            for burst in BURSTS {
                let forward = Forward { mode, burst };
                let subject =
                    Subject { part: Part::Forward, forward_mode: mode, setup: None, burst };
                self.in_turns(subject, &targets, || {
                    let mut all = vec![forward.start_mpfwd("--mode pools", cpus)?];
                    for (_, more, _, binary) in &there {
                        all.push(forward.start_testpmd(binary, cpus, more)?);
                    }
                    Ok(all)
                })?;
            }
        }
        Ok(())
    }

    /// A row for each of the peers, which are started after mpfwd, in their
    /// order.
    fn in_turns(
        &mut self,
        subject: Subject,
        peers: &[(&str, Option<f64>)],
        start: impl Fn() -> Result<Vec<Forwarder>, Failure>,
    ) -> Result<(), Failure> {
        self.progress.set_message(subject.to_string());
        let compared = match stats::compare_in_turns(
            &mut self.gate,
            self.rounds,
            || turns::round(&start),
            || self.progress.inc(1),
        ) {
            Err(Failure::Peer(reason)) => {
                // Ctrl-C reaches the peers, too.
                process::check_interrupt()?;
                self.results.notes.insert(format!("skipped {subject}: {reason}"));
                peers.iter().for_each(|(name, _)| self.add(Row::skipped(subject, name, &reason)));
                return Ok(());
            }
            compared => compared?,
        };
        for ((name, target), Compared { pairs, discarded }) in peers.iter().zip(compared) {
            if pairs.len() < self.rounds {
                self.note_restless(&format!("{subject} {name}"), pairs.len(), discarded);
            }
            let pairs: Vec<_> = pairs.iter().collect();
            self.add(Row::of((subject, name), *target, &pairs, discarded, |&mpps| mpps));
        }
        Ok(())
    }

    pub fn handoff(&mut self) -> Result<(), Failure> {
        self.progress.inc_length((3 * self.rounds) as u64);
        let cpus = self.gate.cpus;
        let mpfwd =
            || HANDOFF.mpfwd(cpus, DEFER_ALL).and_then(|report| peers::worked_mpps(&report));
        for (name, target) in [("event_dsw", 1.0), ("event_sw", 2.0)] {
            let peer = installed("dpdk-test-eventdev", "dpdk-dev")
                .map(|_| move || handoff::eventdev(&format!("{name}0"), cpus));
            match self.compare(Uses::BothCpus, (HANDOFF_SUBJECT, name), mpfwd, peer)? {
                Ok(compared) => self.add_by_distance(name, Some(target), &compared, |&mpps| mpps),
                Err(reason) => self.add(Row::skipped(HANDOFF_SUBJECT, name, reason)),
            }
        }
        let peer = installed("dpdk-test", "dpdk-dev").map(|_| move || handoff::ring(cpus));
        match self.compare(Uses::BothCpus, (HANDOFF_SUBJECT, "ring"), mpfwd, peer)? {
            Ok(compared) => {
                for (i, (name, ..)) in RING_LINES.iter().enumerate() {
                    self.add_by_distance(name, None, &compared, |mpps| mpps[i]);
                }
            }
            Err(reason) => self.add(Row::skipped(HANDOFF_SUBJECT, "ring", reason)),
        }
        Ok(())
    }

    /// In pools and in hybrid, pool A's lcore polls all queues and nothing is
    /// expensive. The difference is the cost of hybrid's readiness to help.
    pub fn modes(&mut self) -> Result<(), Failure> {
        self.progress.inc_length(self.rounds as u64);
        let cpus = self.gate.cpus;
        self.in_turns(macswap(Part::Modes, "hybrid"), &[("itself in pools", Some(0.98))], || {
            Ok(vec![MACSWAP.start_mpfwd(HYBRID, cpus)?, MACSWAP.start_mpfwd("--mode pools", cpus)?])
        })
    }

    /// Stamps by polls, and stamps on each packet (which both sides have),
    /// beside no latency at all.
    pub fn stamps(&mut self) -> Result<(), Failure> {
        let cpus = self.gate.cpus;
        for (setup, stamps, without, target) in [
            ("software", "software", "off", 0.97),
            ("per packet", "nic --emulate-stamps", "off --emulate-stamps", 0.85),
        ] {
            self.progress.inc_length(self.rounds as u64);
            self.in_turns(
                macswap(Part::Stamps, setup),
                &[("itself without", Some(target))],
                || {
                    let start = |stamps| {
                        MACSWAP.start_mpfwd(&format!("--mode pools --timestamps {stamps}"), cpus)
                    };
                    Ok(vec![start(stamps)?, start(without)?])
                },
            )?;
        }
        Ok(())
    }

    /// With order and without: with nothing deferred, as most traffic is, and
    /// with one deferred packet in a thousand, in 1,024 flows.
    pub fn order(&mut self) -> Result<(), Failure> {
        let flows = Flows::write()?;
        let cpus = self.gate.cpus;
        let rows = [
            ("pools", peers::DEVICES, "--mode pools", ""),
            ("hybrid", peers::DEVICES, HYBRID, ""),
            ("1024 flows", flows.devices(), "--mode pools", ""),
            ("deferring", flows.devices(), "--mode pools", DEFER_SOME),
        ];
        self.progress.inc_length((rows.len() * self.rounds) as u64);
        for (setup, devices, mode, work) in rows {
            // The price with deferred packets has no limit.
            let target = work.is_empty().then_some(0.9);
            let start = |order| {
                MACSWAP.start_mpfwd_on(devices, &format!("{mode} {work} --order {order}"), cpus)
            };
            let peer = [("itself, --order none", target)];
            self.in_turns(macswap(Part::Order, setup), &peer, || {
                Ok(vec![start("flow")?, start("none")?])
            })?;
        }
        Ok(())
    }

    /// Three ports, one of them dead, with order: a packet's cost is unknown, so
    /// that packets wait for others of their flow.
    pub fn dead_port(&mut self) -> Result<(), Failure> {
        let flows = Flows::write()?;
        let cpus = self.gate.cpus;
        let modes = ["rtc", "steal", "shared", "shed-random", "pools", "hybrid"];
        self.progress.inc_length((modes.len() * self.rounds) as u64);
        let forward = Forward { mode: "l3", burst: 32 };
        for mode in modes {
            let subject = Subject {
                part: Part::DeadPort,
                forward_mode: forward.mode,
                setup: Some(mode),
                burst: forward.burst,
            };
            let own = format!("--mode {mode} {} {DEFER_SOME},known=no", flows.routed());
            let start = |is_dead| {
                let started = forward.start_mpfwd_on(flows.two_ways(is_dead), &own, cpus);
                started.map(Forwarder::counting_sent_by_port_2)
            };
            self.in_turns(subject, &[("itself, both links up", Some(0.95))], || {
                Ok(vec![start(true)?, start(false)?])
            })?;
        }
        Ok(())
    }

    /// Needs a second binary, linked with the shared objects. Skipped without
    /// one.
    pub fn link(&mut self, shared: Option<&Path>) -> Result<(), Failure> {
        let Some(shared) = shared.filter(|file| file.is_file() && cfg!(not(feature = "shared")))
        else {
            self.results.notes.insert("skipped link: write --shared-mpfwd FILE, an mpfwd that was built with --features shared".into());
            return Ok(());
        };
        self.progress.inc_length((MODES.len() * self.rounds) as u64);
        let cpus = self.gate.cpus;
        for mode in MODES {
            let forward = Forward { mode, burst: 32 };
            let subject =
                Subject { part: Part::Link, forward_mode: mode, setup: None, burst: forward.burst };
            self.in_turns(subject, &[("itself, shared objects", Some(1.0))], || {
                Ok(vec![
                    forward.start_mpfwd("--mode pools", cpus)?,
                    forward.start_mpfwd_of(shared, peers::DEVICES, "--mode pools", cpus)?,
                ])
            })?;
        }
        Ok(())
    }

    /// Skipped without another build. Deferred packets count when sent, because
    /// a full shard drops received ones.
    pub fn parent(&mut self, parent: Option<&Path>) -> Result<(), Failure> {
        let Some(parent) = parent.filter(|file| file.is_file()) else {
            self.results
                .notes
                .insert("skipped parent: write --parent FILE, an mpfwd of another commit".into());
            return Ok(());
        };
        let flows = Flows::write()?;
        let cases = [
            (HANDOFF, "hand-off", peers::DEVICES, format!("--mode pools {DEFER_ALL}")),
            (MACSWAP, "hybrid", peers::DEVICES, HYBRID.to_owned()),
            (MACSWAP, "1024 flows", flows.devices(), "--mode pools".to_owned()),
            (MACSWAP, "deferring", flows.devices(), format!("--mode pools {DEFER_SOME}")),
        ];
        let plain = MODES.into_iter().flat_map(|mode| BURSTS.map(|burst| Forward { mode, burst }));
        let plain = plain.map(|forward| (forward, None, peers::DEVICES, "--mode pools".to_owned()));
        let all: Vec<_> = plain
            .chain(
                cases.map(|(forward, setup, devices, mode)| (forward, Some(setup), devices, mode)),
            )
            .collect();
        self.progress.inc_length((all.len() * self.rounds) as u64);
        let cpus = self.gate.cpus;
        for (forward, setup, devices, mode) in all {
            let Forward { mode: forward_mode, burst } = forward;
            let subject = Subject { part: Part::Parent, forward_mode, setup, burst };
            let this = || forward.start_mpfwd_on(devices, &mode, cpus);
            let other = || forward.start_mpfwd_of(parent, devices, &mode, cpus);
            // A program's memory depends on which ones were started before.
            let other_first = Cell::new(false);
            self.in_turns(subject, &[("itself, parent", Some(0.99))], || {
                let (this, other) = if other_first.replace(!other_first.get()) {
                    let other = other()?;
                    (this()?, other)
                } else {
                    (this()?, other()?)
                };
                Ok(vec![this.counting_sent(), other.counting_sent()])
            })?;
        }
        Ok(())
    }

    /// Asked once, so that lcores meter their activities, and asked all the time:
    /// about 20 times as often as once a second.
    pub fn scrape(&mut self) -> Result<(), Failure> {
        let cpus = self.gate.cpus;
        for (setup, every, target) in
            [("asked once", None, 0.99), ("20 times a second", Some(SCRAPE_EVERY), 0.8)]
        {
            self.progress.inc_length(self.rounds as u64);
            self.in_turns(
                macswap(Part::Scrape, setup),
                &[("itself, never asked", Some(target))],
                || {
                    Ok(vec![
                        MACSWAP.start_mpfwd_watched("--mode pools", cpus, every)?,
                        MACSWAP.start_mpfwd("--mode pools", cpus)?,
                    ])
                },
            )?;
        }
        Ok(())
    }

    /// Medians of what `--record-core-cycles` says.
    pub fn steps(&mut self) -> Result<(), Failure> {
        self.progress.inc_length((MODES.len() * BURSTS.len() * self.rounds) as u64);
        let cpus = self.gate.cpus;
        for mode in MODES {
            for burst in BURSTS {
                let forward = Forward { mode, burst };
                let run = || {
                    forward
                        .mpfwd(cpus, "--record-core-cycles")
                        .and_then(|report| peers::step_cycles(&report))
                };
                self.progress.set_message(format!("{mode} {burst} steps"));
                let (windows, discarded) =
                    stats::repeat(&mut self.gate, Uses::RxCpu, self.rounds, run, || {
                        self.progress.inc(1)
                    })?;
                if windows.len() < self.rounds {
                    self.note_restless(&format!("{mode} {burst} steps"), windows.len(), discarded);
                }
                let cycles = std::array::from_fn(|step| {
                    median(windows.iter().map(|window| window[step])).unwrap_or(f64::NAN)
                });
                self.results.steps.push(StepRow {
                    forward_mode: mode,
                    burst,
                    cycles,
                    windows: windows.len(),
                    discarded,
                });
            }
        }
        Ok(())
    }

    /// The pairs, or the reason why the peer is skipped. A failure of mpfwd is
    /// an error.
    fn compare<T>(
        &mut self,
        uses: Uses,
        (subject, name): (Subject, &str),
        mpfwd: impl FnMut() -> Result<f64, Failure>,
        peer: Result<impl FnMut() -> Result<T, Failure>, String>,
    ) -> Result<Result<Compared<T>, String>, Failure> {
        let before = self.progress.position();
        self.progress.set_message(format!("{subject} {name}"));
        let outcome = match peer {
            Ok(peer) => stats::compare(&mut self.gate, uses, self.rounds, mpfwd, peer, |so_far| {
                self.progress.set_position(before + so_far.pairs.len() as u64);
                self.progress.set_message(format!(
                    "{subject} {name}, {} windows discarded",
                    so_far.discarded
                ));
            }),
            Err(reason) => Err(Failure::Peer(reason)),
        };
        self.progress.set_position(before + self.rounds as u64);
        match outcome {
            Ok(compared) => {
                if compared.pairs.len() < self.rounds {
                    self.note_restless(
                        &format!("{subject} {name}"),
                        compared.pairs.len(),
                        compared.discarded,
                    );
                }
                Ok(Ok(compared))
            }
            Err(Failure::Peer(reason)) => {
                // Ctrl-C reaches the peers, too.
                process::check_interrupt()?;
                self.results.notes.insert(format!("skipped {name}: {reason}"));
                Ok(Err(reason))
            }
            Err(failure) => Err(failure),
        }
    }

    /// A row per distance of the CPUs, that with the most pairs first. Figures
    /// at different distances differ by factors, so they have no common median.
    fn add_by_distance<T>(
        &mut self,
        name: &str,
        target: Option<f64>,
        compared: &Compared<T>,
        mpps: impl Fn(&T) -> f64,
    ) {
        let Compared { pairs, discarded } = compared;
        let mut groups: Vec<(Distance, Vec<_>)> = Distance::ALL
            .map(|distance| {
                (distance, pairs.iter().filter(|pair| pair.distance == distance).collect())
            })
            .into();
        groups.sort_by_key(|(_, pairs)| std::cmp::Reverse(pairs.len()));
        let filled = groups.iter().filter(|(_, pairs)| !pairs.is_empty()).count();
        for (distance, pairs) in groups.iter().take(filled.max(1)) {
            let mut row = Row::of((HANDOFF_SUBJECT, name), target, pairs, *discarded, &mpps);
            row.cpus = Some(*distance);
            row.round_trip_ns = median(pairs.iter().map(|pair| pair.round_trip_ns));
            self.add(row);
        }
    }

    fn note_restless(&mut self, what: &str, counted: usize, discarded: usize) {
        let wanted = self.rounds;
        self.results
            .notes
            .insert(format!("{what}: the machine did not hold still: {counted} of {wanted} count, {discarded} windows discarded"));
    }

    fn add(&mut self, row: Row) {
        if self.progress.is_hidden() {
            let Row { subject, peer, .. } = &row;
            let outcome = row
                .skipped
                .clone()
                .or(row.ratio.map(|ratio| format!("{ratio:.2}")))
                .unwrap_or_default();
            eprintln!("{subject} {peer}: {outcome}");
        }
        self.results.rows.push(row);
    }
}
