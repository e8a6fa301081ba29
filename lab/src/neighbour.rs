//! A busy thread on an lcore's CPU, as on a machine that is shared with others.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use mpfwd_common::error::{Error, Result};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

/// A thread that spins until this is dropped.
pub(super) struct Neighbour {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Neighbour {
    /// Starts the thread on `cpu`.
    ///
    /// # Errors
    /// This process may not use the CPU.
    pub(super) fn start(cpu: usize) -> Result<Self> {
        let mut cpus = CpuSet::new();
        let refused = |error| {
            Error::Usage(format!(
                "--neighbour {cpu}: {error}; write a CPU that this process may use"
            ))
        };
        cpus.set(cpu).map_err(refused)?;
        let over = Arc::new(AtomicBool::new(false));
        let (pinned, is_pinned) = std::sync::mpsc::channel();
        let thread = std::thread::spawn({
            let over = over.clone();
            move || {
                // 0 is the calling thread.
                let _ = pinned.send(sched_setaffinity(Pid::from_raw(0), &cpus));
                while !over.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            }
        });
        let neighbour = Self { over, thread: Some(thread) };
        match is_pinned.recv() {
            Ok(pinned) => pinned.map_err(refused).map(|()| neighbour),
            Err(_) => Err(Error::Setup("--neighbour: its thread did not start".into())),
        }
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cpu_that_is_not_there_is_one_line() {
        let error = Neighbour::start(100_000).err().expect("no such CPU");
        assert!(error.to_string().contains("--neighbour 100000"), "{error}");
        assert_eq!(error.exit_code(), 2);
    }
}
