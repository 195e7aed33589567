#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Tests of qedimg, with qemu-img and qemu-io as the judges where they are installed."""

import contextlib
import io
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import qedimg  # noqa: E402  pylint: disable=wrong-import-position

HAVE_QEMU = shutil.which("qemu-img") and shutil.which("qemu-io")
K, M = 1024, 1 << 20

# every legal geometry; the large ones are sparse files
GEOMETRIES = [(cluster, table) for cluster in [1 << bits for bits in range(12, 27)]
              for table in (1, 2, 4, 8, 16)]

# Wrong headers that QEMU takes.
QEMU_OPENS = {"header-zero", "size-zero", "backing-file", "backing-file-no-probe"}

# Recipes for what dm-qed refuses although the format allows it.
LEGAL = {"backing-file", "backing-file-no-probe"}


def qemu_opens(cluster, table):
    """QEMU wants two clusters per table, and its limit of the image size wraps."""
    bits = cluster.bit_length() - 1
    return table > 1 and 3 * bits + 2 * (table.bit_length() - 1) < 70


class Base(unittest.TestCase):
    """A directory per test, and shorthands."""

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="qedimg-")
        self.addCleanup(shutil.rmtree, self.dir)
        self.file = self.path("image.qed")

    def path(self, name):
        """A file in the directory."""
        return os.path.join(self.dir, name)

    def run_tool(self, *argv, status=0):
        """Run the command line in this process; its standard output."""
        out = io.StringIO()
        saved = sys.argv
        sys.argv = ["qedimg"] + [str(arg) for arg in argv]
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
                self.assertEqual(qedimg.main(), status, argv)
        finally:
            sys.argv = saved
        return out.getvalue()

    def qemu_img(self, *argv, status=0):
        """Run qemu-img; its output."""
        done = subprocess.run(["qemu-img"] + [str(arg) for arg in argv], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, check=False)
        self.assertEqual(done.returncode, status, (argv, done.stdout))
        return done.stdout.decode()

    def qemu_io(self, path, *commands):
        """Run qemu-io commands on a QED image."""
        argv = ["qemu-io", "-f", "qed"]
        for command in commands:
            argv += ["-c", command]
        done = subprocess.run(argv + [path], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              check=False)
        self.assertEqual(done.returncode, 0, (argv, done.stdout))
        self.assertNotIn(b"failed", done.stdout)
        return done.stdout.decode()

    @contextlib.contextmanager
    def image(self, path=None, writable=False):
        """Open an image."""
        with qedimg.Disk(path or self.file, writable) as disk:
            yield qedimg.Image(disk).validate()

    def check(self, path=None):
        """(defects, counts) of an image."""
        with self.image(path) as img:
            return qedimg.check(img)


class Own(Base):
    """What needs no judge."""

    def test_every_geometry(self):
        """Create, populate, read back, check and compare."""
        for cluster, table in GEOMETRIES:
            with self.subTest(cluster=cluster, table=table):
                entries = cluster * table // 8
                size = min(entries * cluster + 3 * cluster, 200 * cluster) - 1536
                self.run_tool("create", self.file, "--size", size, "--cluster-size", cluster,
                              "--table-size", table, "--header-size", 3)
                raw = self.path("raw")
                self.run_tool("populate", self.file, "--seed", cluster + table, "--raw", raw,
                              "--percent", 20, "--shuffle", "--last", 30)
                info = json.loads(self.run_tool("check", self.file, "--json"))
                self.assertEqual(info["defects"], [])
                self.assertEqual(info["leaks"], 0)
                self.assertEqual(info["used"], 3 + table * (1 + info["tables"]) + info["mapped"])
                self.run_tool("compare", self.file, raw)
                with open(raw, "r+b") as file:
                    file.seek(random.Random(table).randrange(size))
                    file.write(b"\xff")
                self.run_tool("compare", self.file, raw, status=1)
                os.unlink(self.file)

    def test_write_read(self):
        """Random writes and zeroes against a plain array."""
        size = 40 * 4096 + 512
        self.run_tool("create", self.file, "--size", size, "--cluster-size", 4096,
                      "--table-size", 1)
        model, rng = bytearray(size), random.Random(4)
        with self.image(writable=True) as img:
            for turn in range(200):
                offset = rng.randrange(size)
                length = rng.randrange(1, min(20000, size - offset) + 1)
                if turn % 5 == 0:
                    offset -= offset % 4096
                    length = min(8192, size - offset)
                    img.make_zero(offset, length)
                    model[offset:offset + length] = bytes(length)
                    continue
                data = rng.randbytes(length)
                img.write(offset, data)
                model[offset:offset + length] = data
                self.assertEqual(img.read(0, size), bytes(model))
        self.assertEqual(self.check()[0], [])

    def test_clusters_made_zero_are_leaks(self):
        """Entries that drop a data cluster leave a leak behind."""
        self.run_tool("create", self.file, "--size", M)
        with self.image(writable=True) as img:
            img.write(0, b"x" * 3 * 65536)
            img.make_zero(65536, 65536)
        counts = self.check()[1]
        self.assertEqual((counts["leaks"], counts["mapped"], counts["zero"]), (1, 2, 1))

    def test_max_image_size(self):
        """The largest image of the smallest geometry and one sector more."""
        largest = 512 * 512 * 4096
        small = ("--cluster-size", 4096, "--table-size", 1)
        self.run_tool("create", self.file, "--size", largest, *small)
        self.run_tool("create", self.file, "--size", largest + 512, *small, status=2)

    def test_recipes(self):
        """Every recipe makes a defect of its kind, and says where."""
        self.run_tool("break", "--all", self.dir)
        with open(self.path("index.tsv"), encoding="ascii") as index:
            lines = [line.rstrip("\n").split("\t") for line in index]
        self.assertGreaterEqual(len(lines), 80)
        self.assertEqual(self.check(self.path("base.qed"))[0], [])
        self.run_tool("compare", self.path("base.qed"), self.path("base.raw"))
        with open(self.path("base.raw"), "rb") as file:
            raw = file.read()
        for name, kind, _, _, bad, good in lines:
            with self.subTest(name=name):
                path = self.path(name + ".qed")
                self.run_tool("check", path, status=int(name not in LEGAL))
                if name in LEGAL:
                    continue
                with qedimg.Disk(path) as disk:
                    img = qedimg.Image(disk)
                    self.assertEqual(bool(img.hdr.defects(disk.size())), kind == "header")
                    if kind == "header":
                        continue
                    for start, length in ranges(bad):
                        with self.assertRaises(qedimg.Error):
                            img.read(start, 512)
                        with self.assertRaises(qedimg.Error):
                            img.read(start + length - 512, 512)
                    self.assertTrue(good)
                    for start, length in ranges(good):
                        self.assertEqual(img.read(start, length), raw[start:start + length])

    def test_command_line(self):
        """The small commands."""
        self.run_tool("create", self.file, "--size", "1M")
        self.assertEqual(self.run_tool("hwm", self.file), "327680\n")
        self.assertEqual(self.run_tool("dirty", self.file), "no\n")
        self.run_tool("set-feature", self.file, "incompat", "+2")
        self.assertEqual(self.run_tool("dirty", self.file), "yes\n")
        self.run_tool("set-feature", self.file, "incompat", "=0")
        self.run_tool("set-entry", self.file, "l2", 0, 3, 1)
        self.assertEqual(json.loads(self.run_tool("map", self.file))[1]["kind"], "zero")
        self.run_tool("set-entry", self.file, "l1", 7, "0x12345")
        self.run_tool("check", self.file, status=1)
        self.run_tool("poke", self.file, 0, "51454401")
        self.run_tool("info", self.file, status=1)
        self.run_tool("hwm", self.file, status=2)
        self.run_tool("hwm", self.path("absent"), status=2)

    def test_device_size(self):
        """What lies behind the given device size is a defect."""
        self.run_tool("create", self.file, "--size", M)
        with self.image(writable=True) as img:
            img.write(0, b"x" * 3 * 65536)
            hwm = img.hwm()
        self.run_tool("check", self.file, "--device-size", hwm)
        self.run_tool("check", self.file, "--device-size", hwm - 512, status=1)


def ranges(text):
    """The ranges in a column of the index."""
    return [] if text == "-" else [tuple(map(int, item.split(":"))) for item in text.split(",")]


@unittest.skipUnless(HAVE_QEMU, "needs qemu-img and qemu-io")
class Qemu(Base):
    """What QEMU says to the same image."""

    def test_create(self):
        """The same bytes as qemu-img create, in every geometry that it makes."""
        theirs = self.path("theirs.qed")
        for cluster, table in GEOMETRIES:
            if cluster > 16 * M or not qemu_opens(cluster, max(table, 2)):
                continue
            with self.subTest(cluster=cluster, table=table):
                self.run_tool("create", self.file, "--size", 5 * M, "--cluster-size", cluster,
                              "--table-size", table)
                self.qemu_img("create", "-q", "-f", "qed", "-o",
                              "cluster_size=%d,table_size=%d" % (cluster, table), theirs, 5 * M)
                self.assertEqual(os.path.getsize(self.file), os.path.getsize(theirs))
                with open(self.file, "rb") as one, open(theirs, "rb") as two:
                    self.assertEqual(one.read(8192), two.read(8192))

    def test_ours_to_qemu(self):
        """QEMU checks and reads a populated image in every geometry that it opens."""
        for cluster, table in GEOMETRIES:
            if not qemu_opens(cluster, table) or cluster > 4 * M:
                continue
            with self.subTest(cluster=cluster, table=table):
                raw = self.path("raw")
                size = min(cluster * cluster * table // 8 + 9 * cluster, 100 * cluster) + 512
                self.run_tool("create", self.file, "--size", size, "--cluster-size", cluster,
                              "--table-size", table)
                self.run_tool("populate", self.file, "--shuffle", "--raw", raw, "--percent", 40)
                self.qemu_img("check", "-q", "-f", "qed", self.file)
                self.qemu_img("compare", "-q", "-f", "qed", "-F", "raw", self.file, raw)
                counts = self.check()[1]
                theirs = json.loads(self.qemu_img("check", "--output=json", self.file))
                self.assertEqual(theirs["allocated-clusters"], counts["mapped"])
                self.assertEqual(os.path.getsize(self.file), counts["hwm"])
                os.unlink(self.file)

    def test_qemu_to_ours(self):
        """We check and read what QEMU wrote, and QEMU what both wrote."""
        for cluster, table in ((4 * K, 2), (4 * K, 4), (64 * K, 4), (64 * K, 16), (M, 2)):
            with self.subTest(cluster=cluster, table=table):
                rng, size = random.Random(cluster), 24 * M + 1536
                self.run_tool("create", self.file, "--size", size, "--cluster-size", cluster,
                              "--table-size", table)
                raw = self.path("raw")
                for _ in range(2):
                    commands = []
                    for _ in range(30):
                        start = rng.randrange(size // 512) * 512
                        length = min(rng.randrange(1, 512) * 512, size - start)
                        kind = rng.choice(("-P %d" % rng.randrange(1, 256), "-z"))
                        commands.append("write %s %d %d" % (kind, start, length))
                    self.qemu_io(self.file, *commands)
                    self.qemu_img("convert", "-f", "qed", "-O", "raw", self.file, raw)
                    defects, counts = self.check()
                    self.assertEqual((defects, counts["leaks"]), ([], 0))
                    self.assertEqual(counts["hwm"], os.path.getsize(self.file))
                    self.run_tool("compare", self.file, raw)
                    with self.image(writable=True) as img:
                        img.write(5 * M - 512, rng.randbytes(3 * K))
                    self.qemu_img("check", "-q", self.file)

    def test_truncate(self):
        """An extended file is leaky to QEMU until it is truncated."""
        self.run_tool("create", self.file, "--size", M)
        self.qemu_io(self.file, "write 100k 1k")
        length = os.path.getsize(self.file)
        os.truncate(self.file, length + 5 * 65536 + 512)
        self.qemu_img("check", self.file, status=3)
        self.run_tool("truncate", self.file)
        self.assertEqual(os.path.getsize(self.file), length)
        self.qemu_img("check", self.file)

    def test_recipes(self):
        """QEMU refuses the same headers and finds the same tables corrupt."""
        self.run_tool("break", "--all", self.dir)
        for name, (kind, _, _, _) in qedimg.RECIPES.items():
            with self.subTest(name=name):
                path = self.path(name + ".qed")
                if kind == "table":
                    self.qemu_img("check", "-f", "qed", path, status=2)
                elif name not in QEMU_OPENS:
                    self.qemu_img("check", "-f", "qed", path, status=1)


if __name__ == "__main__":
    unittest.main()
