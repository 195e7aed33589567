#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# qedsetup(8) snapshot is killed, or fails, at each of its system calls that may change something,
# or the power is cut: the disks have what they had, the guest goes on, and the same call ends well.

# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=setup.sh
. "$(dirname "$0")/setup.sh"
# shellcheck source=snapshots.sh
. "$(dirname "$0")/snapshots.sh"

# pair: two disks in use
pair() {
	local n

	names=()
	devs=()
	for n in 0 1; do
		"$QEDSETUP" create "$dir/$n.0" 16M
		"$QEDSETUP" open "$dir/$n.0" "$pre-$n"
		names+=("$pre-$n")
		devs+=("/dev/mapper/$pre-$n")
	done
	base=0
}

# snapshot_args: of the next snapshot of both
snapshot_args() {
	args=(snapshot "${names[0]}" "$dir/0.$1" "${names[1]}" "$dir/1.$1")
}

# images_now: of both, without their folder
images_now() {
	"$QEDSETUP" list -n --raw -o NAME,IMAGE | sed -n "s|^$pre-[01] $dir/||p" | sort | xargs
}

# goes_on: both disks are written to
goes_on() {
	wait_for 120 has_stamps $(($(stamps count "$tmp/stamps") + 4))
}

# anew: nothing of these snapshots is left, so that the chains do not become long
anew() {
	local n

	stamped
	for n in 0 1; do
		"$QEDSETUP" close "${names[n]}"
		rm -f "$dir/$n".*
	done
	has_ended
	pair
	stamp "${devs[@]}"
}

try_killed() {
	local got=0 next

	next=$((base + 1))
	snapshot_args "$next"
	"$bin/killer" "$number" "$QEDSETUP" "${args[@]}" >/dev/null 2>"$tmp/lib/err" || got=$?
	[ "$got" = 137 ] || is "$got" 0 "the exit status, call $number ($(cat "$tmp/lib/err"))"
	last=$got
	if [ "$last" = 137 ]; then
		# before that disks may be suspended
		"$QEDSETUP" "${args[@]}" || fail "killed at call $number: the next one fails"
	fi
	is "$(images_now)" "0.$next 1.$next" "the images, call $number"
	base=$next
	goes_on
	has_ended
	[ $((base % 8)) != 0 ] || anew
}

t_killed() {
	files
	pair
	stamp "${devs[@]}"
	each_call try_killed 40
	stamped
	stamps check "$written" "$written" "${devs[@]}" >/dev/null
}

# What a killed one has left is also settled by a snapshot to other images, and of one disk
try_other() {
	local got=0 next=$((base + 1))

	snapshot_args "$next"
	"$bin/killer" "$number" "$QEDSETUP" "${args[@]}" >/dev/null 2>&1 || got=$?
	last=$got
	base=$((next + 1))
	"$QEDSETUP" snapshot "${names[1]}" "$dir/1.$base" || fail "call $number: disk 1 alone fails"
	"$QEDSETUP" snapshot "${names[0]}" "$dir/0.$base" || fail "call $number: disk 0 alone fails"
	is "$(images_now)" "0.$base 1.$base" "the images, call $number"
	goes_on
	has_ended
	[ "$base" -lt 8 ] || anew
}

t_other() {
	files
	pair
	stamp "${devs[@]}"
	each_call try_other 40
	stamped
	stamps check "$written" "$written" "${devs[@]}" >/dev/null
}

# A call that fails leaves all as it was, or does not matter.
try_failed() {
	local got=0

	snapshot_args $((base + 1))
	"$bin/killer" -e "$number" "$QEDSETUP" "${args[@]}" >/dev/null 2>"$tmp/lib/err" || got=$?
	last=137
	case $got in
	125)
		last=0
		;;
	0)
		is "$(images_now)" "0.$((base + 1)) 1.$((base + 1))" "the images, call $number"
		;;
	*)
		note "call $number: $(cat "$tmp/lib/err")"
		# either none of them, or it says that it is not so
		is "$(images_now)" "0.$base 1.$base" "the images, call $number"
		;;
	esac
	# what could neither be done nor undone is so at the next call
	base=$((base + 2))
	snapshot_args "$base"
	"$QEDSETUP" "${args[@]}" || fail "call $number: the next one fails"
	is "$(images_now)" "0.$base 1.$base" "the images, call $number"
	goes_on
	has_ended
	[ "$base" -lt 16 ] || anew
}

t_failed() {
	files
	pair
	stamp "${devs[@]}"
	each_call try_failed 40
	stamped
	stamps check "$written" "$written" "${devs[@]}" >/dev/null
}

#
# Power cuts
#

# cut DISK...: what they have not flushed is lost
cut() {
	local disk

	for disk; do
		null_off "$disk"
	done
	blk dm wipe "$name"
	blk dm remove "$name"
	[ ! -d "$tmp/mnt/lost+found" ] || umount -l "$tmp/mnt"
	for disk; do
		null_on "$disk"
	done
}

# try_cut NEW DISK...: at this call; sets $expected to what was flushed last
try_cut() {
	local got=0

	expected=1
	"$bin/killer" "$number" "$QEDSETUP" snapshot "$name" "$1" >/dev/null 2>&1 || got=$?
	[ "$got" = 137 ] || is "$got" 0 "the exit status, call $number"
	last=$got
	if [ "$(dmsetup info -c --noheadings -o suspended "$name")" = Active ]; then
		io "$dev" "write:0:65536:2" flush
		expected=2
	fi
	cut "${@:2}"
	rm -rf /run/qed
}

# cut_well: after power is on again
cut_well() {
	# shellcheck disable=SC2119
	setup_open || fail "cut at call $number: the image cannot be opened"
	io "$dev" "read:0:65536:$expected" "read:65536:$((mb - 65536)):1" "write:0:$mb:3" flush
	setup_close
	has_ended
}

try_cut_disks() {
	local n old=$image

	for n in o n; do
		null "$n" 32 cache_size=32
		[ "$n" != o ] || image=$dev
	done
	new=$dev
	made 16M
	io "$dev" "write:0:$mb:1" flush
	try_cut "$new" o n
	cut_well
	sound "$image"
	null_del o
	null_del n
	image=$old
}

t_cut_disks() {
	name=$pre-a
	each_call try_cut_disks 30
}

try_cut_files() {
	null fs 256 cache_size=64
	mkfs.ext4 -q "$dev"
	disk=$dev
	mount "$disk" "$dir"
	made 16M
	io "$dev" "write:0:$mb:1" flush
	try_cut "$dir/b.qed" fs
	mount "$disk" "$dir"
	cut_well
	qemu-img check -q -f qed "$image"
	umount "$dir"
	null_del fs
}

t_cut_files() {
	name=$pre-a
	dir=$tmp/mnt
	image=$dir/a.qed
	each_call try_cut_files 30
}

run \
	t_killed "a group is killed at each call" \
	t_other "and others come after it" \
	t_failed "each call fails" \
	t_cut_disks "power cuts at each call, on disks" \
	t_cut_files "power cuts at each call, in files"
