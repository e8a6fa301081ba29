//! An engine that panics ends the process at once, on whichever lcore it is,
//! although this program unwinds.

mod common;

use std::process::Command;
use std::time::{Duration, Instant};

use common::{NO_HUGE, lcores};
use mpfwd::dpdk::Mbuf;
use mpfwd::engine::{Class, Engine, EngineSetup, Peers, Verdict};

struct Bad {
    peers: Peers,
    lcore: u32,
    panics_on: u32,
}

impl Engine for Bad {
    fn classify(&mut self, _: &Mbuf, _: u16) -> Class {
        Class::Cheap
    }

    fn cheap(&mut self, _: &mut Mbuf, from: u16) -> Verdict {
        assert_ne!(self.lcore, self.panics_on, "a bug");
        Verdict::Forward(self.peers.out(from))
    }

    fn expensive(&mut self, _: &mut Mbuf, from: u16) -> Verdict {
        Verdict::Forward(self.peers.out(from))
    }
}

/// The command line of `bad`, and the lcore that panics.
const LINE: &str = "MPFWD_BAD_LINE";
const LCORE: &str = "MPFWD_BAD_LCORE";

#[test]
#[ignore = "no test, but a program that another one starts"]
fn bad() {
    let (Ok(line), Ok(lcore)) = (std::env::var(LINE), std::env::var(LCORE)) else { return };
    let panics_on = lcore.parse().expect("a number");
    let engine =
        |setup: &EngineSetup<'_>| Bad { peers: setup.peers.clone(), lcore: setup.lcore, panics_on };
    let _ = mpfwd::app::main_with(line.split_whitespace().map(Into::into), engine);
}

#[test]
fn the_process_ends_at_once_and_names_the_lcore() {
    for lcore in [0, 1] {
        let prefix = common::Leftovers(common::file_prefix());
        let line = format!(
            "bad {NO_HUGE} --no-pci --file-prefix {} {} --vdev net_null0 --vdev net_null1 -- --mode rtc --idle yield --duration 60",
            prefix.0,
            lcores(2)
        );
        let started = Instant::now();
        let output = Command::new(std::env::current_exe().expect("this test has a path"))
            .args(["bad", "--exact", "--ignored", "--nocapture"])
            .env(LINE, line)
            .env(LCORE, lcore.to_string())
            .output()
            .expect("it runs");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{stderr}");
        assert!(started.elapsed() < Duration::from_secs(40), "it ran on: {stderr}");
        let named = format!("mpfwd: lcore {lcore} panicked in its loop");
        assert!(stderr.contains("a bug") && stderr.contains(&named), "{stderr}");
    }
}
