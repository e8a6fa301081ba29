//! Network namespaces of a test's own. They have no names: they, and the interfaces in them, are gone with the last file that refers to
//! them, however the test ends.
#![allow(dead_code)] // each test file is a program of its own, and uses only some of this

use std::fs::File;
use std::os::fd::AsRawFd;
use std::process::Command;

use nix::sched::{CloneFlags, setns, unshare};

use crate::common::skipped;

pub struct Namespace(File);

impl Namespace {
    /// So many of them, or none and why.
    pub fn some<const COUNT: usize>() -> Option<[Self; COUNT]> {
        if let Err(error) = Command::new("ip").arg("-V").output() {
            skipped(format!("this needs ip (Debian: iproute2): {error}"));
            return None;
        }
        let made = (0..COUNT).map(|_| Self::new()).collect::<Result<Vec<_>, _>>();
        made.map_err(|error| skipped(format!("no network namespaces of our own, which takes root: {error}"))).ok()?.try_into().ok()
    }

    fn new() -> std::io::Result<Self> {
        let made = || {
            unshare(CloneFlags::CLONE_NEWNET)?;
            File::open("/proc/thread-self/ns/net").map(Self)
        };
        // Only a thread of its own may change its namespace without taking the test along.
        std::thread::scope(|scope| scope.spawn(made).join().expect("no panic"))
    }

    /// Does something inside; processes and sockets made there stay in.
    pub fn inside<T: Send>(&self, job: impl FnOnce() -> T + Send) -> T {
        let entered = || {
            setns(&self.0, CloneFlags::CLONE_NEWNET).expect("the namespace is ours");
            job()
        };
        std::thread::scope(|scope| scope.spawn(entered).join().expect("no panic"))
    }

    /// `ip` with these words.
    pub fn ip(&self, line: &str) {
        let output = self.inside(|| Command::new("ip").args(line.split(' ')).output().expect("ip runs"));
        assert!(output.status.success(), "ip {line}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Moves an interface from here to another namespace.
    pub fn give(&self, interface: &str, to: &Self) {
        self.ip(&format!("link set {interface} netns /proc/{}/fd/{}", std::process::id(), to.0.as_raw_fd()));
    }
}
