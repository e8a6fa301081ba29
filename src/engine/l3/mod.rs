//! `l3`: a router. Looks up each packet's destination by longest prefix, counts
//! the hop, and sets both MAC addresses. It answers no ARP and sends no ICMP: a
//! packet that cannot be forwarded is dropped and counted.

mod ip;
mod routes;
mod table;

pub use ip::{Destination, Station, Unfit, destination, hop};
pub use routes::{BLACKHOLE, Hop, Route, RouteFile, Routes, UNREACHABLE};
pub use table::{Outgoing, Table};

use super::headers::FRONT_MAX;
use super::{Class, Engine, Held, Verdict};
use crate::dpdk::{BURST_MAX, Burst, MAX_PORTS, Mbuf, NoteField};
use crate::stats::DropCause;

impl From<Unfit> for DropCause {
    fn from(unfit: Unfit) -> Self {
        match unfit {
            Unfit::NotIp => Self::NotIp,
            Unfit::BadHeader => Self::BadHeader,
            Unfit::Expired => Self::TtlExpired,
            Unfit::OtherStation => Self::OtherStation,
            Unfit::Group => Self::Group,
            Unfit::Martian => Self::Martian,
            Unfit::LinkLocal => Self::LinkLocal,
        }
    }
}

/// The result of a lookup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    /// A hop that the table has.
    Hop(u32),
    Drop(DropCause),
}

/// Layout of a note: one bit for drop; seven bits of the table's number; the
/// hop, or the cause.
impl Found {
    const DROP: u32 = 1 << 31;
    const TABLE: u32 = 0x7f << 24;

    #[inline(always)]
    fn from_hop(table: &Table, hop: u64) -> Self {
        let hop = hop as u32;
        if table.egress(hop).is_some() { Self::Hop(hop) } else { Self::Drop(table.cause(hop)) }
    }

    /// `number`: of the table.
    #[inline(always)]
    fn note(self, number: u32) -> u32 {
        let table = number << 24 & Self::TABLE;
        match self {
            Self::Hop(hop) => table | hop,
            Self::Drop(cause) => Self::DROP | table | cause as u32,
        }
    }

    /// `None`: the note is of another table.
    #[inline(always)]
    fn of_note(note: u32, number: u32) -> Option<Self> {
        let found = note & !(Self::DROP | Self::TABLE);
        (note & Self::TABLE == number << 24 & Self::TABLE).then(|| {
            match DropCause::ALL.get(found as usize) {
                Some(&cause) if note & Self::DROP != 0 => Self::Drop(cause),
                _ => Self::Hop(found),
            }
        })
    }
}

/// A burst's destinations, laid out for lookup, and each packet's result.
#[derive(Clone, Debug)]
struct Lookup {
    ipv4: [u32; BURST_MAX],
    ipv4_at: [u16; BURST_MAX],
    ipv6: [[u8; 16]; BURST_MAX],
    ipv6_at: [u16; BURST_MAX],
    hops: [u64; BURST_MAX],
    found: [Found; BURST_MAX],
}

/// One lcore's router. All lcores read the same table. When it is replaced,
/// each continues with the new one from its next burst on; a packet that was
/// looked up in the old one is looked up again.
#[derive(Clone, Debug)]
pub struct L3 {
    table: Held<Table>,
    /// The address of each port.
    stations: Box<[Station; MAX_PORTS]>,
    /// Holds the result for packets that continue one by one.
    note: NoteField,
    lookup: Box<Lookup>,
}

impl L3 {
    pub fn new(table: Held<Table>, ports: &[Outgoing], note: NoteField) -> Self {
        let mut stations = Box::new([Station::default(); MAX_PORTS]);
        for port in ports {
            stations[usize::from(port.port) % MAX_PORTS] = Station::new(port.own);
        }
        let lookup = Lookup {
            ipv4: [0; BURST_MAX],
            ipv4_at: [0; BURST_MAX],
            ipv6: [[0; 16]; BURST_MAX],
            ipv6_at: [0; BURST_MAX],
            hops: [0; BURST_MAX],
            found: [Found::Drop(DropCause::NoRoute); BURST_MAX],
        };
        Self { table, stations, note, lookup: Box::new(lookup) }
    }

    /// Looks up all packets at once: the table is larger than any cache, and
    /// its misses overlap. Writes the results to `found`.
    #[inline]
    fn look_up(&mut self, burst: &Burst, from: u16) {
        let own = self.station(from);
        let Lookup { ipv4, ipv4_at, ipv6, ipv6_at, hops, found } = &mut *self.lookup;
        let (mut ipv4_pkts, mut ipv6_pkts) = (0, 0);
        for (at, packet) in burst.packets().iter().enumerate() {
            match destination_of(packet, own) {
                Ok(Destination::Ipv4(address)) => {
                    (ipv4[ipv4_pkts], ipv4_at[ipv4_pkts]) = (address, at as u16);
                    ipv4_pkts += 1;
                }
                Ok(Destination::Ipv6(address)) => {
                    (ipv6[ipv6_pkts], ipv6_at[ipv6_pkts]) = (address, at as u16);
                    ipv6_pkts += 1;
                }
                Err(unfit) => found[at] = Found::Drop(unfit.into()),
            }
        }
        if ipv4_pkts > 0 {
            self.table.look_up_ipv4(&ipv4[..ipv4_pkts], hops);
            (ipv4_at[..ipv4_pkts].iter().zip(&*hops))
                .for_each(|(&at, &hop)| found[usize::from(at)] = Found::from_hop(&self.table, hop));
        }
        if ipv6_pkts > 0 {
            self.table.look_up_ipv6(&ipv6[..ipv6_pkts], hops);
            (ipv6_at[..ipv6_pkts].iter().zip(&*hops))
                .for_each(|(&at, &hop)| found[usize::from(at)] = Found::from_hop(&self.table, hop));
        }
    }

    #[inline(always)]
    fn station(&self, port: u16) -> Station {
        self.stations[usize::from(port) % MAX_PORTS]
    }

    /// Writes its result on each packet.
    #[inline]
    fn write_notes(&self, burst: &mut Burst) {
        for (packet, found) in burst.packets_mut().iter_mut().zip(&self.lookup.found) {
            self.note.write(packet, found.note(self.table.number()));
        }
    }

    /// Looks up one packet without a result.
    #[cold]
    fn look_up_one(&self, packet: &Mbuf, from: u16) -> Found {
        let mut hop = [0];
        match destination_of(packet, self.station(from)) {
            Ok(Destination::Ipv4(address)) => self.table.look_up_ipv4(&[address], &mut hop),
            Ok(Destination::Ipv6(address)) => self.table.look_up_ipv6(&[address], &mut hop),
            Err(unfit) => return Found::Drop(unfit.into()),
        }
        Found::from_hop(&self.table, hop[0])
    }

    /// The port of all packets that are not dropped; `None` if there are
    /// several.
    #[inline]
    fn only_port(&self, pkts: usize) -> Option<Option<u16>> {
        let mut ports = self.lookup.found[..pkts].iter().filter_map(|found| match found {
            Found::Hop(hop) => self.table.egress(*hop).map(|egress| egress.port),
            Found::Drop(_) => None,
        });
        let first = ports.next();
        ports.all(|port| Some(port) == first).then_some(first)
    }

    /// Rewrites a packet for its hop.
    #[inline(always)]
    fn forward(&self, packet: &mut Mbuf, found: Found) -> Verdict {
        let egress = match found {
            Found::Hop(hop) => self.table.egress(hop),
            Found::Drop(cause) => return Verdict::Drop(cause),
        };
        let Some(egress) = egress else { return Verdict::Drop(DropCause::NoRoute) };
        if holds_headers(packet) {
            let Some(data) = packet.data_mut() else {
                return Verdict::Drop(DropCause::SharedBuffer);
            };
            hop(data, &egress.addresses);
        } else if !hop_across_segments(packet, &egress.addresses) {
            return Verdict::Drop(DropCause::SharedBuffer);
        }
        Verdict::Forward(egress.port)
    }
}

impl Engine for L3 {
    #[inline]
    fn prepare_burst(&mut self, burst: &mut Burst, from: u16) {
        self.table.follow();
        // `cheap_burst` has done so if it was called.
        if burst.packets().first().is_some_and(|packet| !self.note.is_on(packet)) {
            self.look_up(burst, from);
            self.write_notes(burst);
        }
    }

    #[inline]
    fn classify(&mut self, _: &Mbuf, _: u16) -> Class {
        Class::Cheap
    }

    #[inline]
    fn cheap(&mut self, packet: &mut Mbuf, from: u16) -> Verdict {
        self.table.follow();
        let noted =
            self.note.take(packet).and_then(|note| Found::of_note(note, self.table.number()));
        let found = noted.unwrap_or_else(|| self.look_up_one(packet, from));
        self.forward(packet, found)
    }

    #[inline]
    fn rest(&mut self) {
        self.table.follow();
    }

    #[inline]
    fn expensive(&mut self, packet: &mut Mbuf, from: u16) -> Verdict {
        self.cheap(packet, from)
    }

    #[inline]
    fn cheap_burst(
        &mut self,
        burst: &mut Burst,
        from: u16,
        mut dropped: impl FnMut(Mbuf, DropCause),
    ) -> Option<u16> {
        self.table.follow();
        self.look_up(burst, from);
        let Some(port) = self.only_port(burst.len()) else {
            self.write_notes(burst);
            return None;
        };
        let mut drops = 0;
        for (at, packet) in burst.packets_mut().iter_mut().enumerate() {
            if let Verdict::Drop(cause) = self.forward(packet, self.lookup.found[at]) {
                self.lookup.found[at] = Found::Drop(cause);
                drops += 1;
            }
        }
        if drops > 0 {
            let (mut asked, mut causes) = (self.lookup.found.iter(), self.lookup.found.iter());
            let is_kept = |_: &Mbuf| matches!(asked.next(), Some(Found::Hop(_)));
            burst.retain(is_kept, |packet| {
                let cause = causes.find_map(|found| {
                    if let Found::Drop(cause) = found { Some(*cause) } else { None }
                });
                dropped(packet, cause.unwrap_or(DropCause::NoRoute));
            });
        }
        Some(port.unwrap_or(from))
    }
}

/// Whether everything that is parsed lies in the first segment.
#[inline(always)]
fn holds_headers(packet: &Mbuf) -> bool {
    packet.segments() == 1 || usize::from(packet.data_len()) >= FRONT_MAX
}

#[inline(always)]
fn destination_of(packet: &Mbuf, own: Station) -> Result<Destination, Unfit> {
    if holds_headers(packet) {
        return destination(packet.data(), packet.pkt_len() as usize, own);
    }
    destination_across_segments(packet, own)
}

#[cold]
fn destination_across_segments(packet: &Mbuf, own: Station) -> Result<Destination, Unfit> {
    let mut front = [0; FRONT_MAX];
    destination(packet.copy_front(&mut front), packet.pkt_len() as usize, own)
}

/// Returns `false`, and changes nothing, where other packets may have one of
/// its buffers.
#[cold]
fn hop_across_segments(packet: &mut Mbuf, addresses: &[u8; 12]) -> bool {
    let mut front = [0; FRONT_MAX];
    let len = packet.copy_front(&mut front).len();
    hop(&mut front[..len], addresses);
    packet.write_front(&front[..len])
}
