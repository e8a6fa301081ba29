//! The routes file, one route a line:
//!
//! ```text
//! # prefix          port  next hop's MAC address, if it is not that of --eth-peer
//! 10.0.0.0/8        0
//! 192.0.2.0/24      1     02:00:00:00:00:07
//! 2001:db8::/32     1
//! 10.9.9.9          0     # one host
//! default           0     # 0.0.0.0/0 and ::/0
//! blackhole 203.0.113.0/24
//! 198.51.100.0/24   unreachable
//! ```
//!
//! Mistakes are reported with line and column, from 1, and what was expected
//! there, all of a file at once.

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use macaddr::MacAddr6;

use crate::engine::{Mistake, Position};

/// A prefix, its length in bits, and its hop: an index into [`Routes::hops`],
/// [`BLACKHOLE`] or [`UNREACHABLE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route<A> {
    pub prefix: A,
    pub length: u8,
    pub hop: u32,
    /// Its line in the file.
    pub line: u32,
}

/// The hop of a route that drops its packets.
pub const BLACKHOLE: u32 = u32::MAX;
/// The hop of a route whose destinations are unreachable: it drops its packets
/// under another cause. Nothing is sent to their senders.
pub const UNREACHABLE: u32 = u32::MAX - 1;

/// The most mistakes of a file that are told at once.
const MISTAKES_MAX: usize = 20;

/// A next hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hop {
    pub port: u16,
    /// `None`: the address of the port's peer.
    pub mac: Option<MacAddr6>,
    /// Where the port was named first.
    pub at: Position,
}

/// All routes of a file; each family is sorted from the shortest prefix to the
/// longest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Routes {
    pub ipv4: Vec<Route<u32>>,
    pub ipv6: Vec<Route<u128>>,
    pub hops: Vec<Hop>,
}

impl Routes {
    /// Reads a file's text. A byte order mark at its start is skipped.
    ///
    /// # Errors
    /// All mistakes, in the order of the lines.
    pub fn parse(text: &str) -> Result<Self, Vec<Mistake>> {
        let mut routes = Self::default();
        let (mut known, mut mistakes) = (HashMap::new(), Vec::new());
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        for (line, text) in (1..).zip(text.lines()) {
            let content = text.split('#').next().unwrap_or_default();
            mistakes.extend(routes.add(&Line { line, content }, &mut known).err());
        }
        sort(&mut routes.ipv4, &mut mistakes);
        sort(&mut routes.ipv6, &mut mistakes);
        mistakes.sort_by_key(|mistake| mistake.at.line);
        if mistakes.is_empty() { Ok(routes) } else { Err(mistakes) }
    }

    fn add(
        &mut self,
        line: &Line<'_>,
        known: &mut HashMap<(u16, Option<MacAddr6>), u32>,
    ) -> Result<(), Mistake> {
        let mut words = line.content.split_whitespace().peekable();
        let Some(first) = words.next() else { return Ok(()) };
        // As iproute2 writes it, or behind the prefix.
        let kind = special(first);
        let prefix = match kind {
            None => first,
            Some(_) => words.next().ok_or_else(|| line.ends("a prefix"))?,
        };
        let prefixes = parse_prefixes(prefix).map_err(|what| line.mistake(prefix, what))?;
        let kind = kind.or_else(|| {
            words.peek().and_then(|word| special(word)).inspect(|_| {
                words.next();
            })
        });
        let hop = match kind {
            Some(hop) => hop,
            None => self.hop(line, &mut words, known)?,
        };
        if let Some(more) = words.next() {
            let expected = if kind.is_some() { "PREFIX" } else { "PREFIX PORT MAC" };
            return Err(line.mistake(
                more,
                format!("expected the end of the line after {expected}, found {more:?}"),
            ));
        }
        for (address, length) in prefixes {
            let line = line.line;
            match address {
                Address::Ipv4(prefix) => self.ipv4.push(Route { prefix, length, hop, line }),
                Address::Ipv6(prefix) => self.ipv6.push(Route { prefix, length, hop, line }),
            }
        }
        Ok(())
    }

    /// Reads a port, and perhaps an address.
    fn hop<'t>(
        &mut self,
        line: &Line<'t>,
        words: &mut impl Iterator<Item = &'t str>,
        known: &mut HashMap<(u16, Option<MacAddr6>), u32>,
    ) -> Result<u32, Mistake> {
        let port = words.next().ok_or_else(|| line.ends("the number of the outgoing port"))?;
        let number = parse_number(port).ok_or_else(|| {
            line.mistake(port, format!("expected a port's number, for example 0, found {port:?}"))
        })?;
        let mac = words.next().map(|word| parse_station(line, word)).transpose()?;
        let next = self.hops.len() as u32;
        let hop = *known.entry((number, mac)).or_insert(next);
        if hop == next {
            self.hops.push(Hop { port: number, mac, at: line.place(port) });
        }
        Ok(hop)
    }
}

/// The hop of a route that leads nowhere.
fn special(word: &str) -> Option<u32> {
    match word {
        "blackhole" => Some(BLACKHOLE),
        "unreachable" => Some(UNREACHABLE),
        _ => None,
    }
}

/// A number as this file has them: digits, without a sign or zeros in front.
fn parse_number<N: FromStr>(word: &str) -> Option<N> {
    let is_plain =
        word.bytes().all(|byte| byte.is_ascii_digit()) && (word == "0" || !word.starts_with('0'));
    word.parse().ok().filter(|_| is_plain)
}

/// A MAC address that a station can have.
fn parse_station(line: &Line<'_>, word: &str) -> Result<MacAddr6, Mistake> {
    let mac: MacAddr6 = word.parse().map_err(|_| {
        let what = format!(
            "expected the next hop's MAC address, for example 02:00:00:00:00:07, found {word:?}"
        );
        line.mistake(word, what)
    })?;
    if mac.is_nil() || mac.is_multicast() {
        let what = format!("expected the MAC address of one station, found {word:?}");
        return Err(line.mistake(word, what));
    }
    Ok(mac)
}

/// A line without its comment.
struct Line<'t> {
    line: u32,
    content: &'t str,
}

impl Line<'_> {
    /// The place of a word in it.
    fn place(&self, word: &str) -> Position {
        let bytes = word.as_ptr() as usize - self.content.as_ptr() as usize;
        Position { line: self.line, column: self.content[..bytes].chars().count() as u32 + 1 }
    }

    fn mistake(&self, word: &str, what: String) -> Mistake {
        Mistake { at: self.place(word), what }
    }

    fn ends(&self, expected: &str) -> Mistake {
        let column = self.content.trim_end().chars().count() as u32 + 1;
        Mistake {
            at: Position { line: self.line, column },
            what: format!("expected {expected}, found the end of the line"),
        }
    }
}

enum Address {
    Ipv4(u32),
    Ipv6(u128),
}

/// The prefixes that a word stands for: `default` for one of each family.
fn parse_prefixes(word: &str) -> Result<Vec<(Address, u8)>, String> {
    match word {
        "default" => Ok(vec![(Address::Ipv4(0), 0), (Address::Ipv6(0), 0)]),
        _ => parse_prefix(word).map(|prefix| vec![prefix]),
    }
}

fn parse_prefix(word: &str) -> Result<(Address, u8), String> {
    let expected =
        || format!("expected a prefix, for example 10.0.0.0/8 or 2001:db8::/32, found {word:?}");
    let (address, length) = match word.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (word, None),
    };
    let length_of = |bits: u8| {
        let Some(length) = length else { return Ok(bits) };
        let found = parse_number(length).filter(|length| *length <= bits);
        found.ok_or_else(|| {
            format!("expected a length from 0 to {bits} after the slash, found {length:?}")
        })
    };
    let rest = |prefix: String, length: u8| {
        format!(
            "expected a prefix without bits beyond its length: {prefix}/{length}, found {word:?}"
        )
    };
    if let Ok(address) = Ipv4Addr::from_str(address) {
        let (prefix, length) = (address.to_bits(), length_of(32)?);
        let masked = prefix & u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
        let masked_is = || rest(Ipv4Addr::from_bits(masked).to_string(), length);
        return if masked == prefix {
            Ok((Address::Ipv4(prefix), length))
        } else {
            Err(masked_is())
        };
    }
    let address = Ipv6Addr::from_str(address).map_err(|_| expected())?;
    let (prefix, length) = (address.to_bits(), length_of(128)?);
    let masked = prefix & u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
    let masked_is = || rest(Ipv6Addr::from_bits(masked).to_string(), length);
    if masked == prefix { Ok((Address::Ipv6(prefix), length)) } else { Err(masked_is()) }
}

/// Sorts by length, and finds duplicate prefixes.
fn sort<A: Copy + Ord>(routes: &mut [Route<A>], mistakes: &mut Vec<Mistake>) {
    routes.sort_unstable_by_key(|route| (route.length, route.prefix, route.line));
    for prefix in routes.chunk_by(|a, b| (a.length, a.prefix) == (b.length, b.prefix)) {
        mistakes.extend(prefix[1..].iter().map(|again| Mistake {
            at: Position { line: again.line, column: 1 },
            what: format!("line {} has a route for this prefix already", prefix[0].line),
        }));
    }
}

/// A parsed file of routes.
#[derive(Clone, Debug)]
pub struct RouteFile {
    pub path: PathBuf,
    pub routes: Arc<Routes>,
    /// How long reading took.
    pub took: Duration,
}

impl RouteFile {
    /// # Errors
    /// Why it cannot be read, that it has no routes, or the mistakes in it,
    /// each with its place.
    pub fn read(path: &Path) -> Result<Self, String> {
        let started = Instant::now();
        let text = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let text = String::from_utf8(text).map_err(|error| {
            let line = error.as_bytes()[..error.utf8_error().valid_up_to()]
                .iter()
                .filter(|byte| **byte == b'\n')
                .count()
                + 1;
            format!("{}:{line}:1: expected text in UTF-8", path.display())
        })?;
        let routes = Routes::parse(&text).map_err(|mistakes| all_of(path, &mistakes))?;
        if routes.ipv4.is_empty() && routes.ipv6.is_empty() {
            return Err(format!(
                "{}: it has no routes; write one a line, for example: 10.0.0.0/8 0",
                path.display()
            ));
        }
        Ok(Self { path: path.to_owned(), routes: Arc::new(routes), took: started.elapsed() })
    }
}

/// The mistakes in one line, each with the file's name.
fn all_of(path: &Path, mistakes: &[Mistake]) -> String {
    let told = mistakes.iter().take(MISTAKES_MAX);
    let mut told: Vec<String> =
        told.map(|mistake| format!("{}:{mistake}", path.display())).collect();
    if mistakes.len() > told.len() {
        told.push(format!("and {} more mistakes", mistakes.len() - told.len()));
    }
    told.join("; ")
}

impl FromStr for RouteFile {
    type Err = String;

    fn from_str(path: &str) -> Result<Self, String> {
        Self::read(Path::new(path))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn mistake(text: &str, place: &str, what: &str) {
        let found = Routes::parse(text).expect_err("a mistake").remove(0);
        assert_eq!(found.at.to_string(), place, "{found:?}");
        assert!(found.what.contains(what), "{found:?}");
    }

    #[test]
    fn routes_are_read() {
        let text = "# all of them\n10.0.0.0/8 0\n\n  192.0.2.0/24\t1  02:00:00:00:00:07 # with a neighbour\n0.0.0.0/0 0\n2001:db8::/32 1\n";
        let routes = Routes::parse(text).expect("all is well");
        let ipv4: Vec<_> = routes
            .ipv4
            .iter()
            .map(|route| (route.prefix, route.length, route.hop, route.line))
            .collect();
        assert_eq!(ipv4, [(0, 0, 0, 5), (10 << 24, 8, 0, 2), (0xc000_0200, 24, 1, 4)]);
        assert_eq!(
            (routes.ipv6[0].prefix, routes.ipv6[0].length, routes.ipv6[0].hop),
            (0x2001_0db8 << 96, 32, 2)
        );
        let hops: Vec<_> =
            routes.hops.iter().map(|hop| (hop.port, hop.mac, hop.at.to_string())).collect();
        let neighbour = MacAddr6::new(2, 0, 0, 0, 0, 7);
        assert_eq!(
            hops,
            [
                (0, None, "2:12".into()),
                (1, Some(neighbour), "4:16".into()),
                (1, None, "6:15".into())
            ]
        );
    }

    #[test]
    fn mistakes_have_a_place() {
        mistake(
            "10.0.0.0/8 0\nten/8 0",
            "2:1",
            "expected a prefix, for example 10.0.0.0/8 or 2001:db8::/32, found \"ten/8\"",
        );
        mistake("  10.0.0 0", "1:3", "expected a prefix");
        mistake("10.0.0.0/+8 0", "1:1", "from 0 to 32 after the slash, found \"+8\"");
        mistake("10.0.0.0/08 0", "1:1", "from 0 to 32 after the slash, found \"08\"");
        mistake("10.0.0.0/8 +1", "1:12", "expected a port's number");
        mistake("10.0.0.0/8 00", "1:12", "expected a port's number");
        for nobody in ["00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:01"] {
            mistake(&format!("10.0.0.0/8 0 {nobody}"), "1:14", "the MAC address of one station");
        }
        mistake("blackhole", "1:10", "expected a prefix, found the end of the line");
        mistake("blackhole 10.0.0.0/8 0", "1:22", "the end of the line after PREFIX");
        mistake("10.0.0.0/8 unreachable 0", "1:24", "the end of the line after PREFIX");
        mistake("default 0\n::/0 1", "2:1", "line 1 has a route for this prefix already");
        mistake("10.0.0.0/33 0", "1:1", "from 0 to 32 after the slash, found \"33\"");
        mistake("2001:db8::/129 0", "1:1", "from 0 to 128");
        mistake("10.1.0.0/8 0", "1:1", "10.0.0.0/8, found");
        mistake("2001:db8::1/32 0", "1:1", "2001:db8::/32, found");
        mistake(
            "10.0.0.0/8   # port",
            "1:11",
            "the number of the outgoing port, found the end of the line",
        );
        mistake("10.0.0.0/8 eth0", "1:12", "expected a port's number");
        mistake("10.0.0.0/8 70000", "1:12", "expected a port's number");
        mistake("10.0.0.0/8 0 02:00", "1:14", "MAC address");
        mistake("10.0.0.0/8 0 02:00:00:00:00:07 x", "1:32", "the end of the line");
        mistake(
            "10.0.0.0/8 0\n# again\n10.0.0.0/8 1",
            "3:1",
            "line 1 has a route for this prefix already",
        );
        mistake("ä 0", "1:1", "expected a prefix");
    }

    #[test]
    fn routes_may_lead_nowhere_to_one_host_or_everywhere() {
        let text = "\u{feff}# of Windows\r\nblackhole 203.0.113.0/24\r\n198.51.100.0/24 unreachable\r\n10.9.9.9 0\r\n2001:db8::1 0\r\ndefault 1\r\n";
        let Routes { ipv4, ipv6, hops } = Routes::parse(text).expect("all is well");
        assert_eq!(
            ipv4.iter().map(|route| (route.length, route.hop)).collect::<Vec<_>>(),
            [(0, 1), (24, UNREACHABLE), (24, BLACKHOLE), (32, 0)]
        );
        assert_eq!(
            ipv6.iter().map(|route| (route.length, route.hop)).collect::<Vec<_>>(),
            [(0, 1), (128, 0)]
        );
        assert_eq!(hops.len(), 2);
    }

    #[test]
    fn all_mistakes_are_told_at_once() {
        let found = Routes::parse("ten 0\n10.0.0.0/8 0\n10.0.0.0/8 1\n\n10.1.0.0/16 x\n");
        let lines: Vec<u32> =
            found.expect_err("mistakes").iter().map(|mistake| mistake.at.line).collect();
        assert_eq!(lines, [1, 3, 5]);
        let many = "x 0\n".repeat(MISTAKES_MAX + 3);
        let found = Routes::parse(&many).expect_err("mistakes");
        let text = all_of(Path::new("routes"), &found);
        assert!(text.ends_with("; and 3 more mistakes"), "{text}");
        assert!(text.starts_with("routes:1:1: ") && text.contains("; routes:20:1: "), "{text}");
    }

    #[test]
    fn errors_name_the_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("routes");
        assert!(RouteFile::read(&path).is_err_and(|error| error.contains("routes: No such file")));
        std::fs::write(&path, "10.0.0.0/8 0\n\nfoo\n").expect("written");
        assert!(
            RouteFile::read(&path)
                .is_err_and(|error| error.contains("routes:3:1: expected a prefix"))
        );
        std::fs::write(&path, b"10.0.0.0/8 0\n\xff\n").expect("written");
        assert!(
            RouteFile::read(&path)
                .is_err_and(|error| error.contains("routes:2:1: expected text in UTF-8"))
        );
    }

    proptest! {
        #[test]
        fn any_text_is_accepted(text in "([0-9a-f.:/# \t\n]|\\PC){0,200}") {
            let _ = Routes::parse(&text);
        }

        #[test]
        fn prefixes_survive_the_round_trip(bits in any::<u128>(), length in 0..=128u8, ipv4 in any::<bool>()) {
            let length = if ipv4 { length % 33 } else { length };
            let mask = |bits: u128, of: u8| if length == 0 { 0 } else { bits >> (of - length) << (of - length) };
            let (text, wanted) = match ipv4 {
                true => (Ipv4Addr::from_bits(mask(bits & 0xffff_ffff, 32) as u32).to_string(), mask(bits & 0xffff_ffff, 32)),
                false => (Ipv6Addr::from_bits(mask(bits, 128)).to_string(), mask(bits, 128)),
            };
            let routes = Routes::parse(&format!("{text}/{length} 3")).expect("a route");
            let found = routes.ipv4.first().map(|route| (u128::from(route.prefix), route.length));
            prop_assert_eq!(found.or(routes.ipv6.first().map(|route| (route.prefix, route.length))), Some((wanted, length)));
        }
    }
}
