//! One lcore's records of incidents: a ring, each slot behind a sequence lock.
//! One writer; readers never wait.

use std::sync::atomic::{AtomicU64, Ordering, fence};

use super::{INCIDENTS_MAX, Stuck};

/// One record. Its fields are plain words, so that readers copy it word by word
/// beside the writer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) victim: u64,
    pub(super) started_ticks: u64,
    pub(super) flow_hash: u64,
    pub(super) stage: u64,
    /// The owner's record: when it returned. A rescuer's: 0.
    pub(super) ended_ticks: u64,
    /// When the rescuer came first; and the sum over its packets of the time
    /// from the start until each was taken.
    pub(super) first_ticks: u64,
    pub(super) sum_since_start_ticks: u64,
    pub(super) stolen_pkts: u64,
    pub(super) polled_pkts: u64,
    pub(super) longest_wait_ticks: u64,
    /// The stuck lcore's run delay: in the owner's record when it returned, in a
    /// rescuer's when that came first. [`UNKNOWN`] where the kernel does not say.
    pub(super) run_delay_ns: u64,
}

/// No run delay.
const UNKNOWN: u64 = u64::MAX;

const WORDS: usize = 11;

impl Record {
    pub(super) fn of(stuck: Stuck) -> Self {
        Self {
            victim: stuck.lcore as u64,
            started_ticks: stuck.started_ticks,
            flow_hash: u64::from(stuck.flow_hash),
            stage: stuck.stage as u64,
            run_delay_ns: UNKNOWN,
            ..Self::default()
        }
    }

    pub(super) fn is_of(&self, stuck: Stuck) -> bool {
        (self.victim, self.started_ticks) == (stuck.lcore as u64, stuck.started_ticks)
    }

    pub(super) fn with_run_delay(self, ns: Option<u64>) -> Self {
        Self { run_delay_ns: ns.unwrap_or(UNKNOWN), ..self }
    }

    pub(super) fn run_delay_ns(&self) -> Option<u64> {
        (self.run_delay_ns != UNKNOWN).then_some(self.run_delay_ns)
    }

    fn pkts(&self) -> u64 {
        self.stolen_pkts + self.polled_pkts
    }

    /// The time from when each packet was taken until `ended_ticks`, summed.
    pub(super) fn saved_ticks(&self, ended_ticks: u64) -> u64 {
        self.pkts()
            .saturating_mul(ended_ticks.saturating_sub(self.started_ticks))
            .saturating_sub(self.sum_since_start_ticks)
    }

    fn to_words(self) -> [u64; WORDS] {
        let Self { victim, started_ticks, flow_hash, stage, ended_ticks, first_ticks, .. } = self;
        let Self { sum_since_start_ticks, stolen_pkts, polled_pkts, longest_wait_ticks, .. } = self;
        let Self { run_delay_ns, .. } = self;
        [
            victim,
            started_ticks,
            flow_hash,
            stage,
            ended_ticks,
            first_ticks,
            sum_since_start_ticks,
            stolen_pkts,
            polled_pkts,
            longest_wait_ticks,
            run_delay_ns,
        ]
    }

    fn from_words(words: [u64; WORDS]) -> Self {
        let [
            victim,
            started_ticks,
            flow_hash,
            stage,
            ended_ticks,
            first_ticks,
            sum_since_start_ticks,
            stolen_pkts,
            polled_pkts,
            longest_wait_ticks,
            run_delay_ns,
        ] = words;
        Self {
            victim,
            started_ticks,
            flow_hash,
            stage,
            ended_ticks,
            first_ticks,
            sum_since_start_ticks,
            stolen_pkts,
            polled_pkts,
            longest_wait_ticks,
            run_delay_ns,
        }
    }
}

/// A record behind a sequence lock. The version is odd during a write, and 0
/// before the first.
#[derive(Debug, Default)]
pub(super) struct Slot {
    version: AtomicU64,
    words: [AtomicU64; WORDS],
}

impl Slot {
    /// Only the owner may call this.
    pub(super) fn write(&self, record: Record) {
        let version = self.version.load(Ordering::Relaxed);
        self.version.store(version + 1, Ordering::Relaxed);
        // No reader may see a new word without the odd version.
        fence(Ordering::Release);
        for (slot, word) in self.words.iter().zip(record.to_words()) {
            slot.store(word, Ordering::Relaxed);
        }
        self.version.store(version + 2, Ordering::Release);
    }

    /// A consistent record. `None` if there is none, or during a write.
    pub(super) fn read(&self) -> Option<Record> {
        let version = self.version.load(Ordering::Acquire);
        if version == 0 || version % 2 == 1 {
            return None;
        }
        let words = std::array::from_fn(|at| self.words[at].load(Ordering::Relaxed));
        // The second load of the version must not move before the words.
        fence(Ordering::Acquire);
        (self.version.load(Ordering::Relaxed) == version).then(|| Record::from_words(words))
    }
}

/// One lcore's last records.
#[derive(Debug)]
#[repr(align(128))]
pub(super) struct Log {
    pub(super) slots: [Slot; INCIDENTS_MAX],
    /// Records appended so far. Only the owner writes it.
    written: AtomicU64,
}

impl Log {
    pub(super) fn new() -> Self {
        Self { slots: std::array::from_fn(|_| Slot::default()), written: AtomicU64::new(0) }
    }

    pub(super) fn append(&self, record: Record) {
        let written = self.written.load(Ordering::Relaxed);
        self.slots[written as usize % INCIDENTS_MAX].write(record);
        self.written.store(written + 1, Ordering::Relaxed);
    }

    /// The last records' slots, newest first.
    pub(super) fn last(&self, count: u64) -> impl Iterator<Item = &Slot> {
        let written = self.written.load(Ordering::Relaxed);
        (written.saturating_sub(count)..written)
            .rev()
            .map(|at| &self.slots[at as usize % INCIDENTS_MAX])
    }
}
