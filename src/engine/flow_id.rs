//! 64-bit flow identifiers for tables, the same for both directions of a flow.

use std::hash::{BuildHasher, Hasher, RandomState};

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::headers::{FlowKey, Fragment, KEY_BYTES_MAX};

/// Derives identifiers from flow keys with a seed drawn at start, so that
/// nobody outside can choose two flows with the same one. By chance two flows
/// share one in 2^64 pairs.
#[derive(Clone, Copy, Debug)]
pub struct FlowIds {
    flows: u64,
    pairs: u64,
    fragments: u64,
}

impl FlowIds {
    /// With seeds from the operating system.
    pub fn random() -> Self {
        let draw = || RandomState::new().build_hasher().finish();
        Self { flows: draw(), pairs: draw(), fragments: draw() }
    }

    /// The identifier of the key's flow, the same in both directions.
    #[inline]
    pub fn of(self, key: FlowKey) -> u64 {
        hash(&key.symmetric(), self.flows)
    }

    /// That of all flows between the key's addresses.
    pub fn of_addresses(self, key: FlowKey) -> u64 {
        let key = FlowKey { protocol: 0, ..key.without_ports() };
        hash(&key.symmetric(), self.pairs)
    }

    /// That of all fragments of one packet.
    pub fn of_fragments(self, fragment: Fragment) -> u64 {
        hash(&fragment.key, self.fragments ^ u64::from(fragment.id))
    }
}

#[inline]
fn hash(key: &FlowKey, seed: u64) -> u64 {
    let mut bytes = [0; KEY_BYTES_MAX];
    let len = key.write_to(&mut bytes);
    xxh3_64_with_seed(&bytes[..len], seed)
}
