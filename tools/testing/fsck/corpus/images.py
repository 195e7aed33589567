# SPDX-License-Identifier: GPL-2.0
"""Sound images to be damaged, and what a guest sees in an image.

A base image has a few data clusters, zero clusters and L2 tables at places that
are stated here, in an order like that of an image that QEMU has written.  All
that is data is stamped with its place on the guest's disk, so that no two
sectors are equal.
"""

import collections
import os
import struct

from reference import qedimg

BLOCK = 4096
BACKING_NAME = "base.raw"
ZEROES = bytes(BLOCK)

# An image's clusters in the order of the file.  "t1" is the table of L1 entry 1, "1.5" the data of
# the guest's cluster 5 in the range of that table, "1.n" of the last one, "z" of the last L1 entry.
ORDER = "h l 0.0 t0 0.1 0.3 t1 1.0 0.n t3 1.5 3.0 1.n 3.5"
ZERO_CLUSTERS = "0.2 1.6 3.3"
TAIL = 3 * 512                         # bytes of the guest's disk in its last cluster


class Geometry(collections.namedtuple("Geometry", "name cluster table header order size backing")):
    """How a base image looks.

    size        last L1 entry, clusters of that, bytes more; or None: all that the tables can map
    """

    @property
    def entries(self):
        """Of a table."""
        return self.table * self.cluster // 8

    @property
    def image_size(self):
        """Of the guest's disk, in bytes."""
        if self.size is None:
            return min(self.entries ** 2 * self.cluster, (1 << 63) - 512)
        index, clusters, more = self.size
        return (index * self.entries + clusters) * self.cluster + more

    @property
    def qemu_opens(self):
        """QEMU wants two clusters per table, and its limit of the size wraps."""
        bits = self.cluster.bit_length() - 1
        return self.table > 1 and 3 * bits + 2 * (self.table.bit_length() - 1) < 70


K, M = 1 << 10, 1 << 20
LATE = "h 0.0 t0 0.1 0.3 t1 1.0 0.n t3 1.5 3.0 1.n 3.5 l"
MIDDLE = "h 0.0 t0 0.1 0.3 t1 l 1.0 0.n t3 1.5 3.0 1.n 3.5"
TABLES_LAST = "h l 0.0 0.1 0.3 1.0 0.n 1.5 3.0 1.n 3.5 t0 t1 t3"
FULL = "h l 0.0 t0 0.1 0.3 t1 1.0 0.n tz 1.5 z.0 1.n z.n"
PARTIAL = (3, 5, TAIL)
GEOMETRIES = {geometry[0]: Geometry(*geometry) for geometry in (
    ("4k-1", 4 * K, 1, 1, ORDER, PARTIAL, False),
    ("4k-2", 4 * K, 2, 1, ORDER, PARTIAL, False),
    ("4k-16", 4 * K, 16, 1, ORDER, PARTIAL, False),
    ("64k-4", 64 * K, 4, 1, ORDER, PARTIAL, False),
    ("1m-1", M, 1, 1, ORDER, PARTIAL, False),
    ("64m-1", 64 * M, 1, 1, ORDER, PARTIAL, False),
    ("header-2", 4 * K, 2, 2, ORDER, PARTIAL, False),
    ("header-5", 8 * K, 2, 5, ORDER, PARTIAL, False),
    ("l1-last", 4 * K, 2, 1, LATE, PARTIAL, False),
    ("l1-middle", 4 * K, 2, 1, MIDDLE, PARTIAL, False),
    ("tables-last", 4 * K, 2, 1, TABLES_LAST, PARTIAL, False),
    ("whole", 4 * K, 2, 1, ORDER, (3, 6, 0), False),
    ("full", 4 * K, 1, 1, FULL, None, False),
    ("backing", 4 * K, 2, 1, ORDER, PARTIAL, True),
    ("backing-64k", 64 * K, 4, 1, ORDER, PARTIAL, True),
)}


def stamps(cluster, cluster_size, word=0):
    """{offset in the cluster: block} of data; big clusters are stamped at some places only."""
    places = (range(0, cluster_size, BLOCK) if cluster_size <= 8 * K else
              (0, cluster_size // 2, cluster_size - BLOCK))
    return {place: qedimg.stamp(cluster * cluster_size + place, BLOCK, word) for place in places}


class Base:
    """A base image in a file, opened to be damaged."""

    def __init__(self, path, geometry):
        self.path, self.geo = path, geometry
        self.cluster, self.entries = geometry.cluster, geometry.entries
        self.table_bytes = geometry.table * geometry.cluster
        self.span = self.entries * self.cluster
        self.size = geometry.image_size
        self.last = -(-self.size // self.span) - 1      # index of the last L1 entry in the size
        self.at = {}                                    # name: offset
        self.order = []
        self.content = {}                               # guest cluster: "zero" or the stamps' one
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
        self.end = 0
        self.build()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        os.close(self.fd)

    def number(self, name):
        """The guest's cluster that "1.n" and the like stand for."""
        index, number = name.split(".")
        index = self.last if index == "z" else int(index)
        number = self.entries - 1 if number == "n" else int(number)
        return index * self.entries + number

    def table_of(self, name):
        """Offset of the L2 table that maps this cluster."""
        return self.at["t" + name.split(".")[0]]

    def length_of(self, name):
        """Bytes of what has this name."""
        return (self.geo.header * self.cluster if name == "h" else
                self.table_bytes if name[0] in "ltb" else self.cluster)

    def put(self, offset, data):
        """Write to the file."""
        os.pwrite(self.fd, data, offset)

    def put_entry(self, table, index, value):
        """Write an entry of the table at this offset."""
        self.put(table + 8 * index, struct.pack("<Q", value & (1 << 64) - 1))

    def header(self, **fields):
        """Change fields of the header."""
        hdr = qedimg.Header(os.pread(self.fd, qedimg.HEADER.size, 0))
        for name, value in fields.items():
            setattr(hdr, name, value)
        self.put(0, hdr.pack())

    def place(self, name):
        """Put something at the end of the file."""
        self.order.append(name)
        self.at[name] = self.end
        self.end += self.length_of(name)
        os.ftruncate(self.fd, self.end)

    def place_data(self, name):
        """Put a cluster of data at the end of the file, which nothing maps."""
        self.place(name)
        for place, block in stamps(self.number(name), self.cluster).items():
            self.put(self.at[name] + place, block)

    def place_table(self, name):
        """Put a table at the end of the file; if not huge it takes all of its space."""
        self.place(name)
        for pos, length in qedimg.pieces(self.at[name], self.end):
            if self.table_bytes <= 16 * M or pos == self.at[name]:
                self.put(pos, bytes(min(length, 256 * K)))

    def build(self):
        """Write the image."""
        geo = self.geo
        for name in geo.order.split():
            if name == "h":
                self.place(name)
            elif name[0] in "lt":
                self.place_table(name)
            else:
                self.place_data(name)
        hdr = qedimg.Header(magic=qedimg.MAGIC, cluster_size=geo.cluster, table_size=geo.table,
                            header_size=geo.header, l1_table_offset=self.at["l"],
                            image_size=self.size)
        if geo.backing:
            hdr.features = qedimg.F_BACKING | qedimg.F_NO_PROBE
            hdr.backing_filename_offset = qedimg.HEADER.size
            hdr.backing_filename_size = len(BACKING_NAME)
        self.put(0, hdr.pack())
        if geo.backing:
            self.put(qedimg.HEADER.size, BACKING_NAME.encode())
        for name in self.order:
            if name[0] == "t":
                index = self.last if name == "tz" else int(name[1:])
                self.put_entry(self.at["l"], index, self.at[name])
            elif name not in "hl":
                self.map(name, self.at[name])
        for name in ZERO_CLUSTERS.split():
            if "t" + name[0] in self.at:
                self.map(name, 1)

    def map(self, name, value):
        """Let an L2 entry be this, and remember what the guest sees by it."""
        cluster = self.number(name)
        self.put_entry(self.table_of(name), cluster % self.entries, value)
        self.content.pop(cluster, None)
        if value == 1:
            self.content[cluster] = "zero"
        elif value:
            self.content[cluster] = cluster


def copy(source, target):
    """Copy a sparse file."""
    with qedimg.Disk(source) as old, qedimg.Disk(target, create=True) as new:
        os.ftruncate(new.fd, 0)
        os.ftruncate(new.fd, old.size())
        for start, end in old.data_ranges(0, old.size()):
            for pos, length in qedimg.pieces(start, end):
                new.write(pos, old.read(pos, length))


def blocks(disk, offset, length):
    """{offset in the range: block} of what is not zero in a range of a file."""
    out = {}
    for start, end in disk.data_ranges(offset, offset + length):
        start -= start % BLOCK
        for pos in range(start, end, BLOCK):
            block = disk.read(pos, min(BLOCK, offset + length - pos))
            block += bytes(BLOCK - len(block))
            if block != ZEROES:
                out[pos - offset] = block
    return out


def same_files(one, two):
    """Have two files the same length and content?"""
    with qedimg.Disk(one) as first, qedimg.Disk(two) as second:
        return first.size() == second.size() and (
            blocks(first, 0, first.size()) == blocks(second, 0, second.size()))


def seen_bytes(content, cluster, image_size, cluster_size):
    """Cut {offset: block} of a guest's cluster at the end of the disk."""
    left = image_size - cluster * cluster_size
    if left >= cluster_size:
        return content
    out = {}
    for place, block in content.items():
        block = block[:max(0, left - place)]
        if block.strip(b"\0"):
            out[place] = block + bytes(BLOCK - len(block))
    return out


class Guest:
    """What a guest sees in an image: {cluster: "zero" or {offset: block}}.

    A cluster that is not in it reads as the backing file or as zeroes.
    """

    def __init__(self, image_size, cluster_size, clusters=None):
        self.image_size, self.cluster_size = image_size, cluster_size
        self.clusters = {
            cluster: content if content == "zero" else
            seen_bytes(content, cluster, image_size, cluster_size)
            for cluster, content in (clusters or {}).items() if cluster * cluster_size < image_size}

    @classmethod
    def of_base(cls, base):
        """What is to be seen, by what a base image remembers."""
        return cls(base.size, base.cluster, {
            cluster: "zero" if content == "zero" else stamps(content, base.cluster)
            for cluster, content in base.content.items()})

    @classmethod
    def of_reference(cls, ref, path):
        """What is to be seen after -y, by the reference checker and the image before."""
        size = ref.hdr.cluster_size
        with qedimg.Disk(path) as disk:
            return cls(ref.hdr.image_size, size, {
                cluster: "zero" if value == 1 else blocks(disk, value, size)
                for cluster, value in ref.guest.items()})

    @classmethod
    def of_image(cls, path):
        """What is seen in a sound image, read by qedimg."""
        with qedimg.Disk(path) as disk:
            img = qedimg.Image(disk).validate()
            size, clusters = img.hdr.cluster_size, {}
            for start, length, kind, where in img.extents():
                if kind == "unallocated":
                    continue
                for pos, _ in qedimg.pieces(start, start + length, size):
                    clusters[pos // size] = ("zero" if kind == "zero" else
                                             blocks(disk, where + pos - start, size))
            return cls(img.hdr.image_size, size, clusters)

    def __eq__(self, other):
        return self.difference(other) is None

    def difference(self, other, ignored=()):
        """Where two differ, or None; some clusters may have other data."""
        if self.image_size != other.image_size:
            return "size of the disk %d, expected %d" % (self.image_size, other.image_size)
        for cluster in sorted(set(self.clusters) | set(other.clusters)):
            mine, theirs = self.clusters.get(cluster), other.clusters.get(cluster)
            if cluster in ignored and isinstance(mine, dict) and isinstance(theirs, dict):
                continue
            if mine != theirs:
                return ("guest offset 0x%x: %s, expected %s"
                        % (cluster * self.cluster_size, describe(mine), describe(theirs)))
        return None

    def write_raw(self, path, backing=None):
        """The guest's disk as a sparse raw file, over that of a backing file."""
        if backing:
            copy(backing, path)
        with qedimg.Disk(path, create=True) as raw:
            if not backing:
                os.ftruncate(raw.fd, 0)
            os.ftruncate(raw.fd, self.image_size)
            for cluster, content in self.clusters.items():
                start = cluster * self.cluster_size
                if backing:
                    for pos, length in qedimg.pieces(
                            start, min(start + self.cluster_size, self.image_size)):
                        raw.write(pos, bytes(length))
                if content != "zero":
                    for place, block in content.items():
                        raw.write(start + place, block[:self.image_size - start - place])


def describe(content):
    """Of a guest's cluster, for people."""
    if content is None:
        return "not mapped"
    if content == "zero":
        return "zero"
    if not content:
        return "data, all zero"
    place = min(content)
    return "data, 0x%x: %r..." % (place, content[place][:16])


def make_backing(path, geometry):
    """A backing file, shorter than the image, with something in the range of each table."""
    size = geometry.cluster
    with qedimg.Disk(path, create=True) as raw:
        os.ftruncate(raw.fd, 0)
        os.ftruncate(raw.fd, 3 * geometry.entries * size + 4 * size + 512)
        for index in range(4):
            for number in range(0, 5):
                start = (index * geometry.entries + number) * size
                raw.write(start, qedimg.stamp(start, 512, 7))
