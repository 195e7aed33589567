# SPDX-License-Identifier: GPL-2.0
"""Runs of qed-fsck on an image, judged by the reference checker, qedimg and QEMU."""

import collections
import json
import os
import shutil
import signal
import struct
import subprocess

import images
from reference import HEADER_CODES, KEPT, Reference, Unusable, qedimg

# what -y does about a finding, by the manual page
ACTIONS = {
    "header-size-illegal": "set", "l1-offset-illegal": "set", "l1-in-header": "set", "l1-misplaced": "set",
    "image-size-illegal": "set", "backing-name-illegal": "set", "need-check": "cleared",
    "l1-over-end": "extended", "l1-entry-over-end": "extended", "partial-cluster": "extended",
    "l1-entry-shared": ("copied", "cleared"), "l2-entry-shared": ("copied", "cleared"),
    "orphan-table": "punched", "mostly-leaked": "punched", "leak": "punched",
    "leak-tail": "truncated", "record-void": "none", "record-untrue": "cleared"}
# every code but read-error, which needs a disk that fails
CODES = sorted({"cluster-size-illegal", "table-size-illegal", *ACTIONS} | {
    "l%d-entry-%s" % (level, what) for level in (1, 2)
    for what in ("unaligned", "in-header", "beyond-end", "on-l1", "shared", "beyond-size")})
LIMIT = 60                             # seconds for a run of qed-fsck
SPACE = ("leak", "leak-tail", "partial-cluster")
IMPLAUSIBLE = ("orphan-table", "mostly-leaked")
# what the guest's range is where it follows from neighbours
GUESSED = ("guest-offset", "guest-length")


class Wrong(Exception):
    """Something is not as it has to be."""


def expect(got, wanted, what):
    """Compare."""
    if got != wanted:
        raise Wrong("%s: got %s, expected %s" % (what, got, wanted))


def normal(finding):
    """A finding in a form that can be compared and sorted."""
    return json.dumps(finding, sort_keys=True)


def record_bit(ref, path, target):
    """The autoclear bits after repairs: that of a record that is true, and not in use."""
    record = ref.record
    if not record or record["flags"] or ref.has("record-untrue") or (
            os.stat(target).st_size != os.stat(path).st_size):
        return 0
    with qedimg.Disk(target) as disk:
        end = qedimg.Image(disk).hwm() // ref.hdr.cluster_size
    return qedimg.AF_RECORD if not record["end"] or end <= record["end"] else 0


def compare_with(ref, got, wanted, what):
    """Are these findings of the reference checker, if it is not sure of an owner one of several?"""
    got = [dict(finding) for finding in got]
    for finding in got:
        if finding["code"] == "l1-entry-shared" and finding.get("index") in ref.no_tables:
            others = ref.others_of(finding)
            if finding.get("other") in others:
                finding["other"] = others[-1]
    compare_findings(got, wanted, what)


def compare_findings(got, wanted, what):
    """Are these the same, in any order, whatever was done about them?"""
    got = [{name: value for name, value in finding.items() if name != "action" and not (
        finding["code"] == "orphan-table" and name in GUESSED)} for finding in got]
    if got == wanted:
        return
    mine, theirs = sorted(map(normal, got)), sorted(map(normal, wanted))
    if mine != theirs:
        lines = ["  not expected: " + item for item in mine if item not in theirs]
        lines += ["  missing:      " + item for item in theirs if item not in mine]
        more = ["  ... and %d more" % (len(lines) - 12)] if len(lines) > 12 else []
        raise Wrong("\n".join(["%s: %d findings, expected %d" % (what, len(mine), len(theirs))] +
                              lines[:12] + more))


class Trial:
    """Where and with what images are tried."""

    def __init__(self, directory, program, verbose=False):
        self.directory, self.program, self.verbose = directory, program, verbose
        self.runs = 0
        self.seen = collections.Counter()     # codes, once per image

    def path(self, name):
        """A file in the directory."""
        return os.path.join(self.directory, name)

    def fsck(self, options, path, *more):
        """Run qed-fsck: its exit status and what its JSON says."""
        self.runs += 1
        command = [self.program, options, "-v", "--json", *more, path]
        if not options.startswith("-n"):
            # some have a record of another host that has the image
            command.insert(1, "--takeover")
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE) as process:
            # the timeouts of subprocess wait for the end by sleeping
            signal.signal(signal.SIGALRM, lambda *_: process.kill())
            signal.alarm(LIMIT)
            out, err = process.communicate()
            signal.alarm(0)
        status = process.returncode
        if self.verbose:
            print("# %s: %d" % (" ".join(command), status))
            print("".join("#     %s\n" % line for line in
                          (out + err).decode(errors="replace").splitlines()))
        try:
            said = json.loads(out)
        except ValueError:
            raise Wrong("%s: exit status %d, no JSON: %r %r" % (
                options, status, out[:200], err[-2000:])) from None
        expect(said["exit-status"], status, options + ": exit-status in JSON")
        return status, said

    def qemu_img(self, *argv):
        """Run qemu-img: exit status and output."""
        done = subprocess.run(("qemu-img",) + argv, stdin=subprocess.DEVNULL, check=False,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        return done.returncode, done.stdout.decode(errors="replace")

    def judge(self, path, wanted=None, guest=None, repair=True, qemu=False):
        """All that has to be true of a damaged image, which stays as it is.

        wanted  the findings and exit statuses, stated by hand: an object with findings, n, p, y
        guest   what the guest is to see after -y, stated by hand
        """
        try:
            ref = Reference(path)
        except Unusable:
            self.judge_unusable(path, wanted)
            return None
        self.seen.update({finding["code"] for finding in ref.findings})
        self.judge_reference(path, wanted, guest)
        self.judge_n(path, ref)
        if wanted:
            self.judge_unforced(path, ref)
        if repair:
            self.judge_p(path, ref)
            self.judge_y(path, ref, guest, qemu)
        return ref

    @staticmethod
    def judge_reference(path, wanted, guest):
        """Does the reference checker find what is stated by hand?"""
        try:
            ref = Reference(path)
        except Unusable:
            if wanted:
                expect(wanted.findings, None, "reference checker, by hand")
            return
        if wanted:
            Trial.judge_findings(ref, wanted)
        if guest and ref.scanned and wanted.y == 1:
            wrong = images.Guest.of_reference(ref, path).difference(guest)
            if wrong:
                raise Wrong("reference checker, guest by hand: " + wrong)

    @staticmethod
    def judge_findings(ref, wanted):
        """The same, but a recipe need not state which leaks are not plausible."""
        stated = any(finding["code"] in IMPLAUSIBLE for finding in wanted.findings)
        found = [finding for finding in ref.findings if stated or
                 finding["code"] not in IMPLAUSIBLE]
        compare_findings(found, wanted.findings, "reference checker, by hand")
        for mode in "npy" if stated or not ref.has(*IMPLAUSIBLE) else "n":
            expect(ref.status(mode), getattr(wanted, mode), "reference checker, status -" + mode)

    def judge_unusable(self, path, wanted):
        """An image that qed-fsck does not look at."""
        if wanted:
            expect(wanted.findings, None, "reference checker, by hand")
        before = os.stat(path)
        for options in ("-nf", "-pf", "-yf"):
            status, said = self.fsck(options, path)
            expect(status, 8, options + ": exit status")
            expect(sorted(said), ["error", "exit-status", "filename", "format", "schema"],
                   options + ": JSON of an image that is not looked at")
        self.unchanged(path, before)

    @staticmethod
    def unchanged(path, before):
        """Was nothing written?"""
        after = os.stat(path)
        expect((after.st_size, after.st_blocks, after.st_mtime_ns),
               (before.st_size, before.st_blocks, before.st_mtime_ns), "length, blocks, mtime")

    @staticmethod
    def counts(findings):
        """Findings by code."""
        out = {}
        for finding in findings:
            out[finding["code"]] = out.get(finding["code"], 0) + 1
        return out

    def judge_json(self, said, ref, path, what):
        """The members of JSON besides the findings, of a run that changed nothing."""
        damage = sum(finding["severity"] == "damage" for finding in ref.findings)
        members = {"filename": path, "format": "qed", "scanned": ref.scanned,
                   "corruptions": damage, "corruptions-fixed": 0, "leaks-fixed": 0,
                   "check-errors": 0, "counts": self.counts(ref.findings), "damaged": damage > 0,
                   "modified": False, "file-size": os.stat(path).st_size}
        if ref.scanned:
            members["leaks"] = ref.leaked
            members["need-check"] = ref.has("need-check")
            members["cluster-size"] = ref.hdr.cluster_size
            members["table-size"] = ref.hdr.table_bytes
            if not damage:
                members["image-size"] = ref.hdr.image_size
                if not ref.has("l1-entry-beyond-size"):
                    members.update(ref.summary())
        for name, value in members.items():
            expect(said.get(name), value, "%s: %s" % (what, name))

    def judge_n(self, path, ref):
        """-n finds what the reference finds, and writes nothing."""
        before = os.stat(path)
        status, said = self.fsck("-nf", path)
        compare_with(ref, said["findings"], ref.findings, "-nf")
        for finding in said["findings"]:
            expect(finding["action"], "none", "-nf: action for " + finding["code"])
        expect(status, ref.status("n"), "-nf: exit status")
        self.judge_json(said, ref, path, "-nf")
        self.unchanged(path, before)

    def judge_unforced(self, path, ref):
        """Without -f only the header is looked at, if that is legal and clean."""
        status, said = self.fsck("-n", path)
        header = ref.has("need-check", *HEADER_CODES)
        expect(said["scanned"], ref.scanned and header, "-n: scanned")
        expect(status, ref.status("n") if header else 0, "-n: exit status")
        if not header:
            expect(said["findings"], [], "-n: findings")

    def sound(self, path, what):
        """Neither qed-fsck nor the reference nor qedimg find anything."""
        ref = Reference(path)
        compare_findings(ref.findings, [], "reference checker, after " + what)
        before = os.stat(path)
        status, said = self.fsck("-nf", path)
        compare_findings(said["findings"], [], "-nf after " + what)
        expect(status, 0, "-nf after %s: exit status" % what)
        self.judge_json(said, ref, path, "-nf after " + what)
        self.unchanged(path, before)
        with qedimg.Disk(path) as disk:
            defects, _ = qedimg.check(qedimg.Image(disk).validate())
        expect(defects, [], "qedimg check after " + what)
        expect(os.stat(path).st_size, ref.top * ref.hdr.cluster_size, "file length after " + what)

    def judge_p(self, path, ref):
        """-p repairs what loses nothing, and nothing else."""
        target = self.path("p.qed")
        images.copy(path, target)
        before = os.stat(target)
        status, said = self.fsck("-pf", target)
        wanted = ref.status("p")
        expect(status, wanted, "-pf: exit status")
        if wanted in (0, 4):
            self.unchanged(target, before)
            expect(said["modified"], False, "-pf: modified")
        if wanted in (0, 4, 1):
            compare_with(ref, said["findings"], ref.findings, "-pf")
        if wanted == 1:
            expect(said["modified"], True, "-pf: modified")
            self.sound(target, "-p")
            self.same_header(path, target, ref, "-p")
            self.same_guest(path, target, ref, "-p")
        if wanted == 5:
            # the file may have got longer, and is marked
            part = -ref.length % ref.hdr.cluster_size if ref.has("partial-cluster") else 0
            expect(os.stat(target).st_size, ref.length + part, "-pf: file length")
            with qedimg.Disk(target, writable=True) as disk:
                hdr = qedimg.Header(disk.read(0, qedimg.HEADER.size))
                expect(hdr.features & qedimg.F_NEED_CHECK, qedimg.F_NEED_CHECK, "-pf: NEED_CHECK")
                with qedimg.Disk(path) as old:
                    disk.write(0, old.read(0, qedimg.HEADER.size))
                    os.ftruncate(disk.fd, old.size())
            if not images.same_files(path, target):
                raise Wrong("-pf: more than length and header was changed")

    def judge_y(self, path, ref, guest, qemu):
        """-y repairs everything, and the guest loses nothing that could be kept."""
        target = self.path("y.qed")
        images.copy(path, target)
        before = os.stat(target)
        if ref.is_cut():
            status, said = self.fsck("-yf", target)
            expect(status, 4, "-yf: exit status of what was cut")
            self.unchanged(target, before)
            compare_with(ref, said["findings"], ref.findings, "-yf of what was cut")
        status, said = self.fsck("-yf", target, "--cut=clear")
        expect(status, ref.status("y"), "-yf: exit status")
        if ref.has("orphan-table"):
            self.judge_kept(said, path, target, ref)
            images.copy(path, target)
            status, said = self.fsck("-yf", target, "--cut=clear", "--orphans=free")
            expect(status, 1, "-yf --orphans=free: exit status")
        if status != 1:
            self.unchanged(target, before)
            compare_with(ref, said["findings"], ref.findings, "-yf")
            return
        expect(said["modified"], True, "-yf: modified")
        expect(said["damaged"], False, "-yf: damaged")
        self.judge_actions(said, ref)
        self.sound(target, "-y")
        self.same_header(path, target, ref, "-y")
        self.same_guest(path, target, ref, "-y")
        if guest:
            wrong = images.Guest.of_image(target).difference(guest)
            if wrong:
                raise Wrong("after -y, by hand: " + wrong)
        status, said = self.fsck("-yf", target)
        expect((status, said["modified"]), (0, False), "-yf once more: exit status, modified")
        if qemu:
            self.judge_qemu(target)

    def judge_kept(self, said, path, target, ref):
        """Nothing that is leaked was freed, all else is repaired."""
        for finding in said["findings"]:
            if finding["code"] in KEPT and finding["code"] != "mostly-leaked":
                expect(finding["action"], "none", "-yf: action for " + finding["code"])
            elif finding["code"] not in KEPT:
                expect(finding["action"] != "none", True, "-yf: action for " + finding["code"])
        expect(said["damaged"], False, "-yf: damaged")
        self.same_guest(path, target, ref, "-y")

    @staticmethod
    def judge_actions(said, ref):
        """Each finding was repaired, in the way the manual page says."""
        def others(findings):
            return [finding for finding in findings if finding["code"] not in SPACE]

        wanted = others(ref.findings)
        got = []
        for finding in others(said["findings"]):
            if finding["code"].endswith("-shared"):     # where the copy is
                copied = finding.pop("new-value", None)
                expect(copied is not None, finding["action"] == "copied",
                       "-yf: new-value of " + finding["code"])
            got.append(finding)
        compare_with(ref, got, wanted, "-yf")
        for finding in got:
            code = finding["code"]
            actions = ACTIONS.get(code, "cleared")
            if code == "l1-entry-over-end" and finding.get("guest-offset", 1 << 63) >= (
                    ref.hdr.image_size):
                actions = "cleared"
            if finding["action"] not in actions:
                raise Wrong("-yf: action for %s: %s" % (code, finding["action"]))

    @staticmethod
    def same_header(path, target, ref, what):
        """Of the header only what had to be set was changed."""
        with qedimg.Disk(path) as old, qedimg.Disk(target) as new:
            one = qedimg.Header(old.read(0, qedimg.HEADER.size))
            two = qedimg.Header(new.read(0, qedimg.HEADER.size))
            for finding in ref.findings:
                if "new-value" in finding:
                    setattr(one, finding["field"], finding["new-value"])
                if finding["code"] == "backing-name-illegal":
                    one.backing_filename_offset = one.backing_filename_size = 0
            one.features &= ~qedimg.F_NEED_CHECK
            one.autoclear_features = record_bit(ref, path, target)
            for name in qedimg.FIELDS:
                expect(getattr(two, name), getattr(one, name), "%s after %s" % (name, what))
            length = images.BLOCK - qedimg.HEADER.size
            expect(new.read(qedimg.HEADER.size, length), old.read(qedimg.HEADER.size, length),
                   "what follows the header, after " + what)

    @staticmethod
    def same_guest(path, target, ref, what):
        """The guest sees what the reference checker says."""
        seen, wanted = images.Guest.of_image(target), images.Guest.of_reference(ref, path)
        wrong = seen.difference(wanted, ref.tables_as_data)
        if wrong:
            raise Wrong("after %s: %s" % (what, wrong))
        # a copy of a part of a table has what was there, or what repairs have made of it
        with qedimg.Disk(target) as disk:
            for cluster in ref.tables_as_data:
                before, after = wanted.clusters[cluster], seen.clusters[cluster]
                now = images.blocks(disk, ref.guest[cluster], ref.hdr.cluster_size)
                for place in set(before) | set(after):
                    texts = [blocks.get(place, images.ZEROES) for blocks in (before, now, after)]
                    for old, new, got in zip(*(struct.iter_unpack("<Q", text) for text in texts)):
                        if got not in (old, new, (0,)):
                            raise Wrong("after %s: guest offset 0x%x: a word 0x%x of a table" % (
                                what, cluster * ref.hdr.cluster_size + place, *got))

    def judge_qemu(self, path):
        """QEMU finds no corruption, and sees the same disk."""
        with qedimg.Disk(path) as disk:
            hdr = qedimg.Header(disk.read(0, qedimg.HEADER.size))
            name = (disk.read(hdr.backing_filename_offset, hdr.backing_filename_size)
                    if hdr.features & qedimg.F_BACKING else None)
        if name is not None and (name != images.BACKING_NAME.encode() or
                                 not hdr.features & qedimg.F_NO_PROBE):
            return                     # of a backing file that is not there
        bits = hdr.cluster_size.bit_length() - 1
        if hdr.table_size == 1 or 3 * bits + 2 * (hdr.table_size.bit_length() - 1) >= 70:
            return                     # QEMU cannot open such an image at all
        status, output = self.qemu_img("check", "-f", "qed", "--output=json", path)
        if status not in (0, 3) or json.loads(output).get("corruptions"):
            raise Wrong("qemu-img check: exit status %d, %s" % (status, output))
        raw = self.path("y.raw")
        backing = None
        if hdr.features & qedimg.F_BACKING:
            backing = self.path(images.BACKING_NAME)
        images.Guest.of_image(path).write_raw(raw, backing)
        status, output = self.qemu_img("compare", "-f", "qed", "-F", "raw", path, raw)
        os.unlink(raw)
        if status:
            raise Wrong("qemu-img compare: exit status %d, %s" % (status, output))


def have_qemu():
    """Is qemu-img there?"""
    return shutil.which("qemu-img") is not None

