//! Fuzzes the header parsers: nothing panics, offsets stay in order and inside
//! the frame, both directions are one flow, the fast path finds the parser's
//! hash, and the router changes what it must and nothing else. `./dev fuzz`
//! runs it; stable Rust suffices, because code without `unsafe` needs no
//! sanitizer.
#![no_main]
#![forbid(unsafe_code)]

use engine::headers::{
    FRONT_MAX, FlowKey, Headers, Layer, Network, parse, parse_front, plain_flow_hash,
    plain_mac_hash,
};
use engine::l3::{Unfit, destination, hop};
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
    assert_eq!(headers, parse_front(front, frame.len()));
    route(frame, &headers);
});

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
    let verdict = destination(&frame[..front], frame.len());
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
    assert!(matches!(destination(&sent[..front], sent.len()), Ok(_) | Err(Unfit::Expired)));
    assert_eq!(parse(&sent).key, headers.key);
}
