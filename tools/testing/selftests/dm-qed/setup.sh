# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Common parts of the tests of qedsetup(8), beside lib.sh.

QEDSETUP=${QEDSETUP:-$here/../../../../build/qed/qedsetup}
schema=$here/../../setup/schema.py

prepare() {
	[ -x "$QEDSETUP" ] || fail "qedsetup is not built, run make tools"
}

# files: $dir is on a file system with direct I/O, which a tmpfs may lack
files() {
	null fs 512
	mkfs.ext4 -q -O ^has_journal "$dev"
	dir=$tmp/mnt
	mount "$dev" "$dir"
	image=$dir/a.qed
	name=$pre-a
}

# setup_says STATUS REGEX ARGUMENT...: qedsetup has to fail with this status, and to say why
setup_says() {
	local got=0

	"$QEDSETUP" "${@:3}" >"$tmp/lib/out" 2>"$tmp/lib/err" || got=$?
	is "$got" "$1" "exit status of qedsetup ${*:3} ($(cat "$tmp/lib/err"))"
	matches "$(cat "$tmp/lib/err")" "$2" "what it says"
}

# json VERB ARGUMENT...: what it prints has to be as promised; sets $json
json() {
	json=$("$QEDSETUP" "$1" --json "${@:2}")
	python3 -B "$schema" "$1" <<<"$json"
}

# size_of FILE
size_of() {
	stat -c %s "$1"
}

# loops FILE: the number of loop devices over it
loops() {
	local nr=0 file

	for file in /sys/block/loop*/loop/backing_file; do
		[ ! -e "$file" ] || [ "$(<"$file")" != "$1" ] || nr=$((nr + 1))
	done
	echo "$nr"
}

# has_loops FILE NR: is that their number? For wait_for
has_loops() {
	[ "$(loops "$1")" = "$2" ]
}

# unused: nothing is left of the device, and nobody would find a leak in the file
unused() {
	local left=(/run/qed/*)

	is "$(loops "$image")" 0 "the number of loop devices"
	[ ! -e "/dev/mapper/$name" ] || fail "there is a node"
	[ ! -e "${left[0]}" ] || fail "left in /run/qed: ${left[*]}"
	examine "$image"
	is "$(member leaks)" 0 "the number of leaks"
	is "$(member corruptions)" 0 "the number of defects"
}

# closed: the same, and the file is as short as the image, by its record
closed() {
	local size

	unused
	json=$("$QEDSETUP" info --json "$image")
	size=$(size_of "$image")
	matches "$json" '"active":false,"end":'"$size,.*\"device-size\":$size" "the record"
}

setup_open() {
	"$QEDSETUP" open "$image" "$name" "$@" && dev=/dev/mapper/$name
}

setup_close() {
	"$QEDSETUP" close "$name"
}

# locked COMMAND...: it has to fail, for a lock
locked() {
	refused "$@"
	matches "$(cat "$tmp/lib/refused")" 'Failed to get .* lock' "what $1 $2 says"
}

# each_call FUNCTION LEAST: for each call $number until it is not killed any more: $last is 137 as
# long as it is. On a slow machine some are left out, the more the longer it takes.
each_call() {
	local began=$SECONDS tried=0

	number=1
	last=137
	while [ "$last" = 137 ]; do
		"$1"
		tried=$((tried + 1))
		number=$((number + 1 + (SECONDS - began) / 90))
	done
	note "$tried of $((number - 1)) calls"
	at_least "$number" "$2" "the number of calls"
}
