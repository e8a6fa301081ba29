//! Open-loop traffic: attached to the receive queues before a run, reported
//! after it.

use std::sync::Arc;

use hdrhistogram::Histogram as HdrHistogram;

use crate::cli::Cli;
use crate::config::{Plan, SOURCE_PORT_HINT};
use crate::dpdk::clock::TscRate;
use crate::dpdk::{Burst, BurstSize, CostField, Mempools, RxQueue, StampField};
use crate::stats::{DeviceStats, SourceQueueRow, SourceReport};
use crate::traffic::{Frame, Generator, OpenLoop, QueueCounts, Stream, VirtualQueue, VirtualRing};
use mpfwd_common::error::{Error, Result};

/// One virtual queue.
struct Queue {
    port: u16,
    queue: u16,
    asked_pps: f64,
    counts: Arc<QueueCounts>,
}

/// All virtual queues of a run.
pub(super) struct Sources {
    spec: OpenLoop,
    asked_pps: f64,
    mean_cost_ns: f64,
    /// Share of all lcores' time.
    load: f64,
    /// The mbuf field with a packet's cost. `None` if packets cost nothing.
    pub cost: Option<CostField>,
    queues: Vec<Queue>,
}

impl Sources {
    /// Makes a virtual queue of every receive queue. Its traffic starts with
    /// the first poll.
    ///
    /// # Errors
    /// When a port receives other packets, or has no RX callbacks.
    pub(super) fn attach(
        spec: &OpenLoop,
        cli: &Cli,
        plan: &Plan,
        rxqs: &mut [RxQueue],
        (pools, stamp): (&Mempools, StampField),
        rate: TscRate,
    ) -> Result<Self> {
        let costs = cli.work.as_ref().map(crate::cli::Work::costs);
        let mean_cost_ns = costs.as_ref().map_or(0.0, |costs| costs.service.mean_ns());
        let refused = |why| Error::Usage(format!("--source: {why}"));
        let asked_pps = spec.demand.pps(mean_cost_ns, plan.lcores.len()).map_err(refused)?;
        let shares = spec.skew.shares(rxqs.len()).map_err(refused)?;
        let cost = costs.is_some().then(CostField::register).transpose()?;
        let queues = rxqs.len();
        let mut attached = Vec::with_capacity(queues);
        for (at, (rxq, share)) in rxqs.iter_mut().zip(shares).enumerate() {
            refuse_other_traffic(rxq)?;
            let stream = Stream {
                arrivals: spec.arrivals,
                pps: asked_pps * share,
                flows: spec.flows,
                costs: costs.as_ref(),
                seed: spec.seed,
                cost_seed: cli.work.as_ref().map_or(spec.seed, |work| work.seed),
                queue: at,
                queues,
                ticks_per_second: rate.hz(),
            };
            let ring = VirtualRing::new(Generator::new(&stream), usize::from(cli.rxd));
            let source = VirtualQueue::new(
                ring,
                Frame::new(spec.frame_bytes, mac(plan, rxq.port())),
                rxq.port(),
                pools.on(plan.rx_socket(rxq.port(), rxq.queue())).clone(),
                stamp,
                cost,
            );
            attached.push(Queue {
                port: rxq.port(),
                queue: rxq.queue(),
                asked_pps: stream.pps,
                counts: source.counts(),
            });
            rxq.attach(source)?;
        }
        let load = asked_pps * mean_cost_ns / 1e9 / plan.lcores.len() as f64;
        Ok(Self { spec: spec.clone(), asked_pps, mean_cost_ns, load, cost, queues: attached })
    }

    /// Adds a port's virtual queues to its device counters: they are the
    /// device.
    pub(super) fn add_to(&self, port: u16, device: &mut DeviceStats) {
        for queue in self.queues.iter().filter(|queue| queue.port == port) {
            device.ipackets += queue.counts.received_pkts.get();
            device.imissed += queue.counts.missed_pkts();
            device.rx_nombuf += queue.counts.nombuf_pkts.get();
        }
    }

    /// The fields of the start map's line.
    pub(super) fn described(&self) -> Vec<String> {
        let mut fields = vec![
            self.spec.to_string(),
            format!("{} rx queues", self.queues.len()),
            format!("{:.0} packets/s", self.asked_pps),
        ];
        if self.mean_cost_ns > 0.0 {
            fields.push(format!("load {:.3} of all lcores", self.load));
        }
        fields
    }

    pub(super) fn report(&self, rate: TscRate) -> SourceReport {
        let rows: Vec<SourceQueueRow> =
            self.queues.iter().map(|queue| queue_row(queue, rate)).collect();
        let sum = |count: fn(&SourceQueueRow) -> u64| rows.iter().map(count).sum::<u64>();
        let per_second = |count: fn(&SourceQueueRow) -> u64| {
            rows.iter()
                .filter(|row| row.polled_s > 0.0)
                .map(|row| count(row) as f64 / row.polled_s)
                .sum::<f64>()
        };
        // The median excludes interruptions by the host.
        let mut own_ticks = HdrHistogram::<u64>::new(3).expect("a constant precision is valid");
        self.queues
            .iter()
            .for_each(|queue| queue.counts.own_ticks.add_to(&mut own_ticks, |ticks| ticks));
        SourceReport {
            spec: self.spec.to_string(),
            asked_mpps: self.asked_pps / 1e6,
            offered_mpps: per_second(|row| row.offered_pkts) / 1e6,
            received_mpps: per_second(|row| row.received_pkts) / 1e6,
            load: self.load,
            mean_cost_ns: self.mean_cost_ns,
            offered_pkts: sum(|row| row.offered_pkts),
            received_pkts: sum(|row| row.received_pkts),
            missed_pkts: sum(|row| row.missed_pkts),
            nombuf_pkts: sum(|row| row.nombuf_pkts),
            left_pkts: sum(|row| row.left_pkts),
            pkt_ns: own_ticks.value_at_quantile(0.5) as f64 * 1e9 / rate.hz() as f64,
            queues: rows,
        }
    }
}

fn mac(plan: &Plan, port: u16) -> [u8; 6] {
    let found = plan.ports.iter().find(|plan| plan.info.id == port);
    found.map_or([0; 6], |plan| plan.info.mac.into_array())
}

fn queue_row(queue: &Queue, rate: TscRate) -> SourceQueueRow {
    let counts = &queue.counts;
    let (offered_pkts, missed_pkts) = (counts.offered_pkts(), counts.missed_pkts());
    let (received_pkts, nombuf_pkts) = (counts.received_pkts.get(), counts.nombuf_pkts.get());
    SourceQueueRow {
        port: queue.port,
        queue: queue.queue,
        asked_mpps: queue.asked_pps / 1e6,
        polled_s: rate.ns(counts.polled_for_ticks()) as f64 / 1e9,
        offered_pkts,
        received_pkts,
        missed_pkts,
        nombuf_pkts,
        left_pkts: offered_pkts.saturating_sub(received_pkts + missed_pkts + nombuf_pkts),
        behind_ns: rate.ns(counts.behind_ticks()),
    }
}

/// A driver's own packets have no due time, and would be mistaken for the
/// source's.
fn refuse_other_traffic(rxq: &RxQueue) -> Result<()> {
    let mut burst = Burst::new();
    let received = rxq.try_lease().map_or(0, |mut lease| lease.poll(&mut burst, BurstSize::of(1)));
    if received > 0 {
        return Err(Error::Usage(format!(
            "--source: port {} receives other packets: {SOURCE_PORT_HINT}",
            rxq.port()
        )));
    }
    Ok(())
}
