//! The time stamp counter: reading it, and turning its ticks into nanoseconds and back.

/// The time stamp counter now, in ticks. Not serialising: a handful of instructions around it may drift over it.
#[inline(always)]
pub fn tsc() -> u64 {
    // SAFETY: RDTSC exists on every x86-64 CPU and touches no memory.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// Ticks of the time stamp counter per second, as EAL determined it (22.11 rounds it to 10 MHz: up to 0.15 % off).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TscRate(u64);

impl TscRate {
    /// Valid only after EAL has started: `Eal` hands it out.
    pub(super) fn from_eal() -> Self {
        // SAFETY: reads a variable that EAL's start has set.
        Self(unsafe { dpdk_sys::rte_get_tsc_hz() })
    }

    /// Ticks per second.
    pub fn hz(self) -> u64 {
        self.0
    }

    /// Nanoseconds to ticks, rounded down; what no counter reaches is the most that one holds.
    pub fn ticks(self, ns: u64) -> u64 {
        u64::try_from(u128::from(ns) * u128::from(self.0) / 1_000_000_000).unwrap_or(u64::MAX)
    }

    /// Ticks to nanoseconds, rounded down.
    pub fn ns(self, ticks: u64) -> u64 {
        (u128::from(ticks) * 1_000_000_000 / u128::from(self.0)) as u64
    }
}

/// Burns CPU until `ticks` have passed. Two looks at the clock that lie further apart than `gap_ticks` are a gap: the CPU did something
/// else in between.
#[inline]
pub fn busy_wait(ticks: u64, gap_ticks: u64, mut gap: impl FnMut(u64)) {
    let start = tsc();
    let mut last = start;
    loop {
        let now = tsc();
        if now.wrapping_sub(last) > gap_ticks {
            gap(now.wrapping_sub(last));
        }
        if now.wrapping_sub(start) >= ticks {
            return;
        }
        last = now;
    }
}
