#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Tests of qed-fsck: its options, and that it loses nothing, whatever happens.

Usage: test_fsck.py FOLDER [NAME...]

FOLDER has what "check" has built: qed-fsck, preload.so, mkimage. Prints TAP.
"""

import contextlib
import hashlib
import json
import os
import pty
import random
import resource
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "qedimg"))
import inherited  # noqa: E402
import qedimg  # noqa: E402

BUILT = os.path.abspath(sys.argv[1]) if len(sys.argv) > 1 else "."
FSCK = os.path.join(BUILT, "qed-fsck")
K, M, G, T = 1 << 10, 1 << 20, 1 << 30, 1 << 40
CLEAN, REPAIRED, LEFT, OPERATION, USAGE, CANCELLED = 0, 1, 4, 8, 16, 32
TESTS = []


def test(func):
    """Register a test."""
    TESTS.append(func)
    return func


def equal(got, want, what=""):
    """Fail unless both are the same."""
    if got != want:
        raise AssertionError("%s: %r, not %r" % (what, got, want))


def true(condition, what):
    """Fail unless it holds."""
    if not condition:
        raise AssertionError(what)


# ---------------------------------------------------------------------------------------------
# Running the program
# ---------------------------------------------------------------------------------------------

def fsck(*argv, status=None, env=None, plain=False, **kwargs):
    """Run it; (status, stdout, stderr). -y gives up what may be cut off, unless it is plain."""
    if not plain and ("-y" in argv or "-yf" in argv):
        argv = ("--cut=clear",) + argv
    done = subprocess.run([FSCK] + [str(arg) for arg in argv], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, check=False,
                          timeout=300, env=dict(os.environ, **(env or {})), **kwargs)
    if status is not None:
        equal(done.returncode, status, "%s: %s%s" % (" ".join(map(str, argv)),
                                                     done.stdout.decode()[-500:],
                                                     done.stderr.decode()[-500:]))
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def report(*argv, status=None, **kwargs):
    """Run it with --json; the object, in which the status has to be right."""
    code, out, _ = fsck("--json", *argv, status=status, **kwargs)
    result = json.loads(out)
    equal(result["exit-status"], code, "exit-status")
    return result


def codes(result):
    """Codes of the findings, sorted."""
    return sorted(item["code"] for item in result["findings"])


def preload(path, **what):
    """The environment that makes system calls on a file fail."""
    env = {"LD_PRELOAD": os.path.join(BUILT, "preload.so"), "FSCK_IMAGE": path}
    env.update({"FSCK_" + name.upper(): str(value) for name, value in what.items()})
    return env


def digest(path):
    """Of all that is in a file, and its size."""
    hasher = hashlib.sha256()
    with open(path, "rb") as file:
        for piece in iter(lambda: file.read(M), b""):
            hasher.update(piece)
    return hasher.hexdigest(), os.path.getsize(path)


def copy(source, target):
    """Copy a file with its holes."""
    subprocess.run(["cp", "--sparse=always", source, target], check=True)
    return target


# ---------------------------------------------------------------------------------------------
# Images
# ---------------------------------------------------------------------------------------------

def guest(path):
    """What the guest sees: {cluster: content}, for those that are not zero."""
    with qedimg.Disk(path) as disk:
        img = qedimg.Image(disk).validate()
        seen = {}
        for start, length, kind, where in img.extents():
            if kind != "data":
                continue
            for pos, size in qedimg.pieces(start, start + length, img.hdr.cluster_size):
                data = disk.read(where + pos - start, size)
                if data.strip(b"\0"):
                    seen[pos // img.hdr.cluster_size] = data
        return seen


def structure(path):
    """qedimg's own check: (defects, counts)."""
    with qedimg.Disk(path) as disk:
        return qedimg.check(qedimg.Image(disk).validate())


@contextlib.contextmanager
def edit(path):
    """The image, to be changed."""
    with qedimg.Disk(path, writable=True) as disk:
        yield qedimg.Image(disk)


def need_check(path):
    """Is the bit set?"""
    with qedimg.Disk(path) as disk:
        return bool(qedimg.Image(disk).hdr.features & qedimg.F_NEED_CHECK)


def populated(path, cluster=8192, table=2, header=1, size=None, seed=1, percent=40, shuffle=True):
    """An image with stamped data in several tables; returns its path."""
    size = size or cluster * table * cluster // 8 * 2 + 20 * cluster
    qedimg.create(path, size, cluster, table, header)
    with edit(path) as img:
        entries = img.hdr.entries
        for first in (0, entries - 8, 2 * entries):
            img.populate(seed, percent, 10, shuffle, first, first + 16)
    return path


def damaged(path, seed):
    """An image with several faults of all kinds that a repair can meet."""
    rng = random.Random(seed)
    populated(path, seed=seed, percent=70)
    with edit(path) as img:
        hdr = img.hdr
        tables = [table for _, table in img.l1()]
        data = [value for table in tables for _, value in img.l2(table) if value > 1]
        size = img.disk.size()

        def slot():
            return rng.choice(tables), rng.randrange(16)

        for value in (rng.choice(data), rng.choice(data), rng.choice(tables),
                      size + hdr.cluster_size * rng.randrange(3), 4711, hdr.cluster_size):
            img.set_entry(*slot(), value)
        kind = rng.randrange(6)
        if kind == 0:        # a table twice
            img.set_entry(hdr.l1_table_offset, 1, tables[0])
        elif kind == 1:      # data that is taken for a table
            img.set_entry(hdr.l1_table_offset, 1, rng.choice(data))
        elif kind == 2:      # beyond the size
            img.set_entry(hdr.l1_table_offset, hdr.entries - 1, tables[-1])
        elif kind == 3:
            os.ftruncate(img.disk.fd, size - 3000)
        elif kind == 4:
            os.ftruncate(img.disk.fd, size + 3 * hdr.cluster_size)
        img.hdr.features |= rng.randrange(2) * qedimg.F_NEED_CHECK
        img.hdr.autoclear_features = rng.randrange(2)
        img.write_header()
    return path


def sparse_in_middle(path, **kwargs):
    """An image with free clusters in it, before data and tables."""
    populated(path, percent=90, **kwargs)
    with edit(path) as img:
        for number, (_, table) in enumerate(img.l1()):
            for index, value in img.l2(table):
                if value > 1 and (index + number) % 3 == 0:
                    img.set_entry(table, index, 0)
    return path


def qemu_check(path):
    """Exit status of qemu-img check."""
    return subprocess.run(["qemu-img", "check", "-f", "qed", path], stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL, check=False).returncode


def qemu_opens(path):
    """Does QEMU open it, for reading?"""
    return subprocess.run(["qemu-io", "-r", "-f", "qed", "-c", "read 0 512", path],
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                          check=False).returncode == 0


# ---------------------------------------------------------------------------------------------
# Command line
# ---------------------------------------------------------------------------------------------

@test
def help_and_version(_):
    """--help and --version"""
    out = fsck("--help", status=0)[1]
    for option in ("-n", "-p", "-y", "--json", "--undo FILE", "--compact", "--discard"):
        true(option in out, option)
    equal(fsck("-h", status=0)[1], out, "-h")
    true(fsck("-V", status=0)[1].startswith("qed-fsck 1."), "version")
    equal(fsck("--version", status=0)[1], fsck("-V", status=0)[1], "--version")


@test
def wrong_usage(tmp):
    """wrong usage has exit status 16"""
    path = populated(tmp + "/a.qed")
    for argv in ([], [path, path], ["-n", "-y", path], ["-p", "-n", path], ["--nonsense", path],
                 ["-n", "--compact", path], ["-n", "--undo", tmp + "/u", path],
                 ["--compact", path], ["-j", "0", path], ["-j", "65", path], ["-j", "x", path],
                 ["-C", "-1", path], ["-y", "--force", path], ["-n", "--discard", path],
                 ["-n", "--takeover", path], ["--takeover", path],
                 ["--undo-apply", "u", "-y", path]):
        _, out, err = fsck(*argv, status=USAGE)
        true(not out and err, "message for %s" % argv)
    true(not os.path.exists(tmp + "/u"), "an undo file was made")


@test
def not_an_image(tmp):
    """what is no image has exit status 8"""
    with open(tmp + "/text", "w", encoding="ascii") as file:
        file.write("no image\n" * 100)
    with open(tmp + "/short", "wb") as file:
        file.write(b"QED\0" + bytes(40))
    os.mkfifo(tmp + "/fifo")
    features = populated(tmp + "/features")
    with edit(features) as img:
        img.hdr.features = 1 << 40
        img.write_header()
    for path in ("text", "short", "fifo", "none", "", "features"):
        for mode in ("-n", "-y"):
            before = os.path.exists(tmp + "/" + path) and path not in ("", "fifo") and digest(
                tmp + "/" + path)
            _, out, err = fsck(mode, tmp + "/" + path, status=OPERATION)
            true(not out and err.startswith("qed-fsck: "), "message for %s" % path)
            result = report(mode, tmp + "/" + path, status=OPERATION)
            equal(set(result), {"filename", "format", "schema", "error", "exit-status"}, path)
            if before:
                equal(digest(tmp + "/" + path), before, path)


@test
def clean_at_once(tmp):
    """an image that is marked clean is not read"""
    path = populated(tmp + "/a.qed")
    with edit(path) as img:
        img.set_entry(img.table_of(0), 3, 4711)
    for mode in ("-n", "-p", "-y"):
        result = report(mode, path, status=CLEAN)
        equal((result["scanned"], result["findings"]), (False, []), mode)
    equal(codes(report("-nf", path, status=LEFT)), ["l2-entry-unaligned"])
    with edit(path) as img:
        img.hdr.features = qedimg.F_NEED_CHECK
        img.write_header()
    equal(codes(report("-n", path, status=LEFT)), ["l2-entry-unaligned", "need-check"])


@test
def only_need_check(tmp):
    """NEED_CHECK alone: 0 with -n, cleared by -p"""
    path = populated(tmp + "/a.qed")
    with edit(path) as img:
        img.hdr.features = qedimg.F_NEED_CHECK
        img.write_header()
    result = report("-n", path, status=CLEAN)
    equal((codes(result), result["need-check"], result["damaged"]), (["need-check"], True, False))
    true(need_check(path), "changed by -n")
    result = report("-p", path, status=REPAIRED)
    equal((result["findings"][0]["action"], result["need-check"]), ("cleared", False))
    true(not need_check(path), "not cleared")
    equal(report("-p", path, status=CLEAN)["modified"], False)


@test
def quiet_and_limits(tmp):
    """-q prints nothing, without -v at most 100 findings of a code are listed"""
    path = populated(tmp + "/a.qed")
    with edit(path) as img:
        table = img.table_of(0)
        for index in range(100, 300):
            img.set_entry(table, index, 4711)
    equal(fsck("-nfq", path, status=LEFT)[1:], ("", ""), "-q")
    out = fsck("-nf", path, status=LEFT)[1]
    equal(out.count("is not aligned"), 100, "listed")
    true("200 found, 0 repaired" in out, "the sum")
    equal(fsck("-nfv", path, status=LEFT)[1].count("is not aligned"), 200, "listed with -v")
    result = report("-nf", path)
    equal((len(result["findings"]), result["findings-omitted"]), (100, 100), "listed in JSON")
    equal(result["counts"], {"l2-entry-unaligned": 200})
    result = report("-nfv", path)
    equal((len(result["findings"]), result["findings-omitted"]), (200, 0), "the same with -v")


@test
def without_terminal(tmp):
    """without -n, -p, -y and a terminal, nothing is changed"""
    path = damaged(tmp + "/a.qed", 3)
    before = digest(path)
    fsck("-f", path, status=LEFT)
    equal(digest(path), before, "content")


@test
def progress_lines(tmp):
    """-C writes lines to a file descriptor"""
    path = tmp + "/a.qed"
    subprocess.run([BUILT + "/mkimage", "1T", path], check=True)
    reader, writer = os.pipe()
    fsck("-nf", "-j", 1, "-C", writer, path, status=CLEAN, pass_fds=(writer,))
    os.close(writer)
    with os.fdopen(reader) as file:
        lines = file.read().splitlines()
    true(lines, "no progress")
    for line in lines:
        number, done, most, name = line.split(" ", 3)
        true(number == "1" and 0 <= int(done) <= int(most) == 512 and name == path, line)
    bar = fsck("-nf", "-C", 0, path, status=CLEAN)[2]
    true("\rreading" in bar and "%" in bar, "no bar")


class Terminal:
    """The program on a terminal, to be talked to."""

    def __init__(self, *argv):
        self.pid, self.fd = pty.fork()
        if not self.pid:
            os.execv(FSCK, [FSCK] + [str(arg) for arg in argv])
        self.text, self.seen = "", ""

    def read_until(self, text):
        """Read until this was printed; false at the end."""
        while text not in self.text:
            true(select.select([self.fd], [], [], 60)[0], "no answer")
            try:
                data = os.read(self.fd, 4096)
            except OSError:
                return False
            if not data:
                return False
            self.text += data.decode()
        seen, self.text = self.text.split(text, 1)
        self.seen += seen
        return True

    def answer(self, text):
        """Answer the next question."""
        true(self.read_until("(y: yes, n: no, a: yes to all)? "), "no question")
        os.write(self.fd, text.encode())

    def end(self):
        """Wait for the exit status."""
        self.read_until("never printed")
        os.close(self.fd)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def three_faults(tmp):
    """An image with three bad entries, and the table they are in."""
    path = populated(tmp + "/a.qed")
    with edit(path) as img:
        table = img.table_of(0)
        for index in (50, 60, 70):
            img.set_entry(table, index, 4711)
    return path, table


@test
def questions(tmp):
    """on a terminal each repair is asked for"""
    path, table = three_faults(tmp)
    terminal = Terminal("-f", path)
    for answer in ("y\n", "x\n", "n\n", "y\n"):
        terminal.answer(answer)
    equal(terminal.end(), REPAIRED | LEFT, "status")
    with edit(path) as img:
        equal([img.get_entry(table, index) for index in (50, 60, 70)], [0, 4711, 0])
    true(need_check(path), "marked as clean")
    terminal = Terminal("-f", path)
    terminal.answer("a\n")
    equal(terminal.end(), REPAIRED, "status")
    true(not need_check(path), "not marked as clean")


@test
def declined_in_shared_table(tmp):
    """an illegal entry that may stay in a table is not in the table's copy, nor copied"""
    path = populated(tmp + "/a.qed")
    with edit(path) as img:
        table = img.table_of(0)
        # nor is a table lost, over which no copy would be made
        img.disk.write(img.table_of(1), bytes(img.hdr.table_bytes))
        img.set_entry(table, 50, 4711)
        img.set_entry(img.hdr.l1_table_offset, 1, table)
    # space for the copies: with what may stay the file does not become longer
    os.truncate(path, os.path.getsize(path) + 64 * 8192)
    terminal = Terminal("-f", path)
    terminal.answer("n\n")
    terminal.answer("a\n")
    equal(terminal.end(), REPAIRED | LEFT, "status")
    with edit(path) as img:
        copy = img.table_of(1)
        true(copy not in (0, table), "the table is not copied")
        equal([img.get_entry(at, 50) for at in (table, copy)], [4711, 0])


@test
def cancelled(tmp):
    """a signal, or the end of input, cancels: 32, and a second run goes on"""
    for answer in ("\x03", "\x04"):
        path, table = three_faults(tmp)
        terminal = Terminal("-f", path)
        terminal.answer("y\n")
        terminal.answer(answer)
        true(terminal.end() & CANCELLED, "status")
        with edit(path) as img:
            equal(img.get_entry(table, 70), 4711)
        fsck("-y", "-f", path, status=REPAIRED)
        equal(structure(path)[0], [])


@test
def completion(_):
    """the completion of bash offers options"""
    script = os.path.join(HERE, "..", "..", "qed", "qed-fsck.bash")
    out = subprocess.run(["bash", "-c", ". %s; COMP_WORDS=(qed-fsck --un); COMP_CWORD=1; "
                          "_qed_fsck; echo ${COMPREPLY[*]}" % script],
                         stdout=subprocess.PIPE, check=True).stdout.decode()
    equal(out, "--undo --undo-apply\n")
    with open(script, encoding="ascii") as file:
        text = file.read()
    for word in fsck("--help", status=0)[1].split():
        if word.startswith("--") and word.rstrip(",").isascii():
            true(word.strip(",.;:") in text, "%s is not completed" % word)


@test
def manual(_):
    """the manual page is well-formed, and names all codes and options"""
    path = os.path.join(HERE, "..", "..", "qed", "qed-fsck.8")
    done = subprocess.run(["groff", "-man", "-Tascii", "-wall", path], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, check=True)
    equal(done.stderr, b"", "warnings")
    with open(path, encoding="ascii") as file:
        text = file.read().replace("\\-", "-")
    with open(os.path.join(HERE, "..", "..", "qed", "finding.c"), encoding="ascii") as file:
        names = [line.split('"')[1] for line in file if '[QED_' in line and '"' in line]
    for name in names:
        if name not in ("ok", "l2-entry-over-end"):
            true(name in text, "%s is not in the manual" % name)
    for word in fsck("--help", status=0)[1].split():
        word = word.strip("[],.;:")
        if word.startswith("-") and len(word) > 1:
            true(word in text, "%s is not in the manual" % word)


# ---------------------------------------------------------------------------------------------
# Findings and repairs
# ---------------------------------------------------------------------------------------------

def broken_images(tmp):
    """qedimg's wrong images: {name: (kind, ranges that must read as before)}."""
    qedimg.break_all(tmp + "/broken")
    images = {}
    with open(tmp + "/broken/index.tsv", encoding="ascii") as file:
        for line in file:
            name, kind, _, _, _, good = line.rstrip("\n").split("\t")
            images[name] = kind, [] if good == "-" else [
                tuple(map(int, item.split(":"))) for item in good.split(",")]
    return images


# What a header does not tell any more
HOPELESS = ("cluster-", "table-", "cut-before-l1", "cut-header")
OTHERS = ("magic-", "torn-start", "feature-")


@test
def broken_headers_and_tables(tmp):
    """qedimg's wrong images are all found, and repaired without a loss"""
    for name, (kind, good) in broken_images(tmp).items():
        path = copy(tmp + "/broken/%s.qed" % name, tmp + "/t.qed")
        before = digest(path)
        if name.startswith(OTHERS):
            report("-nf", path, status=OPERATION)
            continue
        first = report("-nf", path, status=LEFT)
        equal(digest(path), before, name + ": changed by -n")
        backing = name in ("backing-file", "backing-file-no-probe")
        equal(first["damaged"], not backing, name + ": damaged")
        if name.startswith(HOPELESS):
            equal(report("-yf", path, status=LEFT)["modified"], False, name)
            continue
        report("-yf", "--orphans=free", path, status=REPAIRED)
        last = report("-nf", path, status=CLEAN)
        equal(last["findings"], [], name + ": left")
        equal(structure(path)[0], [], name)
        if not backing:
            true(qemu_opens(path), name + ": QEMU does not open it")
        if kind == "table":
            with qedimg.Disk(path) as disk, qedimg.Disk(tmp + "/broken/base.raw") as raw:
                img = qedimg.Image(disk)
                for start, length in good:
                    true(img.read(start, length) == raw.read(start, length),
                         "%s: guest 0x%x is not as before" % (name, start))


def named_clusters(result, cluster_size):
    """Guest clusters that a finding is about."""
    named = set()
    for item in result["findings"]:
        for where in (item, item.get("other", {})):
            if "guest-offset" in where:
                first = where["guest-offset"] // cluster_size
                count = min(-(-where["guest-length"] // cluster_size), 1 << 20)
                named.update(range(first, first + count))
    return named


def legal_view(path):
    """As guest(), for a damaged image: {cluster: content} by the entries legal one by one."""
    seen = {}
    with qedimg.Disk(path) as disk:
        img = qedimg.Image(disk)
        hdr = img.hdr
        end = -(-disk.size() // hdr.cluster_size) * hdr.cluster_size
        for l1_index, table in img.l1():
            if hdr.cluster_defect(table, hdr.table_bytes, end):
                continue
            for index, value in img.l2(table):
                cluster = l1_index * hdr.entries + index
                if (cluster < hdr.virtual_clusters and value > 1 and
                        not hdr.cluster_defect(value, hdr.cluster_size, end)):
                    data = disk.read(value, min(hdr.cluster_size, hdr.image_size -
                                                cluster * hdr.cluster_size))
                    if data.strip(b"\0"):
                        seen[cluster] = data
    return seen


@test
def many_faults(tmp):
    """after -y of many faults the second check is clean, and the rest is unchanged"""
    for seed in range(60):
        path = damaged(tmp + "/a.qed", seed)
        before = legal_view(path)
        first = report("-nf", path, status=LEFT)
        second = report("-yf", "--orphans=free", path, status=REPAIRED)
        equal(report("-nf", path, status=CLEAN)["findings"], [], seed)
        equal(structure(path)[0], [], seed)
        true(not need_check(path), "NEED_CHECK is set")
        after = guest(path)
        named = named_clusters(first, 8192)
        for cluster in set(before) | set(after):
            if cluster not in named:
                true(before.get(cluster) == after.get(cluster),
                     "seed %d: cluster %d changed" % (seed, cluster))
        # the same findings are repaired, except for what becomes a leak by that
        equal([code for code in codes(second) if not code.startswith("leak")],
              [code for code in codes(first) if not code.startswith("leak")], seed)


@test
def copies(tmp):
    """shared clusters and tables get copies: the guest reads the same"""
    for kind in ("data", "table"):
        path = populated(tmp + "/a.qed", seed=5, percent=60)
        with edit(path) as img:
            tables = [table for _, table in img.l1()]
            value = [value for _, value in img.l2(tables[0]) if value > 1][0]
            if kind == "data":
                img.set_entry(tables[1], 700, value)
            else:
                img.set_entry(img.hdr.l1_table_offset, 1, tables[0])
        before = legal_view(path)
        result = report("-yf", "--orphans=free", path, status=REPAIRED)
        item = [item for item in result["findings"] if item["code"].endswith("shared")][0]
        equal((item["action"], item["other"]["kind"]), ("copied", kind))
        true("guest-offset" in item["other"] and "new-value" in item, "the first reference")
        equal(guest(path), before, "what the guest reads")
        equal(structure(path)[0], [])


@test
def preen(tmp):
    """-p extends, frees leaks and clears NEED_CHECK, but does no more"""
    path = populated(tmp + "/a.qed")
    before = guest(path)
    with edit(path) as img:
        end = img.disk.size()
        img.disk.write(end, b"x" * 30000)
        img.hdr.features = qedimg.F_NEED_CHECK
        img.hdr.autoclear_features = 1 << 9
        img.write_header()
        table = img.table_of(0)
        index, value = [item for item in img.l2(table) if item[1] > 1][0]
        del before[index]
        img.set_entry(table, index, 0)
    result = report("-p", path, status=REPAIRED)
    equal(codes(result), ["leak", "leak-tail", "need-check"])
    equal((result["leaks"], result["leaks-fixed"], result["need-check"]), (5, 5, False))
    equal(guest(path), before)
    equal(os.path.getsize(path), end)
    with edit(path) as img:
        equal(img.hdr.autoclear_features, 0, "unknown autoclear bits")
        equal(list(img.disk.data_ranges(value, value + 8192)), [], "a hole")
        img.set_entry(table, index, 4711)
        img.set_entry(table, index + 200, value)
        os.ftruncate(img.disk.fd, end - 100)
    result = report("-pf", path, status=REPAIRED | LEFT)
    equal({item["code"]: item["action"] for item in result["findings"]},
          {"l2-entry-unaligned": "none", "partial-cluster": "extended"})
    true(need_check(path), "a damaged image is marked clean")
    equal(os.path.getsize(path), end)


@test
def leaks_of_damaged(tmp):
    """what may belong to a damaged entry is not freed by -p"""
    path = populated(tmp + "/a.qed")
    with edit(path) as img:
        table = img.table_of(0)
        img.set_entry(img.hdr.l1_table_offset, 0, table | 512)
    before = digest(path)
    true("leak" in codes(report("-pf", path, status=LEFT)), "no leak")
    equal(digest(path), before, "content")


@test
def matches_qemu(tmp):
    """the figures are those of qemu-img check"""
    for argv in (["2G"], ["64G"], ["-r", "3", "4G"], ["-c", "4K", "-t", "16", "1G"],
                 ["-r", "5", "-c", "4K", "-t", "2", "64M"], ["-c", "1M", "-t", "2", "512G"]):
        path = tmp + "/a.qed"
        subprocess.run([BUILT + "/mkimage"] + argv + [path], check=True)
        theirs = json.loads(subprocess.run(
            ["qemu-img", "check", "-f", "qed", "--output=json", path], stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, check=False).stdout)
        for threads in (1, 3, 8):
            ours = report("-nf", "-j", threads, path, status=CLEAN)
            for key in ("total-clusters", "allocated-clusters", "fragmented-clusters"):
                equal(ours[key], theirs.get(key, 0), "%s %s" % (argv, key))


@test
def geometries(tmp):
    """all legal geometries are checked, damaged and repaired"""
    for bits in range(12, 27):
        for table in (1, 2, 4, 8, 16):
            path = tmp + "/a.qed"
            with contextlib.suppress(OSError):
                os.unlink(path)
            cluster = 1 << bits
            span = cluster * table * cluster // 8
            size = min(3 * span, (1 << 63) - 512)
            qedimg.create(path, size, cluster, table, 1 + table % 3)
            with edit(path) as img:
                for where in (0, span - 512, span, size - 512):
                    img.write(where, qedimg.stamp(where, 512, 7))
            equal(report("-nf", path, status=CLEAN)["allocated-clusters"], 4)
            with edit(path) as img:
                img.set_entry(img.table_of(0), 5, img.get_entry(img.table_of(0), 0))
                img.set_entry(img.table_of(0), 6, 1 << 62)
                img.set_entry(img.table_of(1), img.hdr.entries - 2, 2)
            equal(codes(report("-yf", path, status=REPAIRED)),
                  ["l2-entry-beyond-end", "l2-entry-shared", "l2-entry-unaligned"])
            report("-nf", path, status=CLEAN)
            with qedimg.Disk(path) as disk:
                img = qedimg.Image(disk)
                for where in (0, span - 512, span, size - 512):
                    equal(img.read(where, 512), qedimg.stamp(where, 512, 7))
                equal(img.read(5 * cluster, 512), qedimg.stamp(0, 512, 7))


# ---------------------------------------------------------------------------------------------
# Hostile images
# ---------------------------------------------------------------------------------------------

def cpu_time():
    """Seconds of processors that programs have used which have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def frugal(*argv, status, seconds=5.0, memory=24 * M):
    """Run it with limits of time of all processors, and memory."""
    before = cpu_time()
    result = report("--stats", *argv, status=status)
    used = cpu_time() - before
    print("# %s: %.2f s" % (" ".join(argv[:-1]), used))
    true(used < seconds, "took %.1f s" % used)
    if "stats" in result:
        true(result["stats"]["peak-memory"] < memory, "%(peak-memory)d bytes" % result["stats"])
    return result


@test
def huge_claims(tmp):
    """claims cost neither time nor memory"""
    path = tmp + "/a.qed"
    for cluster, table in ((4096, 16), (65536, 4), (64 * M, 16)):
        for length in (64, 512, 100000):
            with open(path, "wb") as file:
                file.write(qedimg.Header(magic=qedimg.MAGIC, cluster_size=cluster,
                                         table_size=table, header_size=1, image_size=1 << 63,
                                         l1_table_offset=cluster).pack())
                file.truncate(length)
            for mode in ("-n", "-y"):
                frugal(mode, path, status=LEFT)
                equal(os.path.getsize(path), length)


@test
def huge_files(tmp):
    """a long sparse file costs no memory where nothing is referenced"""
    path = tmp + "/a.qed"
    qedimg.create(path, 1 << 38, 4096, 16)
    most = 1 << 43
    with edit(path) as img:
        os.ftruncate(img.disk.fd, most)
        img.set_entry(img.hdr.l1_table_offset, 0, most - 16 * 4096)
        img.set_entry(most - 16 * 4096, 0, most // 2)
    result = frugal("-nf", path, status=CLEAN)
    equal((result["tables"], result["allocated-clusters"]), (1, 1))
    with edit(path) as img:
        img.set_entry(img.hdr.l1_table_offset, 0, 0)
    equal(codes(frugal("-nf", path, status=LEFT)), ["leak-tail", "orphan-table"])
    with edit(path) as img:
        img.set_entry(most - 16 * 4096, 0, 0)
    equal(codes(frugal("-nf", path, status=LEFT)), ["leak-tail"])
    frugal("-pf", path, status=REPAIRED)


@test
def no_space_for_copies(tmp):
    """copies that cannot be made: exit status 8, and nothing is changed"""
    path = tmp + "/a.qed"
    qedimg.create(path, 1 << 40, 65536, 4)
    with edit(path) as img:
        img.write(0, b"x" * 512)
        table = img.table_of(0)
        where = img.get_entry(table, 0)
        img.disk.write(table, struct.pack("<Q", where) * img.hdr.entries)
        for index in range(500):
            img.set_entry(img.hdr.l1_table_offset, index, table)
    before = digest(path)
    result = frugal("-yf", path, status=LEFT | OPERATION, seconds=30)
    true("space" in result["error"] and not result["modified"], result["error"])
    equal(digest(path), before, "content")


@test
def limit_of_file_size(tmp):
    """a limit of the file size, or a full disk: 8, and a second run succeeds"""
    options = "-yf", "--orphans=free"
    for seed in range(8):
        path = damaged(tmp + "/a.qed", seed)
        copy(path, tmp + "/b.qed")
        fsck(*options, tmp + "/b.qed", status=REPAIRED)
        want = guest(tmp + "/b.qed")
        size = os.path.getsize(path)
        copy(path, tmp + "/d.qed")
        report(*options, tmp + "/d.qed", preexec_fn=lambda size=size: resource.setrlimit(
            resource.RLIMIT_FSIZE, (size, size)))
        fsck(*options, tmp + "/d.qed")
        equal(report("-nf", tmp + "/d.qed", status=CLEAN)["findings"], [])
        equal(guest(tmp + "/d.qed"), want, "seed %d, limit" % seed)
        for n in range(1, 40, 3):
            copy(tmp + "/a.qed", tmp + "/c.qed")
            code, _, _ = fsck(*options, tmp + "/c.qed", env=preload(tmp + "/c.qed", enospc=n))
            if not code & OPERATION:
                break
            fsck(*options, tmp + "/c.qed", status=REPAIRED)
            equal(guest(tmp + "/c.qed"), want, "seed %d, change %d" % (seed, n))


@test
def read_errors(tmp):
    """what cannot be read is reported, and nothing is repaired"""
    path = damaged(tmp + "/a.qed", 1)
    with edit(path) as img:
        l1, tables = img.hdr.l1_table_offset, [table for _, table in img.l1()]
    before = digest(path)
    for first, length in ((tables[1] + 4096, 100), (l1 + 8192, 1), (l1, 4096)):
        for mode in ("-n", "-p", "-y"):
            result = report(mode + "f", path, env=preload(path, eio="%d-%d" % (
                first, first + length)))
            true(result["exit-status"] & OPERATION and not result["exit-status"] & REPAIRED,
                 result["exit-status"])
            bad = [item for item in result["findings"] if item["code"] == "read-error"]
            equal([(item["offset"], item["length"]) for item in bad],
                  [(first - first % 4096, 4096)])
            true("guest-offset" in bad[0], "the guest's range")
            true("allocated-clusters" not in result and "leak" not in codes(result), "figures")
            equal(digest(path), before, "content")
    report("-nf", path, status=OPERATION, env=preload(path, eio="0-4096"))


@test
def read_error_of_data(tmp):
    """data that cannot be copied remains shared, and NEED_CHECK set"""
    path = populated(tmp + "/a.qed", percent=80)
    with edit(path) as img:
        table = img.table_of(0)
        index, value = [item for item in img.l2(table) if item[1] > 1][0]
        img.set_entry(table, 500, value)
    result = report("-yf", path, env=preload(path, eio="%d-%d" % (value, value + 1)))
    equal(result["exit-status"], REPAIRED | LEFT | OPERATION)
    true({"l2-entry-shared", "read-error"} <= set(codes(result)), codes(result))
    true(need_check(path), "marked clean")
    fsck("-y", path, status=REPAIRED)
    equal(guest(path)[index], guest(path)[500])


# ---------------------------------------------------------------------------------------------
# Interrupted repairs
# ---------------------------------------------------------------------------------------------

def victims(tmp):
    """(name, path, options) of runs that write in all ways."""
    for seed in (0, 1, 2, 3, 4, 6):
        yield "damaged %d" % seed, damaged(tmp + "/v%d.qed" % seed, seed), ["-y", "-f"]
    yield "compact", sparse_in_middle(tmp + "/c.qed"), ["-p", "--compact"]
    yield "compact big tables", sparse_in_middle(
        tmp + "/d.qed", cluster=4096, table=16, seed=4), ["-p", "--compact"]
    yield "preen", copy(tmp + "/c.qed", tmp + "/e.qed"), ["-p", "-f"]


@test
def killed(tmp):
    """killed before, or in the middle of, any change: a second run comes to the same end"""
    count = 0
    for name, path, options in victims(tmp):
        done = copy(path, tmp + "/done.qed")
        fsck(*options, done, status=REPAIRED)
        want, size = guest(done), os.path.getsize(done)
        for how in ("kill", "torn"):
            n = 0
            while True:
                n += 1
                trial = copy(path, tmp + "/trial.qed")
                code, _, _ = fsck(*options, trial, env=preload(trial, **{how: n}))
                if code != -signal.SIGKILL:
                    if how == "kill" or n > 60:
                        break
                    continue
                count += 1
                what = "%s, %s %d" % (name, how, n)
                fsck(*options, trial)
                equal(report("-nf", trial, status=CLEAN)["findings"], [], what)
                equal(guest(trial), want, what)
                equal(os.path.getsize(trial), size, what)
                equal(structure(trial)[0], [], what)
                # without options the next run has to see that it was not finished
            if how == "kill":
                equal(code, REPAIRED, "%s: the last run" % name)
    print("# %d kills" % count)


def read_trace(path):
    """The changes of a run: lists of those between two barriers."""
    epochs = [[]]
    with open(path, "rb") as file:
        data = file.read()
    at = 0
    while at < len(data):
        kind, offset, length, mode, more = struct.unpack_from("<5Q", data, at)
        at += 40
        if kind == 4:
            epochs.append([])
        else:
            epochs[-1].append((kind, offset, length, mode, data[at:at + more]))
        at += more
    return epochs


def replay(disk, change, rng=None):
    """Do a change again; some of its sectors only, with rng."""
    kind, offset, length, mode, data = change
    if kind == 3:
        os.ftruncate(disk, offset)
    elif kind == 2 and mode & 2:         # a hole
        size = os.fstat(disk).st_size
        subprocess.run(["fallocate", "-p", "-n", "-o", str(offset), "-l", str(length),
                        "/proc/self/fd/%d" % disk], check=True, pass_fds=(disk,))
        equal(os.fstat(disk).st_size, size)
    elif kind == 1:
        for pos, size in qedimg.pieces(offset, offset + length, 512):
            if rng is None or rng.random() < 0.5:
                os.pwrite(disk, data[pos - offset:pos - offset + size], pos)


@test
def power_cuts(tmp):
    """a power cut keeps any part of the changes since the last barrier: the same"""
    rng, count = random.Random(1), 0
    for name, path, options in victims(tmp):
        done, trace = copy(path, tmp + "/done.qed"), tmp + "/trace"
        with contextlib.suppress(OSError):
            os.unlink(trace)
        fsck(*options, done, status=REPAIRED, env=preload(done, trace=trace))
        want = guest(done)
        epochs = read_trace(trace)
        for number, epoch in enumerate(epochs):
            if not epoch:
                continue
            for _ in range(3):
                trial = copy(path, tmp + "/trial.qed")
                disk = os.open(trial, os.O_RDWR)
                for earlier in epochs[:number]:
                    for change in earlier:
                        replay(disk, change)
                for change in epoch:
                    choice = rng.randrange(3)
                    if choice:
                        replay(disk, change, rng if choice == 1 else None)
                os.close(disk)
                count += 1
                what = "%s, epoch %d" % (name, number)
                fsck(*options, trial)
                equal(report("-nf", trial, status=CLEAN)["findings"], [], what)
                equal(guest(trial), want, what)
    print("# %d power cuts" % count)


@test
def interrupted_is_marked(tmp):
    """after any change but the last one NEED_CHECK is set"""
    for name, path, options in victims(tmp):
        n = 1
        while True:
            n += 1
            trial = copy(path, tmp + "/trial.qed")
            code, _, _ = fsck(*options, trial, env=preload(trial, kill=n))
            if code != -signal.SIGKILL:
                break
            if digest(trial) != digest(copy(path, tmp + "/again.qed")):
                true(need_check(trial), "%s, change %d" % (name, n))


# ---------------------------------------------------------------------------------------------
# Undo
# ---------------------------------------------------------------------------------------------

@test
def undo(tmp):
    """--undo-apply brings back every byte, as often as wanted"""
    for name, path, options in victims(tmp):
        trial, file = copy(path, tmp + "/trial.qed"), tmp + "/undo"
        before = digest(trial)
        fsck(*options, "--undo", file, trial, status=REPAIRED)
        true(digest(trial) != before, name)
        fsck("--undo-apply", file, trial, status=REPAIRED)
        equal(digest(trial), before, name)
        fsck("--undo-apply", file, trial, status=CLEAN)
        equal(digest(trial), before, name + ", again")
        os.unlink(file)


@test
def undo_refused(tmp):
    """undo files are not overwritten, not left empty, and fit only their image"""
    path, file = damaged(tmp + "/a.qed", 2), tmp + "/undo"
    other = damaged(tmp + "/b.qed", 3)
    with open(file, "wb"):
        pass
    before = digest(path)
    fsck("-yf", "--undo", file, path, status=OPERATION)
    equal(digest(path), before, "content")
    fsck("--undo-apply", file, path, status=OPERATION)
    os.unlink(file)
    fsck("-yf", "--undo", file, path, status=REPAIRED)
    saved = digest(path)
    fsck("-yf", "--undo", tmp + "/undo2", path, status=CLEAN)
    true(not os.path.exists(tmp + "/undo2"), "a file without content")
    before = digest(other)
    fsck("--undo-apply", file, other, status=OPERATION)
    equal(digest(other), before, "another image")
    with edit(path) as img:
        img.set_entry(img.table_of(0), 5, 1)
    before = digest(path)
    fsck("--undo-apply", file, path, status=OPERATION)
    true(digest(path) == before != saved, "it was changed")
    fsck("--undo-apply", file, "--force", path, status=REPAIRED)


@test
def undo_of_killed(tmp):
    """a run that was killed can be taken back; taking back can be killed, too"""
    for name, path, options in list(victims(tmp))[:8]:
        before = digest(copy(path, tmp + "/trial.qed"))
        for n in range(1, 200, 3):
            trial, file = copy(path, tmp + "/trial.qed"), tmp + "/undo"
            with contextlib.suppress(OSError):
                os.unlink(file)
            code, _, _ = fsck(*options, "--undo", file, trial, env=preload(trial, torn=n, kill=n + 1))
            if code != -signal.SIGKILL:
                break
            fsck("--undo-apply", file, trial, env=preload(trial, torn=n // 2 + 1, kill=n // 2 + 2))
            fsck("--undo-apply", file, trial)
            equal(digest(trial), before, "%s, change %d" % (name, n))


# ---------------------------------------------------------------------------------------------
# Compacting
# ---------------------------------------------------------------------------------------------

@test
def compact(tmp):
    """--compact leaves nothing free, and QEMU finds no leak"""
    for cluster, table, header in ((8192, 2, 1), (4096, 1, 1), (4096, 16, 2), (4096, 4, 1),
                                   (65536, 4, 1), (16384, 8, 3)):
        for seed in (1, 2, 3):
            path = sparse_in_middle(tmp + "/a.qed", cluster=cluster, table=table, header=header,
                                    seed=seed)
            before = guest(path)
            size = os.path.getsize(path)
            result = report("-p", "--compact", path, status=REPAIRED)
            true(result["moved-clusters"] and not result["free-clusters"], result)
            equal(guest(path), before, "what the guest reads")
            equal(structure(path)[1]["leaks"], 0)
            true(os.path.getsize(path) == result["high-water-mark"] < size, "size")
            if table > 1:
                equal(qemu_check(path), 0, "qemu-img check")
            equal(report("-p", "--compact", path, status=CLEAN)["modified"], False, "again")


@test
def compact_tables(tmp):
    """--compact moves tables, and an L1 table, that are at the end"""
    for table in (1, 2, 4):
        path = tmp + "/a.qed"
        qedimg.create(path, 4 * 4096 * table * 512, 4096, table)
        with edit(path) as img:
            span = img.hdr.l2_span
            for l1_index in range(4):
                img.write(l1_index * span, qedimg.stamp(l1_index * span, 4096, 1))
            # a gap of one cluster, then nothing but tables and an L1 table
            img.set_entry(img.table_of(0), 0, 0)
            where = img.new_clusters(2 * table + 3) + 4096 * 3
            img.disk.write(where, img.disk.read(img.hdr.l1_table_offset, img.hdr.table_bytes))
            img.zero_range(img.hdr.l1_table_offset, img.hdr.table_bytes)
            img.hdr.l1_table_offset = where
            img.write_header()
        before = guest(path)
        result = report("-p", "--compact", path, status=REPAIRED)
        equal((guest(path), result["free-clusters"]), (before, 0))
        equal(os.path.getsize(path), (1 + 5 * table + 3) * 4096)
        equal(structure(path)[0], [])


@test
def compact_only_clean(tmp):
    """--compact does nothing to a damaged image with -p"""
    path = sparse_in_middle(tmp + "/a.qed")
    with edit(path) as img:
        img.set_entry(img.table_of(0), 3, 4711)
    before = digest(path)
    fsck("-p", "--compact", path, status=LEFT)
    equal(digest(path), before)


# ---------------------------------------------------------------------------------------------
# Images in use
# ---------------------------------------------------------------------------------------------

@contextlib.contextmanager
def qemu_holds(path, *options):
    """A qemu-io that has the image open."""
    with subprocess.Popen(["qemu-io", "-f", "qed"] + list(options) + [path],
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL) as process:
        process.stdin.write(b"read 0 512\n")
        process.stdin.flush()
        line = process.stdout.readline()
        while line and b"512" not in line:
            line = process.stdout.readline()
        true(line, "qemu-io does not open it")
        yield
        process.stdin.close()
        process.wait()


@test
def held_by_qemu(tmp):
    """an image that QEMU has open is refused"""
    path = populated(tmp + "/a.qed")
    with qemu_holds(path):
        for mode in ("-n", "-p", "-y"):
            true("in use" in report(mode, path, status=OPERATION)["error"], "message")
        report("-nf", "--force", path)
    with qemu_holds(path, "-r"):
        report("-nf", path, status=CLEAN)
        report("-yf", path, status=OPERATION)
    report("-yf", path, status=CLEAN)


@test
def keeps_qemu_out(tmp):
    """QEMU does not open an image that is checked, nor does another qed-fsck"""
    path, _ = three_faults(tmp)
    terminal = Terminal("-f", path)
    true(terminal.read_until("yes to all)? "), "no question")
    true(not qemu_opens(path), "QEMU opened it")
    for mode in ("-n", "-y"):
        true("in use" in report(mode, path, status=OPERATION)["error"], "message")
    os.write(terminal.fd, b"a\n")
    equal(terminal.end(), REPAIRED, "status")
    true(qemu_opens(path), "QEMU does not open it")


@contextlib.contextmanager
def loop_device(path):
    """A loop device with a file behind."""
    loop = subprocess.run(["losetup", "--find", "--show", path], stdout=subprocess.PIPE,
                          check=True).stdout.decode().strip()
    try:
        yield loop
    finally:
        subprocess.run(["losetup", "-d", loop], check=True)


def loop_devices(tmp):
    """Have we got any? Else the tests in a virtual machine are the only ones."""
    path = tmp + "/probe"
    with open(path, "wb") as file:
        file.truncate(M)
    try:
        with loop_device(path):
            return True
    except (subprocess.CalledProcessError, OSError):
        return False


@test
def block_devices(tmp):
    """a block device is checked and repaired, free clusters are no leaks"""
    if not loop_devices(tmp):
        print("# no loop devices here")
        return
    path = damaged(tmp + "/a.qed", 5)
    with open(path, "ab") as file:
        file.truncate(4 * M + 3 * K)
    before = legal_view(path)
    with loop_device(path) as loop:
        true("attached" in report("-y", path, status=OPERATION)["error"], "the file behind")
        first = report("-nf", path, status=LEFT)
        second = report("-nf", loop, status=LEFT)
        equal([code for code in codes(first) if "leak" not in code], codes(second))
        report("-yf", loop, status=REPAIRED)
        result = report("-yf", "--discard", "--compact", loop, status=REPAIRED)
        equal((result["findings"], result["free-clusters"]), ([], 0))
        holder = os.open(loop, os.O_RDONLY | os.O_EXCL)
        for mode in ("-n", "-y"):
            true("in use" in report(mode, loop, status=OPERATION)["error"], "held")
        report("-nf", "--force", loop, status=CLEAN)
        report("-nf", "--force", path)
        os.close(holder)
        report("-nf", path)
    equal(structure(path)[0], [])
    named = named_clusters(first, 8192)
    after = guest(path)
    for cluster in set(before) | set(after):
        true(cluster in named or before.get(cluster) == after.get(cluster), cluster)


@test
def direct(tmp):
    """--direct finds the same"""
    for seed in range(4):
        path = damaged(tmp + "/a.qed", seed)
        os.sync()
        equal(report("-nf", "--direct", path)["findings"], report("-nf", path)["findings"])
    path = tmp + "/b.qed"
    subprocess.run([BUILT + "/mkimage", "-r", "1", "64G", path], check=True)
    equal(report("-nf", "--direct", path, status=CLEAN)["allocated-clusters"], 1 << 20)


@test
def odd_names(tmp):
    """JSON is valid whatever the name of the file is"""
    for name in (b"a b", b'"quoted"', b"back\\slash", b"\xff\xfe", "\u00e4\u20ac".encode(), b"\n",
                 b"-n"):
        path = os.path.join(tmp.encode(), name)
        populated(path)
        out = subprocess.run([FSCK.encode(), b"-nf", b"--json", path], stdout=subprocess.PIPE,
                             check=True).stdout
        json.loads(out.decode())


# ---------------------------------------------------------------------------------------------
# Building and fuzzing
# ---------------------------------------------------------------------------------------------

@test
def installed(tmp):
    """make tools_install installs all, make clean leaves nothing"""
    tree = os.path.join(HERE, "..", "..", "..")
    output = "OUTPUT=" + tmp + "/out"
    subprocess.run(["make", "-s", "-C", tree, "tools", "tools_install", output,
                    "DESTDIR=" + tmp + "/root", "PREFIX=/usr"], check=True,
                   stdout=subprocess.DEVNULL)
    for name in ("sbin/qed-fsck", "sbin/fsck.qed", "share/man/man8/qed-fsck.8", "share/man/man8/fsck.qed.8",
                 "share/bash-completion/completions/qed-fsck"):
        true(os.path.isfile(os.path.join(tmp, "root/usr", name)), name)
    subprocess.run(["make", "-s", "-C", tree + "/tools/qed", "clean", output], check=True)
    true(not os.path.exists(tmp + "/out"), "make clean")


@test
def fuzzed(tmp):
    """10 seconds of fuzzing find nothing"""
    shutil.copytree(os.path.join(BUILT, "corpus"), tmp + "/corpus")
    done = subprocess.run([os.path.join(BUILT, "fuzz"), "-max_len=300", "-max_total_time=10",
                           "-artifact_prefix=" + tmp + "/", tmp + "/corpus"], check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          env=dict(os.environ, ASAN_OPTIONS="malloc_context_size=2"))
    out = done.stdout.decode(errors="replace")
    equal(done.returncode, 0, out[-3000:])
    runs = [line for line in out.splitlines() if line.startswith("Done ")]
    true(runs and int(runs[0].split()[1]) > len(os.listdir(BUILT + "/corpus")), "it did not run")
    print("# %s" % runs[0])


def main():
    """Run the tests, or those with these names."""
    os.umask(0o077)
    inherited.default_signals()
    failed = 0
    chosen = [func for func in TESTS if len(sys.argv) < 3 or func.__name__ in sys.argv[2:]]
    for number, func in enumerate(chosen, 1):
        tmp = tempfile.mkdtemp(prefix="fsck-", dir=os.environ.get("TMPDIR", "/var/tmp"))
        try:
            func(tmp)
            print("ok %d qed-fsck: %s" % (number, func.__doc__))
        except Exception:  # pylint: disable=broad-except
            failed += 1
            print("not ok %d qed-fsck: %s" % (number, func.__doc__))
            print("".join("#   " + line + "\n" for line in
                          traceback.format_exc().splitlines()), end="")
        finally:
            shutil.rmtree(tmp, ignore_errors=True)
        sys.stdout.flush()
    print("1..%d" % len(chosen))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
