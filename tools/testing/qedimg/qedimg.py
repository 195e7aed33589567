#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""QED images for tests: make, read, check, compare and break them.

An implementation of the QED (QEMU Enhanced Disk) format of its own, meant to be
small and obviously right rather than fast or complete, so that it can judge
dm-qed, qed-fsck and QEMU.  It knows every legal geometry, including those that
qemu-img cannot open.  Images may be files or block devices.  Backing images
are not followed: what is unallocated reads as zeroes.

All numbers on the command line are bytes or indexes, decimal or 0x..., sizes
take the suffixes K, M, G, T.  Exit status: 0 yes/done, 1 no (defects found,
contents differ), 2 could not be done.
"""

import argparse
import array
import contextlib
import fcntl
import json
import os
import random
import stat
import struct
import sys

MAGIC = 0x00444551                     # "QED\0"
HEADER = struct.Struct("<IIIIQQQQQII")
FIELDS = ("magic", "cluster_size", "table_size", "header_size", "features",
          "compat_features", "autoclear_features", "l1_table_offset",
          "image_size", "backing_filename_offset", "backing_filename_size")
F_BACKING, F_NEED_CHECK, F_NO_PROBE = 1, 2, 4
F_KNOWN = F_BACKING | F_NEED_CHECK | F_NO_PROBE
RECORD = struct.Struct("<IHH16s64sQQQQI")      # and its checksum
RECORD_FIELDS = ("magic", "version", "flags", "owner", "host", "end", "zero_from", "zero_end",
                 "device_size", "reserved")
RECORD_OFFSET, RECORD_MAGIC, AF_RECORD = 384, 0x52444551, 1 << 63
SECTOR = 512
MIB = 1 << 20
BLKFLSBUF = 0x1261
ZEROES = bytes(MIB)


class Error(Exception):
    """The image cannot be used as asked."""


def is_zero(data):
    """Is this piece of at most 1 MiB all zero?"""
    return data == ZEROES[:len(data)]


def is_pow2(number):
    """Is the number a power of two?"""
    return number > 0 and number & (number - 1) == 0


def pieces(start, end, step=MIB):
    """Cut [start, end) at multiples of step."""
    while start < end:
        stop = min(end, (start // step + 1) * step)
        yield start, stop - start
        start = stop


def stamp(offset, length, seed):
    """Test data: every sector names its own guest sector and the seed."""
    return b"".join(b"%016x%016x" % (sector, seed) * 16
                    for sector in range(offset // SECTOR, (offset + length) // SECTOR))


def crc32c(data):
    """CRC-32C."""
    crc = 0xffffffff
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82f63b78 if crc & 1 else 0)
    return crc ^ 0xffffffff


def pack_record(**fields):
    """A record, by default one that claims nothing; see dm-qed-record.rst."""
    values = dict(dict.fromkeys(RECORD_FIELDS, 0), magic=RECORD_MAGIC, version=1,
                  owner=b"\x0f" * 16, host=b"host")
    values.update(fields)
    data = RECORD.pack(*[values[name] for name in RECORD_FIELDS])
    return data + struct.pack("<I", crc32c(data))


class Disk:
    """A regular file or a block device, addressed by byte."""

    def __init__(self, path, writable=False, create=False):
        flags = os.O_RDWR if writable or create else os.O_RDONLY
        self.path = path
        self.writable = writable or create
        self.fd = os.open(path, flags | (os.O_CREAT if create else 0), 0o644)
        self.is_block = stat.S_ISBLK(os.fstat(self.fd).st_mode)
        if self.is_block:
            # a device-mapper target does not write through our page cache
            try:
                fcntl.ioctl(self.fd, BLKFLSBUF)
            except PermissionError:
                pass

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        if self.is_block and self.writable:
            os.fsync(self.fd)
        os.close(self.fd)

    def size(self):
        """Length in bytes."""
        return os.lseek(self.fd, 0, os.SEEK_END)

    def read(self, offset, length):
        """Exactly length bytes, what is beyond the end reads as zeroes."""
        data = b""
        while len(data) < length:
            more = os.pread(self.fd, length - len(data), offset + len(data))
            if not more:
                return data + bytes(length - len(data))
            data = data + more if data else more
        return data

    def write(self, offset, data):
        """All of data."""
        view = memoryview(data)
        while view:
            done = os.pwrite(self.fd, view, offset)
            view, offset = view[done:], offset + done

    def data_ranges(self, start, end):
        """The parts of [start, end) that are not known to be holes."""
        if self.is_block:
            yield start, end
            return
        while start < end:
            try:
                data = os.lseek(self.fd, start, os.SEEK_DATA)
            except OSError:            # ENXIO: nothing but a hole up to the end of file
                return
            if data >= end:
                return
            start = os.lseek(self.fd, data, os.SEEK_HOLE)
            yield data, min(start, end)

    def entries(self, offset, count):
        """(index, value) of each entry that is not zero in the table at offset."""
        for start, end in self.data_ranges(offset, offset + count * 8):
            start -= start % 8
            for pos, length in pieces(start, min(end + -end % 8, offset + count * 8), 4096):
                data = self.read(pos, length)
                if is_zero(data):
                    continue
                values = array.array("Q", data)
                if sys.byteorder == "big":
                    values.byteswap()
                base = (pos - offset) // 8
                for index, value in enumerate(values):
                    if value:
                        yield base + index, value


class Header:
    """The 64 bytes at the start of an image."""

    def __init__(self, data=None, **fields):
        values = HEADER.unpack(data) if data else (0,) * len(FIELDS)
        for name, value in zip(FIELDS, values):
            setattr(self, name, fields.get(name, value))

    def pack(self):
        """The header as bytes."""
        return HEADER.pack(*(getattr(self, name) for name in FIELDS))

    @property
    def table_bytes(self):
        """Length of the L1 table and of every L2 table."""
        return self.table_size * self.cluster_size

    @property
    def entries(self):
        """Entries per table."""
        return self.table_bytes // 8

    @property
    def l2_span(self):
        """Guest bytes that one L2 table maps."""
        return self.entries * self.cluster_size

    @property
    def header_bytes(self):
        """Bytes reserved before the first regular cluster."""
        return self.header_size * self.cluster_size

    @property
    def virtual_clusters(self):
        """Guest clusters, a partial last one included."""
        return -(-self.image_size // self.cluster_size)

    def max_image_size(self):
        """What the tables can map, as far as it can be said in 64 bits of sectors."""
        return min(self.entries * self.l2_span, (1 << 64) - SECTOR)

    def geometry_defects(self):
        """What is wrong with the numbers themselves; later rules rely on earlier ones."""
        if self.magic != MAGIC:
            return ["bad magic 0x%08x" % self.magic]
        bad = []
        if self.features & ~F_KNOWN:
            bad.append("unknown features 0x%x" % (self.features & ~F_KNOWN))
        if not is_pow2(self.cluster_size) or not 1 << 12 <= self.cluster_size <= 1 << 26:
            return bad + ["bad cluster size %d" % self.cluster_size]
        if not is_pow2(self.table_size) or self.table_size > 16:
            return bad + ["bad table size %d" % self.table_size]
        if not self.header_size:
            bad.append("header size is 0")
        if not self.image_size or self.image_size % SECTOR:
            bad.append("bad image size %d" % self.image_size)
        elif self.image_size > self.max_image_size():
            bad.append("image size %d is more than the tables can map" % self.image_size)
        if (self.features & F_BACKING and
                self.backing_filename_offset + self.backing_filename_size > self.header_bytes):
            bad.append("backing file name is not within the header")
        return bad

    def cluster_defect(self, offset, length, end, is_l1=False):
        """Why [offset, offset + length) cannot hold a table or data, or None."""
        if offset % self.cluster_size:
            return "is not cluster aligned"
        if offset < self.header_bytes:
            return "is in the header"
        if offset >= end:
            return "is beyond the end of the device"
        if offset + length > end:
            return "straddles the end of the device"
        if (not is_l1 and offset < self.l1_table_offset + self.table_bytes and
                self.l1_table_offset < offset + length):
            return "is on the L1 table"
        return None

    def defects(self, device_size):
        """Every reason to refuse this header."""
        bad = self.geometry_defects()
        if not bad:
            end = device_size - device_size % self.cluster_size
            why = self.cluster_defect(self.l1_table_offset, self.table_bytes, end, True)
            if why:
                bad.append("the L1 table at 0x%x %s" % (self.l1_table_offset, why))
        return bad


class Image:
    """An image on a disk."""

    def __init__(self, disk, device_size=None):
        self.disk = disk
        self.device_size = disk.size() if device_size is None else device_size
        self.hdr = Header(disk.read(0, HEADER.size))
        self._l2_cache = (None, None)
        self._top = None

    @property
    def end(self):
        """The device in whole clusters."""
        return self.device_size - self.device_size % self.hdr.cluster_size

    def validate(self):
        """Refuse an image whose header is wrong."""
        bad = self.hdr.defects(self.device_size)
        if bad:
            raise Error("%s: %s" % (self.disk.path, "; ".join(bad)))
        return self

    def write_header(self):
        """Put the header to disk."""
        self.disk.write(0, self.hdr.pack())

    # tables

    def write_record(self, **fields):
        """Give the header a record."""
        self.disk.write(RECORD_OFFSET, pack_record(**fields))
        self.hdr.autoclear_features |= AF_RECORD
        self.write_header()

    def l1(self):
        """(index, value) of each L1 entry in use."""
        return self.disk.entries(self.hdr.l1_table_offset, self.hdr.entries)

    def l2(self, table):
        """(index, value) of each entry in use of the L2 table at this offset."""
        return self.disk.entries(table, self.hdr.entries)

    def get_entry(self, table, index):
        """One entry of the table at this offset."""
        return struct.unpack("<Q", self.disk.read(table + 8 * index, 8))[0]

    def _put_entry(self, table, index, value):
        self._l2_cache = (None, None)
        self.disk.write(table + 8 * index, struct.pack("<Q", value))

    def set_entry(self, table, index, value):
        """Change one entry of the table at this offset."""
        self._top = None
        self._put_entry(table, index, value)

    def table_of(self, l1_index):
        """Offset of an L2 table, 0 if there is none."""
        table = self.get_entry(self.hdr.l1_table_offset, l1_index)
        if table:
            why = self.hdr.cluster_defect(table, self.hdr.table_bytes, self.end)
            if why:
                raise Error("L1[%d]: table 0x%x %s" % (l1_index, table, why))
        return table

    def lookup(self, cluster):
        """What a guest cluster is mapped to: 0, 1 or an offset."""
        l1_index, index = divmod(cluster, self.hdr.entries)
        if self._l2_cache[0] != l1_index:
            table = self.table_of(l1_index)
            self._l2_cache = (l1_index, dict(self.l2(table)) if table else {})
        value = self._l2_cache[1].get(index, 0)
        if value > 1:
            why = self.hdr.cluster_defect(value, self.hdr.cluster_size, self.end)
            if why:
                raise Error("L2[%d][%d]: data 0x%x %s" % (l1_index, index, value, why))
        return value

    def tables(self):
        """L1 indexes with a table, within image_size."""
        limit = -(-self.hdr.image_size // self.hdr.l2_span)
        return [index for index, _ in self.l1() if index < limit]

    def extents(self):
        """[start, length, kind, offset] covering the guest's disk, runs merged."""
        hdr, out, done = self.hdr, [], 0

        def add(start, length, kind, offset):
            length = min(length, hdr.image_size - start)
            if length <= 0:
                return
            if out and out[-1][2] == kind and (
                    kind != "data" or out[-1][3] + out[-1][1] == offset):
                out[-1][1] += length
            else:
                out.append([start, length, kind, offset])

        for l1_index in self.tables():
            for index, value in self.l2(self.table_of(l1_index)):
                start = (l1_index * hdr.entries + index) * hdr.cluster_size
                if start >= hdr.image_size:
                    break
                add(done, start - done, "unallocated", None)
                self.lookup(start // hdr.cluster_size)       # for its checks
                add(start, hdr.cluster_size, "zero" if value == 1 else "data",
                    None if value == 1 else value)
                done = start + hdr.cluster_size
        add(done, hdr.image_size - done, "unallocated", None)
        return out

    # contents

    def read(self, offset, length):
        """Guest data."""
        cluster_size = self.hdr.cluster_size
        if offset + length > self.hdr.image_size:
            raise Error("read beyond the end of the image")
        out = []
        for pos, size in pieces(offset, offset + length, cluster_size):
            where = self.lookup(pos // cluster_size)
            out.append(self.disk.read(where + pos % cluster_size, size)
                       if where > 1 else bytes(size))
        return b"".join(out)

    def hwm(self):
        """End of the highest cluster that is referenced, entries beyond image_size too."""
        hdr = self.hdr
        top = max(hdr.header_bytes, hdr.l1_table_offset + hdr.table_bytes)
        for _, table in self.l1():
            if hdr.cluster_defect(table, hdr.table_bytes, self.end):
                continue
            top = max(top, table + hdr.table_bytes)
            for _, value in self.l2(table):
                if value > 1 and not hdr.cluster_defect(value, hdr.cluster_size, self.end):
                    top = max(top, value + hdr.cluster_size)
        return top

    def new_clusters(self, count):
        """Clusters behind everything that is referenced and that this made before."""
        offset = self.hwm() if self._top is None else self._top
        if self.disk.is_block:
            if offset + count * self.hdr.cluster_size > self.end:
                raise Error("no space left on the device")
        elif self.disk.size() < offset + count * self.hdr.cluster_size:
            os.ftruncate(self.disk.fd, offset + count * self.hdr.cluster_size)
            self.device_size = self.disk.size()
        self._top = offset + count * self.hdr.cluster_size
        return offset

    def zero_range(self, offset, length):
        """Make a range of the device read as zeroes."""
        for start, end in self.disk.data_ranges(offset, offset + length):
            for pos, size in pieces(start, end):
                if not is_zero(self.disk.read(pos, size)):
                    self.disk.write(pos, ZEROES[:size])

    def table_for_update(self, l1_index):
        """The L2 table for an L1 index, made if there is none."""
        table = self.table_of(l1_index)
        if not table:
            table = self.new_clusters(self.hdr.table_size)
            self.zero_range(table, self.hdr.table_bytes)
            self._put_entry(self.hdr.l1_table_offset, l1_index, table)
        return table

    def write(self, offset, data):
        """Write guest data, allocating at the end as QEMU would."""
        hdr, done = self.hdr, 0
        if offset + len(data) > hdr.image_size:
            raise Error("write beyond the end of the image")
        for pos, size in pieces(offset, offset + len(data), hdr.cluster_size):
            l1_index, index = divmod(pos // hdr.cluster_size, hdr.entries)
            table = self.table_for_update(l1_index)
            where = self.get_entry(table, index)
            if where <= 1:
                where = self.new_clusters(1)
                self.zero_range(where, hdr.cluster_size)
                self._put_entry(table, index, where)
            self.disk.write(where + pos % hdr.cluster_size, data[done:done + size])
            done += size

    def make_zero(self, offset, length):
        """Turn whole clusters into zero clusters."""
        hdr = self.hdr
        if offset % hdr.cluster_size or (length % hdr.cluster_size and
                                         offset + length != hdr.image_size):
            raise Error("only whole clusters can be made zero clusters")
        for pos, _ in pieces(offset, offset + length, hdr.cluster_size):
            l1_index, index = divmod(pos // hdr.cluster_size, hdr.entries)
            self.set_entry(self.table_for_update(l1_index), index, 1)

    def populate(self, seed, percent=50, zero_percent=5, shuffle=False, first=0, last=None):
        """Map random clusters of a fresh range: stamped data, or zero clusters.

        With shuffle, tables and data lie in random order on the device.
        """
        hdr, rng = self.hdr, random.Random(seed)
        last = hdr.virtual_clusters if last is None else min(last, hdr.virtual_clusters)
        chosen = {}
        for cluster in range(first, last):
            if rng.random() * 100 < percent:
                chosen[cluster] = "zero" if rng.random() * 100 < zero_percent else "data"
        l1_indexes = sorted({cluster // hdr.entries for cluster in chosen})
        units = [("table", i) for i in l1_indexes if not self.table_of(i)]
        units += [("data", cluster) for cluster, kind in sorted(chosen.items()) if kind == "data"]
        if shuffle:
            rng.shuffle(units)
        total = sum(hdr.table_size if kind == "table" else 1 for kind, _ in units)
        where = self.new_clusters(total)
        place = {}
        for unit in units:
            place[unit] = where
            where += hdr.table_bytes if unit[0] == "table" else hdr.cluster_size
        for l1_index in l1_indexes:
            if ("table", l1_index) in place:
                self.zero_range(place["table", l1_index], hdr.table_bytes)
                self.set_entry(hdr.l1_table_offset, l1_index, place["table", l1_index])
        tables = dict(self.l1())
        for cluster, kind in sorted(chosen.items()):
            l1_index, index = divmod(cluster, hdr.entries)
            if kind == "zero":
                self.set_entry(tables[l1_index], index, 1)
                continue
            where, start = place["data", cluster], cluster * hdr.cluster_size
            self.zero_range(where, hdr.cluster_size)
            for pos in stamped_parts(hdr.cluster_size):
                self.disk.write(where + pos, stamp(start + pos, 4096, seed))
            self.set_entry(tables[l1_index], index, where)


def stamped_parts(cluster_size):
    """Where populate() puts data in a cluster: everywhere, or its ends if it is big."""
    if cluster_size <= 1 << 16:
        return range(0, cluster_size, 4096)
    return (0, cluster_size // 2, cluster_size - 4096)


def create(path, size, cluster_size=65536, table_size=4, header_size=1):
    """Make an empty image with QEMU's layout, even an illegal one; returns its header."""
    hdr = Header(magic=MAGIC, cluster_size=cluster_size, table_size=table_size,
                 header_size=header_size, l1_table_offset=cluster_size * header_size,
                 image_size=size)
    with Disk(path, create=True) as disk:
        length = hdr.header_bytes + hdr.table_bytes
        if disk.is_block:
            if disk.size() < length:
                raise Error("%s is too small" % path)
            for pos, count in pieces(0, length):
                disk.write(pos, ZEROES[:count])
        else:
            os.ftruncate(disk.fd, 0)
            os.ftruncate(disk.fd, length)
        disk.write(0, hdr.pack())
    return hdr


def check(img):
    """Judge the structure of an image with a valid header: (defects, counts)."""
    hdr = img.hdr
    cluster_size = hdr.cluster_size
    defects, owner = [], {}
    counts = dict.fromkeys(("tables", "mapped", "zero", "beyond"), 0)
    virtual = hdr.virtual_clusters
    l1_limit = -(-virtual // hdr.entries)

    def claim(offset, length, who):
        """Take clusters; false if anyone else has one of them."""
        taken = True
        for cluster in range(offset // cluster_size, (offset + length) // cluster_size):
            if cluster in owner:
                defects.append("%s: cluster at 0x%x is also used by %s"
                               % (who, cluster * cluster_size, owner[cluster]))
                taken = False
            else:
                owner[cluster] = who
        return taken

    claim(0, hdr.header_bytes, "the header")
    claim(hdr.l1_table_offset, hdr.table_bytes, "the L1 table")
    good = []
    for l1_index, table in img.l1():
        if l1_index >= l1_limit:
            counts["beyond"] += 1
        who = "L1[%d]" % l1_index
        why = hdr.cluster_defect(table, hdr.table_bytes, img.end)
        if why:
            defects.append("%s: table at 0x%x %s" % (who, table, why))
        elif claim(table, hdr.table_bytes, who):
            good.append((l1_index, table))
    counts["tables"] = len(good)
    for l1_index, table in good:
        for index, value in img.l2(table):
            cluster = l1_index * hdr.entries + index
            if cluster >= virtual:
                if l1_index < l1_limit:
                    counts["beyond"] += 1
            elif value == 1:
                counts["zero"] += 1
            else:
                counts["mapped"] += 1
            if value == 1:
                continue
            who = "L2[%d][%d]" % (l1_index, index)
            why = hdr.cluster_defect(value, cluster_size, img.end)
            if why:
                defects.append("%s: data at 0x%x %s" % (who, value, why))
            else:
                claim(value, cluster_size, who)
    top = max(owner) + 1
    counts.update(used=len(owner), total=img.device_size // cluster_size, virtual=virtual,
                  hwm=top * cluster_size, leaks=top - len(owner),
                  need_check=bool(hdr.features & F_NEED_CHECK))
    return defects, counts


def compare(img, raw):
    """First difference between a guest's disk and a raw disk, or None."""
    size = img.hdr.image_size
    if raw.size() != size:
        return "the image has %d bytes, %s has %d" % (size, raw.path, raw.size())
    for start, length, kind, where in img.extents():
        if kind == "data":
            ranges = [(start, start + length)]
        else:
            ranges = raw.data_ranges(start, start + length)
        for first, end in ranges:
            for pos, count in pieces(first, end):
                theirs = raw.read(pos, count)
                ours = (img.disk.read(where + pos - start, count) if kind == "data"
                        else ZEROES[:count])
                if ours != theirs:
                    at = next(i for i in range(count) if ours[i] != theirs[i])
                    return ("byte 0x%x (%s%s): image 0x%02x, %s 0x%02x"
                            % (pos + at, kind,
                               " at 0x%x" % (where + pos + at - start) if kind == "data" else "",
                               ours[at], raw.path, theirs[at]))
    return None


# ---------------------------------------------------------------------------------------------
# Wrong images
#
# Every recipe spoils a base image.  A "header" one must be refused by every load.  A "table" one
# must be refused for writing but may be opened read-only: then the guest ranges in bad give an I/O
# error, those in odd are not judged (their entries are legal one by one), all others read as in
# the base image.  match is what the kernel's message should look like (extended regular
# expression, any case); recipes of one group may share a message, others may not.
# ---------------------------------------------------------------------------------------------

BASE_CLUSTER, BASE_TABLE, BASE_HEADER = 8192, 2, 2
BASE_SPAN = BASE_CLUSTER * BASE_TABLE * BASE_CLUSTER // 8
BASE_SIZE = 3 * BASE_SPAN + 5 * BASE_CLUSTER + 3 * SECTOR
BASE_SPARE = 16                        # unreferenced clusters at the end of the device
RECIPES = {}


def recipe(name, kind, group, match):
    """Register a recipe."""
    def register(func):
        RECIPES[name] = (kind, group, match, func)
        return func
    return register


def base_image(path):
    """What the recipes start from; QEMU can open it too.

    Four tables: L1[0] and L1[1] with data, L1[2] only with zero clusters, L1[3] with the
    partial last cluster.  Spare clusters follow.
    """
    create(path, BASE_SIZE, BASE_CLUSTER, BASE_TABLE, BASE_HEADER)
    with Disk(path, writable=True) as disk:
        img = Image(disk)
        for cluster in (0, 1, 2, 3, 7, 20, 2047, 2048, 2049, 2055, 6148, 6149):
            start = cluster * BASE_CLUSTER
            length = min(BASE_CLUSTER, BASE_SIZE - start)
            img.write(start, stamp(start, length, 1))
        for cluster in (5, 6, 2050, 4096):
            img.make_zero(cluster * BASE_CLUSTER, BASE_CLUSTER)
        os.ftruncate(disk.fd, img.hwm() + BASE_SPARE * BASE_CLUSTER)


class Breaker:
    """What a recipe works with: the image and shorthands for it."""

    def __init__(self, img):
        self.img, self.hdr, self.disk = img, img.hdr, img.disk
        self.bad, self.odd = [], []
        self.first, self.second = [table for _, table in img.l1()][:2]

    def header(self, **fields):
        """Change header fields."""
        for name, value in fields.items():
            setattr(self.hdr, name, value)
        self.img.write_header()

    def span(self, l1_index):
        """Guest range of a table."""
        return (l1_index * self.hdr.l2_span,
                min(self.hdr.l2_span, self.hdr.image_size - l1_index * self.hdr.l2_span))

    def l1(self, index, value, odd=False):
        """Change an L1 entry; its table's range is lost."""
        self.img.set_entry(self.hdr.l1_table_offset, index, value)
        if self.span(index)[1] > 0:
            (self.odd if odd else self.bad).append(self.span(index))

    def l2(self, index, value, l1_index=0, odd=False):
        """Change an L2 entry; its cluster is lost."""
        table = self.img.get_entry(self.hdr.l1_table_offset, l1_index)
        self.img.set_entry(table, index, value)
        start = l1_index * self.hdr.l2_span + index * self.hdr.cluster_size
        length = min(self.hdr.cluster_size, self.hdr.image_size - start)
        if length > 0:
            (self.odd if odd else self.bad).append((start, length))

    def data(self, index, l1_index=0):
        """Where a cluster is."""
        return self.img.get_entry(
            self.img.get_entry(self.hdr.l1_table_offset, l1_index), index)

    def cut(self, size):
        """Truncate the file."""
        os.ftruncate(self.disk.fd, size)

    def end(self):
        """Length of the file."""
        return self.disk.size()

    def table_beyond(self):
        """Make a table that lies beyond image_size, empty; returns its offset."""
        table = self.img.new_clusters(self.hdr.table_size)
        self.img.set_entry(self.hdr.l1_table_offset, self.hdr.entries - 1, table)
        return table


def header_recipes():
    """Headers that nothing may open."""
    def simple(name, group, match, **fields):
        recipe(name, "header", group, match)(lambda b: b.header(**fields))

    top = 1 << 64
    l1_at = BASE_HEADER * BASE_CLUSTER
    in_header, off_end = "l1_table_offset .* header", "l1_table_offset .* end of the device"
    for name, value in (("zero", 0), ("qcow2", struct.unpack("<I", b"QFI\xfb")[0]),
                        ("last-byte", MAGIC | 0x01000000)):
        simple("magic-" + name, "magic", "magic 0x%08x .*not a QED image" % value, magic=value)
    # as a device with smaller sectors than it claims might leave it
    simple("torn-start", "magic", "magic 0x00000000 .*not a QED image",
           **dict.fromkeys(FIELDS[:5], 0))
    simple("torn-end", "l1-in-header", in_header, **dict.fromkeys(FIELDS[6:], 0))
    for bit in (3, 4, 31, 32, 63):
        simple("feature-bit-%d" % bit, "feature", "unknown .*features 0x%x$" % (1 << bit),
               features=1 << bit)
    simple("feature-all", "feature", "unknown .*features 0xf*8", features=top - 1)
    for name, value in (("zero", 0), ("one", 1), ("2k", 2048), ("128m", 128 * MIB),
                        ("2g", 1 << 31), ("12k", 12288), ("plus-1", BASE_CLUSTER + 1)):
        simple("cluster-" + name, "cluster-size", "cluster_size %d " % value, cluster_size=value)
    for name, value in (("zero", 0), ("3", 3), ("32", 32), ("2g", 1 << 31)):
        simple("table-" + name, "table-size", "table_size %d " % value, table_size=value)
    simple("header-zero", "header-size", "header_size 0 ", header_size=0)
    simple("header-over-limit", "header-size", "header_size 1048576 ", header_size=1 << 20)
    simple("header-huge", "header-size", "header_size 4294967295 ", header_size=0xffffffff)
    simple("header-swallows-l1", "l1-in-header", in_header, header_size=BASE_HEADER + 1)
    simple("header-swallows-l1-tail", "l1-in-header", in_header,
           header_size=BASE_HEADER + BASE_TABLE)
    simple("header-beyond-end", "l1-in-header", in_header, header_size=1 << 10)
    simple("l1-offset-zero", "l1-in-header", in_header, l1_table_offset=0)
    simple("l1-offset-in-header", "l1-in-header", in_header, l1_table_offset=BASE_CLUSTER)
    for name, value in (("1", 1), ("512", 512), ("4k", 4096)):
        simple("l1-offset-plus-" + name, "l1-align", "l1_table_offset 0x%x .* align" %
               (l1_at + value), l1_table_offset=l1_at + value)
    for name, value in (("1t", 1 << 40), ("2-63", 1 << 63), ("wraps", top - BASE_CLUSTER),
                        ("wraps-whole", top - BASE_TABLE * BASE_CLUSTER)):
        simple("l1-offset-" + name, "l1-end", off_end, l1_table_offset=value)
    simple("size-zero", "image-size-zero", "image_size is 0", image_size=0)
    for name, value in (("one", 1), ("plus-256", BASE_SIZE + 256)):
        simple("size-" + name, "image-size-align", "image_size %d .*multiple" % value,
               image_size=value)
    for name, value in (("over-max", BASE_SPAN * (BASE_TABLE * BASE_CLUSTER // 8) + SECTOR),
                        ("2-63", 1 << 63), ("2-64-less-512", top - SECTOR)):
        simple("size-" + name, "image-size-max", "image_size %d .*maximum" % value,
               image_size=value)

    @recipe("l1-offset-at-end", "header", "l1-end", off_end)
    def _(brk):
        brk.header(l1_table_offset=brk.end())

    @recipe("l1-offset-straddles-end", "header", "l1-end", off_end)
    def _(brk):
        brk.header(l1_table_offset=brk.end() - BASE_CLUSTER)

    @recipe("backing-file", "header", "backing", "has a backing file")
    def _(brk):
        brk.header(features=F_BACKING, backing_filename_offset=64, backing_filename_size=8)
        brk.disk.write(64, b"base.raw")

    @recipe("backing-file-no-probe", "header", "backing", "has a backing file")
    def _(brk):
        brk.header(features=F_BACKING | F_NO_PROBE,
                   backing_filename_offset=64, backing_filename_size=8)
        brk.disk.write(64, b"base.raw")

    @recipe("backing-name-out-of-bounds", "header", "backing-name",
            "backing_filename_offset")
    def _(brk):
        brk.header(features=F_BACKING, backing_filename_offset=BASE_HEADER * BASE_CLUSTER - 4,
                   backing_filename_size=8)

    @recipe("backing-name-wraps", "header", "backing-name", "backing_filename_offset")
    def _(brk):
        brk.header(features=F_BACKING, backing_filename_offset=0xfffffffc,
                   backing_filename_size=8)

    # this one leaves a header, but no whole header cluster
    @recipe("cut-header", "header", "cut", "device of 512 bytes is too small")
    def _(brk):
        brk.cut(SECTOR)

    @recipe("cut-before-l1", "header", "l1-end", off_end)
    def _(brk):
        brk.cut(BASE_HEADER * BASE_CLUSTER)

    @recipe("cut-in-l1", "header", "l1-end", off_end)
    def _(brk):
        brk.cut(BASE_HEADER * BASE_CLUSTER + BASE_CLUSTER)


def defect(table, index, what):
    """The kernel's message for a table entry."""
    return "%s table at 0x[0-9a-f]+, entry %s: 0x[0-9a-f]+ .*%s" % (table, index, what)


ALIGN, IN_HEADER, ON_L1 = "not aligned", "the header", "the L1 table"
AT_END, OVER_END = "beyond the end of the device", "over the end of the device"
TWICE = "referenced already"


def l1_recipes():
    """Wrong entries in the L1 table."""
    def entry(name, what, value, odd=False):
        recipe("l1-entry-" + name, "table", "l1-" + what,
               defect("L1", 1, what))(lambda b: b.l1(1, value(b), odd))

    entry("one", ALIGN, lambda b: 1)
    entry("bit-0", ALIGN, lambda b: b.second | 1)
    entry("bit-11", ALIGN, lambda b: b.second | 1 << 11)
    entry("bit-12", ALIGN, lambda b: b.second | 1 << 12)
    entry("in-header", IN_HEADER, lambda b: BASE_CLUSTER)
    entry("at-end", AT_END, lambda b: b.end())
    entry("beyond-end", AT_END, lambda b: 1 << 40)
    entry("straddles-end", OVER_END, lambda b: b.end() - BASE_CLUSTER)
    entry("2-63", AT_END, lambda b: 1 << 63)
    entry("wraps", AT_END, lambda b: (1 << 64) - BASE_CLUSTER)
    entry("on-l1", ON_L1, lambda b: b.hdr.l1_table_offset)
    entry("on-l1-tail", ON_L1, lambda b: b.hdr.l1_table_offset + BASE_CLUSTER)
    entry("twice", TWICE, lambda b: b.first, True)
    entry("overlaps-table", TWICE, lambda b: b.first + BASE_CLUSTER, True)

    # whichever of the two is met later
    @recipe("l1-entry-on-data", "table", "l1-" + TWICE, defect("L[12]", "[01]", TWICE))
    def _(brk):
        brk.l1(1, brk.data(0), odd=True)

    @recipe("l1-entry-beyond-size-twice", "table", "l1-" + TWICE, defect("L1", 2047, TWICE))
    def _(brk):
        brk.l1(brk.hdr.entries - 1, brk.first)

    @recipe("l1-entry-beyond-size-bad", "table", "l1-" + ALIGN, defect("L1", 2047, ALIGN))
    def _(brk):
        brk.l1(brk.hdr.entries - 1, brk.first + 512)

    @recipe("cut-table", "table", "l1-" + OVER_END, defect("L1", 2, OVER_END))
    def _(brk):
        # the table of the zero clusters moved to the end, and half of it cut off
        brk.l1(2, brk.end() - BASE_TABLE * BASE_CLUSTER)
        brk.cut(brk.end() - BASE_CLUSTER)


def l2_recipes():
    """Wrong entries in L2 tables."""
    def entry(name, what, value, odd=False, index="3"):
        recipe("l2-entry-" + name, "table", "l2-" + what,
               defect("L[12]", index, what))(lambda b: b.l2(3, value(b), odd=odd))

    entry("two", ALIGN, lambda b: 2)
    entry("bit-0", ALIGN, lambda b: b.data(3) | 1)
    entry("bit-9", ALIGN, lambda b: b.data(3) | 1 << 9)
    entry("bit-11", ALIGN, lambda b: b.data(3) | 1 << 11)
    entry("bit-12", ALIGN, lambda b: b.data(3) | 1 << 12)
    entry("in-header", IN_HEADER, lambda b: BASE_CLUSTER)
    entry("at-end", AT_END, lambda b: b.end())
    entry("beyond-end", AT_END, lambda b: 1 << 40)
    entry("2-63", AT_END, lambda b: 1 << 63)
    entry("wraps", AT_END, lambda b: (1 << 64) - BASE_CLUSTER)
    entry("on-l1", ON_L1, lambda b: b.hdr.l1_table_offset)
    entry("on-own-table", TWICE, lambda b: b.first, True)
    entry("twice", TWICE, lambda b: b.data(0), True)
    # whichever of the two is met later
    entry("on-other-table", TWICE, lambda b: b.second + BASE_CLUSTER, True, "[13]")
    entry("on-last-table", TWICE, lambda b: b.img.table_of(3), True)
    entry("twice-other-table", TWICE, lambda b: b.data(0, 1), True, "[03]")

    @recipe("l2-entry-last-bad", "table", "l2-" + ALIGN, defect("L2", 2047, ALIGN))
    def _(brk):
        brk.l2(brk.hdr.entries - 1, brk.data(brk.hdr.entries - 1) + 512)

    # the last table maps only a few clusters, this entry is behind them
    @recipe("l2-entry-beyond-size-bad", "table", "l2-" + ALIGN, defect("L2", 2047, ALIGN))
    def _(brk):
        brk.l2(brk.hdr.entries - 1, BASE_CLUSTER * 3 + 512, l1_index=3)

    @recipe("l2-entry-beyond-size-twice", "table", "l2-" + TWICE, defect("L2", 2047, TWICE))
    def _(brk):
        brk.l2(brk.hdr.entries - 1, brk.data(0), l1_index=3)

    @recipe("l2-table-beyond-size-twice", "table", "l2-" + TWICE, defect("L2", 5, TWICE))
    def _(brk):
        brk.img.set_entry(brk.table_beyond(), 5, brk.data(0))

    @recipe("l2-table-beyond-size-bad", "table", "l2-" + AT_END, defect("L2", 5, AT_END))
    def _(brk):
        brk.img.set_entry(brk.table_beyond(), 5, 1 << 40)

    @recipe("l2-entry-partial-end", "table", "l2-" + AT_END, defect("L2", 3, AT_END))
    def _(brk):
        brk.l2(3, brk.end() - BASE_CLUSTER)
        brk.cut(brk.end() - SECTOR)

    # the file lost its end, and a data cluster with it
    @recipe("cut-data", "table", "l2-" + AT_END, defect("L2", 3, AT_END))
    def _(brk):
        where = brk.end() - BASE_CLUSTER
        brk.l2(3, where)
        brk.cut(where)

    # more than a log should show
    @recipe("many", "table", "l2-" + AT_END, "300 defects")
    def _(brk):
        for index in range(100, 400):
            brk.l2(index, 1 << 40 | index * BASE_CLUSTER)


header_recipes()
l1_recipes()
l2_recipes()


def merged(ranges):
    """Ranges in order, touching ones joined."""
    out = []
    for start, length in sorted(ranges):
        if out and start <= sum(out[-1]):
            out[-1] = (out[-1][0], max(sum(out[-1]), start + length) - out[-1][0])
        else:
            out.append((start, length))
    return out


def break_image(name, path):
    """Apply a recipe to a base image: what to expect of the result, as a dict."""
    if name not in RECIPES:
        raise Error("no recipe %s, see --list" % name)
    kind, group, match, func = RECIPES[name]
    with Disk(path, writable=True) as disk:
        img = Image(disk).validate()
        # what is worth reading again: the clusters in use and some empty ones
        interesting = merged((start - start % img.hdr.cluster_size, min(length, 1 << 17))
                             for start, length, _, _ in img.extents())
        brk = Breaker(img)
        func(brk)
    bad, odd = merged(brk.bad), merged(brk.odd)
    good = []
    for start, length in interesting:
        end = start + length
        for hole, size in merged(bad + odd):
            if hole + size <= start or hole >= end:
                continue
            if hole > start:
                good.append((start, hole - start))
            start = hole + size
        if start < end:
            good.append((start, end - start))
    return {"name": name, "kind": kind, "read_only": kind == "table", "group": group,
            "match": match, "bad": bad, "odd": odd, "good": good}


def break_all(directory):
    """Every recipe, the base image and its raw contents, and an index for shell scripts."""
    os.makedirs(directory, exist_ok=True)
    base = os.path.join(directory, "base.qed")
    base_image(base)
    with Disk(base) as disk, Disk(os.path.join(directory, "base.raw"), create=True) as raw:
        img = Image(disk)
        os.ftruncate(raw.fd, img.hdr.image_size)
        for start, length, kind, _ in img.extents():
            if kind == "data":
                raw.write(start, img.read(start, length))
    with open(os.path.join(directory, "index.tsv"), "w", encoding="ascii") as index:
        for name in RECIPES:
            path = os.path.join(directory, name + ".qed")
            with Disk(base) as disk, Disk(path, create=True) as copy:
                os.ftruncate(copy.fd, 0)
                os.ftruncate(copy.fd, disk.size())
                for start, end in disk.data_ranges(0, disk.size()):
                    copy.write(start, disk.read(start, end - start))
            info = break_image(name, path)
            index.write("\t".join(
                [name, info["kind"], info["group"], info["match"]] +
                [",".join("%d:%d" % item for item in info[what]) or "-"
                 for what in ("bad", "good")]) + "\n")


# ---------------------------------------------------------------------------------------------
# Command line
# ---------------------------------------------------------------------------------------------

def number(text):
    """A number with an optional binary suffix."""
    shift = {"k": 10, "m": 20, "g": 30, "t": 40}.get(text[-1:].lower(), 0)
    return int(text[:-1] if shift else text, 0) << shift


def open_image(args, writable=False, valid=True):
    """The image named on the command line."""
    disk = args.opened.enter_context(Disk(args.file, writable))
    img = Image(disk, getattr(args, "device_size", None))
    return img.validate() if valid else img


def cmd_create(args):
    """make an empty image"""
    hdr = Header(magic=MAGIC, cluster_size=args.cluster_size, table_size=args.table_size,
                 header_size=args.header_size, image_size=args.size)
    bad = hdr.geometry_defects()
    if bad:
        raise Error("; ".join(bad))
    create(args.file, args.size, args.cluster_size, args.table_size, args.header_size)


def cmd_info(args):
    """print the header as JSON"""
    img = open_image(args, valid=False)
    info = {name: getattr(img.hdr, name) for name in FIELDS}
    info["device_size"] = img.device_size
    info["defects"] = img.hdr.defects(img.device_size)
    print(json.dumps(info, indent=1))
    return 1 if info["defects"] else 0


def cmd_map(args):
    """print the guest's extents as JSON"""
    print(json.dumps([dict(zip(("start", "length", "kind", "offset"), extent))
                      for extent in open_image(args).extents()], indent=1))


def cmd_hwm(args):
    """print where the highest referenced cluster ends"""
    print(open_image(args).hwm())


def cmd_truncate(args):
    """truncate a file to its high-water mark"""
    img = open_image(args, writable=True)
    os.ftruncate(img.disk.fd, img.hwm())


def cmd_check(args):
    """check the structure; a line per defect"""
    img = open_image(args, valid=False)
    defects, counts = img.hdr.defects(img.device_size), {}
    if not defects:
        defects, counts = check(img)
    if args.json:
        print(json.dumps(dict(counts, defects=defects), indent=1))
    else:
        for defect in defects:
            print("%s: %s" % (args.file, defect))
        if counts:
            print("%(used)d/%(total)d clusters used, %(mapped)d/%(virtual)d mapped, %(zero)d zero, "
                  "%(tables)d tables, %(leaks)d leaked, %(beyond)d entries beyond the image, "
                  "hwm %(hwm)d" % counts)
    return 1 if defects else 0


def cmd_read(args):
    """write guest data to standard output"""
    img = open_image(args)
    for pos, count in pieces(args.offset, args.offset + args.length):
        sys.stdout.buffer.write(img.read(pos, count))


def cmd_write(args):
    """write guest data from standard input"""
    open_image(args, writable=True).write(args.offset, sys.stdin.buffer.read())


def cmd_zero(args):
    """make zero clusters"""
    open_image(args, writable=True).make_zero(args.offset, args.length)


def cmd_populate(args):
    """map random clusters and fill them with stamped sectors"""
    img = open_image(args, writable=True)
    img.populate(args.seed, args.percent, args.zero_percent, args.shuffle, args.first, args.last)
    if args.raw:
        with Disk(args.raw, create=True) as raw:
            os.ftruncate(raw.fd, 0)
            os.ftruncate(raw.fd, img.hdr.image_size)
            for start, length, kind, _ in img.extents():
                if kind == "data":
                    for pos, count in pieces(start, start + length):
                        data = img.read(pos, count)
                        if not is_zero(data):
                            raw.write(pos, data)


def cmd_compare(args):
    """compare the guest's disk with a raw file or device"""
    with Disk(args.raw) as raw:
        difference = compare(open_image(args), raw)
    if difference:
        print("%s: %s" % (args.file, difference))
        return 1
    return 0


def cmd_dirty(args):
    """print whether NEED_CHECK is set: yes or no"""
    print("yes" if open_image(args, valid=False).hdr.features & F_NEED_CHECK else "no")


def cmd_set_feature(args):
    """set (+), clear (-) or assign (=) feature bits"""
    img = open_image(args, writable=True, valid=False)
    name = {"incompat": "features", "compat": "compat_features",
            "autoclear": "autoclear_features"}[args.which]
    value, mask = getattr(img.hdr, name), int(args.change[1:], 0)
    value = {"+": value | mask, "-": value & ~mask, "=": mask}[args.change[0]]
    setattr(img.hdr, name, value)
    img.write_header()


def cmd_set_header(args):
    """change a header field"""
    img = open_image(args, writable=True, valid=False)
    setattr(img.hdr, args.field, args.value)
    img.write_header()


def cmd_record(args):
    """give the header a record, with these fields"""
    fields = dict(field.split("=", 1) for field in args.fields)
    if set(fields) - set(RECORD_FIELDS):
        raise Error("a record has only " + ", ".join(RECORD_FIELDS))
    how = {"host": os.fsencode, "owner": bytes.fromhex}
    img = open_image(args, writable=True, valid=False)
    fields.setdefault("device_size", str(img.device_size))
    img.write_record(**{name: how.get(name, number)(value) for name, value in fields.items()})


def cmd_set_entry(args):
    """change a table entry: l1 INDEX VALUE, or l2 L1-INDEX INDEX VALUE"""
    img = open_image(args, writable=True)
    if args.table == "l1" and len(args.numbers) == 2:
        table = img.hdr.l1_table_offset
    elif args.table == "l2" and len(args.numbers) == 3:
        table = img.table_for_update(args.numbers[0])
    else:
        raise Error("l1 takes an index and a value, l2 two indexes and a value")
    img.set_entry(table, args.numbers[-2], args.numbers[-1])


def cmd_poke(args):
    """overwrite bytes of the file"""
    with Disk(args.file, writable=True) as disk:
        disk.write(args.offset, bytes.fromhex(args.hex))


def cmd_break(args):
    """spoil an image by a recipe"""
    if args.list:
        for name, (kind, _, match, _) in RECIPES.items():
            print("%-28s %-6s %-9s %s" % (name, kind, "read_only" if kind == "table" else "-",
                                          match))
    elif args.all:
        break_all(args.all)
    elif args.recipe and args.file:
        if not os.path.exists(args.file):
            base_image(args.file)
        print(json.dumps(break_image(args.recipe, args.file)))
    else:
        raise Error("break needs --list, --all DIRECTORY, or a recipe and a file")


def parser():
    """The command line."""
    top = argparse.ArgumentParser(description=__doc__,
                                  formatter_class=argparse.RawDescriptionHelpFormatter)
    sub = top.add_subparsers(dest="command", required=True)

    def command(func, *arguments, name=None):
        cmd = sub.add_parser(name or func.__name__[4:].replace("_", "-"), help=func.__doc__,
                             description=func.__doc__)
        cmd.set_defaults(func=func)
        for names, options in arguments:
            cmd.add_argument(*names, **options)
        return cmd

    def arg(*names, **options):
        return names, options

    file, num = arg("file"), number
    device_size = arg("--device-size", type=num)
    command(cmd_create, file, arg("--size", type=num, required=True),
            arg("--cluster-size", type=num, default=65536),
            arg("--table-size", type=num, default=4), arg("--header-size", type=num, default=1))
    command(cmd_info, file, device_size)
    command(cmd_map, file, device_size)
    command(cmd_hwm, file, device_size)
    command(cmd_truncate, file)
    command(cmd_check, file, device_size, arg("--json", action="store_true"))
    command(cmd_read, file, arg("offset", type=num), arg("length", type=num))
    command(cmd_write, file, arg("offset", type=num))
    command(cmd_zero, file, arg("offset", type=num), arg("length", type=num))
    command(cmd_populate, file, arg("--seed", type=num, default=1),
            arg("--percent", type=num, default=50), arg("--zero-percent", type=num, default=5),
            arg("--shuffle", action="store_true"), arg("--first", type=num, default=0),
            arg("--last", type=num), arg("--raw", help="also write the contents here"))
    command(cmd_compare, file, arg("raw"))
    command(cmd_dirty, file)
    command(cmd_set_feature, file, arg("which", choices=("incompat", "compat", "autoclear")),
            arg("change", help="+MASK, =MASK or, after --, -MASK"))
    command(cmd_set_header, file, arg("field", choices=FIELDS), arg("value", type=num))
    command(cmd_record, file, arg("fields", metavar="FIELD=VALUE", nargs="*"))
    command(cmd_set_entry, file, arg("table", choices=("l1", "l2")),
            arg("numbers", type=num, nargs="+"))
    command(cmd_poke, file, arg("offset", type=num), arg("hex"))
    command(cmd_break, arg("recipe", nargs="?"), arg("file", nargs="?"),
            arg("--list", action="store_true"), arg("--all", metavar="DIRECTORY"))
    return top


def main():
    """Run a command."""
    args = parser().parse_args()
    try:
        with contextlib.ExitStack() as args.opened:
            return args.func(args) or 0
    except (Error, OSError) as error:
        print("qedimg: %s" % error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
