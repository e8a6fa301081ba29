//! `dpi`: decides by what flows carry. The first packets of a flow that have a payload are scanned for the patterns of a rules file, in the
//! expensive stage; what that came to is remembered in a table, and all that the cheap stage does is look there.
//!
//! Each payload is scanned by itself: a pattern that crosses the border of two packets is not found, and streams are not put together.

mod mark;
mod rules;
mod scan;
mod state;

use std::sync::Arc;

pub use mark::set_dscp;
pub use rules::{Action, Pattern, RULES_MAX, Rule, Rules, Wrong};
pub use scan::{Automata, Progress, Scanner};
pub use state::FlowState;

use super::flow_id::FlowIds;
use super::flow_table::{FlowTable, Place};
use super::headers::{Headers, Network};
use super::{Budget, Class, Cutoff, Engine, Peers, Verdict, headers_of};
use crate::dpdk::clock::tsc;
use crate::dpdk::{Burst, Mbuf};
use crate::stats::{DpiCounts, DropCause};

/// What all lcores share.
pub struct Inspection {
    pub rules: Arc<Rules>,
    pub automata: Arc<Automata>,
    /// By flow: a [`FlowState`].
    pub flows: FlowTable,
    pub ids: FlowIds,
    /// Of flows in which nothing is found, so many packets with a payload are scanned; at least 1.
    pub pkts_max: u16,
}

/// One lcore's engine. Forwards by port, and leaves all but the DSCP as it is.
pub struct Dpi {
    shared: Arc<Inspection>,
    peers: Peers,
    scanner: Scanner,
    /// After how long a scan is given up; without, it is left to the expensive stage at once.
    cutoff: Option<Cutoff>,
    /// Packets of several segments are put together here.
    bytes: Vec<u8>,
    counts: Arc<DpiCounts>,
}

/// A packet, and what is known of its flow.
struct Seen {
    headers: Headers,
    flow_id: u64,
    state: FlowState,
}

impl Seen {
    /// Whether the packet has to be scanned.
    fn is_open(&self) -> bool {
        matches!(self.state, FlowState::Open(_)) && self.headers.payload < self.headers.end
    }
}

impl Dpi {
    /// `bytes_max`: of the longest packet. `counts`: of this lcore, which nobody else writes.
    pub fn new(shared: Arc<Inspection>, peers: Peers, cutoff: Option<Cutoff>, bytes_max: usize, counts: Arc<DpiCounts>) -> Self {
        let scanner = Scanner::new(shared.automata.clone());
        Self { shared, peers, scanner, cutoff, bytes: Vec::with_capacity(bytes_max), counts }
    }

    #[inline]
    fn look(&self, packet: &Mbuf) -> Seen {
        let headers = headers_of(packet);
        let flow_id = self.shared.ids.of(headers.key);
        let state = self.shared.flows.get(flow_id, tsc()).map_or(FlowState::Open(0), FlowState::from_bits);
        Seen { headers, flow_id, state }
    }

    /// Does to the packet what the rule says.
    fn apply(&self, rule: u16, packet: &mut Mbuf, headers: &Headers, from: u16) -> Verdict {
        self.counts.rules[usize::from(rule)].pkts.add(1);
        match self.shared.rules.0[usize::from(rule)].action {
            Action::Forward => {}
            Action::Drop => return Verdict::Drop(DropCause::Denied),
            Action::Mark(dscp) => {
                // What is no IP packet has no DSCP, and is forwarded as it is.
                if headers.network != Network::Other
                    && let Some(header) = packet.data_mut().get_mut(headers.l3..)
                {
                    set_dscp(header, dscp);
                }
            }
        }
        Verdict::Forward(self.peers.out(from))
    }

    /// Scans the packet, and decides. Past the budget, if there is one, it leaves the rest to the expensive stage.
    fn inspect(&mut self, packet: &mut Mbuf, seen: &Seen, progress: Progress, from: u16, budget: Option<(Cutoff, Budget)>) -> Verdict {
        let payload = payload(packet, &seen.headers, &mut self.bytes);
        let yield_point = || budget.is_some_and(|(_, budget)| budget.yield_point());
        let found = match (self.scanner.scan(payload, progress, yield_point), budget) {
            (Ok(found), _) => found,
            (Err(progress), Some((cutoff, _))) => {
                cutoff.leave(packet, progress.to_bits());
                return Verdict::Defer;
            }
            (Err(_), None) => None,
        };
        self.counts.scanned_pkts.add(1);
        self.counts.scanned_bytes.add(payload.len() as u64);
        match self.note(seen.flow_id, found) {
            FlowState::Decided(rule) => self.apply(rule, packet, &seen.headers, from),
            FlowState::Open(_) | FlowState::Passed => Verdict::Forward(self.peers.out(from)),
        }
    }

    /// Remembers what was found in another packet of the flow, and returns what is known of the flow now.
    fn note(&self, flow_id: u64, found: Option<u16>) -> FlowState {
        let mut before = FlowState::Open(0);
        let (bits, place) = self.shared.flows.update(flow_id, tsc(), |old| {
            before = old.map_or(FlowState::Open(0), FlowState::from_bits);
            before.after(found, self.shared.pkts_max).to_bits()
        });
        let after = FlowState::from_bits(bits);
        let counts = &self.counts;
        if let Some(rule) = found {
            counts.rules[usize::from(rule)].hit_pkts.add(1);
        }
        match after {
            FlowState::Decided(rule) if !matches!(before, FlowState::Decided(_)) => counts.rules[usize::from(rule)].flows.add(1),
            FlowState::Passed if before != after => counts.passed_flows.add(1),
            _ => {}
        }
        counts.new_flows.add(u64::from(place != Place::Known));
        counts.evicted_flows.add(u64::from(place == Place::Evicted));
        after
    }
}

/// What is behind the packet's headers, of all segments.
fn payload<'p>(packet: &'p Mbuf, headers: &Headers, bytes: &'p mut Vec<u8>) -> &'p [u8] {
    let all = if packet.segments() == 1 {
        packet.data()
    } else {
        bytes.clear();
        packet.append_to(bytes);
        bytes.as_slice()
    };
    all.get(headers.payload..headers.end).unwrap_or_default()
}

impl Engine for Dpi {
    #[inline]
    fn classify(&mut self, packet: &Mbuf, _: u16) -> Class {
        match self.look(packet).is_open() {
            false => Class::Cheap,
            true if self.cutoff.is_some() => Class::Unknown,
            true => Class::Defer,
        }
    }

    #[inline]
    fn cheap(&mut self, packet: &mut Mbuf, from: u16) -> Verdict {
        let seen = self.look(packet);
        match (seen.state, self.cutoff) {
            (FlowState::Decided(rule), _) => self.apply(rule, packet, &seen.headers, from),
            _ if !seen.is_open() => Verdict::Forward(self.peers.out(from)),
            (_, Some(cutoff)) => self.inspect(packet, &seen, Progress::default(), from, Some((cutoff, cutoff.start()))),
            // The table has forgotten the flow since it was classified.
            (_, None) => Verdict::Defer,
        }
    }

    /// Scans also where the flow has passed meanwhile: this packet came before that was known, and may be among the first.
    #[inline]
    fn expensive(&mut self, packet: &mut Mbuf, from: u16) -> Verdict {
        let progress = self.cutoff.and_then(|cutoff| cutoff.resume(packet)).map_or(Progress::default(), Progress::from_bits);
        let seen = self.look(packet);
        match seen.state {
            FlowState::Decided(rule) => self.apply(rule, packet, &seen.headers, from),
            FlowState::Open(_) | FlowState::Passed => self.inspect(packet, &seen, progress, from, None),
        }
    }

    /// A burst in which nothing is to be scanned or changed is looked at once only.
    #[inline]
    fn cheap_burst(&mut self, burst: &mut Burst, from: u16, _: impl FnMut(Mbuf, DropCause)) -> Option<u16> {
        let passes = |packet: &Mbuf| {
            let seen = self.look(packet);
            !seen.is_open() && !matches!(seen.state, FlowState::Decided(_))
        };
        burst.packets().iter().all(passes).then(|| self.peers.out(from))
    }
}
