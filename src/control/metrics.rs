//! The answer to Prometheus: everything that is counted, read once from the
//! lcores' own counters.

use std::fmt;

use hyper::StatusCode;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, MetricEncoder, NoLabelSet, prometheus_text, text,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::Control;
use super::api::Answer;
use super::moment::{Moment, Seen};
use crate::dpdk::Port;
use crate::stats::{
    Activity, Counter, DeviceStats, DropCause, Histogram, HistogramCounts, LcoreStats, Parts,
    PortQueue, RankCounts, RunDelay,
};

const OPEN_METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PROMETHEUS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The prefix of all names.
const PREFIX: &str = "mpfwd";

/// Upper bounds of the histograms' buckets in nanoseconds: from 100 ns to 10 s,
/// three per decade.
const BOUNDS_NS: [u64; 25] = {
    let mut bounds = [0; 25];
    let (mut at, mut decade) = (0, 100);
    while at < bounds.len() {
        bounds[at] = decade * [1, 2, 5][at % 3];
        at += 1;
        if at.is_multiple_of(3) {
            decade *= 10;
        }
    }
    bounds
};

type Labels = Vec<(&'static str, String)>;

#[derive(Debug)]
enum Value {
    Count(u64),
    Seconds(f64),
    Gauge(f64),
    Histogram { sum: f64, buckets: Vec<(f64, u64)> },
}

impl Value {
    fn kind(&self) -> MetricType {
        match self {
            Self::Count(_) | Self::Seconds(_) => MetricType::Counter,
            Self::Gauge(_) => MetricType::Gauge,
            Self::Histogram { .. } => MetricType::Histogram,
        }
    }

    fn encode(&self, encoder: &mut MetricEncoder<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => encoder.encode_counter::<NoLabelSet, _, u64>(count, None),
            Self::Seconds(seconds) => encoder.encode_counter::<NoLabelSet, _, u64>(seconds, None),
            Self::Gauge(value) => encoder.encode_gauge(value),
            Self::Histogram { sum, buckets } => {
                let count = buckets.iter().map(|(_, count)| count).sum();
                encoder.encode_histogram::<NoLabelSet>(*sum, count, buckets, None)
            }
        }
    }
}

/// All metrics of one name.
#[derive(Debug)]
struct Family {
    name: &'static str,
    help: &'static str,
    rows: Vec<(Labels, Value)>,
}

/// All metrics, at one moment.
#[derive(Debug, Default)]
struct Snapshot(Vec<Family>);

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for Family { name, help, rows } in &self.0 {
            let Some((_, first)) = rows.first() else { continue };
            let mut family = encoder.encode_descriptor(name, help, None, first.kind())?;
            for (labels, value) in rows {
                match labels.is_empty() {
                    true => value.encode(&mut family)?,
                    false => value.encode(&mut family.encode_family(labels)?)?,
                }
            }
        }
        Ok(())
    }
}

/// Collects rows under names.
struct Collect<'c> {
    control: &'c Control<'c>,
    snapshot: Snapshot,
}

impl<'c> Collect<'c> {
    fn family(&mut self, name: &'static str, help: &'static str, rows: Vec<(Labels, Value)>) {
        self.snapshot.0.push(Family { name, help, rows });
    }

    fn gauge(&mut self, name: &'static str, help: &'static str, value: f64) {
        self.family(name, help, vec![(Labels::new(), Value::Gauge(value))]);
    }

    /// EAL's ids of the lcores, with their statistics.
    fn lcores(&self) -> impl Iterator<Item = (String, &'c LcoreStats)> + use<'c> {
        let ids = self.control.incidents.lcore_ids.iter().map(u32::to_string);
        ids.zip(self.control.stats.iter().map(|stats| &**stats))
    }

    /// A count per lcore.
    fn counts(
        &mut self,
        name: &'static str,
        help: &'static str,
        count: fn(&LcoreStats) -> &Counter,
    ) {
        let row = |(id, stats)| (vec![("lcore", id)], Value::Count(count(stats).get()));
        let rows = self.lcores().map(row).collect();
        self.family(name, help, rows);
    }

    /// Seconds per lcore, from ticks.
    fn seconds(
        &mut self,
        name: &'static str,
        help: &'static str,
        ticks: fn(&LcoreStats) -> &Counter,
    ) {
        let row = |(id, stats)| {
            (vec![("lcore", id)], Value::Seconds(self.to_seconds(ticks(stats).get())))
        };
        let rows = self.lcores().map(row).collect();
        self.family(name, help, rows);
    }

    fn to_ns(&self, ticks: u64) -> u64 {
        self.control.incidents.rate.ns(ticks)
    }

    fn to_seconds(&self, ticks: u64) -> f64 {
        seconds_of(self.to_ns(ticks))
    }

    /// The sum of histograms of times.
    fn times<'h>(&self, histograms: impl IntoIterator<Item = &'h Histogram>) -> Value {
        let coarse = HistogramCounts::of(histograms).coarse(&BOUNDS_NS, |ticks| self.to_ns(ticks));
        let bounds = BOUNDS_NS.iter().map(|&ns| seconds_of(ns)).chain([f64::MAX]);
        let sum = coarse.sum_ns as f64 / 1e9;
        Value::Histogram { sum, buckets: bounds.zip(coarse.counts).collect() }
    }

    fn packets(&mut self, owns: impl Fn(usize, (u16, u16)) -> bool) {
        type Queues = fn(&LcoreStats) -> &Vec<PortQueue>;
        let families: [(_, _, Queues); 2] = [
            ("rx_packets", "Packets received, by queue and lcore.", |stats| &stats.rx),
            ("tx_packets", "Packets that drivers accepted, by queue and lcore.", |stats| &stats.tx),
        ];
        for (name, help, queues) in families {
            let row = |id: &str, queue: &PortQueue| {
                let labels = vec![
                    ("port", queue.port.to_string()),
                    ("queue", queue.queue.to_string()),
                    ("lcore", id.to_owned()),
                ];
                (labels, Value::Count(queue.pkts.get()))
            };
            // In some modes any lcore may poll any queue. Lcores that never did
            // are left out.
            let is_used = |at: usize, queue: &PortQueue| {
                name == "tx_packets" || queue.pkts.get() > 0 || owns(at, (queue.port, queue.queue))
            };
            let of_lcore = |(at, (id, stats)): (usize, (String, &'c LcoreStats))| {
                let queues = queues(stats).iter().filter(|queue| is_used(at, queue));
                queues.map(|queue| row(&id, queue)).collect::<Vec<_>>()
            };
            let rows = self.lcores().enumerate().flat_map(of_lcore).collect();
            self.family(name, help, rows);
        }
        let of_lcore = |(id, stats): (String, &'c LcoreStats)| {
            DropCause::named().map(move |cause| {
                let labels = vec![("lcore", id.clone()), ("cause", cause.name().to_owned())];
                (labels, Value::Count(stats.dropped(cause)))
            })
        };
        let rows = self.lcores().flat_map(of_lcore).collect();
        self.family("dropped_packets", "Packets dropped, by cause.", rows);
        let of_lcore = |(id, stats): (String, &'c LcoreStats)| {
            [("cheap", &stats.cheap_pkts), ("expensive", &stats.expensive_pkts)].map(
                |(class, count)| {
                    let labels = vec![("lcore", id.clone()), ("class", class.to_owned())];
                    (labels, Value::Count(count.get()))
                },
            )
        };
        let rows = self.lcores().flat_map(of_lcore).collect();
        self.family("served_packets", "Packets that finished in a stage.", rows);
    }

    fn scheduling(&mut self) {
        self.counts("rx_bursts", "Polls that returned packets.", |stats| &stats.rx_bursts);
        self.counts("empty_polls", "Polls that returned none.", |stats| &stats.empty_polls);
        self.counts("yielded_packets", "Packets that the cheap stage handed over.", |stats| {
            &stats.yielded_pkts
        });
        self.counts("shed_packets", "Packets enqueued to shards or inboxes.", |stats| {
            &stats.shed_pkts
        });
        self.counts("dequeued_packets", "Packets dequeued from shards or inboxes.", |stats| {
            &stats.taken_pkts
        });
        self.counts("requeued_packets", "Packets that waited in run queues.", |stats| {
            &stats.requeued_pkts
        });
        let help = "Packets that the engine dropped when their turn in their flow came.";
        self.counts("dropped_in_turn_packets", help, |stats| &stats.dropped_in_turn_pkts);
        self.counts("steals", "Successful steals.", |stats| &stats.rescue.steals);
        self.counts("stolen_packets", "Packets stolen.", |stats| &stats.rescue.stolen_pkts);
        self.counts("takeovers", "Polls of another lcore's receive queue.", |stats| {
            &stats.rescue.takeovers
        });
        self.counts("takeover_packets", "Packets polled for another lcore.", |stats| {
            &stats.rescue.takeover_pkts
        });
        self.seconds("saved_seconds", "Wait that helpers spared this lcore's packets.", |stats| {
            &stats.rescue.saved_ticks
        });
        let rescue = self.times(self.control.stats.iter().map(|stats| &stats.rescue.latency));
        self.family(
            "rescue_seconds",
            "Time from an lcore being stuck until a helper had served the first packet.",
            vec![(Labels::new(), rescue)],
        );
        let of_lcore = |(id, stats): (String, &'c LcoreStats)| {
            Activity::ALL.map(|activity| {
                let ticks = stats.activity_ticks.get(activity);
                let labels = vec![("lcore", id.clone()), ("activity", activity.name().to_owned())];
                (labels, Value::Seconds(self.to_seconds(ticks)))
            })
        };
        let rows = self.lcores().flat_map(of_lcore).collect();
        self.family(
            "lcore_seconds",
            "What lcores did with their time, since the first request.",
            rows,
        );
    }

    fn latency(&mut self) {
        let of_lcore = |(id, stats): (String, &'c LcoreStats)| {
            let classes =
                [("cheap", &stats.cheap_latency), ("expensive", &stats.expensive_latency)];
            classes.map(|(class, histogram)| {
                let labels = vec![("lcore", id.clone()), ("class", class.to_owned())];
                (labels, self.times([histogram]))
            })
        };
        let rows = self.lcores().flat_map(of_lcore).collect();
        self.family(
            "latency_seconds",
            "Time from a packet's stamp until its driver accepted it, by sending lcore.",
            rows,
        );
        type Part = fn(&Parts) -> &Histogram;
        let stages: [(_, Part); 5] = [
            ("nic_wait", |parts| &parts.nic_wait),
            ("queue_wait", |parts| &parts.queue_wait),
            ("service", |parts| &parts.service),
            ("order_wait", |parts| &parts.order_wait),
            ("transmit", |parts| &parts.transmit),
        ];
        type Class = fn(&LcoreStats) -> &Parts;
        let classes: [(_, Class); 2] =
            [("cheap", |stats| &stats.cheap_parts), ("expensive", |stats| &stats.expensive_parts)];
        let mut rows = Vec::new();
        for (class, parts) in classes {
            for (stage, part) in stages {
                let labels = vec![("class", class.to_owned()), ("stage", stage.to_owned())];
                let stats = self.control.stats.iter();
                rows.push((labels, self.times(stats.map(|stats| part(parts(stats))))));
            }
        }
        self.family("stage_seconds", "Parts of the latency of sampled packets.", rows);
        let unseen = self.times(self.control.stats.iter().map(|stats| &stats.unseen_wait));
        self.family(
            "unseen_wait_seconds",
            "Longest wait in the receive queue before a poll, of sampled bursts.",
            vec![(Labels::new(), unseen)],
        );
    }

    fn order(&mut self, seen: &Seen<'_>) {
        let depth = |(shard, depth): (usize, f64)| {
            (vec![("shard", shard.to_string())], Value::Gauge(depth))
        };
        let depths = seen.shards.views().iter().map(|shard| shard.len() as f64);
        let rows = depths.enumerate().map(depth).collect();
        self.family("shard_packets", "Packets in a shard.", rows);
        let rank = RankCounts::sum(self.control.stats.iter().map(|stats| &stats.rank));
        let count = |count| vec![(Labels::new(), Value::Count(count))];
        let [samples, at_least, at_most, overtakes] = rank.sums();
        self.family("rank_samples", "Dequeues whose rank error was sampled.", count(samples));
        let rows = [("at_least", at_least), ("at_most", at_most)]
            .map(|(bound, sum)| (vec![("bound", bound.to_owned())], Value::Count(sum)));
        let help = "Older packets in other shards at sampled dequeues, added up.";
        self.family("rank_error_packets", help, rows.into());
        let help = "Times that sampled packets were overtaken, at least.";
        self.family("rank_overtakes", help, count(overtakes));
        let sum = |pick: fn(&LcoreStats) -> u64| -> u64 {
            self.control.stats.iter().map(|stats| pick(stats)).sum()
        };
        let [checked, late, parked] = [
            sum(|stats| stats.order.checked_pkts()),
            sum(|stats| stats.order.reordered_pkts()),
            sum(|stats| stats.order.parked_pkts()),
        ];
        let help = "Packets whose order was checked when they were sent.";
        self.family("order_checked_packets", help, count(checked));
        self.family("reordered_packets", "Packets sent after a later one.", count(late));
        let help = "Packets that waited for their predecessors in their flow.";
        self.family("parked_packets", help, count(parked));
    }

    fn host(&mut self) {
        let row = |(id, stats): (String, &'c LcoreStats)| {
            let gaps = stats.host_gaps.row(|ticks| self.to_ns(ticks));
            (vec![("lcore", id)], gaps)
        };
        let gaps: Vec<_> = self.lcores().map(row).collect();
        let count = |(labels, row): &(Labels, crate::stats::HostGapRow)| {
            (labels.clone(), Value::Count(row.gaps))
        };
        self.family(
            "host_gaps",
            "Times that the host took an lcore's CPU.",
            gaps.iter().map(count).collect(),
        );
        let seconds = |(labels, row): &(Labels, crate::stats::HostGapRow)| {
            (labels.clone(), Value::Seconds(seconds_of(row.gap_ns)))
        };
        let rows = gaps.iter().map(seconds).collect();
        self.family("host_gap_seconds", "Time that the host took, as far as noticed.", rows);
        let delays = self.control.incidents.incidents.run_delays().iter().map(RunDelay::ns);
        let delay = |((id, _), ns): ((String, _), Option<u64>)| {
            ns.map(|ns| (vec![("lcore", id)], Value::Seconds(seconds_of(ns))))
        };
        let rows = self.lcores().zip(delays).filter_map(delay).collect();
        let help = "Time in which the kernel ran others on an lcore's CPU.";
        self.family("run_delay_seconds", help, rows);
    }

    fn ports(&mut self, moment: &Moment<'_>) {
        let label = |port: &Port| vec![("port", port.id().to_string())];
        let named =
            |port: &Port| vec![("port", port.id().to_string()), ("name", port.name().to_owned())];
        let ports = self.control.ports;
        let up =
            |port: &Port| (named(port), Value::Gauge(f64::from(u8::from(port.view().link_up))));
        self.family("port_link_up", "Whether the link is up.", ports.iter().map(up).collect());
        let lost = |port: &Port| {
            (named(port), Value::Gauge(f64::from(u8::from(port.view().loss.is_some()))))
        };
        let help = "Whether the port was reset or removed.";
        self.family("port_lost", help, ports.iter().map(lost).collect());
        let changes = ports.iter().zip(moment.watched.logs());
        let rows = changes.map(|(port, log)| (label(port), Value::Count(log.link_changes)));
        self.family("port_link_changes", "Changes of the link.", rows.collect());
        let devices: Vec<_> = ports.iter().map(|port| (label(port), port.stats())).collect();
        type Count = fn(&DeviceStats) -> u64;
        let families: [(_, _, Count); 6] = [
            ("device_rx_packets", "Packets that the device received.", |stats| stats.ipackets),
            ("device_tx_packets", "Packets that the device sent.", |stats| stats.opackets),
            ("device_rx_missed_packets", "Packets lost to a full receive queue.", |stats| {
                stats.imissed
            }),
            ("device_rx_errors", "Packets that arrived damaged.", |stats| stats.ierrors),
            ("device_rx_no_buffer_packets", "Packets lost for want of a buffer.", |stats| {
                stats.rx_nombuf
            }),
            ("device_tx_errors", "Packets accepted, but not sent.", |stats| stats.oerrors),
        ];
        for (name, help, count) in families {
            let row = |(labels, stats): &(Labels, DeviceStats)| {
                (labels.clone(), Value::Count(count(stats)))
            };
            self.family(name, help, devices.iter().map(row).collect());
        }
    }

    fn process(&mut self, moment: &Moment<'_>, seen: &Seen<'_>) {
        self.gauge("run_seconds", "Time since the start of the run.", moment.elapsed.as_secs_f64());
        let help = "Whether the run is about to end.";
        self.gauge("draining", help, f64::from(u8::from(moment.is_draining)));
        let changes = moment.changes.iter();
        let row =
            |(&what, &count): (&&str, &u64)| (vec![("what", what.to_owned())], Value::Count(count));
        self.family("changes", "Changes by requests.", changes.map(row).collect());
        let help = "Lcores in a long packet, which do not follow the last change yet.";
        self.gauge("lcores_behind", help, moment.lcores_behind as f64);
        let mode = vec![("mode", moment.mode.name().to_owned())];
        self.family("mode_info", "The mode.", vec![(mode, Value::Gauge(1.0))]);
        let lcores = self.control.stats.len();
        let pool_a = seen.split.pool_a();
        let rows = [("A", pool_a), ("B", lcores - pool_a)]
            .map(|(pool, lcores)| (vec![("pool", pool.to_owned())], Value::Gauge(lcores as f64)));
        self.family("pool_lcores", "Lcores of a pool.", rows.into());
        self.gauge("mempool_buffers", "Packet buffers.", f64::from(seen.pools.capacity()));
        let free = f64::from(seen.pools.available());
        self.gauge("mempool_free_buffers", "Packet buffers that are free.", free);
        if let Some(ticks) = moment.followed.error_ticks(self.control.clocks) {
            let help = "Largest error of NIC stamps after conversion.";
            self.gauge("clock_error_seconds", help, self.to_seconds(ticks));
        }
        let row = seen.meter.rate().1;
        self.gauge("tsc_hertz", "Rate of the time stamp counter.", row.hz as f64);
        let help = "Largest relative error of that rate.";
        self.gauge("tsc_error_ratio", help, row.error_ppm / 1e6);
    }
}

fn seconds_of(ns: u64) -> f64 {
    ns as f64 / 1e9
}

/// All metrics in the format that the client wants.
pub(super) fn exposition(
    control: &Control<'_>,
    moment: &Moment<'_>,
    seen: &Seen<'_>,
    owns: impl Fn(usize, (u16, u16)) -> bool,
    wants_open_metrics: bool,
) -> Answer {
    let mut collect = Collect { control, snapshot: Snapshot::default() };
    collect.packets(owns);
    collect.scheduling();
    collect.latency();
    collect.order(seen);
    collect.host();
    collect.ports(moment);
    collect.process(moment, seen);
    let mut registry = Registry::with_prefix(PREFIX);
    registry.register_collector(Box::new(collect.snapshot));
    let mut text = String::new();
    let (encoded, content_type) = match wants_open_metrics {
        true => (text::encode(&mut text, &registry), OPEN_METRICS_TYPE),
        false => (prometheus_text::encode(&mut text, &registry), PROMETHEUS_TYPE),
    };
    match encoded {
        Ok(()) => Answer { status: StatusCode::OK, content_type, body: text.into_bytes() },
        Err(_) => Answer::error(StatusCode::INTERNAL_SERVER_ERROR, "metrics can't be written"),
    }
}
