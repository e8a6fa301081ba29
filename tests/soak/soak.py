#!/usr/bin/env python3
"""A long run in every mode, and faults under load: `soak.py [--packets N] [--only soak|faults] [FAULT …]`. With `--stops N` it only
stops lcores under load, N times in each mode; with `--refusals N` it only forwards N packets beside a driver that refuses at random.

The long run forwards packets on net_null in all modes in turn: every packet ends in one counter, and memory does not grow. Then each
fault of faults.py. Prints two tables; exits with 1 if conservation broke, or something crashed or hung.

A stop takes one lcore's thread off its CPU for 1 to 20 ms at a random moment, while packets stay due. The receive queues have descriptors
for more than that. Exits with 1 if a packet is reordered, or is lost although the lcores had their CPUs but for the stops.

With `--changes N` it only makes N random changes of mode, pools, limits and owners of queues, at a load of 0.9. One in twenty is made while
an lcore's thread is off its CPU. Beside it, the same modes for the same times without changes. Exits with 1 if a packet is lost or
reordered.

With refusals a capture of 1,024 flows is replayed at full speed. Half of the flows are for a memif whose peer stops reading for 0 to 50 ms
at random moments; the driver then refuses their packets. The other half are for net_null. Exits with 1 if a packet is reordered, dropped
under a cause that cannot be, or dropped by a driver although it was for net_null.
"""

import argparse
import collections
import json
import os
import random
import signal
import socket
import statistics
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import faults  # noqa: E402
import running  # noqa: E402
from running import Failed, Lab, Mpfwd, Testpmd, lost, table  # noqa: E402

NULLS = ["--vdev", "net_null0", "--vdev", "net_null1"]
MODES = {
    "rtc": ["--mode", "rtc"],
    "steal": ["--mode", "steal"],
    "steal 61": ["--mode", "steal", "--steal-every", "61"],
    "steal rx": ["--mode", "steal", "--steal-rx"],
    "shared": ["--mode", "shared"],
    "shed-random": ["--mode", "shed-random"],
    "pools": ["--mode", "pools", "--pools", "1:1"],
    "hybrid": ["--mode", "hybrid", "--pools", "1:1"],
}
# Some packets are shed, stolen, or wait in a run queue; too few to slow the others down.
# All of net_null's packets are one flow; in order, all would wait for each expensive one.
WORK = ["--order", "none", "--work", "spin:cheap=0ns,expensive=20us,p=0.00001"]
# Of the capture that is replayed with refusals.
FLOWS = 1024
# Allowed growth after the first second: page tables, output buffers.
GROWTH_KIB = 1024
# Where the kernel takes a larger share of the lcores' CPU time, receive queues may overflow for that reason.
CPU_TAKEN_MAX = 0.1


def run_long(lab, mode, pkts):
    """Runs one mode; returns its report, and resident memory after the first second and at the end."""
    mpfwd = Mpfwd(lab, [*running.lcores(2, running.cpus()), *NULLS], [*MODES[mode], *WORK, "--packets", str(pkts)])
    mpfwd.wait_until_it_forwards()
    time.sleep(1)
    resident_kib, last_lines = [], 0
    stuck_since = time.monotonic()
    while mpfwd.is_running():
        try:
            resident_kib.append(mpfwd.resident_kib())
        except (FileNotFoundError, ProcessLookupError):
            break
        lines = len(mpfwd.rates("rx"))
        if lines != last_lines:
            last_lines, stuck_since = lines, time.monotonic()
        if time.monotonic() - stuck_since > running.PATIENCE_S:
            raise Failed(f"{mode}: has stopped printing: {mpfwd.last_lines()}")
        time.sleep(0.25)
    report = mpfwd.finish(None)
    # Without the last samples, which include the report's pages.
    resident_kib = [kib for kib in resident_kib if kib][:-2] or [0]
    start, end = resident_kib[0], statistics.median(resident_kib[-3:])
    return report, start, end


def soak(lab, pkts):
    rows, bad = [["mode", "packets", "Mpps", "lost, by cause", "shed", "memory, MiB", "at the end", "verdict"]], False
    for mode in MODES:
        report, start_kib, end_kib = run_long(lab, mode, pkts // len(MODES))
        grown = end_kib - start_kib > GROWTH_KIB
        bad |= grown
        rows.append([
            mode, f"{report['rx_pkts']:,}", f"{report['rx_pkts'] / report['elapsed_s'] / 1e6:.1f}", faults.causes(lost(report)),
            f"{report['shed_pkts']:,}", f"{start_kib / 1024:.1f}", f"{end_kib / 1024:.1f}", "GROWS" if grown else "conserved",
        ])
        print(f"soak: {mode}: {report['rx_pkts']:,} packets in {report['elapsed_s']:.0f} s", file=sys.stderr, flush=True)
    print(table(rows), end="\n\n", flush=True)
    return bad


def keep_busy(cpu):
    """A neighbour: a process that always has work, on this CPU."""

    def on_the_cpu():
        running.die_with_parent()
        os.sched_setaffinity(0, [cpu])

    return subprocess.Popen(["sh", "-c", "while :; do :; done"], preexec_fn=on_the_cpu)  # pylint: disable=R1732


def run_with_stops(lab, mode, options):
    """Returns the report and for how long lcores were stopped in total."""
    draw, held_s, cpus = random.Random(22), 0, running.cpus()
    source = f"open-loop:load={options.load}" + (f",skew={options.skew}" if options.skew else "")
    own = ["--rxd", "32768", "--mbufs", "65535", "--work", "spin:cheap=1us,p=0", "--source", source]
    neighbour = keep_busy(cpus[:2][-1]) if options.neighbour else None
    try:
        mpfwd = Mpfwd(lab, [*running.lcores(2, cpus), "--vdev", "net_null0,no-rx=1"], [*MODES[mode], *own]).wait_until_it_forwards()
        threads = [faults.Thread(mpfwd.process.pid, lcore) for lcore in (0, 1)]
        for _ in range(options.stops):
            time.sleep(draw.uniform(0.001, 0.02))
            stop_s = draw.uniform(0.001, 0.02)
            draw.choice(threads).hold(stop_s)
            held_s += stop_s
        report = mpfwd.finish()
    finally:
        if neighbour:
            neighbour.kill()
            neighbour.wait()
    return report, held_s


def stop_lcores(lab, options):
    rows, bad = [["mode", "stops", "stopped", "packets", "reordered", "lost, by cause", "CPU taken", "p50", "p99", "most", "verdict"]], False
    for mode in options.modes or MODES:
        report, held_s = run_with_stops(lab, mode, options)
        reordered, latency = report["order"]["reordered_pkts"], report["latency"]["cheap"]
        taken = (report["run_delay_ns"] or 0) / (1e9 * report["elapsed_s"] * len(report["lcores"]))
        missed = lost(report).keys() == {"imissed"} and taken > CPU_TAKEN_MAX
        failed = reordered > 0 or bool(lost(report)) and not missed
        bad |= failed
        times = [f"{latency[key] / 1000:,.0f} us" for key in ("p50_ns", "p99_ns", "max_ns")]
        counts = [f"{options.stops:,}", f"{held_s:.1f} s", f"{report['rx_pkts']:,}", f"{reordered:,}", faults.causes(lost(report))]
        verdict = "FAILED" if failed else "overloaded" if missed else "passed"
        rows.append([mode, *counts, f"{taken:.0%}", *times, verdict])
        print(f"soak: {mode}: {options.stops:,} stops, {report['rx_pkts']:,} packets", file=sys.stderr, flush=True)
    print(table(rows), flush=True)
    return bad


class Changes:
    """Random changes of a run by its control socket."""

    MODES = ("rtc", "steal", "shared", "shed-random", "pools", "hybrid")

    def __init__(self, path, seed):
        self.path, self.draw, self.made, self.refused = path, random.Random(seed), collections.Counter(), 0

    def ask(self, method, path, body=None):
        text = json.dumps(body) if body is not None else ""
        head = f"{method} {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: {len(text)}\r\n\r\n"
        with socket.socket(socket.AF_UNIX) as stream:
            stream.connect(str(self.path))
            stream.sendall((head + text).encode())
            answer = b"".join(iter(lambda: stream.recv(1 << 16), b""))
        head, _, body = answer.partition(b"\r\n\r\n")
        return int(head.split()[1]), json.loads(body)

    def set_mode(self, mode):
        body = {"mode": mode} | ({"pools": "1:1"} if mode in ("pools", "hybrid") else {})
        return self.ask("POST", "/mode", body)

    def make_one(self, modes):
        """Makes a change. Those of what the present mode has not are refused, and not counted."""
        kind = self.draw.choice(["mode", "pools", "expensive-cap", "rescue-after", "queues"])
        if kind == "mode":
            status, _ = self.set_mode(self.draw.choice(modes))
        else:
            body = {
                "pools": {"pools": self.draw.choice(["1:1", "auto"])},
                "expensive-cap": {"expensive_cap": 1},
                "rescue-after": {"rescue_after": self.draw.choice(["5us", "20us", "200us"])},
                "queues": {"queues": [{"port": 0, "queue": self.draw.randrange(2), "lcore": self.draw.randrange(2)}]},
            }[kind]
            status, _ = self.ask("POST", f"/{kind}", body)
            if kind == "queues" and status == 200:
                # Not for long: at this load one lcore cannot serve both.
                self.ask("POST", "/queues", {"queues": [{"port": 0, "queue": queue, "lcore": queue} for queue in (0, 1)]})
        if status == 200:
            self.made[kind] += 1
        elif status not in (400, 409):
            raise Failed(f"{kind}: {status}")

    def latency(self):
        """Packets by the time in which they left."""
        report = self.ask("GET", "/report")[1]["latency"]
        return sum((collections.Counter(dict(report[row]["buckets"])) for row in ("cheap", "expensive")), collections.Counter())


def quantile(buckets, share):
    wanted, seen = share * sum(buckets.values()), 0
    for ns in sorted(buckets):
        seen += buckets[ns]
        if seen >= wanted:
            return ns
    return 0


def change(lab, options):
    """Changes for a second, then the same run without them for a third of one, and so on."""
    path = lab.folder / "api.sock"
    # Two pools of one lcore each serve half of the load: this mode is left out.
    modes = [mode for mode in Changes.MODES if mode != "pools" or options.load < 0.5]
    work = "spin:cheap=20us,expensive=100us,p=0.01"
    own = ["--mode", "hybrid", "--pools", "1:1", "--rxd", "32768", "--mbufs", "131071", "--api", f"unix:{path}", "--work", work]
    own += ["--source", f"open-loop:load={options.load},flows=512"]
    eal = [*running.lcores(2, running.cpus()), "--vdev", "net_null0,no-rx=1"]
    mpfwd = Mpfwd(lab, eal, own, ["--no-huge", "-m", "1024", "--no-shconf"]).wait_until_it_forwards()
    threads = [faults.Thread(mpfwd.process.pid, lcore) for lcore in (0, 1)]
    changes, draw, held_s = Changes(path, 22), random.Random(22), 0
    steady, changing = collections.Counter(), collections.Counter()
    while changes.made.total() < options.changes:
        for is_steady, into in ((True, steady), (False, changing)):
            changes.set_mode(draw.choice(modes))
            time.sleep(0.05)
            before, end = changes.latency(), time.monotonic() + (0.33 if is_steady else 1)
            while time.monotonic() < end and (is_steady or changes.made.total() < options.changes):
                stop = draw.random() < 0.02
                stopped = threading.Thread(target=draw.choice(threads).hold, args=[0.002]) if stop else None
                if stopped:
                    held_s += 0.002
                    stopped.start()
                if not is_steady:
                    changes.make_one(modes)
                if stopped:
                    stopped.join()
                time.sleep(draw.uniform(0, 0.01))
            into += changes.latency() - before
        print(f"soak: {changes.made.total():,} changes", file=sys.stderr, flush=True)
    report = mpfwd.finish()
    reordered = report["order"]["reordered_pkts"]
    rows = [["", "packets", "p50", "p99", "p99.9"]]
    for name, buckets in (("without changes", steady), ("with changes", changing)):
        times = [f"{quantile(buckets, share) / 1000:,.0f} us" for share in (0.5, 0.99, 0.999)]
        rows.append([name, f"{buckets.total():,}", *times])
    print(table(rows), end="\n\n")
    made = ", ".join(f"{kind} {count:,}" for kind, count in sorted(changes.made.items()))
    ratio = quantile(changing, 0.99) / max(1, quantile(steady, 0.99))
    taken = (report["run_delay_ns"] or 0) / (1e9 * report["elapsed_s"] * len(report["lcores"]))
    print(f"{changes.made.total():,} changes ({made}), lcores held for {held_s:.1f} s, CPU taken {taken:.0%}")
    print(f"{report['rx_pkts']:,} packets, reordered {reordered:,}, lost {faults.causes(lost(report))}; p99 with changes {ratio:.2f} of that without")
    overloaded = lost(report).keys() == {"imissed"} and taken > CPU_TAKEN_MAX
    if overloaded:
        print("the kernel took the lcores' CPUs for too long: nothing is said of losses")
    return reordered > 0 or bool(lost(report)) and not overloaded


def write_flows(path):
    """A capture of UDP packets, each of another flow, half of them to 10.0.0.0/16 and half to 10.1.0.0/16."""
    packets = []
    for flow in range(FLOWS):
        address = bytes([10, flow % 2, flow >> 8, flow & 255])
        ip_header = struct.pack("!BBHHHBBH", 0x45, 0, 46, 0, 0, 64, 17, 0) + bytes([192, 0, 2, 1]) + address
        total = sum(struct.unpack("!10H", ip_header))
        total = (total & 0xFFFF) + (total >> 16)
        ip_header = ip_header[:10] + struct.pack("!H", ~total & 0xFFFF) + ip_header[12:]
        # The address that net_pcap gives its first port: l3 routes no others.
        frame = b"\x02pcap\0" + bytes([2] * 6) + b"\x08\0" + ip_header + struct.pack("!HHHH", 1000 + flow, 2000, 26, 0) + bytes(18)
        packets.append(struct.pack("<IIII", 0, flow, len(frame), len(frame)) + frame)
    path.write_bytes(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1) + b"".join(packets))


def refuse_at_random(lab, mode, pkts):
    """Returns the report, and how often the peer stopped."""
    draw, cpus, stops = random.Random(21), running.cpus(), 0
    capture, routes = lab.folder / "flows.pcap", lab.folder / "routes"
    write_flows(capture)
    routes.write_text("10.0.0.0/16 1\n10.1.0.0/16 2\n")
    memif = f"socket={lab.folder}/{lab.count}.sock,socket-abstract=no"
    eal = ["--vdev", f"net_pcap0,rx_pcap={capture},infinite_rx=1", "--vdev", f"net_memif0,role=server,{memif}", "--vdev", "net_null0,no-rx=1"]
    own = ["--idle", "yield", "--forward-mode", "l3", "--routes", str(routes), "--packets", str(pkts)]
    own += ["--work", "spin:cheap=0ns,expensive=20us,p=0.003,mark=hash,known=no"]
    mpfwd = Mpfwd(lab, [*running.lcores(2, cpus), *eal], [*MODES[mode], *own]).wait_until_ready()
    peer = Testpmd(lab, cpus[0], ["--vdev", f"net_memif0,role=client,{memif}"], ["--forward-mode=rxonly"])
    while mpfwd.is_running():
        time.sleep(draw.uniform(0, 0.05))
        peer.send(signal.SIGSTOP)
        time.sleep(draw.uniform(0, 0.05))
        peer.send(signal.SIGCONT)
        stops += 1
    report = mpfwd.finish(None)
    peer.kill()
    return report, stops


def wrong_with(report):
    """What must not be in the report of a run with refusals."""
    drops = report["drops"]
    wrong = [f"{report['order']['reordered_pkts']:,} reordered"] if report["order"]["reordered_pkts"] else []
    # The link is down until the peer is there.
    wrong += [cause for cause, pkts in drops.items() if pkts and cause not in ("tx_full", "link_down", "shard_full")]
    sent = sum(queue["pkts"] for queue in report["queues"] if queue["direction"] == "tx" and queue["port"] == 2)
    # The last replay may be cut short.
    if sent + drops["shard_full"] < report["rx_pkts"] // 2 - FLOWS:
        wrong.append(f"sent only {sent:,} by net_null")
    return wrong


def refuse(lab, options):
    modes = options.modes or MODES
    rows, bad = [["mode", "packets", "stops of the peer", "parked", "reordered", "lost, by cause", "verdict"]], False
    for mode in modes:
        report, stops = refuse_at_random(lab, mode, options.refusals // len(modes))
        wrong = wrong_with(report)
        bad |= bool(wrong)
        order = report["order"]
        counts = [f"{report['rx_pkts']:,}", f"{stops:,}", f"{order['parked_pkts']:,}", f"{order['reordered_pkts']:,}", faults.causes(lost(report))]
        rows.append([mode, *counts, f"FAILED: {', '.join(wrong)}" if wrong else "passed"])
        print(f"soak: {mode}: {report['rx_pkts']:,} packets in {report['elapsed_s']:.0f} s", file=sys.stderr, flush=True)
    print(table(rows), flush=True)
    return bad


def try_faults(lab, names):
    rows, bad = [["fault", "what happened", "lost, by cause", "verdict"]], False
    for name in names:
        try:
            happened, causes = faults.ALL[name](lab)
            verdict = "passed"
        except Failed as failure:
            happened, causes, verdict, bad = str(failure)[:300], {}, "FAILED", True
            lab.kill_all()
        rows.append([name, happened, faults.causes(causes), verdict])
        print(f"soak: {name}: {verdict}: {happened}", file=sys.stderr, flush=True)
    print(table(rows), flush=True)
    return bad


def main():
    parser = argparse.ArgumentParser(prog="./dev soak", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--packets", type=lambda text: int(float(text)), default=10**10, help="of the long run, all modes together (1e10)")
    parser.add_argument("--only", choices=["soak", "faults"], help="only one of the two parts")
    parser.add_argument("--stops", type=int, metavar="N", help="stop an lcore's thread N times in each mode, and do nothing else")
    parser.add_argument("--changes", type=int, metavar="N", help="make N random changes at a load of 0.9, and do nothing else")
    parser.add_argument("--refusals", type=lambda text: int(float(text)), metavar="N", help="forward N packets beside a driver that refuses at random, and do nothing else")
    parser.add_argument("--modes", nargs="+", choices=MODES, help="the modes with stops or refusals (all)")
    parser.add_argument("--load", type=float, help="share of the lcores' time that the packets take, with stops (0.3) and changes (0.9)")
    parser.add_argument("--skew", help="the receive queues' shares, with stops (even); pools has one queue")
    parser.add_argument("--neighbour", action="store_true", help="a busy process on the second lcore's CPU, with stops")
    parser.add_argument("faults", nargs="*", metavar="FAULT", help=f"of {', '.join(faults.ALL)} (all)")
    options = parser.parse_args()
    options.load = options.load or (0.9 if options.changes else 0.3)
    for name in options.faults:
        if name not in faults.ALL:
            parser.error(f'unknown fault "{name}"')
    running.need_root_and_own_namespace("soak")
    bad = False
    with Lab("soak") as lab:
        if options.changes:
            bad |= change(lab, options)
        elif options.refusals:
            bad |= refuse(lab, options)
        elif options.stops:
            bad |= stop_lcores(lab, options)
        elif options.only != "faults" and not options.faults:
            bad |= soak(lab, options.packets)
        if options.only != "soak" and not options.stops and not options.changes and not options.refusals:
            bad |= try_faults(lab, options.faults or faults.ALL)
        left = lab.left()
    if left:
        print(f"soak: left behind: {', '.join(left)}", file=sys.stderr)
    sys.exit(1 if bad or left else 0)


if __name__ == "__main__":
    try:
        main()
    except Failed as failure:
        sys.exit(f"soak: {failure}")
