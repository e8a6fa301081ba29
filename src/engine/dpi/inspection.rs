//! What the lcores share of an inspection.

use std::sync::Arc;

use super::checksum::Checksum;
use super::connection::{is_back, sequence, stream};
use super::fragments::Fragments;
use super::rule_set::RuleSet;
use crate::dpdk::Mbuf;
use crate::dpdk::clock::tsc;
use crate::engine::Live;
use crate::engine::flow_id::FlowIds;
use crate::engine::headers::{FlowBy, Headers};
use micropools::flow_table::FlowTable;

/// The part that all lcores share.
pub struct Inspection {
    pub rules: Arc<Live<RuleSet>>,
    /// By flow, a [`FlowState`](super::FlowState).
    pub flows: FlowTable,
    pub ids: FlowIds,
    /// Which headers make a flow.
    pub by: FlowBy,
    pub fragments: Fragments,
    /// By direction of a flow, the first sequence number of its connection.
    pub begun: FlowTable,
    /// Some ports are virtual: behind them may be a kernel that leaves
    /// checksums to hardware.
    pub virtual_ports: bool,
    /// By pair of addresses, the [`FlowState`](super::FlowState) of a flow between them that a
    /// rule drops.
    pub denied: FlowTable,
    /// Packets with a payload that are scanned of a flow without a match; at
    /// least 1.
    pub pkts_max: u16,
}

impl Inspection {
    /// Whether a host may take the packet, as far as its checksum tells.
    pub(super) fn is_sound(&self, packet: &Mbuf, headers: &Headers, tunnels: usize) -> bool {
        Checksum::of(packet, headers, tunnels, self.virtual_ports) != Checksum::Wrong
    }

    /// Whether the segment is of a connection that has been followed by another.
    pub(super) fn is_of_before(&self, front: &[u8], headers: &Headers, flow_id: u64) -> bool {
        sequence(front, headers).is_some_and(|seq| {
            let begun = self.begun.get(stream(flow_id, is_back(headers)), tsc());
            begun.is_some_and(|begun| (seq.wrapping_sub(begun as u32) as i32) < 0)
        })
    }
}
