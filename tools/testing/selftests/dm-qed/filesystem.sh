#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# File systems with a real tree of files on them.

# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

tree=$(readlink -f "$here/../../../..")

# List a tree and what is in its files
listing() {
	(cd "$1" && find . -type f -exec cksum {} + | sort -k 3)
}

# Some hundreds of files, and a large one; sets $source
copy_tree() {
	mkdir "$tmp/source"
	(cd "$tree" && find drivers tools Documentation -type f -size -256k \
		! -path '*/.*' | head -n 60 | cpio -pdm "$tmp/source" 2>/dev/null)
	yes 'a line of a large file' | head -c $((4 * mb)) >"$tmp/source/large"
	listing "$tmp/source" >"$tmp/expected"
	at_least "$(wc -l <"$tmp/expected")" 20 "the number of files"
}

same_tree() {
	listing "$1" >"$tmp/found"
	cmp "$tmp/expected" "$tmp/found" || fail "the files differ"
}

judge() {
	"$@" >"$tmp/lib/fsck.log" 2>&1 || fail "$*: $(cat "$tmp/lib/fsck.log")"
}

# t_fs CLUSTER TABLE MKFS FSCK...
t_fs() {
	local fs=${3#mkfs.} lower

	need "$3" "$4" cpio
	modprobe -q "$fs" || grep -qw "$fs" /proc/filesystems || skip "no $fs"
	null a 1024
	lower=$dev
	image "$lower" $((512 * mb)) "$1" "$2"
	qed q "$lower"
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
	dm_remove q
	is_clean "$lower"
	sound "$lower"

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
