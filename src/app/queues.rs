//! The queues between lcores (shards, inboxes, run queues), and each lcore's
//! ends of them.

use std::collections::BTreeMap;

use super::near;
use crate::cli::Cli;
use crate::config::{LcorePlan, Plan};
use crate::datapath::{Board, PacketQueue, PacketStealer, Queues};
use crate::dpdk::clock::{TscRate, tsc};
use crate::dpdk::{self, Eal, Mempools, RingConsumer, RingProducer, RingView, RxQueue, TxQueue};
use crate::policy::Pool;
use crate::shed::Picker;
use mpfwd_common::error::{Error, Result};

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
        Ok(Self { txqs, producers, consumers, inboxes: inboxes(eal, cli, plan)? })
    }

    /// A look at each shard, in their order.
    pub(super) fn shards(&self) -> Vec<RingView> {
        let ends: BTreeMap<usize, &RingProducer> =
            self.producers.iter().flatten().map(|(shard, end)| (*shard, end)).collect();
        ends.values().map(|end| end.view()).collect()
    }

    /// Gives each lcore its ends.
    ///
    /// # Errors
    /// When a port lacks a queue of the plan.
    pub(super) fn assign<'q>(
        self,
        plan: &Plan,
        cli: &Cli,
        rxqs: &'q [RxQueue],
        pools: &Mempools,
    ) -> Result<Vec<Queues<'q>>> {
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
            let rx = own_rxqs(lcore, rxqs)?;
            let buffers = pools.on(plan.receives_on(lcore)).clone();
            let Inbox { own: inbox, all: inboxes } = inbox;
            all.push(Queues {
                rx,
                buffers,
                tx,
                shard,
                shards,
                inbox,
                inboxes,
                run_queue,
                kept,
                stealers,
                picker,
            });
        }
        Ok(all)
    }
}

/// Each lcore's board.
///
/// # Errors
/// As [`Ends::assign`].
pub(super) fn boards<'q>(
    plan: &Plan,
    rxqs: &'q [RxQueue],
    rate: TscRate,
) -> Result<Vec<Board<'q>>> {
    // A silence is told from a beat that is due by several beats.
    let beat_every_ticks = rate.ticks(plan.scheduling.stall_after.as_nanos() as u64) / 8;
    let board = |lcore: &LcorePlan| {
        Ok(Board::new(lcore.pool, own_rxqs(lcore, rxqs)?, tsc(), beat_every_ticks))
    };
    plan.lcores.iter().map(board).collect()
}

/// The receive queues that an lcore owns.
fn own_rxqs<'q>(lcore: &LcorePlan, rxqs: &'q [RxQueue]) -> Result<Vec<&'q RxQueue>> {
    let find = |&(port, queue): &(u16, u16)| {
        let found = rxqs.iter().find(|rxq| (rxq.port(), rxq.queue()) == (port, queue));
        found.ok_or_else(|| {
            Error::Setup(format!("port {port} was started without its queue {queue}"))
        })
    };
    lcore.rx.iter().map(find).collect()
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

/// In modes with inboxes, a ring per lcore that every lcore enqueues to.
fn inboxes(eal: &Eal, cli: &Cli, plan: &Plan) -> Result<Vec<Inbox>> {
    let lcores = plan.lcores.len();
    let mut inboxes: Vec<Inbox> = (0..lcores).map(|_| Inbox::default()).collect();
    if !plan.scheduling.mode.facts().has_inboxes {
        return Ok(inboxes);
    }
    for at in 0..lcores {
        let name = format!("mpfwd_inbox{at}");
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
