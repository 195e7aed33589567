# SPDX-License-Identifier: GPL-2.0
"""Images as the years leave them, and then damaged; the same again for the same seed.

A scene begins as a sound image with fragments, holes and clusters that were discarded, whose data
is what a guest may write: also what looks like a table.  Then one to four things happen to it.
"""

import random
import struct

from reader import F_BACKING, F_NEED_CHECK, F_NO_PROBE, FIELDS, HEADER, MAGIC

TOP = (1 << 64) - 1
# offsets of what a damage changes
PLACE = {"header_size": (12, "<I"), "features": (16, "<Q"), "l1_table_offset": (40, "<Q"),
         "image_size": (48, "<Q")}
BACKING = b"base"                      # the name of a backing file
GEOMETRIES = ([(4096, 1), (4096, 2), (4096, 4), (4096, 2), (4096, 4), (4096, 8), (8192, 2),
               (4096, 16), (8192, 4), (16384, 2)] * 4 + [(65536, 4), (65536, 1)])


class Scene:
    """An image in memory.

    data    what the file has
    before  the same, before it was damaged
    tables  {L1 index: offset}, before it was damaged
    lost    true if what happened can be taken back by the bytes that are lost: nothing else may
            have gone then, whatever is repaired without a question
    log     what was done, for people
    """

    def __init__(self, seed):
        self.rng = random.Random(seed)
        self.log, self.lost = [], False
        self.cluster, self.table_clusters = self.rng.choice(GEOMETRIES)
        self.entries = self.table_clusters * self.cluster // 8
        self.data = bytearray()
        self.tables, self.mapped, self.free = {}, {}, []
        self.l1 = self.age()
        if seed % 4 == 2:
            self.put_over()
        self.before = bytes(self.data)
        self.say("scene %d: clusters of %d, tables of %d, %d tables, %d clusters in the file",
                 seed, self.cluster, self.table_clusters, len(self.tables),
                 len(self.data) // self.cluster)
        self.damage()

    def say(self, text, *args):
        """Note what was done."""
        self.log.append(text % args)

    def chance(self, percent):
        """True in so many of a hundred cases."""
        return self.rng.random() * 100 < percent

    # A sound image

    def end(self):
        """Number of clusters in the file."""
        return -(-len(self.data) // self.cluster)

    def put(self, offset, data):
        """Write to the file."""
        if offset + len(data) > len(self.data):
            self.data.extend(bytes(offset + len(data) - len(self.data)))
        self.data[offset:offset + len(data)] = data

    def put_entry(self, table, index, value):
        """Write an entry of the table at this offset."""
        self.put(table + index * 8, struct.pack("<Q", value & TOP))

    def add(self, clusters):
        """More clusters at the end of the file: their offset."""
        offset = self.end() * self.cluster
        self.data.extend(bytes(offset + clusters * self.cluster - len(self.data)))
        return offset

    def header(self, field):
        """A field of the header."""
        return HEADER.unpack_from(self.data)[FIELDS.index(field)]

    def set_header(self, field, value):
        """Change a field of the header."""
        place, form = PLACE[field]
        self.put(place, struct.pack(form, value & (TOP if form == "<Q" else 0xffffffff)))
        self.say("%s: 0x%x", field, value)

    def content(self, guest):
        """What a guest may write: also what looks like a table."""
        rng, kind = self.rng, self.rng.randrange(20)
        if kind == 0:
            return bytes(self.cluster)
        if kind < 4:                   # offsets, legal ones for the most part
            words = [rng.randrange(1, 80) * self.cluster for _ in range(rng.choice((1, 8, 64)))]
            return (struct.pack("<%dQ" % len(words), *words) * (self.cluster // 8))[:self.cluster]
        if kind < 6:
            return rng.randbytes(self.cluster)
        if kind == 6:                  # a little, and then nothing
            return struct.pack("<Q", rng.randrange(1, 80) * self.cluster).ljust(self.cluster, b"\0")
        return struct.pack("<QQ", guest << 8 | 0x77, rng.getrandbits(64)) * (self.cluster // 16)

    def indexes(self):
        """Entries of a table that are used: in each of its clusters, single ones and runs."""
        rng, used = self.rng, set()
        for _ in range(rng.randrange(1, 5)):
            first = rng.choice((0, 63, 64, self.entries // 2 - 1, self.entries // 2,
                                self.entries - 4, rng.randrange(self.entries),
                                rng.randrange(self.table_clusters) * (self.cluster // 8)))
            used.update(range(first, min(self.entries, first + rng.choice((1, 1, 2, 5)))))
        return used

    def age(self):
        """Write to it, discard, leave holes: where the L1 table is."""
        rng = self.rng
        header = rng.choice((1, 1, 1, 2, 3))
        self.add(header + (rng.randrange(3) if self.chance(10) else 0))
        l1 = self.add(self.table_clusters)
        used = sorted(rng.sample(range(9), rng.randrange(2, 7)))
        if self.chance(30):            # another sector of the L1 table
            used += [64 + rng.randrange(4), 200][:rng.randrange(1, 3)]
        steps = [(index, None) for index in used]
        for index in used:
            steps += [(index, number) for number in self.indexes()]
        if self.chance(60):
            rng.shuffle(steps)
        else:
            steps.sort(key=lambda step: (step[0], step[1] if step[1] is not None else -1))
        for index, number in steps:
            self.step(l1, index, number)
        last = used[-1] * self.entries + max(
            [guest % self.entries for guest in self.mapped if guest // self.entries == used[-1]] +
            [0])
        size = (last + 1 + rng.choice((0, 0, 1, 100))) * self.cluster
        size -= rng.choice((0, 0, 512, 1024)) if self.chance(50) else 0
        if self.chance(20):            # all that the tables can map
            size = min(self.entries ** 2 * self.cluster, (1 << 63) - 512)
        self.put(0, HEADER.pack(MAGIC, self.cluster, self.table_clusters, header, 0, 0, 0, l1,
                                size, 0, 0))
        return l1

    def step(self, l1, index, number):
        """One write of a guest, or what is between two."""
        if self.chance(8):             # free since long: a hole, or what was there
            at = self.add(self.rng.choice((1, 1, 2, 3)))
            if self.chance(40):
                self.put(at, self.content(0))
            self.free.append(at)
        if index not in self.tables:
            self.tables[index] = self.add(self.table_clusters)
            self.put_entry(l1, index, self.tables[index])
        if number is None:
            return
        guest, kind = index * self.entries + number, self.rng.randrange(20)
        at = 1 if kind == 0 else self.add(1)
        if kind == 1:                  # written and discarded
            self.free.append(at)
            return
        if at > 1:
            self.put(at, self.content(guest))
        self.put_entry(self.tables[index], number, at)
        self.mapped[guest] = at

    def put_over(self):
        """It gets a backing file that is raw: what has no cluster is no zeroes then."""
        at = HEADER.size + self.cluster // 2 * (self.rng.randrange(4) == 0)
        self.put(at, BACKING)
        self.put(56, struct.pack("<2I", at, len(BACKING)))
        self.set_header("features", F_BACKING | F_NO_PROBE)

    # What happens to it

    def damage(self):
        """One to four things."""
        rng = self.rng
        if self.chance(25):
            self.lose()
            return
        steps = ([self.overlap] * 7 + [self.chain] * 4 + [self.no_table] * 3 +
                 [self.cut_size] * 2 + [self.share] * 2 +
                 [self.entry] * 4 + [self.sector] * 3 + [self.field, self.length, self.length])
        for _ in range(rng.choice((1, 1, 2, 2, 3, 4))):
            rng.choice(steps)()
        if self.chance(30):
            self.need_check()

    def need_check(self):
        """Whoever had it has not closed it."""
        self.set_header("features", self.header("features") | F_NEED_CHECK)

    def lose(self):
        """What a disk, or a crash, loses: a sector of the L1 table, or the size."""
        self.lost = True
        self.need_check()
        if self.chance(80):
            first = self.l1 + self.rng.choice((0, 0, 0, 512))
            length = min(self.rng.choice((512, 512, 512, 4096)),
                         self.l1 + self.table_clusters * self.cluster - first)
            self.put(first, bytes(length))
            self.say("%d bytes at 0x%x are zeroes", length, first)
        else:
            self.disk_size()

    def disk_size(self):
        """Another size of the disk."""
        rng, span = self.rng, self.entries * self.cluster
        size = self.header("image_size")
        self.set_header("image_size", rng.choice((
            0, 1, 512, self.cluster, size // 2 & ~511, size - 512, size + 512, size + 1, span,
            max(512, size - span), size + span, 1 << rng.randrange(9, 63), 1 << 63, TOP,
            rng.getrandbits(64))) & TOP)

    def table_at(self):
        """An L1 entry with a table: (index, offset), as it is now."""
        index = self.rng.choice(sorted(self.tables))
        if self.l1 + index * 8 + 8 > len(self.data):    # the file was cut there
            return index, self.tables[index]
        return index, struct.unpack_from("<Q", self.data, self.l1 + index * 8)[0]

    def some_index(self):
        """An L1 index to be damaged: a used one, or not."""
        return self.rng.choice(sorted(self.tables) + [self.rng.randrange(10)])

    def set_l1(self, index, value):
        """Change an L1 entry; what it did refer to is lost."""
        self.put_entry(self.l1, index, value)
        self.say("L1 entry %d: cluster 0x%x%s", index, value // self.cluster,
                 " + 0x%x" % (value % self.cluster) if value % self.cluster else "")

    def overlap(self):
        """A table in part over another one, or the same."""
        index, base = self.table_at()
        other = self.some_index()
        shift = self.rng.randrange(1 - self.table_clusters, self.table_clusters)
        if other != index:
            self.set_l1(other, base + shift * self.cluster)
            self.fill(base + shift * self.cluster)

    def cut_size(self):
        """The disk ends within a table, whose rest is a part of another one."""
        guests = [guest for guest in self.mapped if guest % self.entries]
        if not guests:
            return
        guest = self.rng.choice(guests)
        index, shift = guest // self.entries, self.rng.randrange(self.table_clusters)
        self.set_header("image_size", guest * self.cluster)
        if index:
            base = self.tables[index] + shift * self.cluster
            self.set_l1(self.rng.randrange(index), base)
            self.fill(base)

    def chain(self):
        """Several tables, each over the one before, with neighbours that are none."""
        _, base = self.table_at()
        shift = self.rng.choice((-1, 1)) * self.rng.randrange(1, self.table_clusters + 1)
        first = self.rng.randrange(8)
        for number in range(self.rng.randrange(2, 5)):
            base += shift * self.cluster
            if self.chance(25):
                self.set_l1(first + number, self.some_data())
            else:
                self.set_l1(first + number, base)
                self.fill(base)

    def fill(self, table):
        """Entries in a part of a table that was none, now and then."""
        first = self.l1 + self.table_clusters * self.cluster
        if table < first or table + self.table_clusters * self.cluster > len(self.data) or (
                self.chance(50)):
            return
        for _ in range(self.rng.randrange(1, 6)):
            at = table + 8 * self.rng.randrange(self.entries)
            if at // self.cluster * self.cluster in self.free:
                self.put(at, struct.pack("<Q", self.some_value()))

    def some_data(self):
        """The offset of a cluster of data, or beside it."""
        places = [at for at in self.mapped.values() if at > 1] + self.free
        at = self.rng.choice(places) if places else self.cluster
        return max(0, at + self.rng.choice((0, 0, 0, -1, 1)) * self.cluster)

    def no_table(self):
        """Data that an L1 entry takes for a table."""
        self.set_l1(self.some_index(), self.some_data())

    def share(self):
        """Entries that refer to data of others."""
        for _ in range(self.rng.choice((1, 2, 6))):
            _, table = self.table_at()
            at = self.rng.randrange(self.entries)
            self.put_l2(table, at, self.some_data())

    def put_l2(self, table, index, value):
        """Change an entry of what may be a table."""
        if table % self.cluster or not 0 < table < len(self.data):
            return
        self.put_entry(table, index, value)
        self.say("table at cluster 0x%x, entry %d: 0x%x", table // self.cluster, index, value)

    def some_value(self):
        """Of an entry."""
        rng = self.rng
        return rng.choice((
            0, 1, 2, rng.randrange(self.end() + 2) * self.cluster, self.some_data(),
            rng.choice(sorted(self.tables.values())) + rng.randrange(
                self.table_clusters) * self.cluster,
            self.some_data() + 512, rng.getrandbits(64), 1 << rng.randrange(64),
            self.l1, rng.randrange(self.end()) * self.cluster))

    def entry(self):
        """Entries of any value."""
        for _ in range(self.rng.choice((1, 1, 2, 5))):
            if self.chance(40):
                self.set_l1(self.some_index(), self.some_value())
            else:
                _, table = self.table_at()
                self.put_l2(table, self.rng.randrange(self.entries), self.some_value())

    def sector(self):
        """A sector of a table is lost."""
        rng = self.rng
        tables = sorted(self.tables.values()) + [self.l1]
        length = self.table_clusters * self.cluster
        used = [at - at % 512 for at in range(0, length, 512)]
        for _ in range(rng.choice((1, 1, 2))):
            at = rng.choice(tables)
            at += rng.choice([0] + used)
            if at + 512 > len(self.data):
                continue
            other = rng.choice(tables) + rng.choice([0] + used)
            data = rng.choice((bytes(512), bytes(512), b"\xff" * 512, rng.randbytes(512),
                               bytes(self.data[other:other + 512]).ljust(512, b"\0")))
            self.put(at, data)
            self.say("sector at 0x%x: %s...", at, data[:8].hex())

    def field(self):
        """A field of the header, or all of it."""
        rng, size = self.rng, self.header("image_size")
        kind = rng.randrange(6)
        if kind == 0:
            self.put(0, bytes(512))
            self.say("the header is lost")
        elif kind == 1:
            self.set_header("header_size", rng.choice((0, 1, 2, 5, 1 << 20)))
        elif kind == 2:
            self.set_header("l1_table_offset", rng.choice((
                0, self.cluster, 512, self.some_data(), rng.choice(list(self.tables.values())),
                len(self.data), 1 << 62)))
        elif size:
            self.disk_size()

    def misplace(self):
        """The header leads to another place of the L1 table; it, or the disk, has another size."""
        rng, kind = self.rng, self.rng.randrange(3)
        if kind:
            self.set_header("l1_table_offset", rng.choice((
                0, 512, self.some_data(), self.some_data(), rng.choice(list(self.tables.values())),
                rng.choice(list(self.tables.values())), rng.randrange(self.end()) * self.cluster)))
        if kind != 1:
            self.set_header("header_size", rng.choice((0, 1, 2, 3, 5, 1 << 20)))
        if self.chance(25):
            self.set_header("image_size", rng.choice((0, 1, 513, 1 << 63)))

    def length(self):
        """The file is cut, or has got longer."""
        rng, length = self.rng, len(self.data)
        new = rng.choice((length - rng.randrange(1, 4) * self.cluster, length - 512,
                          length - rng.randrange(self.cluster), length + 512,
                          rng.randrange(length), length + 3 * self.cluster,
                          rng.choice(sorted(self.tables.values())) + self.cluster,
                          rng.choice(sorted(self.tables.values())) + 512))
        new = max(new, self.cluster)
        if new > length and self.chance(50):
            self.put(length, rng.randbytes(new - length))
        self.data = self.data[:new].ljust(new, b"\0")
        self.say("length of the file: %d, was %d", new, length)

    def write(self, path, data=None):
        """Write the image to a file, with holes where there are zeroes."""
        data = self.data if data is None else data
        with open(path, "wb") as file:
            zeroes = bytes(4096)
            for at in range(0, len(data), 4096):
                piece = data[at:at + 4096]
                if piece != zeroes[:len(piece)]:
                    file.seek(at)
                    file.write(piece)
            file.truncate(len(data))
