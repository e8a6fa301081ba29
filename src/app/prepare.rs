//! What a run is prepared with: mbuf fields, pools, ports and their queues.

use super::near;
use super::source::Sources;
use crate::cli::{Cli, KeepOrder};
use crate::config::{Plan, Stamping};
use crate::datapath::Outgoing;
use crate::dpdk::clock::TscRate;
use crate::dpdk::{
    Eal, EmulatedStamps, Mempools, PoolSize, Port, PortConfig, Reuse, RxQueue, RxStampField,
    StampField, TicketField, TxQueue,
};
use crate::order::{Counting, Keeping, Order};
use mpfwd_common::error::Result;

/// The mbuf fields that a run uses.
pub(super) struct Fields {
    pub stamp: StampField,
    /// The time of the poll, where the stamp is another time.
    pub polled: Option<StampField>,
    /// The driver's stamp, where drivers stamp.
    pub nic: Option<RxStampField>,
    pub ticket: TicketField,
}

impl Fields {
    pub(super) fn register(cli: &Cli, plan: &Plan) -> Result<Self> {
        let nic = (plan.stamping == Stamping::Nic).then(RxStampField::register).transpose()?;
        let has_polled = nic.is_some() || cli.source.is_some();
        Ok(Self {
            stamp: StampField::register()?,
            ticket: TicketField::register(cli.order == KeepOrder::None)?,
            polled: has_polled.then(StampField::register_polled).transpose()?,
            nic,
        })
    }
}

/// The pools that drivers receive into. A stack reuses the buffer that was freed
/// last, which is warm in the cache.
pub(super) fn pools(eal: &Eal, plan: &Plan) -> Result<Mempools> {
    let wants_first = plan.ports.iter().any(|port| port.info.wants_first_buffers);
    let reuse = if wants_first { Reuse::Default } else { Reuse::LastFirst };
    let size = PoolSize { mbufs: plan.mbufs, cache: plan.mbuf_cache, room: plan.mbuf_room };
    Mempools::create(eal, &plan.placement.pools, size, reuse)
}

/// The places of packets in their flows. Each receive queue's are near to the
/// lcore that owns it.
pub(super) fn order(cli: &Cli, plan: &Plan, rxqs: &[RxQueue]) -> Order<Outgoing> {
    let owner = |queue: usize| {
        let queue = (rxqs[queue].port(), rxqs[queue].queue());
        plan.lcores.iter().find(|lcore| lcore.rx.contains(&queue))
    };
    near::parts(|go_to| {
        let place = |queue| owner(queue).into_iter().for_each(|owner| go_to(&owner.lcore));
        match cli.order {
            KeepOrder::Flow => {
                Order::Keeping(Keeping::placed(rxqs.len(), plan.order_records, place))
            }
            KeepOrder::None => Order::Counting(Counting::placed(rxqs.len(), place)),
        }
    })
}

type Started = (Vec<Port>, Vec<RxQueue>, Vec<Vec<TxQueue>>);

/// Starts the ports. Returns them, their receive queues, and a transmit queue
/// by lcore and port.
pub(super) fn start_ports(
    eal: &Eal,
    cli: &Cli,
    plan: &mut Plan,
    fields: &Fields,
    pools: &Mempools,
) -> Result<Started> {
    let (mut ports, mut rxqs) = (Vec::new(), Vec::new());
    let mut txqs: Vec<Vec<TxQueue>> = plan.lcores.iter().map(|_| Vec::new()).collect();
    for (at, port) in plan.ports.iter().enumerate() {
        let config = PortConfig {
            rx_sockets: port.rx_sockets.clone(),
            tx_sockets: port.tx_sockets.clone(),
            txq_users: port.txq_users.clone(),
            rxd: cli.rxd,
            txd: cli.txd,
            max_pkt_len: cli.max_pkt_len,
            scatter: plan.scatter,
            promiscuous: cli.promiscuous,
            stamp: fields.nic.is_some() && !cli.emulate_stamps,
        };
        let (started, rx, mut handles) =
            Port::start(eal, &port.info, &config, pools, &mut plan.warnings)?;
        ports.push(started);
        rxqs.extend(rx);
        for (lcore, own) in plan.lcores.iter().zip(&mut txqs) {
            let queue = usize::from(lcore.tx_queue[at].1);
            own.extend(handles[queue].pop());
        }
    }
    Ok((ports, rxqs, txqs))
}

/// Attaches `--emulate-stamps` and `--source` to the receive queues.
pub(super) fn attach(
    cli: &Cli,
    plan: &Plan,
    rxqs: &mut [RxQueue],
    ends: (&Mempools, StampField),
    rate: TscRate,
) -> Result<Option<Sources>> {
    if cli.emulate_stamps {
        let field = RxStampField::register()?;
        rxqs.iter_mut().try_for_each(|rxq| rxq.attach(EmulatedStamps::new(field)))?;
    }
    let source = cli.source.as_ref();
    source.map(|spec| Sources::attach(spec, cli, plan, rxqs, ends, rate)).transpose()
}
