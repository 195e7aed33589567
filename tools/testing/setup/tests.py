#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Tests what of qedsetup needs no kernel module.

Usage: tests.py FOLDER [NAME...]

FOLDER has what "check" has built. Prints TAP.
"""

import fcntl
import json
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE]

import schema  # noqa: E402

BUILT = sys.argv[1] if len(sys.argv) > 1 else "."
QEDSETUP = os.path.join(BUILT, "qedsetup")
KILLER = os.path.join(BUILT, "killer")

OTHER, PERMISSION, DEVICE, BUSY = 1, 2, 4, 5
KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30

# Locks of QEMU
READS, WRITES, FORBIDS_WRITES = 100, 101, 201

TESTS = []


def test(func):
    """A function that is a test"""
    TESTS.append(func)
    return func


def equal(got, expected, what):
    """Fail unless two values are the same"""
    if got != expected:
        raise AssertionError("%s: %r, expected %r" % (what, got, expected))


def true(value, what):
    """Fail unless it is true"""
    if not value:
        raise AssertionError(what)


def run(*args, status=0, **kwargs):
    """qedsetup: what it has printed, both kinds of it"""
    done = subprocess.run([QEDSETUP, *args], capture_output=True, check=False, **kwargs)
    out = done.stdout.decode(errors="surrogateescape")
    err = done.stderr.decode(errors="surrogateescape")
    if done.returncode != status:
        raise AssertionError("%r: exit status %d, expected %d\n%s%s" %
                             (args, done.returncode, status, out, err))
    return out, err


def run_json(*args, status=0, **kwargs):
    """The same with --json, and what it says"""
    out, _ = run("--json", *args, status=status, **kwargs)
    document = json.loads(out)
    verb = next(arg for arg in args if arg in schema.VERBS)
    schema.check_output("error" if status else verb, document)
    return document


def refused(*args, status=OTHER, says="", **kwargs):
    """It has to fail, and say why, on one line"""
    out, err = run(*args, status=status, **kwargs)
    equal(out, "", "standard output of %r" % (args,))
    true(err.startswith("qedsetup: ") and err.count("\n") == 1, "one line: %r" % err)
    true(says in err, "%r does not say %r: %r" % (args, says, err))
    return err


def qemu(*args):
    """A program of QEMU"""
    done = subprocess.run(args, capture_output=True, check=False)
    if done.returncode:
        raise AssertionError("%r: %r" % (args, done.stdout + done.stderr))
    return done.stdout.decode(errors="surrogateescape")


def read(path):
    """All of a file"""
    with open(path, "rb") as file:
        return file.read()


def header(path):
    """The fields of a header, in their order"""
    with open(path, "rb") as file:
        return struct.unpack("<4sIIIQQQQQII", file.read(64))


def lock(path, *offsets):
    """An open file with locks as QEMU has them"""
    fd = os.open(path, os.O_RDWR)
    for offset in offsets:
        fcntl.fcntl(fd, 37, struct.pack("hhqqi4x", fcntl.F_RDLCK, os.SEEK_SET, offset, 1, 0))
    return fd


# create


@test
def creates(tmp):
    """create makes what qemu-img makes"""
    for size, options in ((MIB, []), (10 * GIB, []), (512, []), (3 * GIB + 512, []),
                          (GIB, ["--cluster-size", "4K", "--table-size", "2"]),
                          (64 * 1024 * GIB, []),
                          (1 << 62, ["--cluster-size", "64M", "--table-size", "16"])):
        path = os.path.join(tmp, "a.qed")
        if size < 1 << 60 and not options and size % GIB == 0:
            qemu("qemu-img", "create", "-q", "-f", "qed", path, str(size))
            theirs = header(path), os.path.getsize(path)
            os.unlink(path)
            run("create", path, str(size))
            equal((header(path), os.path.getsize(path)), theirs, "the image of %d" % size)
        else:
            run("create", path, str(size), *options)
        fields = header(path)
        equal(fields[8], size, "its disk")
        equal(os.path.getsize(path), fields[1] * (fields[3] + fields[2]), "its file")
        if fields[1] <= 64 * KIB and size < 1 << 50:
            qemu("qemu-img", "check", "-q", "-f", "qed", path)
        os.unlink(path)
    equal(os.listdir(tmp), [], "what is left")


@test
def sizes(tmp):
    """Sizes are what people mean by them"""
    path = os.path.join(tmp, "a.qed")
    for text, size in (("1M", MIB), ("1MiB", MIB), ("1mib", MIB), ("1MB", 10 ** 6 // 512 * 512),
                       ("1048576", MIB), ("1048576B", MIB), ("1.5G", 3 * GIB // 2),
                       ("0.5K", 512), ("2 G", 2 * GIB), ("512KB", 512000)):
        if text == "1MB":
            refused("create", path, text, says="multiple of 512")
            continue
        run("create", path, text)
        equal(header(path)[8], size, text)
        os.unlink(path)
    for text in ("", "-1", "1X", "1.0001B", "1..5G", ".5G", "G", "0x10", "9999999999G", "1GiBx",
                 "8E", "nan"):
        refused("create", path, text)
        true(not os.path.exists(path), "there is an image of %r" % text)


@test
def wrong_geometry(tmp):
    """create refuses what is no geometry, and names one that is"""
    path = os.path.join(tmp, "a.qed")
    refused("create", path, "1M", "--cluster-size", "2K", says="--cluster-size can be 4K")
    refused("create", path, "1M", "--cluster-size", "128M", says="--cluster-size can be 4K")
    refused("create", path, "1M", "--cluster-size", "5000", says="--cluster-size can be 4K")
    refused("measure", "--size", "1M", "--cluster-size", "0", says="--cluster-size can be 4K")
    for wrong in ("0", "1", "3", "32"):
        refused("create", path, "1M", "--table-size", wrong, says="--table-size can be 2")
    refused("create", path, "1T", "--cluster-size", "4K", "--table-size", "2",
            says="give a larger --cluster-size or --table-size")
    refused("create", path, "0", says="not 0")
    refused("create", path, "1000", says="multiple of 512")
    refused("create", path, says="size of the disk is missing")
    equal(os.listdir(tmp), [], "what is left")


@test
def existing(tmp):
    """create does not overwrite anything without --force, and nothing that is in use"""
    path = os.path.join(tmp, "a.qed")
    with open(path, "w", encoding="utf-8") as file:
        file.write("precious")
    os.chmod(path, 0o600)
    refused("create", path, "1M", status=BUSY, says="--force")
    with open(path, encoding="utf-8") as file:
        equal(file.read(), "precious", "what was there")
    fd = lock(path, READS, WRITES)
    says = refused("create", path, "1M", "--force", status=BUSY, says="is in use by process ")
    true(str(os.getpid()) in says, "who has it: %s" % says)
    os.close(fd)
    run("create", path, "1M", "--force")
    equal(header(path)[0], b"QED\0", "the image")
    equal(os.listdir(tmp), ["a.qed"], "what is left")
    refused("create", tmp, "1M", status=DEVICE, says="neither a file nor a block device")
    refused("create", os.path.join(tmp, "none", "a"), "1M", says="No such file or directory")
    refused("create", os.path.join(tmp, "b"), "1M", "--zero", status=DEVICE, says="block devices")
    os.mkfifo(os.path.join(tmp, "fifo"))
    refused("create", os.path.join(tmp, "fifo"), "1M", "--force", status=DEVICE)


@test
def full(tmp):
    """A full file system, and a limit of the size: no image, nothing left"""
    limit = "ulimit -f 100; exec \"$0\" create \"$1\" 1G"
    done = subprocess.run(["bash", "-c", limit, QEDSETUP, os.path.join(tmp, "a.qed")],
                          capture_output=True, check=False)
    equal(done.returncode, OTHER, "exit status")
    true(b"File too large" in done.stderr, done.stderr)
    equal(os.listdir(tmp), [], "what is left")


@test
def overlays(tmp):
    """create over a base: named as QEMU names it, raw only if that is said"""
    raw, base, path = (os.path.join(tmp, name) for name in ("base.raw", "b.qed", "o.qed"))
    with open(raw, "wb") as file:
        file.write(os.urandom(MIB))
    refused("create", "-b", "base.raw", path, status=DEVICE, says="--backing-format raw")
    refused("create", "-b", "none", path, says="No such file")
    refused("create", "-b", "base.raw", "-F", "qcow2", path, says="raw or qed, not qcow2")
    refused("create", "-F", "raw", path, "1M", says="needs --backing")
    refused("create", "-b", "nbd://host/disk", path, "1M", says="neither a file nor a device")
    run("create", "-b", "base.raw", "-F", "raw", path)
    equal(header(path)[1], 16 * KIB, "cluster size")
    equal(header(path)[4], 5, "features")
    equal(header(path)[8], MIB, "size")
    qemu("qemu-img", "compare", "-f", "qed", "-F", "raw", path, raw)
    run("create", base, "2M")
    os.mkdir(os.path.join(tmp, "d"))
    run("create", "-b", "../b.qed", os.path.join(tmp, "d", "o.qed"))
    equal(header(os.path.join(tmp, "d", "o.qed"))[4], 1, "features")
    # where the link is, not where it goes to
    os.symlink("d/o.qed", os.path.join(tmp, "link"))
    _, err = run("info", "--chain", os.path.join(tmp, "link"), status=OTHER)
    true("No such file" in err, err)


@test
def odd_base(tmp):
    """A raw base of no whole sectors is refused: its end would not show"""
    raw = os.path.join(tmp, "base.raw")
    with open(raw, "wb") as file:
        file.write(b"x" * 66000)
    refused("create", "-b", raw, "-F", "raw", os.path.join(tmp, "o.qed"), status=DEVICE,
            says="truncate --size=%512")
    subprocess.run(["truncate", "--size=%512", raw], check=True)
    run("create", "-b", raw, "-F", "raw", os.path.join(tmp, "o.qed"))


@test
def odd_image(tmp):
    """So is an image that does not end with a whole cluster"""
    base, path = os.path.join(tmp, "b.qed"), os.path.join(tmp, "o.qed")
    run("create", base, "1M")
    with open(base, "ab") as file:
        file.write(b"x" * 512)
    refused("create", "-b", base, path, status=DEVICE, says="truncate --size=%65536")
    subprocess.run(["truncate", "--size=%65536", base], check=True)
    run("create", "-b", base, path)


@test
def circles(tmp):
    """No image is put below itself, however many are between"""
    first = os.path.join(tmp, "0.qed")
    run("create", first, "1M")
    for number in range(1, 4):
        run("create", "-b", "%d.qed" % (number - 1), os.path.join(tmp, "%d.qed" % number))
    with open(first, "rb") as file:
        before = file.read()
    for number in range(4):
        refused("create", "--force", "-b", "%d.qed" % number, first, says="is below itself")
    os.symlink("0.qed", os.path.join(tmp, "link"))
    refused("create", "--force", "-b", "3.qed", os.path.join(tmp, "link"),
            says="is below itself")
    with open(first, "rb") as file:
        equal(file.read(), before, "the image")
    os.unlink(first)
    refused("create", "-b", "3.qed", os.path.join(tmp, "4.qed"), says="0.qed: cannot be opened")
    equal(len(os.listdir(tmp)), 4, "what is left")


@test
def deep(tmp):
    """Images over images up to the limit"""
    run("create", os.path.join(tmp, "00.qed"), "1M")
    run("create", "-b", "00.qed", os.path.join(tmp, "01.qed"))
    with open(os.path.join(tmp, "01.qed"), "rb") as file:
        data = file.read()
    for number in range(2, 64):
        with open(os.path.join(tmp, "%02d.qed" % number), "wb") as file:
            file.write(data.replace(b"00.qed", b"%02d.qed" % (number - 1)))
    top = os.path.join(tmp, "64.qed")
    run("create", "-b", "63.qed", top)
    equal(len(run_json("info", "--chain", top)["images"]), 65, "images")
    equal(len(run_json("map", "--chain", top)["extents"]), 1, "extents")
    refused("create", "-b", "64.qed", os.path.join(tmp, "65.qed"), says="too many")


@test
def busy_base(tmp):
    """No overlay over what somebody writes to"""
    base, path = os.path.join(tmp, "b.qed"), os.path.join(tmp, "o.qed")
    run("create", base, "1M")
    fd = lock(base, READS, WRITES)
    refused("create", "-b", base, path, status=BUSY, says="is in use by process ")
    os.close(fd)
    fd = lock(base, READS, FORBIDS_WRITES)
    run("create", "-b", base, path)
    os.close(fd)


@test
def long_names(tmp):
    """Names of backing files that leave no room for a record, or are too long"""
    folder = os.path.join(tmp, "x" * 200, "y" * 200)
    os.makedirs(folder)
    base, path = os.path.join(folder, "b.qed"), os.path.join(tmp, "o.qed")
    run("create", base, "1M")
    _, err = run("create", "-b", base, path)
    true("no room for a record" in err, err)
    os.unlink(path)
    refused("create", "-b", folder + "/." * 1900 + "/b.qed", path, "1M", "--cluster-size", "4K",
            says="too long")
    refused("create", "-b", "/" + "x" * 100000, path, "1M", says="too long")


@test
def killed_create(tmp):
    """create that is killed at any system call: all of an image, or nothing, and then it works"""
    for preload in ("", os.path.join(BUILT, "named.so")):
        number = 0
        while True:
            number += 1
            folder = os.path.join(tmp, "%d%s" % (number, preload and "n"))
            os.mkdir(folder)
            path = os.path.join(folder, "a.qed")
            env = dict(os.environ, ASAN_OPTIONS="exitcode=99:detect_leaks=0:verify_asan_link_order=0")
            if preload:
                env["LD_PRELOAD"] = preload
            killed = subprocess.run([KILLER, str(number), QEDSETUP, "create", path, "1M"],
                                    env=env, capture_output=True, check=False)
            true(killed.returncode in (0, 137), "call %d: %r" % (number, killed))
            made = os.path.exists(path)
            if made:
                qemu("qemu-img", "check", "-q", "-f", "qed", path)
            again = subprocess.run([QEDSETUP, "create", path, "1M"], env=env,
                                   capture_output=True, check=False)
            equal(again.returncode, BUSY if made else 0, "call %d: the next one" % number)
            qemu("qemu-img", "check", "-q", "-f", "qed", path)
            if made:
                run("create", "--force", path, "1M", env=env)
            equal(os.listdir(folder), ["a.qed"], "call %d: what is left" % number)
            if killed.returncode == 0:
                break
        true(number > 5, "only %d calls" % number)
        print("# %d calls" % number)


# Which image a disk goes on in


def notes(*args, status=0, says=""):
    """What a header says of that; what has been printed"""
    done = subprocess.run([os.path.join(BUILT, "notes"), *args], capture_output=True, check=False)
    equal(done.returncode, status, "exit status of notes %r: %r" % (args, done.stderr))
    true(says.encode() in done.stderr, "notes %r says %r" % (args, done.stderr))
    return done.stdout.decode().strip()


def succeed(first, second, name=None):
    """Note in one image that its disk goes on in another one"""
    notes("write", first, name or os.path.basename(second), notes("mark", second))


@test
def goes_on(tmp):
    """The last image of a disk is found from each before it, wherever they are"""
    os.mkdir(os.path.join(tmp, "d"))
    paths = [os.path.join(tmp, name) for name in ("a.qed", "d/b:1.qed", "c.qed", "e.qed")]
    run("create", paths[0], "1M")
    equal(notes("follow", paths[0]), paths[0], "what it goes on in")
    for before, path in zip(paths, paths[1:]):
        run("create", "-b", before, path)
        succeed(before, path, {0: "d/b:1.qed", 1: "../c.qed"}.get(paths.index(before)))
    for path in paths:
        equal(os.path.realpath(notes("follow", path)), paths[-1], "what %s goes on in" % path)
        qemu("qemu-img", "check", "-q", "-f", "qed", path)
        run("map", path)
    # by a link it is found as well
    os.symlink("../a.qed", os.path.join(tmp, "d", "link"))
    equal(os.path.realpath(notes("follow", os.path.join(tmp, "d", "link"))), paths[-1], "by a link")
    notes("clear", paths[2])
    equal(notes("follow", paths[2]), paths[2], "without the note")
    succeed(paths[2], paths[0], "a.qed")
    equal(os.path.realpath(notes("follow", paths[1])), paths[0], "one with a new mark, and no note")
    notes("mark", paths[0])
    notes("follow", paths[1], status=OTHER, says="since a snapshot: that is another")


@test
def goes_on_no_more(tmp):
    """Who writes to an image voids the note; who reads it, or repairs nothing, does not"""
    first, second = os.path.join(tmp, "a.qed"), os.path.join(tmp, "b.qed")
    run("create", first, "1M")
    run("create", "-b", "a.qed", second)
    for has_record in (False, True):
        succeed(first, second)
        if has_record:
            notes("clear", first)
            set_record(first, size=os.path.getsize(first))
            succeed(first, second)
        qemu("qemu-io", "-r", "-f", "qed", "-c", "read 0 512", first)
        equal(notes("follow", first), second, "what it goes on in")
        qemu("qemu-io", "-f", "qed", "-c", "write 0 512", first)
        equal(notes("follow", first), first, "after a write")


@test
def goes_on_nowhere(tmp):
    """Without the image that a note means nothing is taken for it"""
    first, second, third = (os.path.join(tmp, name + ".qed") for name in "abc")
    run("create", first, "1M")
    run("create", "-b", "a.qed", second)
    succeed(first, second)
    os.rename(second, third)
    notes("follow", first, status=OTHER, says="open --frozen")
    run("create", "-b", "a.qed", second)
    notes("follow", first, status=OTHER, says="that is another one")
    # nor does one that has no mark match a note that has none
    notes("write", first, "b.qed", "00" * 16)
    equal(notes("follow", first), first, "with a note that has no mark")
    with open(second, "wb") as file:
        file.write(b"x" * MIB)
    succeed(first, third, "c.qed")
    os.rename(second, third)
    notes("follow", first, status=DEVICE, says="goes on in")


@test
def note_of_one_in_use(tmp):
    """No note is written to an image that somebody has, or that is another one meanwhile"""
    first = os.path.join(tmp, "a.qed")
    run("create", first, "1M")
    set_record(first, active=True)
    notes("write", first, "b.qed", "11" * 16, status=BUSY)
    equal(len(notes("read", first)), 32, "the note")
    set_record(first, size=os.path.getsize(first))
    with open(first, "r+b") as file:
        file.seek(16)
        file.write(struct.pack("<Q", 2))
    notes("write", first, "b.qed", "11" * 16, status=BUSY)


@test
def note_has_no_room(tmp):
    """Names that do not fit into the header, and such that just do"""
    first, base = os.path.join(tmp, "a.qed"), os.path.join(tmp, "base.qed")
    run("create", base, "1M")
    run("create", first, "1M", "--cluster-size", "4K")
    notes("write", first, "x" * (4096 - 512 - 64), "11" * 16)
    equal(len(notes("read", first).split("/")[-1]), 4096 - 512 - 64, "the name")
    notes("write", first, "x" * (4096 - 512 - 63), "11" * 16, status=OTHER)
    # behind the name of a backing file
    qemu("qemu-img", "create", "-q", "-f", "qed", "-u", "-b", "/" * 1000 + base,
         "-F", "raw", first, "1M")
    notes("write", first, "b.qed", "11" * 16)
    true(notes("read", first).endswith("/b.qed"), "the note")
    run("info", "--chain", first)


@test
def note_is_torn(tmp):
    """Of a note that a power cut has left in part only none, or all, counts"""
    first, second, third = (os.path.join(tmp, name + ".qed") for name in "abc")
    for has_record in (False, True):
        for path in first, second, third:
            run("create", path, "1M", "--force")
        if has_record:
            set_record(first, size=os.path.getsize(first))
        succeed(first, third)
        if has_record:
            # another owner, who has cleared the bit
            set_record(first, size=os.path.getsize(first), host=b"other", owner=b"o" * 16)
        else:
            notes("clear", first)
        before = read(first)
        succeed(first, second)
        after = read(first)
        for state in range(4):
            # the header, and the note; without a record the note is durable before
            data = bytearray(after)
            if state & 1:
                data[:512] = before[:512]
            if state & 2:
                data[512:1024] = before[512:1024]
            if state == 2 and not has_record:
                continue
            with open(first, "wb") as file:
                file.write(data)
            equal(notes("follow", first), first if state else second, "state %d" % state)


@test
def random_notes(tmp):
    """Notes that are damaged at random: all are read, or are none"""
    first, second = os.path.join(tmp, "a.qed"), os.path.join(tmp, "b.qed")
    run("create", first, "1M", "--cluster-size", "4K")
    run("create", "-b", "a.qed", second)
    succeed(first, second)
    good = read(first)
    rng = random.Random(1)
    void = 0
    for _ in range(300):
        data = bytearray(good)
        for _ in range(rng.choice((1, 1, 2, 4))):
            data[512 + rng.randrange(80)] = rng.choice((0, 1, 0x7f, 0xff, rng.randrange(256)))
        with open(first, "wb") as file:
            file.write(data)
        void += notes("follow", first) == first
    true(void > 200, "only %d were void" % void)


# rebase


def backing_of(path):
    """What QEMU takes for the name of the backing file"""
    return json.loads(qemu("qemu-img", "info", "--output=json", path)).get("backing-filename")


@test
def rebases(tmp):
    """rebase --unsafe changes the name, and leaves record and note"""
    path, raw, long = (os.path.join(tmp, name) for name in ("o.qed", "r.raw", "x" * 250))
    deep = os.path.join(tmp, "y" * 200, long[-250:])
    os.mkdir(os.path.dirname(deep))
    for base in os.path.join(tmp, "a.qed"), os.path.join(tmp, "b.qed"), long, deep:
        run("create", base, "1M")
    with open(raw, "wb") as file:
        file.write(b"r" * MIB)
    run("create", "-b", "a.qed", path)
    refused("rebase", "-b", "b.qed", path, says="needs --unsafe")
    refused("rebase", "-u", path, says="what is to be below it")
    refused("rebase", "-u", "-b", "none", path, says="No such file")
    refused("rebase", "-u", "-b", "r.raw", path, status=DEVICE, says="--backing-format raw")
    refused("rebase", "-u", "-b", "o.qed", path, says="below itself")
    set_record(path, size=os.path.getsize(path))
    succeed(path, os.path.join(tmp, "b.qed"))
    for name, *options in (("b.qed",), (long,), (deep,), ("a.qed",), (deep,), (long,),
                           ("r.raw", "-F", "raw"), ("",), ("b.qed",)):
        run_json("rebase", "-u", "-b", name, path, *options)
        equal(backing_of(path), name or None, "the name")
        equal(header(path)[4], (1 if name else 0) | (4 if options else 0), "features")
        image = run_json("info", path)["images"][0]
        true(image["record"]["valid"], "the record")
        equal(notes("follow", path), os.path.join(tmp, "b.qed"), "the note, with %r" % name)
        qemu("qemu-img", "check", "-q", "-f", "qed", path)


@test
def killed_rebase(tmp):
    """rebase that is killed at any call: the old name, or the new one, and then it works"""
    path, deep = os.path.join(tmp, "o.qed"), os.path.join(tmp, "y" * 200, "x" * 200)
    os.mkdir(os.path.dirname(deep))
    for base in os.path.join(tmp, "a.qed"), deep:
        run("create", base, "1M")
    run("create", "-b", "a.qed", path)
    notes("mark", path)
    env = dict(os.environ, ASAN_OPTIONS="exitcode=99:detect_leaks=0")
    for name, before in ((deep, "a.qed"), ("a.qed", deep)):
        number, killed = 0, 137
        while killed:
            number += 1
            killed = subprocess.run([KILLER, str(number), QEDSETUP, "rebase", "-u", "-b", name,
                                     path], env=env, capture_output=True, check=False).returncode
            true(killed in (0, 137), "call %d: %d" % (number, killed))
            true(backing_of(path) in (before, name), "the name, call %d" % number)
            run("rebase", "-u", "-b", name, path)
            equal(backing_of(path), name, "the name, call %d" % number)
            true(notes("read", path).strip("0"), "the mark, call %d" % number)
            run("rebase", "-u", "-b", before if killed else name, path)
        true(number > 3, "only %d calls" % number)


# The end of a file


def tails(*args, status=0):
    """Make the file of an image long or short; what that has printed"""
    done = subprocess.run([os.path.join(BUILT, "tails"), *args], capture_output=True, check=False)
    equal(done.returncode, status, "exit status of tails %r: %r" % (args, done.stderr))
    return done.stdout.decode().strip()


def set_record(path, active=False, end=0, zero_from=0, zero_end=0, size=0, host=b"here",
               owner=bytes(range(16))):
    """A record as dm-qed writes it"""
    data = struct.pack("<IHH16s64sQQQQI", 0x52444551, 1, active, owner, host, end,
                       zero_from, zero_end, size, 0)
    with open(path, "r+b") as file:
        file.seek(384)
        file.write(data + struct.pack("<I", crc32c(data)))
        file.seek(32)
        file.write(struct.pack("<Q", 1 << 63))


def crc32c(data):
    """Of the record"""
    crc = 0xffffffff
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82f63b78 if crc & 1 else 0)
    return crc ^ 0xffffffff


@test
def tails_of_clean(tmp):
    """The file of an image that was closed: as long as that may need, then as short as it is"""
    path = os.path.join(tmp, "a.qed")
    run("create", path, "8M")
    qemu("qemu-io", "-f", "qed", "-c", "write 0 1M", path)
    short, full = os.path.getsize(path), run_json("measure", path)["fully-allocated"]
    equal(tails("grow", path, "0"), str(short // 65536), "where zeroes begin")
    equal(os.path.getsize(path), full, "the size")
    # what has no record is searched for its end
    tails("trim", path)
    equal(os.path.getsize(path), short, "the size")
    tails("grow", path, str(3 * MIB + 1))
    equal(os.path.getsize(path), short + 3 * MIB + 64 * KIB, "the size with headroom")
    # by its record, which then is one of the file as it is
    size = os.path.getsize(path)
    set_record(path, end=short // 65536 + 1, zero_from=short // 65536 + 2,
               zero_end=size // 65536, size=size)
    tails("trim", path)
    equal(os.path.getsize(path), short + 64 * KIB, "the size by the record")
    record = run_json("info", path)["images"][0]["record"]
    equal([record[name] for name in ("end", "zero-from", "zero-end", "device-size")],
          [short + 64 * KIB, 0, 0, short + 64 * KIB], "the record")
    equal(tails("grow", path, "0"), str(short // 65536 + 1), "where zeroes begin")
    # killed before the record was written: it is not taken for true, but becomes so
    os.truncate(path, short)
    set_record(path, end=6, zero_from=6, zero_end=9, size=size)
    tails("trim", path)
    equal(os.path.getsize(path), short, "the size")
    record = run_json("info", path)["images"][0]["record"]
    equal([record[name] for name in ("end", "zero-end", "device-size")], [short, 0, short],
          "the record")


@test
def tails_left_behind(tmp):
    """A tail that was left behind goes away, with what may be in it; one that may be in use stays"""
    path = os.path.join(tmp, "a.qed")
    run("create", path, "8M")
    end = os.path.getsize(path)
    os.truncate(path, 4 * MIB)
    with open(path, "r+b") as file:
        file.seek(MIB)
        file.write(b"x" * 4096)
    set_record(path, end=end // 65536, size=4 * MIB)
    equal(tails("grow", path, "0"), str(end // 65536), "where zeroes begin")
    with open(path, "rb") as file:
        file.seek(end)
        equal(set(file.read()), {0}, "what is behind the end")
    for active, features, size in ((True, 0, 4 * MIB), (False, 2, 4 * MIB), (True, 2, 4 * MIB)):
        os.truncate(path, 4 * MIB)
        set_record(path, active=active, size=size)
        with open(path, "r+b") as file:
            file.seek(16)
            file.write(struct.pack("<Q", features))
        equal(tails("grow", path, "0"), "0", "where zeroes begin in an image that is in use")
        tails("trim", path)
        equal(os.path.getsize(path), 4 * MIB, "the size of an image that is in use")


@test
def tails_filled_by_qemu(tmp):
    """QEMU fills the image without clearing the mark of the record: nothing is cut off"""
    path, raw = os.path.join(tmp, "a.qed"), os.path.join(tmp, "raw")
    run("create", path, "8M")
    end = os.path.getsize(path)
    tails("grow", path, "0")
    full = os.path.getsize(path)
    set_record(path, end=end // 65536, zero_from=end // 65536, zero_end=full // 65536, size=full)
    tails("trim", path)
    with open(path, "rb") as file:
        first = file.read(512)
    qemu("qemu-io", "-f", "qed", "-c", "write -P 7 0 8M", path)
    with open(path, "r+b") as file:
        file.write(first[:16] + bytes(8) + first[24:])
    equal(os.path.getsize(path), full, "the size that it has had in use")
    tails("grow", path, "0")
    tails("trim", path)
    qemu("qemu-img", "convert", "-f", "qed", "-O", "raw", path, raw)
    with open(raw, "rb") as file:
        equal(file.read(), b"\7" * (8 * MIB), "the disk")


@test
def tails_limited(tmp):
    """A file that cannot be made so long is made as long as it can be, or it is an error"""
    path = os.path.join(tmp, "a.qed")
    run("create", path, "4T")
    limit = "ulimit -f %d; exec \"$0\" grow \"$1\" 0"
    program = os.path.join(BUILT, "tails")
    subprocess.run(["bash", "-c", limit % (1 << 30), program, path], check=True,
                   capture_output=True, preexec_fn=ignore_limit)
    true(300 * GIB < os.path.getsize(path) <= 1 << 40, "the size is %d" % os.path.getsize(path))
    tails("trim", path)
    done = subprocess.run(["bash", "-c", limit % 1024, program, path], check=False,
                          capture_output=True, preexec_fn=ignore_limit)
    equal(done.returncode, OTHER, "exit status")
    true(b"cannot be made longer" in done.stderr, done.stderr)


def ignore_limit():
    """qedsetup does so itself"""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)


# info, map, measure


@test
def infos(tmp):
    """info tells of the header, the record and the chain"""
    raw, path = os.path.join(tmp, "base.raw"), os.path.join(tmp, "o.qed")
    subprocess.run(["truncate", "-s", "1M", raw], check=True)
    run("create", "-b", "base.raw", "-F", "raw", path, "2M")
    info = run_json("info", "--chain", path)
    equal([image["format"] for image in info["images"]], ["qed", "raw"], "formats")
    top = info["images"][0]
    equal(top["full-backing-filename"], raw, "path of the base")
    equal(top["backing-filename-format"], "raw", "its format")
    equal(top["record"], None, "record")
    equal(len(run_json("info", path)["images"]), 1, "images without --chain")
    out, _ = run("info", path)
    true("base.raw" in out and "2 MiB (2097152 bytes)" in out, out)
    fd = lock(path, READS, WRITES)
    info = run_json("info", path)
    equal(info["in-use-by"].split()[1], str(os.getpid()), "who has it")
    os.close(fd)
    refused("info", raw, status=DEVICE, says="not a QED image")
    refused("info", os.path.join(tmp, "none"), says="No such file")
    refused("info", "/dev/null", status=DEVICE, says="neither a file")
    with open(path, "r+b") as file:
        file.seek(40)
        file.write(struct.pack("<Q", 12345))
    refused("info", path, status=DEVICE, says="qed-fsck")


@test
def records(tmp):
    """info tells what a record says, or why it is void"""
    path = os.path.join(tmp, "a.qed")
    run("create", path, "1M")
    with open(path, "r+b") as file:
        file.seek(32)
        file.write(struct.pack("<Q", 1 << 63))
    record = run_json("info", path)["images"][0]["record"]
    equal(record["valid"], False, "valid")
    set_record(path, active=True, size=MIB, host=b"elsewhere")
    record = run_json("info", path)["images"][0]["record"]
    equal((record["host"], record["active"]), ("elsewhere", True), "record")
    equal(record["owner"], bytes(range(16)).hex(), "owner")


def qemu_map(path):
    """What qemu-img says, without what it does not mean"""
    extents = []
    for extent in json.loads(qemu("qemu-img", "map", "--output=json", "-f", "qed", path)):
        if not extent["data"]:
            extent.pop("offset", None)
        extents.append(extent)
    return extents


@test
def maps(tmp):
    """map says the same as qemu-img map, of chains that have been written to"""
    chance = random.Random(20261130)
    for number in range(12):
        paths = []
        raw = os.path.join(tmp, "%d.raw" % number)
        subprocess.run(["truncate", "-s", str(chance.randrange(1, 64) * 64 * KIB), raw],
                       check=True)
        qemu("qemu-io", "-f", "raw", "-c", "write 8k 40k", raw)
        for depth in range(chance.randrange(1, 4)):
            path = os.path.join(tmp, "%d-%d.qed" % (number, depth))
            below = ["-b", paths[-1]] if paths else ["-b", raw, "-F", "raw"]
            if not paths and chance.randrange(2):
                below = []
            size = chance.randrange(1, 40) * 128 * KIB
            run("create", *below, "--cluster-size", chance.choice(["4K", "16K", "64K"]),
                "--table-size", "2", path, str(size))
            paths.append(path)
            for _ in range(chance.randrange(6)):
                start = chance.randrange(size // 512) * 512
                length = min(size - start, chance.randrange(1, 300) * 512)
                kind = chance.choice(["write", "write", "write -z"])
                qemu("qemu-io", "-f", "qed", "-c", "%s %d %d" % (kind, start, length), path)
        document = run_json("map", "--chain", paths[-1])
        equal(document["extents"], qemu_map(paths[-1]), "the map of %s" % paths[-1])
        run("map", "--chain", paths[-1])
    fd = lock(paths[-1], READS, WRITES)
    refused("map", paths[-1], status=BUSY, says="is in use by process ")
    os.close(fd)


@test
def broken_maps(tmp):
    """map of an image whose tables have defects"""
    path = os.path.join(tmp, "a.qed")
    run("create", path, "100M")
    with open(path, "r+b") as file:
        file.seek(64 * KIB)
        file.write(struct.pack("<Q", 12345))
    _, err = run("map", path, status=DEVICE)
    true("qed-fsck" in err, err)
    out, _ = run("map", "--json", path, status=DEVICE)
    document = json.loads(out)
    schema.check_output("map", document)
    equal(document["exit-status"], DEVICE, "exit status in JSON")
    true("qed-fsck" in document["error"], document["error"])


@test
def mutants(tmp):
    """Images that are damaged at random: an answer, or a plain refusal"""
    chance = random.Random(1130)
    whole, path = os.path.join(tmp, "whole.qed"), os.path.join(tmp, "a.qed")
    run("create", whole, "40M", "--cluster-size", "4K", "--table-size", "2")
    qemu("qemu-io", "-f", "qed", "-c", "write 1M 64k", "-c", "write -z 3M 64k", "-c",
         "write 20M 9k", whole)
    set_record(whole, end=100, size=os.path.getsize(whole))
    with open(whole, "rb") as file:
        data = file.read()
    for number in range(150):
        copy = bytearray(data)
        for _ in range(chance.randrange(1, 4)):
            # fields of the header, entries of the tables
            place = chance.choice([chance.randrange(64), chance.randrange(384, 512),
                                   4096 + chance.randrange(64), 12288 + chance.randrange(16384)])
            copy[place] = chance.choice([0, 1, 0x10, 0x80, 0xff, chance.randrange(256)])
        with open(path, "wb") as file:
            file.write(copy[:chance.choice([len(copy), len(copy), chance.randrange(len(copy))])])
        for args in (["info", "--chain"], ["map", "--json"], ["measure"]):
            done = subprocess.run([QEDSETUP, *args, path], capture_output=True, check=False)
            true(done.returncode in (0, OTHER, DEVICE), "%d: %r" % (number, done))
            true(done.returncode == 0 or done.stderr.startswith(b"qedsetup: "), done.stderr)


@test
def measures(tmp):
    """measure is exact: so large an image becomes"""
    path, raw = os.path.join(tmp, "a.qed"), os.path.join(tmp, "a.raw")
    for size, cluster, table in ((9 * MIB + 512, "4K", 2), (5 * MIB, "16K", 2),
                                 (MIB, "64K", 4)):
        options = ["--cluster-size", cluster, "--table-size", str(table)]
        measure = run_json("measure", "--size", str(size), *options)
        run("create", path, str(size), *options)
        equal(os.path.getsize(path), measure["required"], "an empty image")
        qemu("qemu-io", "-f", "qed", "-c", "write 0 %d" % size, path)
        equal(os.path.getsize(path), measure["fully-allocated"], "a full image")
        equal(run_json("measure", path, *options)["required"], measure["fully-allocated"],
              "what a full image needs")
        os.unlink(path)
    subprocess.run(["truncate", "-s", "1G", raw], check=True)
    qemu("qemu-io", "-f", "raw", "-c", "write 100M 1M", raw)
    measure = run_json("measure", raw)
    equal(measure["required"], 64 * KIB * (1 + 4 + 4 + 16), "of a raw image")
    out, _ = run("measure", "--size", "1T")
    true("1 TiB" in out, out)
    refused("measure", says="either an image or --size")
    refused("measure", raw, "--size", "1G", says="either an image or --size")
    refused("measure", "--size", "1G", "--table-size", "5", says="--table-size")


# The command line


@test
def arguments(tmp):
    """Wrong usage is told, and how it is right"""
    refused(says="--help")
    refused("frobnicate", says="frobnicate: no such verb")
    refused("create", says="create needs IMAGE [SIZE]")
    refused("open", "a", says="open needs IMAGE NAME")
    refused("list", "a", says="no more arguments")
    refused("close", "", says="empty")
    refused("create", "--deferred", "a", "1M", says="--deferred does not go with create")
    refused("create", "--frob", "a", says="--frob: no such option")
    refused("measure", "--size", says="needs a value")
    refused("create", "a", "1M", "--table-size", "-1", says="--table-size needs a number")
    refused("list", "-o", "NAME,FROB", says="FROB: no such column")
    refused("open", "a", "b/c", says="cannot be the name")
    refused("open", "a", "b", "--sector-size", "1K", says="512 or 4096")
    refused("open", "a", "b", "--cache", "1K", says="at least 64K")
    refused("open", "a", "b", "--commit-interval", "9999999", says="3600000")
    refused("open", "a", "b", "--takeover", "-r", says="--takeover does not go with --readonly")
    refused("close", "a", "--deferred", "--cancel-deferred", says="or")
    for verb in ("create", "open", "close", "status", "list", "info", "map", "measure",
                 "resize", "grow", "trim", "check"):
        out, _ = run(verb, "--help")
        true(out.startswith("Usage: qedsetup %s" % verb), out)
        true("--json" in out, out)
    out, _ = run("--help")
    true("Exit status" in out, out)
    true(run("-V")[0].startswith("qedsetup "), "version")
    run_json("create", os.path.join(tmp, "a"), "1X", status=OTHER)


@test
def names(tmp):
    """Names with spaces, newlines, dashes and bytes that are no text"""
    for name in ("a b", "a\nb", "-a", "\x1b[31m", "ü", b"\xff\xfe", "%s%n", "a\\b", '"'):
        raw = os.fsencode(name)
        path = os.path.join(os.fsencode(tmp), raw)
        run("create", "--", raw, "1M", cwd=tmp)
        equal(header(path)[0], b"QED\0", "image %r" % name)
        info = run_json("info", path)
        equal(info["images"][0]["filename"],
              os.path.join(tmp, "??" if raw == b"\xff\xfe" else name), "name in JSON")
        out, _ = run("info", path)
        true("\x1b" not in out and out.count("\n") == 7, "%r" % out)
        out, err = run("create", path, "1M", status=BUSY)
        true("\x1b" not in err and err.count("\n") == 1, "%r" % err)
        over = os.path.join(os.fsencode(tmp), b"over")
        run("create", "-b", path, over)
        qemu("qemu-img", "info", b"--backing-chain", over)
        equal(len(run_json("info", "--chain", over)["images"]), 2, "images")
        os.unlink(path)
        os.unlink(over)


@test
def descriptors(tmp):
    """Closed descriptors: nothing gets into an image, and what is printed is lost"""
    path = os.path.join(tmp, "a.qed")
    for closed in range(1, 8):
        script = " ".join("%d>&-" % fd for fd in range(3) if closed >> fd & 1)
        for verb in ("create \"$1\" 1M", "create \"$1\" 1X", "info \"$1\"", "map \"$1\"",
                     "measure \"$1\"", "--help", "list", "create --force \"$1\" 1M"):
            subprocess.run(["bash", "-c", "\"$0\" %s %s" % (verb, script), QEDSETUP, path],
                           stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL, check=False)
            if os.path.exists(path):
                equal(os.path.getsize(path), 5 * 64 * KIB, "size after %s %s" % (verb, script))
                qemu("qemu-img", "check", "-q", "-f", "qed", path)
        true(os.path.exists(path), "it was not made with %s" % script)
        os.unlink(path)


@test
def lost_output(tmp):
    """What cannot be printed is a failure"""
    path = os.path.join(tmp, "a.qed")
    run("create", path, "1M")
    for args in (["info", path], ["map", path, "--json"], ["--help"], ["measure", path]):
        with open("/dev/full", "w", encoding="utf-8") as out:
            done = subprocess.run([QEDSETUP, *args], stdout=out, stderr=subprocess.PIPE,
                                  check=False)
        equal(done.returncode, OTHER, "exit status of %r" % args)
        true(b"cannot write to standard output" in done.stderr, done.stderr)


@test
def unprivileged(tmp):
    """Who is not root is told so, with the exit status for it"""
    path = os.path.join(tmp, "a.qed")
    run("create", path, "1M")
    os.chmod(tmp, 0o755)
    as_user = {"user": 65534, "group": 65534, "extra_groups": []} if not os.geteuid() else {}
    for args in (["open", path, "name"], ["close", "name"], ["status", "name"], ["list"],
                 ["resize", "name", "2M"], ["grow", "name"], ["trim", "name"],
                 ["check", "name"]):
        refused(*args, status=PERMISSION, says="only root may do this", **as_user)
    os.chmod(path, 0o644)
    run("info", path, **as_user)
    run("map", path, **as_user)
    run("measure", "--size", "1G", **as_user)
    os.chmod(path, 0)
    if as_user:
        refused("info", path, status=PERMISSION, says="Permission denied", **as_user)
        refused("create", os.path.join(tmp, "b"), "1M", status=PERMISSION,
                says="Permission denied", **as_user)


@test
def completion(_):
    """the completion of bash offers verbs, options, and files"""
    script = os.path.join(HERE, "..", "..", "qed", "qedsetup", "qedsetup.bash")

    def complete(*words):
        quoted = " ".join("'%s'" % word for word in words)
        line = ". %s; COMP_WORDS=(qedsetup %s); COMP_CWORD=%d; _qedsetup; echo ${COMPREPLY[*]}"
        return qemu("bash", "-c", line % (script, quoted, len(words))).split()

    equal(complete("cl"), ["close"], "a verb")
    equal(complete("close", "--d"), ["--deferred"], "an option")
    equal(complete("create", "-F", ""), ["raw", "qed"], "a value")
    equal(complete("info", script[:-1]), [script], "a file")
    for verb in schema.VERBS:
        if verb == "error":
            continue
        words = complete(verb, "--")
        for word in run(verb, "--help")[0].split():
            if word.startswith("--"):
                true(word in words, "%s %s is not completed" % (verb, word))


@test
def manual(_):
    """the manual page is well-formed, and names all verbs, options and members"""
    path = os.path.join(HERE, "..", "..", "qed", "qedsetup", "qedsetup.8")
    done = subprocess.run(["groff", "-man", "-Tascii", "-wall", path], capture_output=True,
                          check=True)
    equal(done.stderr, b"", "warnings")
    with open(path, encoding="ascii") as file:
        text = file.read().replace("\\-", "-")
    for verb, members in schema.VERBS.items():
        if verb == "error":
            continue
        true("\n.B %s\n" % verb in text, "%s is not in the manual" % verb)
        for word in run(verb, "--help")[0].split():
            if word.startswith("--"):
                true(word in text, "%s is not in the manual" % word)
        for member in members:
            true(member.rstrip("?") in text, "%s is not in the manual" % member)


@test
def installs(tmp):
    """make install puts all of it where it belongs"""
    folder = os.path.join(HERE, "..", "..", "qed", "qedsetup")
    qemu("make", "-s", "-C", folder, "install", "OUTPUT=" + os.path.abspath(BUILT), "CC=clang",
         "CFLAGS=-O1 -g -Werror -fsanitize=address,undefined -fno-sanitize-recover=all",
         "PREFIX=/usr", "DESTDIR=" + tmp)
    for name in ("usr/sbin/qedsetup", "usr/share/man/man8/qedsetup.8",
                 "usr/share/bash-completion/completions/qedsetup",
                 "lib/udev/rules.d/56-dm-qed.rules"):
        true(os.path.isfile(os.path.join(tmp, name)), "no " + name)


def main():
    """Run the tests, or those with these names."""
    os.umask(0o022)
    # not what the program itself ends with
    os.environ["ASAN_OPTIONS"] = "exitcode=99"
    os.environ["UBSAN_OPTIONS"] = "exitcode=99"
    failed = 0
    chosen = [func for func in TESTS if len(sys.argv) < 3 or func.__name__ in sys.argv[2:]]
    for number, func in enumerate(chosen, 1):
        tmp = tempfile.mkdtemp(prefix="setup-", dir=os.environ.get("TMPDIR", "/var/tmp"))
        try:
            func(tmp)
            print("ok %d qedsetup: %s" % (number, func.__doc__))
        except Exception:  # pylint: disable=broad-except
            failed += 1
            print("not ok %d qedsetup: %s" % (number, func.__doc__))
            print("".join("#   " + line + "\n" for line in
                          traceback.format_exc().splitlines()), end="")
        finally:
            shutil.rmtree(tmp, ignore_errors=True)
        sys.stdout.flush()
    print("1..%d" % len(chosen))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
