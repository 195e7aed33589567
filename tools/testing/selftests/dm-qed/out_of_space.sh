#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# An image device without a free cluster.

# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

c=65536					# a cluster
lower=					# the layer below the target
disk=					# what is below that
waiter=					# a write that waits

# stack CLUSTERS [OPTION]...: an image on a device of that many clusters, which can
# grow; header, L1 and the first L2 table use 9 of them
stack() {
	null a 16
	disk=$dev
	image "$disk" $((8 * mb))
	linear l "$disk" $(($1 * 128))
	lower=$dev
	qed q "$lower" "${@:2}"
}

# grow CLUSTERS
grow() {
	dm_swap l "0 $(($1 * 128)) linear $disk 0"
}

# start COMMAND...: I/O in the background that is to wait for space
start() {
	bg "$bin/blk" io "$dev" "$@"
	waiter=$!
	wait_for 20 status_is q mode out_of_space
}

waits() {
	kill -0 "$waiter" 2>/dev/null || fail "the write does not wait any more"
}

# went_on: the waiting write has ended, and well
went_on() {
	timeout 30 tail --pid="$waiter" -f /dev/null || fail "the write still waits"
	wait "$waiter" || fail "the write that waited has failed"
}

# Fill all but one of 16 clusters, then ask for two: partly there is space.
fill() {
	local events

	io "$dev" "write:0:$((6 * c)):0x11" flush
	events=$(events q)
	start "write:$((20 * c + 4096)):$((2 * c - 8192)):0x22"
	is "$(events q)" $((events + 1)) "the event counter"
	get q
	is "$used/$total" 16/16 "the space in use"
}

# What has to work while a write waits, on data that is there
goes_on() {
	io "$dev" "read:0:$((6 * c)):0x11" "write:512:512:0x12" "read:512:512:0x12" \
		"fua:$c:$c:0x13" "read:$c:$c:0x13" flush "write:0:$((2 * c)):0x11" \
		"read:$((100 * c)):$((10 * c)):0"
	waits
}

filled() {
	io "$dev" "read:0:$((6 * c)):0x11" "read:$((20 * c)):4096:0" \
		"read:$((20 * c + 4096)):$((2 * c - 8192)):0x22" "read:$((22 * c - 4096)):4096:0"
}

closing() {
	dm_remove q
	sound "$lower"
	qed q "$lower"
	filled
}

t_grow() {
	stack 16
	fill
	goes_on
	grow 24
	waits
	dm_suspend q
	went_on
	dm_resume q
	get q
	is "$mode $used/$total" "rw 17/24" "mode and space"
	filled
	io "$dev" "write:$((30 * c)):$((7 * c)):0x33"
	is "$(status q used)" 24 "the number of used clusters"
	start "write:$((40 * c)):4096:0x44"
	grow 32
	dm_suspend q
	went_on
	dm_resume q
	io "$dev" "read:$((40 * c)):4096:0x44"
	closing
}

t_grow_message() {
	stack 16
	fill
	dmsetup message "$pre-q" 0 grow
	waits
	grow 24
	waits
	dmsetup message "$pre-q" 0 grow
	went_on
	wait_for 20 status_is q mode rw
	is "$(status q total)" 24 "the number of clusters"
	closing
	! dmsetup message "$pre-q" 0 grow now 2>/dev/null || fail "grow takes an argument"
}

# Nobody has told it, and no write has to wait, nor has anybody to be told.
t_grow_itself() {
	local before

	stack 16
	io "$dev" "write:0:$((6 * c)):0x11" flush
	before=$(events q)
	grow 24
	io "$dev" "write:$((20 * c + 4096)):$((2 * c - 8192)):0x22" "read:0:$((6 * c)):0x11"
	get q
	is "$mode $used/$total" "rw 17/24" "mode and space"
	is "$(events q)" "$before" "the event counter"
	# nor does who waits, once another write has found it
	io "$dev" "write:$((30 * c)):$((7 * c)):0x33"
	start "write:$((40 * c)):4096:0x44"
	grow 32
	waits
	io "$dev" "write:$((50 * c)):4096:0x55"
	went_on
	io "$dev" "read:$((40 * c)):4096:0x44"
	closing
}

t_grow_noflush() {
	stack 16
	fill
	dm_suspend q noflush
	waits
	grow 24
	dm_resume q
	went_on
	filled
	is "$(status q mode)" rw "the mode"
	closing
}

# Resumed without having grown, it waits again.
t_not_grown() {
	stack 16
	fill
	dm_suspend q noflush
	dm_resume q
	wait_for 20 status_is q mode out_of_space
	goes_on
	grow 24
	qed_reload q "$lower" error_if_no_space
	went_on
	filled
	closing
}

t_error() {
	local i

	stack 16 error_if_no_space
	io "$dev" "write:0:$((6 * c)):0x11" flush "write:$((20 * c)):4096:0x22"
	for i in 1 2 3; do
		io "$dev" "!ENOSPC/write:$((30 * c)):$c:0x99" "!ENOSPC/write:$((31 * c)):512:0x99" \
			"read:0:$((6 * c)):0x11" "fua:0:$c:0x11" "read:$((20 * c)):4096:0x22" \
			"read:$((30 * c)):$((2 * c)):0" flush
	done
	get q
	is "$mode $used/$total $mapped" "out_of_space 16/16 7" "mode, space and mapped clusters"
	# partly there is no space: what there was may have its data
	io "$dev" "!ENOSPC/write:$((5 * c)):$((2 * c)):0x12" "read:$((6 * c)):$c:0"
	grow 24
	dm_suspend q
	dm_resume q
	io "$dev" "write:$((30 * c)):$c:0x33" flush "read:$((30 * c)):$c:0x33"
	is "$(status q mode)" rw "the mode"
	dm_remove q
	sound "$lower"
}

# free, in clusters, from 7 on: an event when it falls below 4
t_low_water() {
	local before i

	stack 16 low_water 4
	before=$(events q)
	io "$dev" "write:0:$((3 * c)):0x11"
	is "$(events q)" "$before" "the event counter with 4 free clusters"
	io "$dev" "write:$((3 * c)):$c:0x11"
	is "$(events q)" $((before + 1)) "the event counter with 3 free clusters"
	matches "$(kmsg)" 'less than 4 clusters are free' "the kernel's log"
	io "$dev" "write:$((4 * c)):$c:0x11" "write:0:$c:0x11" "write:$((5 * c)):$c:0x11" flush
	is "$(events q)" $((before + 1)) "the event counter with 1 free cluster"
	grow 24
	dm_suspend q
	dm_resume q
	before=$(events q)
	io "$dev" "write:$((10 * c)):$((5 * c)):0x11"
	is "$(events q)" "$before" "the event counter with 4 free clusters again"
	io "$dev" "write:$((20 * c)):$c:0x11"
	is "$(events q)" $((before + 1)) "the event counter with 3 free clusters again"
	# it has grown before it is low again: there is nothing to tell
	grow 32
	before=$(events q)
	io "$dev" "write:$((21 * c)):$c:0x11"
	is "$(events q)" "$before" "the event counter with 10 free clusters"
	io "$dev" "write:$((30 * c)):$((7 * c)):0x11"
	is "$(events q)" $((before + 1)) "the event counter with 3 free clusters of 32"
	is "$(status q mode)" rw "the mode"
}

users_are() {
	[ "$(dmsetup info -c --noheadings -o open "$pre-q")" -eq "$1" ]
}

# t_removal HOW: the writes that wait end, with an error
t_removal() {
	local pids=() pid i

	stack 16
	fill
	pids=("$waiter")
	for i in 1 2 3; do
		bg "$bin/blk" io "$dev" "!EIO/write:$((50 * c + i * c)):$((i * 4096)):0x99"
		pids+=($!)
	done
	wait_for 20 users_are 4
	case $1 in
	wipe)
		blk dm wipe "$pre-q"
		;;
	force)
		# it may be too early for the last step, when the writers have it open
		timeout 30 dmsetup remove --force --retry "$pre-q" || [ $? != 124 ] ||
			fail "it does not end"
		;;
	esac
	for pid in "${pids[@]}"; do
		timeout 30 tail --pid="$pid" -f /dev/null || fail "a write still waits"
	done
	if wait "${pids[0]}"; then
		fail "the first write has not failed"
	fi
	for pid in "${pids[@]:1}"; do
		wait "$pid" || fail "a write has ended in another way"
	done
	release_q
	sound "$lower"
	qed q "$lower"
	io "$dev" "read:0:$((6 * c)):0x11" "read:$((50 * c)):$((4 * c)):0"
}

release_q() {
	if [ -n "$(blk dm list "$pre-q")" ]; then
		dm_remove q
	fi
}

# A table of 16 clusters of 4 KiB needs them in a row, and maps 32 MiB.
t_table_space() {
	local small=4096 before

	null a 16
	disk=$dev
	image "$disk" $((96 * mb)) "$small" 16
	linear l "$disk" $((48 * 8))
	lower=$dev
	qed q "$lower"
	# header, L1, L2: 33 clusters; then 15 of data fit, but no table
	io "$dev" "write:0:$((10 * small)):0x11" flush
	start "write:$((32 * mb)):$small:0x22"
	before=$(events q)
	io "$dev" "write:$((10 * small)):$((3 * small)):0x11" "read:0:$((13 * small)):0x11" \
		"read:$((32 * mb)):$small:0" flush
	waits
	is "$(status q mode)" out_of_space "the mode while a write waits and others do not"
	io "$dev" "write:$((13 * small)):$((2 * small)):0x11"
	is "$(events q)" "$before" "the event counter"
	get q
	is "$used/$total" 48/48 "the space in use"
	dm_swap l "0 $((80 * 8)) linear $disk 0"
	dm_suspend q
	went_on
	dm_resume q
	io "$dev" "read:0:$((15 * small)):0x11" "read:$((32 * mb)):$small:0x22"
	is "$(status q mode)" rw "the mode"
	dm_remove q
	sound "$lower"

	qed q "$lower" error_if_no_space
	io "$dev" "write:$((40 * mb)):$((12 * small)):0x33" "!ENOSPC/write:$((64 * mb)):$small:0x44" \
		"write:$((48 * mb)):$((3 * small)):0x33" "!ENOSPC/write:0:$((16 * small)):0x11" \
		"read:0:$((15 * small)):0x11"
	get q
	is "$used/$total" 80/80 "the space in use"
}

# Many writers and too little space, then enough
t_many() {
	local i pids=() pid

	stack 24
	for i in {0..7}; do
		bg "$bin/blk" io "$dev" "write:$((i * 8 * c)):$((8 * c)):$((i + 1))"
		pids+=($!)
	done
	wait_for 20 status_is q mode out_of_space
	wait_for 20 status_is q used 24
	grow 60
	dm_suspend q noflush
	dm_resume q
	wait_for 20 status_is q mode out_of_space
	wait_for 20 status_is q used 60
	grow 80
	dm_suspend q
	dm_resume q
	for pid in "${pids[@]}"; do
		waiter=$pid
		went_on
	done
	get q
	is "$mode $used $mapped" "rw 73 64" "mode, used, mapped"
	dm_remove q
	sound "$lower"
	qed q "$lower"
	for i in {0..7}; do
		io "$dev" "read:$((i * 8 * c)):$((8 * c)):$((i + 1))"
	done
}

# More table blocks than the cache has, and in them clusters that the device did not have before
t_grown_tables() {
	local fio i tables=64 writes=()

	need fio
	null a 16
	disk=$dev
	image "$disk" $((tables * 2 * mb)) 4096 1
	qed q "$disk"
	for ((i = 0; i < tables; i++)); do
		writes+=("write:$((i * 2 * mb)):4096:1")
	done
	io "$dev" "${writes[@]}"
	dm_remove q
	linear l "$disk" $(((2 + 2 * tables) * 8))
	lower=$dev
	qed q "$lower" cache_kib 64
	is "$(status q used)" $((2 + 2 * tables)) "the space in use"
	bg fio --output="$tmp/fio.log" --direct=1 --ioengine=libaio --thread --name=grown \
		--filename="$dev" --rw=randwrite --bs=4k --iodepth=256 --number_ios=512 \
		--verify=crc32c --verify_fatal=1 --verify_state_save=0
	fio=$!
	wait_for 60 status_is q queued 256
	dm_swap l "0 $((16 * mb / 512)) linear $disk 0"
	dm_suspend q
	is "$(status q mode)" rw "the mode when they have gone on"
	dm_resume q
	waiter=$fio
	went_on
	is "$(status q mode)" rw "the mode"
	dm_remove q
	sound "$lower"
}

# What is not a whole cluster at the end is not used.
t_last_cluster() {
	null a 16
	disk=$dev
	image "$disk" $((8 * mb))
	linear l "$disk" $((12 * 128 + 120))
	lower=$dev
	qed q "$lower" error_if_no_space zeroed_from 5
	scanned q
	io "$dev" "write:0:$((3 * c)):0x11" "!ENOSPC/write:$((3 * c)):512:0x99" flush \
		"read:0:$((3 * c)):0x11"
	get q
	is "$used/$total" 12/12 "the space in use"
}

# Space that is discarded lets them go on, without anybody's help.
t_discard() {
	local events

	stack 16 commit_interval 3600000
	fill
	events=$(events q)
	is "$(status q queued)" 1 "the number of queued bios"
	io "$dev" "discard:$((2 * c)):$c"
	went_on
	io "$dev" "read:0:$((2 * c)):0x11" "read:$((2 * c)):$c:0" "read:$((3 * c)):$((3 * c)):0x11" \
		"read:$((20 * c + 4096)):$((2 * c - 8192)):0x22"
	get q
	is "$mode $queued $used/$total" "rw 0 16/16" "mode, queued bios and space"
	is "$(events q)" $((events + 1)) "the event counter"
	dm_remove q
	sound "$lower"
}

timeout_file=/sys/module/dm_qed_mod/parameters/no_space_timeout

# Who has waited too long gets an error, and so do those that come after.
t_timeout() {
	stack 16
	is "$(cat "$timeout_file")" 60 "the default of the timeout"
	echo 1 >"$timeout_file"
	trap 'echo 60 >$timeout_file' EXIT
	io "$dev" "write:0:$((6 * c)):0x11" flush
	io "$dev" "!ENOSPC/write:$((20 * c)):$((2 * c)):0x22" "!ENOSPC/write:$((40 * c)):512:0x33"
	matches "$(kmsg)" "no space for 1 seconds: writes that need it fail now" "the kernel's log"
	io "$dev" "read:0:$((6 * c)):0x11" "write:0:512:0x11" flush
	is "$(status q mode)" out_of_space "the mode"
	grow 24
	dm_suspend q
	dm_resume q
	# more than 32 bits have room for in jiffies, of any length
	echo $((1 << 31)) >"$timeout_file"
	io "$dev" "write:$((30 * c)):$((8 * c)):0x44"
	is "$(status q mode)" rw "the mode"
	# and the next ones wait again
	start "write:$((50 * c)):$c:0x55"
	sleep 1.5
	waits
	io "$dev" "discard:$((30 * c)):$c"
	went_on
}

# thin BLOCKS: the table of a pool that has so many of 64 KiB
thin() {
	echo "0 $(($1 * 128)) thin-pool $meta $data 128 0 1 error_if_no_space"
}

# thin_image BLOCKS [MIB [TABLE]]: an image on a thin device of such a pool; sets $lower
thin_image() {
	need_target thin-pool
	null m 8
	meta=$dev
	null d 64
	data=$dev
	dm pool "$(thin "$1")"
	dmsetup message "$pre-pool" 0 "create_thin 0"
	dm l "0 $((64 * mb / 512)) thin $dev 0"
	lower=$dev
	image "$lower" $((${2:-32} * mb)) "$c" "${3:-4}"
}

# The image device itself has no space: for data, then for tables
t_thin() {
	thin_image 12
	qed q "$lower" commit_interval 3600000
	# a block for the header, four for the table, one for the L1
	io "$dev" "write:0:$((4 * c)):0x11" flush
	start "write:$((10 * c)):$((4 * c)):0x22"
	io "$dev" "read:0:$((4 * c)):0x11" "write:512:$c:0x12" "read:$((10 * c)):$((4 * c)):0"
	waits
	is "$(status q queued)" 1 "the number of queued bios"
	dm_swap pool "$(thin 24)"
	dm_suspend q noflush
	dm_resume q
	went_on
	is "$(status q mode)" rw "the mode"
	io "$dev" "read:$((10 * c)):$((4 * c)):0x22" "read:512:$c:0x12"
	dm_remove q
	sound "$lower"
	is_clean "$lower"
}

# Nor for the header, which says that the image is in use before the first change of a clean one.
t_thin_header() {
	local before size

	# header, L1, four for the table, and three for data: all that the pool has
	thin_image 9
	qed q "$lower" commit_interval 3600000
	io "$dev" "write:0:$((3 * c)):0x11" flush
	dm_remove q
	is_clean "$lower"
	# what is written now is first copied, to blocks that the pool does not have
	dm_suspend l
	dmsetup message "$pre-pool" 0 "create_snap 1 0"
	dm_resume l
	qed q "$lower" commit_interval 3600000
	before=$(events q)
	start "write:$((10 * c)):$c:0x22"
	at_least "$(events q)" $((before + 1)) "the event counter"
	io "$dev" "read:0:$((3 * c)):0x11" "read:$((10 * c)):$c:0"
	waits
	size=$(blk u64 "$lower" 48)
	refused dmsetup message "$pre-q" 0 "resize $((size / 512 + 128))"
	is "$(status q mode)" out_of_space "the mode"
	is "$(blk u64 "$lower" 48)" "$size" "the size in the header"
	dm_swap pool "$(thin 40)"
	dm_suspend q noflush
	dm_resume q
	went_on
	is "$(status q mode)" rw "the mode"
	io "$dev" flush "read:$((10 * c)):$c:0x22"
	dmsetup message "$pre-q" 0 "resize $((size / 512 + 128))"
	dm_remove q
	is_clean "$lower"
	sound "$lower"
}

# Nor to clear autoclear bits that are not known: the image can be read until there is
t_thin_autoclear() {
	thin_image 9
	qed q "$lower"
	io "$dev" "write:0:$((3 * c)):0x11" flush
	dm_remove q
	qedimg poke "$lower" 32 ffff000000000080
	dm_suspend l
	dmsetup message "$pre-pool" 0 "create_snap 1 0"
	dm_resume l
	qed q "$lower"
	is "$(status q mode)" ro "the mode"
	matches "$(kmsg)" 'no space to clear autoclear features' "the kernel's log"
	io "$dev" "read:0:$((3 * c)):0x11" "!EIO/write:0:$c:0x22" "!EIO/write:$((10 * c)):$c:0x22"
	[ "$(blk u64 "$lower" 32)" != 0 ] || fail "autoclear bits are cleared"
	dm_swap pool "$(thin 40)"
	qed_reload q "$lower"
	is "$(status q mode)" rw "the mode"
	is "$(blk u64 "$lower" 32)" 9223372036854775808 "the autoclear bits"
	io "$dev" "write:$((10 * c)):$c:0x22" flush
	dm_remove q
	is_clean "$lower"
	sound "$lower"
}

# Nor to say that the image is given up. Nothing is lost, and the host can have it again; others
# cannot, and that is told.
t_thin_close() {
	local other q

	thin_image 9
	linear other "$lower"
	other=$dev
	qed q "$lower" host first
	q=$dev
	io "$dev" "write:0:$((3 * c)):0x11" flush
	dm_suspend l
	dmsetup message "$pre-pool" 0 "create_snap 1 0"
	dm_resume l
	kmsg_mark
	dm_suspend q
	matches "$(kmsg)" 'no space to write that the image is given up: to other hosts first has it' \
		"the kernel's log"
	is_active "$lower" || fail "the record is not active"
	qed_refused p "$other" host second
	matches "$error" 'in use by host first, owner [0-9a-f]{32}: see takeover' "the kernel's log"
	qed p "$other" host first
	io "$dev" "read:0:$((3 * c)):0x11"
	dm_remove p
	dm_swap pool "$(thin 40)"
	dm_resume q
	io "$q" "read:0:$((3 * c)):0x11" "write:$((10 * c)):$c:0x22" flush
	dm_remove q
	! is_active "$lower" || fail "the record is active"
	is_clean "$lower"
	sound "$lower"
}

# Nor to say that somebody has it: then another path to it is refused, too.
t_thin_paths() {
	local other q top=$tmp/top

	thin_image 9
	linear other "$lower"
	other=$dev
	truncate -s 16M "$top"
	image "$top" $((4 * c))
	# with a backing file, the name of which has four bytes
	blk poke "$top" 16 5
	blk poke "$top" 56 $((128 | 4 << 32))
	loop "$top"
	top=$dev
	qed q "$lower"
	io "$dev" "write:0:$((3 * c)):0x11" flush
	dm_remove q
	dm_suspend l
	dmsetup message "$pre-pool" 0 "create_snap 1 0"
	dm_resume l
	kmsg_mark
	qed q "$lower"
	q=$dev
	matches "$(kmsg)" 'no space for the record: it is written with the first change' \
		"the kernel's log"
	! is_active "$lower" || fail "the record is active"
	qed_refused p "$other"
	matches "$error" 'in use on this host, by a device with no space for its record' \
		"the kernel's log"
	# nor is it below another image
	qed_refused p "$top" layer "$other"
	matches "$error" 'layer .*in use on this host, by a device with no space for its record' \
		"the kernel's log"
	# another table of the same device is not another path
	qed_reload q "$lower"
	qed_refused p "$other"
	dm_swap pool "$(thin 40)"
	io "$q" "write:$((10 * c)):$c:0x22" flush
	is_active "$lower" || fail "the record is not active"
	qed_refused p "$other"
	matches "$error" 'in use on this host, .*, by another path: owner' "the kernel's log"
	dm_remove q
	qed p "$other"
	io "$dev" "read:0:$((3 * c)):0x11" "read:$((10 * c)):$c:0x22"
	dm_remove p
	sound "$lower"
}

# The end of the wait, with clusters that the image device has no space for
t_thin_timeout() {
	thin_image 12
	echo 1 >"$timeout_file"
	trap 'echo 60 >$timeout_file' EXIT
	qed q "$lower" commit_interval 3600000
	io "$dev" "write:0:$((4 * c)):0x11" flush
	bg "$bin/blk" io "$dev" "!ENOSPC/write:$((10 * c)):$((4 * c)):0x22"
	waiter=$!
	went_on
	io "$dev" "!ENOSPC/write:$((20 * c)):$((4 * c)):0x33" "read:0:$((4 * c)):0x11" \
		"write:$c:512:0x11" flush
	is "$(status q mode)" out_of_space "the mode"
	echo 60 >"$timeout_file"
	dm_swap pool "$(thin 40)"
	dm_suspend q
	dm_resume q
	io "$dev" "write:$((10 * c)):$((4 * c)):0x22" flush
	is "$(status q mode)" rw "the mode"
	dm_remove q
	sound "$lower"
}

# What there was no space for is kept over a suspend. If somebody else has taken the image by then
# it is lost, and the image is left alone.
t_thin_taken() {
	local q

	thin_image 3
	qed q "$lower" commit_interval 3600000 zeroed_from 5 host first
	q=$dev
	io "$q" "write:0:$((2 * c)):0x11"
	dm_suspend q
	is "$(status q mode)" out_of_space "the mode"
	dm_swap pool "$(thin 24)"
	linear other "$lower"
	blockdev --flushbufs "$dev"
	qedimg record "$dev" host=second flags=1
	sync
	blockdev --flushbufs "$dev"
	qed p "$dev" host second
	io "$dev" "write:0:$c:0x22" flush
	wait_for 20 is_clean "$lower"
	io_start "$lower"
	kmsg_mark
	dm_resume q
	io_end "$lower"
	is "$wsectors" 0 "the number of sectors written"
	matches "$(kmsg)" 'host second has taken the image, owner [0-9a-f]{32}' "the kernel's log"
	is "$(status q mode)" ro "the mode"
	io "$q" "!EIO/write:0:$c:0x33" "!EIO/flush"
	io "$dev" "read:0:$c:0x22" "write:$c:$c:0x22" flush
	dm_remove q
	dm_remove p
	sound "$lower"
}

# Somebody else takes it while there is no space for the tables: that is seen, before there is some.
t_thin_taken_waiting() {
	local q

	thin_image 3
	qed q "$lower" commit_interval 3600000 zeroed_from 5 host first
	q=$dev
	io "$q" "write:0:$((2 * c)):0x11"
	start flush
	is "$(status q mode)" out_of_space "the mode"
	# it may have looked since the write
	sleep 8
	linear other "$lower"
	blockdev --flushbufs "$dev"
	qedimg record "$dev" host=second flags=1
	sync
	wait_for 20 status_is q mode ro
}

# t_thin_tables: there is space for data, and none for the table that maps it
t_thin_tables() {
	thin_image 3
	# known to be zero: the table is not written before the commit
	qed q "$lower" commit_interval 3600000 zeroed_from 5
	io "$dev" "write:0:$((2 * c)):0x11"
	start flush
	get q
	is "$mode $dirty" "out_of_space 2" "mode and dirty blocks"
	matches "$(kmsg)" "no space for the tables on the image device" "the kernel's log"
	io "$dev" "read:0:$((2 * c)):0x11"
	waits
	dm_swap pool "$(thin 24)"
	dm_suspend q noflush
	dm_resume q
	went_on
	is "$(status q dirty)" 0 "the number of dirty blocks"
	io "$dev" "write:$((4 * c)):$c:0x22" "read:0:$((2 * c)):0x11" "read:$((4 * c)):$c:0x22"
	is "$(status q mode)" rw "the mode"
	dm_remove q
	sound "$lower"
}

# The same with errors: what has no table yet may still have its data.
t_thin_tables_error() {
	# space for the header, and for the first three clusters behind the table
	thin_image 4
	io "$lower" "write:$((9 * c)):$((3 * c)):0"
	qed q "$lower" commit_interval 3600000 zeroed_from 5 error_if_no_space
	io "$dev" "write:0:$((2 * c)):0x11" "!ENOSPC/flush" "!ENOSPC/fua:0:512:0x11"
	is "$(status q mode)" out_of_space "the mode"
	io "$dev" "write:$((2 * c)):$c:0x22" "!ENOSPC/write:$((3 * c)):$c:0x99" "!ENOSPC/flush" \
		"read:0:$((2 * c)):0x11" "read:$((2 * c)):$c:0x22"
	is "$(status q mode)" out_of_space "the mode after there was space for data"
	dm_swap pool "$(thin 24)"
	io "$dev" flush "write:$((3 * c)):$c:0x33" flush
	get q
	is "$mode $dirty" "rw 0" "mode and dirty blocks"
	dm_remove q
	sound "$lower"
}

# There is no space for any table, and all of the cache has to be written.
t_full_cache() {
	local far=$((20 * 32 * mb)) near=$((14 * 32 * mb)) i writes=() reader

	# A table of 32 blocks, each for 32 MiB. All of the pool is for the header, and for data.
	thin_image 57 1024 2
	io "$lower" "write:$((5 * c)):$((56 * c)):0"
	qed q "$lower" cache_kib 64 zeroed_from 3
	for i in {0..15}; do
		writes+=("write:$((i * 32 * mb)):$c:$((i + 1))")
	done
	io "$dev" "${writes[@]:0:9}"
	wait_for 20 status_is q mode out_of_space
	start "${writes[@]:9}"
	wait_for 20 status_is q queued 1
	wait_for 20 status_is q dirty 16

	bg "$bin/blk" io "$dev" "${writes[@]:0:15}" "read:$far:$c:0" "read:$((far + 64 * mb)):$c:0" \
		"discard:$near:$c" "read:$near:$c:15" "zero:$near:4096" "read:$near:4096:0" \
		"write:$near:$c:15"
	reader=$!
	timeout 30 tail --pid="$reader" -f /dev/null || fail "they wait who need no space"
	wait "$reader"
	waits
	dm_suspend q noflush
	dm_resume q
	wait_for 20 status_is q queued 1
	waits
	dm_swap pool "$(thin 80)"
	dm_suspend q noflush
	dm_resume q
	went_on
	io "$dev" "${writes[@]//write/read}" "discard:0:$c" "read:0:$c:0" "write:$far:$c:0x88" flush \
		"read:$far:$c:0x88"
	get q
	is "$mode $dirty" "rw 0" "mode and dirty blocks"
	at_most "$cached" "$limit" "the size of the cache"
	dm_remove q
	sound "$lower"
}

# A sparse file on a filesystem that is full
t_filesystem() {
	need mkfs.ext4
	null f 32
	mkfs.ext4 -q -O ^has_journal -m 0 "$dev"
	mount "$dev" "$tmp/mnt"
	truncate -s 100M "$tmp/mnt/file"
	image "$tmp/mnt/file" $((64 * mb))
	lower=$(losetup --find --show --direct-io=on "$tmp/mnt/file")
	echo "$lower" >>"$tmp/lib/loops"
	[ "$(cat "/sys/block/${lower#/dev/}/loop/dio")" = 1 ] || skip "no direct I/O for loop"
	qed q "$lower" zeroed_from 5
	io "$dev" "write:0:$((10 * c)):0x11" flush
	dd if=/dev/zero of="$tmp/mnt/filler" bs=1M 2>"$tmp/dd" || true
	matches "$(cat "$tmp/dd")" "No space left" "what dd says"
	start "write:$((20 * c)):$((40 * c)):0x22"
	io "$dev" "read:0:$((10 * c)):0x11" "write:$c:$c:0x11"
	waits
	rm "$tmp/mnt/filler"
	dm_suspend q noflush
	dm_resume q
	went_on
	io "$dev" flush "read:0:$((10 * c)):0x11" "read:$((20 * c)):$((40 * c)):0x22"
	is "$(status q mode)" rw "the mode"
	dm_remove q
	sound "$tmp/mnt/file"
	unloop "$lower"
	umount "$tmp/mnt"
}

run t_grow "writes wait until the device has grown and was suspended" \
	t_grow_message "writes wait until the device has grown and is told by a message" \
	t_grow_itself "a device that has grown is found to be larger when there is no space" \
	t_grow_noflush "the device grows while it is suspended without a flush" \
	t_not_grown "resumed without space, and grown by a new table" \
	t_error "error_if_no_space" \
	t_low_water "low_water raises one event" \
	"t_removal wipe" "writes that wait fail when the table is replaced by errors" \
	"t_removal force" "writes that wait fail when the device is removed by force" \
	t_table_space "no space for a new table" \
	t_many "many writes that wait" \
	t_grown_tables "many writes that wait, and a small cache" \
	t_last_cluster "the last cluster of the device" \
	t_discard "space that is discarded" \
	t_timeout "the end of the wait" \
	t_thin "an image device without space for data" \
	t_thin_header "one without space for the header" \
	t_thin_autoclear "one without space to clear autoclear bits" \
	t_thin_close "one without space to say that the image is given up" \
	t_thin_paths "one without space to say that somebody has it, by two paths" \
	t_thin_timeout "the end of the wait for space on the image device" \
	t_thin_taken_waiting "somebody else takes an image that has no space for tables" \
	t_thin_taken "what is kept without space, of an image that somebody else has taken" \
	t_thin_tables "an image device without space for tables" \
	t_thin_tables_error "the same with error_if_no_space" \
	t_full_cache "no space for tables, and a cache full of them" \
	t_filesystem "a file on a full filesystem"
