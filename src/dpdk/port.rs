//! Ports: what there is, and one that is configured, started, and closed again
//! when its last queue is gone.

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Arc, OnceLock};

use dpdk_sys as sys;
use macaddr::MacAddr6;

use super::capture::WRITTEN_MAX;
use super::events::{self, PortState, PortView, Watch};
use super::kernel_interface::Interface;
use super::offloads::{Asked, Capable};
use super::rx_stamp::{StampClock, stamp_clocks};
use super::{Eal, Mempool, Mempools, RxQueue, TxQueue};
use crate::stats::{DeviceStats, Unit};
use mpfwd_common::error::Result;
use mpfwd_common::output::{say, warn};

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
    /// The NUMA socket that it is on; `None` for a virtual device.
    pub socket: Option<u32>,
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
        // SAFETY: DPDK checks the number.
        socket: u32::try_from(unsafe { sys::mpfwd_port_socket(id) }).ok(),
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
    /// The socket of each receive queue and each transmit queue.
    pub rx_sockets: Vec<u32>,
    pub tx_sockets: Vec<u32>,
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

impl PortConfig {
    pub(super) fn rxqs(&self) -> u16 {
        self.rx_sockets.len() as u16
    }

    fn txqs(&self) -> u16 {
        self.tx_sockets.len() as u16
    }
}

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

fn has_flag(info: &sys::rte_eth_dev_info, flag: u32) -> bool {
    // SAFETY: a driver's flags live as long as the port, or there are none.
    unsafe { info.dev_flags.as_ref() }.is_some_and(|flags| flags & flag != 0)
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
    conf.intr_conf.set_lsc(u32::from(has_flag(raw, sys::MPFWD_PORT_INTR_LSC)));
    conf.intr_conf.set_rmv(u32::from(has_flag(raw, sys::MPFWD_PORT_INTR_RMV)));
    // SAFETY: the port exists and is stopped; the configuration is copied.
    let code = unsafe { sys::rte_eth_dev_configure(info.id, config.rxqs(), config.txqs(), &conf) };
    super::check(
        || {
            format!(
                "port {} ({}) refuses {} receive and {} transmit queues",
                info.id,
                info.name,
                config.rxqs(),
                config.txqs()
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

/// The longest packet that the port can pass on whole, where its driver does
/// not know; `u32::MAX` elsewhere.
fn longest_pkt(info: &PortInfo) -> u32 {
    match info.driver.as_str() {
        // It receives longer frames than it can send.
        "net_pcap" => WRITTEN_MAX,
        // SAFETY: reads the device's arguments.
        "net_af_packet" => whole_in_slot(unsafe { sys::mpfwd_af_packet_frame(info.id) }),
        _ => u32::MAX,
    }
}

/// The longest frame that is known to be whole in a slot of the kernel's packet
/// ring: one that fills the slot may have been cut off.
fn whole_in_slot(slot_bytes: u32) -> u32 {
    /// What `tpacket_rcv` puts in front of the frame: `struct tpacket2_hdr` and
    /// `struct sockaddr_ll`, aligned, and room for the Ethernet header's
    /// alignment.
    const IN_FRONT: u32 = 66;
    slot_bytes.saturating_sub(IN_FRONT + 1)
}

/// An MTU that is put back when the port is closed: the interface is the
/// kernel's, and others use it.
struct MtuBefore {
    what: String,
    interface: Interface,
    mtu: u32,
}

impl MtuBefore {
    fn put_back(&self) {
        let Self { what, interface, mtu } = self;
        match interface.set_mtu(*mtu) {
            true => say(format_args!("{what}: the MTU of {} is {mtu} again", interface.name())),
            false => warn(format_args!("{what}: {} keeps its new MTU", interface.name())),
        }
    }
}

/// Sets the MTU for `--max-pkt-len`; an MTU that nobody asked for is left alone.
/// Returns the one before, if the kernel's interface had another.
fn set_mtu(
    info: &PortInfo,
    config: &PortConfig,
    raw: &sys::rte_eth_dev_info,
    warnings: &mut Vec<String>,
) -> Option<MtuBefore> {
    if config.max_pkt_len == super::ETHER_MAX_LEN {
        return None;
    }
    let (what, mtu) = (format!("port {} ({})", info.id, info.name), mtu_for(config.max_pkt_len));
    let interface = Interface::of(raw);
    let before = interface.as_ref().and_then(Interface::mtu);
    // SAFETY: the port is configured and stopped.
    let code = unsafe { sys::rte_eth_dev_set_mtu(info.id, mtu as u16) };
    if code < 0 {
        let why = super::reason(code);
        warnings.push(format!("{what} keeps its own frame size: an MTU of {mtu} failed ({why})"));
    }
    let (interface, before) = (interface?, before?);
    if interface.mtu() == Some(before) {
        return None;
    }
    warnings.push(format!(
        "{what}: the MTU of {} is {mtu} for --max-pkt-len, {before} again at the end",
        interface.name()
    ));
    Some(MtuBefore { what, interface, mtu: before })
}
