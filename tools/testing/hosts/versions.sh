#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# What versions runs on a kernel: a new module, which writes the record, and an old one, which
# does not know it, take turns with an image. $MODULES has new.ko and old.ko.

selftests=$(dirname "$(realpath "$0")")/../selftests/dm-qed
# shellcheck disable=SC2034	# for lib.sh
QEDIMG=$selftests/../../qedimg/qedimg.py
# shellcheck disable=SC2034
QED_FSCK=$selftests/../../../../build/qed/qed-fsck
# shellcheck source=../selftests/dm-qed/lib.sh
. "$selftests/lib.sh"

c=65536					# a cluster
img=					# the image
disk=					# a loop device on it
turns=0					# that the image has seen

# module NAME: that one, and no other
module() {
	! dmsetup targets | grep -q '^qed ' || rmmod dm_qed_mod
	insmod "$MODULES/$1.ko"
}

# content: what the guest's disk has after these turns: each one has written a cluster
content() {
	local i ios=()

	for ((i = 0; i < turns; i++)); do
		ios+=("read:$((i * 3 * c)):$c:$((i + 17))" "read:$((i * 3 * c + c)):$c:0")
	done
	[ ${#ios[@]} = 0 ] || io "$dev" "${ios[@]}"
}

# ends clean|crash: of the device q, over the layer l; qemu-img finds no error then, but leaks,
# as the file is longer than what is in use
ends() {
	local rc=0

	[ "$1" = clean ] || dm_swap l "0 $(sectors_of "$disk") error"
	dm_remove q
	dm_remove l
	sync
	if [ "$1" = clean ]; then
		is_clean "$img"
	else
		is_dirty "$img"
	fi
	qemu-img check -q -f qed "$img" || rc=$?
	[ "$rc" = 0 ] || [ "$rc" = 3 ] || fail "QEMU finds errors: status $rc"
}

# record NEW|OLD clean|crash: what is left of it
record() {
	local left=none

	! has_record "$img" || left=clean
	! is_active "$img" || left=crash
	case $1 in
	old) is "$left" none "the record of who does not know it" ;;
	new) is "$left" "$2" "the end that the record tells of" ;;
	esac
}

# turn NEW|OLD clean|crash: it finds what was there, writes more, and ends
turn() {
	note "$1, which ends: $2"
	module "$1"
	linear l "$disk"
	dm q "$(table "$dev")"
	content
	io "$dev" "write:$((turns * 3 * c)):$c:$((turns + 17))" flush
	turns=$((turns + 1))
	content
	ends "$2"
	record "$1" "$2"
}

# t_turns MODULE END MODULE END MODULE END...
t_turns() {
	need qemu-img
	img=$tmp/image.qed
	truncate -s 128M "$img"
	image "$img" $((64 * mb)) "$c" 4 0
	loop "$img"
	disk=$dev
	turns=0
	while [ $# != 0 ]; do
		turn "$1" "$2"
		shift 2
	done
	sound "$img"
}

cases=()
for first in new old; do
	second=old
	[ $first = new ] || second=new
	for one in clean crash; do
		for two in clean crash; do
			cases+=("t_turns $first $one $second $two $first clean"
				"$first, $one end; $second, $two end; $first")
		done
	done
done
run "${cases[@]}"
