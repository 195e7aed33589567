#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The record in the header: what is known of free space, and who has the image. Two loop devices
# over one file stand for two hosts, or for two paths to a disk.

# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

c=65536
img=					# the file
one=					# a loop device over it, and another
two=
q=					# the first device
bit63=9223372036854775808

# Of the record of an image: field FILE AT
field() {
	blk u64 "$1" "$2"
}

is_active() {
	has_record "$1" && [ $(($(field "$1" 384) >> 48 & 1)) = 1 ]
}

# claims FILE END ZERO_FROM ZERO_END DEVICE_SIZE: so does the record, which is not active
claims() {
	has_record "$1" || fail "there is no record"
	! is_active "$1" || fail "the record is active"
	is "$(field "$1" 472)" "$2" "the end"
	is "$(field "$1" 480)" "$3" "the beginning of the zeroes"
	is "$(field "$1" 488)" "$4" "the end of the zeroes"
	is "$(field "$1" 496)" "$5" "the size of the device"
}

# disk MIB: an empty image on such a disk, with a layer to change its size
disk() {
	null a "$1"
	disk=$dev
	image "$disk" $((64 * mb))
	linear l "$disk"
	lower=$dev
}

# Written when the device is activated and when it is suspended; what it says is there again
t_life() {
	local owner

	disk 128
	qed q "$lower" zeroed_from 5 host a
	is_active "$disk" || fail "there is no active record"
	is "$(field "$disk" 408)" 97 "the host"
	is "$(field "$disk" 416)" 0 "the rest of the host"
	is "$(field "$disk" 472)$(field "$disk" 480)$(field "$disk" 488)$(field "$disk" 496)" 0000 \
		"what an active record claims"
	owner=$(field "$disk" 392)
	[ "$owner" != 0 ] || fail "the owner is 0"
	io "$dev" "write:0:$c:0x11" flush
	is_active "$disk" || fail "the record is not active after NEED_CHECK"
	is "$(field "$disk" 392)" "$owner" "the owner"
	dm_suspend q
	is_clean "$disk"
	claims "$disk" 10 10 2048 $((128 * mb))
	is "$(field "$disk" 392)" "$owner" "the owner"

	dm_resume q
	is_active "$disk" || fail "there is no active record"
	[ "$(field "$disk" 392)" != "$owner" ] || fail "the owner has not changed"
	is "$(status q zeroed)" 2038 "the clusters known to be zero"
	io_start "$disk"
	io "$dev" "write:$c:512:0x22" flush
	io_end "$disk"
	at_most "$wsectors" 32 "the sectors written, without a fill"
	dm_remove q
	claims "$disk" 11 11 2048 $((128 * mb))
	sound "$disk"
	qed q "$lower" read_only
	dm_remove q
	claims "$disk" 11 11 2048 $((128 * mb))
}

# NEED_CHECK goes and comes while the device is active, and so does the record, which claims nothing
t_idle() {
	disk 128
	qed q "$lower" zeroed_from 5
	io "$dev" "write:0:$c:0x11" flush
	wait_for 20 is_clean "$disk"
	is_active "$disk" || fail "there is no active record"
	is "$(field "$disk" 472)" 0 "the end of an active image"
	io "$dev" "write:$c:$c:0x11" flush
	is_active "$disk" || fail "there is no active record"
	dm_remove q
	claims "$disk" 11 11 2048 $((128 * mb))
}

# zeroes MIB NUMBER: with so much of the disk so many clusters are known to be zero
zeroes() {
	dm_swap l "0 $(($1 * mb / 512)) linear $disk 0"
	qed q "$lower"
	is "$(status q zeroed)" "$2" "the clusters known to be zero with $1 MiB"
	io "$dev" "read:0:$c:0x11"
	dm_remove q
}

# The zeroes are those of a device of this size.
t_sizes() {
	disk 128
	dm_swap l "0 $((96 * mb / 512)) linear $disk 0"
	qed q "$lower" zeroed_from 5
	io "$dev" "write:0:$c:0x11" flush
	dm_remove q
	claims "$disk" 10 10 1536 $((96 * mb))
	zeroes 96 1526
	zeroes 128 0
	claims "$disk" 10 0 0 0
	qed q "$lower" zeroed_from 10
	dm_remove q
	zeroes 128 2038
	zeroes 127 0
	# what it is extended by may be known to be zero, as well as what was known
	dm_swap l "0 $((96 * mb / 512)) linear $disk 0"
	qed q "$lower" zeroed_from 10
	dm_remove q
	dm_swap l "0 $((128 * mb / 512)) linear $disk 0"
	qed q "$lower" zeroed_from 1536
	is "$(status q zeroed)" 512 "the clusters known to be zero"
	dm_remove q
	claims "$disk" 10 1536 2048 $((128 * mb))
}

# What the tables say is not what the record says: the image is refused, and stays as it is.
t_untrue() {
	disk 128
	qed q "$lower"
	io "$dev" "write:0:$((4 * c)):0x11" "write:$((4 * c)):$c:0x11" flush
	dm_remove q
	is "$(field "$disk" 472)" 14 "the end"
	qedimg record "$disk" host=a-host end=13
	kmsg_mark
	qed q "$lower"
	wait_for 10 status_is q mode ro
	matches "$(kmsg)" 'is in the range that zeroed_from or the record says is not used' "the kernel's log"
	io "$dev" "!EIO/write:0:512:0x22"
	dm_remove q
	qedimg record "$disk" host=a-host end=5
	qed_refused q "$lower"
	matches "$error" 'entry 0: .* is in the range that zeroed_from or the record says is not used' \
		"the kernel's log"
	is "$(field "$disk" 472)" 5 "the end"
}

# What is no record is as if it were not there, and it is told.
t_bad() {
	local flags

	disk 128
	qed q "$lower"
	io "$dev" "write:0:$c:0x11" flush
	dm_remove q
	qedimg record "$disk" host=a-host end=10 zero_from=10 zero_end=2048 device_size=128M
	qedimg poke "$disk" 400 ff
	kmsg_mark
	qed q "$lower"
	matches "$(kmsg)" 'record in the header is ignored: it has a wrong checksum' "the kernel's log"
	is "$(status q zeroed)" 0 "the clusters known to be zero"
	dm_remove q
	claims "$disk" 10 0 0 0

	for flags in 1 0; do
		qedimg record "$disk" host=a-host flags="$flags" end=100
		[ "$flags" = 1 ] || blk poke "$disk" 16 2
		kmsg_mark
		qed q "$lower" read_only
		matches "$(kmsg)" 'record in the header is ignored: it tells of free space' "the kernel's log"
		dm_remove q
		qed q "$lower"
		dm_remove q
		claims "$disk" 10 0 0 0
	done
}

# file: two loop devices over a file with an image, and something in it
file() {
	img=$tmp/image.qed
	truncate -s 128M "$img"
	image "$img" $((64 * mb)) "$c" 4 0
	loop "$img"
	one=$dev
	loop "$img"
	two=$dev
	qed q "$one" zeroed_from 5
	io "$dev" "write:0:$c:0x11" flush
	dm_remove q
	sync
}

# unchanged COMMAND...: this leaves the image alone
unchanged() {
	cp --sparse=always "$img" "$tmp/before"
	"$@"
	cmp "$img" "$tmp/before" || fail "the image has changed: $*"
}

# QEMU knows no record: it reads such an image, and clears the bit when it writes.
t_qemu() {
	need qemu-img qemu-io
	file
	qemu-img check -q -f qed "$img" >"$tmp/check.log" || [ $? = 3 ] ||
		fail "QEMU finds errors: $(cat "$tmp/check.log")"
	qemu-io -r -f qed -c "read -P 0x11 0 $c" "$img" >"$tmp/qemu-io.log"
	has_record "$img" || fail "QEMU has cleared bit 63 without writing"
	# it allocates at the end
	truncate -s $((10 * c)) "$img"
	qemu-io -f qed -c "write -P 0x22 $((10 * c)) $c" "$img" >"$tmp/qemu-io.log"
	truncate -s 128M "$img"
	is "$(field "$img" 32)" 0 "the autoclear bits after QEMU"
	qed q "$one"
	is "$(status q zeroed)" 0 "the clusters known to be zero"
	io "$dev" "read:0:$c:0x11" "read:$((10 * c)):$c:0x22" "write:$c:$c:0x33" flush
	dm_remove q
	sync
	is "$(field "$img" 32)" "$bit63" "the autoclear bits"
	qemu-img check -q -f qed "$img" || [ $? = 3 ] || fail "QEMU finds errors"
	sound "$img"
}

# Whoever repairs an image that is active clears NEED_CHECK and bit 63. Then the record is void.
t_qemu_check() {
	need qemu-img
	file
	kmsg_mark
	qed q "$one"
	io "$dev" "write:$c:$c:0x22" flush
	is_dirty "$img"
	qemu-img check -q -r all -f qed "$img" >"$tmp/check.log" || true
	is "$(field "$img" 32)" 0 "the autoclear bits after QEMU"
	is_clean "$img"
	io "$dev" "write:$((2 * c)):$c:0x33" flush "read:0:$c:0x11" "read:$c:$c:0x22"
	dm_suspend q
	matches "$(kmsg)" 'somebody else has cleared bit 63: the record is void' "the kernel's log"
	is "$(field "$img" 32)" 0 "the autoclear bits after that"
	is_clean "$img"
	dm_resume q
	is "$(status q zeroed)" 0 "the clusters known to be zero"
	is_active "$img" || fail "there is no active record"
	io "$dev" "read:$((2 * c)):$c:0x33" "write:$((3 * c)):$c:0x44" flush
	dm_remove q
	sound "$img"
}

# It is not set again when NEED_CHECK is.
t_qemu_idle() {
	file
	kmsg_mark
	qed q "$one"
	io "$dev" "write:$c:$c:0x22" flush
	wait_for 20 is_clean "$img"
	no_record "$img"
	io "$dev" "write:$((2 * c)):$c:0x33" flush
	is_dirty "$img"
	is "$(field "$img" 32)" 0 "the autoclear bits"
	matches "$(kmsg)" 'somebody else has cleared bit 63: the record is void' "the kernel's log"
	dm_remove q
	is "$(field "$img" 32)" 0 "the autoclear bits"
	sound "$img"
}

# refuses DEVICE REASON [OPTION]...: it cannot be had, and stays as it is
refuses() {
	unchanged qed_refused p "$1" "${@:3}"
	matches "$error" "$2" "the kernel's log"
}

# Another path to an image that is in use
t_paths() {
	file
	qed q "$one"
	q=$dev
	sync
	refuses "$two" 'in use on this host, .*, by another path: owner [0-9a-f]{32}'
	refuses "$two" 'in use on this host' host another
	qed p "$two" read_only
	io "$dev" "read:0:$c:0x11"
	dm_remove p
	io "$q" "write:$c:$c:0x22" flush
	refuses "$two" 'in use on this host'
	dm_remove q
	qed p "$two"
	io "$dev" "read:0:$c:0x11" "read:$c:$c:0x22"
	dm_remove p
	sound "$img"
}

# A host that has gone without a word: its disk does not answer any more.
t_gone() {
	local lower

	file
	linear l "$one"
	lower=$dev
	qed q "$lower" host first
	io "$dev" "write:$c:$c:0x22" flush
	dm_swap l "0 $(sectors_of "$one") error"
	dm_remove q
	dm_remove l
	is_active "$img" || fail "the record is not active"
	refuses "$two" 'in use by host first, owner [0-9a-f]{32}: see takeover' host second
	refuses "$two" 'in use by host first'
	# the same host, after a crash
	kmsg_mark
	qed q "$two" host first
	matches "$(kmsg)" 'taken over: left active by host first, owner [0-9a-f]{32}' "the kernel's log"
	io "$dev" "read:0:$c:0x11" "read:$c:$c:0x22"
	dm_remove q

	qedimg record "$img" host=first flags=1
	kmsg_mark
	qed q "$two" host second takeover
	matches "$(kmsg)" 'taken over from host first, owner [0-9a-f]{32}, on demand' "the kernel's log"
	io "$dev" "read:$c:$c:0x22" "write:$((2 * c)):$c:0x33" flush
	dm_remove q
	# once is not for ever
	qedimg record "$img" host=first flags=1
	refuses "$two" 'in use by host first' host second
	sound "$img"
}

# Who has lost the image does not write to it any more, and says so.
t_taken() {
	file
	qed q "$one" host first
	q=$dev
	io "$dev" "read:0:$c:0x11"
	qed p "$two" host second takeover
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

# ... nor when it is suspended, or resumed
t_taken_idle() {
	file
	qed q "$one" host first
	q=$dev
	qed p "$two" host second takeover
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

# A former owner: suspended, it has given the image up, and cannot have it again at once.
t_former() {
	file
	qed q "$one"
	q=$dev
	dm_suspend q
	qed p "$two"
	io "$dev" "write:$c:$c:0x22" flush
	kmsg_mark
	unchanged refused dm_resume q
	matches "$(kmsg)" 'in use on this host' "the kernel's log"
	is "$(status q mode)" fail "the mode of the former owner"
	dm_remove p
	dm_resume q
	io "$q" "read:$c:$c:0x22" "write:$((2 * c)):$c:0x33" flush
	dm_remove q
	sound "$img"
}

# Another table of the same device takes over from the one that has failed.
t_reload() {
	local lower

	file
	linear l "$one"
	lower=$dev
	qed q "$lower" host first
	io "$dev" "write:$c:$c:0x22" flush
	fail_writes l "$one" 0 8
	io "$dev" "write:$((2 * c)):$c:0x33"
	dm_suspend q
	is "$(status q mode)" ro "the mode"
	dm_swap l "0 $(sectors_of "$one") linear $one 0"
	dm_load q "$(table "$lower" host first)"
	dm_resume q
	is "$(status q mode)" rw "the mode"
	io "$dev" "read:$c:$c:0x22" "write:$((2 * c)):$c:0x44" "!EIO/flush"
	dm_remove q
	sound "$img"
}

run t_life "written, and read again" \
	t_idle "it comes and goes with NEED_CHECK" \
	t_sizes "zeroes are those of a device of one size" \
	t_untrue "what is not true" \
	t_bad "what is no record" \
	t_qemu "QEMU reads images with a record, and clears bit 63 to write" \
	t_qemu_check "qemu-img check -r all on an active image" \
	t_qemu_idle "bit 63 is not set again if somebody else has cleared it" \
	t_paths "an image in use, by another path" \
	t_gone "a host that has crashed" \
	t_taken "who has lost the image does not write" \
	t_taken_idle "... nor suspends, or resumes it" \
	t_former "a former owner that is resumed" \
	t_reload "a table that has failed, and the next one"
