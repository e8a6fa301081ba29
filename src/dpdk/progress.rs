//! What a stage that was given up leaves with its packet, for the lcore that goes on with it.

use dpdk_sys as sys;

use super::Mbuf;
use super::mbuf::reserved;
use crate::error::{Error, Result};

/// Where in an mbuf an engine keeps how far it has come, and the flag that says that there is something. Drivers set a packet's flags anew when
/// they receive it, so that nothing is taken for the progress of another packet that had the same buffer.
#[derive(Clone, Copy, Debug)]
pub struct ProgressField {
    offset: u32,
    flag: u64,
}

impl ProgressField {
    /// Registers eight bytes and a flag of every mbuf. Every call returns the same field.
    ///
    /// # Errors
    /// When other libraries have taken all of the mbuf's dynamic space.
    pub fn register() -> Result<Self> {
        let offset = reserved(b"mpfwd_dynfield_progress", 8, "an engine's progress")?;
        let mut flag = sys::rte_mbuf_dynflag { name: [0; 64], flags: 0 };
        flag.name.iter_mut().zip(b"mpfwd_dynflag_progress").for_each(|(to, from)| *to = *from as std::ffi::c_char);
        // SAFETY: the description is complete and outlives the call.
        let bit = unsafe { sys::rte_mbuf_dynflag_register(&flag) };
        let bit = u32::try_from(bit).map_err(|_| Error::Setup(format!("no flag for an engine's progress: {}", super::last_reason())))?;
        Ok(Self { offset, flag: 1 << bit })
    }

    /// Whether the packet has been given up half-way.
    #[inline]
    pub fn is_set(self, packet: &Mbuf) -> bool {
        packet.flags() & self.flag != 0
    }

    /// Leaves `progress` with the packet.
    #[inline]
    pub fn write(self, packet: &mut Mbuf, progress: u64) {
        packet.set_eight_bytes(self.offset, progress);
        packet.set_flags(packet.flags() | self.flag);
    }

    /// What was left with the packet, which has nothing any more then.
    #[inline]
    pub fn take(self, packet: &mut Mbuf) -> Option<u64> {
        if !self.is_set(packet) {
            return None;
        }
        packet.set_flags(packet.flags() & !self.flag);
        Some(packet.eight_bytes(self.offset))
    }
}
