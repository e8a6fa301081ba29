//! Bad input is refused: exit code 2, one line that says what to write instead,
//! and no files left behind.

mod common;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Command;

use common::{
    BINARY, Leftovers, NO_HUGE, Outcome, Running, file_prefix, hugepage_files, lcores, run,
    runtime_dirs, skipped, start, start_with, start_with_pci, words,
};
use nix::sys::signal::Signal;

/// Runs mpfwd with arguments that it should refuse. Ends soon if it accepts
/// them.
fn try_to_run(eal: &str, own: &str) -> Outcome {
    let ends = if own.contains("--packets") { "" } else { "--packets 100" };
    run(eal, &format!("{ends} {own}"))
}

/// Checks that mpfwd refuses the arguments in one line that contains `says`.
#[track_caller]
fn assert_refused(outcome: &Outcome, what: &str, says: &str) {
    assert_eq!(
        outcome.status.code(),
        Some(2),
        "{what}: {}\n{}",
        outcome.stdout.join("\n"),
        outcome.stderr
    );
    let errors = outcome.errors();
    assert!(
        errors.len() == 1 && errors[0].contains(says),
        "{what}: one line that says {says:?}, not:\n{}",
        outcome.stderr
    );
    assert_eq!(outcome.stderr.lines().last(), Some(errors[0]), "{what}: nothing comes after it");
    assert!(!outcome.stderr.contains("panicked"), "{what}: {}", outcome.stderr);
    assert!(outcome.report.is_none(), "{what}: no report of what did not run");
    outcome.assert_nothing_left();
}

/// As above, before EAL starts.
#[track_caller]
fn assert_refused_at_once(outcome: &Outcome, what: &str, says: &str) {
    assert_refused(outcome, what, says);
    assert!(
        !outcome.stderr.contains("EAL:"),
        "{what}: EAL need not have started: {}",
        outcome.stderr
    );
    assert!(outcome.runtime_files.is_empty(), "{what}: left {:?}", outcome.runtime_files);
}

#[test]
fn contradictions_are_refused_before_eal_starts() {
    for (own, says) in [
        ("--pools 0:2", "each pool needs an lcore"),
        ("--pools 2:0", "each pool needs an lcore"),
        ("--pools 2", "A:B"),
        ("--mode pool", "'pools'"),
        ("--mode rt", "'rtc'"),
        ("--mode pools", "--pools A:B"),
        ("--mode rtc --pools 1:1", "--mode pools"),
        ("--mode rtc --pools auto", "write --mode hybrid"),
        ("--mode pools --pools auto", "write --mode hybrid"),
        ("--pools automatic", "A:B"),
        ("--forward-mode macswp", "'macswap'"),
        ("--forward-mode 5tuple", "io, mac, macswap, l3, dpi"),
        ("--forward-mode l3", "needs --routes FILE"),
        ("--forward-mode l3 --routes /dev/null", "it has no routes"),
        ("--forward-mode l3 --routes /nowhere", "/nowhere: No such file"),
        ("--forward-mode l3 --routes Cargo.toml", "Cargo.toml:1:1: expected a prefix"),
        ("--on-full dorp", "'drop'"),
        ("--idle yeild", "'yield'"),
        ("--timestamps hardware", "auto, nic, software, off"),
        ("--timestamps nic --source open-loop:rate=1M", "leave out --timestamps"),
        ("--ring-size 1000", "1024"),
        ("--ring-size 0", "power of two"),
        ("--ring-size 1", "power of two"),
        ("--ring-size 4294967295", "power of two"),
        ("--rxd 1000", "1024"),
        ("--txd 65535", "32768"),
        ("--rxd 16", "32"),
        ("--burst 0", "1..=512"),
        ("--burst 513", "1..=512"),
        ("--max-pkt-len 1", "86..=16000"),
        ("--config (0,0,0),(0,0,0)", "queue 0 twice"),
        ("--config 0,0,0", "(port,queue,lcore)"),
        ("--config (0,0,0) --rxq 1", "--rxq"),
        ("--portmask 0", "0x1"),
        ("--portmask xyz", "hexadecimal"),
        ("--mode pools --pools 1:1 --shards 2", "at most 1"),
        ("--pools 1:1 --shards 3", "at most 2"),
        ("--mode hybrid", "--pools A:B"),
        ("--mode steal --pools 1:1", "--mode hybrid"),
        ("--mode steal --steal-every 0", "61"),
        ("--steal-every 61", "--mode steal"),
        ("--grow thrice", "double, append"),
        ("--runq-max 0", "1..="),
        ("--runq-max 63", "64"),
        ("--shard-pick newest", "two-choice"),
        ("--shard-pick oldest", "--pools A:B"),
        ("--pools 1:1 --rescue-after 20", "20us"),
        ("--pools 1:1 --rescue-after 0us", "1600ns"),
        ("--pools 1:1 --rescue-after 1us", "below the poll time"),
        ("--mode pools --pools 1:1 --rescue-after 20us", "--mode hybrid"),
        ("--pools 1:1 --expensive-cap 0", "1 or more"),
        ("--pools 1:1 --expensive-cap 2", "1 or less"),
        ("--duration 0", "above 0"),
        ("--duration 1e19", "100 years"),
        ("--stats-period 1e19", "100 years"),
        ("--pools 1:1 --rescue-after 500years", "100 years"),
        ("--forward-mode dpi --rules /dev/null --yield-after 500years", "100 years"),
        ("--packets 0", "1.."),
        ("--eth-peer 0,1:2", "PORT,MAC"),
        ("--work spin:p=2", "from 0 to 1"),
        ("--durations 1", "--duration"),
        ("stray", "stray"),
        ("--report", "--report"),
        ("--report=", "--report"),
        ("--report /", "folder"),
        ("--report /nowhere/report.json", "folder"),
        ("--report /proc/mpfwd.json", "/proc/mpfwd.json"),
        ("--report /dev/null/report.json", "folder"),
        ("--report /dev/null/", "folder"),
    ] {
        assert_refused_at_once(&try_to_run("--vdev net_null0", own), own, says);
    }
}

#[test]
fn what_does_not_fit_lcores_or_ports_is_refused() {
    for (lcore_count, vdevs, own, says) in [
        (1, "--vdev net_null0", "--pools 1:1", "two lcores at least"),
        (1, "--vdev net_null0", "--pools auto", "needs two lcores"),
        (2, "--vdev net_null0", "--pools auto --shards 3", "at most 2"),
        (2, "--vdev net_null0", "--pools 8:2", "--pools 1:1"),
        (3, "--vdev net_null0", "--pools 1:1", "--pools 2:1"),
        (2, "--vdev net_null0", "--pools 18446744073709551615:1", "--pools 1:1"),
        (1, "", "", "no ports"),
        (1, "--vdev net_null0", "--portmask 3", "port 1"),
        (1, "--vdev net_null0", "--portmask 8000000000000000", "port 63"),
        (1, "--vdev net_null0", "--config (1,0,0)", "port 1"),
        (1, "--vdev net_null0", "--config (0,0,7)", "lcore 7"),
        (2, "--vdev net_null0", "--mode pools --pools 1:1 --config (0,0,1)", "pool B"),
        (1, "--vdev net_null0 --vdev net_null1", "--config (0,0,0)", "port 1"),
        (
            1,
            "--vdev net_null0 --vdev net_null1",
            "--portmask 1 --config (0,0,0),(1,0,0)",
            "--portmask",
        ),
        (1, "--vdev net_null0", "--config (0,0,0),(0,2,0)", "queue 1"),
        (1, "--vdev net_null0", "--config (0,0,0),(0,5000,0)", "1024 receive queues"),
        (1, "--vdev net_null0", "--eth-peer 4,02:00:00:00:00:01", "port 4"),
        (
            1,
            "--vdev net_null0",
            "--eth-peer 0,02:00:00:00:00:01 --eth-peer 0,02:00:00:00:00:02",
            "twice",
        ),
        (1, "--vdev net_ring0", "--rxq 17", "16 receive queues"),
        (1, "--vdev net_ring0", "--txq 17", "16 transmit queues"),
        (
            1,
            "--vdev net_null0",
            "--timestamps nic",
            "port 0 (net_null0, driver net_null) does not stamp packets: write --timestamps software",
        ),
        (1, "--vdev net_null0", "--mbufs 10000000", "--mbufs"),
        (1, "--vdev net_null0", "--mbufs 65 --burst 512", "1024 at least"),
        (
            2,
            "--vdev net_null0 --vdev net_null1",
            "--mbufs 127",
            "4 receive queues with bursts of 32 need 256",
        ),
        (
            1,
            "--vdev net_null0",
            "--pools 1:1 --ring-size 1073741824 --mbufs 1023",
            "two lcores at least",
        ),
        (2, "--vdev net_null0", "--pools 1:1 --ring-size 1073741824 --mbufs 1023", "--ring-size"),
    ] {
        let what = format!("{vdevs} -- {own}");
        assert_refused(&try_to_run(&format!("{} {vdevs}", lcores(lcore_count)), own), &what, says);
    }
}

#[test]
fn routes_that_lead_nowhere_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("routes");
    std::fs::write(&path, "10.0.0.0/8 0\n10.1.0.0/16  3 # nowhere\n").expect("written");
    let own = format!("--forward-mode l3 --routes {}", path.display());
    let outcome = try_to_run(&format!("{} --vdev net_null0", lcores(1)), &own);
    assert_refused(&outcome, &own, "routes:2:14: expected a port in use (0), found 3");
    let own = format!("--routes {}", path.display());
    assert_refused_at_once(
        &try_to_run(&format!("{} --vdev net_null0", lcores(1)), &own),
        &own,
        "--forward-mode l3",
    );
}

/// A memif without its peer's socket is configured, but does not start.
const DOES_NOT_START: &str = "--vdev net_memif0,socket=/run/nowhere.sock";

#[test]
fn a_port_that_fails_takes_the_others_along() {
    for (vdevs, says) in [
        (DOES_NOT_START.to_owned(), "net_memif0) does not start"),
        (
            format!("--vdev net_null0 --vdev net_ring0 {DOES_NOT_START}"),
            "net_memif0) does not start",
        ),
        ("--vdev net_null0 --vdev net_bonding0,mode=0".to_owned(), "net_bonding0) refuses"),
        ("--vdev net_pcap0,rx_pcap=/nowhere.pcap".to_owned(), "net_pcap0"),
        ("--vdev net_null0 --vdev net_pcap0,rx_pcap=/nowhere.pcap".to_owned(), "net_pcap0"),
        ("--vdev net_null0 --vdev net_af_packet0,iface=nowhere0".to_owned(), "net_af_packet0"),
        ("--vdev net_null0 -a net_pcap0,rx_pcap=/nowhere.pcap".to_owned(), "-a net_pcap0"),
    ] {
        assert_refused(&try_to_run(&format!("{} {vdevs}", lcores(1)), ""), &vdevs, says);
    }
}

/// The socket of a vhost port shows that the port was started, and closed
/// again.
#[test]
fn ports_that_did_start_are_closed_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("vhost.sock");
    let vhost = format!("{} --vdev net_vhost0,iface={}", lcores(1), socket.display());
    let mut mpfwd = start(&vhost, "");
    mpfwd.wait_for_line(|line| line.trim_start().starts_with("lcore 0 "));
    assert!(socket.exists(), "a started port has a socket");
    mpfwd.signal(Signal::SIGTERM);
    mpfwd.finish().good_report();
    assert_refused(
        &try_to_run(&format!("{vhost} {DOES_NOT_START}"), ""),
        "vhost",
        "net_memif0) does not start",
    );
    assert!(!socket.exists(), "it was not closed");
}

#[test]
fn what_eal_refuses_is_pointed_at() {
    for eal in ["--vdev nosuchdriver0", "--iova-mode=xx", "--nonsense"] {
        assert_refused(&try_to_run(eal, ""), eal, "EAL did not start");
    }
    assert_refused(&try_to_run("-l 4000", ""), "-l 4000", "lcore 4000 is on CPU 4000");
}

#[test]
fn own_arguments_before_the_dashes_are_recognised() {
    let output = Command::new(BINARY).args(["--pools", "1:1"]).output().expect("it runs");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), stderr.lines().count()), (Some(2), 1), "{stderr}");
    assert!(stderr.starts_with("mpfwd: ") && stderr.contains("--"), "{stderr}");
}

#[test]
fn arguments_that_are_not_utf8_are_refused() {
    let not_utf8 = OsStr::from_bytes(b"\xff");
    let report = OsStr::from_bytes(b"--report=/tmp/\xff.json");
    for (program, args) in [
        (BINARY, vec![not_utf8]),
        (BINARY, vec!["-l".as_ref(), "0".as_ref(), "--".as_ref(), report]),
        (common::mplab(), vec!["plot".as_ref(), not_utf8]),
    ] {
        let output = Command::new(program).args(&args).output().expect("it runs");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(
            (output.status.code(), stderr.lines().count()),
            (Some(2), 1),
            "{args:?}: {stderr}"
        );
        assert!(stderr.contains("xFF") && stderr.contains("is not UTF-8"), "{args:?}: {stderr}");
    }
}

fn has_hugepages() -> bool {
    let free = std::fs::read_to_string("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages")
        .unwrap_or_default();
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
    free.trim().parse().unwrap_or(0) >= 64 && mounts.contains(" /dev/hugepages hugetlbfs ")
}

/// mpfwd, after `setup` in a mount namespace of its own.
fn behind(setup: &str) -> Command {
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", &format!("{setup} && exec \"$@\""), "sh", BINARY]);
    command
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

#[test]
fn missing_hugepages_are_named_with_the_way_out() {
    if !is_root()
        || !Command::new("unshare")
            .args(["-m", "true"])
            .status()
            .is_ok_and(|status| status.success())
    {
        return skipped("hiding the hugepages takes root and unshare");
    }
    let hidden = "mount -t tmpfs none /sys/kernel/mm/hugepages";
    let outcome = start_with(behind(hidden), "-l 0 --vdev net_null0", "").finish();
    assert_refused_at_once(&outcome, hidden, "echo 1024 > /proc/sys/vm/nr_hugepages");
    assert!(outcome.stderr.contains("--no-huge"), "{}", outcome.stderr);
    let outcome =
        start_with(behind(hidden), &format!("{NO_HUGE} -l 0 --vdev net_null0"), "--packets 100")
            .finish();
    outcome.good_report();
    if has_hugepages() {
        let unmounted = "umount -a -t hugetlbfs";
        let outcome = start_with(behind(unmounted), "-l 0 --vdev net_null0", "").finish();
        assert_refused_at_once(&outcome, unmounted, "mount -t hugetlbfs");
    } else {
        skipped("no hugepages to unmount here");
    }
}

#[test]
fn more_memory_than_hugepages_is_refused() {
    if !is_root() || !has_hugepages() {
        return skipped("needs hugepages and root");
    }
    let outcome =
        start_with(Command::new(BINARY), "-m 100000000 -l 0 --vdev net_null0", "").finish();
    assert_eq!(outcome.status.code(), Some(2), "{}", outcome.stderr);
    let errors = outcome.errors();
    assert!(
        errors.len() == 1 && errors[0].contains("-m asks for 100000000 MiB, but only"),
        "{}",
        outcome.stderr
    );
    assert!(
        errors[0].contains("MiB of hugepages are free") && errors[0].contains("--no-huge"),
        "{}",
        outcome.stderr
    );
    outcome.assert_nothing_left();
}

/// A copy of the binary where every user may run it.
fn as_nobody(folder: &Path) -> Command {
    use std::os::unix::fs::PermissionsExt;
    let copy = folder.join("mpfwd");
    std::fs::copy(BINARY, &copy).expect("the binary can be copied");
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o777))
        .expect("the folder is ours");
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "env", "-u", "XDG_RUNTIME_DIR"])
        .arg(copy);
    command
}

#[test]
fn without_permission_it_says_so_and_what_works_without() {
    let folder = tempfile::tempdir().expect("a folder");
    if !is_root()
        || !as_nobody(folder.path()).arg("--version").status().is_ok_and(|status| status.success())
    {
        return skipped("becoming another user takes root and setpriv");
    }
    let report = folder.path().join("report.json");
    let to = |report: &Path| format!("--packets 100 --report {}", report.display());
    if has_hugepages() {
        let outcome =
            start_with(as_nobody(folder.path()), "-l 0 --vdev net_null0", &to(&report)).finish();
        assert_refused_at_once(&outcome, "nobody", "no permission");
        assert!(
            outcome.stderr.contains("--no-huge") && outcome.stderr.contains("chown $USER"),
            "{}",
            outcome.stderr
        );
        let mine = "mount -t hugetlbfs -o uid=65534 none /dev/hugepages && exec \"$@\"";
        let mut in_own_folder = Command::new("unshare");
        let nobody = as_nobody(folder.path());
        in_own_folder
            .args(["-m", "sh", "-c", mine, "sh"])
            .arg(nobody.get_program())
            .args(nobody.get_args());
        let outcome =
            start_with(in_own_folder, "-m 64 -l 0 --vdev net_null0", &to(&report)).finish();
        assert_eq!(outcome.status.code(), Some(0), "{}", outcome.stderr);
        std::fs::remove_file(&report).expect("the report");
        outcome.assert_nothing_left();
    }
    let eal = format!("{NO_HUGE} -l 0 --vdev net_null0");
    let outcome = start_with(as_nobody(folder.path()), &eal, &to(&report)).finish();
    assert_eq!(outcome.status.code(), Some(0), "{}", outcome.stderr);
    assert!(report.exists());
    let outcome =
        start_with(as_nobody(folder.path()), &eal, &to(Path::new("/etc/mpfwd.json"))).finish();
    assert_refused_at_once(&outcome, "a folder of root's", "/etc/mpfwd.json");
}

/// An address that no device has: machines that run tests have no bus with so
/// many functions.
const NO_DEVICE: &str = "0000:ff:1f.7";

#[test]
fn a_nic_that_is_not_there_is_refused_though_other_ports_are() {
    let outcome = try_to_run(&format!("{} --vdev net_null0 -a {NO_DEVICE}", lcores(1)), "");
    assert_refused_at_once(&outcome, "behind --no-pci", "--no-pci");
    for allow in [format!("-a {NO_DEVICE}"), format!("--allow=pci:{}", &NO_DEVICE[5..])] {
        let eal = format!("{NO_HUGE} {} --vdev net_null0 {allow}", lcores(1));
        let outcome = start_with_pci(Command::new(BINARY), &eal, "--packets 100").finish();
        assert_refused(
            &outcome,
            &allow,
            &format!("-a {NO_DEVICE} did not become a port: there is no such PCI device"),
        );
    }
    let eal = format!("{NO_HUGE} {} --vdev net_null0 -a 0000:00:00.0", lcores(1));
    start_with_pci(Command::new(BINARY), &eal, "--packets 100").finish().good_report();
}

#[test]
fn a_virtual_port_may_be_named_as_a_nic_is() {
    run(&format!("{} -a net_null0 -a vdev:net_null1,size=128", lcores(1)), "--packets 100")
        .good_report();
}

/// The number behind `word`.
fn number(line: &str, word: &str) -> u64 {
    let mut words = line.split_whitespace().skip_while(|other| *other != word);
    words
        .nth(1)
        .and_then(|number| number.parse().ok())
        .unwrap_or_else(|| panic!("no number behind {word} in {line}"))
}

#[test]
fn the_memory_that_is_named_is_enough() {
    let own = |mbufs: u32| format!("--packets 100 --mbufs {mbufs}");
    for (mbufs, own) in
        [(131_071u32, own(131_071)), (20_000, format!("{} --max-pkt-len 9018", own(20_000)))]
    {
        let with =
            |mib: u64| format!("--no-huge --no-shconf -m {mib} {} --vdev net_null0", lcores(1));
        let outcome = start_with(Command::new(BINARY), &with(64), &own).finish();
        assert_refused(&outcome, &own, "no memory for");
        let mib = number(outcome.errors()[0], "-m");
        start_with(Command::new(BINARY), &with(mib), &own).finish().good_report();
        assert!(mib < (u64::from(mbufs) * 20_000) >> 20, "{mib} MiB are far too many");
    }
    if !is_root() || !has_hugepages() {
        return skipped("needs hugepages and root");
    }
    let with = |mib: u64| format!("--socket-limit={mib} {} --vdev net_null0", lcores(1));
    let outcome = start_with(Command::new(BINARY), &with(32), &own(40_000)).finish();
    assert_refused(&outcome, "--socket-limit", "no memory for");
    let mib = number(outcome.errors()[0], "needs");
    assert!((93..180).contains(&mib), "40,000 mbufs of 2,432 bytes take 93 MiB: {mib}");
    start_with(Command::new(BINARY), &with(mib), &own(40_000)).finish().good_report();
}

/// The number of free hugepages while `mpfwd` runs.
fn fewest_free_meanwhile(mut mpfwd: Running) -> (u64, Outcome) {
    let free = || {
        std::fs::read_to_string("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages")
            .unwrap_or_default()
    };
    let mut fewest = u64::MAX;
    while mpfwd.is_running() {
        fewest = fewest.min(free().trim().parse().unwrap_or(0));
    }
    (fewest, mpfwd.finish())
}

#[test]
fn a_pool_that_cannot_fit_takes_no_hugepages_from_others() {
    if !is_root() || !has_hugepages() {
        return skipped("needs hugepages and root");
    }
    let hungry = start_with(Command::new(BINARY), "-l 0 --vdev net_null0", "--mbufs 60000000");
    let (fewest, outcome) = fewest_free_meanwhile(hungry);
    assert_refused(&outcome, "60,000,000 mbufs", "/proc/sys/vm/nr_hugepages");
    assert!(fewest >= 32, "as few as {fewest} were left");
}

#[test]
fn on_hugepages_nothing_is_left_of_a_refusal() {
    if !is_root() || !has_hugepages() {
        return skipped("needs hugepages and root");
    }
    for (eal, own) in [
        (DOES_NOT_START, ""),
        ("--vdev net_null0", "--portmask 2"),
        ("--vdev net_null0", "--mbufs 60000000"),
        ("-m 64 --vdev nosuchdriver0", ""),
        ("-m 100000000 --vdev net_null0", ""),
    ] {
        let bad = start_with(Command::new(BINARY), &format!("-l 0 {eal}"), own).finish();
        assert_eq!(bad.status.code(), Some(2), "{eal} {own}: {}", bad.stderr);
        bad.assert_nothing_left();
    }
}

/// EAL fails at the end of its start, when it has allocated memory: a socket's
/// path has room for 107 bytes.
#[test]
fn on_hugepages_nothing_is_left_of_a_start_that_fails_late() {
    if !is_root() || !has_hugepages() {
        return skipped("needs hugepages and root");
    }
    for memory in ["-m 64", "-m 64 --single-file-segments", "-m 64 --legacy-mem"] {
        let prefix = Leftovers(format!("{:x<80}", file_prefix()));
        let eal = format!("--no-pci --file-prefix {} {memory} -l 0 --vdev net_null0", prefix.0);
        let output = Command::new(BINARY).args(words(&eal)).output().expect("it runs");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.code() == Some(2) && stderr.contains("path too long"),
            "{memory}: {stderr}"
        );
        assert!(
            hugepage_files(&prefix.0).is_empty(),
            "{memory}: left {:?}",
            hugepage_files(&prefix.0)
        );
        assert!(
            !runtime_dirs(&prefix.0).iter().any(|folder| folder.exists()),
            "{memory}: left the runtime directory"
        );
    }
}

/// A killed process leaves its hugepages, perhaps all of them. EAL frees them
/// when it starts.
#[test]
fn hugepages_that_a_killed_process_has_left_are_no_reason_to_refuse() {
    if !is_root()
        || !has_hugepages()
        || !Command::new("unshare")
            .args(["-m", "true"])
            .status()
            .is_ok_and(|status| status.success())
    {
        return skipped("needs hugepages, root and unshare");
    }
    let none_free = "mount -t tmpfs none /sys/kernel/mm/hugepages && cd /sys/kernel/mm/hugepages && mkdir hugepages-2048kB && \
                     echo 0 >hugepages-2048kB/free_hugepages && mount -t hugetlbfs none /dev/hugepages";
    let outcome = start_with(behind(none_free), "-l 0 --vdev net_null0", "--packets 100").finish();
    assert_refused_at_once(&outcome, "none free", "no free hugepages");
    let of_the_dead = format!("{none_free} && touch /dev/hugepages/killedmap_0");
    start_with(behind(&of_the_dead), "-m 64 -l 0 --vdev net_null0", "--packets 100")
        .finish()
        .good_report();
}
