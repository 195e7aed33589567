# SPDX-License-Identifier: GPL-2.0-only
"""Tests of qed-fsck: what it does to who uses it, see tests.py."""

import contextlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys

import qedimg
from test_fsck import (CANCELLED, CLEAN, FSCK, LEFT, M, OPERATION, REPAIRED, USAGE, Terminal, copy,
                       damaged, digest, edit, equal, fsck, guest, loop_device, loop_devices,
                       populated, preload, qemu_holds, qemu_opens, read_trace, replay, report,
                       sparse_in_middle, test, three_faults, true, victims)

# ---------------------------------------------------------------------------------------------
# Descriptors
# ---------------------------------------------------------------------------------------------


def with_closed(closed, *argv, redirect=""):
    """The exit status of a run without some of the standard descriptors."""
    shell = 'exec "$0" "$@" ' + redirect + "".join(" %d>&-" % fd for fd in closed)
    return subprocess.run(["bash", "-c", shell, FSCK] + [str(arg) for arg in argv],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          stdin=subprocess.DEVNULL, check=False, timeout=60).returncode


@test
def closed_descriptors(tmp):
    """with each of descriptors 0 to 2 closed nothing is printed into a file"""
    sound, path, broken = populated(tmp + "/sound.qed"), tmp + "/a.qed", damaged(tmp + "/b.qed", 3)
    repaired, undo = copy(broken, tmp + "/repaired.qed"), tmp + "/undo"
    fsck("-yf", repaired, status=REPAIRED)
    before, after = digest(broken), digest(repaired)
    for number in (1, 2, 3):
        for closed in itertools.combinations(range(3), number):
            for options in (["-n"], ["-nf", "-v"], ["-p", "--json"], ["-yf", "-C", "0"],
                            ["-yf", "-C", "1"], ["-yf", "-C", "2"]):
                copy(sound, path)
                status = with_closed(closed, *options, path)
                equal(digest(path), digest(sound), (closed, options))
                equal(status, CLEAN, (closed, options))
            copy(broken, path)
            equal(with_closed(closed, "-yfv", "--cut=clear", "--undo", undo, path), REPAIRED,
                  closed)
            equal(digest(path), after, ("repaired", closed))
            equal(with_closed(closed, "--undo-apply", undo, path), REPAIRED, closed)
            equal(digest(path), before, ("undone", closed))
            os.unlink(undo)


@test
def progress_descriptor(tmp):
    """-C with a descriptor that is closed, or for reading, is wrong usage"""
    path = populated(tmp + "/a.qed")
    before = digest(path)
    for fd in (3, 4, 5, 9):
        equal(with_closed([], "-nf", "-C", fd, path, redirect="%d>&-" % fd), USAGE, fd)
        equal(with_closed([], "-nf", "-C", fd, path, redirect="%d<%s" % (fd, path)), USAGE, fd)
        equal(with_closed([], "-yf", "-C", fd, path, redirect="%d>/dev/null" % fd), CLEAN, fd)
        equal(digest(path), before, fd)


@test
def output_into_image(tmp):
    """an image that standard output, error or -C is redirected to is refused"""
    path = damaged(tmp + "/a.qed", 3)
    before = digest(path)
    for redirect in ("1<>" + path, "2<>" + path, "3<>" + path, ">>" + path):
        for options in (["-n"], ["-yf"], ["-yf", "--json"]):
            options += ["-C", 3] if redirect[0] == "3" else []
            equal(with_closed([], *options, path, redirect=redirect), OPERATION, redirect)
            equal(digest(path), before, (redirect, options))
    report("-yf", path, status=REPAIRED)
    true(digest(path) != before, "not repaired")


@test
def output_into_undo(tmp):
    """so is an undo file to be applied"""
    path, undo = damaged(tmp + "/a.qed", 3), tmp + "/undo"
    was = digest(path)
    fsck("-yf", "--undo", undo, path, status=REPAIRED)
    before, file = digest(path), digest(undo)
    for redirect in ("1<>" + undo, "2<>" + undo, ">>" + undo):
        for options in ([], ["--json"]):
            equal(with_closed([], "--undo-apply", undo, *options, path, redirect=redirect),
                  OPERATION, redirect)
            equal((digest(path), digest(undo)), (before, file), (redirect, options))
    fsck("--undo-apply", undo, path, status=REPAIRED)
    equal(digest(path), was)


@test
def output_full(tmp):
    """what cannot be printed counts, also of --help and of an image that cannot be opened"""
    path = populated(tmp + "/a.qed")
    for argv in (["--help"], ["--version"], ["-nf", path], ["-nf", "--json", path],
                 ["--json", tmp + "/none"], ["-n", "--geometry", "search", path]):
        true(with_closed([], *argv, redirect=">/dev/full") & OPERATION, argv)


# ---------------------------------------------------------------------------------------------
# Truth
# ---------------------------------------------------------------------------------------------

GOOD = ("clean", "repaired", "usable")


def no_good_word(text, what):
    """Nothing good is said of the image."""
    for line in text.splitlines():
        true(line.rsplit(": ", 1)[-1].split(",")[0] not in GOOD, "%s: %s" % (what, line))


def not_good(result, what):
    """The same of a JSON object, which has an error."""
    true(result["error"] and result["verdict"] in ("damaged", "unknown"), (what, result))
    true(result["damaged"] is not False, (what, result))


def durable(path, trace, target):
    """What a power cut leaves for sure of a run: all until the last barrier."""
    copy(path, target)
    disk = os.open(target, os.O_RDWR)
    for epoch in read_trace(trace)[:-1]:
        for change in epoch:
            replay(disk, change)
    os.close(disk)
    return target


@test
def failed_sync(tmp):
    """what is not durable was not repaired: each barrier fails once"""
    count = 0
    for name, path, options in victims(tmp):
        found = report("-nf", path)
        for number in itertools.count(1):
            trial, trace = copy(path, tmp + "/trial.qed"), tmp + "/trace"
            with contextlib.suppress(OSError):
                os.unlink(trace)
            env = preload(trial, sync=number, trace=trace)
            status, out, _ = fsck(*options, trial, env=env)
            what = "%s, barrier %d" % (name, number)
            if not status & OPERATION:
                equal(status, REPAIRED, what)
                break
            count += 1
            no_good_word(out, what)
            os.unlink(trace)
            result = report(*options, copy(path, trial), env=env, status=status)
            not_good(result, what)
            left = report("-nf", durable(path, trace, tmp + "/durable.qed"))
            # repairs make leaks, and what is being moved is leaked for a while
            if "--compact" not in options:
                equal(bool(status & REPAIRED),
                      result["corruptions-fixed"] + result["leaks-fixed"] > 0, what)
            for kind in ("corruptions", "leaks")[:2 if name == "preen" else 1]:
                true(result[kind + "-fixed"] <= found[kind] - left[kind], what + ": " + kind)
            if found["corruptions"] and result["corruptions-fixed"] < found["corruptions"]:
                true(status & LEFT, what + ": status %d" % status)
    print("# %d failures" % count)


@test
def stopped(tmp):
    """a run that was stopped, at any read, says nothing good"""
    count = 0
    sound = populated(tmp + "/sound.qed")
    for name, path, options in [("sound", sound, ["-nf"]), ("sound", sound, ["-pf"])] + list(
            victims(tmp)):
        for number in itertools.count(1):
            trial = shutil.copy(path, tmp + "/trial.qed")
            env = preload(trial, signal=number)
            status, out, err = fsck("-j", 1, *options, trial, env=env)
            what = "%s, read %d" % (name, number)
            if not status & CANCELLED:
                true(status in (CLEAN, REPAIRED), what)
                if number > 20:
                    break
                continue
            count += 1
            true("stopped" in err, what)
            no_good_word(out, what)
            shutil.copy(path, trial)
            not_good(report("-j", 1, *options, trial, env=env, status=status), what)
    true(count > 30, "stopped only %d times" % count)
    print("# stopped %d times" % count)


@test
def signals(tmp):
    """SIGINT, SIGTERM and SIGHUP stop a run; not SIGHUP if that is ignored, as by nohup"""
    path = populated(tmp + "/a.qed")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        env = preload(path, signal=3, signo=int(number))
        fsck("-nf", path, status=CANCELLED, env=env)
    done = subprocess.run(["bash", "-c", "trap '' HUP; exec \"$0\" -nf \"$1\"", FSCK, path],
                          stdout=subprocess.DEVNULL, env=dict(os.environ, **env), check=False)
    equal(done.returncode, CLEAN, "SIGHUP was ignored")


@test
def no_answer(tmp):
    """^C and ^D at a question: nothing good, and what was only listed does not count"""
    for key in ("\x03", "\x04"):
        path, _ = three_faults(tmp)
        terminal = Terminal("-f", path)
        terminal.answer("y\n")
        terminal.answer(key)
        true(not terminal.read_until("never printed"), "the end")
        no_good_word(terminal.text, repr(key))
        true("l2-entry-unaligned: 1 found, 0 repaired" in terminal.text, terminal.text)
        equal(terminal.end() & ~REPAIRED, CANCELLED | LEFT, "status")


@test
def failed_sync_again(tmp):
    """after a barrier has failed the next run sees what is on the disk, not what should be"""
    count = 0
    for _, path, options in victims(tmp):
        if options[0] != "-y":
            continue
        trial, trace = tmp + "/trial.qed", tmp + "/trace"
        for number in range(2, 6):
            copy(path, trial)
            with contextlib.suppress(OSError):
                os.unlink(trace)
            env = preload(trial, sync=number, trace=trace)
            if not fsck(*options, trial, env=env)[0] & OPERATION:
                break
            with edit(durable(path, trace, tmp + "/durable.qed")) as want, edit(trial) as got:
                tables = [table for _, table in want.l1()]
                equal([table for _, table in got.l1()], tables, number)
                for table in tables[:2]:
                    equal(dict(got.l2(table)), dict(want.l2(table)), number)
            count += 1
            fsck(*options, trial)
            report("-nf", trial, status=CLEAN)
    true(count > 5, "failed %d times" % count)


@test
def failed_sync_compact(tmp):
    """clusters count as moved when they are durable"""
    path, trial, trace = sparse_in_middle(tmp + "/c.qed"), tmp + "/trial.qed", tmp + "/trace"
    fsck("-pf", path, status=REPAIRED)
    seen = set()
    for number in itertools.count(2):
        copy(path, trial)
        with contextlib.suppress(OSError):
            os.unlink(trace)
        status, _, _ = fsck("-p", "--compact", trial, env=preload(trial, sync=number, trace=trace))
        if not status & OPERATION:
            break
        with edit(durable(path, trace, tmp + "/durable.qed")) as img, edit(path) as old:
            def view(image):
                return [(table, sorted(image.l2(table))) for _, table in image.l1()]
            if view(img) == view(old):
                equal(status & REPAIRED, 0, "barrier %d" % number)
            seen.add((view(img) == view(old), status & REPAIRED))
    true((True, 0) in seen and (False, REPAIRED) in seen, seen)


@test
def not_repaired_for_read_error(tmp):
    """what would be done about the header, but is not for a read error, does not count"""
    path = populated(tmp + "/a.qed")
    with edit(path) as img:
        img.hdr.image_size += 1
        img.write_header()
        table = img.table_of(0)
    before, env = digest(path), preload(path, eio="%d-%d" % (table, table + 8192))
    result = report("-yf", path, status=OPERATION | LEFT, env=env)
    equal((result["corruptions"], result["corruptions-fixed"]), (1, 0))
    equal((result["verdict"], result["modified"]), ("damaged", False))
    true("image-size-illegal: 1 found, 0 repaired" in fsck("-yf", path, env=env)[1], "text")
    equal(digest(path), before)


@test
def only_answers(tmp):
    """only y, n and a, or these words, are answers: not what begins with one of them"""
    path, table = three_faults(tmp)
    before = digest(path)
    terminal = Terminal("-f", path)
    for answer in ("abort\n", "not yet\n", "yesterday\n", "\n", "x" * 63 + "y\n", "\x03"):
        terminal.answer(answer)
    equal(terminal.end(), CANCELLED, "status")
    equal(digest(path), before, "changed")
    terminal = Terminal("-f", path)
    for answer in ("x" * 63 + "a\n", "No\n", "Y\n", "all\n"):
        terminal.answer(answer)
    equal(terminal.end(), REPAIRED | LEFT, "status")
    with edit(path) as img:
        equal([img.get_entry(table, index) for index in (50, 60, 70)], [4711, 0, 0])


@test
def failed_read(tmp):
    """a table that cannot be read: not known to be sound"""
    path = populated(tmp + "/a.qed")
    table = os.path.getsize(path)
    for option in ("-nf", "-pf", "-yf"):
        env = preload(path, eio="8192-%d" % table)
        status, out, _ = fsck(option, path, env=env)
        true(status & OPERATION, option)
        no_good_word(out, option)
        result = report(option, path, env=env, status=status)
        equal((result["verdict"], result["damaged"]), ("unknown", None), option)


# ---------------------------------------------------------------------------------------------
# Images in use
# ---------------------------------------------------------------------------------------------

@test
def locks_on_devices(tmp):
    """QEMU's locks are honoured, and taken, on block devices as well"""
    if not loop_devices(tmp):
        print("# no loop devices here")
        return
    path, _ = three_faults(tmp)
    with loop_device(path) as loop:
        with qemu_holds(loop):
            for mode in ("-nf", "-pf", "-yf"):
                true("in use" in report(mode, loop, status=OPERATION)["error"], mode)
            true("in use" in report("-nf", path, status=OPERATION)["error"], "the file behind")
            report("-nf", "--force", loop, status=LEFT)
        with qemu_holds(loop, "-r"):
            report("-nf", loop, status=LEFT)
            report("-yf", loop, status=OPERATION)
        terminal = Terminal("-f", loop)
        true(terminal.read_until("yes to all)? "), "no question")
        true(not qemu_opens(loop), "QEMU opened it")
        true("in use" in report("-nf", path, status=OPERATION)["error"], "the file behind")
        os.write(terminal.fd, b"a\n")
        equal(terminal.end(), REPAIRED, "status")
        true(qemu_opens(loop), "QEMU does not open it")


@test
def nobody_is_disturbed(tmp):
    """-n of a file behind a loop device does not keep others from opening that exclusively"""
    if not loop_devices(tmp):
        print("# no loop devices here")
        return
    path = populated(tmp + "/a.qed")
    with loop_device(path) as loop:
        for _ in range(100):
            with subprocess.Popen([FSCK, "-nf", "-q", path]) as run:
                while run.poll() is None:
                    os.close(os.open(loop, os.O_RDONLY | os.O_EXCL))
            equal(run.returncode, CLEAN)


@test
def name_that_changes(tmp):
    """a name that is a file now, and a device then, does not open a device that is held"""
    if not loop_devices(tmp):
        print("# no loop devices here")
        return
    path, other, name = populated(tmp + "/a.qed"), damaged(tmp + "/b.qed", 3), tmp + "/name"
    os.symlink(path, name)
    with loop_device(other) as loop:
        holder = os.open(loop, os.O_RDONLY | os.O_EXCL)
        flip = ("import os, sys\n"
                "while True:\n"
                "    for target in sys.argv[2:]:\n"
                "        os.symlink(target, sys.argv[1] + '2')\n"
                "        os.rename(sys.argv[1] + '2', sys.argv[1])\n")
        with subprocess.Popen([sys.executable, "-c", flip, name, loop, path]) as flipper:
            try:
                for _ in range(400):
                    true(fsck("-nf", name)[0] in (CLEAN, OPERATION), "the device was read")
            finally:
                flipper.kill()
        os.close(holder)


# ---------------------------------------------------------------------------------------------
# Work that takes long
# ---------------------------------------------------------------------------------------------

def much_to_move(path):
    """An image in which 700 clusters of one table can be moved."""
    qedimg.create(path, 32 * M, 4096, 4)
    with edit(path) as img:
        img.populate(1, 100, 0, False, 0, 1400)
        table = img.table_of(0)
        for index, value in img.l2(table):
            if value > 1 and index % 2:
                img.set_entry(table, index, 0)
    fsck("-pf", path, status=REPAIRED)
    return path


@test
def compact_stopped(tmp):
    """a stop acts at the next cluster, what was moved is moved, and progress is shown"""
    path, trial = much_to_move(tmp + "/a.qed"), tmp + "/trial.qed"
    before, stops = guest(path), set()
    for number in range(2, 60, 5):
        copy(path, trial)
        result = report("-j", 1, "-p", "--compact", trial, env=preload(trial, signal=number))
        if result["exit-status"] == REPAIRED:
            continue
        with edit(trial) as img, edit(path) as old:
            moved = dict(img.l2(img.table_of(0))).items() - dict(old.l2(old.table_of(0))).items()
        stops.add(len(moved))
        equal(guest(trial), before)
        fsck("-p", "--compact", trial, status=REPAIRED)
        equal(guest(trial), before)
    true(len(stops) > 5 and max(stops) < 100, "moved at a stop: %s" % sorted(stops))


@test
def compact_progress(tmp):
    """-C tells of each part of pass 4"""
    path = much_to_move(tmp + "/a.qed")
    reader, writer = os.pipe()
    fsck("-p", "--compact", "-C", writer, "--undo", tmp + "/undo", path, status=REPAIRED,
         pass_fds=(writer,), env=preload(path, delay=4000))
    os.close(writer)
    with os.fdopen(reader) as file:
        lines = [line.split(" ", 3) for line in file.read().splitlines()]
    done = [int(line[1]) for line in lines if line[0] == "4"]
    true(len(done) > 3 and done == sorted(done) and 0 < done[1] < 350, done)
    true(all(int(line[1]) <= int(line[2]) for line in lines), lines)


@test
def compact_undo(tmp):
    """--compact --undo has a barrier for each piece of a table, not for each cluster"""
    path, undo, trace = much_to_move(tmp + "/a.qed"), tmp + "/undo", tmp + "/trace"
    before = digest(path)
    # by name: it is not there yet
    fsck("-p", "--compact", "--undo", undo, path, status=REPAIRED, env=preload(undo, trace=trace))
    barriers = len(read_trace(trace)) - 1
    true(5 < barriers < 40, "%d barriers" % barriers)
    fsck("--undo-apply", undo, path, status=REPAIRED)
    equal(digest(path), before)


@test
def compact_undo_killed(tmp):
    """the same can be killed, and taken back"""
    path = much_to_move(tmp + "/a.qed")
    before, trial, undo = digest(path), tmp + "/trial.qed", tmp + "/undo"
    for number in (1, 2, 3, 100, 200, 300, 340, 345, 350, 352, 354):
        copy(path, trial)
        status = fsck("-p", "--compact", "--undo", undo, trial,
                      env=preload(trial, kill=number))[0]
        fsck("--undo-apply", undo, trial)
        equal(digest(trial), before, "killed before %d: %d" % (number, status))
        os.unlink(undo)


def blocks(path):
    """What a file takes in the file system."""
    subprocess.run(["sync", path], check=True)
    return os.stat(path).st_blocks


@test
def stopped_gives_back(tmp):
    """space that was allocated for copies is given back when the run is stopped"""
    path, trial = tmp + "/a.qed", tmp + "/trial.qed"
    qedimg.create(path, 64 * M, 65536, 1)
    with edit(path) as img:
        img.populate(1, 100, 0, False, 0, 100)
        img.set_entry(img.hdr.l1_table_offset, 0, img.table_of(0))
        table = img.table_of(0)
        for index in range(100, 200):
            img.set_entry(table, index, img.get_entry(table, index - 100))
    before, count = blocks(copy(path, trial)), 0
    for number in range(1, 200):
        copy(path, trial)
        status, out, err = fsck("-j", 1, "-yf", trial, env=preload(trial, signal=number))
        if not status & CANCELLED:
            break
        count += 1
        size = os.path.getsize(trial) - os.path.getsize(path)
        true(blocks(trial) <= before + size // 512 + 256, "stopped at read %d: %d blocks, not %d" %
             (number, blocks(trial), before))
    true(count > 5, "stopped %d times: %s%s" % (count, out, err))


# ---------------------------------------------------------------------------------------------
# Names, options and text
# ---------------------------------------------------------------------------------------------

NASTY = (b"\x1b[2J", b"a\nb", b"\xc2\x9b31m", b"\x9b", b"\xe2\x80\xae", b"\xd8\x9c",
         b"\x7f", b"\r", b"t\t", b"\xff\xfe", b"back\\slash", b"\xed\xa0\x80",
         b"\xf4\x90\x80\x80", b"\xe2\x82")


def harmless(out, what, lines=True):
    """Nothing in it does something to a terminal."""
    for char in out.decode():
        code = ord(char)
        true(char == "\n" and lines or (code >= 32 and not 0x7f <= code <= 0x9f and
                                        code not in (0x61c, 0x200e, 0x200f) and
                                        not 0x2028 <= code <= 0x202e and
                                        not 0x2066 <= code <= 0x2069), (what, out))


def run_on(path, *argv, **kwargs):
    """Run it with a name of bytes: (stdout, stderr)."""
    done = subprocess.run([FSCK.encode()] + [arg if isinstance(arg, bytes) else str(arg).encode()
                                             for arg in argv] + [path], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False, **kwargs)
    return done.stdout, done.stderr


@test
def nasty_names(tmp):
    """names, also of backing files, do nothing to a terminal, in text, errors, -C and JSON"""
    for name in NASTY:
        path = os.path.join(tmp.encode(), name)
        sound = populated(tmp + "/sound.qed")
        with edit(sound) as img:
            img.hdr.features |= qedimg.F_BACKING
            img.hdr.backing_filename_offset, img.hdr.backing_filename_size = 64, len(name)
            img.write_header()
            img.disk.write(64, name)
            img.set_entry(img.table_of(0), 50, 4711)
        shutil.copyfile(sound, path)
        lines = {name: subprocess.run([FSCK, "-nf", sound], stdout=subprocess.PIPE,
                                      check=False).stdout.count(b"\n")}
        for options in (["-nf"], ["-nf", "--json"], ["-y", "--undo", path], ["-yf", "--json"],
                        ["--undo-apply", path], ["-n", "--undo-apply", b"\x1b"], ["--" + "\x1b"],
                        ["--undo-apply", sound + "\x1b", "--json"]):
            out, err = run_on(path, *options)
            harmless(out, (name, options))
            harmless(err, (name, options))
            equal(err.count(b"\n"), 0 if not err else 2 if b"Try" in err else 1, (name, err))
            if "--json" in options:
                result = json.loads(out)
                if not [byte for byte in name if byte >= 0x80]:
                    equal(result["filename"].encode(), path)
                    if options[0] == "-nf":
                        equal(result["backing-filename"].encode(), name)
            elif options == ["-nf"]:
                equal(out.count(b"\n"), lines[name], (name, out))
        reader, writer = os.pipe()
        run_on(path, "-nf", "-C", writer, pass_fds=(writer,))
        os.close(writer)
        with os.fdopen(reader, "rb") as file:
            for line in file.read().splitlines():
                harmless(line, name, lines=False)
                equal(len(line.split(b" ", 3)), 4, line)
        os.unlink(path)


@test
def as_fsck_calls_it(tmp):
    """-a and -r, as fsck(8) passes them; with fsck -t, fsck -A and a table of file systems"""
    sound = populated(tmp + "/sound.qed")
    with edit(sound) as img:
        img.hdr.features |= qedimg.F_NEED_CHECK
        img.write_header()
    path = copy(sound, tmp + "/a.qed")
    fsck("-a", path, status=REPAIRED)
    fsck("-a", path, status=CLEAN)
    fsck("-a", "-y", path, status=USAGE)
    fsck("-a", "-p", path, status=CLEAN)
    before = digest(copy(sound, path))
    fsck("-r", path, status=CLEAN)
    equal(digest(path), before, "nobody was asked")
    terminal = Terminal("-r", path)
    terminal.answer("y\n")
    equal(terminal.end(), REPAIRED)
    if not shutil.which("fsck", path="/sbin:/usr/sbin:/bin:/usr/bin"):
        print("# no fsck(8) here")
        return
    os.symlink(FSCK, tmp + "/fsck.qed")
    with open(tmp + "/fstab", "w", encoding="ascii") as file:
        file.write("%s /mnt qed defaults 0 2\n" % path)
    env = dict(os.environ, PATH=tmp + ":/sbin:/usr/sbin:/bin:/usr/bin", FSTAB_FILE=tmp + "/fstab")
    for argv in (["-t", "qed", "-a", path], ["-A", "-a"], ["-A", "-T", "-M", "-C1", "-a"],
                 ["-a", "-T", "-l", "-M", path]):
        copy(sound, path)
        for want in (REPAIRED, CLEAN):
            done = subprocess.run(["fsck"] + argv, env=env, stdout=subprocess.PIPE, check=False,
                                  stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
            equal(done.returncode, want, "%s: %s" % (argv, done.stdout))
    systemd = "/lib/systemd/systemd-fsck"
    if os.path.exists(systemd) and loop_devices(tmp):
        with loop_device(copy(sound, path)) as loop:
            with open(tmp + "/fstab", "w", encoding="ascii") as file:
                file.write("%s /mnt qed defaults 0 2\n" % loop)
            done = subprocess.run([systemd, loop], env=env, stdout=subprocess.PIPE, check=False,
                                  stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
            equal(done.returncode, 0, done.stdout)
            report("-p", loop, status=CLEAN)
    with edit(path) as img:
        img.set_entry(img.table_of(0), 50, 4711)
    equal(subprocess.run(["fsck", "-t", "qed", "-a", "-f", path], env=env, check=False,
                         stdout=subprocess.DEVNULL).returncode, LEFT)


@test
def options_of_undo_apply(tmp):
    """--undo-apply does not take what would have no meaning"""
    path, undo = damaged(tmp + "/a.qed", 3), tmp + "/undo"
    fsck("-yf", "--undo", undo, path, status=REPAIRED)
    before = digest(path)
    for option in (["-n"], ["-y"], ["-f"], ["--geometry", "search"], ["--compact"], ["--stats"],
                   ["--reconnect", "65536:0"], ["--orphans", "free"], ["--undo", tmp + "/b"]):
        fsck("--undo-apply", undo, *option, path, status=USAGE)
        equal(digest(path), before, option)


@test
def proposals_as_json(tmp):
    """--geometry search prints an object with --json"""
    path = populated(tmp + "/a.qed")
    size = edit_size(path)
    out = fsck("--geometry", "search", path, status=CLEAN)[1].splitlines()
    result = report("--geometry", "search", path, status=CLEAN)
    equal(len(result["proposals"]), len(out))
    first = result["proposals"][0]
    equal((first["cluster-size"], first["table-size"], first["l1-offset"], result["schema"]),
          (8192, 2 * 8192, 8192, 1))
    true(first["tables"] == 3 and first["image-size"] <= size, first)


@test
def advice_about_leaks(tmp):
    """what is said to be next about leaks is what is done"""
    path, trial = tmp + "/a.qed", tmp + "/trial.qed"
    qedimg.create(path, 64 * M, 4096, 1)
    with edit(path) as img:
        for first in (0, 600):
            img.populate(1, 100, 0, False, first, first + 250)
        entry = img.get_entry(img.hdr.l1_table_offset, 0)
        img.set_entry(img.hdr.l1_table_offset, 0, 0)
    for options in (["-nf"], ["-pf"], ["-yf"]):
        out = fsck(*options, copy(path, trial), status=LEFT)[1]
        true("next: a table was lost: -y --orphans reconnect" in out, out)
    fsck("-yf", "--orphans", "reconnect", trial, status=REPAIRED)
    with edit(trial) as img:
        equal(img.get_entry(img.hdr.l1_table_offset, 0), entry)
    fsck("-yf", "--orphans", "free", copy(path, trial), status=REPAIRED)
    # not a table, but most of the image
    with edit(path) as img:
        img.set_entry(img.hdr.l1_table_offset, 0, entry)
        for index in range(30, 250):
            img.set_entry(entry, index, 0)
        table = img.get_entry(img.hdr.l1_table_offset, 600 // 512)
        for index in range(88, 338):
            img.set_entry(table, index, 0)
    for options in (["-nf"], ["-pf"]):
        out = fsck(*options, copy(path, trial), status=LEFT)[1]
        true("next: much is lost if these are no leaks: -y frees them" in out, out)
    fsck("-yf", trial, status=REPAIRED)


def edit_size(path):
    """The size of an image's disk."""
    with edit(path) as img:
        return img.hdr.image_size


@test
def asks_before(tmp):
    """a question tells what would be done, and a finding what was done"""
    path, _ = three_faults(tmp)
    os.truncate(path, os.path.getsize(path) + 8192)
    terminal = Terminal("-f", path)
    for question in ("Set it to 0", "Set it to 0", "Set it to 0", "Cut the file there"):
        true(terminal.read_until("(y: yes, n: no, a: yes to all)? "), question)
        asked = terminal.seen.splitlines()
        true(asked[-1].startswith(question), asked)
        true("set to 0" not in asked[-2] and "file cut" not in asked[-2], asked)
        terminal.seen = ""
        os.write(terminal.fd, b"y\n")
    true(terminal.read_until("file cut"), "what was done")
    equal(terminal.end(), REPAIRED)


@test
def discard_on_file(tmp):
    """--discard of a file is said to do nothing"""
    path = populated(tmp + "/a.qed")
    true("--discard is for block devices" in fsck("-p", "--discard", path, status=CLEAN)[1], "text")
    true("--discard" in report("-p", "--discard", path, status=CLEAN)["note"], "JSON")
    true("note" not in report("-p", path, status=CLEAN), "JSON without")
    if loop_devices(tmp):
        with loop_device(path) as loop:
            true("note" not in report("-p", "--discard", loop, status=CLEAN), "a device")


@test
def discard_stopped(tmp):
    """a stop acts while free clusters are discarded, and saved before"""
    if not loop_devices(tmp):
        print("# no loop devices here")
        return
    path, undo, count = populated(tmp + "/a.qed"), tmp + "/undo", 0
    os.truncate(path, 130 * M)
    with loop_device(path) as loop:
        for number in itertools.count(10, 6):
            status = fsck("-y", "-j", 1, "--discard", "--undo", undo, loop,
                          env=preload(loop, signal=number))[0]
            if os.path.exists(undo):
                count += status == CANCELLED
                os.unlink(undo)
            if not status & CANCELLED:
                break
    true(count > 5, "stopped %d times" % count)


@test
def text_for_people(tmp):
    """geometry, features, backing file, sizes with units, and what to do next"""
    path = populated(tmp + "/a.qed", cluster=65536, table=4, size=10 << 30)
    out = fsck("-nf", path, status=CLEAN)[1]
    for text in ("disk of 10737418240 bytes (10 GiB); clusters of 65536 bytes (64 KiB), "
                 "tables of 262144 bytes (256 KiB)", "used up to byte %d (" %
                 os.path.getsize(path), ": clean\n"):
        true(text in out, (text, out))
    true("next:" not in out, out)
    true("clean, as it is marked; -f reads" in fsck("-n", path, status=CLEAN)[1], "not read")
    with edit(path) as img:
        img.hdr.features |= qedimg.F_NEED_CHECK | qedimg.F_BACKING
        img.hdr.features |= qedimg.F_NO_PROBE
        img.hdr.backing_filename_offset, img.hdr.backing_filename_size = 64, 8
        img.write_header()
        img.disk.write(64, b"base.img")
    out = fsck("-n", path, status=CLEAN)[1]
    for text in ("NEED_CHECK is set", "backing file, raw: base.img\n", "next: -p clears NEED_CHECK"):
        true(text in out, (text, out))
    os.truncate(path, os.path.getsize(path) + 65536)
    true("next: -pf frees" in fsck("-nf", path, status=LEFT)[1], "leaks")
    with edit(path) as img:
        img.set_entry(img.table_of(0), 50, 4711)
    true("next: -y repairs it, and with --undo" in fsck("-pf", path, status=LEFT)[1], "damage")
    with edit(path) as img:
        img.set_entry(img.table_of(0), 50, 0)
    env = preload(path, eio="65536-131072")
    true("next: first copy it" in fsck("-nf", path, env=env)[1], "unreadable")
    env = preload(path, signal=3)
    true("next: check it again" in fsck("-nf", "-j", 1, path, env=env)[1], "stopped")
