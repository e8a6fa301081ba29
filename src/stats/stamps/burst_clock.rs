//! The conversion of one burst's stamps to ticks.

use super::{Ages, Conversion, Unit};

/// Converts the stamps of one burst to ticks.
#[derive(Clone, Copy, Debug)]
pub struct BurstClock {
    pub unit: Unit,
    pub(super) conversion: Conversion,
}

impl BurstClock {
    /// For stamps that are ticks already.
    pub const TICKS: Self = Self {
        unit: Unit::Ticks,
        conversion: Conversion { clock: 0, ticks: 0, ticks_per_unit: 1 << 32 },
    };

    /// `even`: the linear stamp, see [`Unit::even`].
    #[inline(always)]
    pub fn ticks(self, even: u64) -> u64 {
        self.conversion.ticks(even)
    }

    /// Where a burst's linear stamps lie. The burst must not be empty.
    #[inline(always)]
    pub fn span(self, stamps: &[u64]) -> StampSpan {
        let (first, last) =
            (stamps.first().copied().unwrap_or(0), stamps.last().copied().unwrap_or(0));
        let [first_ticks, last_ticks] = [first, last].map(|stamp| self.conversion.ticks(stamp));
        // Stamps are almost always in order. Checking that takes two
        // instructions per packet.
        let steps_back = stamps
            .iter()
            .zip(stamps.get(1..).unwrap_or_default())
            .fold(0, |signs, (before, stamp)| signs | stamp.wrapping_sub(*before));
        let (earliest, latest) = if steps_back >> 63 == 0 {
            (first_ticks, last_ticks)
        } else {
            self.spread(stamps, first)
        };
        StampSpan { first: first_ticks, last: last_ticks, earliest, latest }
    }

    /// The least and the greatest of a burst's stamps, in ticks.
    #[cold]
    fn spread(self, stamps: &[u64], first: u64) -> (u64, u64) {
        let (back, ahead) = stamps.iter().fold((0, 0), |(back, ahead), stamp| {
            let off = stamp.wrapping_sub(first).cast_signed();
            (off.min(back), off.max(ahead))
        });
        let ticks = |off| self.conversion.ticks(first.wrapping_add_signed(off));
        (ticks(back), ticks(ahead))
    }

    /// See [`Conversion::ages`].
    #[inline(always)]
    pub fn ages(self, now_ticks: u64) -> Ages {
        self.conversion.ages(now_ticks)
    }
}

/// The stamps of a burst, in ticks: of its first and last packet, the least and
/// the greatest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StampSpan {
    pub first: u64,
    pub last: u64,
    pub earliest: u64,
    pub latest: u64,
}
