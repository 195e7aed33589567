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
	t_autoclear "unknown autoclear bits are cleared" \
	t_compat "compatible features stay"
