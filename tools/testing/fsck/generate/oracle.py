# SPDX-License-Identifier: GPL-2.0
"""What has to be true of an image after a repair, by what a guest read before it.

Nothing here follows the rules by which qed-fsck repairs: what could be read has to be
read afterwards, byte by byte.  Only these may be lost, and have to be named:

- what an entry says that cannot be followed. If it is one of a table that is copied, and a run
  was killed after copies had made the file longer, it can be followed by then, to a hole;
- an L1 entry whose table is claimed by others as well, and has more entries that cannot be
  followed than others;
- one whose table has none that can be followed, but 1, and many that cannot;
- data in a cluster that is a table as well: the words that a repair of that table changes.
"""

import bisect
import struct

from reader import DATA, F_BACKING, F_NEED_CHECK, HEADER, UNALLOCATED, WRONG, ZERO, Geometry, Reader


class Wrong(Exception):
    """What is not as it should be."""


def true(condition, text, *args):
    """Fail unless it holds."""
    if not condition:
        raise Wrong(text % args)


class Named:
    """The findings of a run, by what they are about."""

    def __init__(self, findings):
        self.findings = findings
        self.l1 = {item["index"]: item for item in findings
                   if item["code"].startswith("l1-entry") and "index" in item}
        self.dropped = {index for index, item in self.l1.items() if item["action"] == "cleared"}
        self.starts, self.ends = [], []                 # of ranges, without overlaps
        for first, length in sorted((item["guest-offset"], item["guest-length"])
                                    for item in findings if "guest-offset" in item):
            if self.ends and first <= self.ends[-1]:
                self.ends[-1] = max(self.ends[-1], first + length)
            else:
                self.starts.append(first)
                self.ends.append(first + length)

    def covers(self, offset):
        """Is this offset of the guest's disk named?"""
        at = bisect.bisect_right(self.starts, offset) - 1
        return at >= 0 and offset < self.ends[at]


def before_as(after, data):
    """The view of an image as it was, by the header that it has got."""
    return Reader(data, header_size=after.geo.header_clusters, l1_table_offset=after.geo.l1,
                  image_size=after.geo.size)


def same_header(old, new, findings):
    """Only what was wrong in the header is changed, and named."""
    one, two = HEADER.unpack_from(old), HEADER.unpack_from(new)
    named = {item.get("field") for item in findings}
    for place, field in ((0, "magic"), (1, "cluster_size"), (2, "table_size"), (3, "header_size"),
                         (5, "compat_features"), (7, "l1_table_offset"), (8, "image_size")):
        true(one[place] == two[place] or field in named, "%s was 0x%x, is 0x%x, is not named",
             field, one[place], two[place])
    true(old[HEADER.size:512] == new[HEADER.size:512], "what follows the header has changed")
    true((one[4] ^ two[4]) & ~F_NEED_CHECK == 0 and one[9:] == two[9:] or "features" in named or
         "magic" in named, "the header has another backing file")
    if Geometry(old).size_is_legal():
        true(one[8] == two[8], "a legal size of the disk was changed")


def same_guest(old, new, findings, again=False):
    """The guest reads what it read, but for what may be lost: see above.

    again: the findings are those of several runs; what one of them would have cleared may have
    become right by what another one has done
    """
    after = Reader(new)
    before = before_as(after, old)
    named = Named(findings)
    if again:
        named.dropped -= set(after.tables)
    for index in before.wrong:
        true(index in named.dropped and index not in after.tables and index not in after.wrong,
             "L1 entry %d, 0x%x, is not cleared, or not named", index, before.wrong[index])
    for index in after.tables:
        true(index in before.tables, "L1 entry %d has got a table", index)
    for index in before.tables:
        if index in named.dropped:
            may_be_dropped(before, after, index)
    for guest in sorted(set(before.maps) | set(after.maps)):
        if guest // before.geo.entries not in named.dropped:
            same_cluster(before, after, guest, named, again)
    stays_in_place(before, after, named)
    return before, after


def may_be_dropped(before, after, index):
    """An L1 entry that was taken for none."""
    legal = [before.is_legal(entry, 1) for _, entry in before.table(before.tables[index])
             if entry != 1]
    if not before.table_is_contested(index):
        true(not any(legal), "L1 entry %d is cleared, though nothing else claims its table", index)
        true(len(legal) >= 16, "L1 entry %d is cleared for %d entries", index, len(legal))
    true(legal.count(False) > legal.count(True),
         "L1 entry %d is cleared: %d entries can be followed, %d cannot", index,
         legal.count(True), legal.count(False))
    true(index not in after.tables and index not in after.wrong, "L1 entry %d is not cleared",
         index)


def is_hole(before, after, guest):
    """An entry of a table that is claimed by others, too: can it be followed to zeroes now?"""
    return (before.table_is_contested(guest // before.geo.entries) and
            after.kind(guest) == DATA and not any(after.content(guest)))


def same_cluster(before, after, guest, named, again):
    """A guest cluster."""
    offset = guest * before.geo.cluster
    old, new = before.kind(guest), after.kind(guest)
    if old == WRONG:
        true(new == UNALLOCATED or again and is_hole(before, after, guest),
             "guest 0x%x: an entry that cannot be followed is %s", offset, new)
        true(named.covers(offset), "guest 0x%x: lost, and not named", offset)
        return
    true(old == new, "guest 0x%x: was %s, is %s", offset, old, new)
    if old != DATA:
        return
    one, two = before.content(guest), after.content(guest)
    if one == two:
        return
    cluster = before.maps[guest][1] // before.geo.cluster
    # who writes to a cluster that is a table as well has the table's entries changed
    is_table = any(claim[0] == "table" for claim in before.claims[cluster])
    now = after.piece(before.maps[guest][1], len(one)) if is_table else one
    for at in range(0, len(one), 8):
        words = one[at:at + 8], two[at:at + 8]
        if words[0] != words[1]:
            true(is_table and words[1] in (bytes(8), now[at:at + 8]),
                 "guest 0x%x + 0x%x: was %s, is %s, cluster 0x%x%s", offset, at,
                 words[0].hex(), words[1].hex(), cluster,
                 ", named" if named.covers(offset) else ", not named")


def stays_in_place(before, after, named):
    """What nobody else claims is where it was."""
    for guest, (kind, entry) in before.maps.items():
        index = guest // before.geo.entries
        if kind == DATA and index not in named.dropped and not (
                before.contested(entry // before.geo.cluster) or before.table_is_contested(index)):
            true(after.maps[guest][1] == entry, "guest 0x%x was moved from 0x%x to 0x%x",
                 guest * before.geo.cluster, entry, after.maps[guest][1])
    for index, table in before.tables.items():
        if index not in named.dropped and not before.table_is_contested(index):
            true(after.tables[index] == table, "the table of L1 entry %d was moved", index)


def same_disk(old, new, what):
    """Two views that have to be equal: (kind, content) of all guest clusters."""
    for guest in sorted(set(old.maps) | set(new.maps)):
        kinds = old.kind(guest), new.kind(guest)
        true(kinds[0] == kinds[1], "%s: guest 0x%x was %s, is %s", what,
             guest * old.geo.cluster, *kinds)
        if kinds[0] == DATA:
            true(old.content(guest) == new.content(guest), "%s: guest 0x%x has other data", what,
                 guest * old.geo.cluster)


def same_bytes(old, new, what):
    """As same_disk(), but what reads as zeroes may do that in any way."""
    def content(view, guest):
        if view.kind(guest) == DATA:
            data = view.content(guest)
            return data if any(data) else nothing
        if view.kind(guest) == ZERO:
            return nothing
        return "wrong" if view.kind(guest) == WRONG else None

    # over a backing file it is not the same as no cluster
    nothing = "zeroes" if old.geo.features & F_BACKING else None
    true(old.geo.size == new.geo.size, "%s: another size", what)
    for guest in sorted(set(old.maps) | set(new.maps)):
        true(content(old, guest) == content(new, guest), "%s: guest 0x%x is lost", what,
             guest * old.geo.cluster)


def is_sound(data, what, left=()):
    """Nothing is wrong in an image that was repaired, or only space is left to be looked at."""
    view = Reader(data)
    faults = view.faults()
    true(not faults, "%s: %s", what, "; ".join(faults[:3]))
    true(left or not view.geo.features & F_NEED_CHECK, "%s: NEED_CHECK is set", what)
    return view


def is_short(view, what):
    """No cluster of the file is free."""
    used = sum(cluster < view.clusters for cluster in view.claims)
    true(used == view.clusters and len(view.data) == used * view.geo.cluster,
         "%s: %d of %d clusters are used, %d bytes", what, used, view.clusters, len(view.data))


def put_back(old, scene, data):
    """An image after a repair, with what it had lost put back."""
    out = bytearray(data)
    if len(out) < len(old):
        out.extend(bytes(len(old) - len(out)))
    l1 = struct.unpack_from("<Q", scene.before, 40)[0]
    end = l1 + scene.table_clusters * scene.cluster
    out[l1:end] = scene.before[l1:end]
    out[48:56] = scene.before[48:56]
    return Reader(bytes(out))


__all__ = ["Named", "Wrong", "ZERO", "is_short", "is_sound", "put_back", "same_bytes", "same_disk",
           "same_guest", "same_header", "true"]
