//! Pools of packet buffers: one per socket, shared by all ports and lcores.

use std::ffi::CStr;
use std::ptr::NonNull;
use std::sync::Arc;

use dpdk_sys as sys;

use super::hugepages::HugePages;
use super::{ANY_SOCKET, Burst, Eal};
use mpfwd_common::error::{Error, Result};

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
        // SAFETY: the last handle is gone, and ports hold handles, so that no
        // driver refers to the pool any more.
        unsafe { sys::rte_mempool_free(self.pool.as_ptr()) }
    }
}

/// Which free buffers are given out next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reuse {
    /// Those that came back last, which are in some cache: a stack.
    LastFirst,
    /// As DPDK does it where nothing else is asked for: from a ring, those that
    /// came back first. All buffers go round, however few are needed.
    Default,
}

/// How many buffers, and how large.
#[derive(Clone, Copy, Debug)]
pub struct PoolSize {
    pub mbufs: u32,
    /// How many of them each lcore keeps at hand at most.
    pub cache: u32,
    /// Bytes of a buffer, headroom included.
    pub room: u16,
}

/// A handle of a pool; the pool is freed with its last one.
#[derive(Clone)]
pub struct Mempool(Arc<Pool>);

impl Mempool {
    /// Bytes of a buffer that no packet may use in front of its data.
    pub const HEADROOM: u16 = sys::MPFWD_PKTMBUF_HEADROOM as u16;
    /// The most buffers that an lcore may keep for itself.
    pub const CACHE_MAX: u32 = sys::MPFWD_MEMPOOL_CACHE_MAX;

    /// On any socket. What EAL was told by `--mbuf-pool-ops-name` goes before
    /// `reuse`.
    ///
    /// # Errors
    /// When the memory isn't there.
    pub fn create(eal: &Eal, name: &str, size: PoolSize, reuse: Reuse) -> Result<Self> {
        Self::create_on(eal, ANY_SOCKET, name, size, reuse)
    }

    fn create_on(
        eal: &Eal,
        socket: i32,
        name: &str,
        PoolSize { mbufs, cache, room }: PoolSize,
        reuse: Reuse,
    ) -> Result<Self> {
        let c_name = super::c_string(name)?;
        if !may_fit(mbufs, room) {
            return Err(Error::Setup(no_memory(mbufs, room)));
        }
        let stack = i32::from(reuse == Reuse::LastFirst);
        // SAFETY: the name outlives the call; everything else is checked by
        // DPDK.
        let create = |socket| unsafe {
            sys::mpfwd_pool_create(c_name.as_ptr(), mbufs, cache, room, stack, socket)
        };
        let pool = super::near(socket, format_args!("{mbufs} mbufs"), create)
            .ok_or_else(|| Error::Setup(no_pool(mbufs, room)))?;
        Ok(Self(Arc::new(Pool { pool, capacity: mbufs, _eal: eal.clone() })))
    }

    pub(super) fn as_ptr(&self) -> *mut sys::rte_mempool {
        self.0.pool.as_ptr()
    }

    /// How many buffers the pool was made with.
    pub fn capacity(&self) -> u32 {
        self.0.capacity
    }

    /// How many buffers are free; exact only while no packets flow.
    pub fn available(&self) -> u32 {
        // SAFETY: the pool is alive as long as `self`.
        unsafe { sys::rte_mempool_avail_count(self.as_ptr()) }
    }

    /// Makes the headers of the buffers that this lcore will get next its own,
    /// up to so many: other lcores had them last, and they are about to be
    /// written.
    #[inline]
    pub fn claim_next(&self, buffers: usize) {
        let mut count = buffers as u32;
        // SAFETY: the pool is alive as long as `self`; the cache that is looked
        // at is this thread's own, or there is none.
        let end = unsafe { sys::mpfwd_next_free(self.as_ptr(), &mut count) };
        for at in 1..=count as usize {
            // SAFETY: so many pointers stand before the end, in the thread's
            // own cache; the last one is given out first.
            claim(unsafe { *end.sub(at) });
        }
    }

    /// Appends `want` fresh packets to the burst, or none when the pool has
    /// fewer. Returns how many.
    pub fn alloc(&self, burst: &mut Burst, want: usize) -> usize {
        burst.append(want, |slots, room| {
            // SAFETY: `append` gives room for as many pointers, and DPDK fills
            // all of them or none.
            let code = unsafe { sys::mpfwd_alloc_bulk(self.as_ptr(), slots, u32::from(room)) };
            if code == 0 { room as usize } else { 0 }
        })
    }
}

/// A pool on each socket that receive queues are on.
pub struct Mempools(Vec<(u32, Mempool)>);

impl Mempools {
    /// One of that size on each of the sockets, of which there is one at least.
    ///
    /// # Errors
    /// As [`Mempool::create`].
    pub fn create(eal: &Eal, sockets: &[u32], size: PoolSize, reuse: Reuse) -> Result<Self> {
        let pool = |&socket: &u32| {
            let name = format!("mpfwd_mbufs{socket}");
            Ok((socket, Mempool::create_on(eal, socket as i32, &name, size, reuse)?))
        };
        sockets.iter().map(pool).collect::<Result<_>>().map(Self)
    }

    /// The socket's pool; the first one, if it has none.
    pub fn on(&self, socket: u32) -> &Mempool {
        let own = self.0.iter().find(|(of, _)| *of == socket);
        &own.unwrap_or(&self.0[0]).1
    }

    /// How many buffers there are.
    pub fn capacity(&self) -> u32 {
        self.0.iter().map(|(_, pool)| pool.capacity()).sum()
    }

    /// How many of them are free; exact only while no packets flow.
    pub fn available(&self) -> u32 {
        self.0.iter().map(|(_, pool)| pool.available()).sum()
    }
}

/// Writes to both cache lines of a free buffer's header, where nothing counts
/// before the buffer is given out. The core does not wait for a store, so the
/// lines are fetched side by side. Instructions that prefetch to write were
/// tried: on Zen 4, with two lcores far apart, the driver waited for each line
/// all the same, and half as many packets went.
#[inline(always)]
fn claim(buffer: *mut sys::rte_mbuf) {
    // SAFETY: the buffer is free, and so the thread's in whose cache it is; the
    // offset is that of a u32 of its header.
    unsafe { buffer.byte_add(sys::MPFWD_MBUF_RSS_HASH as usize).cast::<u32>().write_volatile(0) };
    // SAFETY: as above, of a u64.
    unsafe { buffer.byte_add(sys::MPFWD_MBUF_TX_OFFLOAD as usize).cast::<u64>().write_volatile(0) };
}

/// Memory for everything else that a run allocates: queues, shards, what EAL
/// itself needs.
const BESIDES_MIB: u64 = 64;

/// Says why DPDK did not make the pool.
fn no_pool(mbufs: u32, room: u16) -> String {
    // SAFETY: reads this thread's rte_errno.
    if unsafe { sys::mpfwd_errno() } == nix::errno::Errno::ENOMEM as i32 {
        return no_memory(mbufs, room);
    }
    // SAFETY: a string of EAL's configuration, or null.
    let ops = unsafe { sys::rte_mbuf_user_mempool_ops().as_ref() };
    let ops = ops.map(|ops| unsafe { CStr::from_ptr(ops) }.to_string_lossy());
    let asked = ops.map_or(String::new(), |ops| {
        format!(": write a name that this DPDK has instead of --mbuf-pool-ops-name {ops}, or leave it out")
    });
    format!("DPDK does not make a pool of {mbufs} mbufs ({}){asked}", super::last_reason())
}

/// Says that memory for the pool lacks, and what is enough.
fn no_memory(mbufs: u32, room: u16) -> String {
    let huge = has_hugepages();
    let small = HugePages { bytes: SMALL_PAGE_BYTES, total: 0, free: 0, on_demand: 0 };
    let pages = if huge { HugePages::of_default_size() } else { small };
    let mib = pool_bytes(u64::from(mbufs), object_bytes(room), pages.bytes).div_ceil(1 << 20)
        + BESIDES_MIB;
    let wanted = pages.total - pages.free + (mib << 20).div_ceil(pages.bytes);
    let way_out = match huge {
        false => format!("write -m {mib} or more before --"),
        true if wanted > pages.total => {
            format!("reserve more hugepages: echo {wanted} > /proc/sys/vm/nr_hugepages")
        }
        true => format!("let EAL have as much by -m or --socket-limit {mib}"),
    };
    format!(
        "no memory for {mbufs} mbufs of {room} bytes: a run with so many needs {mib} MiB; ask for fewer with --mbufs, or {way_out}"
    )
}

fn has_hugepages() -> bool {
    // SAFETY: reads EAL's configuration.
    unsafe { sys::rte_eal_has_hugepages() != 0 }
}

/// Bytes of a buffer of `room` bytes with all that the pool adds.
fn object_bytes(room: u16) -> u64 {
    let element = size_of::<sys::rte_mbuf>() as u32 + u32::from(room);
    // SAFETY: only computes; a null pointer asks for no details.
    u64::from(unsafe { sys::rte_mempool_calc_obj_size(element, 0, std::ptr::null_mut()) })
}

/// Whether there can be enough memory. Where there is not, EAL would find out
/// by taking all hugepages first, also those that other processes are about to
/// take.
fn may_fit(mbufs: u32, room: u16) -> bool {
    // SAFETY: reads what EAL's allocator counts.
    let in_heap = unsafe { sys::mpfwd_heap_free_bytes() };
    let to_be_had = if has_hugepages() {
        HugePages::of_all_sizes().iter().map(HugePages::free_bytes).fold(0, u64::saturating_add)
    } else {
        0
    };
    u64::from(mbufs) * object_bytes(room) <= to_be_had.saturating_add(in_heap)
}

/// x86-64's pages when there are no hugepages.
const SMALL_PAGE_BYTES: u64 = 4096;

/// Bytes that a pool takes of pages of `page_bytes`: no object crosses from one
/// page into the next, because the next may be anywhere in physical memory (as
/// `rte_mempool_op_calc_mem_size_helper` counts it), and the ring of free
/// objects has a power of two pointers.
fn pool_bytes(mbufs: u64, object_bytes: u64, page_bytes: u64) -> u64 {
    let objects = match page_bytes / object_bytes {
        0 => mbufs * object_bytes.next_multiple_of(page_bytes),
        per_page => mbufs.div_ceil(per_page) * page_bytes,
    };
    objects + (mbufs + 1).next_power_of_two() * size_of::<*const ()>() as u64
}

#[cfg(test)]
mod tests {
    use super::pool_bytes;

    #[test]
    fn objects_stay_within_their_pages() {
        assert_eq!(pool_bytes(7, 2432, 4096), 7 * 4096 + 64);
        assert_eq!(pool_bytes(863, 2432, 2 << 20), (4 << 20) + 8192, "862 fit into one of 2 MiB");
        assert_eq!(pool_bytes(1, 16_384 + 256, 4096), 20_480 + 16);
    }
}
