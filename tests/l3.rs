//! `l3` end to end: packets of every kind, byte by byte; and the same routes in
//! Linux, asked for the same addresses.

mod common;
mod lab;
mod namespaces;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::process::{Command, Stdio};

use common::{as_json, assert_books_balance, dropped};
use etherparse::PacketBuilder;
use lab::{Lab, pass_through};
use mpfwd::dpdk::Mbuf;
use mpfwd::engine::headers::parse;
use mpfwd::engine::l3::Routes;
use mpfwd::engine::{flow_hash, headers_of};
use namespaces::Namespace;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;

const ROUTES: &str = "\
# prefix           port and neighbour
10.0.0.0/8         0
10.1.0.0/16        1
10.1.2.0/24        1 02:00:00:00:00:99
10.1.2.3/32        0
2001:db8::/32      1
2001:db8:1::/48    0 02:00:00:00:00:98
";

const PEERS: [[u8; 6]; 2] = [[2, 0, 0, 0, 0, 0x77], [2, 0, 0, 0, 0, 0x88]];
const PEER_ARGUMENTS: &str = "--eth-peer 0,02:00:00:00:00:77 --eth-peer 1,02:00:00:00:00:88";

/// A frame to this address, with `number` in its payload.
fn frame(to: IpAddr, hops: u8, number: u32) -> Vec<u8> {
    let link = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
    let ip = match to {
        IpAddr::V4(to) => link.ipv4([192, 0, 2, 1], to.octets(), hops),
        IpAddr::V6(to) => link.ipv6([1; 16], to.octets(), hops),
    };
    let mut bytes = Vec::new();
    ip.udp(1000, 2000).write(&mut bytes, &number.to_be_bytes()).expect("a vector takes all");
    bytes
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// The frame with its tags, one after the other.
fn tagged(frame: &[u8], tags: &[u16]) -> Vec<u8> {
    let tags: Vec<u8> = tags.iter().flat_map(|id| [[0x81, 0], id.to_be_bytes()].concat()).collect();
    [&frame[..12], &tags, &frame[12..]].concat()
}

/// The frame, an IPv4 packet without options, with a 4-byte option added to its
/// header.
fn with_option(frame: &[u8]) -> Vec<u8> {
    let mut longer = [&frame[..34], &[1; 4], &frame[34..]].concat();
    longer[14] = 0x46;
    let total_len = u16::from_be_bytes([longer[16], longer[17]]) + 4;
    longer[16..18].copy_from_slice(&total_len.to_be_bytes());
    set_checksum(&mut longer, 14, 24);
    longer
}

/// Recomputes the checksum from the whole header.
fn set_checksum(frame: &mut [u8], l3: usize, len: usize) {
    frame[l3 + 10..l3 + 12].fill(0);
    let words =
        frame[l3..l3 + len].chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1]));
    let sum = words.fold(0, |sum, word| (sum + word) % 0xffff);
    let checksum = !(if sum == 0 { 0xffff } else { sum } as u16);
    frame[l3 + 10..l3 + 12].copy_from_slice(&checksum.to_be_bytes());
}

/// The frame after a router that sends to `mac` from `own`.
fn routed(frame: &[u8], mac: [u8; 6], own: [u8; 6]) -> Vec<u8> {
    let mut frame = frame.to_vec();
    frame[..6].copy_from_slice(&mac);
    frame[6..12].copy_from_slice(&own);
    let mut l3 = 14;
    while frame[l3 - 2..l3] == [0x81, 0] {
        l3 += 4;
    }
    if frame[l3] >> 4 == 4 {
        frame[l3 + 8] -= 1;
        let len = usize::from(frame[l3] & 0xf) * 4;
        set_checksum(&mut frame, l3, len);
    } else {
        frame[l3 + 7] -= 1;
    }
    frame
}

/// The expected fate of a frame.
enum Fate {
    Leaves(usize, [u8; 6]),
    Dropped(&'static str),
}

fn cases() -> Vec<(Vec<Vec<u8>>, Fate)> {
    let to = |text: &str, number: u32| frame(address(text), 64, number);
    let single = |frame: Vec<u8>| vec![frame];
    let in_pieces = |frame: &[u8], len: usize| frame.chunks(len).map(<[u8]>::to_vec).collect();
    let neighbour = [2, 0, 0, 0, 0, 0x99];
    let mut wrong_checksum = to("10.9.9.9", 11);
    wrong_checksum[24] ^= 0x40;
    let mut wrong_version = to("10.9.9.9", 12);
    wrong_version[14] = 0x65;
    let mut too_long = to("2001:db8::1", 13);
    too_long[18] = 0x40;
    let arp = [&[0xff; 6][..], &[2; 6], &[8, 6], &[0; 46]].concat();
    let mut padded = to("10.1.2.9", 14);
    padded.resize(200, 0);
    vec![
        (single(to("10.9.9.9", 0)), Fate::Leaves(0, PEERS[0])),
        (single(to("10.1.9.9", 1)), Fate::Leaves(1, PEERS[1])),
        (single(to("10.1.2.9", 2)), Fate::Leaves(1, neighbour)),
        (single(to("10.1.2.3", 3)), Fate::Leaves(0, PEERS[0])),
        (single(to("2001:db8::1", 4)), Fate::Leaves(1, PEERS[1])),
        (single(to("2001:db8:1::1", 5)), Fate::Leaves(0, [2, 0, 0, 0, 0, 0x98])),
        (single(frame(address("10.9.9.9"), 2, 6)), Fate::Leaves(0, PEERS[0])),
        (single(frame(address("2001:db8::1"), 2, 6)), Fate::Leaves(1, PEERS[1])),
        (single(tagged(&to("10.1.2.9", 7), &[5])), Fate::Leaves(1, neighbour)),
        (single(tagged(&to("2001:db8::1", 7), &[5, 6])), Fate::Leaves(1, PEERS[1])),
        (single(with_option(&to("10.1.2.9", 8))), Fate::Leaves(1, neighbour)),
        (single(padded), Fate::Leaves(1, neighbour)),
        (in_pieces(&to("10.1.2.9", 9), 1), Fate::Leaves(1, neighbour)),
        (in_pieces(&to("10.1.2.9", 9), 7), Fate::Leaves(1, neighbour)),
        (in_pieces(&with_option(&to("10.1.2.9", 9)), 35), Fate::Leaves(1, neighbour)),
        (
            in_pieces(&tagged(&to("2001:db8:1::1", 9), &[5, 6]), 11),
            Fate::Leaves(0, [2, 0, 0, 0, 0, 0x98]),
        ),
        (single(frame(address("10.9.9.9"), 1, 10)), Fate::Dropped("ttl_expired")),
        (single(frame(address("10.9.9.9"), 0, 10)), Fate::Dropped("ttl_expired")),
        (single(frame(address("2001:db8::1"), 1, 10)), Fate::Dropped("ttl_expired")),
        (single(to("11.0.0.1", 10)), Fate::Dropped("no_route")),
        (single(to("2001:db7::1", 10)), Fate::Dropped("no_route")),
        (single(wrong_checksum), Fate::Dropped("bad_header")),
        (single(wrong_version), Fate::Dropped("bad_header")),
        (single(too_long), Fate::Dropped("bad_header")),
        (single(to("10.9.9.9", 10)[..33].to_vec()), Fate::Dropped("bad_header")),
        (in_pieces(&to("10.9.9.9", 10)[..33], 20), Fate::Dropped("bad_header")),
        (single(vec![2; 13]), Fate::Dropped("bad_header")),
        (single(Vec::new()), Fate::Dropped("bad_header")),
        (single(arp), Fate::Dropped("not_ip")),
    ]
}

fn write_routes(folder: &Path, text: &str) -> String {
    let path = folder.join("routes");
    std::fs::write(&path, text).expect("written");
    path.to_str().expect("plain text").to_owned()
}

fn packet(lab: &Lab, segments: &[Vec<u8>]) -> Mbuf {
    lab.packet(&segments.iter().map(Vec::as_slice).collect::<Vec<_>>())
}

/// Runs the cases that `which` selects, `times` times, and compares every byte.
fn check(lab: &mut Lab, routes: &str, own: &str, times: usize, which: impl Fn(&Fate) -> bool) {
    let mut wires = lab.wires(1024);
    let cases: Vec<_> = (0..times).flat_map(|_| cases()).filter(|(_, fate)| which(fate)).collect();
    let mut wanted = [Vec::new(), Vec::new()];
    let mut causes: HashMap<&str, u64> = HashMap::new();
    for (segments, fate) in &cases {
        match fate {
            Fate::Leaves(port, mac) => wanted[*port].push(routed(
                &segments.concat(),
                *mac,
                wires.ports[*port].mac.into_array(),
            )),
            Fate::Dropped(cause) => *causes.entry(cause).or_default() += 1,
        }
    }
    let packets = cases.iter().map(|(segments, _)| packet(lab, segments)).collect();
    let own = format!(
        "--forward-mode l3 --routes {routes} {PEER_ARGUMENTS} --packets {} {own}",
        cases.len()
    );
    let (report, mut came) =
        lab.run(&own, &mut wires, |rings, over| pass_through([packets, Vec::new()], rings, over));
    let report = as_json(&report);
    assert_books_balance(&report);
    for cause in ["ttl_expired", "no_route", "bad_header", "not_ip"] {
        assert_eq!(
            dropped(&report, cause),
            causes.get(cause).copied().unwrap_or(0),
            "{own}: {cause}: {report:#}"
        );
    }
    if !own.contains("mode rtc") {
        came.iter_mut().chain(&mut wanted).for_each(|list| list.sort());
    }
    for port in 0..2 {
        assert_eq!(came[port].len(), wanted[port].len(), "{own}: packets out of port {port}");
        for (came, wanted) in came[port].iter().zip(&wanted[port]) {
            assert!(
                came == wanted,
                "{own}: out of port {port}:\n{came:02x?}, wanted\n{wanted:02x?}"
            );
        }
    }
    drop(wires);
    lab.assert_has_all_its_buffers();
}

fn every_packet_goes_where_its_route_leads(lab: &mut Lab) {
    let folder = tempfile::tempdir().expect("a folder");
    let routes = write_routes(folder.path(), ROUTES);
    for own in [
        "--mode rtc",
        "--mode rtc --burst 1",
        "--mode rtc --burst 512 --timestamps off",
        "--mode rtc --work spin:cheap=1us",
        "--mode pools --pools 1:1 --work spin:expensive=20us,p=0.3,mark=hash",
        "--pools 1:1 --work spin:expensive=20us,p=0.3,mark=hash,known=no",
        "--mode steal --work spin:expensive=20us,p=0.3,mark=hash,known=no",
        "--mode shed-random --work spin:expensive=20us,p=0.3,mark=hash",
    ] {
        check(lab, &routes, own, 20, |_| true);
        // Bursts that leave by one port, with or without a packet to drop in
        // between.
        check(lab, &routes, own, 20, |fate| !matches!(fate, Fate::Leaves(0, _)));
        check(lab, &routes, own, 20, |fate| matches!(fate, Fate::Leaves(1, _)));
        check(lab, &routes, own, 20, |fate| matches!(fate, Fate::Dropped(_)));
    }
}

/// The parser finds the same headers and the same flow, however a frame is
/// split into segments.
fn segments_make_no_difference(lab: &Lab) {
    for (segments, _) in cases() {
        let frame = segments.concat();
        let whole = packet(lab, std::slice::from_ref(&frame));
        assert_eq!(headers_of(&whole), parse(&frame));
        assert_eq!(flow_hash(&whole), parse(&frame).key.symmetric_hash());
        for len in [1, 13, 20, 38, 50].into_iter().filter(|_| !frame.is_empty()) {
            let parted = packet(lab, &frame.chunks(len).map(<[u8]>::to_vec).collect::<Vec<_>>());
            assert_eq!(headers_of(&parted), parse(&frame), "segments of {len} bytes: {frame:02x?}");
            assert_eq!(flow_hash(&parted), flow_hash(&whole));
        }
    }
}

fn default_routes_take_the_rest(lab: &mut Lab) {
    let folder = tempfile::tempdir().expect("a folder");
    for text in [
        "0.0.0.0/0 1\n::/0 0\n",
        "0.0.0.0/0 1\n::/0 0\n10.0.0.0/8 1\n2001:db8::/32 0\n255.255.255.255/32 0\n",
    ] {
        let routes = write_routes(folder.path(), text);
        let mut wires = lab.wires(1024);
        let to =
            ["10.1.1.1", "1.0.0.1", "223.0.0.1", "2001:db8::1", "::2:1", "fe00::1"].map(address);
        let packets = to.iter().map(|&to| packet(lab, &[frame(to, 9, 0)])).collect();
        let own = format!("--forward-mode l3 --routes {routes} --packets {}", to.len());
        let (report, came) = lab
            .run(&own, &mut wires, |rings, over| pass_through([Vec::new(), packets], rings, over));
        assert_books_balance(&as_json(&report));
        assert_eq!(came.map(|list| list.len()), [3, 3], "IPv4 by port 1, IPv6 by port 0");
    }
}

/// Random addresses, half of them covered by a route.
fn addresses(random: &mut SmallRng, routes: &Routes, ipv6: bool, count: usize) -> Vec<IpAddr> {
    let ipv4 = |random: &mut SmallRng| loop {
        let route = routes.ipv4[random.random_range(0..routes.ipv4.len())];
        let inside = route.prefix
            | random.random::<u32>() & u32::MAX.checked_shr(route.length.into()).unwrap_or(0);
        let address = Ipv4Addr::from_bits(if random.random() { inside } else { random.random() });
        // Addresses that Linux does not route as unicast.
        let is_near = address.is_loopback() || address.is_link_local();
        if !(is_near || address.octets()[0] == 0 || address.octets()[0] >= 224) {
            return address.into();
        }
    };
    let ipv6_of = |random: &mut SmallRng| {
        let route = routes.ipv6[random.random_range(0..routes.ipv6.len())];
        let inside = route.prefix
            | random.random::<u128>() & u128::MAX.checked_shr(route.length.into()).unwrap_or(0);
        IpAddr::V6(Ipv6Addr::from_bits(if random.random() {
            inside
        } else {
            random.random::<u128>() >> 3 | 1 << 125
        }))
    };
    (0..count).map(|_| if ipv6 { ipv6_of(random) } else { ipv4(random) }).collect()
}

/// Runs `ip -batch` inside; returns its standard output.
fn batch(namespace: &Namespace, arguments: &[&str], lines: &str, may_fail: bool) -> String {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(lines.as_bytes()).expect("written");
    let output = namespace.inside(|| {
        Command::new("ip")
            .args(arguments)
            .arg("-batch")
            .arg(file.path())
            .stdin(Stdio::null())
            .output()
            .expect("ip runs")
    });
    assert!(
        may_fail || output.status.success(),
        "ip -batch: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("text")
}

/// Gives Linux the same routes. Each neighbour is a gateway whose last two
/// bytes are the port's number and its MAC's last byte.
fn give_routes(namespace: &Namespace, routes: &Routes) {
    namespace.ip("link set lo up");
    for port in 0..2 {
        namespace.ip(&format!("link add d{port} type veth peer name e{port}"));
        [format!("link set d{port} up"), format!("link set e{port} up")]
            .iter()
            .for_each(|line| namespace.ip(line));
    }
    namespace.ip("addr add 240.0.9.9/32 dev lo");
    namespace.ip("-6 addr add fd00::1/128 dev lo nodad");
    let mut lines = String::new();
    let hop = |hop: u32| {
        let hop = &routes.hops[hop as usize];
        (hop.port, hop.mac.expect("mplab names a neighbour").into_array()[5])
    };
    for route in &routes.ipv4 {
        let ((port, neighbour), prefix) = (hop(route.hop), Ipv4Addr::from_bits(route.prefix));
        writeln!(
            lines,
            "route add {prefix}/{} via 240.0.{port}.{neighbour} dev d{port} onlink",
            route.length
        )
        .expect("text");
    }
    for route in &routes.ipv6 {
        let ((port, neighbour), prefix) = (hop(route.hop), Ipv6Addr::from_bits(route.prefix));
        writeln!(
            lines,
            "route add {prefix}/{} via fe80::{port}:{neighbour} dev d{port}",
            route.length
        )
        .expect("text");
    }
    batch(namespace, &[], &lines, false);
}

/// The port and the neighbour of each address that Linux has a route for.
fn ask_linux(namespace: &Namespace, addresses: &[IpAddr]) -> HashMap<IpAddr, (u16, u8)> {
    let lines: String = addresses.iter().map(|address| format!("route get {address}\n")).collect();
    let answers = batch(namespace, &["-oneline", "-force"], &lines, true);
    let answer = |line: &str| {
        let mut words = line.split_whitespace();
        let address = words.next()?.parse().ok()?;
        words.find(|word| *word == "via").unwrap_or_else(|| panic!("no gateway in {line}"));
        let gateway = words.next()?;
        let (port, neighbour) = gateway.rsplit_once(['.', ':']).expect("two numbers at the end");
        let port = port.rsplit(['.', ':']).next().filter(|port| !port.is_empty()).unwrap_or("0");
        Some((address, (port.parse().expect("a port"), neighbour.parse().expect("a neighbour"))))
    };
    answers.lines().filter_map(answer).collect()
}

/// Sends a packet to each address through mpfwd. Returns, by address, the port
/// it left by and the last byte of its new MAC address.
fn ask_mpfwd(
    lab: &mut Lab,
    routes: &str,
    addresses: &[IpAddr],
) -> (HashMap<IpAddr, (u16, u8)>, Value) {
    let mut wires = lab.wires(1024);
    let packets = addresses
        .iter()
        .zip(0..)
        .map(|(&to, number)| packet(lab, &[frame(to, 64, number)]))
        .collect();
    let own =
        format!("--mode rtc --forward-mode l3 --routes {routes} --packets {}", addresses.len());
    let (report, came) =
        lab.run(&own, &mut wires, |rings, over| pass_through([packets, Vec::new()], rings, over));
    let number = |frame: &[u8]| u32::from_be_bytes(*frame.last_chunk().expect("a payload"));
    let answer = |port: u16, frame: &[u8]| (addresses[number(frame) as usize], (port, frame[5]));
    let answers =
        (0..).zip(&came).flat_map(|(port, list)| list.iter().map(move |frame| (port, frame)));
    (answers.map(|(port, frame)| answer(port, frame)).collect(), as_json(&report))
}

fn routes_agree_with_linux(lab: &mut Lab) {
    let Some([namespace]) = Namespace::some() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("routes");
    let made = Command::new(common::mplab())
        .args([
            "routes",
            "--count",
            "20000",
            "--ipv6-count",
            "5000",
            "--ports",
            "2",
            "--seed",
            "9",
            "--out",
        ])
        .arg(&path)
        .status();
    assert!(made.expect("mplab runs").success());
    let text = std::fs::read_to_string(&path).expect("a file");
    let routes = Routes::parse(&text).expect("valid routes, none of them twice");
    assert_eq!((routes.ipv4.len(), routes.ipv6.len(), routes.hops.len()), (20_000, 5_000, 2 * 16));
    let of_24 = routes.ipv4.iter().filter(|route| route.length == 24).count();
    assert!((11_200..12_400).contains(&of_24), "{of_24}");
    give_routes(&namespace, &routes);
    let mut random = SmallRng::seed_from_u64(4);
    for ipv6 in [false, false, false, false, true, true] {
        let addresses = addresses(&mut random, &routes, ipv6, 3000);
        let linux = ask_linux(&namespace, &addresses);
        let (mpfwd, report) = ask_mpfwd(lab, path.to_str().expect("plain text"), &addresses);
        assert_books_balance(&report);
        let routed = addresses.iter().filter(|address| linux.contains_key(address)).count();
        assert!(
            routed > 1000 && routed < 3000,
            "{routed} of 3,000 have a route: both answers are asked for"
        );
        for address in &addresses {
            assert_eq!(mpfwd.get(address), linux.get(address), "port and neighbour for {address}");
        }
        assert_eq!(dropped(&report, "no_route"), 3000 - routed as u64);
    }
}

/// EAL starts once per process, so the cases share one test.
#[test]
fn l3() {
    let mut lab = Lab::start(2);
    segments_make_no_difference(&lab);
    every_packet_goes_where_its_route_leads(&mut lab);
    default_routes_take_the_rest(&mut lab);
    routes_agree_with_linux(&mut lab);
}
