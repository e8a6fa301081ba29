//! An example of writing your own engine: forwards everything but ARP packets
//! in which somebody else claims the gateway's IP address.
//!
//!     cargo run --release --example arp_guard -- -l 0-1 --vdev net_null0 --vdev net_null1 -- --pools 1:1 --duration 5
#![forbid(unsafe_code)]

use std::process::ExitCode;

use mpfwd::dpdk::Mbuf;
use mpfwd::engine::{Class, Engine, EngineSetup, Peers, Verdict};
use mpfwd::stats::DropCause;

const GATEWAY_IP: [u8; 4] = [10, 0, 0, 1];
const GATEWAY_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x01];

/// One per lcore.
struct ArpGuard {
    peers: Peers,
}

impl ArpGuard {
    fn new(setup: &EngineSetup) -> Self {
        Self { peers: setup.peers.clone() }
    }
}

impl Engine for ArpGuard {
    /// ARP is rare: the lcores of pool B have time for it.
    fn classify(&mut self, packet: &Mbuf, _from: u16) -> Class {
        if packet.data().get(12..14) == Some(&[0x08, 0x06]) { Class::Defer } else { Class::Cheap }
    }

    fn cheap(&mut self, _packet: &mut Mbuf, from: u16) -> Verdict {
        Verdict::Forward(self.peers.out(from))
    }

    /// The sender's two addresses follow 14 bytes of Ethernet and 8 of ARP (RFC
    /// 826).
    fn expensive(&mut self, packet: &mut Mbuf, from: u16) -> Verdict {
        let claims_ip = packet.data().get(28..32) == Some(&GATEWAY_IP);
        let has_mac = packet.data().get(22..28) == Some(&GATEWAY_MAC);
        if claims_ip && !has_mac {
            Verdict::Drop(DropCause::Denied)
        } else {
            Verdict::Forward(self.peers.out(from))
        }
    }
}

fn main() -> ExitCode {
    match mpfwd::app::main_with(std::env::args_os(), ArpGuard::new) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("arp_guard: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}
