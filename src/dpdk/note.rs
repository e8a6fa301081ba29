//! A few bytes that one step of an engine leaves on a packet for the next one,
//! wherever that runs.

use dpdk_sys as sys;

use super::Mbuf;
use super::fields::{dynamic_name, reserved_bytes};
use mpfwd_common::error::Result;

/// The mbuf field for a note of four bytes, and the flag that is set while
/// there is one.
#[derive(Clone, Copy, Debug)]
pub struct NoteField {
    offset: u32,
    flag: u64,
}

impl NoteField {
    /// Registers four bytes and a flag of every mbuf. Every call returns the
    /// same field.
    ///
    /// # Errors
    /// The mbuf has no dynamic space left.
    pub fn register() -> Result<Self> {
        Self::named(b"mpfwd_dynfield_note", b"mpfwd_dynflag_note", "a note")
    }

    /// As `register`, for another note: the progress of work that was given up.
    ///
    /// # Errors
    /// As [`NoteField::register`].
    pub fn register_progress() -> Result<Self> {
        Self::named(b"mpfwd_dynfield_progress", b"mpfwd_dynflag_progress", "progress")
    }

    fn named(field: &[u8], flag_name: &[u8], what: &str) -> Result<Self> {
        let offset = reserved_bytes(field, 4, what)?;
        let flag = sys::rte_mbuf_dynflag { name: dynamic_name(flag_name), flags: 0 };
        // SAFETY: the description is complete and outlives the call.
        let bit = unsafe { sys::rte_mbuf_dynflag_register(&flag) };
        let bit = super::check(|| format!("no room for the flag of {what} in the mbuf"), bit)?;
        Ok(Self { offset, flag: 1 << bit })
    }

    #[inline(always)]
    pub fn write(self, packet: &mut Mbuf, note: u32) {
        packet.set_four_bytes(self.offset, note);
        packet.set_flags(packet.flags() | self.flag);
    }

    #[inline(always)]
    pub fn is_on(self, packet: &Mbuf) -> bool {
        packet.flags() & self.flag != 0
    }

    /// Removes the note from the packet and returns it, so that it is read
    /// once.
    #[inline(always)]
    pub fn take(self, packet: &mut Mbuf) -> Option<u32> {
        let flags = packet.flags();
        let is_there = flags & self.flag != 0;
        is_there.then(|| {
            packet.set_flags(flags & !self.flag);
            packet.four_bytes(self.offset)
        })
    }
}
