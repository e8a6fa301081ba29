//! Memory near to lcores: the kernel puts a page on the socket of the CPU that
//! writes it first. Values of Rust's are made there by threads that are pinned
//! to the CPUs of the lcores that will use them; they can be dropped anywhere,
//! and need no allocator of their own.

use std::sync::Barrier;

use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

use crate::dpdk::Lcore;

/// Moves the calling thread to the lcore's CPU. Where the kernel refuses, memory
/// may be far, which only costs time.
fn go_to(lcore: &Lcore) {
    let mut cpus = CpuSet::new();
    let _ = cpus.set(lcore.cpu as usize);
    let _ = sched_setaffinity(Pid::from_raw(0), &cpus);
}

/// Makes a value for each lcore, on the lcore's socket. `make` gets the lcore's
/// place.
pub(super) fn each<T: Send>(lcores: &[Lcore], make: impl Fn(usize) -> T + Sync) -> Vec<T> {
    // Threads that exist at the same time have different heaps. One that began
    // after another has ended would get pages that this one has written.
    let all_made = &Barrier::new(lcores.len());
    let make = &make;
    std::thread::scope(|scope| {
        let maker = |(at, lcore): (usize, &Lcore)| {
            let lcore = *lcore;
            scope.spawn(move || {
                go_to(&lcore);
                let made = make(at);
                all_made.wait();
                made
            })
        };
        let makers: Vec<_> = lcores.iter().enumerate().map(maker).collect();
        makers.into_iter().map(|maker| maker.join().expect("making memory does not fail")).collect()
    })
}

/// Makes one value, of which parts belong to different lcores: `make` gets a way
/// to go to the lcore whose part it writes next.
pub(super) fn parts<T: Send>(make: impl FnOnce(&dyn Fn(&Lcore)) -> T + Send) -> T {
    std::thread::scope(|scope| {
        scope.spawn(|| make(&go_to)).join().expect("making memory does not fail")
    })
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use nix::sched::sched_getaffinity;

    use super::*;

    fn allowed() -> Vec<u32> {
        let cpus = sched_getaffinity(Pid::from_raw(0)).expect("the kernel says which");
        (0..CpuSet::count())
            .filter(|&cpu| cpus.is_set(cpu).unwrap_or(false))
            .map(|cpu| cpu as u32)
            .collect()
    }

    fn lcores() -> Vec<Lcore> {
        let lcore = |(id, cpu)| Lcore { id, cpu, socket: 0, main: id == 0 };
        (0..).zip(allowed()).map(lcore).collect()
    }

    #[test]
    fn values_are_made_on_their_lcores_cpus() {
        let (before, lcores) = (allowed(), lcores());
        let cpus: Vec<Vec<u32>> = lcores.iter().map(|lcore| vec![lcore.cpu]).collect();
        assert_eq!(
            each(&lcores, |at| (at, allowed())),
            cpus.iter().cloned().enumerate().collect::<Vec<_>>()
        );
        let visited = parts(|go_to| {
            let visited = RefCell::new(Vec::new());
            for lcore in lcores.iter().rev() {
                go_to(lcore);
                visited.borrow_mut().push(allowed());
            }
            visited.into_inner()
        });
        assert_eq!(visited, cpus.into_iter().rev().collect::<Vec<_>>());
        assert_eq!(allowed(), before, "the caller stays where it is");
    }
}
