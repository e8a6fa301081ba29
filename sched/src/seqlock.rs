//! A seqlock: a few words that one writer replaces while others read them.

use crate::sync::{AtomicU64, Ordering, back_off, fence};

/// `WORDS` words that are read as one. One writer, which never waits. Readers write
/// nothing, and retry while a publication is under way: `WORDS` stores, unless the
/// writer is preempted among them.
///
/// ```
/// use micropools::seqlock::Published;
///
/// let position = Published::<2>::default();
/// assert_eq!(position.version(), 0, "nothing was published");
/// position.publish([3, 4]);
/// assert_eq!(position.read(), (2, [3, 4]));
/// ```
#[derive(Debug)]
pub struct Published<const WORDS: usize> {
    /// Odd while the words are written; 0 before the first publication.
    version: AtomicU64,
    words: [AtomicU64; WORDS],
}

impl<const WORDS: usize> Published<WORDS> {
    /// Replaces the words. Only one thread may call this; a second one could make
    /// readers see a mix.
    pub fn publish(&self, words: [u64; WORDS]) {
        let version = self.version.load(Ordering::Relaxed);
        self.version.store(version + 1, Ordering::Relaxed);
        // Release: a reader that reads one of the words below, and then acquires,
        // sees the odd version.
        fence(Ordering::Release);
        for (to, word) in self.words.iter().zip(words) {
            to.store(word, Ordering::Relaxed);
        }
        // Release: a reader that sees the even version sees the words.
        self.version.store(version + 2, Ordering::Release);
    }

    /// Changes with each publication; 0 before the first one.
    #[inline(always)]
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Relaxed)
    }

    /// The version and the words of the last publication.
    pub fn read(&self) -> (u64, [u64; WORDS]) {
        for tries in 0.. {
            // Acquire: pairs with the last store of `publish`.
            let version = self.version.load(Ordering::Acquire);
            let words = std::array::from_fn(|at| self.words[at].load(Ordering::Relaxed));
            // Acquire: pairs with the fence of `publish`. If a word was of a later
            // publication, the version shows it.
            fence(Ordering::Acquire);
            if version.is_multiple_of(2) && self.version.load(Ordering::Relaxed) == version {
                return (version, words);
            }
            back_off(tries);
        }
        unreachable!("tries go on until a read succeeds")
    }
}

impl<const WORDS: usize> Default for Published<WORDS> {
    fn default() -> Self {
        Self { version: AtomicU64::new(0), words: std::array::from_fn(|_| AtomicU64::new(0)) }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;

    #[test]
    fn readers_see_one_publication_never_two_mixed() {
        let last = if cfg!(miri) { 200 } else { 20_000 };
        let (published, over) = (Published::<4>::default(), AtomicBool::new(false));
        assert_eq!(published.version(), 0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                (1..last).for_each(|number| published.publish([number; 4]));
                over.store(true, std::sync::atomic::Ordering::Release);
            });
            let mut newest = 0;
            while !over.load(std::sync::atomic::Ordering::Acquire) {
                let (version, seen) = published.read();
                assert_eq!(seen, [seen[0]; 4]);
                assert!(version == 2 * seen[0] && version >= newest);
                newest = version;
            }
        });
        assert_eq!(published.read(), (2 * (last - 1), [last - 1; 4]));
    }
}
