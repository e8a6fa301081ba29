//! Capture files that net_pcap reads and writes.
#![allow(dead_code)] // each test file is a program of its own, and uses only some of this

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use pcap_file::pcap::{PcapHeader, PcapPacket, PcapReader, PcapWriter};

pub fn write_capture(path: &Path, frames: &[Vec<u8>]) {
    let header = PcapHeader { snaplen: 65535, ..PcapHeader::default() };
    let mut writer = PcapWriter::with_header(File::create(path).expect("a new file"), header)
        .expect("a capture's header");
    for (at, bytes) in frames.iter().enumerate() {
        let packet = PcapPacket::new(Duration::from_micros(at as u64), bytes.len() as u32, bytes);
        writer.write_packet(&packet).expect("a packet");
    }
}

pub fn read_capture(path: &Path) -> Vec<Vec<u8>> {
    let mut reader =
        PcapReader::new(File::open(path).expect("a capture's file")).expect("a capture");
    let mut frames = Vec::new();
    while let Some(packet) = reader.next_packet() {
        frames.push(packet.expect("a whole packet").data.into_owned());
    }
    frames
}
