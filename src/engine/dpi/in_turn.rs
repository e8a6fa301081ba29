//! Packets that waited for others of their flow.

use std::sync::Arc;

use super::inspection::Inspection;
use super::mark::{dscp_of, mark};
use super::rules::Action;
use super::state::{FlowState, is_decided};
use crate::dpdk::Mbuf;
use crate::dpdk::clock::tsc;
use crate::engine::headers::Standing;
use crate::engine::{Turns, judge_packet};
use crate::stats::DropCause;

/// Looks again at packets that waited behind others of their flow: a rule may
/// have decided the flow meanwhile.
pub(super) struct InTurn {
    pub shared: Arc<Inspection>,
    pub lcore: usize,
}

impl Turns for InTurn {
    fn still_goes(&mut self, packet: &mut Mbuf) -> Result<(), DropCause> {
        let Inspection { ids, flows, fragments, .. } = &*self.shared;
        let judged = judge_packet(packet, self.shared.by);
        let flow_id = match (judged.standing, judged.fragment) {
            (Standing::Known, _) => Some(ids.of(judged.headers.key)),
            (Standing::Later, Some(fragment)) => fragments.get(ids.of_fragments(fragment), tsc()),
            _ => None,
        };
        let bits = flow_id.and_then(|flow_id| flows.get(flow_id, tsc()));
        let Some(bits) = bits.filter(|&bits| is_decided(bits)) else { return Ok(()) };
        // Seldom: most packets of a decided flow wait for nobody.
        let rules = self.shared.rules.hold();
        let FlowState::Decided(rule) = rules.state(bits) else { return Ok(()) };
        let is_changed = match rules.action(rule) {
            Some(Action::Drop) => true,
            Some(Action::Mark(dscp)) => {
                let before = judged.outer_l3.and_then(|l3| dscp_of(packet, l3));
                before.is_some_and(|before| before != dscp)
            }
            Some(Action::Forward) | None => false,
        };
        if !is_changed {
            return Ok(());
        }
        rules.counts(self.lcore).rules[rule as usize].pkts.add(1);
        match (rules.action(rule), judged.outer_l3) {
            (Some(Action::Mark(dscp)), Some(l3)) if mark(packet, l3, dscp) => Ok(()),
            (Some(Action::Mark(_)), _) => Err(DropCause::SharedBuffer),
            _ => Err(DropCause::Denied),
        }
    }
}
