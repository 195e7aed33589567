#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# File systems with a real tree of files on them.

# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

size=$((320 * mb))			# XFS wants so much

# List a tree and what is in its files. The mode of a symbolic link means nothing, and some
# filesystems do not keep it.
listing() {
	(cd "$1" && find . -type l -printf '%p %l\n' -o -printf '%p %y %m\n' \
		-type f -exec cksum {} + | sort)
}

# What Python comes with: some hundreds of files, and a large one; sets $source
copy_tree() {
	local tree

	tree=$(/usr/bin/python3 -c 'import os; print(os.path.dirname(os.__file__))')
	mkdir "$tmp/source"
	(cd "$tree" && find . -name __pycache__ -prune -o -name '*-packages' -prune -o \
		-name test -prune -o -size -24k -print | cpio -pdm "$tmp/source" 2>/dev/null)
	ln -s os.py "$tmp/source/link"
	yes 'a line of a large file' | head -c $((4 * mb)) >"$tmp/source/large"
	listing "$tmp/source" >"$tmp/expected"
	at_least "$(wc -l <"$tmp/expected")" 500 "the number of lines about files"
}

same_tree() {
	listing "$1" >"$tmp/found"
	diff "$tmp/expected" "$tmp/found" || fail "the files differ"
}

judge() {
	"$@" >"$tmp/lib/fsck.log" 2>&1 || fail "$*: $(cat "$tmp/lib/fsck.log")"
}

# t_fs CLUSTER TABLE MKFS FSCK...: what goes to the device goes to another one as well, without QED
t_fs() {
	local fs=${3#mkfs.} lower raw

	need "$3" "$4" cpio qemu-img
	modprobe -q "$fs" || grep -qw "$fs" /proc/filesystems || skip "no $fs"
	modprobe -q dm-mirror || true
	null r $((size / mb))
	raw=$dev
	null a $((2 * size / mb))
	lower=$dev
	image "$lower" "$size" "$1" "$2"
	qed q "$lower"
	dm m "0 $((size / 512)) mirror core 2 1024 nosync 2 $dev 0 $raw 0"
	"$3" -q "$dev"
	mount "$dev" "$tmp/mnt"
	copy_tree
	cp -a "$tmp/source" "$tmp/mnt/one"
	cp -a "$tmp/source" "$tmp/mnt/two"
	rm -r "$tmp/mnt/one"
	sync -f "$tmp/mnt"
	cp -a "$tmp/source" "$tmp/mnt/three"
	umount "$tmp/mnt"
	judge "${@:4}" "$dev"
	dm_remove m
	dm_remove q
	is_clean "$lower"
	sound "$lower"
	qemu-img compare -q -f qed -F raw "$lower" "$raw" || fail "QEMU reads other data"

	qed q "$lower" cache_kib 64
	judge "${@:4}" "$dev"
	mount "$dev" "$tmp/mnt"
	same_tree "$tmp/mnt/two"
	same_tree "$tmp/mnt/three"
	umount "$tmp/mnt"
	dm_remove q

	# and for reading only: XFS wants to see that the device is
	dm q "$(table "$lower" read_only)" ro
	mount -o ro "$dev" "$tmp/mnt"
	same_tree "$tmp/mnt/three"
	umount "$tmp/mnt"
}

run "t_fs 65536 4 mkfs.ext4 e2fsck -fn" "ext4" \
	"t_fs 4096 2 mkfs.xfs xfs_repair -n" "xfs"
