#!/usr/bin/env python3
"""Tests vagrant/provision.sh and mpfwd on NICs inside a QEMU guest. Known frames are sent from the host, and checked on return.

provision.sh must refuse what it should, do its work, and do nothing twice. mpfwd then forwards between the two e1000e and between the
two virtio-net NICs, and again after a reboot without new setup. The guest has a NUMA node per CPU; one
NIC's cable is unplugged and plugged in meanwhile. A second guest has an IOMMU and uses vfio-pci. Making the guest's disk,
which is kept, needs root.
"""

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from guest import E1000E, VIRTIO, Guest, accelerator, cross  # noqa: E402
from running import ROOT, Failed, Lab, Program, released_mpfwd  # noqa: E402

HERE = Path(__file__).resolve().parent
HUGEPAGES = 128
# Emulation is slow.
PATIENCE_S = 60
IMAGE_PATIENCE_S = 1800
PAIRS = [("e1000e", E1000E, (0, 1)), ("virtio-net", VIRTIO, (2, 3))]
PROVISION = f"/root/provision.sh --hugepages {HUGEPAGES}"


class Step:
    """Prints what is being done, and then how long it took."""

    def __call__(self, text, job, *words):
        begun, on_terminal = time.monotonic(), sys.stdout.isatty()
        if on_terminal:
            print(f"vm: {text} …", end="", flush=True)
        result = job(*words)
        seconds = f"{time.monotonic() - begun:.0f} s"
        clear = "\r\033[K" if on_terminal else ""
        print(f"{clear}vm: {text}: {seconds}" + (f", {result}" if isinstance(result, str) else ""), flush=True)
        return result


def expect(holds, why):
    if not holds:
        raise Failed(why)


def drivers(guest, addresses):
    """The driver of each of these NICs."""
    return [guest.must(f"basename $(readlink /sys/bus/pci/devices/{address}/driver)") for address in addresses]


def interface_of(guest, address):
    return guest.must(f"cd /sys/bus/pci/devices/{address} && ls -d net/* virtio*/net/* 2>/dev/null | head -n 1 | xargs basename")


def refusals(guest):
    """provision.sh refuses to run without root and to bind a NIC in use, and a refusal changes nothing."""
    before = drivers(guest, E1000E + VIRTIO)
    code, said = guest.run("install -m 755 /root/provision.sh /tmp && setpriv --reuid nobody /tmp/provision.sh --bind all")
    expect(code == 2 and "needs root" in said, f"without root it ended with {code}: {said}")
    for address, wrong in [("0000:00:1f.0", "not a network controller"), ("0000:55:00.0", "no such PCI device")]:
        code, said = guest.run(f"{PROVISION} --bind {address}")
        expect(code == 2 and wrong in said, f"--bind {address} ended with {code}: {said}")
    interface = interface_of(guest, VIRTIO[1])
    uses = [
        (f"ip addr add 192.0.2.1/24 dev {interface}", "holds an address", f"ip addr flush dev {interface}"),
        (f"ip link set {interface} up; ip route add default dev {interface}", "has a default route", f"ip link set {interface} down"),
        (f"ip link add br0 type bridge; ip link set {interface} master br0", "is part of br0", "ip link del br0"),
    ]
    for use, why, end_of_use in uses:
        guest.must(use)
        code, said = guest.run(f"{PROVISION} --bind {E1000E[0]} --bind {VIRTIO[1]}")
        expect(code == 2 and why in said, f"for a NIC that {why} it ended with {code}: {said}")
        guest.must(end_of_use)
    after = drivers(guest, E1000E + VIRTIO)
    expect(before == after, f"drivers changed in spite of the refusal, from {before} to {after}")
    expect(guest.must("cat /proc/sys/vm/nr_hugepages") == "0", "hugepages are reserved in spite of the refusal")


def provision(guest, driver):
    """Binds all NICs but one with an address; then all; a third call has nothing left to do."""
    interface = interface_of(guest, VIRTIO[1])
    guest.must(f"ip addr add 192.0.2.1/24 dev {interface}")
    said = guest.must(f"{PROVISION} --bind all")
    expect("packages: all are there" in said, f"the image lacks packages: {said}")
    bound = drivers(guest, E1000E + VIRTIO)
    expect(bound == [driver] * 3 + ["virtio-pci"], f"with an address on the last NIC, --bind all ended with {bound}: {said}")
    guest.must(f"ip addr flush dev {interface}")
    guest.must(f"{PROVISION} --bind all")
    said = guest.must(f"{PROVISION} --bind all")
    expect("as root" not in said, f"the third call still did something: {said}")
    is_set_up(guest, driver)


def is_set_up(guest, driver):
    bound = drivers(guest, E1000E + VIRTIO)
    expect(bound == [driver] * 4, f"NICs are bound to {bound}, not {driver}")
    reserved = guest.must("cat /proc/sys/vm/nr_hugepages")
    expect(reserved == str(HUGEPAGES), f"{reserved} hugepages are reserved, not {HUGEPAGES}")
    guest.must("grep -q ' /dev/hugepages hugetlbfs ' /proc/mounts")


def forward(guest, nics, nths, options):
    """Runs mpfwd in the guest between two NICs; returns the summary of the frames."""
    allow = " ".join(f"-a {nic}" for nic in nics)
    mpfwd = f"/root/mpfwd -l 0-1 {allow} -- --pools 1:1 --promiscuous --idle yield"
    guest.must(f"(sh -c 'echo $$ >/run/mpfwd.pid; exec {mpfwd}'; echo exit code $?) >/run/mpfwd.log 2>&1 &")
    wait_for_log(guest, "^  lcore ", "set up its ports")
    came = cross(guest, nths, options.frames, PATIENCE_S)
    guest.set_link(nths[1], False)
    wait_for_log(guest, "port 1 .*link down at ", "seen the link down")
    guest.set_link(nths[1], True)
    wait_for_log(guest, "(?s)port 1 .*link down at .*port 1 .*link up at ", "seen the link up again")
    guest.must("kill -TERM $(cat /run/mpfwd.pid)")
    said = wait_for_log(guest, "^exit code 0$", "ended")
    for node in (0, 1):
        expect(re.search(rf"^  lcore {node} .* socket {node} ", said, re.MULTILINE), f"lcore {node} is not on socket {node}: {said[:800]}")
    expect(re.search("^port 1 .*: link changes [23], last up at ", said, re.MULTILINE), f"the changes of the link are not reported: {said[-800:]}")
    counts = re.search(r"^received ([\d,]+) .*sent ([\d,]+) .*dropped ([\d,]+)", said, re.MULTILINE)
    expect(counts is not None and "\nconserved: " in said, f"mpfwd does not say that packets were conserved: {said[-800:]}")
    received, sent, dropped = (int(count.replace(",", "")) for count in counts.groups())
    expect(received == sent >= 2 * options.frames and dropped == 0, f"of 2 × {options.frames} frames mpfwd counted: {counts[0]}")
    return came


def wait_for_log(guest, pattern, what):
    """Waits for a matching line of mpfwd's output; returns the output."""
    end = time.monotonic() + PATIENCE_S
    while not re.search(pattern, said := guest.must("cat /run/mpfwd.log"), re.MULTILINE):
        expect("\nexit code " not in said, f"mpfwd ended before it had {what}: {said[-800:]}")
        expect(time.monotonic() < end, f"mpfwd has not {what} after {PATIENCE_S} s: {said[-800:]}")
        time.sleep(0.2)
    return said


# ---- Guests ----


def boot(lab, machine, iommu):
    guest = Guest(lab, *machine, iommu)
    guest.boot = guest.wait_until_up()
    guest.must("tar -xf /dev/vdb -C /root")
    return guest


def reboot(guest, driver):
    """The setup must survive the reboot."""
    expect(guest.reboot() != guest.boot, "the guest did not reboot")
    is_set_up(guest, driver)


def without_iommu(lab, step, machine, options):
    driver = "uio_pci_generic"
    guest = step("a guest boots", boot, lab, machine, False)
    step("provision.sh refuses what it should", refusals, guest)
    step(f"provision.sh reserves hugepages, and binds the NICs to {driver}", provision, guest, driver)
    for name, nics, nths in PAIRS:
        step(f"mpfwd between two {name}", forward, guest, nics, nths, options)
    step("it reboots; hugepages and drivers are as before", reboot, guest, driver)
    for name, nics, nths in PAIRS:
        step(f"mpfwd between two {name}", forward, guest, nics, nths, options)
    step("it powers off", guest.power_off)


def with_iommu(lab, step, machine, options):
    driver = "vfio-pci"
    guest = step("a guest with an IOMMU boots", boot, lab, machine, True)
    step(f"provision.sh reserves hugepages, and binds the NICs to {driver}", provision, guest, driver)
    for name, nics, nths in PAIRS:
        step(f"mpfwd between two {name}", forward, guest, nics, nths, options)
    step("it powers off", guest.power_off)


# ---- Disks ----


def kept_image(options, mpfwd):
    """The folder of the guest's disk, named after a hash of everything that it is made from."""
    made_of = [(HERE / name).read_bytes() for name in ("image.sh", "agent.sh", "agent.service")]
    made_of += [Path("/etc/debian_version").read_bytes(), subprocess.check_output([HERE / "image.sh", "--packages", mpfwd])]
    return options.cache / f"vm-{hashlib.sha256(b''.join(made_of)).hexdigest()[:12]}"


def make_image(lab, folder, mpfwd):
    """Makes the guest's disk, and removes those of other hashes."""
    maker = Program(lab, "image", [HERE / "image.sh", folder, mpfwd])
    try:
        if maker.end(None, IMAGE_PATIENCE_S) != 0:
            raise Failed(f"the guest's disk could not be made: {maker.last_lines()}")
    finally:
        maker.kill()
        for other in folder.parent.glob("vm-*"):
            if other != folder or not (other / "complete").exists():
                shutil.rmtree(other)


def make_payload(lab, mpfwd):
    """A tar archive, which the guest sees as a disk."""
    payload = lab.folder / "payload.tar"
    with tarfile.open(payload, "w") as archive:
        archive.add(mpfwd, "mpfwd")
        archive.add(ROOT / "vagrant/provision.sh", "provision.sh")
    return payload


def parse():
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mpfwd"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=1000, help="how many each way between two NICs (1000)")
    parser.add_argument("--cache", type=Path, default=cache, metavar="FOLDER", help=f"where the guest's disk is kept ({cache})")
    parser.add_argument("--fresh", action="store_true", help="rebuild the guest's disk")
    return parser.parse_args()


def main():
    options = parse()
    if os.geteuid() != 0:
        sys.exit("vm: debootstrap needs root to make the guest's disk: use sudo")
    mpfwd = released_mpfwd()
    with Lab("vm") as lab:
        step, begun = Step(), time.monotonic()
        try:
            image = kept_image(options, mpfwd)
            if options.fresh or not (image / "complete").exists():
                step(f"making the guest's disk in {image}: a few minutes, once", make_image, lab, image, mpfwd)
            accel = step("checking whether KVM works", accelerator, lab, image)
            machine = accel, image, make_payload(lab, mpfwd)
            without_iommu(lab, step, machine, options)
            with_iommu(lab, step, machine, options)
            left = lab.left()
            expect(not left, f"left behind: {', '.join(left)}")
        except Failed as failure:
            sys.exit(f"vm: failed: {failure}")
    print(f"vm: passed after {time.monotonic() - begun:.0f} s")


if __name__ == "__main__":
    main()
