//! The part of mpfwd's reports (docs/report.md) that experiments and pictures
//! read.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::class::Class;
use super::workload::Offer;
use mpfwd_common::error::{Error, Result};
use mpfwd_common::latency::LatencyRow;
use mpfwd_common::report::{HostGapRow, Incident, qualified_by};

/// The report of one run.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Measured {
    pub mode: String,
    pub pools: Option<String>,
    pub dpdk: String,
    pub elapsed_s: f64,
    pub tx_pkts: u64,
    pub drops: BTreeMap<String, u64>,
    pub shed_pkts: u64,
    pub latency: Option<Latency>,
    pub source: Option<Source>,
    pub host_gaps: HostGapRow,
    lcores: Vec<LcoreRow>,
    pub incidents: Vec<Incident>,
    /// Of simulations only.
    #[serde(skip)]
    pub deepest: Deepest,
}

/// The most packets that a receive queue and a shard or inbox held.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Deepest {
    pub queue_pkts: usize,
    pub shard_pkts: usize,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Latency {
    pub clock: String,
    pub bound: String,
    pub off: Option<String>,
    #[serde(default)]
    pub censored_pkts: u64,
    cheap: LatencyRow,
    expensive: LatencyRow,
}

impl Latency {
    /// Qualifications of the figures, a line each, beside their clock and its
    /// bound.
    pub(super) fn qualified_by(&self) -> Vec<String> {
        qualified_by(self.censored_pkts, self.off.as_deref())
    }

    pub(super) fn of(&self, class: Class) -> &LatencyRow {
        match class {
            Class::Cheap => &self.cheap,
            Class::Expensive => &self.expensive,
        }
    }
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Source {
    pub spec: String,
    pub asked_mpps: f64,
    pub offered_mpps: f64,
    pub load: f64,
    pub offered_pkts: u64,
    pub missed_pkts: u64,
    pub nombuf_pkts: u64,
    pub pkt_ns: f64,
}

#[derive(Clone, Debug, Deserialize)]
struct LcoreRow {
    rescue: RescueRow,
    #[serde(default)]
    polls: u64,
    #[serde(default)]
    rx_bursts: u64,
}

#[derive(Clone, Debug, Deserialize)]
struct RescueRow {
    steals: u64,
    takeovers: u64,
}

/// Counts of a simulation, for [`Measured::simulated`].
pub(super) struct Counts {
    pub mode: String,
    pub pools: Option<String>,
    pub elapsed_s: f64,
    pub tx_pkts: u64,
    pub drops: BTreeMap<String, u64>,
    pub shed_pkts: u64,
    /// By class.
    pub latencies: [LatencyRow; 2],
    pub source: Offer,
    /// Packets that were due, and those of them that were missed.
    pub offered: (u64, u64),
    pub source_pkt_ns: f64,
    pub host_gap_ns: u64,
    /// Steals and takeovers.
    pub helps: (u64, u64),
    pub lcores: usize,
    pub deepest: Deepest,
}

impl Measured {
    /// A run that was simulated.
    pub(super) fn simulated(counts: Counts) -> Self {
        let [cheap, expensive] = counts.latencies;
        let (offered_pkts, missed_pkts) = counts.offered;
        let row = |at: usize| {
            // The counts are those of all lcores: reports are only summed.
            let (steals, takeovers) = if at == 0 { counts.helps } else { (0, 0) };
            LcoreRow { rescue: RescueRow { steals, takeovers }, polls: 0, rx_bursts: 0 }
        };
        Self {
            mode: counts.mode,
            pools: counts.pools,
            dpdk: "none (simulated)".into(),
            elapsed_s: counts.elapsed_s,
            tx_pkts: counts.tx_pkts,
            drops: counts.drops,
            shed_pkts: counts.shed_pkts,
            latency: Some(Latency {
                clock: "virtual, from a packet's due time until it was sent".into(),
                bound: "the end is the lcore's next event, a burst later at most".into(),
                off: None,
                censored_pkts: 0,
                cheap,
                expensive,
            }),
            source: Some(Source {
                spec: counts.source.spec,
                asked_mpps: counts.source.pps / 1e6,
                offered_mpps: offered_pkts as f64 / counts.elapsed_s / 1e6,
                load: counts.source.load,
                offered_pkts,
                missed_pkts,
                nombuf_pkts: 0,
                pkt_ns: counts.source_pkt_ns,
            }),
            host_gaps: HostGapRow { gaps: 0, gap_ns: counts.host_gap_ns, gap_max_ns: 0 },
            lcores: (0..counts.lcores).map(row).collect(),
            incidents: Vec::new(),
            deepest: counts.deepest,
        }
    }

    /// # Errors
    /// The file is missing or is no complete report.
    pub(super) fn read(path: &Path) -> Result<Self> {
        from_json(path, &read(path)?, "a report of mpfwd")
    }

    pub(super) fn lcores(&self) -> usize {
        self.lcores.len()
    }

    pub(super) fn steals(&self) -> u64 {
        self.lcores.iter().map(|row| row.rescue.steals).sum()
    }

    pub(super) fn takeovers(&self) -> u64 {
        self.lcores.iter().map(|row| row.rescue.takeovers).sum()
    }

    /// Polls that brought packets.
    pub(super) fn rx_bursts(&self) -> u64 {
        self.lcores.iter().map(|row| row.rx_bursts).sum()
    }

    /// Polls in vain.
    pub(super) fn empty_polls(&self) -> u64 {
        let polls: u64 = self.lcores.iter().map(|row| row.polls).sum();
        polls.saturating_sub(self.rx_bursts())
    }

    /// Packets that were dropped after they had been received.
    pub(super) fn dropped_pkts(&self) -> u64 {
        self.drops.values().sum()
    }
}

/// # Errors
/// The file can't be read.
pub(super) fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path)
        .map_err(|error| Error::Usage(format!("{}: {error}", path.display())))
}

/// # Errors
/// The text is cut off, is no JSON, or has another content. The message is one
/// line.
pub(super) fn from_json<T: DeserializeOwned>(path: &Path, text: &str, what: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| {
        let path = path.display();
        let why = match (error.is_eof(), error.is_syntax()) {
            (true, _) if text.trim().is_empty() => "it is empty".to_owned(),
            (true, _) => format!("it is cut off in line {}", error.line()),
            (_, true) => format!("it is no JSON: {error}"),
            _ => error.to_string(),
        };
        Error::Usage(format!(
            "{path} is not {what}: {why}; write it again by mplab compare --json or mpfwd --report"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_report_is_said_in_one_line() {
        for (text, says) in [
            ("", "empty"),
            ("{\"mode\": \"rtc\",\n\"pools\"", "cut off in line 2"),
            ("rtc", "no JSON"),
            ("{}", "missing field `mode`"),
        ] {
            let error =
                from_json::<Measured>(Path::new("r.json"), text, "a report of mpfwd").unwrap_err();
            let message = error.to_string();
            assert!(
                error.exit_code() == 2
                    && message.contains(says)
                    && message.starts_with("r.json is not"),
                "{message}"
            );
        }
        assert!(
            Measured::read(Path::new("/nowhere.json"))
                .unwrap_err()
                .to_string()
                .contains("/nowhere.json")
        );
    }
}
