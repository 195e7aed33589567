#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Failures of the image device: what may fail and what must not, unclean
# shutdowns. Flushes are those of lost.sh.

# shellcheck disable=SC2119	# fail_flushes has arguments, which few need here
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=layer.sh
. "$(dirname "$0")/layer.sh"

# split SECTOR: the layer ends there for reads and writes
split() {
	local end

	end=$(sectors_of "$disk")
	dm_swap l "0 $1 linear $disk 0"$'\n'"$1 $((end - $1)) error"
}

dead() {
	dm_swap l "0 $(sectors_of "$disk") error"
}

l1_entry() {
	blk u64 "$lower" $((c + 8 * $1))
}

#
# Data
#

# t_data_write [OPTION]...
t_data_write() {
	stack 1 $((8 * mb))
	qed q "$lower" error_if_no_space "$@"
	scanned q
	io "$dev" "write:0:$c:0x11" flush
	split $((10 * 128))
	io "$dev" "!EIO/write:$((5 * c)):$c:0x22" "!EIO/write:$((6 * c + 4096)):4096:0x22" \
		"!EIO/fua:$((7 * c)):512:0x22" "read:0:$c:0x11" "write:0:$c:0x12" \
		"read:$((5 * c)):$((3 * c)):0"
	get q
	is "$mode $used $mapped $inflight" "rw 10 1 0" "mode, used, mapped, allocations"

	repair
	# every cluster of the device can be used: 16, of which 9 are tables
	io "$dev" "write:$((5 * c)):$((6 * c)):0x33" "!ENOSPC/write:$((30 * c)):4096:1" \
		flush "read:$((5 * c)):$((6 * c)):0x33" "read:0:$c:0x12"
	get q
	is "$used/$total" 16/16 "the space in use"
	dm_remove q
	sound "$lower"
}

# Half of a cluster is written, then the write fails: nobody may see that half.
# t_half_written [OPTION]...
t_half_written() {
	local i

	stack 1 $((8 * mb))
	qed q "$lower" "$@"
	io "$dev" "write:0:$c:0x11" flush
	split $((10 * 128 + 64))
	io "$dev" "!EIO/write:$((5 * c)):$c:0x66" "read:$((5 * c)):$c:0"
	repair
	# six clusters are left, so one of these gets it
	for i in 5 6 7 8 9 10; do
		io "$dev" "write:$((i * c + c - 512)):512:$i" "read:$((i * c)):$((c - 512)):0"
	done
	is "$(status q used)" 16 "the number of used clusters"
	dm_remove q
	qed q "$lower"
	for i in 5 6 7 8 9 10; do
		io "$dev" "read:$((i * c)):$((c - 512)):0" "read:$((i * c + c - 512)):512:$i"
	done
}

# A write over several clusters, of which some fail
t_partly_failed() {
	stack 2 $((8 * mb))
	qed q "$lower"
	io "$dev" "write:0:$c:0x11" "write:$((9 * c)):$c:0x11" flush
	split $(($(status q used) * 128 + 256))
	io "$dev" "!EIO/write:$((8 * c)):$((6 * c)):0x22" "read:0:$c:0x11" \
		"read:$((14 * c)):$((4 * c)):0"
	is "$(status q mode)" rw "the mode"
	repair
	io "$dev" "write:$((8 * c)):$((6 * c)):0x33" "read:$((8 * c)):$((6 * c)):0x33"
	dm_remove q
	qed q "$lower"
	io "$dev" "read:0:$c:0x11" "read:$((8 * c)):$((6 * c)):0x33"
}

# What large clusters are filled with is written by itself.
t_fill() {
	stack 32 $((16 * mb)) $((4 * mb)) 1
	qed q "$lower"
	io "$dev" "write:0:$((4 * mb)):0x11" flush
	split $(($(status q used) * 8192 + 4096))
	io "$dev" "!EIO/write:$((4 * mb)):4096:0x22" "read:$((4 * mb)):4096:0"
	get q
	is "$mode $used $mapped $inflight" "rw 4 1 0" "mode, used, mapped, allocations"
	repair
	io "$dev" "write:$((4 * mb)):4096:0x33" "read:$((4 * mb)):4096:0x33" \
		"read:$((4 * mb + 4096)):4096:0" "read:0:$((4 * mb)):0x11"
	dm_remove q
	sound "$lower"
}

t_data_read() {
	stack 2 $((8 * mb))
	qed q "$lower"
	io "$dev" "write:0:$c:0x11" "write:$c:$c:0x22" "write:$((2 * c)):$c:0x33"
	null_bad a "+$((10 * 128 + 8))-$((10 * 128 + 15))"
	io "$dev" "read:0:$c:0x11" "!EIO/read:$c:$c:0x22" "!EIO/read:$((c + 4096)):512:0x22" \
		"read:$c:4096:0x22" "read:$((2 * c)):$c:0x33" flush
	is "$(status q mode)" rw "the mode"
	null_bad a "-$((10 * 128 + 8))-$((10 * 128 + 15))"
	io "$dev" "read:$c:$c:0x22"
}

# A write finds no space for a part while the rest waits for the first write of a cluster.
t_no_space_beside() {
	local guest first second

	full 1 64
	io "$dev" "write:$((63 * c)):$c:0"
	lower=$dev
	null a 4
	disk=$dev
	linear m "$disk" $((11 * 128))
	dm n "0 $((11 * 128)) linear $dev 0"$'\n'"$((11 * 128)) 4096 linear $lower 0"
	lower=$dev
	image "$lower" $((8 * mb))
	qed q "$lower" commit_interval 3600000
	guest=$dev
	io "$guest" "write:0:$c:0x11" flush
	# the last cluster of the first part
	dm_suspend m
	bg "$bin/blk" io "$guest" "write:$((9 * c + 4096)):4096:0x22"
	first=$!
	wait_for 20 status_is q inflight 1
	bg "$bin/blk" io "$guest" "write:$((8 * c)):$((2 * c)):0x33"
	second=$!
	# and the other one was given back again
	sleep 0.5
	wait_for 20 status_is q inflight 1
	dm_resume m
	wait "$first"
	wait_for 20 status_is q mode out_of_space
	kill -0 "$second" || fail "the write has not waited"
	more_space 16
	wait "$second"
	io "$guest" "read:0:$c:0x11" "read:$((8 * c)):$((2 * c)):0x33" flush
	is "$(status q mode)" rw "the mode"
	dm_remove q
	sound "$lower"
}

# A write in two parts that is tried again: both are in the partition that the image is in.
t_partition() {
	local guest writer

	need addpart
	# as many blocks as the image has written to
	full 11 64
	disk=$(losetup --find --show --partscan --direct-io=on "$dev")
	echo "$disk" >>"$tmp/lib/loops"
	trap 'unloop "$disk"' EXIT
	addpart "$disk" 1 128 $((14 * 128))
	lower=${disk}p1
	wait_for 5 test -b "$lower"
	image "$lower" $((8 * mb))
	qed q "$lower" commit_interval 3600000 no_discard_passdown
	guest=$dev
	io "$guest" "write:0:$((5 * c)):0x11" "discard:$c:$c" "discard:$((3 * c)):$c"
	commit q
	wait_for 20 status_is q free 2
	# what is written again is copied
	dm_suspend t
	dmsetup message "$pre-pool" 0 "create_snap 1 0"
	dm_resume t
	is "$(status q needs_check)" needs_check "NEED_CHECK, which needs space, too,"
	bg "$bin/blk" io "$guest" "write:$((20 * c)):$((2 * c)):0x22"
	writer=$!
	wait_for 20 status_is q mode out_of_space
	more_space 40
	wait "$writer"
	io "$guest" "read:0:$c:0x11" "read:$((2 * c)):$c:0x11" "read:$((4 * c)):$c:0x11" \
		"read:$((20 * c)):$((2 * c)):0x22" flush
	dm_remove q
	sound "$lower"
}

# What must not wait has been written at once, and waits for space then. Meanwhile the device below has
# become one that cannot do without waiting.
t_no_space_nowait() {
	local guest writer file=$tmp/mnt/image data

	need mkfs.ext4
	need_target delay
	null a 16
	mkfs.ext4 -q -m 0 "$dev"
	mount "$dev" "$tmp/mnt"
	image "$file" $((8 * mb))
	truncate -s 4M "$file"
	loop=$(losetup --find --show --direct-io=on "$file")
	echo "$loop" >>"$tmp/lib/loops"
	disk=$loop
	trap 'off_loop q l' EXIT
	linear l "$disk"
	lower=$dev
	qed q "$lower" commit_interval 3600000
	guest=$dev
	io "$guest" "write:0:$c:0x11" flush
	data=$(blk u64 "$lower" "$(l1_entry 0)")
	sync "$file"
	fallocate --punch-hole --offset "$data" --length "$c" "$file"
	dd if=/dev/zero of="$tmp/mnt/filler" bs=4096 conv=fsync status=none 2>/dev/null || true
	bg "$bin/blk" io "$guest" "nowait-write:0:$c:0x12"
	writer=$!
	wait_for 20 status_is q mode out_of_space
	kill -0 "$writer" || fail "the write has not waited"
	dm_swap l "0 $(sectors_of "$disk") delay $disk 0 0"
	rm "$tmp/mnt/filler"
	sync -f "$tmp/mnt"
	dm_suspend q
	wait "$writer"
	dm_resume q
	io "$guest" "read:0:$c:0x12"
	dm_remove q
}

# scattered CLUSTERS: an image on $dev with clusters of 4 KiB, of which so many are mapped, and no two
# adjacent ones to adjacent ones; the tables are in front of the data
scattered() {
	image "$dev" $(($1 * 4096)) 4096 16
	python3 - "$dev" "$1" <<-'END'
		import os, struct, sys
		clusters, per_table = int(sys.argv[2]), 8192
		first = 1 + 16
		data = first + -(-clusters // per_table) * 16
		with open(sys.argv[1], "r+b") as disk:
		    disk.seek(4096)
		    for where in range(first, data, 16):
		        disk.write(struct.pack("<Q", where * 4096))
		    disk.seek(first * 4096)
		    for cluster in range(clusters):
		        disk.write(struct.pack("<Q", (data + 2 * cluster) * 4096))
		    os.fsync(disk.fileno())
	END
	blockdev --flushbufs "$dev"
}

# What is unmapped needs memory until a commit, which has no space. So not all of it is. No table
# becomes empty: that would need no space.
t_no_space_to_unmap() {
	local guest reclaiming i clusters=290000 table=8192 some=()

	full 60 40000
	lower=$dev
	scattered "$clusters"
	for ((i = 0; i < clusters; i += table)); do
		some+=("discard:$(((i + 1) * 4096)):$((table * 4096 - 4096))")
	done
	some[-1]="discard:$(((i - table + 1) * 4096)):$(((clusters - i + table - 1) * 4096))"
	qed q "$lower" commit_interval 3600000 cache_kib 65536 no_discard_passdown
	guest=$dev
	is "$(status q mapped)" "$clusters" "the number of mapped clusters"
	dm_suspend t
	dmsetup message "$pre-pool" 0 "create_snap 1 0"
	dm_resume t
	# the header has its own block then, and NEED_CHECK can be set
	io "$guest" "discard:0:4096" flush
	wait_for 20 status_is q reclaiming 0
	fill_pool "$lower" 60 40000
	io "$guest" "${some[@]}"
	reclaiming=$(status q reclaiming)
	at_least "$reclaiming" $((256 * 1024)) "the number of clusters that were unmapped"
	# up to the end of a table block
	at_most "$reclaiming" $((256 * 1024 + 512)) "the number of clusters that were unmapped"
	more_space 120
	io "$guest" flush "${some[@]}" flush
	is "$(status q mapped)" 35 "the number of mapped clusters"
	dm_remove q
	sound "$lower"
}

#
# Tables
#

# t_table_write WHICH
t_table_write() {
	local from to events

	stack 4 $((8 * mb))
	[ "$1" != flush ] || to_fail_flushes
	qed q "$lower" commit_interval 3600000
	io "$dev" "write:0:$c:0x11" flush
	case $1 in
	l2)
		from=$(($(l1_entry 0) / 512))
		to=$((from + 8))
		null_bad a "+$from-$((to - 1))"
		;;
	flush)
		fail_flushes
		;;
	esac
	events=$(events q)
	io "$dev" "write:$((2 * c)):$c:0x22" "write:$((3 * c + 4096)):4096:0x33" "!EIO/flush"
	is "$(status q mode)" ro "the mode after a failed write of a table"
	is "$(status q needs_check)" needs_check "NEED_CHECK"
	at_least "$(events q)" $((events + 1)) "the event counter"
	matches "$(kmsg)" 'cannot write the tables: going read-only' "the kernel's log"
	still_fails q
	io "$dev" "read:$((2 * c)):$c:0x22" "read:$((3 * c + 4096)):4096:0x33"

	# nor does suspending help, or make it forget what it has in memory
	dm_suspend q
	dm_resume q
	still_fails q
	io "$dev" "read:$((2 * c)):$c:0x22"

	case $1 in
	l2)
		null_bad a "-$from-$((to - 1))"
		;;
	flush)
		repair
		;;
	esac
	# not by itself
	still_fails q
	is_dirty "$lower"
	qed_reload q "$lower"
	is "$(status q mode)" rw "the mode of the new table"
	io "$dev" "read:0:$c:0x11" "write:$((2 * c)):$c:0x44" flush "read:$((2 * c)):$c:0x44"
	dm_remove q
	is_clean "$lower"
	sound "$lower"
}

# A table that cannot be zeroed or whose L1 entry cannot be written
t_l1_write() {
	stack 4 $((8 * mb))
	qed q "$lower" commit_interval 3600000
	null_bad a "+128-135"
	io "$dev" "write:0:$c:0x11" "read:0:$c:0x11" "!EIO/flush"
	still_fails q
	is "$(l1_entry 0 2>/dev/null || echo unreadable)" unreadable "the L1 entry"
	null_bad a "-128-135"
	is "$(l1_entry 0)" 0 "the L1 entry"
	qed_reload q "$lower"
	is "$(status q used)" 5 "the number of used clusters"
	io "$dev" "read:0:$((8 * mb)):0" "write:0:$c:0x12" flush
	dm_remove q
	sound "$lower"
}

# Without a flush the failure comes from the timer or the message.
t_commit_fails() {
	stack 4 $((8 * mb))
	qed q "$lower" commit_interval 50
	io "$dev" "write:0:$c:0x11" flush
	null_bad a "+640-647"
	io "$dev" "write:$((2 * c)):$c:0x22"
	wait_for 20 status_is q mode ro
	still_fails q
	refused commit q
	null_bad a "-640-647"
	qed_reload q "$lower" commit_interval 3600000
	io "$dev" "write:$((2 * c)):$c:0x22"
	null_bad a "+640-647"
	refused commit q
	still_fails q
	null_bad a "-640-647"
	qed_reload q "$lower" commit_interval 0
	io "$dev" "read:0:$c:0x11"
	null_bad a "+640-647"
	io "$dev" "!EIO/write:$c:$c:0x22"
	is "$(status q mode)" ro "the mode"
	null_bad a "-640-647"
	dm_remove q
	sound "$lower"
}

# All of the cache differs from the device when a commit fails, and what is read needs more.
t_full_cache() {
	local i pid guest block=$((2 * mb)) all=() new=()

	stack 16 $((64 * mb)) 4096 1
	for i in {0..31}; do
		all+=("write:$((i * block)):4096:$((i + 1))")
	done
	for i in {0..15}; do
		new+=("write:$((i * block + 4096)):4096:$((i + 101))")
	done
	qed q "$lower"
	io "$dev" "${all[@]}"
	dm_remove q
	qed q "$lower" cache_kib 64 commit_interval 3600000
	guest=$dev

	# flushes wait until the layer is suspended, and fail then; but not yet that for NEED_CHECK
	need_target delay
	trap repair EXIT
	to_fail_flushes delay "$disk" 0 0 "$disk" 0 0 "$disk" 0 3600000
	io "$guest" "write:8192:4096:101" flush
	fail_flushes
	io "$guest" "${all[@]:0:16}" "${new[@]}"
	is "$(status q mode)" rw "the mode while the commit waits"
	dm_suspend l
	dm_resume l
	wait_for 20 status_is q mode ro
	is "$(status q dirty)" 16 "the number of dirty blocks"
	bg "$bin/blk" io "$guest" "${all[@]//write/read}" "${new[@]//write/read}"
	pid=$!
	timeout 30 tail --pid="$pid" -f /dev/null || fail "reads hang"
	wait "$pid"
	io "$guest" "!EIO/write:0:4096:0x99" "!EIO/flush"
	repair
	dm_remove q
	sound "$lower"
}

t_header_write() {
	local events

	stack 4 $((8 * mb))
	qed q "$lower"
	fail_writes l "$disk" 0 8
	events=$(events q)
	io "$dev" "!EIO/write:0:$c:0x22" "read:0:$((8 * mb)):0"
	is "$(status q mode)" ro "the mode"
	is "$(status q used) $(status q mapped)" "5 0" "used and mapped clusters"
	is "$(events q)" $((events + 1)) "the event counter"
	matches "$(kmsg)" 'cannot write the header' "the kernel's log"
	io "$dev" "!EIO/write:0:512:0x22" "!EIO/flush"
	repair
	is_clean "$lower"
	qed_reload q "$lower"
	io "$dev" "write:0:$c:0x11" flush
	is_dirty "$lower"
	# to clear it fails, too: the image stays marked, all data is there
	fail_writes l "$disk" 0 8
	dm_remove q
	repair
	is_dirty "$lower"
	qed q "$lower"
	io "$dev" "read:0:$c:0x11"
	dm_remove q
	is_clean "$lower"
	sound "$lower"
}

# A block of a table maps 2 MiB here.
t_table_read() {
	local table i

	stack 16 $((64 * mb)) 4096 16
	qed q "$lower"
	for i in 0 1 2 3; do
		io "$dev" "write:$((i * 2 * mb)):$c:$((0x10 + i))"
	done
	dm_remove q
	qed q "$lower"
	table=$(($(blk u64 "$lower" 4096) / 512))
	null_bad a "+$((table + 8))-$((table + 15))"
	io "$dev" "read:0:$c:0x10" "!EIO/read:$((2 * mb)):4096:0x11" "read:$((4 * mb)):$c:0x12" \
		"!EIO/read:$((2 * mb - 4096)):8192:0" "!EIO/write:$((2 * mb)):4096:0x99" \
		"!EIO/write:$((4 * mb - 4096)):4096:0x99" "write:$((4 * mb)):4096:0x22" \
		"write:$((6 * mb - 4096)):4096:0x22" "read:$((6 * mb)):$c:0x13" flush
	is "$(status q mode)" rw "the mode after failed reads of a table"
	matches "$(kmsg)" 'cannot read the L2 table at 0x' "the kernel's log"
	null_bad a "-$((table + 8))-$((table + 15))"
	io "$dev" "read:$((2 * mb)):$c:0x11" "write:$((2 * mb)):4096:0x99" \
		"write:$((4 * mb - 4096)):4096:0x9a" flush \
		"read:$((2 * mb)):4096:0x99" "read:$((4 * mb - 4096)):4096:0x9a"
	dm_remove q
	sound "$lower"
}

# bad_at SECTOR REGEX [OPTION]...: activation with a bad sector has to fail
bad_at() {
	local line

	line=$(table "$lower" "${@:3}")
	null_bad a "+$1-$1"
	refuse q "$line"
	note "${error##*device-mapper: }"
	matches "$error" "$2" "the message"
	null_bad a "-$1-$1"
}

t_activation() {
	local table

	stack 4 $((8 * mb))
	qed q "$lower"
	io "$dev" "write:0:$c:0x11"
	dm_remove q
	table=$(($(l1_entry 0) / 512))

	bad_at 0 'cannot read the header'
	bad_at 0 'cannot read the header' read_only
	bad_at 128 'cannot read the L1 table'
	bad_at 128 'cannot read the L1 table' read_only
	is_clean "$lower"
	# marked as one to be checked it is scanned first
	blk poke "$lower" 16 2
	bad_at 128 'cannot read .*table'
	bad_at $((table + 1)) 'cannot read .*table'
	is_dirty "$lower"
	blk poke "$lower" 16 0

	# What is not read cannot keep it from being activated.
	null_bad a "+$((table + 1))-$((table + 1))"
	qed q "$lower" read_only
	io "$dev" "!EIO/read:0:512:0x11" "!EIO/write:0:512:0x11"
	dm_remove q
	qed q "$lower" zeroed_from 10
	message 'cannot scan the tables'
	is "$(status q mode)" rw "the mode"
	io "$dev" "!EIO/read:0:512:0x11"
	null_bad a "-$((table + 1))-$((table + 1))"
	io "$dev" "read:0:$c:0x11" "write:$c:$c:0x22" flush
	dm_remove q
	sound "$lower"
	qed q "$lower"
	io "$dev" "read:0:$c:0x11" "read:$c:$c:0x22"
}

#
# Removal
#

t_remove_dead() {
	stack 4 $((8 * mb))
	qed q "$lower" commit_interval 3600000
	io "$dev" "write:0:$c:0x11" flush "write:$((2 * c)):$c:0x22"
	dead
	timeout 20 "$bin/blk" dm remove "$pre-q"
	repair
	is_dirty "$lower"
	qed q "$lower"
	io "$dev" "read:0:$c:0x11" "read:$((3 * c)):$c:0"
	# dead and suspended, with nothing to write
	io "$dev" flush
	dead
	dm_suspend q
	timeout 20 "$bin/blk" dm remove "$pre-q"
	repair
	sound "$lower"
}

# t_force below: with I/O in flight, and users that keep it open
t_force() {
	local pid

	stack 32 $((16 * mb))
	case $1 in
	slow)
		need_target delay
		dm_swap l "0 $(sectors_of "$disk") delay $disk 0 50"
		;;
	esac
	qed q "$lower" commit_interval 20
	# it must not take the processors when all that it does fails
	bg nice -n 19 "$bin/hammer" -t 4 -s 600 -E -F 5 -b 65536 "$dev" 2>"$tmp/hammer"
	pid=$!
	wait_for 20 not status_is q commits 0
	[ "$1" != dead ] || dead
	if timeout 30 dmsetup remove --force "$pre-q"; then
		fail "removed a device that is in use"
	fi
	is "$(blk dm table "$pre-q" | cut -d ' ' -f 3)" error "the target"
	io "$dev" "!EIO/read:0:4096:0" "!EIO/write:0:4096:0"
	kill -TERM "$pid"
	timeout 30 tail --pid="$pid" -f /dev/null
	timeout 20 dmsetup remove --force "$pre-q"
	[ "$1" = working ] || repair
	sound "$lower"
	qed q "$lower"
	is "$(status q mode)" rw "the mode"
	io "$dev" "write:0:$c:0x11" flush "read:0:$c:0x11"
}

#
# The end of power
#

t_unclean() {
	local copy

	stack 8 $((8 * mb))
	qed q "$lower" commit_interval 3600000
	io "$dev" "write:0:$c:0x11" "write:$((4 * c + 512)):1024:0x22" \
		"write:$((20 * c)):$((9 * c)):0x33" flush \
		"write:$((40 * c)):$c:0x44" "write:0:4096:0x12"
	dd if="$lower" of="$tmp/copy" bs=1M iflag=direct status=none
	dm_remove q
	is_dirty "$tmp/copy"
	loop "$tmp/copy"
	copy=$dev
	qed q "$copy"
	io "$dev" "read:4096:$((c - 4096)):0x11" "read:$((4 * c)):512:0" \
		"read:$((4 * c + 512)):1024:0x22" "read:$((4 * c + 1536)):$((c - 1536)):0" \
		"read:$((20 * c)):$((9 * c)):0x33" "write:$((50 * c)):$c:0x55" flush
	is "$(status q mapped)" 12 "the number of mapped clusters"
	dm_remove q
	is_clean "$copy"
	sound "$copy"
}

run t_data_write "a failed write of data fails alone, its cluster is not lost" \
	"t_data_write zeroed_from 5" "the same with clusters known to be zero" \
	t_half_written "a half-written cluster is never seen" \
	"t_half_written zeroed_from 5" "the same with clusters that were known to be zero" \
	t_partly_failed "a write of several clusters that fails in part" \
	t_fill "the filling of a large cluster fails" \
	t_data_read "a failed read of data fails alone" \
	t_no_space_beside "no space below for a part of a write, while the rest waits" \
	"counts t_partition" "no space below for a write in two parts, in a partition" \
	t_no_space_nowait "no space below for a write that must not wait" \
	t_no_space_to_unmap "no space below to commit what is unmapped" \
	"t_table_write l2" "a failed write of an L2 table makes it read-only" \
	"t_table_write flush" "a failed flush makes it read-only" \
	t_l1_write "a failed write of the L1 table makes it read-only" \
	t_commit_fails "a failed commit without a flush makes it read-only" \
	t_full_cache "reads with a cache full of what cannot be written" \
	t_header_write "NEED_CHECK that cannot be written makes it read-only" \
	t_table_read "a table block that cannot be read fails only what it maps" \
	t_activation "tables that cannot be read, at activation" \
	t_remove_dead "removal with a dead image device" \
	"t_force working" "forced removal with I/O in flight and a user" \
	"t_force slow" "forced removal, with a slow image device" \
	"t_force dead" "forced removal, with a dead image device" \
	t_unclean "an image that was not closed is activated without a check"
