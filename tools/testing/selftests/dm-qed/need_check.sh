#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The life of NEED_CHECK, of the autoclear bits, and of the record.

# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

c=65536

open_image() {
	null a 128 cache_size=64
	disk=$dev
	image "$disk" $((64 * mb)) "$c" 4 "${features:-0}"
	qed q "$disk" "$@"
}

t_life() {
	open_image
	is "$(status q needs_check)" - "NEED_CHECK of a new device"
	io "$dev" read:0:"$c":0 flush
	is_clean "$disk"
	io "$dev" write:0:512:1
	is_dirty "$disk"
	is "$(status q needs_check)" needs_check "NEED_CHECK after an allocation"
	dm_suspend q
	is_clean "$disk"
	sound "$disk"
	dm_resume q
	is_clean "$disk"
	io "$dev" write:512:512:2 read:0:512:1 flush
	is_clean "$disk"
	is "$(status q needs_check)" - "NEED_CHECK after a write in place"
	io "$dev" write:"$c":512:3
	is_dirty "$disk"
	dm_remove q
	is_clean "$disk"
	sound "$disk"
}

# Durable, and before the write: the power is cut without any flush.
t_before() {
	open_image zeroed_from 5 commit_interval 3600000
	io "$dev" write:0:512:1
	null_off a
	blk dm wipe "$pre-q"
	dm_remove q
	null_on a
	is_dirty "$disk"
	sound "$disk"
	qed q "$disk"
	is "$(status q needs_check)" needs_check "NEED_CHECK of an image that was not closed"
	dm_remove q
	is_clean "$disk"
}

# Five idle seconds, and not before; then an allocation sets it again.
t_idle() {
	local start

	open_image zeroed_from 5
	io "$dev" write:0:512:1
	start=$SECONDS
	wait_for 20 is_clean "$disk"
	at_least $((SECONDS - start)) 4 "the idle time in seconds"
	is "$(status q needs_check)" - "NEED_CHECK when idle"
	is "$(status q dirty)" 0 "the number of dirty blocks"
	sound "$disk"
	io "$dev" write:"$c":512:2
	is_dirty "$disk"
}

# All that was written is durable before the bit is clear.
t_idle_durable() {
	open_image zeroed_from 5 commit_interval 3600000
	io "$dev" write:0:512:1 write:$((9 * c)):"$c":2
	wait_for 20 is_clean "$disk"
	null_off a
	blk dm wipe "$pre-q"
	dm_remove q
	null_on a
	is_clean "$disk"
	sound "$disk"
	qed q "$disk"
	io "$dev" read:0:512:1 read:$((9 * c)):"$c":2
}

# Set by others: cleared by a close, kept by read_only
t_inherited() {
	features=2 open_image read_only
	is "$(status q needs_check)" needs_check "NEED_CHECK when opened read_only"
	dm_remove q
	is_dirty "$disk"
	qed q "$disk" zeroed_from 5
	is_dirty "$disk"
	is "$(status q used)" 5 "used clusters: a dirty image is scanned before"
	wait_for 20 is_clean "$disk"
}

# What is found in the tables may be in the cache of the disk only, if somebody else has crashed: it
# is durable before anything follows from it. The cache of a block of the table is a device of its
# own, and that block of $disk is what is durable.
t_volatile() {
	local cache table=$((5 * c)) lower

	null b 1 cache_size=1
	cache=$dev
	null a 1
	disk=$dev
	image "$disk" $((64 * mb))
	# all that there is
	qed q "$disk"
	io "$dev" "write:0:$((7 * c)):0x11"
	dm_remove q
	blk poke "$disk" 16 2
	dd if="$disk" of="$cache" bs=4096 skip=$((table / 4096)) count=1 oflag=direct status=none
	# the last of these clusters is free, in the cache
	blk poke "$cache" $((6 * 8)) 0
	dm l "0 $((table / 512)) linear $disk 0
$((table / 512)) 8 linear $cache 0
$((table / 512 + 8)) $((11 * c / 512 - 8)) linear $disk $((table / 512 + 8))"
	lower=$dev
	io_start "$cache"
	qed q "$lower" commit_interval 3600000
	io "$dev" "read:$((6 * c)):$c:0" "write:$((20 * c)):$c:0x22"
	io_end "$cache"

	# the power fails
	[ "$flushes" = 0 ] ||
		dd if="$cache" of="$disk" bs=4096 seek=$((table / 4096)) count=1 oflag=direct status=none
	blk dm wipe "$pre-q"
	dm_remove q
	qed q "$disk" read_only
	io "$dev" "read:$((6 * c)):$c:0" || io "$dev" "read:$((6 * c)):$c:0x11" ||
		fail "a cluster has what belongs to another one"
}

t_autoclear() {
	null a 128
	disk=$dev
	image "$disk" $((64 * mb))
	qedimg poke "$disk" 32 ffff000000000080
	[ "$(blk u64 "$disk" 32)" != 0 ] || fail "poke did not work"
	qed q "$disk" read_only
	dm_remove q
	[ "$(blk u64 "$disk" 32)" != 0 ] || fail "read_only has cleared autoclear bits"
	qed q "$disk"
	is "$(blk u64 "$disk" 32)" 0 "the autoclear bits of an active image"
}

# has_record IMAGE: is bit 63 set, which makes a record of what is there?
has_record() {
	[ $(($(blk u64 "$1" 32) >> 63 & 1)) = 1 ]
}

# activated ARG...: activate the image, and set $log to what the kernel says
activated() {
	kmsg_mark
	qed q "$disk" "$@"
	log=$(kmsg)
}

# It is read, and void before anything is written, since it is not kept up to date.
t_record() {
	local log

	open_image read_only
	dm_remove q
	qedimg record "$disk" host=a-host end=5 zero_from=100 zero_end=2048 device_size=128M
	activated read_only
	[[ $log != *record* ]] || fail "the kernel tells of a record that nobody has: $log"
	dm_remove q
	has_record "$disk" || fail "read_only has cleared bit 63"
	activated
	[[ $log != *record* ]] || fail "the kernel tells of a record that nobody has: $log"
	is "$(blk u64 "$disk" 32)" 0 "the autoclear bits of an active image"
	io "$dev" write:0:512:1
	dm_remove q
	is "$(blk u64 "$disk" 32)" 0 "the autoclear bits after removal"

	qedimg record "$disk" host=a-host flags=1
	activated
	matches "$log" 'record says that host a-host' "the kernel's log of an active record"
	dm_remove q
	! has_record "$disk" || fail "bit 63 is set after removal"

	qedimg record "$disk" flags=1 end=100
	activated read_only
	matches "$log" 'record in the header is ignored: it tells of free space' "the kernel's log"
	dm_remove q
	qedimg record "$disk" host=a-host
	qedimg poke "$disk" 400 ff
	activated
	matches "$log" 'record in the header is ignored: it has a wrong checksum' "the kernel's log"
	is "$(blk u64 "$disk" 32)" 0 "the autoclear bits of an active image"
	io "$dev" read:0:512:1
}

# QEMU knows no record: it reads such an image, and clears the bit when it writes.
t_record_qemu() {
	local img=$tmp/record.qed

	need qemu-img qemu-io
	truncate -s 128M "$img"
	image "$img" $((64 * mb)) "$c" 4 0
	qedimg record "$img" end=5 zero_from=5 zero_end=2048 device_size=128M
	qemu-img check -q -f qed "$img" >"$tmp/check.log" || [ $? = 3 ] ||
		fail "QEMU finds errors: $(cat "$tmp/check.log")"
	qemu-io -r -f qed -c 'read -P 0 0 64k' "$img" >"$tmp/qemu-io.log"
	has_record "$img" || fail "QEMU has cleared bit 63 without writing"
	qemu-io -f qed -c 'write -P 1 0 64k' "$img" >"$tmp/qemu-io.log"
	! has_record "$img" || fail "QEMU has not cleared bit 63"
	is "$(blk u64 "$img" 32)" 0 "the autoclear bits after QEMU"
	qemu-img check -q -f qed "$img" || [ $? = 3 ] || fail "QEMU finds errors"
}

# Bits that are nobody's business
t_compat() {
	null a 128
	disk=$dev
	image "$disk" $((64 * mb))
	qedimg poke "$disk" 24 ff000000000000ff
	local before

	before=$(blk u64 "$disk" 24)
	qed q "$disk"
	io "$dev" write:0:512:1 flush
	dm_remove q
	is "$(blk u64 "$disk" 24)" "$before" "the compatible features"
}

run t_life "set by allocations only, cleared by suspend and removal" \
	t_before "durable before the first allocating write" \
	t_idle "cleared after five idle seconds" \
	t_idle_durable "cleared only when all is durable" \
	t_inherited "an image that somebody else has left" \
	t_volatile "one of which the disk has not made all durable" \
	t_autoclear "unknown autoclear bits are cleared" \
	t_record "a record is read, and void before anything is written" \
	t_record_qemu "QEMU reads images with a record, and clears bit 63 to write" \
	t_compat "compatible features stay"
