#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Who has lost an image, or cannot see whether it has: it does not write to it any more.

# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=paths.sh
. "$(dirname "$0")/paths.sh"

# Who has lost the image does not write to it any more, and says so.
t_taken() {
	file
	qed q "$one" host first
	q=$dev
	io "$dev" "read:0:$c:0x11"
	elsewhere second
	qed p "$two" host second
	io "$dev" "write:$c:$c:0x22" flush
	wait_for 20 is_clean "$img"
	kmsg_mark
	unchanged io "$q" "!EIO/write:$c:$c:0x99" "read:0:$c:0x11"
	matches "$(kmsg)" 'host second has taken the image, owner [0-9a-f]{32}' "the kernel's log"
	matches "$(kmsg)" 'the image has another owner: going read-only' "the kernel's log"
	is "$(status q mode)" ro "the mode of who has lost it"
	is "$(status p mode)" rw "the mode of who has it"
	unchanged dm_remove q
	io "$dev" "read:$c:$c:0x22" "write:$((2 * c)):$c:0x33" flush
	dm_remove p
	sound "$img"
}

# ... nor does it go on for long if it never writes the header.
t_taken_busy() {
	local i

	file
	qed q "$one" host first
	q=$dev
	io "$q" "write:$c:$c:0x22" flush
	is_dirty "$img"
	elsewhere second
	for ((i = 0; i < 60; i++)); do
		"$bin/blk" io "$q" "write:$(((i + 2) * c)):$c:0x22" flush || true
		[ "$(status q mode)" != ro ] || return 0
		sleep 0.5
	done
	fail "it writes still"
}

# ... nor while it trims, which takes long.
t_taken_trim() {
	local size

	need_target delay
	file
	size=$(sectors_of "$one")
	linear l "$one"
	qed q "$dev" host first
	q=$dev
	io "$q" "write:$c:$c:0x22" flush
	# what the device is given takes half a minute, each time
	dm_swap l "0 $size delay $one 0 0 $one 0 30000"
	dmsetup message "$pre-q" 0 trim
	# it may have looked since the write
	sleep 8
	not status_is q trim -
	elsewhere second
	wait_for 20 status_is q mode ro
}

# ... nor with a cluster that a failed write may have changed, so that the image stays marked.
t_taken_touched() {
	null n 128 blocksize=512
	lower=$dev
	image "$lower" $((64 * mb)) "$c" 4
	qed q "$lower" host first zeroed_from 5
	q=$dev
	io "$q" "write:0:$c:0x11" flush
	null_bad n "+$((10 * c / 512))-$((11 * c / 512 - 1))"
	io "$q" "!EIO/write:$c:$c:0x22"
	null_bad n "-$((10 * c / 512))-$((11 * c / 512 - 1))"
	# longer than it takes to find nothing to do
	sleep 12
	is "$(status q mode)" rw "the mode"
	is_dirty "$lower"
	elsewhere second "$lower"
	wait_for 20 status_is q mode ro
}

# ... nor when it is suspended, or resumed
t_taken_idle() {
	file
	qed q "$one" host first
	q=$dev
	elsewhere second
	qed p "$two" host second
	io "$dev" "write:$c:$c:0x22" flush
	wait_for 20 is_clean "$img"
	unchanged dm_suspend q
	unchanged dm_resume q
	is "$(status q mode)" ro "the mode of who has lost it"
	io "$q" "read:0:$c:0x11" "!EIO/write:0:$c:0x99"
	# another table does not get it, either
	dm_load q "$(table "$one" host first)"
	unchanged refused dm_resume q
	is "$(status p mode)" rw "the mode of who has it"
	dm_remove p
	dm_resume q
	io "$q" "read:$c:$c:0x22" "write:0:$c:0x99"
	dm_remove q
	sound "$img"
}

# The image was taken by another owner, and later written by one who knows no record
t_taken_and_void() {
	file
	qed q "$one" host first
	q=$dev
	io "$q" "read:0:$c:0x11"
	elsewhere second
	qed p "$two" host second
	io "$dev" "write:$c:$c:0x22" flush
	dm_remove p
	no_record "$img"
	sync
	stays_away 'the image has another owner'
	sound "$img"
	qed q "$two" read_only
	io "$dev" "read:0:$c:0x11" "read:$c:$c:0x22"
}

# Something else has been put there: a disk label, or another file system
t_label() {
	file
	qed q "$one"
	q=$dev
	dd if=/dev/zero bs=512 count=1 conv=notrunc of="$img" status=none
	sync
	stays_away 'the header is not that of the image any more'
}

# ... or another image, with other clusters
t_other_image() {
	file
	qed q "$one"
	q=$dev
	image "$img" $((32 * mb)) 4096 1 0
	sync
	stays_away 'the header is not that of the image any more'
}

# ... or one of another size, as by qemu-img resize
t_resized() {
	local size=$((96 * mb))

	file
	qed q "$one"
	q=$dev
	no_record "$img"
	blk poke "$img" 48 "$size"
	sync
	stays_away 'the header is not that of the image any more'
	is "$(blk u64 "$img" 48)" "$size" "the size that somebody has set"
}

# Bit 63 is set, and what is there is not ours: one who knows the bit has written it
t_unknown() {
	file
	qed q "$one"
	q=$dev
	qedimg record "$img" host=second flags=1
	qedimg poke "$img" 388 02
	sync
	stays_away 'the image has another owner'
}

# keeps COMMAND...: what is kept over a suspend for want of space is lost, and the image left alone,
# if somebody has done this to it meanwhile, as device p on $other
keeps() {
	local pool data meta other

	need_target thin-pool
	null m 8
	meta=$dev
	null d 64
	data=$dev
	pool="thin-pool $meta $data 128 0 1 error_if_no_space"
	dm pool "0 $((3 * 128)) $pool"
	dmsetup message "$pre-pool" 0 "create_thin 0"
	dm l "0 $((64 * mb / 512)) thin $dev 0"
	lower=$dev
	image "$lower" $((32 * mb)) "$c" 4
	qed q "$lower" commit_interval 3600000 zeroed_from 5 host first
	q=$dev
	[ -z "${early-}" ] || no_record "$lower"
	io "$q" "write:0:$((2 * c)):0x11"
	dm_suspend q
	is "$(status q mode)" out_of_space "the mode"
	dm_swap pool "0 $((24 * 128)) $pool"
	linear other "$lower"
	other=$dev
	"$@"
	no_record "$lower"
	io_start "$lower"
	dm_resume q
	io "$q" "!EIO/write:0:$c:0x33" "!EIO/flush"
	io_end "$lower"
	is "$wsectors" 0 "the number of sectors written"
	is "$(status q mode)" ro "the mode"
	dm_remove q
}

takes_over() {
	elsewhere second "$lower"
	qed p "$other" host second
	io "$dev" "write:$((5 * c)):$c:0x22" flush
	dm_remove p
}

# First one who takes the image over, and then one who knows no record
t_kept_and_void() {
	keeps takes_over
	qed p "$lower" read_only
	io "$dev" "read:$((5 * c)):$c:0x22"
}

# Only one who knows no record: he may have changed everything.
t_kept_void() {
	kmsg_mark
	keeps true
	matches "$(kmsg)" 'somebody else has opened the image for writing: going read-only' \
		"the kernel's log"
}

# ... also if he did so before that, and it was noticed: nobody sees what he does next.
t_kept_void_early() {
	kmsg_mark
	early=1 keeps true
	matches "$(kmsg)" 'somebody else has cleared bit 63: the record is void' "the kernel's log"
	matches "$(kmsg)" 'somebody else has opened the image for writing: going read-only' \
		"the kernel's log"
}

# A header that cannot be read for a moment: NEED_CHECK is cleared later.
t_bad_idle() {
	layered host first
	is_dirty "$img"
	header_on error
	kmsg_mark
	wait_for 20 kmsg_has 'cannot read the header'
	is "$(status q mode)" rw "the mode"
	header_on "linear $one 0"
	wait_for 20 is_clean "$img"
	dm_remove q
	! is_active "$img" || fail "the record is active"
}

# ... when the device is suspended: the image is kept, and given up later.
t_bad_close() {
	local owner

	layered host first
	owner=$(blk u64 "$img" 392)
	header_on error
	dm_suspend q
	header_on "linear $one 0"
	is_active "$img" || fail "the record is not active"
	dm_resume q
	is "$(blk u64 "$img" 392)" "$owner" "the owner"
	is "$(status q mode)" rw "the mode"
	io "$q" "write:$((2 * c)):$c:0x33" flush "read:$c:$c:0x22"
	dm_remove q
	! is_active "$img" || fail "the record is active"
	sound "$img"
}

# ... when a device is resumed that was kept: it stays suspended, and can be resumed later.
t_bad_resume() {
	layered host first
	header_on error
	dm_suspend q
	refused dm_resume q
	refused dm_resume q
	header_on "linear $one 0"
	dm_resume q
	is "$(status q mode)" rw "the mode"
	io "$q" "write:$((2 * c)):$c:0x33" flush "read:$c:$c:0x22"
	dm_remove q
	! is_active "$img" || fail "the record is active"
	sound "$img"
}

run t_taken "who has lost the image does not write" \
	t_taken_busy "... for long, whatever it does" \
	t_taken_trim "... while it trims" \
	t_taken_touched "... when a write to a new cluster has failed" \
	t_taken_idle "... nor suspends, or resumes it" \
	t_taken_and_void "... also if one has written then who knows no record" \
	t_label "something else is in sector 0" \
	t_other_image "another image is there" \
	t_resized "it has another size" \
	t_unknown "a record that is not understood" \
	t_kept_and_void "what is kept, and another owner, and one who knows no record" \
	t_kept_void "what is kept, and one who knows no record" \
	t_kept_void_early "... before that" \
	t_bad_idle "a header that cannot be read while the device is idle" \
	t_bad_close "... while it is suspended" \
	t_bad_resume "... while it is resumed"
