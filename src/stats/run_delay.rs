//! How long the kernel ran other threads on an lcore's CPU while the lcore was
//! ready to run. An lcore cannot notice that itself while it has work.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::OnceLock;

use nix::unistd::{Pid, gettid};

/// Time on a CPU in nanoseconds, run delay in nanoseconds, times it was put on
/// a CPU: of the thread that opened the file, whichever thread reads it.
const OWN_SCHEDSTAT: &str = "/proc/thread-self/schedstat";

/// One lcore's run delay, as the kernel counts it. The kernel adds a delay when
/// it ends: a thread that waits for its CPU still shows the delay before.
#[derive(Debug, Default)]
pub struct RunDelay(OnceLock<Opened>);

#[derive(Debug)]
struct Opened {
    schedstat: File,
    begin_ns: u64,
    thread: Pid,
}

impl RunDelay {
    /// From now on it is the calling thread's.
    pub fn begin(&self) {
        self.open(Path::new(OWN_SCHEDSTAT));
    }

    fn open(&self, path: &Path) {
        let Ok(schedstat) = File::open(path) else { return };
        if let Some(begin_ns) = read(&schedstat) {
            self.0.get_or_init(|| Opened { schedstat, begin_ns, thread: gettid() });
        }
    }

    /// The run delay since the beginning. `None` where the kernel does not
    /// count it, or nothing has begun. Any thread may ask; it costs a system
    /// call.
    #[cold]
    pub fn ns(&self) -> Option<u64> {
        let Opened { schedstat, begin_ns, .. } = self.0.get()?;
        Some(read(schedstat)?.saturating_sub(*begin_ns))
    }

    /// The thread whose it is. `None` as above.
    pub fn thread(&self) -> Option<Pid> {
        self.0.get().map(|opened| opened.thread)
    }
}

fn read(schedstat: &File) -> Option<u64> {
    let mut text = [0; 64];
    let len = schedstat.read_at(&mut text, 0).ok()?;
    run_delay_ns(std::str::from_utf8(text.get(..len)?).ok()?)
}

/// A kernel that does not count writes zeros. One that does has put each thread
/// that runs on a CPU at least once.
fn run_delay_ns(schedstat: &str) -> Option<u64> {
    let mut fields = schedstat.split_whitespace().map(str::parse::<u64>);
    let (_on_cpu, delay, times) = (fields.next()?, fields.next()?.ok()?, fields.next()?.ok()?);
    (times > 0).then_some(delay)
}

#[cfg(test)]
impl RunDelay {
    /// As the kernel's, but of a file that the test writes.
    pub(super) fn of_file(path: &Path) -> Self {
        let run_delay = Self::default();
        run_delay.open(path);
        run_delay
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_that_does_not_count_is_told_from_one_that_saw_no_delay() {
        for (schedstat, delay) in [
            ("176266524 2574900 41\n", Some(2_574_900)),
            ("5 0 1\n", Some(0)),
            ("0 0 0\n", None),
            ("", None),
            ("1 2", None),
            ("a b c", None),
        ] {
            assert_eq!(run_delay_ns(schedstat), delay, "{schedstat:?}");
        }
        assert_eq!(RunDelay::default().ns(), None);
        let missing = RunDelay::of_file(Path::new("/nonexistent/schedstat"));
        assert_eq!(missing.ns(), None);
    }

    #[test]
    fn it_counts_from_the_beginning() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("schedstat");
        std::fs::write(&path, "9 100 1\n").expect("it is written");
        let run_delay = RunDelay::of_file(&path);
        assert_eq!(run_delay.ns(), Some(0));
        std::fs::write(&path, "9 350 2\n").expect("it is written");
        assert_eq!(run_delay.ns(), Some(250));
    }
}
