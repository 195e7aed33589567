#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The record in the header: who else may have written to sector 0, and when.

# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

c=65536
img=					# the file
one=					# a loop device over it, and another
two=
q=					# the first device

is_active() {
	has_record "$1" && [ $(($(blk u64 "$1" 384) >> 48 & 1)) = 1 ]
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

# sector: what is in sector 0
sector() {
	sync
	dd if="$img" bs=512 count=1 status=none | sha256sum
}

# stays_away: whoever has the image, as $q, sees that it is no more, and writes nothing to it
stays_away() {
	local before

	before=$(sector)
	io "$q" "!EIO/write:$c:$c:0x99" || true
	note "mode $(status q mode), sector 0 before $before after $(sector)"
	[ "$(sector)" = "$before" ] || fail "sector 0 has been written"
	is "$(status q mode)" ro "the mode"
}

# Something else has been put there: a disk label, or another file system
t_label() {
	file
	qed q "$one"
	q=$dev
	dd if=/dev/zero bs=512 count=1 conv=notrunc of="$img" status=none
	sync
	stays_away
}

# ... or another image, with other clusters
t_other_image() {
	file
	qed q "$one"
	q=$dev
	image "$img" $((32 * mb)) 4096 1 0
	sync
	stays_away
}

# ... or one of another size, as by qemu-img resize
t_resized() {
	local size=$((96 * mb))

	file
	qed q "$one"
	q=$dev
	blk poke "$img" 32 0
	blk poke "$img" 48 "$size"
	sync
	io "$q" "write:$c:$c:0x22" flush || true
	sync
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
	stays_away
}

# The image was taken by another owner, and later written by one who knows no record
t_taken_and_void() {
	file
	qed q "$one" host first
	q=$dev
	io "$q" "read:0:$c:0x11"
	qed p "$two" host second takeover
	io "$dev" "write:$c:$c:0x22" flush
	dm_remove p
	no_record "$img"
	sync
	io "$q" "!EIO/write:$((2 * c)):$c:0x99" || true
	dm_remove q
	sound "$img"
	qed q "$two" read_only
	io "$dev" "read:0:$c:0x11" "read:$c:$c:0x22"
}

# Somebody who knows no record opens the image to write while it is being activated.
t_void_at_load() {
	local lower pid

	need_target delay
	file
	dm l "0 128 linear $one 0"$'\n'"128 $(($(sectors_of "$one") - 128)) delay $one 128 3000 $one 128 0"
	lower=$dev
	dm q "0 $((64 * mb / 512)) error"
	q=$dev
	dm_load q "$(table "$lower")"
	bg "$bin/blk" dm resume "$pre-q"
	pid=$!
	sleep 1
	# QEMU would: the bit is cleared, and the table gets a cluster behind the last one
	is "$(blk u64 "$img" 472)" 10 "the end in the record"
	no_record "$img"
	blk poke "$img" $((5 * c + 600 * 8)) $((10 * c))
	dd if=/dev/urandom of="$img" bs="$c" seek=10 count=1 conv=notrunc status=none
	sync
	note "written by somebody else: $(dd if="$img" bs=$c skip=10 count=1 status=none | sha256sum)"
	if wait "$pid"; then
		note "activated, mode $(status q mode)"
		io "$q" "write:$((8 * c)):$c:0x99" flush || true
	fi
	sync
	note "afterwards: $(dd if="$img" bs=$c skip=10 count=1 status=none | sha256sum)"
	note "mode $(status q mode)"
	[ "$(blk u64 "$img" $((10 * c)))" != 11068046444225730969 ] ||
		fail "the cluster that somebody else has mapped is overwritten"
}

# A table that has failed is replaced by one that calls the host by another name: it is this host.
t_renamed() {
	local lower

	file
	linear l "$one"
	lower=$dev
	qed q "$lower" host none
	io "$dev" "write:$c:$c:0x22" flush
	fail_writes l "$one" 0 8
	io "$dev" "write:$((2 * c)):$c:0x33"
	dm_suspend q
	is "$(status q mode)" ro "the mode"
	dm_swap l "0 $(sectors_of "$one") linear $one 0"
	dm_load q "$(table "$lower" host named)"
	dm_resume q || fail "refused: $(kmsg | tail -n 3)"
	is "$(status q mode)" rw "the mode"
}

# An activation that is refused leaves the image as it was.
t_length() {
	local before

	file
	qed q "$one"
	dm_suspend q
	dm_load q "$(table "$one")"
	blk poke "$img" 48 $((32 * mb))
	sync
	is "$(blk u64 "$img" 472)" 10 "the end in the record"
	before=$(sector)
	refused dm_resume q
	note "$(kmsg | tail -n 2)"
	! is_active "$img" || fail "the record is active"
	[ "$(sector)" = "$before" ] || fail "sector 0 has been written"
}

# Two paths to an image, at the same time: a write of the record takes a moment.
t_both() {
	local pid lower p ok=

	need_target delay
	file
	dm l "0 $(sectors_of "$two") delay $two 0 0 $two 0 4000"
	lower=$dev
	dm p "0 $((64 * mb / 512)) error"
	p=$dev
	dm_load p "$(table "$lower")"
	bg "$bin/blk" dm resume "$pre-p"
	pid=$!
	sleep 0.3
	qed_at_once q "$one" commit_interval 3600000
	q=$dev
	io "$q" "write:$c:$c:0x22"
	wait "$pid" || return 0
	bg "$bin/blk" io "$p" "write:$((2 * c)):$c:0x33" flush
	pid=$!
	io "$q" flush && ok=1
	wait "$pid" || true
	note "p: $(status p mode), q: $(status q mode), flush of q: $ok"
	dm_remove p || true
	dm_remove q
	sync
	sound "$img"
	qed q "$one" read_only
	io "$dev" "read:0:$c:0x11"
	[ ! "$ok" ] || io "$dev" "read:$c:$c:0x22"
}

# What is kept over a suspend for want of space, when others have written meanwhile: first one who
# takes the image over, then one who knows no record
t_kept_and_void() {
	local pool data meta lower

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
	io "$q" "write:0:$((2 * c)):0x11"
	dm_suspend q
	is "$(status q mode)" out_of_space "the mode"
	dm_swap pool "0 $((24 * 128)) $pool"
	linear other "$lower"
	qed p "$dev" host second takeover
	io "$dev" "write:$((5 * c)):$c:0x22" flush
	dm_remove p
	no_record "$lower"
	io_start "$lower"
	dm_resume q
	io "$q" flush || true
	io_end "$lower"
	note "mode $(status q mode), writes $writes"
	dm_remove q
	qed p "$lower" read_only
	io "$dev" "read:$((5 * c)):$c:0x22"
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
	end=$(blk u64 "$disk" 472)
	null b 128
	garbage "$dev" 128
	dd if="$disk" of="$dev" bs="$c" count="$end" iflag=direct oflag=direct conv=notrunc status=none
	sound "$dev"
	qed q "$dev"
	note "known to be zero: $(status q zeroed)"
	io "$dev" "read:0:$c:0x11" "write:$((4 * c)):512:0x22" flush \
		"read:$((4 * c)):512:0x22" "read:$((4 * c + 512)):$((c - 512)):0"
}

run t_label "something else is in sector 0" \
	t_other_image "another image is there" \
	t_resized "it has another size" \
	t_unknown "a record that is not understood" \
	t_taken_and_void "another owner, and then one who knows no record" \
	t_void_at_load "one who knows no record, during the activation" \
	t_renamed "the same device, by another name of the host" \
	t_length "an activation that is refused" \
	t_both "two paths at the same time" \
	t_kept_and_void "what is kept without space, and then one who knows no record" \
	t_copied "a copy up to the end of what is in use"
