//! An engine with state per flow: of each flow only so many packets pass, until
//! it has been silent for a while. All lcores share one table.
//!
//!     cargo run --release --example flow_limit -- -l 0-1 --vdev net_null0 --vdev net_null1 -- --pkts 100 --duration 5
#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::sync::{Arc, OnceLock};

use clap::Args;
use micropools::flow_table::FlowTable;
use mpfwd::app::Program;
use mpfwd::dpdk::Mbuf;
use mpfwd::dpdk::clock::tsc;
use mpfwd::engine::headers::{FlowBy, Standing};
use mpfwd::engine::{Class, Engine, EngineSetup, FlowIds, Peers, Verdict, judge_packet};
use mpfwd::stats::DropCause;

const PROGRAM: Program = Program::new("flow_limit").causes(&["over_limit"]);
const OVER_LIMIT: DropCause = DropCause::own(0);

const FLOWS: usize = 65_536;
const SILENCE_NS: u64 = 10_000_000_000;

#[derive(Args)]
struct Limit {
    /// Packets per flow
    #[arg(long, default_value_t = 100)]
    pkts: u64,
}

/// The part that all lcores share.
struct Shared {
    counts: FlowTable,
    ids: FlowIds,
}

struct FlowLimit {
    peers: Peers,
    shared: Arc<Shared>,
    pkts_max: u64,
}

impl Engine for FlowLimit {
    /// A lookup is cheap.
    fn classify(&mut self, _packet: &Mbuf, _from: u16) -> Class {
        Class::Cheap
    }

    /// Packets whose flow cannot be told, and ARP, are not limited.
    fn cheap(&mut self, packet: &mut Mbuf, from: u16) -> Verdict {
        let judged = judge_packet(packet, FlowBy::default());
        if judged.standing == Standing::Known {
            let flow = self.shared.ids.of(judged.headers.key);
            let count = |old: Option<u64>| old.unwrap_or(0) + 1;
            if self.shared.counts.update(flow, tsc(), count).0 > self.pkts_max {
                return Verdict::Drop(OVER_LIMIT);
            }
        }
        Verdict::Forward(self.peers.out(from))
    }

    fn expensive(&mut self, packet: &mut Mbuf, from: u16) -> Verdict {
        self.cheap(packet, from)
    }
}

fn main() -> ExitCode {
    let shared = OnceLock::new();
    let engine = |setup: &EngineSetup<'_>, limit: &Limit| {
        let make = || {
            let counts = FlowTable::new(FLOWS, setup.rate.ticks(SILENCE_NS));
            Arc::new(Shared { counts, ids: FlowIds::random() })
        };
        let shared = shared.get_or_init(make).clone();
        FlowLimit { peers: setup.peers.clone(), shared, pkts_max: limit.pkts }
    };
    match PROGRAM.run(std::env::args_os(), engine) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("flow_limit: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}
