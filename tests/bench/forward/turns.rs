//! Programs that forward side by side on the same CPUs, in turns: all but one
//! are stopped at any time. Turns are so short that what the machine does
//! meanwhile does it to all of them, which windows of a second cannot say of
//! themselves.

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
use crate::stats::median;

/// Turns that each program has in a round.
const TURNS: usize = 20;
/// How long a turn is counted, and how long caches and predictors get before.
const TURN: Duration = Duration::from_millis(50);
const SETTLE: Duration = Duration::from_millis(15);
/// Until its loops run at their pace.
const WARM_UP: Duration = Duration::from_millis(300);
const START: Duration = Duration::from_secs(30);
const ANSWER_S: i64 = 10;
const ANSWER_BYTES: usize = 16 * 1024;
const PORTS: [u16; 2] = [0, 1];

/// A forwarder that runs, or is stopped.
pub struct Forwarder {
    running: Running,
    telemetry: OwnedFd,
    /// Which of its ports' counters tells its speed.
    counter: &'static str,
    /// What makes it end by itself.
    end: fn(&mut Running) -> Result<(), Failure>,
}

impl Forwarder {
    /// Of a process that forwards, or is about to; `prefix` is its EAL's. Stops
    /// it.
    pub fn new(
        running: Running,
        prefix: &str,
        end: fn(&mut Running) -> Result<(), Failure>,
    ) -> Result<Self, Failure> {
        let path = Path::new("/var/run/dpdk").join(prefix).join("dpdk_telemetry.v2");
        let telemetry = connected(&path)?;
        let forwarder = Self { running, telemetry, counter: "ipackets", end };
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

    /// Counts what it sends instead of what it receives.
    pub fn counting_sent(self) -> Self {
        Self { counter: "opackets", ..self }
    }

    /// Millions of packets a second that it receives or sends, alone on its
    /// CPUs.
    fn turn(&self) -> Result<f64, Failure> {
        process::check_interrupt()?;
        self.signal(Signal::SIGCONT)?;
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

    /// What all its ports have counted since it started, by DPDK's telemetry.
    fn counted_pkts(&self) -> Result<u64, Failure> {
        PORTS.iter().map(|port| self.port_pkts(*port)).sum()
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

/// A round: each of the programs, started afresh, has its turns, there and back
/// so that none is always first. The median of each.
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

/// A connection to EAL's telemetry, which may not be there yet.
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
