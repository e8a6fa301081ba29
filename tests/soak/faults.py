"""Faults under load, injected from outside a released mpfwd. Each returns what happened and the lost packets by cause, or raises
`Failed` if mpfwd crashed, hung, did not recover, or did not account for a packet."""

import ctypes
import json
import os
import random
import re
import signal
import subprocess
import time
from pathlib import Path

import running
from running import HUGEPAGES, Failed, Mpfwd, Testpmd, ip, lost

QUIET = ["--vdev", "net_null0,no-rx=1"]
FLOOD = ["--vdev", "net_null0"]
ENDS = 200


def causes(pkts_by_cause):
    return ", ".join(f"{cause} {pkts:,}" for cause, pkts in pkts_by_cause.items()) or "none"


def expect(holds, what):
    if not holds:
        raise Failed(what)


def shard_full(lab):
    """Half of the packets are expensive, far more than a worker can run."""
    own = ["--mode", "pools", "--pools", "1:1", "--ring-size", "64", "--order", "none", "--work", "spin:cheap=0ns,expensive=5us,p=0.5", "--duration", "2"]
    report = Mpfwd(lab, [*running.lcores(2, running.cpus()), *FLOOD], own).finish(None)
    expect(report["drops"]["shard_full"] > 0, "no shard was full")
    expect(lost(report).keys() == {"shard_full"}, f"lost under another cause: {lost(report)}")
    return f"forwarded {report['tx_pkts']:,} of {report['rx_pkts']:,}", lost(report)


def mempool_exhausted(lab):
    """The shard is larger than the pool, and fills faster than it drains."""
    own = ["--mode", "pools", "--pools", "1:1", "--mbufs", "256", "--ring-size", "2048", "--order", "none", "--work", "spin:cheap=0ns,expensive=20us,p=1"]
    own += ["--source", "open-loop:rate=200k", "--duration", "2"]
    report = Mpfwd(lab, [*running.lcores(2, running.cpus()), *QUIET], own).finish(None)
    expect(report["source"]["nombuf_pkts"] > 0, "the pool was never empty")
    expect(report["mbufs"] == report["mbufs_free"], "buffers are missing")
    return f"forwarded {report['tx_pkts']:,} of {report['source']['offered_pkts']:,} due packets, all 256 buffers came back", lost(report)


def received(interface):
    """Packets received by an interface of this namespace."""
    return json.loads(ip("-j", "-s", "link", "show", interface))[0]["stats64"]["rx"]["packets"]


def wait_until_it_grows(mpfwd, interface, what):
    before = received(interface)
    mpfwd.wait_for(lambda: received(interface) > before + 1000, what)


def wait_until_it_rests(mpfwd, interface, what):
    def rests():
        before = received(interface)
        time.sleep(0.3)
        return received(interface) == before

    mpfwd.wait_for(rests, what)


def over_veth(lab):
    """A flood out of one end of a veth pair; the other end is `far`."""
    ip("link", "add", "near", "type", "veth", "peer", "name", "far")
    for interface in ("near", "far"):
        ip("link", "set", interface, "up")
    eal = [*running.lcores(1, running.cpus()), *FLOOD, "--vdev", "net_af_packet0,iface=near"]
    mpfwd = Mpfwd(lab, eal, ["--idle", "yield"]).wait_until_ready()
    wait_until_it_grows(mpfwd, "far", "packets come out of the veth pair")
    return mpfwd


def port_stopped(lab):
    """Nothing stops a port from outside: a secondary process would do so under the lcores. Taking the interface down and up is what the
    driver sees of a cable that is unplugged and plugged in."""
    mpfwd = over_veth(lab)
    try:
        ip("link", "set", "near", "down")
        wait_until_it_rests(mpfwd, "far", "nothing comes out of an interface that is down")
        time.sleep(1)
        ip("link", "set", "near", "up")
        began = time.monotonic()
        wait_until_it_grows(mpfwd, "far", "packets come out again")
        took = time.monotonic() - began
        report = mpfwd.finish()
    finally:
        ip("link", "del", "far")
    return f"interface down for 1 s; forwards again after {took:.1f} s", lost(report)


def peer_moved(lab):
    """The peer moves to another namespace, which takes the link down, and comes back."""
    mpfwd = over_veth(lab)
    other = subprocess.Popen(["unshare", "--net", "sleep", "60"], preexec_fn=running.die_with_parent)  # pylint: disable=R1732
    try:
        home = os.readlink("/proc/self/ns/net")
        mpfwd.wait_for(lambda: os.readlink(f"/proc/{other.pid}/ns/net") != home, "there is another namespace")
        ip("link", "set", "far", "netns", str(other.pid))
        time.sleep(1)
        back = ["nsenter", "--net", "--target", str(other.pid), "ip", "link", "set", "far", "netns", str(os.getpid())]
        subprocess.run(back, check=True)
        ip("link", "set", "far", "up")
        wait_until_it_grows(mpfwd, "far", "packets come out again")
        report = mpfwd.finish()
    finally:
        other.kill()
        other.wait()
        ip("link", "del", "near")
    return "away for 1 s; forwards again without a restart", lost(report)


def peer_deleted(lab):
    """Deleting one end deletes both: the interface under the port is gone, and a new one of the same name is another interface."""
    mpfwd = over_veth(lab)
    ip("link", "del", "far")
    time.sleep(1)
    ip("link", "add", "near", "type", "veth", "peer", "name", "far")
    for interface in ("near", "far"):
        ip("link", "set", interface, "up")
    try:
        time.sleep(1)
        again = received("far") > 0
        expect(mpfwd.is_running(), f"mpfwd is gone: {mpfwd.last_lines()}")
        report = mpfwd.finish()
    finally:
        ip("link", "del", "near")
    how = "forwards again" if again else "the driver's socket stays with the interface that is gone: that port needs a restart"
    return f"goes on; {how}", lost(report)


def memif_peer_killed(lab):
    """A flooding testpmd is killed, and another takes its place."""
    times = 5
    cpus = running.cpus()
    memif = f"socket={lab.folder}/{lab.count}.sock,socket-abstract=no"
    eal = ["--lcores", f"0@{cpus[-1]}", "--vdev", f"net_memif0,role=server,{memif}"]
    mpfwd = Mpfwd(lab, eal, ["--idle", "yield"]).wait_until_ready()

    def peer():
        started = Testpmd(lab, cpus[0], ["--vdev", f"net_memif0,role=client,{memif}"], ["--forward-mode=flowgen"])
        mpfwd.wait_for_rate("tx", lambda pps: pps > 0, "it forwards")
        return started

    for kills in range(times):
        one = peer()
        one.kill()
        try:
            mpfwd.wait_for_rate("rx", lambda pps: pps == 0, "nothing comes from a killed peer")
        except Failed:
            if mpfwd.process.poll() != -signal.SIGSEGV:
                raise
            raise Failed(f"mpfwd died of SIGSEGV at kill {kills + 1} of {times}: DPDK's net_memif unmaps the rings of a peer that has gone, "
                         "even under an lcore that is in them") from None
    peer().kill()
    report = mpfwd.finish()
    return f"killed {times} times, forwards with the next one each time", lost(report)


def stopped_and_continued(lab):
    """SIGSTOP for a second, while packets stay due."""
    eal = [*running.lcores(2, running.cpus()), *QUIET]
    own = ["--mode", "hybrid", "--pools", "1:1", "--work", "spin:cheap=200ns,expensive=20us,p=0.001", "--source", "open-loop:rate=200k"]
    mpfwd = Mpfwd(lab, eal, own).wait_until_it_forwards()
    mpfwd.send(signal.SIGSTOP)
    time.sleep(1)
    mpfwd.send(signal.SIGCONT)
    mpfwd.wait_until_it_forwards()
    report = mpfwd.finish()
    expect(report["source"]["missed_pkts"] > 0, "nothing was missed while mpfwd was stopped")
    return f"stopped for 1 s while packets were due; forwards again, {report['source']['missed_pkts']:,} missed", lost(report)


class Thread:
    """One thread of a process, held by ptrace while the others run, as when the host takes a CPU away."""

    SEIZE, INTERRUPT, DETACH = 0x4206, 0x4207, 17
    WALL = 0x40000000

    def __init__(self, process, lcore):
        names = {int(task.name): (task / "comm").read_text().strip() for task in Path(f"/proc/{process}/task").iterdir()}
        # EAL's names differ by version: rte-worker-1, dpdk-worker1. The main lcore is the process's first thread.
        workers = (number for number, name in names.items() if re.fullmatch(rf".*worker-?{lcore}", name))
        self.number = process if lcore == 0 else next(workers, None)
        expect(self.number is not None, f"no thread is lcore {lcore}, only {', '.join(names.values())}")
        self.libc = ctypes.CDLL(None, use_errno=True)

    def ptrace(self, request):
        if self.libc.ptrace(request, self.number, None, None) != 0:
            raise Failed(f"ptrace: {os.strerror(ctypes.get_errno())}")

    def hold(self, seconds):
        self.ptrace(self.SEIZE)
        self.ptrace(self.INTERRUPT)
        os.waitpid(self.number, self.WALL)
        time.sleep(seconds)
        self.ptrace(self.DETACH)


def stuck_lcore(lab):
    """A polling lcore is held for a second, several times. Most packets arrive on its queue, so it is mostly held within a packet, and the
    others can take its queue over. Held within a poll it has the lease, and they cannot."""
    holds, pps, share = 3, 6000, 0.8
    own = ["--mode", "hybrid", "--pools", "2:1", "--idle", "yield", "--source", f"open-loop:rate={pps},skew=1:8:1"]
    own += ["--work", "spin:cheap=100us,expensive=200us,p=0.05,known=no"]
    mpfwd = Mpfwd(lab, [*running.lcores(3, running.cpus()), *QUIET], own).wait_until_it_forwards()
    thread = Thread(mpfwd.process.pid, 1)
    for _ in range(holds):
        thread.hold(1)
        mpfwd.wait_until_it_forwards()
    report = mpfwd.finish()
    missed = sum(queue["missed_pkts"] for queue in report["source"]["queues"] if queue["queue"] == 1)
    taken_over = sum(lcore["rescue"]["takeover_pkts"] for lcore in report["lcores"] if lcore["lcore"] != 1)
    due = f"{holds * pps * share:,.0f} packets were due on its queue"
    return f"held {holds} times for 1 s, in which {due}: {missed:,} missed; others polled {taken_over:,}", lost(report)


def ended_at_random(lab):
    """SIGTERM at a random moment from the start of the process on."""
    draw, by_itself, before, gone = random.Random(6), 0, 0, {}
    for _ in range(ENDS):
        own = ["--mode", "hybrid", "--pools", "1:1", "--order", "none", "--work", "spin:cheap=0ns,expensive=100us,p=0.0001"]
        mpfwd = Mpfwd(lab, [*running.lcores(2, running.cpus()), *FLOOD], own)
        time.sleep(draw.uniform(0, 0.8))
        began = " lcore " in mpfwd.output()
        code = mpfwd.end()
        if code == -signal.SIGTERM and not began:
            before += 1
            continue
        report = mpfwd.finish(None)
        by_itself += 1
        for cause, pkts in lost(report).items():
            gone[cause] = gone.get(cause, 0) + pkts
    expect(by_itself > 0, "no run had begun to forward")
    return f"{ENDS} times: {by_itself} ended with exit code 0, {before} before forwarding began", gone


def started_after_kill(lab):
    """A killed process leaves its hugepage files; the next one has the same prefix."""
    prefix = f"{lab.name}-again"
    eal = [*running.lcores(1, running.cpus()), *FLOOD]
    first = Mpfwd(lab, eal, [], memory=[], prefix=prefix).wait_until_it_forwards()
    first.kill()
    stale = len(list(HUGEPAGES.glob(f"{prefix}*")))
    expect(stale > 0, "the first run left no hugepages")
    second = Mpfwd(lab, eal, [], memory=[], prefix=prefix).wait_until_it_forwards()
    report = second.finish()
    left = list(HUGEPAGES.glob(f"{prefix}*"))
    expect(not left, f"{len(left)} hugepages are left")
    return f"{stale} hugepages of the killed one taken back, none left", lost(report)


ALL = {
    "shard-full": shard_full,
    "mempool-exhausted": mempool_exhausted,
    "port-stopped": port_stopped,
    "veth-peer-moved": peer_moved,
    "veth-peer-deleted": peer_deleted,
    "memif-peer-killed": memif_peer_killed,
    "sigstop": stopped_and_continued,
    "stuck-lcore": stuck_lcore,
    "sigterm": ended_at_random,
    "killed-and-started": started_after_kill,
}
