//! One receive queue's flows: per bucket the last record and the sequence
//! numbers; and the queue's unused records. Only the holder of the queue's
//! lease uses this, with plain loads and stores that the lease orders, except
//! where a method says otherwise.

use super::record::{NONE, Record};
use crate::sync::Line;
use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// In `freed`: the length of the list stands above the first record's number.
const LENGTH_SHIFT: u32 = 32;
const EMPTY: u64 = NONE as u64;

/// In `last`: a record's number within its queue stands above its generation.
const NUMBER_SHIFT: u32 = 48;
const GENERATION_MASK: u64 = (1 << NUMBER_SHIFT) - 1;

/// The most records of a queue.
pub(super) const RECORDS_MAX: usize = 1 << (64 - NUMBER_SHIFT);

pub(super) struct Table {
    holder: Line<Holder>,
    /// The list of records that were freed. Any lcore writes it.
    freed: Line<AtomicU64>,
    /// By bucket, the last record and its generation; 0 if there was none.
    last: Box<[AtomicU64]>,
    /// By bucket, the sequence number of the last record.
    arrived: Box<[AtomicU64]>,
    /// By bucket, the highest sequence number that was sent. Any lcore writes
    /// it.
    newest_sent: Box<[AtomicU64]>,
}

/// Words that only the lease's holder uses.
struct Holder {
    /// Records that were allocated, less those that were reclaimed.
    allocated: AtomicU32,
    /// The holder's list of unused records.
    unused: AtomicU32,
    /// The first record that was never allocated, up to `end`.
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
                allocated: AtomicU32::new(0),
                unused: AtomicU32::new(NONE),
                fresh: AtomicU32::new(first),
                first,
                end,
            }),
            freed: Line(AtomicU64::new(EMPTY)),
            last: words(),
            arrived: words(),
            newest_sent: words(),
        }
    }

    /// Whether no record is in use. Two loads, of lines that no lcore writes
    /// then.
    #[inline(always)]
    pub(super) fn is_idle(&self) -> bool {
        // Acquire: what was sent under those records was sent before anything
        // that we send.
        self.freed.load(Ordering::Acquire) >> LENGTH_SHIFT
            == u64::from(self.holder.allocated.load(Ordering::Relaxed))
    }

    /// How many records are not in use.
    #[inline]
    pub(super) fn room(&self) -> usize {
        let Holder { allocated, first, end, .. } = &*self.holder;
        // Acquire: as in `is_idle`.
        let freed = (self.freed.load(Ordering::Acquire) >> LENGTH_SHIFT) as u32;
        // Wrapping: for lcores without the lease the two may be of different
        // moments.
        let used = allocated.load(Ordering::Relaxed).wrapping_sub(freed) as i32;
        (end - first) as usize - used.clamp(0, (end - first) as i32) as usize
    }

    /// An unused record, if there is one.
    #[inline]
    pub(super) fn allocate<T>(&self, records: &[Record<T>]) -> Option<u32> {
        let holder = &*self.holder;
        let at = match holder.unused.load(Ordering::Relaxed) {
            NONE => self.reclaim().or_else(|| self.allocate_fresh())?,
            at => at,
        };
        holder
            .unused
            .store(records[at as usize].next_unused.load(Ordering::Relaxed), Ordering::Relaxed);
        holder.allocated.store(holder.allocated.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        Some(at)
    }

    /// All records that were freed, as a list; returns its first one.
    fn reclaim(&self) -> Option<u32> {
        if self.freed.load(Ordering::Relaxed) == EMPTY {
            return None;
        }
        // Acquire: the lcore that freed a record had done with it.
        let freed = self.freed.swap(EMPTY, Ordering::Acquire);
        let allocated = self.holder.allocated.load(Ordering::Relaxed);
        self.holder.allocated.store(allocated - (freed >> LENGTH_SHIFT) as u32, Ordering::Relaxed);
        Some(freed as u32)
    }

    /// One that was never used: only when all others are in use, so that as few
    /// as possible take up room in caches.
    fn allocate_fresh(&self) -> Option<u32> {
        let Holder { fresh, end, .. } = &*self.holder;
        let at = fresh.load(Ordering::Relaxed);
        if at == *end {
            return None;
        }
        fresh.store(at + 1, Ordering::Relaxed);
        Some(at)
    }

    /// Frees a record. Any lcore may call this. There is no ABA problem: only
    /// the lease's holder removes records from the list, and removes all at
    /// once.
    #[inline]
    pub(super) fn free<T>(&self, records: &[Record<T>], at: u32) {
        let mut freed = self.freed.load(Ordering::Relaxed);
        loop {
            records[at as usize].next_unused.store(freed as u32, Ordering::Relaxed);
            let more = ((freed >> LENGTH_SHIFT) + 1) << LENGTH_SHIFT | u64::from(at);
            // Release: pairs with `reclaim` and `is_idle`.
            match self.freed.compare_exchange_weak(
                freed,
                more,
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => return,
                Err(now) => freed = now,
            }
        }
    }

    /// The last record of a bucket, unless that is known to be closed.
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
        let record = &records[self.holder.first as usize + (word >> NUMBER_SHIFT) as usize];
        if record.generation() & GENERATION_MASK == word & GENERATION_MASK && !record.is_closed() {
            return Some(record);
        }
        self.last[bucket].store(0, Ordering::Relaxed);
        None
    }

    #[inline]
    pub(super) fn set_last<T>(&self, records: &[Record<T>], bucket: usize, at: u32) {
        let generation = records[at as usize].generation() & GENERATION_MASK;
        let number = u64::from(at - self.holder.first);
        self.last[bucket].store(number << NUMBER_SHIFT | generation, Ordering::Relaxed);
    }

    /// The sequence number of the next packet of a bucket, from 1.
    #[inline]
    pub(super) fn next_sequence(&self, bucket: usize) -> u64 {
        let sequence = self.arrived[bucket].load(Ordering::Relaxed) + 1;
        self.arrived[bucket].store(sequence, Ordering::Relaxed);
        sequence
    }

    /// The packet of that sequence number was sent. Returns the highest of its
    /// bucket that was sent before; 0 if none was. Any lcore may call this.
    #[inline]
    pub(super) fn note_sent(&self, bucket: usize, sequence: u64) -> u64 {
        // Relaxed: where order is kept, the records have ordered this.
        self.newest_sent[bucket].fetch_max(sequence, Ordering::Relaxed)
    }
}
