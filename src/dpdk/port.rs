//! Ports: what there is, and one that is configured, started, and closed again
//! when its last queue is gone.

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::sync::Arc;

use dpdk_sys as sys;
use macaddr::MacAddr6;

use super::events::{self, PortState, Watch};
use super::offloads::{Asked, Capable};
use super::rx_stamp::{StampClock, stamp_clocks};
use super::{Eal, Mempool, RxQueue, TxQueue};
use crate::stats::{DeviceStats, Unit};
use mpfwd_common::error::Result;

/// How many ports DPDK was built for.
pub const MAX_PORTS: usize = sys::MPFWD_MAX_PORTS as usize;

/// Bytes of a frame that its MTU does not count: Ethernet's header and the
/// checksum.
const FRAME_OVERHEAD: u32 = 18;

/// What a port is and can do.
#[derive(Clone, Debug)]
pub struct PortInfo {
    pub id: u16,
    pub name: String,
    pub driver: String,
    pub mac: MacAddr6,
    pub max_rxq: u16,
    pub max_txq: u16,
    /// The driver refuses numbers of receive and transmit queues that differ.
    pub paired_queues: bool,
    /// Every packet it receives has the same bytes.
    pub uniform_traffic: bool,
    /// The driver gives up buffers without freeing them when it is closed:
    /// net_af_xdp those that wait in the kernel's fill ring.
    pub keeps_buffers: bool,
    /// The driver can't use the last buffers of a pool: net_af_xdp shows the
    /// kernel less memory than the pool has.
    pub wants_first_buffers: bool,
    /// A packet larger than one buffer is received into several, and can be
    /// sent from several.
    pub segments: bool,
    /// The longest frame it takes, in bytes with the checksum.
    pub max_pkt_len: u32,
    /// The clocks that its receive stamps may be of, the likeliest first; empty
    /// if it has none.
    pub stamp_clocks: Vec<(Unit, StampClock)>,
}

/// All ports that EAL found, by number.
///
/// # Errors
/// When a port does not describe itself.
pub fn find_ports(_eal: &Eal) -> Result<Vec<PortInfo>> {
    let mut ports = Vec::new();
    let mut id = u16::MAX;
    loop {
        // SAFETY: any number is a valid place to go on from.
        id = unsafe { sys::mpfwd_next_port(id) };
        if id == u16::MAX {
            return Ok(ports);
        }
        ports.push(describe(id)?);
    }
}

fn raw_info(id: u16) -> Result<sys::rte_eth_dev_info> {
    let mut info = MaybeUninit::zeroed();
    // SAFETY: DPDK fills the whole structure, or says that it didn't.
    let code = unsafe { sys::rte_eth_dev_info_get(id, info.as_mut_ptr()) };
    super::check(|| format!("port {id} does not describe itself"), code)?;
    // SAFETY: zeroed, then filled in; all of it is plain data.
    Ok(unsafe { info.assume_init() })
}

fn describe(id: u16) -> Result<PortInfo> {
    let info = raw_info(id)?;
    let mut name = [0; 64];
    // SAFETY: DPDK's names are at most RTE_ETH_NAME_MAX_LEN, 64, bytes with
    // their end.
    let code = unsafe { sys::rte_eth_dev_get_name_by_port(id, name.as_mut_ptr()) };
    super::check(|| format!("port {id} has no name"), code)?;
    let mut mac = sys::rte_ether_addr { addr_bytes: [0; 6] };
    // SAFETY: the port exists; the address is written as a whole.
    let code = unsafe { sys::rte_eth_macaddr_get(id, &mut mac) };
    super::check(|| format!("port {id} has no MAC address"), code)?;
    // SAFETY: driver names are static strings.
    let driver = unsafe { CStr::from_ptr(info.driver_name) }.to_string_lossy().into_owned();
    // SAFETY: DPDK ended the name it wrote.
    let name = unsafe { CStr::from_ptr(name.as_ptr()) }.to_string_lossy().into_owned();
    Ok(PortInfo {
        id,
        name,
        mac: MacAddr6::from(mac.addr_bytes),
        max_rxq: info.max_rx_queues,
        max_txq: info.max_tx_queues,
        paired_queues: driver == "net_tap",
        uniform_traffic: driver == "net_null",
        keeps_buffers: driver == "net_af_xdp",
        wants_first_buffers: driver == "net_af_xdp",
        segments: Capable::of(&info).segments(),
        max_pkt_len: info.max_rx_pktlen,
        stamp_clocks: stamp_clocks(
            &driver,
            info.rx_offload_capa & sys::MPFWD_RX_OFFLOAD_TIMESTAMP != 0,
        ),
        driver,
    })
}

/// How to set a port up.
#[derive(Clone, Debug)]
pub struct PortConfig {
    pub rxq: u16,
    /// How many lcores send by each transmit queue.
    pub txq_users: Vec<usize>,
    pub rxd: u16,
    pub txd: u16,
    /// The longest frame to take, in bytes with the checksum.
    pub max_pkt_len: u32,
    /// Receive into several buffers what one can't hold, and send such packets;
    /// costs speed on many NICs.
    pub scatter: bool,
    pub promiscuous: bool,
    /// Have it stamp what it receives, where it has to be asked.
    pub stamp: bool,
}

/// Keeps a port open: each of its queues has one.
pub(super) type Started = Arc<Opened>;

pub(super) struct Opened {
    id: u16,
    running: bool,
    /// Ends before the port is closed.
    watch: Option<Watch>,
    /// Its receive queues allocate from here; freed after the port is closed.
    _pool: Mempool,
    _eal: Eal,
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.watch = None;
        if self.running {
            // SAFETY: no queue is left, so that nobody polls or sends.
            unsafe { sys::rte_eth_dev_stop(self.id) };
        }
        // SAFETY: stopped.
        unsafe { sys::rte_eth_dev_close(self.id) };
    }
}

/// A started port.
pub struct Port {
    rxd: u16,
    txd: u16,
    state: Arc<PortState>,
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
        pool: &Mempool,
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
            watch: Some(watch),
            _pool: pool.clone(),
            _eal: eal.clone(),
        };
        configure(info, config, &raw, warnings)?;
        set_mtu(info, config, warnings);

        let (mut rxd, mut txd) = (config.rxd, config.txd);
        // SAFETY: both counts are ours to be adjusted.
        let code = unsafe { sys::rte_eth_dev_adjust_nb_rx_tx_desc(id, &mut rxd, &mut txd) };
        super::check(|| what("refuses its descriptor counts"), code)?;
        // SAFETY: reads which memory node the port is at.
        let socket = unsafe { sys::rte_eth_dev_socket_id(id) }.max(0) as u32;
        for queue in 0..config.rxq {
            // SAFETY: the port is configured and stopped; a null configuration
            // means the driver's own.
            let code = unsafe {
                sys::rte_eth_rx_queue_setup(id, queue, rxd, socket, std::ptr::null(), pool.as_ptr())
            };
            super::check(|| what(&format!("refuses receive queue {queue}")), code)?;
        }
        for queue in 0..config.txq_users.len() as u16 {
            // SAFETY: as above.
            let code =
                unsafe { sys::rte_eth_tx_queue_setup(id, queue, txd, socket, std::ptr::null()) };
            super::check(|| what(&format!("refuses transmit queue {queue}")), code)?;
        }
        // SAFETY: configured, with all its queues.
        let code = unsafe { sys::rte_eth_dev_start(id) };
        super::check(|| what("does not start"), code)?;
        opened.running = true;
        state.note_link(events::read_link(id));
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
        let rxqs = (0..config.rxq).map(|queue| RxQueue::new(id, queue, opened.clone())).collect();
        let txqs = config
            .txq_users
            .iter()
            .enumerate()
            .map(|(queue, &users)| TxQueue::handles((id, queue as u16), users, &state, &opened))
            .collect();
        Ok((Self { rxd, txd, state, opened }, rxqs, txqs))
    }

    pub fn id(&self) -> u16 {
        self.opened.id
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

    /// Asks the driver for the state of the link: not every driver reports
    /// changes.
    pub fn poll_link(&self) {
        self.state.note_link(events::read_link(self.opened.id));
    }

    /// What the device counted since it started; zeros where it does not count.
    pub fn stats(&self) -> DeviceStats {
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

fn configure(
    info: &PortInfo,
    config: &PortConfig,
    raw: &sys::rte_eth_dev_info,
    warnings: &mut Vec<String>,
) -> Result<()> {
    // SAFETY: rte_eth_conf is plain data, and all zeros is its documented
    // default.
    let mut conf: sys::rte_eth_conf = unsafe { MaybeUninit::zeroed().assume_init() };
    let Asked { rx_offloads, tx_offloads, rss_functions, missing } =
        Asked::of(config, Capable::of(raw));
    warnings.extend(missing.iter().map(|what| format!("port {} ({}) {what}", info.id, info.name)));
    conf.rxmode.offloads = rx_offloads;
    conf.txmode.offloads = tx_offloads;
    conf.rxmode.mq_mode = sys::MPFWD_MQ_RX_NONE as sys::rte_eth_rx_mq_mode;
    if rss_functions != 0 {
        conf.rxmode.mq_mode = sys::MPFWD_MQ_RX_RSS as sys::rte_eth_rx_mq_mode;
        conf.rx_adv_conf.rss_conf.rss_hf = rss_functions;
        if (1..=size_of_val(&SYMMETRIC_RSS_KEY)).contains(&usize::from(raw.hash_key_size)) {
            // Static, because drivers keep the pointer, and read the key when
            // the port starts.
            conf.rx_adv_conf.rss_conf.rss_key = (&raw const SYMMETRIC_RSS_KEY).cast_mut().cast();
            conf.rx_adv_conf.rss_conf.rss_key_len = raw.hash_key_size;
        }
    }
    let mtu = mtu_for(config.max_pkt_len).clamp(u32::from(raw.min_mtu), u32::from(raw.max_mtu));
    conf.rxmode.mtu = mtu;
    // SAFETY: a driver's flags live as long as the port.
    let flags = unsafe { raw.dev_flags.as_ref() }.copied().unwrap_or_default();
    conf.intr_conf.set_lsc(u32::from(flags & sys::MPFWD_PORT_INTR_LSC != 0));
    // SAFETY: the port exists and is stopped; the configuration is copied.
    let code = unsafe {
        sys::rte_eth_dev_configure(info.id, config.rxq, config.txq_users.len() as u16, &conf)
    };
    super::check(
        || {
            format!(
                "port {} ({}) refuses {} receive and {} transmit queues",
                info.id,
                info.name,
                config.rxq,
                config.txq_users.len()
            )
        },
        code,
    )?;
    Ok(())
}

/// Both directions of a flow get the same Toeplitz hash by a key that repeats
/// every 16 bits (Woo and Park, Scalable TCP Session Monitoring with Symmetric
/// Receive-side Scaling, KAIST 2012; the key is theirs). As long as any
/// driver's.
static SYMMETRIC_RSS_KEY: [[u8; 2]; 64] = [[0x6d, 0x5a]; 64];

fn mtu_for(max_pkt_len: u32) -> u32 {
    max_pkt_len - FRAME_OVERHEAD
}

fn set_mtu(info: &PortInfo, config: &PortConfig, warnings: &mut Vec<String>) {
    // SAFETY: the port is configured and stopped.
    let code = unsafe { sys::rte_eth_dev_set_mtu(info.id, mtu_for(config.max_pkt_len) as u16) };
    let plain = config.max_pkt_len == super::ETHER_MAX_LEN;
    if code < 0 && !plain {
        warnings.push(format!(
            "port {} ({}) keeps its own frame size: an MTU of {} failed ({})",
            info.id,
            info.name,
            mtu_for(config.max_pkt_len),
            super::reason(code)
        ));
    }
}
