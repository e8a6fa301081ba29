"""mpfwd and testpmd as processes that are started, watched and ended from outside, in a network namespace of their own; and what
must be gone when they have ended. For the scripts in load/, soak/ and vm/."""

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
    """What a run should not have done."""


def need_root_and_own_namespace(name):
    """Says so if this is not root; else goes on in a network namespace that has no name, and is gone with its last process."""
    if os.geteuid() != 0:
        sys.exit(f"{name}: this makes network namespaces and reads hugepages, which needs root: run it by sudo")
    if os.environ.get("MPFWD_NAMESPACE") != name:
        os.environ["MPFWD_NAMESPACE"] = name
        os.execvp("unshare", ["unshare", "--net", "--", sys.executable, *sys.argv])
    sysctl = Path("/proc/sys/net/ipv6/conf/default/disable_ipv6")
    if sysctl.exists():
        sysctl.write_text("1")  # the kernel would send router solicitations of its own


def cpus():
    return sorted(os.sched_getaffinity(0))


def lcores(count, on):
    """EAL's arguments for so many lcores: one per CPU of `on` where there are enough, else all of them on all of these."""
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
    """The folder, the prefix and the processes of one script. Leaving it kills what runs and takes away what was left."""

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
        """Hugepages and EAL's files. With --no-shconf EAL leaves an empty folder, which does not count and is removed."""
        for folder in RUNTIME.glob(f"{self.name}*"):
            if not any(folder.iterdir()):
                folder.rmdir()
        return [*HUGEPAGES.glob(f"{self.name}*"), *RUNTIME.glob(f"{self.name}*")]

    def left(self):
        """What a script has left that ended well: nothing."""
        running = [f"process {program.process.pid}" for program in self.programs if program.is_running()]
        return running + [str(path) for path in self.files_left()]


class Program:
    """A process with its output in a file."""

    def __init__(self, lab, who, command):
        self.log = lab.folder / f"{lab.next_name(who)}.log"
        self.command = [str(word) for word in command]
        self.peers = []  # without whom this one waits in vain
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
        """Until `is_it()` holds."""
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
        """Its exit code, after this signal if it still runs."""
        if number is not None and self.is_running():
            self.send(number)
        try:
            return self.process.wait(patience_s)
        except subprocess.TimeoutExpired:
            raise Failed(f"still running {patience_s} s after it should have ended: {self.last_lines()}") from None


def released_mpfwd():
    binary = Path(os.environ.get("MPFWD") or Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target") / "release/mpfwd")
    if not os.access(binary, os.X_OK):
        sys.exit(f"there is no {binary}: cargo build --release makes it, or MPFWD=FILE names another")
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
        """Packets per second of that name in every line of rates so far."""
        found = re.findall(rf"^ +[\d.]+ s  .*?\b{name} +([\d.]+) +([kM]?pps)", self.output(), re.MULTILINE)
        return [float(value) * UNITS[unit] for value, unit in found]

    def wait_until_ready(self):
        self.wait_for(lambda: re.search("^  lcore ", self.output(), re.MULTILINE), "its ports are set up")
        return self

    def wait_for_rate(self, name, fits, what, patience_s=PATIENCE_S):
        """Until a line of rates that is yet to come fits, and the one after it."""
        known = len(self.rates(name))

        def two_fit():
            rates = self.rates(name)[known:]
            return any(fits(one) and fits(next_one) for one, next_one in zip(rates, rates[1:]))

        self.wait_for(two_fit, what, patience_s)
        return self

    def wait_until_it_forwards(self):
        return self.wait_for_rate("tx", lambda pps: pps > 0, "it forwards")

    def finish(self, number=signal.SIGTERM):
        """The report of a run that ended well: exit code 0, and every packet and buffer accounted for."""
        code = self.end(number)
        if code != 0:
            raise Failed(f"ended with {code}: {self.last_lines()}")
        report = json.loads(self.report_file.read_text())
        if not report["conserved"] or report["rx_pkts"] != report["tx_pkts"] + sum(report["drops"].values()):
            raise Failed(f"conservation is broken: {self.last_lines()}")
        return report

    def resident_kib(self):
        """Memory in use, hugepages too."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return sum(int(kib) for kib in re.findall(r"^(?:VmRSS|HugetlbPages):\s+(\d+) kB", status, re.MULTILINE))


class Testpmd(Program):
    """Debian's testpmd, forwarding from its start to its end. Its main lcore, which only waits, has the same CPU."""

    def __init__(self, lab, cpu, eal, own):
        if shutil.which("dpdk-testpmd") is None:
            sys.exit("there is no dpdk-testpmd (Debian: dpdk-dev)")
        command = ["dpdk-testpmd", "--lcores", f"(0-1)@{cpu}", "--no-pci", "--file-prefix", f"{lab.name}-{lab.count}", *PLAIN_MEMORY]
        self.runtime = RUNTIME / command[command.index("--file-prefix") + 1]
        super().__init__(lab, "testpmd", [*command, *eal, "--", "--disable-link-check", "--no-mlockall", "--total-num-mbufs=16384", "--stats-period", "1", *own])

    def kill(self):
        """And what it would have taken along."""
        super().kill()
        shutil.rmtree(self.runtime, ignore_errors=True)


def lost(report):
    """Packets that a run lost, by cause: mpfwd's own, and those of the devices."""
    causes = {cause: pkts for cause, pkts in report["drops"].items() if pkts}
    for key in ("imissed", "ierrors", "oerrors", "rx_nombuf"):
        pkts = sum(port["device"][key] for port in report["ports"])
        if pkts:
            causes[key] = pkts
    return causes


def table(rows):
    """Lines of columns that stand below each other; the first row is the head."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
    return "\n".join([lines[0], "─" * max(map(len, lines)), *lines[1:]])
