#!/usr/bin/env python3
"""Loads a released mpfwd over memif from other processes: `load.py [--seconds N] [--json FILE] …`.

Searches for the highest rate without loss, as RFC 2544 asks, with a paced generator: a second mpfwd that
reads a capture again and again and burns a given time per packet. testpmd cannot pace; as generator and
sink it shows the highest throughput. docs/load.md says what the figures mean.
"""

import argparse
import json
import math
import os
import platform
import shutil
import signal
import statistics
import struct
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[1] / "smoke")]
import running  # noqa: E402
from frames import write_capture  # noqa: E402
from running import Failed, Lab, Mpfwd, Testpmd, lost, table  # noqa: E402

MODES = {
    "rtc": (1, ["--mode", "rtc"]),
    "steal": (2, ["--mode", "steal"]),
    "steal 61": (2, ["--mode", "steal", "--steal-every", "61"]),
    "steal rx": (2, ["--mode", "steal", "--steal-rx"]),
    "shared": (2, ["--mode", "shared"]),
    "shed-random": (2, ["--mode", "shed-random"]),
    "pools": (2, ["--mode", "pools", "--pools", "1:1"]),
    "hybrid": (2, ["--mode", "hybrid", "--pools", "1:1"]),
}
# Bytes of a frame without its checksum, and flows.
TRAFFIC = {"64 B, 1 flow": (60, 1), "64 B, 1024 flows": (60, 1024), "1518 B": (1514, 64)}
FLOOD = {
    "txonly": ["--forward-mode=txonly"],
    "txonly, flows": ["--forward-mode=txonly", "--txonly-multi-flow"],
    "txonly, jumbo": ["--forward-mode=txonly", "--txpkts=9000", "--mbuf-size=9216"],
    "flowgen": ["--forward-mode=flowgen", "--flowgen-flows=1024"],
}
RING_LOG2 = 12
# Packets that an lcore keeps for a full ring; only packets beyond these are lost.
WAITING = 1024
SLOWEST_PPS, FASTEST_PPS = 50e3, 40e6
# Rates closer than this ratio are equal.
RESOLUTION = 1.05


def udp_frame(length, flow):
    """Ethernet, IPv4, UDP between RFC 2544's addresses; flows differ in their ports."""
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, length - 14, 0, 0, 64, 17, 0, bytes([198, 18, 0, 1]), bytes([198, 19, 0, 1]))
    total = sum(struct.unpack("!10H", ip))
    total = (total & 0xFFFF) + (total >> 16)
    ip = ip[:10] + struct.pack("!H", ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF) + ip[12:]
    udp = struct.pack("!HHHH", 1024 + flow % 251, 1024 + flow, length - 34, 0)
    return (bytes.fromhex("020000000001020000000002" "0800") + ip + udp).ljust(length, b"\0")


def memif(number, role, socket):
    return ["--vdev", f"net_memif{number},role={role},socket={socket},socket-abstract=no,rsize={RING_LOG2}"]


class Bench:
    """The processes of a trial: the generator on the first CPU, mpfwd on the others."""

    def __init__(self, lab, options):
        self.lab, self.seconds, self.work = lab, options.seconds, ["--work", options.work] if options.work else []
        all_cpus = running.cpus()
        self.generator_cpu, self.own_cpus = all_cpus[0], all_cpus[1:] or all_cpus

    def forwarder(self, mode, ports):
        count, own = MODES[mode]
        sockets = [self.lab.folder / f"{self.lab.count}-{port}.sock" for port in range(ports)]
        vdevs = [word for port, socket in enumerate(sockets) for word in memif(port, "server", socket)]
        # More lcores than CPUs must yield; all share a memif's one ring.
        own = [*own, *self.work, "--idle", "yield" if count > len(self.own_cpus) else "pause", "--rxq", "1", "--txq", "1"]
        return Mpfwd(self.lab, [*running.lcores(count, self.own_cpus), *vdevs], own).wait_until_ready(), sockets

    def paced(self, mode, traffic, pps):
        """One trial at about `pps`, or flat out if that is infinite."""
        length, flows = TRAFFIC[traffic]
        forwarder, [socket] = self.forwarder(mode, 1)
        capture = self.lab.folder / f"{length}-{flows}.pcap"
        if not capture.exists():
            write_capture(capture, [udp_frame(length, flow) for flow in range(flows)])
        # The generator burns this for a frame sent and for the one that came back.
        cost_ns = 0 if math.isinf(pps) else round(1e9 / pps / 2)
        eal = ["--lcores", f"0@{self.generator_cpu}", "--vdev", f"net_pcap0,rx_pcap={capture},infinite_rx=1", *memif(0, "client", socket)]
        own = ["--mode", "rtc", "--work", f"spin:cheap={cost_ns}ns"]
        generator = Mpfwd(self.lab, eal, own)
        return self.judge(forwarder, generator, mode, traffic)

    def judge(self, forwarder, generator, mode, traffic):
        """Runs the trial, ends it, and accounts for every lost packet."""
        forwarder.peers = [generator]
        forwarder.wait_for_rate("rx", lambda pps: pps > 0, "packets come")
        known = {program: len(program.rates("rx")) for program in (generator, forwarder)}
        forwarder.wait_for(lambda: len(forwarder.rates("rx")) >= known[forwarder] + 10 * self.seconds, "the trial is over")
        rates = [forwarder.rates(name)[known[forwarder] :] for name in ("rx", "tx")]
        # Only the lines of the trial: before it the memif's link is down, and packets kept for it at the end are dropped.
        dropped_pps = {program: sum(program.rates("dropped")[known[program] :]) for program in known}
        # mpfwd first: DPDK's memif unmaps the rings of a peer that has gone, even under an lcore that polls them.
        generator.send(signal.SIGSTOP)
        forwarded = forwarder.finish()
        generator.send(signal.SIGTERM)
        generator.send(signal.SIGCONT)
        # The stopped generator may be in those rings and crash; then its counts are missing.
        if generator.end(None) == 0:
            queues = generator.finish(None)["queues"]
            offered, came = (sum(row["pkts"] for row in queues if (row["port"], row["direction"]) == (1, way)) for way in ("tx", "rx"))
            self.check_ways(f"{mode}, {traffic}", offered - forwarded["rx_pkts"], forwarded["tx_pkts"] - came)
        else:
            shutil.rmtree(running.RUNTIME / generator.prefix, ignore_errors=True)
        return {
            "offered_pps": statistics.median(rates[0]),
            "forwarded_pps": statistics.median(rates[1]),
            "not_taken_pkts": round(dropped_pps[generator] / 10),
            "lost_pkts": round(dropped_pps[forwarder] / 10),
            "pkts": forwarded["rx_pkts"],
            "loss_free": not any(dropped_pps.values()),
        }

    def check_ways(self, what, there, back):
        """Packets sent and not received at the end fit in a ring."""
        for way, gone in [("to mpfwd", there), ("back", back)]:
            if not 0 <= gone <= 2**RING_LOG2:
                raise Failed(f"{what}: {gone} packets are missing {way}, and a ring holds {2**RING_LOG2}")

    def search(self, mode, traffic):
        """Binary search for the highest rate without loss: halves the rate from flat out, then closes in to RESOLUTION."""
        trials = [self.paced(mode, traffic, math.inf)]
        low, high = 0.0, trials[0]["offered_pps"]
        pps = high / 2
        best = trials[0] if trials[0]["loss_free"] else None
        while best is not trials[0] and pps > SLOWEST_PPS and high / max(low, 1.0) > RESOLUTION:
            trial = self.paced(mode, traffic, pps)
            trials.append(trial)
            if trial["loss_free"]:
                low = pps
                if best is None or trial["offered_pps"] > best["offered_pps"]:
                    best = trial
            else:
                high = pps
            pps = math.sqrt(low * high) if low else high / 2
        return {
            "mode": mode,
            "traffic": traffic,
            "loss_free_pps": best["offered_pps"] if best else None,
            "generator_is_the_limit": best is trials[0],
            "flat_out_pps": trials[0]["forwarded_pps"],
            "trials": trials,
        }

    def flood(self, mode, name):
        """testpmd flat out: flowgen receives what it sent; with txonly a second testpmd is the sink."""
        arguments, jumbo = FLOOD[name], "jumbo" in name
        alone = name == "flowgen"
        forwarder, sockets = self.forwarder(mode, 1 if alone else 2)
        programs = [Testpmd(self.lab, self.generator_cpu, memif(0, "client", sockets[0]), arguments)]
        if not alone:
            sink = ["--forward-mode=rxonly", *(["--mbuf-size=9216"] if jumbo else [])]
            programs.insert(0, Testpmd(self.lab, self.generator_cpu, memif(0, "client", sockets[1]), sink))
        forwarder.peers = programs
        forwarder.wait_for_rate("tx", lambda pps: pps > 0, "packets come")
        known = len(forwarder.rates("tx"))
        forwarder.wait_for(lambda: len(forwarder.rates("tx")) >= known + 10 * self.seconds, "the trial is over")
        pps = statistics.median(forwarder.rates("tx")[known:])
        for program in programs:
            program.send(signal.SIGSTOP)
        report = forwarder.finish()
        # Counts are mpfwd's: testpmd's are the memif's, which restart from 0 when mpfwd has gone.
        for program in programs:
            program.kill()
        causes = {cause: pkts for cause, pkts in lost(report).items() if cause != "link_down"}
        return {"mode": mode, "generator": name, "forwarded_pps": pps, "pkts": report["rx_pkts"], "lost_pkts": causes}


def mpps(pps):
    return "-" if pps is None else f"{pps / 1e6:.2f}"


def show(searches, floods):
    rows = [["mode", "traffic", "loss-free Mpps", "flat out Mpps", "trials"]]
    for one in searches:
        limit = " (the generator's limit)" if one["generator_is_the_limit"] else ""
        rows.append([one["mode"], one["traffic"], mpps(one["loss_free_pps"]) + limit, mpps(one["flat_out_pps"]), str(len(one["trials"]))])
    print(table(rows))
    if not floods:
        return
    names = list(dict.fromkeys(one["generator"] for one in floods))
    rows = [["testpmd flat out, Mpps", *names]]
    for mode in dict.fromkeys(one["mode"] for one in floods):
        rows.append([mode, *(mpps(one["forwarded_pps"]) for name in names for one in floods if (one["mode"], one["generator"]) == (mode, name))])
    print()
    print(table(rows))


def measure(bench, options, searches, floods):
    """Measures row by row, so that the rows before a failure can be shown."""
    for mode in options.modes:
        for traffic in TRAFFIC if options.all or mode == options.modes[0] else ["64 B, 1024 flows"]:
            searches.append(bench.search(mode, traffic))
            print(f"{mode}, {traffic}: {mpps(searches[-1]['loss_free_pps'])} Mpps without loss", file=sys.stderr, flush=True)
        for name in FLOOD:
            floods.append(bench.flood(mode, name))
            print(f"{mode}, testpmd {name}: {mpps(floods[-1]['forwarded_pps'])} Mpps", file=sys.stderr, flush=True)


def parse():
    parser = argparse.ArgumentParser(prog="./dev load", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=1, help="length of a trial (1; RFC 2544 wants 60)")
    parser.add_argument("--modes", default=",".join(MODES), help=f"of {', '.join(MODES)} (all)")
    parser.add_argument("--work", metavar="SPEC", help="what packets cost, as mpfwd's --work")
    parser.add_argument("--all", action="store_true", help="every traffic in every mode, not only 64 B, 1024 flows")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write every trial")
    options = parser.parse_args()
    options.modes = options.modes.split(",")
    for mode in options.modes:
        if mode not in MODES:
            parser.error(f'unknown mode "{mode}": use some of {", ".join(MODES)}')
    return options


def main():
    options = parse()
    running.need_root_and_own_namespace("load")
    searches, floods, left = [], [], []
    cpus = running.cpus()
    about = f"{len(cpus)} CPUs: the generator and sink on CPU {cpus[0]}, mpfwd's lcores on {', '.join(map(str, cpus[1:] or cpus))}"
    if len(cpus) < 3:
        about += "; modes of two lcores share it. Noisy: an order of magnitude, not a benchmark"
    print(f"{about}. Trials of {options.seconds:g} s, rings of {2**RING_LOG2}, and {WAITING} packets may wait for each ring.\n", flush=True)
    with Lab("load") as lab:
        try:
            measure(Bench(lab, options), options, searches, floods)
            left = lab.left()
        finally:
            show(searches, floods)
    if options.json:
        machine = {"cpus": len(cpus), "kernel": platform.release(), "processor": platform.processor() or platform.machine()}
        options.json.write_text(json.dumps({"about": about, "machine": machine, "seconds": options.seconds, "work": options.work,
                                            "ring": 2**RING_LOG2, "searches": searches, "floods": floods}, indent=1) + "\n")
        if "SUDO_UID" in os.environ:
            os.chown(options.json, int(os.environ["SUDO_UID"]), int(os.environ["SUDO_GID"]))
    if left:
        sys.exit(f"load: left behind: {', '.join(left)}")


if __name__ == "__main__":
    try:
        main()
    except Failed as failure:
        sys.exit(f"load: {failure}")
