//! What is searched for in streams and payloads, piece by piece: names,
//! literals, and the expressions that may lie across segments.

use std::ops::ControlFlow;
use std::sync::Arc;

use vectorscan::{Database, OutOfMemory, Scratch, Stream};

use super::hosts::{Asked, Reader};
use super::literals::{LiteralState, Literals};
use super::names::NameSet;

/// Bytes of a stream's beginning that are kept to find a name in.
const HEAD_BYTES: usize = 4 << 10;

/// The patterns.
pub(super) struct Matcher {
    pub names: NameSet,
    pub literals: Literals,
    /// Regular expressions that are found across segments.
    pub across: Option<Arc<Database>>,
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
    /// The state becomes that of a new stream.
    pub(super) fn renew(&mut self) {
        self.is_old = true;
    }
}

/// The first rule of the file found so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct Best(pub u32);

impl Best {
    pub const NONE: u32 = u32::MAX;

    /// Ends a scan that can find nothing better.
    pub(super) fn note(&mut self, rule: u32) -> ControlFlow<()> {
        self.0 = self.0.min(rule);
        if self.0 == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

impl Matcher {
    /// The state of a new stream.
    ///
    /// # Errors
    /// When memory runs out.
    pub(super) fn open(&self) -> Result<StreamState, OutOfMemory> {
        let across = self.across.as_ref().map(|database| Stream::open(database.clone()));
        Ok(StreamState {
            literals: self.literals.open()?,
            across: across.transpose()?,
            head: Vec::with_capacity(HEAD_BYTES),
            has_head: true,
            is_old: false,
        })
    }

    /// Bytes of a stream's state.
    pub(super) fn stream_bytes(&self) -> usize {
        let databases = self.databases().map(|database| database.stream_bytes());
        std::mem::size_of::<StreamState>() + HEAD_BYTES + databases.sum::<usize>()
    }

    /// The databases that a scratch space must fit.
    pub(super) fn databases(&self) -> impl Iterator<Item = &Arc<Database>> {
        self.literals.database().into_iter().chain(&self.across)
    }

    /// Scans the next bytes of a stream.
    pub(super) fn step(
        &self,
        state: &mut StreamState,
        scratch: &mut Scratch,
        bytes: &[u8],
        best: &mut Best,
    ) {
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
    pub(super) fn names_of(
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

    pub(super) fn note_name(&self, asked: Asked, reader: &Reader, best: &mut Best) {
        if let Asked::Name(place) = asked
            && let Some(rule) = self.names.first(reader.name(), place)
        {
            let _ = best.note(rule);
        }
    }
}
