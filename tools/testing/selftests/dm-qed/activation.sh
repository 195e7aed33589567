#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# An image is ready at once, and its tables are scanned meanwhile. Reads of tables are held up by
# a layer below, so that a scan lasts as long as a test needs it.

# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

c=4096					# a cluster, and a table: it maps 2 MiB
hole=$mb				# where the first table maps nothing
disk=					# what is below the layer
lower=					# the layer
size=					# of these, in sectors
waiter=					# a write in the background
timeout_file=/sys/module/dm_qed_mod/parameters/no_space_timeout

# stack TABLES: an image with so many tables, each with a cluster; header, L1, the first table
# and its data are clusters 0 to 3, then there is a table and a cluster of data in turn
stack() {
	local i ios=()

	need_target delay
	null a 16 discard=1
	disk=$dev
	image "$disk" $(($1 * 2 * mb)) "$c" 1
	size=$(sectors_of "$disk")
	linear l "$disk"
	lower=$dev
	qed q "$lower"
	for ((i = 0; i < $1; i++)); do
		ios+=("write:$((i * 2 * mb)):$c:0x11")
	done
	io "$dev" "${ios[@]}"
	dm_remove q
	is "$(blk u64 "$disk" $((c + 8)))" $((4 * c)) "the place of the second table"
	no_record "$disk"
}

# slow MS: all but the first table and its data are read with a delay
slow() {
	dm_swap l "0 32 linear $disk 0"$'\n'"32 $((size - 32)) delay $disk 32 $1 $disk 32 0"
}

# hold: the same, for longer than anybody waits; let_go: what is held goes on
hold() {
	slow 60000
}

let_go() {
	dm_swap l "0 $size linear $disk 0"
}

# held OPTION...: an image whose scan cannot go on, and what there is to be seen of it
held() {
	hold
	qed_at_once q "$lower" "$@"
	wait_for 10 is_scanning q
	is "$(status q mode)" rw "the mode"
	is "$(status q used)" - "the number of used clusters"
}

# start COMMAND: I/O in the background that has to wait for the scan
start() {
	bg "$bin/blk" io "$dev" "$@"
	waiter=$!
	wait_for 20 status_is q queued 1
}

waits() {
	kill -0 "$waiter" 2>/dev/null || fail "the write does not wait any more"
	is_scanning q || fail "the scan has ended"
}

# ended: the waiting I/O has ended in the way it was to
ended() {
	timeout 30 tail --pid="$waiter" -f /dev/null || fail "the write still waits"
	wait "$waiter"
}

# What is mapped by a table that can be read is there before the scan, to be read and written
t_ready() {
	stack 4
	held
	io "$dev" "read:0:$c:0x11" "read:$hole:65536:0" "write:0:512:0x22" flush "read:0:512:0x22" \
		"fua:512:512:0x23" "read:1024:$((c - 1024)):0x11"
	is_scanning q
	is_clean "$disk"
	let_go
	scanned q
	is "$(status q used)" 10 "the number of used clusters"
	is "$(status q mapped)" 4 "the number of mapped clusters"
	io "$dev" "read:$((6 * mb)):$c:0x11"
	dm_remove q
	sound "$disk"
}

# So many reads until the guest has read something, however large the image: header three times, its
# L1 table, that again and the first table for the scan; the table, and the data
t_reads() {
	stack "$1"
	hold
	io_start "$disk"
	qed_at_once q "$lower"
	io "$dev" "read:0:$c:0x11"
	io_end "$disk"
	is_scanning q
	at_most "$reads" 10 "the number of reads"
	let_go
	scanned q
	is "$(status q mapped)" "$1" "the number of mapped clusters"
}

# A write that needs a cluster waits for the scan, however long, and for nothing else
t_waits() {
	local count secs

	secs=$(cat "$timeout_file")
	later set_timeout "$secs"
	set_timeout 1
	stack 4
	held "$@"
	count=$(events q)
	start "write:$hole:$c:0x33" flush
	sleep 2.5
	waits
	is "$(status q mode)" rw "the mode"
	is "$(status q queued)" 1 "the number of writes that wait"
	is "$(status q inflight)" 0 "the number of allocations"
	is "$(events q)" "$count" "the number of events"
	is_clean "$disk"
	let_go
	ended
	scanned q
	is "$(events q)" $((count + 1)) "the number of events at the end of the scan"
	is "$(status q mode)" rw "the mode"
	is "$(status q queued)" 0 "the number of writes that wait"
	io "$dev" "read:$hole:$c:0x33"
	dm_remove q
	sound "$disk"
}

set_timeout() {
	echo "$1" >"$timeout_file"
}

# ... unless it is known what is free
t_known() {
	stack 4
	held zeroed_from 100
	io "$dev" "write:$hole:$c:0x33" flush
	is_scanning q
	is_dirty "$disk"
	let_go
	scanned q
	is "$(status q used)" 11 "the number of used clusters"
	io "$dev" "read:$hole:$c:0x33" "write:$((hole + c)):$c:0x44" flush
	dm_remove q
	sound "$disk"
}

# The same with what the record knows: it gets a cluster behind all that is in use
t_recorded() {
	stack 4
	qed q "$lower"
	dm_remove q
	is "$(blk u64 "$disk" 472)" 10 "the end in the record"
	held
	io "$dev" "write:$hole:$c:0x33" flush
	is_scanning q
	is_dirty "$disk"
	let_go
	scanned q
	is "$(status q used)" 11 "the number of used clusters"
	io "$dev" "read:0:$c:0x11" "read:$hole:$c:0x33" "write:$((hole + c)):$c:0x44" flush
	# the table has more than what the scan has seen
	io "$dev" "discard:$((hole + c)):$c" "discard:0:$c" flush "read:$hole:$c:0x33"
	dm_suspend q
	dm_resume q
	io "$dev" "read:$hole:$c:0x33" "read:0:$c:0"
	dm_remove q
	is "$(blk u64 "$disk" 472)" 11 "the end in the record"
	sound "$disk"
}

# Before the scan has ended it is known, too, and then it is lower if what was there is gone.
t_recorded_again() {
	stack 512
	qed q "$lower"
	dm_remove q
	slow 2000
	qed_at_once q "$lower"
	io "$dev" "write:$hole:$c:0x33" flush
	stops dm_suspend q
	is_clean "$disk"
	is "$(blk u64 "$disk" 472)" 1027 "the end in the record of what was not scanned"
	let_go
	dm_resume q
	io "$dev" "discard:$hole:$c" flush
	wait_for 20 status_is q reclaiming 0
	dm_remove q
	is "$(blk u64 "$disk" 472)" 1026 "the end in the record"
	sound "$disk"
}

# After a crash of this target, too, and then NEED_CHECK stays until the scan has ended.
t_crashed() {
	stack 512
	qedimg record "$disk" host=a-host flags=1
	blk poke "$disk" 16 2
	slow 2000
	qed_at_once q "$lower" host a-host
	is_dirty "$disk"
	io "$dev" "read:0:$c:0x11" "write:0:$c:0x22" flush
	stops dm_suspend q
	is_dirty "$disk"
	has_record "$disk" || fail "it has no record any more"
	is "$(blk u64 "$disk" 472)" 0 "the end in the record"
	let_go
	dm_resume q
	wait_for 20 is_clean "$disk"
	io "$dev" "write:$hole:$c:0x33" flush
	dm_remove q
	is "$(blk u64 "$disk" 472)" 1027 "the end in the record"
	sound "$disk"
}

# So it is of a device that has grown: the record says so before that is used.
t_crashed_grown() {
	stack 4
	dm_swap l "0 $((size / 2)) linear $disk 0"
	qed q "$lower"
	dm_swap l "0 $size linear $disk 0"
	dmsetup message "$pre-q" 0 grow
	is "$(status q total)" $((size * 512 / c)) "the number of clusters"
	# not only when NEED_CHECK is set the next time
	is "$(blk u64 "$disk" 496)" $((size * 512)) "the size in the record"
	io "$dev" "write:$hole:$c:0x22" "write:$((hole + c)):$c:0x33" flush
	dm_swap l "0 $size error"
	dm_remove q
	is_dirty "$disk"
	slow 10000
	qed_at_once q "$lower"
	is_scanning q || fail "it has been scanned first"
	let_go
	scanned q
	io "$dev" "read:$hole:$c:0x22" "read:$((hole + c)):$c:0x33"
	dm_remove q
	sound "$disk"
}

# stops COMMAND...: this ends a scan at once, whatever is left of it
stops() {
	io_start "$disk"
	wait_for 10 is_scanning q
	wait_for 10 has_read "$disk" 30
	"$@"
	io_end "$disk"
	at_most "$reads" 250 "the number of reads"
}

# It has 512 tables to read, 32 at a time: that takes 40 s
t_stopped() {
	stack 512
	slow 2500
	qed_at_once q "$lower"
	stops dm_suspend q
	is "$(status q scan)" - "the scan of a suspended device"
	let_go
	dm_resume q
	is "$(status q mapped)" 512 "the number of mapped clusters"
	dm_remove q

	slow 2500
	qed_at_once q "$lower"
	stops dm_remove q

	qed_at_once q "$lower"
	dm_load q "$(table "$lower" cache_kib 128)"
	stops dm_suspend q
	let_go
	dm_resume q
	is "$(status q mapped)" 512 "the number of mapped clusters"
	dm_remove q
	sound "$disk"
}

# A write that waits for the scan comes again after a suspend without flush
t_requeued() {
	stack 512
	slow 2500
	qed_at_once q "$lower"
	start "write:$hole:$c:0x33" flush
	stops dm_suspend q noflush
	is "$(status q queued)" 0 "the number of writes that wait"
	[ -e "/proc/$waiter" ] || fail "the write does not wait any more"
	let_go
	dm_resume q
	ended
	io "$dev" "read:$hole:$c:0x33"
	dm_remove q
	sound "$disk"
}

# One with a flush waits for the write, and so for the scan
t_flushed() {
	local suspend

	stack 4
	held
	start "write:$hole:$c:0x33" flush
	bg "$bin/blk" dm suspend "$pre-q"
	suspend=$!
	sleep 1
	kill -0 "$suspend" || fail "the suspend has not waited"
	let_go
	wait "$suspend"
	dm_resume q
	ended
	io "$dev" "read:$hole:$c:0x33"
	dm_remove q
	sound "$disk"
}

# Two entries refer to a cluster: the device is read-only when the scan has seen the second one
t_defect() {
	stack 4
	blk poke "$disk" $((4 * c + 8)) $((3 * c))
	held
	kmsg_mark
	start "!EIO/write:$hole:$c:0x33"
	let_go
	ended
	wait_for 10 status_is q mode ro
	matches "$(kmsg)" 'referenced already' "the kernel's log"
	matches "$(kmsg)" 'defective tables: going read-only' "the kernel's log"
	is "$(status q queued)" 0 "the number of writes that wait"
	io "$dev" "read:0:$c:0x11" "!EIO/write:0:$c:0x44"
	dm_remove q
	is_clean "$disk"
}

# What the device grows by meanwhile is not used: an entry that refers to it would not be seen
t_grown() {
	local suspend

	stack 512
	blk poke "$disk" $((1024 * c + 8)) $((1028 * c))
	dm_swap l "0 $((1028 * c / 512)) linear $disk 0"
	# more tables than are read while the layer below is replaced
	size=$((1028 * c / 512)) held
	start "!EIO/write:$hole:$c:0x33"
	kmsg_mark
	hold
	is_scanning q
	bg "$bin/blk" dm suspend "$pre-q"
	suspend=$!
	sleep 1
	kill -0 "$suspend" || fail "the suspend has not waited"
	let_go
	ended
	wait "$suspend"
	dm_resume q
	is "$(status q mode)" ro "the mode"
	matches "$(kmsg)" 'entry 1: 0x404000 is beyond the end of the device' "the kernel's log"
	dm_remove q
	is_clean "$disk"
}

# ... but it is as soon as the scan has ended, if somebody has told of it
t_told_to_grow() {
	stack 512
	dm_swap l "0 $((1028 * c / 512)) linear $disk 0"
	size=$((1028 * c / 512)) held
	hold
	is_scanning q
	dmsetup message "$pre-q" 0 grow
	is_scanning q
	let_go
	scanned q
	wait_for 10 status_is q total $((size * 512 / c))
	io "$dev" "write:$hole:$c:0x33" flush
	dm_remove q
	sound "$disk"
}

# A table that cannot be read: what is free stays unknown, and the device works but for that
t_unreadable() {
	stack 4
	held
	kmsg_mark
	start "write:$hole:$c:0x33" flush
	null_bad a +32-39
	let_go
	wait_for 20 status_is q mode out_of_space
	is "$(status q scan)" - "the scan"
	matches "$(kmsg)" 'cannot scan the tables: error' "the kernel's log"
	io "$dev" "read:0:$c:0x11" "write:0:$c:0x44" "!EIO/read:$((2 * mb)):$c:0x11" flush
	[ -e "/proc/$waiter" ] || fail "the write does not wait any more"
	null_bad a -32-39
	dm_suspend q noflush
	dm_resume q
	ended
	is "$(status q mode)" rw "the mode"
	io "$dev" "read:$hole:$c:0x33" "read:0:$c:0x44" "read:$((2 * mb)):$c:0x11"
	dm_remove q
	sound "$disk"
}

# No layer can hold up reads and pass NOWAIT on, so it is a device each of whose I/Os takes a second.
t_nowait() {
	stack 512
	dd if="$disk" of="$tmp/image" bs=2M count=3 status=none
	null b 16 irqmode=2 completion_nsec=1000000000
	dd if="$tmp/image" of="$dev" bs=2M oflag=direct status=none
	qed_at_once q "$dev"
	is_scanning q
	io "$dev" "!EAGAIN/nowait-read:0:$c:0x11" "read:0:$c:0x11" "nowait-read:0:$c:0x11" \
		"nowait-write:0:512:0x22" "nowait-read:$hole:$c:0" "!EAGAIN/nowait-write:$hole:$c:0x33" \
		"!EAGAIN/nowait-read:$((2 * mb)):$c:0x11"
	is "$(status q queued)" 0 "the number of writes that wait"
	is_scanning q
	scanned q
	io "$dev" "read:0:512:0x22" "read:$hole:$c:0"
}

# What is known of free space before the end of the scan is nothing to warn of
t_low_water() {
	local count

	stack 4
	kmsg_mark
	held zeroed_from 100 low_water 1000000
	count=$(events q)
	io "$dev" "write:$hole:$c:0x33"
	is "$(events q)" "$count" "the number of events"
	let_go
	scanned q
	wait_for 10 low_water_told
	at_least "$(events q)" $((count + 2)) "the number of events"
	io "$dev" "write:$((2 * hole)):$c:0x33"
}

# ... and once is enough, even if the scan ends before the activation does
t_low_water_once() {
	local told

	stack 2
	kmsg_mark
	qed q "$lower" low_water 1000000
	wait_for 10 low_water_told
	io "$dev" "write:$hole:$c:0x33" "write:$((hole + c)):$c:0x33"
	told=$(kmsg | grep -c 'less than 1000000 clusters are free')
	is "$told" 1 "the number of warnings"
}

low_water_told() {
	[[ $(kmsg) == *"less than 1000000 clusters are free"* ]]
}

# A discard waits, and messages that need to know all of the tables are refused
t_unknown() {
	stack 4
	held
	start "discard:0:$c"
	io "$dev" "read:0:$c:0x11"
	refused dmsetup message "$pre-q" 0 trim
	matches "$(cat "$tmp/lib/refused")" busy "the reason"
	refused dmsetup message "$pre-q" 0 check
	commit q
	is_clean "$disk"
	waits
	let_go
	scanned q
	ended
	io "$dev" flush "read:0:$c:0"
	wait_for 20 status_is q reclaiming 0
	is "$(status q mapped)" 3 "the number of mapped clusters"
	dmsetup message "$pre-q" 0 trim
	wait_for 20 status_is q trim -
	dm_remove q
	sound "$disk"
}

# Its progress, in blocks of tables
t_progress() {
	local i=0 before=-1 got changes=0

	stack 512
	slow 800
	qed_at_once q "$lower"
	while got=$(status q scan) && [ "$got" != - ]; do
		is "${got#*/}" 512 "the number of blocks"
		at_least "${got%/*}" "$before" "the progress"
		[ "${got%/*}" = "$before" ] || changes=$((changes + 1))
		before=${got%/*}
		sleep 0.1
	done
	at_least "$changes" 4 "the number of changes"
	scanned q
}

# Marked as one to be checked: it is scanned before anything else
t_dirty() {
	local creator

	stack 4
	blk poke "$disk" 16 2
	hold
	table "$lower" >"$tmp/table"
	# shellcheck disable=SC2016	# for the other shell
	bg sh -c 'exec "$0" dm create "$1" <"$2" >"$3"' "$bin/blk" "$pre-q" "$tmp/table" "$tmp/dev"
	creator=$!
	sleep 2
	kill -0 "$creator" || fail "it is active"
	let_go
	wait "$creator"
	dev=$(<"$tmp/dev")
	is "$(status q scan)" - "the scan"
	is "$(status q mapped)" 4 "the number of mapped clusters"
	io "$dev" "write:$hole:$c:0x33" flush
}

# What such a scan has found in order may be in the cache of the disk, and the record, which says
# that it is, is written through that.
t_dirty_flush() {
	local clean

	truncate -s 128M "$tmp/image"
	image "$tmp/image" $((64 * mb)) "$c" 1
	loop "$tmp/image"
	disk=$dev
	io_start "$disk"
	qed q "$disk"
	io_end "$disk"
	# for the header
	clean=$flushes
	dm_remove q
	blk poke "$tmp/image" 16 2
	io_start "$disk"
	qed q "$disk"
	io_end "$disk"
	at_least "$flushes" $((clean + 1)) "the number of flushes"
}

run t_ready "reads and writes in place before the scan" \
	"t_reads 4" "reads until there is data, with 4 tables" \
	"t_reads 512" "... with 512 tables" \
	t_waits "a write that needs a cluster waits for the scan" \
	"t_waits error_if_no_space" "... also with error_if_no_space" \
	t_known "it does not if zeroed_from tells of free space" \
	t_recorded "... nor if the record does" \
	t_recorded_again "... which needs no scan to be written again" \
	t_crashed "NEED_CHECK is left alone by it, until the scan has ended" \
	t_crashed_grown "... also if the device had grown" \
	t_stopped "suspend, removal and reload end a scan" \
	t_requeued "suspend without flush takes writes back that wait for it" \
	t_flushed "suspend with a flush waits for these" \
	t_defect "a defect that the scan finds" \
	t_grown "a defect in what the device has grown by" \
	t_told_to_grow "a device that grows during the scan" \
	t_unreadable "a table that the scan cannot read" \
	t_nowait "NOWAIT during a scan" \
	t_low_water "low_water is about what is known" \
	t_low_water_once "... which is told once" \
	t_unknown "discards and messages during a scan" \
	t_progress "the progress of a scan" \
	t_dirty "an image with NEED_CHECK is scanned first" \
	t_dirty_flush "... and what is found is durable before it is said to be"
