//! An example of writing your own engine: forwards everything but ARP packets
//! in which somebody else claims the gateway's IP address. It has a name,
//! arguments and a cause of drops of its own.
//!
//!     cargo run --release --example arp_guard -- -l 0-1 --vdev net_null0 --vdev net_null1 -- --pools 1:1 --duration 5
#![forbid(unsafe_code)]

use std::net::Ipv4Addr;
use std::process::ExitCode;

use clap::Args;
use macaddr::MacAddr6;
use mpfwd::app::Program;
use mpfwd::dpdk::Mbuf;
use mpfwd::engine::{Class, Engine, EngineSetup, Peers, Verdict};
use mpfwd::stats::DropCause;

const PROGRAM: Program = Program::new("arp_guard").causes(&["spoofed_gateway"]);
const SPOOFED: DropCause = DropCause::own(0);

#[derive(Args)]
struct Gateway {
    /// The gateway's IP address
    #[arg(long, default_value = "10.0.0.1")]
    gateway_ip: Ipv4Addr,
    /// The gateway's MAC address
    #[arg(long, default_value = "02:00:00:00:00:01")]
    gateway_mac: MacAddr6,
}

/// One per lcore.
struct ArpGuard {
    peers: Peers,
    ip: [u8; 4],
    mac: [u8; 6],
}

impl ArpGuard {
    fn new(setup: &EngineSetup<'_>, gateway: &Gateway) -> Self {
        Self {
            peers: setup.peers.clone(),
            ip: gateway.gateway_ip.octets(),
            mac: gateway.gateway_mac.into_array(),
        }
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
        let claims_ip = packet.data().get(28..32) == Some(&self.ip);
        let has_mac = packet.data().get(22..28) == Some(&self.mac);
        if claims_ip && !has_mac {
            Verdict::Drop(SPOOFED)
        } else {
            Verdict::Forward(self.peers.out(from))
        }
    }
}

fn main() -> ExitCode {
    match PROGRAM.run(std::env::args_os(), ArpGuard::new) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("arp_guard: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}
