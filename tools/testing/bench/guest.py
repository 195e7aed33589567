# SPDX-License-Identifier: GPL-2.0-only
"""Devices to measure and the load to measure them with, in the test machine.

A Stack is what a guest would use: a device over one or more lower devices of
its own, so that the operations of one stack are never counted for another.
"""

import contextlib
import fcntl
import glob
import json
import mmap
import os
import random
import shutil
import struct
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.realpath(__file__))
QEDIMG = os.path.join(HERE, "..", "qedimg", "qedimg.py")
SCRATCH = "/tmp/bench"
MIB = 1 << 20
SECTOR = 512
CLUSTER = 64 << 10              # also dm-thin's block
TABLE = 4                       # clusters
FRESH = 1 + TABLE               # clusters of a fresh image: header and L1 table
BLOCK_CLUSTERS = 512            # that one 4 KiB block of an L2 table maps
NULLB = "/sys/kernel/config/nullb"
BLKDISCARD = 0x1277


def say(text):
    """Progress."""
    with open("/proc/uptime", encoding="ascii") as uptime:
        print("%8.1f  %s" % (float(uptime.read().split()[0]), text), file=sys.stderr, flush=True)


def run(*command, cwd=None):
    """Output of a command that has to succeed."""
    done = subprocess.run(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, check=False)
    if done.returncode:
        sys.exit("%s: status %d:\n%s" % (" ".join(command), done.returncode, done.stdout))
    return done.stdout


def put(path, value):
    """Write an attribute."""
    with open(path, "w", encoding="ascii") as attribute:
        attribute.write(str(value))


def wait_for(what, condition, step=0.05):
    """Until it is true; a minute at most. Looks every step seconds."""
    for _ in range(round(60 / step)):
        if condition():
            return
        time.sleep(step)
    sys.exit("waited in vain for " + what)


def flush(path):
    """Make a device durable, as a guest would."""
    fd = os.open(path, os.O_RDWR)
    os.fsync(fd)
    os.close(fd)


def discard(path, pieces):
    """Seconds until these (offset, length) are discarded, one by one, and flushed."""
    fd = os.open(path, os.O_RDWR)
    start = time.monotonic()
    for piece in pieces:
        fcntl.ioctl(fd, BLKDISCARD, struct.pack("QQ", *piece))
    os.fsync(fd)
    seconds = time.monotonic() - start
    os.close(fd)
    return seconds


# struct dm_ioctl and dm_target_spec, see linux/dm-ioctl.h
DM_HEAD = struct.Struct("=IIIIIIiIIIQ128s129s7x")
DM_SPEC = struct.Struct("=QQiI16s")
DM_CREATE, DM_REMOVE, DM_SUSPEND, DM_LOAD, DM_STATUS = (
    0xc138fd00 + command for command in (3, 4, 6, 9, 12))
DM_SUSPEND_FLAG, DM_NOFLUSH_FLAG = 1 << 1, 1 << 11


def dm_ask(number, name, flags=0, target=None):
    """Ask the kernel itself: dmsetup would take milliseconds to begin. Returns the buffer.

    target: (sectors, kind, arguments) of a table with one line.
    """
    buffer = bytearray(4096)
    DM_HEAD.pack_into(buffer, 0, 4, 0, 0, len(buffer), DM_HEAD.size, 1 if target else 0, 0, flags,
                      0, 0, 0, name.encode(), b"")
    if target:
        sectors, kind, arguments = target
        DM_SPEC.pack_into(buffer, DM_HEAD.size, 0, sectors, 0, 0, kind.encode())
        where = DM_HEAD.size + DM_SPEC.size
        buffer[where:where + len(arguments)] = arguments.encode()
    with open("/dev/mapper/control", "rb") as control:
        fcntl.ioctl(control, number, buffer)
    return buffer


class Device:
    """A device that is made in steps, each of which is one ioctl."""

    def __init__(self, name, target):
        self.name = name
        begun = dm_ask(DM_CREATE, name)
        dev = DM_HEAD.unpack_from(begun)[10]
        # as the kernel packs it for ioctls
        self.path = "/dev/dm-%d" % ((dev & 0xff) | (dev >> 12 & 0xfff00))
        dm_ask(DM_LOAD, name, target=target)
        dm_ask(DM_SUSPEND, name)

    def remove(self):
        """A scan may be going on."""
        dm_ask(DM_REMOVE, self.name)


def dm_pause(name):
    """Seconds from the begin of a suspend to the end of the resume."""
    start = time.monotonic()
    dm_ask(DM_SUSPEND, name, DM_SUSPEND_FLAG)
    dm_ask(DM_SUSPEND, name)
    return time.monotonic() - start


def dm_status(name):
    """The status line of a device-mapper device with one target."""
    buffer = dm_ask(DM_STATUS, name, DM_NOFLUSH_FLAG)
    where = DM_HEAD.unpack_from(buffer)[4]
    start, length, _, _, kind = DM_SPEC.unpack_from(buffer, where)
    text = bytes(buffer[where + DM_SPEC.size:]).split(b"\0")[0]
    return "%d %d %s %s" % (start, length, kind.rstrip(b"\0").decode(), text.decode())


def free_kib():
    """What the kernel has left, when it has given up what it need not keep."""
    run("sync")
    put("/proc/sys/vm/drop_caches", 3)
    with open("/proc/meminfo", encoding="ascii") as meminfo:
        words = dict(line.split(":") for line in meminfo)
    return int(words["MemFree"].split()[0])


def write_direct(path, content):
    """Put this at the begin of a device, past all caches."""
    buffer = mmap.mmap(-1, len(content))
    buffer[:] = content
    fd = os.open(path, os.O_WRONLY | os.O_DIRECT)
    if os.pwrite(fd, buffer, 0) != len(content):
        sys.exit(path + ": written in part")
    os.close(fd)


def write_zeroes(path, mib):
    """Write the start of a device, past all caches.

    null_blk holds a lock while it writes its cache back: seconds for a large one.
    """
    run("dd", "if=/dev/zero", "of=" + path, "bs=1M", "count=%d" % mib, "oflag=direct,dsync",
        "conv=notrunc")


def setup(module):
    """Load what everything here is made of."""
    for name in ("dm-mod", "configfs"):
        run("modprobe", name)
    run("modprobe", "null_blk", "nr_devices=0")
    if not os.path.isdir(NULLB):
        run("mount", "-t", "configfs", "none", "/sys/kernel/config")
    run("insmod", module)
    for path in (SCRATCH, "/run/lock"):     # the latter for qemu-nbd
        os.makedirs(path, exist_ok=True)


class Counts(dict):
    """Operations of a block device, or what came between two such counts."""

    FIELDS = {"reads": 0, "writes": 4, "written": 6, "discards": 11, "discarded": 13,
              "flushes": 15}
    SECTORS = ("written", "discarded")

    @classmethod
    def read(cls, paths):
        """Of several devices together: each line is the stat attribute of one."""
        total = cls.fromkeys(cls.FIELDS, 0)
        for path in paths:
            with open(path, encoding="ascii") as stat:
                lines = [line.split() for line in stat]
            for values in lines:
                for name, field in cls.FIELDS.items():
                    total[name] += int(values[field])
        return total

    def since(self, before):
        """What came since then; sectors as bytes."""
        return {name: (self[name] - before[name]) * (SECTOR if name in self.SECTORS else 1)
                for name in self}


class Disk:
    """A null_blk disk with memory and a volatile cache; without memory, it forgets all.

    Its cache is never full, so nothing is written back before a flush. A
    completion comes latency ns after submission, by a timer, however many are
    under way. Pages are taken from memory when they are written first. A discard
    looks for each logical block of what is discarded, so these are large then.
    """

    def __init__(self, name, mib, latency, discards=False, memory=True):
        self.dir = os.path.join(NULLB, name)
        os.mkdir(self.dir)
        for attribute, value in (("discard", int(discards)),
                                 ("blocksize", 4096 if discards else SECTOR),
                                 ("memory_backed", int(memory)), ("size", mib),
                                 ("cache_size", mib if memory else 0),
                                 ("irqmode", 2), ("completion_nsec", latency),
                                 ("hw_queue_depth", 256), ("submit_queues", os.cpu_count()),
                                 ("power", 1)):
            put(os.path.join(self.dir, attribute), value)
        self.path = "/dev/" + name
        if not os.path.exists("/sys/block/" + name):
            with open(self.dir + "/index", encoding="ascii") as index:
                self.path = "/dev/nullb" + index.read().strip()
        wait_for(self.path, lambda: os.path.exists(self.path))
        put("/sys/block/%s/queue/scheduler" % os.path.basename(self.path), "none")
        self.mib = mib

    def remove(self):
        """With all that is on it."""
        put(self.dir + "/power", 0)
        os.rmdir(self.dir)


class FileDisk:
    """A sparse file in memory under loop, which takes zeroes and discards.

    Operations take as long as they need, one after the other.
    """

    def __init__(self, name, mib, content=None):
        where = SCRATCH + "/memory"
        if not os.path.isdir(where):
            os.mkdir(where)
            run("mount", "-t", "tmpfs", "-o", "size=100%", "none", where)
        run("modprobe", "loop")
        self.file = os.path.join(where, name)
        self.mib = mib
        if content:
            shutil.copyfile(content, self.file)
        with open(self.file, "ab") as file:
            file.truncate(mib * MIB)
        self.path = run("losetup", "--find", "--show", self.file).strip()

    def remove(self):
        """With its content."""
        run("losetup", "-d", self.path)
        os.unlink(self.file)


class RamDisk:
    """A brd disk, warm: every page that will be used has been written."""

    number = 0

    @staticmethod
    def load(disks, mib):
        """Have so many disks of this size."""
        run("modprobe", "brd", "rd_nr=%d" % disks, "rd_size=%d" % (mib << 10))

    def __init__(self, mib):
        self.path = "/dev/ram%d" % RamDisk.number
        RamDisk.number += 1
        self.mib = mib
        write_zeroes(self.path, mib)

    def remove(self):
        """It stays until the machine ends."""


class Stack:
    """A device of size bytes for the guest: name and path are that of the device."""

    name = None
    needs_meta = False          # a second lower device

    def __init__(self, disks, size):
        self.disks = disks
        self.lower = [disk.path for disk in disks]
        self.size = size
        self.path = None
        self.undo = contextlib.ExitStack()
        for disk in disks:
            self.undo.callback(disk.remove)
        self.start()

    def start(self):
        """Make the device."""
        raise NotImplementedError

    def stop(self):
        """Remove everything."""
        self.undo.close()

    def mapped(self):
        """How many guest clusters have a cluster of their own? None if unknown."""
        return None

    def stats(self):
        """Where the kernel counts the operations of the lower devices."""
        parts = [part for disk in self.disks for part in getattr(disk, "parts", [disk.path])]
        return ["/sys/block/%s/stat" % os.path.basename(part) for part in parts]

    def counts(self):
        """Operations of the lower devices so far."""
        return Counts.read(self.stats())

    def dm(self, name, line):
        """Make a device-mapper device from a table with one line."""
        name = "%s-%s" % (name, os.path.basename(self.lower[0]))
        run("dmsetup", "create", name, "--table", line)
        self.undo.callback(run, "dmsetup", "remove", "--retry", name)
        return "/dev/mapper/" + name

    def status(self):
        """The words of the status line."""
        return dm_status(os.path.basename(self.path)).split()

    def reclaim(self):
        """Wait until what has been discarded can be used again."""


class Raw(Stack):
    """The lower device itself."""

    name = "raw"

    def start(self):
        self.path = self.lower[0]


class Linear(Stack):
    """What everything is compared with."""

    name = "dm-linear"

    def start(self):
        self.path = self.dm("linear", "0 %d linear %s 0" % (self.size // SECTOR, self.lower[0]))


class Qed(Stack):
    """A fresh QED image on a zeroed device, which dm-qed is told."""

    name = "dm-qed"
    options = "2 zeroed_from %d" % FRESH
    cluster = CLUSTER

    def create(self, path):
        """Make the image."""
        run(QEDIMG, "create", path, "--size", str(self.size), "--cluster-size",
            str(self.cluster))

    def start(self):
        fresh = SCRATCH + "/fresh.qed"
        self.create(fresh)
        with open(fresh, "rb") as image, open(self.lower[0], "r+b") as disk:
            disk.write(image.read())
        os.unlink(fresh)
        run("blockdev", "--flushbufs", self.lower[0])
        self.path = self.dm("qed", "0 %d qed %s %s" % (self.size // SECTOR, self.lower[0],
                                                       self.options))
        # the scan in the background
        wait_for("the scan", lambda: self.mapped() is not None)

    def mapped(self):
        count = self.status()[5].split("/")[0]
        return None if count == "-" else int(count)

    def is_marked(self):
        """Is NEED_CHECK set?"""
        return self.status()[11] == "needs_check"

    def reclaim(self):
        wait_for("the reclaim", lambda: self.status()[12].split("/")[2] == "0", 0.001)


class QedUnknown(Qed):
    """A fresh QED image on a device that is not known to be zeroed."""

    name = "dm-qed, not zeroed"
    options = ""


class QedFull(Qed):
    """An image that is on the disk already."""

    def start(self):
        self.path = self.dm("qed", "0 %d qed %s" % (self.size // SECTOR, self.lower[0]))


class Thin(Stack):
    """dm-thin with 64 KiB blocks, which it zeroes before use as is its default."""

    name = "dm-thin"
    needs_meta = True
    options = ""
    is_new = True
    origin = ""

    def start(self):
        run("modprobe", "dm-thin-pool")
        data, meta = self.lower[:2]
        if self.is_new:
            write_zeroes(meta, 1)
        pool = self.dm("pool", "0 %d thin-pool %s %s %d 0 %s" % (
            self.disks[0].mib * MIB // SECTOR, meta, data, CLUSTER // SECTOR, self.options))
        if self.is_new:
            run("dmsetup", "message", pool, "0", "create_thin 0")
        self.path = self.dm("thin", "0 %d thin %s 0 %s" % (self.size // SECTOR, pool,
                                                           self.origin))

    def mapped(self):
        flush(self.path)
        return int(self.status()[3]) * SECTOR // CLUSTER


class ThinUnzeroed(Thin):
    """dm-thin that writes to its blocks no more than is written to it."""

    options = "1 skip_block_zeroing"


class ThinFull(Thin):
    """dm-thin whose metadata is on its disk already."""

    is_new = False


class OnFilesystem(Stack):
    """Has a file of its own on ext4."""

    def make_file(self):
        """The path of a file to be."""
        where = "%s/%s" % (SCRATCH, os.path.basename(self.lower[0]))
        run("modprobe", "ext4")
        # everything is written now, no thread goes on with it later
        run("mkfs.ext4", "-q", "-J", "size=8", "-E", "lazy_itable_init=0,lazy_journal_init=0",
            self.lower[0])
        os.makedirs(where, exist_ok=True)
        run("mount", "-o", "noatime", self.lower[0], where)
        self.undo.callback(run, "umount", where)
        return where + "/file"

    def start(self):
        raise NotImplementedError


class Loop(OnFilesystem):
    """A raw sparse file under loop."""

    name = "raw file, loop"

    def start(self):
        run("modprobe", "loop")
        path = self.make_file()
        with open(path, "wb") as file:
            file.truncate(self.size)
        self.path = run("losetup", "--find", "--show", "--direct-io=on", path).strip()
        self.undo.callback(run, "losetup", "-d", self.path)


class Nbd:
    """Parts of the stacks that qemu-nbd serves."""

    @staticmethod
    def connect(stack, image_format, image, *options):
        """Make an image, with these options, and serve it on an nbd device."""
        run("modprobe", "nbd", "nbds_max=4", "max_part=0")
        run("qemu-img", "create", "-q", "-f", image_format, *options, image, str(stack.size))
        for disk in sorted(glob.glob("/sys/block/nbd*")):
            if not os.path.exists(disk + "/pid"):
                break
        else:
            sys.exit("no free nbd device")
        stack.path = "/dev/" + os.path.basename(disk)
        run("qemu-nbd", "-c", stack.path, "-f", image_format, "--cache=none", "--aio=native",
            image)
        stack.undo.callback(wait_for, "nbd", lambda: not os.path.exists(disk + "/pid"))
        stack.undo.callback(run, "qemu-nbd", "-d", stack.path)
        wait_for("nbd", lambda: int(run("blockdev", "--getsize64", stack.path)) == stack.size)


class NbdQed(OnFilesystem):
    """QEMU's own QED, in a file as it must be."""

    name = "qemu-nbd, qed"

    def start(self):
        Nbd.connect(self, "qed", self.make_file())


class NbdQcow2(Stack):
    """qcow2 on the lower device itself."""

    name = "qemu-nbd, qcow2"

    def start(self):
        Nbd.connect(self, "qcow2", self.lower[0])


def write_iolog(path, device, clusters, with_flush=False):
    """Have fio write 4 KiB to each of these clusters, in this order."""
    with open(path, "w", encoding="ascii") as log:
        log.write("fio version 2 iolog\n%s add\n%s open\n" % (device, device))
        for cluster in clusters:
            log.write("%s write %d 4096\n" % (device, cluster * CLUSTER))
            if with_flush:
                log.write("%s sync 0 0\n" % device)
        log.write("%s close\n" % device)


def shuffled(clusters, seed):
    """The same ones in an order that is random, but the same every time."""
    clusters = list(clusters)
    random.Random(seed).shuffle(clusters)
    return clusters


def fio(*jobs, together=False, **common):
    """Run fio's jobs, dicts of options, one after another or not; what it says of each of them."""
    out = SCRATCH + "/fio.json"
    words = ["fio", "--output-format=json", "--output=" + out]
    words += ["--%s=%s" % option for option in dict({"direct": 1, "bs": "4k"}, **common).items()]
    for number, options in enumerate(jobs):
        words += ["--name=job%d" % number] + ["--stonewall"] * (number > 0 and not together)
        words += ["--%s=%s" % option for option in options.items()]
    run(*words, cwd=SCRATCH)
    with open(out, encoding="utf-8") as file:
        text = file.read()
    said = json.loads(text[text.index("{"):])["jobs"]
    if any(job["error"] for job in said):
        sys.exit("fio: " + text)
    return said


def save(name, result):
    """Hand the result over."""
    path = os.path.join(os.environ["VM_OUT"], name)
    with open(path, "w", encoding="utf-8") as file:
        json.dump(result, file, indent=1)
