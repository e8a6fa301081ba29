//! Finds the rule that matches a payload: names by sets, literals and regular
//! expressions by Vectorscan. Nothing is allocated per packet.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use vectorscan::{CompileError, Database, Mode, OutOfMemory, Scratch, Stream};

use super::expression::Expression;
use super::hosts::{Asked, Reader};
use super::literals::{LiteralState, Literals};
use super::names::NameSet;
use super::rules::{Pattern, RULES_MAX, Rules, refusal};
use super::streams::{HELD_BYTES, Segment, StreamEvents, Streams, Turn};
use crate::engine::Mistake;
use mpfwd_common::error::{Error, Result};

/// Bytes of a stream's beginning that are kept to find a name in.
const HEAD_BYTES: usize = 4 << 10;

/// Bytes of a stream that are scanned between two yield points.
const STEP_BYTES: usize = 4 << 10;

/// The most bytes that a stream's expressions may take. Thousands of usual ones
/// take a few hundred.
const STREAM_BYTES_MAX: usize = if cfg!(test) { 2 << 10 } else { 64 << 10 };

/// What a rules file is compiled to; shared by all lcores.
pub struct Automata {
    names: NameSet,
    literals: Literals,
    /// Regular expressions that are found across segments.
    across: Option<Arc<Database>>,
    /// Those that are matched within each payload.
    within: Option<Arc<Database>>,
    streams: Streams,
}

impl Automata {
    /// Compiles the rules of the file at `path`. `stream_bytes`: the most
    /// memory for streams.
    ///
    /// # Errors
    /// When regular expressions are too large; names all of them that are by
    /// themselves.
    pub fn compile(rules: &Rules, path: &Path, stream_bytes: usize) -> Result<Self> {
        let mut names = NameSet::default();
        let (mut literals, mut across, mut within) = (Vec::new(), Vec::new(), Vec::new());
        let zero_first = literals_of_zero(rules);
        across.extend(zero_first.iter().map(|(text, at)| (text.as_str(), *at)));
        // Only the first rule with a pattern can count.
        let (mut seen_literals, mut seen_texts) = (HashMap::new(), HashMap::new());
        for (rule, at) in rules.0.iter().zip(0..) {
            match &rule.pattern {
                Pattern::Literal(bytes) => {
                    if bytes[0] != 0 && seen_literals.insert(bytes.as_slice(), at).is_none() {
                        literals.push((bytes.as_slice(), at));
                    }
                }
                Pattern::Regex(expression) => {
                    if seen_texts.insert(expression.text.as_str(), at).is_none() {
                        let group = if expression.within { &mut within } else { &mut across };
                        group.push((expression.text.as_str(), at));
                    }
                }
                Pattern::Names(list, places) => names.add(list, places, at),
            }
        }
        let literals = Literals::compile(&literals).map_err(|error| {
            Error::Usage(format!("--rules {}: literals: {error}", path.display()))
        })?;
        let across = database(&across, Mode::Stream, rules, path)?;
        let within = database(&within, Mode::Block, rules, path)?;
        let open = || StreamState::open(&literals, across.as_ref());
        let bytes = std::mem::size_of::<StreamState>()
            + HELD_BYTES
            + HEAD_BYTES
            + [literals.database(), across.as_ref()]
                .into_iter()
                .flatten()
                .map(|database| database.stream_bytes())
                .sum::<usize>();
        let streams = Streams::new(stream_bytes / bytes, open).map_err(out_of_memory)?;
        Ok(Self { names, literals, across, within, streams })
    }

    /// Streams that there is memory for.
    pub fn streams_max(&self) -> usize {
        self.streams.capacity()
    }
}

/// The literals that begin with a zero byte, as expressions: Vectorscan takes
/// them for empty.
fn literals_of_zero(rules: &Rules) -> Vec<(String, u32)> {
    let mut seen = HashSet::new();
    let literals = rules.0.iter().zip(0..).filter_map(|(rule, at)| match &rule.pattern {
        Pattern::Literal(bytes) if bytes[0] == 0 && seen.insert(bytes) => {
            Some((Expression::escaped(bytes), at))
        }
        _ => None,
    });
    literals.collect()
}

fn out_of_memory(_: OutOfMemory) -> Error {
    Error::Setup("--rules: no memory for them: write a smaller --stream-memory".into())
}

/// Compiles expressions in one database. If it is refused, looks for all
/// expressions that are refused by themselves.
fn database(
    expressions: &[(&str, u32)],
    mode: Mode,
    rules: &Rules,
    path: &Path,
) -> Result<Option<Arc<Database>>> {
    if expressions.is_empty() {
        return Ok(None);
    }
    let compile = |expressions: &[(&str, u32)]| {
        let database = Database::compile(expressions, mode)?;
        if database.stream_bytes() > STREAM_BYTES_MAX {
            let what = format!(
                "its state takes {} KiB per stream, and all together may take {}: write a simpler one",
                database.stream_bytes() >> 10,
                STREAM_BYTES_MAX >> 10
            );
            return Err(CompileError { expression: None, what });
        }
        Ok(Arc::new(database))
    };
    let together = match compile(expressions) {
        Ok(database) => return Ok(Some(database)),
        Err(error) => error,
    };
    let place = |at: u32, error: &CompileError| {
        let rule = &rules.0[at as usize];
        Mistake::new(rule.line, rule.column, format!("regular expression: {error}"))
    };
    let alone: Vec<Mistake> = expressions
        .iter()
        .filter_map(|&one| compile(&[one]).err().map(|error| place(one.1, &error)))
        .collect();
    if !alone.is_empty() {
        return Err(refusal(path, &alone));
    }
    Err(match together.expression.and_then(|at| expressions.get(at)) {
        Some(&(_, at)) => refusal(path, &[place(at, &together)]),
        None => Error::Usage(format!(
            "--rules {}: all regular expressions together: {together}",
            path.display()
        )),
    })
}

/// What is kept of a stream between two segments.
#[derive(Debug)]
pub(super) struct StreamState {
    literals: LiteralState,
    across: Option<Stream>,
    /// The stream's beginning, while it may hold a name.
    head: Vec<u8>,
    has_head: bool,
    /// It must be reset before the next scan.
    is_old: bool,
}

impl StreamState {
    fn open(
        literals: &Literals,
        across: Option<&Arc<Database>>,
    ) -> std::result::Result<Self, OutOfMemory> {
        let across = across.map(|database| Stream::open(database.clone())).transpose()?;
        Ok(Self {
            literals: literals.open()?,
            across,
            head: Vec::with_capacity(HEAD_BYTES),
            has_head: true,
            is_old: false,
        })
    }

    /// As the state of a new stream.
    pub(super) fn renewed(mut self: Box<Self>) -> Box<Self> {
        self.is_old = true;
        self
    }
}

/// A payload, and what is known of it.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'p> {
    pub payload: &'p [u8],
    /// `None`: it is scanned by itself.
    pub segment: Option<Segment>,
    pub protocol: Protocol,
}

/// What a payload may begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// TLS or HTTP, if the stream begins so.
    Tcp,
    DnsOverTcp,
    Dns,
    Other,
}

/// The progress of a scan that was given up, to be continued on another lcore.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    part: Part,
    /// The first rule that matched so far, plus 1; 0 if none did.
    best: u32,
}

/// What a scan consists of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    /// The expressions that are matched within the payload.
    #[default]
    Within,
    /// Everything else.
    Across,
    /// The rest of that, from the stream's next byte on.
    Rest,
}

impl Progress {
    /// As one number, under the rules of `generation`. From the top: three bits
    /// of the generation, three unused ones, two for the part, 24 for the rule.
    pub fn to_bits(self, generation: u32) -> u32 {
        generation << 29 | (self.part as u32) << 24 | self.best
    }

    /// Starts over if the number is of other rules. Rules of eight generations
    /// ago look like these; no packet waits that long, and if one did it would
    /// be judged by the wrong rules, no worse.
    pub fn from_bits(bits: u32, generation: u32) -> Self {
        let part = match bits >> 24 & 3 {
            _ if bits >> 29 != generation & 7 => return Self::default(),
            0 => Part::Within,
            1 => Part::Across,
            _ => Part::Rest,
        };
        Self { part, best: bits & BEST_MAX }
    }
}

const BEST_MAX: u32 = (1 << 24) - 1;
const _: () = assert!(RULES_MAX < BEST_MAX as usize);

/// The first rule of the file found so far.
#[derive(Clone, Copy, Debug)]
struct Best(u32);

impl Best {
    const NONE: u32 = u32::MAX;

    /// Ends a scan that can find nothing better.
    fn note(&mut self, rule: u32) -> ControlFlow<()> {
        self.0 = self.0.min(rule);
        if self.0 == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

/// One lcore's handle on the automata, with the memory that it writes.
pub struct Scanner {
    automata: Arc<Automata>,
    scratch: Scratch,
    /// The place of the database for `within` in the scratch space.
    within: Option<usize>,
    /// For what is scanned by itself.
    alone: StreamState,
    reader: Reader,
    /// The held segment that is next.
    next: Vec<u8>,
    /// What happened to streams since they were counted.
    pub events: StreamEvents,
}

impl Scanner {
    /// # Errors
    /// When memory runs out.
    pub fn new(automata: Arc<Automata>) -> Result<Self> {
        let all =
            [automata.within.as_ref(), automata.literals.database(), automata.across.as_ref()];
        let databases = all.into_iter().flatten().cloned().collect();
        let scratch = Scratch::new(databases).map_err(out_of_memory)?;
        let alone = StreamState::open(&automata.literals, automata.across.as_ref());
        Ok(Self {
            scratch,
            within: automata.within.is_some().then_some(0),
            alone: alone.map_err(out_of_memory)?,
            reader: Reader::new(),
            next: Vec::with_capacity(HELD_BYTES),
            events: StreamEvents::default(),
            automata,
        })
    }

    /// Remembers the beginning of a stream, in the order of arrival.
    pub fn announce(&mut self, segment: Segment) {
        self.automata.streams.announce(segment, &mut self.events);
    }

    /// Forgets a stream that is decided.
    pub fn forget(&self, stream: u64) {
        self.automata.streams.forget(stream);
    }

    /// The first rule of the file that matches the payload, or its stream up to
    /// the payload's end, if any. Continues from `progress`, and makes at least
    /// a step. `Err`: `yield_point`, which is asked between two steps, was
    /// true; carries the progress.
    pub fn scan(
        &mut self,
        subject: &Subject<'_>,
        progress: Progress,
        mut yield_point: impl FnMut() -> bool,
    ) -> std::result::Result<Option<u32>, Progress> {
        let mut best = Best(progress.best.checked_sub(1).unwrap_or(Best::NONE));
        if let (Part::Within, Some(within)) = (progress.part, self.within) {
            self.scratch.scan(within, subject.payload, |rule| best.note(rule));
            if best.0 != 0 && yield_point() {
                return Err(best.progress(Part::Across));
            }
        }
        if best.0 == 0 {
            return Ok(Some(0));
        }
        let turn = match subject.segment {
            Some(segment) => {
                self.automata.streams.begin(segment, subject.payload, &mut self.events)
            }
            None => Turn::Alone,
        };
        match (turn, subject.segment) {
            (Turn::Now(state, known), Some(segment)) => {
                if known > 0 && progress.part != Part::Rest {
                    self.scan_alone(subject, &mut best);
                }
                self.scan_stream(subject, segment, state, known, &mut best, yield_point)?;
            }
            // Of the rest of a segment, somebody else has scanned it since.
            _ => self.scan_alone(subject, &mut best),
        }
        Ok((best.0 != Best::NONE).then_some(best.0))
    }

    fn scan_alone(&mut self, subject: &Subject<'_>, best: &mut Best) {
        let Self { automata, scratch, alone, reader, .. } = self;
        alone.is_old = true;
        automata.step(alone, scratch, subject.payload, best);
        if !automata.names.is_empty() {
            let asked = match subject.protocol {
                Protocol::Tcp => reader.stream(subject.payload, false),
                Protocol::DnsOverTcp => reader.stream(subject.payload, true),
                Protocol::Dns => reader.dns(subject.payload),
                Protocol::Other => Asked::Nothing,
            };
            automata.note_name(asked, reader, best);
        }
    }

    /// Scans the payload from byte `from` on, and the held segments behind it.
    fn scan_stream(
        &mut self,
        subject: &Subject<'_>,
        segment: Segment,
        mut state: Box<StreamState>,
        from: usize,
        best: &mut Best,
        mut yield_point: impl FnMut() -> bool,
    ) -> std::result::Result<(), Progress> {
        let Self { automata, scratch, reader, next, .. } = self;
        let is_dns = subject.protocol == Protocol::DnsOverTcp;
        let bytes = &subject.payload[from..];
        let mut at = 0;
        while at < bytes.len() {
            if at > 0 && best.0 != 0 && yield_point() {
                automata.streams.end(segment.stream, state, at, true, next);
                return Err(best.progress(Part::Rest));
            }
            let step = &bytes[at..bytes.len().min(at + STEP_BYTES)];
            automata.step(&mut state, scratch, step, best);
            automata.names_of(&mut state, reader, step, is_dns, best);
            at += step.len();
        }
        let mut scanned = at;
        while let Some(back) = automata.streams.end(segment.stream, state, scanned, false, next) {
            state = back;
            automata.step(&mut state, scratch, next, best);
            automata.names_of(&mut state, reader, next, is_dns, best);
            scanned = next.len();
        }
        Ok(())
    }
}

impl Best {
    fn progress(self, part: Part) -> Progress {
        Progress { part, best: self.0.wrapping_add(1) }
    }
}

impl Automata {
    /// Scans the next bytes of a stream.
    fn step(&self, state: &mut StreamState, scratch: &mut Scratch, bytes: &[u8], best: &mut Best) {
        if std::mem::take(&mut state.is_old) {
            self.literals.reset(&mut state.literals);
            state.across.iter_mut().for_each(Stream::reset);
            state.head.clear();
            state.has_head = true;
        }
        self.literals.scan(&mut state.literals, scratch, bytes, |rule| best.note(rule));
        if let (Some(across), true) = (&mut state.across, best.0 != 0) {
            across.scan(scratch, bytes, |rule| best.note(rule));
        }
    }

    /// Looks for a name in the stream's beginning, or at the beginning of a
    /// later segment.
    fn names_of(
        &self,
        state: &mut StreamState,
        reader: &mut Reader,
        bytes: &[u8],
        is_dns: bool,
        best: &mut Best,
    ) {
        if self.names.is_empty() {
            return;
        }
        let asked = if state.has_head {
            let there = bytes.len().min(HEAD_BYTES - state.head.len());
            state.head.extend_from_slice(&bytes[..there]);
            let asked = reader.stream(&state.head, is_dns);
            state.has_head = asked == Asked::More && state.head.len() < HEAD_BYTES;
            asked
        } else {
            reader.stream(bytes, is_dns)
        };
        self.note_name(asked, reader, best);
    }

    fn note_name(&self, asked: Asked, reader: &Reader, best: &mut Best) {
        if let Asked::Name(place) = asked
            && let Some(rule) = self.names.first(reader.name(), place)
        {
            let _ = best.note(rule);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use proptest::prelude::*;

    use super::*;

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
        assert!(matches!(scanner.automata.literals, Literals::Automaton(..)));
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
        let subject = Subject {
            segment: Some(Segment { stream: 5, seq: 77 }),
            ..alone(&long[..STEP_BYTES + 3])
        };
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
        let leaf = prop::sample::select(vec![
            "a", "b", "ab", "[ab]", "[^a]", ".", "^", "$", r"\b", "(?i)B",
        ]);
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
}
