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
        let devices = format!(
            "--vdev=net_pcap0,rx_pcap={},infinite_rx=1 --vdev=net_null0,no-rx=1",
            path.display()
        );
        Ok(Self { devices, _folder: folder })
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
    frame[..12].copy_from_slice(&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2]);
    frame[12..14].copy_from_slice(&0x0800u16.to_be_bytes());
    (frame[14], frame[22], frame[23]) = (0x45, 64, 17);
    frame[16..18].copy_from_slice(&(FRAME as u16 - 14).to_be_bytes());
    frame[26..30].copy_from_slice(&[10, 0, (flow >> 8) as u8, flow as u8]);
    frame[30..34].copy_from_slice(&[10, 1, 0, 1]);
    frame[34..36].copy_from_slice(&(1024 + flow).to_be_bytes());
    frame[36..38].copy_from_slice(&53u16.to_be_bytes());
    frame[38..40].copy_from_slice(&(FRAME as u16 - 34).to_be_bytes());
    frame
}
