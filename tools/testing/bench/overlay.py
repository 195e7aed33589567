# SPDX-License-Identifier: GPL-2.0-only
"""Cases of images over a raw base, beside what else gives a thin clone of one.

What is below is full: nobody knows of any part that it is zero.
"""

import functools
import sys
import guest
from cases import FAST, META, ROOM, Case, measure
from guest import CLUSTER, MIB, SECTOR, Disk

SPAN = 128 * MIB                # of the base
SMALL = 16 << 10                # a cluster over a base
HEAD = 1                        # MiB in which header and tables are


class Split:
    """A disk that keeps its first MiB, and forgets the rest.

    What a copy costs is then what the device costs, and not what the processor takes to move
    bytes to the memory of a disk, which a real one does by itself.
    """

    def __init__(self, name, mib):
        self.head = Disk(name + "h", HEAD, FAST)
        self.rest = Disk(name, mib - HEAD, FAST, memory=False)
        self.parts = [self.head.path, self.rest.path]
        sectors = HEAD * MIB // SECTOR
        guest.run("dmsetup", "create", name, "--table", "0 %d linear %s 0\n%d %d linear %s 0" % (
            sectors, self.head.path, sectors, mib * MIB // SECTOR - sectors, self.rest.path))
        self.path = "/dev/mapper/" + name
        self.mib = mib

    def remove(self):
        """With all that is on it."""
        guest.run("dmsetup", "remove", "--retry", self.path)
        self.rest.remove()
        self.head.remove()


class BaseLinear(guest.Linear):
    """The base itself, mapped."""

    def start(self):
        self.path = self.dm("linear", "0 %d linear %s 0" % (self.size // SECTOR, self.lower[-1]))


class Overlay(guest.Qed):
    """A fresh QED image over the last of its disks."""

    @property
    def options(self):
        """Of the table line."""
        return "2 backing " + self.lower[-1]

    def create(self, path):
        guest.run("qemu-img", "create", "-q", "-f", "qed", "-b", self.lower[-1], "-F", "raw",
                  "-o", "cluster_size=%d,table_size=%d" % (self.cluster, guest.TABLE), path,
                  str(self.size))


class Chain(guest.Qed):
    """A fresh QED image over others, of which the last one has the data: one on each disk.

    All of them have a table, with a cluster behind the data, so that a read looks there.
    """

    name = "dm-qed, chain"
    ROOM = MIB                  # behind the data

    def start(self):
        self.options = ""
        for level in range(len(self.disks) - 1, -1, -1):
            self.add(level)

    def add(self, level):
        """The image on that disk, over those that are there."""
        below = self.lower[level + 1:]
        size = self.size + self.ROOM
        image = guest.SCRATCH + "/layer.qed"
        guest.run("qemu-img", "create", "-q", "-f", "qed",
                  *(["-b", below[0], "-F", "qed"] if below else []), image, str(size))
        with open(image, "rb") as file, open(self.lower[level], "r+b") as disk:
            disk.write(file.read())
        guest.run("blockdev", "--flushbufs", self.lower[level])
        words = " ".join("layer " + path for path in below)
        top = not level
        name = "qed-%d" % level
        guest.run("dmsetup", "create", name, "--table", "0 %d qed %s %d %s" % (
            size // SECTOR, self.lower[level], 2 * len(below), words))
        self.path = "/dev/mapper/" + name
        # behind the data, and the data at the bottom
        guest.run("dd", "if=/dev/zero", "of=" + self.path, "bs=64k", "count=1",
                  "seek=%d" % (self.size // CLUSTER), "oflag=direct,dsync", "conv=notrunc")
        if not below:
            guest.write_zeroes(self.path, self.size // MIB)
        if top:
            self.undo.callback(guest.run, "dmsetup", "remove", "--retry", name)
        else:
            guest.run("dmsetup", "remove", "--retry", name)


class Linears(guest.Stack):
    """So many dm-linear over each other, on the last disk."""

    name = "dm-linear, stacked"

    def start(self):
        self.path = self.lower[-1]
        for level in range(len(self.disks)):
            self.path = self.dm("level%d" % level, "0 %d linear %s 0" % (
                self.size // SECTOR, self.path))


class SmallOverlay(Overlay):
    """... with small clusters."""

    cluster = SMALL


class SmallUnknown(guest.QedUnknown):
    """An image with nothing below, on a disk that is not known to be zero."""

    cluster = SMALL


class Snapshot(guest.Stack):
    """A persistent snapshot, by dm-snapshot, with chunks like our clusters."""

    name = "dm-snapshot"

    def start(self):
        guest.run("modprobe", "dm-snapshot")
        self.path = self.dm("snapshot", "0 %d snapshot %s %s P %d" % (
            self.size // SECTOR, self.lower[-1], self.lower[0], CLUSTER // SECTOR))


class ThinOverlay(guest.Thin):
    """A thin volume with an external origin."""

    def start(self):
        self.origin = self.lower[-1]
        super().start()


class NbdQedOverlay(guest.OnFilesystem):
    """QEMU's own QED, in a file as it must be."""

    name = "qemu-nbd, qed"

    def start(self):
        guest.Nbd.connect(self, "qed", self.make_file(), "-b", self.lower[-1], "-F", "raw")


class NbdQcow2Overlay(guest.Stack):
    """qcow2 on the lower device itself."""

    name = "qemu-nbd, qcow2"

    def start(self):
        guest.Nbd.connect(self, "qcow2", self.lower[0], "-b", self.lower[-1], "-F", "raw")


PEERS = (BaseLinear, Overlay, Snapshot, ThinOverlay, NbdQedOverlay, NbdQcow2Overlay)


def make_stacks(kinds, make_disk):
    """One of each kind, with a base of its own as its last disk."""
    stacks = []
    for number, kind in enumerate(kinds):
        disks = [make_disk("lower%d" % number, SPAN // MIB + ROOM)]
        if kind.needs_meta:
            disks.append(Disk("meta%d" % number, META, FAST))
        disks.append(make_disk("base%d" % number, SPAN // MIB))
        stacks.append(kind(disks, SPAN))
    return stacks


class Reads(Case):
    """Of the base."""

    kinds = PEERS
    loads = {"read of the base, qd %d" % depth: {"rw": "randread", "iodepth": depth, "size": SPAN,
                                                 "io_size": nr * 4096}
             for depth, nr in ((16, 8192), (1, 1000))}

    def round(self, number):
        if not self.stacks:
            self.stacks = make_stacks(self.kinds, functools.partial(Disk, latency=FAST))
        stacks = self.in_turn(number)
        return {
            name: dict(zip((stack.name for stack in stacks),
                           measure(stacks, [[dict(load, runtime=5, filename=stack.path)]
                                            for stack in stacks])))
            for name, load in self.loads.items()}


class Writes(Case):
    """To a fresh image."""

    def __init__(self, name, load, kinds, make_disk, cluster=CLUSTER):
        super().__init__()
        self.name = name
        self.load = load
        self.kinds = kinds
        self.make_disk = make_disk
        self.cluster = cluster

    def jobs(self, stack, seed):
        """A write that sets NEED_CHECK and makes the table, and then those that count."""
        first, *rest = guest.shuffled(range(SPAN // CLUSTER), seed)
        log = "%s/%s.iolog" % (guest.SCRATCH, stack.path.replace("/", "-"))
        guest.write_iolog(log + "-warm", stack.path, [first])
        warm = {"read_iolog": log + "-warm"}
        load = dict(self.load, runtime=5)
        if "clusters" in load:
            guest.write_iolog(log, stack.path, rest[:load.pop("clusters")],
                              load.pop("with_flush", False))
            return [warm, dict(load, read_iolog=log)]
        return [warm, dict(load, filename=stack.path, randseed=seed)]

    def round(self, number):
        self.stacks = make_stacks(self.kinds, self.make_disk)
        stacks = self.in_turn(number)
        results = measure(stacks, [self.jobs(stack, number) for stack in stacks])
        if any(result["operations"] == 0 for result in results):
            sys.exit(self.name + ": nothing was written")
        named = dict(zip((stack.name for stack in stacks), results))
        self.stop()
        return {self.name: named}


AT_RANDOM = {"clusters": 2000, "iodepth": 16}
WITH_FLUSH = {"clusters": 400, "iodepth": 1, "with_flush": True}
IN_ORDER = {"rw": "write", "bs": "4k", "iodepth": 16, "size": SPAN // 4}
WHOLE = {"rw": "randwrite", "bs": CLUSTER, "iodepth": 16, "size": SPAN // 2}

# By the name of the load: the least speed, where an image without anything below, on a disk not
# known to be zero, is 1; and the most lower reads and writes per write: each few seconds the header
# is read, too. See the README.
BOUNDS = {
    "over a base, 4 KiB at random, qd 16": (0.667, 1.01, 1.05),
    "over a base, 4 KiB at random, qd 16, clusters of 16 KiB": (0.667, 1.01, 1.05),
    "over a base, 4 KiB in order, qd 16": (0.8, 0.0635, 1.05),
    "over a base, 4 KiB + flush, qd 1": (0.714, 1.01, None),
    "over a base, whole clusters, qd 16": (0.95, 0.01, 1.05),
}


def bounded():
    """The cases with bounds, on disks that forget."""
    loads = dict(zip(BOUNDS, (AT_RANDOM, AT_RANDOM, IN_ORDER, WITH_FLUSH, WHOLE)))
    return {
        "overlay_bound%d" % number: Writes(
            name, load, (SmallUnknown, SmallOverlay) if "16 KiB" in name else
            (guest.QedUnknown, Overlay), Split)
        for number, (name, load) in enumerate(loads.items())}


CASES = {
    "overlay_reads": Reads(),
    "overlay_writes": Writes("write over a base, 4 KiB at random, qd 16", AT_RANDOM, PEERS[1:],
                             functools.partial(Disk, latency=FAST)),
    "overlay_flush": Writes("write over a base + flush, qd 1", WITH_FLUSH, PEERS[1:],
                            functools.partial(Disk, latency=FAST)),
    **bounded(),
}
