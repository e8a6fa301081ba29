//! What mpfwd writes into its JSON report and others read again.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::text::{grouped, time};

/// Host gaps in the report. Only time in which the lcore would notice counts:
/// while it polls in vain, and in work of a known length.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct HostGapRow {
    pub gaps: u64,
    pub gap_ns: u64,
    pub gap_max_ns: u64,
}

impl fmt::Display for HostGapRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (gaps, all, longest) = (grouped(self.gaps), time(self.gap_ns), time(self.gap_max_ns));
        write!(
            f,
            "the host took {all} from the lcores that they noticed, in {gaps} gaps of up to {longest}"
        )
    }
}

/// The stage that a packet was in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IncidentStage {
    Cheap,
    Expensive,
    /// Not known before it was run.
    Unknown,
    /// No packet's: the lcore did not run.
    Stalled,
    /// No packet's: the lcore's receive queues filled faster than it served
    /// them.
    Pressed,
}

impl IncidentStage {
    pub fn from_word(word: u64) -> Self {
        match word {
            0 => Self::Cheap,
            1 => Self::Expensive,
            2 => Self::Unknown,
            3 => Self::Stalled,
            _ => Self::Pressed,
        }
    }
}

/// One incident, joined.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incident {
    pub lcore: u32,
    pub flow_hash: u32,
    pub stage: IncidentStage,
    /// From the start of the run until the packet was begun.
    pub started_ns: u64,
    /// How long the lcore was in it; until now if it still is, and at least so
    /// long if it returned just as others came.
    pub stuck_ns: u64,
    pub returned: bool,
    /// From the packet's begin until the first of those that waited behind it
    /// were taken; none if nobody came.
    pub rescued_after_ns: Option<u64>,
    /// Who took packets, in the order of the map.
    pub rescuers: Vec<u32>,
    /// Packets rescued from its run queue.
    pub stolen_pkts: u64,
    /// Packets rescued from its receive queues.
    pub polled_pkts: u64,
    /// How long the oldest rescued packet had waited.
    pub longest_wait_ns: u64,
    /// How much longer the rescued packets would have waited for the lcore's
    /// return (until now if it has not returned), summed over packets.
    pub saved_ns: u64,
}

/// What qualifies the latencies of a report beside their clock and its bound,
/// a line each.
pub fn qualified_by(censored_pkts: u64, off: Option<&str>) -> Vec<String> {
    let censored = (censored_pkts > 0).then(|| {
        format!(
            "{} packets were lost before they had a stamp: no latency here is theirs",
            grouped(censored_pkts)
        )
    });
    censored
        .into_iter()
        .chain(off.map(|why| format!("LATENCY WAS NOT COUNTED TO THE END: {why}")))
        .collect()
}
