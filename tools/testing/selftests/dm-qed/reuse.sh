#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Space that is used again and again, and the messages trim and check.

# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

c=65536					# a cluster
disk=					# the image device

# accounted: what the kernel counts is what is in the tables
accounted() {
	local json

	get q
	dm_suspend q
	examine "$disk"
	dm_resume q
	is "$((used - reclaiming)) $mapped" "$(member used-clusters) $(member allocated-clusters)" \
		"used and mapped clusters"
}

# What the check finds
checked() {
	dmsetup message "$pre-q" 0 check
	wait_for 60 status_is q check "0,0"
}

# The average length of the runs that the guest's disk is in, in clusters
run_length() {
	dm_suspend q
	qedimg map "$disk" | python3 -c '
import json, sys
runs = [run["length"] for run in json.load(sys.stdin) if run["kind"] == "data"]
print(sum(runs) // len(runs) // 65536)'
	dm_resume q
}

# A device just large enough, on which ten times its size is written and discarded
t_small_device() {
	local i

	null a 64 discard=1
	disk=$dev
	garbage "$disk" 60
	image "$disk" $((32 * mb))
	io "$disk" "write:$c:$((4 * c)):0" flush
	# header, L1, L2, all clusters, and 16 in which to move
	linear l "$disk" $(((9 + 512 + 16) * 128))
	disk=$dev
	qed q "$disk" "$@"
	for ((i = 0; i < 3; i++)); do
		hammer -f "$tmp/state" -t 6 -n 850 -U 40 -C "$c" -b 1048576 -r 10 -F 2 -S 1 "$dev"
		is "$(status q mode)" rw "the mode"
		accounted
	done
	note "runs of $(run_length) clusters on average"
	note "$(($(io_counts "$disk" | cut -d ' ' -f 4) / 2048)) MiB were written to $((537 / 16)) MiB"
	at_least "$(io_counts "$disk" | cut -d ' ' -f 4)" $((10 * 537 * 128)) "the sectors written"
	checked
	hammer -v -f "$tmp/state" -S 1 "$dev"
	dm_remove q
	sound "$disk"
	qed q "$disk"
	hammer -v -f "$tmp/state" -S 1 "$dev"
	# nothing of it stays: what is written in order is in order below
	io "$dev" "discard:0:$((32 * mb))" flush
	wait_for 20 status_is q reclaiming 0
	io "$dev" "write:0:$((32 * mb)):0x11" flush
	at_least "$(run_length)" 100 "the average length of runs"
}

# What comes and goes in pieces stays in pieces, and does not fall to bits.
t_pieces() {
	local round i io length

	null a 64 discard=1
	disk=$dev
	image "$disk" $((32 * mb))
	# a device that is full, but for one of the pieces and a half
	linear l "$disk" $(((9 + 512 + 24) * 128))
	disk=$dev
	qed q "$disk"
	for round in {1..8}; do
		io=()
		for i in $(shuf -i 0-31); do
			io+=("discard:$((i * mb)):$mb" "write:$((i * mb)):$mb:$((round + i))")
		done
		io "$dev" "${io[@]}"
	done
	length=$(run_length)
	note "runs of $length clusters on average"
	at_least "$length" 8 "the average length of runs, of 16 at best"
	for ((i = 0; i < 32; i++)); do
		io "$dev" "read:$((i * mb)):$mb:$((round + i))"
	done
	accounted
}

# Each block is trimmed and then written, and fio verifies what is read. Not by trim_percentage:
# fio 3.33 aborts at the first trim of a job that does not trim by its rw.
t_fio() {
	need fio
	null a 64 discard=1
	disk=$dev
	image "$disk" $((32 * mb))
	linear l "$disk" $(((9 + 512 + 16) * 128))
	disk=$dev
	qed q "$disk"
	run_fio --name=trim --filename="$dev" --size=32m --io_size=128m --rw=randtrimwrite --bs=64k \
		--iodepth=8 --serialize_overlap=1 --verify=crc32c --verify_backlog=64
	at_least "$(fio_trims "$tmp/lib/fio.log")" 500 "the number of trims"
	accounted
	dm_remove q
	sound "$disk"
}

# then_zero NUMBER: so many of those that $disk is given are known to be zero. A file on tmpfs takes
# no zeroes that keep their space, which no_discard_passdown asks for, and a loop device that has
# refused them offers none at all on newer kernels.
then_zero() {
	if [ "$(cat "/sys/block/$(basename "$disk")/queue/write_zeroes_max_bytes")" = 0 ]; then
		echo 0
	else
		echo "$1"
	fi
}

# Space that was leaked, or freed without passing it down, goes back to the file.
t_trim() {
	local blocks

	truncate -s 80M "$tmp/file"
	image "$tmp/file" $((64 * mb))
	loop "$tmp/file"
	disk=$dev
	garbage "$disk" 30
	image "$disk" $((64 * mb))
	io "$disk" "write:$c:$((4 * c)):0" flush
	qed q "$disk" no_discard_passdown
	io "$dev" "write:0:$((800 * c)):0x11" flush "discard:$((100 * c)):$((600 * c))" flush
	wait_for 20 status_is q reclaiming 0
	get q
	is "$zeroed $used" "0 209" "known to be zero, used"
	dmsetup message "$pre-q" 0 trim
	wait_for 20 status_is q trim -
	wait_for 20 status_is q reclaiming 0
	get q
	is "$zeroed $used" "$(then_zero $((total - 209))) 209" "known to be zero, used"
	blocks=$(($(stat -c %b "$tmp/file") / 128))
	at_most "$blocks" $((used + used / 50)) "the size of the file in clusters"
	io "$dev" "read:0:$((100 * c)):0x11" "read:$((100 * c)):$((600 * c)):0" \
		"read:$((700 * c)):$((100 * c)):0x11"
	# and nothing is left to do
	dmsetup message "$pre-q" 0 trim
	wait_for 20 status_is q trim -
	is "$(status q zeroed)" "$(then_zero $((total - 209)))" \
		"the number of clusters known to be zero"
	dm_remove q
	sound "$tmp/file"

	null b 64
	image "$dev" $((32 * mb))
	qed r "$dev"
	refused dmsetup message "$pre-r" 0 trim
}

# file_blocks FILE: of so many clusters it has data
file_blocks() {
	echo $(($(stat -c %b "$1") / 128))
}

# Above the high-water mark as well, which is all there is when everything was discarded.
# A clean image says that nothing is touched there, so it is not clean meanwhile.
t_trim_above() {
	truncate -s 80M "$tmp/file"
	image "$tmp/file" $((64 * mb))
	loop "$tmp/file"
	disk=$dev
	qed q "$disk" no_discard_passdown
	io "$dev" "write:0:$((800 * c)):0x11" flush "discard:0:$((800 * c))" flush
	wait_for 20 status_is q reclaiming 0
	qed_reload q "$disk"
	is_clean "$disk"
	get q
	is "$zeroed $used" "0 5" "known to be zero, used"
	at_least "$(file_blocks "$tmp/file")" 800 "the size of the file in clusters"
	dmsetup message "$pre-q" 0 trim
	wait_for 20 status_is q trim -
	is_dirty "$disk"
	get q
	is "$zeroed $used" "$(then_zero $((total - 5))) 5" "known to be zero, used"
	at_most "$(file_blocks "$tmp/file")" 5 "the size of the file in clusters"
	# nothing else happens, and it is clean again
	wait_for 20 status_is q needs_check -
	is_clean "$disk"
	io "$dev" "read:0:$((64 * mb)):0" "write:$((700 * c)):$c:0x22" flush "read:$((700 * c)):$c:0x22"
	dm_remove q
	sound "$tmp/file"
}

# A suspend ends it between two steps, and the image is clean then.
t_trim_suspended() {
	need_target delay
	null a 96 discard=1
	image "$dev" $((32 * mb)) 4096 1
	# five seconds for each step of 16 MiB
	dm l "0 $((96 * 2048)) delay $dev 0 0 $dev 0 5000"
	disk=$dev
	qed q "$disk"
	is "$(status q needs_check)" - "NEED_CHECK"
	dmsetup message "$pre-q" 0 trim
	is "$(status q needs_check)" needs_check "NEED_CHECK"
	refused dmsetup message "$pre-q" 0 trim
	dm_suspend q
	is_clean "$disk"
	dm_resume q
	get q
	is "$trim $mode $needs_check" "- rw -" "trim, mode, NEED_CHECK"
	# all of it takes six steps
	discards=$(awk '{ print $12 }' "/sys/class/block/$(basename "$(readlink -f "$disk")")/stat")
	at_least "$discards" 1 "the number of discards"
	at_most "$discards" 4 "the number of discards"
	io "$dev" "write:0:4096:0x11" flush "read:0:4096:0x11"
	dm_remove q
	sound "$disk"
}

# A suspend does not wait for what is given back meanwhile, and the image is clean then.
t_discard_suspended() {
	local sectors=$((96 * 2048)) io=() i

	need_target delay
	null a 96 discard=1
	disk=$dev
	image "$disk" $((32 * mb)) 4096 1
	dm l "0 $sectors linear $disk 0"
	qed q "$dev"
	io "$dev" "write:0:$((16 * mb)):0x11" flush
	# a thousand discards, 128 of them at once: 48 seconds
	dm_swap l "0 $sectors delay $disk 0 0 $disk 0 6000"
	for ((i = 0; i < 1000; i++)); do
		io+=("discard:$((i * 8192)):4096")
	done
	io "$dev" "${io[@]}" flush
	at_least "$(status q reclaiming)" 1 "clusters on their way to free space"
	dm_suspend q
	is_clean "$disk"
	dm_swap l "0 $sectors linear $disk 0"
	dm_resume q
	get q
	is "$mapped $mode $needs_check" "3096 rw -" "mapped clusters, mode, NEED_CHECK"
	at_most "$(awk '{ print $12 }' "/sys/class/block/$(basename "$(readlink -f "$disk")")/stat")" \
		700 "the number of discards"
	io "$dev" "read:0:4096:0" "read:4096:4096:0x11" "read:$((8 * mb)):$((8 * mb)):0x11"
	dm_remove q
	sound "$disk"
}

# t_busy MESSAGE: while everything else goes on
t_busy() {
	local hammer i

	truncate -s 80M "$tmp/file"
	image "$tmp/file" $((64 * mb))
	loop "$tmp/file"
	disk=$dev
	qed q "$disk" no_discard_passdown cache_kib 64
	bg "$bin/hammer" -T -f "$tmp/state" -t 4 -s 600 -U 35 -C "$c" "$dev"
	hammer=$!
	for ((i = 0; i < 5; i++)); do
		dmsetup message "$pre-q" 0 "$1" || true
		wait_for 30 ended "$1"
	done
	kill -TERM "$hammer"
	wait "$hammer"
	checked
	accounted
	hammer -v -f "$tmp/state" "$dev"
	dm_remove q
	sound "$tmp/file"
}

# Has the message been carried out?
ended() {
	get q
	case $1 in
	trim) [ "$trim" = - ] ;;
	check) [ "$check" = 0,0 ] ;;
	esac
}

# What a check finds: two entries for one cluster, made behind our back
t_defect() {
	local table

	null a 64
	disk=$dev
	image "$disk" $((32 * mb))
	qed q "$disk"
	checked
	io "$dev" "write:0:$((10 * c)):0x11" flush
	checked
	dm_suspend q
	dm_resume q
	is "$(status q check)" - "the check after a suspend"
	# the tables have been scanned, but no block of them is in the cache
	table=$(blk u64 "$disk" "$c")
	io_u64 "$disk" $((table + 7 * 8)) "$(blk u64 "$disk" "$table")"
	io_u64 "$disk" $((table + 8 * 8)) $((200 * c))
	kmsg_mark
	dmsetup message "$pre-q" 0 check
	wait_for 20 status_is q check "2,2"
	get q
	is "$mode" ro "the mode"
	matches "$(kmsg)" "entry 7: .* refers to a cluster that is referenced already" "the kernel's log"
	matches "$(kmsg)" "entry 8: .* refers to a cluster that counts as free" "the kernel's log"
	io "$dev" "read:0:$((7 * c)):0x11" "!EIO/write:0:$c:0x22"
	refused dmsetup message "$pre-q" 0 check
	refused dmsetup message "$pre-q" 0 trim
}

# two_tables: an image with clusters at the start of the guest's disk and in another table
two_tables() {
	null a 64
	disk=$dev
	image "$disk" $((32 * mb)) 4096 2
	qed q "$disk"
	io "$dev" "write:0:4096:0x11" "write:$((9 * mb)):4096:0x22" flush
}

# A table that is data, too: the check comes to it later
t_table_defect() {
	two_tables
	dm_suspend q
	dm_resume q
	# the second table of all, that of 8 MiB; a table is for 4 MiB
	io_u64 "$disk" $(($(blk u64 "$disk" 4096) + 5 * 8)) "$(blk u64 "$disk" $((4096 + 2 * 8)))"
	kmsg_mark
	dmsetup message "$pre-q" 0 check
	wait_for 20 status_is q mode ro
	matches "$(kmsg)" "L1 .*entry 2: .* refers to a cluster that is referenced already" \
		"the kernel's log"
	matches "$(kmsg)" "the check has found defects" "the kernel's log"
	io "$dev" "read:0:4096:0x11" "!EIO/write:0:512:0x22"
}

# What zeroed_from puts off is found by the scan: two references to one table.
t_scan_defect() {
	two_tables
	dm_remove q
	io_u64 "$disk" $((4096 + 3 * 8)) "$(blk u64 "$disk" 4096)"
	kmsg_mark
	qed q "$disk" zeroed_from 20
	wait_for 20 status_is q mode ro
	matches "$(kmsg)" "referenced already" "the kernel's log"
	matches "$(kmsg)" "defective tables" "the kernel's log"
	io "$dev" "read:0:4096:0x11" "!EIO/write:0:512:0x22"
	dm_remove q

	# what needs no scan is found at once
	io_u64 "$disk" $((4096 + 3 * 8)) $((12 * 4096 + 512))
	qed_refused q "$disk" zeroed_from 20
	matches "$error" "1 defects in the L1 table: run qed-fsck" "the message"
}

# Many free clusters, and in more pieces than one step of the trim takes; two tables as well
t_long_trim() {
	local i ios=()

	truncate -s 80M "$tmp/file"
	image "$tmp/file" $((64 * mb)) 4096 4
	loop "$tmp/file"
	disk=$dev
	qed q "$disk" no_discard_passdown
	io "$dev" "write:0:$((40 * mb)):0x11" flush
	for ((i = 0; i < 600; i++)); do
		ios+=("discard:$((i * 8192)):4096")
	done
	io "$dev" "${ios[@]}" "discard:$((10 * mb)):$((25 * mb))" flush
	wait_for 20 status_is q reclaiming 0
	is "$(status q zeroed)" 0 "the number of clusters known to be zero"
	dmsetup message "$pre-q" 0 trim
	wait_for 20 status_is q trim -
	get q
	is "$zeroed $free" "$(then_zero $((total - used))) $((total - used))" \
		"known to be zero, and free"
	io "$dev" "read:0:4096:0" "read:4096:4096:0x11" "read:$((10 * mb)):$((25 * mb)):0" \
		"read:$((35 * mb)):$((5 * mb)):0x11"
	dm_remove q
	sound "$tmp/file"
}

# io_u64 DEVICE OFFSET NUMBER: little-endian, in place
io_u64() {
	blk poke "$1" "$2" "$3"
}

run t_small_device "ten times its size through a small device" \
	"t_small_device commit_interval 20 cache_kib 64" "the same with a small cache" \
	t_pieces "pieces that come and go" \
	t_fio "fio with trims" \
	t_trim "trim gives free space back" \
	t_long_trim "trim of many clusters in many pieces" \
	t_trim_above "... above the high-water mark, too" \
	t_trim_suspended "trim ends at a suspend" \
	t_discard_suspended "so does giving back what was discarded" \
	"t_busy trim" "trim while all else goes on" \
	"t_busy check" "check while all else goes on" \
	t_defect "defects that a check finds" \
	t_table_defect "... in the L1 table" \
	t_scan_defect "defects that a background scan finds"
