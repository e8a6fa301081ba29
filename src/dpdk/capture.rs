//! Checks before EAL starts that net_pcap can replay the captures that it is
//! given: it takes every frame for Ethernet, and crashes where one is longer
//! than 16 bits can say.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use mpfwd_common::error::{Error, Result};

/// The longest frame that net_pcap reads. A captured length of more crashes it.
const FRAME_MAX: u32 = 65_535;

/// The longest frame that net_pcap writes whole.
pub(super) const WRITTEN_MAX: u32 = 16_128;

const ETHERNET: u16 = 1;

/// The virtual devices among EAL's arguments, each with its own arguments.
pub(crate) fn virtual_devices(args: &[String]) -> impl Iterator<Item = &str> {
    let behind = args.iter().zip(args.iter().skip(1));
    let behind = behind.filter(|(arg, _)| *arg == "--vdev").map(|(_, device)| device.as_str());
    behind.chain(args.iter().filter_map(|arg| arg.strip_prefix("--vdev=")))
}

/// The files that net_pcap's ports replay.
fn replayed(args: &[String]) -> impl Iterator<Item = &Path> {
    virtual_devices(args)
        .flat_map(|device| device.split(',').skip(1))
        .filter_map(|arg| arg.strip_prefix("rx_pcap="))
        .map(Path::new)
}

/// Checks every capture among EAL's arguments. A file that cannot be read is
/// left to EAL.
///
/// # Errors
/// With why net_pcap can't replay one of them.
pub(super) fn check(args: &[String]) -> Result<()> {
    for path in replayed(args) {
        let Ok(file) = File::open(path) else { continue };
        if let Some(Refused(why)) = Reader::new(BufReader::new(file)).check() {
            return Err(Error::Usage(format!("{}: {why}", path.display())));
        }
    }
    Ok(())
}

/// Why a capture is refused.
struct Refused(String);

impl Refused {
    fn link_type(link_type: u16) -> Self {
        let name = match link_type {
            0 => " (NULL, BSD's loopback)",
            9 => " (PPP)",
            12 | 14 | 101 => " (RAW, IP without a link)",
            50 => " (PPP_HDLC)",
            51 => " (PPP_ETHER)",
            104 => " (C_HDLC)",
            105 => " (IEEE 802.11)",
            108 => " (LOOP, OpenBSD's loopback)",
            113 => " (LINUX_SLL, tcpdump -i any)",
            127 => " (IEEE 802.11 with radiotap)",
            228 => " (IPV4)",
            229 => " (IPV6)",
            276 => " (LINUX_SLL2, tcpdump -i any)",
            _ => "",
        };
        Self(format!(
            "its link type is {link_type}{name}, not Ethernet: record it from an Ethernet interface"
        ))
    }

    fn frame(number: u64, bytes: u32) -> Option<Self> {
        (bytes > FRAME_MAX).then(|| {
            Self(format!(
                "frame {number} has {bytes} bytes, and net_pcap reads {FRAME_MAX} at most: leave it \
                 out, for example with editcap"
            ))
        })
    }
}

/// Reads a capture's headers, and skips its frames.
struct Reader<R> {
    file: R,
    is_little: bool,
    frames: u64,
}

impl<R: Read> Reader<R> {
    fn new(file: R) -> Self {
        Self { file, is_little: true, frames: 0 }
    }

    /// Ends where the file does, whole or not: net_pcap does so, too.
    fn check(mut self) -> Option<Refused> {
        match self.bytes::<4>()? {
            [0xd4, 0xc3, 0xb2, 0xa1] | [0x4d, 0x3c, 0xb2, 0xa1] => self.pcap(true, 0),
            [0xa1, 0xb2, 0xc3, 0xd4] | [0xa1, 0xb2, 0x3c, 0x4d] => self.pcap(false, 0),
            // Kuznetsov's: eight bytes more per frame.
            [0x34, 0xcd, 0xb2, 0xa1] => self.pcap(true, 8),
            [0xa1, 0xb2, 0xcd, 0x34] => self.pcap(false, 8),
            [0x0a, 0x0d, 0x0d, 0x0a] => self.pcapng(),
            _ => Some(Refused("it is neither a pcap nor a pcapng file".into())),
        }
    }

    fn pcap(&mut self, is_little: bool, more: u64) -> Option<Refused> {
        self.is_little = is_little;
        self.skip(16)?;
        // The upper bits say whether frames end with their checksum.
        let link_type = self.u32()? as u16;
        if link_type != ETHERNET {
            return Some(Refused::link_type(link_type));
        }
        loop {
            self.skip(8)?;
            let bytes = self.u32()?;
            self.skip(4 + more)?;
            self.frames += 1;
            if let Some(refused) = Refused::frame(self.frames, bytes) {
                return Some(refused);
            }
            self.skip(bytes.into())?;
        }
    }

    fn pcapng(&mut self) -> Option<Refused> {
        const SECTION: u32 = 0x0a0d_0d0a;
        const INTERFACE: u32 = 1;
        const OBSOLETE_PACKET: u32 = 2;
        const SIMPLE_PACKET: u32 = 3;
        const ENHANCED_PACKET: u32 = 6;
        /// Type, length, and length again.
        const FRAMING: u32 = 12;
        let (mut kind, mut first_snap) = (SECTION, None);
        loop {
            let length = self.bytes::<4>()?;
            let mut used = 0;
            if kind == SECTION {
                self.is_little = self.bytes::<4>()? == [0x4d, 0x3c, 0x2b, 0x1a];
                used = 4;
            }
            let length = self.number(length);
            match kind {
                INTERFACE => {
                    let link_type = self.bytes::<2>()?;
                    let link_type = match self.is_little {
                        true => u16::from_le_bytes(link_type),
                        false => u16::from_be_bytes(link_type),
                    };
                    self.skip(2)?;
                    let snap = self.u32()?;
                    used = 8;
                    if link_type != ETHERNET {
                        return Some(Refused::link_type(link_type));
                    }
                    if *first_snap.get_or_insert(snap) != snap {
                        return Some(Refused(
                            "it is a pcapng file of interfaces with different snapshot lengths, \
                             which libpcap does not read: convert it with editcap -F pcap"
                                .into(),
                        ));
                    }
                }
                OBSOLETE_PACKET | ENHANCED_PACKET => {
                    self.skip(12)?;
                    let bytes = self.u32()?;
                    used = 16;
                    self.frames += 1;
                    if let Some(refused) = Refused::frame(self.frames, bytes) {
                        return Some(refused);
                    }
                }
                SIMPLE_PACKET => {
                    let bytes = self.u32()?;
                    used = 4;
                    self.frames += 1;
                    let there = length.saturating_sub(FRAMING + used);
                    if let Some(refused) = Refused::frame(self.frames, bytes.min(there)) {
                        return Some(refused);
                    }
                }
                _ => {}
            }
            self.skip(u64::from(length.checked_sub(FRAMING + used)?) + 4)?;
            kind = self.u32()?;
        }
    }

    fn bytes<const N: usize>(&mut self) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        self.file.read_exact(&mut bytes).ok()?;
        Some(bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        let bytes = self.bytes()?;
        Some(self.number(bytes))
    }

    fn number(&self, bytes: [u8; 4]) -> u32 {
        if self.is_little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) }
    }

    fn skip(&mut self, bytes: u64) -> Option<()> {
        let skipped = std::io::copy(&mut (&mut self.file).take(bytes), &mut std::io::sink());
        (skipped.ok()? == bytes).then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(file: &[u8]) -> Option<String> {
        Reader::new(file).check().map(|Refused(why)| why)
    }

    fn pcap(link_type: u32, little: bool, lengths: &[u32]) -> Vec<u8> {
        let word = |word: u32| if little { word.to_le_bytes() } else { word.to_be_bytes() };
        let head = [0xa1b2_c3d4, 0x0004_0002, 0, 0, 65_535, link_type].map(word).concat();
        let frames = lengths.iter().flat_map(|&length| {
            [[0, 0, length, length].map(word).concat(), vec![0; length as usize]].concat()
        });
        head.into_iter().chain(frames).collect()
    }

    fn block(kind: u32, body: &[u8]) -> Vec<u8> {
        let length = (12 + body.len() as u32).to_le_bytes();
        [&kind.to_le_bytes()[..], &length, body, &length].concat()
    }

    fn interface(link_type: u8, snap: u8) -> Vec<u8> {
        block(1, &[link_type, 0, 0, 0, snap, 1, 0, 0])
    }

    fn packet(bytes: u32) -> Vec<u8> {
        let head = [0, 0, 0, bytes, bytes].map(u32::to_le_bytes).concat();
        block(6, &[head, vec![0; bytes.next_multiple_of(4) as usize]].concat())
    }

    const SECTION: [u8; 28] = [
        0x0a, 0x0d, 0x0d, 0x0a, 28, 0, 0, 0, 0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0, 255, 255, 255,
        255, 255, 255, 255, 255, 28, 0, 0, 0,
    ];

    #[test]
    fn ethernet_is_read_in_both_formats_and_orders() {
        for little in [true, false] {
            assert_eq!(refused(&pcap(1, little, &[60, 1514, 65_535])), None);
        }
        let file = [&SECTION[..], &interface(1, 0), &packet(61), &interface(1, 0), &packet(65_535)];
        assert_eq!(refused(&file.concat()), None);
        assert_eq!(refused(&file.concat()[..150]), None, "the rest is missing");
        assert_eq!(refused(&[]), None);
    }

    #[test]
    fn other_link_types_are_named() {
        for (link_type, name) in
            [(101, "101 (RAW"), (113, "113 (LINUX_SLL"), (0, "0 (NULL"), (147, "147, not")]
        {
            let text = refused(&pcap(link_type, true, &[60])).expect("refused");
            assert!(text.contains(name) && text.contains("link type"), "{text}");
        }
        let file = [&SECTION[..], &interface(1, 0), &packet(61), &interface(113, 0)].concat();
        assert!(refused(&file).is_some_and(|text| text.contains("LINUX_SLL")));
    }

    #[test]
    fn what_net_pcap_cannot_read_is_told() {
        for file in [
            pcap(1, true, &[60, 70_000]),
            [&SECTION[..], &interface(1, 0), &packet(61), &packet(70_000)].concat(),
        ] {
            let text = refused(&file).expect("refused");
            assert!(text.starts_with("frame 2 has 70000 bytes"), "{text}");
        }
        let file = [&SECTION[..], &interface(1, 0), &interface(1, 7)].concat();
        assert!(refused(&file).is_some_and(|text| text.contains("editcap -F pcap")));
        assert!(refused(b"hello").is_some_and(|text| text.contains("neither")));
    }

    #[test]
    fn the_files_of_all_ports_are_found() {
        let line =
            "mpfwd --vdev net_pcap0,rx_pcap=a,tx_pcap=b --vdev=net_pcap1,tx_pcap=c,rx_pcap=d";
        let args: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let found: Vec<&Path> = replayed(&args).collect();
        assert_eq!(found, [Path::new("a"), Path::new("d")]);
    }
}
