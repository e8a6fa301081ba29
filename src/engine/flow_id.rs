//! Flows as tables know them: one 64-bit number for the two directions of a
//! flow.

use std::hash::{BuildHasher, Hash, Hasher, RandomState};

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::headers::FlowKey;

/// Makes numbers of flow keys, another number in each run: nobody outside can
/// choose two flows that have the same one. Otherwise two flows do by chance,
/// once in 2^64 pairs.
#[derive(Clone, Copy, Debug)]
pub struct FlowIds {
    seed: u64,
}

impl FlowIds {
    /// With a seed that the operating system's randomness gave.
    pub fn random() -> Self {
        Self { seed: RandomState::new().build_hasher().finish() }
    }

    /// The number of the key's flow, the same in both directions.
    #[inline]
    pub fn of(self, key: FlowKey) -> u64 {
        let mut bytes = Bytes { bytes: [0; BYTES], len: 0, seed: self.seed };
        key.symmetric().hash(&mut bytes);
        bytes.finish()
    }
}

/// More than a key of two IPv6 addresses and ports hashes.
const BYTES: usize = 96;

/// Collects what is hashed, to hash it all at once.
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
