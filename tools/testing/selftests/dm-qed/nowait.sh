#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# I/O that must not wait: works for what is mapped and cached, EAGAIN otherwise. And I/O whose
# end is polled for: works in any case.

# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

c=65536

t_nowait() {
	null a 128
	image "$dev" $((8 << 30))
	disk=$dev
	qed q "$disk" zeroed_from 5
	io "$dev" write:0:"$c":1 write:$((4 << 30)):4096:2
	note "mapped, cached"
	io "$dev" nowait-read:0:4096:1 nowait-write:4096:4096:3 read:4096:4096:3
	note "not mapped, the table is cached"
	io "$dev" nowait-read:$((5 * c)):4096:0 "!EAGAIN/nowait-write:$((5 * c)):4096:4"
	note "no table"
	io "$dev" nowait-read:$((6 << 30)):4096:0 "!EAGAIN/nowait-write:$((6 << 30)):4096:4"
	is "$(status q mapped)" 2 "the number of mapped clusters"
	note "a table that is not cached"
	dm_suspend q
	dm_resume q
	io "$dev" "!EAGAIN/nowait-read:0:4096:1" read:0:4096:1 nowait-read:0:4096:1
	io "$dev" "!EAGAIN/nowait-write:$((4 << 30)):4096:2" write:$((4 << 30)):4096:5 \
		nowait-write:$((4 << 30)):4096:6 read:$((4 << 30)):4096:6
}

# All of it or none: what has been told to be tried again has not been written in part.
t_parts() {
	null a 16
	image "$dev" $((16 * mb))
	qed q "$dev"
	note "mapped, then not"
	io "$dev" "write:0:$c:1" "!EAGAIN/nowait-write:0:$((2 * c)):9" "read:0:$c:1" "read:$c:$c:0"
	note "mapped, not adjacent"
	io "$dev" "write:$((3 * c)):$c:3" "write:$((2 * c)):$c:2" \
		"!EAGAIN/nowait-write:$((2 * c)):$((2 * c)):9" "read:$((2 * c)):$c:2" \
		"read:$((3 * c)):$c:3" "nowait-write:$((2 * c)):$c:4" "read:$((2 * c)):$c:4" \
		"!EAGAIN/nowait-read:0:$((2 * c)):1"
}

# half NAME [ATTRIBUTE=VALUE]...: a disk with every second cluster mapped, table blocks for 2 MiB
half() {
	local i writes=()

	need fio
	null a 128 "${@:2}"
	image "$dev" $((64 * mb)) 4096 1
	qed "$1" "$dev" cache_kib 64
	for ((i = 0; i < 64 * mb; i += 2 * c)); do
		writes+=("write:$i:$c:1")
	done
	io "$dev" "${writes[@]}" flush
}

# io_uring asks not to wait at first, and again in another way only if it is told at once.
t_uring() {
	half q irqmode=2 completion_nsec=2000000
	run_fio --ioengine=io_uring --name=uring --filename="$dev" --rw=randrw --bsrange=4k-512k \
		--blockalign=4k --iodepth=16 --number_ios=400 --verify=crc32c --verify_fatal=1 \
		--verify_state_save=0
	is "$(status q mode)" rw "the mode"
}

t_polled() {
	half q poll_queues=1
	is "$(cat "/sys/class/block/$(basename "$(readlink -f "$dev")")/queue/io_poll")" 1 io_poll
	run_fio --ioengine=io_uring --hipri=1 --name=polled --filename="$dev" --rw=randrw \
		--bsrange=4k-512k --blockalign=4k --iodepth=8 --number_ios=400 --verify=crc32c \
		--verify_fatal=1 --verify_state_save=0
	is "$(status q mode)" rw "the mode"
}

run t_nowait "RWF_NOWAIT" \
	t_parts "RWF_NOWAIT for more than one extent" \
	t_uring "io_uring" \
	t_polled "io_uring that polls"
