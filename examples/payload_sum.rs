//! An engine with a budget: drops packets whose payload has a given CRC-16
//! (of X.25). How long that takes depends on the payload. With
//! `--yield-after` the cheap stage gives up in time, and leaves the packet with
//! its progress to the expensive stage, which continues there.
//!
//!     cargo run --release --example payload_sum -- -l 0-1 --vdev net_null0 --vdev net_null1 -- --pools 1:1 --yield-after 5us --block 906e --duration 5
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Args;
use mpfwd::app::Program;
use mpfwd::dpdk::Mbuf;
use mpfwd::engine::{Class, Cutoff, Engine, EngineSetup, Peers, Verdict, headers_of};
use mpfwd::stats::DropCause;

const PROGRAM: Program = Program::new("payload_sum").causes(&["blocked_sum"]);
const BLOCKED: DropCause = DropCause::own(0);

#[derive(Args)]
struct Blocked {
    /// The checksum, in hexadecimal
    #[arg(long, default_value = "0", value_parser = |text: &str| u16::from_str_radix(text, 16))]
    block: u16,
}

struct PayloadSum {
    peers: Peers,
    cutoff: Option<Cutoff>,
    blocked: u16,
}

/// How far the sum has come, and the bytes that it covers.
#[derive(Clone, Copy)]
struct Progress {
    crc: u16,
    bytes: u16,
}

impl Progress {
    const START: Self = Self { crc: 0xffff, bytes: 0 };

    fn to_bits(self) -> u32 {
        u32::from(self.crc) << 16 | u32::from(self.bytes)
    }

    fn from_bits(bits: u32) -> Self {
        Self { crc: (bits >> 16) as u16, bytes: bits as u16 }
    }

    fn add(&mut self, bytes: &[u8]) {
        const POLYNOMIAL: u16 = 0x8408;
        for &byte in bytes {
            self.crc ^= u16::from(byte);
            for _ in 0..8 {
                let carry = self.crc & 1;
                self.crc = (self.crc >> 1) ^ (carry * POLYNOMIAL);
            }
        }
        self.bytes += bytes.len() as u16;
    }

    fn sum(self) -> u16 {
        !self.crc
    }
}

impl PayloadSum {
    /// Adds up a part at a time. `Err`: the time is over.
    fn sum(
        packet: &Mbuf,
        mut so_far: Progress,
        time_is_over: impl Fn() -> bool,
    ) -> Result<u16, Progress> {
        let headers = headers_of(packet);
        let payload = packet.data().get(headers.payload..headers.end).unwrap_or_default();
        for part in payload.get(usize::from(so_far.bytes)..).unwrap_or_default().chunks(64) {
            so_far.add(part);
            if time_is_over() {
                return Err(so_far);
            }
        }
        Ok(so_far.sum())
    }

    fn verdict(&self, sum: u16, from: u16) -> Verdict {
        if sum == self.blocked {
            Verdict::Drop(BLOCKED)
        } else {
            Verdict::Forward(self.peers.out(from))
        }
    }
}

impl Engine for PayloadSum {
    fn classify(&mut self, _packet: &Mbuf, _from: u16) -> Class {
        if self.cutoff.is_some() { Class::Unknown } else { Class::Defer }
    }

    fn cheap(&mut self, packet: &mut Mbuf, from: u16) -> Verdict {
        let Some(cutoff) = self.cutoff else { return Verdict::Defer };
        let budget = cutoff.start();
        match Self::sum(packet, Progress::START, || budget.yield_point()) {
            Ok(sum) => self.verdict(sum, from),
            Err(so_far) => {
                cutoff.leave_progress(packet, so_far.to_bits());
                Verdict::Defer
            }
        }
    }

    fn expensive(&mut self, packet: &mut Mbuf, from: u16) -> Verdict {
        let left = self.cutoff.and_then(|cutoff| cutoff.take_progress(packet));
        let start = left.map_or(Progress::START, Progress::from_bits);
        // Nothing ends this stage: the sum is there.
        match Self::sum(packet, start, || false) {
            Ok(sum) => self.verdict(sum, from),
            Err(_) => Verdict::Forward(self.peers.out(from)),
        }
    }
}

fn main() -> ExitCode {
    let engine = |setup: &EngineSetup<'_>, blocked: &Blocked| PayloadSum {
        peers: setup.peers.clone(),
        cutoff: setup.cutoff,
        blocked: blocked.block,
    };
    match PROGRAM.run(std::env::args_os(), engine) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("payload_sum: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}
