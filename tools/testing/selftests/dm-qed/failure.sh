#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Failures of the image device: what may fail and what must not, unclean
# shutdowns.

# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

c=65536					# a cluster
lower=					# the layer below the target
disk=					# what is below that
loop=					# or between the target and the layer
pool=					# the table of a pool, but for its size

# stack MIB GUEST_BYTES [CLUSTER TABLE]: an image with a layer to be made to fail
stack() {
	null a "$1"
	disk=$dev
	image "$disk" "$2" "${@:3}"
	linear l "$disk"
	lower=$dev
}

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

# still_fails NAME: everything that writes; and what is 0x11 at 0 can be read
still_fails() {
	io "$dev" "read:0:$c:0x11" "!EIO/write:0:$c:0x99" "!EIO/write:$((40 * c)):$c:0x99" \
		"!EIO/flush" "!EIO/fua:0:4096:0x99" "read:0:$c:0x11" "read:$((40 * c)):$c:0"
	is "$(status "$1" mode)" ro "the mode"
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

#
# Space below
#

# full BLOCKS CLUSTERS: a thin device t of so many clusters, of which as many as the pool has blocks
# for can be written; sets $dev, and $pool, the table of the pool but for its size
full() {
	local meta

	need_target thin-pool
	null p 8
	meta=$dev
	null d 8
	pool="thin-pool $meta $dev 128 0 1 error_if_no_space"
	dm pool "0 $(($1 * 128)) $pool"
	dmsetup message "$pre-pool" 0 "create_thin 0"
	dm t "0 $(($2 * 128)) thin $dev 0"
}

# fill_pool DEVICE BLOCKS CLUSTERS: all of the pool is in use, for the end of this device
fill_pool() {
	local used end=$3 some

	while :; do
		used=$(dmsetup status "$pre-pool" | cut -d ' ' -f 6)
		used=${used%/*}
		[ "$used" -lt "$2" ] || break
		some=()
		for ((; used < $2; used++)); do
			some+=("write:$((--end * c)):$c:0")
		done
		# the image may have taken some meanwhile
		io "$1" "${some[@]}" || true
	done
}

# more_space BLOCKS: in that pool, and the target q looks for it
more_space() {
	dm_swap pool "0 $(($1 * 128)) $pool"
	# with a flush: device mapper itself would begin anew
	dm_suspend q
	dm_resume q
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

# lost NAME: what makes things durable fails, until it has told and the device was suspended
lost() {
	io "$dev" "!EIO/flush" "!EIO/fua:0:4096:0x99" "!EIO/flush" "read:0:$c:$2" \
		"write:0:$c:$2" "!EIO/flush"
	dm_suspend "$1"
	dm_resume "$1"
	matches "$(kmsg)" 'writes since the last flush are lost' "the kernel's log"
	io "$dev" flush "fua:0:$c:$2" flush
}

# A commit fails, and another table comes before a flush that could tell.
t_lost() {
	stack 4 $((8 * mb))
	qed q "$lower" commit_interval 50
	io "$dev" "write:0:$c:0x11" flush
	null_bad a "+640-647"
	io "$dev" "write:$((2 * c)):$c:0x22"
	wait_for 20 status_is q mode ro
	null_bad a "-640-647"
	qed_reload q "$lower"
	matches "$(kmsg)" 'writes since the last flush are lost' "the kernel's log"
	lost q 0x11
	io "$dev" "read:0:$c:0x11" "read:$((2 * c)):$c:0"
	is "$(status q mode)" rw "the mode"
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
	io "$dev" "write:8192:4096:101" flush
	guest=$dev

	# flushes wait until the layer is suspended, and fail then
	need_target delay
	trap repair EXIT
	fail_flushes delay "$disk" 0 0 "$disk" 0 0 "$disk" 0 3600000
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

# t_flush HOW: a flush fails that no flush of the guest waits for, and only later ones can tell.
t_flush() {
	stack 4 $((8 * mb))
	qed q "$lower" commit_interval 3600000
	io "$dev" "write:0:$c:0x11" flush "write:0:$c:0x12"
	fail_flushes
	case $1 in
	idle)
		wait_for 30 message 'flush failed'
		repair
		;;
	message)
		refused commit q
		repair
		refused commit q
		;;
	suspend)
		dm_suspend q
		repair
		dm_resume q
		;;
	reload)
		dm_load q "$(table "$lower")"
		dm_suspend q
		repair
		dm_resume q
		;;
	esac
	is "$(status q mode)" rw "the mode"
	lost q 0x12
	io "$dev" "read:0:$c:0x12"
	commit q
	dm_remove q
	is_clean "$lower"
	sound "$lower"
}

# A flush has failed, the guest writes again, and that is lost when the device is suspended.
t_lost_again() {
	stack 4 $((8 * mb))
	qed q "$lower" commit_interval 3600000
	io "$dev" "write:0:$c:0x11" flush
	fail_flushes
	io "$dev" "!EIO/flush" "write:0:$c:0x12"
	dm_suspend q
	repair
	dm_resume q
	is "$(status q mode)" rw "the mode"
	lost q 0x12
	dm_remove q
	sound "$lower"
}

# A table is refused, as another mapping uses the image, and does not forget what the one before it has
# lost, which is gone.
t_lost_refused() {
	local guest

	stack 4 $((8 * mb))
	qed q "$lower" commit_interval 3600000
	guest=$dev
	io "$guest" "write:0:$c:0x11" flush "write:0:$c:0x12"
	fail_flushes
	refused commit q
	repair
	dm_load q "$(table "$lower")"
	dm_suspend q
	qed q2 "$lower"
	dev=$guest
	refused blk dm resume "$pre-q"
	matches "$(kmsg)" 'is in use by another qed mapping' "the kernel's log"
	dm_remove q2
	dm_resume q
	is "$(status q mode)" rw "the mode"
	lost q 0x12
	dm_remove q
	sound "$lower"
}

# A mapping whose writes are lost, and which is suspended, does not use the image.
t_lost_claim() {
	local guest

	stack 4 $((8 * mb))
	qed q "$lower" commit_interval 3600000
	guest=$dev
	io "$guest" "write:0:$c:0x11" flush
	fail_flushes
	io "$guest" "!EIO/flush"
	repair
	dm_suspend q
	is_clean "$lower"
	qed q2 "$lower"
	io "$dev" "read:0:$c:0x11" "write:$c:$c:0x22" flush
	refused dmsetup resume "$pre-q"
	dm_remove q2
	dm_resume q
	io "$guest" "read:0:$c:0x11" "read:$c:$c:0x22"
	dm_remove q
	sound "$lower"
}

# over_loop MIB [SECTORS TARGET ARGUMENT...]: the image is on a loop device above the layer, which makes
# a flush of FUA, and on a part behind it if that is given; sets $loop
over_loop() {
	stack "$1" $((40 * mb))
	loop "$lower"
	loop=$dev
	lower=$dev
	trap 'off_loop q n' EXIT
	if [ $# != 1 ]; then
		dm n "0 $(($1 * 2048)) linear $loop 0"$'\n'"$(($1 * 2048)) ${*:2}"
		lower=$dev
	fi
	image "$lower" $((40 * mb))
}

# off_loop NAME...: whatever has happened, these are above it
off_loop() {
	local name

	for name; do
		dm_remove "$name" || true
	done 2>"$tmp/lib/remove.err"
	unloop "$loop"
}

# t_fua WHOSE [mixed]: the image device makes a flush of FUA, and that fails. No flush that comes later
# says again what it has lost. Mixed: the device offers FUA, for another part of it does.
t_fua() {
	if [ $# = 2 ]; then
		null m 1 cache_size=1
		over_loop 4 8 linear "$dev" 0
		is "$(cat "/sys/class/block/$(basename "$(readlink -f "$lower")")/queue/fua")" 1 \
			"what the image device says of FUA"
	else
		over_loop 4
	fi
	qed q "$lower" commit_interval 3600000
	io "$dev" "write:0:$c:0x11" flush
	[ "$1" = guest ] || wait_for 30 status_is q needs_check -
	io "$dev" "write:0:$c:0x12"
	fail_flushes
	if [ "$1" = guest ]; then
		io "$dev" "!EIO/fua:0:4096:0x12"
		repair
		# a write that fails does not tell of others
		dm_suspend q
		dm_resume q
	else
		io "$dev" "!EIO/write:$((2 * c)):$c:0x22"
		is "$(status q mode)" ro "the mode"
		repair
		qed_reload q "$lower" commit_interval 3600000
	fi
	lost q 0x12
	dm_remove q
	sound "$lower"
}

# Nor does a flush that has come before, whatever becomes of it.
t_fua_beside() {
	local guest flusher more first

	need_target delay
	null m 1
	more=$dev
	over_loop 4 8 linear "$more" 0
	qed q "$lower" commit_interval 3600000
	guest=$dev
	io "$guest" "write:0:$c:0x11" flush "write:0:$c:0x12"
	# flushes, but not those of the loop device alone, wait until the layer is suspended
	first="0 $(sectors_of "$loop") linear $loop 0"
	dm_swap n "$first"$'\n'"$(sectors_of "$loop") 8 delay $more 0 0 $more 0 0 $more 0 3600000"
	bg "$bin/blk" io "$guest" "!EIO/flush"
	flusher=$!
	sleep 0.5
	fail_flushes
	io "$guest" "!EIO/fua:0:4096:0x12"
	repair
	kill -0 "$flusher" || fail "the flush has not waited"
	dm_swap n "$first"$'\n'"$(sectors_of "$loop") 8 linear $more 0"
	wait "$flusher"
	dm_suspend q
	dm_resume q
	lost q 0x12
	dm_remove q
	sound "$lower"
}

# The flush that is made of FUA has no space, where the write itself has some: the image device is an
# image as well, in which another cluster is mapped, and the table that maps it cannot be written.
t_fua_no_space() {
	local guest thin

	full 60 200
	thin=$dev
	image "$thin" $((8 * mb))
	qed p "$thin" error_if_no_space commit_interval 3600000
	lower=$dev
	image "$lower" $((4 * mb))
	qed q "$lower" commit_interval 3600000
	guest=$dev
	io "$guest" "write:0:$c:0x11" flush
	# and no flush comes for that
	wait_for 30 status_is q needs_check -
	wait_for 30 status_is p needs_check -
	dm_suspend t
	dmsetup message "$pre-pool" 0 "create_snap 1 0"
	dm_resume t
	# that leaves enough for two clusters, and the headers
	fill_pool "$thin" 52 200
	io "$guest" "write:0:$c:0x12"
	io "$lower" "write:$((7 * mb)):$c:0x33"
	fill_pool "$thin" 60 100
	is "$(status p dirty)" 1 "the number of table blocks that have not been written"
	io "$guest" "!EIO/fua:0:4096:0x12"
	is "$(status q mode)" rw "the mode"
	dm_swap pool "0 $((100 * 128)) $pool"
	dm_suspend p
	dm_resume p
	lost q 0x12
	io "$lower" "read:$((7 * mb)):$c:0x33"
	dm_remove q
	sound "$lower"
	dm_remove p
	sound "$thin"
}

# t_fua_in_part HOW: a write with FUA to a cluster that is mapped, by a table that has to be read, and to
# one that is not. The first part is done with FUA, and that fails; the second needs a commit. Beside:
# the second goes on when the first has failed. Again: there is no space for it at first.
t_fua_in_part() {
	local guest writer two=$((512 * c))

	case $1 in
	beside)
		need_target delay
		null m 1
		over_loop 1 256 delay "$dev" 0 0 "$dev" 0 3600000 "$dev" 0 0
		;;
	again)
		full 1 64
		io "$dev" "write:$((63 * c)):$c:0"
		over_loop 1 256 linear "$dev" 0
		;;
	*)
		over_loop 1
		;;
	esac
	qed q "$lower"
	io "$dev" "write:$two:$c:0x21"
	dm_remove q
	qed q "$lower" commit_interval 3600000
	guest=$dev
	# this much has room in the first part of the device
	io "$guest" "write:0:$c:0x11"
	[ "$1" = part ] || io "$guest" "write:$((2 * c)):$((5 * c)):0x33"
	io "$guest" flush "write:0:$c:0x12"
	is "$(status q needs_check)" needs_check "NEED_CHECK, which needs a flush, too,"
	fail_flushes
	kmsg_mark
	bg "$bin/blk" io "$guest" "!EIO/fua:$two:$((2 * c)):0x22"
	writer=$!
	wait_for 20 message "error, dev ${loop#/dev/},"
	case $1 in
	beside)
		repair
		is "$(status q inflight)" 1 "the number of allocations in flight"
		io "$guest" "!EIO/flush"
		kill -0 "$writer" || fail "the write has not waited"
		dm_suspend n
		dm_resume n
		;;
	again)
		wait_for 20 status_is q mode out_of_space
		repair
		kill -0 "$writer" || fail "the write has not waited"
		more_space 16
		;;
	*)
		wait "$writer"
		repair
		;;
	esac
	wait "$writer"
	io "$guest" "!EIO/flush" "read:0:$c:0x12"
	qed_reload q "$lower"
	io "$dev" "read:0:$c:0x12" flush
	dm_remove q
	sound "$lower"
}

# The journal of ext4 is committed by a write with PREFLUSH and FUA.
t_preflush() {
	local guest mnt=$tmp/mnt

	need mkfs.ext4
	stack 20 $((16 * mb))
	qed q "$lower"
	guest=$dev
	io "$guest" "write:0:$((16 * mb)):0"
	mkfs.ext4 -q -E nodiscard,lazy_itable_init=0,lazy_journal_init=0 "$guest"
	mkdir -p "$mnt"
	mount "$guest" "$mnt"
	dd if=/dev/zero of="$mnt/file" bs=4096 count=16 conv=fsync status=none
	sync
	io "$guest" flush
	fail_flushes
	refused dd if=/dev/zero of="$mnt/file" bs=4096 count=4 conv=notrunc,fsync
	umount "$mnt"
	repair
	io "$guest" "!EIO/flush"
}

# t_flush_beside WHOSE: a flush fails while a cluster is being written. It may have lost what the
# device has said is written, so no mapping may follow.
t_flush_beside() {
	local guest writer error=

	need_target delay
	stack 4 $((8 * mb))
	qed q "$lower" commit_interval 3600000
	guest=$dev
	io "$guest" "write:0:$c:0x11" flush
	# writes wait until the layer is suspended
	trap repair EXIT
	fail_flushes delay "$disk" 0 0 "$disk" 0 3600000 "$disk" 0 0
	[ "$1" = guest ] || error='!EIO/'
	bg "$bin/blk" io "$guest" "${error}write:$((2 * c)):$c:0x22"
	writer=$!
	wait_for 20 status_is q inflight 1
	if [ "$1" = guest ]; then
		io "$guest" "!EIO/flush"
	else
		refused commit q
	fi
	is "$(status q inflight)" 1 "the number of allocations in flight"
	repair
	wait "$writer"
	io "$guest" "!EIO/flush"
	still_fails q
	qed_reload q "$lower"
	io "$dev" "read:0:$c:0x11" "read:$c:$((3 * c)):0" "write:$((2 * c)):$c:0x33" flush
	dm_remove q
	is_clean "$lower"
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

# message REGEX: for wait_for
message() {
	[[ $(kmsg) =~ $1 ]]
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

	stack 16 $((16 * mb))
	case $1 in
	slow)
		need_target delay
		dm_swap l "0 $(sectors_of "$disk") delay $disk 0 50"
		;;
	esac
	qed q "$lower" commit_interval 20
	# it must not take the processors when all that it does fails
	bg nice -n 19 "$bin/hammer" -t 4 -s 60 -E -F 5 -b 65536 "$dev" 2>"$tmp/hammer"
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
	t_partition "no space below for a write in two parts, in a partition" \
	t_no_space_nowait "no space below for a write that must not wait" \
	t_no_space_to_unmap "no space below to commit what is unmapped" \
	"t_table_write l2" "a failed write of an L2 table makes it read-only" \
	"t_table_write flush" "a failed flush makes it read-only" \
	t_l1_write "a failed write of the L1 table makes it read-only" \
	t_commit_fails "a failed commit without a flush makes it read-only" \
	t_lost "flushes tell of lost writes, also with a new table" \
	"t_flush idle" "a flush that fails before NEED_CHECK is cleared" \
	"t_flush message" "one of the message commit" \
	t_preflush "one that is part of a write, so that device mapper drops its error" \
	"t_flush suspend" "one of a suspend" \
	"t_flush reload" "one of a suspend, before another table is resumed" \
	t_lost_again "one of a suspend, after one that the guest knows of" \
	t_lost_refused "one that the next table has to tell of, which is refused at first" \
	t_lost_claim "a suspended mapping with lost writes does not use the image" \
	"t_fua guest" "one that the image device makes of a write with FUA" \
	"t_fua header" "one that it makes of the write of the header" \
	"t_fua guest mixed" "the same where a part of the image device has FUA" \
	"t_fua header mixed" "of the write of the header, too" \
	t_fua_beside "one of a write with FUA, beside a flush that has come before" \
	t_fua_no_space "one of a write with FUA, for lack of space" \
	"t_fua_in_part part" "one of the first part of a write with FUA" \
	"t_fua_in_part beside" "the same, before the second part has ended" \
	"t_fua_in_part again" "the same, and the whole is tried again for lack of space" \
	"t_flush_beside guest" "a flush that fails beside an allocating write" \
	"t_flush_beside message" "one of the message commit, beside an allocating write" \
	t_full_cache "reads with a cache full of what cannot be written" \
	t_header_write "NEED_CHECK that cannot be written makes it read-only" \
	t_table_read "a table block that cannot be read fails only what it maps" \
	t_activation "tables that cannot be read, at activation" \
	t_remove_dead "removal with a dead image device" \
	"t_force working" "forced removal with I/O in flight and a user" \
	"t_force slow" "forced removal, with a slow image device" \
	"t_force dead" "forced removal, with a dead image device" \
	t_unclean "an image that was not closed is activated without a check"
