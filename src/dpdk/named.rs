//! The devices that EAL's arguments name, by `--vdev` and `-a`. EAL starts
//! without devices that are missing or that their drivers refuse. Here that is
//! an error, because ports would be paired otherwise than intended.

use std::ffi::{CStr, CString};
use std::path::Path;

use dpdk_sys as sys;

use super::eal_args::values;
use mpfwd_common::error::{Error, Result};

const PCI_DEVICES: &str = "/sys/bus/pci/devices";

/// The host bridge, which is never a NIC. Documentation of DPDK programs names
/// it to keep EAL from all PCI devices.
const NO_NIC: &str = "0000:00:00.0";

/// Kernel drivers that let DPDK use a device.
const LETS_DPDK: [&str; 5] = ["vfio-pci", "uio_pci_generic", "igb_uio", "mlx4_core", "mlx5_core"];

/// The devices that must be ports once EAL has started.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Named {
    /// Virtual devices that become a port of their own name, and the argument
    /// that names them.
    virtual_ports: Vec<(&'static str, CString)>,
    /// Addresses in the kernel's notation.
    nics: Vec<String>,
}

impl Named {
    /// # Errors
    /// `-a` names a NIC that another argument excludes.
    pub(super) fn in_args(args: &[String]) -> Result<Self> {
        let mut named = Self { virtual_ports: Vec::new(), nics: Vec::new() };
        let virtual_devices = values(args, &["--vdev"]).map(|device| ("--vdev", device));
        let devices = values(args, &["-a", "--allow"]).map(|device| ("-a", device));
        for (argument, device) in virtual_devices.chain(devices) {
            let device = device.split(',').next().unwrap_or(device);
            let name = device
                .strip_prefix("pci:")
                .or_else(|| device.strip_prefix("vdev:"))
                .unwrap_or(device);
            if let Some(address) = pci_address(name) {
                named.nics.push(address);
            } else if becomes_port(name) {
                named.virtual_ports.push((argument, super::c_string(name)?));
            }
        }
        named.nics.retain(|address| address != NO_NIC);
        match named.nics.first() {
            Some(address) if args.iter().any(|arg| arg == "--no-pci") => {
                Err(Error::Usage(format!(
                    "-a {address} is a PCI device, and --no-pci keeps EAL from all of them: leave out one of the two"
                )))
            }
            _ => Ok(named),
        }
    }

    /// Checks, once EAL has started, that each device is a port.
    ///
    /// # Errors
    /// The first device that is none, and the reason.
    pub(super) fn check(&self) -> Result<()> {
        if let Some((argument, name)) = self.virtual_ports.iter().find(|(_, name)| !is_port(name)) {
            let name = name.to_string_lossy();
            return Err(Error::Setup(format!(
                "{argument} {name} did not become a port: EAL's own lines above say why"
            )));
        }
        match self.nics.iter().find(|address| !is_nic(address)) {
            Some(address) => Err(Error::Setup(format!(
                "-a {address} did not become a port: {}",
                why_no_port(Path::new(PCI_DEVICES), address)
            ))),
            None => Ok(()),
        }
    }
}

/// Whether a virtual device of that name becomes a port of that name.
fn becomes_port(name: &str) -> bool {
    ["net_", "eth_", "virtio_user"].iter().any(|start| name.starts_with(start))
        && !name.starts_with("net_vdev_netvsc")
}

/// `[domain:]bus:device.function` in hexadecimal, as the kernel writes it.
fn pci_address(text: &str) -> Option<String> {
    let number = |digits: &str| u32::from_str_radix(digits, 16).ok();
    let (rest, function) = text.rsplit_once('.')?;
    let (rest, device) = rest.rsplit_once(':')?;
    let (domain, bus) = rest.rsplit_once(':').unwrap_or(("0", rest));
    Some(format!(
        "{:04x}:{:02x}:{:02x}.{:x}",
        number(domain)?,
        number(bus)?,
        number(device)?,
        number(function)?
    ))
}

fn is_port(name: &CStr) -> bool {
    let mut id = 0;
    // SAFETY: EAL has started; the name is only read, and the number written,
    // during the call.
    unsafe { sys::rte_eth_dev_get_port_by_name(name.as_ptr(), &mut id) == 0 }
}

/// Whether the PCI device has a port, whatever the port's name is.
fn is_nic(address: &str) -> bool {
    let Ok(device) = super::c_string(&format!("pci:{address}")) else { return false };
    // SAFETY: EAL has started; the text is only read during the call.
    unsafe { sys::mpfwd_has_port(device.as_ptr()) != 0 }
}

/// `devices`: the kernel's folder of PCI devices.
fn why_no_port(devices: &Path, address: &str) -> String {
    let device = devices.join(address);
    let bind = format!("run `dpdk-devbind.py --bind=vfio-pci {address}` as root");
    if !device.exists() {
        return "there is no such PCI device; `dpdk-devbind.py --status-dev net` lists those that there are".into();
    }
    match std::fs::read_link(device.join("driver")).ok().as_deref().and_then(Path::file_name) {
        None => format!("it has no driver that leaves it to DPDK: {bind}"),
        Some(driver) if LETS_DPDK.iter().any(|name| driver == *name) => {
            "no driver of this program's DPDK took it: EAL's own lines above may say why, and README lists the drivers".into()
        }
        Some(driver) => format!("the kernel's driver {} has it: {bind}", driver.to_string_lossy()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(line: &str) -> Result<Named> {
        Named::in_args(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn devices_are_found_however_they_are_written() {
        for line in [
            "mpfwd -a 0000:0a:00.1 --vdev net_null0,copy=1",
            "mpfwd -a0000:0a:00.1 --vdev=net_null0",
            "mpfwd --allow 0a:00.1 --vdev net_null0",
            "mpfwd --allow=A:0.1,rx_vec_en=0 --vdev net_null0",
            "mpfwd -l 0 -a pci:0000:0A:00.1 --vdev net_null0 --vdev crypto_null0",
        ] {
            let found = named(line).unwrap();
            assert_eq!(found.nics, ["0000:0a:00.1"], "{line}");
            assert_eq!(found.virtual_ports, [("--vdev", c"net_null0".to_owned())], "{line}");
        }
        assert_eq!(
            named("mpfwd -a vdev:net_tap0,iface=a.b:c").unwrap().virtual_ports,
            [("-a", c"net_tap0".to_owned())]
        );
        for line in [
            "mpfwd -l 0 --no-pci",
            "mpfwd --no-pci -a 0:0.0",
            "mpfwd -a auxiliary:mlx5_core.sf.2",
            "mpfwd --vdev net_vdev_netvsc0",
        ] {
            assert_eq!(
                named(line).unwrap(),
                Named { virtual_ports: vec![], nics: vec![] },
                "{line}"
            );
        }
    }

    #[test]
    fn a_nic_without_pci_is_refused() {
        let message = named("mpfwd --no-pci -a 01:00.0").unwrap_err().to_string();
        assert!(message.contains("-a 0000:01:00.0") && message.contains("--no-pci"), "{message}");
    }

    #[test]
    fn the_reason_is_the_drivers() {
        let devices = tempfile::tempdir().unwrap();
        let why = |address: &str| why_no_port(devices.path(), address);
        for (address, driver) in [
            ("0000:01:00.0", Some("ixgbe")),
            ("0000:01:00.1", Some("vfio-pci")),
            ("0000:01:00.2", None),
        ] {
            let folder = devices.path().join(address);
            std::fs::create_dir(&folder).unwrap();
            if let Some(driver) = driver {
                std::os::unix::fs::symlink(
                    format!("../../../bus/pci/drivers/{driver}"),
                    folder.join("driver"),
                )
                .unwrap();
            }
        }
        assert!(
            why("0000:01:00.0").contains("driver ixgbe has it")
                && why("0000:01:00.0").contains("--bind=vfio-pci 0000:01:00.0")
        );
        assert!(why("0000:01:00.1").contains("no driver of this program's DPDK"));
        assert!(why("0000:01:00.2").contains("--bind=vfio-pci 0000:01:00.2"));
        assert!(why("0000:01:00.3").contains("no such PCI device"));
    }
}
