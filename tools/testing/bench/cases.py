# SPDX-License-Identifier: GPL-2.0-only
"""What the cases of rounds have in common; in the test machine."""

import functools
import sys
import guest
from guest import BLOCK_CLUSTERS, CLUSTER, MIB, Counts, Disk

FAST, SLOW = 100000, 1000000    # ns until a lower operation is complete
ROOM = 64                       # MiB of a lower device beyond the guest's disk
META = 64                       # MiB of dm-thin's metadata device
PEERS = (guest.Linear, guest.Qed, guest.Thin, guest.Loop, guest.NbdQed, guest.NbdQcow2)


def make_stacks(kinds, size, make_disk):
    """One of each kind, on disks that are made from a name and MiB."""
    stacks = []
    for kind in kinds:
        number = len(stacks)
        disks = [make_disk("lower%d" % number, size // MIB + ROOM)]
        if kind.needs_meta:
            disks.append(make_disk("meta%d" % number, META))
        stacks.append(kind(disks, size))
    return stacks


def measure(stacks, jobs, engine="libaio"):
    """Run each stack's jobs, only the last of them counts."""
    plan, counted = [], []
    for stack, todo in zip(stacks, jobs):
        plan += todo
        counted.append(len(plan) - 1)
        plan[-1] = dict(todo[-1], exec_prerun="cat " + " ".join(stack.stats()),
                        exec_postrun="cat " + " ".join(stack.stats()))
    said = guest.fio(*plan, ioengine=engine)
    results = []
    for stack, number in zip(stacks, counted):
        job = said[number]
        what = "read" if job["read"]["total_ios"] else "write"
        before, after = (Counts.read(["%s/job%d.%srun.txt" % (guest.SCRATCH, number, when)])
                         for when in ("pre", "post"))
        guest.flush(stack.path)
        results.append({
            "operations": job[what]["total_ios"],
            "flushes": job["sync"].get("total_ios", 0),
            "iops": job[what]["iops"],
            "latency": job[what]["lat_ns"]["mean"],
            "lower": after.since(before),
            "lower_and_commit": stack.counts().since(before),
        })
    return results


class Case:
    """Some load on some stacks."""

    kinds = PEERS
    rounds = None               # at most

    def __init__(self):
        self.stacks = []

    def round(self, number):
        """By the name of the stack, what was measured."""
        raise NotImplementedError

    def in_turn(self, number):
        """The stacks, every other round in the reverse order."""
        return self.stacks[::-1] if number % 2 else self.stacks

    def stop(self):
        """Remove all stacks."""
        while self.stacks:
            self.stacks.pop().stop()


class Allocating(Case):
    """4 KiB writes, every one to a new cluster of a fresh image."""

    def __init__(self, name, writes, depth, latency=FAST, kinds=PEERS, with_flush=False,
                 make_disk=None):
        super().__init__()
        self.name = name
        self.writes = writes
        self.depth = depth
        self.kinds = kinds
        self.with_flush = with_flush
        self.make_disk = make_disk or functools.partial(Disk, latency=latency)

    def jobs(self, stack, seed):
        """A write that sets NEED_CHECK and makes the table, and then those that count."""
        first, *rest = guest.shuffled(range(self.writes + 1), seed)
        jobs = []
        for what, clusters in (("warm", [first]), ("measured", rest)):
            log = "%s/%s-%s.iolog" % (guest.SCRATCH, stack.path.replace("/", "-"), what)
            guest.write_iolog(log, stack.path, clusters, self.with_flush)
            jobs.append({"read_iolog": log, "iodepth": self.depth})
        jobs[-1]["runtime"] = 5
        return jobs

    def start(self):
        """Make all stacks."""
        size = -(-(self.writes + 1) // BLOCK_CLUSTERS) * BLOCK_CLUSTERS * CLUSTER
        self.stacks = make_stacks(self.kinds, size, self.make_disk)

    def write(self, stacks, seed):
        """By the name of the stack, what was measured."""
        results = measure(stacks, [self.jobs(stack, seed) for stack in stacks])
        for stack, result in zip(stacks, results):
            result["mapped"] = stack.mapped()
            if result["mapped"] not in (None, result["operations"] + 1):
                sys.exit("%s: %d writes have mapped %d clusters" %
                         (stack.name, result["operations"] + 1, result["mapped"]))
        return dict(zip((stack.name for stack in stacks), results))

    def round(self, number):
        self.start()
        results = self.write(self.in_turn(number), number)
        self.stop()
        return {self.name: results}
