//! The key that packets of a flow have in common, and its hash.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::LazyLock;

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Drawn at the start of the process. A sender cannot compute which flows have
/// the same hash, and so cannot make another flow wait for its own.
static SECRET: LazyLock<u64> = LazyLock::new(|| RandomState::new().build_hasher().finish());

/// The kind of addresses in a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// 6 bytes.
    Mac,
    /// 4 bytes.
    Ipv4,
    /// 16 bytes.
    Ipv6,
}

/// One end of a flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct End {
    /// The address in the last bytes, zeros in front.
    pub address: [u8; 16],
    /// 0 where the key has no ports.
    pub port: u16,
}

impl End {
    fn new(address: &[u8]) -> Self {
        let mut end = Self::default();
        end.address[16 - address.len()..].copy_from_slice(address);
        end
    }

    /// An address of up to 6 bytes, and the port.
    #[inline]
    fn short(&self) -> u64 {
        u128::from_be_bytes(self.address) as u64 & 0xffff_ffff_ffff | u64::from(self.port) << 48
    }

    #[inline]
    fn long(&self) -> (u128, u16) {
        (u128::from_be_bytes(self.address), self.port)
    }
}

/// A flow: addresses, protocol and ports of TCP and UDP, inside all VLAN tags.
/// Only the addresses of other protocols and of fragments, because only the
/// first fragment has ports. The MAC addresses where there is no IP. VLANs are
/// not part of the key, as they are not part of the hash that NICs compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowKey {
    pub family: Family,
    /// TCP's or UDP's number if the key has ports, else 0.
    pub protocol: u8,
    pub source: End,
    pub destination: End,
}

impl FlowKey {
    pub(super) fn addresses(family: Family, source: &[u8], destination: &[u8]) -> Self {
        Self { family, protocol: 0, source: End::new(source), destination: End::new(destination) }
    }

    /// From a frame's first bytes; a shorter frame is padded with zeros.
    pub(super) fn macs(front: &[u8]) -> Self {
        let mut both = [0; 12];
        let there = front.len().min(both.len());
        both[..there].copy_from_slice(&front[..there]);
        Self::addresses(Family::Mac, &both[6..], &both[..6])
    }

    pub(super) fn with_ports(self, protocol: u8, source: u16, destination: u16) -> Self {
        Self {
            protocol,
            source: End { port: source, ..self.source },
            destination: End { port: destination, ..self.destination },
            ..self
        }
    }

    /// The same for both directions of a flow: the smaller end first.
    #[inline]
    pub fn symmetric(self) -> Self {
        if self.source <= self.destination {
            self
        } else {
            Self { source: self.destination, destination: self.source, ..self }
        }
    }

    /// A hash of the flow, the same in both directions, and another one in each
    /// process.
    #[inline]
    pub fn symmetric_hash(&self) -> u32 {
        match self.family {
            Family::Ipv6 => hash_long(self.source.long(), self.destination.long(), self.protocol),
            Family::Ipv4 | Family::Mac => {
                hash_short(self.source.short(), self.destination.short(), self.protocol)
            }
        }
    }
}

/// Hashes two ends, in any order: the port above an address of 6 bytes, or of
/// 4. Only keys with addresses of 4 bytes have a protocol, which goes between
///    the two. 16 bytes are hashed in half the time of 17.
#[inline(always)]
pub(super) fn hash_short(a: u64, b: u64, protocol: u8) -> u32 {
    let (first, second) = (a.min(b) | u64::from(protocol) << 40, a.max(b));
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&first.to_ne_bytes());
    bytes[8..].copy_from_slice(&second.to_ne_bytes());
    xxh3_64_with_seed(&bytes, *SECRET) as u32
}

/// Hashes the two MAC addresses in front.
#[inline(always)]
pub(super) fn plain_macs(ethernet: &[u8; 14]) -> u32 {
    let eight =
        |at: usize| ethernet[at..].first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
    hash_short(eight(0) >> 16, eight(4) & 0xffff_ffff_ffff, 0)
}

/// As [`hash_short`], for addresses of 16 bytes.
#[inline(always)]
pub(super) fn hash_long(a: (u128, u16), b: (u128, u16), protocol: u8) -> u32 {
    let (first, second) = if a <= b { (a, b) } else { (b, a) };
    let mut bytes = [0; 37];
    bytes[..16].copy_from_slice(&first.0.to_ne_bytes());
    bytes[16..32].copy_from_slice(&second.0.to_ne_bytes());
    bytes[32..34].copy_from_slice(&first.1.to_ne_bytes());
    bytes[34..36].copy_from_slice(&second.1.to_ne_bytes());
    bytes[36] = protocol;
    xxh3_64_with_seed(&bytes, *SECRET) as u32
}
