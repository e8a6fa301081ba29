//! A test's own network namespaces. They are unnamed: they and their interfaces
//! are gone with the last file that refers to them, however the test ends.
#![allow(dead_code)] // each test file is a program of its own, and uses only some of this

use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::process::Command;

use nix::sched::{CloneFlags, setns, unshare};

use crate::common::{Running, skipped, start};

pub struct Namespace(File);

impl Namespace {
    /// Makes `COUNT` of them; `None`, with a printed reason, where that is
    /// impossible.
    pub fn some<const COUNT: usize>() -> Option<[Self; COUNT]> {
        if let Err(error) = Command::new("ip").arg("-V").output() {
            skipped(format!("this needs ip (Debian: iproute2): {error}"));
            return None;
        }
        let made = (0..COUNT).map(|_| Self::new()).collect::<Result<Vec<_>, _>>();
        made.map_err(|error| {
            skipped(format!("no network namespaces of our own, which takes root: {error}"))
        })
        .ok()?
        .try_into()
        .ok()
    }

    fn new() -> std::io::Result<Self> {
        let made = || {
            unshare(CloneFlags::CLONE_NEWNET)?;
            File::open("/proc/thread-self/ns/net").map(Self)
        };
        // In a thread of its own, because changing the namespace affects the
        // calling thread.
        std::thread::scope(|scope| scope.spawn(made).join().expect("no panic"))
    }

    /// Runs `job` inside; processes and sockets that it makes stay inside.
    pub fn inside<T: Send>(&self, job: impl FnOnce() -> T + Send) -> T {
        let entered = || {
            setns(&self.0, CloneFlags::CLONE_NEWNET).expect("the namespace is ours");
            job()
        };
        std::thread::scope(|scope| scope.spawn(entered).join().expect("no panic"))
    }

    /// Runs `ip` with these words.
    pub fn ip(&self, line: &str) {
        self.ip_says(line);
    }

    /// As `ip`, and returns its output.
    pub fn ip_says(&self, line: &str) -> String {
        let output =
            self.inside(|| Command::new("ip").args(line.split(' ')).output().expect("ip runs"));
        assert!(output.status.success(), "ip {line}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Moves an interface from here to another namespace.
    pub fn give(&self, interface: &str, to: &Self) {
        self.ip(&format!(
            "link set {interface} netns /proc/{}/fd/{}",
            std::process::id(),
            to.0.as_raw_fd()
        ));
    }
}

/// Namespaces for two sides, and one between them for mpfwd with its taps.
pub struct Taps {
    pub between: Namespace,
    pub left: Namespace,
    pub right: Namespace,
}

impl Taps {
    /// The addresses of the two sides.
    pub const LEFT: &str = "10.77.0.1";
    pub const RIGHT: &str = "10.77.0.2";

    pub fn some() -> Option<Self> {
        if let Err(error) = OpenOptions::new().read(true).write(true).open("/dev/net/tun") {
            skipped(format!("net_tap needs /dev/net/tun: {error}"));
            return None;
        }
        let [between, left, right] = Namespace::some()?;
        Some(Self { between, left, right })
    }

    /// mpfwd between two taps, one on each side, with addresses and up.
    pub fn start(&self, eal: &str, own: &str) -> Running {
        let eal = format!("{eal} --vdev net_tap0,iface=mpfwd_l --vdev net_tap1,iface=mpfwd_r");
        let mut mpfwd = self.between.inside(|| start(&eal, own));
        // Ports are set up once the map of lcores is printed.
        mpfwd.wait_for_line(|line| line.trim_start().starts_with("lcore 0 "));
        for (interface, side, address) in
            [("mpfwd_l", &self.left, Self::LEFT), ("mpfwd_r", &self.right, Self::RIGHT)]
        {
            self.between.give(interface, side);
            side.ip(&format!("addr add {address}/24 dev {interface}"));
            side.ip(&format!("link set {interface} up"));
        }
        mpfwd
    }
}
