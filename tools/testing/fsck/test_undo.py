# SPDX-License-Identifier: GPL-2.0-only
"""Tests of qed-fsck: an undo file knows its image and its state, see tests.py."""

import contextlib
import itertools
import os
import random
import resource
import shutil
import signal
import struct
import zlib

import qedimg
from test_fsck import (BUILT, CLEAN, M, OPERATION, REPAIRED, copy, cpu_time, damaged, digest, edit,
                       equal, fsck, loop_device, loop_devices, need_check, populated, preload,
                       read_trace, replay, report, test, three_faults, true, victims)

HEAD, RECORD, FIRST = struct.Struct("<QQ16sIIQQQQIIII"), struct.Struct("<IIQQIIII"), 8192
BEGUN, COMPLETE, APPLYING, APPLIED = 1, 2, 3, 4
SAVED, SAVED_ZERO, WRITTEN, WRITTEN_ZERO, WRITTEN_ANY, RESIZED, LEFT, LEFT_ZERO, LEFT_ANY = range(
    1, 10)
MAGIC = 0x444e554445510003


class Undo:
    """An undo file, read without the program."""

    def __init__(self, path):
        with open(path, "rb") as file:
            self.data = file.read()
        heads = [HEAD.unpack_from(self.data, at) for at in (0, 4096)]
        heads = [head for head in heads if head[0] == MAGIC]
        heads.sort(key=lambda head: head[1])
        self.run, self.state = heads[-1][2:4]
        self.ends = [head[7] for head in heads]

    def records(self):
        """Where records are, their types, and what follows them."""
        at = FIRST
        while at < self.ends[-1]:
            fields = RECORD.unpack_from(self.data, at)
            equal(fields[6], self.crc(self.data[at:at + 32]), "the CRC of a record")
            yield at, fields[1], fields[4]
            at += RECORD.size + fields[4]

    def sealed(self, where, record):
        """The file with another record in it, and all checksums as they should be."""
        data = bytearray(self.data)
        data[where:where + len(record)] = record
        chain = 0
        for at, _, _ in self.records():
            chain = zlib.crc32(data[at + 32:at + 36], chain)
        slot = max((0, 4096), key=lambda at: HEAD.unpack_from(data, at)[1])
        head = list(HEAD.unpack_from(data, slot))
        head[9] = chain
        head[12] = zlib.crc32(HEAD.pack(*head)[:-4])
        data[:FIRST] = bytes(FIRST)
        data[slot:slot + HEAD.size] = HEAD.pack(*head)
        return data

    def crc(self, record):
        """The CRC of a record without its last two members."""
        return zlib.crc32(record, zlib.crc32(self.run))

    def longer(self, records):
        """The file with more records: (type, offset, length, data) of each."""
        slot = max((0, 4096), key=lambda at: HEAD.unpack_from(self.data, at)[1])
        return forged(list(HEAD.unpack_from(self.data, slot)), self.data[FIRST:self.ends[-1]],
                      records)


def forged(head, old, records):
    """A file with this head, and records behind those that it tells of"""
    run, chain, parts = zlib.crc32(head[2]), head[9], [old]
    for kind, offset, length, data in records:
        record = struct.pack("<IIQQII", 0x44524345, kind, offset, length, len(data),
                             zlib.crc32(data))
        crc = struct.pack("<I", zlib.crc32(record, run))
        chain = zlib.crc32(crc, chain)
        parts += [record, crc, bytes(4), data]
    out = b"".join(parts)
    head[7:10] = FIRST + len(out), head[8] + len(records), chain
    head[12] = zlib.crc32(HEAD.pack(*head)[:-4])
    slot = head[1] % 2 * 4096
    return bytes(slot) + HEAD.pack(*head) + bytes(FIRST - slot - HEAD.size) + out


def refused(undo, path, word, status=OPERATION):
    """It is not applied, and nothing is changed; why is said."""
    before, file = digest(path), digest(undo)
    _, out, err = fsck("--undo-apply", undo, path, status=status)
    true(word in out + err, "%s: %s%s" % (word, out, err))
    equal(digest(path), before, "the image")
    if status:
        equal(digest(undo), file, "the undo file")


def saved_places(undo):
    """Where an undo file has something of, and no header is."""
    file = Undo(undo)
    return [RECORD.unpack_from(file.data, at)[2] for at, kind, _ in file.records()
            if kind == SAVED and RECORD.unpack_from(file.data, at)[2]]


def repaired(tmp, few=False):
    """(what it was, a repaired image, the undo file); few: two of its tables are sound"""
    path, undo = three_faults(tmp)[0] if few else damaged(tmp + "/a.qed", 2), tmp + "/undo"
    was = copy(path, tmp + "/was.qed")
    with contextlib.suppress(OSError):
        os.unlink(undo)
    fsck("-yf", "--undo", undo, path, status=REPAIRED)
    equal(Undo(undo).state, COMPLETE)
    return was, path, undo


@test
def undo_tells(tmp):
    """--undo-apply tells what it has done, also as JSON"""
    was, path, undo = repaired(tmp)
    done = copy(path, tmp + "/done.qed")
    true("as before" in fsck("--undo-apply", undo, path, status=REPAIRED)[1], "text")
    equal(fsck("--undo-apply", undo, "-q", path, status=CLEAN)[1:], ("", ""))
    true("already" in fsck("--undo-apply", undo, path, status=CLEAN)[1], "text")
    result = report("--undo-apply", undo, path, status=CLEAN)
    equal((result["modified"], result["bytes-written"]), (False, 0))
    copy(done, path)
    result = report("--undo-apply", undo, path, status=REPAIRED)
    true(result["modified"] and result["bytes-written"] > 0, result)
    equal((result["undo-file"], result["file-size"]), (undo, os.path.getsize(was)))
    equal(digest(path), digest(was))
    equal(Undo(undo).state, APPLIED)


@test
def undo_of_another(tmp):
    """an undo file is not applied to another image, nor to itself"""
    _, path, undo = repaired(tmp)
    for other in (damaged(tmp + "/b.qed", 3), populated(tmp + "/c.qed"),
                  populated(tmp + "/d.qed", seed=2, percent=70)):
        refused(undo, other, "another one")
    # of the same size, with the same header
    other = copy(path, tmp + "/e.qed")
    with open(other, "r+b") as file:
        file.seek(8192)
        file.write(os.urandom(os.path.getsize(path) - 8192))
    refused(undo, other, "another one")
    refused(path, path, "the image itself")
    os.mkfifo(tmp + "/fifo")
    for name in (tmp, tmp + "/fifo", tmp + "/none", "/dev/null"):
        fsck("--undo-apply", name, path, status=OPERATION)
    # a copy of the same is the same
    fsck("--undo-apply", undo, copy(path, tmp + "/f.qed"), status=REPAIRED)


def write_between(path):
    """Ways in which a repaired image is used."""
    def entry(img):
        img.set_entry(img.table_of(0), 5, 1)

    def elsewhere(img):
        # a table that is sound has no record
        img.set_entry(img.table_of(2), 9, 1)

    def longer(img):
        img.disk.write(img.disk.size(), bytes(img.hdr.cluster_size))

    def in_use(img):
        img.hdr.features |= qedimg.F_NEED_CHECK
        img.write_header()

    for change in (entry, elsewhere, longer, in_use):
        with edit(path) as img:
            change(img)
        yield change.__name__


@test
def undo_of_changed(tmp):
    """an image that was written to since is left as it is: before, and after, it was applied"""
    was, path, undo = repaired(tmp, few=True)
    done = copy(path, tmp + "/done.qed")
    with edit(path) as img:
        table = img.table_of(2)
    true(not [at for at in saved_places(undo) if table <= at < table + 16384], "it was repaired")
    for _ in write_between(copy(done, path)):
        refused(undo, path, "since")
        copy(done, path)
    was, path, undo = repaired(tmp)
    copy(path, done)
    for _ in write_between(path):
        refused(undo, path, "since")
        copy(done, path)
    fsck("--undo-apply", undo, path, status=REPAIRED)
    for name in write_between(copy(was, path)):
        if name != "in_use" or not need_check(was):
            refused(undo, path, "since")
        copy(was, path)
    for _ in write_between(copy(done, path)):
        refused(undo, path, "since")
        copy(done, path)
    fsck("--undo-apply", undo, "--force", copy(done, path), status=REPAIRED)
    equal(digest(path), digest(was))
    with edit(path) as img:
        img.set_entry(img.table_of(0), 5, 1)
    fsck("--undo-apply", undo, "--force", path, status=REPAIRED)
    equal(digest(path), digest(was), "--force")


@test
def undo_on_device(tmp):
    """on a block device more than the header is compared"""
    if not loop_devices(tmp):
        print("# no loop devices here")
        return
    path, undo = three_faults(tmp)[0], tmp + "/undo"
    os.truncate(path, 4 * M)
    was = copy(path, tmp + "/was.qed")
    with loop_device(path) as loop:
        fsck("-yf", "--discard", "--undo", undo, loop, status=REPAIRED)
    done = copy(path, tmp + "/done.qed")
    for change in ("entry", "elsewhere"):
        copy(done, path)
        for name in write_between(path):
            if name == change:
                break
            copy(done, path)
        with loop_device(path) as loop:
            true("since" in fsck("--undo-apply", undo, loop, status=OPERATION)[2], change)
    copy(done, path)
    with loop_device(path) as loop:
        fsck("--undo-apply", undo, loop, status=REPAIRED)
    equal(digest(path), digest(was))


@test
def undo_of_nothing(tmp):
    """an undo file of a run that was killed before its first write changes no image"""
    path, undo = damaged(tmp + "/a.qed", 2), tmp + "/undo"
    equal(fsck("-yf", "--undo", undo, path, env=preload(path, kill=1))[0], -signal.SIGKILL)
    # the first write's record is there already
    with open(undo, "r+b") as file:
        file.truncate(FIRST)
        file.seek(0)
        file.write(bytes(512))
    equal((Undo(undo).state, Undo(undo).ends), (BEGUN, [FIRST]))
    other = populated(tmp + "/b.qed", cluster=65536)
    with open(other, "ab") as file:
        file.write(b"x" * M)
    refused(undo, other, "another one")
    with edit(copy(path, other)) as img:
        img.hdr.features ^= qedimg.F_NEED_CHECK
        img.write_header()
    refused(undo, other, "another one")
    refused(undo, copy(path, tmp + "/c.qed"), "already", status=CLEAN)


def spoiled(data, seed):
    """Ways to damage a file, each a little."""
    rng = random.Random(seed)
    for at in list(range(0, 96, 7)) + list(range(4096, 4192, 7)) + [
            rng.randrange(FIRST, len(data)) for _ in range(60)]:
        yield "byte %d" % at, data[:at] + bytes([data[at] ^ 0x40]) + data[at + 1:]
    for _ in range(20):
        end = rng.randrange(len(data))
        yield "cut to %d" % end, data[:end]
    for _ in range(10):
        at = rng.randrange(FIRST, len(data)) & ~511
        yield "sector %d" % at, data[:at] + bytes(512) + data[at + 512:]


def judge_spoiled(tmp, name, undo, left, was):
    """Whole, or not at all"""
    trial = copy(left, tmp + "/trial.qed")
    status, _, err = fsck("--undo-apply", undo, trial)
    if status & OPERATION:
        true("undo file" in err, err)
        equal((status, digest(trial)), (OPERATION, digest(left)), name)
    else:
        equal(digest(trial), digest(was), name)
    return bool(status & OPERATION)


@test
def undo_damaged(tmp):
    """a damaged undo file is applied as a whole, or not at all"""
    was, left, undo = repaired(tmp)
    with open(undo, "rb") as file:
        data = file.read()
    count = 0
    for name, content in spoiled(data, 1):
        with open(undo, "wb") as file:
            file.write(content)
        count += judge_spoiled(tmp, "complete, " + name, undo, left, was)
    true(count > 60, "refused %d times" % count)
    # killed before a change, or when it was made
    for kill, how in ((4, "kill"), (4, "torn"), (8, "kill"), (8, "torn")):
        left = copy(was, tmp + "/left.qed")
        os.unlink(undo)
        equal(fsck("-yf", "--undo", undo, left, env=preload(left, **{how: kill}))[0],
              -signal.SIGKILL)
        with open(undo, "rb") as file:
            data = file.read()
        # what heads tell of was durable before they were written
        durable = Undo(undo).ends[-1]
        for name, content in spoiled(data, kill):
            with open(undo, "wb") as file:
                file.write(content)
            what = "%s %d, %s" % (how, kill, name)
            was_refused = judge_spoiled(tmp, what, undo, left, was)
            if name.startswith("cut to") and FIRST < len(content) < durable:
                true(was_refused, what)
            if len(content) >= durable and data[:durable] == content[:durable]:
                true(not was_refused, what)
            if data[FIRST:durable] != content[FIRST:durable]:
                true(was_refused, what)


@test
def undo_unknown_record(tmp):
    """records that nobody knows, or that lie outside of the image, are refused"""
    _, path, undo = repaired(tmp)
    file = Undo(undo)
    for what in ({1: 99}, {1: 8}, {2: 1 << 62}, {3: 1 << 62}, {3: 0}, {4: 1 << 21}, {2: 512 + 1}):
        at, _, _ = next(item for item in file.records() if item[1] == SAVED)
        fields = list(RECORD.unpack_from(file.data, at))
        for index, value in what.items():
            fields[index] = value
        record = RECORD.pack(*fields)
        fields[6] = file.crc(record[:32])
        with open(undo, "wb") as out:
            out.write(file.sealed(at, RECORD.pack(*fields)))
        refused(undo, path, "damaged")
    # nothing else is wrong with these
    for kind in (0, 10, 99):
        with open(undo, "wb") as out:
            out.write(file.longer([(kind, 0, 4096, b"")]))
        refused(undo, path, "damaged at byte")


@test
def undo_overlaps(tmp):
    """records that save, or tell what was left of, the same place are refused"""
    _, path, undo = repaired(tmp)
    file = Undo(undo)
    records = [RECORD.unpack_from(file.data, at) for at, _, _ in file.records()]
    count = 0
    for more in ((SAVED_ZERO, LEFT_ZERO), (SAVED, LEFT), (LEFT_ANY,)):
        for kind in more:
            like = SAVED if kind in (SAVED, SAVED_ZERO) else LEFT
            for _, other, offset, length, _, _, _, _ in records:
                if other != like:
                    continue
                data = b"" if kind > LEFT or kind == SAVED_ZERO else bytes(
                    4096 if kind == SAVED else 32)
                with open(undo, "wb") as out:
                    out.write(file.longer([(kind, offset + (length - 1) // 4096 * 4096, 4096,
                                            data)]))
                refused(undo, path, "damaged at byte")
                count += 1
    true(count > 10, count)
    # what is beside is none
    with open(undo, "wb") as out:
        out.write(file.longer([(LEFT_ANY, 1 << 40, 4096, b"")]))
    fsck("--undo-apply", undo, path, status=REPAIRED)


@test
def undo_of_version(tmp):
    """the file of another version is refused as such"""
    _, path, undo = repaired(tmp)
    with open(undo, "r+b") as file:
        for slot in (0, 4096):
            file.seek(slot)
            file.write(b"\2")
    refused(undo, path, "another version of qed-fsck")


def limited(undo, path):
    """Apply a file within 8 MiB besides three times its size: (status, errors, seconds)"""
    most = 8 * M + 3 * os.path.getsize(undo)
    before = cpu_time()
    status, _, err = fsck("--undo-apply", undo, path, preexec_fn=lambda: resource.setrlimit(
        resource.RLIMIT_DATA, (most, most)))
    return status, err, cpu_time() - before


def hostile(header, size):
    """(name, records) of files that want much to be done; the image has 5 MiB, then a hole"""
    first, rest = (SAVED, 0, 4096, header), (SAVED_ZERO, 4096, size - 4096, b"")
    yield "all is zero, again and again", [first, rest] + [
        (WRITTEN_ZERO, 4096, size - 4096 * n, b"") for n in range(50000)]
    yield "a place, again and again", [first, rest] + [
        (WRITTEN, M, M, bytes(8192)) for _ in range(1000)]
    yield "every second block", [first] + [
        (SAVED_ZERO, 8192 * n, 4096, b"") for n in range(1, 50000)]
    yield "every second block of a hole", [first] + [
        (SAVED_ZERO, size // 2 + 8192 * n, 4096, b"") for n in range(50000)]
    yield "sizes", [first] + [(RESIZED, n << 40, 0, b"") for n in range(50000)]
    yield "anything", [first, rest] + [
        (WRITTEN_ANY, n << 13, 4096, b"") for n in range(50000)]


@test
def undo_hostile(tmp):
    """files that want much to be done take time and memory as their size"""
    path, undo = populated(tmp + "/a.qed"), tmp + "/undo"
    with open(path, "r+b") as file:
        header = file.read(4096)
        file.seek(M)
        file.write(os.urandom(4 * M))
    size = 1 << 42
    os.truncate(path, size)
    head = [MAGIC, 1, bytes(16), BEGUN, 0, size, 0, FIRST, 0, 0, 0, 0, 0]
    for name, records in hostile(header, size):
        with open(undo, "wb") as out:
            out.write(forged(list(head), b"", records))
        status, err, seconds = limited(undo, path)
        print("# %s: %.2f s, file of %d KiB" % (name, seconds, os.path.getsize(undo) >> 10))
        true(status in (CLEAN, REPAIRED) or "the image has changed" in err, (name, status, err))
        true(seconds < 0.7, name)


@test
def undo_without_space(tmp):
    """without space for what is put back nothing is changed"""
    _, path, undo = repaired(tmp)
    before = digest(path)
    err = fsck("--undo-apply", undo, path, status=OPERATION, env=preload(path, enospc=1))[2]
    true("nothing was changed" in err, err)
    equal(digest(path), before)
    equal(Undo(undo).state, COMPLETE)
    fsck("--undo-apply", undo, path, status=REPAIRED)


@test
def undo_apply_killed(tmp):
    """taking back can be killed at any change, and be repeated; not if the image was changed"""
    count = 0
    for name, path, options in list(victims(tmp))[::2]:
        undo, left = tmp + "/undo", copy(path, tmp + "/left.qed")
        with contextlib.suppress(OSError):
            os.unlink(undo)
        fsck(*options, "--undo", undo, left, status=REPAIRED)
        for number, how in ((n // 2, ("kill", "torn")[n % 2]) for n in range(2, 400)):
            trial, file = copy(left, tmp + "/trial.qed"), shutil.copy(undo, tmp + "/undo2")
            status = fsck("--undo-apply", file, trial, env=preload(trial, **{how: number}))[0]
            if status != -signal.SIGKILL:
                if how == "kill":
                    break
                continue
            count += 1
            what = "%s, %s %d" % (name, how, number)
            if number % 4 == 3 and digest(trial) != digest(path):
                other = copy(trial, tmp + "/other.qed")
                with open(other, "r+b") as disk:
                    disk.seek(saved_places(undo)[-1])
                    disk.write(b"changed")
                refused(file, other, "since")
            fsck("--undo-apply", file, trial)
            equal(digest(trial), digest(path), what)
    true(count > 20, "killed %d times" % count)
    print("# %d kills" % count)


@test
def undo_with_damaged_head(tmp):
    """records that only a damaged head tells of are not forgotten when taking back is killed"""
    count = 0
    for name, path, options in list(victims(tmp))[:4]:
        for number in range(2, 12):
            undo, trial = tmp + "/undo", copy(path, tmp + "/trial.qed")
            with contextlib.suppress(OSError):
                os.unlink(undo)
            if fsck(*options, "--undo", undo, trial,
                    env=preload(trial, torn=number))[0] != -signal.SIGKILL:
                continue
            with open(undo, "r+b") as file:
                newest = max((0, 4096), key=lambda at: HEAD.unpack_from(os.pread(
                    file.fileno(), HEAD.size, at))[1])
                file.seek(newest)
                file.write(bytes(512))
            if fsck("--undo-apply", undo, trial,
                    env=preload(trial, kill=3))[0] != -signal.SIGKILL:
                continue
            count += 1
            fsck("--undo-apply", undo, trial)
            equal(digest(trial), digest(path), "%s, change %d" % (name, number))
    true(count > 10, "killed %d times" % count)


@test
def undo_after_failed_sync(tmp):
    """a run whose barrier failed, once, is like one that was killed: it can be taken back"""
    count = 0
    for name, path, options in victims(tmp):
        for number in range(2, 8):
            undo, trial, trace = tmp + "/undo", copy(path, tmp + "/trial.qed"), tmp + "/trace"
            for old in (undo, trace):
                with contextlib.suppress(OSError):
                    os.unlink(old)
            env = preload(trial, sync_once=number, trace=trace)
            if not fsck(*options, "--undo", undo, trial, env=env)[0] & OPERATION:
                break
            count += 1
            what = "%s, barrier %d" % (name, number)
            # before the last one the file tells how the image is left
            true(Undo(undo).state in (BEGUN, COMPLETE), what)
            # what could not be written is not on the disk
            epochs = read_trace(trace)
            disk = os.open(copy(path, trial), os.O_RDWR)
            for epoch in epochs[:number - 1]:
                for change in epoch:
                    replay(disk, change)
            os.close(disk)
            fsck("--undo-apply", undo, trial)
            equal(digest(trial), digest(path), what)
    true(count > 7, "failed %d times" % count)


@test
def undo_on_device_of_other_size(tmp):
    """a file's undo file is not applied to a device, which cannot get the size it had"""
    if not loop_devices(tmp):
        print("# no loop devices here")
        return
    path, undo, cut = three_faults(tmp)[0], tmp + "/undo", tmp + "/cut.qed"
    sound = os.path.getsize(path)
    with open(path, "ab") as file:
        file.write(os.urandom(5 * 8192))
    was = copy(path, tmp + "/was.qed")
    fsck("-yf", "--undo", undo, path, status=REPAIRED)
    equal(os.path.getsize(path), sound, "it was cut")
    before = digest(path)
    for options in ([], ["--force"]):
        with loop_device(copy(path, cut)) as loop:
            fsck("--undo-apply", undo, *options, loop, status=OPERATION)
        equal(digest(cut), before, options)
    fsck("--undo-apply", undo, path, status=REPAIRED)
    equal(digest(path), digest(was))


@test
def undo_of_killed_and_finished(tmp):
    """a run was killed, and another one has finished its work: that is not undone in part"""
    for name, path, options in victims(tmp):
        for number in range(2, 200, 2):
            trial, undo = copy(path, tmp + "/trial.qed"), tmp + "/undo"
            with contextlib.suppress(OSError):
                os.unlink(undo)
            if fsck(*options, "--undo", undo, trial,
                    env=preload(trial, kill=number))[0] != -signal.SIGKILL:
                break
            fsck(*options, trial, status=REPAIRED)
            before = digest(trial)
            status = fsck("--undo-apply", undo, trial)[0]
            what = "%s, change %d" % (name, number)
            if status == REPAIRED:
                equal(digest(trial), digest(path), what)
            else:
                equal(digest(trial), before, what)


def use(path, is_block):
    """Allocate a cluster, as a guest would, and clear what is not known."""
    with edit(path) as img:
        img.hdr.autoclear_features = 0
        img.write_header()
        table, cluster = img.table_of(0), img.hdr.cluster_size
        index = next(i for i in range(100) if not img.get_entry(table, i))
        where = os.path.getsize(path) - cluster if is_block else img.new_clusters(1)
        img.set_entry(table, index, where)
        img.disk.write(where, b"guest's" * 1000)


def victims_and_device(tmp):
    """Some runs, and one of a device: (name, path, options, is it one?)"""
    for name, path, options in list(victims(tmp))[2:9:2]:
        yield name, path, options, False
    path = populated(tmp + "/w.qed")
    with open(path, "ab") as file:
        file.write(os.urandom(20 * 8192))
    yield "discard", path, ["-yf", "--discard"], True


@test
def undo_of_killed_and_used(tmp):
    """a run was killed at any call, the image then repaired, if need be, and used: not undone"""
    count = 0
    for name, path, options, is_block in victims_and_device(tmp):
        for number in itertools.count(4, 1 if is_block else 3):
            trial, undo = copy(path, tmp + "/trial.qed"), tmp + "/undo"
            with contextlib.suppress(OSError):
                os.unlink(undo)
            env = {"LD_PRELOAD": os.path.join(BUILT, "disturb.so"), "FSCK_IMAGE": trial,
                   "FSCK_BLOCK": str(int(is_block))}
            if fsck(*options, "--undo", undo, trial, env=dict(
                    env, FSCK_CALL=str(number), FSCK_HOW="kill"))[0] != -signal.SIGKILL:
                break
            if digest(trial) == digest(path):
                continue
            if need_check(trial):
                fsck(*options, trial, env=env)
            use(trial, is_block)
            before = digest(trial)
            what = "%s, call %d" % (name, number)
            status = fsck("--undo-apply", undo, trial, env=env)[0]
            true(status in (CLEAN, OPERATION), what)
            equal(digest(trial), before, what)
            count += 1
    true(count > 20, count)
    print("# %d kills" % count)


@test
def undo_of_interrupted(tmp):
    """taking back was interrupted, the image then repaired and used: it does not go on"""
    count = 0
    for name, path, options in list(victims(tmp))[:8:2]:
        left, undo = copy(path, tmp + "/left.qed"), tmp + "/undo"
        with contextlib.suppress(OSError):
            os.unlink(undo)
        fsck(*options, "--undo", undo, left, status=REPAIRED)
        for number in range(1, 200, 2):
            trial, file = copy(left, tmp + "/trial.qed"), copy(undo, tmp + "/undo2")
            if fsck("--undo-apply", file, trial,
                    env=preload(trial, kill=number))[0] != -signal.SIGKILL:
                break
            if digest(trial) == digest(path):
                continue
            fsck("-yf", trial)
            use(trial, False)
            before = digest(trial)
            fsck("--undo-apply", file, trial, status=OPERATION)
            equal(digest(trial), before, "%s, change %d" % (name, number))
            count += 1
    true(count > 10, "killed %d times" % count)
    print("# %d kills" % count)


@test
def undo_of_interrupted_elsewhere(tmp):
    """nor if it was used in a way that only the tables tell: the same size, and no place of the file"""
    was, left, undo = repaired(tmp, few=True)
    for number in range(1, 200):
        trial, file = copy(left, tmp + "/trial.qed"), copy(undo, tmp + "/undo2")
        if fsck("--undo-apply", file, trial,
                env=preload(trial, kill=number))[0] != -signal.SIGKILL or digest(trial) == digest(was):
            break
        fsck("-yf", trial)
        with edit(trial) as img:
            img.hdr.autoclear_features = 0
            img.write_header()
            img.set_entry(img.table_of(2), 9, 1)
        before = digest(trial)
        fsck("--undo-apply", file, trial, status=OPERATION)
        equal(digest(trial), before, "change %d" % number)
    true(number > 3, number)


@test
def undo_of_unreadable(tmp):
    """what cannot be read to be saved is not lost, and the image is said to be why"""
    path, undo, trial = populated(tmp + "/a.qed"), tmp + "/undo", tmp + "/trial.qed"
    with open(path, "ab") as file:
        file.write(os.urandom(20 * 8192))
    count = 0
    for number in range(1, 25):
        copy(path, trial)
        with contextlib.suppress(OSError):
            os.unlink(undo)
        env = {"LD_PRELOAD": os.path.join(BUILT, "disturb.so"), "FSCK_IMAGE": trial,
               "FSCK_BLOCK": "1"}
        status, out, err = fsck("-yf", "--discard", "--undo", undo, trial, env=dict(
            env, FSCK_READ=str(number), FSCK_HOW="eio"))
        # of tables the one is repeated that failed
        if not status & OPERATION:
            continue
        true("the image cannot be read: " in err or "cannot read the header: " in err or
             number == 1, (number, err))
        true(": clean" not in out, out)
        count += 1
        if os.path.exists(undo):
            fsck("--undo-apply", undo, trial, env=env)
        equal(digest(trial), digest(path), number)
    true(count > 7, "failed %d times" % count)


@test
def undo_file_full(tmp):
    """without space for the undo file the run ends, says so, and can be taken back"""
    for name, path, options in list(victims(tmp))[::3]:
        for number in range(1, 400, 3):
            undo, trial = tmp + "/undo", copy(path, tmp + "/trial.qed")
            with contextlib.suppress(OSError):
                os.unlink(undo)
            # it is not there when the environment is made
            env = preload(undo, enospc=number)
            status, out, err = fsck(*options, "--undo", undo, trial, env=env)
            what = "%s, write %d" % (name, number)
            if not status & OPERATION:
                equal(status, REPAIRED, what)
                break
            true("undo file %s: No space left" % undo in err, err)
            true(": repaired" not in out and ": clean" not in out, out)
            if os.path.exists(undo):
                fsck("--undo-apply", undo, trial)
            equal(digest(trial), digest(path), what)
        true(number > 10, "%s: it never failed" % name)


@test
def undo_durable_first(tmp):
    """what gets lost is durable in the undo file before, and its state before it is applied"""
    for _, path, options in victims(tmp):
        undo, trial = tmp + "/undo", copy(path, tmp + "/trial.qed")
        env = preload(trial, undo=undo)
        fsck(*options, "--undo", undo, trial, env=env, status=REPAIRED)
        fsck("--undo-apply", undo, trial, env=env, status=REPAIRED)
        os.unlink(undo)


def partly(path, epochs, rng, target):
    """The image after a power cut: some of the last changes, and of their sectors, are there."""
    copy(path, target)
    disk = os.open(target, os.O_RDWR)
    for epoch in epochs[:-1]:
        for change in epoch:
            replay(disk, change)
    for change in epochs[-1]:
        choice = rng.randrange(3)
        if choice:
            replay(disk, change, rng if choice == 1 else None)
    os.close(disk)
    return target


@test
def undo_power_cuts(tmp):
    """after a power cut in a run, or while it is taken back, it can be taken back"""
    rng, count = random.Random(1), 0
    undo, trial, trace = tmp + "/undo", tmp + "/trial.qed", tmp + "/trace"

    def killed(number, *argv):
        with contextlib.suppress(OSError):
            os.unlink(trace)
        return fsck(*argv, env=preload(trial, kill=number, trace=trace))[0] == -signal.SIGKILL

    def cut_and_undo(path, start, what):
        for _ in range(3):
            cut = partly(start, read_trace(trace) if os.path.exists(trace) else [[]], rng,
                         tmp + "/cut.qed")
            file = copy(undo, tmp + "/undo2")
            true(fsck("--undo-apply", file, cut)[0] in (CLEAN, REPAIRED), what)
            equal(digest(cut), digest(path), what)

    for name, path, options in victims(tmp):
        for number in range(2, 400, 3):
            copy(path, trial)
            with contextlib.suppress(OSError):
                os.unlink(undo)
            if not killed(number, *options, "--undo", undo, trial):
                break
            count += 1
            cut_and_undo(path, path, "%s, killed before %d" % (name, number))
        left = copy(trial, tmp + "/left.qed")
        done = copy(undo, tmp + "/undo3")
        for number in range(2, 400, 3):
            copy(left, trial)
            copy(done, undo)
            if not killed(number, "--undo-apply", undo, trial):
                break
            count += 1
            cut_and_undo(path, left, "%s, killed before %d of the undo" % (name, number))
    print("# %d power cuts" % (count * 3))
