//! Sorting a burst's packets by what they may cost, and what a packet says of
//! its arrival once it has left its burst.

use super::Settings;
use super::admission::Pass;
use crate::dpdk::{BURST_MAX, Burst, Mbuf};
use crate::engine::{Class, Engine};
use crate::order::Full;
use crate::policy::{Deferral, Policy};

/// The port by which a packet came in, and when, in ticks: by its stamp, and by
/// the poll that brought it. Where packets bring no stamps both are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Arrival {
    pub port: u16,
    pub ticks: u64,
    pub polled_ticks: u64,
}

impl Arrival {
    /// In a poll that began at `now`, as far as the packet does not say
    /// otherwise.
    #[inline(always)]
    pub(super) fn polled(port: u16, now: u64) -> Self {
        Self { port, ticks: now, polled_ticks: now }
    }

    /// As it was written on the packet.
    #[inline]
    pub(super) fn of(packet: &Mbuf, settings: Settings) -> Self {
        let ticks = settings.stamp.read(packet);
        let polled = settings.polled.filter(|_| settings.stamped);
        Self {
            port: packet.port(),
            ticks,
            polled_ticks: polled.map_or(ticks, |polled| polled.read(packet)),
        }
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
    /// Its cost is not known: the cheap stage runs. Otherwise the expensive
    /// one.
    pub unknown: bool,
}

/// Whose hands a packet will be in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Hands {
    /// Those that received it, until it is sent.
    Ours,
    /// Perhaps others'.
    Others,
}

/// The piles that a burst is sorted into.
pub(super) struct Sorter {
    /// What the cheap stage serves; and, by place in it, what is known of each
    /// packet's place in its flow.
    pub cheap: Burst,
    pub passes: Box<[Pass; BURST_MAX]>,
    /// What goes to another lcore.
    pub deferred: Burst,
}

impl Sorter {
    pub(super) fn new() -> Self {
        Self {
            cheap: Burst::new(),
            passes: Box::new([Pass::Unasked(0); BURST_MAX]),
            deferred: Burst::new(),
        }
    }

    /// Puts a packet on the pile of the cheap stage.
    #[inline(always)]
    pub(super) fn push_cheap(&mut self, packet: Mbuf, pass: Pass) {
        let place = self.cheap.len();
        self.cheap.push(packet);
        self.passes[place] = pass;
    }

    /// Puts a packet on its pile, or gives it back because it must be run
    /// alone. Where nobody could take what waits behind it, a packet of unknown
    /// cost is served like a cheap one. `admit` says what its place in its flow
    /// is, by whose hands it will be in.
    ///
    /// # Errors
    /// When there was no place left; the packet is dropped.
    #[inline(always)]
    pub(super) fn sort<E: Engine, P: Policy>(
        &mut self,
        engine: &mut E,
        mut packet: Mbuf,
        arrival: Arrival,
        settings: Settings,
        admit: impl FnOnce(&mut Self, &mut Mbuf, Hands) -> Result<Pass, Full>,
    ) -> Result<Option<Alone>, Full> {
        let class = engine.classify(&packet, arrival.port);
        let unknown = class == Class::Unknown;
        if class == Class::Cheap || unknown && !(P::STEALS || P::RESCUES) {
            let pass = admit(self, &mut packet, Hands::Ours)?;
            self.push_cheap(packet, pass);
            return Ok(None);
        }
        admit(self, &mut packet, Hands::Others)?;
        arrival.refined(&packet, settings).write_on(&mut packet, settings);
        if unknown || P::DEFERRED == Deferral::Here {
            return Ok(Some(Alone { packet, unknown }));
        }
        self.deferred.push(packet);
        Ok(None)
    }
}
