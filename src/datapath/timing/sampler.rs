//! Which bursts are measured.

/// Picks one burst in `every` on average, at random distances: at a fixed
/// distance it would always be the same queue's turn, where queues are polled in
/// turn.
pub(super) struct Sampler {
    every: u32,
    /// Bursts until the next one that is measured.
    left: u32,
    random: u32,
}

impl Sampler {
    /// Picks the first burst. `seed` is any number.
    pub(super) fn new(every: u32, seed: u64) -> Self {
        Self { every, left: 1, random: (seed >> 5) as u32 | 1 }
    }

    /// Whether this burst is measured.
    #[inline(always)]
    pub(super) fn picks(&mut self) -> bool {
        self.left -= 1;
        if self.left > 0 { false } else { self.draw() }
    }

    /// Xorshift (Marsaglia, Journal of Statistical Software 8(14), 2003).
    #[cold]
    fn draw(&mut self) -> bool {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 17;
        self.random ^= self.random << 5;
        self.left = 1 + self.random % (2 * self.every - 1);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_queue_of_a_rotation_is_measured_as_often_as_it_should_be() {
        for queues in [1, 2, 4, 64] {
            let mut sampler = Sampler::new(64, 12_345);
            let mut picked = vec![0u32; queues];
            let bursts = 64 * 1_000 * queues;
            for burst in 0..bursts {
                picked[burst % queues] += u32::from(sampler.picks());
            }
            assert!(picked.iter().all(|count| (850..1_150).contains(count)), "{picked:?}");
        }
    }
}
