//! Sorting a burst's packets by what they may cost, and what a packet says of its arrival once it has left its burst.

use super::Settings;
use crate::dpdk::{Burst, Mbuf};
use crate::engine::{Class, Engine};
use crate::policy::{Place, Policy};

/// The port by which a packet came in, and when, in ticks: by its stamp, and by the poll that brought it. Where packets bring no stamps
/// both are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Arrival {
    pub port: u16,
    pub ticks: u64,
    pub polled_ticks: u64,
}

impl Arrival {
    /// As it was written on the packet.
    #[inline]
    pub(super) fn of(packet: &Mbuf, settings: Settings) -> Self {
        let ticks = settings.stamp.read(packet);
        let polled = settings.polled.filter(|_| settings.stamped);
        Self { port: packet.port(), ticks, polled_ticks: polled.map_or(ticks, |polled| polled.read(packet)) }
    }

    /// With the packet's own stamp, where packets come with one.
    #[inline(always)]
    pub(super) fn refined(self, packet: &Mbuf, settings: Settings) -> Self {
        if settings.stamped { Self { ticks: settings.stamp.read(packet), ..self } } else { self }
    }

    /// Writes on the packet what its burst knew of it.
    #[inline(always)]
    pub(super) fn write_on(self, packet: &mut Mbuf, settings: Settings) {
        packet.set_port(self.port);
        settings.stamp.write(packet, self.ticks);
        if let Some(polled) = settings.polled {
            polled.write(packet, self.polled_ticks);
        }
    }
}

/// A packet that is run here, with nothing behind it in private.
pub(super) struct Alone {
    pub packet: Mbuf,
    /// Its cost is not known: the cheap stage runs. Otherwise the expensive one.
    pub unknown: bool,
}

/// The piles that a burst is sorted into.
pub(super) struct Sorter {
    /// What the cheap stage serves.
    pub cheap: Burst,
    /// What goes to another lcore.
    pub deferred: Burst,
}

impl Sorter {
    pub(super) fn new() -> Self {
        Self { cheap: Burst::new(), deferred: Burst::new() }
    }

    /// Puts a packet on its pile, or gives it back because it must be run alone. Where nobody could take what waits behind it, a packet of
    /// unknown cost is served like a cheap one.
    #[inline(always)]
    pub(super) fn sort<E: Engine, P: Policy>(
        &mut self,
        engine: &mut E,
        mut packet: Mbuf,
        arrival: Arrival,
        settings: Settings,
    ) -> Option<Alone> {
        match engine.classify(&packet, arrival.port) {
            Class::Unknown if P::STEALS || P::RESCUES => {
                arrival.refined(&packet, settings).write_on(&mut packet, settings);
                return Some(Alone { packet, unknown: true });
            }
            Class::Cheap | Class::Unknown => self.cheap.push(packet),
            Class::Defer => {
                arrival.refined(&packet, settings).write_on(&mut packet, settings);
                if P::DEFERRED == Place::Here {
                    return Some(Alone { packet, unknown: false });
                }
                self.deferred.push(packet);
            }
        }
        None
    }
}
