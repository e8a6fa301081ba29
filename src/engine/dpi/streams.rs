//! What is kept between the segments of a TCP stream, so that a pattern across
//! them is found. A stream is one direction of a flow.
//!
//! Segments are scanned in the order of their sequence numbers. A segment that
//! comes early, or while another lcore scans its stream, is scanned alone, and
//! a copy is held until its turn. A receiver cannot use such a segment before
//! the missing one has arrived, and that one is judged by the held ones, too.
//! The memory is allocated at the start: a stream without room replaces the
//! one that was used least recently.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::matcher::StreamState;

/// Streams in a set: a new one replaces one of its set.
const WAYS: usize = 4;

/// The most segments and bytes of a stream that are held.
const HELD_SEGMENTS: usize = 8;
pub(super) const HELD_BYTES: usize = 8 << 10;

/// A TCP segment's place in its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The flow's identifier, with the direction.
    pub stream: u64,
    /// The sequence number of the first byte of payload.
    pub seq: u32,
}

/// What to do with a segment.
pub(super) enum Turn {
    /// Continue the stream with the payload from this byte on; `Streams::end`
    /// must follow. The bytes in front have been scanned before.
    Now(Box<StreamState>, usize),
    /// Only scan it alone. A copy is held if its turn may come.
    Alone,
}

/// What happened to streams, to be counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamEvents {
    /// Streams that another one has replaced.
    pub evicted: u64,
    /// Segments that came early, and were held.
    pub held: u64,
    /// Gaps that were given up, because what came behind could not be held.
    pub gaps: u64,
}

struct Slot {
    /// The stream's identifier; `None` if the slot is free.
    stream: Option<u64>,
    /// The sequence number of the next byte to scan.
    next: u32,
    /// Nothing has been scanned yet.
    is_new: bool,
    /// `None` while an lcore scans.
    state: Option<Box<StreamState>>,
    /// When it was used last, by the set's count.
    used: u64,
    held: Vec<(u32, u16)>,
    /// The held segments' bytes, one behind the other.
    bytes: Vec<u8>,
}

struct Set {
    slots: [Slot; WAYS],
    uses: u64,
}

/// The streams of all lcores. Lcores wait for each other for the time that it
/// takes to find a slot, or to copy a segment.
pub(super) struct Streams {
    sets: Box<[Mutex<Set>]>,
}

impl Streams {
    /// Room for at least `streams`, each with a state from `open`.
    ///
    /// # Errors
    /// Those of `open`.
    pub fn new<E>(
        streams: usize,
        mut open: impl FnMut() -> Result<StreamState, E>,
    ) -> Result<Self, E> {
        let mut slot = || {
            Ok(Slot {
                stream: None,
                next: 0,
                is_new: true,
                state: Some(Box::new(open()?)),
                used: 0,
                held: Vec::with_capacity(HELD_SEGMENTS),
                bytes: Vec::with_capacity(HELD_BYTES),
            })
        };
        let mut set = || {
            let slots = [slot()?, slot()?, slot()?, slot()?];
            Ok(Mutex::new(Set { slots, uses: 0 }))
        };
        let sets = (0..streams.div_ceil(WAYS)).map(|_| set()).collect::<Result<_, E>>()?;
        Ok(Self { sets })
    }

    pub fn capacity(&self) -> usize {
        self.sets.len() * WAYS
    }

    /// The set of a stream; `None` if there is no memory for streams.
    fn set(&self, stream: u64) -> Option<MutexGuard<'_, Set>> {
        let set = ((u128::from(stream) * self.sets.len() as u128) >> 64) as usize;
        Some(self.sets.get(set)?.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Remembers that the stream begins with this segment, unless an earlier
    /// one is known or something has been scanned: to be called in order of
    /// arrival.
    pub fn announce(&self, segment: Segment, events: &mut StreamEvents) {
        if let Some(mut set) = self.set(segment.stream)
            && let Some(slot) = set.slot(segment, events)
            && slot.is_new
            && (segment.seq.wrapping_sub(slot.next) as i32) < 0
        {
            slot.next = segment.seq;
        }
    }

    /// Whose turn it is.
    pub fn begin(&self, segment: Segment, payload: &[u8], events: &mut StreamEvents) -> Turn {
        let Some(mut set) = self.set(segment.stream) else { return Turn::Alone };
        let Some(slot) = set.slot(segment, events) else { return Turn::Alone };
        let ahead = segment.seq.wrapping_sub(slot.next) as i32;
        let known = usize::try_from(-i64::from(ahead)).unwrap_or_default();
        if ahead <= 0 && known >= payload.len() {
            return Turn::Alone;
        }
        let Some(mut state) = slot.state.take_if(|_| ahead <= 0) else {
            if slot.hold(segment.seq, payload) {
                events.held += 1;
                return Turn::Alone;
            }
            let Some(mut state) = slot.state.take() else { return Turn::Alone };
            events.gaps += 1;
            slot.restart(segment.seq);
            state.renew();
            return Turn::Now(state, 0);
        };
        if std::mem::take(&mut slot.is_new) {
            state.renew();
        }
        Turn::Now(state, known)
    }

    /// Ends the turn after `scanned` bytes. Returns the state again if a held
    /// segment is next: its bytes are in `next`, and another turn ends later.
    /// `is_over`: another lcore may continue with this segment; no held segment
    /// is next.
    pub fn end(
        &self,
        stream: u64,
        state: Box<StreamState>,
        scanned: usize,
        is_over: bool,
        next: &mut Vec<u8>,
    ) -> Option<Box<StreamState>> {
        let mut set = self.set(stream)?;
        // An lcore scans only streams that have a slot, and nobody else frees
        // it meanwhile.
        let slot = set
            .slots
            .iter_mut()
            .find(|slot| slot.stream == Some(stream) && slot.state.is_none())?;
        slot.next = slot.next.wrapping_add(scanned as u32);
        if is_over || !slot.release(next) {
            slot.state = Some(state);
            return None;
        }
        Some(state)
    }

    /// Frees the stream's slot, unless an lcore scans it.
    pub fn forget(&self, stream: u64) {
        if let Some(mut set) = self.set(stream)
            && let Some(slot) = set.slots.iter_mut().find(|slot| slot.stream == Some(stream))
            && slot.state.is_some()
        {
            slot.stream = None;
            slot.used = 0;
        }
    }
}

impl Set {
    /// The stream's slot, or one that it gets. `None` if lcores scan all
    /// streams of the set.
    fn slot(&mut self, segment: Segment, events: &mut StreamEvents) -> Option<&mut Slot> {
        self.uses += 1;
        let known = self.slots.iter().position(|slot| slot.stream == Some(segment.stream));
        let at = known.or_else(|| {
            let idle = (0..WAYS).filter(|&at| self.slots[at].state.is_some());
            let at = idle.min_by_key(|&at| self.slots[at].used)?;
            let slot = &mut self.slots[at];
            events.evicted += u64::from(slot.stream.is_some());
            slot.stream = Some(segment.stream);
            slot.restart(segment.seq);
            slot.is_new = true;
            Some(at)
        })?;
        let slot = &mut self.slots[at];
        slot.used = self.uses;
        Some(slot)
    }
}

impl Slot {
    fn restart(&mut self, seq: u32) {
        self.next = seq;
        self.is_new = false;
        self.held.clear();
        self.bytes.clear();
    }

    /// Copies a segment, if there is room.
    fn hold(&mut self, seq: u32, payload: &[u8]) -> bool {
        let ahead = seq.wrapping_sub(self.next) as i32;
        let fits = self.held.len() < HELD_SEGMENTS
            && self.bytes.len() + payload.len() <= HELD_BYTES
            && i64::from(ahead) <= WINDOW_MAX;
        if fits
            && !self
                .held
                .iter()
                .any(|&(held, len)| held == seq && usize::from(len) >= payload.len())
        {
            self.held.push((seq, payload.len() as u16));
            self.bytes.extend_from_slice(payload);
        }
        fits
    }

    /// Moves the new bytes of the held segment that is next to `next`, and
    /// drops those before. Returns whether there is one.
    fn release(&mut self, next: &mut Vec<u8>) -> bool {
        let (mut at, mut start) = (0, 0);
        while let Some(&(seq, len)) = self.held.get(at) {
            let ahead = seq.wrapping_sub(self.next) as i32;
            let end = start + usize::from(len);
            if ahead > 0 {
                (at, start) = (at + 1, end);
                continue;
            }
            let known = usize::try_from(-i64::from(ahead)).unwrap_or(usize::MAX);
            let is_next = known < usize::from(len);
            if is_next {
                next.clear();
                next.extend_from_slice(&self.bytes[start + known..end]);
            }
            self.held.remove(at);
            self.bytes.drain(start..end);
            if is_next {
                return true;
            }
        }
        false
    }
}

/// A segment further ahead is of another connection: TCP's largest window.
const WINDOW_MAX: i64 = 1 << 30;
