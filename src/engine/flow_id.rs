//! 64-bit flow identifiers for tables, the same for both directions of a flow.

use std::hash::{BuildHasher, Hash, Hasher, RandomState};

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::headers::FlowKey;

/// Derives identifiers from flow keys with a seed drawn at start, so that
/// nobody outside can choose two flows with the same one. By chance two flows
/// share one in 2^64 pairs.
#[derive(Clone, Copy, Debug)]
pub struct FlowIds {
    seed: u64,
}

impl FlowIds {
    /// With a seed from the operating system.
    pub fn random() -> Self {
        Self { seed: RandomState::new().build_hasher().finish() }
    }

    /// The identifier of the key's flow, the same in both directions.
    #[inline]
    pub fn of(self, key: FlowKey) -> u64 {
        let mut bytes = Bytes { bytes: [0; BYTES], len: 0, seed: self.seed };
        key.symmetric().hash(&mut bytes);
        bytes.finish()
    }
}

/// More bytes than a key of two IPv6 addresses and ports hashes.
const BYTES: usize = 96;

/// Collects the bytes to hash, to hash them all at once.
struct Bytes {
    bytes: [u8; BYTES],
    len: usize,
    seed: u64,
}

impl Hasher for Bytes {
    #[inline]
    fn write(&mut self, more: &[u8]) {
        for part in more.chunks(BYTES) {
            if self.len + part.len() > BYTES {
                (self.seed, self.len) = (self.finish(), 0);
            }
            self.bytes[self.len..self.len + part.len()].copy_from_slice(part);
            self.len += part.len();
        }
    }

    #[inline]
    fn finish(&self) -> u64 {
        xxh3_64_with_seed(&self.bytes[..self.len], self.seed)
    }
}
