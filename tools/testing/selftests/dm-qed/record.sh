#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The record in the header: what is known of free space. Who has the image is in owner.sh.

# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

c=65536

# Of the record of an image: field FILE AT
field() {
	blk u64 "$1" "$2"
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
	qed q "$lower" known_zeroes zeroed_from 5 host a
	is_active "$disk" || fail "there is no active record"
	is "$(field "$disk" 408)" 97 "the host"
	is "$(field "$disk" 416)" 0 "the rest of the host"
	is "$(field "$disk" 472)$(field "$disk" 480)$(field "$disk" 488)" 000 \
		"what an active record claims"
	is "$(field "$disk" 496)" $((128 * mb)) "the size of the device"
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
	qed q "$lower" known_zeroes
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
	claims "$disk" 10 0 0 $((128 * mb))
	qed q "$lower" zeroed_from 10
	dm_remove q
	zeroes 128 2038
	zeroes 127 0
	# what it is extended by may be known to be zero, as well as what was known
	dm_swap l "0 $((96 * mb / 512)) linear $disk 0"
	qed q "$lower" zeroed_from 10
	dm_remove q
	dm_swap l "0 $((128 * mb / 512)) linear $disk 0"
	qed q "$lower" known_zeroes zeroed_from 1536
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
	claims "$disk" 10 0 0 $((128 * mb))

	for flags in 1 0; do
		qedimg record "$disk" host=a-host flags="$flags" end=100
		[ "$flags" = 1 ] || blk poke "$disk" 16 2
		kmsg_mark
		qed q "$lower" read_only
		matches "$(kmsg)" 'record in the header is ignored: it tells of free space' "the kernel's log"
		dm_remove q
		qed q "$lower"
		dm_remove q
		claims "$disk" 10 0 0 $((128 * mb))
	done
}

# The image, up to the end of what is in use, is copied to a recycled disk of the same size: what is
# behind that is not zero there.
t_copied() {
	local disk end

	null a 128
	disk=$dev
	image "$disk" $((64 * mb))
	qed q "$disk" zeroed_from 5
	io "$dev" "write:0:$c:0x11" flush
	dm_remove q
	end=$(field "$disk" 472)
	null b 128
	garbage "$dev" 128
	dd if="$disk" of="$dev" bs="$c" count="$end" iflag=direct oflag=direct conv=notrunc status=none
	sound "$dev"
	qed q "$dev"
	is "$(status q zeroed)" 0 "the clusters known to be zero"
	io "$dev" "read:0:$c:0x11" "write:$((4 * c)):512:0x22" flush \
		"read:$((4 * c)):512:0x22" "read:$((4 * c + 512)):$((c - 512)):0"
}

# The same of a volume that was made shorter, and as long again
t_cut() {
	disk 128
	qed q "$lower" zeroed_from 5
	io "$dev" "write:0:$c:0x11" flush
	dm_remove q
	io "$disk" "write:$((96 * mb)):$((32 * mb)):0xa5"
	qed q "$lower"
	is "$(status q zeroed)" 0 "the clusters known to be zero"
	dm_remove q
	claims "$disk" 10 0 0 $((128 * mb))
}

run "counts t_life" "written, and read again" \
	t_idle "it comes and goes with NEED_CHECK" \
	t_sizes "zeroes are those of a device of one size" \
	t_copied "a copy up to the end of what is in use" \
	t_cut "a volume that was shorter for a while" \
	t_untrue "what is not true" \
	t_bad "what is no record"
