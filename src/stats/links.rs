//! A port's history during the run: changes of its link, and its loss.

use std::collections::VecDeque;

use serde::Serialize;

use mpfwd_common::text::grouped;

/// How many of its last changes a port keeps.
pub const LINK_CHANGES_MAX: usize = 32;

/// A time since the start of the run.
pub fn run_time(ns: u64) -> String {
    format!("{:.3} s", ns as f64 / 1e9)
}

/// A change of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct LinkChange {
    /// From the start of the run.
    pub at_ns: u64,
    pub up: bool,
}

/// The loss of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LostAt {
    /// From the start of the run.
    pub at_ns: u64,
    /// `reset` or `removed`.
    pub why: &'static str,
}

/// The history of one port.
#[derive(Clone, Debug, Default)]
pub struct PortLog {
    /// All changes of the link.
    pub link_changes: u64,
    /// The last of them that were seen, oldest first.
    pub links: VecDeque<LinkChange>,
    pub lost: Option<LostAt>,
}

impl PortLog {
    /// The link changed for the `count`-th time, to the state in `change`.
    /// Those between two looks were not seen. Returns whether that is new.
    pub fn note_link(&mut self, count: u64, change: LinkChange) -> bool {
        if count == self.link_changes {
            return false;
        }
        self.link_changes = count;
        if self.links.len() == LINK_CHANGES_MAX {
            self.links.pop_front();
        }
        self.links.push_back(change);
        true
    }

    /// The port is lost. Returns whether that is new.
    pub fn note_loss(&mut self, lost: LostAt) -> bool {
        let is_new = self.lost.is_none();
        self.lost.get_or_insert(lost);
        is_new
    }

    /// In a few words; `None` if nothing happened.
    pub fn summary(&self) -> Option<String> {
        let link = self.links.back().map(|last| {
            let state = if last.up { "up" } else { "down" };
            let changes = grouped(self.link_changes);
            format!("link changes {changes}, last {state} at {}", run_time(last.at_ns))
        });
        let lost = self.lost.map(|lost| format!("{} at {}", lost.why, run_time(lost.at_ns)));
        let parts: Vec<String> = link.into_iter().chain(lost).collect();
        (!parts.is_empty()).then(|| parts.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(at_ns: u64) -> LinkChange {
        LinkChange { at_ns, up: at_ns.is_multiple_of(2) }
    }

    #[test]
    fn all_changes_count_and_the_last_ones_are_kept() {
        let mut log = PortLog::default();
        assert!(!log.note_link(0, change(0)) && log.summary().is_none());
        for count in 1..=100 {
            assert!(log.note_link(count, change(count)));
            assert!(!log.note_link(count, change(count)), "seen already");
        }
        assert!(log.note_link(103, change(200)), "three changes between two looks");
        assert_eq!((log.link_changes, log.links.len()), (103, LINK_CHANGES_MAX));
        assert_eq!(log.links.front(), Some(&change(70)));
        assert_eq!(log.links.back(), Some(&change(200)));
        assert_eq!(log.summary().expect("changes"), "link changes 103, last up at 0.000 s");
    }

    #[test]
    fn a_port_is_lost_once() {
        let mut log = PortLog::default();
        let first = LostAt { at_ns: 1_500_000_000, why: "reset" };
        assert!(log.note_loss(first) && !log.note_loss(LostAt { at_ns: 2, why: "removed" }));
        assert_eq!(log.lost, Some(first));
        assert_eq!(log.summary().expect("a loss"), "reset at 1.500 s");
    }
}
