//! Sets up a port before it is started: offloads, RSS, interrupts and the MTU.

use std::mem::MaybeUninit;

use dpdk_sys as sys;

use super::capture::WRITTEN_MAX;
use super::kernel_interface::Interface;
use super::offloads::{Asked, Capable};
use super::port_config::PortConfig;
use super::port_info::{PortInfo, has_flag};
use mpfwd_common::error::Result;
use mpfwd_common::output::{say, warn};

/// Bytes of a frame that its MTU does not count: Ethernet's header and the
/// checksum.
const FRAME_OVERHEAD: u32 = 18;

pub(super) fn configure(
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
pub(super) fn longest_pkt(info: &PortInfo) -> u32 {
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
pub(super) struct MtuBefore {
    what: String,
    interface: Interface,
    mtu: u32,
}

impl MtuBefore {
    pub(super) fn put_back(&self) {
        let Self { what, interface, mtu } = self;
        match interface.set_mtu(*mtu) {
            true => say(format_args!("{what}: the MTU of {} is {mtu} again", interface.name())),
            false => warn(format_args!("{what}: {} keeps its new MTU", interface.name())),
        }
    }
}

/// Sets the MTU for `--max-pkt-len`; an MTU that nobody asked for is left alone.
/// Returns the one before, if the kernel's interface had another.
pub(super) fn set_mtu(
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
