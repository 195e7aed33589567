#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# From the creation to the removal of a device: suspend, resume, new tables.

# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

c=65536					# a cluster
lower=
worker=					# a hammer at work

stack() {
	null a 48
	lower=$dev
	image "$lower" $((32 * mb))
}

# busy: a hammer works on the device, and checks what it reads
busy() {
	bg nice -n 19 "$bin/hammer" -f "$tmp/versions" -t 4 -s 600 -F 5 -D 5 -b 262144 "$dev" \
		>"$tmp/hammer" 2>&1
	worker=$!
	wait_for 20 not status_is q commits 0
}

# idle: end it, and read everything again
idle() {
	kill -TERM "$worker"
	if ! wait "$worker"; then
		cat "$tmp/hammer"
		fail "the hammer has seen errors"
	fi
	hammer -v -f "$tmp/versions" -t 2 "$dev"
}

# quiet: a well-behaved life is no news to the kernel's log
quiet() {
	local log

	log=$(kmsg | grep 'device-mapper' || true)
	is "$log" "" "the kernel's log"
}

# t_suspend HOW: suspend and resume under load
t_suspend() {
	local i

	stack
	qed q "$lower"
	busy
	for i in {1..5}; do
		dm_suspend q "$@"
		# nothing is left to be done, by whoever uses the image meanwhile
		is_clean "$lower"
		is "$(status q dirty) $(status q inflight)" "0 0" "dirty blocks, allocations"
		[ "$i" != 3 ] || sound "$lower"
		dm_resume q
		is "$(status q mode)" rw "the mode"
	done
	idle
	dm_remove q
	sound "$lower"
	qed q "$lower" read_only
	hammer -v -f "$tmp/versions" -t 2 "$dev"
	quiet
}

t_fio() {
	local pid

	need fio
	stack
	qed q "$lower" cache_kib 64
	run_fio --name=verify --filename="$dev" --rw=randwrite --bsrange=512-96k --size=3m \
		--iodepth=16 --verify=crc32c --verify_fatal=1 &
	pid=$!
	echo "$pid" >>"$tmp/lib/pids"
	while kill -0 "$pid" 2>/dev/null; do
		dm_suspend q noflush
		dm_resume q
		sleep 0.2
	done
	wait "$pid"
	dm_remove q
	sound "$lower"
}

nr_writes() {
	local s

	read -ra s <"/sys/class/block/${dev##*/}/stat"
	echo "${s[4]}"
}

# written NUMBER: have there been so many writes?
written() {
	[ "$(nr_writes)" -ge "$1" ]
}

t_reload() {
	local i options=("cache_kib 64" "commit_interval 0" "" "cache_kib 1024 commit_interval 10"
		"error_if_no_space low_water 10" "commit_interval 3600000")

	stack
	qed q "$lower"
	busy
	for i in "${options[@]}"; do
		# shellcheck disable=SC2086
		qed_reload q "$lower" $i
		[ -z "$i" ] || matches "$(blk dm table "$pre-q")" "qed .* $i\$" "the table"
		wait_for 20 written $(($(nr_writes) + 50))
	done
	idle
	qed_reload q "$lower" read_only
	is "$(status q mode)" ro "the mode"
	is_clean "$lower"
	hammer -v -f "$tmp/versions" -t 2 "$dev"
	io "$dev" "!EIO/write:0:512:1"
	dm_load q "$(table "$lower")"
	dm_suspend q
	dm_resume q
	is "$(status q mode)" rw "the mode"
	io "$dev" "write:0:512:1" flush "read:0:512:1"
	quiet
}

t_need_check() {
	stack
	qed q "$lower"
	is_clean "$lower"
	io "$dev" "read:0:$c:0" flush
	is_clean "$lower"
	io "$dev" "write:0:512:0x11"
	is_dirty "$lower"
	is "$(status q needs_check)" needs_check "the status"
	dm_suspend q
	is_clean "$lower"
	is "$(status q needs_check)" - "the status"
	is "$(status q used) $(status q mapped)" "- -" "used and mapped clusters, suspended"
	dm_resume q
	is_clean "$lower"
	io "$dev" "read:0:512:0x11" "write:512:512:0x22" flush
	is_clean "$lower"
	io "$dev" "write:$((4 * mb)):4096:0x33"
	is_dirty "$lower"
	dm_remove q
	is_clean "$lower"
	sound "$lower"
	qed q "$lower"
	io "$dev" "read:0:512:0x11" "read:512:512:0x22" "read:1024:$((c - 1024)):0" \
		"read:$((4 * mb)):4096:0x33"
	quiet
}

# What somebody else has written while it was suspended is seen.
t_let_go() {
	stack
	qed q "$lower"
	io "$dev" "write:0:$c:0x11" "write:$c:$c:0x22"
	dm_suspend q
	# exchange the two clusters in the table, which is the first one behind the L1
	qedimg set-entry "$lower" l2 0 0 $((10 * c))
	qedimg set-entry "$lower" l2 0 1 $((9 * c))
	dm_resume q
	io "$dev" "read:0:$c:0x22" "read:$c:$c:0x11"
	quiet
}

t_claims() {
	local line read_only

	stack
	line=$(table "$lower")
	read_only=$(table "$lower" read_only)
	qed q "$lower"
	refuse r "$line"
	matches "$error" 'in use by another qed mapping' "the message for a second writer"
	refuse r "$read_only"
	matches "$error" 'in use by another qed mapping' "the message for a reader of a writer"
	is "$(blk dm list "$pre-r")" "" "a device"
	io "$dev" "write:0:$c:0x11"

	# while it is suspended another one may have it
	dm_suspend q
	dm r "$line"
	io "$dev" "read:0:$c:0x11" "write:0:$c:0x22"
	refused dm_resume q
	is "$(status q mode)" fail "the mode"
	dm_remove r
	dm_resume q
	is "$(status q mode)" rw "the mode"
	io "/dev/dm-$(minor q)" "read:0:$c:0x22"

	# readers share it, and keep writers out
	qed_reload q "$lower" read_only
	dm r "$read_only"
	io "$dev" "read:0:$c:0x22" "!EIO/write:0:$c:0x99"
	refuse s "$line"
	dm s "$read_only" ro
	io "$dev" "read:0:$c:0x22"
	dm_remove s
	dm_remove r
	qed_reload q "$lower"
	io "/dev/dm-$(minor q)" "write:0:$c:0x33" "read:0:$c:0x33"
}

minor() {
	dmsetup info -c --noheadings -o minor "$pre-$1"
}

t_table_again() {
	local line options

	stack
	for options in "" "read_only" "cache_kib 64 low_water 7" \
		"commit_interval 0 error_if_no_space" \
		"error_if_no_space low_water 3 commit_interval 250 cache_kib 4096"; do
		# shellcheck disable=SC2086
		qed q "$lower" $options
		line=$(blk dm table "$pre-q")
		note "$line"
		dm_remove q
		dm q "$line"
		is "$(blk dm table "$pre-q")" "$line" "the table"
		dm_remove q
	done
	# this promise holds but once
	qed q "$lower" zeroed_from 5
	scanned q
	line=$(blk dm table "$pre-q")
	note "$line"
	if [[ $line =~ zeroed_from ]]; then
		fail "zeroed_from is in the table"
	fi
	dm_load q "$line"
	dm_resume q
	quiet
}

# An inactive table that is given up, and one that is wrong
t_inactive() {
	stack
	qed q "$lower"
	io "$dev" "write:0:$c:0x11" flush
	dm_load q "$(table "$lower" read_only)"
	dmsetup clear "$pre-q"
	dm_suspend q
	dm_resume q
	is "$(status q mode)" rw "the mode"
	dm_load q "$(table "$lower" cache_kib 64)"
	dm_load q "$(table "$lower" cache_kib 128)"
	io "$dev" "write:$c:$c:0x22"
	dm_resume q
	is "$(status q limit)" 128 "the limit of the cache"
	refused dm_load q "0 $((64 * mb / 512)) qed $lower"
	refused dm_load q "$(table "$lower" cache_kib 1)"
	io "$dev" "read:0:$c:0x11" "read:$c:$c:0x22" "write:$((2 * c)):$c:0x33"
	# removed with a table that never became active
	dm_load q "$(table "$lower" read_only)"
	dm_remove q
	is_clean "$lower"
	sound "$lower"
}

t_read_only_table() {
	stack
	qed q "$lower"
	io "$dev" "write:0:$c:0x11"
	dm_remove q
	table "$lower" | dmsetup create --readonly "$pre-q"
	dev=/dev/dm-$(minor q)
	is "$(blockdev --getro "$dev") $(status q mode)" "1 ro" "read-only flag and mode"
	io_start "$lower"
	io "$dev" "read:0:$c:0x11" "read:$c:$c:0"
	dm_remove q
	io_end "$lower"
	is "$writes $flushes" "0 0" "the number of writes and flushes"
	quiet
}

# The image has become smaller since the table was loaded.
t_shrunk() {
	stack
	qed q "$lower"
	dm_suspend q
	dm_load q "$(table "$lower")"
	image "$lower" $((8 * mb))
	refused dm_resume q
	is "$(status q mode)" fail "the mode"
	matches "$(kmsg)" 'table length [0-9]* exceeds the image size' "the kernel's log"
	image "$lower" $((32 * mb))
	dm_resume q
	io "$dev" "write:0:$c:0x11" flush "read:0:$c:0x11"
	is "$(status q mode)" rw "the mode"
	dm_remove q
	sound "$lower"
}

t_length() {
	stack
	qed q "$lower"
	io "$dev" "write:0:$c:0x11" "write:$((32 * mb - c)):$c:0x22"
	dm_load q "0 $((8 * mb / 512 + 8)) qed $lower"
	dm_resume q
	is "$(sectors_of "$dev")" $((8 * mb / 512 + 8)) "the length"
	io "$dev" "read:0:$c:0x11" "write:$((8 * mb)):4096:0x33"
	qed_reload q "$lower"
	is "$(sectors_of "$dev")" $((32 * mb / 512)) "the length"
	io "$dev" "read:0:$c:0x11" "read:$((8 * mb)):4096:0x33" "read:$((32 * mb - c)):$c:0x22"
	quiet
}

# Devices that come and go; what had been written without a flush stays.
t_come_and_go() {
	local i

	stack
	for i in {1..10}; do
		qed q "$lower"
		io "$dev" "write:$((i * mb)):$((c + 512)):$i" "read:$(((i - 1) * mb)):512:$((i - 1))"
		dm_remove q
	done
	sound "$lower"
	quiet
}

t_dmsetup() {
	stack
	table "$lower" | dmsetup create "$pre-q"
	dev=/dev/dm-$(minor q)
	io "$dev" "write:0:$c:0x11"
	dmsetup suspend "$pre-q"
	matches "$(dmsetup info "$pre-q")" 'state: *suspended' "dmsetup info"
	dmsetup resume "$pre-q"
	scanned q
	matches "$(dmsetup status "$pre-q")" '^0 65536 qed 128 10/768 1/512 ' "dmsetup status"
	commit q
	dmsetup message "$pre-q" 0 COMMIT
	refused dmsetup message "$pre-q" 0 no such message
	refused dmsetup message "$pre-q" 0 commit now
	dmsetup remove "$pre-q"
	is_clean "$lower"
}

# rescuers: how many threads take over for dm-qed when no worker can be had
rescuers() {
	# some kernels cut the name off, or put kworker/R- before it
	cat /proc/[0-9]*/comm 2>/dev/null | grep -cE "^(dm-qed|kworker/R-dm-qe)" || true
}

# What writes wait for must not wait for memory: the worker, commits, reclaim, and the scan.
t_rescuers() {
	local others

	others=$(rescuers)
	stack
	qed q "$lower"
	is "$(rescuers)" $((others + 4)) "the number of rescuers"
	# whose they are, where that is not cut off
	if [ "$(cat /proc/[0-9]*/comm 2>/dev/null | grep -c "^dm-qed-commit/")" != 0 ]; then
		is "$(cat /proc/[0-9]*/comm 2>/dev/null |
			grep -c "^dm-qed/$(dmsetup info -c --noheadings -o major,minor \
				--separator : "$pre-q")\$")" 1 "the number of those of this device"
	fi
	dm_remove q
	is "$(rescuers)" "$others" "their number when it is removed"
}

run t_suspend "suspend and resume under load" \
	"t_suspend noflush" "suspend without a flush and resume, under load" \
	t_fio "suspend without a flush while fio verifies" \
	t_reload "new tables with other options, under load" \
	t_rescuers "a thread for each queue that writes wait for" \
	t_need_check "NEED_CHECK is set while changes are made" \
	t_let_go "nothing is kept in memory while it is suspended" \
	t_claims "who may share an image device" \
	t_table_again "the table that is reported loads again" \
	t_inactive "tables that never become active" \
	t_read_only_table "dmsetup create --readonly" \
	t_length "another length by a new table" \
	t_shrunk "an image that has become too small for its table" \
	t_come_and_go "ten lives" \
	t_dmsetup "dmsetup's commands"
