//! The record of lcores that were stuck: who, on which packet, how long, who
//! came to the rescue, and what waited. Each lcore writes only what it did
//! itself, as owner or as rescuer, into a ring of its own; whoever reads joins
//! them. Nobody waits for anybody.

use comfy_table::Table;
use std::collections::BTreeMap;

use self::log::{Log, Record, Slot};
use super::{Incident, IncidentStage};
use mpfwd_common::text::{grouped, table, time};

mod log;

/// Records that each lcore keeps, and incidents that a reader gets: the last
/// ones.
pub const INCIDENTS_MAX: usize = 64;

/// How many of its last records a rescuer looks through for the incident that
/// it is helping with: about as many lcores can be stuck at a time as it would
/// tell apart.
const OPEN_MAX: u64 = 8;

/// What an lcore is in, as it publishes it: names the incident, if it becomes
/// one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stuck {
    /// The lcore's place in the map.
    pub lcore: usize,
    /// When it started, in ticks.
    pub started_ticks: u64,
    pub flow_hash: u32,
    pub stage: IncidentStage,
}

/// What a rescuer took at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rescued {
    /// When, in ticks.
    pub at_ticks: u64,
    /// From the run queue.
    pub stolen_pkts: u64,
    /// From a receive queue.
    pub polled_pkts: u64,
    /// How long the oldest of them had waited, in ticks.
    pub longest_wait_ticks: u64,
}

/// What the numbers in records mean in a run.
#[derive(Clone, Copy, Debug)]
pub struct Map<'a> {
    /// EAL's numbers of the lcores, by their place.
    pub lcore_ids: &'a [u32],
    /// What `Incident::started_ns` counts from.
    pub run_start_ticks: u64,
}

/// The logs of all lcores.
#[derive(Debug)]
pub struct Incidents {
    logs: Box<[Log]>,
}

impl Incidents {
    /// For lcores `0..lcores` of the map.
    pub fn new(lcores: usize) -> Self {
        Self { logs: (0..lcores).map(|_| Log::new()).collect() }
    }

    /// Lcore `me` took packets that waited for `stuck`. Only that lcore may
    /// call this. What it takes several times during one incident is added up
    /// in one record. Returns whether it was the first time.
    #[cold]
    pub fn rescued(&self, me: usize, stuck: Stuck, rescued: Rescued) -> bool {
        let log = &self.logs[me];
        let open = log.last(OPEN_MAX).find_map(|slot| {
            slot.read().filter(|record| record.is_of(stuck)).map(|record| (slot, record))
        });
        let mut record = open.map_or(
            Record { first_ticks: rescued.at_ticks, ..Record::of(stuck) },
            |(_, record)| record,
        );
        let pkts = rescued.stolen_pkts + rescued.polled_pkts;
        let since_start = rescued.at_ticks.saturating_sub(stuck.started_ticks);
        record.sum_since_start_ticks =
            record.sum_since_start_ticks.saturating_add(pkts.saturating_mul(since_start));
        record.stolen_pkts += rescued.stolen_pkts;
        record.polled_pkts += rescued.polled_pkts;
        record.longest_wait_ticks = record.longest_wait_ticks.max(rescued.longest_wait_ticks);
        match open {
            Some((slot, _)) => slot.write(record),
            None => log.append(record),
        }
        open.is_none()
    }

    /// The lcore that was stuck returned, at `now_ticks`; only that lcore may
    /// call this, and should only where it was away for longer than
    /// `--rescue-after`. What nobody came for is kept only if it took
    /// `noteworthy_ticks`: on a shared machine lcores stand still for a moment
    /// all the time, and those would soon be all that is on record. Returns by
    /// how much longer its rescued packets would have waited, in ticks, summed
    /// over packets; packets that rescuers are writing down just now are left
    /// out.
    #[cold]
    pub fn returned(&self, stuck: Stuck, now_ticks: u64, noteworthy_ticks: u64) -> u64 {
        let rescuers = self.logs.iter().enumerate().filter(|(at, _)| *at != stuck.lcore);
        let records = rescuers.filter_map(|(_, log)| {
            log.last(OPEN_MAX).find_map(|slot| slot.read().filter(|record| record.is_of(stuck)))
        });
        let (rescuers, saved_ticks) = records
            .fold((0, 0), |(count, sum), record| (count + 1, sum + record.saved_ticks(now_ticks)));
        if rescuers > 0 || now_ticks.saturating_sub(stuck.started_ticks) >= noteworthy_ticks {
            self.logs[stuck.lcore]
                .append(Record { ended_ticks: now_ticks.max(1), ..Record::of(stuck) });
        }
        saved_ticks
    }

    /// The last incidents, oldest first, at any time from any thread. `away`:
    /// lcores that are stuck now, and may have been found by nobody yet.
    pub fn read(
        &self,
        away: &[Stuck],
        map: &Map<'_>,
        now_ticks: u64,
        to_ns: impl Fn(u64) -> u64,
    ) -> Vec<Incident> {
        let mut joined: BTreeMap<(u64, u64), Vec<(usize, Record)>> = BTreeMap::new();
        for (writer, log) in self.logs.iter().enumerate() {
            for record in log.slots.iter().filter_map(Slot::read) {
                joined
                    .entry((record.started_ticks, record.victim))
                    .or_default()
                    .push((writer, record));
            }
        }
        for stuck in away {
            joined
                .entry((stuck.started_ticks, stuck.lcore as u64))
                .or_default()
                .push((stuck.lcore, Record::of(*stuck)));
        }
        let skipped = joined.len().saturating_sub(INCIDENTS_MAX);
        let incidents = joined.into_values().skip(skipped);
        incidents.filter_map(|records| join(&records, map, now_ticks, &to_ns)).collect()
    }
}

/// Makes one incident of what its owner and its rescuers wrote, each with its
/// writer's place in the map.
fn join(
    records: &[(usize, Record)],
    map: &Map<'_>,
    now: u64,
    to_ns: &impl Fn(u64) -> u64,
) -> Option<Incident> {
    let first = records.first()?.1;
    let rescues = || records.iter().filter(|(writer, record)| *writer as u64 != record.victim);
    let ended = records.iter().map(|(_, record)| record.ended_ticks).find(|&ticks| ticks > 0);
    let still = records
        .iter()
        .any(|(writer, record)| *writer as u64 == record.victim && record.ended_ticks == 0);
    // Who returns just as the first one comes sees nobody, and writes nothing:
    // it was stuck at least until then.
    let came = rescues().map(|(_, record)| record.first_ticks).max().unwrap_or(first.started_ticks);
    let until = ended.unwrap_or(if still { now } else { came });
    let sum = |count: fn(&Record) -> u64| rescues().map(|(_, record)| count(record)).sum::<u64>();
    let id = |at: usize| map.lcore_ids.get(at).copied();
    Some(Incident {
        lcore: id(first.victim as usize)?,
        flow_hash: first.flow_hash as u32,
        stage: IncidentStage::from_word(first.stage),
        started_ns: to_ns(first.started_ticks.saturating_sub(map.run_start_ticks)),
        stuck_ns: to_ns(until.saturating_sub(first.started_ticks)),
        returned: !still,
        rescued_after_ns: rescues()
            .map(|(_, record)| to_ns(record.first_ticks.saturating_sub(record.started_ticks)))
            .min(),
        rescuers: rescues().filter_map(|(writer, _)| id(*writer)).collect(),
        stolen_pkts: sum(|record| record.stolen_pkts),
        polled_pkts: sum(|record| record.polled_pkts),
        longest_wait_ns: to_ns(
            rescues().map(|(_, record)| record.longest_wait_ticks).max().unwrap_or(0),
        ),
        saved_ns: to_ns(rescues().map(|(_, record)| record.saved_ticks(until)).sum()),
    })
}

/// How many incidents are printed.
const PRINTED_MAX: usize = 5;

/// The last few incidents; `None` if there are none.
pub fn incident_table(incidents: &[Incident]) -> Option<Table> {
    let mut table = table(&[
        "stuck lcore",
        "at",
        "for",
        "flow",
        "stage",
        "rescued after",
        "by",
        "stolen",
        "polled",
        "waited up to",
    ]);
    for incident in &incidents[incidents.len().saturating_sub(PRINTED_MAX)..] {
        let rescuers: Vec<String> = incident.rescuers.iter().map(u32::to_string).collect();
        table.add_row(vec![
            incident.lcore.to_string(),
            time(incident.started_ns),
            format!(
                "{}{}",
                time(incident.stuck_ns),
                if incident.returned { "" } else { ", still" }
            ),
            format!("{:08x}", incident.flow_hash),
            format!("{:?}", incident.stage).to_lowercase(),
            incident.rescued_after_ns.map_or("-".to_owned(), time),
            if rescuers.is_empty() { "nobody".to_owned() } else { rescuers.join(" ") },
            grouped(incident.stolen_pkts),
            grouped(incident.polled_pkts),
            time(incident.longest_wait_ns),
        ]);
    }
    (table.row_count() > 0).then_some(table)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    fn stuck(lcore: usize, started_ticks: u64) -> Stuck {
        Stuck { lcore, started_ticks, flow_hash: 0xabcd, stage: IncidentStage::Unknown }
    }

    fn polled(at_ticks: u64, polled_pkts: u64) -> Rescued {
        Rescued { at_ticks, stolen_pkts: 0, polled_pkts, longest_wait_ticks: at_ticks / 2 }
    }

    fn read(incidents: &Incidents, now: u64) -> Vec<Incident> {
        read_with(incidents, &[], now)
    }

    fn read_with(incidents: &Incidents, away: &[Stuck], now: u64) -> Vec<Incident> {
        incidents.read(
            away,
            &Map { lcore_ids: &[10, 11, 12], run_start_ticks: 100 },
            now,
            |ticks| ticks,
        )
    }

    #[test]
    fn owner_and_rescuers_write_one_incident() {
        let incidents = Incidents::new(3);
        incidents.rescued(
            1,
            stuck(0, 1000),
            Rescued { stolen_pkts: 3, polled_pkts: 0, at_ticks: 1030, longest_wait_ticks: 35 },
        );
        incidents.rescued(2, stuck(0, 1000), polled(1040, 2));
        incidents.rescued(1, stuck(0, 1000), polled(1060, 1));
        let mut expected = Incident {
            lcore: 10,
            flow_hash: 0xabcd,
            stage: IncidentStage::Unknown,
            started_ns: 900,
            stuck_ns: 80,
            returned: false,
            rescued_after_ns: Some(30),
            rescuers: vec![11, 12],
            stolen_pkts: 3,
            polled_pkts: 3,
            longest_wait_ns: 530,
            saved_ns: 3 * 50 + 2 * 40 + 20,
        };
        assert_eq!(read_with(&incidents, &[stuck(0, 1000)], 1080), [expected.clone()]);
        assert_eq!(incidents.returned(stuck(0, 1000), 1100, 1000), 3 * 70 + 2 * 60 + 40);
        (expected.stuck_ns, expected.returned, expected.saved_ns) =
            (100, true, 3 * 70 + 2 * 60 + 40);
        assert_eq!(read(&incidents, 5000), [expected]);
    }

    #[test]
    fn a_rescuer_of_two_keeps_them_apart() {
        let incidents = Incidents::new(3);
        for at in 0..100 {
            incidents.rescued(2, stuck(0, 1000), polled(2000 + at, 1));
            incidents.rescued(2, stuck(1, 1500), polled(2000 + at, 2));
        }
        let seen = read(&incidents, 3000);
        assert_eq!(
            seen.iter().map(|incident| (incident.lcore, incident.polled_pkts)).collect::<Vec<_>>(),
            [(10, 100), (11, 200)]
        );
    }

    #[test]
    fn who_is_stuck_now_is_seen_before_anybody_comes() {
        let (incidents, map) =
            (Incidents::new(3), Map { lcore_ids: &[10, 11, 12], run_start_ticks: 100 });
        incidents.rescued(1, stuck(0, 1000), polled(1040, 2));
        let seen = incidents.read(&[stuck(0, 1000), stuck(2, 1500)], &map, 2000, |ticks| ticks);
        let seen: Vec<_> = seen
            .into_iter()
            .map(|seen| (seen.lcore, seen.stuck_ns, seen.returned, seen.rescuers))
            .collect();
        assert_eq!(seen, [(10, 1000, false, vec![11]), (12, 500, false, vec![])]);
    }

    #[test]
    fn who_returned_just_as_others_came_was_stuck_until_then() {
        let incidents = Incidents::new(3);
        incidents.rescued(1, stuck(0, 1000), polled(1040, 1));
        let seen = read(&incidents, 5000).pop().unwrap();
        assert_eq!((seen.stuck_ns, seen.returned, seen.saved_ns), (40, true, 0));
    }

    #[test]
    fn what_nobody_came_for_is_kept_if_it_was_long() {
        let incidents = Incidents::new(3);
        incidents.returned(stuck(0, 1000), 1099, 100);
        assert!(read(&incidents, 3000).is_empty());
        incidents.returned(stuck(0, 2000), 2100, 100);
        assert_eq!(read(&incidents, 3000).len(), 1);
    }

    #[test]
    fn the_last_ones_are_kept() {
        let incidents = Incidents::new(3);
        for at in 0..200 {
            assert_eq!(incidents.returned(stuck(at as usize % 3, 1000 + at), 1100 + at, 100), 0);
        }
        let seen = read(&incidents, 3000);
        assert_eq!(seen.len(), INCIDENTS_MAX);
        assert!(seen.iter().all(|incident| incident.rescuers.is_empty() && incident.rescued_after_ns.is_none()));
        let starts: Vec<u64> = seen.iter().map(|incident| incident.started_ns).collect();
        assert_eq!(starts, (900 + 200 - INCIDENTS_MAX as u64..1100).collect::<Vec<_>>());
    }

    #[test]
    fn readers_never_see_half_a_record() {
        let (incidents, ended) = (Incidents::new(3), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for at in 1..50_000u64 {
                    let whole = Stuck { flow_hash: at as u32, ..stuck(0, at) };
                    incidents.rescued(
                        1,
                        whole,
                        Rescued {
                            at_ticks: 2 * at,
                            stolen_pkts: at,
                            polled_pkts: at,
                            longest_wait_ticks: at,
                        },
                    );
                }
                ended.store(true, Ordering::Release);
            });
            while !ended.load(Ordering::Acquire) {
                for seen in incidents.read(
                    &[],
                    &Map { lcore_ids: &[10, 11, 12], run_start_ticks: 0 },
                    u64::MAX,
                    |ticks| ticks,
                ) {
                    let start = seen.started_ns;
                    assert_eq!(
                        (u64::from(seen.flow_hash), seen.stolen_pkts, seen.polled_pkts),
                        (start, start, start)
                    );
                    assert_eq!((seen.rescued_after_ns, seen.longest_wait_ns), (Some(start), start));
                }
            }
        });
    }
}
