//! EAL: start and clean-up, each once; the lcores, and running a job on each.

use std::collections::BTreeSet;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use dpdk_sys as sys;
use nix::sched::CpuSet;

use super::capture;
use super::clock::TscRate;
use super::leftovers::Leftovers;
use super::named::Named;
use super::preflight::{self, Memory};
use mpfwd_common::error::{Error, Result};

/// A pinned EAL thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lcore {
    /// EAL's lcore id.
    pub id: u32,
    /// The first CPU that it is pinned to.
    pub cpu: u32,
    /// The NUMA socket of its CPU.
    pub socket: u32,
    pub main: bool,
}

/// Stands for a reason that only EAL's own messages tell.
const SEE_ABOVE: &str =
    "its own lines above say why; the part of the command line before -- is EAL's";

/// The first error that EAL logged while it started.
fn first_error() -> Option<String> {
    // SAFETY: the shim's own text, written by nobody after the start.
    let text = unsafe { CStr::from_ptr(sys::mpfwd_eal_error()) }.to_string_lossy();
    (!text.is_empty()).then(|| text.into_owned())
}

struct Running {
    /// EAL keeps pointers into its arguments.
    _args: Vec<CString>,
    /// Keep EAL's files: the user chose `--huge-unlink=never` for a faster next
    /// start.
    keep: bool,
    socket_mem: Option<Vec<u64>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        let leftovers = (!self.keep).then(Leftovers::of_this_process);
        // SAFETY: the last handle is gone, and every port, pool and ring holds
        // one, so that all of them are closed.
        unsafe { sys::rte_eal_cleanup() };
        leftovers.into_iter().for_each(Leftovers::remove_unless_shared);
    }
}

/// A handle of the running EAL. Dropping the last one cleans EAL up.
#[derive(Clone)]
pub struct Eal {
    running: Arc<Running>,
}

impl Eal {
    /// Starts EAL with its own arguments (`args[0]` is the program's name).
    ///
    /// # Errors
    /// Hugepages or permissions are missing, EAL refuses an argument, or a
    /// named device did not become a port.
    pub fn start(args: &[String]) -> Result<Self> {
        preflight::check(args)?;
        capture::check(args)?;
        let socket_mem = preflight::socket_mem(args);
        let (memory, named) = (Memory::asked_for(args), Named::in_args(args)?);
        let keep = args.iter().any(|arg| arg.starts_with("--huge-unl") && arg.ends_with("=never"));
        let args = args.iter().map(|arg| super::c_string(arg)).collect::<Result<Vec<_>>>()?;
        let mut argv: Vec<*mut c_char> = args.iter().map(|arg| arg.as_ptr().cast_mut()).collect();
        argv.push(std::ptr::null_mut());
        let last_words = super::c_string(SEE_ABOVE)?;
        // SAFETY: argv is a null-terminated array of strings that live as long
        // as EAL does (`Running` keeps them).
        let code = unsafe {
            sys::mpfwd_eal_init((argv.len() - 1) as c_int, argv.as_mut_ptr(), last_words.as_ptr())
        };
        if code < 0 {
            // SAFETY: reads this thread's rte_errno.
            let errno = unsafe { sys::mpfwd_errno() };
            if !keep {
                Leftovers::of_this_process().remove();
            }
            let lacks = memory
                .filter(|_| errno == nix::errno::Errno::ENOMEM as i32)
                .and_then(|memory| memory.lacks());
            let why = lacks.or_else(first_error).unwrap_or(SEE_ABOVE.into());
            return Err(Error::Setup(format!(
                "EAL did not start ({}): {why}",
                super::reason(errno)
            )));
        }
        let eal = Self { running: Arc::new(Running { _args: args, keep, socket_mem }) };
        named.check()?;
        Ok(eal)
    }

    /// The MiB of `--socket-mem` by socket, if it was given.
    pub fn socket_mem(&self) -> Option<&[u64]> {
        self.running.socket_mem.as_deref()
    }

    /// Ticks per second of the time stamp counter.
    pub fn tsc_rate(&self) -> TscRate {
        TscRate::from_eal()
    }

    /// All lcores: the main lcore first, then the others by number.
    pub fn lcores(&self) -> Vec<Lcore> {
        // SAFETY: reads EAL's configuration.
        let main = unsafe { sys::rte_get_main_lcore() };
        let mut ids = vec![main];
        let mut id = u32::MAX;
        loop {
            // SAFETY: any number is a valid place to go on from; u32::MAX
            // starts.
            id = unsafe { sys::rte_get_next_lcore(id, 1, 0) };
            if id >= sys::MPFWD_MAX_LCORES {
                break;
            }
            ids.push(id);
        }
        let lcore = |id| Lcore {
            id,
            // SAFETY: the lcore is enabled.
            cpu: unsafe { sys::mpfwd_lcore_cpu(id) },
            // SAFETY: as above.
            socket: unsafe { sys::rte_lcore_to_socket_id(id) },
            main: id == main,
        };
        ids.into_iter().map(lcore).collect()
    }

    /// The lcores that must share CPUs because they are more than those: by
    /// group of lcores whose CPUs overlap, the lcores and the CPUs.
    pub fn crowded(&self) -> Vec<(Vec<u32>, Vec<u32>)> {
        let cpus = |lcore: &Lcore| -> BTreeSet<u32> {
            // SAFETY: the lcore is enabled.
            let may_use = |&cpu: &u32| unsafe { sys::mpfwd_lcore_may_use(lcore.id, cpu) } != 0;
            (0..CpuSet::count() as u32).filter(may_use).collect()
        };
        let lcores = self.lcores();
        crowded(lcores.iter().map(|lcore| (lcore.id, cpus(lcore))))
    }

    /// Runs each job on its lcore, the main lcore's in the calling thread, and
    /// returns when all have ended. So jobs may borrow.
    ///
    /// # Errors
    /// An lcore is busy. Then this calls `call_off`, which must make the
    /// started jobs end, and waits for them.
    pub fn run<'a>(
        &self,
        jobs: Vec<(Lcore, Box<dyn FnOnce() + Send + 'a>)>,
        call_off: impl FnOnce(),
    ) -> Result<()> {
        let mut here = None;
        let mut launched = Vec::new();
        let mut failed = None;
        for (lcore, job) in jobs {
            let job: Job<'a> = Box::new(move || or_abort(lcore.id, job));
            if lcore.main {
                here = Some(job);
                continue;
            }
            let job: *mut Job<'a> = Box::into_raw(Box::new(job));
            // SAFETY: `trampoline` takes back the box; what the job borrows
            // outlives this function, which waits for it below.
            let code =
                unsafe { sys::rte_eal_remote_launch(Some(trampoline), job.cast(), lcore.id) };
            if code == 0 {
                launched.push(lcore.id);
            } else {
                // SAFETY: the launch failed, so that the box is still ours.
                drop(unsafe { Box::from_raw(job) });
                failed = Some(Error::Setup(format!(
                    "lcore {} does not take work: {}",
                    lcore.id,
                    super::reason(code)
                )));
                break;
            }
        }
        match (&failed, here) {
            (Some(_), _) => call_off(),
            (None, Some(job)) => job(),
            (None, None) => {}
        }
        for id in launched {
            // SAFETY: the lcore was launched above.
            unsafe { sys::rte_eal_wait_lcore(id) };
        }
        failed.map_or(Ok(()), Err)
    }
}

fn crowded(lcores: impl IntoIterator<Item = (u32, BTreeSet<u32>)>) -> Vec<(Vec<u32>, Vec<u32>)> {
    let mut groups: Vec<(BTreeSet<u32>, BTreeSet<u32>)> = Vec::new();
    for (id, cpus) in lcores {
        let (mut ids, mut all) = (BTreeSet::from([id]), cpus);
        let overlaps = |group: &mut (BTreeSet<u32>, BTreeSet<u32>)| !group.1.is_disjoint(&all);
        let joined: Vec<_> = groups.extract_if(.., overlaps).collect();
        for (other_ids, other_cpus) in joined {
            ids.extend(other_ids);
            all.extend(other_cpus);
        }
        groups.push((ids, all));
    }
    let is_crowded = |(ids, cpus): &(BTreeSet<u32>, BTreeSet<u32>)| ids.len() > cpus.len();
    let listed = |(ids, cpus): (BTreeSet<u32>, BTreeSet<u32>)| {
        (ids.into_iter().collect(), cpus.into_iter().collect())
    };
    groups.into_iter().filter(is_crowded).map(listed).collect()
}

type Job<'a> = Box<dyn FnOnce() + Send + 'a>;

/// Aborts the process if the job panics, on any lcore and in any build.
/// Otherwise the other lcores would wait for this one, and its queues would not
/// be polled.
fn or_abort(lcore: u32, job: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(job)).is_err() {
        eprintln!("mpfwd: lcore {lcore} panicked in its loop, see above: the process ends");
        std::process::abort();
    }
}

unsafe extern "C" fn trampoline(job: *mut c_void) -> c_int {
    // SAFETY: `run` made the box and gave it away to this one call.
    let job = unsafe { Box::from_raw(job.cast::<Job<'_>>()) };
    job();
    0
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::crowded;

    #[test]
    fn lcores_that_outnumber_their_cpus_are_found() {
        let lcores = |map: &[(u32, &[u32])]| {
            let lcore = |&(id, cpus): &(u32, &[u32])| (id, cpus.iter().copied().collect());
            crowded(map.iter().map(lcore).collect::<Vec<(u32, BTreeSet<u32>)>>())
        };
        assert_eq!(lcores(&[(0, &[0]), (1, &[1])]), []);
        assert_eq!(lcores(&[(0, &[1]), (1, &[1])]), [(vec![0, 1], vec![1])]);
        let both: &[u32] = &[0, 1];
        assert_eq!(lcores(&[(0, both), (1, both)]), [], "a CPU for each");
        assert_eq!(lcores(&[(0, both), (1, both), (2, &[1])]), [(vec![0, 1, 2], vec![0, 1])]);
        assert_eq!(lcores(&[(0, &[0]), (1, &[1]), (2, both)]), [(vec![0, 1, 2], vec![0, 1])]);
    }
}
