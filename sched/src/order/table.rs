//! What is known of one receive queue's flows: for each bucket of them the last
//! record, and numbers of arrival; and the queue's unused records. All but what
//! says otherwise belongs to who holds the queue's lease: plain loads and
//! stores, which the lease orders.

use super::record::{NONE, Record};
use crate::sync::Line;
use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// In `returned`: how many records are in the list stands above the first one's
/// number.
const COUNT: u32 = 32;
const EMPTY: u64 = NONE as u64;

/// In `last`: a record's number within its queue stands above its generation.
const NUMBER: u32 = 48;
const GENERATION: u64 = (1 << NUMBER) - 1;

/// The most records of a queue.
pub(super) const RECORDS_MAX: usize = 1 << (64 - NUMBER);

pub(super) struct Table {
    holder: Line<Holder>,
    /// Records that were given back, by anybody.
    returned: Line<AtomicU64>,
    /// By bucket, the last record and its generation; 0 if there was none.
    last: Box<[AtomicU64]>,
    /// By bucket, the number of the last record that was taken.
    arrived: Box<[AtomicU64]>,
    /// By bucket, the highest number that was sent. Anybody writes it.
    newest_sent: Box<[AtomicU64]>,
}

struct Holder {
    /// Records that were taken, less those that came back out of `returned`.
    taken: AtomicU32,
    /// The own list of unused records; and the first of those that were never
    /// used, up to `end`.
    unused: AtomicU32,
    fresh: AtomicU32,
    first: u32,
    end: u32,
}

impl Table {
    /// A queue whose records have the numbers from `first` to before `end`.
    pub(super) fn new(first: u32, end: u32, buckets: usize) -> Self {
        let words = || (0..buckets).map(|_| AtomicU64::new(0)).collect();
        Self {
            holder: Line(Holder {
                taken: AtomicU32::new(0),
                unused: AtomicU32::new(NONE),
                fresh: AtomicU32::new(first),
                first,
                end,
            }),
            returned: Line(AtomicU64::new(EMPTY)),
            last: words(),
            arrived: words(),
            newest_sent: words(),
        }
    }

    /// Whether no record is in use. Two loads, of lines that nobody writes
    /// then.
    #[inline(always)]
    pub(super) fn is_idle(&self) -> bool {
        // Acquire: what was sent under those records was sent before anything
        // that we send.
        self.returned.load(Ordering::Acquire) >> COUNT
            == u64::from(self.holder.taken.load(Ordering::Relaxed))
    }

    /// Takes a record into use, if there is one.
    #[inline]
    pub(super) fn take<T>(&self, records: &[Record<T>]) -> Option<u32> {
        let holder = &*self.holder;
        let at = match holder.unused.load(Ordering::Relaxed) {
            NONE => self.take_returned().or_else(|| self.take_fresh())?,
            at => at,
        };
        holder
            .unused
            .store(records[at as usize].next_unused.load(Ordering::Relaxed), Ordering::Relaxed);
        holder.taken.store(holder.taken.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        Some(at)
    }

    /// All that were given back, as a list that begins with the one that is
    /// returned.
    fn take_returned(&self) -> Option<u32> {
        if self.returned.load(Ordering::Relaxed) == EMPTY {
            return None;
        }
        // Acquire: who gave a record back had done with it.
        let returned = self.returned.swap(EMPTY, Ordering::Acquire);
        let taken = self.holder.taken.load(Ordering::Relaxed);
        self.holder.taken.store(taken - (returned >> COUNT) as u32, Ordering::Relaxed);
        Some(returned as u32)
    }

    /// One that was never used: only when all others are in use, so that as few
    /// as can be take up room in caches.
    fn take_fresh(&self) -> Option<u32> {
        let Holder { fresh, end, .. } = &*self.holder;
        let at = fresh.load(Ordering::Relaxed);
        if at == *end {
            return None;
        }
        fresh.store(at + 1, Ordering::Relaxed);
        Some(at)
    }

    /// Gives a record back. For anybody; only the holder of the lease takes,
    /// and takes all at once, so that no list is mistaken for another.
    #[inline]
    pub(super) fn give_back<T>(&self, records: &[Record<T>], at: u32) {
        let mut returned = self.returned.load(Ordering::Relaxed);
        loop {
            records[at as usize].next_unused.store(returned as u32, Ordering::Relaxed);
            let more = ((returned >> COUNT) + 1) << COUNT | u64::from(at);
            // Release: pairs with the holder's swap and look.
            match self.returned.compare_exchange_weak(
                returned,
                more,
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => return,
                Err(now) => returned = now,
            }
        }
    }

    /// The last record of a bucket, unless that is known to have gone.
    #[inline]
    pub(super) fn last<'r, T>(
        &self,
        records: &'r [Record<T>],
        bucket: usize,
    ) -> Option<&'r Record<T>> {
        let word = self.last[bucket].load(Ordering::Relaxed);
        if word == 0 {
            return None;
        }
        let record = &records[self.holder.first as usize + (word >> NUMBER) as usize];
        if record.generation() & GENERATION == word & GENERATION && !record.is_closed() {
            return Some(record);
        }
        self.last[bucket].store(0, Ordering::Relaxed);
        None
    }

    #[inline]
    pub(super) fn set_last<T>(&self, records: &[Record<T>], bucket: usize, at: u32) {
        let generation = records[at as usize].generation() & GENERATION;
        self.last[bucket]
            .store(u64::from(at - self.holder.first) << NUMBER | generation, Ordering::Relaxed);
    }

    /// The number of the next packet of a bucket, from 1.
    #[inline]
    pub(super) fn number(&self, bucket: usize) -> u64 {
        let number = self.arrived[bucket].load(Ordering::Relaxed) + 1;
        self.arrived[bucket].store(number, Ordering::Relaxed);
        number
    }

    /// The packet of that number was sent. Returns the highest number of its
    /// bucket that was sent before; 0 if none was.
    #[inline]
    pub(super) fn note_sent(&self, bucket: usize, number: u64) -> u64 {
        // Relaxed: where order is kept, the records have ordered this.
        self.newest_sent[bucket].fetch_max(number, Ordering::Relaxed)
    }
}
