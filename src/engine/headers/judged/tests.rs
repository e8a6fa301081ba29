//! Packets in all kinds of tunnels: each packet of a flow has its key, and no
//! packet of another flow has it. The second opinion is etherparse's, of the
//! packet inside.

use etherparse::{LaxSlicedPacket, TransportSlice};
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::engine::headers::enclosed::{Flow, Wrap, enclose, ip};

fn judged(frame: &[u8]) -> Judged {
    let judged = judge(frame, frame.len(), FlowBy::default());
    let Headers { l3, l4, payload, end, .. } = judged.headers;
    assert!(l3 <= l4 && l4 <= payload && payload <= end && end <= frame.len(), "{judged:?}");
    judged
}

fn wrap() -> impl Strategy<Value = Wrap> {
    prop_oneof![
        (1..4095u16).prop_map(Wrap::Vlan),
        (1..5u8).prop_map(Wrap::Mpls),
        any::<u16>().prop_map(Wrap::Pppoe),
        any::<bool>().prop_map(Wrap::Ip),
        (any::<Option<u32>>(), any::<bool>()).prop_map(|(key, bridged)| Wrap::Gre(key, bridged)),
        (0..1u32 << 24).prop_map(Wrap::Vxlan),
        (0..1u32 << 24, 0..8u8).prop_map(|(network, words)| Wrap::Geneve(network, words)),
        any::<bool>().prop_map(Wrap::Gtp),
    ]
}

fn flow() -> impl Strategy<Value = Flow> {
    (any::<bool>(), any::<[[u8; 16]; 2]>(), any::<[u16; 2]>())
        .prop_map(|(ipv6, hosts, ports)| Flow { ipv6, hosts, ports })
}

/// The identifiers that tell address spaces apart, as numbers.
fn spaces(wraps: &[Wrap]) -> Vec<(u8, u32)> {
    let space = |wrap: &Wrap| match *wrap {
        Wrap::Vlan(id) => Some((1, u32::from(id))),
        Wrap::Pppoe(session) => Some((2, u32::from(session))),
        Wrap::Gre(Some(key), _) => Some((3, key)),
        Wrap::Vxlan(network) => Some((4, network)),
        Wrap::Geneve(network, _) => Some((5, network)),
        _ => None,
    };
    wraps.iter().filter_map(space).collect()
}

proptest! {
    #[test]
    fn packets_of_an_inner_flow_have_its_key_whatever_encloses_them(
        flow in flow(), wraps in vec(wrap(), 0..4), payload in vec(any::<u8>(), 0..60),
    ) {
        let [there, back] = [false, true].map(|back| {
            enclose(flow.packet(&payload, back), &wraps, back)
        });
        let found = judged(&there);
        if found.standing != Standing::Known {
            prop_assert!(wraps.len() > 2, "too many identifiers only: {found:?}");
            return Ok(());
        }
        let bare = enclose(flow.packet(&payload, false), &[], false);
        let plain = judged(&bare);
        let without_scope = FlowKey { scope: Scope::default(), ..found.headers.key };
        prop_assert_eq!(without_scope, plain.headers.key);
        prop_assert_eq!(&there[found.headers.payload..found.headers.end], &payload[..]);
        prop_assert_eq!(found.headers.key.scope.is_empty(), spaces(&wraps).is_empty());
        prop_assert_eq!(found.headers.key.symmetric(), judged(&back).headers.key.symmetric());
        let other = LaxSlicedPacket::from_ip(&there[found.headers.l3..]).expect("IP");
        let Some(TransportSlice::Udp(udp)) = &other.transport else { panic!("not UDP: {other:?}") };
        let ports = (found.headers.key.source.port, found.headers.key.destination.port);
        prop_assert_eq!((udp.source_port(), udp.destination_port()), ports);
        prop_assert_eq!(udp.payload(), &payload[..]);
    }

    #[test]
    fn two_flows_have_two_keys(
        flow in flow(), other in flow(), wraps in vec(wrap(), 0..3), others in vec(wrap(), 0..3),
    ) {
        let key = |flow: &Flow, wraps: &[Wrap]| {
            judged(&enclose(flow.packet(b"x", false), wraps, false)).headers.key.symmetric()
        };
        let is_same = |a: &Flow, b: &Flow| {
            judged(&enclose(a.packet(b"x", false), &[], false)).headers.key.symmetric()
                == judged(&enclose(b.packet(b"x", false), &[], false)).headers.key.symmetric()
        };
        prop_assert_eq!(key(&flow, &wraps) == key(&other, &wraps), is_same(&flow, &other));
        prop_assert_eq!(key(&flow, &wraps) == key(&flow, &others), spaces(&wraps) == spaces(&others));
    }

    #[test]
    fn any_byte_may_be_wrong(
        flow in flow(), wraps in vec(wrap(), 0..4), at in any::<prop::sample::Index>(),
        byte in any::<u8>(), cut in any::<prop::sample::Index>(),
    ) {
        let mut frame = enclose(flow.packet(b"payload", false), &wraps, false);
        let at = at.index(frame.len());
        frame[at] = byte;
        judged(&frame);
        frame.truncate(cut.index(frame.len()));
        judged(&frame);
    }
}

const FLOW: Flow = Flow { ipv6: false, hosts: [[1; 16], [2; 16]], ports: [5, 6] };

#[test]
fn tunnels_are_followed_up_to_a_depth() {
    for depth in 0..=TUNNELS_MAX + 1 {
        let wraps = vec![Wrap::Ip(false); depth];
        let found = judged(&enclose(FLOW.packet(b"x", false), &wraps, false));
        let is_deep = depth > TUNNELS_MAX;
        assert_eq!(found.tunnels, depth.min(TUNNELS_MAX));
        assert_eq!(found.standing == Standing::Known, !is_deep, "{depth}: {found:?}");
    }
}

#[test]
fn the_outer_flow_and_no_vlan_may_be_asked_for() {
    let frame = enclose(FLOW.packet(b"x", false), &[Wrap::Vxlan(7), Wrap::Vlan(9)], false);
    let by = |inner, vlans| judge(&frame, frame.len(), FlowBy { inner, vlans });
    let outer = by(false, true);
    assert_eq!((outer.headers.key.destination.port, outer.tunnels), (4789, 0));
    assert_eq!(outer.standing, Standing::Known);
    assert_eq!(by(true, true).headers.key.destination.port, 6);
    let (with, without) = (by(true, true).headers.key, by(true, false).headers.key);
    assert_ne!(with.scope, without.scope);
    assert!(!without.scope.is_empty(), "the network stays");
}

#[test]
fn what_only_looks_like_a_tunnel_is_a_flow_like_others() {
    let mut frame = enclose(FLOW.packet(b"x", false), &[Wrap::Vxlan(7)], false);
    // The inner IPv4 header's checksum.
    let at = frame.len() - 9 - 10;
    frame[at] ^= 0x55;
    let found = judged(&frame);
    assert_eq!((found.tunnels, found.headers.key.destination.port), (0, 4789));
    // Bytes behind the packet inside would be scanned by nobody.
    let longer = [enclose(FLOW.packet(b"x", false), &[], false), vec![7; 80]].concat();
    let ends = [[7; 16], [8; 16]];
    let payload = [&[8, 0, 0, 0, 0, 0, 7, 0][..], &longer].concat();
    let udp = [&[0xc3, 0x50, 0x12, 0xb5][..], &((payload.len() + 8) as u16).to_be_bytes(), &[0, 0]];
    let frame = enclose(ip(false, 17, ends, &[&udp.concat()[..], &payload].concat()), &[], false);
    assert_eq!((judged(&frame).tunnels, judged(&frame).standing), (0, Standing::Known));
}

#[test]
fn what_no_flow_can_be_without_is_exempt() {
    let arp = [&[0xff; 6][..], &[2; 6], &[8, 6], &[0; 46]].concat();
    assert_eq!(judged(&arp).standing, Standing::Exempt);
    for (kind, hops, wanted) in [
        (133, 255, Standing::Exempt),
        (136, 255, Standing::Exempt),
        (135, 254, Standing::Known),
        (128, 255, Standing::Known),
    ] {
        let mut message = ip(true, 58, [[1; 16], [2; 16]], &[kind, 0, 0, 0, 0, 0, 0, 0]);
        message[7] = hops;
        assert_eq!(judged(&enclose(message, &[], false)).standing, wanted, "{kind}, {hops}");
    }
    let lcp = [&[2; 6][..], &[4; 6], &[0x88, 0x64, 0x11, 0, 0, 7, 0, 6, 0xc0, 0x21, 9, 1, 0, 4]];
    assert_eq!(judged(&lcp.concat()).standing, Standing::Exempt);
}

#[test]
fn what_cannot_be_told_is_unclear() {
    let labels = [&[2; 6][..], &[4; 6], &[0x88, 0x47, 0, 1, 1, 64], &[0xff; 40]].concat();
    assert_eq!(judged(&labels).standing, Standing::Unclear(Doubt::Nothing));
    let mut chain = ip(true, 60, [[1; 16], [2; 16]], &[17, 200, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4]);
    assert_eq!(
        judged(&enclose(chain.clone(), &[], false)).standing,
        Standing::Unclear(Doubt::Addresses)
    );
    chain.truncate(30);
    let cut = [&[2; 6][..], &[4; 6], &[0x86, 0xdd], &chain].concat();
    assert_eq!(judged(&cut).standing, Standing::Unclear(Doubt::Nothing));
}

#[test]
fn fragments_have_their_identification_in_common() {
    let mut first = FLOW.packet(&[9; 64], false);
    first[6] = 0x20;
    let mut later = first.clone();
    later[7] = 9;
    let [first, later, back] = [first, later.clone(), {
        later[12..20].rotate_left(4);
        later
    }]
    .map(|packet| judged(&enclose(packet, &[], false)));
    assert_eq!((first.standing, later.standing), (Standing::Known, Standing::Later));
    assert!(first.headers.key.has_ports && !later.headers.key.has_ports);
    assert!(first.fragment.is_some() && first.fragment == later.fragment);
    assert_ne!(first.fragment, back.fragment);
    // The first fragment of a tunnel's packet has the headers inside.
    let inner = FLOW.packet(&[9; 64], false);
    let mut tunnel = ip(false, 4, [[7; 16], [8; 16]], &inner[..48]);
    tunnel[6] = 0x20;
    let found = judged(&enclose(tunnel, &[], false));
    assert_eq!((found.standing, found.tunnels), (Standing::Known, 1));
    assert_eq!(found.headers.key.destination.port, 6);
    assert!(found.fragment.is_some_and(|fragment| fragment.key.source.address[15] == 7));
}
