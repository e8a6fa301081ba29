//! Finds the rule that matches a payload: names by sets, literals and regular
//! expressions by Vectorscan. Nothing is allocated per packet.

use std::sync::Arc;

use vectorscan::Scratch;

use super::automata::{Automata, out_of_memory};
use super::hosts::{Asked, Reader};
use super::matcher::{Best, StreamState};
use super::rules::RULES_MAX;
use super::streams::{HELD_BYTES, Segment, StreamEvents, Turn};
use mpfwd_common::error::Result;

/// Bytes of a stream that are scanned between two yield points.
const STEP_BYTES: usize = 4 << 10;

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
    fn new(part: Part, best: Best) -> Self {
        Self { part, best: best.0.wrapping_add(1) }
    }

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
        let databases = automata.within.iter().chain(automata.matcher.databases());
        let scratch = Scratch::new(databases.cloned().collect()).map_err(out_of_memory)?;
        Ok(Self {
            scratch,
            within: automata.within.is_some().then_some(0),
            alone: automata.matcher.open().map_err(out_of_memory)?,
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
                return Err(Progress::new(Part::Across, best));
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
        alone.renew();
        automata.matcher.step(alone, scratch, subject.payload, best);
        if !automata.matcher.names.is_empty() {
            let asked = match subject.protocol {
                Protocol::Tcp => reader.stream(subject.payload, false),
                Protocol::DnsOverTcp => reader.stream(subject.payload, true),
                Protocol::Dns => reader.dns(subject.payload),
                Protocol::Other => Asked::Nothing,
            };
            automata.matcher.note_name(asked, reader, best);
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
                return Err(Progress::new(Part::Rest, *best));
            }
            let step = &bytes[at..bytes.len().min(at + STEP_BYTES)];
            automata.matcher.step(&mut state, scratch, step, best);
            automata.matcher.names_of(&mut state, reader, step, is_dns, best);
            at += step.len();
        }
        let mut scanned = at;
        while let Some(back) = automata.streams.end(segment.stream, state, scanned, false, next) {
            state = back;
            automata.matcher.step(&mut state, scratch, next, best);
            automata.matcher.names_of(&mut state, reader, next, is_dns, best);
            scanned = next.len();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
