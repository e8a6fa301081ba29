//! Which candidate to advise.

use super::candidate::{Candidate, Predicted};
use crate::class::Class;
use crate::target::Target;

/// A mode that loses more than this does not keep up.
pub(super) const LOST_SHARE_MAX: f64 = 0.001;

/// Latencies within this factor are alike.
pub(super) const ALIKE: f64 = 1.05;

/// A candidate, and what is expected of it at the run's rate and at the higher
/// one.
pub(super) struct Choice {
    pub candidate: Candidate,
    pub now: Predicted,
    pub later: Predicted,
}

impl Choice {
    /// It keeps up, and reaches the target at both rates.
    pub(super) fn reaches(&self, target: &Target) -> bool {
        self.keeps_up() && [&self.now, &self.later].iter().all(|at| target.is_met(&at.latency))
    }

    pub(super) fn keeps_up(&self) -> bool {
        self.later.lost_share <= LOST_SHARE_MAX
    }

    /// The less, the better. Among those that reach the target, the latency of
    /// the other class counts; else how far they are from it.
    pub(super) fn rank(&self, target: &Target) -> (bool, bool, i64) {
        let reaches = target.limit_ns.is_some() && self.reaches(target);
        let other = Class::ALL.into_iter().find(|&class| class != target.class);
        let ns = match other {
            Some(class) if reaches => self.later.latency[class as usize].p99_ns,
            _ => target.of(&self.later.latency),
        };
        (!self.keeps_up(), !reaches, ((ns.max(1) as f64).ln() / ALIKE.ln()).round() as i64)
    }
}
