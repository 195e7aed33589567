# SPDX-License-Identifier: GPL-2.0
"""Damaged images for the selftest "fsck", and what the kernel has to make of them.

What the kernel does follows from qedimg, which knows when dm-qed has to refuse
an image; that qed-fsck has to agree is asserted here for its reference checker,
and in the virtual machine for the program and the kernel.
"""

import os
import random

import images
import recipes
from reference import HEADER_CODES, Reference, Unusable, qedimg

# of each group so many recipes
CHOICE = {"sound": 4, "l1-entry": 4, "l1-special": 4, "l2-entry": 4, "l2-special": 4,
          "header": 4, "space": 4, "pair": 4, "qemu": 4, "extreme": 12, "random": 4}
LARGEST = 2 << 30                      # a scan of a device takes a bit per cluster
RANGES = 4                             # of the guest's disk, to be compared


class Disagreement(Exception):
    """The reference checker and qedimg do not judge an image in the same way."""


def chosen(times):
    """Names of recipes: some of each group, so many times, always the same."""
    out = []
    for group, count in CHOICE.items():
        names = [name for name, item in recipes.RECIPES.items() if item[0] == group]
        names = [name for name in names if not name.split("/")[1].startswith("64m")]
        out += sorted(random.Random(group).sample(names, min(count * times, len(names))))
    return out


def verdict(path, length):
    """What dm-qed has to do with an image on a device of this length."""
    with qedimg.Disk(path) as disk:
        img = qedimg.Image(disk, length)
        if img.hdr.geometry_defects() or img.hdr.defects(length):
            return "header"
        if img.hdr.features & qedimg.F_BACKING:
            return "backing"
        defects, _ = qedimg.check(img)
        return "table" if defects else "fine"


def ranges(guest, clusters):
    """Some clusters of data, as OFFSET:LENGTH."""
    size = guest.cluster_size
    picked = [cluster for cluster in clusters if isinstance(guest.clusters.get(cluster), dict)]
    picked = picked[:RANGES // 2] + picked[-RANGES // 2:] if len(picked) > RANGES else picked
    return ",".join("%d:%d" % (cluster * size, min(size, guest.image_size - cluster * size))
                    for cluster in picked) or "-"


def line_of(name, path, raw):
    """A line of the index for an image, and the guest's disk in a raw file."""
    length = os.stat(path).st_size & ~511
    what = verdict(path, length)
    try:
        device, file = Reference(path, True), Reference(path)
    except Unusable:
        return [name, "header", "-", 8, 8, "header", "-", "-"]
    codes = {}
    for finding in device.findings:
        codes[finding["code"]] = codes.get(finding["code"], 0) + 1
    damaged = any(finding["severity"] == "damage" for finding in device.findings)
    if damaged != (what in ("header", "table")) and what != "backing":
        raise Disagreement("%s: %s, but %s" % (name, what, sorted(codes)))

    guest = images.Guest.of_reference(file, path)
    guest.write_raw(raw)
    # what is to be seen before the repair, if the header is right
    before = "-"
    if what in ("table", "fine") and not device.has(*HEADER_CODES):
        before = ranges(guest, sorted(cluster for cluster in device.guest
                                      if cluster not in device.tables_as_data))
    status = file.status("y")
    if what == "fine" and {finding["code"] for finding in file.findings} - {
            "record-void"} == {"need-check"}:
        status = 0                     # the kernel has checked it, and it has no leaks either
    after, later = "-", what
    if status != 4:
        later = "backing" if backing_stays(path, file) else "fine"
        after = ranges(guest, sorted(cluster for cluster in file.guest
                                     if cluster not in file.tables_as_data))
    return [name, what, ",".join("%s:%d" % item for item in sorted(codes.items())) or "-",
            device.status("n"), status, later, before, after]


def backing_stays(path, ref):
    """Will the image have a backing file when it is repaired?"""
    with qedimg.Disk(path) as disk:
        features = qedimg.Header(disk.read(0, qedimg.HEADER.size)).features
    return bool(features & qedimg.F_BACKING) and not ref.has("backing-name-illegal")


def prepare(directory, times):
    """Make the images and the index; how many."""
    os.makedirs(directory, exist_ok=True)
    count = 0
    with open(os.path.join(directory, "index.tsv"), "w", encoding="ascii") as index:
        for name in chosen(times):
            path = os.path.join(directory, name.replace("/", ".") + ".qed")
            recipes.prepare(name, path)
            if os.stat(path).st_size > LARGEST or os.stat(path).st_size < 512:
                os.unlink(path)
                continue
            fields = line_of(name, path, path[:-4] + ".raw")
            index.write("\t".join(map(str, [os.path.basename(path)[:-4]] + fields[1:])) + "\n")
            count += 1
    return count
