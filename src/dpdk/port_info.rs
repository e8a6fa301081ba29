//! Ports that EAL found, and what they can do.

use std::ffi::CStr;
use std::mem::MaybeUninit;

use dpdk_sys as sys;
use macaddr::MacAddr6;

use super::Eal;
use super::offloads::Capable;
use super::rx_stamp::{StampClock, stamp_clocks};
use crate::stats::Unit;
use mpfwd_common::error::Result;

/// How many ports DPDK was built for.
pub const MAX_PORTS: usize = sys::MPFWD_MAX_PORTS as usize;

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

pub(super) fn raw_info(id: u16) -> Result<sys::rte_eth_dev_info> {
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

pub(super) fn has_flag(info: &sys::rte_eth_dev_info, flag: u32) -> bool {
    // SAFETY: a driver's flags live as long as the port, or there are none.
    unsafe { info.dev_flags.as_ref() }.is_some_and(|flags| flags & flag != 0)
}
