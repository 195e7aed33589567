# SPDX-License-Identifier: GPL-2.0
"""Random damage to small images, the same again for the same seed."""

import os
import random
import struct

import images
from reference import qedimg

# how often a geometry is taken; the large ones are slow
GEOMETRIES = ("4k-1", "4k-1", "4k-1", "4k-2", "4k-2", "full", "header-2", "header-5", "l1-last",
              "l1-middle", "tables-last", "whole", "backing", "4k-16", "64k-4")
FIELDS = {"cluster_size": 4, "table_size": 8, "header_size": 12, "features": 16,
          "compat_features": 24, "autoclear_features": 32, "l1_table_offset": 40,
          "image_size": 48, "backing_filename_offset": 56, "backing_filename_size": 60}
SHORT = ("cluster_size", "table_size", "header_size", "backing_filename_offset",
         "backing_filename_size")
TOP = 1 << 64


class Mutator:
    """Damages a base image; log tells how."""

    def __init__(self, base, seed):
        self.base, self.rng, self.log = base, random.Random(seed), []
        self.places = [base.at[name] for name in base.order]
        self.tables = [name for name in base.order if name[0] in "lt"]

    def mutate(self):
        """One to eight changes."""
        steps = ([self.entry] * 8 + [self.field] * 3 + [self.length] * 2 +
                 [self.flip, self.move, self.swap, self.garbage, self.table, self.many,
                  self.record])
        for _ in range(self.rng.choice((1, 1, 1, 2, 2, 3, 4, 8))):
            self.rng.choice(steps)()

    def say(self, text, *args):
        """Note what was done."""
        self.log.append(text % args)

    def value(self):
        """An interesting value of an entry or a field."""
        rng, base = self.rng, self.base
        size = os.fstat(base.fd).st_size
        kind = rng.randrange(12)
        if kind < 4:                   # what is there already
            return rng.choice(self.places)
        if kind == 4:                  # a cluster of the file
            return rng.randrange(size // base.cluster + 2) * base.cluster
        if kind == 5:                  # nearly right
            return (rng.choice(self.places) + rng.choice(
                (-1, 1, 8, 512, -512, 4096, -4096, base.cluster // 2, base.cluster,
                 -base.cluster, base.table_bytes))) % TOP
        if kind == 6:                  # about the end
            return (size + rng.choice((-2, -1, 0, 1, 2)) * base.cluster -
                    size % base.cluster) % TOP
        if kind == 7:
            return rng.choice((0, 0, 1, 1, 2, 3, 7, 511, 512, 4095, 4096))
        if kind == 8:
            return (rng.choice((1 << 63, 1 << 62, 1 << 40, 1 << 32, TOP)) +
                    rng.choice((-1, 0, 1, -base.cluster, base.cluster, -512))) % TOP
        if kind == 9:
            return 1 << rng.randrange(64)
        if kind == 10:
            return rng.choice(self.places) ^ 1 << rng.randrange(64)
        return rng.getrandbits(64)

    def index(self):
        """An interesting index of a table."""
        rng, entries = self.rng, self.base.entries
        return rng.choice((0, 1, 2, 3, 4, 5, 6, 7, entries - 1, entries // 2, 511,
                           rng.randrange(entries), rng.randrange(entries)))

    def any_table(self):
        """The offset of a table, more often that of the L1 table."""
        return self.base.at[self.rng.choice(self.tables + ["l", "l"])]

    def entry(self):
        """Change an entry of a table."""
        table, index, value = self.any_table(), self.index(), self.value()
        self.base.put_entry(table, index, value)
        self.say("table 0x%x, entry %d: 0x%x", table, index, value)

    def field(self):
        """Change a field of the header."""
        rng = self.rng
        name = rng.choice(list(FIELDS) + ["l1_table_offset", "image_size", "header_size",
                                          "features", "features"])
        value = self.value()
        if name == "features":
            value = rng.choice((0, 1, 2, 2, 2, 3, 4, 5, 6, 7, 1 << rng.randrange(64)))
        elif name in ("cluster_size", "table_size") and rng.random() < 0.5:
            value = 1 << rng.randrange(32)
        elif name == "l1_table_offset" and rng.random() < 0.2:
            # zeroes that are in the file
            size = os.fstat(self.base.fd).st_size
            value = size + -size % self.base.cluster
            os.ftruncate(self.base.fd, value + rng.choice((1, 1, 2)) * self.base.table_bytes)
        elif name == "header_size":
            value = rng.choice((0, 1, 2, 3, 4, 5, rng.randrange(30), 1 << rng.randrange(32),
                                value))
        elif name == "image_size" and rng.random() < 0.5:
            value = (self.base.size + rng.choice((-1, 1)) * rng.choice(
                (1, 512, self.base.cluster, self.base.span, 3 * self.base.span))) % TOP
        elif name.startswith("backing"):
            value = rng.choice((0, 1, 63, 64, 4088, 4089, 4095, 4096, 0xffffffff, value))
        if name in SHORT:
            self.base.put(FIELDS[name], struct.pack("<I", value & 0xffffffff))
        else:
            self.base.put(FIELDS[name], struct.pack("<Q", value))
        self.say("%s: 0x%x", name, value)

    def length(self):
        """Cut the file, or make it longer."""
        rng, base = self.rng, self.base
        size = os.fstat(base.fd).st_size
        new = rng.choice((
            rng.choice(self.places), size + base.cluster, size + rng.randrange(1, base.cluster),
            max(0, size - rng.randrange(1, base.cluster)), rng.randrange(size + 1),
            max(0, size - base.cluster), size + (1 << 30), rng.choice(self.places) + 512))
        os.ftruncate(base.fd, new)
        self.say("length: %d", new)

    def flip(self):
        """Change a bit of the header or a table."""
        place = self.rng.choice((self.rng.randrange(4, 64), self.any_table() +
                                 8 * self.index() + self.rng.randrange(8)))
        byte = os.pread(self.base.fd, 1, place) or b"\0"
        self.base.put(place, bytes([byte[0] ^ 1 << self.rng.randrange(8)]))
        self.say("byte 0x%x: a bit", place)

    def move(self):
        """Let an entry be what another one is."""
        table, index = self.any_table(), self.index()
        value = os.pread(self.base.fd, 8, self.any_table() + 8 * self.index()).ljust(8, b"\0")
        self.base.put(table + 8 * index, value)
        self.say("table 0x%x, entry %d: copy, 0x%x", table, index, struct.unpack("<Q", value)[0])

    def swap(self):
        """Exchange two clusters of the file."""
        base = self.base
        one, two = self.rng.choice(self.places[1:]), self.rng.choice(self.places[1:])
        first = os.pread(base.fd, base.cluster, one)
        second = os.pread(base.fd, base.cluster, two)
        base.put(one, second)
        base.put(two, first)
        self.say("clusters 0x%x and 0x%x: exchanged", one, two)

    def garbage(self):
        """Something behind the end, or a cluster that is gone."""
        base, size = self.base, os.fstat(self.base.fd).st_size
        if self.rng.random() < 0.5:
            base.put(size, b"garbage" * self.rng.randrange(1, 2000))
            self.say("garbage at 0x%x", size)
        else:
            place = self.rng.choice(self.places[1:])
            base.put(place, bytes(base.cluster))
            self.say("zeroes at 0x%x", place)

    def table(self):
        """One more table behind the end, for an L1 entry within the size or beyond."""
        base, rng = self.base, self.rng
        size = os.fstat(base.fd).st_size
        table = size + -size % base.cluster
        os.ftruncate(base.fd, table + rng.choice((base.table_bytes, base.cluster)))
        index = self.index()
        base.put_entry(base.at["l"], index, table)
        for _ in range(rng.randrange(6)):
            base.put_entry(table, self.index(), self.value())
        self.places.append(table)
        self.say("L1 entry %d: a table at 0x%x", index, table)

    def many(self):
        """Many entries in a row, all wrong or all of the same cluster, or one after another."""
        rng, base = self.rng, self.base
        table, index = self.any_table(), self.index()
        value, step = self.value(), rng.choice((0, 1, base.cluster))
        count = min(rng.randrange(2, 40), base.entries - index)
        for number in range(count):
            base.put_entry(table, index + number, value + number * step)
        self.say("table 0x%x, entries %d..%d: 0x%x + 0x%x", table, index, index + count - 1,
                 value, step)

    def record(self):
        """A record: who has the image, or where its tables end, or nearly, and zeroes far away."""
        rng, base = self.rng, self.base
        size = os.fstat(base.fd).st_size
        fields = {"flags": rng.choice((0, 0, 0, 0, 0, 0, 1, 2)),
                  "end": max(0, size // base.cluster + rng.choice((-2, -1, 0, 0, 0, 1, 1000)))}
        if fields["flags"] == 1 and rng.random() < 0.8:
            fields["end"] = 0
        if fields["end"] and rng.random() < 0.2:
            zeroes = fields["end"] + (1 << 20)
            fields.update(zero_from=zeroes, zero_end=zeroes + 9,
                          device_size=(zeroes + rng.choice((8, 9, 9, 9, 10))) * base.cluster)
        base.put(qedimg.RECORD_OFFSET, qedimg.pack_record(**fields))
        base.put(FIELDS["autoclear_features"], struct.pack("<Q", qedimg.AF_RECORD | 5))
        self.say("record: %s", fields)


def make(seed, path):
    """Make the mutant of a seed: what was done to it."""
    name = random.Random(seed).choice(GEOMETRIES)
    geometry = images.GEOMETRIES[name]
    if geometry.backing:
        images.make_backing(os.path.join(os.path.dirname(path), images.BACKING_NAME), geometry)
    with images.Base(path, geometry) as base:
        mutator = Mutator(base, seed)
        mutator.mutate()
    return ["mutant %d, %s" % (seed, name)] + mutator.log
