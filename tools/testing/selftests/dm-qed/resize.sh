#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The guest's disk grows.

# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

c=65536					# a cluster
disk=					# the image device

resize() {
	dmsetup message "$pre-q" 0 resize "$1"
}

# Under a load, which goes on with the old part
t_grow() {
	local hammer

	null a 128
	disk=$dev
	image "$disk" $((32 * mb - 1024))
	qed q "$disk"
	io "$dev" "write:$((32 * mb - 4096)):3072:0x11"
	bg "$bin/hammer" -f "$tmp/state" -t 4 -s 600 -l $((24 * mb)) "$dev"
	hammer=$!
	sleep 1
	resize $((64 * mb / 512))
	is "$(blk u64 "$disk" 48)" $((64 * mb)) "the size in the header"
	is "$(sectors_of "$dev")" $((32 * mb / 512 - 2)) "the size of the device"
	dm_swap q "$(table "$disk")"
	is "$(sectors_of "$dev")" $((64 * mb / 512)) "the size of the device"
	is "$(status q virtual)" 1024 "the number of clusters"
	io "$dev" "read:$((32 * mb - 4096)):3072:0x11" "read:$((32 * mb - 1024)):$((32 * mb + 1024)):0" \
		"write:$((64 * mb - c)):$c:0x22" "write:$((32 * mb - 2048)):4096:0x33"
	kill -TERM "$hammer"
	wait "$hammer"
	hammer -v -f "$tmp/state" -l $((24 * mb)) "$dev"
	dm_remove q
	sound "$disk"
	qed q "$disk"
	hammer -v -f "$tmp/state" -l $((24 * mb)) "$dev"
	io "$dev" "read:$((32 * mb - 4096)):2048:0x11" "read:$((32 * mb - 2048)):4096:0x33" \
		"read:$((32 * mb + 2048)):$((16 * mb)):0" "read:$((64 * mb - c)):$c:0x22"
}

# Needs more L2 tables, and more of the L1 table
t_tables() {
	null a 128
	disk=$dev
	# a table maps 2 MiB, and an L1 block 1 GiB
	image "$disk" $((2 * mb)) 4096 2
	qed q "$disk"
	io "$dev" "write:0:$((2 * mb)):0x11"
	resize $((3000 * mb / 512))
	dm_swap q "$(table "$disk")"
	io "$dev" "write:$((2999 * mb)):$mb:0x22" "read:0:$((2 * mb)):0x11" "read:$((2 * mb)):$((20 * mb)):0"
	dm_remove q
	sound "$disk"
	qed q "$disk"
	io "$dev" "read:$((2999 * mb)):$mb:0x22" "read:0:$((2 * mb)):0x11"
}

t_limits() {
	null a 128
	disk=$dev
	image "$disk" $((512 * mb)) 4096 1
	qed q "$disk"
	refused resize $((512 * mb / 512 - 1))
	matches "$(kmsg)" "cannot resize to 1048575 sectors: not from 1048576 to 2097152" "the kernel's log"
	refused resize $((1024 * mb / 512 + 1))
	refused resize nonsense
	refused dmsetup message "$pre-q" 0 resize
	is "$(blk u64 "$disk" 48)" $((512 * mb)) "the size in the header"
	resize $((512 * mb / 512))
	resize $((1024 * mb / 512))
	is "$(blk u64 "$disk" 48)" $((1024 * mb)) "the size in the header"
	# what was said cannot be taken back
	refused resize $((512 * mb / 512))
	dm_suspend q
	refused resize $((1024 * mb / 512))
	dm_resume q
	dm_remove q
	qed q "$disk" read_only
	refused resize $((1024 * mb / 512))
}

# t_behind TABLE|CLUSTER: what is behind the size would become part of the disk
t_behind() {
	local table

	null a 128
	disk=$dev
	image "$disk" $((64 * mb))
	qed q "$disk"
	io "$dev" "write:$((50 * mb)):$c:0x11"
	dm_remove q
	case $1 in
	cluster)
		blk poke "$disk" 48 $((32 * mb))
		;;
	table)
		blk poke "$disk" $((c + 8)) "$(blk u64 "$disk" "$c")"
		blk poke "$disk" "$c" 0
		;;
	esac
	qed q "$disk"
	refused resize $((4096 * mb / 512))
	matches "$(kmsg)" "cannot resize: .*run qed-fsck" "the kernel's log"
	is "$(status q mode)" rw "the mode"
}

# QEMU has the same idea of the size
t_qemu() {
	need qemu-img
	truncate -s 100M "$tmp/file"
	image "$tmp/file" $((32 * mb))
	loop "$tmp/file"
	disk=$dev
	qed q "$disk"
	io "$dev" "write:$((31 * mb)):$mb:0x11"
	resize $((48 * mb / 512))
	dm_swap q "$(table "$disk")"
	io "$dev" "write:$((47 * mb)):$mb:0x22"
	dm_remove q
	unloop "$disk"
	truncate -s "$(qedimg hwm "$tmp/file")" "$tmp/file"
	is "$(qemu-img info --output=json "$tmp/file" | sed -n 's/.*virtual-size": \([0-9]*\).*/\1/p')" \
		$((48 * mb)) "the size that QEMU sees"
	qemu-img check -q -f qed "$tmp/file"
	qemu-img convert -f qed -O raw "$tmp/file" "$tmp/raw"
	loop "$tmp/raw"
	io "$dev" "read:0:$((31 * mb)):0" "read:$((31 * mb)):$mb:0x11" "read:$((32 * mb)):$((15 * mb)):0" \
		"read:$((47 * mb)):$mb:0x22"
}

run t_grow "a disk grows while it is used" \
	t_tables "with more tables" \
	t_limits "sizes that are refused" \
	"t_behind cluster" "a cluster behind the size" \
	"t_behind table" "a table behind the size" \
	t_qemu "QEMU sees the new size"
