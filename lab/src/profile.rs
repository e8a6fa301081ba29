//! Costs of the lcores' own work on a machine: `mplab calibrate` measures them,
//! simulations use them. A JSON file; docs/mplab.md describes it.

use std::collections::BTreeMap;
use std::path::Path;

use micropools::sim::{Costs, Gap, Recording, Topology, ticks_of_ns};
use serde::{Deserialize, Serialize};

use super::measured::{from_json, read};
use mpfwd_common::error::{Error, Result};

/// The format that this program writes and reads.
const VERSION: u32 = 1;

/// No cost is longer, in nanoseconds: a tenth of a second.
const COST_MAX_NS: f64 = 1e8;

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    profile_version: u32,
    machine: String,
    costs: BTreeMap<String, f64>,
    lcores_per_cache: usize,
    lcores_per_socket: usize,
    host_gaps: HostGaps,
}

/// A recording of host gaps.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct HostGaps {
    recorded_ns: u64,
    /// By CPU: when each gap began, and its length.
    cpus: Vec<Vec<(u64, u64)>>,
}

/// A machine, as simulations know it.
#[derive(Clone, Debug)]
pub(super) struct Profile {
    /// A line for people.
    pub machine: String,
    pub costs: Costs,
    pub topology: Topology,
    /// By CPU: when each host gap began, and its length, in nanoseconds.
    pub gaps_ns: Vec<Vec<(u64, u64)>>,
    pub recorded_ns: u64,
}

impl Default for Profile {
    fn default() -> Self {
        Self {
            machine: "built-in profile, two CPUs at 2.6 GHz".into(),
            costs: Costs::default(),
            topology: Topology::default(),
            gaps_ns: Vec::new(),
            recorded_ns: 0,
        }
    }
}

impl Profile {
    /// The profile in the file; the built-in one where none is named.
    ///
    /// # Errors
    /// The file can't be read, or is no profile of this version. One line.
    pub(super) fn of(path: Option<&Path>) -> Result<Self> {
        let Some(path) = path else { return Ok(Self::default()) };
        let text = read(path)?;
        let bad = |why: String| {
            Error::Usage(format!(
                "{} is not a profile that can be used: {why}; write it again by mplab calibrate",
                path.display()
            ))
        };
        let value: serde_json::Value = from_json(path, &text, "a profile")?;
        match value.get("profile_version").map(serde_json::Value::as_u64) {
            Some(Some(version)) if version == u64::from(VERSION) => {}
            Some(version) => {
                let version = version.map_or("no number".into(), |version| version.to_string());
                return Err(bad(format!("its version is {version}, and this is {VERSION}")));
            }
            None => return Err(bad("it has no profile_version".into())),
        }
        let file: File = from_json(path, &text, "a profile")?;
        Self::of_file(file).map_err(bad)
    }

    fn of_file(file: File) -> std::result::Result<Self, String> {
        let mut costs = Costs::default();
        for (name, _) in Costs::default().named() {
            let &ns = file.costs.get(name).ok_or_else(|| format!("costs has no {name}"))?;
            if !(0.0..=COST_MAX_NS).contains(&ns) {
                return Err(format!("{name} is {ns}: write nanoseconds from 0 to 1e8"));
            }
            *costs.named_mut(name).expect("it is one of their names") = ns;
        }
        let known = |name: &str| Costs::default().named_mut(name).is_some();
        if let Some(name) = file.costs.keys().find(|name| !known(name)) {
            return Err(format!("costs has an unknown key {name}"));
        }
        let per = [file.lcores_per_cache, file.lcores_per_socket];
        if per[0] == 0 || per[1] < per[0] {
            return Err("lcores_per_cache and lcores_per_socket contradict each other".into());
        }
        let profile = Self {
            machine: file.machine,
            costs,
            topology: Topology { lcores_per_cache: per[0], lcores_per_socket: per[1] },
            gaps_ns: file.host_gaps.cpus,
            recorded_ns: file.host_gaps.recorded_ns,
        };
        profile.recording().check()?;
        Ok(profile)
    }

    /// The profile as text.
    pub(super) fn text(&self) -> Result<String> {
        let named = self.costs.named().into_iter();
        let file = File {
            profile_version: VERSION,
            machine: self.machine.clone(),
            costs: named.map(|(name, ns)| (name.to_owned(), ns)).collect(),
            lcores_per_cache: self.topology.lcores_per_cache,
            lcores_per_socket: self.topology.lcores_per_socket,
            host_gaps: HostGaps { recorded_ns: self.recorded_ns, cpus: self.gaps_ns.clone() },
        };
        let text = serde_json::to_string_pretty(&file);
        text.map(|text| text + "\n")
            .map_err(|error| Error::Output(format!("the profile can't be written: {error}")))
    }

    /// The same machine, on which the host takes no CPU away.
    pub(super) fn without_gaps(self) -> Self {
        Self { gaps_ns: Vec::new(), recorded_ns: 0, ..self }
    }

    /// The host gaps, as a simulation replays them.
    pub(super) fn recording(&self) -> Recording {
        let ticks = |ns: u64| ticks_of_ns(ns as f64);
        let gap = |&(start_ns, ns): &(u64, u64)| Gap {
            start_ticks: ticks(start_ns),
            ticks: ticks(start_ns.saturating_add(ns)) - ticks(start_ns),
        };
        Recording {
            cpus: self.gaps_ns.iter().map(|gaps| gaps.iter().map(gap).collect()).collect(),
            period_ticks: ticks(self.recorded_ns),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_back(text: &str) -> Result<Profile> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("profile.json");
        std::fs::write(&path, text).unwrap();
        Profile::of(Some(&path))
    }

    #[test]
    fn what_is_written_is_read() {
        let mut profile = Profile::default();
        profile.costs.clock_ns = 12.5;
        (profile.gaps_ns, profile.recorded_ns) = (vec![vec![(1_000, 500)], vec![]], 1_000_000);
        let read = read_back(&profile.text().unwrap()).unwrap();
        assert_eq!(read.costs, profile.costs);
        assert_eq!(read.recording(), profile.recording());
        assert_eq!(read.recording().cpus[0].len(), 1);
    }

    #[test]
    fn bad_profiles_are_one_line() {
        let good = Profile::default().text().unwrap();
        let negative = good.replace("\"clock_ns\": 10.0", "\"clock_ns\": -1.0");
        let gaps = good.replace("\"cpus\": []", "\"cpus\": [[[5, 100], [50, 1]]]");
        for (text, says) in [
            (good.replace("\"profile_version\": 1", "\"profile_version\": 2"), "version is 2"),
            (good.replace("\"profile_version\": 1", "\"profile_version\": \"x\""), "no number"),
            (good.replace("\"clock_ns\"", "\"clokc_ns\""), "costs has no clock_ns"),
            (good.replace("\"costs\": {", "\"costs\": { \"tea_ns\": 1.0,"), "unknown key tea_ns"),
            (good.replace("\"machine\"", "\"mashine\""), "mashine"),
            (negative, "clock_ns is -1"),
            (gaps, "host gaps"),
            (good[..good.len() / 2].to_owned(), "cut off"),
            ("{}".to_owned(), "profile_version"),
            (String::new(), "empty"),
        ] {
            let error = read_back(&text).unwrap_err();
            let message = error.to_string();
            assert!(
                error.exit_code() == 2 && message.contains(says) && !message.contains('\n'),
                "{says}: {message}"
            );
        }
    }
}
