//! The hand-off between lcores: mpfwd with every packet deferred at no cost,
//! DPDK's event devices with the same task, and the bare ring underneath.

use std::process::Command;
use std::time::Duration;

use crate::gate::Cpus;
use crate::peers::{eal, words};
use crate::process::{Failure, Running, failure};

/// mpfwd's arguments: every packet is expensive and costs nothing. Order is
/// off, because net_null has a single flow.
pub const DEFER_ALL: &str = "--work spin:cheap=0ns,expensive=0ns,p=1 --order none";

/// Limit for starting EAL, hugepages and devices on a slow machine.
const START: Duration = Duration::from_secs(30);
/// Limit for the next sample: one is due every second, but its lcore shares a
/// CPU.
const SAMPLE: Duration = Duration::from_secs(15);
const RING_TEST: Duration = Duration::from_secs(90);

/// Millions of events a second from an ethdev producer on the receiving CPU to
/// a worker on the other one.
///
/// The test needs a third lcore, which only prints but spins. It shares the
/// worker's CPU, so samples are late, and the time of arrival gives a sample's
/// length.
pub fn eventdev(device: &str, cpus: Cpus) -> Result<f64, Failure> {
    let mut args = eal(
        &format!("0@{0},1@{1},2@{0}", cpus.other, cpus.rx),
        &format!("--vdev={device} --vdev=net_null0"),
    );
    args.extend(words("-S 1 -- --test=perf_queue --prod_type_ethdev --plcores=1 --wlcores=2 --stlist=p --nb_pkts=0"));
    // Reads line by line, so that the printing lcore is done before the others
    // start.
    let mut test = Running::start_talkative("dpdk-test-eventdev", &args)?;
    test.wait_for("adapter", START, |said| said.contains("using Rx adapter").then_some(()))?;
    let main_lcore = test.pid().to_string();
    let chrt = Command::new("chrt").args(["--idle", "--pid", "0", &main_lcore]).output();
    if !chrt.is_ok_and(|output| output.status.success()) {
        return failure("chrt (package util-linux) cannot move the printing lcore out of the way");
    }
    let (start, _) = test.wait_for("first sample", SAMPLE, |said| samples(said).next())?;
    let (end, mpackets) = test.wait_for("second sample", SAMPLE, |said| samples(said).nth(1))?;
    Ok(mpackets / (end - start).as_secs_f64())
}

/// Millions of packets of each complete sample.
fn samples(said: &str) -> impl Iterator<Item = f64> {
    said.split('\r').filter_map(|piece| {
        let (sample, _) = piece.split_once("\x1b[0m")?;
        let (number, _) = sample.split_once(" mpps avg ")?;
        number.parse().ok()
    })
}

/// Lines of `ring_perf_autotest`: name, heading, prefix, and the divisor that
/// makes the figure cycles per element. On one core the test prints cycles per
/// burst for enqueue and dequeue. On two it prints the sum of both sides'
/// cycles per element, although they work at the same time.
pub const RING_LINES: [(&str, &str, &str, f64); 4] = [
    (
        "ring SP/SC, one core",
        "### Testing burst enq/deq ###",
        "legacy APIs: SP/SC: burst (size: 32): ",
        32.0,
    ),
    (
        "ring MP/MC, one core",
        "### Testing burst enq/deq ###",
        "legacy APIs: MP/MC: burst (size: 32): ",
        32.0,
    ),
    (
        "ring SP/SC, two cores",
        "### Testing using two physical cores ###",
        "legacy APIs: SP/SC: bulk (size: 32): ",
        2.0,
    ),
    (
        "ring MP/MC, two cores",
        "### Testing using two physical cores ###",
        "legacy APIs: MP/MC: bulk (size: 32): ",
        2.0,
    ),
];

/// Millions of elements a second through a bare `rte_ring`, for each of
/// `RING_LINES`.
pub fn ring(cpus: Cpus) -> Result<[f64; RING_LINES.len()], Failure> {
    // Reads line by line, so that it need not wait for the rest of the test.
    let args = eal(&format!("0@{},1@{}", cpus.rx, cpus.other), "--log-level=lib.eal:debug");
    let mut test = Running::start_talkative("dpdk-test", &args)?;
    test.say("ring_perf_autotest")?;
    let end =
        |said: &str| said.contains("### Testing using all worker nodes").then(|| said.to_owned());
    let (_, said) = test.wait_for("ring figures", RING_TEST, end)?;
    let figures = || {
        let khz = number_after(&said, "TSC frequency is ~")?;
        let mut mpps = [0.0; RING_LINES.len()];
        for (mpps, (_, heading, line, divisor)) in mpps.iter_mut().zip(RING_LINES) {
            let (_, under) = said.split_once(heading)?;
            *mpps = khz / 1e3 / (number_after(under, line)? / divisor);
        }
        Some(mpps)
    };
    figures().map_or_else(
        || failure("dpdk-test printed no ring figures for two cores: these CPUs pass for one core"),
        Ok,
    )
}

fn number_after(text: &str, prefix: &str) -> Option<f64> {
    text.split_once(prefix)?.1.split_whitespace().next()?.parse().ok()
}
