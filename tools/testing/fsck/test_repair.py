# SPDX-License-Identifier: GPL-2.0-only
"""Tests of qed-fsck: repairs that must not lose data, and images made to be slow.

To be run by "check", which adds them to those of test_fsck.py.
"""

import array
import itertools
import os
import random
import signal
import struct
import subprocess

import qedimg
from test_fsck import (BUILT, CLEAN, FSCK, LEFT, M, OPERATION, REPAIRED, USAGE, Terminal, codes, copy,
                       digest, edit, equal, fsck, guest, populated, preload, read_trace, report,
                       structure, test, true)


def make(path, l1, tables, data=(), cluster=4096, table=4, l1_table=None, size=None, clusters=None):
    """An image written by hand, all places in clusters.

    l1      {index: cluster of a table}
    tables  {cluster: {index of an entry: cluster, or a pair of cluster and offset}}
    data    {cluster: content, repeated}
    """
    entries = cluster * table // 8
    size = size or (max(l1, default=0) + 1) * entries * cluster
    with open(path, "wb") as file:
        file.write(qedimg.Header(magic=qedimg.MAGIC, cluster_size=cluster, table_size=table,
                                 header_size=1, image_size=size,
                                 l1_table_offset=(l1_table or 1) * cluster).pack())

        def put(where, content):
            for index, value in content.items():
                offset = value[0] * cluster + value[1] if isinstance(value, tuple) else value * cluster
                file.seek(where * cluster + index * 8)
                file.write(struct.pack("<Q", offset))

        put(l1_table or 1, l1)
        for where, content in tables.items():
            put(where, content)
        for where, content in dict(data).items():
            file.seek(where * cluster)
            file.write((content * cluster)[:cluster])
        if clusters:
            file.truncate(clusters * cluster)
    return path


def view(path, mapped=None):
    """What the guest can read of a small damaged image: {guest cluster: content}, not zeroes.

    Each entry counts that is legal by itself; what is behind the end is zero. In mapped it
    says where: {guest cluster: cluster of the image}.
    """
    with open(path, "rb") as file:
        image = file.read()
    hdr = qedimg.Header(image[:qedimg.HEADER.size])
    size, l1_first = hdr.cluster_size, hdr.l1_table_offset // hdr.cluster_size

    def table(where):
        data = image[where:where + hdr.table_bytes].ljust(hdr.table_bytes, b"\0")
        return enumerate(struct.unpack("<%dQ" % hdr.entries, data))

    def legal(value, count):
        first = value // size
        return (value % size == 0 and first >= hdr.header_size and value < len(image) and
                not (first < l1_first + hdr.table_size and l1_first < first + count))

    seen = {}
    for index, where in table(hdr.l1_table_offset):
        if not where or not legal(where, hdr.table_size):
            continue
        for number, value in table(where):
            start = (index * hdr.entries + number) * size
            if start < hdr.image_size and value > 1 and legal(value, 1):
                data = image[value:min(value + size, value + hdr.image_size - start)]
                if data.strip(b"\0"):
                    seen[start // size] = data.ljust(min(size, hdr.image_size - start), b"\0")
                    if mapped is not None:
                        mapped[start // size] = value // size
    return seen


def keeps_all(path):
    """-y repairs it, and the guest reads as before."""
    before = view(path)
    result = report("-yf", path, status=REPAIRED)
    equal(report("-nf", path, status=CLEAN)["findings"], [], "second check")
    equal(structure(path)[0], [], "qedimg's check")
    after = view(path)
    true(guest(path) == after, "two readers do not see the same")
    for cluster in sorted(set(before) | set(after)):
        true(before.get(cluster) == after.get(cluster), "guest cluster %d: %r, not %r" % (
            cluster, (after.get(cluster) or b"")[:16], (before.get(cluster) or b"")[:16]))
    return result


def three_tables(tmp):
    """An image with data in three tables, and where these are."""
    tables = {3: {0: 10, 1: 12, 2: 14, 3: 16}, 4: {0: 11, 1: 13}, 5: {0: 15}}
    path = make(tmp + "/a.qed", {0: 3, 1: 4, 2: 5}, tables,
                {where: b"guestdat" for where in range(10, 17)}, table=1, size=512 * 512 * 4096)
    return path, tables


@test
def l1_offset_at_a_table(tmp):
    """the offset of the L1 table leads to an L2 table: what that names are no tables to be cleared"""
    path, tables = three_tables(tmp)
    whole = view(path)
    for table in tables:
        with edit(path) as img:
            img.hdr.l1_table_offset = table * 4096
            img.disk.write(0, img.hdr.pack())
        result = report("-y", path, status=REPAIRED)
        equal(result["counts"]["l1-offset-illegal"], 1, "table %d" % table)
        true(view(path) == whole, "table %d: what the guest sees" % table)


def misplaced(tmp, field, values):
    """the place of each of three tables for that of the L1 table, and a field is illegal, too"""
    path, tables = three_tables(tmp)
    whole = view(path)
    for table in tables:
        for value in values:
            with edit(path) as img:
                img.hdr.l1_table_offset = table * 4096
                setattr(img.hdr, field, value)
                img.disk.write(0, img.hdr.pack())
            report("-y", path, status=REPAIRED)
            true(view(path) == whole, "table %d, %s %d: what the guest sees" %
                 (table, field, value))


@test
def l1_offset_and_header_size(tmp):
    """the same if the size of the header is illegal, too, or reaches over that table"""
    misplaced(tmp, "header_size", (0, 8))


@test
def l1_offset_and_disk_size(tmp):
    """the same if the size of the disk is illegal, too: then all entries of both places count"""
    misplaced(tmp, "image_size", (0, 1, 513, 1 << 63))


@test
def l1_offset_unread(tmp):
    """what cannot be read does not decide where the L1 table is"""
    path, tables = three_tables(tmp)
    whole = view(path)
    for table in tables:
        with edit(path) as img:
            img.hdr.l1_table_offset = table * 4096
            img.disk.write(0, img.hdr.pack())
        failed = 0
        for number, trial, status in failing_reads(path, "-yf"):
            failed += status == OPERATION
            if status & REPAIRED or digest(trial) != digest(path):
                true(view(trial) == whole, "table %d, read %d: what the guest sees" % (table, number))
        true(failed > 1, "%d runs failed" % failed)


@test
def l1_elsewhere_emptied(tmp):
    """an L1 table elsewhere that a repair leaves empty does not move; the user may say where it is"""
    path = make(tmp + "/a.qed", {0: 30, 1: 30}, {30: {number: (0, 4711) for number in range(3)},
                                                 1: {0: 34}, 34: {0: (0, 4711)}},
                table=1, l1_table=20, size=1024 * 4096, clusters=40)
    device = preload(path)
    device.update({"LD_PRELOAD": os.path.join(BUILT, "disturb.so"), "FSCK_BLOCK": "1"})
    before = digest(path)
    report("-yf", "--undo", tmp + "/undo", path, status=REPAIRED, env=device)
    equal(report("-nf", path, status=CLEAN, env=device)["findings"], [], "after -y")
    fsck("--undo-apply", tmp + "/undo", path, status=REPAIRED, env=device)
    equal(digest(path), before, "taken back")
    # what the user says holds, and can be taken back: also if it would be doubted without that
    for table in (None, 36):
        with edit(path) as img:
            img.disk.write(20 * 4096, bytes(4096))
            img.set_entry(34 * 4096, 0, table * 4096 if table else 1)
            img.disk.write(0, bytes(4096))
        before = digest(path)
        os.unlink(tmp + "/undo")
        where = "cluster=4096,table=1,l1=%d,size=%d" % (20 * 4096, 1024 * 4096)
        report("-yf", "--geometry", where, "--undo", tmp + "/undo", path, status=REPAIRED, env=device)
        with edit(path) as img:
            equal(img.hdr.l1_table_offset, 20 * 4096, "offset")
        fsck("--undo-apply", tmp + "/undo", path, status=REPAIRED, env=device)
        equal(digest(path), before, "the header taken back")


@test
def l1_elsewhere_and_bad_sectors(tmp):
    """what cannot be read behind the header is not asked for if the L1 table elsewhere is sound"""
    path = make(tmp + "/a.qed", {0: 30}, {30: {0: 31, 1: 1}}, {31: b"a", 1: b"b"}, table=1,
                l1_table=20)
    fsck("-nf", path, status=CLEAN, env=preload(path, eio="4096-8191"))
    # but it is if most of what that names is no table: a repair would clear it
    with edit(path) as img:
        img.set_entry(20 * 4096, 0, 31 * 4096)
    before = digest(path)
    fsck("-yf", path, status=OPERATION, env=preload(path, eio="4096-8191"))
    equal(digest(path), before, "changed")


@test
def l1_place_interrupted(tmp):
    """where the L1 table is does not depend on what a repair has done that was interrupted"""
    # what is behind the header is data, which names a table and some that are none
    path = make(tmp + "/a.qed", {0: 30, 1: 33, 2: 33, 200: (0, 4711), 201: (0, 4711)}, {
        30: {0: 31, 1: 32, 2: 34, 3: 35, 4: 36, 5: 1}, 33: {number: (0, 4711) for number in range(6)},
        1: {0: 30, 1: 34, 2: 35, 3: 36}},
        {where: b"guestdat" for where in (31, 32, 34, 35, 36)}, table=1, l1_table=20,
        size=202 * 512 * 4096)
    before = view(path)
    for number in range(1, 100):
        trial = copy(path, tmp + "/trial.qed")
        status = fsck("-yf", trial, env=preload(trial, kill=number))[0]
        if status == -signal.SIGKILL:
            report("-yf", trial, status=REPAIRED)
        equal(report("-nf", trial, status=CLEAN)["findings"], [], number)
        true(view(trial) == before, "killed at %d: what the guest sees" % number)
        if status != -signal.SIGKILL:
            break
    true(number > 4, "killed %d times" % number)


# ---------------------------------------------------------------------------------------------
# Tables that overlap
# ---------------------------------------------------------------------------------------------

@test
def table_overlaps_by_half(tmp):
    """the clusters of a shared table are not taken for copies before it is copied"""
    path = make(tmp + "/a.qed", {0: 5, 1: 7}, {5: {0: 13, 1: 14}, 9: {0: 15, 1: 16}},
                {13: b"a", 14: b"b", 15: b"c", 16: b"d"})
    equal(keeps_all(path)["counts"]["l1-entry-shared"], 1, "shared")


@test
def data_becomes_no_table(tmp):
    """nor are those of another shared table: no guest decides what a table has"""
    path = make(tmp + "/a.qed", {0: 5, 1: 5, 2: 7}, {5: {0: 30, 1: 31, 2: 32}, 9: {0: 33}},
                {30: struct.pack("<Q", 31 * 4096), 31: b"b", 32: b"c", 33: b"d"})
    equal(keeps_all(path)["counts"]["l1-entry-shared"], 2, "shared")


@test
def beside_no_table(tmp):
    """nor is data of a shared table, when another L1 entry refers to no table"""
    rng = random.Random(1)
    data = {11: b"A", 43: b"B", 40: b"p", 41: b"q", 42: b"r", 12: b"s"}
    data.update({where: rng.randbytes(4096) for where in (13, 14, 15, 16)})
    for dropped in (False, True):
        l1 = {0: 5, 1: 7}
        l1.update({2: 13} if dropped else {})
        path = make(tmp + "/a.qed", l1, {5: dict(enumerate((11, 43, 13, 14, 15, 16))),
                                         9: dict(enumerate((40, 41, 42, 12)))}, data,
                    size=4 * 2048 * 4096)
        result = keeps_all(path)
        equal(result["counts"]["l1-entry-shared"], 1 + dropped, "shared")


@test
def decided_once(tmp):
    """what is no table is the same after a kill, though who shares it has become a table by then"""
    # half of the third table is no table with the second one, and its data half of the first
    path = make(tmp + "/a.qed", {0: 5, 1: 8, 2: 9}, {
        5: {0: 14, 512: (0, 4711), 513: (0, 4712)}, 8: {number: (0, 4711) for number in range(9)},
        10: {0: 6, 1: 15}}, {14: b"a", 15: b"b"}, table=2)
    before, seen = view(path), set()
    for number in range(1, 100):
        trial = copy(path, tmp + "/trial.qed")
        # half of the first one reads as a table, and would be kept
        status = fsck("-yf", "--orphans=free", trial, env=preload(trial, kill=number))[0]
        if status == -signal.SIGKILL:
            report("-yf", "--orphans=free", trial, status=REPAIRED)
        equal(report("-nf", trial, status=CLEAN)["findings"], [], number)
        after = view(trial)
        seen.add(tuple((cluster, after[cluster] == before[cluster]) for cluster in after))
        if status != -signal.SIGKILL:
            break
    equal(seen, {((2 * 1024 + 512, True), (2 * 1024 + 513, True))})
    true(number > 3, number)


@test
def all_clusters_of_shared(tmp):
    """a table is none also if another one shares only its last clusters, and others' first"""
    path = make(tmp + "/a.qed", {0: 5, 1: 10, 2: 8}, {
        5: {0: 20}, 12: {number: (0, 4711) for number in range(9)}, 9: {0: 21}},
        {20: b"a", 21: b"b"})
    result = report("-nf", path, status=LEFT)
    equal([item["index"] for item in result["findings"] if item["code"] == "l1-entry-shared"],
          [1, 2])
    keeps_all(path)


@test
def table_beyond_over_data(tmp):
    """a table beyond the size is not written to: it may be data that a shared table maps"""
    content = struct.pack("<QQ", 4711, 31 * 4096)
    path = make(tmp + "/a.qed", {0: 5, 1: 5, 9: 20}, {5: {0: 21, 1: 31}}, {21: content, 31: b"x"},
                size=2 * 2048 * 4096 - 4096 * 7)
    # the first reference to the data is that of a table which claims nothing
    with edit(path) as img:
        img.set_entry(5 * 4096, 0, 0)
        img.set_entry(1 * 4096, 1, 7 * 4096)
        img.set_entry(9 * 4096, 0, 21 * 4096)
        img.disk.write(24 * 4096 - 1, b"\0")
    keeps_all(path)


@test
def shared_over_end(tmp):
    """what a table lacks behind the end of the file is not taken for copies of another one"""
    path = make(tmp + "/a.qed", {0: 5, 1: 5, 2: 38, 3: 37}, {5: {0: 30, 2047: 31}, 38: {0: 32}},
                {30: b"a", 31: b"b", 32: b"c"}, clusters=39)
    keeps_all(path)


def overlapping(path, rng):
    """An image with tables that overlap in all ways, and L1 entries that are none."""
    cluster, table = 4096, rng.choice((2, 4, 8))
    entries = cluster * table // 8
    clusters = 1 + table + rng.randrange(20, 90)
    l1, tables, data = {}, {}, {}
    for index in rng.sample(range(8), rng.randrange(2, 8)):
        kind = rng.randrange(10)
        place = rng.randrange(1 + table, clusters - table + (kind == 0))
        if l1 and kind < 6:              # beside another one, shifted
            place = max(1 + table, rng.choice(list(l1.values())) + rng.randrange(-table, table + 1))
        l1[index] = min(place, clusters - 1)
    # tables are written one after the other, into clusters that some of them share
    for where in list(l1.values()):
        content = tables.setdefault(where, {})
        for _ in range(rng.randrange(1, 12)):
            number = rng.randrange(entries)
            part = where + number * 8 // cluster
            content[number] = rng.choice((rng.randrange(1 + table, clusters),) * 8 +
                                         ((0, 1), (0, 4711), clusters + rng.randrange(40)))
            if part in data:
                del data[part]
    taken = {where + part for where in tables for part in range(table)}
    for where in range(1 + table, clusters):
        if where not in taken:
            data[where] = rng.choice((b"", b"")) or rng.randbytes(4096) if rng.random() < 0.5 else (
                b"%03d " % where)
    size = (max(l1) + rng.randrange(2)) * entries * cluster + rng.choice((512, 4096 * 9))
    return make(path, l1, tables, data, table=table, size=size, clusters=clusters)


def changed(before, result, after, mapped, entries):
    """Guest clusters that a repair has changed, but for those where two claims collide.

    These are data that is a table as well, in which entries are set to 0, and what L1 entries
    map that name no table.
    """
    written = {(item["table-offset"] + item["index"] * 8) // 4096 for item in result["findings"]
               if item["code"].startswith("l2-entry")}
    lost = {item["index"] for item in result["findings"] if item["code"] == "l1-entry-shared" and
            item["action"] == "cleared"}
    return [cluster for cluster in set(before) | set(after)
            if before.get(cluster) != after.get(cluster) and cluster // entries not in lost and
            mapped.get(cluster) not in written]


def entries_of(path):
    """Number of entries of its tables."""
    with edit(path) as img:
        return img.hdr.entries


@test
def overlaps_at_random(tmp):
    """tables that overlap, at random: what the guest read before, it reads after"""
    seen = {}
    for seed in range(400):
        path, mapped = overlapping(tmp + "/a.qed", random.Random(seed)), {}
        before = view(path, mapped)
        result = report("-yf", "--orphans=free", path)
        if result["exit-status"] == CLEAN:
            continue
        equal(result["exit-status"], REPAIRED, "seed %d: %s" % (seed, result.get("error")))
        equal(report("-nf", path, status=CLEAN)["findings"], [], seed)
        for item in result["findings"]:
            seen[item["code"], item["action"]] = seen.get((item["code"], item["action"]), 0) + 1
        equal(changed(before, result, view(path), mapped, entries_of(path)), [],
              "seed %d: guest clusters that changed" % seed)
    true(seen.get(("l1-entry-shared", "copied"), 0) > 300, seen)
    true(seen.get(("l1-entry-shared", "cleared"), 0) > 20, seen)


@test
def overlaps_interrupted(tmp):
    """the same after repairs that were killed at each of their changes"""
    count = 0
    for seed in range(400, 420):
        path, mapped = overlapping(tmp + "/a.qed", random.Random(seed)), {}
        before = view(path, mapped)
        wanted = report("-yf", "--orphans=free", copy(path, tmp + "/done.qed"))
        if "l1-entry-shared" not in wanted["counts"]:
            continue
        for number in range(2, 400, 2 + seed % 3):
            trial = copy(path, tmp + "/trial.qed")
            if fsck("-yf", "--orphans=free", trial,
                    env=preload(trial, kill=number))[0] != -signal.SIGKILL:
                break
            report("-yf", "--orphans=free", trial, status=REPAIRED)
            equal(report("-nf", trial, status=CLEAN)["findings"], [], seed)
            equal(changed(before, wanted, view(trial), mapped, entries_of(trial)), [],
                  "seed %d, change %d: guest clusters that changed" % (seed, number))
            count += 1
    true(count > 60, count)


@test
def grown_over(tmp):
    """what pointed behind the end does not come true when copies make the file longer"""
    def entries(path):
        with edit(path) as img:
            table = img.table_of(1)
            return [bool(img.get_entry(table, number)) for number in (1024, 1025)]

    # half of the table of the second entry, and the data after it, belong to the first one
    path = make(tmp + "/a.qed", {0: 5, 1: 7}, {5: {0: 13, 1: 9}}, {
        9: struct.pack("<2Q", 14 * 4096, 16 * 4096).ljust(4096, b"\0"),
        13: b"a", 14: b"b"}, clusters=15)
    before = view(path)
    for number in range(1, 100):
        trial = copy(path, tmp + "/trial.qed")
        status = fsck("-yf", trial, env=preload(trial, kill=number))[0]
        if status == -signal.SIGKILL:
            report("-yf", trial, status=REPAIRED)
        equal((entries(trial), view(trial) == before), ([True, False], True), number)
        equal(report("-nf", trial, status=CLEAN)["findings"], [], number)
        if status != -signal.SIGKILL:
            break
    true(number > 6, number)


@test
def end_that_is_none(tmp):
    """an end of the file that cannot have been it, as of a bit that flips, is none"""
    path = make(tmp + "/a.qed", {0: 5, 1: 5}, {5: {0: 13, 1: 14}}, {13: b"a", 14: b"b"})
    for end in (0, 1):
        with edit(path) as img:
            img.hdr.features = qedimg.F_NEED_CHECK
            img.hdr.autoclear_features = 1 << 61 | end
            img.write_header()
        keeps_all(copy(path, tmp + "/b.qed"))


# ---------------------------------------------------------------------------------------------
# Images that were made to be slow
# ---------------------------------------------------------------------------------------------

def cheap(*argv, status, seconds=1.0, memory=16 * M):
    """Run it: within so many seconds of all processors, and so much memory."""
    read, write = os.pipe()
    pid = os.posix_spawn(FSCK, [FSCK, "--stats", *argv], os.environ, file_actions=[
        (os.POSIX_SPAWN_DUP2, write, 1), (os.POSIX_SPAWN_DUP2, write, 2)])
    os.close(write)
    with os.fdopen(read) as file:
        out = file.read()
    _, done, usage = os.wait4(pid, 0)
    equal(os.waitstatus_to_exitcode(done), status, out[-1000:])
    used = usage.ru_utime + usage.ru_stime
    peak = int(out.split("peak memory ")[1].split()[0]) if "peak memory" in out else 0
    print("# %s: %.2f s, %.1f MiB" % (" ".join(argv[:1]), used, peak / M))
    true(used < seconds, "%.2f s" % used)
    true(peak < memory, "%.1f MiB" % (peak / M))
    return out


@test
def tables_in_turn(tmp):
    """L1 entries that refer to a few large tables in turn cost nothing"""
    cluster, table, count = 65536, 16, 8000
    entries = cluster * table // 8
    path = tmp + "/a.qed"
    for places in ((17, 17 + 256), tuple(range(17, 17 + 64)), tuple(range(17, 17 + 600, 7))):
        base = places[-1] + table
        make(path, {}, {}, cluster=cluster, table=table, size=(1 << 63) - 512)
        with open(path, "r+b") as file:
            file.seek(cluster)
            file.write(struct.pack("<%dQ" % count, *[places[index % len(places)] * cluster
                                                    for index in range(count)]))
            for number, place in enumerate(places[:2]):
                file.seek(place * cluster)
                file.write(array.array("Q", [(base + number + 2 * index) * cluster
                                             for index in range(entries)]).tobytes())
            file.truncate((base + 2 * entries) * cluster)
        cheap("-nf", path, status=LEFT)
        cheap("-yf", path, status=LEFT | OPERATION)


@test
def tables_without_mapping(tmp):
    """nor do tables that map nothing when the size of the disk is looked for"""
    cluster, table, count = 65536, 16, 8000
    entries = cluster * table // 8
    path = make(tmp + "/a.qed", {}, {}, cluster=cluster, table=table, size=1 << 63)
    with open(path, "r+b") as file:
        file.seek(cluster)
        file.write(struct.pack("<%dQ" % count, *[(17 + index % 40) * cluster
                                                for index in range(count)]))
        file.seek(17 * cluster)
        file.write(array.array("Q", [4711] * entries * 4).tobytes())
        file.truncate(200 * cluster)
    cheap("-nf", path, status=LEFT)
    # a whole L1 table that refers to one with something in each cluster
    cluster = 1 << 18
    make(path, {}, {17 + part: {0: (0, 4711)} for part in range(table)}, cluster=cluster,
         table=table, size=1 << 63)
    with open(path, "r+b") as file:
        file.seek(cluster)
        file.write(array.array("Q", [17 * cluster] * (cluster * table // 8)).tobytes())
    cheap("-nf", path, status=LEFT)


@test
def chosen_clusters(tmp):
    """shared clusters whose numbers were chosen to collide cost no more than others"""
    cluster, table, count = 4096, 16, 65536
    entries, chosen, number = cluster * table // 8, [], 4096
    while len(chosen) < count:
        # what a multiplication by the golden ratio puts into the same place
        if (number * 0x9e3779b97f4a7c15 % (1 << 64) >> 40) % 131072 < 64:
            chosen.append(number)
        number += 1
    path = make(tmp + "/a.qed", {}, {}, cluster=cluster, table=table, size=entries * entries * cluster)
    tables = 2 * count // entries
    with open(path, "r+b") as file:
        file.seek(cluster)
        file.write(struct.pack("<%dQ" % tables, *[(17 + 16 * index) * cluster
                                                  for index in range(tables)]))
        file.seek(17 * cluster)
        file.write(array.array("Q", [where * cluster for where in chosen] * 2).tobytes())
        file.truncate(number * cluster)
    cheap("-nf", path, status=LEFT, memory=40 * M)


@test
def scattered_clusters(tmp):
    """clusters far from each other take memory by the size of the tables"""
    path, cluster, table = "/dev/shm/fsck-%d.qed" % os.getpid(), 4096, 16
    entries = cluster * table // 8
    if not os.path.isdir("/dev/shm"):
        path = tmp + "/a.qed"
    try:
        for tables, step in ((10, 1 << 37), (40, 1 << 37), (10, 1 << 18)):
            make(path, {index: 17 + 16 * index for index in range(tables)}, {}, cluster=cluster,
                 table=table, size=entries * entries * cluster)
            with open(path, "r+b") as file:
                file.seek(17 * cluster)
                for number in range(tables):
                    file.write(array.array("Q", [(1 << 37) + step * index + (number << 27)
                                                 for index in range(entries)]).tobytes())
                file.truncate(1 << 62)           # a tail that is leaked
            cheap("-nf", path, status=LEFT, seconds=1 + tables / 20,
                  memory=16 * M + 12 * tables * 65536)
    finally:
        os.unlink(path)


@test
def many_holes(tmp):
    """1 TiB with every second cluster unmapped: no question for each hole"""
    path = tmp + "/a.qed"
    subprocess.run([BUILT + "/mkimage", "1T", path], check=True)
    with edit(path) as img:
        for _, where in img.l1():
            entries = array.array("Q", img.disk.read(where, img.hdr.table_bytes))
            entries[0::2] = array.array("Q", [0]) * (len(entries) // 2)
            img.disk.write(where, entries.tobytes())
    cheap("-nf", path, status=CLEAN, seconds=0.4)


def pieces(path, *clusters):
    """Length of a file that may be too long to be read, and what is in some of its clusters"""
    with open(path, "rb") as file:
        return os.path.getsize(path), [os.pread(file.fileno(), 4096, where * 4096) for where in clusters]


@test
def far_away(tmp):
    """what is far away in a file costs nothing when that is cut, made short, and when it is undone"""
    path, far = "/dev/shm/fsck-%d.qed" % os.getpid(), 1 << 30
    if not os.path.isdir("/dev/shm"):
        path = tmp + "/a.qed"
    undo = tmp + "/undo"
    try:
        for last, options in ((4, ()), (far, ("--compact",))):
            for more in ((), ("--undo", undo)):
                make(path, {0: 2}, {2: {0: 3, 1: last}}, {3: b"a", last: b"b"}, table=1,
                     clusters=far + 100)
                was = pieces(path, *range(6), last)
                cheap("-pf", *options, *more, path, status=REPAIRED)
                equal((os.path.getsize(path), guest(path)[1]), (5 * 4096, b"b" * 4096))
            fsck("--undo-apply", undo, path, status=REPAIRED)
            equal(pieces(path, *range(6), last) == was, True, "undone")
            os.unlink(undo)
    finally:
        os.unlink(path)


# ---------------------------------------------------------------------------------------------
# Leaks that are none
# ---------------------------------------------------------------------------------------------

def written_in_order(path, spans=6, clusters=20, cluster=4096, table=2):
    """A disk that was written in order: each table is followed by its data."""
    entries = cluster * table // 8
    qedimg.create(path, spans * entries * cluster, cluster, table)
    with edit(path) as img:
        for index in range(spans):
            start = index * img.hdr.l2_span
            img.write(start, qedimg.stamp(start, clusters * cluster, 1))
            img.write(start + entries * 11 // 16 * cluster, qedimg.stamp(start, cluster, 2))
        img.hdr.features = qedimg.F_NEED_CHECK
        img.write_header()
    return path


def lose(path, *indexes, value=0):
    """L1 entries are lost."""
    with edit(path) as img:
        for index in indexes:
            img.set_entry(img.hdr.l1_table_offset, index, value)


@test
def lost_l1_sector(tmp):
    """-p does not free what a lost sector of the L1 table referred to; -y can get it back"""
    path = written_in_order(tmp + "/a.qed")
    whole = view(path)
    lose(path, *range(6))
    lost = digest(path)
    result = report("-p", path, status=LEFT)
    equal((result["counts"]["orphan-table"], result["modified"], digest(path)), (6, False, lost))
    equal(result["counts"]["mostly-leaked"], 1)
    equal(report("-y", path, status=LEFT)["counts"]["orphan-table"], 6, "kept with -y")
    equal(digest(path), lost, "with -y")
    report("-y", "--orphans=free", copy(path, tmp + "/b.qed"), status=REPAIRED)
    true(not view(tmp + "/b.qed"), "something is left")
    equal(os.path.getsize(tmp + "/b.qed"), 3 * 4096)
    result = report("-y", "--orphans=reconnect", path, status=REPAIRED)
    equal([item["guest-offset"] >> 22 for item in result["findings"]
           if item["code"] == "orphan-table"], list(range(6)))
    true(view(path) == whole, "what the guest sees")
    equal(report("-nf", path, status=CLEAN)["findings"], [])


def bytes_read(path, *options):
    """Run it: how many bytes of the image it reads, and the report."""
    log = path + ".reads"
    result = report(*options, path, env=preload(path, reads=log))
    with open(log, "rb") as file:
        count = sum(array.array("Q", file.read()))
    os.unlink(log)
    return count, result


@test
def orphans_read_once(tmp):
    """hostile images: around an orphan all is zeroes, which are not read again for each of its places"""
    cluster, table, groups = 16384, 16, 24
    size = (17 + groups * (table + 1)) * cluster
    for places, wall in (((0,), b"w"), ((7,), b"w"), (range(8), b"w"), (range(1, table, 2), b"w"),
                         ((7,), b"\0")):               # without one orphans have the same around them
        tables, hole = {}, itertools.count(size // cluster)
        for group in range(groups):
            first = 17 + group * (table + 1)
            tables.update({first + place: {2047: next(hole)} for place in places})
            if len(places) == 8:                        # may not be linked, by one of the last entries
                tables[first + places[-1]].update({2045: next(hole), 2046: next(hole)})
                tables[first + places[-1]][2047] = tables[first + places[-1]][2045]
        path = make(tmp + "/a.qed", {}, tables,
                    {33 + group * (table + 1): wall * 8 for group in range(groups)}, cluster, table,
                    size=groups * 2048 * table * cluster, clusters=next(hole))
        with open(path, "r+b") as file:                # zeroes, not holes
            os.posix_fallocate(file.fileno(), 0, size)
            for offset in range(cluster, size, 4096):
                file.seek(offset)
                data = file.read(4096)
                file.seek(offset)
                file.write(data)
        for options, most in ((("-nf",), 2.2), (("-yf", "--orphans=reconnect"), 4)):
            count, result = bytes_read(path, *options)
            equal(result["counts"]["orphan-table"],
                  groups * (8 if places == range(1, table, 2) else 1), places)
            true(count < most * size, "%s %s: %.1f times the file" % (places, options, count / size))


@test
def lost_l1_entries(tmp):
    """tables are put between their neighbours, or where the user says"""
    for table, indexes in [(table, indexes) for table in (1, 2, 4, 16)
                           for indexes in ((0,), (3,), (5,), (1, 4), (2, 3), (4, 5))]:
        path = written_in_order(tmp + "/a.qed", table=table)
        whole = view(path)
        lose(path, *indexes)
        equal(report("-p", path, status=LEFT)["modified"], False, indexes)
        report("-y", "--orphans=reconnect", path, status=REPAIRED)
        true(view(path) == whole, indexes)
        os.unlink(path)
    # two of three are there: no neighbour tells which
    path = written_in_order(tmp + "/a.qed")
    whole = view(path)
    with edit(path) as img:
        table = img.table_of(3)
        img.zero_range(img.table_of(4), img.hdr.table_bytes)
    lose(path, 3, 4)
    before = view(path)
    report("-y", "--orphans=reconnect", path, status=LEFT)
    true(view(path) == before, "what the guest sees")
    for where in ("0x%x:0x%x" % (table + 4096, 3 << 22), "0x%x:0x%x" % (table, 2 << 22),
                  "0x%x:0x%x" % (table, (3 << 22) + 4096), "0x%x:0x%x" % (table, 99 << 22)):
        report("-y", "--reconnect", where, path, status=LEFT)
        true(view(path) == before, where)
    report("-y", "--reconnect=0x%x:0x%x" % (table, 3 << 22), path)
    true(view(path) == {key: value for key, value in whole.items() if key // 1024 != 4},
         "what the guest sees")
    for wrong in ("1", "x:1", "1:x", "1:2:3", "", ":", "1:", ":1", "-1:1", "1:-1", " 1:1"):
        fsck("-y", "--reconnect", wrong, path, status=USAGE)
    fsck("-y", "--orphans=x", path, status=USAGE)


@test
def lost_table(tmp):
    """nor does -p free the data of a lost table, if that is most of the image"""
    path = written_in_order(tmp + "/a.qed", spans=2, clusters=100)
    with edit(path) as img:
        img.disk.write(img.table_of(1), bytes(img.hdr.table_bytes))
        img.disk.write(img.table_of(0), bytes(img.hdr.table_bytes))
    before = digest(path)
    result = report("-p", path, status=LEFT)
    equal((result["counts"]["mostly-leaked"], digest(path)), (1, before))
    true("orphan-table" not in result["counts"], "stamps are no table")
    report("-y", path, status=REPAIRED)
    equal(report("-nf", path, status=CLEAN)["findings"], [])


@test
def lost_table_with_holes(tmp):
    """a lost table may begin with a hole, and refer to some before it refers to data"""
    path = written_in_order(tmp + "/a.qed", cluster=8192)
    with edit(path) as img:
        table = img.table_of(2)
        hole = img.get_entry(table, 1408)
        img.set_entry(table, 1024 + 600, img.get_entry(table, 3))
        img.disk.write(hole, bytes(8192))
        img.disk.write(table, bytes(8192))
    subprocess.run(["fallocate", "--dig-holes", path], check=True)
    whole = view(path)
    lose(path, 2)
    lost = digest(path)
    result = report("-p", path, status=LEFT)
    equal((result["counts"]["orphan-table"], digest(path)), (1, lost))
    report("-y", "--orphans=reconnect", path, status=REPAIRED)
    true(view(path) == whole, "what the guest sees")


@test
def lost_table_with_damage(tmp):
    """nor does the first entry of a lost table tell, which may be damaged"""
    path = written_in_order(tmp + "/a.qed", cluster=8192)
    with edit(path) as img:
        table = img.table_of(2)
        entries = [img.get_entry(table, number) for number in (3, 4, 5)]
        img.disk.write(table, bytes(16384))
        img.set_entry(table, 1408, img.get_entry(img.table_of(0), 0))
        for number, entry in enumerate(entries):        # not in the same block
            img.set_entry(table, 1624 + number, entry)
    lose(path, 2)
    lost = digest(path)
    result = report("-p", path, status=LEFT)
    equal((result["counts"]["orphan-table"], digest(path)), (1, lost))


def failing_reads(path, *options):
    """Run it again and again, with one read failing: after each run, the status."""
    trial, log = path + ".trial", path + ".log"
    env = {"LD_PRELOAD": os.path.join(BUILT, "disturb.so"), "FSCK_IMAGE": trial}
    fsck(*options, copy(path, trial), env=dict(env, FSCK_LOG=log))
    with open(log, encoding="ascii") as file:
        reads = file.read().splitlines().count("pread image")
    true(reads > 6, "%d reads" % reads)
    for number in range(1, reads + 1):
        yield number, trial, fsck(*options, copy(path, trial),
                                  env=dict(env, FSCK_READ=str(number), FSCK_HOW="eio"))[0]


@test
def data_that_is_no_table_unread(tmp):
    """what is no table remains none if it can be read at one time, and not at another"""
    rng = random.Random(2)
    data = {where: rng.randbytes(4096) for where in (13, 14, 15, 16)}
    data.update({40: b"p", 11: b"A"})
    path = make(tmp + "/a.qed", {0: 5, 1: 7, 2: 13},
                {5: dict(enumerate((11, 13, 14, 15, 16))), 9: {0: 40}}, data,
                size=4 * 2048 * 4096)
    before, failed = view(path), 0
    for number, trial, status in failing_reads(path, "-yf"):
        equal(status & ~(REPAIRED | LEFT | OPERATION), 0, "read %d" % number)
        failed += status != REPAIRED
        true(view(trial) == before, "read %d, status %d: what the guest sees" % (number, status))
    true(failed > 3, "%d runs failed" % failed)


@test
def orphans_unread(tmp):
    """nothing is freed, nor overwritten, as long as it cannot be read whether it is a table"""
    path = written_in_order(tmp + "/a.qed", table=1)
    with edit(path) as img:
        # something to be copied: the same data twice
        table = img.table_of(1)
        img.set_entry(table, 5, img.get_entry(table, 6))
        lost = img.table_of(3)
    whole = view(path)
    lose(path, 3)
    for options in (("-p",), ("-yf",)):
        for number, trial, status in failing_reads(path, *options):
            if status & OPERATION and view(trial) == view(path):
                continue               # the L1 table, or the header
            true(status & LEFT, "%s, read %d: status %d" % (options, number, status))
            lose(trial, 3, value=lost)
            true(view(trial) == whole, "%s, read %d: what the guest saw" % (options, number))


@test
def orphans_beside_unread(tmp):
    """what cannot be read near an orphan is a finding, and does not tell where that belongs"""
    for table, bad in ((2, 1), (2, 2), (4, 1), (4, 4)):
        path = written_in_order(tmp + "/a.qed", table=table)
        with edit(path) as img:
            lost = img.table_of(3)
            img.disk.write(lost + bad * 4096, b"x" * 4096)
            img.set_entry(img.table_of(0), 9, 4711)
        lose(path, 3)
        first = lost + bad * 4096
        for options in (("-nf",), ("-yf", "--orphans=reconnect")):
            trial = copy(path, tmp + "/b.qed")
            result = report(*options, trial, status=None,
                            env=preload(trial, eio="%d-%d" % (first, first + 4095)))
            equal(result["exit-status"] & ~REPAIRED, LEFT | OPERATION, (table, bad, options))
            true(result["counts"]["orphan-table"] and result["counts"]["read-error"], result["counts"])
            equal("error" in result, False, (table, bad, options))
            with edit(trial) as img:
                equal(img.table_of(3), 0, "reconnected")
                equal(img.get_entry(img.table_of(0), 9), 0 if options[0] == "-yf" else 4711, "the rest")


@test
def unread_again(tmp):
    """what cannot be read again after changes is no bug of the program"""
    path = written_in_order(tmp + "/a.qed")
    lose(path, 3)
    with edit(path) as img:
        img.set_entry(img.table_of(0), 9, 4711)
    failed = 0
    env = {"LD_PRELOAD": os.path.join(BUILT, "disturb.so"), "FSCK_IMAGE": tmp + "/b.qed",
           "FSCK_HOW": "eio"}
    for number in range(1, 200):
        trial = copy(path, tmp + "/b.qed")
        status, _, err = fsck("-yf", "--orphans=reconnect", trial,
                              env=dict(env, FSCK_READ=str(number)))
        true("a bug" not in err, "read %d: %s" % (number, err))
        failed += "cannot read the tables" in err
        if status == REPAIRED and number > 60:
            break
    true(failed > 3, "%d runs failed so" % failed)


@test
def cut_off(tmp):
    """-y leaves an image alone whose end was cut off, unless it is told to give that up"""
    path = written_in_order(tmp + "/a.qed")
    whole, size = view(path), os.path.getsize(path)
    short = copy(path, tmp + "/short.qed")
    os.truncate(short, size - 10 * 4096)
    lost = digest(short)
    for options in (("-p",), ("-y",), ("-y", "--cut=keep")):
        result = report(*options, short, status=LEFT, plain=True)
        equal((result["modified"], digest(short)), (False, lost), options)
    true("--cut clear" in fsck("-y", short, plain=True)[1], "what to do next is not said")
    with open(path, "rb") as file, open(short, "r+b") as cut:
        file.seek(size - 10 * 4096)
        cut.seek(size - 10 * 4096)
        cut.write(file.read())
    report("-p", short, status=REPAIRED)
    true(view(short) == whole, "with the end back")
    os.truncate(short, size - 10 * 4096)
    report("-yf", "--cut=clear", short, status=REPAIRED)
    equal(report("-nf", short, status=CLEAN)["findings"], [])
    # no copy was that long: the entry is wrong
    with edit(path) as img:
        img.set_entry(img.table_of(2), 3, 1 << 50)
    report("-yf", path, status=REPAIRED, plain=True)
    fsck("-y", "--cut=some", path, status=USAGE)


@test
def cut_in_shared_table(tmp):
    """the same if only a table tells it that shares clusters with another one"""
    for offset in ((22, 0), (39, 0), (40, 0), (22, 8)):
        for last, size in ((7, None), (7, 1024 * 4096 + 514 * 4096), (7, 1024 * 4096 + 513 * 4096)):
            path = make(tmp + "/a.qed", {0: 5, 1: 6}, {5: {0: 18}, last: {0: 19, 1: offset}},
                        {18: b"a", 19: b"b"}, table=2, size=size)
            lost, is_cut = digest(path), offset in ((22, 0), (39, 0)) and (
                size is None or size > 1024 * 4096 + 513 * 4096)
            report("-yf", path, status=LEFT if is_cut else REPAIRED, plain=True)
            equal(digest(path) == lost, is_cut, (offset, size))
            keeps_all(path) if is_cut else None


@test
def damaged_l1_entry(tmp):
    """a table whose entry has a wrong bit comes back where that entry is"""
    path = written_in_order(tmp + "/a.qed")
    whole = view(path)
    with edit(path) as img:
        first, second = img.table_of(1), img.table_of(2)
    lose(path, 1, value=first ^ 1 << 45)
    lose(path, 2, value=second + 512)
    result = report("-yf", "--orphans=reconnect", path, status=REPAIRED)
    equal(result["counts"]["orphan-table"], 2)
    true(view(path) == whole, "what the guest sees")


@test
def flipped_l1_entry(tmp):
    """nor is a table freed that its own wrong entry overlaps, with other data: it comes back"""
    path = written_in_order(tmp + "/a.qed", table=4, spans=4, clusters=60)
    whole = view(path)
    with edit(path) as img:
        table = img.table_of(2)
    for bit in (12, 13):
        wrong = table - (1 << bit)
        for options, status in (("--orphans=reconnect",), REPAIRED), ((), REPAIRED | LEFT):
            trial = copy(path, tmp + "/b.qed")
            lose(trial, 2, value=wrong)
            result = report("-yf", *options, trial, status=status)
            equal(result["counts"]["l1-entry-shared"], 1)
            lose(trial, 2, value=table)
            true(view(trial) == whole, "%s %s: what the guest sees" % (bit, options))


@test
def names_data(tmp):
    """data that a wrong L1 entry names is not changed as a table, and comes back"""
    path = written_in_order(tmp + "/a.qed", table=4, spans=4, clusters=60)
    whole = view(path)
    with edit(path) as img:
        table = img.table_of(2)
    for wrong in (table ^ 1 << 15, table ^ 1 << 16):
        for options, status in (("--orphans=reconnect",), REPAIRED), ((), REPAIRED | LEFT):
            trial = copy(path, tmp + "/b.qed")
            lose(trial, 2, value=wrong)
            result = report("-yf", *options, trial, status=status)
            equal(result["counts"]["l1-entry-no-table"], 1)
            if not options:
                lose(trial, 2, value=table)
            true(view(trial) == whole, "0x%x %s: what the guest sees" % (wrong, options))


@test
def sector_over_l1(tmp):
    """the same if a sector of an L2 table was written over the L1 table"""
    path = written_in_order(tmp + "/a.qed", table=1, clusters=60)
    whole = view(path)
    with edit(path) as img:
        place = img.hdr.l1_table_offset
        sector, other = img.disk.read(place, 512), img.disk.read(img.table_of(2), 512)
        img.disk.write(place, other)
    equal(report("-yf", path, status=REPAIRED | LEFT)["counts"]["l1-entry-no-table"], 6)
    with edit(path) as img:
        img.disk.write(place, sector)
    true(view(path) == whole, "what the guest sees")


@test
def sector_over_table(tmp):
    """a table is one as long as it maps something, whatever was written over the rest"""
    path = written_in_order(tmp + "/a.qed", spans=2, clusters=1)
    with edit(path) as img:
        img.disk.write(img.table_of(1) + 512, b"data" * 128)
    before = view(path)
    result = report("-yf", path, status=REPAIRED)
    equal(result["counts"]["l2-entry-unaligned"], 64)
    equal("l1-entry-no-table" in result["counts"], False)
    true(view(path) == before, "what the guest sees")


@test
def copies_beside_orphans(tmp):
    """copies do not go over an orphan, nor over what it refers to, even if that is a hole"""
    for table in (2, 16):
        path = written_in_order(tmp + "/a.qed", table=table)
        with edit(path) as img:
            holes = img.table_of(2)
            img.disk.write(img.get_entry(holes, 5), bytes(4096))
            subprocess.run(["fallocate", "--dig-holes", path], check=True)
            shared = img.get_entry(img.table_of(1), 3)
            for index in (50, 51, 52, 60):
                img.set_entry(img.table_of(3), index, shared)
        whole = view(path)
        lose(path, 2, 4)
        result = report("-y", "--orphans=reconnect", path, status=REPAIRED)
        equal(result["counts"]["l2-entry-shared"], 4)
        true(view(path) == whole, "what the guest sees")
        equal(report("-nf", path, status=CLEAN)["findings"], [])
        os.unlink(path)


@test
def lost_beside_shared(tmp):
    """a lost table is kept, and can be got back, also if others share a table"""
    path = written_in_order(tmp + "/a.qed")
    with edit(path) as img:
        lost, other = img.table_of(1), img.table_of(4)
        # a half of another table, and data of that; this refers to clusters of its own
        shared, end = img.table_of(3) + 4096, img.disk.size()
        img.set_entry(img.hdr.l1_table_offset, 4, shared)
        own = [end + number * 4096 for number in range(20)]
        img.disk.write(shared + 4096, struct.pack("<20Q", *own).ljust(4096, b"\0"))
        # of which the first one reads as a table, too, but is not lost
        img.disk.write(end, struct.pack("<20Q", 0, *own[1:]).ljust(4096, b"\0").ljust(20 * 4096, b"x"))
    whole = view(path)
    lose(path, 1)
    equal([item["offset"] for item in report("-nf", path, status=LEFT)["findings"]
           if item["code"] == "orphan-table"], [lost, other])
    trial = copy(path, tmp + "/trial.qed")
    report("-y", trial, status=REPAIRED | LEFT)
    lose(trial, 1, value=lost)
    true(view(trial) == whole, "what the guest sees with the table back")
    report("-y", "--reconnect=%d:%d" % (lost, 1 << 22), path, status=REPAIRED | LEFT)
    true(view(path) == whole, "what the guest sees")


@test
def goes_on_after_read_error(tmp):
    """what a repair has copied is not taken for lost by the next one, if some could not be read"""
    path, failed = make(tmp + "/a.qed", {0: 5, 1: 6, 2: 9, 3: 10}, {
        5: {0: 20}, 7: {0: 21, 1: 22, 2: 23}, 9: {0: 24}, 11: {0: 25, 1: 26, 2: 27}},
        {where: b"%02d" % where for where in range(20, 28)}, table=2), 0
    with edit(path) as img:
        # what is behind the end must not come true either, by a copy that gets there
        for number in range(3, 20):
            img.set_entry(10 * 4096, 512 + number, (27 if number < 12 else 16 + number) * 4096)
    before = view(path)
    for number, trial, status in failing_reads(path, "-yf"):
        failed += bool(status & LEFT and status & REPAIRED)
        equal(report("-yf", trial)["exit-status"] & ~REPAIRED, 0, "after read %d" % number)
        true(view(trial) == before, "read %d, status %d: what the guest sees" % (number, status))
    true(failed, "no run was finished, and had read errors")


@test
def table_as_data_unread(tmp):
    """data that is a table as well is not changed as such, when it could not be copied"""
    for l1, tables in (({0: 5, 1: 9}, {5: {0: 20, 1: 9}, 9: {0: 20}}),
                       # what could not be copied is a table that refers to it
                       ({0: 9, 1: 8}, {8: {0: 10}, 9: {0: 20, 512: 20}})):
        path, seen = make(tmp + "/a.qed", l1, tables, {20: b"a"}, table=2), set()
        before = view(path)
        report("-yf", copy(path, tmp + "/done.qed"), status=REPAIRED)
        wanted = view(tmp + "/done.qed")
        for number, trial, status in failing_reads(path, "-yf"):
            seen.add(status)
            for cluster, content in view(trial).items():
                true(content in (before[cluster], wanted[cluster]),
                     "%s: read %d, status %d: guest cluster %d" % (l1, number, status, cluster))
        true(REPAIRED | LEFT | OPERATION in seen, seen)


@test
def reconnect_asks(tmp):
    """on a terminal it is asked whether to reconnect a table, or to free it"""
    for answers, status in (("y", REPAIRED), ("ny", REPAIRED), ("nn", LEFT)):
        path = written_in_order(tmp + "/a.qed")
        whole = view(path)
        lose(path, 2)
        before = view(path)
        terminal = Terminal("-f", path)
        for answer in answers:
            terminal.answer(answer + "\n")
        if answers == "ny":
            terminal.answer("a\n")
        elif answers == "y":
            terminal.answer("y\n")
        equal(terminal.end(), status, answers)
        true(view(path) == (whole if answers == "y" else before), answers)
        os.unlink(path)


@test
def reconnect_interrupted(tmp):
    """reconnecting that was killed can be done again, or taken back"""
    for number in range(1, 30):
        path = written_in_order(tmp + "/a%d.qed" % number)
        whole = view(path)
        lose(path, 1, 2, 4)
        trial = copy(path, tmp + "/b%d.qed" % number)
        code, _, _ = fsck("-y", "--orphans=reconnect", trial, env=preload(trial, kill=number))
        if code == REPAIRED:
            break
        report("-y", "--orphans=reconnect", trial, status=REPAIRED)
        true(view(trial) == whole, number)
    true(number > 4, number)


@test
def reconnect_many(tmp):
    """reconnecting many tables does not wait for the disk once for each"""
    barriers = []
    for lost in (2, 10):
        path, trace = written_in_order(tmp + "/a.qed", spans=12), tmp + "/trace%d" % lost
        whole = view(path)
        lose(path, *range(1, 1 + lost))
        result = report("-y", "--orphans=reconnect", path, status=REPAIRED,
                        env=preload(path, trace=trace))
        equal(result["counts"]["orphan-table"], lost)
        true(view(path) == whole, "what the guest sees")
        barriers.append(len(read_trace(trace)))
    equal(barriers[0], barriers[1], "barriers")


@test
def plausible_leaks(tmp):
    """-p frees what a crash has left: data without a table, and stale tables"""
    rng = random.Random(7)
    path = written_in_order(tmp + "/a.qed")
    with edit(path) as img:
        end, table = img.disk.size(), img.table_of(1)
        img.disk.write(end, rng.randbytes(5 * 4096) + bytes(4096) + b"\1" + bytes(4095))
        # entries that refer to what is in use: a copy of a table, as stale as others
        img.disk.write(end + 8 * 4096, img.disk.read(table, img.hdr.table_bytes))
    whole = view(path)
    equal(codes(report("-p", path, status=REPAIRED)), ["leak-tail", "need-check"])
    true(view(path) == whole, "what the guest sees")
    equal(os.path.getsize(path), end)


# ---------------------------------------------------------------------------------------------
# A lost header
# ---------------------------------------------------------------------------------------------

def behead(path, length=4096):
    """The first bytes are zeroes."""
    with open(path, "r+b") as file:
        file.write(bytes(length))


@test
def lost_header(tmp):
    """--geometry search finds what --geometry repairs a lost header with"""
    path = tmp + "/a.qed"
    for cluster, table in ((4096, 1), (4096, 2), (4096, 16), (65536, 4), (65536, 1), (16384, 8),
                           (1 << 20, 2)):
        for kind in (written_in_order, populated):
            if kind == populated:
                populated(path, cluster, table)
            else:
                written_in_order(path, cluster=cluster, table=table, spans=3)
            with edit(path) as img:
                size, mapped = img.hdr.image_size, max(
                    start + length for start, length, what, _ in img.extents()
                    if what != "unallocated")
            whole = {key: value.rstrip(b"\0") for key, value in guest(path).items()}
            behead(path)
            lost = digest(path)
            fsck("-yf", path, status=OPERATION)
            out = fsck("--geometry", "search", path, status=CLEAN)[1]
            mapped = -(-mapped // cluster) * cluster
            best = "cluster=%d,table=%d,l1=%d,size=%d" % (cluster, table, cluster, mapped)
            true(out.startswith("--geometry %s  # " % best), "%s %s: %s, not %s" % (
                kind.__name__, (cluster, table), out, best))
            equal(report("-n", "--geometry", best, path, status=CLEAN)["counts"], {"need-check": 1})
            equal(digest(path), lost, "changed by -n")
            for text in (best, "table=%d,cluster=%dK,size=%d" % (table, cluster // 1024, size)):
                trial, file = copy(path, tmp + "/b.qed"), tmp + "/undo"
                report("-y", "--undo", file, "--geometry", text, trial, status=REPAIRED)
                equal(report("-nf", trial, status=CLEAN)["findings"], [])
                true({key: value.rstrip(b"\0") for key, value in guest(trial).items()} == whole,
                     "what the guest sees")
                fsck("-y", "--geometry", text, trial, status=OPERATION)
                os.unlink(file)
            os.unlink(path)


@test
def wrong_geometry(tmp):
    """what is no geometry is refused, and what has none is not searched for long"""
    path = written_in_order(tmp + "/a.qed")
    for text in ("", "cluster=4096", "cluster=4096,table=3", "cluster=5000,table=1", "l1=4096",
                 "cluster=4096,table=1,l1=1", "cluster=4096,table=1,size=1", "nonsense",
                 "cluster=4096,table=1,", "cluster=-1,table=1", "cluster=4096;table=1"):
        fsck("-n", "--geometry", text, path, status=USAGE)
    for mode in ("-p", "-y"):
        fsck(mode, "--geometry", "cluster=4096,table=2", path,
             status=USAGE if mode == "-p" else OPERATION)
    before = digest(path)
    fsck("-y", "--undo", tmp + "/undo", "--geometry", "cluster=4096,table=2", path, status=OPERATION)
    equal((digest(path), os.path.exists(tmp + "/undo")), (before, False))
    # by a wrong one there is damage, and a table that is none: nothing is lost by looking
    behead(path)
    before = digest(path)
    fsck("-n", "--geometry", "cluster=8192,table=2", path, status=LEFT)
    equal(digest(path), before)
    with open(path, "wb") as file:
        file.write(random.Random(3).randbytes(8 * M))
        file.truncate(1 << 40)
    cheap("--geometry", "search", path, status=OPERATION)
    # as many tables as there can be, that look like some in each geometry
    with open(path, "wb") as file:
        file.write(array.array("Q", [(1 + index % 8) << 30 for index in range(M)]).tobytes())
        file.truncate(1 << 40)
    cheap("--geometry", "search", path, status=OPERATION)


def may_be_geometries(path):
    """As many places as there can be look like an L1 table, of 32 L2 tables that look like some."""
    giga, tables = 1 << 30, [(2 + index) << 30 for index in range(32)]
    block = array.array("Q", [34 * giga + (index * 64 * M) % (5 * giga) for index in range(512)])
    with open(path, "wb") as file:
        for shift, index in itertools.product(range(12, 27), range(1, 17)):
            file.seek(index << shift)
            file.write(array.array("Q", tables).tobytes())
        for table in tables:
            file.seek(table)
            file.write(block.tobytes() * 64)
        file.truncate(40 * giga)


@test
def many_geometries(tmp):
    """the search for a geometry ends, however many there may be"""
    path = tmp + "/a.qed"
    may_be_geometries(path)
    count, result = bytes_read(path, "--geometry", "search")
    true(result["proposals"], "nothing is proposed")
    true(count < 513 * M, "%d MiB are read" % (count // M))
    # of an image that is none of those it is all looked at
    subprocess.run([BUILT + "/mkimage", "-r", "1", "1T", path], check=True)
    behead(path, 512)
    proposal = report("--geometry", "search", path, status=CLEAN)["proposals"][0]
    equal([proposal[name] for name in ("cluster-size", "table-size", "l1-offset", "image-size")],
          [65536, 1 << 18, 65536, 1 << 40])
