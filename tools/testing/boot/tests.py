#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Tests what qed-generator makes of /etc/qedtab.

Usage: tests.py GENERATOR QEDSETUP [NAME...]

Prints TAP.
"""

import os
import random
import shutil
import subprocess
import sys
import tempfile
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCE = os.path.join(HERE, "..", "..", "qed", "boot")

SERVICE = "qed@vm1.service"
DEVICE = "dev-mapper-vm1.device"
OPEN = "ExecStart=/usr/sbin/qedsetup open --quiet --if-needed"

# Options of "qedsetup open" that make no sense in a table
NOT_IN_TABLE = {"takeover", "if-needed", "json", "quiet"}

# A line; for each file what it has (+) and has not (-); no file of this name: None
LINES = (
    ("vm1 /srv/images/vm1.qed",
     {SERVICE: ["+" + OPEN + ' -- "/srv/images/vm1.qed" "vm1"',
                '+ExecStop=/usr/sbin/qedsetup close --quiet -- "vm1"',
                '+RequiresMountsFor="/srv/images/vm1.qed"',
                "+After=systemd-remount-fs.service",
                "+DefaultDependencies=no", "+Before=qed.target", "+RemainAfterExit=yes",
                "+Conflicts=umount.target", "+Before=umount.target",
                "+Before=blockdev@dev-mapper-%i.target", "-BindsTo", "-After=remote-fs-pre"],
      "qed.target.requires/" + SERVICE: [], DEVICE + ".requires/" + SERVICE: [],
      DEVICE + ".d/50-qed.conf": ["+JobTimeoutSec=infinity"],
      "sysinit.target.wants/qed.target": [], "qed.target.wants": None}),
    ("vm1 /dev/vg0/lv-1 -",
     {SERVICE: ["+" + OPEN + ' -- "/dev/vg0/lv-1" "vm1"',
                r"+BindsTo=dev-vg0-lv\x2d1.device", r"+After=dev-vg0-lv\x2d1.device",
                "-RequiresMountsFor", "-After=systemd-remount-fs", "+Before=umount.target"],
      "qed.target.requires/" + SERVICE: []}),
    ("vm1\t/a.qed\tnofail\r\n",
     {SERVICE: ["-Before=qed.target", "+Before=umount.target"],
      "qed.target.wants/" + SERVICE: [], "qed.target.requires": None,
      DEVICE + ".requires/" + SERVICE: [], DEVICE + ".d": None,
      "sysinit.target.wants/qed.target": []}),
    ("  vm1 /a.qed noauto",
     {SERVICE: ["+Before=qed.target"], "qed.target.requires": None, "qed.target.wants": None,
      DEVICE + ".requires/" + SERVICE: [], DEVICE + ".d": None,
      "sysinit.target.wants": None}),
    ("vm1 /dev/sda _netdev",
     {SERVICE: ["+After=remote-fs-pre.target", "+Before=remote-qed.target",
                "-Before=qed.target"],
      "remote-qed.target.requires/" + SERVICE: [],
      "remote-fs.target.wants/remote-qed.target": [], "sysinit.target.wants": None}),
    ("vm1 /dev/sda x-initrd.attach",
     {SERVICE: ["-umount.target", "+Before=qed.target"]}),
    ("vm1 /a.qed x-initrd.attach",
     {SERVICE: ["-umount.target", "-After=systemd-remount-fs"]}),
    ("vm1 /dev/mapper/x-y x-systemd.device-timeout=30s,x-comment,x-other=1",
     {SERVICE: [r"+BindsTo=dev-mapper-x\x2dy.device", "+" + OPEN + ' -- "/dev/mapper/x-y" "vm1"'],
      r"dev-mapper-x\x2dy.device.d/50-qed.conf": ["+JobRunningTimeoutSec=30s"]}),
    ("vm1 //srv/./a//b/ readonly,,host,cache=32M,commit-interval=0",
     {SERVICE: ["+" + OPEN + ' "--readonly" "--host" "--cache=32M" "--commit-interval=0"'
                ' -- "/srv/a/b" "vm1"', '+RequiresMountsFor="/srv/a/b"']}),
    (r"vm1 /my\040disk%i$x\054.qed backing=/gold\040en\054.raw",
     {SERVICE: ["+" + OPEN + ' "--backing=/gold en,.raw" -- "/my disk%%i$$x,.qed" "vm1"',
                '+RequiresMountsFor="/my disk%%i$x,.qed"',
                '+RequiresMountsFor="/gold en,.raw"']}),
    (r"vm1 /dev/disk/by-partlabel/a\134x20b backing=/dev/sdb",
     {SERVICE: ["+" + OPEN + r' "--backing=/dev/sdb" -- "/dev/disk/by-partlabel/a\\x20b" "vm1"',
                r"+BindsTo=dev-disk-by\x2dpartlabel-a\x5cx20b.device",
                "+BindsTo=dev-sdb.device"]}),
    ("vm1 /a x-systemd.requires-mounts-for=/b/c,x-systemd.requires-mounts-for=/dev/d",
     {SERVICE: ['+RequiresMountsFor="/b/c"', "+BindsTo=dev-d.device",
                '+RequiresMountsFor="/a"', "+" + OPEN + ' -- "/a" "vm1"']}),
    ("vm-1#+.:=@_ /a",
     {r"qed@vm\x2d1\x23\x2b.:\x3d\x40_.service": ['+ExecStop=/usr/sbin/qedsetup close --quiet'
                                                  ' -- "vm-1#+.:=@_"'],
      r"dev-mapper-vm\x2d1\x23\x2b.:\x3d\x40_.device.requires": []}),
    ("-vm1 /a", {r"qed@\x2dvm1.service": ['+ExecStop=/usr/sbin/qedsetup close --quiet -- "-vm1"']}),
)

# A line that is wrong, and what is said about it
WRONG = (
    ("vm1", "vm1: needs a name, an image, and maybe options, not one word"),
    ("vm1 /a host 0", "vm1: needs a name, an image, and maybe options, not more"),
    ("vm/1 /a", "vm/1: a name can have letters, digits, and #+-.:=@_"),
    ("v\\0401 /a", "v\\\\0401: a name can have letters, digits, and #+-.:=@_"),
    ("v\xe4 /a", "v\xe4: a name can have letters, digits, and #+-.:=@_"),
    (".vm1 /a", ".vm1: cannot be the name of a device"),
    ("control /a", "control: cannot be the name of a device"),
    ("v" * 128 + " /a", "the name has 128 characters, but 127 are possible"),
    ("vm1 a.qed", "a.qed: needs to be a path from / on"),
    ("vm1 UUID=1-2", "UUID=1-2: needs to be a path from / on"),
    ("vm1 /a/../b", "/a/../b: cannot have .. in it"),
    ("vm1 /a\\", "image: a backslash needs three octal digits after it, such as \\\\040 for a "
     "space"),
    ("vm1 /a\\400", "image: a backslash needs three octal digits after it, such as \\\\040 for a "
     "space"),
    ("vm1 /a\\000", "image: a backslash needs three octal digits after it, such as \\\\040 for a "
     "space"),
    ("vm1 /a\"b", "/a\"b: cannot have quotes, backslashes, control characters"),
    ("vm1 /a\\012b", "/a\\nb: cannot have quotes, backslashes, control characters"),
    ("vm1 /a hots", "hots: no such option, see qedtab(5)"),
    ("vm1 /a host,backing", "backing: needs a value"),
    ("vm1 /a backing=b", "b: needs to be a path from / on"),
    ("vm1 /a readonly=no", "readonly: needs no value"),
    ("vm1 /a noauto=1", "noauto: needs no value"),
    ("vm1 /a cache=32Q", "cache=32Q: needs a size, such as 512, 64K or 1.5G"),
    ("vm1 /a commit-interval=1s", "commit-interval=1s: needs a number"),
    ("vm1 /a commit-interval=", "commit-interval=: needs a number"),
    ("vm1 /a takeover", "takeover: has to be decided each time, see qedsetup(8)"),
    ("vm1 /a x-systemd.device-timeout=1s",
     "x-systemd.device-timeout goes with an image on a device"),
    ("vm1 /dev/a x-systemd.device-timeout=1;s",
     "x-systemd.device-timeout=1;s: needs a time, such as 30s"),
    ("vm1 /a " + ",".join(["cache=1M"] * 33), "there are more than 32 options"),
    ("vm1 /a x-systemd.requires-mounts-for=/b\\", "x-systemd.requires-mounts-for=/b\\\\: a "
     "backslash needs three octal digits after it, such as \\\\040 for a space"),
    ("vm1 /a\0b", "there is a zero byte in it"),
)

TESTS = []


def test(func):
    """A function that is a test"""
    TESTS.append(func)
    return func


def equal(got, expected, what):
    """Fail unless two values are the same"""
    if got != expected:
        raise AssertionError("%s: %r, expected %r" % (what, got, expected))


def generate(tmp, table, status=0, **environment):
    """The folder with the units for this text, and the lines that were said about it"""
    folder = tempfile.mkdtemp(dir=tmp)
    path = os.path.join(tmp, "qedtab")
    with open(path, "wb") as file:
        file.write(table if isinstance(table, bytes) else table.encode())
    done = subprocess.run([GENERATOR, folder, "/nonexistent", "/nonexistent"],
                          env=dict(os.environ, QEDTAB=path, **environment),
                          capture_output=True, check=False)
    equal((done.returncode, done.stdout), (status, b""),
          "end for %r: %r" % (table[:200], done.stderr))
    prefix = "qed-generator: %s:" % path
    lines = done.stderr.decode().splitlines()
    for line in lines:
        equal(line[:len(prefix)], prefix, "what was said")
    return folder, [line[len(prefix):] for line in lines]


def files(folder):
    """All files below, and where links lead to"""
    found = {}
    for parent, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(parent, name)
            text = os.readlink(path) if os.path.islink(path) else None
            found[os.path.relpath(path, folder)] = text
    return found


def check_file(folder, name, expected, line):
    """The file has what it should have, and nothing else"""
    path = os.path.join(folder, name)
    equal(os.path.lexists(path), expected is not None, "%s for %r" % (name, line))
    if not expected:
        return
    with open(path, encoding="utf-8") as file:
        lines = file.read().splitlines()
    for rule in expected:
        if rule[0] == "+":
            equal(lines.count(rule[1:]), 1, "%r in %r for %r" % (rule[1:], lines, line))
        else:
            equal([x for x in lines if rule[1:] in x], [], "%r for %r" % (rule[1:], line))


def verify(folder):
    """systemd itself finds nothing wrong with the units, but for one that it reads an alias in"""
    units = [os.path.join(folder, name) for name in os.listdir(folder)
             if name.endswith(".service") and ":" not in name]
    for name in ("qed.target", "remote-qed.target"):
        shutil.copy(os.path.join(SOURCE, name), folder)
        units.append(os.path.join(folder, name))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", "--recursive-errors=no",
                           *units], capture_output=True, text=True, check=False,
                          env=dict(os.environ, SYSTEMD_UNIT_PATH=folder + ":"))
    said = [line for line in done.stderr.splitlines()
            if "Command /usr/sbin/qedsetup is not executable" not in line]
    equal(said, [], "systemd-analyze verify")


@test
def lines_make_units(tmp):
    """each line makes the units that it should"""
    for line, expected in LINES:
        folder, said = generate(tmp, line)
        equal(said, [], "said about %r" % line)
        for name, rules in expected.items():
            check_file(folder, name, rules, line)


@test
def units_are_valid(tmp):
    """systemd finds nothing wrong with these units"""
    for number, (line, _) in enumerate(LINES):
        folder, _ = generate(tmp, line.replace("vm1", "vm%d" % number, 1))
        verify(folder)


@test
def links_lead_to_units(tmp):
    """links lead to the service and the target"""
    folder, _ = generate(tmp, "vm1 /a\nvm2 /b nofail\nvm3 /c _netdev\n")
    found = files(folder)
    for name, target in found.items():
        if target is None:
            continue
        if target.startswith("/"):
            equal(target, "/usr/lib/systemd/system/" + os.path.basename(name), name)
        else:
            equal(target, "../" + os.path.basename(name), name)
            equal(os.path.basename(name) in found, True, name)
    equal(sum(target is not None for target in found.values()), 8, "links")


@test
def names_are_of_systemd(tmp):
    """devices are called what systemd calls them"""
    for path in ("/dev/a", "/dev/a-b/c_d:e.f", "/dev/.a/b\\x20c", "/dev/\xe4#@=+", "/dev/a b"):
        escaped = subprocess.run(["systemd-escape", "--path", "--suffix=device", "--", path],
                                 capture_output=True, text=True, check=True).stdout.strip()
        line = "vm1 " + path.replace("\\", "\\134").replace(" ", "\\040")
        folder, _ = generate(tmp, line)
        check_file(folder, SERVICE, ["+BindsTo=" + escaped], line)


@test
def wrong_lines_are_named(tmp):
    """what is wrong with a line is said, and it makes nothing"""
    for line, expected in WRONG:
        folder, said = generate(tmp, line, status=1)
        equal(said, ["1: " + expected], repr(line))
        equal(files(folder), {}, "files for %r" % line)


@test
def others_are_used(tmp):
    """the lines around one that is wrong make what they make alone"""
    good = "# a comment\n\nvm1 /a\n   # another\nvm2 /b nofail\n"
    alone = files(generate(tmp, good)[0])
    for line, expected in WRONG:
        line = line.replace("vm1", "vm3", 1)
        folder, said = generate(tmp, line + "\n" + good + line, status=1)
        expected = expected.replace("vm1", "vm3")
        equal(said, ["1: " + expected, "7: " + expected], repr(line))
        equal(files(folder), alone, "files beside %r" % line)


@test
def names_are_used_once(tmp):
    """a second line with a name is wrong, other than one after a wrong one"""
    folder, said = generate(tmp, "vm1 /a\nvm1 /b\n", status=1)
    equal(said, ["2: vm1: line 1 has the same name"], "said")
    check_file(folder, SERVICE, ["+" + OPEN + ' -- "/a" "vm1"'], "the first")
    folder, said = generate(tmp, "vm1 a\nvm1 /b\n", status=1)
    equal(len(said), 1, "said about the first")
    check_file(folder, SERVICE, ["+" + OPEN + ' -- "/b" "vm1"'], "the second")


@test
def initrd_opens_its_own(tmp):
    """in an initrd only what it also closes is opened"""
    table = "vm1 /dev/a\nvm2 /dev/b x-initrd.attach\n"
    found = files(generate(tmp, table, SYSTEMD_IN_INITRD="1")[0])
    equal(sorted(name for name in found if "/" not in name), ["qed@vm2.service"], "services")
    found = files(generate(tmp, table, SYSTEMD_IN_INITRD="0")[0])
    equal(sorted(name for name in found if "/" not in name),
          [SERVICE, "qed@vm2.service"], "services elsewhere")


@test
def initramfs_has_commands(tmp):
    """an initrd without systemd gets commands for its own, which a shell takes as they are"""
    path = os.path.join(tmp, "qedtab")
    with open(path, "w", encoding="utf-8") as file:
        file.write("vm1 /dev/a\nroot /dev/disk/a'b\\040$(c) host,x-initrd.attach,cache=4M\n"
                   "vm2 /a x-initrd.attach\nvm3 /dev/b x-initrd.attach,host=1\n")
    done = subprocess.run([GENERATOR, "--initramfs"], capture_output=True, text=True,
                          check=False, env=dict(os.environ, QEDTAB=path))
    equal(done.stderr, "qed-generator: %s:3: /a: is a file, and an initrd without systemd has "
          "none yet\nqed-generator: %s:4: host: needs no value\n" % (path, path), "errors")
    equal(done.returncode, 1, "exit status")
    script = "open_image() { printf '<%s>' \"$@\"; echo; }\n" + done.stdout
    words = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    equal(words.stdout, "<root></dev/disk/a'b $(c)><--host><--cache=4M>\n", "words")


@test
def no_table(tmp):
    """without a table, or with an empty one, there is nothing to do"""
    equal(files(generate(tmp, "")[0]), {}, "files of an empty one")
    folder = tempfile.mkdtemp(dir=tmp)
    done = subprocess.run([GENERATOR, folder], capture_output=True, check=False,
                          env=dict(os.environ, QEDTAB="/nonexistent/qedtab"))
    equal((done.returncode, done.stdout, done.stderr), (0, b"", b""), "without one")


@test
def failures_are_told(tmp):
    """a table that cannot be read, and a folder that cannot be written to"""
    done = subprocess.run([GENERATOR, tmp], capture_output=True, text=True, check=False,
                          env=dict(os.environ, QEDTAB=tmp))
    equal((done.returncode, done.stderr),
          (1, "qed-generator: %s:0: cannot read on: Is a directory\n" % tmp), "a folder")
    path = os.path.join(tmp, "qedtab")
    with open(path, "w", encoding="utf-8") as file:
        file.write("vm1 /a\n")
    done = subprocess.run([GENERATOR, "/nonexistent"], capture_output=True, text=True,
                          check=False, env=dict(os.environ, QEDTAB=path))
    equal((done.returncode, done.stderr),
          (1, "qed-generator: %s:1: cannot write /nonexistent/qed@vm1.service: "
           "No such file or directory\n" % path), "no folder")


@test
def random_lines(tmp):
    """what is damaged at random makes valid units, or an error"""
    seed = int(os.environ.get("SEED", random.randrange(1 << 30)))
    print("# SEED=%d" % seed)
    choice = random.Random(seed)
    parts = [word for line, _ in LINES + WRONG for word in line.replace(",", " , ").split(" ")]
    parts += ["\\", "\\0", "\\040", "=", ",", "#", "/", "..", "\xe4", "\0", "\t", "%", "$", "\x1b"]
    lines = ["".join(choice.choice(parts) + choice.choice(["", "", " "])
                     for _ in range(choice.randrange(1, 9))) for _ in range(20000)]
    lines += ["vm%d /%s %s" % (number, choice.choice(parts), choice.choice(parts))
              for number in range(5000)]
    table = "".join(line.replace("\n", "") + "\n" for line in lines)
    folder, said = generate(tmp, table, status=1)
    equal(1000 < len(said) < len(lines), True, "%d of %d are wrong" % (len(said), len(lines)))
    verify(folder)


@test
def options_are_of_qedsetup(tmp):
    """all options of "qedsetup open" that make sense are known, and no others"""
    done = subprocess.run([QEDSETUP, "open", "--help"], capture_output=True, text=True,
                          check=True)
    words = [line.split("--", 1)[1].split() for line in done.stdout.splitlines()
             if line.strip().startswith("-")]
    with open(os.path.join(SOURCE, "qedtab.5"), encoding="ascii") as file:
        manual = file.read().replace("\\-", "-")
    passed = set()
    for name, value in ((word[0], word[1].isupper()) for word in words):
        if name in NOT_IN_TABLE:
            continue
        passed.add(name)
        text = name
        if value:
            text += {"backing": "=/b", "commit-interval": "=100"}.get(name, "=4K")
        folder, _ = generate(tmp, "vm1 /a " + text)
        with open(os.path.join(folder, SERVICE), encoding="utf-8") as file:
            equal('"--%s"' % text in file.read(), True, text)
        equal(name + ("=" if value else "") in manual, True, "%s in the manual" % name)
    equal(len(passed) > 10, True, "options were found")
    with open(os.path.join(SOURCE, "tab.c"), encoding="ascii") as file:
        known = {line.split('"')[1] for line in file if line.startswith("\t{ \"")
                 and "OURS" not in line and "x-systemd" not in line and "NEVER" not in line}
    equal(known, passed, "options of the generator, and of qedsetup")


@test
def manuals(_):
    """the manual pages are well-formed"""
    for name in ("qedtab.5", "qed-generator.8"):
        done = subprocess.run(["groff", "-man", "-Tascii", "-wall", os.path.join(SOURCE, name)],
                              capture_output=True, check=True)
        equal(done.stderr, b"", "warnings of " + name)


def main():
    """Run the tests, or those with these names."""
    os.environ["ASAN_OPTIONS"] = os.environ["UBSAN_OPTIONS"] = "exitcode=99"
    failed = 0
    chosen = [func for func in TESTS if len(sys.argv) < 4 or func.__name__ in sys.argv[3:]]
    for number, func in enumerate(chosen, 1):
        with tempfile.TemporaryDirectory(prefix="boot-") as tmp:
            try:
                func(tmp)
                verdict = "ok"
            except Exception:  # pylint: disable=broad-except
                failed += 1
                verdict = "not ok"
                print("# " + "\n# ".join(traceback.format_exc().splitlines()))
        print("%s %d boot: %s" % (verdict, number, func.__doc__), flush=True)
    print("1..%d" % len(chosen))
    return 1 if failed else 0


if __name__ == "__main__":
    GENERATOR, QEDSETUP = sys.argv[1:3]
    sys.exit(main())
