//! The stamps that drivers write: what clock they are of, and whether they can
//! be believed.

use super::whole_burst::{Brought, WholeBurst};
use crate::dpdk::clock::tsc;
use crate::dpdk::{Burst, RxStampField};
use crate::stats::{Distrust, StampClocks, Stamps, Verdict};

/// The clocks of drivers' stamps, where these count.
pub(super) struct DriverStamps<'a> {
    clocks: &'a StampClocks,
    /// One use of each port's clock.
    ports: Vec<Stamps<'a>>,
}

impl<'a> DriverStamps<'a> {
    pub(super) fn new(clocks: &'a StampClocks) -> Self {
        let ports = (0..clocks.ports().len()).map(|at| Stamps::new(clocks, at)).collect();
        Self { clocks, ports }
    }

    /// Whether stamps count, or still may; polls may stand in for them.
    #[inline]
    pub(super) fn count(&self) -> bool {
        self.clocks.verdict() != Verdict::Off
    }

    /// Finds the clock of a burst that a poll brought from `port`, and copies
    /// its stamps. `before`: the last stamp of the burst before it in the same
    /// queue, in ticks, 0 if that is not known. Returns its successor.
    ///
    /// # Errors
    /// When the stamps cannot be believed: with what holds instead.
    #[inline(always)]
    pub(super) fn check(
        &mut self,
        field: RxStampField,
        port: u16,
        burst: &Burst,
        polled_ticks: u64,
        before: u64,
        whole: &mut WholeBurst,
    ) -> Result<u64, Verdict> {
        let Some(stamps) = self.ports.iter_mut().find(|stamps| stamps.port() == port) else {
            return Ok(0);
        };
        let Some(first) = burst.packets().first() else { return Ok(before) };
        if !field.is_set(first) {
            return Err(stamps.distrust(Distrust::Missing));
        }
        stamps.look(field.read(first), tsc)?;
        let clock = stamps.clock();
        whole.use_clock(clock);
        if !whole.copy_stamps(Brought::Driver(field, clock.unit), burst) {
            return Err(stamps.distrust(Distrust::Missing));
        }
        let span = whole.span();
        match stamps.check(before, span, polled_ticks, tsc) {
            Ok(()) => Ok(span.last),
            Err(why) => Err(stamps.distrust(why)),
        }
    }
}
