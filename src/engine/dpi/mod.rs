//! `dpi`: decides by the payload of flows. The expensive stage scans the first
//! packets of a flow that have a payload for the patterns of a rules file, and
//! stores the decision in a table. The cheap stage only looks there.
//!
//! The segments of a TCP stream are scanned one after the other, so that a
//! pattern across them is found. Other payloads are scanned by themselves.

mod automata;
mod checksum;
mod connection;
mod expression;
mod fragments;
mod hosts;
mod in_turn;
mod inspection;
mod literals;
mod mark;
mod matcher;
mod names;
mod rule_set;
mod rules;
mod scan;
mod state;
mod streams;

use std::sync::Arc;

pub use automata::Automata;
use connection::{Life, TCP, is_back, life, sequence, stream};
pub use expression::Expression;
pub use fragments::Fragments;
use hosts::DNS_PORT;
pub use hosts::Place;
use in_turn::InTurn;
pub use inspection::Inspection;
use mark::mark;
pub use mark::set_dscp;
pub use names::Name;
pub use rule_set::{RuleNames, RuleSet};
pub use rules::{Action, Pattern, RULES_MAX, Rule, Rules};
pub use scan::{Progress, Protocol, Scanner, Subject};
pub use state::FlowState;
use state::{ended, has_ended, is_later};
pub use streams::{Segment, StreamEvents};

use super::headers::{Doubt, FlowKey, Headers, Judged, Standing};
use super::{Budget, Class, Cutoff, Engine, Held, Peers, Turns, Verdict, judge_packet};
use crate::dpdk::clock::tsc;
use crate::dpdk::{Burst, Mbuf};
use crate::stats::DropCause;
use micropools::flow_table::Upsert;

const UDP: u8 = 17;

/// One lcore's engine. Forwards by port and changes nothing but the DSCP. After
/// the rules are replaced it uses the new ones from the next packet on.
pub struct Dpi {
    shared: Arc<Inspection>,
    rules: Held<RuleSet>,
    /// Its number among the engines that share the inspection.
    lcore: usize,
    peers: Peers,
    /// Of `rules`; `None` only while it is exchanged.
    scanner: Option<Scanner>,
    /// When a scan is given up; without it, every scan is left to the expensive
    /// stage.
    cutoff: Option<Cutoff>,
    /// Packets of several segments are linearised here.
    bytes: Vec<u8>,
}

/// A packet's headers, and its flow's state.
struct Seen {
    headers: Headers,
    /// The outermost IP header.
    outer_l3: Option<usize>,
    /// `None`: the packet stands for itself. It is scanned, and what is found
    /// decides about no other packet.
    flow_id: Option<u64>,
    state: FlowState,
    /// Tunnels around the headers.
    tunnels: usize,
}

impl Seen {
    /// Whether the packet must be scanned.
    fn is_open(&self) -> bool {
        matches!(self.state, FlowState::Open(_)) && self.headers.payload < self.headers.end
    }

    /// The place of the payload in its TCP stream, from the packet's first
    /// bytes. `None` if it is not TCP, or a fragment.
    #[inline]
    fn segment(&self, front: &[u8], flow_id: u64) -> Option<Segment> {
        let seq = sequence(front, &self.headers)?;
        Some(Segment { stream: stream(flow_id, is_back(&self.headers)), seq })
    }

    fn protocol(&self) -> Protocol {
        let FlowKey { source, destination, .. } = self.headers.key;
        let is_dns = [source.port, destination.port].contains(&DNS_PORT);
        match self.headers.protocol {
            TCP if is_dns => Protocol::DnsOverTcp,
            TCP => Protocol::Tcp,
            UDP if is_dns => Protocol::Dns,
            _ => Protocol::Other,
        }
    }
}

impl Dpi {
    /// `bytes_max`: length of the longest packet. `lcore`: below the number of
    /// lcores that the rules are compiled for, and unique.
    pub fn new(
        shared: Arc<Inspection>,
        peers: Peers,
        cutoff: Option<Cutoff>,
        bytes_max: usize,
        lcore: usize,
    ) -> Self {
        let rules = shared.rules.hold();
        let scanner = rules.exchange(lcore, None);
        Self { shared, rules, lcore, peers, scanner, cutoff, bytes: Vec::with_capacity(bytes_max) }
    }

    #[inline(always)]
    fn follow(&mut self) {
        if self.rules.follow() {
            self.exchange();
        }
    }

    #[cold]
    fn exchange(&mut self) {
        self.scanner = self.rules.exchange(self.lcore, self.scanner.take());
    }

    #[inline]
    fn look(&self, packet: &Mbuf) -> Seen {
        let judged = judge_packet(packet, self.shared.by);
        if judged.standing != Standing::Known || judged.fragment.is_some() {
            return self.look_closely(packet, &judged);
        }
        let flow_id = self.shared.ids.of(judged.headers.key);
        let state = self.state_of_flow(packet, &judged, flow_id);
        seen(&judged, Some(flow_id), state)
    }

    /// The state in which the packet finds its flow.
    #[inline]
    fn state_of_flow(&self, packet: &Mbuf, judged: &Judged, flow_id: u64) -> FlowState {
        let bits = self.shared.flows.get(flow_id, tsc());
        let state = bits.map_or(FlowState::Open(0), |bits| self.rules.state(bits));
        match life(packet, &judged.headers) {
            Life::Goes => state,
            life => {
                self.note_beginning(packet, judged, flow_id, life);
                bits.map_or(state, |bits| self.turn_over(packet, judged, flow_id, bits, life))
            }
        }
    }

    /// Remembers where a direction of the flow begins: segments before it are
    /// of an earlier connection, and may be scanned later than this arrives.
    #[cold]
    fn note_beginning(&self, packet: &Mbuf, judged: &Judged, flow_id: u64, life: Life) {
        let headers = &judged.headers;
        if life == Life::Ends || !self.shared.is_sound(packet, headers, judged.tunnels) {
            return;
        }
        if let Some(seq) = sequence(packet.data(), headers) {
            let begun = stream(flow_id, is_back(headers));
            self.shared.begun.update(begun, tsc(), |_| u64::from(seq));
        }
    }

    /// A segment begins or ends a known flow's life. The flow of a SYN starts
    /// anew, unless a rule has decided it and it has not ended. Segments with a
    /// wrong checksum change nothing. May be called again for a packet.
    #[cold]
    fn turn_over(
        &self,
        packet: &Mbuf,
        judged: &Judged,
        flow_id: u64,
        bits: u64,
        life: Life,
    ) -> FlowState {
        let state = self.rules.state(bits);
        let is_decided = matches!(state, FlowState::Decided(_));
        let changes = match life {
            Life::Begins => state != FlowState::Open(0) && (!is_decided || has_ended(bits)),
            Life::Ends => is_decided && !has_ended(bits),
            Life::Goes | Life::Answers => false,
        };
        let sound = || self.shared.is_sound(packet, &judged.headers, judged.tunnels);
        if !changes || !sound() {
            return state;
        }
        let next = match life {
            Life::Begins => FlowState::Open(0).to_bits(self.rules.generation()),
            _ => ended(bits),
        };
        if let (Life::Begins, Some(scanner)) = (life, &self.scanner) {
            [false, true].into_iter().for_each(|back| scanner.forget(stream(flow_id, back)));
        }
        let change = |old: Option<u64>| if old == Some(bits) { next } else { old.unwrap_or(next) };
        self.rules.state(self.shared.flows.update(flow_id, tsc(), change).0)
    }

    /// As `look`, for packets whose flow their headers do not tell at once.
    #[cold]
    fn look_closely(&self, packet: &Mbuf, judged: &Judged) -> Seen {
        let (shared, now) = (&*self.shared, tsc());
        let fragments = judged.fragment.map(|fragment| shared.ids.of_fragments(fragment));
        let flow_id = match (judged.standing, fragments) {
            (Standing::Exempt, _) => return seen(judged, None, FlowState::Passed),
            (Standing::Known, fragments) => {
                let flow_id = shared.ids.of(judged.headers.key);
                if let Some(fragments) = fragments {
                    shared.fragments.set(fragments, flow_id, now);
                }
                Some(flow_id)
            }
            (Standing::Later, Some(fragments)) => shared.fragments.get(fragments, now),
            (Standing::Later | Standing::Unclear(_), _) => None,
        };
        if let Some(flow_id) = flow_id {
            return seen(judged, Some(flow_id), self.state_of_flow(packet, judged, flow_id));
        }
        // It may belong to any flow of its addresses: what denies one denies
        // this packet.
        let addresses = shared.ids.of_addresses(judged.headers.key);
        let denied = match judged.standing {
            Standing::Unclear(Doubt::Nothing) => None,
            _ => shared.denied.get(addresses, now).map(|bits| self.rules.state(bits)),
        };
        let denied = denied.filter(|state| matches!(state, FlowState::Decided(_)));
        seen(judged, None, denied.unwrap_or(FlowState::Open(0)))
    }

    /// The flow that the packet counts for, if its checksum is not wrong.
    fn sound_flow(&self, packet: &Mbuf, seen: &Seen) -> Option<u64> {
        seen.flow_id.filter(|_| self.shared.is_sound(packet, &seen.headers, seen.tunnels))
    }

    /// Applies the rule of this number to the packet.
    fn apply(&self, rule: u32, packet: &mut Mbuf, seen: &Seen, from: u16) -> Verdict {
        let Some(action) = self.rules.action(rule) else {
            return Verdict::Forward(self.peers.out(from));
        };
        self.rules.counts(self.lcore).rules[rule as usize].pkts.add(1);
        match action {
            Action::Forward => {}
            Action::Drop => return Verdict::Drop(DropCause::Denied),
            Action::Mark(dscp) => {
                // A packet without IP has no DSCP, and is forwarded as it is.
                if seen.outer_l3.is_some_and(|l3| !mark(packet, l3, dscp)) {
                    return Verdict::Drop(DropCause::SharedBuffer);
                }
            }
        }
        Verdict::Forward(self.peers.out(from))
    }

    /// Scans the packet, and decides. Past the budget, if there is one, the
    /// rest is left to the expensive stage.
    fn inspect(
        &mut self,
        packet: &mut Mbuf,
        seen: &Seen,
        progress: Progress,
        from: u16,
        budget: Option<(Cutoff, Budget)>,
    ) -> Verdict {
        let flow_id = self.sound_flow(packet, seen);
        let all = whole(packet, &mut self.bytes);
        let payload = all.get(seen.headers.payload..seen.headers.end).unwrap_or_default();
        let is_of_before =
            flow_id.is_some_and(|flow_id| self.shared.is_of_before(all, &seen.headers, flow_id));
        let segment = flow_id.filter(|_| !is_of_before);
        let segment = segment.and_then(|flow_id| seen.segment(all, flow_id));
        let subject = Subject { payload, segment, protocol: seen.protocol() };
        let yield_point = || budget.is_some_and(|(_, budget)| budget.yield_point());
        let scan = self
            .scanner
            .as_mut()
            .map_or(Ok(None), |scanner| scanner.scan(&subject, progress, yield_point));
        let found = match (scan, budget) {
            (Ok(found), _) => found.map(|place| self.rules.number(place)),
            (Err(progress), Some((cutoff, _))) => {
                cutoff.leave_progress(packet, progress.to_bits(self.rules.generation()));
                return Verdict::Defer;
            }
            (Err(_), None) => None,
        };
        let (segment, scanned_bytes) = (subject.segment, payload.len() as u64);
        // Without a match it says nothing of the connection that has begun.
        let after = match found {
            None if is_of_before => seen.state,
            found => self.note(seen, flow_id, found),
        };
        let counts = self.rules.counts(self.lcore);
        counts.scanned_pkts.add(1);
        counts.scanned_bytes.add(scanned_bytes);
        if let Some(scanner) = &mut self.scanner {
            let events = std::mem::take(&mut scanner.events);
            counts.held_segments.add(events.held);
            counts.stream_gaps.add(events.gaps);
            counts.evicted_streams.add(events.evicted);
            if let Some(flow_id) = flow_id
                && segment.is_some()
                && !matches!(after, FlowState::Open(_))
            {
                scanner.forget(stream(flow_id, false));
                scanner.forget(stream(flow_id, true));
            }
        }
        match after {
            FlowState::Decided(rule) => self.apply(rule, packet, seen, from),
            FlowState::Open(_) | FlowState::Passed => Verdict::Forward(self.peers.out(from)),
        }
    }

    /// Stores the rule that matched another packet of the flow, if any, and
    /// returns the flow's new state. The state of an lcore that uses later
    /// rules wins.
    ///
    /// Without a flow the packet decides about itself alone. So does one with a
    /// wrong checksum, which reaches no program: it is scanned all the same,
    /// because some hosts send checksums unfinished.
    fn note(&self, seen: &Seen, flow_id: Option<u64>, found: Option<u32>) -> FlowState {
        let (rules, counts) = (&self.rules, self.rules.counts(self.lcore));
        let Some(flow_id) = flow_id else {
            let Some(rule) = found else { return FlowState::Open(0) };
            counts.rules[rule as usize].hit_pkts.add(1);
            return FlowState::Decided(rule);
        };
        let mut before = FlowState::Open(0);
        let (bits, done) = self.shared.flows.update(flow_id, tsc(), |old| {
            before = old.map_or(FlowState::Open(0), |bits| rules.state(bits));
            let later = old.filter(|&bits| is_later(bits, rules.generation()));
            later.unwrap_or_else(|| {
                before.after(found, self.shared.pkts_max).to_bits(rules.generation())
            })
        });
        let after = rules.state(bits);
        if let Some(rule) = found {
            counts.rules[rule as usize].hit_pkts.add(1);
        }
        match after {
            FlowState::Decided(rule) if !matches!(before, FlowState::Decided(_)) => {
                counts.rules[rule as usize].flows.add(1);
                if rules.action(rule) == Some(Action::Drop) {
                    let addresses = self.shared.ids.of_addresses(seen.headers.key);
                    self.shared.denied.update(addresses, tsc(), |_| bits);
                }
            }
            FlowState::Passed if before != after => counts.passed_flows.add(1),
            _ => {}
        }
        counts.new_flows.add(u64::from(done != Upsert::Updated));
        counts.evicted_flows.add(u64::from(done == Upsert::Evicted));
        after
    }
}

fn seen(judged: &Judged, flow_id: Option<u64>, state: FlowState) -> Seen {
    let Judged { headers, outer_l3, tunnels, .. } = *judged;
    Seen { headers, outer_l3, tunnels, flow_id, state }
}

/// The packet's bytes, of all segments.
fn whole<'p>(packet: &'p Mbuf, bytes: &'p mut Vec<u8>) -> &'p [u8] {
    if packet.segments() == 1 {
        return packet.data();
    }
    bytes.clear();
    packet.append_to(bytes);
    bytes.as_slice()
}

impl Engine for Dpi {
    #[inline]
    fn classify(&mut self, packet: &Mbuf, _: u16) -> Class {
        self.follow();
        let seen = self.look(packet);
        // In the order of arrival, which scans need not keep.
        if seen.is_open()
            && let Some(flow_id) = self.sound_flow(packet, &seen)
            && let Some(segment) = seen.segment(packet.data(), flow_id)
            && let Some(scanner) = &mut self.scanner
        {
            scanner.announce(segment);
        }
        match seen.is_open() {
            false => Class::Cheap,
            true if self.cutoff.is_some() => Class::Unknown,
            true => Class::Defer,
        }
    }

    #[inline]
    fn cheap(&mut self, packet: &mut Mbuf, from: u16) -> Verdict {
        self.follow();
        let seen = self.look(packet);
        match (seen.state, self.cutoff) {
            (FlowState::Decided(rule), _) => self.apply(rule, packet, &seen, from),
            _ if !seen.is_open() => Verdict::Forward(self.peers.out(from)),
            (_, Some(cutoff)) => self.inspect(
                packet,
                &seen,
                Progress::default(),
                from,
                Some((cutoff, cutoff.start())),
            ),
            // The table has forgotten the flow since it was classified.
            (_, None) => Verdict::Defer,
        }
    }

    /// Also scans if the flow has passed meanwhile: this packet arrived before
    /// that was known, and may be among the first.
    #[inline]
    fn expensive(&mut self, packet: &mut Mbuf, from: u16) -> Verdict {
        self.follow();
        let progress = self.cutoff.and_then(|cutoff| cutoff.take_progress(packet));
        let progress = progress
            .map_or(Progress::default(), |bits| Progress::from_bits(bits, self.rules.generation()));
        let seen = self.look(packet);
        match seen.state {
            FlowState::Decided(rule) => self.apply(rule, packet, &seen, from),
            FlowState::Open(_) | FlowState::Passed => {
                self.inspect(packet, &seen, progress, from, None)
            }
        }
    }

    #[inline]
    fn rest(&mut self) {
        self.follow();
    }

    fn turns(&self) -> Option<Box<dyn Turns>> {
        Some(Box::new(InTurn { shared: self.shared.clone(), lcore: self.lcore }))
    }

    /// A burst without a packet to scan or change needs one look.
    #[inline]
    fn cheap_burst(
        &mut self,
        burst: &mut Burst,
        from: u16,
        _: impl FnMut(Mbuf, DropCause),
    ) -> Option<u16> {
        self.follow();
        let passes = |packet: &Mbuf| {
            let seen = self.look(packet);
            !seen.is_open() && !matches!(seen.state, FlowState::Decided(_))
        };
        burst.packets().iter().all(passes).then(|| self.peers.out(from))
    }
}
