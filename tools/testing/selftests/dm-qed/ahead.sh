#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# zero_ahead: free clusters that are zeroed before somebody needs them

# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

c=65536					# a cluster
late="commit_interval 3600000"
disk=					# takes zeroes, and has had other data before

# stack [MIB [DIRECTORY]]: an image whose free space has garbage
stack() {
	local size=${1:-16} file=${2:-$tmp}/file

	truncate -s "${size}M" "$file"
	image "$file" $((64 * mb))
	truncate -s "${size}M" "$file"
	loop "$file"
	disk=$dev
	io "$disk" "write:$((5 * c)):$((size * mb - 5 * c)):0xa5"
}

# settled: nothing is zeroed any more, and as much is known to be zero as the arguments say, if any
settled() {
	get q
	[ "$reclaiming $inflight" = "0 0" ] && [ "${1-$zeroed}" = "$zeroed" ]
}

# is_ahead ZEROED AHEAD WHEN: before an idle device does anything of its own
is_ahead() {
	wait_for 20 settled "$1"
	is "$zeroed $ahead" "$1 $2" "known to be zero, and zeroed ahead, $3"
}

# Nothing happens before the guest allocates, and then no more than it was asked for.
t_bound() {
	stack
	# shellcheck disable=SC2086	# two words
	qed q "$disk" zero_ahead 32 $late
	io "$dev" "read:0:$mb:0" flush
	commit q
	is_ahead 0 0 "before the first write"
	is_clean "$disk"

	io "$dev" "write:$c:4096:0x11"
	commit q
	is_ahead 32 32 "after the first commit"
	commit q
	is_ahead 32 32 "after another one"
	io "$dev" "write:$((16 * c)):$((8 * c)):0x22"
	is_ahead 24 32 "after more writes"
	commit q
	is_ahead 32 40 "after their commit"
	io "$dev" "discard:$((16 * c)):$((8 * c))"
	commit q
	wait_for 20 status_is q zeroed 40
	commit q
	is_ahead 40 40 "after a discard"
	io "$dev" "read:0:$c:0" "read:$c:4096:0x11" "read:$((c + 4096)):$((30 * c)):0"
	dm_remove q
	sound "$disk"
}

# Small writes to what was zeroed: no fill, and a commit of one flush
t_no_fill() {
	local i ios=()

	stack
	# shellcheck disable=SC2086	# two words
	qed q "$disk" zero_ahead 32 $late
	io "$dev" "write:0:4096:0x11"
	commit q
	is_ahead 32 32 "at first"
	for ((i = 1; i <= 8; i++)); do
		ios+=("write:$((2 * i * c + 8192)):4096:$i")
	done
	io_start "$disk"
	io "$dev" "${ios[@]}"
	io_end "$disk"
	is "$writes $wsectors" "8 64" "writes and sectors"
	io_start "$disk"
	io "$dev" flush
	wait_for 20 settled
	io_end "$disk"
	# one for the guest, one for what was zeroed after that
	is "$flushes" 2 "the number of flushes"
	for ((i = 1; i <= 8; i++)); do
		io "$dev" "read:$((2 * i * c)):8192:0" "read:$((2 * i * c + 8192)):4096:$i" \
			"read:$((2 * i * c + 12288)):$((c - 12288)):0"
	done
	dm_remove q
	sound "$disk"
}

# All that is free, and no end of it
t_all() {
	stack 4
	qed q "$disk" zero_ahead 1000000 commit_interval 20
	io "$dev" "write:0:4096:0x11" flush
	get q
	is_ahead "$free" "$free" "at first"
	io "$dev" "write:0:$((free * c)):0x22" flush
	is "$(status q zeroed)" 1 "what is left"
	is "$(status q ahead)" "$free" "what was zeroed ahead"
	# NEED_CHECK is cleared all the same
	wait_for 30 status_is q needs_check -
	dm_remove q
	sound "$disk"
}

# Who wants the device to keep its space gets zeroes that do. What is free again, and not
# zero, waits until something is allocated: who only discards comes to rest.
t_keeps() {
	local blocks

	need mkfs.ext4
	null f 32
	mkfs.ext4 -q -O ^has_journal "$dev"
	mount "$dev" "$tmp/mnt"
	stack 4 "$tmp/mnt"
	sync
	blocks=$(stat -c %b "$tmp/mnt/file")
	at_least "$blocks" $((59 * c / 512)) "the blocks of the file"
	# shellcheck disable=SC2086	# two words
	qed q "$disk" no_discard_passdown zero_ahead 1000000 $late
	io "$dev" "write:0:$((8 * c)):0x11"
	commit q
	# 64 clusters: header, two tables of four, and what is written
	is_ahead 47 47 "at first"
	at_least "$(stat -c %b "$tmp/mnt/file")" "$blocks" "the blocks of the file"
	io "$dev" "discard:0:$((8 * c))"
	commit q
	wait_for 20 status_is q reclaiming 0
	commit q
	is_ahead 47 47 "after a discard"
	io "$dev" "write:0:$c:0x22"
	commit q
	# the table has gone, too
	is_ahead 54 59 "after a write"
	io "$dev" "write:$((20 * c)):4096:0x33" "read:$((20 * c + 4096)):$((c - 4096)):0"
	dm_remove q
	sound "$disk"
	sync
	at_least "$(stat -c %b "$tmp/mnt/file")" "$blocks" "the blocks of the file"
	unloop "$disk"
	umount "$tmp/mnt"
}

# A device that has no such zeroes, here tmpfs, is not given others.
t_cannot_keep() {
	local blocks

	stack 4
	blocks=$(stat -c %b "$tmp/file")
	# shellcheck disable=SC2086	# two words
	qed q "$disk" no_discard_passdown zero_ahead 1000000 $late
	io "$dev" "write:0:4096:0x11"
	commit q
	is_ahead 0 0 "without zeroes"
	io "$dev" "write:$c:4096:0x11" "read:$((c + 4096)):$((c - 4096)):0"
	dm_remove q
	sound "$disk"
	at_least "$(stat -c %b "$tmp/file")" "$blocks" "the blocks of the file"
}

# A device that does not write zeroes by itself is left alone.
t_cannot() {
	null a 16 discard=1
	image "$dev" $((64 * mb))
	qed q "$dev" zero_ahead 32 commit_interval 0
	io "$dev" "write:0:$mb:0x11" flush
	is "$(status q ahead)" 0 "what was zeroed ahead"
}

# While it goes on all else does, suspends too; and what is read is right.
t_load() {
	local i pid

	stack 8
	qed q "$disk" zero_ahead 64 commit_interval 5
	bg "$bin/hammer" -T -f "$tmp/state" -t 4 -s 12 -U 40 -C "$c" -F 8 -b 16384 -l $((5 * mb)) "$dev"
	pid=$!
	for i in {1..20}; do
		sleep 0.4
		kill -0 "$pid" 2>/dev/null || break
		dm_suspend q
		dm_resume q
	done
	wait "$pid"
	at_least "$i" 2 "the number of suspends"
	dm_remove q
	sound "$disk"
}

# Only what may be written is zeroed: the header of this one says that it is to be checked.
t_read_only() {
	stack
	qed q "$disk" zero_ahead 32
	io "$dev" "write:0:4096:0x11" flush
	cp "$tmp/file" "$tmp/copy"
	is_dirty "$tmp/copy"
	loop "$tmp/copy"
	qed r "$dev" read_only zero_ahead 32
	commit r
	io "$dev" "read:0:4096:0x11" flush
	is "$(status r ahead)" 0 "what was zeroed ahead"
}

# An image that is to be checked, which nobody writes to, is left alone, and clean soon.
t_unused() {
	stack
	qed q "$disk" zero_ahead 32 commit_interval 20
	io "$dev" "write:0:4096:0x11" flush
	is_ahead 32 32 "by its first user"
	cp "$tmp/file" "$tmp/copy"
	is_dirty "$tmp/copy"
	# it says that it is in use, by the first one
	qedimg record "$tmp/copy" host=another flags=1
	loop "$tmp/copy"
	qed r "$dev" zero_ahead 32 takeover
	wait_for 30 status_is r needs_check -
	sleep 1
	is "$(status r needs_check)" - "NEED_CHECK"
	is "$(status r ahead)" 0 "what was zeroed ahead"
}

run t_bound "as many as wanted, and not before the first write" \
	"counts t_no_fill" "neither fill nor order on space that was used before" \
	t_all "all of the free space" \
	t_keeps "without taking space back from the device" \
	t_cannot_keep "or not at all" \
	t_read_only "not of an image that is only read" \
	t_unused "nor of one that nobody has written to" \
	t_cannot "not where the device would write the zeroes" \
	t_load "beside all else"
