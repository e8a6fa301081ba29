//! A conversion that control republishes while lcores use it.

use micropools::seqlock;

use super::{Conversion, Fit};

/// One writer. Readers write nothing, and wait for at most four stores.
#[derive(Debug, Default)]
pub struct Published(seqlock::Published<4>);

impl Published {
    /// Replaces the fit. Only one thread may call this.
    pub fn publish(&self, fit: &Fit) {
        let Conversion { clock, ticks, ticks_per_unit } = fit.conversion;
        self.0.publish([clock, ticks, ticks_per_unit, fit.error_ticks]);
    }

    /// Changes with each publication; 0 before the first one.
    #[inline(always)]
    pub fn version(&self) -> u64 {
        self.0.version()
    }

    /// The version and the fit of the last publication.
    pub fn read(&self) -> (u64, Fit) {
        let (version, [clock, ticks, ticks_per_unit, error_ticks]) = self.0.read();
        (version, Fit { conversion: Conversion { clock, ticks, ticks_per_unit }, error_ticks })
    }
}
