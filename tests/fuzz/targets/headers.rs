//! Fuzzes the header parsers: nothing panics, offsets stay in order and inside
//! the frame, both directions are one flow, the fast path finds the parser's
//! hash, packets of one flow in any tunnels have one key and those of two flows
//! have two, and the router changes what it must and nothing else. `./dev fuzz`
//! runs it; stable Rust suffices, because code without `unsafe` needs no
//! sanitizer.
#![no_main]
#![forbid(unsafe_code)]

use engine::headers::enclosed::{Flow, Wrap, enclose};
use engine::headers::{
    FRONT_MAX, FlowBy, FlowKey, Headers, Layer, Network, Standing, judge, parse, parse_front,
    plain_flow_hash, plain_mac_hash,
};
use engine::l3::{Station, Unfit, destination, hop};
use libfuzzer_sys::fuzz_target;

#[allow(dead_code, unused_imports)] // used only by tests and engines
#[path = "../../../src/engine"]
mod engine {
    pub mod headers;
    #[path = "l3/ip.rs"]
    pub mod l3;
}

fuzz_target!(|frame: &[u8]| {
    let headers = parse(frame);
    are_in_order(&headers, frame);
    is_one_flow_both_ways(&headers, frame);
    let front = &frame[..frame.len().min(FRONT_MAX)];
    let short = parse_front(front, frame.len());
    assert!(short.truncated.is_some() || short == headers);
    route(frame, &headers);
    for (inner, vlans) in [(true, true), (false, false)] {
        let judged = judge(frame, frame.len(), FlowBy { inner, vlans });
        are_in_order(&judged.headers, frame);
    }
    enclosed(frame);
});

/// Takes a flow, another that differs in one byte, and tunnels from the bytes.
fn enclosed(bytes: &[u8]) {
    let Some((seed, rest)) = bytes.split_first_chunk::<40>() else { return };
    let flow = |seed: &[u8; 40]| Flow {
        ipv6: seed[0] & 1 == 1,
        hosts: [[seed[1]; 16], [seed[2]; 16]],
        ports: [u16::from(seed[3]), u16::from(seed[4])],
    };
    let mut wraps = Vec::new();
    for word in seed[5..].chunks_exact(4).take(usize::from(seed[39] & 3)) {
        let id = u16::from_be_bytes([word[1], word[2]]);
        wraps.push(match word[0] & 7 {
            0 => Wrap::Vlan(id & 0xfff | 1),
            1 => Wrap::Mpls(word[1] & 7),
            2 => Wrap::Pppoe(id),
            3 => Wrap::Ip(word[1] & 1 == 1),
            4 => Wrap::Gre((word[1] & 1 == 1).then_some(id.into()), word[3] & 1 == 1),
            5 => Wrap::Vxlan(id.into()),
            6 => Wrap::Geneve(id.into(), word[3]),
            _ => Wrap::Gtp(word[1] & 1 == 1),
        });
    }
    let key = |flow: &Flow, payload: &[u8], back: bool| {
        let frame = enclose(flow.packet(payload, back), &wraps, back);
        let judged = judge(&frame, frame.len(), FlowBy::default());
        assert_eq!(judged.standing, Standing::Known, "{wraps:?}");
        assert_eq!(&frame[judged.headers.payload..judged.headers.end], payload);
        judged.headers.key.symmetric()
    };
    let payload = &rest[..rest.len().min(64)];
    let one = flow(seed);
    assert_eq!(key(&one, payload, false), key(&one, b"", true));
    let mut other = *seed;
    other[3] ^= 1;
    if other[3] != seed[4] {
        assert_ne!(key(&one, payload, false), key(&flow(&other), payload, false));
    }
}

fn are_in_order(headers: &Headers, frame: &[u8]) {
    assert!(
        headers.l3 <= headers.l4
            && headers.l4 <= headers.payload
            && headers.payload <= headers.end
            && headers.end <= frame.len()
    );
    assert!((0..headers.vlans).all(|place| headers.vlan_tag(frame, place).is_some()));
    if headers.network == Network::Other {
        assert_eq!(
            (headers.l4, headers.payload, headers.protocol, headers.fragment),
            (headers.l3, headers.l3, 0, false)
        );
    }
}

fn is_one_flow_both_ways(headers: &Headers, frame: &[u8]) {
    let there = headers.key;
    let back = FlowKey { source: there.destination, destination: there.source, ..there };
    assert_eq!(
        (there.symmetric(), there.symmetric_hash()),
        (back.symmetric(), back.symmetric_hash())
    );
    if let Some(hash) = plain_flow_hash(frame).or_else(|| plain_mac_hash(frame)) {
        assert_eq!(hash, there.symmetric_hash());
    }
}

fn route(frame: &[u8], headers: &Headers) {
    const ADDRESSES: [u8; 12] = [5; 12];
    let mut sent = frame.to_vec();
    let front = sent.len().min(FRONT_MAX);
    let verdict = destination(&frame[..front], frame.len(), Station::default());
    hop(&mut sent[..front], &ADDRESSES);
    if verdict.is_err() {
        let is_ip = headers.network != Network::Other || headers.truncated.is_some();
        assert!(is_ip || verdict == Err(Unfit::NotIp));
        return;
    }
    assert!(!matches!(headers.truncated, Some(Layer::Link | Layer::Network)));
    assert_eq!(sent[..12], ADDRESSES);
    let counted = headers.l3 + if headers.network == Network::Ipv4 { 8 } else { 7 };
    assert_eq!(sent[counted], frame[counted] - 1);
    let is_checksum = |at: usize| {
        headers.network == Network::Ipv4 && (headers.l3 + 10..headers.l3 + 12).contains(&at)
    };
    assert!((12..frame.len()).all(|at| at == counted || is_checksum(at) || sent[at] == frame[at]));
    // The header is still sound, whether or not this was its last hop.
    assert!(matches!(
        destination(&sent[..front], sent.len(), Station::default()),
        Ok(_) | Err(Unfit::Expired | Unfit::Group)
    ));
    assert_eq!(parse(&sent).key, headers.key);
}
