#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Who has an image. Two loop devices over one file stand for two hosts, or for two paths to a disk.

# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

c=65536
img=					# the file
one=					# a loop device over it, and another
two=
lower=					# a layer over one of them
q=					# the first device
bit63=9223372036854775808

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

# elsewhere HOST [DEVICE]: another host has taken the image, by what a path to it looks like
elsewhere() {
	local device=${2-$img}

	[ "$device" = "$img" ] || blockdev --flushbufs "$device"
	qedimg record "$device" host="$1" flags=1
	sync
	[ "$device" = "$img" ] || blockdev --flushbufs "$device"
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
	is "$(blk u64 "$img" 32)" 0 "the autoclear bits after QEMU"
	qed q "$one"
	is "$(status q zeroed)" 0 "the clusters known to be zero"
	io "$dev" "read:0:$c:0x11" "read:$((10 * c)):$c:0x22" "write:$c:$c:0x33" flush
	dm_remove q
	sync
	is "$(blk u64 "$img" 32)" "$bit63" "the autoclear bits"
	qemu-img check -q -f qed "$img" || [ $? = 3 ] || fail "QEMU finds errors"
	sound "$img"
}

# It does not clear it if it opens the image to read, and then to write: as that of a backing file,
# for a commit into it. Then the file has become longer.
t_qemu_reopen() {
	local loop

	need qemu-img qemu-io
	file
	is "$(blk u64 "$img" 472)" 10 "the end in the record"
	# its own size, as QEMU has no use for a device
	truncate -s $((10 * c)) "$img"
	qedimg record "$img" host=first end=10
	qemu-img create -q -f qed -b "$img" -F qed "$tmp/over.qed"
	qemu-io -f qed -c "write -P 0x22 $((2 * c)) $c" "$tmp/over.qed" >"$tmp/qemu-io.log"
	qemu-img commit -q "$tmp/over.qed"
	# others may clear it
	has_record "$img" || return 0
	is "$(blk u64 "$img" 472)" 10 "the end in the record"
	at_least "$(stat -c %s "$img")" $((11 * c)) "the length of the file"
	truncate -s 128M "$img"
	loop "$img"
	loop=$dev
	linear l "$loop"
	qed q "$dev"
	io "$dev" "read:$((2 * c)):$c:0x22" "write:$((8 * c)):$((4 * c)):0x33" flush \
		"read:$((2 * c)):$c:0x22"
	is "$(status q mode)" rw "the mode"
	dm_remove q
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
	is "$(blk u64 "$img" 32)" 0 "the autoclear bits after QEMU"
	is_clean "$img"
	io "$dev" "write:$((2 * c)):$c:0x33" flush "read:0:$c:0x11" "read:$c:$c:0x22"
	dm_suspend q
	matches "$(kmsg)" 'somebody else has cleared bit 63: the record is void' "the kernel's log"
	is "$(blk u64 "$img" 32)" 0 "the autoclear bits after that"
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
	is "$(blk u64 "$img" 32)" 0 "the autoclear bits"
	matches "$(kmsg)" 'somebody else has cleared bit 63: the record is void' "the kernel's log"
	dm_remove q
	is "$(blk u64 "$img" 32)" 0 "the autoclear bits"
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

# ... also when somebody has cleared bit 63: what is left of the record is that of a device here
t_void_path() {
	file
	qed q "$one"
	q=$dev
	io "$q" "write:$c:$c:0x22" flush
	no_record "$img"
	sync
	refuses "$two" 'in use on this host, by another path, though bit 63 is clear: owner [0-9a-f]{32}'
	io "$q" "write:$((2 * c)):$c:0x33" flush
	sync
	refuses "$two" 'in use on this host, by another path'
	dm_remove q
	qed p "$two"
	io "$dev" "read:$c:$c:0x22" "read:$((2 * c)):$c:0x33" "write:$c:$c:0x44" flush
	dm_remove p
	sound "$img"
}

# ... and whatever the administrator says: the device here goes on.
t_takeover_here() {
	file
	qed q "$one"
	q=$dev
	io "$q" "write:$c:$c:0x22" flush
	sync
	refuses "$two" 'in use on this host, .*, by another path: owner' takeover
	io "$q" "write:$((2 * c)):$c:0x33" flush "read:$c:$c:0x22"
	dm_remove q
	sound "$img"
}

# A copy of an image that is in use here looks the same. qed-fsck makes it another one.
t_copy() {
	local copy

	file
	qed q "$one"
	q=$dev
	io "$q" "write:$c:$c:0x22" flush
	sync
	cp --sparse=always "$img" "$tmp/copy.qed"
	loop "$tmp/copy.qed"
	copy=$dev
	qed_refused p "$copy" takeover
	matches "$error" 'in use on this host, .*, by another path: owner' "the kernel's log"
	"$QED_FSCK" -p --takeover "$copy" || [ $? = 1 ] || fail "not repaired"
	qed_refused p "$copy"
	qed p "$copy" takeover
	io "$dev" "read:$c:$c:0x22" "write:$c:$c:0x33" flush
	io "$q" "read:$c:$c:0x22" "write:$((2 * c)):$c:0x44" flush
	dm_remove p
	dm_remove q
	sound "$img"
	sound "$tmp/copy.qed"
	# one that was in use, and is clean
	elsewhere gone
	"$QED_FSCK" -p --takeover "$img" || [ $? = 1 ] || fail "not repaired"
	! has_record "$img" || fail "there is a record"
	is_clean "$img"
}

# qed-fsck by another path: two loop devices over the file
t_fsck_path() {
	local path rc

	file
	qed q "$one" commit_interval 3600000
	q=$dev
	io "$q" "write:$c:$((4 * c)):0x22"
	sync
	for path in "$img" "$two"; do
		rc=0
		unchanged "$QED_FSCK" -p --discard "$path" >"$tmp/fsck.log" 2>&1 || rc=$?
		is "$rc" 8 "the status of qed-fsck for $path"
		matches "$(cat "$tmp/fsck.log")" "$one" "what it says"
	done
	io "$q" flush "read:$c:$((4 * c)):0x22"
	dm_remove q
	"$QED_FSCK" -pf "$two" || fail "not checked"
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

# sector: what is in sector 0
sector() {
	sync
	dd if="$img" bs=512 count=1 status=none | sha256sum
}

# stays_away REASON: whoever has the image, as $q, sees that it is no more, and writes nothing to it
stays_away() {
	local before

	before=$(sector)
	kmsg_mark
	io "$q" "!EIO/write:$c:$c:0x99"
	[ "$(sector)" = "$before" ] || fail "sector 0 has been written"
	is "$(status q mode)" ro "the mode"
	matches "$(kmsg)" "$1: going read-only" "the kernel's log"
	dm_remove q
	[ "$(sector)" = "$before" ] || fail "sector 0 has been written"
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
	kmsg_mark
	! wait "$pid" || fail "activated"
	matches "$(kmsg)" 'somebody else has written the header while the image was loaded' \
		"the kernel's log"
	is "$(status q mode)" fail "the mode"
	is "$(blk u64 "$img" 32)" 0 "the autoclear bits"
	dm_resume q
	io "$q" "write:$((8 * c)):$c:0x99" flush
	dm_remove q
	sync
	[ "$(blk u64 "$img" $((10 * c)))" != 11068046444225730969 ] ||
		fail "the cluster that somebody else has mapped is overwritten"
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
	kmsg_mark
	refused dm_resume q
	matches "$(kmsg)" 'table length .* exceeds the image size' "the kernel's log"
	! is_active "$img" || fail "the record is active"
	[ "$(sector)" = "$before" ] || fail "sector 0 has been written"
}

# Two paths to an image, at the same time: a write of the record takes a moment.
t_both() {
	local pid lower p

	need_target delay
	file
	dm l "0 $(sectors_of "$two") delay $two 0 0 $two 0 4000"
	lower=$dev
	dm p "0 $((64 * mb / 512)) error"
	p=$dev
	dm_load p "$(table "$lower")"
	bg "$bin/blk" dm resume "$pre-p"
	pid=$!
	sleep 1
	! is_active "$img" || fail "the record is active already"
	qed_refused q "$one"
	matches "$error" 'somebody else has written the header while the image was loaded' \
		"the kernel's log"
	wait "$pid" || fail "nobody has the image"
	dm_swap l "0 $(sectors_of "$two") linear $two 0"
	io "$p" "write:$c:$c:0x22" flush "read:0:$c:0x11"
	dm_remove p
	sound "$img"
}

# Another image with the same header, on a disk that does not answer: that is not waited for.
t_template() {
	local pid other

	need_target delay
	file
	cp --sparse=always "$img" "$tmp/other.qed"
	loop "$tmp/other.qed"
	other=$dev
	dm l "0 $(sectors_of "$one") delay $one 0 0 $one 0 30000"
	lower=$dev
	dm q "0 $((64 * mb / 512)) error"
	dm_load q "$(table "$lower")"
	bg "$bin/blk" dm resume "$pre-q"
	pid=$!
	sleep 1
	kmsg_mark
	qed p "$other"
	kill -0 "$pid" || fail "the other one is active already"
	matches "$(kmsg)" 'not waiting for a device that takes an image with the same header' \
		"the kernel's log"
	dm_remove p
	dm_swap l "0 $(sectors_of "$one") linear $one 0"
	wait "$pid" || fail "the other one has failed"
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

# What takeover and zeroed_from promise is about the moment: not about another attempt.
t_promised_once() {
	file
	qed q "$one" host first
	dm p "0 $((64 * mb / 512)) error"
	dm_load p "$(table "$two" host second takeover zeroed_from 100)"
	blk poke "$img" 48 $((32 * mb))
	sync
	refused dm_resume p
	blk poke "$img" 48 $((64 * mb))
	sync
	dm_remove q
	qedimg record "$img" host=first flags=1
	kmsg_mark
	refused dm_resume p
	matches "$(kmsg)" 'in use by host first, owner [0-9a-f]{32}: see takeover' "the kernel's log"
	no_record "$img"
	dm_resume p
	is "$(status p zeroed)" 0 "the clusters known to be zero"
}

# header_on TARGET: where the header of $one is, in the layer l
header_on() {
	dm_swap l "0 8 $1"$'\n'"8 $(($(sectors_of "$one") - 8)) linear $one 8"
}

kmsg_has() {
	kmsg | grep -q "$1"
}

# A header that cannot be read for a moment: NEED_CHECK is cleared later.
t_bad_idle() {
	file
	linear l "$one"
	qed q "$dev"
	io "$dev" "write:$c:$c:0x22" flush
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

# ... when a device is resumed that was kept: it stays suspended, and can be resumed later.
t_bad_resume() {
	file
	linear l "$one"
	qed q "$dev"
	q=$dev
	io "$q" "write:$c:$c:0x22" flush
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

# ... when the device is suspended: the image is kept, and given up later.
t_bad_close() {
	local owner

	file
	linear l "$one"
	qed q "$dev"
	q=$dev
	owner=$(blk u64 "$img" 392)
	io "$q" "write:$c:$c:0x22" flush
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

run t_qemu "QEMU reads images with a record, and clears bit 63 to write" \
	t_qemu_reopen "... but not if it has opened them to read before" \
	t_qemu_check "qemu-img check -r all on an active image" \
	t_qemu_idle "bit 63 is not set again if somebody else has cleared it" \
	t_paths "an image in use, by another path" \
	t_void_path "... when bit 63 has been cleared" \
	t_takeover_here "... with takeover" \
	t_copy "a copy of an image in use" \
	t_fsck_path "qed-fsck, by another path" \
	t_both "two paths at the same time" \
	t_template "a disk that does not answer, and another image" \
	t_gone "a host that has crashed" \
	t_taken "who has lost the image does not write" \
	t_taken_idle "... nor suspends, or resumes it" \
	t_taken_and_void "... also if one has written then who knows no record" \
	t_label "something else is in sector 0" \
	t_other_image "another image is there" \
	t_resized "it has another size" \
	t_unknown "a record that is not understood" \
	t_void_at_load "one who knows no record, during the activation" \
	t_kept_and_void "what is kept, and another owner, and one who knows no record" \
	t_kept_void "what is kept, and one who knows no record" \
	t_kept_void_early "... before that" \
	t_former "a former owner that is resumed" \
	t_reload "a table that has failed, and the next one" \
	t_renamed "... by another name of the host" \
	t_length "an activation that is refused" \
	t_promised_once "promises are about one attempt" \
	t_bad_idle "a header that cannot be read while the device is idle" \
	t_bad_close "... while it is suspended" \
	t_bad_resume "... while it is resumed"
