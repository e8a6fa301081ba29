//! SIGHUP while packets pass: routes and rules are read again and lcores apply
//! them; a file with a mistake changes nothing.

mod common;
mod flows;
mod lab;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::{as_json, assert_books_balance, dropped, rule, start};
use flows::{Flow, dscp, ipv4_tcp};
use lab::Lab;
use mpfwd::dpdk::{BURST_MAX, Burst, Mbuf, RxTxRing};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

/// Until a change must be seen.
const PATIENCE: Duration = Duration::from_secs(20);

/// Far longer than reading a small file takes.
const READ: Duration = Duration::from_millis(300);

fn hang_up() {
    kill(Pid::this(), Signal::SIGHUP).expect("a signal to this process");
}

/// Replaces the file atomically, and has it read.
fn reread(path: &Path, text: &str) {
    let next = path.with_extension("next");
    std::fs::write(&next, text).expect("written");
    std::fs::rename(&next, path).expect("renamed");
    hang_up();
}

/// Packets to one run and from it, in the order that the test wants.
struct Traffic<'a> {
    lab: &'a Lab,
    rings: &'a mut [RxTxRing; 2],
    over: &'a AtomicBool,
}

impl Traffic<'_> {
    fn send(&mut self, frame: &[u8]) {
        let packet: Mbuf = self.lab.packet(&[frame]);
        let mut burst = Burst::new();
        burst.push(packet);
        let end = Instant::now() + PATIENCE;
        while self.rings[0].inject(&mut burst) == 0 {
            assert!(
                Instant::now() < end && !self.over.load(Ordering::Acquire),
                "the run takes packets"
            );
        }
    }

    /// The packets that have left so far, and their ports.
    fn collect(&mut self) -> Vec<(usize, Vec<u8>)> {
        let mut taken = Burst::new();
        let mut came = Vec::new();
        for (port, ring) in self.rings.iter_mut().enumerate() {
            while ring.collect(&mut taken, BURST_MAX) > 0 {
                came.extend(taken.drain().map(|packet| (port, packet.to_vec())));
            }
        }
        came
    }

    /// Sends a frame and waits for it; `None` if it does not arrive within a
    /// time in which all others do.
    fn there_and_back(&mut self, frame: &[u8]) -> Option<(usize, Vec<u8>)> {
        self.send(frame);
        let end = Instant::now() + READ;
        while Instant::now() < end {
            if let Some(came) = self.collect().pop() {
                return Some(came);
            }
            std::thread::sleep(Duration::from_micros(100));
        }
        None
    }

    /// Sends this frame repeatedly until its outcome is as wanted.
    fn until(&mut self, frame: &[u8], wanted: impl Fn(&Option<(usize, Vec<u8>)>) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !wanted(&self.there_and_back(frame)) {
            assert!(Instant::now() < end, "no change was seen");
        }
    }

    fn stop(&self) {
        kill(Pid::this(), Signal::SIGTERM).expect("a signal to this process");
    }
}

fn run(lab: &mut Lab, own: &str, traffic: impl FnOnce(Traffic) + Send) -> Value {
    let mut wires = lab.wires(1024);
    let here = &*lab;
    let (report, ()) = here.run(own, &mut wires, |rings, over| {
        let mut traffic_of_one = Traffic { lab: here, rings, over };
        // So that the start of the ports is not mistaken for a lost packet.
        let probe = ipv4_tcp(Flow { number: 999, back: false }, b"first");
        traffic_of_one.until(&probe, Option::is_some);
        traffic(traffic_of_one);
    });
    drop(wires);
    lab.assert_has_all_its_buffers();
    let report = as_json(&report);
    assert_books_balance(&report);
    report
}

const TO_0: &str = "0.0.0.0/0 0 02:00:00:00:00:a0\n";
const TO_1: &str = "0.0.0.0/1 1 02:00:00:00:00:a1\n128.0.0.0/1 1 02:00:00:00:00:a1\n0.0.0.0/0 0\n";

const MODES: [&str; 3] = [
    "--mode rtc",
    "--mode pools --pools 1:1 --work spin:expensive=20us,p=0.3,mark=hash",
    "--pools 1:1 --work spin:expensive=20us,p=0.3,known=no",
];

fn routes(lab: &mut Lab, mode: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("routes");
    std::fs::write(&path, TO_0).expect("written");
    let frames: Vec<_> =
        (0..20).map(|number| ipv4_tcp(Flow { number, back: false }, b"routed")).collect();
    let goes = |port: usize| {
        move |came: &Option<(usize, Vec<u8>)>| {
            came.as_ref().is_some_and(|(by, frame)| {
                assert_eq!(frame[5], 0xa0 + *by as u8, "port and neighbour are of one table");
                *by == port
            })
        }
    };
    let own = format!("--forward-mode l3 --routes {} {mode}", path.display());
    let report = run(lab, &own, |mut traffic| {
        assert!(
            frames.iter().all(|frame| goes(0)(&traffic.there_and_back(frame))),
            "by the file as it was"
        );
        reread(&path, TO_1);
        traffic.until(&frames[0], goes(1));
        for wrong in ["0.0.0.0/0 0\nrubbish\n", "0.0.0.0/0 7\n"] {
            reread(&path, wrong);
            std::thread::sleep(READ);
            assert!(
                frames.iter().all(|frame| goes(1)(&traffic.there_and_back(frame))),
                "the routes of before stay"
            );
        }
        traffic.stop();
    });
    assert_eq!(report["reloads"], json!({"done": 1, "refused": 2}), "{mode}");
}

/// Tables change under a stream of packets: each packet is routed by one of
/// them, and none is lost.
fn routes_under_load(lab: &mut Lab, mode: &str) {
    const CHANGES: usize = 20;
    const UNDER_WAY: usize = 200;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("routes");
    std::fs::write(&path, TO_0).expect("written");
    let own = format!("--forward-mode l3 --routes {} {mode}", path.display());
    let report = run(lab, &own, |mut traffic| {
        let (mut sent, mut came) = (0, 0);
        for change in 0..CHANGES {
            let (text, leaves_by) = [(TO_1, 1), (TO_0, 0)][change % 2];
            reread(&path, text);
            let end = Instant::now() + PATIENCE;
            // Until packets have taken the new route for a while.
            let mut by_new = 0;
            while by_new < 2 * UNDER_WAY || came < sent {
                if by_new < 2 * UNDER_WAY && sent < came + UNDER_WAY {
                    traffic.send(&ipv4_tcp(Flow { number: sent % 50, back: false }, b"routed"));
                    sent += 1;
                }
                for (port, frame) in traffic.collect() {
                    assert_eq!(frame[5], 0xa0 + port as u8, "port and neighbour are of one table");
                    by_new += usize::from(port == leaves_by);
                    came += 1;
                }
                assert!(
                    Instant::now() < end,
                    "{mode}: {came} of {sent}, {by_new} of them by the new table"
                );
            }
        }
        traffic.stop();
    });
    assert_eq!(report["reloads"], json!({"done": CHANGES, "refused": 0}), "{mode}");
}

const RULES: &str = "drop passwd \"/etc/passwd\"\nmark=46 voice \"INVITE\"\n";

fn rules(lab: &mut Lab, mode: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("rules");
    std::fs::write(&path, RULES).expect("written");
    let frame =
        |number: usize, payload: &str| ipv4_tcp(Flow { number, back: false }, payload.as_bytes());
    let marked = |came: Option<(usize, Vec<u8>)>| came.map(|(_, frame)| dscp(&frame));
    let own = format!("--forward-mode dpi --rules {} --dpi-pkts 4 {mode}", path.display());
    let report = run(lab, &own, |mut traffic| {
        // Flow 1 is dropped, 2 marked, 3 passes.
        assert_eq!(traffic.there_and_back(&frame(1, "GET /etc/passwd")), None);
        assert_eq!(marked(traffic.there_and_back(&frame(2, "INVITE"))), Some(46));
        for _ in 0..6 {
            assert_eq!(marked(traffic.there_and_back(&frame(3, "secret"))), Some(0));
        }
        // `voice` stays, at another position and with another mark; `passwd`
        // goes, and a new rule comes.
        reread(&path, "drop secret \"secret\"\nmark=10 voice \"INVITE\"\n");
        traffic.until(&frame(4, "secret"), Option::is_none);
        assert_eq!(
            marked(traffic.there_and_back(&frame(2, "nothing"))),
            Some(10),
            "a flow keeps its rule"
        );
        assert_eq!(
            marked(traffic.there_and_back(&frame(1, "GET /etc/passwd"))),
            Some(0),
            "its rule is gone"
        );
        assert_eq!(
            traffic.there_and_back(&frame(3, "secret")),
            None,
            "what had passed is looked at anew"
        );
        reread(&path, "drop secret \"secret\"\ndrop voice /(/\n");
        std::thread::sleep(READ);
        assert_eq!(
            marked(traffic.there_and_back(&frame(2, "nothing"))),
            Some(10),
            "the rules of before stay"
        );
        assert_eq!(traffic.there_and_back(&frame(5, "secret")), None);
        traffic.stop();
    });
    assert_eq!(report["reloads"], json!({"done": 1, "refused": 1}), "{mode}");
    assert_eq!(rule(&report, "passwd"), [1, 1, 1], "{mode}: what a rule did that is gone is told");
    assert_eq!(rule(&report, "voice"), [1, 1, 3], "{mode}: counts go on under the name");
    let [hits, flows, pkts] = rule(&report, "secret");
    assert!(hits == 3 && flows == 3 && pkts >= 3, "{mode}: flows 3, 4, 5: {hits} {flows} {pkts}");
    assert_eq!(dropped(&report, "denied"), 1 + pkts, "{mode}");
}

#[test]
fn files_are_read_again() {
    let mut lab = Lab::start(2);
    for mode in MODES {
        routes(&mut lab, mode);
        routes_under_load(&mut lab, mode);
    }
    for mode in ["--mode rtc", "--mode pools --pools 1:1", "--pools 1:1 --yield-after 5us"] {
        rules(&mut lab, mode);
    }
}

#[test]
fn sighup_without_a_file_is_reported_and_the_run_continues() {
    let mut running = start(
        &format!("{} --vdev net_null0", common::lcores(1)),
        "--mode rtc --idle yield --stats-period 0.2",
    );
    running.wait_until_it_forwards();
    running.signal(Signal::SIGHUP);
    running.wait_for_line(|line| line.starts_with("SIGHUP: no file to read again"));
    running.signal(Signal::SIGTERM);
    let outcome = running.finish();
    assert_eq!(outcome.good_report()["reloads"], Value::Null);
}
