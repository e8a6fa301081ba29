//! The part of a report that advice is made of, and what makes a report
//! unusable for it.

use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;

use crate::measured::{from_json, read};
use mpfwd_common::error::{Error, Result};
use mpfwd_common::latency::{Bucket, LatencyRow};
use mpfwd_common::report::HostGapRow;
use mpfwd_common::text::grouped;
use mpfwd_common::traffic::{Costs, OpenLoop, Service, mean_ns};

/// The version of reports that is understood.
const REPORT_VERSION: u64 = 1;

/// If the host takes more than this share of the lcores' time, the service times
/// are the host's.
const HOST_SHARE_MAX: f64 = 0.05;

/// Fewer measured packets or windows tell too little.
const CHEAP_PKTS_MIN: u64 = 100;
const WINDOWS_MIN: u64 = 20;

/// `--source`'s default.
const FLOWS: u32 = 1024;

#[derive(Debug, Deserialize)]
struct File {
    mode: String,
    pools: Option<String>,
    pool_changes: Option<Vec<serde::de::IgnoredAny>>,
    elapsed_s: f64,
    burst: usize,
    rx_pkts: u64,
    source: Option<SourceRow>,
    host_gaps: HostGapRow,
    run_delay_ns: Option<u64>,
    latency: Option<Latency>,
    lcores: Vec<Lcore>,
    queues: Vec<Queue>,
    ports: Vec<Port>,
}

#[derive(Debug, Deserialize)]
struct SourceRow {
    spec: String,
    pkt_ns: f64,
}

#[derive(Debug, Deserialize)]
struct Latency {
    bound: String,
    off: Option<String>,
    cheap: LatencyRow,
    expensive: LatencyRow,
    parts: Parts,
}

#[derive(Debug, Deserialize)]
struct Parts {
    cheap: Part,
    expensive: Part,
}

#[derive(Debug, Deserialize)]
struct Part {
    own_service: LatencyRow,
}

#[derive(Debug, Deserialize)]
struct Lcore {
    cheap_pkts: u64,
    expensive_pkts: u64,
    unknown_pkts: u64,
    rescue: Rescue,
}

#[derive(Debug, Deserialize)]
struct Rescue {
    takeovers: u64,
}

#[derive(Debug, Deserialize)]
struct Queue {
    direction: String,
    queue: u16,
    pkts: u64,
    arrivals: Vec<Window>,
}

/// Arrivals at a queue in windows of some length.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct Window {
    windows: u64,
    pub window_ns: u64,
    pub pps: f64,
    pub dispersion: Option<f64>,
}

#[derive(Debug, Deserialize)]
struct Port {
    port: u16,
    device: Device,
}

#[derive(Debug, Deserialize)]
struct Device {
    imissed: u64,
    rx_nombuf: u64,
}

/// One class of packets.
#[derive(Clone, Debug)]
pub(super) struct ClassEvidence {
    /// Service times, and how many packets had them.
    pub service: Arc<[Bucket]>,
    pub mean_ns: f64,
    /// Latencies as measured.
    pub latency: LatencyRow,
}

/// What a run has shown.
#[derive(Clone, Debug)]
pub(super) struct Evidence {
    pub mode: String,
    pub pools: Option<String>,
    /// Idle lcores polled other lcores' queues.
    pub took_over: bool,
    pub follows_load: bool,
    pub burst: usize,
    pub lcores: usize,
    pub pps: f64,
    /// The expensive share of packets.
    pub p: f64,
    /// A packet's class is known before it runs.
    pub known: bool,
    /// Cheap and expensive.
    pub classes: [ClassEvidence; 2],
    /// Each queue number's share of the packets.
    pub shares: Vec<f64>,
    /// By queue, the shorter windows and the longer ones.
    pub windows: Vec<[Window; 2]>,
    pub flows: u32,
    /// A virtual source's work per packet.
    pub source_pkt_ns: f64,
    /// What the latencies exclude.
    pub bound: String,
    /// Share of the lcores' time that the host took.
    pub host_share: f64,
}

impl Evidence {
    /// # Errors
    /// The file is no report of this version, or a report that no advice can be
    /// based on. One line, with what to run instead.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let text = read(path)?;
        let bad = |why: String| Error::Usage(format!("{}: {why}", path.display()));
        let value: serde_json::Value = from_json(path, &text, "a report of mpfwd")?;
        match value.get("report_version").map(serde_json::Value::as_u64) {
            Some(Some(REPORT_VERSION)) => {}
            Some(version) => {
                let version = version.map_or("no number".into(), |version| version.to_string());
                return Err(bad(format!(
                    "its report_version is {version}, and this mplab reads {REPORT_VERSION}: use the mplab that was built with that mpfwd"
                )));
            }
            None => {
                return Err(bad(
                    "it has no report_version: write it by a newer mpfwd --report".into()
                ));
            }
        }
        let file: File = from_json(path, &text, "a report of mpfwd")?;
        Self::of(file).map_err(bad)
    }

    fn of(file: File) -> std::result::Result<Self, String> {
        let lcores = file.lcores.len();
        let lcores_ns = file.elapsed_s * 1e9 * lcores as f64;
        if lcores_ns <= 0.0 || file.rx_pkts == 0 {
            return Err("no packet was received: run mpfwd with traffic".into());
        }
        for Port { port, device } in &file.ports {
            let lost = device.imissed + device.rx_nombuf;
            if lost > 0 {
                return Err(format!(
                    "port {port} missed {} packets, so arrivals and load are clipped: run mpfwd at a lower rate, or with more --rxd and lcores",
                    grouped(lost)
                ));
            }
        }
        let taken_ns = file.host_gaps.gap_ns.max(file.run_delay_ns.unwrap_or(0));
        let host_share = taken_ns as f64 / lcores_ns;
        if host_share > HOST_SHARE_MAX {
            return Err(format!(
                "the host took {:.0} % of the lcores' time, which is in all service times: run mpfwd on CPUs of its own",
                host_share * 100.0
            ));
        }
        let latency = file
            .latency
            .ok_or("latency was not measured: run mpfwd without --timestamps off".to_owned())?;
        if let Some(why) = &latency.off {
            return Err(format!(
                "latency was not counted to the end ({why}): run mpfwd with --timestamps software"
            ));
        }
        let count = |of: fn(&Lcore) -> u64| file.lcores.iter().map(of).sum::<u64>();
        let (cheap, expensive) = (count(|of| of.cheap_pkts), count(|of| of.expensive_pkts));
        let class = |part: Part, latency| ClassEvidence {
            mean_ns: mean_ns(&part.own_service.buckets),
            service: part.own_service.buckets.into(),
            latency,
        };
        let classes = [
            class(latency.parts.cheap, latency.cheap),
            class(latency.parts.expensive, latency.expensive),
        ];
        let measured =
            |class: &ClassEvidence| class.service.iter().map(|&(_, pkts)| pkts).sum::<u64>();
        let rx = || file.queues.iter().filter(|queue| queue.direction == "rx");
        let windows: Vec<[Window; 2]> =
            rx().filter_map(|queue| queue.arrivals[..].try_into().ok()).collect();
        let fewest = windows.iter().map(|of| of[0].windows).max().unwrap_or(0);
        if measured(&classes[0]) < CHEAP_PKTS_MIN || fewest < WINDOWS_MIN {
            return Err(format!(
                "{} cheap packets and {fewest} windows of arrivals were measured, and {CHEAP_PKTS_MIN} and {WINDOWS_MIN} are needed: run mpfwd for longer, or at a load that lcores keep up with",
                grouped(measured(&classes[0]))
            ));
        }
        if expensive > 0 && measured(&classes[1]) == 0 {
            return Err("no expensive packet was measured: run mpfwd for longer".into());
        }
        let queues = rx().map(|queue| usize::from(queue.queue) + 1).max().unwrap_or(1);
        let mut pkts = vec![0.0; queues];
        rx().for_each(|queue| pkts[usize::from(queue.queue)] += queue.pkts as f64);
        let all: f64 = pkts.iter().sum::<f64>().max(1.0);
        let spec = file.source.as_ref().and_then(|source| source.spec.parse::<OpenLoop>().ok());
        Ok(Self {
            mode: file.mode,
            pools: file.pools,
            took_over: count(|of| of.rescue.takeovers) > 0,
            follows_load: file.pool_changes.is_some(),
            burst: file.burst,
            lcores,
            pps: file.rx_pkts as f64 / file.elapsed_s,
            p: expensive as f64 / (cheap + expensive).max(1) as f64,
            known: count(|of| of.unknown_pkts) * 2 < cheap + expensive,
            classes,
            shares: pkts.iter().map(|pkts| pkts / all).collect(),
            windows,
            flows: spec.map_or(FLOWS, |spec| spec.flows),
            source_pkt_ns: file.source.map_or(0.0, |source| source.pkt_ns),
            bound: latency.bound,
            host_share,
        })
    }

    /// The distribution of service times.
    pub(super) fn costs(&self) -> Costs {
        let [cheap, expensive] = self.classes.each_ref().map(|class| class.service.clone());
        Costs {
            service: Service::Measured { cheap, expensive, p: self.p },
            expensive_from_ns: f64::INFINITY,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn report() -> Value {
        let row = json!({
            "pkts": 1000, "mean_ns": 1000, "p50_ns": 1000, "p90_ns": 1000, "p99_ns": 1000,
            "p999_ns": 1000, "p9999_ns": 1000, "max_ns": 1000, "buckets": [[1000, 1000]],
        });
        let part = json!({ "own_service": row });
        let lcore = json!({
            "cheap_pkts": 9_990, "expensive_pkts": 10, "unknown_pkts": 0,
            "rescue": { "takeovers": 0 },
        });
        let window =
            json!({ "windows": 900, "window_ns": 1e6 as u64, "pps": 1e4, "dispersion": 1.0 });
        let queue = |queue: u16, pkts: u64| json!({ "direction": "rx", "queue": queue, "pkts": pkts, "arrivals": [window, window] });
        json!({
            "report_version": 1, "mode": "rtc", "pools": null, "pool_changes": null,
            "elapsed_s": 1.0, "burst": 32, "rx_pkts": 20_000, "source": null,
            "host_gaps": { "gaps": 1, "gap_ns": 1000, "gap_max_ns": 1000 }, "run_delay_ns": 0,
            "latency": {
                "bound": "none", "off": null, "cheap": row, "expensive": row,
                "parts": { "cheap": part, "expensive": part },
            },
            "lcores": [lcore, lcore],
            "queues": [queue(0, 15_000), queue(1, 5_000)],
            "ports": [{ "port": 0, "device": { "imissed": 0, "rx_nombuf": 0 } }],
        })
    }

    fn read_back(text: &str) -> Result<Evidence> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report.json");
        std::fs::write(&path, text).unwrap();
        Evidence::read(&path)
    }

    #[test]
    fn rate_shares_and_classes_are_read() {
        let evidence = read_back(&report().to_string()).unwrap();
        assert_eq!((evidence.lcores, evidence.pps, evidence.p), (2, 20_000.0, 0.001));
        assert_eq!(evidence.shares, [0.75, 0.25]);
        assert!((evidence.costs().service.mean_ns() - 1000.0).abs() < 1e-6 && evidence.known);
    }

    #[test]
    fn what_no_advice_can_be_based_on_is_one_line() {
        let with = |path: &str, value: Value| {
            let mut report = report();
            *report.pointer_mut(path).unwrap() = value;
            report.to_string()
        };
        let without = |key: &str| {
            let mut report = report();
            report.as_object_mut().unwrap().remove(key);
            report.to_string()
        };
        let good = report().to_string();
        for (text, says) in [
            (with("/report_version", json!(2)), "report_version is 2"),
            (with("/report_version", json!("x")), "no number"),
            (without("report_version"), "no report_version"),
            (without("queues"), "missing field `queues`"),
            (good[..good.len() / 2].to_owned(), "cut off"),
            (String::new(), "empty"),
            (with("/ports/0/device/imissed", json!(7)), "missed 7 packets"),
            (with("/host_gaps/gap_ns", json!(200_000_000)), "the host took 10 %"),
            (with("/run_delay_ns", json!(200_000_000)), "the host took 10 %"),
            (with("/latency", Value::Null), "--timestamps off"),
            (with("/latency/off", json!("a step")), "a step"),
            (with("/rx_pkts", json!(0)), "no packet"),
            (with("/queues/0/arrivals/0/windows", json!(3)), "900 windows"),
        ] {
            match read_back(&text) {
                Ok(_) => assert_eq!(says, "900 windows", "one queue with enough windows will do"),
                Err(error) => {
                    let message = error.to_string();
                    let one_line = !message.contains('\n') && error.exit_code() == 2;
                    assert!(message.contains(says) && one_line, "{says}: {message}");
                }
            }
        }
    }
}
