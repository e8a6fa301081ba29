//! Rows of the JSON report that mpfwd writes and mplab reads.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::text::{grouped, time};

/// Time that the host took from lcores. Only gaps that the lcore can notice
/// count: while its polls are empty, and in work of known length.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct HostGapRow {
    pub gaps: u64,
    pub gap_ns: u64,
    pub gap_max_ns: u64,
}

impl fmt::Display for HostGapRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (gaps, all, longest) = (grouped(self.gaps), time(self.gap_ns), time(self.gap_max_ns));
        write!(f, "host gaps: {all} in {gaps} gaps, longest {longest}")
    }
}

/// The stage that a packet was in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IncidentStage {
    Cheap,
    Expensive,
    /// The cost was not known before the packet was run.
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

/// One time that an lcore was stuck in a packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incident {
    pub lcore: u32,
    pub flow_hash: u32,
    pub stage: IncidentStage,
    /// From the start of the run until the packet was begun.
    pub started_ns: u64,
    /// How long the lcore was in it. If it still is, the time until now. If it
    /// returned just as a rescuer came, a lower bound.
    pub stuck_ns: u64,
    /// How much of that the kernel ran others on the lcore's CPU. None if it does
    /// not say, without a rescuer, and before the lcore's return.
    pub kernel_ns: Option<u64>,
    pub returned: bool,
    /// From the packet's start until a rescuer took the first packet that
    /// waited behind it. None without a rescuer.
    pub rescued_after_ns: Option<u64>,
    /// The lcores that took packets, in the order of the map.
    pub rescuers: Vec<u32>,
    /// Packets rescued from its run queue.
    pub stolen_pkts: u64,
    /// Packets rescued from its receive queues.
    pub polled_pkts: u64,
    /// How long the oldest rescued packet had waited.
    pub longest_wait_ns: u64,
    /// How much longer the rescued packets would have waited for the lcore to
    /// return, summed over packets. If it has not returned, until now.
    pub saved_ns: u64,
}

/// Qualifications of latencies, a line each: packets without a stamp, and why
/// counting ended early.
pub fn qualified_by(censored_pkts: u64, off: Option<&str>) -> Vec<String> {
    let censored = (censored_pkts > 0).then(|| {
        format!(
            "{} packets were lost before they had a stamp: they are in no latency here",
            grouped(censored_pkts)
        )
    });
    censored.into_iter().chain(off.map(|why| format!("LATENCY IS INCOMPLETE: {why}"))).collect()
}
