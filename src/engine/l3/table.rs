//! The routes as the datapath looks them up: two DPDK tables, and what each hop
//! writes to a frame.

use std::time::{Duration, Instant};

use super::routes::{BLACKHOLE, Hop, Route, RouteFile, Routes, UNREACHABLE};
use crate::dpdk::{Eal, Fib4, Fib6, FibSize};
use crate::stats::DropCause;
use mpfwd_common::error::{Error, Result};

/// A port that packets may leave by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outgoing {
    pub port: u16,
    /// Its own address.
    pub own: [u8; 6],
    /// The address of its peer, for hops that name none.
    pub peer: [u8; 6],
}

/// A hop's port, and the first 12 bytes of a frame that leaves by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Egress {
    pub port: u16,
    pub addresses: [u8; 12],
}

/// A packet's note has 24 bits for its hop, or the reason why there is none.
const HOPS_MAX: usize = (1 << 24) - NOWHERE;

/// Numbers behind the last hop: no route, blackhole, unreachable.
const NOWHERE: usize = 3;

/// The number of a route's hop in the tables.
fn hop_number(hop: u32, hops: u32) -> u32 {
    match hop {
        BLACKHOLE => hops + 1,
        UNREACHABLE => hops + 2,
        hop => hop,
    }
}

/// All routes, shared by all lcores.
pub struct Table {
    number: u32,
    /// `None` if there are only default routes, or none.
    ipv4: Option<Fib4>,
    ipv6: Option<Fib6>,
    /// The hop of addresses that no other prefix covers.
    ipv4_default: u32,
    ipv6_default: u32,
    hops: Vec<Egress>,
    routes: [usize; 2],
    /// Time to read the file and build the table.
    took: Duration,
}

impl Table {
    /// Allocated on the socket. `number`: counts the tables of a run.
    ///
    /// # Errors
    /// When the file names a port that is not in `ports` or too many next hops,
    /// or memory is short.
    pub fn build(
        on: (&Eal, u32),
        file: &RouteFile,
        ports: &[Outgoing],
        number: u32,
    ) -> Result<Self> {
        let started = Instant::now();
        let routes = &*file.routes;
        if routes.hops.len() > HOPS_MAX {
            let (path, hops) = (file.path.display(), routes.hops.len());
            return Err(Error::Usage(format!(
                "{path}: {hops} next hops are too many: at most {HOPS_MAX}"
            )));
        }
        let hops = routes
            .hops
            .iter()
            .map(|hop| egress_of(file, hop, ports))
            .collect::<Result<Vec<_>>>()?;
        // The number behind the last hop means no route.
        let no_route = hops.len() as u32;
        let ipv4_default = hop_number(default_hop(&routes.ipv4, no_route), no_route);
        let ipv6_default = hop_number(default_hop(&routes.ipv6, no_route), no_route);
        Ok(Self {
            number,
            ipv4: ipv4(on, routes, ipv4_default, no_route)?,
            ipv6: ipv6(on, routes, ipv6_default, no_route)?,
            ipv4_default,
            ipv6_default,
            hops,
            routes: [routes.ipv4.len(), routes.ipv6.len()],
            took: file.took + started.elapsed(),
        })
    }

    #[inline(always)]
    pub(super) fn number(&self) -> u32 {
        self.number
    }

    /// As many hops as addresses are written.
    #[inline]
    pub(super) fn look_up_ipv4(&self, addresses: &[u32], hops: &mut [u64]) {
        match &self.ipv4 {
            Some(fib) => fib.look_up(addresses, hops),
            None => hops[..addresses.len()].fill(u64::from(self.ipv4_default)),
        }
    }

    /// As many hops as addresses are written.
    #[inline]
    pub(super) fn look_up_ipv6(&self, addresses: &[[u8; 16]], hops: &mut [u64]) {
        match &self.ipv6 {
            Some(fib) => fib.look_up(addresses, hops),
            None => hops[..addresses.len()].fill(u64::from(self.ipv6_default)),
        }
    }

    /// `None`: the packet is dropped, because of [`Table::cause`].
    #[inline(always)]
    pub(super) fn egress(&self, hop: u32) -> Option<&Egress> {
        self.hops.get(hop as usize)
    }

    /// Why no packet leaves by this hop.
    #[cold]
    pub(super) fn cause(&self, hop: u32) -> DropCause {
        match hop as usize - self.hops.len() {
            1 => DropCause::Blackhole,
            2 => DropCause::Unreachable,
            _ => DropCause::NoRoute,
        }
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [ipv4, ipv6] = self.routes;
        write!(
            f,
            "routes: {ipv4} of IPv4 and {ipv6} of IPv6 to {} next hops, loaded in {:.3} s",
            self.hops.len(),
            self.took.as_secs_f64()
        )
    }
}

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

fn egress_of(file: &RouteFile, hop: &Hop, ports: &[Outgoing]) -> Result<Egress> {
    let Some(out) = ports.iter().find(|out| out.port == hop.port) else {
        let there = ports.iter().map(|out| out.port.to_string()).collect::<Vec<_>>().join(", ");
        let (path, at) = (file.path.display(), hop.at);
        return Err(Error::Usage(format!(
            "{path}:{at}: expected a port in use ({there}), found {}",
            hop.port
        )));
    };
    let mut addresses = [0; 12];
    addresses[..6].copy_from_slice(&hop.mac.map_or(out.peer, |mac| mac.into_array()));
    addresses[6..].copy_from_slice(&out.own);
    Ok(Egress { port: out.port, addresses })
}

/// The hop of the prefix of length 0, which comes first if there is one. It
/// becomes the table's default: some versions of `rte_fib` do not accept it as
/// a route.
fn default_hop<A>(routes: &[Route<A>], no_route: u32) -> u32 {
    routes.first().filter(|route| route.length == 0).map_or(no_route, |route| route.hop)
}

fn ipv4(
    (eal, socket): (&Eal, u32),
    routes: &Routes,
    default_hop: u32,
    hops: u32,
) -> Result<Option<Fib4>> {
    let routes = &routes.ipv4[routes.ipv4.partition_point(|route| route.length == 0)..];
    if routes.is_empty() {
        return Ok(None);
    }
    let mut long: Vec<u32> =
        routes.iter().filter(|route| route.length > 24).map(|route| route.prefix >> 8).collect();
    long.sort_unstable();
    long.dedup();
    // One spare: rte_fib needs it while it writes a range with a group at each
    // end.
    let size = FibSize {
        routes: routes.len() as u32,
        groups: long.len() as u32 + 1,
        hop_max: hops + NOWHERE as u32 - 1,
        default_hop,
    };
    let mut fib = Fib4::create(eal, socket, size)?;
    routes
        .iter()
        .try_for_each(|route| fib.add(route.prefix, route.length, hop_number(route.hop, hops)))?;
    Ok(Some(fib))
}

fn ipv6(
    (eal, socket): (&Eal, u32),
    routes: &Routes,
    default_hop: u32,
    hops: u32,
) -> Result<Option<Fib6>> {
    let routes = &routes.ipv6[routes.ipv6.partition_point(|route| route.length == 0)..];
    if routes.is_empty() {
        return Ok(None);
    }
    // rte_fib6 reserves this many, although prefixes with a common beginning
    // share them.
    let groups: u32 =
        routes.iter().map(|route| u32::from(route.length.saturating_sub(24).div_ceil(8))).sum();
    let size = FibSize {
        routes: routes.len() as u32,
        groups: groups + 2,
        hop_max: hops + NOWHERE as u32 - 1,
        default_hop,
    };
    let mut fib = Fib6::create(eal, socket, size)?;
    routes
        .iter()
        .try_for_each(|route| fib.add(route.prefix, route.length, hop_number(route.hop, hops)))?;
    Ok(Some(fib))
}
