#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# qedsetup(8) is killed before each of its system calls that may change something: when it is
# called the same way once more all has to be well, and nothing may be left.

# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=setup.sh
. "$(dirname "$0")/setup.sh"

# killed ARGUMENT...: sets $last
killed() {
	local got=0

	"$bin/killer" "$number" "$QEDSETUP" "$@" >/dev/null 2>&1 || got=$?
	[ "$got" = 137 ] || is "$got" 0 "the exit status of qedsetup $*, call $number"
	last=$got
}

try_open() {
	killed open "$image" "$name"
	[ "$last" != 137 ] || setup_open || fail "killed at call $number: the next one fails"
	is "$(loops "$image")" 1 "the number of loop devices"
	status_is a mode rw
	io "$dev" "read:0:$mb:0"
	setup_close
	closed
}

t_killed_open() {
	files
	"$QEDSETUP" create "$image" 8M
	dev=/dev/mapper/$name
	each_call try_open 15
}

# over_both NR: so many loop devices are over each of what is below
over_both() {
	wait_for 10 has_loops "$dir/base" "$1"
	wait_for 10 has_loops "$dir/mid.qed" "$1"
}

try_chain() {
	try_open
	over_both 0
}

t_killed_chain() {
	files
	truncate -s 8M "$dir/base"
	"$QEDSETUP" create -b base -F raw "$dir/mid.qed"
	"$QEDSETUP" create -b mid.qed "$image"
	dev=/dev/mapper/$name
	each_call try_chain 19
}

# The same after a crash, where more is to be done
try_active() {
	cp --sparse=always "$dir/c.qed" "$image"
	killed open "$image" "$name"
	[ "$last" != 137 ] || setup_open || fail "killed at call $number: the next one fails"
	at_least "$(size_of "$image")" $((8 * mb)) "the size with the tail"
	io "$dev" "read:0:65536:1" "write:65536:$((7 * mb)):2" flush
	setup_close
	closed
}

t_killed_active() {
	files
	"$QEDSETUP" create "$image" 8M
	setup_open --headroom 1M
	io "$dev" "write:0:65536:1" flush
	cp --sparse=always "$image" "$dir/c.qed"
	setup_close
	each_call try_active 15
}

try_close() {
	setup_open
	io "$dev" "write:0:$mb:$number" flush
	killed close "$name"
	if [ "$last" = 137 ] && ! setup_close 2>/dev/null; then
		setup_says 4 "is not active" close "$name"
	fi
	closed
}

t_killed_close() {
	files
	"$QEDSETUP" create "$image" 8M
	each_call try_close 8
}

try_resize() {
	local mib=$((8 + number))

	killed resize "$name" "${mib}M"
	[ "$last" != 137 ] || "$QEDSETUP" resize "$name" "${mib}M"
	is "$(sectors_of "$dev")" $((mib * 2048)) "the size"
	status_is a mode rw
	io "$dev" "write:$(((mib - 1) * mb)):$mb:1"
}

t_killed_resize() {
	files
	"$QEDSETUP" create "$image" 8M
	setup_open
	each_call try_resize 8
	setup_close
	closed
}

try_create() {
	garbage "$image" 4
	killed create "$image" 8M
	if [ "$last" = 137 ] && ! "$QEDSETUP" create "$image" 8M 2>/dev/null; then
		setup_says 5 "has a QED image on it" create "$image" 8M
	fi
	examine "$image"
	is "$(member corruptions)" 0 "the number of defects"
	is "$(member allocated-clusters)" 0 "what is mapped"
}

t_killed_create() {
	null b 16
	image=$dev
	each_call try_create 6
}

run \
	t_killed_open "open, killed at each call" \
	t_killed_chain "open of an image over others, killed at each call" \
	t_killed_active "open of what was not closed, killed at each call" \
	t_killed_close "close, killed at each call" \
	t_killed_resize "resize, killed at each call" \
	t_killed_create "create on a block device, killed at each call"
