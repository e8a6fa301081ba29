//! A port that is configured, started, and closed again when its last queue is
//! gone.

use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Arc, OnceLock};

use dpdk_sys as sys;

use super::events::{self, PortState, PortView, Watch};
use super::kernel_interface::Interface;
use super::port_config::PortConfig;
use super::port_info::{PortInfo, has_flag, raw_info};
use super::port_setup::{MtuBefore, configure, longest_pkt, set_mtu};
use super::{Eal, Mempool, Mempools, RxQueue, TxQueue};
use crate::stats::DeviceStats;
use mpfwd_common::error::Result;

/// Keeps a port open: each of its queues has one.
pub(super) type Started = Arc<Opened>;

pub(super) struct Opened {
    id: u16,
    /// The driver runs.
    running: bool,
    /// It has been closed already.
    closed: AtomicBool,
    mtu_before: Option<MtuBefore>,
    watch: Watch,
    /// Its receive queues allocate from here; freed after the port is closed.
    _pools: Vec<Mempool>,
    _eal: Eal,
}

impl Opened {
    /// Closes the port, unless it is closed.
    ///
    /// # Safety
    /// No thread polls or sends, now or later.
    unsafe fn close(&self) {
        if self.closed.swap(true, Ordering::Relaxed) {
            return;
        }
        self.watch.end();
        if self.running {
            // SAFETY: up to the caller.
            unsafe { sys::rte_eth_dev_stop(self.id) };
        }
        // SAFETY: stopped.
        unsafe { sys::rte_eth_dev_close(self.id) };
        self.mtu_before.iter().for_each(MtuBefore::put_back);
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        // SAFETY: no queue is left.
        unsafe { self.close() };
    }
}

/// A started port.
pub struct Port {
    name: String,
    /// The driver follows the link by interrupts, so that asking for its state
    /// costs a look at memory.
    has_link_interrupts: bool,
    rxd: u16,
    txd: u16,
    state: Arc<PortState>,
    /// The device's counts when it was closed.
    last_stats: OnceLock<DeviceStats>,
    opened: Started,
}

impl Port {
    /// Configures and starts a port; its queues are handed out once: receive
    /// queues by number, transmit handles by queue. What the port can't do of
    /// offloads and RSS is left out, and said in `warnings`.
    ///
    /// # Errors
    /// When the driver refuses; the port is closed again.
    pub fn start(
        eal: &Eal,
        info: &PortInfo,
        config: &PortConfig,
        pools: &Mempools,
        warnings: &mut Vec<String>,
    ) -> Result<(Self, Vec<RxQueue>, Vec<Vec<TxQueue>>)> {
        let id = info.id;
        let what = |verb: &str| format!("port {id} ({}) {verb}", info.name);
        let raw = raw_info(id)?;
        let watch = Watch::new(id)?;
        let state = watch.state().clone();
        let mut opened = Opened {
            id,
            running: false,
            closed: AtomicBool::new(false),
            mtu_before: None,
            watch,
            _pools: config.rx_sockets.iter().map(|&socket| pools.on(socket).clone()).collect(),
            _eal: eal.clone(),
        };
        configure(info, config, &raw, warnings)?;
        opened.mtu_before = set_mtu(info, config, &raw, warnings);
        if info.driver == "net_af_packet" {
            let longest_pkt = longest_pkt(info);
            let hazards = Interface::of(&raw).map(|interface| interface.hazards(longest_pkt));
            warnings.extend(hazards.into_iter().flatten().map(|hazard| what(&hazard)));
        }

        let (mut rxd, mut txd) = (config.rxd, config.txd);
        // SAFETY: both counts are ours to be adjusted.
        let code = unsafe { sys::rte_eth_dev_adjust_nb_rx_tx_desc(id, &mut rxd, &mut txd) };
        super::check(|| what("refuses its descriptor counts"), code)?;
        for (queue, &socket) in (0..).zip(&config.rx_sockets) {
            let pool = pools.on(socket).as_ptr();
            // SAFETY: the port is configured and stopped; a null configuration
            // means the driver's own.
            let code = unsafe {
                sys::rte_eth_rx_queue_setup(id, queue, rxd, socket, std::ptr::null(), pool)
            };
            super::check(|| what(&format!("refuses receive queue {queue}")), code)?;
        }
        for (queue, &socket) in (0..).zip(&config.tx_sockets) {
            // SAFETY: as above.
            let code =
                unsafe { sys::rte_eth_tx_queue_setup(id, queue, txd, socket, std::ptr::null()) };
            super::check(|| what(&format!("refuses transmit queue {queue}")), code)?;
        }
        // SAFETY: configured, with all its queues.
        let code = unsafe { sys::rte_eth_dev_start(id) };
        super::check(|| what("does not start"), code)?;
        opened.running = true;
        state.begin(events::read_link(id));
        if config.promiscuous {
            // SAFETY: started.
            let code = unsafe { sys::rte_eth_promiscuous_enable(id) };
            if code < 0 {
                warnings.push(what(&format!(
                    "takes only its own address's packets: promiscuous mode failed ({})",
                    super::reason(code)
                )));
            }
        }
        let opened = Arc::new(opened);
        let longest_pkt = longest_pkt(info);
        let rxqs = (0..config.rxqs())
            .map(|queue| RxQueue::new((id, queue), longest_pkt, &state, &opened))
            .collect();
        let txqs = config
            .txq_users
            .iter()
            .enumerate()
            .map(|(queue, &users)| TxQueue::handles((id, queue as u16), users, &state, &opened))
            .collect();
        let port = Self {
            name: info.name.clone(),
            has_link_interrupts: has_flag(&raw, sys::MPFWD_PORT_INTR_LSC),
            rxd,
            txd,
            state,
            last_stats: OnceLock::new(),
            opened,
        };
        Ok((port, rxqs, txqs))
    }

    pub fn id(&self) -> u16 {
        self.opened.id
    }

    /// Its PCI address, or the name of the virtual device.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Descriptors per receive and per transmit queue, as the driver adjusted
    /// them.
    pub fn descriptors(&self) -> (u16, u16) {
        (self.rxd, self.txd)
    }

    /// Whether the link is up, as [`TxQueue::link_is_up`].
    pub fn link_is_up(&self) -> bool {
        self.state.link_is_up()
    }

    /// Asks for the state of the link, also where the driver has interrupts:
    /// net_tap follows the link by them, but reports no change. Unless
    /// `may_wait` only where the driver need not ask the device.
    pub fn poll_link(&self, may_wait: bool) {
        if (may_wait || self.has_link_interrupts) && !self.is_lost() {
            self.state.note_link(events::read_link(self.opened.id));
        }
    }

    /// The link, and whether the port is lost.
    pub fn view(&self) -> PortView {
        self.state.view()
    }

    /// How often the link changed since the port was started.
    pub fn link_changes(&self) -> u64 {
        self.state.link_changes()
    }

    /// Whether its driver reported that the device is of no more use.
    pub fn is_lost(&self) -> bool {
        self.state.is_lost()
    }

    /// Closes a lost port, if no lcore uses it any more: all transmit handles
    /// have left, and no lease of one of its receive queues is held, which are
    /// never given again. `rxqs`: the receive queues of all ports. Returns
    /// whether the port is closed now.
    pub fn close_if_left(&self, rxqs: &[RxQueue]) -> bool {
        let own = || rxqs.iter().filter(|rxq| rxq.is_of(&self.opened));
        // Each of them, so that those whose turn comes late are not polled
        // meanwhile.
        let retired = own().filter(|rxq| rxq.retire()).count();
        let all_retired = retired == own().count();
        // What is left are this handle and the receive queues.
        let all_left = Arc::strong_count(&self.opened) == 1 + retired;
        if !all_retired || !all_left {
            return false;
        }
        // Pairs with the release by which the transmit handles went.
        fence(Ordering::Acquire);
        self.last_stats.get_or_init(|| self.read_stats());
        // SAFETY: the receive queues are retired, and there is no transmit
        // handle, and none can be made.
        unsafe { self.opened.close() };
        true
    }

    /// What the device counted from its start until now, or until it was
    /// closed; zeros where it does not count.
    pub fn stats(&self) -> DeviceStats {
        self.last_stats.get().copied().unwrap_or_else(|| self.read_stats())
    }

    fn read_stats(&self) -> DeviceStats {
        let mut raw = MaybeUninit::<sys::mpfwd_port_stats>::zeroed();
        // SAFETY: the port is open as long as `self.opened`; the shim fills the
        // structure or leaves the zeros.
        unsafe { sys::mpfwd_port_stats(self.opened.id, raw.as_mut_ptr()) };
        // SAFETY: plain data, initialised.
        let raw = unsafe { raw.assume_init() };
        DeviceStats {
            ipackets: raw.ipackets,
            opackets: raw.opackets,
            imissed: raw.imissed,
            ierrors: raw.ierrors,
            oerrors: raw.oerrors,
            rx_nombuf: raw.rx_nombuf,
        }
    }
}
