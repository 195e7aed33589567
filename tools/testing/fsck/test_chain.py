# SPDX-License-Identifier: GPL-2.0-only
"""Tests of qed-fsck --chain: images and what is below them, see tests.py."""

import os
import subprocess

import qedimg
from test_fsck import (CLEAN, FSCK, LEFT, M, OPERATION, REPAIRED, USAGE, copy, digest, edit, equal, fsck,
                       populated, qemu_holds, report, test, three_faults, true)

MOST = 65


def overlay(path, name, kind="qed", size=2 * M):
    """An image over a backing file of this name, which need not be there."""
    subprocess.run(["qemu-img", "create", "-q", "-u", "-f", "qed", "-b", name, "-F", kind, path,
                    str(size)], check=True)
    return path


def raw(path, size=2 * M):
    """A raw image."""
    with open(path, "wb") as file:
        file.truncate(size)
    return path


def names(result):
    """Names and formats of the images of a chain."""
    return [(image["filename"], image["format"]) for image in result["chain"]]


@test
def chain(tmp):
    """--chain looks at all images, named as QEMU does; relative to who has the name"""
    os.makedirs(tmp + "/a/b")
    raw(tmp + "/a/base of\nall")
    overlay(tmp + "/a/b/low", "../base of\nall", "raw")
    overlay(tmp + "/a/middle", "b/low")
    overlay(tmp + "/a/high", "file:" + tmp + "/a/middle")
    os.symlink("a", tmp + "/link")
    overlay(tmp + "/top", "link/high")
    result = report("-nf", "--chain", tmp + "/top", status=CLEAN)
    equal(names(result), [(tmp + "/top", "qed"), (tmp + "/link/high", "qed"),
                          (tmp + "/a/middle", "qed"), (tmp + "/a/b/low", "qed"),
                          (tmp + "/a/b/../base of\nall", "raw")], "names")
    equal([image["exit-status"] for image in result["chain"]], [CLEAN] * 5, "each")
    true(all(image["scanned"] for image in result["chain"][:4]), "not scanned")
    equal(result["chain"][4]["file-size"], 2 * M, "the base")
    # "file:" in front of a relative one: it is one of the working folder
    overlay(tmp + "/other", "file:a/middle")
    equal(names(report("-nf", "--chain", tmp + "/other", status=CLEAN, cwd=tmp))[1],
          ("a/middle", "qed"), "with file:")
    fsck("-nf", "--chain", "../other", status=OPERATION, cwd=tmp + "/a")
    for folder, status in ((tmp, 0), (tmp + "/a", 1)):
        equal(subprocess.run(["qemu-img", "info", "--backing-chain", tmp + "/other"], cwd=folder,
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                             check=False).returncode, status, "QEMU")
    # as QEMU sees it
    out = subprocess.run(["qemu-img", "info", "--backing-chain", tmp + "/top"],
                         stdout=subprocess.PIPE, text=True, check=True).stdout
    equal([line[7:] for line in out.splitlines() if line.startswith("image: ")][:4],
          [name for name, _ in names(result)][:4], "QEMU's")
    out = fsck("-n", "--chain", tmp + "/top", status=CLEAN)[1]
    true("base of\\nall: raw, 2097152 bytes (2 MiB)\n" in out, out)
    alone = report("-nf", tmp + "/top", status=CLEAN)
    equal(alone["filename"], tmp + "/top", "without --chain")
    # no name, no backing file
    overlay(tmp + "/alone", "x")
    with edit(tmp + "/alone") as img:
        img.hdr.backing_filename_size = 0
        img.write_header()
    equal(len(report("-n", "--chain", tmp + "/alone", status=CLEAN)["chain"]), 1, "without a name")


@test
def chain_sizes(tmp):
    """what is shorter or longer below is told; a raw base has whole sectors"""
    raw(tmp + "/base", 3 * M)
    overlay(tmp + "/middle", "base", "raw", M)
    overlay(tmp + "/top", "middle")
    images = report("-n", "--chain", tmp + "/top", status=CLEAN)["chain"]
    true("note" not in images[0], images[0])
    true(images[1]["note"].startswith("shorter than the image above by 1048576 bytes"), images[1])
    true(images[2]["note"].startswith("longer than the image above by 2097152 bytes"), images[2])
    os.truncate(tmp + "/base", 3 * M - 1)
    out = fsck("-n", "--chain", tmp + "/top", status=LEFT)[1]
    true("base: its size is not a multiple of 512" in out, out)
    equal(report("-n", "--chain", tmp + "/top", status=LEFT)["chain"][2]["exit-status"], LEFT,
          "its status")


def ends_with(path, text, count):
    """Whether a chain ends with this error, in JSON that is right."""
    result = report("-n", "--chain", path, status=OPERATION)
    equal(len(result["chain"]), count, "images")
    true(text in result["chain"][-1]["error"], result["chain"][-1])
    return result["chain"][-1]["filename"]


@test
def chain_broken(tmp):
    """names that lead nowhere, in circles, too far, or to what is no file"""
    overlay(tmp + "/top", "middle")
    equal(ends_with(tmp + "/top", "No such file", 2), tmp + "/middle", "name")
    overlay(tmp + "/middle", "./top")
    ends_with(tmp + "/top", "is below itself", 3)
    os.symlink("top", tmp + "/link")
    overlay(tmp + "/middle", "link", "raw")
    ends_with(tmp + "/top", "is below itself", 3)
    for mode in ("-p", "-y"):          # who has locks of the first one
        result = report(mode, "--chain", tmp + "/top", status=OPERATION)
        equal(result["chain"][-1]["error"], "is below itself", mode)
    for name in ("nbd:localhost:1", "json:{\"driver\":\"null-co\"}", "rbd:pool/image"):
        overlay(tmp + "/middle", "x")
        with edit(tmp + "/middle") as img:
            img.disk.write(img.hdr.backing_filename_offset, name.encode())
            img.hdr.backing_filename_size = len(name)
            img.write_header()
        equal(ends_with(tmp + "/top", "neither a file nor a device: " + name, 3), tmp + "/middle",
              "who has the name")
    with edit(tmp + "/middle") as img:
        img.disk.write(img.hdr.backing_filename_offset, b"b\0se")
        img.hdr.backing_filename_size = 4
        img.write_header()
    ends_with(tmp + "/top", "the name of its backing file", 3)
    os.mkdir(tmp + "/folder")
    overlay(tmp + "/middle", "folder")
    ends_with(tmp + "/top", "Is a directory", 3)


@test
def chain_deep(tmp):
    """as many images as the kernel takes, and not one more"""
    raw(tmp + "/0")
    for number in range(1, MOST + 1):
        overlay("%s/%d" % (tmp, number), str(number - 1), "raw" if number == 1 else "qed")
    equal(len(report("-n", "--chain", "%s/%d" % (tmp, MOST - 1), status=CLEAN)["chain"]), MOST,
          "images")
    ends_with("%s/%d" % (tmp, MOST), "is below 65 images", MOST + 1)


@test
def chain_not_probed(tmp):
    """a raw base is none for what it contains, and no image is one for what it lacks"""
    base = populated(tmp + "/base")
    with edit(base) as img:
        img.set_entry(img.table_of(0), 1, 4711)
    overlay(tmp + "/top", "base", "raw")
    result = report("-nf", "--chain", tmp + "/top", status=CLEAN)
    equal(names(result)[1:], [(base, "raw")], "a guest that writes a header")
    raw(tmp + "/other")
    overlay(tmp + "/top", "other")
    ends_with(tmp + "/top", "rebase -u -F raw", 2)


@test
def chain_damaged(tmp):
    """only the first image is repaired; damage and NEED_CHECK below are told"""
    layer, _ = three_faults(tmp)
    top = overlay(tmp + "/top", os.path.basename(layer), size=os.path.getsize(layer))
    before = digest(layer)
    for mode in ("-nf", "-pf", "-yf"):
        result = report(mode, "--chain", top, status=LEFT)
        equal([image["exit-status"] for image in result["chain"]], [CLEAN, LEFT], mode)
    leaking = copy(top, tmp + "/leaking")
    os.truncate(leaking, os.path.getsize(leaking) + 65536)
    equal([image["exit-status"] for image in
           report("-pf", "--chain", leaking, status=LEFT | REPAIRED)["chain"]], [REPAIRED, LEFT],
          "the first one")
    equal(digest(layer), before, "the layer")
    clean = populated(tmp + "/clean")
    with edit(clean) as img:
        img.hdr.features |= qedimg.F_NEED_CHECK
        img.write_header()
    overlay(top, "clean")
    true(report("-n", "--chain", top, status=CLEAN)["chain"][1]["need-check"], "NEED_CHECK")
    fsck("-n", "--chain", "--geometry", "search", top, status=USAGE)
    fsck("--undo-apply", top, "--chain", top, status=USAGE)


@test
def chain_in_use(tmp):
    """images below may be read by others, not written"""
    base = raw(tmp + "/base")
    layer = overlay(tmp + "/layer", "base", "raw")
    top = overlay(tmp + "/top", "layer")
    for path in (layer, base):
        kind = ("-r",) if path == layer else ("-r", "-f", "raw")
        with qemu_holds(path, *kind):
            report("-n", "--chain", top, status=CLEAN)
        with qemu_holds(path, *kind[1:]):
            true("in use" in report("-n", "--chain", top, status=OPERATION)["chain"][-1]["error"],
                 path)
            report("-n", "--force", "--chain", top, status=CLEAN)


@test
def chain_printed_into(tmp):
    """no image of the chain is where the output goes: that is known before anything is printed"""
    overlay(tmp + "/middle", "base", "raw")
    top, _ = three_faults(tmp)
    with edit(top) as img:
        table = img.table_of(0)
        for number in range(100):
            img.set_entry(table, number, 4711 + number)
        img.disk.write(512, b"middle")
        img.hdr.features |= qedimg.F_BACKING
        img.hdr.backing_filename_offset, img.hdr.backing_filename_size = 512, 6
        img.write_header()
    for name in ("middle", "base"):
        for kind in ("raw", "qed"):                # what is below may not be what it should be
            raw(tmp + "/base")
            overlay(tmp + "/middle", "base", kind)
            before = digest(tmp + "/" + name)
            for how in ("stdout", "stderr", "-C"):
                with open(tmp + "/" + name, "r+b") as file:
                    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
                    options = ["-nf", "--chain", top]
                    if how == "-C":
                        options = ["-C", str(file.fileno())] + options
                        pipes["pass_fds"] = (file.fileno(),)
                    else:
                        pipes[how] = file
                    done = subprocess.run([FSCK] + options, check=False, **pipes)
                equal(done.returncode, OPERATION, (name, kind, how))
                equal(digest(tmp + "/" + name), before, (name, kind, how))


@test
def chain_name_of_guest(tmp):
    """a name that is not in the header is not followed, nor printed: the guest has written it"""
    raw(tmp + "/secret")
    top = populated(tmp + "/top", cluster=4096)
    with edit(top) as img:
        img.disk.write(4096 * 9, b"secret")
        img.hdr.features |= qedimg.F_BACKING | qedimg.F_NO_PROBE
        img.hdr.backing_filename_offset, img.hdr.backing_filename_size = 4096 * 9, 6
        img.disk.write(0, img.hdr.pack())
    for field, value in ((None, None), ("header_size", 0), ("header_size", 1 << 31),
                         ("cluster_size", 1 << 31), ("cluster_size", 0xfffff)):
        with edit(top) as img:
            if field:
                setattr(img.hdr, field, value)
                img.disk.write(0, img.hdr.pack())
        result = report("-nf", "--chain", top, status=LEFT | OPERATION)
        equal([image.get("backing-filename") for image in result["chain"]], [None] * 2, field)
        true("is not in its header" in result["chain"][-1]["error"], result["chain"][-1])
        true("secret" not in fsck("-nf", top, status=LEFT)[1], field)
