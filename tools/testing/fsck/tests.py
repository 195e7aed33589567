#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Runs the tests of qed-fsck: those of all files test_*.py beside this one.

Usage: tests.py FOLDER [NAME...]

FOLDER has what "check" has built. Prints TAP.
"""

import glob
import importlib
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "qedimg")]


def main():
    """Run the tests, or those with these names."""
    for path in sorted(glob.glob(os.path.join(HERE, "test_*.py"))):
        importlib.import_module(os.path.basename(path)[:-3])
    return sys.modules["test_fsck"].main()


if __name__ == "__main__":
    sys.exit(main())
