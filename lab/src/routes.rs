//! `mplab routes`: makes a routes file for mpfwd's `l3`, by default as large as
//! the Internet's table. The same seed makes the same file.

use std::collections::HashSet;
use std::io::{BufWriter, Write};
use std::net::{Ipv4Addr, Ipv6Addr};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::args::RoutesArgs;
use mpfwd_common::error::{Error, Result};

/// Prefixes per thousand by length, close to the Internet's BGP table for IPv4.
/// Six in ten are /24, the longest that most networks accept. Ten longer ones
/// stand for a network's own prefixes.
const IPV4_LENGTHS: [(u8, u32); 20] = [
    (24, 592),
    (23, 100),
    (22, 115),
    (21, 53),
    (20, 47),
    (19, 27),
    (18, 15),
    (17, 9),
    (16, 15),
    (15, 3),
    (14, 3),
    (13, 2),
    (12, 3),
    (11, 2),
    (10, 2),
    (9, 1),
    (8, 1),
    (26, 3),
    (28, 3),
    (32, 4),
];

/// As above, for IPv6.
const IPV6_LENGTHS: [(u8, u32); 12] = [
    (48, 480),
    (32, 120),
    (44, 90),
    (40, 80),
    (36, 60),
    (29, 40),
    (46, 40),
    (47, 40),
    (28, 20),
    (64, 20),
    (20, 5),
    (128, 5),
];

/// # Errors
/// The file can't be written.
pub(super) fn routes(args: &RoutesArgs) -> Result<()> {
    let written = match &args.out {
        Some(path) => std::fs::File::create(path).and_then(|file| write(args, file)),
        None => write(args, std::io::stdout().lock()),
    };
    let to = args.out.as_ref().map_or("standard output".into(), |path| path.display().to_string());
    written.map_err(|error| Error::Output(format!("{to}: {error}")))
}

fn write(args: &RoutesArgs, out: impl Write) -> std::io::Result<()> {
    let mut out = BufWriter::new(out);
    let mut random = SmallRng::seed_from_u64(args.seed);
    writeln!(
        out,
        "# mplab routes --count {} --ipv6-count {} --ports {} --seed {}",
        args.count, args.ipv6_count, args.ports, args.seed
    )?;
    let mut seen = HashSet::with_capacity(args.count as usize);
    while seen.len() < args.count as usize {
        let (prefix, length) = (ipv4_unicast(&mut random), length(&mut random, &IPV4_LENGTHS));
        let prefix = prefix & (u32::MAX << (32 - length));
        if seen.insert((prefix, length)) {
            writeln!(
                out,
                "{}/{length} {}",
                Ipv4Addr::from_bits(prefix),
                next_hop(&mut random, args.ports)
            )?;
        }
    }
    let mut seen = HashSet::with_capacity(args.ipv6_count as usize);
    while seen.len() < args.ipv6_count as usize {
        // Global unicast is 2000::/3 (RFC 4291).
        let (prefix, length) =
            (random.random::<u128>() >> 3 | 1 << 125, length(&mut random, &IPV6_LENGTHS));
        let prefix = prefix & (u128::MAX << (128 - length));
        if seen.insert((prefix, length)) {
            writeln!(
                out,
                "{}/{length} {}",
                Ipv6Addr::from_bits(prefix),
                next_hop(&mut random, args.ports)
            )?;
        }
    }
    out.flush()
}

/// A random unicast address: not of 0.0.0.0/8 or 127.0.0.0/8, and below
/// multicast.
fn ipv4_unicast(random: &mut SmallRng) -> u32 {
    loop {
        let address = random.random_range(1 << 24..224 << 24);
        if address >> 24 != 127 {
            return address;
        }
    }
}

fn length(random: &mut SmallRng, shares: &[(u8, u32)]) -> u8 {
    let all = shares.iter().map(|(_, share)| share).sum();
    let mut drawn = random.random_range(0..all);
    let found = shares.iter().find(|(_, share)| {
        let is_it = drawn < *share;
        drawn = drawn.saturating_sub(*share);
        is_it
    });
    found.map_or(shares[0].0, |(length, _)| *length)
}

/// A random port, and one of 16 neighbours on it.
fn next_hop(random: &mut SmallRng, ports: u16) -> String {
    let (port, neighbour) = (random.random_range(0..ports), random.random_range(1..=16u8));
    let [high, low] = port.to_be_bytes();
    format!("{port} 02:00:00:{high:02x}:{low:02x}:{neighbour:02x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(count: u32, ipv6_count: u32, seed: u64) -> String {
        let mut text = Vec::new();
        write(&RoutesArgs { count, ipv6_count, ports: 3, seed, out: None }, &mut text)
            .expect("a vector takes all");
        String::from_utf8(text).expect("text")
    }

    #[test]
    fn a_seed_makes_the_same_again() {
        assert_eq!(made(50, 50, 1), made(50, 50, 1));
        assert_ne!(made(50, 50, 1), made(50, 50, 2));
    }
}
