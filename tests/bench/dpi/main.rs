//! `cargo bench --bench dpi -- [--json FILE] [--rounds N]`: the scanner of `dpi`
//! beside one of Aho-Corasick and lazy DFAs, with the same rules and payloads,
//! in nanoseconds per byte. Both have a short window in each round, one after
//! the other, so that the machine's disturbances hit both. Figures are medians
//! over the rounds, ratios are medians of the rounds' ratios.

#![forbid(unsafe_code)]

mod lazy;
mod rules;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser;
use mpfwd::engine::dpi::{Automata, Progress, Protocol, Rules, Scanner, Segment, Subject};
use mpfwd::error::{Error, Result};
use serde::Serialize;

use lazy::LazyScanner;

#[derive(Parser)]
#[command(name = "dpi", about = "The scanner of dpi beside another one: nanoseconds per byte")]
struct Args {
    /// Write the rows to FILE
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Windows of each candidate
    #[arg(long, value_name = "N", default_value_t = 15, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    rounds: u16,
    /// cargo passes it to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

/// The shortest window.
const WINDOW: Duration = Duration::from_millis(5);

/// One set of rules with one set of payloads.
#[derive(Serialize)]
struct Row {
    rules: String,
    payloads: &'static str,
    compile_ms: u64,
    ns_per_byte: f64,
    /// As segments of streams.
    stream_ns_per_byte: f64,
    lazy_ns_per_byte: f64,
    /// The lazy scanner's time by that of dpi's.
    ratio: f64,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("dpi: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<()> {
    let payloads = [("web", rules::web_payloads()), ("random", rules::random_payloads())];
    println!(
        "{:<24} {:<8} {:>10} {:>9} {:>9} {:>9} {:>7}",
        "rules", "payloads", "compile ms", "ns/byte", "stream", "lazy", "ratio"
    );
    let mut rows = Vec::new();
    for (name, text) in rules::sets() {
        let rules = Rules::parse(text.as_bytes(), Path::new("."))
            .map_err(|mistakes| Error::Usage(format!("{name}: {mistakes:?}")))?;
        let started = Instant::now();
        let automata = Arc::new(Automata::compile(&rules, Path::new(name), 16 << 20)?);
        let compile_ms = started.elapsed().as_millis() as u64;
        let mut scanner = Scanner::new(automata)?;
        let mut lazy = LazyScanner::new(&text);
        for (payloads_name, payloads) in &payloads {
            let mut row = measure(args.rounds, &mut scanner, &mut lazy, payloads);
            (row.rules, row.payloads, row.compile_ms) = (name.into(), payloads_name, compile_ms);
            println!(
                "{:<24} {:<8} {:>10} {:>9.2} {:>9.2} {:>9.2} {:>7.1}",
                row.rules,
                row.payloads,
                row.compile_ms,
                row.ns_per_byte,
                row.stream_ns_per_byte,
                row.lazy_ns_per_byte,
                row.ratio
            );
            rows.push(row);
        }
    }
    for payloads in ["web", "random"] {
        let cost = |rules: &str| {
            let row = rows.iter().find(|row| row.payloads == payloads && row.rules == rules);
            row.map_or(f64::NAN, |row| row.ns_per_byte)
        };
        println!(
            "{payloads}: 14,000 literals cost {:.1} times as much as 10; 1,000 of them 14 times \
             over cost {:.2} times as much as once",
            cost("14000 literals") / cost("10 literals"),
            cost("1000 literals, 14 times") / cost("1000 literals"),
        );
    }
    if let Some(path) = &args.json {
        let json = serde_json::to_string_pretty(&rows).expect("rows are plain values");
        std::fs::write(path, json)
            .map_err(|error| Error::Output(format!("{}: {error}", path.display())))?;
    }
    Ok(())
}

/// Segments of a stream; the next one begins after as many.
const SEGMENTS: u64 = 4;

fn measure(
    rounds: u16,
    scanner: &mut Scanner,
    lazy: &mut LazyScanner,
    payloads: &[Vec<u8>],
) -> Row {
    for payload in payloads {
        assert_eq!(scan(scanner, payload, None), lazy.scan(payload), "both find the same rule");
    }
    let (mut own, mut streams, mut lazies, mut ratios) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut number, mut seq) = (0, 0u32);
    for _ in 0..rounds {
        own.push(window(payloads, |payload| scan(scanner, payload, None)));
        lazies.push(window(payloads, |payload| lazy.scan(payload)));
        ratios.push(lazies[lazies.len() - 1] / own[own.len() - 1]);
        streams.push(window(payloads, |payload| {
            number += 1;
            // Spread as identifiers of flows are.
            let stream = (number / SEGMENTS).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let segment = Segment { stream, seq };
            seq = seq.wrapping_add(payload.len() as u32);
            scan(scanner, payload, Some(segment))
        }));
    }
    Row {
        rules: String::new(),
        payloads: "",
        compile_ms: 0,
        ns_per_byte: median(own),
        stream_ns_per_byte: median(streams),
        lazy_ns_per_byte: median(lazies),
        ratio: median(ratios),
    }
}

fn scan(scanner: &mut Scanner, payload: &[u8], segment: Option<Segment>) -> Option<u32> {
    let subject = Subject { payload, segment, protocol: Protocol::Tcp };
    scanner.scan(&subject, Progress::default(), || false).ok().flatten()
}

/// Nanoseconds per byte, over the payloads again and again.
fn window(payloads: &[Vec<u8>], mut scan: impl FnMut(&[u8]) -> Option<u32>) -> f64 {
    let (started, mut bytes, mut found) = (Instant::now(), 0, 0);
    while started.elapsed() < WINDOW {
        for payload in payloads {
            found += usize::from(scan(payload).is_some());
            bytes += payload.len();
        }
    }
    std::hint::black_box(found);
    started.elapsed().as_nanos() as f64 / bytes as f64
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
