//! The record of stuck lcores: which lcore, in which packet, how long, which
//! lcores rescued, and which packets waited. Each lcore writes only its own
//! actions, as owner or as rescuer, into its own ring. Readers join the
//! records. Neither side ever waits.

use std::collections::BTreeMap;

use self::log::{Log, Record, Slot};
use super::{Incident, IncidentStage, RunDelay};

mod log;

/// How many of its last records an lcore keeps, and how many of the last
/// incidents a reader gets.
pub const INCIDENTS_MAX: usize = 64;

/// How many of its last records a rescuer searches for the incident that it is
/// helping with. Bounds how many lcores that are stuck at the same time it can
/// tell apart.
const OPEN_MAX: u64 = 8;

/// The packet that an lcore is in, as the lcore publishes it. Identifies the
/// incident, if it becomes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stuck {
    /// The lcore's index in the map.
    pub lcore: usize,
    /// When it started, in ticks.
    pub started_ticks: u64,
    pub flow_hash: u32,
    pub stage: IncidentStage,
}

/// The packets that a rescuer took at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rescued {
    /// When, in ticks.
    pub at_ticks: u64,
    /// From the run queue.
    pub stolen_pkts: u64,
    /// From a receive queue.
    pub polled_pkts: u64,
    /// The wait of the oldest of them, in ticks.
    pub longest_wait_ticks: u64,
}

/// Translates indices and ticks in records.
#[derive(Clone, Copy, Debug)]
pub struct Map<'a> {
    /// EAL's lcore ids, by index.
    pub lcore_ids: &'a [u32],
    /// Time zero of `Incident::started_ns`.
    pub run_start_ticks: u64,
}

/// The logs of all lcores.
#[derive(Debug)]
pub struct Incidents {
    logs: Box<[Log]>,
    /// By lcore, for rescuers and for the lcore itself: records say how long the
    /// kernel ran others on its CPU.
    run_delays: Box<[RunDelay]>,
}

impl Incidents {
    /// For lcores `0..lcores` of the map.
    pub fn new(lcores: usize) -> Self {
        Self {
            logs: (0..lcores).map(|_| Log::new()).collect(),
            run_delays: (0..lcores).map(|_| RunDelay::default()).collect(),
        }
    }

    /// By lcore. Each lcore begins its own when it starts.
    pub fn run_delays(&self) -> &[RunDelay] {
        &self.run_delays
    }

    /// Records that lcore `me` took packets that waited for `stuck`. Only lcore
    /// `me` may call this. One record adds up all that it takes during one
    /// incident. Returns whether this was the first time.
    #[cold]
    pub fn rescued(&self, me: usize, stuck: Stuck, rescued: Rescued) -> bool {
        let log = &self.logs[me];
        let open = log.last(OPEN_MAX).find_map(|slot| {
            slot.read().filter(|record| record.is_of(stuck)).map(|record| (slot, record))
        });
        let mut record = open.map_or_else(
            || Record { first_ticks: rescued.at_ticks, ..self.record(stuck) },
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

    /// Records that the stuck lcore returned at `now_ticks`. Only that lcore
    /// may call this, after an absence of more than `--rescue-after`. An
    /// incident without a rescuer is kept only if it took `noteworthy_ticks`:
    /// on a shared machine short stalls are frequent and would displace all
    /// others. Returns how much longer the rescued packets would have waited,
    /// in ticks, summed over packets. A record that is being written is left
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
                .append(Record { ended_ticks: now_ticks.max(1), ..self.record(stuck) });
        }
        saved_ticks
    }

    /// A new record, with the stuck lcore's run delay so far.
    fn record(&self, stuck: Stuck) -> Record {
        let run_delay = self.run_delays.get(stuck.lcore).and_then(RunDelay::ns);
        Record::of(stuck).with_run_delay(run_delay)
    }

    /// The last incidents, oldest first. Any thread may call this at any time.
    /// `away`: lcores that are stuck now, with or without a rescuer.
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

/// Makes one incident of the records of its owner and its rescuers, each with
/// its writer's index.
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
    // An lcore that returns just as the first rescuer comes sees no rescuer and
    // writes nothing. It was stuck at least until then.
    let came = rescues().map(|(_, record)| record.first_ticks).max().unwrap_or(first.started_ticks);
    let until = ended.unwrap_or(if still { now } else { came });
    // The delay that was going on when the first rescuer came had not been added
    // by then.
    let delay_before = rescues().filter_map(|(_, record)| record.run_delay_ns()).min();
    let delay_after = records
        .iter()
        .filter(|(_, record)| record.ended_ticks > 0)
        .find_map(|(_, record)| record.run_delay_ns());
    let stuck_ns = to_ns(until.saturating_sub(first.started_ticks));
    let sum = |count: fn(&Record) -> u64| rescues().map(|(_, record)| count(record)).sum::<u64>();
    let id = |at: usize| map.lcore_ids.get(at).copied();
    Some(Incident {
        lcore: id(first.victim as usize)?,
        flow_hash: first.flow_hash as u32,
        stage: IncidentStage::from_word(first.stage),
        started_ns: to_ns(first.started_ticks.saturating_sub(map.run_start_ticks)),
        stuck_ns,
        kernel_ns: delay_before
            .zip(delay_after)
            .map(|(before, after)| after.saturating_sub(before).min(stuck_ns)),
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use mpfwd_common::incidents::stage;

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
            kernel_ns: None,
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
    fn the_kernel_is_named_where_it_took_the_cpu() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("schedstat");
        let delayed = |ns: u64| std::fs::write(&path, format!("0 {ns} 1\n")).expect("written");
        delayed(1_000);
        let mut incidents = Incidents::new(3);
        incidents.run_delays[0] = RunDelay::of_file(&path);
        let stalled =
            |started_ticks| Stuck { stage: IncidentStage::Stalled, ..stuck(0, started_ticks) };
        // Each begins with a delay from before, which is not its own.
        for (started, delay, kernel_ns, printed) in [
            (1000, 0, 0, "stalled"),
            (2000, 49, 49, "stalled"),
            (3000, 50, 50, "preempted"),
            (4000, 150, 100, "preempted"),
        ] {
            delayed(1_000 + started);
            incidents.rescued(1, stalled(started), polled(started + 40, 1));
            delayed(1_000 + started + delay);
            incidents.rescued(2, stalled(started), polled(started + 60, 1));
            incidents.returned(stalled(started), started + 100, u64::MAX);
            let seen = read(&incidents, 9000).pop().unwrap();
            assert_eq!((seen.stuck_ns, seen.kernel_ns), (100, Some(kernel_ns)), "{started}");
            assert_eq!(stage(&seen), printed, "{started}");
        }
    }

    #[test]
    fn a_stuck_lcore_is_seen_before_a_rescuer_comes() {
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
    fn an_lcore_that_returns_as_a_rescuer_comes_was_stuck_until_then() {
        let incidents = Incidents::new(3);
        incidents.rescued(1, stuck(0, 1000), polled(1040, 1));
        let seen = read(&incidents, 5000).pop().unwrap();
        assert_eq!((seen.stuck_ns, seen.returned, seen.saved_ns), (40, true, 0));
    }

    #[test]
    fn an_incident_without_rescuer_is_kept_if_it_was_long() {
        let incidents = Incidents::new(3);
        incidents.returned(stuck(0, 1000), 1099, 100);
        assert!(read(&incidents, 3000).is_empty());
        incidents.returned(stuck(0, 2000), 2100, 100);
        assert_eq!(read(&incidents, 3000).len(), 1);
    }

    #[test]
    fn the_last_incidents_are_kept() {
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
