//! A conversion that control publishes again and again while lcores use it: a
//! seqlock with one writer.

use super::sync::{AtomicU64, Ordering, fence};
use super::{Conversion, Fit};

/// One writer; readers never wait for it for longer than four stores take, and
/// write nothing.
#[derive(Debug, Default)]
pub struct Published {
    /// Odd while the rest is being written; 0 before it is for the first time.
    version: AtomicU64,
    clock: AtomicU64,
    ticks: AtomicU64,
    ticks_per_unit: AtomicU64,
    error_ticks: AtomicU64,
}

impl Published {
    /// Replaces what is there. Only one thread may call this.
    pub fn publish(&self, fit: &Fit) {
        let version = self.version.load(Ordering::Relaxed);
        self.version.store(version + 1, Ordering::Relaxed);
        // Release: who reads one of the values below, and then acquires, sees
        // the odd version.
        fence(Ordering::Release);
        self.clock.store(fit.conversion.clock, Ordering::Relaxed);
        self.ticks.store(fit.conversion.ticks, Ordering::Relaxed);
        self.ticks_per_unit.store(fit.conversion.ticks_per_unit, Ordering::Relaxed);
        self.error_ticks.store(fit.error_ticks, Ordering::Relaxed);
        // Release: who sees the even version sees the values.
        self.version.store(version + 2, Ordering::Release);
    }

    /// Changes whenever something is published; 0 before the first time.
    #[inline(always)]
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Relaxed)
    }

    /// What was published last, as one, with its version.
    pub fn read(&self) -> (u64, Fit) {
        loop {
            // Acquire: pairs with the last store of `publish`.
            let version = self.version.load(Ordering::Acquire);
            let conversion = Conversion {
                clock: self.clock.load(Ordering::Relaxed),
                ticks: self.ticks.load(Ordering::Relaxed),
                ticks_per_unit: self.ticks_per_unit.load(Ordering::Relaxed),
            };
            let fit = Fit { conversion, error_ticks: self.error_ticks.load(Ordering::Relaxed) };
            // Acquire: pairs with the fence of `publish`: a value of a later
            // writing shows its version too.
            fence(Ordering::Acquire);
            if version.is_multiple_of(2) && self.version.load(Ordering::Relaxed) == version {
                return (version, fit);
            }
            super::sync::hint();
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;

    fn fit(number: u64) -> Fit {
        Fit {
            conversion: Conversion { clock: number, ticks: number, ticks_per_unit: number },
            error_ticks: number,
        }
    }

    #[test]
    fn readers_see_one_publication_never_two_mixed() {
        let (published, over) = (Published::default(), AtomicBool::new(false));
        assert_eq!(published.version(), 0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                (1..20_000).for_each(|number| published.publish(&fit(number)));
                over.store(true, std::sync::atomic::Ordering::Release);
            });
            let mut last = 0;
            while !over.load(std::sync::atomic::Ordering::Acquire) {
                let (version, seen) = published.read();
                assert_eq!(seen, fit(seen.error_ticks));
                assert!(version == 2 * seen.error_ticks && version >= last);
                last = version;
            }
        });
        assert_eq!(published.read(), (2 * 19_999, fit(19_999)));
    }
}
