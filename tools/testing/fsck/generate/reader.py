# SPDX-License-Identifier: GPL-2.0
"""What a guest reads in a QED image, by the description of the format alone.

It shares no code with qed-fsck, nor with qedimg, and has no idea of repairs.  The
image is small: all of it is in memory.
"""

import struct

FIELDS = ("magic", "cluster_size", "table_size", "header_size", "features", "compat_features",
          "autoclear_features", "l1_table_offset", "image_size", "backing_filename_offset",
          "backing_filename_size")
HEADER = struct.Struct("<4I5Q2I")
MAGIC = 0x00444551
F_BACKING, F_NEED_CHECK, F_NO_PROBE = 1, 2, 4
MOST = (1 << 63) - 512                 # bytes, of a guest's disk

UNALLOCATED, ZERO, DATA, WRONG = "unallocated", "zero", "data", "wrong"


class Geometry:
    """What the header says, or what others say in its place."""

    def __init__(self, data, **fields):
        values = dict(zip(FIELDS, HEADER.unpack_from(data.ljust(HEADER.size, b"\0"))))
        values.update(fields)
        self.cluster, self.table_clusters = values["cluster_size"], values["table_size"]
        self.header_clusters, self.l1 = values["header_size"], values["l1_table_offset"]
        self.size, self.features = values["image_size"], values["features"]
        self.magic = values["magic"]

    def is_sane(self):
        """Can tables be read by it?  Whether the size is legal does not matter."""
        def power(value, least, most):
            return least <= value <= most and not value & (value - 1)
        return (self.magic == MAGIC and power(self.cluster, 4096, 1 << 26) and
                power(self.table_clusters, 1, 16))

    @property
    def entries(self):
        """Of a table."""
        return self.table_clusters * self.cluster // 8

    @property
    def most(self):
        """Bytes that tables can map."""
        return min(self.entries ** 2 * self.cluster, MOST)

    def size_is_legal(self):
        """Is the size of the disk one that the tables can map?"""
        return 0 < self.size <= self.most and not self.size % 512

    @property
    def guest_clusters(self):
        """Of the guest's disk."""
        return -(-self.size // self.cluster)


class Reader:
    """The guest's view of an image.

    tables  {L1 index: offset}, for the entries that can be followed
    wrong   {L1 index: entry}, for those that cannot
    maps    {guest cluster: (kind, entry)} without what is unallocated
    claims  {cluster of the file: [claim, ...]}, a claim being ("table", L1 index) or ("data",
            guest cluster), or ("header",) and ("l1",)
    """

    def __init__(self, data, **fields):
        self.data, self.geo = data, Geometry(data, **fields)
        self.tables, self.wrong, self.maps, self.claims = {}, {}, {}, {}
        geo = self.geo
        self.clusters = -(-len(data) // geo.cluster)
        self.l1_clusters = range(geo.l1 // geo.cluster,
                                 geo.l1 // geo.cluster + geo.table_clusters)
        for cluster in range(min(geo.header_clusters, self.clusters)):
            self.claim(cluster, ("header",))
        for cluster in self.l1_clusters:
            self.claim(cluster, ("l1",))
        for index, entry in self.table(geo.l1):
            if index * geo.entries >= geo.guest_clusters:
                break
            self.follow(index, entry)

    def claim(self, cluster, claim):
        """Note who refers to a cluster of the file."""
        self.claims.setdefault(cluster, []).append(claim)

    def piece(self, offset, length):
        """Bytes of the file, zeroes behind its end."""
        return bytes(self.data[offset:offset + length]).ljust(length, b"\0")

    def table(self, offset):
        """(index, entry) of a table's entries that are not 0."""
        length = self.geo.table_clusters * self.geo.cluster
        data, nothing = self.piece(offset, length), bytes(512)
        for start in range(0, length, 512):
            sector = data[start:start + 512]
            if sector != nothing:
                for number, entry in enumerate(struct.unpack("<64Q", sector)):
                    if entry:
                        yield start // 8 + number, entry

    def is_legal(self, entry, count):
        """May an entry refer to so many clusters at this offset?"""
        first, rest = divmod(entry, self.geo.cluster)
        return (not rest and self.geo.header_clusters <= first < self.clusters and
                (first >= self.l1_clusters.stop or first + count <= self.l1_clusters.start))

    def follow(self, index, entry):
        """An L1 entry."""
        geo = self.geo
        if not self.is_legal(entry, geo.table_clusters):
            self.wrong[index] = entry
            return
        self.tables[index] = entry
        for cluster in self.table_range(entry):
            self.claim(cluster, ("table", index))
        first, end = index * geo.entries, geo.guest_clusters
        for number, value in self.table(entry):
            guest = first + number
            if guest >= end:
                break
            if value == 1:
                self.maps[guest] = (ZERO, 1)
            elif self.is_legal(value, 1):
                self.maps[guest] = (DATA, value)
                self.claim(value // geo.cluster, ("data", guest))
            else:
                self.maps[guest] = (WRONG, value)

    def table_range(self, entry):
        """The clusters of a table."""
        first = entry // self.geo.cluster
        return range(first, first + self.geo.table_clusters)

    def kind(self, guest):
        """Of a guest cluster: is it data, zero, unallocated, or can it not be read?"""
        if guest // self.geo.entries in self.wrong:
            return WRONG
        return self.maps.get(guest, (UNALLOCATED,))[0]

    def content(self, guest):
        """What a guest cluster with data has, as far as the disk reaches."""
        length = min(self.geo.cluster, self.geo.size - guest * self.geo.cluster)
        return self.piece(self.maps[guest][1], length)

    def contested(self, cluster):
        """Does more than one claim this cluster of the file?"""
        return len(self.claims.get(cluster, ())) > 1

    def table_is_contested(self, index):
        """Does anything else claim a cluster of the table of this L1 entry?"""
        return any(self.contested(cluster) for cluster in self.table_range(self.tables[index]))

    def faults(self):
        """All that keeps this from being a sound image, but for space that is lost."""
        found = ["L1 entry %d: 0x%x" % item for item in self.wrong.items()]
        found += ["guest cluster %d: 0x%x" % (guest, entry)
                  for guest, (kind, entry) in self.maps.items() if kind == WRONG]
        found += ["cluster %d: %s" % item for item in self.claims.items() if len(item[1]) > 1]
        found += ["the table of L1 entry %d is not in the file" % index
                  for index, entry in self.tables.items()
                  if self.table_range(entry)[-1] >= self.clusters]
        if not self.geo.size_is_legal():
            found.append("size of the disk %d" % self.geo.size)
        return found

    def raw(self):
        """The guest's disk, {offset: bytes} of what is not as below it, or zero."""
        return {guest * self.geo.cluster: self.content(guest) if kind == DATA else
                bytes(min(self.geo.cluster, self.geo.size - guest * self.geo.cluster))
                for guest, (kind, _) in self.maps.items()
                if kind == DATA or (kind == ZERO and self.geo.features & F_BACKING)}
