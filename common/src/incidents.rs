//! Incidents as a table.

use comfy_table::Table;

use crate::report::{Incident, IncidentStage};
use crate::text::{short, table, time};

/// How many incidents are printed.
const PRINTED_MAX: usize = 5;

/// How many rescuers are printed by id; the others as a count.
const RESCUERS_PRINTED_MAX: usize = 3;

/// The longest of these incidents, in their order. `None` without any.
pub fn incident_table(incidents: &[Incident]) -> Option<Table> {
    let mut table = table(&[
        "stuck", "at", "for", "flow", "stage", "rescued", "by", "stolen", "polled", "waited",
    ]);
    for incident in longest(incidents) {
        table.add_row(vec![
            incident.lcore.to_string(),
            time(incident.started_ns),
            format!("{}{}", if incident.returned { "" } else { ">" }, time(incident.stuck_ns)),
            format!("{:08x}", incident.flow_hash),
            stage(incident),
            incident.rescued_after_ns.map_or("never".to_owned(), |ns| format!("+{}", time(ns))),
            rescuers(&incident.rescuers),
            short(incident.stolen_pkts),
            short(incident.polled_pkts),
            time(incident.longest_wait_ns),
        ]);
    }
    (table.row_count() > 0).then_some(table)
}

fn longest(incidents: &[Incident]) -> impl Iterator<Item = &Incident> {
    let mut places: Vec<usize> = (0..incidents.len()).collect();
    places.sort_by_key(|&place| std::cmp::Reverse(incidents[place].stuck_ns));
    places.truncate(PRINTED_MAX);
    places.sort_unstable();
    places.into_iter().map(|place| &incidents[place])
}

/// An lcore that stalled because the kernel ran others on its CPU was preempted.
pub fn stage(incident: &Incident) -> String {
    let Incident { stage, stuck_ns, kernel_ns, .. } = incident;
    match stage {
        IncidentStage::Stalled if kernel_ns.is_some_and(|ns| ns >= stuck_ns / 2) => {
            "preempted".to_owned()
        }
        stage => format!("{stage:?}").to_lowercase(),
    }
}

fn rescuers(lcores: &[u32]) -> String {
    let printed = &lcores[..lcores.len().min(RESCUERS_PRINTED_MAX)];
    let mut words: Vec<String> = printed.iter().map(u32::to_string).collect();
    match lcores.len() - printed.len() {
        0 if lcores.is_empty() => words.push("-".into()),
        0 => {}
        more => words.push(format!("+{more}")),
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::COLUMNS;

    fn incident() -> Incident {
        Incident {
            lcore: 127,
            flow_hash: u32::MAX,
            stage: IncidentStage::Expensive,
            started_ns: 12_340_000_000_000,
            stuck_ns: 123_000_000,
            kernel_ns: None,
            returned: false,
            rescued_after_ns: Some(123_000_000),
            rescuers: vec![100, 101, 102, 103, 104],
            stolen_pkts: 123_456_789,
            polled_pkts: 123_456_789,
            longest_wait_ns: 123_000_000,
            saved_ns: 0,
        }
    }

    #[test]
    fn the_longest_are_printed_in_their_order() {
        let stuck = [70, 1, 90, 2, 50, 3, 80, 60, 4];
        let all = stuck.map(|stuck_ns| Incident { stuck_ns, ..incident() });
        let longest: Vec<u64> = longest(&all).map(|incident| incident.stuck_ns).collect();
        assert_eq!(longest, [70, 90, 50, 80, 60]);
    }

    #[test]
    fn the_table_fits_a_terminal() {
        let text = incident_table(&[incident()]).unwrap().to_string();
        assert!(text.lines().all(|line| line.chars().count() <= COLUMNS), "{text}");
        assert_eq!(text.lines().count(), 3, "no cell is wrapped: {text}");
        assert!(text.contains("100 101 102 +2") && text.contains(">123 ms"), "{text}");
    }
}
