#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# All changes of the mode that the documentation lists, each with a write that waits, or would
# have to in the mode before.

# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

c=65536					# a cluster
lower=					# the layer below the target
disk=					# what is below that
pool=					# the table of a pool, but for its size
waiter=					# a write that waits
timeout_file=/sys/module/dm_qed_mod/parameters/no_space_timeout

# stack: an image on a device of 16 clusters, 9 of them for header and tables, and all others with
# data
stack() {
	null a 4
	disk=$dev
	image "$disk" $((8 * mb))
	linear l "$disk" $((16 * 128))
	lower=$dev
	qed q "$lower" commit_interval 3600000
	io "$dev" "write:0:$((7 * c)):0x11" flush
}

# thin BLOCKS CLUSTERS: a pool of so many blocks of 64 KiB, and a thin device in it; sets $pool, the
# rest of the pool's table
thin() {
	local meta data

	need_target thin-pool
	null m 8
	meta=$dev
	null d 8
	data=$dev
	pool="thin-pool $meta $data 128 0 1 error_if_no_space"
	dm pool "0 $(($1 * 128)) $pool"
	dmsetup message "$pre-pool" 0 "create_thin 0"
	dm l "0 $(($2 * 128)) thin $dev 0"
	lower=$dev
}

# start COMMAND...: I/O in the background that has to wait for space
start() {
	bg "$bin/blk" io "$dev" "$@"
	waiter=$!
	wait_for 20 status_is q queued 1
	is "$(status q mode)" out_of_space "the mode"
}

waits() {
	kill -0 "$waiter" 2>/dev/null || fail "the write does not wait any more"
}

# ended: the waiting I/O has ended in the way it was to
ended() {
	timeout 30 tail --pid="$waiter" -f /dev/null || fail "the write still waits"
	wait "$waiter" || fail "the write has ended in another way"
}

# mode_is MODE: now, and what writes do in it, to a cluster that is mapped
mode_is() {
	is "$(status q mode)" "$1" "the mode"
	case $1 in
	rw | out_of_space) io "$dev" "write:0:$c:0x11" "read:0:$c:0x11" flush ;;
	ro) io "$dev" "!EIO/write:0:$c:0x99" "read:0:$c:0x11" "!EIO/flush" ;;
	esac
}

# The way there and back again, several times: nothing sticks
t_full() {
	local i

	stack
	mode_is rw
	for i in 1 2 3; do
		start "write:$((20 * c)):$c:0x22"
		mode_is out_of_space
		io "$dev" "discard:$((5 * c)):$c"
		ended
		mode_is rw
		io "$dev" "read:$((20 * c)):$c:0x22" "discard:$((20 * c)):$c" \
			"write:$((5 * c)):$c:0x11"
	done
	io "$dev" "read:0:$((7 * c)):0x11"
}

# As often as a guest likes, and the log does not have all of it: ten in 5 s, as of all messages that
# are limited
t_often() {
	local i changes=() before start told

	null a 4
	image "$dev" $((8 * mb))
	linear l "$dev" $((16 * 128))
	qed q "$dev" commit_interval 3600000 error_if_no_space
	io "$dev" "write:0:$((7 * c)):0x11" flush
	for i in {1..60}; do
		changes+=("!ENOSPC/write:$((20 * c)):$c:0x99" "discard:0:$c" "write:0:$c:0x11")
	done
	before=$(events q)
	start=$SECONDS
	kmsg_mark
	io "$dev" "${changes[@]}"
	at_least $(($(events q) - before)) 120 "the number of events"
	told=$(kmsg | grep -c 'switching from mode')
	at_least "$told" 1 "what the log has of it"
	at_most "$told" $((10 * ((SECONDS - start) / 5 + 2))) "what the log has of it"
}

# out_of_space to ro: what waits fails, and so does what comes
t_failed() {
	stack
	start "!EIO/write:$((20 * c)):$c:0x99"
	null_bad a "+640-647"
	io "$dev" "discard:$((5 * c)):$c"
	ended
	refused commit q
	mode_is ro
	io "$dev" "!EIO/write:$((20 * c)):$c:0x99"
	is "$(status q queued)" 0 "the number of waiting bios"
	dm_suspend q
	dm_resume q
	mode_is ro
	null_bad a "-640-647"

	# ro to rw, and a write that comes before the table is resumed
	dm_load q "$(table "$lower")"
	dm_suspend q
	bg "$bin/blk" io "$dev" "write:$((6 * c)):$c:0x33" flush
	waiter=$!
	dm_resume q
	ended
	mode_is rw
	io "$dev" "read:$((6 * c)):$c:0x33"
}

# What the image device refuses when the metadata has failed already does not wait.
t_late() {
	local meta data first=$((9 * 128)) size=$((20 * 128)) cluster thin

	need_target thin-pool
	need_target delay
	null a 4
	disk=$dev
	null m 8
	meta=$dev
	null d 4
	data=$dev
	# a pool that is full, and a device in it
	dm pool "0 128 thin-pool $meta $data 128 0 1 error_if_no_space"
	dmsetup message "$pre-pool" 0 "create_thin 0"
	dm thin "0 8192 thin $dev 0"
	thin=$dev
	io "$dev" "write:$((4 * mb - c)):$c:0"
	# header and tables are elsewhere; guest cluster 0 is mapped, to what fails when it is told to
	dm l "0 $first linear $disk 0"$'\n'"$first $size delay $thin 0 0 $thin 0 3600000 $thin 0 0"
	lower=$dev
	image "$lower" $((8 * mb))
	blk poke "$lower" "$c" $((5 * c))
	cluster=$((5 * c))
	blk poke "$lower" "$cluster" $((9 * c))
	blk poke "$lower" $((cluster + 8)) $((10 * c))
	qed q "$lower" commit_interval 3600000
	io "$dev" "read:0:$((2 * c)):0"
	bg "$bin/blk" io "$dev" "!EIO/write:0:$c:0x99"
	waiter=$!
	wait_for 20 under_way "$dev"
	null_bad a "+640-647"
	io "$dev" "discard:$c:$c"
	refused commit q
	is "$(status q mode)" ro "the mode"
	waits
	dm_swap l "0 $first linear $disk 0"$'\n'"$first $size linear $thin 0"
	ended
	is "$(status q queued)" 0 "the number of waiting bios"
}

# Without metadata, and with it again: what waited does so again, and goes on
t_no_metadata() {
	local magic

	stack
	start "write:$((20 * c)):$c:0x22"
	dm_suspend q noflush
	magic=$(blk u64 "$lower" 0)
	blk poke "$lower" 0 0
	refused dm_resume q
	is "$(status q mode)" fail "the mode"
	waits
	refused dm_resume q
	blk poke "$lower" 0 "$magic"
	dm_resume q
	wait_for 20 status_is q queued 1
	mode_is out_of_space
	io "$dev" "discard:$((5 * c)):$c"
	ended
	mode_is rw

	# fail to ro
	dm_suspend q
	blk poke "$lower" 0 0
	refused dm_resume q
	is "$(status q mode)" fail "the mode"
	blk poke "$lower" 0 "$magic"
	dm_load q "$(table "$lower" read_only)"
	dm_resume q
	is "$(status q mode)" ro "the mode"
	io "$dev" "read:$((20 * c)):$c:0x22" "!EIO/write:$((20 * c)):$c:0x99"
}

# The image device itself had no space for long, and has grown: the next time writes wait again.
t_below() {
	thin 12 64
	image "$lower" $((32 * mb))
	echo 1 >"$timeout_file"
	trap 'echo 60 >$timeout_file' EXIT
	qed q "$lower" commit_interval 3600000
	io "$dev" "write:0:$((6 * c)):0x11" flush "!ENOSPC/write:$((20 * c)):$((4 * c)):0x22" \
		"!ENOSPC/write:$((30 * c)):$((4 * c)):0x22"
	is "$(status q mode)" out_of_space "the mode"
	echo 60 >"$timeout_file"
	dm_swap pool "0 $((15 * 128)) $pool"
	io "$dev" "write:$((30 * c)):$c:0x33"
	wait_for 20 status_is q mode rw
	bg "$bin/blk" io "$dev" "write:$((40 * c)):$((4 * c)):0x44"
	waiter=$!
	wait_for 20 status_is q queued 1
	is "$(status q mode)" out_of_space "the mode"
	sleep 1.5
	waits
	dm_swap pool "0 $((40 * 128)) $pool"
	dm_suspend q
	ended
	dm_resume q
	is "$(status q mode)" rw "the mode"
	io "$dev" "read:$((40 * c)):$((4 * c)):0x44" "read:$((30 * c)):$c:0x33"
	dm_remove q
	sound "$lower"
}

# short: an image of 16 clusters, seven with data, whose table has no space below
short() {
	thin 13 16
	image "$lower" $((8 * mb))
	qed q "$lower" commit_interval 3600000 error_if_no_space
	io "$dev" "write:0:$c:0x11" flush
	# what is written again is first copied
	dm_suspend l
	dmsetup message "$pre-pool" 0 "create_snap 1 0"
	dm_resume l
	io "$dev" "write:$c:$((6 * c)):0x22"
}

# t_tables WAY FLUSH: a commit with no space, by a message if it is not to be by a flush; the one
# that has it is not that of a flush, nor one that a write waits for
t_tables() {
	short
	if [ "$2" = flush ]; then
		io "$dev" "!ENOSPC/flush"
	else
		refused commit q
	fi
	is "$(status q mode)" out_of_space "the mode"
	dm_swap pool "0 $((100 * 128)) $pool"
	case $1 in
	message) commit q ;;
	idle) wait_for 20 status_is q dirty 0 ;;
	flush) io "$dev" flush ;;
	suspend)
		dm_suspend q
		dm_resume q
		;;
	esac
	wait_for 5 status_is q mode rw
	# to be had by a commit that is not made yet
	io "$dev" "discard:0:$c" "write:$((60 * c)):$c:0x44"
	wait_for 5 status_is q mode rw
	io "$dev" "read:0:$c:0" "read:$((60 * c)):$c:0x44" flush
}

# A defect that the background scan finds is not forgotten, however early it does.
t_defect() {
	local i

	null a 4
	disk=$dev
	image "$disk" $((8 * mb))
	blk poke "$disk" "$c" $((5 * c))
	for i in 0 1; do
		blk poke "$disk" $((5 * c + 8 * i)) $((9 * c))
	done
	for i in {1..15}; do
		qed q "$disk" zeroed_from 12
		wait_for 20 status_is q mode ro
		io "$dev" "!EIO/write:$((50 * c)):4096:0x99"
		dm_remove q
	done
}

run t_full "rw and out_of_space" \
	t_often "the same, as often as a guest likes" \
	t_failed "out_of_space to ro, and to rw by another table" \
	t_late "no space below, told in mode ro" \
	t_no_metadata "fail, and from there to out_of_space, rw and ro" \
	t_below "rw and out_of_space for lack of space below, after a time that was too long" \
	"counts t_tables flush flush" "no space for tables, then for a flush" \
	"counts t_tables message flush" "no space for tables, then for a message" \
	"counts t_tables idle flush" "no space for tables, then when it is idle" \
	"counts t_tables suspend flush" "no space for tables, then for a suspend" \
	"counts t_tables flush message" "no space for the tables of a message, then for a flush" \
	"counts t_tables message message" "no space for the tables of a message, then for another" \
	t_defect "a defect that is found in the background"
