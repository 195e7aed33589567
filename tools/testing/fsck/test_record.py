# SPDX-License-Identifier: GPL-2.0-only
"""Tests of qed-fsck: the record in the header."""

import os
import re
import signal
import struct

import qedimg

from test_fsck import (CLEAN, LEFT, M, OPERATION, REPAIRED, Terminal, codes, copy, digest, edit,
                       equal, fsck, guest, loop_device, loop_devices, need_check, populated, preload,
                       report, sparse_in_middle, structure, test, true)

OWNER = bytes(range(0xa0, 0xb0))


def this_host():
    """What dm-qed calls this host by itself"""
    return re.sub(r"[^A-Za-z0-9._-]", "-", os.uname().nodename)[:63].encode() or b"-"


def has_record(path):
    """Is the bit of the record set?"""
    with qedimg.Disk(path) as disk:
        return bool(qedimg.Image(disk).hdr.autoclear_features & qedimg.AF_RECORD)


def used_end(path):
    """In clusters"""
    with qedimg.Disk(path) as disk:
        img = qedimg.Image(disk)
        return img.hwm() // img.hdr.cluster_size


def give(path, **fields):
    """Give an image a record; by default one that says where its tables end."""
    fields = dict({"host": b"node-1.example_org", "owner": OWNER, "end": used_end(path)}, **fields)
    with edit(path) as img:
        img.write_record(**fields)
    return path


def recorded(path, **fields):
    """An image with a record."""
    return give(populated(path), **fields)


def record_bytes(path):
    """As they are"""
    with open(path, "rb") as file:
        file.seek(qedimg.RECORD_OFFSET)
        return file.read(128)


@test
def record_shown(tmp):
    """a record is told with all that it says, and nothing is written"""
    path = recorded(tmp + "/a.qed")
    end, size = used_end(path), os.path.getsize(path)
    os.truncate(path, size + 20 * 8192)
    give(path, end=end + 2, zero_from=end + 3, zero_end=end + 19, device_size=size + 20 * 8192)
    before = digest(path)
    for argv in (["-n"], ["-nf"]):
        equal(report(*argv, path)["record"], {
            "valid": True, "dropped": False, "host": "node-1.example_org", "owner": OWNER.hex(),
            "active": False, "end": (end + 2) * 8192, "zero-from": (end + 3) * 8192,
            "zero-end": (end + 19) * 8192, "device-size": size + 20 * 8192}, argv)
    text = fsck("-n", path, status=CLEAN)[1]
    true("record: last used by host node-1.example_org, owner %s; nothing in use from byte %d on, "
         "zeroes from %d to %d\n" % (OWNER.hex(), (end + 2) * 8192, (end + 3) * 8192,
                                     (end + 19) * 8192) in text, text)
    equal(digest(path), before)
    os.truncate(path, size + 19 * 8192)
    text = fsck("-n", path, status=CLEAN)[1]
    true("on\n" in text and "zeroes from" not in text, "zeroes of another size: " + text)
    give(path, flags=1, end=0)
    text = fsck("-n", path, status=CLEAN)[1]
    true("record: in use by host node-1.example_org, owner %s\n" % OWNER.hex() in text, text)
    true(report("-n", path)["record"]["active"], "active")
    with edit(path) as img:
        img.hdr.autoclear_features = 0
        img.write_header()
    true("record" not in report("-n", path), "the bit is clear")
    true("record" not in fsck("-n", path)[1], "the bit is clear")


@test
def record_each_bit(tmp):
    """a record with any bit flipped is void, and no error; nor is anything written"""
    path = recorded(tmp + "/a.qed")
    good = record_bytes(path)
    for bit in range(1024):
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << bit % 8
        with qedimg.Disk(path, writable=True) as disk:
            disk.write(qedimg.RECORD_OFFSET, bytes(bad))
        result = report("-n", path, status=CLEAN)
        equal(codes(result), ["record-void"], "bit %d" % bit)
        equal(result["record"]["valid"], False, "bit %d" % bit)
    before = digest(path)
    for argv in (["-pf"], ["-yf"]):
        equal(codes(report(*argv, path, status=CLEAN)), ["record-void"], argv)
    equal(digest(path), before)


def void_fields(end):
    """(what is wrong, fields) of records that are void, and None of some that are not."""
    zeroes = {"zero_from": end, "zero_end": end + 9, "device_size": (end + 9) * 8192}
    yield None, {}
    yield None, {"end": 0}
    yield None, {"end": (1 << 64) // 8192 - 1}
    yield None, zeroes
    yield None, {"host": b"x" * 63}
    yield "does not begin like one", {"magic": qedimg.MAGIC}
    yield "unknown version", {"version": 0}
    yield "unknown version", {"version": 2}
    yield "unknown flags", {"flags": 2}
    yield "unknown flags", {"flags": 0x8000}
    yield "unknown flags", {"reserved": 1 << 31}
    for host in (b"", b"(none)", b"a b", b"a/b", b"\xc3\xa4", b"a\n", b"x" * 64, b"a\0b",
                 b"a" + bytes(62) + b"b"):
        yield "no legal name", {"host": host}
    yield "though the image is in use", {"flags": 1}
    yield "though the image is in use", {"flags": 1, "end": 0, "zero_end": 5}
    yield None, {"flags": 1, "end": 0, "device_size": 5}
    yield "impossible end", {"end": 1}
    yield "impossible end", {"end": (1 << 64) // 8192}
    yield "impossible end", {"end": (1 << 64) - 1}
    yield "impossible zeroes", dict(zeroes, end=0)
    yield "impossible zeroes", dict(zeroes, end=end + 1)
    yield "impossible zeroes", dict(zeroes, zero_from=end + 9)
    yield "impossible zeroes", dict(zeroes, device_size=(end + 9) * 8192 - 1)
    yield "impossible zeroes", dict(zeroes, zero_end=(1 << 64) - 1)
    yield "impossible zeroes", dict(zeroes, zero_end=0)
    yield "impossible zeroes", {"zero_from": end}
    yield None, {"device_size": 1}


@test
def record_values(tmp):
    """a record with a right checksum and a value that cannot be is void"""
    path = populated(tmp + "/a.qed")
    for what, fields in void_fields(used_end(path)):
        give(path, **fields)
        result = report("-n", path, status=CLEAN)
        equal(codes(result), ["record-void"] if what else [], fields)
        equal(result["record"]["valid"], not what, fields)
        true(not what or what in result["record"]["defect"], "%s: %s" % (fields, result["record"]))
        true(not what or what in fsck("-n", path)[1], what)


@test
def record_of_dirty(tmp):
    """a record that tells of free space is void with NEED_CHECK, and goes when that is cleared"""
    path = recorded(tmp + "/a.qed")
    with edit(path) as img:
        img.hdr.features |= qedimg.F_NEED_CHECK
        img.write_header()
    equal(codes(report("-n", path, status=CLEAN)), ["need-check", "record-void"])
    equal(codes(report("-p", path, status=REPAIRED)), ["need-check", "record-void"])
    true(not has_record(path) and not need_check(path), "dropped")
    for flags in (0, 1):
        give(path, flags=flags, end=0)
        with edit(path) as img:
            img.hdr.features |= qedimg.F_NEED_CHECK
            img.write_header()
        result = report("-p", "--takeover", path, status=REPAIRED)
        equal((codes(result), result["record"]["valid"], result["record"]["dropped"]),
              (["need-check"], True, bool(flags)))
        equal((has_record(path), need_check(path)), (not flags, False), "flags %d" % flags)


@test
def record_and_backing_file(tmp):
    """the name of the backing file may be in its place"""
    for offset, size, room in ((64, 320, True), (64, 321, False), (512, 9, True), (511, 1, False),
                               (384, 1, False), (383, 1, True)):
        path = populated(tmp + "/a.qed")
        with edit(path) as img:
            img.hdr.features |= qedimg.F_BACKING
            img.hdr.backing_filename_offset = offset
            img.hdr.backing_filename_size = size
            img.write_header()
        give(path)
        result = report("-nf", path, status=CLEAN)
        equal(result["record"]["valid"], room, "name at %d, %d" % (offset, size))
        os.unlink(path)


@test
def record_untrue(tmp):
    """what refers to something behind the end makes the record damage, which -p repairs"""
    path = populated(tmp + "/a.qed")
    end, before = used_end(path), guest(path)
    for less in (1, 2, 5):
        give(path, end=end - less)
        content = digest(path)
        result = report("-nf", path, status=LEFT)
        equal([(item["code"], item["severity"], item["offset"], item["length"], item["action"])
               for item in result["findings"]],
              [("record-untrue", "damage", (end - less) * 8192, less * 8192, "none")])
        equal(digest(path), content)
        for mode in ("-pf", "-yf"):
            trial = copy(path, tmp + "/b.qed")
            result = report(mode, trial, status=REPAIRED)
            equal([item["action"] for item in result["findings"]], ["cleared"], mode)
            equal((has_record(trial), need_check(trial)), (False, False), mode)
            equal(guest(trial), before, mode)
            equal(report("-nf", trial, status=CLEAN)["findings"], [], mode)
    # beside damage that -p leaves
    with edit(path) as img:
        img.set_entry(img.table_of(0), 15, 4711)
    result = report("-pf", path, status=REPAIRED | LEFT)
    equal(codes(result), ["l2-entry-unaligned", "record-untrue"])
    equal((has_record(path), need_check(path)), (False, True))


@test
def record_kept(tmp):
    """a record that is true after a repair is there as it was"""
    path = sparse_in_middle(tmp + "/a.qed")
    end = used_end(path)
    os.truncate(path, end * 8192)
    for zeroes in (False, True):
        give(path, **({"zero_from": end, "zero_end": end + 9, "device_size": (end + 9) * 8192}
                      if zeroes else {}))
        before = record_bytes(path)
        trial = copy(path, tmp + "/b.qed")
        with edit(trial) as img:
            table = img.table_of(0)
            img.set_entry(table, 9, 4711)
            values = [value for _, value in img.l2(table) if value > 4711]
            img.set_entry(table, 10, values[0])
        result = report("-yf", trial, status=REPAIRED)
        true("l2-entry-shared" in codes(result) and "leak" in codes(result), codes(result))
        equal(result["record"]["dropped"], False)
        equal((has_record(trial), need_check(trial)), (True, False))
        equal(record_bytes(trial), before)
        equal(report("-nf", trial, status=CLEAN)["findings"], [])


@test
def record_not_kept(tmp):
    """a record that is not true any more after a repair is dropped"""
    source = populated(tmp + "/a.qed")
    end = used_end(source)
    os.truncate(source, end * 8192)

    def shared(img):
        entries = dict(img.l2(img.table_of(0)))
        img.set_entry(img.table_of(0), 15, [value for value in entries.values() if value > 1][0])

    def part(img):
        os.ftruncate(img.disk.fd, end * 8192 - 100)

    def tail(img):
        os.ftruncate(img.disk.fd, (end + 10) * 8192)

    for change, options in ((shared, "-yf"), (part, "-pf"), (tail, "-pf"), (tail, "-yf")):
        path = give(copy(source, tmp + "/b.qed"))
        with edit(path) as img:
            change(img)
        result = report(options, path, status=REPAIRED)
        what = "%s: %s" % (change.__name__, codes(result))
        true(result["record"]["valid"] and result["record"]["dropped"], what)
        true("; dropped\n" not in fsck("-n", path)[1], what)
        equal((has_record(path), need_check(path)), (False, False), what)
        equal(report("-nf", path, status=CLEAN)["findings"], [], what)
    path = give(sparse_in_middle(tmp + "/c.qed"))
    fsck("-yf", "--compact", path, status=REPAIRED)
    true(not has_record(path), "made short")
    for options, host in ((("-yf",), this_host()), (("-yf", "--takeover"), b"another")):
        path = give(sparse_in_middle(tmp + "/d.qed"), flags=1, end=0, host=host)
        with edit(path) as img:
            img.set_entry(img.table_of(0), 9, 4711)
        true("; dropped\n" in fsck(*options, path, status=REPAIRED)[1], options)
        true(not has_record(path), options)
        os.unlink(path)


@test
def record_of_another_host(tmp):
    """an image that another host has is not written to, but with --takeover"""
    source = populated(tmp + "/a.qed")
    with edit(source) as img:
        img.set_entry(img.table_of(0), 15, 4711)
    path = give(copy(source, tmp + "/b.qed"), flags=1, end=0, host=b"another")
    fsck("-yf", "--takeover", "--undo", tmp + "/undo", path, status=REPAIRED)
    done = copy(path, tmp + "/done.qed")
    for name, dirty in ((path, True), (populated(tmp + "/c.qed"), False)):
        if dirty:
            copy(source, name)
        give(name, flags=1, end=0, host=b"another")
        with edit(name) as img:
            img.hdr.features |= qedimg.F_NEED_CHECK if dirty else 0
            img.write_header()
        before = digest(name)
        for argv in (["-p"], ["-pf"], ["-y"], ["-yf"], ["-yf", "--compact"],
                     ["-yf", "--undo", tmp + "/new"]):
            result = report(*argv, name, status=OPERATION)
            true(re.search("in use by host another, owner %s: --takeover" % OWNER.hex(),
                           result["error"]), result["error"])
            equal(digest(name), before, argv)
        true(not os.path.exists(tmp + "/new"), "an undo file was made")
        report("-nf", name, status=LEFT if dirty else CLEAN)
    # what takes back writes, too; without the record nobody has it
    give(done, flags=1, end=0, host=b"another")
    before = digest(done)
    true("in use by host another" in fsck("--undo-apply", tmp + "/undo", done, status=OPERATION)[2],
         "the message")
    equal(digest(done), before)
    fsck("--undo-apply", tmp + "/undo", "--force", "--takeover", done, status=REPAIRED)


@test
def record_taken_meanwhile(tmp):
    """an image that another host takes during the check, before anything is written"""
    source = populated(tmp + "/source.qed")
    with edit(source) as img:
        img.set_entry(img.table_of(0), 15, 4711)
    for way in "record", "size":
        path = copy(source, tmp + "/a.qed")
        terminal = Terminal("-f", path)
        true(terminal.read_until("(y: yes, n: no, a: yes to all)? "), "no question")
        if way == "record":
            give(path, flags=1, end=0, host=b"another")
        else:
            with edit(path) as img:
                img.hdr.image_size += 512
                img.write_header()
        before = digest(path)
        os.write(terminal.fd, b"y\n")
        status = terminal.end()
        equal((status, digest(path) == before), (OPERATION | LEFT, True))


@test
def record_of_copy(tmp):
    """a copy of an image in use is made another one, whatever else there is to do"""
    for need_check_set in False, True:
        for argv in (["-p"], ["-y"]):
            path = give(populated(tmp + "/a.qed"), flags=1, end=0, host=this_host())
            if need_check_set:
                with edit(path) as img:
                    img.hdr.features |= qedimg.F_NEED_CHECK
                    img.write_header()
            before = guest(path)
            fsck(*argv, "--takeover", path, status=REPAIRED)
            equal((has_record(path), guest(path) == before), (False, True))
            equal(structure(path)[0], [])
            fsck(*argv, "--takeover", path, status=CLEAN)


@test
def record_undone_by_force(tmp):
    """of an image that was used since, an undo file restores no record"""
    path = recorded(tmp + "/a.qed")
    with edit(path) as img:
        img.set_entry(img.table_of(0), 15, 4711)
    undone = copy(path, tmp + "/b.qed")
    fsck("-yf", "--undo", tmp + "/undo", path, status=REPAIRED)
    true(has_record(path), "the record is gone")
    give(path, flags=1, end=0)
    fsck("--undo-apply", tmp + "/undo", path, status=OPERATION)
    fsck("--undo-apply", tmp + "/undo", "--force", "--takeover", path, status=REPAIRED)
    true(not has_record(path), "the record is back")
    with edit(path) as img:
        img.hdr.autoclear_features |= qedimg.AF_RECORD
        img.write_header()
    equal(digest(path), digest(undone))


@test
def record_of_this_host(tmp):
    """what this host has left active is repaired as before, by the name of the node or the machine"""
    source = populated(tmp + "/a.qed")
    with edit(source) as img:
        img.set_entry(img.table_of(0), 15, 4711)
    hosts = [this_host()]
    if os.path.exists("/etc/machine-id"):
        with open("/etc/machine-id", "rb") as file:
            hosts += [line.strip() for line in file if line.strip()]
    for host in hosts:
        path = give(copy(source, tmp + "/b.qed"), flags=1, end=0, host=host)
        result = report("-yf", path, status=REPAIRED)
        equal((result["record"]["host"], result["record"]["dropped"]), (host.decode(), True))
        equal(structure(path)[0], [])
        for other in (host + b"x", host[:-1]):
            give(copy(source, path), flags=1, end=0, host=other or b"-x")
            report("-yf", path, status=OPERATION)
    # that is not active does not count, nor one that is none
    path = give(copy(source, tmp + "/b.qed"), host=b"another")
    report("-yf", path, status=REPAIRED)
    path = give(copy(source, tmp + "/b.qed"), flags=1, end=0, host=b"another")
    with qedimg.Disk(path, writable=True) as disk:
        disk.write(qedimg.RECORD_OFFSET + 20, b"x")
    report("-yf", path, status=REPAIRED)


@test
def record_killed(tmp):
    """a repair that is killed leaves no record that is not true"""
    source = give(sparse_in_middle(tmp + "/a.qed"))
    with edit(source) as img:
        table = img.table_of(0)
        img.set_entry(table, 9, 4711)
        img.set_entry(table, 10, [value for _, value in img.l2(table) if value > 4711][0])
    count = 0
    for options in (["-yf"], ["-yf", "--compact"]):
        for n in range(1, 100):
            path = copy(source, tmp + "/b.qed")
            code = fsck(*options, path, env=preload(path, kill=n))[0]
            if code != -signal.SIGKILL:
                break
            changed = digest(path) != digest(source)
            true(not changed or not has_record(path), "there after kill %d" % n)
            fsck("-yf", path)
            equal(report("-nf", path, status=CLEAN)["findings"], [], "kill %d" % n)
            count += 1
        equal(code, REPAIRED, options)
    true(count > 4, "only %d kills" % count)


@test
def record_undone(tmp):
    """an undo file takes back that the record was dropped, or kept"""
    source = sparse_in_middle(tmp + "/a.qed")
    end = used_end(source)
    for less in (0, 1):
        path = give(copy(source, tmp + "/b.qed"), end=end - less)
        with edit(path) as img:
            img.set_entry(img.table_of(0), 9, 4711)
        before = digest(path)
        fsck("-yf", "--undo", tmp + "/undo", path, status=REPAIRED)
        equal(has_record(path), not less)
        fsck("--undo-apply", tmp + "/undo", path, status=REPAIRED)
        equal(digest(path), before)
        os.unlink(tmp + "/undo")


@test
def record_of_device(tmp):
    """copies behind the end, on a device that keeps its size, void the record; others do not"""
    if not loop_devices(tmp):
        print("# no loop devices here")
        return
    for make, kept in ((populated, False), (sparse_in_middle, True)):
        path = give(make(tmp + "/a.qed"))
        os.truncate(path, M)
        with edit(path) as img:
            table = img.table_of(0)
            img.set_entry(table, 15, [value for _, value in img.l2(table) if value > 1][0])
        with loop_device(path) as loop:
            result = report("-yf", loop, status=REPAIRED)
        true("l2-entry-shared" in codes(result), codes(result))
        equal(result["record"]["dropped"], not kept)
        equal((has_record(path), need_check(path)), (kept, False))
        os.unlink(path)


@test
def record_discarded(tmp):
    """zeroes that are discarded are not known to be zero"""
    if not loop_devices(tmp):
        print("# no loop devices here")
        return
    source = populated(tmp + "/a.qed")
    end, size = used_end(source), M
    true(end * 8192 < size, "room for zeroes")
    os.truncate(source, size)
    for zeroes in (False, True):
        path = copy(source, tmp + "/b.qed")
        give(path, **({"zero_from": end, "zero_end": size // 8192, "device_size": size}
                      if zeroes else {}))
        with loop_device(path) as loop:
            result = report("-yf", "--discard", loop, status=REPAIRED)
        equal(result["record"]["dropped"], zeroes)
        equal((has_record(path), need_check(path)), (not zeroes, False))
        equal(structure(path)[0], [])


@test
def record_read_error(tmp):
    """a record that cannot be read is an error of operation, and of nothing else"""
    path = recorded(tmp + "/a.qed")
    before = digest(path)
    for argv in (["-n"], ["-yf"]):
        result = report(*argv, path, status=8, env=preload(path, eio="384-512"))
        true(re.search("cannot (read the header|be read)", result["error"]), result["error"])
    equal(digest(path), before)
    equal(struct.unpack("<I", record_bytes(path)[:4])[0], qedimg.RECORD_MAGIC)
