use std::time::{Duration, Instant};

use nix::sched::CpuSet;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::app::{self, Host};
use crate::cli::Cli;
use crate::dpdk::{Eal, find_ports, has_received, raise_removal};
use crate::stats::Report;

const RUNS: [&str; 7] = [
    "--mode rtc",
    "--mode steal --steal-rx",
    "--mode shared --order none",
    "--pools 1:1",
    "--pools 1:1 --work spin:expensive=20us,p=0.01",
    "--mode pools --pools 1:1 --txq 1",
    "--emulate-stamps",
];

/// Each run has its own, because a run closes its ports: one whose packets
/// leave by the next one, which is removed, and one that has nothing to do with
/// them.
const PORTS_PER_RUN: usize = 3;

/// How long packets are received by a port before it is removed, and by the
/// others after it was closed.
const REMOVED_AFTER: Duration = Duration::from_millis(200);

/// Far more than it takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Whether it comes true in time.
fn becomes(is_it: impl Fn() -> bool) -> bool {
    let since = Instant::now();
    while !is_it() && since.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(5));
    }
    is_it()
}

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

/// A run in which the port of that name is removed. It is closed while another
/// one is still open; the run ends a while after that.
fn run_with_removal(eal: &Eal, host: &Host, own: &str, [removed, other]: [&str; 2]) -> Report {
    // A run in which it is not closed should fail, not hang.
    let line = format!("--idle yield --duration {} {own}", 2 * PATIENCE.as_secs());
    let cli = Cli::read(&words(&line)).expect("valid arguments").expect("no help");
    let is_alone_closed = || {
        let Ok(ports) = find_ports(eal) else { return false };
        let is_open = |name: &str| ports.iter().any(|port| port.name == name);
        !is_open(removed) && is_open(other)
    };
    std::thread::scope(|scope| {
        let remover = scope.spawn(|| {
            let forwarded = becomes(|| has_received(removed));
            std::thread::sleep(REMOVED_AFTER);
            raise_removal(removed);
            let closed = forwarded && becomes(is_alone_closed);
            std::thread::sleep(REMOVED_AFTER);
            kill(Pid::this(), Signal::SIGTERM).expect("this process is there");
            closed
        });
        let report = app::run(eal, &cli, host).expect("a run");
        assert!(remover.join().expect("no panic"), "{own}: it is closed during the run");
        report
    })
}

#[test]
fn a_removed_port_is_closed_and_all_others_go_on() {
    let host = Host::before_eal().expect("signals can be caught");
    let cpus: Vec<String> = (0..CpuSet::count())
        .filter(|&cpu| host.cpus.is_set(cpu).unwrap_or(false))
        .map(|cpu| cpu.to_string())
        .take(2)
        .collect();
    let ports = RUNS.len() * PORTS_PER_RUN;
    let vdevs: String = (0..ports).map(|port| format!(" --vdev net_null{port}")).collect();
    let eal = Eal::start(&words(&format!(
        "removal --no-pci --no-huge -m 512 --no-shconf --file-prefix mpfwdremoval{} --lcores (0-1)@({}){vdevs}",
        std::process::id(),
        cpus.join(","),
    )))
    .expect("EAL starts");
    for (own, first) in RUNS.into_iter().zip((0..ports).step_by(PORTS_PER_RUN)) {
        let own = format!("{own} --portmask {:#x}", 0b111 << first);
        let [removed, other] = [1, 2].map(|at| format!("net_null{}", first + at));
        let report = run_with_removal(&eal, &host, &own, [&removed, &other]);
        assert_eq!(report.conserved, Some(true), "{own}: {report}");
        let [_, lost, other] = &report.ports[..] else { panic!("three ports: {report}") };
        assert_eq!((lost.lost, lost.link_changes), (Some("removed"), 0), "{own}: {report}");
        let ended_ns = (report.elapsed_s * 1e9) as u64;
        assert!(lost.lost_ns.is_some_and(|ns| ns < ended_ns), "{own}: {report}");
        assert!(other.lost.is_none(), "{own}: {report}");
        assert!(report.drops["link_down"] > 0, "{own}: its partner's packets: {report}");
        let received = |port: u16| -> u64 {
            let queues = report.queues.iter();
            queues.filter(|row| (row.port, row.direction) == (port, "rx")).map(|row| row.pkts).sum()
        };
        let (before, all_the_time) = (received(lost.port), received(other.port));
        assert!(0 < before && before < all_the_time, "{own}: {report}");
    }
    assert!(find_ports(&eal).expect("ports describe themselves").is_empty(), "all are closed");
}
