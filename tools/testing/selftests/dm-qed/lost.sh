#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Flushes that fail: what is lost by that is told, and nothing depends on it.

# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=layer.sh
. "$(dirname "$0")/layer.sh"

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

# has_flushed: since io_start, has the loop device?
has_flushed() {
	io_end "$loop" >/dev/null
	[ "$flushes" -gt 0 ]
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
	io_start "$loop"
	bg "$bin/blk" io "$guest" "!EIO/flush"
	flusher=$!
	wait_for 20 has_flushed
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

# t_fua_in_part [again]: a write with FUA to a cluster that is mapped, by a table that has to be read, and
# to one that is not. Nothing of it is a flush: a commit makes it durable, and that fails. Again: there is
# no space for the second part at first.
t_fua_in_part() {
	local guest writer two=$((512 * c))

	if [ $# = 1 ]; then
		full 1 64
		io "$dev" "write:$((63 * c)):$c:0"
		over_loop 1 256 linear "$dev" 0
	else
		over_loop 1
	fi
	qed q "$lower"
	io "$dev" "write:$two:$c:0x21"
	dm_remove q
	qed q "$lower" commit_interval 3600000
	guest=$dev
	[ $# = 1 ] || to_fail_flushes
	# this much has room in the first part of the device
	io "$guest" "write:0:$c:0x11"
	[ $# = 0 ] || io "$guest" "write:$((2 * c)):$((5 * c)):0x33"
	io "$guest" flush "write:0:$c:0x12"
	is "$(status q needs_check)" needs_check "NEED_CHECK, which needs a flush, too,"
	[ $# = 1 ] || fail_flushes
	bg "$bin/blk" io "$guest" "!EIO/fua:$two:$((2 * c)):0x22"
	writer=$!
	if [ $# = 1 ]; then
		wait_for 20 status_is q mode out_of_space
		fail_flushes
		kill -0 "$writer" || fail "the write has not waited"
		more_space 16
	fi
	wait "$writer"
	repair
	is "$(status q mode)" ro "the mode"
	io "$guest" "!EIO/flush" "read:0:$c:0x12"
	qed_reload q "$lower"
	io "$dev" "read:0:$c:0x12" flush
	dm_remove q
	sound "$lower"
}

# journal: a filesystem on $guest, the target q; its journal is committed by a write with PREFLUSH and FUA
journal() {
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
}

# Is something under way to the device of the guest, and still is a second later?
is_waiting() {
	under_way "$guest" && sleep 1 && under_way "$guest"
}

# Device mapper holds the data of such a write back if it is being suspended: that tells after the resume.
t_preflush_suspend() {
	local guest mnt=$tmp/mnt writer suspend

	need_target delay
	journal
	# flushes wait until the layer is suspended, and fail then
	trap repair EXIT
	fail_flushes delay "$disk" 0 0 "$disk" 0 0 "$disk" 0 3600000
	bg refused dd if=/dev/zero of="$mnt/file" bs=4096 count=4 conv=notrunc,fsync
	writer=$!
	wait_for 60 is_waiting
	bg dmsetup suspend --nolockfs "$pre-q"
	suspend=$!
	sleep 2
	kill -0 "$suspend" || fail "the suspend has not waited for the flush"
	repair
	wait "$suspend"
	dm_resume q
	wait "$writer"
	io "$guest" "!EIO/flush"
	umount "$mnt"
}

t_preflush() {
	local guest mnt=$tmp/mnt

	journal
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
	# writes wait until the layer is suspended
	trap repair EXIT
	to_fail_flushes delay "$disk" 0 0 "$disk" 0 3600000 "$disk" 0 0
	io "$guest" "write:0:$c:0x11" flush
	fail_flushes
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

run t_lost "flushes tell of lost writes, also with a new table" \
	"t_flush idle" "a flush that fails before NEED_CHECK is cleared" \
	"t_flush message" "one of the message commit" \
	t_preflush "one that is part of a write, so that device mapper drops its error" \
	t_preflush_suspend "the same, while the device is being suspended" \
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
	"counts t_fua_no_space" "one of a write with FUA, for lack of space" \
	"counts t_fua_in_part" "one of the commit after a write with FUA in two parts" \
	"counts t_fua_in_part again" "the same, and the whole was tried again for lack of space" \
	"t_flush_beside guest" "a flush that fails beside an allocating write" \
	"t_flush_beside message" "one of the message commit, beside an allocating write"
