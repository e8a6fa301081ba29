//! Programs that forward on the same CPUs in turns: all but one are stopped at
//! any time. Turns are so short that the machine's disturbances hit all
//! programs alike, unlike with windows of a second.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, connect, recvmsg, sendmsg, setsockopt,
    socket, sockopt,
};
use nix::sys::time::TimeVal;
use nix::unistd::Pid;
use serde_json::Value;

use crate::process::{self, Failure, Running, failure};
use crate::scraper::Scraper;
use crate::stats::median;

/// Turns that each program has in a round.
const TURNS: usize = 20;
/// Measured time of a turn, and the time before it to warm up caches and
/// predictors.
const TURN: Duration = Duration::from_millis(50);
const SETTLE: Duration = Duration::from_millis(15);
/// Time from the start until the loops run steadily.
const WARM_UP: Duration = Duration::from_millis(300);
const START: Duration = Duration::from_secs(30);
const ANSWER_S: i64 = 10;
const ANSWER_BYTES: usize = 16 * 1024;
const PORTS: &[u16] = &[0, 1];

/// A running or stopped forwarder.
pub struct Forwarder {
    running: Running,
    telemetry: OwnedFd,
    /// The port counter that measures its speed.
    counter: &'static str,
    ports: &'static [u16],
    /// Asks it for its metrics.
    scraper: Option<Scraper>,
    /// The input that makes it exit.
    end: fn(&mut Running) -> Result<(), Failure>,
}

impl Forwarder {
    /// Takes over a process that forwards, or is about to, and stops it.
    /// `prefix`: its EAL's.
    pub fn new(
        running: Running,
        prefix: &str,
        end: fn(&mut Running) -> Result<(), Failure>,
    ) -> Result<Self, Failure> {
        let path = Path::new("/var/run/dpdk").join(prefix).join("dpdk_telemetry.v2");
        let telemetry = connected(&path)?;
        let forwarder =
            Self { running, telemetry, counter: "ipackets", ports: PORTS, scraper: None, end };
        let until = Instant::now() + START;
        while forwarder.counted_pkts()? == 0 {
            process::sleep(Duration::from_millis(20))?;
            if Instant::now() > until {
                return failure(format!("{} receives nothing", path.display()));
            }
        }
        process::sleep(WARM_UP)?;
        forwarder.signal(Signal::SIGSTOP)?;
        Ok(forwarder)
    }

    /// Counts sent packets instead of received ones.
    pub fn counting_sent(self) -> Self {
        Self { counter: "opackets", ..self }
    }

    /// Counts packets that were sent by port 2.
    pub fn counting_sent_by_port_2(self) -> Self {
        Self { counter: "opackets", ports: &[2], ..self }
    }

    /// From its next turn on it is asked for its metrics.
    pub fn watched_by(self, scraper: Scraper) -> Self {
        Self { scraper: Some(scraper), ..self }
    }

    /// Its speed during a turn, in millions of packets a second.
    fn turn(&self) -> Result<f64, Failure> {
        process::check_interrupt()?;
        self.signal(Signal::SIGCONT)?;
        self.scraper.iter().for_each(Scraper::begin);
        thread::sleep(SETTLE);
        let (before, start) = (self.counted_pkts()?, Instant::now());
        thread::sleep(TURN);
        let (after, elapsed) = (self.counted_pkts()?, start.elapsed());
        self.signal(Signal::SIGSTOP)?;
        Ok((after - before) as f64 / elapsed.as_secs_f64() / 1e6)
    }

    fn signal(&self, signal: Signal) -> Result<(), Failure> {
        kill(Pid::from_raw(self.running.pid().cast_signed()), signal)
            .or_else(|error| failure(format!("{signal} is not taken: {error}")))
    }

    /// The counter's sum over its ports since the start, by DPDK's telemetry.
    fn counted_pkts(&self) -> Result<u64, Failure> {
        self.ports.iter().map(|port| self.port_pkts(*port)).sum()
    }

    fn port_pkts(&self, port: u16) -> Result<u64, Failure> {
        let answer = ask(&self.telemetry, &format!("/ethdev/stats,{port}"))
            .or_else(|error| failure(format!("telemetry: {error}")))?;
        answer
            .pointer(&format!("/~1ethdev~1stats/{}", self.counter))
            .and_then(Value::as_u64)
            .map_or_else(|| failure(format!("telemetry has no {}", self.counter)), Ok)
    }

    fn finish(mut self) -> Result<(), Failure> {
        self.signal(Signal::SIGCONT)?;
        (self.end)(&mut self.running)?;
        self.running.finish(START).map(drop)
    }
}

/// A round: starts all programs and gives them turns, in alternating order so
/// that none is always first. Returns the median of each.
pub fn round(start: impl FnOnce() -> Result<Vec<Forwarder>, Failure>) -> Result<Vec<f64>, Failure> {
    let forwarders = start()?;
    let mut mpps = vec![Vec::with_capacity(TURNS); forwarders.len()];
    for turn in 0..TURNS {
        for at in 0..forwarders.len() {
            let at = if turn % 2 == 0 { at } else { forwarders.len() - 1 - at };
            mpps[at].push(forwarders[at].turn()?);
        }
    }
    forwarders.into_iter().try_for_each(Forwarder::finish)?;
    Ok(mpps.into_iter().filter_map(median).collect())
}

/// Connects to EAL's telemetry, which may not exist yet.
fn connected(path: &Path) -> Result<OwnedFd, Failure> {
    let until = Instant::now() + START;
    loop {
        process::sleep(Duration::from_millis(20))?;
        match greeted(path) {
            Ok(telemetry) => return Ok(telemetry),
            Err(error) if Instant::now() > until => {
                return failure(format!("no telemetry at {}: {error}", path.display()));
            }
            Err(_) => {}
        }
    }
}

fn greeted(path: &Path) -> nix::Result<OwnedFd> {
    let telemetry = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&telemetry, sockopt::ReceiveTimeout, &TimeVal::new(ANSWER_S, 0))?;
    connect(telemetry.as_raw_fd(), &UnixAddr::new(path)?)?;
    answer(&telemetry)?;
    Ok(telemetry)
}

fn ask(telemetry: &OwnedFd, question: &str) -> nix::Result<Value> {
    sendmsg::<()>(
        telemetry.as_raw_fd(),
        &[IoSlice::new(question.as_bytes())],
        &[],
        MsgFlags::MSG_NOSIGNAL,
        None,
    )?;
    answer(telemetry)
}

fn answer(telemetry: &OwnedFd) -> nix::Result<Value> {
    let mut bytes = vec![0; ANSWER_BYTES];
    let length = recvmsg::<()>(
        telemetry.as_raw_fd(),
        &mut [IoSliceMut::new(&mut bytes)],
        None,
        MsgFlags::empty(),
    )?
    .bytes;
    serde_json::from_slice(&bytes[..length]).or(Err(nix::errno::Errno::EBADMSG))
}
