//! Fields that this program reserves in every mbuf, for marks that stay with a
//! packet when it leaves its burst.

use std::ffi::c_char;
use std::sync::atomic::{AtomicU64, Ordering};

use dpdk_sys as sys;

use super::mbuf::Mbuf;
use mpfwd_common::error::Result;

/// Reserves 4 or 8 aligned bytes of every mbuf under this name. Returns their
/// offset.
pub(super) fn reserved_bytes(name: &[u8], bytes: usize, what: &str) -> Result<u32> {
    let field =
        sys::rte_mbuf_dynfield { name: dynamic_name(name), size: bytes, align: bytes, flags: 0 };
    // SAFETY: the description is complete and outlives the call.
    let offset = unsafe { sys::rte_mbuf_dynfield_register(&field) };
    super::check(|| format!("no room for {what} in the mbuf"), offset)
}

/// The name of a dynamic field or flag, as DPDK holds it.
pub(super) fn dynamic_name(name: &[u8]) -> [c_char; 64] {
    let mut held = [0; 64];
    held.iter_mut().zip(name).for_each(|(to, from)| *to = *from as c_char);
    held
}

/// The mbuf field for the arrival time of a packet that leaves its burst, in
/// ticks.
#[derive(Clone, Copy, Debug)]
pub struct StampField {
    offset: u32,
}

impl StampField {
    /// Registers eight bytes of every mbuf for the stamp. Every call returns
    /// the same field.
    ///
    /// # Errors
    /// The mbuf has no dynamic space left.
    pub fn register() -> Result<Self> {
        Ok(Self { offset: reserved_bytes(b"mpfwd_dynfield_arrival_ticks", 8, "an arrival stamp")? })
    }

    /// As `register`, for the time of the poll that received the packet, if
    /// that is not its arrival.
    ///
    /// # Errors
    /// As [`StampField::register`].
    pub fn register_polled() -> Result<Self> {
        Ok(Self {
            offset: reserved_bytes(b"mpfwd_dynfield_polled_ticks", 8, "the time of a poll")?,
        })
    }

    fn slot(self, mbuf: &Mbuf) -> &AtomicU64 {
        // SAFETY: DPDK reserved eight aligned bytes at this offset for us
        // alone. All access is atomic, because a worker that looks at a shard's
        // head may read it while another one, which took the packet, already
        // writes it again.
        unsafe { AtomicU64::from_ptr(mbuf.field(self.offset)) }
    }

    /// The arrival stamp, in ticks. Valid once `write` was called for this
    /// packet.
    #[inline]
    pub fn read(self, mbuf: &Mbuf) -> u64 {
        self.slot(mbuf).load(Ordering::Relaxed)
    }

    #[inline]
    pub fn write(self, mbuf: &mut Mbuf, ticks: u64) {
        self.slot(mbuf).store(ticks, Ordering::Relaxed);
    }
}

/// The mbuf field for the cost of a packet, if its source draws costs.
#[derive(Clone, Copy, Debug)]
pub struct CostField {
    offset: u32,
}

impl CostField {
    /// Registers eight bytes of every mbuf for the cost. Every call returns the
    /// same field.
    ///
    /// # Errors
    /// As [`StampField::register`].
    pub fn register() -> Result<Self> {
        Ok(Self { offset: reserved_bytes(b"mpfwd_dynfield_cost_ticks", 8, "a packet's cost")? })
    }

    /// The packet's cost in ticks, and whether it is expensive. Valid once
    /// `write` was called for this packet.
    #[inline]
    pub fn read(self, mbuf: &Mbuf) -> (u64, bool) {
        let word = mbuf.eight_bytes(self.offset);
        (word >> 1, word & 1 == 1)
    }

    /// `ticks`: below 2^63.
    #[inline]
    pub fn write(self, mbuf: &mut Mbuf, ticks: u64, expensive: bool) {
        mbuf.set_eight_bytes(self.offset, ticks << 1 | u64::from(expensive));
    }
}

/// The mbuf field for a packet's ticket, or its number, in its flow's bucket.
#[derive(Clone, Copy, Debug)]
pub struct TicketField {
    offset: u32,
    is_number: bool,
}

impl TicketField {
    /// Registers four bytes of every mbuf for a ticket, or eight for a number.
    /// Every call with the same `is_number` returns the same field.
    ///
    /// # Errors
    /// As [`StampField::register`].
    pub fn register(is_number: bool) -> Result<Self> {
        let offset = match is_number {
            false => reserved_bytes(b"mpfwd_dynfield_ticket", 4, "a place in a flow")?,
            true => reserved_bytes(b"mpfwd_dynfield_number", 8, "a number in a flow")?,
        };
        Ok(Self { offset, is_number })
    }

    /// Whether it is for numbers.
    #[inline(always)]
    pub fn is_number(self) -> bool {
        self.is_number
    }

    /// The written bits. Valid once `write` was called for this packet.
    #[inline]
    pub fn read(self, mbuf: &Mbuf) -> u64 {
        if self.is_number {
            mbuf.eight_bytes(self.offset)
        } else {
            mbuf.four_bytes(self.offset).into()
        }
    }

    /// `bits`: a ticket has 32.
    #[inline]
    pub fn write(self, mbuf: &mut Mbuf, bits: u64) {
        if self.is_number {
            mbuf.set_eight_bytes(self.offset, bits)
        } else {
            mbuf.set_four_bytes(self.offset, bits as u32)
        }
    }
}
