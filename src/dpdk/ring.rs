//! `rte_ring`s of packets: a shard between lcores, or what a net_ring port
//! receives from and sends to.

use std::mem::ManuallyDrop;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

use dpdk_sys as sys;

use super::{ANY_SOCKET, Burst, Eal, Mbuf, StampField};
use mpfwd_common::error::{Error, Result};

struct Inner {
    ring: NonNull<sys::rte_ring>,
    mask: u32,
    _eal: Eal,
}

// SAFETY: an rte_ring is made to be used from several threads; which ends may
// be, the types below keep to.
unsafe impl Send for Inner {}
// SAFETY: as above.
unsafe impl Sync for Inner {}

impl Inner {
    fn create(eal: &Eal, socket: i32, name: &str, size: u32, flags: u32) -> Result<Arc<Self>> {
        let c_name = super::c_string(name)?;
        // SAFETY: the name outlives the call; DPDK checks the size.
        let create = |socket| unsafe { sys::rte_ring_create(c_name.as_ptr(), size, socket, flags) };
        let ring = super::near(socket, format_args!("ring {name}"), create).ok_or_else(|| {
            Error::Setup(format!(
                "no ring {name} of {size} entries ({}): --ring-size takes a power of two that fits into memory",
                super::last_reason()
            ))
        })?;
        // SAFETY: reads the size of the ring just made.
        let mask = unsafe { sys::mpfwd_ring_mask(ring.as_ptr()) };
        Ok(Arc::new(Self { ring, mask, _eal: eal.clone() }))
    }

    fn enqueue(&self, burst: &mut Burst) -> usize {
        burst.give(|packets, count| {
            // SAFETY: the ring is alive, and takes ownership of what it
            // accepts; the caller is its only producer, or one of many of a
            // multi-producer ring.
            unsafe {
                sys::mpfwd_ring_enqueue(self.ring.as_ptr(), packets.cast(), u32::from(count))
                    as usize
            }
        })
    }

    /// Returns how many packets it dequeued, and how many were there still.
    fn dequeue(&self, burst: &mut Burst, want: usize) -> (usize, usize) {
        let mut left = 0;
        let dequeued = burst.append(want, |slots, room| {
            // SAFETY: the ring is alive, and gives up ownership of what it
            // returns; the caller is its only consumer, or one of many of a
            // multi-consumer ring.
            unsafe {
                sys::mpfwd_ring_dequeue(
                    self.ring.as_ptr(),
                    slots.cast(),
                    u32::from(room),
                    &mut left,
                ) as usize
            }
        });
        (dequeued, left as usize)
    }

    fn position(&self, offset: u32) -> &AtomicU32 {
        // SAFETY: offsetof gave the offset of an aligned u32 inside the ring's
        // header, which other lcores write atomically.
        unsafe { AtomicU32::from_ptr(self.ring.as_ptr().byte_add(offset as usize).cast()) }
    }

    /// The position of the oldest item, and how many items there are. Both are
    /// of no one moment: other consumers may have moved the head, and nothing
    /// says that the tail that is read then is not older still.
    #[inline(always)]
    fn span(&self) -> (u32, u32) {
        let head = self.position(sys::MPFWD_RING_CONS_HEAD).load(Ordering::Relaxed);
        // Acquire: pairs with the producer's release of its tail, so that the
        // items and their stamps are seen as written.
        let tail = self.position(sys::MPFWD_RING_PROD_TAIL).load(Ordering::Acquire);
        let items = tail.wrapping_sub(head).cast_signed().max(0).cast_unsigned();
        (head, items.min(self.mask + 1))
    }

    fn is_empty(&self) -> bool {
        self.span().1 == 0
    }

    fn len(&self) -> usize {
        self.span().1 as usize
    }

    /// A look at what stands at a position between head and tail, which stays
    /// the ring's.
    fn look_at(&self, position: u32) -> Option<ManuallyDrop<Mbuf>> {
        let at = sys::MPFWD_RING_ITEMS as usize
            + (position & self.mask) as usize * size_of::<*mut sys::rte_mbuf>();
        // SAFETY: the slot lies in the ring. Other consumers may have dequeued
        // the item since: it is read atomically, and then still points to an
        // mbuf, whose memory stays mapped as long as the pool.
        let item = unsafe {
            AtomicPtr::from_ptr(self.ring.as_ptr().byte_add(at).cast::<*mut sys::rte_mbuf>())
        }
        .load(Ordering::Relaxed);
        let item = NonNull::new(item)?;
        // SAFETY: `Mbuf` is a NonNull pointer in another type; ManuallyDrop
        // keeps this look at it from freeing what isn't ours.
        Some(ManuallyDrop::new(unsafe {
            std::mem::transmute::<NonNull<sys::rte_mbuf>, Mbuf>(item)
        }))
    }

    fn head_stamp(&self, field: StampField) -> Option<u64> {
        let (head, items) = self.span();
        if items == 0 {
            return None;
        }
        self.look_at(head).map(|view| field.read(&view))
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let mut rest = Burst::new();
        while self.dequeue(&mut rest, super::BURST_MAX).0 > 0 {
            rest.free();
        }
        // SAFETY: no handle is left.
        unsafe { sys::rte_ring_free(self.ring.as_ptr()) }
    }
}

/// The enqueueing end of a ring. Not `Clone`: a single-producer ring has
/// exactly one.
pub struct RingProducer(Arc<Inner>);

/// The dequeueing end of a ring. Not `Clone`: a single-consumer ring has
/// exactly one.
pub struct RingConsumer {
    inner: Arc<Inner>,
    /// It is the only one: what is in the ring will be dequeued here.
    alone: bool,
    /// How many packets from the head on had their headers prefetched.
    prefetched: usize,
    /// How many packets the last dequeue left in the ring.
    left: usize,
}

/// How the producers of a ring are synchronised, or its consumers, where there
/// are several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ManyEnds {
    /// DPDK's default. Each end moves the head at once, and then waits for all
    /// that moved it before: where one loses its CPU, the next ones spin in
    /// turn, each for as long as it takes until its predecessor runs again.
    Default,
    /// Head and tail move together (HTS): one end at a time. Where it loses its
    /// CPU no other end has begun, and the others wait for this one alone.
    HeadTail,
}

impl ManyEnds {
    /// Shards and inboxes use this one. Ten lcores on two CPUs, 6:4 with one
    /// shard, and inboxes; interleaved runs: with the default kind some come to
    /// a standstill, at a thousandth of the packets. With HTS none does, and
    /// the median run sends 1.3 to 1.4 times as much. RTS, whose ends never
    /// wait to begin, is 1.2 to 1.5: ahead on inboxes, behind on shards.
    const USED: Self = Self::HeadTail;

    /// The flags of a ring with so many ends.
    fn flags(self, producers: usize, consumers: usize) -> u32 {
        let (many_enqueue, many_dequeue) = match self {
            Self::Default => (0, 0),
            Self::HeadTail => (sys::MPFWD_RING_HTS_ENQ, sys::MPFWD_RING_HTS_DEQ),
        };
        let enqueue = if producers == 1 { sys::MPFWD_RING_SP_ENQ } else { many_enqueue };
        let dequeue = if consumers == 1 { sys::MPFWD_RING_SC_DEQ } else { many_dequeue };
        enqueue | dequeue
    }
}

/// A ring of `size` entries (a power of two; one stays free) on `socket`, with
/// so many ends: DPDK's cheaper single-ended code is used where there is one
/// producer, or one consumer.
///
/// # Errors
/// When the size is no power of two or the memory isn't there.
pub fn ring(
    eal: &Eal,
    socket: u32,
    name: &str,
    size: u32,
    ends: (usize, usize),
) -> Result<(Vec<RingProducer>, Vec<RingConsumer>)> {
    ring_of(eal, socket, name, size, ends, ManyEnds::USED)
}

/// As [`ring`], with that kind of ends where there are several.
///
/// # Errors
/// As [`ring`].
pub fn ring_of(
    eal: &Eal,
    socket: u32,
    name: &str,
    size: u32,
    (producers, consumers): (usize, usize),
    many: ManyEnds,
) -> Result<(Vec<RingProducer>, Vec<RingConsumer>)> {
    let flags = many.flags(producers, consumers);
    let inner = Inner::create(eal, socket as i32, name, size, flags)?;
    let alone = consumers == 1;
    let consumer = |_| RingConsumer { inner: inner.clone(), alone, prefetched: 0, left: 0 };
    let producer = |_| RingProducer(inner.clone());
    Ok(((0..producers).map(producer).collect(), (0..consumers).map(consumer).collect()))
}

impl RingProducer {
    /// Moves packets from the front of the burst into the ring; those that find
    /// no room stay. Returns how many went.
    #[inline]
    pub fn enqueue(&mut self, burst: &mut Burst) -> usize {
        self.0.enqueue(burst)
    }

    pub fn view(&self) -> RingView {
        RingView(self.0.clone())
    }

    /// Packets in the ring: a hint.
    #[inline]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl RingConsumer {
    /// Appends up to `want` packets to the burst. Returns how many.
    #[inline]
    pub fn dequeue(&mut self, burst: &mut Burst, want: usize) -> usize {
        let (dequeued, left) = self.inner.dequeue(burst, want);
        (self.prefetched, self.left) = (self.prefetched.saturating_sub(dequeued), left);
        dequeued
    }

    /// As `dequeue`, into an empty burst whose packets' headers are about to be
    /// read: prefetches those that were not prefetched before.
    #[inline]
    pub fn dequeue_to_read(&mut self, burst: &mut Burst, want: usize) -> usize {
        let prefetched = self.prefetched;
        let dequeued = self.dequeue(burst, want);
        burst.prefetch_headers(prefetched);
        dequeued
    }

    /// Prefetches the headers of the packets that are dequeued next, up to the
    /// `pkts`-th, as far as they were there at the last dequeue. Does nothing
    /// where another lcore may dequeue them.
    #[inline]
    pub fn prefetch(&mut self, pkts: usize) {
        let (first, end) = (self.prefetched, self.left.min(pkts));
        if !self.alone || end <= first {
            return;
        }
        let head = self.inner.position(sys::MPFWD_RING_CONS_HEAD).load(Ordering::Relaxed);
        let next = (first..end).filter_map(|at| self.inner.look_at(head.wrapping_add(at as u32)));
        next.for_each(|view| view.prefetch_header());
        self.prefetched = end;
    }

    /// Whether it is the only dequeueing end.
    #[inline]
    pub fn is_alone(&self) -> bool {
        self.alone
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.inner.is_empty()
    }

    /// Packets in the ring; with several ends in use a hint.
    #[inline]
    pub fn len(&self) -> usize {
        self.inner.len()
    }

    /// The arrival stamp of the oldest packet, without taking it. With several
    /// consumers a hint: it may be gone by now.
    #[inline]
    pub fn head_stamp(&self, field: StampField) -> Option<u64> {
        self.inner.head_stamp(field)
    }
}

/// A look at a ring from outside. It keeps the ring alive.
pub struct RingView(Arc<Inner>);

impl RingView {
    /// Packets in the ring: a hint.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A pair of rings under a net_ring port: what the port receives from, and what
/// it sends to.
pub struct RxTxRing {
    rx: Arc<Inner>,
    tx: Arc<Inner>,
}

impl RxTxRing {
    /// Makes the rings and a net_ring port of that name on them, with one queue
    /// each way. Returns its port number too.
    ///
    /// # Errors
    /// When a ring or the port can't be made.
    pub fn create(eal: &Eal, name: &str, size: u32) -> Result<(Self, u16)> {
        let [rx, tx] = ["rx", "tx"]
            .map(|end| Inner::create(eal, ANY_SOCKET, &format!("{name}_{end}"), size, 0));
        let pair = Self { rx: rx?, tx: tx? };
        let c_name = super::c_string(name)?;
        let mut rx_rings = [pair.rx.ring.as_ptr()];
        let mut tx_rings = [pair.tx.ring.as_ptr()];
        // SAFETY: the name and both arrays outlive the call, which copies the
        // pointers. The rings outlive the port's traffic, because `self` is
        // kept by both ends, and multi-ended, because the port's ends are the
        // driver's.
        let port = unsafe {
            sys::rte_eth_from_rings(
                c_name.as_ptr(),
                rx_rings.as_mut_ptr(),
                1,
                tx_rings.as_mut_ptr(),
                1,
                0,
            )
        };
        let port = super::check(|| format!("no net_ring port {name}"), port)?;
        Ok((pair, port as u16))
    }

    /// Gives packets to the port to receive. Returns how many fitted; the
    /// others stay in the burst.
    pub fn inject(&mut self, burst: &mut Burst) -> usize {
        self.rx.enqueue(burst)
    }

    /// Takes what the port has sent.
    pub fn collect(&mut self, burst: &mut Burst, want: usize) -> usize {
        self.tx.dequeue(burst, want).0
    }
}
