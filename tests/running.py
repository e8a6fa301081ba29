"""Starts, watches and ends mpfwd and testpmd in their own network namespace, and checks that they leave nothing behind. For the scripts
in load/, soak/ and vm/."""

import ctypes
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PATIENCE_S = 60
PLAIN_MEMORY = ["--no-huge", "-m", "512", "--no-shconf"]
HUGEPAGES = Path("/dev/hugepages")
RUNTIME = Path("/var/run/dpdk")
UNITS = {"pps": 1.0, "kpps": 1e3, "Mpps": 1e6}
PR_SET_PDEATHSIG = 1


class Failed(Exception):
    """A run did something that it should not."""


def need_root_and_own_namespace(name):
    """Exits if this is not root; else continues in an unnamed network namespace, which is gone with its last process."""
    if os.geteuid() != 0:
        sys.exit(f"{name}: this makes network namespaces and reads hugepages, which needs root: run it by sudo")
    if os.environ.get("MPFWD_NAMESPACE") != name:
        os.environ["MPFWD_NAMESPACE"] = name
        os.execvp("unshare", ["unshare", "--net", "--", sys.executable, *sys.argv])
    sysctl = Path("/proc/sys/net/ipv6/conf/default/disable_ipv6")
    if sysctl.exists():
        sysctl.write_text("1")  # or the kernel sends its own router solicitations


def cpus():
    return sorted(os.sched_getaffinity(0))


def lcores(count, on):
    """EAL's arguments for `count` lcores: one per CPU of `on` if there are enough, else all lcores on all of these CPUs."""
    if len(on) >= count:
        return ["--lcores", ",".join(f"{lcore}@{cpu}" for lcore, cpu in enumerate(on[:count]))]
    return ["--lcores", f"(0-{count - 1})@({','.join(map(str, on))})"]


def ip(*words):
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Failed(f"ip {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout


def die_with_parent():
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Lab:
    """The folder, the file prefix and the processes of one script. On exit it kills the processes and removes their files."""

    def __init__(self, name):
        self.name = f"mpfwd-{name}-{os.getpid()}"
        self.programs, self.count = [], 0

    def __enter__(self):
        self.folder = Path(tempfile.mkdtemp(prefix=f"{self.name}-"))
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: sys.exit(1))
        return self

    def kill_all(self):
        for program in self.programs:
            program.kill()

    def __exit__(self, *_):
        self.kill_all()
        for path in self.files_left():
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
        shutil.rmtree(self.folder)

    def next_name(self, who):
        self.count += 1
        return f"{who}{self.count}"

    def files_left(self):
        """Hugepages and EAL's files. An empty folder, which EAL leaves with --no-shconf, does not count and is removed."""
        for folder in RUNTIME.glob(f"{self.name}*"):
            if not any(folder.iterdir()):
                folder.rmdir()
        return [*HUGEPAGES.glob(f"{self.name}*"), *RUNTIME.glob(f"{self.name}*")]

    def left(self):
        """Processes and files left behind; none after a good run."""
        running = [f"process {program.process.pid}" for program in self.programs if program.is_running()]
        return running + [str(path) for path in self.files_left()]


class Program:
    """A process with its output in a file."""

    def __init__(self, lab, who, command):
        self.log = lab.folder / f"{lab.next_name(who)}.log"
        self.command = [str(word) for word in command]
        self.peers = []  # if one of these ends, waiting is in vain
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(  # pylint: disable=consider-using-with
                self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, preexec_fn=die_with_parent
            )
        lab.programs.append(self)

    def output(self):
        return self.log.read_text(errors="replace")

    def is_running(self):
        return self.process.poll() is None

    def send(self, number):
        self.process.send_signal(number)

    def kill(self):
        if self.is_running():
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
        self.process.wait()

    def wait_for(self, is_it, what, patience_s=PATIENCE_S):
        """Waits until `is_it()` holds."""
        end = time.monotonic() + patience_s
        while not is_it():
            gone = next((program for program in [self, *self.peers] if not program.is_running()), None)
            if gone:
                raise Failed(f"{Path(gone.command[0]).name} ended with {gone.process.returncode} before {what}: {gone.last_lines()}")
            if time.monotonic() > end:
                raise Failed(f"{what}: not within {patience_s} s: {self.last_lines()}")
            time.sleep(0.02)

    def last_lines(self):
        return " | ".join(line.strip() for line in self.output().splitlines()[-3:])

    def end(self, number=signal.SIGTERM, patience_s=PATIENCE_S):
        """Sends the signal if the process still runs, and returns its exit code."""
        if number is not None and self.is_running():
            self.send(number)
        try:
            return self.process.wait(patience_s)
        except subprocess.TimeoutExpired:
            raise Failed(f"still running {patience_s} s after it should have ended: {self.last_lines()}") from None


def released_mpfwd():
    binary = Path(os.environ.get("MPFWD") or Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target") / "release/mpfwd")
    if not os.access(binary, os.X_OK):
        sys.exit(f"no {binary}: run cargo build --release, or set MPFWD=FILE")
    return binary


class Mpfwd(Program):
    """A released mpfwd that prints a line of rates ten times a second, and writes its report."""

    def __init__(self, lab, eal, own, memory=None, prefix=None):
        binary = released_mpfwd()
        self.prefix = prefix or f"{lab.name}-{lab.count}"
        self.report_file = lab.folder / f"{lab.count}.json"
        memory = PLAIN_MEMORY if memory is None else memory
        command = [binary, "--no-pci", "--file-prefix", self.prefix, *memory, *eal, "--", "--report", self.report_file]
        super().__init__(lab, "mpfwd", [*command, "--stats-period", "0.1", *own])

    def rates(self, name):
        """The rate of that name in every line of rates so far, in packets per second."""
        found = re.findall(rf"^ +[\d.]+ s  .*?\b{name} +([\d.]+) +([kM]?pps)", self.output(), re.MULTILINE)
        return [float(value) * UNITS[unit] for value, unit in found]

    def wait_until_ready(self):
        self.wait_for(lambda: re.search("^  lcore ", self.output(), re.MULTILINE), "its ports are set up")
        return self

    def wait_for_rate(self, name, fits, what, patience_s=PATIENCE_S):
        """Waits until two consecutive new lines of rates fit."""
        known = len(self.rates(name))

        def two_fit():
            rates = self.rates(name)[known:]
            return any(fits(one) and fits(next_one) for one, next_one in zip(rates, rates[1:]))

        self.wait_for(two_fit, what, patience_s)
        return self

    def wait_until_it_forwards(self):
        return self.wait_for_rate("tx", lambda pps: pps > 0, "it forwards")

    def finish(self, number=signal.SIGTERM):
        """Ends the run and returns its report; it must exit with 0, with every packet and buffer accounted for."""
        code = self.end(number)
        if code != 0:
            raise Failed(f"ended with {code}: {self.last_lines()}")
        report = json.loads(self.report_file.read_text())
        if not report["conserved"] or report["rx_pkts"] != report["tx_pkts"] + sum(report["drops"].values()):
            raise Failed(f"conservation is broken: {self.last_lines()}")
        return report

    def resident_kib(self):
        """Resident memory, with hugepages."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return sum(int(kib) for kib in re.findall(r"^(?:VmRSS|HugetlbPages):\s+(\d+) kB", status, re.MULTILINE))


class Testpmd(Program):
    """Debian's testpmd, forwarding from start to end. Its main lcore, which only waits, shares the CPU."""

    def __init__(self, lab, cpu, eal, own):
        if shutil.which("dpdk-testpmd") is None:
            sys.exit("no dpdk-testpmd (Debian: dpdk-dev)")
        command = ["dpdk-testpmd", "--lcores", f"(0-1)@{cpu}", "--no-pci", "--file-prefix", f"{lab.name}-{lab.count}", *PLAIN_MEMORY]
        self.runtime = RUNTIME / command[command.index("--file-prefix") + 1]
        super().__init__(lab, "testpmd", [*command, *eal, "--", "--disable-link-check", "--no-mlockall", "--total-num-mbufs=16384", "--stats-period", "1", *own])

    def kill(self):
        """Also removes what testpmd would have removed."""
        super().kill()
        shutil.rmtree(self.runtime, ignore_errors=True)


def lost(report):
    """Lost packets by cause: mpfwd's own drops, and those of the devices."""
    causes = {cause: pkts for cause, pkts in report["drops"].items() if pkts}
    for key in ("imissed", "ierrors", "oerrors", "rx_nombuf"):
        pkts = sum(port["device"][key] for port in report["ports"])
        if pkts:
            causes[key] = pkts
    return causes


def table(rows):
    """Aligns rows in columns; the first row is the head."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
    return "\n".join([lines[0], "─" * max(map(len, lines)), *lines[1:]])
