//! Requests for random changes of a run.
#![allow(dead_code)] // each test file is a program of its own, and uses only some of this

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

/// The status and the body of the answer.
pub fn ask(socket: &Path, method: &str, path: &str, body: &str) -> (u16, Value) {
    let mut stream = UnixStream::connect(socket).expect("it listens");
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("it answers");
    let (head, body) = text.split_once("\r\n\r\n").expect("an answer");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.expect("a status"), serde_json::from_str(body).expect("JSON"))
}

/// Makes `changes` random changes of all kinds. Port 0 has as many receive queues
/// as `queues`. Returns how many of each kind were made, and how often an lcore
/// did not follow at once.
pub fn change_at_random(
    socket: &Path,
    (lcores, queues): (usize, usize),
    changes: usize,
    seed: u64,
) -> (BTreeMap<&'static str, usize>, usize) {
    let mut random = SmallRng::seed_from_u64(seed);
    let (mut made, mut behind) = (BTreeMap::new(), 0);
    let modes = ["rtc", "steal", "shared", "shed-random", "pools", "hybrid", "hybrid"];
    while made.values().sum::<usize>() < changes {
        let workers = random.random_range(1..lcores);
        let pools = format!("{}:{workers}", lcores - workers);
        let (path, body) = match random.random_range(0..6) {
            0 | 1 => match modes[random.random_range(0..modes.len())] {
                mode @ ("pools" | "hybrid") => ("/mode", json!({ "mode": mode, "pools": pools })),
                mode => ("/mode", json!({ "mode": mode })),
            },
            2 if random.random_bool(0.2) => ("/pools", json!({ "pools": "auto" })),
            2 => ("/pools", json!({ "pools": pools })),
            3 => ("/expensive-cap", json!({ "expensive_cap": workers })),
            4 => {
                let time = ["5us", "20us", "10ms"][random.random_range(0..3)];
                ("/rescue-after", json!({ "rescue_after": time }))
            }
            _ => {
                let (queue, lcore) =
                    (random.random_range(0..queues), random.random_range(0..lcores));
                ("/queues", json!({ "queues": [{ "port": 0, "queue": queue, "lcore": lcore }] }))
            }
        };
        let (status, reply) = ask(socket, "POST", path, &body.to_string());
        match status {
            200 => {
                *made.entry(path).or_default() += 1;
                behind += usize::from(reply["lcores_behind"].as_u64() > Some(0));
            }
            // The mode has no such thing.
            400 | 409 => {}
            _ => panic!("{path} {body}: {status} {reply}"),
        }
        std::thread::sleep(Duration::from_micros(random.random_range(0..8_000)));
    }
    (made, behind)
}
