# SPDX-License-Identifier: GPL-2.0-only
"""What bench and gate have in common: measuring in the test machine, and bounds."""

import array
import json
import os
import statistics
import subprocess
import sys

HERE = os.path.dirname(os.path.realpath(__file__))
TREE = os.path.realpath(os.path.join(HERE, "..", "..", ".."))
BUILD = os.path.join(HERE, "..", "build.sh")
VM_RUN = os.path.join(HERE, "..", "vm", "vm-run")
GET_KERNEL = os.path.join(HERE, "..", "vm", "get-kernel")
OUT = os.path.join(TREE, "build", "bench")
QEDIMG = os.path.join(HERE, "..", "qedimg", "qedimg.py")

# What is measured must not wait for the host, while the guest's clock runs ahead to
# the next timer
PROGRAMS = ("fio", "qemu-img", "qemu-nbd")

# Full devices, see the README: kind and size, for discards; to be activated, and two of these
FULL = [("dm-qed", 1 << 40), ("dm-thin", 1 << 34)]
ACTIVATED = [("dm-qed", 1 << 30), ("dm-thin", 1 << 30), ("dm-qed", 1 << 34), ("dm-thin", 1 << 34),
             ("dm-qed", 1 << 38), ("dm-thin", 1 << 38), ("dm-qed", 1 << 40), ("dm-qed", 1 << 42)]
EDGES = [("dm-qed", 1 << 30), ("dm-qed", 1 << 42)]
HOLES = 2                       # clusters at the end of those that are to be activated
CLUSTER = 64 << 10
TABLE = 4                       # clusters


class Error(Exception):
    """Nothing could be measured."""


def say(text):
    """Progress."""
    print(text, file=sys.stderr, flush=True)


def release(kernel):
    """The release of the kernel of a series that the tests use."""
    headers = subprocess.run([GET_KERNEL, "-b", kernel], stdout=subprocess.PIPE, text=True,
                             check=False)
    if headers.returncode:
        raise Error("no kernel " + kernel)
    return os.path.basename(headers.stdout.strip()).replace("linux-headers-", "", 1)


def build(kernel, where):
    """A copy of the module for a kernel that nobody builds anew meanwhile: its path."""
    say("building for " + kernel)
    os.makedirs(where, exist_ok=True)
    module = os.path.join(where, "dm-qed-mod.ko")
    done = subprocess.run([BUILD, kernel, module], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, check=False)
    if done.returncode:
        raise Error("the build failed:\n" + done.stdout)
    return module


def command(*words):
    """Run a program that has to succeed."""
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          check=False)
    if done.returncode:
        raise Error("%s: status %d\n%s" % (" ".join(words), done.returncode, done.stdout))


def full_qed(path, size, holes):
    """An image with all clusters mapped but for some last ones, without their data.

    The tables come first, then the clusters in the order of the guest. Returns its size with
    the data.
    """
    entries = TABLE * CLUSTER // 8
    clusters = size // CLUSTER - holes
    tables = -(-clusters // entries)
    data = 1 + TABLE + tables * TABLE

    def offsets(first, step, number):
        table = array.array("Q", range(first * CLUSTER, (first + number * step) * CLUSTER,
                                       step * CLUSTER))
        table.extend([0] * (entries - number))
        if sys.byteorder == "big":
            table.byteswap()
        return table

    command(sys.executable, QEDIMG, "create", path, "--size", str(size))
    with open(path, "r+b") as image:
        image.seek(CLUSTER)
        offsets(1 + TABLE, TABLE, tables).tofile(image)
        for first in range(0, clusters, entries):
            offsets(data + first, 1, min(entries, clusters - first)).tofile(image)
    return (data + clusters) * CLUSTER


def full_thin(path, size, _):
    """Metadata of a pool with one thin volume with all blocks mapped: the size of its data."""
    blocks = size // CLUSTER
    with open(path + ".xml", "w", encoding="ascii") as xml:
        xml.write("""<superblock uuid="" time="0" transaction="0" data_block_size="%d"
 nr_data_blocks="%d">
<device dev_id="0" mapped_blocks="%d" transaction="0" creation_time="0" snap_time="0">
<range_mapping origin_begin="0" data_begin="0" length="%d" time="0"/>
</device>
</superblock>
""" % (CLUSTER // 512, blocks, blocks, blocks))
    with open(path, "wb") as meta:
        # thin_restore leaves blocks of the tree half full; the discard needs some, too
        meta.truncate(blocks * 40 + (64 << 20))
    command("thin_restore", "-i", path + ".xml", "-o", path)
    os.unlink(path + ".xml")
    return size


MAKE_FULL = {"dm-qed": full_qed, "dm-thin": full_thin}


def make_full(where, kinds, holes):
    """The metadata of full devices for the test machine."""
    made = []
    for kind, size in kinds:
        say("making a full device for %s, %d GiB" % (kind, size >> 30))
        file = "full-%s-%d" % (kind, size >> 30)
        path = os.path.join(where, file)
        made.append({"kind": kind, "size": size, "file": file, "holes": holes,
                     "lower": MAKE_FULL[kind](path, size, holes)})
    with open(os.path.join(where, "full.json"), "w", encoding="ascii") as file:
        json.dump(made, file)


def remove_full(where, kinds):
    """These take some space."""
    for kind, size in kinds:
        path = os.path.join(where, "full-%s-%d" % (kind, size >> 30))
        if os.path.exists(path):
            os.unlink(path)


def with_full(where, kinds, holes, measure):
    """What a function returns while full devices are there."""
    try:
        remove_full(where, kinds)
        make_full(where, kinds, holes)
        return measure()
    finally:
        remove_full(where, kinds)


def boot(kernel, logs, memory, limit, program, *arguments):
    """Run a program of this folder in the test machine and return what it saved.

    With counted instructions: then the guest's clock does not run while the
    host has other things to do, and stands still for nobody but the guest.
    """
    result = os.path.join(logs, program + ".json")
    if os.path.exists(result):
        os.unlink(result)
    options = ["-k", kernel, "-o", logs, "-m", str(memory), "-t", str(limit), "--icount"]
    for name in PROGRAMS:
        options += ["--program", name]
    done = subprocess.run([VM_RUN, *options, "--", os.path.join(HERE, program), *arguments],
                          stdout=sys.stderr, check=False)
    if done.returncode:
        raise Error("%s: status %d, logs in %s" % (program, done.returncode, logs))
    with open(result, encoding="utf-8") as file:
        return json.load(file)


def instructions(kernel, module, logs, *options):
    """Part (a), one boot."""
    return boot(kernel, logs, 2048, 6000, "instructions", module, *options)


def activation(kernel, module, logs, kinds):
    """How long these take until they serve, one boot."""
    return with_full(logs, kinds, HOLES,
                     lambda: boot(kernel, logs, 2560, 12000, "activation", module))


class Row:
    """A measured value of dm-qed beside its bound and what its peers have.

    bound is (operator, number) or None. values has one by stack: numbers, or
    lists of them of which the median counts.
    """

    OPERATORS = {"=": lambda a, b: a == b, "<=": lambda a, b: a <= b, ">=": lambda a, b: a >= b}

    def __init__(self, group, name, digits, bound, values, void=None):
        self.group = group
        self.name = name
        self.digits = digits
        self.bound = bound
        self.all = {stack: value if isinstance(value, list) else [value]
                    for stack, value in values.items()}
        self.void = void        # why the measurement is none

    def value(self, stack="dm-qed"):
        """The median, to the digits that are shown."""
        return round(statistics.median(self.all[stack]), self.digits)

    def show(self, stack="dm-qed"):
        """As text, with all that was measured if that is not the same."""
        if stack not in self.all:
            return ""
        return "{:,.{}f}".format(self.value(stack), self.digits)

    def spread(self, stack="dm-qed"):
        """From the lowest to the highest, as text."""
        low, high = ("{:,.{}f}".format(edge(self.all[stack]), self.digits) for edge in (min, max))
        return "%s-%s" % (low, high) if low != high else ""

    def show_bound(self):
        """As text."""
        if not self.bound:
            return ""
        number = self.bound[1]
        return "%s %s" % (self.bound[0], "{:,}".format(number))

    def missed(self):
        """Is the value of dm-qed out of bounds?"""
        if self.void:
            return True
        return bool(self.bound) and not self.OPERATORS[self.bound[0]](self.value(), self.bound[1])

    def verdict(self):
        """As text."""
        if not self.bound and not self.void:
            return ""
        return "MISS" if self.missed() else "pass"

    def record(self):
        """For JSON."""
        return {"group": self.group, "name": self.name, "bound": self.bound,
                "verdict": self.verdict() or None, "void": self.void,
                "median": {stack: self.value(stack) for stack in self.all}, "all": self.all}


# Instructions, see the README
ABOVE_LINEAR = 250
ABSOLUTE = "6.1"                # what the bounds that compare with nothing are for
ALLOCATE = 13600
CHAIN = {"5": 6300}             # by the number of images
DEEPER = 160                    # for each image more
PAUSE = 2000                    # us, above dm-linear's
ACTIVATION = 1.5                # the largest image against the smallest


def chain_rows(group, kernel, boots):
    """The rows of reads through images over each other, beside as many dm-linear."""
    chains = {stack: [boot[stack]["chain"] for boot in boots] for stack in ("dm-qed", "dm-linear")}
    depths = list(chains["dm-qed"][0])
    for depth in depths:
        yield Row(group, "read through %s images" % depth, 0,
                  ("<=", CHAIN[depth]) if kernel == ABSOLUTE and depth in CHAIN else None,
                  {stack: [chain[depth] for chain in values]
                   for stack, values in chains.items() if depth in values[0]})
    low, high = (edge(depths, key=int) for edge in (min, max))
    yield Row(group, "... for each image more", 0, ("<=", DEEPER),
              {stack: [(chain[high] - chain[low]) / (int(high) - int(low)) for chain in values]
               for stack, values in chains.items() if high in values[0]})


def instruction_rows(kernel, boots):
    """The rows of part (a) from the results of some boots."""
    group = "guest instructions of a 4 KiB operation, brd below"
    rows = []
    for what in ("read", "write"):
        rows.append(Row(group, "mapped random " + what, 0, None,
                        {stack: [boot[stack][what] for boot in boots] for stack in boots[0]}))
        rows.append(Row(group, "mapped random %s, above dm-linear" % what, 0,
                        ("<=", ABOVE_LINEAR),
                        {stack: [boot[stack][what] - boot["dm-linear"][what] for boot in boots]
                         for stack in boots[0] if stack not in ("raw", "dm-linear")}))
    void = None
    for boot in boots:
        qed = boot["dm-qed"]
        if qed["mapped"] != qed["writes"]:
            void = "%d writes have mapped %d clusters" % (qed["writes"], qed["mapped"])
    rows.append(Row(group, "allocating write, zeroed image", 0,
                    ("<=", ALLOCATE) if kernel == ABSOLUTE else None,
                    {stack: [boot[stack]["allocate"] for boot in boots]
                     for stack in boots[0] if stack != "raw"}, void))
    rows += chain_rows(group, kernel, boots)
    rows.append(Row(group, "suspend and resume when idle, us, above dm-linear", 0,
                    ("<=", PAUSE),
                    {stack: [boot[stack]["pause"] - boot["dm-linear"]["pause"] for boot in boots]
                     for stack in boots[0] if stack not in ("raw", "dm-linear")}))
    return rows


def activation_rows(results):
    """The rows of the time until the first operation has ended; and of how it grows."""
    group = "thousands of instructions until the first operation on a full device"
    low, high = (edge(results, key=int) for edge in (min, max))
    for what in results[low]["dm-qed"]:
        for gib, stacks in results.items():
            yield Row(group, "%s, %s GiB" % (what, gib), 0, None,
                      {stack: values[what] / 1000 for stack, values in stacks.items()
                       if what in values})
        yield Row(group, "%s, %s GiB against %s GiB" % (what, high, low), 2,
                  None if "scanned" in what else ("<=", ACTIVATION),
                  {"dm-qed": results[high]["dm-qed"][what] / results[low]["dm-qed"][what]})
