//! The parser against arbitrary bytes, against frames that etherparse builds,
//! and against etherparse on damaged frames.

use etherparse::{
    IpNumber, LaxNetSlice, LaxSlicedPacket, NetHeaders, PacketBuilder, PacketHeaders,
    TransportSlice,
};
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// The invariants of every result.
fn check(frame: &[u8]) -> Headers {
    let headers = parse(frame);
    assert!(
        headers.l3 <= headers.l4
            && headers.l4 <= headers.payload
            && headers.payload <= headers.end
            && headers.end <= frame.len()
    );
    let front = parse_front(&frame[..frame.len().min(FRONT_MAX)], frame.len());
    assert!(front.truncated.is_some() || front == headers, "the front is enough");
    if let Some(hash) = plain_flow_hash(frame).or_else(|| plain_mac_hash(frame)) {
        let key = if headers.fragment { headers.key.without_ports() } else { headers.key };
        assert_eq!(hash, key.symmetric_hash(), "the fast path agrees with the parser");
    }
    assert!((0..headers.vlans).all(|place| headers.vlan_tag(frame, place).is_some()));
    assert_eq!(headers.vlan_tag(frame, headers.vlans), None);
    let (there, back) = (headers.key, turned(headers.key));
    assert_eq!(there.symmetric(), back.symmetric());
    assert_eq!(there.symmetric_hash(), back.symmetric_hash());
    headers
}

fn turned(key: FlowKey) -> FlowKey {
    FlowKey { source: key.destination, destination: key.source, ..key }
}

/// A frame as a host could send it.
#[derive(Clone, Debug)]
struct Built {
    source: ([u8; 16], u16),
    destination: ([u8; 16], u16),
    ipv6: bool,
    tcp: bool,
    vlans: usize,
    payload: Vec<u8>,
}

impl Built {
    fn bytes(&self) -> Vec<u8> {
        let Self { source: (source, sport), destination: (destination, dport), .. } = *self;
        let v4 = |address: [u8; 16]| address[12..].try_into().expect("four bytes");
        let ethernet = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
        let vlan = |id: u16| etherparse::VlanId::try_new(id).expect("below 4096");
        macro_rules! ip {
            ($link:expr) => {{
                let ip = if self.ipv6 {
                    $link.ipv6(source, destination, 64)
                } else {
                    $link.ipv4(v4(source), v4(destination), 64)
                };
                let mut bytes = Vec::new();
                match self.tcp {
                    true => ip.tcp(sport, dport, 7, 1024).write(&mut bytes, &self.payload),
                    false => ip.udp(sport, dport).write(&mut bytes, &self.payload),
                }
                .expect("a vector takes all");
                bytes
            }};
        }
        match self.vlans {
            0 => ip!(ethernet),
            1 => ip!(ethernet.single_vlan(vlan(10))),
            _ => ip!(ethernet.double_vlan(vlan(10), vlan(11))),
        }
    }

    fn key(&self) -> FlowKey {
        let family = if self.ipv6 { Family::Ipv6 } else { Family::Ipv4 };
        let bytes = if self.ipv6 { 0 } else { 12 };
        let key = FlowKey::addresses(family, &self.source.0[bytes..], &self.destination.0[bytes..]);
        key.with_ports(if self.tcp { 6 } else { 17 }, self.source.1, self.destination.1)
    }
}

fn built() -> impl Strategy<Value = Built> {
    let end = || (any::<[u8; 16]>(), any::<u16>());
    (end(), end(), any::<bool>(), any::<bool>(), 0..=2usize, vec(any::<u8>(), 0..64)).prop_map(
        |(source, destination, ipv6, tcp, vlans, payload)| Built {
            source,
            destination,
            ipv6,
            tcp,
            vlans,
            payload,
        },
    )
}

/// Bytes that mostly pass the first checks: EtherTypes, versions and protocols
/// that mean something, and random ones between.
fn likely() -> impl Strategy<Value = Vec<u8>> {
    let tag = prop_oneof![Just(0x8100u16), Just(0x88a8), Just(0x9100)];
    let inner = prop_oneof![Just(0x0800u16), Just(0x86dd), Just(0x0806), any::<u16>()];
    let first =
        prop_oneof![Just(0x45u8), Just(0x46), Just(0x4f), Just(0x44), Just(0x60), any::<u8>()];
    let protocol = prop_oneof![
        Just(6u8),
        Just(17),
        Just(0),
        Just(43),
        Just(44),
        Just(51),
        Just(60),
        Just(59),
        any::<u8>()
    ];
    (vec(tag, 0..12), inner, first, vec(protocol, 0..12), vec(any::<u8>(), 0..400)).prop_map(
        |(tags, inner, first, protocols, mut rest)| {
            let mut frame = vec![2; 12];
            for tag in tags {
                frame.extend(tag.to_be_bytes());
                frame.extend([0, 7]);
            }
            frame.extend(inner.to_be_bytes());
            if let Some(byte) = rest.first_mut() {
                *byte = first;
            }
            // IPv4's protocol, IPv6's, and a chain of extension headers of 8
            // bytes.
            let places = [9, 6].into_iter().chain((40..).step_by(8));
            for (place, protocol) in places.zip(protocols) {
                if let Some(byte) = rest.get_mut(place) {
                    *byte = protocol;
                }
                if let Some(length) = rest.get_mut(place + 1).filter(|_| place >= 40) {
                    *length &= 1;
                }
            }
            frame.extend(rest);
            frame
        },
    )
}

/// Compares with etherparse's lax parse of the frame.
fn agrees_with_etherparse(frame: &[u8], headers: &Headers) {
    let Ok(other) = LaxSlicedPacket::from_ethernet(frame) else { return };
    let Some(net) = &other.net else { return };
    // Both may say less than the other of a truncated packet.
    if other.stop_err.is_some()
        || headers.truncated.is_some()
        || headers.end - headers.l3 > FRONT_MAX
    {
        return;
    }
    let payload = other.ip_payload().expect("only IP is asked for");
    let at = payload.payload.as_ptr() as usize - frame.as_ptr() as usize;
    assert_eq!(
        headers.network,
        if matches!(net, LaxNetSlice::Ipv4(_)) { Network::Ipv4 } else { Network::Ipv6 }
    );
    assert_eq!((headers.l4, headers.fragment), (at, payload.fragmented));
    if headers.protocol != 17 {
        assert_eq!(headers.end, at + payload.payload.len());
    }
    assert_eq!(IpNumber(headers.protocol), payload.ip_number);
    let of_transport = match &other.transport {
        Some(TransportSlice::Tcp(tcp)) => {
            Some((tcp.source_port(), tcp.destination_port(), tcp.payload()))
        }
        Some(TransportSlice::Udp(udp)) => {
            Some((udp.source_port(), udp.destination_port(), udp.payload()))
        }
        _ => None,
    };
    if let Some((source, destination, payload)) = of_transport {
        assert_eq!((headers.key.source.port, headers.key.destination.port), (source, destination));
        assert_eq!(headers.payload, payload.as_ptr() as usize - frame.as_ptr() as usize);
    }
}

proptest! {
    #[test]
    fn any_bytes_are_accepted(frame in vec(any::<u8>(), 0..600)) {
        check(&frame);
    }

    #[test]
    fn likely_bytes_are_accepted(frame in likely()) {
        let headers = check(&frame);
        let plain_ip = headers.vlans <= 3 && headers.network != Network::Other && !has_old_extension(&frame, &headers);
        if plain_ip {
            agrees_with_etherparse(&frame, &headers);
        }
    }

    #[test]
    fn built_frames_are_parsed_back(built in built(), padding in 0..20usize) {
        let mut frame = built.bytes();
        let len = frame.len();
        frame.extend(vec![0; padding]);
        let headers = check(&frame);
        prop_assert_eq!(headers.key, built.key());
        prop_assert_eq!(headers.vlans, built.vlans);
        prop_assert_eq!((headers.truncated, headers.fragment), (None, false));
        prop_assert_eq!(headers.l3, 14 + 4 * built.vlans);
        prop_assert_eq!(headers.l4 - headers.l3, if built.ipv6 { 40 } else { 20 });
        prop_assert_eq!(headers.payload - headers.l4, if built.tcp { 20 } else { 8 });
        prop_assert_eq!((&frame[headers.payload..headers.end], headers.end), (&built.payload[..], len));
        prop_assert_eq!(plain_flow_hash(&frame).is_some(), built.vlans == 0);
        agrees_with_etherparse(&frame, &headers);
    }

    #[test]
    fn a_truncated_frame_is_reported(built in built(), cut in any::<prop::sample::Index>()) {
        let mut frame = built.bytes();
        frame.truncate(cut.index(frame.len()));
        let headers = check(&frame);
        prop_assert!(headers.truncated.is_some());
        if frame.len() >= headers.l3 + 44 {
            prop_assert_eq!(headers.key, built.key(), "ports that are there count");
        }
    }

    #[test]
    fn a_damaged_byte_does_no_harm(built in built(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut frame = built.bytes();
        let at = at.index(frame.len());
        frame[at] = byte;
        let headers = check(&frame);
        if headers.network != Network::Other && !has_old_extension(&frame, &headers) {
            agrees_with_etherparse(&frame, &headers);
        }
    }

    #[test]
    fn both_directions_are_one_flow(built in built()) {
        let back = Built { source: built.destination, destination: built.source, ..built.clone() };
        let [there, back] = [built, back].map(|built| check(&built.bytes()).key);
        prop_assert_eq!(there.symmetric(), back.symmetric());
        prop_assert_eq!(there.symmetric_hash(), back.symmetric_hash());
    }
}

/// Chains that etherparse parses differently by design: in any order, more than
/// one of a kind, and extensions that it does not follow.
fn has_old_extension(frame: &[u8], headers: &Headers) -> bool {
    let strict = PacketHeaders::from_ethernet_slice(frame);
    let plain = strict.is_ok_and(|packet| {
        packet.net.is_some_and(|net| match net {
            NetHeaders::Ipv4(_, extensions) => extensions.auth.is_none(),
            NetHeaders::Ipv6(_, extensions) => extensions == Default::default(),
            NetHeaders::Arp(_) => false,
        })
    });
    !plain || matches!(headers.protocol, 135 | 139 | 140)
}

/// An IPv6 packet with this chain of headers, each with its number, with UDP
/// ports 1 and 2 behind.
fn chained(chain: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let udp = [0, 1, 0, 2, 0, 8, 0, 0];
    let len: usize = chain.iter().map(|(_, bytes)| bytes.len()).sum::<usize>() + udp.len();
    let mut frame =
        [&[2; 12][..], &[0x86, 0xdd, 0x60, 0, 0, 0], &(len as u16).to_be_bytes()].concat();
    let numbers: Vec<u8> = chain.iter().map(|(number, _)| *number).chain([17]).collect();
    frame.extend([numbers[0], 64]);
    frame.extend([[1; 16], [2; 16]].concat());
    for ((_, bytes), next) in chain.iter().zip(&numbers[1..]) {
        frame.push(*next);
        frame.extend(&bytes[1..]);
    }
    frame.extend(udp);
    frame
}

fn options(units: u8) -> Vec<u8> {
    let mut bytes = vec![0; 8 + 8 * usize::from(units)];
    bytes[1] = units;
    bytes
}

#[test]
fn chains_of_extension_headers_are_followed() {
    let authentication = [vec![0, 4], vec![0; 22]].concat();
    for (chain, len) in [
        (vec![(0, options(0))], 8),
        (vec![(0, options(1)), (43, options(2)), (60, options(0))], 48),
        (vec![(51, authentication)], 24),
        (vec![(44, options(0))], 8),
        (vec![(135, options(0)), (139, options(0)), (140, options(0))], 24),
        (vec![(60, options(0)); 9], 72),
        (vec![(60, options(0)); 150], 1200),
    ] {
        let headers = check(&chained(&chain));
        assert_eq!(
            (headers.truncated, headers.protocol, headers.l4, headers.fragment),
            (None, 17, 54 + len, false),
            "{chain:?}"
        );
        assert_eq!((headers.key.source.port, headers.key.destination.port), (1, 2));
    }
}

#[test]
fn overlong_chains_are_truncated() {
    for chain in [
        vec![(60, vec![0, 200, 0, 0, 0, 0, 0, 0])],
        vec![(60, options(0)), (43, vec![0, 9, 0, 0, 0, 0, 0, 0])],
    ] {
        let headers = check(&chained(&chain));
        assert_eq!(headers.truncated, Some(Layer::Transport), "{chain:?}");
        assert!(!headers.key.has_ports, "the addresses alone");
    }
}

#[test]
fn only_the_first_fragment_has_ports() {
    let fragment =
        |offset: u16| [vec![0, 0], offset.to_be_bytes().to_vec(), vec![9, 8, 7, 6]].concat();
    for (offset, l4) in [(1, 62), (8, 62), (9, 62)] {
        let headers = check(&chained(&[(44, fragment(offset))]));
        assert_eq!(
            (headers.fragment, headers.is_later, headers.key.has_ports),
            (true, offset >= 8, offset < 8)
        );
        assert_eq!(headers.fragment_id, 0x0908_0706);
        assert_eq!((headers.l4, headers.payload), (l4, if offset == 1 { l4 + 8 } else { l4 }));
    }
    let whole = check(&chained(&[(44, fragment(0))]));
    assert!(!whole.fragment && whole.key.has_ports, "an atomic fragment (RFC 6946)");
    let end = ([1; 16], 5);
    let mut frame = Built {
        source: end,
        destination: end,
        ipv6: false,
        tcp: false,
        vlans: 0,
        payload: vec![9; 32],
    }
    .bytes();
    frame[18..20].copy_from_slice(&[0x12, 0x34]);
    for (flags, fragment) in [(0x4000u16, false), (0x2000, true), (0x2001, true), (0x0001, true)] {
        frame[20..22].copy_from_slice(&flags.to_be_bytes());
        let headers = check(&frame);
        let is_later = flags & 0x1fff != 0;
        assert_eq!(
            (headers.fragment, headers.is_later, headers.key.has_ports),
            (fragment, is_later, !is_later)
        );
        assert_eq!(headers.fragment_id, if fragment { 0x1234 } else { 0 });
        assert_eq!(headers.payload, if is_later { 34 } else { 42 });
        assert_eq!(headers.key.without_ports(), check(&frame).key.without_ports());
    }
}

#[test]
fn other_transports_have_ports_and_the_rest_a_number() {
    let mut frame = Built {
        source: ([1; 16], 5),
        destination: ([2; 16], 6),
        ipv6: false,
        tcp: true,
        vlans: 0,
        payload: vec![9; 32],
    }
    .bytes();
    // DCCP's length of 5 words is where TCP has the sequence number.
    frame[38] = 5;
    for (protocol, payload) in
        [(132, Some(12)), (136, Some(8)), (33, Some(20)), (1, None), (50, None)]
    {
        frame[23] = protocol;
        let headers = check(&frame);
        assert_eq!(headers.key.protocol, u16::from(protocol));
        assert_eq!(headers.key.has_ports, payload.is_some());
        assert_eq!(headers.payload, 34 + payload.unwrap_or(0));
        let ports = if payload.is_some() { (5, 6) } else { (0, 0) };
        assert_eq!((headers.key.source.port, headers.key.destination.port), ports);
    }
}

#[test]
fn lengths_of_zero_are_read_as_hosts_read_them() {
    let end = |n| ([n; 16], 5);
    let built = |ipv6| Built {
        source: end(1),
        destination: end(2),
        ipv6,
        tcp: false,
        vlans: 0,
        payload: vec![9; 32],
    };
    let mut ipv4 = built(false).bytes();
    ipv4[16..18].fill(0);
    let headers = check(&ipv4);
    assert_eq!((headers.truncated, headers.end), (None, ipv4.len()));
    let mut udp = built(true).bytes();
    udp[58..60].fill(0);
    let headers = check(&udp);
    assert_eq!((headers.truncated, headers.payload, headers.end), (None, 62, udp.len()));
    let mut jumbo = chained(&[(0, options(0))]);
    jumbo[18..20].fill(0);
    let headers = check(&jumbo);
    assert_eq!((headers.truncated, headers.key.has_ports, headers.end), (None, true, jumbo.len()));
}

#[test]
fn stacks_of_tags_are_bounded() {
    for tags in [1, 3, VLANS_MAX, VLANS_MAX + 1, 40] {
        let mut frame = vec![2; 12];
        (0..tags).for_each(|tag| frame.extend([0x81, 0, 0, tag as u8]));
        let built = Built {
            source: ([1; 16], 5),
            destination: ([2; 16], 6),
            ipv6: false,
            tcp: true,
            vlans: 0,
            payload: Vec::new(),
        };
        frame.extend(&built.bytes()[12..]);
        let headers = check(&frame);
        assert_eq!(headers.vlans, tags.min(VLANS_MAX));
        assert_eq!(headers.network, if tags > VLANS_MAX { Network::Other } else { Network::Ipv4 });
        assert_eq!(headers.vlan_tag(&frame, headers.vlans - 1), Some(headers.vlans as u16 - 1));
    }
}

#[test]
fn frames_without_ip_are_keyed_by_macs() {
    let arp = [&[1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 8, 6][..], &[0; 46]].concat();
    let headers = check(&arp);
    assert_eq!(
        (headers.network, headers.truncated, headers.l3, headers.end),
        (Network::Other, None, 14, 60)
    );
    assert_eq!((headers.key.family, &headers.key.source.address[10..]), (Family::Mac, &[2; 6][..]));
    assert_eq!((headers.key.protocol, headers.ether_type), (0x0806, 0x0806));
    assert_eq!(check(&[]).truncated, Some(Layer::Link));
    assert_eq!(check(&arp[..13]).truncated, Some(Layer::Link));
}

#[test]
fn captured_frames_are_sound() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fuzz/corpus/headers");
    for file in std::fs::read_dir(folder).expect("the corpus") {
        let path = file.expect("a file").path();
        let frame = std::fs::read(&path).expect("a frame");
        let headers = check(&frame);
        assert_eq!(headers.truncated, None, "{}: {headers:?}", path.display());
        if headers.network != Network::Other {
            agrees_with_etherparse(&frame, &headers);
        }
    }
}

#[test]
fn hashes_spread() {
    let mut buckets = [0u32; 64];
    for n in 0..64_000u32 {
        let address = |low: u32| {
            [&[0; 10][..], &[10, 0], &low.to_be_bytes()].concat().try_into().expect("16 bytes")
        };
        let end = |low, port| (address(low), port);
        let built = Built {
            source: end(n >> 4, 1024 + (n & 15) as u16),
            destination: end(1, 80),
            ipv6: n % 2 == 0,
            tcp: true,
            vlans: 0,
            payload: vec![],
        };
        buckets[check(&built.bytes()).key.symmetric_hash() as usize % 64] += 1;
    }
    assert!(buckets.iter().all(|count| (850..1150).contains(count)), "{buckets:?}");
}
