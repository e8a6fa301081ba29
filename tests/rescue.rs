//! An lcore is stuck in one packet for 200 ms, and more packets arrive for it.
//! Which of them the others forward meanwhile tells the modes apart. Ports are
//! net_ring, so the test chooses the packet, its burst and its lcore.

mod common;
mod lab;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::{as_json, assert_books_balance, count, lcores, rows, start};
use lab::Lab;
use mpfwd::dpdk::{BURST_MAX, Burst, Mbuf, RxTxRing};
use mpfwd::engine::{Class, Engine, Peers, Verdict, flow_hash};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use xxhash_rust::xxh3::xxh3_64;

/// Duration of the long packet, and the deadline of those behind it if they are
/// not held up. Far apart: machines are busy.
const STUCK: Duration = Duration::from_millis(200);
const SOON: Duration = Duration::from_millis(100);

/// As the lcores see it: EAL has rounded their clock.
const STUCK_AT_LEAST: Duration = Duration::from_millis(198);

/// The share of packets that `--work` marks by their bytes.
const P: f64 = 0.001;

/// In the burst behind the long packet; in the same receive queue after that;
/// in the other lcore's queue.
const IN_BURST: usize = 31;
const IN_QUEUE: usize = 64;
const ELSEWHERE: usize = 16;

/// A flow of its own, by its addresses, so that it waits for no other one.
fn frame(number: u32) -> Vec<u8> {
    [[0xaa; 8].as_slice(), &number.to_be_bytes(), &number.to_be_bytes(), &[0x55; 44]].concat()
}

fn number(packet: &Mbuf) -> u32 {
    u32::from_be_bytes(packet.to_vec()[12..16].try_into().expect("four bytes"))
}

/// As `--work …,mark=hash` does it for frames of up to 96 bytes.
fn is_marked(number: &u32) -> bool {
    (xxh3_64(&frame(*number)) as f64) < P * 2f64.powi(64)
}

/// The packets that came out, with times since the long packet was injected.
struct Came {
    at: Duration,
    number: u32,
}

/// The numbers of the packets, by where they are injected.
struct Numbers {
    long: u32,
    in_burst: Vec<u32>,
    in_queue: Vec<u32>,
    elsewhere: Vec<u32>,
    warm_up: [u32; 2],
}

impl Numbers {
    fn new() -> Self {
        let mut cheap = (0..).filter(|number| !is_marked(number));
        let mut some = |count| cheap.by_ref().take(count).collect::<Vec<u32>>();
        Self {
            long: (0..).find(is_marked).expect("one in a thousand is"),
            in_burst: some(IN_BURST),
            in_queue: some(IN_QUEUE),
            elsewhere: some(ELSEWHERE),
            warm_up: some(2).try_into().expect("two"),
        }
    }
}

/// Packets in flight into the ports.
struct Packets {
    warm_up: [Burst; 2],
    first: Burst,
    later: [Burst; 2],
}

impl Packets {
    fn new(lab: &Lab, numbers: &Numbers) -> Self {
        let burst = |numbers: &[u32]| {
            let mut burst = Burst::new();
            numbers.iter().for_each(|&number| burst.push(lab.packet(&[&frame(number)])));
            burst
        };
        Self {
            warm_up: numbers.warm_up.map(|number| burst(&[number])),
            first: burst(&[&[numbers.long], numbers.in_burst.as_slice()].concat()),
            later: [burst(&numbers.in_queue), burst(&numbers.elsewhere)],
        }
    }

    /// Waits until both lcores forward. Injects the long packet with its burst
    /// into port 0, and more into both ports while it runs.
    fn play(mut self, rings: &mut [RxTxRing; 2], over: &AtomicBool) -> Vec<Came> {
        let mut out = Burst::new();
        let mut warm = 0;
        rings
            .iter_mut()
            .zip(&mut self.warm_up)
            .for_each(|(ring, burst)| assert_eq!(ring.inject(burst), 1));
        while warm < 2 && !over.load(Ordering::Acquire) {
            warm += rings.iter_mut().map(|ring| ring.collect(&mut out, BURST_MAX)).sum::<usize>();
        }
        std::thread::sleep(Duration::from_millis(10));
        out.free();
        let start = Instant::now();
        assert_eq!(rings[0].inject(&mut self.first), 1 + IN_BURST);
        let mut came = Vec::new();
        loop {
            let was_over = over.load(Ordering::Acquire);
            if start.elapsed() > STUCK / 10 && !self.later[0].is_empty() {
                for (ring, burst) in rings.iter_mut().zip(&mut self.later) {
                    ring.inject(burst);
                }
            }
            let taken: usize = rings.iter_mut().map(|ring| ring.collect(&mut out, BURST_MAX)).sum();
            let at = start.elapsed();
            came.extend(out.drain().map(|packet| Came { at, number: number(&packet) }));
            if taken == 0 && was_over {
                return came;
            }
            std::thread::sleep(Duration::from_micros(200));
        }
    }
}

/// One run of the scenario, and what holds in every mode: no packet is lost,
/// none comes twice.
struct Scene {
    own: String,
    report: Value,
    came: Vec<Came>,
    numbers: Numbers,
    flow_hash: u32,
}

impl Scene {
    fn play(lab: &mut Lab, own: &str) -> Self {
        let mut wires = lab.wires(256);
        let numbers = Numbers::new();
        let flow_hash = flow_hash(&lab.packet(&[&frame(numbers.long)]));
        let packets = Packets::new(lab, &numbers);
        let total = 2 + 1 + IN_BURST + IN_QUEUE + ELSEWHERE;
        let work =
            format!("--work spin:cheap=0ns,expensive={}ms,p={P},mark=hash", STUCK.as_millis());
        let own = format!("--config (0,0,0),(1,0,1) --idle yield --packets {total} {work}{own}");
        let (report, came) = lab.run(&own, &mut wires, |rings, over| packets.play(rings, over));
        let report = as_json(&report);
        assert_books_balance(&report);
        assert_eq!(
            (count(&report, "rx_pkts"), count(&report, "tx_pkts")),
            (total as u64, total as u64),
            "{own}: {report:#}"
        );
        let mut all: Vec<u32> = came.iter().map(|came| came.number).collect();
        let mut wanted =
            [&[numbers.long], numbers.in_burst.as_slice(), &numbers.in_queue, &numbers.elsewhere]
                .concat();
        all.sort_unstable();
        wanted.sort_unstable();
        assert_eq!(all, wanted, "{own}: every packet, once");
        drop(wires);
        lab.assert_has_all_its_buffers();
        let scene = Self { own, report, came, numbers, flow_hash };
        let took = scene.at(scene.numbers.long);
        assert!(took >= STUCK_AT_LEAST, "{}: the long packet was out after {took:?}", scene.own);
        scene
    }

    fn at(&self, number: u32) -> Duration {
        self.came.iter().find(|came| came.number == number).expect("all came").at
    }

    /// The time at which the last of them was out.
    fn last(&self, numbers: &[u32]) -> Duration {
        numbers.iter().map(|&number| self.at(number)).max().expect("there are some")
    }

    fn first(&self, numbers: &[u32]) -> Duration {
        numbers.iter().map(|&number| self.at(number)).min().expect("there are some")
    }

    #[track_caller]
    fn assert_out_soon(&self, numbers: &[u32], which: &str) {
        let last = self.last(numbers);
        assert!(last < SOON, "{}: {which} waited {last:?} for others: {:#}", self.own, self.report);
    }

    #[track_caller]
    fn assert_held_up(&self, numbers: &[u32], which: &str) {
        let first = self.first(numbers);
        assert!(
            first >= self.at(self.numbers.long),
            "{}: {which} did not wait, the first was out after {first:?}",
            self.own
        );
    }

    #[track_caller]
    fn assert_nobody_helped(&self) {
        for lcore in rows(&self.report, "lcores") {
            assert_eq!(
                count(&lcore["rescue"], "stolen_pkts") + count(&lcore["rescue"], "takeovers"),
                0,
                "{}: {lcore:#}",
                self.own
            );
        }
        assert!(rows(&self.report, "incidents").is_empty(), "{}: {:#}", self.own, self.report);
    }

    /// The record names the stuck lcore, the stage, how long, and the rescuers.
    #[track_caller]
    fn assert_on_record(&self) {
        let long = |row: &&Value| count(row, "stuck_ns") >= STUCK_AT_LEAST.as_nanos() as u64;
        let incidents: Vec<&Value> = rows(&self.report, "incidents").iter().filter(long).collect();
        // Lcores that share CPUs stall each other now and then.
        let incidents: Vec<_> =
            incidents.iter().filter(|incident| incident["stage"] != "stalled").collect();
        let [incident] = incidents[..] else {
            panic!("{}: one lcore was stuck so long: {:#}", self.own, self.report)
        };
        assert_eq!(
            (count(incident, "lcore"), count(incident, "flow_hash")),
            (0, self.flow_hash.into()),
            "{incident:#}"
        );
        assert_eq!(
            (incident["stage"].as_str(), incident["returned"].as_bool()),
            (Some("unknown"), Some(true)),
            "{incident:#}"
        );
        assert!(count(incident, "stuck_ns") < 2 * STUCK.as_nanos() as u64, "{incident:#}");
        let rescuers: Vec<Option<u64>> =
            rows(incident, "rescuers").iter().map(Value::as_u64).collect();
        assert!(
            !rescuers.is_empty() && rescuers.iter().all(|lcore| [Some(1), Some(2)].contains(lcore)),
            "{incident:#}"
        );
        assert_eq!(count(incident, "polled_pkts"), IN_QUEUE as u64, "{incident:#}");
        // Idle workers may have stolen some before the lcore counted as stuck.
        assert!(count(incident, "stolen_pkts") <= IN_BURST as u64, "{incident:#}");
        assert!(count(incident, "rescued_after_ns") < SOON.as_nanos() as u64, "{incident:#}");
        let saved = (IN_QUEUE as u64) * (STUCK - SOON).as_nanos() as u64;
        assert!(count(incident, "saved_ns") >= saved, "{incident:#}");
        let lcores = rows(&self.report, "lcores");
        assert!(count(&lcores[0]["rescue"], "saved_ns") >= saved, "{:#}", self.report);
        let by_others =
            |key| lcores[1..].iter().map(|lcore| count(&lcore["rescue"], key)).sum::<u64>();
        assert!(
            by_others("takeover_pkts") >= IN_QUEUE as u64 && by_others("stolen_pkts") > 0,
            "{:#}",
            self.report
        );
    }
}

static HELD: AtomicBool = AtomicBool::new(true);
static STUCK_NOW: AtomicBool = AtomicBool::new(false);

/// Defers all packets of port 0. The expensive stage of a long one lasts as
/// long as the test holds it.
struct Holds(Peers);

impl Holds {
    const LONG: u32 = u32::MAX;
}

impl Engine for Holds {
    fn classify(&mut self, _: &Mbuf, from: u16) -> Class {
        if from == 0 { Class::Defer } else { Class::Cheap }
    }

    fn cheap(&mut self, _: &mut Mbuf, from: u16) -> Verdict {
        Verdict::Forward(self.0.out(from))
    }

    fn expensive(&mut self, packet: &mut Mbuf, from: u16) -> Verdict {
        if number(packet) == Self::LONG {
            STUCK_NOW.store(true, Ordering::Release);
            while HELD.load(Ordering::Acquire) {
                std::thread::yield_now();
            }
        }
        self.cheap(packet, from)
    }
}

/// A worker that has seen only short packets dequeues several, and the first
/// one is long: the others poll its receive queue all the same.
fn a_worker_is_helped_with_several_packets(lab: &mut Lab) {
    let mut wires = lab.wires(1024);
    let here = &*lab;
    let own = "--config (0,0,0),(1,0,2) --pools 2:1 --idle yield --rescue-after 100us \
               --excess none --stall-after 10s";
    let (report, helped) = here.run_own(
        |setup| Holds(setup.peers.clone()),
        own,
        &mut wires,
        |[source, workers], over| {
            let (mut going, mut out, mut came) = (Burst::new(), Burst::new(), 0);
            let mut collect = |sink: &mut RxTxRing| {
                let pkts = sink.collect(&mut out, BURST_MAX);
                out.free();
                pkts
            };
            let mut warm = 0;
            for number in 0..3200 {
                going.push(here.packet(&[&frame(number)]));
                if going.len() == 32 {
                    source.inject(&mut going);
                    while warm < number as usize && !over.load(Ordering::Acquire) {
                        warm += collect(workers);
                    }
                }
            }
            going.push(here.packet(&[&frame(Holds::LONG)]));
            (0..31).for_each(|number| going.push(here.packet(&[&frame(number)])));
            source.inject(&mut going);
            while !STUCK_NOW.load(Ordering::Acquire) && !over.load(Ordering::Acquire) {
                std::thread::yield_now();
            }
            (0..32).for_each(|number| going.push(here.packet(&[&frame(number)])));
            workers.inject(&mut going);
            let start = Instant::now();
            while came < 32 && start.elapsed() < Duration::from_secs(2) {
                came += collect(source);
            }
            HELD.store(false, Ordering::Release);
            kill(Pid::this(), Signal::SIGTERM).expect("this process is there");
            while !over.load(Ordering::Acquire) {
                collect(source);
                collect(workers);
            }
            collect(source);
            collect(workers);
            came
        },
    );
    let report = as_json(&report);
    assert_books_balance(&report);
    assert_eq!(helped, 32, "the worker's queue: {report:#}");
    drop(wires);
    lab.assert_has_all_its_buffers();
}

#[test]
fn what_waits_for_a_stuck_lcore() {
    let mut lab = Lab::start(3);
    a_worker_is_helped_with_several_packets(&mut lab);
    for grow in ["double", "append"] {
        let unknown = |mode| format!(",known=no {mode} --grow {grow}");

        let rtc = Scene::play(&mut lab, &unknown("--mode rtc"));
        rtc.assert_held_up(&rtc.numbers.in_burst, "the rest of the burst");
        rtc.assert_held_up(&rtc.numbers.in_queue, "the receive queue");
        rtc.assert_out_soon(&rtc.numbers.elsewhere, "another lcore's packets");
        rtc.assert_nobody_helped();

        let steal = Scene::play(&mut lab, &unknown("--mode steal"));
        steal.assert_out_soon(&steal.numbers.in_burst, "the rest of the burst");
        steal.assert_held_up(&steal.numbers.in_queue, "the receive queue");
        steal.assert_out_soon(&steal.numbers.elsewhere, "another lcore's packets");

        // Nobody may poll for lcore 0 before it has the long packet, though
        // three lcores share two CPUs.
        let hybrid = Scene::play(&mut lab, &unknown("--pools 2:1 --excess none --stall-after 10s"));
        hybrid.assert_out_soon(&hybrid.numbers.in_burst, "the rest of the burst");
        hybrid.assert_out_soon(&hybrid.numbers.in_queue, "the receive queue");
        hybrid.assert_out_soon(&hybrid.numbers.elsewhere, "another lcore's packets");
        hybrid.assert_on_record();
    }

    // A packet known to be expensive holds up no other where it can be shed.
    for mode in [",known=yes --mode pools --pools 2:1", ",known=yes --pools 2:1"] {
        let scene = Scene::play(&mut lab, mode);
        scene.assert_out_soon(&scene.numbers.in_burst, "the rest of the burst");
        scene.assert_out_soon(&scene.numbers.in_queue, "the receive queue");
        scene.assert_out_soon(&scene.numbers.elsewhere, "another lcore's packets");
    }
    let steal = Scene::play(&mut lab, ",known=yes --mode steal");
    steal.assert_out_soon(&steal.numbers.in_burst, "the rest of the burst");
    steal.assert_held_up(&steal.numbers.in_queue, "the receive queue");
}

#[test]
fn a_stuck_lcore_is_on_record_before_it_returns() {
    let eal = format!("{} --vdev net_null0", lcores(3));
    let mut mpfwd = start(
        &eal,
        "--pools 2:1 --idle yield --work spin:cheap=2us,expensive=200ms,p=0.001,known=no",
    );
    mpfwd.wait_for_line(|line| line.trim_start().starts_with("lcore 2 "));
    // The last incidents on record need not contain one that is still going on.
    let end = Instant::now() + Duration::from_secs(20);
    let is_stuck = |line: &str| line.contains('>') && line.contains("unknown");
    while !mpfwd.lines_for(Duration::from_millis(50)).iter().any(|line| is_stuck(line)) {
        assert!(Instant::now() < end, "nobody was stuck");
        mpfwd.signal(Signal::SIGUSR1);
    }
    mpfwd.signal(Signal::SIGTERM);
    let outcome = mpfwd.finish();
    let report = outcome.good_report();
    let long = |row: &Value| {
        count(row, "stuck_ns") >= STUCK_AT_LEAST.as_nanos() as u64 && row["returned"] == true
    };
    assert!(rows(report, "incidents").iter().any(long), "{report:#}");
}
