//! Rules as intrusion detection has them, from a fixed seed, and payloads.

use std::fs::File;

use mpfwd::engine::headers::parse;
use pcap_file::pcap::PcapReader;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

const PATHS: [&str; 24] = [
    "admin",
    "api",
    "backup",
    "cgi-bin",
    "config",
    "content",
    "download",
    "images",
    "include",
    "index",
    "install",
    "login",
    "manager",
    "modules",
    "panel",
    "plugins",
    "public",
    "scripts",
    "setup",
    "shell",
    "system",
    "upload",
    "user",
    "wp-content",
];
const ENDS: [&str; 8] = [".php?", ".asp?", ".exe", ".jsp?", ".cgi?", ".dll", ".zip", ".bin"];

/// Sets of rules, by name.
pub fn sets() -> Vec<(&'static str, String)> {
    let literals = |count: usize| (0..count).map(literal).collect::<Vec<String>>();
    let mixed = |count: usize| {
        let pattern = |at: usize| if at % 4 == 3 { expression(at) } else { literal(at) };
        (0..count).map(pattern).collect::<Vec<String>>()
    };
    let often = (0..14).flat_map(|_| literals(1_000)).collect();
    [
        ("10 literals", literals(10)),
        ("1000 literals", literals(1_000)),
        ("1000 literals, 14 times", often),
        ("14000 literals", literals(14_000)),
        ("10 mixed", mixed(10)),
        ("1000 mixed", mixed(1_000)),
    ]
    .map(|(name, patterns): (&str, Vec<String>)| {
        let rule = |(at, pattern): (usize, &String)| format!("drop r{at} {pattern}\n");
        (name, patterns.iter().enumerate().map(rule).collect())
    })
    .into()
}

/// A path of three words and a number, or the name of a program.
fn literal(at: usize) -> String {
    let mut random = SmallRng::seed_from_u64(at as u64);
    let mut word = || PATHS[random.random_range(0..PATHS.len())];
    let (one, two, three) = (word(), word(), word());
    let end = ENDS[random.random_range(0..ENDS.len())];
    let number: u32 = random.random_range(0..1 << 20);
    match at % 3 {
        0 => format!("\"/{one}/{two}-{three}{end}{number:x}\""),
        1 => format!("\"/{one}{number:x}/{two}{end}\""),
        _ => format!("\"{one}_{two}{number:x}={three}\""),
    }
}

fn expression(at: usize) -> String {
    let mut random = SmallRng::seed_from_u64(at as u64);
    let mut word = || PATHS[random.random_range(0..PATHS.len())];
    let (one, two, three) = (word(), word(), word());
    match at / 4 % 4 {
        0 => format!("/\\/{one}\\/[^?]{{1,40}}\\?{two}={at}/"),
        1 => format!("/(?i)user-agent:\\s*{one}{two}{at}/"),
        2 => format!("/{one}({two}|{three})+[0-9]{{2,8}}x{at}/"),
        _ => format!("/{one}=.*{two}{at};/"),
    }
}

/// The payloads of a recorded capture of HTTP and DNS.
pub fn web_payloads() -> Vec<Vec<u8>> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/captures/web-and-dns.pcap");
    let file = File::open(path).expect("the capture is there");
    let mut reader = PcapReader::new(file).expect("it is a capture");
    let mut payloads = Vec::new();
    while let Some(packet) = reader.next_packet() {
        let packet = packet.expect("it is whole");
        let headers = parse(&packet.data);
        let payload = &packet.data[headers.payload..headers.end];
        if !payload.is_empty() {
            payloads.push(payload.to_vec());
        }
    }
    payloads
}

/// As encrypted ones look.
pub fn random_payloads() -> Vec<Vec<u8>> {
    let mut random = SmallRng::seed_from_u64(1);
    (0..64).map(|_| (0..1_400).map(|_| random.random()).collect()).collect()
}
