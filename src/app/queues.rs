//! The queues between lcores (shards, inboxes, run queues), and each lcore's
//! ends of them.

use std::collections::BTreeMap;

use super::near;
use crate::cli::Cli;
use crate::config::{LcorePlan, Plan};
use crate::datapath::{Board, PacketQueue, PacketStealer, Queues, RingEnds, Spare};
use crate::dpdk::clock::{TscRate, tsc};
use crate::dpdk::{self, Eal, Mempools, RingConsumer, RingProducer, RingView, RxQueue, TxQueue};
use crate::policy::Pool;
use crate::shed::Picker;
use mpfwd_common::error::Result;

/// Ends of queues, by lcore.
pub(super) struct Ends {
    /// By port.
    txqs: Vec<Vec<TxQueue>>,
    /// The shard that the lcore enqueues to, and its place.
    producers: Producers,
    /// The shards that it dequeues from.
    consumers: Vec<Vec<RingConsumer>>,
    inboxes: Vec<Inbox>,
}

/// An lcore's own inbox, and its ends of all lcores' inboxes.
#[derive(Default)]
struct Inbox {
    own: Option<RingConsumer>,
    all: Vec<RingProducer>,
}

impl Ends {
    /// Makes the plan's rings. `txqs`: by lcore, by port.
    ///
    /// # Errors
    /// When memory is short.
    pub(super) fn new(eal: &Eal, cli: &Cli, plan: &Plan, txqs: Vec<Vec<TxQueue>>) -> Result<Self> {
        let (producers, consumers) = shards(eal, cli, plan)?;
        let inboxes = match plan.scheduling.mode.facts().has_inboxes {
            true => inboxes(eal, cli, plan, "mpfwd_inbox")?,
            false => plan.lcores.iter().map(|_| Inbox::default()).collect(),
        };
        Ok(Self { txqs, producers, consumers, inboxes })
    }

    /// A look at each shard, in their order.
    pub(super) fn shards(&self) -> Vec<RingView> {
        let ends: BTreeMap<usize, &RingProducer> =
            self.producers.iter().flatten().map(|(shard, end)| (*shard, end)).collect();
        ends.values().map(|end| end.view()).collect()
    }

    /// Gives each lcore its ends.
    pub(super) fn assign(self, plan: &Plan, cli: &Cli, pools: &Mempools) -> Vec<Queues> {
        let (waiting, stealers) = run_queues(plan, cli);
        // Where lcores move, any of them may work.
        let works = |lcore: &LcorePlan| plan.scheduling.follows_load || lcore.pool == Pool::B;
        let workers = plan.lcores.iter().filter(|lcore| works(lcore)).count();
        let ends = self.txqs.into_iter().zip(self.producers).zip(self.consumers);
        let ends = ends.zip(self.inboxes).zip(waiting).zip(stealers);
        let mut worker = 0;
        let mut all = Vec::with_capacity(plan.lcores.len());
        for (lcore, (((((tx, shard), shards), inbox), [run_queue, kept]), stealers)) in
            plan.lcores.iter().zip(ends)
        {
            let id = u64::from(lcore.lcore.id);
            let picker = Picker::new(plan.scheduling.shard_pick, id, worker, workers);
            worker += usize::from(works(lcore));
            let buffers = pools.on(plan.receives_on(lcore)).clone();
            let Inbox { own: inbox, all: inboxes } = inbox;
            let rings = RingEnds { shard, shards, inbox, inboxes, picker };
            all.push(Queues { buffers, tx, rings, run_queue, kept, stealers });
        }
        all
    }
}

/// Rings for every mode and every size of the pools: each lcore has a shard,
/// dequeues from all, and has an inbox.
///
/// # Errors
/// When memory is short.
pub(super) fn spare(eal: &Eal, cli: &Cli, plan: &Plan) -> Result<Spare> {
    let lcores = plan.lcores.len();
    let count = cli.shards.map_or(lcores, usize::from).min(lcores);
    let (mut views, mut shards) =
        (Vec::new(), (0..lcores).map(|_| Vec::new()).collect::<Consumers>());
    let mut producers: Producers = plan.lcores.iter().map(|_| None).collect();
    for shard in 0..count {
        let shed: Vec<usize> = (shard..lcores).step_by(count).collect();
        let socket = plan.lcores[shard].memory;
        let name = format!("mpfwd_spare{shard}");
        let ends = dpdk::ring(eal, socket, &name, cli.ring_size, (shed.len(), lcores))?;
        views.extend(ends.0.first().map(RingProducer::view));
        shed.into_iter().zip(ends.0).for_each(|(at, put)| producers[at] = Some((shard, put)));
        shards.iter_mut().zip(ends.1).for_each(|(all, end)| all.push(end));
    }
    let inboxes = inboxes(eal, cli, plan, "mpfwd_spare_inbox")?;
    let ends = producers.into_iter().zip(shards).zip(inboxes).enumerate();
    let ends = ends.map(|(at, ((shard, shards), inbox))| {
        let id = u64::from(plan.lcores[at].lcore.id);
        let picker = Picker::new(plan.scheduling.shard_pick, id, at, lcores);
        RingEnds { shard, shards, inbox: inbox.own, inboxes: inbox.all, picker }
    });
    Ok(Spare::new(views, ends.collect()))
}

/// Each lcore's board.
pub(super) fn boards(plan: &Plan, rate: TscRate) -> Vec<Board> {
    // A silence is told from a beat that is due by several beats.
    let beat_every_ticks = rate.ticks(plan.scheduling.stall_after.as_nanos() as u64) / 8;
    plan.lcores.iter().map(|lcore| Board::new(lcore.pool, tsc(), beat_every_ticks)).collect()
}

/// By a receive queue's number: the place of the lcore that owns it.
pub(super) fn owners(plan: &Plan, rxqs: &[RxQueue]) -> Vec<usize> {
    let owner = |rxq: &RxQueue| {
        let owns = |lcore: &LcorePlan| lcore.rx.contains(&(rxq.port(), rxq.queue()));
        plan.lcores.iter().position(owns).unwrap_or_default()
    };
    rxqs.iter().map(owner).collect()
}

type Producers = Vec<Option<(usize, RingProducer)>>;
type Consumers = Vec<Vec<RingConsumer>>;

/// The sharded queue. Returns by lcore the shard that it enqueues to, and the
/// shards that it dequeues from.
fn shards(eal: &Eal, cli: &Cli, plan: &Plan) -> Result<(Producers, Consumers)> {
    let mut producers: Producers = plan.lcores.iter().map(|_| None).collect();
    let mut consumers: Consumers = plan.lcores.iter().map(|_| Vec::new()).collect();
    let lcores = || 0..plan.lcores.len();
    for shard in 0..plan.shards {
        let shed: Vec<_> = lcores().filter(|&at| plan.lcores[at].shard == Some(shard)).collect();
        let take: Vec<_> = lcores().filter(|&at| plan.lcores[at].takes).collect();
        let name = format!("mpfwd_shard{shard}");
        let (socket, size) = (plan.placement.shards[shard], cli.ring_size);
        let (puts, takes) = dpdk::ring(eal, socket, &name, size, (shed.len(), take.len()))?;
        shed.into_iter().zip(puts).for_each(|(at, put)| producers[at] = Some((shard, put)));
        take.into_iter().zip(takes).for_each(|(at, end)| consumers[at].push(end));
    }
    Ok((producers, consumers))
}

/// A ring per lcore that every lcore enqueues to.
fn inboxes(eal: &Eal, cli: &Cli, plan: &Plan, prefix: &str) -> Result<Vec<Inbox>> {
    let lcores = plan.lcores.len();
    let mut inboxes: Vec<Inbox> = (0..lcores).map(|_| Inbox::default()).collect();
    for at in 0..lcores {
        let name = format!("{prefix}{at}");
        let socket = plan.lcores[at].memory;
        let (puts, takes) = dpdk::ring(eal, socket, &name, cli.ring_size, (lcores, 1))?;
        inboxes[at].own = takes.into_iter().next();
        inboxes.iter_mut().zip(puts).for_each(|(inbox, put)| inbox.all.push(put));
    }
    Ok(inboxes)
}

type Stealers = Vec<[PacketStealer; 2]>;

/// By lcore its run queue and its queue of kept packets, and a thief's ends of
/// all lcores' queues.
fn run_queues(plan: &Plan, cli: &Cli) -> (Vec<[PacketQueue; 2]>, Vec<Stealers>) {
    let (grow, max) = (plan.scheduling.grow, plan.scheduling.runq_max_pkts);
    let waiting = || PacketQueue::new(grow, 2 * usize::from(cli.burst), max);
    let mut queues = near::each(&plan.eal_lcores(), |_| [waiting(), waiting()]);
    let mut stealers = || -> Stealers {
        queues.iter_mut().map(|pair| pair.each_mut().map(PacketQueue::stealer)).collect()
    };
    let stealers = plan.lcores.iter().map(|_| stealers()).collect();
    (queues, stealers)
}
