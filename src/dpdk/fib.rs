//! Longest-prefix match by DPDK's `rte_fib` and `rte_fib6`, many addresses per
//! call. `rte_lpm` searches all routes of the same length for each route that
//! is added: loading a full table would take hours.

use std::ffi::{c_char, c_int};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use dpdk_sys as sys;

use super::Eal;
use mpfwd_common::error::{Error, Result};

/// The size of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FibSize {
    /// Prefixes.
    pub routes: u32,
    /// Groups of 256 entries: for IPv4 one for each 24 bits that longer
    /// prefixes begin with; for IPv6 one for each 8 bits (or part of them) that
    /// a prefix has beyond 24.
    pub groups: u32,
    /// The largest number of a hop.
    pub hop_max: u32,
    /// The hop of addresses that no prefix covers, at most `hop_max`.
    pub default_hop: u32,
}

/// The largest number in an entry of two bytes, one bit of which is reserved.
const NARROW_MAX: u32 = 0x7fff - 1;

impl FibSize {
    /// Whether entries need four bytes: for the hops, or the numbers of groups.
    fn is_wide(self) -> bool {
        self.hop_max.max(self.groups) > NARROW_MAX
    }

    /// Roughly what DPDK allocates: the first 24 bits' entries, the groups, and
    /// two nodes of a binary tree per route.
    fn mib(self) -> u64 {
        let entry = if self.is_wide() { 4 } else { 2 };
        let bytes = ((1 << 24) + (u64::from(self.groups) + 1) * 256) * entry
            + u64::from(self.routes) * 2 * 160;
        bytes.div_ceil(1 << 20)
    }

    fn no_memory(self) -> Error {
        let (routes, mib) = (self.routes, self.mib());
        Error::Setup(format!(
            "no memory for a table of {routes} routes ({}), which takes about {mib} MiB: reserve more hugepages, or let EAL have more by -m",
            super::last_reason()
        ))
    }
}

/// A shim that creates a table, or returns null.
type Create<T> = unsafe extern "C" fn(*const c_char, u32, u32, c_int, u32, c_int) -> *mut T;

/// Creates a table under a name that no other has, on `socket` if there is
/// memory.
fn create<T>(socket: u32, size: FibSize, create: Create<T>) -> Result<NonNull<T>> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = super::c_string(&format!("mpfwd_fib{}", COUNT.fetch_add(1, Ordering::Relaxed)))?;
    let (routes, groups) = (size.routes.max(1), size.groups.max(1));
    let (wide, hop) = (size.is_wide().into(), size.default_hop);
    // SAFETY: the name outlives the call, which checks the rest.
    let create = |socket| unsafe { create(name.as_ptr(), routes, groups, wide, hop, socket) };
    let fib = super::near(socket as i32, format_args!("{routes} routes"), create);
    fib.ok_or_else(|| size.no_memory())
}

/// A table of IPv4 prefixes.
pub struct Fib4 {
    fib: NonNull<sys::rte_fib>,
    _eal: Eal,
}

// SAFETY: looking up only reads; adding takes `&mut`.
unsafe impl Send for Fib4 {}
// SAFETY: as above.
unsafe impl Sync for Fib4 {}

impl Fib4 {
    /// On `socket`.
    ///
    /// # Errors
    /// When the memory isn't there.
    pub fn create(eal: &Eal, socket: u32, size: FibSize) -> Result<Self> {
        let fib = create(socket, size, sys::mpfwd_fib_create)?;
        Ok(Self { fib, _eal: eal.clone() })
    }

    /// Adds a prefix, or changes its hop. Fastest if shorter prefixes come
    /// first.
    ///
    /// # Errors
    /// When there is no room left.
    pub fn add(&mut self, prefix: u32, length: u8, hop: u32) -> Result<()> {
        // SAFETY: the table is alive and ours alone.
        let code = unsafe { sys::rte_fib_add(self.fib.as_ptr(), prefix, length, u64::from(hop)) };
        super::check(|| "no room for another IPv4 route".to_owned(), code).map(drop)
    }

    /// Writes the hop of each address to `hops`. Addresses are in the host's
    /// byte order.
    #[inline]
    pub fn look_up(&self, addresses: &[u32], hops: &mut [u64]) {
        let hops = &mut hops[..addresses.len()];
        // SAFETY: both arrays have the length that is given; the call only
        // reads the table and the addresses.
        unsafe {
            sys::rte_fib_lookup_bulk(
                self.fib.as_ptr(),
                addresses.as_ptr().cast_mut(),
                hops.as_mut_ptr(),
                hops.len() as i32,
            )
        };
    }
}

impl Drop for Fib4 {
    fn drop(&mut self) {
        // SAFETY: nobody else has the table.
        unsafe { sys::rte_fib_free(self.fib.as_ptr()) }
    }
}

/// A table of IPv6 prefixes.
pub struct Fib6 {
    fib: NonNull<sys::rte_fib6>,
    _eal: Eal,
}

// SAFETY: looking up only reads; adding takes `&mut`.
unsafe impl Send for Fib6 {}
// SAFETY: as above.
unsafe impl Sync for Fib6 {}

impl Fib6 {
    /// # Errors
    /// When the memory isn't there.
    pub fn create(eal: &Eal, socket: u32, size: FibSize) -> Result<Self> {
        let fib = create(socket, size, sys::mpfwd_fib6_create)?;
        Ok(Self { fib, _eal: eal.clone() })
    }

    /// As [`Fib4::add`].
    ///
    /// # Errors
    /// When there is no room left.
    pub fn add(&mut self, prefix: u128, length: u8, hop: u32) -> Result<()> {
        let prefix = prefix.to_be_bytes();
        // SAFETY: the table is alive and ours alone; the prefix outlives the
        // call.
        let code = unsafe {
            sys::mpfwd_fib6_add(self.fib.as_ptr(), prefix.as_ptr(), length, u64::from(hop))
        };
        super::check(|| "no room for another IPv6 route".to_owned(), code).map(drop)
    }

    /// As [`Fib4::look_up`], with addresses as they stand in packets.
    #[inline]
    pub fn look_up(&self, addresses: &[[u8; 16]], hops: &mut [u64]) {
        let hops = &mut hops[..addresses.len()];
        // SAFETY: both arrays have the length that is given; the call only
        // reads the table and the addresses.
        unsafe {
            sys::mpfwd_fib6_look_up(
                self.fib.as_ptr(),
                addresses.as_ptr().cast(),
                hops.as_mut_ptr(),
                hops.len() as i32,
            )
        };
    }
}

impl Drop for Fib6 {
    fn drop(&mut self) {
        // SAFETY: nobody else has the table.
        unsafe { sys::rte_fib6_free(self.fib.as_ptr()) }
    }
}
