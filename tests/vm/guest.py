"""A Debian guest in QEMU, driven through its serial port. It has two e1000e and two virtio-net NICs, no network, and a Unix socket on
the host for each NIC. For vm.py."""

import os
import re
import select
import socket
import subprocess
import sys
import time
from pathlib import Path

from running import Failed, Program

# Niced: nothing here depends on speed.
QEMU = ["nice", "-n", "5", "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-machine", "q35", "-cpu", "max"]
KVM, TCG = "kvm,kernel-irqchip=split", "tcg,thread=multi"
KVM_PATIENCE_S = 20
# An emulated boot takes half a minute, on a busy machine several times as much.
BOOT_PATIENCE_S = 300
COMMAND_PATIENCE_S = 120
MEMORY_MIB = 1024
# PCI addresses, and the arguments of QEMU's devices behind an IOMMU.
E1000E, VIRTIO = ["0000:00:10.0", "0000:00:11.0"], ["0000:00:12.0", "0000:00:13.0"]
MODELS = [("e1000e,romfile=", "")] * 2 + [("virtio-net-pci,romfile=", ",iommu_platform=on,disable-legacy=on")] * 2


def accelerator(lab, image):
    """KVM if a kernel boots with it up to its missing disk, else TCG: on some machines /dev/kvm exists and does not work."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return TCG
    command = [*QEMU, "-accel", KVM, "-m", "256", "-no-reboot", "-kernel", image / "vmlinuz", "-append", "panic=-1"]
    probe = Program(lab, "kvm", command)
    try:
        return KVM if probe.end(None, KVM_PATIENCE_S) == 0 else TCG
    except Failed:
        return TCG
    finally:
        probe.kill()


class Guest(Program):
    """A guest on a snapshot of its disk: writes survive a reboot, and are gone with the guest."""

    def __init__(self, lab, accel, image, payload, iommu):
        self.nth = lab.next_name("guest")
        self.folder, self.console = lab.folder, lab.folder / f"{self.nth}-console.log"
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(self.path("agent")))
        listener.listen(1)
        super().__init__(lab, "qemu", self.qemu(accel, image, payload, iommu))
        listener.settimeout(60)
        self.agent, self.heard = listener.accept()[0], b""
        listener.close()

    def path(self, what):
        return self.folder / f"{self.nth}-{what}"

    def qemu(self, accel, image, payload, iommu):
        command = [*QEMU, "-accel", accel, "-smp", "2", "-m", str(MEMORY_MIB), "-kernel", image / "vmlinuz", "-initrd", image / "initrd"]
        command += ["-append", "root=/dev/vda rw console=ttyS0 mitigations=off" + (" intel_iommu=on" if iommu else "")]
        # QEMU keeps the disk's snapshot in an unlinked file in TMPDIR.
        command += ["-drive", f"file={image / 'disk.ext4'},format=raw,if=virtio,snapshot=on"]
        command += ["-drive", f"file={payload},format=raw,if=virtio,readonly=on"]
        command += ["-serial", f"file:{self.console}", "-chardev", f"socket,id=agent,path={self.path('agent')}", "-serial", "chardev:agent"]
        # A NUMA node per CPU.
        for node in (0, 1):
            command += ["-object", f"memory-backend-ram,id=memory{node},size={MEMORY_MIB // 2}M"]
            command += ["-numa", f"node,nodeid={node},cpus={node},memdev=memory{node}"]
        command += ["-monitor", f"unix:{self.path('monitor')},server=on,wait=off"]
        command += ["-device", "intel-iommu,intremap=on"] if iommu else []
        for nth, (model, behind_iommu) in enumerate(MODELS):
            here, there = self.cable(nth)
            command += ["-netdev", f"dgram,id=net{nth},local.type=unix,local.path={there},remote.type=unix,remote.path={here}"]
            address = f"addr=0x{0x10 + nth:x},netdev=net{nth},mac=02:00:00:00:01:0{nth}"
            command += ["-device", f"{model},{address}{behind_iommu if iommu else ''}"]
        return command

    def set_link(self, nth, is_up):
        """Plugs the cable of a NIC in or out."""
        with socket.socket(socket.AF_UNIX) as monitor:
            monitor.settimeout(60)
            monitor.connect(str(self.path("monitor")))
            monitor.sendall(f"set_link net{nth} {'on' if is_up else 'off'}\n".encode())
            said = b""
            while said.count(b"(qemu)") < 2:
                said += monitor.recv(4096)

    def cable(self, nth):
        """The addresses of a NIC's sockets: ours and QEMU's."""
        return self.path(f"here{nth}"), self.path(f"there{nth}")

    def last_lines(self):
        console = self.console.read_text(errors="replace").splitlines() if self.console.exists() else []
        return " | ".join([super().last_lines(), *console[-5:]])

    def hear(self, pattern, what, patience_s):
        """The agent's output up to a matching line, and the match."""
        end = time.monotonic() + patience_s
        while not (found := re.search(pattern, self.heard, re.MULTILINE)):
            if not self.is_running():
                raise Failed(f"QEMU ended with {self.process.returncode} before {what}: {self.last_lines()}")
            if time.monotonic() > end:
                raise Failed(f"{what}: not within {patience_s} s: {self.heard[-500:].decode(errors='replace')} | {self.last_lines()}")
            if select.select([self.agent], [], [], 0.2)[0]:
                self.heard += self.agent.recv(65536)
        before, self.heard = self.heard[: found.start()], self.heard[found.end() :]
        return before.decode(errors="replace").strip(), found

    def wait_until_up(self):
        """The id of this boot."""
        return self.hear(rb"^@boot (\S+)\n", "the guest is up", BOOT_PATIENCE_S)[1][1].decode()

    def run(self, command, patience_s=COMMAND_PATIENCE_S):
        """Runs a line of shell; returns its exit code and output."""
        self.agent.sendall(command.encode() + b"\n")
        output, found = self.hear(rb"^@code (\d+)\n", f"`{command}` ended", patience_s)
        return int(found[1]), output

    def must(self, command, patience_s=COMMAND_PATIENCE_S):
        """Runs a line of shell that must succeed; returns its output."""
        code, output = self.run(command, patience_s)
        if code != 0:
            raise Failed(f"`{command}` ended with {code}: {output[-800:]}")
        return output

    def reboot(self):
        self.agent.sendall(b"reboot\n")
        return self.wait_until_up()

    def power_off(self):
        self.agent.sendall(b"poweroff\n")
        code = self.end(None)
        if code != 0:
            raise Failed(f"QEMU ended with {code}: {self.last_lines()}")


def cross(guest, nths, frames, patience_s):
    """Sends known frames both ways between two NICs; returns frames.py's summary."""
    ends = []
    for nth in nths:
        here, there = guest.cable(nth)
        here.unlink(missing_ok=True)
        ends.append(f"unix:{here}={there}")
    script = Path(__file__).resolve().parents[1] / "smoke/frames.py"
    command = [sys.executable, script, "cross", *ends, "--frames", str(frames), "--patience", str(patience_s)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)
    if done.returncode != 0:
        raise Failed(done.stderr.strip().splitlines()[-1])
    return done.stdout.strip()
