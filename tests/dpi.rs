//! `dpi` on captures with known matches, and work of unknown cost that is
//! handed over half-way.

mod captures;
mod common;
mod flows;

use std::path::Path;

use captures::{read_capture, write_capture};
use common::{Outcome, count, dropped, lcores, rows, rule, run};
use flows::{Flow, dscp, header_sum, ipv4_tcp, ipv4_tcp_at, ipv6_udp};
use serde_json::Value;

const RULES: &str = r#"
forward  health  "GET /health"
drop     passwd  "GET /etc/passwd"
mark=46  voice   /^(INVITE|REGISTER) sip:/
drop     bot     /(?i)user-agent:\s*evilbot/
drop     bytes   "\xde\xad\x00\xbe\xef"
"#;

/// Packets with a payload that are scanned per flow without a match. Each flow
/// here has as many.
const SCANNED: usize = 8;
const PKTS: usize = 12;

/// The payloads of a flow, and its expected fate.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Passwd,
    Voice,
    Bot,
    Bytes,
    /// Allowed by the rule `health` in its first packet, then the pattern of
    /// `Passwd`.
    Health,
    /// A match after as many packets as are scanned.
    Late,
    /// Near misses.
    Near,
    Plain,
}

const KINDS: [Kind; 8] = [
    Kind::Passwd,
    Kind::Voice,
    Kind::Bot,
    Kind::Bytes,
    Kind::Health,
    Kind::Late,
    Kind::Near,
    Kind::Plain,
];

/// The packet that matches the flow's rule.
fn hit_at(flow: usize, kind: Kind) -> Option<usize> {
    match kind {
        Kind::Passwd | Kind::Voice | Kind::Bot | Kind::Bytes => Some(flow / KINDS.len() % SCANNED),
        Kind::Health => Some(0),
        Kind::Late | Kind::Near | Kind::Plain => None,
    }
}

fn payload(flow: usize, kind: Kind, at: usize) -> Vec<u8> {
    let hit = hit_at(flow, kind) == Some(at);
    let filler = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {flow}\r\n\r\n{}",
        "abcdefgh ".repeat(flow % 40)
    );
    match kind {
        Kind::Passwd if hit => format!("{filler}GET /etc/passwd HTTP/1.1\r\n\r\n").into_bytes(),
        Kind::Voice if hit => {
            format!("INVITE sip:bob@example.org SIP/2.0\r\nVia: {filler}").into_bytes()
        }
        Kind::Bot if hit => {
            format!("POST / HTTP/1.1\r\nUSER-agent: \t EvilBot/7\r\n\r\n{filler}").into_bytes()
        }
        Kind::Bytes if hit => [filler.as_bytes(), b"\xde\xad\x00\xbe\xef"].concat(),
        Kind::Health if hit => b"GET /health HTTP/1.1\r\n\r\n".to_vec(),
        Kind::Health => b"GET /etc/passwd HTTP/1.1\r\n\r\n".to_vec(),
        Kind::Late if at == SCANNED + 1 => b"GET /etc/passwd HTTP/1.1\r\n\r\n".to_vec(),
        Kind::Near => {
            format!("GET /etc/passwort INVITE sip:bob user-agent: evil bot {filler}\u{de}\u{ad}")
                .into_bytes()
        }
        _ => filler.into_bytes(),
    }
}

/// Each flow begins with a packet without a payload. Then flows alternate, and
/// so do their directions.
fn capture(flows: usize, kinds: &[Kind]) -> Vec<Vec<u8>> {
    let frame = |flow: usize, at: Option<usize>| {
        let kind = kinds[flow % kinds.len()];
        let payload = at.map_or(Vec::new(), |at| payload(flow, kind, at));
        let id = Flow { number: flow, back: at.is_some_and(|at| at % 2 == 1) };
        if flow % 5 == 4 { ipv6_udp(id, &payload) } else { ipv4_tcp(id, &payload) }
    };
    let places = std::iter::once(None).chain((0..PKTS).map(Some));
    places
        .flat_map(|at| (0..flows).map(move |flow| (flow, at)))
        .map(|(flow, at)| frame(flow, at))
        .collect()
}

/// The output for a capture: the frames, and the ports by which they leave.
fn through(
    lcore_count: usize,
    own: &str,
    rules: &str,
    sent: &[Vec<u8>],
) -> (Outcome, Vec<Vec<u8>>) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str| folder.path().join(name);
    write_capture(&file("in.pcap"), sent);
    std::fs::write(file("rules"), rules).expect("a file of rules");
    let vdev = format!(
        "--vdev net_pcap0,rx_pcap={},tx_pcap={}",
        file("in.pcap").display(),
        file("out.pcap").display()
    );
    let own = format!(
        "--forward-mode dpi --rules {} --packets {} --duration 30 --ring-size 16384 --idle yield {own}",
        file("rules").display(),
        sent.len()
    );
    let outcome = run(&format!("{} {vdev}", lcores(lcore_count)), &own);
    let _ = outcome.good_report();
    (outcome, read_capture(&file("out.pcap")))
}

/// With one scanning lcore in order of arrival, the fate of every packet is
/// known.
#[test]
fn every_packet_of_a_flow_gets_its_rules_action() {
    let flows = 400;
    let of_kind = |kind: Kind| (0..flows).filter(move |flow| KINDS[flow % KINDS.len()] == kind);
    // From the match on.
    let ruled = |kind: Kind| {
        of_kind(kind).map(|flow| PKTS - hit_at(flow, kind).unwrap_or(PKTS)).sum::<usize>() as u64
    };
    for (lcore_count, own, late) in
        [(1, "--mode rtc", Kind::Late), (2, "--mode pools --pools 1:1", Kind::Plain)]
    {
        let kinds = KINDS.map(|kind| if kind == Kind::Late { late } else { kind });
        let sent = capture(flows, &kinds);
        let (outcome, came) = through(lcore_count, own, RULES, &sent);
        let report = outcome.good_report();
        let flows_of = (flows / KINDS.len()) as u64;
        for (name, kind) in [
            ("passwd", Kind::Passwd),
            ("voice", Kind::Voice),
            ("bot", Kind::Bot),
            ("bytes", Kind::Bytes),
            ("health", Kind::Health),
        ] {
            assert_eq!(rule(report, name), [flows_of, flows_of, ruled(kind)], "{own}: {name}");
        }
        let denied = ruled(Kind::Passwd) + ruled(Kind::Bot) + ruled(Kind::Bytes);
        assert_eq!(dropped(report, "denied"), denied, "{own}");
        assert_eq!(came.len(), sent.len() - denied as usize, "{own}");
        assert_eq!(
            count(&report["dpi"], "new_flows"),
            flows as u64,
            "{own}: both directions are one flow"
        );
        assert_eq!(
            (count(&report["dpi"], "passed_flows"), count(&report["dpi"], "live_flows")),
            (3 * flows_of, flows as u64),
            "{own}"
        );
        let marked = came.iter().filter(|frame| dscp(frame) == 46).count() as u64;
        assert_eq!(marked, ruled(Kind::Voice), "{own}");
        assert!(
            came.iter().all(|frame| [0, 46].contains(&dscp(frame)) && header_sum(frame) == 0xffff),
            "{own}: headers are right"
        );
        assert_unchanged_but_for_marks(&sent, &came);
    }
}

/// Every output packet was sent, and as often.
#[track_caller]
fn assert_unchanged_but_for_marks(sent: &[Vec<u8>], came: &[Vec<u8>]) {
    let unmarked = |frame: &Vec<u8>| flows::unmarked(frame);
    let (mut sent, mut came): (Vec<_>, Vec<_>) =
        (sent.iter().map(unmarked).collect(), came.iter().map(unmarked).collect());
    sent.sort();
    came.sort();
    let mut sent = sent.iter();
    assert!(
        came.iter().all(|frame| sent.any(|other| other == frame)),
        "a packet came out that was not sent"
    );
}

/// If packets of a flow may overtake each other before they are scanned, some
/// behind a match may pass. No scanned match is missed.
#[test]
fn no_match_is_missed_in_any_mode() {
    let flows = 160;
    let kinds = [
        Kind::Passwd,
        Kind::Voice,
        Kind::Bot,
        Kind::Bytes,
        Kind::Near,
        Kind::Plain,
        Kind::Plain,
        Kind::Plain,
    ];
    let sent = capture(flows, &kinds);
    // A step of their own, because they look at words, and without a literal
    // that must be there.
    let slow: String =
        (1..=100).map(|n| format!("drop slow{n} /\\b[a-h]+ [i-z]{{{n}}}[0-9]\\b/\n")).collect();
    for own in [
        "--mode steal",
        "--mode shed-random",
        "--mode hybrid --pools 2:1",
        "--mode pools --pools 1:2",
        "--mode pools --pools 1:2 --yield-after 1us",
        "--mode hybrid --pools 2:1 --yield-after 1us --predict ewma",
    ] {
        let (outcome, came) =
            through(3, &format!("--dpi-pkts 100 {own}"), &format!("{RULES}{slow}"), &sent);
        let report = outcome.good_report();
        for name in ["passwd", "voice", "bot", "bytes"] {
            let [hits, flows, pkts] = rule(report, name);
            assert!(
                [hits, flows] == [20, 20] && pkts >= hits && pkts <= 20 * PKTS as u64,
                "{own}: {name} {hits} {flows} {pkts}"
            );
        }
        assert_eq!(rule(report, "health"), [0; 3], "{own}");
        assert!(
            (1..=100).all(|n| rule(report, &format!("slow{n}")) == [0; 3]),
            "{own}: nothing is hit that should not be"
        );
        assert_unchanged_but_for_marks(&sent, &came);
        let yielded: u64 =
            rows(report, "lcores").iter().map(|row| count(row, "yielded_pkts")).sum();
        let predicted = if own.contains("--predict") {
            count(&report["prediction"], "predicted_pkts")
        } else {
            0
        };
        assert_eq!(
            yielded + predicted > 0,
            own.contains("--yield-after"),
            "{own}: {yielded} given up, {predicted} not begun"
        );
    }
}

/// HTTP and DNS between two hosts, recorded by tcpdump. The expected result
/// comes from a plain search through each flow's first packets.
#[test]
fn a_recorded_capture_matches_a_plain_search() {
    let sent = read_capture(Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/captures/web-and-dns.pcap"
    )));
    let rules = "drop passwd \"GET /etc/passwd\"\ndrop bot /(?i)user-agent:\\s*evilbot/\nmark=10 token \"SECRET-TOKEN\"\nforward none /never [0-9]+/\n";
    let (outcome, came) = through(1, "--mode rtc", rules, &sent);
    let report = outcome.good_report();
    let found = ["passwd", "bot", "token", "none"].map(|name| rule(report, name));
    assert_eq!(found, [[2, 2, 18], [3, 3, 31], [2, 2, 68], [0, 0, 0]]);
    let counts = ["scanned_pkts", "scanned_bytes", "new_flows", "passed_flows", "evicted_flows"]
        .map(|key| count(&report["dpi"], key));
    assert_eq!(counts, [173, 38_133, 60, 5, 0]);
    assert_eq!((sent.len(), came.len(), dropped(report, "denied")), (817, 768, 49));
    assert_eq!(came.iter().filter(|frame| dscp(frame) == 10).count(), 68);
    assert!(came.iter().all(|frame| header_sum(frame) == 0xffff));
}

/// Requests of curl, openssl s_client and dig, recorded by
/// tests/captures/clients.sh, with ClientHellos in several segments. Each
/// request is made for a name that is blocked, and for another one.
#[test]
fn names_are_found_in_requests_of_real_clients() {
    let sent = read_capture(Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/captures/clients.pcap"
    )));
    let rules = "drop tls sni \".blocked.example\"\ndrop web host \"shop.blocked.example\"\n\
                 drop asked dns \".blocked.example\"\nmark=10 fine name \"shop.fine.example\"\n";
    for (lcore_count, own) in [(1, "--mode rtc"), (3, "--mode hybrid --pools 2:1")] {
        let (outcome, came) = through(lcore_count, own, rules, &sent);
        let report = outcome.good_report();
        // By curl and by s_client, by curl, by UDP and by TCP; then all of them.
        let found = ["tls", "web", "asked", "fine"].map(|name| rule(report, name)[1]);
        assert_eq!(found, [2, 1, 2, 5], "{own}");
        let name = b"shop\x07blocked";
        assert!(!came.iter().any(|frame| frame.windows(name.len()).any(|part| part == name)));
    }
}

/// A pattern across segments is found, whichever lcores scan them, in order or
/// not, and the segment that completes it does not pass.
#[test]
fn patterns_across_segments_are_found() {
    let flows = 60;
    let parts = [&b"GET /etc"[..], b"/pass", b"wd HTTP/1.1\r\n"];
    let mut sent = Vec::new();
    for round in 0..parts.len() {
        for flow in 0..flows {
            // Of every other flow, the second and third segment change places.
            let part = if flow % 2 == 1 { [0, 2, 1][round] } else { round };
            let before: usize = parts[..part].iter().map(|part| part.len()).sum();
            let id = Flow { number: flow, back: false };
            sent.push(ipv4_tcp_at(id, 0xffff_fffb_u32.wrapping_add(before as u32), parts[part]));
        }
    }
    for (lcore_count, own) in
        [(1, "--mode rtc"), (3, "--mode pools --pools 1:2"), (3, "--mode hybrid --pools 2:1")]
    {
        let (outcome, came) = through(lcore_count, own, RULES, &sent);
        let report = outcome.good_report();
        let [hits, found, _] = rule(report, "passwd");
        assert_eq!((hits, found), (flows as u64, flows as u64), "{own}");
        assert_eq!(rule(report, "bytes"), [0; 3], "{own}");
        // The first segment passes, and one of the others if it came early.
        assert!(came.len() <= 2 * flows, "{own}: {}", came.len());
    }
    let (outcome, came) = through(1, "--mode rtc --stream-memory 0", RULES, &sent);
    assert_eq!(rule(outcome.good_report(), "passwd"), [0; 3], "each payload by itself");
    assert_eq!(came.len(), sent.len());
}

/// A table that is too small evicts flows and reports it. No decision becomes
/// wrong.
#[test]
fn a_table_that_is_too_small_evicts() {
    let sent = capture(160, &[Kind::Plain, Kind::Near]);
    let (outcome, came) = through(1, "--mode rtc --flows 14 --dpi-pkts 1", RULES, &sent);
    let dpi = &outcome.good_report()["dpi"];
    assert_eq!((count(dpi, "flows_max"), count(dpi, "live_flows")), (14, 14));
    assert!(count(dpi, "evicted_flows") > 0 && count(dpi, "new_flows") > 160, "{dpi:#}");
    assert!(came == sent, "all pass, in order");
}

fn expensive_pkts(report: &Value, pool: &str) -> u64 {
    rows(report, "lcores")
        .iter()
        .filter(|row| row["pool"] == pool)
        .map(|row| count(row, "expensive_pkts"))
        .sum()
}

/// Work of unknown cost leaves the polling lcore once it has taken too long.
#[test]
fn long_work_continues_in_pool_b() {
    let run = |own: &str| {
        let eal = format!("{} --vdev net_null0 --vdev net_null1", lcores(2));
        let outcome = run(
            &eal,
            &format!(
                "--mode pools --pools 1:1 --packets 20000 --duration 30 --ring-size 32768 --idle yield {own}"
            ),
        );
        outcome.good_report().clone()
    };
    let work = "--work spin:cheap=0ns,expensive=300us,p=0.01,known=no";
    let stays = run(work);
    assert_eq!(expensive_pkts(&stays, "B"), 0, "without a cutoff nothing moves");
    let moves = run(&format!("{work} --yield-after 20us"));
    let given_up: u64 = rows(&moves, "lcores").iter().map(|row| count(row, "yielded_pkts")).sum();
    assert!((100..400).contains(&given_up), "1 % of 20,000, not {given_up}");
    assert_eq!(expensive_pkts(&moves, "B"), given_up, "all of that is finished by pool B");
}

/// Flows that were expensive are deferred at once; only their first packets are
/// started in vain.
#[test]
fn an_expensive_flow_goes_to_pool_b_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let capture = folder.path().join("in.pcap");
    // A packet's bytes determine its cost, so all packets of a flow cost the
    // same.
    let flow = |number| ipv4_tcp(Flow { number, back: false }, b"the same again");
    let sent: Vec<Vec<u8>> = (0..40).flat_map(|_| (0..50).map(flow)).collect();
    write_capture(&capture, &sent);
    let eal = format!(
        "{} --vdev net_pcap0,rx_pcap={},tx_pcap={}",
        lcores(1),
        capture.display(),
        folder.path().join("out").display()
    );
    for predict in ["last", "ewma"] {
        let own = format!(
            "--packets {} --duration 30 --predict {predict} --yield-after 20us",
            sent.len()
        );
        let outcome = run(
            &eal,
            &format!(
                "--mode rtc --work spin:cheap=0ns,expensive=100us,p=0.2,mark=hash,known=no {own}"
            ),
        );
        let report = outcome.good_report();
        let given_up: u64 =
            rows(report, "lcores").iter().map(|row| count(row, "yielded_pkts")).sum();
        let predicted = count(&report["prediction"], "predicted_pkts");
        let expensive_flows = (given_up + predicted) / 40;
        assert!(
            (1..25).contains(&expensive_flows),
            "{predict}: about ten flows of 50, not {expensive_flows}"
        );
        assert!(
            given_up < 2 * expensive_flows,
            "{predict}: {given_up} begun in vain, {predicted} foreseen"
        );
    }
}

#[test]
fn mistakes_in_rules_are_refused_with_their_place() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("my.rules");
    let refused = |path: &Path, says: &str| {
        let outcome = run(
            "--vdev net_null0",
            &format!("--forward-mode dpi --packets 100 --rules {}", path.display()),
        );
        assert_eq!(outcome.status.code(), Some(2), "{}", outcome.stderr);
        assert!(
            outcome.errors().len() == 1 && outcome.errors()[0].contains(says),
            "{says}, not {}",
            outcome.stderr
        );
        assert!(!outcome.stderr.contains("EAL:"), "EAL need not have started: {}", outcome.stderr);
    };
    for (text, says) in [
        ("drop a \"x\"\ndrop b /a(b/\n", "my.rules:2:10: regular expression: unclosed group"),
        ("drop a x\n", "my.rules:1:8: expected \"bytes\", /regular expression/"),
        ("# nothing\n", "no rules"),
        ("drop a /(x{1000}){1000}/\n", "my.rules:1:9: regular expression: "),
    ] {
        std::fs::write(&path, text).expect("a file of rules");
        refused(&path, says);
    }
    refused(&folder.path().join("nowhere"), "nowhere");
    refused(folder.path(), "directory");
}

// ---- Who a flow is ----

const WORD: &[u8] = b"GET /etc/passwd";

/// An IPv4 packet of another protocol between the hosts of flow 1.
fn other_protocol(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let frame = ipv4_tcp(Flow { number: 1, back: false }, b"");
    let address = |at: usize| frame[at..at + 4].try_into().expect("four bytes");
    let (source, destination) = (address(26), address(30));
    let mut built = frame[..14].to_vec();
    let header =
        etherparse::Ipv4Header::new(payload.len() as u16, 64, protocol.into(), source, destination);
    header.expect("a short payload").write(&mut built).expect("a vector takes all");
    built.extend(payload);
    built
}

/// The frame with bytes between its addresses and its EtherType, or behind.
fn with(frame: &[u8], at: usize, bytes: &[u8]) -> Vec<u8> {
    [&frame[..at], bytes, &frame[at..]].concat()
}

/// Sets the TCP flags, and the checksum for them.
fn flagged(mut frame: Vec<u8>, flags: u8) -> Vec<u8> {
    let change = i32::from(frame[47]) - i32::from(flags);
    let checksum = i32::from(u16::from_be_bytes([frame[50], frame[51]])) + change;
    let folded = (checksum & 0xffff) + (checksum >> 16);
    frame[47] = flags;
    frame[50..52].copy_from_slice(&(folded as u16).to_be_bytes());
    frame
}

/// The first and the later fragment of a frame, an IPv4 packet without options.
fn fragments(frame: &[u8]) -> [Vec<u8>; 2] {
    let part = |range: std::ops::Range<usize>, more: bool| {
        let header = etherparse::Ipv4HeaderSlice::from_slice(&frame[14..34]).expect("a header");
        let mut header = header.to_header();
        header.identification = 7;
        header.dont_fragment = false;
        header.more_fragments = more;
        header.fragment_offset =
            etherparse::IpFragOffset::try_new((range.start / 8) as u16).expect("a small offset");
        header.set_payload_len(range.len()).expect("a small part");
        header.header_checksum = header.calc_header_checksum();
        let mut part = frame[..14].to_vec();
        header.write(&mut part).expect("a vector takes all");
        part.extend(&frame[34..][range]);
        part
    };
    let len = frame.len() - 34;
    [part(0..24, true), part(24..len, false)]
}

/// A kind of identity: its name, frames, and which of them pass.
type Identity = (&'static str, Vec<Vec<u8>>, Vec<bool>);

fn identities() -> Vec<Identity> {
    let flow = |number| Flow { number, back: false };
    let tcp = |number, payload: &[u8]| ipv4_tcp(flow(number), payload);
    let plain = [b'-'; 40];
    let tagged = |id: u8, frame: Vec<u8>| with(&frame, 12, &[0x81, 0, 0, id]);
    let labelled =
        |frame: Vec<u8>| [&frame[..12], &[0x88, 0x47, 0, 1, 1, 64], &frame[14..]].concat();
    let vxlan = |frame: Vec<u8>| {
        let mut outer = Vec::new();
        let inner = [&[8, 0, 0, 0, 0, 0, 7, 0][..], &frame].concat();
        etherparse::PacketBuilder::ethernet2([2; 6], [4; 6])
            .ipv4([10, 9, 9, 1], [10, 9, 9, 2], 64)
            .udp(50_000, 4789)
            .write(&mut outer, &inner)
            .expect("a vector takes all");
        outer
    };
    let arp = [&[4; 6][..], &[2; 6], &[8, 6], &[0; 46]].concat();
    let [first, later] = fragments(&tcp(1, &plain));
    let mut wrong = tcp(1, WORD);
    wrong[50] ^= 0x55;
    let mut behind = vec![tcp(1, WORD)];
    behind.extend((0..20).map(|_| tcp(1, b"")));
    let mut reused: Vec<_> = (0..8).map(|n| ipv4_tcp_at(flow(1), 1 + 40 * n, &plain)).collect();
    reused.push(flagged(ipv4_tcp_at(flow(1), 321, b""), 0x11));
    reused.push(flagged(ipv4_tcp_at(flow(1), 900_000, b""), 0x02));
    reused.push(ipv4_tcp_at(flow(1), 900_001, WORD));
    vec![
        ("bare ACKs behind a match", behind, vec![false; 21]),
        ("fragments", vec![tcp(1, WORD), first.clone(), later.clone()], vec![false; 3]),
        ("fragments of another flow", vec![tcp(2, WORD), first, later], vec![false, true, true]),
        (
            "other protocols",
            vec![
                other_protocol(1, &[&[8, 0, 0, 0][..], WORD].concat()),
                other_protocol(132, &plain),
                other_protocol(50, &plain),
                tcp(1, &plain),
            ],
            vec![false, true, true, true],
        ),
        ("VLANs", vec![tagged(1, tcp(1, WORD)), tagged(2, tcp(1, &plain))], vec![false, true]),
        (
            "labels",
            vec![labelled(tcp(1, WORD)), labelled(tcp(2, &plain)), arp],
            vec![false, true, true],
        ),
        (
            "VXLAN",
            vec![vxlan(tcp(1, WORD)), vxlan(tcp(2, &plain)), vxlan(tcp(1, &plain))],
            vec![false, true, false],
        ),
        ("a wrong checksum", vec![wrong, tcp(1, &plain)], vec![false, true]),
        ("a port used again", reused, [vec![true; 10], vec![false]].concat()),
    ]
}

#[test]
fn verdicts_reach_all_of_a_flow_and_nothing_else() {
    for (kind, sent, passes) in identities() {
        for mode in ["--mode rtc", "--mode pools --pools 1:1", "--mode hybrid --pools 1:1"] {
            let lcores = if mode.contains("pools") { 2 } else { 1 };
            let (_, came) = through(lcores, mode, RULES, &sent);
            let mut wanted: Vec<_> =
                sent.iter().zip(&passes).filter(|(_, passes)| **passes).map(|(f, _)| f).collect();
            let mut came: Vec<_> = came.iter().collect();
            came.sort();
            wanted.sort();
            assert!(came == wanted, "{kind}, {mode}: {} of {} came", came.len(), wanted.len());
        }
    }
}
