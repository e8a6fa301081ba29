//! Drivers' receive stamps: which drivers stamp, the units, the mbuf field, and
//! reading the stamps' clocks.

use std::time::{SystemTime, UNIX_EPOCH};

use dpdk_sys as sys;

use super::clock::tsc;
use super::{Mbuf, Port, Room, RxSource};
use crate::stats::{Reading, Sample, Unit};
use mpfwd_common::error::Result;

/// A clock that may have made the stamps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StampClock {
    /// `rte_eth_read_clock`.
    Device,
    /// `rte_eth_timesync_read_time`.
    Timesync,
    /// The kernel's CLOCK_REALTIME.
    Wall,
    /// The time stamp counter, for `EmulatedStamps`.
    Emulated,
}

impl StampClock {
    pub fn name(self) -> &'static str {
        match self {
            Self::Device => "the device's clock",
            Self::Timesync => "the device's IEEE 1588 clock",
            Self::Wall => "the kernel's clock",
            Self::Emulated => "the time stamp counter, put on by an RX callback",
        }
    }
}

/// Readings per sample. The narrowest counts.
const READINGS: usize = 8;

/// The possible clocks of a driver's stamps, the likeliest first, and the
/// stamps' units; empty if the driver stamps nothing. `offers`: whether it has
/// RTE_ETH_RX_OFFLOAD_TIMESTAMP. Taken from the drivers' sources. A driver that
/// is unknown here is assumed to stamp by the clock that it lets us read.
pub(super) fn stamp_clocks(driver: &str, offers: bool) -> Vec<(Unit, StampClock)> {
    let wall = (Unit::Nanoseconds, StampClock::Wall);
    match driver {
        // Stamps without having the offload, up to 26.03.
        "net_pcap" if sys::MPFWD_PCAP_STAMPS_NANOSECONDS == 0 => {
            vec![(Unit::Microseconds, StampClock::Wall)]
        }
        "net_pcap" => vec![wall],
        _ if !offers => Vec::new(),
        "net_af_packet" => vec![wall],
        // Stamps are of the IEEE 1588 clock. rte_eth_read_clock reads another
        // one.
        "net_ice" | "net_iavf" | "net_idpf" | "net_igc" => {
            vec![(Unit::Nanoseconds, StampClock::Timesync)]
        }
        "net_hns3" => vec![(Unit::SecondsNanoseconds, StampClock::Timesync)],
        // Ticks, unless the NIC is set up with its real-time clock.
        "mlx5_pci" | "mlx5_auxiliary" => vec![(Unit::Ticks, StampClock::Device), wall],
        _ => vec![(Unit::Ticks, StampClock::Device), (Unit::Nanoseconds, StampClock::Timesync)],
    }
}

impl Port {
    /// Starts the clock, if it needs that.
    pub fn start_clock(&self, clock: StampClock) {
        if clock == StampClock::Timesync {
            // SAFETY: the port is started. A driver that refuses may have a
            // running clock all the same, which reading it will show.
            unsafe { sys::rte_eth_timesync_enable(self.id()) };
        }
    }

    /// Samples the clock against the time stamp counter. `None` if it can't be
    /// read.
    pub fn sample_clock(&self, clock: StampClock) -> Option<Sample> {
        let reading = || {
            let before_ticks = tsc();
            let clock = self.read_clock(clock)?;
            Some(Reading { before_ticks, clock, after_ticks: tsc() })
        };
        let readings: Option<Vec<Reading>> = (0..READINGS).map(|_| reading()).collect();
        Sample::narrowest(readings?)
    }

    fn read_clock(&self, clock: StampClock) -> Option<u64> {
        let mut value = 0;
        let code = match clock {
            // SAFETY: the port is open as long as `self`; the value is written
            // if the code says so.
            StampClock::Device => unsafe { sys::mpfwd_read_clock(self.id(), &mut value) },
            // SAFETY: as above.
            StampClock::Timesync => unsafe { sys::mpfwd_timesync_clock(self.id(), &mut value) },
            StampClock::Emulated => return Some(tsc()),
            StampClock::Wall => {
                return SystemTime::now()
                    .duration_since(UNIX_EPOCH)
                    .ok()
                    .map(|since| since.as_nanos() as u64);
            }
        };
        (code == 0).then_some(value)
    }
}

/// The mbuf field for a driver's stamp, and the flag that is set if there is
/// one.
#[derive(Clone, Copy, Debug)]
pub struct RxStampField {
    offset: u32,
    flag: u64,
}

impl RxStampField {
    /// Registers DPDK's own field. Must be called before the ports start. Every
    /// call returns the same field.
    ///
    /// # Errors
    /// The mbuf has no dynamic space left.
    pub fn register() -> Result<Self> {
        let (mut offset, mut flag) = (0, 0);
        // SAFETY: both are written before the call returns success.
        let code = unsafe { sys::rte_mbuf_dyn_rx_timestamp_register(&mut offset, &mut flag) };
        if code < 0 {
            return Err(mpfwd_common::error::Error::Setup(format!(
                "no room for receive stamps in the mbuf: {}",
                super::last_reason()
            )));
        }
        Ok(Self { offset: offset as u32, flag })
    }

    /// Whether the driver has stamped this packet. Some drivers have the
    /// offload and never stamp.
    #[inline(always)]
    pub fn is_set(self, packet: &Mbuf) -> bool {
        packet.flags() & self.flag != 0
    }

    /// Copies the stamp of each packet, converted by `even`, to the slot of the
    /// same index. Returns whether all packets had one.
    #[inline(always)]
    pub fn copy<'p>(
        self,
        pairs: impl Iterator<Item = (&'p mut u64, &'p Mbuf)>,
        even: impl Fn(u64) -> u64,
    ) -> bool {
        let copy = |set, (to, packet): (&mut u64, &Mbuf)| {
            *to = even(self.read(packet));
            set & packet.flags()
        };
        pairs.fold(self.flag, copy) != 0
    }

    /// The stamp, in the driver's unit. Valid if the packet has one.
    #[inline(always)]
    pub fn read(self, packet: &Mbuf) -> u64 {
        packet.eight_bytes(self.offset)
    }
}

/// Stamps the packets of one queue as a NIC would, spread evenly over the time
/// since the last poll.
pub struct EmulatedStamps {
    field: RxStampField,
    polled_ticks: u64,
}

impl EmulatedStamps {
    pub fn new(field: RxStampField) -> Self {
        Self { field, polled_ticks: tsc() }
    }
}

impl RxSource for EmulatedStamps {
    #[inline]
    fn receive(&mut self, room: &mut Room<'_>) {
        let now = room.read_clock();
        let (mut arrived, packets) =
            (std::mem::replace(&mut self.polled_ticks, now), room.received());
        let apart = now.saturating_sub(arrived) / packets.len().max(1) as u64;
        for packet in packets {
            packet.set_eight_bytes(self.field.offset, arrived);
            packet.set_flags(packet.flags() | self.field.flag);
            arrived += apart;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_stamps_and_with_what() {
        assert!(
            ["net_null", "net_tap", "net_ring", "net_af_packet", "net_ice"]
                .iter()
                .all(|driver| stamp_clocks(driver, false).is_empty())
        );
        assert!(
            stamp_clocks("net_pcap", false).iter().all(|(_, clock)| *clock == StampClock::Wall)
        );
        assert_eq!(
            stamp_clocks("net_hns3", true),
            [(Unit::SecondsNanoseconds, StampClock::Timesync)]
        );
        assert_eq!(stamp_clocks("mlx5_pci", true)[0], (Unit::Ticks, StampClock::Device));
        assert_eq!(stamp_clocks("net_cnxk", true)[0].1, StampClock::Device);
    }
}
