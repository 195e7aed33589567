#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Two paths to an image, and what others do to it: for owner.sh, taken.sh and void.sh.

# shellcheck disable=SC2034	# not each of them uses all
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

# layered [OPTION]...: the device q has it, as $q, over a layer l, $lower
layered() {
	file
	linear l "$one"
	lower=$dev
	qed q "$lower" "$@"
	q=$dev
	io "$q" "write:$c:$c:0x22" flush
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

# refuses DEVICE REASON [OPTION]...: it cannot be had, and stays as it is
refuses() {
	unchanged qed_refused p "$1" "${@:3}"
	matches "$error" "$2" "the kernel's log"
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

# kmsg_has PATTERN: for wait_for
kmsg_has() {
	kmsg | grep -q "$1"
}

# header_on TARGET: where the header of $one is, in the layer l
header_on() {
	dm_swap l "0 8 $1"$'\n'"8 $(($(sectors_of "$one") - 8)) linear $one 8"
}
