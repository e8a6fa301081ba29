//! Exit codes of runs that fail at the end: 3 for a packet that an engine lost,
//! 1 for a report that cannot be written.

mod common;

use std::process::Command;

use common::{BINARY, NO_HUGE, Running, count, dropped, lcores, start_with};
use mpfwd::dpdk::{Burst, Mbuf};
use mpfwd::engine::{Class, Engine, EngineSetup, Peers, Verdict};
use mpfwd::stats::DropCause;
use nix::sys::signal::Signal;
use serde_json::Value;

/// Forwards all packets but one, which it leaks.
struct Leaky {
    peers: Peers,
    leaked: bool,
}

impl Leaky {
    fn new(setup: &EngineSetup) -> Self {
        Self { peers: setup.peers.clone(), leaked: false }
    }
}

impl Engine for Leaky {
    fn classify(&mut self, _packet: &Mbuf, _from: u16) -> Class {
        Class::Cheap
    }

    fn cheap(&mut self, _packet: &mut Mbuf, from: u16) -> Verdict {
        Verdict::Forward(self.peers.out(from))
    }

    fn expensive(&mut self, packet: &mut Mbuf, from: u16) -> Verdict {
        self.cheap(packet, from)
    }

    fn cheap_burst(
        &mut self,
        burst: &mut Burst,
        from: u16,
        _dropped: impl FnMut(Mbuf, DropCause),
    ) -> Option<u16> {
        if !self.leaked
            && let Some(packet) = burst.pop()
        {
            std::mem::forget(packet);
            self.leaked = true;
        }
        Some(self.peers.out(from))
    }
}

/// Holds the command line of the program below.
const LINE: &str = "MPFWD_LEAKY_LINE";

#[test]
#[ignore = "no test, but a program that another one starts"]
fn leaky() {
    let Ok(line) = std::env::var(LINE) else { return };
    let code = match mpfwd::app::main_with(line.split_whitespace().map(Into::into), Leaky::new) {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("leaky: {error}");
            error.exit_code()
        }
    };
    std::process::exit(code.into());
}

#[test]
fn a_lost_packet_is_reported_and_exits_with_3() {
    let prefix = common::Leftovers(common::file_prefix());
    let folder = tempfile::tempdir().expect("a folder");
    let report = folder.path().join("report.json");
    let line = format!(
        "leaky {NO_HUGE} --no-pci --file-prefix {} {} --vdev net_null0 -- --packets 1000 --order none --report {}",
        prefix.0,
        lcores(1),
        report.display()
    );
    let mut program = Command::new(std::env::current_exe().expect("this test has a path"));
    let output = program
        .args(["leaky", "--exact", "--ignored", "--nocapture"])
        .env(LINE, line)
        .output()
        .expect("it runs");
    let (stdout, stderr) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(3), "{stdout}\n{stderr}");
    assert!(
        stderr.lines().any(|line| line == "leaky: CONSERVATION BROKEN: see the report"),
        "{stderr}"
    );
    let report: Value =
        serde_json::from_str(&std::fs::read_to_string(report).expect("the report is written"))
            .expect("JSON");
    assert_eq!(report["conserved"], false, "{report:#}");
    let [received, sent, mbufs, free] =
        ["rx_pkts", "tx_pkts", "mbufs", "mbufs_free"].map(|key| count(&report, key));
    let drops: u64 = report["drops"]
        .as_object()
        .expect("by cause")
        .keys()
        .map(|cause| dropped(&report, cause))
        .sum();
    assert_eq!(
        (received, mbufs),
        (sent + drops + 1, free + 1),
        "one packet, and its buffer: {report:#}"
    );
    let says = format!(
        "CONSERVATION BROKEN: RECEIVED {received}, SENT + DROPPED {}; {free} OF {mbufs} BUFFERS IN THE POOL",
        sent + drops
    );
    assert_eq!(stdout.lines().last(), Some(says.as_str()), "{stdout}");
}

fn forwards_and_reports_to(own: &str) -> Running {
    let eal = format!("{NO_HUGE} {} --vdev net_null0", lcores(1));
    let mut mpfwd = start_with(Command::new(BINARY), &eal, &format!("--stats-period 0.05 {own}"));
    mpfwd.wait_until_it_forwards();
    mpfwd
}

#[test]
fn a_file_that_can_no_longer_be_written_exits_with_1() {
    for argument in ["--report", "--hgrm"] {
        let folder = tempfile::tempdir().expect("a folder");
        let mpfwd = forwards_and_reports_to(&format!(
            "{argument} {}",
            folder.path().join("report.json").display()
        ));
        folder.close().expect("an empty folder can be removed");
        mpfwd.signal(Signal::SIGTERM);
        let outcome = mpfwd.finish();
        assert_eq!(outcome.status.code(), Some(1), "{argument}: {}", outcome.stderr);
        let errors = outcome.errors();
        assert!(
            errors.len() == 1 && errors[0].contains("can't be written to"),
            "{argument}: {}",
            outcome.stderr
        );
        assert!(
            outcome.stdout.iter().any(|line| line.starts_with("conserved: ")),
            "{argument}: it is printed all the same"
        );
        outcome.assert_nothing_left();
    }
}
