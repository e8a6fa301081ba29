//! One lcore's records of incidents: a ring, each slot behind a sequence lock.
//! One writer; readers never wait.

use std::sync::atomic::{AtomicU64, Ordering, fence};

use super::{INCIDENTS_MAX, Stuck};

/// Declares a record of words, which readers copy word by word beside the
/// writer.
macro_rules! record {
    ($(#[$about:meta])* $name:ident { $($(#[$field_about:meta])* $field:ident),+ $(,)? }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub(super) struct $name {
            $($(#[$field_about])* pub(super) $field: u64),+
        }

        const WORDS: usize = [$(stringify!($field)),+].len();

        impl $name {
            fn to_words(self) -> [u64; WORDS] {
                [$(self.$field),+]
            }

            fn from_words([$($field),+]: [u64; WORDS]) -> Self {
                Self { $($field),+ }
            }
        }
    };
}

record! {
    /// One lcore's part of an incident.
    Record {
        victim,
        started_ticks,
        flow_hash,
        stage,
        /// The owner's record: when it returned. A rescuer's: 0.
        ended_ticks,
        /// Time of the first rescue.
        first_ticks,
        /// Sum over the rescued packets of the time from the start to their
        /// rescue.
        sum_since_start_ticks,
        stolen_pkts,
        polled_pkts,
        longest_wait_ticks,
        /// The stuck lcore's run delay: in the owner's record when it returned,
        /// in a rescuer's when that came first. [`UNKNOWN`] where the kernel
        /// does not say.
        run_delay_ns,
    }
}

/// No run delay.
const UNKNOWN: u64 = u64::MAX;

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
