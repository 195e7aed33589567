#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Tests what of qed-monitor needs no devices.

Usage: tests.py FOLDER [NAME...]

FOLDER has what "check" has built. Prints TAP.
"""

import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCE = os.path.join(HERE, "..", "..", "qed", "monitor")
BUILT = sys.argv[1] if len(sys.argv) > 1 else "."
KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30

# As grower.h has them
NOBODY, FILE, VOLUME, COMMAND = range(4)

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


# ---------------------------------------------------------------
# The configuration
# ---------------------------------------------------------------

def judge(text, folder):
    """qed-monitor --test: its exit status, and what it says"""
    path = os.path.join(folder, "qed.conf")
    with open(path, "wb") as file:
        file.write(text)
    done = subprocess.run([os.path.join(BUILT, "qed-monitor"), "--test", "--config", path],
                          capture_output=True, check=False)
    equal(done.stdout, b"", "standard output")
    said = done.stderr.decode(errors="replace")
    return done.returncode, said.removeprefix("qed-monitor: %s: " % path).strip()


GOOD = (
    b"",
    b"\n\n# all is as by default\n",
    b"headroom=512M\nchunk = 512M\n",
    b"  interval =\t3600  \nmetrics = /var/lib/a#b c.prom\nhook=/x\n",
    b"headroom = 1.5GiB\nlimit = none\nreserve = 0\n[vm-*]\ngrow = no\n"
    b"[vm[0-9]]\nheadroom = 10G\npreallocate = yes\ncommand = /sbin/x\nlimit = 1T\n",
    b"[a]\n[b]\n[\xc3\xa4]\n",
    b"grow = yes",
    b"#" + b"x" * 8000 + b"\n",
    b"[" + b"n" * 127 + b"]\n",
    b"".join(b"[%d]\nheadroom = %dG\n" % (i, i + 1) for i in range(64)),
)

BAD = (
    (b"headspace = 1G\n", 1, 'there is no setting "headspace"'),
    (b"\nheadroom\n", 2, '"headroom" is neither a section nor a setting: it has no ='),
    (b"headroom =\n", 1, "headroom: it has no value"),
    (b"= 1G\n", 1, 'there is no setting ""'),
    (b"headroom = 1 G x\n", 1, 'headroom: "1 G x" is no size, such as 512M or 2G'),
    (b"headroom = -1\n", 1, 'headroom: "-1" is no size, such as 512M or 2G'),
    (b"headroom = 9E\n", 1, 'headroom: "9E" is no size, such as 512M or 2G'),
    (b"headroom = 0\n", 1, "headroom: it cannot be 0"),
    (b"chunk = 0\n", 1, "chunk: it cannot be 0"),
    (b"limit = 0\n", 1, "limit: it cannot be 0"),
    (b"chunk = 1G\n", 1, "chunk is 1 GiB, and headroom 2 GiB: it has to be as large at least"),
    (b"headroom = 3G\nchunk = 2G\ngrow = no\n", 2,
     "chunk is 2 GiB, and headroom 3 GiB: it has to be as large at least"),
    (b"chunk = 4G\n[a]\ngrow = yes\nheadroom = 5G\n[b]\n", 4,
     "chunk is 4 GiB, and headroom 5 GiB: it has to be as large at least"),
    (b"interval = 0\n", 1, 'interval: "0" is no number of seconds from 1 to 3600'),
    (b"interval = 3601\n", 1, 'interval: "3601" is no number of seconds from 1 to 3600'),
    (b"interval = 10s\n", 1, 'interval: "10s" is no number of seconds from 1 to 3600'),
    (b"interval = +1\n", 1, 'interval: "+1" is no number of seconds from 1 to 3600'),
    (b"interval = 99999999999999999999\n", 1,
     'interval: "99999999999999999999" is no number of seconds from 1 to 3600'),
    (b"grow = maybe\n", 1, 'grow: "maybe" is neither yes nor no'),
    (b"grow = Yes\n", 1, 'grow: "Yes" is neither yes nor no'),
    (b"hook = x\n", 1, 'hook: "x" is no absolute path'),
    (b"hook = /" + b"x" * 4095 + b"\n", 1, "hook: the path is longer than 4095 bytes"),
    (b"#\n\n[a]\ninterval = 5\n", 4,
     "interval: it is for all devices, and stands before all sections"),
    (b"grow = yes\n\ngrow = yes\n", 3, "grow: it is in line 1 already"),
    (b"[a]\n[b]\n[a]\n", 3, "[a]: there is such a section already"),
    (b"[a\n", 1, "a section is a name, or a pattern, between [ and ]"),
    (b"[\n", 1, "a section is a name, or a pattern, between [ and ]"),
    (b"[]\n", 1, "a section has no name"),
    (b"[" + b"n" * 128 + b"]\n", 1, "the name of a section is longer than 127 bytes"),
    (b"".join(b"[%d]\n" % i for i in range(65)), 65, "there are more than 64 sections"),
    (b"grow = yes\r\n", 1, "byte 11 is a control character"),
    (b"grow\0 = yes\n", 1, "byte 5 is a control character"),
    (b"# \x1b[2J\n", 1, "byte 3 is a control character"),
    (b"# \xe2\x80\xae\n", 1, "byte 3 is a control character"),
    (b"\n# \xff\n", 2, "byte 3 is no UTF-8"),
    (b"# " + b"x" * 8190 + b"\n", 1, "it is longer than 8191 bytes"),
)


@test
def config_good(folder):
    """a configuration as people write it is accepted"""
    for text in GOOD:
        equal(judge(text, folder), (0, ""), repr(text))


@test
def config_bad(folder):
    """what is wrong is told, with its line"""
    for text, line, says in BAD:
        equal(judge(text, folder), (1, "line %d: %s" % (line, says)), repr(text))


@test
def config_file(folder):
    """a file that is missing, too large, or none"""
    equal(judge(b"#" * 80 + b"\n", folder)[0], 0, "a small one")
    equal(judge((b"#" * 80 + b"\n") * 4000, folder), (1, "it is larger than 256 KiB"), "large")
    for path, says in ((os.path.join(folder, "none"), "No such file or directory"),
                       (folder, "Is a directory")):
        done = subprocess.run([os.path.join(BUILT, "qed-monitor"), "-t", "-c", path],
                              capture_output=True, check=False)
        equal((done.returncode, done.stderr.decode()),
              (1, "qed-monitor: %s: %s\n" % (path, says)), path)


@test
def config_shipped(folder):
    """the example is right, and has the values that hold without it"""
    with open(os.path.join(SOURCE, "qed.conf"), "rb") as file:
        text = file.read()
    equal(judge(text, folder), (0, ""), "as it is")
    settings = re.findall(rb"^#(\w+ = .*)$", text, re.M)
    true(len(settings) > 5, "the example has settings")
    for setting in settings:
        equal(judge(setting + b"\n", folder), (0, ""), repr(setting))


@test
def config_fuzzed(folder):
    """configurations at random"""
    corpus = os.path.join(folder, "corpus")
    os.mkdir(corpus)
    for number, text in enumerate(GOOD + tuple(bad[0] for bad in BAD)):
        with open(os.path.join(corpus, str(number)), "wb") as file:
            file.write(text[:4096])
    runs = os.environ.get("FUZZ_RUNS", "100000")
    # those of each run are the same, unless more are asked for
    seed = "0" if "FUZZ_RUNS" in os.environ else "1"
    done = subprocess.run([os.path.join(BUILT, "fuzz_config"), "-runs=" + runs, "-seed=" + seed,
                           "-max_len=4096", "-artifact_prefix=%s/" % BUILT, corpus],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    equal(done.returncode, 0, done.stdout.decode(errors="replace")[-3000:])
    true(re.search(rb"Done %s runs" % runs.encode(), done.stdout), "all of them were tried")


# ---------------------------------------------------------------
# Growth
# ---------------------------------------------------------------

class Result(dict):
    """What came of it, by name"""

    def __repr__(self):
        shown = {name: value for name, value in self.items() if name != "log"}
        return "%r, log: %s" % (dict(shown, events=shown["events"][:10]), self["log"][-500:])


def simulate(**values):
    """What comes of it"""
    words = ["%s=%s" % item for item in values.items()]
    done = subprocess.run([os.path.join(BUILT, "simulate"), *words], capture_output=True,
                          check=False, env=dict(os.environ, JOURNAL_STREAM="1:1"))
    equal(done.returncode, 0, "%r: %s" % (words, done.stderr.decode()[-3000:]))
    printed = dict(word.split("=") for word in done.stdout.decode().split())
    events = printed.pop("events").split(",")
    return Result({name: int(value) for name, value in printed.items()}, events=events,
                  log=done.stderr.decode())


@test
def fifth(_):
    """who writes a fifth of the headroom per second never waits for extends of four seconds"""
    for headroom in (64 * MIB, 2 * GIB, 100 * GIB):
        got = simulate(headroom=headroom, chunk=headroom, low_water=headroom,
                       total=3 * headroom // 2, virtual=10000 * headroom, rate=headroom // 5,
                       lag=900)
        equal((got["waited"], got["lost"]), (0, 0), "headroom %d: %r" % (headroom, got))
        true(got["growths"] >= 60, "growths: %r" % got)
        equal(got["events"], ["grown"], "what is told")


@test
def never_waits(_):
    """the same with any rate below that, chunk, cluster, and time that it takes"""
    chance = random.Random(22)
    for _ in range(60):
        headroom = chance.randrange(64, 4096) * MIB
        delay = chance.randrange(0, 20000)
        lag = chance.randrange(0, 1000)
        rate = headroom * 1000 // (delay + lag + 200) * chance.randrange(10, 100) // 100
        values = dict(headroom=headroom, chunk=chance.randrange(headroom, 4 * headroom),
                      low_water=headroom, total=headroom + chance.randrange(0, headroom),
                      cluster=1 << chance.randrange(12, 22), virtual=1 << 50, rate=rate,
                      delay=delay, lag=lag, time=200000)
        values["low_water"] += values["cluster"]
        got = simulate(**values)
        equal((got["waited"], got["lost"]), (0, 0), "%r: %r" % (values, got))
        true(got["growths"] or got["free"] >= headroom, "%r: %r" % (values, got))


@test
def faster(_):
    """who writes faster waits, goes on, and nothing fails"""
    for times in (2, 5, 20):
        got = simulate(rate=times * 2 * GIB // 5, virtual=1 << 50, lag=500)
        true(got["waited"] > 0, "it waits: %r" % got)
        equal(got["lost"], 0, "nothing fails: %r" % got)
        true(got["written"] > 400 * GIB, "it goes on: %r" % got)
        equal(got["events"][:2], ["out-of-space", "grown"], "what is told")


@test
def burst(_):
    """more than there is at once"""
    got = simulate(burst=50 * GIB, total=3 * GIB)
    equal((got["lost"], got["written"]), (0, 50 * GIB), "%r" % got)


@test
def no_low_water(_):
    """without low_water it is looked at, and is so slow that each second does"""
    got = simulate(low_water=0, rate=100 * MIB, interval=10)
    equal((got["waited"], got["lost"]), (0, 0), "%r" % got)
    true("low_water 0, less than the headroom" in got["log"], repr(got))
    true("low_water" not in simulate(rate=100 * MIB)["log"], "nothing is told if it is right")


@test
def idle(_):
    """who has space is left alone"""
    got = simulate(total=5 * GIB, rate=0)
    equal((got["growths"], got["messages"], got["events"]), (0, 0, ["-"]), "%r" % got)
    equal(got["passes"], 60, "it is looked at each interval")


@test
def no_more_than_needed(_):
    """an image gets no more than it can use"""
    got = simulate(virtual=10 * GIB, rate=100 * MIB, total=3 * GIB)
    equal((got["waited"], got["written"]), (0, 10 * GIB), "%r" % got)
    true(got["size"] < 10 * GIB + 16 * MIB, "its size: %r" % got)


@test
def limit(_):
    """nor more than its limit"""
    got = simulate(limit=8 * GIB, rate=200 * MIB)
    equal(got["size"], 8 * GIB, "its size")
    equal(got["events"], ["grown", "limit", "out-of-space"], "what is told")
    true(got["lost"] > 0, "then it is full: %r" % got)


@test
def full_group(_):
    """what is left of a volume group is used, by halves"""
    got = simulate(group=5 * GIB, rate=20 * MIB, time=900000)
    true(got["size"] > 8 * GIB - 8 * MIB, "its size: %r" % got)
    true(got["failed"] > 5, "%r" % got)
    equal(got["events"][:2], ["grown", "failed"], "what is told")
    true(got["log"].count("cannot get more space") < got["failed"], "not each one: %r" % got)


@test
def failures(_):
    """what fails is tried again, before the guest notices"""
    got = simulate(fails=2, delay=500, rate=100 * MIB)
    equal((got["waited"], got["lost"], got["failed"]), (0, 0, 2), "%r" % got)
    equal(got["events"], ["failed", "grown"], "what is told")


@test
def liar(_):
    """who only says that it is larger has failed"""
    got = simulate(told=0, rate=10 * MIB)
    equal(got["size"], 3 * GIB, "its size")
    true(got["failed"] > 10, "%r" % got)
    true("it is as small as before" in got["log"], repr(got))


@test
def nobody(_):
    """what cannot be made larger is told once"""
    got = simulate(grower=NOBODY, rate=50 * MIB, time=120000)
    equal(got["growths"], 0, "growths")
    equal(got["log"].count("on nothing that can be made larger"), 1, repr(got))


@test
def file(_):
    """a file becomes larger at once"""
    got = simulate(grower=FILE, rate=GIB, virtual=1 << 50)
    equal((got["waited"], got["lost"]), (0, 0), "%r" % got)
    true(got["written"] > 590 * GIB, "%r" % got)


@test
def reserve(_):
    """a file stays as it is when the file system has less than the reserve"""
    got = simulate(grower=FILE, rate=50 * MIB, available=GIB - 1, reserve=GIB, time=60000)
    equal((got["growths"], got["size"]), (0, 3 * GIB), "%r" % got)
    equal(got["events"][0], "file-system-low", "what is told")
    true(got["refused"] > 3, "it is tried again: %r" % got)


@test
def file_system_full(_):
    """writes that wait for a file system go on when it has space again"""
    got = simulate(grower=FILE, rate=10 * MIB, total=6 * GIB, fills=5000, empties=50000,
                   reserve=1, time=120000)
    true(40000 < got["waited"] < 60000, "it waits: %r" % got)
    equal(got["lost"], 0, "nothing fails: %r" % got)
    equal(sorted(got["events"][:2]), ["file-system-low", "out-of-space"], "what is told first")
    equal(got["events"][2:], ["failed", "file-system", "grown", "space"], "what is told")
    true(got["size"] < 6 * GIB + MIB, "it does not become larger for that: %r" % got)


@test
def scan(_):
    """while the tables are scanned nothing is known, and nothing is done"""
    got = simulate(scans=30000, rate=100 * MIB, time=25000, total=GIB)
    equal((got["growths"], got["messages"]), (0, 0), "%r" % got)
    got = simulate(scans=30000, rate=10 * MIB, total=3 * GIB)
    equal((got["lost"], got["waited"]), (0, 0), "%r" % got)


@test
def read_only(_):
    """a device that fails is told, and is not given anything"""
    got = simulate(readonly=5000, rate=100 * MIB)
    equal((got["growths"], got["events"]), (0, ["stopped"]), "%r" % got)


# ---------------------------------------------------------------
# The file for Prometheus
# ---------------------------------------------------------------

SAMPLE = re.compile(r'([a-z_]+)(?:\{((?:[a-z]+="(?:[^"\\\n]|\\["\\n])*",?)+)\})? (-?[0-9]+)')


@test
def metrics(folder):
    """each line is as Prometheus has it, and the values are those of the device"""
    path = os.path.join(folder, "qed.prom")
    got = simulate(metrics=path, burst=4 * GIB)
    equal(os.listdir(folder), ["qed.prom"], "nothing else is left")
    declared, values = set(), {}
    with open(path, encoding="ascii") as file:
        for line in file:
            if line.startswith("# "):
                true(re.match(r"# (HELP|TYPE) [a-z_]+ .+\n", line), line)
                declared.add(line.split()[2])
                continue
            sample = SAMPLE.fullmatch(line.rstrip("\n"))
            true(sample and sample.group(1) in declared, line)
            values[sample.group(1), sample.group(2)] = int(sample.group(3))
    label = r'device="vm \"1\""'
    equal(values["qed_size_bytes", label], got["size"], "size")
    equal(values["qed_free_bytes", label], got["free"], "free")
    equal(values["qed_grown_total", label], got["growths"], "growths")
    equal(values["qed_mode", label + ',mode="rw"'], 1, "mode")
    equal(values["qed_mode", label + ',mode="ro"'], 0, "no mode")
    equal(len([name for name, _ in values if name == "qed_mode"]), 4, "modes")


# ---------------------------------------------------------------
# The program
# ---------------------------------------------------------------

@test
def arguments(_):
    """its options, and others"""
    program = os.path.join(BUILT, "qed-monitor")
    done = subprocess.run([program, "--help"], capture_output=True, check=False)
    equal((done.returncode, done.stderr), (0, b""), "--help")
    true(done.stdout.startswith(b"Usage: qed-monitor"), "what it prints")
    for words in (["--nothing"], ["x"], ["-c"]):
        done = subprocess.run([program, *words], capture_output=True, check=False)
        equal((done.returncode, done.stdout), (1, b""), repr(words))
        true(b"qed-monitor --help" in done.stderr, repr(done.stderr))


@test
def documented(_):
    """the manual pages have all settings and options, and groff has no complaint"""
    with open(os.path.join(SOURCE, "config.c"), encoding="utf-8") as file:
        keys = re.findall(r'^\t\{ "(\w+)", KIND_', file.read(), re.M)
    true(len(keys) > 8, "settings")
    with open(os.path.join(SOURCE, "qed.conf.5"), encoding="utf-8") as file:
        page = file.read()
    for key in keys:
        true(re.search(r"^\.B[RI] %s\b" % key, page, re.M), "%s is in qed.conf(5)" % key)
    with open(os.path.join(SOURCE, "metrics.c"), encoding="utf-8") as file:
        names = set(re.findall(r'"(qed_\w+)", "', file.read()))
    with open(os.path.join(SOURCE, "qed-monitor.8"), encoding="utf-8") as file:
        page = file.read()
    for name in names:
        true(name in page, "%s is in qed-monitor(8)" % name)
    with open(os.path.join(SOURCE, "engine.c"), encoding="utf-8") as file:
        events = set(re.findall(r'tell\(device, LOG_\w+, "([a-z-]+)"', file.read()))
    true(len(events) > 7, "events")
    for event in events:
        true(re.search(r"^\.BR? %s\b" % event.replace("-", r"\\-"), page, re.M),
             "%s is in qed-monitor(8)" % event)
    for name in ("qed.conf.5", "qed-monitor.8"):
        done = subprocess.run(["groff", "-man", "-Tutf8", "-ww", "-z",
                               os.path.join(SOURCE, name)], capture_output=True, check=False)
        equal((done.returncode, done.stderr), (0, b""), name)


def main():
    """Run them"""
    chosen = sys.argv[2:]
    tests = [func for func in TESTS if not chosen or func.__name__ in chosen]
    missing = set(chosen) - {func.__name__ for func in tests}
    failed = bool(missing)
    print("TAP version 13\n1..%d" % (len(tests) + len(missing)))
    for number, name in enumerate(sorted(missing), len(tests) + 1):
        print("not ok %d there is no test %s" % (number, name))
    for number, func in enumerate(tests, 1):
        folder = tempfile.mkdtemp(prefix="qed-monitor.")
        try:
            func(folder)
            print("ok %d %s: %s" % (number, func.__name__, func.__doc__), flush=True)
        except Exception:  # any of them is a failure of the test
            failed = True
            print("not ok %d %s: %s" % (number, func.__name__, func.__doc__))
            print("".join("#   %s\n" % line for line in
                          traceback.format_exc().splitlines()), end="", flush=True)
        finally:
            shutil.rmtree(folder)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
