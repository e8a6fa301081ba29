//! The kernel's network interface below a port: net_af_packet, net_af_xdp and
//! mlx5 share theirs with the kernel. Its settings outlive the run, and decide
//! which frames the driver can pass on.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use dpdk_sys as sys;
use nix::libc;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

/// `ETHTOOL_GDRVINFO`, `ETHTOOL_GTXCSUM` and `ETHTOOL_GGRO` of linux/ethtool.h.
const GET_DRIVER: u32 = 0x3;
const GET_TX_CHECKSUM: u32 = 0x16;
const GET_GRO: u32 = 0x2b;

const ETHERNET_HEADER: u32 = 14;

/// `struct ethtool_value`.
#[repr(C)]
struct Value {
    command: u32,
    data: u32,
}

/// `struct ethtool_drvinfo`.
#[repr(C)]
struct DriverInfo {
    command: u32,
    driver: [u8; 32],
    rest: [u8; 160],
}

/// A kernel interface.
pub(super) struct Interface {
    name: String,
    /// The name as requests carry it, with a zero at its end.
    raw_name: [libc::c_char; libc::IFNAMSIZ],
    socket: OwnedFd,
}

impl Interface {
    /// The interface below a port; `None` if it has none.
    pub(super) fn of(info: &sys::rte_eth_dev_info) -> Option<Self> {
        (info.if_index != 0).then(|| Self::by_index(info.if_index))?
    }

    fn by_index(index: u32) -> Option<Self> {
        let kind = (AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC);
        let socket = socket(kind.0, kind.1, kind.2, None).ok()?;
        let mut raw_name = [0; libc::IFNAMSIZ];
        // SAFETY: room for IF_NAMESIZE bytes.
        let found = unsafe { libc::if_indextoname(index, raw_name.as_mut_ptr()) };
        if found.is_null() {
            return None;
        }
        // SAFETY: the kernel ended the name that it wrote.
        let name = unsafe { CStr::from_ptr(found) }.to_string_lossy().into_owned();
        Some(Self { name, raw_name, socket })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    fn request(&self) -> libc::ifreq {
        // SAFETY: plain data.
        let empty: libc::ifreq = unsafe { std::mem::zeroed() };
        libc::ifreq { ifr_name: self.raw_name, ..empty }
    }

    fn ask(&self, request: &mut libc::ifreq, what: libc::c_ulong) -> bool {
        // SAFETY: the kernel reads and writes the request, and for ethtool what
        // it points to, which lives in the caller's frame.
        unsafe { libc::ioctl(self.socket.as_raw_fd(), what, std::ptr::from_mut(request)) == 0 }
    }

    /// Bytes of the longest packet, without the Ethernet header.
    pub(super) fn mtu(&self) -> Option<u32> {
        let mut request = self.request();
        if !self.ask(&mut request, libc::SIOCGIFMTU) {
            return None;
        }
        // SAFETY: the kernel wrote this member.
        Some(unsafe { request.ifr_ifru.ifru_mtu } as u32)
    }

    /// Sets that.
    pub(super) fn set_mtu(&self, mtu: u32) -> bool {
        let mut request = self.request();
        request.ifr_ifru.ifru_mtu = mtu as libc::c_int;
        self.ask(&mut request, libc::SIOCSIFMTU)
    }

    fn ethtool<T>(&self, value: &mut T) -> bool {
        /// `SIOCETHTOOL` of linux/sockios.h.
        const ETHTOOL: libc::c_ulong = 0x8946;
        let mut request = self.request();
        request.ifr_ifru.ifru_data = std::ptr::from_mut(value).cast();
        self.ask(&mut request, ETHTOOL)
    }

    fn is_on(&self, command: u32) -> bool {
        let mut value = Value { command, data: 0 };
        self.ethtool(&mut value) && value.data != 0
    }

    fn is_veth(&self) -> bool {
        let mut info = DriverInfo { command: GET_DRIVER, driver: [0; 32], rest: [0; 160] };
        self.ethtool(&mut info) && info.driver.starts_with(b"veth\0")
    }

    /// The other end of a veth pair, if it is in this network namespace.
    fn peer(&self) -> Option<Self> {
        let link = Path::new("/sys/class/net").join(&self.name).join("iflink");
        let index = std::fs::read_to_string(link).ok()?.trim().parse().ok()?;
        let peer = Self::by_index(index)?;
        // In another namespace the number may be anybody's.
        let back = Path::new("/sys/class/net").join(&peer.name).join("iflink");
        let back: u32 = std::fs::read_to_string(back).ok()?.trim().parse().ok()?;
        (back == self.index()? && peer.is_veth()).then_some(peer)
    }

    fn index(&self) -> Option<u32> {
        // SAFETY: the name ends with a zero.
        let index = unsafe { libc::if_nametoindex(self.raw_name.as_ptr()) };
        (index != 0).then_some(index)
    }

    /// Settings of the interface that harm a driver of the kernel's stack: each
    /// with the command that mends it. `longest_pkt`: what the driver passes on
    /// whole.
    pub(super) fn hazards(&self, longest_pkt: u32) -> Vec<String> {
        let Self { name, .. } = self;
        let mut found = Vec::new();
        if self.mtu().is_some_and(|mtu| mtu + ETHERNET_HEADER > longest_pkt) {
            found.push(format!(
                "frames of {name} above {longest_pkt} bytes are dropped as too_long: `ip link set {name} mtu 1500`, and its peer"
            ));
        }
        if self.is_veth() {
            match self.peer() {
                Some(peer) if !peer.is_on(GET_TX_CHECKSUM) => {}
                Some(peer) => found.push(format!(
                    "the kernel leaves checksums of packets from {} to the device, which has none: `ethtool -K {} tx off`",
                    peer.name, peer.name
                )),
                None => found.push(format!(
                    "{name}'s peer may leave TCP and UDP checksums unfinished (checksum offload): `ethtool -K PEER tx off` there",
                )),
            }
        } else if self.is_on(GET_GRO) {
            found.push(format!(
                "the kernel merges packets that {name} receives (GRO), and the driver cuts long ones off: `ethtool -K {name} gro off`"
            ));
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::Interface;

    #[test]
    fn the_loopback_interface_is_described() {
        let loopback = Interface::by_index(1).expect("every namespace has it");
        assert_eq!(loopback.name(), "lo");
        assert_eq!(loopback.mtu(), Some(65_536));
        assert!(!loopback.is_veth() && loopback.peer().is_none());
        assert!(Interface::by_index(u32::MAX >> 1).is_none());
    }
}
