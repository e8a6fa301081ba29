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

/// The most identifiers in a [`Scope`].
pub const SCOPE_MAX: usize = 6;

/// The address space in which a flow's addresses mean something: VLANs, PPPoE's
/// session, the network of VXLAN or Geneve, GRE's key, from the outermost on.
/// Empty for most packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope([u32; SCOPE_MAX]);

/// One identifier of a scope: its kind in the upper byte, never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Domain {
    Vlan(u16),
    Session(u16),
    Vxlan(u32),
    Geneve(u32),
    GreKey(u32),
}

impl Scope {
    /// Adds an identifier behind the others. Returns `false`, and changes
    /// nothing, where there is no room.
    #[must_use]
    pub(super) fn push(&mut self, domain: Domain) -> bool {
        let words = match domain {
            Domain::Vlan(id) => [1 << 24 | u32::from(id), 0],
            Domain::Session(id) => [2 << 24 | u32::from(id), 0],
            Domain::Vxlan(id) => [3 << 24 | id & 0xff_ffff, 0],
            Domain::Geneve(id) => [4 << 24 | id & 0xff_ffff, 0],
            Domain::GreKey(key) => [5 << 24 | key >> 16, 6 << 24 | key & 0xffff],
        };
        let more = words.iter().filter(|&&word| word != 0).count();
        let used = self.0.iter().filter(|&&word| word != 0).count();
        let Some(room) = self.0.get_mut(used..used + more) else { return false };
        room.copy_from_slice(&words[..more]);
        true
    }

    pub fn is_empty(&self) -> bool {
        self.0[0] == 0
    }
}

/// A flow: its scope, addresses, protocol and ports. Without ports where the
/// protocol has none, or a later fragment does not say them. Where there is no
/// IP, the MAC addresses and the EtherType.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowKey {
    pub family: Family,
    /// IANA's number of the protocol; the EtherType where there is no IP.
    pub protocol: u16,
    /// Whether the ends have ports.
    pub has_ports: bool,
    pub source: End,
    pub destination: End,
    pub scope: Scope,
}

/// Bytes of a key: without its scope, and with it.
const PLAIN_BYTES: usize = 40;
pub const KEY_BYTES_MAX: usize = PLAIN_BYTES + 4 * SCOPE_MAX;

impl FlowKey {
    pub(super) fn addresses(family: Family, source: &[u8], destination: &[u8]) -> Self {
        Self {
            family,
            protocol: 0,
            has_ports: false,
            source: End::new(source),
            destination: End::new(destination),
            scope: Scope::default(),
        }
    }

    /// From a frame's first bytes; a shorter frame is padded with zeros.
    pub(super) fn macs(front: &[u8]) -> Self {
        let mut both = [0; 12];
        let there = front.len().min(both.len());
        both[..there].copy_from_slice(&front[..there]);
        Self::addresses(Family::Mac, &both[6..], &both[..6])
    }

    pub(super) fn of_protocol(self, protocol: u16) -> Self {
        Self { protocol, ..self }
    }

    pub(super) fn with_ports(self, protocol: u8, source: u16, destination: u16) -> Self {
        Self {
            protocol: protocol.into(),
            has_ports: true,
            source: End { port: source, ..self.source },
            destination: End { port: destination, ..self.destination },
            ..self
        }
    }

    /// The flow's addresses alone, with the protocol.
    pub fn without_ports(self) -> Self {
        let end = |end: End| End { port: 0, ..end };
        Self {
            has_ports: false,
            source: end(self.source),
            destination: end(self.destination),
            ..self
        }
    }

    /// The key as bytes, in this direction: no two keys have the same. Returns
    /// how many there are.
    #[inline]
    pub fn write_to(&self, bytes: &mut [u8; KEY_BYTES_MAX]) -> usize {
        bytes[0] = self.family as u8;
        bytes[1] = self.has_ports.into();
        bytes[2..4].copy_from_slice(&self.protocol.to_ne_bytes());
        bytes[4..20].copy_from_slice(&self.source.address);
        bytes[20..36].copy_from_slice(&self.destination.address);
        bytes[36..38].copy_from_slice(&self.source.port.to_ne_bytes());
        bytes[38..40].copy_from_slice(&self.destination.port.to_ne_bytes());
        if self.scope.is_empty() {
            return PLAIN_BYTES;
        }
        for (place, word) in bytes[PLAIN_BYTES..].chunks_exact_mut(4).zip(self.scope.0) {
            place.copy_from_slice(&word.to_ne_bytes());
        }
        KEY_BYTES_MAX
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
    /// process. It chooses the bucket in which packets are kept in order, and
    /// therefore may be the same for two flows, but never different for two
    /// packets of one: it leaves out the scope, the EtherType, and the protocol
    /// of keys without ports, which later fragments need not say.
    #[inline]
    pub fn symmetric_hash(&self) -> u32 {
        let protocol = if self.has_ports { self.protocol as u8 } else { 0 };
        match self.family {
            Family::Ipv6 => hash_long(self.source.long(), self.destination.long(), protocol),
            Family::Ipv4 | Family::Mac => {
                hash_short(self.source.short(), self.destination.short(), protocol)
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
