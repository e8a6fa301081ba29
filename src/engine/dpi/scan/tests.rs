use std::fmt::Write;
use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::engine::dpi::literals::Literals;
use crate::engine::dpi::rules::Rules;

fn scanner(text: &str) -> Scanner {
    let rules = Rules::parse(text.as_bytes(), Path::new(".")).expect("rules");
    let automata = Automata::compile(&rules, Path::new("rules"), 1 << 20).expect("automata");
    Scanner::new(Arc::new(automata)).expect("memory")
}

fn alone(payload: &[u8]) -> Subject<'_> {
    Subject { payload, segment: None, protocol: Protocol::Tcp }
}

fn whole(scanner: &mut Scanner, payload: &[u8]) -> Option<u32> {
    scanner.scan(&alone(payload), Progress::default(), || false).unwrap()
}

/// The segment of a stream with these bytes.
fn segment(scanner: &mut Scanner, stream: u64, seq: u32, payload: &[u8]) -> Option<u32> {
    let segment = Some(Segment { stream: stream << 32, seq });
    let subject = Subject { segment, ..alone(payload) };
    scanner.scan(&subject, Progress::default(), || false).unwrap()
}

#[test]
fn the_first_rule_of_the_file_counts() {
    let mut scanner = scanner(
        "drop a /b+c/\nforward b \"abc\"\ndrop c \"bc\"\nmark=1 d /^x.y$/\ndrop e /\\bw\\b/\n",
    );
    for (payload, rule) in [
        (&b"..bbc"[..], Some(0)),
        (b"zabcz", Some(0)),
        (b"", None),
        (b"ab", None),
        (b"x\xffy", Some(3)),
        (b"x\ny", None),
        (b"xxzy", None),
        (b"v w", Some(4)),
        (b"vw", None),
    ] {
        assert_eq!(whole(&mut scanner, payload), rule, "{payload:?}");
    }
}

#[test]
fn overlapping_literals_are_all_found() {
    let mut scanner = scanner(
        "drop late \"bcdef\"\ndrop a \"abcd\"\ndrop again \"abcd\"\ndrop zero \"\\0\\0x\"\n",
    );
    assert_eq!(whole(&mut scanner, b"abcdef"), Some(0));
    assert_eq!(whole(&mut scanner, b"abcde"), Some(1));
    assert_eq!(whole(&mut scanner, b"ab\0\0\0x"), Some(3));
}

#[test]
fn many_alike_literals_are_searched_as_others_are() {
    let rules = (0..4_000).fold(String::new(), |mut text, n| {
        let _ = writeln!(text, "drop h{n} \"<h{n}.example.net>\"");
        text
    });
    let mut scanner = scanner(&rules);
    assert!(matches!(scanner.automata.matcher.literals, Literals::Automaton(..)));
    assert_eq!(whole(&mut scanner, b"<h3999.example.net><h71.example.net>"), Some(71));
    assert_eq!(whole(&mut scanner, b"<h4000.example.net>"), None);
    assert_eq!(segment(&mut scanner, 1, 10, b"<h3999.exam"), None);
    assert_eq!(segment(&mut scanner, 1, 21, b"ple.net>"), Some(3_999));
}

const ACROSS: &str = "drop literal \"needle\"\ndrop expression /he+y[0-9]{3}/\n";

#[test]
fn a_pattern_across_segments_is_found_wherever_it_is_cut() {
    let mut scanner = scanner(ACROSS);
    for (stream, cut) in (1..6).enumerate() {
        let (front, back) = b"needle".split_at(cut);
        let seq = 0xffff_fffe;
        assert_eq!(segment(&mut scanner, stream as u64, seq, front), None);
        assert_eq!(segment(&mut scanner, 900, seq, b"needl"), None, "another stream");
        let next = seq.wrapping_add(cut as u32);
        assert_eq!(segment(&mut scanner, stream as u64, next, back), Some(0), "cut at {cut}");
    }
    for (seq, part) in [(7, &b"he"[..]), (9, b"eey1"), (13, b"2")] {
        assert_eq!(segment(&mut scanner, 99, seq, part), None);
    }
    assert_eq!(segment(&mut scanner, 99, 14, b"3"), Some(1));
}

#[test]
fn early_and_overlapping_segments_are_put_in_order() {
    let mut scanner = scanner(ACROSS);
    // Announced in the order of arrival, scanned in another.
    scanner.announce(Segment { stream: 1 << 32, seq: 100 });
    assert_eq!(segment(&mut scanner, 1, 104, b"le"), None);
    assert_eq!(segment(&mut scanner, 1, 102, b"ed"), None);
    assert_eq!(segment(&mut scanner, 1, 100, b"ne"), Some(0));
    assert_eq!((scanner.events.held, scanner.events.gaps), (2, 0));
    // Announced in another order.
    for seq in [54, 50, 52] {
        scanner.announce(Segment { stream: 4 << 32, seq });
    }
    for (seq, part) in [(52, &b"ed"[..]), (54, b"le")] {
        assert_eq!(segment(&mut scanner, 4, seq, part), None);
    }
    assert_eq!(segment(&mut scanner, 4, 50, b"ne"), Some(0));
    // The second one begins with bytes that are known.
    assert_eq!(segment(&mut scanner, 2, 10, b"xxnee"), None);
    assert_eq!(segment(&mut scanner, 2, 12, b"needle"), Some(0));
    // All of it is known, but says something else: it is scanned alone.
    assert_eq!(segment(&mut scanner, 3, 10, b"abcdefgh"), None);
    assert_eq!(segment(&mut scanner, 3, 11, b"needle"), Some(0));
}

#[test]
fn a_gap_is_given_up_when_nothing_more_can_be_held() {
    let mut scanner = scanner(ACROSS);
    assert_eq!(segment(&mut scanner, 1, 0, b"x"), None);
    let long = [b'.'; 3_000];
    for at in 0..3 {
        assert_eq!(segment(&mut scanner, 1, 10 + at * 3_000, &long), None);
    }
    assert_eq!((scanner.events.held, scanner.events.gaps), (2, 1));
    assert_eq!(segment(&mut scanner, 1, 9_010, b"need"), None);
    assert_eq!(segment(&mut scanner, 1, 9_014, b"le"), Some(0), "the stream goes on behind it");
}

#[test]
fn a_stream_without_room_replaces_the_oldest() {
    let mut scanner = scanner(ACROSS);
    let streams = 10 * scanner.automata.streams_max() as u64;
    for stream in 0..streams {
        assert_eq!(segment(&mut scanner, stream, 0, b"need"), None);
    }
    let found = (0..streams)
        .rev()
        .filter(|&stream| segment(&mut scanner, stream, 4, b"le").is_some())
        .count();
    assert!((1..=scanner.automata.streams_max()).contains(&found), "{found}");
    assert!(scanner.events.evicted > 0);
    // A stream that is forgotten begins anew.
    assert_eq!(segment(&mut scanner, 0, 50, b"need"), None);
    scanner.forget(0);
    assert_eq!(segment(&mut scanner, 0, 54, b"le"), None);
}

#[test]
fn names_are_found_in_streams_and_datagrams() {
    let mut scanner =
        scanner("drop x \"nothing\"\nmark=1 d dns \".b.test\"\ndrop h host \"a.b.test\"\n");
    let request = b"GET / HTTP/1.1\r\nHost: a.b.test\r\n\r\n";
    assert_eq!(whole(&mut scanner, request), Some(2));
    assert_eq!(segment(&mut scanner, 1, 0, &request[..20]), None);
    assert_eq!(segment(&mut scanner, 1, 20, &request[20..]), Some(2));
    assert_eq!(segment(&mut scanner, 2, 0, b"GET / HTTP/1.1\r\n\r\n"), None);
    assert_eq!(segment(&mut scanner, 2, 18, request), Some(2), "a later request");
    let query = b"\0\x01\x01\0\0\x01\0\0\0\0\0\0\x01q\x01b\x04test\0\0\x01\0\x01";
    let subject = Subject { protocol: Protocol::Dns, ..alone(query) };
    assert_eq!(scanner.scan(&subject, Progress::default(), || false), Ok(Some(1)));
    let other = Subject { protocol: Protocol::Other, ..alone(query) };
    assert_eq!(scanner.scan(&other, Progress::default(), || false), Ok(None));
}

/// Scans until the end, on one scanner after the other, and counts the
/// calls.
fn by_turns(scanners: &mut [Scanner; 2], subject: &Subject<'_>) -> (Option<u32>, usize) {
    let (mut progress, mut calls) = (Progress::default(), 0);
    loop {
        calls += 1;
        match scanners[calls % 2].scan(subject, progress, || true) {
            Ok(found) => return (found, calls),
            Err(so_far) => progress = Progress::from_bits(so_far.to_bits(9), 9),
        }
    }
}

#[test]
fn a_scan_continues_where_it_was_given_up() {
    let rules = format!("{ACROSS}drop within /^a+$/\n");
    let one = scanner(&rules);
    let other = Scanner::new(one.automata.clone()).expect("memory");
    let mut scanners = [one, other];
    for (payload, rule, calls) in [
        (b"needle".to_vec(), Some(0), 2),
        (vec![b'a'; 9_000], Some(2), 2),
        (b"none".to_vec(), None, 2),
    ] {
        assert_eq!(by_turns(&mut scanners, &alone(&payload)), (rule, calls));
    }
    // Across the border between two steps, in three of them.
    let mut long = vec![b'.'; 9_000];
    long[STEP_BYTES - 3..STEP_BYTES + 3].copy_from_slice(b"needle");
    let subject =
        Subject { segment: Some(Segment { stream: 5, seq: 77 }), ..alone(&long[..STEP_BYTES + 3]) };
    assert_eq!(by_turns(&mut scanners, &subject), (Some(0), 3));
    let subject =
        Subject { segment: Some(Segment { stream: 6 << 32, seq: 77 }), ..alone(&long[1..]) };
    assert_eq!(by_turns(&mut scanners, &subject).0, Some(0));
    assert_eq!(
        Progress::from_bits(Progress { part: Part::Rest, best: 5 }.to_bits(1), 2),
        Progress::default()
    );
}

/// The error of rules that cannot be compiled.
fn refused(text: &str) -> String {
    let rules = Rules::parse(text.as_bytes(), Path::new(".")).expect("rules");
    Automata::compile(&rules, Path::new("my"), 0).err().expect("refused").to_string()
}

#[test]
fn expressions_whose_streams_would_take_much_memory_are_refused() {
    let many = (0..12).fold(String::new(), |mut text, n| {
        let _ = writeln!(text, "drop r{n} /k{n}[^k].{{2000}}y/");
        text
    });
    let text = refused(&many);
    assert!(text.contains("my: all regular expressions together"), "{text}");
}

/// A regular expression over few letters.
fn expression() -> impl Strategy<Value = String> {
    let leaf =
        prop::sample::select(vec!["a", "b", "ab", "[ab]", "[^a]", ".", "^", "$", r"\b", "(?i)B"]);
    leaf.prop_map(str::to_owned).prop_recursive(3, 8, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..4).prop_map(|parts| parts.concat()),
            (inner.clone(), inner.clone()).prop_map(|(one, other)| format!("({one}|{other})")),
            (inner, prop::sample::select(vec!["*", "+", "?", "{2}", "{1,2}"]))
                .prop_map(|(part, times)| format!("({part}){times}")),
        ]
    })
}

proptest! {
    #[test]
    fn matches_are_those_of_another_engine(
        patterns in prop::collection::vec(expression(), 1..5),
        payload in "[abBc \n]{0,12}",
    ) {
        let text: String = patterns.iter().enumerate().map(|(at, pattern)| format!("drop r{at} /{pattern}/\n")).collect();
        let Ok(rules) = Rules::parse(text.as_bytes(), Path::new(".")) else { return Ok(()) };
        let Ok(automata) = Automata::compile(&rules, Path::new("rules"), 0) else { return Ok(()) };
        let mut scanner = Scanner::new(Arc::new(automata)).expect("memory");
        let syntax = regex_automata::util::syntax::Config::new().unicode(false).utf8(false);
        let expected = patterns.iter().position(|pattern| {
            let regex = regex_automata::meta::Regex::builder()
                .syntax(syntax)
                .configure(regex_automata::meta::Config::new().utf8_empty(false))
                .build(pattern)
                .expect("it was read before");
            regex.is_match(payload.as_bytes())
        });
        prop_assert_eq!(whole(&mut scanner, payload.as_bytes()).map(|rule| rule as usize), expected, "{}", text);
    }

    #[test]
    fn literals_are_found_as_by_separate_searches(
        literals in prop::collection::vec("[ab]{1,4}", 1..6),
        payload in "[abc]{0,12}",
    ) {
        let text: String = literals.iter().enumerate().map(|(at, literal)| format!("drop r{at} \"{literal}\"\n")).collect();
        let expected = literals.iter().position(|literal| payload.contains(literal.as_str()));
        prop_assert_eq!(whole(&mut scanner(&text), payload.as_bytes()).map(|rule| rule as usize), expected);
    }

    /// However a stream is cut, and whatever the order of its segments, a
    /// pattern is found when all bytes have been there.
    #[test]
    fn streams_are_scanned_whole(
        at in 0usize..60,
        cuts in prop::collection::btree_set(1usize..66, 0..6),
        order in Just((0..8).collect::<Vec<usize>>()).prop_shuffle(),
        again in 0usize..8,
    ) {
        let mut bytes = [b'.'; 66];
        bytes[at..at + 6].copy_from_slice(b"needle");
        let mut scanner = scanner(ACROSS);
        let starts: Vec<usize> = std::iter::once(0).chain(cuts).collect();
        let parts: Vec<(usize, usize)> = starts.iter().copied().zip(starts.iter().copied().skip(1).chain([66])).collect();
        scanner.announce(Segment { stream: 3 << 32, seq: 1_000 });
        let order = order.into_iter().chain([again]).filter_map(|place| parts.get(place));
        let found: Vec<Option<u32>> = order
            .map(|&(start, end)| segment(&mut scanner, 3, 1_000 + start as u32, &bytes[start..end]))
            .collect();
        prop_assert!(found.contains(&Some(0)), "{:?}", found);
        prop_assert!(found.iter().flatten().all(|&rule| rule == 0));
    }
}
