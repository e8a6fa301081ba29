#!/usr/bin/env python3
"""Known frames: made, sent, and checked byte for byte at the other end. Needs nothing but Python.

    frames.py cross LEFT RIGHT     both ways between two ends, or back to LEFT where both are the same; an end is an interface, or
                                   the two addresses of a Unix socket of datagrams, here and there: unix:HERE=THERE
    frames.py write FILE           into a capture
    frames.py same SENT CAME       whether a capture came out as it went in

Ends with 0 and a line of what came, or with 1 and a line of what was wrong.
"""

import argparse
import random
import select
import socket
import struct
import sys
import time

ETHER_TYPE = b"\x88\xb5"  # IEEE 802's for local experiments
PROBE = 2**64 - 1
# From linux/if_packet.h, which Python's socket module does not have.
SOL_PACKET, PACKET_IGNORE_OUTGOING = 263, 23
# Frames in flight per direction: fewer than any queue on the path holds, so none may be lost.
WINDOW = 32


def fail(why):
    sys.exit(f"wrong: {why}")


def frame(direction, number, longest):
    """The frame of that number; the number determines every byte."""
    draw = random.Random(number * 2 + direction)
    length = (60, longest)[number] if number < 2 else draw.randint(60, longest)
    head = b"\x02\0\0\0\0" + bytes([2 - direction]) + b"\x02\0\0\0\0" + bytes([1 + direction])
    head += ETHER_TYPE + struct.pack("!BQ", direction, number)
    return head + draw.randbytes(length - len(head))


def number_of(came):
    """Direction and number, or None for a foreign frame."""
    return struct.unpack("!BQ", came[14:23]) if len(came) >= 23 and came[12:14] == ETHER_TYPE else None


class Direction:
    """One direction: its sender, its receiver, and how far both are."""

    def __init__(self, index, sender, hearer, options):
        self.index, self.sender, self.hearer = index, sender, hearer
        self.count, self.longest = options.frames, options.longest
        self.sent = self.came = 0

    def send_what_is_due(self):
        while self.sent < self.count and self.sent - self.came < WINDOW:
            try:
                self.sender.send(frame(self.index, self.sent, self.longest))
            except (BlockingIOError, OSError) as error:
                if getattr(error, "errno", None) not in (11, 105):  # EAGAIN, ENOBUFS: later
                    raise
                return
            self.sent += 1

    def check(self, came, number):
        if number == PROBE:
            return
        if number != self.came:
            what = "twice or late" if number < self.came else "too early, or those before it are lost"
            fail(f"frame {number} arrived, {self.came} was next: {what}")
        if came != frame(self.index, number, self.longest):
            fail(f"frame {number} arrived with other bytes, {len(came)} of them")
        self.came += 1

    def done(self):
        return self.came == self.count


def open_end(name):
    if name.startswith("unix:"):
        here, there = name.removeprefix("unix:").split("=")
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        sock.bind(here)
        sock.connect(there)
        sock.setblocking(False)
        return sock
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    sock.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    sock.bind((name, 0))
    sock.setblocking(False)
    return sock


def hear(directions, seconds):
    """Frames that arrive within a time: direction, number, bytes. Returns as soon as there are some."""
    sockets = {direction.hearer for direction in directions}
    for sock in select.select(list(sockets), [], [], seconds)[0]:
        for _ in range(WINDOW):
            try:
                came = sock.recv(65536)
            except BlockingIOError:
                break
            head = number_of(came)
            if head is not None:
                direction = next((one for one in directions if one.index == head[0]), None)
                if direction is None or direction.hearer is not sock:
                    fail(f"a frame came back to its sender: {head}")
                yield direction, head[1], came


def probe(direction):
    try:
        direction.sender.send(frame(direction.index, PROBE, 60))
    except BlockingIOError:
        pass  # those before it are on their way still


def wait_for_path(directions, patience_s):
    """Links come up late: sends probes until one has passed in each direction."""
    end, open_ways = time.monotonic() + patience_s, set()
    while len(open_ways) < len(directions):
        if time.monotonic() > end:
            fail(f"nothing arrived within {patience_s} s in {len(directions) - len(open_ways)} of {len(directions)} directions")
        for direction in directions:
            probe(direction)
        open_ways.update(direction.index for direction, _, _ in hear(directions, 0.05))


def cross(options):
    left = open_end(options.left)
    if options.left == options.right:
        directions = [Direction(0, left, left, options)]
    else:
        right = open_end(options.right)
        directions = [Direction(0, left, right, options), Direction(1, right, left, options)]
    wait_for_path(directions, options.patience)
    last = time.monotonic()
    while not all(direction.done() for direction in directions):
        for direction in directions:
            direction.send_what_is_due()
        for direction, number, came in hear(directions, 0.05):
            direction.check(came, number)
            last = time.monotonic()
        if time.monotonic() - last > options.patience:
            fail("; ".join(f"direction {one.index}: {one.came} of {one.sent} frames arrived, then none for {options.patience} s" for one in directions))
    quiet = time.monotonic() + 0.3
    while time.monotonic() < quiet:
        for direction, number, came in hear(directions, 0.1):
            direction.check(came, number)
    ways = "both ways" if len(directions) == 2 else "there and back"
    print(f"{options.frames:,} frames of 60 to {options.longest} bytes {ways}, every byte, in order, none twice")


def capture(file):
    """The frames of a capture in this machine's byte order."""
    with open(file, "rb") as opened:
        content = opened.read()
    at, frames = 24, []
    while at < len(content):
        length = struct.unpack_from("=I", content, at + 8)[0]
        frames.append(content[at + 16 : at + 16 + length])
        at += 16 + length
    return frames


def write_capture(file, frames):
    with open(file, "wb") as opened:
        opened.write(struct.pack("=IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
        for at, one in enumerate(frames):
            opened.write(struct.pack("=IIII", 0, at % 1_000_000, len(one), len(one)) + one)


def same(options):
    sent, came = capture(options.sent), capture(options.came)
    if len(sent) != len(came):
        fail(f"{len(came):,} frames arrived of {len(sent):,}")
    for at, (one, other) in enumerate(zip(sent, came)):
        if one != other:
            fail(f"frame {at} arrived with other bytes, or out of order")
    print(f"{len(sent):,} frames of {min(map(len, sent))} to {max(map(len, sent))} bytes, every byte, in order, none twice")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    of_frames = argparse.ArgumentParser(add_help=False)
    of_frames.add_argument("--frames", type=int, default=5000, help="how many each way (5000)")
    of_frames.add_argument("--longest", type=int, default=1514, help="bytes of the longest, without its checksum (1514)")
    of_frames.add_argument("--patience", type=float, default=10, metavar="SECONDS", help="how long nothing may come (10)")
    commands = parser.add_subparsers(required=True)
    for name, words, job in [
        ("cross", ["left", "right"], cross),
        ("write", ["file"], lambda options: write_capture(options.file, [frame(0, at, options.longest) for at in range(options.frames)])),
        ("same", ["sent", "came"], same),
    ]:
        command = commands.add_parser(name, parents=[of_frames])
        for word in words:
            command.add_argument(word)
        command.set_defaults(job=job)
    options = parser.parse_args()
    options.job(options)


if __name__ == "__main__":
    main()
