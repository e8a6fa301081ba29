//! A pool of packet buffers, shared by all ports and lcores.

use std::ptr::NonNull;
use std::sync::Arc;

use dpdk_sys as sys;

use super::{Burst, Eal};
use crate::error::{Error, Result};

struct Pool {
    pool: NonNull<sys::rte_mempool>,
    capacity: u32,
    _eal: Eal,
}

// SAFETY: rte_mempool is made to be used by all lcores at once.
unsafe impl Send for Pool {}
// SAFETY: as above.
unsafe impl Sync for Pool {}

impl Drop for Pool {
    fn drop(&mut self) {
        // SAFETY: the last handle is gone, and ports hold handles, so that no driver refers to the pool any more.
        unsafe { sys::rte_mempool_free(self.pool.as_ptr()) }
    }
}

/// A handle of a pool; the pool is freed with its last one.
#[derive(Clone)]
pub struct Mempool(Arc<Pool>);

impl Mempool {
    /// Bytes of a buffer that no packet may use in front of its data.
    pub const HEADROOM: u16 = sys::MPFWD_PKTMBUF_HEADROOM as u16;
    /// The most buffers that an lcore may keep for itself.
    pub const CACHE_MAX: u32 = sys::MPFWD_MEMPOOL_CACHE_MAX;

    /// `mbufs` buffers of `room` bytes (headroom included), of which each lcore keeps up to `cache` at hand.
    ///
    /// # Errors
    /// When the memory isn't there.
    pub fn create(eal: &Eal, name: &str, mbufs: u32, cache: u32, room: u16) -> Result<Self> {
        let c_name = super::c_string(name)?;
        // SAFETY: the name outlives the call; everything else is checked by DPDK.
        let pool = unsafe { sys::rte_pktmbuf_pool_create(c_name.as_ptr(), mbufs, cache, 0, room, sys::MPFWD_SOCKET_ANY) };
        let pool = NonNull::new(pool).ok_or_else(|| {
            let mib = u64::from(mbufs) * (u64::from(room) + 256) / (1 << 20) + 1;
            Error::Setup(format!(
                "no memory for {mbufs} mbufs of {room} bytes ({}): they need about {mib} MiB of hugepages; \
                 ask for fewer with --mbufs, or reserve more: echo {} > /proc/sys/vm/nr_hugepages (with --no-huge: a larger -m)",
                super::last_reason(),
                mib / 2 + 128
            ))
        })?;
        Ok(Self(Arc::new(Pool { pool, capacity: mbufs, _eal: eal.clone() })))
    }

    pub(super) fn as_ptr(&self) -> *mut sys::rte_mempool {
        self.0.pool.as_ptr()
    }

    /// How many buffers the pool was made with.
    pub fn capacity(&self) -> u32 {
        self.0.capacity
    }

    /// How many buffers nobody holds; exact only while no packets flow.
    pub fn available(&self) -> u32 {
        // SAFETY: the pool is alive as long as `self`.
        unsafe { sys::rte_mempool_avail_count(self.as_ptr()) }
    }

    /// Appends `want` fresh packets to the burst, or none when the pool has fewer. Returns how many.
    pub fn alloc(&self, burst: &mut Burst, want: usize) -> usize {
        burst.append(want, |slots, room| {
            // SAFETY: `append` gives room for as many pointers, and DPDK fills all of them or none.
            let code = unsafe { sys::mpfwd_alloc_bulk(self.as_ptr(), slots, u32::from(room)) };
            if code == 0 { room as usize } else { 0 }
        })
    }
}
