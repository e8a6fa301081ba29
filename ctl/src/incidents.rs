//! `mpctl incidents`: the record, once or as it grows.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Deserialize;

use super::client::Client;
use mpfwd_common::error::Result;
use mpfwd_common::incidents::{incident_table, stage};
use mpfwd_common::output::say;
use mpfwd_common::report::Incident;
use mpfwd_common::text::{short, time};

/// Interval at which the record is read. It holds the last 64 incidents.
const FOLLOW_EVERY: Duration = Duration::from_millis(200);

#[derive(Deserialize)]
struct Record {
    incidents: Vec<Incident>,
}

/// # Errors
/// No mpfwd answers, at the first time.
pub(super) fn show(client: &Client, follow: bool, json: bool) -> Result<()> {
    let mut record: Record = client.get_json("/incidents")?;
    if !follow {
        match (json, incident_table(&record.incidents)) {
            (true, _) => say(serde_json::to_string_pretty(&record.incidents).unwrap_or_default()),
            (false, Some(table)) => say(table),
            (false, None) => say("no stuck lcores on record"),
        }
        return Ok(());
    }
    let mut shown = Shown::default();
    loop {
        for incident in shown.new_ones(record.incidents) {
            print(&incident, json);
        }
        std::thread::sleep(FOLLOW_EVERY);
        // The run is over.
        let Ok(next) = client.get_json("/incidents") else { return Ok(()) };
        record = next;
    }
}

fn print(incident: &Incident, json: bool) {
    match json {
        true => say(serde_json::to_string(incident).unwrap_or_default()),
        false => say(line(incident)),
    }
}

/// An incident in at most a hundred characters.
pub(super) fn line(incident: &Incident) -> String {
    let Incident { lcore, stuck_ns, started_ns, stolen_pkts, polled_pkts, .. } = incident;
    let (at, longer) = (*started_ns as f64 / 1e9, if incident.returned { "" } else { ">" });
    let by = incident.rescuers.iter().take(3).map(u32::to_string).collect::<Vec<_>>().join(" ");
    let rescued = match incident.rescued_after_ns {
        Some(ns) => {
            let pkts = short(stolen_pkts + polled_pkts);
            format!("rescued +{} by {by}, {pkts} packets", time(ns))
        }
        None => "not rescued".to_owned(),
    };
    format!("{at:9.3} s  lcore {lcore} {} {longer}{}, {rescued}", stage(incident), time(*stuck_ns))
}

/// Incidents that have been shown, by lcore and start.
#[derive(Default)]
struct Shown {
    ids: BTreeSet<(u64, u32)>,
}

impl Shown {
    /// Those that are over and have not been shown.
    fn new_ones(&mut self, incidents: Vec<Incident>) -> Vec<Incident> {
        let oldest_ns = incidents.iter().map(|incident| incident.started_ns).min().unwrap_or(0);
        let mut new = incidents;
        new.retain(|incident| {
            incident.returned && self.ids.insert((incident.started_ns, incident.lcore))
        });
        // An incident that has left the record does not come again.
        self.ids = self.ids.split_off(&(oldest_ns, 0));
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mpfwd_common::report::IncidentStage;

    fn incident(lcore: u32, started_ns: u64, returned: bool) -> Incident {
        Incident {
            lcore,
            flow_hash: 0,
            stage: IncidentStage::Expensive,
            started_ns,
            stuck_ns: 1_500_000,
            kernel_ns: None,
            returned,
            rescued_after_ns: None,
            rescuers: Vec::new(),
            stolen_pkts: 0,
            polled_pkts: 0,
            longest_wait_ns: 0,
            saved_ns: 0,
        }
    }

    #[test]
    fn an_incident_is_shown_once_and_when_it_is_over() {
        let mut shown = Shown::default();
        let mut new = |incidents: &[(u32, u64, bool)]| -> Vec<(u32, u64)> {
            let incidents = incidents.iter().map(|&(lcore, at, over)| incident(lcore, at, over));
            let new = shown.new_ones(incidents.collect());
            new.iter().map(|incident| (incident.lcore, incident.started_ns)).collect()
        };
        assert_eq!(new(&[(0, 10, true), (1, 10, false)]), [(0, 10)]);
        assert_eq!(new(&[(0, 10, true), (1, 10, true)]), [(1, 10)]);
        assert_eq!(new(&[(1, 10, true), (0, 20, true)]), [(0, 20)]);
        assert_eq!(new(&[(0, 20, true)]), []);
        assert_eq!(new(&[]), []);
    }

    #[test]
    fn an_incident_is_a_line() {
        let mut one = incident(3, 12_345_000_000, false);
        assert_eq!(line(&one), "   12.345 s  lcore 3 expensive >1.50 ms, not rescued");
        (one.rescued_after_ns, one.rescuers) = (Some(21_000), vec![0, 1]);
        (one.returned, one.polled_pkts) = (true, 32);
        let expected =
            "   12.345 s  lcore 3 expensive 1.50 ms, rescued +21.0 us by 0 1, 32 packets";
        assert_eq!(line(&one), expected);
    }
}
