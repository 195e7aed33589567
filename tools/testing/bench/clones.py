# SPDX-License-Identifier: GPL-2.0-only
"""Many thin clones of one base: what each takes, and all of them read at once."""

import functools
import os
import guest
from cases import FAST, META, Case
from guest import CLUSTER, MIB, SECTOR, Counts, Device, Disk

NUMBER = 100
SPAN = 128 * MIB                # of the base
PART = 2                        # MiB of the disk for each clone
READS = 400                     # of each, when all read at once
BASE_CLUSTER = 4096             # of a base that has tables: 64 blocks of them
OVERLAY_CLUSTER = 16 << 10


class Crowd(guest.Stack):
    """So many clones, each with a part of the first disk; the last one has the base."""

    def start(self):
        self.prepare()
        before = guest.free_kib()
        made = [self.make(number) for number in range(NUMBER)]
        self.kib = (before - guest.free_kib()) / NUMBER
        self.paths = [device.path for device in made]
        for device in made:
            self.undo.callback(device.remove)

    def device(self, name, kind, arguments, sectors=SPAN // SECTOR):
        """One that is removed when all that came later has been."""
        device = Device(name, (sectors, kind, arguments))
        self.undo.callback(device.remove)
        return device

    def parts(self):
        """The path of a part for each."""
        sectors = PART * MIB // SECTOR
        return [self.device("part%d" % number, "linear", "%s %d" % (
            self.lower[0], number * sectors), sectors).path for number in range(NUMBER)]

    def prepare(self):
        """What is not counted."""

    def make(self, number):
        """A clone."""
        raise NotImplementedError


class LinearCrowd(Crowd):
    """The base itself, by so many names."""

    name = "dm-linear"

    def make(self, number):
        return Device("linear%d" % number, (SPAN // SECTOR, "linear", self.lower[-1] + " 0"))


class QedCrowd(Crowd):
    """Images over an image."""

    name = "dm-qed"

    @staticmethod
    def create(cluster, *options):
        """What qemu-img makes."""
        path = guest.SCRATCH + "/image.qed"
        guest.run("qemu-img", "create", "-q", "-f", "qed", *options, "-o", "cluster_size=%d" %
                  cluster, path, str(SPAN))
        with open(path, "rb") as file:
            content = file.read()
        os.unlink(path)
        return content.ljust(-(-len(content) // 4096) * 4096, b"\0")

    def prepare(self):
        base = self.lower[-1]
        guest.write_direct(base, self.create(BASE_CLUSTER))
        full = Device("full", (SPAN // SECTOR, "qed", base))
        guest.write_zeroes(full.path, SPAN // MIB)
        full.remove()
        self.images = self.parts()
        fresh = self.create(OVERLAY_CLUSTER, "-u", "-b", base, "-F", "qed")
        for path in self.images:
            guest.write_direct(path, fresh)

    def make(self, number):
        return Device("qed%d" % number, (SPAN // SECTOR, "qed", "%s 2 layer %s" % (
            self.images[number], self.lower[-1])))


class SnapshotCrowd(Crowd):
    """By dm-snapshot, persistent, with chunks like clusters."""

    name = "dm-snapshot"

    def prepare(self):
        guest.run("modprobe", "dm-snapshot")
        self.stores = self.parts()

    def make(self, number):
        return Device("snapshot%d" % number, (SPAN // SECTOR, "snapshot", "%s %s P %d" % (
            self.lower[-1], self.stores[number], CLUSTER // SECTOR)))


class ThinCrowd(Crowd):
    """Thin volumes with an external origin."""

    name = "dm-thin"
    needs_meta = True

    def prepare(self):
        guest.run("modprobe", "dm-thin-pool")
        guest.write_zeroes(self.lower[1], 1)
        self.pool = self.device("pool", "thin-pool", "%s %s %d 0" % (
            self.lower[1], self.lower[0], CLUSTER // SECTOR),
            NUMBER * PART * MIB // SECTOR).path
        for number in range(NUMBER):
            guest.run("dmsetup", "message", "pool", "0", "create_thin %d" % number)

    def make(self, number):
        return Device("thin%d" % number, (SPAN // SECTOR, "thin", "%s %d %s" % (
            self.pool, number, self.lower[-1])))


def storm(crowd):
    """All of them read at random places, and no table is known yet."""
    stat = ["/sys/block/%s/stat" % os.path.basename(crowd.lower[-1])]
    before = Counts.read(stat)
    jobs = guest.fio(*({"filename": path, "randseed": number}
                       for number, path in enumerate(crowd.paths)),
                     together=True, ioengine="libaio", rw="randread", number_ios=READS,
                     size=SPAN, thread=1)
    operations = sum(job["read"]["total_ios"] for job in jobs)
    return {
        "clones": len(crowd.paths),
        "kib": crowd.kib,
        "operations": operations,
        "iops": 1000 * operations / max(job["read"]["runtime"] for job in jobs),
        "slowest": max(job["read"]["lat_ns"]["mean"] for job in jobs),
        "base": Counts.read(stat).since(before),
    }


class Clones(Case):
    """One kind of clones after the other."""

    name = "%d clones of one base" % NUMBER
    kinds = (LinearCrowd, QedCrowd, SnapshotCrowd, ThinCrowd)
    rounds = 1

    def round(self, number):
        results = {}
        disk = functools.partial(Disk, latency=FAST)
        for kind in self.kinds:
            disks = [disk("clones", NUMBER * PART)]
            if kind.needs_meta:
                disks.append(disk("meta", META))
            disks.append(disk("base", SPAN // MIB + 16))
            crowd = kind(disks, SPAN)
            results[kind.name] = storm(crowd)
            crowd.stop()
        return {self.name: results}


CASES = {"clones": Clones()}
