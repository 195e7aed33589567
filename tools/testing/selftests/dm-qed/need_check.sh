#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The life of NEED_CHECK, and of the autoclear bits; that of the record is in record.sh.

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
	start=$SECONDS
	io "$dev" write:0:512:1
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
	is "$(blk u64 "$disk" 32)" 9223372036854775808 "the autoclear bits of an active image"
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
	t_compat "compatible features stay"
