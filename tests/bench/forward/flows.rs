//! A capture of many flows, which a net_pcap port replays endlessly as fast as
//! it is polled. A net_null port has a single flow.

use std::fs::File;
use std::time::Duration;

use pcap_file::PcapError;
use pcap_file::pcap::{PcapPacket, PcapWriter};

use crate::process::{Failure, failure};

const FLOWS: u16 = 1024;
/// Bytes of a frame without its checksum.
const FRAME: usize = 60;

/// The capture's file, removed on drop.
pub struct Flows {
    devices: String,
    with_dead_port: String,
    with_healthy_port: String,
    routed: String,
    _folder: tempfile::TempDir,
}

impl Flows {
    pub fn write() -> Result<Self, Failure> {
        let folder = tempfile::tempdir()
            .or_else(|error| failure(format!("no folder for a capture: {error}")))?;
        let path = folder.path().join("flows.pcap");
        let write = || -> Result<(), PcapError> {
            let mut capture = PcapWriter::new(File::create(&path).map_err(PcapError::IoError)?)?;
            for flow in 0..FLOWS {
                capture.write_packet(&PcapPacket::new(
                    Duration::ZERO,
                    FRAME as u32,
                    &frame(flow),
                ))?;
            }
            Ok(())
        };
        write().or_else(|error| failure(format!("cannot write a capture: {error}")))?;
        let routes = folder.path().join("routes");
        std::fs::write(&routes, "10.1.0.0/16 1\n10.2.0.0/16 2\n")
            .or_else(|error| failure(format!("cannot write routes: {error}")))?;
        let replays = format!("--vdev=net_pcap0,rx_pcap={},infinite_rx=1", path.display());
        let memif = folder.path().join("memif.sock");
        Ok(Self {
            devices: format!("{replays} --vdev=net_null0,no-rx=1"),
            with_dead_port: format!(
                "{replays} --vdev=net_memif0,role=server,socket={},socket-abstract=no \
                 --vdev=net_null0,no-rx=1",
                memif.display()
            ),
            with_healthy_port: format!(
                "{replays} --vdev=net_null0,no-rx=1 --vdev=net_null1,no-rx=1"
            ),
            routed: format!("--routes {}", routes.display()),
            _folder: folder,
        })
    }

    /// As `devices`, with two ports that packets leave by. The first one's link
    /// is down, or it accepts all packets; the second one accepts all.
    pub fn two_ways(&self, is_dead: bool) -> &str {
        if is_dead { &self.with_dead_port } else { &self.with_healthy_port }
    }

    /// mpfwd's arguments that send half of the flows by each of the two ports.
    pub fn routed(&self) -> &str {
        &self.routed
    }

    /// EAL's arguments: one port that replays the flows, and one that accepts
    /// all packets.
    pub fn devices(&self) -> &str {
        &self.devices
    }
}

/// UDP over IPv4.
fn frame(flow: u16) -> [u8; FRAME] {
    let mut frame = [0; FRAME];
    // The address that net_pcap gives its first port.
    frame[..6].copy_from_slice(&[2, b'p', b'c', b'a', b'p', 0]);
    frame[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 2]);
    frame[12..14].copy_from_slice(&0x0800u16.to_be_bytes());
    (frame[14], frame[22], frame[23]) = (0x45, 64, 17);
    frame[16..18].copy_from_slice(&(FRAME as u16 - 14).to_be_bytes());
    frame[26..30].copy_from_slice(&[10, 0, (flow >> 8) as u8, flow as u8]);
    frame[30..34].copy_from_slice(&[10, 1 + (flow % 2) as u8, 0, 1]);
    frame[34..36].copy_from_slice(&(1024 + flow).to_be_bytes());
    frame[36..38].copy_from_slice(&53u16.to_be_bytes());
    frame[38..40].copy_from_slice(&(FRAME as u16 - 34).to_be_bytes());
    let words = frame[14..34].chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]));
    let sum = words.sum::<u32>();
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
    frame
}
