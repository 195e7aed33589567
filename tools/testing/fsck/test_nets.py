# SPDX-License-Identifier: GPL-2.0-only
"""Tests of qed-fsck: short forms of what looks for faults that nobody has thought of."""

import os
import shutil
import subprocess
import sys

from test_fsck import BUILT, FSCK, HERE, equal, test, true


def run(*command, **kwargs):
    """Run a net: it prints TAP, and has to end well; its last line."""
    done = subprocess.run([str(part) for part in command], stdin=subprocess.DEVNULL, check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **kwargs)
    out = done.stdout.decode(errors="replace")
    equal(done.returncode, 0, out[-6000:])
    return out


@test
def generated(_):
    """what a guest reads in 1000 aged and damaged images is there after repairs"""
    out = run(sys.executable, "-B", os.path.join(HERE, "generate", "check"), "-n", 1000,
              "--program", FSCK)
    true("# 1000 images, 0 failed" in out, out[-1000:])
    print(out.splitlines()[-1])


@test
def disturbed(_):
    """calls that fail, kills, signals and closed descriptors lose nothing, and are told"""
    out = run(sys.executable, "-B", os.path.join(HERE, "calls"), "-n", 6, "--program", FSCK)
    print(out.splitlines()[-1])


@test
def fuzzed_undo(tmp):
    """10 seconds of fuzzed undo files: applied whole, or not at all"""
    shutil.copytree(os.path.join(BUILT, "undo-corpus"), tmp + "/corpus")
    out = run(os.path.join(BUILT, "fuzz_undo"), "-max_len=200", "-max_total_time=10",
              "-close_fd_mask=3", "-artifact_prefix=" + tmp + "/", tmp + "/corpus",
              env=dict(os.environ, ASAN_OPTIONS="detect_leaks=0:malloc_context_size=2"))
    runs = [line for line in out.splitlines() if line.startswith("Done ")]
    true(runs and int(runs[0].split()[1]) > 100, "it did not run: " + out[-1000:])
    print("# %s" % runs[0])
