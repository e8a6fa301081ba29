//! What an operator meets: a machine that lacks something, CPUs that are shared
//! or taken away, interfaces that belong to the kernel, configuration files,
//! and systemd.

mod common;

use std::io::Read;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{BINARY, NO_HUGE, Outcome, allowed_cpus, lcores, run, skipped, start, start_with};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

/// A shell that runs `script`, in which `"$0" "$@"` is mpfwd.
fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script, BINARY]);
    command
}

/// Checks that the last line is mpfwd's own, that it says all of these, and that
/// EAL's usage is nowhere.
#[track_caller]
fn assert_refused(outcome: &Outcome, says: &[&str]) {
    assert_eq!(outcome.status.code(), Some(2), "{}", outcome.stderr);
    let [error] = outcome.errors()[..] else { panic!("one line, not:\n{}", outcome.stderr) };
    assert_eq!(outcome.stderr.lines().last(), Some(error), "nothing comes after it");
    for says in says {
        assert!(error.contains(says), "{says:?} is missing: {error}");
    }
    assert!(!outcome.stdout.join("\n").contains("EAL common options"), "{:?}", outcome.stdout);
}

#[test]
fn what_the_machine_lacks_is_the_last_line_and_no_abort() {
    let vdev = "--vdev net_null0";
    let one = lcores(1);
    let line = |eal: &str| format!("{NO_HUGE} {one} {vdev} {eal}");
    let run = |command: Command, eal: &str| {
        start_with(command, eal, "--idle yield --packets 100").finish()
    };
    let plain = || Command::new(BINARY);

    let outcome = run(plain(), &format!("{NO_HUGE} --lcores 0@1000,1@0 {vdev}"));
    assert_refused(&outcome, &["lcore 0 is on CPU 1000", "are allowed; write -l "]);
    let outcome = run(shell("ulimit -n 16; exec \"$0\" \"$@\""), &line(""));
    assert_refused(&outcome, &["at most 16 open files", "ulimit -n 4096"]);
    let mut command = plain();
    command.env("RUNTIME_DIRECTORY", "/nowhere");
    let outcome = run(command, &line(""));
    assert_refused(&outcome, &["/nowhere (No such file", "--no-telemetry", "RUNTIME_DIRECTORY"]);
    let outcome = run(plain(), &line("--mbuf-pool-ops-name nosuch"));
    assert_refused(&outcome, &["No such file", "--mbuf-pool-ops-name nosuch"]);
    for kind in ["auto", "secondary"] {
        let outcome = run(plain(), &line(&format!("--proc-type={kind}")));
        assert_refused(&outcome, &[&format!("--proc-type {kind}"), "always a primary process"]);
    }
}

#[test]
fn eals_first_error_is_the_reason() {
    for (eal, says) in [
        ("--main-lcore 77", "Main lcore is not enabled"),
        ("--vdev nosuch0", "failed to parse device \"nosuch0\""),
        ("--bogus", "its own lines above say why"),
    ] {
        let outcome = run(&format!("{} --vdev net_null0 {eal}", lcores(1)), "--packets 100");
        assert_refused(&outcome, &["EAL did not start", says]);
    }
}

#[test]
fn help_may_stand_anywhere_and_its_reader_may_be_gone() {
    for line in ["--help", "-l 0 --help", "-l 0 -- --pools x --help", "-h", "check --example"] {
        let words = line.split(' ');
        let mut command = Command::new(BINARY);
        let child = command.args(words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = child.expect("it starts");
        drop(child.stdout.take());
        let mut said = String::new();
        let mut stderr = child.stderr.take().expect("it is piped");
        stderr.read_to_string(&mut said).expect("it is text");
        let status = child.wait().expect("it ends");
        assert!(status.success() && said.is_empty(), "{line}: {status}\n{said}");
    }
}

#[test]
fn help_and_manual_begin_with_what_the_program_does() {
    for arguments in [&["-h"][..], &["--help"], &["--generate", "man"]] {
        let output = Command::new(BINARY).args(arguments).output().expect("it starts");
        let text = String::from_utf8_lossy(&output.stdout);
        let first = text.lines().find(|line| line.contains("orwards packets between ports"));
        assert!(first.is_some() && !text.contains("For programs without"), "{text}");
    }
}

#[test]
fn lcores_that_share_a_cpu_are_warned_about_and_their_run_delay_is_shown() {
    let cpu = allowed_cpus()[0];
    let eal = format!("--lcores (0-1)@{cpu} --vdev net_null0 --vdev net_null1");
    let outcome = run(&eal, "--mode rtc --duration 1.2 --stats-period 0.5");
    let warning = format!("mpfwd: warning: lcores 0-1 share CPU {cpu}: write --idle yield");
    assert!(outcome.stderr.contains(&warning), "{}", outcome.stderr);
    let is_live = |line: &&String| line.contains(" rx ") && line.contains("run delay ");
    assert!(outcome.stdout.iter().any(|line| is_live(&line)), "{:#?}", outcome.stdout);
    assert!(outcome.good_report()["run_delay_ns"].as_u64() > Some(100_000_000));
    let outcome = run(&eal, "--mode rtc --packets 100 --idle yield");
    assert!(!outcome.stderr.contains("share CPU"), "{}", outcome.stderr);
}

#[test]
fn cpus_that_are_taken_away_are_noticed() {
    let [first, second, ..] = allowed_cpus()[..] else { return skipped("one CPU") };
    let mut mpfwd = start(
        &format!("--lcores 0@{first},1@{second} --vdev net_null0 --vdev net_null1"),
        "--mode rtc --idle yield --duration 4 --stats-period 0.1",
    );
    mpfwd.wait_until_it_forwards();
    // Control has looked at least once by then.
    std::thread::sleep(Duration::from_millis(1200));
    let mut one = CpuSet::new();
    one.set(first).expect("it is a CPU");
    let threads = std::fs::read_dir(format!("/proc/{}/task", mpfwd.pid())).expect("it runs");
    for thread in threads.flatten() {
        let thread = thread.file_name().to_string_lossy().parse().expect("a number");
        let _ = sched_setaffinity(Pid::from_raw(thread), &one);
    }
    let outcome = mpfwd.finish();
    let warning = format!("mpfwd: warning: lcore 1 may use CPUs {first} now, before {second}: ");
    assert!(outcome.stderr.contains(&warning), "{}", outcome.stderr);
    assert!(!outcome.stderr.contains("lcore 0 may use"), "{}", outcome.stderr);
}

/// Runs mpfwd on a veth pair of MTU 9000 in a network namespace of its own.
/// Returns the MTU after the run, too; `None` without namespaces.
fn on_veth(own: &str) -> Option<(Outcome, String)> {
    on_veth_beside("", own)
}

/// As above, with a command that runs beside mpfwd.
fn on_veth_beside(beside: &str, own: &str) -> Option<(Outcome, String)> {
    let set_up = "ip link add a0 type veth peer name b0 && ip link set a0 mtu 9000 addrgenmode none up && \
                  ip link set b0 mtu 9000 addrgenmode none up";
    let works = Command::new("unshare").args(["-n", "sh", "-c", set_up]).output();
    if !works.is_ok_and(|output| output.status.success()) {
        skipped("this needs unshare, ip and root");
        return None;
    }
    let mut command = Command::new("unshare");
    let script =
        format!("{set_up}; {beside} \"$0\" \"$@\"; code=$?; ip -o link show a0; exit $code");
    command.args(["-n", "sh", "-c", &script, BINARY]);
    let eal = format!("{NO_HUGE} {} --vdev net_af_packet0,iface=a0", lcores(1));
    let outcome = start_with(command, &eal, &format!("--idle yield --duration 1 {own}")).finish();
    let shown = outcome.stdout.iter().find(|line| line.contains(" a0@b0: "));
    let mtu = shown.and_then(|line| line.split(" mtu ").nth(1)?.split(' ').next());
    let mtu = mtu.unwrap_or_else(|| panic!("{:#?}", outcome.stdout)).to_owned();
    Some((outcome, mtu))
}

#[test]
fn an_mtu_is_changed_only_when_asked_and_put_back() {
    let Some((outcome, mtu)) = on_veth("") else { return };
    assert_eq!(mtu, "9000");
    assert!(!outcome.stderr.contains("MTU"), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("ethtool -K PEER tx off"), "{}", outcome.stderr);
    let says = "above 1981 bytes are dropped as too_long: `ip link set a0 mtu 1500`";
    assert!(outcome.stderr.contains(says), "{}", outcome.stderr);
    let Some((outcome, mtu)) = on_veth("--max-pkt-len 1018") else { return };
    let says = "port 0 (net_af_packet0): the MTU of a0 is 1000 for --max-pkt-len, 9000 again";
    assert!(outcome.stderr.contains(says), "{}", outcome.stderr);
    let says = "port 0 (net_af_packet0): the MTU of a0 is 9000 again";
    assert!(outcome.stdout.iter().any(|line| line == says), "{:#?}", outcome.stdout);
    assert_eq!(mtu, "9000");
}

/// Sends a frame of each of these sizes every 20 ms, from the other end.
const SENDS: &str = "python3 -c '\
import socket, time
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind((\"b0\", 0))
end = time.time() + 20
while time.time() < end:
    [s.send(bytes(12) + b\"\\x88\\xb5\" + bytes(size - 14)) for size in (1981, 1982, 5000)]
    time.sleep(0.02)
' & sender=$!; trap 'kill $sender' EXIT;";

#[test]
fn frames_that_the_driver_cuts_off_are_dropped_as_too_long() {
    let Some((outcome, _)) = on_veth_beside(SENDS, "") else { return };
    let report = outcome.good_report();
    let (sent, cut) = (common::count(report, "tx_pkts"), common::dropped(report, "too_long"));
    // The kernel sends a few frames of its own. The first poll may begin between
    // two frames of the script's.
    assert!(cut >= 10 && sent < cut && sent + 2 >= cut / 2, "{sent} whole, {cut} cut: {report:#}");
}

#[test]
fn a_full_disk_leaves_the_last_report() {
    let folder = tempfile::tempdir().expect("a folder");
    let mount = "mount -t tmpfs -o size=12k none \"$FOLDER\"";
    let mut works = Command::new("unshare");
    works.args(["-m", "sh", "-c", mount]).env("FOLDER", folder.path());
    if !works.output().is_ok_and(|output| output.status.success()) {
        return skipped("this needs unshare and root");
    }
    let script = format!(
        "{mount}; cd \"$FOLDER\"; echo kept >r.json; head -c 8192 /dev/zero >other
         \"$0\" \"$@\"; code=$?; echo \"holds $(cat r.json); $(ls -a | wc -w) names\"; exit $code"
    );
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", &script, BINARY]).env("FOLDER", folder.path());
    let report = folder.path().join("r.json");
    let eal = format!("{NO_HUGE} {} --vdev net_null0", lcores(1));
    let own = format!("--packets 100 --report {}", report.display());
    let outcome = start_with(command, &eal, &own).finish();
    assert_eq!(outcome.status.code(), Some(1), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("No space left"), "{}", outcome.stderr);
    assert_eq!(outcome.stdout.last().map(String::as_str), Some("holds kept; 4 names"));
}

/// A run of `mpfwd WORDS`: exit code, standard output, standard error.
fn mpfwd(words: &[&str], environment: &[(&str, &str)]) -> (i32, String, String) {
    let mut command = Command::new(BINARY);
    let output = command.args(words).envs(environment.iter().copied()).output().expect("it starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_file_configures_a_run_and_later_sources_replace_it() {
    let prefix = common::Leftovers(common::file_prefix());
    let folder = tempfile::tempdir().expect("a folder");
    let (file, report) = (folder.path().join("mpfwd.toml"), folder.path().join("r.json"));
    let text = format!(
        "burst = 16\nrxd = 256\npackets = 1000\nreport = \"{}\"\napi = \"off\"\n[eal]\nlcores = \"0@{}\"\n\
         no-huge = true\nm = 256\nno-shconf = true\nno-pci = true\nfile-prefix = \"{}\"\n\
         vdev = [\"net_null0\", \"net_null1\"]\n",
        report.display(),
        allowed_cpus()[0],
        prefix.0
    );
    std::fs::write(&file, text).expect("it is written");
    let name = file.to_str().expect("it is UTF-8");
    let environment = [("MPFWD_BURST", "8"), ("MPFWD_RXD", "512")];
    let (code, stdout, stderr) =
        mpfwd(&["--config-file", name, "--", "--burst", "4"], &environment);
    assert_eq!(code, 0, "{stdout}{stderr}");
    assert!(stdout.contains("burst 4") && stdout.contains("rx 1 x 512"), "{stdout}");
    assert!(stdout.contains("port 1   net_null1"), "{stdout}");
    assert!(report.is_file());

    let (code, stdout, stderr) = mpfwd(&["check", name], &[]);
    assert_eq!((code, stdout.as_str(), stderr.as_str()), (0, "no mistakes\n", ""));
    let (_, shown, _) = mpfwd(&["check", "--show", name, "--", "--burst", "4"], &environment);
    for (start, end) in
        [("burst = 4 ", "command line"), ("rxd = 512 ", "MPFWD_RXD"), ("packets = 1000 ", ":3")]
    {
        let is = |line: &str| line.starts_with(start) && line.ends_with(end);
        assert!(shown.lines().any(is), "{start}{end}: {shown}");
    }
}

#[test]
fn check_finds_all_mistakes_and_a_run_names_the_first() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("f.toml");
    let name = file.to_str().expect("it is UTF-8");
    std::fs::write(&file, "pols = \"1:1\"\nburst = 600\n[eal]\nvdve = 1\n").expect("written");
    let (code, _, stderr) = mpfwd(&["check", name], &[]);
    let lines: Vec<&str> = stderr.lines().collect();
    assert_eq!((code, lines.len(), lines.last()), (2, 4, Some(&"mpfwd: 3 mistakes")), "{stderr}");
    for (line, place) in lines.iter().zip(["1:1", "2:1", "4:1"]) {
        assert!(line.starts_with(&format!("mpfwd: {name}:{place}: ")), "{stderr}");
    }
    let (code, _, stderr) = mpfwd(&["--config-file", name], &[]);
    assert!(code == 2 && stderr.contains("'--pools'; and 2 more"), "{stderr}");
    std::fs::write(&file, "mode = \"pools\"\n report = \"/nowhere/r\"\n").expect("written");
    let (_, _, stderr) = mpfwd(&["check", name], &[]);
    assert!(stderr.contains(":1:1: --mode pools") && stderr.contains(":2:2: --report"), "{stderr}");
    let (code, _, stderr) = mpfwd(&["check", "/nowhere/f.toml"], &[]);
    assert!(code == 2 && stderr.contains("/nowhere/f.toml: No such file"), "{stderr}");
}

/// What mpfwd tells a service manager whose watchdog has `watchdog`, by the time
/// since its start.
fn told(watchdog: Duration, own: &str) -> Vec<(Duration, String)> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket.set_read_timeout(Some(Duration::from_millis(100))).expect("a time");
    let mut command = Command::new(BINARY);
    command.env("NOTIFY_SOCKET", &path);
    command.env("WATCHDOG_USEC", watchdog.as_micros().to_string());
    let start = Instant::now();
    let eal = format!("{NO_HUGE} {} --vdev net_null0", lcores(1));
    let mut running = start_with(command, &eal, own);
    let mut told = Vec::new();
    let mut text = [0; 256];
    while running.is_running() {
        if let Ok(size) = socket.recv(&mut text) {
            let said = String::from_utf8_lossy(&text[..size]);
            told.extend(said.lines().map(|line| (start.elapsed(), line.to_owned())));
        }
    }
    running.finish();
    told
}

#[test]
fn the_watchdog_hears_of_busy_lcores_and_not_of_one_that_does_not_come_back() {
    let watchdog = Duration::from_millis(800);
    let busy = told(watchdog, "--duration 2.5");
    let at = |told: &[(Duration, String)], what: &str| {
        told.iter().filter(|(_, line)| line == what).map(|(at, _)| *at).collect::<Vec<_>>()
    };
    assert_eq!(busy.first().map(|(_, line)| line.as_str()), Some("READY=1"), "{busy:?}");
    let fed = at(&busy, "WATCHDOG=1");
    assert!(fed.len() >= 5, "{busy:?}");
    let apart = fed.windows(2).map(|pair| pair[1] - pair[0]).max();
    assert!(apart < Some(watchdog), "{busy:?}");
    assert_eq!(at(&busy, "STOPPING=1").len(), 1, "{busy:?}");

    let stuck = told(watchdog, "--duration 3 --work spin:cheap=4s,expensive=4s,p=0");
    let (ready, stopping) = (at(&stuck, "READY=1")[0], at(&stuck, "STOPPING=1")[0]);
    let last = at(&stuck, "WATCHDOG=1").into_iter().filter(|&at| at < stopping).max();
    assert!(stopping - last.unwrap_or(ready) > watchdog, "{stuck:?}");
}

#[test]
fn units_are_well_formed_and_confined() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut units = Vec::new();
    for unit in std::fs::read_dir("packaging/systemd").expect("it is there").flatten() {
        let name = unit.file_name().to_string_lossy().into_owned();
        if !name.ends_with(".service") {
            continue;
        }
        let text = std::fs::read_to_string(unit.path()).expect("it is text");
        let installed = folder.path().join(name.replace('@', "@west"));
        std::fs::write(&installed, text.replace("@sbindir@/mpfwd", "/bin/true")).expect("written");
        units.push(installed);
    }
    assert_eq!(units.len(), 3);
    let analyze = |arguments: &[&str], units: &[&Path]| {
        let mut command = Command::new("systemd-analyze");
        command.args(arguments).args(units).output()
    };
    let all: Vec<&Path> = units.iter().map(AsRef::as_ref).collect();
    let Ok(verified) = analyze(&["verify", "--man=no"], &all) else {
        return skipped("this needs systemd-analyze");
    };
    let said = String::from_utf8_lossy(&verified.stderr);
    assert!(verified.status.success() && said.is_empty(), "{said}");
    for unit in all.iter().filter(|unit| !unit.ends_with("mpfwd-hugepages.service")) {
        let rated = analyze(&["security", "--offline=true", "--threshold=30"], &[unit]);
        let rated = rated.expect("it has just run");
        assert!(rated.status.success(), "{}", String::from_utf8_lossy(&rated.stdout));
    }
}
